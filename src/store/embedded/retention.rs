//! How much is kept, of all rooms together: what an operation logged is accounted for, and what is over the bounds goes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::room::Room;
use super::undo::note_state;
use super::{Partition, find};
use crate::ids::RoomId;
use crate::message::Timestamp;
use crate::store::{Change, Outcome};

/// Rooms that one sweep looks at, so that a sweep costs the same however many there are.
const SWEEP_ROOMS_MAX: usize = 256;

/// What all logs of a partition cost together, and which of them has the oldest event.
#[derive(Default)]
pub(super) struct Retention {
    pub(super) events: usize,
    pub(super) bytes: usize,
    /// Rooms that have events, by the time of the oldest.
    oldest: BTreeMap<(Timestamp, u64), RoomId>,
    /// Rooms made so far: a slot used again gets another serial.
    pub(super) serial: u64,
}

impl Partition {
    /// Accounts for what an operation logged, and drops what is over the bounds.
    pub(super) fn settle(&mut self, id: &RoomId, outcome: Outcome, now: Timestamp) -> Outcome {
        let Some(key) = self.by_id.get(id).copied() else { return outcome };
        if let Some(room) = self.rooms.get_mut(key) {
            if let Some(event) = outcome.feed.as_ref().map(|feed| &feed.event).filter(|event| event.seq.is_some())
                && let Some(changes) = &mut self.changes
            {
                changes.push(Change::Event { room: id.clone(), event: Arc::clone(event) });
            }
            room.used_at = room.used_at.max(now);
            room.trim(now);
            self.retention.account(room);
            note_state(self.changes.as_mut(), room);
        }
        self.trim_total();
        outcome
    }

    /// Drops the oldest events of all rooms until their total is within its bound. What is on the disk alone has to be
    /// read for that, so the rest waits until it is.
    pub(super) fn trim_total(&mut self) {
        let bytes_max = self.limits.total_bytes_max;
        while bytes_max != 0
            && self.retention.bytes > bytes_max
            && let Some(id) = self.retention.oldest.first_key_value().map(|(_, id)| id.clone())
            && let Some(room) = find(&mut self.rooms, &self.by_id, &id)
        {
            if room.is_cold() {
                return self.wants(id);
            }
            room.drop_first();
            self.retention.account(room);
            note_state(self.changes.as_mut(), room);
        }
    }

    /// Drops what grew too old in some of the rooms, and rooms that nothing is left of. To be called now and then.
    pub fn sweep(&mut self, now: Timestamp) {
        self.dedup.forget_old(now);
        self.note_unsaved();
        let end = self.sweep_from + SWEEP_ROOMS_MAX;
        let keys = self.sweep_from..end;
        self.swept = keys.clone();
        self.sweep_from = if end < self.rooms.capacity() { end } else { 0 };
        for key in keys {
            let Some(room) = self.rooms.get_mut(key) else { continue };
            if room.is_cold() {
                if room.is_overdue(now) && !room.unreadable {
                    let id = room.id().clone();
                    self.wants(id);
                }
                continue;
            }
            room.trim(now);
            self.retention.account(room);
            note_state(self.changes.as_mut(), room);
            if room.is_void() {
                let mut room = self.rooms.remove(key);
                self.by_id.remove(room.id());
                self.retention.displace(&mut room);
                self.note(|| Change::Closed(room.id().clone()));
            }
        }
    }
}

impl Retention {
    /// Takes over what a room's log gained and lost since the last time.
    pub(super) fn account(&mut self, room: &mut Room) {
        let (before, after) = room.usage_change();
        self.events = self.events - before.0 + after.0;
        self.bytes = self.bytes - before.1 + after.1;
        let oldest_at = room.oldest_at();
        if room.placed != oldest_at {
            self.displace(room);
            room.placed = oldest_at;
            self.oldest.extend(oldest_at.map(|at| ((at, room.serial()), room.id().clone())));
        }
    }

    /// A room is not looked at any more when events have to give way, until something changes in it.
    pub(super) fn displace(&mut self, room: &mut Room) {
        if let Some(at) = room.placed.take() {
            self.oldest.remove(&(at, room.serial()));
        }
    }
}
