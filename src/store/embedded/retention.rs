//! How much is kept, of all rooms together: what an operation logged is accounted for, and what is over the bounds goes.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Partition;
use super::room::Room;
use super::undo::note_state;
use crate::ids::RoomId;
use crate::message::{Seq, Timestamp};
use crate::store::{Change, Outcome};

/// Rooms that one sweep looks at, so that a sweep costs the same however many there are.
const SWEEP_ROOMS_MAX: usize = 256;

/// What all logs of a partition cost together, and in which order their events came.
#[derive(Default)]
pub(super) struct Retention {
    pub(super) events: usize,
    pub(super) bytes: usize,
    /// Oldest first. Entries of events that are gone already are skipped.
    pub(super) order: VecDeque<Place>,
    /// Rooms made so far: a slot used again gets another serial.
    pub(super) serial: u64,
}

#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) room: usize,
    pub(super) serial: u64,
    pub(super) seq: Seq,
}

impl Partition {
    /// Accounts for what an operation logged, and drops what is over the bounds.
    pub(super) fn settle(&mut self, id: &RoomId, outcome: Outcome, now: Timestamp) -> Outcome {
        let Some(key) = self.by_id.get(id).copied() else { return outcome };
        if let Some(room) = self.rooms.get_mut(key) {
            if let Some((event, seq)) = outcome.feed.as_ref().and_then(|feed| Some((&feed.event, feed.event.seq?))) {
                self.retention.order.push_back(Place { room: key, serial: room.serial(), seq });
                if let Some(changes) = &mut self.changes {
                    changes.push(Change::Event { room: id.clone(), event: Arc::clone(event) });
                }
            }
            room.trim(now);
            self.retention.account(room);
            note_state(self.changes.as_mut(), room);
        }
        self.trim_total();
        outcome
    }

    /// Drops the oldest events of all rooms until their total is within its bound.
    fn trim_total(&mut self) {
        let bytes_max = self.limits.total_bytes_max;
        while bytes_max != 0
            && self.retention.bytes > bytes_max
            && let Some(place) = self.retention.order.pop_front()
        {
            if let Some(room) = self.rooms.get_mut(place.room).filter(|room| room.serial() == place.serial) {
                room.drop_if_first(place.seq);
                self.retention.account(room);
                note_state(self.changes.as_mut(), room);
            }
        }
        // Rooms drop events by their own bounds too; once most of the order speaks of such, it is made anew.
        if self.retention.order.len() > 1024 + 2 * self.retention.events {
            let rooms = &self.rooms;
            self.retention.order.retain(|place| {
                rooms.get(place.room).is_some_and(|room| room.serial() == place.serial && room.holds(place.seq))
            });
        }
    }

    /// Drops what grew too old in some of the rooms, and rooms that nothing is left of. To be called now and then.
    pub fn sweep(&mut self, now: Timestamp) {
        self.dedup.forget_old(now);
        self.note_unsaved();
        let end = self.sweep_from + SWEEP_ROOMS_MAX;
        let keys = self.sweep_from..end;
        self.sweep_from = if end < self.rooms.capacity() { end } else { 0 };
        for key in keys {
            let Some(room) = self.rooms.get_mut(key) else { continue };
            room.trim(now);
            self.retention.account(room);
            note_state(self.changes.as_mut(), room);
            if room.is_void() {
                let room = self.rooms.remove(key);
                self.by_id.remove(room.id());
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
    }
}
