//! The bundled access list: rooms of one's own, rights by what a token says, and nothing for anybody else.

use serde_json::{Value, json};
use stentor::config::{Config, Plugin};

use crate::common::{Client, TestServer, Token, with_plugins};

/// Rooms of two, rooms of teams, the news that everybody reads, and nothing else.
fn rules() -> Value {
    json!([
        {"rooms": ["dm:{userId}:*", "dm:*:{userId}"]},
        {"rooms": ["team:{team}", "team:{team}:*"], "edit": ["lead-of=*"], "delete": ["role=moderator", "lead-of=*"]},
        {"rooms": ["dm:*", "team:*"], "join": "nobody", "send": "nobody", "history": "nobody", "presence": "nobody"},
        {"rooms": ["news"], "send": ["role=editor", "{userId}=ann"], "presence": ["role=editor"]},
    ])
}

fn with_rules(rules: &Value) -> Config {
    let config = json!({"rules": rules, "cache_seconds": 300});
    let acl = Plugin { config: config.as_object().unwrap().clone(), ..Plugin::new("acl", "bundled:room-acl") };
    with_plugins(vec![Plugin { wait_ms_max: 60_000, call_ms_max: 500, ..acl }])
}

fn server() -> TestServer {
    TestServer::start(with_rules(&rules()))
}

/// A connection of a user of whom the token says this.
fn person(server: &TestServer, user: &str, claims: &[(&str, Value)]) -> Client {
    let token = claims.iter().fold(Token::of(user), |token, (name, value)| token.claim(name, value.clone()));
    server.with_token(&token, json!({}))
}

fn in_room(room: &str) -> Value {
    json!({"conversationId": room, "content": "hello"})
}

/// Asserts that the list refuses something.
fn refused(client: &mut Client, code: &str, event: &str, data: Value) {
    let refusal = client.refused(code, event, data);
    assert_eq!((&refusal["plugin"], &refusal["reason"]), (&json!("acl"), &json!("not_allowed")), "{refusal}");
    assert!(refusal["message"].as_str().unwrap().starts_with("You may not "), "{refusal}");
}

fn may_not_join(client: &mut Client, room: &str) {
    refused(client, "JOIN_ROOM_FAILED", "join-room", in_room(room));
}

#[test]
fn s1_86_rooms_of_two_are_for_the_two() {
    let server = server();
    let (mut ann, mut bob, mut eve) = (server.user("ann"), server.user("bob"), server.user("eve"));
    ann.join("dm:ann:bob");
    bob.join("dm:ann:bob");
    bob.say("dm:ann:bob", "hello");
    assert_eq!(ann.message()["content"], "hello");
    may_not_join(&mut eve, "dm:ann:bob");
    refused(&mut eve, "FORBIDDEN", "history", in_room("dm:ann:bob"));
    refused(&mut eve, "FORBIDDEN", "get-online-users", in_room("dm:ann:bob"));
    // Membership is looked at first, so the list is not asked.
    eve.refused("NOT_A_MEMBER", "send-message", in_room("dm:ann:bob"));
    // Another's id in a claim makes nobody another.
    let mut forger = person(&server, "eve", &[("userId", json!("ann")), ("{userId}", json!("ann"))]);
    may_not_join(&mut forger, "dm:ann:bob");
    for user in ["an", "anna", "bo"] {
        may_not_join(&mut server.user(user), "dm:ann:bob");
    }
}

#[test]
fn rooms_of_a_team_are_for_whoever_has_the_attribute() {
    let server = server();
    let mut ann = person(&server, "ann", &[("team", json!(["red", "blue"]))]);
    let mut bob = person(&server, "bob", &[("team", json!("red"))]);
    for room in ["team:red", "team:blue", "team:blue:plans"] {
        ann.join(room);
    }
    bob.join("team:red");
    for room in ["team:blue", "team:blue:plans", "team:re", "team:reds", "team:"] {
        may_not_join(&mut bob, room);
    }
    may_not_join(&mut server.user("cid"), "team:red");
}

