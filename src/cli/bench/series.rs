//! All cases, repeated, each time the server and then the floor: machines that others use too drift, and a ratio of two
//! neighbours in time drifts less than they do. Takes the medians. Knows nothing of how a figure is measured or shown.

use std::io::Write;
use std::path::PathBuf;

use super::crowd::{self, IdleFigures, StormFigures};
use super::durable::{self, DurableFigures};
use super::error::BenchError;
use super::measure::{self, Figures, Load, Run};
use super::median::{median, median_known, median_of};
use super::program::Program;
use super::report::{DurableRow, IdleRow, LoadedRow, Report, StormRow, TortureRow};
use super::server::Looping;
use super::target::{Given, Target};
use super::torture::{self, Latency, Phase, Torment};
use super::workload::{Case, Kind, STORM_PASSES, W1};

/// Frame length of the floor before the server has shown its own.
const FRAME_BYTES: usize = 181;
/// Longest window of the floor's own check, when W1 is not among the workloads.
const CHECK_SECONDS_MAX: u64 = 3;

/// What a series consists of.
pub(super) struct Series {
    pub(super) cases: Vec<Case>,
    /// The servers to be started, each in turn in every repetition.
    pub(super) programs: Vec<Program>,
    pub(super) reps: usize,
    pub(super) seconds: u64,
    /// Connections in the idle and storm workloads.
    pub(super) connections: usize,
    /// The processors that generator, server and floor may use.
    pub(super) cpus: Vec<usize>,
    /// The component that loops in the torture workload.
    pub(super) torture_plugin: PathBuf,
    /// The server to use instead of our own.
    pub(super) given: Option<Given>,
}

/// A case on one server, and what it has come to.
struct Entry<'a> {
    case: Case,
    program: &'a Program,
    trials: Trials,
}

/// What one case has come to so far, repetition by repetition.
#[derive(Default)]
struct Trials {
    loaded: Vec<(Run, Run)>,
    idle: Vec<(IdleFigures, IdleFigures)>,
    storm: Vec<(Vec<StormFigures>, Vec<StormFigures>)>,
    durable: Vec<DurableFigures>,
    /// Without quarantine, and with it.
    torture: Vec<(Torment, Torment)>,
}

impl Series {
    /// Runs everything.
    pub(super) fn run(&self) -> Result<Report, BenchError> {
        // Servers innermost, so that those that are compared are neighbours in time.
        let mut entries: Vec<Entry<'_>> = Vec::new();
        for case in &self.cases {
            entries.extend(self.programs.iter().map(|program| Entry {
                case: *case,
                program,
                trials: Trials::default(),
            }));
        }
        let mut floor_check = Vec::new();
        if self.cases.iter().all(|case| case.workload != W1) {
            progress("the floor alone, to see what this machine can do");
            let seconds = self.seconds.min(CHECK_SECONDS_MAX);
            let floor = self.loaded(&Target::floor(FRAME_BYTES, &self.cpus)?, W1.kind, seconds)?;
            floor_check.extend(floor.figures.per_cpu_second);
        }
        for rep in 0..self.reps {
            for Entry { case, program, trials } in &mut entries {
                let server = program.name().map(|name| format!(" on {name}")).unwrap_or_default();
                let (name, setup, reps) = (case.workload.name, case.setup, self.reps);
                progress(&format!("{name}{server} {setup:?}, repetition {} of {reps}", rep + 1));
                self.try_once(*case, program, trials)?;
            }
        }
        let mut report = Report { reps: self.reps, seconds: self.seconds, ..Report::default() };
        for Entry { case, program, trials } in entries {
            if case.workload == W1 {
                floor_check.extend(trials.loaded.iter().filter_map(|(_, floor)| floor.figures.per_cpu_second));
            }
            self.conclude(case, program, trials, &mut report);
        }
        report.judge(median(floor_check));
        Ok(report)
    }

    fn try_once(&self, case: Case, program: &Program, trials: &mut Trials) -> Result<(), BenchError> {
        match case.workload.kind {
            kind @ (Kind::FanOut { .. } | Kind::Echo { .. }) => {
                let server = self.loaded(&self.server(case, program)?, kind, self.seconds)?;
                let frame_bytes = server.figures.frame_bytes.round() as usize;
                let frame_bytes = if frame_bytes == 0 { FRAME_BYTES } else { frame_bytes };
                let floor = self.loaded(&Target::floor(frame_bytes, &self.cpus)?, kind, self.seconds)?;
                trials.loaded.push((server, floor));
            }
            Kind::Idle => {
                let server = crowd::idle(&self.server(case, program)?, self.connections)?;
                let floor = crowd::idle(&Target::floor(FRAME_BYTES, &self.cpus)?, self.connections)?;
                trials.idle.push((server, floor));
            }
            Kind::Storm => {
                let server = crowd::storm(&self.server(case, program)?, self.connections)?;
                let floor = crowd::storm(&Target::floor(FRAME_BYTES, &self.cpus)?, self.connections)?;
                trials.storm.push((server, floor));
            }
            Kind::Durable { senders } => {
                let figures = durable::durable(&self.server(case, program)?, senders, self.seconds)?;
                trials.durable.push(durable::floor(figures, senders, self.seconds.min(CHECK_SECONDS_MAX))?);
            }
            Kind::Torture { rooms, members, messages_per_second } => {
                let load = Load { rooms, members, messages_per_second, seconds: self.seconds };
                let torment = |quarantine| {
                    let looping = Looping { component: &self.torture_plugin, quarantine };
                    torture::torture(&Target::server(program, case.setup, Some(looping), &self.cpus)?, load)
                };
                trials.torture.push((torment(false)?, torment(true)?));
            }
        }
        Ok(())
    }

