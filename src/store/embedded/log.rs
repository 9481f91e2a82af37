//! A room's log: events in order, without holes, from the first that is still kept to the head.
//!
//! Events are shared with whoever delivers them, so an event is never changed in place: deleting a message puts
//! redacted copies where its content stood.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::ids::MessageId;
use crate::message::{Event, EventKind, Message, Seq, Timestamp};
use crate::store::{Class, RoomState};
use crate::wire::request::{Page, PageFrom, Since};

/// The log of one room.
pub(super) struct Log {
    epoch: Arc<str>,
    /// `seq` of the first event that is kept, or of the next one when none is.
    first: Seq,
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// Where the messages that are kept stand.
    messages: HashMap<MessageId, Standing>,
    /// `Some` while the events are on the disk alone.
    cold: Option<Cold>,
}

/// What is known of events that are on the disk alone.
struct Cold {
    events: usize,
    oldest_at: Timestamp,
}

/// Where a message and its edits stand.
struct Standing {
    seq: Seq,
    edits: Vec<Seq>,
}

impl Log {
    pub(super) fn new(epoch: Arc<str>) -> Self {
        Self { epoch, first: 1, events: VecDeque::new(), bytes: 0, messages: HashMap::new(), cold: None }
    }

    /// A log as it was kept. Its events stay on the disk until somebody needs them.
    pub(super) fn restored(epoch: Arc<str>, state: &RoomState) -> Self {
        let events = usize::try_from((state.head + 1).saturating_sub(state.first)).unwrap_or(usize::MAX);
        let cold = (events > 0).then_some(Cold { events, oldest_at: state.oldest_at });
        Self { first: state.first, bytes: state.bytes, cold, ..Self::new(epoch) }
    }

    /// Whether its events are on the disk alone. Then nothing but its bounds and its size is known of it.
    pub(super) fn is_cold(&self) -> bool {
        self.cold.is_some()
    }

    /// Takes in the events that were on the disk alone, all of them in order.
    pub(super) fn warm(&mut self, events: Vec<Arc<Event>>) {
        if self.cold.take().is_some() {
            self.bytes = 0;
            events.into_iter().for_each(|event| self.push(event));
        }
    }

    /// Leaves its events to the disk, which has them all.
    pub(super) fn cool(&mut self) {
        if let Some(oldest_at) = self.oldest_at()
            && self.cold.is_none()
        {
            self.cold = Some(Cold { events: self.events.len(), oldest_at });
            (self.events, self.messages) = (VecDeque::new(), HashMap::new());
        }
    }

    /// When the first event that is kept happened.
    pub(super) fn oldest_at(&self) -> Option<Timestamp> {
        match &self.cold {
            Some(cold) => Some(cold.oldest_at),
            None => self.events.front().map(|event| event.at()),
        }
    }

    /// `seq` of the first event that is kept, or of the next one when none is.
    pub(super) fn first(&self) -> Seq {
        self.first
    }

    pub(super) fn epoch(&self) -> &Arc<str> {
        &self.epoch
    }

    /// `seq` of the last event ever appended; 0 before the first.
    pub(super) fn head(&self) -> Seq {
        self.first + self.len() as Seq - 1
    }

    pub(super) fn len(&self) -> usize {
        self.cold.as_ref().map_or(self.events.len(), |cold| cold.events)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, seq: Seq) -> Option<&Arc<Event>> {
        let index = usize::try_from(seq.checked_sub(self.first)?).ok()?;
        self.events.get(index)
    }

    pub(super) fn append(&mut self, kind: EventKind) -> Arc<Event> {
        let event = Arc::new(Event { seq: Some(self.head() + 1), kind });
        self.push(Arc::clone(&event));
        event
    }

