//! The connection layer on real servers: every promise of `store::redis::link`, and every fault that it has to bear.

mod calls;
mod channels;
mod cluster;
mod faults;
mod preflight;
mod sentinel;
mod tls;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use parking_lot::Mutex;
use stentor::store::redis::{Answer, Call, Heard, Link, LinkError, Message, Preflight, Script, Settings, Sky, Value};

use crate::servers::until;

/// Appends to a list and returns its length. It costs enough time that calls pile up behind each other.
pub(crate) static PUSH: Script = Script::new(
    "push",
    "for _ = 1, 50 do redis.call('LLEN', KEYS[1]) end return redis.call('RPUSH', KEYS[1], ARGV[1])",
);

/// Fails.
pub(crate) static FAIL: Script = Script::new("fail", "return redis.error_reply('MINE it is wrong')");

pub(crate) static SCRIPTS: [&Script; 2] = [&PUSH, &FAIL];

/// A link with what it tells.
pub(crate) struct Tested {
    pub(crate) link: Link,
    heard: Mutex<Receiver<Heard>>,
}

impl Tested {
    pub(crate) fn start(settings: Settings) -> Self {
        Self::try_start(settings, preflight()).unwrap()
    }

    pub(crate) fn try_start(settings: Settings, preflight: Preflight) -> Result<Self, String> {
        let (tell, heard) = channel();
        let tell: Mutex<Sender<Heard>> = Mutex::new(tell);
        let hear = move |heard| {
            let _the_test_is_over = tell.lock().send(heard);
        };
        let (link, _) = Link::start(settings, preflight, hear).map_err(|error| error.to_string())?;
        Ok(Self { link, heard: Mutex::new(heard) })
    }

    /// Makes a call and waits for its answer.
    pub(crate) fn call(&self, call: Call) -> Result<Answer, LinkError> {
        self.begin(call).recv_timeout(Duration::from_secs(60)).expect("every call is answered")
    }

    /// Makes a call.
    pub(crate) fn begin(&self, call: Call) -> Receiver<Result<Answer, LinkError>> {
        let (tell, answer) = channel();
        self.link.call(call, move |result| tell.send(result).unwrap_or_default());
        answer
    }

    /// Makes a call that works, as often as it takes.
    pub(crate) fn insist(&self, call: impl Fn() -> Call) -> Value {
        until("a call works", || self.call(call()).ok()).value
    }

    pub(crate) fn until_sky(&self, sky: Sky) {
        until(&format!("{sky:?}"), || (self.link.weather().sky == sky).then_some(()));
    }

    /// The next of what is told that is looked for; what comes before is dropped.
    pub(crate) fn next<T>(&self, mut look: impl FnMut(Heard) -> Option<T>) -> T {
        loop {
            let heard = self.heard.lock().recv_timeout(Duration::from_secs(60)).expect("something is told");
            if let Some(found) = look(heard) {
                return found;
            }
        }
    }

    pub(crate) fn next_subscribed(&self) -> String {
        self.next(|heard| if let Heard::Subscribed(channel) = heard { Some(channel.to_string()) } else { None })
    }

    pub(crate) fn next_loss(&self) -> Option<Arc<str>> {
        self.next(|heard| if let Heard::Lost(channel) = heard { Some(channel) } else { None })
    }

    pub(crate) fn next_message(&self) -> Message {
        self.next(|heard| if let Heard::Message(message) = heard { Some(message) } else { None })
    }
}

pub(crate) fn preflight() -> Preflight {
    Preflight { scripts: &SCRIPTS, ..Preflight::default() }
}

/// Short times, so that what takes time in life takes little here. Nothing is said about how short.
pub(crate) fn settings(url: &str) -> Settings {
    let mut settings = Settings::parse(url).unwrap();
    settings.command_ms_max = 500;
    settings.watch_ms = 100;
    settings.pause_ms_max = 100;
    settings
}

pub(crate) fn push(key: &str, value: impl ToString) -> Call {
    Call::script(&PUSH, [key], [value.to_string()])
}

/// Whether something is surely not done.
pub(crate) fn is_not_done(error: &LinkError) -> bool {
    matches!(error, LinkError::Busy | LinkError::NotSent(_) | LinkError::Refused(_))
}
