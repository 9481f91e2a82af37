//! The way to Redis: calls and channels, over connections that come back by themselves.
//!
//! One thread of its own does all that waits. A [`Link`] hands it a [`Call`] with a reply, which is run exactly once: on
//! that thread, or at once by whoever calls when there are too many calls. Calls of one *lane*, such as a room's, are
//! done in the order in which they were made, on one connection, each sent before the last is answered; nothing is ever
//! sent twice unless the server said that it did not do it. What the link tells unasked ([`Heard`]: messages, whether
//! something may have been missed, how it stands) goes to one function, on the same thread.
//!
//! Every answer says what it is worth: done, not done, or unknown ([`LinkError`]). How it stands is known from what is
//! answered and from a question to each connection every [`Settings::watch_ms`], because a server that is frozen says
//! nothing, and the library reports nothing. The question is a write that changes nothing, so that a server is noticed
//! that is there and takes no writes.
//!
//! It must know nothing of rooms, keys or scripts but what is handed to it.

mod call;
mod channels;
mod cluster;
mod core;
mod counters;
mod dialer;
mod ear;
mod error;
mod lane;
mod listener;
mod listeners;
mod pause;
mod pending;
mod preflight;
mod script;
mod session;
mod settings;
mod slots;
mod thread;
mod value;
mod weather;

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::mpsc;

pub use call::{Answer, Call, Wait};
pub use channels::{Heard, Held, Message, TooManyChannels};
pub use counters::Snapshot;
pub use error::{Fault, LinkError, Refusal};
pub use preflight::{Preflight, Problem};
pub use script::Script;
pub use settings::{Address, Settings, SettingsError, Tls, Topology};
pub use thread::StartError;
pub use value::Value;
pub use weather::{Sky, Weather};

use call::{Job, Reply, Ticket};
use channels::Wanted;
use counters::Counters;

/// The way to Redis. A clone is the same one; with the last of them the thread ends.
#[derive(Clone)]
pub struct Link {
    calls: mpsc::Sender<Job>,
    shared: Arc<Shared>,
}

/// What the thread and everybody else have in common.
struct Shared {
    settings: Settings,
    counters: Arc<Counters>,
    weather: weather::Shared,
    wanted: Wanted,
}

impl Link {
    /// Starts the thread, once everything is as it has to be. Waits for that.
    ///
    /// `hear` is called on the thread and must not wait.
    ///
    /// # Errors
    ///
    /// Why it cannot work, each reason in one sentence.
    pub fn start(
        settings: Settings,
        preflight: Preflight,
        hear: impl Fn(Heard) + Send + Sync + 'static,
    ) -> Result<(Self, std::thread::JoinHandle<()>), StartError> {
        let counters = Arc::new(Counters::new(&settings));
        let weather = Arc::new(Mutex::new(Weather { sky: Sky::Away, since: Instant::now() }));
        let (calls, waiting) = mpsc::channel(settings.pending_calls_max.max(1));
        let shared = Arc::new(Shared { settings, counters, weather, wanted: Wanted::default() });
        let thread = thread::start(Arc::clone(&shared), preflight, Arc::new(hear), waiting)?;
        Ok((Self { calls, shared }, thread))
    }

    /// Makes a call. The reply is run once, whatever happens.
    pub fn call(&self, call: Call, reply: impl FnOnce(Result<Answer, LinkError>) + Send + 'static) {
        let reply: Reply = Box::new(reply);
        let ticket = match Ticket::admit(reply, call.bytes(), &self.shared.counters) {
            Ok(ticket) => ticket,
            Err(reply) => return reply(Err(LinkError::Busy)),
        };
        let job = call.into_job(ticket, Instant::now() + self.shared.settings.command_max());
        // There is room for all that have a ticket; without a thread the ticket says so when it is dropped.
        let _refused = self.calls.try_send(job);
    }

    /// Listens to a channel. [`Heard::Subscribed`] follows, also if it was listened to already.
    ///
    /// # Errors
    ///
    /// When there are too many.
    pub fn subscribe(&self, channel: &str) -> Result<(), TooManyChannels> {
        self.shared.wanted.set(channel, true, self.shared.settings.channels_max)
    }

    /// Listens to a channel no longer. A little may still be heard.
    pub fn unsubscribe(&self, channel: &str) {
        let _never_too_many = self.shared.wanted.set(channel, false, self.shared.settings.channels_max);
    }

    /// How it stands.
    pub fn weather(&self) -> Weather {
        *self.shared.weather.lock()
    }

    /// What there is to count.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.counters.snapshot()
    }
}
