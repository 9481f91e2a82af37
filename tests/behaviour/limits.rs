//! Limits: every key of `[limits]`, crossed on both sides.
//!
//! Each test is named after its key. A key of the configuration without a test fails `every_key_has_a_test`.

use serde_json::Value;

macro_rules! crossings {
    ($($key:ident),* $(,)?) => {
        /// The keys that a test crosses.
        const CROSSED: &[&str] = &[$(stringify!($key)),*];

        $(
            #[test]
            fn $key() {
                crossing::$key();
            }
        )*
    };
}

crossings! {
    connections_max,
    connections_per_address_max,
    connections_per_user_max,
    handshakes_max,
    handshake_ms_max,
    handshake_bytes_max,
    message_bytes_max,
    message_fragments_max,
    requests_per_second_max,
    request_burst_max,
    rate_refusals_max,
    invalid_frames_max,
    rooms_per_connection_max,
    rooms_per_user_max,
    members_per_room_max,
    member_events_max,
    online_users_max,
    presence_members_max,
    presence_subscriptions_max,
    devices_per_user_max,
    receipt_members_max,
    recover_events_max,
    recover_bytes_max,
    outbox_bytes_max,
    outbox_frames_max,
    outbox_ms_max,
}

#[test]
fn every_key_has_a_test() {
    let schema = stentor::config::schema();
    let stated = &schema["properties"]["limits"];
    let reference = stated["$ref"].as_str().or_else(|| stated["allOf"][0]["$ref"].as_str());
    let limits = reference.map_or(stated, |reference| schema.pointer(reference.trim_start_matches('#')).unwrap());
    let mut keys: Vec<&str> = limits["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    let mut crossed = CROSSED.to_vec();
    keys.sort_unstable();
    crossed.sort_unstable();
    assert_eq!(keys, crossed, "on the left what can be configured, on the right what is tested");
}

/// Whether a connection's next message is that it is closed for want of room.
fn is_over_capacity(client: &mut crate::common::Client) -> bool {
    client.send_text(r#"{"event":"heartbeat","id":"there"}"#);
    match client.next_frame() {
        crate::common::Frame::Close(code, _) => {
            assert_eq!(code, Some(4105));
            true
        }
        crate::common::Frame::Text(text) => {
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["event"], "heartbeat-ack");
            false
        }
        other => panic!("{other:?}"),
    }
}

mod crossing {
    use std::io::{ErrorKind, Read as _, Write as _};

    use serde_json::{Value, json};
    use stentor::config::{Config, Limits};

    use super::is_over_capacity;
    use crate::common::{Client, DEADLINE, Frame, TestServer, Token, client_frame, config, until};

    /// A server with some limits changed.
    fn server(change: impl FnOnce(&mut Limits)) -> TestServer {
        TestServer::start(limited(change))
    }

    fn limited(change: impl FnOnce(&mut Limits)) -> Config {
        let mut config = config();
        change(&mut config.limits);
        config
    }

    pub(super) fn connections_max() {
        let server = server(|limits| limits.connections_max = 3);
        let mut within: Vec<Client> = (0..3).map(|_| server.connect()).collect();
        assert!(within.iter_mut().all(|client| !is_over_capacity(client)));
        for _ in 0..3 {
            // It is let in so far that it can be told, with a token or without.
            assert!(is_over_capacity(&mut server.connect()));
            assert_eq!(server.handshake().bearer(&Token::of("ann").sign()).upgrade().close_code(), Some(4105));
        }
        assert!(within.iter_mut().all(|client| !is_over_capacity(client)), "nobody else is disturbed");
        within.pop().unwrap().close();
        until("there is room again", || (!is_over_capacity(&mut server.connect())).then_some(()));
    }

    pub(super) fn connections_per_address_max() {
        let mut config = limited(|limits| limits.connections_per_address_max = 2);
        config.proxy.trusted = vec!["127.0.0.1/32".parse().unwrap()];
        let server = TestServer::start(config);
        let come = |address: &str| server.handshake().set("X-Forwarded-For", address).upgrade();
        let mut within: Vec<Client> = (0..2).map(|_| come("203.0.113.1")).collect();
        assert!(within.iter_mut().all(|client| !is_over_capacity(client)));
        assert!(is_over_capacity(&mut come("203.0.113.1")));
        assert!(!is_over_capacity(&mut come("203.0.113.2")));
        within.pop().unwrap().close();
        until("there is room again", || (!is_over_capacity(&mut come("203.0.113.1"))).then_some(()));
    }

    pub(super) fn connections_per_user_max() {
        for shards in [1, 3] {
            let mut config = limited(|limits| limits.connections_per_user_max = 2);
            config.shards = shards;
            let server = TestServer::start(config);
            let mut within = vec![server.user("ann"), server.user("ann")];
            let mut third = server.connect();
            let refusal = third.refused("LIMIT_EXCEEDED", "auth", json!(Token::of("ann").sign()));
            assert_eq!(refusal["retryable"], false);
            third.closed(4105);
            let mut at_upgrade = server.handshake().bearer(&Token::of("ann").sign()).upgrade();
            at_upgrade.refusal("LIMIT_EXCEEDED");
            at_upgrade.closed(4105);
            // Others, and the connections there are, are not disturbed; a fresh token is not another connection.
            server.user("bob").is_alive();
            within[0].reply_named("auth-success", "auth", json!(Token::of("ann").sign()));
            within[1].is_alive();
            within.pop().unwrap().close();
            until("there is room again", || {
                let mut client = server.connect();
                (client.call("auth", json!(Token::of("ann").sign()))["event"] == "auth-success").then_some(())
            });
        }
    }

    pub(super) fn handshakes_max() {
        let mut config = limited(|limits| limits.handshakes_max = 2);
        config.limits.handshake_ms_max = 60_000;
        let server = TestServer::start(config);
        // Finished ones do not count.
        let mut done: Vec<Client> = (0..4).map(|_| server.connect()).collect();
        let idle: Vec<_> = (0..2)
            .map(|_| {
                let mut socket = server.socket();
                socket.write_all(b"GET /ws HTTP/1.1\r\n").unwrap();
                socket
            })
            .collect();
        let mut third = server.socket();
        third.write_all(&server.handshake().bytes()).unwrap();
        third.set_nonblocking(true).unwrap();
        // Whatever goes on meanwhile, the third waits.
        for _ in 0..50 {
            done.iter_mut().for_each(Client::is_alive);
            assert!(matches!(third.read(&mut [0; 1]), Err(error) if error.kind() == ErrorKind::WouldBlock), "it waits");
        }
        drop(idle);
        third.set_nonblocking(false).unwrap();
        third.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut answer = [0; 12];
        third.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 101");
    }

    pub(super) fn handshake_ms_max() {
        let server = server(|limits| limits.handshake_ms_max = 1_500);
        let mut slow = server.socket();
        slow.write_all(b"GET /ws HTTP/1.1\r\nHost: x\r\n").unwrap();
        slow.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut answer = Vec::new();
        assert!(slow.read_to_end(&mut answer).is_ok(), "it is ended");
        assert!(!answer.starts_with(b"HTTP/1.1 1"));
        // The time is the handshake's alone: whoever is through may be quiet.
        let mut through = server.connect();
        let mut next = server.socket();
        next.set_read_timeout(Some(DEADLINE)).unwrap();
        assert!(next.read_to_end(&mut Vec::new()).is_ok(), "as long as another that came later");
        through.is_alive();
    }

    pub(super) fn handshake_bytes_max() {
        let server = server(|limits| limits.handshake_bytes_max = 8_192);
        server.handshake().set("X-Large", &"x".repeat(7_500)).upgrade().is_alive();
        assert_eq!(server.handshake().set("X-Large", &"x".repeat(9_000)).refused().status, 431);
        let sum = (0..20)
            .fold(server.handshake(), |handshake, number| handshake.add(&format!("X-{number}"), &"x".repeat(500)));
        assert_eq!(sum.refused().status, 431, "all headers together");
        // What comes behind the handshake is none of it.
        let frame = client_frame(0x81, format!(r#"{{"event":"heartbeat","x":"{}"}}"#, "x".repeat(20_000)).as_bytes());
        server.handshake().behind(&frame).upgrade().push("heartbeat-ack");
    }

    /// A request of exactly so many bytes.
    fn request_of(bytes: usize) -> String {
        let empty = r#"{"event":"heartbeat","x":""}"#;
        format!(r#"{{"event":"heartbeat","x":"{}"}}"#, "x".repeat(bytes - empty.len()))
    }

    pub(super) fn message_bytes_max() {
        let server = server(|limits| limits.message_bytes_max = 2_048);
        let mut client = server.user("ann");
        assert_eq!(client.success["limits"]["messageBytesMax"], 2_048);
        let within = request_of(2_048);
        client.send_text(&within);
        client.push("heartbeat-ack");
        for cut in [0, 1, 1_000, 2_047, 2_048] {
            client.send_frame(0x01, &within.as_bytes()[..cut]);
            client.send_frame(0x80, &within.as_bytes()[cut..]);
            client.push("heartbeat-ack");
        }
        // Two messages are not one.
        client.send_raw(&[client_frame(0x81, within.as_bytes()), client_frame(0x81, within.as_bytes())].concat());
        client.push("heartbeat-ack");
        client.push("heartbeat-ack");
        // One byte more is too much, in one frame or over many.
        let over = request_of(2_049);
        for pieces in [1, 2, 3, 100] {
            let mut client = server.user("ann");
            for (index, piece) in over.as_bytes().chunks(over.len().div_ceil(pieces)).enumerate() {
                let last = (index + 1) * over.len().div_ceil(pieces) >= over.len();
                client.send_frame(u8::from(index == 0) | if last { 0x80 } else { 0 }, piece);
            }
            assert_eq!(client.close_code(), Some(1009), "{pieces} pieces");
        }
        let mut binary = server.user("ann");
        binary.send_frame(0x82, over.as_bytes());
        assert_eq!(binary.close_code(), Some(1009), "a binary one too");
    }

    pub(super) fn message_fragments_max() {
        let server = server(|limits| limits.message_fragments_max = 3);
        let mut client = server.user("ann");
        for _ in 0..3 {
            client.send_frame(0x01, br#"{"event":"#);
            client.send_frame(0x00, b"");
            client.send_frame(0x89, b"a control frame is none of them");
            client.send_frame(0x80, br#""heartbeat"}"#);
            client.push("heartbeat-ack");
        }
        client.send_frame(0x01, br#"{"event":"#);
        client.send_frame(0x00, b"");
        client.send_frame(0x00, b"");
        client.send_frame(0x80, br#""heartbeat"}"#);
        assert_eq!(client.close_code(), Some(1009));
    }

    fn heartbeats(client: &mut Client, count: usize) {
        let bytes: Vec<u8> = (0..count).flat_map(|_| client_frame(0x81, br#"{"event":"heartbeat"}"#)).collect();
        client.send_raw(&bytes);
    }

    /// Sends heartbeats all at once; how many were granted before the first refusal.
    fn granted_at_once(client: &mut Client, count: usize) -> usize {
        heartbeats(client, count);
        (0..count).take_while(|_| client.next()["event"] == "heartbeat-ack").count()
    }

    pub(super) fn requests_per_second_max() {
        // None: as fast as anyone can.
        let unbounded = server(|limits| limits.requests_per_second_max = 0);
        assert_eq!(granted_at_once(&mut unbounded.connect(), 3_000), 3_000);
        let bounded = server(|limits| {
            limits.requests_per_second_max = 20;
            limits.request_burst_max = 1;
            limits.rate_refusals_max = 100_000;
        });
        let mut client = bounded.connect();
        heartbeats(&mut client, 50);
        let answers: Vec<Value> = (0..50).map(|_| client.next()).collect();
        let refusal = answers.iter().find(|answer| answer["event"] == "error").expect("50 at once are too many");
        assert_eq!((&refusal["data"]["code"], &refusal["data"]["retryable"]), (&json!("RATE_LIMITED"), &json!(true)));
        let wait = refusal["data"]["retryAfterMs"].as_u64().unwrap();
        assert!((1..=50).contains(&wait), "20 a second are one in 50 ms: {refusal}");
        assert_eq!(refusal["data"]["event"], "heartbeat");
        // What was refused was not done, and time brings it back.
        until("a request is granted again", || {
            (client.call("heartbeat", Value::Null)["event"] == "heartbeat-ack").then_some(())
        });
        // Each connection has a rate of its own.
        assert_eq!(granted_at_once(&mut bounded.connect(), 1), 1);
    }

    pub(super) fn request_burst_max() {
        let server = server(|limits| {
            limits.requests_per_second_max = 1;
            limits.request_burst_max = 30;
        });
        assert_eq!(granted_at_once(&mut server.connect(), 30), 30, "all of a burst");
        let granted = granted_at_once(&mut server.connect(), 45);
        assert!((30..40).contains(&granted), "not much more: {granted}");
        // Every request counts, whatever becomes of it, and so does every frame that is none.
        for text in ["nonsense", r#"{"event":"no-such-event"}"#, r#"{"event":"history","data":5}"#] {
            let mut client = server.connect();
            let bytes: Vec<u8> = (0..8).flat_map(|_| client_frame(0x81, text.as_bytes())).collect();
            client.send_raw(&bytes);
            (0..8).for_each(|_| drop(client.push("error")));
            let granted = granted_at_once(&mut client, 37);
            assert!((22..32).contains(&granted), "{text}: {granted}");
        }
        // Several in one message are several.
        let mut client = server.connect();
        client.send_text(&vec![r#"{"event":"heartbeat"}"#; 45].join(" "));
        let granted = (0..45).take_while(|_| client.next()["event"] == "heartbeat-ack").count();
        assert!((30..40).contains(&granted), "{granted}");
    }

    pub(super) fn rate_refusals_max() {
        let server = server(|limits| {
            limits.requests_per_second_max = 1;
            limits.request_burst_max = 2;
            limits.rate_refusals_max = 3;
        });
        let mut client = server.connect();
        heartbeats(&mut client, 100);
        let mut answers = Vec::new();
        let code = loop {
            match client.next_frame() {
                Frame::Text(text) => {
                    answers.push(serde_json::from_str::<Value>(&text).unwrap()["event"] == "heartbeat-ack")
                }
                Frame::Close(code, _) => break code,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(code, Some(4104));
        assert_eq!(&answers[answers.len() - 3..], [false; 3], "three refusals in a row");
        assert!(answers[..answers.len() - 3].windows(3).all(|three| three != [false; 3]), "and never before");
        // Two refusals are not three: it is still there, and hears of what happens.
        let server = self::server(|limits| {
            limits.requests_per_second_max = 1;
            limits.request_burst_max = 4;
            limits.rate_refusals_max = 3;
        });
        let mut client = server.member("ann", "lobby");
        heartbeats(&mut client, 4);
        let granted = (0..4).filter(|_| client.next()["event"] == "heartbeat-ack").count();
        assert!((2..4).contains(&granted), "{granted}");
        server.member("bob", "lobby");
        client.push("member-joined");
    }

    pub(super) fn invalid_frames_max() {
        let server = server(|limits| limits.invalid_frames_max = 3);
        let mut client = server.connect();
        for _ in 0..3 {
            (0..2).for_each(|_| client.send_text("nonsense"));
            (0..2).for_each(|_| drop(client.refusal("INVALID_FRAME")));
            client.is_alive();
        }
        (0..3).for_each(|_| client.send_text("nonsense"));
        (0..3).for_each(|_| drop(client.refusal("INVALID_FRAME")));
        client.closed(4005);
    }

    fn is_full(client: &mut Client, room: &str) {
        let refusal = client.refused("JOIN_ROOM_FAILED", "join-room", json!(room));
        assert_eq!(refusal["reason"], "limit", "{refusal}");
        client.refused("NOT_A_MEMBER", "history", json!(room));
    }

    pub(super) fn rooms_per_connection_max() {
        let mut config = limited(|limits| limits.rooms_per_connection_max = 3);
        config.shards = 3;
        let server = TestServer::start(config);
        let mut ann = server.user("ann");
        assert_eq!(ann.success["limits"]["roomsMax"], 3);
        for room in ["a", "b", "c"] {
            ann.join(room);
        }
        is_full(&mut ann, "d");
        ann.join("a");
        ann.leave("b");
        ann.join("d");
        is_full(&mut ann, "b");
        // Another connection of the same user has its own three, and the user is a member of more than that.
        let mut tool = server.device("ann", json!({"attach": false}));
        for room in ["a", "e", "f"] {
            tool.join(room);
        }
        is_full(&mut tool, "g");
        // A connection that attaches is live in as many as it may be.
        let late = server.user("ann");
        assert_eq!(late.success["rooms"].as_array().unwrap().len(), 3, "{}", late.success);
    }

    pub(super) fn rooms_per_user_max() {
        let mut config = limited(|limits| limits.rooms_per_user_max = 3);
        config.shards = 3;
        let server = TestServer::start(config);
        let mut ann = server.user("ann");
        let mut tool = server.device("ann", json!({"attach": false}));
        for room in ["a", "b"] {
            ann.join(room);
        }
        tool.join("c");
        is_full(&mut ann, "d");
        is_full(&mut tool, "e");
        // Rooms there are already are no more rooms.
        tool.join("a");
        ann.leave("a");
        tool.join("d");
        is_full(&mut ann, "a");
        server.user("bob").join("a");
        // Nor is a refusal one: it can be refused any number of times.
        (0..5).for_each(|_| is_full(&mut ann, "x"));
        ann.leave("b");
        ann.join("x");
    }

    pub(super) fn members_per_room_max() {
        let mut config = limited(|limits| limits.members_per_room_max = 2);
        config.shards = 3;
        let server = TestServer::start(config);
        let mut ann = server.member("ann", "lobby");
        let mut bob = server.member("bob", "lobby");
        let mut cid = server.user("cid");
        is_full(&mut cid, "lobby");
        // A second device is no second member.
        server.user("ann").join("lobby");
        ann.say("lobby", "to those who are in");
        bob.message();
        cid.nothing_came("lobby");
        bob.leave("lobby");
        assert_eq!(cid.join("lobby")["members"], 2);
        is_full(&mut bob, "lobby");
    }

    pub(super) fn member_events_max() {
        let server = server(|limits| limits.member_events_max = 2);
        let mut ann = server.member("ann", "lobby");
        let mut bob = server.user("bob");
        assert_eq!(bob.join("lobby")["seq"], 2, "two members: told");
        ann.push("member-joined");
        let mut cid = server.user("cid");
        assert_eq!(cid.join("lobby")["seq"], 2, "three members: not told");
        ann.nothing_came("lobby");
        // Messages are, in rooms of any size.
        assert_eq!(cid.say("lobby", 1)["seq"], 3);
        ann.push("message-new");
    }

    pub(super) fn online_users_max() {
        let server = server(|limits| limits.online_users_max = 2);
        let mut ann = server.member("ann", "lobby");
        let _bob = server.member("bob", "lobby");
        let all = ann.reply_named("online-users", "get-online-users", json!("lobby"));
        assert_eq!(all["users"].as_array().unwrap().len(), 2);
        assert_ne!(all["hasMore"], true);
        let _cid = server.member("cid", "lobby");
        let some = ann.reply_named("online-users", "get-online-users", json!("lobby"));
        assert_eq!(some["users"].as_array().unwrap().len(), 2);
        assert_eq!(some["hasMore"], true);
    }

    /// How far a device of bob's was delivered.
    fn delivered(server: &TestServer, device: &str) -> u64 {
        let client = server.device("bob", json!({"deviceId": device}));
        client.success["rooms"][0]["delivered"].as_u64().unwrap()
    }

    pub(super) fn presence_members_max() {
        let server = server(|limits| limits.presence_members_max = 2).explicit();
        let (mut ann, mut bob) = (server.member("ann", "lobby"), server.member("bob", "lobby"));
        let mut away = |status: &str| bob.ok("presence-update", json!(status));
        away("away");
        assert_eq!(ann.push_after_others("presence")["status"], "away");
        let _cid = server.member("cid", "lobby");
        away("busy");
        let statuses = ann.reply_named("presence-status", "get-presence", json!({"userIds": ["bob"]}));
        assert_eq!(statuses["users"][0]["status"], "busy");
        while ann.has_mail() {
            assert_ne!(ann.next()["event"], "presence");
        }
    }

    pub(super) fn presence_subscriptions_max() {
        let server = server(|limits| limits.presence_subscriptions_max = 3);
        let mut ann = server.user("ann");
        ann.reply_named("presence-status", "subscribe-presence", json!({"userIds": ["a", "b", "a"]}));
        ann.reply_named("presence-status", "subscribe-presence", json!({"userIds": ["b", "c"]}));
        ann.refused("LIMIT_EXCEEDED", "subscribe-presence", json!({"userIds": ["d"]}));
        ann.ok("unsubscribe-presence", json!({"userIds": ["a", "nobody"]}));
        ann.reply_named("presence-status", "subscribe-presence", json!({"userIds": ["d"]}));
    }

    pub(super) fn devices_per_user_max() {
        let server = server(|limits| limits.devices_per_user_max = 2);
        let mut ann = server.member("ann", "lobby");
        let _bob = server.member("bob", "lobby");
        let mut ack = |device: &str| {
            let seq = ann.say("lobby", "hello")["seq"].as_u64().unwrap();
            let mut client = server.device("bob", json!({"deviceId": device}));
            client.ok("ack", json!({"conversationId": "lobby", "upTo": seq}));
            seq
        };
        let first = ack("first");
        let second = ack("second");
        assert_eq!((delivered(&server, "first"), delivered(&server, "second")), (first, second));
        let third = ack("third");
        assert_eq!(delivered(&server, "second"), second);
        // The one that was not used for longest is forgotten, so it is where its user is.
        assert_eq!(delivered(&server, "first"), third);
    }

    pub(super) fn receipt_members_max() {
        let server = server(|limits| limits.receipt_members_max = 2).explicit();
        let (mut ann, mut bob) = (server.member("ann", "lobby"), server.member("bob", "lobby"));
        let read = |client: &mut Client, message: &Value| {
            client.ok("mark-read", json!({"conversationId": "lobby", "upTo": message["seq"]}));
        };
        let one = ann.say("lobby", "one");
        read(&mut bob, &one);
        ann.push_after_others("receipt");
        assert_eq!(ann.push_after_others("receipt")["type"], "seen");
        let _cid = server.member("cid", "lobby");
        let two = ann.say("lobby", "two");
        read(&mut bob, &two);
        ann.barrier("lobby");
        while ann.has_mail() {
            assert_ne!(ann.next()["event"], "receipt");
        }
        let question = json!({"conversationId": "lobby", "messageId": two["messageId"]});
        let status = ann.reply_named("message-status", "get-message-status", question);
        assert!(status["users"][0]["seenAt"].is_u64(), "{status}");
    }

    /// A room with so many messages of so many bytes behind its first event; its epoch.
    fn room_of(client: &mut Client, count: usize, bytes: usize) -> Value {
        let epoch = client.join("lobby")["epoch"].clone();
        for _ in 0..count {
            client.post(json!({"conversationId": "lobby", "content": "x".repeat(bytes), "noEcho": true}));
        }
        epoch
    }

    /// Whether what follows a place comes back: both ways of asking must agree.
    fn recovers(server: &TestServer, epoch: &Value, seq: usize) -> bool {
        let since = json!({"epoch": epoch, "seq": seq});
        let answer = server.device("ann", json!({"attach": false})).join_since("lobby", since.clone());
        let mut client = server.device("ann", json!({"since": {"lobby": since}}));
        let first = client.next()["event"].clone();
        assert_eq!(answer["recovered"] == true, first != "resync", "{answer:.200} {first}");
        answer["recovered"] == true
    }

    pub(super) fn recover_events_max() {
        let server = server(|limits| limits.recover_events_max = 4);
        let epoch = room_of(&mut server.user("ann"), 6, 1);
        for (seq, expected) in [(7, true), (4, true), (3, true), (2, false), (1, false), (0, false)] {
            assert_eq!(recovers(&server, &epoch, seq), expected, "{} events", 7 - seq);
        }
    }

    pub(super) fn recover_bytes_max() {
        let server = server(|limits| limits.recover_bytes_max = 50_000);
        let epoch = room_of(&mut server.user("ann"), 9, 10_000);
        for (seq, expected) in [(10, true), (9, true), (7, true), (4, false), (1, false)] {
            assert_eq!(recovers(&server, &epoch, seq), expected, "{} messages of 10000 bytes", 10 - seq);
        }
        // And it is paged through instead.
        assert!(!server.user("ann").history(json!("lobby"))["messages"].as_array().unwrap().is_empty());
    }

    // Slow receivers

    const LARGE: usize = 60_000;

    /// A client that stops reading while others talk is closed; nobody else is disturbed, and it comes back to what it
    /// missed. `enough` says when the talking may end.
    fn slow_receiver(change: impl FnOnce(&mut Limits), enough: impl Fn(&TestServer) -> bool) {
        let mut config = limited(|limits| {
            // Far away, but for the one that is to be crossed.
            limits.outbox_bytes_max = 1 << 30;
            limits.outbox_frames_max = 1 << 30;
            limits.outbox_ms_max = 600_000;
            limits.recover_bytes_max = 1 << 30;
            limits.recover_events_max = 0;
            change(limits);
        });
        config.delivery.room_flush_ms = 0;
        config.store.room_bytes_max = 0;
        // So that it can still read the close once it reads again.
        config.timing.close_ms_max = 60_000;
        let server = TestServer::start(config);
        let mut writer = server.member("writer", "lobby");
        let mut reader = server.member("reader", "lobby");
        let mut slow = server.user("slow");
        let joined = slow.join("lobby");
        reader.push("member-joined");
        let content = "x".repeat(LARGE);
        let mut sent = 0;
        until("it is slow enough", || {
            if sent < 2_000 && !enough(&server) {
                let send = json!({"conversationId": "lobby", "content": [sent, content], "noEcho": true});
                writer.post(send);
                // Whoever reads is served at once, and never closed.
                assert_eq!(reader.push("message-new")["content"][0], sent);
                sent += 1;
            }
            (server.metric("stentor_slow_consumers_total") == 1.0).then_some(())
        });
        writer.is_alive();
        reader.nothing_came("lobby");
        // It reads what was on its way, in order, and then why it ends.
        slow.closed(4103);
        let mut seq = joined["seq"].as_u64().unwrap();
        while slow.has_mail() {
            seq += 1;
            assert_eq!(slow.push("message-new")["seq"], seq);
        }
        assert!(seq < joined["seq"].as_u64().unwrap() + sent, "it did not get everything");
        let since = json!({"epoch": joined["epoch"], "seq": seq});
        let answer = server.device("slow", json!({"attach": false})).join_since("lobby", since);
        let missed: Vec<&Value> =
            answer["messages"].as_array().unwrap().iter().map(|event| &event["data"]["content"][0]).collect();
        let expected: Vec<Value> = (seq - joined["seq"].as_u64().unwrap()..sent).map(Value::from).collect();
        assert_eq!(missed, expected.iter().collect::<Vec<_>>());
        assert_eq!(server.metric("stentor_slow_consumers_total"), 1.0, "one was slow and no other");
    }

    pub(super) fn outbox_bytes_max() {
        slow_receiver(|limits| limits.outbox_bytes_max = 300_000, |_| false);
    }

    pub(super) fn outbox_frames_max() {
        slow_receiver(|limits| limits.outbox_frames_max = 5, |_| false);
    }

    pub(super) fn outbox_ms_max() {
        // Once anything waits, nothing more need be sent: it waits too long.
        slow_receiver(|limits| limits.outbox_ms_max = 200, |server| server.metric("stentor_outbox_connections") > 0.0);
    }
}
