//! Loading plugins: from a configuration to components that are checked, compiled, linked and configured once.
//!
//! What is loaded here is shared by all that make instances of it. Nothing of it touches what is running, so a load that
//! fails leaves everything as it was.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use thiserror::Error;
use wasmtime::Engine;
use wasmtime::component::{Component, HasSelf, Linker};

use super::bindings::auth::{AuthPlugin, AuthPluginPre};
use super::bindings::filter::{MessageFilterPlugin, MessageFilterPluginPre};
use super::builder::Builder;
use super::clock::Clock;
use super::engine;
use super::host::{Host, TABLE_ENTRIES_MAX};
use super::instance::{CONFIGURE_MAX, Failure, Instance};
use super::plugin::{Parts, Plugin, World, loggable};
use super::pool;
use super::precompiled::{Cache, sha256};
use crate::config;
use crate::metrics::Metrics;

/// Largest component that is compiled, in bytes.
const COMPONENT_BYTES_MAX: u64 = 64 << 20;

/// Processor time of one call, if the configuration does not say: a filter holds up its shard, an auth plugin nobody.
const FILTER_CALL_MAX: Duration = Duration::from_millis(5);
const AUTH_CALL_MAX: Duration = Duration::from_millis(50);

/// Interfaces by which a world is told.
const FILTER_INTERFACE: &str = "stentor:plugin/message-filter@0.1.0";
const AUTH_INTERFACE: &str = "stentor:plugin/auth@0.1.0";
const LIFECYCLE_INTERFACE: &str = "stentor:plugin/lifecycle@0.1.0";

/// Bytes of a WebAssembly file's head.
const WASM_MAGIC: &[u8] = b"\0asm";

/// Why plugins cannot be loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The WebAssembly engine, or a thread beside it, does not start.
    #[error("the plugin host cannot be started: {0}")]
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
    /// Not the component that the operator pinned.
    #[error("plugin {plugin}: {component} has the SHA-256 {actual}, not the one in `sha256`")]
    OtherDigest {
        /// Which plugin.
        plugin: String,
        /// What was read.
        component: String,
        /// Its digest in hexadecimal.
        actual: String,
    },
    /// Not a component, or not one of our worlds.
    #[error("plugin {plugin}: {component} is no plugin of this server: {reason}")]
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
            | Self::OtherDigest { plugin, .. }
            | Self::Unfit { plugin, .. }
            | Self::Configuration { plugin, .. }
            | Self::Failed { plugin, .. } => Some(plugin),
        }
    }

    /// Where in the plugin's entry the mistake is: a key, with a JSON pointer behind it in its own configuration.
    pub fn key(&self) -> String {
        match self {
            Self::Configuration { path, .. } => format!("config{}", path.replace('/', ".")),
            Self::OtherDigest { .. } => "sha256".to_owned(),
            _ => "component".to_owned(),
        }
    }
}

/// What all plugins of a process share, from one configuration to the next.
pub(super) struct Loader {
    engine: Engine,
    pub(super) clock: Clock,
    pub(super) builder: Builder,
    cache: Cache,
    /// Components of the configuration that is in force, so that what did not change is not compiled again.
    compiled: Mutex<HashMap<[u8; 32], Component>>,
}

impl Loader {
    /// Starts the engine. Precompiled components are kept below the data directory, if there is one.
    pub(super) fn start(data_directory: Option<&Path>) -> Result<Self, LoadError> {
        let (engine, clock) = engine::start().map_err(LoadError::Engine)?;
        let builder = Builder::start().map_err(|error| LoadError::Engine(error.to_string()))?;
        let cache = data_directory.map_or_else(Cache::none, Cache::open);
        Ok(Self { engine, clock, builder, cache, compiled: Mutex::default() })
    }

    /// Loads every plugin of a configuration, in its order; `None` stands for the built-in token check.
    ///
    /// A first instance of each finds out whether it accepts its configuration, before there is any traffic.
    pub(super) fn load(
        &self,
        plugins: &[config::Plugin],
        metrics: &Metrics,
    ) -> Result<Vec<Option<Arc<Plugin>>>, Vec<LoadError>> {
        let mut compiled = HashMap::new();
        let (loaded, errors): (Vec<_>, Vec<_>) = plugins
            .iter()
            .map(|plugin| {
                if plugin.component == config::BUILTIN_JWT {
                    return Ok(None);
                }
                self.load_one(plugin, metrics, &mut compiled).map(Some)
            })
            .partition(Result::is_ok);
        if !errors.is_empty() {
            return Err(errors.into_iter().filter_map(Result::err).collect());
        }
        *self.compiled.lock() = compiled;
        let loaded: Vec<Option<Arc<Plugin>>> = loaded.into_iter().flatten().collect();
        self.clock.suit(loaded.iter().flatten().map(|plugin| plugin.call_max));
        Ok(loaded)
    }

