//! Telling others that someone appeared, or is as available as not before.
//!
//! The user's owner asks the owners of the user's rooms which of them are small enough, and then tells every shard once:
//! who, what, and in which rooms. Each shard writes to those of its connections that share one of these rooms with the
//! user or have subscribed to the user, once each. What a user does within a moment becomes one push at its end, of what
//! holds then, and none if that is what was told before.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Mail, Relay, wall_clock};
use crate::ids::{ConnectionKey, RoomId, ShardId, UserId};
use crate::store::{Appeared, owner_of};
use crate::wire::presence::{Availability, Presence};
use crate::wire::{Frame, encode};

/// Users of whom something is under way at once. Of others nothing is told: they can be asked for.
const UNDER_WAY_MAX: usize = 65_536;

/// Users for whom there is room kept, though nothing is under way.
const SPARE_MAX: usize = 256;

/// Users of whom others were told a moment ago, or are about to be told.
#[derive(Default)]
pub(super) struct Appearances {
    of: HashMap<UserId, Appearance>,
}

struct Appearance {
    /// Owners that have not answered yet.
    outstanding: usize,
    /// Rooms whose members are to be told.
    rooms: Vec<RoomId>,
    /// What was told last.
    told: Option<Availability>,
    /// Whether something happened since the owners were asked.
    again: bool,
}

/// How available a user is, for connections of one shard.
#[derive(Debug)]
pub struct PresencePush {
    user: UserId,
    /// Rooms whose members are to be told.
    rooms: Vec<RoomId>,
    frame: Frame,
}

impl Relay {
    /// A user of this shard's is as available as not before.
    pub(super) fn appeared(&mut self, appeared: Appeared) {
        let Appeared { user, rooms } = appeared;
        if let Some(appearance) = self.appearances.of.get_mut(&user) {
            appearance.again = true;
            return;
        }
        if self.appearances.of.len() < UNDER_WAY_MAX {
            self.ask_for_audience(user, rooms, None);
        }
    }

    fn ask_for_audience(&mut self, user: UserId, rooms: Vec<RoomId>, told: Option<Availability>) {
        let mut by_owner: HashMap<u16, Vec<RoomId>> = HashMap::new();
        for room in rooms {
            by_owner.entry(owner_of(room.as_str(), self.mailboxes.count()).0).or_default().push(room);
        }
        let outstanding = by_owner.len();
        let appearance = Appearance { outstanding, rooms: Vec::new(), told, again: false };
        self.appearances.of.insert(user.clone(), appearance);
        if by_owner.is_empty() {
            return self.tell_appearance(&user);
        }
        for (owner, rooms) in by_owner {
            let question = Mail::AskAudience { user: user.clone(), rooms, from: self.shard };
            if owner == self.shard.0 { self.receive(question) } else { self.mailboxes.send(ShardId(owner), question) }
        }
    }

    /// Another shard asks which of these rooms of this shard's are small enough.
    pub(super) fn audience_asked(&mut self, user: UserId, rooms: Vec<RoomId>, from: ShardId) {
        let rooms = self.store.watched_rooms(rooms);
        if from == self.shard {
            self.audience_known(&user, rooms);
        } else {
            self.mailboxes.send(from, Mail::Audience { user, rooms });
        }
    }

    /// An owner of rooms has answered.
    pub(super) fn audience_known(&mut self, user: &UserId, rooms: Vec<RoomId>) {
        let Some(appearance) = self.appearances.of.get_mut(user) else { return };
        appearance.rooms.extend(rooms);
        appearance.outstanding = appearance.outstanding.saturating_sub(1);
        if appearance.outstanding == 0 {
            self.tell_appearance(user);
        }
    }

    /// Tells every shard what the user is by now.
    fn tell_appearance(&mut self, user: &UserId) {
        let presence = self.store.presence(user.clone(), wall_clock());
        let Some(appearance) = self.appearances.of.get_mut(user) else { return };
        appearance.again = false;
        let now = availability(&presence);
        let rooms = std::mem::take(&mut appearance.rooms);
        if appearance.told.as_ref() == Some(&now) {
            return;
        }
        appearance.told = Some(now);
        self.metrics.presence.changes.increment(1);
        let push = Arc::new(PresencePush { user: user.clone(), rooms, frame: encode::presence(&presence) });
        for shard in self.mailboxes.others(self.shard) {
            self.mailboxes.send(shard, Mail::Presence(Arc::clone(&push)));
        }
        self.push_presence(&push);
    }

    /// Writes to those of this shard's connections that are to know.
    pub(super) fn push_presence(&mut self, push: &PresencePush) {
        let PresencePush { user, rooms, frame } = push;
        let own = self.users.get(user).cloned().unwrap_or_default();
        let mut told: HashSet<ConnectionKey> = self.subscriptions.of(user).collect();
        // A user's own devices know without being told, unless they want to be.
        let in_rooms = rooms.iter().flat_map(|room| self.hub.live_in(room)).filter(|key| !own.contains(key));
        told.extend(in_rooms);
        for key in told {
            let Some(dialect) = self.peers.get(key).map(|peer| peer.dialect) else { continue };
            self.metrics.presence.pushed.increment(1);
            self.hub.reply_ephemeral(key, frame.bytes(dialect));
        }
    }

    /// Tells what happened within the last moment, and forgets of whom nothing more did. To be called now and then.
    pub(super) fn sweep_appearances(&mut self) {
        for appeared in self.store.grace_over(wall_clock()) {
            self.appeared(appeared);
        }
        let settled = self.appearances.of.extract_if(|_, appearance| appearance.outstanding == 0);
        let again: Vec<_> = settled.filter(|(_, it)| it.again).map(|(user, it)| (user, it.told)).collect();
        // A crowd that came at once has been dealt with.
        if self.appearances.of.capacity() > SPARE_MAX + 8 * self.appearances.of.len() {
            self.appearances.of.shrink_to(SPARE_MAX);
        }
        for (user, told) in again {
            let rooms = self.store.rooms_of(&user);
            self.ask_for_audience(user, rooms, told);
        }
    }
}

fn availability(presence: &Presence) -> Availability {
    Availability { status: presence.status, text: presence.text.clone() }
}
