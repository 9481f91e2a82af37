//! Loading plugins: from a configuration to components that are compiled, linked and configured once.
//!
//! What is loaded here is shared by all shards; each shard makes instances of its own from it (`chain`).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use thiserror::Error;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Engine};

use super::bindings::MessageFilterPluginPre;
use super::bindings::exports::stentor::plugin::lifecycle::Manifest;
use super::chain::Chain;
use super::instance::{Failure, Host, Instance};
use super::precompiled::{self, Cache};
use crate::config::{self, OnFailure};
use crate::ids::ShardId;
use crate::metrics::Metrics;

/// How often guests are looked after, at most and at least. A call is ended between one and two such times after its
/// deadline; looking more often would cost an idle server more than it makes a difference to a guest that is stuck.
const TICK_MIN: Duration = Duration::from_millis(1);
const TICK_MAX: Duration = Duration::from_millis(5);

/// The engine's clock: the unit of guests' deadlines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    tick: Duration,
}

impl Clock {
    /// A clock that is as fine as the shortest deadline.
    fn new(plugins: &[config::Plugin]) -> Self {
        let shortest = plugins.iter().map(|plugin| Duration::from_millis(plugin.call_ms_max)).min();
        Self { tick: shortest.unwrap_or(TICK_MAX).clamp(TICK_MIN, TICK_MAX) }
    }

    /// A time in ticks: at least that long, at most one tick longer.
    pub(super) fn ticks(self, time: Duration) -> u64 {
        let ticks = time.as_millis().div_ceil(self.tick.as_millis().max(1));
        u64::try_from(ticks).unwrap_or(u64::MAX).saturating_add(1)
    }
}

/// Largest component that is compiled, in bytes.
const COMPONENT_BYTES_MAX: u64 = 64 << 20;

/// Why the plugins cannot be loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The WebAssembly engine does not start.
    #[error("the WebAssembly engine cannot be started: {0}")]
    Engine(String),
    /// The component cannot be read.
    #[error("plugin {plugin}: cannot read {component}: {reason}")]
    Unreadable {
        /// Which plugin.
        plugin: String,
        /// What was to be read.
        component: String,
        /// Why it cannot be.
        reason: String,
    },
    /// Not a component, or not one of our world.
    #[error("plugin {plugin}: {component} is not a message-filter plugin of this server: {reason}")]
    Unfit {
        /// Which plugin.
        plugin: String,
        /// What was read.
        component: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The plugin does not accept its configuration.
    #[error("plugin {plugin}: its configuration is refused at {path:?}: {reason}")]
    Configuration {
        /// Which plugin.
        plugin: String,
        /// JSON pointer to the value, empty for the whole.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The plugin failed while it was being configured.
    #[error("plugin {plugin}: failed while it was being configured: {reason}")]
    Failed {
        /// Which plugin.
        plugin: String,
        /// How.
        reason: String,
    },
}

impl LoadError {
    /// Which plugin cannot be loaded.
    pub fn plugin(&self) -> Option<&str> {
        match self {
            Self::Engine(_) => None,
            Self::Unreadable { plugin, .. }
            | Self::Unfit { plugin, .. }
            | Self::Configuration { plugin, .. }
            | Self::Failed { plugin, .. } => Some(plugin),
        }
    }

    /// Where in the plugin's configuration the mistake is, as a JSON pointer.
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Configuration { path, .. } => Some(path),
            _ => None,
        }
    }
}

/// One loaded plugin, shared by all shards.
pub(super) struct Plugin {
    pub(super) name: Arc<str>,
    pub(super) on_failure: OnFailure,
    pub(super) clock: Clock,
    pub(super) call_ticks_max: u64,
    pub(super) memory_bytes_max: usize,
    pub(super) config_json: String,
    pub(super) manifest: Manifest,
    pub(super) engine: Engine,
    pub(super) pre: MessageFilterPluginPre<Host>,
    pub(super) log_budget: Arc<LogBudget>,
}

/// All loaded plugins.
pub struct Plugins {
    plugins: Vec<Arc<Plugin>>,
    shards: u32,
}

impl Plugins {
    /// Compiles and configures every plugin of a configuration, for a number of shards. What is compiled is kept in the
    /// data directory, if there is one.
    ///
    /// # Errors
    ///
    /// Every plugin that cannot be loaded.
    pub fn load(
        plugins: &[config::Plugin],
        shards: u16,
        data_directory: Option<&Path>,
    ) -> Result<Self, Vec<LoadError>> {
        let shards = u32::from(shards);
        if plugins.is_empty() {
            return Ok(Self { plugins: Vec::new(), shards });
        }
        let clock = Clock::new(plugins);
        let engine = engine(clock).map_err(|error| vec![error])?;
        let cache = data_directory.map_or_else(Cache::none, Cache::open);
        let (loaded, errors): (Vec<_>, Vec<_>) =
            plugins.iter().map(|plugin| load(&engine, &cache, clock, plugin, shards)).partition(Result::is_ok);
        if errors.is_empty() {
            Ok(Self { plugins: loaded.into_iter().flatten().map(Arc::new).collect(), shards })
        } else {
            Err(errors.into_iter().filter_map(Result::err).collect())
        }
    }

