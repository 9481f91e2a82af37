//! The life of connections: from the handshake to the last byte.
//!
//! `state` is what may happen when: a pure state machine without sockets or clocks. `driver` is what happens: it takes a
//! connection's messages, asks the state machine, and calls the relay. A session knows tokens and requests; it must not
//! know how bytes become messages (that is the net's) or what requests mean (that is the relay's).

mod driver;
mod gather;
mod refusals;
mod state;

use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use gather::Gather;
pub use state::Settings as StateSettings;
use state::State;

use crate::ids::{ConnectionId, ConnectionKey, RoomId, ShardId};
use crate::message::Timestamp;
use crate::metrics::Metrics;
use crate::policy::{Attribute, Identity, Revocations};
use crate::relay::{self, Asked, Relay};
use crate::wire::Refusal;
use crate::wire::request::{AuthOptions, Since};

/// What all sessions of a server share.
pub struct Settings {
    /// Limits and times.
    pub state: StateSettings,
    /// Time over which connections are told to go when the server stops.
    pub drain: Duration,
    /// How long input may wait for company.
    pub input_gather: Duration,
}

/// What the handshake found out about a connection.
pub struct Opening {
    /// Where it comes from.
    pub address: IpAddr,
    /// Who it is, if it brought a good token.
    pub identity: Option<Identity>,
    /// What it said of itself in its query string, or why that makes no sense.
    pub options: Result<AuthOptions, Refusal>,
    /// Headers that plugins will want to see when it authenticates.
    pub headers: Vec<Attribute>,
    /// Whether there is no room for it, so that it is to be told and closed.
    pub over_capacity: bool,
    /// Whether long messages to it are compressed.
    pub deflate: bool,
    /// Held as long as the connection lives.
    pub admission: Box<dyn Any>,
}

/// One connection's session.
struct Session {
    key: ConnectionKey,
    connection: ConnectionId,
    state: State,
    /// Where it comes from.
    address: IpAddr,
    /// Headers that plugins want to see, until it has authenticated.
    headers: Vec<Attribute>,
    /// Authentication under way: what asked for it, and with what else.
    authenticating: Option<Box<Authenticating>>,
    /// Requests of a message whose earlier request is still under way.
    rest: Option<Box<str>>,
    /// Whether the relay was told that the connection ended.
    departed: bool,
    /// When a stopping server closes it.
    leaves_at: Option<Instant>,
    _admission: Box<dyn Any>,
}

/// An `auth` whose token is being judged.
struct Authenticating {
    asked: Asked,
    options: AuthOptions,
    since: Vec<(RoomId, Since)>,
    renewal: bool,
}

/// What a new configuration changes.
pub struct Reload {
    /// Limits and times.
    pub settings: Arc<Settings>,
    /// What it changes for the verbs.
    pub relay: relay::Reload,
    /// Dropped when the shard has changed over.
    pub done: std::sync::mpsc::Sender<()>,
}

/// One shard's sessions, with the relay they call.
pub struct Shard {
    shard: ShardId,
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    /// Tokens that were taken back.
    revocations: Arc<Revocations>,
    /// When turns begin.
    gather: Arc<Gather>,
    /// The verbs.
    pub relay: Relay,
    /// By slot.
    sessions: Vec<Option<Session>>,
    opened: u64,
    open: usize,
    draining: bool,
    /// Where sockets are read into: one for all connections, taken out while it is in use.
    pub scratch: Vec<u8>,
}

/// Bytes read from a socket at once.
const SCRATCH_BYTES: usize = 64 << 10;

impl Shard {
    /// A shard without connections.
    pub fn new(
        shard: ShardId,
        settings: Arc<Settings>,
        relay: Relay,
        metrics: Arc<Metrics>,
        revocations: Arc<Revocations>,
    ) -> Self {
        let (mailboxes, _) = relay.address();
        let gather = Arc::new(Gather::new(settings.input_gather, mailboxes.nap(shard)));
        Self {
            shard,
            settings,
            metrics,
            revocations,
            gather,
            relay,
            sessions: Vec::new(),
            opened: 0,
            open: 0,
            draining: false,
            scratch: vec![0; SCRATCH_BYTES],
        }
    }

    /// The buffer that sockets are read into, to be put back after use. Should a task have failed to, there is another.
    pub fn take_scratch(&mut self) -> Vec<u8> {
        let scratch = std::mem::take(&mut self.scratch);
        if scratch.is_empty() { vec![0; SCRATCH_BYTES] } else { scratch }
    }

    /// From here on another configuration is in force, for the connections that there are too.
    pub fn reload(&mut self, reload: Reload) {
        self.settings = reload.settings;
        self.gather.set(self.settings.input_gather);
        self.relay.reload(reload.relay);
        drop(reload.done);
    }

    /// What says when the shard's turns begin.
    pub fn gather(&self) -> Arc<Gather> {
        Arc::clone(&self.gather)
    }

    /// Whether a connection's request is still under way. Its next one has to wait.
    pub fn is_waiting(&mut self, key: ConnectionKey) -> bool {
        self.session(key).is_some_and(|session| session.authenticating.is_some()) || self.relay.is_waiting(key)
    }

    /// Whether no connection is left.
    pub fn is_empty(&self) -> bool {
        self.open == 0
    }

    fn session(&mut self, key: ConnectionKey) -> Option<&mut Session> {
        self.sessions.get_mut(key.slot as usize)?.as_mut().filter(|session| session.key == key)
    }

    fn connection_id(&mut self, key: ConnectionKey) -> ConnectionId {
        self.session(key).map_or(ConnectionId(0), |session| session.connection)
    }
}

/// How long until a wall-clock time, and none if it has passed.
fn until(time: Timestamp, now: Timestamp) -> Duration {
    Duration::from_millis(time.saturating_sub(now))
}
