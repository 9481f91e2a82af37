//! Who is typing: one partition's rooms, each with its typists. Kept in memory alone, never in a log.
//!
//! A user types in a room through one connection, the one that said so last; that one alone ends it early. Every start
//! has an end by the clock, so that nothing is left of a typist whose stop was lost. Nothing of this waits for the disk.

use std::collections::{BTreeMap, HashMap};

use super::super::{Answer, Outcome, Source, Typing};
use super::{Partition, find};
use crate::ids::{RoomId, UserId};
use crate::message::Timestamp;

/// Typists that one sweep ends, so that a sweep's cost is bounded. The rest follow with the next.
const TYPISTS_PER_SWEEP_MAX: usize = 1024;

/// Everybody who types, by room and by when it ends.
#[derive(Default)]
pub(in crate::store) struct Typists {
    rooms: HashMap<RoomId, BTreeMap<UserId, Typist>>,
    ends: BTreeMap<(Timestamp, u64), (RoomId, UserId)>,
    /// Tells apart what ends in the same millisecond.
    serial: u64,
}

struct Typist {
    source: Source,
    end: (Timestamp, u64),
}

impl Typists {
    /// A user begins to type, or goes on. Says whether it is the beginning.
    pub(in crate::store) fn start(&mut self, room: &RoomId, user: &UserId, source: Source, until: Timestamp) -> bool {
        self.serial += 1;
        let end = (until, self.serial);
        let typists = self.rooms.entry(room.clone()).or_default();
        let before = typists.insert(user.clone(), Typist { source, end });
        if let Some(before) = &before {
            self.ends.remove(&before.end);
        }
        self.ends.insert(end, (room.clone(), user.clone()));
        before.is_none()
    }

    /// A connection's user stops. Says whether the user was typing through that connection.
    pub(in crate::store) fn stop(&mut self, room: &RoomId, user: &UserId, source: Source) -> bool {
        let typist = self.rooms.get(room).and_then(|typists| typists.get(user));
        let Some(end) = typist.filter(|typist| typist.source == source).map(|typist| typist.end) else { return false };
        self.ends.remove(&end);
        self.forget(room, user);
        true
    }

    /// Ends one that has typed for long enough.
    pub(in crate::store) fn take_over(&mut self, now: Timestamp) -> Option<(RoomId, UserId, Source)> {
        let first = self.ends.first_entry().filter(|first| first.key().0 <= now)?;
        let (room, user) = first.remove();
        let source = self.forget(&room, &user)?.source;
        Some((room, user, source))
    }

    fn forget(&mut self, room: &RoomId, user: &UserId) -> Option<Typist> {
        let typists = self.rooms.get_mut(room)?;
        let typist = typists.remove(user);
        if typists.is_empty() {
            self.rooms.remove(room);
        }
        typist
    }

    fn of_room(&self, room: &RoomId) -> impl Iterator<Item = &UserId> {
        self.rooms.get(room).into_iter().flat_map(BTreeMap::keys)
    }
}

impl Partition {
    pub(super) fn start_typing(&mut self, typing: (RoomId, UserId), source: Source, until: Timestamp) -> Outcome {
        let (room, user) = typing;
        let live = find(&mut self.rooms, &self.by_id, &room).filter(|room| room.is_member(&user));
        let Some(shards) = live.map(|room| room.shards()) else { return Answer::NotAMember.into() };
        let begins = self.typists.start(&room, &user, source, until);
        let typing = begins.then_some(Typing { room, user, is_typing: true, source, shards });
        Outcome { answer: Some(Answer::Member), typing, ..Outcome::default() }
    }

    /// Whoever is no member any more stops too.
    pub(super) fn stop_typing(&mut self, room: RoomId, user: UserId, source: Source) -> Outcome {
        let ends = self.typists.stop(&room, &user, source);
        let is_member = find(&mut self.rooms, &self.by_id, &room).is_some_and(|room| room.is_member(&user));
        let answer = if is_member { Answer::Member } else { Answer::NotAMember };
        let typing = ends.then(|| self.stopped(room, user, source));
        Outcome { answer: Some(answer), typing, ..Outcome::default() }
    }

    pub(super) fn typing_users(&mut self, room: &RoomId, user: &UserId) -> Outcome {
        let Some(of_room) = find(&mut self.rooms, &self.by_id, room).filter(|room| room.is_member(user)) else {
            return Answer::NotAMember.into();
        };
        let users_max = self.limits.online_users_max;
        let mut typing = self.typists.of_room(room).filter(|user| of_room.is_member(user)).cloned();
        let users = typing.by_ref().take(users_max).collect();
        Answer::Typing { users, has_more: typing.next().is_some() }.into()
    }

    /// Ends what was started too long ago. To be called now and then.
    pub fn typing_over(&mut self, now: Timestamp) -> Vec<Typing> {
        let mut over = Vec::new();
        while over.len() < TYPISTS_PER_SWEEP_MAX
            && let Some((room, user, source)) = self.typists.take_over(now)
        {
            over.push(self.stopped(room, user, source));
        }
        over
    }

    fn stopped(&mut self, room: RoomId, user: UserId, source: Source) -> Typing {
        let shards = find(&mut self.rooms, &self.by_id, &room).map_or(0, |room| room.shards());
        Typing { room, user, is_typing: false, source, shards }
    }
}

#[cfg(test)]
mod tests {
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

    /// Thousands of histories, each beside a list that is searched from end to end.
    #[test]
    fn s1_83_typists_are_those_of_a_naive_model() {
        for seed in 1..=3000 {
            let mut random = Random(seed);
            let mut typists = Typists::default();
            let mut model: Vec<(RoomId, UserId, Source, Timestamp)> = Vec::new();
            let mut now = 0;
            for _ in 0..60 {
                let room = RoomId::parse(&format!("r{}", random.below(2))).unwrap();
                let user = UserId::parse(&format!("u{}", random.below(3))).unwrap();
                let generation = u32::try_from(random.below(2)).unwrap();
                let source = (ShardId(0), ConnectionKey { slot: 0, generation });
                let of = |entry: &(RoomId, UserId, Source, Timestamp)| entry.0 == room && entry.1 == user;
                match random.below(4) {
                    0 | 1 => {
                        let until = now + 1 + random.below(20);
                        let begins = !model.iter().any(of);
                        model.retain(|entry| !of(entry));
                        model.push((room.clone(), user.clone(), source, until));
                        assert_eq!(typists.start(&room, &user, source, until), begins, "seed {seed}");
                    }
                    2 => {
                        let before = model.len();
                        model.retain(|entry| !of(entry) || entry.2 != source);
                        assert_eq!(typists.stop(&room, &user, source), model.len() < before, "seed {seed}");
                    }
                    _ => {
                        now += random.below(15);
                        let mut over: Vec<_> = std::iter::from_fn(|| typists.take_over(now)).collect();
                        let mut expected: Vec<_> =
                            model.extract_if(.., |entry| entry.3 <= now).map(|it| (it.0, it.1, it.2)).collect();
                        over.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
                        expected.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
                        assert_eq!(over, expected, "seed {seed}");
                    }
                }
                let mut expected: Vec<_> = model.iter().filter(|it| it.0 == room).map(|it| it.1.clone()).collect();
                expected.sort();
                assert_eq!(typists.of_room(&room).cloned().collect::<Vec<_>>(), expected, "seed {seed}");
                assert_eq!(typists.ends.len(), model.len(), "seed {seed}");
            }
        }
    }
}
