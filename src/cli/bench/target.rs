//! What a run talks to: the server or the floor, ours or one already running, and how each connection introduces
//! itself there. Knows nothing of what the run measures.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use super::client::{Opening, Seat};
use super::dialect::{self, Dialect};
use super::error::BenchError;
use super::place::Place;
use super::program::Program;
use super::scrape::{Commits, PluginCalls, PluginCounters};
use super::server::{self, Child, Looping};
use super::workload::Setup;
use crate::config::{Algorithm, Config, Key, Secret};
use crate::policy::sign;
use crate::relay::wall_clock;

/// Longer than any benchmark.
const TOKEN_TTL: Duration = Duration::from_secs(24 * 3600);
/// For servers of our own: they live for seconds, on the loopback interface.
const OWN_SECRET: &str = "a secret for a server that lives only as long as one benchmark";

/// What a device is called that has a name: each user has one.
const DEVICE: &str = "phone";

/// A server that was running before we came.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) url: String,
    pub(super) secret: String,
    pub(super) admin: Option<SocketAddr>,
    pub(super) pid: Option<u32>,
}

/// One thing to be measured.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) dialect: Dialect,
    pub(super) pid: Option<u32>,
    address: SocketAddr,
    host: String,
    path: String,
    secret: String,
    /// Before the names of users and rooms, so that a server that keeps them does not meet them again.
    prefix: String,
    /// Whether the clients let the server take their pongs for acknowledgements.
    acks: bool,
    /// The admin listener, if it is known.
    pub(super) admin: Option<SocketAddr>,
    _child: Option<Child>,
}

/// Who a connection says it is.
struct Introduction {
    user: String,
    device: Option<&'static str>,
    /// The room that it joins.
    room: Option<usize>,
}

/// Which rooms the connections of a run are in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seating {
    /// So many rooms, of so many members each.
    Rooms { rooms: usize, members: usize },
    /// None: they only ask and are answered.
    Alone { connections: usize },
}

impl Target {
    /// A fresh server of our own, on processors of its own if possible. Its plugin may be one that loops.
    pub(super) fn server(
        program: &Program,
        setup: Setup,
        looping: Option<Looping<'_>>,
        cpus: &[usize],
    ) -> Result<Self, BenchError> {
        let place = Place::of(cpus, setup.shards);
        place.take();
        let server = server::start_server(program, setup, looping, OWN_SECRET, &place)?;
        Ok(Self {
            dialect: Dialect::Stentor,
            pid: Some(server.child.pid()),
            address: server.listen,
            host: server.listen.to_string(),
            path: "/ws".to_owned(),
            secret: OWN_SECRET.to_owned(),
            prefix: String::new(),
            acks: setup.acks,
            admin: Some(server.admin),
            _child: Some(server.child),
        })
    }

    /// A fresh floor, whose frames have a given length.
    pub(super) fn floor(frame_bytes: usize, cpus: &[usize]) -> Result<Self, BenchError> {
        let place = Place::of(cpus, Some(1));
        place.take();
        let (child, address) = server::start_floor(frame_bytes, &place)?;
        Ok(Self {
            dialect: Dialect::Floor,
            pid: Some(child.pid()),
            address,
            host: address.to_string(),
            path: String::new(),
            secret: String::new(),
            prefix: String::new(),
            acks: true,
            admin: None,
            _child: Some(child),
        })
    }

