//! Typing: who is told, when it ends by itself, and who is listed.

use serde_json::{Value, json};

use crate::common::{Client, TestServer, config};

fn typing(user: &str, is_typing: bool) -> Value {
    json!({"conversationId": "lobby", "userId": user, "isTyping": is_typing})
}

fn typists(client: &mut Client) -> Value {
    client.reply_named("typing-users", "get-typing-users", json!("lobby"))["users"].clone()
}

/// A server on which nobody's typing ends by the clock while a test runs, with two in a room.
fn two_in_the_lobby(shards: usize) -> (TestServer, Client, Client) {
    let mut config = config();
    config.shards = shards;
    config.timing.typing_stop_ms = 600_000;
    let server = TestServer::start(config);
    let mut ann = server.member("ann", "lobby");
    let bob = server.member("bob", "lobby");
    ann.push("member-joined");
    (server, ann, bob)
}

#[test]
fn s1_29_s1_30_s1_42_s1_43_s2_26_s2_27_others_hear_who_types_and_who_stops() {
    for shards in [1, 3] {
        let (server, mut ann, mut bob) = two_in_the_lobby(shards);
        let mut laptop = server.user("ann");
        for data in [json!("lobby"), json!({"conversationId": "lobby"}), json!({"room": "lobby"})] {
            assert_eq!(ann.ok("typing-start", data.clone()), json!({}));
            assert_eq!(bob.push("typing"), typing("ann", true));
            assert_eq!(laptop.push_after_others("typing"), typing("ann", true), "the user's other devices are told");
            ann.ok("typing-stop", data);
            assert_eq!(bob.push("typing-stop"), typing("ann", false));
            assert_eq!(laptop.push("typing-stop"), typing("ann", false));
        }
        ann.nothing_came("lobby");
    }
}

#[test]
fn s1_19_repeated_starts_and_stops_are_told_once() {
    let (_server, mut ann, mut bob) = two_in_the_lobby(3);
    for event in ["typing-start", "typing-start", "typing-start", "typing-stop", "typing-stop"] {
        // Without an id there is no answer.
        ann.send(&json!({"event": event, "data": "lobby"}));
    }
    ann.nothing_came("lobby");
    assert_eq!(bob.push("typing"), typing("ann", true));
    assert_eq!(bob.push("typing-stop"), typing("ann", false));
    bob.nothing_came("lobby");
}

#[test]
fn s1_4_s1_19_s2_8_s2_50_typing_ends_by_the_clock() {
    for shards in [1, 3] {
        let mut config = config();
        config.shards = shards;
        config.timing.typing_stop_ms = 50;
        let server = TestServer::start(config);
        let mut ann = server.member("ann", "lobby");
        let mut bob = server.member("bob", "lobby");
        ann.ok("typing-start", json!("lobby"));
        assert_eq!(bob.push("typing"), typing("ann", true));
        assert_eq!(bob.push("typing-stop"), typing("ann", false));
        assert_eq!(typists(&mut bob), json!([]));
    }
}

#[test]
fn s1_21_s2_15_typing_ends_with_a_message_with_leaving_and_with_the_connection() {
    for shards in [1, 3] {
        let (server, mut ann, mut bob) = two_in_the_lobby(shards);
        ann.ok("typing-start", json!("lobby"));
        bob.push("typing");
        ann.say("lobby", "hello");
        bob.push("message-new");
        assert_eq!(bob.push("typing-stop"), typing("ann", false));

        ann.ok("typing-start", json!("lobby"));
        bob.push("typing");
        ann.leave("lobby");
        assert_eq!(bob.push_after_others("typing-stop"), typing("ann", false));
        assert_eq!(typists(&mut bob), json!([]));

        let mut eve = server.member("eve", "lobby");
        eve.ok("typing-start", json!("lobby"));
        assert_eq!(bob.push_after_others("typing"), typing("eve", true));
        drop(eve);
        assert_eq!(bob.push("typing-stop"), typing("eve", false));
        assert_eq!(typists(&mut bob), json!([]));
    }
}

#[test]
fn the_device_that_typed_last_is_the_one_that_stops() {
    let (server, mut phone, mut bob) = two_in_the_lobby(3);
    let mut laptop = server.user("ann");
    phone.ok("typing-start", json!("lobby"));
    laptop.ok("typing-start", json!("lobby"));
    phone.ok("typing-stop", json!("lobby"));
    assert_eq!(typists(&mut bob), json!(["ann"]));
    phone.close();
    laptop.ok("typing-stop", json!("lobby"));
    assert_eq!(bob.push("typing"), typing("ann", true));
    assert_eq!(bob.push("typing-stop"), typing("ann", false));
    bob.nothing_came("lobby");
}

#[test]
fn s1_20_s2_35_typists_are_listed_for_their_room() {
    let (_server, mut ann, mut bob) = two_in_the_lobby(3);
    ann.join("other");
    bob.ok("typing-start", json!("lobby"));
    ann.ok("typing-start", json!("lobby"));
    ann.ok("typing-start", json!("other"));
    assert_eq!(typists(&mut bob), json!(["ann", "bob"]));
    assert_eq!(
        ann.reply_named("typing-users", "get-typing-users", json!({"conversationId": "other"})),
        json!({"conversationId": "other", "users": ["ann"]})
    );
}

#[test]
fn only_members_type_and_ask() {
    let (server, _ann, mut bob) = two_in_the_lobby(3);
    let mut eve = server.user("eve");
    for event in ["typing-start", "typing-stop", "get-typing-users"] {
        eve.refused("NOT_A_MEMBER", event, json!("lobby"));
        for bad in [json!(null), json!([]), json!({}), json!(7), json!(""), json!("a*"), json!({"room": 1})] {
            eve.refused("INVALID_PAYLOAD", event, bad);
        }
    }
    eve.send(&json!({"event": "typing-start", "data": "lobby"}));
    eve.refusal("NOT_A_MEMBER");
    bob.nothing_came("lobby");
}

#[test]
fn typing_in_one_room_too_many_ends_the_first() {
    let (_server, mut ann, mut bob) = two_in_the_lobby(3);
    ann.ok("typing-start", json!("lobby"));
    for number in 1..=8 {
        let room = format!("room-{number}");
        ann.join(&room);
        ann.ok("typing-start", json!(room));
    }
    assert_eq!(bob.push("typing"), typing("ann", true));
    assert_eq!(bob.push("typing-stop"), typing("ann", false));
}

#[test]
fn s2_43_the_conversation_dialect_has_one_name_for_both() {
    let (server, mut ann, _bob) = two_in_the_lobby(1);
    let mut watcher = server.device("bob", json!({"dialect": "conversation"}));
    ann.ok("typing-start", json!("lobby"));
    ann.ok("typing-stop", json!("lobby"));
    assert_eq!(watcher.push("user-typing"), typing("ann", true));
    assert_eq!(watcher.push("user-typing"), typing("ann", false));
}
