//! What the relay knows of an authenticated connection.

use crate::ids::{ConnectionId, DeviceId, MessageId, RoomId, UserId};
use crate::wire::Dialect;
use crate::wire::request::Since;

use super::Asked;
use super::attach::{Arrival, Attachment};
use super::messages::Attempt;

/// An authenticated connection.
pub(super) struct Peer {
    pub(super) connection: ConnectionId,
    pub(super) user: UserId,
    pub(super) device: Option<DeviceId>,
    /// This connection's session, as the client knows it.
    pub(super) session: Box<str>,
    pub(super) dialect: Dialect,
    /// Whether it is live in all the user's rooms, also in those that are joined later elsewhere.
    pub(super) attach: bool,
    /// The request under way.
    pub(super) pending: Option<Box<Pending>>,
    /// Answers that are still to come.
    pub(super) outstanding: u32,
    /// Whether the store counts it among the user's connections.
    pub(super) counted: bool,
    /// Whether the connection ended while answers were still to come.
    pub(super) gone: bool,
}

/// A request under way, and what it waits for.
pub(super) struct Pending {
    pub(super) asked: Asked,
    pub(super) waiting: Waiting,
}

/// What a verb needs for its second half.
pub(super) enum Waiting {
    /// `auth`: the user's rooms.
    Arrive(Box<Arrival>),
    /// `auth`: the heads of the user's rooms.
    Attach(Box<Attachment>),
    /// `join-room`: whether the user may have another room.
    Reserve { room: RoomId, since: Option<Since> },
    /// `join-room`: the room.
    Join { room: RoomId },
    /// `leave-room`.
    Leave { room: RoomId },
    /// `send-message` and `edit-message` from a connection that is not live: whether the user is a member.
    Membership(Box<Attempt>),
    /// `send-message`.
    Append { room: RoomId, temp_id: Option<Box<str>> },
    /// `edit-message`.
    Edit { room: RoomId, message_id: MessageId },
    /// `delete-message`.
    Delete { room: RoomId, message_id: MessageId },
    /// `history`.
    History { room: RoomId },
    /// `get-online-users`.
    OnlineUsers { room: RoomId },
}
