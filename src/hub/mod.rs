//! Who is live here, and how pushes reach them: one shard's connections, rooms, outboxes and flush passes.
//!
//! A publish appends one shared frame to the room's outbox and walks no members. A flush pass later writes each member
//! once, with all that waits for it, straight to its socket. The hub has no lock and no `async`: a shard's tasks call it,
//! one at a time. It knows rooms only as names and members only as connections; it must not know users, stores or
//! plugins.
//!
//! **Order.** Everything a connection gets carries a *tick*, a number that grows with each publish and each reply of
//! this shard, and is written in the order of its ticks: replies and pushes of all its rooms keep the order in which
//! they were caused. A connection for which nothing but one room's batch waits (nearly all, nearly always) is written
//! that batch as it is. For any other `settle` collects what waits, sorts it by tick and writes it at once.

mod backlog;
mod batch;
mod connection;
mod flush;
mod late;
mod pages;
mod places;
mod proof;
mod room;
mod stats;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;
use metrics::Histogram;
use tokio::net::TcpStream;

use self::batch::Pending;
pub use self::connection::Connection;
use self::connection::Place;
pub use self::flush::Progress;
pub use self::proof::{Proven, Standing};
use self::room::Room;
pub use self::stats::{Stats, Usage};
use crate::ids::{ConnectionKey, RoomId};
use crate::wire::deflate::deflate_frame;
use crate::wire::frame::{PROOF_PING, close_frame};
use crate::wire::{CloseCode, Encoding, Frame};

/// Replies that may wait for a room's flush. More, or longer ones, are written at once.
const DEFERRED_FRAMES_MAX: usize = 32;
const DEFERRED_FRAME_BYTES_MAX: usize = 2048;

/// A room may be flushed so much earlier than it is due, as a part of the time between flushes.
const FLUSH_SLACK: u32 = 4;

/// Bounds on delivery, from the configuration.
#[derive(Clone, Debug)]
pub struct Limits {
    /// A room is flushed at most this often.
    pub room_flush: Duration,
    /// Messages of at least so many bytes are compressed for connections that agreed to it.
    pub deflate_bytes_min: usize,
    /// Bytes that may wait for one connection.
    pub outbox_bytes_max: usize,
    /// Frames that may wait for one connection.
    pub outbox_frames_max: usize,
    /// How long the oldest of them may wait.
    pub outbox_age_max: Duration,
    /// How long the other side has to answer a close frame.
    pub close_max: Duration,
}

/// One shard's connections and rooms.
pub struct Hub {
    limits: Limits,
    connections: slab::Slab<Connection>,
    rooms: slab::Slab<Room>,
    by_id: HashMap<RoomId, u32>,
    /// Grows with everything that is caused.
    tick: u64,
    /// Generation of the next connection, whichever slot it gets.
    generation: u32,
    /// Rooms whose pass may go on now.
    queue: VecDeque<u32>,
    /// Rooms that wait for their next flush.
    delayed: BinaryHeap<Reverse<(Instant, u32)>>,
    /// Rooms with anything unwritten.
    dirty_rooms: usize,
    flusher: Option<Waker>,
    /// Connections for which something waits that is not urgent; each once.
    late: Vec<ConnectionKey>,
    memberships: usize,
    began: Instant,
    /// Since then, as of the last look at the clock.
    now_ms: u32,
    stats: Stats,
    /// Where each flush notes how long its oldest event waited.
    latency: Histogram,
}

impl Hub {
    /// A hub without connections.
    pub fn new(limits: Limits, latency: Histogram) -> Self {
        Self {
            limits,
            connections: slab::Slab::new(),
            rooms: slab::Slab::new(),
            by_id: HashMap::new(),
            tick: 0,
            generation: 0,
            queue: VecDeque::new(),
            delayed: BinaryHeap::new(),
            dirty_rooms: 0,
            flusher: None,
            late: Vec::new(),
            memberships: 0,
            began: Instant::now(),
            now_ms: 0,
            stats: Stats::default(),
            latency,
        }
    }

    /// From here on other bounds hold.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Takes over a socket.
    pub fn insert(&mut self, stream: TcpStream) -> ConnectionKey {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let slot = self.connections.insert(Connection::new(stream, generation));
        ConnectionKey { slot: u32::try_from(slot).unwrap_or(u32::MAX), generation }
    }

    /// A connection, if it is still there.
    pub fn connection(&mut self, key: ConnectionKey) -> Option<&mut Connection> {
        self.connections.get_mut(key.slot as usize).filter(|connection| connection.generation == key.generation)
    }

    /// Gives a connection up; dropping it closes the socket.
    pub fn remove(&mut self, key: ConnectionKey) -> Option<Connection> {
        self.connection(key)?;
        for room in self.rooms_of(key) {
            self.leave(key, &room);
        }
        Some(self.connections.remove(key.slot as usize))
    }

