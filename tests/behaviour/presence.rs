//! Presence: who is there, how available, and who is told.

use serde_json::{Value, json};

use crate::common::{Client, TestServer, config, until};

/// A server that holds nobody to be there who is not.
fn server(shards: usize) -> TestServer {
    with_grace(shards, 0)
}

fn with_grace(shards: usize, grace_ms: u64) -> TestServer {
    let mut config = config();
    config.shards = shards;
    config.timing.presence_grace_ms = grace_ms;
    TestServer::start(config).explicit()
}

fn statuses(client: &mut Client, event: &str, users: &[&str]) -> Vec<Value> {
    let answer = client.reply_named("presence-status", event, json!({"userIds": users}));
    answer["users"].as_array().unwrap().clone()
}

fn status(client: &mut Client, user: &str) -> Value {
    statuses(client, "get-presence", &[user])[0]["status"].clone()
}

/// The next that a client is told of how available someone is; other pushes are passed over.
fn told(client: &mut Client) -> (String, String) {
    let data = client.push_after_others("presence");
    (data["userId"].as_str().unwrap().to_owned(), data["status"].as_str().unwrap().to_owned())
}

fn is(user: &str, status: &str) -> (String, String) {
    (user.to_owned(), status.to_owned())
}

/// Asserts that a client was told nothing of anybody, up to now.
fn told_nothing(client: &mut Client) {
    client.barrier("lobby");
    while client.has_mail() {
        let message = client.next();
        assert_ne!(message["event"], "presence", "{message}");
    }
}

#[test]
fn s1_3_s1_16_s1_31_s1_44_s1_91_s2_7_members_are_told_how_available_each_other_is() {
    for shards in [1, 3] {
        let server = server(shards);
        let (mut ann, mut bob) = (server.member("ann", "lobby"), server.member("bob", "lobby"));
        let mut stranger = server.member("eve", "elsewhere");
        for status in ["away", "busy", "dnd", "offline", "online"] {
            bob.ok("presence-update", json!({"status": status}));
            let data = ann.push_after_others("presence");
            assert_eq!((&data["userId"], &data["status"]), (&json!("bob"), &json!(status)), "{data}");
            assert!(data["lastSeenAt"].is_u64() && data.get("text").is_none(), "{data}");
        }
        told_nothing(&mut stranger);
        told_nothing(&mut bob);
    }
}

#[test]
fn s2_31_s2_32_there_are_short_names_for_being_there_and_not() {
    let server = server(2);
    let (mut ann, mut bob) = (server.member("ann", "lobby"), server.member("bob", "lobby"));
    for (event, data, expected) in [
        ("user-offline", Value::Null, "offline"),
        ("user-online", Value::Null, "online"),
        ("presence-update", json!("away"), "away"),
        ("user-offline", json!({}), "offline"),
    ] {
        bob.ok(event, data);
        assert_eq!(told(&mut ann), is("bob", expected));
    }
}

#[test]
fn a_word_of_the_users_own_goes_with_it() {
    let server = server(2);
    let (mut ann, mut bob) = (server.member("ann", "lobby"), server.member("bob", "lobby"));
    bob.ok("presence-update", json!({"status": "busy", "text": "in a meeting"}));
    let data = ann.push_after_others("presence");
    assert_eq!((&data["status"], &data["text"]), (&json!("busy"), &json!("in a meeting")));
    // Another word is news, too; none takes it back.
    bob.ok("presence-update", json!({"status": "busy", "text": "at lunch"}));
    assert_eq!(ann.push_after_others("presence")["text"], "at lunch");
    bob.ok("presence-update", json!({"status": "busy", "text": ""}));
    assert_eq!(ann.push_after_others("presence").get("text"), None);
}