    fn load_one(
        &self,
        plugin: &config::Plugin,
        metrics: &Metrics,
        compiled: &mut HashMap<[u8; 32], Component>,
    ) -> Result<Arc<Plugin>, LoadError> {
        let bytes = component_bytes(plugin)?;
        let digest = sha256(&bytes);
        check_pin(plugin, &digest)?;
        let unfit = |reason: String| LoadError::Unfit {
            plugin: plugin.name.clone(),
            component: plugin.component.clone(),
            reason,
        };
        if !bytes.starts_with(WASM_MAGIC) {
            return Err(unfit("it is not WebAssembly".to_owned()));
        }
        let known = compiled.get(&digest).cloned().or_else(|| self.compiled.lock().get(&digest).cloned());
        let component = match known {
            Some(component) => component,
            None => self.cache.component(&self.engine, &bytes, &digest).map_err(|error| unfit(chain_of(&error)))?,
        };
        compiled.insert(digest, component.clone());
        check_resources(&component, plugin).map_err(unfit)?;
        let world = self.world(&component).map_err(unfit)?;
        let default = match world {
            World::Filter(_) => FILTER_CALL_MAX,
            World::Auth(_) => AUTH_CALL_MAX,
        };
        let parts = Parts {
            metrics: metrics.plugin(&plugin.name, world.hooks()),
            world,
            engine: self.engine.clone(),
            clock: self.clock.clone(),
            call_max: engine::call_max(plugin, default),
        };
        let loaded = Arc::new(Plugin::new(plugin, parts));
        let manifest = match loaded.world {
            World::Filter(_) => Instance::new(&loaded, (0, 1), CONFIGURE_MAX).map(|(instance, manifest)| {
                self.builder.retire(instance);
                manifest
            }),
            World::Auth(_) => pool::try_out(&loaded),
        };
        let manifest = manifest.map_err(|failure| match failure {
            Failure::Configuration { path, message } => LoadError::Configuration {
                plugin: plugin.name.clone(),
                path: loggable(&path),
                reason: loggable(&message),
            },
            Failure::Call(error) => LoadError::Failed { plugin: plugin.name.clone(), reason: chain_of(&error) },
        })?;
        tracing::info!(
            plugin = %loaded.name,
            world = loaded.world.name(),
            component = loggable(&manifest.name),
            version = loggable(&manifest.version),
            sha256 = hexadecimal(&digest),
            "plugin loaded"
        );
        loaded.set_manifest(manifest);
        Ok(loaded)
    }

    /// Which world a component is of, linked with what that world may import.
    fn world(&self, component: &Component) -> Result<World, String> {
        let exports = |interface: &str| component.get_export_index(None, interface).is_some();
        let mut linker = Linker::<Host>::new(&self.engine);
        let world = if exports(AUTH_INTERFACE) {
            AuthPlugin::add_to_linker::<Host, HasSelf<Host>>(&mut linker, |host| host)
                .and_then(|()| linker.instantiate_pre(component))
                .and_then(AuthPluginPre::new)
                .map(World::Auth)
        } else if exports(FILTER_INTERFACE) {
            MessageFilterPlugin::add_to_linker::<Host, HasSelf<Host>>(&mut linker, |host| host)
                .and_then(|()| linker.instantiate_pre(component))
                .and_then(MessageFilterPluginPre::new)
                .map(World::Filter)
        } else {
            return Err(format!("it exports neither {AUTH_INTERFACE} nor {FILTER_INTERFACE}"));
        };
        world.map_err(|error| {
            let hint = if exports(LIFECYCLE_INTERFACE) { "" } else { " (every plugin exports lifecycle)" };
            format!("{}{hint}", chain_of(&error))
        })
    }
}

/// Components that come with the server.
fn bundled(name: &str) -> Option<&'static [u8]> {
    match name {
        "message-policy" => Some(include_bytes!("../../plugins/built/message-policy.wasm")),
        "room-acl" => Some(include_bytes!("../../plugins/built/room-acl.wasm")),
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

fn check_pin(plugin: &config::Plugin, digest: &[u8; 32]) -> Result<(), LoadError> {
    let actual = hexadecimal(digest);
    match &plugin.sha256 {
        Some(pinned) if !pinned.eq_ignore_ascii_case(&actual) => {
            Err(LoadError::OtherDigest { plugin: plugin.name.clone(), component: plugin.component.clone(), actual })
        }
        _ => Ok(()),
    }
}

/// Refuses at load what its limits would stop at the first call.
fn check_resources(component: &Component, plugin: &config::Plugin) -> Result<(), String> {
    let Some(needs) = component.resources_required() else {
        return Err("it imports modules, so nobody can say what it needs".to_owned());
    };
    let memory = needs.max_initial_memory_size.unwrap_or(0);
    if memory > plugin.memory_bytes_max as u64 {
        let allowed = plugin.memory_bytes_max;
        return Err(format!("it starts with {memory} bytes of memory, more than memory_bytes_max = {allowed}"));
    }
    let entries = needs.max_initial_table_size.unwrap_or(0);
    if entries > TABLE_ENTRIES_MAX as u64 {
        return Err(format!("it starts with {entries} table entries, more than the {TABLE_ENTRIES_MAX} allowed"));
    }
    Ok(())
}

fn chain_of(error: &wasmtime::Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _never_fails = write!(text, "{byte:02x}");
        text
    })
}
