//! What keys and channels are called. The only place that knows.

use crate::ids::{RoomId, UserId};
use crate::store::redis::record::SEPARATOR;

/// How names are made in this Redis.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: String,
    /// In a cluster the braces are there, so that all keys of a room, or of a user, are on one server.
    braces: (&'static str, &'static str),
}

impl Keys {
    /// Names that begin with a prefix.
    pub fn new(prefix: impl Into<String>, cluster: bool) -> Self {
        Self { prefix: prefix.into(), braces: if cluster { ("{", "}") } else { ("", "") } }
    }

    fn name(&self, kind: &str, id: &str, of: &str) -> String {
        let (open, close) = self.braces;
        [&self.prefix, kind, ":", open, id, close, of].concat()
    }

    /// The keys that every script of a room gets, in their order.
    pub(super) fn room(&self, room: &RoomId) -> Vec<String> {
        [":meta", ":log", ":messages", ":members", ":cursors", ":live", ":users"]
            .map(|of| self.name("room", room.as_str(), of))
            .into()
    }

    /// A room's members.
    pub(super) fn members(&self, room: &RoomId) -> String {
        self.name("room", room.as_str(), ":members")
    }

    /// The first answer to a send. No other key has a separator in it.
    pub(super) fn dedup(&self, room: &RoomId, user: &UserId, temp_id: &str) -> String {
        self.name("room", room.as_str(), &format!(":dedup:{user}{SEPARATOR}{temp_id}"))
    }

    /// Who types in a room.
    pub(super) fn typists(&self, room: &RoomId) -> String {
        self.name("room", room.as_str(), ":typing")
    }

    /// That a user types in a room.
    pub(super) fn typing(&self, room: &RoomId, user: &UserId) -> String {
        self.name("typing", room.as_str(), &format!(":{user}"))
    }

    /// A user's rooms.
    pub(super) fn rooms_of(&self, user: &UserId) -> String {
        self.name("user", user.as_str(), ":rooms")
    }

    /// What nodes say of a user.
    pub(super) fn nodes_of(&self, user: &UserId) -> String {
        self.name("user", user.as_str(), ":nodes")
    }

    /// A user's sockets.
    pub(super) fn sockets_of(&self, user: &UserId) -> String {
        self.name("user", user.as_str(), ":sockets")
    }

    /// How available a user is.
    pub(super) fn presence(&self, user: &UserId) -> String {
        self.name("presence", user.as_str(), "")
    }

    /// When a user was last there.
    pub(super) fn last_seen(&self, user: &UserId) -> String {
        self.name("user", user.as_str(), ":lastseen")
    }

    /// One of the names that are there once.
    pub(super) fn one(&self, name: &str) -> String {
        // In a cluster those that one script needs are on one server.
        let (open, close) = self.braces;
        [&self.prefix, open, "stentor", close, ":", name].concat()
    }

    /// Where a node has left traces: users or rooms.
    pub(super) fn traces(&self, node: &str, what: &str) -> String {
        self.one(&["node:", node, ":", what].concat())
    }

    /// The channel of a room.
    pub(super) fn channel(&self, room: &RoomId) -> String {
        self.name("stentor:room", room.as_str(), "")
    }

    /// The room of a channel.
    pub(super) fn room_of_channel(&self, channel: &str) -> Option<RoomId> {
        let (open, close) = self.braces;
        let id = channel.strip_prefix(&self.prefix)?.strip_prefix("stentor:room:")?;
        RoomId::parse(id.strip_prefix(open)?.strip_suffix(close)?).ok()
    }

    /// The channel of all nodes.
    pub(super) fn bus(&self) -> String {
        self.one("bus")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_s1s_names() {
        let (room, user) = (RoomId::parse("c1").unwrap(), UserId::parse("u1").unwrap());
        let keys = Keys::new("", false);
        assert_eq!(keys.room(&room).last().unwrap(), "room:c1:users");
        assert_eq!(keys.rooms_of(&user), "user:u1:rooms");
        assert_eq!(keys.sockets_of(&user), "user:u1:sockets");
        assert_eq!(keys.presence(&user), "presence:u1");
        assert_eq!(keys.typing(&room, &user), "typing:c1:u1");
        let cluster = Keys::new("p:", true);
        assert_eq!(cluster.members(&room), "p:room:{c1}:members");
        assert_eq!(cluster.typing(&room, &user), "p:typing:{c1}:u1");
        for keys in [keys, cluster] {
            assert_eq!(keys.room_of_channel(&keys.channel(&room)), Some(room.clone()));
            assert_eq!(keys.room_of_channel(&keys.bus()), None);
        }
    }
}
