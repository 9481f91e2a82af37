//! What an operator may set: one struct per section of `stentor.toml`, each key with its meaning, unit and default.
//!
//! These structs are the only list of keys there is. The JSON Schema, the printed configuration, the checks of types
//! and ranges, the names of the environment variables and the operator's guide are all derived from them. Nothing here
//! knows what a key does beyond its description, and nothing here reads a file: `load` does.

mod api;
mod check;
mod defaults;
mod development;
mod environment;
mod formats;
mod jwks;
mod keys;
mod load;
mod plugins;
mod print;
mod redis;
mod rules;
mod schema;
mod store;
#[cfg(test)]
mod tests;
mod tree;

pub use api::{Api, ApiKey};
pub use check::{Origin, Problem};
pub use development::{DevelopmentKeyError, development_api_key, development_key};
pub use jwks::{JWKS_BYTES_MAX, read_jwks};
pub use keys::KeyFault;
pub use load::{Loaded, Source, load};
pub use plugins::{BUILTIN_JWT, Hook, OnFailure, Plugin};
pub use print::print;
pub use redis::Redis;
pub use schema::schema;
pub use store::{Durability, Store};

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Everything that can be configured.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// A development server: serves the demo page, makes its own key, and listens on loopback addresses only.
    pub development: bool,
    /// Address of the client listener (`/ws`; `/demo` in development).
    #[schemars(with = "schema::SocketAddressText")]
    pub listen: SocketAddr,
    /// Worker shards, each one thread with its own connections. 0 = one per core.
    #[schemars(range(max = 64))]
    pub shards: usize,
    /// Directory for what the server keeps on disk (the store, the development key, compiled plugins).
    #[schemars(with = "String")]
    pub data_directory: PathBuf,
    /// Origins a browser may connect from, each `scheme://host[:port]`. A request without an Origin header is not a browser's and passes.
    #[schemars(with = "Vec<schema::OriginText>")]
    pub allowed_origins: Vec<String>,
    /// Whether `?token=` is accepted. Proxies log query strings, so leave it off unless a client can do nothing else.
    pub query_token: bool,
    /// The operator's listener.
    pub admin: Admin,
    /// The HTTP API for the application's own servers, on the operator's listener.
    pub api: Api,
    /// Logging.
    pub log: Log,
    /// Authentication by JSON Web Token.
    pub auth: Auth,
    /// Proxies in front of the server.
    pub proxy: Proxy,
    /// Delivery of pushes.
    pub delivery: Delivery,
    /// What is kept of a room's log, unless its class says otherwise. 0 = no bound of that kind, except for `room_events_max`.
    pub store: Store,
    /// The Redis that several processes share, in place of what this one keeps. Not read from files yet.
    #[serde(skip)]
    #[schemars(skip)]
    pub redis: Option<Redis>,
    /// Bounds on what clients may do. 0 = none.
    pub limits: Limits,
    /// Times after which something happens, in milliseconds.
    pub timing: Timing,
    /// Room classes; the first whose pattern matches a room's id decides. A room that matches none has the values of `[store]` and is open.
    #[schemars(length(max = 20))]
    pub rooms: Vec<RoomClass>,
    /// Plugins, in the order in which they are asked.
    #[schemars(length(max = 16))]
    pub plugins: Vec<Plugin>,
}

/// `[admin]`: the operator's listener.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Address of the listener for `/metrics`, `/healthz`, `/readyz` and the server API. Keep it off the public network.
    #[schemars(with = "schema::SocketAddressText")]
    pub listen: SocketAddr,
}

/// `[log]`
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `text` for people, `json` for collectors (one object a line).
    pub format: LogFormat,
    /// Least severe level that is written.
    pub level: LogLevel,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For collectors.
    Json,
}

/// Severity of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Our own faults only.
    Error,
    /// And what an operator should look at.
    Warn,
    /// And what happens: connects, joins, refusals.
    #[default]
    Info,
    /// And each request.
    Debug,
    /// And everything else.
    Trace,
}

