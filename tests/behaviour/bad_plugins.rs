//! Bad plugins: what they do to themselves is told, counted and logged, and nobody else is harmed by it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use stentor::StartError;
use stentor::config::{Config, OnFailure, Plugin};

use crate::common::{Client, Log, SECRET, Scratch, TestServer, Token, obedient, plugin, until, with_plugins};

/// One way to fail, and what it is called.
#[derive(Clone, Copy, Debug)]
struct Failure {
    behaviour: &'static str,
    /// As `stentor_plugin_calls_total` has it.
    outcome: &'static str,
    /// As the log and, for traps, `stentor_plugin_traps_total` have it.
    kind: &'static str,
}

const fn trap(behaviour: &'static str, kind: &'static str) -> Failure {
    Failure { behaviour, outcome: "trap", kind }
}

/// In every hook.
const FAILURES: [Failure; 11] = [
    Failure { behaviour: "error", outcome: "error", kind: "error" },
    Failure { behaviour: "loop", outcome: "cpu_timeout", kind: "cpu_timeout" },
    Failure { behaviour: "slow", outcome: "cpu_timeout", kind: "cpu_timeout" },
    trap("trap", "unreachable"),
    trap("panic", "unreachable"),
    trap("grow", "unreachable"),
    trap("recurse", "stack_overflow"),
    trap("flood-host", "host_call_budget"),
    trap("huge-deny", "bad_result"),
    trap("huge-error", "bad_result"),
    trap("bad-utf8", "bad_result"),
];

/// In the hooks that say who somebody is.
const FAILURES_ABOUT_PEOPLE: [Failure; 3] = [
    Failure { behaviour: "bad-subject", outcome: "error", kind: "error" },
    Failure { behaviour: "too-many-attributes", outcome: "error", kind: "error" },
    trap("huge-allow", "bad_result"),
];

/// As message filters.
const FAILURES_OF_FILTERS: [Failure; 12] = [
    Failure { behaviour: "loop", outcome: "cpu_timeout", kind: "cpu_timeout" },
    Failure { behaviour: "slow", outcome: "cpu_timeout", kind: "cpu_timeout" },
    Failure { behaviour: "bad-replace", outcome: "error", kind: "error" },
    Failure { behaviour: "bad-shape", outcome: "error", kind: "error" },
    Failure { behaviour: "binary-replace", outcome: "error", kind: "error" },
    trap("trap", "unreachable"),
    trap("panic", "unreachable"),
    trap("grow", "unreachable"),
    trap("recurse", "stack_overflow"),
    trap("flood-host", "host_call_budget"),
    trap("huge-replace", "bad_result"),
    trap("bad-utf8", "bad_result"),
];

/// A plugin that is soon left alone where it fails, but not for long.
fn impatient(plugin: Plugin, behaviour: &str) -> Plugin {
    Plugin {
        // A loop that ends late makes the test long, and nothing else depends on it.
        call_ms_max: if ["loop", "slow"].contains(&behaviour) { 20 } else { 1_000 },
        // Enough for the texts that are too large for the host.
        memory_bytes_max: 32 << 20,
        quarantine_failures: 2,
        quarantine_ms_min: 100,
        quarantine_ms_max: 200,
        ..plugin
    }
}

/// An auth plugin that fails where `trigger` sets it off, and is soon left alone, but not for long.
fn failing(name: &str, hook: &str, behaviour: &str, otherwise: &str) -> Plugin {
    let mut config = json!({"trigger": true, "otherwise": {}, "turns": u64::MAX});
    config[hook] = behaviour.into();
    config["otherwise"][hook] = otherwise.into();
    config["interest"] = json!({"events": if hook == "authorize" { vec!["join"] } else { vec![hook] }});
    impatient(obedient(name, config), behaviour)
}

/// What a plugin that failed in this way leaves in metrics and log.
fn is_on_record(server: &TestServer, log: &Log, plugin: &str, hook: &str, failure: Failure) {
    let failed = server.calls(plugin, hook, failure.outcome);
    assert!(failed >= 2.0, "{failure:?}: {failed}");
    let traps = server.metric(&format!("stentor_plugin_traps_total{{plugin=\"{plugin}\",kind=\"{}\"}}", failure.kind));
    assert_eq!(traps, if failure.outcome == "trap" { failed } else { 0.0 }, "{failure:?}");
    let lines = log.lines(plugin, "plugin failed");
    assert_eq!(lines.len() as f64, failed, "{failure:?}");
    assert!(lines.iter().all(|line| line["hook"] == hook && line["kind"] == failure.kind), "{failure:?}: {lines:?}");
    assert!(!log.lines(plugin, "plugin failed too often: it is not asked for a while").is_empty(), "{failure:?}");
}

