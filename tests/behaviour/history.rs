//! History: messages of a room in their present state, page by page.

use serde_json::{Value, json};
use stentor::config::{JoinPolicy, RoomClass};

use crate::common::{Client, TestServer, config};

/// A page as far as most tests look at it: the contents, and whether there are more.
fn page(client: &mut Client, request: Value) -> (Vec<Value>, bool) {
    let data = client.history(request);
    let messages = data["messages"].as_array().unwrap();
    let seqs: Vec<u64> = messages.iter().map(|message| message["seq"].as_u64().unwrap()).collect();
    assert!(seqs.is_sorted() && seqs.windows(2).all(|pair| pair[0] != pair[1]), "ascending: {seqs:?}");
    (messages.iter().map(|message| message["content"].clone()).collect(), data["hasMore"].as_bool().unwrap())
}

/// A room in which messages with the contents 1 to `count` have the `seq`s 2 to `count + 1`.
fn room_of(server: &TestServer, count: u64) -> Client {
    let mut client = server.member("ann", "lobby");
    (1..=count)
        .for_each(|number| drop(client.post(json!({"conversationId": "lobby", "content": number, "noEcho": true}))));
    client
}

fn numbers(range: std::ops::RangeInclusive<u64>) -> Vec<Value> {
    range.map(Value::from).collect()
}

#[test]
fn pages_go_in_both_directions() {
    for shards in [1, 3] {
        let server = TestServer::with_shards(shards);
        let mut ann = room_of(&server, 10);
        for (request, expected, has_more) in [
            (json!({}), numbers(1..=10), false),
            (json!({"limit": 10}), numbers(1..=10), false),
            (json!({"limit": 11}), numbers(1..=10), false),
            (json!({"limit": 9}), numbers(2..=10), true),
            (json!({"limit": 1}), numbers(10..=10), true),
            // Exclusive, and the newest before.
            (json!({"before": 12}), numbers(1..=10), false),
            (json!({"before": 11}), numbers(1..=9), false),
            (json!({"before": 11, "limit": 3}), numbers(7..=9), true),
            (json!({"before": 5, "limit": 3}), numbers(1..=3), false),
            (json!({"before": 3}), numbers(1..=1), false),
            (json!({"before": 2}), vec![], false),
            (json!({"before": 1}), vec![], false),
            (json!({"before": 0}), vec![], false),
            (json!({"before": u64::MAX, "limit": 2}), numbers(9..=10), true),
            // Exclusive, and the oldest after.
            (json!({"after": 0}), numbers(1..=10), false),
            (json!({"after": 1}), numbers(1..=10), false),
            (json!({"after": 2}), numbers(2..=10), false),
            (json!({"after": 2, "limit": 3}), numbers(2..=4), true),
            (json!({"after": 8, "limit": 3}), numbers(8..=10), false),
            (json!({"after": 10}), numbers(10..=10), false),
            (json!({"after": 11}), vec![], false),
            (json!({"after": 12}), vec![], false),
            (json!({"after": u64::MAX}), vec![], false),
        ] {
            let mut request = request;
            request["conversationId"] = json!("lobby");
            assert_eq!(page(&mut ann, request.clone()), (expected, has_more), "{request}");
        }
    }
}

#[test]
fn a_page_says_of_which_log_it_is() {
    let server = TestServer::with_shards(2);
    let mut ann = server.user("ann");
    let epoch = ann.join("lobby")["epoch"].clone();
    let expected = json!({"conversationId": "lobby", "epoch": epoch, "messages": [], "hasMore": false});
    assert_eq!(ann.history(json!("lobby")), expected);
    assert_eq!(ann.history(json!({"room": "lobby", "before": null, "after": null, "limit": null})), expected);
}

#[test]
fn a_page_has_at_most_two_hundred() {
    let server = TestServer::with_shards(2);
    let mut ann = room_of(&server, 205);
    for limit in [200, 201, 1_000_000, u64::MAX] {
        let request = json!({"conversationId": "lobby", "limit": limit});
        assert_eq!(page(&mut ann, request), (numbers(6..=205), true));
    }
    let (messages, has_more) = page(&mut ann, json!("lobby"));
    assert!(!messages.is_empty() && messages.len() <= 200 && has_more, "some bound when the request does not say");
}

#[test]
fn bad_pages_are_refused() {
    let server = TestServer::with_shards(1);
    let mut ann = room_of(&server, 1);
    for bad in [
        json!({"limit": 0}),
        json!({"limit": -1}),
        json!({"limit": 1.5}),
        json!({"limit": "5"}),
        json!({"limit": []}),
        json!({"before": -1}),
        json!({"before": "2"}),
        json!({"before": 2.5}),
        json!({"after": -1}),
        json!({"after": {}}),
        json!({"after": true}),
        json!({"before": 5, "after": 1}),
    ] {
        let mut request = bad;
        request["conversationId"] = json!("lobby");
        ann.refused("INVALID_PAYLOAD", "history", request);
    }
}

/// Walks through a whole history, page by page.
fn walked(client: &mut Client, backwards: bool, limit: usize) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let mut request = json!({"conversationId": "lobby", "limit": limit});
        if backwards {
            if let Some(first) = all.first() {
                request["before"] = first["seq"].clone();
            }
        } else {
            request["after"] = all.last().map_or(json!(0), |last| last["seq"].clone());
        }
        let data = client.history(request);
        let messages = data["messages"].as_array().unwrap().clone();
        assert!(messages.len() <= limit);
        assert!(!messages.is_empty() || data["hasMore"] == false, "there is more, but none of it comes");
        all = if backwards { [messages, all].concat() } else { [all, messages].concat() };
        if data["hasMore"] == false {
            return all;
        }
    }
}