/// `[auth]`: how tokens are judged.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Keys that may have signed a token. A token with a `kid` is judged by the key of that `kid`, one without by the keys without.
    #[schemars(length(max = 100))]
    pub keys: Vec<Key>,
    /// Claim that names the user.
    #[schemars(length(min = 1))]
    pub user_claim: String,
    /// Whether a token must expire.
    pub require_expiry: bool,
    /// Leeway for `nbf` and `iat`, in seconds. `exp` has none.
    #[schemars(range(max = 300))]
    pub leeway_seconds: u64,
    /// Audiences of which a token must name one. Empty = not checked.
    pub audiences: Vec<String>,
    /// Issuers of which a token must name one. Empty = not checked.
    pub issuers: Vec<String>,
    /// What holds when plugins are asked whether someone may do something in a room and all abstain.
    pub when_all_abstain: AllAbstain,
    /// How long a plugin's yes may be remembered, in milliseconds, whatever the plugin says.
    #[schemars(range(max = 86_400_000))]
    pub verdict_ms_max: u64,
    /// How long a plugin's no may be remembered, in milliseconds, whatever the plugin says.
    #[schemars(range(max = 86_400_000))]
    pub denial_ms_max: u64,
    /// Private claims that become the user's attributes, for plugins. Empty = all that fit.
    pub attribute_claims: Vec<String>,
    /// File with an issuer's public keys, a JSON Web Key Set, used beside `keys`. Empty = none.
    #[schemars(with = "String")]
    pub jwks_file: PathBuf,
    /// Address where an issuer publishes its keys: `https`, or `http` on this machine. Empty = none.
    #[schemars(with = "schema::JwksUrlText")]
    pub jwks_url: String,
    /// PEM file with root certificates that `jwks_url` may be certified by, besides the system's. Empty = none.
    #[schemars(with = "String")]
    pub jwks_ca_file: PathBuf,
    /// Algorithms for published keys that name none of their own: each is for those of these that its type allows.
    pub jwks_algorithms: Vec<Algorithm>,
    /// How often published keys are fetched, in seconds.
    #[schemars(range(min = 10, max = 86_400))]
    pub jwks_refresh_seconds: u64,
    /// Least time between two fetches because of tokens with an unknown `kid`, in seconds.
    #[schemars(range(min = 1, max = 3600))]
    pub jwks_refetch_seconds_min: u64,
}

/// What holds when every plugin that was asked abstains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AllAbstain {
    /// It may not be done.
    #[default]
    Deny,
    /// It may be done.
    Allow,
}

/// `[[auth.keys]]`: one key and the algorithm that it is for. Exactly one of `secret`, `secret_env` and `file` is given.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Key id that tokens name in their header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// The one algorithm accepted with this key.
    pub algorithm: Algorithm,
    /// The secret itself, for HS algorithms: at least 32 bytes. Better kept in a file or in the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// Environment variable that holds the secret or the PEM text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<String>,
    /// File that holds the secret (surrounding white space ignored) or the public key in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub file: Option<PathBuf>,
}

/// A secret text. Its debug output hides it.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("writeOnly" = true))]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret so that no log shows it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("\"…\"")
    }
}

/// Signature algorithms of JSON Web Tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "the names are those of RFC 7518 and say all there is")]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

/// `[proxy]`
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Proxy {
    /// Networks whose `X-Forwarded-For` is believed, for example `10.0.0.0/8`.
    #[schemars(with = "Vec<schema::NetworkText>")]
    pub trusted: Vec<IpNet>,
}

/// `[delivery]`
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Delivery {
    /// While so many connections speak that it brings company, a shard begins its next turn so long after its last, in microseconds, and takes what came meanwhile at once. The first message after a quiet spell is dealt with at once. 0 = never wait.
    #[schemars(range(max = 100_000))]
    pub input_gather_us: u64,
    /// A busy room's pushes are written together at most this often, in milliseconds. The first after a quiet spell leaves at once. 0 = never wait.
    #[schemars(range(max = 1000))]
    pub room_flush_ms: u64,
    /// Messages of at least so many bytes are compressed for clients that offer `permessage-deflate`, which may then compress theirs. 0 = it is not agreed to.
    pub deflate_bytes_min: usize,
}

/// `[[rooms]]`: a class of rooms.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoomClass {
    /// Which rooms: a room id in which `*` stands for any text.
    #[schemars(length(min = 1))]
    pub pattern: String,
    /// Events kept per room; 0 makes the class ephemeral (no log, no `seq`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<usize>,
    /// Age after which an event is dropped, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_age_seconds_max: Option<u64>,
    /// Bytes of events kept per room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_bytes_max: Option<usize>,
    /// Who may join: anyone (`open`), or only whom the server added (`members`).
    #[serde(default)]
    pub join: JoinPolicy,
}