#[test]
fn s2_33_s2_44_anybody_may_be_asked_for() {
    for shards in [1, 3] {
        let server = server(shards);
        let mut ann = server.user("ann");
        let mut bob = server.user("bob");
        bob.ok("presence-update", json!({"status": "dnd", "text": "shh"}));
        let found = statuses(&mut ann, "get-presence", &["nobody", "bob", "ann", "bob"]);
        let names: Vec<&Value> = found.iter().map(|user| &user["userId"]).collect();
        assert_eq!(names, ["nobody", "bob", "ann"], "as asked, each once");
        assert_eq!(found[0], json!({"userId": "nobody", "status": "offline", "lastSeenAt": null}));
        assert_eq!((&found[1]["status"], &found[1]["text"]), (&json!("dnd"), &json!("shh")));
        assert_eq!((&found[2]["status"], found[2]["lastSeenAt"].is_u64()), (&json!("online"), true));
        assert!(statuses(&mut ann, "get-presence", &[]).is_empty());
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let server = server(1);
    let mut ann = server.user("ann");
    let many: Vec<String> = (0..501).map(|number| format!("u{number}")).collect();
    for (event, data) in [
        ("presence-update", json!("asleep")),
        ("presence-update", json!({"status": "Online"})),
        ("presence-update", json!({})),
        ("presence-update", Value::Null),
        ("presence-update", json!({"status": "away", "text": "x".repeat(201)})),
        ("presence-update", json!({"status": "away", "text": "a\u{7}b"})),
        ("get-presence", json!({"userIds": "ann"})),
        ("get-presence", json!({"userIds": ["a*"]})),
        ("get-presence", json!(["ann"])),
        ("get-presence", json!({"userIds": many})),
        ("subscribe-presence", json!({"userIds": many})),
        ("subscribe-presence", Value::Null),
        ("unsubscribe-presence", json!({"userIds": [1]})),
    ] {
        ann.refused("INVALID_PAYLOAD", event, data);
    }
    assert_eq!(statuses(&mut ann, "get-presence", &[many[0].as_str(); 500]).len(), 1);
}

#[test]
fn s2_34_s2_17_subscribers_are_told_wherever_they_are() {
    for shards in [1, 3] {
        let server = server(shards);
        let mut ann = server.user("ann");
        let snapshot = statuses(&mut ann, "subscribe-presence", &["bob", "cid"]);
        assert!(snapshot.iter().all(|user| user["status"] == "offline"), "{snapshot:?}");
        let mut bob = server.user("bob");
        assert_eq!(told(&mut ann), is("bob", "online"));
        bob.ok("presence-update", json!("away"));
        assert_eq!(told(&mut ann), is("bob", "away"));
        bob.close();
        assert_eq!(told(&mut ann), is("bob", "offline"));
        ann.ok("unsubscribe-presence", json!({"userIds": ["bob"]}));
        let _bob = server.user("bob");
        let _cid = server.user("cid");
        assert_eq!(told(&mut ann), is("cid", "online"), "and nothing of bob before");
    }
}

#[test]
fn whoever_shares_several_rooms_and_subscribed_is_told_once() {
    let server = server(3);
    let mut ann = server.member("ann", "lobby");
    let mut bob = server.member("bob", "lobby");
    for room in ["a", "b", "c"] {
        ann.join(room);
        bob.join(room);
    }
    statuses(&mut ann, "subscribe-presence", &["bob"]);
    bob.ok("presence-update", json!("away"));
    assert_eq!(told(&mut ann), is("bob", "away"));
    // The next news comes when the moment is over, so all of the first have come by then.
    bob.ok("presence-update", json!("busy"));
    assert_eq!(told(&mut ann), is("bob", "busy"));
    told_nothing(&mut ann);
}

#[test]
fn s1_17_a_user_is_as_available_as_the_most_available_device() {
    let server = server(3);
    let mut ann = server.member("ann", "lobby");
    let mut phone = server.device("bob", json!({"deviceId": "phone"}));
    phone.join("lobby");
    let mut laptop = server.device("bob", json!({"deviceId": "laptop", "presence": "away"}));
    assert_eq!(status(&mut ann, "bob"), "online");
    for (said, expected) in [("away", "away"), ("offline", "away"), ("dnd", "dnd"), ("busy", "busy")] {
        phone.ok("presence-update", json!(said));
        assert_eq!(status(&mut ann, "bob"), expected);
    }
    laptop.ok("presence-update", json!("online"));
    assert_eq!(status(&mut ann, "bob"), "online");
    laptop.close();
    until("the other device is what is left", || (status(&mut ann, "bob") == "busy").then_some(()));
    phone.close();
    until("nobody is there", || (status(&mut ann, "bob") == "offline").then_some(()));
}

#[test]
fn a_connection_may_come_without_being_seen() {
    let server = server(2);
    let mut ann = server.member("ann", "lobby");
    server.member("bob", "lobby").close();
    while told(&mut ann) != is("bob", "offline") {}
    let mut bob = server.device("bob", json!({"presence": "offline"}));
    assert_eq!(status(&mut ann, "bob"), "offline");
    told_nothing(&mut ann);
    bob.ok("user-online", Value::Null);
    assert_eq!(told(&mut ann), is("bob", "online"));
}

#[test]
fn s1_18_whoever_comes_back_at_once_was_never_gone() {
    for shards in [1, 3] {
        let server = with_grace(shards, 600_000);
        let mut ann = server.member("ann", "lobby");
        server.member("bob", "lobby").close();
        while ann.has_mail() {
            ann.next();
        }
        for _ in 0..5 {
            until("bob's connection is gone", || {
                let online = ann.reply_named("online-users", "get-online-users", json!("lobby"));
                (online["users"] == json!(["ann"])).then_some(())
            });
            assert_eq!(status(&mut ann, "bob"), "online");
            server.user("bob").close();
        }
        told_nothing(&mut ann);
    }
}

#[test]
fn s1_18_s2_16_whoever_does_not_come_back_is_offline_after_a_grace() {
    let server = with_grace(3, 50);
    let mut ann = server.member("ann", "lobby");
    let bob = server.member("bob", "lobby");
    let before = ann.reply_named("heartbeat-ack", "heartbeat", Value::Null)["at"].as_u64().unwrap();
    bob.close();
    let data = ann.push_after_others("presence");
    let data = if data["status"] == "online" { ann.push_after_others("presence") } else { data };
    assert_eq!(data["status"], "offline");
    assert!(data["lastSeenAt"].as_u64().unwrap() >= before, "{data}");
    assert_eq!(statuses(&mut ann, "get-presence", &["bob"])[0]["lastSeenAt"], data["lastSeenAt"]);
}

#[test]
fn what_comes_and_goes_within_a_moment_is_not_told() {
    let server = server(2);
    let (mut ann, mut bob) = (server.member("ann", "lobby"), server.member("bob", "lobby"));
    while ann.has_mail() {
        ann.next();
    }
    for _ in 0..100 {
        bob.ok("presence-update", json!("away"));
        bob.ok("presence-update", json!("online"));
    }
    bob.ok("presence-update", json!("dnd"));
    let mut pushes = 0;
    while told(&mut ann).1 != "dnd" {
        pushes += 1;
    }
    assert!(pushes < 100, "{pushes} pushes of 201 changes");
}

#[test]
fn s2_41_s2_42_s2_44_the_conversation_dialect_has_names_of_its_own() {
    let server = server(2);
    let mut ann = server.device("ann", json!({"dialect": "conversation"}));
    ann.join("lobby");
    let mut bob = server.member("bob", "lobby");
    for (status, event) in [
        ("offline", "user-offline"),
        ("online", "user-online"),
        ("away", "presence-status"),
        ("busy", "presence-status"),
        ("dnd", "presence-status"),
    ] {
        bob.ok("presence-update", json!(status));
        let data = ann.push_after_others(event);
        assert_eq!((&data["userId"], &data["status"]), (&json!("bob"), &json!(status)));
    }
}

#[test]
fn a_users_own_devices_are_told_if_they_want_to_be() {
    let server = server(2);
    let (mut phone, mut laptop) = (server.member("ann", "lobby"), server.user("ann"));
    statuses(&mut laptop, "subscribe-presence", &["ann"]);
    phone.ok("presence-update", json!("offline"));
    laptop.ok("presence-update", json!("away"));
    assert_eq!(told(&mut laptop), is("ann", "away"));
    told_nothing(&mut phone);
}

#[test]
fn an_ended_connection_watches_nobody() {
    let server = server(2);
    let mut ann = server.user("ann");
    statuses(&mut ann, "subscribe-presence", &["bob", "cid"]);
    until("two are counted", || ((server.metric("stentor_presence_subscriptions") - 2.0).abs() < 0.5).then_some(()));
    ann.close();
    until("none is left", || (server.metric("stentor_presence_subscriptions").abs() < 0.5).then_some(()));
}