    /// How a connection wants its pushes.
    pub fn set_encoding(&mut self, key: ConnectionKey, encoding: Encoding) {
        if let Some(connection) = self.connection(key) {
            connection.encoding = Encoding { deflate: connection.encoding.deflate, ..encoding };
        }
    }

    /// From here on long messages to a connection are compressed.
    pub fn deflate(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connection(key) {
            connection.encoding.deflate = true;
        }
    }

    /// Hands a frame to everyone who is live in a room, except one connection. It is written by the next flush pass.
    /// Returns how many there are.
    pub fn publish(&mut self, id: &RoomId, frame: Arc<Frame>, except: Option<ConnectionKey>, now: Instant) -> usize {
        let Some(room_key) = self.by_id.get(id).copied() else { return 0 };
        let Some(room) = self.rooms.get_mut(room_key as usize) else { return 0 };
        self.tick += 1;
        let is_there = |key: &ConnectionKey| {
            self.connections.get(key.slot as usize).is_some_and(|connection| connection.generation == key.generation)
        };
        let skip = except.filter(is_there).map(|key| key.slot);
        let was_clean = room.is_clean();
        let audience = room.push(Pending { tick: self.tick, frame, audience: 0, skip }, now);
        if was_clean {
            self.dirty_rooms += 1;
            self.schedule(room_key, now);
        }
        audience
    }

    /// Lets a room's outbox be flushed: now, or once it was quiet for long enough.
    fn schedule(&mut self, room_key: u32, now: Instant) {
        let Some(room) = self.rooms.get_mut(room_key as usize) else { return };
        let due = room.last_flush.map_or(now, |last| last + self.limits.room_flush);
        // A wait that is nearly over would only make the shard wake twice.
        let due = if due <= now + self.limits.room_flush / FLUSH_SLACK { now } else { due };
        let earliest = self.delayed.peek().is_none_or(|Reverse((first, _))| due < *first);
        if due <= now {
            self.queue.push_back(room_key);
        } else {
            self.delayed.push(Reverse((due, room_key)));
        }
        if (due <= now || earliest)
            && let Some(flusher) = self.flusher.take()
        {
            flusher.wake();
        }
    }

    /// Sends a frame to one connection, after everything that was caused before it.
    pub fn reply(&mut self, key: ConnectionKey, frame: Bytes) {
        self.tick += 1;
        let tick = self.tick;
        let pass_comes = self.awaits_pass(key.slot);
        let deflate_bytes_min = self.limits.deflate_bytes_min;
        let Some(connection) = self.connection(key) else { return };
        if connection.closing.is_some() {
            return;
        }
        let frame = if connection.encoding.deflate { deflate_frame(&frame, deflate_bytes_min) } else { frame };
        let small = connection.deferred.len() < DEFERRED_FRAMES_MAX && frame.len() <= DEFERRED_FRAME_BYTES_MAX;
        if pass_comes && small && connection.backlog.is_none() {
            // The room's flush comes soon and takes it along, so that an acknowledgement costs no write of its own.
            connection.deferred.push((tick, frame));
            return;
        }
        self.settle(key.slot);
        self.write(key.slot, &frame, 1, false);
    }

    /// As [`Hub::reply`], for what may be lost if the connection is slow.
    pub fn reply_ephemeral(&mut self, key: ConnectionKey, frame: &Bytes) {
        self.settle(key.slot);
        if self.connection(key).is_some() {
            self.write(key.slot, frame, 1, true);
        }
    }

    /// Whether a pass will come to a connection: one of its rooms has something that it was not written yet.
    fn awaits_pass(&self, slot: u32) -> bool {
        let Some(connection) = self.connections.get(slot as usize).filter(|_| self.dirty_rooms > 0) else {
            return false;
        };
        let has_more = |place: &Place| {
            let room = self.rooms.get(place.room as usize);
            room.is_some_and(|room| room.last_tick() > connection.served && place.index < room.last_audience())
        };
        connection.rooms.iter().any(has_more)
    }

