//! How long to wait before the next attempt: longer each time, and never as long as the others wait.

use std::time::Duration;

/// The longest first pause, in milliseconds.
const FIRST_MS_MAX: u64 = 20;

/// Attempts that failed in a row, and the longest pause.
pub(super) struct Pause {
    failures: u32,
    ms_max: u64,
}

impl Pause {
    pub(super) fn new(ms_max: u64) -> Self {
        Self { failures: 0, ms_max }
    }

    /// It worked.
    pub(super) fn forget(&mut self) {
        self.failures = 0;
    }

    /// The next pause: anything from nothing to a bound that doubles.
    pub(super) fn next(&mut self) -> Duration {
        let bound = FIRST_MS_MAX.saturating_mul(1 << self.failures.min(20)).min(self.ms_max);
        self.failures = self.failures.saturating_add(1);
        let chance = getrandom::u64().unwrap_or(u64::MAX / 2);
        Duration::from_millis(chance % (bound + 1))
    }

    /// Waits.
    pub(super) async fn wait(&mut self) {
        tokio::time::sleep(self.next()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_differ() {
        let mut pause = Pause::new(1_000);
        let pauses: Vec<u128> = (0..200).map(|_| pause.next().as_millis()).collect();
        assert!(pauses[0] <= 20 && pauses[1] <= 40, "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= 1_000));
        assert!(pauses.iter().any(|pause| *pause > 500) && pauses.iter().skip(10).any(|pause| *pause < 500));
        pause.forget();
        assert!(pause.next().as_millis() <= 20);
    }
}
