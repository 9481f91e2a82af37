//! What a call on a shard's own stack does when the clock makes it look at its time. Deadlines are of the wall clock,
//! which goes on while a busy machine lets the thread wait; a call that did not run is not at fault. So a call is ended
//! at its deadline if it ran since it last looked. If it did not, or looks for the first time, it gets a little more.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use wasmtime::UpdateDeadline;

/// Times that a call may be found not to have run. Then it is ended all the same: nobody waits for ever.
const PROLONGED_MAX: u32 = 100;

/// The state of a call's deadline.
pub(super) struct Overtime {
    deadline: Instant,
    /// When it last looked: the thread's processor time, and the time.
    looked: Option<(Duration, Instant)>,
    prolonged: u32,
}

impl Overtime {
    /// Of a call that must have ended at this time.
    pub(super) fn new(deadline: Instant) -> Self {
        Self { deadline, looked: None, prolonged: 0 }
    }

    /// The clock makes the call look.
    pub(super) fn look(&mut self) -> UpdateDeadline {
        let (used, now) = (thread_time(), Instant::now());
        let before = self.looked.replace((used, now));
        if now < self.deadline {
            return UpdateDeadline::Continue(1);
        }
        self.prolonged += 1;
        let ran = before.is_some_and(|(used_before, before)| {
            used.saturating_sub(used_before) * 2 >= now.saturating_duration_since(before)
        });
        if ran || self.prolonged > PROLONGED_MAX { UpdateDeadline::Interrupt } else { UpdateDeadline::Continue(1) }
    }
}

/// Processor time that this thread has used.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_runs_is_ended_and_who_does_not_is_not() {
        let now = Instant::now();
        let mut early = Overtime::new(now + Duration::from_secs(60));
        assert!((0..300).all(|_| matches!(early.look(), UpdateDeadline::Continue(1))), "there is time");
        let mut overtime = Overtime::new(now);
        assert!(matches!(overtime.look(), UpdateDeadline::Continue(1)), "a little more");
        // A thread that did not run for a minute.
        overtime.looked = Some((thread_time(), Instant::now() - Duration::from_secs(60)));
        assert!(matches!(overtime.look(), UpdateDeadline::Continue(1)));
        // One that ran all the time.
        overtime.looked = Some((Duration::ZERO, Instant::now()));
        assert!(matches!(overtime.look(), UpdateDeadline::Interrupt));
        // One that never runs.
        let mut ends = Overtime::new(now);
        let ended = (0..=PROLONGED_MAX + 1).any(|_| {
            ends.looked = Some((thread_time(), Instant::now() - Duration::from_secs(60)));
            matches!(ends.look(), UpdateDeadline::Interrupt)
        });
        assert!(ended);
    }
}
