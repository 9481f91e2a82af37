//! What shards send each other.
//!
//! A shard's mailbox needs no bound of its own: a connection has at most one request under way, so what is in a mailbox
//! is bounded by the connections there are and the rooms each may be live in; the disk reads one room at a time; the link to
//! Redis bounds its calls and the messages that are held by anybody; a plugin may have verdicts forgotten
//! only a few times in a call; and the server API bounds what it has under way.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::appear::PresencePush;
use super::receipts::ReceiptPush;
use super::rights::Purpose;
use super::{Call, Nap, Survey, Ticket};
use crate::ids::{ConnectionKey, RoomId, ShardId, UserId};
use crate::message::Timestamp;
use crate::policy::{Action, AuthError, Decision, Identity, Prolonged, Revoked};
use crate::store::{Answer, Done, MembershipChange, Op, Reading, RemoteNews, Revocation, RevokedTokens, owner_of};
use crate::wire::Frame;

/// One thing that a shard tells another.
#[derive(Debug)]
pub enum Mail {
    /// An operation that the receiver owns.
    Op {
        /// The operation.
        op: Op,
        /// Where its answer goes.
        ticket: Option<Ticket>,
        /// Whether the asking connection does not want the push it causes.
        no_echo: bool,
        /// Which shard asks.
        from: ShardId,
    },
    /// The answer to an operation that the receiver asked for.
    Answer {
        /// For whom.
        ticket: Ticket,
        /// The answer.
        answer: Answer,
    },
    /// A push for the receiver's live members of a room.
    Push {
        /// Which room.
        room: RoomId,
        /// The push.
        frame: Arc<Frame>,
        /// The receiver's connection that does not want it.
        except: Option<ConnectionKey>,
    },
    /// Which of these rooms of the receiver's are so small that their members are told of each other's presence?
    AskAudience {
        /// For whose sake.
        user: UserId,
        /// Which rooms.
        rooms: Vec<RoomId>,
        /// Which shard asks.
        from: ShardId,
    },
    /// A revocation is to outlive the process. Whether it will is answered.
    Revocation(Box<Revocation>, oneshot::Sender<bool>),
    /// These are.
    Audience {
        /// For whose sake.
        user: UserId,
        /// Which rooms.
        rooms: Vec<RoomId>,
    },
    /// How available someone is: for those of the receiver's connections that are to know.
    Presence(Arc<PresencePush>),
    /// A user's cursor grew: for those of the receiver's connections that are to know.
    Receipt(Arc<ReceiptPush>),
    /// The disk is done with something that the receiver's store changed.
    Stored(Done),
    /// The disk has read a room of the receiver's, or cannot.
    Read(Box<Reading>),
    /// Redis, or the way there, tells the receiver something.
    Store(Box<RemoteNews>),
    /// A membership that began or ended.
    Change(MembershipChange),
    /// What the auth chain says of rights that a connection of the receiver's asked for.
    Judged(Box<Judgement>),
    /// What the auth chain says of who a connection of the receiver's is.
    Identified {
        /// Which connection.
        key: ConnectionKey,
        /// Who it is, or why it is nobody.
        result: Box<Result<Identity, AuthError>>,
    },
    /// Answers about a user's rights are to be forgotten; everybody's, if the name is empty.
    Forget(Box<str>),
    /// A request of one of the application's own servers.
    Call(Box<Call>),
    /// What one of the application's own servers wants of a whole shard.
    Survey(Box<Survey>),
}

/// Answers of the auth chain.
#[derive(Debug)]
pub struct Judgement {
    pub(super) key: ConnectionKey,
    pub(super) purpose: Purpose,
    /// Which of the connection's tokens they are about.
    pub(super) renewals: u32,
    /// The configuration, and how often answers had been forgotten, when it was asked.
    pub(super) generation: u64,
    pub(super) forgets: u64,
    pub(super) decisions: Vec<(Action, RoomId, Decision)>,
}

/// The way to every shard.
#[derive(Clone)]
pub struct Mailboxes(Arc<[Mailbox]>);

/// The way to one shard.
struct Mailbox {
    mail: mpsc::UnboundedSender<Mail>,
    /// What mail puts an end to.
    nap: Arc<Nap>,
}

impl Mailboxes {
    /// Mailboxes for a number of shards, with what comes out of each.
    pub fn new(shards: u16) -> (Self, Vec<mpsc::UnboundedReceiver<Mail>>) {
        #[expect(
            clippy::disallowed_methods,
            reason = "bounded by what may be under way, see the module's documentation"
        )]
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..shards).map(|_| mpsc::unbounded_channel()).unzip();
        let mailbox = |mail| Mailbox { mail, nap: Arc::default() };
        (Self(senders.into_iter().map(mailbox).collect()), receivers)
    }

    /// How many shards there are.
    pub(super) fn count(&self) -> u16 {
        u16::try_from(self.0.len()).unwrap_or(u16::MAX)
    }

    /// All shards but one.
    pub(super) fn others(&self, but: ShardId) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.count()).map(ShardId).filter(move |shard| *shard != but)
    }

    /// Lets every shard forget a user's verdicts, or with an empty name everybody's.
    pub fn forget(&self, user: &str) {
        for shard in (0..self.count()).map(ShardId) {
            self.send(shard, Mail::Forget(user.into()));
        }
    }

    /// Hands a call to the shard that owns a room or a user: from there it has the shortest way.
    pub fn call(&self, owner: &str, call: Call) {
        self.send(owner_of(owner, self.count()), Mail::Call(Box::new(call)));
    }

    /// Has a revocation stored, where anything is. Whether it was follows.
    pub fn keep_revocation(&self, what: Revoked, at: Timestamp, held: Prolonged) -> oneshot::Receiver<bool> {
        let Prolonged { until, before } = held;
        let of = match what {
            Revoked::User(user) => RevokedTokens::User(user),
            Revoked::Token(id) => RevokedTokens::Token(id),
        };
        let (stored, answer) = oneshot::channel();
        self.send(ShardId(0), Mail::Revocation(Box::new(Revocation { of, at, until, before }), stored));
        answer
    }

    /// How a shard rests.
    pub fn nap(&self, shard: ShardId) -> Arc<Nap> {
        self.0.get(usize::from(shard.0)).map(|mailbox| Arc::clone(&mailbox.nap)).unwrap_or_default()
    }

    /// Every shard.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.count()).map(ShardId)
    }

    /// Sends. A shard that has stopped gets nothing any more, which is what stopping means.
    pub fn send(&self, shard: ShardId, mail: Mail) {
        if let Some(mailbox) = self.0.get(usize::from(shard.0)) {
            let _stopped = mailbox.mail.send(mail);
            mailbox.nap.end();
        }
    }
}
