//! How available someone is: the states there are, what a client says of itself, and what others are told.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::Refusal;
use super::request::{Request, bad_id, bare, object};
use crate::ids::{self, UserId};
use crate::message::Timestamp;

/// Users that one request may name.
pub const USERS_PER_REQUEST_MAX: usize = 500;

/// A state, the most available last: a user with several devices is as available as the most available of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Not there, or not to be seen as there.
    Offline,
    /// There, but not at it.
    Away,
    /// Not to be disturbed.
    Dnd,
    /// At something else.
    Busy,
    /// There.
    #[default]
    Online,
}

/// A state, with a word of the user's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Availability {
    /// The state.
    pub status: Status,
    /// The user's own word; at most 200 bytes.
    pub text: Option<Arc<str>>,
}

impl From<Status> for Availability {
    fn from(status: Status) -> Self {
        Self { status, text: None }
    }
}

/// What is told of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Presence {
    /// Who.
    pub user_id: UserId,
    /// How available.
    pub status: Status,
    /// When the user was last there, in milliseconds since the epoch: now, unless offline. `null` if that is not known.
    pub last_seen_at: Option<Timestamp>,
    /// The user's own word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Arc<str>>,
}

/// `presence-update`: an object, or the bare status.
pub(super) fn update<'a>(data: Option<&'a RawValue>) -> Result<Request<'a>, Refusal> {
    #[derive(Deserialize)]
    struct Update<'a> {
        status: Status,
        #[serde(borrow)]
        text: Option<Cow<'a, str>>,
    }
    if bare(data).is_some() {
        let status = serde_json::from_str(data.map_or("", RawValue::get));
        let status = status.map_err(|_| Refusal::payload("status must be online, away, busy, dnd or offline"))?;
        return Ok(Request::SetPresence(Availability { status, text: None }));
    }
    let Update { status, text } = object(data)?;
    // An empty word takes the one before back.
    let text = text.filter(|text| !text.is_empty());
    if let Some(text) = &text {
        ids::check_label(text).map_err(bad_id("text"))?;
    }
    Ok(Request::SetPresence(Availability { status, text: text.map(Arc::from) }))
}

/// Data that name users.
pub(super) fn users(data: Option<&RawValue>) -> Result<Vec<UserId>, Refusal> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Users<'a> {
        #[serde(borrow)]
        user_ids: Vec<Cow<'a, str>>,
    }
    let Users { user_ids } = object(data)?;
    if user_ids.len() > USERS_PER_REQUEST_MAX {
        return Err(Refusal::payload(format!("userIds must be at most {USERS_PER_REQUEST_MAX}")));
    }
    user_ids.iter().map(|id| UserId::parse(id).map_err(bad_id("userIds"))).collect()
}
