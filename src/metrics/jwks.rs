//! What is counted of keys that an issuer publishes. A server without any has none of these series.

use metrics::{Gauge, Unit};

use super::{ByName, Metrics, Register};

/// Results of fetching keys.
pub const JWKS_RESULTS: [&str; 3] = ["ok", "unreachable", "unusable"];

/// Handles for published keys.
pub struct JwksMetrics {
    /// Fetches and readings, by result.
    pub fetches: ByName,
    /// Keys in use.
    pub keys: Gauge,
    /// When all that is to be fetched last was.
    pub fetched_timestamp: Gauge,
}

impl Metrics {
    /// Handles for published keys.
    pub fn jwks(&self) -> JwksMetrics {
        let new = Register(&self.recorder);
        JwksMetrics {
            fetches: new.by_name(
                ("stentor_jwks_fetches_total", "result"),
                "Fetches of published keys from their address and readings of their file, by result.",
                JWKS_RESULTS,
            ),
            keys: new.gauge("stentor_jwks_keys", Unit::Count, "Published keys that tokens are judged by."),
            fetched_timestamp: new.gauge(
                "stentor_jwks_fetched_timestamp_seconds",
                Unit::Seconds,
                "When published keys were last fetched with success, in seconds since the Unix epoch.",
            ),
        }
    }
}
