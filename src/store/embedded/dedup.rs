//! Repeated sends: the first answer to each (user, room, `tempId`), for a while.

use std::collections::{HashMap, VecDeque};

use crate::ids::{RoomId, UserId};
use crate::message::Timestamp;
use crate::store::Receipt;

/// What makes two sends the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sent {
    pub(super) room: RoomId,
    pub(super) user: UserId,
    pub(super) temp_id: Box<str>,
}

/// First answers, bounded in time and number.
pub(super) struct Dedup {
    window_ms: u64,
    entries_max: usize,
    answers: HashMap<Sent, (Receipt, Timestamp)>,
    /// In the order of their expiry, which is the order in which they came.
    expiries: VecDeque<(Timestamp, Sent)>,
}

impl Dedup {
    pub(super) fn new(window_ms: u64, entries_max: usize) -> Self {
        Self { window_ms, entries_max, answers: HashMap::new(), expiries: VecDeque::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.answers.len()
    }

    pub(super) fn first_answer(&self, sent: &Sent, now: Timestamp) -> Option<&Receipt> {
        self.answers.get(sent).filter(|(_, expiry)| now < *expiry).map(|(receipt, _)| receipt)
    }

    pub(super) fn remember(&mut self, sent: Sent, receipt: Receipt, now: Timestamp) {
        self.forget_old(now);
        let expiry = now.saturating_add(self.window_ms);
        self.expiries.push_back((expiry, sent.clone()));
        self.answers.insert(sent, (receipt, expiry));
        while self.entries_max != 0 && self.expiries.len() > self.entries_max {
            self.forget_first();
        }
    }

    pub(super) fn forget_old(&mut self, now: Timestamp) {
        while self.expiries.front().is_some_and(|(expiry, _)| *expiry <= now) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((expiry, sent)) = self.expiries.pop_front()
            // The same name may have been given again since, with a later expiry of its own.
            && self.answers.get(&sent).is_some_and(|(_, current)| *current == expiry)
        {
            self.answers.remove(&sent);
        }
    }
}