/// Lets a plugin fail until it is in quarantine, and asks for something harmless until it is well again.
fn goes_and_comes_back(
    server: &TestServer,
    log: &Log,
    (plugin, hook, failure): (&str, &str, Failure),
    mut fail: impl FnMut(),
    mut succeeds: impl FnMut() -> bool,
) {
    fail();
    assert_eq!(server.calls(plugin, hook, failure.outcome), 1.0, "{failure:?}");
    assert_eq!(server.plugin_metric("stentor_plugin_quarantined", plugin), 0.0);
    until("it is in quarantine", || {
        fail();
        (server.calls(plugin, hook, "quarantined") > 0.0).then_some(())
    });
    assert_eq!(server.plugin_metric("stentor_plugin_quarantined", plugin), 1.0, "{failure:?}");
    assert!(server.plugin_metric("stentor_plugin_quarantines_total", plugin) >= 1.0);
    is_on_record(server, log, plugin, hook, failure);
    until("it is well again", || succeeds().then_some(()));
    assert_eq!(server.plugin_metric("stentor_plugin_quarantined", plugin), 0.0, "{failure:?}");
    fail();
    assert_eq!(server.plugin_metric("stentor_plugin_quarantined", plugin), 0.0, "{failure:?}: one is none too many");
    until("it is still well", || succeeds().then_some(()));
}

/// Asserts that a request is refused because a plugin failed.
fn unavailable(client: &mut Client, plugin: &str, event: &str, data: Value) {
    let refusal = client.refused("POLICY_UNAVAILABLE", event, data);
    assert_eq!((&refusal["plugin"], &refusal["retryable"]), (&json!(plugin), &json!(true)), "{refusal}");
}

#[test]
fn who_fails_to_authorize_is_left_alone_and_asked_again_later() {
    let log = Log::start();
    for failure in FAILURES {
        let name = format!("authorize-{}", failure.behaviour);
        let server = TestServer::start(with_plugins(vec![failing(&name, "authorize", failure.behaviour, "allow")]));
        let (mut ann, mut bob) = (server.user("ann"), server.user("bob"));
        goes_and_comes_back(
            &server,
            &log,
            (&name, "authorize", failure),
            || unavailable(&mut ann, &name, "join-room", json!({"conversationId": "trigger"})),
            || bob.call("join-room", json!({"conversationId": "lobby"}))["event"] == "room-joined",
        );
    }
}

#[test]
fn who_fails_to_authenticate_is_left_alone_and_asked_again_later() {
    let log = Log::start();
    for failure in FAILURES.into_iter().chain(FAILURES_ABOUT_PEOPLE) {
        let name = format!("authenticate-{}", failure.behaviour);
        let mut config = with_plugins(vec![failing(&name, "authenticate", failure.behaviour, "abstain")]);
        config.timing.auth_ms_max = 600_000;
        let server = TestServer::start(config);
        // It may be tried again and again on the same connection.
        let mut ann = server.connect();
        let token = Token::of("bob").sign();
        let mut handshake = false;
        goes_and_comes_back(
            &server,
            &log,
            (&name, "authenticate", failure),
            || {
                handshake = !handshake;
                if handshake {
                    unavailable(&mut ann, &name, "auth", json!({"token": "trigger"}));
                } else {
                    let response = server.handshake().bearer("trigger").refused();
                    assert_eq!((response.status, response.header("retry-after")), (503, Some("5")));
                }
            },
            || server.handshake().bearer(&token).attempt().0.is_some(),
        );
        ann.reply_named("auth-success", "auth", json!({"token": token}));
    }
}

