//! The plugin host as a whole: it lives as long as the server, and makes a generation of each configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::auth::{Auth, Link, Settings};
use super::chain::Chain;
use super::host::Forget;
use super::jwt::Authenticator;
use super::load::{LoadError, Loader};
use super::plugin::{Plugin, World};
use super::pool::Pool;
use crate::config::Config;
use crate::ids::ShardId;
use crate::metrics::Metrics;

/// Threads on which auth plugins run.
const POOL_THREADS: usize = 2;

/// The plugin host.
pub struct Policies {
    loader: Loader,
    /// Taken out only to be shut down.
    runtime: Option<tokio::runtime::Runtime>,
    metrics: Arc<Metrics>,
    forget: Forget,
    shards: u16,
    generations: AtomicU64,
}

/// What one configuration makes of the plugins: a chain of filters for each shard, and the one auth chain.
pub struct Generation {
    /// Who a connection is, and what it may do.
    pub auth: Arc<Auth>,
    /// By shard.
    pub chains: Vec<Chain>,
}

impl Policies {
    /// Starts the engine and the pool's threads. `forget` is called when a plugin wants verdicts forgotten.
    ///
    /// # Errors
    ///
    /// When the system has no thread for it.
    pub fn start(config: &Config, shards: u16, metrics: Arc<Metrics>, forget: Forget) -> Result<Self, LoadError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(POOL_THREADS)
            .thread_name("plugin-pool")
            .enable_time()
            .build()
            .map_err(|error| LoadError::Engine(error.to_string()))?;
        Ok(Self {
            loader: Loader::start(Some(&config.data_directory))?,
            runtime: Some(runtime),
            metrics,
            forget,
            shards,
            generations: AtomicU64::new(0),
        })
    }

    /// Loads what a configuration names. Nothing that runs is touched. It may take seconds: not on a thread that serves.
    ///
    /// # Errors
    ///
    /// Every plugin that cannot be loaded.
    pub fn load(&self, config: &Config, authenticator: Arc<Authenticator>) -> Result<Generation, Vec<LoadError>> {
        let plugins = self.loader.load(&config.plugins, &self.metrics)?;
        let filters: Vec<Arc<Plugin>> =
            plugins.iter().flatten().filter(|plugin| matches!(plugin.world, World::Filter(_))).cloned().collect();
        let chain = |shard| Chain::new(&filters, &self.loader.builder, ShardId(shard), self.shards);
        let chains = (0..self.shards).map(chain).collect();
        let has_place = plugins.iter().any(Option::is_none);
        let links = plugins.into_iter().filter_map(|plugin| match plugin {
            None => Some(Link::Jwt),
            Some(plugin) => matches!(plugin.world, World::Auth(_))
                .then(|| Link::Plugin(Pool::new(plugin, Arc::clone(&self.forget)))),
        });
        let links = links.chain((!has_place).then_some(Link::Jwt)).collect();
        let settings = Settings {
            when_all_abstain: config.auth.when_all_abstain,
            verdict_max: Duration::from_millis(config.auth.verdict_ms_max),
            denial_max: Duration::from_millis(config.auth.denial_ms_max),
        };
        let generation = self.generations.fetch_add(1, Ordering::Relaxed) + 1;
        let runtime = self.runtime.as_ref().map(|runtime| runtime.handle().clone());
        let runtime = runtime.ok_or_else(|| vec![LoadError::Engine("the plugin host has stopped".to_owned())])?;
        let auth = Auth::new(links, authenticator, settings, runtime, generation);
        Ok(Generation { auth: Arc::new(auth), chains })
    }

    /// Lets the instances of a chain that is no longer used end, in their own time.
    pub fn retire(&self, auth: Arc<Auth>) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(async move { auth.retire().await });
        }
    }
}

impl Drop for Policies {
    fn drop(&mut self) {
        // A guest that never ends must not keep the server from ending.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Loads every plugin of a configuration and says what is wrong with them.
pub fn check(config: &Config) -> Vec<LoadError> {
    let Ok(metrics) = Metrics::new() else { return Vec::new() };
    match Loader::start(None) {
        Ok(loader) => loader.load(&config.plugins, &metrics).err().unwrap_or_default(),
        Err(error) => vec![error],
    }
}
