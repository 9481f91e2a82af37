//! The engine for many processes: what is kept is in a Redis that they share.
//!
//! A [`Remote`] is one shard's way to it. It is what `Partition` is for the engine in memory, with one difference: most
//! operations are answered later. It has no `async` and no clock: operations go in, calls go to the link, and what the
//! link brings ([`News`]) goes in as mail and comes out as outcomes, in order. It knows nothing of connections but their
//! keys, and only the link knows the library.
//!
#![doc = include_str!("design.md")]

mod answer;
mod entry;
mod feed;
mod follow;
mod hear;
mod keeper;
mod keys;
mod link;
mod question;
mod read;
mod record;
mod reply;
mod room;
mod scripts;
mod told;
mod turn;
mod users;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

pub use self::hear::{Ear, Post};
pub use self::keys::Keys;
pub use self::link::{
    Address, Answer, Call, Fault, Heard, Held, Link, LinkError, Message, Preflight, Problem, Refusal, Script, Settings,
    SettingsError, Sky, Snapshot, StartError, Tls, TooManyChannels, Topology, Value, Wait, Weather,
};
use self::question::{Asked, Question};
use self::room::{Followed, Hearing};
pub use self::scripts::SCRIPTS;
use self::users::{Known, PresenceOpen};
use super::embedded::Typists;
use super::{Classes, Limits, Op, Outcome, Partition, RoomSummary, Typing, Usage};
use crate::ids::{IdSource, RoomId, ShardId, UserId};
use crate::message::Timestamp;

/// What an operation is called until it is answered.
pub type Token = u64;

/// How long an answer is held back for what comes before it, in milliseconds.
const HELD_MS_MAX: u64 = 2_000;

/// How long an empty room is still followed, in milliseconds: most who go come back at once.
const EMPTY_MS_MAX: u64 = 5_000;

/// How often an operation is asked again whose answer spoke of a log that is no longer there.
const TRIES_MAX: u8 = 4;

/// What failed and is tried again with each sweep.
const UNSETTLED_PER_SWEEP_MAX: usize = 256;

/// What all shards know of how Redis is used.
#[derive(Clone, Debug)]
pub struct RemoteSettings {
    /// How keys are called.
    pub keys: Keys,
    /// How to publish on a room's channel: `PUBLISH`, or in a cluster that knows it `SPUBLISH`.
    pub publish: &'static str,
    /// Whether it is a cluster, where one command has keys of one user at most.
    pub is_cluster: bool,
    /// How many shards the node has.
    pub shards: u16,
    /// How long a node's lease lasts that is not renewed, in milliseconds.
    pub lease_ms: u64,
    /// Replicas that must have what is acknowledged, and how long that is waited for.
    pub wait: Option<Wait>,
}

/// What came of an operation at once.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "it is taken apart where it is made")]
pub enum Applied {
    /// All of it.
    Now(Outcome),
    /// It will be [`Concluded`].
    Later(Token),
}

/// An outcome, in its order.
#[derive(Debug)]
pub struct Concluded {
    /// Which operation led to it, if one of this shard's did.
    pub token: Option<Token>,
    /// Whether nothing more comes of that operation.
    pub last: bool,
    /// What it led to.
    pub outcome: Outcome,
}

/// What the link brings to a shard.
#[derive(Debug)]
pub enum News {
    /// An answer.
    Answer {
        /// To what.
        token: Token,
        /// What came of it.
        result: Result<Answer, LinkError>,
    },
    /// From here on nothing of a room is missed.
    Subscribed(RoomId),
    /// Something of a room may have been missed; of all rooms without a name.
    Lost(Option<RoomId>),
    /// Something is told of a room.
    OfRoom(RoomId, Message),
    /// Something is told of a user.
    OfUser(Message),
    /// What was told of users may have been missed.
    UsersLost,
    /// The node's lease had ended: what it has is to be said again.
    SayAgain,
    /// It stands otherwise with Redis.
    Weather(Sky),
}

/// What failed and has to be done some day. Doing it twice does no harm.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Unsettled {
    /// Nobody of a user's is live in a room here.
    Detach(RoomId, UserId),
    /// What this node says of a user.
    Presence(UserId),
    /// Who is live in a room here.
    Live(RoomId),
    /// A room is not a user's any more, if that is still so.
    Unlist(RoomId, UserId),
}

/// One shard's way to Redis.
pub struct Remote {
    shard: ShardId,
    /// This process, as others know it while its lease lasts.
    node: Arc<str>,
    settings: RemoteSettings,
    keys: Keys,
    classes: Arc<Classes>,
    limits: Limits,
    link: Link,
    post: Post,
    ids: IdSource,
    /// Whose connections are here, and what they say.
    local: Partition,
    rooms: HashMap<RoomId, Followed>,
    /// Rooms that a sweep has to look at.
    restless: HashSet<RoomId>,
    /// Who types, as far as the node hears.
    typists: Typists,
    /// What the bus told of users.
    known: HashMap<UserId, Known>,
    asked: HashMap<Token, Question>,
    /// Questions about users that are answered in parts.
    open: HashMap<Token, PresenceOpen>,
    next: Token,
    unsettled: HashSet<Unsettled>,
    sky: Sky,
    /// When the lease is to be renewed.
    lease_due: Timestamp,
    /// Whether the node had a lease before.
    is_leased: bool,
    /// Whether what the node has is to be said again with the next lease.
    say_again_later: bool,
    /// When what the node says of its users is said again anyway.
    again_due: Timestamp,
}

