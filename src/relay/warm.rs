//! What waits for a room's events: they are on the disk alone, and the shard goes on while they are read.
//!
//! All that is asked of such a room waits, in order, also what could do without; the rest of the world does not. What
//! waits needs no bound of its own: a connection has one request under way, and a shard's mailbox has the same bound.

use std::collections::{HashMap, VecDeque};

use super::{Relay, Ticket, wall_clock};
use crate::ids::{RoomId, ShardId};
use crate::store::{Answer, ColdLog, Op, Reader, Reading, Wanted};
use crate::wire::request::Since;

/// What waits, by room.
#[derive(Default)]
pub(super) struct Warming {
    /// `None` without a disk; then there is nothing to read.
    reader: Option<Reader>,
    rooms: HashMap<RoomId, VecDeque<Held>>,
}

/// An operation that waits.
pub(super) struct Held {
    pub(super) op: Op,
    pub(super) ticket: Option<Ticket>,
    pub(super) no_echo: bool,
    pub(super) from: ShardId,
}

impl Held {
    /// Whoever attaches can do so without the events: what was missed then cannot be told, which is one room's loss.
    fn does_without_events(&mut self) -> bool {
        let Op::Attach { since, resume, .. } = &mut self.op else { return false };
        let asks = since.is_some() || resume.is_some();
        (*since, *resume) = (asks.then(Since::of_nothing), None);
        true
    }
}

impl Warming {
    pub(super) fn new(reader: Option<Reader>) -> Self {
        Self { reader, rooms: HashMap::new() }
    }
}

impl Relay {
    /// Holds an operation back that needs events which are not here, and whatever comes after it in its room.
    pub(super) fn hold_until_warm(&mut self, held: Held) -> Option<Held> {
        let Some(room) = held.op.room().filter(|_| self.warming.reader.is_some()) else { return Some(held) };
        self.store.touch(room, wall_clock());
        if let Some(waiting) = self.warming.rooms.get_mut(room) {
            waiting.push_back(held);
            return None;
        }
        let Some(log) = self.store.lacks(&held.op) else { return Some(held) };
        self.read(log, VecDeque::from([held]));
        None
    }

    /// Has a room's events read, unless they are being read.
    fn read(&mut self, log: ColdLog, held: VecDeque<Held>) {
        let Some(reader) = &self.warming.reader else { return };
        self.warming.rooms.entry(log.room.clone()).or_insert_with(|| {
            reader.read(Wanted { shard: self.shard, log });
            held
        });
    }

    /// Has those rooms read of which something is to be dropped.
    pub(super) fn read_wanted(&mut self) {
        for log in self.store.take_wanted() {
            self.read(log, VecDeque::new());
        }
    }

    /// A room's events are here, or will not be: what waited for them goes on.
    pub(super) fn warmed(&mut self, reading: Reading) {
        let room = reading.wanted.log.room;
        match reading.result {
            Ok(events) => {
                self.store.warm(&room, events, wall_clock());
                self.write_what_gave_room();
            }
            Err(_) => self.store.not_warmed(&room),
        }
        // What is asked meanwhile, by whoever is answered here, comes after all that waits.
        while let Some(mut held) = self.warming.rooms.get_mut(&room).and_then(VecDeque::pop_front) {
            let ours = held.ticket.as_ref().filter(|ticket| ticket.shard == self.shard).map(|ticket| ticket.key);
            if self.store.lacks(&held.op).is_some() && !held.does_without_events() {
                self.cannot(held);
            } else {
                self.execute_now(held);
            }
            ours.into_iter().for_each(|key| self.wake_unless_waiting(key));
        }
        self.warming.rooms.remove(&room);
    }

    /// Nothing is done of what cannot be done, and whoever asked is told.
    fn cannot(&mut self, held: Held) {
        let Held { op, ticket, .. } = held;
        let op = if let Op::OfServer(op) = op { *op } else { op };
        // What a pong proved nobody asked about, so an answer would be taken for that to another question.
        let is_answered = !matches!(op, Op::Ack { proven: true, .. });
        if let Some(ticket) = ticket.filter(|_| is_answered) {
            self.bring(ticket, Answer::Unavailable);
        }
        // Whoever was about to come in is not.
        if let Op::Join { room, user, .. } = op {
            self.submit(Op::Unreserve { room, user }, None, false);
        }
    }
}
