//! The closed set of what can be asked of the store.

use super::{CursorKind, Draft, Revision};
use crate::ids::{ConnectionKey, DeviceId, MessageId, RoomId, UserId};
use crate::message::Seq;
use crate::wire::presence::{Availability, Status};
use crate::wire::request::{Page, Since, UpTo};

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
        /// The connection's device.
        device: Option<DeviceId>,
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
        /// If it does not say: as much of what its device was not delivered as costs so many bytes, 0 = no bound. If there
        /// is more, the connection asks for the rest before it takes part; it counts as live nevertheless.
        resume: Option<usize>,
        /// Whether the connection becomes live.
        live: bool,
    },
    /// Asks for the next page of what a device was not delivered. With the last one the connection takes part: what
    /// happens after it is for the connection.
    QueuePage {
        /// Which room.
        room: RoomId,
        /// Who.
        user: UserId,
        /// By which of the room's memberships it is live.
        membership: u64,
        /// The last event of the page before.
        after: Seq,
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
        /// Whether the server saw for itself that it arrived. Then it is not answered, and may be stored later.
        proven: bool,
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
        /// The asking shard's connection.
        connection: ConnectionKey,
        /// How available the user is by it.
        status: Status,
    },
    /// Counts one connection less. Not answered. Owned by the user.
    Depart {
        /// Who.
        user: UserId,
        /// The asking shard's connection.
        connection: ConnectionKey,
        /// How long the user is held to be as available as before, in milliseconds.
        grace_ms: u64,
    },
    /// Says how available a user is by a connection of the asking shard. Owned by the user.
    SetPresence {
        /// Who.
        user: UserId,
        /// Which connection.
        connection: ConnectionKey,
        /// How available.
        availability: Availability,
    },
    /// Asks how available users are who have the same owner. Owned by them.
    PresenceOf {
        /// Who.
        users: Vec<UserId>,
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
            Self::Reserve { user, .. }
            | Self::RoomsOf { user }
            | Self::Arrive { user, .. }
            | Self::Depart { user, .. }
            | Self::SetPresence { user, .. } => user.as_str(),
            Self::PresenceOf { users } => users.first().map_or("", UserId::as_str),
            Self::Index(change) => change.user.as_str(),
            Self::OfServer(op) => op.owner(),
            Self::StartTyping { room, .. } | Self::StopTyping { room, .. } | Self::TypingUsers { room, .. } => {
                room.as_str()
            }
            _ => self.room().map_or("", RoomId::as_str),
        }
    }
}

impl Op {
    /// Where and by whom a message is sent or changed.
    pub(super) fn author(&self) -> Option<(RoomId, UserId)> {
        match self {
            Self::Append { room, user, .. } | Self::Edit { room, user, .. } | Self::Delete { room, user, .. } => {
                Some((room.clone(), user.clone()))
            }
            _ => None,
        }
    }

    /// The room whose events it is about. (`Attach` is about some of them, which may be none.)
    pub(super) fn needs_events_of(&self) -> Option<&RoomId> {
        match self {
            Self::Join { room, .. }
            | Self::Leave { room, .. }
            | Self::Append { room, .. }
            | Self::Edit { room, .. }
            | Self::Delete { room, .. }
            | Self::History { room, .. }
            | Self::QueuePage { room, .. }
            | Self::Ack { room, .. }
            | Self::Status { room, .. } => Some(room),
            _ => None,
        }
    }

    /// The member who asks for events or changes them.
    pub(super) fn asking(&self) -> Option<&UserId> {
        match self {
            Self::Leave { user, .. }
            | Self::Append { user, .. }
            | Self::Edit { user, .. }
            | Self::Delete { user, .. }
            | Self::History { user, .. }
            | Self::QueuePage { user, .. }
            | Self::Ack { user, .. }
            | Self::Status { user, .. } => Some(user),
            _ => None,
        }
    }

    /// The room of which it is about what is kept, rather than of a user or of who types.
    pub fn room(&self) -> Option<&RoomId> {
        match self {
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
            | Self::QueuePage { room, .. }
            | Self::OnlineUsers { room, .. }
            | Self::Ack { room, .. }
            | Self::Status { room, .. } => Some(room),
            Self::OfServer(op) => op.room(),
            Self::Reserve { .. }
            | Self::RoomsOf { .. }
            | Self::Arrive { .. }
            | Self::Depart { .. }
            | Self::SetPresence { .. }
            | Self::PresenceOf { .. }
            | Self::Index(_)
            | Self::StartTyping { .. }
            | Self::StopTyping { .. }
            | Self::TypingUsers { .. } => None,
        }
    }

    /// Whether it is about what is kept of a room, rather than of a user or of who types.
    pub fn is_of_room(&self) -> bool {
        self.room().is_some()
    }
}
