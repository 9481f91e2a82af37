//! A long offline queue, read page by page while the disk can take nothing: whoever reads it is turned away and comes back,
//! or gets to its end, and has no hole either way.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::common::{Client, Frame, Handshake, Token, until};
use crate::server::{Process, user};

const MISSED: u64 = 400;

/// How a visit of the phone ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It was told all that it had missed.
    Flushed,
    /// It was turned away at once.
    NotLetIn,
    /// It was let in, told some of it, and sent away.
    Cut,
}

fn phone(address: SocketAddr) -> (Client, Value) {
    let mut client = Handshake::to(address).upgrade();
    let token = Token::of("bob").sign();
    let id = client.ask("auth", json!({"token": token, "deviceId": "phone", "autoAck": false}));
    let answer = client.answer(&id);
    (client, answer)
}

/// Comes, reads all there is, and goes. What it hears of the room has no hole, from where its cursor stands.
fn visit(address: SocketAddr, heard: &mut BTreeSet<u64>) -> End {
    let (mut client, answer) = phone(address);
    if answer["event"] == "error" {
        assert_eq!(answer["data"]["code"], "STORE_UNAVAILABLE", "{answer}");
        client.closed(4105);
        return End::NotLetIn;
    }
    let room = &answer["data"]["rooms"][0];
    let mut place = room["delivered"].as_u64().unwrap();
    loop {
        let text = match client.next_frame() {
            Frame::Text(text) => text,
            Frame::Close(code, _) => panic!("closed with {code:?}, and not told why"),
            Frame::Ping(_) | Frame::Pong(_) => continue,
            Frame::End => panic!("gone without a word"),
        };
        let message: Value = serde_json::from_str(&text).unwrap();
        match message["event"].as_str().unwrap() {
            "message-new" | "member-joined" => {
                place += 1;
                assert_eq!(message["data"]["seq"], place, "{message}");
                heard.insert(place);
            }
            "queue-flushed" => {
                assert!(place >= room["seq"].as_u64().unwrap());
                return End::Flushed;
            }
            "error" => {
                assert_eq!(message["data"]["code"], "STORE_UNAVAILABLE");
                assert_eq!(message["data"]["retryable"], true);
                client.closed(4105);
                return End::Cut;
            }
            "presence" | "receipt" => {}
            other => panic!("{other}: {message}"),
        }
    }
}

#[test]
fn a_queue_that_the_disk_cuts_off_comes_whole_in_the_end() {
    let mut process = Process::with("queue", "recover_events_max = 10\n");
    let address = process.start();
    let (mut bob, _) = phone(address);
    bob.join("lobby");
    bob.close();
    let mut ann = user(address, "ann");
    ann.join("lobby");
    for number in 0..MISSED {
        ann.post(json!({"conversationId": "lobby", "content": number, "noEcho": true}));
    }
    let others = ["cid", "dan", "eve"].map(|name| {
        let mut client = user(address, name);
        client.join("lobby");
        client
    });
    process.limit_files_to_what_they_are();
    let (over, mut heard) = (AtomicBool::new(false), BTreeSet::new());
    std::thread::scope(|scope| {
        // People who go on trying, so that there is always something that waits for the disk.
        for mut client in others {
            let over = &over;
            scope.spawn(move || {
                let text = "x".repeat(20_000);
                let post = json!({"conversationId": "lobby", "content": text, "noEcho": true});
                while !over.load(Ordering::SeqCst) {
                    let id = client.ask("send-message", post.clone());
                    client.answer(&id);
                }
            });
        }
        until("the disk is full", || (process.readiness().status == 503).then_some(()));
        until("a queue is cut off", || (visit(address, &mut heard) == End::Cut).then_some(()));
        over.store(true, Ordering::SeqCst);
    });
    process.lift_limit();
    until("it can be written again", || {
        let id = ann.ask("send-message", json!({"conversationId": "lobby", "content": "again"}));
        (ann.answer(&id)["event"] == "message-ack").then_some(())
    });
    let head = ann.history(json!({"conversationId": "lobby", "limit": 1}))["messages"][0]["seq"].as_u64().unwrap();
    let mut all = BTreeSet::new();
    assert_eq!(visit(address, &mut all), End::Flushed);
    assert_eq!(*all.last().unwrap(), head);
    assert!(all.len() as u64 > MISSED && heard.is_subset(&all), "what it was told before is what it is told now");
}
