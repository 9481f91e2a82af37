//! `auth`, after the token was accepted: the connection becomes its user's, and live in the user's rooms.
//!
//! Until all rooms have answered, whatever is published in those that have is held back, so that the client sees
//! `auth-success` first, then what it missed, then what is new.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Serialize;

use super::queue::{Behind, flushed, recovered};
use super::rights::{Purpose, Right, Then};
use super::{Asked, Errand, Peer, Pending, Relay, Ticket, Waiting};
use crate::hub;
use crate::ids::{ConnectionId, ConnectionKey, RoomId};
use crate::message::{Seq, Timestamp};
use crate::policy::{Action, Identity};
use crate::store::{Answer, Entry, Head, MembershipChange, Op};
use crate::wire::dialect::Push;
use crate::wire::encode::{self, AuthRoom, AuthSuccess, Progress, RoomHead, RoomJoined, ServerInfo};
use crate::wire::request::{AuthOptions, Since};
use crate::wire::{CloseCode, ErrorCode, Refusal};

/// Someone whose token was accepted.
pub struct Arrival {
    /// Who, and until when.
    pub identity: Identity,
    /// What the client said of itself.
    pub options: AuthOptions,
    /// What it has seen.
    pub since: Vec<(RoomId, Since)>,
    /// Whether the connection had authenticated before and only brings a fresh token.
    pub renewal: bool,
    /// Memberships that began while the list of the user's rooms was on its way, which may be older.
    pub later: Vec<MembershipChange>,
}

impl Arrival {
    /// Whether it is to get what its device was not delivered.
    fn wants_queue(&self) -> bool {
        !self.renewal && self.options.attach
    }
}

/// Rooms that are being entered.
pub(super) struct Attachment {
    expires_at: Option<Timestamp>,
    pub(super) rooms: Vec<Attaching>,
    outstanding: usize,
    /// Whether a room could not be asked.
    failed: bool,
    recovers: bool,
    /// Memberships that began meanwhile, to be followed once the rooms have answered.
    later: Vec<MembershipChange>,
}

pub(super) struct Attaching {
    pub(super) room: RoomId,
    pub(super) asked_since: bool,
    /// Whether it is to get what its device was not delivered.
    pub(super) resumes: bool,
    /// Whether it may not.
    pub(super) unreadable: bool,
    pub(super) entry: Option<Box<Entry>>,
}

fn head(room: &RoomId, entry: &Entry) -> RoomHead {
    RoomHead { conversation_id: room.clone(), epoch: entry.head.epoch().cloned(), seq: entry.head.seq() }
}

/// How far a connection is in a room when it has been told everything up to the head, of which it had so much before.
pub(super) fn standing_at(head: &Head, delivered: Seq) -> hub::Standing {
    let at = |head: Seq| hub::Standing { proven: delivered.min(head), written: head };
    head.seq().map_or(hub::Standing::UNPROVABLE, at)
}

/// How far a connection is in a room when it becomes live there. One that was told all it missed, or that it cannot be
/// told, has everything up to the head once that arrives.
pub(super) fn standing(entry: &Entry, told: bool) -> hub::Standing {
    let (Some(head), Some(progress)) = (entry.head.seq(), entry.progress) else { return hub::Standing::UNPROVABLE };
    if told || progress.delivered >= head {
        standing_at(&entry.head, progress.delivered)
    } else {
        hub::Standing::UNPROVABLE
    }
}

fn auth_room(room: &RoomId, entry: &Entry) -> AuthRoom {
    let progress = entry.progress.map(|it| Progress { delivered: it.delivered, seen: it.seen, unread: it.unread });
    AuthRoom { head: head(room, entry), progress }
}

impl Relay {
    /// Takes in a connection whose token was accepted. `auth-success` follows.
    pub fn arrive(&mut self, asked: Asked, connection: ConnectionId, arrival: Arrival) {
        let key = asked.key;
        let user = arrival.identity.user.clone();
        if !arrival.renewal {
            let peer = Peer {
                connection,
                user: user.clone(),
                attributes: Arc::clone(&arrival.identity.attributes),
                renewals: 0,
                verdicts: None,
                token_id: arrival.identity.token_id.clone(),
                device: arrival.options.device.clone(),
                session: self.ids.session(),
                dialect: arrival.options.encoding.dialect,
                attach: arrival.options.attach,
                typing_in: Vec::new(),
                watches: None,
                queue: None,
                pending: None,
                outstanding: 0,
                counted: false,
                gone: false,
            };
            self.peers.insert(key, peer);
            // From here on the connection hears of rooms that are joined elsewhere, so none can fall between this and
            // the list that is about to be asked for.
            self.users.entry(user.clone()).or_default().push(key);
            self.hub.set_encoding(key, arrival.options.encoding);
            if arrival.options.auto_ack {
                self.hub.want_proof(key);
            }
        } else if let Some(peer) = self.peers.get_mut(key) {
            peer.attributes = Arc::clone(&arrival.identity.attributes);
            peer.token_id.clone_from(&arrival.identity.token_id);
            peer.renewals = peer.renewals.wrapping_add(1);
            peer.verdicts = None;
        }
        self.hub.hold(key);
        let status = arrival.options.status;
        let op = if arrival.renewal { Op::RoomsOf { user } } else { Op::Arrive { user, connection: key, status } };
        self.ask(asked, Waiting::Arrive(Box::new(arrival)), op);
    }

