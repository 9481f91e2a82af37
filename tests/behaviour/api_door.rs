//! The server API's door: who is let in, and what is refused before it is read.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::common::{API_KEY, DEADLINE, Response, TestServer, api_key, config, with_api};

const OTHER_KEY: &str = "another key, of forty-two characters or so";

fn error(response: &Response) -> (u16, String) {
    let body: Value = serde_json::from_str(&response.body).unwrap_or_else(|error| panic!("{error}: {response:?}"));
    assert_eq!(response.header("content-type"), Some("application/json"));
    (response.status, body["error"]["code"].as_str().unwrap().to_owned())
}

fn publish() -> Value {
    json!({"userId": "ann", "conversationId": "lobby", "content": 1})
}

#[test]
fn without_keys_the_api_is_closed_and_says_so() {
    let server = TestServer::start(config());
    let response = server.api_response("publish", &publish());
    assert_eq!(error(&response), (403, "FORBIDDEN".to_owned()));
    assert!(response.body.contains("[[api.keys]]"), "{}", response.body);
}

#[test]
fn nobody_is_let_in_without_a_good_key() {
    let server = TestServer::start(with_api());
    let address = server.admin_address();
    let post = |path: &str, header: &str| {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 2\r\n{header}\r\n{{}}"
        );
        Response::to(address, &request)
    };
    let bearer = |key: &str| format!("Authorization: Bearer {key}\r\n");
    for (header, code) in [
        (String::new(), "NOT_AUTHENTICATED"),
        (bearer(""), "AUTH_FAILED"),
        (bearer(&API_KEY[1..]), "AUTH_FAILED"),
        (bearer(&format!("{API_KEY}x")), "AUTH_FAILED"),
        (bearer(&"x".repeat(5000)), "AUTH_FAILED"),
        (format!("Authorization: Basic {API_KEY}\r\n"), "AUTH_FAILED"),
        (bearer(API_KEY).repeat(2), "AUTH_FAILED"),
    ] {
        let response = post("/api/v1/publish", &header);
        assert_eq!(error(&response), (401, code.to_owned()), "{header}");
        assert_eq!(response.header("www-authenticate"), Some("Bearer"));
        // Strangers are not told what there is.
        assert_eq!(error(&post("/api/v1/nothing", &header)).0, 401);
    }
    assert_eq!(error(&post("/api/v1/publish?key=x", &bearer(API_KEY))).0, 400, "let in, and has nothing to say");
}

#[test]
fn only_verbs_are_answered_and_only_to_post() {
    let server = TestServer::start(with_api());
    let address = server.admin_address();
    for verb in ["nothing", "", "Publish", "publish/", "openapi", "unknown", "call"] {
        assert_eq!(error(&server.api_response(verb, &publish())), (404, "UNKNOWN_EVENT".to_owned()), "{verb:?}");
    }
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        let request = format!(
            "{method} /api/v1/publish HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 0\r\nAuthorization: Bearer {API_KEY}\r\n\r\n"
        );
        let response = Response::to(address, &request);
        assert_eq!((response.status, response.header("allow")), (405, Some("POST")), "{method}");
    }
}

#[test]
fn s2_51_bad_bodies_are_refused_with_what_is_wrong() {
    let server = TestServer::start(with_api());
    let post = |body: &str| error(&Response::post(server.admin_address(), "/api/v1/publish", API_KEY, body));
    let frame = || (400, "INVALID_FRAME".to_owned());
    let payload = || (400, "INVALID_PAYLOAD".to_owned());
    for body in ["", "{", "nonsense", "{} {}", "{\"a\":}", "\u{feff}{}"] {
        assert_eq!(post(body), frame(), "{body:?}");
    }
    let deep =
        format!("{{\"userId\":\"a\",\"conversationId\":\"b\",\"content\":{}{}}}", "[".repeat(64), "]".repeat(64));
    assert_eq!(post(&deep), frame());
    for body in [
        "[]",
        "1",
        "null",
        "\"lobby\"",
        "{}",
        r#"{"userId":"ann"}"#,
        r#"{"conversationId":"lobby","content":1}"#,
        r#"{"userId":"ann","conversationId":"lobby"}"#,
        r#"{"userId":1,"conversationId":"lobby","content":1}"#,
        r#"{"userId":"ann","conversationId":["lobby"],"content":1}"#,
        r#"{"userId":"","conversationId":"lobby","content":1}"#,
        r#"{"userId":"a*","conversationId":"lobby","content":1}"#,
        r#"{"userId":"ann","conversationId":"lob\nby","content":1}"#,
        r#"{"userId":"ann","conversationId":"a","conversationId":"b","content":1}"#,
        r#"{"userId":"ann","conversationId":"lobby","content":1,"tempId":5}"#,
        r#"{"userId":"ann","conversationId":"lobby","content":1,"noEcho":"yes"}"#,
    ] {
        assert_eq!(post(body), payload(), "{body}");
    }
    // And the next good one is carried out.
    server.api("publish", publish());
}