    /// The chain of a shard, with instances of its own.
    pub fn chain(&self, shard: ShardId, metrics: &Metrics) -> Chain {
        Chain::new(&self.plugins, shard, self.shards, metrics)
    }
}

/// Loads every plugin of a configuration and says what is wrong with them. It leaves nothing on disk.
pub fn check(plugins: &[config::Plugin]) -> Vec<LoadError> {
    Plugins::load(plugins, 1, None).err().unwrap_or_default()
}

/// The one engine, and the thread that moves its clock.
fn engine(clock: Clock) -> Result<Engine, LoadError> {
    let mut config = Config::new();
    config.wasm_component_model(true).epoch_interruption(true);
    // Components of the asynchronous kind are refused at load, and every call is two to three times as fast.
    config.concurrency_support(false);
    let engine = Engine::new(&config).map_err(|error| LoadError::Engine(error.to_string()))?;
    let weak = engine.weak();
    let tick = move || {
        while let Some(engine) = weak.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(clock.tick);
        }
    };
    let thread = std::thread::Builder::new().name("plugin-clock".to_owned()).spawn(tick);
    thread.map_err(|error| LoadError::Engine(error.to_string()))?;
    Ok(engine)
}

/// Components that come with the server.
fn bundled(name: &str) -> Option<&'static [u8]> {
    match name {
        "message-policy" => Some(include_bytes!("../../plugins/built/message-policy.wasm")),
        _ => None,
    }
}

fn component_bytes(plugin: &config::Plugin) -> Result<Vec<u8>, LoadError> {
    let unreadable = |reason: String| LoadError::Unreadable {
        plugin: plugin.name.clone(),
        component: plugin.component.clone(),
        reason,
    };
    if let Some(name) = plugin.component.strip_prefix("bundled:") {
        return bundled(name)
            .map(<[u8]>::to_vec)
            .ok_or_else(|| unreadable("no such plugin comes with the server".to_owned()));
    }
    let path = Path::new(&plugin.component);
    let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if size > COMPONENT_BYTES_MAX {
        return Err(unreadable(format!("{size} bytes are more than the {COMPONENT_BYTES_MAX} that are compiled")));
    }
    std::fs::read(path).map_err(|error| unreadable(error.to_string()))
}

fn load(
    engine: &Engine,
    cache: &Cache,
    clock: Clock,
    plugin: &config::Plugin,
    shards: u32,
) -> Result<Plugin, LoadError> {
    let bytes = component_bytes(plugin)?;
    let unfit = |error: wasmtime::Error| LoadError::Unfit {
        plugin: plugin.name.clone(),
        component: plugin.component.clone(),
        reason: error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": "),
    };
    let component = cache.component(engine, &bytes, &precompiled::sha256(&bytes)).map_err(unfit)?;
    let mut linker = Linker::new(engine);
    super::bindings::MessageFilterPlugin::add_to_linker::<Host, HasSelf<Host>>(&mut linker, |host| host)
        .map_err(unfit)?;
    let pre = linker.instantiate_pre(&component).and_then(MessageFilterPluginPre::new).map_err(unfit)?;
    let mut loaded = Plugin {
        name: Arc::from(plugin.name.as_str()),
        on_failure: plugin.on_failure,
        clock,
        call_ticks_max: clock.ticks(Duration::from_millis(plugin.call_ms_max)),
        memory_bytes_max: plugin.memory_bytes_max,
        config_json: serde_json::Value::Object(plugin.config.clone()).to_string(),
        manifest: Manifest { name: String::new(), version: String::new(), interests: Vec::new() },
        engine: engine.clone(),
        pre,
        log_budget: Arc::new(LogBudget::new(plugin.log_lines_per_second_max)),
    };
    // A first instance finds out whether the plugin accepts its configuration, before there is any traffic.
    loaded.manifest =
        Instance::new(&loaded, 0, shards).map(|instance| instance.manifest).map_err(|failure| match failure {
            Failure::Configuration(error) => {
                LoadError::Configuration { plugin: plugin.name.clone(), path: error.path, reason: error.message }
            }
            Failure::Call(error) => LoadError::Failed { plugin: plugin.name.clone(), reason: format!("{error:#}") },
        })?;
    tracing::info!(
        plugin = %loaded.name,
        component = %loaded.manifest.name,
        version = %loaded.manifest.version,
        "plugin loaded"
    );
    Ok(loaded)
}

/// How many lines a plugin may still log, all its instances together.
pub(super) struct LogBudget {
    lines_per_second_max: u32,
    window: Mutex<(Instant, u32)>,
    suppressed: AtomicU64,
}

impl LogBudget {
    fn new(lines_per_second_max: u32) -> Self {
        Self { lines_per_second_max, window: Mutex::new((Instant::now(), 0)), suppressed: AtomicU64::new(0) }
    }

    /// Takes one line of the budget. Otherwise counts it; `Some(n)` with a line that is granted says how many were not.
    pub(super) fn take(&self) -> Option<u64> {
        let mut window = self.window.lock();
        if window.0.elapsed() >= Duration::from_secs(1) {
            *window = (Instant::now(), 0);
        }
        if window.1 >= self.lines_per_second_max {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        window.1 += 1;
        Some(self.suppressed.swap(0, Ordering::Relaxed))
    }
}
