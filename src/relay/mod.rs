//! The verbs: what happens when someone asks for something. Read this folder to know the product.
//!
//! One relay belongs to one shard and is called by that shard alone. A verb checks, asks the plugins, submits an
//! operation to the store and remembers what it is waiting for; when the answer comes, at once or later, from this shard
//! or another, the verb's second half replies. Nothing here waits, so nothing here is `async`. A connection has at most
//! one request under way, which keeps its requests in order and bounds everything that is on its way between shards.
//!
//! The relay must not know sockets, handshakes or WebSocket frames: it hands finished frames to the hub.

mod appear;
mod asked;
mod attach;
mod call;
mod commit;
mod depart;
mod errand;
mod join;
mod mail;
mod messages;
mod nap;
mod outcome;
mod peer;
mod presence;
mod queue;
mod read;
mod receipts;
mod report;
mod rights;
mod settings;
mod survey;
mod typing;
mod warm;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use smallvec::SmallVec;

use appear::Appearances;
pub use asked::Asked;
pub use attach::Arrival;
use call::Calls;
pub use call::{Call, CallReply};
use commit::{Asker, Commits};
use errand::Errand;
pub use errand::Ticket;
pub use mail::{Mail, Mailboxes};
pub use nap::Nap;
use peer::{Peer, Peers, Pending, Waiting};
use presence::Subscriptions;
use receipts::Receipts;
use report::Reported;
pub use settings::Settings;
pub use survey::{Survey, SurveyReply, Surveyed, Target};
use warm::Warming;

use crate::hub::{self, Hub};
use crate::ids::{ConnectionId, ConnectionKey, IdSource, RoomId, ShardId, UserId};
use crate::message::Timestamp;
use crate::metrics::Metrics;
use crate::policy::{Action, Auth, Chain, NotAllowed, Who};
use crate::store::{Answer, Engine, Journal, MembershipChange, Op, Reader, Token};
use crate::wire::encode;
use crate::wire::request::Request;
use crate::wire::{ErrorCode, Refusal};

/// One shard's verbs, with everything they act on.
pub struct Relay {
    shard: ShardId,
    settings: Arc<Settings>,
    /// Who is live here.
    pub hub: Hub,
    store: Engine,
    /// Whose operations are on their way to Redis.
    under_way: HashMap<Token, Asker>,
    chain: Chain,
    auth: Arc<Auth>,
    /// What the auth chain has just said, while the request goes on that asked for it.
    judged: HashMap<(Action, RoomId), Result<(), NotAllowed>>,
    /// How often verdicts were forgotten.
    forgets: u64,
    commits: Commits,
    warming: Warming,
    mailboxes: Mailboxes,
    metrics: Arc<Metrics>,
    ids: IdSource,
    peers: Peers,
    /// Requests of the application's own servers that are under way.
    calls: Calls,
    /// Each user's connections on this shard.
    users: HashMap<UserId, SmallVec<[ConnectionKey; 1]>>,
    receipts: Receipts,
    subscriptions: Subscriptions,
    appearances: Appearances,
    /// What was last told to the metrics.
    reported: Reported,
}

/// The parts of a relay that are made elsewhere.
pub struct Parts {
    /// Which shard it is for.
    pub shard: ShardId,
    /// From the configuration.
    pub settings: Arc<Settings>,
    /// Bounds on delivery.
    pub hub: hub::Limits,
    /// This shard's part of the store.
    pub store: Engine,
    /// The way to the disk, if what the store keeps is to be kept there.
    pub journal: Option<Journal>,
    /// The way back from it.
    pub reader: Option<Reader>,
    /// This shard's message filters.
    pub chain: Chain,
    /// The auth chain.
    pub auth: Arc<Auth>,
    /// The way to the other shards.
    pub mailboxes: Mailboxes,
    /// Where things are counted.
    pub metrics: Arc<Metrics>,
}

/// What a new configuration changes.
pub struct Reload {
    /// From the configuration.
    pub settings: Arc<Settings>,
    /// Bounds on delivery.
    pub hub: hub::Limits,
    /// This shard's message filters.
    pub chain: Chain,
    /// The auth chain.
    pub auth: Arc<Auth>,
}

/// The time, as the protocol tells it.
pub fn wall_clock() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::try_from(since_epoch.as_millis()).unwrap_or(Timestamp::MAX)
}

