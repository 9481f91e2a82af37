//! Who is there, and how available: one partition's users, each with the connections that say so.
//!
//! Nearly all connections say nothing, which means that their user is online; only what differs is kept. Whoever goes is
//! held to be there for a moment, because most come back at once. Nothing of this waits for the disk; when a user was
//! last seen is written there by and by.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::super::{Answer, Op, Outcome, Source};
use super::Partition;
use crate::ids::UserId;
use crate::message::Timestamp;
use crate::store::{Appeared, Change};
use crate::wire::presence::{Availability, Presence, Status};

/// Users whose grace one sweep ends, so that a sweep's cost is bounded. The rest follow with the next.
const ENDS_PER_SWEEP_MAX: usize = 1024;

/// What a user's connections say, where it is not simply that the user is online.
#[derive(Default)]
pub(super) struct Said {
    /// Connections that said something, the latest last; at most as many as the user has.
    by: Vec<(Source, Availability)>,
    /// What the user is held to be until the grace ends.
    kept: Option<(Availability, End)>,
}

/// When something ends, told apart from what ends in the same millisecond.
type End = (Timestamp, u64);

/// Users of whom there is more to know than that they are there.
#[derive(Default)]
pub(super) struct Absent {
    ends: BTreeMap<End, UserId>,
    serial: u64,
    seen: HashMap<UserId, Timestamp>,
    /// In the order of their times. Entries that were replaced are skipped.
    seen_order: VecDeque<(Timestamp, UserId)>,
}

impl Absent {
    /// Notes when a user was last there. Of those not seen for longest nothing is known any more.
    pub(super) fn note_seen(&mut self, user: UserId, at: Timestamp, users_max: usize) -> Option<UserId> {
        self.seen.insert(user.clone(), at);
        self.seen_order.push_back((at, user));
        // Most of it may speak of those who come and go all the time; then it is made anew.
        if self.seen_order.len() > 1024 + self.seen.len() + self.seen.len() / 4 {
            let seen = &self.seen;
            self.seen_order.retain(|(at, user)| seen.get(user) == Some(at));
        }
        let mut forgotten = None;
        while let Some((at, user)) = self.seen_order.front() {
            let stale = self.seen.get(user) != Some(at);
            if !stale && (users_max == 0 || self.seen.len() <= users_max) {
                break;
            }
            if let Some((_, user)) = self.seen_order.pop_front().filter(|_| !stale) {
                self.seen.remove(&user);
                forgotten = Some(user);
            }
        }
        forgotten
    }
}

impl Said {
    /// How available the user is by what so many connections say.
    fn availability(&self, connections: u32) -> Availability {
        let silent = connections as usize > self.by.len();
        let said = self.by.iter().map(|(_, said)| said);
        // Of several that say the same, the latest word counts.
        let by = said.rev().max_by_key(|said| (said.status, said.text.is_some()));
        let present = match by {
            Some(said) if !silent || said.status == Status::Online => said.clone(),
            _ if silent => Availability::default(),
            _ => Availability { status: Status::Offline, text: None },
        };
        match &self.kept {
            Some((kept, _)) if kept.status > present.status => kept.clone(),
            _ => present,
        }
    }
}

impl Partition {
    pub(super) fn apply_to_presence(&mut self, op: Op, from: crate::ids::ShardId, now: Timestamp) -> Outcome {
        match op {
            Op::Arrive { user, connection, status } => self.arrive(user, (from, connection), status, now),
            Op::Depart { user, connection, grace_ms } => self.depart(user, (from, connection), grace_ms, now),
            Op::SetPresence { user, connection, availability } => {
                let before = self.availability(&user);
                let invisible = availability.status == Status::Offline;
                self.say(&user, (from, connection), availability);
                if invisible {
                    self.note_seen(&user, now);
                }
                Outcome { answer: Some(Answer::Member), ..self.appeared(user, &before) }
            }
            Op::PresenceOf { users } => {
                Answer::Presence(users.into_iter().map(|user| self.presence(user, now)).collect()).into()
            }
            _ => Outcome::default(),
        }
    }

