//! The instances of one auth plugin, and calls of them. Each call runs on a stack of its own and gives way after a short
//! turn, so that a guest that computes for long, or waits, holds up nobody but its own caller.
//!
//! Bounded in every direction: instances, calls that wait for one, processor time and time of a call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{timeout, timeout_at};
use wasmtime::{Store, UpdateDeadline};

use super::bindings::auth::AuthPlugin;
use super::bindings::auth::exports::stentor::plugin::auth as wit;
use super::bindings::auth::exports::stentor::plugin::lifecycle;
use super::host::{Forget, Host};
use super::instance::{CONFIGURE_MAX, Failure, HOST_CALL_BYTES_MAX, RETIRE_MAX};
use super::plugin::{Fault, Manifest, Plugin, World, loggable};
use super::quarantine::Admission;
use crate::metrics::{GuestHook, PluginOutcome, RecycleReason};

/// What an auth plugin is asked.
#[derive(Clone, Debug)]
pub(super) enum Question {
    Authenticate(wit::ConnectRequest),
    Refresh { connection: u64, subject: String, token: String, verified: Option<wit::Identity> },
    Authorize { connection: u64, subject: String, attributes: Vec<wit::Attribute>, action: &'static str, room: String },
}

/// What it says.
#[derive(Debug)]
pub(super) enum Answer {
    Person(wit::AuthOutcome),
    Access(wit::AccessDecision),
}

impl Question {
    pub(super) fn hook(&self) -> GuestHook {
        match self {
            Self::Authenticate(_) => GuestHook::Authenticate,
            Self::Refresh { .. } => GuestHook::Refresh,
            Self::Authorize { .. } => GuestHook::Authorize,
        }
    }
}

/// One live instance.
struct Guest {
    store: Store<Host>,
    guest: AuthPlugin,
    plugin: Arc<Plugin>,
    calls: u64,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.plugin.metrics.instances.decrement(1.0);
    }
}

/// The instances of one plugin.
pub(super) struct Pool {
    pub(super) plugin: Arc<Plugin>,
    pub(super) manifest: Arc<Manifest>,
    idle: Mutex<Vec<Guest>>,
    permits: Semaphore,
    /// Calls that wait for an instance.
    waiting: AtomicUsize,
    made: AtomicU32,
    forget: Forget,
}

/// There is no answer. Why is counted and logged already.
#[derive(Debug)]
pub(super) struct NoAnswer;

impl Pool {
    pub(super) fn new(plugin: Arc<Plugin>, forget: Forget) -> Self {
        Self {
            manifest: plugin.manifest(),
            idle: Mutex::default(),
            permits: Semaphore::new(plugin.instances_max),
            waiting: AtomicUsize::new(0),
            made: AtomicU32::new(0),
            forget,
            plugin,
        }
    }

    /// Asks. `judge` turns what the plugin said into what it means; an answer that is none is a failure of the plugin.
    pub(super) async fn call<T>(
        &self,
        question: Question,
        judge: impl FnOnce(Answer) -> Option<(PluginOutcome, T)>,
    ) -> Result<T, NoAnswer> {
        let (hook, plugin) = (question.hook(), &self.plugin);
        let admission = plugin.quarantine.admit();
        if admission == Admission::Refused {
            plugin.metrics.count(hook, PluginOutcome::Quarantined);
            return Err(NoAnswer);
        }
        let began = Instant::now();
        let Some(_permit) = self.permit(tokio::time::Instant::now() + plugin.wait_max).await else {
            plugin.overloaded(hook, admission);
            return Err(NoAnswer);
        };
        let idle = self.idle.lock().pop();
        let mut guest = match idle {
            Some(guest) => guest,
            None => self.make(hook).await?,
        };
        // A guest that starts slowly has bounds of its own for that, so it does not use up the call's.
        let deadline = tokio::time::Instant::now() + plugin.wait_max;
        let answer = timeout_at(deadline, guest.ask(question)).await;
        plugin.metrics.record_duration(hook, began.elapsed());
        // Also if the call failed after it: what a plugin no longer stands by must not go on.
        for user in guest.store.data_mut().take_forgotten() {
            (self.forget)(&user);
        }
        let fault = match answer {
            Ok(Ok(Ok(answer))) => match judge(answer) {
                Some((outcome, meaning)) => {
                    plugin.answered(hook, outcome, admission);
                    self.give_back(guest);
                    return Ok(meaning);
                }
                None => Fault::Error,
            },
            Ok(Ok(Err(reason))) => {
                tracing::debug!(plugin = %plugin.name, reason = loggable(&reason), "plugin cannot decide");
                // Such an answer is a plain one: nothing is wrong with the instance.
                self.give_back(guest);
                Fault::Error
            }
            Ok(Err(error)) => Fault::of(&error),
            Err(_) => Fault::WallTimeout,
        };
        plugin.failed(hook, fault, admission);
        Err(NoAnswer)
    }

    /// Lets all instances end that nobody uses. One that is in use is dropped when its call is over.
    pub(super) async fn retire(&self) {
        let idle = std::mem::take(&mut *self.idle.lock());
        for mut guest in idle {
            guest.begin(RETIRE_MAX);
            let Guest { guest: functions, store, .. } = &mut guest;
            let ended = timeout(RETIRE_MAX * 2, functions.stentor_plugin_lifecycle().call_retire(store)).await;
            if !matches!(ended, Ok(Ok(()))) {
                tracing::warn!(plugin = %self.plugin.name, "plugin failed while it was being retired");
            }
        }
    }

