//! Auth plugins: real components say who people are and what they may do, one after the other, beside the built-in
//! check of tokens.

use serde_json::{Value, json};
use stentor::config::{AllAbstain, Config, OnFailure, Plugin};

use crate::common::{Client, TestServer, Token, obedient, with_plugins};

fn server(plugins: Vec<Plugin>) -> TestServer {
    TestServer::start(with_plugins(plugins))
}

/// The built-in check at a place of its own.
fn builtin() -> Plugin {
    Plugin::new("tokens", "builtin:jwt")
}

/// What a plugin tells of its call, in its refusal.
fn told(refusal: &Value) -> Value {
    assert_eq!(refusal["reason"], "told", "{refusal}");
    serde_json::from_str(refusal["message"].as_str().unwrap()).unwrap()
}

/// What `authorize` is told, by a plugin that says so.
fn told_of(client: &mut Client, room: &str) -> Value {
    told(&client.refused("JOIN_ROOM_FAILED", "join-room", json!({"conversationId": room})))
}

// Chains

/// What one link does with every question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Allow,
    Deny,
    Abstain,
    /// It fails, and must not.
    Closed,
    /// It fails, and may.
    Open,
}

const ALL: [Says; 5] = [Says::Allow, Says::Deny, Says::Abstain, Says::Closed, Says::Open];

/// Every chain of so many links.
fn chains(links: usize) -> Vec<Vec<Says>> {
    (0..links).fold(vec![Vec::new()], |chains, _| {
        let longer = |chain: Vec<Says>| ALL.map(|last| [chain.clone(), vec![last]].concat());
        chains.into_iter().flat_map(longer).collect()
    })
}

/// A link by its place in the chain.
fn name(place: usize) -> String {
    format!("link{place}")
}

fn link(place: usize, says: Says) -> Plugin {
    let act = |allow: &'static str| match says {
        Says::Allow => allow,
        Says::Deny => "deny",
        Says::Abstain => "abstain",
        Says::Closed | Says::Open => "error",
    };
    let config = json!({
        "authenticate": act("replace-subject"), "refresh": act("allow"), "authorize": act("allow"), "subject": name(place),
    });
    let on_failure = if says == Says::Open { OnFailure::Open } else { OnFailure::Closed };
    Plugin { on_failure, ..obedient(&name(place), config) }
}

/// What the manual says of a chain: who decides, and what.
#[derive(Debug, PartialEq, Eq)]
enum Decides {
    Allows(String),
    Denies(String),
    Fails(String),
    /// Nobody does, and of those that were asked somebody abstained.
    Nobody,
    /// Nobody was there to ask, or it is as if nobody was.
    NobodyIsThere,
}

fn decides(chain: &[Says]) -> Decides {
    let mut nobody = Decides::NobodyIsThere;
    for (place, says) in chain.iter().enumerate() {
        match says {
            Says::Allow => return Decides::Allows(name(place)),
            Says::Deny => return Decides::Denies(name(place)),
            Says::Closed => return Decides::Fails(name(place)),
            Says::Abstain => nobody = Decides::Nobody,
            Says::Open => {}
        }
    }
    nobody
}

/// Asserts that an answer refuses for this chain's reason.
fn refuses(answer: &Value, code: &str, expected: &Decides, chain: &[Says]) {
    let data = &answer["data"];
    let found = (data["code"].as_str(), data["plugin"].as_str(), data["reason"].as_str());
    let expected = match expected {
        Decides::Denies(plugin) => (Some(code), Some(plugin.as_str()), Some("as_told")),
        Decides::Fails(plugin) => (Some("POLICY_UNAVAILABLE"), Some(plugin.as_str()), None),
        _ => (Some(code), None, None),
    };
    assert_eq!(found, expected, "{chain:?}: {answer}");
}

/// In-band and at the handshake, with a token that is good and one that only a plugin could know.
fn check_authenticate(server: &TestServer, chain: &[Says]) {
    let expected = decides(chain);
    for (token, known) in [(Token::of("bob").sign(), true), ("opaque".to_owned(), false)] {
        let user = match &expected {
            Decides::Allows(link) => Some(link.as_str()),
            Decides::Nobody | Decides::NobodyIsThere if known => Some("bob"),
            _ => None,
        };
        let mut client = server.connect();
        let answer = client.call("auth", json!({"token": token}));
        let (joined, response) = server.handshake().bearer(&token).attempt();
        if let Some(user) = user {
            assert_eq!(
                (&answer["event"], &answer["data"]["userId"]),
                (&json!("auth-success"), &json!(user)),
                "{chain:?}"
            );
            assert_eq!(joined.expect("it is let in").push("auth-success")["userId"], user, "{chain:?}");
            continue;
        }
        refuses(&answer, "AUTH_FAILED", &expected, chain);
        if let Decides::Fails(_) = expected {
            assert_eq!(answer["data"]["retryable"], true);
            assert_eq!((response.status, response.header("retry-after").is_some()), (503, true), "{chain:?}");
            client.is_alive();
        } else {
            assert_eq!(response.status, 401, "{chain:?}");
            client.closed(4001);
        }
    }
}

