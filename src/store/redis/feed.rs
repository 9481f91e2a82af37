//! The order of a room's events on one node: what comes as answers and what comes from the channel, put in order.
//!
//! Events may come late, twice, out of order or not at all. A feed hands out each once, in the order of `seq`, without
//! holes, beginning behind the place where the node came in. What it cannot know (that the last event was lost) it is told by
//! whoever noticed ([`Feed::must_ask`]). It knows nothing of rooms, Redis or what an event is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::message::{Seq, Timestamp};

/// Events that wait for one before them. More are dropped, and asked for when their turn comes.
const AHEAD_MAX: usize = 1024;

/// Events handed out that are remembered while an answer is on its way that may have been made before them.
const RECENT_MAX: usize = 1024;

/// How long a hole is waited for, in milliseconds, before the log is asked. Mostly the missing event is on its way.
const HOLE_MS_MAX: u64 = 100;

/// A place in a log: its epoch and `seq`.
pub(super) type Place = (Arc<str>, Seq);

/// One room's events, being put in order.
pub(super) struct Feed<T> {
    /// The last event that was handed out, or behind which the node came in.
    reached: Option<Place>,
    /// What is not next.
    ahead: BTreeMap<Place, T>,
    /// What was handed out while an answer was on its way.
    recent: VecDeque<(Seq, T)>,
    /// Answers on their way that will say where somebody comes in.
    entering: usize,
    /// Something was lost, so the log has to be asked even if there seems to be no hole.
    lost: bool,
    /// The log is being asked.
    asking: bool,
    /// Since when there is a hole.
    hole_since: Option<Timestamp>,
}

/// How an answer stands to what was handed out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Everything up to it was handed out.
    Reached,
    /// Something before it was not.
    Ahead,
    /// It speaks of another log.
    Elsewhere,
}

impl<T> Default for Feed<T> {
    fn default() -> Self {
        Self {
            reached: None,
            ahead: BTreeMap::new(),
            recent: VecDeque::new(),
            entering: 0,
            lost: false,
            asking: false,
            hole_since: None,
        }
    }
}

impl<T: Clone> Feed<T> {
    /// Where the feed is, once anybody came in.
    pub(super) fn reached(&self) -> Option<&Place> {
        self.reached.as_ref()
    }

    /// The feed goes on behind a place. What it knew of others is void.
    pub(super) fn begin(&mut self, place: Place) {
        self.ahead.retain(|(epoch, seq), _| *epoch == place.0 && *seq > place.1);
        self.recent.clear();
        self.reached = Some(place);
        (self.lost, self.hole_since) = (false, None);
    }

    /// Takes in an event. Returns whether it is new.
    pub(super) fn take(&mut self, place: Place, item: T, now: Timestamp) -> bool {
        if self.is_behind(&place) || self.ahead.contains_key(&place) {
            return false;
        }
        let is_other = self.reached.as_ref().is_some_and(|(epoch, _)| *epoch != place.0);
        self.ahead.insert(place, item);
        while self.ahead.len() > AHEAD_MAX {
            self.ahead.pop_last();
            self.lost = true;
        }
        // Somebody gave the log another name, and it is not for an event to say which of the two is the later.
        self.lost |= is_other;
        self.hole_since.get_or_insert(now);
        true
    }

    fn is_behind(&self, place: &Place) -> bool {
        self.reached.as_ref().is_some_and(|(epoch, seq)| *epoch == place.0 && place.1 <= *seq)
    }

    /// The next event in order, if it is there.
    pub(super) fn next(&mut self) -> Option<(Place, T)> {
        let (epoch, seq) = self.reached.as_ref()?;
        let place = (Arc::clone(epoch), seq + 1);
        let item = self.ahead.remove(&place)?;
        if self.entering > 0 {
            self.recent.push_back((place.1, item.clone()));
            if self.recent.len() > RECENT_MAX {
                self.recent.pop_front();
            }
        }
        self.reached = Some(place.clone());
        self.hole_since = self.hole_since.filter(|_| !self.ahead.is_empty());
        Some((place, item))
    }

