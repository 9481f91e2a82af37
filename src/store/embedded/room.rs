//! One room: its members, its log, and who of its members is live on which shard.

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::log::Log;
use crate::ids::{DeviceId, MessageId, RoomId, ShardId, UserId};
use crate::message::{Event, EventKind, Message, Seq, Timestamp};
use crate::store::{Answer, Class, Cursors, Entry, Head, Limits, Member, Outcome, Revision, RoomState, RoomSummary};
use crate::wire::request::{Page, Since};

/// One room.
pub(super) struct Room {
    id: RoomId,
    class: Arc<Class>,
    /// `None` for a class without history.
    log: Option<Log>,
    members: HashMap<UserId, Member>,
    /// How far each member has come.
    pub(super) cursors: HashMap<UserId, Cursors>,
    memberships: u64,
    /// Live connections by shard.
    listeners: SmallVec<[u32; 2]>,
    serial: u64,
    /// When somebody last asked for something in it.
    pub(super) used_at: Timestamp,
    /// Whether its events could not be read when they were last needed.
    pub(super) unreadable: bool,
    /// Its oldest event's time as the partition has it in order.
    pub(super) placed: Option<Timestamp>,
    /// Events and bytes as last accounted for by the partition.
    accounted: (usize, usize),
    /// Its log's bounds and its memberships as last noted as a change.
    noted: Option<(Seq, Seq, u64)>,
}

impl Room {
    pub(super) fn new(id: RoomId, class: Arc<Class>, epoch: Arc<str>, serial: u64) -> Self {
        let log = (class.events_max > 0).then(|| Log::new(epoch));
        Self {
            id,
            class,
            log,
            members: HashMap::new(),
            cursors: HashMap::new(),
            memberships: 0,
            listeners: SmallVec::new(),
            serial,
            used_at: 0,
            unreadable: false,
            placed: None,
            accounted: (0, 0),
            noted: None,
        }
    }

    /// A room as it was kept, without its events.
    pub(super) fn restored(state: RoomState, class: Arc<Class>, members: Vec<(UserId, Member)>, serial: u64) -> Self {
        let (head, memberships) = (state.head, state.memberships);
        let noted = Some((state.first, head, memberships));
        // A class that got a log since, or lost it, is what it is now; a log of the same name goes on where it was.
        let epoch = state.epoch.clone().filter(|_| class.events_max > 0);
        let log = epoch.map(|epoch| Log::restored(epoch, &state));
        let cursors = members.iter().map(|(user, _)| (user.clone(), Cursors::starting(head))).collect();
        Self {
            log,
            cursors,
            members: members.into_iter().collect(),
            memberships,
            noted,
            ..Self::new(state.room, class, "".into(), serial)
        }
    }

    /// The same with a log, if its class has one.
    pub(super) fn with_log(mut self, epoch: Arc<str>) -> Self {
        self.log = (self.class.events_max > 0).then(|| Log::new(epoch));
        self
    }

    /// Whatever the disk knows of the room, it is told again.
    pub(super) fn forget_noted(&mut self) {
        self.noted = None;
    }

    /// What the disk is to know of the room itself, if that changed since the last time.
    pub(super) fn changed_state(&mut self) -> Option<RoomState> {
        let (first, head) = self.log.as_ref().map_or((1, 0), |log| (log.first(), log.head()));
        let now = Some((first, head, self.memberships));
        if std::mem::replace(&mut self.noted, now) == now {
            return None;
        }
        Some(RoomState {
            room: self.id.clone(),
            epoch: self.epoch().cloned(),
            first,
            head,
            bytes: self.log.as_ref().map_or(0, Log::bytes),
            oldest_at: self.oldest_at().unwrap_or(0),
            memberships: self.memberships,
        })
    }

    #[cfg(test)]
    pub(super) fn contents(&self) -> String {
        let mut members: Vec<_> = self.members.iter().map(|(user, it)| (user, it.membership, it.joined_at)).collect();
        members.sort();
        let log = self.log.as_ref().map(|log| (log.epoch(), log.first(), log.head(), log.since_first()));
        let seen: std::collections::BTreeMap<_, _> =
            self.cursors.iter().map(|(user, cursors)| (user, &cursors.seen)).collect();
        format!("{} {members:?} {seen:?} {log:?}", self.id)
    }

