//! A loaded plugin: compiled, linked, accepted its configuration. Shared by whoever makes instances of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use wasmtime::{Engine, Trap};

use super::bindings::auth::AuthPluginPre;
use super::bindings::filter::MessageFilterPluginPre;
use super::bindings::{auth, filter};
use super::clock::Clock;
use super::host::{Host, HostCallsExceeded, LogBudget};
use super::quarantine::{Admission, Consequence, Quarantine};
use crate::config::{self, OnFailure};
use crate::ids::pattern_matches;
use crate::metrics::{GuestHook, PluginMetrics, PluginOutcome, TrapKind};

/// The longest text of a guest that a log line repeats, in bytes.
const GUEST_TEXT_BYTES_MAX: usize = 256;

/// What a plugin is for, with what instances are made from.
pub(super) enum World {
    Filter(MessageFilterPluginPre<Host>),
    Auth(AuthPluginPre<Host>),
}

impl World {
    /// The questions of the world.
    pub(super) fn hooks(&self) -> &'static [GuestHook] {
        match self {
            Self::Filter(_) => &[GuestHook::Filter],
            Self::Auth(_) => &[GuestHook::Authenticate, GuestHook::Refresh, GuestHook::Authorize],
        }
    }

    /// Its name in the WIT package.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Filter(_) => "message-filter-plugin",
            Self::Auth(_) => "auth-plugin",
        }
    }
}

/// One set of calls that a plugin wants.
pub(super) struct Interest {
    pub(super) events: Vec<String>,
    pub(super) rooms: Vec<String>,
    /// 0 = no cap.
    pub(super) payload_bytes_max: usize,
}

/// What a plugin said of itself.
pub(super) struct Manifest {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) interests: Vec<Interest>,
}

/// One loaded plugin.
pub(super) struct Plugin {
    pub(super) name: Arc<str>,
    pub(super) world: World,
    pub(super) engine: Engine,
    pub(super) clock: Clock,
    /// Processor time of a call.
    pub(super) call_max: Duration,
    /// Time of a call with all waiting, where a call may wait.
    pub(super) wait_max: Duration,
    pub(super) instances_max: usize,
    pub(super) waiting_max: usize,
    pub(super) memory_bytes_max: usize,
    pub(super) recycle_bytes: usize,
    pub(super) recycle_calls: u64,
    pub(super) headers: Vec<String>,
    pub(super) config_json: String,
    pub(super) log_budget: Arc<LogBudget>,
    pub(super) quarantine: Quarantine,
    pub(super) metrics: PluginMetrics,
    on_failure: [OnFailure; GuestHook::ALL.len()],
    /// Bytes of the largest memory that an instance has had.
    memory_bytes_seen: AtomicUsize,
    /// How long the last instance took to make, in microseconds.
    start_us: AtomicU64,
    manifest: RwLock<Arc<Manifest>>,
}

/// What a plugin is loaded with, besides its configuration.
pub(super) struct Parts {
    pub(super) world: World,
    pub(super) engine: Engine,
    pub(super) clock: Clock,
    pub(super) call_max: Duration,
    pub(super) metrics: PluginMetrics,
}

/// What a failed call was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Trap(TrapKind),
    CpuTimeout,
    WallTimeout,
    /// It says that it cannot decide, or says what is no answer.
    Error,
}

impl Fault {
    /// What a call of wasmtime failed by.
    pub(super) fn of(error: &wasmtime::Error) -> Self {
        if error.downcast_ref::<HostCallsExceeded>().is_some() {
            return Self::Trap(TrapKind::HostCallBudget);
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => Self::CpuTimeout,
            Some(Trap::UnreachableCodeReached) => Self::Trap(TrapKind::Unreachable),
            Some(Trap::StackOverflow) => Self::Trap(TrapKind::StackOverflow),
            Some(Trap::MemoryOutOfBounds | Trap::TableOutOfBounds | Trap::HeapMisaligned) => {
                Self::Trap(TrapKind::OutOfBounds)
            }
            Some(_) => Self::Trap(TrapKind::Other),
            // What is no trap was found when the answer was read: bad UTF-8, a list that reaches out of memory, too much.
            None => Self::Trap(TrapKind::BadResult),
        }
    }

