//! What the server counts: every metric says what it is and in which unit, and no label can take values without end.

use std::collections::{BTreeMap, BTreeSet};

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use stentor::config::OnFailure;
use stentor::metrics::{
    API_KEY_RESULTS, API_OUTCOMES, API_VERBS, AUTHENTICATION_RESULTS, CLOSED_BY_CLIENT, CLOSED_BY_NETWORK,
    COMMIT_RESULTS, EVENTS, GuestHook, HANDSHAKE_REFUSALS, JWKS_RESULTS, PluginOutcome, READ_RESULTS, RELOAD_RESULTS,
    RecycleReason, TrapKind, VERDICT_RESULTS,
};
use stentor::wire::{CloseCode, ErrorCode};

use crate::common::{Answer, Issuer, Pair, TestServer, Token, config, plugin, until};

/// The plugins of the servers here. Names from the configuration are the only ones that may be in a label.
const PLUGINS: [&str; 2] = ["our-policy", "our-panic"];

/// Series that a server may have, with all its plugins. A server of metrics keeps every one of them in memory.
const SERIES_MAX: usize = 3_000;

/// Metrics that are a number of things, which the name tells, and not of seconds or bytes.
const COUNTS: [&str; 54] = [
    "stentor_store_failing",
    "stentor_store_changes_total",
    "stentor_store_cold_rooms",
    "stentor_store_reads_total",
    "stentor_store_commits_total",
    "stentor_api_keys_total",
    "stentor_api_requests_total",
    "stentor_plugin_generation",
    "stentor_authorize_cache_total",
    "stentor_reloads_total",
    "stentor_authentications_total",
    "stentor_acks_total",
    "stentor_connections",
    "stentor_connections_closed_total",
    "stentor_connections_max",
    "stentor_connections_opened_total",
    "stentor_deliveries_dropped_total",
    "stentor_deliveries_total",
    "stentor_delivery_pings_total",
    "stentor_delivery_proofs_total",
    "stentor_draining",
    "stentor_errors_total",
    "stentor_fanout_recipients",
    "stentor_flush_passes_total",
    "stentor_handshakes_refused_total",
    "stentor_jwks_fetches_total",
    "stentor_jwks_keys",
    "stentor_live_memberships",
    "stentor_live_rooms",
    "stentor_messages_stored_total",
    "stentor_outbox_connections",
    "stentor_plugin_calls_total",
    "stentor_plugin_instances",
    "stentor_plugin_instances_recycled_total",
    "stentor_plugin_log_lines_suppressed_total",
    "stentor_plugin_quarantined",
    "stentor_plugin_quarantines_total",
    "stentor_plugin_traps_total",
    "stentor_presence_changes_total",
    "stentor_presence_pushed_total",
    "stentor_presence_subscriptions",
    "stentor_queue_flushes_total",
    "stentor_queued_deliveries_total",
    "stentor_receipts_pushed_total",
    "stentor_requests_total",
    "stentor_slow_consumers_total",
    "stentor_socket_writes_total",
    "stentor_store_dedup_entries",
    "stentor_store_events",
    "stentor_store_rooms",
    "stentor_users",
    "process_max_fds",
    "process_open_fds",
    "process_threads",
];

