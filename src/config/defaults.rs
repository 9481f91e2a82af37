//! What every key is when nobody sets it.
//!
//! Measured or argued in the notes of the parts that use them; here they stand together so that they can be compared.
//! Nothing here knows where a configuration comes from.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{Admin, Algorithm, Auth, Config, Delivery, Limits, Log, Proxy, Store, Timing};

pub(super) const fn plugin_wait_ms_max() -> u64 {
    1000
}

pub(super) const fn plugin_instances_max() -> usize {
    4
}

pub(super) const fn plugin_waiting_max() -> usize {
    10_000
}

pub(super) const fn plugin_recycle_calls() -> u64 {
    1_000_000
}

pub(super) const fn plugin_quarantine_failures() -> u32 {
    5
}

pub(super) const fn plugin_quarantine_window_ms() -> u64 {
    10_000
}

pub(super) const fn plugin_quarantine_ms_min() -> u64 {
    1_000
}

pub(super) const fn plugin_quarantine_ms_max() -> u64 {
    60_000
}

pub(super) const fn plugin_memory_bytes_max() -> usize {
    64 << 20
}

pub(super) const fn plugin_log_lines_per_second_max() -> u32 {
    50
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}

impl Default for Config {
    fn default() -> Self {
        Self {
            development: false,
            listen: loopback(3001),
            shards: 0,
            data_directory: PathBuf::from("./stentor-data"),
            allowed_origins: Vec::new(),
            query_token: false,
            admin: Admin::default(),
            api: super::Api::default(),
            log: Log::default(),
            auth: Auth::default(),
            proxy: Proxy::default(),
            delivery: Delivery::default(),
            store: Store::default(),
            redis: None,
            limits: Limits::default(),
            timing: Timing::default(),
            rooms: Vec::new(),
            plugins: Vec::new(),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: loopback(3002) }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            user_claim: "sub".to_owned(),
            require_expiry: true,
            leeway_seconds: 30,
            audiences: Vec::new(),
            issuers: Vec::new(),
            when_all_abstain: super::AllAbstain::Deny,
            verdict_ms_max: 300_000,
            denial_ms_max: 5_000,
            attribute_claims: Vec::new(),
            jwks_file: PathBuf::new(),
            jwks_url: String::new(),
            jwks_ca_file: PathBuf::new(),
            // One for each type of key, so that nothing is left for a token to choose.
            jwks_algorithms: vec![Algorithm::RS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA],
            jwks_refresh_seconds: 600,
            jwks_refetch_seconds_min: 30,
        }
    }
}

impl Default for Delivery {
    fn default() -> Self {
        Self { input_gather_us: 2000, room_flush_ms: 2, deflate_bytes_min: 0 }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self {
            durability: super::Durability::default(),
            room_events_max: 10_000,
            room_age_seconds_max: 30 * 24 * 3600,
            room_bytes_max: 16 << 20,
            total_bytes_max: 1 << 30,
            rooms_max: 1_000_000,
            dedup_seconds: 24 * 3600,
            dedup_entries_max: 1_000_000,
            last_seen_users_max: 1_000_000,
            commit_gather_us: 1_000,
            cold_after_ms: 600_000,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 0,
            connections_per_address_max: 0,
            connections_per_user_max: 100,
            handshakes_max: 4096,
            handshake_ms_max: 5_000,
            handshake_bytes_max: 16 << 10,
            message_bytes_max: 64 << 10,
            message_fragments_max: 1024,
            requests_per_second_max: 50,
            request_burst_max: 200,
            rate_refusals_max: 50,
            invalid_frames_max: 10,
            rooms_per_connection_max: 1_000,
            rooms_per_user_max: 1_000,
            members_per_room_max: 100_000,
            member_events_max: 200,
            online_users_max: 1_000,
            presence_members_max: 200,
            presence_subscriptions_max: 1_000,
            devices_per_user_max: 10,
            receipt_members_max: 200,
            recover_events_max: 1_000,
            recover_bytes_max: 256 << 10,
            outbox_bytes_max: 1 << 20,
            outbox_frames_max: 4_096,
            outbox_ms_max: 10_000,
        }
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            auth_ms_max: 10_000,
            ping_ms: 25_000,
            pong_ms_max: 20_000,
            token_expiring_ms: 30_000,
            receipt_coalesce_ms: 100,
            close_ms_max: 5_000,
            typing_stop_ms: 5_000,
            presence_grace_ms: 3_000,
            drain_ms: 5_000,
        }
    }
}
