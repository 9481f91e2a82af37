//! Envelopes to requests: the closed set of what a client may ask, each with its data checked.
//!
//! All names of an event lead to the same request, so that nothing behind this module knows of aliases.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

pub use super::ack::{Ack, AckKind, StatusQuestion, UpTo};
use super::ack::{ack, status};
use super::auth::auth;
pub use super::auth::{Auth, AuthOptions, auth_options};
use super::error::{ErrorCode, Refusal};
use super::presence::{self, Availability, Status};
use super::{HISTORY_MESSAGES_DEFAULT, HISTORY_MESSAGES_MAX};
use crate::ids::{self, IdError, MessageId, RoomId, UserId};
use crate::message::Seq;

/// Longest part of a parser's message that is passed on to the client, in bytes.
const PARSER_MESSAGE_BYTES_MAX: usize = 200;

/// What a client asks.
#[derive(Debug)]
pub enum Request<'a> {
    /// `auth`
    Auth(Box<Auth<'a>>),
    /// `heartbeat`
    Heartbeat,
    /// `join-room`
    Join {
        /// Which room.
        room: RoomId,
        /// What the client has seen of it.
        since: Option<Since>,
    },
    /// `leave-room`
    Leave {
        /// Which room.
        room: RoomId,
    },
    /// `get-online-users`
    OnlineUsers {
        /// Which room.
        room: RoomId,
    },
    /// `typing-start`
    StartTyping {
        /// Which room.
        room: RoomId,
    },
    /// `typing-stop`
    StopTyping {
        /// Which room.
        room: RoomId,
    },
    /// `get-typing-users`
    TypingUsers {
        /// Which room.
        room: RoomId,
    },
    /// `history`
    History {
        /// Which room.
        room: RoomId,
        /// Which part of its log.
        page: Page,
    },
    /// `send-message`
    Send(Send<'a>),
    /// `edit-message`
    Edit(Edit<'a>),
    /// `delete-message`
    Delete {
        /// Which room.
        room: RoomId,
        /// Which message.
        message_id: MessageId,
    },
    /// `presence-update`
    SetPresence(Availability),
    /// `get-presence`
    Presence {
        /// Whose.
        users: Vec<UserId>,
    },
    /// `subscribe-presence`
    Subscribe {
        /// To whose.
        users: Vec<UserId>,
    },
    /// `unsubscribe-presence`
    Unsubscribe {
        /// From whose.
        users: Vec<UserId>,
    },
    /// `ack` and `mark-read`
    Ack(Ack),
    /// `get-message-status`
    Status(StatusQuestion),
}

/// How far a client has seen a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Since {
    /// Of which log.
    pub epoch: String,
    /// The last event it has.
    pub seq: Seq,
    /// The message of that event, by which a store that lost its tail is noticed.
    pub message_id: Option<String>,
}

impl Since {
    /// A place in no log that there is, after which nothing can be told.
    pub fn of_nothing() -> Self {
        Self { epoch: String::new(), seq: 0, message_id: None }
    }
}

/// A part of a room's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// From where, in which direction.
    pub from: PageFrom,
    /// At most how many messages.
    pub limit: usize,
}

/// Where a page starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageFrom {
    /// The newest messages.
    Newest,
    /// The newest before a `seq`, exclusive.
    Before(Seq),
    /// The oldest after a `seq`, exclusive.
    After(Seq),
}

/// Data of `send-message`.
#[derive(Debug)]
pub struct Send<'a> {
    /// To which room.
    pub room: RoomId,
    /// The sender's own name for the message, by which a repeat is recognised.
    pub temp_id: Option<Cow<'a, str>>,
    /// The application's type.
    pub message_type: Cow<'a, str>,
    /// Any JSON.
    pub content: &'a RawValue,
    /// What it replies to.
    pub reply_to: Option<Cow<'a, str>>,
    /// Whether the sending connection wants no push of it.
    pub no_echo: bool,
}

/// Data of `edit-message`.
#[derive(Debug)]
pub struct Edit<'a> {
    /// In which room.
    pub room: RoomId,
    /// Which message.
    pub message_id: MessageId,
    /// Its new content.
    pub content: &'a RawValue,
    /// The version that the editor knows.
    pub if_version: Option<u64>,
}

