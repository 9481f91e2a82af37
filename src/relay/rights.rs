//! What a connection may do in a room: asked of the auth chain once, and remembered for as long as its answer holds.
//!
//! A request that needs an answer nobody has yet waits for it as it would wait for the store, and then begins again. An
//! answer ends with its time, with the configuration, with the connection's token, and when a plugin wants it forgotten.

use std::collections::HashMap;
use std::time::Instant;

use smallvec::SmallVec;

use super::attach::Arrival;
use super::mail::Judgement;
use super::messages::Attempt;
use super::{Asked, Mail, Pending, Relay, Waiting};
use crate::ids::{ConnectionKey, MessageId, RoomId, UserId};
use crate::policy::{Action, Decision, NotAllowed, Who};
use crate::store::MembershipChange;
use crate::wire::request::{Page, Since};
use crate::wire::{ErrorCode, Refusal};

/// Rooms of one connection whose answers are remembered. One more, and all begin afresh.
const ROOMS_REMEMBERED_MAX: usize = 256;

/// Answers about one connection.
#[derive(Default)]
pub(super) struct Verdicts {
    /// The configuration that they are of.
    generation: u64,
    rooms: HashMap<RoomId, SmallVec<[(Action, Remembered); 1]>>,
}

struct Remembered {
    until: Instant,
    outcome: Result<(), NotAllowed>,
}

/// What is known of a right.
pub(super) enum Right {
    /// There is nobody to ask, so it is as if there were no plugins.
    NotAsked,
    /// A plugin says yes, or leaves it to the others.
    Granted,
    /// A plugin says no.
    Refused(NotAllowed),
    /// It has to be asked for.
    Unknown,
}

/// What a request goes on with when its rights are known.
pub(super) enum Then {
    Join {
        room: RoomId,
        since: Option<Since>,
    },
    Attempt(Box<Attempt>),
    /// An edit of somebody else's message, past the filters.
    Store(Box<Attempt>),
    /// Somebody else's message.
    Delete {
        room: RoomId,
        message_id: MessageId,
    },
    History {
        room: RoomId,
        page: Page,
    },
    OnlineUsers {
        room: RoomId,
    },
    TypingUsers {
        room: RoomId,
    },
    Arrive {
        arrival: Box<Arrival>,
        rooms: Vec<RoomId>,
        later: Vec<MembershipChange>,
    },
}

/// What an answer about rights is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// The request that the connection waits for.
    Request,
    /// A room that the user joined on another connection.
    Follow(MembershipChange),
}

impl Relay {
    /// What is known of a connection's right.
    pub(super) fn right(&self, key: ConnectionKey, action: Action, room: &RoomId) -> Right {
        // Whoever has a key of the server API has every right: the application has asked itself already.
        if key.is_call() {
            return Right::Granted;
        }
        if !self.auth.is_asked(action, room) {
            return Right::NotAsked;
        }
        let once = if self.judged.is_empty() { None } else { self.judged.get(&(action, room.clone())) };
        let outcome = once.or_else(|| self.remembered(key, action, room));
        match outcome {
            Some(Ok(())) => Right::Granted,
            Some(Err(why)) => Right::Refused(why.clone()),
            None => Right::Unknown,
        }
    }

    fn remembered(&self, key: ConnectionKey, action: Action, room: &RoomId) -> Option<&Result<(), NotAllowed>> {
        let verdicts = self.peers.get(key)?.verdicts.as_deref();
        let found = verdicts
            .filter(|verdicts| verdicts.generation == self.auth.generation())
            .and_then(|verdicts| verdicts.rooms.get(room))
            .and_then(|actions| actions.iter().find(|(known, _)| *known == action))
            .filter(|(_, remembered)| remembered.until > Instant::now())
            .map(|(_, remembered)| &remembered.outcome);
        if found.is_some() {
            self.metrics.policy.verdict_hits.increment(1);
        }
        found
    }

    /// Asks for rights, after which a request goes on.
    pub(super) fn ask_rights(&mut self, asked: Asked, questions: Vec<(Action, RoomId)>, then: Then) {
        let key = asked.key;
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.pending = Some(Box::new(Pending { asked, waiting: Waiting::Rights(Box::new(then)) }));
        self.ask_chain(key, questions, Purpose::Request);
    }

