//! Proof of what arrived: pings behind what is written, and what the pong to each covers.
//!
//! A client need not know of it, for whoever speaks WebSocket answers a ping. One ping is under way at a time and at most
//! one a second is sent, so what it costs does not depend on how much is written; where much is written or many listen
//! there are fewer, for each pong wakes the server. On the way of a delivery it is one byte that is set; the ping itself
//! rides in the same write.

use std::time::{Duration, Instant};

use bytes::Bytes;
use smallvec::SmallVec;

use super::Hub;
use super::connection::{Connection, Place};
use super::room::Room;
use crate::ids::{ConnectionKey, RoomId};
use crate::message::Seq;
use crate::wire::frame::PROOF_PING;

/// Least time between two of a connection's pings.
const BETWEEN_PINGS: Duration = Duration::from_secs(1);

/// The same where so many events came since the last one that nobody watches for the receipts of each.
const BETWEEN_PINGS_IN_A_RUSH: Duration = Duration::from_secs(3);
const RUSH_EVENTS_MIN: u64 = 17;

/// The same where what is written goes to so many that nobody is told who has it; then only the queue depends on it.
const BETWEEN_PINGS_IN_CROWDS: Duration = Duration::from_secs(5);
const CROWD_CONNECTIONS_MIN: usize = 201;

/// What was proven to have arrived: rooms, each with the last event.
pub type Proven = SmallVec<[(RoomId, Seq); 1]>;

/// How far a connection is in a room when it becomes live there.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// The last event that is known to have arrived.
    pub proven: Seq,
    /// The last event that was written by now, or is about to be.
    pub written: Seq,
}

impl Standing {
    /// Nothing in the room can be proven: it has no log, or an event was left out.
    pub const UNPROVABLE: Self = Self { proven: Seq::MAX, written: 0 };
}

/// One connection's state.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Proof {
    wanted: bool,
    under_way: bool,
    /// Whether a logged event was written that has no ping behind it.
    unproven: bool,
    /// When the last ping was sent, by the hub's clock.
    pinged_ms: Option<u32>,
}

impl Proof {
    /// Logged events are being written.
    pub(super) fn note_written(&mut self) {
        self.unproven = true;
    }

    /// Whether a ping may be put behind what is written now.
    pub(super) fn is_due(&self, now_ms: u32) -> bool {
        self.is_due_after(now_ms, BETWEEN_PINGS)
    }

    /// The same behind what is written to a room of so many connections, if the connection is in no other: the room's last
    /// event is this one.
    pub(super) fn is_due_in(&self, place: &Place, logged: Seq, connections: usize, now_ms: u32) -> bool {
        let between = match logged.saturating_sub(place.pinged) {
            _ if connections >= CROWD_CONNECTIONS_MIN => BETWEEN_PINGS_IN_CROWDS,
            RUSH_EVENTS_MIN.. => BETWEEN_PINGS_IN_A_RUSH,
            _ => BETWEEN_PINGS,
        };
        self.is_due_after(now_ms, between)
    }

    fn is_due_after(&self, now_ms: u32, between: Duration) -> bool {
        let long_enough = |before| u128::from(now_ms.wrapping_sub(before)) >= between.as_millis();
        self.wanted && self.unproven && !self.under_way && self.pinged_ms.is_none_or(long_enough)
    }

    /// A ping is written, behind everything.
    pub(super) fn begin(&mut self, now_ms: u32) {
        self.under_way = true;
        self.unproven = false;
        self.pinged_ms = Some(now_ms);
    }
}

/// Whether a ping may be put behind everything that was caused for a connection. One that is in one room is pinged as that
/// room is, any other as if all its rooms were small and quiet.
pub(super) fn is_due(connection: &Connection, rooms: &slab::Slab<Room>, now_ms: u32) -> bool {
    let only = if let [place] = connection.rooms.as_slice() { Some(place) } else { None };
    let only = only.and_then(|place| Some((place, rooms.get(place.room as usize)?)));
    let proof = &connection.proof;
    proof.is_due(now_ms)
        && only.is_none_or(|(place, room)| proof.is_due_in(place, room.logged, room.members.len(), now_ms))
}

