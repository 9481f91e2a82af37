//! What is kept: rooms' logs, members, repeated sends, who is live where. And the seam between engines and the rest.
//!
//! The seam is a closed set of operations. An [`Op`] is submitted to its owner and answered *later*: at once by the
//! engine in memory, after an fsync with a disk behind it, after a round trip by others. What an operation caused beside
//! its [`Answer`] (an event for everyone who is live in the room, a change of someone's membership) comes with the same
//! [`Outcome`], never before it is stored. The store knows nothing of connections, frames or plugins: whoever submits an operation
//! remembers for whom.

mod change;
mod class;
mod disk;
mod embedded;

use std::sync::Arc;

pub use change::{Change, Image, Member, RoomImage, RoomState, Sent};
pub use class::{Class, Classes};
pub use disk::{Batch, Disk, Done, Journal, News, StoreError};
pub use embedded::Partition;

use crate::ids::{ConnectionKey, DeviceId, MessageId, RoomId, ShardId, UserId};
use crate::message::{Event, Message, Seq, Timestamp};
use crate::wire::request::{Page, Since};
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
        /// What the connection has seen.
        since: Option<Since>,
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
    /// A member begins to type, or goes on, until `stop_ms` from now.
    StartTyping {
        /// Which room.
        room: RoomId,
        /// Who.
        user: UserId,
        /// The asking shard's connection through which.
        connection: ConnectionKey,
        /// How long it counts, in milliseconds.
        stop_ms: u64,
    },
    /// A user no longer types through a connection of the asking shard.
    StopTyping {
        /// Which room.
        room: RoomId,
        /// Who.
        user: UserId,
        /// Which connection.
        connection: ConnectionKey,
    },
    /// Lists the members that type.
    TypingUsers {
        /// Which room.
        room: RoomId,
        /// Who asks.
        user: UserId,
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
}

impl Op {
    /// The name by whose hash the operation's owner is found.
    pub fn owner(&self) -> &str {
        match self {
            Self::Reserve { user, .. } | Self::RoomsOf { user } | Self::Arrive { user } | Self::Depart { user } => {
                user.as_str()
            }
            Self::Index(change) => change.user.as_str(),
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
            | Self::StartTyping { room, .. }
            | Self::StopTyping { room, .. }
            | Self::TypingUsers { room, .. } => room.as_str(),
        }
    }
}

impl Op {
    /// Whether it is about what is kept of a room, rather than of a user or of who types.
    pub fn is_of_room(&self) -> bool {
        !matches!(
            self,
            Self::Reserve { .. }
                | Self::RoomsOf { .. }
                | Self::Arrive { .. }
                | Self::Depart { .. }
                | Self::Index(_)
                | Self::StartTyping { .. }
                | Self::StopTyping { .. }
                | Self::TypingUsers { .. }
        )
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

/// Why someone may not join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinRefusal {
    /// The room's class admits only whom the server added.
    NotAllowed,
    /// A bound on rooms or members.
    Limit,
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
    /// To `IsMember`: yes. To `StartTyping` and `StopTyping`: done.
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
    /// To `TypingUsers`.
    Typing {
        /// Who.
        users: Vec<UserId>,
        /// Whether the list was cut.
        has_more: bool,
    },
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

/// The connection through which someone types, and its shard.
pub type TypingSource = (ShardId, ConnectionKey);

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
    pub source: TypingSource,
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
    /// For everyone who is live in the room; it may be lost.
    pub typing: Option<Typing>,
}

impl Outcome {
    /// Whether it led to nothing that anybody is told.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self { answer: None, feed: None, forward: None, change: None, typing: None })
    }
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        Self { answer: Some(answer), ..Self::default() }
    }
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

/// Which shard owns a name. Any even spread will do, but every shard must find the same.
pub fn owner_of(name: &str, shards: u16) -> ShardId {
    // FNV-1a: short, well spread over the low bits after the fold, and the same everywhere.
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let folded = hash ^ (hash >> 32);
    ShardId(u16::try_from(folded % u64::from(shards.max(1))).unwrap_or(0))
}
