//! What is counted of plugins: every series has the plugin's configured name and, where it makes a difference, the hook.
//!
//! Handles are made when a plugin is loaded, so that a call looks nothing up.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Label, Unit};

use super::{ByName, Metrics, Register};

/// Results of putting another configuration into force.
pub const RELOAD_RESULTS: [&str; 2] = ["ok", "refused"];

/// Whether a question about rights was answered by a remembered verdict.
pub const VERDICT_RESULTS: [&str; 2] = ["hit", "miss"];

/// A question that a plugin is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GuestHook {
    /// Who is this?
    Authenticate,
    /// May this connection go on with a new token?
    Refresh,
    /// May someone do something in a room?
    Authorize,
    /// What becomes of a message?
    Filter,
}

impl GuestHook {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Authenticate, Self::Refresh, Self::Authorize, Self::Filter];

    /// Its name in metrics, logs and the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Authenticate => "authenticate",
            Self::Refresh => "refresh",
            Self::Authorize => "authorize",
            Self::Filter => "filter",
        }
    }
}

/// What became of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PluginOutcome {
    /// It let pass, changed or discarded.
    Allow,
    /// It refused.
    Deny,
    /// It left the answer to the next.
    Abstain,
    /// It said that it cannot decide, or answered what is no answer.
    Error,
    /// It trapped.
    Trap,
    /// It used more processor time than it may.
    CpuTimeout,
    /// It took longer than it may.
    WallTimeout,
    /// It was not asked: all its instances were busy or not there yet.
    Overload,
    /// It was not asked: it failed too often.
    Quarantined,
}

impl PluginOutcome {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Allow,
        Self::Deny,
        Self::Abstain,
        Self::Error,
        Self::Trap,
        Self::CpuTimeout,
        Self::WallTimeout,
        Self::Overload,
        Self::Quarantined,
    ];

    /// Its name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Abstain => "abstain",
            Self::Error => "error",
            Self::Trap => "trap",
            Self::CpuTimeout => "cpu_timeout",
            Self::WallTimeout => "wall_timeout",
            Self::Overload => "overload",
            Self::Quarantined => "quarantined",
        }
    }
}

/// How a guest trapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrapKind {
    /// It panicked, or aborted in another way.
    Unreachable,
    /// It recursed too deep.
    StackOverflow,
    /// It reached outside its memory or its tables.
    OutOfBounds,
    /// It called the host more often than one call may.
    HostCallBudget,
    /// Its answer breaks the rules of the component model, such as text that is not UTF-8, or is larger than it may be.
    BadResult,
    /// Anything else, such as a division by zero.
    Other,
}

impl TrapKind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Unreachable, Self::StackOverflow, Self::OutOfBounds, Self::HostCallBudget, Self::BadResult, Self::Other];

    /// Its name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::StackOverflow => "stack_overflow",
            Self::OutOfBounds => "out_of_bounds",
            Self::HostCallBudget => "host_call_budget",
            Self::BadResult => "bad_result",
            Self::Other => "other",
        }
    }
}

/// Why a healthy instance was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecycleReason {
    /// It had answered as many calls as one may.
    Calls,
    /// Its memory had grown too large.
    Memory,
}

impl RecycleReason {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Calls, Self::Memory];

    /// Its name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Memory => "memory",
        }
    }
}

/// Handles for one plugin.
#[derive(Clone)]
pub struct PluginMetrics {
    calls: [[Counter; PluginOutcome::ALL.len()]; GuestHook::ALL.len()],
    durations: [Histogram; GuestHook::ALL.len()],
    traps: [Counter; TrapKind::ALL.len()],
    recycled: [Counter; RecycleReason::ALL.len()],
    /// Instances that live.
    pub instances: Gauge,
    /// Whether it is in quarantine: 0 or 1.
    pub quarantined: Gauge,
    /// Times it went into quarantine.
    pub quarantines: Counter,
    /// Bytes of the largest memory that an instance has had.
    pub memory_bytes: Gauge,
    /// Log lines that were over its budget.
    pub log_lines_suppressed: Counter,
}

impl PluginMetrics {
    /// Counts one call.
    pub fn count(&self, hook: GuestHook, outcome: PluginOutcome) {
        let counters = self.calls.iter().zip(GuestHook::ALL).find(|(_, known)| *known == hook);
        let counter = counters
            .and_then(|(counters, _)| counters.iter().zip(PluginOutcome::ALL).find(|(_, known)| *known == outcome));
        if let Some((counter, _)) = counter {
            counter.increment(1);
        }
    }

    /// Notes how long one took.
    pub fn record_duration(&self, hook: GuestHook, duration: Duration) {
        if let Some((histogram, _)) = self.durations.iter().zip(GuestHook::ALL).find(|(_, known)| *known == hook) {
            histogram.record(duration.as_secs_f64());
        }
    }

    /// Counts one trap.
    pub fn count_trap(&self, kind: TrapKind) {
        if let Some((counter, _)) = self.traps.iter().zip(TrapKind::ALL).find(|(_, known)| *known == kind) {
            counter.increment(1);
        }
    }