#[test]
fn huge_bodies_are_refused_before_they_are_read() {
    let mut config = with_api();
    config.api.body_bytes_max = 4096;
    config.limits.message_bytes_max = 2048;
    let server = TestServer::start(config);
    let address = server.admin_address();
    let too_large = || (413, "PAYLOAD_TOO_LARGE".to_owned());
    let head = |rest: &str| {
        format!(
            "POST /api/v1/publish HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {API_KEY}\r\n{rest}\r\n"
        )
    };
    // Announced only: nothing of it is ever sent.
    assert_eq!(error(&Response::to(address, &head("Content-Length: 1000000000000\r\n"))), too_large());
    // Not announced: it is cut where it is too long.
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(4096));
    let request = format!("{}{chunk}1\r\nx\r\n", head("Transfer-Encoding: chunked\r\n"));
    assert_eq!(error(&Response::to(address, &request)), too_large());
    // A message has a bound of its own, as a client's has.
    let mut long = publish();
    long["content"] = "x".repeat(2048).into();
    assert_eq!(error(&server.api_response("publish", &long)), too_large());
    server.api("publish", publish());
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let mut config = with_api();
    config.api.request_ms_max = 100;
    let server = TestServer::start(config);
    let request = format!(
        "POST /api/v1/publish HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {API_KEY}\r\nContent-Length: 10\r\n\r\n{{"
    );
    assert_eq!(error(&Response::to(server.admin_address(), &request)), (408, "AUTH_TIMEOUT".to_owned()));
}

