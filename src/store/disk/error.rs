//! Why the file cannot be used, said so that an operator knows what to do.

use std::io;
use std::path::{Path, PathBuf};

use redb::{DatabaseError, StorageError};
use thiserror::Error;

/// Why what is kept cannot be read or written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("{}: another server has it open; each needs a data_directory of its own", .0.display())]
    Locked(PathBuf),
    /// The system refuses.
    #[error("{}: {why}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says, and what that means here.
        why: String,
    },
    /// It is not what was written.
    #[error(
        "{}: the file is damaged ({what}); restore it from a copy, or move it away to begin without what was in it",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Another version wrote it.
    #[error("{}: its format is {found}, and this version reads {known}", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What is known.
        known: u64,
    },
}

/// What can go wrong with the database, before it is known in which file.
#[derive(Debug)]
pub(super) enum Failure {
    Database(DatabaseError),
    Damaged(String),
    Format { found: String, known: u64 },
}

impl<E: Into<DatabaseError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Database(error.into())
    }
}

/// The storage's part of an error that may have others, which only a mistake of ours can cause.
pub(super) fn storage(error: impl Into<redb::Error>) -> DatabaseError {
    DatabaseError::Storage(match error.into() {
        redb::Error::Io(error) => StorageError::Io(error),
        redb::Error::Corrupted(what) => StorageError::Corrupted(what),
        redb::Error::PreviousIo => StorageError::PreviousIo,
        other => StorageError::Corrupted(other.to_string()),
    })
}

impl StoreError {
    pub(super) fn of(path: &Path, error: impl Into<Failure>) -> Self {
        let path = path.to_owned();
        match error.into() {
            Failure::Damaged(what) => Self::Damaged { path, what },
            Failure::Format { found, known } => Self::Format { path, found, known },
            Failure::Database(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch) => {
                Self::Locked(path)
            }
            Failure::Database(DatabaseError::UpgradeRequired(version)) => {
                Self::Format { path, found: format!("that of redb's version {version}"), known: super::tables::FORMAT }
            }
            Failure::Database(DatabaseError::Storage(StorageError::Io(error))) => Self::io(path, &error),
            Failure::Database(error) => Self::Damaged { path, what: error.to_string() },
        }
    }

    fn io(path: PathBuf, error: &io::Error) -> Self {
        let advice = match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
                return Self::Damaged { path, what: error.to_string() };
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; there is no space left for it",
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                "; the server must be able to write there, or be told `--memory`"
            }
            _ => "",
        };
        Self::Io { path, why: format!("{error}{advice}") }
    }
}
