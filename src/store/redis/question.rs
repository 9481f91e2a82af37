//! What is asked of Redis: from an operation to the call of its script.

use std::sync::Arc;

use super::keys::Keys;
use super::link::{Call, Script};
use super::record;
use super::scripts::{
    ACK, APPEND, ARRIVE, ATTACH, CATCH_UP, DELETE, DETACH, EDIT, HISTORY, INDEX, JOIN, LEAVE, ONLINE, QUEUE_PAGE,
    RECALL, RESERVE, STATUS, TYPING, TYPISTS,
};
use super::told::{Origin, membership_text, source_text};
use super::{Remote, Token};
use crate::ids::{DeviceId, MessageId, RoomId, ShardId, UserId};
use crate::message::{EventKind, Message, Timestamp};
use crate::store::{Class, CursorKind, MembershipChange, Op};
use crate::wire::request::{PageFrom, Since, UpTo};

/// What waits for an answer.
#[allow(clippy::large_enum_variant, reason = "most of them are operations")]
pub(super) enum Question {
    /// An operation.
    Op(Asked),
    /// What was missed of a room.
    CatchUp { room: RoomId },
    /// Nobody of a user's is live in a room on this node.
    Detach { room: RoomId, user: UserId },
    /// What this node says of a user, and which operation made it say so.
    Presence { user: UserId, token: Option<Token> },
    /// Whether somebody is a member again whose room was just taken off the user's list.
    Verify(MembershipChange),
    /// How available some users are.
    PresenceOf(super::users::PresenceAsked),
    /// The node's lease.
    Lease,
    /// What a dead node has left.
    Traces { dead: String, traces: super::keeper::Traces },
    /// Who is live in a room here.
    Live { room: RoomId },
    /// Nobody need know.
    Nothing,
}

/// An operation that waits for an answer.
pub(super) struct Asked {
    pub(super) op: Op,
    pub(super) from: ShardId,
    /// Whether it is for one of the application's own servers.
    pub(super) is_server: bool,
    /// How often it was asked before.
    pub(super) tries: u8,
    /// When it was asked.
    pub(super) at: Timestamp,
    /// The event that it causes, if that is known before.
    pub(super) event: Option<EventKind>,
    /// Whether the event was handed out already. Only where there is no log.
    pub(super) told: bool,
}

impl Asked {
    pub(super) fn new(op: Op, from: ShardId, is_server: bool, at: Timestamp) -> Self {
        Self { op, from, is_server, tries: 0, at, event: None, told: false }
    }

    /// The room and the user of a connection that becomes live by it.
    pub(super) fn enters(&self) -> Option<(&RoomId, &UserId)> {
        match &self.op {
            Op::Join { room, user, .. } if !self.is_server => Some((room, user)),
            Op::Attach { room, user, live: true, .. } => Some((room, user)),
            _ => None,
        }
    }

    /// Whether the asking connection takes part in what follows the answer.
    pub(super) fn positions(&self) -> bool {
        self.enters().is_some() || matches!(self.op, Op::QueuePage { .. })
    }
}

fn flag(is: bool) -> String {
    if is { "1" } else { "0" }.to_owned()
}

fn device_text(device: Option<&DeviceId>) -> String {
    device.map_or_else(String::new, |device| device.as_str().to_owned())
}

impl Remote {
    fn class_of(&self, room: &RoomId) -> &Arc<Class> {
        self.classes.of(room.as_str())
    }

    /// For how long a room is kept in which nobody is.
    fn idle_ms(&self, room: &RoomId) -> String {
        const MONTH_MS: u64 = 30 * 24 * 3600 * 1000;
        let age_ms_max = self.class_of(room).age_ms_max;
        if age_ms_max == 0 { MONTH_MS } else { age_ms_max }.to_string()
    }

