//! Following rooms: from the first who comes in to a while after the last has gone, in good and in bad weather.

use super::question::Question;
use super::room::{Followed, Hearing};
use super::{Call, Remote};
use crate::ids::{RoomId, ShardId, UserId};
use crate::message::Timestamp;

impl Remote {
    pub(super) fn follow(&mut self, room: &RoomId) {
        let traces = self.keys.traces(&self.node, "rooms");
        let room_text = room.to_string();
        self.ask_aside(Question::Nothing, |_, _| Call::command("SADD", [traces.as_str(), &room_text]).at(&traces));
        // Beyond the bound on channels the room stays deaf, and who waits there is told after a while.
        let _too_many = self.link.subscribe(&self.keys.channel(room));
        self.restless.insert(room.clone());
    }

    pub(super) fn unfollow(&mut self, room: &RoomId) {
        self.rooms.remove(room);
        self.link.unsubscribe(&self.keys.channel(room));
        let traces = self.keys.traces(&self.node, "rooms");
        let room_text = room.to_string();
        self.ask_aside(Question::Nothing, |_, _| Call::command("SREM", [traces.as_str(), &room_text]).at(&traces));
    }

    pub(super) fn detach(&mut self, room: &RoomId, user: UserId, from: ShardId, now: Timestamp) {
        let Some(followed) = self.rooms.get_mut(room) else { return };
        if followed.detach(&user, from, now) {
            self.tell_detached(room, user, now);
        }
        self.restless.insert(room.clone());
    }

    /// Tells Redis that nobody of a user's is live in a room here.
    pub(super) fn tell_detached(&mut self, room: &RoomId, user: UserId, now: Timestamp) {
        let question = Question::Detach { room: room.clone(), user: user.clone() };
        self.ask_aside(question, |remote, token| remote.detach_call(room, &user, token, now));
    }

    pub(super) fn hears(&mut self, room: &RoomId, now: Timestamp) {
        let Some(followed) = self.rooms.get_mut(room) else { return };
        followed.hearing = Hearing::Hears;
        followed.feed.must_ask();
        for token in std::mem::take(&mut followed.waiting) {
            self.submit(token, now);
        }
        self.catch_up(room, now);
    }

    pub(super) fn goes_deaf(&mut self, room: Option<&RoomId>) {
        let mut of = |id: &RoomId, followed: &mut Followed| {
            followed.hearing = Hearing::Deaf;
            followed.feed.must_ask();
            self.restless.insert(id.clone());
        };
        match room {
            Some(room) => self.rooms.get_mut(room).into_iter().for_each(|followed| of(room, followed)),
            None => self.rooms.iter_mut().for_each(|(room, followed)| of(room, followed)),
        }
    }

    /// Asks what was missed of a room, if anything was.
    pub(super) fn catch_up(&mut self, room: &RoomId, now: Timestamp) {
        let Some(followed) = self.rooms.get_mut(room) else { return };
        if followed.hearing == Hearing::Deaf {
            return;
        }
        let Some(place) = followed.feed.ask(now) else { return };
        let question = Question::CatchUp { room: room.clone() };
        self.ask_aside(question, |remote, token| remote.catch_up_call(room, &place, token, now));
    }
}
