//! Listening to channels: on a connection of its own, made again whenever it is lost, with everything asked for again.
//!
//! Two things that the library does not do are done here. Its connections report nothing of a server that is frozen, so
//! each is asked whether anybody is there. And what is published faster than it is taken would pile up without end; here
//! it is counted until it is dropped by whoever got it, and beyond the bound the connection is given up, which is told as
//! a loss: everything can be had again from where it is kept.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use deadpool_redis::redis;
use deadpool_redis::redis::aio::MultiplexedConnection;
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use super::channels::Heard;
use super::core::Core;
use super::ear::{Ear, Sign};
use super::pause::Pause;
use super::pending;
use super::settings::Address;
use super::value::Value;
use super::weather::Sky;

/// Channels that are asked for and not confirmed, at the same time.
const UNCONFIRMED_MAX: usize = 512;

/// Things said of a connection that nobody has looked at yet. It is more than can be unconfirmed.
const SIGNS_MAX: usize = 4 * UNCONFIRMED_MAX;

/// How a channel stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// The connection does not know it yet.
    Wanted,
    /// It is asked for.
    Asked,
    /// Nothing of it is missed.
    Heard,
}

/// One connection's channels.
pub(super) struct Listener {
    address: Option<Address>,
    channels: RefCell<HashMap<Arc<str>, Standing>>,
    /// What the connection does not know yet: which channels, and whether they are wanted.
    todo: RefCell<VecDeque<(Arc<str>, bool)>>,
    bell: Notify,
}

impl Listener {
    pub(super) fn new(address: Option<Address>) -> Self {
        Self { address, channels: RefCell::default(), todo: RefCell::default(), bell: Notify::new() }
    }

    /// A channel is wanted here. If it is heard already, that is said again.
    pub(super) fn want(&self, core: &Core, channel: &Arc<str>) {
        let standing = self.channels.borrow().get(channel).copied();
        match standing {
            Some(Standing::Heard) => (core.hear)(Heard::Subscribed(Arc::clone(channel))),
            Some(Standing::Wanted | Standing::Asked) => {}
            None => {
                self.channels.borrow_mut().insert(Arc::clone(channel), Standing::Wanted);
                self.todo.borrow_mut().push_back((Arc::clone(channel), true));
                self.bell.notify_one();
            }
        }
    }

    /// A channel is wanted here, if that is not known yet.
    pub(super) fn want_anew(&self, channel: &Arc<str>) {
        if !self.channels.borrow().contains_key(channel) {
            self.channels.borrow_mut().insert(Arc::clone(channel), Standing::Wanted);
            self.todo.borrow_mut().push_back((Arc::clone(channel), true));
            self.bell.notify_one();
        }
    }

    /// A channel is no longer wanted here.
    pub(super) fn unwant(&self, channel: &Arc<str>) {
        if self.channels.borrow_mut().remove(channel).is_some() {
            self.todo.borrow_mut().push_back((Arc::clone(channel), false));
            self.bell.notify_one();
        }
    }

    /// Lives as long as the thread, or until it is aborted.
    pub(super) async fn run(self: Rc<Self>, core: Rc<Core>) {
        let place = core.board.enter();
        let _leaving = Leaving { core: Rc::clone(&core), place };
        let mut pause = Pause::new(core.settings().pause_ms_max);
        loop {
            let began = Instant::now();
            match Ears::open(&core, &self).await {
                Ok(mut ears) => {
                    core.board.set(place, Sky::Up);
                    self.ask_again();
                    let reason = ears.listen(&core, &self).await;
                    // From here on nothing that still comes is told.
                    drop(ears);
                    tracing::debug!(reason, "a connection that listens to Redis is lost");
                    core.shared.counters.lost();
                    (core.hear)(Heard::Lost(None));
                    core.map.doubt();
                    if began.elapsed() > core.settings().watch() {
                        pause.forget();
                    }
                    while !core.shared.counters.is_relaxed() {
                        tokio::time::sleep(core.settings().watch() / 20).await;
                    }
                }
                Err(obstacle) => {
                    tracing::debug!(text = %obstacle.text, "no connection to listen to Redis");
                    core.board.set(place, obstacle.sky);
                    core.map.doubt();
                }
            }
            pause.wait().await;
        }
    }

