//! The thread that reads rooms' events, so that no shard waits for the disk.
//!
//! It reads one room after another, beside the thread that writes.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Disk, StoreError};
use crate::ids::ShardId;
use crate::message::Event;
use crate::store::ColdLog;

/// A room whose events are to be read.
#[derive(Debug)]
pub struct Wanted {
    /// For whom.
    pub shard: ShardId,
    /// Which.
    pub log: ColdLog,
}

/// What came of it.
#[derive(Debug)]
pub struct Reading {
    /// What was wanted.
    pub wanted: Wanted,
    /// All events, in order, or why there are none.
    pub result: Result<Vec<Arc<Event>>, StoreError>,
    /// How long it took.
    pub took: Duration,
}

/// The way to the thread. It ends after the last of these.
#[derive(Clone, Debug)]
pub struct Reader(Sender<Wanted>);

impl Reader {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// When there can be no thread.
    pub fn start(disk: &Disk, tell: impl Fn(Reading) + Send + 'static) -> io::Result<(Self, JoinHandle<()>)> {
        // What waits here is bounded by the rooms there are: a room is wanted once at a time.
        let (sender, wanted) = channel();
        let disk = disk.clone();
        let thread = std::thread::Builder::new().name("store-reader".to_owned());
        let thread = thread.spawn(move || run(&disk, &wanted, tell))?;
        Ok((Self(sender), thread))
    }

    /// Asks for a room's events. A [`Reading`] follows.
    pub fn read(&self, wanted: Wanted) {
        let _ended_with_the_server = self.0.send(wanted);
    }
}

fn run(disk: &Disk, wanted: &Receiver<Wanted>, tell: impl Fn(Reading)) {
    while let Ok(wanted) = wanted.recv() {
        let began = Instant::now();
        // What rots while the server runs is met here. Then one room is lost, not all.
        let result = disk.events(&wanted.log);
        tell(Reading { wanted, result, took: began.elapsed() });
    }
}
