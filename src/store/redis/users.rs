//! Users: who has connections on this node, what it says of them, and what other nodes say.
//!
//! What connections say is kept on the node, with the grace of those who went. Redis knows of each node how many connections a
//! user has there and how available the user is by them, and makes one answer of that, which all nodes are told.

use std::collections::HashMap;

use super::question::{Asked, Question};
use super::reply::Reply;
use super::scripts::PRESENCE;
use super::told::{self, OfUser, source_text};
use super::{Applied, Call, Concluded, Message, Remote, Sky, Token, Unsettled, Value};
use crate::ids::{RoomId, ShardId, UserId};
use crate::message::Timestamp;
use crate::store::{Answer, Appeared, Op, Outcome};
use crate::wire::presence::{Presence, Status};

/// Users of whom it is remembered what the bus told. With more, all is forgotten and asked for again.
const KNOWN_MAX: usize = 65_536;

/// What the bus told of a user.
pub(super) struct Known {
    presence: Presence,
    /// The user's rooms; `None` if it was not told but asked for.
    rooms: Option<Vec<RoomId>>,
}

/// A question about users that Redis answers in several parts.
pub(super) struct PresenceAsked {
    /// Of which operation.
    pub(super) token: Token,
    /// Of whom this part is.
    pub(super) users: Vec<UserId>,
}

/// A question about users, as far as it is answered.
pub(super) struct PresenceOpen {
    found: Vec<Presence>,
    outstanding: usize,
}

impl Remote {
    /// What a connection does or says of its user stays on this node; Redis is told what comes of it.
    pub(super) fn apply_to_local(&mut self, op: Op, from: ShardId, now: Timestamp) -> Applied {
        let (user, gone) = match &op {
            Op::Depart { user, connection, .. } => (user.clone(), Some(source_text(&self.node, (from, *connection)))),
            Op::SetPresence { user, .. } => (user.clone(), None),
            _ => return Applied::Now(Outcome::default()),
        };
        let is_asked = gone.is_none();
        let outcome = self.local.apply(op, from, now);
        let changed = outcome.appeared.is_some();
        let token = (is_asked && changed && self.sky != Sky::Away).then(|| self.next_token());
        if gone.is_some() || changed {
            self.tell_presence_for(&user, gone, token, now);
        }
        match token {
            // Whoever asks afterwards is told what was said.
            Some(token) => Applied::Later(token),
            None => Applied::Now(Outcome { appeared: None, ..outcome }),
        }
    }

    /// Redis knows what this node says of a user, or does not.
    pub(super) fn presence_told(
        &mut self,
        user: UserId,
        token: Option<Token>,
        answer: Option<super::Answer>,
        now: Timestamp,
    ) -> Vec<Concluded> {
        let read = answer.and_then(|answer| Reply::of(answer.value)).and_then(|mut reply| {
            let (status, text, seen) = (told::status(&reply.text()?)?, reply.text()?, reply.number());
            let text = Some(text).filter(|text| !text.is_empty()).map(Into::into);
            let told = reply.text().unwrap_or_default();
            Some((Presence { user_id: user.clone(), status, last_seen_at: seen, text }, told))
        });
        match read {
            Some((presence, told)) => {
                self.tell_all_nodes(told);
                let rooms = self.known.get(&user).and_then(|known| known.rooms.clone());
                self.remember(user, Known { presence: as_of(presence, now), rooms });
            }
            None => {
                self.unsettled.insert(Unsettled::Presence(user));
            }
        }
        let concluded = |token| Concluded { token: Some(token), last: true, outcome: Answer::Member.into() };
        token.map(concluded).into_iter().collect()
    }

    /// A user's connection was counted.
    pub(super) fn read_arrived(
        &mut self,
        reply: &mut Reply,
        asked: &Asked,
        now: Timestamp,
    ) -> Option<super::read::Read> {
        let Op::Arrive { user, connection, status } = &asked.op else { return None };
        let rooms = reply.texts().iter().filter_map(|room| RoomId::parse(room).ok()).collect();
        let arrive = Op::Arrive { user: user.clone(), connection: *connection, status: *status };
        let is_first = self.local.connections(user) == 0;
        let outcome = self.local.apply(arrive, asked.from, now);
        if is_first {
            let traces = self.keys.traces(&self.node, "users");
            let user = user.to_string();
            self.ask_aside(Question::Nothing, |_, _| Call::command("SADD", [traces.as_str(), &user]).at(&traces));
        }
        if outcome.appeared.is_some() || is_first {
            self.tell_presence(user, now);
        }
        Some(Outcome::from(Answer::Rooms(rooms)).into())
    }

