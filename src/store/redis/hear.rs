//! What the link tells goes to the shard whose room or user it is about.

use std::sync::Arc;

use super::link::{Heard, Message, Weather};
use super::{Keys, News, told};
use crate::ids::{RoomId, ShardId};
use crate::store::owner_of;

/// The way to a shard. It must not wait.
pub type Post = Arc<dyn Fn(ShardId, News) + Send + Sync>;

/// Hands on what the link tells.
pub struct Ear {
    keys: Keys,
    bus: String,
    shards: u16,
    post: Post,
}

impl Ear {
    /// An ear of so many shards.
    pub fn new(keys: Keys, shards: u16, post: Post) -> Self {
        Self { bus: keys.bus(), keys, shards, post }
    }

    /// The channel of all nodes, to be listened to.
    pub fn bus(&self) -> &str {
        &self.bus
    }

    /// Hands something on.
    pub fn hear(&self, heard: Heard) {
        match heard {
            Heard::Message(message) => self.message(message),
            Heard::Subscribed(channel) if *channel == *self.bus => {}
            Heard::Subscribed(channel) => self.of_room(&channel, News::Subscribed),
            Heard::Lost(Some(channel)) if *channel == *self.bus => self.all(|| News::UsersLost),
            Heard::Lost(Some(channel)) => self.of_room(&channel, |room| News::Lost(Some(room))),
            Heard::Lost(None) => {
                self.all(|| News::UsersLost);
                self.all(|| News::Lost(None));
            }
            Heard::Weather(Weather { sky, .. }) => self.all(|| News::Weather(sky)),
        }
    }

    fn message(&self, message: Message) {
        let Ok(channel) = std::str::from_utf8(&message.channel) else { return };
        if channel == self.bus {
            let user = std::str::from_utf8(&message.payload).ok().and_then(told::user_of);
            let owner = user.map(|user| owner_of(user, self.shards));
            if let Some(owner) = owner {
                (self.post)(owner, News::OfUser(message));
            }
        } else if let Some(room) = self.keys.room_of_channel(channel) {
            (self.post)(owner_of(room.as_str(), self.shards), News::OfRoom(room, message));
        }
    }

    fn of_room(&self, channel: &str, news: impl FnOnce(RoomId) -> News) {
        if let Some(room) = self.keys.room_of_channel(channel) {
            (self.post)(owner_of(room.as_str(), self.shards), news(room));
        }
    }

    fn all(&self, news: impl Fn() -> News) {
        for shard in (0..self.shards).map(ShardId) {
            (self.post)(shard, news());
        }
    }
}
