//! Servers in this process.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use stentor::config::{Algorithm, ApiKey, Config, Durability, Key, Plugin, Redis, Secret};
use stentor::{Listeners, Server, StartError};

use super::{Client, Handshake, Response, SECRET, Token};

/// A configuration for tests: two shards, the tests' key, no bound on rates, and nothing to wait for when it stops.
pub(crate) fn config() -> Config {
    let data_directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("behaviour");
    let mut config = Config { shards: 2, data_directory, ..Config::default() };
    let secret = Some(Secret::new(SECRET));
    config.auth.keys = vec![Key { kid: None, algorithm: Algorithm::HS256, secret, secret_env: None, file: None }];
    config.limits.requests_per_second_max = 0;
    // Tests of the disk say so, and have a directory each.
    config.store.durability = Durability::Memory;
    config.timing.close_ms_max = 1_000;
    config.timing.drain_ms = 0;
    config
}

/// A plugin with its configuration. Components are looked for where the repository keeps them.
pub(crate) fn plugin(name: &str, component: &str, config: Value) -> Plugin {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/built");
    let path = std::env::var_os("STENTOR_TEST_PLUGINS").map_or_else(built, std::path::PathBuf::from).join(component);
    Plugin {
        // Far more than a call takes, so that only a call that never ends is ended, however busy the machine is.
        call_ms_max: 500,
        // Tests of single failures want to be asked again; those of quarantine say so.
        quarantine_failures: 0,
        config: config.as_object().unwrap().clone(),
        ..Plugin::new(name, path.to_str().unwrap())
    }
}

/// An auth plugin that does what its configuration says.
pub(crate) fn obedient(name: &str, config: Value) -> Plugin {
    Plugin {
        // Long enough for any machine; the tests of waiting say how long they wait.
        wait_ms_max: 60_000,
        ..plugin(name, "obedient.wasm", config)
    }
}

/// A configuration with these plugins.
pub(crate) fn with_plugins(plugins: Vec<Plugin>) -> Config {
    Config { plugins, ..config() }
}

/// The key of the server API that the tests use.
pub(crate) const API_KEY: &str = "the key that only our own tests let in with";

/// A key of the server API.
pub(crate) fn api_key(name: &str, secret: &str) -> ApiKey {
    ApiKey { name: name.to_owned(), secret: Some(Secret::new(secret)), secret_env: None, file: None }
}

/// A configuration with the server API open.
pub(crate) fn with_api() -> Config {
    let mut config = config();
    config.api.keys = vec![api_key("tests", API_KEY)];
    config
}

/// A running server. It stops when it is dropped.
pub(crate) struct TestServer {
    server: Server,
    /// Whether clients hear what comes by the way, and acknowledge for themselves unless they say otherwise.
    explicit: bool,
}

impl TestServer {
    /// Starts a server.
    pub(crate) fn start(config: Config) -> Self {
        Self::try_start(config).unwrap_or_else(|error| panic!("the server does not start: {error}"))
    }

    /// Starts a server, or says why not. Where the suite is run on a Redis, whatever would be kept in memory is kept there.
    pub(crate) fn try_start(mut config: Config) -> Result<Self, StartError> {
        if let Ok(url) = std::env::var("STENTOR_TEST_REDIS")
            && config.redis.is_none()
            && config.store.durability == Durability::Memory
        {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let prefix = format!("{}-{number}:", std::process::id());
            config.redis = Some(Redis { prefix, ..Redis::at(url) });
        }
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server::start(config, Listeners { client: listen(), admin: listen() })?;
        Ok(Self { server, explicit: false })
    }

    /// From here on clients hear everything, and acknowledge for themselves unless a test says otherwise.
    pub(crate) fn explicit(self) -> Self {
        Self { explicit: true, ..self }
    }

    /// A server with so many shards and nothing else unusual.
    pub(crate) fn with_shards(shards: usize) -> Self {
        let mut config = config();
        config.shards = shards;
        Self::start(config)
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.client_address()
    }

