//! Where Redis is and how it is spoken to. Nothing here is printed with a password.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::config::Secret;

/// Where servers listen that nobody gave a port.
const PORT: u16 = 6379;

/// Where sentinels listen that nobody gave a port.
const SENTINEL_PORT: u16 = 26_379;

/// All that is to be known. Times are in milliseconds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is there.
    pub topology: Topology,
    /// Which of the server's databases; 0 in a cluster.
    pub database: u16,
    /// As whom, if not as the default user.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// TLS, or none.
    pub tls: Option<Tls>,
    /// Connections for calls, to each server that takes writes.
    pub lanes: usize,
    /// Time for a connection: names, TLS, greeting, scripts.
    pub connect_ms_max: u64,
    /// Time for an answer.
    pub command_ms_max: u64,
    /// How often each connection is asked whether there is anybody.
    pub watch_ms: u64,
    /// The longest pause between attempts to connect.
    pub pause_ms_max: u64,
    /// Calls that are on their way at the same time.
    pub pending_calls_max: usize,
    /// What they have in bytes, together.
    pub pending_bytes_max: usize,
    /// Channels that are listened to.
    pub channels_max: usize,
    /// Messages that were heard and are still held by somebody.
    pub heard_messages_max: usize,
    /// What they have in bytes, together.
    pub heard_bytes_max: usize,
    /// The beginning of all keys that may be written. A key of this name is asked for and never made.
    pub probe_key: String,
}

impl Settings {
    /// What is usual, for a server that is there.
    pub fn new(topology: Topology) -> Self {
        Self {
            topology,
            database: 0,
            user: None,
            password: None,
            tls: None,
            lanes: 2,
            connect_ms_max: 2_000,
            command_ms_max: 1_000,
            watch_ms: 500,
            pause_ms_max: 1_000,
            pending_calls_max: 20_000,
            pending_bytes_max: 64 << 20,
            channels_max: 1_000_000,
            heard_messages_max: 100_000,
            heard_bytes_max: 64 << 20,
            probe_key: "stentor:probe".to_owned(),
        }
    }

    /// Reads an address with all that it says:
    ///
    /// ```text
    /// redis://[user[:password]@]host[:port][/database]
    /// redis-sentinel://[user[:password]@]host[:port][,host[:port]…]/master[/database]
    /// redis-cluster://[user[:password]@]host[:port][,host[:port]…]
    /// ```
    ///
    /// With `rediss` in place of `redis` it is TLS. What is special in a URL is written as `%` and two digits in a user,
    /// a password and a master's name.
    ///
    /// # Errors
    ///
    /// What is wrong with it, without the password.
    pub fn parse(url: &str) -> Result<Self, SettingsError> {
        let (scheme, rest) = url.split_once("://").ok_or(SettingsError::Scheme)?;
        let (secure, kind) = match scheme.strip_prefix("rediss") {
            Some(kind) => (true, kind),
            None => (false, scheme.strip_prefix("redis").ok_or(SettingsError::Scheme)?),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(credentials), hosts),
            None => (None, authority),
        };
        let (topology, database) = match kind {
            "" => (Topology::Standalone(Address::parse(hosts, PORT)?), path),
            "-sentinel" => {
                let (master, database) = path.split_once('/').unwrap_or((path, ""));
                if master.is_empty() {
                    return Err(SettingsError::Master);
                }
                let sentinels = addresses(hosts, SENTINEL_PORT)?;
                let master = decoded(master)?;
                (Topology::Sentinel { master, sentinels, user: None, password: None }, database)
            }
            "-cluster" if path.is_empty() => (Topology::Cluster(addresses(hosts, PORT)?), ""),
            "-cluster" => return Err(SettingsError::Database),
            _ => return Err(SettingsError::Scheme),
        };
        let mut settings = Self::new(topology);
        settings.tls = secure.then(Tls::default);
        if !database.is_empty() {
            settings.database = database.parse().map_err(|_| SettingsError::Database)?;
        }
        if let Some(credentials) = credentials {
            let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
            settings.user = Some(decoded(user)?).filter(|user| !user.is_empty());
            settings.password = Some(decoded(password)?).filter(|password| !password.is_empty()).map(Secret::new);
        }
        Ok(settings)
    }

    pub(super) fn connect_max(&self) -> Duration {
        Duration::from_millis(self.connect_ms_max)
    }

    pub(super) fn command_max(&self) -> Duration {
        Duration::from_millis(self.command_ms_max)
    }

    pub(super) fn watch(&self) -> Duration {
        Duration::from_millis(self.watch_ms)
    }
}