    pub(super) fn arrived(&mut self, asked: Asked, mut arrival: Arrival, answer: Answer) {
        let key = asked.key;
        if matches!(answer, Answer::Unavailable) {
            return self.nothing_to_attach_to(&asked);
        }
        let Answer::Rooms(mut rooms) = answer else {
            self.refuse(
                &asked,
                None,
                &Refusal::new(ErrorCode::LimitExceeded, "the user has as many connections as are allowed"),
            );
            self.hub.close(key, CloseCode::OverCapacity);
            return;
        };
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.counted = true;
        let live = peer.attach;
        rooms.truncate(self.settings.rooms_per_connection_max);
        let said: HashSet<&RoomId> = arrival.since.iter().map(|(room, _)| room).collect();
        let recovers = |room: &&RoomId| arrival.wants_queue() || said.contains(room);
        let history = rooms.iter().filter(recovers).map(|room| (Action::History, room));
        let questions = rooms.iter().map(|room| (Action::Join, room)).chain(history);
        let unknown: Vec<(Action, RoomId)> = questions
            // A connection that is live by a join of its own keeps that only by a token that allows it, too.
            .filter(|(action, room)| live || (*action == Action::Join && self.hub.is_live(key, room)))
            .filter(|(action, room)| self.auth.is_asked(*action, room))
            .map(|(action, room)| (action, room.clone()))
            .collect();
        let later = std::mem::take(&mut arrival.later);
        if unknown.is_empty() {
            self.enter_rooms(asked, arrival, rooms, later);
        } else {
            let then = Then::Arrive { arrival: Box::new(arrival), rooms, later };
            self.ask_rights(asked, unknown, then);
        }
    }

    /// The connection becomes live in those of its user's rooms that it may be in.
    /// Memberships that began since the list was made come after it.
    pub(super) fn enter_rooms(
        &mut self,
        asked: Asked,
        arrival: Arrival,
        mut rooms: Vec<RoomId>,
        later: Vec<MembershipChange>,
    ) {
        let key = asked.key;
        let refused = |relay: &Self, action, room: &RoomId| matches!(relay.right(key, action, room), Right::Refused(_));
        let kept_out: Vec<RoomId> = rooms.extract_if(.., |room| refused(self, Action::Join, room)).collect();
        // A renewed token may allow less than the one before.
        for room in &kept_out {
            self.end_live(key, room);
        }
        let wants_queue = arrival.wants_queue();
        // What was missed and may not be read is not passed over: there will be `resync` in its place.
        let mut since: HashMap<RoomId, Option<Since>> = arrival
            .since
            .into_iter()
            .map(|(room, since)| {
                let readable = !refused(self, Action::History, &room);
                (room, readable.then_some(since))
            })
            .collect();
        let Some(peer) = self.peers.get(key) else { return };
        let (user, device, live) = (peer.user.clone(), peer.device.clone(), peer.attach);
        // Whoever only renews its token missed nothing.
        if arrival.renewal {
            since.clear();
        }
        let queue = live && wants_queue;
        let unreadable = |room: &&RoomId| queue && refused(self, Action::History, room);
        let unreadable: Vec<RoomId> = rooms.iter().filter(unreadable).cloned().collect();
        let Some(peer) = self.peers.get_mut(key) else { return };
        let recovers = live && !(rooms.is_empty() && since.is_empty()) && !arrival.renewal;
        let attaching = |room: &RoomId| Attaching {
            room: room.clone(),
            asked_since: live && since.contains_key(room),
            resumes: queue && !since.contains_key(room),
            unreadable: unreadable.contains(room),
            entry: None,
        };
        let attachment = Attachment {
            expires_at: arrival.identity.expires_at,
            rooms: rooms.iter().map(attaching).collect(),
            outstanding: rooms.len(),
            failed: false,
            recovers,
            later,
        };
        peer.pending = Some(Box::new(Pending { asked, waiting: Waiting::Attach(Box::new(attachment)) }));
        if rooms.is_empty() {
            self.all_attached(key);
            return;
        }
        if let Some(peer) = self.peers.get_mut(key) {
            peer.outstanding += u32::try_from(rooms.len()).unwrap_or(u32::MAX);
        }
        // What does not fit into a room's share of the first page comes with the next.
        let share = if self.settings.recover_bytes_max == 0 {
            0
        } else {
            (self.settings.recover_bytes_max / rooms.len()).max(1)
        };
        for (index, room) in rooms.into_iter().enumerate() {
            let resumes = queue && !since.contains_key(&room) && !unreadable.contains(&room);
            let resume = resumes.then_some(share);
            let since = if live { since.remove(&room).flatten() } else { None };
            let ticket = Ticket { shard: self.shard, key, errand: Errand::Attach { index } };
            let op = Op::Attach { room, user: user.clone(), device: device.clone(), since, resume, live };
            self.submit(op, Some(ticket), false);
        }
    }

