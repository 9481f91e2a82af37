//! What is kept, listed page by page.
//!
//! A page goes on where the one before ended, by the place of a room in the partition's table. So it costs the same
//! however many rooms there are; a room that is made meanwhile may be missed, and one that stays is listed once.

use super::Partition;
use crate::ids::RoomId;
use crate::store::Head;

/// Places of the table that one page looks at, most of which may be empty.
const PLACES_MAX: usize = 4096;

/// A room in a listing.
#[derive(Clone, Debug)]
pub struct RoomSummary {
    /// Which room.
    pub room: RoomId,
    /// Where it stands.
    pub head: Head,
    /// Its members.
    pub members: usize,
    /// Live connections of them, on all shards.
    pub live: usize,
}

impl Partition {
    /// Some rooms from a place on, and the place where the next page begins, if this was not the last.
    pub fn list_rooms(&self, from: usize, rooms_max: usize) -> (Vec<RoomSummary>, Option<usize>) {
        let mut rooms = Vec::new();
        let places = self.rooms.capacity();
        let end = places.min(from.saturating_add(PLACES_MAX));
        for place in from..end {
            if rooms.len() == rooms_max {
                return (rooms, Some(place));
            }
            rooms.extend(self.rooms.get(place).map(super::Room::summary));
        }
        (rooms, (end < places).then_some(end))
    }
}
