//! The engine in memory: each shard owns a partition of all rooms and users, and nobody else touches it.
//!
//! A partition is a plain state machine: an operation and the time go in, an outcome comes out. It has no lock, no
//! clock and no `async`. With a disk behind it, it also notes what each operation changed (`undo`), for the disk to
//! write and, if that fails, to be taken back.

mod cold;
mod dedup;
mod listing;
mod log;
mod messages;
mod presence;
mod queue;
mod receipts;
mod retention;
mod room;
mod server;
mod typing;
mod undo;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use smallvec::SmallVec;

pub use self::cold::ColdLog;
use self::dedup::Dedup;
pub use self::listing::RoomSummary;
use self::presence::{Absent, Said};
use self::receipts::Ack;
use self::retention::Retention;
use self::room::Room;
use self::server::Asker;
pub(in crate::store) use self::typing::Typists;
use super::{Answer, Change, Classes, Feed, JoinRefusal, Limits, MembershipChange, Op, Outcome, Usage};
use crate::ids::{DeviceId, IdSource, RoomId, ShardId, UserId};
use crate::message::{Event, EventKind, Timestamp};
use crate::wire::request::Since;

/// Users listed in one answer about what became of a message.
const STATUS_USERS_MAX: usize = 500;

/// One shard's part of the store.
pub struct Partition {
    classes: Arc<Classes>,
    limits: Limits,
    rooms: slab::Slab<Room>,
    by_id: HashMap<RoomId, usize>,
    users: HashMap<UserId, User>,
    dedup: Dedup,
    retention: Retention,
    typists: Typists,
    absent: Absent,
    ids: IdSource,
    /// For whom the operation in hand is.
    asker: Asker,
    /// Where the next sweep goes on.
    sweep_from: usize,
    /// Members whose cursors are to be noted with the next sweep; bounded by the memberships there are.
    unsaved: HashSet<(RoomId, UserId)>,
    /// What the last one looked at.
    swept: std::ops::Range<usize>,
    /// Rooms whose events are on the disk alone.
    cold_rooms: usize,
    /// Those of them whose events are to be read, so that some of them can be dropped.
    wanted: Vec<RoomId>,
    /// What was changed since somebody asked; `None` if nobody does.
    changes: Option<Vec<Change>>,
}

/// A user with a room or a connection, or who had one a moment ago.
#[derive(Default)]
struct User {
    /// In the order of joining.
    rooms: SmallVec<[RoomId; 1]>,
    /// On all shards.
    connections: u32,
    /// What they say of the user, if they say anything.
    said: Option<Box<Said>>,
}

/// Who joins, what the connection has seen, and on which shard it becomes live.
struct Newcomer {
    user: UserId,
    device: Option<DeviceId>,
    since: Option<Since>,
    live: Option<ShardId>,
}

impl Partition {
    /// An empty partition.
    pub fn new(classes: Arc<Classes>, limits: Limits) -> Self {
        let dedup = Dedup::new(limits.dedup_ms, limits.dedup_entries_max);
        Self {
            classes,
            limits,
            rooms: slab::Slab::new(),
            by_id: HashMap::new(),
            users: HashMap::new(),
            dedup,
            retention: Retention::default(),
            typists: Typists::default(),
            absent: Absent::default(),
            ids: IdSource::default(),
            asker: Asker::default(),
            sweep_from: 0,
            unsaved: HashSet::new(),
            swept: 0..0,
            cold_rooms: 0,
            wanted: Vec::new(),
            changes: None,
        }
    }

    /// How much is kept.
    pub fn usage(&self) -> Usage {
        Usage {
            rooms: self.rooms.len(),
            events: self.retention.events,
            bytes: self.retention.bytes,
            dedup_entries: self.dedup.len(),
            cold_rooms: self.cold_rooms,
        }
    }