    /// How a place stands to what was handed out.
    pub(super) fn standing(&self, place: &Place) -> Standing {
        match &self.reached {
            Some((epoch, _)) if *epoch != place.0 => Standing::Elsewhere,
            Some((_, seq)) if place.1 <= *seq => Standing::Reached,
            _ => Standing::Ahead,
        }
    }

    /// An answer is on its way that will say where somebody comes in.
    pub(super) fn await_entry(&mut self) {
        self.entering += 1;
    }

    /// It came, or never will.
    pub(super) fn entry_over(&mut self) {
        self.entering = self.entering.saturating_sub(1);
        if self.entering == 0 {
            self.recent = VecDeque::new();
        }
    }

    /// What was handed out after a place, or `None` if that is no longer known.
    pub(super) fn since(&self, seq: Seq) -> Option<Vec<T>> {
        let (_, reached) = self.reached.as_ref()?;
        let missing = usize::try_from(reached.checked_sub(seq)?).ok()?;
        let skipped = self.recent.len().checked_sub(missing)?;
        let after: Vec<_> = self.recent.iter().skip(skipped).collect();
        let is_whole = after.first().is_none_or(|(first, _)| *first == seq + 1);
        is_whole.then(|| after.into_iter().map(|(_, item)| item.clone()).collect())
    }

    /// Something may have been lost: the log is to be asked.
    pub(super) fn must_ask(&mut self) {
        self.lost = true;
    }

    /// Somebody knows of an event that is not here.
    pub(super) fn misses(&mut self, now: Timestamp) {
        self.hole_since.get_or_insert(now);
    }

    /// Whether the log is to be asked now; from what place on. Then it counts as being asked.
    pub(super) fn ask(&mut self, now: Timestamp) -> Option<Place> {
        let reached = self.reached.clone()?;
        let waited = self.hole_since.is_some_and(|since| since.saturating_add(HOLE_MS_MAX) <= now);
        if self.asking || !(self.lost || waited) {
            return None;
        }
        (self.asking, self.lost, self.hole_since) = (true, false, None);
        Some(reached)
    }

    /// Whether there is a hole, or something may have been lost.
    pub(super) fn is_restless(&self) -> bool {
        self.lost || self.hole_since.is_some()
    }

