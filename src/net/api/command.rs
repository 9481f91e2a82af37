//! Bodies to commands: the closed set of what one of the application's servers may ask, each with its data checked.
//!
//! What is one of the protocol's requests is passed on as such, with the user it is for: the request's own data are
//! judged where a client's are.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::ids::{self, DeviceId, IdError, RoomId, SessionId, UserId};
use crate::policy::Revoked;
use crate::relay::{Surveyed, Target};
use crate::wire::request::object;
use crate::wire::{ErrorCode, Refusal};

/// Entries of a page of a listing, at most and unless said otherwise.
const PAGE_MAX: usize = 1000;
const PAGE_DEFAULT: usize = 100;

/// Bytes of the reason in a close frame (RFC 6455 §5.5).
const REASON_BYTES_MAX: usize = 123;

/// What a client is told that is disconnected without a reason.
const REASON_DEFAULT: &str = "forbidden";

/// Bounds on commands.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of what one message may be sent with; 0 = no bound.
    pub message_bytes_max: usize,
    /// Conversations of one broadcast.
    pub broadcast_rooms_max: usize,
    /// Commands of one batch.
    pub batch_commands_max: usize,
}

/// One of the protocol's requests, for a user.
#[derive(Debug)]
pub(super) struct Act {
    pub(super) event: &'static str,
    pub(super) user: UserId,
    pub(super) room: RoomId,
    pub(super) data: Box<RawValue>,
}

/// Where a page of a listing begins: on which shard, and at which place there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) shard: u16,
    pub(super) place: usize,
}

/// Which part of a listing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) cursor: Cursor,
    pub(super) limit: usize,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Command {
    Act(Act),
    /// One of the protocol's requests that is about no room.
    Ask {
        event: &'static str,
        user: UserId,
        data: Box<RawValue>,
    },
    /// The same in several conversations.
    Broadcast(Vec<Act>),
    /// Something on every shard, whose answers are added up.
    Everywhere(Surveyed),
    /// Takes tokens back, and closes the connections that came with them.
    Revoke {
        what: Revoked,
        until: u64,
        disconnect: Surveyed,
    },
    /// The same with the token of a session.
    RevokeSession {
        session: SessionId,
        until: u64,
        reason: Box<str>,
    },
    ConnectionsOf(UserId),
    Connections(Part),
    Rooms(Part),
}

/// The verb's name as it is logged and counted: never what the client wrote.
pub(super) fn known_verb(verb: &str) -> &'static str {
    let known = crate::metrics::API_VERBS.into_iter().find(|known| *known == verb && *known != "openapi");
    known.unwrap_or("unknown")
}

/// Finds out what is to be done. `caller` stands in for the user where nobody has to be named.
pub(super) fn parse(verb: &str, body: &RawValue, caller: &str, bounds: Bounds) -> Result<Command, Refusal> {
    match verb {
        "publish" => act("send-message", body, None, bounds),
        "edit" => act("edit-message", body, None, bounds),
        "delete" => act("delete-message", body, None, bounds),
        "join" => act("join-room", body, None, bounds),
        "leave" => act("leave-room", body, None, bounds),
        "history" => act("history", body, Some(caller), bounds),
        "presence" => Ok(Command::Ask { event: "get-presence", user: user_id(caller)?, data: body.to_owned() }),
        "broadcast" => broadcast(body, bounds),
        "disconnect" => disconnect(body),
        "revoke" => revoke(body),
        "notify" => notify(body, bounds),
        "connections" => connections(body),
        "rooms" => rooms(body),
        _ => Err(Refusal::new(ErrorCode::UnknownEvent, "no such verb")),
    }
}

/// The commands of a batch: verbs with their bodies.
pub(super) fn batch(body: &RawValue, bounds: Bounds) -> Result<Vec<(String, Box<RawValue>)>, Refusal> {
    #[derive(Deserialize)]
    struct Batch<'a> {
        #[serde(borrow)]
        commands: Vec<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct One<'a> {
        verb: String,
        #[serde(borrow)]
        data: &'a RawValue,
    }
    let batch: Batch<'_> = object(Some(body))?;
    within("commands", batch.commands.len(), bounds.batch_commands_max)?;
    let one = |raw| object(Some(raw)).map(|One { verb, data }| (verb, data.to_owned()));
    batch.commands.into_iter().map(one).collect()
}

