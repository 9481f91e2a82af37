//! Recovery: what a client missed is exactly what it gets, or it is told that it cannot.

use serde_json::{Value, json};
use stentor::config::{Config, JoinPolicy, RoomClass};

use crate::common::{Client, TestServer, Token, config, until};

fn since(epoch: &Value, seq: u64) -> Value {
    json!({"epoch": epoch, "seq": seq})
}

fn post(client: &mut Client, content: impl Into<Value>) -> Value {
    client.post(json!({"conversationId": "lobby", "content": content.into(), "noEcho": true}))
}

/// A class for the lobby.
fn lobby(change: impl FnOnce(&mut RoomClass)) -> Config {
    let mut class = RoomClass {
        pattern: "lobby".to_owned(),
        history: None,
        history_age_seconds_max: None,
        history_bytes_max: None,
        join: JoinPolicy::Open,
    };
    change(&mut class);
    let mut config = config();
    config.rooms = vec![class];
    config
}

fn is_refused(answer: &Value) -> bool {
    if answer["recovered"] == false {
        assert_eq!(answer["messages"], json!([]), "{answer}");
        return true;
    }
    false
}

#[test]
fn s1_14_exactly_what_was_missed_comes_back() {
    for shards in [1, 3] {
        let server = TestServer::with_shards(shards);
        // Somebody who is there all the time, and sees every event as it is pushed.
        let mut witness = server.user("witness");
        let joined = witness.join("lobby");
        let mut ann = server.device("ann", json!({"deviceId": "d"}));
        let mut bob = server.user("bob");
        ann.join("lobby");
        let first = post(&mut ann, "one")["messageId"].clone();
        bob.join("lobby");
        post(&mut bob, json!({"two": [2]}));
        ann.ok("edit-message", json!({"conversationId": "lobby", "messageId": first, "content": "edited"}));
        bob.leave("lobby");
        ann.post(json!({"conversationId": "lobby", "content": null, "type": "note", "replyTo": first, "tempId": "t", "noEcho": true}));
        witness.barrier("lobby");
        let mut pushed = Vec::new();
        while witness.has_mail() {
            let message = witness.next();
            pushed.push(json!({"event": message["event"], "data": message["data"]}));
        }
        assert_eq!(pushed.len(), 7);
        let head = 8;
        for seq in 1..=head {
            let answer = witness.join_since("lobby", since(&joined["epoch"], seq));
            assert_eq!(answer["recovered"], true);
            assert_eq!((&answer["seq"], &answer["epoch"]), (&json!(head), &joined["epoch"]));
            let missed = usize::try_from(head - seq).unwrap();
            assert_eq!(answer["messages"].as_array().unwrap().as_slice(), &pushed[7 - missed..], "since {seq}");
        }
        // From the very beginning.
        let answer = witness.join_since("lobby", since(&joined["epoch"], 0));
        assert_eq!(answer["messages"].as_array().unwrap().len(), 8);
    }
}

#[test]
fn a_deleted_message_leaves_its_places_without_its_content() {
    let server = TestServer::with_shards(2);
    let mut ann = server.user("ann");
    let epoch = ann.join("lobby")["epoch"].clone();
    let id = post(&mut ann, "one")["messageId"].clone();
    let target = json!({"conversationId": "lobby", "messageId": id, "content": "two"});
    ann.ok("edit-message", target.clone());
    let edited = ann.push("message-edited");
    post(&mut ann, "other");
    ann.ok("delete-message", target);
    let deleted = ann.push("message-deleted");
    let answer = ann.join_since("lobby", since(&epoch, 1));
    let events = answer["messages"].as_array().unwrap();
    let seqs: Vec<&Value> = events.iter().map(|event| &event["data"]["seq"]).collect();
    assert_eq!(seqs, [2, 3, 4, 5], "no hole");
    assert_eq!(events[3], json!({"event": "message-deleted", "data": deleted}));
    for (index, event) in [(0, "message-new"), (1, "message-edited")] {
        let data = &events[index]["data"];
        assert_eq!(events[index]["event"], event);
        assert_eq!((data.get("content"), &data["deletedAt"]), (None, &deleted["deletedAt"]), "{data}");
        assert_eq!((&data["messageId"], &data["userId"]), (&id, &json!("ann")));
    }
    let mut expected = edited.clone();
    expected.as_object_mut().unwrap().remove("content");
    expected["deletedAt"] = deleted["deletedAt"].clone();
    assert_eq!(events[1]["data"], expected);
}