#[test]
fn who_fails_to_refresh_leaves_the_connection_as_it_was() {
    for failure in FAILURES.into_iter().chain(FAILURES_ABOUT_PEOPLE) {
        let name = format!("refresh-{}", failure.behaviour);
        let server = TestServer::start(with_plugins(vec![failing(&name, "refresh", failure.behaviour, "abstain")]));
        let mut ann = server.member("ann", "lobby");
        unavailable(&mut ann, &name, "auth", json!({"token": "trigger"}));
        ann.say("lobby", "still here");
        ann.reply_named("auth-success", "auth", json!({"token": Token::of("ann").sign()}));
    }
}

#[test]
fn a_filter_that_fails_is_left_alone_and_asked_again_later() {
    let log = Log::start();
    for failure in FAILURES_OF_FILTERS {
        let name = format!("filter-{}", failure.behaviour);
        let config = json!({"behaviour": failure.behaviour, "turns": u64::MAX});
        let filter = impatient(plugin(&name, "misbehaving.wasm", config), failure.behaviour);
        let server = TestServer::start(with_plugins(vec![filter]));
        let (mut ann, mut bob) = (server.member("ann", "lobby"), server.member("bob", "lobby"));
        let message = |content: &str| json!({"conversationId": "lobby", "content": content});
        goes_and_comes_back(
            &server,
            &log,
            (&name, "filter", failure),
            || unavailable(&mut ann, &name, "send-message", message("trigger")),
            || bob.call("send-message", message("harmless"))["event"] == "message-ack",
        );
    }
}

#[test]
fn who_need_not_decide_fails_without_consequence() {
    for failure in FAILURES {
        let mut plugins = vec![failing("p", "authorize", failure.behaviour, "allow")];
        plugins[0].on_failure = OnFailure::Open;
        plugins[0].quarantine_ms_min = 60_000;
        let server = TestServer::start(with_plugins(plugins));
        let mut ann = server.user("ann");
        for number in 0..5 {
            ann.join(&format!("trigger-{number}"));
        }
        // In quarantine it counts as failing.
        assert_eq!(server.calls("p", "authorize", failure.outcome), 2.0, "{failure:?}");
        assert_eq!(server.calls("p", "authorize", "quarantined"), 3.0, "{failure:?}");
    }
}

#[test]
fn a_new_configuration_ends_a_quarantine() {
    let mut failing = failing("p", "authorize", "trap", "allow");
    (failing.quarantine_failures, failing.quarantine_ms_min, failing.quarantine_ms_max) = (1, 600_000, 600_000);
    let config = with_plugins(vec![failing]);
    let server = TestServer::start(config.clone());
    let mut ann = server.user("ann");
    for room in ["trigger", "lobby"] {
        unavailable(&mut ann, "p", "join-room", json!({"conversationId": room}));
    }
    assert_eq!(server.plugin_metric("stentor_plugin_quarantined", "p"), 1.0);
    // Whether the plugin is still there or not.
    for next in [config, with_plugins(Vec::new())] {
        server.reload(next);
        ann.join("lobby");
        let gauge = || server.plugin_metric("stentor_plugin_quarantined", "p");
        until("the metrics say so", || (gauge() == 0.0).then_some(()));
        ann.call("join-room", json!({"conversationId": "trigger"}));
    }
}

#[test]
fn a_quarantine_is_all_hooks() {
    let mut failing = obedient("p", json!({"authorize": "trap", "trigger": true}));
    (failing.quarantine_failures, failing.quarantine_ms_min) = (1, 60_000);
    let server = TestServer::start(with_plugins(vec![failing]));
    let mut ann = server.user("ann");
    unavailable(&mut ann, "p", "join-room", json!({"conversationId": "trigger"}));
    unavailable(&mut server.connect(), "p", "auth", json!({"token": Token::of("ann").sign()}));
    unavailable(&mut ann, "p", "auth", json!({"token": Token::of("ann").sign()}));
    for hook in ["authorize", "authenticate", "refresh"] {
        assert_eq!(server.calls("p", hook, "quarantined"), f64::from(u8::from(hook != "authorize")), "{hook}");
    }
}

// Waiting

