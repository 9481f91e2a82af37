//! What a room makes of its members' cursors: moving them, counting what is unread, saying what became of a message.

use super::room::Room;
use super::{Partition, find};
use crate::ids::{DeviceId, MessageId, RoomId, UserId};
use crate::message::{EventKind, Message, Seq, Timestamp};
use crate::store::{Answer, Change, CursorKind, Cursors, Limits, MessageStatus, Moved, Outcome, Progress};
use crate::wire::request::UpTo;

/// An acknowledgement: whose, of what.
pub(super) struct Ack {
    pub(super) user: UserId,
    pub(super) device: Option<DeviceId>,
    pub(super) up_to: UpTo,
    pub(super) kind: CursorKind,
}

/// Members whose cursors one sweep notes, so that no commit is without end.
const UNSAVED_PER_SWEEP_MAX: usize = 4096;

impl Partition {
    /// Raises a member's cursors.
    pub(super) fn acknowledge(&mut self, id: RoomId, ack: Ack, proven: bool, now: Timestamp) -> Outcome {
        let user = ack.user.clone();
        let before = if proven { None } else { self.cursors(&id, &user) };
        let room = find(&mut self.rooms, &self.by_id, &id).filter(|room| room.is_member(&user));
        let outcome = room.map_or_else(|| Answer::NotAMember.into(), |room| room.acknowledge(ack, &self.limits, now));
        self.note_cursors(&id, &user, before);
        if !proven {
            return outcome;
        }
        // After a crash some of it may come twice, which costs less than to store each move.
        if self.changes.is_some() {
            self.unsaved.insert((id, user));
        }
        Outcome { answer: None, ..outcome }
    }

    /// Notes cursors that moved without being stored.
    pub(super) fn note_unsaved(&mut self) {
        let some: Vec<_> = self.unsaved.iter().take(UNSAVED_PER_SWEEP_MAX).cloned().collect();
        for name in some {
            self.unsaved.remove(&name);
            let (room, user) = name;
            let Some(now @ Some(_)) = self.cursors(&room, &user) else { continue };
            self.note(|| Change::Cursors { room, user, before: now.clone(), after: now });
        }
    }

    /// Notes all of them: the server stops.
    pub fn note_all_unsaved(&mut self) {
        while !self.unsaved.is_empty() {
            self.note_unsaved();
        }
    }
}

impl Room {
    /// Where a member's cursors are. Those of a member of whom nothing is known start at the head.
    fn cursors_of(&mut self, user: &UserId) -> &mut Cursors {
        let head = self.log().map_or(0, super::log::Log::head);
        self.cursors.entry(user.clone()).or_insert_with(|| Cursors::starting(head))
    }

    /// A user came in: what is said from here on is said to the user, too.
    pub(super) fn start_cursors(&mut self, user: &UserId) {
        self.cursors_of(user);
    }

    /// The author of an event has it.
    pub(super) fn wrote(&mut self, user: &UserId, device: Option<&DeviceId>, seq: Option<Seq>) {
        if let Some(seq) = seq {
            self.cursors_of(user).wrote(device, seq);
        }
    }

    /// How far a member has come. `None` in a room without a log.
    pub(super) fn progress(&self, user: &UserId, device: Option<&DeviceId>) -> Option<Progress> {
        let log = self.log()?;
        let cursors = self.cursors.get(user)?;
        let seen = cursors.seen;
        let of_others = |message: &&Message| message.user != *user && message.deleted_at.is_none();
        let unread = log.sent_in(seen, log.head()).map(|(_, message)| message).filter(of_others).count();
        Some(Progress { delivered: cursors.delivered_to(device), seen, unread })
    }

    /// From here on a member's device is known.
    pub(super) fn touch(&mut self, user: &UserId, device: Option<&DeviceId>, devices_max: usize) {
        if self.log().is_some() {
            self.cursors_of(user).touch(device, 0, devices_max);
        }
    }

