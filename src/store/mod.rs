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
mod engine;
mod op;
mod outcome;
mod owner;
pub mod redis;

use std::sync::Arc;

pub use change::{Change, Image, Member, Revocation, RevokedTokens, RoomImage, RoomState, Sent};
pub use class::{Class, Classes};
pub use cursors::{CursorKind, Cursors, MessageStatus, Moved, Progress};
pub use disk::{Batch, Disk, Done, Journal, News, Reader, Reading, StoreError, Wanted, commit_floor};
pub use embedded::{ColdLog, Partition, RoomSummary};
pub use engine::Engine;
pub use op::{MembershipChange, Op};
pub use outcome::{Appeared, Feed, JoinRefusal, Outcome, Resync, Source, Typing};
pub use owner::owner_of;
pub use redis::{
    Applied, Concluded, Ear, Heard, Keys, Link, News as RemoteNews, Post, Preflight, Remote, RemoteParts,
    RemoteSettings, SCRIPTS, Settings as LinkSettings, SettingsError as LinkSettingsError, Sky,
    StartError as LinkStartError, Token, Topology, Wait,
};

use crate::ids::{DeviceId, MessageId, RoomId, UserId};
use crate::message::{Event, Message, Seq, Timestamp};
use crate::wire::presence::Presence;
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
    /// Members above which nobody is told how available another member is.
    pub presence_members_max: usize,
    /// Users of whom one partition knows when they were last there.
    pub last_seen_users_max: usize,
    /// Members above which nobody is told of receipts.
    pub receipt_members_max: usize,
    /// After so long without use a room's events are left to the disk, in milliseconds.
    pub cold_after_ms: u64,
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
    /// Whether that is only its beginning. Then the connection takes part when it has the rest.
    pub more: bool,
    /// Members of the room.
    pub members: usize,
    /// How far the user has come, where there is a log.
    pub progress: Option<Progress>,
}

/// A page of what a device was not delivered.
#[derive(Debug)]
pub struct QueuePage {
    /// Where the room stands. With the last page the connection takes part in everything after.
    pub head: Head,
    /// The events that follow the page before, or `None` if they are no longer kept.
    pub missed: Option<Vec<Arc<Event>>>,
    /// Whether there are more.
    pub more: bool,
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
    /// To `QueuePage`.
    QueuePage(Box<QueuePage>),
    /// To `Reserve` and `Join`.
    JoinRefused(JoinRefusal),
    /// To `Leave`.
    Left,
    /// To `PresenceOf`.
    Presence(Vec<Presence>),
    /// To `IsMember`: yes. To `StartTyping`, `StopTyping` and `SetPresence`: done.
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
    /// Rooms whose events are on the disk alone.
    pub cold_rooms: usize,
}