/// Who may join the rooms of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum JoinPolicy {
    /// Any authenticated user.
    #[default]
    Open,
    /// Only whom the server added.
    Members,
}

/// `[limits]`: bounds on what clients may do. 0 = none.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections at once. 0 = what the limit on open files leaves.
    pub connections_max: usize,
    /// Connections at once from one client address (an IPv6 /64 counts as one).
    pub connections_per_address_max: usize,
    /// Connections at once of one user.
    pub connections_per_user_max: usize,
    /// Handshakes in progress at once; further connections wait in the kernel's queue.
    pub handshakes_max: usize,
    /// Time a client has to finish its handshake, in milliseconds.
    #[schemars(range(min = 1))]
    pub handshake_ms_max: u64,
    /// Bytes of a handshake's request line and headers.
    #[schemars(range(min = 8192, max = 1_048_576))]
    pub handshake_bytes_max: usize,
    /// Bytes of one message, over all its fragments.
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    pub message_bytes_max: usize,
    /// Fragments of one message.
    #[schemars(range(min = 1))]
    pub message_fragments_max: usize,
    /// Requests a second of one connection, as a long-term rate.
    pub requests_per_second_max: u32,
    /// Requests that a connection may send at once after a pause.
    #[schemars(range(min = 1))]
    pub request_burst_max: u32,
    /// Refusals for rate in a row after which the connection is closed (4104).
    #[schemars(range(min = 1))]
    pub rate_refusals_max: u32,
    /// Invalid frames in a row after which the connection is closed (4005).
    #[schemars(range(min = 1))]
    pub invalid_frames_max: u32,
    /// Rooms in which one connection may be live at once.
    #[schemars(range(min = 1, max = 65_535))]
    pub rooms_per_connection_max: usize,
    /// Rooms of which one user may be a member.
    pub rooms_per_user_max: usize,
    /// Members of one room.
    pub members_per_room_max: usize,
    /// Members above which joining and leaving are no longer logged and pushed.
    pub member_events_max: usize,
    /// Users listed in one `online-users` reply.
    #[schemars(range(min = 1))]
    pub online_users_max: usize,
    /// Members of a conversation above which they are not told of each other's presence.
    pub presence_members_max: usize,
    /// Users whose presence one connection may subscribe to.
    pub presence_subscriptions_max: usize,
    /// Devices of one user that have a delivery cursor of their own in a room; the longest unused gives way.
    pub devices_per_user_max: usize,
    /// Members of a room above which receipts are not pushed.
    pub receipt_members_max: usize,
    /// Events recovered by one `since`, and in one page of an offline queue.
    pub recover_events_max: usize,
    /// Bytes recovered by one `since`, and in one page of an offline queue.
    pub recover_bytes_max: usize,
    /// Bytes that wait for a slow connection before it is closed (4103).
    #[schemars(range(min = 1024))]
    pub outbox_bytes_max: usize,
    /// Frames that wait for a slow connection before it is closed (4103).
    #[schemars(range(min = 1))]
    pub outbox_frames_max: usize,
    /// Time the oldest of them may wait, in milliseconds.
    #[schemars(range(min = 1))]
    pub outbox_ms_max: u64,
}

/// `[timing]`: times after which something happens, in milliseconds.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Timing {
    /// Time a connection has to authenticate (close 4101).
    #[schemars(range(min = 1))]
    pub auth_ms_max: u64,
    /// Quiet time after which the server sends a ping.
    #[schemars(range(min = 1))]
    pub ping_ms: u64,
    /// Time after the ping in which something must arrive (close 4201).
    #[schemars(range(min = 1))]
    pub pong_ms_max: u64,
    /// How long before its token expires a connection is told (`token-expiring`).
    pub token_expiring_ms: u64,
    /// Time in which a user's receipts of one kind in one room are pushed once. 0 = each is pushed.
    #[schemars(range(max = 60_000))]
    pub receipt_coalesce_ms: u64,
    /// Time the other side has to answer a close frame.
    #[schemars(range(min = 1))]
    pub close_ms_max: u64,
    /// Time after a `typing-start` after which its user no longer counts as typing.
    #[schemars(range(min = 1))]
    pub typing_stop_ms: u64,
    /// Time for which a user whose connections have all gone still counts as there.
    #[schemars(range(max = 600_000))]
    pub presence_grace_ms: u64,
    /// Time over which the connections of a stopping server are told to go.
    pub drain_ms: u64,
}
