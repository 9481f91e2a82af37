//! What is called for each thing that a server pushes. It tells messages at once, and everything else to whoever has the
//! connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use deadpool_redis::redis::{PushInfo, PushKind, Value as Raw};
use tokio::sync::mpsc;

use super::channels::{Heard, Held, Message};
use super::counters::Counters;

/// What a connection shows.
pub(super) enum Sign {
    Subscribed(Bytes),
    Unsubscribed(Bytes),
    Pong,
    /// A request was refused.
    Refused(String),
    Gone,
    /// More was published than is taken.
    Overflow,
}

/// What is told to the library: it is called for each thing that is pushed.
pub(super) struct Ear {
    pub(super) hear: Arc<dyn Fn(Heard) + Send + Sync>,
    pub(super) tell: mpsc::Sender<Sign>,
    pub(super) counters: Arc<Counters>,
    pub(super) is_shut: Arc<AtomicBool>,
    pub(super) is_alive: Arc<AtomicBool>,
}

impl Ear {
    pub(super) fn take(&self, info: PushInfo) {
        if self.is_shut.load(Ordering::Relaxed) {
            return;
        }
        self.is_alive.store(true, Ordering::Relaxed);
        let mut parts = info.data.into_iter().map(|part| match part {
            Raw::BulkString(bytes) => Bytes::from(bytes),
            _ => Bytes::new(),
        });
        let mut part = || parts.next().unwrap_or_default();
        let sign = match info.kind {
            PushKind::Message | PushKind::SMessage => {
                let (channel, payload) = (part(), part());
                match Held::claim(channel.len() + payload.len(), &self.counters) {
                    Some(held) => return (self.hear)(Heard::Message(Message { channel, payload, held })),
                    None => {
                        self.counters.overflowed();
                        Sign::Overflow
                    }
                }
            }
            PushKind::Subscribe | PushKind::SSubscribe => Sign::Subscribed(part()),
            PushKind::Unsubscribe | PushKind::SUnsubscribe => Sign::Unsubscribed(part()),
            PushKind::Disconnection => Sign::Gone,
            _ => return,
        };
        let is_end = matches!(sign, Sign::Overflow | Sign::Gone);
        // What cannot be told is as good as lost, and so is everything after the end.
        if self.tell.try_send(sign).is_err() || is_end {
            self.is_shut.store(true, Ordering::Relaxed);
        }
    }
}
