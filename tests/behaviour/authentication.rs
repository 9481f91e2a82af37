//! Authentication: the ways in, which tokens are good, and what happens when one expires.

use jsonwebtoken::{Algorithm as Alg, EncodingKey};
use serde_json::{Value, json};
use stentor::config::{Algorithm, Config, Key, Secret};

use crate::common::{Client, Pair, RSA, SECRET, TestServer, Token, config, ec, now_seconds};

/// How a server takes a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    Failed,
    Expired,
}

/// Sends a token in `auth`, and checks that the answer, the close code and the handshake's status all agree.
fn verdict(server: &TestServer, token: &str) -> Verdict {
    let mut client = server.connect();
    let answer = client.call("auth", json!({"token": token}));
    let found = if answer["event"] == "auth-success" {
        client.is_alive();
        Verdict::Good
    } else {
        match answer["data"]["code"].as_str().unwrap() {
            "AUTH_FAILED" => {
                client.closed(4001);
                Verdict::Failed
            }
            "TOKEN_EXPIRED" => {
                client.closed(4002);
                Verdict::Expired
            }
            other => panic!("{other}: {answer}"),
        }
    };
    // What cannot stand in a header cannot be tried there.
    if token.bytes().all(|byte| byte.is_ascii_graphic()) && !token.is_empty() {
        let handshake = server.handshake().bearer(token);
        if found == Verdict::Good {
            handshake.upgrade().push("auth-success");
        } else {
            assert_eq!(handshake.refused().status, 401, "refused in auth, but not at the upgrade");
        }
    }
    found
}

fn server_with(change: impl FnOnce(&mut Config)) -> TestServer {
    let mut config = config();
    config.shards = 1;
    change(&mut config);
    TestServer::start(config)
}

// The ways in

#[test]
fn s1_6_s1_26_s2_2_every_way_in_leads_to_the_same() {
    let mut config = config();
    config.query_token = true;
    let server = TestServer::start(config);
    let token = Token::of("ann").sign();
    let mut by_object = server.connect();
    let mut by_string = server.connect();
    for success in [
        by_object.reply_named("auth-success", "auth", json!({"token": token})),
        by_string.reply_named("auth-success", "auth", json!(token)),
        server.handshake().bearer(&token).upgrade().push("auth-success"),
        server.handshake().set("authorization", &format!("bearer {token}")).upgrade().push("auth-success"),
        server
            .handshake()
            .set("Sec-WebSocket-Protocol", &format!("stentor.v1, bearer.{token}"))
            .upgrade()
            .push("auth-success"),
        server
            .handshake()
            .set("Sec-WebSocket-Protocol", &format!("bearer.{token},stentor.v1"))
            .upgrade()
            .push("auth-success"),
        server.handshake().path(&format!("/ws?token={token}")).upgrade().push("auth-success"),
    ] {
        assert_eq!(success["userId"], "ann");
        assert_eq!(success["rooms"], json!([]));
    }
}

#[test]
fn s1_34_success_says_what_the_client_needs_to_know() {
    let mut config = config();
    config.limits.message_bytes_max = 5_000;
    config.limits.rooms_per_connection_max = 77;
    config.timing.ping_ms = 12_345;
    let server = TestServer::start(config);
    let mut client = server.connect();
    let expiry = now_seconds() + 1000;
    let token = Token::of("ann").claim("exp", expiry).sign();
    let success = client.reply_named("auth-success", "auth", json!({"token": token, "deviceId": "phone"}));
    assert_eq!(success["userId"], "ann");
    assert_eq!(success["deviceId"], "phone");
    assert_eq!(success["expiresAt"], expiry * 1000);
    assert!(success["sessionId"].as_str().is_some_and(|id| !id.is_empty()), "{success}");
    assert_eq!(success["limits"], json!({"messageBytesMax": 5_000, "roomsMax": 77, "pingMs": 12_345}));
    assert_eq!(success["server"]["name"], "stentor");
    assert_eq!(success["server"]["durability"], "memory");
    assert!(success["server"]["version"].is_string() && success["server"]["node"].is_string(), "{success}");
    assert_eq!(success["rooms"], json!([]));
}

#[test]
fn success_lists_the_users_rooms_with_their_heads() {
    let server = TestServer::with_shards(3);
    let mut first = server.user("ann");
    let joined: Vec<Value> = ["a", "b", "c", "d"].into_iter().map(|room| first.join(room)).collect();
    first.say("b", 1);
    let mut rooms = server.user("ann").success["rooms"].as_array().unwrap().clone();
    rooms.sort_by_key(|room| room["conversationId"].as_str().unwrap().to_owned());
    let expected: Vec<Value> = joined
        .iter()
        .map(|room| {
            let seq = room["seq"].as_u64().unwrap() + u64::from(room["conversationId"] == "b");
            let (room, epoch) = (&room["conversationId"], &room["epoch"]);
            json!({"conversationId": room, "epoch": epoch, "seq": seq, "delivered": seq, "seen": seq, "unread": 0})
        })
        .collect();
    assert_eq!(json!(rooms), json!(expected));
}

