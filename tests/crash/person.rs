//! Somebody who goes on talking whatever happens to the server: sends again what was not answered, comes back to where
//! it was, and notes all it is told.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::common::Token;
use crate::line::Line;

/// Somebody in a room.
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) room: String,
    /// Number of the message that is sent next, or again.
    next: u64,
    joined: bool,
    /// Acknowledgements, in the order of sending.
    pub(crate) acks: Vec<Value>,
    /// What was delivered: by `seq`, which message (or nothing, if it was no message).
    pub(crate) seen: BTreeMap<u64, Value>,
    epochs: Vec<Value>,
}

impl Person {
    pub(crate) fn new(name: &str, room: &str) -> Self {
        let (acks, seen, epochs) = (Vec::new(), BTreeMap::new(), Vec::new());
        Self { name: name.to_owned(), room: room.to_owned(), next: 0, joined: false, acks, seen, epochs }
    }

    /// The epochs of all that was delivered.
    pub(crate) fn epochs(&self) -> Vec<&Value> {
        self.epochs.iter().collect()
    }

    /// Talks until the server is gone.
    pub(crate) fn chat(&mut self, address: SocketAddr, acknowledged: &AtomicUsize) {
        let _the_server_was_killed = self.talk(address, acknowledged);
    }

    fn talk(&mut self, address: SocketAddr, acknowledged: &AtomicUsize) -> io::Result<()> {
        let mut line = self.come(address)?;
        loop {
            let message = json!({"event": "send-message", "id": "s", "data": {
                "conversationId": self.room, "tempId": format!("{}-{}", self.name, self.next), "content": self.next,
            }});
            line.send(&message)?;
            let ack = self.answer(&mut line, "s")?;
            assert_eq!(ack["event"], "message-ack", "{ack}");
            assert_eq!(ack["data"]["tempId"], message["data"]["tempId"]);
            self.acks.push(ack["data"].clone());
            self.next += 1;
            acknowledged.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Takes in whatever was missed.
    pub(crate) fn catch_up(&mut self, address: SocketAddr) {
        let mut line = self.come(address).expect("the server is there");
        line.send(&json!({"event": "heartbeat", "id": "h"})).unwrap();
        self.answer(&mut line, "h").unwrap();
    }

    /// Comes back to where it was, or joins.
    fn come(&mut self, address: SocketAddr) -> io::Result<Line> {
        let mut line = Line::open(address)?;
        let mut auth = json!({"token": Token::of(&self.name).sign()});
        if let (Some((seq, _)), Some(epoch)) = (self.seen.last_key_value(), self.epochs.last()) {
            auth["since"] = json!({(&self.room): {"epoch": epoch, "seq": seq}});
        }
        line.send(&json!({"event": "auth", "id": "a", "data": auth}))?;
        let success = self.answer(&mut line, "a")?;
        assert_eq!(success["event"], "auth-success", "{success}");
        let rooms = success["data"]["rooms"].as_array().unwrap();
        if self.joined {
            assert!(rooms.iter().any(|room| room["conversationId"] == self.room), "a membership was lost: {success}");
            return Ok(line);
        }
        line.send(&json!({"event": "join-room", "id": "j", "data": self.room}))?;
        let joined = self.answer(&mut line, "j")?;
        assert_eq!(joined["event"], "room-joined", "{joined}");
        self.joined = true;
        Ok(line)
    }

    /// The answer to a request, after all that was pushed before it.
    fn answer(&mut self, line: &mut Line, id: &str) -> io::Result<Value> {
        loop {
            let message = line.next()?;
            if message["id"] == id {
                return Ok(message);
            }
            assert_ne!(message["event"], "resync", "{message}");
            let data = &message["data"];
            let Some(seq) = data["seq"].as_u64() else { continue };
            if !self.epochs.contains(&data["epoch"]) {
                self.epochs.push(data["epoch"].clone());
            }
            // What comes twice, after a crash, is the same.
            let message_id = data["messageId"].clone();
            assert_eq!(*self.seen.entry(seq).or_insert_with(|| message_id.clone()), message_id);
        }
    }
}
