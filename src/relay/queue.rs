//! The offline queue: what a connection that attached had missed, as pushes, and how a long one comes page by page.
//!
//! The first page comes with `auth-success`. Each further one is read when the connection's socket has taken all that
//! waited, so that a client which does not read costs one page and no more, and so that others are served in between. One
//! room of a connection is read at a time. The store counts the connection as live from the first page on, but the hub
//! has no place for it: what happens in the room meanwhile is in the log, and comes in its order with the pages. With the
//! last page the connection gets its place, before anything else can happen.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::attach::{Attachment, standing_at};
use super::{Asked, Errand, Relay, Ticket};
use crate::ids::{ConnectionKey, RoomId};
use crate::message::{Event, Seq};
use crate::store::{Answer, Entry, Op, QueuePage};
use crate::wire::dialect::Push;
use crate::wire::encode::{self, Origin};
use crate::wire::{Dialect, Frame};

/// Events that a connection wrote and does not want to hear of, while it is behind in their room. Of those before, it does.
const NOT_ECHOED_MAX: usize = 256;

/// What a connection is still to be told.
#[derive(Default)]
pub(super) struct Queue {
    /// Rooms in which it is behind, in the order in which they are read; bounded by the rooms of a connection.
    rooms: VecDeque<Behind>,
    /// Rooms that its user has left meanwhile, until it is told.
    left: Vec<Behind>,
    /// Events it was told so far.
    count: usize,
    /// Whether a page is on its way.
    reading: bool,
    /// Whether it was told that there is no more.
    flushed: bool,
}

/// A room in which a connection is not yet where the others are.
pub(super) struct Behind {
    room: RoomId,
    membership: u64,
    /// What its device had when it came.
    delivered: Seq,
    /// The last event that it was told, or `delivered`.
    after: Seq,
    /// The last event when it came. What follows is new.
    until: Seq,
    not_echoed: VecDeque<Seq>,
}

impl Queue {
    /// Whether there is nothing more to tell.
    pub(super) fn is_over(&self) -> bool {
        self.rooms.is_empty()
    }

    /// So many events were told with `auth-success`. Returns how many wait.
    pub(super) fn begin(&mut self, count: usize) -> usize {
        (self.count, self.flushed) = (count, false);
        let waiting =
            |behind: &Behind| usize::try_from(behind.until.saturating_sub(behind.after)).unwrap_or(usize::MAX);
        self.rooms.iter().map(waiting).fold(0, usize::saturating_add)
    }

    fn of(&mut self, room: &RoomId) -> Option<&mut Behind> {
        self.rooms.iter_mut().find(|behind| behind.room == *room)
    }

    fn all(&self) -> impl Iterator<Item = &Behind> {
        self.rooms.iter().chain(&self.left)
    }

    fn take(&mut self, room: &RoomId) -> Option<Behind> {
        if let Some(place) = self.rooms.iter().position(|behind| behind.room == *room) {
            return self.rooms.remove(place);
        }
        self.left.iter().position(|behind| behind.room == *room).map(|place| self.left.swap_remove(place))
    }
}

impl Behind {
    /// A room of which more waits than came at once.
    pub(super) fn new(room: &RoomId, entry: &Entry) -> Option<Self> {
        let (progress, until) = (entry.progress?, entry.head.seq()?);
        let last = entry.missed.as_ref().and_then(|events| events.last()).and_then(|event| event.seq);
        Some(Self {
            room: room.clone(),
            membership: entry.membership,
            delivered: progress.delivered,
            after: last.unwrap_or(progress.delivered),
            until,
            not_echoed: VecDeque::new(),
        })
    }

    /// A page of events as pushes, and how many of them had waited.
    fn tell(&self, origin: Origin<'_>, events: &[Arc<Event>], dialect: Dialect) -> (Vec<Bytes>, usize) {
        let waited = |event: &Event| event.seq.is_some_and(|seq| seq <= self.until);
        let is_echo = |event: &Event| event.seq.is_some_and(|seq| self.not_echoed.contains(&seq));
        let told = events.iter().filter(|event| !is_echo(event));
        let frames = told.map(|event| {
            if waited(event) {
                encode::queued_event(origin, event, dialect)
            } else {
                encode::event(origin, event).bytes(dialect).clone()
            }
        });
        (frames.collect(), events.iter().filter(|event| waited(event)).count())
    }
}