#[test]
fn s2_3_sessions_differ_and_absent_things_are_absent() {
    let server = TestServer::with_shards(2);
    let sessions: std::collections::HashSet<String> =
        (0..8).map(|_| server.user("ann").success["sessionId"].as_str().unwrap().to_owned()).collect();
    assert_eq!(sessions.len(), 8);
    assert_eq!(server.user("ann").success.get("deviceId"), None);
}

#[test]
fn a_token_in_the_query_is_ignored_unless_it_is_allowed() {
    let server = TestServer::with_shards(1);
    let mut client = server.handshake().path(&format!("/ws?token={}", Token::of("ann").sign())).upgrade();
    client.refused("NOT_AUTHENTICATED", "join-room", json!("lobby"));
    // Not even a bad one counts.
    server.handshake().path("/ws?token=nonsense").upgrade().is_alive();
}

#[test]
fn a_token_at_the_upgrade_answers_unasked_and_first() {
    let server = TestServer::with_shards(2);
    let mut client = server.handshake().bearer(&Token::of("ann").sign()).upgrade();
    client.join("lobby");
    assert_eq!(client.push("auth-success")["userId"], "ann");
}

// Before and without

#[test]
fn s1_62_nothing_but_auth_and_heartbeat_comes_before_authentication() {
    let server = TestServer::with_shards(1);
    let mut client = server.connect();
    for event in [
        "join-room",
        "leave-room",
        "get-online-users",
        "history",
        "send-message",
        "edit-message",
        "delete-message",
        "no-such-event",
        "",
    ] {
        client.refused("NOT_AUTHENTICATED", event, json!({"conversationId": "lobby", "content": 1, "messageId": "m"}));
        // Also where the data are bad: nobody learns anything here.
        client.refused("NOT_AUTHENTICATED", event, json!(null));
    }
    client.is_alive();
    client.reply_named("auth-success", "auth", json!(Token::of("ann").sign()));
    client.join("lobby");
}

#[test]
fn s1_7_s1_8_s1_60_who_does_not_authenticate_in_time_is_told_and_closed() {
    let server = server_with(|config| config.timing.auth_ms_max = 50);
    let mut silent = server.connect();
    silent.closed(4101);
    silent.refusal("AUTH_TIMEOUT");
    // Being busy is no excuse.
    let mut busy = server.connect();
    (0..100).for_each(|_| drop(busy.ask("heartbeat", Value::Null)));
    busy.closed(4101);
    busy.push_after_others("error");
}

#[test]
fn who_authenticated_is_not_closed_at_the_deadline() {
    let server = server_with(|config| config.timing.auth_ms_max = 2_000);
    let mut client = server.user("ann");
    // A silent connection that came later has its deadline later.
    server.connect().closed(4101);
    client.is_alive();
}

#[test]
fn a_bad_field_leaves_the_connection_unauthenticated() {
    let server = TestServer::with_shards(1);
    let mut client = server.connect();
    let token = Token::of("ann").sign();
    let bad = [
        ("deviceId", json!("")),
        ("deviceId", json!("a*")),
        ("deviceId", json!(7)),
        ("deviceId", json!("x".repeat(201))),
        ("dialect", json!("klingon")),
        ("dialect", json!("")),
        ("dialect", json!(1)),
        ("batch", json!("yes")),
        ("batch", json!(1)),
        ("attach", json!("false")),
        ("attach", json!([])),
        ("autoAck", json!(0)),
        ("presence", json!("gone")),
        ("presence", json!({})),
        ("since", json!([])),
        ("since", json!("x")),
        ("since", json!({"lobby": 5})),
        ("since", json!({"lobby": {"epoch": "e"}})),
        ("since", json!({"lobby": {"seq": 1}})),
        ("since", json!({"lobby": {"epoch": 1, "seq": 1}})),
        ("since", json!({"lobby": {"epoch": "e", "seq": -1}})),
        ("since", json!({"lobby": {"epoch": "e", "seq": 1.5}})),
        ("since", json!({"lobby": {"epoch": "e", "seq": "1"}})),
        ("since", json!({"lo*by": {"epoch": "e", "seq": 1}})),
        ("since", json!({"": {"epoch": "e", "seq": 1}})),
    ];
    for (field, value) in bad {
        client.refused("INVALID_PAYLOAD", "auth", json!({"token": token, field: value}));
        client.refused("NOT_AUTHENTICATED", "history", json!("lobby"));
    }
    for data in [
        json!(null),
        json!({}),
        json!(1),
        json!([token]),
        json!({"token": null}),
        json!({"token": 1}),
        json!({"Token": token}),
    ] {
        client.refused("INVALID_PAYLOAD", "auth", data);
    }
    client.send(&json!({"event": "auth", "id": 1}));
    assert_eq!(client.answer_by(&json!(1))["data"]["code"], "INVALID_PAYLOAD");
    let good = json!({
        "token": token, "deviceId": "d", "dialect": "room", "batch": false, "presence": "away", "autoAck": false, "attach": true,
        "since": {}, "unknown": 1,
    });
    client.reply_named("auth-success", "auth", good);
}

