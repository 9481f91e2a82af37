//! Which connections are live in which rooms.

use super::Hub;
use super::connection::Place;
use super::proof::Standing;
use super::room::Room;
use crate::ids::{ConnectionKey, RoomId};

impl Hub {
    /// Whether a connection is live in a room.
    pub fn is_live(&self, key: ConnectionKey, room: &RoomId) -> bool {
        self.membership(key, room).is_some()
    }

    /// By which of the room's memberships a connection is live in a room.
    pub fn membership(&self, key: ConnectionKey, room: &RoomId) -> Option<u64> {
        let room = *self.by_id.get(room)?;
        let connection =
            self.connections.get(key.slot as usize).filter(|connection| connection.generation == key.generation)?;
        connection.rooms.iter().find(|place| place.room == room).map(|place| place.membership)
    }

    /// In how many rooms a connection is live.
    pub fn room_count(&self, key: ConnectionKey) -> usize {
        self.connections
            .get(key.slot as usize)
            .filter(|connection| connection.generation == key.generation)
            .map_or(0, |connection| connection.rooms.len())
    }

    /// The rooms in which a connection is live.
    pub fn rooms_of(&self, key: ConnectionKey) -> Vec<RoomId> {
        let connection =
            self.connections.get(key.slot as usize).filter(|connection| connection.generation == key.generation);
        connection
            .into_iter()
            .flat_map(|connection| connection.rooms.iter())
            .filter_map(|place| self.rooms.get(place.room as usize).map(|room| room.id.clone()))
            .collect()
    }

    /// Makes a connection live in a room: it gets whatever is published there from now on.
    pub fn enter(&mut self, key: ConnectionKey, id: &RoomId, membership: u64, standing: Standing) {
        let room_key = match self.by_id.get(id) {
            Some(room) => *room,
            None => {
                let room = u32::try_from(self.rooms.insert(Room::new(id.clone()))).unwrap_or(u32::MAX);
                self.by_id.insert(id.clone(), room);
                room
            }
        };
        let Some(connection) =
            self.connections.get_mut(key.slot as usize).filter(|connection| connection.generation == key.generation)
        else {
            self.drop_room_if_empty(room_key);
            return;
        };
        if let Some(place) = connection.rooms.iter_mut().find(|place| place.room == room_key) {
            place.membership = membership;
        } else if let Some(room) = self.rooms.get_mut(room_key as usize) {
            let (index, proven) = (room.add(key.slot), standing.proven);
            connection.rooms.push(Place { room: room_key, index, membership, pinged: proven, proven });
            room.logged = room.logged.max(standing.written);
            if standing.written > proven {
                connection.proof.note_written();
            }
            self.memberships += 1;
        }
    }

    /// Ends a connection's being live in a room. What was published before is written first.
    pub fn leave(&mut self, key: ConnectionKey, id: &RoomId) {
        let Some(room_key) = self.by_id.get(id).copied() else { return };
        self.settle(key.slot);
        let Some(connection) = self.connection(key) else { return };
        let Some(position) = connection.rooms.iter().position(|place| place.room == room_key) else { return };
        let place = connection.rooms.swap_remove(position);
        self.memberships -= 1;
        if let Some(room) = self.rooms.get_mut(room_key as usize) {
            let moved = room.remove(place.index);
            self.note_moved(room_key, moved);
        }
        self.drop_room_if_empty(room_key);
    }

    /// Corrects the place of members that were moved within a room's list.
    pub(super) fn note_moved(&mut self, room_key: u32, moved: impl IntoIterator<Item = (u32, u32)>) {
        for (slot, index) in moved {
            let places = self.connections.get_mut(slot as usize).map(|connection| connection.rooms.iter_mut());
            if let Some(place) = places.into_iter().flatten().find(|place| place.room == room_key) {
                place.index = index;
            }
        }
    }

    pub(super) fn drop_room_if_empty(&mut self, room_key: u32) {
        if self.rooms.get(room_key as usize).is_some_and(|room| room.is_empty() && room.is_clean()) {
            let room = self.rooms.remove(room_key as usize);
            self.by_id.remove(&room.id);
        }
    }

    /// The connections that are live in a room.
    pub fn live_in(&self, id: &RoomId) -> impl Iterator<Item = ConnectionKey> + use<'_> {
        let room = self.by_id.get(id).and_then(|room| self.rooms.get(*room as usize));
        let slots = room.into_iter().flat_map(|room| &room.members).copied();
        slots.filter_map(|slot| {
            let connection = self.connections.get(slot as usize)?;
            Some(ConnectionKey { slot, generation: connection.generation })
        })
    }
}