#[test]
fn what_does_not_fit_the_log_is_not_recovered() {
    let server = TestServer::with_shards(2);
    let mut ann = server.user("ann");
    let epoch = ann.join("lobby")["epoch"].clone();
    let first = post(&mut ann, 1)["messageId"].clone();
    let second = post(&mut ann, 2)["messageId"].clone();
    ann.ok("edit-message", json!({"conversationId": "lobby", "messageId": first, "content": "edited"}));
    let with_id = |seq: u64, id: &Value| json!({"epoch": epoch, "seq": seq, "messageId": id});
    for good in [
        with_id(2, &first),
        with_id(3, &second),
        with_id(4, &first),
        with_id(2, &Value::Null),
        since(&epoch, 4),
        since(&epoch, 0),
    ] {
        assert_eq!(ann.join_since("lobby", good.clone())["recovered"], true, "{good}");
    }
    for bad in [
        since(&json!("another"), 2),
        since(&json!(""), 2),
        since(&json!(format!("{}x", epoch.as_str().unwrap())), 2),
        // From the future: this log never had it.
        since(&epoch, 5),
        since(&epoch, u64::MAX),
        since(&epoch, u64::MAX - 1),
        since(&epoch, i64::MAX as u64),
        // The log has another message there: it lost its tail and grew another.
        with_id(2, &second),
        with_id(3, &first),
        with_id(3, &json!("01ARZ3NDEKTSV4RRFFQ69G5FAV")),
        with_id(2, &json!("")),
    ] {
        assert!(is_refused(&ann.join_since("lobby", bad.clone())), "{bad}");
    }
    for malformed in [
        json!(5),
        json!("x"),
        json!([]),
        json!({"seq": 1}),
        json!({"epoch": "e"}),
        json!({"epoch": "e", "seq": -1}),
        json!({"epoch": "e", "seq": 1.5}),
        json!({"epoch": 5, "seq": 1}),
        json!({"epoch": "e", "seq": 1, "messageId": 5}),
    ] {
        ann.refused("INVALID_PAYLOAD", "join-room", json!({"conversationId": "lobby", "since": malformed}));
    }
    assert!(is_refused(&ann.reply_named(
        "room-joined",
        "join-room",
        json!({"conversationId": "lobby", "since": null})
    )));
    // Whatever was asked, the connection is live.
    let mut bob = server.member("bob", "lobby");
    bob.say("lobby", "hello");
    assert_eq!(ann.message()["content"], "hello");
}

#[test]
fn a_room_that_was_forgotten_has_another_epoch() {
    // Of two servers, the second knows nothing of the first one's logs.
    let epochs: Vec<Value> =
        (0..2).map(|_| TestServer::with_shards(1).user("ann").join("lobby")["epoch"].clone()).collect();
    assert_ne!(epochs[0], epochs[1]);
    let server = TestServer::with_shards(1);
    let mut ann = server.user("ann");
    let rooms: Vec<Value> = (0..5).map(|room| ann.join(&format!("room-{room}"))["epoch"].clone()).collect();
    assert!(rooms.iter().enumerate().all(|(index, epoch)| !rooms[..index].contains(epoch)), "each log has its own");
}

#[test]
fn a_room_that_everybody_left_is_not_another_room() {
    // The same epoch and seq never name two different events, whatever became of the room meanwhile.
    let mut config = lobby(|class| class.history = Some(2));
    config.shards = 1;
    let server = TestServer::start(config);
    let mut ann = server.user("ann");
    let mut seen: Vec<(Value, u64)> = Vec::new();
    for _ in 0..10 {
        let joined = ann.join("lobby");
        let place = (joined["epoch"].clone(), joined["seq"].as_u64().unwrap());
        assert!(!seen.contains(&place), "{place:?}");
        let ack = post(&mut ann, 1);
        seen.extend([place, (ack["epoch"].clone(), ack["seq"].as_u64().unwrap())]);
        ann.leave("lobby");
    }
}

