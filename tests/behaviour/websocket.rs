//! RFC 6455, as a hostile client sees it: broken frames, floods, pings, and how connections end.

use std::net::Shutdown;

use serde_json::{Value, json};

use crate::common::{Client, Frame, TestServer, client_frame, config, until};

/// A server that does not wait long for those it has given up.
fn server() -> TestServer {
    let mut config = config();
    config.timing.close_ms_max = 50;
    TestServer::start(config)
}

/// The code with which the server answers some bytes, on a fresh connection, authenticated or not.
fn code_for(server: &TestServer, bytes: &[u8]) -> Option<u16> {
    let codes = [false, true].map(|authenticated| {
        let mut client = if authenticated { server.user("ann") } else { server.connect() };
        client.send_raw(bytes);
        client.close_code()
    });
    assert_eq!(codes[0], codes[1], "{bytes:?}");
    codes[0]
}

fn all_close(code: u16, cases: &[(&str, Vec<u8>)]) {
    let server = server();
    for (what, bytes) in cases {
        assert_eq!(code_for(&server, bytes), Some(code), "{what}");
    }
    server.user("bob").is_alive();
}

/// The head of a frame with a mask and a length written in a given way, and no payload.
fn head(first: u8, length: &[u8]) -> Vec<u8> {
    [&[first], length, &[1, 2, 3, 4]].concat()
}

fn long_length(length: u64) -> Vec<u8> {
    [&[0xff][..], &length.to_be_bytes()].concat()
}

const HEARTBEAT: &[u8] = br#"{"event":"heartbeat"}"#;

#[test]
fn frames_that_break_the_protocol_close_1002() {
    let mut cases = vec![
        ("unmasked text", vec![0x81, 2, b'{', b'}']),
        ("unmasked and empty", vec![0x81, 0]),
        ("unmasked ping", vec![0x89, 0]),
        ("unmasked close", vec![0x88, 2, 0x03, 0xe8]),
        ("RSV1", client_frame(0xc1, HEARTBEAT)),
        ("RSV2", client_frame(0xa1, HEARTBEAT)),
        ("RSV3", client_frame(0x91, HEARTBEAT)),
        ("all RSV", client_frame(0xf1, HEARTBEAT)),
        ("RSV1 on a ping", client_frame(0xc9, b"")),
        ("fragmented ping", client_frame(0x09, b"")),
        ("fragmented pong", client_frame(0x0a, b"")),
        ("fragmented close", client_frame(0x08, b"")),
        ("long ping", client_frame(0x89, &[b'x'; 126])),
        ("long pong", client_frame(0x8a, &[b'x'; 126])),
        ("long close", client_frame(0x88, &[3; 126])),
        ("very long ping", client_frame(0x89, &[b'x'; 70_000])),
        ("continuation of nothing", client_frame(0x80, b"x")),
        ("fragment of nothing", client_frame(0x00, b"x")),
        ("text within a message", [client_frame(0x01, b"{"), client_frame(0x81, HEARTBEAT)].concat()),
        ("fragment of text within a message", [client_frame(0x01, b"{"), client_frame(0x01, b"}")].concat()),
        ("binary within a message", [client_frame(0x01, b"{"), client_frame(0x82, b"x")].concat()),
        ("length 5 in 16 bits", head(0x81, &[0xfe, 0, 5])),
        ("length 125 in 16 bits", head(0x81, &[0xfe, 0, 125])),
        ("length 5 in 64 bits", head(0x81, &long_length(5))),
        ("length 65535 in 64 bits", head(0x81, &long_length(65_535))),
        ("length with the sign bit", head(0x81, &long_length(1 << 63))),
        ("the longest length of all", head(0x81, &long_length(u64::MAX))),
    ];
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        cases.push(("reserved opcode", client_frame(0x80 | opcode, b"")));
        cases.push(("reserved opcode, fragmented", client_frame(opcode, b"x")));
    }
    all_close(1002, &cases);
}

#[test]
fn close_frames_that_break_the_protocol_close_1002() {
    let mut cases = vec![("one byte", client_frame(0x88, &[3]))];
    for code in [0_u16, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        cases.push(("a code that may not be sent", client_frame(0x88, &code.to_be_bytes())));
    }
    all_close(1002, &cases);
}