/// What a label may say.
enum Values {
    /// One of these, whatever happens.
    Closed(Vec<&'static str>),
    /// The name of a plugin in the configuration.
    Plugin,
    /// Something of the build: one value for as long as the process lives.
    Build,
}

/// What a metric's label may say. A label that is not here must not be.
fn values(metric: &str, label: &str) -> Option<Values> {
    let values = match (metric, label) {
        ("stentor_api_keys_total", "result") => Values::Closed(API_KEY_RESULTS.to_vec()),
        ("stentor_api_requests_total", "verb") => Values::Closed(API_VERBS.to_vec()),
        ("stentor_api_requests_total", "outcome") => Values::Closed(API_OUTCOMES.to_vec()),
        ("stentor_build_info", "version" | "revision" | "rust_version") => Values::Build,
        ("stentor_connections_closed_total", "reason") => Values::Closed(
            CloseCode::ALL.map(CloseCode::name).into_iter().chain([CLOSED_BY_CLIENT, CLOSED_BY_NETWORK]).collect(),
        ),
        ("stentor_handshakes_refused_total", "reason") => Values::Closed(HANDSHAKE_REFUSALS.to_vec()),
        ("stentor_authentications_total", "result") => Values::Closed(AUTHENTICATION_RESULTS.to_vec()),
        ("stentor_requests_total", "event") => Values::Closed(EVENTS.to_vec()),
        ("stentor_errors_total", "code") => Values::Closed(ErrorCode::ALL.map(ErrorCode::name).to_vec()),
        (_, "plugin") if metric.starts_with("stentor_plugin_") => Values::Plugin,
        ("stentor_plugin_calls_total" | "stentor_plugin_call_duration_seconds", "hook") => {
            Values::Closed(GuestHook::ALL.map(GuestHook::name).to_vec())
        }
        ("stentor_plugin_calls_total", "outcome") => {
            Values::Closed(PluginOutcome::ALL.map(PluginOutcome::name).to_vec())
        }
        ("stentor_authorize_cache_total", "result") => Values::Closed(VERDICT_RESULTS.to_vec()),
        ("stentor_jwks_fetches_total", "result") => Values::Closed(JWKS_RESULTS.to_vec()),
        ("stentor_store_commits_total", "result") => Values::Closed(COMMIT_RESULTS.to_vec()),
        ("stentor_store_reads_total", "result") => Values::Closed(READ_RESULTS.to_vec()),
        ("stentor_reloads_total", "result") => Values::Closed(RELOAD_RESULTS.to_vec()),
        ("stentor_plugin_traps_total", "kind") => Values::Closed(TrapKind::ALL.map(TrapKind::name).to_vec()),
        ("stentor_plugin_instances_recycled_total", "reason") => {
            Values::Closed(RecycleReason::ALL.map(RecycleReason::name).to_vec())
        }
        _ => return None,
    };
    Some(values)
}

/// One metric as `/metrics` tells it.
#[derive(Debug, Default)]
struct Family {
    help: String,
    kind: String,
    /// The labels of each series, besides a histogram's `le`.
    series: Vec<BTreeMap<String, String>>,
}

/// All metrics of a text, by name. Anything in it that cannot be understood is an error.
fn families(body: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in body.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            help.clone_into(&mut families.entry(name.to_owned()).or_default().help);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            kind.clone_into(&mut families.entry(name.to_owned()).or_default().kind);
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            let is_histogram = |base: &&str| families.get(*base).is_some_and(|family| family.kind == "histogram");
            let family = base.filter(is_histogram).unwrap_or(name);
            let mut labels = parse_labels(labels.strip_suffix('}').unwrap());
            if name.ends_with("_bucket") {
                let bound = labels.remove("le").unwrap();
                assert!(bound.parse::<f64>().is_ok(), "{line}");
            }
            let family = families.get_mut(family).unwrap_or_else(|| panic!("described before it is told: {line}"));
            family.series.push(labels);
        }
    }
    families
}

/// Labels as they are written. No value here has anything in it that needs an escape.
fn parse_labels(text: &str) -> BTreeMap<String, String> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap();
        (name.to_owned(), value.trim_matches('"').to_owned())
    };
    text.split(',').filter(|pair| !pair.is_empty()).map(pair).collect()
}

