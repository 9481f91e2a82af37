//! The tables of what is told and forgotten, and of what a plugin that loops does to the others.

use std::fmt::Write;

use super::super::report::{EQUAL_MS, EQUAL_RATIO, EphemeralRow, PhaseRow, Report, TortureRow};
use super::super::torture::Phase;
use super::layout::{section, server, shards, thousands, verdict};

/// Appends them.
pub(super) fn all(out: &mut String, report: &Report) {
    ephemeral(out, report);
    torture(out, report);
}

fn ephemeral(out: &mut String, report: &Report) {
    section(
        out,
        "Storms: from when a change is due until the last receiver knows",
        &[
            "workload",
            "server",
            "shards",
            "requests/s",
            "changes/s",
            "pushes/s",
            "CPU us/push",
            "p50 ms",
            "p99",
            "max",
            "p99 bound",
            "verdict",
            "unseen",
            "twice",
            "refused",
            "CPU",
            "late p99",
            "pongs/s",
        ],
        report.ephemeral.iter().map(ephemeral_row),
    );
    if !report.ephemeral.is_empty() {
        out.push_str(
            "  Requests that change nothing are told to nobody. Such pushes may be dropped: unseen is how many were, and a\n  \
             change of which one was is not among the latencies.\n",
        );
    }
}

fn ephemeral_row(row: &EphemeralRow) -> Vec<String> {
    let (ms, figures) = (|ms: f64| format!("{ms:.2}"), &row.figures);
    vec![
        row.workload.to_owned(),
        server(&row.program),
        shards(row.setup),
        thousands(figures.requests_per_second),
        thousands(figures.changes_per_second),
        thousands(figures.pushes_per_second),
        figures.cpu_us_per_push.map_or("?".to_owned(), ms),
        ms(figures.p50_ms),
        ms(figures.p99_ms),
        ms(figures.max_ms),
        row.p99_bound_ms.map_or(String::new(), ms),
        verdict(row.holds),
        thousands(figures.unseen),
        row.account.duplicates.to_string(),
        row.account.refused.values().sum::<u64>().to_string(),
        figures.cpu_share.map_or("?".to_owned(), ms),
        ms(figures.late_p99_ms),
        thousands(figures.pongs_per_second),
    ]
}

fn torture(out: &mut String, report: &Report) {
    section(
        out,
        "Torture: the others' messages, beside a plugin that loops",
        &[
            "server",
            "shards",
            "quarantine",
            "phase",
            "deliveries",
            "p50 ms",
            "p99",
            "p999",
            "max",
            "p99 bound",
            "verdict",
        ],
        report.torture.iter().flat_map(|row| row.phases.iter().map(|phase| phase_row(row, phase))),
    );
    if let Some(row) = report.torture.first() {
        let _ = writeln!(
            out,
            "  Once the baseline is taken, one more connection makes the plugin loop 100 times a second. Each such call\n  \
             ends at the deadline, {deadline} ms. Bounds: baseline p99 + 2 deadlines while it loops; as fast as the baseline\n  \
             (at most {EQUAL_RATIO} times its p99 + {EQUAL_MS} ms) while it is in quarantine. on_failure = \"open\": in\n  \
             quarantine messages pass unasked. As the others' calls are good, each quarantine ends after its time.",
            deadline = row.deadline_ms,
        );
    }
}

fn phase_row(row: &TortureRow, phase: &PhaseRow) -> Vec<String> {
    let (ms, latency) = (|ms: f64| format!("{ms:.2}"), &phase.latency);
    vec![
        server(&row.program),
        shards(row.setup),
        if row.quarantine { "default" } else { "never" }.to_owned(),
        match phase.phase {
            Phase::Baseline => "baseline",
            Phase::Looping => "looping",
            Phase::Quarantined => "in quarantine",
        }
        .to_owned(),
        thousands(latency.deliveries as f64),
        ms(latency.p50_ms),
        ms(latency.p99_ms),
        ms(latency.p999_ms),
        ms(latency.max_ms),
        phase.p99_bound_ms.map_or(String::new(), ms),
        verdict(phase.holds),
    ]
}