    /// The keys of what nodes say of a user.
    pub(super) fn user_keys(&self, user: &UserId) -> [String; 5] {
        let keys = &self.keys;
        [keys.nodes_of(user), keys.rooms_of(user), keys.sockets_of(user), keys.presence(user), keys.last_seen(user)]
    }

    /// Tells Redis what this node says of a user.
    pub(super) fn tell_presence(&mut self, user: &UserId, now: Timestamp) {
        self.tell_presence_for(user, None, None, now);
    }

    /// The same, for a connection that is gone, or for an operation that is answered then.
    fn tell_presence_for(&mut self, user: &UserId, gone: Option<String>, token_of: Option<Token>, now: Timestamp) {
        let all = self.user_keys(user);
        let connections = self.local.connections(user);
        let Presence { status, last_seen_at, text, .. } = self.local.presence(user.clone(), now);
        let arguments = [
            self.node.to_string(),
            connections.to_string(),
            told::status_name(status).to_owned(),
            text.map_or_else(String::new, |text| text.to_string()),
            last_seen_at.unwrap_or(now).to_string(),
            gone.unwrap_or_default(),
            now.to_string(),
            self.bus_of_scripts(),
            user.to_string(),
        ];
        let is_over = connections == 0 && status == Status::Offline;
        let question = Question::Presence { user: user.clone(), token: token_of };
        self.ask_aside(question, |_, _| Call::script(&PRESENCE, all, arguments));
        if is_over {
            let traces = self.keys.traces(&self.node, "users");
            let user = user.to_string();
            self.ask_aside(Question::Nothing, |_, _| Call::command("SREM", [traces.as_str(), &user]).at(&traces));
        }
    }

    /// The bus, for scripts of users: in a cluster it is on another server than they are.
    pub(super) fn bus_of_scripts(&self) -> String {
        if self.settings.is_cluster { String::new() } else { self.keys.bus() }
    }

    /// Tells all nodes what a script could not.
    pub(super) fn tell_all_nodes(&mut self, text: String) {
        if text.is_empty() {
            return;
        }
        let bus = self.keys.bus();
        let publish = self.settings.publish;
        self.ask_aside(Question::Nothing, |_, _| Call::command(publish, [bus.as_str(), &text]).at(&bus));
    }

    /// The bus brings something of a user whose owner this shard is.
    pub(super) fn told_of_user(&mut self, message: &Message) -> Vec<Concluded> {
        let told = std::str::from_utf8(&message.payload).ok().and_then(told::of_user);
        let outcome = match told {
            Some(OfUser::Presence { presence, rooms }) => {
                let user = presence.user_id.clone();
                self.remember(user.clone(), Known { presence, rooms: Some(rooms.clone()) });
                Outcome { appeared: Some(Appeared { user, rooms }), ..Outcome::default() }
            }
            // This node was told by the answer.
            Some(OfUser::Membership { node, .. }) if *node == *self.node => return Vec::new(),
            Some(OfUser::Membership { change, .. }) => Outcome { change: Some(change), ..Outcome::default() },
            None => return Vec::new(),
        };
        vec![Concluded { token: None, last: false, outcome }]
    }

    fn remember(&mut self, user: UserId, known: Known) {
        if self.known.len() >= KNOWN_MAX && !self.known.contains_key(&user) {
            self.known.clear();
        }
        self.known.insert(user, known);
    }

    /// What is told of a user, as far as this node knows.
    pub fn presence(&self, user: UserId, now: Timestamp) -> Presence {
        match self.known.get(&user) {
            Some(known) => as_of(known.presence.clone(), now),
            None => self.local.presence(user, now),
        }
    }

    /// The rooms of a user, as the bus told them last.
    pub fn rooms_of(&self, user: &UserId) -> Vec<RoomId> {
        self.known.get(user).and_then(|known| known.rooms.clone()).unwrap_or_default()
    }

