//! How a shard's thread rests for a moment, and how mail ends the rest.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

/// One shard's rest.
#[derive(Debug, Default)]
pub struct Nap {
    resting: AtomicBool,
    sleeper: OnceLock<Thread>,
}

impl Nap {
    /// Lets the calling thread, always the same, rest so long at most.
    pub fn rest(&self, time_max: Duration) {
        self.sleeper.get_or_init(thread::current);
        self.resting.store(true, Ordering::SeqCst);
        thread::park_timeout(time_max);
        self.resting.store(false, Ordering::SeqCst);
    }

    /// Ends the rest, if there is one. Mail that comes while a shard is about to rest may find it too early; then it is
    /// taken when the rest is over.
    pub(super) fn end(&self) {
        if self.resting.load(Ordering::SeqCst)
            && let Some(sleeper) = self.sleeper.get()
        {
            sleeper.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_rest_ends_when_somebody_ends_it() {
        let nap = Arc::new(Nap::default());
        nap.end();
        let (resting, over) = (Arc::clone(&nap), mpsc::channel());
        let (told, over) = over;
        let sleeper = thread::spawn(move || {
            // So long that the test would never end of itself.
            resting.rest(Duration::from_secs(3600));
            told.send(()).unwrap();
        });
        while over.try_recv().is_err() {
            nap.end();
            thread::yield_now();
        }
        sleeper.join().unwrap();
        assert!(!nap.resting.load(Ordering::SeqCst));
    }
}
