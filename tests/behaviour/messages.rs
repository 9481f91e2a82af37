//! Messages: sending, editing, deleting; what is told to whom, and in which order.

use std::collections::HashSet;

use serde_json::{Value, json};
use stentor::config::{JoinPolicy, RoomClass};

use crate::common::{Client, TestServer, config, now_ms, until};

/// A message to the lobby.
fn to_lobby(content: impl Into<Value>) -> Value {
    json!({"conversationId": "lobby", "content": content.into()})
}

/// A value with some fields more.
fn with(mut value: Value, more: Value) -> Value {
    for (name, field) in more.as_object().unwrap() {
        value[name] = field.clone();
    }
    value
}

fn server_with_ephemeral_rooms(shards: usize) -> TestServer {
    let mut config = config();
    config.shards = shards;
    config.rooms = vec![RoomClass {
        pattern: "live-*".to_owned(),
        history: Some(0),
        history_age_seconds_max: None,
        history_bytes_max: None,
        join: JoinPolicy::Open,
    }];
    TestServer::start(config)
}

// Sending

#[test]
fn s1_2_s1_38_s2_11_s2_23_a_message_reaches_every_live_connection_of_every_member() {
    for shards in [1, 2, 3] {
        let server = TestServer::with_shards(shards);
        let mut clients: Vec<_> =
            ["ann", "ann", "bob", "bob", "cid", "dan"].map(|user| server.user(user)).into_iter().collect();
        for index in [0, 2, 4, 5] {
            clients[index].join("lobby");
        }
        let before = now_ms();
        let ack = clients[0].post(to_lobby("hello"));
        let sent_at = ack["sentAt"].as_u64().unwrap();
        assert!((before..=now_ms()).contains(&sent_at));
        let (id, seq, epoch) = (&ack["messageId"], &ack["seq"], &ack["epoch"]);
        assert_eq!(
            ack,
            json!({"messageId": id, "conversationId": "lobby", "seq": 5, "epoch": epoch, "sentAt": sent_at, "duplicate": false})
        );
        for client in &mut clients {
            let expected = json!({
                "conversationId": "lobby", "messageId": id, "seq": seq, "epoch": epoch, "userId": "ann", "type": "text",
                "content": "hello", "version": 1, "sentAt": sent_at,
            });
            assert_eq!(client.message(), expected);
            client.nothing_came("lobby");
        }
    }
}

#[test]
fn no_echo_spares_the_sending_connection_alone() {
    for shards in [1, 3] {
        let server = TestServer::with_shards(shards);
        let mut sender = server.member("ann", "lobby");
        let mut tablet = server.member("ann", "lobby");
        let mut bob = server.member("bob", "lobby");
        for (number, no_echo) in [true, false, true, true, false].into_iter().enumerate() {
            sender.post(with(to_lobby(number), json!({"noEcho": no_echo})));
        }
        for client in [&mut tablet, &mut bob] {
            for number in 0..5 {
                assert_eq!(client.message()["content"], number);
            }
        }
        for number in [1, 4] {
            assert_eq!(sender.message()["content"], number);
        }
        sender.nothing_came("lobby");
        // It is not for others to be spared by the next message, or for this one to be.
        bob.post(to_lobby("bob"));
        assert_eq!(sender.push("message-new")["content"], "bob");
    }
}

#[test]
fn what_the_sender_says_of_it_is_passed_on() {
    let server = TestServer::with_shards(2);
    let mut ann = server.device("ann", json!({"deviceId": "phone"}));
    ann.join("lobby");
    let mut bob = server.member("bob", "lobby");
    let label = "any {printable} [text]* \\ ☃";
    let ack = ann.post(with(to_lobby(1), json!({"type": label, "replyTo": label, "tempId": label})));
    assert_eq!(ack["tempId"], label);
    let message = bob.message();
    for field in ["type", "replyTo", "tempId"] {
        assert_eq!(message[field], label, "{field}");
    }
    assert_eq!(message["deviceId"], "phone");
    assert_eq!(bob.history(json!("lobby"))["messages"][0], message);
    // Absent things are absent.
    bob.post(to_lobby(2));
    let message = bob.message();
    for field in ["replyTo", "tempId", "deviceId", "queued", "editedAt", "deletedAt"] {
        assert_eq!(message.get(field), None, "{field}");
    }
}