fn check_refresh(ann: &mut Client, chain: &[Says]) {
    let expected = decides(chain);
    let answer = ann.call("auth", json!({"token": Token::of("ann").sign()}));
    match &expected {
        Decides::Allows(_) | Decides::Nobody | Decides::NobodyIsThere => {
            assert_eq!(answer["event"], "auth-success", "{chain:?}: {answer}");
        }
        _ => refuses(&answer, "AUTH_FAILED", &expected, chain),
    }
    ann.is_alive();
}

fn check_authorize(ann: &mut Client, chain: &[Says], when_all_abstain: AllAbstain) {
    let expected = decides(chain);
    let answer = ann.call("join-room", json!({"conversationId": "lobby"}));
    let allowed = match &expected {
        Decides::Allows(_) | Decides::NobodyIsThere => true,
        Decides::Nobody => when_all_abstain == AllAbstain::Allow,
        _ => false,
    };
    if allowed {
        assert_eq!(answer["event"], "room-joined", "{chain:?}: {answer}");
        ann.leave("lobby");
    } else if expected == Decides::Nobody {
        let data = &answer["data"];
        assert_eq!((&data["code"], &data["reason"]), (&json!("JOIN_ROOM_FAILED"), &json!("not_allowed")), "{chain:?}");
        assert_eq!(data.get("plugin"), None, "{answer}");
    } else {
        refuses(&answer, "JOIN_ROOM_FAILED", &expected, chain);
    }
}

/// Every chain of so many links, one after the other in force on the same server.
fn check_chains(links: usize) {
    let server = server(Vec::new());
    let mut ann = server.user("ann");
    for chain in chains(links) {
        let plugins = chain.iter().enumerate().map(|(place, says)| link(place, *says)).collect();
        let mut config = with_plugins(plugins);
        server.reload(config.clone());
        check_authenticate(&server, &chain);
        check_refresh(&mut ann, &chain);
        check_authorize(&mut ann, &chain, AllAbstain::Deny);
        config.auth.when_all_abstain = AllAbstain::Allow;
        if decides(&chain) == Decides::Nobody {
            server.reload(config);
            check_authorize(&mut ann, &chain, AllAbstain::Allow);
        }
    }
}

#[test]
fn one_link_decides_as_the_manual_says() {
    check_chains(1);
}

#[test]
fn two_links_decide_as_the_manual_says() {
    check_chains(2);
}

#[test]
fn three_links_decide_as_the_manual_says() {
    check_chains(3);
}

#[test]
fn only_who_has_a_say_is_asked() {
    let quiet =
        || obedient("quiet", json!({"authorize": "deny", "interest": {"rooms": ["strict-*"], "events": ["join"]}}));
    let server =
        server(vec![quiet(), obedient("after", json!({"authorize": "allow", "interest": {"rooms": ["lax"]}}))]);
    let mut ann = server.user("ann");
    for room in ["lax", "nobody-s"] {
        ann.join(room);
        ann.say(room, "hello");
    }
    let refusal = ann.refused("JOIN_ROOM_FAILED", "join-room", json!({"conversationId": "strict-1"}));
    assert_eq!((&refusal["plugin"], &refusal["reason"]), (&json!("quiet"), &json!("as_told")));
    assert_eq!(server.calls("quiet", "authorize", "deny"), 1.0);
    assert_eq!(server.calls("after", "authorize", "allow"), 2.0);
    // What is asked about no room matches every pattern, where all events are wanted.
    assert_eq!(server.calls("quiet", "authenticate", "abstain"), 0.0);
    assert_eq!(server.calls("after", "authenticate", "abstain"), 1.0);
}

#[test]
fn failures_may_be_judged_differently_by_hook() {
    let mut failing = obedient("p", json!({"authenticate": "error", "authorize": "error"}));
    failing.on_failure_of.insert(stentor::config::Hook::Authenticate, OnFailure::Open);
    let server = server(vec![failing]);
    let mut ann = server.user("ann");
    let refusal = ann.refused("POLICY_UNAVAILABLE", "join-room", json!({"conversationId": "lobby"}));
    assert_eq!((&refusal["plugin"], &refusal["retryable"]), (&json!("p"), &json!(true)));
    assert_eq!((server.calls("p", "authenticate", "error"), server.calls("p", "authorize", "error")), (1.0, 1.0));
}