impl Relay {
    /// A relay without connections.
    pub fn new(parts: Parts) -> Self {
        Self {
            shard: parts.shard,
            settings: parts.settings,
            hub: Hub::new(parts.hub, parts.metrics.delivery.latency.clone()),
            store: parts.store,
            under_way: HashMap::new(),
            chain: parts.chain,
            auth: parts.auth,
            judged: HashMap::new(),
            forgets: 0,
            commits: Commits::new(parts.journal),
            warming: Warming::new(parts.reader),
            mailboxes: parts.mailboxes,
            metrics: parts.metrics,
            ids: IdSource::default(),
            peers: Peers::default(),
            calls: Calls::default(),
            users: HashMap::new(),
            receipts: Receipts::default(),
            subscriptions: Subscriptions::default(),
            appearances: Appearances::default(),
            reported: Reported::default(),
        }
    }

    /// Who a connection belongs to, once it is authenticated.
    pub fn user(&self, key: ConnectionKey) -> Option<&UserId> {
        self.peers.get(key).map(|peer| &peer.user)
    }

    /// Whether a connection's request is still under way. Its next one has to wait.
    pub fn is_waiting(&self, key: ConnectionKey) -> bool {
        self.peers.get(key).is_some_and(|peer| peer.pending.is_some())
    }

    /// Carries out an authenticated connection's request.
    pub fn request(&mut self, asked: Asked, request: Request<'_>) {
        match request {
            // The session answers these two itself: they need no room.
            Request::Auth(_) | Request::Heartbeat => {}
            Request::Join { room, since } => self.join(asked, room, since),
            Request::Leave { room } => self.leave(asked, room),
            Request::OnlineUsers { room } => self.online_users(asked, room),
            Request::StartTyping { room } => self.start_typing(asked, room),
            Request::StopTyping { room } => self.stop_typing(asked, room),
            Request::TypingUsers { room } => self.typing_users(asked, room),
            Request::History { room, page } => self.history(asked, room, page),
            Request::Send(send) => self.send(asked, send),
            Request::Edit(edit) => self.edit(asked, edit),
            Request::Delete { room, message_id } => self.delete(asked, room, message_id),
            Request::SetPresence(availability) => self.set_presence(asked, availability),
            Request::Presence { users } => self.ask_presence(asked, users),
            Request::Subscribe { users } => self.subscribe(asked, users),
            Request::Unsubscribe { users } => self.unsubscribe(&asked, &users),
            Request::Ack(ack) => self.ack(asked, ack),
            Request::Status(question) => self.message_status(asked, question),
        }
    }

    /// Tells a client that it does not get what it asked for.
    pub fn refuse(&mut self, asked: &Asked, room: Option<&RoomId>, refusal: &Refusal) {
        self.metrics.errors.count(refusal.code.name());
        let peer = self.peers.get(asked.key);
        macro_rules! log {
            ($level:ident) => {
                tracing::$level!(
                    conn = peer.map(|peer| tracing::field::display(peer.connection)),
                    user = peer.map(|peer| tracing::field::display(&peer.user)),
                    room = room.map(tracing::field::display),
                    event = asked.event,
                    code = refusal.code.name(),
                    reason = refusal.reason.as_deref(),
                    plugin = refusal.plugin.as_deref(),
                    "refused"
                )
            };
        }
        // What a client can cause without end is not written by default.
        match refusal.code {
            ErrorCode::RateLimited | ErrorCode::InvalidFrame => log!(debug),
            _ => log!(info),
        }
        if asked.key.is_call() {
            self.answer_call(asked.key, Err(refusal.clone()));
            return;
        }
        self.hub.reply(asked.key, encode::refusal(refusal, asked.id.as_deref(), Some(asked.name())));
    }

    /// A reply that is sent whether or not the request had an `id`.
    fn reply(&mut self, asked: &Asked, event: &str, data: &impl Serialize) {
        if asked.key.is_call() {
            self.answer_call(asked.key, Ok(encode::json(data)));
            return;
        }
        self.hub.reply(asked.key, encode::reply(event, asked.id.as_deref(), data));
    }

    /// `ok`, which only a request with an `id` gets, and a call.
    fn ok(&mut self, asked: &Asked, data: &impl Serialize) {
        if asked.id.is_some() || asked.key.is_call() {
            self.reply(asked, "ok", data);
        }
    }