    fn server(&self, case: Case, program: &Program) -> Result<Target, BenchError> {
        match &self.given {
            Some(given) => Target::given(given, case.setup.acks),
            None => Target::server(program, case.setup, None, &self.cpus),
        }
    }

    fn loaded(&self, target: &Target, kind: Kind, seconds: u64) -> Result<Run, BenchError> {
        match kind {
            Kind::Echo { connections } => measure::echo(target, connections, seconds),
            Kind::FanOut { rooms, members, messages_per_second } => {
                measure::fan_out(target, Load { rooms, members, messages_per_second, seconds })
            }
            Kind::Idle | Kind::Storm | Kind::Durable { .. } | Kind::Torture { .. } => {
                Err(BenchError::Usage("this workload has no load".to_owned()))
            }
        }
    }

    fn conclude(&self, case: Case, program: &Program, trials: Trials, report: &mut Report) {
        if let Some((last, _)) = trials.loaded.last() {
            let plugin_calls = last.plugin_calls.clone();
            let (server, floor): (Vec<Run>, Vec<Run>) = trials.loaded.into_iter().unzip();
            let paired = server
                .iter()
                .zip(&floor)
                .filter_map(|(server, floor)| Some(server.figures.per_cpu_second? / floor.figures.per_cpu_second?));
            let ratios: Vec<f64> = paired.collect();
            let least = ratios.iter().copied().reduce(f64::min);
            let mut row = LoadedRow {
                workload: case.workload.name,
                program: program.name(),
                is_echo: matches!(case.workload.kind, Kind::Echo { .. }),
                setup: case.setup,
                ratio_range: least.zip(ratios.iter().copied().reduce(f64::max)),
                ratio: median(ratios),
                server: median_figures(&server),
                floor: median_figures(&floor),
                account: Default::default(),
                floor_account: Default::default(),
                plugin_calls,
                server_runs: server.iter().map(|run| run.figures).collect(),
                floor_runs: floor.iter().map(|run| run.figures).collect(),
            };
            server.iter().for_each(|run| row.account.add(&run.account));
            floor.iter().for_each(|run| row.floor_account.add(&run.account));
            report.loaded.push(row);
        }
        if !trials.idle.is_empty() {
            let (server, floor): (Vec<_>, Vec<_>) = trials.idle.into_iter().unzip();
            let (server, floor) = (median_idle(&server), median_idle(&floor));
            let (program, setup, connections) = (program.name(), case.setup, self.connections);
            report.idle.push(IdleRow { program, setup, connections, server, floor });
        }
        if !trials.storm.is_empty() {
            let (server, floor): (Vec<_>, Vec<_>) = trials.storm.into_iter().unzip();
            for pass in 0..STORM_PASSES {
                let (server, floor) = (median_storm(&server, pass), median_storm(&floor, pass));
                let (program, setup, connections) = (program.name(), case.setup, self.connections);
                report.storm.push(StormRow { program, setup, connections, pass: pass + 1, server, floor });
            }
        }
        if let Kind::Durable { senders } = case.workload.kind {
            let of = |figure: fn(&DurableFigures) -> f64| {
                median(trials.durable.iter().map(figure).collect()).unwrap_or_default()
            };
            let figures = DurableFigures {
                acks_per_second: of(|it| it.acks_per_second),
                p50_ms: of(|it| it.p50_ms),
                p99_ms: of(|it| it.p99_ms),
                messages_per_commit: of(|it| it.messages_per_commit),
                floor_per_second: of(|it| it.floor_per_second),
                floor_p50_ms: of(|it| it.floor_p50_ms),
                floor_p99_ms: of(|it| it.floor_p99_ms),
            };
            let ratio =
                median(trials.durable.iter().map(|it| it.acks_per_second / it.floor_per_second.max(1e-9)).collect());
            let (program, setup) = (program.name(), case.setup);
            report.durable.push(DurableRow { program, setup, senders, ratio, figures });
        }
        let (without, with): (Vec<_>, Vec<_>) = trials.torture.into_iter().unzip();
        for (quarantine, torments) in [(false, without), (true, with)] {
            let Some(last) = torments.last() else { continue };
            let mut row = TortureRow::new(program.name(), case.setup, quarantine, last.plugin_calls.clone());
            for phase in Phase::ALL {
                let all: Vec<Latency> = torments.iter().map(|torment| torment.latency(phase)).collect();
                row.add(phase, median_latency(&all));
            }
            torments.iter().for_each(|torment| row.account.add(&torment.account));
            report.torture.push(row);
        }
    }
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

/// Tells whoever watches; a report on standard output stays clean.
fn progress(what: &str) {
    let _ = writeln!(std::io::stderr().lock(), "bench: {what}");
}
