//! All cases, repeated, each time the server and then the floor: machines that others use too drift, and a ratio of two
//! neighbours in time drifts less than they do. Knows nothing of how a figure is measured, concluded from or shown.

use std::io::Write;
use std::path::PathBuf;

use super::crowd;
use super::durable;
use super::error::BenchError;
use super::measure::{self, Load, Run};
use super::median::median;
use super::presence::{self, Flapping};
use super::program::Program;
use super::reconnect::{self, Crowd};
use super::report::Report;
use super::server::Looping;
use super::target::{Given, Target};
use super::torture;
use super::trials::Trials;
use super::typing::{self, Typists};
use super::workload::{Case, Kind, W1};

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
            for servers in entries.chunks_mut(self.programs.len().max(1)) {
                let mut servers: Vec<&mut Entry<'_>> = servers.iter_mut().collect();
                // Every other time the other way round, so that none is always the one that comes after the others.
                if rep % 2 == 1 {
                    servers.reverse();
                }
                for Entry { case, program, trials } in servers {
                    let server = program.name().map(|name| format!(" on {name}")).unwrap_or_default();
                    let (name, setup, reps) = (case.workload.name, case.setup, self.reps);
                    progress(&format!("{name}{server} {setup:?}, repetition {} of {reps}", rep + 1));
                    self.try_once(*case, program, trials)?;
                }
            }
        }
        let mut report = Report { reps: self.reps, seconds: self.seconds, ..Report::default() };
        for Entry { case, program, trials } in entries {
            if case.workload == W1 {
                floor_check.extend(trials.loaded.iter().filter_map(|(_, floor)| floor.figures.per_cpu_second));
            }
            trials.conclude(case, program.name(), self.connections, &mut report);
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
            Kind::Reconnect { rooms, members, queued } => {
                let crowd = Crowd { rooms, members, queued };
                trials.reconnect.push(reconnect::reconnect(&self.server(case, program)?, crowd)?);
            }
            Kind::Typing { rooms, members, starts_per_second } => {
                let typists = Typists { rooms, members, starts_per_second };
                trials.ephemeral.push(typing::typing(&self.server(case, program)?, typists, self.seconds)?);
            }
            Kind::Presence { rooms, members, subscribers, subscriptions } => {
                let flapping = Flapping { rooms, members, subscribers, subscriptions };
                trials.ephemeral.push(presence::presence(&self.server(case, program)?, flapping, self.seconds)?);
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
            _ => Err(BenchError::Usage("this workload has no load".to_owned())),
        }
    }
}

/// Tells whoever watches; a report on standard output stays clean.
fn progress(what: &str) {
    let _ = writeln!(std::io::stderr().lock(), "bench: {what}");
}
