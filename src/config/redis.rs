//! `[redis]`: the Redis that several processes share. Not read from files yet.

use super::Secret;

/// The Redis that several processes share.
#[derive(Clone, Debug)]
pub struct Redis {
    /// Where it is: `redis://`, `rediss://`, `redis-sentinel://` or `redis-cluster://`, with user and password.
    pub url: Secret,
    /// What all keys and channels begin with.
    pub prefix: String,
    /// Replicas that must have what is acknowledged. 0 = the master alone.
    pub replicas_min: u32,
    /// How long they are waited for, in milliseconds.
    pub wait_ms_max: u32,
    /// How long a node's lease lasts that is not renewed, in milliseconds.
    pub lease_ms: u64,
}

impl Redis {
    /// What is usual, for an address.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: Secret::new(url), prefix: String::new(), replicas_min: 0, wait_ms_max: 1_000, lease_ms: 15_000 }
    }

    /// What an acknowledgement promises, as the protocol tells it.
    pub fn durability(&self) -> &'static str {
        if self.replicas_min == 0 { "redis" } else { "replicated" }
    }
}