#[test]
fn moderators_delete_what_others_wrote() {
    let server = server();
    let team = ("team", json!("red"));
    let mut ann = person(&server, "ann", std::slice::from_ref(&team));
    let mut moderator = person(&server, "mo", &[team.clone(), ("role", json!(["member", "moderator"]))]);
    let mut lead = person(&server, "lea", &[team, ("lead-of", json!("red"))]);
    for client in [&mut ann, &mut moderator, &mut lead] {
        client.join("team:red");
    }
    let mut ids = (0..3).map(|number| ann.say("team:red", number)["messageId"].clone());
    let message = |id: &Value| json!({"conversationId": "team:red", "messageId": id, "content": "changed"});
    let (first, second, third) = (ids.next().unwrap(), ids.next().unwrap(), ids.next().unwrap());
    drop(ids);
    // Moderators may delete, leads may edit too.
    refused(&mut moderator, "FORBIDDEN", "edit-message", message(&first));
    moderator.ok("delete-message", message(&first));
    lead.ok("edit-message", message(&second));
    lead.ok("delete-message", message(&second));
    assert_eq!(ann.push_after_others("message-deleted")["messageId"], first);
    assert_eq!(ann.push_after_others("message-edited")["messageId"], second);
    // Everybody has their own.
    ann.ok("edit-message", message(&third));
    let of_lead = lead.say("team:red", "mine")["messageId"].clone();
    refused(&mut ann, "FORBIDDEN", "delete-message", message(&of_lead));
    refused(&mut ann, "FORBIDDEN", "edit-message", message(&of_lead));
    ann.ok("delete-message", message(&third));
}

#[test]
fn the_news_are_read_by_all_and_written_by_some() {
    let server = server();
    let mut editor = person(&server, "ed", &[("role", json!("editor"))]);
    let (mut ann, mut bob) = (server.user("ann"), server.user("bob"));
    let joined = bob.join("news");
    for client in [&mut editor, &mut ann] {
        client.join("news");
        client.say("news", "read this");
        assert_eq!(bob.message()["content"], "read this");
    }
    refused(&mut bob, "FORBIDDEN", "send-message", in_room("news"));
    refused(&mut bob, "FORBIDDEN", "get-online-users", in_room("news"));
    assert_eq!(bob.history(in_room("news"))["messages"].as_array().unwrap().len(), 2);
    let since = json!({"epoch": joined["epoch"], "seq": joined["seq"]});
    assert_eq!(bob.join_since("news", since)["recovered"], true);
    assert_eq!(editor.online("news"), ["ann", "bob", "ed"]);
}

#[test]
fn a_room_without_a_rule_is_nobodys() {
    let server = server();
    let mut ann = server.user("ann");
    for room in ["lobby", "newsroom", "News", "d", "team"] {
        let refusal = ann.refused("JOIN_ROOM_FAILED", "join-room", in_room(room));
        assert_eq!((refusal.get("plugin"), &refusal["reason"]), (None, &json!("not_allowed")), "{room}");
    }
    // Unless the operator says otherwise.
    let mut config = with_rules(&rules());
    config.auth.when_all_abstain = stentor::config::AllAbstain::Allow;
    server.reload(config);
    ann.join("lobby");
    may_not_join(&mut ann, "dm:bob:cid");
}

#[test]
fn a_new_token_is_a_new_list_of_rights() {
    let server = server();
    let mut ann = server.user("ann");
    may_not_join(&mut ann, "team:red");
    ann.reply_named("auth-success", "auth", json!({"token": Token::of("ann").claim("team", "red").sign()}));
    ann.join("team:red");
    ann.say("team:red", "hello");
    ann.reply_named("auth-success", "auth", json!({"token": Token::of("ann").claim("team", "blue").sign()}));
    refused(&mut ann, "FORBIDDEN", "send-message", in_room("team:red"));
    may_not_join(&mut ann, "team:red");
}

#[test]
fn a_new_list_is_in_force_at_once() {
    let server = server();
    let mut ann = server.user("ann");
    ann.join("news");
    ann.say("news", "hello");
    server.reload(with_rules(&json!([{"rooms": ["*"], "send": "nobody"}])));
    refused(&mut ann, "FORBIDDEN", "send-message", in_room("news"));
    server.reload(with_rules(&json!([{"rooms": ["*"]}])));
    ann.say("news", "hello again");
}