    /// Counts one instance that was replaced.
    pub fn count_recycled(&self, reason: RecycleReason) {
        if let Some((counter, _)) = self.recycled.iter().zip(RecycleReason::ALL).find(|(_, known)| *known == reason) {
            counter.increment(1);
        }
    }
}

/// What concerns all policies together.
pub struct PolicyMetrics {
    /// Configurations that were to be put into force while the server ran, by result.
    pub reloads: ByName,
    /// Which configuration is in force, counted from 1.
    pub generation: Gauge,
    /// Questions about rights that a remembered verdict answered.
    pub verdict_hits: Counter,
    /// Questions about rights that plugins had to be asked.
    pub verdict_misses: Counter,
}

impl PolicyMetrics {
    pub(super) fn new(new: &Register<'_>) -> Self {
        let [hit, miss] = VERDICT_RESULTS.map(|result| {
            let help = "Questions about rights in rooms, by whether a remembered verdict answered them.";
            let labels = vec![Label::from_static_parts("result", result)];
            new.labelled_counter("stentor_authorize_cache_total", help, labels)
        });
        Self {
            reloads: new.by_name(
                ("stentor_reloads_total", "result"),
                "Configurations that were to be put into force while the server ran, by result.",
                RELOAD_RESULTS,
            ),
            generation: new.gauge(
                "stentor_plugin_generation",
                Unit::Count,
                "Which configuration is in force, counted from 1 at the start.",
            ),
            verdict_hits: hit,
            verdict_misses: miss,
        }
    }
}

impl Metrics {
    /// Handles for a plugin that has some hooks. The series of hooks that it has not are never exposed.
    pub fn plugin(&self, plugin: &str, hooks: &[GuestHook]) -> PluginMetrics {
        let series = Series { new: Register(&self.recorder), plugin };
        PluginMetrics {
            calls: GuestHook::ALL.map(|hook| PluginOutcome::ALL.map(|outcome| series.calls(hooks, hook, outcome))),
            durations: GuestHook::ALL.map(|hook| series.duration(hooks, hook)),
            traps: TrapKind::ALL.map(|kind| {
                let labels = series.labels(&[("kind", kind.name())]);
                series.new.labelled_counter("stentor_plugin_traps_total", "Traps of plugins, by kind.", labels)
            }),
            recycled: RecycleReason::ALL.map(|reason| {
                let labels = series.labels(&[("reason", reason.name())]);
                let help = "Healthy instances of plugins that were replaced, by why.";
                series.new.labelled_counter("stentor_plugin_instances_recycled_total", help, labels)
            }),
            instances: series.gauge("stentor_plugin_instances", Unit::Count, "Instances of plugins that live."),
            quarantined: series.gauge(
                "stentor_plugin_quarantined",
                Unit::Count,
                "Whether a plugin is in quarantine: 0 or 1.",
            ),
            quarantines: series.counter("stentor_plugin_quarantines_total", "Times that plugins went into quarantine."),
            memory_bytes: series.gauge(
                "stentor_plugin_memory_bytes",
                Unit::Bytes,
                "Bytes of the largest memory that an instance of a plugin has had.",
            ),
            log_lines_suppressed: series.counter(
                "stentor_plugin_log_lines_suppressed_total",
                "Log lines of plugins that were over their budget.",
            ),
        }
    }
}

/// Registers the series of one plugin.
struct Series<'a> {
    new: Register<'a>,
    plugin: &'a str,
}

impl Series<'_> {
    fn labels(&self, more: &[(&'static str, &'static str)]) -> Vec<Label> {
        let plugin = Label::new("plugin", self.plugin.to_owned());
        std::iter::once(plugin).chain(more.iter().map(|(name, value)| Label::from_static_parts(name, value))).collect()
    }

    fn calls(&self, hooks: &[GuestHook], hook: GuestHook, outcome: PluginOutcome) -> Counter {
        if !hooks.contains(&hook) {
            return Counter::noop();
        }
        let labels = self.labels(&[("hook", hook.name()), ("outcome", outcome.name())]);
        self.new.labelled_counter("stentor_plugin_calls_total", "Questions to plugins, by what became of them.", labels)
    }

    fn duration(&self, hooks: &[GuestHook], hook: GuestHook) -> Histogram {
        if !hooks.contains(&hook) {
            return Histogram::noop();
        }
        let help = "Time of one call, with all copying and, for hooks that may wait, all waiting.";
        self.new.labelled_histogram("stentor_plugin_call_duration_seconds", help, self.labels(&[("hook", hook.name())]))
    }

    fn gauge(&self, name: &'static str, unit: Unit, help: &'static str) -> Gauge {
        self.new.labelled_gauge(name, unit, help, self.labels(&[]))
    }

    fn counter(&self, name: &'static str, help: &'static str) -> Counter {
        self.new.labelled_counter(name, help, self.labels(&[]))
    }
}
