//! The clock of all guests: how often running ones are made to look at their time, and when next. Knows nothing of the
//! engine whose epochs it counts, nor of what a guest does when it looks.
//!
//! Guests of the asynchronous kind count its epochs, of a millisecond each, which pass several at once at each tick.
//! A call on a shard's own stack is [watched](Watch): it is seen at a tick at the latest, and from then on the clock
//! looks at the very moment of its deadline. So calls end in time though the clock ticks as seldom as it may.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How often guests are looked after, at most and at least. A call must be seen before its deadline.
const TICK_MIN: Duration = Duration::from_millis(1);
const TICK_MAX: Duration = Duration::from_millis(5);

/// The clock, of which there is one.
#[derive(Clone, Debug)]
pub(super) struct Clock(Arc<Ticks>);

#[derive(Debug)]
struct Ticks {
    began: Instant,
    /// Milliseconds from one tick to the next.
    tick_ms: AtomicU64,
    watched: Mutex<Vec<Weak<AtomicU64>>>,
}

/// Says of one instance until when its present call may last: nanoseconds of the clock, 0 between calls.
#[derive(Debug)]
pub(super) struct Watch {
    deadline_ns: Arc<AtomicU64>,
    began: Instant,
}

/// Where the clock's thread is.
#[derive(Debug, Default)]
pub(super) struct Hand {
    /// Epochs that have passed.
    epochs: u64,
    /// When it last looked, in nanoseconds.
    looked_ns: u64,
}

impl Clock {
    pub(super) fn new() -> Self {
        let tick_ms = AtomicU64::new(milliseconds(TICK_MAX));
        Self(Arc::new(Ticks { began: Instant::now(), tick_ms, watched: Mutex::default() }))
    }

    /// From now on it is as fine as the shortest deadline. Calls of the asynchronous kind that are under way may end
    /// earlier for it.
    pub(super) fn suit(&self, deadlines: impl Iterator<Item = Duration>) {
        let tick = deadlines.min().unwrap_or(TICK_MAX).clamp(TICK_MIN, TICK_MAX);
        self.0.tick_ms.store(milliseconds(tick), Ordering::Relaxed);
    }

    /// The time that a guest of the asynchronous kind has before it gives way to others, in epochs.
    pub(super) fn turn(&self) -> u64 {
        self.0.tick_ms.load(Ordering::Relaxed)
    }

    /// A time in such turns: at least that long, at most one turn longer.
    pub(super) fn turns(&self, time: Duration) -> u64 {
        milliseconds(time).div_ceil(self.turn()).saturating_add(1)
    }

    /// Watches one more instance, for as long as that keeps what is returned.
    pub(super) fn watch(&self) -> Watch {
        let deadline_ns = Arc::default();
        let mut watched = self.0.watched.lock();
        watched.retain(|instance| instance.strong_count() > 0);
        watched.push(Arc::downgrade(&deadline_ns));
        Watch { deadline_ns, began: self.0.began }
    }

    /// Waits until guests are to look at their time. Returns how many epochs pass, which is at least one.
    pub(super) fn wait(&self, hand: &mut Hand) -> u64 {
        let now_ns = self.now_ns();
        std::thread::sleep(Duration::from_nanos(self.next_ns(hand, now_ns).saturating_sub(now_ns)));
        hand.looked_ns = self.now_ns();
        let epochs = (hand.looked_ns / 1_000_000).saturating_sub(hand.epochs).max(1);
        hand.epochs += epochs;
        // After a time in which the whole process stood still, guests have not had that time.
        epochs.min(milliseconds(TICK_MAX))
    }

    /// When to look next: at the next tick, or at a deadline before it.
    fn next_ns(&self, hand: &Hand, now_ns: u64) -> u64 {
        let again_ns = now_ns + nanoseconds(TICK_MIN);
        let deadlines = self.0.watched.lock();
        let deadlines = deadlines.iter().filter_map(Weak::upgrade).map(|deadline| deadline.load(Ordering::Relaxed));
        // Whoever is over its time has been told so, and is looked after until it has ended.
        let due = deadlines.filter(|due_ns| *due_ns > 0).map(|due_ns| if due_ns > now_ns { due_ns } else { again_ns });
        let tick_ns = hand.looked_ns + self.turn() * 1_000_000;
        due.min().unwrap_or(u64::MAX).min(tick_ns)
    }

    fn now_ns(&self) -> u64 {
        nanoseconds(self.0.began.elapsed())
    }
}

impl Watch {
    /// A call began that must have ended at this time.
    pub(super) fn until(&self, deadline: Instant) {
        let deadline_ns = nanoseconds(deadline.saturating_duration_since(self.began)).max(1);
        self.deadline_ns.store(deadline_ns, Ordering::Relaxed);
    }

    /// The call is over.
    pub(super) fn rest(&self) {
        self.deadline_ns.store(0, Ordering::Relaxed);
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn it_looks_at_ticks_and_at_deadlines() {
        let (clock, hand) = (Clock::new(), Hand { epochs: 100, looked_ns: 100 * MS });
        let at = |ms: u64| clock.0.began + Duration::from_millis(ms);
        assert_eq!(clock.next_ns(&hand, 100 * MS), 105 * MS, "nobody is watched");
        let (early, late) = (clock.watch(), clock.watch());
        late.until(at(104));
        assert_eq!(clock.next_ns(&hand, 100 * MS), 104 * MS);
        early.until(at(102));
        assert_eq!(clock.next_ns(&hand, 100 * MS), 102 * MS);
        assert_eq!(clock.next_ns(&hand, 102 * MS), 103 * MS, "who is over its time is looked after");
        early.rest();
        assert_eq!(clock.next_ns(&hand, 102 * MS), 104 * MS);
        drop(late);
        assert_eq!(clock.next_ns(&hand, 102 * MS), 105 * MS);
        clock.suit([Duration::from_millis(50), Duration::from_millis(3)].into_iter());
        assert_eq!((clock.next_ns(&hand, 102 * MS), clock.turns(Duration::from_millis(3))), (103 * MS, 2));
        assert_eq!(clock.watch().began, clock.0.began);
        assert_eq!(clock.0.watched.lock().len(), 2, "who has gone is forgotten");
    }

    #[test]
    fn epochs_pass_with_time_and_not_beyond_it() {
        let (clock, mut hand) = (Clock::new(), Hand::default());
        assert!((1..=milliseconds(TICK_MAX)).contains(&clock.wait(&mut hand)));
        let over = clock.watch();
        over.until(clock.0.began);
        (0..3).for_each(|_| assert!(clock.wait(&mut hand) >= 1));
        assert!(hand.epochs <= clock.now_ns() / MS + 4, "at most one more for each look");
    }
}
