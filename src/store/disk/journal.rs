//! The thread that writes: whatever waits goes into one commit, and those who wait are told when it is on the disk.
//! Under a steady stream a commit waits for company, within a bound ([`Gather`]).
//!
//! A commit that fails takes everything with it that was built on it. So a failed shard's batches are refused until the
//! shard has taken back what they say, and says so by beginning a new era.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::gather::Gather;
use super::{Disk, StoreError};
use crate::ids::ShardId;
use crate::store::{Change, Revocation};

/// Changes in one commit, so that nobody waits for a commit without end.
const COMMIT_CHANGES_MAX: usize = 20_000;

/// After so long without work the file is looked at, whether it is much bigger than what is in it.
const IDLE: Duration = Duration::from_secs(5);

/// After a failure nothing is tried for so long: opening a file may cost more than refusing to.
const RETRY: Duration = Duration::from_millis(200);

/// What one operation changed.
#[derive(Debug)]
pub struct Batch {
    /// Whose operation.
    pub shard: ShardId,
    /// Counts the times that the shard took everything back.
    pub era: u64,
    /// Counts the shard's batches.
    pub number: u64,
    /// What changed.
    pub changes: Arc<Vec<Change>>,
}

/// What became of batches.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// Whose.
    pub shard: ShardId,
    /// Of which era.
    pub era: u64,
    /// All up to this one.
    pub through: u64,
    /// Whether they are on the disk. If not, no later one of the era ever will be.
    pub stored: bool,
}

/// What the thread tells.
#[derive(Debug)]
pub enum News {
    /// Batches are done, or refused.
    Done(Done),
    /// A commit is over.
    Commit {
        /// How long it took.
        took: Duration,
        /// Changes in it.
        changes: usize,
        /// Why it failed, if it did.
        error: Option<StoreError>,
        /// Bytes of the file.
        file_bytes: u64,
    },
    /// The file was made smaller.
    Compacted {
        /// Bytes of the file.
        file_bytes: u64,
    },
}

/// The way to the thread. It ends, with everything written, after the last of these.
#[derive(Clone, Debug)]
pub struct Journal(Sender<Entry>);

/// What is to be written.
#[derive(Debug)]
enum Entry {
    Batch(Batch),
    Revocation(Revocation, oneshot::Sender<bool>),
}

/// What goes into one commit.
#[derive(Default)]
struct Group {
    batches: Vec<Batch>,
    changes: usize,
}

impl Group {
    /// Takes an entry and whatever waits behind it, as far as it belongs into one commit. Returns what ends the group: a
    /// revocation, which has a commit of its own.
    fn take(&mut self, first: Entry, entries: &Receiver<Entry>) -> Option<(Revocation, oneshot::Sender<bool>)> {
        let mut next = Some(first);
        while let Some(entry) = next {
            match entry {
                Entry::Batch(batch) => {
                    self.changes += batch.changes.len();
                    self.batches.push(batch);
                }
                Entry::Revocation(revocation, stored) => return Some((revocation, stored)),
            }
            next = if self.is_full() { None } else { entries.try_recv().ok() };
        }
        None
    }

    fn is_full(&self) -> bool {
        self.changes >= COMMIT_CHANGES_MAX
    }
}

impl Journal {
    /// Starts the thread. Commits that follow each other closely begin no sooner than `gather` after one another.
    ///
    /// # Errors
    ///
    /// When there can be no thread.
    pub fn start(
        disk: Disk,
        gather: Duration,
        tell: impl Fn(News) + Send + 'static,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        // What waits here is bounded by those who wait for it: a connection has one request under way.
        let (sender, batches) = channel();
        let gather = Gather::new(gather);
        let writer = Writer { disk, tell, gather, refused: HashMap::new(), retry_at: None, dirty: false };
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || writer.run(&batches))?;
        Ok((Self(sender), thread))
    }

    /// Hands a batch over. [`News::Done`] follows.
    pub fn write(&self, batch: Batch) {
        let _ended_with_the_server = self.0.send(Entry::Batch(batch));
    }

    /// Hands a revocation over. Whether it was stored follows.
    pub fn revoke(&self, revocation: Revocation, stored: oneshot::Sender<bool>) {
        let _ended_with_the_server = self.0.send(Entry::Revocation(revocation, stored));
    }
}

