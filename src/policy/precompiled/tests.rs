//! What is loaded from the cache, and above all what is not.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::PathBuf;
use std::time::Duration;

use wasmtime::Store;
use wasmtime::component::Linker;

use super::*;

const WASM: &[u8] = include_bytes!("../../../plugins/built/misbehaving.wasm");

/// A new data directory that goes with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("stentor-precompiled-{name}-{}", std::process::id()));
        fs::remove_dir_all(&path).ok();
        Self(path)
    }

    /// The path of the cache, or of something in it.
    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.0.join(DIRECTORY) } else { self.0.join(DIRECTORY).join(name) }
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn directory(&self, limits: Limits) -> Directory {
        Directory::open(&self.path(""), limits).unwrap()
    }

    /// Why the directory is not used. A cache in it compiles all the same, and leaves it as it is.
    fn doubt(&self) -> Doubt {
        let before = self.names();
        let cache = Cache::open(&self.0);
        assert!(cache.directory.is_none());
        works(&cache, &Engine::default());
        assert_eq!(self.names(), before);
        Directory::open(&self.path(""), LIMITS).err().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Gets the component, and calls a function of it.
fn works(cache: &Cache, engine: &Engine) {
    let component = cache.component(engine, WASM, &sha256(WASM)).unwrap();
    let mut linker = Linker::<()>::new(engine);
    linker.define_unknown_imports_as_traps(&component).unwrap();
    let mut store = Store::new(engine, ());
    let instance = linker.instantiate(&mut store, &component).unwrap();
    let kind = component.component_type();
    let (name, _) = kind.exports(engine).find(|(name, _)| name.starts_with("stentor:plugin/lifecycle")).unwrap();
    let lifecycle = instance.get_export_index(&mut store, None, name).unwrap();
    let retire = instance.get_export_index(&mut store, Some(&lifecycle), "retire").unwrap();
    instance.get_func(&mut store, retire).unwrap().call(&mut store, &[], &mut []).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_was_compiled_is_loaded_again() {
    let scratch = Scratch::new("again");
    let engine = Engine::default();
    let name = name(&engine, &sha256(WASM));
    works(&Cache::open(&scratch.0), &engine);
    assert_eq!(scratch.names(), [name.as_str(), KEY_FILE]);
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&scratch.path("")), 0o700);
    assert_eq!(mode(&scratch.path(KEY_FILE)), 0o600);

    let first = fs::metadata(scratch.path(&name)).unwrap();
    works(&Cache::open(&scratch.0), &Engine::default());
    assert_eq!(fs::metadata(scratch.path(&name)).unwrap().ino(), first.ino(), "nothing was written anew");
    assert!(scratch.directory(LIMITS).component(&engine, &name).unwrap().is_some());

    let mut other = wasmtime::Config::new();
    let other = Engine::new(other.epoch_interruption(true)).unwrap();
    assert_ne!(super::name(&other, &sha256(WASM)), name, "other settings make other code");
}

#[test]
fn a_file_that_is_not_believed_is_replaced() {
    let scratch = Scratch::new("doubt");
    let engine = Engine::default();
    let name = name(&engine, &sha256(WASM));
    let cache = Cache::open(&scratch.0);
    works(&cache, &engine);
    let good = fs::read(scratch.path(&name)).unwrap();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let of_another_name = {
        let directory = scratch.directory(LIMITS);
        let code = &good[..good.len() - SEAL_BYTES];
        [code, directory.seal(&name.replace(ENDING, ".CWASM"), code).as_ref()].concat()
    };
    let of_another_cache = {
        let other = Scratch::new("doubt-other");
        works(&Cache::open(&other.0), &engine);
        fs::read(other.path(&name)).unwrap()
    };
    assert_eq!(of_another_cache.len(), good.len());
    // What carries our seal and is no code of this wasmtime's is refused by wasmtime.
    let sealed = [b"no code", scratch.directory(LIMITS).seal(&name, b"no code").as_ref()].concat();
    for (what, bytes) in [
        ("the code is changed", flipped(good.len() / 2)),
        ("the seal is changed", flipped(good.len() - 1)),
        ("it is cut in half", good[..good.len() / 2].to_vec()),
        ("its seal is gone", good[..good.len() - SEAL_BYTES].to_vec()),
        ("it is longer", [good.as_slice(), b"x"].concat()),
        ("it is empty", Vec::new()),
        ("it is another component's", of_another_name),
        ("it is another cache's", of_another_cache),
        ("it is no code", sealed),
    ] {
        fs::write(scratch.path(&name), &bytes).unwrap();
        assert!(scratch.directory(LIMITS).component(&engine, &name).is_err(), "{what}");
        works(&cache, &engine);
        assert!(scratch.directory(LIMITS).component(&engine, &name).unwrap().is_some(), "{what}: replaced");
    }
    // Nor is a good file believed that a link leads to.
    fs::rename(scratch.path(&name), scratch.0.join("elsewhere")).unwrap();
    symlink(scratch.0.join("elsewhere"), scratch.path(&name)).unwrap();
    assert!(scratch.directory(LIMITS).component(&engine, &name).is_err());
    works(&cache, &engine);
    assert!(fs::symlink_metadata(scratch.path(&name)).unwrap().is_file());
    assert_eq!(scratch.names(), [name.as_str(), KEY_FILE]);
}