    /// Where the operator connects.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.server.admin_address()
    }

    /// A handshake that is still to be sent.
    pub(crate) fn handshake(&self) -> Handshake {
        Handshake::to(self.address())
    }

    /// A connection that has not authenticated.
    pub(crate) fn connect(&self) -> Client {
        self.handshake().upgrade()
    }

    /// An authenticated connection of a user.
    pub(crate) fn user(&self, user: &str) -> Client {
        self.device(user, json!({}))
    }

    /// An authenticated connection of a user, with what else `auth` may say.
    pub(crate) fn device(&self, user: &str, options: Value) -> Client {
        let client = self.with_token(&Token::of(user), options);
        assert_eq!(client.success["userId"], user);
        client
    }

    /// A connection that has authenticated with a token, with what else `auth` may say.
    pub(crate) fn with_token(&self, token: &Token, options: Value) -> Client {
        let mut client = self.connect();
        client.batch = options["batch"] == true;
        client.hears_all = self.explicit;
        let mut data = options;
        if self.explicit && data.get("autoAck").is_none() {
            data["autoAck"] = false.into();
        }
        data["token"] = token.sign().into();
        client.success = client.reply_named("auth-success", "auth", data);
        client
    }

    /// A user who is in a room.
    pub(crate) fn member(&self, user: &str, room: &str) -> Client {
        let mut client = self.user(user);
        client.join(room);
        client
    }

    /// A plain TCP connection to the client listener.
    pub(crate) fn socket(&self) -> TcpStream {
        TcpStream::connect(self.address()).unwrap()
    }

    /// Asks the operator's listener.
    pub(crate) fn admin(&self, path: &str) -> Response {
        Response::get(self.admin_address(), path)
    }

    /// Asks the server API.
    pub(crate) fn api_response(&self, verb: &str, body: &Value) -> Response {
        Response::post(self.admin_address(), &format!("/api/v1/{verb}"), API_KEY, &body.to_string())
    }

    /// Asks the server API, which must do it; the answer.
    pub(crate) fn api(&self, verb: &str, body: Value) -> Value {
        let response = self.api_response(verb, &body);
        assert_eq!(response.status, 200, "{verb} {body}: {}", response.body);
        serde_json::from_str(&response.body).unwrap()
    }

    /// Asks the server API, which must refuse it with this status and code; the error.
    pub(crate) fn api_refused(&self, status: u16, code: &str, verb: &str, body: Value) -> Value {
        let response = self.api_response(verb, &body);
        let answer: Value = serde_json::from_str(&response.body).unwrap();
        assert_eq!(
            (response.status, answer["error"]["code"].as_str()),
            (status, Some(code)),
            "{verb} {body}: {answer}"
        );
        assert!(answer["error"]["message"].is_string() && answer["error"]["retryable"].is_boolean(), "{answer}");
        answer["error"].clone()
    }

    /// The value of a series, named as `/metrics` writes it; 0 if it is not there.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let body = self.admin("/metrics").body;
        let line = body.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// How many calls of a plugin's hook had this outcome.
    pub(crate) fn calls(&self, plugin: &str, hook: &str, outcome: &str) -> f64 {
        self.metric(&format!("stentor_plugin_calls_total{{plugin=\"{plugin}\",hook=\"{hook}\",outcome=\"{outcome}\"}}"))
    }

    /// The value of a series that a plugin has once.
    pub(crate) fn plugin_metric(&self, series: &str, plugin: &str) -> f64 {
        self.metric(&format!("{series}{{plugin=\"{plugin}\"}}"))
    }

    /// Puts another configuration into force.
    pub(crate) fn reload(&self, config: Config) {
        self.server.reload(config).unwrap_or_else(|error| panic!("the server does not reload: {error}"));
    }

    /// Stops the server politely. Returns when it is gone.
    pub(crate) fn stop(self) {
        self.server.stop();
    }
}
