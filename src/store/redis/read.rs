//! Answers of Redis, read: what each says, and what else it leads to.

use super::feed::Place;
use super::question::{Asked, Question};
use super::reply::Reply;
use super::{Followed, Remote, Value, entry, record, told};
use crate::ids::{MessageId, RoomId, UserId};
use crate::message::{EventKind, Timestamp};
use crate::store::{Answer, JoinRefusal, MembershipChange, MessageStatus, Moved, Op, Outcome, Receipt};

/// Users listed in one answer about what became of a message.
const STATUS_USERS_MAX: usize = 500;

/// An answer that was read.
pub(super) struct Read {
    pub(super) outcome: Outcome,
    /// The event that it caused, with its place if there is a log.
    pub(super) event: Option<(Option<Place>, EventKind)>,
}

impl From<Answer> for Read {
    fn from(answer: Answer) -> Self {
        Self { outcome: answer.into(), event: None }
    }
}

impl Remote {
    /// What an answer says.
    pub(super) fn read(&mut self, asked: &Asked, value: Value, now: Timestamp) -> Option<Read> {
        match &asked.op {
            Op::IsMember { .. } | Op::Unreserve { .. } => return Some(membership_known(asked, value.int()? == 1)),
            Op::RoomsOf { .. } => {
                let mut rooms: Vec<_> =
                    value.list()?.iter().filter_map(|room| RoomId::parse(room.text()?).ok()).collect();
                rooms.sort_unstable();
                return Some(Answer::Rooms(rooms).into());
            }
            _ => {}
        }
        let mut reply = Reply::of(value)?;
        let answer = match &*reply.word {
            "not_a_member" => Answer::NotAMember,
            "not_found" => Answer::MessageNotFound,
            "forbidden" => Answer::Forbidden,
            "conflict" => Answer::EditConflict { version: reply.number()? },
            "not_sent" => Answer::NotSent,
            "member" => Answer::Member,
            "reserved" => Answer::Reserved,
            "not_allowed" => return Some(join_refused(asked, JoinRefusal::NotAllowed)),
            "limit" => return Some(join_refused(asked, JoinRefusal::Limit)),
            "too_many" => Answer::TooManyConnections,
            "entered" => return self.read_entered(&mut reply, asked),
            "page" => Answer::QueuePage(Box::new(entry::page(&mut reply)?)),
            "left" => return self.read_left(&mut reply, asked),
            "appended" => return read_appended(&mut reply, asked),
            "edited" => return read_edited(&mut reply),
            "deleted" => {
                let place = (reply.epoch()??, reply.number()?);
                let answer = Answer::Deleted { seq: place.1 };
                return Some(Read { outcome: answer.into(), event: Some((Some(place), asked.event.clone()?)) });
            }
            "messages" => read_messages(&mut reply)?,
            "users" => self.read_users(&mut reply, asked),
            "status" => read_status(&mut reply, asked)?,
            "acknowledged" => return self.read_acknowledged(&mut reply, asked, now),
            "indexed" => return Some(self.indexed(asked)),
            "rooms" => return self.read_arrived(&mut reply, asked, now),
            _ => return None,
        };
        Some(answer.into())
    }

    fn read_entered(&self, reply: &mut Reply, asked: &Asked) -> Option<Read> {
        let entered = entry::entered(reply, asked)?;
        let (membership, epoch) = (entered.entry.membership, entered.entry.head.epoch().cloned());
        let has_event = entered.is_new && entered.entry.members <= self.limits.member_events_max;
        let event = asked.event.clone().filter(|_| has_event);
        let place = epoch.map(|epoch| (epoch, entered.caused));
        let mut outcome = Outcome::from(Answer::Entered(Box::new(entered.entry)));
        if let Op::Join { room, user, .. } = &asked.op
            && entered.is_new
        {
            let (room, user) = (room.clone(), user.clone());
            let change = MembershipChange { user, room, membership, joined: true, quiet: false, removed: false };
            outcome.forward = Some(Op::Index(change));
        }
        Some(Read { outcome, event: event.map(|event| (place, event)) })
    }

    fn read_left(&self, reply: &mut Reply, asked: &Asked) -> Option<Read> {
        let Op::Leave { room, user } = &asked.op else { return None };
        let (membership, epoch, seq, has_event) = (reply.number()?, reply.epoch()?, reply.number()?, reply.flag()?);
        let (room, user, removed) = (room.clone(), user.clone(), asked.is_server);
        let change = MembershipChange { user, room, membership, joined: false, quiet: false, removed };
        let forward = Some(Op::Index(change));
        let outcome = Outcome { answer: Some(Answer::Left), forward, ..Outcome::default() };
        let event = asked.event.clone().filter(|_| has_event);
        Some(Read { outcome, event: event.map(|event| (epoch.map(|epoch| (epoch, seq)), event)) })
    }

    fn read_users(&self, reply: &mut Reply, asked: &Asked) -> Answer {
        let mut users: Vec<_> = reply.texts().iter().filter_map(|user| UserId::parse(user).ok()).collect();
        users.sort_unstable();
        let users_max = self.limits.online_users_max;
        let has_more = users.len() > users_max;
        users.truncate(users_max);
        match &asked.op {
            Op::TypingUsers { .. } => Answer::Typing { users, has_more },
            _ => Answer::Online { users, has_more },
        }
    }

