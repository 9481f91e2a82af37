//! What the disk does without us: commits of rows that say nothing. The benchmark compares the store with it.

use std::path::Path;
use std::time::{Duration, Instant};

use redb::TableDefinition;

use super::error::storage;
use super::{StoreError, builder};

const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");

/// Commits so many rows of so many bytes, again and again for a time, to a new file in a directory of its own. Returns
/// how long each commit took, fsync included.
///
/// # Errors
///
/// When the file cannot be written.
pub fn commit_floor(
    directory: &Path,
    rows: usize,
    row_bytes: usize,
    time: Duration,
) -> Result<Vec<Duration>, StoreError> {
    let path = directory.join("floor.redb");
    let measure = || -> Result<Vec<Duration>, redb::Error> {
        std::fs::create_dir_all(directory)?;
        let database = builder(false).create(&path)?;
        let (mut took, mut key, row) = (Vec::new(), 0, vec![b'x'; row_bytes]);
        let began = Instant::now();
        while began.elapsed() < time {
            let commit = Instant::now();
            let transaction = database.begin_write()?;
            let mut table = transaction.open_table(ROWS)?;
            for _ in 0..rows {
                table.insert(key, row.as_slice())?;
                key += 1;
            }
            drop(table);
            transaction.commit()?;
            took.push(commit.elapsed());
        }
        Ok(took)
    };
    measure().map_err(|error| StoreError::of(&path, storage(error)))
}
