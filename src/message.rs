//! What is said in a room: the events of a room's log.
//!
//! These are plain values, shared by the store that keeps them, the wire that writes them and the verbs between. They
//! know nothing of JSON frames, sockets or engines.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::ids::{DeviceId, MessageId, UserId};

/// Milliseconds since the Unix epoch.
pub type Timestamp = u64;

/// Position in a room's log, from 1.
pub type Seq = u64;

/// One event of a room. In a room without a log `seq` is `None`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the log.
    pub seq: Option<Seq>,
    /// What happened.
    pub kind: EventKind,
}

/// What happened in a room. What is kept on disk has this form, so a name that changes is a new format there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum EventKind {
    /// A message was sent.
    MessageNew(Box<Message>),
    /// A message got new content. Carries the whole message.
    MessageEdited(Box<Message>),
    /// A message was deleted.
    MessageDeleted {
        /// Which message.
        message_id: MessageId,
        /// Who deleted it.
        user: UserId,
        /// When.
        deleted_at: Timestamp,
    },
    /// A user became a member.
    MemberJoined {
        /// Who.
        user: UserId,
        /// When.
        at: Timestamp,
    },
    /// A user is no longer a member.
    MemberLeft {
        /// Who.
        user: UserId,
        /// When.
        at: Timestamp,
    },
}

/// A message, as it is after the event that carries it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Message {
    /// Its id.
    pub message_id: MessageId,
    /// Its author.
    pub user: UserId,
    /// The author's device, if it said.
    pub device: Option<DeviceId>,
    /// The author's own name for it.
    pub temp_id: Option<Box<str>>,
    /// The application's type, `text` unless said otherwise.
    pub message_type: Arc<str>,
    /// Any JSON. `None` once the message was deleted.
    pub content: Option<Arc<RawValue>>,
    /// What it replies to.
    pub reply_to: Option<Box<str>>,
    /// 1, and one more with each edit.
    pub version: u64,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// When it was last edited.
    pub edited_at: Option<Timestamp>,
    /// When it was deleted.
    pub deleted_at: Option<Timestamp>,
}

/// What an event costs in memory besides its texts, in bytes. An estimate, used for retention.
const EVENT_OVERHEAD_BYTES: usize = 256;

impl Event {
    /// What keeping the event costs, in bytes: an estimate for retention by size.
    pub fn cost_bytes(&self) -> usize {
        let texts = match &self.kind {
            EventKind::MessageNew(message) | EventKind::MessageEdited(message) => {
                message.content.as_ref().map_or(0, |content| content.get().len())
                    + message.temp_id.as_ref().map_or(0, |text| text.len())
                    + message.reply_to.as_ref().map_or(0, |text| text.len())
            }
            EventKind::MessageDeleted { .. } | EventKind::MemberJoined { .. } | EventKind::MemberLeft { .. } => 0,
        };
        EVENT_OVERHEAD_BYTES + texts
    }

    /// The message the event is about, if it is about one.
    pub fn message_id(&self) -> Option<&MessageId> {
        match &self.kind {
            EventKind::MessageNew(message) | EventKind::MessageEdited(message) => Some(&message.message_id),
            EventKind::MessageDeleted { message_id, .. } => Some(message_id),
            EventKind::MemberJoined { .. } | EventKind::MemberLeft { .. } => None,
        }
    }

    /// When it happened.
    pub fn at(&self) -> Timestamp {
        match &self.kind {
            EventKind::MessageNew(message) => message.sent_at,
            EventKind::MessageEdited(message) => message.edited_at.unwrap_or(message.sent_at),
            EventKind::MessageDeleted { deleted_at, .. } => *deleted_at,
            EventKind::MemberJoined { at, .. } | EventKind::MemberLeft { at, .. } => *at,
        }
    }
}