    fn outcome(self) -> PluginOutcome {
        match self {
            Self::Trap(_) => PluginOutcome::Trap,
            Self::CpuTimeout => PluginOutcome::CpuTimeout,
            Self::WallTimeout => PluginOutcome::WallTimeout,
            Self::Error => PluginOutcome::Error,
        }
    }

    /// Its name in logs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Trap(kind) => kind.name(),
            other => other.outcome().name(),
        }
    }
}

impl Plugin {
    pub(super) fn new(config: &config::Plugin, parts: Parts) -> Self {
        let policy = |hook: GuestHook| {
            let named = match hook {
                GuestHook::Authenticate => config::Hook::Authenticate,
                GuestHook::Refresh => config::Hook::Refresh,
                GuestHook::Authorize => config::Hook::Authorize,
                GuestHook::Filter => config::Hook::Filter,
            };
            config.on_failure_of.get(&named).copied().unwrap_or(config.on_failure)
        };
        let recycle_bytes =
            if config.recycle_bytes == 0 { config.memory_bytes_max / 4 * 3 } else { config.recycle_bytes };
        Self {
            name: Arc::from(config.name.as_str()),
            world: parts.world,
            engine: parts.engine,
            clock: parts.clock,
            call_max: parts.call_max,
            wait_max: Duration::from_millis(config.wait_ms_max),
            instances_max: config.instances_max,
            waiting_max: config.waiting_max,
            memory_bytes_max: config.memory_bytes_max,
            recycle_bytes,
            recycle_calls: if config.recycle_calls == 0 { u64::MAX } else { config.recycle_calls },
            headers: config.headers.iter().map(|name| name.to_ascii_lowercase()).collect(),
            config_json: serde_json::Value::Object(config.config.clone()).to_string(),
            log_budget: Arc::new(LogBudget::new(config.log_lines_per_second_max, parts.metrics.clone())),
            quarantine: Quarantine::new(config.into(), Instant::now()),
            metrics: parts.metrics,
            on_failure: GuestHook::ALL.map(policy),
            memory_bytes_seen: AtomicUsize::new(0),
            start_us: AtomicU64::new(u64::MAX),
            manifest: RwLock::new(Arc::new(Manifest {
                name: String::new(),
                version: String::new(),
                interests: Vec::new(),
            })),
        }
    }

    /// What happens when it fails in a hook.
    pub(super) fn on_failure(&self, hook: GuestHook) -> OnFailure {
        let found = self.on_failure.iter().zip(GuestHook::ALL).find(|(_, known)| *known == hook);
        found.map_or(OnFailure::Closed, |(policy, _)| *policy)
    }

    /// What it said of itself when it was loaded.
    pub(super) fn manifest(&self) -> Arc<Manifest> {
        Arc::clone(&self.manifest.read())
    }

    pub(super) fn set_manifest(&self, manifest: Manifest) {
        *self.manifest.write() = Arc::new(manifest);
    }

    /// A call failed: it is counted, logged, and may be one too many.
    pub(super) fn failed(&self, hook: GuestHook, fault: Fault, admission: Admission) {
        self.metrics.count(hook, fault.outcome());
        if let Fault::Trap(kind) = fault {
            self.metrics.count_trap(kind);
        }
        tracing::warn!(plugin = %self.name, hook = hook.name(), kind = fault.name(), "plugin failed");
        self.quarantine_after(admission);
    }

    /// It could not be asked: it has no instance, or none that is free.
    pub(super) fn overloaded(&self, hook: GuestHook, admission: Admission) {
        self.metrics.count(hook, PluginOutcome::Overload);
        self.quarantine.not_tried(admission, Instant::now());
    }