/// What `/metrics` says after some of everything.
fn busy_metrics() -> (TestServer, String) {
    let mut config = config();
    config.plugins = vec![
        plugin(PLUGINS[0], "message-policy.wasm", json!({"words": ["heck"]})),
        plugin(PLUGINS[1], "misbehaving.wasm", json!({"behaviour": "panic"})),
    ];
    config.plugins[1].on_failure = OnFailure::Open;
    let issuer = Issuer::new(Answer::keys([Pair::ed25519().jwk("k", Algorithm::EdDSA)]));
    config.auth.jwks_url = issuer.url();
    let server = TestServer::start(config);
    let mut ann = server.member("ann-the-user", "lobby-the-room");
    let mut bob = server.device("bob-the-user", json!({"deviceId": "device-of-bob"}));
    bob.join("lobby-the-room");
    ann.post(json!({"conversationId": "lobby-the-room", "content": "content-of-ann", "tempId": "temp-id-of-ann"}));
    bob.message();
    ann.post(json!({"conversationId": "lobby-the-room", "content": "trigger"}));
    ann.refused("REJECTED", "send-message", json!({"conversationId": "lobby-the-room", "content": "heck"}));
    ann.refused("UNKNOWN_EVENT", "event-of-an-attacker", Value::Null);
    server.handshake().bearer("token-that-is-bad").refused();
    server.handshake().set("Origin", "https://origin-of-evil.example").refused();
    let token = Token::of("cid-the-user").sign();
    server
        .handshake()
        .set("Sec-WebSocket-Protocol", &format!("stentor.v1, bearer.{token}"))
        .upgrade()
        .push("auth-success");
    ann.send_text("nonsense");
    ann.push_after_others("error");
    bob.close();
    let body = until("the sweep has reported", || {
        let body = server.admin("/metrics").body;
        body.contains("stentor_store_events 4").then_some(body)
    });
    assert!(!body.contains(&token));
    (server, body)
}