    /// Takes in the event that follows the head.
    pub(super) fn push(&mut self, event: Arc<Event>) {
        let seq = self.head() + 1;
        match &event.kind {
            EventKind::MessageNew(message) => {
                self.messages.insert(message.message_id.clone(), Standing { seq, edits: Vec::new() });
            }
            EventKind::MessageEdited(message) => {
                if let Some(standing) = self.messages.get_mut(&message.message_id) {
                    standing.edits.push(seq);
                }
            }
            EventKind::MessageDeleted { .. } | EventKind::MemberJoined { .. } | EventKind::MemberLeft { .. } => {}
        }
        self.bytes += event.cost_bytes();
        self.events.push_back(event);
    }

    /// Takes back the event that was appended last.
    pub(super) fn pop(&mut self, seq: Seq) {
        let Some(event) = self.events.pop_back_if(|event| event.seq == Some(seq)) else {
            // It was so big, or the log so small, that it was dropped again at once.
            self.first = self.first.min(seq);
            return;
        };
        self.bytes -= event.cost_bytes();
        match &event.kind {
            EventKind::MessageNew(message) => {
                self.messages.remove(&message.message_id);
            }
            EventKind::MessageEdited(message) => {
                if let Some(standing) = self.messages.get_mut(&message.message_id) {
                    standing.edits.pop();
                }
            }
            EventKind::MessageDeleted { .. } | EventKind::MemberJoined { .. } | EventKind::MemberLeft { .. } => {}
        }
    }

    /// The events that carry a message's content.
    pub(super) fn carriers(&self, id: &MessageId) -> Vec<Arc<Event>> {
        let standing = self.messages.get(id);
        let places = standing.into_iter().flat_map(|it| std::iter::once(&it.seq).chain(&it.edits));
        places.filter_map(|seq| self.get(*seq).cloned()).collect()
    }

    #[cfg(test)]
    pub(super) fn since_first(&self) -> (usize, &VecDeque<Arc<Event>>) {
        (self.bytes, &self.events)
    }

    /// Puts an event where another version of it stands.
    pub(super) fn put(&mut self, event: Arc<Event>) {
        let index = event.seq.and_then(|seq| seq.checked_sub(self.first)).and_then(|index| usize::try_from(index).ok());
        if let Some(slot) = index.and_then(|index| self.events.get_mut(index)) {
            self.bytes = self.bytes - slot.cost_bytes() + event.cost_bytes();
            *slot = event;
        }
    }

    /// Where a message first stood, if that is still known.
    pub(super) fn place_of(&self, id: &MessageId) -> Option<Seq> {
        self.messages.get(id).map(|standing| standing.seq)
    }

    /// The messages that were sent after one place, up to another, as far back as the log reaches.
    pub(super) fn sent_in(&self, after: Seq, up_to: Seq) -> impl Iterator<Item = (Seq, &Message)> {
        let skipped = usize::try_from((after + 1).saturating_sub(self.first)).unwrap_or(usize::MAX);
        let events = self.events.iter().skip(skipped).filter_map(|event| Some((event.seq?, event)));
        let within = events.take_while(move |(seq, _)| *seq <= up_to);
        within.filter_map(|(seq, event)| Some((seq, super::receipts::sent(&event.kind)?)))
    }

    /// A message in its present state.
    pub(super) fn message(&self, id: &MessageId) -> Option<&Message> {
        let standing = self.messages.get(id)?;
        let latest = standing.edits.last().copied().unwrap_or(standing.seq);
        match &self.get(latest)?.kind {
            EventKind::MessageNew(message) | EventKind::MessageEdited(message) => Some(message),
            _ => None,
        }
    }

    /// Takes a message's content out of every event that carries it.
    pub(super) fn redact(&mut self, id: &MessageId, deleted_at: Timestamp) {
        for event in self.carriers(id) {
            let mut event = Event::clone(&event);
            if let EventKind::MessageNew(message) | EventKind::MessageEdited(message) = &mut event.kind {
                message.content = None;
                message.deleted_at = Some(deleted_at);
            }
            self.put(Arc::new(event));
        }
    }