#[test]
fn more_requests_at_once_than_allowed_are_refused() {
    let mut config = with_api();
    config.api.requests_max = 1;
    let server = TestServer::start(config);
    let mut slow = TcpStream::connect(server.admin_address()).unwrap();
    slow.set_read_timeout(Some(DEADLINE)).unwrap();
    let body = publish().to_string();
    let head = format!(
        "POST /api/v1/publish HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nAuthorization: Bearer {API_KEY}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    slow.write_all(head.as_bytes()).unwrap();
    // It is told to go on, so it is under way.
    let mut told = [0; 25];
    slow.read_exact(&mut told).unwrap();
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    let response = server.api_response("publish", &publish());
    assert_eq!(error(&response), (429, "RATE_LIMITED".to_owned()));
    assert!(response.header("retry-after").is_some());
    // Health does not wait for the API.
    assert_eq!(server.admin("/healthz").status, 200);
    slow.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.api("publish", publish());
}

#[test]
fn whoever_tries_keys_is_refused_and_nobody_else() {
    let mut config = with_api();
    config.api.wrong_keys_per_minute_max = 3;
    config.api.stranger_keys_per_minute_max = 5;
    config.proxy.trusted = vec!["127.0.0.1/32".parse().unwrap()];
    let server = TestServer::start(config.clone());
    let body = publish().to_string();
    let come = |from: &str, key: &str| {
        let request = format!(
            "POST /api/v1/publish HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {from}\r\nAuthorization: Bearer {key}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Response::to(server.admin_address(), &request)
    };
    let let_in = |from: &str| assert_eq!(come(from, API_KEY).status, 200, "{from}");
    let wrong = |from: &str| {
        let response = come(from, OTHER_KEY);
        assert_eq!(error(&response), (401, "AUTH_FAILED".to_owned()), "{from}");
        assert_eq!(response.header("connection"), Some("close"), "a try costs a connection");
    };
    let not_looked_at = |from: &str, key: &str| {
        let response = come(from, key);
        assert_eq!(error(&response), (429, "RATE_LIMITED".to_owned()), "{from}");
        let seconds: u64 = response.header("retry-after").unwrap().parse().unwrap();
        let body: Value = serde_json::from_str(&response.body).unwrap();
        let milliseconds = body["error"]["retryAfterMs"].as_u64().unwrap();
        assert!((1..=20).contains(&seconds) && milliseconds.div_ceil(1000) == seconds, "{response:?}");
    };
    let_in("203.0.113.1");
    // An address has three tries in a minute, and others come in as before.
    (0..3).for_each(|_| wrong("203.0.113.2"));
    not_looked_at("203.0.113.2", OTHER_KEY);
    not_looked_at("203.0.113.2", API_KEY);
    let_in("203.0.113.1");
    let_in("203.0.113.3");
    // A network of one customer is one address.
    wrong("2001:db8:1:2::1");
    wrong("2001:db8:1:2:ffff::");
    // That were five by strangers. Whoever had a right key is none.
    not_looked_at("203.0.113.4", API_KEY);
    let_in("203.0.113.1");
    (0..3).for_each(|_| wrong("203.0.113.3"));
    not_looked_at("203.0.113.3", API_KEY);
    // New rules are no new chance, but may give more.
    server.reload(config.clone());
    not_looked_at("203.0.113.2", API_KEY);
    config.api.wrong_keys_per_minute_max = 0;
    config.api.stranger_keys_per_minute_max = 0;
    server.reload(config);
    wrong("203.0.113.2");
    let_in("203.0.113.2");
    let keys = |result: &str| server.metric(&format!("stentor_api_keys_total{{result=\"{result}\"}}"));
    assert_eq!(["right", "wrong", "not_looked_at"].map(keys), [5.0, 9.0, 5.0]);
}

#[test]
fn a_reload_changes_the_keys() {
    let server = TestServer::start(with_api());
    let by = |key: &str| Response::post(server.admin_address(), "/api/v1/publish", key, &publish().to_string()).status;
    assert_eq!((by(API_KEY), by(OTHER_KEY)), (200, 401));
    let mut both = with_api();
    both.api.keys.push(api_key("other", OTHER_KEY));
    server.reload(both);
    assert_eq!((by(API_KEY), by(OTHER_KEY)), (200, 200));
    let mut rotated = config();
    rotated.api.keys = vec![api_key("other", OTHER_KEY)];
    server.reload(rotated);
    assert_eq!((by(API_KEY), by(OTHER_KEY)), (401, 200));
    server.reload(config());
    assert_eq!((by(API_KEY), by(OTHER_KEY)), (403, 403));
}

#[test]
fn weak_keys_keep_a_server_from_starting() {
    for (secret, fault) in [("short", "at least 32 bytes"), ("changeme", "placeholder")] {
        let mut config = config();
        config.api.keys = vec![api_key("weak", secret)];
        let Err(error) = TestServer::try_start(config) else { panic!("started with {secret}") };
        let text = error.to_string();
        assert!(text.contains("api.keys[0]") && text.contains(fault) && !text.contains("short,"), "{text}");
    }
}

#[test]
fn requests_are_counted_by_verb_and_outcome() {
    let server = TestServer::start(with_api());
    server.api("publish", publish());
    server.api_refused(400, "INVALID_PAYLOAD", "publish", json!({}));
    server.api("batch", json!({"commands": [{"verb": "publish", "data": publish()}, {"verb": "x", "data": 1}]}));
    for (verb, outcome, count) in
        [("publish", "ok", 2.0), ("publish", "refused", 1.0), ("batch", "ok", 1.0), ("unknown", "refused", 1.0)]
    {
        let series = format!("stentor_api_requests_total{{verb=\"{verb}\",outcome=\"{outcome}\"}}");
        assert_eq!(server.metric(&series), count, "{series}");
    }
    assert_eq!(server.metric("stentor_api_request_duration_seconds_count"), 3.0);
}