    /// An instance could not be made.
    pub(super) fn stillborn(&self, kind: &'static str) {
        tracing::error!(plugin = %self.name, kind, "plugin cannot be instantiated");
        // Whoever is in quarantine, and has no instance for the trial that would end it, stays there.
        self.quarantine_after(if self.quarantine.is_in_service() { Admission::Granted } else { Admission::Trial });
    }

    /// Notes how long it took to make an instance.
    pub(super) fn started_in(&self, time: Duration) {
        self.start_us.store(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether an instance can be made within a call's time, by all that is known.
    pub(super) fn starts_quickly(&self) -> bool {
        u128::from(self.start_us.load(Ordering::Relaxed)) < self.call_max.as_micros() / 2
    }

    /// Notes how much memory an instance has.
    pub(super) fn saw_memory(&self, bytes: usize) {
        if bytes > self.memory_bytes_seen.load(Ordering::Relaxed) {
            self.memory_bytes_seen.store(bytes, Ordering::Relaxed);
            self.metrics.memory_bytes.set(bytes as f64);
        }
    }

    fn quarantine_after(&self, admission: Admission) {
        let wait = match self.quarantine.failed(admission, Instant::now()) {
            Consequence::None => return,
            Consequence::Quarantined(wait) => {
                self.metrics.quarantined.increment(1.0);
                wait
            }
            Consequence::Prolonged(wait) => wait,
        };
        self.metrics.quarantines.increment(1);
        let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        tracing::error!(plugin = %self.name, milliseconds, "plugin failed too often: it is not asked for a while");
    }

    /// A call gave an answer.
    pub(super) fn answered(&self, hook: GuestHook, outcome: PluginOutcome, admission: Admission) {
        self.metrics.count(hook, outcome);
        if self.quarantine.succeeded(admission, Instant::now) {
            self.metrics.quarantined.decrement(1.0);
            tracing::info!(plugin = %self.name, "plugin is well again");
        }
    }
}

impl Drop for Plugin {
    /// The series outlives the plugin. The next configuration's plugin of this name goes on with it, and is well.
    fn drop(&mut self) {
        if !self.quarantine.is_in_service() {
            self.metrics.quarantined.decrement(1.0);
        }
    }
}

/// Each world has a generated type of its own for the same record.
macro_rules! from_generated {
    ($($lifecycle:path),*) => {$(
        impl From<$lifecycle> for Manifest {
            fn from(said: $lifecycle) -> Self {
                let interests = said.interests.into_iter().map(|interest| Interest {
                    events: interest.events,
                    rooms: interest.rooms,
                    payload_bytes_max: interest.max_payload_bytes as usize,
                });
                Self { name: said.name, version: said.version, interests: interests.collect() }
            }
        }
    )*};
}
from_generated!(
    auth::exports::stentor::plugin::lifecycle::Manifest,
    filter::exports::stentor::plugin::lifecycle::Manifest
);

impl Manifest {
    /// Whether the plugin asked to be asked about an event, in a room if it is in one, of so many bytes.
    pub(super) fn wants(&self, event: &str, room: Option<&str>, payload_bytes: usize) -> bool {
        let matches = |interest: &Interest| {
            (interest.events.is_empty() || interest.events.iter().any(|wanted| wanted == event))
                && (interest.rooms.is_empty()
                    || room.is_none_or(|room| interest.rooms.iter().any(|pattern| pattern_matches(pattern, room))))
                && (interest.payload_bytes_max == 0 || payload_bytes <= interest.payload_bytes_max)
        };
        self.interests.is_empty() || self.interests.iter().any(matches)
    }
}

/// A guest's text as it may stand in a log or in a refusal: printable, and not longer than `bytes_max`.
pub(super) fn printable(text: &str, bytes_max: usize) -> String {
    let printable: String = text.chars().filter(|character| !character.is_control()).take(bytes_max).collect();
    printable.get(..printable.floor_char_boundary(bytes_max)).unwrap_or_default().to_owned()
}

/// The same at the length of a log line.
pub(super) fn loggable(text: &str) -> String {
    printable(text, GUEST_TEXT_BYTES_MAX)
}
