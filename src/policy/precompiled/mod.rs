//! Components that are compiled already, kept on disk so that a start does not compile what an earlier one did.
//!
//! Such a file is machine code, and wasmtime looks at it only lightly: whoever writes one that is loaded runs what they
//! like inside this server. Loading it is the one piece of `unsafe` in this project. This is why it may be done:
//!
//! - **Nothing is loaded but what this module wrote.** No operator, registry or setting can hand in compiled code.
//! - **The directory is ours alone**: no symbolic link, owned by the user that the server runs as, closed to everybody
//!   else; and so is the key in it. Both are looked at through the descriptors that are used from then on, so that
//!   nothing can be put in their place in between. A directory that is otherwise is not used at all.
//! - **A seal ends every file**, an HMAC-SHA256 over its name and its code. The key is 32 random bytes that never leave
//!   the directory. The name says what was compiled, the component's digest, and what compiled it, a digest of the
//!   engine's settings, the processor's features and wasmtime's version. So a file under another file's name is as bad
//!   as a changed one, and code of an earlier patch release is not found, although wasmtime itself would take it, with
//!   whatever error in compiling the newer one corrects.
//! - **What was verified is what is loaded.** The file is read into memory once, the seal is checked there, and wasmtime
//!   makes its own copy of those bytes. Mapping the file (`deserialize_file`) would spare the copy, but then whatever is
//!   written to the file after the check would be run for as long as the component lives.
//!
//! The seal does not stop whoever runs as the same user: they can read the key, and need no cache to do harm. It stops
//! what got here by another way, such as files of another machine's cache in a backup, or a disk that forgets.
//!
//! The cache is only ever a shortcut. A directory that cannot be used, a file that is not believed and a full disk cost
//! a line in the log and the time to compile. The directory may be deleted at any time. It must not know what a plugin
//! is: it gets bytes and answers with a component.

use std::ffi::CStr;
use std::fs::{DirBuilder, File};
use std::hash::{Hash as _, Hasher};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::SystemTime;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, linkat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use thiserror::Error;
use wasmtime::Engine;
use wasmtime::component::Component;

/// Where the cache is, in the directory for what the server keeps on disk.
const DIRECTORY: &str = "plugin-cache";
const KEY_FILE: &str = "key";
/// How names of compiled components end, and of files that are not finished.
const ENDING: &str = ".cwasm";
const ENDING_UNFINISHED: &str = ".unfinished";

const DIGEST_BYTES: usize = 32;
const KEY_BYTES: usize = 32;
const SEAL_BYTES: usize = 32;

/// How many directory entries are looked at when room is made. Far more than there can be, unless somebody adds some.
const LISTED_ENTRIES_MAX: usize = 4096;

/// What the directory may hold. A component written in Rust takes about a megabyte, one that brings an interpreter
/// thirty times as much.
#[derive(Clone, Copy)]
struct Limits {
    entries_max: usize,
    bytes_max: u64,
}

const LIMITS: Limits = Limits { entries_max: 64, bytes_max: 512 << 20 };

/// The SHA-256 of a component: what it is known by here, and in a configuration that names the one it means.
pub(super) fn sha256(bytes: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut sum = [0; DIGEST_BYTES];
    sum.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    sum
}

/// Why a file, or the whole directory, is not used.
#[derive(Debug, Error)]
enum Doubt {
    #[error("{0}")]
    System(#[from] io::Error),
    #[error("it belongs to another user ({0})")]
    Foreign(u32),
    #[error("others may use it (mode {0:04o})")]
    Exposed(u32),
    #[error("it is not a regular file")]
    Irregular,
    #[error("it does not hold a key of {KEY_BYTES} bytes")]
    Key,
    #[error("it is larger than {0} bytes")]
    Large(u64),
    #[error("its seal is not ours")]
    Seal,
    #[error("{0:#}")]
    Code(wasmtime::Error),
}

impl From<Errno> for Doubt {
    fn from(errno: Errno) -> Self {
        Self::System(errno.into())
    }
}

/// A cache of compiled components, or the lack of one.
pub(super) struct Cache {
    directory: Option<Directory>,
}

impl Cache {
    /// The cache in a server's data directory; both are made if they are not there. A cache that cannot be used says so
    /// in the log and keeps nothing.
    pub(super) fn open(data_directory: &Path) -> Self {
        let path = data_directory.join(DIRECTORY);
        let directory = Directory::open(&path, LIMITS).map_err(|doubt| {
            tracing::warn!(directory = %path.display(), reason = %doubt, "plugins are compiled at every start");
        });
        Self { directory: directory.ok() }
    }

    /// A cache that keeps nothing.
    pub(super) fn none() -> Self {
        Self { directory: None }
    }

