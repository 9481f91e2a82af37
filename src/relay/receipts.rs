//! `ack`, `mark-read` and `get-message-status`: who has what, and telling those who wrote it.
//!
//! Receipts are pushed by the room's owner. A user's first in a while is pushed at once; what follows within
//! `receipt_coalesce` becomes one push at its end, which says no less: a cursor covers all that is before it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use serde::Serialize;

use super::{Asked, Errand, Mail, Relay, Ticket, Waiting};
use crate::ids::{ConnectionKey, MessageId, RoomId, ShardId, UserId};
use crate::message::{Seq, Timestamp};
use crate::store::{Answer, CursorKind, Moved, Op};
use crate::wire::dialect::Push;
use crate::wire::encode::{self, Nothing};
use crate::wire::frame::Frame;
use crate::wire::request::{Ack, AckKind, StatusQuestion, UpTo};

/// Cursors whose receipts are held together at once. Those of others are pushed as they come.
const PACED_MAX: usize = 65_536;

/// Which connection moved a cursor; it need not be told.
type Mover = Option<(ShardId, ConnectionKey)>;

/// One user's cursor of one kind in one room.
type Name = (RoomId, UserId, CursorKind);

/// Receipts that were pushed a moment ago, and what has come since.
#[derive(Default)]
pub(super) struct Receipts {
    /// Each with what is to be pushed when its time comes.
    paced: HashMap<Name, Option<(Moved, Mover)>>,
    /// In the order of their times.
    due: VecDeque<(Instant, Name)>,
    /// Whoever waits for something to become due.
    waker: Option<std::task::Waker>,
}

/// A receipt for connections of one shard.
#[derive(Debug)]
pub struct ReceiptPush {
    room: RoomId,
    /// Whose cursor it was, and who wrote what it covers.
    users: Vec<UserId>,
    frame: Frame,
    mover: Mover,
}

/// What was moved, and then moved on, as one.
fn merge((first, by): (Moved, Mover), (then, then_by): (Moved, Mover)) -> (Moved, Mover) {
    let mut authors = first.authors;
    authors.extend(then.authors.iter().filter(|author| !authors.contains(author)).cloned().collect::<Vec<_>>());
    let message_id = then.message_id.or(first.message_id);
    // A connection that moved it only some of the way has not heard of the rest.
    (Moved { authors, message_id, ..then }, by.filter(|_| by == then_by))
}

impl Relay {
    pub(super) fn ack(&mut self, asked: Asked, ack: Ack) {
        let Some(peer) = self.peers.get(asked.key) else { return };
        let kind = match ack.kind {
            AckKind::Delivered => CursorKind::Delivered,
            AckKind::Seen => CursorKind::Seen,
        };
        let (user, device) = (peer.user.clone(), peer.device.clone());
        let op = Op::Ack { room: ack.room.clone(), user, device, up_to: ack.up_to, kind, proven: false };
        self.ask(asked, Waiting::Ack { room: ack.room }, op);
    }

    /// A connection answered a ping: what was written before it has arrived. Nobody waits for an answer.
    pub fn prove(&mut self, key: ConnectionKey) {
        for (room, seq) in self.hub.proven(key) {
            let Some(peer) = self.peers.get(key) else { return };
            let (user, device, up_to) = (peer.user.clone(), peer.device.clone(), UpTo::Seq(seq));
            let op = Op::Ack { room, user, device, up_to, kind: CursorKind::Delivered, proven: true };
            self.metrics.delivery.proofs.increment(1);
            self.submit(op, Some(Ticket { shard: self.shard, key, errand: Errand::Request }), false);
        }
    }

    pub(super) fn acknowledged(&mut self, asked: &Asked, room: &RoomId, answer: &Answer) {
        if !matches!(answer, Answer::Acknowledged) {
            return self.refuse_answer(asked, room, answer);
        }
        self.metrics.delivery.acks.increment(1);
        self.ok(asked, &Nothing {});
    }

    pub(super) fn message_status(&mut self, asked: Asked, question: StatusQuestion) {
        let Some(user) = self.user(asked.key).cloned() else { return };
        let StatusQuestion { room, message_id, after } = question;
        let op = Op::Status { room: room.clone(), user, message_id: message_id.clone(), after };
        self.ask(asked, Waiting::Status { room, message_id }, op);
    }

