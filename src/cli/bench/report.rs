//! What a series came to: the rows, whether they may be believed, and the JSON document. The tables are in `table`.
//! Knows nothing of how the rows came about.

use serde::Serialize;

use super::comparison::{self, Comparison};
use super::crowd::{IdleFigures, StormFigures};
use super::durable::DurableFigures;
use super::ephemeral::EphemeralFigures;
use super::error::BenchError;
use super::ledger::Account;
use super::measure::Figures;
use super::reconnect::ReconnectFigures;
use super::scrape::{PluginCalls, StoreFigures};
use super::server::LOOPING_CALL_MS_MAX;
use super::torture::{Latency, Phase};
use super::workload::{Setup, Workload};

/// What the floor must reach in W1 for ratios to mean anything.
const FLOOR_PER_CPU_SECOND_MIN: f64 = 100_000.0;

/// How much longer a message may take in quarantine than in the baseline, and still be as fast: machines are not so even.
pub(super) const EQUAL_RATIO: f64 = 1.1;
pub(super) const EQUAL_MS: f64 = 0.5;

/// Everything that was measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) reps: usize,
    pub(crate) seconds: u64,
    /// Deliveries by CPU second that the floor reached in W1.
    pub(crate) floor_w1_per_cpu_second: Option<f64>,
    /// Whether that is too little: no ratio is given then.
    pub(crate) disturbed: bool,
    pub(crate) loaded: Vec<LoadedRow>,
    pub(crate) idle: Vec<IdleRow>,
    pub(crate) storm: Vec<StormRow>,
    pub(crate) durable: Vec<DurableRow>,
    pub(crate) reconnect: Vec<ReconnectRow>,
    pub(crate) ephemeral: Vec<EphemeralRow>,
    pub(crate) torture: Vec<TortureRow>,
    pub(crate) plugin_costs: Vec<PluginCost>,
    pub(crate) comparisons: Vec<Comparison>,
}

/// A fan-out or echo workload in one setup: medians over the repetitions, counts over all of them.
#[derive(Debug, Serialize)]
pub(crate) struct LoadedRow {
    pub(crate) workload: &'static str,
    /// The `--server` that it was, if there was a choice.
    pub(crate) program: Option<String>,
    pub(crate) is_echo: bool,
    pub(crate) setup: Setup,
    /// Median of the repetitions' ratios of work by CPU second, server to floor.
    pub(crate) ratio: Option<f64>,
    /// The least and the greatest of them.
    pub(crate) ratio_range: Option<(f64, f64)>,
    pub(crate) server: Figures,
    pub(crate) floor: Figures,
    pub(crate) account: Account,
    pub(crate) floor_account: Account,
    pub(crate) plugin_calls: Vec<PluginCalls>,
    /// What the disk did, if there was one.
    pub(crate) store: Option<StoreFigures>,
    pub(crate) server_runs: Vec<Figures>,
    pub(crate) floor_runs: Vec<Figures>,
}

/// The idle workload in one setup.
#[derive(Debug, Serialize)]
pub(crate) struct IdleRow {
    /// The `--server` that it was, if there was a choice.
    pub(crate) program: Option<String>,
    pub(crate) setup: Setup,
    pub(crate) connections: usize,
    pub(crate) server: IdleFigures,
    pub(crate) floor: IdleFigures,
}

/// One pass of the storm in one setup.
#[derive(Debug, Serialize)]
pub(crate) struct StormRow {
    /// The `--server` that it was, if there was a choice.
    pub(crate) program: Option<String>,
    pub(crate) setup: Setup,
    pub(crate) connections: usize,
    pub(crate) pass: usize,
    pub(crate) server: StormFigures,
    pub(crate) floor: StormFigures,
}

/// The durable workload in one setup, with so many senders: medians over the repetitions.
#[derive(Debug, Serialize)]
pub(crate) struct DurableRow {
    /// The `--server` that it was, if there was a choice.
    pub(crate) program: Option<String>,
    pub(crate) setup: Setup,
    pub(crate) senders: usize,
    /// Acknowledgements a second to what the disk alone does.
    pub(crate) ratio: Option<f64>,
    pub(crate) figures: DurableFigures,
}

