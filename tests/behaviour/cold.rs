//! Rooms whose events are on the disk alone: nothing is read before somebody needs it, what is asked meanwhile is
//! answered in order, and what cannot be read is not taken for nothing.

use std::fs;
use std::path::{Path, PathBuf};

use redb::{Database, TableDefinition};
use serde_json::{Value, json};
use stentor::config::{Config, Durability};

use crate::common::{API_KEY, Client, TestServer, api_key, config, until};

/// A data directory of a test's own.
fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cold-{name}"));
    fs::remove_dir_all(&path).ok();
    path
}

fn on_disk(name: &str) -> Config {
    let mut config = Config { data_directory: directory(name), ..config() };
    config.api.keys = vec![api_key("tests", API_KEY)];
    config.store.durability = Durability::Disk;
    config
}

fn is(server: &TestServer, series: &str, expected: f64) {
    until(series, || (server.metric(series) == expected).then_some(()));
}

fn reads(server: &TestServer) -> f64 {
    server.metric("stentor_store_reads_total{result=\"ok\"}")
}

fn contents(history: &Value) -> Vec<Value> {
    history["messages"].as_array().unwrap().iter().map(|message| message["content"].clone()).collect()
}

fn history(client: &mut Client, room: &str) -> Vec<Value> {
    contents(&client.history(json!({"conversationId": room})))
}

fn publish(server: &TestServer, room: &str, content: impl Into<Value>) -> Value {
    server.api("publish", json!({"userId": "robot", "conversationId": room, "content": content.into()}))
}

#[test]
fn events_are_read_when_somebody_needs_them() {
    let config = on_disk("needed");
    let server = TestServer::start(config.clone());
    let mut ann = server.member("ann", "lobby");
    ann.join("team");
    for number in 0..3 {
        ann.say("lobby", number);
        ann.say("team", number);
    }
    is(&server, "stentor_store_events", 8.0);
    let bytes = server.metric("stentor_store_bytes");
    server.stop();
    let server = TestServer::start(config);
    is(&server, "stentor_store_cold_rooms", 2.0);
    is(&server, "stentor_store_events", 8.0);
    is(&server, "stentor_store_bytes", bytes);
    // She wrote all that is there, so that she missed nothing, and nothing is unread.
    let mut ann = server.device("ann", json!({"autoAck": false}));
    assert_eq!(ann.success["rooms"][0]["seq"], 4);
    assert_eq!(ann.success["rooms"][0]["unread"], 0);
    assert_eq!(ann.success["queued"], 0);
    assert_eq!(ann.online("lobby"), ["ann"]);
    assert_eq!(reads(&server), 0.0);
    assert_eq!(history(&mut ann, "lobby"), [0, 1, 2]);
    assert_eq!(reads(&server), 1.0);
    is(&server, "stentor_store_cold_rooms", 1.0);
    is(&server, "stentor_store_events", 8.0);
    is(&server, "stentor_store_bytes", bytes);
    server.stop();
}