    /// Says how available users are: from what the bus told, and from Redis for others.
    pub(super) fn presence_of(&mut self, users: Vec<UserId>, now: Timestamp) -> Applied {
        let (known, unknown): (Vec<_>, Vec<_>) = users.into_iter().partition(|user| self.known.contains_key(user));
        let found: Vec<_> = known.into_iter().map(|user| self.presence(user, now)).collect();
        if unknown.is_empty() {
            return Applied::Now(Answer::Presence(found).into());
        }
        if self.sky == Sky::Away {
            let local = unknown.into_iter().map(|user| self.local.presence(user, now));
            return Applied::Now(Answer::Presence(found.into_iter().chain(local).collect()).into());
        }
        let token = self.next_token();
        let part = if self.settings.is_cluster { 1 } else { unknown.len() };
        let parts: Vec<Vec<UserId>> = unknown.chunks(part).map(<[UserId]>::to_vec).collect();
        self.open.insert(token, PresenceOpen { found, outstanding: parts.len() });
        for users in parts {
            let keys: Vec<String> =
                users.iter().flat_map(|user| [self.keys.presence(user), self.keys.last_seen(user)]).collect();
            let at = keys.first().cloned().unwrap_or_default();
            let question = Question::PresenceOf(PresenceAsked { token, users });
            if self.settings.is_cluster {
                // One after the other, because one command has keys of one slot.
                let second = keys.get(1).cloned().unwrap_or_default();
                self.ask_aside(question, |_, _| Call::command("MGET", [&at, &second]).at(&at));
            } else {
                self.ask_aside(question, |_, _| Call::command("MGET", keys).at(&at));
            }
        }
        Applied::Later(token)
    }

    /// A part of a question about users is answered.
    pub(super) fn presence_read(
        &mut self,
        asked: &PresenceAsked,
        value: Option<Value>,
        now: Timestamp,
    ) -> Vec<Concluded> {
        let PresenceAsked { token, users } = asked;
        let values = value.and_then(Value::into_list).unwrap_or_default();
        let read: HashMap<UserId, Presence> = users
            .iter()
            .zip(values.chunks_exact(2))
            .filter_map(|(user, pair)| {
                let [kept, seen] = pair else { return None };
                Some((user.clone(), presence_of(user, kept.text(), seen.int())))
            })
            .collect();
        for (user, presence) in &read {
            // What the bus told meanwhile is newer.
            if !self.known.contains_key(user) {
                self.remember(user.clone(), Known { presence: presence.clone(), rooms: None });
            }
        }
        let found: Vec<_> = users.iter().map(|user| self.presence(user.clone(), now)).collect();
        let Some(open) = self.open.get_mut(token) else { return Vec::new() };
        open.found.extend(found);
        open.outstanding -= 1;
        if open.outstanding > 0 {
            return Vec::new();
        }
        let found = self.open.remove(token).map(|open| open.found).unwrap_or_default();
        vec![Concluded { token: Some(*token), last: true, outcome: Answer::Presence(found).into() }]
    }

    /// While Redis is away, who types is told on this node alone.
    pub(super) fn type_on_this_node(&mut self, op: Op, from: ShardId, now: Timestamp) -> Outcome {
        let (room, user, connection, until) = match op {
            Op::StartTyping { room, user, connection, stop_ms } => {
                (room, user, connection, Some(now.saturating_add(stop_ms)))
            }
            Op::StopTyping { room, user, connection } => (room, user, connection, None),
            _ => return Outcome::default(),
        };
        if !self.rooms.get(&room).is_some_and(|followed| followed.has(&user)) {
            return Answer::Unavailable.into();
        }
        let typing = self.note_typing(&room, user, (from, connection), until);
        Outcome { answer: Some(Answer::Member), typing, ..Outcome::default() }
    }
}

/// What is kept of a user, read.
fn presence_of(user: &UserId, kept: Option<&str>, seen: Option<i64>) -> Presence {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kept {
        status: Status,
        last_seen_at: Option<Timestamp>,
        text: Option<String>,
    }
    let kept = kept.and_then(|json| serde_json::from_str::<Kept>(json).ok());
    let seen = seen.and_then(|seen| Timestamp::try_from(seen).ok());
    match kept {
        Some(Kept { status, last_seen_at, text }) => Presence {
            user_id: user.clone(),
            status,
            last_seen_at: if status == Status::Offline { seen.or(last_seen_at) } else { last_seen_at },
            text: text.map(Into::into),
        },
        None => Presence { user_id: user.clone(), status: Status::Offline, last_seen_at: seen, text: None },
    }
}

/// Whoever is there was last there now.
fn as_of(presence: Presence, now: Timestamp) -> Presence {
    let last_seen_at = if presence.status == Status::Offline { presence.last_seen_at } else { Some(now) };
    Presence { last_seen_at, ..presence }
}
