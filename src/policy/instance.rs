//! One live instance of a plugin: a store of its own, its limits, and the host functions it may call.
//!
//! A failed call leaves a store that nothing more can be asked of, so whoever sees a failure drops the instance.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::{ResourceLimiter, Store, Trap};

use super::bindings::MessageFilterPlugin;
use super::bindings::exports::stentor::plugin::lifecycle::{Config, ConfigError, Manifest};
use super::bindings::exports::stentor::plugin::message_filter::Verdict;
use super::bindings::stentor::plugin::types::PayloadParam;
use super::bindings::stentor::plugin::{log, types};
use super::chain::Question;
use super::engine::{Clock, LogBudget, Plugin};

/// Bytes that a guest may hand to the host in one call.
const HOST_CALL_BYTES_MAX: usize = 1 << 20;

/// Entries of all a guest's tables together.
const TABLE_ENTRIES_MAX: usize = 100_000;

/// Lines that one call may log, whatever the plugin's budget.
const LOG_LINES_PER_CALL_MAX: u32 = 10;

/// Longest log line of a guest, in bytes; the rest is cut.
const LOG_LINE_BYTES_MAX: usize = 1024;

/// Time for instantiation and `configure`: guests of interpreted languages are slow to start.
const CONFIGURE_MAX: Duration = Duration::from_secs(2);

/// Time for `retire`.
const RETIRE_MAX: Duration = Duration::from_millis(10);

/// What host functions need to know of the guest that calls them.
pub(super) struct Host {
    plugin: Arc<str>,
    clock: Clock,
    log_budget: Arc<LogBudget>,
    log_lines_left: u32,
    limits: MemoryLimits,
}

/// Bounds what all memories and tables of a store take together.
struct MemoryLimits {
    memory_bytes: usize,
    memory_bytes_max: usize,
    table_entries: usize,
}

impl ResourceLimiter for MemoryLimits {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        let allowed = total <= self.memory_bytes_max;
        if allowed {
            self.memory_bytes = total;
        }
        Ok(allowed)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.table_entries.saturating_add(desired.saturating_sub(current));
        let allowed = total <= TABLE_ENTRIES_MAX;
        if allowed {
            self.table_entries = total;
        }
        Ok(allowed)
    }
}

impl types::Host for Host {}

impl log::Host for Host {
    fn enabled(&mut self, level: log::Level) -> bool {
        match level {
            log::Level::Trace => tracing::enabled!(tracing::Level::TRACE),
            log::Level::Debug => tracing::enabled!(tracing::Level::DEBUG),
            log::Level::Info => tracing::enabled!(tracing::Level::INFO),
            log::Level::Warn => tracing::enabled!(tracing::Level::WARN),
            log::Level::Error => tracing::enabled!(tracing::Level::ERROR),
        }
    }

    fn write(&mut self, level: log::Level, message: String) {
        if self.log_lines_left == 0 {
            return;
        }
        self.log_lines_left -= 1;
        let Some(suppressed) = self.log_budget.take() else { return };
        let plugin = &*self.plugin;
        let message = message.get(..message.floor_char_boundary(LOG_LINE_BYTES_MAX)).unwrap_or_default();
        // Written with its escapes, so that a guest can forge no line and no colour.
        match level {
            log::Level::Trace => tracing::trace!(plugin, suppressed, guest = ?message, "plugin says"),
            log::Level::Debug => tracing::debug!(plugin, suppressed, guest = ?message, "plugin says"),
            log::Level::Info => tracing::info!(plugin, suppressed, guest = ?message, "plugin says"),
            log::Level::Warn => tracing::warn!(plugin, suppressed, guest = ?message, "plugin says"),
            log::Level::Error => tracing::error!(plugin, suppressed, guest = ?message, "plugin says"),
        }
    }
}

/// Why there is no instance, or no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The plugin does not accept its configuration.
    Configuration(ConfigError),
    /// A trap, a deadline, a limit, an answer that is none.
    Call(wasmtime::Error),
}

/// One live instance.
pub(super) struct Instance {
    store: Store<Host>,
    guest: MessageFilterPlugin,
    pub(super) manifest: Manifest,
}

impl Instance {
    /// Instantiates and configures.
    pub(super) fn new(plugin: &Plugin, index: u32, count: u32) -> Result<Self, Failure> {
        let host = Host {
            plugin: Arc::clone(&plugin.name),
            clock: plugin.clock,
            log_budget: Arc::clone(&plugin.log_budget),
            log_lines_left: LOG_LINES_PER_CALL_MAX,
            limits: MemoryLimits { memory_bytes: 0, memory_bytes_max: plugin.memory_bytes_max, table_entries: 0 },
        };
        let mut store = Store::new(&plugin.engine, host);
        store.limiter(|host| &mut host.limits);
        store.set_hostcall_fuel(HOST_CALL_BYTES_MAX);
        store.set_epoch_deadline(plugin.clock.ticks(CONFIGURE_MAX));
        let guest = plugin.pre.instantiate(&mut store).map_err(Failure::Call)?;
        let config = Config { json: &plugin.config_json, instance_index: index, instance_count: count };
        let answer = guest.stentor_plugin_lifecycle().call_configure(&mut store, config).map_err(Failure::Call)?;
        Ok(Self { store, guest, manifest: answer.map_err(Failure::Configuration)? })
    }

    /// Asks what is to become of a message.
    pub(super) fn filter(
        &mut self,
        question: &Question<'_>,
        body: &str,
        ticks_max: u64,
    ) -> Result<Verdict, wasmtime::Error> {
        self.store.set_epoch_deadline(ticks_max);
        self.store.data_mut().log_lines_left = LOG_LINES_PER_CALL_MAX;
        let body = PayloadParam::Text(body);
        let filter = self.guest.stentor_plugin_message_filter();
        filter.call_filter(
            &mut self.store,
            question.connection.0,
            question.subject,
            question.room,
            question.event,
            body,
        )
    }

    /// Lets a healthy instance end.
    pub(super) fn retire(mut self) {
        let deadline = self.store.data().clock.ticks(RETIRE_MAX);
        self.store.set_epoch_deadline(deadline);
        if let Err(error) = self.guest.stentor_plugin_lifecycle().call_retire(&mut self.store) {
            tracing::warn!(plugin = %self.store.data().plugin, error = %trap_name(&error), "plugin failed while it was being retired");
        }
    }
}

/// What kind of failure it was, in a word or two: for logs and metrics, and free of the guest's own words.
pub(super) fn trap_name(error: &wasmtime::Error) -> &'static str {
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => "deadline",
        Some(Trap::UnreachableCodeReached) => "unreachable",
        Some(Trap::StackOverflow) => "stack_overflow",
        Some(Trap::MemoryOutOfBounds) => "memory_out_of_bounds",
        Some(_) => "trap",
        None => "error",
    }
}
