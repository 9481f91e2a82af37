//! What is counted: every metric with its name, unit, help text and closed set of labels, registered once.
//!
//! The rest of the server holds handles and looks nothing up. Label values are names of enums or of the configuration,
//! never a user's or a room's. There is no global recorder, so several servers in one process count apart.

use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::wire::{CloseCode, ErrorCode};

mod plugin;

pub use plugin::{GuestHook, PluginMetrics, PluginOutcome, RecycleReason, TrapKind};

/// Buckets of durations of single calls, in seconds: 100 nanoseconds to 10 milliseconds and beyond.
const CALL_SECONDS: [f64; 16] =
    [1e-7, 2.5e-7, 5e-7, 1e-6, 1.5e-6, 2e-6, 3e-6, 5e-6, 1e-5, 2.5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 1e-1];

/// Buckets of numbers of receivers.
const RECIPIENTS: [f64; 6] = [1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0];

/// Requests by the name under which they are counted.
const EVENTS: [&str; 10] = [
    "auth",
    "heartbeat",
    "join-room",
    "leave-room",
    "get-online-users",
    "history",
    "send-message",
    "edit-message",
    "delete-message",
    "unknown",
];

/// Why a connection ended, besides the server's own close codes.
pub const CLOSED_BY_CLIENT: &str = "client";

/// Why a connection ended: its socket did.
pub const CLOSED_BY_NETWORK: &str = "network";

/// Results of authentication.
pub const AUTHENTICATION_RESULTS: [&str; 9] = [
    "ok",
    "expired",
    "malformed",
    "unknown_key",
    "bad_signature",
    "bad_claims",
    "denied",
    "policy_unavailable",
    "anonymous",
];

/// Results of putting another configuration into force.
pub const RELOAD_RESULTS: [&str; 2] = ["ok", "refused"];

/// Why a handshake is refused.
pub const HANDSHAKE_REFUSALS: [&str; 8] =
    ["not_websocket", "version", "key", "subprotocol", "origin", "token", "policy", "draining"];

static METADATA: Metadata<'static> = Metadata::new("stentor", Level::INFO, None);

/// A table of counters that differ in one label's value.
pub struct ByName(Vec<(&'static str, Counter)>);

impl ByName {
    /// Counts one.
    pub fn count(&self, name: &'static str) {
        if let Some((_, counter)) = self.0.iter().find(|(known, _)| *known == name) {
            counter.increment(1);
        }
    }
}

/// All metrics of one server.
pub struct Metrics {
    recorder: PrometheusRecorder,
    /// Open connections.
    pub connections: Gauge,
    /// Connections that finished their handshake.
    pub connections_opened: Counter,
    /// Connections that ended, by why.
    pub connections_closed: ByName,
    /// Handshakes that were refused, by why.
    pub handshakes_refused: ByName,
    /// Authentications, by result.
    pub authentications: ByName,
    /// Requests, by event.
    pub requests: ByName,
    /// Refusals, by code.
    pub errors: ByName,
    /// Messages stored.
    pub messages_stored: Counter,
    /// Receivers of one event on one shard.
    pub fanout_recipients: Histogram,
    /// Configurations that were to be put into force while the server ran, by result.
    pub reloads: ByName,
    /// Questions about rights that a remembered verdict answered.
    pub verdict_hits: Counter,
    /// Questions about rights that plugins had to be asked.
    pub verdict_misses: Counter,
    /// What reaches receivers.
    pub delivery: DeliveryMetrics,
    /// What is kept.
    pub store: StoreMetrics,
}

/// What reaches receivers, and how.
pub struct DeliveryMetrics {
    /// Frames handed to receivers.
    pub deliveries: Counter,
    /// Ephemeral frames dropped for slow receivers.
    pub deliveries_dropped: Counter,
    /// System calls that wrote.
    pub writes: Counter,
    /// Bytes written.
    pub sent_bytes: Counter,
    /// Flush passes over rooms.
    pub flush_passes: Counter,
    /// Connections closed because they were slow.
    pub slow_consumers: Counter,
    /// Bytes that wait for slow connections.
    pub outbox_bytes: Gauge,
    /// Connections for which something waits.
    pub outbox_connections: Gauge,
}

/// What is kept.
pub struct StoreMetrics {
    /// Rooms kept.
    pub rooms: Gauge,
    /// Events kept.
    pub events: Gauge,
    /// Bytes of events kept.
    pub bytes: Gauge,
    /// `tempId`s remembered.
    pub dedup_entries: Gauge,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    ///
    /// When the exporter refuses its buckets.
    pub fn new() -> Result<Arc<Self>, BuildError> {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &CALL_SECONDS)?
            .set_buckets_for_metric(Matcher::Full("stentor_fanout_recipients".to_owned()), &RECIPIENTS)?
            .build_recorder();
        let new = Register(&recorder);
        new.info();
        let verdicts = |result| {
            let labels = vec![Label::from_static_parts("result", result)];
            new.labelled_counter(
                "stentor_authorize_cache_total",
                "Questions about rights in rooms, by whether a remembered verdict answered them.",
                labels,
            )
        };
        Ok(Arc::new(Self {
            connections: new.gauge("stentor_connections", Unit::Count, "Open connections."),
            connections_opened: new.counter(
                "stentor_connections_opened_total",
                Unit::Count,
                "Connections that finished their handshake.",
            ),
            connections_closed: new.by_name(
                ("stentor_connections_closed_total", "reason"),
                "Connections that ended, by why.",
                CloseCode::ALL.map(CloseCode::name).into_iter().chain([CLOSED_BY_CLIENT, CLOSED_BY_NETWORK]),
            ),
            handshakes_refused: new.by_name(
                ("stentor_handshakes_refused_total", "reason"),
                "Handshakes that were refused, by why.",
                HANDSHAKE_REFUSALS,
            ),
            authentications: new.by_name(
                ("stentor_authentications_total", "result"),
                "Authentications, by result.",
                AUTHENTICATION_RESULTS,
            ),
            requests: new.by_name(("stentor_requests_total", "event"), "Requests, by event.", EVENTS),
            errors: new.by_name(
                ("stentor_errors_total", "code"),
                "Requests refused, by code.",
                ErrorCode::ALL.map(ErrorCode::name),
            ),
            messages_stored: new.counter(
                "stentor_messages_stored_total",
                Unit::Count,
                "Messages stored and acknowledged.",
            ),
            fanout_recipients: new.histogram(
                "stentor_fanout_recipients",
                Unit::Count,
                "Live connections that an event is for, per shard.",
            ),
            reloads: new.by_name(
                ("stentor_reloads_total", "result"),
                "Configurations that were to be put into force while the server ran, by result.",
                RELOAD_RESULTS,
            ),
            verdict_hits: verdicts("hit"),
            verdict_misses: verdicts("miss"),
            delivery: DeliveryMetrics::new(&new),
            store: StoreMetrics::new(&new),
            recorder,
        }))
    }

    /// For rendering, and for the upkeep that histograms need.
    pub fn handle(&self) -> PrometheusHandle {
        self.recorder.handle()
    }
}

impl DeliveryMetrics {
    fn new(new: &Register<'_>) -> Self {
        Self {
            deliveries: new.counter("stentor_deliveries_total", Unit::Count, "Frames handed to receivers."),
            deliveries_dropped: new.counter(
                "stentor_deliveries_dropped_total",
                Unit::Count,
                "Ephemeral frames dropped because their receiver was slow.",
            ),
            writes: new.counter("stentor_socket_writes_total", Unit::Count, "System calls that wrote to clients."),
            sent_bytes: new.counter("stentor_sent_bytes_total", Unit::Bytes, "Bytes written to clients."),
            flush_passes: new.counter("stentor_flush_passes_total", Unit::Count, "Flush passes over rooms."),
            slow_consumers: new.counter(
                "stentor_slow_consumers_total",
                Unit::Count,
                "Connections closed because they did not read fast enough.",
            ),
            outbox_bytes: new.gauge(
                "stentor_outbox_bytes",
                Unit::Bytes,
                "Bytes that wait for connections whose sockets are full.",
            ),
            outbox_connections: new.gauge(
                "stentor_outbox_connections",
                Unit::Count,
                "Connections for which something waits.",
            ),
        }
    }
}

impl StoreMetrics {
    fn new(new: &Register<'_>) -> Self {
        Self {
            rooms: new.gauge("stentor_store_rooms", Unit::Count, "Rooms kept."),
            events: new.gauge("stentor_store_events", Unit::Count, "Events kept in rooms' logs."),
            bytes: new.gauge("stentor_store_bytes", Unit::Bytes, "Estimated memory of the events kept in rooms' logs."),
            dedup_entries: new.gauge("stentor_store_dedup_entries", Unit::Count, "Sends remembered by their tempId."),
        }
    }
}

/// Registers metrics together with what they mean, so that none is without.
struct Register<'a>(&'a PrometheusRecorder);

