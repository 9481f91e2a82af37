//! The composition root: from a configuration to a running server. The one file that knows every part.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::watch;

use crate::config::{Config, DevelopmentKeyError, Problem, development_key};
use crate::hub;
use crate::ids::ShardId;
use crate::metrics::Metrics;
use crate::net::{Acceptor, Admin, Admissions, Demo, DemoToken, Gate, Inbox, Readiness, bind, run_shard};
use crate::policy::{self, Authenticator, KeyError, LoadError, Plugins};
use crate::relay::{self, Mailboxes, Relay, wall_clock};
use crate::session::{self, Shard, StateSettings};
use crate::store::{self, Classes, Partition};
use crate::wire::encode::LimitsInfo;

/// Threads for what is not a connection's: accepting, metrics.
const CONTROL_THREADS: usize = 1;

/// How often histograms are folded, so that their samples do not pile up between scrapes.
const METRICS_UPKEEP: Duration = Duration::from_secs(1);

/// How often due times are looked at, unless one of them is shorter.
const SWEEP_MAX: Duration = Duration::from_millis(250);
const SWEEP_MIN: Duration = Duration::from_millis(5);

/// How long a token of the demo page is good.
const DEMO_TOKEN_TTL: Duration = Duration::from_secs(3600);

/// Shards at most: a room's listeners are a mask of 64 bits.
const SHARDS_MAX: usize = 64;

/// Where a server listens. The sockets are the caller's, so that a test can have any port and a supervisor can pass its own.
#[derive(Debug)]
pub struct Listeners {
    /// For clients.
    pub client: TcpListener,
    /// For the operator.
    pub admin: TcpListener,
}

impl Listeners {
    /// Listens where the configuration says.
    ///
    /// # Errors
    ///
    /// When an address cannot be had.
    pub fn bind(config: &Config) -> Result<Self, StartError> {
        let listen = |address| TcpListener::bind(address).map_err(|source| StartError::Listen { address, source });
        Ok(Self { client: listen(config.listen)?, admin: listen(config.admin.listen)? })
    }
}

/// Why a server does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address is taken, or not this machine's.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A thread, a runtime or a socket cannot be had.
    #[error("the system refuses what the server needs")]
    System(#[from] io::Error),
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The development key cannot be had.
    #[error(transparent)]
    DevelopmentKey(#[from] DevelopmentKeyError),
    /// Plugins cannot be loaded.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Plugins(Vec<LoadError>),
    /// The metrics' buckets are refused.
    #[error("the metrics cannot be set up")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
}

/// A running server. Dropping it stops it without ceremony; [`Server::stop`] is the polite way.
pub struct Server {
    client: SocketAddr,
    admin: SocketAddr,
    stop: watch::Sender<bool>,
    shards: Vec<JoinHandle<io::Result<()>>>,
    gate: Arc<Gate>,
    readiness: Arc<Readiness>,
    /// Dropped last: it serves the operator until everybody is gone.
    control: tokio::runtime::Runtime,
}

impl Server {
    /// Starts a server. It accepts connections when this returns.
    ///
    /// # Errors
    ///
    /// What keeps it from starting.
    pub fn start(config: Config, listeners: Listeners) -> Result<Self, StartError> {
        let config = complete(config, listeners.client.local_addr()?)?;
        let (client, admin) = (listeners.client.local_addr()?, listeners.admin.local_addr()?);
        let shards = shard_count(config.shards);
        let metrics = Metrics::new()?;
        metrics.store.bytes_max.set(config.store.total_bytes_max as f64);
        let authenticator = Arc::new(Authenticator::new(&config.auth)?);
        let plugins = Plugins::load(&config.plugins, shards).map_err(StartError::Plugins)?;
        let gate = Arc::new(gate(&config, client, Arc::clone(&authenticator), Arc::clone(&metrics)));
        let readiness = Arc::new(Readiness::default());
        let (stop, stopped) = watch::channel(false);
        let (ticks, clock) = watch::channel(Instant::now());

        let control = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(CONTROL_THREADS)
            .thread_name("control")
            .enable_io()
            .enable_time()
            .build()?;
        let entered = control.enter();
        let client_listener = tokio::net::TcpListener::from_std(bind(listeners.client)?)?;
        let admin_listener = tokio::net::TcpListener::from_std(bind(listeners.admin)?)?;
        let (acceptor, sockets) = Acceptor::new(client_listener, config.limits.handshakes_max, shards);
        drop(entered);

        let (mailboxes, mail) = Mailboxes::new(shards);
        let parts =
            ShardParts { config: &config, shards, mailboxes, authenticator, plugins, metrics: Arc::clone(&metrics) };
        let mut threads = Vec::new();
        for ((shard, sockets), mail) in (0..shards).map(ShardId).zip(sockets).zip(mail) {
            let inbox = Inbox {
                sockets,
                mail,
                drain: stopped.clone(),
                drain_max: Duration::from_millis(config.timing.drain_ms.saturating_add(config.timing.close_ms_max)),
                clock: clock.clone(),
            };
            threads.push(parts.spawn(shard, inbox, Arc::clone(&gate))?);
        }

        control.spawn(acceptor.run(stopped.clone()));
        control.spawn(
            Admin { listener: admin_listener, metrics: Arc::clone(&metrics), readiness: Arc::clone(&readiness) }.run(),
        );
        control.spawn(keep_metrics(metrics));
        control.spawn(tick(ticks, sweep_interval(&config)));
        Ok(Self { client, admin, stop, shards: threads, gate, readiness, control })
    }

    /// Where clients connect.
    pub fn client_address(&self) -> SocketAddr {
        self.client
    }

    /// Where the operator connects.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Waits for something on the server's own runtime, for example a signal.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.control.block_on(future)
    }

    /// Stops: no new connections, everyone is told to go, and what was acknowledged is kept. Returns when all are gone.
    pub fn stop(mut self) {
        self.readiness.drain();
        self.gate.draining.store(true, Ordering::Relaxed);
        self.gate.metrics.draining.set(1.0);
        let _nobody_listens = self.stop.send(true);
        for shard in self.shards.drain(..) {
            match shard.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a shard failed"),
                Err(_) => tracing::error!("a shard panicked"),
            }
        }
    }
}

