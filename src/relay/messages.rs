//! `send-message`, `edit-message` and `delete-message`.
//!
//! A sender's membership is checked before the plugins are asked, and the plugins before the store: a connection that
//! is live in the room belongs to a member, any other has to be looked up first.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::rights::{Right, Then};
use super::{Asked, Relay, Waiting, wall_clock};
use crate::ids::{MessageId, RoomId, UserId};
use crate::message::Seq;
use crate::policy::{Action, Body, Filtered, Question};
use crate::store::{Answer, Draft, Op, Receipt, Revision};
use crate::wire::encode::MessageAck;
use crate::wire::request::{Edit, Send};
use crate::wire::{ErrorCode, Refusal};

/// A message or an edit that was not stored yet.
pub(super) struct Attempt {
    room: RoomId,
    user: UserId,
    change: Change,
}

/// A message or an edit that the plugins did not let pass.
pub(super) struct Stopped {
    attempt: Attempt,
    /// What its sender is told; nothing, if it is to believe that all is well.
    refusal: Option<Refusal>,
}

/// An edit under way.
pub(super) struct Editing {
    room: RoomId,
    message_id: MessageId,
    /// Kept if it may be made again with the right to edit what others wrote.
    again: Option<Box<Attempt>>,
}

/// A deletion under way.
pub(super) struct Deleting {
    room: RoomId,
    message_id: MessageId,
    /// Whether it was made with the right to delete what others wrote.
    any_author: bool,
}

enum Change {
    New { draft: Draft, no_echo: bool },
    Edit(Revision),
}

/// Owned JSON that several may hold, on one line: a receiver may get several objects in a message, one a line. In JSON a
/// line break is white space between tokens and nothing else, so a space says the same.
pub(super) fn shared(content: &RawValue) -> Arc<RawValue> {
    if !content.get().contains(['\n', '\r']) {
        return Arc::from(content.to_owned());
    }
    let line = content.get().replace(['\n', '\r'], " ");
    Arc::from(RawValue::from_string(line).unwrap_or_else(|_| content.to_owned()))
}

impl Relay {
    pub(super) fn send(&mut self, asked: Asked, send: Send<'_>) {
        let Some(peer) = self.peers.get(asked.key) else { return };
        let draft = Draft {
            device: peer.device.clone(),
            temp_id: send.temp_id.map(|text| text.into_owned().into()),
            message_type: send.message_type.into(),
            content: shared(send.content),
            reply_to: send.reply_to.map(|text| text.into_owned().into()),
        };
        let attempt =
            Attempt { room: send.room, user: peer.user.clone(), change: Change::New { draft, no_echo: send.no_echo } };
        self.attempt(asked, attempt);
    }

    pub(super) fn edit(&mut self, asked: Asked, edit: Edit<'_>) {
        let Some(user) = self.user(asked.key).cloned() else { return };
        let Edit { room, message_id, content, if_version } = edit;
        let revision = Revision { message_id, content: shared(content), if_version };
        self.attempt(asked, Attempt { room, user, change: Change::Edit(revision) });
    }

    fn attempt(&mut self, asked: Asked, attempt: Attempt) {
        if asked.key.is_call() || self.hub.is_live(asked.key, &attempt.room) {
            self.allowed_attempt(asked, attempt);
            return;
        }
        let op = Op::IsMember { room: attempt.room.clone(), user: attempt.user.clone() };
        self.ask(asked, Waiting::Membership(Box::new(attempt)), op);
    }

    pub(super) fn membership_known(&mut self, asked: Asked, attempt: Attempt, answer: &Answer) {
        if matches!(answer, Answer::Member) {
            self.allowed_attempt(asked, attempt);
        } else {
            self.refuse_answer(&asked, &attempt.room, answer);
        }
    }

    /// Goes on with what may be sent. An edit is somebody's own, or is asked about when it turns out not to be.
    pub(super) fn allowed_attempt(&mut self, asked: Asked, attempt: Attempt) {
        if let Change::New { .. } = attempt.change {
            match self.right(asked.key, Action::Send, &attempt.room) {
                Right::Refused(why) => return self.refuse_right(&asked, Action::Send, &attempt.room, why),
                Right::Unknown => {
                    let questions = vec![(Action::Send, attempt.room.clone())];
                    return self.ask_rights(asked, questions, Then::Attempt(Box::new(attempt)));
                }
                Right::Granted | Right::NotAsked => {}
            }
        }
        self.filter(asked, attempt);
    }