    /// A server that is running already.
    pub(super) fn given(given: &Given, acks: bool) -> Result<Self, BenchError> {
        let problem = |what: &str| BenchError::Usage(format!("--url {}: {what}", given.url));
        let rest = given.url.strip_prefix("ws://").ok_or_else(|| problem("only ws:// is supported"))?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, "ws"));
        let resolved = if host.contains(':') { host.to_socket_addrs() } else { (host, 80).to_socket_addrs() };
        let address = resolved.ok().and_then(|mut all| all.next()).ok_or_else(|| problem("no such host and port"))?;
        Ok(Self {
            dialect: Dialect::Stentor,
            pid: given.pid,
            address,
            host: host.to_owned(),
            path: format!("/{path}"),
            secret: given.secret.clone(),
            prefix: format!("b{:x}-", wall_clock()),
            acks,
            admin: given.admin,
            _child: None,
        })
    }

    /// What the connections of a run need to begin, in the order of rooms and members.
    pub(super) fn openings(&self, seating: Seating) -> Result<Vec<Opening>, BenchError> {
        let (rooms, members) = match seating {
            Seating::Rooms { rooms, members } => (rooms, members),
            Seating::Alone { connections } => (1, connections),
        };
        let seats = (0..rooms).flat_map(|room| (0..members).map(move |member| Seat { room, member }));
        seats.enumerate().map(|(index, seat)| self.opening(seating, seat, index)).collect()
    }

    /// What one more connection needs, alone in a room behind the last one.
    pub(super) fn guest(&self, seating: Seating) -> Result<Opening, BenchError> {
        let (room, index) = match seating {
            Seating::Rooms { rooms, members } => (rooms, rooms * members),
            Seating::Alone { connections } => (1, connections),
        };
        self.opening(seating, Seat { room, member: 0 }, index)
    }

    /// The same as `openings`, of devices with a name, which the server remembers. Those that come back need not join.
    pub(super) fn devices(&self, seating: Seating, joins: bool) -> Result<Vec<Opening>, BenchError> {
        let Seating::Rooms { rooms, members } = seating else { return Ok(Vec::new()) };
        let seats = (0..rooms).flat_map(|room| (0..members).map(move |member| Seat { room, member }));
        let device = |(index, seat): (usize, Seat)| {
            let room = joins.then_some(seat.room);
            self.introduced(seat, &Introduction { user: self.user(index), device: Some(DEVICE), room })
        };
        seats.enumerate().map(device).collect()
    }

    /// One connection for each room, of users that are none of its other members.
    pub(super) fn writers(&self, rooms: usize) -> Result<Vec<Opening>, BenchError> {
        let writer = |room| {
            let user = format!("{}w{room}", self.prefix);
            self.introduced(Seat { room, member: 0 }, &Introduction { user, device: None, room: Some(room) })
        };
        (0..rooms).map(writer).collect()
    }

    /// Connections in no room, of users that are nobody else, seated as one more room.
    pub(super) fn watchers(&self, room: usize, watchers: usize) -> Result<Vec<Opening>, BenchError> {
        let watcher = |member| {
            let user = format!("{}s{member}", self.prefix);
            self.introduced(Seat { room, member }, &Introduction { user, device: None, room: None })
        };
        (0..watchers).map(watcher).collect()
    }

    /// The name of a user.
    pub(super) fn user(&self, index: usize) -> String {
        format!("{}u{index}", self.prefix)
    }

    /// The name of a room.
    pub(super) fn room(&self, room: usize) -> String {
        format!("{}r{room}", self.prefix)
    }

    /// The plugin metrics, if the server tells them.
    pub(super) fn plugin_counters(&self) -> Result<Option<PluginCounters>, BenchError> {
        self.admin.map(PluginCounters::read).transpose()
    }

    /// Commits to the disk so far, if the server tells them.
    pub(super) fn commits(&self) -> Result<Option<Commits>, BenchError> {
        Ok(self.admin.map(Commits::read).transpose()?.flatten())
    }

    /// What plugins did since `before`.
    pub(super) fn plugin_calls(
        &self,
        before: Option<&PluginCounters>,
        messages: u64,
    ) -> Result<Vec<PluginCalls>, BenchError> {
        let after = self.plugin_counters()?;
        Ok(after.zip(before).map(|(after, before)| after.since(before, messages)).unwrap_or_default())
    }

    fn opening(&self, seating: Seating, seat: Seat, index: usize) -> Result<Opening, BenchError> {
        let joins = matches!(seating, Seating::Rooms { .. });
        let request = match self.dialect {
            Dialect::Floor if joins => self.request(&format!("/floor/{}", self.room(seat.room)), None),
            Dialect::Floor => self.request("/echo", None),
            Dialect::Stentor => {
                let room = joins.then_some(seat.room);
                return self.introduced(seat, &Introduction { user: self.user(index), device: None, room });
            }
        };
        Ok(Opening { address: self.address, dialect: self.dialect, seat, request, join: Vec::new() })
    }

    fn introduced(&self, seat: Seat, who: &Introduction) -> Result<Opening, BenchError> {
        let token = self.token(&who.user)?;
        let request = self.request(&self.path_with_options(who.device), Some(&token));
        let join = who.room.map(|room| dialect::join(&self.room(room))).unwrap_or_default();
        Ok(Opening { address: self.address, dialect: self.dialect, seat, request, join })
    }

    fn request(&self, path: &str, token: Option<&str>) -> Vec<u8> {
        dialect::upgrade(&self.host, path, token)
    }

    /// The path, and behind it what goes into `auth` otherwise. What is as by default is left out: older servers need not
    /// know it.
    fn path_with_options(&self, device: Option<&str>) -> String {
        let acks = (!self.acks).then(|| "autoAck=false".to_owned());
        let options = acks.into_iter().chain(device.map(|device| format!("deviceId={device}")));
        options.fold(self.path.clone(), |path, option| {
            let separator = if path.contains('?') { '&' } else { '?' };
            format!("{path}{separator}{option}")
        })
    }

    fn token(&self, user: &str) -> Result<String, BenchError> {
        let key = Key {
            kid: None,
            algorithm: Algorithm::HS256,
            secret: Some(Secret::new(&*self.secret)),
            secret_env: None,
            file: None,
        };
        let mut config = Config::default();
        config.auth.keys = vec![key];
        Ok(sign(&config, user, TOKEN_TTL, serde_json::Map::new())?)
    }
}
