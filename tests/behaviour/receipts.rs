//! Receipts: who has a message, who has seen it, and who is told.

use serde_json::{Value, json};

use crate::common::{Client, Frame, TestServer, config};

/// A server that pushes each receipt as it comes.
fn server(shards: usize) -> TestServer {
    let mut config = config();
    config.shards = shards;
    config.timing.receipt_coalesce_ms = 0;
    TestServer::start(config).explicit()
}

fn ack(client: &mut Client, up_to: u64) {
    client.ok("ack", json!({"conversationId": "lobby", "upTo": up_to}));
}

fn read(client: &mut Client, up_to: u64) {
    client.ok("mark-read", json!({"conversationId": "lobby", "upTo": up_to}));
}

fn seq(ack: &Value) -> u64 {
    ack["seq"].as_u64().unwrap()
}

fn status(client: &mut Client, message: &Value) -> Value {
    let question = json!({"conversationId": "lobby", "messageId": message["messageId"]});
    client.reply_named("message-status", "get-message-status", question)
}

fn receipt(client: &mut Client) -> Value {
    client.push_after_others("receipt")
}

/// A member who starts with nothing in its inbox.
fn member(server: &TestServer, user: &str) -> Client {
    server.member(user, "lobby")
}

#[test]
fn s1_45_s2_9_s2_13_s2_30_a_message_is_sent_then_delivered_then_read() {
    for shards in [1, 3] {
        let server = server(shards);
        let (mut ann, mut bob, mut cid) = (member(&server, "ann"), member(&server, "bob"), member(&server, "cid"));
        let message = ann.say("lobby", "hello");
        assert_eq!(status(&mut ann, &message)["status"], "sent");
        ack(&mut bob, seq(&message));
        let told = receipt(&mut ann);
        assert!(told["at"].is_u64(), "{told}");
        let expected = json!({
            "conversationId": "lobby", "userId": "bob", "type": "delivered", "upTo": message["seq"],
            "messageId": message["messageId"], "at": told["at"],
        });
        assert_eq!(told, expected);
        let answer = status(&mut ann, &message);
        assert_eq!(answer["status"], "sent", "cid does not have it yet");
        let users = json!([{"userId": "bob", "deliveredAt": told["at"]}, {"userId": "cid"}]);
        assert_eq!((&answer["users"], &answer["hasMore"]), (&users, &json!(false)));
        ack(&mut cid, seq(&message));
        assert_eq!(receipt(&mut ann)["userId"], "cid");
        assert_eq!(status(&mut ann, &message)["status"], "delivered");
        read(&mut bob, seq(&message));
        let told = receipt(&mut ann);
        assert_eq!((&told["type"], &told["upTo"]), (&json!("seen"), &message["seq"]));
        assert_eq!(status(&mut ann, &message)["status"], "delivered");
        read(&mut cid, seq(&message));
        let answer = status(&mut ann, &message);
        assert_eq!(answer["status"], "read");
        assert!(answer["users"].as_array().unwrap().iter().all(|user| user["seenAt"].is_u64()), "{answer}");
        // Anybody may ask, and the author is not among those it was said to.
        assert_eq!(status(&mut bob, &message), answer);
    }
}

#[test]
fn s2_24_reading_implies_delivery_and_both_are_told() {
    let server = server(2);
    let (mut ann, mut bob) = (member(&server, "ann"), member(&server, "bob"));
    let message = ann.say("lobby", "hello");
    read(&mut bob, seq(&message));
    let told = [receipt(&mut ann), receipt(&mut ann)];
    assert_eq!(told.map(|receipt| receipt["type"].clone()), ["delivered", "seen"]);
    assert_eq!(status(&mut ann, &message)["status"], "read");
    // What was told once is not told again, nor does a cursor go back.
    read(&mut bob, seq(&message));
    ack(&mut bob, 1);
    read(&mut bob, 0);
    ann.nothing_came_but_messages("lobby");
    assert_eq!(status(&mut ann, &message)["status"], "read");
}

#[test]
fn s2_37_s2_38_the_conversation_dialect_has_its_own_names() {
    let server = server(1);
    let mut ann = server.device("ann", json!({"dialect": "conversation"}));
    ann.join("lobby");
    let mut bob = member(&server, "bob");
    let message = ann.say("lobby", "hello");
    read(&mut bob, seq(&message));
    let delivered = ann.push_after_others("message-delivered");
    assert_eq!((&delivered["userId"], &delivered["messageId"]), (&json!("bob"), &message["messageId"]));
    let seen = ann.push_after_others("messages-read");
    assert_eq!((&seen["userId"], &seen["upTo"]), (&json!("bob"), &message["seq"]));
}

#[test]
fn only_the_authors_of_what_is_newly_covered_are_told() {
    let server = server(3);
    let (mut ann, mut bob, mut cid) = (member(&server, "ann"), member(&server, "bob"), member(&server, "cid"));
    let first = ann.say("lobby", "one");
    ack(&mut cid, seq(&first));
    assert_eq!(receipt(&mut ann)["upTo"], first["seq"]);
    let second = bob.say("lobby", "two");
    ack(&mut cid, seq(&second));
    let told = receipt(&mut bob);
    assert_eq!((&told["upTo"], &told["messageId"]), (&second["seq"], &second["messageId"]));
    ann.nothing_came_but_messages("lobby");
    cid.nothing_came_but_messages("lobby");
}

