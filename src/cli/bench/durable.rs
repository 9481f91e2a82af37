//! What an acknowledgement costs when it waits for the disk: so many senders, each with one message in flight and alone
//! in its room, so that there is nothing but the way to the store and back. And beside it what the disk itself does when
//! the same number of messages shares each commit. Knows nothing of repetitions and reports.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::dialect::{Incoming, Speaker};
use super::error::{BenchError, failed};
use super::measure::{OPEN_TIME_MAX, WARM_UP_NS, calm, no_histogram};
use super::process::CpuTime;
use super::stamp::Stamp;
use super::swarm::{Swarm, elapsed_ns};
use super::target::{Seating, Target};
use crate::store::commit_floor;

/// Bytes of the rows that one message of the workload becomes.
const ROW_BYTES: usize = 420;

/// One run, and its floor.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct DurableFigures {
    /// Acknowledgements a second.
    pub(crate) acks_per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Messages that shared a commit, on average.
    pub(crate) messages_per_commit: f64,
    /// Mean time of a commit, as the server tells it, in milliseconds: the rest of an acknowledgement's time is the way to
    /// it, the wait for the commit before, and the way back.
    pub(crate) commit_ms: f64,
    /// CPU time of the process under test for each acknowledgement, in microseconds.
    pub(crate) cpu_us_per_ack: Option<f64>,
    /// Messages a second that the disk takes in commits of as many as there are senders.
    pub(crate) floor_per_second: f64,
    /// Of those commits, in milliseconds.
    pub(crate) floor_p50_ms: f64,
    pub(crate) floor_p99_ms: f64,
}

/// Sends as fast as it is acknowledged.
pub(super) fn durable(target: &Target, senders: usize, seconds: u64) -> Result<DurableFigures, BenchError> {
    let mut swarm = Swarm::new()?;
    swarm.open(target.openings(Seating::Rooms { rooms: senders, members: 1 })?, OPEN_TIME_MAX)?;
    calm(&mut swarm)?;
    let rooms: Vec<String> = (0..senders).map(|room| target.room(room)).collect();
    let mut speaker = Speaker::new(target.dialect);
    let start = swarm.start();
    let from_ns = swarm.now_ns() + WARM_UP_NS;
    let to_ns = from_ns + seconds * 1_000_000_000;
    let mut latency_us = Histogram::<u64>::new_with_bounds(1, 600_000_000, 3).map_err(|_| no_histogram())?;
    let mut sent_ns: Vec<u64> = vec![0; senders];
    for index in 0..senders {
        let now_ns = swarm.now_ns();
        let room = rooms.get(index).map_or("", String::as_str);
        if let (Some(connection), Some(sent_ns)) = (swarm.connection(index), sent_ns.get_mut(index)) {
            *sent_ns = now_ns;
            connection.send(speaker.message(room, Stamp { due_ns: now_ns, number: index as u64 }));
        }
    }
    let (mut acks, mut before, mut refused) = (0_u64, None, None);
    while swarm.now_ns() < to_ns {
        if before.is_none() && swarm.now_ns() >= from_ns {
            before = Some((target.commits()?, target.pid.and_then(CpuTime::of)));
        }
        swarm.turn(to_ns, |connection, incoming, _| match incoming {
            Incoming::Accepted(_) => {
                let (now_ns, index) = (elapsed_ns(start), connection.seat().room);
                let Some(sent_ns) = sent_ns.get_mut(index) else { return };
                if now_ns >= from_ns {
                    acks += 1;
                    latency_us.saturating_record(now_ns.saturating_sub(*sent_ns) / 1000);
                }
                *sent_ns = now_ns;
                let room = rooms.get(index).map_or("", String::as_str);
                connection.send(speaker.message(room, Stamp { due_ns: now_ns, number: index as u64 }));
            }
            Incoming::Refused { code, .. } => refused = Some(code),
            _ => {}
        })?;
    }
    if let Some(code) = refused {
        return Err(BenchError::Inexact(format!("durable: a message was refused with {code}")));
    }
    let (commits_before, cpu_before) = before.unwrap_or_default();
    let cpu_seconds =
        cpu_before.zip(target.pid.and_then(CpuTime::of)).map(|(before, after)| after.seconds_since(&before));
    let commits = commits_before.zip(target.commits()?);
    let store = commits.and_then(|(before, after)| after.since(before, acks, seconds as f64)).unwrap_or_default();
    let quantile_ms = |quantile| latency_us.value_at_quantile(quantile) as f64 / 1000.0;
    Ok(DurableFigures {
        acks_per_second: acks as f64 / seconds as f64,
        p50_ms: quantile_ms(0.5),
        p99_ms: quantile_ms(0.99),
        messages_per_commit: store.messages_per_commit,
        commit_ms: store.commit_ms,
        cpu_us_per_ack: cpu_seconds.map(|cpu| cpu * 1e6 / acks.max(1) as f64),
        ..DurableFigures::default()
    })
}

/// The disk alone: commits of as many messages as there are senders, one after the other.
pub(super) fn floor(figures: DurableFigures, senders: usize, seconds: u64) -> Result<DurableFigures, BenchError> {
    let directory = std::env::temp_dir().join(format!("stentor-bench-floor-{}", std::process::id()));
    let took = commit_floor(&directory, senders, ROW_BYTES, Duration::from_secs(seconds));
    std::fs::remove_dir_all(&directory).map_err(failed("remove the floor's file"))?;
    let took = took.map_err(|error| BenchError::Usage(error.to_string()))?;
    let mut latency_us = Histogram::<u64>::new_with_bounds(1, 600_000_000, 3).map_err(|_| no_histogram())?;
    let total: Duration = took.iter().sum();
    for commit in &took {
        latency_us.saturating_record(u64::try_from(commit.as_micros()).unwrap_or(u64::MAX));
    }
    Ok(DurableFigures {
        floor_per_second: (took.len() * senders) as f64 / total.as_secs_f64().max(1e-9),
        floor_p50_ms: latency_us.value_at_quantile(0.5) as f64 / 1000.0,
        floor_p99_ms: latency_us.value_at_quantile(0.99) as f64 / 1000.0,
        ..figures
    })
}
