//! Rows that differ in one thing only, compared repetition by repetition: two builds of the server, or acknowledgements
//! on and off. Neighbours in time share what else the machine was doing. Knows nothing of how the rows came about.

use serde::Serialize;

use super::measure::Figures;
use super::median::median;
use super::report::LoadedRow;
use super::workload::Setup;

/// Two rows, set side by side.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) workload: &'static str,
    /// Of the row that is compared.
    pub(crate) setup: Setup,
    /// What is compared.
    pub(crate) what: String,
    /// What it is compared with.
    pub(crate) with: String,
    /// Median of the repetitions' ratios of work by CPU second.
    pub(crate) ratio: f64,
    /// The least and the greatest of them.
    pub(crate) ratio_range: (f64, f64),
    /// Median of the repetitions' ratios of the 99th percentile of latency.
    pub(crate) p99_ratio: Option<f64>,
}

/// Every row with the first server's in the same setup, and every row with acknowledgements with the one without.
pub(super) fn all(rows: &[LoadedRow]) -> Vec<Comparison> {
    let mut all = Vec::new();
    for row in rows {
        let mut same = rows.iter().filter(|other| other.workload == row.workload && other.setup == row.setup);
        if let Some(first) = same.next().filter(|first| first.program != row.program) {
            let name = |row: &LoadedRow| row.program.clone().unwrap_or_default();
            all.extend(compare(row, name(row), first, name(first)));
        }
        let without = Setup { acks: false, ..row.setup };
        let without = rows
            .iter()
            .find(|other| (other.workload, &other.program, other.setup) == (row.workload, &row.program, without));
        if let Some(without) = without.filter(|_| row.setup.acks) {
            let name = |acks: &str| row.program.as_ref().map_or(acks.to_owned(), |name| format!("{acks} ({name})"));
            all.extend(compare(row, name("acks on"), without, name("acks off")));
        }
    }
    all
}

fn compare(row: &LoadedRow, what: String, base: &LoadedRow, with: String) -> Option<Comparison> {
    let ratios = |figure: fn(&Figures) -> Option<f64>| -> Vec<f64> {
        let pairs = row.server_runs.iter().zip(&base.server_runs);
        pairs.filter_map(|(run, base)| Some(figure(run)? / figure(base).filter(|base| *base > 0.0)?)).collect()
    };
    let by_cpu = ratios(|figures| figures.per_cpu_second);
    let ratio_range = (by_cpu.iter().copied().reduce(f64::min)?, by_cpu.iter().copied().reduce(f64::max)?);
    let p99_ratio = median(ratios(|figures| Some(figures.p99_ms)));
    let (workload, setup, ratio) = (row.workload, row.setup, median(by_cpu)?);
    Some(Comparison { workload, setup, what, with, ratio, ratio_range, p99_ratio })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::ledger::Account;

    fn row(program: &str, acks: bool, per_cpu_seconds: [f64; 3]) -> LoadedRow {
        let figures =
            |per_cpu_second| Figures { per_cpu_second: Some(per_cpu_second), p99_ms: 2.0, ..Figures::default() };
        LoadedRow {
            workload: "W1",
            program: Some(program.to_owned()),
            is_echo: false,
            setup: Setup { shards: Some(1), room_flush_ms: None, plugin: true, acl: false, durable: false, acks },
            ratio: None,
            ratio_range: None,
            server: figures(per_cpu_seconds[1]),
            floor: Figures::default(),
            account: Account::default(),
            floor_account: Account::default(),
            plugin_calls: Vec::new(),
            store: None,
            server_runs: per_cpu_seconds.map(figures).to_vec(),
            floor_runs: Vec::new(),
        }
    }

    #[test]
    fn builds_and_acknowledgements_are_compared_within_each_repetition() {
        // The machine was twice as fast in the second repetition: the ratios do not show it.
        let rows = [row("old", true, [100.0, 200.0, 100.0]), row("new", true, [90.0, 190.0, 95.0])];
        let [only] = all(&rows).try_into().expect("one pair");
        let Comparison { what, with, ratio, ratio_range, p99_ratio, .. } = only;
        assert_eq!((what.as_str(), with.as_str()), ("new", "old"));
        assert!(
            (ratio - 0.95).abs() < 1e-9 && (ratio_range.0 - 0.90).abs() < 1e-9 && (ratio_range.1 - 0.95).abs() < 1e-9
        );
        assert_eq!(p99_ratio, Some(1.0));

        let rows = [row("new", false, [100.0; 3]), row("new", true, [98.0; 3])];
        let [only] = all(&rows).try_into().expect("one pair");
        assert_eq!((only.what.as_str(), only.with.as_str()), ("acks on (new)", "acks off (new)"));
        assert!((only.ratio - 0.98).abs() < 1e-9);
    }
}
