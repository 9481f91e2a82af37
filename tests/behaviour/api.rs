//! The server API: messages. Whoever is live sees what a server of the application does as if a user had done it.

use serde_json::{Value, json};

use crate::common::{TestServer, plugin, with_api};

fn server() -> TestServer {
    TestServer::start(with_api())
}

#[test]
fn s1_85_what_the_application_publishes_reaches_everyone_who_is_live() {
    let server = server();
    let (mut ann, mut bob) = (server.member("ann", "lobby"), server.member("bob", "lobby"));
    let body = json!({
        "userId": "ann", "conversationId": "lobby", "content": {"a": [1, null]}, "type": "order", "tempId": "t1",
        "replyTo": "m0",
    });
    let ack = server.api("publish", body);
    assert_eq!(
        (&ack["conversationId"], &ack["tempId"], &ack["duplicate"]),
        (&json!("lobby"), &json!("t1"), &json!(false))
    );
    for client in [&mut ann, &mut bob] {
        let message = client.message();
        assert_eq!(message["userId"], "ann");
        assert_eq!(message["content"], json!({"a": [1, null]}));
        assert_eq!((&message["type"], &message["replyTo"]), (&json!("order"), &json!("m0")));
        for field in ["messageId", "seq", "epoch", "sentAt", "tempId"] {
            assert_eq!(message[field], ack[field], "{field}");
        }
    }
    // Its place is in the same log as everybody's.
    let said = bob.say("lobby", "next");
    assert_eq!(said["seq"].as_u64(), ack["seq"].as_u64().map(|seq| seq + 1));
}

#[test]
fn s1_85_edits_and_deletions_by_the_application_are_of_any_author() {
    let server = server();
    let (mut ann, mut bob) = (server.member("ann", "lobby"), server.member("bob", "lobby"));
    let said = ann.say("lobby", "first");
    let id = said["messageId"].clone();
    let body = json!({"userId": "moderator", "conversationId": "lobby", "messageId": id, "content": "second"});
    let edited = server.api("edit", body);
    assert_eq!((&edited["messageId"], &edited["version"]), (&id, &json!(2)));
    let event = bob.push_after_others("message-edited");
    assert_eq!((&event["content"], &event["userId"], &event["seq"]), (&json!("second"), &json!("ann"), &edited["seq"]));

    let stale = json!({
        "userId": "moderator", "conversationId": "lobby", "messageId": id, "content": "x", "ifVersion": 1,
    });
    let conflict = server.api_refused(409, "EDIT_CONFLICT", "edit", stale);
    assert_eq!(conflict["details"]["version"], 2);

    let body = json!({"userId": "moderator", "conversationId": "lobby", "messageId": id});
    let deleted = server.api("delete", body.clone());
    let event = bob.push_after_others("message-deleted");
    assert_eq!((&event["userId"], &event["seq"]), (&json!("moderator"), &deleted["seq"]));
    server.api_refused(404, "MESSAGE_NOT_FOUND", "delete", body);
}

#[test]
fn a_server_speaks_in_rooms_of_which_its_user_is_no_member() {
    let server = server();
    let mut ann = server.member("ann", "lobby");
    let ack = server.api("publish", json!({"userId": "robot", "conversationId": "lobby", "content": "beep"}));
    assert_eq!(ann.message()["userId"], "robot");
    // That has made nobody a member.
    let joined = ann.join("lobby");
    assert_eq!((&joined["members"], &joined["seq"]), (&json!(1), &ack["seq"]));
    let mut robot = server.user("robot");
    assert_eq!(robot.success["rooms"], json!([]));
    robot.refused("NOT_A_MEMBER", "history", json!({"conversationId": "lobby"}));

    // A room that nobody has joined yet keeps what is said there.
    let ack = server.api("publish", json!({"userId": "robot", "conversationId": "new", "content": "first"}));
    assert_eq!(ack["seq"], 1);
    ann.join("new");
    let history = ann.history(json!({"conversationId": "new"}));
    assert_eq!(history["messages"][0]["content"], "first");
}

#[test]
fn a_room_too_many_is_not_made() {
    let mut config = with_api();
    config.shards = 1;
    config.store.rooms_max = 1;
    let server = TestServer::start(config);
    let publish = |room| json!({"userId": "ann", "conversationId": room, "content": 1});
    server.api("publish", publish("one"));
    server.api_refused(409, "LIMIT_EXCEEDED", "publish", publish("two"));
    server.api("publish", publish("one"));
}

#[test]
fn the_same_temp_id_is_one_message_however_it_comes() {
    let server = server();
    let mut ann = server.member("ann", "lobby");
    let body = json!({"userId": "ann", "conversationId": "lobby", "content": "once", "tempId": "t1"});
    let first = server.api("publish", body.clone());
    let again = server.api("publish", body);
    assert_eq!((&again["messageId"], &again["duplicate"]), (&first["messageId"], &json!(true)));
    let by_client = ann.post(json!({"conversationId": "lobby", "content": "once", "tempId": "t1"}));
    assert_eq!((&by_client["messageId"], &by_client["duplicate"]), (&first["messageId"], &json!(true)));
    ann.message();
    ann.nothing_came("lobby");
}