    /// Remembers what a connection waits for, and submits the operation that will answer it.
    fn ask(&mut self, asked: Asked, waiting: Waiting, op: Op) {
        self.ask_except(asked, waiting, op, false);
    }

    /// As [`Relay::ask`]; with `no_echo` the event it causes is not pushed to the asking connection.
    fn ask_except(&mut self, asked: Asked, waiting: Waiting, op: Op, no_echo: bool) {
        let Some(peer) = self.peers.get_mut(asked.key) else { return };
        let errand = match &op {
            Op::Reserve { room, .. } => Errand::Reserve { room: room.clone() },
            _ => Errand::Request,
        };
        let ticket = Ticket { shard: self.shard, key: asked.key, errand };
        peer.pending = Some(Box::new(Pending { asked, waiting }));
        peer.outstanding += 1;
        let op = if ticket.key.is_call() { Op::OfServer(Box::new(op)) } else { op };
        self.submit(op, Some(ticket), no_echo);
    }

    /// Takes what another shard sent.
    pub fn receive(&mut self, mail: Mail) {
        match mail {
            Mail::Op { op, ticket, no_echo, from } => {
                // An operation may come back to the shard that asked, as the second half of another.
                let ours = ticket.as_ref().filter(|ticket| ticket.shard == self.shard).map(|ticket| ticket.key);
                self.execute(op, ticket, no_echo, from);
                ours.into_iter().for_each(|key| self.wake_unless_waiting(key));
            }
            Mail::Answer { ticket, answer } => {
                let key = ticket.key;
                self.answered(ticket, answer);
                self.wake_unless_waiting(key);
            }
            Mail::Push { room, frame, except } => self.deliver(&room, frame, except),
            Mail::AskAudience { user, rooms, from } => self.audience_asked(user, rooms, from),
            Mail::Audience { user, rooms } => self.audience_known(&user, rooms),
            Mail::Presence(push) => self.push_presence(&push),
            Mail::Receipt(receipt) => self.receipt(&receipt),
            Mail::Stored(done) => self.committed(done),
            Mail::Read(reading) => self.warmed(*reading),
            Mail::Store(news) => self.store_tells(*news),
            Mail::Change(change) => self.membership_changed(&change),
            Mail::Judged(judgement) => {
                let key = judgement.key;
                self.judged(*judgement);
                self.wake_unless_waiting(key);
            }
            Mail::Forget(user) => self.forget_verdicts(&user),
            Mail::Revocation(revocation, stored) => self.commits.revoke(*revocation, stored),
            Mail::Call(call) => self.call(*call),
            Mail::Survey(survey) => self.survey(*survey),
            // The session takes these out: who someone is, is not for a verb to know.
            Mail::Identified { .. } => {}
        }
    }

    /// Lets a connection's task go on, if its request is done. An answer that comes at once finds the task at work; one
    /// that came by mail has to wake it.
    fn wake_unless_waiting(&mut self, key: ConnectionKey) {
        if !self.is_waiting(key)
            && let Some(connection) = self.hub.connection(key)
        {
            connection.wake();
        }
    }

    /// The way back to this shard, for whoever is asked something outside it.
    pub fn address(&self) -> (Mailboxes, ShardId) {
        (self.mailboxes.clone(), self.shard)
    }

    /// The auth chain.
    pub fn auth(&self) -> &Arc<Auth> {
        &self.auth
    }

    /// What plugins are told of a connection.
    pub fn who(&self, key: ConnectionKey) -> Option<Who> {
        let peer = self.peers.get(key)?;
        Some(Who { connection: peer.connection, user: peer.user.clone(), attributes: Arc::clone(&peer.attributes) })
    }

    /// From here on another configuration is in force. Verdicts of the old one no longer hold.
    pub fn reload(&mut self, reload: Reload) {
        self.settings = reload.settings;
        self.hub.set_limits(reload.hub);
        self.chain = reload.chain;
        self.auth = reload.auth;
    }