#[test]
fn bad_fields_are_refused_and_nothing_is_sent() {
    let server = TestServer::with_shards(2);
    let mut ann = server.member("ann", "lobby");
    let long = "x".repeat(201);
    for (field, bad) in [
        ("tempId", json!("")),
        ("tempId", json!(long)),
        ("tempId", json!("a\nb")),
        ("tempId", json!("a\u{0}")),
        ("tempId", json!(7)),
        ("tempId", json!({})),
        ("type", json!("")),
        ("type", json!(long)),
        ("type", json!(1)),
        ("replyTo", json!(1)),
        ("replyTo", json!(long)),
        ("replyTo", json!(["m"])),
        ("noEcho", json!("true")),
        ("noEcho", json!(1)),
    ] {
        ann.refused("INVALID_PAYLOAD", "send-message", with(to_lobby(1), json!({field: bad})));
    }
    ann.refused("INVALID_PAYLOAD", "send-message", json!({"conversationId": "lobby"}));
    ann.refused("INVALID_PAYLOAD", "send-message", json!({"conversationId": "lobby", "Content": 1}));
    ann.nothing_came("lobby");
    assert_eq!(ann.history(json!("lobby"))["messages"], json!([]));
    let longest = "é".repeat(100);
    ann.post(with(to_lobby(1), json!({"tempId": longest, "type": longest, "replyTo": longest, "noEcho": null})));
}

/// Contents as their senders may write them.
const CONTENTS: [&str; 27] = [
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1.0",
    "1e5",
    "1E+5",
    "-1.50e-07",
    "123456789012345678901234567890",
    "0.1000",
    r#""""#,
    r#""text""#,
    r#""\u0041\u00e9""#,
    r#""\"\\\/\b\f\n\r\t""#,
    r#""\ud834\udd1e""#,
    r#""☃ 𝄞 é""#,
    r#""<script>&'""#,
    "[]",
    "{}",
    "[1,[2,[3]]]",
    r#"{"b":1,"a":2}"#,
    r#"{"a":1,"a":2}"#,
    r#"{"":{"event":"message-new"}}"#,
    r#"{"content":null,"id":7}"#,
    r#""\u0000\u001f""#,
    r#""\u2028\u2029""#,
];