    /// The component of these bytes, whose SHA-256 the caller knows: compiled earlier, or now.
    ///
    /// # Errors
    ///
    /// When it cannot be compiled.
    pub(super) fn component(
        &self,
        engine: &Engine,
        wasm: &[u8],
        digest: &[u8; DIGEST_BYTES],
    ) -> Result<Component, wasmtime::Error> {
        debug_assert_eq!(*digest, sha256(wasm), "the digest is that of the bytes");
        let Some(directory) = &self.directory else { return Component::new(engine, wasm) };
        let name = name(engine, digest);
        match directory.component(engine, &name) {
            Ok(Some(component)) => return Ok(component),
            Ok(None) => tracing::debug!(file = name, "a component is compiled for the first time"),
            Err(doubt) => {
                tracing::warn!(file = name, reason = %doubt, "a compiled component is not used, but replaced")
            }
        }
        let component = Component::new(engine, wasm)?;
        let kept = component.serialize().map_err(Doubt::Code).and_then(|code| directory.write(&name, &code));
        if let Err(doubt) = kept {
            tracing::warn!(file = name, reason = %doubt, "a compiled component cannot be kept");
        }
        Ok(component)
    }
}

/// What a component is kept under: what was compiled, and what compiled it.
fn name(engine: &Engine, digest: &[u8; DIGEST_BYTES]) -> String {
    let mut compiler = Fingerprint(digest::Context::new(&digest::SHA256));
    engine.precompile_compatibility_hash().hash(&mut compiler);
    format!("{}-{}{ENDING}", hex(digest), hex(compiler.0.finish().as_ref()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 of what is hashed. The standard hashers are not the same in every version, and too short to name code by.
struct Fingerprint(digest::Context);

impl Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        self.0.clone().finish().as_ref().first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
    }
}

/// Code that carried our seal.
struct Sealed(Vec<u8>);

#[expect(unsafe_code, reason = "there is no other way to load compiled code; the module says why it can be trusted")]
fn load(engine: &Engine, code: &Sealed) -> Result<Component, wasmtime::Error> {
    // SAFETY: `deserialize` must be given what `Component::serialize` returned, unmodified. `Sealed` is made in
    // `Directory::read` alone, of bytes with a seal that only `Directory::write` puts on anything, and `Cache::component`
    // hands that nothing but what `serialize` returned. Nobody else has the key, since `Directory::open` takes only one
    // that is closed to other users. The bytes are this process's own memory, which wasmtime copies: no file can change
    // them. An engine of other settings is an error and not unsound.
    unsafe { Component::deserialize(engine, &code.0) }
}

/// A directory that is ours alone, and the key that is kept in it.
struct Directory {
    descriptor: OwnedFd,
    key: hmac::Key,
    limits: Limits,
}

impl Directory {
    fn open(path: &Path, limits: Limits) -> Result<Self, Doubt> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let descriptor = rustix::fs::open(path, flags, Mode::empty())?;
        ours_alone(&fstat(&descriptor)?)?;
        let key = match read_key(&descriptor)? {
            Some(key) => key,
            None => {
                make_key(&descriptor)?;
                read_key(&descriptor)?.ok_or(Doubt::Key)?
            }
        };
        Ok(Self { descriptor, key, limits })
    }

    /// The component that is kept under a name, if there is one.
    fn component(&self, engine: &Engine, name: &str) -> Result<Option<Component>, Doubt> {
        let Some(code) = self.read(name)? else { return Ok(None) };
        load(engine, &code).map(Some).map_err(Doubt::Code)
    }

    fn read(&self, name: &str) -> Result<Option<Sealed>, Doubt> {
        let Some((file, stat)) = open_file(&self.descriptor, name)? else { return Ok(None) };
        let mut bytes = Vec::with_capacity(usize::try_from(self.bounded(size(&stat))?).unwrap_or(0));
        (&file).take(self.limits.bytes_max).read_to_end(&mut bytes)?;
        let (code, seal) = bytes.split_last_chunk::<SEAL_BYTES>().ok_or(Doubt::Seal)?;
        verify_slices_are_equal(self.seal(name, code).as_ref(), seal).map_err(|_| Doubt::Seal)?;
        bytes.truncate(code.len());
        // When it was last used decides what goes first. Where that cannot be noted, it goes a little early.
        file.set_modified(SystemTime::now()).ok();
        Ok(Some(Sealed(bytes)))
    }

    /// Puts code under a name, in one step: whoever reads at the same time gets what was there before, or all of it.
    fn write(&self, name: &str, code: &[u8]) -> Result<(), Doubt> {
        self.bounded(u64::try_from(code.len() + SEAL_BYTES).unwrap_or(u64::MAX))?;
        let place = |unfinished: &str| renameat(&self.descriptor, unfinished, &self.descriptor, name);
        place_file(&self.descriptor, &[code, self.seal(name, code).as_ref()], place)?;
        self.make_room()
    }

    fn seal(&self, name: &str, code: &[u8]) -> hmac::Tag {
        let mut seal = hmac::Context::with_key(&self.key);
        // All names are of the same length, so that no two pairs of name and code are the same bytes.
        seal.update(name.as_bytes());
        seal.update(code);
        seal.sign()
    }

    fn bounded(&self, bytes: u64) -> Result<u64, Doubt> {
        if bytes <= self.limits.bytes_max { Ok(bytes) } else { Err(Doubt::Large(self.limits.bytes_max)) }
    }

    /// Deletes what was not used for longest, as far as there is too much. What a process left unfinished when it was
    /// ended goes the same way.
    fn make_room(&self) -> Result<(), Doubt> {
        let mut files = Vec::new();
        for entry in Dir::read_from(&self.descriptor)?.take(LISTED_ENTRIES_MAX) {
            let entry = entry?;
            // A file that is gone by now was deleted by another process that makes room.
            if is_file_of_ours(entry.file_name())
                && let Ok(stat) = statat(&self.descriptor, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
            {
                files.push((stat.st_mtime, stat.st_mtime_nsec, size(&stat), entry.file_name().to_owned()));
            }
        }
        files.sort_unstable_by(|one, other| other.cmp(one));
        let mut bytes: u64 = 0;
        for (index, (_, _, size, name)) in files.iter().enumerate() {
            bytes = bytes.saturating_add(*size);
            if index >= self.limits.entries_max || bytes > self.limits.bytes_max {
                unlinkat(&self.descriptor, name, AtFlags::empty()).or_else(unless(Errno::NOENT))?;
            }
        }
        Ok(())
    }
}

fn is_file_of_ours(name: &CStr) -> bool {
    [ENDING, ENDING_UNFINISHED].iter().any(|ending| name.to_bytes().ends_with(ending.as_bytes()))
}

fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

fn unless(expected: Errno) -> impl FnOnce(Errno) -> Result<(), Errno> {
    move |errno| if errno == expected { Ok(()) } else { Err(errno) }
}

/// Nobody else owns it, and nobody else may do anything with it.
fn ours_alone(stat: &Stat) -> Result<(), Doubt> {
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(Doubt::Foreign(stat.st_uid));
    }
    let mode = stat.st_mode & 0o7777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(Doubt::Exposed(mode)) }
}