    fn read_acknowledged(&mut self, reply: &mut Reply, asked: &Asked, now: Timestamp) -> Option<Read> {
        let Op::Ack { room, user, .. } = &asked.op else { return None };
        let fields = reply.texts();
        let mut fields = fields.iter().map(String::as_str);
        let receipts = std::iter::from_fn(|| told::receipt(user.clone(), now, &mut fields));
        let moved = receipts.map(|receipt| self.moved(room, receipt)).collect();
        let outcome = Outcome { answer: Some(Answer::Acknowledged), moved, ..Outcome::default() };
        Some(Read { outcome, event: None })
    }

    pub(super) fn moved(&self, room: &RoomId, receipt: told::Receipt) -> Moved {
        let told::Receipt { user, at, kind, up_to, message_id, authors } = receipt;
        let shards = self.rooms.get(room).map_or(0, Followed::shards);
        Moved { room: room.clone(), user, kind, up_to, message_id, at, authors, shards }
    }

    /// A membership is on its user's list, or off it.
    fn indexed(&mut self, asked: &Asked) -> Read {
        let Op::Index(change) = &asked.op else { return Outcome::default().into() };
        if !change.joined {
            // Somebody may have joined again through another node, whose entry was just taken off.
            let question = self.membership_question(&change.room, &change.user);
            self.ask_aside(Question::Verify(change.clone()), move |_, _| question);
        }
        if self.settings.is_cluster && !change.quiet {
            self.tell_all_nodes(told::membership_text(&self.node, change));
        }
        // Who left is told now that it is known everywhere.
        let answer = (!change.joined && !change.quiet).then_some(Answer::Left);
        let change = (!change.quiet).then(|| change.clone());
        Outcome { answer, change, ..Outcome::default() }.into()
    }
}

impl From<Outcome> for Read {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, event: None }
    }
}

fn membership_known(asked: &Asked, is_member: bool) -> Read {
    match &asked.op {
        Op::Unreserve { room, user } if !is_member => {
            let (room, user) = (room.clone(), user.clone());
            let change = MembershipChange { user, room, membership: 0, joined: false, quiet: true, removed: false };
            Outcome { forward: Some(Op::Index(change)), ..Outcome::default() }.into()
        }
        Op::Unreserve { .. } => Outcome::default().into(),
        _ if is_member => Answer::Member.into(),
        _ => Answer::NotAMember.into(),
    }
}

fn join_refused(asked: &Asked, reason: JoinRefusal) -> Read {
    let mut outcome = Outcome::from(Answer::JoinRefused(reason));
    if let Op::Join { room, user, .. } = &asked.op {
        outcome.forward = Some(Op::Unreserve { room: room.clone(), user: user.clone() });
    }
    outcome.into()
}

fn read_appended(reply: &mut Reply, asked: &Asked) -> Option<Read> {
    let (duplicate, epoch, seq) = (reply.flag()?, reply.epoch()?, reply.number()?);
    let (message_id, sent_at) = (MessageId::parse(&reply.text()?).ok()?, reply.number()?);
    let place = epoch.map(|epoch| (epoch, seq));
    let receipt = Receipt { message_id, log: place.clone(), sent_at, duplicate };
    let event = asked.event.clone().filter(|_| !duplicate).map(|event| (place, event));
    Some(Read { outcome: Answer::Appended(receipt).into(), event })
}

fn read_edited(reply: &mut Reply) -> Option<Read> {
    let (version, epoch, seq) = (reply.number()?, reply.epoch()?, reply.number()?);
    let event = record::decode(Some(seq), &reply.text()?)?.kind;
    let place = epoch.map(|epoch| (epoch, seq));
    Some(Read { outcome: Answer::Edited { version, seq }.into(), event: Some((place, event)) })
}

fn read_messages(reply: &mut Reply) -> Option<Answer> {
    let (epoch, has_more) = (reply.epoch()?, reply.flag()?);
    let fields = reply.texts();
    let messages = fields.chunks_exact(2).map(|pair| {
        let [seq, record] = pair else { return None };
        let seq = seq.parse().ok()?;
        match record::decode(Some(seq), record)?.kind {
            EventKind::MessageNew(message) | EventKind::MessageEdited(message) => Some((seq, *message)),
            _ => None,
        }
    });
    Some(Answer::Messages { epoch, messages: messages.collect::<Option<_>>()?, has_more })
}

fn read_status(reply: &mut Reply, asked: &Asked) -> Option<Answer> {
    let Op::Status { after, .. } = &asked.op else { return None };
    let (delivered, seen) = (reply.flag()?, reply.flag()?);
    let fields = reply.texts();
    let users = fields.chunks_exact(3).map(|said| {
        let [user, delivered_at, seen_at] = said else { return None };
        Some((UserId::parse(user).ok()?, delivered_at.parse().ok(), seen_at.parse().ok()))
    });
    let mut users: Vec<_> = users.collect::<Option<_>>()?;
    users.retain(|(user, ..)| after.as_ref().is_none_or(|after| user > after));
    users.sort_unstable();
    let has_more = users.len() > STATUS_USERS_MAX;
    users.truncate(STATUS_USERS_MAX);
    Some(Answer::Status(Box::new(MessageStatus { delivered, seen, users, has_more })))
}