#[cfg(test)]
impl Journal {
    /// A way to a test, which takes the batches one by one and says itself what became of them.
    pub(crate) fn by_hand() -> (Self, impl FnMut() -> Option<Batch> + 'static) {
        let (sender, entries) = channel();
        let next = move || match entries.try_recv() {
            Ok(Entry::Batch(batch)) => Some(batch),
            _ => None,
        };
        (Self(sender), next)
    }
}

struct Writer<F> {
    disk: Disk,
    tell: F,
    gather: Gather,
    /// The eras of which nothing more is written.
    refused: HashMap<ShardId, u64>,
    retry_at: Option<Instant>,
    /// Whether anything was written since the file was last looked at.
    dirty: bool,
}

impl<F: Fn(News)> Writer<F> {
    fn run(mut self, entries: &Receiver<Entry>) {
        self.write(entries);
        self.disk.seal();
    }

    fn write(&mut self, entries: &Receiver<Entry>) {
        loop {
            let first = if self.dirty {
                match entries.recv_timeout(IDLE) {
                    Ok(entry) => entry,
                    Err(RecvTimeoutError::Timeout) => {
                        self.compact();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            } else {
                let Ok(entry) = entries.recv() else { return };
                entry
            };
            let mut group = Group::default();
            let mut next = group.take(first, entries);
            let may_grow = next.is_none() && !group.is_full();
            if let Some(wait) = may_grow.then(|| self.gather.wait(Instant::now())).flatten() {
                // Asleep, so that none of those who come has to wake this thread.
                std::thread::sleep(wait);
                let alone = group.batches.len();
                next = entries.try_recv().ok().and_then(|entry| group.take(entry, entries));
                self.gather.waited(group.batches.len() == alone);
            }
            if !group.batches.is_empty() {
                self.commit(group.batches);
            }
            if let Some((revocation, stored)) = next {
                self.revoke(&revocation, stored);
            }
        }
    }

    fn revoke(&mut self, revocation: &Revocation, stored: oneshot::Sender<bool>) {
        let result = self.disk.revoke(revocation);
        if let Err(error) = &result {
            tracing::error!(%error, "a revocation cannot be stored");
        }
        let _nobody_waits = stored.send(result.is_ok());
    }

    fn commit(&mut self, mut group: Vec<Batch>) {
        let refused: Vec<Batch> =
            group.extract_if(.., |batch| self.refused.get(&batch.shard) == Some(&batch.era)).collect();
        self.done(&refused, false);
        if group.is_empty() {
            return;
        }
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return self.refuse(&group);
        }
        let began = Instant::now();
        self.gather.begin(began);
        let changes = group.iter().map(|batch| batch.changes.len()).sum();
        let result = self.disk.store(group.iter().flat_map(|batch| batch.changes.iter()));
        let stored = result.is_ok();
        self.retry_at = (!stored).then(|| Instant::now() + RETRY);
        self.dirty = true;
        if stored {
            self.done(&group, true);
        } else {
            self.refuse(&group);
        }
        let (took, file_bytes) = (began.elapsed(), self.disk.file_bytes());
        (self.tell)(News::Commit { took, changes, error: result.err(), file_bytes });
    }

    /// Refuses these and whatever is built on them.
    fn refuse(&mut self, group: &[Batch]) {
        for batch in group {
            self.refused.insert(batch.shard, batch.era);
        }
        self.done(group, false);
    }

    /// Tells each shard once.
    fn done(&self, group: &[Batch], stored: bool) {
        for (index, batch) in group.iter().enumerate() {
            let is_last =
                group.iter().skip(index + 1).all(|later| later.shard != batch.shard || later.era != batch.era);
            if is_last {
                let Batch { shard, era, number, .. } = *batch;
                (self.tell)(News::Done(Done { shard, era, through: number, stored }));
            }
        }
    }

    fn compact(&mut self) {
        self.dirty = false;
        match self.disk.compact() {
            Ok(true) => (self.tell)(News::Compacted { file_bytes: self.disk.file_bytes() }),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "the store's file cannot be compacted"),
        }
    }
}
