//! How long a commit waits for company.
//!
//! On a disk that syncs faster than messages come, each commit would hold one message, and the processor would do little
//! but commit. So commits that follow each other closely are spaced. The first after a quiet spell goes at once, and
//! where waiting brings nobody, because each waits for the answer to the one before, it is soon given up, and tried again
//! only now and then. Knows nothing of what is committed.

use std::time::{Duration, Instant};

/// Commits between two waits in vain, at most. So whoever is alone waits for one in so many.
const SKIPPED_MAX: u32 = 127;

/// Spaces commits.
#[derive(Debug)]
pub(super) struct Gather {
    /// Least time from the beginning of one commit to that of the next; none = no commit waits.
    every: Duration,
    /// When the last one began.
    began: Option<Instant>,
    /// Commits that do not wait, since the last wait in vain, and how many of them are still to come.
    skipped: u32,
    skip: u32,
}

impl Gather {
    pub(super) fn new(every: Duration) -> Self {
        Self { every, began: None, skipped: 0, skip: 0 }
    }

    /// How long the next commit waits for company, if it does.
    pub(super) fn wait(&mut self, now: Instant) -> Option<Duration> {
        let due = self.began? + self.every;
        let wait = due.checked_duration_since(now).filter(|wait| !wait.is_zero())?;
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        Some(wait)
    }

    /// A wait is over, and somebody came meanwhile, or nobody did.
    pub(super) fn waited(&mut self, in_vain: bool) {
        self.skipped = if in_vain { (self.skipped * 2 + 1).min(SKIPPED_MAX) } else { 0 };
        self.skip = self.skipped;
    }

    /// A commit begins.
    pub(super) fn begin(&mut self, now: Instant) {
        self.began = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_micros(1000);

    fn after(start: Instant, micros: u64) -> Instant {
        start + Duration::from_micros(micros)
    }

    #[test]
    fn commits_that_follow_each_other_closely_are_spaced() {
        let (mut gather, start) = (Gather::new(EVERY), Instant::now());
        assert_eq!(gather.wait(start), None, "the first goes at once");
        gather.begin(start);
        assert_eq!(gather.wait(after(start, 400)), Some(Duration::from_micros(600)));
        gather.waited(false);
        gather.begin(after(start, 1000));
        assert_eq!(gather.wait(after(start, 1999)), Some(Duration::from_micros(1)));
        gather.waited(false);
        gather.begin(after(start, 2000));
        assert_eq!(gather.wait(after(start, 3000)), None, "it is quiet");
    }

    #[test]
    fn whoever_is_alone_seldom_waits() {
        let (mut gather, start) = (Gather::new(EVERY), Instant::now());
        let (mut waits, mut now) = (0, start);
        for _ in 0..10_000 {
            if gather.wait(now).is_some() {
                waits += 1;
                gather.waited(true);
            }
            gather.begin(now);
            now += Duration::from_micros(400);
        }
        assert!((10..=100).contains(&waits), "{waits} of 10000 waited");
        // Company is soon noticed, and then each waits.
        let until_noticed = (0..=SKIPPED_MAX).take_while(|_| gather.wait(now).is_none()).count();
        assert!(until_noticed <= SKIPPED_MAX as usize);
        gather.waited(false);
        assert!((0..100).all(|_| gather.wait(now).is_some()));
    }

    #[test]
    fn none_is_none() {
        let (mut gather, start) = (Gather::new(Duration::ZERO), Instant::now());
        gather.begin(start);
        assert_eq!(gather.wait(start), None);
    }
}
