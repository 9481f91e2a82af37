//! Storms of what is told and forgotten: changes that are due when they are due, each pushed to many, and how long it takes
//! until the last of them knows. Such pushes may be dropped, so one that is not seen is counted, but no fault. Knows
//! nothing of what is told, nor of repetitions and reports.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::client::Seat;
use super::dialect::Incoming;
use super::error::BenchError;
use super::ledger::Account;
use super::measure::{DRAIN_NS_MAX, WARM_UP_NS, no_histogram};
use super::meter::Meter;
use super::swarm::{Swarm, elapsed_ns};
use super::target::Target;

/// When nothing has come for so long after the last request, nothing will.
const QUIET_NS: u64 = 2_000_000_000;

/// What a storm came to.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct EphemeralFigures {
    /// Requests a second.
    pub(crate) requests_per_second: f64,
    /// Changes that they made, a second: the others were told already.
    pub(crate) changes_per_second: f64,
    pub(crate) pushes_per_second: f64,
    /// CPU time of the process under test for each push, in microseconds.
    pub(crate) cpu_us_per_push: Option<f64>,
    /// CPU seconds a second of the process under test.
    pub(crate) cpu_share: Option<f64>,
    /// From when a change was due until the last receiver knew.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    /// How late requests left the generator.
    pub(crate) late_p99_ms: f64,
    /// CPU seconds a second of the generator.
    pub(crate) generator_share: f64,
    /// Pushes that never came, of all that were due, warm-up included.
    pub(crate) unseen: f64,
    pub(crate) pongs_per_second: f64,
}

/// A change that others are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// Its number, less than `changes_max`.
    pub(super) number: usize,
    /// When it was due, from the begin of the storm.
    pub(super) due_ns: u64,
    /// How many are told.
    pub(super) receivers: u32,
}

/// What a storm consists of.
pub(super) trait Storm {
    /// From one request to the next, of all clients together.
    fn interval_ns(&self) -> u64;

    /// A bound on the changes that so many requests make.
    fn changes_max(&self, requests: usize) -> usize;

    /// Sends request `number`, due so long after the begin; says which change it makes, if others are to hear of it.
    fn send(&mut self, number: usize, due_ns: u64, swarm: &mut Swarm) -> Option<Change>;

    /// Which change a push to somebody tells of, if it is one.
    fn hear(&mut self, seat: Seat, incoming: &Incoming) -> Option<Change>;
}

