//! The offline queue where it is longer than a page: it comes whole, in order and once, whatever happens meanwhile.

use serde_json::{Value, json};
use stentor::config::Config;

use crate::common::{API_KEY, Client, TestServer, api_key, config, until};

/// Pages of a few events, so that a queue has many of them.
const PAGE_EVENTS: usize = 20;

fn paged() -> Config {
    let mut config = config();
    config.shards = 3;
    config.limits.recover_events_max = PAGE_EVENTS;
    // Who waits for something else here does not read meanwhile.
    config.limits.outbox_ms_max = 600_000;
    config.api.keys = vec![api_key("tests", API_KEY)];
    config
}

fn publish(server: &TestServer, room: &str, content: impl Into<Value>) -> Value {
    server.api("publish", json!({"userId": "robot", "conversationId": room, "content": content.into()}))
}

/// A device that acknowledges by itself.
fn phone(server: &TestServer) -> Client {
    server.device("bob", json!({"deviceId": "phone", "autoAck": false}))
}

/// Lets Bob's phone miss so many messages in each of some rooms.
fn miss(server: &TestServer, rooms: &[&str], count: usize) {
    let mut phone = phone(server);
    rooms.iter().for_each(|room| drop(phone.join(room)));
    phone.close();
    for number in 0..count {
        rooms.iter().for_each(|room| drop(publish(server, room, number)));
    }
}

/// Takes everything up to `queue-flushed`: the pushes, and what that counts.
fn queue(client: &mut Client) -> (Vec<Value>, u64) {
    let mut pushes = Vec::new();
    loop {
        let message = client.next();
        if message["event"] == "queue-flushed" {
            return (pushes, message["data"]["count"].as_u64().unwrap());
        }
        pushes.push(message);
    }
}

/// The messages of a room among them.
fn of<'a>(pushes: &'a [Value], room: &'a str) -> impl Iterator<Item = &'a Value> {
    pushes.iter().map(|push| &push["data"]).filter(move |data| data["conversationId"] == room)
}

