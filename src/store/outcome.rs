//! Everything that an operation led to, beside what it changed.

use std::sync::Arc;

use super::{Answer, MembershipChange, Moved, Op};
use crate::ids::{ConnectionKey, RoomId, ShardId, UserId};
use crate::message::Event;

/// Why someone may not join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinRefusal {
    /// The room's class admits only whom the server added.
    NotAllowed,
    /// A bound on rooms or members.
    Limit,
}

/// An event for everyone who is live in its room.
#[derive(Debug)]
pub struct Feed {
    /// Which room.
    pub room: RoomId,
    /// Its log.
    pub epoch: Option<Arc<str>>,
    /// The event.
    pub event: Arc<Event>,
    /// Which shards have live connections there: bit n for shard n.
    pub shards: u64,
}

/// Events were missed that cannot be told: whoever is live in the room is to know.
#[derive(Debug)]
pub struct Resync {
    /// Which room.
    pub room: RoomId,
    /// Its log.
    pub epoch: Arc<str>,
    /// Which shards have live connections there: bit n for shard n.
    pub shards: u64,
}

/// A connection through which someone does something, and its shard.
pub type Source = (ShardId, ConnectionKey);

/// Someone is as available as not before.
#[derive(Debug)]
pub struct Appeared {
    /// Who.
    pub user: UserId,
    /// The user's rooms.
    pub rooms: Vec<RoomId>,
}

/// Someone began or ceased to type: for everyone who is live in the room, but for the connection that it is about.
#[derive(Debug)]
pub struct Typing {
    /// Which room.
    pub room: RoomId,
    /// Who.
    pub user: UserId,
    /// Whether it began.
    pub is_typing: bool,
    /// Which connection it is about.
    pub source: Source,
    /// Which shards have live connections there: bit n for shard n.
    pub shards: u64,
}

/// Everything that an operation led to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// For whoever asked.
    pub answer: Option<Answer>,
    /// For everyone who is live in the room.
    pub feed: Option<Feed>,
    /// For another owner.
    pub forward: Option<Op>,
    /// For every shard.
    pub change: Option<MembershipChange>,
    /// For the authors of what is newly covered, and for the user's other devices.
    pub moved: Vec<Moved>,
    /// For everyone who is live in the room; it may be lost.
    pub typing: Option<Typing>,
    /// For everyone who watches the user or shares a room with the user; it may be lost.
    pub appeared: Option<Appeared>,
    /// For everyone who is live in the room.
    pub resync: Option<Resync>,
}

impl Outcome {
    /// Whether it led to nothing that anybody is told.
    pub fn is_nothing(&self) -> bool {
        let Self { answer, feed, forward, change, moved, typing, appeared, resync } = self;
        let events = feed.is_none() && resync.is_none() && typing.is_none() && appeared.is_none() && moved.is_empty();
        events && answer.is_none() && forward.is_none() && change.is_none()
    }
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        Self { answer: Some(answer), ..Self::default() }
    }
}