    /// One of the rooms answered.
    pub(super) fn attached(&mut self, key: ConnectionKey, index: usize, answer: Answer) {
        let Some(attachment) = self.attachment(key) else { return };
        attachment.outstanding -= 1;
        attachment.failed |= matches!(answer, Answer::Unavailable);
        let done = attachment.outstanding == 0;
        if let (Answer::Entered(entry), Some(attaching)) = (answer, attachment.rooms.get_mut(index)) {
            let (room, membership, live) = (attaching.room.clone(), entry.membership, entry.live_in.is_some());
            let standing = standing(&entry, attaching.resumes || attaching.asked_since);
            let behind = if entry.more { Behind::new(&room, &entry) } else { None };
            attaching.entry = Some(entry);
            if let Some(behind) = behind.filter(|_| live) {
                self.fall_behind(key, behind);
            } else if live {
                self.go_live(key, &room, membership, standing);
            }
        }
        if done {
            self.all_attached(key);
        }
    }

    fn attachment(&mut self, key: ConnectionKey) -> Option<&mut Attachment> {
        match self.peers.get_mut(key)?.pending.as_deref_mut() {
            Some(Pending { waiting: Waiting::Attach(attachment), .. }) => Some(attachment),
            _ => None,
        }
    }

    fn all_attached(&mut self, key: ConnectionKey) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let Some(pending) = peer.pending.take() else { return };
        let Pending { asked, waiting: Waiting::Attach(attachment) } = *pending else { return };
        if attachment.failed {
            return self.nothing_to_attach_to(&asked);
        }
        let rooms: Vec<AuthRoom> = attachment
            .rooms
            .iter()
            .filter_map(|attaching| attaching.entry.as_ref().map(|entry| auth_room(&attaching.room, entry)))
            .collect();
        let (mut missed, mut queued) = (Vec::new(), 0);
        if attachment.recovers {
            let count = recovered(&attachment, peer.dialect, self.settings.recover_bytes_max, &mut missed);
            self.metrics.delivery.queued.increment(count as u64);
            queued = count;
            if let Some(queue) = peer.queue.as_deref_mut().filter(|queue| !queue.is_over()) {
                queued += queue.begin(count);
                self.hub.begin_pages(key);
            } else {
                peer.queue = None;
                missed.push(flushed(count, peer.dialect));
                self.metrics.delivery.queue_flushes.increment(1);
            }
        }
        let success = AuthSuccess {
            user_id: &peer.user,
            session_id: &peer.session,
            device_id: peer.device.as_ref(),
            expires_at: attachment.expires_at,
            server: ServerInfo {
                name: "stentor",
                version: env!("CARGO_PKG_VERSION"),
                node: &self.settings.node,
                durability: self.settings.durability,
            },
            limits: self.settings.limits,
            rooms: &rooms,
            queued,
        };
        let mut frames = vec![encode::reply("auth-success", asked.id.as_deref(), &success)];
        frames.append(&mut missed);
        tracing::info!(conn = %peer.connection, user = %peer.user, rooms = rooms.len(), "authenticated");
        self.hub.release(key, frames);
        for change in &attachment.later {
            self.follow(key, change);
        }
    }

    /// The store fails. A connection that is live in some of its rooms only would miss what nobody tells it.
    pub(super) fn nothing_to_attach_to(&mut self, asked: &Asked) {
        self.refuse(asked, None, &Refusal::new(ErrorCode::StoreUnavailable, "the store did not answer the question"));
        self.hub.close(asked.key, CloseCode::OverCapacity);
    }

    /// The user joined a room on another connection; an attached one becomes live there too.
    pub(super) fn follow(&mut self, key: ConnectionKey, change: &MembershipChange) {
        let room_left = self.room_count(key) < self.settings.rooms_per_connection_max;
        let live = self.is_in(key, &change.room);
        let Some(peer) = self.peers.get_mut(key).filter(|peer| peer.attach && !peer.gone) else { return };
        match peer.pending.as_deref_mut().map(|pending| &mut pending.waiting) {
            // The list of rooms that is on its way may have been made before this.
            Some(Waiting::Arrive(arrival)) => {
                arrival.later.push(change.clone());
                return;
            }
            // Going live by two ways at once would bring the same events twice.
            Some(Waiting::Attach(attachment)) => {
                attachment.later.push(change.clone());
                return;
            }
            Some(Waiting::Rights(then)) => match &mut **then {
                Then::Arrive { later, .. } => {
                    later.push(change.clone());
                    return;
                }
                Then::Join { room, .. } if *room == change.room => return,
                _ => {}
            },
            // A connection that is just asking to join this room gets its answer, and needs no push.
            Some(waiting) if waiting.joins(&change.room) => return,
            _ => {}
        }
        if live || !room_left {
            return;
        }
        match self.right(key, Action::Join, &change.room) {
            Right::Refused(_) => return,
            Right::Unknown => {
                let questions = vec![(Action::Join, change.room.clone())];
                return self.ask_chain(key, questions, Purpose::Follow(change.clone()));
            }
            Right::Granted | Right::NotAsked => {}
        }
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.outstanding += 1;
        let ticket = Ticket { shard: self.shard, key, errand: Errand::Follow { room: change.room.clone() } };
        let (room, user, device) = (change.room.clone(), change.user.clone(), peer.device.clone());
        let op = Op::Attach { room, user, device, since: None, resume: None, live: true };
        self.submit(op, Some(ticket), false);
    }

    pub(super) fn followed(&mut self, key: ConnectionKey, room: &RoomId, answer: Answer) {
        let Answer::Entered(entry) = answer else { return };
        if !self.go_live(key, room, entry.membership, standing(&entry, false)) {
            return;
        }
        let Some(dialect) = self.peers.get(key).map(|peer| peer.dialect) else { return };
        let joined =
            RoomJoined { head: &head(room, &entry), recovered: false, messages: Vec::new(), members: entry.members };
        self.hub.reply(key, encode::push(Push::RoomJoined, dialect, &joined));
    }

    /// Makes a connection live in a room in which the store has just counted it. It may have come in by another way
    /// meanwhile; then the store counted it twice, and one of the two is taken back. One that is still being told what it
    /// missed goes live behind that. Returns whether it was not live.
    pub(super) fn go_live(
        &mut self,
        key: ConnectionKey,
        room: &RoomId,
        membership: u64,
        standing: hub::Standing,
    ) -> bool {
        let behind = self.membership_behind(key, room);
        if behind.is_some_and(|behind| behind >= membership) {
            if let Some(user) = self.user(key).cloned() {
                self.submit(Op::Detach { room: room.clone(), user, membership }, None, false);
            }
            return false;
        }
        self.leave_queue(key, room);
        let before = self.hub.membership(key, room);
        self.hub.enter(key, room, membership.max(before.unwrap_or(0)), standing);
        if let (Some(before), Some(user)) = (before, self.user(key).cloned()) {
            let surplus = Op::Detach { room: room.clone(), user, membership: membership.min(before) };
            self.submit(surplus, None, false);
        }
        before.is_none()
    }

    /// The user left a room on another connection, or was removed.
    pub(super) fn drop_membership(&mut self, key: ConnectionKey, change: &MembershipChange) {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Left<'a> {
            conversation_id: &'a RoomId,
            reason: &'a str,
        }
        // A connection that joined again since then is live by a newer membership, and stays.
        let membership = self.hub.membership(key, &change.room).or_else(|| self.membership_behind(key, &change.room));
        if membership.is_none_or(|membership| membership > change.membership) {
            return;
        }
        self.end_live(key, &change.room);
        let Some(dialect) = self.peers.get(key).map(|peer| peer.dialect) else { return };
        let left = Left { conversation_id: &change.room, reason: if change.removed { "removed" } else { "left" } };
        self.hub.reply(key, encode::push(Push::RoomLeft, dialect, &left));
    }
}