// The built-in check

/// A token that has expired.
fn expired() -> String {
    Token::of("ann").expires_in_ms(-1_000).sign()
}

#[test]
fn the_built_in_check_is_last_unless_it_is_given_a_place() {
    let strict = || obedient("strict", json!({"authenticate": "deny"}));
    let server = server(vec![strict()]);
    assert_eq!(server.handshake().bearer(&Token::of("ann").sign()).refused().status, 401);
    server.reload(with_plugins(vec![builtin(), strict()]));
    server.user("ann");
    assert_eq!(server.calls("strict", "authenticate", "deny"), 1.0, "the check has decided before");
    // What it does not know may be known to the next.
    let mut client = server.connect();
    assert_eq!(client.refused("AUTH_FAILED", "auth", json!({"token": "opaque"}))["plugin"], "strict");
    client.closed(4001);
    // A token of ours that is bad is bad.
    let mut client = server.connect();
    client.refused("TOKEN_EXPIRED", "auth", json!({"token": expired()}));
    client.closed(4002);
    assert_eq!(server.calls("strict", "authenticate", "deny"), 2.0);
}

#[test]
fn a_plugin_before_the_check_may_take_a_token_that_the_check_refuses() {
    let lenient = obedient("lenient", json!({"authenticate": "replace-subject", "subject": "guest"}));
    let server = server(vec![lenient]);
    let mut client = server.connect();
    assert_eq!(client.reply_named("auth-success", "auth", json!({"token": expired()}))["userId"], "guest");
}

#[test]
fn a_plugin_adds_to_what_a_token_says() {
    let adds = obedient(
        "adds",
        json!({"authenticate": "add-attributes", "attributes": {"team": "red"}, "authorize": "tell", "tell": ["team", "role"]}),
    );
    let server = server(vec![adds]);
    let token = Token::of("ann").claim("role", json!(["member", "editor"]));
    let mut ann = server.with_token(&token, json!({}));
    assert_eq!(ann.success["userId"], "ann");
    assert!(ann.success["expiresAt"].is_u64(), "the token's end stays the connection's");
    let told = told_of(&mut ann, "lobby");
    assert_eq!((&told["subject"], &told["action"], &told["room"]), (&json!("ann"), &json!("join"), &json!("lobby")));
    assert_eq!(told["attributes"], json!({"role": ["member", "editor"], "team": ["red"]}));
    // A new token is what counts from then on. Nobody adds to it: `refresh` abstains.
    ann.reply_named("auth-success", "auth", json!({"token": Token::of("ann").claim("role", "guest").sign()}));
    assert_eq!(told_of(&mut ann, "lobby")["attributes"], json!({"role": ["guest"]}));
}

#[test]
fn a_plugin_replaces_who_the_token_speaks_for() {
    let replaces = obedient("p", json!({"authenticate": "replace-subject", "subject": "carl"}));
    let server = server(vec![replaces]);
    let mut carl = server.with_token(&Token::of("ann"), json!({}));
    assert_eq!(carl.success["userId"], "carl");
    // `refresh` abstains, so the token speaks for itself: another user's.
    carl.refused("FORBIDDEN", "auth", json!({"token": Token::of("ann").sign()}));
    carl.reply_named("auth-success", "auth", json!({"token": Token::of("carl").sign()}));
}

#[test]
fn a_plugin_says_when_a_connection_ends() {
    let server = server(vec![obedient("p", json!({"authenticate": "allow", "expires_at": 4_102_444_800_000_u64}))]);
    assert_eq!(server.user("ann").success["expiresAt"], 4_102_444_800_000_u64);
    server.reload(with_plugins(vec![obedient("p", json!({"authenticate": "allow", "expires_at": 1}))]));
    let mut client = server.connect();
    client.reply_named("auth-success", "auth", json!({"token": Token::of("ann").sign()}));
    client.closed(4002);
}

#[test]
fn a_plugin_narrows_who_is_let_in() {
    let narrow = json!({"authenticate": "narrow", "refresh": "narrow", "attributes": {"role": "staff"}});
    let server = server(vec![obedient("staff-only", narrow)]);
    let staff = Token::of("ann").claim("role", json!(["member", "staff"]));
    let mut ann = server.with_token(&staff, json!({}));
    let mut eve = server.connect();
    let token = Token::of("eve").claim("role", "member").sign();
    let refusal = eve.refused("AUTH_FAILED", "auth", json!({"token": token}));
    assert_eq!(
        (&refusal["plugin"], &refusal["reason"], &refusal["retryable"]),
        (&json!("staff-only"), &json!("as_told"), &json!(false))
    );
    eve.closed(4001);
    let response = server.handshake().bearer(&token).refused();
    assert_eq!((response.status, response.header("www-authenticate")), (401, Some("Bearer")));
    // A connection that lives goes on with the token that it had.
    let worse = Token::of("ann").claim("role", "member").sign();
    assert_eq!(ann.refused("AUTH_FAILED", "auth", json!({"token": worse}))["plugin"], "staff-only");
    ann.is_alive();
}

