//! What is told of who is there.

use metrics::{Counter, Gauge, Unit};

use super::Register;

/// What is told of who is there.
pub struct PresenceMetrics {
    /// Changes of a user's availability that others were told.
    pub changes: Counter,
    /// Pushes of these.
    pub pushed: Counter,
    /// Subscriptions of connections to users.
    pub subscriptions: Gauge,
}

impl PresenceMetrics {
    pub(super) fn new(new: &Register<'_>) -> Self {
        Self {
            changes: new.counter(
                "stentor_presence_changes_total",
                Unit::Count,
                "Changes of a user's availability that others were told.",
            ),
            pushed: new.counter(
                "stentor_presence_pushed_total",
                Unit::Count,
                "Changes of availability handed to connections.",
            ),
            subscriptions: new.gauge(
                "stentor_presence_subscriptions",
                Unit::Count,
                "Subscriptions of connections to users' presence.",
            ),
        }
    }
}
