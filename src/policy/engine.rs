//! The one WebAssembly engine of a process, and the thread that moves its clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wasmtime::{Config, Engine};

use crate::config;

/// How often guests are looked after, at most and at least. A call is ended between one and two such times after its
/// deadline; looking more often would cost an idle server more than it makes a difference to a guest that is stuck.
const TICK_MIN: Duration = Duration::from_millis(1);
const TICK_MAX: Duration = Duration::from_millis(5);

/// The stack of a guest that may wait; what is beyond the guest's own share is for host functions.
const ASYNC_STACK_BYTES: usize = 1 << 20;
const GUEST_STACK_BYTES: usize = 512 << 10;

/// The engine's clock: the unit of guests' deadlines.
#[derive(Clone, Debug)]
pub(super) struct Clock(Arc<AtomicU64>);

impl Clock {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(milliseconds(TICK_MAX))))
    }

    /// From now on it is as fine as the shortest deadline. Calls that are under way may end earlier for it.
    pub(super) fn suit(&self, deadlines: impl Iterator<Item = Duration>) {
        let tick = deadlines.min().unwrap_or(TICK_MAX).clamp(TICK_MIN, TICK_MAX);
        self.0.store(milliseconds(tick), Ordering::Relaxed);
    }

    /// The time from one tick to the next.
    pub(super) fn tick(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed).max(1))
    }

    /// A time in ticks: at least that long, at most one tick longer.
    pub(super) fn ticks(&self, time: Duration) -> u64 {
        milliseconds(time).div_ceil(milliseconds(self.tick())).saturating_add(1)
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// Starts the engine and its clock. The clock ends with the engine's last user.
pub(super) fn start() -> Result<(Engine, Clock), String> {
    let mut config = Config::new();
    config.wasm_component_model(true).epoch_interruption(true);
    // Components of the asynchronous kind are refused at load, and every call is two to three times as fast.
    config.concurrency_support(false);
    config.max_wasm_stack(GUEST_STACK_BYTES).async_stack_size(ASYNC_STACK_BYTES);
    let engine = Engine::new(&config).map_err(|error| error.to_string())?;
    let clock = Clock::new();
    let (weak, ticking) = (engine.weak(), clock.clone());
    let tick = move || {
        while let Some(engine) = weak.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(ticking.tick());
        }
    };
    std::thread::Builder::new().name("plugin-clock".to_owned()).spawn(tick).map_err(|error| error.to_string())?;
    Ok((engine, clock))
}

/// Processor time of one call of a plugin of a world, if its configuration does not say.
pub(super) fn call_max(plugin: &config::Plugin, default: Duration) -> Duration {
    if plugin.call_ms_max == 0 { default } else { Duration::from_millis(plugin.call_ms_max) }
}
