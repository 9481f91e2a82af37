//! Channels: what is heard, and which are wanted. Those who want are other threads than the one that listens.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::Notify;

use super::counters::Counters;
use super::weather::Weather;

/// What the link tells.
#[derive(Debug)]
pub enum Heard {
    /// A message on a channel.
    Message(Message),
    /// From here on nothing on the channel is missed. Said after each request for it, and again after each loss.
    Subscribed(Arc<str>),
    /// Something on the channel may have been missed, or on all of them. `Subscribed` follows for each that is wanted.
    Lost(Option<Arc<str>>),
    /// It stands otherwise with Redis.
    Weather(Weather),
}

/// What somebody published.
#[derive(Debug)]
pub struct Message {
    /// Where.
    pub channel: Bytes,
    /// What.
    pub payload: Bytes,
    /// It counts as held until this is dropped, so it goes where the payload goes.
    pub held: Held,
}

/// The share of one message in what may be held.
#[derive(Debug)]
pub struct Held {
    bytes: usize,
    counters: Arc<Counters>,
}

impl Held {
    /// A share, if there is room.
    pub(super) fn claim(bytes: usize, counters: &Arc<Counters>) -> Option<Self> {
        counters.hold(bytes).then(|| Self { bytes, counters: Arc::clone(counters) })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.counters.release(self.bytes);
    }
}

/// There are as many channels as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("there are too many channels")]
pub struct TooManyChannels;

/// Which channels are wanted, and which of them the listener has to look at.
#[derive(Default)]
pub(super) struct Wanted {
    list: Mutex<List>,
    pub(super) bell: Notify,
}

#[derive(Default)]
struct List {
    marks: HashMap<Arc<str>, Mark>,
    /// Those to look at, each once.
    changed: Vec<Arc<str>>,
}

struct Mark {
    is_wanted: bool,
    is_changed: bool,
}

impl Wanted {
    /// A channel is wanted, or no longer.
    pub(super) fn set(&self, channel: &str, is_wanted: bool, channels_max: usize) -> Result<(), TooManyChannels> {
        let mut list = self.list.lock();
        let List { marks, changed } = &mut *list;
        let is_full = marks.len() >= channels_max;
        match marks.get_mut(channel) {
            Some(mark) => {
                mark.is_wanted = is_wanted;
                if !std::mem::replace(&mut mark.is_changed, true) {
                    changed.push(Arc::from(channel));
                }
            }
            None if !is_wanted => return Ok(()),
            None if is_full => return Err(TooManyChannels),
            None => {
                let channel: Arc<str> = Arc::from(channel);
                marks.insert(Arc::clone(&channel), Mark { is_wanted, is_changed: true });
                changed.push(channel);
            }
        }
        drop(list);
        self.bell.notify_one();
        Ok(())
    }

    /// Takes what changed: each channel, and whether it is wanted.
    pub(super) fn take_changes(&self) -> Vec<(Arc<str>, bool)> {
        let mut list = self.list.lock();
        let List { marks, changed } = &mut *list;
        let mut taken = Vec::with_capacity(changed.len());
        for channel in changed.drain(..) {
            let Some(mark) = marks.get_mut(&channel) else { continue };
            mark.is_changed = false;
            let is_wanted = mark.is_wanted;
            if !is_wanted {
                marks.remove(&channel);
            }
            taken.push((channel, is_wanted));
        }
        taken
    }
}