impl Relay {
    /// Whether a connection takes part in a room, or will when it was told what it missed there.
    pub(super) fn is_in(&self, key: ConnectionKey, room: &RoomId) -> bool {
        self.hub.is_live(key, room) || self.membership_behind(key, room).is_some()
    }

    /// In how many rooms it does.
    pub(super) fn room_count(&self, key: ConnectionKey) -> usize {
        let queue = self.peers.get(key).and_then(|peer| peer.queue.as_deref());
        self.hub.room_count(key) + queue.map_or(0, |queue| queue.all().count())
    }

    /// By which membership a connection is in a room in which it is behind.
    pub(super) fn membership_behind(&self, key: ConnectionKey, room: &RoomId) -> Option<u64> {
        let queue = self.peers.get(key)?.queue.as_deref()?;
        queue.all().find(|behind| behind.room == *room).map(|behind| behind.membership)
    }

    /// A connection that comes has more to be told of a room than is told at once.
    pub(super) fn fall_behind(&mut self, key: ConnectionKey, behind: Behind) {
        if let Some(peer) = self.peers.get_mut(key) {
            peer.queue.get_or_insert_default().rooms.push_back(behind);
        }
    }

    /// A connection's socket has taken all that waited: the next page is read, or it is told that there is none.
    pub fn read_on(&mut self, key: ConnectionKey) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let Some(queue) = peer.queue.as_deref_mut().filter(|queue| !(queue.reading || queue.flushed)) else { return };
        let Some(behind) = queue.rooms.front() else {
            let (count, dialect) = (queue.count, peer.dialect);
            queue.flushed = true;
            peer.queue.take_if(|queue| queue.left.is_empty());
            self.hub.end_pages(key);
            self.metrics.delivery.queue_flushes.increment(1);
            self.hub.reply(key, flushed(count, dialect));
            return;
        };
        let (room, membership, after) = (behind.room.clone(), behind.membership, behind.after);
        let errand = Errand::QueuePage { room: room.clone(), membership };
        let op = Op::QueuePage { room, user: peer.user.clone(), membership, after };
        queue.reading = true;
        peer.outstanding += 1;
        self.submit(op, Some(Ticket { shard: self.shard, key, errand }), false);
    }

    /// A page was read, or cannot be.
    pub(super) fn page_read(&mut self, key: ConnectionKey, room: &RoomId, membership: u64, answer: Answer) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let Some(queue) = peer.queue.as_deref_mut() else { return };
        queue.reading = false;
        let is_its = |behind: &mut Behind| behind.room == *room && behind.membership == membership;
        match answer {
            // It left meanwhile, or said itself how far it is.
            _ if !queue.rooms.front_mut().is_some_and(is_its) => self.hub.page(key, Vec::new(), None),
            Answer::QueuePage(page) => self.tell_page(key, *page),
            // Its user has left, so nothing that happens there is for it any more. The news of it is on its way.
            Answer::NotAMember => {
                queue.left.extend(queue.rooms.pop_front());
                self.hub.page(key, Vec::new(), None);
            }
            _ => self.nothing_to_attach_to(&Asked::of_server(key, "auth")),
        }
    }

    /// Tells a connection what a page has of the room whose turn it is.
    fn tell_page(&mut self, key: ConnectionKey, page: QueuePage) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let Some(queue) = peer.queue.as_deref_mut() else { return };
        let Some(behind) = queue.rooms.front_mut() else { return };
        let QueuePage { head, missed, more } = page;
        let origin = Origin { room: &behind.room, epoch: head.epoch().map(|epoch| &**epoch) };
        let (frames, count) = match &missed {
            Some(events) => behind.tell(origin, events, peer.dialect),
            None => (vec![resync(origin, "unrecoverable", peer.dialect)], 0),
        };
        queue.count += count;
        self.metrics.delivery.queued.increment(count as u64);
        if more && let Some(last) = missed.iter().flatten().last().and_then(|event| event.seq) {
            behind.after = last;
            behind.not_echoed.retain(|seq| *seq > last);
            let room = behind.room.clone();
            return self.hub.page(key, frames, Some((&room, last)));
        }
        let Some(behind) = queue.rooms.pop_front() else { return };
        let standing = standing_at(&head, behind.delivered);
        self.hub.enter(key, &behind.room, behind.membership, standing);
        self.hub.page(key, frames, None);
    }

    /// A connection does not want to hear of what it wrote, so it does not belong into a page either.
    pub(super) fn not_echoed(&mut self, key: ConnectionKey, room: &RoomId, answer: &Answer) {
        let Answer::Appended(receipt) = answer else { return };
        let Some((_, seq)) = receipt.log.as_ref().filter(|_| !receipt.duplicate) else { return };
        let queue = self.peers.get_mut(key).and_then(|peer| peer.queue.as_deref_mut());
        let Some(behind) = queue.and_then(|queue| queue.of(room)) else { return };
        if behind.not_echoed.len() >= NOT_ECHOED_MAX {
            behind.not_echoed.pop_front();
        }
        behind.not_echoed.push_back(*seq);
    }

    /// A connection is to be told nothing more of what it missed in a room: it is not in it any more.
    pub(super) fn leave_queue(&mut self, key: ConnectionKey, room: &RoomId) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let Some(behind) = peer.queue.as_deref_mut().and_then(|queue| queue.take(room)) else { return };
        peer.queue.take_if(|queue| queue.flushed && queue.left.is_empty());
        let op = Op::Detach { room: behind.room, user: peer.user.clone(), membership: behind.membership };
        // There may be nothing left to be told at all.
        if let Some(connection) = self.hub.connection(key) {
            connection.wake();
        }
        self.submit(op, None, false);
    }

    /// A connection ended: nothing more is told.
    pub(super) fn end_queue(&mut self, key: ConnectionKey) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let (queue, user) = (peer.queue.take(), peer.user.clone());
        let behind = queue.into_iter().flat_map(|queue| queue.rooms.into_iter().chain(queue.left));
        for Behind { room, membership, .. } in behind {
            self.submit(Op::Detach { room, user: user.clone(), membership }, None, false);
        }
    }
}