    /// Carries out an operation that a shard asked for.
    pub fn apply(&mut self, op: Op, from: ShardId, now: Timestamp) -> Outcome {
        match op {
            Op::Reserve { user, room } => self.reserve(user, room),
            Op::RoomsOf { user } => Answer::Rooms(self.rooms_of(&user)).into(),
            Op::Index(change) => self.index(change),
            Op::OfServer(op) => self.apply_of_server(*op, from, now),
            Op::Join { room, user, device, since } => {
                let before = self.cursors(&room, &user);
                let live = (self.asker == Asker::Connection).then_some(from);
                let outcome = self.join(&room, Newcomer { user: user.clone(), device, since, live }, now);
                self.note_cursors(&room, &user, before);
                self.settle(&room, outcome, now)
            }
            Op::Attach { room, user, device, since, resume, live } => {
                let before = if live { self.cursors(&room, &user) } else { None };
                let limits = &self.limits;
                let who = (&user, device.as_ref());
                let id = &room;
                let entry = find(&mut self.rooms, &self.by_id, id).filter(|room| room.is_member(&user)).map(|room| {
                    let entry = room.enter(who, since.as_ref(), live.then_some(from), limits);
                    match resume {
                        Some(bytes_max) => room.begin_queue(entry, bytes_max, limits),
                        None => entry,
                    }
                });
                self.note_cursors(&room, &user, before);
                entry.map_or(Answer::NotAMember, |entry| Answer::Entered(Box::new(entry))).into()
            }
            op @ (Op::IsMember { .. }
            | Op::History { .. }
            | Op::QueuePage { .. }
            | Op::Status { .. }
            | Op::OnlineUsers { .. }
            | Op::TypingUsers { .. }) => self.read(op, now),
            op @ (Op::Arrive { .. } | Op::Depart { .. } | Op::SetPresence { .. } | Op::PresenceOf { .. }) => {
                self.apply_to_presence(op, from, now)
            }
            Op::Unreserve { room, user } => {
                let is_member = find(&mut self.rooms, &self.by_id, &room).is_some_and(|room| room.is_member(&user));
                Outcome { forward: (!is_member).then(|| unreserve(room, user)), ..Outcome::default() }
            }
            Op::Detach { room, user, membership } => {
                if let Some(room) = find(&mut self.rooms, &self.by_id, &room) {
                    room.detach(&user, membership, from);
                }
                Outcome::default()
            }
            Op::Leave { room, user } => {
                let outcome = self.leave(&room, user, now);
                self.settle(&room, outcome, now)
            }
            op @ (Op::Append { .. } | Op::Recall { .. } | Op::Edit { .. } | Op::Delete { .. }) => {
                // The author of an event has it, so the author's cursors may move too.
                let author = op.author().filter(|_| self.changes.is_some());
                let before = author.as_ref().and_then(|(room, user)| self.cursors(room, user));
                let outcome = self.apply_to_message(op, now);
                if let Some((room, user)) = author {
                    self.note_cursors(&room, &user, before);
                }
                outcome
            }
            Op::Ack { room, user, device, up_to, kind, proven } => {
                self.acknowledge(room, Ack { user, device, up_to, kind }, proven, now)
            }
            Op::StartTyping { room, user, connection, stop_ms } => {
                self.start_typing((room, user), (from, connection), now.saturating_add(stop_ms))
            }
            Op::StopTyping { room, user, connection } => self.stop_typing(room, user, (from, connection)),
        }
    }

    /// What changes nothing.
    fn read(&mut self, op: Op, now: Timestamp) -> Outcome {
        match op {
            Op::IsMember { room, user } => self.with_member(&room, &user, |_| Answer::Member.into()),
            Op::History { room, user, page } => {
                let bytes_max = self.limits.recover_bytes_max;
                self.with_member(&room, &user, |room| room.history(page, bytes_max, now))
            }
            Op::QueuePage { room, user, membership, after } => {
                let limits = self.limits.clone();
                self.with_member(&room, &user, |room| room.queue_page(&user, membership, after, &limits))
            }
            Op::Status { room, user, message_id, after } => {
                let users_max = STATUS_USERS_MAX;
                self.with_member(&room, &user, |room| room.status(&message_id, after.as_ref(), users_max))
            }
            Op::OnlineUsers { room, user } => {
                let users_max = self.limits.online_users_max;
                self.with_member(&room, &user, |room| room.online(users_max))
            }
            Op::TypingUsers { room, user } => self.typing_users(&room, &user),
            _ => Outcome::default(),
        }
    }

