//! What a client says of what it has: `ack`, `mark-read` and `get-message-status`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::ACK_MESSAGES_MAX;
use super::error::Refusal;
use super::request::{Request, bad_id, message_id, object, room_id};
use crate::ids::{MessageId, RoomId, UserId};
use crate::message::Seq;

/// Data of `ack` and `mark-read`.
#[derive(Debug)]
pub struct Ack {
    /// In which room.
    pub room: RoomId,
    /// How far.
    pub up_to: UpTo,
    /// Which of the two it is.
    pub kind: AckKind,
}

/// Where a cursor is to go.
#[derive(Clone, Debug)]
pub enum UpTo {
    /// To an event, or to the head if that comes first.
    Seq(Seq),
    /// To the last of these messages.
    Messages(Vec<MessageId>),
}

/// What is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckKind {
    /// That it arrived.
    Delivered,
    /// That somebody saw it.
    Seen,
}

/// Data of `get-message-status`.
#[derive(Debug)]
pub struct StatusQuestion {
    /// In which room.
    pub room: RoomId,
    /// Which message.
    pub message_id: MessageId,
    /// Users up to this one were listed before.
    pub after: Option<UserId>,
}

pub(super) fn ack<'a>(data: Option<&'a RawValue>, kind: AckKind) -> Result<Request<'a>, Refusal> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct RawAck<'a> {
        #[serde(borrow, rename = "conversationId", alias = "room")]
        room: Cow<'a, str>,
        up_to: Option<Seq>,
        #[serde(borrow)]
        message_ids: Option<Vec<Cow<'a, str>>>,
    }
    let raw: RawAck<'a> = object(data)?;
    let up_to = match (raw.up_to, raw.message_ids) {
        (Some(seq), None) => UpTo::Seq(seq),
        (None, Some(ids)) if (1..=ACK_MESSAGES_MAX).contains(&ids.len()) => {
            UpTo::Messages(ids.iter().map(|id| message_id(id)).collect::<Result<_, _>>()?)
        }
        (None, Some(_)) => {
            return Err(Refusal::payload(format!("messageIds must name 1 to {ACK_MESSAGES_MAX} messages")));
        }
        _ => return Err(Refusal::payload("either upTo or messageIds must be there")),
    };
    Ok(Request::Ack(Ack { room: room_id(&raw.room)?, up_to, kind }))
}

pub(super) fn status<'a>(data: Option<&'a RawValue>) -> Result<Request<'a>, Refusal> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct RawStatus<'a> {
        #[serde(borrow, rename = "conversationId", alias = "room")]
        room: Cow<'a, str>,
        #[serde(borrow)]
        message_id: Cow<'a, str>,
        #[serde(borrow)]
        after: Option<Cow<'a, str>>,
    }
    let raw: RawStatus<'a> = object(data)?;
    Ok(Request::Status(StatusQuestion {
        room: room_id(&raw.room)?,
        message_id: message_id(&raw.message_id)?,
        after: raw.after.map(|after| UserId::parse(&after).map_err(bad_id("after"))).transpose()?,
    }))
}
