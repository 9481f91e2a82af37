//! The workloads, as data: how many rooms, members and messages, and in which settings of the server each is run.
//! Knows nothing of how they are run.

use clap::ValueEnum;
use serde::Serialize;

/// What can be asked for on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// 1 room of 1000 members, 50 messages a second
    W1,
    /// 1 room of 100 members, 1000 messages a second
    W2,
    /// 1 room of 100 members, 3000 messages a second
    W2b,
    /// 100 rooms of 10 members, 2000 messages a second in all
    W3,
    /// 64 connections, each with one heartbeat in flight
    Echo,
    /// Resident bytes of connections that do nothing
    Idle,
    /// Everybody connects and joins at once, leaves at once, three times
    Storm,
    /// W1 and W3 with the message policy plugin on and off
    Plugin,
    /// 100 rooms of 10 members, 1000 messages a second in all, beside a plugin that loops 100 times a second
    Torture,
    /// 1, 16 and 256 senders, each with one message on its way to the disk
    Durable,
    /// 5,000 devices come back at once, for each of which 20 messages wait
    Reconnect,
    /// 100 rooms of 10 members, who all type: 5 starts a second each, then a stop
    Typing,
    /// 2,000 users in rooms of 20, whose presence changes once a second, and 500 subscribers of 50 of them each
    Presence,
    /// All of them but torture, which needs a plugin that does not come with the server
    All,
}

/// What happens in a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Messages to rooms, by an open schedule.
    FanOut { rooms: usize, members: usize, messages_per_second: u64 },
    /// A closed loop of request and reply.
    Echo { connections: usize },
    /// Memory of idle connections.
    Idle,
    /// Time, CPU and memory of mass connects.
    Storm,
    /// A closed loop of message and acknowledgement, with the store on disk.
    Durable { senders: usize },
    /// Devices that come back at once, to what waits for each of them.
    Reconnect { rooms: usize, members: usize, queued: usize },
    /// Everybody types, by an open schedule.
    Typing { rooms: usize, members: usize, starts_per_second: u64 },
    /// Everybody's presence changes, by an open schedule.
    Presence { rooms: usize, members: usize, subscribers: usize, subscriptions: usize },
    /// Messages to rooms, without and with a guest that loops.
    Torture { rooms: usize, members: usize, messages_per_second: u64 },
}

/// One workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Workload {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

impl Workload {
    /// What the 99th percentile should be at most, where that is agreed.
    pub(super) fn p99_bound_ms(self) -> Option<f64> {
        match self.kind {
            Kind::Typing { .. } => Some(100.0),
            Kind::Presence { .. } => Some(200.0),
            _ => None,
        }
    }
}

pub(super) const W1: Workload =
    Workload { name: "W1", kind: Kind::FanOut { rooms: 1, members: 1000, messages_per_second: 50 } };
const W2: Workload = Workload { name: "W2", kind: Kind::FanOut { rooms: 1, members: 100, messages_per_second: 1000 } };
const W2B: Workload =
    Workload { name: "W2b", kind: Kind::FanOut { rooms: 1, members: 100, messages_per_second: 3000 } };
const W3: Workload = Workload { name: "W3", kind: Kind::FanOut { rooms: 100, members: 10, messages_per_second: 2000 } };
const ECHO: Workload = Workload { name: "echo", kind: Kind::Echo { connections: 64 } };
const IDLE: Workload = Workload { name: "idle", kind: Kind::Idle };
const STORM: Workload = Workload { name: "storm", kind: Kind::Storm };
const DURABLE: [Workload; 3] = [
    Workload { name: "durable", kind: Kind::Durable { senders: 1 } },
    Workload { name: "durable", kind: Kind::Durable { senders: 16 } },
    Workload { name: "durable", kind: Kind::Durable { senders: 256 } },
];
const RECONNECT: Workload =
    Workload { name: "reconnect", kind: Kind::Reconnect { rooms: 500, members: 10, queued: 20 } };
pub(super) const TYPING: Workload =
    Workload { name: "typing", kind: Kind::Typing { rooms: 100, members: 10, starts_per_second: 5 } };
pub(super) const PRESENCE: Workload = Workload {
    name: "presence",
    kind: Kind::Presence { rooms: 100, members: 20, subscribers: 500, subscriptions: 50 },
};
const TORTURE: Workload =
    Workload { name: "torture", kind: Kind::Torture { rooms: 100, members: 10, messages_per_second: 1000 } };

/// Members of each room in the idle and storm workloads.
pub(super) const IDLE_ROOM_MEMBERS: usize = 10;
/// Times that the storm comes.
pub(super) const STORM_PASSES: usize = 3;