    pub(super) fn ask_chain(&mut self, key: ConnectionKey, questions: Vec<(Action, RoomId)>, purpose: Purpose) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.outstanding += 1;
        let who = Who {
            connection: peer.connection,
            user: peer.user.clone(),
            attributes: std::sync::Arc::clone(&peer.attributes),
        };
        self.metrics.policy.verdict_misses.increment(questions.len() as u64);
        let renewals = peer.renewals;
        let (mailboxes, shard) = (self.mailboxes.clone(), self.shard);
        let (generation, forgets) = (self.auth.generation(), self.forgets);
        self.auth.authorize(who, questions, move |decisions| {
            let judgement = Judgement { key, purpose, renewals, generation, forgets, decisions };
            mailboxes.send(shard, Mail::Judged(Box::new(judgement)));
        });
    }

    /// The answers came.
    pub(super) fn judged(&mut self, judgement: Judgement) {
        let Judgement { key, purpose, renewals, generation, forgets, decisions } = judgement;
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.outstanding -= 1;
        if peer.gone {
            if peer.outstanding == 0 {
                self.peers.remove(key);
            }
            return;
        }
        // No request is overtaken by a token, but what follows another connection may be: then it is asked for again.
        if renewals == peer.renewals {
            // What was asked before the configuration changed, or before verdicts were forgotten, holds this once.
            if generation == self.auth.generation() && forgets == self.forgets {
                self.remember(key, &decisions);
            }
            let outcomes = decisions.into_iter().map(|(action, room, decision)| ((action, room), decision.outcome));
            self.judged = outcomes.collect();
        }
        match purpose {
            Purpose::Request => {
                let pending = self.peers.get_mut(key).and_then(|peer| peer.pending.take());
                if let Some(Pending { asked, waiting: Waiting::Rights(then) }) = pending.map(|pending| *pending) {
                    self.go_on(asked, *then);
                }
            }
            Purpose::Follow(change) => self.follow(key, &change),
        }
        self.judged.clear();
    }

    fn remember(&mut self, key: ConnectionKey, decisions: &[(Action, RoomId, Decision)]) {
        let generation = self.auth.generation();
        let Some(peer) = self.peers.get_mut(key) else { return };
        let now = Instant::now();
        for (action, room, decision) in decisions {
            // Whoever has joined does not ask again, so a yes to that is not worth its memory.
            if decision.holds.is_zero() || (*action == Action::Join && decision.outcome.is_ok()) {
                continue;
            }
            let verdicts = peer.verdicts.get_or_insert_default();
            if verdicts.generation != generation || verdicts.rooms.len() >= ROOMS_REMEMBERED_MAX {
                verdicts.rooms.clear();
                verdicts.generation = generation;
            }
            let remembered = Remembered { until: now + decision.holds, outcome: decision.outcome.clone() };
            let actions = verdicts.rooms.entry(room.clone()).or_default();
            actions.retain(|(known, _)| known != action);
            actions.push((*action, remembered));
        }
    }

    fn go_on(&mut self, asked: Asked, then: Then) {
        match then {
            Then::Join { room, since } => self.join(asked, room, since),
            Then::Attempt(attempt) => self.allowed_attempt(asked, *attempt),
            Then::Store(attempt) => match self.right(asked.key, Action::Edit, attempt.room()) {
                Right::Refused(why) => self.refuse_right(&asked, Action::Edit, attempt.room(), why),
                right => self.store_attempt(asked, *attempt, matches!(right, Right::Granted)),
            },
            Then::Delete { room, message_id } => match self.right(asked.key, Action::Delete, &room) {
                Right::Refused(why) => self.refuse_right(&asked, Action::Delete, &room, why),
                right => self.delete_as(asked, room, message_id, matches!(right, Right::Granted)),
            },
            Then::History { room, page } => self.history(asked, room, page),
            Then::OnlineUsers { room } => self.online_users(asked, room),
            Then::TypingUsers { room } => self.typing_users(asked, room),
            Then::Arrive { arrival, rooms, later } => self.enter_rooms(asked, *arrival, rooms, later),
        }
    }

    /// A plugin wants answers forgotten: one user's, or with an empty name everybody's.
    pub(super) fn forget_verdicts(&mut self, user: &str) {
        self.forgets += 1;
        if user.is_empty() {
            self.peers.iter_mut().for_each(|peer| peer.verdicts = None);
            return;
        }
        let keys = UserId::parse(user).ok().and_then(|user| self.users.get(&user)).cloned();
        for key in keys.unwrap_or_default() {
            if let Some(peer) = self.peers.get_mut(key) {
                peer.verdicts = None;
            }
        }
    }

    /// Tells a client that it may not.
    pub(super) fn refuse_right(&mut self, asked: &Asked, action: Action, room: &RoomId, why: NotAllowed) {
        let refusal = match why {
            NotAllowed::Denied(denial) => {
                let code = if action == Action::Join { ErrorCode::JoinRoomFailed } else { ErrorCode::Forbidden };
                Refusal {
                    reason: Some(denial.code.into()),
                    plugin: denial.plugin,
                    ..Refusal::new(code, denial.message)
                }
            }
            NotAllowed::Unavailable { plugin } => Refusal::policy_unavailable(plugin),
        };
        self.refuse(asked, Some(room), &refusal);
    }
}
