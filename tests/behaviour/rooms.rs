//! Rooms: joining, leaving, who is a member and who is live.

use serde_json::{Value, json};
use stentor::config::{JoinPolicy, RoomClass};

use crate::common::{TestServer, config, now_ms, until};

fn class(pattern: &str) -> RoomClass {
    RoomClass {
        pattern: pattern.to_owned(),
        history: None,
        history_age_seconds_max: None,
        history_bytes_max: None,
        join: JoinPolicy::Open,
    }
}

#[test]
fn s1_36_joining_tells_where_the_room_stands() {
    let server = TestServer::with_shards(2);
    let mut ann = server.user("ann");
    let joined = ann.join("lobby");
    assert_eq!(joined["conversationId"], "lobby");
    assert!(joined["epoch"].as_str().is_some_and(|epoch| !epoch.is_empty()), "{joined}");
    assert_eq!(joined["seq"], 1, "the joining itself is the first event");
    assert_eq!(joined["recovered"], false);
    assert_eq!(joined["messages"], json!([]));
    assert_eq!(joined["members"], 1);
    ann.say("lobby", 1);
    let second = server.user("bob").join("lobby");
    assert_eq!((&second["seq"], &second["members"], &second["epoch"]), (&json!(3), &json!(2), &joined["epoch"]));
}

#[test]
fn s1_27_s1_28_s2_21_s2_22_every_form_of_the_requests_does_the_same() {
    let server = TestServer::with_shards(2);
    let mut ann = server.user("ann");
    for (join, leave) in
        [("join-room", "leave-room"), ("join-conversation", "leave-conversation"), ("join-room", "leave-conversation")]
    {
        for data in [json!("lobby"), json!({"conversationId": "lobby"}), json!({"room": "lobby"})] {
            assert_eq!(ann.reply_named("room-joined", join, data.clone())["conversationId"], "lobby");
            assert_eq!(
                ann.reply_named("online-users", "get-online-users", data.clone()),
                json!({"conversationId": "lobby", "users": ["ann"]})
            );
            assert_eq!(ann.history(data.clone())["conversationId"], "lobby");
            assert_eq!(ann.reply_named("room-left", leave, data)["conversationId"], "lobby");
        }
    }
}

#[test]
fn others_hear_of_who_comes_and_goes() {
    for shards in [1, 3] {
        let server = TestServer::with_shards(shards);
        let before = now_ms();
        let mut ann = server.user("ann");
        let epoch = ann.join("lobby")["epoch"].clone();
        let mut bob = server.user("bob");
        let joined = bob.join("lobby");
        let push = ann.push("member-joined");
        let at = push["at"].as_u64().unwrap();
        assert!((before..=now_ms()).contains(&at));
        assert_eq!(
            push,
            json!({"conversationId": "lobby", "userId": "bob", "seq": joined["seq"], "epoch": epoch, "at": at})
        );
        bob.leave("lobby");
        let push = ann.push("member-left");
        let at = &push["at"];
        assert_eq!(push, json!({"conversationId": "lobby", "userId": "bob", "seq": 3, "epoch": epoch, "at": at}));
        ann.nothing_came("lobby");
    }
}

#[test]
fn whoever_comes_or_goes_gets_the_answer_and_no_push_of_it() {
    // On whatever shard the connection is, and wherever the room belongs.
    let server = TestServer::with_shards(3);
    for turn in 0..12 {
        let room = format!("room-{turn}");
        let mut other = server.member(&format!("other-{turn}"), &room);
        let mut ann = server.user(&format!("ann-{turn}"));
        for _ in 0..3 {
            ann.join(&room);
            ann.nothing_came(&room);
            ann.leave(&room);
            ann.nothing_came(&room);
            other.push("member-joined");
            other.push("member-left");
        }
    }
}

#[test]
fn joining_again_changes_nothing() {
    for shards in [1, 2, 3] {
        let server = TestServer::with_shards(shards);
        let mut ann = server.user("ann");
        let mut bob = server.member("bob", "lobby");
        let first = ann.join("lobby");
        bob.push("member-joined");
        for _ in 0..3 {
            assert_eq!(ann.join("lobby"), first);
        }
        // From another device either.
        let mut tablet = server.user("ann");
        assert_eq!(tablet.join("lobby"), first);
        ann.nothing_came("lobby");
        bob.nothing_came("lobby");
        // And each connection gets each message once.
        bob.say("lobby", "once");
        for client in [&mut ann, &mut tablet, &mut bob] {
            assert_eq!(client.push("message-new")["content"], "once");
            client.nothing_came("lobby");
        }
    }
}

