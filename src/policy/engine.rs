//! The one WebAssembly engine of a process, and the thread that moves its clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wasmtime::{Config, Engine};

use crate::config;

/// How often guests are looked after, at most and at least. A call is ended at most one such time after its deadline.
/// Looking more often would cost an idle server more than it makes a difference to a guest that is stuck now and then.
const TICK_MIN: Duration = Duration::from_millis(1);
const TICK_MAX: Duration = Duration::from_millis(5);

/// For so long after a call that had to be ended they are looked after as often as can be. A guest that is made to loop
/// again and again would otherwise get twice the time that it is allowed, which may be all that its shard has.
const ALERT: Duration = Duration::from_secs(10);

/// The stack of a guest that may wait; what is beyond the guest's own share is for host functions.
const ASYNC_STACK_BYTES: usize = 1 << 20;
const GUEST_STACK_BYTES: usize = 512 << 10;

/// The engine's clock. Its unit is the engine's epoch, a millisecond; several pass at once when it ticks.
#[derive(Clone, Debug)]
pub(super) struct Clock(Arc<Ticks>);

#[derive(Debug)]
struct Ticks {
    /// Milliseconds from one tick to the next, as long as all is well.
    usual_ms: AtomicU64,
    /// Milliseconds from the last tick to the one that is to come.
    present_ms: AtomicU64,
    /// Milliseconds for which the clock stays on alert.
    alert_ms: AtomicU64,
}

impl Clock {
    fn new() -> Self {
        let tick_ms = || AtomicU64::new(milliseconds(TICK_MAX));
        Self(Arc::new(Ticks { usual_ms: tick_ms(), present_ms: tick_ms(), alert_ms: AtomicU64::new(0) }))
    }

    /// From now on it is as fine as the shortest deadline. Calls of the asynchronous kind that are under way may end
    /// earlier for it.
    pub(super) fn suit(&self, deadlines: impl Iterator<Item = Duration>) {
        let tick = deadlines.min().unwrap_or(TICK_MAX).clamp(TICK_MIN, TICK_MAX);
        self.0.usual_ms.store(milliseconds(tick), Ordering::Relaxed);
    }

    /// A call had to be ended, and others may follow.
    pub(super) fn alert(&self) {
        self.0.alert_ms.store(milliseconds(ALERT), Ordering::Relaxed);
    }

    /// The deadline of a call that begins now, in epochs: at least this time, at most one tick longer.
    pub(super) fn epochs(&self, time: Duration) -> u64 {
        // What is left of the present tick passes at once, and may be next to nothing.
        milliseconds(time).saturating_add(self.0.present_ms.load(Ordering::Relaxed))
    }

    /// The time that a guest of the asynchronous kind has before it gives way to others, in epochs.
    pub(super) fn turn(&self) -> u64 {
        self.0.usual_ms.load(Ordering::Relaxed)
    }

    /// A time in such turns: at least that long, at most one turn longer.
    pub(super) fn turns(&self, time: Duration) -> u64 {
        milliseconds(time).div_ceil(self.turn()).saturating_add(1)
    }

    /// Waits for the next tick; how many epochs pass with it.
    fn wait(&self) -> u64 {
        let Ticks { usual_ms, present_ms, alert_ms } = &*self.0;
        let usual_ms = usual_ms.load(Ordering::Relaxed);
        let on_alert = alert_ms.load(Ordering::Relaxed);
        let tick_ms = if on_alert > 0 { milliseconds(TICK_MIN) } else { usual_ms };
        present_ms.store(tick_ms, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(tick_ms));
        // A new alert meanwhile is left as it is.
        let left = on_alert.saturating_sub(tick_ms);
        let _newer = alert_ms.compare_exchange(on_alert, left, Ordering::Relaxed, Ordering::Relaxed);
        tick_ms
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
        loop {
            let epochs = ticking.wait();
            let Some(engine) = weak.upgrade() else { break };
            (0..epochs).for_each(|_| engine.increment_epoch());
        }
    };
    std::thread::Builder::new().name("plugin-clock".to_owned()).spawn(tick).map_err(|error| error.to_string())?;
    Ok((engine, clock))
}

/// Processor time of one call of a plugin of a world, if its configuration does not say.
pub(super) fn call_max(plugin: &config::Plugin, default: Duration) -> Duration {
    if plugin.call_ms_max == 0 { default } else { Duration::from_millis(plugin.call_ms_max) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_as_fine_as_it_must_be() {
        let (clock, call_max) = (Clock::new(), Duration::from_millis(3));
        assert_eq!((clock.wait(), clock.epochs(call_max)), (5, 8));
        clock.suit([Duration::from_millis(50), call_max].into_iter());
        assert_eq!(clock.epochs(call_max), 8, "the present tick is as long as it is");
        assert_eq!((clock.wait(), clock.epochs(call_max)), (3, 6));
        clock.alert();
        assert_eq!((clock.wait(), clock.epochs(call_max)), (1, 4));
        assert_eq!(clock.turns(call_max), 2, "turns are of the usual length");
        clock.0.alert_ms.store(1, Ordering::Relaxed);
        assert_eq!((clock.wait(), clock.wait()), (1, 3), "an alert passes");
    }
}