    /// The room's log, if it has one.
    pub(super) fn log(&self) -> Option<&Log> {
        self.log.as_ref()
    }

    /// The same, to be changed.
    pub(super) fn log_mut(&mut self) -> Option<&mut Log> {
        self.log.as_mut()
    }

    /// The events that carry a message's content.
    pub(super) fn carriers(&self, id: &MessageId) -> Vec<Arc<Event>> {
        self.log.as_ref().map_or_else(Vec::new, |log| log.carriers(id))
    }

    /// A user's membership.
    pub(super) fn member(&self, user: &UserId) -> Option<Member> {
        self.members.get(user).copied()
    }

    /// Puts a membership back to what it was. What is live stays so.
    pub(super) fn put_member(&mut self, user: &UserId, before: Option<Member>) {
        match before {
            None => {
                self.members.remove(user);
                self.cursors.remove(user);
            }
            Some(member) => {
                let live = self.members.get(user).map_or(member.live, |present| present.live);
                self.members.insert(user.clone(), Member { live, ..member });
            }
        }
    }

    pub(super) fn id(&self) -> &RoomId {
        &self.id
    }

    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    pub(super) fn epoch(&self) -> Option<&Arc<str>> {
        self.log.as_ref().map(Log::epoch)
    }

    pub(super) fn members(&self) -> usize {
        self.members.len()
    }

    pub(super) fn is_member(&self, user: &UserId) -> bool {
        self.members.contains_key(user)
    }

    /// Whether nothing is left that anyone could come back to.
    pub(super) fn is_void(&self) -> bool {
        self.is_empty() && self.shards() == 0
    }

