//! `auth`: what a client says of itself.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::dialect::{Dialect, Encoding};
use super::error::Refusal;
use super::presence::Status;
use super::request::{RawSince, Since, bad_id, bare, object, parser_message, room_id};
use crate::ids::{DeviceId, RoomId};

/// Data of `auth`.
#[derive(Debug, Default)]
pub struct Auth<'a> {
    /// The token.
    pub token: Cow<'a, str>,
    /// What else it says.
    pub options: AuthOptions,
    /// What the client has seen, by room.
    pub since: Vec<(RoomId, Since)>,
}

/// What a client says of itself when it authenticates.
#[derive(Clone, Debug)]
pub struct AuthOptions {
    /// Which of the user's devices it is.
    pub device: Option<DeviceId>,
    /// How it wants its pushes.
    pub encoding: Encoding,
    /// Whether it wants to be live in all the user's rooms at once.
    pub attach: bool,
    /// Whether it leaves it to the server to find out what has arrived. Otherwise it acknowledges by itself.
    pub auto_ack: bool,
    /// How available its user is by it.
    pub status: Status,
}

impl Default for AuthOptions {
    fn default() -> Self {
        Self { device: None, encoding: Encoding::default(), attach: true, auto_ack: true, status: Status::default() }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAuth<'a> {
    #[serde(borrow)]
    token: Cow<'a, str>,
    device_id: Option<Cow<'a, str>>,
    dialect: Option<RawDialect>,
    batch: Option<bool>,
    presence: Option<Status>,
    auto_ack: Option<bool>,
    attach: Option<bool>,
    since: Option<BTreeMap<String, RawSince>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawDialect {
    Room,
    Conversation,
}

pub(super) fn auth<'a>(data: Option<&'a RawValue>) -> Result<Auth<'a>, Refusal> {
    if let Some(token) = bare(data) {
        return Ok(Auth { token, ..Auth::default() });
    }
    let raw: RawAuth<'a> = object(data)?;
    let mut since = Vec::new();
    for (room, seen) in raw.since.unwrap_or_default() {
        since.push((room_id(&room)?, seen.check()?));
    }
    let options = AuthOptions {
        device: raw.device_id.map(|id| DeviceId::parse(&id).map_err(bad_id("deviceId"))).transpose()?,
        encoding: Encoding {
            dialect: match raw.dialect {
                Some(RawDialect::Conversation) => Dialect::Conversation,
                Some(RawDialect::Room) | None => Dialect::Room,
            },
            batch: raw.batch.unwrap_or(false),
            deflate: false,
        },
        attach: raw.attach.unwrap_or(true),
        auto_ack: raw.auto_ack.unwrap_or(true),
        status: raw.presence.unwrap_or_default(),
    };
    Ok(Auth { token: raw.token, options, since })
}

/// The options of `auth` from a query string's decoded pairs. Pairs of other names are ignored.
///
/// # Errors
///
/// `INVALID_PAYLOAD` for a value that the field cannot have.
pub fn auth_options<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<AuthOptions, Refusal> {
    let mut fields = serde_json::Map::new();
    fields.insert("token".to_owned(), "".into());
    for (name, value) in pairs {
        let value = match name {
            "deviceId" | "dialect" | "presence" => serde_json::Value::from(value),
            "batch" | "autoAck" | "attach" => match value {
                "true" | "1" => true.into(),
                "false" | "0" => false.into(),
                _ => return Err(Refusal::payload(format!("{name} must be true or false"))),
            },
            _ => continue,
        };
        fields.insert(name.to_owned(), value);
    }
    let raw = serde_json::value::to_raw_value(&fields).map_err(|error| Refusal::payload(parser_message(&error)))?;
    auth(Some(&raw)).map(|auth| auth.options)
}
