//! The one WebAssembly engine of a process, and the thread that moves its clock.

use std::time::Duration;

use wasmtime::{Config, Engine};

use super::clock::{Clock, Hand};
use crate::config;

/// The stack of a guest that may wait; what is beyond the guest's own share is for host functions.
const ASYNC_STACK_BYTES: usize = 1 << 20;
const GUEST_STACK_BYTES: usize = 512 << 10;

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
        let mut hand = Hand::default();
        loop {
            let epochs = ticking.wait(&mut hand);
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
