//! A whole server in which every step is chosen by a seed: which connection asks what, which shard reads its next piece of
//! mail, when the disk is done with what was handed to it, and when it fails instead. Thousands of such histories, each
//! with people who come and go, are held against what a client may be told ([`device`]).
//!
//! Everything between a client's text and the frame it gets back is the server's own code, with sockets between that never
//! wait. What is left out are the tasks that would call it, the threads, and the disk, whose part is played by hand.

mod device;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::mpsc::UnboundedReceiver;

use self::device::{Asked, Client, Device, Truth};
use super::settings::{hub_limits, relay_settings, session_settings, store_limits};
use crate::config::{Algorithm, Config, Key, Secret};
use crate::hub::Stats;
use crate::ids::ShardId;
use crate::metrics::Metrics;
use crate::policy::{self, Authenticator, Generation, Policies, Revocations};
use crate::relay::{self, Mail, Mailboxes, Relay};
use crate::session::{Opening, Shard};
use crate::store::{Batch, Classes, Done, Engine, Image, Journal, Partition};
use crate::wire::request::AuthOptions;

const HISTORIES: u64 = 2_000;
const STEPS: usize = 800;
const SHARDS: u16 = 2;
const USERS: [&str; 3] = ["ann", "bob", "cid"];
const DEVICES: [&str; 2] = ["phone", "laptop"];
const ROOMS: [&str; 2] = ["lobby", "team"];

/// Events of a page, so that a queue has several.
const PAGE_EVENTS: usize = 3;

/// Rounds after which all that was asked must have been answered.
const ROUNDS_MAX: usize = 1_000;

/// What all histories share.
struct Ground {
    runtime: tokio::runtime::Runtime,
    config: Config,
    policies: Policies,
    authenticator: Arc<Authenticator>,
    metrics: Arc<Metrics>,
    tokens: Vec<String>,
}

impl Ground {
    fn new() -> Self {
        let mut config = Config::default();
        let secret = Some(Secret::new("a secret that is as long as it has to be"));
        config.auth.keys = vec![Key { kid: None, algorithm: Algorithm::HS256, secret, secret_env: None, file: None }];
        config.limits.requests_per_second_max = 0;
        config.limits.recover_events_max = PAGE_EVENTS;
        config.delivery.room_flush_ms = 0;
        config.timing.receipt_coalesce_ms = 0;
        config.timing.presence_grace_ms = 0;
        let metrics = Metrics::new().unwrap();
        let sign = |user| policy::sign(&config, user, Duration::from_secs(3600), serde_json::Map::new()).unwrap();
        Self {
            runtime: tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap(),
            policies: Policies::start(&config, SHARDS, Arc::clone(&metrics), Arc::new(|_| {})).unwrap(),
            authenticator: Arc::new(Authenticator::new(&config.auth).unwrap()),
            tokens: USERS.map(sign).into(),
            metrics,
            config,
        }
    }
}

/// A small generator (xorshift*): the histories are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }
}

/// One server, and those who use it.
struct World<'a> {
    ground: &'a Ground,
    random: Random,
    shards: Vec<Shard>,
    mail: Vec<UnboundedReceiver<Mail>>,
    mailboxes: Mailboxes,
    /// What the shards hand to the disk.
    handed: Box<dyn FnMut() -> Option<Batch>>,
    unwritten: VecDeque<Batch>,
    /// The eras of which the disk writes nothing more.
    refused: HashMap<ShardId, u64>,
    devices: Vec<Device>,
    truth: Truth,
}

impl<'a> World<'a> {
    fn new(ground: &'a Ground, seed: u64) -> Self {
        let (mailboxes, mail) = Mailboxes::new(SHARDS);
        let (journal, handed) = Journal::by_hand();
        let Generation { auth, chains } =
            ground.policies.load(&ground.config, Arc::clone(&ground.authenticator)).unwrap();
        let config = &ground.config;
        let shard = |(number, chain)| {
            let (shard, metrics) = (ShardId(number), Arc::clone(&ground.metrics));
            let relay = Relay::new(relay::Parts {
                shard,
                settings: Arc::new(relay_settings(config)),
                hub: hub_limits(config),
                // With a disk behind it, on which there is nothing yet.
                store: Engine::Embedded(Box::new(
                    Partition::new(Arc::new(Classes::new(&config.store, &[])), store_limits(config, SHARDS))
                        .restored(Image::default()),
                )),
                journal: Some(journal.clone()),
                reader: None,
                chain,
                auth: Arc::clone(&auth),
                mailboxes: mailboxes.clone(),
                metrics: Arc::clone(&metrics),
            });
            Shard::new(shard, Arc::new(session_settings(config)), relay, metrics, Arc::new(Revocations::default()))
        };
        let shards = (0..SHARDS).zip(chains).map(shard).collect();
        let devices = (0..USERS.len()).flat_map(|user| DEVICES.map(|name| Device::new(user, name))).collect();
        Self {
            ground,
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            shards,
            mail,
            mailboxes: mailboxes.clone(),
            handed: Box::new(handed),
            unwritten: VecDeque::new(),
            refused: HashMap::new(),
            devices,
            truth: Truth::default(),
        }
    }