    /// Asks the plugins, once, on the shard where the message came in.
    fn filter(&mut self, asked: Asked, mut attempt: Attempt) {
        if self.chain.is_empty() {
            self.store_attempt(asked, attempt, false);
            return;
        }
        let (event, body) = match &attempt.change {
            Change::New { draft, .. } => {
                let message_type = Some(Cow::Borrowed(&*draft.message_type));
                let reply_to = draft.reply_to.as_deref();
                (
                    "message-new",
                    Body { message_type, message_id: None, content: Cow::Borrowed(&*draft.content), reply_to },
                )
            }
            Change::Edit(Revision { message_id, content, .. }) => {
                let message_id = Some(message_id.as_str());
                (
                    "message-edited",
                    Body { message_type: None, message_id, content: Cow::Borrowed(&**content), reply_to: None },
                )
            }
        };
        let connection = self.connection_id(asked.key);
        let question = Question { connection, subject: attempt.user.as_str(), room: attempt.room.as_str(), event };
        match self.chain.filter(&question, body) {
            Filtered::Accepted => self.store_attempt(asked, attempt, false),
            Filtered::Replaced { message_type, content } => {
                attempt.change.replace(message_type, shared(&content));
                self.store_attempt(asked, attempt, false);
            }
            Filtered::Rejected { plugin, code, message } => {
                let refusal = Refusal {
                    reason: Some(code.into()),
                    plugin: Some(plugin),
                    ..Refusal::new(ErrorCode::Rejected, message)
                };
                self.stop(asked, Stopped { attempt, refusal: Some(refusal) });
            }
            Filtered::Discarded => self.stop(asked, Stopped { attempt, refusal: None }),
            Filtered::Unavailable { plugin } => {
                self.stop(asked, Stopped { attempt, refusal: Some(Refusal::policy_unavailable(plugin)) });
            }
        }
    }

    /// A message that the plugins stopped may be the repeat of one that they let pass, which gets the first answer.
    fn stop(&mut self, asked: Asked, stopped: Stopped) {
        let temp_id = match &stopped.attempt.change {
            Change::New { draft, .. } => draft.temp_id.clone(),
            Change::Edit(_) => None,
        };
        let Some(temp_id) = temp_id else {
            self.answer_stopped(&asked, &stopped);
            return;
        };
        let Attempt { room, user, .. } = &stopped.attempt;
        let op = Op::Recall { room: room.clone(), user: user.clone(), temp_id };
        self.ask(asked, Waiting::Recall(Box::new(stopped)), op);
    }

    pub(super) fn recalled(&mut self, asked: &Asked, stopped: &Stopped, answer: Answer) {
        match answer {
            Answer::Appended(receipt) => {
                let Change::New { draft, .. } = &stopped.attempt.change else { return };
                self.acknowledge(asked, &stopped.attempt.room, draft.temp_id.as_deref(), &receipt);
            }
            _ => self.answer_stopped(asked, stopped),
        }
    }

    fn answer_stopped(&mut self, asked: &Asked, stopped: &Stopped) {
        match &stopped.refusal {
            Some(refusal) => self.refuse(asked, Some(&stopped.attempt.room), refusal),
            None => self.pretend(asked, &stopped.attempt),
        }
    }

    /// Stores it. With `any_author` an edit may be of what somebody else wrote.
    pub(super) fn store_attempt(&mut self, asked: Asked, attempt: Attempt, any_author: bool) {
        let Attempt { room, user, change } = attempt;
        match change {
            Change::New { draft, no_echo } => {
                let waiting = Waiting::Append { room: room.clone(), temp_id: draft.temp_id.clone(), no_echo };
                self.ask_except(asked, waiting, Op::Append { room, user, draft }, no_echo);
            }
            Change::Edit(revision) => {
                let (any_author, again) = match self.right(asked.key, Action::Edit, &room) {
                    Right::Granted => (true, None),
                    Right::Unknown if !any_author => {
                        let change = Change::Edit(revision.clone());
                        (false, Some(Box::new(Attempt { room: room.clone(), user: user.clone(), change })))
                    }
                    _ => (any_author, None),
                };
                let waiting =
                    Waiting::Edit(Editing { room: room.clone(), message_id: revision.message_id.clone(), again });
                self.ask(asked, waiting, Op::Edit { room, user, revision, any_author });
            }
        }
    }

