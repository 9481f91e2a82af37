//! The envelope: ids, names, what is a request and what is none, and the order of answers.

use serde_json::{Value, json};

use crate::common::{Client, TestServer, config};

/// Sends a text that is no request; it must be refused as such and leave the connection alone.
fn is_invalid(client: &mut Client, text: &str) {
    client.send_text(text);
    let answer = client.next();
    assert_eq!(
        (&answer["event"], &answer["data"]["code"]),
        (&json!("error"), &json!("INVALID_FRAME")),
        "{text:.80}: {answer}"
    );
    assert_eq!(answer["data"]["retryable"], false, "{answer}");
    // A request in between, so that invalid frames never come in a row.
    client.is_alive();
}

fn all_invalid(texts: &[&str]) {
    let server = TestServer::with_shards(1);
    let mut client = server.user("ann");
    for text in texts {
        is_invalid(&mut client, text);
    }
}

#[test]
fn an_id_comes_back_as_it_came() {
    let server = TestServer::with_shards(2);
    let mut client = server.member("ann", "lobby");
    let long = format!("\"{}\"", "x".repeat(64));
    let escaped = format!("\"{}\"", "\\u0041".repeat(64));
    let wide = format!("\"{}\"", "é".repeat(32));
    let ids = [
        "\"7\"",
        "\"\"",
        "7",
        "0",
        "18446744073709551615",
        "\"ünïcødé ☃ 𝄞\"",
        r#""\u00fc\n\"\\\/\ud834\udd1e""#,
        "\"null\"",
        "\" 1 \"",
        &long,
        &escaped,
        &wide,
    ];
    for id in ids {
        for (event, data, reply) in [
            ("heartbeat", "null", "heartbeat-ack"),
            ("history", "\"lobby\"", "history"),
            ("no-such-event", "{}", "error"),
            ("join-room", "17", "error"),
        ] {
            client.send_text(&format!(r#"{{"event":"{event}","id":{id},"data":{data}}}"#));
            let text = client.next_text();
            let answer: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(answer["event"], reply, "{text}");
            assert_eq!(answer["id"], serde_json::from_str::<Value>(id).unwrap(), "{text}");
            // An opaque id is not even written in another way.
            assert!(text.contains(&format!("\"id\":{id}")), "{id}: {text}");
        }
    }
}

#[test]
fn an_id_of_another_kind_is_no_request() {
    let long = format!("\"{}\"", "x".repeat(65));
    let wide = format!("\"{}\"", "é".repeat(33));
    let bad = [
        "-1",
        "1.5",
        "1e3",
        "1.0",
        "-0",
        "18446744073709551616",
        "true",
        "false",
        "null",
        "[]",
        "[1]",
        "{}",
        r#"{"a":1}"#,
        &long,
        &wide,
        r#""\ud800""#,
    ];
    let texts = bad.map(|id| format!(r#"{{"event":"heartbeat","id":{id}}}"#));
    all_invalid(&texts.each_ref().map(String::as_str));
}

#[test]
fn without_an_id_marked_replies_still_come() {
    let server = TestServer::with_shards(2);
    let mut client = server.connect();
    let token = crate::common::Token::of("ann").sign();
    for (event, data, reply) in [
        ("heartbeat", Value::Null, "heartbeat-ack"),
        ("auth", json!(token), "auth-success"),
        ("join-room", json!("lobby"), "room-joined"),
        ("get-online-users", json!("lobby"), "online-users"),
        ("history", json!("lobby"), "history"),
        ("send-message", json!({"conversationId": "lobby", "content": 1, "noEcho": true}), "message-ack"),
    ] {
        client.send(&json!({"event": event, "data": data}));
        let answer = client.next();
        assert_eq!(answer["event"], reply, "{answer}");
        assert_eq!(answer.get("id"), None, "{answer}");
    }
    client.send(&json!({"event": "leave-room", "data": "lobby"}));
    client.push_after_others("room-left");
}

#[test]
fn without_an_id_ok_does_not_come() {
    let server = TestServer::with_shards(2);
    let mut client = server.member("ann", "lobby");
    let message = client.say("lobby", "first")["messageId"].clone();
    client.push("message-new");
    let target = json!({"conversationId": "lobby", "messageId": message, "content": "second"});
    client.send(&json!({"event": "edit-message", "data": target}));
    assert_eq!(client.push("message-edited")["content"], "second");
    client.send(&json!({"event": "delete-message", "data": target}));
    client.push("message-deleted");
    client.nothing_came("lobby");
}

#[test]
fn with_an_id_ok_comes_once() {
    let server = TestServer::with_shards(2);
    let mut client = server.member("ann", "lobby");
    let message = client.post(json!({"conversationId": "lobby", "content": 1, "noEcho": true}))["messageId"].clone();
    client
        .send(&json!({"event": "delete-message", "id": 5, "data": {"conversationId": "lobby", "messageId": message}}));
    client.push_after_others("message-deleted");
    assert_eq!(client.answer_by(&json!(5))["event"], "ok");
    client.nothing_came("lobby");
}

#[test]
fn a_refusal_without_an_id_names_the_request() {
    let server = TestServer::with_shards(2);
    let mut client = server.user("ann");
    for (event, data, code) in [
        ("join-room", json!({}), "INVALID_PAYLOAD"),
        ("join-conversation", json!({}), "INVALID_PAYLOAD"),
        ("leave-conversation", json!("elsewhere"), "NOT_A_MEMBER"),
        ("send-message", json!({"conversationId": "elsewhere", "content": 1}), "NOT_A_MEMBER"),
        ("edit-message", json!({"conversationId": "elsewhere", "messageId": "m", "content": 1}), "NOT_A_MEMBER"),
        ("no-such-event", json!({}), "UNKNOWN_EVENT"),
        ("ünknown \"quoted\"", json!({}), "UNKNOWN_EVENT"),
    ] {
        client.send(&json!({"event": event, "data": data}));
        let refusal = client.refusal(code);
        assert_eq!(refusal["event"], event, "{refusal}");
    }
}

#[test]
fn s1_35_s2_51_a_refusal_says_what_section_9_says() {
    let server = TestServer::with_shards(1);
    let mut client = server.user("ann");
    for (event, data) in [("no-such-event", json!(null)), ("join-room", json!(1)), ("history", json!("elsewhere"))] {
        let refusal = client.call(event, data)["data"].clone();
        assert!(refusal["code"].is_string(), "{refusal}");
        assert!(refusal["message"].as_str().is_some_and(|message| !message.is_empty()), "{refusal}");
        assert_eq!(refusal["retryable"], false, "{refusal}");
    }
}

#[test]
fn unknown_fields_are_ignored() {
    let server = TestServer::with_shards(2);
    let mut client = server.user("ann");
    client.send(&json!({
        "v": 1, "Event": "x", "ID": {}, "event": "join-room", "more": [[], {}], "id": 1, "": null,
        "data": {"conversationId": "lobby", "unknown": {"deep": [1]}, "event": 7, "Room": 1},
    }));
    let answer = client.answer_by(&json!(1));
    assert_eq!(
        (&answer["event"], &answer["data"]["conversationId"]),
        (&json!("room-joined"), &json!("lobby")),
        "{answer}"
    );
    let ack = client.post(
        json!({"conversationId": "lobby", "content": 1, "seq": -5, "userId": "bob", "epoch": {}, "noEcho": true}),
    );
    assert_eq!(ack["seq"], 2, "{ack}");
    assert_eq!(client.history(json!("lobby"))["messages"][0]["userId"], "ann");
}

#[test]
fn unknown_events_are_refused() {
    let server = TestServer::with_shards(1);
    let mut client = server.user("ann");
    for event in [
        "",
        " ",
        "no-such-event",
        "Send-Message",
        "send-message ",
        "send_message",
        "message-new",
        "message-ack",
        "error",
        "ok",
        "reaction:add",
        "call:offer",
        "a\u{0}b",
        "☃",
        "__proto__",
        &"x".repeat(10_000),
    ] {
        for data in [json!(null), json!({}), json!("x"), json!([])] {
            client.refused("UNKNOWN_EVENT", event, data);
        }
    }
    client.send(&json!({"event": "no-data", "id": 9}));
    assert_eq!(client.answer_by(&json!(9))["data"]["code"], "UNKNOWN_EVENT");
}

/// The parts of the protocol that come later. Whoever adds one takes it out of here.
#[test]
fn custom_events_without_an_owner_are_unknown() {
    let server = TestServer::with_shards(1);
    let mut client = server.member("ann", "lobby");
    for event in ["reaction:add", "call:offer", "file:progress", ":", "presence"] {
        client.refused("UNKNOWN_EVENT", event, json!({"conversationId": "lobby"}));
    }
}

#[test]
fn an_escaped_event_name_is_the_same_name() {
    let server = TestServer::with_shards(1);
    let mut client = server.user("ann");
    client.send_text(r#"{"\u0065vent":"heart\u0062eat","id":1}"#);
    assert_eq!(client.answer_by(&json!(1))["event"], "heartbeat-ack");
}

#[test]
fn a_message_may_hold_several_requests() {
    for shards in [1, 3] {
        let server = TestServer::with_shards(shards);
        let mut client = server.user("ann");
        client.send_text(
            " \r\n{\"event\":\"join-room\",\"id\":1,\"data\":\"a\"} {\"event\":\"join-room\",\"id\":2,\"data\":\"b\"}\n\
             {\"event\":\"send-message\",\"id\":3,\"data\":{\"room\":\"b\",\"content\":\"x\",\"noEcho\":true}}\r\n\
             \t{\"event\":\"heartbeat\",\"id\":4}\n\n{\"event\":\"no\",\"id\":5}\n{\"event\":\"leave-room\",\"id\":6,\"data\":\"a\"}\n ",
        );
        let replies = ["room-joined", "room-joined", "message-ack", "heartbeat-ack", "error", "room-left"];
        for (id, reply) in (1..).zip(replies) {
            let answer = client.next_answer();
            assert_eq!((&answer["id"], &answer["event"]), (&json!(id), &json!(reply)), "{shards} shards: {answer}");
        }
    }
}

#[test]
fn requests_before_a_malformed_one_are_executed() {
    let server = TestServer::with_shards(2);
    let mut client = server.user("ann");
    client.send_text(r#"{"event":"join-room","id":1,"data":"a"} {"event":"heartbeat","id":2} nonsense"#);
    assert_eq!(client.next()["event"], "room-joined");
    assert_eq!(client.next()["event"], "heartbeat-ack");
    client.refusal("INVALID_FRAME");
    client.nothing_came("a");
}

#[test]
fn what_is_not_json_is_no_request() {
    all_invalid(&[
        "",
        " ",
        "\n\n",
        "nonsense",
        "heartbeat",
        "{",
        "}",
        "{\"event\":\"heartbeat\"",
        "{\"event\":\"heartbeat\"]",
        "{'event':'heartbeat'}",
        "{event:\"heartbeat\"}",
        "{\"event\":\"heartbeat\",}",
        "// {\"event\":\"heartbeat\"}",
        "{\"event\":\"heartbeat\",\"data\":NaN}",
        "{\"event\":\"heartbeat\",\"data\":01}",
        "{\"event\":\"heartbeat\",\"data\":+1}",
        "{\"event\":\"heartbeat\",\"data\":1.}",
        "{\"event\":\"heartbeat\",\"data\":.5}",
        "{\"event\":\"heartbeat\",\"data\":\"\\x\"}",
        "{\"event\":\"heartbeat\",\"data\":\"\\u12\"}",
        "{\"event\":\"heart\nbeat\"}",
        "{\"event\":\"heartbeat\u{0}\"}",
        "\u{feff}{\"event\":\"heartbeat\"}",
        "\u{0}",
        "\u{a0}{\"event\":\"heartbeat\"}",
        "{\"event\":\"heartbeat\",\"data\":tru}",
    ]);
}

#[test]
fn what_is_not_an_object_with_an_event_is_no_request() {
    all_invalid(&[
        "null",
        "true",
        "0",
        "-1.5e3",
        "\"heartbeat\"",
        "[]",
        "{}",
        "[{\"event\":\"heartbeat\"}]",
        "[\"heartbeat\",1,null]",
        "{\"data\":{}}",
        "{\"id\":1}",
        "{\"Event\":\"heartbeat\"}",
        "{\"type\":\"heartbeat\"}",
        "{\"event\":null}",
        "{\"event\":1}",
        "{\"event\":true}",
        "{\"event\":[\"heartbeat\"]}",
        "{\"event\":{\"name\":\"heartbeat\"}}",
    ]);
}

#[test]
fn a_field_that_is_there_twice_is_no_request() {
    // Whichever of the two counted, somebody else's parser would have taken the other.
    all_invalid(&[
        "{\"event\":\"heartbeat\",\"event\":\"heartbeat\"}",
        "{\"event\":\"heartbeat\",\"id\":1,\"id\":2}",
        "{\"event\":\"join-room\",\"data\":\"a\",\"data\":\"b\"}",
        "{\"event\":\"heartbeat\",\"\\u0065vent\":\"join-room\"}",
    ]);
    let server = TestServer::with_shards(1);
    let mut client = server.user("ann");
    client.send_text(r#"{"event":"join-room","id":1,"data":{"conversationId":"a","conversationId":"b"}}"#);
    assert_eq!(client.answer_by(&json!(1))["data"]["code"], "INVALID_PAYLOAD");
}

#[test]
fn an_id_is_told_where_the_event_is_missing() {
    let server = TestServer::with_shards(1);
    let mut client = server.user("ann");
    for text in [r#"{"id":"mine"}"#, r#"{"id":"mine","event":7}"#] {
        client.send_text(text);
        assert_eq!(client.answer_by(&json!("mine"))["data"]["code"], "INVALID_FRAME");
    }
}

#[test]
fn deep_nesting_is_refused_and_harmless() {
    let server = TestServer::with_shards(1);
    let mut client = server.member("ann", "lobby");
    for (open, close, depth) in
        [("[", "]", 30_000), ("{\"a\":", "}", 10_000), ("[", "", 60_000), ("{\"a\":", "", 12_000)]
    {
        let deep = format!("{}{}{}", open.repeat(depth), if close.is_empty() { "" } else { "1" }, close.repeat(depth));
        is_invalid(&mut client, &deep);
        is_invalid(&mut client, &format!(r#"{{"event":"send-message","data":{{"room":"lobby","content":{deep}}}}}"#));
        is_invalid(&mut client, &format!(r#"{{"event":"heartbeat","ignored":{deep}}}"#));
    }
    // What people really send passes.
    let content = format!("{}{}", "[".repeat(32), "]".repeat(32));
    client.post(json!({"conversationId": "lobby", "content": serde_json::from_str::<Value>(&content).unwrap()}));
    // Brackets in a string are text.
    assert_eq!(client.say("lobby", "[{".repeat(1000))["duplicate"], false);
}

#[test]
fn a_binary_message_is_no_request() {
    let server = TestServer::with_shards(1);
    let mut client = server.user("ann");
    for payload in [&b""[..], b"\xff\xfe", br#"{"event":"heartbeat"}"#] {
        client.send_frame(0x82, payload);
        client.refusal("INVALID_FRAME");
        client.is_alive();
    }
    client.send_frame(0x02, b"{\"event\":");
    client.send_frame(0x80, b"\"heartbeat\"}");
    client.refusal("INVALID_FRAME");
    client.is_alive();
}

#[test]
fn invalid_frames_in_a_row_close() {
    let server = TestServer::with_shards(1);
    for authenticated in [false, true] {
        let mut client = if authenticated { server.user("ann") } else { server.connect() };
        (0..10).for_each(|_| client.send_text("nonsense"));
        (0..10).for_each(|_| drop(client.refusal("INVALID_FRAME")));
        client.closed(4005);
    }
    // Of any kind.
    let mut client = server.user("ann");
    for turn in 0..10 {
        match turn % 3 {
            0 => client.send_frame(0x82, b"x"),
            1 => client.send_text("[]"),
            _ => client.send_text("{\"event\":\"heartbeat\",\"id\":-1}"),
        }
    }
    client.closed(4005);
}

#[test]
fn a_valid_frame_between_invalid_ones_starts_the_count_anew() {
    let server = TestServer::with_shards(1);
    let mut client = server.user("ann");
    for _ in 0..3 {
        for _ in 0..9 {
            client.send_text("nonsense");
            client.refusal("INVALID_FRAME");
        }
        // A request is a request, whether or not it is granted.
        client.refused("UNKNOWN_EVENT", "no-such-event", Value::Null);
    }
    client.is_alive();
}

/// Requests of many kinds, pipelined; their answers come in the order in which they were sent.
fn answers_keep_order(shards: usize, in_one_message: bool) {
    let mut config = config();
    config.shards = shards;
    let server = TestServer::start(config);
    let mut client = server.user("ann");
    let rooms: Vec<String> = (0..7).map(|room| format!("room-{room}")).collect();
    let mut requests = Vec::new();
    for room in &rooms {
        requests.push(("join-room", json!(room), "room-joined"));
    }
    for turn in 0..20 {
        for room in &rooms {
            let message = json!({"conversationId": room, "content": turn, "noEcho": turn % 2 == 0});
            requests.push(("send-message", message, "message-ack"));
            requests.push(match turn % 6 {
                0 => ("history", json!({"conversationId": room, "limit": 1}), "history"),
                1 => ("heartbeat", json!(null), "heartbeat-ack"),
                2 => ("get-online-users", json!(room), "online-users"),
                3 => ("no-such-event", json!(null), "error"),
                4 => ("join-room", json!(room), "room-joined"),
                _ => ("history", json!("elsewhere"), "error"),
            });
        }
    }
    for room in &rooms {
        requests.push(("leave-room", json!(room), "room-left"));
        requests.push(("send-message", json!({"conversationId": room, "content": 0}), "error"));
    }
    let envelope = |(id, (event, data, _)): (usize, &(&str, Value, &str))| {
        json!({"event": event, "id": id, "data": data}).to_string()
    };
    let texts: Vec<String> = requests.iter().enumerate().map(envelope).collect();
    if in_one_message {
        client.send_text(&texts.join("\n"));
    } else {
        texts.iter().for_each(|text| client.send_text(text));
    }
    for (id, (_, _, reply)) in requests.iter().enumerate() {
        let answer = client.next_answer();
        assert_eq!((&answer["id"], &answer["event"]), (&json!(id), &json!(reply)), "{shards} shards: {answer}");
    }
}

#[test]
fn answers_keep_the_order_of_requests_on_one_shard() {
    answers_keep_order(1, false);
}

#[test]
fn answers_keep_the_order_of_requests_on_two_shards() {
    answers_keep_order(2, false);
}

#[test]
fn answers_keep_the_order_of_requests_on_three_shards() {
    answers_keep_order(3, false);
}

#[test]
fn answers_keep_the_order_of_requests_in_one_message() {
    for shards in 1..=3 {
        answers_keep_order(shards, true);
    }
}

#[test]
fn ids_may_repeat_and_each_request_is_answered_once() {
    let server = TestServer::with_shards(2);
    let mut client = server.member("ann", "lobby");
    for _ in 0..10 {
        client.send(&json!({"event": "history", "id": "same", "data": "lobby"}));
        client.send(&json!({"event": "join-room", "id": "same", "data": "lobby"}));
    }
    for _ in 0..10 {
        assert_eq!(client.next()["event"], "history");
        assert_eq!(client.next()["event"], "room-joined");
    }
    client.nothing_came("lobby");
}

#[test]
fn ids_of_things_keep_to_their_alphabet() {
    let server = TestServer::with_shards(2);
    let mut client = server.user("ann");
    let longest = "x".repeat(200);
    let wide = "é".repeat(100);
    for good in ["a", "0", "dm:ann:bob", "ünïcødé ☃", "a/b#c@d e", "'\"", "<script>", "..", "a|b;c", &longest, &wide]
    {
        assert_eq!(client.join(good)["conversationId"], good);
        client.leave(good);
    }
    let too_long = "x".repeat(201);
    let too_wide = "é".repeat(101);
    for bad in [
        "", "{", "}", "a{b}", "*", "a?", "[a", "a]", "a\\b", "a\nb", "\u{0}", "a\tb", "\u{7f}", "\u{85}", &too_long,
        &too_wide,
    ] {
        for event in ["join-room", "leave-room", "get-online-users", "history"] {
            client.refused("INVALID_PAYLOAD", event, json!(bad));
            client.refused("INVALID_PAYLOAD", event, json!({"conversationId": bad}));
        }
        for event in ["send-message", "edit-message", "delete-message"] {
            client.refused("INVALID_PAYLOAD", event, json!({"conversationId": bad, "messageId": "m", "content": 1}));
        }
    }
    // Text that is no Unicode names nothing.
    client.send_text(r#"{"event":"join-room","id":77,"data":"\ud800"}"#);
    assert_eq!(client.answer_by(&json!(77))["data"]["code"], "INVALID_PAYLOAD");
}

#[test]
fn s2_51_data_of_the_wrong_kind_are_refused_everywhere() {
    let server = TestServer::with_shards(1);
    let mut client = server.member("ann", "lobby");
    for event in [
        "join-room",
        "join-conversation",
        "leave-room",
        "leave-conversation",
        "get-online-users",
        "history",
        "send-message",
        "edit-message",
        "delete-message",
    ] {
        for data in [
            json!(null),
            json!(1),
            json!(true),
            json!([]),
            json!(["lobby"]),
            json!({}),
            json!({"conversationId": null}),
            json!({"conversationId": 1}),
            json!({"conversationId": ["lobby"]}),
            json!({"conversationid": "lobby"}),
            json!({"id": "lobby"}),
        ] {
            let refusal = client.refused("INVALID_PAYLOAD", event, data);
            assert_eq!(refusal["retryable"], false);
        }
        client.send(&json!({"event": event, "id": 1}));
        assert_eq!(client.answer_by(&json!(1))["data"]["code"], "INVALID_PAYLOAD", "{event} without data");
    }
    for event in ["send-message", "edit-message", "delete-message"] {
        client.refused("INVALID_PAYLOAD", event, json!("lobby"));
    }
}

#[test]
fn s1_32_s1_46_s2_25_s2_45_a_heartbeat_takes_any_data_and_tells_the_time() {
    let server = TestServer::with_shards(1);
    let mut client = server.user("ann");
    let before = crate::common::now_ms();
    for data in [json!(null), json!({}), json!({"at": 5}), json!("x"), json!([1])] {
        let at = client.reply_named("heartbeat-ack", "heartbeat", data)["at"].as_u64().unwrap();
        assert!((before..=crate::common::now_ms()).contains(&at), "{at}");
    }
}
