//! Turns: when an answer may be passed on, and what becomes of one that never can be.

use super::feed::Standing;
use super::question::{Asked, Question};
use super::room::{Followed, Held};
use super::{Concluded, HELD_MS_MAX, Remote, TRIES_MAX, Token, Unsettled, entry};
use crate::ids::RoomId;
use crate::message::Timestamp;
use crate::store::{Answer, Op, Outcome};

impl Remote {
    /// Answers that waited for too long for what comes before them.
    pub(super) fn release_overdue(&mut self, room: &RoomId, now: Timestamp) -> Vec<Concluded> {
        let Some(followed) = self.rooms.get_mut(room) else { return Vec::new() };
        let is_overdue = |since: Timestamp| since.saturating_add(HELD_MS_MAX) <= now;
        let overdue: Vec<_> = followed.held.extract_if(.., |held| is_overdue(held.since)).collect();
        let is_late = |token: &Token| {
            let question = self.asked.get(token);
            question.is_none_or(|question| matches!(question, Question::Op(asked) if is_overdue(asked.at)))
        };
        let late: Vec<_> = followed.waiting.extract_if(.., |token| is_late(token)).collect();
        let mut concluded = Vec::new();
        for held in overdue {
            if held.asked.positions() {
                concluded.extend(self.refused(held.token, held.asked, now));
            } else {
                concluded.push(Concluded { token: Some(held.token), last: true, outcome: held.outcome });
            }
        }
        for token in late {
            concluded.extend(self.fail(token, now));
        }
        concluded
    }

    /// Passes on what is in order by now, and answers that have waited for it.
    pub(super) fn settle(&mut self, id: &RoomId, now: Timestamp) -> Vec<Concluded> {
        let mut concluded = Vec::new();
        loop {
            let Some(followed) = self.rooms.get_mut(id) else { return concluded };
            while let Some(((epoch, _), item)) = followed.feed.next() {
                concluded.extend(followed.tell(id, Some(epoch), item));
            }
            let asks = followed.asks;
            let standing = |held: &Held| followed.feed.standing(&held.place);
            let is_ready = |held: &Held| match standing(held) {
                Standing::Reached => true,
                Standing::Ahead => false,
                // Which of the two logs is the later is known when the log was asked.
                Standing::Elsewhere => held.elsewhere.is_some_and(|before| before < asks),
            };
            let Some(at) = followed.held.iter().position(is_ready) else {
                let waits = !followed.held.is_empty();
                let mut is_elsewhere = false;
                for held in &mut followed.held {
                    if followed.feed.standing(&held.place) == Standing::Elsewhere && held.elsewhere.is_none() {
                        held.elsewhere = Some(asks);
                        is_elsewhere = true;
                    }
                }
                if is_elsewhere {
                    followed.feed.must_ask();
                }
                if waits {
                    followed.feed.misses(now);
                }
                break;
            };
            let is_reached = followed.held.get(at).map(standing) == Some(Standing::Reached);
            let held = followed.held.remove(at);
            concluded.extend(self.ready(id, held, is_reached, now));
        }
        if self.rooms.get(id).is_some_and(Followed::needs_care) {
            self.restless.insert(id.clone());
            self.catch_up(id, now);
        }
        concluded
    }

    /// An answer's turn has come.
    pub(super) fn ready(&mut self, id: &RoomId, held: Held, is_reached: bool, now: Timestamp) -> Vec<Concluded> {
        let Held { token, asked, mut outcome, place, .. } = held;
        if !asked.positions() {
            return vec![Concluded { token: Some(token), last: true, outcome }];
        }
        let between = self.rooms.get(id).filter(|_| is_reached).and_then(|followed| followed.feed.since(place.1));
        let Some(between) = between else {
            // It tells of a place from which nobody can go on. What else it led to stands.
            let forward = outcome.forward.take().map(|op| Concluded {
                token: None,
                last: false,
                outcome: Outcome { forward: Some(op), ..Outcome::default() },
            });
            return forward.into_iter().chain(self.ask_again(token, asked, now)).collect();
        };
        entry::extend(&mut outcome, between.into_iter().map(|item| item.event));
        self.becomes_live(&asked);
        vec![Concluded { token: Some(token), last: true, outcome }]
    }

    pub(super) fn ask_again(&mut self, token: Token, mut asked: Asked, now: Timestamp) -> Option<Concluded> {
        if asked.tries >= TRIES_MAX {
            return self.refused(token, asked, now);
        }
        asked.tries += 1;
        self.asked.insert(token, Question::Op(asked));
        self.submit(token, now);
        None
    }

    /// A connection takes part in what follows.
    pub(super) fn becomes_live(&mut self, asked: &Asked) {
        let Some(followed) = asked.op.room().and_then(|room| self.rooms.get_mut(room)) else { return };
        if asked.enters().is_some() {
            followed.enter(asked.from);
        } else if asked.positions() {
            followed.feed.entry_over();
        }
    }

    /// Nothing comes of an operation that still waits.
    pub(super) fn fail(&mut self, token: Token, now: Timestamp) -> Option<Concluded> {
        match self.asked.remove(&token)? {
            Question::Op(asked) => self.refused(token, asked, now),
            _ => None,
        }
    }

    /// Nothing comes of an operation, or nobody knows what.
    pub(super) fn refused(&mut self, token: Token, asked: Asked, now: Timestamp) -> Option<Concluded> {
        self.not_live(&asked, now);
        let mut outcome = Outcome::default();
        match &asked.op {
            Op::Unreserve { room, user } => {
                self.unsettled.insert(Unsettled::Unlist(room.clone(), user.clone()));
            }
            Op::Index(change) => {
                if !change.joined {
                    self.unsettled.insert(Unsettled::Unlist(change.room.clone(), change.user.clone()));
                }
                // The membership ended all the same.
                outcome.answer = (!change.joined && !change.quiet).then_some(Answer::Left);
                outcome.change = (!change.quiet).then(|| change.clone());
            }
            Op::Ack { proven: true, .. } => {}
            Op::Join { room, user, .. } => {
                outcome.answer = Some(Answer::Unavailable);
                outcome.forward = Some(Op::Unreserve { room: room.clone(), user: user.clone() });
            }
            Op::Arrive { user, .. } => {
                self.unsettled.insert(Unsettled::Presence(user.clone()));
                outcome.answer = Some(Answer::Unavailable);
            }
            _ => outcome.answer = Some(Answer::Unavailable),
        }
        Some(Concluded { token: Some(token), last: true, outcome })
    }

    /// A connection that was about to become live does not.
    pub(super) fn not_live(&mut self, asked: &Asked, now: Timestamp) {
        if let Op::QueuePage { room, .. } = &asked.op
            && let Some(followed) = self.rooms.get_mut(room)
        {
            followed.feed.entry_over();
        }
        let Some((room, user)) = asked.enters() else { return };
        let Some(followed) = self.rooms.get_mut(room) else { return };
        if followed.expect_no_more(user, now) {
            self.unsettled.insert(Unsettled::Detach(room.clone(), user.clone()));
        }
        self.restless.insert(room.clone());
    }
}