#[test]
fn messages_may_be_named_and_nothing_is_beyond_the_head() {
    let server = server(2);
    let (mut ann, mut bob) = (member(&server, "ann"), member(&server, "bob"));
    let first = ann.say("lobby", "one");
    let second = ann.say("lobby", "two");
    let third = ann.say("lobby", "three");
    let ids = json!([second["messageId"], first["messageId"], "unknown"]);
    bob.ok("ack", json!({"conversationId": "lobby", "messageIds": ids}));
    assert_eq!(receipt(&mut ann)["upTo"], second["seq"]);
    bob.ok("mark-read", json!({"conversationId": "lobby", "upTo": u64::MAX}));
    let told = receipt(&mut ann);
    assert_eq!((&told["upTo"], &told["messageId"]), (&third["seq"], &third["messageId"]));
    let fourth = ann.say("lobby", "four");
    assert_eq!(status(&mut ann, &fourth)["status"], "sent");
}

#[test]
fn an_ack_without_id_is_not_answered_and_a_refusal_always_is() {
    let server = server(1);
    let (mut ann, mut bob) = (member(&server, "ann"), member(&server, "bob"));
    let message = ann.say("lobby", "one");
    bob.send(&json!({"event": "ack", "data": {"conversationId": "lobby", "upTo": message["seq"]}}));
    bob.nothing_came_but_messages("lobby");
    assert_eq!(receipt(&mut ann)["userId"], "bob");
    bob.send(&json!({"event": "ack", "data": {"conversationId": "elsewhere", "upTo": 1}}));
    assert_eq!(bob.push_after_others("error")["event"], "ack");
}

#[test]
fn what_is_no_acknowledgement_is_refused() {
    let server = server(1);
    let mut ann = member(&server, "ann");
    let ids = |count: usize| json!((0..count).map(|number| format!("m{number}")).collect::<Vec<_>>());
    for event in ["ack", "mark-read"] {
        for data in [
            json!(null),
            json!("lobby"),
            json!(["lobby", 1]),
            json!({"conversationId": "lobby"}),
            json!({"upTo": 1}),
            json!({"conversationId": "lobby", "upTo": -1}),
            json!({"conversationId": "lobby", "upTo": 1.5}),
            json!({"conversationId": "lobby", "upTo": "1"}),
            json!({"conversationId": "a*", "upTo": 1}),
            json!({"conversationId": "lobby", "upTo": 1, "messageIds": ["m"]}),
            json!({"conversationId": "lobby", "messageIds": []}),
            json!({"conversationId": "lobby", "messageIds": [1]}),
            json!({"conversationId": "lobby", "messageIds": ["\n"]}),
            json!({"conversationId": "lobby", "messageIds": ids(501)}),
        ] {
            ann.refused("INVALID_PAYLOAD", event, data);
        }
        let unknown = json!({"conversationId": "lobby", "messageIds": ids(500)});
        ann.refused("MESSAGE_NOT_FOUND", event, unknown);
        ann.refused("NOT_A_MEMBER", event, json!({"conversationId": "elsewhere", "upTo": 1}));
    }
    let question = |room: &str, id: &str| json!({"conversationId": room, "messageId": id});
    ann.refused("NOT_A_MEMBER", "get-message-status", question("elsewhere", "m"));
    ann.refused("MESSAGE_NOT_FOUND", "get-message-status", question("lobby", "m"));
    ann.refused("INVALID_PAYLOAD", "get-message-status", json!({"conversationId": "lobby"}));
    let mut bad = question("lobby", "m");
    bad["after"] = json!("");
    ann.refused("INVALID_PAYLOAD", "get-message-status", bad);
    // A message that was deleted is none any more.
    let message = ann.say("lobby", "one");
    let id = message["messageId"].as_str().unwrap();
    ann.ok("delete-message", question("lobby", id));
    ann.refused("MESSAGE_NOT_FOUND", "get-message-status", question("lobby", id));
}

#[test]
fn whoever_came_later_was_not_meant() {
    let server = server(1);
    let mut ann = member(&server, "ann");
    let message = ann.say("lobby", "is anybody there?");
    let answer = status(&mut ann, &message);
    assert_eq!((&answer["status"], &answer["users"]), (&json!("sent"), &json!([])));
    let mut bob = member(&server, "bob");
    read(&mut bob, u64::MAX);
    assert_eq!(status(&mut ann, &message), answer);
    ann.nothing_came_but_messages("lobby");
}

