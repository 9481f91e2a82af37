//! The server API: members and connections.

use serde_json::{Value, json};
use stentor::config::{JoinPolicy, RoomClass};

use crate::common::{TestServer, with_api};

fn server() -> TestServer {
    TestServer::start(with_api())
}

#[test]
fn s1_87_whoever_is_added_is_live_on_all_devices() {
    let server = server();
    let (mut phone, mut laptop) = (server.user("ann"), server.user("ann"));
    let mut bob = server.member("bob", "team");
    let joined = server.api("join", json!({"userId": "ann", "conversationId": "team"}));
    assert_eq!((&joined["conversationId"], &joined["members"]), (&json!("team"), &json!(2)));
    assert_eq!(bob.push("member-joined")["userId"], "ann");
    for client in [&mut phone, &mut laptop] {
        let told = client.push("room-joined");
        assert_eq!((&told["conversationId"], &told["members"]), (&json!("team"), &json!(2)));
    }
    bob.say("team", "welcome");
    assert_eq!(phone.message()["content"], "welcome");
    assert_eq!(laptop.message()["content"], "welcome");
    // Once is enough.
    let again = server.api("join", json!({"userId": "ann", "conversationId": "team"}));
    assert_eq!(again["members"], 2);
    phone.nothing_came("team");
    // Also for whoever comes later.
    let later = server.user("ann");
    assert_eq!(later.success["rooms"][0]["conversationId"], "team");
}

#[test]
fn s1_87_whoever_is_removed_is_told_and_hears_no_more() {
    let server = server();
    let (mut phone, mut laptop) = (server.member("ann", "team"), server.user("ann"));
    let mut bob = server.member("bob", "team");
    phone.push("member-joined");
    laptop.push("member-joined");
    let left = server.api("leave", json!({"userId": "ann", "conversationId": "team"}));
    assert_eq!(left["conversationId"], "team");
    for client in [&mut phone, &mut laptop] {
        let told = client.push_after_others("room-left");
        assert_eq!((&told["conversationId"], &told["reason"]), (&json!("team"), &json!("removed")));
    }
    assert_eq!(bob.push("member-left")["userId"], "ann");
    bob.say("team", "alone");
    phone.refused("NOT_A_MEMBER", "send-message", json!({"conversationId": "team", "content": 1}));
    phone.is_alive();
    assert!(!phone.has_mail(), "nothing of what was said");
    server.api_refused(403, "NOT_A_MEMBER", "leave", json!({"userId": "ann", "conversationId": "team"}));
}

#[test]
fn s1_87_rooms_for_members_are_entered_by_whom_the_application_adds() {
    let mut config = with_api();
    config.rooms = vec![RoomClass {
        pattern: "private-*".to_owned(),
        history: None,
        history_age_seconds_max: None,
        history_bytes_max: None,
        join: JoinPolicy::Members,
    }];
    let server = TestServer::start(config);
    let mut ann = server.user("ann");
    let refused = ann.refused("JOIN_ROOM_FAILED", "join-room", json!({"conversationId": "private-1"}));
    assert_eq!(refused["reason"], "not_allowed");
    server.api("join", json!({"userId": "ann", "conversationId": "private-1"}));
    ann.push("room-joined");
    ann.say("private-1", "in");
    ann.join("private-1");
    server.api("leave", json!({"userId": "ann", "conversationId": "private-1"}));
    ann.push_after_others("room-left");
    ann.refused("JOIN_ROOM_FAILED", "join-room", json!({"conversationId": "private-1"}));
}

#[test]
fn bounds_on_members_and_rooms_hold_for_the_application_too() {
    let mut config = with_api();
    config.limits.members_per_room_max = 1;
    config.limits.rooms_per_user_max = 2;
    let server = TestServer::start(config);
    let join = |user, room| json!({"userId": user, "conversationId": room});
    server.api("join", join("ann", "one"));
    let refused = server.api_refused(403, "JOIN_ROOM_FAILED", "join", join("bob", "one"));
    assert_eq!(refused["reason"], "limit");
    server.api("join", join("ann", "two"));
    assert_eq!(server.api_refused(403, "JOIN_ROOM_FAILED", "join", join("ann", "three"))["reason"], "limit");
    // What was refused has taken no place.
    server.api("leave", join("ann", "one"));
    server.api("join", join("bob", "one"));
}

#[test]
fn a_connection_that_does_not_want_to_be_live_everywhere_is_not() {
    let server = server();
    let mut apart = server.device("ann", json!({"attach": false}));
    server.api("join", json!({"userId": "ann", "conversationId": "team"}));
    server.api("publish", json!({"userId": "robot", "conversationId": "team", "content": 1}));
    apart.nothing_came("team");
}

#[test]
fn a_plugin_is_asked_before_a_connection_becomes_live_where_its_user_was_added() {
    let mut config = with_api();
    let rules = json!({"rules": [{"rooms": ["staff"], "join": ["role=staff"]}]});
    config.plugins = vec![crate::common::plugin("api-acl", "room-acl.wasm", rules)];
    let server = TestServer::start(config);
    let mut ann = server.user("ann");
    server.api("join", json!({"userId": "ann", "conversationId": "staff"}));
    server.api("publish", json!({"userId": "robot", "conversationId": "staff", "content": 1}));
    ann.is_alive();
    ann.refused("JOIN_ROOM_FAILED", "join-room", json!({"conversationId": "staff"}));
    assert!(!ann.has_mail(), "not live there");
}