fn within(what: &str, count: usize, count_max: usize) -> Result<(), Refusal> {
    if count == 0 {
        return Err(Refusal::payload(format!("{what} must not be empty")));
    }
    if count > count_max {
        return Err(Refusal::new(
            ErrorCode::LimitExceeded,
            format!("{what} has {count} entries, {count_max} are allowed"),
        ));
    }
    Ok(())
}

fn bad_id(field: &'static str) -> impl Fn(IdError) -> Refusal {
    move |error| Refusal::payload(format!("{field} {error}"))
}

fn user_id(text: &str) -> Result<UserId, Refusal> {
    UserId::parse(text).map_err(bad_id("userId"))
}

fn required_user(text: Option<Cow<'_, str>>) -> Result<UserId, Refusal> {
    user_id(&text.ok_or_else(|| Refusal::payload("missing field `userId`"))?)
}

fn within_message(body: &RawValue, bounds: Bounds) -> Result<(), Refusal> {
    if bounds.message_bytes_max != 0 && body.get().len() > bounds.message_bytes_max {
        let message = format!("a message has at most {} bytes", bounds.message_bytes_max);
        return Err(Refusal::new(ErrorCode::PayloadTooLarge, message));
    }
    Ok(())
}

fn act(event: &'static str, body: &RawValue, caller: Option<&str>, bounds: Bounds) -> Result<Command, Refusal> {
    #[derive(Deserialize)]
    struct For<'a> {
        #[serde(borrow, rename = "userId")]
        user: Option<Cow<'a, str>>,
        #[serde(borrow, rename = "conversationId", alias = "room")]
        room: Cow<'a, str>,
    }
    within_message(body, bounds)?;
    let raw: For<'_> = object(Some(body))?;
    let user = match (raw.user, caller) {
        (None, Some(caller)) => user_id(caller)?,
        (user, _) => required_user(user)?,
    };
    let room = RoomId::parse(&raw.room).map_err(bad_id("conversationId"))?;
    Ok(Command::Act(Act { event, user, room, data: body.to_owned() }))
}

fn broadcast(body: &RawValue, bounds: Bounds) -> Result<Command, Refusal> {
    #[derive(Deserialize)]
    struct To<'a> {
        #[serde(borrow, rename = "userId")]
        user: Option<Cow<'a, str>>,
        #[serde(borrow, rename = "conversationIds")]
        rooms: Vec<Cow<'a, str>>,
    }
    let To { user, rooms } = object(Some(body))?;
    let user = required_user(user)?;
    within("conversationIds", rooms.len(), bounds.broadcast_rooms_max)?;
    // The message is the same everywhere but for where it goes.
    let mut fields: BTreeMap<Cow<'_, str>, &RawValue> = object(Some(body))?;
    fields.remove("conversationIds");
    let mut acts = Vec::with_capacity(rooms.len());
    for name in &rooms {
        let room = RoomId::parse(name).map_err(bad_id("conversationIds"))?;
        let raw_name = to_raw_value(&room).map_err(|error| Refusal::payload(error.to_string()))?;
        let mut fields = fields.clone();
        fields.insert(Cow::Borrowed("conversationId"), &raw_name);
        let data = to_raw_value(&fields).map_err(|error| Refusal::payload(error.to_string()))?;
        within_message(&data, bounds)?;
        acts.push(Act { event: "send-message", user: user.clone(), room, data });
    }
    Ok(Command::Broadcast(acts))
}

/// Whose connections are meant: `{userId, deviceId?}` or `{sessionId}`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawTarget<'a> {
    #[serde(borrow)]
    user_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    device_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    session_id: Option<Cow<'a, str>>,
}

impl RawTarget<'_> {
    fn check(self) -> Result<Target, Refusal> {
        let device = self.device_id.map(|id| DeviceId::parse(&id).map_err(bad_id("deviceId"))).transpose()?;
        match (self.user_id, self.session_id) {
            (Some(user), None) => Ok(Target::User(user_id(&user)?, device)),
            (None, Some(session)) if device.is_none() => {
                ids::check_id(&session).map_err(bad_id("sessionId"))?;
                Ok(Target::Session(session.into()))
            }
            _ => Err(Refusal::payload("name either userId, with or without deviceId, or sessionId")),
        }
    }
}

