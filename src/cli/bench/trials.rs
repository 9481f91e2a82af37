//! What the repetitions of one case came to, and what they come to together: medians of figures, sums of counts. Knows
//! nothing of how a figure is measured or shown.

use super::crowd::{IdleFigures, StormFigures};
use super::durable::DurableFigures;
use super::ephemeral::EphemeralFigures;
use super::ledger::Account;
use super::measure::{Figures, Run};
use super::median::{median, median_known, median_of};
use super::reconnect::{Crowd, ReconnectFigures};
use super::report::{DurableRow, EphemeralRow, IdleRow, LoadedRow, ReconnectRow, Report, StormRow, TortureRow};
use super::scrape::StoreFigures;
use super::torture::{Latency, Phase, Torment};
use super::workload::{Case, Kind, STORM_PASSES};

/// What one case has come to so far, repetition by repetition. Where there are two of a kind, the server and the floor.
#[derive(Default)]
pub(super) struct Trials {
    pub(super) loaded: Vec<(Run, Run)>,
    pub(super) idle: Vec<(IdleFigures, IdleFigures)>,
    pub(super) storm: Vec<(Vec<StormFigures>, Vec<StormFigures>)>,
    pub(super) durable: Vec<DurableFigures>,
    pub(super) reconnect: Vec<(ReconnectFigures, Account)>,
    pub(super) ephemeral: Vec<(EphemeralFigures, Account)>,
    /// Without quarantine, and with it.
    pub(super) torture: Vec<(Torment, Torment)>,
}

impl Trials {
    /// Adds the rows of this case to a report.
    pub(super) fn conclude(self, case: Case, program: Option<String>, connections: usize, report: &mut Report) {
        let setup = case.setup;
        match case.workload.kind {
            Kind::FanOut { .. } | Kind::Echo { .. } => {
                report.loaded.extend(loaded_row(case, program, self.loaded));
            }
            Kind::Idle => {
                let (server, floor): (Vec<_>, Vec<_>) = self.idle.into_iter().unzip();
                let (server, floor) = (median_idle(&server), median_idle(&floor));
                report.idle.push(IdleRow { program, setup, connections, server, floor });
            }
            Kind::Storm => {
                let (server, floor): (Vec<_>, Vec<_>) = self.storm.into_iter().unzip();
                for pass in 0..STORM_PASSES {
                    let (server, floor) = (median_storm(&server, pass), median_storm(&floor, pass));
                    let program = program.clone();
                    report.storm.push(StormRow { program, setup, connections, pass: pass + 1, server, floor });
                }
            }
            Kind::Durable { senders } => {
                let figures = median_durable(&self.durable);
                let ratios = self.durable.iter().map(|it| it.acks_per_second / it.floor_per_second.max(1e-9));
                let ratio = median(ratios.collect());
                report.durable.push(DurableRow { program, setup, senders, ratio, figures });
            }
            Kind::Reconnect { rooms, members, queued } => {
                let devices = Crowd { rooms, members, queued }.devices();
                let (figures, account) = summed(self.reconnect);
                let figures = median_reconnect(&figures);
                report.reconnect.push(ReconnectRow { program, setup, devices, queued, figures, account });
            }
            Kind::Typing { .. } | Kind::Presence { .. } => {
                let (figures, account) = summed(self.ephemeral);
                let figures = median_ephemeral(&figures);
                report.ephemeral.push(EphemeralRow::new(case.workload, program, setup, figures, account));
            }
            Kind::Torture { .. } => {
                let (without, with): (Vec<_>, Vec<_>) = self.torture.into_iter().unzip();
                report.torture.extend(torture_row(case, program.clone(), false, &without));
                report.torture.extend(torture_row(case, program, true, &with));
            }
        }
    }
}

fn loaded_row(case: Case, program: Option<String>, trials: Vec<(Run, Run)>) -> Option<LoadedRow> {
    let plugin_calls = trials.last()?.0.plugin_calls.clone();
    let (server, floor): (Vec<Run>, Vec<Run>) = trials.into_iter().unzip();
    let pairs = server.iter().zip(&floor);
    let ratios: Vec<f64> = pairs
        .filter_map(|(server, floor)| Some(server.figures.per_cpu_second? / floor.figures.per_cpu_second?))
        .collect();
    let least = ratios.iter().copied().reduce(f64::min);
    let mut row = LoadedRow {
        workload: case.workload.name,
        program,
        is_echo: matches!(case.workload.kind, Kind::Echo { .. }),
        setup: case.setup,
        ratio_range: least.zip(ratios.iter().copied().reduce(f64::max)),
        ratio: median(ratios),
        server: median_figures(&server),
        floor: median_figures(&floor),
        account: Account::default(),
        floor_account: Account::default(),
        plugin_calls,
        store: median_store(&server),
        server_runs: server.iter().map(|run| run.figures).collect(),
        floor_runs: floor.iter().map(|run| run.figures).collect(),
    };
    server.iter().for_each(|run| row.account.add(&run.account));
    floor.iter().for_each(|run| row.floor_account.add(&run.account));
    Some(row)
}

fn torture_row(case: Case, program: Option<String>, quarantine: bool, torments: &[Torment]) -> Option<TortureRow> {
    let mut row = TortureRow::new(program, case.setup, quarantine, torments.last()?.plugin_calls.clone());
    for phase in Phase::ALL {
        let all: Vec<Latency> = torments.iter().map(|torment| torment.latency(phase)).collect();
        row.add(phase, median_latency(&all));
    }
    torments.iter().for_each(|torment| row.account.add(&torment.account));
    Some(row)
}

