//! `join-room` and `leave-room`.

use serde::Serialize;

use super::attach::standing;
use super::rights::{Right, Then};
use super::{Asked, Relay, Waiting};
use crate::ids::RoomId;
use crate::policy::Action;
use crate::store::{Answer, JoinRefusal, Op};
use crate::wire::Refusal;
use crate::wire::encode::{self, Origin, RoomHead, RoomJoined};
use crate::wire::request::Since;

impl Relay {
    pub(super) fn join(&mut self, asked: Asked, room: RoomId, since: Option<Since>) {
        let Some(user) = self.user(asked.key).cloned() else { return };
        let rooms_max = self.settings.rooms_per_connection_max;
        if rooms_max != 0 && self.room_count(asked.key) >= rooms_max && !self.is_in(asked.key, &room) {
            let refusal = Refusal::join("limit", "this connection is live in as many conversations as are allowed");
            self.refuse(&asked, Some(&room), &refusal);
            return;
        }
        let mut since = since;
        let mut unknown = Vec::new();
        match self.right(asked.key, Action::Join, &room) {
            Right::Refused(why) => return self.refuse_right(&asked, Action::Join, &room, why),
            Right::Unknown => unknown.push((Action::Join, room.clone())),
            Right::Granted | Right::NotAsked => {}
        }
        if since.is_some() {
            match self.right(asked.key, Action::History, &room) {
                // Whoever may not read what was said joins without it.
                Right::Refused(_) => since = None,
                Right::Unknown => unknown.push((Action::History, room.clone())),
                Right::Granted | Right::NotAsked => {}
            }
        }
        if !unknown.is_empty() {
            return self.ask_rights(asked, unknown, Then::Join { room, since });
        }
        let op = Op::Reserve { user, room: room.clone() };
        self.ask(asked, Waiting::Reserve { room, since }, op);
    }

    pub(super) fn reserved(&mut self, asked: Asked, room: RoomId, since: Option<Since>, answer: Answer) {
        let Some(user) = self.user(asked.key).cloned() else { return };
        if !matches!(answer, Answer::Reserved) {
            self.refuse(
                &asked,
                Some(&room),
                &Refusal::join("limit", "you are in as many conversations as are allowed"),
            );
            return;
        }
        let asked_since = since.is_some();
        let device = self.peers.get(asked.key).and_then(|peer| peer.device.clone());
        let op = Op::Join { room: room.clone(), user, device, since };
        self.ask(asked, Waiting::Join { room, asked_since }, op);
    }

    pub(super) fn joined(&mut self, asked: &Asked, (room, asked_since): (&RoomId, bool), answer: Answer) {
        let entry = match answer {
            Answer::Entered(entry) => entry,
            Answer::JoinRefused(refusal) => {
                let refusal = match refusal {
                    JoinRefusal::NotAllowed => {
                        Refusal::join("not_allowed", "only the server adds members to this conversation")
                    }
                    JoinRefusal::Limit => Refusal::join("limit", "the conversation has as many members as are allowed"),
                };
                self.refuse(asked, Some(room), &refusal);
                return;
            }
            _ => {
                self.refuse(
                    asked,
                    Some(room),
                    &Refusal::join(Refusal::UNAVAILABLE, "the store did not answer the question"),
                );
                return;
            }
        };
        let Some(peer) = self.peers.get(asked.key) else { return };
        let epoch = entry.head.epoch().cloned();
        let origin = Origin { room, epoch: epoch.as_deref() };
        let missed = entry.missed.as_deref();
        let joined = RoomJoined {
            head: &RoomHead { conversation_id: room.clone(), epoch: epoch.clone(), seq: entry.head.seq() },
            recovered: missed.is_some(),
            messages: missed
                .into_iter()
                .flatten()
                .filter_map(|event| encode::listed(origin, event, peer.dialect))
                .collect(),
            members: entry.members,
        };
        tracing::info!(conn = %peer.connection, user = %peer.user, %room, recovered = joined.recovered, "joined");
        self.reply(asked, "room-joined", &joined);
        if entry.live_in.is_some() {
            if asked_since {
                // What it says that it has counts in place of what it was being told.
                self.leave_queue(asked.key, room);
            }
            let standing = standing(&entry, asked_since);
            self.go_live(asked.key, room, entry.membership, standing);
        }
    }

    pub(super) fn leave(&mut self, asked: Asked, room: RoomId) {
        let Some(user) = self.user(asked.key).cloned() else { return };
        let op = Op::Leave { room: room.clone(), user };
        self.ask(asked, Waiting::Leave { room }, op);
    }

    pub(super) fn left(&mut self, asked: &Asked, room: &RoomId, answer: &Answer) {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Left<'a> {
            conversation_id: &'a RoomId,
        }
        if !matches!(answer, Answer::Left) {
            self.refuse_answer(asked, room, answer);
            return;
        }
        self.end_live(asked.key, room);
        if let Some(peer) = self.peers.get(asked.key) {
            tracing::info!(conn = %peer.connection, user = %peer.user, %room, "left");
        }
        self.reply(asked, "room-left", &Left { conversation_id: room });
    }
}
