//! Plugins: real components decide, and components that misbehave harm nobody.

use std::path::PathBuf;

use serde_json::{Value, json};
use stentor::StartError;
use stentor::config::{Config, OnFailure, Plugin};

use crate::common::{Client, Log, TestServer, config, plugin};

/// A component that does what it is told, when a message holds the text `trigger`.
fn misbehaving(name: &str, behaviour: &str) -> Plugin {
    plugin(name, "misbehaving.wasm", json!({"behaviour": behaviour}))
}

fn policy(name: &str, rules: Value) -> Plugin {
    plugin(name, "message-policy.wasm", rules)
}

fn with_plugins(shards: usize, plugins: Vec<Plugin>) -> Config {
    let mut config = config();
    config.shards = shards;
    config.plugins = plugins;
    config
}

fn server(plugins: Vec<Plugin>) -> TestServer {
    TestServer::start(with_plugins(2, plugins))
}

/// A server, somebody who sends and somebody who listens.
fn room(plugins: Vec<Plugin>) -> (TestServer, Client, Client) {
    let server = server(plugins);
    let mut ann = server.member("ann", "lobby");
    let bob = server.member("bob", "lobby");
    ann.push("member-joined");
    (server, ann, bob)
}

fn to_lobby(content: impl Into<Value>) -> Value {
    json!({"conversationId": "lobby", "content": content.into(), "noEcho": true})
}

/// Nothing was stored and nobody heard of it.
fn left_no_trace(ann: &mut Client, bob: &mut Client) {
    bob.nothing_came("lobby");
    assert_eq!(ann.history(json!("lobby"))["messages"], json!([]));
}

