//! `history` and `get-online-users`: reading, and nothing else.

use serde::Serialize;
use serde_json::value::RawValue;

use super::rights::{Right, Then};
use super::{Asked, Relay, Waiting};
use crate::ids::{RoomId, UserId};
use crate::policy::Action;
use crate::store::{Answer, Op};
use crate::wire::encode::{self, Origin};
use crate::wire::request::Page;

impl Relay {
    pub(super) fn history(&mut self, asked: Asked, room: RoomId, page: Page) {
        let Some(user) = self.user(asked.key).cloned() else { return };
        match self.right(asked.key, Action::History, &room) {
            Right::Refused(why) => return self.refuse_right(&asked, Action::History, &room, why),
            Right::Unknown => {
                let questions = vec![(Action::History, room.clone())];
                return self.ask_rights(asked, questions, Then::History { room, page });
            }
            Right::Granted | Right::NotAsked => {}
        }
        let op = Op::History { room: room.clone(), user, page };
        self.ask(asked, Waiting::History { room }, op);
    }

    pub(super) fn messages_read(&mut self, asked: &Asked, room: &RoomId, answer: Answer) {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct History<'a> {
            conversation_id: &'a RoomId,
            #[serde(skip_serializing_if = "Option::is_none")]
            epoch: Option<&'a str>,
            messages: Vec<Box<RawValue>>,
            has_more: bool,
        }
        let Answer::Messages { epoch, messages, has_more } = answer else {
            self.refuse_answer(asked, room, &answer);
            return;
        };
        let origin = Origin { room, epoch: epoch.as_deref() };
        let messages =
            messages.iter().filter_map(|(seq, message)| encode::history_entry(origin, *seq, message)).collect();
        self.reply(asked, "history", &History { conversation_id: room, epoch: origin.epoch, messages, has_more });
    }

    pub(super) fn online_users(&mut self, asked: Asked, room: RoomId) {
        let Some(user) = self.user(asked.key).cloned() else { return };
        match self.right(asked.key, Action::Presence, &room) {
            Right::Refused(why) => return self.refuse_right(&asked, Action::Presence, &room, why),
            Right::Unknown => {
                let questions = vec![(Action::Presence, room.clone())];
                return self.ask_rights(asked, questions, Then::OnlineUsers { room });
            }
            Right::Granted | Right::NotAsked => {}
        }
        let op = Op::OnlineUsers { room: room.clone(), user };
        self.ask(asked, Waiting::OnlineUsers { room }, op);
    }

    pub(super) fn online_users_read(&mut self, asked: &Asked, room: &RoomId, answer: Answer) {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Online<'a> {
            conversation_id: &'a RoomId,
            users: Vec<UserId>,
            #[serde(skip_serializing_if = "std::ops::Not::not")]
            has_more: bool,
        }
        let Answer::Online { users, has_more } = answer else {
            self.refuse_answer(asked, room, &answer);
            return;
        };
        self.reply(asked, "online-users", &Online { conversation_id: room, users, has_more });
    }
}