    /// Writes everything that waits for a connection, in the order in which it was caused.
    fn settle(&mut self, slot: u32) {
        let Some(connection) = self.connections.get_mut(slot as usize) else { return };
        if self.dirty_rooms == 0 && connection.deferred.is_empty() {
            return;
        }
        let mut waiting: Vec<(u64, Bytes, bool)> =
            std::mem::take(&mut connection.deferred).into_iter().map(|(tick, bytes)| (tick, bytes, false)).collect();
        let mut logged = false;
        if self.dirty_rooms > 0 {
            for place in &connection.rooms {
                let Some(room) =
                    self.rooms.get(place.room as usize).filter(|room| room.last_tick() > connection.served)
                else {
                    continue;
                };
                let mine = room.unwritten().filter(|pending| pending.is_for(slot, place.index, connection.served));
                let encoding = connection.encoding;
                waiting.extend(mine.map(|Pending { tick, frame, .. }| {
                    logged |= frame.seq().is_some();
                    (*tick, frame.encoded(encoding, self.limits.deflate_bytes_min).clone(), frame.ephemeral())
                }));
            }
        }
        connection.served = self.tick;
        if waiting.is_empty() || connection.closing.is_some() {
            return;
        }
        if logged {
            connection.proof.note_written();
        }
        let pings = proof::is_due(connection, &self.rooms, self.now_ms) && proof::reach(connection, &self.rooms);
        if pings {
            connection.proof.begin(self.now_ms);
            self.stats.pings += 1;
        }
        waiting.sort_unstable_by_key(|(tick, ..)| *tick);
        let ephemeral = waiting.iter().all(|(.., ephemeral)| *ephemeral);
        match waiting.as_slice() {
            [(_, only, _)] if !pings => {
                let only = only.clone();
                self.write(slot, &only, 1, ephemeral);
            }
            several => {
                let frames = several.len();
                let mut bytes = Vec::with_capacity(several.iter().map(|(_, bytes, _)| bytes.len()).sum());
                several.iter().for_each(|(_, frame, _)| bytes.extend_from_slice(frame));
                if pings {
                    bytes.extend_from_slice(&PROOF_PING);
                }
                self.write(slot, &bytes.into(), frames, ephemeral);
            }
        }
    }

    /// Writes to a connection, or lets it wait if the socket is full.
    fn write(&mut self, slot: u32, bytes: &Bytes, frames: usize, ephemeral: bool) {
        let Some(connection) = self.connections.get_mut(slot as usize) else { return };
        if !connection.write(bytes, frames, ephemeral, &mut self.stats) {
            return;
        }
        let over = connection.backlog.as_ref().is_some_and(|backlog| backlog.is_over(&self.limits, Instant::now()));
        if over {
            self.drop_slow(slot);
        }
    }

    fn drop_slow(&mut self, slot: u32) {
        let Some(connection) = self.connections.get_mut(slot as usize) else { return };
        self.stats.slow_consumers += 1;
        if let Some(backlog) = &mut connection.backlog {
            backlog.forget_unbegun();
        }
        let key = ConnectionKey { slot, generation: connection.generation };
        connection.deferred.clear();
        connection.served = u64::MAX;
        self.close(key, CloseCode::SlowConsumer);
    }

    /// Lets everything for a connection that is caused from now on wait until [`Hub::release`].
    pub fn hold(&mut self, key: ConnectionKey) {
        self.settle(key.slot);
        if let Some(connection) = self.connection(key) {
            connection.backlog.get_or_insert_with(Box::default).hold();
        }
    }

    /// Ends a hold: first the frames given here, then what waited. These frames were bounded by whoever made them, so
    /// they do not count against what a slow connection may leave waiting.
    pub fn release(&mut self, key: ConnectionKey, first: Vec<Bytes>) {
        self.stats.deliveries += first.len() as u64;
        let Some(connection) = self.connection(key) else { return };
        if let Some(backlog) = &mut connection.backlog {
            backlog.release(first);
            connection.wake();
            self.ping(key.slot);
        }
    }

    /// Closes a connection: what was caused before is written first, nothing after. Its task sees to the rest.
    pub fn close(&mut self, key: ConnectionKey, code: CloseCode) {
        self.close_with(key, code, close_frame(Some(code.number()), code.name()));
    }

    /// As [`Hub::close`], with a close frame of the caller's, to answer the other side's.
    pub fn close_with(&mut self, key: ConnectionKey, code: CloseCode, frame: Bytes) {
        self.settle(key.slot);
        let deadline = Instant::now() + self.limits.close_max;
        let Some(connection) = self.connection(key) else { return };
        if connection.closing.is_some() {
            return;
        }
        if let Some(backlog) = &mut connection.backlog {
            backlog.release(Vec::new());
        }
        let mut stats = Stats::default();
        connection.write(&frame, 0, false, &mut stats);
        connection.closing = Some((code, deadline));
        connection.served = u64::MAX;
        connection.wake();
        self.add_stats(&stats);
    }

    /// Closes connections for which something waits too long. To be called now and then.
    pub fn sweep(&mut self, now: Instant) {
        self.set_clock(now);
        self.write_late();
        self.send_due_pings();
        let over = |connection: &Connection| {
            connection.closing.is_none()
                && connection.backlog.as_ref().is_some_and(|backlog| backlog.is_over(&self.limits, now))
        };
        let slow: Vec<usize> =
            self.connections.iter().filter(|(_, connection)| over(connection)).map(|(slot, _)| slot).collect();
        for slot in slow {
            self.drop_slow(u32::try_from(slot).unwrap_or(u32::MAX));
        }
    }
}