/// How the server is set up for a run. `None` leaves a key at the server's own default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Setup {
    /// `shards`.
    pub(crate) shards: Option<usize>,
    /// `delivery.room_flush_ms`; where it is set, input does not wait for company either.
    pub(crate) room_flush_ms: Option<u64>,
    /// Whether the message policy plugin is loaded.
    pub(crate) plugin: bool,
    /// Whether the room rights plugin is loaded, and asked about every send.
    pub(crate) acl: bool,
    /// Whether the store is on disk.
    pub(crate) durable: bool,
    /// Whether the clients let the server take their pongs for acknowledgements (`autoAck`).
    pub(crate) acks: bool,
}

/// One row of the report to be: a workload in a setup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) workload: Workload,
    pub(super) setup: Setup,
}

/// The settings to be combined.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) shards: Vec<Option<usize>>,
    pub(super) room_flush_ms: Vec<Option<u64>>,
    pub(super) plugin: Vec<bool>,
    pub(super) acl: Vec<bool>,
    pub(super) durable: Vec<bool>,
    pub(super) acks: Vec<bool>,
}

/// The cases that the choices make, each once. A setting that cannot matter to a workload is not varied for it.
pub(super) fn cases(choices: &[Choice], settings: &Settings) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |workload: Workload, settings: &Settings| {
        for case in combined(workload, settings) {
            if !cases.contains(&case) {
                cases.push(case);
            }
        }
    };
    let has = |choice| choices.contains(&choice) || choices.contains(&Choice::All);
    for (choice, workload) in [
        (Choice::W1, W1),
        (Choice::W2, W2),
        (Choice::W2b, W2B),
        (Choice::W3, W3),
        (Choice::Echo, ECHO),
        (Choice::Idle, IDLE),
        (Choice::Storm, STORM),
        (Choice::Reconnect, RECONNECT),
        (Choice::Typing, TYPING),
        (Choice::Presence, PRESENCE),
    ] {
        if has(choice) {
            add(workload, settings);
        }
    }
    if has(Choice::Durable) {
        DURABLE.into_iter().for_each(|workload| add(workload, settings));
    }
    if has(Choice::Plugin) {
        let both = Settings { plugin: vec![false, true], ..settings.clone() };
        add(W1, &both);
        add(W3, &both);
    }
    if choices.contains(&Choice::Torture) {
        add(TORTURE, settings);
    }
    cases
}

fn combined(workload: Workload, settings: &Settings) -> Vec<Case> {
    let paced = matches!(workload.kind, Kind::FanOut { .. });
    let flushes = if paced { settings.room_flush_ms.as_slice() } else { &[None] };
    let acls = if paced { settings.acl.as_slice() } else { &[false] };
    let plugins = if paced { settings.plugin.as_slice() } else { &[false] };
    let durables = match workload.kind {
        Kind::FanOut { .. } | Kind::Reconnect { .. } => settings.durable.as_slice(),
        Kind::Durable { .. } => &[true],
        _ => &[false],
    };
    let acks = match workload.kind {
        Kind::FanOut { .. } | Kind::Durable { .. } | Kind::Reconnect { .. } => settings.acks.as_slice(),
        _ => &[true],
    };
    let mut cases = Vec::new();
    for shards in &settings.shards {
        for room_flush_ms in flushes {
            for (plugin, acl) in plugins.iter().flat_map(|plugin| acls.iter().map(move |acl| (*plugin, *acl))) {
                for (durable, acks) in
                    durables.iter().flat_map(|durable| acks.iter().map(move |acks| (*durable, *acks)))
                {
                    let (shards, room_flush_ms) = (*shards, *room_flush_ms);
                    let setup = Setup { shards, room_flush_ms, plugin, acl, durable, acks };
                    cases.push(Case { workload, setup });
                }
            }
        }
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_case_is_there_once_and_nothing_is_varied_in_vain() {
        let settings = Settings {
            shards: vec![Some(1), Some(2)],
            room_flush_ms: vec![None, Some(0)],
            plugin: vec![false],
            acl: vec![false],
            durable: vec![false],
            acks: vec![true],
        };
        assert_eq!(cases(&[Choice::W2], &settings).len(), 4);
        assert_eq!(cases(&[Choice::Echo], &settings).len(), 2);
        assert_eq!(cases(&[Choice::W1, Choice::Plugin], &settings).len(), 16);
        assert_eq!(cases(&[Choice::Torture], &settings).len(), 2);
        assert_eq!(cases(&[Choice::All], &settings).len(), 4 * 4 + 6 * 2 + 3 * 2 + 2 * 4);
        let settings = Settings { acks: vec![false, true], ..settings };
        assert_eq!(cases(&[Choice::W2], &settings).len(), 8);
        assert_eq!(cases(&[Choice::Echo, Choice::Idle, Choice::Storm, Choice::Typing], &settings).len(), 4 * 2);
        assert_eq!(cases(&[Choice::Reconnect], &settings).len(), 2 * 2);
    }
}