#[test]
fn walking_through_finds_every_message_once() {
    let server = TestServer::with_shards(2);
    let mut ann = server.member("ann", "lobby");
    let mut bob = server.user("bob");
    let mut ids = Vec::new();
    // Events of every kind between the messages, which are not messages.
    for number in 0..60 {
        ids.push(ann.post(json!({"conversationId": "lobby", "content": number, "noEcho": true}))["messageId"].clone());
        match number % 6 {
            0 => drop(bob.join("lobby")),
            1 => bob.leave("lobby"),
            2 => {
                // It may have been deleted before; then this changes nothing.
                ann.call(
                    "edit-message",
                    json!({"conversationId": "lobby", "messageId": ids[number / 2], "content": "edited"}),
                );
            }
            3 if number > 6 => {
                ann.call("delete-message", json!({"conversationId": "lobby", "messageId": ids[number - 5]}));
            }
            _ => {}
        }
    }
    for limit in [1, 2, 7, 200] {
        for backwards in [false, true] {
            let found: Vec<Value> =
                walked(&mut ann, backwards, limit).iter().map(|message| message["messageId"].clone()).collect();
            assert_eq!(found, ids, "{limit} a page, backwards: {backwards}");
        }
    }
}

#[test]
fn large_messages_come_in_pages_too() {
    // However many a page holds, nothing is lost, and no page is empty while there is more.
    let server = TestServer::with_shards(2);
    let mut ann = server.member("ann", "lobby");
    for number in 0..30 {
        ann.post(json!({"conversationId": "lobby", "content": [number, "x".repeat(60_000)], "noEcho": true}));
    }
    for backwards in [false, true] {
        let found: Vec<Value> =
            walked(&mut ann, backwards, 200).iter().map(|message| message["content"][0].clone()).collect();
        assert_eq!(found, numbers(0..=29));
    }
}

#[test]
fn messages_are_told_in_their_present_state_at_their_first_place() {
    let server = TestServer::with_shards(2);
    let mut ann = server.device("ann", json!({"deviceId": "phone"}));
    let epoch = ann.join("lobby")["epoch"].clone();
    let acks: Vec<Value> = (0..3)
        .map(|number| {
            ann.post(
                json!({"conversationId": "lobby", "content": number, "tempId": format!("t{number}"), "noEcho": true}),
            )
        })
        .collect();
    let target =
        |number: usize| json!({"conversationId": "lobby", "messageId": acks[number]["messageId"], "content": "edited"});
    ann.ok("edit-message", target(1));
    let edited = ann.push("message-edited");
    ann.ok("edit-message", target(2));
    ann.push("message-edited");
    ann.ok("delete-message", target(2));
    let deleted = ann.push("message-deleted");
    let messages = ann.history(json!("lobby"))["messages"].clone();
    let expected = json!([
        {
            "conversationId": "lobby", "messageId": acks[0]["messageId"], "seq": 2, "epoch": epoch, "userId": "ann",
            "deviceId": "phone", "tempId": "t0", "type": "text", "content": 0, "version": 1, "sentAt": acks[0]["sentAt"],
        },
        {
            "conversationId": "lobby", "messageId": acks[1]["messageId"], "seq": 3, "epoch": epoch, "userId": "ann",
            "deviceId": "phone", "tempId": "t1", "type": "text", "content": "edited", "version": 2, "sentAt": acks[1]["sentAt"],
            "editedAt": edited["editedAt"],
        },
        {"messageId": acks[2]["messageId"], "seq": 4, "userId": "ann", "deletedAt": deleted["deletedAt"]},
    ]);
    assert_eq!(messages, expected);
}

#[test]
fn what_retention_dropped_is_not_there() {
    let mut config = config();
    config.rooms = vec![RoomClass {
        pattern: "lobby".to_owned(),
        history: Some(5),
        history_age_seconds_max: None,
        history_bytes_max: None,
        join: JoinPolicy::Open,
    }];
    let server = TestServer::start(config);
    let mut ann = room_of(&server, 1);
    let first = ann.history(json!("lobby"))["messages"][0]["messageId"].clone();
    (2..=12).for_each(|number| drop(ann.post(json!({"conversationId": "lobby", "content": number, "noEcho": true}))));
    assert_eq!(page(&mut ann, json!("lobby")), (numbers(8..=12), false));
    assert_eq!(page(&mut ann, json!({"conversationId": "lobby", "after": 3, "limit": 2})), (numbers(8..=9), true));
    assert_eq!(page(&mut ann, json!({"conversationId": "lobby", "before": 9})), (vec![], false));
    // What is gone cannot be changed any more.
    let target = json!({"conversationId": "lobby", "messageId": first, "content": "edited"});
    ann.refused("MESSAGE_NOT_FOUND", "edit-message", target.clone());
    ann.refused("MESSAGE_NOT_FOUND", "delete-message", target);
    // What is still there can, and every edit takes a place too.
    let kept = ann.history(json!("lobby"))["messages"][4]["messageId"].clone();
    ann.ok("edit-message", json!({"conversationId": "lobby", "messageId": kept, "content": "edited"}));
    let mut expected = numbers(9..=11);
    expected.push(json!("edited"));
    assert_eq!(page(&mut ann, json!("lobby")), (expected, false));
}

#[test]
fn a_member_reads_what_was_said_before() {
    let server = TestServer::with_shards(2);
    let _ann = room_of(&server, 3);
    let mut bob = server.member("bob", "lobby");
    assert_eq!(page(&mut bob, json!("lobby")), (numbers(1..=3), false));
}