#[test]
fn text_that_is_not_utf_8_closes_1007() {
    let bad: [&[u8]; 12] = [
        b"\xff",
        b"\x80",
        b"\xc0\xaf",
        b"\xc1\xbf",
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xf0\x80\x80\x80",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xe2\x82",
        b"\xf0\x9d\x84",
    ];
    let mut cases = Vec::new();
    for bytes in bad {
        cases.push(("in one frame", client_frame(0x81, &[b"{\"event\":\"", bytes, b"\"}"].concat())));
        cases.push(("at the end", client_frame(0x81, bytes)));
        cases.push(("at the end of the last fragment", [client_frame(0x01, b"x"), client_frame(0x80, bytes)].concat()));
        cases.push(("before an empty last fragment", [client_frame(0x01, bytes), client_frame(0x80, b"")].concat()));
        let cut = bytes.len() - 1;
        cases.push((
            "over fragments",
            [client_frame(0x01, &bytes[..cut]), client_frame(0x80, &[&bytes[cut..], b"x"].concat())].concat(),
        ));
        cases.push(("in a close reason", client_frame(0x88, &[&[3, 0xe8], bytes].concat())));
    }
    // What cannot become UTF-8 any more need not be waited for.
    cases.push(("in a fragment that is not the last", client_frame(0x01, b"\xff\xff")));
    all_close(1007, &cases);
}

#[test]
fn a_character_may_be_cut_between_fragments() {
    let server = server();
    let mut client = server.user("ann");
    let text = r#"{"event":"heartbeat","id":"é☃𝄞"}"#.as_bytes();
    for cut in 0..=text.len() {
        client.send_frame(0x01, &text[..cut]);
        client.send_frame(0x80, &text[cut..]);
        assert_eq!(client.next()["id"], "é☃𝄞");
    }
    // Into single bytes, with empty fragments and control frames between.
    client.send_frame(0x01, b"");
    for byte in text {
        client.send_frame(0x00, &[*byte]);
        client.send_frame(0x00, b"");
        client.send_frame(0x8a, b"unasked");
    }
    client.send_frame(0x80, b"");
    assert_eq!(client.next()["id"], "é☃𝄞");
}

#[test]
fn an_announced_message_that_is_too_big_is_refused_at_once() {
    // Nothing of it has come yet.
    let mut cases = vec![];
    for length in [65_537, 1 << 20, 1 << 32, 1 << 40, (1 << 62) + 1, (1 << 63) - 1] {
        cases.push(("its head alone", head(0x81, &long_length(length))));
        cases.push(("as a binary one", head(0x82, &long_length(length))));
        cases.push(("as a first fragment", head(0x01, &long_length(length))));
        cases.push(("as a later fragment", [client_frame(0x01, b"x"), head(0x80, &long_length(length))].concat()));
    }
    all_close(1009, &cases);
}

#[test]
fn a_flood_of_empty_fragments_is_ended() {
    let mut flood = client_frame(0x01, b"");
    (0..100_000).for_each(|_| flood.extend_from_slice(&client_frame(0x00, b"")));
    all_close(1009, &[("empty fragments", flood)]);
}