/// What a remote is made of.
pub struct RemoteParts {
    /// Which shard it is for.
    pub shard: ShardId,
    /// This process, as others know it. No other process may ever have had the name.
    pub node: Arc<str>,
    /// How Redis is used.
    pub settings: RemoteSettings,
    /// Room classes.
    pub classes: Arc<Classes>,
    /// Bounds.
    pub limits: Limits,
    /// The way to Redis.
    pub link: Link,
    /// The way back to the shards.
    pub post: Post,
}

impl Remote {
    /// A remote of a shard with nobody.
    pub fn new(parts: RemoteParts) -> Self {
        let RemoteParts { shard, node, settings, classes, limits, link, post } = parts;
        // Bounds that hold for all nodes together are Redis's.
        let of_users = Limits { connections_per_user_max: 0, ..limits.clone() };
        let sky = link.weather().sky;
        Self {
            shard,
            node,
            keys: settings.keys.clone(),
            settings,
            local: Partition::new(Arc::clone(&classes), of_users),
            classes,
            limits,
            link,
            post,
            ids: IdSource::default(),
            rooms: HashMap::new(),
            restless: HashSet::new(),
            typists: Typists::default(),
            known: HashMap::new(),
            asked: HashMap::new(),
            open: HashMap::new(),
            next: 0,
            unsettled: HashSet::new(),
            sky,
            lease_due: 0,
            is_leased: false,
            say_again_later: false,
            again_due: 0,
        }
    }

    /// Carries out an operation that a shard asked for, or sees to it.
    pub fn apply(&mut self, op: Op, from: ShardId, now: Timestamp) -> Applied {
        let (op, is_server) = match op {
            Op::OfServer(op) => (*op, true),
            op => (op, false),
        };
        match op {
            Op::Detach { room, user, membership: _ } => {
                self.detach(&room, user, from, now);
                Applied::Now(Outcome::default())
            }
            Op::Depart { .. } | Op::SetPresence { .. } => self.apply_to_local(op, from, now),
            Op::PresenceOf { users } => self.presence_of(users, now),
            Op::StartTyping { .. } | Op::StopTyping { .. } if self.sky == Sky::Away => {
                Applied::Now(self.type_on_this_node(op, from, now))
            }
            // The log has another name since, so places prove nothing.
            Op::Ack { ref room, .. } if answer::is_proof(&op) && self.is_renamed(room) => {
                Applied::Now(Outcome::default())
            }
            op => Applied::Later(self.ask(Asked::new(op, from, is_server, now), now)),
        }
    }

    fn is_renamed(&self, room: &RoomId) -> bool {
        self.rooms.get(room).is_some_and(|followed| followed.renamed)
    }

    /// Asks for an operation, at once or when the node hears of what happens in its room.
    fn ask(&mut self, asked: Asked, now: Timestamp) -> Token {
        let token = self.next_token();
        if let Some((room, user)) = asked.enters().map(|(room, user)| (room.clone(), user.clone())) {
            let is_new = !self.rooms.contains_key(&room);
            let followed = self.rooms.entry(room.clone()).or_insert_with(Followed::new);
            followed.expect(&user);
            if is_new {
                self.follow(&room);
            }
            self.asked.insert(token, Question::Op(asked));
            match self.rooms.get_mut(&room) {
                Some(followed) if followed.hearing == Hearing::Deaf && self.sky != Sky::Away => {
                    followed.waiting.push(token);
                }
                // Nothing comes through now; whoever asks is told.
                _ => self.submit(token, now),
            }
            return token;
        }
        if let Op::QueuePage { room, .. } = &asked.op
            && let Some(followed) = self.rooms.get_mut(room)
        {
            followed.feed.await_entry();
        }
        self.asked.insert(token, Question::Op(asked));
        self.submit(token, now);
        token
    }

    fn next_token(&mut self) -> Token {
        self.next += 1;
        self.next
    }

    /// Makes the call of an operation.
    fn submit(&mut self, token: Token, now: Timestamp) {
        let Some(Question::Op(mut asked)) = self.asked.remove(&token) else { return };
        let acknowledges = matches!(
            asked.op,
            Op::Join { .. }
                | Op::Leave { .. }
                | Op::Append { .. }
                | Op::Edit { .. }
                | Op::Delete { .. }
                | Op::Ack { proven: false, .. }
        );
        let call = self.call_of(&mut asked, token, now);
        self.asked.insert(token, Question::Op(asked));
        let Some(call) = call else {
            self.asked.remove(&token);
            return;
        };
        self.send(token, call.with_wait(self.settings.wait.filter(|_| acknowledges)));
    }

