//! What happens to a call at its deadline. Deadlines are of the wall clock, which goes on while a busy machine lets the
//! thread wait; a call that did not run is not at fault. So it gets a little more, and is ended if it uses that up.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use wasmtime::UpdateDeadline;

/// Times that a call may be found not to have run. Then it is ended all the same: nobody waits for ever.
const PROLONGED_MAX: u32 = 100;

/// The state of a call's deadline.
#[derive(Default)]
pub(super) struct Overtime {
    /// When the deadline passed: the thread's processor time, and the time.
    began: Option<(Duration, Instant)>,
    prolonged: u32,
}

impl Overtime {
    /// The deadline has passed, once or once more.
    pub(super) fn at_deadline(&mut self) -> UpdateDeadline {
        let (used, now) = (thread_time(), Instant::now());
        let Some((used_before, before)) = self.began.replace((used, now)) else { return UpdateDeadline::Continue(1) };
        let ran = used.saturating_sub(used_before);
        self.prolonged += 1;
        if ran * 2 >= now.saturating_duration_since(before) || self.prolonged > PROLONGED_MAX {
            return UpdateDeadline::Interrupt;
        }
        UpdateDeadline::Continue(1)
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
        let mut overtime = Overtime::default();
        assert!(matches!(overtime.at_deadline(), UpdateDeadline::Continue(1)), "a little more");
        // A thread that did not run for a minute.
        overtime.began = Some((thread_time(), Instant::now() - Duration::from_secs(60)));
        assert!(matches!(overtime.at_deadline(), UpdateDeadline::Continue(1)));
        // One that ran all the time.
        overtime.began = Some((Duration::ZERO, Instant::now()));
        assert!(matches!(overtime.at_deadline(), UpdateDeadline::Interrupt));
        // One that never runs.
        let mut ends = Overtime::default();
        let ended = (0..=PROLONGED_MAX + 1).any(|_| {
            ends.began = Some((thread_time(), Instant::now() - Duration::from_secs(60)));
            matches!(ends.at_deadline(), UpdateDeadline::Interrupt)
        });
        assert!(ended);
    }
}