#[test]
fn coming_back_is_joining_anew_in_the_same_log() {
    let server = TestServer::with_shards(2);
    let mut ann = server.member("ann", "lobby");
    let mut bob = server.user("bob");
    let first = bob.join("lobby");
    bob.leave("lobby");
    let second = bob.join("lobby");
    assert_eq!(second["epoch"], first["epoch"]);
    assert_eq!(second["seq"], first["seq"].as_u64().unwrap() + 2);
    ann.push("member-joined");
    ann.push("member-left");
    ann.push("member-joined");
    bob.nothing_came("lobby");
}

#[test]
fn large_rooms_do_not_tell_who_comes_and_goes() {
    let mut config = config();
    config.limits.member_events_max = 2;
    let server = TestServer::start(config);
    let mut ann = server.user("ann");
    assert_eq!(ann.join("lobby")["seq"], 1);
    let mut others: Vec<_> = ["b", "c", "d", "e"].map(|user| server.user(user)).into_iter().collect();
    let heads: Vec<Value> = others.iter_mut().map(|client| client.join("lobby")["seq"].clone()).collect();
    assert_eq!(heads, [2, 2, 2, 2]);
    assert_eq!(ann.push("member-joined")["userId"], "b");
    others[3].leave("lobby");
    ann.nothing_came("lobby");
    assert_eq!(ann.join("lobby")["members"], 4);
    // What is said is said to all.
    assert_eq!(others[2].say("lobby", "hello")["seq"], 3);
    ann.push("message-new");
}

#[test]
fn whoever_is_no_member_gets_nothing_out_of_a_room() {
    let server = TestServer::with_shards(2);
    let mut ann = server.member("ann", "lobby");
    let message = ann.say("lobby", "secret")["messageId"].clone();
    let mut bob = server.user("bob");
    let mut left = server.member("cid", "lobby");
    left.leave("lobby");
    for client in [&mut bob, &mut left] {
        for room in ["lobby", "no-such-room"] {
            let data = json!({"conversationId": room, "messageId": message, "content": "x"});
            for event in [
                "leave-room",
                "leave-conversation",
                "get-online-users",
                "history",
                "send-message",
                "edit-message",
                "delete-message",
            ] {
                let refusal = client.refused("NOT_A_MEMBER", event, data.clone());
                assert!(!refusal.to_string().contains("secret"));
            }
        }
    }
    // A new member's refused requests left no room behind.
    assert_eq!(bob.join("no-such-room")["seq"], 1);
}

#[test]
fn s1_63_a_closed_class_admits_nobody() {
    let mut config = config();
    config.rooms = vec![RoomClass { join: JoinPolicy::Members, ..class("staff-*") }, class("staff")];
    let server = TestServer::start(config);
    let mut ann = server.user("ann");
    for room in ["staff-1", "staff-"] {
        let refusal = ann.refused("JOIN_ROOM_FAILED", "join-room", json!(room));
        assert_eq!((&refusal["reason"], &refusal["retryable"]), (&json!("not_allowed"), &json!(false)), "{refusal}");
        ann.refused("NOT_A_MEMBER", "history", json!(room));
    }
    ann.join("staff");
    ann.join("not-staff-1");
    // A refused join is forgotten.
    let rooms = server.user("ann").success["rooms"].as_array().unwrap().len();
    assert_eq!(rooms, 2);
}

#[test]
fn the_first_class_that_matches_decides() {
    let mut config = config();
    config.rooms = vec![
        class("open-staff-*"),
        RoomClass { join: JoinPolicy::Members, ..class("*staff*") },
        RoomClass { history: Some(0), ..class("*") },
    ];
    let server = TestServer::start(config);
    let mut ann = server.user("ann");
    assert_eq!(ann.join("open-staff-x")["seq"], 1);
    ann.refused("JOIN_ROOM_FAILED", "join-room", json!("xstaffx"));
    ann.refused("JOIN_ROOM_FAILED", "join-room", json!("staff"));
    assert_eq!(ann.join("other").get("seq"), None);
}

