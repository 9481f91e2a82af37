//! What the application's own servers ask of whole shards, beside the verbs: who is connected, which rooms are kept, and
//! a push to, or the end of, somebody's connections.
//!
//! Each shard answers for itself, at once; whoever asks puts the answers together.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::{Peer, Relay, messages};
use crate::ids::{ConnectionId, ConnectionKey, DeviceId, RoomId, SessionId, UserId};
use crate::message::Seq;
use crate::wire::frame::close_frame;
use crate::wire::{CloseCode, encode};

/// Slots of the table of connections that one page looks at, most of which may be empty.
const SLOTS_MAX: usize = 4096;

/// Whose connections are meant.
#[derive(Clone, Debug)]
pub enum Target {
    /// A user's, or those of one of the user's devices.
    User(UserId, Option<DeviceId>),
    /// The one of a session.
    Session(Box<str>),
    /// Those that came with a token of this name last.
    Token(Box<str>),
}

/// What is asked of a shard.
#[derive(Clone, Debug)]
pub enum Surveyed {
    /// Closes connections, and says how many.
    Disconnect {
        /// Which.
        target: Target,
        /// What their clients are told.
        reason: Box<str>,
    },
    /// Pushes an event to connections, and says to how many.
    Notify {
        /// Which.
        target: Target,
        /// The event's name.
        event: Box<str>,
        /// Its data.
        data: Box<RawValue>,
    },
    /// Asks with which token a session's connection came last.
    TokenOf {
        /// Which session.
        session: SessionId,
    },
    /// Lists a user's connections.
    ConnectionsOf {
        /// Whose.
        user: UserId,
    },
    /// Lists connections, from a place on.
    Connections {
        /// From where.
        from: usize,
        /// At most how many.
        limit: usize,
    },
    /// Lists rooms that this shard keeps, from a place on.
    Rooms {
        /// From where.
        from: usize,
        /// At most how many.
        limit: usize,
    },
}

/// What is asked of a shard, and where its answer goes.
#[derive(Debug)]
pub struct Survey {
    /// What.
    pub asked: Surveyed,
    /// Where to. Whoever has stopped waiting for it gets none.
    pub reply: oneshot::Sender<SurveyReply>,
}

/// A shard's answer.
#[derive(Debug)]
pub enum SurveyReply {
    /// How many connections were meant.
    Count(usize),
    /// The name of the token of a session that is here; the token may have none.
    Token(Option<Option<Box<str>>>),
    /// A part of a list.
    Page {
        /// Its entries, as JSON.
        items: Vec<Box<RawValue>>,
        /// From where to go on, if this was not the last part.
        next: Option<usize>,
    },
}

impl Relay {
    /// Answers for this shard.
    pub(super) fn survey(&mut self, survey: Survey) {
        let answer = match survey.asked {
            Surveyed::Disconnect { target, reason } => SurveyReply::Count(self.disconnect(&target, &reason)),
            Surveyed::Notify { target, event, data } => SurveyReply::Count(self.notify(&target, &event, &data)),
            Surveyed::TokenOf { session } => {
                let found = self.peers.keys().find(|(_, peer)| peer.session == session);
                SurveyReply::Token(found.map(|(_, peer)| peer.token_id.clone()))
            }
            Surveyed::ConnectionsOf { user } => {
                let keys = self.users.get(&user).into_iter().flatten();
                let items = keys.filter_map(|key| self.listed_connection(*key, self.peers.get(*key)?)).collect();
                SurveyReply::Page { items, next: None }
            }
            Surveyed::Connections { from, limit } => self.list_connections(from, limit),
            Surveyed::Rooms { from, limit } => {
                let (rooms, next) = self.store.list_rooms(from, limit);
                SurveyReply::Page { items: rooms.iter().filter_map(listed_room).collect(), next }
            }
        };
        let _nobody_waits = survey.reply.send(answer);
    }

    /// The connections that are meant.
    fn targets(&self, target: &Target) -> Vec<ConnectionKey> {
        match target {
            Target::User(user, device) => {
                let is_meant = |key: &ConnectionKey| {
                    device.is_none() || self.peers.get(*key).is_some_and(|peer| peer.device == *device)
                };
                self.users.get(user).into_iter().flatten().copied().filter(is_meant).collect()
            }
            Target::Token(token) => {
                let found = self.peers.keys().filter(|(_, peer)| peer.token_id.as_ref() == Some(token));
                found.map(|(key, _)| key).collect()
            }
            Target::Session(session) => {
                let Some(session) = SessionId::parse(session) else { return Vec::new() };
                let found = self.peers.keys().find(|(_, peer)| peer.session == session);
                found.map(|(key, _)| key).into_iter().collect()
            }
        }
    }

    fn disconnect(&mut self, target: &Target, reason: &str) -> usize {
        let keys = self.targets(target);
        for key in &keys {
            if let Some(peer) = self.peers.get(*key) {
                tracing::info!(conn = %peer.connection, user = %peer.user, "disconnected by the application");
            }
            let frame = close_frame(Some(CloseCode::Forbidden.number()), reason);
            self.hub.close_with(*key, CloseCode::Forbidden, frame);
        }
        keys.len()
    }

    fn notify(&mut self, target: &Target, event: &str, data: &RawValue) -> usize {
        let keys = self.targets(target);
        let frame = encode::reply(event, None, &messages::shared(data));
        for key in &keys {
            self.hub.reply(*key, frame.clone());
        }
        keys.len()
    }

    fn list_connections(&self, from: usize, limit: usize) -> SurveyReply {
        let (peers, next) = self.peers.page(from, SLOTS_MAX);
        let mut items = Vec::new();
        for (slot, key, peer) in peers {
            if items.len() == limit {
                return SurveyReply::Page { items, next: Some(slot) };
            }
            items.extend(self.listed_connection(key, peer));
        }
        SurveyReply::Page { items, next }
    }

    fn listed_connection(&self, key: ConnectionKey, peer: &Peer) -> Option<Box<RawValue>> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Listed<'a> {
            user_id: &'a UserId,
            session_id: &'a SessionId,
            #[serde(skip_serializing_if = "Option::is_none")]
            device_id: Option<&'a DeviceId>,
            connection: Cow<'a, str>,
            rooms: usize,
        }
        raw(&Listed {
            user_id: &peer.user,
            session_id: &peer.session,
            device_id: peer.device.as_ref(),
            connection: ConnectionId::to_string(&peer.connection).into(),
            rooms: self.room_count(key),
        })
    }
}

fn listed_room(room: &crate::store::RoomSummary) -> Option<Box<RawValue>> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Listed<'a> {
        conversation_id: &'a RoomId,
        #[serde(skip_serializing_if = "Option::is_none")]
        epoch: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        seq: Option<Seq>,
        members: usize,
        connections: usize,
    }
    raw(&Listed {
        conversation_id: &room.room,
        epoch: room.head.epoch().map(|epoch| &**epoch),
        seq: room.head.seq(),
        members: room.members,
        connections: room.live,
    })
}

fn raw(value: &impl Serialize) -> Option<Box<RawValue>> {
    serde_json::value::to_raw_value(value).ok()
}