/// What was missed, as far as it came at once, as pushes; `resync` for a room of which that cannot be told or, if the client
/// said itself what it has, would be too much. Returns the number of events.
pub(super) fn recovered(attachment: &Attachment, dialect: Dialect, bytes_max: usize, frames: &mut Vec<Bytes>) -> usize {
    let (mut count, mut bytes) = (0, 0);
    for attaching in attachment.rooms.iter().filter(|attaching| attaching.asked_since || attaching.resumes) {
        let Some(entry) = &attaching.entry else { continue };
        // Nothing waits in a room that keeps nothing, or in one in which everything was delivered.
        let has_all = || entry.progress.is_some_and(|progress| Some(progress.delivered) >= entry.head.seq());
        if attaching.resumes && (entry.head.log.is_none() || (attaching.unreadable && has_all())) {
            continue;
        }
        let origin = Origin { room: &attaching.room, epoch: entry.head.epoch().map(|epoch| &**epoch) };
        // What waits in the queue has had its share of the bytes before it was read.
        let cost = |events: &[Arc<Event>]| -> usize {
            if attaching.resumes { 0 } else { events.iter().map(|event| event.cost_bytes()).sum() }
        };
        match &entry.missed {
            Some(events) if bytes_max == 0 || bytes + cost(events) <= bytes_max => {
                bytes += cost(events);
                count += events.len();
                frames.extend(events.iter().map(|event| encode::queued_event(origin, event, dialect)));
            }
            missed => {
                let reason = if missed.is_some() { "too_much" } else { "unrecoverable" };
                frames.push(resync(origin, reason, dialect));
            }
        }
    }
    count
}

/// Data of `resync`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Resync<'a> {
    conversation_id: &'a RoomId,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<&'a str>,
    reason: &'a str,
}

fn resync(origin: Origin<'_>, reason: &str, dialect: Dialect) -> Bytes {
    encode::push(Push::Resync, dialect, &Resync { conversation_id: origin.room, epoch: origin.epoch, reason })
}

/// The same for everyone who is live in a room of which the store lost something.
pub(super) fn resync_frame(room: &RoomId, epoch: &str) -> Frame {
    let data = Resync { conversation_id: room, epoch: Some(epoch), reason: "unrecoverable" };
    Frame::new(Push::Resync, &encode::json(&data), false)
}

/// The end of what was missed: so many events.
pub(super) fn flushed(count: usize, dialect: Dialect) -> Bytes {
    #[derive(Serialize)]
    struct Flushed {
        count: usize,
    }
    encode::push(Push::QueueFlushed, dialect, &Flushed { count })
}