    /// Raises a member's cursors. An outcome says whose messages are newly covered, where anybody is to hear of it.
    pub(super) fn acknowledge(&mut self, ack: Ack, limits: &Limits, now: Timestamp) -> Outcome {
        let Ack { user, device, up_to, kind } = ack;
        let head = self.log().map_or(0, super::log::Log::head);
        let up_to = match up_to {
            UpTo::Seq(seq) => Some(seq.min(head)),
            UpTo::Messages(ids) => ids.iter().filter_map(|id| self.log()?.place_of(id)).max(),
        };
        let Some(up_to) = up_to else { return Answer::MessageNotFound.into() };
        let cursors = self.cursors_of(&user);
        let delivered = cursors.deliver(device.as_ref(), up_to, limits.devices_per_user_max);
        let seen = if kind == CursorKind::Seen { cursors.see(up_to) } else { None };
        let told = self.members() <= limits.receipt_members_max;
        let grown = [(CursorKind::Delivered, delivered), (CursorKind::Seen, seen)];
        for (kind, from) in grown {
            // Times are of messages. Of who came and went nobody asks when it was delivered.
            let covers = |from| self.log().is_some_and(|log| log.sent_in(from, up_to).next().is_some());
            if from.is_some_and(covers) {
                self.cursors_of(&user).note_time(kind, now);
            }
        }
        let moved = grown
            .into_iter()
            .filter(|_| told)
            .filter_map(|(kind, from)| Some(self.moved(&user, kind, (from?, up_to), now)))
            .collect();
        Outcome { answer: Some(Answer::Acknowledged), moved, ..Outcome::default() }
    }

    fn moved(&self, user: &UserId, kind: CursorKind, (from, up_to): (Seq, Seq), at: Timestamp) -> Moved {
        let mut authors: Vec<UserId> = Vec::new();
        let mut message_id = None;
        for (_, message) in self.log().into_iter().flat_map(|log| log.sent_in(from, up_to)) {
            message_id = Some(message.message_id.clone());
            if message.user != *user && !authors.contains(&message.user) {
                authors.push(message.user.clone());
            }
        }
        Moved {
            room: self.id().clone(),
            user: user.clone(),
            kind,
            up_to,
            message_id,
            at,
            authors,
            shards: self.shards(),
        }
    }

    /// What became of a message, with a page of those to whom it was said.
    pub(super) fn status(&self, id: &MessageId, after: Option<&UserId>, users_max: usize) -> Outcome {
        let found = self.log().and_then(|log| {
            let message = log.message(id).filter(|message| message.deleted_at.is_none())?;
            Some((log.place_of(id)?, &message.user))
        });
        let Some((seq, author)) = found else { return Answer::MessageNotFound.into() };
        let addressed = |user: &UserId, cursors: &Cursors| user != author && cursors.start < seq;
        let said_to = || self.cursors.iter().filter(|(user, cursors)| addressed(user, cursors));
        let mut page: Vec<_> = said_to().filter(|(user, _)| after.is_none_or(|after| *user > after)).collect();
        let has_more = page.len() > users_max;
        if has_more {
            page.select_nth_unstable_by_key(users_max, |(user, _)| *user);
            page.truncate(users_max);
        }
        page.sort_unstable_by_key(|(user, _)| *user);
        let users = page
            .into_iter()
            .map(|(user, cursors)| {
                let covered = |kind| cursors.covered_at(kind, seq);
                (user.clone(), covered(CursorKind::Delivered), covered(CursorKind::Seen))
            })
            .collect();
        // What was said to nobody was delivered to nobody.
        let anyone = said_to().next().is_some();
        let delivered = anyone && said_to().all(|(_, cursors)| cursors.delivered >= seq);
        let seen = anyone && said_to().all(|(_, cursors)| cursors.seen >= seq);
        Answer::Status(Box::new(MessageStatus { delivered, seen, users, has_more })).into()
    }
}

/// Whether an event sent a message.
pub(super) fn sent(kind: &EventKind) -> Option<&Message> {
    match kind {
        EventKind::MessageNew(message) => Some(message),
        _ => None,
    }
}