#[test]
fn a_token_that_only_a_plugin_knows_is_enough() {
    let server =
        server(vec![obedient("devices", json!({"authenticate": "allow-only-token", "refresh": "allow-only-token"}))]);
    let mut device = server.connect();
    assert_eq!(device.reply_named("auth-success", "auth", json!({"token": "opaque-17"}))["userId"], "opaque-17");
    device.reply_named("auth-success", "auth", json!({"token": "opaque-17"}));
    device.refused("FORBIDDEN", "auth", json!({"token": "opaque-18"}));
    let mut device = server.handshake().bearer("opaque-19").upgrade();
    assert_eq!(device.push("auth-success")["userId"], "opaque-19");
    server.user("ann");
    assert_eq!(server.handshake().bearer("unknown").refused().status, 401);
}

#[test]
fn without_a_link_that_says_yes_the_answer_is_no() {
    let server = server(vec![obedient("p", json!({}))]);
    let mut client = server.connect();
    let refusal = client.refused("AUTH_FAILED", "auth", json!({"token": "opaque"}));
    assert_eq!((refusal.get("plugin"), refusal.get("reason")), (None, None));
    client.closed(4001);
    assert_eq!(server.calls("p", "authenticate", "abstain"), 1.0);
}

// Headers

fn shown(headers: &[&str], plugin: Plugin) -> Config {
    let headers = headers.iter().map(|name| (*name).to_owned()).collect();
    with_plugins(vec![Plugin { headers, ..plugin }])
}

#[test]
fn a_header_is_enough_where_a_plugin_says_so() {
    let echo = obedient("p", json!({"authenticate": "echo", "subject": "by-header", "authorize": "tell"}));
    let server = TestServer::start(shown(&["x-device"], echo));
    let mut device = server.handshake().add("X-Device", "17").add("X-Other", "1").upgrade();
    assert_eq!(device.push("auth-success")["userId"], "by-header");
    let attributes = told_of(&mut device, "lobby")["attributes"].clone();
    assert_eq!(attributes["echo.header.x-device"], json!(["17"]));
    assert_eq!(attributes["echo.address"], json!(["127.0.0.1"]));
    assert_eq!((attributes.get("echo.header.x-other"), attributes.get("echo.token")), (None, None));
    // Who brings nothing to be judged by is nobody yet, and nobody is asked.
    let calls = server.calls("p", "authenticate", "allow");
    server.connect().refused("NOT_AUTHENTICATED", "join-room", json!({"conversationId": "lobby"}));
    assert_eq!(server.calls("p", "authenticate", "allow"), calls);
}

#[test]
fn what_a_handshake_said_is_known_when_the_token_comes() {
    let tells = obedient("p", json!({"authenticate": "tell", "trigger": true}));
    let server = TestServer::start(shown(&["x-device", "x-tenant"], tells));
    let handshake =
        server.handshake().add("X-Device", "17").add("x-device", "18").add("X-Tenant", "t").add("X-Other", "1");
    // Without a token the plugin abstains, and the client may still bring one.
    let mut client = handshake.upgrade();
    let in_band = told(&client.refused("AUTH_FAILED", "auth", json!({"token": "trigger"})));
    client.closed(4001);
    assert_eq!(in_band["headers"], json!({"x-device": ["17", "18"], "x-tenant": ["t"]}));
    assert_eq!((&in_band["hook"], &in_band["token"]), (&json!("authenticate"), &json!("trigger")));
    assert_eq!((&in_band["address"], &in_band["verified"]), (&json!("127.0.0.1"), &Value::Null));
    assert_eq!(server.calls("p", "authenticate", "abstain"), 1.0, "asked at the handshake too");
}

#[test]
fn a_plugin_may_refuse_a_handshake_without_a_token() {
    let server = TestServer::start(shown(&["x-device"], obedient("p", json!({"authenticate": "deny"}))));
    assert_eq!(server.handshake().add("X-Device", "17").refused().status, 401);
    server.reload(shown(&["x-device"], obedient("p", json!({"authenticate": "error"}))));
    let response = server.handshake().add("X-Device", "17").refused();
    assert_eq!((response.status, response.header("retry-after").is_some()), (503, true));
    // No header that somebody wants to see, so nobody is asked.
    server.connect().is_alive();
}