    /// A script of a room.
    pub(super) fn room_call(
        &mut self,
        (script, room): (&'static Script, &RoomId),
        (token, now): (Token, Timestamp),
        keys: Vec<String>,
        arguments: Vec<String>,
    ) -> Call {
        let class = Arc::clone(self.class_of(room));
        let mut all = self.keys.room(room);
        all.extend(keys);
        let mut header = vec![
            self.keys.channel(room),
            self.settings.publish.to_owned(),
            Origin::text(&self.node, self.shard, token),
            now.to_string(),
            self.ids.epoch().to_string(),
            class.events_max.to_string(),
            class.age_ms_max.to_string(),
            class.bytes_max.to_string(),
        ];
        header.extend(arguments);
        Call::script(script, all, header)
    }

    /// The arguments of `enter`.
    fn entering(
        &self,
        (user, device): (&UserId, Option<&DeviceId>),
        is_live: bool,
        since: Option<&Since>,
        resume: Option<usize>,
    ) -> Vec<String> {
        let limits = &self.limits;
        let mut arguments = vec![
            user.to_string(),
            device_text(device),
            if is_live { self.node.to_string() } else { String::new() },
            limits.devices_per_user_max.to_string(),
            limits.recover_events_max.to_string(),
            limits.recover_bytes_max.to_string(),
        ];
        arguments.extend(match (since, resume) {
            (Some(since), _) => {
                // No message has an empty id, which would say that none is meant.
                let id = since.message_id.clone().map(|id| if id.is_empty() { record::SEPARATOR.into() } else { id });
                let id = id.unwrap_or_default();
                ["since".to_owned(), since.epoch.clone(), since.seq.to_string(), id]
            }
            (None, Some(bytes_max)) => ["resume".to_owned(), bytes_max.to_string(), String::new(), String::new()],
            (None, None) => Default::default(),
        });
        arguments
    }

    /// The call that an operation becomes. `None` for those that become none.
    pub(super) fn call_of(&mut self, asked: &mut Asked, token: Token, now: Timestamp) -> Option<Call> {
        let is_server = asked.is_server;
        let call = match &asked.op {
            Op::Join { .. } | Op::Attach { .. } | Op::Leave { .. } => return self.membership_call(asked, token, now),
            Op::Append { .. } | Op::Recall { .. } | Op::Edit { .. } | Op::Delete { .. } => {
                return self.message_call(asked, token, now);
            }
            Op::IsMember { room, user } | Op::Unreserve { room, user } => self.membership_question(room, user),
            Op::QueuePage { room, user, membership, after } => {
                let (events_max, bytes_max) = (self.limits.recover_events_max, self.limits.recover_bytes_max);
                let numbers = [*membership, *after].map(|number| number.to_string());
                let mut arguments = vec![user.to_string()];
                arguments.extend(numbers);
                arguments.extend([events_max, bytes_max].map(|number| number.to_string()));
                let room = room.clone();
                self.room_call((&QUEUE_PAGE, &room), (token, now), Vec::new(), arguments)
            }
            Op::History { room, user, page } => {
                let (from, seq) = match page.from {
                    PageFrom::Newest => ("newest", 0),
                    PageFrom::Before(seq) => ("before", seq),
                    PageFrom::After(seq) => ("after", seq),
                };
                let mut arguments = vec![user.to_string(), flag(is_server), from.to_owned(), seq.to_string()];
                arguments.extend([page.limit, self.limits.recover_bytes_max].map(|number| number.to_string()));
                let room = room.clone();
                self.room_call((&HISTORY, &room), (token, now), Vec::new(), arguments)
            }
            Op::OnlineUsers { room, user } => {
                let users_max = self.limits.online_users_max.saturating_add(1).to_string();
                let (room, arguments) = (room.clone(), vec![user.to_string(), flag(is_server), users_max]);
                self.room_call((&ONLINE, &room), (token, now), Vec::new(), arguments)
            }
            Op::Ack { room, user, device, up_to, kind, .. } => {
                let kind = if *kind == CursorKind::Seen { "seen" } else { "delivered" };
                let limits = &self.limits;
                let mut arguments = vec![user.to_string(), device_text(device.as_ref()), kind.to_owned()];
                arguments.extend([limits.devices_per_user_max.to_string(), limits.receipt_members_max.to_string()]);
                match up_to {
                    UpTo::Seq(seq) => arguments.extend(["seq".to_owned(), seq.to_string()]),
                    UpTo::Messages(ids) => {
                        arguments.push("messages".to_owned());
                        arguments.extend(ids.iter().map(MessageId::to_string));
                    }
                }
                let room = room.clone();
                self.room_call((&ACK, &room), (token, now), Vec::new(), arguments)
            }
            Op::Status { room, user, message_id, .. } => {
                let arguments = vec![user.to_string(), flag(is_server), message_id.to_string()];
                let room = room.clone();
                self.room_call((&STATUS, &room), (token, now), Vec::new(), arguments)
            }
            Op::StartTyping { .. } | Op::StopTyping { .. } | Op::TypingUsers { .. } => {
                return Some(self.typing_call(asked, token, now));
            }
            Op::Reserve { .. } | Op::RoomsOf { .. } | Op::Arrive { .. } | Op::Index(_) => return self.user_call(asked),
            Op::Detach { .. }
            | Op::Depart { .. }
            | Op::SetPresence { .. }
            | Op::PresenceOf { .. }
            | Op::OfServer(_) => {
                return None;
            }
        };
        Some(call)
    }

    /// Whether a user is a member of a room.
    pub(super) fn membership_question(&self, room: &RoomId, user: &UserId) -> Call {
        let members = self.keys.members(room);
        let lane = self.keys.room(room).into_iter().next().unwrap_or_default();
        Call::command("HEXISTS", [members.as_str(), user.as_str()]).at(&members).on(lane)
    }

    fn membership_call(&mut self, asked: &mut Asked, token: Token, now: Timestamp) -> Option<Call> {
        let is_server = asked.is_server;
        match &asked.op {
            Op::Join { room, user, device, since } => {
                let joined = EventKind::MemberJoined { user: user.clone(), at: now };
                let mut arguments = self.entering((user, device.as_ref()), !is_server, since.as_ref(), None);
                arguments.extend([
                    flag(is_server || self.class_of(room).open),
                    self.limits.members_per_room_max.to_string(),
                    self.limits.member_events_max.to_string(),
                    record::encode(&joined),
                ]);
                let room = room.clone();
                asked.event = Some(joined);
                Some(self.room_call((&JOIN, &room), (token, now), Vec::new(), arguments))
            }
            Op::Attach { room, user, device, since, resume, live } => {
                let arguments = self.entering((user, device.as_ref()), *live, since.as_ref(), *resume);
                let room = room.clone();
                Some(self.room_call((&ATTACH, &room), (token, now), Vec::new(), arguments))
            }
            Op::Leave { room, user } => {
                let left = EventKind::MemberLeft { user: user.clone(), at: now };
                let member_events_max = self.limits.member_events_max.to_string();
                let idle_ms = self.idle_ms(room);
                let arguments = vec![user.to_string(), member_events_max, record::encode(&left), idle_ms];
                let room = room.clone();
                asked.event = Some(left);
                Some(self.room_call((&LEAVE, &room), (token, now), Vec::new(), arguments))
            }
            _ => None,
        }
    }

    fn message_call(&mut self, asked: &mut Asked, token: Token, now: Timestamp) -> Option<Call> {
        let is_server = asked.is_server;
        match &asked.op {
            Op::Append { room, user, draft } => {
                let message = Message {
                    message_id: self.ids.message(),
                    user: user.clone(),
                    device: draft.device.clone(),
                    temp_id: draft.temp_id.clone(),
                    message_type: Arc::clone(&draft.message_type),
                    content: Some(Arc::clone(&draft.content)),
                    reply_to: draft.reply_to.clone(),
                    version: 1,
                    sent_at: now,
                    edited_at: None,
                    deleted_at: None,
                };
                let sent = self.keys.dedup(room, user, draft.temp_id.as_deref().unwrap_or_default());
                let mut arguments = vec![user.to_string(), flag(is_server), device_text(draft.device.as_ref())];
                arguments.extend([message.message_id.to_string(), now.to_string()]);
                let (has_temp_id, idle_ms) = (flag(draft.temp_id.is_some()), self.idle_ms(room));
                let event = EventKind::MessageNew(Box::new(message));
                arguments.extend([
                    record::encode(&event),
                    has_temp_id,
                    self.limits.dedup_ms.max(1).to_string(),
                    idle_ms,
                ]);
                let room = room.clone();
                asked.event = Some(event);
                Some(self.room_call((&APPEND, &room), (token, now), vec![sent], arguments))
            }
            Op::Recall { room, user, temp_id } => {
                let (room, sent) = (room.clone(), self.keys.dedup(room, user, temp_id));
                Some(self.room_call((&RECALL, &room), (token, now), vec![sent], Vec::new()))
            }
            Op::Edit { room, user, revision, any_author } => {
                let mut arguments = vec![user.to_string(), flag(is_server), flag(*any_author)];
                arguments.extend([revision.message_id.to_string(), revision.content.get().to_owned()]);
                arguments.push(revision.if_version.map_or_else(String::new, |version| version.to_string()));
                let room = room.clone();
                Some(self.room_call((&EDIT, &room), (token, now), Vec::new(), arguments))
            }
            Op::Delete { room, user, message_id, any_author } => {
                let (message_id, user) = (message_id.clone(), user.clone());
                let mut arguments = vec![user.to_string(), flag(is_server), flag(*any_author), message_id.to_string()];
                let event = EventKind::MessageDeleted { message_id, user, deleted_at: now };
                arguments.push(record::encode(&event));
                let room = room.clone();
                asked.event = Some(event);
                Some(self.room_call((&DELETE, &room), (token, now), Vec::new(), arguments))
            }
            _ => None,
        }
    }

    fn typing_call(&mut self, asked: &Asked, token: Token, now: Timestamp) -> Call {
        let (room, user) = match &asked.op {
            Op::StartTyping { room, user, .. } | Op::StopTyping { room, user, .. } | Op::TypingUsers { room, user } => {
                (room.clone(), user.clone())
            }
            _ => return Call::command("PING", [""; 0]),
        };
        let typists = self.keys.typists(&room);
        let (connection, is_typing, stop_ms) = match &asked.op {
            Op::StartTyping { connection, stop_ms, .. } => (connection, true, *stop_ms),
            Op::StopTyping { connection, .. } => (connection, false, 0),
            _ => return self.room_call((&TYPISTS, &room), (token, now), vec![typists], vec![user.to_string()]),
        };
        let entry = serde_json::json!({
            "userId": user, "conversationId": room, "isTyping": true, "lastTypingAt": now,
        });
        let source = source_text(&self.node, (asked.from, *connection));
        let arguments = vec![user.to_string(), source, flag(is_typing), stop_ms.to_string(), entry.to_string()];
        let keys = vec![typists, self.keys.typing(&room, &user)];
        self.room_call((&TYPING, &room), (token, now), keys, arguments)
    }

    fn user_call(&mut self, asked: &Asked) -> Option<Call> {
        let keys: &Keys = &self.keys;
        let call = match &asked.op {
            Op::Reserve { user, room } => {
                let rooms_max = self.limits.rooms_per_user_max.to_string();
                Call::script(&RESERVE, [keys.rooms_of(user)], [room.as_str(), &rooms_max]).on(keys.nodes_of(user))
            }
            Op::RoomsOf { user } => {
                Call::command("SMEMBERS", [keys.rooms_of(user)]).at(keys.rooms_of(user)).on(keys.nodes_of(user))
            }
            Op::Arrive { user, connection, .. } => {
                let socket = source_text(&self.node, (asked.from, *connection));
                let connections_max = self.limits.connections_per_user_max.to_string();
                let all = [keys.nodes_of(user), keys.rooms_of(user), keys.sockets_of(user)];
                Call::script(&ARRIVE, all, [&*self.node, &socket, &connections_max])
            }
            Op::Index(change) => {
                let is_told = !change.quiet && !self.settings.is_cluster;
                let text = if is_told { membership_text(&self.node, change) } else { String::new() };
                let arguments = [change.room.to_string(), flag(change.joined), keys.bus(), text];
                Call::script(&INDEX, [keys.rooms_of(&change.user)], arguments).on(keys.nodes_of(&change.user))
            }
            _ => return None,
        };
        Some(call)
    }

    /// Asks what was missed of a room after a place.
    pub(super) fn catch_up_call(
        &mut self,
        room: &RoomId,
        place: &super::feed::Place,
        token: Token,
        now: Timestamp,
    ) -> Call {
        /// Events in one answer.
        const PAGE_EVENTS_MAX: usize = 500;
        let arguments = vec![place.0.to_string(), place.1.to_string(), PAGE_EVENTS_MAX.to_string()];
        self.room_call((&CATCH_UP, room), (token, now), Vec::new(), arguments)
    }

    /// Says that nobody of a user's is live in a room on this node.
    pub(super) fn detach_call(&mut self, room: &RoomId, user: &UserId, token: Token, now: Timestamp) -> Call {
        let arguments = vec![user.to_string(), self.node.to_string()];
        self.room_call((&DETACH, room), (token, now), Vec::new(), arguments)
    }
}