#[test]
fn s1_88_content_is_any_json_and_stays_as_it_was_written() {
    let server = TestServer::with_shards(2);
    let mut ann = server.member("ann", "lobby");
    let mut bob = server.member("bob", "lobby");
    let first = bob.join("lobby");
    ann.push("member-joined");
    for raw in CONTENTS {
        ann.send_text(&format!(r#"{{"event":"send-message","data":{{"conversationId":"lobby","content":{raw}}}}}"#));
        ann.push_after_others("message-ack");
        let text = bob.next_text();
        assert!(
            text.contains(&format!("\"content\":{raw},")) || text.contains(&format!("\"content\":{raw}}}")),
            "{raw}: {text}"
        );
    }
    // The same when it is read later.
    bob.send(&json!({"event": "history", "data": "lobby"}));
    let history = bob.next_text();
    bob.send(&json!({"event": "join-room", "data": {"conversationId": "lobby", "since": {"epoch": first["epoch"], "seq": first["seq"]}}}));
    let joined = bob.next_text();
    for text in [history, joined] {
        for raw in CONTENTS {
            assert!(
                text.contains(&format!("\"content\":{raw},")) || text.contains(&format!("\"content\":{raw}}}")),
                "{raw}: {text}"
            );
        }
    }
}

#[test]
fn large_content_passes_whole() {
    let server = TestServer::with_shards(2);
    let mut ann = server.member("ann", "lobby");
    let mut bob = server.member("bob", "lobby");
    for bytes in [125, 126, 200, 65_000 - 300, 64_000] {
        let content = "x".repeat(bytes);
        ann.post(to_lobby(content.clone()));
        assert_eq!(bob.message()["content"], content);
    }
}

#[test]
fn s1_94_objects_come_one_a_line_where_that_was_asked_for() {
    let mut config = config();
    // What is sent within this time of the first message comes together.
    config.delivery.room_flush_ms = 100;
    let server = TestServer::start(config);
    let mut ann = server.member("ann", "lobby");
    let mut bob = server.device("bob", json!({"batch": true}));
    bob.join("lobby");
    // The white space in a content is part of it, but must not look like the end of an object.
    for number in 0..40 {
        ann.send_text(&format!(
            "{{\"event\":\"send-message\",\"data\":{{\"conversationId\":\"lobby\",\n\"content\":{{\"n\":\n{number}\r\n, \"a\" : [\n]}}}}}}"
        ));
    }
    for number in 0..40 {
        assert_eq!(bob.message()["content"], json!({"n": number, "a": []}));
    }
}

#[test]
fn without_batch_every_message_is_one_object() {
    let mut config = config();
    config.delivery.room_flush_ms = 100;
    let server = TestServer::start(config);
    let mut ann = server.member("ann", "lobby");
    let mut bob = server.member("bob", "lobby");
    for number in 0..40 {
        ann.ask("send-message", to_lobby(number));
    }
    // The client takes a second object in one message for an error.
    for number in 0..40 {
        assert_eq!(bob.message()["content"], number);
    }
}

#[test]
fn s2_36_the_conversation_dialect_has_other_names_for_the_same() {
    for batch in [false, true] {
        let server = TestServer::with_shards(2);
        let mut ann = server.member("ann", "lobby");
        let mut bob = server.device("bob", json!({"dialect": "conversation", "batch": batch}));
        let joined = bob.reply_named("room-joined", "join-conversation", json!("lobby"));
        let id = ann.post(to_lobby("one"))["messageId"].clone();
        let pushed = bob.push("new-message");
        assert_eq!(pushed, ann.message());
        ann.ok("edit-message", with(to_lobby("two"), json!({"messageId": id})));
        ann.ok("delete-message", with(to_lobby(0), json!({"messageId": id})));
        bob.push("message-edited");
        bob.push("message-deleted");
        let since = json!({"epoch": joined["epoch"], "seq": joined["seq"]});
        let events: Vec<Value> = bob.join_since("lobby", since)["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["event"].clone())
            .collect();
        assert_eq!(events, ["new-message", "message-edited", "message-deleted"]);
    }
}

// Repeated sends

#[test]
fn a_repeat_gets_the_first_answer_and_no_second_push() {
    for shards in [1, 3] {
        let server = TestServer::with_shards(shards);
        let mut bob = server.member("bob", "lobby");
        let mut ann = server.member("ann", "lobby");
        let send = with(to_lobby("first"), json!({"tempId": "t-1"}));
        let first = ann.post(send.clone());
        assert_eq!(first["duplicate"], false);
        let mut repeat = first.clone();
        repeat["duplicate"] = json!(true);
        assert_eq!(ann.post(send.clone()), repeat);
        // Whatever else it says now.
        assert_eq!(
            ann.post(with(to_lobby("other content"), json!({"tempId": "t-1", "type": "x", "noEcho": true}))),
            repeat
        );
        // On another device, and after the connection was lost.
        let mut tablet = server.device("ann", json!({"deviceId": "tablet"}));
        assert_eq!(tablet.post(send.clone()), repeat);
        drop((ann, tablet));
        let mut ann = server.user("ann");
        assert_eq!(ann.post(send), repeat);
        assert_eq!(bob.message()["content"], "first");
        bob.nothing_came("lobby");
        ann.nothing_came("lobby");
        assert_eq!(ann.history(json!("lobby"))["messages"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn a_temp_id_is_the_users_and_the_rooms() {
    let server = TestServer::with_shards(3);
    let mut ann = server.member("ann", "lobby");
    ann.join("other");
    let mut bob = server.member("bob", "lobby");
    let temp_id = json!({"tempId": "same"});
    let mut ids = HashSet::new();
    for ack in [
        ann.post(with(to_lobby(1), temp_id.clone())),
        bob.post(with(to_lobby(2), temp_id.clone())),
        ann.post(json!({"conversationId": "other", "content": 3, "tempId": "same"})),
        ann.post(with(to_lobby(4), json!({"tempId": "Same"}))),
        ann.post(to_lobby(5)),
        ann.post(to_lobby(5)),
    ] {
        assert_eq!(ack["duplicate"], false, "{ack}");
        ids.insert(ack["messageId"].to_string());
    }
    assert_eq!(ids.len(), 6);
}

#[test]
fn a_repeat_after_an_edit_or_a_deletion_is_still_a_repeat() {
    let server = TestServer::with_shards(2);
    let mut ann = server.member("ann", "lobby");
    let send = with(to_lobby("first"), json!({"tempId": "t"}));
    let first = ann.post(send.clone());
    let target = json!({"messageId": first["messageId"]});
    ann.ok("edit-message", with(to_lobby("second"), target.clone()));
    assert_eq!(ann.post(send.clone())["messageId"], first["messageId"]);
    ann.ok("delete-message", with(to_lobby(0), target));
    let repeat = ann.post(send);
    assert_eq!((&repeat["messageId"], &repeat["duplicate"]), (&first["messageId"], &json!(true)));
    assert_eq!(ann.history(json!("lobby"))["messages"].as_array().unwrap().len(), 1);
}

#[test]
fn twenty_connections_that_send_the_same_at_once_send_it_once() {
    for shards in [1, 3] {
        let server = TestServer::with_shards(shards);
        let mut bob = server.member("bob", "lobby");
        let mut devices: Vec<Client> = (0..20).map(|_| server.user("ann")).collect();
        devices[0].join("lobby");
        bob.push("member-joined");
        for round in 0..5 {
            let send = with(to_lobby(round), json!({"tempId": format!("round-{round}")}));
            let acks: Vec<Value> = std::thread::scope(|scope| {
                let sends: Vec<_> =
                    devices.iter_mut().map(|device| scope.spawn(|| device.post(send.clone()))).collect();
                sends.into_iter().map(|sent| sent.join().unwrap()).collect()
            });
            let firsts = acks.iter().filter(|ack| ack["duplicate"] == false).count();
            assert_eq!(firsts, 1, "{acks:?}");
            let places: HashSet<String> =
                acks.iter().map(|ack| format!("{} {} {}", ack["messageId"], ack["seq"], ack["sentAt"])).collect();
            assert_eq!(places.len(), 1, "{acks:?}");
            assert_eq!(bob.push("message-new")["content"], round);
        }
        bob.nothing_came("lobby");
    }
}

#[test]
fn a_temp_id_is_forgotten_after_its_time() {
    let mut config = config();
    config.store.dedup_seconds = 1;
    let server = TestServer::start(config);
    let mut ann = server.member("ann", "lobby");
    let send = with(to_lobby(1), json!({"tempId": "t", "noEcho": true}));
    let first = ann.post(send.clone());
    let later = until("it is a new message", || Some(ann.post(send.clone())).filter(|ack| ack["duplicate"] == false));
    assert_ne!(later["messageId"], first["messageId"]);
    assert!(later["sentAt"].as_u64().unwrap() >= first["sentAt"].as_u64().unwrap() + 1_000);
}

#[test]
fn only_so_many_temp_ids_are_remembered() {
    let mut config = config();
    config.shards = 1;
    config.store.dedup_entries_max = 2;
    let server = TestServer::start(config);
    let mut ann = server.member("ann", "lobby");
    let mut post = |temp_id: &str| ann.post(with(to_lobby(1), json!({"tempId": temp_id})))["duplicate"].clone();
    assert_eq!(
        ["a", "b", "b", "a", "c", "c", "b", "a"].map(&mut post),
        [false, false, true, true, false, true, true, false]
    );
}

// Order

#[test]
fn all_members_see_one_order() {
    for (shards, room_flush_ms, gather_us) in [(1, 2, 1500), (3, 0, 0), (3, 2, 1500), (3, 2, 20_000), (4, 20, 1500)] {
        const EACH: usize = 60;
        let mut config = config();
        config.shards = shards;
        config.delivery.room_flush_ms = room_flush_ms;
        config.delivery.input_gather_us = gather_us;
        let server = TestServer::start(config);
        let mut senders: Vec<Client> = (0..4).map(|number| server.member(&format!("s{number}"), "lobby")).collect();
        let mut readers: Vec<Client> = (0..3).map(|number| server.member(&format!("r{number}"), "lobby")).collect();
        let head = readers[2].join("lobby")["seq"].as_u64().unwrap();
        std::thread::scope(|scope| {
            for (number, sender) in senders.iter_mut().enumerate() {
                scope.spawn(move || {
                    (0..EACH).for_each(|turn| drop(sender.ask("send-message", to_lobby(format!("{number}-{turn}")))))
                });
            }
        });
        let mut orders = Vec::new();
        for client in readers.iter_mut().chain(&mut senders) {
            let messages: Vec<Value> = (0..4 * EACH).map(|_| client.message()).collect();
            let seqs: Vec<u64> = messages.iter().map(|message| message["seq"].as_u64().unwrap()).collect();
            assert_eq!(
                seqs,
                (head + 1..=head + 4 * EACH as u64).collect::<Vec<_>>(),
                "no hole, nothing twice, nothing out of order"
            );
            // What one connection sent is in the order in which it sent it.
            for number in 0..4 {
                let prefix = format!("{number}-");
                let turns: Vec<usize> = messages
                    .iter()
                    .filter_map(|message| message["content"].as_str().unwrap().strip_prefix(&prefix)?.parse().ok())
                    .collect();
                assert_eq!(turns, (0..EACH).collect::<Vec<_>>());
            }
            orders.push(messages);
        }
        assert!(orders.iter().all(|order| *order == orders[0]));
        let page = readers[0].history(json!({"conversationId": "lobby", "limit": 200}));
        assert_eq!(page["messages"].as_array().unwrap().as_slice(), &orders[0][4 * EACH - 200..]);
    }
}

#[test]
fn answers_and_pushes_come_in_the_order_of_their_causes() {
    for (shards, room_flush_ms) in [(1, 0), (1, 50), (3, 0), (3, 50)] {
        let mut config = config();
        config.shards = shards;
        config.delivery.room_flush_ms = room_flush_ms;
        let server = TestServer::start(config);
        let mut ann = server.member("ann", "lobby");
        let mut bob = server.member("bob", "lobby");
        ann.push("member-joined");
        for turn in 0..6 {
            // Somebody else's message, and one's own, pipelined with questions about them.
            bob.post(with(to_lobby("bob"), json!({"noEcho": true})));
            let ids = [
                ann.ask("history", json!({"conversationId": "lobby", "limit": 1})),
                ann.ask("send-message", to_lobby("mine")),
                ann.ask("history", json!({"conversationId": "lobby", "limit": 1})),
                ann.ask("join-room", json!("lobby")),
                ann.ask("heartbeat", Value::Null),
            ];
            // Whatever an answer knows of was pushed before it.
            let (mut pushed, mut answered) = (0, 0);
            while answered < ids.len() {
                let message = ann.next();
                if message["event"] == "message-new" {
                    pushed = message["data"]["seq"].as_u64().unwrap();
                    continue;
                }
                assert_eq!(message["id"], ids[answered], "{message}");
                answered += 1;
                let known = match message["event"].as_str().unwrap() {
                    "history" => message["data"]["messages"][0]["seq"].as_u64().unwrap(),
                    "room-joined" => message["data"]["seq"].as_u64().unwrap(),
                    _ => 0,
                };
                assert!(
                    known <= pushed,
                    "turn {turn}, {shards} shards: {known} is known but {pushed} was pushed: {message}"
                );
            }
            // Bob gets ann's and goes on only then.
            assert_eq!(bob.push("message-new")["content"], "mine");
        }
    }
}

#[test]
fn nothing_is_pushed_before_the_answer_that_makes_a_connection_live() {
    let server = TestServer::with_shards(3);
    let mut writer = server.user("writer");
    for room in 0..20 {
        let room = format!("room-{room}");
        writer.join(&room);
        let mut ann = server.user("ann");
        (0..5).for_each(|number| {
            drop(writer.ask("send-message", json!({"conversationId": room, "content": number, "noEcho": true})))
        });
        let id = ann.ask("join-room", json!(room));
        (5..10).for_each(|number| {
            drop(writer.ask("send-message", json!({"conversationId": room, "content": number, "noEcho": true})))
        });
        let first = ann.next();
        assert_eq!(first["id"], id, "{first}");
        let mut seq = first["data"]["seq"].as_u64().unwrap();
        // Exactly what is behind the head of the answer follows: ten messages and two joins make twelve.
        while seq < 12 {
            seq += 1;
            assert_eq!(ann.push("message-new")["seq"], seq);
        }
        ann.nothing_came(&room);
        ann.leave(&room);
    }
}

#[test]
fn message_ids_are_unique() {
    let server = TestServer::with_shards(4);
    let ids: Vec<String> = std::thread::scope(|scope| {
        let work = |number: usize| {
            let mut client = server.user(&format!("u{number}"));
            let rooms: Vec<String> = (0..5).map(|room| format!("room-{room}")).collect();
            rooms.iter().for_each(|room| drop(client.join(room)));
            let send = |turn: usize| json!({"conversationId": rooms[turn % 5], "content": turn, "noEcho": true});
            (0..100).map(|turn| client.post(send(turn))["messageId"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let workers: Vec<_> = (0..4).map(|number| scope.spawn(move || work(number))).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 400);
}

// Editing and deleting

#[test]
fn s1_40_s2_29_s2_40_an_edit_is_pushed_whole_and_keeps_its_place() {
    for shards in [1, 3] {
        let server = TestServer::with_shards(shards);
        let mut ann = server.device("ann", json!({"deviceId": "phone"}));
        ann.join("lobby");
        let mut bob = server.member("bob", "lobby");
        ann.push("member-joined");
        let more = json!({"type": "note", "replyTo": "r", "tempId": "t"});
        let id = ann.post(with(to_lobby("one"), more))["messageId"].clone();
        let first = bob.message();
        ann.post(to_lobby("between"));
        bob.message();
        let before = now_ms();
        let ok = ann.ok("edit-message", with(to_lobby(json!({"two": 2})), json!({"messageId": id})));
        assert_eq!(ok, json!({"messageId": id, "version": 2, "seq": 5}));
        let edited = bob.push("message-edited");
        let edited_at = edited["editedAt"].as_u64().unwrap();
        assert!((before..=now_ms()).contains(&edited_at));
        let expected =
            with(first.clone(), json!({"content": {"two": 2}, "version": 2, "seq": 5, "editedAt": edited_at}));
        assert_eq!(edited, expected);
        assert_eq!(ann.push_after_others("message-edited"), expected);
        // In history it stands where it first stood.
        let messages = bob.history(json!("lobby"))["messages"].clone();
        assert_eq!(messages[0], with(expected, json!({"seq": first["seq"]})));
        assert_eq!(messages[1]["content"], "between");
        assert_eq!(messages.as_array().unwrap().len(), 2);
        // Any number of times.
        for version in 3..6 {
            let ok = ann.ok("edit-message", with(to_lobby(version), json!({"messageId": id})));
            assert_eq!(ok["version"], version);
            assert_eq!(bob.push("message-edited")["version"], version);
        }
    }
}

#[test]
fn an_edit_may_be_bound_to_a_version() {
    let server = TestServer::with_shards(2);
    let mut ann = server.member("ann", "lobby");
    let id = ann.post(with(to_lobby("one"), json!({"noEcho": true})))["messageId"].clone();
    let edit = |version: Value| with(to_lobby("two"), json!({"messageId": id, "ifVersion": version}));
    for wrong in [json!(0), json!(2), json!(u64::MAX)] {
        let refusal = ann.refused("EDIT_CONFLICT", "edit-message", edit(wrong));
        assert_eq!(refusal["retryable"], false);
    }
    for bad in [json!("1"), json!(-1), json!(1.5), json!([])] {
        ann.refused("INVALID_PAYLOAD", "edit-message", edit(bad));
    }
    assert_eq!(ann.ok("edit-message", edit(json!(1)))["version"], 2);
    ann.refused("EDIT_CONFLICT", "edit-message", edit(json!(1)));
    assert_eq!(ann.ok("edit-message", edit(json!(null)))["version"], 3);
    assert_eq!(ann.ok("edit-message", edit(json!(3)))["version"], 4);
}

#[test]
fn of_edits_that_cross_only_one_is_taken() {
    let server = TestServer::with_shards(3);
    let mut devices: Vec<Client> = (0..8).map(|_| server.member("ann", "lobby")).collect();
    let id = devices[0].post(to_lobby(0))["messageId"].clone();
    for version in 1..6 {
        let edit = with(to_lobby(version), json!({"messageId": id, "ifVersion": version}));
        let taken: usize = std::thread::scope(|scope| {
            let edits: Vec<_> =
                devices.iter_mut().map(|device| scope.spawn(|| device.call("edit-message", edit.clone()))).collect();
            let answers = edits.into_iter().map(|edit| edit.join().unwrap());
            answers.map(|answer| usize::from(answer["event"] == "ok")).sum()
        });
        assert_eq!(taken, 1);
    }
    assert_eq!(devices[0].history(json!("lobby"))["messages"][0]["version"], 6);
}

#[test]
fn s2_12_only_the_author_may_edit_or_delete() {
    let server = TestServer::with_shards(2);
    let mut ann = server.member("ann", "lobby");
    ann.join("other");
    let mut bob = server.member("bob", "lobby");
    let id = ann.post(to_lobby("mine"))["messageId"].clone();
    bob.message();
    let target = with(to_lobby("changed"), json!({"messageId": id}));
    for event in ["edit-message", "delete-message"] {
        bob.refused("FORBIDDEN", event, target.clone());
        // A version that is wrong besides tells no more.
        bob.refused("FORBIDDEN", event, with(target.clone(), json!({"ifVersion": 7})));
        for missing in ["no-such-message", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "☃"] {
            ann.refused("MESSAGE_NOT_FOUND", event, with(target.clone(), json!({"messageId": missing})));
        }
        // In another room it does not exist.
        ann.refused("MESSAGE_NOT_FOUND", event, with(target.clone(), json!({"conversationId": "other"})));
        for bad in [json!(null), json!(1), json!(""), json!("a*"), json!("x".repeat(201))] {
            ann.refused("INVALID_PAYLOAD", event, with(target.clone(), json!({"messageId": bad})));
        }
        ann.refused("INVALID_PAYLOAD", event, json!({"conversationId": "lobby", "content": 1}));
    }
    ann.refused("INVALID_PAYLOAD", "edit-message", json!({"conversationId": "lobby", "messageId": id}));
    bob.nothing_came("lobby");
    // The author from any device.
    server.user("ann").ok("edit-message", target.clone());
    ann.ok("edit-message", with(target.clone(), json!({"content": null})));
    assert_eq!(ann.history(json!("lobby"))["messages"][0]["content"], Value::Null);
    // But not once the author has left.
    ann.leave("lobby");
    ann.refused("NOT_A_MEMBER", "edit-message", target.clone());
    ann.join("lobby");
    ann.ok("delete-message", target);
}

#[test]
fn s1_41_s2_28_s2_39_a_deletion_is_pushed_and_final() {
    for shards in [1, 3] {
        let server = TestServer::with_shards(shards);
        let mut ann = server.member("ann", "lobby");
        let mut bob = server.member("bob", "lobby");
        let ack = ann.post(with(to_lobby("one"), json!({"noEcho": true})));
        let (id, epoch) = (ack["messageId"].clone(), ack["epoch"].clone());
        bob.message();
        let target = with(to_lobby("x"), json!({"messageId": id}));
        let before = now_ms();
        assert_eq!(ann.ok("delete-message", target.clone()), json!({"messageId": id, "seq": 4}));
        let push = bob.push("message-deleted");
        let at = push["deletedAt"].as_u64().unwrap();
        assert!((before..=now_ms()).contains(&at));
        let expected = json!({"conversationId": "lobby", "messageId": id, "seq": 4, "epoch": epoch, "userId": "ann", "deletedAt": at});
        assert_eq!(push, expected);
        assert_eq!(ann.push_after_others("message-deleted"), expected);
        for event in ["edit-message", "delete-message"] {
            ann.refused("MESSAGE_NOT_FOUND", event, target.clone());
        }
        bob.nothing_came("lobby");
        let messages = bob.history(json!("lobby"))["messages"].clone();
        assert_eq!(messages, json!([{"messageId": id, "seq": 3, "userId": "ann", "deletedAt": at}]));
    }
}

#[test]
fn s2_12_deleted_content_is_gone_from_everywhere() {
    let server = TestServer::with_shards(2);
    let mut ann = server.user("ann");
    let joined = ann.join("lobby");
    let id = ann.post(with(to_lobby("classified one"), json!({"noEcho": true})))["messageId"].clone();
    ann.ok("edit-message", with(to_lobby("classified two"), json!({"messageId": id})));
    ann.ok("delete-message", with(to_lobby(0), json!({"messageId": id})));
    ann.push("message-edited");
    ann.push("message-deleted");
    let since = json!({"epoch": joined["epoch"], "seq": joined["seq"]});
    let recovered = ann.join_since("lobby", since.clone());
    assert_eq!(recovered["recovered"], true);
    let history = ann.history(json!("lobby"));
    let mut tablet = server.device("ann", json!({"since": {"lobby": since}}));
    let queued: Vec<Value> = (0..4).map(|_| tablet.next()).collect();
    assert_eq!(queued[3]["event"], "queue-flushed");
    for text in [recovered.to_string(), history.to_string(), json!(queued).to_string()] {
        assert!(!text.contains("classified"), "{text}");
    }
}

// Ephemeral rooms

#[test]
fn an_ephemeral_room_has_no_log() {
    for shards in [1, 3] {
        let server = server_with_ephemeral_rooms(shards);
        let mut ann = server.user("ann");
        let joined = ann.join("live-1");
        assert_eq!(joined, json!({"conversationId": "live-1", "recovered": false, "messages": [], "members": 1}));
        let mut bob = server.member("bob", "live-1");
        let at = ann.push("member-joined");
        assert_eq!(at, json!({"conversationId": "live-1", "userId": "bob", "at": at["at"]}));
        let ack = ann.post(json!({"conversationId": "live-1", "content": "now", "tempId": "t"}));
        let id = &ack["messageId"];
        let expected = json!({
            "tempId": "t", "messageId": id, "conversationId": "live-1", "sentAt": ack["sentAt"], "duplicate": false,
        });
        assert_eq!(ack, expected);
        for client in [&mut ann, &mut bob] {
            let message = client.push("message-new");
            assert_eq!((&message["content"], &message["messageId"]), (&json!("now"), id));
            assert_eq!((message.get("seq"), message.get("epoch")), (None, None), "{message}");
        }
        // A repeat is a repeat here too.
        assert_eq!(ann.post(json!({"conversationId": "live-1", "content": "now", "tempId": "t"}))["duplicate"], true);
        bob.nothing_came("live-1");
        // Nothing is kept, so there is nothing to change or to read.
        let target = json!({"conversationId": "live-1", "messageId": id, "content": "x"});
        ann.refused("MESSAGE_NOT_FOUND", "edit-message", target.clone());
        ann.refused("MESSAGE_NOT_FOUND", "delete-message", target);
        assert_eq!(ann.history(json!("live-1")), json!({"conversationId": "live-1", "messages": [], "hasMore": false}));
        let since = ann.join_since("live-1", json!({"epoch": "e", "seq": 0}));
        assert_eq!((&since["recovered"], &since["messages"]), (&json!(false), &json!([])));
        assert_eq!(server.user("ann").success["rooms"], json!([{"conversationId": "live-1"}]));
        // Other rooms have their logs.
        assert_eq!(ann.join("lively")["seq"], 1);
    }
}