    /// A device connects, and says who it is; now and then also how far it was.
    fn connect(&mut self, at: usize, since: bool, auto_ack: bool) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let stream = self.ground.runtime.block_on(async {
            let stream = tokio::net::TcpStream::from_std(OwnedFd::from(ours).into()).unwrap();
            stream.writable().await.unwrap();
            stream
        });
        let shard = self.random.below(self.shards.len());
        let opening = Opening {
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            identity: None,
            options: Ok(AuthOptions::default()),
            headers: Vec::new(),
            over_capacity: false,
            deflate: false,
            admission: Box::new(()),
        };
        let entered = self.ground.runtime.enter();
        let key = self.shards[shard].open(stream, opening);
        drop(entered);
        let device = &mut self.devices[at];
        let since = if since { device.since() } else { BTreeMap::new() };
        device.client = Some(Client::new(shard, key, theirs, since.keys().cloned().collect()));
        let (token, name) = (&self.ground.tokens[device.user], device.name);
        let data = json!({"token": token, "deviceId": name, "autoAck": auto_ack, "since": since});
        self.ask(at, "auth", &data, Asked::Auth);
    }

    fn disconnect(&mut self, at: usize) {
        if let Some(client) = self.devices[at].client.take() {
            self.shards[client.shard].finish(client.key, true);
        }
    }

    /// A connection asks something, if it has nothing under way.
    fn ask(&mut self, at: usize, event: &str, data: &serde_json::Value, asked: Asked) {
        let Some(client) = &mut self.devices[at].client else { return };
        if client.asked.is_some() || client.closed || self.shards[client.shard].is_waiting(client.key) {
            return;
        }
        client.asked = Some(asked);
        client.number += 1;
        let text = json!({"event": event, "id": client.number, "data": data}).to_string();
        self.shards[client.shard].text(client.key, &text);
    }

    /// Somebody who is there does something.
    fn act(&mut self, at: usize) {
        let room = ROOMS[self.random.below(ROOMS.len())];
        let Some(client) = self.devices[at].client.as_ref().filter(|client| client.success) else { return };
        let has = client.has.get(room).copied();
        match (self.random.below(12), has) {
            (0, _) => self.ask(at, "leave-room", &json!(room), Asked::Leave(room)),
            (1..=4, None) => self.ask(at, "join-room", &json!(room), Asked::Join(room)),
            (5, _) => self.ask(at, "join-room", &json!(room), Asked::Join(room)),
            (6, Some(up_to)) => {
                let data = json!({"conversationId": room, "upTo": up_to});
                self.ask(at, "mark-read", &data, Asked::Ack(room, up_to));
            }
            (7, Some(up_to)) => {
                let data = json!({"conversationId": room, "upTo": up_to});
                self.ask(at, "ack", &data, Asked::Ack(room, up_to));
            }
            (_, Some(_)) => {
                let data = json!({"conversationId": room, "content": self.random.below(1000)});
                self.ask(at, "send-message", &data, Asked::Send(room));
            }
            _ => {}
        }
    }

    /// A shard reads its next piece of mail. Returns whether there was one.
    fn read_mail(&mut self, shard: usize) -> bool {
        let Ok(mail) = self.mail[shard].try_recv() else { return false };
        self.shards[shard].receive(mail);
        true
    }

    /// The disk has written so many of the batches that it was handed, or fails and refuses all that it has. Returns
    /// whether there was anything.
    fn write(&mut self, batches: usize, fails: bool) -> bool {
        while let Some(batch) = (self.handed)() {
            self.unwritten.push_back(batch);
        }
        let count = if fails { self.unwritten.len() } else { batches.min(self.unwritten.len()) };
        let group: Vec<Batch> = self.unwritten.drain(..count).collect();
        for Batch { shard, era, number, .. } in &group {
            if fails {
                self.refused.insert(*shard, *era);
            }
            let stored = self.refused.get(shard) != Some(era);
            let done = Done { shard: *shard, era: *era, through: *number, stored };
            self.mailboxes.send(*shard, Mail::Stored(done));
        }
        !group.is_empty()
    }

    /// The sockets take what waits for a connection, and it gets its next page.
    fn drain(&mut self, at: usize) {
        let Some(client) = &self.devices[at].client else { return };
        let shard = &mut self.shards[client.shard];
        let Some(connection) = shard.relay.hub.connection(client.key) else { return };
        let _drained = connection.poll_drain(&mut Context::from_waker(Waker::noop()), &mut Stats::default());
        if connection.closing().is_some() {
            shard.depart(client.key);
        } else if connection.wants_page() {
            shard.relay.read_on(client.key);
        }
    }

    /// Rooms are flushed, and everybody reads. Returns whether anybody got anything.
    fn deliver(&mut self) -> bool {
        for shard in &mut self.shards {
            while shard.relay.hub.flush_slice(Instant::now()) == crate::hub::Progress::More {}
        }
        let mut heard = false;
        for at in 0..self.devices.len() {
            heard |= self.devices[at].read(&mut self.truth);
            if self.devices[at].client.as_ref().is_some_and(|client| client.closed) {
                self.disconnect(at);
            }
        }
        heard
    }

    /// A client answers the last ping.
    fn pong(&mut self, at: usize) {
        let Some(client) = &mut self.devices[at].client else { return };
        if std::mem::take(&mut client.pinged) {
            self.shards[client.shard].pong(client.key, b"+");
        }
    }

    fn step(&mut self) {
        let at = self.random.below(self.devices.len());
        match self.random.below(32) {
            0..=2 if self.devices[at].client.is_none() => {
                let (since, auto_ack) = (self.random.below(4) == 0, self.random.below(2) == 0);
                self.connect(at, since, auto_ack);
            }
            0 => self.disconnect(at),
            1..=9 => self.act(at),
            10..=15 => {
                let pieces = 1 + self.random.below(6);
                for _ in 0..pieces {
                    self.read_mail(at % usize::from(SHARDS));
                }
            }
            16..=19 => {
                let batches = 1 + self.random.below(6);
                self.write(batches, false);
            }
            20 => drop(self.random.below(4) == 0 && self.write(0, true)),
            21..=23 => self.drain(at),
            24 => self.pong(at),
            25 => self.shards[at % usize::from(SHARDS)].sweep(),
            _ => drop(self.deliver()),
        }
    }

    /// Everything that is under way comes to its end.
    fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut moved = self.write(usize::MAX, false);
            for shard in 0..self.shards.len() {
                while self.read_mail(shard) {
                    moved = true;
                }
            }
            (0..self.devices.len()).for_each(|at| self.drain(at));
            moved |= self.deliver();
            if !moved {
                return self.devices.iter().for_each(Device::check_settled);
            }
        }
        panic!("it does not come to an end");
    }

    /// All come back, and are told the rest. Then the log is read.
    fn come_back(&mut self) {
        (0..self.devices.len()).for_each(|at| self.disconnect(at));
        self.settle();
        (0..self.devices.len()).for_each(|at| self.connect(at, false, false));
        self.settle();
        for at in 0..self.devices.len() {
            assert!(self.devices[at].client.as_ref().is_some_and(|client| client.success), "the disk works");
            let has =
                |room: &&str| self.devices[at].client.as_ref().is_some_and(|client| client.has.contains_key(*room));
            for room in ROOMS.into_iter().filter(has).collect::<Vec<_>>() {
                let data = json!({"conversationId": room, "after": 0, "limit": 200});
                self.ask(at, "history", &data, Asked::History(room));
                self.settle();
            }
        }
        self.truth.check();
    }
}

#[test]
fn whatever_happens_everybody_is_told_everything_once_and_in_order() {
    let ground = Ground::new();
    let mut total = device::Tally::default();
    for seed in 1..=HISTORIES {
        let history = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut world = World::new(&ground, seed);
            (0..STEPS).for_each(|_| world.step());
            world.settle();
            world.come_back();
            world.truth.tally
        }));
        total += history.unwrap_or_else(|_| panic!("in the history of seed {seed}"));
    }
    // It is worth nothing if what it is about does not happen.
    assert!(total.is_rich(HISTORIES), "{total:?}");
}
