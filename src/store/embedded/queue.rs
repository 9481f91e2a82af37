//! What waits for a device, read off the log page by page. Nothing is kept for it but the device's cursor.

use std::sync::Arc;

use super::log::Log;
use super::room::Room;
use crate::ids::UserId;
use crate::message::{Event, Seq};
use crate::store::{Answer, Entry, Limits, Outcome, QueuePage};

/// The smaller of two bounds, of which 0 is none.
fn tighter(one: usize, other: usize) -> usize {
    if one == 0 || other == 0 { one.max(other) } else { one.min(other) }
}

/// The bounds of a page.
struct PageSize {
    events_max: usize,
    bytes_max: usize,
    /// What it holds at least, if there is so much, for a queue is to come to an end.
    events_min: usize,
}

impl Log {
    /// The events after a place, as many as a page holds, and whether there are more. `None` when the log no longer
    /// reaches back so far.
    fn queue(&self, after: Seq, size: &PageSize) -> Option<(Vec<Arc<Event>>, bool)> {
        let waiting = usize::try_from(self.head().checked_sub(after)?).ok()?;
        if after + 1 < self.first() {
            return None;
        }
        let mut bytes = 0;
        let fits = |events: usize, cost: usize, bytes: usize| {
            let within = size.bytes_max == 0 || bytes + cost <= size.bytes_max;
            (size.events_max == 0 || events < size.events_max) && (within || events < size.events_min)
        };
        let mut page = Vec::new();
        for seq in after + 1..=self.head() {
            let event = self.get(seq)?;
            let cost = event.cost_bytes();
            if !fits(page.len(), cost, bytes) {
                break;
            }
            bytes += cost;
            page.push(Arc::clone(event));
        }
        let more = page.len() < waiting;
        Some((page, more))
    }
}

impl Room {
    /// Adds to what a connection learns the first of what its device was not delivered. This may be nothing, if what
    /// follows is too long for the bytes that are left to it.
    pub(super) fn begin_queue(&self, entry: Entry, bytes_max: usize, limits: &Limits) -> Entry {
        let bytes_max = tighter(bytes_max, limits.recover_bytes_max);
        let size = PageSize { events_max: limits.recover_events_max, bytes_max, events_min: 0 };
        let delivered = entry.progress.map(|progress| progress.delivered);
        let first = self.log().zip(delivered).and_then(|(log, delivered)| log.queue(delivered, &size));
        let (missed, more) = first.unzip();
        Entry { missed, more: more.unwrap_or(false), ..entry }
    }

    /// What follows a page.
    pub(super) fn queue_page(&self, user: &UserId, membership: u64, after: Seq, limits: &Limits) -> Outcome {
        // Whoever left and came again since then has a queue of its own.
        if self.member(user).is_none_or(|member| member.membership != membership) {
            return Answer::NotAMember.into();
        }
        let (events_max, bytes_max) = (limits.recover_events_max, limits.recover_bytes_max);
        let size = PageSize { events_max, bytes_max, events_min: 1 };
        let (missed, more) = self.log().and_then(|log| log.queue(after, &size)).unzip();
        Answer::QueuePage(Box::new(QueuePage { head: self.head(), missed, more: more.unwrap_or(false) })).into()
    }
}