    /// The second half of whatever was asked for.
    fn answered(&mut self, ticket: Ticket, answer: Answer) {
        let key = ticket.key;
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.outstanding -= 1;
        if peer.gone {
            self.answered_too_late(&ticket, &answer);
            return;
        }
        match ticket.errand {
            Errand::Request | Errand::Reserve { .. } => {
                let Some(pending) = peer.pending.take() else { return };
                let Pending { asked, waiting } = *pending;
                self.finish(asked, waiting, answer);
            }
            Errand::Presence => self.presence_read(key, answer),
            Errand::Attach { index } => self.attached(key, index, answer),
            Errand::Follow { room } => self.followed(key, &room, answer),
            Errand::QueuePage { room, membership } => self.page_read(key, &room, membership, answer),
        }
    }

    /// Which second half belongs to which first.
    fn finish(&mut self, asked: Asked, waiting: Waiting, answer: Answer) {
        match waiting {
            Waiting::Arrive(arrival) => self.arrived(asked, *arrival, answer),
            Waiting::Reserve { room, since } => self.reserved(asked, room, since, answer),
            Waiting::Join { room, asked_since } => self.joined(&asked, (&room, asked_since), answer),
            Waiting::Leave { room } => self.left(&asked, &room, &answer),
            Waiting::Membership(attempt) => self.membership_known(asked, *attempt, &answer),
            Waiting::Recall(stopped) => self.recalled(&asked, &stopped, answer),
            Waiting::Append { room, temp_id, no_echo } => {
                if no_echo {
                    self.not_echoed(asked.key, &room, &answer);
                }
                self.appended(&asked, &room, temp_id.as_deref(), answer);
            }
            Waiting::Edit(editing) => self.edited(asked, editing, &answer),
            Waiting::Delete(deleting) => self.deleted(asked, deleting, &answer),
            Waiting::History { room } => self.messages_read(&asked, &room, answer),
            Waiting::OnlineUsers { room } => self.online_users_read(&asked, &room, answer),
            Waiting::Ack { room } => self.acknowledged(&asked, &room, &answer),
            Waiting::Status { room, message_id } => self.message_status_read(&asked, &room, &message_id, answer),
            Waiting::Typing { room } => self.typed(&asked, &room, &answer),
            Waiting::TypingUsers { room } => self.typing_users_read(&asked, &room, answer),
            Waiting::SetPresence => self.presence_set(&asked),
            Waiting::Attach(_) | Waiting::Presence(_) | Waiting::Rights(_) => {}
        }
    }

    /// What the store says that no verb has a better answer to.
    fn refuse_answer(&mut self, asked: &Asked, room: &RoomId, answer: &Answer) {
        let refusal = match answer {
            Answer::NotAMember => Refusal::not_a_member(),
            Answer::MessageNotFound => Refusal::new(ErrorCode::MessageNotFound, "there is no such message"),
            Answer::Forbidden => Refusal::new(ErrorCode::Forbidden, "only its author may change a message"),
            Answer::EditConflict { version } => Refusal {
                version: Some(*version),
                ..Refusal::new(ErrorCode::EditConflict, format!("the message is at version {version}"))
            },
            Answer::JoinRefused(_) => {
                Refusal::new(ErrorCode::LimitExceeded, "there are as many conversations as are allowed")
            }
            _ => Refusal::new(ErrorCode::StoreUnavailable, "the store did not answer the question"),
        };
        self.refuse(asked, Some(room), &refusal);
    }

    /// A membership began or ended somewhere: the user's other connections here follow.
    fn membership_changed(&mut self, change: &MembershipChange) {
        for key in self.users.get(&change.user).cloned().unwrap_or_default() {
            if change.joined {
                self.follow(key, change);
            } else {
                // It may type without being live, so this does not depend on what follows.
                self.end_typing(key, &change.room);
                self.drop_membership(key, change);
            }
        }
    }

    /// Looks after what changes with time alone. To be called now and then.
    pub fn sweep(&mut self) {
        self.hub.sweep(Instant::now());
        let concluded = self.store.sweep(wall_clock());
        self.conclude_all(concluded);
        for typing in self.store.typing_over(wall_clock()) {
            self.publish_typing(&typing);
        }
        self.sweep_appearances();
        self.write_what_gave_room();
        self.read_wanted();
        self.cool();
        self.report();
    }

    /// The server stops: what was not stored yet is handed to the disk.
    pub fn close(&mut self) {
        self.store.note_all_unsaved();
        self.write_what_gave_room();
        self.report();
    }

    fn connection_id(&self, key: ConnectionKey) -> ConnectionId {
        self.peers.get(key).map_or(ConnectionId(0), |peer| peer.connection)
    }
}
