//! What the verbs need to know of the configuration.

use std::sync::Arc;
use std::time::Duration;

use crate::wire::encode::LimitsInfo;

/// What the verbs need to know of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This process, as clients see it.
    pub node: Arc<str>,
    /// What clients are told they may do.
    pub limits: LimitsInfo,
    /// What an acknowledgement promises here.
    pub durability: &'static str,
    /// Rooms in which one connection may be live.
    pub rooms_per_connection_max: usize,
    /// How long a `typing-start` counts, in milliseconds.
    pub typing_stop_ms: u64,
    /// How long a user is held to be there whose connections have gone, in milliseconds.
    pub presence_grace_ms: u64,
    /// Users whose presence one connection may subscribe to; 0 = no bound.
    pub presence_subscriptions_max: usize,
    /// Bytes that one `auth` may bring back, over all rooms.
    pub recover_bytes_max: usize,
    /// Time in which a user's receipts of one kind in one room are pushed once.
    pub receipt_coalesce: Duration,
}
