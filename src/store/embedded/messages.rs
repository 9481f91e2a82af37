//! Messages: sent, changed, deleted, and what an earlier send was answered.

use super::room::Room;
use super::server::Asker;
use super::{Partition, find};
use crate::ids::{RoomId, UserId};
use crate::message::{EventKind, Message, Timestamp};
use crate::store::{Answer, Change, Draft, Op, Outcome, Receipt, Sent};

impl Partition {
    pub(super) fn apply_to_message(&mut self, op: Op, now: Timestamp) -> Outcome {
        match op {
            Op::Append { room, user, draft } => {
                let outcome = self.append(&room, user, draft, now);
                self.settle(&room, outcome, now)
            }
            Op::Recall { room, user, temp_id } => {
                let first = self.first_answer(&Sent { room, user, temp_id }, now);
                first.map_or(Answer::NotSent, Answer::Appended).into()
            }
            Op::Edit { room, user, revision, any_author } => {
                let outcome = self.with_member(&room, &user, |room| room.edit(&user, revision, any_author, now));
                self.settle(&room, outcome, now)
            }
            Op::Delete { room, user, message_id, any_author } => {
                let before = self.carriers(&room, &message_id);
                let outcome = self.with_member(&room, &user, |room| room.delete(&user, &message_id, any_author, now));
                if outcome.feed.is_some() {
                    let after = self.carriers(&room, &message_id);
                    let room = room.clone();
                    self.note(|| Change::Redacted { room, before, after });
                }
                self.settle(&room, outcome, now)
            }
            _ => Outcome::default(),
        }
    }

    /// The answer to an earlier send of the same message. One of a log that was lost is none: it speaks of a message that
    /// is no longer there.
    fn first_answer(&self, sent: &Sent, now: Timestamp) -> Option<Receipt> {
        let room = self.by_id.get(&sent.room).and_then(|key| self.rooms.get(*key))?;
        let first = self.dedup.first_answer(sent, now)?;
        let same_log = first.log.as_ref().map(|(epoch, _)| epoch) == room.epoch();
        same_log.then(|| Receipt { duplicate: true, ..first.clone() })
    }

    fn append(&mut self, id: &RoomId, user: UserId, draft: Draft, now: Timestamp) -> Outcome {
        let sent = draft.temp_id.clone().map(|temp_id| Sent { room: id.clone(), user: user.clone(), temp_id });
        let repeated = sent.as_ref().and_then(|sent| self.first_answer(sent, now));
        let asker = self.asker;
        let may_send = |room: &&mut Room| asker == Asker::Server || room.is_member(&user);
        let Some(room) = find(&mut self.rooms, &self.by_id, id).filter(may_send) else {
            return Answer::NotAMember.into();
        };
        if let Some(receipt) = repeated {
            return Answer::Appended(receipt).into();
        }
        let message_id = self.ids.message();
        let (author, device) = (user.clone(), draft.device.clone());
        let message = Message {
            message_id: message_id.clone(),
            user,
            device: draft.device,
            temp_id: draft.temp_id,
            message_type: draft.message_type,
            content: Some(draft.content),
            reply_to: draft.reply_to,
            version: 1,
            sent_at: now,
            edited_at: None,
            deleted_at: None,
        };
        let event = room.record(EventKind::MessageNew(Box::new(message)));
        room.wrote(&author, device.as_ref(), event.seq);
        let receipt = Receipt { message_id, log: room.log_place(event.seq), sent_at: now, duplicate: false };
        let feed = room.feed(event);
        if let Some(sent) = sent {
            let expiry = self.dedup.remember(sent.clone(), receipt.clone(), now);
            let receipt = receipt.clone();
            self.note(|| Change::Sent { sent, receipt, expiry });
        }
        Outcome { answer: Some(Answer::Appended(receipt)), feed: Some(feed), ..Outcome::default() }
    }
}