#[test]
fn byte_by_byte_is_the_same_as_at_once() {
    let server = server();
    let script: Vec<u8> = [
        client_frame(0x81, br#"{"event":"join-room","id":1,"data":"lobby"}"#),
        client_frame(0x89, b"ping"),
        client_frame(0x01, br#"{"event":"send-message","id":2,"data":{"conversationId":"lobby","#),
        client_frame(0x8a, b""),
        client_frame(0x80, br#""content":"hello","noEcho":true}}"#),
        client_frame(0x81, format!(r#"{{"event":"nothing","id":3,"data":"{}"}}"#, "x".repeat(300)).as_bytes()),
        client_frame(0x82, b"binary"),
        client_frame(0x88, &[0x0f, 0xa0, b'b', b'y', b'e']),
    ]
    .concat();
    let results: Vec<Vec<String>> = [1, 2, 3, 7, 64, script.len()]
        .into_iter()
        .map(|step| {
            let mut client = server.user(&format!("user-{step}"));
            client.socket().set_nodelay(true).unwrap();
            script.chunks(step).for_each(|chunk| client.send_raw(chunk));
            let mut seen = Vec::new();
            loop {
                match client.next_frame() {
                    // Names alone: ids and times differ from run to run.
                    Frame::Text(text) => seen.push(serde_json::from_str::<Value>(&text).unwrap()["event"].to_string()),
                    Frame::End => break seen,
                    other => seen.push(format!("{other:?}")),
                }
            }
        })
        .collect();
    assert_eq!(results[0].len(), 6, "{results:?}");
    assert!(results.iter().all(|result| *result == results[0]), "{results:?}");
}

#[test]
fn pings_are_answered_with_what_they_brought() {
    let server = server();
    for mut client in [server.connect(), server.user("ann")] {
        for payload in [&b""[..], b"x", &[0xff; 125], "☃".as_bytes()] {
            client.send_frame(0x89, payload);
            assert_eq!(client.next_frame(), Frame::Pong(payload.to_vec()));
        }
        // Between the fragments of a message too, and before the message is answered.
        client.send_frame(0x01, br#"{"event":"#);
        client.send_frame(0x89, b"between");
        assert_eq!(client.next_frame(), Frame::Pong(b"between".to_vec()));
        client.send_frame(0x80, br#""heartbeat"}"#);
        client.push("heartbeat-ack");
        // A pong that nobody asked for is nothing.
        client.send_frame(0x8a, b"unasked");
        client.is_alive();
    }
}

#[test]
fn a_flood_of_control_frames_is_ended() {
    for (first, what) in [(0x89, "pings"), (0x8a, "pongs")] {
        let mut config = config();
        config.limits.requests_per_second_max = 10;
        config.limits.request_burst_max = 20;
        config.limits.rate_refusals_max = 10;
        config.timing.close_ms_max = 50;
        let server = TestServer::start(config);
        let mut client = server.connect();
        let mut other = server.user("other");
        let flood: Vec<u8> = (0..20_000).flat_map(|_| client_frame(first, b"flood")).collect();
        // The server may hang up before it has all of it.
        client.send_raw(&flood);
        assert_eq!(client.close_code(), Some(4104), "{what}");
        other.is_alive();
    }
}

// How connections end

#[test]
fn s1_11_a_clients_close_is_answered_with_its_own_code() {
    let server = server();
    for code in [1000_u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999] {
        let mut client = server.user("ann");
        client.send_frame(0x88, &[&code.to_be_bytes()[..], "good☃bye".as_bytes()].concat());
        assert!(matches!(client.next_frame(), Frame::Close(Some(echoed), _) if echoed == code), "{code}");
        client.ended();
    }
    let mut client = server.user("ann");
    client.send_frame(0x88, b"");
    assert!(matches!(client.next_frame(), Frame::Close(None | Some(1000), _)));
    client.ended();
    // With the longest reason there can be.
    let mut client = server.user("ann");
    client.send_frame(0x88, &[&[3, 0xe8], &[b'x'; 123][..]].concat());
    client.closed(1000);
}

#[test]
fn what_follows_a_close_is_not_done() {
    let server = server();
    let mut client = server.user("ann");
    let join =
        |room: &str| client_frame(0x81, json!({"event": "join-room", "id": room, "data": room}).to_string().as_bytes());
    client.send_raw(
        &[join("before"), client_frame(0x88, &[3, 0xe8]), join("after"), client_frame(0x88, &[3, 0xe8])].concat(),
    );
    client.closed(1000);
    assert_eq!(client.next()["id"], "before");
    let success = server.user("ann").success;
    assert_eq!(success["rooms"].as_array().unwrap().len(), 1);
    assert_eq!(success["rooms"][0]["conversationId"], "before");
}

#[test]
fn what_was_asked_before_a_close_is_answered_before_it() {
    let mut config = config();
    config.shards = 3;
    let server = TestServer::start(config);
    let mut client = server.user("ann");
    let mut bytes = Vec::new();
    for room in 0..10 {
        let join = json!({"event": "join-room", "id": room, "data": format!("room-{room}")});
        bytes.extend_from_slice(&client_frame(0x81, join.to_string().as_bytes()));
    }
    bytes.extend_from_slice(&client_frame(0x88, &[3, 0xe8]));
    client.send_raw(&bytes);
    client.closed(1000);
    (0..10).for_each(|room| assert_eq!(client.next()["id"], room));
}

#[test]
fn a_client_that_does_not_answer_a_close_is_dropped() {
    let server = server();
    let mut client = server.connect();
    client.send_raw(&[0x81, 0]);
    assert!(matches!(client.next_frame(), Frame::Close(Some(1002), _)));
    // It says nothing, and the stream ends all the same.
    client.ended();
    let mut rude = server.connect();
    rude.send_raw(&[0x81, 0]);
    // It goes on as if nothing had happened.
    (0..100).for_each(|_| rude.send_text("{}"));
    assert_eq!(rude.closed_somehow().0, Some(1002));
}

#[test]
fn s1_12_a_socket_that_ends_without_a_close_is_noticed() {
    let server = server();
    let mut watcher = server.member("watcher", "lobby");
    for way in 0..3 {
        let mut client = server.member("ann", "lobby");
        match way {
            0 => drop(client),
            1 => {
                client.socket().shutdown(Shutdown::Write).unwrap();
                client.ended();
            }
            _ => {
                // Within a frame.
                client.send_raw(&client_frame(0x81, HEARTBEAT)[..9]);
                drop(client);
            }
        }
        until("ann is away", || (watcher.online("lobby") == ["watcher"]).then_some(()));
    }
}

#[test]
fn s1_69_a_connection_that_does_not_answer_pings_is_closed() {
    let mut config = config();
    config.timing.ping_ms = 100;
    config.timing.pong_ms_max = 100;
    let server = TestServer::start(config);
    for mut client in [server.connect(), server.user("ann")] {
        client.answers_pings = false;
        assert!(matches!(client.next_frame(), Frame::Ping(_)), "a ping comes first");
        client.closed(4201);
    }
}

#[test]
fn s1_69_a_connection_that_answers_pings_stays() {
    let mut config = config();
    config.timing.ping_ms = 100;
    // Long enough for a test that is kept waiting.
    config.timing.pong_ms_max = 5_000;
    let server = TestServer::start(config);
    let mut client = server.user("ann");
    for _ in 0..5 {
        let Frame::Ping(payload) = client.next_frame() else { panic!("a ping is due") };
        client.send_frame(0x8a, &payload);
    }
    client.is_alive();
}

// A server that stops

fn stopping_server(drain_ms: u64) -> TestServer {
    let mut config = config();
    config.shards = 3;
    config.timing.drain_ms = drain_ms;
    TestServer::start(config)
}

#[test]
fn s1_11_s2_19_a_server_that_stops_says_so_and_closes() {
    let server = stopping_server(300);
    let address = server.address();
    let mut clients: Vec<Client> = (0..6).map(|number| server.member(&format!("u{number}"), "lobby")).collect();
    clients.push(server.connect());
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| server.stop());
        for client in &mut clients {
            let push = client.push_after_others("going-away");
            assert!(push["reconnectInMs"].is_u64(), "{push}");
            client.closed(4200);
        }
        stop.join().unwrap();
    });
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
}

#[test]
fn a_server_that_stops_does_not_wait_for_those_who_do_not() {
    let server = stopping_server(0);
    let _silent: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    let _handshaking = server.socket();
    server.stop();
}

#[test]
fn what_is_asked_while_a_server_stops_is_answered_or_not_done() {
    // Every acknowledged message was pushed to somebody who was there.
    let server = stopping_server(200);
    let mut ann = server.member("ann", "lobby");
    let mut bob = server.member("bob", "lobby");
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            (0..200).for_each(|number| {
                drop(ann.ask("send-message", json!({"conversationId": "lobby", "content": number, "noEcho": true})))
            });
            ann.closed(4200);
            let mut acknowledged = 0;
            while ann.has_mail() {
                acknowledged += usize::from(ann.next()["event"] == "message-ack");
            }
            acknowledged
        });
        let stop = scope.spawn(|| server.stop());
        bob.closed(4200);
        let mut pushed = 0;
        while bob.has_mail() {
            pushed += usize::from(bob.next()["event"] == "message-new");
        }
        let acknowledged = sender.join().unwrap();
        stop.join().unwrap();
        // Bob may have been closed before ann was; then what came later is in the log alone.
        assert!(pushed <= 200 && acknowledged <= 200, "{pushed} {acknowledged}");
    });
}
