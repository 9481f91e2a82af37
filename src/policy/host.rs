//! What a guest may call, and the bounds on it. Nothing here waits, and nothing here knows what a guest is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use thiserror::Error;
use wasmtime::ResourceLimiter;

use super::overtime::Overtime;

use super::bindings::auth::stentor::plugin::{attributes, verdicts};
use super::bindings::filter::stentor::plugin::{log, types};
use crate::metrics::PluginMetrics;

/// Calls of the host that one call of a guest may make, of all host functions together.
const HOST_CALLS_MAX: u32 = 100_000;

/// Entries of all a guest's tables together.
pub(super) const TABLE_ENTRIES_MAX: usize = 100_000;

/// Lines that one call may log, whatever the plugin's budget.
const LOG_LINES_PER_CALL_MAX: u32 = 10;

/// Longest log line of a guest, in bytes; the rest is cut.
const LOG_LINE_BYTES_MAX: usize = 1024;

/// Users whose verdicts one call may have forgotten. One more, and everybody's are.
const FORGOTTEN_PER_CALL_MAX: usize = 16;

/// Called with a user whose verdicts are to be forgotten; with an empty name for everybody.
pub type Forget = Arc<dyn Fn(&str) + Send + Sync>;

/// A guest called the host more often than one call may.
#[derive(Debug, Error)]
#[error("more than {HOST_CALLS_MAX} calls of the host")]
pub(super) struct HostCallsExceeded;

/// What host functions need to know of the guest that calls them.
pub(super) struct Host {
    plugin: Arc<str>,
    log_budget: Arc<LogBudget>,
    log_lines_left: u32,
    host_calls_left: u32,
    /// Turns of processor time that a guest on a stack of its own has left in this call.
    pub(super) turns_left: u64,
    /// Users whose verdicts are to be forgotten when the call is over; an empty name stands for all.
    forgotten: Vec<String>,
    /// The time of a call on a shard's own stack.
    pub(super) overtime: Overtime,
    /// Bounds on memory, and what is used of it.
    pub(super) limits: MemoryLimits,
}

/// Bounds what all memories and tables of a store take together.
pub(super) struct MemoryLimits {
    /// Bytes of all memories.
    pub(super) memory_bytes: usize,
    memory_bytes_max: usize,
    table_entries: usize,
}

impl Host {
    pub(super) fn new(plugin: Arc<str>, log_budget: Arc<LogBudget>, memory_bytes_max: usize) -> Self {
        Self {
            plugin,
            log_budget,
            log_lines_left: LOG_LINES_PER_CALL_MAX,
            host_calls_left: HOST_CALLS_MAX,
            turns_left: 0,
            forgotten: Vec::new(),
            overtime: Overtime::new(Instant::now()),
            limits: MemoryLimits { memory_bytes: 0, memory_bytes_max, table_entries: 0 },
        }
    }

    /// A call begins: it has a budget of its own.
    pub(super) fn begin_call(&mut self, turns: u64) {
        self.log_lines_left = LOG_LINES_PER_CALL_MAX;
        self.host_calls_left = HOST_CALLS_MAX;
        self.turns_left = turns;
    }

    /// Whose verdicts the call wants forgotten.
    pub(super) fn take_forgotten(&mut self) -> Vec<String> {
        std::mem::take(&mut self.forgotten)
    }

    fn called(&mut self) -> wasmtime::Result<()> {
        self.host_calls_left = self.host_calls_left.checked_sub(1).ok_or(HostCallsExceeded)?;
        Ok(())
    }
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

impl attributes::Host for Host {}

impl log::Host for Host {
    fn enabled(&mut self, level: log::Level) -> wasmtime::Result<bool> {
        self.called()?;
        Ok(match level {
            log::Level::Trace => tracing::enabled!(tracing::Level::TRACE),
            log::Level::Debug => tracing::enabled!(tracing::Level::DEBUG),
            log::Level::Info => tracing::enabled!(tracing::Level::INFO),
            log::Level::Warn => tracing::enabled!(tracing::Level::WARN),
            log::Level::Error => tracing::enabled!(tracing::Level::ERROR),
        })
    }

    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        self.called()?;
        if self.log_lines_left == 0 {
            self.log_budget.suppress();
            return Ok(());
        }
        self.log_lines_left -= 1;
        let Some(suppressed) = self.log_budget.take() else { return Ok(()) };
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
        Ok(())
    }
}

impl verdicts::Host for Host {
    fn forget(&mut self, subject: String) -> wasmtime::Result<()> {
        self.called()?;
        if self.forgotten.iter().any(|known| known.is_empty() || *known == subject) {
            return Ok(());
        }
        if self.forgotten.len() >= FORGOTTEN_PER_CALL_MAX || subject.is_empty() {
            self.forgotten = vec![String::new()];
        } else {
            self.forgotten.push(subject);
        }
        Ok(())
    }
}

/// How many lines a plugin may still log, all its instances together.
pub(super) struct LogBudget {
    lines_per_second_max: u32,
    window: Mutex<(Instant, u32)>,
    /// Since the last line that was kept.
    suppressed: AtomicU64,
    metrics: PluginMetrics,
}

impl LogBudget {
    pub(super) fn new(lines_per_second_max: u32, metrics: PluginMetrics) -> Self {
        Self { lines_per_second_max, window: Mutex::new((Instant::now(), 0)), suppressed: AtomicU64::new(0), metrics }
    }

    fn suppress(&self) {
        self.suppressed.fetch_add(1, Ordering::Relaxed);
        self.metrics.log_lines_suppressed.increment(1);
    }

    /// Takes one line of the budget. Otherwise counts it; `Some(n)` with a line that is granted says how many were not.
    fn take(&self) -> Option<u64> {
        let mut window = self.window.lock();
        if window.0.elapsed() >= Duration::from_secs(1) {
            *window = (Instant::now(), 0);
        }
        if window.1 >= self.lines_per_second_max {
            self.suppress();
            return None;
        }
        window.1 += 1;
        Some(self.suppressed.swap(0, Ordering::Relaxed))
    }
}
