//! People who chat in a room, and who look closely at all they get.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use serde_json::{Value, json};

use crate::MEMBERS;
use crate::common::Client;
use crate::generation::{Decision, Generation, WORDS};
use crate::server::Server;

/// A message that was sent, and how it was answered.
pub(crate) struct Sent {
    temp_id: String,
    content: String,
    pub(crate) answer: Value,
}

impl Sent {
    pub(crate) fn say(client: &mut Client, room: &str, temp_id: String) -> (String, Self) {
        let content = format!("trigger {} {temp_id}", WORDS.join(" "));
        let id = client.ask("send-message", json!({"conversationId": room, "content": content, "tempId": temp_id}));
        (id, Self { temp_id, content, answer: Value::Null })
    }

    /// The content of the message if this was decided.
    fn decided(&self, decision: Decision) -> Option<String> {
        match decision {
            Decision::Masked(word) => Some(self.content.replace(word, &"*".repeat(word.len()))),
            Decision::Replaced => Some("replaced".to_owned()),
            Decision::Refused => None,
        }
    }

    /// Whether it was acknowledged. Otherwise it was refused, and by the plugin.
    pub(crate) fn is_accepted(&self) -> bool {
        let data = &self.answer["data"];
        if self.answer["event"] == "message-ack" {
            assert_eq!((&data["tempId"], &data["duplicate"]), (&json!(self.temp_id), &json!(false)), "{data}");
            return true;
        }
        assert_eq!((&data["code"], &data["reason"]), (&json!("REJECTED"), &json!("forbidden_word")), "{}", self.answer);
        false
    }

    /// The content is what one of these configurations makes of it; of a refused message there is none.
    pub(crate) fn check(&self, content: Option<&str>, generations: RangeInclusive<usize>) {
        let mut decided = generations.clone().map(|number| self.decided(Generation(number).decision()));
        assert!(
            decided.any(|decided| decided.as_deref() == content),
            "{:?} became {content:?} under one of {generations:?}",
            self.content
        );
    }
}

/// The people of one room. Each has an own connection.
pub(crate) struct Room {
    name: String,
    members: Vec<Client>,
    /// Of the last message that was delivered.
    seq: u64,
}

impl Room {
    pub(crate) fn open(server: &Server, number: usize) -> Self {
        let name = format!("room-{number}");
        let mut members: Vec<Client> =
            (0..MEMBERS).map(|member| server.user(&format!("user-{number}-{member}"), &name)).collect();
        for client in &mut members {
            client.barrier(&name);
            while client.has_mail() {
                client.push("member-joined");
            }
        }
        let seq = MEMBERS as u64;
        Self { name, members, seq }
    }

    /// Everybody sends a message at once.
    pub(crate) fn send(&mut self, round: usize) -> Vec<(String, Sent)> {
        let say = |(member, client)| Sent::say(client, &self.name, format!("r{round}m{member}"));
        self.members.iter_mut().enumerate().map(say).collect()
    }

    /// Everybody is answered, and gets all that was accepted, in order and once. What is still to come then, and should
    /// not, is met by the next round.
    pub(crate) fn receive(
        &mut self,
        sent: Vec<(String, Sent)>,
        generations: &impl Fn() -> RangeInclusive<usize>,
    ) -> usize {
        let mut accepted = HashMap::new();
        let mut refused = 0;
        for (client, (id, mut sent)) in self.members.iter_mut().zip(sent) {
            sent.answer = client.answer(&id);
            if sent.is_accepted() {
                accepted.insert(sent.temp_id.clone(), sent);
            } else {
                sent.check(None, generations());
                refused += 1;
            }
        }
        let generations = generations();
        let mut contents = HashMap::new();
        for (member, client) in self.members.iter_mut().enumerate() {
            for seq in (self.seq + 1..).take(accepted.len()) {
                let message = client.push("message-new");
                assert_eq!(message["seq"], seq, "in order, and without a hole: {message}");
                let sent = accepted.get(message["tempId"].as_str().unwrap()).expect("it was acknowledged just now");
                let ack = &sent.answer["data"];
                for key in ["seq", "epoch", "messageId", "tempId", "sentAt"] {
                    assert_eq!(message[key], ack[key], "{message} {ack}");
                }
                if member == 0 {
                    sent.check(message["content"].as_str(), generations.clone());
                    contents.insert(seq, message["content"].clone());
                }
                assert_eq!(message["content"], contents[&seq], "the same for everybody");
            }
        }
        self.seq += accepted.len() as u64;
        refused
    }

    /// Nothing more comes.
    pub(crate) fn close(mut self) {
        for client in &mut self.members {
            client.nothing_came(&self.name);
        }
    }
}
