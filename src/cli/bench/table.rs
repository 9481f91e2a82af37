//! The report for people: aligned tables. Knows the rows and nothing of how they came about.

use std::fmt::Write;

use super::comparison::Comparison;
use super::measure::Figures;
use super::report::{DurableRow, EQUAL_MS, EQUAL_RATIO, IdleRow, LoadedRow, PhaseRow, Report, StormRow, TortureRow};
use super::scrape::PluginCalls;
use super::torture::Phase;
use super::workload::Setup;

/// The whole report as text.
pub(super) fn text(report: &Report) -> String {
    let mut out = String::new();
    let floor = report.floor_w1_per_cpu_second.map_or("unknown".to_owned(), thousands);
    let _ = writeln!(
        out,
        "{} repetition(s) of {} s; medians. The floor reached {floor} deliveries per CPU second in W1.",
        report.reps, report.seconds
    );
    if report.disturbed {
        let _ = writeln!(out, "DISTURBED: the floor is too low here; no ratio is given.");
    }
    let (echo, fan_out): (Vec<&LoadedRow>, Vec<&LoadedRow>) = report.loaded.iter().partition(|row| row.is_echo);
    section(&mut out, "Fan-out", &loaded("deliveries", report.disturbed), fan_out.iter().map(|row| loaded_row(row)));
    section(&mut out, "Echo", &loaded("round trips", report.disturbed), echo.iter().map(|row| loaded_row(row)));
    section(
        &mut out,
        "Idle connections, each in a room of 10",
        &["server", "shards", "connections", "resident before", "after", "bytes/connection", "floor"],
        report.idle.iter().map(idle_row),
    );
    section(
        &mut out,
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
    durable(&mut out, report);
    torture(&mut out, report);
    section(
        &mut out,
        "Plugin calls",
        &["workload", "server", "shards", "plugin", "hook", "outcomes", "calls/message", "mean us", "median us <="],
        report
            .loaded
            .iter()
            .flat_map(|row| plugin_rows(row.workload, &row.program, row.setup, &row.plugin_calls))
            .chain(
                report
                    .torture
                    .iter()
                    .flat_map(|row| plugin_rows("torture", &row.program, row.setup, &row.plugin_calls)),
            ),
    );
    section(
        &mut out,
        "Message policy on, against off",
        &["workload", "server", "shards", "pacing", "off /CPU s", "on /CPU s", "on/off", "CPU us/message"],
        report.plugin_costs.iter().map(|cost| {
            vec![
                cost.workload.to_owned(),
                server(&cost.program),
                shards(cost.setup),
                pacing(cost.setup),
                thousands(cost.per_cpu_second_off),
                thousands(cost.per_cpu_second_on),
                format!("{:.2}", cost.ratio),
                format!("{:.2}", cost.cpu_us_per_message),
            ]
        }),
    );
    section(
        &mut out,
        "Compared within each repetition: work by CPU second",
        &["workload", "shards", "pacing", "with", "what", "against", "ratio", "range", "p99 ratio"],
        report.comparisons.iter().map(comparison_row),
    );
    out
}

fn comparison_row(row: &Comparison) -> Vec<String> {
    vec![
        row.workload.to_owned(),
        shards(row.setup),
        pacing(row.setup),
        with(row.setup),
        row.what.clone(),
        row.with.clone(),
        format!("{:.3}", row.ratio),
        format!("{:.3}-{:.3}", row.ratio_range.0, row.ratio_range.1),
        row.p99_ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")),
    ]
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

/// Appends a table, if it has rows. A column in which they are all empty is left out.
fn section(out: &mut String, title: &str, heads: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(heads).chain(rows).collect();
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    if lines.len() < 2 {
        return;
    }
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count());
        let has_cells = lines.iter().skip(1).any(|line| line.get(column).is_some_and(|cell| !cell.is_empty()));
        if has_cells { cells.max() } else { None }
    };
    let widths: Vec<Option<usize>> = (0..columns).map(width).collect();
    let _ = writeln!(out, "\n{title}");
    for line in &lines {
        let mut text = String::new();
        for (cell, width) in line.iter().zip(&widths).filter_map(|(cell, width)| width.map(|width| (cell, width))) {
            // Words to the left, figures to the right.
            let is_figure = cell.starts_with(|first: char| first.is_ascii_digit() || first == '-');
            let _ = if is_figure { write!(text, "{cell:>width$}  ") } else { write!(text, "{cell:<width$}  ") };
        }
        let _ = writeln!(out, "  {}", text.trim_end());
    }
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

/// What the messages pass besides the core.
fn with(setup: Setup) -> String {
    let parts = [(setup.plugin, "policy"), (setup.acl, "acl"), (setup.durable, "disk"), (setup.acks, "acks")];
    let parts: Vec<&str> = parts.into_iter().filter(|(is_on, _)| *is_on).map(|(_, name)| name).collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
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
        thousands(figures.floor_per_second),
        ms(figures.floor_p50_ms),
        ms(figures.floor_p99_ms),
        row.ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")),
    ]
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
        phase.holds.map_or("", |holds| if holds { "holds" } else { "EXCEEDED" }).to_owned(),
    ]
}

fn plugin_rows(
    workload: &str,
    program: &Option<String>,
    setup: Setup,
    calls: &[PluginCalls],
) -> impl Iterator<Item = Vec<String>> {
    calls.iter().map(move |calls| {
        let us = |us: Option<f64>| us.map_or("?".to_owned(), |us| format!("{us:.2}"));
        let outcomes: Vec<String> = calls.calls.iter().map(|(outcome, count)| format!("{outcome} {count}")).collect();
        vec![
            workload.to_owned(),
            server(program),
            shards(setup),
            calls.plugin.clone(),
            calls.hook.clone(),
            outcomes.join(", "),
            format!("{:.3}", calls.calls_per_message),
            us(calls.mean_us),
            us(calls.median_us_max),
        ]
    })
}

/// Which server it was, if there was a choice.
fn server(program: &Option<String>) -> String {
    program.clone().unwrap_or_default()
}

fn shards(setup: Setup) -> String {
    setup.shards.map_or("as is".to_owned(), |shards| shards.to_string())
}

fn pacing(setup: Setup) -> String {
    match setup.room_flush_ms {
        None => "default".to_owned(),
        Some(0) => "off".to_owned(),
        Some(ms) => format!("{ms} ms"),
    }
}

/// A whole number, its thousands set apart.
fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if value <= -0.5 { format!("-{out}") } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(thousands(0.4), "0");
        assert_eq!(thousands(-1234.0), "-1,234");
        assert_eq!(thousands(123_456_789.0), "123,456,789");
    }

    #[test]
    fn columns_are_aligned_and_what_is_empty_is_left_out() {
        let mut out = String::new();
        section(&mut out, "none", &["a"], std::iter::empty());
        assert_eq!(out, "");
        let rows = [["word", "", "1"], ["w", "", "100"]].map(|row| row.map(str::to_owned).to_vec());
        section(&mut out, "some", &["a", "none", "b"], rows.into_iter());
        assert_eq!(out, "\nsome\n  a     b\n  word    1\n  w     100\n");
    }
}