    pub(super) fn message_status_read(&mut self, asked: &Asked, room: &RoomId, id: &MessageId, answer: Answer) {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Status<'a> {
            conversation_id: &'a RoomId,
            message_id: &'a MessageId,
            status: &'static str,
            users: Vec<Said>,
            has_more: bool,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Said {
            user_id: UserId,
            #[serde(skip_serializing_if = "Option::is_none")]
            delivered_at: Option<Timestamp>,
            #[serde(skip_serializing_if = "Option::is_none")]
            seen_at: Option<Timestamp>,
        }
        let Answer::Status(status) = answer else {
            return self.refuse_answer(asked, room, &answer);
        };
        let name = match (status.delivered, status.seen) {
            (_, true) => "read",
            (true, false) => "delivered",
            (false, false) => "sent",
        };
        let users = status.users.into_iter();
        let users = users.map(|(user_id, delivered_at, seen_at)| Said { user_id, delivered_at, seen_at }).collect();
        let (conversation_id, message_id, has_more) = (room, id, status.has_more);
        self.reply(asked, "message-status", &Status { conversation_id, message_id, status: name, users, has_more });
    }

    /// A cursor of a room of this shard's grew: whoever is to know is told, now or with what follows.
    pub(super) fn moved(&mut self, moved: Moved, mover: Mover) {
        let window = self.settings.receipt_coalesce;
        if window.is_zero() {
            return self.push_receipt(moved, mover);
        }
        let name = (moved.room.clone(), moved.user.clone(), moved.kind);
        if let Some(waiting) = self.receipts.paced.get_mut(&name) {
            *waiting = Some(match waiting.take() {
                Some(before) => merge(before, (moved, mover)),
                None => (moved, mover),
            });
            return;
        }
        if self.receipts.paced.len() < PACED_MAX {
            self.receipts.paced.insert(name.clone(), None);
            self.receipts.due.push_back((Instant::now() + window, name));
            if let Some(waker) = self.receipts.waker.take() {
                waker.wake();
            }
        }
        self.push_receipt(moved, mover);
    }

    /// When the next receipt may be pushed that was held back.
    pub fn poll_receipts_due(&mut self, context: &Context<'_>) -> Poll<Instant> {
        match self.receipts.due.front() {
            Some((due, _)) => Poll::Ready(*due),
            None => {
                self.receipts.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Pushes what was held back for long enough.
    pub fn push_due_receipts(&mut self, now: Instant) {
        while let Some((_, name)) = self.receipts.due.pop_front_if(|(due, _)| *due <= now) {
            // What was pushed just now holds back what follows, again.
            if let Some(Some((moved, mover))) = self.receipts.paced.remove(&name) {
                self.receipts.paced.insert(name.clone(), None);
                self.receipts.due.push_back((now + self.settings.receipt_coalesce, name));
                self.push_receipt(moved, mover);
            }
        }
    }

    /// Encodes a receipt, once, and hands it to every shard where someone is live in its room.
    fn push_receipt(&mut self, moved: Moved, mover: Mover) {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Data<'a> {
            conversation_id: &'a RoomId,
            user_id: &'a UserId,
            #[serde(rename = "type")]
            kind: &'static str,
            up_to: Seq,
            #[serde(skip_serializing_if = "Option::is_none")]
            message_id: Option<&'a MessageId>,
            at: Timestamp,
        }
        let Moved { room, user, kind, up_to, message_id, at, authors, shards } = moved;
        let (push, kind) = match kind {
            CursorKind::Delivered => (Push::ReceiptDelivered, "delivered"),
            CursorKind::Seen => (Push::ReceiptSeen, "seen"),
        };
        let message_id = message_id.as_ref();
        let data = Data { conversation_id: &room, user_id: &user, kind, up_to, message_id, at };
        let frame = Frame::new(push, &encode::json(&data), false);
        let mut users = authors;
        users.push(user);
        let receipt = Arc::new(ReceiptPush { room, users, frame, mover });
        for shard in self.mailboxes.others(self.shard).filter(|shard| shards & (1 << shard.0) != 0) {
            self.mailboxes.send(shard, Mail::Receipt(Arc::clone(&receipt)));
        }
        self.receipt(&receipt);
    }

    /// Writes a receipt to those of this shard's connections that it is for.
    pub(super) fn receipt(&mut self, receipt: &ReceiptPush) {
        let ReceiptPush { room, users, frame, mover } = receipt;
        let mover = mover.filter(|(shard, _)| *shard == self.shard).map(|(_, key)| key);
        for user in users {
            for key in self.users.get(user).cloned().unwrap_or_default() {
                if mover == Some(key) || !self.is_in(key, room) {
                    continue;
                }
                let Some(dialect) = self.peers.get(key).map(|peer| peer.dialect) else { continue };
                self.metrics.delivery.receipts_pushed.increment(1);
                self.hub.reply_soon(key, room, frame.bytes(dialect).clone());
            }
        }
    }
}