#[test]
fn a_refused_joiner_comes_in_once_there_is_room() {
    let mut config = config();
    config.shards = 3;
    config.limits.members_per_room_max = 2;
    let server = TestServer::start(config);
    let mut ann = server.member("ann", "lobby");
    let _bob = server.member("bob", "lobby");
    let mut cid = server.user("cid");
    let refusal = cid.refused("JOIN_ROOM_FAILED", "join-room", json!("lobby"));
    assert_eq!(refusal["reason"], "limit");
    // Who is in already may ask again.
    ann.join("lobby");
    ann.leave("lobby");
    assert_eq!(cid.join("lobby")["members"], 2);
}

// Devices

#[test]
fn s1_37_the_users_other_devices_follow() {
    for shards in [1, 3] {
        let server = TestServer::with_shards(shards);
        let mut bob = server.member("bob", "lobby");
        let mut devices: Vec<_> =
            (0..4).map(|number| server.device("ann", json!({"deviceId": format!("d{number}")}))).collect();
        let joined = devices[0].join("lobby");
        bob.push("member-joined");
        for device in &mut devices[1..] {
            let push = device.push("room-joined");
            assert_eq!(push["conversationId"], "lobby");
            assert_eq!((&push["epoch"], &push["seq"], &push["members"]), (&joined["epoch"], &joined["seq"], &json!(2)));
        }
        bob.say("lobby", "to all");
        for device in &mut devices {
            assert_eq!(device.push("message-new")["content"], "to all");
        }
        devices[2].leave("lobby");
        for index in [0, 1, 3] {
            let push = devices[index].push_after_others("room-left");
            assert_eq!(push["conversationId"], "lobby");
        }
        bob.push("message-new");
        bob.push("member-left");
        bob.say("lobby", "to nobody");
        for device in &mut devices {
            device.refused("NOT_A_MEMBER", "history", json!("lobby"));
            device.nothing_came("lobby");
        }
    }
}

#[test]
fn a_device_that_comes_later_is_live_at_once() {
    let server = TestServer::with_shards(3);
    let mut bob = server.user("bob");
    let mut phone = server.user("ann");
    for room in ["a", "b", "c"] {
        phone.join(room);
        bob.join(room);
    }
    let mut tablet = server.user("ann");
    for room in ["a", "b", "c"] {
        bob.say(room, room);
        assert_eq!(tablet.message()["content"], room);
    }
    tablet.nothing_came("a");
}

#[test]
fn without_attach_a_connection_is_live_where_it_joins() {
    let server = TestServer::with_shards(3);
    let mut phone = server.user("ann");
    phone.join("a");
    phone.join("b");
    let mut tool = server.device("ann", json!({"attach": false}));
    assert_eq!(tool.success["rooms"].as_array().unwrap().len(), 2, "it is told of all rooms");
    phone.join("c");
    phone.say("a", "not to the tool");
    phone.say("c", "neither");
    tool.nothing_came("a");
    tool.nothing_came("c");
    // Its user is a member, so it may ask and send; only nothing is pushed.
    assert_eq!(tool.history(json!("a"))["messages"][0]["content"], "not to the tool");
    tool.say("a", "from the tool");
    tool.nothing_came("a");
    assert_eq!(phone.message()["content"], "not to the tool");
    // Joining makes it live, and logs nothing.
    let head = tool.join("b")["seq"].clone();
    assert_eq!(head, 1);
    phone.say("b", "to both");
    assert_eq!(tool.push("message-new")["content"], "to both");
    // The membership ends for all devices.
    phone.leave("b");
    assert_eq!(tool.push_after_others("room-left")["conversationId"], "b");
    tool.refused("NOT_A_MEMBER", "history", json!("b"));
}

#[test]
fn membership_outlives_connections() {
    let server = TestServer::with_shards(2);
    let mut bob = server.member("bob", "lobby");
    let ann = server.member("ann", "lobby");
    bob.push("member-joined");
    ann.close();
    until("ann is away", || (bob.online("lobby") == ["bob"]).then_some(()));
    bob.nothing_came("lobby");
    let mut ann = server.user("ann");
    assert_eq!(ann.success["rooms"][0]["conversationId"], "lobby");
    bob.say("lobby", "welcome back");
    ann.push("message-new");
    assert_eq!(ann.join("lobby")["members"], 2);
}

// Who is online

