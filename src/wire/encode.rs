//! Values to JSON: replies, refusals and the data of pushes.
//!
//! Field names and which fields may be absent are the protocol's tables, written once as structs.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::dialect::{Dialect, Push};
use super::error::Refusal;
use super::frame::{Frame, text_frame};
use super::presence::Presence;
use crate::ids::{DeviceId, MessageId, RoomId, SessionId, UserId};
use crate::message::{Event, EventKind, Message, Seq, Timestamp};

/// Raw JSON to be written as it is.
#[derive(Clone, Copy)]
struct Raw<'a>(&'a str);

impl Serialize for Raw<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serde_json::from_str::<&RawValue>(self.0) {
            Ok(raw) => raw.serialize(serializer),
            Err(_) => serializer.serialize_unit(),
        }
    }
}

#[derive(Serialize)]
struct Reply<'a, T> {
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Raw<'a>>,
    data: T,
}

/// JSON of a value of ours. Such values have only string keys, so writing them cannot fail.
pub fn json(value: &impl Serialize) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(256);
    if serde_json::to_writer(&mut buffer, value).is_err() {
        buffer.clear();
        buffer.extend_from_slice(b"null");
    }
    buffer
}

/// A reply, as a WebSocket frame. `id` is the request's, as it came.
pub fn reply(event: &str, id: Option<&str>, data: &impl Serialize) -> Bytes {
    text_frame(&json(&Reply { event, id: id.map(Raw), data }))
}

/// A push to one connection, as a WebSocket frame.
pub fn push(push: Push, dialect: Dialect, data: &impl Serialize) -> Bytes {
    reply(push.name(dialect), None, data)
}

/// Data of `error`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorData<'a> {
    code: &'a str,
    message: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
}

#[derive(Serialize)]
struct Details {
    version: u64,
}

impl<'a> ErrorData<'a> {
    /// A refusal, with the event that it is of where that has to be said.
    pub fn of(refusal: &'a Refusal, event: Option<&'a str>) -> Self {
        Self {
            code: refusal.code.name(),
            message: &refusal.message,
            retryable: refusal.code.retryable() || refusal.reason.as_deref() == Some(Refusal::UNAVAILABLE),
            retry_after_ms: refusal.retry_after_ms,
            reason: refusal.reason.as_deref(),
            plugin: refusal.plugin.as_deref(),
            event,
            details: refusal.version.map(|version| Details { version }),
        }
    }
}

/// A refusal, as a WebSocket frame. Without an `id` it names the request's event.
pub fn refusal(refusal: &Refusal, id: Option<&str>, event: Option<&str>) -> Bytes {
    reply("error", id, &ErrorData::of(refusal, event.filter(|_| id.is_none())))
}

/// A refusal, as the body of an answer of the server API.
pub fn error_body(refusal: &Refusal) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        error: ErrorData<'a>,
    }
    json(&Body { error: ErrorData::of(refusal, None) })
}

/// Data of `ok` when there is nothing to say.
#[derive(Serialize)]
pub struct Nothing {}

/// A room's name, epoch and head, as `auth-success` lists them. A room without a log has neither epoch nor `seq`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomHead {
    /// Which room.
    pub conversation_id: RoomId,
    /// Its log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<std::sync::Arc<str>>,
    /// The last event's `seq`; 0 if there is none yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
}

/// A room as `auth-success` lists it.
#[derive(Debug, Serialize)]
pub struct AuthRoom {
    /// Name, epoch, head.
    #[serde(flatten)]
    pub head: RoomHead,
    /// How far the user has come. Absent for a room without a log.
    #[serde(flatten)]
    pub progress: Option<Progress>,
}

/// How far a user has come in a room.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Progress {
    /// What the device has.
    pub delivered: Seq,
    /// What the user has seen.
    pub seen: Seq,
    /// Others' messages after that.
    pub unread: usize,
}

/// Data of `auth-success`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthSuccess<'a> {
    /// Who the token says it is.
    pub user_id: &'a UserId,
    /// This connection's session.
    pub session_id: &'a SessionId,
    /// The device, if the client said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<&'a DeviceId>,
    /// When the token expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// About the server.
    pub server: ServerInfo<'a>,
    /// What the client may do.
    pub limits: LimitsInfo,
    /// The user's rooms.
    pub rooms: &'a [AuthRoom],
    /// How many missed events follow.
    pub queued: usize,
}

/// About the server.
#[derive(Serialize)]
pub struct ServerInfo<'a> {
    /// Always `stentor`.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Which process.
    pub node: &'a str,
    /// What a `message-ack` promises.
    pub durability: &'a str,
}

/// What the client may do.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitsInfo {
    /// Bytes of one message. 0 = no bound.
    pub message_bytes_max: usize,
    /// Rooms in which one connection may be live.
    pub rooms_max: usize,
    /// How often the server pings a quiet connection.
    pub ping_ms: u64,
}

/// An event as it is listed in `room-joined`.
#[derive(Serialize)]
pub struct Listed {
    event: &'static str,
    data: Box<RawValue>,
}

/// Data of `room-joined`.
#[derive(Serialize)]
pub struct RoomJoined<'a> {
    /// Name, epoch, head.
    #[serde(flatten)]
    pub head: &'a RoomHead,
    /// Whether `messages` are exactly what was missed.
    pub recovered: bool,
    /// The missed events, as they would have been pushed.
    pub messages: Vec<Listed>,
    /// How many members the room has.
    pub members: usize,
}