    fn with_member(&mut self, room: &RoomId, user: &UserId, verb: impl FnOnce(&mut Room) -> Outcome) -> Outcome {
        let asker = self.asker;
        match find(&mut self.rooms, &self.by_id, room) {
            Some(room) if asker == Asker::Server || room.is_member(user) => verb(room),
            _ => Answer::NotAMember.into(),
        }
    }

    /// Of some rooms, those whose members are told how available each other is.
    pub fn watched_rooms(&self, mut rooms: Vec<RoomId>) -> Vec<RoomId> {
        let members_max = self.limits.presence_members_max;
        rooms.retain(|id| {
            let room = self.by_id.get(id).and_then(|key| self.rooms.get(*key));
            room.is_some_and(|room| members_max == 0 || room.members() <= members_max)
        });
        rooms
    }

    /// The rooms of a user of this partition's.
    pub fn rooms_of(&self, user: &UserId) -> Vec<RoomId> {
        self.users.get(user).map_or_else(Vec::new, |user| user.rooms.to_vec())
    }

    /// How many connections a user of this partition's has.
    pub fn connections(&self, user: &UserId) -> u32 {
        self.users.get(user).map_or(0, |user| user.connections)
    }

    /// Users of this partition's who have any.
    pub fn present(&self) -> impl Iterator<Item = &UserId> {
        self.users.iter().filter(|(_, user)| user.connections > 0).map(|(id, _)| id)
    }

    fn forget_user_without_anything(&mut self, id: &UserId) {
        let has_nothing = |user: &User| user.connections == 0 && user.rooms.is_empty() && user.said.is_none();
        if self.users.get(id).is_some_and(has_nothing) {
            self.users.remove(id);
        }
    }

    fn reserve(&mut self, id: UserId, room: RoomId) -> Outcome {
        let rooms_max = self.limits.rooms_per_user_max;
        let user = self.users.entry(id).or_default();
        if user.rooms.contains(&room) {
            return Answer::Reserved.into();
        }
        if rooms_max != 0 && user.rooms.len() >= rooms_max {
            return Answer::JoinRefused(JoinRefusal::Limit).into();
        }
        user.rooms.push(room);
        Answer::Reserved.into()
    }

    fn index(&mut self, change: MembershipChange) -> Outcome {
        if change.joined {
            let user = self.users.entry(change.user.clone()).or_default();
            if !user.rooms.contains(&change.room) {
                user.rooms.push(change.room.clone());
            }
        } else if let Some(user) = self.users.get_mut(&change.user) {
            user.rooms.retain(|room| *room != change.room);
            self.forget_user_without_anything(&change.user);
        }
        // Who left is told now that it is known everywhere.
        let answer = (!change.joined && !change.quiet).then_some(Answer::Left);
        Outcome { answer, change: (!change.quiet).then_some(change), ..Outcome::default() }
    }

