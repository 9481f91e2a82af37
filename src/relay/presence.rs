//! `presence-update`, `get-presence`, `subscribe-presence` and `unsubscribe-presence`: saying how available one is, and
//! asking how available others are.
//!
//! Who may be told of whom is not decided here. A subscription is known to the shard of its connection alone, because
//! every shard hears of everyone who appears (see `appear`).

use std::collections::HashMap;

use serde::Serialize;
use smallvec::SmallVec;

use super::{Asked, Errand, Pending, Relay, Ticket, Waiting};
use crate::ids::{ConnectionKey, UserId};
use crate::store::{Answer, Op, owner_of};
use crate::wire::encode::Nothing;
use crate::wire::presence::{Availability, Presence};
use crate::wire::{ErrorCode, Refusal};

/// A question about users that several shards answer.
pub(super) struct PresenceQuestion {
    /// In the order in which they are to be listed.
    users: Vec<UserId>,
    outstanding: usize,
    found: HashMap<UserId, Presence>,
}

/// Who on this shard has subscribed to whom.
#[derive(Default)]
pub(super) struct Subscriptions {
    by_user: HashMap<UserId, SmallVec<[ConnectionKey; 1]>>,
    /// All of them.
    pub(super) count: usize,
}

impl Subscriptions {
    /// Whose connections have subscribed to a user.
    pub(super) fn of(&self, user: &UserId) -> impl Iterator<Item = ConnectionKey> + use<'_> {
        self.by_user.get(user).into_iter().flatten().copied()
    }

    fn add(&mut self, user: UserId, key: ConnectionKey) {
        self.by_user.entry(user).or_default().push(key);
        self.count += 1;
    }

    fn remove(&mut self, user: &UserId, key: ConnectionKey) {
        let Some(keys) = self.by_user.get_mut(user) else { return };
        let before = keys.len();
        keys.retain(|known| *known != key);
        self.count -= before - keys.len();
        if keys.is_empty() {
            self.by_user.remove(user);
        }
    }
}

impl Relay {
    pub(super) fn set_presence(&mut self, asked: Asked, availability: Availability) {
        let Some(user) = self.user(asked.key).cloned() else { return };
        let op = Op::SetPresence { user, connection: asked.key, availability };
        self.ask(asked, Waiting::SetPresence, op);
    }

    pub(super) fn presence_set(&mut self, asked: &Asked) {
        self.ok(asked, &Nothing {});
    }

    /// Asks the owners of these users how available they are.
    pub(super) fn ask_presence(&mut self, asked: Asked, mut users: Vec<UserId>) {
        let mut once = std::collections::HashSet::with_capacity(users.len());
        users.retain(|user| once.insert(user.clone()));
        let mut by_owner: HashMap<u16, Vec<UserId>> = HashMap::new();
        for user in &users {
            let owner = owner_of(user.as_str(), self.mailboxes.count());
            by_owner.entry(owner.0).or_default().push(user.clone());
        }
        let key = asked.key;
        let Some(peer) = self.peers.get_mut(key) else { return };
        let question = PresenceQuestion { users, outstanding: by_owner.len(), found: HashMap::new() };
        if by_owner.is_empty() {
            return self.tell_presence(&asked, question);
        }
        peer.pending = Some(Box::new(Pending { asked, waiting: Waiting::Presence(Box::new(question)) }));
        peer.outstanding += u32::try_from(by_owner.len()).unwrap_or(u32::MAX);
        for users in by_owner.into_values() {
            let ticket = Ticket { shard: self.shard, key, errand: Errand::Presence };
            self.submit(Op::PresenceOf { users }, Some(ticket), false);
        }
    }

    /// One of the owners answered.
    pub(super) fn presence_read(&mut self, key: ConnectionKey, answer: Answer) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let Some(Pending { waiting: Waiting::Presence(question), .. }) = peer.pending.as_deref_mut() else { return };
        if let Answer::Presence(found) = answer {
            question.found.extend(found.into_iter().map(|presence| (presence.user_id.clone(), presence)));
        }
        question.outstanding -= 1;
        if question.outstanding > 0 {
            return;
        }
        let Some(pending) = peer.pending.take() else { return };
        if let Pending { asked, waiting: Waiting::Presence(question) } = *pending {
            self.tell_presence(&asked, *question);
        }
    }

    fn tell_presence(&mut self, asked: &Asked, mut question: PresenceQuestion) {
        #[derive(Serialize)]
        struct Statuses {
            users: Vec<Presence>,
        }
        let users = question.users.iter().filter_map(|user| question.found.remove(user)).collect();
        self.reply(asked, "presence-status", &Statuses { users });
    }

    /// From here on the connection hears of these users, whoever they are and wherever. What they are now is answered, by
    /// their owners: whatever comes after that is pushed.
    pub(super) fn subscribe(&mut self, asked: Asked, users: Vec<UserId>) {
        let subscriptions_max = self.settings.presence_subscriptions_max;
        let Some(peer) = self.peers.get_mut(asked.key) else { return };
        let watched = peer.watches.get_or_insert_default();
        let mut new: Vec<UserId> = users.iter().filter(|user| !watched.contains(*user)).cloned().collect();
        new.sort_unstable();
        new.dedup();
        if subscriptions_max != 0 && watched.len() + new.len() > subscriptions_max {
            let message = format!("a connection may subscribe to {subscriptions_max} users");
            return self.refuse(&asked, None, &Refusal::new(ErrorCode::LimitExceeded, message));
        }
        for user in new {
            watched.insert(user.clone());
            self.subscriptions.add(user, asked.key);
        }
        self.ask_presence(asked, users);
    }

    pub(super) fn unsubscribe(&mut self, asked: &Asked, users: &[UserId]) {
        let Some(peer) = self.peers.get_mut(asked.key) else { return };
        for user in users {
            if peer.watches.as_mut().is_some_and(|watched| watched.remove(user)) {
                self.subscriptions.remove(user, asked.key);
            }
        }
        if peer.watches.as_ref().is_some_and(|watched| watched.is_empty()) {
            peer.watches = None;
        }
        self.ok(asked, &Nothing {});
    }

    /// A connection ended: it watches nobody any more.
    pub(super) fn unsubscribe_from_all(&mut self, key: ConnectionKey) {
        let Some(watched) = self.peers.get_mut(key).and_then(|peer| peer.watches.take()) else { return };
        for user in *watched {
            self.subscriptions.remove(&user, key);
        }
    }
}