#[test]
fn a_long_list_of_users_comes_in_pages() {
    let mut config = config();
    config.limits.requests_per_second_max = 0;
    config.limits.receipt_members_max = 2;
    let server = TestServer::start(config);
    let mut ann = member(&server, "ann");
    let mut others: Vec<Client> = (0..501).map(|number| member(&server, &format!("u{number:03}"))).collect();
    let message = ann.say("lobby", "hello");
    ack(&mut others[500], u64::MAX);
    let mut question = json!({"conversationId": "lobby", "messageId": message["messageId"]});
    let mut ask = |question: &Value| ann.reply_named("message-status", "get-message-status", question.clone());
    let page = ask(&question);
    let users = page["users"].as_array().unwrap();
    assert_eq!((users.len(), &page["hasMore"]), (500, &json!(true)));
    assert!(users.iter().enumerate().all(|(number, user)| *user == json!({"userId": format!("u{number:03}")})));
    question["after"] = json!("u499");
    let rest = ask(&question);
    assert_eq!((rest["users"].as_array().unwrap().len(), &rest["hasMore"]), (1, &json!(false)));
    assert_eq!(rest["users"][0]["userId"], "u500");
    // Nothing is pushed in so large a room, but it is known.
    assert!(rest["users"][0]["deliveredAt"].is_u64());
    ann.nothing_came_but_messages("lobby");
}

#[test]
fn many_receipts_become_few_and_the_last_is_among_them() {
    let mut config = config();
    config.limits.requests_per_second_max = 0;
    config.timing.receipt_coalesce_ms = 50;
    let server = TestServer::start(config).explicit();
    let (mut ann, mut bob) = (member(&server, "ann"), member(&server, "bob"));
    let messages: Vec<Value> = (0..50).map(|number| ann.say("lobby", number)).collect();
    for message in &messages {
        ack(&mut bob, seq(message));
    }
    let mut told = vec![receipt(&mut ann)];
    while told.last().unwrap()["upTo"] != messages[49]["seq"] {
        told.push(receipt(&mut ann));
    }
    assert_eq!(told[0]["upTo"], messages[0]["seq"], "the first waits for nothing");
    assert!(told.is_sorted_by_key(|receipt| receipt["upTo"].as_u64()), "{told:?}");
    assert_eq!(told.last().unwrap()["messageId"], messages[49]["messageId"]);
}

#[test]
fn within_the_time_there_is_one() {
    let mut config = config();
    config.timing.receipt_coalesce_ms = 60_000;
    let server = TestServer::start(config).explicit();
    let (mut ann, mut bob) = (member(&server, "ann"), member(&server, "bob"));
    for _ in 0..5 {
        let message = ann.say("lobby", "hello");
        ack(&mut bob, seq(&message));
    }
    receipt(&mut ann);
    ann.nothing_came_but_messages("lobby");
}

#[test]
fn a_room_without_a_log_has_nothing_to_acknowledge() {
    let mut config = config();
    config.rooms = vec![stentor::config::RoomClass {
        pattern: "live-*".to_owned(),
        history: Some(0),
        history_age_seconds_max: None,
        history_bytes_max: None,
        join: stentor::config::JoinPolicy::Open,
    }];
    let server = TestServer::start(config);
    let mut ann = server.member("ann", "live-1");
    let mut bob = server.member("bob", "live-1");
    ann.say("live-1", "hello");
    bob.ok("mark-read", json!({"conversationId": "live-1", "upTo": 7}));
    let room = server.user("bob").success["rooms"][0].clone();
    assert_eq!(room, json!({"conversationId": "live-1"}));
}

impl Client {
    /// Asserts that of all that came up to now nothing was a receipt or an answer.
    fn nothing_came_but_messages(&mut self, room: &str) {
        self.barrier(room);
        while self.has_mail() {
            let message = self.next();
            let event = message["event"].as_str().unwrap();
            assert!(["message-new", "member-joined", "message-deleted"].contains(&event), "{message}");
        }
    }
}

#[test]
fn acknowledging_is_counted() {
    let server = server(1);
    let (mut ann, mut bob) = (member(&server, "ann"), member(&server, "bob"));
    let message = ann.say("lobby", "one");
    read(&mut bob, seq(&message));
    ack(&mut bob, seq(&message));
    receipt(&mut ann);
    receipt(&mut ann);
    assert!((server.metric("stentor_acks_total") - 2.0).abs() < 0.5);
    assert!((server.metric("stentor_receipts_pushed_total") - 2.0).abs() < 0.5);
}

/// Whoever hangs up in the middle of acknowledging harms nobody.
#[test]
fn a_connection_that_goes_meanwhile_is_forgotten() {
    let server = server(3);
    let mut ann = member(&server, "ann");
    for _ in 0..10 {
        let mut bob = member(&server, "bob");
        let message = ann.say("lobby", "hello");
        bob.send(&json!({"event": "mark-read", "data": {"conversationId": "lobby", "upTo": message["seq"]}}));
        drop(bob);
    }
    ann.is_alive_after_mail();
}

impl Client {
    fn is_alive_after_mail(&mut self) {
        self.send_frame(0x89, b"there");
        loop {
            if let Frame::Pong(_) = self.next_frame() {
                return;
            }
        }
    }
}
