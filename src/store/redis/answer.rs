//! What an answer of Redis leads to.

use std::sync::Arc;

use super::feed::Place;
use super::question::{Asked, Question};
use super::read::Read;
use super::reply::Reply;
use super::room::{Followed, Held, Item};
use super::told::{self, OfRoom, Origin};
use super::{Concluded, LinkError, Message, Remote, Token, Unsettled, Value, entry, link};
use crate::ids::{RoomId, UserId};
use crate::message::{Event, EventKind, Seq, Timestamp};
use crate::store::{self, Answer, CursorKind, MembershipChange, Op, Outcome, Typing};

impl Remote {
    /// Redis answered, or did not.
    pub(super) fn answered(
        &mut self,
        token: Token,
        result: Result<link::Answer, LinkError>,
        now: Timestamp,
    ) -> Vec<Concluded> {
        let Some(question) = self.asked.remove(&token) else { return Vec::new() };
        if let Err(error @ LinkError::Refused(_)) = &result {
            tracing::warn!(%error, "Redis refuses what it was asked");
        }
        let is_short = |answer: &link::Answer| {
            let wanted = self.settings.wait.map(|wait| wait.replicas);
            answer.replicas.zip(wanted).is_some_and(|(have, wanted)| have < wanted)
        };
        match (question, result) {
            (Question::Op(asked), Ok(answer)) => {
                let is_short = is_short(&answer);
                self.op_answered((token, asked), answer.value, is_short, now)
            }
            (Question::Op(asked), Err(_)) => self.refused(token, asked, now).into_iter().collect(),
            (Question::CatchUp { room }, result) => self.caught_up(&room, result.ok().map(|answer| answer.value), now),
            (Question::Detach { room, user }, Err(_)) => {
                self.unsettled.insert(Unsettled::Detach(room, user));
                Vec::new()
            }
            (Question::Presence { user, token }, result) => self.presence_told(user, token, result.ok(), now),
            (Question::Verify(change), Err(_)) => {
                self.unsettled.insert(Unsettled::Unlist(change.room, change.user));
                Vec::new()
            }
            (Question::Verify(change), Ok(answer)) => {
                if answer.value.int() == Some(1) {
                    let change = MembershipChange { joined: true, quiet: true, ..change };
                    self.ask(Asked::new(Op::Index(change), self.shard, false, now), now);
                }
                Vec::new()
            }
            (Question::Lease, Ok(answer)) => {
                self.leased(answer.value);
                Vec::new()
            }
            (Question::Traces { dead, traces }, Ok(answer)) => {
                self.reap(&dead, traces, answer.value, now);
                Vec::new()
            }
            (Question::Live { room }, Err(_)) => {
                self.unsettled.insert(Unsettled::Live(room));
                Vec::new()
            }
            (
                Question::Detach { .. }
                | Question::Live { .. }
                | Question::Lease
                | Question::Traces { .. }
                | Question::Nothing,
                _,
            ) => Vec::new(),
            (Question::PresenceOf(asked), result) => {
                self.presence_read(&asked, result.ok().map(|answer| answer.value), now)
            }
        }
    }

    fn op_answered(
        &mut self,
        (token, asked): (Token, Asked),
        value: Value,
        is_short: bool,
        now: Timestamp,
    ) -> Vec<Concluded> {
        let Some(Read { mut outcome, event }) = self.read(&asked, value, now) else {
            tracing::error!("an answer of Redis cannot be read");
            return self.refused(token, asked, now).into_iter().collect();
        };
        let place = event.as_ref().and_then(|(place, _)| place.clone()).or_else(|| entry::place_of(&outcome));
        let mut concluded = Vec::new();
        let room = asked.op.room().cloned();
        if let Some(event) = event {
            concluded.extend(self.caused(&asked, token, event, now));
        }
        if is_short {
            // It is done, and may be lost: whoever repeats it is told how it stands then.
            concluded.extend(room.iter().flat_map(|room| self.settle(room, now)).collect::<Vec<_>>());
            concluded.extend(self.refused(token, asked, now));
            return concluded;
        }
        let enters = asked.enters().is_some();
        let has_place = matches!(outcome.answer, Some(Answer::Entered(_) | Answer::QueuePage(_)));
        if asked.positions() && !has_place {
            self.not_live(&asked, now);
        }
        if let (Some(Answer::Entered(answer)), Some(followed)) =
            (&outcome.answer, room.as_ref().and_then(|room| self.rooms.get_mut(room)))
        {
            followed.members = answer.members;
            if let Some(place) = place.as_ref().filter(|_| enters && followed.feed.reached().is_none()) {
                followed.feed.begin(place.clone());
            }
        }
        let follows = room.as_ref().and_then(|room| self.rooms.get_mut(room)).filter(|it| it.feed.reached().is_some());
        let waits = !asked.positions() || has_place;
        if let (Some(followed), Some(place), true) = (follows, place, waits) {
            let held = Held { token, asked, outcome, place, since: now, elsewhere: None };
            followed.held.push(held);
            let room = room.into_iter();
            concluded.extend(room.flat_map(|room| self.settle(&room, now)).collect::<Vec<_>>());
            return concluded;
        }
        if has_place {
            self.becomes_live(&asked);
        }
        if matches!(asked.op, Op::Ack { proven: true, .. }) {
            outcome.answer = None;
        }
        concluded.push(Concluded { token: Some(token), last: true, outcome });
        concluded
    }