#[test]
fn s1_33_s1_47_online_users_are_those_with_a_live_connection() {
    let server = TestServer::with_shards(3);
    let mut ann = server.member("ann", "lobby");
    let tablet = server.member("ann", "lobby");
    let bob = server.member("bob", "lobby");
    let mut other = server.member("cid", "elsewhere");
    let mut online = ann.online("lobby");
    online.sort();
    assert_eq!(online, ["ann", "bob"]);
    assert_eq!(other.online("elsewhere"), ["cid"]);
    drop(bob);
    until("bob is away", || (ann.online("lobby") == ["ann"]).then_some(()));
    // A user is online while one device is.
    tablet.close();
    ann.barrier("lobby");
    assert_eq!(ann.online("lobby"), ["ann"]);
}

#[test]
fn leaving_ends_being_online() {
    let server = TestServer::with_shards(3);
    let mut ann = server.member("ann", "lobby");
    let mut phone = server.member("bob", "lobby");
    let _tablet = server.member("bob", "lobby");
    phone.leave("lobby");
    assert_eq!(ann.online("lobby"), ["ann"]);
    phone.join("lobby");
    let mut online = ann.online("lobby");
    online.sort();
    assert_eq!(online, ["ann", "bob"]);
}

#[test]
fn leaving_stops_pushes() {
    for shards in [1, 2, 3] {
        let server = TestServer::with_shards(shards);
        let mut ann = server.member("ann", "lobby");
        let mut bob = server.member("bob", "lobby");
        bob.join("other");
        ann.join("other");
        bob.push("member-joined");
        bob.leave("lobby");
        for number in 0..10 {
            ann.say("lobby", number);
        }
        bob.nothing_came("lobby");
        // Other rooms are as they were.
        ann.say("other", "here");
        assert_eq!(bob.push("message-new")["content"], "here");
    }
}

#[test]
fn s1_9_rooms_do_not_leak_into_each_other() {
    let server = TestServer::with_shards(3);
    let mut writer = server.user("writer");
    let mut readers: Vec<_> =
        (0..10).map(|number| server.member(&format!("u{number}"), &format!("r{number}"))).collect();
    (0..10).for_each(|number| drop(writer.join(&format!("r{number}"))));
    (0..10).rev().for_each(|number| drop(writer.say(&format!("r{number}"), number)));
    for (number, reader) in readers.iter_mut().enumerate() {
        assert_eq!(reader.message()["content"], number);
        reader.nothing_came(&format!("r{number}"));
    }
}

// Races between devices of one user

/// Nobody is left in a room once everybody has gone, however the joins crossed each other.
fn nobody_stays(race: impl Fn(&TestServer, usize)) {
    let server = TestServer::with_shards(3);
    let mut watcher = server.user("watcher");
    for turn in 0..60 {
        let room = format!("room-{turn}");
        watcher.join(&room);
        race(&server, turn);
        until(&format!("all but the watcher are away from {room}"), || {
            (watcher.online(&room) == ["watcher"]).then_some(())
        });
        watcher.leave(&room);
    }
}

#[test]
fn devices_that_join_at_the_same_time_leave_nothing_behind() {
    nobody_stays(|server, turn| {
        let room = json!(format!("room-{turn}"));
        let mut devices: Vec<_> = (0..4).map(|_| server.user("ann")).collect();
        let ids: Vec<String> = devices.iter_mut().map(|device| device.ask("join-room", room.clone())).collect();
        for (device, id) in devices.iter_mut().zip(ids) {
            assert_eq!(device.answer(&id)["event"], "room-joined");
        }
    });
}

#[test]
fn a_device_that_comes_while_another_joins_leaves_nothing_behind() {
    nobody_stays(|server, turn| {
        let mut phone = server.user("ann");
        let mut late: Vec<_> = (0..3).map(|_| server.connect()).collect();
        let token = crate::common::Token::of("ann").sign();
        let id = phone.ask("join-room", json!(format!("room-{turn}")));
        let ids: Vec<String> = late.iter_mut().map(|client| client.ask("auth", json!(token))).collect();
        phone.answer(&id);
        for (client, id) in late.iter_mut().zip(ids) {
            assert_eq!(client.answer(&id)["event"], "auth-success");
        }
    });
}

