//! A server that is killed at any instant, fifty times: what it acknowledged is in the log once, in order and without a
//! gap, every device gets it once, and no cursor goes back. And a disk that fills up while it runs, also under whoever is
//! being told what they missed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test"
)]

#[allow(dead_code, unused_imports, reason = "what the tests of behaviour need is more than what this one does")]
#[path = "../behaviour/common/mod.rs"]
mod common;

mod line;
mod person;
mod queue;
mod server;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use common::{Client, until};
use person::Person;
use server::{Process, user};

const ROUNDS: u64 = 50;
const ROOMS: usize = 3;
const PEOPLE_PER_ROOM: usize = 3;
/// A server is killed after so many more acknowledgements at most.
const ACKS_PER_ROUND_MAX: u64 = 150;

/// The next of a row of numbers that look random and are the same every time.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn what_was_acknowledged_survives_being_killed_at_any_instant() {
    let mut process = Process::new("kill");
    let names =
        |room: usize| (0..PEOPLE_PER_ROOM).map(move |person| (format!("room-{room}"), format!("user-{room}-{person}")));
    let mut people: Vec<Person> = (0..ROOMS).flat_map(names).map(|(room, name)| Person::new(&name, &room)).collect();
    let acknowledged = AtomicUsize::new(0);
    let mut state = 0x5eed;
    for _ in 0..ROUNDS {
        let address = process.start();
        let target = acknowledged.load(Ordering::SeqCst) + 1 + (random(&mut state) % ACKS_PER_ROUND_MAX) as usize;
        std::thread::scope(|scope| {
            for person in &mut people {
                scope.spawn(|| person.chat(address, &acknowledged));
            }
            until("enough is acknowledged", || (acknowledged.load(Ordering::SeqCst) >= target).then_some(()));
            process.kill();
        });
    }
    let address = process.start();
    people.iter_mut().for_each(|person| person.finish(address));
    let logs: HashMap<String, Log> =
        (0..ROOMS).map(|room| format!("room-{room}")).map(|room| (room.clone(), Log::read(address, &room))).collect();
    for person in &mut people {
        person.catch_up(address);
        logs[&person.room].check(person);
    }
    assert!(people.iter().all(|person| person.stored().seen > 0), "everybody has read something");
    println!("{} messages were acknowledged in {ROUNDS} lives", acknowledged.load(Ordering::SeqCst));
}

/// A room's log, as `history` tells it.
struct Log {
    epoch: Value,
    /// By `seq`.
    messages: BTreeMap<u64, Value>,
}

impl Log {
    fn read(address: SocketAddr, room: &str) -> Self {
        let mut client = user(address, "auditor");
        client.join(room);
        let mut log = Self { epoch: Value::Null, messages: BTreeMap::new() };
        loop {
            let after = log.messages.last_key_value().map_or(0, |(seq, _)| *seq);
            let page = client.history(json!({"conversationId": room, "after": after, "limit": 200}));
            log.epoch = page["epoch"].clone();
            for message in page["messages"].as_array().unwrap() {
                let before = log.messages.insert(message["seq"].as_u64().unwrap(), message.clone());
                assert!(before.is_none());
            }
            if page["hasMore"] == false {
                return log;
            }
        }
    }

    fn check(&self, person: &Person) {
        assert_eq!(person.epochs(), [&self.epoch], "the log was never lost");
        let by_temp_id = |temp_id: &str| -> Vec<_> {
            let of = |message: &&Value| message["tempId"] == temp_id && message["userId"] == person.name;
            self.messages.values().filter(of).collect()
        };
        let mut last = 0;
        for ack in &person.acks {
            let [message] = by_temp_id(ack["tempId"].as_str().unwrap())[..] else { panic!("not once: {ack}") };
            assert_eq!((&message["seq"], &message["messageId"]), (&ack["seq"], &ack["messageId"]));
            let seq = ack["seq"].as_u64().unwrap();
            assert!(seq > last, "in the order of sending");
            last = seq;
        }
        // Without a gap, from where this device came in to the end; and the same for everybody.
        let first = person.start.unwrap() + 1;
        for (index, (seq, message_id)) in person.seen.iter().enumerate() {
            assert_eq!(*seq, first + index as u64, "{} missed something", person.name);
            if let Some(message) = self.messages.get(seq) {
                assert_eq!(*message_id, message["messageId"]);
            }
        }
        let head = self.messages.last_key_value().map_or(0, |(seq, _)| *seq);
        assert!(*person.seen.last_key_value().unwrap().0 >= head, "{} is behind", person.name);
    }
}

#[test]
fn a_full_disk_refuses_and_recovers_when_there_is_space_again() {
    let mut process = Process::new("full");
    let address = process.start();
    let mut client = user(address, "ann");
    client.join("lobby");
    let mut acknowledged = 0;
    let mut send = |client: &mut Client| {
        let text = "x".repeat(50_000);
        let id = client.ask("send-message", json!({"conversationId": "lobby", "content": text, "noEcho": true}));
        let answer = client.answer(&id);
        if answer["event"] == "message-ack" {
            acknowledged += 1;
            return true;
        }
        assert_eq!(
            (&answer["data"]["code"], &answer["data"]["retryable"]),
            (&json!("STORE_UNAVAILABLE"), &json!(true))
        );
        false
    };
    assert!(send(&mut client));
    process.limit_files_to_what_they_are();
    // What is free in the file is used up first.
    assert!((0..2_000).any(|_| !send(&mut client)), "the disk is never full");
    until("the operator sees it", || (process.readiness().status == 503).then_some(()));
    assert!(process.readiness().body.contains("\"store\""));
    // Whoever reads is not concerned.
    let read = |client: &mut Client| {
        client.history(json!({"conversationId": "lobby", "limit": 1}))["messages"][0]["seq"].clone()
    };
    assert!(read(&mut client).is_u64());
    assert!(user(address, "bob").success["userId"] == "bob");
    process.lift_limit();
    until("it can be written again", || send(&mut client).then_some(()));
    assert_eq!(process.readiness().status, 200);
    assert_eq!(read(&mut client), 1 + acknowledged, "nothing that was refused is there");
    process.kill();
    let address = process.start();
    assert_eq!(read(&mut user(address, "ann")), 1 + acknowledged);
}
