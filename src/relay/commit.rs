//! What waits for the disk: an outcome is passed on when what it changed is stored, and not before.
//!
//! Outcomes of a shard's rooms keep their order, so one that changed nothing waits behind those that did: what it saw may
//! not be stored yet. If the disk fails, all that waits is taken back, the latest first, and whoever asked is told.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Relay, Ticket};
use crate::ids::ShardId;
use crate::message::Timestamp;
use crate::store::{Answer, Batch, Change, Done, Journal, MembershipChange, Op, Outcome, Revocation};

/// The outcomes of one shard that wait.
#[derive(Default)]
pub(super) struct Commits {
    /// `None` without a disk; then nothing ever waits.
    journal: Option<Journal>,
    /// How often everything was taken back.
    era: u64,
    /// Batches handed over.
    written: u64,
    waiting: VecDeque<Deferred>,
}

/// An outcome, with what it changed.
struct Deferred {
    /// The last batch that it waits for.
    batch: u64,
    /// Since when.
    since: Timestamp,
    changes: Arc<Vec<Change>>,
    outcome: Outcome,
    asker: Asker,
}

/// Whose operation it was.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) ticket: Option<Ticket>,
    pub(super) no_echo: bool,
    /// The shard that asked.
    pub(super) from: ShardId,
}

impl Commits {
    pub(super) fn new(journal: Option<Journal>) -> Self {
        Self { journal, ..Self::default() }
    }

    /// Has a revocation stored, where anything is.
    pub(super) fn revoke(&self, revocation: Revocation, stored: oneshot::Sender<bool>) {
        match &self.journal {
            Some(journal) => journal.revoke(revocation, stored),
            None => {
                let _nobody_waits = stored.send(true);
            }
        }
    }
}

impl Relay {
    /// Passes an outcome on when what the store has just changed is stored.
    pub(super) fn conclude_when_stored(&mut self, outcome: Outcome, asker: Asker) {
        let changes = self.store.take_changes();
        if changes.is_empty() && (self.commits.waiting.is_empty() || outcome.is_nothing()) {
            return self.conclude(outcome, asker);
        }
        let changes = Arc::new(changes);
        if !changes.is_empty() {
            self.commits.written += 1;
        }
        let Commits { journal, era, written, waiting } = &mut self.commits;
        let since = super::wall_clock();
        waiting.push_back(Deferred { batch: *written, since, changes: Arc::clone(&changes), outcome, asker });
        if let Some(journal) = journal.as_ref().filter(|_| !changes.is_empty()) {
            journal.write(Batch { shard: self.shard, era: *era, number: *written, changes });
        }
    }

    /// Has written what nobody asked for: what gave room by itself.
    pub(super) fn write_what_gave_room(&mut self) {
        self.conclude_when_stored(Outcome::default(), Asker { ticket: None, no_echo: false, from: self.shard });
    }

    /// Leaves rooms to the disk that nobody uses, if nothing of them waits for it.
    pub(super) fn cool(&mut self) {
        let now = super::wall_clock();
        let stored_before = self.commits.waiting.front().map_or(now, |first| first.since);
        self.store.cool(now, stored_before);
    }

    /// The disk is done with some of what was handed to it.
    pub(super) fn committed(&mut self, done: Done) {
        // What is said of an earlier era was taken back already.
        if done.era != self.commits.era {
            return;
        }
        if !done.stored {
            return self.take_back();
        }
        while let Some(deferred) = self.commits.waiting.pop_front_if(|first| first.batch <= done.through) {
            let key = deferred.asker.ticket.as_ref().filter(|ticket| ticket.shard == self.shard).map(|it| it.key);
            self.conclude(deferred.outcome, deferred.asker);
            if let Some(key) = key {
                self.wake_unless_waiting(key);
            }
        }
    }

    fn take_back(&mut self) {
        self.commits.era += 1;
        let waiting = std::mem::take(&mut self.commits.waiting);
        for deferred in waiting.iter().rev() {
            if let Some(Answer::Entered(entry)) = &deferred.outcome.answer
                && let (Some(room), Some(user)) = (entry.live_in.clone(), entry.user.clone())
            {
                let detach = Op::Detach { room, user, membership: entry.membership };
                let _no_answer = self.store.apply(detach, deferred.asker.from, super::wall_clock());
            }
            self.store.undo(&deferred.changes);
        }
        // Undoing is no change that anybody need write: the disk never had what is undone.
        let _undone = self.store.take_changes();
        for Deferred { changes, outcome, asker, .. } in waiting {
            for change in changes.iter() {
                if let Change::Member { room, user, before: None, .. } = change {
                    let (room, user) = (room.clone(), user.clone());
                    let back =
                        MembershipChange { user, room, membership: 0, joined: false, quiet: true, removed: false };
                    self.submit(Op::Index(back), None, false);
                }
            }
            let Some(ticket) = asker.ticket.filter(|_| outcome.answer.is_some()) else { continue };
            let key = ticket.key;
            let is_ours = ticket.shard == self.shard;
            self.bring(ticket, Answer::Unavailable);
            if is_ours {
                self.wake_unless_waiting(key);
            }
        }
    }
}