#[test]
fn optional_fields_may_be_null() {
    let server = TestServer::with_shards(1);
    let mut client = server.connect();
    let data = json!({
        "token": Token::of("ann").sign(), "deviceId": null, "dialect": null, "batch": null, "presence": null, "autoAck": null,
        "attach": null, "since": null,
    });
    client.reply_named("auth-success", "auth", data);
}

// Times

#[test]
fn a_token_must_expire_and_must_not_have() {
    let server = server_with(|_| {});
    let now = now_seconds();
    let token = Token::of("ann");
    for (exp, expected) in [
        (json!(now + 3600), Verdict::Good),
        (json!(now as f64 + 3600.5), Verdict::Good),
        (json!(4_102_444_800_u64), Verdict::Good),
        (json!(1e18), Verdict::Good),
        (json!(u64::MAX), Verdict::Good),
        (json!(1e300), Verdict::Good),
        // `exp` is exact, and the very second of it is too late.
        (json!(now), Verdict::Expired),
        (json!(now - 1), Verdict::Expired),
        (json!(now as f64 - 0.5), Verdict::Expired),
        (json!(0), Verdict::Expired),
        (json!(1), Verdict::Expired),
        (json!((now + 3600).to_string()), Verdict::Failed),
        (json!(""), Verdict::Failed),
        (json!(null), Verdict::Failed),
        (json!(true), Verdict::Failed),
        (json!([now + 3600]), Verdict::Failed),
        (json!({"at": now + 3600}), Verdict::Failed),
    ] {
        assert_eq!(verdict(&server, &token.clone().claim("exp", exp.clone()).sign()), expected, "exp {exp}");
    }
    assert_eq!(verdict(&server, &token.clone().without("exp").sign()), Verdict::Failed);
    assert_ne!(verdict(&server, &token.claim("exp", -5).sign()), Verdict::Good);
}

#[test]
fn a_token_without_expiry_passes_where_it_may() {
    let server = server_with(|config| config.auth.require_expiry = false);
    let mut client = server.connect();
    let success = client.reply_named("auth-success", "auth", json!(Token::of("ann").without("exp").sign()));
    assert_eq!(success.get("expiresAt"), None);
    assert_eq!(verdict(&server, &Token::of("ann").claim("exp", now_seconds() - 1).sign()), Verdict::Expired);
    assert_eq!(verdict(&server, &Token::of("ann").claim("exp", "soon").sign()), Verdict::Failed);
}

#[test]
fn not_before_and_issued_at_have_thirty_seconds() {
    let server = server_with(|_| {});
    for claim in ["nbf", "iat"] {
        for (ahead, expected) in [
            (-3600, Verdict::Good),
            (0, Verdict::Good),
            // A few seconds from the edge, for a test may take some.
            (25, Verdict::Good),
            (60, Verdict::Failed),
            (3600, Verdict::Failed),
        ] {
            let at = now_seconds().checked_add_signed(ahead).unwrap();
            assert_eq!(verdict(&server, &Token::of("ann").claim(claim, at).sign()), expected, "{claim} {ahead}");
        }
        for bad in [json!("0"), json!(""), json!(null), json!([]), json!(true), json!(1e300), json!(u64::MAX)] {
            let token = Token::of("ann").claim(claim, bad.clone()).sign();
            assert_eq!(verdict(&server, &token), Verdict::Failed, "{claim} {bad}");
        }
    }
}

#[test]
fn leeway_is_configured_and_never_for_exp() {
    let server = server_with(|config| config.auth.leeway_seconds = 0);
    assert_eq!(verdict(&server, &Token::of("ann").claim("nbf", now_seconds() + 20).sign()), Verdict::Failed);
    assert_eq!(verdict(&server, &Token::of("ann").claim("nbf", now_seconds()).sign()), Verdict::Good);
    let server = server_with(|config| config.auth.leeway_seconds = 300);
    assert_eq!(verdict(&server, &Token::of("ann").claim("nbf", now_seconds() + 250).sign()), Verdict::Good);
    assert_eq!(verdict(&server, &Token::of("ann").claim("exp", now_seconds() - 2).sign()), Verdict::Expired);
}

// Claims

