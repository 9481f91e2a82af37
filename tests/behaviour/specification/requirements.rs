//! Section E, requirements: the numbered ones of the second specification, each from end to end, and a whole visit.

use serde_json::{Value, json};

use crate::common::{Client, TestServer, config};

fn names(dialect: &str) -> [&'static str; 3] {
    match dialect {
        "room" => ["message-new", "message-edited", "message-deleted"],
        _ => ["new-message", "message-edited", "message-deleted"],
    }
}

#[test]
fn s2_57_requirements_2_1_and_2_3_news_comes_without_being_asked_for() {
    for dialect in ["room", "conversation"] {
        let server = TestServer::with_shards(3);
        let mut bob = server.device("bob", json!({"dialect": dialect}));
        bob.join("lobby");
        let mut ann = server.member("ann", "lobby");
        let id = ann.say("lobby", "one")["messageId"].clone();
        let message = json!({"conversationId": "lobby", "messageId": id, "content": "two"});
        ann.ok("edit-message", message.clone());
        ann.ok("delete-message", message);
        for name in names(dialect) {
            assert_eq!(bob.push_after_others(name)["messageId"], id);
        }
    }
}

#[test]
fn s2_57_requirement_2_4_typing_is_seen() {
    let mut config = config();
    config.timing.typing_stop_ms = 600_000;
    let server = TestServer::start(config);
    let (mut ann, mut bob) = (server.member("ann", "lobby"), server.member("bob", "lobby"));
    ann.send(&json!({"event": "typing-start", "data": "lobby"}));
    assert_eq!(bob.push_after_others("typing")["userId"], "ann");
    ann.say("lobby", "done");
    assert_eq!(bob.push_after_others("typing-stop")["userId"], "ann");
}

#[test]
fn s2_57_requirement_2_6_messages_wait_for_who_is_away() {
    let server = TestServer::with_shards(3);
    let phone = || server.device("bob", json!({"deviceId": "phone"}));
    let mut bob = phone();
    bob.join("lobby");
    bob.close();
    let mut ann = server.member("ann", "lobby");
    for number in 1..=3 {
        ann.say("lobby", number);
    }
    let mut bob = phone();
    assert_eq!(bob.success["queued"], 4, "ann's joining is an event too");
    assert_eq!(bob.push("member-joined")["userId"], "ann");
    for number in 1..=3 {
        let message = bob.push("message-new");
        assert_eq!((&message["content"], &message["queued"]), (&json!(number), &json!(true)));
    }
    assert_eq!(bob.push("queue-flushed")["count"], 4);
}

#[test]
fn s2_57_requirements_6_1_and_6_3_all_devices_have_the_same_messages() {
    let server = TestServer::with_shards(3);
    let mut devices: Vec<Client> =
        ["phone", "laptop", "tablet"].map(|name| server.device("bob", json!({"deviceId": name}))).into();
    devices[0].join("lobby");
    let mut ann = server.member("ann", "lobby");
    for (number, device) in devices.iter_mut().enumerate() {
        device.say("lobby", number);
    }
    ann.say("lobby", 3);
    let told: Vec<Vec<Value>> =
        devices.iter_mut().map(|device| (0..4).map(|_| device.message()["messageId"].clone()).collect()).collect();
    let history = ann.history(json!("lobby"))["messages"].clone();
    let kept: Vec<Value> = history.as_array().unwrap().iter().map(|message| message["messageId"].clone()).collect();
    assert_eq!(told, [kept.clone(), kept.clone(), kept]);
}

#[test]
fn s2_57_requirement_6_2_what_one_device_read_the_others_know() {
    let server = TestServer::with_shards(3).explicit();
    let mut ann = server.member("ann", "lobby");
    let mut phone = server.device("bob", json!({"deviceId": "phone"}));
    phone.join("lobby");
    let mut laptop = server.device("bob", json!({"deviceId": "laptop"}));
    let seq = ann.say("lobby", "read me")["seq"].clone();
    phone.ok("mark-read", json!({"conversationId": "lobby", "upTo": seq}));
    let seen = |client: &mut Client| loop {
        let receipt = client.push_after_others("receipt");
        if receipt["type"] == "seen" {
            return (receipt["userId"].clone(), receipt["upTo"].clone());
        }
    };
    assert_eq!(seen(&mut laptop), (json!("bob"), seq.clone()));
    assert_eq!(seen(&mut ann), (json!("bob"), seq));
}

#[test]
fn s1_84_s2_53_a_visit_from_the_first_word_to_the_last() {
    for dialect in ["room", "conversation"] {
        let server = TestServer::with_shards(3);
        // Nobody does anything without saying who they are, and nobody says so with a bad token.
        let mut nobody = server.connect();
        nobody.refused("NOT_AUTHENTICATED", "join-room", json!("lobby"));
        nobody.refused("AUTH_FAILED", "auth", json!("nonsense"));
        nobody.closed(4001);
        // Members alone may speak, and all of them hear it.
        let mut visitors: Vec<Client> =
            (0..5).map(|number| server.device(&format!("visitor-{number}"), json!({"dialect": dialect}))).collect();
        let message = json!({"conversationId": "lobby", "content": "hello"});
        visitors[0].refused("NOT_A_MEMBER", "send-message", message.clone());
        for visitor in &mut visitors {
            visitor.join("lobby");
        }
        let id = visitors[0].post(message)["messageId"].clone();
        for visitor in &mut visitors {
            assert_eq!(visitor.push_after_others(names(dialect)[0])["messageId"], id);
        }
        // Who left hears no more, who went is no longer there, and the others go on.
        let mut left = visitors.pop().unwrap();
        left.leave("lobby");
        visitors.pop().unwrap().close();
        visitors[1].say("lobby", "still here");
        assert_eq!(visitors[2].push_after_others(names(dialect)[0])["content"], "still here");
        left.nothing_came("lobby");
    }
}
