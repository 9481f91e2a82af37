//! The server API: tokens that are taken back.

use serde_json::json;

use crate::common::{TestServer, Token, now_ms, now_seconds, obedient, with_api};

fn server() -> TestServer {
    TestServer::start(with_api())
}

/// A token of a user that was issued some seconds from now.
fn issued(user: &str, seconds: i64) -> Token {
    Token::of(user).claim("iat", now_seconds() as i64 + seconds)
}

/// Whether a token lets its user in, in `auth`.
fn lets_in(server: &TestServer, token: &Token) -> bool {
    let mut client = server.connect();
    let answer = client.call("auth", json!({"token": token.sign()}));
    if answer["event"] == "auth-success" {
        return true;
    }
    assert_eq!((&answer["event"], &answer["data"]["code"]), (&json!("error"), &json!("AUTH_FAILED")));
    client.closed(4001);
    false
}

#[test]
fn a_users_tokens_are_refused_until_there_is_a_newer_one() {
    let server = server();
    let old = issued("ann", -100);
    let mut phone = server.with_token(&old, json!({}));
    let mut undated = server.user("ann");
    let mut bob = server.user("bob");
    let body = json!({"userId": "ann", "expiresAt": now_ms() + 3_600_000, "reason": "password changed"});
    assert_eq!(server.api("revoke", body)["connections"], 2);
    assert_eq!(phone.closed(4003), "password changed");
    assert_eq!(undated.closed(4003), "password changed");
    bob.is_alive();
    assert!(!lets_in(&server, &old));
    assert!(!lets_in(&server, &Token::of("ann")), "it may be as old as any");
    assert!(lets_in(&server, &issued("ann", 20)));
    assert!(lets_in(&server, &issued("bob", -100)));
    // In the handshake too.
    let mut at_upgrade = server.handshake().bearer(&old.sign()).upgrade();
    at_upgrade.refusal("AUTH_FAILED");
    at_upgrade.closed(4001);
    assert_eq!(server.metric("stentor_authentications_total{result=\"revoked\"}"), 3.0);
}

#[test]
fn one_token_is_refused_and_the_others_are_not() {
    let server = server();
    let token = |id: &str| Token::of("ann").claim("jti", id);
    let mut first = server.with_token(&token("t1"), json!({}));
    let mut second = server.with_token(&token("t2"), json!({}));
    // What counts is the token that a connection brought last.
    let mut renewed = server.with_token(&token("t1"), json!({}));
    renewed.reply_named("auth-success", "auth", json!({"token": token("t2").sign()}));
    let body = json!({"tokenId": "t1", "expiresAt": now_ms() + 3_600_000});
    assert_eq!(server.api("revoke", body)["connections"], 1);
    first.closed(4003);
    second.is_alive();
    renewed.is_alive();
    assert!(!lets_in(&server, &token("t1")));
    assert!(lets_in(&server, &token("t2")));
    // A connection that lives by another token keeps it.
    second.refused("AUTH_FAILED", "auth", json!({"token": token("t1").sign()}));
    second.is_alive();
}

#[test]
fn a_revocation_outlives_a_reload_and_ends_with_its_time() {
    let server = server();
    let token = Token::of("ann").claim("jti", "t1");
    server.api("revoke", json!({"tokenId": "t1", "expiresAt": now_ms() + 3_600_000}));
    server.reload(with_api());
    assert!(!lets_in(&server, &token));
    // One whose time is over refuses nothing.
    server.api("revoke", json!({"userId": "bob", "expiresAt": 1}));
    assert!(lets_in(&server, &Token::of("bob")));
}

#[test]
fn the_token_of_a_session_is_refused() {
    let server = server();
    let token = |id: &str| Token::of("ann").claim("jti", id);
    let mut first = server.with_token(&token("t1"), json!({}));
    let mut second = server.with_token(&token("t2"), json!({}));
    let nameless = server.user("ann");
    let revoke = |session: &serde_json::Value| json!({"sessionId": session, "expiresAt": now_ms() + 3_600_000});
    assert_eq!(server.api("revoke", revoke(&first.success["sessionId"]))["connections"], 1);
    first.closed(4003);
    second.is_alive();
    assert!(!lets_in(&server, &token("t1")));
    assert!(lets_in(&server, &token("t2")));
    assert_eq!(server.api("revoke", revoke(&first.success["sessionId"]))["connections"], 0, "it has ended");
    server.api_refused(400, "INVALID_PAYLOAD", "revoke", revoke(&nameless.success["sessionId"]));
    server.api_refused(400, "INVALID_PAYLOAD", "revoke", revoke(&json!("nonsense")));
}

#[test]
fn a_plugin_that_lets_everyone_in_does_not_let_a_revoked_token_in() {
    let mut config = with_api();
    config.plugins = vec![obedient("api-people", json!({"authenticate": "allow", "subject": "ann"}))];
    let Ok(server) = TestServer::try_start(config) else { panic!("it does not start") };
    let token = Token::of("ann").claim("jti", "t1");
    assert!(lets_in(&server, &token));
    server.api("revoke", json!({"tokenId": "t1", "expiresAt": now_ms() + 3_600_000}));
    assert!(!lets_in(&server, &token));
}

#[test]
fn what_is_revoked_has_to_be_said() {
    let server = server();
    for body in [
        json!({}),
        json!({"userId": "ann"}),
        json!({"expiresAt": 5}),
        json!({"userId": "ann", "tokenId": "t", "expiresAt": 5}),
        json!({"userId": "ann", "expiresAt": "tomorrow"}),
        json!({"userId": "ann", "expiresAt": -1}),
        json!({"tokenId": "", "expiresAt": 5}),
    ] {
        server.api_refused(400, "INVALID_PAYLOAD", "revoke", body);
    }
}