    fn join(&mut self, id: &RoomId, newcomer: Newcomer, now: Timestamp) -> Outcome {
        let Newcomer { user, device, since, live } = newcomer;
        let who = (&user, device.as_ref());
        let since = since.as_ref();
        let limits = &self.limits;
        let existing = find(&mut self.rooms, &self.by_id, id);
        if let Some(room) = existing
            && room.is_member(&user)
        {
            return Answer::Entered(Box::new(room.enter(who, since, live, limits))).into();
        }
        let refused = |reason| Outcome {
            answer: Some(Answer::JoinRefused(reason)),
            forward: Some(unreserve(id.clone(), user.clone())),
            ..Outcome::default()
        };
        if self.asker == Asker::Connection && !self.classes.of(id.as_str()).open {
            return refused(JoinRefusal::NotAllowed);
        }
        let members_max = limits.members_per_room_max;
        if members_max != 0
            && self.by_id.get(id).and_then(|key| self.rooms.get(*key)).is_some_and(|room| room.members() >= members_max)
        {
            return refused(JoinRefusal::Limit);
        }
        if !self.has_place_for(id) {
            return refused(JoinRefusal::Limit);
        }
        self.open_room(id);
        let Some(room) = find(&mut self.rooms, &self.by_id, id) else { return refused(JoinRefusal::Limit) };
        let limits = &self.limits;
        let membership = room.add_member(user.clone(), now);
        if let Some(changes) = &mut self.changes {
            let after = room.member(&user);
            changes.push(Change::Member { room: id.clone(), user: user.clone(), before: None, after });
        }
        let event = (room.members() <= limits.member_events_max)
            .then(|| room.record(EventKind::MemberJoined { user: user.clone(), at: now }));
        // The others are told before the newcomer is live, so the newcomer's own arrival is not pushed to it.
        let feed = event.map(|event| room.feed(event));
        room.start_cursors(&user);
        let entry = room.enter(who, since, live, limits);
        Outcome {
            answer: Some(Answer::Entered(Box::new(entry))),
            feed,
            forward: Some(Op::Index(MembershipChange {
                user,
                room: id.clone(),
                membership,
                joined: true,
                quiet: false,
                removed: false,
            })),
            ..Outcome::default()
        }
    }

    fn leave(&mut self, id: &RoomId, user: UserId, now: Timestamp) -> Outcome {
        let member_events_max = self.limits.member_events_max;
        let removed = self.asker == Asker::Server;
        let Some(room) = find(&mut self.rooms, &self.by_id, id) else { return Answer::NotAMember.into() };
        let (members, before) = (room.members(), room.member(&user));
        let cursors = self.changes.as_ref().and_then(|_| room.cursors.get(&user).cloned()).map(Box::new);
        let Some(membership) = room.remove_member(&user) else { return Answer::NotAMember.into() };
        if let Some(changes) = &mut self.changes {
            changes.push(Change::Member { room: id.clone(), user: user.clone(), before, after: None });
            changes.push(Change::Cursors { room: id.clone(), user: user.clone(), before: cursors, after: None });
        }
        let event =
            (members <= member_events_max).then(|| room.record(EventKind::MemberLeft { user: user.clone(), at: now }));
        Outcome {
            answer: Some(Answer::Left),
            feed: event.map(|event| room.feed(event)),
            forward: Some(Op::Index(MembershipChange {
                user,
                room: id.clone(),
                membership,
                joined: false,
                quiet: false,
                removed,
            })),
            ..Outcome::default()
        }
    }

    fn open_room(&mut self, id: &RoomId) {
        if self.by_id.contains_key(id) {
            return;
        }
        self.retention.serial += 1;
        let epoch = self.ids.epoch();
        let room = Room::new(id.clone(), Arc::clone(self.classes.of(id.as_str())), epoch, self.retention.serial);
        let key = self.rooms.insert(room);
        self.by_id.insert(id.clone(), key);
    }
}

/// Tells a user's owner that nobody joined after all.
fn unreserve(room: RoomId, user: UserId) -> Op {
    Op::Index(MembershipChange { user, room, membership: 0, joined: false, quiet: true, removed: false })
}

/// A room by its name. Free of `self`, so that its caller can still reach the partition's other parts.
fn find<'a>(rooms: &'a mut slab::Slab<Room>, by_id: &HashMap<RoomId, usize>, id: &RoomId) -> Option<&'a mut Room> {
    by_id.get(id).and_then(|key| rooms.get_mut(*key))
}

impl Room {
    /// An event of this room, for everyone who is live in it.
    fn feed(&self, event: Arc<Event>) -> Feed {
        Feed { room: self.id().clone(), epoch: self.epoch().cloned(), event, shards: self.shards() }
    }
}

#[cfg(test)]
mod tests;