/// Finds out what is asked.
///
/// # Errors
///
/// `UNKNOWN_EVENT` or `INVALID_PAYLOAD`.
pub fn parse<'a>(event: &str, data: Option<&'a RawValue>) -> Result<Request<'a>, Refusal> {
    match event {
        "auth" => Ok(Request::Auth(Box::new(auth(data)?))),
        "heartbeat" => Ok(Request::Heartbeat),
        "join-room" | "join-conversation" => join(data),
        "leave-room" | "leave-conversation" => Ok(Request::Leave { room: room_only(data)? }),
        "get-online-users" => Ok(Request::OnlineUsers { room: room_only(data)? }),
        "typing-start" => Ok(Request::StartTyping { room: room_only(data)? }),
        "typing-stop" => Ok(Request::StopTyping { room: room_only(data)? }),
        "get-typing-users" => Ok(Request::TypingUsers { room: room_only(data)? }),
        "presence-update" => presence::update(data),
        "user-online" => Ok(Request::SetPresence(Status::Online.into())),
        "user-offline" => Ok(Request::SetPresence(Status::Offline.into())),
        "get-presence" => Ok(Request::Presence { users: presence::users(data)? }),
        "subscribe-presence" => Ok(Request::Subscribe { users: presence::users(data)? }),
        "unsubscribe-presence" => Ok(Request::Unsubscribe { users: presence::users(data)? }),
        "history" => history(data),
        "send-message" => send(data),
        "edit-message" => edit(data),
        "delete-message" => delete(data),
        "ack" => ack(data, AckKind::Delivered),
        "mark-read" => ack(data, AckKind::Seen),
        "get-message-status" => status(data),
        _ => Err(Refusal::new(ErrorCode::UnknownEvent, "no such event")),
    }
}

/// The name under which a request's event is logged and counted: never what the client wrote.
pub fn known_event(event: &str) -> &'static str {
    match event {
        "auth" => "auth",
        "heartbeat" => "heartbeat",
        "join-room" | "join-conversation" => "join-room",
        "leave-room" | "leave-conversation" => "leave-room",
        "get-online-users" => "get-online-users",
        "typing-start" => "typing-start",
        "typing-stop" => "typing-stop",
        "get-typing-users" => "get-typing-users",
        "presence-update" | "user-online" | "user-offline" => "presence-update",
        "get-presence" => "get-presence",
        "subscribe-presence" => "subscribe-presence",
        "unsubscribe-presence" => "unsubscribe-presence",
        "history" => "history",
        "send-message" => "send-message",
        "edit-message" => "edit-message",
        "delete-message" => "delete-message",
        "ack" => "ack",
        "mark-read" => "mark-read",
        "get-message-status" => "get-message-status",
        _ => "unknown",
    }
}

/// Data that are an object of a known shape. Derived code would take an array for an object too, so that is excluded first.
///
/// # Errors
///
/// `INVALID_PAYLOAD`
pub fn object<'a, T: Deserialize<'a>>(data: Option<&'a RawValue>) -> Result<T, Refusal> {
    let raw = data.map_or("", RawValue::get);
    if !raw.starts_with('{') {
        return Err(Refusal::payload("data must be an object"));
    }
    serde_json::from_str(raw).map_err(|error| Refusal::payload(parser_message(&error)))
}

pub(super) fn parser_message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    let end = text.floor_char_boundary(PARSER_MESSAGE_BYTES_MAX);
    text.get(..end).unwrap_or_default().to_owned()
}

/// Data that are one bare string, where the protocol allows that.
pub(super) fn bare<'a>(data: Option<&'a RawValue>) -> Option<Cow<'a, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    let raw = data.map(RawValue::get).filter(|raw| raw.starts_with('"'))?;
    serde_json::from_str::<Text<'a>>(raw).ok().map(|text| text.0)
}

pub(super) fn bad_id(field: &'static str) -> impl Fn(IdError) -> Refusal {
    move |error| Refusal::payload(format!("{field} {error}"))
}

pub(super) fn room_id(text: &str) -> Result<RoomId, Refusal> {
    RoomId::parse(text).map_err(bad_id("conversationId"))
}

pub(super) fn message_id(text: &str) -> Result<MessageId, Refusal> {
    MessageId::parse(text).map_err(bad_id("messageId"))
}

fn label<'a>(field: &'static str, text: Option<Cow<'a, str>>) -> Result<Option<Cow<'a, str>>, Refusal> {
    if let Some(text) = &text {
        ids::check_label(text).map_err(bad_id(field))?;
    }
    Ok(text)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawSince {
    epoch: String,
    seq: Seq,
    message_id: Option<String>,
}

impl RawSince {
    pub(super) fn check(self) -> Result<Since, Refusal> {
        if self.epoch.len() > ids::ID_BYTES_MAX {
            return Err(Refusal::payload("since.epoch must be at most 200 bytes long"));
        }
        if self.message_id.as_ref().is_some_and(|id| id.len() > ids::ID_BYTES_MAX) {
            return Err(Refusal::payload("since.messageId must be at most 200 bytes long"));
        }
        Ok(Since { epoch: self.epoch, seq: self.seq, message_id: self.message_id })
    }
}

#[derive(Deserialize)]
struct RawRoom<'a> {
    #[serde(borrow, rename = "conversationId", alias = "room")]
    room: Cow<'a, str>,
}

