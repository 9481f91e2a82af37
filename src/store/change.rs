//! What an operation changed, as the disk is to keep it and as it can be taken back; and what is read back at a start.
//!
//! The engine in memory notes changes and can undo them, the disk writes them. Neither knows the other.

use std::sync::Arc;

use crate::ids::{RoomId, UserId};
use crate::message::{Event, Seq, Timestamp};
use crate::store::{Cursors, Receipt};

/// One thing that an operation changed.
#[derive(Clone, Debug)]
pub enum Change {
    /// A room was opened, or its log's bounds moved. Events outside them are gone.
    Room(RoomState),
    /// Nothing is left of a room.
    Closed(RoomId),
    /// An event was appended to a room's log.
    Event {
        /// Which room.
        room: RoomId,
        /// The event, which has a `seq`.
        event: Arc<Event>,
    },
    /// A message's content was taken out of the events that carried it.
    Redacted {
        /// Which room.
        room: RoomId,
        /// The events as they were.
        before: Vec<Arc<Event>>,
        /// The same events as they are.
        after: Vec<Arc<Event>>,
    },
    /// A membership began, ended or changed.
    Member {
        /// Which room.
        room: RoomId,
        /// Who.
        user: UserId,
        /// What it was, if the user was a member.
        before: Option<Member>,
        /// What it is, if the user is one.
        after: Option<Member>,
    },
    /// A member's cursors moved, or ended with the membership.
    Cursors {
        /// In which room.
        room: RoomId,
        /// Whose.
        user: UserId,
        /// What they were.
        before: Option<Box<Cursors>>,
        /// What they are.
        after: Option<Box<Cursors>>,
    },
    /// The first answer to a send is remembered.
    Sent {
        /// Which send.
        sent: Sent,
        /// The answer.
        receipt: Receipt,
        /// Until when.
        expiry: Timestamp,
    },
    /// When a user was last there, or that this is no longer known.
    Seen {
        /// Who.
        user: UserId,
        /// When.
        at: Option<Timestamp>,
    },
    /// A send is forgotten.
    Forgotten(Sent),
}

/// A room without its events and members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomState {
    /// Which room.
    pub room: RoomId,
    /// Its log's name; `None` for a room without a log.
    pub epoch: Option<Arc<str>>,
    /// `seq` of the first event that is kept, or of the next one when none is.
    pub first: Seq,
    /// `seq` of the last event ever appended; 0 before the first.
    pub head: Seq,
    /// What its events cost, in bytes.
    pub bytes: usize,
    /// When the first event that is kept happened; 0 when none is.
    pub oldest_at: Timestamp,
    /// Memberships that have begun.
    pub memberships: u64,
}

/// A user's membership of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which of the room's memberships.
    pub membership: u64,
    /// When it began.
    pub joined_at: Timestamp,
    /// Live connections, on all shards. Of the process, not of the disk.
    pub live: u32,
}

/// Tokens that are refused although they are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevokedTokens {
    /// All of a user's that were issued until then.
    User(UserId),
    /// The one with this id.
    Token(Box<str>),
}

/// That they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Which tokens.
    pub of: RevokedTokens,
    /// Since when.
    pub at: Timestamp,
    /// Until when, because then they have expired.
    pub until: Timestamp,
    /// Until when it was said to be before, if it was.
    pub before: Option<Timestamp>,
}

/// What makes two sends the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sent {
    /// Where.
    pub room: RoomId,
    /// The author.
    pub user: UserId,
    /// The author's own name for the message.
    pub temp_id: Box<str>,
}

/// All that was kept of the rooms of one partition.
#[derive(Debug, Default)]
pub struct Image {
    /// Each room with its members. Its events are read when somebody needs them.
    pub rooms: Vec<RoomImage>,
    /// Remembered sends, with the answer and until when; soonest forgotten first.
    pub sent: Vec<(Sent, Receipt, Timestamp)>,
    /// When users were last there, soonest forgotten first.
    pub seen: Vec<(UserId, Timestamp)>,
    /// Rooms of the users that the partition owns, in the order of joining.
    pub users: Vec<(UserId, Vec<RoomId>)>,
}

/// A room as it was kept, without its events.
#[derive(Debug)]
pub struct RoomImage {
    /// Its state.
    pub state: RoomState,
    /// Its members.
    pub members: Vec<(UserId, Member)>,
    /// Members' cursors. Those of a member who is not here start at the head.
    pub cursors: Vec<(UserId, Cursors)>,
}