/// The reconnect workload in one setup: medians over the repetitions, counts over all of them.
#[derive(Debug, Serialize)]
pub(crate) struct ReconnectRow {
    /// The `--server` that it was, if there was a choice.
    pub(crate) program: Option<String>,
    pub(crate) setup: Setup,
    pub(crate) devices: usize,
    /// Messages that wait for each.
    pub(crate) queued: usize,
    pub(crate) figures: ReconnectFigures,
    pub(crate) account: Account,
}

/// A storm of what is told and forgotten: medians over the repetitions, counts over all of them.
#[derive(Debug, Serialize)]
pub(crate) struct EphemeralRow {
    pub(crate) workload: &'static str,
    /// The `--server` that it was, if there was a choice.
    pub(crate) program: Option<String>,
    pub(crate) setup: Setup,
    /// What the 99th percentile should be at most.
    pub(crate) p99_bound_ms: Option<f64>,
    /// Whether it is.
    pub(crate) holds: Option<bool>,
    pub(crate) figures: EphemeralFigures,
    pub(crate) account: Account,
}

impl EphemeralRow {
    /// A row, judged by its workload's bound.
    pub(super) fn new(
        workload: Workload,
        program: Option<String>,
        setup: Setup,
        figures: EphemeralFigures,
        account: Account,
    ) -> Self {
        let p99_bound_ms = workload.p99_bound_ms();
        let holds = p99_bound_ms.map(|bound| figures.p99_ms <= bound);
        Self { workload: workload.name, program, setup, p99_bound_ms, holds, figures, account }
    }
}

/// The torture workload in one setup, with a quarantine or without: medians over the repetitions, counts over all of them.
#[derive(Debug, Serialize)]
pub(crate) struct TortureRow {
    /// The `--server` that it was, if there was a choice.
    pub(crate) program: Option<String>,
    pub(crate) setup: Setup,
    /// Whether the plugin is put into quarantine for what it does.
    pub(crate) quarantine: bool,
    /// The deadline of its calls.
    pub(crate) deadline_ms: f64,
    /// Those that were seen.
    pub(crate) phases: Vec<PhaseRow>,
    pub(crate) account: Account,
    pub(crate) plugin_calls: Vec<PluginCalls>,
}

/// One phase of it.
#[derive(Debug, Serialize)]
pub(crate) struct PhaseRow {
    pub(crate) phase: Phase,
    pub(crate) latency: Latency,
    /// What the 99th percentile may be, except in the baseline.
    pub(crate) p99_bound_ms: Option<f64>,
    /// Whether it is no more.
    pub(crate) holds: Option<bool>,
}

impl TortureRow {
    /// A row without phases.
    pub(super) fn new(program: Option<String>, setup: Setup, quarantine: bool, plugin_calls: Vec<PluginCalls>) -> Self {
        let deadline_ms = f64::from(LOOPING_CALL_MS_MAX);
        let (phases, account) = (Vec::new(), Account::default());
        Self { program, setup, quarantine, deadline_ms, phases, account, plugin_calls }
    }

    /// Adds a phase, if it was seen, and judges it by the baseline, which comes first.
    pub(super) fn add(&mut self, phase: Phase, latency: Latency) {
        if latency.deliveries == 0 {
            return;
        }
        let baseline = self.phases.first().map(|row| row.latency.p99_ms);
        let p99_bound_ms = baseline.and_then(|baseline| match phase {
            Phase::Baseline => None,
            Phase::Looping => Some(baseline + 2.0 * self.deadline_ms),
            Phase::Quarantined => Some(baseline * EQUAL_RATIO + EQUAL_MS),
        });
        let holds = p99_bound_ms.map(|bound| latency.p99_ms <= bound);
        self.phases.push(PhaseRow { phase, latency, p99_bound_ms, holds });
    }
}

