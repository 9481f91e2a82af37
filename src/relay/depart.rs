//! The end of a connection, for the verbs: it is live nowhere any more, and what was still to come for it is undone.

use super::{Errand, Relay, Ticket};
use crate::ids::{ConnectionKey, RoomId, UserId};
use crate::store::{Answer, Op};

impl Relay {
    /// Forgets a connection that ended. What it still waits for is undone when the answer comes.
    pub fn depart(&mut self, key: ConnectionKey) {
        self.end_all_typing(key);
        self.unsubscribe_from_all(key);
        for room in self.hub.rooms_of(key) {
            self.end_live(key, &room);
        }
        self.end_queue(key);
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.gone = true;
        peer.pending = None;
        let user = peer.user.clone();
        let counted = peer.counted;
        let outstanding = peer.outstanding;
        if let Some(keys) = self.users.get_mut(&user) {
            keys.retain(|known| *known != key);
            if keys.is_empty() {
                self.users.remove(&user);
            }
        }
        if outstanding == 0 {
            self.peers.remove(key);
        } else {
            self.peers.keep_until_answered(key);
        }
        if counted {
            self.submit(self.departure(user, key), None, false);
        }
    }

    fn departure(&self, user: UserId, connection: ConnectionKey) -> Op {
        Op::Depart { user, connection, grace_ms: self.settings.presence_grace_ms }
    }

    /// Ends a connection's being live in a room, here and in the store.
    pub(super) fn end_live(&mut self, key: ConnectionKey, room: &RoomId) {
        self.end_typing(key, room);
        self.leave_queue(key, room);
        let Some(membership) = self.hub.membership(key, room) else { return };
        self.hub.leave(key, room);
        if let Some(user) = self.user(key).cloned() {
            self.submit(Op::Detach { room: room.clone(), user, membership }, None, false);
        }
    }

    /// An answer for a connection that is gone: what it did is undone.
    pub(super) fn answered_too_late(&mut self, ticket: &Ticket, answer: &Answer) {
        let Some(peer) = self.peers.get(ticket.key) else { return };
        let (user, counted) = (peer.user.clone(), peer.counted);
        if peer.outstanding == 0 {
            self.peers.remove(ticket.key);
        }
        match (&ticket.errand, answer) {
            (_, Answer::Entered(entry)) => {
                if let Some(room) = entry.live_in.clone() {
                    self.submit(Op::Detach { room, user, membership: entry.membership }, None, false);
                }
            }
            // The store counted a connection that is gone. (A renewal was counted before, and taken back by `depart`.)
            (Errand::Request, Answer::Rooms(_)) if !counted => {
                self.submit(self.departure(user, ticket.key), None, false)
            }
            (Errand::Reserve { room }, Answer::Reserved) => {
                self.submit(Op::Unreserve { room: room.clone(), user }, None, false);
            }
            _ => {}
        }
    }
}