// Retention

#[test]
fn a_log_trimmed_by_count_reaches_back_so_far() {
    let server = TestServer::start(lobby(|class| class.history = Some(5)));
    let mut ann = server.user("ann");
    let epoch = ann.join("lobby")["epoch"].clone();
    (0..9).for_each(|number| drop(post(&mut ann, number)));
    // Ten events were logged, of which 6 to 10 are kept: whoever has 5 misses nothing that is gone.
    for seq in 0..5 {
        assert!(is_refused(&ann.join_since("lobby", since(&epoch, seq))), "{seq}");
    }
    for seq in 5..=10 {
        let answer = ann.join_since("lobby", since(&epoch, seq));
        assert_eq!(answer["messages"].as_array().unwrap().len() as u64, 10 - seq);
        assert_eq!(answer["recovered"], true);
    }
}

#[test]
fn a_log_trimmed_by_bytes_reaches_back_less_far() {
    let server = TestServer::start(lobby(|class| class.history_bytes_max = Some(50_000)));
    let mut ann = server.user("ann");
    let epoch = ann.join("lobby")["epoch"].clone();
    assert_eq!(ann.join_since("lobby", since(&epoch, 0))["recovered"], true);
    (0..10).for_each(|_| drop(post(&mut ann, "x".repeat(10_000))));
    let head = 11;
    assert!(is_refused(&ann.join_since("lobby", since(&epoch, 1))));
    assert_eq!(ann.join_since("lobby", since(&epoch, head - 2))["messages"].as_array().unwrap().len(), 2);
    let kept = ann.history(json!("lobby"))["messages"].as_array().unwrap().len();
    assert!((2..=5).contains(&kept), "{kept} messages of 10000 bytes in 50000");
}

#[test]
fn a_log_trimmed_by_age_forgets() {
    let server = TestServer::start(lobby(|class| class.history_age_seconds_max = Some(1)));
    let mut ann = server.user("ann");
    let epoch = ann.join("lobby")["epoch"].clone();
    post(&mut ann, "old");
    until("it is too old", || is_refused(&ann.join_since("lobby", since(&epoch, 1))).then_some(()));
    assert_eq!(ann.history(json!("lobby"))["messages"], json!([]));
    // Nothing is missed by whoever had it, and the count goes on.
    let answer = ann.join_since("lobby", since(&epoch, 2));
    assert_eq!((&answer["recovered"], &answer["seq"], &answer["epoch"]), (&json!(true), &json!(2), &epoch));
    assert_eq!(post(&mut ann, "new")["seq"], 3);
}

#[test]
fn all_logs_together_are_bounded_and_the_oldest_give_way() {
    let mut config = config();
    config.shards = 1;
    config.store.total_bytes_max = 100_000;
    let server = TestServer::start(config);
    let mut ann = server.user("ann");
    let say = |ann: &mut Client, room: &str| {
        ann.post(json!({"conversationId": room, "content": "x".repeat(10_000), "noEcho": true}))
    };
    ann.join("old");
    ann.join("new");
    (0..5).for_each(|_| drop(say(&mut ann, "old")));
    (0..8).for_each(|_| drop(say(&mut ann, "new")));
    let kept = |ann: &mut Client, room: &str| ann.history(json!(room))["messages"].as_array().unwrap().len();
    assert_eq!(kept(&mut ann, "new"), 8);
    assert!(kept(&mut ann, "old") <= 2, "the older room gives way");
    let bytes = server.metric("stentor_store_bytes");
    assert!(bytes <= 100_000.0, "{bytes}");
}

// At authentication

/// Authenticates with what the client has seen; data of `auth-success`.
fn come_back(server: &TestServer, user: &str, since: Value) -> (Client, Value) {
    let mut client = server.connect();
    client.send(&json!({"event": "auth", "data": {"token": Token::of(user).sign(), "since": since}}));
    let success = client.push("auth-success");
    (client, success)
}

