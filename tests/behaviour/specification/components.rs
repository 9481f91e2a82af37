//! Section A, components and behaviours: what a sender is told, what keeps a user there, and how a server is started.

use serde_json::json;

use crate::common::{Client, Frame, TestServer, config};

#[test]
fn s1_23_s1_39_a_sender_is_told_that_its_message_is_in_the_room() {
    for shards in [1, 3] {
        let server = TestServer::with_shards(shards);
        let mut ann = server.member("ann", "lobby");
        let ack = ann.post(json!({"conversationId": "lobby", "tempId": "t-1", "content": "hello"}));
        assert_eq!((&ack["tempId"], &ack["conversationId"]), (&json!("t-1"), &json!("lobby")), "{ack}");
        let stored = ann.history(json!("lobby"))["messages"][0].clone();
        for field in ["messageId", "seq", "epoch", "sentAt"] {
            assert!(!ack[field].is_null() && ack[field] == stored[field], "{field} in {ack} and {stored}");
        }
        assert_eq!(stored["content"], "hello");
    }
}

#[test]
fn s1_24_temp_id_maps_to_server_id() {
    let server = TestServer::with_shards(2);
    let mut ann = server.member("ann", "lobby");
    let mut bob = server.member("bob", "lobby");
    let mut seen = Vec::new();
    for temp_id in ["t-1", "t-2", "t-3"] {
        let ack = ann.post(json!({"conversationId": "lobby", "tempId": temp_id, "content": temp_id}));
        let push = bob.message();
        assert_eq!(ack["tempId"], temp_id);
        assert_eq!((&push["tempId"], &push["messageId"]), (&ack["tempId"], &ack["messageId"]));
        assert!(!seen.contains(&ack["messageId"]) && ack["messageId"] != temp_id, "{ack} after {seen:?}");
        seen.push(ack["messageId"].clone());
    }
    // From there on the server's id is the message's only name.
    let by = |id| json!({"conversationId": "lobby", "messageId": id, "content": "edited"});
    ann.refused("MESSAGE_NOT_FOUND", "edit-message", by(json!("t-2")));
    ann.ok("edit-message", by(seen[1].clone()));
    assert_eq!(bob.push_after_others("message-edited")["messageId"], seen[1]);
}

#[test]
fn s1_25_the_sender_is_answered_and_its_other_devices_are_told() {
    let server = TestServer::with_shards(3);
    let mut phone = server.device("ann", json!({"deviceId": "phone"}));
    phone.join("lobby");
    let mut laptop = server.device("ann", json!({"deviceId": "laptop"}));
    let ack = phone.post(json!({"conversationId": "lobby", "tempId": "t", "content": 1, "noEcho": true}));
    let copy = laptop.message();
    assert_eq!((&copy["messageId"], &copy["tempId"]), (&ack["messageId"], &json!("t")));
    assert_eq!((&copy["userId"], &copy["deviceId"]), (&json!("ann"), &json!("phone")));
    // The answer was all that the sender needed.
    phone.nothing_came("lobby");
}

#[test]
fn s2_18_heartbeats_keep_a_user_there() {
    let mut config = config();
    // One sweep looks at both connections, so the one that says nothing cannot be closed alone.
    config.shards = 1;
    config.timing.ping_ms = 100;
    config.timing.pong_ms_max = 900;
    config.timing.presence_grace_ms = 0;
    let server = TestServer::start(config);
    let mut bob = server.member("bob", "lobby");
    bob.answers_pings = false;
    // The clock of this test: it came later, says nothing, and is closed for it.
    let mut silent = server.member("silent", "lobby");
    std::thread::scope(|scope| {
        let clock = scope.spawn(move || {
            silent.answers_pings = false;
            silent.closed(4201);
        });
        while !clock.is_finished() {
            bob.reply_named("heartbeat-ack", "heartbeat", json!(null));
        }
    });
    let mut ann = server.member("ann", "lobby");
    let users =
        ann.reply_named("presence-status", "get-presence", json!({"userIds": ["bob", "silent"]}))["users"].clone();
    let of = |name: &str| {
        let users = users.as_array().unwrap();
        users.iter().find(|user| user["userId"] == name).unwrap_or_else(|| panic!("{users:?}"))["status"].clone()
    };
    assert_eq!((of("bob"), of("silent")), (json!("online"), json!("offline")));
}

#[test]
fn s2_20_servers_start_and_stop_within_a_program() {
    let (first, second) = (TestServer::with_shards(1), TestServer::with_shards(1));
    let mut ann = first.member("ann", "lobby");
    let mut bob = second.member("bob", "lobby");
    assert_eq!(bob.online("lobby"), ["bob"], "they have nothing in common");
    first.stop();
    assert!(ends(&mut ann), "a server that stopped leaves no connection");
    bob.say("lobby", "still here");
    assert_eq!(bob.message()["content"], "still here");
}

fn ends(client: &mut Client) -> bool {
    loop {
        match client.next_frame() {
            Frame::Close(code, _) => return code == Some(4200),
            Frame::End => return false,
            Frame::Text(_) | Frame::Ping(_) | Frame::Pong(_) => {}
        }
    }
}
