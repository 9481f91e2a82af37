//! The composition root: from a configuration to a running server. The one file that knows every part.

mod keys;
mod reload;
mod remote;
mod settings;
#[cfg(test)]
mod simulation;
mod storage;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use thiserror::Error;
use tokio::sync::{mpsc, watch};

use keys::{Keys, endpoint, issuer};
pub use reload::ReloadError;
use reload::{InForce, RELOADS_MAX};
pub use settings::ApiKeyError;
use settings::{api_rules, hub_limits, relay_settings, rules, session_settings, store_limits, sweep_interval};
use storage::{Beginning, Storage, Ways};

use crate::config::{ApiKey, Config, DevelopmentKeyError, Problem, development_api_key, development_key};
use crate::ids::ShardId;
use crate::metrics::Metrics;
use crate::net::{
    Acceptor, Admin, Admissions, Api, Demo, DemoToken, EndpointError, Gate, Inbox, Readiness, bind, run_shard,
};
use crate::policy::{self, Auth, Authenticator, Chain, Generation, KeyError, LoadError, Policies, Revocations};
use crate::relay::{self, Mailboxes, Relay, wall_clock};
use crate::session::Shard;
use crate::store::{Classes, Engine, LinkSettingsError, LinkStartError, Partition, Remote, StoreError};

/// Threads for what is not a connection's: accepting, metrics.
const CONTROL_THREADS: usize = 1;

