//! One loaded run against one target: connect, warm up, measure, wait for what is still on its way. The schedule is
//! open: a message is due when it is due, whatever the server does, and its latency counts from then. Knows nothing of
//! floors, repetitions and reports.

use std::ops::Range;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::dialect::{Dialect, Incoming, Speaker};
use super::error::BenchError;
use super::ledger::{Account, Ledger, Shape};
use super::meter::{Meter, Spent};
use super::scrape::{PluginCalls, StoreFigures};
use super::stamp::Stamp;
use super::swarm::{Swarm, elapsed_ns};
use super::target::{Seating, Target};

/// Time for all connections of a run to be ready.
pub(super) const OPEN_TIME_MAX: Duration = Duration::from_secs(60);
/// Time before the measured window, under the same load.
pub(super) const WARM_UP_NS: u64 = 1_000_000_000;
/// Time for what the joins caused to pass.
const CALM_NS: u64 = 300_000_000;
/// Time after the last message for what is still on its way.
pub(super) const DRAIN_NS_MAX: u64 = 15_000_000_000;
/// Time after all has arrived in which it might arrive again.
pub(super) const DUPLICATES_NS: u64 = 100_000_000;

/// What a loaded run came to.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Figures {
    /// Deliveries (or round trips) a second, in the window.
    pub(crate) per_second: f64,
    /// The same by second of CPU time of the process under test, if that is known.
    pub(crate) per_cpu_second: Option<f64>,
    /// CPU seconds a second of the process under test.
    pub(crate) cpu_share: Option<f64>,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
    /// How late messages left the generator: if this is large, the generator had no CPU.
    pub(crate) late_p99_ms: f64,
    /// CPU seconds a second of the generator.
    pub(crate) generator_share: f64,
    /// Mean length of a delivered frame.
    pub(crate) frame_bytes: f64,
    /// Pings of the server answered, a second, by all connections.
    pub(crate) pongs_per_second: f64,
}

/// A loaded run.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) figures: Figures,
    pub(super) account: Account,
    pub(super) plugin_calls: Vec<PluginCalls>,
    /// What the disk did, if there was one.
    pub(super) store: Option<StoreFigures>,
}

/// An offered load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) rooms: usize,
    pub(super) members: usize,
    pub(super) messages_per_second: u64,
    pub(super) seconds: u64,
}

/// Runs a fan-out load.
pub(super) fn fan_out(target: &Target, load: Load) -> Result<Run, BenchError> {
    let mut swarm = Swarm::new()?;
    let seating = Seating::Rooms { rooms: load.rooms, members: load.members };
    swarm.open(target.openings(seating)?, OPEN_TIME_MAX)?;
    calm(&mut swarm)?;
    let (counters, commits) = (target.plugin_counters()?, target.commits()?);
    let begin_ns = swarm.now_ns();
    let mut meter = Meter::new(target.pid, begin_ns + WARM_UP_NS, load.seconds);
    let interval_ns = 1_000_000_000 / load.messages_per_second.max(1);
    let messages = usize::try_from((meter.to_ns - begin_ns) / interval_ns).unwrap_or(0);
    let shape = Shape { rooms: load.rooms, members: load.members, messages };
    let mut ledger = Ledger::new(shape, target.dialect, meter.from_ns, meter.to_ns).ok_or_else(no_histogram)?;
    let mut speaker = Speaker::new(target.dialect);
    let rooms: Vec<String> = (0..load.rooms).map(|room| target.room(room)).collect();
    let start = swarm.start();
    let mut next = 0;
    let mut settled_ns = None;
    loop {
        let now_ns = swarm.now_ns();
        let due_ns = |number: usize| begin_ns + number as u64 * interval_ns;
        while next < messages && due_ns(next) <= now_ns {
            let (seat, stamp) = (shape.sender(next), Stamp { due_ns: due_ns(next), number: next as u64 });
            ledger.sent(stamp.due_ns, swarm.now_ns());
            let room = rooms.get(seat.room).map_or("", String::as_str);
            if let Some(connection) = swarm.connection(shape.connection(seat)) {
                connection.send(speaker.message(room, stamp));
            }
            next += 1;
        }
        ledger.set_window(meter.see(now_ns, &swarm));
        if next == messages && meter.is_over() {
            if settled_ns.is_none() && ledger.is_settled() {
                settled_ns = Some(now_ns);
            }
            let lingered = settled_ns.is_some_and(|settled_ns| now_ns >= settled_ns + DUPLICATES_NS);
            if lingered || now_ns >= meter.to_ns + DRAIN_NS_MAX {
                break;
            }
        }
        let until_ns = if next < messages { due_ns(next) } else { u64::MAX };
        swarm.turn(until_ns.min(meter.next_edge_ns()), |connection, incoming, bytes| {
            ledger.heard(connection.seat(), incoming, bytes, elapsed_ns(start));
        })?;
    }
    let (deliveries, latency_us, late_us, frame_bytes) = ledger.figures();
    let figures = figures(&meter.spent(), deliveries, latency_us, late_us);
    let account = ledger.close(swarm.endings());
    let plugin_calls = target.plugin_calls(counters.as_ref(), account.sent)?;
    let seconds = (swarm.now_ns() - begin_ns) as f64 / 1e9;
    let commits = commits.zip(target.commits()?);
    let store = commits.and_then(|(before, after)| after.since(before, account.accepted, seconds));
    Ok(Run { figures: Figures { frame_bytes, ..figures }, account, plugin_calls, store })
}

