//! The configuration as an operator meets it: what is loaded from which source, and what is said of faults.

use std::sync::Arc;

use super::load::assemble;
use super::schema::{Kind, Shape};
use super::{Algorithm, Config, JoinPolicy, Loaded, LogLevel, Problem, Source, load};

const SECRET: &str = "Zk3hQ9x2Lr7vB1mT8yWc5NfJ0pXs4GdA";

fn environment(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn with_file(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Vec<Problem>> {
    let file = Arc::from(std::path::Path::new("stentor.toml"));
    assemble(Some((file, text.to_owned())), &environment(variables))
}

fn without_file(variables: &[(&str, &str)]) -> Result<Loaded, Vec<Problem>> {
    assemble(None, &environment(variables))
}

fn lines(result: Result<Loaded, Vec<Problem>>) -> Vec<String> {
    result.map_or_else(|problems| problems.iter().map(Problem::to_string).collect(), |_| Vec::new())
}

fn json(config: &Config) -> serde_json::Value {
    serde_json::to_value(config).unwrap()
}

#[test]
fn every_fault_of_a_file_is_reported_at_once() {
    let text = r#"
listen = "localhost:3001"
allowed_origins = ["https://chat.example.com", "https://chat.example.com/app"]

[limits]
  conections_max = 5
message_bytes_max = "65536"
request_burst_max = 0

[log]
level = "wran"

[proxy]
trusted = ["10.0.0.0/33"]

[[auth.keys]]
algorithm = "HS256"
secret = "your-secret-key"

[[auth.keys]]
algorithm = "hs256"
secret_env = "ABSENT"

[[plugins]]
name = "message policy"
component = "bundled:message-polcy"

[[plugins]]
component = "bundled:message-policy"
call_ms_max = 5000

[[rooms]]
pattern = ""

[[rooms]]
pattern = "a"

[[rooms]]
pattern = "a"

[redis]
url = "redis://localhost"
"#;
    let expected = r#"
stentor.toml:2:10: listen: "localhost:3001" is not an address with a port; did you mean "127.0.0.1:3001"?
stentor.toml:3:48: allowed_origins[1]: "https://chat.example.com/app" is not an origin, which has no path; did you mean "https://chat.example.com"?
stentor.toml:6:3: limits.conections_max: unknown key; did you mean "connections_max"?
stentor.toml:7:21: limits.message_bytes_max: expected an integer, found a string; write 65536 without quotation marks
stentor.toml:8:21: limits.request_burst_max: must be at least 1, is 0
stentor.toml:11:9: log.level: unknown value "wran", known are error, warn, info, debug, trace; did you mean "warn"?
stentor.toml:14:12: proxy.trusted[0]: "10.0.0.0/33" is not a network; write an address and a prefix length, such as "10.0.0.0/8"
stentor.toml:18:10: auth.keys[0].secret: the secret is a well-known placeholder, which anyone could sign with; make one with: openssl rand -base64 48
stentor.toml:21:13: auth.keys[1].algorithm: unknown value "hs256", known are HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA; did you mean "HS256"?
stentor.toml:25:8: plugins[0].name: "message policy" is not a name: 1 to 64 letters, digits, "-" and "_"
stentor.toml:28:1: plugins[1].name: is missing
stentor.toml:30:15: plugins[1].call_ms_max: must be at most 1000, is 5000
stentor.toml:33:11: rooms[0].pattern: must not be empty
stentor.toml:39:11: rooms[2].pattern: "a" is already the pattern of rooms[1], which decides
stentor.toml:41:2: redis: the Redis engine is not in this version, which keeps everything in one process; remove it
"#;
    assert_eq!(lines(with_file(text, &[])).join("\n"), expected.trim());
}

#[test]
fn keys_in_the_wrong_place_or_order_are_recognised() {
    let text = "max_connections = 1\nmessage_bytes_max = 5\n[limits]\nmax_outbox_bytes = 1\nzzz = 1\n[log]\nzzz = 1\n";
    let found = lines(with_file(text, &[("JWT_SECRET", SECRET)]));
    let expected = [
        "stentor.toml:1:1: max_connections: unknown key; did you mean \"limits.connections_max\"?",
        "stentor.toml:2:1: message_bytes_max: unknown key; did you mean \"limits.message_bytes_max\"?",
        "stentor.toml:4:1: limits.max_outbox_bytes: unknown key; did you mean \"outbox_bytes_max\"?",
        "stentor.toml:5:1: limits.zzz: unknown key",
        "stentor.toml:7:1: log.zzz: unknown key; known here: format, level",
    ];
    assert_eq!(found, expected);
}

#[test]
fn kinds_are_told_apart() {
    let text = "listen = 3001\nallowed_origins = \"https://a.example\"\nquery_token = \"true\"\nshards = 1.5\nlog = 5\n\
                data_directory = 2026-01-01\n[plugins]\nname = \"x\"\n[limits]\nconnections_max = 99999999999999999999\n";
    let found = lines(with_file(text, &[("JWT_SECRET", SECRET)]));
    let expected = [
        "stentor.toml:1:10: listen: expected a string, found an integer; write \"3001\"",
        "stentor.toml:2:19: allowed_origins: expected a list, found a string; write [\"https://a.example\"]",
        "stentor.toml:3:15: query_token: expected a boolean, found a string; write true without quotation marks",
        "stentor.toml:4:10: shards: expected an integer, found a floating-point number",
        "stentor.toml:5:7: log: expected a table, found an integer",
        "stentor.toml:6:18: data_directory: expected a string, found a date or time",
        "stentor.toml:7:1: plugins: expected a list, found a table; write [[plugins]]",
        "stentor.toml:10:19: limits.connections_max: must be at most 9223372036854775807, is 99999999999999999999",
    ];
    assert_eq!(found, expected);
}

#[test]
fn broken_syntax_is_reported_with_what_is_surely_wrong_beside_it() {
    let found = lines(with_file("listen = 127.0.0.1:3001\nshards = many\nlimit = 5\n", &[("PORT", "x")]));
    assert_eq!(found.len(), 4, "{found:#?}");
    assert!(found[0].starts_with("stentor.toml:1:"), "{}", found[0]);
    assert_eq!(found[1], "stentor.toml:2:10: string values must be quoted, expected literal string");
    assert!(found[2].starts_with("stentor.toml:3:1: limit: unknown key"), "{}", found[2]);
    assert_eq!(found[3], "PORT: \"x\" is not a port");
    // Behind an open bracket every key seems to be in the wrong place.
    let found = lines(with_file("[limits\nconnections_max = 5\n[log]\nlevel = \"info\"\n", &[]));
    assert_eq!(found, ["stentor.toml:1:8: unclosed table, expected `]`"]);
}

#[test]
fn s1_67_the_environment_outweighs_the_file() {
    let text = "listen = \"127.0.0.1:4000\"\nallowed_origins = [\"https://a.example\"]\n[limits]\nconnections_max = 5\n\
                connections_per_user_max = 6\n[[auth.keys]]\nalgorithm = \"HS512\"\nsecret_env = \"CHAT_SECRET\"\n";
    let loaded = with_file(
        text,
        &[
            ("STENTOR__LIMITS__CONNECTIONS_MAX", "7_000"),
            ("STENTOR__LIMITS", "{ handshakes_max = 9, connections_max = 8 }"),
            ("STENTOR__LOG__LEVEL", "debug"),
            ("STENTOR__LOG__FORMAT", ""),
            ("STENTOR__QUERY_TOKEN", "true"),
            ("STENTOR__PROXY__TRUSTED", "[\"10.0.0.0/8\", \"fd00::/8\"]"),
            ("STENTOR__ROOMS", "[{ pattern = \"vip-*\", join = \"members\" }]"),
            ("CHAT_SECRET", SECRET),
            ("JWT_SECRET", SECRET),
            ("FRONTEND_URL", "https://app.example/"),
            ("PORT", "8080"),
        ],
    )
    .unwrap();
    let config = &loaded.config;
    assert_eq!(config.limits.connections_max, 7_000);
    assert_eq!((config.limits.connections_per_user_max, config.limits.handshakes_max), (6, 9));
    assert_eq!(config.log.level, LogLevel::Debug);
    assert!(config.query_token);
    assert_eq!(config.proxy.trusted.len(), 2);
    assert_eq!(config.rooms[0].join, JoinPolicy::Members);
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.allowed_origins, ["https://a.example", "https://app.example"]);
    let keys: Vec<_> = config.auth.keys.iter().map(|key| (key.algorithm, key.secret.is_some())).collect();
    assert_eq!(keys, [(Algorithm::HS512, false), (Algorithm::HS256, true)]);
    assert_eq!(loaded.notes, Vec::<String>::new());
}

#[test]
fn faults_of_variables_name_the_variable() {
    let found = lines(without_file(&[
        ("JWT_SECRET", "tooshort"),
        ("FRONTEND_URL", "https://app.example/chat"),
        ("PORT", "http"),
        ("REDIS_HOST", "redis"),
        ("STENTOR__REDIS__URL", "redis://redis"),
        ("STENTOR__LIMITS__CONECTIONS_MAX", "5"),
        ("STENTOR__CONNECTIONS_MAX", "5"),
        ("STENTOR__LIMITS__CONNECTIONS_MAX", "many"),
        ("STENTOR__limits__handshakes_max", "5"),
        ("STENTOR__QUERY_TOKEN", "yes"),
        ("STENTOR__ALLOWED_ORIGINS", "https://a.example"),
        ("STENTOR__PLUGINS__0__NAME", "x"),
        ("STENTOR__ROOMS", "[{ pattern = 5 }]"),
        ("STENTOR__TIMING__PING_MS", "0"),
    ]));
    let expected = r#"
FRONTEND_URL: "https://app.example/chat" is not an origin, which has no path; did you mean "https://app.example"?
JWT_SECRET: a secret for HS algorithms has at least 32 bytes, this has 8; make one with: openssl rand -base64 48
PORT: "http" is not a port
REDIS_HOST: the Redis engine is not in this version, which keeps everything in one process; unset it
STENTOR__ALLOWED_ORIGINS: expected a list in TOML syntax, found a bare text; write ["https://a.example"]
STENTOR__CONNECTIONS_MAX: unknown key; did you mean STENTOR__LIMITS__CONNECTIONS_MAX?
STENTOR__LIMITS__CONECTIONS_MAX: unknown key; did you mean STENTOR__LIMITS__CONNECTIONS_MAX?
STENTOR__LIMITS__CONNECTIONS_MAX: expected an integer, found "many"
STENTOR__PLUGINS__0__NAME: a list's entries have no variables of their own; set the whole list with STENTOR__PLUGINS
STENTOR__QUERY_TOKEN: expected true or false, found "yes"
STENTOR__REDIS__URL: the Redis engine is not in this version, which keeps everything in one process; unset it
STENTOR__ROOMS: rooms[0].pattern: expected a string, found an integer; write "5"
STENTOR__TIMING__PING_MS: must be at least 1, is 0
STENTOR__limits__handshakes_max: limits.handshakes_max: variables are written in upper case; did you mean STENTOR__LIMITS__HANDSHAKES_MAX?
"#;
    assert_eq!(found.join("\n"), expected.trim());
}

#[test]
fn without_anything_it_is_a_development_server() {
    let loaded = without_file(&[("HOME", "/"), ("JWT_SECRET", "")]).unwrap();
    assert_eq!(json(&loaded.config), json(&Config::development()));
    assert!(loaded.config.development && loaded.config.auth.keys.is_empty());

    let moved = without_file(&[
        ("PORT", "4001"),
        ("FRONTEND_URL", "http://localhost:5173/"),
        ("STENTOR__LIMITS__CONNECTIONS_MAX", "5"),
    ]);
    let config = moved.unwrap().config;
    assert!(config.development);
    assert_eq!(config.limits.connections_max, 5);
    assert_eq!(config.allowed_origins, ["http://127.0.0.1:4001", "http://localhost:4001", "http://localhost:5173"]);
}

#[test]
fn s1_67_s1_70_s2_52_with_a_secret_alone_it_is_a_plain_server() {
    let loaded = without_file(&[("JWT_SECRET", SECRET), ("PORT", "4001")]).unwrap();
    assert!(!loaded.config.development && loaded.config.plugins.is_empty() && loaded.config.allowed_origins.is_empty());
    assert_eq!(loaded.config.listen.to_string(), "127.0.0.1:4001");
    assert_eq!(loaded.config.auth.keys.len(), 1);
    assert_eq!(loaded.notes.len(), 1);
    assert!(loaded.notes[0].starts_with("rooms are open to any authenticated user"), "{}", loaded.notes[0]);
}

#[test]
fn a_server_that_can_be_reached_needs_a_key() {
    let missing = "auth.keys: a server needs a key to judge tokens by, unless development = true; set JWT_SECRET to at \
                   least 32 random bytes (openssl rand -base64 48), or add [[auth.keys]] or auth.jwks_url to the file";
    assert_eq!(lines(with_file("listen = \"0.0.0.0:3001\"\n", &[])), [format!("stentor.toml: {missing}")]);
    assert_eq!(lines(without_file(&[("STENTOR__AUTH__USER_CLAIM", "id")])), [format!("configuration: {missing}")]);
    let found = lines(without_file(&[("STENTOR__LISTEN", "0.0.0.0:3001"), ("STENTOR__ADMIN__LISTEN", "[::1]:3002")]));
    let expected = "STENTOR__LISTEN: a development server listens on loopback addresses only, not on 0.0.0.0:3001; set \
                    JWT_SECRET or a key in [[auth.keys]], and development = false, to be reached from elsewhere";
    assert_eq!(found, [expected]);
}

#[test]
fn keys_and_values_must_agree() {
    let text = format!(
        "listen = \"0.0.0.0:3001\"\nadmin.listen = \"127.0.0.1:3001\"\nlimits.message_bytes_max = 2_000_000\n\
         [[auth.keys]]\nkid = \"a\"\nalgorithm = \"HS256\"\nsecret = \"{SECRET}\"\n\
         [[auth.keys]]\nkid = \"a\"\nalgorithm = \"HS256\"\nsecret = \"{SECRET}\"\nfile = \"x\"\n\
         [[auth.keys]]\nalgorithm = \"RS256\"\nfile = \"no-such.pem\"\n\
         [[plugins]]\nname = \"a\"\ncomponent = \"message-policy\"\n[[plugins]]\nname = \"a\"\ncomponent = \"no-such.wasm\"\n"
    );
    let expected = r#"
stentor.toml:2:16: admin.listen: listen and admin.listen need different ports
stentor.toml:3:28: limits.message_bytes_max: a message of message_bytes_max = 2000000 would not fit into outbox_bytes_max = 1048576; raise outbox_bytes_max
stentor.toml:8:1: auth.keys[1]: needs exactly one of secret, secret_env and file, has 2
stentor.toml:9:7: auth.keys[1].kid: "a" with HS256 is already the key id of auth.keys[0]
stentor.toml:15:8: auth.keys[2].file: cannot read the key file no-such.pem: No such file or directory (os error 2); a relative path starts at the working directory
stentor.toml:18:13: plugins[0].component: "message-policy": there is no such file; did you mean "bundled:message-policy"?
stentor.toml:20:8: plugins[1].name: "a" is already the name of plugins[0]
stentor.toml:21:13: plugins[1].component: "no-such.wasm": there is no such file; a relative path starts at the working directory
"#;
    assert_eq!(lines(with_file(&text, &[])).join("\n"), expected.trim());
}

#[test]
fn published_keys_are_keys_enough() {
    let url = "https://id.example.com/keys";
    let loaded = with_file(&format!("auth.jwks_url = \"{url}\"\n"), &[]).unwrap();
    assert!(loaded.notes.iter().any(|note| note.contains("without auth.audiences")), "{:?}", loaded.notes);
    let config = loaded.config;
    assert!(!config.development && config.auth.keys.is_empty());
    assert!(config.auth.jwks_algorithms.contains(&Algorithm::RS256));
    let loaded = without_file(&[("STENTOR__AUTH__JWKS_URL", url), ("STENTOR__LISTEN", "0.0.0.0:3001")]).unwrap();
    assert!(!loaded.config.development);
    assert_eq!(loaded.config.auth.jwks_url, url);
}

#[test]
fn published_keys_are_sought_where_they_can_be() {
    let text = "[auth]\njwks_file = \"no-such.json\"\njwks_url = \"http://id.example.com/keys\"\njwks_refresh_seconds = 5\n\
                jwks_algorithms = [\"RS256\", \"HS256\"]\njwks_refetch_seconds_min = 0\njwks_ca_file = \"root.pem\"\n";
    let expected = r#"
stentor.toml:2:13: auth.jwks_file: cannot read the key file no-such.json: No such file or directory (os error 2); a relative path starts at the working directory
stentor.toml:3:12: auth.jwks_url: "http://id.example.com/keys" is not fetched: without TLS anyone on the way could put in keys of their own; did you mean "https://id.example.com/keys"?
stentor.toml:4:24: auth.jwks_refresh_seconds: must be at least 10, is 5
stentor.toml:5:19: auth.jwks_algorithms: HS256 is not for published keys: whoever reads one could sign with it; give the secret in [[auth.keys]]
stentor.toml:6:28: auth.jwks_refetch_seconds_min: must be at least 1, is 0
"#;
    assert_eq!(lines(with_file(text, &[])).join("\n"), expected.trim());
    let found = lines(with_file("[auth]\njwks_ca_file = \"root.pem\"\n", &[("JWT_SECRET", SECRET)]));
    assert_eq!(found, ["stentor.toml:2:16: auth.jwks_ca_file: means nothing without jwks_url"]);
}

#[test]
fn no_problem_repeats_a_secret() {
    let text = "[[auth.keys]]\nalgorithm = \"HS256\"\nsecret = 987654321\n[[auth.keys]]\nalgorithm = \"HS256\"\n\
                secret = \"987654321\"\n[[auth.keys]]\nalgorithm = \"RS256\"\nsecret = \"987654321\"\n";
    let value = "[{ algorithm = \"HS256\", secret = \"987654321 }]";
    for result in
        [with_file(text, &[]), with_file(text, &[("STENTOR__AUTH__KEYS", value), ("JWT_SECRET", "987654321")])]
    {
        let debugged = format!("{result:?}");
        let found = lines(result);
        assert!(found.len() >= 3 && !debugged.contains("987654321"), "{found:#?}");
    }
}

#[test]
fn what_kubernetes_sets_is_no_mistake() {
    let loaded = without_file(&[
        ("JWT_SECRET", SECRET),
        ("REDIS_PORT", "tcp://10.0.0.7:6379"),
        ("STENTOR_SERVICE_HOST", "10.0.0.8"),
        ("STENTOR_LISTEN", "0.0.0.0:1"),
    ])
    .unwrap();
    assert!(loaded.notes.iter().any(|note| note.starts_with("REDIS_PORT is ignored")));
    assert!(loaded.notes.contains(&"STENTOR_LISTEN is not read; did you mean STENTOR__LISTEN?".to_owned()));
    assert_eq!(loaded.notes.len(), 3);
}

#[test]
fn a_file_that_is_named_must_exist() {
    let problems = load(&Source { path: Some("no-such.toml".into()), environment: Vec::new() }).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].to_string().starts_with("no-such.toml: cannot be read: "), "{}", problems[0]);
}

/// All keys below a shape, also those of the tables of a list.
fn keys_of(shape: Shape<'_>, above: &str) -> Vec<String> {
    let below = |key: &str| {
        let (path, inner) = (format!("{above}{key}"), shape.property(key).unwrap());
        match (inner.kind(), inner.items().filter(|items| items.kind() == Kind::Table)) {
            (Kind::Table, _) => keys_of(inner, &format!("{path}.")),
            (_, Some(items)) => keys_of(items, &format!("{path}[].")),
            _ => vec![path],
        }
    };
    shape.keys().flat_map(below).collect()
}

#[test]
fn every_key_is_in_the_operators_guide() {
    let (guide, schema) = (include_str!("../operations.md"), super::schema());
    let keys = keys_of(Shape::of(&schema), "");
    assert!(keys.len() > 80, "{keys:?}");
    let missing: Vec<_> = keys.iter().filter(|key| !guide.contains(&format!("\n| `{key}` | "))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
