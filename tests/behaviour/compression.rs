//! `permessage-deflate`: agreed to if the configuration says so, for long messages, once for all.

use flate2::{Compress, Compression, FlushCompress};
use serde_json::json;

use crate::common::{Client, TestServer, Token, config};

const OFFER: &str = "permessage-deflate; client_max_window_bits";

fn server() -> TestServer {
    let mut config = config();
    config.delivery.deflate_bytes_min = 500;
    config.limits.message_bytes_max = 20_000;
    TestServer::start(config)
}

/// A user whose client offers compression.
fn user(server: &TestServer, user: &str, query: &str) -> Client {
    let token = Token::of(user).sign();
    let handshake = server.handshake().path(&format!("/ws?{query}")).bearer(&token);
    let (mut client, answer) = handshake.add("Sec-WebSocket-Extensions", OFFER).upgrade_with_response();
    assert_eq!(
        answer.header("Sec-WebSocket-Extensions"),
        Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover")
    );
    client.batch = query.contains("batch");
    client.success = client.push("auth-success");
    client
}

/// What a client sends compressed.
fn deflate(text: &[u8]) -> Vec<u8> {
    let mut data = Vec::with_capacity(text.len() + 100);
    Compress::new(Compression::best(), false).compress_vec(text, &mut data, FlushCompress::Sync).unwrap();
    assert!(data.ends_with(&[0, 0, 0xff, 0xff]));
    data.truncate(data.len() - 4);
    data
}

#[test]
fn s1_95_long_messages_are_compressed_for_whoever_agreed() {
    let server = server();
    let mut ann = server.member("ann", "lobby");
    let mut receivers: Vec<Client> =
        ["", "dialect=conversation", "batch=1"].iter().map(|query| user(&server, "bob", query)).collect();
    for client in &mut receivers {
        client.join("lobby");
    }
    let mut plain = server.member("eve", "lobby");
    let long = "long ".repeat(1000);
    for content in ["short", &long] {
        ann.say("lobby", content);
        for client in receivers.iter_mut().chain([&mut plain]) {
            let message = std::iter::repeat_with(|| client.next())
                .find(|message| message["event"] == "message-new" || message["event"] == "new-message")
                .unwrap();
            assert_eq!(message["data"]["content"], content);
            let deflated = usize::from(client.deflates && content == long);
            assert_eq!(client.deflated, deflated, "{}", message["event"]);
        }
    }
    // A long answer is compressed, too.
    let [bob, ..] = receivers.as_mut_slice() else { unreachable!() };
    let before = bob.deflated;
    assert_eq!(bob.history(json!("lobby"))["messages"][1]["content"], long.as_str());
    assert_eq!(bob.deflated, before + 1);
}

#[test]
fn what_a_client_sends_may_be_compressed_and_in_fragments() {
    let server = server();
    let mut bob = user(&server, "bob", "");
    bob.join("lobby");
    let long = "x".repeat(15_000);
    let send = |content: &str| {
        let data = json!({"conversationId": "lobby", "messageType": "text", "content": content, "noEcho": true});
        deflate(json!({"event": "send-message", "id": content.len().to_string(), "data": data}).to_string().as_bytes())
    };
    bob.send_frame(0xc1, &send("hi"));
    assert_eq!(bob.answer("2")["event"], "message-ack");
    let data = send(&long);
    let (begin, rest) = data.split_at(7);
    bob.send_frame(0x41, begin);
    bob.send_frame(0x89, b"between");
    bob.send_frame(0x80, rest);
    assert_eq!(bob.answer("15000")["event"], "message-ack");
    let contents = bob.history(json!("lobby"))["messages"].clone();
    assert_eq!((&contents[0]["content"], &contents[1]["content"]), (&json!("hi"), &json!(long)));
    // What is not compressed may come between, and a message of several objects.
    bob.is_alive();
    bob.send_frame(0xc2, &deflate(b"binary"));
    bob.refusal("INVALID_FRAME");
}

#[test]
fn bombs_nonsense_and_bits_in_the_wrong_place_close_the_connection() {
    let server = server();
    let bomb = deflate(&vec![b' '; 5_000_000]);
    assert!(bomb.len() < 20_000);
    let not_utf8 = deflate(&[b'"', 0xff, b'"']);
    let text = deflate(b"{}");
    for (frames, code) in [
        (vec![(0xc1, &bomb[..])], 1009),
        (vec![(0x41, &bomb[..100]), (0x80, &bomb[100..])], 1009),
        (vec![(0xc1, &[0xff; 40][..])], 1007),
        (vec![(0xc1, &not_utf8[..])], 1007),
        (vec![(0x41, &text[..2]), (0xc0, &text[2..])], 1002),
        (vec![(0xc9, b"ping")], 1002),
        (vec![(0xa1, b"{}")], 1002),
    ] {
        let mut client = user(&server, "bob", "");
        for (first, payload) in frames {
            client.send_frame(first, payload);
        }
        client.closed(code);
    }
}

#[test]
fn without_an_agreement_nothing_is_compressed() {
    let offers = [OFFER, "permessage-deflate; server_max_window_bits=8", "x-other"];
    for (server, offers) in [(TestServer::start(config()), &offers[..]), (server(), &offers[1..])] {
        for offer in offers {
            let handshake = server.handshake().add("Sec-WebSocket-Extensions", offer);
            let (mut client, answer) = handshake.upgrade_with_response();
            assert_eq!(answer.header("Sec-WebSocket-Extensions"), None, "{offer}");
            client.send_frame(0xc1, &deflate(b"{}"));
            client.closed(1002);
        }
    }
}
