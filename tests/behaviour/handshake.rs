//! The handshake: what becomes a connection, and what does not.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use serde_json::json;

use crate::common::{ACCEPT, Client, DEADLINE, KEY, TestServer, Token, client_frame, config};

fn server_with_origins() -> TestServer {
    let mut config = config();
    config.allowed_origins = vec!["https://app.example.com".to_owned(), "http://localhost:5173".to_owned()];
    TestServer::start(config)
}

/// The status of a request that does not become a connection.
fn status(server: &TestServer, change: impl FnOnce(crate::common::Handshake) -> crate::common::Handshake) -> u16 {
    change(server.handshake()).refused().status
}

#[test]
fn s1_1_both_paths_upgrade_as_rfc_6455_says() {
    let server = TestServer::with_shards(2);
    for path in ["/ws", "/", "/ws?", "/ws?unknown=1&x", "/?a=%20", "/ws?deviceId=x"] {
        let (mut client, response) = server.handshake().path(path).upgrade_with_response();
        assert_eq!(response.header("sec-websocket-accept"), Some(ACCEPT), "{path}");
        assert!(response.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")));
        assert!(response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")));
        assert_eq!(response.header("sec-websocket-protocol"), None, "none was offered");
        client.is_alive();
    }
}

#[test]
fn each_key_has_its_own_answer() {
    let server = TestServer::with_shards(1);
    for (key, accept) in [
        ("x3JJHMbDL1EzLkh9GBhXDw==", "HSmrc0sMlYUkAGmm5OPpG2HaGWk="),
        ("AAAAAAAAAAAAAAAAAAAAAA==", "ICX+Yqv66kxgM0FcWaLWlFLwTAI="),
    ] {
        let (_, response) = server.handshake().set("Sec-WebSocket-Key", key).upgrade_with_response();
        assert_eq!(response.header("sec-websocket-accept"), Some(accept));
    }
}

#[test]
fn other_paths_are_not_found() {
    let server = TestServer::with_shards(1);
    for path in [
        "/wss",
        "/ws/",
        "/WS",
        "//ws",
        "/ws/..",
        "/socket.io/",
        "/metrics",
        "/healthz",
        "/readyz",
        "/echo",
        "/demo",
        "/demo/token",
        "/api/v1/publish",
        "/favicon.ico",
        "/%77s",
    ] {
        assert_eq!(status(&server, |handshake| handshake.path(path)), 404, "{path}");
    }
}

#[test]
fn a_request_that_is_no_handshake_is_told_so() {
    let server = TestServer::with_shards(1);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let refused = server.handshake().request_line(&format!("{method} /ws HTTP/1.1")).refused();
        assert_eq!(refused.status, 405, "{method}");
        assert_eq!(refused.header("allow"), Some("GET"));
    }
    for name in ["Upgrade", "Connection"] {
        for value in [None, Some(""), Some("h2c"), Some("close"), Some("websockets"), Some("upgraded")] {
            let handshake = server.handshake().without(name);
            let handshake = if let Some(value) = value { handshake.add(name, value) } else { handshake };
            let status = handshake.refused().status;
            assert!((400..500).contains(&status), "{name}: {value:?} gives {status}");
        }
    }
    // A body would be somebody else's next request.
    for (name, value) in [("Content-Length", "5"), ("Transfer-Encoding", "chunked")] {
        let status = server.handshake().add(name, value).behind(b"hello").refused().status;
        assert!((400..500).contains(&status), "{name}: {status}");
    }
    let old = status(&server, |handshake| handshake.request_line("GET /ws HTTP/1.0"));
    assert!((400..500).contains(&old), "HTTP/1.0 gives {old}");
}

#[test]
fn header_values_may_be_written_as_http_allows() {
    let server = TestServer::with_shards(1);
    for (name, value) in [
        ("Connection", "upgrade"),
        ("Connection", "keep-alive, Upgrade"),
        ("Connection", "Upgrade,keep-alive"),
        ("connection", "UPGRADE"),
        ("Upgrade", "WebSocket"),
        ("UPGRADE", "websocket"),
        ("Content-Length", "0"),
        ("User-Agent", "ünïcødé"),
    ] {
        server.handshake().set(name, value).upgrade().is_alive();
    }
    server.handshake().set("Connection", "keep-alive").add("Connection", "Upgrade").upgrade().is_alive();
}

#[test]
fn only_version_13_is_spoken() {
    let server = TestServer::with_shards(1);
    for version in [None, Some("12"), Some("14"), Some("8"), Some("0"), Some("x"), Some(""), Some("013"), Some("13.0")]
    {
        let handshake = server.handshake().without("Sec-WebSocket-Version");
        let handshake =
            if let Some(version) = version { handshake.add("Sec-WebSocket-Version", version) } else { handshake };
        let refused = handshake.refused();
        assert_eq!(refused.status, 426, "{version:?}");
        assert_eq!(refused.header("sec-websocket-version"), Some("13"));
    }
}

#[test]
fn a_key_is_sixteen_bytes() {
    let server = TestServer::with_shards(1);
    for key in [
        "",
        "x",
        "dGhlIHNhbXBsZSBub25j",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ===",
        "dGhlIHNhbXBsZSBub25jZTE=",
        "????????????????????????",
    ] {
        assert_eq!(status(&server, |handshake| handshake.set("Sec-WebSocket-Key", key)), 400, "{key:?}");
    }
    assert_eq!(status(&server, |handshake| handshake.without("Sec-WebSocket-Key")), 400);
    assert_eq!(status(&server, |handshake| handshake.add("Sec-WebSocket-Key", KEY)), 400, "two keys");
}

#[test]
fn what_is_not_http_ends() {
    let server = TestServer::with_shards(1);
    for garbage in [
        &b"nonsense\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nHost: a\r\n Folded: b\r\n\r\n",
        b"GET  /ws  HTTP/1.1\r\n\r\n",
        b"GET /ws HTTP/9.9\r\n\r\n",
        b"\r\n\r\n\r\n\r\n\0\0\0\0",
        b"GET http://[::1 HTTP/1.1\r\n\r\n",
    ] {
        let mut socket = server.socket();
        let _refused_meanwhile = socket.write_all(garbage);
        let _shut_already = socket.shutdown(std::net::Shutdown::Write);
        let answer = drained(&mut socket);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{garbage:?}: {answer}");
    }
    server.connect().is_alive();
}

/// Reads to the end of a stream, which must come.
fn drained(socket: &mut TcpStream) -> String {
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut bytes = Vec::new();
    match socket.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("not closed: {error}"),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn nothing_can_be_asked_behind_a_refusal() {
    let server = TestServer::with_shards(1);
    let handshake = server.handshake().path("/nowhere").behind(&server.handshake().bytes());
    let refused = handshake.refused();
    assert_eq!(refused.status, 404);
    assert!(!refused.body.contains("101"), "{}", refused.body);
}

// Subprotocols

#[test]
fn our_subprotocol_is_echoed_and_others_are_not() {
    let server = TestServer::with_shards(1);
    for offer in ["stentor.v1", "other, stentor.v1", "stentor.v1,other", " stentor.v1 ", "stentor.v2, stentor.v1"] {
        let (_, response) = server.handshake().set("Sec-WebSocket-Protocol", offer).upgrade_with_response();
        assert_eq!(response.header("sec-websocket-protocol"), Some("stentor.v1"), "{offer}");
    }
    let twice = server.handshake().add("Sec-WebSocket-Protocol", "other").add("Sec-WebSocket-Protocol", "stentor.v1");
    assert_eq!(twice.upgrade_with_response().1.header("sec-websocket-protocol"), Some("stentor.v1"));
    for offer in ["stentor.v2", "stentor", "stentor.v11", "Stentor.V1", "other, another", "graphql-ws"] {
        assert_eq!(status(&server, |handshake| handshake.set("Sec-WebSocket-Protocol", offer)), 400, "{offer}");
    }
}

#[test]
fn a_bearer_subprotocol_is_a_token_and_never_echoed() {
    let server = TestServer::with_shards(1);
    let token = Token::of("ann").sign();
    let offer = format!("stentor.v1, bearer.{token}");
    let (mut client, response) = server.handshake().set("Sec-WebSocket-Protocol", &offer).upgrade_with_response();
    assert_eq!(response.header("sec-websocket-protocol"), Some("stentor.v1"));
    assert!(!response.head.contains(&token));
    assert_eq!(client.push("auth-success")["userId"], "ann");
    // Alone it is a list without our subprotocol.
    let alone = server.handshake().set("Sec-WebSocket-Protocol", &format!("bearer.{token}")).refused();
    assert_eq!(alone.status, 400);
    assert!(!alone.head.contains(&token) && !alone.body.contains(&token));
}

// Origins

#[test]
fn s1_68_allowed_origins_and_programs_come_in() {
    let server = server_with_origins();
    for origin in ["https://app.example.com", "http://localhost:5173"] {
        server.handshake().set("Origin", origin).upgrade().is_alive();
    }
    // No browser, no origin.
    server.connect().is_alive();
}

#[test]
fn s1_68_other_origins_are_refused() {
    let server = server_with_origins();
    let hostile = [
        "https://app.example.com.evil.io",
        "https://evil-app.example.com",
        "https://evilapp.example.com",
        "https://example.com",
        "https://sub.app.example.com",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com:443",
        "https://app.example.com@evil.io",
        "https://app.example.com/",
        "https://evil.io/https://app.example.com",
        "http://localhost",
        "http://localhost:51731",
        "http://localhost:5173.evil.io",
        "wss://app.example.com",
        "null",
        "*",
        "",
        "https://app.example.com, https://evil.io",
        "https://evil.io https://app.example.com",
        "https://app.example.c\u{f6}m",
    ];
    for origin in hostile {
        assert_eq!(status(&server, |handshake| handshake.set("Origin", origin)), 403, "{origin:?}");
    }
    // A good token is no excuse.
    let token = Token::of("ann").sign();
    assert_eq!(status(&server, |handshake| handshake.bearer(&token).set("Origin", "https://evil.io")), 403);
}

#[test]
fn without_a_list_no_browser_comes_in() {
    let server = TestServer::with_shards(1);
    for origin in ["https://app.example.com", "null", &format!("http://{}", server.address())] {
        assert_eq!(status(&server, |handshake| handshake.set("Origin", origin)), 403, "{origin}");
    }
}

#[test]
fn a_second_origin_is_looked_at_too() {
    let server = server_with_origins();
    let handshake = server.handshake().add("Origin", "https://app.example.com").add("Origin", "https://evil.io");
    let status = handshake.refused().status;
    assert!((400..500).contains(&status), "{status}");
}

// Size and speed

#[test]
fn too_much_of_a_header_is_refused() {
    let server = TestServer::with_shards(1);
    assert_eq!(status(&server, |handshake| handshake.set("X-Large", &"x".repeat(40_000))), 431);
    let many = (0..1_000).fold(server.handshake(), |handshake, number| handshake.add(&format!("X-{number}"), "y"));
    assert_eq!(many.refused().status, 431);
    let long = status(&server, |handshake| handshake.path(&format!("/ws?{}", "x".repeat(40_000))));
    assert!([414, 431].contains(&long), "{long}");
    server.connect().is_alive();
}

#[test]
fn a_handshake_may_come_byte_by_byte() {
    let server = TestServer::with_shards(1);
    let mut socket = server.socket();
    socket.set_nodelay(true).unwrap();
    let bytes = server.handshake().behind(&client_frame(0x81, br#"{"event":"heartbeat"}"#)).bytes();
    bytes.iter().for_each(|byte| socket.write_all(&[*byte]).unwrap());
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut answer = Vec::new();
    let mut byte = [0; 1];
    while !answer.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
    Client::new(socket, Vec::new()).push("heartbeat-ack");
}

#[test]
fn a_handshake_that_does_not_end_is_ended() {
    let mut config = config();
    config.limits.handshake_ms_max = 100;
    let server = TestServer::start(config);
    for begun in ["", "G", "GET /ws HTTP/1.1\r\n", "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nX: "] {
        let mut socket = server.socket();
        socket.write_all(begun.as_bytes()).unwrap();
        let answer = drained(&mut socket);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{begun:?}: {answer}");
    }
}

#[test]
fn slow_handshakes_do_not_keep_others_out() {
    let mut config = config();
    config.limits.handshake_ms_max = 60_000;
    let server = TestServer::start(config);
    let _slow: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut socket = server.socket();
            socket.write_all(b"GET /ws HTTP/1.1\r\nHost: x\r\n").unwrap();
            socket
        })
        .collect();
    for user in ["ann", "bob"] {
        server.member(user, "lobby").is_alive();
    }
}

#[test]
fn what_is_sent_together_with_the_handshake_is_not_lost() {
    for shards in [1, 3] {
        let server = TestServer::with_shards(shards);
        let request = |event: &str, data| {
            client_frame(0x81, json!({"event": event, "id": event, "data": data}).to_string().as_bytes())
        };
        let mut client = server
            .handshake()
            .behind(&request("auth", json!(Token::of("ann").sign())))
            .behind(&request("join-room", json!("lobby")))
            .behind(&request("send-message", json!({"conversationId": "lobby", "content": 1, "noEcho": true})))
            .behind(&request("history", json!("lobby"))[..7])
            .upgrade();
        client.send_raw(&request("history", json!("lobby"))[7..]);
        for event in ["auth-success", "room-joined", "message-ack", "history"] {
            assert_eq!(client.next()["event"], event);
        }
        // The same behind a token at the upgrade.
        let mut client =
            server.handshake().bearer(&Token::of("ann").sign()).behind(&request("history", json!("lobby"))).upgrade();
        client.push("auth-success");
        assert_eq!(client.next()["event"], "history");
    }
}

// What the query string says

#[test]
fn options_of_a_token_at_the_upgrade_are_in_the_query() {
    let server = TestServer::with_shards(2);
    let token = Token::of("ann").sign();
    let come = |query: &str| server.handshake().path(&format!("/ws?{query}")).bearer(&token).upgrade();
    let mut writer = server.member("writer", "lobby");
    let mut phone = server.member("ann", "lobby");
    assert_eq!(come("deviceId=my%20ph%C3%B6ne+1&x=1").push("auth-success")["deviceId"], "my phöne 1");
    let mut tablet = come("dialect=conversation&batch=true");
    tablet.batch = true;
    tablet.push("auth-success");
    let mut tool = come("attach=false&presence=away&autoAck=false&batch=0");
    assert_eq!(tool.push("auth-success")["rooms"][0]["conversationId"], "lobby");
    writer.say("lobby", "hello");
    assert_eq!(tablet.push("new-message")["content"], "hello");
    assert_eq!(phone.push("message-new")["content"], "hello");
    tool.nothing_came("lobby");
}

#[test]
fn bad_options_leave_the_connection_unauthenticated() {
    let server = TestServer::with_shards(1);
    let token = Token::of("ann").sign();
    for query in [
        "deviceId=",
        "deviceId=a*",
        "deviceId=a%0Ab",
        "dialect=klingon",
        "batch=maybe",
        "attach=",
        "autoAck=2",
        "presence=gone",
    ] {
        let mut client = server.handshake().path(&format!("/ws?{query}")).bearer(&token).upgrade();
        client.refusal("INVALID_PAYLOAD");
        client.refused("NOT_AUTHENTICATED", "history", json!("lobby"));
        client.reply_named("auth-success", "auth", json!(token));
    }
}

// Proxies

/// Whether a second connection is one too many, when each address may have one.
fn second_is_refused(trusted: &[&str], forwarded: [&[&str]; 2]) -> bool {
    let mut config = config();
    config.limits.connections_per_address_max = 1;
    config.proxy.trusted = trusted.iter().map(|network| network.parse().unwrap()).collect();
    let server = TestServer::start(config);
    let come = |forwarded: &[&str]| {
        let handshake = server.handshake();
        forwarded.iter().fold(handshake, |handshake, value| handshake.add("X-Forwarded-For", value)).upgrade()
    };
    let mut first = come(forwarded[0]);
    first.is_alive();
    let mut second = come(forwarded[1]);
    second.send(&json!({"event": "heartbeat"}));
    let frame = second.next_frame();
    first.is_alive();
    matches!(frame, crate::common::Frame::Close(Some(4105), _))
}

#[test]
fn only_trusted_proxies_say_where_a_client_is() {
    let local: &[&str] = &["127.0.0.0/8"];
    for (trusted, first, second, expected) in [
        // Nobody is trusted: what a client says of itself means nothing.
        (&[][..], &["203.0.113.1"][..], &["203.0.113.2"][..], true),
        (&["10.0.0.0/8"], &["203.0.113.1"], &["203.0.113.2"], true),
        (local, &["203.0.113.1"], &["203.0.113.2"], false),
        (local, &["203.0.113.1"], &["203.0.113.1"], true),
        // What stands before the proxy's own entry is the client's invention.
        (local, &["1.1.1.1, 203.0.113.1"], &["2.2.2.2, 203.0.113.1"], true),
        (local, &["1.1.1.1", "203.0.113.1"], &["2.2.2.2", "203.0.113.1"], true),
        // Several trusted proxies in a row.
        (&["127.0.0.0/8", "10.0.0.0/8"], &["203.0.113.1, 10.0.0.7"], &["203.0.113.2, 10.0.0.7"], false),
        // One IPv6 customer has a whole /64.
        (local, &["2001:db8:1:2::1"], &["2001:db8:1:2:ffff::2"], true),
        (local, &["2001:db8:1:2::1"], &["2001:db8:1:3::1"], false),
        (local, &["nonsense"], &["other nonsense"], true),
        (local, &[""], &[], true),
    ] {
        assert_eq!(second_is_refused(trusted, [first, second]), expected, "{trusted:?} {first:?} {second:?}");
    }
}