/// What is wrong with a configuration's plugins: for `stentor check`.
pub fn plugin_problems(config: &Config) -> Vec<Problem> {
    let key = |error: &LoadError| {
        let index = error.plugin().and_then(|name| config.plugins.iter().position(|plugin| plugin.name == name));
        let part =
            error.path().map_or_else(|| ".component".to_owned(), |path| format!(".config{}", path.replace('/', ".")));
        index.map_or_else(|| "plugins".to_owned(), |index| format!("plugins[{index}]{part}"))
    };
    policy::check(&config.plugins).iter().map(|error| Problem::new(key(error), error.to_string())).collect()
}

/// Fills in what only a starting server knows: the development key, and the origins of its own page.
fn complete(mut config: Config, client: SocketAddr) -> Result<Config, StartError> {
    if config.development {
        if config.auth.keys.is_empty() {
            let secret = development_key(&config)?;
            let algorithm = crate::config::Algorithm::HS256;
            config.auth.keys.push(crate::config::Key {
                kid: None,
                algorithm,
                secret: Some(secret),
                secret_env: None,
                file: None,
            });
        }
        for host in loopback_hosts(client.port()) {
            let origin = format!("http://{host}");
            if !config.allowed_origins.contains(&origin) {
                config.allowed_origins.push(origin);
            }
        }
    }
    Ok(config)
}

fn loopback_hosts(port: u16) -> Vec<String> {
    vec![format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("[::1]:{port}")]
}

fn shard_count(configured: usize) -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let shards = if configured == 0 { cores } else { configured };
    u16::try_from(shards.clamp(1, SHARDS_MAX)).unwrap_or(1)
}

fn gate(config: &Config, client: SocketAddr, authenticator: Arc<Authenticator>, metrics: Arc<Metrics>) -> Gate {
    let limits = &config.limits;
    let demo_authenticator = Arc::clone(&authenticator);
    let admissions = Admissions::new(limits.connections_max, limits.connections_per_address_max);
    metrics.connections_max.set(admissions.connections_max() as f64);
    Gate {
        authenticator,
        metrics,
        admissions: Arc::new(admissions),
        allowed_origins: config.allowed_origins.clone(),
        query_token: config.query_token,
        trusted_proxies: config.proxy.trusted.clone(),
        message_limits: (limits.message_bytes_max, limits.message_fragments_max),
        handshake_max: Duration::from_millis(limits.handshake_ms_max),
        handshake_bytes_max: limits.handshake_bytes_max,
        draining: AtomicBool::new(false),
        demo: config.development.then(|| demo(config.clone(), client, demo_authenticator)),
    }
}

fn demo(config: Config, client: SocketAddr, authenticator: Arc<Authenticator>) -> Demo {
    Demo::new(loopback_hosts(client.port()), move |user| {
        crate::ids::check_id(user).ok()?;
        let token = policy::sign(&config, user, DEMO_TOKEN_TTL, serde_json::Map::new()).ok()?;
        // What the server itself makes of the token, so that the page is told exactly when it will be closed.
        let expires_at = authenticator.authenticate(&token, wall_clock()).ok()?.expires_at?;
        Some(DemoToken { token, expires_at })
    })
}

/// Often enough for the shortest time that is configured.
fn sweep_interval(config: &Config) -> Duration {
    let timing = &config.timing;
    let shortest =
        [timing.auth_ms_max, timing.ping_ms, timing.pong_ms_max, timing.close_ms_max, config.limits.outbox_ms_max]
            .into_iter()
            .min();
    Duration::from_millis(shortest.unwrap_or(u64::MAX) / 4).clamp(SWEEP_MIN, SWEEP_MAX)
}

