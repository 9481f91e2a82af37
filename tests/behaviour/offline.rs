//! The offline queue: what a device that acknowledges by itself did not acknowledge waits for it.

use serde_json::{Value, json};

use crate::common::{Client, Frame, TestServer, config};

fn server() -> TestServer {
    TestServer::with_shards(3).explicit()
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
    // Nothing can wait for whoever is nowhere.
    while client.success["rooms"] != json!([]) {
        let message = client.next();
        if message["event"] == "queue-flushed" {
            assert_eq!(message["data"]["count"], client.success["queued"], "{message}");
            break;
        }
        if message["event"] == "message-new" {
            assert_eq!(message["data"]["queued"], true, "{message}");
            contents.push(message["data"]["content"].clone());
        }
    }
    contents
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
    assert!((server.metric("stentor_queue_flushes_total") - 4.0).abs() < 0.5);
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
fn s2_6_what_retention_dropped_is_said_to_be_missing() {
    let mut config = config();
    config.store.room_events_max = 3;
    let server = TestServer::start(config).explicit();
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

/// A device that leaves acknowledging to the server, as most do.
fn plain(server: &TestServer, user: &str, device: &str) -> Client {
    server.device(user, json!({"deviceId": device, "autoAck": true}))
}

/// Waits until a cursor of the user's has come so far, by what the server pings and the client answers.
fn proven(watcher: &mut Client, up_to: &Value) {
    loop {
        let told = watcher.push_after_others("receipt");
        assert_eq!(told["type"], "delivered", "{told}");
        if told["upTo"] == *up_to {
            return;
        }
    }
}

#[test]
fn a_pong_is_proof_of_what_was_written_before_the_ping() {
    for shards in [1, 3] {
        let mut config = config();
        config.shards = shards;
        config.timing.receipt_coalesce_ms = 0;
        let server = TestServer::start(config).explicit();
        let mut ann = server.member("ann", "lobby");
        let mut phone = plain(&server, "bob", "phone");
        phone.join("lobby");
        let first = ann.say("lobby", 1);
        assert_eq!(phone.message()["content"], 1);
        let ping = phone.next_frame();
        assert_eq!(ping, Frame::Ping(b"+".to_vec()));
        // What is written while that is unanswered gets no ping of its own, and is not proven by its pong.
        let second = ann.say("lobby", 2);
        assert_eq!(phone.message()["content"], 2);
        phone.send_frame(0x8a, b"+");
        proven(&mut ann, &first["seq"]);
        let question = json!({"conversationId": "lobby", "messageId": second["messageId"]});
        assert_eq!(ann.reply_named("message-status", "get-message-status", question)["status"], "sent");
        // Somewhat later there is one for the rest, though nothing more is written.
        assert_eq!(phone.next_frame(), Frame::Ping(b"+".to_vec()));
        phone.send_frame(0x8a, b"+");
        proven(&mut ann, &second["seq"]);
        drop(phone);
        assert!(waiting(&mut plain(&server, "bob", "phone")).is_empty());
    }
}

#[test]
fn what_no_pong_proved_waits() {
    let server = server();
    let mut ann = server.member("ann", "lobby");
    let mut phone = plain(&server, "bob", "phone");
    phone.answers_pings = false;
    phone.join("lobby");
    ann.say("lobby", 1);
    assert_eq!(phone.message()["content"], 1);
    // A pong that nobody asked for proves nothing.
    phone.send_frame(0x8a, b"!");
    phone.is_alive();
    drop(phone);
    ann.say("lobby", 2);
    let mut phone = plain(&server, "bob", "phone");
    assert_eq!(waiting(&mut phone), [1, 2]);
    // The queue is followed by a ping like anything else.
    phone.is_alive();
    proven(&mut ann, &phone.success["rooms"][0]["seq"]);
    drop(phone);
    assert!(waiting(&mut plain(&server, "bob", "phone")).is_empty());
}

#[test]
fn a_device_that_skipped_something_proves_nothing() {
    let server = server();
    let mut ann = server.member("ann", "lobby");
    plain(&server, "bob", "phone").join("lobby");
    let skipped = ann.say("lobby", 1);
    let mut phone = server.device("bob", json!({"deviceId": "phone", "autoAck": true, "attach": false}));
    phone.join("lobby");
    ann.say("lobby", 2);
    assert_eq!(phone.message()["content"], 2);
    drop(phone);
    assert_eq!(waiting(&mut plain(&server, "bob", "phone")), [1, 2]);
    // Whoever says since when joins without a gap.
    let mut phone = server.device("bob", json!({"deviceId": "phone", "autoAck": true, "attach": false}));
    let since = json!({"epoch": skipped["epoch"], "seq": skipped["seq"]});
    assert_eq!(phone.join_since("lobby", since)["messages"].as_array().unwrap().len(), 1);
    let third = ann.say("lobby", 3);
    assert_eq!(phone.message()["content"], 3);
    phone.is_alive();
    proven(&mut ann, &third["seq"]);
}

#[test]
fn devices_without_a_name_share_their_users_queue() {
    let server = server();
    let mut ann = server.member("ann", "lobby");
    let mut bob = server.device("bob", json!({"autoAck": true}));
    bob.join("lobby");
    bob.close();
    ann.say("lobby", 1);
    let mut bob = server.device("bob", json!({"autoAck": true}));
    assert_eq!(waiting(&mut bob), [1]);
    bob.is_alive();
    proven(&mut ann, &bob.success["rooms"][0]["seq"]);
    assert!(waiting(&mut server.device("bob", json!({"autoAck": true}))).is_empty());
}

#[test]
fn whoever_does_not_attach_has_no_queue() {
    let server = server();
    let mut ann = server.member("ann", "lobby");
    plain(&server, "bob", "phone").join("lobby");
    ann.say("lobby", 1);
    let mut phone = server.device("bob", json!({"deviceId": "phone", "autoAck": true, "attach": false}));
    assert_eq!(phone.success["queued"], 0);
    phone.nothing_came("lobby");
}
