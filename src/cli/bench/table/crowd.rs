//! The tables of many connections: idle, storm, reconnect.

use super::super::report::{IdleRow, ReconnectRow, Report, StormRow};
use super::layout::{section, server, shards, thousands, with};

/// Appends them.
pub(super) fn all(out: &mut String, report: &Report) {
    section(
        out,
        "Idle connections, each in a room of 10",
        &["server", "shards", "connections", "resident before", "after", "bytes/connection", "floor"],
        report.idle.iter().map(idle_row),
    );
    section(
        out,
        "Storm: connect, authenticate and join all, then leave all",
        &[
            "server",
            "shards",
            "connections",
            "pass",
            "joined s",
            "CPU s",
            "resident",
            "after all left",
            "floor s",
            "floor CPU s",
        ],
        report.storm.iter().map(storm_row),
    );
    reconnect(out, report);
}

fn idle_row(row: &IdleRow) -> Vec<String> {
    vec![
        server(&row.program),
        shards(row.setup),
        row.connections.to_string(),
        thousands(row.server.before_bytes),
        thousands(row.server.after_bytes),
        thousands(row.server.bytes_per_connection),
        thousands(row.floor.bytes_per_connection),
    ]
}

fn storm_row(row: &StormRow) -> Vec<String> {
    let seconds = |seconds: Option<f64>| seconds.map_or("?".to_owned(), |seconds| format!("{seconds:.2}"));
    vec![
        server(&row.program),
        shards(row.setup),
        row.connections.to_string(),
        row.pass.to_string(),
        seconds(Some(row.server.joined_seconds)),
        seconds(row.server.cpu_seconds),
        thousands(row.server.joined_bytes),
        thousands(row.server.gone_bytes),
        seconds(Some(row.floor.joined_seconds)),
        seconds(row.floor.cpu_seconds),
    ]
}

fn reconnect(out: &mut String, report: &Report) {
    section(
        out,
        "Reconnect: devices that were away come back at once, to what waits for each",
        &[
            "server",
            "shards",
            "with",
            "devices",
            "queued",
            "all back s",
            "p50 ms",
            "p99",
            "messages/s",
            "CPU s/1000",
            "resident before",
            "after",
            "lost",
            "twice",
            "pongs",
        ],
        report.reconnect.iter().map(reconnect_row),
    );
}

fn reconnect_row(row: &ReconnectRow) -> Vec<String> {
    let figures = &row.figures;
    vec![
        server(&row.program),
        shards(row.setup),
        with(row.setup),
        thousands(row.devices as f64),
        row.queued.to_string(),
        format!("{:.2}", figures.back_seconds),
        format!("{:.0}", figures.p50_ms),
        format!("{:.0}", figures.p99_ms),
        thousands(figures.messages_per_second),
        figures.cpu_seconds_per_1000.map_or("?".to_owned(), |cpu| format!("{cpu:.3}")),
        thousands(figures.away_bytes),
        thousands(figures.back_bytes),
        row.account.lost.to_string(),
        (row.account.duplicates + row.account.strays).to_string(),
        thousands(figures.pongs),
    ]
}
