//! What is kept: rooms' logs, members, repeated sends, who is live where. And the seam between engines and the rest.
//!
//! The seam is a closed set of operations. An [`Op`] is submitted to its owner and answered *later*: at once by the
//! engine in memory, after an fsync with a disk behind it, after a round trip by others. What an operation caused beside
//! its [`Answer`] (an event for everyone who is live in the room, a change of someone's membership) comes with the same
//! [`Outcome`], never before it is stored. The store knows nothing of connections, frames or plugins: whoever submits an operation
//! remembers for whom.

mod change;
mod class;
mod cursors;
mod disk;
mod embedded;
mod outcome;
mod owner;

use std::sync::Arc;

pub use change::{Change, Image, Member, RoomImage, RoomState, Sent};
pub use class::{Class, Classes};
pub use cursors::{Cursor, CursorKind, Cursors, DeviceCursor, MessageStatus, Moved, Progress};
pub use disk::{Batch, Disk, Done, Journal, News, StoreError, commit_floor};
pub use embedded::{Partition, RoomSummary};
pub use outcome::{Feed, JoinRefusal, Outcome};
pub use owner::owner_of;

use crate::ids::{DeviceId, MessageId, RoomId, UserId};
use crate::message::{Event, Message, Seq, Timestamp};
use crate::wire::request::{Page, Since, UpTo};
use serde_json::value::RawValue;

/// Bounds of what is kept and read, from the configuration. 0 = none, except for `events_max` of a class.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Rooms of one partition.
    pub rooms_max: usize,
    /// Bytes of events in all rooms of one partition together.
    pub total_bytes_max: usize,
    /// How long a `tempId` is remembered, in milliseconds.
    pub dedup_ms: u64,
    /// How many `tempId`s one partition remembers.
    pub dedup_entries_max: usize,
    /// Connections of one user.
    pub connections_per_user_max: usize,
    /// Rooms of one user.
    pub rooms_per_user_max: usize,
    /// Members of one room.
    pub members_per_room_max: usize,
    /// Members above which joining and leaving are not logged.
    pub member_events_max: usize,
    /// Users in one answer about who is live.
    pub online_users_max: usize,
    /// Devices of one user that have a cursor of their own in a room.
    pub devices_per_user_max: usize,
    /// Members above which nobody is told of receipts.
    pub receipt_members_max: usize,
    /// Events in one recovery.
    pub recover_events_max: usize,
    /// Bytes of events in one recovery or one page of history.
    pub recover_bytes_max: usize,
}

/// A message that is to be stored.
#[derive(Debug)]
pub struct Draft {
    /// The author's device.
    pub device: Option<DeviceId>,
    /// The author's own name for it; a repeat gets the first answer.
    pub temp_id: Option<Box<str>>,
    /// The application's type.
    pub message_type: Arc<str>,
    /// Any JSON.
    pub content: Arc<RawValue>,
    /// What it replies to.
    pub reply_to: Option<Box<str>>,
}

/// New content for a message that is stored.
#[derive(Clone, Debug)]
pub struct Revision {
    /// Which message.
    pub message_id: MessageId,
    /// Any JSON.
    pub content: Arc<RawValue>,
    /// The version that the editor knows.
    pub if_version: Option<u64>,
}