/// Notes of each of a connection's rooms how far the ping reaches that is about to be written behind everything. Returns
/// whether it reaches further than the one before.
pub(super) fn reach(connection: &mut Connection, rooms: &slab::Slab<Room>) -> bool {
    let mut further = connection.pages.as_mut().is_some_and(|pages| pages.reach());
    for place in &mut connection.rooms {
        let Some(room) = rooms.get(place.room as usize).filter(|room| room.logged > place.pinged) else { continue };
        place.pinged = room.logged;
        further = true;
    }
    further
}

impl Hub {
    /// From here on what the connection receives is proven.
    pub fn want_proof(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connection(key) {
            connection.proof.wanted = true;
        }
    }

    /// Whether a ping for proof is unanswered. Its pong also says that the connection lives.
    pub fn is_proving(&mut self, key: ConnectionKey) -> bool {
        self.connection(key).is_some_and(|connection| connection.proof.under_way)
    }

    /// The pong to a ping came: what it proves beyond the one before.
    pub fn proven(&mut self, key: ConnectionKey) -> Proven {
        let connections = self.connections.get_mut(key.slot as usize);
        let Some(connection) = connections.filter(|it| it.generation == key.generation && it.proof.under_way) else {
            return Proven::new();
        };
        connection.proof.under_way = false;
        let mut proven: Proven = connection.pages.as_mut().and_then(|pages| pages.prove()).into_iter().collect();
        for place in connection.rooms.iter_mut().filter(|place| place.pinged > place.proven) {
            place.proven = place.pinged;
            if let Some(room) = self.rooms.get(place.room as usize) {
                proven.push((room.id.clone(), place.proven));
            }
        }
        proven
    }

    /// Sends the pings that could not ride behind anything.
    pub(super) fn send_due_pings(&mut self) {
        let now_ms = self.now_ms;
        let rooms = &self.rooms;
        let due = |connection: &Connection| connection.closing.is_none() && is_due(connection, rooms, now_ms);
        let due: Vec<usize> = self.connections.iter().filter(|(_, it)| due(it)).map(|(slot, _)| slot).collect();
        for slot in due {
            self.ping(u32::try_from(slot).unwrap_or(u32::MAX));
        }
    }

    /// Puts a ping behind everything that was caused for a connection, if one is due.
    pub(super) fn ping(&mut self, slot: u32) {
        self.settle(slot);
        let Some(connection) = self.connections.get_mut(slot as usize) else { return };
        let held = connection.backlog.as_ref().is_some_and(|backlog| backlog.is_held());
        if held || !is_due(connection, &self.rooms, self.now_ms) {
            return;
        }
        connection.proof.begin(self.now_ms);
        if reach(connection, &self.rooms) {
            self.stats.pings += 1;
            self.write(slot, &Bytes::from_static(&PROOF_PING), 0, false);
        } else {
            connection.proof.under_way = false;
        }
    }

    /// Sets the hub's clock.
    pub(super) fn set_clock(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.began).as_millis();
        // It may wrap: only differences count.
        self.now_ms = u32::try_from(since % (1 << 32)).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_are_rarer_in_a_rush_and_in_crowds() {
        let place = Place { room: 0, index: 0, membership: 1, pinged: 100, proven: 100 };
        let proof = Proof { wanted: true, unproven: true, pinged_ms: Some(u32::MAX), ..Proof::default() };
        // The clock wraps right after the last ping.
        let due = |logged, connections, ms: u32| proof.is_due_in(&place, logged, connections, ms - 1);
        assert_eq!([999, 1000].map(|ms| due(101, 2, ms)), [false, true]);
        assert_eq!([999, 1000].map(|ms| due(116, 200, ms)), [false, true]);
        assert_eq!([2999, 3000].map(|ms| due(117, 2, ms)), [false, true]);
        assert_eq!([4999, 5000].map(|ms| due(101, 201, ms)), [false, true]);
        assert!(Proof { pinged_ms: None, ..proof }.is_due_in(&place, 200, 500, 0), "the first does not wait");
        assert!(!Proof { under_way: true, ..proof }.is_due_in(&place, 200, 2, 9_000));
    }
}
