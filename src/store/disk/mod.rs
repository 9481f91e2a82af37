//! What survives the process: one file in the data directory, in which changes are committed in groups.
//!
//! The engine in memory is the authority while the process runs; the file is what it begins with. At the start all but
//! rooms' events is read; those are read when somebody needs them, by one thread ([`Reader`]), beside another that writes
//! ([`Journal`]). Knows nothing of shards' work, sockets or plugins. The only place that names redb.

mod clean;
mod error;
mod floor;
mod gather;
mod journal;
mod reader;
mod revoked;
mod tables;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError};

pub use error::StoreError;
pub use floor::commit_floor;
pub use journal::{Batch, Done, Journal, News};
pub use reader::{Reader, Reading, Wanted};

use super::{Change, ColdLog, Image, Revocation};
use crate::message::{Event, Timestamp};

/// The file, in the data directory.
const FILE: &str = "store.redb";

/// The file while it is being made: what is under the other name is whole.
const NEW_FILE: &str = "store.redb.new";

/// Bytes of the file that are kept in memory. What is used is in the engine anyway, so little is enough.
const CACHE_BYTES: usize = 32 << 20;

/// A file smaller than this is not worth compacting, in bytes.
const COMPACT_BYTES_MIN: u64 = 16 << 20;

/// How often the file may be bigger than what is in it before it is compacted.
const COMPACT_RATIO: u64 = 2;

/// How a file is opened again: whatever an I/O error left of the last one is gone by then.
type Reopen = Arc<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

/// What whoever reads and whoever writes share; `None` after an error, until the file can be opened again. Reading and
/// committing go on side by side and both hold it for reading: it is held alone only to be put in or taken out.
type Shared = Arc<RwLock<Option<Database>>>;

/// An open file. A clone is the same one.
#[derive(Clone)]
pub struct Disk {
    database: Shared,
    reopen: Reopen,
    path: PathBuf,
}

impl Disk {
    /// Opens the file in a data directory, or makes it.
    ///
    /// # Errors
    ///
    /// What keeps the file from being used. It is never begun anew in place of one that is there.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(FILE);
        let fail = |error: DatabaseError| StoreError::of(&path, error);
        if fs::symlink_metadata(&path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            create(directory).map_err(fail)?;
        }
        let is_clean = clean::take_mark(&path).map_err(|error| fail(error.into()))?;
        // Where not all is looked at, what rotted is met by chance, and the database may panic at it.
        let opened = catch_unwind(AssertUnwindSafe(|| builder(!is_clean).open(&path)));
        let Ok(opened) = opened else {
            return Err(StoreError::Damaged { path, what: "a page of it makes no sense".to_owned() });
        };
        let database = opened.map_err(fail)?;
        let again = path.clone();
        let database = Arc::new(RwLock::new(Some(database)));
        let disk = Self { database, reopen: Arc::new(move || builder(true).open(&again)), path };
        disk.checked()
    }

    /// Closes the file in order, and says so to whoever opens it next. What is wrong with it is left for them to find.
    fn seal(&mut self) {
        let Some(database) = self.database.write().take() else { return };
        let sealed = database.close().is_ok().then(|| clean::make_mark(&self.path));
        if let Some(Err(error)) = sealed {
            tracing::warn!(%error, "the store was closed without a mark; the next start takes longer");
        }
    }

    fn checked(self) -> Result<Self, StoreError> {
        self.with(tables::check_format)?;
        Ok(self)
    }

    /// Looks something up in the file. What rots on the disk is met here, and the database may panic at it.
    fn with<T>(&self, look: impl FnOnce(&Database) -> Result<T, error::Failure>) -> Result<T, StoreError> {
        let database = self.database.read();
        let Some(database) = database.as_ref() else {
            return Err(StoreError::Io { path: self.path.clone(), why: "it is closed after an error".to_owned() });
        };
        match catch_unwind(AssertUnwindSafe(|| look(database))) {
            Ok(result) => result.map_err(|error| StoreError::of(&self.path, error)),
            Err(_) => Err(self.damaged("a page of it makes no sense")),
        }
    }

    /// Opens the file again, if it was closed after an error. What fails once fails always: only a file that is opened
    /// anew can be read or written again.
    fn reopened(&self) -> Result<(), StoreError> {
        if self.database.read().is_some() {
            return Ok(());
        }
        let mut database = self.database.write();
        // Whoever else waited for this may have done it.
        if database.is_none() {
            *database = Some((self.reopen)().map_err(|error| StoreError::of(&self.path, error))?);
        }
        Ok(())
    }

    /// A room's events.
    ///
    /// # Errors
    ///
    /// When they cannot be read, or are not all there.
    pub fn events(&self, log: &ColdLog) -> Result<Vec<Arc<Event>>, StoreError> {
        self.reopened()?;
        self.with(|database| tables::read_events(database, log)).inspect_err(|error| {
            if matches!(error, StoreError::Io { .. }) {
                *self.database.write() = None;
            }
        })
    }

    /// What is kept but for rooms' events, for each of so many shards.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is not what was written.
    pub fn images(&self, shards: u16) -> Result<Vec<Image>, StoreError> {
        self.with(|database| tables::read(database, shards))
    }

    /// The revocations that still hold.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub fn revocations(&self, now: Timestamp) -> Result<Vec<Revocation>, StoreError> {
        self.with(|database| revoked::read(database, now))
    }

    /// Writes a revocation. It is there for good when this returns.
    fn revoke(&mut self, revocation: &Revocation) -> Result<(), StoreError> {
        self.reopened()?;
        self.with(|database| revoked::write(database, revocation)).inspect_err(|_| *self.database.write() = None)
    }

    /// Bytes that the file takes.
    pub fn file_bytes(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    fn damaged(&self, what: &str) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), what: what.to_owned() }
    }

    /// Writes changes, all or none of them. They are there for good when this returns.
    fn store<'a>(&mut self, changes: impl Iterator<Item = &'a Change>) -> Result<(), StoreError> {
        self.reopened()?;
        self.with(|database| tables::write(database, changes)).inspect_err(|_| *self.database.write() = None)
    }

    /// Gives back to the system what the file no longer needs, if that is much.
    fn compact(&mut self) -> Result<bool, StoreError> {
        let mut shared = self.database.write();
        let Some(database) = shared.as_mut() else { return Ok(false) };
        let used = tables::used_bytes(database).map_err(|error| StoreError::of(&self.path, error))?;
        let size = fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        if size < COMPACT_BYTES_MIN || size < used.saturating_mul(COMPACT_RATIO) {
            return Ok(false);
        }
        let compacted = database.compact();
        compacted.map_err(|error| StoreError::of(&self.path, error::storage(error))).inspect_err(|_| *shared = None)
    }
}

fn builder(check: bool) -> Builder {
    let mut builder = Builder::new();
    // Where it was not closed in order, all that is read later is looked at once: what is not what was written is then
    // an error at the start.
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(check);
    builder
}

/// Makes a file beside the place where it belongs, and moves it there once it is whole and on the disk.
fn create(directory: &Path) -> Result<(), DatabaseError> {
    let new = directory.join(NEW_FILE);
    // What people say to each other is nobody else's on this machine.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    match fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let file = fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&new)?;
    let database = builder(false).create_with_backend(FileBackend::new(file)?)?;
    tables::create(&database).map_err(DatabaseError::Storage)?;
    database.close()?;
    fs::rename(&new, directory.join(FILE))?;
    File::open(directory)?.sync_all()?;
    Ok(())
}
