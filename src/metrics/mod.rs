//! What is counted: every metric with its name, unit, help text and closed set of labels, registered once.
//!
//! The rest of the server holds handles and looks nothing up. Label values are names of enums or of the configuration,
//! never a user's or a room's. There is no global recorder, so several servers in one process count apart.

use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::wire::{CloseCode, ErrorCode};

mod api;
mod jwks;
mod plugin;
mod presence;
mod process;
mod store;

pub use api::{API_KEY_RESULTS, API_OUTCOMES, API_VERBS, ApiMetrics, ApiOutcome};
pub use jwks::{JWKS_RESULTS, JwksMetrics};
pub use plugin::{
    GuestHook, PluginMetrics, PluginOutcome, PolicyMetrics, RELOAD_RESULTS, RecycleReason, TrapKind, VERDICT_RESULTS,
};
pub use presence::PresenceMetrics;
pub use store::{COMMIT_RESULTS, READ_RESULTS, StoreMetrics};

/// Buckets of durations of single calls, in seconds: from a microsecond, which a filter takes, to seconds, which a hook
/// may that waits for others.
const CALL_SECONDS: [f64; 16] =
    [1e-6, 1.5e-6, 2e-6, 3e-6, 5e-6, 1e-5, 2.5e-5, 1e-4, 5e-4, 2e-3, 5e-3, 1e-2, 5e-2, 0.15, 1.0, 5.0];

/// Buckets of delays, in seconds. Among them are what is promised (delivery within 150 ms, typing within 100 ms, presence
/// within 200 ms) and the 2 ms at which busy rooms are paced, so that each can be read without interpolation.
const DELAY_SECONDS: [f64; 17] =
    [1e-4, 2.5e-4, 5e-4, 1e-3, 2e-3, 3e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 1.0, 5.0];

/// The histograms with these buckets.
const DELAYS: [&str; 6] = [
    "stentor_api_request_duration_seconds",
    "stentor_delivery_latency_seconds",
    "stentor_handshake_duration_seconds",
    "stentor_shard_delay_seconds",
    "stentor_store_commit_duration_seconds",
    "stentor_store_read_duration_seconds",
];

/// Buckets of numbers of receivers.
const RECIPIENTS: [f64; 6] = [1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0];

/// Requests by the name under which they are counted.
pub const EVENTS: [&str; 20] = [
    "auth",
    "heartbeat",
    "join-room",
    "leave-room",
    "get-online-users",
    "typing-start",
    "typing-stop",
    "get-typing-users",
    "presence-update",
    "get-presence",
    "subscribe-presence",
    "unsubscribe-presence",
    "history",
    "send-message",
    "edit-message",
    "delete-message",
    "ack",
    "mark-read",
    "get-message-status",
    "unknown",
];

/// Why a connection ended, besides the server's own close codes.
pub const CLOSED_BY_CLIENT: &str = "client";

/// Why a connection ended: its socket did.
pub const CLOSED_BY_NETWORK: &str = "network";

/// Results of authentication.
pub const AUTHENTICATION_RESULTS: [&str; 11] = [
    "ok",
    "expired",
    "malformed",
    "unknown_key",
    "bad_signature",
    "bad_claims",
    "too_many_attributes",
    "denied",
    "policy_unavailable",
    "anonymous",
    "revoked",
];

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
    process: process::Process,
    /// Open connections.
    pub connections: Gauge,
    /// Connections that there may be.
    pub connections_max: Gauge,
    /// Connections that finished their handshake.
    pub connections_opened: Counter,
    /// Connections that ended, by why.
    pub connections_closed: ByName,
    /// Handshakes that were refused, by why.
    pub handshakes_refused: ByName,
    /// How long handshakes take that succeed.
    pub handshake_duration: Histogram,
    /// Authentications, by result.
    pub authentications: ByName,
    /// Requests, by event.
    pub requests: ByName,
    /// Refusals, by code.
    pub errors: ByName,
    /// Messages stored.
    pub messages_stored: Counter,
    /// Bytes read.
    pub received_bytes: Counter,
    /// Users with a connection.
    pub users: Gauge,
    /// How late shards look at the clock.
    pub shard_delay: Histogram,
    /// Whether the server is stopping: 0 or 1.
    pub draining: Gauge,
    /// Receivers of one event on one shard.
    pub fanout_recipients: Histogram,
    /// Policies and what is asked of them.
    pub policy: PolicyMetrics,
    /// The server API.
    pub api: ApiMetrics,
    /// What reaches receivers.
    pub delivery: DeliveryMetrics,
    /// What is told of who is there.
    pub presence: PresenceMetrics,
    /// What is kept.
    pub store: StoreMetrics,
}