#[test]
fn every_metric_says_what_it_is_and_in_which_unit() {
    let (server, body) = busy_metrics();
    let response = server.admin("/metrics");
    assert!(response.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
    let mut series = 0;
    for (name, family) in families(&body) {
        assert!(name.starts_with("stentor_") || name.starts_with("process_"), "{name}");
        assert!(family.help.ends_with('.') && family.help.len() > 10, "{name} says what it is: {:?}", family.help);
        assert!(["counter", "gauge", "histogram"].contains(&family.kind.as_str()), "{name}: {}", family.kind);
        assert_eq!(name.ends_with("_total"), family.kind == "counter", "{name}: a {}", family.kind);
        let unit = name.trim_end_matches("_total").rsplit('_').next().unwrap();
        let counted = COUNTS.contains(&name.as_str());
        assert!(["seconds", "bytes", "info"].contains(&unit) || name == "stentor_store_bytes_max" || counted, "{name}");
        assert!(!family.series.is_empty(), "{name}");
        series += family.series.len();
    }
    assert!((100..SERIES_MAX).contains(&series), "{series} series");
}

#[test]
fn labels_take_values_that_are_known_beforehand() {
    let (_server, body) = busy_metrics();
    for (name, family) in families(&body) {
        for (label, value) in family.series.iter().flatten() {
            match values(&name, label) {
                None => panic!("{name} has a label {label} that is in no table"),
                Some(Values::Closed(values)) => assert!(values.contains(&value.as_str()), "{name}: {label}={value}"),
                Some(Values::Plugin) => assert!(PLUGINS.contains(&value.as_str()), "{name}: {label}={value}"),
                Some(Values::Build) => assert_eq!(family.series.len(), 1, "{name}"),
            }
        }
    }
}

#[test]
fn the_operators_guide_lists_what_there_is() {
    let (_server, body) = busy_metrics();
    let guide = include_str!("../../src/operations.md");
    let code = |cell: &str| cell.trim().strip_prefix('`').and_then(|rest| rest.split('`').next()).map(str::to_owned);
    let mut rows = BTreeMap::new();
    for line in guide.lines().filter(|line| line.starts_with("| `stentor_") || line.starts_with("| `process_")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        // Each label is named first, then its values: `reason`: `a`, `b`; `plugin`: its name.
        let labels: BTreeSet<String> =
            cells[2].split("; ").filter(|part| part.contains(':')).filter_map(code).collect();
        let row = (cells[1].trim().to_owned(), labels);
        assert!(rows.insert(code(cells[0]).unwrap(), row).is_none(), "{line}");
    }
    let told = families(&body).into_iter().map(|(name, family)| {
        let labels = family.series.iter().flat_map(BTreeMap::keys).cloned().collect();
        (name, (family.kind, labels))
    });
    assert_eq!(rows, told.collect());
}

#[test]
fn no_name_of_a_client_is_in_the_metrics() {
    let (_server, body) = busy_metrics();
    for name in [
        "ann-the-user",
        "bob-the-user",
        "cid-the-user",
        "lobby-the-room",
        "device-of-bob",
        "content-of-ann",
        "temp-id-of-ann",
        "event-of-an-attacker",
        "token-that-is-bad",
        "origin-of-evil",
        "127.0.0.1",
    ] {
        assert!(!body.contains(name), "{name}");
    }
}

#[test]
fn s1_80_what_happened_was_counted() {
    let (server, _) = busy_metrics();
    for (series, expected) in [
        ("stentor_messages_stored_total", 2.0),
        ("stentor_requests_total{event=\"send-message\"}", 3.0),
        ("stentor_requests_total{event=\"unknown\"}", 1.0),
        ("stentor_errors_total{code=\"REJECTED\"}", 1.0),
        ("stentor_errors_total{code=\"INVALID_FRAME\"}", 1.0),
        ("stentor_handshakes_refused_total{reason=\"token\"}", 1.0),
        ("stentor_handshakes_refused_total{reason=\"origin\"}", 1.0),
        ("stentor_authentications_total{result=\"ok\"}", 3.0),
        ("stentor_connections_opened_total", 3.0),
        ("stentor_handshake_duration_seconds_count", 3.0),
        ("stentor_store_rooms", 1.0),
        ("stentor_store_dedup_entries", 1.0),
        ("stentor_draining", 0.0),
    ] {
        assert_eq!(server.metric(series), expected, "{series}");
    }
    until("one connection is left", || (server.metric("stentor_connections") == 0.0).then_some(()));
    until("and nobody in a room", || {
        let left = ["stentor_users", "stentor_live_rooms", "stentor_live_memberships"].map(|name| server.metric(name));
        (left == [0.0; 3]).then_some(())
    });
}

#[test]
fn s1_12_s1_77_who_and_what_is_live_is_told_and_no_more_once_it_is_gone() {
    let server = TestServer::with_shards(1);
    let live = |expected: [f64; 4]| {
        until(&format!("{expected:?}"), || {
            let live = ["connections", "users", "live_rooms", "live_memberships"];
            (live.map(|name| server.metric(&format!("stentor_{name}"))) == expected).then_some(())
        });
    };
    let mut ann = server.member("ann", "one");
    ann.join("two");
    // A user is a member, so each of a user's connections is live in all the rooms of both.
    let other_ann = server.member("ann", "one");
    let bob = server.member("bob", "one");
    live([3.0, 2.0, 2.0, 5.0]);
    ann.leave("two");
    live([3.0, 2.0, 1.0, 3.0]);
    drop(other_ann);
    live([2.0, 2.0, 1.0, 2.0]);
    drop((ann, bob));
    live([0.0; 4]);
}

#[test]
fn s1_71_s1_78_every_flush_notes_how_long_it_took() {
    let server = TestServer::with_shards(1);
    let mut ann = server.member("ann", "lobby");
    let mut bob = server.member("bob", "lobby");
    for number in 0..20 {
        ann.post(json!({"conversationId": "lobby", "content": number}));
        bob.message();
    }
    until("every pass is in the histogram", || {
        let noted = server.metric("stentor_delivery_latency_seconds_count");
        (noted > 0.0 && noted == server.metric("stentor_flush_passes_total")).then_some(())
    });
    assert!(server.metric("stentor_delivery_latency_seconds_sum") > 0.0);
    // What is promised can be read without guessing between two bounds.
    let body = server.admin("/metrics").body;
    for bound in ["0.002", "0.1", "0.15", "0.2"] {
        assert!(body.contains(&format!("stentor_delivery_latency_seconds_bucket{{le=\"{bound}\"}}")), "{bound}");
    }
}

#[test]
fn what_arrives_is_counted_in_bytes() {
    let server = TestServer::with_shards(1);
    let mut ann = server.member("ann", "lobby");
    let received = || server.metric("stentor_received_bytes_total");
    let before = until("the sweep has reported", || Some(received()).filter(|bytes| *bytes > 0.0));
    ann.post(json!({"conversationId": "lobby", "content": "x".repeat(10_000)}));
    until("ten thousand and a little more", || (received() >= before + 10_000.0).then_some(()));
    assert!(received() < before + 11_000.0);
}
