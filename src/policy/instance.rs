//! One live instance of a message filter: a store of its own, called on the calling thread.
//!
//! A failed call leaves a store that nothing more can be asked of, so whoever sees a failure drops the instance.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::Store;

use super::bindings::filter::MessageFilterPlugin;
use super::bindings::filter::exports::stentor::plugin::lifecycle;
use super::bindings::filter::exports::stentor::plugin::message_filter::Verdict;
use super::bindings::filter::stentor::plugin::types::PayloadParam;
use super::chain::Question;
use super::clock::Watch;
use super::host::Host;
use super::overtime::Overtime;
use super::plugin::{Fault, Manifest, Plugin, World};

/// Bytes that a guest may hand to the host in one call.
pub(super) const HOST_CALL_BYTES_MAX: usize = 1 << 20;

/// Time for instantiation and `configure`: guests of interpreted languages are slow to start.
pub(super) const CONFIGURE_MAX: Duration = Duration::from_secs(2);

/// Time for `retire`.
pub(super) const RETIRE_MAX: Duration = Duration::from_millis(10);

/// Why there is no instance.
#[derive(Debug)]
pub(super) enum Failure {
    /// The plugin does not accept its configuration.
    Configuration {
        /// JSON pointer to the value, empty for the whole.
        path: String,
        message: String,
    },
    /// A trap, a deadline, a limit, an answer that is none.
    Call(wasmtime::Error),
}

impl Failure {
    /// What it was, in a word.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Configuration { .. } => "configuration",
            Self::Call(error) => Fault::of(error).name(),
        }
    }
}

/// One live instance.
pub(super) struct Instance {
    store: Store<Host>,
    watch: Watch,
    guest: MessageFilterPlugin,
    plugin: Arc<Plugin>,
    pub(super) calls: u64,
}

impl Instance {
    /// Instantiates and configures, in so much time. `index` and `count` say which instance this is.
    pub(super) fn new(
        plugin: &Arc<Plugin>,
        (index, count): (u32, u32),
        time_max: Duration,
    ) -> Result<(Self, Manifest), Failure> {
        let began = Instant::now();
        let World::Filter(pre) = &plugin.world else {
            return Err(Failure::Call(wasmtime::Error::msg("not a message filter")));
        };
        let host = Host::new(Arc::clone(&plugin.name), Arc::clone(&plugin.log_budget), plugin.memory_bytes_max);
        let mut store = Store::new(&plugin.engine, host);
        store.limiter(|host| &mut host.limits);
        store.set_hostcall_fuel(HOST_CALL_BYTES_MAX);
        store.epoch_deadline_callback(|mut context| Ok(context.data_mut().overtime.look()));
        let watch = plugin.clock.watch();
        begin(&mut store, &watch, began + time_max);
        let guest = pre.instantiate(&mut store).map_err(Failure::Call)?;
        let config = lifecycle::Config { json: &plugin.config_json, instance_index: index, instance_count: count };
        let answer = guest.stentor_plugin_lifecycle().call_configure(&mut store, config).map_err(Failure::Call)?;
        let manifest = answer.map_err(|error| Failure::Configuration { path: error.path, message: error.message })?;
        watch.rest();
        plugin.metrics.instances.increment(1.0);
        plugin.started_in(began.elapsed());
        Ok((Self { store, watch, guest, plugin: Arc::clone(plugin), calls: 0 }, manifest.into()))
    }

    /// Asks what is to become of a message, in a call that began at that time.
    pub(super) fn filter(
        &mut self,
        question: &Question<'_>,
        body: &str,
        began: Instant,
    ) -> Result<Verdict, wasmtime::Error> {
        self.calls += 1;
        begin(&mut self.store, &self.watch, began + self.plugin.call_max);
        let Question { connection, subject, room, event } = question;
        let (filter, body) = (self.guest.stentor_plugin_message_filter(), PayloadParam::Text(body));
        let verdict = filter.call_filter(&mut self.store, connection.0, subject, room, event, body);
        self.watch.rest();
        verdict
    }

    /// Bytes of all its memories.
    pub(super) fn memory_bytes(&self) -> usize {
        self.store.data().limits.memory_bytes
    }

    /// Lets a healthy instance end.
    pub(super) fn retire(mut self) {
        begin(&mut self.store, &self.watch, Instant::now() + RETIRE_MAX);
        if let Err(error) = self.guest.stentor_plugin_lifecycle().call_retire(&mut self.store) {
            tracing::warn!(plugin = %self.plugin.name, kind = Fault::of(&error).name(), "plugin failed while it was being retired");
        }
    }
}

/// A call begins. At every look of the clock it is to look, too.
fn begin(store: &mut Store<Host>, watch: &Watch, deadline: Instant) {
    let host = store.data_mut();
    host.begin_call(0);
    host.overtime = Overtime::new(deadline);
    store.set_epoch_deadline(1);
    watch.until(deadline);
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.plugin.metrics.instances.decrement(1.0);
    }
}
