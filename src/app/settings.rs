//! From the configuration to what each part needs to know of it.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, Config, KeyFault};
use crate::hub;
use crate::net::{ApiBounds, ApiKeys, ApiRules, Rules, WrongKeys};
use crate::policy::Auth;
use crate::relay;
use crate::session::{self, StateSettings};
use crate::store;
use crate::wire::encode::LimitsInfo;

/// A key of the server API cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("api.keys[{index}]: {source}")]
pub struct ApiKeyError {
    index: usize,
    source: KeyFault,
}

/// How often due times are looked at, unless one of them is shorter.
const SWEEP_MAX: Duration = Duration::from_millis(250);
const SWEEP_MIN: Duration = Duration::from_millis(5);

pub(super) fn rules(config: &Config, auth: Arc<Auth>) -> Rules {
    let limits = &config.limits;
    Rules {
        auth,
        allowed_origins: config.allowed_origins.clone(),
        query_token: config.query_token,
        trusted_proxies: config.proxy.trusted.clone(),
        deflates: config.delivery.deflate_bytes_min > 0,
        message_limits: (limits.message_bytes_max, limits.message_fragments_max),
        handshake_max: Duration::from_millis(limits.handshake_ms_max),
        handshake_bytes_max: limits.handshake_bytes_max,
    }
}

/// The rules of the server API, for which its keys are read.
pub(super) fn api_rules(config: &Config) -> Result<ApiRules, ApiKeyError> {
    let (api, limits) = (&config.api, &config.limits);
    let mut keys = Vec::with_capacity(api.keys.len());
    for (index, key) in api.keys.iter().enumerate() {
        let secret = key.material().map_err(|source| ApiKeyError { index, source })?;
        keys.push((key.name.clone(), secret.reveal().to_owned()));
    }
    Ok(ApiRules {
        keys: ApiKeys::new(keys),
        bounds: ApiBounds {
            message_bytes_max: limits.message_bytes_max,
            broadcast_rooms_max: api.broadcast_rooms_max,
            batch_commands_max: api.batch_commands_max,
        },
        body_bytes_max: api.body_bytes_max,
        requests_max: api.requests_max,
        request_max: Duration::from_millis(api.request_ms_max),
        wrong_keys: WrongKeys {
            per_address_max: api.wrong_keys_per_minute_max,
            strangers_max: api.stranger_keys_per_minute_max,
        },
        trusted_proxies: config.proxy.trusted.clone(),
    })
}

pub(super) fn session_settings(config: &Config) -> session::Settings {
    let (limits, timing) = (&config.limits, &config.timing);
    session::Settings {
        state: StateSettings {
            requests_per_second_max: limits.requests_per_second_max,
            request_burst_max: limits.request_burst_max,
            rate_refusals_max: limits.rate_refusals_max,
            invalid_frames_max: limits.invalid_frames_max,
            auth_max: Duration::from_millis(timing.auth_ms_max),
            ping: Duration::from_millis(timing.ping_ms),
            pong_max: Duration::from_millis(timing.pong_ms_max),
            token_expiring: Duration::from_millis(timing.token_expiring_ms),
        },
        drain: Duration::from_millis(timing.drain_ms),
        input_gather: Duration::from_micros(config.delivery.input_gather_us),
    }
}

pub(super) fn relay_settings(config: &Config) -> relay::Settings {
    let limits = &config.limits;
    relay::Settings {
        node: Arc::from(format!("{:x}", std::process::id())),
        limits: LimitsInfo {
            message_bytes_max: limits.message_bytes_max,
            rooms_max: limits.rooms_per_connection_max,
            ping_ms: config.timing.ping_ms,
        },
        durability: config.redis.as_ref().map_or(config.store.durability.name(), config::Redis::durability),
        rooms_per_connection_max: limits.rooms_per_connection_max,
        typing_stop_ms: config.timing.typing_stop_ms,
        presence_grace_ms: config.timing.presence_grace_ms,
        presence_subscriptions_max: limits.presence_subscriptions_max,
        recover_bytes_max: limits.outbox_bytes_max,
        receipt_coalesce: Duration::from_millis(config.timing.receipt_coalesce_ms),
    }
}

pub(super) fn hub_limits(config: &Config) -> hub::Limits {
    let limits = &config.limits;
    hub::Limits {
        room_flush: Duration::from_millis(config.delivery.room_flush_ms),
        deflate_bytes_min: config.delivery.deflate_bytes_min,
        outbox_bytes_max: limits.outbox_bytes_max,
        outbox_frames_max: limits.outbox_frames_max,
        outbox_age_max: Duration::from_millis(limits.outbox_ms_max),
        close_max: Duration::from_millis(config.timing.close_ms_max),
    }
}

/// Each partition gets its share of what is bounded for all together.
pub(super) fn store_limits(config: &Config, shards: u16) -> store::Limits {
    let (limits, store) = (&config.limits, &config.store);
    let share = |total: usize| total.div_ceil(usize::from(shards));
    store::Limits {
        rooms_max: share(store.rooms_max),
        total_bytes_max: share(store.total_bytes_max),
        dedup_ms: store.dedup_seconds.saturating_mul(1000),
        dedup_entries_max: share(store.dedup_entries_max),
        connections_per_user_max: limits.connections_per_user_max,
        rooms_per_user_max: limits.rooms_per_user_max,
        members_per_room_max: limits.members_per_room_max,
        member_events_max: if limits.member_events_max == 0 { usize::MAX } else { limits.member_events_max },
        online_users_max: limits.online_users_max,
        presence_members_max: limits.presence_members_max,
        last_seen_users_max: share(store.last_seen_users_max),
        devices_per_user_max: limits.devices_per_user_max,
        receipt_members_max: if limits.receipt_members_max == 0 { usize::MAX } else { limits.receipt_members_max },
        cold_after_ms: store.cold_after_ms,
        recover_events_max: limits.recover_events_max,
        recover_bytes_max: limits.recover_bytes_max,
    }
}

/// Often enough for the shortest time that is configured.
pub(super) fn sweep_interval(config: &Config) -> Duration {
    let timing = &config.timing;
    let shortest = [
        timing.auth_ms_max,
        timing.ping_ms,
        timing.pong_ms_max,
        timing.close_ms_max,
        timing.typing_stop_ms,
        timing.presence_grace_ms.max(1),
        config.limits.outbox_ms_max,
    ]
    .into_iter()
    .min();
    Duration::from_millis(shortest.unwrap_or(u64::MAX) / 4).clamp(SWEEP_MIN, SWEEP_MAX)
}