    /// The right to use an instance, if there is one in time.
    async fn permit(&self, deadline: tokio::time::Instant) -> Option<tokio::sync::SemaphorePermit<'_>> {
        if let Ok(permit) = self.permits.try_acquire() {
            return Some(permit);
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.plugin.waiting_max {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let permit = timeout_at(deadline, self.permits.acquire()).await;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        permit.ok()?.ok()
    }

    async fn make(&self, hook: GuestHook) -> Result<Guest, NoAnswer> {
        let index = self.made.fetch_add(1, Ordering::Relaxed);
        let count = u32::try_from(self.plugin.instances_max).unwrap_or(u32::MAX);
        match make(&self.plugin, index, count).await {
            Ok((guest, _)) => Ok(guest),
            Err(failure) => {
                self.plugin.metrics.count(hook, PluginOutcome::Error);
                self.plugin.stillborn(failure.kind());
                Err(NoAnswer)
            }
        }
    }

    /// Keeps an instance for the next call, unless it has had its time.
    fn give_back(&self, guest: Guest) {
        let memory_bytes = guest.store.data().limits.memory_bytes;
        self.plugin.saw_memory(memory_bytes);
        let reason = if guest.calls >= self.plugin.recycle_calls {
            Some(RecycleReason::Calls)
        } else {
            (memory_bytes > self.plugin.recycle_bytes).then_some(RecycleReason::Memory)
        };
        match reason {
            Some(reason) => self.plugin.metrics.count_recycled(reason),
            None => self.idle.lock().push(guest),
        }
    }
}

impl Guest {
    /// A call begins, which may use so much processor time.
    fn begin(&mut self, time: std::time::Duration) {
        let clock = &self.plugin.clock;
        self.store.data_mut().begin_call(clock.turns(time));
        self.store.set_epoch_deadline(clock.turn());
    }

    async fn ask(&mut self, question: Question) -> wasmtime::Result<Result<Answer, String>> {
        self.calls += 1;
        self.begin(self.plugin.call_max);
        let auth = self.guest.stentor_plugin_auth();
        let store = &mut self.store;
        match question {
            Question::Authenticate(request) => Ok(auth.call_authenticate(store, &request).await?.map(Answer::Person)),
            Question::Refresh { connection, subject, token, verified } => {
                let answer = auth.call_refresh(store, connection, &subject, &token, verified.as_ref()).await?;
                Ok(answer.map(Answer::Person))
            }
            Question::Authorize { connection, subject, attributes, action, room } => {
                let answer = auth.call_authorize(store, connection, &subject, &attributes, action, &room).await?;
                Ok(answer.map(Answer::Access))
            }
        }
    }
}

/// Instantiates and configures.
async fn make(plugin: &Arc<Plugin>, index: u32, count: u32) -> Result<(Guest, Manifest), Failure> {
    let World::Auth(pre) = &plugin.world else {
        return Err(Failure::Call(wasmtime::Error::msg("not an auth plugin")));
    };
    let mut host = Host::new(Arc::clone(&plugin.name), Arc::clone(&plugin.log_budget), plugin.memory_bytes_max);
    host.begin_call(plugin.clock.turns(CONFIGURE_MAX));
    let mut store = Store::new(&plugin.engine, host);
    store.limiter(|host| &mut host.limits);
    store.set_hostcall_fuel(HOST_CALL_BYTES_MAX);
    let clock = plugin.clock.clone();
    store.epoch_deadline_callback(move |mut context| {
        let host = context.data_mut();
        Ok(match host.turns_left.checked_sub(1) {
            Some(left) => {
                host.turns_left = left;
                UpdateDeadline::YieldCustom(clock.turn(), Box::pin(tokio::task::yield_now()))
            }
            None => UpdateDeadline::Interrupt,
        })
    });
    store.set_epoch_deadline(plugin.clock.turn());
    let too_slow = |_| Failure::Call(wasmtime::Trap::Interrupt.into());
    let guest =
        timeout(CONFIGURE_MAX, pre.instantiate_async(&mut store)).await.map_err(too_slow)?.map_err(Failure::Call)?;
    let config = lifecycle::Config { json: plugin.config_json.clone(), instance_index: index, instance_count: count };
    let lifecycle = guest.stentor_plugin_lifecycle();
    let answer = timeout(CONFIGURE_MAX, lifecycle.call_configure(&mut store, &config))
        .await
        .map_err(too_slow)?
        .map_err(Failure::Call)?;
    let manifest = answer.map_err(|error| Failure::Configuration { path: error.path, message: error.message })?;
    plugin.metrics.instances.increment(1.0);
    Ok((Guest { store, guest, plugin: Arc::clone(plugin), calls: 0 }, manifest.into()))
}

/// Makes an instance, only to see whether it accepts its configuration. Waits for it on the calling thread.
pub(super) fn try_out(plugin: &Arc<Plugin>) -> Result<Manifest, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|error| Failure::Call(error.into()))?;
    runtime.block_on(async { make(plugin, 0, 1).await.map(|(_, manifest)| manifest) })
}