    /// A new connection knows nothing.
    fn ask_again(&self) {
        let mut todo = self.todo.borrow_mut();
        todo.clear();
        for (channel, standing) in self.channels.borrow_mut().iter_mut() {
            *standing = Standing::Wanted;
            todo.push_back((Arc::clone(channel), true));
        }
    }

    /// Takes what one request asks for: channels that are all wanted, or all not.
    fn take_todo(&self, channels_max: usize) -> (Vec<Arc<str>>, bool) {
        let mut todo = self.todo.borrow_mut();
        let is_wanted = todo.front().is_some_and(|(_, is_wanted)| *is_wanted);
        let count = todo.iter().take(channels_max).take_while(|(_, wanted)| *wanted == is_wanted).count();
        let taken = todo.drain(..count).map(|(channel, _)| channel).collect();
        (taken, is_wanted)
    }
}

/// A connection's place on the board, given back also when the task is aborted.
struct Leaving {
    core: Rc<Core>,
    place: usize,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.core.board.leave(self.place);
    }
}

/// An open connection.
struct Ears {
    connection: MultiplexedConnection,
    signs: mpsc::Receiver<Sign>,
    tell: mpsc::Sender<Sign>,
    /// Whether nothing more is to be told.
    is_shut: Arc<AtomicBool>,
    /// Whether anything came since it was last looked at.
    is_alive: Arc<AtomicBool>,
    address: Address,
    /// Requests that are not confirmed, of each channel: to listen, and not to.
    flying: HashMap<Arc<str>, (u32, u32)>,
    unconfirmed: usize,
    /// Requests on their way, which end with this.
    requests: JoinSet<()>,
}

impl Drop for Ears {
    fn drop(&mut self) {
        self.is_shut.store(true, Ordering::Relaxed);
    }
}

