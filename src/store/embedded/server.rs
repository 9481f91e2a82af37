//! Operations of the application's own servers.
//!
//! Such a server stands above membership, not above bounds. What it says in a room that is not there yet makes the room,
//! if there is place for one more; whom it makes a member is live nowhere by that.

use super::Partition;
use crate::ids::{RoomId, ShardId};
use crate::message::Timestamp;
use crate::store::{Answer, JoinRefusal, Op, Outcome};

/// For whom an operation is carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Asker {
    /// A user, on one of the user's connections.
    #[default]
    Connection,
    /// One of the application's own servers.
    Server,
}

impl Partition {
    /// Carries out what one of the application's own servers asks for.
    pub(super) fn apply_of_server(&mut self, op: Op, from: ShardId, now: Timestamp) -> Outcome {
        if let Op::Append { room, .. } = &op {
            if !self.has_place_for(room) {
                return Answer::JoinRefused(JoinRefusal::Limit).into();
            }
            self.open_room(room);
        }
        self.asker = Asker::Server;
        let outcome = self.apply(op, from, now);
        self.asker = Asker::Connection;
        outcome
    }

    /// Whether a room is there, or there is place for it.
    pub(super) fn has_place_for(&self, id: &RoomId) -> bool {
        let rooms_max = self.limits.rooms_max;
        rooms_max == 0 || self.rooms.len() < rooms_max || self.by_id.contains_key(id)
    }
}