/// How often a plugin was called, by outcome.
fn calls(server: &TestServer, name: &str, outcome: &str) -> f64 {
    let body = server.admin("/metrics").body;
    let mine = |line: &&str| {
        line.starts_with("stentor_plugin_calls_total{")
            && line.contains(&format!("plugin=\"{name}\""))
            && line.contains(&format!("outcome=\"{outcome}\""))
    };
    body.lines().filter(mine).map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

// Verdicts

#[test]
fn a_refusal_is_told_with_the_plugins_own_code() {
    let (_server, mut ann, mut bob) = room(vec![policy("our-policy", json!({"words": ["heck"], "length_max": 20}))]);
    for (content, reason) in [("what the HECK", "forbidden_word"), ("much longer than is allowed", "too_long")] {
        let refusal = ann.refused("REJECTED", "send-message", to_lobby(content));
        assert_eq!(
            (&refusal["reason"], &refusal["plugin"], &refusal["retryable"]),
            (&json!(reason), &json!("our-policy"), &json!(false))
        );
        assert!(
            refusal["message"].as_str().is_some_and(|text| !text.is_empty() && !text.contains(content)),
            "{refusal}"
        );
    }
    left_no_trace(&mut ann, &mut bob);
    ann.post(to_lobby("well said"));
    assert_eq!(bob.push("message-new")["content"], "well said");
}

#[test]
fn a_filters_memory_is_told_from_its_first_call_on() {
    let server = server(vec![policy("remembered", json!({"words": ["heck"]}))]);
    server.member("ann", "lobby").say("lobby", "hello");
    assert!(server.plugin_metric("stentor_plugin_memory_bytes", "remembered") >= 65_536.0);
}

#[test]
fn the_policy_that_comes_with_the_server_is_found_by_name() {
    let mut bundled = policy("message-policy", json!({"types": ["text"]}));
    "bundled:message-policy".clone_into(&mut bundled.component);
    let (_server, mut ann, _bob) = room(vec![bundled]);
    let mut send = to_lobby(1);
    send["type"] = json!("video");
    assert_eq!(ann.refused("REJECTED", "send-message", send)["reason"], "type_not_allowed");
    ann.post(to_lobby("text"));
}

#[test]
fn a_refused_message_may_be_sent_again_in_other_words() {
    // A refusal is no answer to remember: the same `tempId` is not used up.
    let (_server, mut ann, mut bob) = room(vec![policy("p", json!({"words": ["heck"]}))]);
    let send = |content: &str| json!({"conversationId": "lobby", "content": content, "tempId": "t"});
    ann.refused("REJECTED", "send-message", send("heck"));
    assert_eq!(ann.post(send("well"))["duplicate"], false);
    assert_eq!(bob.push("message-new")["content"], "well");
}

#[test]
fn a_replacement_is_what_everybody_gets() {
    let (_server, mut ann, mut bob) = room(vec![policy("p", json!({"words": ["heck"], "words_action": "mask"}))]);
    let ack = ann.post(json!({"conversationId": "lobby", "content": {"text": "oh heck", "n": 1.0}, "type": "note", "tempId": "t", "replyTo": "r"}));
    assert_eq!((&ack["duplicate"], &ack["tempId"], ack["seq"].is_u64()), (&json!(false), &json!("t"), true));
    let pushed = bob.push("message-new");
    assert_eq!(pushed["content"]["text"], "oh ****");
    assert_eq!((&pushed["type"], &pushed["tempId"], &pushed["replyTo"]), (&json!("note"), &json!("t"), &json!("r")));
    assert_eq!(ann.message(), pushed);
    assert_eq!(ann.history(json!("lobby"))["messages"][0], pushed);
}

#[test]
fn a_discarded_message_is_acknowledged_and_gone() {
    let (server, mut ann, mut bob) = room(vec![misbehaving("p", "discard")]);
    for temp_id in ["a", "a", "b"] {
        let mut send = to_lobby("trigger");
        send["tempId"] = json!(temp_id);
        let ack = ann.post(send);
        assert_eq!((&ack["tempId"], &ack["conversationId"]), (&json!(temp_id), &json!("lobby")), "{ack}");
        assert_eq!((ack.get("seq"), ack.get("epoch")), (None, None), "{ack}");
        assert!(ack["sentAt"].is_u64());
    }
    ann.nothing_came("lobby");
    left_no_trace(&mut ann, &mut bob);
    // An edit too: nothing changes, and whoever edits is not told.
    let id = ann.post(to_lobby("first"))["messageId"].clone();
    bob.push("message-new");
    ann.ok("edit-message", json!({"conversationId": "lobby", "messageId": id, "content": "trigger"}));
    bob.nothing_came("lobby");
    assert_eq!(ann.history(json!("lobby"))["messages"][0]["content"], "first");
    assert_eq!(calls(&server, "p", "allow"), 5.0);
}

#[test]
fn edits_go_through_the_filters_too() {
    let (_server, mut ann, mut bob) = room(vec![policy("p", json!({"words": ["heck"]})), misbehaving("q", "replace")]);
    let id = ann.post(to_lobby("first"))["messageId"].clone();
    bob.push("message-new");
    let edit = |content: &str| json!({"conversationId": "lobby", "messageId": id, "content": content});
    assert_eq!(ann.refused("REJECTED", "edit-message", edit("heck"))["reason"], "forbidden_word");
    bob.nothing_came("lobby");
    assert_eq!(ann.ok("edit-message", edit("trigger"))["version"], 2);
    assert_eq!(bob.push("message-edited")["content"], "replaced");
    // A deletion says nothing that a filter could mind.
    ann.ok("delete-message", edit(""));
}

#[test]
fn a_plugin_is_told_who_where_and_what() {
    let (_server, mut ann, mut bob) = room(vec![misbehaving("p", "echo-subject")]);
    let id = ann.post(to_lobby("trigger"))["messageId"].clone();
    let told = bob.push("message-new")["content"].clone();
    assert_eq!(
        (&told["subject"], &told["room"], &told["event"]),
        (&json!("ann"), &json!("lobby"), &json!("message-new"))
    );
    ann.ok("edit-message", json!({"conversationId": "lobby", "messageId": id, "content": "trigger"}));
    let edited = bob.push("message-edited")["content"].clone();
    assert_eq!((&edited["subject"], &edited["event"]), (&json!("ann"), &json!("message-edited")));
    assert_eq!(edited["connection"], told["connection"]);
}

// Chains

#[test]
fn each_plugin_sees_what_the_one_before_left() {
    let replace = || misbehaving("replace", "replace");
    let words = || policy("words", json!({"words": ["replaced"]}));
    let (_server, mut ann, mut bob) = room(vec![replace(), words()]);
    let refusal = ann.refused("REJECTED", "send-message", to_lobby("trigger"));
    assert_eq!(refusal["plugin"], "words");
    left_no_trace(&mut ann, &mut bob);
    // The other way round there is nothing to mind yet.
    let (_server, mut ann, mut bob) = room(vec![words(), replace()]);
    ann.post(to_lobby("trigger"));
    assert_eq!(bob.push("message-new")["content"], "replaced");
}

#[test]
fn the_first_no_ends_the_chain() {
    for (first, answer) in [("reject", "error"), ("discard", "message-ack")] {
        let (server, mut ann, mut bob) = room(vec![misbehaving("first", first), misbehaving("second", "trap")]);
        assert_eq!(ann.call("send-message", to_lobby("trigger"))["event"], answer);
        left_no_trace(&mut ann, &mut bob);
        assert_eq!(
            ["allow", "deny", "error", "trap", "cpu_timeout"].map(|outcome| calls(&server, "second", outcome)),
            [0.0; 5]
        );
    }
}

#[test]
fn a_failure_that_is_open_leaves_the_rest_of_the_chain_to_decide() {
    let mut trap = misbehaving("trap", "trap");
    trap.on_failure = OnFailure::Open;
    let (_server, mut ann, mut bob) = room(vec![trap.clone(), misbehaving("no", "reject")]);
    let refusal = ann.refused("REJECTED", "send-message", to_lobby("trigger"));
    assert_eq!((&refusal["plugin"], &refusal["reason"]), (&json!("no"), &json!("as_told")));
    left_no_trace(&mut ann, &mut bob);
    let (_server, mut ann, mut bob) = room(vec![misbehaving("replace", "replace"), trap]);
    ann.post(to_lobby("trigger"));
    assert_eq!(bob.push("message-new")["content"], "replaced", "what was decided before holds");
}

// Failures

const FAILURES: [&str; 9] =
    ["trap", "panic", "loop", "grow", "recurse", "bad-replace", "bad-shape", "binary-replace", "huge-replace"];

#[test]
fn a_failure_of_a_plugin_that_must_decide_refuses() {
    for behaviour in FAILURES {
        let (server, mut ann, mut bob) = room(vec![misbehaving("p", behaviour)]);
        for _ in 0..3 {
            let refusal = ann.refused("POLICY_UNAVAILABLE", "send-message", to_lobby("trigger"));
            assert_eq!((&refusal["plugin"], &refusal["retryable"]), (&json!("p"), &json!(true)), "{behaviour}");
            left_no_trace(&mut ann, &mut bob);
        }
        // The instance is dropped, and another one takes its place.
        ann.post(to_lobby("harmless"));
        assert_eq!(bob.push("message-new")["content"], "harmless", "{behaviour}");
        let failed: f64 =
            ["error", "trap", "cpu_timeout"].map(|outcome| calls(&server, "p", outcome)).into_iter().sum();
        assert_eq!(failed, 3.0, "{behaviour}");
    }
}

#[test]
fn a_failure_of_a_plugin_that_need_not_decide_lets_pass() {
    for behaviour in FAILURES {
        let mut failing = misbehaving("p", behaviour);
        failing.on_failure = OnFailure::Open;
        let (_server, mut ann, mut bob) = room(vec![failing]);
        for content in ["trigger", "harmless", "trigger", "trigger"] {
            ann.post(to_lobby(content));
            assert_eq!(bob.push("message-new")["content"], content, "{behaviour}");
        }
    }
}

#[test]
fn a_failing_edit_changes_nothing() {
    for behaviour in ["trap", "loop", "bad-replace"] {
        let (_server, mut ann, mut bob) = room(vec![misbehaving("p", behaviour)]);
        let id = ann.post(to_lobby("first"))["messageId"].clone();
        bob.push("message-new");
        ann.refused(
            "POLICY_UNAVAILABLE",
            "edit-message",
            json!({"conversationId": "lobby", "messageId": id, "content": "trigger"}),
        );
        bob.nothing_came("lobby");
        assert_eq!(ann.history(json!("lobby"))["messages"][0]["version"], 1);
    }
}

#[test]
fn a_plugin_that_fails_on_one_shard_works_on_all() {
    let server = TestServer::start(with_plugins(3, vec![misbehaving("p", "trap")]));
    let mut clients: Vec<Client> = (0..6).map(|number| server.member(&format!("u{number}"), "lobby")).collect();
    for client in &mut clients {
        client.refused("POLICY_UNAVAILABLE", "send-message", to_lobby("trigger"));
    }
    for client in &mut clients {
        client.post(to_lobby("harmless"));
    }
    let mut watcher = server.user("watcher");
    watcher.join("lobby");
    assert_eq!(watcher.history(json!("lobby"))["messages"].as_array().unwrap().len(), 6);
}

#[test]
fn a_plugin_has_so_much_memory_and_no_more() {
    // What fits into the larger bound does not fit into the smaller.
    let mut small = policy("small", json!({"length_max": 100}));
    small.memory_bytes_max = 65_536;
    let refused = TestServer::try_start(with_plugins(1, vec![small]));
    assert!(matches!(refused, Err(StartError::Plugins(_))), "it cannot even be configured in one page");
}

#[test]
fn a_stop_does_not_wait_for_plugins_that_do_not_end() {
    for behaviour in ["retire-loop", "retire-trap"] {
        let server = server(vec![misbehaving("p", behaviour)]);
        server.member("ann", "lobby").post(to_lobby("harmless"));
        server.stop();
    }
}

#[test]
fn a_plugin_cannot_flood_the_log() {
    let log = Log::start();
    let mut flooding = misbehaving("flooding-filter", "flood-log");
    flooding.log_lines_per_second_max = 15;
    let (_server, mut ann, mut bob) = room(vec![flooding]);
    for _ in 0..20 {
        ann.post(to_lobby("trigger"));
        assert_eq!(bob.push("message-new")["content"], "trigger", "the call goes on");
    }
    let written = log.lines("flooding-filter", "plugin says").len();
    // 200,000 lines were to be written, in what may have been some seconds.
    assert!((1..2_000).contains(&written), "{written} lines");
}

// Interests and calls

#[test]
fn a_plugin_is_asked_what_it_wants_to_be_asked() {
    let interest = json!({"events": ["message-new"], "rooms": ["strict-*"], "max_payload_bytes": 200});
    let picky = plugin("p", "misbehaving.wasm", json!({"behaviour": "reject", "interest": interest}));
    let server = server(vec![picky]);
    let mut ann = server.user("ann");
    let send = |room: &str, content: &str| json!({"conversationId": room, "content": content});
    for room in ["strict-1", "strict-", "lax-1", "not-strict-1"] {
        ann.join(room);
    }
    ann.refused("REJECTED", "send-message", send("strict-1", "trigger"));
    ann.refused("REJECTED", "send-message", send("strict-", "trigger"));
    ann.post(send("lax-1", "trigger"));
    ann.post(send("not-strict-1", "trigger"));
    ann.post(send("strict-1", &format!("trigger{}", "x".repeat(300))));
    let id = ann.post(send("strict-1", "harmless"))["messageId"].clone();
    ann.ok("edit-message", json!({"conversationId": "strict-1", "messageId": id, "content": "trigger"}));
    assert_eq!((calls(&server, "p", "deny"), calls(&server, "p", "allow")), (2.0, 1.0));
}

#[test]
fn a_message_is_filtered_once_however_many_get_it() {
    let server = TestServer::start(with_plugins(3, vec![misbehaving("p", "accept"), policy("q", json!({}))]));
    let mut clients: Vec<Client> = (0..9).map(|number| server.member(&format!("u{number}"), "lobby")).collect();
    for number in 0..10 {
        clients[number % 9].post(to_lobby(number));
    }
    let mut watcher = server.member("watcher", "lobby");
    watcher.barrier("lobby");
    for name in ["p", "q"] {
        assert_eq!(calls(&server, name, "allow"), 10.0);
    }
    // What is refused before is not shown to a plugin at all.
    let mut stranger = server.user("stranger");
    stranger.refused("NOT_A_MEMBER", "send-message", to_lobby(1));
    stranger.refused("INVALID_PAYLOAD", "send-message", json!({"conversationId": "lobby"}));
    stranger.refused(
        "NOT_A_MEMBER",
        "edit-message",
        json!({"conversationId": "lobby", "messageId": "m", "content": 1}),
    );
    assert_eq!(calls(&server, "p", "allow"), 10.0);
}

#[test]
fn an_instance_keeps_its_memory_from_call_to_call() {
    let server = TestServer::start(with_plugins(1, vec![misbehaving("p", "count")]));
    let mut ann = server.member("ann", "lobby");
    for count in 1..=5 {
        ann.post(json!({"conversationId": "lobby", "content": "trigger"}));
        assert_eq!(ann.message()["content"], count);
    }
}

// Starting

/// Why a server with a plugin does not start.
fn refusal(plugin: Plugin) -> String {
    let Err(error) = TestServer::try_start(with_plugins(2, vec![misbehaving("good", "accept"), plugin])) else {
        panic!("it starts")
    };
    assert!(matches!(error, StartError::Plugins(_)), "{error}");
    error.to_string()
}

#[test]
fn a_bad_configuration_is_refused_with_its_place() {
    for (rules, path) in [
        (json!({"length_mx": 5}), "/length_mx"),
        (json!({"length_max": "5"}), "/length_max"),
        (json!({"words": "heck"}), "/words"),
        (json!({"words_action": "shout"}), "/words_action"),
        (json!({"links": {"hosts": ["ok.example", "not a host"]}}), "/links/hosts/1"),
        (json!({"links": {"hots": []}}), "/links/hots"),
        (json!({"shape": {"text": "strng"}}), "/shape/text"),
    ] {
        let text = refusal(policy("bad-one", rules.clone()));
        assert!(text.contains(path) && text.contains("bad-one"), "{rules}: {text}");
    }
}

#[test]
fn every_bad_plugin_is_named_at_once() {
    let bad = vec![policy("one", json!({"a": 1})), misbehaving("two", "accept"), policy("three", json!({"b": 1}))];
    let Err(error) = TestServer::try_start(with_plugins(1, bad)) else { panic!("it starts") };
    let text = error.to_string();
    assert!(text.contains("one") && text.contains("three") && !text.contains("two"), "{text}");
}

#[test]
fn a_plugin_that_fails_while_it_is_configured_is_refused() {
    for behaviour in ["configure-error", "configure-trap", "configure-loop", "no-such-behaviour"] {
        assert!(refusal(misbehaving("bad-one", behaviour)).contains("bad-one"), "{behaviour}");
    }
}

/// A file with these bytes, as a plugin.
fn file_of(name: &str, bytes: &[u8]) -> (Plugin, PathBuf) {
    let path = std::env::temp_dir().join(format!("stentor-{}-{name}.wasm", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    let mut plugin = misbehaving("bad-one", "accept");
    path.to_str().unwrap().clone_into(&mut plugin.component);
    (plugin, path)
}

#[test]
fn what_is_no_plugin_is_refused() {
    let built = std::fs::read(misbehaving("p", "accept").component).unwrap();
    for (name, bytes) in [
        ("empty", &b""[..]),
        ("text", b"this is no component"),
        ("core-module", b"\0asm\x01\0\0\0"),
        ("empty-component", b"\0asm\x0d\0\x01\0"),
        ("cut", &built[..built.len() / 2]),
        ("elf", b"\x7fELF\x02\x01\x01\0"),
    ] {
        let (plugin, path) = file_of(name, bytes);
        let text = refusal(plugin);
        std::fs::remove_file(path).unwrap();
        assert!(text.contains("bad-one"), "{name}: {text}");
    }
    let mut missing = misbehaving("bad-one", "accept");
    "/no/such/file.wasm".clone_into(&mut missing.component);
    assert!(refusal(missing).contains("/no/such/file.wasm"));
    let mut unknown = misbehaving("bad-one", "accept");
    "bundled:no-such-plugin".clone_into(&mut unknown.component);
    assert!(refusal(unknown).contains("no-such-plugin"));
    let mut directory = misbehaving("bad-one", "accept");
    "/tmp".clone_into(&mut directory.component);
    assert!(refusal(directory).contains("bad-one"));
}