#[test]
fn audience_and_issuer_are_required_where_they_are_configured() {
    let server = server_with(|config| {
        config.auth.audiences = vec!["chat".to_owned(), "chat-2".to_owned()];
        config.auth.issuers = vec!["https://id.example.com".to_owned()];
    });
    let token = || Token::of("ann").claim("iss", "https://id.example.com");
    for (audience, expected) in [
        (json!("chat"), Verdict::Good),
        (json!("chat-2"), Verdict::Good),
        (json!(["other", "chat"]), Verdict::Good),
        (json!("other"), Verdict::Failed),
        (json!("chat-3"), Verdict::Failed),
        (json!("Chat"), Verdict::Failed),
        (json!(["other"]), Verdict::Failed),
        (json!([]), Verdict::Failed),
        (json!(""), Verdict::Failed),
        (json!(null), Verdict::Failed),
        (json!(7), Verdict::Failed),
        (json!({"aud": "chat"}), Verdict::Failed),
    ] {
        assert_eq!(verdict(&server, &token().claim("aud", audience.clone()).sign()), expected, "aud {audience}");
    }
    assert_eq!(verdict(&server, &token().sign()), Verdict::Failed, "no aud");
    let token = || Token::of("ann").claim("aud", "chat");
    for (issuer, expected) in [
        (json!("https://id.example.com"), Verdict::Good),
        (json!("https://id.example.com/"), Verdict::Failed),
        (json!("https://evil.example.com"), Verdict::Failed),
        (json!(null), Verdict::Failed),
        (json!(1), Verdict::Failed),
        (json!(["https://evil.example.com"]), Verdict::Failed),
    ] {
        assert_eq!(verdict(&server, &token().claim("iss", issuer.clone()).sign()), expected, "iss {issuer}");
    }
    assert_eq!(verdict(&server, &token().sign()), Verdict::Failed, "no iss");
}

#[test]
fn audience_and_issuer_mean_nothing_where_they_are_not() {
    let server = server_with(|_| {});
    assert_eq!(verdict(&server, &Token::of("ann").claim("aud", "other").claim("iss", "anyone").sign()), Verdict::Good);
}

#[test]
fn the_user_must_be_a_valid_id() {
    let server = server_with(|_| {});
    for good in [json!("a"), json!("user:1@example.com"), json!("ünïcødé ☃"), json!("x".repeat(200))] {
        assert_eq!(verdict(&server, &Token::of("x").claim("sub", good.clone()).sign()), Verdict::Good, "{good}");
    }
    for bad in [
        json!(""),
        json!(null),
        json!(1),
        json!(["ann"]),
        json!({"id": "ann"}),
        json!("a*b"),
        json!("{ann}"),
        json!("a\nb"),
        json!("\u{0}"),
        json!("a\\b"),
        json!("[a]"),
        json!("a?"),
        json!("x".repeat(201)),
        json!(true),
    ] {
        assert_eq!(verdict(&server, &Token::of("x").claim("sub", bad.clone()).sign()), Verdict::Failed, "{bad}");
    }
    assert_eq!(verdict(&server, &Token::of("x").without("sub").sign()), Verdict::Failed);
}

#[test]
fn another_claim_may_name_the_user() {
    let server = server_with(|config| "userId".clone_into(&mut config.auth.user_claim));
    let mut client = server.connect();
    let token = Token::of("wrong").claim("userId", "right").sign();
    assert_eq!(client.reply_named("auth-success", "auth", json!(token))["userId"], "right");
    let mut client = server.connect();
    let token = Token::of("wrong").without("sub").claim("userId", "right").sign();
    assert_eq!(client.reply_named("auth-success", "auth", json!(token))["userId"], "right");
    assert_eq!(verdict(&server, &Token::of("ann").sign()), Verdict::Failed);
    assert_eq!(verdict(&server, &Token::of("ann").claim("userId", 5).sign()), Verdict::Failed);
}

#[test]
fn a_token_that_says_too_much_is_refused_whole() {
    let groups = |count: usize| Token::of("ann").claim("groups", vec!["g"; count]).claim("role", "admin").sign();
    let server = server_with(|_| {});
    assert_eq!(verdict(&server, &groups(63)), Verdict::Good);
    assert_eq!(verdict(&server, &groups(64)), Verdict::Failed);
    assert_eq!(server.metric("stentor_authentications_total{result=\"too_many_attributes\"}"), 2.0);
    // Objects and registered claims are no attributes.
    let token = Token::of("ann").claim("realm_access", json!({"roles": vec!["r"; 100]})).claim("aud", vec!["a"; 100]);
    assert_eq!(verdict(&server, &token.sign()), Verdict::Good);
    let server = server_with(|config| config.auth.attribute_claims = vec!["role".to_owned()]);
    assert_eq!(verdict(&server, &groups(64)), Verdict::Good);
}

// Signatures