/// How often histograms are folded, so that their samples do not pile up between scrapes.
const METRICS_UPKEEP: Duration = Duration::from_secs(1);

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
    /// Published keys can never be fetched from where they are said to be.
    #[error("auth.jwks_url: {0}")]
    Issuer(#[from] EndpointError),
    /// A key of the server API cannot be used.
    #[error(transparent)]
    ApiKey(#[from] ApiKeyError),
    /// The development key cannot be had.
    #[error(transparent)]
    DevelopmentKey(#[from] DevelopmentKeyError),
    /// Plugins cannot be loaded.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Plugins(Vec<LoadError>),
    /// What was kept cannot be read, or nothing can be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Redis cannot be used.
    #[error(transparent)]
    Redis(#[from] LinkStartError),
    /// Where Redis is said to be, it cannot be.
    #[error("redis.url: {0}")]
    RedisAddress(#[from] LinkSettingsError),
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
    metrics: Arc<Metrics>,
    in_force: Mutex<InForce>,
    policies: Policies,
    /// They end when the last shard has.
    disk: Vec<JoinHandle<()>>,
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
        let (mailboxes, mail) = Mailboxes::new(shards);
        let revocations = Arc::new(Revocations::default());
        let api = Api::new(api_rules(&config)?, mailboxes.clone(), Arc::clone(&revocations), Arc::clone(&metrics));
        let api = Arc::new(api);
        let forgetful = mailboxes.clone();
        let forget: policy::Forget = Arc::new(move |user| forgetful.forget(user));
        let policies = Policies::start(&config, shards, Arc::clone(&metrics), forget)
            .map_err(|error| StartError::Plugins(vec![error]))?;
        let Generation { auth, chains } =
            policies.load(&config, Arc::clone(&authenticator)).map_err(StartError::Plugins)?;
        metrics.policy.generation.set(auth.generation() as f64);
        let readiness = Arc::new(Readiness::default());
        let issuer = issuer(&config, &authenticator, &metrics, &readiness)?;
        let gate = gate(&config, client, Arc::clone(&auth), Arc::clone(&authenticator), Arc::clone(&metrics));
        let gate = Arc::new(gate);
        let (stop, stopped) = watch::channel(false);
        let (ticks, clock) = watch::channel(Instant::now());

        let control = control_runtime()?;
        let entered = control.enter();
        let client_listener = tokio::net::TcpListener::from_std(bind(listeners.client)?)?;
        let admin_listener = tokio::net::TcpListener::from_std(bind(listeners.admin)?)?;
        let (acceptor, sockets) = Acceptor::new(client_listener, config.limits.handshakes_max, shards);
        drop(entered);

        let Storage { beginnings, ways, threads: disk } = Storage::open(
            &config,
            shards,
            mailboxes.clone(),
            &revocations,
            (Arc::clone(&metrics), Arc::clone(&readiness)),
        )?;
        let counted = Arc::clone(&metrics);
        let parts = ShardParts { config: &config, shards, mailboxes, auth, revocations, ways, metrics: counted };
        let (mut threads, mut reloads) = (Vec::new(), Vec::new());
        let kept = chains.into_iter().zip(beginnings);
        for (((shard, (chain, beginning)), sockets), mail) in (0..shards).map(ShardId).zip(kept).zip(sockets).zip(mail)
        {
            let (reload, reloaded) = mpsc::channel(RELOADS_MAX);
            reloads.push(reload);
            let inbox = Inbox {
                sockets,
                mail,
                reloads: reloaded,
                drain: stopped.clone(),
                drain_max: Duration::from_millis(config.timing.drain_ms.saturating_add(config.timing.close_ms_max)),
                clock: clock.clone(),
            };
            threads.push(parts.spawn(shard, (chain, beginning), inbox, Arc::clone(&gate))?);
        }

        // The shards have the only ways to the storage, so that it ends after them.
        drop(parts);
        let keys = Keys::keep(authenticator, issuer, &readiness, control.handle());
        control.spawn(acceptor.run(stopped.clone()));
        control.spawn(operator(admin_listener, &metrics, &readiness, &api).run());
        control.spawn(keep_metrics(Arc::clone(&metrics)));
        control.spawn(tick(ticks, sweep_interval(&config)));
        let in_force = Mutex::new(InForce { config, keys, api, reloads });
        Ok(Self { client, admin, stop, shards: threads, gate, readiness, metrics, in_force, policies, disk, control })
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
        for thread in self.disk.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
        // A name that is being looked up cannot be called back, and nobody waits for it any more.
        self.control.shutdown_background();
    }
}

/// What would keep a server with this configuration from starting, as far as only trying shows it.
pub fn start_problems(config: &Config) -> Vec<Problem> {
    let keys = Authenticator::new(&config.auth).err().map(|error| error.to_string());
    let issuer = endpoint(config).err().map(|error| StartError::from(error).to_string());
    let mut problems = plugin_faults(config, &policy::check(config));
    let api = api_rules(config).err().map(|error| error.to_string());
    problems.extend([keys, issuer, api].into_iter().flatten().map(|message| Problem::new("", message)));
    problems
}

/// Plugins that could not be loaded, as problems of their configuration.
pub fn plugin_faults(config: &Config, errors: &[LoadError]) -> Vec<Problem> {
    errors.iter().map(|error| problem(config, error)).collect()
}

/// A plugin that cannot be loaded, as a problem of the configuration.
fn problem(config: &Config, error: &LoadError) -> Problem {
    let index = error.plugin().and_then(|name| config.plugins.iter().position(|plugin| plugin.name == name));
    let key = index.map_or_else(|| "plugins".to_owned(), |index| format!("plugins[{index}].{}", error.key()));
    Problem::new(key, error.to_string())
}

/// Fills in what only a starting server knows: the development key, and the origins of its own page.
fn complete(mut config: Config, client: SocketAddr) -> Result<Config, DevelopmentKeyError> {
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
        if config.api.keys.is_empty() {
            let (secret, _) = development_api_key(&config)?;
            let name = "development".to_owned();
            config.api.keys.push(ApiKey { name, secret: Some(secret), secret_env: None, file: None });
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

/// What is not a shard's runs here.
fn control_runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_io()
        .enable_time()
        .build()
}

/// The operator's listener, ready to run.
fn operator(
    listener: tokio::net::TcpListener,
    metrics: &Arc<Metrics>,
    readiness: &Arc<Readiness>,
    api: &Arc<Api>,
) -> Admin {
    Admin { listener, metrics: Arc::clone(metrics), readiness: Arc::clone(readiness), api: Arc::clone(api) }
}

fn gate(
    config: &Config,
    client: SocketAddr,
    auth: Arc<Auth>,
    authenticator: Arc<Authenticator>,
    metrics: Arc<Metrics>,
) -> Gate {
    let limits = &config.limits;
    let admissions = Admissions::new(limits.connections_max, limits.connections_per_address_max);
    metrics.connections_max.set(admissions.connections_max() as f64);
    Gate {
        rules: RwLock::new(Arc::new(rules(config, auth))),
        metrics,
        admissions: Arc::new(admissions),
        draining: AtomicBool::new(false),
        demo: config.development.then(|| demo(config.clone(), client, authenticator)),
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
    auth: Arc<Auth>,
    revocations: Arc<Revocations>,
    ways: Ways,
    metrics: Arc<Metrics>,
}

impl ShardParts<'_> {
    /// Starts a shard's thread. What a shard owns cannot leave its thread, so it is made there.
    fn spawn(
        &self,
        shard: ShardId,
        (chain, beginning): (Chain, Beginning),
        inbox: Inbox,
        gate: Arc<Gate>,
    ) -> io::Result<JoinHandle<io::Result<()>>> {
        let settings = Arc::new(session_settings(self.config));
        let relay_settings = Arc::new(relay_settings(self.config));
        let hub = hub_limits(self.config);
        let store = Partition::new(
            Arc::new(Classes::new(&self.config.store, &self.config.rooms)),
            store_limits(self.config, self.shards),
        );
        let ((journal, reader), revocations) = (self.ways.clone(), Arc::clone(&self.revocations));
        let (mailboxes, metrics, auth) = (self.mailboxes.clone(), Arc::clone(&self.metrics), Arc::clone(&self.auth));
        std::thread::Builder::new().name(format!("shard-{}", shard.0)).spawn(move || {
            let store = match beginning {
                Beginning::Empty => Engine::Embedded(Box::new(store)),
                Beginning::Image(image) => Engine::Embedded(Box::new(store.restored(image))),
                Beginning::Redis(parts) => Engine::Remote(Box::new(Remote::new(*parts))),
            };
            let parts = relay::Parts {
                shard,
                settings: relay_settings,
                hub,
                store,
                journal,
                reader,
                chain,
                auth,
                mailboxes,
                metrics: Arc::clone(&metrics),
            };
            run_shard(Shard::new(shard, settings, Relay::new(parts), metrics, revocations), inbox, gate)
        })
    }
}