#[test]
fn who_answers_too_late_has_not_answered() {
    let log = Log::start();
    let mut late = failing("too-late", "authenticate", "loop", "abstain");
    (late.call_ms_max, late.wait_ms_max, late.quarantine_failures) = (1_000, 50, 0);
    let mut config = with_plugins(vec![late]);
    config.timing.auth_ms_max = 600_000;
    let server = TestServer::start(config);
    let mut ann = server.connect();
    for _ in 0..2 {
        unavailable(&mut ann, "too-late", "auth", json!({"token": "trigger"}));
    }
    assert_eq!(server.handshake().bearer("trigger").refused().status, 503);
    assert_eq!(server.calls("too-late", "authenticate", "wall_timeout"), 3.0);
    assert_eq!(log.lines("too-late", "plugin failed")[0]["kind"], "wall_timeout");
    // A busy machine may make any call late, so once is enough.
    until("a quick call is in time", || {
        (ann.call("auth", json!({"token": Token::of("ann").sign()}))["event"] == "auth-success").then_some(())
    });
}

#[test]
fn who_is_asked_too_much_at_once_answers_some() {
    let mut busy = failing("p", "authenticate", "loop", "abstain");
    (busy.call_ms_max, busy.instances_max, busy.waiting_max, busy.quarantine_failures) = (300, 1, 1, 0);
    let mut config = with_plugins(vec![busy]);
    config.timing.auth_ms_max = 600_000;
    let server = TestServer::start(config);
    let mut clients: Vec<Client> = (0..6).map(|_| server.connect()).collect();
    until("one is turned away", || {
        let asked: Vec<String> =
            clients.iter_mut().map(|client| client.ask("auth", json!({"token": "trigger"}))).collect();
        for (client, id) in clients.iter_mut().zip(asked) {
            assert_eq!(client.answer(&id)["data"]["code"], "POLICY_UNAVAILABLE");
        }
        (server.calls("p", "authenticate", "overload") > 0.0).then_some(())
    });
    assert!(server.calls("p", "authenticate", "cpu_timeout") > 0.0, "the others were asked");
    // Nobody is turned away for good.
    for client in &mut clients {
        client.reply_named("auth-success", "auth", json!({"token": Token::of("ann").sign()}));
    }
}

#[test]
fn who_computes_for_long_holds_up_nobody_else() {
    let mut busy = failing("p", "authorize", "loop", "allow");
    (busy.call_ms_max, busy.quarantine_failures) = (1_000, 0);
    let server = TestServer::start(with_plugins(vec![busy]));
    let mut clients: Vec<Client> = (0..4).map(|number| server.user(&format!("u{number}"))).collect();
    let asked = clients[0].ask("join-room", json!({"conversationId": "trigger"}));
    // All of this, on every shard, is answered while the call goes on; it ends long before a deadline of the test.
    for client in &mut clients[1..] {
        client.join("lobby");
        client.say("lobby", "hello");
    }
    assert_eq!(server.calls("p", "authorize", "cpu_timeout"), 0.0, "the call is still under way");
    assert_eq!(clients[0].answer(&asked)["data"]["code"], "POLICY_UNAVAILABLE");
}

#[test]
fn who_cannot_be_judged_has_as_long_as_anybody() {
    let mut config = with_plugins(vec![obedient("p", json!({"authenticate": "error"}))]);
    config.timing.auth_ms_max = 2_000;
    let server = TestServer::start(config);
    let mut client = server.connect();
    unavailable(&mut client, "p", "auth", json!({"token": "trigger"}));
    client.refusal("AUTH_TIMEOUT");
    client.closed(4101);
}

#[test]
fn a_client_that_leaves_while_it_is_judged_leaves_nothing_behind() {
    let mut busy = failing("p", "authorize", "loop", "allow");
    (busy.call_ms_max, busy.quarantine_failures) = (100, 0);
    let server = TestServer::start(with_plugins(vec![busy]));
    for _ in 0..4 {
        server.user("ann").ask("join-room", json!({"conversationId": "trigger"}));
    }
    until("all of them are gone", || (server.metric("stentor_connections") == 0.0).then_some(()));
    until("all calls are over", || (server.calls("p", "authorize", "cpu_timeout") == 4.0).then_some(()));
    let mut bob = server.member("bob", "lobby");
    assert_eq!(bob.online("lobby"), ["bob"]);
}

