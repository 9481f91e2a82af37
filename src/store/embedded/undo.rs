//! What a partition changed: noted for the disk, taken back if the disk fails, and read back at a start.

use std::sync::Arc;

use super::room::Room;
use super::{Partition, find};
use crate::ids::{MessageId, RoomId, UserId};
use crate::message::Event;
use crate::store::{Change, Cursors, Image, RoomImage};

impl Partition {
    /// A partition that goes on with what was kept, and notes from now on what it changes.
    #[must_use]
    pub fn restored(mut self, image: Image) -> Self {
        self.changes = Some(Vec::new());
        self.dedup.note_forgotten();
        for room in image.rooms {
            self.restore_room(room);
        }
        for (sent, receipt, expiry) in image.sent {
            self.dedup.restore(sent, receipt, expiry);
        }
        for (user, at) in image.seen {
            self.absent.note_seen(user, at, self.limits.last_seen_users_max);
        }
        for (user, rooms) in image.users {
            self.users.entry(user).or_default().rooms = rooms.into();
        }
        self
    }

    fn restore_room(&mut self, image: RoomImage) {
        let RoomImage { state, members, cursors } = image;
        let (id, epoch) = (state.room.clone(), state.epoch.clone());
        self.retention.serial += 1;
        let (serial, class) = (self.retention.serial, Arc::clone(self.classes.of(id.as_str())));
        let mut room = match epoch {
            Some(_) => Room::restored(state, class, members, serial),
            // The class has a log by now, perhaps.
            None => Room::restored(state, class, members, serial).with_log(self.ids.epoch()),
        };
        room.cursors.extend(cursors);
        self.retention.account(&mut room);
        self.cold_rooms += usize::from(room.is_cold());
        let key = self.rooms.insert(room);
        self.by_id.insert(id, key);
    }

    /// What was changed since the last time. Empty without a disk.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let Some(changes) = &mut self.changes else { return Vec::new() };
        let mut changes = std::mem::take(changes);
        changes.extend(self.dedup.take_forgotten().into_iter().map(Change::Forgotten));
        changes
    }

    /// Takes changes back, the latest first. What only gave room (an event that grew too old, a send that was
    /// forgotten) is not brought back: nobody can tell it from what happens by itself.
    pub fn undo(&mut self, changes: &[Change]) {
        for change in changes.iter().rev() {
            match change {
                Change::Event { room, event } => {
                    let Some(seq) = event.seq else { continue };
                    self.in_log(room, |room| room.log_mut().into_iter().for_each(|log| log.pop(seq)));
                }
                Change::Redacted { room, before, .. } => self.in_log(room, |room| {
                    for event in before {
                        room.log_mut().into_iter().for_each(|log| log.put(Arc::clone(event)));
                    }
                }),
                Change::Member { room, user, before, .. } => {
                    self.in_log(room, |room| room.put_member(user, *before));
                }
                Change::Cursors { room, user, before, after } => self.in_log(room, |room| {
                    // What was proven meanwhile stays: it did arrive.
                    if room.cursors.get(user) != after.as_deref() {
                        return;
                    }
                    match before {
                        Some(cursors) => room.cursors.insert(user.clone(), Cursors::clone(cursors)),
                        None => room.cursors.remove(user),
                    };
                }),
                Change::Sent { sent, .. } => self.dedup.take_back(sent),
                Change::Room(_) | Change::Closed(_) | Change::Forgotten(_) | Change::Seen { .. } => {}
            }
        }
    }

    fn in_log(&mut self, id: &RoomId, undo: impl FnOnce(&mut Room)) {
        if let Some(room) = find(&mut self.rooms, &self.by_id, id) {
            undo(room);
            self.retention.account(room);
            // The disk may know the room as it was for a moment; it is told again with the next change.
            room.forget_noted();
        }
    }

    /// Notes a change, if anybody wants to know.
    pub(super) fn note(&mut self, change: impl FnOnce() -> Change) {
        if let Some(changes) = &mut self.changes {
            changes.push(change());
        }
    }

    /// A member's cursors as they are, if anybody wants to know what they were.
    pub(super) fn cursors(&self, room: &RoomId, user: &UserId) -> Option<Option<Box<Cursors>>> {
        self.changes.as_ref()?;
        let room = self.by_id.get(room).and_then(|key| self.rooms.get(*key));
        Some(room.and_then(|room| room.cursors.get(user)).map(|cursors| Box::new(cursors.clone())))
    }

    /// Notes that a member's cursors are not what they were.
    pub(super) fn note_cursors(&mut self, room: &RoomId, user: &UserId, before: Option<Option<Box<Cursors>>>) {
        let (Some(before), Some(after)) = (before, self.cursors(room, user)) else { return };
        if before != after {
            self.note(|| Change::Cursors { room: room.clone(), user: user.clone(), before, after });
        }
    }

    /// The events that carry a message's content, if anybody wants to know.
    pub(super) fn carriers(&mut self, room: &RoomId, id: &MessageId) -> Vec<Arc<Event>> {
        if self.changes.is_none() {
            return Vec::new();
        }
        find(&mut self.rooms, &self.by_id, room).map_or_else(Vec::new, |room| room.carriers(id))
    }
}

#[cfg(test)]
impl Partition {
    /// All that is to last, as a text to be compared.
    pub(crate) fn contents(&self) -> String {
        let rooms = self.rooms.iter().map(|(_, room)| room).filter(|room| !room.is_empty());
        let mut lines: Vec<String> = rooms.map(Room::contents).collect();
        lines.extend(self.dedup.contents());
        lines.sort();
        lines.join("\n")
    }
}

/// Notes where a room stands, if that changed.
pub(super) fn note_state(changes: Option<&mut Vec<Change>>, room: &mut Room) {
    if let Some(changes) = changes {
        changes.extend(room.changed_state().map(Change::Room));
    }
}