fn room_only(data: Option<&RawValue>) -> Result<RoomId, Refusal> {
    match bare(data) {
        Some(room) => room_id(&room),
        None => room_id(&object::<RawRoom<'_>>(data)?.room),
    }
}

fn join<'a>(data: Option<&'a RawValue>) -> Result<Request<'a>, Refusal> {
    #[derive(Deserialize)]
    struct Join<'a> {
        #[serde(borrow, rename = "conversationId", alias = "room")]
        room: Cow<'a, str>,
        since: Option<RawSince>,
    }
    if let Some(room) = bare(data) {
        return Ok(Request::Join { room: room_id(&room)?, since: None });
    }
    let raw: Join<'a> = object(data)?;
    Ok(Request::Join { room: room_id(&raw.room)?, since: raw.since.map(RawSince::check).transpose()? })
}

fn history<'a>(data: Option<&'a RawValue>) -> Result<Request<'a>, Refusal> {
    #[derive(Deserialize)]
    struct History<'a> {
        #[serde(borrow, rename = "conversationId", alias = "room")]
        room: Cow<'a, str>,
        before: Option<Seq>,
        after: Option<Seq>,
        limit: Option<u64>,
    }
    let raw: History<'a> = match bare(data) {
        Some(room) => History { room, before: None, after: None, limit: None },
        None => object(data)?,
    };
    let from = match (raw.before, raw.after) {
        (None, None) => PageFrom::Newest,
        (Some(seq), None) => PageFrom::Before(seq),
        (None, Some(seq)) => PageFrom::After(seq),
        (Some(_), Some(_)) => return Err(Refusal::payload("before and after exclude each other")),
    };
    let limit = match raw.limit {
        None => HISTORY_MESSAGES_DEFAULT,
        Some(0) => return Err(Refusal::payload("limit must be at least 1")),
        Some(limit) => usize::try_from(limit).unwrap_or(usize::MAX).min(HISTORY_MESSAGES_MAX),
    };
    Ok(Request::History { room: room_id(&raw.room)?, page: Page { from, limit } })
}

/// A field that must be there but may be `null`, as any other JSON.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

fn content(raw: Option<&RawValue>) -> Result<&RawValue, Refusal> {
    raw.ok_or_else(|| Refusal::payload("missing field `content`"))
}

fn send<'a>(data: Option<&'a RawValue>) -> Result<Request<'a>, Refusal> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct RawSend<'a> {
        #[serde(borrow, rename = "conversationId", alias = "room")]
        room: Cow<'a, str>,
        #[serde(borrow)]
        temp_id: Option<Cow<'a, str>>,
        #[serde(borrow, rename = "type")]
        message_type: Option<Cow<'a, str>>,
        #[serde(borrow, default, deserialize_with = "present")]
        content: Option<&'a RawValue>,
        #[serde(borrow)]
        reply_to: Option<Cow<'a, str>>,
        no_echo: Option<bool>,
    }
    let raw: RawSend<'a> = object(data)?;
    Ok(Request::Send(Send {
        room: room_id(&raw.room)?,
        temp_id: label("tempId", raw.temp_id)?,
        message_type: label("type", raw.message_type)?.unwrap_or(Cow::Borrowed("text")),
        content: content(raw.content)?,
        reply_to: label("replyTo", raw.reply_to)?,
        no_echo: raw.no_echo.unwrap_or(false),
    }))
}

fn edit<'a>(data: Option<&'a RawValue>) -> Result<Request<'a>, Refusal> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct RawEdit<'a> {
        #[serde(borrow, rename = "conversationId", alias = "room")]
        room: Cow<'a, str>,
        #[serde(borrow)]
        message_id: Cow<'a, str>,
        #[serde(borrow, default, deserialize_with = "present")]
        content: Option<&'a RawValue>,
        if_version: Option<u64>,
    }
    let raw: RawEdit<'a> = object(data)?;
    Ok(Request::Edit(Edit {
        room: room_id(&raw.room)?,
        message_id: message_id(&raw.message_id)?,
        content: content(raw.content)?,
        if_version: raw.if_version,
    }))
}