#[test]
fn a_plugin_that_floods_the_log_is_cut_short_and_goes_on() {
    let log = Log::start();
    let mut flooding = obedient("flooding-auth", json!({"authorize": "flood-log"}));
    flooding.log_lines_per_second_max = 15;
    let server = TestServer::start(with_plugins(vec![flooding]));
    let mut ann = server.user("ann");
    for number in 0..5 {
        ann.join(&format!("room-{number}"));
    }
    // Ten lines a call at most, of ten thousand.
    let kept = log.lines("flooding-auth", "plugin says").len();
    assert!((1..=50).contains(&kept), "{kept} lines");
    let suppressed = server.plugin_metric("stentor_plugin_log_lines_suppressed_total", "flooding-auth");
    assert_eq!(suppressed + kept as f64, 50_000.0);
}

// Instances

/// How often the instance that answers has been asked, by its own count.
fn count(client: &mut Client) -> u32 {
    let refusal = client.refused("JOIN_ROOM_FAILED", "join-room", json!({"conversationId": "lobby"}));
    refusal["message"].as_str().unwrap().parse().unwrap()
}

/// How many instances were replaced.
fn recycled(server: &TestServer, reason: &str) -> f64 {
    server.metric(&format!("stentor_plugin_instances_recycled_total{{plugin=\"p\",reason=\"{reason}\"}}"))
}

fn counting() -> Plugin {
    // Asked about nothing but joins, so that the counts below are of these.
    obedient("p", json!({"authorize": "count", "interest": {"events": ["join"]}}))
}

fn without_memory(plugins: Vec<Plugin>) -> Config {
    let mut config = with_plugins(plugins);
    config.auth.denial_ms_max = 0;
    config
}

#[test]
fn an_instance_serves_so_many_calls() {
    let mut recycling = counting();
    recycling.recycle_calls = 3;
    let server = TestServer::start(without_memory(vec![recycling]));
    let mut ann = server.user("ann");
    let counts: Vec<u32> = (0..8).map(|_| count(&mut ann)).collect();
    assert_eq!(counts, [1, 2, 3, 1, 2, 3, 1, 2]);
    assert_eq!((recycled(&server, "calls"), recycled(&server, "memory")), (2.0, 0.0));
    assert_eq!(server.plugin_metric("stentor_plugin_instances", "p"), 1.0);
}

#[test]
fn an_instance_of_a_filter_serves_so_many_calls() {
    let mut recycling = plugin("p", "misbehaving.wasm", json!({"behaviour": "count"}));
    recycling.recycle_calls = 3;
    let mut config = with_plugins(vec![recycling]);
    config.shards = 1;
    let server = TestServer::start(config);
    let mut ann = server.member("ann", "lobby");
    let mut count = || {
        ann.say("lobby", "trigger");
        ann.message()["content"].as_u64().unwrap()
    };
    assert_eq!([count(), count(), count()], [1, 2, 3]);
    // It serves on until there is another one.
    until("another instance takes its place", || (count() == 1).then_some(()));
    assert_eq!(recycled(&server, "calls"), 1.0);
}

#[test]
fn s1_81_an_instance_may_grow_so_large() {
    let mut recycling = counting();
    recycling.recycle_bytes = 65_536;
    let server = TestServer::start(without_memory(vec![recycling]));
    let mut ann = server.user("ann");
    for _ in 0..3 {
        assert_eq!(count(&mut ann), 1, "its memory is over the mark from the first");
    }
    assert_eq!((recycled(&server, "calls"), recycled(&server, "memory")), (0.0, 3.0));
    assert!(server.plugin_metric("stentor_plugin_memory_bytes", "p") > 65_536.0);
}

#[test]
fn a_failed_instance_is_replaced() {
    let config = json!({"authorize": "trap", "trigger": true, "otherwise": {"authorize": "count"}, "interest": {"events": ["join"]}});
    let server = TestServer::start(without_memory(vec![obedient("p", config)]));
    let mut ann = server.user("ann");
    assert_eq!([count(&mut ann), count(&mut ann)], [1, 2]);
    unavailable(&mut ann, "p", "join-room", json!({"conversationId": "trigger"}));
    assert_eq!([count(&mut ann), count(&mut ann)], [1, 2]);
    assert_eq!((recycled(&server, "calls"), recycled(&server, "memory")), (0.0, 0.0), "it was not healthy");
}