/// Runs a storm over connections that are ready.
pub(super) fn run(
    target: &Target,
    swarm: &mut Swarm,
    storm: &mut impl Storm,
    seconds: u64,
) -> Result<(EphemeralFigures, Account), BenchError> {
    let (begin_ns, interval_ns) = (swarm.now_ns(), storm.interval_ns());
    let mut meter = Meter::new(target.pid, begin_ns + WARM_UP_NS, seconds);
    let requests = usize::try_from((meter.to_ns - begin_ns) / interval_ns).unwrap_or(0);
    let mut arrivals = Arrivals::new(storm.changes_max(requests)).ok_or_else(no_histogram)?;
    let mut late_us = Histogram::<u64>::new_with_bounds(1, 600_000_000, 3).map_err(|_| no_histogram())?;
    let mut account = Account::default();
    let start = swarm.start();
    let mut next = 0;
    let mut last_ns = begin_ns;
    let (mut in_window, mut changes) = (0_u64, 0_u64);
    loop {
        let now_ns = swarm.now_ns();
        let due_ns = |number: usize| number as u64 * interval_ns;
        while next < requests && begin_ns + due_ns(next) <= now_ns {
            let is_measured = due_ns(next) >= WARM_UP_NS;
            if is_measured {
                late_us.saturating_record(swarm.now_ns().saturating_sub(begin_ns + due_ns(next)) / 1000);
            }
            if let Some(change) = storm.send(next, due_ns(next), swarm) {
                arrivals.expect(change);
                changes += u64::from(is_measured);
            }
            account.sent += 1;
            next += 1;
        }
        let open = meter.see(now_ns, swarm);
        let is_quiet = now_ns >= last_ns + QUIET_NS || now_ns >= meter.to_ns + DRAIN_NS_MAX;
        if next == requests && meter.is_over() && (is_quiet || arrivals.unseen() == 0) {
            break;
        }
        let next_ns = if next < requests { begin_ns + due_ns(next) } else { last_ns + QUIET_NS };
        swarm.turn(next_ns.min(meter.next_edge_ns()), |connection, incoming, _| {
            if let Some(change) = storm.hear(connection.seat(), &incoming) {
                last_ns = elapsed_ns(start);
                in_window += u64::from(open);
                arrivals.arrived(change, last_ns - begin_ns);
            } else if let Incoming::Refused { code, .. } = incoming {
                *account.refused.entry(code).or_default() += 1;
            }
        })?;
    }
    account.accepted = account.sent.saturating_sub(account.refused.values().sum());
    (account.expected, account.delivered) = (arrivals.expected, arrivals.seen);
    account.duplicates = arrivals.duplicates;
    for why in swarm.endings() {
        *account.ended.entry(why.to_owned()).or_default() += 1;
    }
    let spent = meter.spent();
    let quantile_ms = |quantile| arrivals.latency_us.value_at_quantile(quantile) as f64 / 1000.0;
    let window_seconds = spent.seconds.max(1e-9);
    let figures = EphemeralFigures {
        requests_per_second: 1e9 / interval_ns as f64,
        changes_per_second: changes as f64 / seconds.max(1) as f64,
        pushes_per_second: in_window as f64 / window_seconds,
        cpu_us_per_push: spent.target_cpu_seconds.map(|cpu| cpu * 1e6 / in_window.max(1) as f64),
        cpu_share: spent.target_cpu_seconds.map(|cpu| cpu / window_seconds),
        p50_ms: quantile_ms(0.5),
        p99_ms: quantile_ms(0.99),
        max_ms: arrivals.latency_us.max() as f64 / 1000.0,
        late_p99_ms: late_us.value_at_quantile(0.99) as f64 / 1000.0,
        generator_share: spent.own_cpu_seconds / window_seconds,
        unseen: arrivals.unseen() as f64,
        pongs_per_second: spent.pongs as f64 / window_seconds,
    };
    Ok((figures, account))
}

/// Who knows of what.
struct Arrivals {
    /// Receivers that know, by change.
    known: Vec<u32>,
    expected: u64,
    seen: u64,
    duplicates: u64,
    latency_us: Histogram<u64>,
}

impl Arrivals {
    fn new(changes: usize) -> Option<Self> {
        let latency_us = Histogram::new_with_bounds(1, 600_000_000, 3).ok()?;
        Some(Self { known: vec![0; changes], expected: 0, seen: 0, duplicates: 0, latency_us })
    }

    fn expect(&mut self, change: Change) {
        self.expected += u64::from(change.receivers);
    }

    /// One more knows; if it is the last one, it is known how long that took.
    fn arrived(&mut self, change: Change, now_ns: u64) {
        let Some(known) = self.known.get_mut(change.number) else { return };
        *known += 1;
        if *known > change.receivers {
            self.duplicates += 1;
            return;
        }
        self.seen += 1;
        if *known == change.receivers && change.due_ns >= WARM_UP_NS {
            self.latency_us.saturating_record(now_ns.saturating_sub(change.due_ns) / 1000);
        }
    }

    fn unseen(&self) -> u64 {
        self.expected.saturating_sub(self.seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_takes_until_the_last_receiver_knows() {
        let mut arrivals = Arrivals::new(2).expect("a histogram");
        let change = |number| Change { number, due_ns: WARM_UP_NS, receivers: 3 };
        (0..2).for_each(|number| arrivals.expect(change(number)));
        for ms in [1, 2, 9] {
            assert_eq!(arrivals.latency_us.len(), 0);
            arrivals.arrived(change(0), WARM_UP_NS + ms * 1_000_000);
        }
        assert_eq!((arrivals.latency_us.len(), arrivals.latency_us.max() / 100), (1, 90));
        arrivals.arrived(change(0), WARM_UP_NS);
        arrivals.arrived(change(1), WARM_UP_NS);
        arrivals.arrived(change(7), WARM_UP_NS);
        assert_eq!((arrivals.unseen(), arrivals.duplicates, arrivals.latency_us.len()), (2, 1, 1));
    }
}