    /// Answers a message that a plugin discarded as if it had been sent. Nothing was stored, so there is no `seq`.
    fn pretend(&mut self, asked: &Asked, attempt: &Attempt) {
        match &attempt.change {
            Change::New { draft, .. } => {
                let message_id = self.ids.message();
                let receipt = Receipt { message_id, log: None, sent_at: wall_clock(), duplicate: false };
                self.acknowledge(asked, &attempt.room, draft.temp_id.as_deref(), &receipt);
            }
            Change::Edit(Revision { message_id, .. }) => self.ok(asked, &Done { message_id, version: None, seq: None }),
        }
    }

    fn acknowledge(&mut self, asked: &Asked, room: &RoomId, temp_id: Option<&str>, receipt: &Receipt) {
        let (epoch, seq) = receipt.log.as_ref().map(|(epoch, seq)| (&**epoch, *seq)).unzip();
        let ack = MessageAck {
            temp_id,
            message_id: Some(&receipt.message_id),
            conversation_id: room,
            seq,
            epoch,
            sent_at: receipt.sent_at,
            duplicate: receipt.duplicate,
        };
        self.reply(asked, "message-ack", &ack);
    }

    pub(super) fn appended(&mut self, asked: &Asked, room: &RoomId, temp_id: Option<&str>, answer: Answer) {
        let Answer::Appended(receipt) = answer else {
            self.refuse_answer(asked, room, &answer);
            return;
        };
        if !receipt.duplicate {
            self.metrics.messages_stored.increment(1);
        }
        self.acknowledge(asked, room, temp_id, &receipt);
        // What was typed is there.
        self.end_typing(asked.key, room);
    }

    pub(super) fn edited(&mut self, asked: Asked, editing: Editing, answer: &Answer) {
        let Editing { room, message_id, again } = editing;
        match (answer, self.right(asked.key, Action::Edit, &room)) {
            (Answer::Edited { version, seq }, _) => {
                self.ok(&asked, &Done { message_id: &message_id, version: Some(*version), seq: Some(*seq) });
            }
            (Answer::Forbidden, Right::Refused(why)) => self.refuse_right(&asked, Action::Edit, &room, why),
            (Answer::Forbidden, _) if let Some(attempt) = again => {
                self.ask_rights(asked, vec![(Action::Edit, room)], Then::Store(attempt));
            }
            _ => self.refuse_answer(&asked, &room, answer),
        }
    }

    pub(super) fn delete(&mut self, asked: Asked, room: RoomId, message_id: MessageId) {
        let any_author = matches!(self.right(asked.key, Action::Delete, &room), Right::Granted);
        self.delete_as(asked, room, message_id, any_author);
    }

    /// With `any_author` it may be what somebody else wrote.
    pub(super) fn delete_as(&mut self, asked: Asked, room: RoomId, message_id: MessageId, any_author: bool) {
        let Some(user) = self.user(asked.key).cloned() else { return };
        let op = Op::Delete { room: room.clone(), user, message_id: message_id.clone(), any_author };
        self.ask(asked, Waiting::Delete(Deleting { room, message_id, any_author }), op);
    }

    pub(super) fn deleted(&mut self, asked: Asked, deleting: Deleting, answer: &Answer) {
        let Deleting { room, message_id, any_author } = deleting;
        match (answer, self.right(asked.key, Action::Delete, &room)) {
            (Answer::Deleted { seq }, _) => {
                self.ok(&asked, &Done { message_id: &message_id, version: None, seq: Some(*seq) });
            }
            (Answer::Forbidden, Right::Refused(why)) => self.refuse_right(&asked, Action::Delete, &room, why),
            (Answer::Forbidden, Right::Unknown) if !any_author => {
                let questions = vec![(Action::Delete, room.clone())];
                self.ask_rights(asked, questions, Then::Delete { room, message_id });
            }
            _ => self.refuse_answer(&asked, &room, answer),
        }
    }
}

impl Attempt {
    pub(super) fn room(&self) -> &RoomId {
        &self.room
    }
}

impl Change {
    fn replace(&mut self, new_type: Option<String>, new_content: Arc<RawValue>) {
        match self {
            Self::New { draft, .. } => {
                draft.content = new_content;
                if let Some(new_type) = new_type {
                    draft.message_type = new_type.into();
                }
            }
            Self::Edit(Revision { content, .. }) => *content = new_content,
        }
    }
}

/// Data of `ok` for a changed message.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Done<'a> {
    message_id: &'a MessageId,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<Seq>,
}