#[test]
fn a_device_that_comes_while_another_joins_is_live() {
    // Whichever was first: by its list of rooms, or by following, but always, and every message once.
    let server = TestServer::with_shards(3);
    let mut writer = server.user("writer");
    let token = crate::common::Token::of("ann").sign();
    for turn in 0..60 {
        let room = format!("room-{turn}");
        writer.join(&room);
        let mut phone = server.user("ann");
        let mut late = server.connect();
        let join = phone.ask("join-room", json!(room));
        let auth = late.ask("auth", json!(token));
        phone.answer(&join);
        let success = late.answer(&auth);
        let listed = |success: &Value| {
            let rooms = success["data"]["rooms"].as_array().unwrap().clone();
            rooms.iter().any(|known| known["conversationId"] == room)
        };
        if !listed(&success) {
            assert_eq!(late.push_after_others("room-joined")["conversationId"], room);
        }
        writer.say(&room, turn);
        assert_eq!(late.message()["content"], turn);
        assert_eq!(phone.message()["content"], turn);
        late.barrier(&room);
        phone.leave(&room);
        writer.leave(&room);
    }
}

#[test]
fn joins_and_leaves_of_several_devices_end_as_the_last_one_says() {
    let server = TestServer::with_shards(3);
    let mut bob = server.member("bob", "lobby");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut device = server.user("ann");
                for _ in 0..25 {
                    let id = device.ask("join-room", json!("lobby"));
                    device.answer(&id);
                    // Another device may have left meanwhile.
                    let id = device.ask("leave-room", json!("lobby"));
                    let answer = device.answer(&id);
                    assert!(answer["event"] == "room-left" || answer["data"]["code"] == "NOT_A_MEMBER", "{answer}");
                }
            });
        }
    });
    let mut ann = server.user("ann");
    assert_eq!(ann.success["rooms"], json!([]));
    until("ann is away", || (bob.online("lobby") == ["bob"]).then_some(()));
    let joined = ann.join("lobby");
    assert_eq!(joined["members"], 2);
    // What bob saw is a log without holes, in which coming and going take turns.
    let mut seq = 1;
    let mut inside = false;
    loop {
        let message = bob.next();
        seq += 1;
        assert_eq!(message["data"]["seq"], seq, "{message}");
        assert_eq!(message["event"], if inside { "member-left" } else { "member-joined" }, "{message}");
        inside = !inside;
        if json!(seq) == joined["seq"] {
            break;
        }
    }
    bob.say("lobby", "hello");
    assert_eq!(ann.message()["content"], "hello");
}

#[test]
fn a_newcomers_requests_are_answered_while_a_room_is_paced() {
    // What waits in the room for those who were there before must not keep the newcomer's answers.
    let mut config = config();
    config.delivery.room_flush_ms = 50;
    let server = TestServer::start(config);
    let mut ann = server.member("ann", "lobby");
    for number in 0..5 {
        ann.ask("send-message", json!({"conversationId": "lobby", "content": number}));
        let mut newcomer = server.user(&format!("u{number}"));
        let ids = [
            newcomer.ask("join-room", json!("lobby")),
            newcomer.ask("heartbeat", Value::Null),
            newcomer.ask("history", json!("lobby")),
        ];
        for id in ids {
            assert_eq!(newcomer.next_answer()["id"], id);
        }
    }
}

#[test]
fn a_join_that_crosses_a_leave_elsewhere_is_live_or_not_at_all() {
    for attach in [true, false] {
        let server = TestServer::with_shards(3);
        let mut watcher = server.user("watcher");
        for turn in 0..60 {
            let room = format!("room-{turn}");
            watcher.join(&room);
            let mut phone = server.device("ann", json!({"attach": attach}));
            let mut tablet = server.user("ann");
            phone.join(&room);
            // The phone asks again while the tablet leaves: either may be first.
            let (join, leave);
            if turn % 2 == 0 {
                join = phone.ask("join-room", json!(room));
                leave = tablet.ask("leave-room", json!(room));
            } else {
                leave = tablet.ask("leave-room", json!(room));
                join = phone.ask("join-room", json!(room));
            }
            assert_eq!(phone.answer(&join)["event"], "room-joined");
            assert_eq!(tablet.answer(&leave)["event"], "room-left");
            let member = phone.call("history", json!(room))["event"] == "history";
            if member {
                // Then the joining was the last word, and the phone is in the room as after any other.
                until("ann is online", || {
                    let mut online = watcher.online(&room);
                    online.sort();
                    (online == ["ann", "watcher"]).then_some(())
                });
                watcher.say(&room, turn);
                // What waited from an earlier turn comes first.
                assert_eq!(
                    until("it comes", || Some(phone.message()).filter(|it| it["conversationId"] == *room))["content"],
                    turn
                );
            }
            drop((phone, tablet));
            until("ann is away", || (watcher.online(&room) == ["watcher"]).then_some(()));
            watcher.leave(&room);
        }
    }
}