/// What the plugin costs in one workload and setup.
#[derive(Debug, Serialize)]
pub(crate) struct PluginCost {
    pub(crate) workload: &'static str,
    /// The `--server` that it was, if there was a choice.
    pub(crate) program: Option<String>,
    pub(crate) setup: Setup,
    pub(crate) per_cpu_second_off: f64,
    pub(crate) per_cpu_second_on: f64,
    /// On to off.
    pub(crate) ratio: f64,
    /// Server CPU that a message costs more, in microseconds.
    pub(crate) cpu_us_per_message: f64,
}

impl Report {
    /// Decides what may be concluded, given what the floor reached in W1.
    pub(super) fn judge(&mut self, floor_w1_per_cpu_second: Option<f64>) {
        self.floor_w1_per_cpu_second = floor_w1_per_cpu_second;
        self.disturbed = floor_w1_per_cpu_second.is_none_or(|reached| reached < FLOOR_PER_CPU_SECOND_MIN);
        if self.disturbed {
            for row in &mut self.loaded {
                (row.ratio, row.ratio_range) = (None, None);
            }
        }
        self.plugin_costs = self.loaded.iter().filter_map(|on| plugin_cost(on, &self.loaded)).collect();
        self.comparisons = comparison::all(&self.loaded);
    }

    /// The document for machines.
    pub(super) fn json(&self) -> Result<String, BenchError> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// What forbids to believe the report, if anything does: shown after it, and in the exit status.
    pub(super) fn verdict(&self) -> Result<(), BenchError> {
        let loaded = self
            .loaded
            .iter()
            .flat_map(|row| [(row.workload, "server", &row.account), (row.workload, "floor", &row.floor_account)]);
        let torture = self.torture.iter().map(|row| ("torture", "server", &row.account));
        let reconnect = self.reconnect.iter().map(|row| ("reconnect", "server", &row.account));
        let ephemeral = self.ephemeral.iter().map(|row| (row.workload, "server", &row.account));
        let problems: Vec<String> =
            loaded.chain(torture).chain(reconnect).chain(ephemeral).filter_map(problem).collect();
        if !problems.is_empty() {
            return Err(BenchError::Inexact(problems.join("; ")));
        }
        if self.disturbed {
            let reached = self.floor_w1_per_cpu_second.unwrap_or_default();
            return Err(BenchError::Disturbed { reached, wanted: FLOOR_PER_CPU_SECOND_MIN });
        }
        Ok(())
    }
}

fn problem((workload, who, account): (&str, &str, &Account)) -> Option<String> {
    if account.is_exact() && account.refused.is_empty() {
        return None;
    }
    Some(format!(
        "{workload} ({who}): {} of {} delivered, {} lost, {} twice, {} astray, {} unanswered, refused {:?}, ended {:?}",
        account.delivered,
        account.expected,
        account.lost,
        account.duplicates,
        account.strays,
        account.unanswered,
        account.refused,
        account.ended,
    ))
}

