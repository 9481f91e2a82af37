//! What is kept, and how keeping it goes.

use metrics::{Counter, Gauge, Histogram, Unit};

use super::{ByName, Register};

/// Results of commits.
pub const COMMIT_RESULTS: [&str; 2] = ["ok", "error"];

/// Results of reading a room's events.
pub const READ_RESULTS: [&str; 2] = ["ok", "error"];

/// What is kept.
pub struct StoreMetrics {
    /// Rooms kept.
    pub rooms: Gauge,
    /// Events kept.
    pub events: Gauge,
    /// Bytes of events kept.
    pub bytes: Gauge,
    /// Bytes of events that may be kept.
    pub bytes_max: Gauge,
    /// Rooms whose events are on the disk alone.
    pub cold_rooms: Gauge,
    /// `tempId`s remembered.
    pub dedup_entries: Gauge,
    /// How long commits take.
    pub commit_duration: Histogram,
    /// Commits, by result.
    pub commits: ByName,
    /// How long it takes to read a room's events.
    pub read_duration: Histogram,
    /// Rooms that were read, by result.
    pub reads: ByName,
    /// Changes that were committed.
    pub changes: Counter,
    /// Bytes of the file.
    pub file_bytes: Gauge,
    /// Whether the last commit failed: 0 or 1.
    pub failing: Gauge,
}

impl StoreMetrics {
    pub(super) fn new(new: &Register<'_>) -> Self {
        Self {
            rooms: new.gauge("stentor_store_rooms", Unit::Count, "Rooms kept."),
            events: new.gauge("stentor_store_events", Unit::Count, "Events kept in rooms' logs."),
            bytes: new.gauge(
                "stentor_store_bytes",
                Unit::Bytes,
                "Estimated memory of the events kept in rooms' logs, if all were there.",
            ),
            bytes_max: new.gauge(
                "stentor_store_bytes_max",
                Unit::Bytes,
                "Estimated memory that events may take; 0 if there is no bound.",
            ),
            cold_rooms: new.gauge(
                "stentor_store_cold_rooms",
                Unit::Count,
                "Rooms whose events are on the disk alone, until somebody needs them.",
            ),
            dedup_entries: new.gauge("stentor_store_dedup_entries", Unit::Count, "Sends remembered by their tempId."),
            commit_duration: new.histogram(
                "stentor_store_commit_duration_seconds",
                Unit::Seconds,
                "Time of a commit to the disk, from its first write to the end of its fsync.",
            ),
            commits: new.by_name(("stentor_store_commits_total", "result"), "Commits to the disk.", COMMIT_RESULTS),
            read_duration: new.histogram(
                "stentor_store_read_duration_seconds",
                Unit::Seconds,
                "Time to read a room's events from the disk.",
            ),
            reads: new.by_name(
                ("stentor_store_reads_total", "result"),
                "Rooms whose events were read from the disk.",
                READ_RESULTS,
            ),
            changes: new.counter(
                "stentor_store_changes_total",
                Unit::Count,
                "Changes in commits that succeeded: how many share one shows how far commits are grouped.",
            ),
            file_bytes: new.gauge("stentor_store_file_bytes", Unit::Bytes, "Bytes of the store's file."),
            failing: new.gauge(
                "stentor_store_failing",
                Unit::Count,
                "Whether the last commit to the disk failed: 0 or 1.",
            ),
        }
    }
}