/// Folds histograms now and then, as the exporter wants it.
async fn keep_metrics(metrics: Arc<Metrics>) {
    let handle = metrics.handle();
    let mut interval = tokio::time::interval(METRICS_UPKEEP);
    loop {
        interval.tick().await;
        handle.run_upkeep();
    }
}

/// The shards' clock.
async fn tick(ticks: watch::Sender<Instant>, every: Duration) {
    let mut interval = tokio::time::interval(every);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        ticks.send_replace(Instant::now());
    }
}

/// What every shard is made of.
struct ShardParts<'a> {
    config: &'a Config,
    shards: u16,
    mailboxes: Mailboxes,
    authenticator: Arc<Authenticator>,
    plugins: Plugins,
    metrics: Arc<Metrics>,
}

impl ShardParts<'_> {
    /// Starts a shard's thread. What a shard owns cannot leave its thread, so it is made there.
    fn spawn(&self, shard: ShardId, inbox: Inbox, gate: Arc<Gate>) -> io::Result<JoinHandle<io::Result<()>>> {
        let settings = Arc::new(self.session_settings());
        let relay_settings = Arc::new(self.relay_settings());
        let hub = self.hub_limits();
        let store = Partition::new(Arc::new(Classes::new(&self.config.store, &self.config.rooms)), self.store_limits());
        let chain = self.plugins.chain(shard, &self.metrics);
        let (mailboxes, metrics, authenticator) =
            (self.mailboxes.clone(), Arc::clone(&self.metrics), Arc::clone(&self.authenticator));
        std::thread::Builder::new().name(format!("shard-{}", shard.0)).spawn(move || {
            let parts = relay::Parts {
                shard,
                settings: relay_settings,
                hub,
                store,
                chain,
                mailboxes,
                metrics: Arc::clone(&metrics),
            };
            run_shard(Shard::new(shard, settings, authenticator, Relay::new(parts), metrics), inbox, gate)
        })
    }

    fn session_settings(&self) -> session::Settings {
        let (limits, timing) = (&self.config.limits, &self.config.timing);
        session::Settings {
            state: StateSettings {
                requests_per_second_max: limits.requests_per_second_max,
                request_burst_max: limits.request_burst_max,
                rate_refusals_max: limits.rate_refusals_max,
                invalid_frames_max: limits.invalid_frames_max,
                auth_max: Duration::from_millis(timing.auth_ms_max),
                ping: Duration::from_millis(timing.ping_ms),
                pong_max: Duration::from_millis(timing.pong_ms_max),
                token_expiring: Duration::from_millis(timing.token_expiring_ms),
            },
            drain: Duration::from_millis(timing.drain_ms),
        }
    }

    fn relay_settings(&self) -> relay::Settings {
        let limits = &self.config.limits;
        relay::Settings {
            node: Arc::from(format!("{:x}", std::process::id())),
            limits: LimitsInfo {
                message_bytes_max: limits.message_bytes_max,
                rooms_max: limits.rooms_per_connection_max,
                ping_ms: self.config.timing.ping_ms,
            },
            rooms_per_connection_max: limits.rooms_per_connection_max,
            recover_bytes_max: limits.outbox_bytes_max,
        }
    }

    fn hub_limits(&self) -> hub::Limits {
        let limits = &self.config.limits;
        hub::Limits {
            room_flush: Duration::from_millis(self.config.delivery.room_flush_ms),
            outbox_bytes_max: limits.outbox_bytes_max,
            outbox_frames_max: limits.outbox_frames_max,
            outbox_age_max: Duration::from_millis(limits.outbox_ms_max),
            close_max: Duration::from_millis(self.config.timing.close_ms_max),
        }
    }

    /// Each partition gets its share of what is bounded for all together.
    fn store_limits(&self) -> store::Limits {
        let (limits, store) = (&self.config.limits, &self.config.store);
        let share = |total: usize| total.div_ceil(usize::from(self.shards));
        store::Limits {
            rooms_max: share(store.rooms_max),
            total_bytes_max: share(store.total_bytes_max),
            dedup_ms: store.dedup_seconds.saturating_mul(1000),
            dedup_entries_max: share(store.dedup_entries_max),
            connections_per_user_max: limits.connections_per_user_max,
            rooms_per_user_max: limits.rooms_per_user_max,
            members_per_room_max: limits.members_per_room_max,
            member_events_max: if limits.member_events_max == 0 { usize::MAX } else { limits.member_events_max },
            online_users_max: limits.online_users_max,
            recover_events_max: limits.recover_events_max,
            recover_bytes_max: limits.recover_bytes_max,
        }
    }
}