#[test]
fn what_a_device_missed_comes_right_after_it_authenticated() {
    for shards in [1, 3] {
        let server = TestServer::with_shards(shards);
        let mut ann = server.user("ann");
        let mut bob = server.user("bob");
        let mut seen = json!({});
        for room in ["a", "b", "c", "d"] {
            ann.join(room);
            let joined = bob.join(room);
            if room != "d" {
                seen[room] = json!({"epoch": joined["epoch"], "seq": joined["seq"]});
            }
        }
        bob.close();
        let say = |ann: &mut Client, room: &str, content: u64| {
            ann.post(json!({"conversationId": room, "content": content, "noEcho": true}))
        };
        (0..5).for_each(|number| drop(say(&mut ann, "a", number)));
        let edited = say(&mut ann, "b", 5)["messageId"].clone();
        ann.ok("edit-message", json!({"conversationId": "b", "messageId": edited, "content": 6}));
        say(&mut ann, "d", 7);
        let (mut bob, success) = come_back(&server, "bob", seen);
        assert_eq!(success["rooms"].as_array().unwrap().len(), 4);
        // Room by room, and in each in the order of the log.
        let mut queued: Vec<Value> = (0..8).map(|_| bob.next()).collect();
        assert!(queued.iter().all(|push| push["data"]["queued"] == true), "{queued:?}");
        queued.sort_by_key(|push| push["data"]["conversationId"].as_str().unwrap().to_owned());
        let contents: Vec<&Value> = queued.iter().map(|push| &push["data"]["content"]).collect();
        // Of a room of which it says nothing, what its device was not delivered.
        assert_eq!(contents, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!((&queued[5]["event"], &queued[6]["event"]), (&json!("message-new"), &json!("message-edited")));
        assert_eq!(bob.push("queue-flushed"), json!({"count": 8}));
        // And then what is new, which was never queued.
        say(&mut ann, "a", 8);
        let message = bob.push("message-new");
        assert_eq!((&message["content"], message.get("queued")), (&json!(8), None));
    }
}

#[test]
fn a_device_that_missed_nothing_is_told_so() {
    let server = TestServer::with_shards(2);
    let mut ann = server.user("ann");
    let joined = ann.join("lobby");
    let (mut back, _) = come_back(&server, "ann", json!({"lobby": since(&joined["epoch"], 1)}));
    assert_eq!(back.push("queue-flushed"), json!({"count": 0}));
    back.nothing_came("lobby");
}

#[test]
fn a_device_that_cannot_be_told_is_told_that() {
    let server = TestServer::with_shards(3);
    let mut ann = server.user("ann");
    let good = ann.join("good")["epoch"].clone();
    let bad = ann.join("bad")["epoch"].clone();
    let late = ann.join("late")["epoch"].clone();
    ann.post(json!({"conversationId": "good", "content": 1, "noEcho": true}));
    ann.post(json!({"conversationId": "bad", "content": 2, "noEcho": true}));
    let seen = json!({"good": since(&good, 1), "bad": since(&json!("another"), 1), "late": since(&late, 7)});
    let (mut back, _) = come_back(&server, "ann", seen);
    let mut pushes: Vec<Value> = (0..3).map(|_| back.next()).collect();
    pushes.sort_by_key(|push| push["data"]["conversationId"].as_str().unwrap().to_owned());
    for (push, room, epoch) in [(&pushes[0], "bad", &bad), (&pushes[2], "late", &late)] {
        assert_eq!(
            (&push["event"], &push["data"]["conversationId"], &push["data"]["epoch"]),
            (&json!("resync"), &json!(room), epoch)
        );
        assert!(push["data"]["reason"].is_string(), "{push}");
    }
    assert_eq!((&pushes[1]["event"], &pushes[1]["data"]["content"]), (&json!("message-new"), &json!(1)));
    assert_eq!(back.push("queue-flushed"), json!({"count": 1}));
    // It is live all the same.
    ann.say("bad", "live");
    assert_eq!(back.push("message-new")["content"], "live");
}

#[test]
fn a_room_one_is_not_in_tells_nothing() {
    let server = TestServer::with_shards(2);
    let mut bob = server.user("bob");
    let epoch = bob.join("private")["epoch"].clone();
    post_in(&mut bob, "private", "secret");
    let (mut ann, success) =
        come_back(&server, "ann", json!({"private": since(&epoch, 0), "nowhere": since(&epoch, 0)}));
    assert_eq!(success["rooms"], json!([]));
    ann.barrier("private");
    while ann.has_mail() {
        let message = ann.next();
        assert!(message["event"] != "message-new" && !message.to_string().contains("secret"), "{message}");
        assert!(!message.to_string().contains(epoch.as_str().unwrap()), "not even the epoch: {message}");
    }
}

fn post_in(client: &mut Client, room: &str, content: impl Into<Value>) -> Value {
    client.post(json!({"conversationId": room, "content": content.into(), "noEcho": true}))
}

#[test]
fn a_dialect_names_what_was_missed_too() {
    let server = TestServer::with_shards(2);
    let mut ann = server.user("ann");
    let epoch = ann.join("lobby")["epoch"].clone();
    post(&mut ann, 1);
    let options = json!({"dialect": "conversation", "batch": true, "since": {"lobby": since(&epoch, 1)}});
    let mut back = server.device("ann", options);
    assert_eq!(back.push("new-message")["queued"], true);
    back.push("queue-flushed");
}

// While others go on

/// Sends until told to stop; returns how many were sent.
fn talk(server: &TestServer, user: &str, stop: &std::sync::atomic::AtomicBool) -> u64 {
    let mut client = server.user(user);
    client.join("lobby");
    let mut sent = 0;
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        post(&mut client, sent);
        sent += 1;
    }
    sent
}