#[test]
fn s1_61_what_is_no_token_is_refused() {
    let server = server_with(|_| {});
    let good = Token::of("ann").sign();
    let parts: Vec<&str> = good.split('.').collect();
    let (head, claims, signature) = (parts[0], parts[1], parts[2]);
    let other = Token::of("bob").sign();
    let others_claims = other.split('.').nth(1).unwrap();
    let flipped = format!("{}{}", if signature.starts_with('A') { 'B' } else { 'A' }, &signature[1..]);
    let long = "x".repeat(20_000);
    for bad in [
        "",
        ".",
        "..",
        "...",
        "nonsense",
        "a.b.c",
        head,
        claims,
        &format!("{head}.{claims}"),
        &format!("{head}.{claims}."),
        &format!("{head}.{claims}.{flipped}"),
        &format!("{head}.{others_claims}.{signature}"),
        &format!("{good}.{signature}"),
        &format!("{good}="),
        &format!("{good} "),
        &format!(" {good}"),
        &format!("{head}.{claims}.{}", &signature[..20]),
        &format!("Bearer {good}"),
        &format!("{head}..{signature}"),
        &format!(".{claims}.{signature}"),
        &long,
        "\u{0}",
        "☃.☃.☃",
    ] {
        assert_eq!(verdict_in_auth(&server, bad), Verdict::Failed, "{bad:.60}");
    }
    assert_eq!(verdict(&server, &good), Verdict::Good);
}

/// As `verdict`, but not at the upgrade: what surrounds a token there is white space, and no part of it.
fn verdict_in_auth(server: &TestServer, token: &str) -> Verdict {
    let mut client = server.connect();
    let answer = client.call("auth", json!({"token": token}));
    if answer["event"] == "auth-success" {
        return Verdict::Good;
    }
    assert_eq!(answer["data"]["code"], "AUTH_FAILED", "{answer}");
    client.closed(4001);
    Verdict::Failed
}

#[test]
fn bad_tokens_are_401_at_the_upgrade() {
    let server = server_with(|config| config.query_token = true);
    let expired = Token::of("ann").claim("exp", now_seconds() - 5).sign();
    let good = Token::of("ann").sign();
    for bad in ["nonsense", "a.b.c", &expired, &format!("{good}x")] {
        for refused in [
            server.handshake().bearer(bad).refused(),
            server.handshake().set("Sec-WebSocket-Protocol", &format!("stentor.v1, bearer.{bad}")).refused(),
            server.handshake().path(&format!("/ws?token={bad}")).refused(),
        ] {
            assert_eq!(refused.status, 401);
            assert!(!refused.head.contains(bad) && !refused.body.contains(bad), "a token is told");
        }
    }
    assert_eq!(server.handshake().path("/ws?token=").refused().status, 401);
}

#[test]
fn the_algorithm_is_the_keys_and_not_the_tokens() {
    let server = server_with(|_| {});
    let secret = EncodingKey::from_secret(SECRET.as_bytes());
    for (name, algorithm) in [("HS384", Alg::HS384), ("HS512", Alg::HS512)] {
        let token = Token::of("ann").header("alg", name).sign_with(&secret, algorithm);
        assert_eq!(verdict(&server, &token), Verdict::Failed, "{name} for a key of HS256");
    }
    // The header lies about how it was signed.
    let token = Token::of("ann").sign_with(&secret, Alg::HS512);
    assert_eq!(verdict(&server, &token), Verdict::Failed);
    for name in ["none", "None", "NONE", "nOnE", "", "hs256", "HS1", "RS256"] {
        let token = Token::of("ann").header("alg", name);
        assert_eq!(verdict(&server, &token.unsigned()), Verdict::Failed, "alg {name:?} without a signature");
        if name != "hs256" {
            assert_eq!(verdict(&server, &token.sign()), Verdict::Failed, "alg {name:?}");
        }
    }
    for alg in [json!(null), json!(5), json!(["HS256"])] {
        assert_eq!(verdict(&server, &Token::of("ann").header("alg", alg).sign()), Verdict::Failed);
    }
    // Wrong secrets, the empty one among them.
    for wrong in ["", "another secret that is quite as long as ours", "the secret that only our own tests sign with "] {
        let token = Token::of("ann").sign_with(&EncodingKey::from_secret(wrong.as_bytes()), Alg::HS256);
        assert_eq!(verdict(&server, &token), Verdict::Failed, "{wrong:?}");
    }
}

#[test]
fn critical_extensions_are_refused() {
    let server = server_with(|_| {});
    for critical in [json!(["exp"]), json!(["b64"]), json!(["x-unknown"]), json!([])] {
        let token = Token::of("ann").header("crit", critical.clone()).header("b64", false).sign();
        assert_eq!(verdict(&server, &token), Verdict::Failed, "crit {critical}");
    }
    let token = Token::of("ann").header("typ", "at+jwt").header("cty", "x").header("x-unknown", 1).sign();
    assert_eq!(verdict(&server, &token), Verdict::Good, "what is not critical is ignored");
}

#[test]
fn keys_that_a_token_brings_along_are_not_believed() {
    let server = server_with(|_| {});
    let mine = EncodingKey::from_secret(b"a secret of an attacker, long enough for anything");
    let token = Token::of("ann")
        .header("jwk", json!({"kty": "oct", "k": "YSBzZWNyZXQgb2YgYW4gYXR0YWNrZXI"}))
        .header("jku", "https://evil.example.com/keys")
        .header("x5u", "https://evil.example.com/keys");
    assert_eq!(verdict(&server, &token.sign_with(&mine, Alg::HS256)), Verdict::Failed);
}

