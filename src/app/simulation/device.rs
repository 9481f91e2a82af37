//! The people of the simulation: what each device was told, and whether it may be told what comes next.
//!
//! The model is small. In a room a connection is told each event behind the one before, from where it begins: what its
//! device had, or said it had, or where the room was when it joined. What one was told at a place in a log all are told
//! there. What was acknowledged stays, and no cursor goes back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{ErrorKind, Read as _};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::ids::ConnectionKey;

type Room = String;

/// What a connection waits for.
#[derive(Debug)]
pub(super) enum Asked {
    Auth,
    Send(&'static str),
    Ack(&'static str, u64),
    Join(&'static str),
    Leave(&'static str),
    History(&'static str),
}

/// What happened, so that a test that tests nothing is noticed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    messages: u64,
    queued: u64,
    /// Queues that were longer than a page.
    paged: u64,
    refused: u64,
    /// Queues that the disk cut off.
    cut: u64,
    resyncs: u64,
    receipts: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.messages += more.messages;
        self.queued += more.queued;
        self.paged += more.paged;
        self.refused += more.refused;
        self.cut += more.cut;
        self.resyncs += more.resyncs;
        self.receipts += more.receipts;
    }
}

impl Tally {
    pub(super) fn is_rich(&self, histories: u64) -> bool {
        let Self { messages, queued, paged, refused, cut, resyncs, receipts } = *self;
        messages > histories
            && [queued, paged, refused, receipts].into_iter().all(|count| count > histories / 4)
            && [cut, resyncs].into_iter().all(|count| count > histories / 100)
    }
}

/// What all were told.
#[derive(Default)]
pub(super) struct Truth {
    epochs: HashMap<Room, Value>,
    /// By place: what it was, as everybody must be told it.
    events: BTreeMap<(Room, u64), (String, Value, Value)>,
    /// Acknowledged messages, with their places.
    acked: Vec<(Room, u64, Value)>,
    /// What `history` says.
    logs: HashMap<Room, BTreeMap<u64, Value>>,
    pub(super) tally: Tally,
}

impl Truth {
    fn is_of_epoch(&mut self, data: &Value) {
        let room = data["conversationId"].as_str().unwrap().to_owned();
        let known = self.epochs.entry(room).or_insert_with(|| data["epoch"].clone());
        assert_eq!(*known, data["epoch"], "a log was lost");
    }

    fn told(&mut self, event: &str, data: &Value) {
        self.is_of_epoch(data);
        let place = (data["conversationId"].as_str().unwrap().to_owned(), data["seq"].as_u64().unwrap());
        let what = (event.to_owned(), data["userId"].clone(), data["messageId"].clone());
        let known = self.events.entry(place).or_insert_with(|| what.clone());
        assert_eq!(*known, what, "two are told different things at one place");
    }

    /// The logs have what was acknowledged, where it was said to be, and what was told.
    pub(super) fn check(&self) {
        for (room, log) in &self.logs {
            for (_, seq, message) in self.acked.iter().filter(|(acked_in, ..)| acked_in == room) {
                assert_eq!(log.get(seq), Some(message), "acknowledged in {room}");
                assert_eq!(log.values().filter(|known| *known == message).count(), 1, "once");
            }
            for ((_, seq), (event, _, message)) in self.events.iter().filter(|((told_in, _), _)| told_in == room) {
                assert!(event != "message-new" || log.get(seq) == Some(message), "told in {room} at {seq}");
            }
        }
    }
}

/// One device of a user.
pub(super) struct Device {
    pub(super) user: usize,
    pub(super) name: &'static str,
    pub(super) client: Option<Client>,
    /// What it acknowledged, and was told that this was noted.
    acked: BTreeMap<Room, u64>,
    /// What it has seen last, and in which log.
    seen: BTreeMap<Room, (Value, u64)>,
}

/// A connection, from the other side.
pub(super) struct Client {
    pub(super) shard: usize,
    pub(super) key: ConnectionKey,
    stream: UnixStream,
    bytes: Vec<u8>,
    pub(super) asked: Option<Asked>,
    /// Of what it asked last.
    pub(super) number: u64,
    /// The rooms in which it takes part, and how far it was told of each.
    pub(super) has: BTreeMap<Room, u64>,
    /// Where the rooms were when it came.
    heads: BTreeMap<Room, u64>,
    /// Of which rooms it said itself what it had.
    since: BTreeSet<Room>,
    /// Events it was told of those that waited.
    queued: u64,
    flushed: bool,
    receipts: BTreeMap<(Room, String, String), u64>,
    pub(super) success: bool,
    pub(super) pinged: bool,
    pub(super) closed: bool,
}

impl Client {
    pub(super) fn new(shard: usize, key: ConnectionKey, stream: UnixStream, since: BTreeSet<Room>) -> Self {
        Self {
            shard,
            key,
            stream,
            bytes: Vec::new(),
            asked: None,
            number: 0,
            has: BTreeMap::new(),
            heads: BTreeMap::new(),
            since,
            queued: 0,
            flushed: false,
            receipts: BTreeMap::new(),
            success: false,
            pinged: false,
            closed: false,
        }
    }

    /// The next frame, if it is wholly there: its first byte, and what is in it.
    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (head, length) = match *self.bytes.as_slice() {
            [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
            [_, short, ..] if short < 126 => (2, usize::from(short)),
            _ => return None,
        };
        let payload = self.bytes.get(head..head + length)?.to_vec();
        let first = self.bytes[0];
        self.bytes.drain(..head + length);
        Some((first, payload))
    }
}

impl Device {
    pub(super) fn new(user: usize, name: &'static str) -> Self {
        Self { user, name, client: None, acked: BTreeMap::new(), seen: BTreeMap::new() }
    }

    /// What it can say that it has.
    pub(super) fn since(&self) -> BTreeMap<Room, Value> {
        let said = |(room, (epoch, seq)): (&Room, &(Value, u64))| (room.clone(), json!({"epoch": epoch, "seq": seq}));
        self.seen.iter().map(said).collect()
    }

    /// Reads all that is there, and judges it. Returns whether there was anything.
    pub(super) fn read(&mut self, truth: &mut Truth) -> bool {
        let Some(client) = &mut self.client else { return false };
        let mut buffer = [0; 16 << 10];
        loop {
            match client.stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => client.bytes.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        let mut heard = false;
        while let Some((first, payload)) = self.client.as_mut().and_then(Client::frame) {
            heard = true;
            match first & 0xf {
                1 => {
                    let message: Value = serde_json::from_slice(&payload).unwrap();
                    let client = self.client.as_mut().unwrap();
                    let is_reply = message.get("id").is_some();
                    assert!(!is_reply || (message["id"] == client.number && client.asked.is_some()), "{message}");
                    let asked = client.asked.take_if(|_| is_reply);
                    self.hear(message["event"].as_str().unwrap(), &message["data"], asked, truth);
                }
                8 => self.client.as_mut().unwrap().closed = true,
                9 => self.client.as_mut().unwrap().pinged = true,
                other => panic!("a frame of kind {other}"),
            }
        }
        heard
    }

    /// It is told something, in answer to what it asked if it asked for it.
    fn hear(&mut self, event: &str, data: &Value, asked: Option<Asked>, truth: &mut Truth) {
        let client = self.client.as_mut().unwrap();
        let room = data["conversationId"].as_str().unwrap_or_default();
        assert!(!client.closed, "nothing comes behind the end");
        match event {
            "auth-success" => self.begin(data, asked, truth),
            "message-new" | "member-joined" | "member-left" => {
                let seq = data["seq"].as_u64().unwrap();
                let has = client.has.get_mut(room).unwrap_or_else(|| panic!("not in {room}: {data}"));
                // Who leaves is not told that it did, but answered, and that may come a little later.
                let leaves = matches!(client.asked, Some(Asked::Leave(asked_for)) if asked_for == room);
                if leaves && seq == *has + 2 {
                    *has += 1;
                    truth.told("member-left", &json!({
                        "conversationId": room, "epoch": data["epoch"], "seq": *has, "userId": super::USERS[self.user],
                    }));
                }
                assert_eq!(seq, *has + 1, "{event} {data}");
                *has = seq;
                let waited = !client.flushed && client.heads.get(room).is_some_and(|head| seq <= *head);
                assert!(event != "message-new" || waited == (data["queued"] == true), "{data}");
                client.queued += u64::from(waited);
                truth.tally.queued += u64::from(waited);
                truth.told(event, data);
                self.seen.insert(room.to_owned(), (data["epoch"].clone(), seq));
            }
            "queue-flushed" => {
                assert!(!std::mem::replace(&mut client.flushed, true), "twice");
                assert_eq!(data["count"], client.queued);
                // A room that its user left meanwhile is told no further, and `room-left` may come behind this.
                truth.tally.paged += u64::from(client.queued > super::PAGE_EVENTS as u64);
            }
            "resync" => {
                assert!(client.since.contains(room), "nothing is missing: {data}");
                client.has.insert(room.to_owned(), client.heads[room]);
                truth.tally.resyncs += 1;
            }
            "room-joined" => {
                // Who takes part already is told nothing new by it.
                client.has.entry(room.to_owned()).or_insert_with(|| data["seq"].as_u64().unwrap());
                truth.is_of_epoch(data);
                assert!(asked.is_none_or(|asked| matches!(asked, Asked::Join(asked_for) if asked_for == room)));
            }
            "room-left" => {
                client.has.remove(room);
                assert!(asked.is_none_or(|asked| matches!(asked, Asked::Leave(asked_for) if asked_for == room)));
            }
            "receipt" => {
                let name = |field: &str| data[field].as_str().unwrap().to_owned();
                let up_to = data["upTo"].as_u64().unwrap();
                let before = client.receipts.insert((room.to_owned(), name("userId"), name("type")), up_to);
                assert!(before.is_none_or(|before| before < up_to), "a cursor goes back: {data} after {before:?}");
                truth.tally.receipts += 1;
            }
            "message-ack" | "ok" | "history" | "error" => self.answered(event, data, asked, truth),
            "presence" => {}
            other => panic!("{other} {data}"),
        }
    }

    /// It is let in, and told where it is.
    fn begin(&mut self, data: &Value, asked: Option<Asked>, truth: &mut Truth) {
        let client = self.client.as_mut().unwrap();
        assert!(matches!(asked, Some(Asked::Auth)));
        client.success = true;
        for room in data["rooms"].as_array().unwrap() {
            truth.is_of_epoch(room);
            let name = room["conversationId"].as_str().unwrap().to_owned();
            let number = |field: &str| room[field].as_u64().unwrap();
            let acked = self.acked.get(&name).copied().unwrap_or_default();
            assert!(number("delivered") >= acked, "{acked} was acknowledged: {room}");
            assert!(number("seen") <= number("seq") && number("delivered") <= number("seq"), "{room}");
            let said = self.seen.get(&name).filter(|_| client.since.contains(&name)).map(|(_, seq)| *seq);
            client.has.insert(name.clone(), said.unwrap_or(number("delivered")));
            client.heads.insert(name, number("seq"));
        }
    }

    /// What it asked for is done, or cannot be.
    fn answered(&mut self, event: &str, data: &Value, asked: Option<Asked>, truth: &mut Truth) {
        if event == "error" {
            let code = data["code"].as_str().unwrap();
            assert!(["STORE_UNAVAILABLE", "JOIN_ROOM_FAILED", "NOT_A_MEMBER"].contains(&code), "{data}");
            truth.tally.refused += u64::from(code != "NOT_A_MEMBER");
            // The server says by itself that the pages cannot be read on, and that is the end.
            truth.tally.cut += u64::from(asked.is_none());
            return;
        }
        match (event, asked) {
            ("message-ack", Some(Asked::Send(room))) => {
                let seq = data["seq"].as_u64().unwrap();
                truth.acked.push((room.to_owned(), seq, data["messageId"].clone()));
                truth.tally.messages += 1;
            }
            ("ok", Some(Asked::Ack(room, up_to))) => {
                let acked = self.acked.entry(room.to_owned()).or_default();
                *acked = up_to.max(*acked);
            }
            ("history", Some(Asked::History(room))) => {
                let messages = data["messages"].as_array().unwrap().iter();
                let log = messages.map(|message| (message["seq"].as_u64().unwrap(), message["messageId"].clone()));
                truth.logs.insert(room.to_owned(), log.collect());
            }
            (event, asked) => panic!("{event} to {asked:?}"),
        }
    }

    /// Nothing is under way any more: it has its answer, and was told all.
    pub(super) fn check_settled(&self) {
        let Some(client) = &self.client else { return };
        assert!(client.asked.is_none(), "{:?} is not answered", client.asked);
        assert!(client.success, "it is neither let in nor turned away");
        assert!(client.flushed || client.heads.is_empty(), "its queue has no end");
        let short = client.has.iter().find(|(room, has)| client.heads.get(*room).is_some_and(|head| *has < head));
        assert_eq!(short, None, "it is not told all");
    }
}