#[test]
fn an_answer_that_says_it_cannot_decide_costs_no_instance() {
    let config = json!({"authorize": "error", "trigger": true, "otherwise": {"authorize": "count"}, "interest": {"events": ["join"]}});
    let server = TestServer::start(without_memory(vec![obedient("p", config)]));
    let mut ann = server.user("ann");
    assert_eq!(count(&mut ann), 1);
    unavailable(&mut ann, "p", "join-room", json!({"conversationId": "trigger"}));
    assert_eq!(count(&mut ann), 3);
}

// Starting

/// A component that is no plugin, or not the one that was meant, and where the operator is to look.
fn misfits(scratch: &Scratch) -> Vec<(&'static str, Plugin, &'static str)> {
    let file = |name: &str, bytes: &[u8]| {
        let path = scratch.path(name);
        std::fs::write(&path, bytes).unwrap();
        Plugin::new("bad-one", path.to_str().unwrap())
    };
    let good = |config: Value| obedient("bad-one", config);
    let built = std::fs::read(good(json!({})).component).unwrap();
    vec![
        ("not WebAssembly", file("text.wasm", b"this is no component"), "component"),
        ("a core module", file("module.wasm", b"\0asm\x01\0\0\0"), "component"),
        ("of no world of ours", file("empty.wasm", b"\0asm\x0d\0\x01\0"), "component"),
        ("cut short", file("cut.wasm", &built[..built.len() / 2]), "component"),
        ("an import that no server has", plugin("bad-one", "stranger.wasm", json!({})), "component"),
        ("no such file", Plugin::new("bad-one", "/no/such/file.wasm"), "component"),
        ("another digest", Plugin { sha256: Some("0".repeat(64)), ..good(json!({})) }, "sha256"),
        ("a bad configuration", good(json!({"authorize": "alow"})), "config.authorize"),
        ("an unknown key", good(json!({"authorise": "allow"})), "config.authorise"),
        ("a refusal of its own", good(json!({"lifecycle": "configure-error"})), "config.lifecycle"),
        ("a trap at the start", good(json!({"lifecycle": "configure-trap"})), "component"),
        ("no end at the start", good(json!({"lifecycle": "configure-loop"})), "component"),
        ("too little memory", Plugin { memory_bytes_max: 65_536, ..good(json!({})) }, "component"),
    ]
}

#[test]
fn a_server_does_not_start_with_a_misfit() {
    let scratch = Scratch::new();
    for (what, misfit, _) in misfits(&scratch) {
        let Err(error) = TestServer::try_start(with_plugins(vec![misfit])) else { panic!("{what}: it starts") };
        assert!(matches!(error, StartError::Plugins(_)), "{what}: {error}");
        assert!(error.to_string().contains("bad-one"), "{what}: {error}");
    }
}

/// Writes a configuration file of a server with a plugin.
fn config_file(scratch: &Scratch, plugin: &Plugin) -> PathBuf {
    let path = scratch.path("stentor.toml");
    let digest = plugin.sha256.as_ref().map_or(String::new(), |digest| format!("sha256 = {digest:?}\n"));
    let own: String = plugin.config.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
    let text = format!(
        "listen = \"127.0.0.1:0\"\nadmin.listen = \"127.0.0.1:0\"\ndata_directory = {:?}\n\
         [[auth.keys]]\nalgorithm = \"HS256\"\nsecret = {SECRET:?}\n\
         [[plugins]]\nname = {:?}\ncomponent = {:?}\nmemory_bytes_max = {}\n{digest}[plugins.config]\n{own}",
        scratch.path("data"),
        plugin.name,
        plugin.component,
        plugin.memory_bytes_max,
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// Runs the program with a configuration; its exit code, and what it said.
fn run(command: &str, config: &Path) -> (Option<i32>, String) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_stentor"));
    let output = program.args([command, "--config"]).arg(config).env_remove("JWT_SECRET").output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_program_says_where_a_misfit_is_configured() {
    let scratch = Scratch::new();
    for (what, misfit, place) in misfits(&scratch) {
        let config = config_file(&scratch, &misfit);
        for command in ["check", "serve"] {
            let (code, said) = run(command, &config);
            assert_eq!(code, Some(78), "{command}, {what}: {said}");
            assert!(said.contains(&format!("plugins[0].{place}")), "{command}, {what}: {said}");
        }
    }
    // And that all is well where it is.
    let config = config_file(&scratch, &obedient("good-one", json!({"authorize": "allow"})));
    let (code, said) = run("check", &config);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("good-one"), "{said}");
}
