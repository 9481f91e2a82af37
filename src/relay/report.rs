//! What a shard tells the metrics, a few times a second: what was done since the last time, and what there is.

use super::Relay;
use crate::{hub, store};

/// What the gauges were last told.
#[derive(Clone, Copy, Default)]
pub(super) struct Reported {
    store: store::Usage,
    hub: hub::Usage,
    users: usize,
    subscriptions: usize,
}

impl Relay {
    /// Tells the metrics what changed since the last time.
    pub fn report(&mut self) {
        let stats = self.hub.take_stats();
        let metrics = &self.metrics;
        metrics.delivery.deliveries.increment(stats.deliveries);
        metrics.delivery.deliveries_dropped.increment(stats.dropped);
        metrics.delivery.writes.increment(stats.writes);
        metrics.delivery.sent_bytes.increment(stats.bytes);
        metrics.delivery.flush_passes.increment(stats.passes);
        metrics.delivery.pings.increment(stats.pings);
        metrics.delivery.slow_consumers.increment(stats.slow_consumers);
        metrics.received_bytes.increment(stats.received);
        let now = Reported {
            store: self.store.usage(),
            hub: self.hub.usage(),
            users: self.users.len(),
            subscriptions: self.subscriptions.count,
        };
        let before = std::mem::replace(&mut self.reported, now);
        change(&metrics.store.rooms, before.store.rooms, now.store.rooms);
        change(&metrics.store.events, before.store.events, now.store.events);
        change(&metrics.store.bytes, before.store.bytes, now.store.bytes);
        change(&metrics.store.cold_rooms, before.store.cold_rooms, now.store.cold_rooms);
        change(&metrics.store.dedup_entries, before.store.dedup_entries, now.store.dedup_entries);
        change(&metrics.delivery.rooms, before.hub.rooms, now.hub.rooms);
        change(&metrics.delivery.memberships, before.hub.memberships, now.hub.memberships);
        change(&metrics.delivery.outbox_bytes, before.hub.waiting_bytes, now.hub.waiting_bytes);
        change(&metrics.delivery.outbox_connections, before.hub.waiting_connections, now.hub.waiting_connections);
        change(&metrics.presence.subscriptions, before.subscriptions, now.subscriptions);
        change(&metrics.users, before.users, now.users);
    }
}

/// Moves a gauge that all shards share by what changed on this one.
fn change(gauge: &metrics::Gauge, before: usize, now: usize) {
    if now >= before {
        gauge.increment((now - before) as f64);
    } else {
        gauge.decrement((before - now) as f64);
    }
}
