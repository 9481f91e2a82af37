//! The tables of what messages cost: fan-out, echo, the store on disk.

use super::super::measure::Figures;
use super::super::report::{DurableRow, LoadedRow, Report};
use super::layout::{pacing, section, server, shards, thousands, with};

/// Appends them.
pub(super) fn all(out: &mut String, report: &Report) {
    let (echo, fan_out): (Vec<&LoadedRow>, Vec<&LoadedRow>) = report.loaded.iter().partition(|row| row.is_echo);
    section(out, "Fan-out", &loaded("deliveries", report.disturbed), fan_out.iter().map(|row| loaded_row(row)));
    section(out, "Echo", &loaded("round trips", report.disturbed), echo.iter().map(|row| loaded_row(row)));
    store(out, report);
    durable(out, report);
}

fn loaded(what: &'static str, disturbed: bool) -> [&'static str; 19] {
    let [per_second, per_cpu] = match what {
        "deliveries" => ["deliveries/s", "per CPU s"],
        _ => ["round trips/s", "per CPU s"],
    };
    let ratio = if disturbed { "(disturbed)" } else { "ratio" };
    [
        "workload",
        "server",
        "shards",
        "pacing",
        "with",
        per_second,
        per_cpu,
        "floor",
        ratio,
        "p50 ms",
        "p99",
        "p999",
        "floor p99",
        "lost",
        "twice",
        "refused",
        "CPU",
        "late p99",
        "pongs/s",
    ]
}

fn loaded_row(row: &LoadedRow) -> Vec<String> {
    let per_cpu = |figures: &Figures| figures.per_cpu_second.map_or("?".to_owned(), thousands);
    vec![
        row.workload.to_owned(),
        server(&row.program),
        shards(row.setup),
        pacing(row.setup),
        with(row.setup),
        thousands(row.server.per_second),
        per_cpu(&row.server),
        per_cpu(&row.floor),
        ratio(row),
        format!("{:.2}", row.server.p50_ms),
        format!("{:.2}", row.server.p99_ms),
        format!("{:.2}", row.server.p999_ms),
        format!("{:.2}", row.floor.p99_ms),
        row.account.lost.to_string(),
        (row.account.duplicates + row.account.strays).to_string(),
        row.account.refused.values().sum::<u64>().to_string(),
        row.server.cpu_share.map_or("?".to_owned(), |share| format!("{share:.2}")),
        format!("{:.2}", row.server.late_p99_ms),
        thousands(row.server.pongs_per_second),
    ]
}

/// The median, and what it is the median of, if that is more than one.
fn ratio(row: &LoadedRow) -> String {
    match (row.ratio, row.ratio_range) {
        (Some(ratio), Some((least, most))) if row.server_runs.len() > 1 => {
            format!("{ratio:.2} ({least:.2}-{most:.2})")
        }
        (Some(ratio), _) => format!("{ratio:.2}"),
        _ => "?".to_owned(),
    }
}

fn store(out: &mut String, report: &Report) {
    section(
        out,
        "Commits to the disk, as the server tells them",
        &["workload", "server", "shards", "pacing", "with", "commits/s", "messages/commit", "mean ms", "busy"],
        report.loaded.iter().filter_map(store_row),
    );
}

fn store_row(row: &LoadedRow) -> Option<Vec<String>> {
    let store = row.store.as_ref()?;
    Some(vec![
        row.workload.to_owned(),
        server(&row.program),
        shards(row.setup),
        pacing(row.setup),
        with(row.setup),
        thousands(store.commits_per_second),
        format!("{:.1}", store.messages_per_commit),
        format!("{:.2}", store.commit_ms),
        format!("{:.2}", store.busy_share),
    ])
}

fn durable(out: &mut String, report: &Report) {
    section(
        out,
        "Durable: send to acknowledgement, each sender with one message under way",
        &[
            "server",
            "shards",
            "with",
            "senders",
            "acks/s",
            "p50 ms",
            "p99",
            "messages/commit",
            "commit ms",
            "CPU us/ack",
            "disk alone/s",
            "commit p50 ms",
            "p99",
            "ratio",
        ],
        report.durable.iter().map(durable_row),
    );
    if !report.durable.is_empty() {
        out.push_str(
            "  Beside it the disk alone: commits, one after the other, of as many messages as there are senders.\n",
        );
    }
}

fn durable_row(row: &DurableRow) -> Vec<String> {
    let (ms, figures) = (|ms: f64| format!("{ms:.2}"), &row.figures);
    vec![
        server(&row.program),
        shards(row.setup),
        with(row.setup),
        row.senders.to_string(),
        thousands(figures.acks_per_second),
        ms(figures.p50_ms),
        ms(figures.p99_ms),
        format!("{:.1}", figures.messages_per_commit),
        ms(figures.commit_ms),
        figures.cpu_us_per_ack.map_or("?".to_owned(), |us| format!("{us:.0}")),
        thousands(figures.floor_per_second),
        ms(figures.floor_p50_ms),
        ms(figures.floor_p99_ms),
        row.ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")),
    ]
}
