//! The mark of a clean stop, in a file of its own beside the store's.
//!
//! A file that was closed in order, and that nobody touched since, is what was written: looking at all of it once more
//! would only make the start slow. The mark is taken away before the file is opened, so that it is never there for a
//! file that is in use or was left in the midst. Knows nothing of what is in the file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The mark, in the data directory.
const MARK: &str = "store.clean";

/// Longest mark that is read, in bytes.
const MARK_BYTES_MAX: u64 = 200;

fn mark_of(path: &Path) -> PathBuf {
    path.with_file_name(MARK)
}

/// What the file looks like from outside: whoever writes to it changes this.
fn looks(path: &Path) -> io::Result<String> {
    let metadata = fs::metadata(path)?;
    Ok(format!(
        "{} bytes, inode {}, {}.{:09}\n",
        metadata.len(),
        metadata.ino(),
        metadata.mtime(),
        metadata.mtime_nsec()
    ))
}

/// Takes the mark away, if there is one. Whether the file is as it was when the mark was made.
pub(super) fn take_mark(path: &Path) -> io::Result<bool> {
    let mark = mark_of(path);
    let is_short = fs::metadata(&mark).is_ok_and(|metadata| metadata.len() <= MARK_BYTES_MAX);
    let is_as_it_was = is_short && fs::read_to_string(&mark).ok() == looks(path).ok();
    match fs::remove_file(&mark) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        removed => removed?,
    }
    sync_directory(path)?;
    Ok(is_as_it_was)
}

/// Makes the mark for a file that was closed in order.
pub(super) fn make_mark(path: &Path) -> io::Result<()> {
    let looks = looks(path)?;
    let mut mark = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(mark_of(path))?;
    mark.write_all(looks.as_bytes())?;
    mark.sync_all()?;
    sync_directory(path)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_that_nobody_touched_since_is_as_it_was() {
        let directory = std::env::temp_dir().join(format!("stentor-clean-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("file");
        fs::write(&path, "what was written").unwrap();
        assert!(!take_mark(&path).unwrap(), "there is none");
        make_mark(&path).unwrap();
        assert!(take_mark(&path).unwrap());
        assert!(!take_mark(&path).unwrap(), "it was taken");
        make_mark(&path).unwrap();
        fs::write(&path, "what is written").unwrap();
        assert!(!take_mark(&path).unwrap(), "another length");
        make_mark(&path).unwrap();
        let copy = directory.join("copy");
        fs::copy(&path, &copy).unwrap();
        fs::rename(&copy, &path).unwrap();
        assert!(!take_mark(&path).unwrap(), "another file");
        make_mark(&path).unwrap();
        fs::write(mark_of(&path), [b'x'; 1000]).unwrap();
        assert!(!take_mark(&path).unwrap(), "no mark of ours");
        fs::remove_dir_all(&directory).unwrap();
    }
}
