//! `typing-start`, `typing-stop` and `get-typing-users`. Ephemeral: pushes may be lost on slow connections.
//!
//! A connection remembers where it types, so that what ends it early (a sent message, leaving, the connection's end)
//! costs the others nothing when nobody typed.

use std::sync::Arc;

use serde::Serialize;

use super::rights::{Right, Then};
use super::{Asked, Mail, Relay, Waiting};
use crate::ids::{ConnectionKey, RoomId, UserId};
use crate::policy::Action;
use crate::store::{Answer, Op, Typing};
use crate::wire::encode::{self, Nothing};

/// Rooms in which one connection may type at once. One more ends the first: nobody has so many hands.
const TYPING_ROOMS_PER_CONNECTION_MAX: usize = 8;

impl Relay {
    pub(super) fn start_typing(&mut self, asked: Asked, room: RoomId) {
        let stop_ms = self.settings.typing_stop_ms;
        let Some(peer) = self.peers.get_mut(asked.key) else { return };
        let (user, connection) = (peer.user.clone(), asked.key);
        if !peer.typing_in.contains(&room) {
            let first = peer.typing_in.first().filter(|_| peer.typing_in.len() >= TYPING_ROOMS_PER_CONNECTION_MAX);
            let first = first.cloned();
            peer.typing_in.push(room.clone());
            if let Some(first) = first {
                self.end_typing(connection, &first);
            }
        }
        let op = Op::StartTyping { room: room.clone(), user, connection, stop_ms };
        self.ask(asked, Waiting::Typing { room }, op);
    }

    pub(super) fn stop_typing(&mut self, asked: Asked, room: RoomId) {
        let Some(peer) = self.peers.get_mut(asked.key) else { return };
        peer.typing_in.retain(|known| *known != room);
        let op = Op::StopTyping { room: room.clone(), user: peer.user.clone(), connection: asked.key };
        self.ask(asked, Waiting::Typing { room }, op);
    }

    /// The second half of both.
    pub(super) fn typed(&mut self, asked: &Asked, room: &RoomId, answer: &Answer) {
        if matches!(answer, Answer::Member) {
            self.ok(asked, &Nothing {});
            return;
        }
        if let Some(peer) = self.peers.get_mut(asked.key) {
            peer.typing_in.retain(|known| known != room);
        }
        self.refuse_answer(asked, room, answer);
    }

    /// Ends a connection's typing in a room without its asking, if it types there.
    pub(super) fn end_typing(&mut self, key: ConnectionKey, room: &RoomId) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let Some(index) = peer.typing_in.iter().position(|known| known == room) else { return };
        let room = peer.typing_in.remove(index);
        let op = Op::StopTyping { room, user: peer.user.clone(), connection: key };
        self.submit(op, None, false);
    }

    /// Ends a connection's typing everywhere.
    pub(super) fn end_all_typing(&mut self, key: ConnectionKey) {
        let rooms = self.peers.get(key).map(|peer| peer.typing_in.clone()).unwrap_or_default();
        for room in rooms {
            self.end_typing(key, &room);
        }
    }

    /// Tells everyone who is live in a room, but for the connection that it is about, that someone types or no longer
    /// does. Encoded once, like any push.
    pub(super) fn publish_typing(&mut self, typing: &Typing) {
        let frame = Arc::new(encode::typing(&typing.room, &typing.user, typing.is_typing));
        let (home, key) = typing.source;
        let except_on = |shard| (shard == home).then_some(key);
        for shard in self.mailboxes.others(self.shard).filter(|shard| typing.shards & (1 << shard.0) != 0) {
            let push = Mail::Push { room: typing.room.clone(), frame: Arc::clone(&frame), except: except_on(shard) };
            self.mailboxes.send(shard, push);
        }
        self.deliver(&typing.room, frame, except_on(self.shard));
    }

    pub(super) fn typing_users(&mut self, asked: Asked, room: RoomId) {
        let Some(user) = self.user(asked.key).cloned() else { return };
        match self.right(asked.key, Action::Presence, &room) {
            Right::Refused(why) => return self.refuse_right(&asked, Action::Presence, &room, why),
            Right::Unknown => {
                let questions = vec![(Action::Presence, room.clone())];
                return self.ask_rights(asked, questions, Then::TypingUsers { room });
            }
            Right::Granted | Right::NotAsked => {}
        }
        let op = Op::TypingUsers { room: room.clone(), user };
        self.ask(asked, Waiting::TypingUsers { room }, op);
    }

    pub(super) fn typing_users_read(&mut self, asked: &Asked, room: &RoomId, answer: Answer) {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct TypingUsers<'a> {
            conversation_id: &'a RoomId,
            users: Vec<UserId>,
            #[serde(skip_serializing_if = "std::ops::Not::not")]
            has_more: bool,
        }
        let Answer::Typing { users, has_more } = answer else {
            self.refuse_answer(asked, room, &answer);
            return;
        };
        self.reply(asked, "typing-users", &TypingUsers { conversation_id: room, users, has_more });
    }
}
