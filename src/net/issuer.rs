//! Keeping published keys fresh: one task that reads their file and asks their address, again and again.
//!
//! An issuer that is away, or answers what is no set of keys, changes nothing but a metric and a line in the log: the
//! keys that were had go on for as long as it takes. When to ask is `policy`'s to say, and what the answer is worth.

use std::sync::Arc;
use std::time::Duration;

use super::admin::Readiness;
use super::fetch::{Endpoint, FetchError};
use crate::metrics::JwksMetrics;
use crate::policy::{Authenticator, JWKS_BYTES_MAX, KeyError};
use crate::relay::wall_clock;

/// After a failure it is tried again soon, and then less and less often.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Time for reading the file, which may be on a disk that is far away.
const READ_MAX: Duration = Duration::from_secs(1);

/// Whoever publishes keys, as this server knows them.
pub struct Issuer {
    /// Who uses the keys.
    pub authenticator: Arc<Authenticator>,
    /// Where they are published, besides a file.
    pub endpoint: Option<Endpoint>,
    /// How often they are fetched.
    pub refresh: Duration,
    /// How often they are fetched at most, whatever an answer says of its age.
    pub refetch_min: Duration,
    /// Where fetches are counted.
    pub metrics: JwksMetrics,
    /// Told whether there is any key.
    pub readiness: Arc<Readiness>,
}

/// What a fetch was good for.
struct Success {
    /// Whether the keys are others than before.
    has_changed: bool,
    /// How long they are good, if that was said.
    max_age: Option<Duration>,
}

/// What it was not: as metrics name it, and as people want to know it.
struct Failure {
    result: &'static str,
    reason: String,
}

impl Issuer {
    /// Fetches for as long as the server's runtime lives.
    pub async fn run(self) {
        let Some(refresh) = self.authenticator.refresh() else { return };
        let (mut failures, mut due) = (0_u32, self.refresh);
        loop {
            refresh.begin(jittered(due)).await;
            (failures, due) = match self.round().await {
                Some(max_age) => (0, max_age.clamp(self.refetch_min.min(self.refresh), self.refresh)),
                None => (failures.saturating_add(1), backoff(failures).min(self.refresh)),
            };
            self.report();
            refresh.end();
        }
    }

    /// Says whether there are keys, and how many.
    pub fn report(&self) {
        self.metrics.keys.set(u32::try_from(self.authenticator.published_keys()).unwrap_or(u32::MAX));
        self.readiness.set_has_keys(self.authenticator.has_keys());
    }

    /// Reads and fetches everything once. Returns how long it is good, or none if anything failed.
    async fn round(&self) -> Option<Duration> {
        let (file, url) = tokio::join!(self.read_file(), self.fetch());
        let (file, url) = (self.note("jwks_file", file), self.note("jwks_url", url));
        let good_for = file?.min(url?);
        self.metrics.fetched_timestamp.set(Duration::from_millis(wall_clock()).as_secs_f64());
        Some(good_for)
    }

    /// Counts and logs what came of one source, if there is one.
    fn note(&self, source: &'static str, result: Option<Result<Success, Failure>>) -> Option<Duration> {
        match result {
            None => Some(self.refresh),
            Some(Ok(Success { has_changed, max_age })) => {
                self.metrics.fetches.count("ok");
                if has_changed {
                    tracing::info!(source, keys = self.authenticator.published_keys(), "published keys have changed");
                }
                Some(max_age.unwrap_or(self.refresh))
            }
            Some(Err(Failure { result, reason })) => {
                self.metrics.fetches.count(result);
                let keys = self.authenticator.published_keys();
                tracing::warn!(source, result, reason, keys, "published keys cannot be fetched; the old ones go on");
                None
            }
        }
    }

    /// Reading a file may block, and this runs where accepting does.
    async fn read_file(&self) -> Option<Result<Success, Failure>> {
        let authenticator = Arc::clone(&self.authenticator);
        let reading = tokio::task::spawn_blocking(move || authenticator.read_published_file());
        let Ok(read) = tokio::time::timeout(READ_MAX, reading).await else {
            return Some(Err(Failure { result: "unreachable", reason: format!("not read in {READ_MAX:?}") }));
        };
        Some(match read.ok()?? {
            Ok(has_changed) => Ok(Success { has_changed, max_age: None }),
            Err(error) => {
                let result = if matches!(error, KeyError::FileUnusable(_)) { "unusable" } else { "unreachable" };
                Err(Failure { result, reason: error.to_string() })
            }
        })
    }

    async fn fetch(&self) -> Option<Result<Success, Failure>> {
        let unusable = |reason| Failure { result: "unusable", reason };
        let fetched = match self.endpoint.as_ref()?.fetch(JWKS_BYTES_MAX).await {
            Ok(fetched) => fetched,
            Err(FetchError::Unusable(reason)) => return Some(Err(unusable(reason))),
            Err(FetchError::Unreachable(reason)) => return Some(Err(Failure { result: "unreachable", reason })),
        };
        let published = self.authenticator.publish(&fetched.text).map_err(|fault| unusable(fault.to_string()));
        Some(published.map(|has_changed| Success { has_changed, max_age: fetched.max_age }))
    }
}

/// Servers that started together do not ask together.
fn jittered(time: Duration) -> Duration {
    // Without randomness they do, which is no reason not to ask.
    let random = f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX);
    time.mul_f64(1.0 - random / 10.0)
}

fn backoff(failures: u32) -> Duration {
    RETRY_MIN.saturating_mul(2_u32.saturating_pow(failures)).min(RETRY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_become_rarer() {
        let seconds: Vec<u64> = (0..8).map(|failures| backoff(failures).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff(u32::MAX), RETRY_MAX);
    }

    #[test]
    fn jitter_never_waits_longer() {
        let time = Duration::from_secs(600);
        assert!((0..100).map(|_| jittered(time)).all(|jittered| jittered <= time && jittered >= time.mul_f64(0.89)));
    }
}
