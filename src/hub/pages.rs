//! Pages of what a connection missed: one is asked for when the socket has taken all that waited, so that a long queue waits
//! in its log and not here.
//!
//! While it gets a room's pages a connection has no place in the room. What its pongs prove of them is kept here.

use bytes::Bytes;

use super::connection::Connection;
use super::{Hub, Stats};
use crate::ids::{ConnectionKey, RoomId};
use crate::message::Seq;

/// What is known of a connection that gets pages.
#[derive(Default)]
pub(super) struct Pages {
    /// How far it is in the room whose turn it is.
    reached: Option<Reached>,
}

struct Reached {
    room: RoomId,
    written: Seq,
    /// The last event behind which a ping was written.
    pinged: Seq,
    /// The last event that is known to have arrived.
    proven: Seq,
}

impl Pages {
    fn wrote(&mut self, room: &RoomId, seq: Seq) {
        match &mut self.reached {
            Some(reached) if reached.room == *room => reached.written = seq,
            _ => self.reached = Some(Reached { room: room.clone(), written: seq, pinged: 0, proven: 0 }),
        }
    }

    /// A ping is written. Returns whether it reaches further than the one before.
    pub(super) fn reach(&mut self) -> bool {
        let Some(reached) = self.reached.as_mut().filter(|reached| reached.written > reached.pinged) else {
            return false;
        };
        reached.pinged = reached.written;
        true
    }

    /// The pong to the last ping came. Returns what it proves beyond the one before.
    pub(super) fn prove(&mut self) -> Option<(RoomId, Seq)> {
        let reached = self.reached.as_mut().filter(|reached| reached.pinged > reached.proven)?;
        reached.proven = reached.pinged;
        Some((reached.room.clone(), reached.proven))
    }
}

impl Connection {
    /// Whether it is time for the connection's next page: the socket has taken all that waited.
    pub fn wants_page(&self) -> bool {
        self.pages.is_some() && self.is_drained()
    }
}

impl Hub {
    /// From here on the connection's task asks for a page whenever nothing waits.
    pub fn begin_pages(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connection(key) {
            connection.pages = Some(Box::default());
            connection.wake();
        }
    }

    /// There are no more pages for a connection.
    pub fn end_pages(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connection(key) {
            connection.pages = None;
        }
    }

    /// Writes a page, behind all that was caused before, and says how far the connection is in a room that it is not live
    /// in yet. Like what is released, a page does not count against what may be left waiting: there is one at a time.
    pub fn page(&mut self, key: ConnectionKey, frames: Vec<Bytes>, reached: Option<(&RoomId, Seq)>) {
        self.settle(key.slot);
        let stats = Stats { deliveries: frames.len() as u64, ..Stats::default() };
        let Some(connection) = self.connection(key).filter(|connection| connection.closing.is_none()) else { return };
        if let Some(pages) = &mut connection.pages {
            match reached {
                Some((room, seq)) => pages.wrote(room, seq),
                None => pages.reached = None,
            }
            connection.proof.note_written();
        }
        if !frames.is_empty() {
            connection.backlog.get_or_insert_with(Box::default).push_granted(frames);
        }
        connection.wake();
        self.stats.deliveries += stats.deliveries;
        self.ping(key.slot);
    }
}
