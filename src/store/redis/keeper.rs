//! Leases: a node says that it is alive, and takes away what dead ones have left.
//!
//! The first shard does it for its node. Whatever it takes away it may take away twice, and so may several nodes at once.
//! A node that finds its lease taken (it was frozen, or cut off) says again what it has, and once more a while later,
//! because whoever was reaping it may not have noticed yet.

use super::question::Question;
use super::reply::Reply;
use super::scripts::{LEASE, LIVE, PRESENCE, REAP_ROOM};
use super::{Call, News, Remote, Unsettled, Value};
use crate::ids::{RoomId, ShardId, UserId};
use crate::message::Timestamp;

/// Dead nodes that are looked after at once.
const DEAD_MAX: usize = 4;

/// Users or rooms of a dead node in one batch.
const TRACES_MAX: usize = 500;

/// How often what a node says of its users is said again, in milliseconds: before S1's keys end by themselves.
const AGAIN_MS: u64 = 20 * 60 * 1000;

/// What a node has left traces in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Traces {
    Users,
    Rooms,
}

impl Traces {
    fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Rooms => "rooms",
        }
    }
}

impl Remote {
    /// Renews the node's lease, when it is time.
    pub(super) fn keep_lease(&mut self, now: Timestamp) {
        if now >= self.again_due {
            if self.again_due != 0 {
                self.say_again();
            }
            self.again_due = now.saturating_add(AGAIN_MS);
        }
        if self.shard != ShardId(0) || now < self.lease_due {
            return;
        }
        self.lease_due = now.saturating_add(self.settings.lease_ms / 3);
        let keys = [self.keys.one("nodes"), self.keys.one("dead")];
        let arguments = [self.node.to_string(), self.settings.lease_ms.to_string(), DEAD_MAX.to_string()];
        self.ask_aside(Question::Lease, |_, _| Call::script(&LEASE, keys, arguments));
    }

    /// The lease is renewed.
    pub(super) fn leased(&mut self, value: Value) {
        let Some(mut reply) = Reply::of(value) else { return };
        let Some(held) = reply.flag() else { return };
        if !held && self.is_leased {
            self.say_again_everywhere();
            self.say_again_later = true;
        } else if std::mem::take(&mut self.say_again_later) {
            self.say_again_everywhere();
        }
        self.is_leased = true;
        for dead in reply.texts() {
            self.look_for(dead, Traces::Users);
        }
    }

    fn say_again_everywhere(&self) {
        for shard in (0..self.settings.shards).map(ShardId) {
            (self.post)(shard, News::SayAgain);
        }
    }

    /// Says again what this shard has, by and by.
    pub(super) fn say_again(&mut self) {
        let users = self.local.present().cloned().map(Unsettled::Presence);
        self.unsettled.extend(users);
        self.unsettled.extend(self.rooms.keys().cloned().map(Unsettled::Live));
    }

    /// Says again who is live in a room here.
    pub(super) fn say_live(&mut self, room: &RoomId, now: Timestamp) {
        let Some(followed) = self.rooms.get(room) else { return };
        let users: Vec<String> = followed.users().map(UserId::to_string).collect();
        let traces = self.keys.traces(&self.node, Traces::Rooms.name());
        let text = room.to_string();
        self.ask_aside(Question::Nothing, |_, _| Call::command("SADD", [traces.as_str(), &text]).at(&traces));
        let node = self.node.to_string();
        let question = Question::Live { room: room.clone() };
        let arguments = std::iter::once(node).chain(users).collect();
        self.ask_aside(question, |remote, token| remote.room_call((&LIVE, room), (token, now), Vec::new(), arguments));
    }

    fn look_for(&mut self, dead: String, traces: Traces) {
        let key = self.keys.traces(&dead, traces.name());
        let question = Question::Traces { dead, traces };
        self.ask_aside(question, |_, _| Call::command("SRANDMEMBER", [key.as_str(), &TRACES_MAX.to_string()]).at(&key));
    }

    /// What a dead node has left is known, or a part of it.
    pub(super) fn reap(&mut self, dead: &str, traces: Traces, value: Value, now: Timestamp) {
        let names: Vec<String> =
            value.list().unwrap_or_default().iter().filter_map(|name| name.text().map(str::to_owned)).collect();
        let key = self.keys.traces(dead, traces.name());
        if names.is_empty() {
            // With its rooms gone there is nothing left to look for.
            return match traces {
                Traces::Users => self.look_for(dead.to_owned(), Traces::Rooms),
                Traces::Rooms => {
                    let (all, dead) = (self.keys.one("dead"), dead.to_owned());
                    self.ask_aside(Question::Nothing, |_, _| Call::command("SREM", [all.as_str(), &dead]).at(&all));
                }
            };
        }
        tracing::info!(node = dead, count = names.len(), of = traces.name(), "reaping what a node has left");
        for name in names {
            match traces {
                Traces::Users => {
                    if let Ok(user) = UserId::parse(&name) {
                        self.reap_user(dead, &user, now);
                    }
                }
                Traces::Rooms => {
                    if let Ok(room) = RoomId::parse(&name) {
                        let arguments = vec![dead.to_owned()];
                        self.ask_aside(Question::Nothing, |remote, token| {
                            remote.room_call((&REAP_ROOM, &room), (token, now), Vec::new(), arguments)
                        });
                    }
                }
            }
            self.ask_aside(Question::Nothing, |_, _| Call::command("SREM", [key.as_str(), &name]).at(&key));
        }
        self.look_for(dead.to_owned(), traces);
    }

    fn reap_user(&mut self, dead: &str, user: &UserId, now: Timestamp) {
        let keys = self.user_keys(user);
        let now = now.to_string();
        let nothing = String::new;
        let arguments = [
            dead.to_owned(),
            "0".to_owned(),
            "offline".to_owned(),
            nothing(),
            now.clone(),
            nothing(),
            now,
            self.bus_of_scripts(),
            user.to_string(),
        ];
        let question = Question::Presence { user: user.clone(), token: None };
        self.ask_aside(question, |_, _| Call::script(&PRESENCE, keys, arguments));
    }
}
