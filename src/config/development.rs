//! The development configuration, and the key that a development server makes for itself.
//!
//! The key is kept, so that a token outlives a restart and `stentor token` signs with what the server verifies by. The
//! configuration names no key: one that is written here would be everybody's.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Config, Plugin, Secret};

const KEY_FILE: &str = "development.key";
const API_KEY_FILE: &str = "development-api.key";
const KEY_BYTES: usize = 32;
/// Another process that makes the key needs no longer than this between creating the file and filling it.
const CREATION_TIME_MAX: Duration = Duration::from_secs(2);

impl Config {
    /// A server to try things with: loopback only, the demo page, and a message policy that shows what policies do.
    pub fn development() -> Self {
        let defaults = Self::default();
        Self {
            development: true,
            allowed_origins: origins(defaults.listen.port()).to_vec(),
            plugins: vec![sample_rights(), sample_policy()],
            ..defaults
        }
    }
}

/// The origins of a page that a server on this machine serves itself.
pub(super) fn origins(port: u16) -> [String; 2] {
    [format!("http://127.0.0.1:{port}"), format!("http://localhost:{port}")]
}

fn sample_rights() -> Plugin {
    let config = json!({
        "rules": [
            { "rooms": ["announcements", "announcements:*"], "send": ["role=admin"], "delete": ["role=admin"] },
            { "rooms": ["dm:{userId}:*", "dm:*:{userId}"] },
            {
                "rooms": ["dm:*"],
                "join": "nobody", "send": "nobody", "history": "nobody", "presence": "nobody",
            },
            { "rooms": ["*"], "delete": ["role=moderator", "role=admin"] },
        ],
    });
    Plugin { config: config.as_object().cloned().unwrap_or_default(), ..Plugin::new("room-acl", "bundled:room-acl") }
}

fn sample_policy() -> Plugin {
    let config = json!({
        "length_max": 2000,
        "words": ["heck", "darn"],
        "words_action": "reject",
        "links": { "allow": true, "hosts": ["example.com", "example.org"], "per_message_max": 3 },
        "types": ["text", "image", "video", "audio", "file", "location"],
    });
    Plugin {
        config: config.as_object().cloned().unwrap_or_default(),
        ..Plugin::new("message-policy", "bundled:message-policy")
    }
}

/// Why there is no development key.
#[derive(Debug, thiserror::Error)]
pub enum DevelopmentKeyError {
    /// The directory or the file cannot be made or read.
    #[error("cannot keep the development key in {path}: {source}")]
    Inaccessible {
        /// The directory or the file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others on this machine could read the key.
    #[error("others may read {path} (mode {mode:04o}): remove it, or set its mode to 0600 if nobody has read it")]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds something else.
    #[error("{path} does not hold a key of {KEY_BYTES} bytes in hexadecimal: remove it to have a new one made")]
    Malformed {
        /// The key file.
        path: PathBuf,
    },
    /// The system has no random bytes.
    #[error("no random bytes for the development key: {0}")]
    NoRandomness(getrandom::Error),
}

/// The key of a development server: read from its data directory, or made there on the first call. Several processes may
/// call at once; all get the same key.
///
/// # Errors
/// When the key cannot be kept, or when others could have read it.
pub fn development_key(config: &Config) -> Result<Secret, DevelopmentKeyError> {
    kept_key(config, KEY_FILE)
}

/// The same for the key of a development server's API, with the file that it is in.
///
/// # Errors
/// When the key cannot be kept, or when others could have read it.
pub fn development_api_key(config: &Config) -> Result<(Secret, PathBuf), DevelopmentKeyError> {
    Ok((kept_key(config, API_KEY_FILE)?, config.data_directory.join(API_KEY_FILE)))
}

fn kept_key(config: &Config, file: &str) -> Result<Secret, DevelopmentKeyError> {
    let directory = &config.data_directory;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| DevelopmentKeyError::Inaccessible { path: directory.clone(), source })?;
    let path = directory.join(file);
    match create(&path)? {
        Some(made) => Ok(made),
        None => read(&path),
    }
}

/// Makes the file, unless it is there.
fn create(path: &Path) -> Result<Option<Secret>, DevelopmentKeyError> {
    let inaccessible = |source| DevelopmentKeyError::Inaccessible { path: path.to_owned(), source };
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(None),
        Err(error) => return Err(inaccessible(error)),
    };
    let made = random_hex().and_then(|key| {
        file.write_all(key.as_bytes()).and_then(|()| file.sync_all()).map_err(inaccessible)?;
        Ok(Secret::new(key))
    });
    if made.is_err() {
        // An unfinished file would stand in the way of the next attempt; that it stays behind is no worse than the error.
        std::fs::remove_file(path).ok();
    }
    made.map(Some)
}

fn random_hex() -> Result<String, DevelopmentKeyError> {
    let mut bytes = [0_u8; KEY_BYTES];
    getrandom::fill(&mut bytes).map_err(DevelopmentKeyError::NoRandomness)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn read(path: &Path) -> Result<Secret, DevelopmentKeyError> {
    let deadline = Instant::now() + CREATION_TIME_MAX;
    loop {
        let text = read_private(path)?;
        let key = text.trim();
        if key.len() == 2 * KEY_BYTES && key.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Secret::new(key));
        }
        // A file that is still too short is being written by the process that won the race to make it.
        if key.len() >= 2 * KEY_BYTES || Instant::now() >= deadline {
            return Err(DevelopmentKeyError::Malformed { path: path.to_owned() });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn read_private(path: &Path) -> Result<String, DevelopmentKeyError> {
    let inaccessible = |source| DevelopmentKeyError::Inaccessible { path: path.to_owned(), source };
    let file = File::open(path).map_err(inaccessible)?;
    let mode = file.metadata().map_err(inaccessible)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(DevelopmentKeyError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.take(1024).read_to_string(&mut text).map_err(inaccessible)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A configuration whose data directory is new and goes with the guard.
    fn scratch(name: &str) -> (Config, Removed) {
        let directory = std::env::temp_dir().join(format!("stentor-{name}-{}", std::process::id()));
        std::fs::remove_dir_all(&directory).ok();
        let config = Config { data_directory: directory.join("data"), ..Config::development() };
        (config, Removed(directory))
    }

    struct Removed(PathBuf);

    impl Drop for Removed {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).ok();
        }
    }

    #[test]
    fn racing_processes_get_one_private_key() {
        let (config, _removed) = scratch("race");
        let keys: Vec<String> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..16).map(|_| scope.spawn(|| development_key(&config).unwrap())).collect();
            racers.into_iter().map(|racer| racer.join().unwrap().reveal().to_owned()).collect()
        });
        assert!(keys.iter().all(|key| key.len() == 64 && *key == keys[0]));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&config.data_directory), 0o700);
        assert_eq!(mode(&config.data_directory.join(KEY_FILE)), 0o600);
    }

    #[test]
    fn an_exposed_or_foreign_file_is_refused() {
        let (config, _removed) = scratch("exposed");
        development_key(&config).unwrap();
        let path = config.data_directory.join(KEY_FILE);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = development_key(&config).unwrap_err().to_string();
        assert!(error.contains("others may read") && error.contains("0640"), "{error}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "x".repeat(64)).unwrap();
        assert!(matches!(development_key(&config), Err(DevelopmentKeyError::Malformed { .. })));
    }
}
