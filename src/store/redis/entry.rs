//! What a connection learns of a room when it becomes live there, read from a script's answer; and what is added to it
//! that happened since.

use std::sync::Arc;

use super::feed::Place;
use super::question::Asked;
use super::reply::Reply;
use crate::ids::{RoomId, UserId};
use crate::message::{Event, Seq};
use crate::store::{Answer, Entry, Head, Op, Outcome, Progress, QueuePage};

/// An answer of `join` or `attach`.
pub(super) struct Entered {
    pub(super) entry: Entry,
    /// Place of the event that the membership caused, if one was told. 0 in a room without a log.
    pub(super) caused: Seq,
    /// Whether the membership is new.
    pub(super) is_new: bool,
}

/// Reads an answer of `join` or `attach`, behind its word.
pub(super) fn entered(reply: &mut Reply, asked: &Asked) -> Option<Entered> {
    let (room, user, is_live): (&RoomId, &UserId, bool) = match &asked.op {
        Op::Join { room, user, .. } => (room, user, !asked.is_server),
        Op::Attach { room, user, live, .. } => (room, user, *live),
        _ => return None,
    };
    let is_new = reply.last()? == "new";
    let (epoch, head) = (reply.epoch()?, reply.number()?);
    let (membership, members) = (reply.number()?, usize::try_from(reply.number()?).ok()?);
    let (delivered, seen, unread) = (reply.number()?, reply.number()?, usize::try_from(reply.number()?).ok()?);
    let (is_told, more, first, caused) = (reply.flag()?, reply.flag()?, reply.number()?, reply.number()?);
    let events = reply.events(first)?;
    let has_log = epoch.is_some();
    let entry = Entry {
        head: Head { log: epoch.map(|epoch| (epoch, head)) },
        user: is_live.then(|| user.clone()),
        membership,
        live_in: is_live.then(|| room.clone()),
        missed: is_told.then_some(events),
        more,
        members,
        progress: has_log.then_some(Progress { delivered, seen, unread }),
    };
    Some(Entered { entry, caused, is_new })
}

/// Reads an answer of `queue_page`, behind its word.
pub(super) fn page(reply: &mut Reply) -> Option<QueuePage> {
    let (epoch, head) = (reply.epoch()?, reply.number()?);
    let (is_told, more, first) = (reply.flag()?, reply.flag()?, reply.number()?);
    let events = reply.events(first)?;
    let head = Head { log: epoch.map(|epoch| (epoch, head)) };
    Some(QueuePage { head, missed: is_told.then_some(events), more })
}

/// The place of which an answer speaks.
pub(super) fn place_of(outcome: &Outcome) -> Option<Place> {
    match outcome.answer.as_ref()? {
        Answer::Entered(entry) => entry.head.log.clone(),
        Answer::QueuePage(page) => page.head.log.clone(),
        Answer::Appended(receipt) => receipt.log.clone(),
        _ => None,
    }
}

/// Adds to an answer what happened since it was made, for whoever takes part from now on.
pub(super) fn extend(outcome: &mut Outcome, since: impl Iterator<Item = Arc<Event>>) {
    let (head, missed, more) = match outcome.answer.as_mut() {
        Some(Answer::Entered(entry)) => (&mut entry.head, &mut entry.missed, entry.more),
        Some(Answer::QueuePage(page)) => (&mut page.head, &mut page.missed, page.more),
        _ => return,
    };
    // What is still to be read will bring it.
    if more {
        return;
    }
    for event in since {
        if let (Some((_, head)), Some(seq)) = (head.log.as_mut(), event.seq) {
            *head = seq;
        }
        if let Some(missed) = missed {
            missed.push(event);
        }
    }
}