    /// The log answered, or did not. Afterwards it may be asked again.
    pub(super) fn asked(&mut self) {
        self.asking = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % bound
        }
    }

    /// A log as anybody would write it down: epochs in their order, each with its events.
    struct Log {
        epochs: Vec<(Arc<str>, Vec<u64>)>,
        made: u64,
    }

    impl Log {
        fn head(&self) -> Place {
            let (epoch, events) = self.epochs.last().unwrap();
            (Arc::clone(epoch), events.len() as Seq)
        }

        fn append(&mut self) -> (Place, u64) {
            self.made += 1;
            self.epochs.last_mut().unwrap().1.push(self.made);
            (self.head(), self.made)
        }

        fn rename(&mut self) {
            let events = self.epochs.last().unwrap().1.clone();
            let name = Arc::from(format!("e{}", self.epochs.len()));
            self.epochs.push((name, events));
        }
    }

    /// Thousands of histories: events are lost, late and doubled on their way, answers overtake them and are overtaken,
    /// the log is renamed. Whoever comes in gets exactly what follows, in order, or is told that the log is another.
    #[test]
    #[expect(clippy::too_many_lines, reason = "one model, its steps and what must be equal, read in one go")]
    fn everyone_gets_what_follows_once_and_in_order() {
        for seed in 1..=4000 {
            let mut random = Random(seed * 0x9e37_79b9_7f4a_7c15);
            let mut log = Log { epochs: vec![(Arc::from("e0"), Vec::new())], made: 0 };
            let mut feed: Feed<u64> = Feed::default();
            let mut channel: Vec<(Place, u64)> = Vec::new();
            // Answers on their way, each with the head when it was made.
            let mut answers: Vec<Place> = Vec::new();
            // Where the last of those who came in stands: the events that it knows of, in this epoch.
            let mut told: Option<(Arc<str>, Vec<u64>)> = None;
            let mut now = 0;
            for step in 0..120 {
                let over = step >= 90;
                match random.below(if over { 3 } else { 8 }) {
                    0 if !channel.is_empty() => {
                        let at = random.below(channel.len() as u64) as usize;
                        let (place, item) = channel[at].clone();
                        feed.take(place, item, now);
                        if random.below(4) > 0 {
                            channel.remove(at);
                        }
                    }
                    1 => {
                        now += 60;
                        if let Some(place) = feed.ask(now) {
                            let (epoch, events) = log.epochs.last().unwrap();
                            if place.0 == *epoch {
                                for (at, item) in events.iter().enumerate().skip(place.1 as usize) {
                                    feed.take((Arc::clone(epoch), at as Seq + 1), *item, now);
                                }
                            } else {
                                feed.begin(log.head());
                                told = told.map(|_| (Arc::clone(epoch), events.clone()));
                            }
                            feed.asked();
                        }
                    }
                    2 if !answers.is_empty() => {
                        let place = answers.remove(0);
                        if feed.reached().is_none() {
                            feed.begin(place.clone());
                        }
                        match feed.standing(&place) {
                            Standing::Reached => {
                                let events = &log.epochs.iter().find(|(epoch, _)| *epoch == place.0).unwrap().1;
                                let mut known = events[..place.1 as usize].to_vec();
                                let Some(since) = feed.since(place.1) else {
                                    // The feed has begun anew since: whoever asked asks again.
                                    answers.push(log.head());
                                    continue;
                                };
                                known.extend(since);
                                let reached = feed.reached().unwrap();
                                assert_eq!(known, events[..reached.1 as usize], "seed {seed}");
                                told.get_or_insert((place.0, known));
                                feed.entry_over();
                            }
                            Standing::Ahead => {
                                feed.misses(now);
                                answers.push(place);
                            }
                            Standing::Elsewhere => {
                                feed.must_ask();
                                // Whoever asked asks again.
                                answers.push(log.head());
                            }
                        }
                    }
                    3 if answers.len() < 3 => {
                        feed.await_entry();
                        answers.push(log.head());
                    }
                    4 if random.below(8) == 0 => log.rename(),
                    5..=7 => {
                        let event = log.append();
                        match random.below(5) {
                            0 => feed.must_ask(),
                            _ => channel.push(event),
                        }
                    }
                    _ => {}
                }
                while let Some((place, item)) = feed.next() {
                    if let Some((epoch, known)) = &mut told {
                        assert_eq!((&place.0, place.1), (&*epoch, known.len() as Seq + 1), "seed {seed}");
                        known.push(item);
                    }
                }
            }
            // When all is quiet and the loss of the last was noticed, nothing is missing.
            feed.must_ask();
            now += 1000;
            if let (Some(place), Some((epoch, known))) = (feed.ask(now), &mut told) {
                let (current, events) = log.epochs.last().unwrap();
                if place.0 == *current {
                    for (at, item) in events.iter().enumerate().skip(place.1 as usize) {
                        feed.take((Arc::clone(current), at as Seq + 1), *item, now);
                    }
                    known.extend(std::iter::from_fn(|| feed.next()).map(|(_, item)| item));
                    assert_eq!((&*epoch, &*known), (current, events), "seed {seed}");
                }
            }
        }
    }

    #[test]
    fn what_waits_is_bounded_and_what_was_dropped_is_asked_for() {
        let mut feed: Feed<u64> = Feed::default();
        let epoch: Arc<str> = Arc::from("e");
        feed.begin((Arc::clone(&epoch), 0));
        for seq in 2..3000 {
            feed.take((Arc::clone(&epoch), seq), seq, 0);
        }
        assert_eq!(feed.ahead.len(), AHEAD_MAX);
        assert_eq!(feed.ask(0), Some((Arc::clone(&epoch), 0)));
        assert_eq!(feed.ask(0), None, "it is being asked");
    }
}
