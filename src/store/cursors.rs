//! How far a user has come in a room: what was delivered to the user's devices, and what was seen.
//!
//! Plain values that only ever grow. What is kept of a message does not depend on how many members the room has: whether
//! somebody has it is read off that member's cursors.

use serde::{Deserialize, Serialize};

use crate::ids::{DeviceId, MessageId, RoomId, UserId};
use crate::message::{Seq, Timestamp};

/// Moves of one cursor whose time is remembered. Of what was passed before them it is known that, not exactly when.
const STEPS_MAX: usize = 16;

/// Everything that is kept of one user's progress in one room. There is one of these for each membership, so it is small
/// until there is something to say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursors {
    /// Where the user came in. What was said before was not said to the user.
    pub start: Seq,
    /// The furthest that any of the user's devices was delivered.
    pub delivered: Seq,
    /// The furthest that the user has seen.
    pub seen: Seq,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    more: Option<Box<More>>,
}

/// When cursors grew, and what each device has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct More {
    delivered: Steps,
    seen: Steps,
    /// What each named device was delivered, the one used last at the end.
    devices: Vec<DeviceCursor>,
}

/// Where a cursor went, and when; ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Steps(Vec<(Seq, Timestamp)>);

/// How far one device was delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct DeviceCursor {
    device: DeviceId,
    /// The last event that it has.
    delivered: Seq,
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

impl Steps {
    fn note(&mut self, seq: Seq, now: Timestamp) {
        if self.0.len() >= STEPS_MAX {
            self.0.remove(0);
        }
        self.0.push((seq, now));
    }

    fn covered_at(&self, seq: Seq) -> Option<Timestamp> {
        self.0.iter().find(|(step, _)| *step >= seq).map(|(_, at)| *at)
    }
}

impl Cursors {
    /// Those of a user who comes in now.
    pub fn starting(head: Seq) -> Self {
        Self { start: head, delivered: head, seen: head, more: None }
    }

    /// When a cursor came to cover an event, or at the latest by when.
    pub fn covered_at(&self, kind: CursorKind, seq: Seq) -> Option<Timestamp> {
        let more = self.more.as_ref()?;
        match kind {
            CursorKind::Delivered => more.delivered.covered_at(seq),
            CursorKind::Seen => more.seen.covered_at(seq),
        }
    }

    /// What a device was delivered. One that has no name, or is not known, is taken to have what its user has.
    pub fn delivered_to(&self, device: Option<&DeviceId>) -> Seq {
        let devices = self.more.iter().flat_map(|more| &more.devices);
        let known = device.and_then(|device| devices.into_iter().find(|known| known.device == *device));
        known.map_or(self.delivered, |known| known.delivered)
    }

    /// Notes that a device is used, and has everything up to a place. If there are too many, the one that was not used
    /// for longest gives way to it. Devices without a name share the user's cursor.
    pub fn touch(&mut self, device: Option<&DeviceId>, seq: Seq, devices_max: usize) {
        let Some(device) = device else { return };
        let delivered = self.delivered;
        let devices = &mut self.more.get_or_insert_default().devices;
        let known = devices.iter().position(|known| known.device == *device);
        let mut cursor = match known {
            Some(index) => devices.remove(index),
            None => DeviceCursor { device: device.clone(), delivered },
        };
        if devices_max != 0 && devices.len() >= devices_max {
            devices.remove(0);
        }
        cursor.delivered = cursor.delivered.max(seq);
        // Most users have one device, or two.
        devices.reserve_exact(1);
        devices.push(cursor);
    }

    /// A device was delivered everything up to a place. Returns where the user's cursor was, if it grew.
    pub fn deliver(&mut self, device: Option<&DeviceId>, seq: Seq, devices_max: usize) -> Option<Seq> {
        self.touch(device, seq, devices_max);
        (seq > self.delivered).then(|| std::mem::replace(&mut self.delivered, seq))
    }

    /// The user has seen everything up to a place. Returns where the cursor was, if it grew.
    pub fn see(&mut self, seq: Seq) -> Option<Seq> {
        (seq > self.seen).then(|| std::mem::replace(&mut self.seen, seq))
    }

    /// Notes when a cursor came to where it is. It need not be, if it covers no message newly.
    pub fn note_time(&mut self, kind: CursorKind, now: Timestamp) {
        let (delivered, seen) = (self.delivered, self.seen);
        let more = self.more.get_or_insert_default();
        match kind {
            CursorKind::Delivered => more.delivered.note(delivered, now),
            CursorKind::Seen => more.seen.note(seen, now),
        }
    }

    /// The user wrote an event. Whoever had everything before it has it too: it is the user's own.
    pub fn wrote(&mut self, device: Option<&DeviceId>, seq: Seq) {
        for cursor in [&mut self.delivered, &mut self.seen] {
            if *cursor + 1 == seq {
                *cursor = seq;
            }
        }
        let devices = self.more.iter_mut().flat_map(|more| &mut more.devices);
        let known = device.and_then(|device| devices.into_iter().find(|known| known.device == *device));
        if let Some(known) = known.filter(|known| known.delivered + 1 == seq) {
            known.delivered = seq;
        }
    }
}
