//! `[[plugins]]`: which plugins are asked, in which order, and what each may cost.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{defaults, schema};

/// The component that stands for the built-in check of tokens.
pub const BUILTIN_JWT: &str = "builtin:jwt";

/// `[[plugins]]`: one plugin. Plugins are asked in the order in which they stand here.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plugin {
    /// The plugin's name in logs, metrics and refusals: up to 64 letters, digits, `-` and `_`.
    #[schemars(with = "schema::PluginNameText")]
    pub name: String,
    /// The component: a path, or `bundled:NAME` for one that comes with the server, or `builtin:jwt` for the place of the built-in token check among the auth plugins (without it, the check is last).
    pub component: String,
    /// SHA-256 of the component in hexadecimal. Another component is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// What happens when the plugin fails: `closed` refuses the request (`POLICY_UNAVAILABLE`), `open` goes on without it.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// The same for single hooks, where it differs: `authenticate`, `refresh`, `authorize`, `filter`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub on_failure_of: BTreeMap<Hook, OnFailure>,
    /// Headers of the handshake that an auth plugin is shown, in lower case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub headers: Vec<String>,
    /// Processor time of one call, in milliseconds. 0 = 5 for a message filter, 50 for an auth plugin.
    #[serde(default)]
    #[schemars(range(max = 1000))]
    pub call_ms_max: u64,
    /// Time of one call of an auth plugin with all waiting, in milliseconds.
    #[serde(default = "defaults::plugin_wait_ms_max")]
    #[schemars(range(min = 1, max = 60_000))]
    pub wait_ms_max: u64,
    /// Instances of an auth plugin, and so calls of it at once; further calls wait. (A message filter has one for each shard.)
    #[serde(default = "defaults::plugin_instances_max")]
    #[schemars(range(min = 1, max = 256))]
    pub instances_max: usize,
    /// Calls that wait for an instance of an auth plugin; one more is refused.
    #[serde(default = "defaults::plugin_waiting_max")]
    #[schemars(range(min = 1, max = 100_000))]
    pub waiting_max: usize,
    /// Memory of one instance, in bytes, all its memories together.
    #[serde(default = "defaults::plugin_memory_bytes_max")]
    #[schemars(range(min = 65_536, max = 4_294_967_296_u64))]
    pub memory_bytes_max: usize,
    /// Memory above which an instance is replaced by a fresh one, in bytes. 0 = three quarters of `memory_bytes_max`.
    #[serde(default)]
    pub recycle_bytes: usize,
    /// Calls after which an instance is replaced by a fresh one. 0 = never.
    #[serde(default = "defaults::plugin_recycle_calls")]
    pub recycle_calls: u64,
    /// Log lines a second of all instances together; the excess is counted, not kept.
    #[serde(default = "defaults::plugin_log_lines_per_second_max")]
    pub log_lines_per_second_max: u32,
    /// Failures within `quarantine_window_ms` after which the plugin is not asked any more for a while. 0 = it is always asked.
    #[serde(default = "defaults::plugin_quarantine_failures")]
    pub quarantine_failures: u32,
    /// The window in which failures are counted, in milliseconds.
    #[serde(default = "defaults::plugin_quarantine_window_ms")]
    #[schemars(range(min = 1))]
    pub quarantine_window_ms: u64,
    /// How long a first quarantine lasts, in milliseconds. It doubles each time that the trial call after it fails.
    #[serde(default = "defaults::plugin_quarantine_ms_min")]
    #[schemars(range(min = 1))]
    pub quarantine_ms_min: u64,
    /// How long a quarantine lasts at most, in milliseconds.
    #[serde(default = "defaults::plugin_quarantine_ms_max")]
    #[schemars(range(min = 1))]
    pub quarantine_ms_max: u64,
    /// The plugin's own configuration, passed to it as JSON.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub config: serde_json::Map<String, serde_json::Value>,
}

impl Plugin {
    /// A plugin with every key at its default.
    pub fn new(name: impl Into<String>, component: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            component: component.into(),
            sha256: None,
            on_failure: OnFailure::default(),
            on_failure_of: BTreeMap::new(),
            headers: Vec::new(),
            call_ms_max: 0,
            wait_ms_max: defaults::plugin_wait_ms_max(),
            instances_max: defaults::plugin_instances_max(),
            waiting_max: defaults::plugin_waiting_max(),
            memory_bytes_max: defaults::plugin_memory_bytes_max(),
            recycle_bytes: 0,
            recycle_calls: defaults::plugin_recycle_calls(),
            log_lines_per_second_max: defaults::plugin_log_lines_per_second_max(),
            quarantine_failures: defaults::plugin_quarantine_failures(),
            quarantine_window_ms: defaults::plugin_quarantine_window_ms(),
            quarantine_ms_min: defaults::plugin_quarantine_ms_min(),
            quarantine_ms_max: defaults::plugin_quarantine_ms_max(),
            config: serde_json::Map::new(),
        }
    }
}

/// A question that a plugin is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// Who is this?
    Authenticate,
    /// May this connection go on with a new token?
    Refresh,
    /// May someone do something in a room?
    Authorize,
    /// What becomes of a message?
    Filter,
}

/// What happens when a plugin fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// The request is refused.
    #[default]
    Closed,
    /// The request goes on as if the plugin had accepted it.
    Open,
}