#[test]
fn whatever_comes_first_after_a_start_finds_the_log_as_it_was() {
    let config = on_disk("first");
    let server = TestServer::start(config.clone());
    let mut bob = server.member("bob", "lobby");
    let joined = server.member("ann", "lobby").join("lobby");
    let said: Vec<Value> = (0..4).map(|number| bob.say("lobby", number)).collect();
    server.stop();
    let message = |index: usize| json!({"conversationId": "lobby", "messageId": said[index]["messageId"]});
    let first_thing = |first: &dyn Fn(&TestServer)| {
        let server = TestServer::start(config.clone());
        assert_eq!(reads(&server), 0.0);
        first(&server);
        assert_eq!(reads(&server), 1.0);
        server.stop();
    };
    first_thing(&|server| {
        let since = json!({"lobby": {"epoch": joined["epoch"], "seq": said[1]["seq"]}});
        let mut ann = server.device("ann", json!({"since": since}));
        assert_eq!(ann.success["rooms"][0]["unread"], 4);
        assert_eq!([ann.message()["content"].clone(), ann.message()["content"].clone()], [2, 3]);
        ann.push("queue-flushed");
    });
    first_thing(&|server| {
        let mut ann = server.device("ann", json!({"autoAck": false, "deviceId": "phone"}));
        assert_eq!((0..4).map(|_| ann.message()["content"].clone()).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(ann.push("queue-flushed")["count"], 4);
    });
    first_thing(&|server| {
        let mut edit = message(0);
        edit["content"] = "edited".into();
        assert_eq!(server.user("bob").ok("edit-message", edit)["version"], 2);
    });
    first_thing(&|server| drop(server.user("bob").ok("delete-message", message(1))));
    first_thing(&|server| {
        let status = server.user("bob").reply_named("message-status", "get-message-status", message(2));
        assert_eq!((&status["status"], &status["users"][0]["userId"]), (&json!("sent"), &json!("ann")));
    });
    first_thing(&|server| {
        let cid = server.member("cid", "lobby");
        assert_eq!(cid.success["rooms"], json!([]));
    });
    first_thing(&|server| {
        assert_eq!(history(&mut server.user("bob"), "lobby"), json!(["edited", null, 2, 3]).as_array().unwrap()[..])
    });
}

#[test]
fn what_is_asked_while_a_room_is_read_is_answered_in_order() {
    const CLIENTS: usize = 4;
    const SENDS: usize = 5;
    let config = on_disk("order");
    let server = TestServer::start(config.clone());
    let text = "x".repeat(1_000);
    let mut fill = server.member("user-0", "lobby");
    for client in 1..CLIENTS {
        server.member(&format!("user-{client}"), "lobby");
    }
    let head = (0..500).map(|_| fill.say("lobby", text.as_str())["seq"].as_u64().unwrap()).last().unwrap();
    for client in 0..CLIENTS {
        // Who is up to date comes in without any event.
        server.user(&format!("user-{client}")).ok("mark-read", json!({"conversationId": "lobby", "upTo": head}));
    }
    server.stop();
    for shards in [1, 3] {
        let server = TestServer::start(Config { shards, ..config.clone() });
        let mut clients: Vec<Client> = (0..CLIENTS).map(|client| server.user(&format!("user-{client}"))).collect();
        assert_eq!(reads(&server), 0.0);
        let head = clients[0].success["rooms"][0]["seq"].as_u64().unwrap();
        let asked: Vec<(Vec<String>, String)> = clients
            .iter_mut()
            .enumerate()
            .map(|(number, client)| {
                let send = |index: usize| json!({"conversationId": "lobby", "content": [number, index]});
                let sends = (0..SENDS).map(|index| client.ask("send-message", send(index))).collect();
                (sends, client.ask("history", json!({"conversationId": "lobby", "after": head, "limit": 100})))
            })
            .collect();
        let mut seqs = Vec::new();
        for (number, (client, (sends, page))) in clients.iter_mut().zip(asked).enumerate() {
            let mut answers = Vec::new();
            while answers.len() < SENDS + 1 {
                let envelope = client.next();
                if envelope["id"].is_string() {
                    answers.push(envelope);
                }
            }
            let ids: Vec<&Value> = answers.iter().map(|answer| &answer["id"]).collect();
            assert_eq!(ids, sends.iter().chain([&page]).collect::<Vec<_>>());
            let acks: Vec<u64> = answers[..SENDS].iter().map(|ack| ack["data"]["seq"].as_u64().unwrap()).collect();
            assert!(acks.is_sorted(), "{acks:?}");
            seqs.extend(acks);
            let own: Vec<Value> = contents(&answers[SENDS]["data"]).into_iter().filter(|it| it[0] == number).collect();
            assert_eq!(own, (0..SENDS).map(|index| json!([number, index])).collect::<Vec<_>>());
        }
        seqs.sort_unstable();
        assert!(seqs.into_iter().eq(head + 1..=head + (CLIENTS * SENDS) as u64));
        assert_eq!(reads(&server), 1.0);
        for client in &mut clients {
            client.ok("mark-read", json!({"conversationId": "lobby", "upTo": u64::MAX}));
        }
        server.stop();
    }
}

/// Takes one event of a room out of the file, as no one but a bad disk would.
fn lose_an_event(config: &Config, room: &str, seq: u64) {
    const EVENTS: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("events");
    let database = Database::open(config.data_directory.join("store.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    assert!(transaction.open_table(EVENTS).unwrap().remove((room, seq)).unwrap().is_some());
    transaction.commit().unwrap();
}

#[test]
fn a_room_that_cannot_be_read_is_refused_and_the_others_go_on() {
    let mut config = on_disk("unreadable");
    config.limits.rooms_per_user_max = 2;
    let server = TestServer::start(config.clone());
    let mut ann = server.member("ann", "broken");
    ann.join("lobby");
    let said: Vec<Value> = (0..3).map(|number| ann.say("broken", number)).collect();
    ann.say("lobby", "fine");
    server.stop();
    lose_an_event(&config, "broken", said[1]["seq"].as_u64().unwrap());
    let server = TestServer::start(config.clone());
    let mut ann = server.user("ann");
    let unavailable = |client: &mut Client, event: &str, data: Value| {
        assert_eq!(client.refused("STORE_UNAVAILABLE", event, data)["retryable"], true);
    };
    unavailable(&mut ann, "history", json!({"conversationId": "broken"}));
    unavailable(&mut ann, "send-message", json!({"conversationId": "broken", "content": 1}));
    unavailable(&mut ann, "delete-message", json!({"conversationId": "broken", "messageId": said[0]["messageId"]}));
    unavailable(&mut ann, "leave-room", json!("broken"));
    server.api_refused(503, "STORE_UNAVAILABLE", "history", json!({"conversationId": "broken"}));
    assert_eq!(server.metric("stentor_store_reads_total{result=\"error\"}"), 5.0);
    assert_eq!(ann.online("broken"), ["ann"]);
    assert_eq!(history(&mut ann, "lobby"), ["fine"]);
    ann.say("lobby", "and on");
    // Whoever cannot come in has not come in: there is room for two others.
    let mut bob = server.user("bob");
    bob.refused("JOIN_ROOM_FAILED", "join-room", json!("broken"));
    bob.join("lobby");
    bob.join("other");
    server.stop();
    let server = TestServer::start(config);
    assert_eq!(history(&mut server.user("bob"), "lobby"), ["fine", "and on"]);
    server.stop();
}

#[test]
fn whoever_comes_back_to_a_room_that_cannot_be_read_loses_that_room_alone() {
    let config = on_disk("unreadable-queue");
    let server = TestServer::start(config.clone());
    let mut ann = server.member("ann", "broken");
    ann.join("lobby");
    let mut bob = server.device("bob", json!({"deviceId": "phone", "autoAck": false}));
    bob.join("broken");
    bob.join("lobby");
    bob.close();
    let said: Vec<Value> = (0..3).map(|number| ann.say("broken", number)).collect();
    ann.say("lobby", "while you were away");
    server.stop();
    lose_an_event(&config, "broken", said[1]["seq"].as_u64().unwrap());
    let server = TestServer::start(config);
    let since = json!({"broken": {"epoch": said[0]["epoch"], "seq": said[0]["seq"]}});
    for options in [json!({}), json!({"since": since})] {
        let mut options = options;
        options["deviceId"] = "phone".into();
        let mut bob = server.device("bob", options);
        let rooms = bob.success["rooms"].as_array().unwrap();
        let heads: Vec<_> = rooms.iter().map(|room| (&room["conversationId"], &room["seq"])).collect();
        assert_eq!(heads, [(&json!("broken"), &said[2]["seq"]), (&json!("lobby"), &json!(3))]);
        let resync = bob.push_after_others("resync");
        assert_eq!((&resync["conversationId"], &resync["reason"]), (&json!("broken"), &json!("unrecoverable")));
        bob.refused("STORE_UNAVAILABLE", "history", json!({"conversationId": "broken"}));
        // A pong proves that he has the head of the broken room: that cannot be kept, and is nobody's answer.
        bob.is_alive();
        assert_eq!(history(&mut bob, "lobby"), ["while you were away"]);
        bob.close();
    }
    server.stop();
}

#[test]
fn a_room_that_nobody_uses_is_left_to_the_disk_again() {
    let mut config = on_disk("again");
    config.store.cold_after_ms = 1;
    let server = TestServer::start(config);
    let first = publish(&server, "lobby", "first");
    let bytes = until("it is counted", || Some(server.metric("stentor_store_bytes")).filter(|bytes| *bytes > 0.0));
    let mut expected = vec![json!("first")];
    for number in 0..3 {
        is(&server, "stentor_store_cold_rooms", 1.0);
        is(&server, "stentor_store_bytes", bytes * f64::from(1 + number));
        publish(&server, "lobby", "again");
        expected.push(json!("again"));
    }
    is(&server, "stentor_store_cold_rooms", 1.0);
    let edit = json!({"userId": "robot", "conversationId": "lobby", "messageId": first["messageId"], "content": "1st"});
    server.api("edit", edit);
    expected[0] = json!("1st");
    is(&server, "stentor_store_cold_rooms", 1.0);
    assert_eq!(contents(&server.api("history", json!({"conversationId": "lobby"}))), expected);
    // Where somebody is live, it stays.
    let ann = server.member("ann", "lobby");
    is(&server, "stentor_store_cold_rooms", 0.0);
    publish(&server, "empty", "this one goes");
    is(&server, "stentor_store_cold_rooms", 1.0);
    ann.close();
    is(&server, "stentor_store_cold_rooms", 2.0);
    server.stop();
}

#[test]
fn the_oldest_events_give_way_though_nobody_reads_them() {
    let mut config = on_disk("total");
    config.shards = 1;
    let server = TestServer::start(config.clone());
    for number in 0..10 {
        publish(&server, "old", number);
    }
    publish(&server, "new", "kept");
    is(&server, "stentor_store_events", 11.0);
    server.stop();
    let event_bytes = 300;
    config.store.total_bytes_max = 6 * event_bytes;
    let server = TestServer::start(config.clone());
    is(&server, "stentor_store_events", 11.0);
    publish(&server, "new", "too");
    until("there is room", || {
        (server.metric("stentor_store_bytes") <= config.store.total_bytes_max as f64).then_some(())
    });
    assert_eq!(contents(&server.api("history", json!({"conversationId": "new"}))), ["kept", "too"]);
    let left = contents(&server.api("history", json!({"conversationId": "old"})));
    assert!(!left.is_empty() && left.len() < 10 && left.last() == Some(&json!(9)), "{left:?}");
    server.stop();
    let server = TestServer::start(config);
    assert_eq!(contents(&server.api("history", json!({"conversationId": "old"}))), left);
    server.stop();
}

#[test]
fn what_is_too_old_goes_though_nobody_reads_it() {
    let mut config = on_disk("age");
    let server = TestServer::start(config.clone());
    publish(&server, "lobby", "old");
    server.stop();
    config.store.room_age_seconds_max = 1;
    let server = TestServer::start(config);
    until("it is read", || (reads(&server) == 1.0).then_some(()));
    is(&server, "stentor_store_events", 0.0);
    is(&server, "stentor_store_rooms", 0.0);
    server.stop();
}

#[test]
fn a_long_queue_of_cold_rooms_comes_whole_while_others_talk() {
    const ROOMS: [&str; 3] = ["lobby", "team", "news"];
    const MISSED: usize = 300;
    const SAID: usize = 50;
    let mut config = on_disk("queue");
    config.shards = 2;
    config.limits.recover_events_max = 20;
    let device = json!({"deviceId": "phone", "autoAck": false});
    let server = TestServer::start(config.clone());
    let mut phone = server.device("bob", device.clone());
    let mut ann = server.user("ann");
    for room in ROOMS {
        ann.join(room);
        phone.join(room);
    }
    phone.close();
    for number in 0..MISSED {
        ROOMS.iter().for_each(|room| drop(publish(&server, room, number)));
    }
    server.stop();
    let server = TestServer::start(config);
    is(&server, "stentor_store_cold_rooms", 3.0);
    let mut phone = server.device("bob", device);
    assert_eq!(phone.success["queued"], ROOMS.len() * MISSED);
    for number in MISSED..MISSED + SAID {
        ROOMS.iter().for_each(|room| drop(publish(&server, room, number)));
    }
    let mut heard: Vec<Value> = Vec::new();
    while heard.len() < ROOMS.len() * (MISSED + SAID) {
        heard.push(phone.message());
    }
    for room in ROOMS {
        let of_room = heard.iter().filter(|message| message["conversationId"] == room);
        let contents: Vec<Value> = of_room.map(|message| message["content"].clone()).collect();
        assert_eq!(contents, (0..MISSED + SAID).map(Value::from).collect::<Vec<_>>(), "{room}");
    }
    assert_eq!(reads(&server), 3.0, "each room is read once");
    server.stop();
}
