//! Room classes: what a room's name says of its log and of who may join.

use std::sync::Arc;

use crate::config::{self, JoinPolicy};
use crate::ids::pattern_matches;

/// What holds for the rooms of one class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Events kept; 0 = the rooms have no log.
    pub events_max: usize,
    /// Age after which an event is dropped, in milliseconds; 0 = none.
    pub age_ms_max: u64,
    /// Bytes of events kept; 0 = no bound.
    pub bytes_max: usize,
    /// Whether anyone may join.
    pub open: bool,
}

/// All classes, in the order in which their patterns are tried.
#[derive(Clone, Debug)]
pub struct Classes {
    patterns: Vec<(String, Arc<Class>)>,
    other: Arc<Class>,
}

impl Classes {
    /// The classes of a configuration. What a class does not say is as in `[store]`.
    pub fn new(store: &config::Store, rooms: &[config::RoomClass]) -> Self {
        let other = Class {
            events_max: store.room_events_max,
            age_ms_max: store.room_age_seconds_max.saturating_mul(1000),
            bytes_max: store.room_bytes_max,
            open: true,
        };
        let class = |room: &config::RoomClass| Class {
            events_max: room.history.unwrap_or(other.events_max),
            age_ms_max: room.history_age_seconds_max.map_or(other.age_ms_max, |seconds| seconds.saturating_mul(1000)),
            bytes_max: room.history_bytes_max.unwrap_or(other.bytes_max),
            open: room.join == JoinPolicy::Open,
        };
        Self {
            patterns: rooms.iter().map(|room| (room.pattern.clone(), Arc::new(class(room)))).collect(),
            other: Arc::new(other),
        }
    }

    /// The class of a room.
    pub fn of(&self, room: &str) -> &Arc<Class> {
        self.patterns.iter().find(|(pattern, _)| pattern_matches(pattern, room)).map_or(&self.other, |(_, class)| class)
    }
}
