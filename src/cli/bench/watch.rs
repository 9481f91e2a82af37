//! When a plugin was in quarantine during a run, as `/metrics` says it. A thread of its own asks, so that the generator
//! never waits for an answer. Knows nothing of the run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::error::{BenchError, failed};
use super::scrape::{self, Quarantine};
use super::swarm::elapsed_ns;

/// From one question to the next: a quarantine is known to that, and the server hardly notices.
const INTERVAL: Duration = Duration::from_millis(20);

/// Times in which a plugin was in quarantine for certain: from the nanosecond to before the nanosecond.
#[derive(Debug, Default)]
pub(super) struct Quarantines(Vec<(u64, u64)>);

impl Quarantines {
    /// Whether this time was in one of them.
    pub(super) fn has(&self, ns: u64) -> bool {
        let next = self.0.partition_point(|(from_ns, _)| *from_ns <= ns);
        next.checked_sub(1).and_then(|last| self.0.get(last)).is_some_and(|(_, to_ns)| ns < *to_ns)
    }
}

impl<const N: usize> From<[(u64, u64); N]> for Quarantines {
    fn from(times: [(u64, u64); N]) -> Self {
        Self(times.to_vec())
    }
}

/// The thread that asks.
pub(super) struct Watch {
    enough: Arc<AtomicBool>,
    thread: JoinHandle<Result<Quarantines, BenchError>>,
}

impl Watch {
    /// Begins to ask. Times count from `start`.
    pub(super) fn start(admin: Option<SocketAddr>, start: Instant) -> Result<Self, BenchError> {
        let admin =
            admin.ok_or_else(|| BenchError::Usage("without an admin listener no quarantine is seen".to_owned()))?;
        let enough = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&enough);
        let thread = std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || watch(admin, start, &told))
            .map_err(failed("start a thread"))?;
        Ok(Self { enough, thread })
    }

    /// Ends it, and tells what it saw.
    pub(super) fn stop(self) -> Result<Quarantines, BenchError> {
        self.enough.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|_| Err(BenchError::Admin("the watch on it failed".to_owned())))
    }
}

/// Two answers in a row that tell of the same quarantine enclose a time that was in it.
fn watch(admin: SocketAddr, start: Instant, enough: &AtomicBool) -> Result<Quarantines, BenchError> {
    let mut times: Vec<(u64, u64)> = Vec::new();
    let mut last: Option<(u64, Quarantine)> = None;
    let mut goes_on = false;
    while !enough.load(Ordering::Relaxed) {
        let asked_ns = elapsed_ns(start);
        let quarantine = scrape::quarantine(admin)?;
        let before = last.filter(|(_, before)| quarantine.is_on && *before == quarantine);
        match (before, times.last_mut()) {
            (Some(_), Some((_, to_ns))) if goes_on => *to_ns = asked_ns,
            (Some((told_ns, _)), _) => times.push((told_ns, asked_ns)),
            (None, _) => {}
        }
        goes_on = before.is_some();
        last = Some((elapsed_ns(start), quarantine));
        std::thread::sleep(INTERVAL);
    }
    Ok(Quarantines(times))
}

#[cfg(test)]
mod tests {
    use super::Quarantines;

    #[test]
    fn a_time_is_in_a_quarantine_or_not() {
        let quarantines = Quarantines::from([(10, 20), (30, 40)]);
        let within: Vec<u64> = (0..50).filter(|ns| quarantines.has(*ns)).collect();
        assert_eq!(within, (10..20).chain(30..40).collect::<Vec<u64>>());
        assert!(!Quarantines::default().has(0));
    }
}
