//! What the relay knows of an authenticated connection.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::ids::{ConnectionId, ConnectionKey, DeviceId, MessageId, RoomId, SessionId, UserId};
use crate::policy::Attribute;
use crate::wire::Dialect;
use crate::wire::request::Since;

use super::Asked;
use super::attach::{Arrival, Attachment};
use super::messages::{Attempt, Deleting, Editing, Stopped};
use super::presence::PresenceQuestion;
use super::queue::Queue;
use super::rights::{Then, Verdicts};

/// An authenticated connection.
pub(super) struct Peer {
    pub(super) connection: ConnectionId,
    pub(super) user: UserId,
    /// What is known of the user, for plugins.
    pub(super) attributes: Arc<[Attribute]>,
    /// How many tokens the connection has brought after its first.
    pub(super) renewals: u32,
    /// What plugins said of the connection's rights.
    pub(super) verdicts: Option<Box<Verdicts>>,
    /// The name of the token that it came with last.
    pub(super) token_id: Option<Box<str>>,
    pub(super) device: Option<DeviceId>,
    /// This connection's session, as the client knows it.
    pub(super) session: SessionId,
    pub(super) dialect: Dialect,
    /// Whether it is live in all the user's rooms, also in those that are joined later elsewhere.
    pub(super) attach: bool,
    /// The rooms in which it types, the first begun first.
    pub(super) typing_in: Vec<RoomId>,
    /// Whose presence it has subscribed to.
    #[expect(clippy::box_collection, reason = "nearly no connection has one, and each connection is to be small")]
    pub(super) watches: Option<Box<HashSet<UserId>>>,
    /// What it missed and is still to be told.
    pub(super) queue: Option<Box<Queue>>,
    /// The request under way.
    pub(super) pending: Option<Box<Pending>>,
    /// Answers that are still to come.
    pub(super) outstanding: u32,
    /// Whether the store counts it among the user's connections.
    pub(super) counted: bool,
    /// Whether the connection ended while answers were still to come.
    pub(super) gone: bool,
}

/// All authenticated connections of a shard, and whoever else asks.
///
/// Those that are there are found by their slot. One that ended while answers were still to come is kept apart, because
/// its slot is used again; so is an asker that is no connection.
#[derive(Default)]
pub(super) struct Peers {
    by_slot: Vec<Option<(u32, Peer)>>,
    apart: HashMap<ConnectionKey, Peer>,
}

impl Peers {
    pub(super) fn get(&self, key: ConnectionKey) -> Option<&Peer> {
        match self.by_slot.get(key.slot as usize) {
            Some(Some((generation, peer))) if *generation == key.generation => Some(peer),
            _ => self.apart.get(&key),
        }
    }

    pub(super) fn get_mut(&mut self, key: ConnectionKey) -> Option<&mut Peer> {
        match self.by_slot.get_mut(key.slot as usize) {
            Some(Some((generation, peer))) if *generation == key.generation => Some(peer),
            _ => self.apart.get_mut(&key),
        }
    }

    pub(super) fn insert(&mut self, key: ConnectionKey, peer: Peer) {
        let slot = key.slot as usize;
        if self.by_slot.len() <= slot {
            self.by_slot.resize_with(slot + 1, || None);
        }
        if let Some(place) = self.by_slot.get_mut(slot) {
            *place = Some((key.generation, peer));
        }
    }

    /// Notes an asker that has no slot.
    pub(super) fn insert_apart(&mut self, key: ConnectionKey, peer: Peer) {
        self.apart.insert(key, peer);
    }

    /// Those that are there among some slots, each with its slot and its key; and the slot from which to go on.
    pub(super) fn page(
        &self,
        from: usize,
        slots_max: usize,
    ) -> (impl Iterator<Item = (usize, ConnectionKey, &Peer)>, Option<usize>) {
        let end = self.by_slot.len().min(from.saturating_add(slots_max));
        let slots = self.by_slot.get(from..end).unwrap_or_default().iter();
        let there = slots.enumerate().filter_map(move |(at, place)| {
            let (generation, peer) = place.as_ref()?;
            let slot = from + at;
            Some((slot, ConnectionKey { slot: u32::try_from(slot).ok()?, generation: *generation }, peer))
        });
        (there, (end < self.by_slot.len()).then_some(end))
    }

    /// All that are there, with their keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = (ConnectionKey, &Peer)> {
        self.page(0, usize::MAX).0.map(|(_, key, peer)| (key, peer))
    }

    /// All that are there.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Peer> {
        self.by_slot.iter_mut().flatten().map(|(_, peer)| peer)
    }

    pub(super) fn remove(&mut self, key: ConnectionKey) -> Option<Peer> {
        match self.by_slot.get_mut(key.slot as usize) {
            Some(place) if place.as_ref().is_some_and(|(generation, _)| *generation == key.generation) => {
                place.take().map(|(_, peer)| peer)
            }
            _ => self.apart.remove(&key),
        }
    }

    /// Gives up a connection's slot; what is still to come for it will find it apart.
    pub(super) fn keep_until_answered(&mut self, key: ConnectionKey) {
        if let Some(peer) = self.remove(key) {
            self.apart.insert(key, peer);
        }
    }
}

/// A request under way, and what it waits for.
pub(super) struct Pending {
    pub(super) asked: Asked,
    pub(super) waiting: Waiting,
}

/// What a verb needs for its second half.
pub(super) enum Waiting {
    /// What the auth chain says of the rights that the request needs.
    Rights(Box<Then>),
    /// `auth`: the user's rooms.
    Arrive(Box<Arrival>),
    /// `auth`: the heads of the user's rooms.
    Attach(Box<Attachment>),
    /// `join-room`: whether the user may have another room.
    Reserve { room: RoomId, since: Option<Since> },
    /// `join-room`: the room.
    Join { room: RoomId, asked_since: bool },
    /// `leave-room`.
    Leave { room: RoomId },
    /// `send-message` and `edit-message` from a connection that is not live: whether the user is a member.
    Membership(Box<Attempt>),
    /// `send-message` that the plugins did not let pass: whether it had been sent before.
    Recall(Box<Stopped>),
    /// `send-message`.
    Append { room: RoomId, temp_id: Option<Box<str>>, no_echo: bool },
    /// `edit-message`.
    Edit(Editing),
    /// `delete-message`.
    Delete(Deleting),
    /// `history`.
    History { room: RoomId },
    /// `get-online-users`.
    OnlineUsers { room: RoomId },
    /// `ack` and `mark-read`.
    Ack { room: RoomId },
    /// `get-message-status`.
    Status { room: RoomId, message_id: MessageId },
    /// `typing-start` and `typing-stop`.
    Typing { room: RoomId },
    /// `get-typing-users`.
    TypingUsers { room: RoomId },
    /// `presence-update`.
    SetPresence,
    /// `get-presence` and `subscribe-presence`.
    Presence(Box<PresenceQuestion>),
}

impl Waiting {
    /// Whether this is on the way to a room.
    pub(super) fn joins(&self, wanted: &RoomId) -> bool {
        matches!(self, Self::Reserve { room, .. } | Self::Join { room, .. } if room == wanted)
    }
}