fn hashed(kid: Option<&str>, algorithm: Algorithm, secret: &str) -> Key {
    Key { kid: kid.map(str::to_owned), algorithm, secret: Some(Secret::new(secret)), secret_env: None, file: None }
}

#[test]
fn a_kid_chooses_the_key() {
    let (old, new) = ("the old secret, which is still good for a week", "the new secret, with which tokens are signed");
    let server = server_with(|config| {
        config.auth.keys = vec![
            hashed(Some("old"), Algorithm::HS256, old),
            hashed(Some("new"), Algorithm::HS256, new),
            hashed(None, Algorithm::HS256, SECRET),
        ];
    });
    let key = |secret: &str| EncodingKey::from_secret(secret.as_bytes());
    let token = |kid: Option<&str>, secret: &str| {
        let token = Token::of("ann");
        let token = if let Some(kid) = kid { token.header("kid", kid) } else { token };
        token.sign_with(&key(secret), Alg::HS256)
    };
    for (kid, secret, expected) in [
        (Some("old"), old, Verdict::Good),
        (Some("new"), new, Verdict::Good),
        (None, SECRET, Verdict::Good),
        (Some("old"), new, Verdict::Failed),
        (Some("new"), SECRET, Verdict::Failed),
        (None, old, Verdict::Failed),
        (Some("../../etc/passwd"), old, Verdict::Failed),
        (Some("' OR 1=1"), "", Verdict::Failed),
        (Some(""), old, Verdict::Failed),
    ] {
        assert_eq!(verdict(&server, &token(kid, secret)), expected, "kid {kid:?}");
    }
    for kid in [json!(1), json!(["old"]), json!({})] {
        assert_eq!(
            verdict(&server, &Token::of("ann").header("kid", kid).sign_with(&key(old), Alg::HS256)),
            Verdict::Failed
        );
    }
}

#[test]
fn several_keys_without_a_kid_are_all_tried() {
    let (first, second) = ("the first of two secrets without any name", "the second of two secrets without any name");
    let server = server_with(|config| {
        config.auth.keys = vec![
            hashed(None, Algorithm::HS256, first),
            hashed(None, Algorithm::HS256, second),
            hashed(None, Algorithm::HS512, first),
        ];
    });
    for secret in [first, second] {
        assert_eq!(
            verdict(&server, &Token::of("ann").sign_with(&EncodingKey::from_secret(secret.as_bytes()), Alg::HS256)),
            Verdict::Good
        );
    }
    let token = |secret: &str| {
        Token::of("ann").header("alg", "HS512").sign_with(&EncodingKey::from_secret(secret.as_bytes()), Alg::HS512)
    };
    assert_eq!(verdict(&server, &token(first)), Verdict::Good);
    assert_eq!(verdict(&server, &token(second)), Verdict::Failed, "a key is for one algorithm");
}

#[test]
fn longer_hashes_are_spoken() {
    for (name, algorithm, alg) in [("HS384", Algorithm::HS384, Alg::HS384), ("HS512", Algorithm::HS512, Alg::HS512)] {
        let server = server_with(|config| config.auth.keys = vec![hashed(None, algorithm, SECRET)]);
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        assert_eq!(verdict(&server, &Token::of("ann").header("alg", name).sign_with(&key, alg)), Verdict::Good);
        assert_eq!(verdict(&server, &Token::of("ann").sign()), Verdict::Failed);
    }
}

#[test]
fn rsa_signatures_are_spoken_in_both_paddings() {
    let (pair, other) = (Pair::make(&RSA), Pair::make(&RSA));
    let key = EncodingKey::from_rsa_pem(&pair.private()).unwrap();
    let others = EncodingKey::from_rsa_pem(&other.private()).unwrap();
    let all = [
        ("RS256", Algorithm::RS256, Alg::RS256),
        ("RS384", Algorithm::RS384, Alg::RS384),
        ("RS512", Algorithm::RS512, Alg::RS512),
        ("PS256", Algorithm::PS256, Alg::PS256),
        ("PS384", Algorithm::PS384, Alg::PS384),
        ("PS512", Algorithm::PS512, Alg::PS512),
    ];
    for (name, algorithm, alg) in all {
        let server = server_with(|config| config.auth.keys = vec![pair.key(None, algorithm)]);
        for (other_name, _, other_alg) in all {
            let expected = if name == other_name { Verdict::Good } else { Verdict::Failed };
            let token = Token::of("ann").header("alg", other_name).sign_with(&key, other_alg);
            assert_eq!(verdict(&server, &token), expected, "{other_name} for a key of {name}");
        }
        let token = Token::of("ann").header("alg", name).sign_with(&others, alg);
        assert_eq!(verdict(&server, &token), Verdict::Failed, "another pair's {name}");
    }
}