#[test]
fn a_directory_that_is_not_ours_alone_is_not_used() {
    let scratch = Scratch::new("directory");
    works(&Cache::open(&scratch.0), &Engine::default());
    for mode in [0o755, 0o770, 0o701] {
        set_mode(&scratch.path(""), mode);
        assert!(matches!(scratch.doubt(), Doubt::Exposed(found) if found == mode));
    }
    set_mode(&scratch.path(""), 0o700);
    fs::rename(scratch.path(""), scratch.0.join("elsewhere")).unwrap();
    symlink(scratch.0.join("elsewhere"), scratch.path("")).unwrap();
    assert!(matches!(scratch.doubt(), Doubt::System(_)));

    // Only root can give a file away. Everybody else has a directory of root's at hand.
    let foreign = if rustix::process::geteuid().is_root() {
        chown(scratch.0.join("elsewhere"), Some(65534), None).unwrap();
        scratch.0.join("elsewhere")
    } else {
        PathBuf::from("/")
    };
    assert!(matches!(Directory::open(&foreign, LIMITS), Err(Doubt::Foreign(_))));
    // And a directory that cannot be made.
    fs::write(scratch.0.join("file"), "").unwrap();
    works(&Cache::open(&scratch.0.join("file")), &Engine::default());
    works(&Cache::none(), &Engine::default());
}

#[test]
fn a_key_that_others_may_know_is_not_used() {
    let scratch = Scratch::new("key");
    drop(scratch.directory(LIMITS));
    let key = scratch.path(KEY_FILE);
    for mode in [0o640, 0o604, 0o602] {
        set_mode(&key, mode);
        assert!(matches!(scratch.doubt(), Doubt::Exposed(found) if found == mode));
    }
    set_mode(&key, 0o600);
    for bytes in [KEY_BYTES - 1, KEY_BYTES + 1, 0] {
        fs::write(&key, vec![7; bytes]).unwrap();
        assert!(matches!(scratch.doubt(), Doubt::Key));
    }
    fs::write(scratch.0.join("elsewhere"), [7; KEY_BYTES]).unwrap();
    fs::remove_file(&key).unwrap();
    symlink(scratch.0.join("elsewhere"), &key).unwrap();
    assert!(matches!(scratch.doubt(), Doubt::System(_)));
    fs::remove_file(&key).unwrap();
    fs::create_dir(&key).unwrap();
    assert!(matches!(scratch.doubt(), Doubt::Irregular));
}

#[test]
fn what_was_not_used_for_longest_goes_first() {
    let scratch = Scratch::new("room");
    let written = |directory: &Directory, name: &str, seconds: u64| {
        directory.write(name, &[7; 68]).unwrap();
        let file = File::options().write(true).open(scratch.path(name)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    };
    let directory = scratch.directory(Limits { entries_max: 2, ..LIMITS });
    written(&directory, "a.cwasm", 1);
    written(&directory, "b.cwasm", 2);
    assert!(directory.read("a.cwasm").unwrap().is_some(), "and is used now");
    written(&directory, "c.cwasm", 3);
    assert_eq!(scratch.names(), ["a.cwasm", "c.cwasm", KEY_FILE]);
    fs::write(scratch.path("d.unfinished"), "").unwrap();
    fs::write(scratch.path("somebody else's"), "").unwrap();
    written(&directory, "e.cwasm", 4);
    assert_eq!(scratch.names(), ["d.unfinished", "e.cwasm", KEY_FILE, "somebody else's"]);

    // Each of these is a hundred bytes with its seal.
    let directory = scratch.directory(Limits { bytes_max: 250, ..LIMITS });
    written(&directory, "f.cwasm", 5);
    written(&directory, "g.cwasm", 6);
    assert_eq!(scratch.names(), ["d.unfinished", "f.cwasm", "g.cwasm", KEY_FILE, "somebody else's"]);
    assert!(matches!(directory.write("h.cwasm", &[7; 219]), Err(Doubt::Large(250))));
    fs::write(scratch.path("g.cwasm"), [7; 251]).unwrap();
    assert!(matches!(directory.read("g.cwasm"), Err(Doubt::Large(250))));
}

#[test]
fn many_at_once_share_one_key_and_one_file() {
    let scratch = Scratch::new("race");
    let engine = Engine::default();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                // As by processes of their own: what they share is the directory.
                let cache = Cache::open(&scratch.0);
                works(&cache, &engine);
                let name = name(&engine, &sha256(WASM));
                assert!(cache.directory.unwrap().component(&engine, &name).unwrap().is_some());
            });
        }
    });
    assert_eq!(scratch.names(), [name(&engine, &sha256(WASM)).as_str(), KEY_FILE]);
}

#[test]
fn digests_are_sha256() {
    assert_eq!(hex(&sha256(b"abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}