/// Data of `message-ack`. Without a `seq` nothing was stored.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageAck<'a> {
    /// The sender's own name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temp_id: Option<&'a str>,
    /// Ours. A message that a plugin discarded has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<&'a MessageId>,
    /// Which room.
    pub conversation_id: &'a RoomId,
    /// Its place in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
    /// Of which log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<&'a str>,
    /// When.
    pub sent_at: Timestamp,
    /// Whether this is the answer to an earlier request with the same `tempId`.
    pub duplicate: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageData<'a> {
    conversation_id: &'a RoomId,
    message_id: &'a MessageId,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<Seq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<&'a str>,
    user_id: &'a UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<&'a DeviceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temp_id: Option<&'a str>,
    #[serde(rename = "type")]
    message_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<&'a str>,
    version: u64,
    sent_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    edited_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    queued: bool,
}

/// Where an event belongs: what every event's data begin with.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The room.
    pub room: &'a RoomId,
    /// Its log.
    pub epoch: Option<&'a str>,
}

impl<'a> Origin<'a> {
    fn message(self, message: &'a Message, seq: Option<Seq>, queued: bool) -> MessageData<'a> {
        MessageData {
            conversation_id: self.room,
            message_id: &message.message_id,
            seq,
            epoch: seq.and(self.epoch),
            user_id: &message.user,
            device_id: message.device.as_ref(),
            temp_id: message.temp_id.as_deref(),
            message_type: &message.message_type,
            content: message.content.as_deref(),
            reply_to: message.reply_to.as_deref(),
            version: message.version,
            sent_at: message.sent_at,
            edited_at: message.edited_at,
            deleted_at: message.deleted_at,
            queued,
        }
    }
}

fn event_data(origin: Origin<'_>, event: &Event, queued: bool) -> (Push, Vec<u8>) {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Deleted<'a> {
        conversation_id: &'a RoomId,
        message_id: &'a MessageId,
        #[serde(skip_serializing_if = "Option::is_none")]
        seq: Option<Seq>,
        #[serde(skip_serializing_if = "Option::is_none")]
        epoch: Option<&'a str>,
        user_id: &'a UserId,
        deleted_at: Timestamp,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Member<'a> {
        conversation_id: &'a RoomId,
        user_id: &'a UserId,
        #[serde(skip_serializing_if = "Option::is_none")]
        seq: Option<Seq>,
        #[serde(skip_serializing_if = "Option::is_none")]
        epoch: Option<&'a str>,
        at: Timestamp,
    }
    let seq = event.seq;
    let epoch = seq.and(origin.epoch);
    let member = |user_id, at| json(&Member { conversation_id: origin.room, user_id, seq, epoch, at });
    match &event.kind {
        EventKind::MessageNew(message) => (Push::MessageNew, json(&origin.message(message, seq, queued))),
        EventKind::MessageEdited(message) => (Push::MessageEdited, json(&origin.message(message, seq, queued))),
        EventKind::MessageDeleted { message_id, user, deleted_at } => {
            let data = Deleted {
                conversation_id: origin.room,
                message_id,
                seq,
                epoch,
                user_id: user,
                deleted_at: *deleted_at,
            };
            (Push::MessageDeleted, json(&data))
        }
        EventKind::MemberJoined { user, at } => (Push::MemberJoined, member(user, *at)),
        EventKind::MemberLeft { user, at } => (Push::MemberLeft, member(user, *at)),
    }
}

/// An event as the push that all live members get. One of a room without a log may be dropped for a slow connection.
pub fn event(origin: Origin<'_>, event: &Event) -> Frame {
    let (push, data) = event_data(origin, event, false);
    Frame::new(push, &data, event.seq.is_none()).logged(event.seq)
}

/// Whether someone types, as the push to everyone who is live. A slow connection may lose it.
pub fn typing(room: &RoomId, user: &UserId, is_typing: bool) -> Frame {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Typing<'a> {
        conversation_id: &'a RoomId,
        user_id: &'a UserId,
        is_typing: bool,
    }
    let push = if is_typing { Push::Typing } else { Push::TypingStop };
    Frame::new(push, &json(&Typing { conversation_id: room, user_id: user, is_typing }), true)
}

/// How available a user is, as the push to whoever is to know. A slow connection may lose it.
pub fn presence(presence: &Presence) -> Frame {
    Frame::new(Push::Presence(presence.status), &json(presence), true)
}

/// An event as the push to a connection that was away when it happened.
pub fn queued_event(origin: Origin<'_>, event: &Event, dialect: Dialect) -> Bytes {
    let (push, data) = event_data(origin, event, true);
    Frame::new(push, &data, false).bytes(dialect).clone()
}

/// An event as it is listed in `room-joined`.
pub fn listed(origin: Origin<'_>, event: &Event, dialect: Dialect) -> Option<Listed> {
    let (push, data) = event_data(origin, event, false);
    let data = String::from_utf8(data).ok()?;
    Some(Listed { event: push.name(dialect), data: RawValue::from_string(data).ok()? })
}

/// A message as it is listed in `history`: in its present state, at the place where it first stood.
pub fn history_entry(origin: Origin<'_>, seq: Seq, message: &Message) -> Option<Box<RawValue>> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Gone<'a> {
        message_id: &'a MessageId,
        seq: Seq,
        user_id: &'a UserId,
        deleted_at: Timestamp,
    }
    let data = match message.deleted_at {
        Some(deleted_at) => json(&Gone { message_id: &message.message_id, seq, user_id: &message.user, deleted_at }),
        None => json(&origin.message(message, Some(seq), false)),
    };
    RawValue::from_string(String::from_utf8(data).ok()?).ok()
}
