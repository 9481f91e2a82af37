//! What scripts tell on the channels, read.

use std::sync::Arc;

use super::record::{SEPARATOR, decode};
use crate::ids::{ConnectionKey, MessageId, RoomId, ShardId, UserId};
use crate::message::{Event, Seq, Timestamp};
use crate::store::{CursorKind, MembershipChange, Source};
use crate::wire::presence::{Presence, Status};

/// Whose call it was that told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) node: String,
    pub(super) shard: ShardId,
    pub(super) token: u64,
}

/// What is told of a room.
#[derive(Debug)]
pub(super) enum OfRoom {
    /// An event, with its place if there is a log.
    Event { origin: Option<Origin>, place: Option<(Arc<str>, Seq)>, event: Arc<Event> },
    /// A cursor grew.
    Receipt { origin: Option<Origin>, receipt: Receipt },
    /// Someone began to type, goes on, or ceased.
    Typing { user: UserId, is_typing: bool, stop_ms: u64, source: String },
}

/// A cursor that grew.
#[derive(Debug)]
pub(super) struct Receipt {
    pub(super) user: UserId,
    pub(super) at: Timestamp,
    pub(super) kind: CursorKind,
    pub(super) up_to: Seq,
    pub(super) message_id: Option<MessageId>,
    pub(super) authors: Vec<UserId>,
}

/// What is told to all nodes.
#[derive(Debug)]
pub(super) enum OfUser {
    /// A user is as available as not before.
    Presence { presence: Presence, rooms: Vec<RoomId> },
    /// A membership began or ended.
    Membership { node: String, change: MembershipChange },
}

impl Origin {
    pub(super) fn text(node: &str, shard: ShardId, token: u64) -> String {
        format!("{node}/{}/{token}", shard.0)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let (node, shard, token) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { node: node.to_owned(), shard: ShardId(shard.parse().ok()?), token: token.parse().ok()? })
    }
}

/// A connection, as other nodes know it.
pub(super) fn source_text(node: &str, (shard, key): Source) -> String {
    format!("{node}/{}/{}.{}", shard.0, key.slot, key.generation)
}

/// The connection that a text names: one of this node's, or one that is like no other here.
pub(super) fn source_of(text: &str, this_node: &str) -> Source {
    let ours = || {
        let mut parts = text.split('/');
        let (node, shard, key) = (parts.next()?, parts.next()?, parts.next()?);
        let (slot, generation) = key.split_once('.')?;
        let key = ConnectionKey { slot: slot.parse().ok()?, generation: generation.parse().ok()? };
        (node == this_node).then_some((ShardId(shard.parse().ok()?), key))
    };
    ours().unwrap_or_else(|| {
        let hash = text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default();
        (ShardId(u16::MAX), ConnectionKey { slot: half(hash >> 32), generation: half(hash) })
    })
}

/// Reads what was told of a room.
pub(super) fn of_room(payload: &str) -> Option<OfRoom> {
    let mut fields = payload.splitn(5, SEPARATOR);
    let mut next = || fields.next();
    let (kind, origin) = (next()?, Origin::parse(next()?));
    match kind {
        "E" => {
            let (epoch, seq) = (next()?, next()?);
            let place = if epoch.is_empty() { None } else { Some((Arc::from(epoch), seq.parse().ok()?)) };
            let event = Arc::new(decode(place.as_ref().map(|(_, seq)| *seq), next()?)?);
            Some(OfRoom::Event { origin, place, event })
        }
        "R" => {
            let (user, at, rest) = (UserId::parse(next()?).ok()?, next()?.parse().ok()?, next()?);
            let mut rest = rest.split(SEPARATOR);
            Some(OfRoom::Receipt { origin, receipt: receipt(user, at, &mut rest)? })
        }
        "T" => {
            let (user, is_typing, rest) = (UserId::parse(next()?).ok()?, next()? == "1", next()?);
            let (stop_ms, source) = rest.split_once(SEPARATOR)?;
            Some(OfRoom::Typing { user, is_typing, stop_ms: stop_ms.parse().ok()?, source: source.to_owned() })
        }
        _ => None,
    }
}

/// The rest of a receipt: which cursor, up to where, by which message, and who wrote what it covers.
pub(super) fn receipt<'a>(user: UserId, at: Timestamp, fields: &mut impl Iterator<Item = &'a str>) -> Option<Receipt> {
    let kind = match fields.next()? {
        "delivered" => CursorKind::Delivered,
        "seen" => CursorKind::Seen,
        _ => return None,
    };
    let up_to = fields.next()?.parse().ok()?;
    let message_id = Some(fields.next()?).filter(|id| !id.is_empty()).and_then(|id| MessageId::parse(id).ok());
    let count: usize = fields.next()?.parse().ok()?;
    let authors: Vec<_> = fields.by_ref().take(count).filter_map(|author| UserId::parse(author).ok()).collect();
    Some(Receipt { user, at, kind, up_to, message_id, authors })
}

/// Reads what was told to all nodes.
pub(super) fn of_user(payload: &str) -> Option<OfUser> {
    let mut fields = payload.split(SEPARATOR);
    let mut next = || fields.next();
    match next()? {
        "P" => {
            let _node = next()?;
            let user_id = UserId::parse(next()?).ok()?;
            let status: Status = status(next()?)?;
            let text = Some(next()?).filter(|text| !text.is_empty()).map(Arc::from);
            let last_seen_at = next()?.parse().ok();
            let rooms = fields.filter_map(|room| RoomId::parse(room).ok()).collect();
            Some(OfUser::Presence { presence: Presence { user_id, status, last_seen_at, text }, rooms })
        }
        "M" => {
            let (node, user) = (next()?.to_owned(), UserId::parse(next()?).ok()?);
            let (room, membership) = (RoomId::parse(next()?).ok()?, next()?.parse().ok()?);
            let (joined, removed) = (next()? == "1", next()? == "1");
            let change = MembershipChange { user, room, membership, joined, quiet: false, removed };
            Some(OfUser::Membership { node, change })
        }
        _ => None,
    }
}

/// Whom something that is told to all nodes is about: that user's owner takes it.
pub(super) fn user_of(payload: &str) -> Option<&str> {
    payload.split(SEPARATOR).nth(2)
}

/// What every node is told of a membership.
pub(super) fn membership_text(node: &str, change: &MembershipChange) -> String {
    let flag = |is: bool| if is { "1" } else { "0" };
    let membership = change.membership.to_string();
    let rest =
        [node, change.user.as_str(), change.room.as_str(), &membership, flag(change.joined), flag(change.removed)];
    super::record::fields("M", &rest)
}

/// A status by its name.
pub(super) fn status(name: &str) -> Option<Status> {
    Some(match name {
        "offline" => Status::Offline,
        "away" => Status::Away,
        "dnd" => Status::Dnd,
        "busy" => Status::Busy,
        "online" => Status::Online,
        _ => return None,
    })
}

/// The name of a status.
pub(super) fn status_name(status: Status) -> &'static str {
    match status {
        Status::Offline => "offline",
        Status::Away => "away",
        Status::Dnd => "dnd",
        Status::Busy => "busy",
        Status::Online => "online",
    }
}