/// The next message but for `room-joined`: that somebody joined on another device may be told late.
fn next_logged(client: &mut Client) -> Value {
    loop {
        let message = client.next();
        if message["event"] != "room-joined" {
            return message;
        }
    }
}

/// Something with a place in the log, as a client notes it.
fn note(place: &mut u64, message: &Value) {
    let seq = message["seq"].as_u64().unwrap_or_else(|| panic!("no seq: {message}"));
    assert_eq!(seq, *place + 1, "nothing is lost, nothing comes twice: {message}");
    *place = seq;
}

/// A client comes and goes while others talk, and sees every event of the log once.
fn nothing_is_lost_or_doubled(come: impl Fn(&TestServer, &Value, &mut u64) -> Client) {
    for shards in [1, 3] {
        let mut config = config();
        config.shards = shards;
        let server = TestServer::start(config);
        let mut ann = server.user("ann");
        let joined = ann.join("lobby");
        let (epoch, mut place) = (joined["epoch"].clone(), joined["seq"].as_u64().unwrap());
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let talkers: Vec<_> =
                ["bob", "cid"].map(|user| scope.spawn(|| talk(&server, user, &stop))).into_iter().collect();
            drop(ann);
            // If this thread panics the talkers must end all the same.
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                for _ in 0..25 {
                    let mut client = come(&server, &epoch, &mut place);
                    (0..20).for_each(|_| note(&mut place, &next_logged(&mut client)["data"]));
                }
            }));
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            let sent: u64 = talkers.into_iter().map(|talker| talker.join().unwrap()).sum();
            if let Err(panic) = result {
                std::panic::resume_unwind(panic);
            }
            let mut client = come(&server, &epoch, &mut place);
            client.barrier("lobby");
            while client.has_mail() {
                let message = client.next();
                if message["event"] != "room-joined" {
                    note(&mut place, &message["data"]);
                }
            }
            assert_eq!(place, 1 + 2 + sent, "three joins and all messages");
        });
    }
}

#[test]
fn nothing_is_lost_or_doubled_by_joining_with_since() {
    nothing_is_lost_or_doubled(|server, epoch, place| {
        let mut client = server.device("ann", json!({"attach": false}));
        let answer = client.join_since("lobby", since(epoch, *place));
        assert_eq!(answer["recovered"], true, "{answer}");
        answer["messages"].as_array().unwrap().iter().for_each(|event| note(place, &event["data"]));
        assert_eq!(answer["seq"], *place);
        client
    });
}

#[test]
fn nothing_is_lost_or_doubled_by_authenticating_with_since() {
    nothing_is_lost_or_doubled(|server, epoch, place| {
        let (mut client, success) = come_back(server, "ann", json!({"lobby": since(epoch, *place)}));
        loop {
            let message = next_logged(&mut client);
            if message["event"] == "queue-flushed" {
                break;
            }
            note(place, &message["data"]);
        }
        assert_eq!(success["rooms"][0]["seq"], *place, "what follows is new");
        client
    });
}

