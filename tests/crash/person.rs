//! Somebody who goes on talking whatever happens to the server: sends again what was not answered, says what it has,
//! comes back to where it was, and notes all it is told.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::common::Token;
use crate::line::Line;

/// Somebody in a room, on one device.
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) room: String,
    /// Number of the message that is sent next, or again.
    next: u64,
    joined: bool,
    /// How often it came.
    lives: u64,
    /// Acknowledgements, in the order of sending.
    pub(crate) acks: Vec<Value>,
    /// What it knows: by `seq`, which message (or nothing, if it was no message).
    pub(crate) seen: BTreeMap<u64, Value>,
    epochs: Vec<Value>,
    /// Where it came in, once that is known.
    pub(crate) start: Option<u64>,
    /// Up to where it knows everything.
    has: u64,
    /// The cursors that the server said to be stored.
    stored: Cursors,
}

/// What the server keeps of somebody's progress.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursors {
    pub(crate) delivered: u64,
    pub(crate) seen: u64,
}

impl Person {
    pub(crate) fn new(name: &str, room: &str) -> Self {
        Self {
            name: name.to_owned(),
            room: room.to_owned(),
            next: 0,
            joined: false,
            lives: 0,
            acks: Vec::new(),
            seen: BTreeMap::new(),
            epochs: Vec::new(),
            start: None,
            has: 0,
            stored: Cursors::default(),
        }
    }

    /// The epochs of all that was delivered.
    pub(crate) fn epochs(&self) -> Vec<&Value> {
        self.epochs.iter().collect()
    }

    /// How far the server said that it stored this device's cursors.
    pub(crate) fn stored(&self) -> Cursors {
        self.stored
    }

    /// Talks until the server is gone.
    pub(crate) fn chat(&mut self, address: SocketAddr, acknowledged: &AtomicUsize) {
        let _the_server_was_killed = self.talk(address, acknowledged);
    }

    fn talk(&mut self, address: SocketAddr, acknowledged: &AtomicUsize) -> io::Result<()> {
        let mut line = self.come(address)?;
        loop {
            self.say(&mut line)?;
            acknowledged.fetch_add(1, Ordering::SeqCst);
            // Some of what it has it says, so that a death finds cursors behind the log and beside it.
            match self.next % 3 {
                0 => self.acknowledge(&mut line, "ack")?,
                1 => self.acknowledge(&mut line, "mark-read")?,
                _ => {}
            }
        }
    }

    fn say(&mut self, line: &mut Line) -> io::Result<()> {
        let message = json!({"event": "send-message", "id": "s", "data": {
            "conversationId": self.room, "tempId": format!("{}-{}", self.name, self.next), "content": self.next,
        }});
        line.send(&message)?;
        let ack = self.answer(line, "s")?;
        assert_eq!(ack["event"], "message-ack", "{ack}");
        assert_eq!(ack["data"]["tempId"], message["data"]["tempId"]);
        // Whoever wrote an event has it: a queue may go on behind it, so it is known by this.
        self.know(&ack["data"]);
        self.acks.push(ack["data"].clone());
        self.next += 1;
        Ok(())
    }

    /// Says what it has, all of it without a gap, and waits until that is stored.
    fn acknowledge(&mut self, line: &mut Line, event: &str) -> io::Result<()> {
        let up_to = self.has;
        line.send(&json!({"event": event, "id": "c", "data": {"conversationId": self.room, "upTo": up_to}}))?;
        let answer = self.answer(line, "c")?;
        assert_eq!(answer["event"], "ok", "{answer}");
        self.stored.delivered = self.stored.delivered.max(up_to);
        if event == "mark-read" {
            self.stored.seen = self.stored.seen.max(up_to);
        }
        Ok(())
    }

    /// Sends what was never answered.
    pub(crate) fn finish(&mut self, address: SocketAddr) {
        let mut line = self.come(address).expect("the server is there");
        self.say(&mut line).unwrap();
    }

    /// Takes in whatever was missed.
    pub(crate) fn catch_up(&mut self, address: SocketAddr) {
        self.come(address).expect("the server is there");
    }