    /// An operation of this shard's caused an event.
    fn caused(
        &mut self,
        asked: &Asked,
        token: Token,
        (place, kind): (Option<Place>, EventKind),
        now: Timestamp,
    ) -> Option<Concluded> {
        let room = asked.op.room()?;
        let followed = self.rooms.get_mut(room)?;
        let event = Arc::new(Event { seq: place.as_ref().map(|(_, seq)| *seq), kind });
        let item = Item { event, token: Some(token) };
        match place {
            Some(place) => {
                if followed.feed.reached().is_some() {
                    followed.feed.take(place, item, now);
                }
                None
            }
            None if asked.told => None,
            None => followed.tell(room, None, item),
        }
    }

    /// What a node did not hear of a room that it follows.
    fn caught_up(&mut self, id: &RoomId, value: Option<Value>, now: Timestamp) -> Vec<Concluded> {
        let Some(followed) = self.rooms.get_mut(id) else { return Vec::new() };
        followed.feed.asked();
        let read = value.and_then(Reply::of).and_then(|mut reply| {
            let (epoch, head) = (reply.epoch()?, reply.number()?);
            let (is_told, first) = (reply.flag()?, reply.number()?);
            Some((epoch, head, is_told, first, reply.events(first)?))
        });
        let Some((epoch, head, is_told, first, events)) = read else {
            followed.feed.must_ask();
            self.restless.insert(id.clone());
            return Vec::new();
        };
        followed.asks += 1;
        let mut concluded = Vec::new();
        let Some(epoch) = epoch else { return concluded };
        if is_told {
            let last = first + events.len() as Seq;
            for (seq, event) in (first..).zip(events) {
                followed.feed.take((Arc::clone(&epoch), seq), Item { event, token: None }, now);
            }
            if last <= head {
                followed.feed.must_ask();
            }
        } else {
            followed.renamed |= followed.feed.reached().is_some_and(|(known, _)| *known != epoch);
            followed.feed.begin((Arc::clone(&epoch), head));
            let shards = followed.shards();
            let resync = store::Resync { room: id.clone(), epoch, shards };
            concluded.push(Concluded {
                token: None,
                last: false,
                outcome: Outcome { resync: Some(resync), ..Outcome::default() },
            });
        }
        concluded.extend(self.settle(id, now));
        concluded
    }

    /// The channel of a room brings something.
    pub(super) fn told_of_room(&mut self, id: &RoomId, message: &Message, now: Timestamp) -> Vec<Concluded> {
        let told = std::str::from_utf8(&message.payload).ok().and_then(told::of_room);
        let Some(told) = told else {
            tracing::warn!(room = %id, "something on a room's channel cannot be read");
            return Vec::new();
        };
        match told {
            OfRoom::Event { origin, place, event } => self.heard_event(id, origin, (place, event), now),
            OfRoom::Receipt { origin, receipt } => {
                // This node was told by the answer.
                if origin.is_some_and(|origin| *origin.node == *self.node) {
                    return Vec::new();
                }
                let moved = vec![self.moved(id, receipt)];
                let outcome = Outcome { moved, ..Outcome::default() };
                vec![Concluded { token: None, last: false, outcome }]
            }
            OfRoom::Typing { user, is_typing, stop_ms, source } => {
                let source = told::source_of(&source, &self.node);
                let until = is_typing.then(|| now.saturating_add(stop_ms));
                let typing = self.note_typing(id, user, source, until);
                let outcome = Outcome { typing, ..Outcome::default() };
                vec![Concluded { token: None, last: false, outcome }]
            }
        }
    }

    fn heard_event(
        &mut self,
        id: &RoomId,
        origin: Option<Origin>,
        (place, event): (Option<Place>, Arc<Event>),
        now: Timestamp,
    ) -> Vec<Concluded> {
        let is_ours = |origin: &Origin| *origin.node == *self.node && origin.shard == self.shard;
        let token = origin.filter(is_ours).map(|origin| origin.token);
        let Some(followed) = self.rooms.get_mut(id) else { return Vec::new() };
        let Some(place) = place else {
            // One of ours that is answered was handed out then.
            if let Some(token) = token {
                let Some(Question::Op(asked)) = self.asked.get_mut(&token) else { return Vec::new() };
                asked.told = true;
            }
            return followed.tell(id, None, Item { event, token }).into_iter().collect();
        };
        if followed.feed.take(place, Item { event, token }, now) { self.settle(id, now) } else { Vec::new() }
    }

    /// Someone types until then, or no longer.
    pub(super) fn note_typing(
        &mut self,
        room: &RoomId,
        user: UserId,
        source: store::Source,
        until: Option<Timestamp>,
    ) -> Option<Typing> {
        let changed = match until {
            Some(until) => self.typists.start(room, &user, source, until),
            None => self.typists.stop(room, &user, source),
        };
        let shards = self.rooms.get(room).map_or(0, Followed::shards);
        changed.then(|| Typing { room: room.clone(), user, is_typing: until.is_some(), source, shards })
    }
}

/// Whether a proof is worth anything: which events a connection has is known by their places.
pub(super) fn is_proof(op: &Op) -> bool {
    matches!(op, Op::Ack { kind: CursorKind::Delivered, proven: true, .. })
}
