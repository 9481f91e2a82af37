//! Presence that flaps: each member of each room is away and back again, once a second, and all who share its room or
//! subscribed to it are told. Knows nothing of sockets' details, repetitions and reports.

use super::client::Seat;
use super::dialect::{self, Incoming};
use super::ephemeral::{self, Change, EphemeralFigures, Storm};
use super::error::BenchError;
use super::ledger::Account;
use super::measure::{OPEN_TIME_MAX, answered, calm};
use super::stamp::Stamp;
use super::swarm::Swarm;
use super::target::{Seating, Target};

/// Changes of each user: away, then online again.
const STATUSES: [&str; 2] = ["away", "online"];

/// Who flaps, and who watches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flapping {
    pub(super) rooms: usize,
    pub(super) members: usize,
    /// Connections in no room.
    pub(super) subscribers: usize,
    /// Users that each of them watches.
    pub(super) subscriptions: usize,
}

impl Flapping {
    fn users(self) -> usize {
        self.rooms * self.members
    }

    /// Whose request `number` is: neighbours in time are in different rooms.
    fn seat(self, number: usize) -> Seat {
        Seat { room: number % self.rooms, member: number / self.rooms % self.members }
    }

    fn index(self, seat: Seat) -> usize {
        seat.room * self.members + seat.member
    }

    /// The users that a subscriber watches: all are watched by as many, or nearly.
    fn watched(self, subscriber: usize) -> impl Iterator<Item = usize> {
        let users = self.users().max(1);
        (0..self.subscriptions).map(move |place| (subscriber * self.subscriptions + place) % users)
    }

    /// Who is told of each user: the others in the room, and those who watch.
    fn receivers(self) -> Vec<u32> {
        let others = u32::try_from(self.members.saturating_sub(1)).unwrap_or(u32::MAX);
        let mut receivers = vec![others; self.users()];
        for user in (0..self.subscribers).flat_map(|subscriber| self.watched(subscriber)) {
            if let Some(receivers) = receivers.get_mut(user) {
                *receivers += 1;
            }
        }
        receivers
    }
}

struct PresenceStorm {
    flapping: Flapping,
    /// By user.
    receivers: Vec<u32>,
}

impl PresenceStorm {
    fn change(&self, number: usize, due_ns: u64) -> Option<Change> {
        let user = self.flapping.index(self.flapping.seat(number));
        Some(Change { number, due_ns, receivers: *self.receivers.get(user)? })
    }
}

impl Storm for PresenceStorm {
    fn interval_ns(&self) -> u64 {
        1_000_000_000 / (self.flapping.users() as u64).max(1)
    }

    fn changes_max(&self, requests: usize) -> usize {
        requests
    }

    fn send(&mut self, number: usize, due_ns: u64, swarm: &mut Swarm) -> Option<Change> {
        let user = self.flapping.index(self.flapping.seat(number));
        let status = STATUSES.get(number / self.flapping.users().max(1) % STATUSES.len())?;
        let stamp = Stamp { due_ns, number: number as u64 };
        swarm.connection(user)?.send(&dialect::presence(status, stamp));
        self.change(number, due_ns)
    }

    fn hear(&mut self, seat: Seat, incoming: &Incoming) -> Option<Change> {
        let Incoming::Presence(stamp) = incoming else { return None };
        let number = usize::try_from(stamp.number).ok()?;
        // Who is told of itself does not count.
        (self.flapping.seat(number) != seat).then(|| self.change(number, stamp.due_ns))?
    }
}

/// Lets everybody flap.
pub(super) fn presence(
    target: &Target,
    flapping: Flapping,
    seconds: u64,
) -> Result<(EphemeralFigures, Account), BenchError> {
    let users = flapping.users();
    let seating = Seating::Rooms { rooms: flapping.rooms, members: flapping.members };
    let mut openings = target.openings(seating)?;
    openings.extend(target.watchers(flapping.rooms, flapping.subscribers)?);
    let mut swarm = Swarm::new()?;
    swarm.open(openings, OPEN_TIME_MAX)?;
    for subscriber in 0..flapping.subscribers {
        let watched: Vec<String> = flapping.watched(subscriber).map(|user| target.user(user)).collect();
        if let Some(connection) = swarm.connection(users + subscriber) {
            connection.send(&dialect::subscribe_presence(&watched)?);
        }
    }
    answered(&mut swarm, users..users + flapping.subscribers)?;
    calm(&mut swarm)?;
    let mut storm = PresenceStorm { flapping, receivers: flapping.receivers() };
    ephemeral::run(target, &mut swarm, &mut storm, seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_told_but_whom_it_is_about() {
        let flapping = Flapping { rooms: 2, members: 3, subscribers: 2, subscriptions: 4 };
        assert_eq!(flapping.watched(1).collect::<Vec<_>>(), [4, 5, 0, 1]);
        assert_eq!(flapping.receivers(), [4, 4, 3, 3, 3, 3]);
        let mut storm = PresenceStorm { flapping, receivers: flapping.receivers() };
        // Request 2 is of the second member of the first room.
        let incoming = Incoming::Presence(Stamp { due_ns: 7, number: 2 });
        let change = Change { number: 2, due_ns: 7, receivers: 4 };
        assert_eq!(storm.hear(Seat { room: 0, member: 0 }, &incoming), Some(change));
        assert_eq!(storm.hear(Seat { room: 2, member: 1 }, &incoming), Some(change));
        assert_eq!(storm.hear(Seat { room: 0, member: 1 }, &incoming), None);
    }
}
