//! A room that this node follows: who is live in it here, and how far its events have come.

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::feed::{Feed, Place};
use super::question::Asked;
use super::{Concluded, Token};
use crate::ids::{RoomId, ShardId, UserId};
use crate::message::{Event, EventKind, Timestamp};
use crate::store::{self, Head, Outcome, RoomSummary};

/// Whether the node hears of everything in the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hearing {
    /// Not yet, or not any more.
    Deaf,
    /// From here on.
    Hears,
}

/// An event, and whose call it was if it was this shard's.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) event: Arc<Event>,
    pub(super) token: Option<Token>,
}

/// An answer that waits for the feed.
pub(super) struct Held {
    pub(super) token: Token,
    pub(super) asked: Asked,
    pub(super) outcome: Outcome,
    pub(super) place: Place,
    /// Since when it waits.
    pub(super) since: Timestamp,
    /// How often the log had been asked when it turned out to speak of another log.
    pub(super) elsewhere: Option<u64>,
}

/// A room that this node follows.
pub(super) struct Followed {
    pub(super) hearing: Hearing,
    pub(super) feed: Feed<Item>,
    pub(super) held: Vec<Held>,
    /// Those who wait until the node hears.
    pub(super) waiting: Vec<Token>,
    /// How often the log was asked.
    pub(super) asks: u64,
    /// Connections that are live, or are about to be.
    live: HashMap<UserId, u32>,
    /// Live connections by shard.
    listeners: SmallVec<[u32; 2]>,
    /// Members, as far as the node knows.
    pub(super) members: usize,
    /// Since when nobody is live.
    pub(super) empty_since: Option<Timestamp>,
    /// The log got another name since some came in, so what arrives proves nothing of them.
    pub(super) renamed: bool,
}

impl Followed {
    pub(super) fn new() -> Self {
        Self {
            hearing: Hearing::Deaf,
            feed: Feed::default(),
            held: Vec::new(),
            waiting: Vec::new(),
            asks: 0,
            live: HashMap::new(),
            listeners: SmallVec::new(),
            members: 0,
            empty_since: None,
            renamed: false,
        }
    }

    /// A connection of a user is about to be live.
    pub(super) fn expect(&mut self, user: &UserId) {
        *self.live.entry(user.clone()).or_default() += 1;
        self.empty_since = None;
        self.feed.await_entry();
    }

    /// It is.
    pub(super) fn enter(&mut self, shard: ShardId) {
        let shard = usize::from(shard.0);
        if self.listeners.len() <= shard {
            self.listeners.resize(shard + 1, 0);
        }
        if let Some(count) = self.listeners.get_mut(shard) {
            *count += 1;
        }
        self.feed.entry_over();
    }

    /// It will not be. Returns whether nobody of the user's is.
    pub(super) fn expect_no_more(&mut self, user: &UserId, now: Timestamp) -> bool {
        self.feed.entry_over();
        self.one_less(user, now)
    }

    /// It is not any more. Returns whether nobody of the user's is.
    pub(super) fn detach(&mut self, user: &UserId, shard: ShardId, now: Timestamp) -> bool {
        if let Some(count) = self.listeners.get_mut(usize::from(shard.0)) {
            *count = count.saturating_sub(1);
        }
        self.one_less(user, now)
    }

    fn one_less(&mut self, user: &UserId, now: Timestamp) -> bool {
        let Some(count) = self.live.get_mut(user) else { return false };
        *count = count.saturating_sub(1);
        let is_last = *count == 0;
        if is_last {
            self.live.remove(user);
        }
        if self.live.is_empty() {
            self.empty_since = Some(now);
        }
        is_last
    }

    /// Whether a user is live, or about to be.
    pub(super) fn has(&self, user: &UserId) -> bool {
        self.live.contains_key(user)
    }

    /// All who are.
    pub(super) fn users(&self) -> impl Iterator<Item = &UserId> {
        self.live.keys()
    }

    /// Whether a sweep has to look after it.
    pub(super) fn needs_care(&self) -> bool {
        let waits = !self.held.is_empty() || !self.waiting.is_empty();
        waits || self.is_empty() || self.hearing == Hearing::Deaf || self.feed.is_restless()
    }

    /// Whether nobody is.
    pub(super) fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Which shards have live connections: bit n for shard n.
    pub(super) fn shards(&self) -> u64 {
        self.listeners.iter().enumerate().filter(|(_, count)| **count > 0).fold(0, |mask, (shard, _)| mask | 1 << shard)
    }

    /// An event for whoever is live, if anybody is.
    pub(super) fn tell(&mut self, id: &RoomId, epoch: Option<Arc<str>>, item: Item) -> Option<Concluded> {
        match &item.event.kind {
            EventKind::MemberJoined { .. } => self.members += 1,
            EventKind::MemberLeft { .. } => self.members = self.members.saturating_sub(1),
            _ => {}
        }
        let shards = self.shards();
        if shards == 0 {
            return None;
        }
        let feed = store::Feed { room: id.clone(), epoch, event: item.event, shards };
        let outcome = Outcome { feed: Some(feed), ..Outcome::default() };
        Some(Concluded { token: item.token, last: false, outcome })
    }

    /// The room in a listing.
    pub(super) fn summary(&self, room: RoomId) -> RoomSummary {
        let live = self.listeners.iter().map(|count| *count as usize).sum();
        RoomSummary { room, head: Head { log: self.feed.reached().cloned() }, members: self.members, live }
    }
}