#[test]
fn c14_the_message_filters_judge_what_the_application_says_too() {
    let mut config = with_api();
    let words = json!({"words": ["heck"], "links": {"allow": false}});
    config.plugins = vec![plugin("our-rules", "message-policy.wasm", words)];
    let server = TestServer::start(config);
    let mut ann = server.member("ann", "lobby");
    let publish = |content: &str| json!({"userId": "ann", "conversationId": "lobby", "content": content});
    let refused = server.api_refused(422, "REJECTED", "publish", publish("what the heck"));
    assert_eq!(refused["plugin"], "our-rules");
    assert!(refused["reason"].is_string(), "{refused}");
    let ack = server.api("publish", publish("fine"));
    assert_eq!(ann.message()["messageId"], ack["messageId"]);
    let edit = json!({
        "userId": "ann", "conversationId": "lobby", "messageId": ack["messageId"], "content": "oh heck",
    });
    server.api_refused(422, "REJECTED", "edit", edit);
    ann.nothing_came("lobby");
}

#[test]
fn history_is_read_without_being_a_member() {
    let server = server();
    let mut ann = server.member("ann", "lobby");
    let seqs: Vec<Value> = (0..5).map(|number| ann.say("lobby", number)["seq"].clone()).collect();
    let all = server.api("history", json!({"conversationId": "lobby"}));
    assert_eq!(all, ann.history(json!({"conversationId": "lobby"})), "the same that a member reads");
    let page = server.api("history", json!({"conversationId": "lobby", "after": seqs[1], "limit": 2, "userId": "bob"}));
    let found: Vec<&Value> = page["messages"].as_array().unwrap().iter().map(|message| &message["seq"]).collect();
    assert_eq!(found, [&seqs[2], &seqs[3]]);
    assert_eq!(page["hasMore"], true);
    server.api_refused(400, "INVALID_PAYLOAD", "history", json!({"conversationId": "lobby", "limit": 0}));
    server.api_refused(403, "NOT_A_MEMBER", "history", json!({"conversationId": "nowhere"}));
}

#[test]
fn a_broadcast_reaches_every_room_and_tells_what_became_of_each() {
    let mut config = with_api();
    config.api.broadcast_rooms_max = 3;
    let server = TestServer::start(config);
    let mut clients: Vec<_> = ["one", "two", "three"].map(|room| server.member("ann", room)).into();
    let body = json!({
        "userId": "robot", "conversationIds": ["one", "two", "three"], "content": "all of you", "tempId": "t",
    });
    let results = server.api("broadcast", body.clone())["results"].clone();
    for (at, room) in ["one", "two", "three"].into_iter().enumerate() {
        assert_eq!(
            (&results[at]["conversationId"], &results[at]["data"]["conversationId"]),
            (&json!(room), &json!(room))
        );
        assert_eq!(results[at]["data"]["duplicate"], false);
    }
    // Everybody is live in all three by now.
    let mut heard: Vec<Value> = (0..3).map(|_| clients[2].message()["conversationId"].clone()).collect();
    heard.sort_by_key(Value::to_string);
    assert_eq!(heard, [json!("one"), json!("three"), json!("two")]);
    let again = server.api("broadcast", body);
    assert!(again["results"].as_array().unwrap().iter().all(|result| result["data"]["duplicate"] == true), "{again}");

    for (ids, status, code) in [
        (json!([]), 400, "INVALID_PAYLOAD"),
        (json!(["a", "b", "c", "d"]), 409, "LIMIT_EXCEEDED"),
        (json!(["a", "*"]), 400, "INVALID_PAYLOAD"),
        (json!("a"), 400, "INVALID_PAYLOAD"),
    ] {
        let body = json!({"userId": "robot", "conversationIds": ids, "content": 1});
        server.api_refused(status, code, "broadcast", body);
    }
}

#[test]
fn s1_94_a_batch_is_carried_out_in_order_whatever_becomes_of_each() {
    let mut config = with_api();
    config.api.batch_commands_max = 4;
    let server = TestServer::start(config);
    let mut ann = server.member("ann", "lobby");
    let publish =
        |content| json!({"verb": "publish", "data": {"userId": "ann", "conversationId": "lobby", "content": content}});
    let commands = json!([publish(1), {"verb": "publish", "data": {}}, {"verb": "batch", "data": {}}, publish(2)]);
    let results = server.api("batch", json!({"commands": commands}))["results"].clone();
    assert_eq!(results.as_array().unwrap().len(), 4);
    assert_eq!(results[1]["error"]["code"], "INVALID_PAYLOAD");
    assert_eq!(results[2]["error"]["code"], "UNKNOWN_EVENT");
    for (content, at) in [(1, 0), (2, 3)] {
        let message = ann.message();
        assert_eq!((&message["content"], &message["seq"]), (&json!(content), &results[at]["data"]["seq"]));
    }
    server.api_refused(409, "LIMIT_EXCEEDED", "batch", json!({"commands": vec![publish(1); 5]}));
    server.api_refused(400, "INVALID_PAYLOAD", "batch", json!({"commands": []}));
    server.api_refused(400, "INVALID_PAYLOAD", "batch", json!({"commands": [{"data": {}}]}));
}

#[test]
fn rooms_without_a_log_are_published_to_as_well() {
    let mut config = with_api();
    config.rooms = vec![stentor::config::RoomClass {
        pattern: "live-*".to_owned(),
        history: Some(0),
        history_age_seconds_max: None,
        history_bytes_max: None,
        join: stentor::config::JoinPolicy::Open,
    }];
    let server = TestServer::start(config);
    let mut ann = server.member("ann", "live-1");
    let ack = server.api("publish", json!({"userId": "robot", "conversationId": "live-1", "content": 1}));
    assert_eq!(ack.get("seq"), None);
    assert_eq!(ann.message()["messageId"], ack["messageId"]);
}