/// What can be asked of the store.
#[derive(Debug)]
pub enum Op {
    /// Notes that a user is about to join a room, within the bound on rooms per user. Owned by the user.
    Reserve {
        /// Who.
        user: UserId,
        /// Which room.
        room: RoomId,
    },
    /// Makes a user a member, and one of the user's connections on the asking shard live. Follows a `Reserve`.
    Join {
        /// Which room.
        room: RoomId,
        /// Who.
        user: UserId,
        /// What the connection has seen.
        since: Option<Since>,
    },
    /// Takes a reservation back, unless the user is a member by now. Not answered.
    Unreserve {
        /// Which room.
        room: RoomId,
        /// Who.
        user: UserId,
    },
    /// Makes one connection of a member live, or (`live: false`) only tells the room's head.
    Attach {
        /// Which room.
        room: RoomId,
        /// Who.
        user: UserId,
        /// The connection's device.
        device: Option<DeviceId>,
        /// What the connection has seen.
        since: Option<Since>,
        /// Whether, if it does not say, that is what its device was delivered.
        resume: bool,
        /// Whether the connection becomes live.
        live: bool,
    },
    /// One connection of a user on the asking shard is no longer live. Not answered.
    Detach {
        /// Which room.
        room: RoomId,
        /// Who.
        user: UserId,
        /// By which of the room's memberships it was live.
        membership: u64,
    },
    /// Ends a membership.
    Leave {
        /// Which room.
        room: RoomId,
        /// Who.
        user: UserId,
    },
    /// Asks whether a user is a member.
    IsMember {
        /// Which room.
        room: RoomId,
        /// Who.
        user: UserId,
    },
    /// Stores a message.
    Append {
        /// Which room.
        room: RoomId,
        /// The author.
        user: UserId,
        /// The message.
        draft: Draft,
    },
    /// Asks for the first answer to an earlier `Append` with the same `tempId`.
    Recall {
        /// Which room.
        room: RoomId,
        /// The author.
        user: UserId,
        /// The author's own name for the message.
        temp_id: Box<str>,
    },
    /// Gives a message new content.
    Edit {
        /// Which room.
        room: RoomId,
        /// Who edits.
        user: UserId,
        /// The change.
        revision: Revision,
        /// Whether it may be a message of somebody else.
        any_author: bool,
    },
    /// Deletes a message and its content.
    Delete {
        /// Which room.
        room: RoomId,
        /// Who deletes.
        user: UserId,
        /// Which message.
        message_id: MessageId,
        /// Whether it may be a message of somebody else.
        any_author: bool,
    },
    /// Reads messages in their present state.
    History {
        /// Which room.
        room: RoomId,
        /// Who asks.
        user: UserId,
        /// Which part.
        page: Page,
    },
    /// Lists the members that are live.
    OnlineUsers {
        /// Which room.
        room: RoomId,
        /// Who asks.
        user: UserId,
    },
    /// Raises a user's cursors.
    Ack {
        /// Which room.
        room: RoomId,
        /// Whose.
        user: UserId,
        /// The user's device.
        device: Option<DeviceId>,
        /// How far.
        up_to: UpTo,
        /// `Seen` implies delivered.
        kind: CursorKind,
    },
    /// Asks what became of a message.
    Status {
        /// Which room.
        room: RoomId,
        /// Who asks.
        user: UserId,
        /// Which message.
        message_id: MessageId,
        /// Users up to this one were listed before.
        after: Option<UserId>,
    },
    /// Lists a user's rooms. Owned by the user.
    RoomsOf {
        /// Who.
        user: UserId,
    },
    /// Counts one more connection of a user, within their bound, and lists the user's rooms. Owned by the user.
    Arrive {
        /// Who.
        user: UserId,
    },
    /// Counts one connection less. Not answered. Owned by the user.
    Depart {
        /// Who.
        user: UserId,
    },
    /// From a room's owner to a user's: a membership began or ended. Causes a [`MembershipChange`]; brings whoever left
    /// the answer to its `Leave`.
    Index(MembershipChange),
    /// Any of these, for one of the application's own servers: no membership is needed, and nobody becomes live.
    OfServer(Box<Op>),
}

/// A membership that began or ended.
#[derive(Clone, Debug)]
pub struct MembershipChange {
    /// Who.
    pub user: UserId,
    /// Which room.
    pub room: RoomId,
    /// Which of the room's memberships, so that an old end cannot undo a newer beginning.
    pub membership: u64,
    /// Whether it began.
    pub joined: bool,
    /// Whether a reservation is taken back: nobody had joined, so nobody need hear of it.
    pub quiet: bool,
    /// Whether it ended because one of the application's own servers said so.
    pub removed: bool,
}

impl Op {
    /// The name by whose hash the operation's owner is found.
    pub fn owner(&self) -> &str {
        match self {
            Self::Reserve { user, .. } | Self::RoomsOf { user } | Self::Arrive { user } | Self::Depart { user } => {
                user.as_str()
            }
            Self::Index(change) => change.user.as_str(),
            Self::OfServer(op) => op.owner(),
            Self::Join { room, .. }
            | Self::Unreserve { room, .. }
            | Self::Attach { room, .. }
            | Self::Detach { room, .. }
            | Self::Leave { room, .. }
            | Self::IsMember { room, .. }
            | Self::Append { room, .. }
            | Self::Recall { room, .. }
            | Self::Edit { room, .. }
            | Self::Delete { room, .. }
            | Self::History { room, .. }
            | Self::OnlineUsers { room, .. }
            | Self::Ack { room, .. }
            | Self::Status { room, .. } => room.as_str(),
        }
    }
}