/// What reaches receivers, and how.
pub struct DeliveryMetrics {
    /// From publishing to writing.
    pub latency: Histogram,
    /// Rooms with anyone live.
    pub rooms: Gauge,
    /// Connections live in rooms.
    pub memberships: Gauge,
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
    /// Pings put behind what was written.
    pub pings: Counter,
    /// Cursors that a pong moved.
    pub proofs: Counter,
    /// Acknowledgements that clients sent.
    pub acks: Counter,
    /// Receipts handed to connections.
    pub receipts_pushed: Counter,
    /// Missed events handed to connections that came back.
    pub queued: Counter,
    /// Connections that came back and got what they had missed.
    pub queue_flushes: Counter,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    ///
    /// When the exporter refuses its buckets.
    pub fn new() -> Result<Arc<Self>, BuildError> {
        let mut builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &CALL_SECONDS)?
            .set_buckets_for_metric(Matcher::Full("stentor_fanout_recipients".to_owned()), &RECIPIENTS)?;
        for name in DELAYS {
            builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), &DELAY_SECONDS)?;
        }
        let recorder = builder.build_recorder();
        let new = Register(&recorder);
        new.info();
        Ok(Arc::new(Self {
            process: process::Process::new(),
            connections: new.gauge("stentor_connections", Unit::Count, "Open connections."),
            connections_max: new.gauge("stentor_connections_max", Unit::Count, "Connections there may be at once."),
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
            handshake_duration: new.histogram(
                "stentor_handshake_duration_seconds",
                Unit::Seconds,
                "Time from a connection's arrival at its shard to the end of its handshake.",
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
            received_bytes: new.counter("stentor_received_bytes_total", Unit::Bytes, "Bytes read from clients."),
            users: new.gauge("stentor_users", Unit::Count, "Users with a connection, summed over shards."),
            shard_delay: new.histogram(
                "stentor_shard_delay_seconds",
                Unit::Seconds,
                "Time from a tick of the server's clock to a shard's looking at it: how long input waits for its turn.",
            ),
            draining: new.gauge("stentor_draining", Unit::Count, "Whether the server is stopping: 0 or 1."),
            fanout_recipients: new.histogram(
                "stentor_fanout_recipients",
                Unit::Count,
                "Live connections that an event is for, per shard.",
            ),
            policy: PolicyMetrics::new(&new),
            api: ApiMetrics::new(&new),
            delivery: DeliveryMetrics::new(&new),
            presence: PresenceMetrics::new(&new),
            store: StoreMetrics::new(&new),
            recorder,
        }))
    }

    /// Everything, in the text format of Prometheus.
    pub fn render(&self) -> String {
        let mut text = self.recorder.handle().render();
        self.process.render(&mut text);
        text
    }

    /// For the upkeep that histograms need.
    pub fn handle(&self) -> PrometheusHandle {
        self.recorder.handle()
    }
}

impl DeliveryMetrics {
    fn new(new: &Register<'_>) -> Self {
        Self {
            latency: new.histogram(
                "stentor_delivery_latency_seconds",
                Unit::Seconds,
                "Time from publishing a flush's oldest event to its last write, for each flush of a room.",
            ),
            rooms: new.gauge("stentor_live_rooms", Unit::Count, "Rooms with a live connection, summed over shards."),
            memberships: new.gauge("stentor_live_memberships", Unit::Count, "Rooms of live connections, summed."),
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
            pings: new.counter(
                "stentor_delivery_pings_total",
                Unit::Count,
                "Pings put behind what was written, to prove that it arrives.",
            ),
            proofs: new.counter(
                "stentor_delivery_proofs_total",
                Unit::Count,
                "Delivered cursors for which a pong was proof.",
            ),
            acks: new.counter("stentor_acks_total", Unit::Count, "Acknowledgements taken: `ack` and `mark-read`."),
            receipts_pushed: new.counter(
                "stentor_receipts_pushed_total",
                Unit::Count,
                "Receipts handed to connections.",
            ),
            queued: new.counter(
                "stentor_queued_deliveries_total",
                Unit::Count,
                "Missed events handed to connections that came back.",
            ),
            queue_flushes: new.counter(
                "stentor_queue_flushes_total",
                Unit::Count,
                "Connections that came back and got what they had missed.",
            ),
            outbox_connections: new.gauge(
                "stentor_outbox_connections",
                Unit::Count,
                "Connections for which something waits.",
            ),
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
        let labels = vec![
            Label::from_static_parts("version", env!("CARGO_PKG_VERSION")),
            Label::from_static_parts("revision", option_env!("STENTOR_REVISION").unwrap_or("unknown")),
            Label::from_static_parts("rust_version", env!("CARGO_PKG_RUST_VERSION")),
        ];
        self.0.register_gauge(&Key::from_parts(name, labels), &METADATA).set(1.0);
    }
}
