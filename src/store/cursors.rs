//! How far a user has come in a room: what was delivered to the user's devices, and what was seen.
//!
//! Plain values that only ever grow. What is kept of a message does not depend on how many members the room has: whether
//! somebody has it is read off that member's cursors.

use serde::{Deserialize, Serialize};

use crate::ids::{DeviceId, MessageId, RoomId, UserId};
use crate::message::{Seq, Timestamp};

/// Moves of one cursor whose time is remembered. Of what was passed before them it is known that, not exactly when.
const STEPS_MAX: usize = 16;

/// Everything that is kept of one user's progress in one room.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursors {
    /// Where the user came in. What was said before was not said to the user.
    pub start: Seq,
    /// The furthest that any of the user's devices was delivered.
    pub delivered: Cursor,
    /// The furthest that the user has seen.
    pub seen: Cursor,
    /// What each device was delivered, the one used last at the end.
    pub devices: Vec<DeviceCursor>,
}

/// A place in a log that only grows, and when it last grew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The last event that it covers.
    pub seq: Seq,
    /// Where it went, and when; ascending.
    pub steps: Vec<(Seq, Timestamp)>,
}

/// How far one device was delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceCursor {
    /// Which device; `None` stands for all that do not say.
    pub device: Option<DeviceId>,
    /// The last event that it has.
    pub delivered: Seq,
}

/// Which of a user's two cursors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CursorKind {
    /// What arrived.
    Delivered,
    /// What was looked at.
    Seen,
}

/// How far a user has come in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What the device has.
    pub delivered: Seq,
    /// What the user has seen.
    pub seen: Seq,
    /// Others' messages after that.
    pub unread: usize,
}

/// A user's cursor that grew.
#[derive(Clone, Debug)]
pub struct Moved {
    /// In which room.
    pub room: RoomId,
    /// Whose.
    pub user: UserId,
    /// Which.
    pub kind: CursorKind,
    /// What it covers now.
    pub up_to: Seq,
    /// The last message that it covers newly.
    pub message_id: Option<MessageId>,
    /// When.
    pub at: Timestamp,
    /// Who wrote what it covers newly.
    pub authors: Vec<UserId>,
    /// Which shards have live connections in the room: bit n for shard n.
    pub shards: u64,
}

/// What became of a message.
#[derive(Debug)]
pub struct MessageStatus {
    /// Whether it was delivered to everyone, and whether everyone has seen it.
    pub delivered: bool,
    /// The same for having seen it.
    pub seen: bool,
    /// To whom it was said, by name, a page of them: when it was delivered, when it was seen.
    pub users: Vec<(UserId, Option<Timestamp>, Option<Timestamp>)>,
    /// Whether more follow.
    pub has_more: bool,
}

impl Cursor {
    fn starting(seq: Seq) -> Self {
        Self { seq, steps: Vec::new() }
    }

    /// Grows to a place. Returns where it was, if that was less.
    fn raise(&mut self, seq: Seq, now: Timestamp) -> Option<Seq> {
        if seq <= self.seq {
            return None;
        }
        if self.steps.len() >= STEPS_MAX {
            self.steps.remove(0);
        }
        self.steps.push((seq, now));
        Some(std::mem::replace(&mut self.seq, seq))
    }

    /// When it came to cover an event, or at the latest by when.
    pub fn covered_at(&self, seq: Seq) -> Option<Timestamp> {
        self.steps.iter().find(|(step, _)| *step >= seq).map(|(_, at)| *at)
    }
}

impl Cursors {
    /// Those of a user who comes in now.
    pub fn starting(head: Seq) -> Self {
        Self { start: head, delivered: Cursor::starting(head), seen: Cursor::starting(head), devices: Vec::new() }
    }

    /// What a device was delivered. One that is not known is taken to have what its user has.
    pub fn delivered_to(&self, device: Option<&DeviceId>) -> Seq {
        let known = self.devices.iter().find(|known| known.device.as_ref() == device);
        known.map_or(self.delivered.seq, |known| known.delivered)
    }

    /// Notes that a device is used, and has everything up to a place. If there are too many, the one that was not used
    /// for longest gives way to it.
    pub fn touch(&mut self, device: Option<&DeviceId>, seq: Seq, devices_max: usize) {
        let known = self.devices.iter().position(|known| known.device.as_ref() == device);
        let mut cursor = match known {
            Some(index) => self.devices.remove(index),
            None => DeviceCursor { device: device.cloned(), delivered: self.delivered.seq },
        };
        if devices_max != 0 && self.devices.len() >= devices_max {
            self.devices.remove(0);
        }
        cursor.delivered = cursor.delivered.max(seq);
        self.devices.push(cursor);
    }

    /// A device was delivered everything up to a place. Returns where the user's cursor was, if it grew.
    pub fn deliver(&mut self, device: Option<&DeviceId>, seq: Seq, now: Timestamp, devices_max: usize) -> Option<Seq> {
        self.touch(device, seq, devices_max);
        self.delivered.raise(seq, now)
    }

    /// The user has seen everything up to a place. Returns where the cursor was, if it grew.
    pub fn see(&mut self, seq: Seq, now: Timestamp) -> Option<Seq> {
        self.seen.raise(seq, now)
    }

    /// The user wrote an event. Whoever had everything before it has it too: it is the user's own.
    pub fn wrote(&mut self, device: Option<&DeviceId>, seq: Seq) {
        for cursor in [&mut self.delivered, &mut self.seen] {
            if cursor.seq + 1 == seq {
                cursor.seq = seq;
            }
        }
        let known = self.devices.iter_mut().find(|known| known.device.as_ref() == device);
        if let Some(known) = known.filter(|known| known.delivered + 1 == seq) {
            known.delivered = seq;
        }
    }
}
