//! What survives the process: one file in the data directory, in which changes are committed in groups.
//!
//! The engine in memory is the authority while the process runs; the file is what it begins with. All of it is read at
//! the start, and after that only written, by one thread ([`Journal`]). Knows nothing of shards' work, sockets or
//! plugins. The only place that names redb.

mod error;
mod floor;
mod journal;
mod tables;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError};

pub use error::StoreError;
pub use floor::commit_floor;
pub use journal::{Batch, Done, Journal, News};

use super::{Change, Image};

/// The file, in the data directory.
const FILE: &str = "store.redb";

/// The file while it is being made: what is under the other name is whole.
const NEW_FILE: &str = "store.redb.new";

/// Bytes of the file that are kept in memory. All of it is in the engine anyway, so little is enough for writing.
const CACHE_BYTES: usize = 32 << 20;

/// A file smaller than this is not worth compacting, in bytes.
const COMPACT_BYTES_MIN: u64 = 16 << 20;

/// How often the file may be bigger than what is in it before it is compacted.
const COMPACT_RATIO: u64 = 2;

/// How a file is opened again: whatever an I/O error left of the last one is gone by then.
type Reopen = Box<dyn Fn() -> Result<Database, DatabaseError> + Send>;

/// An open file.
pub struct Disk {
    /// `None` after an error, until the file can be opened again.
    database: Option<Database>,
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
        let database = builder().open(&path).map_err(fail)?;
        let again = path.clone();
        let disk = Self { database: Some(database), reopen: Box::new(move || builder().open(&again)), path };
        disk.checked()
    }

    fn checked(self) -> Result<Self, StoreError> {
        let database = self.database.as_ref().ok_or_else(|| self.damaged("it is closed"))?;
        tables::check_format(database).map_err(|error| StoreError::of(&self.path, error))?;
        Ok(self)
    }

    /// What is kept, for each of so many shards.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is not what was written.
    pub fn images(&self, shards: u16) -> Result<Vec<Image>, StoreError> {
        let database = self.database.as_ref().ok_or_else(|| self.damaged("it is closed"))?;
        tables::read(database, shards).map_err(|error| StoreError::of(&self.path, error))
    }

    /// Bytes that the file takes.
    pub fn file_bytes(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    /// Writes changes, all or none of them. They are there for good when this returns.
    fn store<'a>(&mut self, changes: impl Iterator<Item = &'a Change>) -> Result<(), StoreError> {
        let database = match self.database.take() {
            Some(database) => database,
            // What fails once fails always: only a file that is opened anew can be written again.
            None => (self.reopen)().map_err(|error| StoreError::of(&self.path, error))?,
        };
        tables::write(&database, changes).map_err(|error| StoreError::of(&self.path, error))?;
        self.database = Some(database);
        Ok(())
    }

    /// Gives back to the system what the file no longer needs, if that is much.
    fn compact(&mut self) -> Result<bool, StoreError> {
        let Some(database) = &mut self.database else { return Ok(false) };
        let used = tables::used_bytes(database).map_err(|error| StoreError::of(&self.path, error))?;
        let size = fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        if size < COMPACT_BYTES_MIN || size < used.saturating_mul(COMPACT_RATIO) {
            return Ok(false);
        }
        let compacted = database.compact();
        compacted
            .map_err(|error| StoreError::of(&self.path, error::storage(error)))
            .inspect_err(|_| self.database = None)
    }

    fn damaged(&self, what: &str) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), what: what.to_owned() }
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    // Whoever reads everything may as well see whether it is what was written; what is not is then an error, no panic.
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
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
    let database = builder().create_with_backend(FileBackend::new(file)?)?;
    tables::create(&database).map_err(DatabaseError::Storage)?;
    database.close()?;
    fs::rename(&new, directory.join(FILE))?;
    File::open(directory)?.sync_all()?;
    Ok(())
}
