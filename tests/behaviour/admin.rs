//! The operator's listener, and what the client listener does not show.

use std::path::PathBuf;

use serde_json::{Value, json};
use stentor::config::Config;

use crate::common::{Response, TestServer, config, until};

#[test]
fn health_and_readiness_are_told() {
    let server = TestServer::with_shards(2);
    for path in ["/healthz", "/readyz", "/healthz?x=1"] {
        let response = server.admin(path);
        assert_eq!(response.status, 200, "{path}");
        assert_eq!(response.header("content-type"), Some("application/json"));
        assert_eq!(serde_json::from_str::<Value>(&response.body).unwrap()["status"], "ok");
    }
}

#[test]
fn a_server_that_stops_is_not_ready_but_healthy() {
    let mut config = config();
    config.timing.drain_ms = 10_000;
    config.timing.close_ms_max = 10_000;
    let server = TestServer::start(config);
    let admin = server.admin_address();
    // Somebody who is asked to go but does not.
    let mut clients: Vec<_> = (0..4).map(|_| server.connect()).collect();
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| server.stop());
        clients[3].push_after_others("going-away");
        until("it is not ready", || (Response::get(admin, "/readyz").status == 503).then_some(()));
        assert_eq!(Response::get(admin, "/healthz").status, 200);
        assert_eq!(Response::get(admin, "/metrics").status, 200);
        // Nothing keeps it any longer.
        clients.clear();
        stop.join().unwrap();
    });
}

#[test]
fn only_reading_is_answered() {
    let server = TestServer::with_shards(1);
    let address = server.admin_address();
    for path in ["/", "/nothing", "/ws", "/metrics/", "/demo", "/healthz/x"] {
        assert_eq!(server.admin(path).status, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        let request =
            format!("{method} /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(Response::to(address, &request).status, 405, "{method}");
    }
}

#[test]
fn the_operators_pages_are_not_on_the_client_listener() {
    let server = TestServer::with_shards(1);
    for path in ["/metrics", "/healthz", "/readyz", "/api/v1/publish", "/api/openapi.json"] {
        assert_eq!(Response::get(server.address(), path).status, 404, "{path}");
    }
}

// Development

/// A development server; its directory goes with it.
struct Development {
    server: Option<TestServer>,
    directory: PathBuf,
}

impl Development {
    fn start(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("stentor-development-{name}-{}", std::process::id()));
        let mut config = Config { data_directory: directory.clone(), shards: 2, ..Config::development() };
        config.timing.drain_ms = 0;
        Self { server: Some(TestServer::start(config)), directory }
    }

    fn server(&self) -> &TestServer {
        self.server.as_ref().unwrap()
    }

    /// Asks the client listener under some host.
    fn ask(&self, line: &str, host: &str, more: &str, body: &str) -> Response {
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n{more}\r\n{body}"
        );
        Response::to(self.server().address(), &request)
    }
}

impl Drop for Development {
    fn drop(&mut self) {
        drop(self.server.take());
        let _gone_already = std::fs::remove_dir_all(&self.directory);
    }
}

const JSON: &str = "Content-Type: application/json\r\n";

#[test]
fn s2_1_a_development_server_shows_its_page_to_this_machine() {
    let development = Development::start("page");
    let port = development.server().address().port();
    for host in
        [format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("[::1]:{port}"), format!("LOCALHOST:{port}")]
    {
        let page = development.ask("GET /demo", &host, "", "");
        assert_eq!(page.status, 200, "{host}");
        assert!(page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")));
        assert!(page.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'")));
        assert!(page.body.contains("<html") || page.body.contains("<!doctype html"), "{:.100}", page.body);
    }
    // A name that somebody else's DNS lets point here is another site.
    for host in [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        "127.0.0.1".to_owned(),
        format!("127.0.0.1.evil.example:{port}"),
        String::new(),
    ] {
        assert_eq!(development.ask("GET /demo", &host, "", "").status, 403, "{host}");
        let token = development.ask("POST /demo/token", &host, JSON, r#"{"user":"ann"}"#);
        assert_eq!(token.status, 403, "{host}");
    }
    assert_eq!(development.ask("GET /demo/other", &format!("localhost:{port}"), "", "").status, 404);
    assert_eq!(development.ask("POST /demo", &format!("localhost:{port}"), "", "").status, 405);
}

#[test]
fn a_development_server_gives_tokens_to_its_page() {
    let development = Development::start("token");
    let server = development.server();
    let host = format!("localhost:{}", server.address().port());
    let answer = development.ask("POST /demo/token", &host, JSON, r#"{"user":"ann"}"#);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    let token = answer["token"].as_str().unwrap();
    // The page's own origin may connect, and no other.
    let mut client = server.handshake().bearer(token).set("Origin", &format!("http://{host}")).upgrade();
    let success = client.push("auth-success");
    assert_eq!((&success["userId"], &success["expiresAt"]), (&json!("ann"), &answer["expiresAt"]));
    assert_eq!(server.handshake().set("Origin", "http://evil.example").refused().status, 403);
    // What another site's form could send is not taken.
    for more in ["", "Content-Type: text/plain\r\n", "Content-Type: application/x-www-form-urlencoded\r\n"] {
        assert_eq!(development.ask("POST /demo/token", &host, more, r#"{"user":"ann"}"#).status, 415, "{more}");
    }
    for bad in ["", "{}", "[]", r#"{"user":""}"#, r#"{"user":"a*"}"#, r#"{"user":5}"#, "nonsense"] {
        assert_eq!(development.ask("POST /demo/token", &host, JSON, bad).status, 400, "{bad}");
    }
    assert_eq!(
        development.ask("POST /demo/token", &host, JSON, &format!(r#"{{"user":"{}"}}"#, "x".repeat(10_000))).status,
        413
    );
    assert_eq!(development.ask("GET /demo/token", &host, "", "").status, 405);
    // The sample policy is in force.
    client.join("lobby");
    client.refused("REJECTED", "send-message", json!({"conversationId": "lobby", "content": "heck"}));
}

#[test]
fn another_server_has_no_page_and_gives_no_tokens() {
    let server = TestServer::with_shards(1);
    let address = server.address();
    let host = format!("localhost:{}", address.port());
    for path in ["/demo", "/demo/", "/demo/token"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(Response::to(address, &request).status, 404, "{path}");
    }
    let body = r#"{"user":"ann"}"#;
    let request = format!(
        "POST /demo/token HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{JSON}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(Response::to(address, &request).status, 404);
}

#[test]
fn a_production_server_does_not_start_without_a_key_that_works() {
    // Without keys every token is refused; with one that is no key it does not start.
    let mut config = config();
    config.auth.keys[0].secret = Some(stentor::config::Secret::new("short"));
    assert!(TestServer::try_start(config.clone()).is_err());
    config.auth.keys[0].secret = None;
    config.auth.keys[0].file = Some("/no/such/key.pem".into());
    assert!(TestServer::try_start(config).is_err());
}