#[test]
fn nothing_is_lost_or_doubled_behind_the_head_that_is_told() {
    // A client that attaches without a `since` is told how far it is, and gets exactly what follows that.
    let server = TestServer::with_shards(3);
    drop(server.member("ann", "lobby"));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let talkers: Vec<_> =
            ["bob", "cid"].map(|user| scope.spawn(|| talk(&server, user, &stop))).into_iter().collect();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..40 {
                let mut client = server.connect();
                client.send(&json!({"event": "auth", "data": Token::of("ann").sign()}));
                let room = client.push("auth-success")["rooms"][0].clone();
                let (mut place, head) = (room["delivered"].as_u64().unwrap(), room["seq"].as_u64().unwrap());
                let mut live = 0;
                while live < 10 {
                    let message = next_logged(&mut client);
                    if message["event"] == "queue-flushed" {
                        continue;
                    }
                    note(&mut place, &message["data"]);
                    let is_message = message["event"] == "message-new";
                    assert_eq!(message["data"].get("queued").is_some(), is_message && place <= head, "{message}");
                    live += u32::from(place > head);
                }
            }
        }));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        talkers.into_iter().for_each(|talker| {
            talker.join().unwrap();
        });
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
}

/// What a device sees that authenticated with `since` while another one joined. It may be told of the room in two ways
/// that cross: by its list of rooms, and because the other device joined. Returns the last place that it saw.
fn seen_by_a_late_device(late: &mut Client, room: &str, success: &Value) -> Option<u64> {
    let rooms = success["data"]["rooms"].as_array().unwrap();
    let listed = rooms.iter().find(|known| known["conversationId"] == room);
    late.barrier(room);
    // Where it is listed, everything up to the head that is told comes queued, and everything behind it live.
    let mut place = listed.map(|_| 0);
    while late.has_mail() {
        let message = late.next();
        match (message["event"].as_str().unwrap(), place.as_mut()) {
            ("queue-flushed", place) => {
                assert_eq!(place.map(|place| json!(place)), listed.map(|listed| listed["seq"].clone()), "{message}");
            }
            ("room-joined", None) => place = message["data"]["seq"].as_u64(),
            ("room-joined", Some(place)) => panic!("at {place} it is told of a room that was listed: {message}"),
            (_, Some(place)) => note(place, &message["data"]),
            (_, None) => panic!("from a room that it knows nothing of: {message}"),
        }
    }
    place
}

#[test]
fn a_device_that_comes_while_another_joins_gets_everything_once() {
    let server = TestServer::with_shards(3);
    let mut writer = server.user("writer");
    let token = Token::of("ann").sign();
    for turn in 0..60 {
        let room = format!("room-{turn}");
        let epoch = writer.join(&room)["epoch"].clone();
        let mut phone = server.user("ann");
        let mut late: Vec<Client> = (0..8).map(|_| server.connect()).collect();
        let mut seen = json!({});
        seen[&room] = since(&epoch, 0);
        let auth = json!({"token": token, "since": seen});
        // Some before the phone's request, some behind it, and messages between all of them.
        let say = |writer: &mut Client| {
            writer.ask("send-message", json!({"conversationId": room, "content": 1, "noEcho": true}));
        };
        let mut ids = Vec::new();
        let mut join = String::new();
        for (number, client) in late.iter_mut().enumerate() {
            if number == turn % 8 {
                join = phone.ask("join-room", json!(room));
            }
            say(&mut writer);
            ids.push(client.ask("auth", auth.clone()));
            say(&mut writer);
        }
        phone.answer(&join);
        let successes: Vec<Value> = late.iter_mut().zip(&ids).map(|(client, id)| client.answer(id)).collect();
        writer.barrier(&room);
        for (client, success) in late.iter_mut().zip(&successes) {
            assert_eq!(
                seen_by_a_late_device(client, &room, success),
                Some(18),
                "{turn}: two joins and sixteen messages"
            );
        }
        drop(late);
        phone.leave(&room);
        writer.leave(&room);
    }
}