    /// Comes back to where it was, or joins.
    fn come(&mut self, address: SocketAddr) -> io::Result<Line> {
        let mut line = Line::open(address)?;
        let mut auth = json!({"token": Token::of(&self.name).sign(), "deviceId": "phone", "autoAck": false});
        // Now it says itself where it was, now it leaves that to the server.
        self.lives += 1;
        let since = self.epochs.last().filter(|_| self.lives.is_multiple_of(3)).map(|epoch| (epoch.clone(), self.has));
        if let Some((epoch, seq)) = &since {
            auth["since"] = json!({(&self.room): {"epoch": epoch, "seq": seq}});
        }
        line.send(&json!({"event": "auth", "id": "a", "data": auth}))?;
        let success = self.answer(&mut line, "a")?;
        assert_eq!(success["event"], "auth-success", "{success}");
        let room = success["data"]["rooms"].as_array().unwrap().iter().find(|it| it["conversationId"] == self.room);
        assert!(room.is_some() || !self.joined, "a membership was lost: {success}");
        let cursors = room.map(|room| self.check_cursors(room));
        let has_rooms = success["data"]["rooms"] != json!([]);
        let queued = if has_rooms { self.queue(&mut line)? } else { Vec::new() };
        if let (Some(room), Some(cursors)) = (room, cursors) {
            let from = since.map_or(cursors.delivered, |(_, seq)| seq);
            let head = room["seq"].as_u64().unwrap();
            assert!(queued.iter().copied().eq(from + 1..=head), "the queue of {}: {queued:?} of {room}", self.name);
        }
        if !self.joined {
            line.send(&json!({"event": "join-room", "id": "j", "data": self.room}))?;
            let joined = self.answer(&mut line, "j")?;
            assert_eq!(joined["event"], "room-joined", "{joined}");
            self.starts_at(joined["data"]["seq"].as_u64().unwrap());
            self.joined = true;
        }
        Ok(line)
    }

    /// Cursors are never behind what was answered, nor before what it has: at most a message of its own, of which it was
    /// not told, is covered too.
    fn check_cursors(&mut self, room: &Value) -> Cursors {
        let [delivered, seen] = ["delivered", "seen"].map(|name| room[name].as_u64().unwrap());
        let Cursors { delivered: delivered_min, seen: seen_min } = self.stored;
        assert!(delivered >= delivered_min && seen >= seen_min, "{} had {:?}, and has {room}", self.name, self.stored);
        self.starts_at(delivered);
        assert!(delivered.max(seen) <= self.has + 1, "{} has {} of {room}", self.name, self.has);
        // What was said by the server is said for good, too.
        self.stored = Cursors { delivered, seen };
        self.stored
    }

    fn starts_at(&mut self, seq: u64) {
        if self.start.is_none() {
            (self.start, self.has) = (Some(seq), seq);
        }
    }

    /// What is pushed before the queue is at its end.
    fn queue(&mut self, line: &mut Line) -> io::Result<Vec<u64>> {
        let mut queued = Vec::new();
        loop {
            let message = line.next()?;
            if message["event"] == "queue-flushed" {
                assert_eq!(message["data"]["count"], queued.len());
                return Ok(queued);
            }
            assert_ne!(message["event"], "resync", "{message}");
            queued.extend(self.know(&message["data"]));
        }
    }

    /// The answer to a request, after all that was pushed before it.
    fn answer(&mut self, line: &mut Line, id: &str) -> io::Result<Value> {
        loop {
            let message = line.next()?;
            if message["id"] == id {
                return Ok(message);
            }
            assert_ne!(message["event"], "resync", "{message}");
            self.know(&message["data"]);
        }
    }

    /// Notes an event of the log. Returns its place.
    fn know(&mut self, data: &Value) -> Option<u64> {
        let seq = data["seq"].as_u64()?;
        if !self.epochs.contains(&data["epoch"]) {
            self.epochs.push(data["epoch"].clone());
        }
        // What comes twice, after a crash, is the same.
        let message_id = data["messageId"].clone();
        assert_eq!(*self.seen.entry(seq).or_insert_with(|| message_id.clone()), message_id);
        while self.start.is_some() && self.seen.contains_key(&(self.has + 1)) {
            self.has += 1;
        }
        Some(seq)
    }
}
