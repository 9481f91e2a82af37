//! The tables of what one thing costs: plugins, and whatever rows differ in only one thing.

use super::super::comparison::Comparison;
use super::super::report::Report;
use super::super::scrape::PluginCalls;
use super::super::workload::Setup;
use super::layout::{pacing, section, server, shards, thousands, with};

/// Appends them.
pub(super) fn all(out: &mut String, report: &Report) {
    plugins(out, report);
    comparisons(out, report);
}

fn plugins(out: &mut String, report: &Report) {
    section(
        out,
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
        out,
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

fn comparisons(out: &mut String, report: &Report) {
    section(
        out,
        "Compared within each repetition: work by CPU second",
        &["workload", "shards", "pacing", "with", "what", "against", "ratio", "range", "p99 ratio"],
        report.comparisons.iter().map(comparison_row),
    );
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