fn contents(pushes: &[Value], room: &str) -> Vec<Value> {
    of(pushes, room).map(|data| data["content"].clone()).collect()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<Value> {
    range.map(Value::from).collect()
}

#[test]
fn a_long_queue_comes_whole_while_others_talk() {
    const ROOMS: [&str; 4] = ["one", "two", "three", "four"];
    const MISSED: usize = 800;
    const SAID: usize = 150;
    let server = TestServer::start(paged());
    miss(&server, &ROOMS, MISSED);
    let mut ann = server.user("ann");
    ROOMS.iter().for_each(|room| drop(ann.join(room)));
    let mut phone = phone(&server);
    // Each room has a `member-joined` besides.
    assert_eq!(phone.success["queued"], ROOMS.len() * (MISSED + 1));
    for number in 0..SAID {
        ROOMS.iter().for_each(|room| drop(ann.say(room, json!([number]))));
    }
    let (mut pushes, count) = queue(&mut phone);
    assert_eq!(count, phone.success["queued"].as_u64().unwrap());
    ROOMS.iter().for_each(|room| phone.barrier(room));
    while phone.has_mail() {
        pushes.push(phone.next());
    }
    for room in ROOMS {
        let heads = phone.success["rooms"].as_array().unwrap();
        let head = heads.iter().find(|known| known["conversationId"] == room).unwrap()["seq"].as_u64().unwrap();
        let mut place = head - MISSED as u64 - 1;
        for data in of(&pushes, room) {
            place += 1;
            assert_eq!(data["seq"], place, "{data}");
            let is_message = data.get("content").is_some();
            assert_eq!(data.get("queued").is_some(), is_message && place <= head, "what is new is not queued: {data}");
        }
        assert_eq!(place, head + SAID as u64, "{room}");
    }
}

#[test]
fn who_is_being_told_takes_part_already() {
    let server = TestServer::start(paged());
    miss(&server, &["lobby"], 2_000);
    let mut ann = server.member("ann", "lobby");
    let mut phone = server.connect();
    let token = crate::common::Token::of("bob").sign();
    // All of it is asked before any of the queue is read, so much of it is done while pages come.
    phone.send(&json!({"event": "auth", "data": {"token": token, "deviceId": "phone", "autoAck": false}}));
    let post = |content: &str, no_echo: bool| json!({"conversationId": "lobby", "content": content, "noEcho": no_echo});
    let asked = [
        phone.ask("send-message", post("loud", false)),
        phone.ask("send-message", post("soft", true)),
        phone.ask("join-room", json!({"conversationId": "lobby"})),
        phone.ask("get-online-users", json!({"conversationId": "lobby"})),
    ];
    let answers: Vec<Value> = asked.iter().map(|id| phone.answer(id)["data"].clone()).collect();
    assert_eq!(answers[2]["recovered"], false);
    assert_eq!(answers[3]["users"], json!(["ann", "bob"]));
    let success = phone.push("auth-success");
    let (mut pushes, count) = queue(&mut phone);
    assert_eq!(success["queued"], count);
    ann.say("lobby", "last");
    phone.barrier("lobby");
    while phone.has_mail() {
        pushes.push(phone.next());
    }
    let mut expected = numbers(0..2_000);
    expected.extend([Value::Null, json!("loud"), json!("last")]);
    assert_eq!(contents(&pushes, "lobby"), expected, "the third last is a member-joined");
}

#[test]
fn who_does_not_read_a_long_queue_costs_a_page_and_stops_nobody() {
    let mut config = paged();
    config.shards = 1;
    config.limits.outbox_bytes_max = 100_000;
    config.store.room_bytes_max = 0;
    config.store.total_bytes_max = 0;
    let server = TestServer::start(config);
    let mut reader = server.member("reader", "lobby");
    let large = "x".repeat(50_000);
    {
        let mut phone = phone(&server);
        phone.join("lobby");
        phone.close();
    }
    // More than any socket takes.
    for number in 0..600 {
        publish(&server, "lobby", json!([number, large]));
        assert_eq!(reader.message()["content"][0], number);
    }
    let mut slow = phone(&server);
    until("the socket is full", || {
        let waiting = server.metric("stentor_outbox_bytes");
        assert!(waiting <= 400_000.0, "{waiting} bytes wait");
        (waiting > 0.0).then_some(())
    });
    let told = server.metric("stentor_queued_deliveries_total");
    for number in 600..620 {
        publish(&server, "lobby", json!([number, large]));
        assert_eq!(reader.message()["content"][0], number, "others are served");
    }
    assert!(server.metric("stentor_outbox_bytes") <= 400_000.0);
    assert!(told < 600.0, "{told}");
    assert_eq!(server.metric("stentor_slow_consumers_total"), 0.0);
    let (mut pushes, count) = queue(&mut slow);
    assert_eq!(count, slow.success["queued"].as_u64().unwrap());
    slow.barrier("lobby");
    while slow.has_mail() {
        pushes.push(slow.next());
    }
    let heard: Vec<Value> = contents(&pushes, "lobby").iter().map(|content| content[0].clone()).collect();
    assert_eq!(heard, numbers(0..620));
}

/// Waits until the phone's pages have filled its socket, which nobody reads.
fn stalled(server: &TestServer) -> Client {
    let phone = phone(server);
    until("the socket is full", || (server.metric("stentor_outbox_bytes") > 0.0).then_some(()));
    phone
}

fn large_rooms(server: &TestServer, rooms: &[&str]) {
    let large = "x".repeat(50_000);
    let mut phone = phone(server);
    rooms.iter().for_each(|room| drop(phone.join(room)));
    phone.close();
    for number in 0..400 {
        rooms.iter().for_each(|room| drop(publish(server, room, json!([number, large]))));
    }
}

fn roomy() -> Config {
    let mut config = paged();
    config.limits.outbox_bytes_max = 100_000;
    config.store.room_bytes_max = 0;
    config.store.total_bytes_max = 0;
    config
}

#[test]
fn what_retention_dropped_between_two_pages_is_said_to_be_missing_once() {
    let mut config = roomy();
    config.store.room_events_max = 420;
    let server = TestServer::start(config);
    large_rooms(&server, &["lobby"]);
    let mut phone = stalled(&server);
    for number in 0..420 {
        publish(&server, "lobby", number);
    }
    let (pushes, count) = queue(&mut phone);
    assert!(count < phone.success["queued"].as_u64().unwrap());
    let resyncs: Vec<&Value> = pushes.iter().filter(|push| push["event"] == "resync").collect();
    assert_eq!(resyncs.len(), 1, "{resyncs:?}");
    assert_eq!(resyncs[0]["data"]["reason"], "unrecoverable");
    assert_eq!(pushes.last().unwrap()["event"], "resync", "nothing follows a gap but what is new");
    // It takes part again from there on.
    publish(&server, "lobby", "new");
    assert_eq!(phone.message()["content"], "new");
}

#[test]
fn a_room_that_is_left_is_told_no_further() {
    let server = TestServer::start(roomy());
    large_rooms(&server, &["left", "removed", "kept"]);
    let mut phone = stalled(&server);
    server.api("leave", json!({"userId": "bob", "conversationId": "removed"}));
    let left = phone.ask("leave-room", json!({"conversationId": "left"}));
    phone.answer(&left);
    let (pushes, _) = queue(&mut phone);
    let gone = pushes.iter().position(|push| push["event"] == "room-left").unwrap();
    assert_eq!(pushes[gone]["data"], json!({"conversationId": "removed", "reason": "removed"}));
    assert_eq!(of(&pushes[gone + 1..], "removed").count(), 0);
    let kept: Vec<Value> = contents(&pushes, "kept").iter().map(|content| content[0].clone()).collect();
    assert_eq!(kept, numbers(0..400));
    assert!(contents(&pushes, "left").len() < 400);
    phone.nothing_came("kept");
    assert_eq!(server.user("ann").join("left")["members"], 1);
}

#[test]
fn a_connection_that_ends_between_two_pages_goes_on_where_its_cursor_stood() {
    let server = TestServer::start(roomy());
    large_rooms(&server, &["lobby", "team"]);
    let mut phone = stalled(&server);
    let upto = loop {
        let message = phone.message();
        if message["conversationId"] == "lobby" && message["content"][0] == 30 {
            break message["seq"].clone();
        }
    };
    phone.ok("ack", json!({"conversationId": "lobby", "upTo": upto}));
    drop(phone);
    let mut ann = server.member("ann", "lobby");
    until("it is gone", || (ann.online("lobby") == ["ann"]).then_some(()));
    let mut phone = self::phone(&server);
    let (pushes, count) = queue(&mut phone);
    assert_eq!(count, phone.success["queued"].as_u64().unwrap());
    let numbered = |room| -> Vec<Value> {
        let messages = of(&pushes, room).filter(|data| data.get("content").is_some());
        messages.map(|data| data["content"][0].clone()).collect()
    };
    assert_eq!(numbered("lobby"), numbers(31..400));
    assert_eq!(numbered("team"), numbers(0..400));
}

#[test]
fn a_pong_proves_the_pages_before_it() {
    let server = TestServer::start(roomy());
    large_rooms(&server, &["lobby"]);
    let mut phone = server.device("bob", json!({"deviceId": "phone", "autoAck": true}));
    until("the socket is full", || (server.metric("stentor_outbox_bytes") > 0.0).then_some(()));
    // It reads a part, with pings in it that it answers, and is gone.
    let mut last = (0..200).map(|_| phone.message()["seq"].as_u64().unwrap()).last().unwrap();
    phone.is_alive();
    while phone.has_mail() {
        // The end of the queue may be among it.
        let mail = phone.next();
        last = if mail["event"] == "message-new" { mail["data"]["seq"].as_u64().unwrap() } else { last };
    }
    drop(phone);
    let delivered = |room: &Value| room["delivered"].as_u64().unwrap();
    let phone = self::phone(&server);
    let proven = delivered(&phone.success["rooms"][0]);
    assert!(proven > 1 && proven <= last, "{proven} of {last} that were read");
    assert_eq!(phone.success["queued"].as_u64().unwrap(), phone.success["rooms"][0]["seq"].as_u64().unwrap() - proven);
}
