//! Who owns what: every room and every user has one shard that keeps it.

use crate::ids::ShardId;

/// Which shard owns a name. Any even spread will do, but every shard must find the same.
pub fn owner_of(name: &str, shards: u16) -> ShardId {
    // FNV-1a: short, well spread over the low bits after the fold, and the same everywhere.
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let folded = hash ^ (hash >> 32);
    ShardId(u16::try_from(folded % u64::from(shards.max(1))).unwrap_or(0))
}
