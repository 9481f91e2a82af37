//! Commands to answers, by way of the shards.

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::oneshot;

use super::command::{Act, Command, Cursor, Part};
use crate::ids::{SessionId, ShardId};
use crate::policy::{Full, Revocations, Revoked};
use crate::relay::{Call, CallReply, Mail, Mailboxes, Survey, SurveyReply, Surveyed, Target, wall_clock};
use crate::wire::encode::json;
use crate::wire::{ErrorCode, Refusal};

/// Entries of a listing, as its verb names them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Items {
    Rooms(Vec<Box<RawValue>>),
    Connections(Vec<Box<RawValue>>),
}

/// A page of a listing.
#[derive(Serialize)]
struct Page {
    #[serde(flatten)]
    items: Items,
    /// From where to go on; absent in the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// Carries a command out: the data of its answer, or why there are none.
pub(super) async fn run(mailboxes: &Mailboxes, revocations: &Revocations, command: Command) -> CallReply {
    match command {
        Command::Revoke { what, until, disconnect } => revoke(mailboxes, revocations, what, until, &disconnect).await,
        Command::RevokeSession { session, until, reason } => {
            let Some(token) = token_of(mailboxes, session).await? else {
                return Ok(json(&Connections { connections: 0 }));
            };
            let disconnect = Surveyed::Disconnect { target: Target::Token(token.clone()), reason };
            revoke(mailboxes, revocations, Revoked::Token(token), until, &disconnect).await
        }
        Command::Act(act) => answer(send(mailboxes, act)).await,
        Command::Ask { event, user, data } => {
            let (reply, receiver) = oneshot::channel();
            mailboxes.call(user.clone().as_str(), Call { user, event, data, reply });
            answer(receiver).await
        }
        Command::Broadcast(acts) => broadcast(mailboxes, acts).await,
        Command::Everywhere(asked) => everywhere(mailboxes, &asked).await,
        Command::ConnectionsOf(user) => {
            let mut items = Vec::new();
            for shard in mailboxes.shards() {
                items.extend(page(mailboxes, shard, Surveyed::ConnectionsOf { user: user.clone() }).await?.0);
            }
            Ok(json(&Page { items: Items::Connections(items), cursor: None }))
        }
        Command::Connections(part) => {
            let asked = |from, limit| Surveyed::Connections { from, limit };
            let (items, cursor) = list(mailboxes, part, asked).await?;
            Ok(json(&Page { items: Items::Connections(items), cursor }))
        }
        Command::Rooms(part) => {
            let (items, cursor) = list(mailboxes, part, |from, limit| Surveyed::Rooms { from, limit }).await?;
            Ok(json(&Page { items: Items::Rooms(items), cursor }))
        }
    }
}

fn send(mailboxes: &Mailboxes, act: Act) -> oneshot::Receiver<CallReply> {
    let (reply, answer) = oneshot::channel();
    let Act { event, user, room, data } = act;
    mailboxes.call(room.as_str(), Call { user, event, data, reply });
    answer
}

async fn answer(answer: oneshot::Receiver<CallReply>) -> CallReply {
    answer.await.unwrap_or_else(|_| Err(stopping()))
}

/// A shard that answers no more has stopped.
fn stopping() -> Refusal {
    Refusal::new(ErrorCode::StoreUnavailable, "the server is stopping")
}

/// Everywhere at once: each conversation's order is its own.
async fn broadcast(mailboxes: &Mailboxes, acts: Vec<Act>) -> CallReply {
    #[derive(Serialize)]
    struct Results {
        results: Vec<Box<RawValue>>,
    }
    let mut answers = Vec::with_capacity(acts.len());
    for act in acts {
        let room = act.room.clone();
        answers.push((room, send(mailboxes, act)));
    }
    let mut results = Vec::with_capacity(answers.len());
    for (room, receiver) in answers {
        let outcome = answer(receiver).await;
        results.extend(super::answer::result(&outcome, Some(&room)));
    }
    Ok(json(&Results { results }))
}

/// Takes tokens back, and closes the connections that came with them.
async fn revoke(
    mailboxes: &Mailboxes,
    revocations: &Revocations,
    what: Revoked,
    until: u64,
    disconnect: &Surveyed,
) -> CallReply {
    // First the tokens: whoever is on the way in meanwhile is turned away, or there already to be closed.
    let full = |Full| Refusal::new(ErrorCode::LimitExceeded, "there are as many revocations as are allowed");
    let at = wall_clock();
    let held = revocations.revoke(what.clone(), until, at).map_err(full)?;
    let closed = everywhere(mailboxes, disconnect).await?;
    if mailboxes.keep_revocation(what, at, held).await.unwrap_or(false) {
        Ok(closed)
    } else {
        let message = "the tokens are refused from now on, and until the server stops: that could not be stored";
        Err(Refusal::new(ErrorCode::StoreUnavailable, message))
    }
}

/// The name of the token of a session, if there is such a session.
async fn token_of(mailboxes: &Mailboxes, session: SessionId) -> Result<Option<Box<str>>, Refusal> {
    for shard in mailboxes.shards() {
        let reply = survey(mailboxes, shard, Surveyed::TokenOf { session }).await.map_err(|_| stopping())?;
        if let SurveyReply::Token(Some(token)) = reply {
            let nameless = || Refusal::payload("the session's token has no id (`jti`): revoke its user's tokens");
            return token.map(Some).ok_or_else(nameless);
        }
    }
    Ok(None)
}

/// How many connections were closed or reached.
#[derive(Serialize)]
struct Connections {
    connections: usize,
}

/// Asks every shard at once.
async fn everywhere(mailboxes: &Mailboxes, asked: &Surveyed) -> CallReply {
    let answers: Vec<_> = mailboxes.shards().map(|shard| survey(mailboxes, shard, asked.clone())).collect();
    let mut connections = 0;
    for answer in answers {
        if let SurveyReply::Count(count) = answer.await.map_err(|_| stopping())? {
            connections += count;
        }
    }
    Ok(json(&Connections { connections }))
}

fn survey(mailboxes: &Mailboxes, shard: ShardId, asked: Surveyed) -> oneshot::Receiver<SurveyReply> {
    let (reply, answer) = oneshot::channel();
    mailboxes.send(shard, Mail::Survey(Box::new(Survey { asked, reply })));
    answer
}

async fn page(
    mailboxes: &Mailboxes,
    shard: ShardId,
    asked: Surveyed,
) -> Result<(Vec<Box<RawValue>>, Option<usize>), Refusal> {
    match survey(mailboxes, shard, asked).await.map_err(|_| stopping())? {
        SurveyReply::Page { items, next } => Ok((items, next)),
        SurveyReply::Count(_) | SurveyReply::Token(_) => Ok((Vec::new(), None)),
    }
}

/// A page of a listing: one shard's, then the next one's, until it is full or all have been asked.
async fn list(
    mailboxes: &Mailboxes,
    part: Part,
    asked: impl Fn(usize, usize) -> Surveyed,
) -> Result<(Vec<Box<RawValue>>, Option<String>), Refusal> {
    let (mut items, mut place) = (Vec::new(), part.cursor.place);
    for shard in mailboxes.shards().filter(|shard| shard.0 >= part.cursor.shard) {
        loop {
            if items.len() >= part.limit {
                return Ok((items, Some(Cursor { shard: shard.0, place }.text())));
            }
            let (more, next) = page(mailboxes, shard, asked(place, part.limit - items.len())).await?;
            items.extend(more);
            match next {
                Some(next) => place = next,
                None => break,
            }
        }
        place = 0;
    }
    Ok((items, None))
}

/// Wraps a value that is JSON already.
pub(super) fn raw(data: &impl Serialize) -> Option<Box<RawValue>> {
    to_raw_value(data).ok()
}
