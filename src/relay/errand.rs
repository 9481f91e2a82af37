//! To whom, and for what, an answer of the store is to be brought.

use crate::ids::{ConnectionKey, RoomId, ShardId};

/// Goes with an operation and comes back with its answer.
#[derive(Clone, Debug)]
pub struct Ticket {
    pub(super) shard: ShardId,
    pub(super) key: ConnectionKey,
    pub(super) errand: Errand,
}

/// What the answer is for.
#[derive(Clone, Debug)]
pub(super) enum Errand {
    /// The request that the connection waits for.
    Request,
    /// The same, and the operation noted down that the user is about to be in a room.
    Reserve {
        /// Which room.
        room: RoomId,
    },
    /// One of the rooms that a connection becomes live in when it authenticates.
    Attach {
        /// Which of them.
        index: usize,
    },
    /// A page of what a connection missed.
    QueuePage {
        /// In which room.
        room: RoomId,
        /// By which of the room's memberships.
        membership: u64,
    },
    /// A question about how available users are.
    Presence,
    /// A room that the user joined on another connection.
    Follow {
        /// Which room.
        room: RoomId,
    },
}