#[test]
fn connections_are_closed_by_user_by_device_and_by_session() {
    let server = server();
    let mut phone = server.device("ann", json!({"deviceId": "phone"}));
    let mut laptop = server.device("ann", json!({"deviceId": "laptop"}));
    let mut tablet = server.device("ann", json!({"deviceId": "tablet"}));
    let mut bob = server.user("bob");
    let count = |body| server.api("disconnect", body)["connections"].clone();
    assert_eq!(count(json!({"userId": "ann", "deviceId": "phone", "reason": "lost device"})), 1);
    assert_eq!(phone.closed(4003), "lost device");
    assert_eq!(count(json!({"sessionId": laptop.success["sessionId"]})), 1);
    assert_eq!(laptop.closed(4003), "forbidden");
    tablet.is_alive();
    let mut second = server.user("ann");
    assert_eq!(count(json!({"userId": "ann"})), 2);
    tablet.closed(4003);
    second.closed(4003);
    bob.is_alive();
    assert_eq!(count(json!({"userId": "nobody"})), 0);
    // Closed is not banned.
    server.user("ann");
    for body in [
        json!({}),
        json!({"userId": "ann", "sessionId": "x"}),
        json!({"sessionId": "x", "deviceId": "phone"}),
        json!({"deviceId": "phone"}),
        json!({"userId": "ann", "reason": "x".repeat(124)}),
        json!({"userId": 5}),
    ] {
        server.api_refused(400, "INVALID_PAYLOAD", "disconnect", body);
    }
}

#[test]
fn a_notification_reaches_a_users_connections_and_nobody_else() {
    let server = server();
    let mut phone = server.device("ann", json!({"deviceId": "phone"}));
    let mut laptop = server.device("ann", json!({"deviceId": "laptop", "dialect": "conversation"}));
    let mut bob = server.user("bob");
    let body = json!({"userId": "ann", "event": "invoice:paid", "data": {"total": 5, "text": "two\nlines"}});
    assert_eq!(server.api("notify", body)["connections"], 2);
    for client in [&mut phone, &mut laptop] {
        assert_eq!(client.push("invoice:paid"), json!({"total": 5, "text": "two\nlines"}));
    }
    let body = json!({"userId": "ann", "deviceId": "phone", "event": "call:ring", "data": null});
    assert_eq!(server.api("notify", body)["connections"], 1);
    assert_eq!(phone.push("call:ring"), Value::Null);
    laptop.is_alive();
    bob.is_alive();
    assert!(!laptop.has_mail() && !bob.has_mail());
    for event in ["message-new", "", "a:\n", "auth-success"] {
        let body = json!({"userId": "ann", "event": event, "data": 1});
        server.api_refused(400, "INVALID_PAYLOAD", "notify", body);
    }
}

#[test]
fn s1_13_connections_are_listed_by_user_and_page_by_page() {
    let server = server();
    let clients: Vec<_> = (0..7).map(|number| server.user(&format!("user-{number}"))).collect();
    let mut ann = server.device("ann", json!({"deviceId": "phone"}));
    ann.join("lobby");
    let listed = server.api("connections", json!({"userId": "ann"}));
    let entry = &listed["connections"][0];
    assert_eq!((&entry["userId"], &entry["deviceId"], &entry["rooms"]), (&json!("ann"), &json!("phone"), &json!(1)));
    assert_eq!(entry["sessionId"], ann.success["sessionId"]);
    assert_eq!(listed["connections"].as_array().unwrap().len(), 1);
    assert_eq!(server.api("connections", json!({"userId": "nobody"}))["connections"], json!([]));

    let all = pages(&server, "connections", 3);
    let mut sessions: Vec<&Value> = all.iter().map(|entry| &entry["sessionId"]).collect();
    let mut expected: Vec<&Value> = clients.iter().chain([&ann]).map(|client| &client.success["sessionId"]).collect();
    sessions.sort_by_key(ToString::to_string);
    expected.sort_by_key(ToString::to_string);
    assert_eq!(sessions, expected);
}

#[test]
fn rooms_are_listed_page_by_page() {
    let server = server();
    let mut ann = server.user("ann");
    let mut expected: Vec<String> = (0..10).map(|number| format!("room-{number}")).collect();
    for room in &expected {
        ann.join(room);
    }
    let said = ann.say("room-3", "here");
    let all = pages(&server, "rooms", 4);
    let mut found: Vec<String> = all.iter().map(|room| room["conversationId"].as_str().unwrap().to_owned()).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    let room = all.iter().find(|room| room["conversationId"] == "room-3").unwrap();
    assert_eq!((&room["seq"], &room["epoch"]), (&said["seq"], &said["epoch"]));
    assert_eq!((&room["members"], &room["connections"]), (&json!(1), &json!(1)));
    for bad in [json!({"cursor": "x"}), json!({"cursor": "1.-1"}), json!({"limit": 0}), json!({"limit": "1"})] {
        server.api_refused(400, "INVALID_PAYLOAD", "rooms", bad);
    }
}

/// Everything that a verb lists, in pages of so many.
fn pages(server: &TestServer, verb: &str, limit: usize) -> Vec<Value> {
    let (mut all, mut body) = (Vec::new(), json!({"limit": limit}));
    loop {
        let page = server.api(verb, body.clone());
        let items = page[verb].as_array().unwrap();
        assert!(items.len() <= limit, "{page}");
        all.extend(items.iter().cloned());
        match page.get("cursor") {
            Some(cursor) => body["cursor"] = cursor.clone(),
            None => return all,
        }
    }
}
