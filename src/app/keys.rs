//! Keys that an issuer publishes, from a configuration to the task that fetches them.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::net::{Endpoint, EndpointError, Issuer, Readiness};
use crate::policy::Authenticator;

/// Keys of the configuration in force. When another one takes its place, nothing is fetched for it any more.
pub(super) struct Keys {
    pub(super) authenticator: Arc<Authenticator>,
    _fetching: JoinSet<()>,
}

impl Keys {
    /// Has published keys fetched from now on, if there are any. While no token could be judged, no clients are to be sent
    /// here; nothing else about an issuer matters for that.
    pub(super) fn keep(
        authenticator: Arc<Authenticator>,
        issuer: Option<Issuer>,
        readiness: &Readiness,
        control: &Handle,
    ) -> Self {
        let mut fetching = JoinSet::new();
        match issuer {
            None => readiness.set_has_keys(true),
            Some(issuer) => {
                issuer.report();
                fetching.spawn_on(issuer.run(), control);
            }
        }
        Self { authenticator, _fetching: fetching }
    }
}

/// Where published keys are fetched from, if anywhere.
pub(super) fn endpoint(config: &Config) -> Result<Option<Endpoint>, EndpointError> {
    let auth = &config.auth;
    let roots = Some(auth.jwks_ca_file.as_path()).filter(|path| !path.as_os_str().is_empty());
    Some(auth.jwks_url.as_str()).filter(|url| !url.is_empty()).map(|url| Endpoint::new(url, roots)).transpose()
}

/// Whoever publishes keys, if anyone does.
pub(super) fn issuer(
    config: &Config,
    authenticator: &Arc<Authenticator>,
    metrics: &Metrics,
    readiness: &Arc<Readiness>,
) -> Result<Option<Issuer>, EndpointError> {
    let auth = &config.auth;
    if !auth.has_jwks() {
        return Ok(None);
    }
    Ok(Some(Issuer {
        authenticator: Arc::clone(authenticator),
        endpoint: endpoint(config)?,
        refresh: Duration::from_secs(auth.jwks_refresh_seconds),
        refetch_min: Duration::from_secs(auth.jwks_refetch_seconds_min),
        metrics: metrics.jwks(),
        readiness: Arc::clone(readiness),
    }))
}