#[test]
fn a_public_key_is_no_secret() {
    let pair = Pair::make(&RSA);
    let server = server_with(|config| {
        config.auth.keys = vec![pair.key(Some("k"), Algorithm::RS256), pair.key(None, Algorithm::RS256)]
    });
    let pem = std::fs::read(pair.public()).unwrap();
    let trimmed = String::from_utf8(pem.clone()).unwrap().trim().to_owned();
    for secret in [pem.as_slice(), trimmed.as_bytes()] {
        for (name, alg) in [("HS256", Alg::HS256), ("HS384", Alg::HS384), ("HS512", Alg::HS512)] {
            let token = Token::of("ann").header("alg", name);
            let key = EncodingKey::from_secret(secret);
            assert_eq!(verdict(&server, &token.sign_with(&key, alg)), Verdict::Failed);
            assert_eq!(verdict(&server, &token.clone().header("kid", "k").sign_with(&key, alg)), Verdict::Failed);
            assert_eq!(
                verdict(&server, &token.header("alg", "RS256").sign_with(&key, alg)),
                Verdict::Failed,
                "the header lies"
            );
        }
    }
    // And the server does not start with one as a secret, nor with a private key.
    let mut config = config();
    config.auth.keys = vec![pair.key(None, Algorithm::HS256)];
    assert!(TestServer::try_start(config.clone()).is_err());
    config.auth.keys = vec![Key { file: Some(pair.private_path()), ..pair.key(None, Algorithm::RS256) }];
    assert!(TestServer::try_start(config.clone()).is_err());
    config.auth.keys = vec![pair.key(None, Algorithm::EdDSA)];
    assert!(TestServer::try_start(config).is_err());
}