fn delete<'a>(data: Option<&'a RawValue>) -> Result<Request<'a>, Refusal> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Delete<'a> {
        #[serde(borrow, rename = "conversationId", alias = "room")]
        room: Cow<'a, str>,
        #[serde(borrow)]
        message_id: Cow<'a, str>,
    }
    let raw: Delete<'a> = object(data)?;
    Ok(Request::Delete { room: room_id(&raw.room)?, message_id: message_id(&raw.message_id)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Dialect, Encoding};

    fn with<T>(event: &str, data: &str, check: impl FnOnce(Result<Request<'_>, Refusal>) -> T) -> T {
        let raw: Box<RawValue> = serde_json::from_str(data).unwrap();
        check(parse(event, Some(&raw)))
    }

    fn refused(event: &str, data: &str) -> String {
        with(event, data, |result| {
            let refusal = result.unwrap_err();
            assert_eq!(refusal.code, ErrorCode::InvalidPayload, "{event} {data}");
            refusal.message.into_owned()
        })
    }

    #[test]
    fn aliases_and_bare_strings_ask_the_same() {
        for event in ["join-room", "join-conversation"] {
            for data in ["\"conv-1\"", "{\"conversationId\":\"conv-1\"}", "{\"room\":\"conv-1\",\"unknown\":[1]}"] {
                with(event, data, |result| {
                    assert!(matches!(result, Ok(Request::Join { room, since: None }) if room.as_str() == "conv-1"))
                });
            }
        }
        with("auth", "\"a.b.c\"", |result| {
            assert!(matches!(result, Ok(Request::Auth(auth)) if auth.token == "a.b.c" && auth.options.attach))
        });
    }

    #[test]
    fn content_may_be_null_but_must_be_there() {
        with("send-message", "{\"conversationId\":\"r\",\"content\":null}", |result| {
            assert!(
                matches!(result, Ok(Request::Send(send)) if send.content.get() == "null" && send.message_type == "text")
            );
        });
        assert_eq!(refused("send-message", "{\"conversationId\":\"r\"}"), "missing field `content`");
    }

    #[test]
    fn bad_payloads_say_what_is_bad() {
        assert_eq!(refused("join-room", "[\"r\"]"), "data must be an object");
        assert_eq!(refused("join-room", "{}"), "missing field `conversationId`");
        assert!(refused("join-room", "\"a*\"").starts_with("conversationId must not contain"));
        assert!(
            refused("join-room", "{\"conversationId\":\"r\",\"since\":{\"epoch\":\"e\",\"seq\":-1}}").contains("-1")
        );
        assert!(
            refused("send-message", "{\"conversationId\":\"r\",\"content\":1,\"tempId\":\"\"}")
                .starts_with("tempId must not be empty")
        );
        assert_eq!(
            refused("history", "{\"conversationId\":\"r\",\"before\":1,\"after\":2}"),
            "before and after exclude each other"
        );
        assert_eq!(refused("history", "{\"conversationId\":\"r\",\"limit\":0}"), "limit must be at least 1");
        let long = "x".repeat(5000);
        assert!(
            refused("auth", &format!("{{\"token\":\"t\",\"dialect\":\"{long}\"}}")).len() <= PARSER_MESSAGE_BYTES_MAX
        );
        for field in [
            "\"batch\":1",
            "\"attach\":\"yes\"",
            "\"presence\":\"gone\"",
            "\"autoAck\":0",
            "\"deviceId\":\"*\"",
            "\"since\":[]",
        ] {
            refused("auth", &format!("{{\"token\":\"t\",{field}}}"));
        }
    }

    #[test]
    fn a_history_limit_above_the_most_counts_as_the_most() {
        with("history", "{\"conversationId\":\"r\",\"limit\":100000,\"before\":7}", |result| {
            assert!(
                matches!(result, Ok(Request::History { page, .. }) if page == Page { from: PageFrom::Before(7), limit: 200 })
            );
        });
    }

    #[test]
    fn a_query_string_says_the_same_as_auth_does() {
        let options = auth_options(
            [("deviceId", "phone"), ("dialect", "conversation"), ("batch", "1"), ("attach", "false"), ("token", "t")]
                .into_iter(),
        );
        let options = options.unwrap();
        assert_eq!(options.device.map(|device| device.to_string()), Some("phone".to_owned()));
        assert_eq!(options.encoding, Encoding { dialect: Dialect::Conversation, batch: true, deflate: false });
        assert!(!options.attach);
        assert!(auth_options([("batch", "maybe")].into_iter()).is_err());
        assert!(auth_options([("dialect", "klingon")].into_iter()).is_err());
    }
}
