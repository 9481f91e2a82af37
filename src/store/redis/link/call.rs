//! One call: what is to be done, in which order, and who is told. Whoever made it is told exactly once.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_redis::redis::{self, Cmd};

use super::cluster::Stay;
use super::counters::Counters;
use super::error::{Fault, LinkError};
use super::script::Script;
use super::settings::Address;
use super::slots;
use super::value::Value;

/// What is to be done.
pub struct Call {
    command: Cmd,
    bytes: usize,
    is_script: bool,
    lane: Option<u64>,
    slot: Option<u16>,
    wait: Option<Wait>,
}

/// How many replicas must have it before it is answered, and how long that is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Replicas.
    pub replicas: u32,
    /// Milliseconds, besides the time for the call itself. 0 would be for ever, and counts as 1.
    pub ms_max: u32,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What the script or the command returned.
    pub value: Value,
    /// Replicas that have it, if that was waited for. They may be fewer than were asked for.
    pub replicas: Option<u32>,
}

/// Who is told.
pub(super) type Reply = Box<dyn FnOnce(Result<Answer, LinkError>) + Send>;

impl Call {
    /// A script with its keys and arguments. Calls with the same first key are done in order, unless
    /// [`on`](Self::on) says otherwise. In a cluster all keys are in the slot of the first.
    pub fn script<K: AsRef<[u8]>, A: AsRef<[u8]>>(
        script: &'static Script,
        keys: impl IntoIterator<Item = K>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        let mut command = redis::cmd("EVALSHA");
        let mut bytes = 64;
        let mut first = None;
        let mut words = Vec::new();
        for key in keys {
            let key = key.as_ref();
            first.get_or_insert_with(|| (hash_of(key), slots::slot_of(key)));
            bytes += key.len() + 16;
            words.push(key.to_vec());
        }
        command.arg(script.sha1()).arg(words.len()).arg(words);
        for argument in arguments {
            let argument = argument.as_ref();
            bytes += argument.len() + 16;
            command.arg(argument);
        }
        let (lane, slot) = first.unzip();
        Self { command, bytes, is_script: true, lane, slot, wait: None }
    }

    /// A command and its arguments. It is done whenever and, in a cluster, wherever, unless [`at`](Self::at) or
    /// [`on`](Self::on) say otherwise.
    pub fn command<A: AsRef<[u8]>>(name: &str, arguments: impl IntoIterator<Item = A>) -> Self {
        let mut command = redis::cmd(name);
        let mut bytes = 32 + name.len();
        for argument in arguments {
            let argument = argument.as_ref();
            bytes += argument.len() + 16;
            command.arg(argument);
        }
        Self { command, bytes, is_script: false, lane: None, slot: None, wait: None }
    }

    /// Where a key is, and in the order of the calls with this key.
    #[must_use]
    pub fn at(mut self, key: impl AsRef<[u8]>) -> Self {
        let key = key.as_ref();
        self.slot = Some(slots::slot_of(key));
        self.lane.get_or_insert_with(|| hash_of(key));
        self
    }

    /// In the order of the calls with this name, such as a room's. In a cluster that order holds among those whose keys
    /// have the same slot.
    #[must_use]
    pub fn on(mut self, lane: impl AsRef<[u8]>) -> Self {
        self.lane = Some(hash_of(lane.as_ref()));
        self
    }

    /// Answered when replicas have it.
    #[must_use]
    pub fn with_wait(mut self, wait: Option<Wait>) -> Self {
        self.wait = wait;
        self
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn into_job(self, ticket: Ticket, deadline: Instant) -> Job {
        let Self { command, is_script, lane, slot, wait, .. } = self;
        Job {
            command,
            is_script,
            lane,
            slot,
            wait,
            ticket,
            deadline,
            ask: None,
            stay: None,
            moves: 0,
            is_repeat: false,
        }
    }
}

impl Wait {
    pub(super) fn max(self) -> Duration {
        Duration::from_millis(self.ms_max.max(1).into())
    }

    pub(super) fn command(self) -> Cmd {
        let mut command = redis::cmd("WAIT");
        command.arg(self.replicas).arg(self.ms_max.max(1));
        command
    }
}

fn hash_of(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// A call on its way.
pub(super) struct Job {
    pub(super) command: Cmd,
    pub(super) is_script: bool,
    /// Jobs with the same are done in order. `None`: whenever.
    pub(super) lane: Option<u64>,
    /// Where, in a cluster. `None`: anywhere.
    pub(super) slot: Option<u16>,
    pub(super) wait: Option<Wait>,
    pub(super) ticket: Ticket,
    pub(super) deadline: Instant,
    /// The server that has the key for this once.
    pub(super) ask: Option<Address>,
    /// That it is with a lane, in a cluster.
    pub(super) stay: Option<Stay>,
    /// How often it was sent to another server.
    pub(super) moves: u8,
    /// Whether it met a server without its script already.
    pub(super) is_repeat: bool,
}

/// Who is told, and what they cost until then. If nobody else does, its end tells them.
pub(super) struct Ticket {
    reply: Option<Reply>,
    /// Whether the call may be with the server.
    pub(super) is_sent: bool,
    bytes: usize,
    counters: Arc<Counters>,
}

impl Ticket {
    /// A ticket, or the reply if there are too many.
    pub(super) fn admit(reply: Reply, bytes: usize, counters: &Arc<Counters>) -> Result<Self, Reply> {
        if !counters.admit(bytes) {
            return Err(reply);
        }
        Ok(Self { reply: Some(reply), is_sent: false, bytes, counters: Arc::clone(counters) })
    }

    pub(super) fn answer(mut self, result: Result<Answer, LinkError>) {
        self.tell(result);
    }

    /// Something is wrong with the way there. Whether the call was done is unknown if it was sent.
    pub(super) fn fail(mut self, fault: Fault) {
        self.tell_fault(fault);
    }

    /// Nothing was done, and nothing will be.
    pub(super) fn refuse(mut self, fault: Fault) {
        self.is_sent = false;
        self.tell_fault(fault);
    }

    /// It takes too long.
    pub(super) fn expire(&mut self) {
        self.tell_fault(Fault::TimedOut);
    }

    fn tell_fault(&mut self, fault: Fault) {
        if fault == Fault::TimedOut && self.reply.is_some() {
            self.counters.timed_out();
        }
        self.tell(Err(if self.is_sent { LinkError::Unknown(fault) } else { LinkError::NotSent(fault) }));
    }

    fn tell(&mut self, result: Result<Answer, LinkError>) {
        if let Some(reply) = self.reply.take() {
            self.counters.leave(self.bytes);
            reply(result);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.tell_fault(Fault::Closed);
    }
}