    fn arrive(&mut self, id: UserId, source: Source, status: Status, now: Timestamp) -> Outcome {
        let connections_max = self.limits.connections_per_user_max;
        let before = self.availability(&id);
        let user = self.users.entry(id.clone()).or_default();
        if connections_max != 0 && user.connections as usize >= connections_max {
            return Answer::TooManyConnections.into();
        }
        user.connections += 1;
        let rooms = user.rooms.to_vec();
        if status != Status::default() {
            self.say(&id, source, Availability { status, text: None });
        }
        // Should the server die, this is what is known.
        self.note(|| Change::Seen { user: id.clone(), at: Some(now) });
        Outcome { answer: Some(Answer::Rooms(rooms)), ..self.appeared(id, &before) }
    }

    fn depart(&mut self, id: UserId, source: Source, grace_ms: u64, now: Timestamp) -> Outcome {
        let before = self.availability(&id);
        let Some(user) = self.users.get_mut(&id) else { return Outcome::default() };
        user.connections = user.connections.saturating_sub(1);
        let gone = user.connections == 0;
        if let Some(said) = &mut user.said {
            said.by.retain(|(by, _)| *by != source);
        }
        let less = self.availability(&id).status < before.status;
        if less && grace_ms > 0 {
            self.keep(&id, before.clone(), now.saturating_add(grace_ms));
        }
        if gone && before.status != Status::Offline {
            self.note_seen(&id, now);
        }
        let outcome = self.appeared(id.clone(), &before);
        self.forget_said_without_anything(&id);
        self.forget_user_without_anything(&id);
        outcome
    }

    /// Notes what a connection says of its user.
    fn say(&mut self, id: &UserId, source: Source, availability: Availability) {
        let Some(user) = self.users.get_mut(id) else { return };
        let said = user.said.get_or_insert_default();
        said.by.retain(|(by, _)| *by != source);
        if availability != Availability::default() {
            said.by.push((source, availability));
        }
        self.forget_said_without_anything(id);
    }

    /// Holds a user to be as available as before, for a while: what another connection left behind, too.
    fn keep(&mut self, id: &UserId, availability: Availability, until: Timestamp) {
        let Some(user) = self.users.get_mut(id) else { return };
        let said = user.said.get_or_insert_default();
        self.absent.serial += 1;
        let end = (until, self.absent.serial);
        if let Some((_, before)) = said.kept.replace((availability, end)) {
            self.absent.ends.remove(&before);
        }
        self.absent.ends.insert(end, id.clone());
    }

    fn forget_said_without_anything(&mut self, id: &UserId) {
        if let Some(user) = self.users.get_mut(id)
            && user.said.as_ref().is_some_and(|said| said.by.is_empty() && said.kept.is_none())
        {
            user.said = None;
        }
    }

    fn availability(&self, id: &UserId) -> Availability {
        let offline = Availability { status: Status::Offline, text: None };
        let Some(user) = self.users.get(id) else { return offline };
        match &user.said {
            Some(said) => said.availability(user.connections),
            None if user.connections > 0 => Availability::default(),
            None => offline,
        }
    }

    /// What is told of a user.
    pub fn presence(&self, user: UserId, now: Timestamp) -> Presence {
        let Availability { status, text } = self.availability(&user);
        let seen = self.absent.seen.get(&user).copied();
        let last_seen_at = if status == Status::Offline { seen } else { Some(now) };
        Presence { user_id: user, status, last_seen_at, text }
    }

    /// Whether a user is not what the user was before.
    fn appeared(&self, user: UserId, before: &Availability) -> Outcome {
        let changed = self.availability(&user) != *before;
        let appeared = changed.then(|| Appeared { rooms: self.rooms_of(&user), user });
        Outcome { appeared, ..Outcome::default() }
    }

    fn note_seen(&mut self, user: &UserId, at: Timestamp) {
        let forgotten = self.absent.note_seen(user.clone(), at, self.limits.last_seen_users_max);
        self.note(|| Change::Seen { user: user.clone(), at: Some(at) });
        if let Some(user) = forgotten {
            self.note(|| Change::Seen { user, at: None });
        }
    }

    /// Users whose grace is over, and who are not what they were held to be. To be called now and then.
    pub fn grace_over(&mut self, now: Timestamp) -> Vec<Appeared> {
        let mut over = Vec::new();
        for _ in 0..ENDS_PER_SWEEP_MAX {
            let Some(first) = self.absent.ends.first_entry().filter(|first| first.key().0 <= now) else { break };
            let (end, id) = first.remove_entry();
            let before = self.availability(&id);
            let said = self.users.get_mut(&id).and_then(|user| user.said.as_mut());
            if let Some(said) = said.filter(|said| said.kept.as_ref().is_some_and(|(_, kept)| *kept == end)) {
                said.kept = None;
            }
            over.extend(self.appeared(id.clone(), &before).appeared);
            self.forget_said_without_anything(&id);
            self.forget_user_without_anything(&id);
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::partition;
    use super::*;
    use crate::ids::{ConnectionKey, ShardId};

    /// A small generator (xorshift): the histories are the same in every run.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % bound
        }
    }

