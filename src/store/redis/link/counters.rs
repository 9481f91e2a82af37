//! What is on its way, what is held, and what happened so far: counted where it happens, read by anybody.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::settings::Settings;

/// The counts, and the bounds of those that have one.
#[derive(Debug)]
pub(super) struct Counters {
    pending_calls_max: usize,
    pending_bytes_max: usize,
    heard_messages_max: usize,
    heard_bytes_max: usize,
    pending_calls: AtomicUsize,
    pending_bytes: AtomicUsize,
    heard_messages: AtomicUsize,
    heard_bytes: AtomicUsize,
    calls: AtomicU64,
    busy: AtomicU64,
    time_outs: AtomicU64,
    reconnects: AtomicU64,
    losses: AtomicU64,
    messages: AtomicU64,
    overflows: AtomicU64,
}

/// How things are, for the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Calls on their way.
    pub pending_calls: usize,
    /// Bytes in them.
    pub pending_bytes: usize,
    /// Messages that were heard and are still held.
    pub heard_messages: usize,
    /// Bytes in them.
    pub heard_bytes: usize,
    /// Calls so far.
    pub calls: u64,
    /// Calls that were refused because there were too many.
    pub busy: u64,
    /// Calls without an answer in time.
    pub time_outs: u64,
    /// Connections for calls that were made again.
    pub reconnects: u64,
    /// Connections for channels that were lost.
    pub losses: u64,
    /// Messages so far.
    pub messages: u64,
    /// How often messages came faster than they were taken.
    pub overflows: u64,
}

impl Counters {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            pending_calls_max: settings.pending_calls_max,
            pending_bytes_max: settings.pending_bytes_max,
            heard_messages_max: settings.heard_messages_max,
            heard_bytes_max: settings.heard_bytes_max,
            pending_calls: AtomicUsize::new(0),
            pending_bytes: AtomicUsize::new(0),
            heard_messages: AtomicUsize::new(0),
            heard_bytes: AtomicUsize::new(0),
            calls: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            time_outs: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
            losses: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            overflows: AtomicU64::new(0),
        }
    }

    /// One more call, if there is room.
    pub(super) fn admit(&self, bytes: usize) -> bool {
        self.calls.fetch_add(1, Relaxed);
        let calls = self.pending_calls.fetch_add(1, Relaxed) + 1;
        let all = self.pending_bytes.fetch_add(bytes, Relaxed) + bytes;
        let fits = calls <= self.pending_calls_max && all <= self.pending_bytes_max;
        if !fits {
            self.leave(bytes);
            self.busy.fetch_add(1, Relaxed);
        }
        fits
    }

    /// The call is over.
    pub(super) fn leave(&self, bytes: usize) {
        self.pending_calls.fetch_sub(1, Relaxed);
        self.pending_bytes.fetch_sub(bytes, Relaxed);
    }

    /// One more message is held, if there is room.
    pub(super) fn hold(&self, bytes: usize) -> bool {
        let messages = self.heard_messages.fetch_add(1, Relaxed) + 1;
        let all = self.heard_bytes.fetch_add(bytes, Relaxed) + bytes;
        let fits = messages <= self.heard_messages_max && all <= self.heard_bytes_max;
        if fits {
            self.messages.fetch_add(1, Relaxed);
        } else {
            self.release(bytes);
        }
        fits
    }

    /// The message is no longer held.
    pub(super) fn release(&self, bytes: usize) {
        self.heard_messages.fetch_sub(1, Relaxed);
        self.heard_bytes.fetch_sub(bytes, Relaxed);
    }

    /// Whether so much is taken that it is worth listening again.
    pub(super) fn is_relaxed(&self) -> bool {
        self.heard_messages.load(Relaxed) <= self.heard_messages_max / 2
            && self.heard_bytes.load(Relaxed) <= self.heard_bytes_max / 2
    }

    pub(super) fn timed_out(&self) {
        self.time_outs.fetch_add(1, Relaxed);
    }

    pub(super) fn reconnected(&self) {
        self.reconnects.fetch_add(1, Relaxed);
    }

    pub(super) fn lost(&self) {
        self.losses.fetch_add(1, Relaxed);
    }

    pub(super) fn overflowed(&self) {
        self.overflows.fetch_add(1, Relaxed);
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            pending_calls: self.pending_calls.load(Relaxed),
            pending_bytes: self.pending_bytes.load(Relaxed),
            heard_messages: self.heard_messages.load(Relaxed),
            heard_bytes: self.heard_bytes.load(Relaxed),
            calls: self.calls.load(Relaxed),
            busy: self.busy.load(Relaxed),
            time_outs: self.time_outs.load(Relaxed),
            reconnects: self.reconnects.load(Relaxed),
            losses: self.losses.load(Relaxed),
            messages: self.messages.load(Relaxed),
            overflows: self.overflows.load(Relaxed),
        }
    }
}
