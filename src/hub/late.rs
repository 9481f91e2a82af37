//! Frames that are not urgent: they ride with what is written next to their connection, if that is likely to be soon.
//!
//! A receipt for somebody in a busy room would be a system call of its own; within a moment the room's next flush takes it
//! along for nothing. In a quiet room it is written at once.

use std::time::Duration;

use bytes::Bytes;

use super::{DEFERRED_FRAMES_MAX, Hub};
use crate::ids::{ConnectionKey, RoomId};

/// A room that was flushed within so long is likely to be flushed again soon. What then does not happen is made up for by
/// the next sweep.
const BUSY: Duration = Duration::from_millis(100);

impl Hub {
    /// As [`Hub::reply`], soon: with what is written next to the connection, and with the next sweep at the latest.
    pub fn reply_soon(&mut self, key: ConnectionKey, room: &RoomId, frame: Bytes) {
        let room = self.by_id.get(room).and_then(|room| self.rooms.get(*room as usize));
        let is_busy = room.and_then(|room| room.last_flush).is_some_and(|last| last.elapsed() < BUSY);
        let tick = self.tick + 1;
        let Some(connection) = self.connection(key) else { return };
        let has_place = connection.deferred.len() < DEFERRED_FRAMES_MAX && connection.backlog.is_none();
        if !is_busy || !has_place || connection.closing.is_some() {
            return self.reply(key, frame);
        }
        connection.deferred.push((tick, frame));
        let is_noted = std::mem::replace(&mut connection.late, true);
        self.tick = tick;
        if !is_noted {
            self.late.push(key);
        }
    }

    /// Writes what nothing took along. To be called now and then.
    pub(super) fn write_late(&mut self) {
        for key in std::mem::take(&mut self.late) {
            let Some(connection) = self.connection(key) else { continue };
            connection.late = false;
            self.settle(key.slot);
        }
    }
}
