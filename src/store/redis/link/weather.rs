//! How it stands with Redis, for everybody to read without waiting.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::error::Refusal;

/// How it stands, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sky {
    /// All is well.
    Up,
    /// Its memory is full: what needs more of it is refused.
    Full,
    /// It has fewer replicas than it wants, and refuses writes.
    NoReplicas,
    /// It refuses writes, as a replica or because it cannot write its disk.
    ReadOnly,
    /// It is there, and does nothing yet.
    NotReady,
    /// Nobody is there. In a cluster: one of the servers is not.
    Away,
}

impl Sky {
    /// What a refusal says of how it stands.
    pub(super) fn of(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::ReadOnly(_) => Self::ReadOnly,
            Refusal::NotReady(_) => Self::NotReady,
            Refusal::Full(_) => Self::Full,
            Refusal::NoReplicas(_) => Self::NoReplicas,
            Refusal::Denied(_) | Refusal::Said(..) => Self::Up,
        }
    }
}

/// How it stands, and since when.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// How.
    pub sky: Sky,
    /// Since when.
    pub since: Instant,
}

/// What everybody reads.
pub(super) type Shared = Arc<Mutex<Weather>>;

/// What each of the connections says, and with it how it stands: as bad as with the worst of them.
pub(super) struct Board {
    skies: RefCell<slab::Slab<Sky>>,
    shared: Shared,
    tell: Box<dyn Fn(Weather)>,
    changed: Notify,
}

impl Board {
    pub(super) fn new(shared: Shared, tell: Box<dyn Fn(Weather)>) -> Self {
        Self { skies: RefCell::default(), shared, tell, changed: Notify::new() }
    }

    /// A place for a connection. It begins away.
    pub(super) fn enter(&self) -> usize {
        let place = self.skies.borrow_mut().insert(Sky::Away);
        self.review();
        place
    }

    /// The connection is no longer wanted.
    pub(super) fn leave(&self, place: usize) {
        self.skies.borrow_mut().try_remove(place);
        self.review();
    }

    /// How it stands with one connection.
    pub(super) fn set(&self, place: usize, sky: Sky) {
        let before = self.skies.borrow_mut().get_mut(place).map(|before| std::mem::replace(before, sky));
        if before != Some(sky) {
            self.review();
        }
    }

    /// Waits until all connections have been made.
    pub(super) async fn until_there(&self) {
        while self.shared.lock().sky == Sky::Away {
            self.changed.notified().await;
        }
    }

    fn review(&self) {
        let sky = self.skies.borrow().iter().map(|(_, sky)| *sky).max().unwrap_or(Sky::Away);
        let mut shared = self.shared.lock();
        if shared.sky == sky {
            return;
        }
        *shared = Weather { sky, since: Instant::now() };
        let weather = *shared;
        drop(shared);
        (self.tell)(weather);
        self.changed.notify_one();
    }
}