    pub(super) fn drop_first(&mut self) {
        let Some(event) = self.events.pop_front() else { return };
        self.first += 1;
        self.bytes -= event.cost_bytes();
        // A message whose edits are still kept can still be deleted; then their content goes too.
        if let EventKind::MessageNew(message) | EventKind::MessageEdited(message) = &event.kind
            && let Some(standing) = self.messages.get(&message.message_id)
            && standing.edits.last().unwrap_or(&standing.seq) < &self.first
        {
            self.messages.remove(&message.message_id);
        }
    }

    /// Drops what is over the class's bounds.
    pub(super) fn trim(&mut self, class: &Class, now: Timestamp) {
        let over = |log: &Self| {
            log.events.front().is_some_and(|oldest| {
                log.events.len() > class.events_max
                    || (class.bytes_max != 0 && log.bytes > class.bytes_max)
                    || (class.age_ms_max != 0 && oldest.at().saturating_add(class.age_ms_max) < now)
            })
        };
        while over(self) {
            self.drop_first();
        }
    }

    /// Exactly the events after a place, or `None` when the log cannot tell or there are too many.
    pub(super) fn since(&self, since: &Since, events_max: usize, bytes_max: usize) -> Option<Vec<Arc<Event>>> {
        let reaches_back = since.seq <= self.head() && since.seq + 1 >= self.first;
        if *since.epoch != *self.epoch || !reaches_back {
            return None;
        }
        if let (Some(known), Some(event)) = (&since.message_id, self.get(since.seq))
            && event.message_id().is_none_or(|id| id.as_str() != known)
        {
            return None;
        }
        let skipped = usize::try_from(since.seq + 1 - self.first).ok()?;
        let missed = self.len() - skipped;
        if events_max != 0 && missed > events_max {
            return None;
        }
        let events: Vec<_> = self.events.iter().skip(skipped).cloned().collect();
        let bytes: usize = events.iter().map(|event| event.cost_bytes()).sum();
        (bytes_max == 0 || bytes <= bytes_max).then_some(events)
    }

    /// Messages in their present state, ascending, and whether there are more in the direction that was read. A page
    /// ends early at `bytes_max` but always holds one message, if there is one.
    pub(super) fn page(&self, page: Page, bytes_max: usize) -> (Vec<(Seq, Message)>, bool) {
        let place =
            |seq: Seq| usize::try_from(seq.saturating_sub(self.first)).unwrap_or(usize::MAX).min(self.events.len());
        let mut taken = Taken { messages: Vec::new(), bytes: 0, limit: page.limit, bytes_max, has_more: false };
        match page.from {
            PageFrom::After(seq) => {
                let _full =
                    self.events.range(place(seq.saturating_add(1))..).try_for_each(|event| taken.take(self, event));
            }
            PageFrom::Newest | PageFrom::Before(_) => {
                let end = if let PageFrom::Before(seq) = page.from { place(seq) } else { self.events.len() };
                let _full = self.events.range(..end).rev().try_for_each(|event| taken.take(self, event));
                taken.messages.reverse();
            }
        }
        (taken.messages, taken.has_more)
    }
}

/// A page that is being filled.
struct Taken {
    messages: Vec<(Seq, Message)>,
    bytes: usize,
    limit: usize,
    bytes_max: usize,
    has_more: bool,
}

impl Taken {
    /// Takes the message that an event began, if it began one. Fails when the page is full.
    fn take(&mut self, log: &Log, event: &Arc<Event>) -> Result<(), ()> {
        let (EventKind::MessageNew(new), Some(seq)) = (&event.kind, event.seq) else { return Ok(()) };
        let present = log.message(&new.message_id).unwrap_or(new);
        let bytes = present.content.as_ref().map_or(0, |content| content.get().len());
        let full = self.messages.len() >= self.limit
            || (self.bytes_max != 0 && !self.messages.is_empty() && self.bytes + bytes > self.bytes_max);
        if full {
            self.has_more = true;
            return Err(());
        }
        self.bytes += bytes;
        self.messages.push((seq, present.clone()));
        Ok(())
    }
}