/// Runs a closed loop of one request in flight on each connection.
pub(super) fn echo(target: &Target, connections: usize, seconds: u64) -> Result<Run, BenchError> {
    let mut swarm = Swarm::new()?;
    swarm.open(target.openings(Seating::Alone { connections })?, OPEN_TIME_MAX)?;
    calm(&mut swarm)?;
    let mut meter = Meter::new(target.pid, swarm.now_ns() + WARM_UP_NS, seconds);
    let mut latency_us = Histogram::new_with_bounds(1, 600_000_000, 3).map_err(|_| no_histogram())?;
    let mut speaker = Speaker::new(target.dialect);
    let mut account = Account::default();
    for index in 0..connections {
        let stamp = Stamp { due_ns: swarm.now_ns(), number: 0 };
        if let Some(connection) = swarm.connection(index) {
            connection.send(speaker.heartbeat(stamp));
            account.sent += 1;
        }
    }
    let start = swarm.start();
    let (from_ns, to_ns) = (meter.from_ns, meter.to_ns);
    let mut in_window = 0;
    loop {
        let now_ns = swarm.now_ns();
        let open = meter.see(now_ns, &swarm);
        let all_back = account.delivered + account.refused.values().sum::<u64>() >= account.sent;
        if meter.is_over() && (all_back || now_ns >= to_ns + DRAIN_NS_MAX) {
            break;
        }
        swarm.turn(meter.next_edge_ns(), |connection, incoming, _| match incoming {
            Incoming::Delivery(stamp) | Incoming::Heartbeat(stamp) => {
                let now_ns = elapsed_ns(start);
                account.delivered += 1;
                in_window += u64::from(open);
                if (from_ns..to_ns).contains(&stamp.due_ns) {
                    latency_us.saturating_record(now_ns.saturating_sub(stamp.due_ns) / 1000);
                }
                if now_ns < to_ns {
                    connection.send(speaker.heartbeat(Stamp { due_ns: now_ns, number: stamp.number + 1 }));
                    account.sent += 1;
                }
            }
            Incoming::Refused { code, .. } => *account.refused.entry(code).or_default() += 1,
            _ => {}
        })?;
    }
    let refused: u64 = account.refused.values().sum();
    account.accepted = account.sent.saturating_sub(refused);
    account.expected = account.accepted;
    account.lost = account.expected.saturating_sub(account.delivered);
    account.duplicates = account.delivered.saturating_sub(account.expected);
    for why in swarm.endings() {
        *account.ended.entry(why.to_owned()).or_default() += 1;
    }
    let late_us = Histogram::new_with_bounds(1, 2, 3).unwrap_or_else(|_| latency_us.clone());
    let figures = figures(&meter.spent(), in_window, &latency_us, &late_us);
    Ok(Run { figures, account, plugin_calls: Vec::new(), store: None })
}

/// Waits until each of some connections has had an answer to a heartbeat, and so to all that it asked before.
pub(super) fn answered(swarm: &mut Swarm, connections: Range<usize>) -> Result<(), BenchError> {
    let mut speaker = Speaker::new(Dialect::Stentor);
    for index in connections.clone() {
        if let Some(connection) = swarm.connection(index) {
            connection.send(speaker.heartbeat(Stamp::default()));
        }
    }
    let (wanted, deadline_ns) = (connections.len(), swarm.now_ns() + OPEN_TIME_MAX.as_nanos() as u64);
    let (mut ready, mut refused) = (0, None);
    while ready < wanted {
        swarm.turn(deadline_ns, |_, incoming, _| match incoming {
            Incoming::Heartbeat(_) => ready += 1,
            Incoming::Refused { code, .. } => refused = Some(code),
            _ => {}
        })?;
        let late = (swarm.now_ns() >= deadline_ns).then(|| "no answer to a heartbeat".to_owned());
        if let Some(problem) = refused.take().or_else(|| swarm.endings().next().map(str::to_owned)).or(late) {
            return Err(BenchError::Connect { ready, wanted, problem });
        }
    }
    Ok(())
}

/// Lets pass what the joins caused.
pub(super) fn calm(swarm: &mut Swarm) -> Result<(), BenchError> {
    let until_ns = swarm.now_ns() + CALM_NS;
    while swarm.now_ns() < until_ns {
        swarm.turn(until_ns, |_, _, _| ())?;
    }
    Ok(())
}

/// The bounds are constants, so this does not happen.
pub(super) fn no_histogram() -> BenchError {
    BenchError::Usage("no histogram of these bounds".to_owned())
}

fn figures(spent: &Spent, count: u64, latency_us: &Histogram<u64>, late_us: &Histogram<u64>) -> Figures {
    let (count, seconds) = (count as f64, spent.seconds.max(1e-9));
    let quantile_ms = |quantile| latency_us.value_at_quantile(quantile) as f64 / 1000.0;
    Figures {
        per_second: count / seconds,
        per_cpu_second: spent.target_cpu_seconds.filter(|cpu| *cpu > 0.0).map(|cpu| count / cpu),
        cpu_share: spent.target_cpu_seconds.map(|cpu| cpu / seconds),
        p50_ms: quantile_ms(0.5),
        p99_ms: quantile_ms(0.99),
        p999_ms: quantile_ms(0.999),
        max_ms: latency_us.max() as f64 / 1000.0,
        late_p99_ms: late_us.value_at_quantile(0.99) as f64 / 1000.0,
        generator_share: spent.own_cpu_seconds / seconds,
        frame_bytes: 0.0,
        pongs_per_second: spent.pongs as f64 / seconds,
    }
}