impl Ears {
    async fn open(core: &Rc<Core>, listener: &Listener) -> Result<Self, super::dialer::Obstacle> {
        let address = match &listener.address {
            Some(address) => address.clone(),
            None => core.dialer.master().await?,
        };
        let (tell, signs) = mpsc::channel(SIGNS_MAX);
        let (is_shut, is_alive) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(true)));
        let ear = Ear {
            hear: Arc::clone(&core.hear),
            tell: tell.clone(),
            counters: Arc::clone(&core.shared.counters),
            is_shut: Arc::clone(&is_shut),
            is_alive: Arc::clone(&is_alive),
        };
        let connection = core.dialer.listener(&address, move |info| ear.take(info)).await?;
        let (flying, unconfirmed, requests) = Default::default();
        Ok(Self { connection, signs, tell, is_shut, is_alive, address, flying, unconfirmed, requests })
    }

    /// Listens until there is a reason not to.
    async fn listen(&mut self, core: &Core, listener: &Listener) -> &'static str {
        let (watch, command_max) = (core.settings().watch(), core.settings().command_max());
        let mut tick = interval((command_max / 10).clamp(Duration::from_millis(5), Duration::from_millis(100)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut alive_at, mut asked_at, mut is_asked) = (Instant::now(), Instant::now(), false);
        loop {
            self.request(core, listener);
            while self.requests.try_join_next().is_some() {}
            tokio::select! {
                sign = self.signs.recv() => match sign {
                    Some(Sign::Subscribed(channel)) => self.confirm(core, listener, &channel),
                    Some(Sign::Unsubscribed(channel)) => {
                        if self.land(&channel, false).is_none() && let Err(reason) = unheard(core, listener, &channel) {
                            return reason;
                        }
                    }
                    Some(Sign::Pong) => (alive_at, is_asked) = (Instant::now(), false),
                    Some(Sign::Refused(text)) => {
                        tracing::warn!(%text, "Redis refuses to be listened to");
                        return "a request was refused";
                    }
                    Some(Sign::Overflow) => return "more is published than is taken",
                    Some(Sign::Gone) | None => return "the connection is gone",
                },
                () = listener.bell.notified() => {}
                _ = tick.tick() => {
                    let now = Instant::now();
                    if self.is_alive.swap(false, Ordering::Relaxed) {
                        alive_at = now;
                    }
                    if core.is_elsewhere(&self.address) {
                        return "there is another master";
                    }
                    if is_asked && now.duration_since(alive_at.max(asked_at)) > command_max {
                        return "nobody answers";
                    }
                    if !is_asked && now.duration_since(asked_at) >= watch {
                        (asked_at, is_asked) = (now, true);
                        self.submit(redis::cmd("PING"), true);
                    }
                }
            }
        }
    }

    /// Asks for what the connection does not know yet, as far as there is room.
    fn request(&mut self, core: &Core, listener: &Listener) {
        let is_sharded = core.is_sharded.get();
        while self.unconfirmed < UNCONFIRMED_MAX {
            // Channels of different slots cannot be asked for at once.
            let channels_max = if is_sharded { 1 } else { UNCONFIRMED_MAX - self.unconfirmed };
            let (channels, is_wanted) = listener.take_todo(channels_max);
            if channels.is_empty() {
                return;
            }
            let mut command = redis::cmd(match (is_sharded, is_wanted) {
                (false, true) => "SUBSCRIBE",
                (false, false) => "UNSUBSCRIBE",
                (true, true) => "SSUBSCRIBE",
                (true, false) => "SUNSUBSCRIBE",
            });
            let mut standings = listener.channels.borrow_mut();
            for channel in &channels {
                command.arg(channel.as_bytes());
                let (wanted, unwanted) = self.flying.entry(Arc::clone(channel)).or_default();
                *(if is_wanted { wanted } else { unwanted }) += 1;
                if is_wanted && let Some(standing) = standings.get_mut(channel) {
                    *standing = Standing::Asked;
                }
            }
            drop(standings);
            self.unconfirmed += channels.len();
            self.submit(command, false);
        }
    }

    /// Sends a command. A refusal is told; the rest comes as it is pushed, but for the answer to a ping.
    fn submit(&mut self, command: redis::Cmd, is_ping: bool) {
        let pending = pending::ask(&self.connection, command);
        let tell = self.tell.clone();
        let _ends_with_the_set: AbortHandle = self.requests.spawn_local(async move {
            let (result, _) = pending.await;
            let sign = match result.and_then(Value::from_answer) {
                Ok(_) if is_ping => Sign::Pong,
                Ok(_) => return,
                Err(error) => Sign::Refused(error.to_string()),
            };
            let _enough_was_told = tell.try_send(sign);
        });
    }

    /// Takes a confirmation: whether it was the last that was to come for its channel; `None` if none was to come.
    fn land(&mut self, channel: &Bytes, is_wanted: bool) -> Option<bool> {
        let channel = std::str::from_utf8(channel).ok()?;
        let (wanted, unwanted) = self.flying.get_mut(channel)?;
        let requests = if is_wanted { &mut *wanted } else { &mut *unwanted };
        *requests = requests.checked_sub(1)?;
        let is_last = (*wanted, *unwanted) == (0, 0);
        if is_last {
            self.flying.remove(channel);
        }
        self.unconfirmed = self.unconfirmed.saturating_sub(1);
        Some(is_last)
    }

    /// A channel is heard, if nothing else was asked for meanwhile.
    fn confirm(&mut self, core: &Core, listener: &Listener, channel: &Bytes) {
        if self.land(channel, true) != Some(true) {
            return;
        }
        let Ok(channel) = std::str::from_utf8(channel) else { return };
        let mut channels = listener.channels.borrow_mut();
        let Some(standing) = channels.get_mut(channel) else { return };
        if *standing == Standing::Asked {
            *standing = Standing::Heard;
            drop(channels);
            (core.hear)(Heard::Subscribed(Arc::from(channel)));
        }
    }
}

/// A channel is no longer heard. If it is wanted all the same, its slot went elsewhere.
fn unheard(core: &Core, listener: &Listener, channel: &Bytes) -> Result<(), &'static str> {
    let standing = std::str::from_utf8(channel).ok().and_then(|name| listener.channels.borrow().get(name).copied());
    if standing != Some(Standing::Heard) {
        return Ok(());
    }
    core.map.doubt();
    if core.is_sharded.get() {
        let Some((name, _)) = std::str::from_utf8(channel).ok().and_then(|name| {
            let mut channels = listener.channels.borrow_mut();
            channels.remove_entry(name)
        }) else {
            return Ok(());
        };
        (core.hear)(Heard::Lost(Some(name)));
        return Ok(());
    }
    Err("a channel was taken away")
}
