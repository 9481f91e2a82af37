//! `[store]`: what is kept, where, and for how long.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[store]`: what is kept of a room's log, unless its class says otherwise. 0 = no bound of that kind, except for `room_events_max`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// Where it is kept: on `disk`, in a file in the data directory, or only in `memory`, for as long as the process runs. It is what an acknowledgement promises.
    pub durability: Durability,
    /// Events kept per room. 0 = rooms have no log.
    pub room_events_max: usize,
    /// Age after which an event is dropped, in seconds.
    pub room_age_seconds_max: u64,
    /// Bytes of events kept per room.
    pub room_bytes_max: usize,
    /// Bytes of events kept in all rooms together; the oldest give way first.
    pub total_bytes_max: usize,
    /// Rooms that are kept; joining one more that does not exist yet is refused.
    pub rooms_max: usize,
    /// How long a `tempId` is remembered, in seconds.
    pub dedup_seconds: u64,
    /// How many `tempId`s are remembered in all; the oldest give way first.
    pub dedup_entries_max: usize,
    /// Users of whom it is remembered when they were last there; those not seen for longest give way first.
    pub last_seen_users_max: usize,
    /// Commits to the disk that follow each other closely begin no sooner than this after one another, in microseconds, so that they gather company. The first after a quiet spell begins at once. 0 = never wait.
    #[schemars(range(max = 100_000))]
    pub commit_gather_us: u64,
    /// After so long without use, with nobody live in it, a room's events are left to the disk, in milliseconds. They
    /// are read again when somebody needs them.
    pub cold_after_ms: u64,
}

/// What an acknowledged message survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The end of the process at any instant, and a power failure: it is fsynced before it is acknowledged.
    #[default]
    Disk,
    /// Nothing beyond the process.
    Memory,
}

impl Durability {
    /// As the protocol tells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Memory => "memory",
        }
    }
}
