//! Rooms whose events are on the disk alone: which operations need them, and how they come and go.
//!
//! A room is cold after a start, and when nobody used it for a while. Its members and cursors, its log's bounds and what
//! the log costs are here nevertheless. A partition must not be asked for what needs a cold room's events; whoever asks
//! looks first, has them read, and hands them over.

use std::sync::Arc;

use super::room::Room;
use super::undo::note_state;
use super::{Partition, find};
use crate::ids::{DeviceId, RoomId, UserId};
use crate::message::{Event, Seq, Timestamp};
use crate::store::Op;
use crate::wire::request::Since;

/// Cold rooms that are wanted at once for what is to be dropped of them. Others follow when these are read.
const WANTED_ROOMS_MAX: usize = 256;

/// The events of a cold room: all from one to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColdLog {
    /// Which room.
    pub room: RoomId,
    /// The first.
    pub first: Seq,
    /// The last.
    pub head: Seq,
}

impl Room {
    pub(super) fn is_cold(&self) -> bool {
        self.log().is_some_and(super::log::Log::is_cold)
    }

    fn cold_log(&self) -> Option<ColdLog> {
        let log = self.log().filter(|log| log.is_cold())?;
        Some(ColdLog { room: self.id().clone(), first: log.first(), head: log.head() })
    }

    /// Whether a member who comes back missed nothing, and has nothing unread. That can be told without events.
    fn is_up_to_date(
        &self,
        (user, device): (&UserId, Option<&DeviceId>),
        since: Option<&Since>,
        resumes: bool,
    ) -> bool {
        let head = self.log().map_or(0, super::log::Log::head);
        let Some(cursors) = self.cursors.get(user) else { return false };
        let missed_nothing = match since {
            Some(since) => since.message_id.is_none() && since.seq == head,
            None => !resumes || cursors.delivered_to(device) == head,
        };
        missed_nothing && cursors.seen == head
    }
}

impl Partition {
    /// What has to be read before an operation can be carried out.
    pub fn lacks(&self, op: &Op) -> Option<ColdLog> {
        let of =
            |room: &RoomId| self.by_id.get(room).and_then(|key| self.rooms.get(*key)).filter(|room| room.is_cold());
        match op {
            // Whom it is for matters to the rest: a server needs no membership.
            Op::OfServer(op) => of(op.needs_events_of()?)?.cold_log(),
            Op::Join { room, .. } => of(room)?.cold_log(),
            Op::Attach { room, user, device, since, resume, .. } => {
                let room = of(room)?;
                let is_up_to_date = room.is_up_to_date((user, device.as_ref()), since.as_ref(), resume.is_some());
                if is_up_to_date || !room.is_member(user) { None } else { room.cold_log() }
            }
            op => {
                let room = of(op.needs_events_of()?)?;
                // Strangers are turned away without them.
                if op.asking().is_some_and(|user| !room.is_member(user)) { None } else { room.cold_log() }
            }
        }
    }

    /// Somebody asks for something in a room.
    pub fn touch(&mut self, room: &RoomId, now: Timestamp) {
        if let Some(room) = find(&mut self.rooms, &self.by_id, room) {
            room.used_at = now;
        }
    }

    /// Takes in the events of a cold room, all of them in order.
    pub fn warm(&mut self, id: &RoomId, events: Vec<Arc<Event>>, now: Timestamp) {
        let Some(room) = find(&mut self.rooms, &self.by_id, id).filter(|room| room.is_cold()) else { return };
        self.retention.displace(room);
        if let Some(log) = room.log_mut() {
            log.warm(events);
        }
        (room.unreadable, room.used_at) = (false, now);
        self.cold_rooms -= 1;
        // What grew too old meanwhile goes before anybody sees it.
        room.trim(now);
        self.retention.account(room);
        note_state(self.changes.as_mut(), room);
        self.trim_total();
    }

    /// The events of a cold room cannot be read. Other rooms' events give way in their place, until they can.
    pub fn not_warmed(&mut self, id: &RoomId) {
        if let Some(room) = find(&mut self.rooms, &self.by_id, id) {
            room.unreadable = true;
            self.retention.displace(room);
        }
    }

    /// Leaves the events of rooms to the disk that nobody is live in and that were not used for long. To be called with
    /// the time before which all that was changed is stored.
    pub fn cool(&mut self, now: Timestamp, stored_before: Timestamp) {
        let cold_after_ms = self.limits.cold_after_ms;
        if self.changes.is_none() || cold_after_ms == 0 {
            return;
        }
        let unused_since = stored_before.min(now.saturating_sub(cold_after_ms));
        for key in self.swept.clone() {
            let Some(room) = self.rooms.get_mut(key) else { continue };
            if room.used_at < unused_since && room.shards() == 0 && !room.is_cold() {
                room.log_mut().into_iter().for_each(super::log::Log::cool);
                self.cold_rooms += usize::from(room.is_cold());
            }
        }
    }

    /// Notes that a cold room's events are to be read, so that some of them can be dropped.
    pub(super) fn wants(&mut self, id: RoomId) {
        if self.wanted.len() < WANTED_ROOMS_MAX && !self.wanted.contains(&id) {
            self.wanted.push(id);
        }
    }

    /// What is to be read so that some of it can be dropped.
    pub fn take_wanted(&mut self) -> Vec<ColdLog> {
        let wanted = std::mem::take(&mut self.wanted);
        let cold = |id: &RoomId| self.by_id.get(id).and_then(|key| self.rooms.get(*key)).and_then(Room::cold_log);
        wanted.iter().filter_map(cold).collect()
    }
}
