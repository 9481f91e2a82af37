//! The offline queue: what a device that acknowledges by itself did not acknowledge waits for it.

use serde_json::{Value, json};

use crate::common::{Client, TestServer, config};

fn server() -> TestServer {
    TestServer::with_shards(3)
}

/// A device that acknowledges by itself.
fn device(server: &TestServer, user: &str, device: &str) -> Client {
    server.device(user, json!({"deviceId": device, "autoAck": false}))
}

fn ack(client: &mut Client, seq: &Value) {
    client.ok("ack", json!({"conversationId": "lobby", "upTo": seq}));
}

/// What waited for a device: the contents of the messages, in order.
fn waiting(client: &mut Client) -> Vec<Value> {
    let mut contents = Vec::new();
    loop {
        let message = client.next();
        if message["event"] == "queue-flushed" {
            assert_eq!(message["data"]["count"], client.success["queued"], "{message}");
            return contents;
        }
        if message["event"] == "message-new" {
            assert_eq!(message["data"]["queued"], true, "{message}");
            contents.push(message["data"]["content"].clone());
        }
    }
}

#[test]
fn s2_6_s2_46_what_was_missed_waits_until_it_is_acknowledged() {
    let server = server();
    let mut ann = server.member("ann", "lobby");
    let mut phone = device(&server, "bob", "phone");
    assert!(waiting(&mut phone).is_empty());
    phone.join("lobby");
    let seen = ann.say("lobby", 0);
    ack(&mut phone, &seen["seq"]);
    phone.close();
    let messages: Vec<Value> = (1..=5).map(|number| ann.say("lobby", number)).collect();
    // It comes again until it is acknowledged, and then no more.
    for _ in 0..2 {
        assert_eq!(waiting(&mut device(&server, "bob", "phone")), [1, 2, 3, 4, 5]);
    }
    let mut phone = device(&server, "bob", "phone");
    assert_eq!(waiting(&mut phone), [1, 2, 3, 4, 5]);
    ack(&mut phone, &messages[2]["seq"]);
    // What is new comes after what waited.
    ann.say("lobby", 6);
    let live = phone.message();
    assert_eq!((&live["content"], live.get("queued")), (&json!(6), None));
    assert_eq!(waiting(&mut device(&server, "bob", "phone")), [4, 5, 6]);
    assert!((server.metric("stentor_queue_flushes_total") - 5.0).abs() < 0.5);
}

#[test]
fn s1_14_s2_14_each_device_has_a_queue_of_its_own() {
    let server = server();
    let mut ann = server.member("ann", "lobby");
    let mut phone = device(&server, "bob", "phone");
    phone.join("lobby");
    let _known = device(&server, "bob", "laptop");
    ann.say("lobby", 1);
    let second = ann.say("lobby", 2);
    ack(&mut phone, &second["seq"]);
    assert_eq!(waiting(&mut device(&server, "bob", "laptop")), [1, 2]);
    assert!(waiting(&mut device(&server, "bob", "phone")).is_empty());
    // One that was never seen before has missed nothing.
    assert!(waiting(&mut device(&server, "bob", "tablet")).is_empty());
}

#[test]
fn since_says_it_better_than_the_cursor() {
    let server = server();
    let mut ann = server.member("ann", "lobby");
    let mut phone = device(&server, "bob", "phone");
    phone.join("lobby");
    let messages: Vec<Value> = (1..=3).map(|number| ann.say("lobby", number)).collect();
    let since = json!({"lobby": {"epoch": messages[1]["epoch"], "seq": messages[1]["seq"]}});
    let mut phone = server.device("bob", json!({"deviceId": "phone", "autoAck": false, "since": since}));
    assert_eq!(waiting(&mut phone), [3]);
}

#[test]
fn what_retention_dropped_is_said_to_be_missing() {
    let mut config = config();
    config.store.room_events_max = 3;
    let server = TestServer::start(config);
    let mut ann = server.member("ann", "lobby");
    device(&server, "bob", "phone").join("lobby");
    for number in 0..9 {
        ann.say("lobby", number);
    }
    let mut phone = device(&server, "bob", "phone");
    let told = phone.push("resync");
    assert_eq!((&told["conversationId"], &told["reason"]), (&json!("lobby"), &json!("unrecoverable")));
    assert_eq!(phone.push("queue-flushed")["count"], 0);
}

#[test]
fn whoever_leaves_acknowledging_to_the_server_has_no_queue_yet() {
    let server = server();
    let mut ann = server.member("ann", "lobby");
    server.device("bob", json!({"deviceId": "phone"})).join("lobby");
    ann.say("lobby", 1);
    let mut phone = server.device("bob", json!({"deviceId": "phone"}));
    assert_eq!(phone.success["queued"], 0);
    phone.nothing_came("lobby");
}