impl Register<'_> {
    fn counter(&self, name: &'static str, unit: Unit, help: &'static str) -> Counter {
        self.0.describe_counter(name.into(), Some(unit), help.into());
        self.0.register_counter(&Key::from_static_name(name), &METADATA)
    }

    fn labelled_counter(&self, name: &'static str, help: &'static str, labels: Vec<Label>) -> Counter {
        self.0.describe_counter(name.into(), Some(Unit::Count), help.into());
        self.0.register_counter(&Key::from_parts(name, labels), &METADATA)
    }

    fn by_name(
        &self,
        (name, label): (&'static str, &'static str),
        help: &'static str,
        values: impl IntoIterator<Item = &'static str>,
    ) -> ByName {
        let counter = |value| (value, self.labelled_counter(name, help, vec![Label::from_static_parts(label, value)]));
        ByName(values.into_iter().map(counter).collect())
    }

    fn gauge(&self, name: &'static str, unit: Unit, help: &'static str) -> Gauge {
        self.0.describe_gauge(name.into(), Some(unit), help.into());
        self.0.register_gauge(&Key::from_static_name(name), &METADATA)
    }

    fn labelled_gauge(&self, name: &'static str, unit: Unit, help: &'static str, labels: Vec<Label>) -> Gauge {
        self.0.describe_gauge(name.into(), Some(unit), help.into());
        self.0.register_gauge(&Key::from_parts(name, labels), &METADATA)
    }

    fn histogram(&self, name: &'static str, unit: Unit, help: &'static str) -> Histogram {
        self.0.describe_histogram(name.into(), Some(unit), help.into());
        self.0.register_histogram(&Key::from_static_name(name), &METADATA)
    }

    fn labelled_histogram(&self, name: &'static str, help: &'static str, labels: Vec<Label>) -> Histogram {
        self.0.describe_histogram(name.into(), Some(Unit::Seconds), help.into());
        self.0.register_histogram(&Key::from_parts(name, labels), &METADATA)
    }

    fn info(&self) {
        let name = "stentor_build_info";
        self.0.describe_gauge(name.into(), Some(Unit::Count), "Always 1; the labels say which build this is.".into());
        let labels = vec![Label::from_static_parts("version", env!("CARGO_PKG_VERSION"))];
        self.0.register_gauge(&Key::from_parts(name, labels), &METADATA).set(1.0);
    }
}