    /// Whether it has neither members nor events.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.log.as_ref().is_none_or(|log| log.len() == 0)
    }

    /// Which shards have live connections: bit n for shard n.
    pub(super) fn shards(&self) -> u64 {
        self.listeners.iter().enumerate().filter(|(_, count)| **count > 0).fold(0, |mask, (shard, _)| mask | 1 << shard)
    }

    /// Events and bytes as accounted for before, and as they are.
    pub(super) fn usage_change(&mut self) -> ((usize, usize), (usize, usize)) {
        let now = self.log.as_ref().map_or((0, 0), |log| (log.len(), log.bytes()));
        (std::mem::replace(&mut self.accounted, now), now)
    }

    pub(super) fn add_member(&mut self, user: UserId, now: Timestamp) -> u64 {
        self.memberships += 1;
        self.members.insert(user, Member { membership: self.memberships, joined_at: now, live: 0 });
        self.memberships
    }

    pub(super) fn remove_member(&mut self, user: &UserId) -> Option<u64> {
        self.cursors.remove(user);
        self.members.remove(user).map(|member| member.membership)
    }

    /// Logs what happened, or, without a log, only gives it a form.
    pub(super) fn record(&mut self, kind: EventKind) -> Arc<Event> {
        match &mut self.log {
            Some(log) => log.append(kind),
            None => Arc::new(Event { seq: None, kind }),
        }
    }

    /// A place in this room's log, with the log's name.
    pub(super) fn log_place(&self, seq: Option<Seq>) -> Option<(Arc<str>, Seq)> {
        self.epoch().cloned().zip(seq)
    }

    pub(super) fn head(&self) -> Head {
        Head { log: self.log.as_ref().map(|log| (Arc::clone(log.epoch()), log.head())) }
    }

    /// What a member's connection learns; on a shard it becomes live there.
    pub(super) fn enter(
        &mut self,
        (user, device): (&UserId, Option<&DeviceId>),
        since: Option<&Since>,
        live: Option<ShardId>,
        limits: &Limits,
    ) -> Entry {
        if let (Some(shard), Some(member)) = (live, self.members.get_mut(user)) {
            member.live += 1;
            let shard = usize::from(shard.0);
            if self.listeners.len() <= shard {
                self.listeners.resize(shard + 1, 0);
            }
            if let Some(count) = self.listeners.get_mut(shard) {
                *count += 1;
            }
        }
        let missed = since
            .zip(self.log.as_ref())
            .and_then(|(since, log)| log.since(since, limits.recover_events_max, limits.recover_bytes_max));
        let membership = self.members.get(user).map_or(0, |member| member.membership);
        if live.is_some() {
            // What it is delivered while its user's other devices have more is remembered from here on.
            self.touch(user, device, limits.devices_per_user_max);
        }
        Entry {
            head: self.head(),
            user: live.map(|_| user.clone()),
            membership,
            live_in: live.map(|_| self.id.clone()),
            missed,
            more: false,
            members: self.members.len(),
            progress: self.progress(user, device),
        }
    }

    pub(super) fn detach(&mut self, user: &UserId, membership: u64, shard: ShardId) {
        if let Some(count) = self.listeners.get_mut(usize::from(shard.0)) {
            *count = count.saturating_sub(1);
        }
        if let Some(member) = self.members.get_mut(user).filter(|member| member.membership == membership) {
            member.live = member.live.saturating_sub(1);
        }
    }

    /// A message that a user may change, or why not.
    fn changeable(&self, user: &UserId, id: &MessageId, any_author: bool) -> Result<&Message, Answer> {
        let message = self.log.as_ref().and_then(|log| log.message(id)).filter(|message| message.deleted_at.is_none());
        match message {
            None => Err(Answer::MessageNotFound),
            Some(message) if message.user != *user && !any_author => Err(Answer::Forbidden),
            Some(message) => Ok(message),
        }
    }

    pub(super) fn edit(&mut self, user: &UserId, revision: Revision, any_author: bool, now: Timestamp) -> Outcome {
        let Revision { message_id, content, if_version } = revision;
        let message = match self.changeable(user, &message_id, any_author) {
            Ok(message) => message,
            Err(answer) => return answer.into(),
        };
        if if_version.is_some_and(|version| version != message.version) {
            return Answer::EditConflict { version: message.version }.into();
        }
        let version = message.version + 1;
        let edited = Message { content: Some(content), version, edited_at: Some(now), ..message.clone() };
        let event = self.record(EventKind::MessageEdited(Box::new(edited)));
        let answer = Answer::Edited { version, seq: event.seq.unwrap_or(0) };
        Outcome { answer: Some(answer), feed: Some(self.feed(event)), ..Outcome::default() }
    }

    pub(super) fn delete(&mut self, user: &UserId, id: &MessageId, any_author: bool, now: Timestamp) -> Outcome {
        if let Err(answer) = self.changeable(user, id, any_author) {
            return answer.into();
        }
        if let Some(log) = &mut self.log {
            log.redact(id, now);
        }
        let event =
            self.record(EventKind::MessageDeleted { message_id: id.clone(), user: user.clone(), deleted_at: now });
        let answer = Answer::Deleted { seq: event.seq.unwrap_or(0) };
        Outcome { answer: Some(answer), feed: Some(self.feed(event)), ..Outcome::default() }
    }

    pub(super) fn history(&mut self, page: Page, bytes_max: usize, now: Timestamp) -> Outcome {
        self.trim(now);
        let (messages, has_more) = self.log.as_ref().map_or((Vec::new(), false), |log| log.page(page, bytes_max));
        Answer::Messages { epoch: self.epoch().cloned(), messages, has_more }.into()
    }

    pub(super) fn online(&self, users_max: usize) -> Outcome {
        let mut live = self.members.iter().filter(|(_, member)| member.live > 0).map(|(user, _)| user.clone());
        let mut users: Vec<UserId> = live.by_ref().take(users_max).collect();
        users.sort_unstable();
        Answer::Online { users, has_more: live.next().is_some() }.into()
    }

    pub(super) fn summary(&self) -> RoomSummary {
        let live = self.listeners.iter().map(|count| *count as usize).sum();
        RoomSummary { room: self.id.clone(), head: self.head(), members: self.members(), live }
    }

    pub(super) fn trim(&mut self, now: Timestamp) {
        if let Some(log) = &mut self.log {
            log.trim(&self.class, now);
        }
    }

    /// When its oldest event happened.
    pub(super) fn oldest_at(&self) -> Option<Timestamp> {
        self.log.as_ref().and_then(Log::oldest_at)
    }

    /// Drops the oldest event.
    pub(super) fn drop_first(&mut self) {
        self.log.iter_mut().for_each(Log::drop_first);
    }

    /// Whether its oldest event is older than its class allows.
    pub(super) fn is_overdue(&self, now: Timestamp) -> bool {
        let age_ms_max = self.class.age_ms_max;
        age_ms_max != 0 && self.oldest_at().is_some_and(|at| at.saturating_add(age_ms_max) < now)
    }
}