/// Compares a row that has the plugin with the one that only lacks it.
fn plugin_cost(on: &LoadedRow, rows: &[LoadedRow]) -> Option<PluginCost> {
    let without = Setup { plugin: false, ..on.setup };
    let off = rows.iter().find(|row| (row.workload, &row.program, row.setup) == (on.workload, &on.program, without))?;
    if !on.setup.plugin {
        return None;
    }
    let (per_cpu_second_off, per_cpu_second_on) = (off.server.per_cpu_second?, on.server.per_cpu_second?);
    let deliveries_per_message = on.account.expected as f64 / on.account.accepted.max(1) as f64;
    Some(PluginCost {
        workload: on.workload,
        program: on.program.clone(),
        setup: on.setup,
        per_cpu_second_off,
        per_cpu_second_on,
        ratio: per_cpu_second_on / per_cpu_second_off,
        cpu_us_per_message: (1.0 / per_cpu_second_on - 1.0 / per_cpu_second_off) * deliveries_per_message * 1e6,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(plugin: bool, per_cpu_second: f64) -> LoadedRow {
        let account = Account { sent: 10, accepted: 10, expected: 100, delivered: 100, ..Account::default() };
        LoadedRow {
            workload: "W3",
            program: None,
            is_echo: false,
            setup: Setup { shards: Some(1), room_flush_ms: None, plugin, acl: false, durable: false, acks: true },
            ratio: Some(1.0),
            ratio_range: Some((1.0, 1.0)),
            server: Figures { per_cpu_second: Some(per_cpu_second), ..Figures::default() },
            floor: Figures::default(),
            account: account.clone(),
            floor_account: account,
            plugin_calls: Vec::new(),
            store: None,
            server_runs: Vec::new(),
            floor_runs: Vec::new(),
        }
    }

    #[test]
    fn a_slow_floor_forbids_ratios() {
        let mut report = Report { loaded: vec![row(false, 1.0)], ..Report::default() };
        report.judge(Some(99_999.0));
        assert_eq!(report.loaded[0].ratio, None);
        assert!(matches!(report.verdict(), Err(BenchError::Disturbed { .. })));
        report.judge(Some(100_000.0));
        assert!(report.verdict().is_ok());
    }

    #[test]
    fn a_loss_or_a_refusal_is_said() {
        let mut report = Report { loaded: vec![row(false, 1.0)], ..Report::default() };
        report.judge(Some(200_000.0));
        report.loaded[0].account.refused.insert("RATE_LIMITED".to_owned(), 1);
        assert!(matches!(report.verdict(), Err(BenchError::Inexact(_))));
    }

    #[test]
    fn a_phase_is_judged_by_the_baseline_of_its_run() {
        let setup = row(false, 1.0).setup;
        let latency = |p99_ms| Latency { deliveries: 1, p99_ms, ..Latency::default() };
        let mut torture = TortureRow::new(None, setup, true, Vec::new());
        torture.add(Phase::Baseline, latency(2.0));
        torture.add(Phase::Looping, Latency::default());
        torture.add(Phase::Looping, latency(12.0));
        torture.add(Phase::Quarantined, latency(2.8));
        let verdicts: Vec<_> = torture.phases.iter().map(|row| (row.p99_bound_ms, row.holds)).collect();
        assert_eq!(verdicts[..2], [(None, None), (Some(12.0), Some(true))]);
        assert_eq!(verdicts[2].1, Some(false), "as fast means as fast");
        let mut report = Report { torture: vec![torture], ..Report::default() };
        report.judge(Some(200_000.0));
        assert!(report.verdict().is_ok(), "what is slow is said, but the report may be believed");
        report.torture[0].account.lost = 1;
        assert!(matches!(report.verdict(), Err(BenchError::Inexact(_))));
    }

    #[test]
    fn s1_72_s1_73_typing_is_judged_by_100_ms_and_presence_by_200_ms() {
        use crate::cli::bench::workload::{PRESENCE, TYPING};
        for (workload, bound_ms) in [(TYPING, 100.0), (PRESENCE, 200.0)] {
            let judged = |p99_ms| {
                let figures = EphemeralFigures { p99_ms, ..EphemeralFigures::default() };
                EphemeralRow::new(workload, None, row(true, 1.0).setup, figures, Account::default()).holds
            };
            assert_eq!((judged(bound_ms), judged(bound_ms + 0.1)), (Some(true), Some(false)));
        }
    }

    #[test]
    fn the_cost_of_a_plugin_is_by_message() {
        let mut report = Report { loaded: vec![row(false, 100_000.0), row(true, 50_000.0)], ..Report::default() };
        report.judge(Some(200_000.0));
        let [cost] = report.plugin_costs.as_slice() else { panic!("one pair") };
        assert!((cost.ratio - 0.5).abs() < 1e-9);
        assert!((cost.cpu_us_per_message - 100.0).abs() < 1e-6);
    }
}
