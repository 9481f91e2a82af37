//! Lets input gather while there is much of it, so that a shard wakes once for several messages.
//!
//! A wake costs more than most messages: the scheduler, the way into the kernel and back, and cold caches for all that
//! follows. So while different connections speak so often that a short wait brings company, a shard that has dealt with
//! everything begins its next turn no earlier than one interval after its last. The first message after a quiet spell
//! is dealt with at once; so is a connection that waits for each answer before it goes on, because waiting would bring
//! it no company; mail of other shards ends the wait; and a shard that is busy for a whole interval never waits. It
//! knows only who spoke and when.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::relay::Nap;

/// Company at which waiting begins: changes of speaker, beyond one each interval.
const COMPANY_MIN: u32 = 8;

/// Company that is remembered: after so many quiet intervals nothing of it is left.
const COMPANY_MAX: u32 = 16;

/// One shard's turns. The runtime's hooks want something that threads can share, but only the shard's own ever uses it.
pub struct Gather {
    began: Instant,
    nap: Arc<Nap>,
    /// The interval, in microseconds; 0 = never wait.
    interval_us: AtomicU64,
    /// When the last turn began, in microseconds.
    turn_us: AtomicU64,
    /// The slot of the connection that spoke last.
    speaker: AtomicU32,
    /// Grows with each change of speaker and shrinks with each interval.
    company: AtomicU32,
}

impl Gather {
    pub(super) fn new(interval: Duration, nap: Arc<Nap>) -> Self {
        let gather = Self {
            began: Instant::now(),
            nap,
            interval_us: AtomicU64::new(0),
            turn_us: AtomicU64::new(0),
            speaker: AtomicU32::new(u32::MAX),
            company: AtomicU32::new(0),
        };
        gather.set(interval);
        gather
    }

    /// From here on another interval holds.
    pub(super) fn set(&self, interval: Duration) {
        self.interval_us.store(u64::try_from(interval.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// A connection was heard.
    pub(super) fn heard(&self, slot: u32) {
        if self.speaker.swap(slot, Ordering::Relaxed) != slot {
            let company = self.company.load(Ordering::Relaxed);
            self.company.store((company + 1).min(COMPANY_MAX), Ordering::Relaxed);
        }
    }

    /// A turn begins.
    pub fn begin_turn(&self) {
        self.begin_turn_at(self.now_us());
    }

    /// Rests until the next turn may begin. To be called when everything is dealt with.
    pub fn rest(&self) {
        if let Some(left) = self.left_at(self.now_us()) {
            self.nap.rest(left);
        }
    }

    fn begin_turn_at(&self, now_us: u64) {
        let past_us = now_us.saturating_sub(self.turn_us.swap(now_us, Ordering::Relaxed));
        let quiet = past_us.checked_div(self.interval_us.load(Ordering::Relaxed)).unwrap_or(0);
        let company = self.company.load(Ordering::Relaxed);
        self.company.store(company.saturating_sub(u32::try_from(quiet).unwrap_or(u32::MAX)), Ordering::Relaxed);
    }

    /// What is left of the interval, if waiting brings company.
    fn left_at(&self, now_us: u64) -> Option<Duration> {
        let interval_us = self.interval_us.load(Ordering::Relaxed);
        if interval_us == 0 || self.company.load(Ordering::Relaxed) < COMPANY_MIN {
            return None;
        }
        let left_us = self.turn_us.load(Ordering::Relaxed).saturating_add(interval_us).saturating_sub(now_us);
        (left_us > 0).then(|| Duration::from_micros(left_us))
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gather() -> Gather {
        Gather::new(Duration::from_millis(2), Arc::default())
    }

    /// Turns at a distance, in each of which some connections speak. Returns what would be waited after the last one,
    /// half a millisecond after its beginning.
    fn turns(gather: &Gather, from_us: u64, count: u64, distance_us: u64, speakers: &[u32]) -> Option<u64> {
        let mut last_us = from_us;
        for number in 1..=count {
            last_us = from_us + number * distance_us;
            gather.begin_turn_at(last_us);
            speakers.iter().for_each(|slot| gather.heard(*slot));
        }
        gather.left_at(last_us + 500).map(|left| u64::try_from(left.as_micros()).unwrap())
    }

    #[test]
    fn many_speakers_are_waited_for_and_what_is_left_of_the_interval_is_the_wait() {
        let gather = gather();
        assert_eq!(turns(&gather, 0, 3, 500, &[1, 2]), None, "not yet");
        assert_eq!(turns(&gather, 1500, 10, 500, &[1, 2]), Some(1500));
        assert_eq!(turns(&gather, 6500, 50, 2000, &[1, 2, 3]), Some(1500), "nor does waiting end it");
        assert_eq!(gather.left_at(106_500 + 2000), None, "the interval is over");
    }

    #[test]
    fn one_speaker_is_never_waited_for_however_fast() {
        assert_eq!(turns(&gather(), 0, 1000, 50, &[7]), None);
    }

    #[test]
    fn seldom_speakers_are_not_waited_for() {
        assert_eq!(turns(&gather(), 0, 1000, 4100, &[1, 2]), None);
    }

    #[test]
    fn a_quiet_spell_ends_the_waiting() {
        let gather = gather();
        assert!(turns(&gather, 0, 20, 500, &[1, 2]).is_some());
        assert_eq!(turns(&gather, 10_000, 1, 60_000, &[1, 2]), None);
        assert!(turns(&gather, 70_000, 20, 500, &[1, 2]).is_some());
        assert_eq!(turns(&gather, 80_000, 20, 2000, &[1]), None, "only one speaks on");
    }

    #[test]
    fn without_an_interval_nobody_waits() {
        let gather = gather();
        gather.set(Duration::ZERO);
        assert_eq!(turns(&gather, 0, 100, 100, &[1, 2, 3]), None);
    }
}