/// Opens a regular file of the directory, if it is there: not what a link leads to, and without waiting for a pipe.
fn open_file(directory: &OwnedFd, name: &str) -> Result<Option<(File, Stat)>, Doubt> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(directory, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    let stat = fstat(&file)?;
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        return Err(Doubt::Irregular);
    }
    Ok(Some((File::from(file), stat)))
}

/// Writes a file that nobody sees, and then lets `place` give it its name.
fn place_file(
    directory: &OwnedFd,
    parts: &[&[u8]],
    place: impl FnOnce(&str) -> Result<(), Errno>,
) -> Result<(), Doubt> {
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random).map_err(io::Error::from)?;
    let unfinished = format!("{}{ENDING_UNFINISHED}", hex(&random));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut file = File::from(openat(directory, &unfinished, flags, Mode::RUSR | Mode::WUSR)?);
    let placed = parts
        .iter()
        .try_for_each(|part| file.write_all(part))
        .and_then(|()| file.sync_all())
        .and_then(|()| Ok(place(&unfinished)?));
    // After a rename it is gone already.
    unlinkat(directory, &unfinished, AtFlags::empty()).ok();
    Ok(placed?)
}

fn read_key(directory: &OwnedFd) -> Result<Option<hmac::Key>, Doubt> {
    let Some((file, stat)) = open_file(directory, KEY_FILE)? else { return Ok(None) };
    ours_alone(&stat)?;
    let mut bytes = Vec::with_capacity(KEY_BYTES + 1);
    file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() == KEY_BYTES { Ok(Some(hmac::Key::new(hmac::HMAC_SHA256, &bytes))) } else { Err(Doubt::Key) }
}

/// Makes the key. Of several processes that do so at once, one places its key and all read that.
fn make_key(directory: &OwnedFd) -> Result<(), Doubt> {
    let mut key = [0_u8; KEY_BYTES];
    getrandom::fill(&mut key).map_err(io::Error::from)?;
    place_file(directory, &[&key], |unfinished| {
        linkat(directory, unfinished, directory, KEY_FILE, AtFlags::empty()).or_else(unless(Errno::EXIST))
    })
}

#[cfg(test)]
mod tests;
