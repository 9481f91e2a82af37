//! `[api]`: who may use the HTTP API for the application's own servers, and how much of it.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Algorithm, Key, KeyFault, Secret, schema};

/// `[api]`: the HTTP API for the application's own servers, on the operator's listener.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// Keys that open the API, each for one of the application's servers. Empty = the API is closed.
    #[schemars(length(max = 20))]
    pub keys: Vec<ApiKey>,
    /// Bytes of one request's body.
    #[schemars(range(min = 1024, max = 67_108_864))]
    pub body_bytes_max: usize,
    /// Commands in one `batch`.
    #[schemars(range(min = 1, max = 1000))]
    pub batch_commands_max: usize,
    /// Conversations of one `broadcast`.
    #[schemars(range(min = 1, max = 10_000))]
    pub broadcast_rooms_max: usize,
    /// Requests under way at once; one more is refused.
    #[schemars(range(min = 1, max = 128))]
    pub requests_max: usize,
    /// Time of one request with its body, in milliseconds.
    #[schemars(range(min = 1, max = 50_000))]
    pub request_ms_max: u64,
    /// Wrong keys a minute from one address (an IPv6 /64 counts as one); beyond it, no key from there is looked at. 0 = no bound.
    #[schemars(range(max = 1_000_000))]
    pub wrong_keys_per_minute_max: u32,
    /// Wrong keys a minute from all addresses together from which no right one has come; beyond it, no key from such an address is looked at. 0 = no bound.
    #[schemars(range(max = 1_000_000))]
    pub stranger_keys_per_minute_max: u32,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            body_bytes_max: 1 << 20,
            batch_commands_max: 100,
            broadcast_rooms_max: 1000,
            requests_max: 64,
            request_ms_max: 10_000,
            wrong_keys_per_minute_max: 30,
            stranger_keys_per_minute_max: 600,
        }
    }
}

/// `[[api.keys]]`: one key of the server API. Exactly one of `secret`, `secret_env` and `file` is given.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// The key's name in log lines: up to 64 letters, digits, `-` and `_`.
    #[schemars(with = "schema::PluginNameText")]
    pub name: String,
    /// The key itself: at least 32 bytes. Better kept in a file or in the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// Environment variable that holds the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<String>,
    /// File that holds the key; surrounding white space is ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub file: Option<PathBuf>,
}

impl ApiKey {
    /// Where the key is kept, in the form that secrets of tokens have: what is too weak to sign with is too weak to be
    /// let in by.
    pub(super) fn as_key(&self) -> Key {
        Key {
            kid: None,
            algorithm: Algorithm::HS256,
            secret: self.secret.clone(),
            secret_env: self.secret_env.clone(),
            file: self.file.clone(),
        }
    }

    /// Reads the key from where it is kept, and refuses one that could be guessed.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn material(&self) -> Result<Secret, KeyFault> {
        self.as_key().material()
    }
}
