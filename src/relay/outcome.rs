//! What comes of an operation: it goes to its owner, its answer to whoever asked, its event to everyone who is live.

use std::sync::Arc;
use std::time::Instant;

use super::commit::Asker;
use super::warm::Held;
use super::{Mail, Relay, Ticket, wall_clock};
use crate::ids::{ConnectionKey, RoomId, ShardId};
use crate::store::{Answer, Applied, Concluded, Feed, Op, Outcome, RemoteNews, Resync, owner_of};
use crate::wire::encode;

impl Relay {
    /// Hands an operation to its owner.
    pub(super) fn submit(&mut self, op: Op, ticket: Option<Ticket>, no_echo: bool) {
        let owner = owner_of(op.owner(), self.mailboxes.count());
        if owner == self.shard {
            self.execute(op, ticket, no_echo, self.shard);
        } else {
            self.mailboxes.send(owner, Mail::Op { op, ticket, no_echo, from: self.shard });
        }
    }

    /// Carries out an operation that this shard owns, at once or when what it needs was read.
    pub(super) fn execute(&mut self, op: Op, ticket: Option<Ticket>, no_echo: bool, from: ShardId) {
        if let Some(ready) = self.hold_until_warm(Held { op, ticket, no_echo, from }) {
            self.execute_now(ready);
        }
    }

    /// Carries out an operation, and passes on what it led to once that is stored.
    pub(super) fn execute_now(&mut self, ready: Held) {
        let Held { op, ticket, no_echo, from } = ready;
        let is_of_room = op.is_of_room();
        let leaves = matches!(op, Op::Leave { .. });
        let asker = Asker { ticket, no_echo, from };
        let outcome = match self.store.apply(op, from, wall_clock()) {
            Applied::Now(outcome) => outcome,
            Applied::Later(token) => {
                // Whoever leaves is not told of it as an event, by whichever way it comes first.
                self.under_way.insert(token, Asker { no_echo: no_echo || leaves, ..asker });
                return;
            }
        };
        // What is known of a user is known from what is stored already, and who types is never stored.
        if is_of_room { self.conclude_when_stored(outcome, asker) } else { self.conclude(outcome, asker) }
    }

    /// Redis tells something: whatever comes of it is passed on.
    pub(super) fn store_tells(&mut self, news: RemoteNews) {
        let concluded = self.store.receive(news, wall_clock());
        self.conclude_all(concluded);
    }

    /// Passes on what operations led to, in order.
    pub(super) fn conclude_all(&mut self, concluded: Vec<Concluded>) {
        for Concluded { token, last, outcome } in concluded {
            let asker =
                token.and_then(
                    |token| {
                        if last { self.under_way.remove(&token) } else { self.under_way.get(&token).cloned() }
                    },
                );
            let asker = asker.unwrap_or(Asker { ticket: None, no_echo: false, from: self.shard });
            let ours = asker.ticket.as_ref().filter(|ticket| ticket.shard == self.shard).map(|ticket| ticket.key);
            self.conclude(outcome, asker);
            ours.into_iter().for_each(|key| self.wake_unless_waiting(key));
        }
    }

    /// Passes on what an operation led to.
    ///
    /// The order matters: an event is published before the answer, so that whoever becomes live by the answer does not
    /// get it; and a change of membership is told after the answer, so that the asking connection knows it first. Whoever
    /// leaves is answered by the user's owner, who knows it then: there is room for one more right after the answer.
    pub(super) fn conclude(&mut self, outcome: Outcome, asker: Asker) {
        let Outcome { answer, feed, forward, change, moved, typing, appeared, resync } = outcome;
        let Asker { ticket, no_echo, from: _ } = asker;
        // Whoever raised a cursor need not be told that it did.
        let mover = ticket.as_ref().map(|ticket| (ticket.shard, ticket.key));
        moved.into_iter().for_each(|moved| self.moved(moved, mover));
        let leaves = matches!(answer, Some(Answer::Left)) && forward.is_some();
        let except = ticket.as_ref().filter(|_| no_echo || leaves).map(|ticket| (ticket.shard, ticket.key));
        if let Some(feed) = &feed {
            self.publish(feed, except);
        }
        if let Some(typing) = &typing {
            self.publish_typing(typing);
        }
        if let Some(resync) = resync {
            self.publish_resync(&resync);
        }
        let forward = match forward {
            Some(op) if leaves => return self.submit(op, ticket, false),
            forward => forward,
        };
        if let (Some(answer), Some(ticket)) = (answer, ticket) {
            self.bring(ticket, answer);
        }
        if let Some(op) = forward {
            self.submit(op, None, false);
        }
        if let Some(appeared) = appeared {
            self.appeared(appeared);
        }
        if let Some(change) = change {
            for shard in self.mailboxes.others(self.shard) {
                self.mailboxes.send(shard, Mail::Change(change.clone()));
            }
            self.membership_changed(&change);
        }
    }

    /// Brings an answer to whoever asked.
    pub(super) fn bring(&mut self, ticket: Ticket, answer: Answer) {
        if ticket.shard == self.shard {
            self.answered(ticket, answer);
        } else {
            self.mailboxes.send(ticket.shard, Mail::Answer { ticket, answer });
        }
    }

    /// Encodes an event, once, and hands it to every shard where someone is live in its room.
    pub(super) fn publish(&mut self, feed: &Feed, except: Option<(ShardId, ConnectionKey)>) {
        let origin = encode::Origin { room: &feed.room, epoch: feed.epoch.as_deref() };
        let frame = Arc::new(encode::event(origin, &feed.event));
        let except_on = |shard| except.filter(|(home, _)| *home == shard).map(|(_, key)| key);
        for shard in self.mailboxes.others(self.shard).filter(|shard| feed.shards & (1 << shard.0) != 0) {
            let push = Mail::Push { room: feed.room.clone(), frame: Arc::clone(&frame), except: except_on(shard) };
            self.mailboxes.send(shard, push);
        }
        self.deliver(&feed.room, frame, except_on(self.shard));
    }

    /// Tells everyone who is live in a room that they may have missed what they cannot be told.
    fn publish_resync(&mut self, resync: &Resync) {
        let Resync { room, epoch, shards } = resync;
        let frame = Arc::new(super::queue::resync_frame(room, epoch));
        for shard in self.mailboxes.others(self.shard).filter(|shard| shards & (1 << shard.0) != 0) {
            let push = Mail::Push { room: room.clone(), frame: Arc::clone(&frame), except: None };
            self.mailboxes.send(shard, push);
        }
        self.deliver(room, frame, None);
    }

    pub(super) fn deliver(&mut self, room: &RoomId, frame: Arc<crate::wire::Frame>, except: Option<ConnectionKey>) {
        let recipients = self.hub.publish(room, frame, except, Instant::now());
        if recipients > 0 {
            self.metrics.fanout_recipients.record(u32::try_from(recipients).unwrap_or(u32::MAX));
        }
    }
}