#[test]
fn elliptic_curves_are_spoken() {
    for (name, curve, algorithm, alg) in
        [("ES256", "P-256", Algorithm::ES256, Alg::ES256), ("ES384", "P-384", Algorithm::ES384, Alg::ES384)]
    {
        let arguments = ec(curve);
        let make = || Pair::make(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let (pair, other) = (make(), make());
        let server = server_with(|config| config.auth.keys = vec![pair.key(None, algorithm)]);
        let token = Token::of("ann").header("alg", name);
        let sign = |pair: &Pair| token.sign_with(&EncodingKey::from_ec_pem(&pair.private()).unwrap(), alg);
        let good = sign(&pair);
        assert_eq!(verdict(&server, &good), Verdict::Good, "{name}");
        assert_eq!(verdict(&server, &sign(&other)), Verdict::Failed, "another pair's {name}");
        // CVE-2022-21449: a signature of zeros.
        let zeros =
            format!("{}.{}", good.rsplit_once('.').unwrap().0, "A".repeat(good.rsplit_once('.').unwrap().1.len()));
        assert_eq!(verdict(&server, &zeros), Verdict::Failed, "{name} of zeros");
    }
}

#[test]
fn edwards_curves_are_spoken() {
    let (pair, other) = (Pair::ed25519(), Pair::ed25519());
    let server = server_with(|config| config.auth.keys = vec![pair.key(Some("ed"), Algorithm::EdDSA)]);
    let token = Token::of("ann").header("alg", "EdDSA").header("kid", "ed");
    let sign = |pair: &Pair| token.sign_with(&EncodingKey::from_ed_pem(&pair.private()).unwrap(), Alg::EdDSA);
    assert_eq!(verdict(&server, &sign(&pair)), Verdict::Good);
    assert_eq!(verdict(&server, &sign(&other)), Verdict::Failed);
}

#[test]
fn keys_of_several_kinds_work_side_by_side() {
    let (rsa, ed) = (Pair::make(&RSA), Pair::ed25519());
    let server = server_with(|config| {
        config.auth.keys.push(rsa.key(Some("k"), Algorithm::RS256));
        config.auth.keys.push(ed.key(Some("k"), Algorithm::EdDSA));
    });
    let rsa_key = EncodingKey::from_rsa_pem(&rsa.private()).unwrap();
    let ed_key = EncodingKey::from_ed_pem(&ed.private()).unwrap();
    let token = Token::of("ann").header("kid", "k");
    assert_eq!(verdict(&server, &token.clone().header("alg", "RS256").sign_with(&rsa_key, Alg::RS256)), Verdict::Good);
    assert_eq!(verdict(&server, &token.clone().header("alg", "EdDSA").sign_with(&ed_key, Alg::EdDSA)), Verdict::Good);
    assert_eq!(verdict(&server, &token.sign()), Verdict::Failed, "the secret has no kid");
    assert_eq!(verdict(&server, &Token::of("ann").sign()), Verdict::Good);
}

// Living connections

/// A server that looks after due times often.
fn alert_server() -> TestServer {
    server_with(|config| config.timing.close_ms_max = 200)
}

#[test]
fn a_token_that_expires_on_a_live_connection_is_told_and_closes() {
    let server = alert_server();
    for at_upgrade in [false, true] {
        let token = Token::of("ann").expires_in_ms(1_500).sign();
        let mut client = if at_upgrade {
            server.handshake().bearer(&token).upgrade()
        } else {
            let mut client = server.connect();
            client.send(&json!({"event": "auth", "data": token}));
            client
        };
        let expires_at = client.push("auth-success")["expiresAt"].clone();
        // Less than 30 seconds are left, so it is told at once, and once.
        assert_eq!(client.push("token-expiring"), json!({"expiresAt": expires_at}));
        client.closed(4002);
        client.refusal("TOKEN_EXPIRED");
    }
}

#[test]
fn a_connection_that_is_busy_expires_too() {
    let server = alert_server();
    let mut client = server.connect();
    client.reply_named("auth-success", "auth", json!(Token::of("ann").expires_in_ms(1_500).sign()));
    (0..2_000).for_each(|_| drop(client.ask("heartbeat", Value::Null)));
    client.closed(4002);
}

#[test]
fn expiry_is_told_as_early_as_is_configured() {
    let server = server_with(|config| {
        config.timing.close_ms_max = 200;
        config.timing.token_expiring_ms = 3_600_000 - 500;
    });
    let mut client = server.connect();
    client.reply_named("auth-success", "auth", json!(Token::of("ann").expires_in_ms(3_600_000).sign()));
    client.push("token-expiring");
    client.is_alive();
}

/// Waits until the server has closed a connection for a token that expires after another did.
fn after(server: &TestServer, witness: &mut Client) {
    witness.closed(4002);
    // The shard has only one pass over its connections at a time, so a second witness is enough to know it is over;
    // even one whose token expires before it is looked at.
    let mut second = server.connect();
    second.call("auth", json!(Token::of("witness").expires_in_ms(300).sign()));
    second.closed(4002);
}

#[test]
fn a_fresh_token_keeps_the_connection() {
    let server = alert_server();
    let mut client = server.connect();
    client.reply_named("auth-success", "auth", json!(Token::of("ann").expires_in_ms(2_500).sign()));
    client.push("token-expiring");
    client.join("lobby");
    let mut witness = server.connect();
    witness.reply_named("auth-success", "auth", json!(Token::of("witness").expires_in_ms(2_800).sign()));
    let fresh = Token::of("ann");
    let success = client.reply_named("auth-success", "auth", json!({"token": fresh.sign()}));
    assert_eq!(success["userId"], "ann");
    assert_eq!(success["rooms"][0]["conversationId"], "lobby");
    after(&server, &mut witness);
    // Still here, still in the room, and the rest of the session is as it was.
    client.say("lobby", "still here");
    assert_eq!(client.push("message-new")["content"], "still here");
    client.nothing_came("lobby");
}

#[test]
fn a_renewed_token_may_expire_again() {
    let server = alert_server();
    let mut client = server.connect();
    client.reply_named("auth-success", "auth", json!(Token::of("ann").expires_in_ms(2_000).sign()));
    let first = client.push("token-expiring");
    client.reply_named("auth-success", "auth", json!(Token::of("ann").expires_in_ms(3_500).sign()));
    let second = client.push("token-expiring");
    assert!(second["expiresAt"].as_u64() > first["expiresAt"].as_u64());
    client.closed(4002);
}

#[test]
fn a_renewal_that_fails_leaves_the_connection_as_it_was() {
    let server = alert_server();
    let mut client = server.member("ann", "lobby");
    client.refused("FORBIDDEN", "auth", json!(Token::of("bob").sign()));
    client.refused("AUTH_FAILED", "auth", json!("nonsense"));
    client.refused("AUTH_FAILED", "auth", json!(Token::of("ann").unsigned()));
    client.refused("TOKEN_EXPIRED", "auth", json!(Token::of("ann").claim("exp", 5).sign()));
    client.refused("INVALID_PAYLOAD", "auth", json!({"token": Token::of("ann").sign(), "batch": 1}));
    client.say("lobby", "as before");
    let message = client.push("message-new");
    assert_eq!((&message["userId"], &message["content"]), (&json!("ann"), &json!("as before")));
    client.nothing_came("lobby");
}

#[test]
fn a_failed_renewal_does_not_lengthen_the_stay() {
    let server = alert_server();
    let mut client = server.connect();
    client.reply_named("auth-success", "auth", json!(Token::of("ann").expires_in_ms(2_000).sign()));
    client.refused("FORBIDDEN", "auth", json!(Token::of("bob").sign()));
    client.refused("AUTH_FAILED", "auth", json!("nonsense"));
    client.closed(4002);
}

#[test]
fn several_attempts_in_one_message_do_not_get_around_anything() {
    let server = TestServer::with_shards(2);
    let mut client = server.connect();
    let bad = json!({"event": "auth", "id": 1, "data": "nonsense"});
    let good = json!({"event": "auth", "id": 2, "data": Token::of("ann").sign()});
    let join = json!({"event": "join-room", "id": 3, "data": "lobby"});
    client.send_text(&format!("{bad}\n{good}\n{join}"));
    client.closed(4001);
    assert_eq!(client.next()["data"]["code"], "AUTH_FAILED");
    // Nothing after the failure was done.
    assert_eq!(server.user("ann").success["rooms"], json!([]));
}