/// The figures of each repetition, and the counts of all.
fn summed<T>(trials: Vec<(T, Account)>) -> (Vec<T>, Account) {
    let (figures, accounts): (Vec<T>, Vec<Account>) = trials.into_iter().unzip();
    let mut account = Account::default();
    accounts.iter().for_each(|other| account.add(other));
    (figures, account)
}

fn median_durable(all: &[DurableFigures]) -> DurableFigures {
    DurableFigures {
        acks_per_second: median_of(all, |figures| figures.acks_per_second),
        p50_ms: median_of(all, |figures| figures.p50_ms),
        p99_ms: median_of(all, |figures| figures.p99_ms),
        messages_per_commit: median_of(all, |figures| figures.messages_per_commit),
        commit_ms: median_of(all, |figures| figures.commit_ms),
        cpu_us_per_ack: median_known(all, |figures| figures.cpu_us_per_ack),
        floor_per_second: median_of(all, |figures| figures.floor_per_second),
        floor_p50_ms: median_of(all, |figures| figures.floor_p50_ms),
        floor_p99_ms: median_of(all, |figures| figures.floor_p99_ms),
    }
}

/// Where there was a store on disk.
fn median_store(runs: &[Run]) -> Option<StoreFigures> {
    let all: Vec<StoreFigures> = runs.iter().filter_map(|run| run.store).collect();
    (!all.is_empty()).then(|| StoreFigures {
        commits_per_second: median_of(&all, |figures| figures.commits_per_second),
        messages_per_commit: median_of(&all, |figures| figures.messages_per_commit),
        commit_ms: median_of(&all, |figures| figures.commit_ms),
        busy_share: median_of(&all, |figures| figures.busy_share),
    })
}

fn median_figures(runs: &[Run]) -> Figures {
    let of = |figure: fn(&Figures) -> f64| median_of(runs, |run| figure(&run.figures));
    let known = |figure: fn(&Figures) -> Option<f64>| median_known(runs, |run| figure(&run.figures));
    Figures {
        per_second: of(|figures| figures.per_second),
        per_cpu_second: known(|figures| figures.per_cpu_second),
        cpu_share: known(|figures| figures.cpu_share),
        p50_ms: of(|figures| figures.p50_ms),
        p99_ms: of(|figures| figures.p99_ms),
        p999_ms: of(|figures| figures.p999_ms),
        max_ms: of(|figures| figures.max_ms),
        late_p99_ms: of(|figures| figures.late_p99_ms),
        generator_share: of(|figures| figures.generator_share),
        frame_bytes: of(|figures| figures.frame_bytes),
        pongs_per_second: of(|figures| figures.pongs_per_second),
    }
}

fn median_idle(all: &[IdleFigures]) -> IdleFigures {
    IdleFigures {
        before_bytes: median_of(all, |figures| figures.before_bytes),
        after_bytes: median_of(all, |figures| figures.after_bytes),
        bytes_per_connection: median_of(all, |figures| figures.bytes_per_connection),
    }
}

fn median_storm(all: &[Vec<StormFigures>], pass: usize) -> StormFigures {
    let passes: Vec<StormFigures> = all.iter().filter_map(|passes| passes.get(pass)).copied().collect();
    StormFigures {
        joined_seconds: median_of(&passes, |figures| figures.joined_seconds),
        cpu_seconds: median_known(&passes, |figures| figures.cpu_seconds),
        joined_bytes: median_of(&passes, |figures| figures.joined_bytes),
        gone_bytes: median_of(&passes, |figures| figures.gone_bytes),
    }
}

fn median_reconnect(all: &[ReconnectFigures]) -> ReconnectFigures {
    ReconnectFigures {
        back_seconds: median_of(all, |figures| figures.back_seconds),
        p50_ms: median_of(all, |figures| figures.p50_ms),
        p99_ms: median_of(all, |figures| figures.p99_ms),
        messages_per_second: median_of(all, |figures| figures.messages_per_second),
        cpu_seconds_per_1000: median_known(all, |figures| figures.cpu_seconds_per_1000),
        away_bytes: median_of(all, |figures| figures.away_bytes),
        back_bytes: median_of(all, |figures| figures.back_bytes),
        pongs: median_of(all, |figures| figures.pongs),
    }
}

fn median_ephemeral(all: &[EphemeralFigures]) -> EphemeralFigures {
    EphemeralFigures {
        requests_per_second: median_of(all, |figures| figures.requests_per_second),
        changes_per_second: median_of(all, |figures| figures.changes_per_second),
        pushes_per_second: median_of(all, |figures| figures.pushes_per_second),
        cpu_us_per_push: median_known(all, |figures| figures.cpu_us_per_push),
        cpu_share: median_known(all, |figures| figures.cpu_share),
        p50_ms: median_of(all, |figures| figures.p50_ms),
        p99_ms: median_of(all, |figures| figures.p99_ms),
        max_ms: median_of(all, |figures| figures.max_ms),
        late_p99_ms: median_of(all, |figures| figures.late_p99_ms),
        generator_share: median_of(all, |figures| figures.generator_share),
        unseen: median_of(all, |figures| figures.unseen),
        pongs_per_second: median_of(all, |figures| figures.pongs_per_second),
    }
}

/// Of those repetitions in which there was something to be seen.
fn median_latency(all: &[Latency]) -> Latency {
    let seen: Vec<Latency> = all.iter().filter(|latency| latency.deliveries > 0).copied().collect();
    Latency {
        deliveries: seen.iter().map(|latency| latency.deliveries).sum(),
        p50_ms: median_of(&seen, |latency| latency.p50_ms),
        p99_ms: median_of(&seen, |latency| latency.p99_ms),
        p999_ms: median_of(&seen, |latency| latency.p999_ms),
        max_ms: median_of(&seen, |latency| latency.max_ms),
    }
}
