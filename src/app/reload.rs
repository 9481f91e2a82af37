//! Putting another configuration into force while the server runs.
//!
//! Everything that can fail is done first and beside what runs. Then each shard changes over between two requests, so that
//! every message is decided by one configuration, and no connection notices.

use std::sync::Arc;

use thiserror::Error;
use tokio::sync::mpsc;

use super::keys::{Keys, issuer};
use super::settings::{ApiKeyError, api_rules, hub_limits, relay_settings, rules, session_settings};
use super::{Server, complete, plugin_faults};
use crate::config::{Config, DevelopmentKeyError, Problem};
use crate::net::{Api, EndpointError};
use crate::policy::{Authenticator, Generation, KeyError};
use crate::{relay, session};

/// Configurations that wait for a shard.
pub(super) const RELOADS_MAX: usize = 4;

/// Why a configuration cannot be put into force while the server runs.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A key of the server API cannot be used.
    #[error(transparent)]
    ApiKey(#[from] ApiKeyError),
    /// The development key cannot be had.
    #[error(transparent)]
    DevelopmentKey(#[from] DevelopmentKeyError),
    /// Published keys can never be fetched from where they are said to be.
    #[error("auth.jwks_url: {0}")]
    Issuer(#[from] EndpointError),
    /// Plugins cannot be loaded.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Plugins(Vec<Problem>),
}

/// What is in force, and the way to change it.
pub(super) struct InForce {
    pub(super) config: Config,
    pub(super) keys: Keys,
    /// The server API.
    pub(super) api: Arc<Api>,
    /// To each shard.
    pub(super) reloads: Vec<mpsc::Sender<session::Reload>>,
}

impl Server {
    /// Puts another configuration into force, with its plugins, without a connection noticing. What cannot be changed while
    /// the server runs is left as it is, and its keys are returned. Plugins are compiled here: not to be called by whoever
    /// serves. Returns when every shard has changed over.
    ///
    /// # Errors
    ///
    /// Why it cannot be put into force. What was in force stays.
    pub fn reload(&self, config: Config) -> Result<Vec<&'static str>, ReloadError> {
        let result = self.put_into_force(config);
        self.metrics.policy.reloads.count(if result.is_ok() { "ok" } else { "refused" });
        result
    }

    /// Counts a configuration that was too bad to be tried.
    pub fn reload_refused(&self) {
        self.metrics.policy.reloads.count("refused");
    }

    fn put_into_force(&self, config: Config) -> Result<Vec<&'static str>, ReloadError> {
        let mut in_force = self.in_force.lock();
        let mut config = complete(config, self.client)?;
        let fixed = keep_what_is_fixed(&in_force.config, &mut config);
        let authenticator = Arc::new(Authenticator::new(&config.auth)?);
        authenticator.inherit(&in_force.keys.authenticator);
        let api_rules = api_rules(&config)?;
        let issuer = issuer(&config, &authenticator, &self.metrics, &self.readiness)?;
        let Generation { auth, chains } = self
            .policies
            .load(&config, Arc::clone(&authenticator))
            .map_err(|errors| ReloadError::Plugins(plugin_faults(&config, &errors)))?;
        let before = std::mem::replace(&mut *self.gate.rules.write(), Arc::new(rules(&config, Arc::clone(&auth))));
        in_force.api.set_rules(api_rules);
        let settings = Arc::new(session_settings(&config));
        let relay_settings = Arc::new(relay_settings(&config));
        // When the last shard has changed over, the last sender is dropped.
        let (waiting, changed_over) = std::sync::mpsc::channel::<()>();
        for (reloads, chain) in in_force.reloads.iter().zip(chains) {
            let reload = session::Reload {
                settings: Arc::clone(&settings),
                relay: relay::Reload {
                    settings: Arc::clone(&relay_settings),
                    hub: hub_limits(&config),
                    chain,
                    auth: Arc::clone(&auth),
                },
                done: waiting.clone(),
            };
            // A shard that takes none any more has stopped.
            let _stopped = reloads.blocking_send(reload);
        }
        drop(waiting);
        let _all_done = changed_over.recv();
        self.metrics.policy.generation.set(auth.generation() as f64);
        self.policies.retire(Arc::clone(&before.auth));
        in_force.config = config;
        in_force.keys = Keys::keep(authenticator, issuer, &self.readiness, self.control.handle());
        Ok(fixed)
    }
}

/// Leaves as it was what a running server cannot change, and says which keys that were.
fn keep_what_is_fixed(before: &Config, config: &mut Config) -> Vec<&'static str> {
    let mut fixed = Vec::new();
    macro_rules! keep {
        ($($key:literal: $($field:ident).+;)*) => {$(
            if format!("{:?}", before.$($field).+) != format!("{:?}", config.$($field).+) {
                fixed.push($key);
                config.$($field).+.clone_from(&before.$($field).+);
            }
        )*};
    }
    keep! {
        "development": development;
        "listen": listen;
        "shards": shards;
        "data_directory": data_directory;
        "admin.listen": admin.listen;
        "log": log;
        "store": store;
        "rooms": rooms;
        "limits.connections_max": limits.connections_max;
        "limits.connections_per_address_max": limits.connections_per_address_max;
        "limits.handshakes_max": limits.handshakes_max;
        "limits.connections_per_user_max": limits.connections_per_user_max;
        "limits.rooms_per_user_max": limits.rooms_per_user_max;
        "limits.members_per_room_max": limits.members_per_room_max;
        "limits.member_events_max": limits.member_events_max;
        "limits.online_users_max": limits.online_users_max;
        "limits.presence_members_max": limits.presence_members_max;
        "limits.devices_per_user_max": limits.devices_per_user_max;
        "limits.receipt_members_max": limits.receipt_members_max;
        "limits.recover_events_max": limits.recover_events_max;
        "limits.recover_bytes_max": limits.recover_bytes_max;
    }
    fixed
}