impl Op {
    /// Where and by whom a message is sent or changed.
    fn author(&self) -> Option<(RoomId, UserId)> {
        match self {
            Self::Append { room, user, .. } | Self::Edit { room, user, .. } | Self::Delete { room, user, .. } => {
                Some((room.clone(), user.clone()))
            }
            _ => None,
        }
    }

    /// Whether it is about what is kept of a room, rather than of a user.
    pub fn is_of_room(&self) -> bool {
        match self {
            Self::Reserve { .. }
            | Self::RoomsOf { .. }
            | Self::Arrive { .. }
            | Self::Depart { .. }
            | Self::Index(_) => false,
            Self::OfServer(op) => op.is_of_room(),
            _ => true,
        }
    }
}

/// Where a room stands.
#[derive(Clone, Debug)]
pub struct Head {
    /// Its log and the last event's `seq`. `None` for a room without a log.
    pub log: Option<(Arc<str>, Seq)>,
}

impl Head {
    /// The log's epoch.
    pub fn epoch(&self) -> Option<&Arc<str>> {
        self.log.as_ref().map(|(epoch, _)| epoch)
    }

    /// The last event's `seq`; 0 before the first.
    pub fn seq(&self) -> Option<Seq> {
        self.log.as_ref().map(|(_, seq)| *seq)
    }
}

/// What a connection learns of a room when it becomes live there.
#[derive(Debug)]
pub struct Entry {
    /// Where the room stands. The connection is live for everything after.
    pub head: Head,
    /// Whose, if the connection became live there.
    pub user: Option<UserId>,
    /// Which of the room's memberships this is.
    pub membership: u64,
    /// The room, if the connection became live there and has to be detached some day.
    pub live_in: Option<RoomId>,
    /// Exactly what was missed since the place that was asked for, or `None` if that cannot be told.
    pub missed: Option<Vec<Arc<Event>>>,
    /// Members of the room.
    pub members: usize,
    /// How far the user has come, where there is a log.
    pub progress: Option<Progress>,
}

/// How a message was stored.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// Its id.
    pub message_id: MessageId,
    /// Its log and place there. `None` in a room without a log.
    pub log: Option<(Arc<str>, Seq)>,
    /// When.
    pub sent_at: Timestamp,
    /// Whether it had been stored before.
    pub duplicate: bool,
}

/// The store's answers.
#[derive(Debug)]
pub enum Answer {
    /// To `Reserve`.
    Reserved,
    /// To `Join` and `Attach`.
    Entered(Box<Entry>),
    /// To `Reserve` and `Join`.
    JoinRefused(JoinRefusal),
    /// To `Leave`.
    Left,
    /// To `IsMember`: yes.
    Member,
    /// To `Append` and `Recall`.
    Appended(Receipt),
    /// To `Recall`: there was none.
    NotSent,
    /// To `Edit`.
    Edited {
        /// The message's new version.
        version: u64,
        /// The edit's place in the log.
        seq: Seq,
    },
    /// To `Delete`.
    Deleted {
        /// The deletion's place in the log.
        seq: Seq,
    },
    /// To `History`.
    Messages {
        /// The log.
        epoch: Option<Arc<str>>,
        /// Messages in their present state, each with the place where it first stood; ascending.
        messages: Vec<(Seq, Message)>,
        /// Whether there are more in the direction that was read.
        has_more: bool,
    },
    /// To `OnlineUsers`.
    Online {
        /// Who.
        users: Vec<UserId>,
        /// Whether the list was cut.
        has_more: bool,
    },
    /// To `Ack`.
    Acknowledged,
    /// To `Status`.
    Status(Box<MessageStatus>),
    /// To `RoomsOf` and `Arrive`.
    Rooms(Vec<RoomId>),
    /// To `Arrive`: the user has as many connections as are allowed.
    TooManyConnections,
    /// The asking user is not a member of the room.
    NotAMember,
    /// There is no such message.
    MessageNotFound,
    /// The message is someone else's.
    Forbidden,
    /// The message has another version.
    EditConflict {
        /// The version it has.
        version: u64,
    },
    /// It could not be stored, and nothing of it was done.
    Unavailable,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Rooms.
    pub rooms: usize,
    /// Events in their logs.
    pub events: usize,
    /// What those cost, in bytes.
    pub bytes: usize,
    /// Remembered `tempId`s.
    pub dedup_entries: usize,
}
