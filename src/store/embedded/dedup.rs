//! Repeated sends: the first answer to each (user, room, `tempId`), for a while.

use std::collections::{HashMap, VecDeque};

use crate::message::Timestamp;
use crate::store::{Receipt, Sent};

/// First answers, bounded in time and number.
pub(super) struct Dedup {
    window_ms: u64,
    entries_max: usize,
    answers: HashMap<Sent, (Receipt, Timestamp)>,
    /// In the order of their expiry, which is the order in which they came.
    expiries: VecDeque<(Timestamp, Sent)>,
    /// What was forgotten since somebody asked, if anybody asks.
    forgotten: Option<Vec<Sent>>,
}

impl Dedup {
    pub(super) fn new(window_ms: u64, entries_max: usize) -> Self {
        Self { window_ms, entries_max, answers: HashMap::new(), expiries: VecDeque::new(), forgotten: None }
    }

    pub(super) fn len(&self) -> usize {
        self.answers.len()
    }

    pub(super) fn first_answer(&self, sent: &Sent, now: Timestamp) -> Option<&Receipt> {
        self.answers.get(sent).filter(|(_, expiry)| now < *expiry).map(|(receipt, _)| receipt)
    }

    /// Remembers an answer. Returns until when.
    pub(super) fn remember(&mut self, sent: Sent, receipt: Receipt, now: Timestamp) -> Timestamp {
        self.forget_old(now);
        let expiry = now.saturating_add(self.window_ms);
        self.restore(sent, receipt, expiry);
        expiry
    }

    /// Remembers an answer that was remembered before, until then.
    pub(super) fn restore(&mut self, sent: Sent, receipt: Receipt, expiry: Timestamp) {
        self.expiries.push_back((expiry, sent.clone()));
        self.answers.insert(sent, (receipt, expiry));
        while self.entries_max != 0 && self.expiries.len() > self.entries_max {
            self.forget_first();
        }
    }

    #[cfg(test)]
    pub(super) fn contents(&self) -> impl Iterator<Item = String> {
        self.answers.iter().map(|answer| format!("{answer:?}"))
    }

    /// Forgets an answer that was never given.
    pub(super) fn take_back(&mut self, sent: &Sent) {
        self.answers.remove(sent);
    }

    /// From now on what is forgotten is noted.
    pub(super) fn note_forgotten(&mut self) {
        self.forgotten = Some(Vec::new());
    }

    /// What was forgotten since the last time.
    pub(super) fn take_forgotten(&mut self) -> Vec<Sent> {
        self.forgotten.as_mut().map(std::mem::take).unwrap_or_default()
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
            if let Some(forgotten) = &mut self.forgotten {
                forgotten.push(sent);
            }
        }
    }
}