fn revoke(body: &RawValue) -> Result<Command, Refusal> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct What<'a> {
        #[serde(borrow)]
        user_id: Option<Cow<'a, str>>,
        #[serde(borrow)]
        token_id: Option<Cow<'a, str>>,
        #[serde(borrow)]
        session_id: Option<Cow<'a, str>>,
        expires_at: u64,
    }
    let What { user_id: user, token_id, session_id, expires_at: until } = object(Some(body))?;
    let (what, target) = match (user, token_id, session_id) {
        (None, None, Some(session)) => {
            let session = SessionId::parse(&session).ok_or_else(|| Refusal::payload("sessionId is none of ours"))?;
            return Ok(Command::RevokeSession { session, until, reason: reason(body)? });
        }
        (Some(user), None, None) => {
            let user = user_id(&user)?;
            (Revoked::User(user.clone()), Target::User(user, None))
        }
        (None, Some(token), None) => {
            ids::check_id(&token).map_err(bad_id("tokenId"))?;
            let token: Box<str> = token.into();
            (Revoked::Token(token.clone()), Target::Token(token))
        }
        _ => return Err(Refusal::payload("name either userId, tokenId or sessionId")),
    };
    let disconnect = Surveyed::Disconnect { target, reason: reason(body)? };
    Ok(Command::Revoke { what, until, disconnect })
}

/// What clients are told whose connections are closed.
fn reason(body: &RawValue) -> Result<Box<str>, Refusal> {
    #[derive(Deserialize)]
    struct Why<'a> {
        #[serde(borrow)]
        reason: Option<Cow<'a, str>>,
    }
    let reason = object::<Why<'_>>(Some(body))?.reason.unwrap_or(Cow::Borrowed(REASON_DEFAULT));
    if reason.len() > REASON_BYTES_MAX {
        return Err(Refusal::payload(format!("reason must be at most {REASON_BYTES_MAX} bytes long")));
    }
    Ok(reason.into())
}

fn disconnect(body: &RawValue) -> Result<Command, Refusal> {
    let target = object::<RawTarget<'_>>(Some(body))?.check()?;
    Ok(Command::Everywhere(Surveyed::Disconnect { target, reason: reason(body)? }))
}

fn notify(body: &RawValue, bounds: Bounds) -> Result<Command, Refusal> {
    #[derive(Deserialize)]
    struct What<'a> {
        #[serde(borrow)]
        event: Cow<'a, str>,
        #[serde(borrow)]
        data: &'a RawValue,
    }
    within_message(body, bounds)?;
    let target = object::<RawTarget<'_>>(Some(body))?.check()?;
    let What { event, data } = object(Some(body))?;
    ids::check_label(&event).map_err(bad_id("event"))?;
    // A name with a colon is none of the protocol's, so nobody can be made to believe in a message that was never sent.
    if !event.contains(':') {
        return Err(Refusal::payload("event must have a colon, as all custom events have"));
    }
    Ok(Command::Everywhere(Surveyed::Notify { target, event: event.into(), data: data.to_owned() }))
}

#[derive(Deserialize)]
struct RawPart<'a> {
    #[serde(borrow)]
    cursor: Option<Cow<'a, str>>,
    limit: Option<usize>,
}

impl RawPart<'_> {
    fn check(&self) -> Result<Part, Refusal> {
        let cursor = match &self.cursor {
            None => Cursor::default(),
            Some(text) => Cursor::parse(text).ok_or_else(|| Refusal::payload("cursor is none of ours"))?,
        };
        match self.limit {
            Some(0) => Err(Refusal::payload("limit must be at least 1")),
            limit => Ok(Part { cursor, limit: limit.unwrap_or(PAGE_DEFAULT).min(PAGE_MAX) }),
        }
    }
}

impl Cursor {
    fn parse(text: &str) -> Option<Self> {
        let (shard, place) = text.split_once('.')?;
        Some(Self { shard: shard.parse().ok()?, place: place.parse().ok()? })
    }

    pub(super) fn text(self) -> String {
        format!("{}.{}", self.shard, self.place)
    }
}

fn connections(body: &RawValue) -> Result<Command, Refusal> {
    #[derive(Deserialize)]
    struct Whose<'a> {
        #[serde(borrow, rename = "userId")]
        user: Option<Cow<'a, str>>,
    }
    match object::<Whose<'_>>(Some(body))?.user {
        Some(user) => Ok(Command::ConnectionsOf(user_id(&user)?)),
        None => Ok(Command::Connections(object::<RawPart<'_>>(Some(body))?.check()?)),
    }
}

fn rooms(body: &RawValue) -> Result<Command, Refusal> {
    Ok(Command::Rooms(object::<RawPart<'_>>(Some(body))?.check()?))
}