    /// Asks something of which nobody waits for the answer.
    fn ask_aside(&mut self, question: Question, call: impl FnOnce(&mut Self, Token) -> Call) -> Token {
        let token = self.next_token();
        let call = call(self, token);
        self.asked.insert(token, question);
        self.send(token, call);
        token
    }

    fn send(&self, token: Token, call: Call) {
        let (post, shard) = (Arc::clone(&self.post), self.shard);
        self.link.call(call, move |result| post(shard, News::Answer { token, result }));
    }

    /// Takes what the link brings. What comes of it is in the order in which it is to be passed on.
    pub fn receive(&mut self, news: News, now: Timestamp) -> Vec<Concluded> {
        match news {
            News::Answer { token, result } => self.answered(token, result, now),
            News::OfRoom(room, message) => self.told_of_room(&room, &message, now),
            News::OfUser(message) => self.told_of_user(&message),
            News::UsersLost => {
                self.known.clear();
                Vec::new()
            }
            News::Subscribed(room) => {
                self.hears(&room, now);
                Vec::new()
            }
            News::Lost(room) => {
                self.goes_deaf(room.as_ref());
                Vec::new()
            }
            News::SayAgain => {
                self.say_again();
                Vec::new()
            }
            // Whoever waits is told after a while: it may be back at once.
            News::Weather(sky) => {
                self.sky = sky;
                Vec::new()
            }
        }
    }

    /// Looks after what changes with time alone. To be called now and then.
    pub fn sweep(&mut self, now: Timestamp) -> Vec<Concluded> {
        let mut concluded = Vec::new();
        for room in std::mem::take(&mut self.restless) {
            self.catch_up(&room, now);
            concluded.extend(self.release_overdue(&room, now));
            let Some(followed) = self.rooms.get(&room) else { continue };
            let is_over = followed.empty_since.is_some_and(|since| since.saturating_add(EMPTY_MS_MAX) <= now);
            if is_over && followed.is_empty() {
                self.unfollow(&room);
            } else if followed.needs_care() {
                self.restless.insert(room);
            }
        }
        self.local.sweep(now);
        for appeared in self.local.grace_over(now) {
            self.tell_presence(&appeared.user, now);
        }
        if self.sky != Sky::Away {
            self.keep_lease(now);
            let some: Vec<_> = self.unsettled.iter().take(UNSETTLED_PER_SWEEP_MAX).cloned().collect();
            for unsettled in some {
                self.unsettled.remove(&unsettled);
                self.settle_again(unsettled, now);
            }
        }
        concluded
    }

    fn settle_again(&mut self, unsettled: Unsettled, now: Timestamp) {
        match unsettled {
            Unsettled::Detach(room, user) => {
                if !self.rooms.get(&room).is_some_and(|followed| followed.has(&user)) {
                    self.tell_detached(&room, user, now);
                }
            }
            Unsettled::Live(room) => self.say_live(&room, now),
            Unsettled::Presence(user) => self.tell_presence(&user, now),
            Unsettled::Unlist(room, user) => {
                let asked = Asked::new(Op::Unreserve { room, user }, self.shard, false, now);
                self.ask(asked, now);
            }
        }
    }

    /// Of some rooms, those whose members are told how available each other is, as far as anybody is live in them here.
    pub fn watched_rooms(&self, mut rooms: Vec<RoomId>) -> Vec<RoomId> {
        let members_max = self.limits.presence_members_max;
        rooms.retain(|id| {
            let room = self.rooms.get(id);
            room.is_some_and(|room| members_max == 0 || room.members <= members_max)
        });
        rooms
    }

    /// Ends typing that was started too long ago. To be called now and then.
    pub fn typing_over(&mut self, now: Timestamp) -> Vec<Typing> {
        let over: Vec<_> = std::iter::from_fn(|| self.typists.take_over(now)).take(1024).collect();
        let shards = |room: &RoomId| self.rooms.get(room).map_or(0, Followed::shards);
        over.into_iter()
            .map(|(room, user, source)| Typing { shards: shards(&room), room, user, is_typing: false, source })
            .collect()
    }

    /// Some of the rooms that are followed from a place on, and the place where the next page begins.
    pub fn list_rooms(&self, from: usize, rooms_max: usize) -> (Vec<RoomSummary>, Option<usize>) {
        let mut rooms: Vec<_> = self.rooms.iter().collect();
        rooms.sort_unstable_by_key(|(id, _)| *id);
        let page = rooms.iter().skip(from).take(rooms_max).map(|(id, room)| room.summary((*id).clone())).collect();
        let next = from.saturating_add(rooms_max);
        (page, (next < rooms.len()).then_some(next))
    }

    /// How much is known here.
    pub fn usage(&self) -> Usage {
        Usage { rooms: self.rooms.len(), ..Usage::default() }
    }
}