/// What is there.
#[derive(Clone, Debug)]
pub enum Topology {
    /// One server.
    Standalone(Address),
    /// One server at a time, and others that know which.
    Sentinel {
        /// What the sentinels call it.
        master: String,
        /// The sentinels.
        sentinels: Vec<Address>,
        /// As whom the sentinels are asked, if not as the default user.
        user: Option<String>,
        /// The sentinels' password.
        password: Option<Secret>,
    },
    /// Many servers; some of them.
    Cluster(Vec<Address>),
}

/// A server's address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// A name, or numbers without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Address {
    /// Reads `host` or `host:port`.
    ///
    /// # Errors
    ///
    /// When it is neither.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, SettingsError> {
        let fault = || SettingsError::Address(text.to_owned());
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or_else(fault)?)),
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Ok(default_port), |port| port.parse().map_err(|_| fault()))?;
        if host.is_empty() || host.contains(['@', '/', '?', '#', ' ']) {
            return Err(fault());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(formatter, "[{host}]:{port}") } else { write!(formatter, "{host}:{port}") }
    }
}

/// Whose certificates are believed.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// A PEM file with root certificates, in place of those of the system.
    pub roots: Option<PathBuf>,
}

/// What is wrong with an address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SettingsError {
    /// It is of no kind that is known.
    #[error("it must begin with redis://, rediss://, redis-sentinel:// or redis-cluster://")]
    Scheme,
    /// No server can be there.
    #[error("{0:?} is not host:port")]
    Address(String),
    /// A sentinel is asked for a master by its name.
    #[error("behind the sentinels' addresses stands the master's name: redis-sentinel://host:26379/mymaster")]
    Master,
    /// There is no such database.
    #[error("the database is a number, and a cluster has none")]
    Database,
    /// Half a character.
    #[error("behind a % stand two hexadecimal digits")]
    Encoding,
}

fn addresses(text: &str, default_port: u16) -> Result<Vec<Address>, SettingsError> {
    text.split(',').map(|address| Address::parse(address, default_port)).collect()
}

/// What a percent-encoded text says.
fn decoded(text: &str) -> Result<String, SettingsError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, encoded)) = rest.split_once('%') {
        bytes.extend_from_slice(plain.as_bytes());
        let digits = encoded.get(..2).ok_or(SettingsError::Encoding)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| SettingsError::Encoding)?);
        rest = encoded.get(2..).unwrap_or_default();
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).map_err(|_| SettingsError::Encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let settings = Settings::parse("rediss://chat:p%40ss:w@cache.example:7000/3").unwrap();
        let Topology::Standalone(address) = &settings.topology else { panic!("{settings:?}") };
        assert_eq!(address.to_string(), "cache.example:7000");
        assert_eq!((settings.user.as_deref(), settings.database), (Some("chat"), 3));
        assert_eq!(settings.password.as_ref().map(Secret::reveal), Some("p@ss:w"));
        assert!(settings.tls.is_some());
        assert!(!format!("{settings:?}").contains("p@ss"), "{settings:?}");

        let settings = Settings::parse("redis://:secret@[::1]").unwrap();
        let Topology::Standalone(address) = &settings.topology else { panic!("{settings:?}") };
        assert_eq!((address.to_string().as_str(), settings.user), ("[::1]:6379", None));

        let settings = Settings::parse("redis-sentinel://a,b:5/my%20master/2").unwrap();
        let Topology::Sentinel { master, sentinels, .. } = &settings.topology else { panic!("{settings:?}") };
        assert_eq!(master, "my master");
        let sentinels: Vec<String> = sentinels.iter().map(Address::to_string).collect();
        assert_eq!((sentinels.join(" ").as_str(), settings.database), ("a:26379 b:5", 2));

        let settings = Settings::parse("redis-cluster://a:1,b:2").unwrap();
        assert!(matches!(settings.topology, Topology::Cluster(servers) if servers.len() == 2));
    }

    #[test]
    fn what_is_no_address_is_refused_without_its_password() {
        for (url, expected) in [
            ("localhost:6379", SettingsError::Scheme),
            ("http://localhost", SettingsError::Scheme),
            ("redis-x://localhost", SettingsError::Scheme),
            ("redis://", SettingsError::Address(String::new())),
            ("redis://u:secret@host:x", SettingsError::Address("host:x".to_owned())),
            ("redis://host/x", SettingsError::Database),
            ("redis-cluster://host/1", SettingsError::Database),
            ("redis-sentinel://host", SettingsError::Master),
            ("redis://u:%z@host", SettingsError::Encoding),
        ] {
            let error = Settings::parse(url).unwrap_err();
            assert_eq!(error, expected, "{url}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
