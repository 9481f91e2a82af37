//! The two engines behind one seam: the partition of a shard, in memory or in Redis.

use super::redis::{Applied, Concluded, News, Remote};
use super::{Appeared, Change, ColdLog, Op, Partition, RoomSummary, Typing, Usage};
use crate::ids::{RoomId, ShardId, UserId};
use crate::message::{Event, Timestamp};
use crate::wire::presence::Presence;
use std::sync::Arc;

/// One shard's part of the store.
pub enum Engine {
    /// In memory, perhaps with a disk behind it.
    Embedded(Box<Partition>),
    /// In a Redis that several processes share.
    Remote(Box<Remote>),
}

impl Engine {
    /// Carries out an operation that a shard asked for, or sees to it.
    pub fn apply(&mut self, op: Op, from: ShardId, now: Timestamp) -> Applied {
        match self {
            Self::Embedded(partition) => Applied::Now(partition.apply(op, from, now)),
            Self::Remote(remote) => remote.apply(op, from, now),
        }
    }

    /// Takes what Redis brings.
    pub fn receive(&mut self, news: News, now: Timestamp) -> Vec<Concluded> {
        match self {
            Self::Embedded(_) => Vec::new(),
            Self::Remote(remote) => remote.receive(news, now),
        }
    }

    /// Looks after what changes with time alone. To be called now and then.
    pub fn sweep(&mut self, now: Timestamp) -> Vec<Concluded> {
        match self {
            Self::Embedded(partition) => {
                partition.sweep(now);
                Vec::new()
            }
            Self::Remote(remote) => remote.sweep(now),
        }
    }

    /// The engine in memory, if this is it.
    pub fn embedded(&mut self) -> Option<&mut Partition> {
        match self {
            Self::Embedded(partition) => Some(partition),
            Self::Remote(_) => None,
        }
    }

    /// Users whose grace is over, and who are not what they were held to be.
    pub fn grace_over(&mut self, now: Timestamp) -> Vec<Appeared> {
        self.embedded().map_or_else(Vec::new, |partition| partition.grace_over(now))
    }

    /// Ends typing that was started too long ago.
    pub fn typing_over(&mut self, now: Timestamp) -> Vec<Typing> {
        match self {
            Self::Embedded(partition) => partition.typing_over(now),
            Self::Remote(remote) => remote.typing_over(now),
        }
    }

    /// What is told of a user.
    pub fn presence(&self, user: UserId, now: Timestamp) -> Presence {
        match self {
            Self::Embedded(partition) => partition.presence(user, now),
            Self::Remote(remote) => remote.presence(user, now),
        }
    }

    /// The rooms of a user of this shard's.
    pub fn rooms_of(&self, user: &UserId) -> Vec<RoomId> {
        match self {
            Self::Embedded(partition) => partition.rooms_of(user),
            Self::Remote(remote) => remote.rooms_of(user),
        }
    }

    /// Of some rooms, those whose members are told how available each other is.
    pub fn watched_rooms(&self, rooms: Vec<RoomId>) -> Vec<RoomId> {
        match self {
            Self::Embedded(partition) => partition.watched_rooms(rooms),
            Self::Remote(remote) => remote.watched_rooms(rooms),
        }
    }

    /// Some rooms from a place on, and the place where the next page begins, if this was not the last.
    pub fn list_rooms(&self, from: usize, rooms_max: usize) -> (Vec<RoomSummary>, Option<usize>) {
        match self {
            Self::Embedded(partition) => partition.list_rooms(from, rooms_max),
            Self::Remote(remote) => remote.list_rooms(from, rooms_max),
        }
    }

    /// How much is kept here.
    pub fn usage(&self) -> Usage {
        match self {
            Self::Embedded(partition) => partition.usage(),
            Self::Remote(remote) => remote.usage(),
        }
    }

    /// What was changed since the last time, for the disk.
    pub fn take_changes(&mut self) -> Vec<Change> {
        self.embedded().map_or_else(Vec::new, Partition::take_changes)
    }

    /// Takes changes back, the latest first.
    pub fn undo(&mut self, changes: &[Change]) {
        if let Some(partition) = self.embedded() {
            partition.undo(changes);
        }
    }

    /// What has to be read from the disk before an operation can be carried out.
    pub fn lacks(&self, op: &Op) -> Option<ColdLog> {
        match self {
            Self::Embedded(partition) => partition.lacks(op),
            Self::Remote(_) => None,
        }
    }

    /// Somebody asks for something in a room.
    pub fn touch(&mut self, room: &RoomId, now: Timestamp) {
        if let Some(partition) = self.embedded() {
            partition.touch(room, now);
        }
    }

    /// Takes in the events of a cold room.
    pub fn warm(&mut self, room: &RoomId, events: Vec<Arc<Event>>, now: Timestamp) {
        if let Some(partition) = self.embedded() {
            partition.warm(room, events, now);
        }
    }

    /// The events of a cold room cannot be read.
    pub fn not_warmed(&mut self, room: &RoomId) {
        if let Some(partition) = self.embedded() {
            partition.not_warmed(room);
        }
    }

    /// What is to be read so that some of it can be dropped.
    pub fn take_wanted(&mut self) -> Vec<ColdLog> {
        self.embedded().map_or_else(Vec::new, Partition::take_wanted)
    }

    /// Leaves the events of rooms to the disk that were not used for long.
    pub fn cool(&mut self, now: Timestamp, stored_before: Timestamp) {
        if let Some(partition) = self.embedded() {
            partition.cool(now, stored_before);
        }
    }

    /// Notes all that moved without being stored.
    pub fn note_all_unsaved(&mut self) {
        if let Some(partition) = self.embedded() {
            partition.note_all_unsaved();
        }
    }
}
