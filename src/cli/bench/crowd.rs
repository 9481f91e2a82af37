//! Many connections that say nothing: what they cost while idle, and what it costs when all come and go at once. Knows
//! nothing of floors, repetitions and reports.

use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use serde::Serialize;

use super::error::BenchError;
use super::measure::OPEN_TIME_MAX;
use super::process::{CpuTime, resident_bytes};
use super::swarm::Swarm;
use super::target::{Seating, Target};
use super::workload::{IDLE_ROOM_MEMBERS, STORM_PASSES};

/// Time for a process to come to rest before its memory is read.
const REST: Duration = Duration::from_secs(4);
/// Descriptors besides those of connections.
const DESCRIPTORS_SPARE: u64 = 100;

/// The memory of idle connections.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct IdleFigures {
    pub(crate) before_bytes: f64,
    pub(crate) after_bytes: f64,
    pub(crate) bytes_per_connection: f64,
}

/// One storm: all connect and join, then all leave.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct StormFigures {
    /// Time until the last one had joined.
    pub(crate) joined_seconds: f64,
    /// CPU time of the process under test until then.
    pub(crate) cpu_seconds: Option<f64>,
    /// Resident bytes with all joined.
    pub(crate) joined_bytes: f64,
    /// Resident bytes with all gone.
    pub(crate) gone_bytes: f64,
}

/// Connects a crowd and reads the memory before and after.
pub(super) fn idle(target: &Target, connections: usize) -> Result<IdleFigures, BenchError> {
    check_descriptors(connections)?;
    let pid =
        target.pid.ok_or_else(|| BenchError::Usage("idle: without --pid there is no memory to read".to_owned()))?;
    rest(None)?;
    let before_bytes = resident(pid)?;
    let mut swarm = Swarm::new()?;
    swarm.open(target.openings(seating(connections))?, OPEN_TIME_MAX)?;
    rest(Some(&mut swarm))?;
    let after_bytes = resident(pid)?;
    let bytes_per_connection = (after_bytes - before_bytes) / swarm.len().max(1) as f64;
    Ok(IdleFigures { before_bytes, after_bytes, bytes_per_connection })
}

/// Lets a crowd come and go, several times.
pub(super) fn storm(target: &Target, connections: usize) -> Result<Vec<StormFigures>, BenchError> {
    check_descriptors(connections)?;
    let pid = target.pid.ok_or_else(|| BenchError::Usage("storm: without --pid there is no CPU to read".to_owned()))?;
    let mut passes = Vec::new();
    for _ in 0..STORM_PASSES {
        // Tokens and requests are made before the clock starts.
        let openings = target.openings(seating(connections))?;
        let before = CpuTime::of(pid);
        let mut swarm = Swarm::new()?;
        swarm.open(openings, OPEN_TIME_MAX)?;
        let joined_seconds = swarm.now_ns() as f64 / 1e9;
        let cpu_seconds = before.zip(CpuTime::of(pid)).map(|(before, after)| after.seconds_since(&before));
        rest(Some(&mut swarm))?;
        let joined_bytes = resident(pid)?;
        drop(swarm);
        rest(None)?;
        passes.push(StormFigures { joined_seconds, cpu_seconds, joined_bytes, gone_bytes: resident(pid)? });
    }
    Ok(passes)
}

fn seating(connections: usize) -> Seating {
    let members = IDLE_ROOM_MEMBERS.min(connections.max(1));
    Seating::Rooms { rooms: connections / members, members }
}

/// Resident bytes of the process under test.
pub(super) fn resident(pid: u32) -> Result<f64, BenchError> {
    let bytes = resident_bytes(pid).ok_or_else(|| BenchError::Usage(format!("process {pid} has no memory to read")))?;
    Ok(bytes as f64)
}

/// Waits, answering pings if there is somebody to be pinged. A connection that ends meanwhile is a failure.
fn rest(swarm: Option<&mut Swarm>) -> Result<(), BenchError> {
    let Some(swarm) = swarm else {
        std::thread::sleep(REST);
        return Ok(());
    };
    let until_ns = swarm.now_ns() + REST.as_nanos() as u64;
    while swarm.now_ns() < until_ns {
        swarm.turn(until_ns, |_, _, _| ())?;
    }
    let wanted = swarm.len();
    let ended = swarm.endings().count();
    match swarm.endings().next() {
        None => Ok(()),
        Some(why) => Err(BenchError::Connect { ready: wanted - ended, wanted, problem: why.to_owned() }),
    }
}

/// Refuses a crowd for which there are not enough open files.
pub(super) fn check_descriptors(connections: usize) -> Result<(), BenchError> {
    let wanted = connections as u64 + DESCRIPTORS_SPARE;
    match getrlimit(Resource::Nofile).current {
        Some(most) if most < wanted => Err(BenchError::Usage(format!(
            "{connections} connections need {wanted} open files, but the limit is {most} (ulimit -n)"
        ))),
        _ => Ok(()),
    }
}
