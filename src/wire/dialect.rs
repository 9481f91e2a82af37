//! Dialects: the names under which a connection gets its pushes.
//!
//! Only names differ between dialects, never data. All inbound names work in either (see `request`).

use super::presence::Status;

/// Which names a connection wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// The protocol's own names.
    #[default]
    Room,
    /// S2's names.
    Conversation,
}

/// How pushes are written for a connection: under which names, and whether several may share one WebSocket message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encoding {
    /// The names.
    pub dialect: Dialect,
    /// Whether several objects may be sent as one message, one a line.
    pub batch: bool,
    /// Whether long messages are compressed: agreed upon in the handshake.
    pub deflate: bool,
}

impl Encoding {
    /// How many encodings there are.
    pub const COUNT: usize = 8;

    /// A small number for tables indexed by encoding.
    pub fn index(self) -> usize {
        usize::from(self.dialect == Dialect::Conversation)
            | usize::from(self.batch) << 1
            | usize::from(self.deflate) << 2
    }
}

/// Everything the server sends without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// A message was sent.
    MessageNew,
    /// A message was edited.
    MessageEdited,
    /// A message was deleted.
    MessageDeleted,
    /// A user became a member.
    MemberJoined,
    /// A user is no longer a member.
    MemberLeft,
    /// A user began to type.
    Typing,
    /// A user no longer types.
    TypingStop,
    /// How available a user is.
    Presence(Status),
    /// The user joined a room on another device.
    RoomJoined,
    /// The user left a room on another device, or was removed.
    RoomLeft,
    /// What arrived at somebody else, or at another device.
    ReceiptDelivered,
    /// What somebody else, or the user on another device, has seen.
    ReceiptSeen,
    /// The live connection may have missed events.
    Resync,
    /// All that waited for the device has been sent.
    QueueFlushed,
    /// The token expires soon.
    TokenExpiring,
    /// The server is about to stop.
    GoingAway,
}

impl Push {
    /// The event's name in a dialect.
    pub fn name(self, dialect: Dialect) -> &'static str {
        match (self, dialect) {
            (Self::MessageNew, Dialect::Conversation) => "new-message",
            (Self::MessageNew, Dialect::Room) => "message-new",
            (Self::MessageEdited, _) => "message-edited",
            (Self::MessageDeleted, _) => "message-deleted",
            (Self::MemberJoined, _) => "member-joined",
            (Self::MemberLeft, _) => "member-left",
            (Self::Typing | Self::TypingStop, Dialect::Conversation) => "user-typing",
            (Self::Typing, Dialect::Room) => "typing",
            (Self::TypingStop, Dialect::Room) => "typing-stop",
            (Self::Presence(_), Dialect::Room) => "presence",
            (Self::Presence(Status::Online), Dialect::Conversation) => "user-online",
            (Self::Presence(Status::Offline), Dialect::Conversation) => "user-offline",
            (Self::Presence(_), Dialect::Conversation) => "presence-status",
            (Self::RoomJoined, _) => "room-joined",
            (Self::RoomLeft, _) => "room-left",
            (Self::ReceiptDelivered, Dialect::Conversation) => "message-delivered",
            (Self::ReceiptSeen, Dialect::Conversation) => "messages-read",
            (Self::ReceiptDelivered | Self::ReceiptSeen, Dialect::Room) => "receipt",
            (Self::Resync, _) => "resync",
            (Self::QueueFlushed, _) => "queue-flushed",
            (Self::TokenExpiring, _) => "token-expiring",
            (Self::GoingAway, _) => "going-away",
        }
    }
}