    /// One user as anybody would write it down.
    #[derive(Default)]
    struct Model {
        /// Connections, with what they said last.
        connections: Vec<(u32, Status)>,
        /// What the user is held to be, until when.
        kept: Option<(Status, Timestamp)>,
    }

    impl Model {
        fn status(&self) -> Status {
            let present = self.connections.iter().map(|(_, status)| *status).max().unwrap_or(Status::Offline);
            self.kept.map_or(present, |(kept, _)| kept.max(present))
        }
    }

    const STATUSES: [Status; 5] = [Status::Offline, Status::Away, Status::Dnd, Status::Busy, Status::Online];
    const GRACE_MS: u64 = 10;

    /// Thousands of histories of three users with up to four connections each.
    #[test]
    fn s1_83_users_are_as_available_as_in_a_plain_model() {
        for seed in 1..=3000 {
            let mut random = Random(seed);
            let mut store = partition();
            store.limits.connections_per_user_max = 4;
            let mut models: [Model; 3] = std::array::from_fn(|_| Model::default());
            let mut now = 0;
            for number in 0..60 {
                let at = usize::try_from(random.below(3)).unwrap();
                let user = UserId::parse(&format!("u{at}")).unwrap();
                let before = models[at].status();
                let some = |random: &mut Random, model: &Model| {
                    let many = model.connections.len() as u64;
                    usize::try_from(random.below(many.max(1))).unwrap()
                };
                let key = |generation| ConnectionKey { slot: 0, generation };
                let status = STATUSES[usize::try_from(random.below(5)).unwrap()];
                let index = some(&mut random, &models[at]);
                let model = &mut models[at];
                let apply = |store: &mut Partition, op| store.apply(op, ShardId(0), now).appeared.is_some();
                let appeared = match random.below(4) {
                    0 if model.connections.len() < 4 => {
                        model.connections.push((number, status));
                        apply(&mut store, Op::Arrive { user: user.clone(), connection: key(number), status })
                    }
                    1 if !model.connections.is_empty() => {
                        let (gone, _) = model.connections.remove(index);
                        if model.status() < before {
                            model.kept = Some((before, now + GRACE_MS));
                        }
                        let connection = key(gone);
                        apply(&mut store, Op::Depart { user: user.clone(), connection, grace_ms: GRACE_MS })
                    }
                    2 if !model.connections.is_empty() => {
                        model.connections[index].1 = status;
                        let (availability, connection) = (status.into(), key(model.connections[index].0));
                        apply(&mut store, Op::SetPresence { user: user.clone(), connection, availability })
                    }
                    _ => {
                        now += random.below(8);
                        let mut expected = Vec::new();
                        for (number, model) in models.iter_mut().enumerate() {
                            let before = model.status();
                            model.kept = model.kept.filter(|(_, until)| *until > now);
                            expected.extend((model.status() != before).then(|| format!("u{number}")));
                        }
                        let mut over: Vec<String> =
                            store.grace_over(now).iter().map(|appeared| appeared.user.to_string()).collect();
                        over.sort();
                        assert_eq!(over, expected, "seed {seed}");
                        continue;
                    }
                };
                let after = models[at].status();
                assert_eq!(appeared, after != before, "seed {seed}");
                assert_eq!(store.presence(user, now).status, after, "seed {seed}");
            }
            let kept = models.iter().filter(|model| model.kept.is_some()).count();
            assert_eq!(store.absent.ends.len(), kept, "seed {seed}");
        }
    }

    #[test]
    fn of_those_not_seen_for_longest_nothing_is_known_any_more() {
        let mut absent = Absent::default();
        let user = |number: u64| UserId::parse(&format!("u{number}")).unwrap();
        assert_eq!(absent.note_seen(user(1), 1, 2), None);
        assert_eq!(absent.note_seen(user(2), 2, 2), None);
        assert_eq!(absent.note_seen(user(1), 3, 2), None, "it is known anew");
        assert_eq!(absent.note_seen(user(3), 4, 2), Some(user(2)));
        assert_eq!((absent.seen.len(), absent.seen_order.len()), (2, 2));
    }
}
