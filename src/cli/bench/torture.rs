//! A guest that loops while everybody else chats: what the others feel of it as long as it is asked, and once it is in
//! quarantine. One run against one server; the others' load is there before, so that the run has its own baseline.
//! Knows nothing of repetitions, verdicts and reports.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::dialect::{Incoming, Speaker};
use super::error::BenchError;
use super::ledger::{Account, Ledger, Shape};
use super::measure::{DRAIN_NS_MAX, DUPLICATES_NS, Load, OPEN_TIME_MAX, WARM_UP_NS, calm, no_histogram};
use super::scrape::PluginCalls;
use super::stamp::Stamp;
use super::swarm::{Swarm, elapsed_ns};
use super::target::{Seating, Target};
use super::watch::{Quarantines, Watch};

/// From one message that makes the guest loop to the next: 100 a second.
const GUEST_INTERVAL_NS: u64 = 10_000_000;

/// What a message is due in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// Before anybody made the guest loop.
    Baseline,
    /// While it loops, at every call.
    Looping,
    /// While it would, but is not asked.
    Quarantined,
}

impl Phase {
    pub(super) const ALL: [Self; 3] = [Self::Baseline, Self::Looping, Self::Quarantined];
}

/// How long the others' messages took in one phase.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Latency {
    pub(crate) deliveries: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
}

/// What one run came to.
#[derive(Clone, Debug)]
pub(super) struct Torment {
    latency: [Latency; Phase::ALL.len()],
    pub(super) account: Account,
    pub(super) plugin_calls: Vec<PluginCalls>,
}

impl Torment {
    pub(super) fn latency(&self, phase: Phase) -> Latency {
        Phase::ALL.iter().zip(self.latency).find(|(known, _)| **known == phase).map_or_else(Latency::default, |it| it.1)
    }
}

/// When what happens, by the swarm's clock.
struct Schedule {
    begin_ns: u64,
    baseline_ns: u64,
    torture_ns: u64,
    end_ns: u64,
}

impl Schedule {
    fn new(begin_ns: u64, seconds: u64) -> Self {
        let baseline_ns = begin_ns + WARM_UP_NS;
        let torture_ns = baseline_ns + seconds * 1_000_000_000;
        Self { begin_ns, baseline_ns, torture_ns, end_ns: torture_ns + seconds * 1_000_000_000 }
    }

    /// The phase of a message that was due at a time; none during the warm-up.
    fn phase(&self, due_ns: u64, quarantines: &Quarantines) -> Option<Phase> {
        match due_ns {
            due_ns if due_ns < self.baseline_ns => None,
            due_ns if due_ns < self.torture_ns => Some(Phase::Baseline),
            due_ns if quarantines.has(due_ns) => Some(Phase::Quarantined),
            _ => Some(Phase::Looping),
        }
    }

    /// How long deliveries took, by phase, given when each was due and how many microseconds it took.
    fn latency(&self, samples: &[(u64, u64)], quarantines: &Quarantines) -> Option<[Latency; Phase::ALL.len()]> {
        let mut latency = [Latency::default(); Phase::ALL.len()];
        for (phase, latency) in Phase::ALL.iter().zip(&mut latency) {
            let of_phase = samples.iter().filter(|(due_ns, _)| self.phase(*due_ns, quarantines) == Some(*phase));
            *latency = Latency::of(of_phase.map(|(_, us)| *us))?;
        }
        Some(latency)
    }
}

/// Messages that are due one after the other.
struct Pace {
    from_ns: u64,
    interval_ns: u64,
    messages: usize,
    next: usize,
}

impl Pace {
    fn new(from_ns: u64, to_ns: u64, interval_ns: u64) -> Self {
        let messages = usize::try_from((to_ns - from_ns) / interval_ns).unwrap_or(0);
        Self { from_ns, interval_ns, messages, next: 0 }
    }

    /// The next message, if its time has come.
    fn take(&mut self, now_ns: u64) -> Option<Stamp> {
        let due_ns = self.due_ns()?;
        let stamp = Stamp { due_ns, number: self.next as u64 };
        (due_ns <= now_ns).then(|| self.next += 1)?;
        Some(stamp)
    }

    /// When the next one is due, if there is one.
    fn due_ns(&self) -> Option<u64> {
        (self.next < self.messages).then(|| self.from_ns + self.next as u64 * self.interval_ns)
    }
}

/// Runs the load twice as long as it says: first alone, then with a guest that loops.
pub(super) fn torture(target: &Target, load: Load) -> Result<Torment, BenchError> {
    let mut swarm = Swarm::new()?;
    let seating = Seating::Rooms { rooms: load.rooms, members: load.members };
    let mut openings = target.openings(seating)?;
    openings.push(target.guest(seating)?);
    swarm.open(openings, OPEN_TIME_MAX)?;
    calm(&mut swarm)?;
    let counters = target.plugin_counters()?;
    let start = swarm.start();
    let watch = Watch::start(target.admin, start)?;
    let schedule = Schedule::new(swarm.now_ns(), load.seconds);
    let mut others = Pace::new(schedule.begin_ns, schedule.end_ns, 1_000_000_000 / load.messages_per_second.max(1));
    let mut guest = Pace::new(schedule.torture_ns, schedule.end_ns, GUEST_INTERVAL_NS);
    let shape = Shape { rooms: load.rooms, members: load.members, messages: others.messages };
    let mut ledger =
        Ledger::new(shape, target.dialect, schedule.baseline_ns, schedule.end_ns).ok_or_else(no_histogram)?;
    let mut speaker = Speaker::new(target.dialect);
    let rooms: Vec<String> = (0..=load.rooms).map(|room| target.room(room)).collect();
    let room = |number: usize| rooms.get(number).map_or("", String::as_str);
    let mut guest_account = Account::default();
    // Which phase a delivery was of is known only afterwards.
    let mut samples: Vec<(u64, u64)> = Vec::with_capacity(shape.messages * shape.members);
    let mut settled_ns = None;
    loop {
        let now_ns = swarm.now_ns();
        while let Some(stamp) = others.take(now_ns) {
            let seat = shape.sender(usize::try_from(stamp.number).unwrap_or(0));
            ledger.sent(stamp.due_ns, swarm.now_ns());
            if let Some(connection) = swarm.connection(shape.connection(seat)) {
                connection.send(speaker.message(room(seat.room), stamp));
            }
        }
        while let Some(stamp) = guest.take(now_ns) {
            guest_account.sent += 1;
            guest_account.unanswered += 1;
            if let Some(connection) = swarm.connection(load.rooms * load.members) {
                connection.send(speaker.trigger(room(load.rooms), stamp));
            }
        }
        let due_ns = others.due_ns().into_iter().chain(guest.due_ns()).min();
        if due_ns.is_none() {
            if settled_ns.is_none() && ledger.is_settled() && guest_account.unanswered == 0 {
                settled_ns = Some(now_ns);
            }
            let lingered = settled_ns.is_some_and(|settled_ns| now_ns >= settled_ns + DUPLICATES_NS);
            if lingered || now_ns >= schedule.end_ns + DRAIN_NS_MAX {
                break;
            }
        }
        swarm.turn(due_ns.unwrap_or(u64::MAX), |connection, incoming, bytes| {
            let (seat, now_ns) = (connection.seat(), elapsed_ns(start));
            if seat.room == load.rooms {
                return hear_guest(&mut guest_account, incoming);
            }
            if let Incoming::Delivery(stamp) = &incoming {
                samples.push((stamp.due_ns, now_ns.saturating_sub(stamp.due_ns) / 1000));
            }
            ledger.heard(seat, incoming, bytes, now_ns);
        })?;
    }
    let quarantines = watch.stop()?;
    let mut account = ledger.close(swarm.endings());
    account.add(&guest_account);
    let plugin_calls = target.plugin_calls(counters.as_ref(), account.sent)?;
    let latency = schedule.latency(&samples, &quarantines).ok_or_else(no_histogram)?;
    Ok(Torment { latency, account, plugin_calls })
}

/// Takes down what whoever makes the guest loop is told.
fn hear_guest(account: &mut Account, incoming: Incoming) {
    match incoming {
        Incoming::Accepted(_) => account.accepted += 1,
        Incoming::Refused { code, .. } => *account.refused.entry(code).or_default() += 1,
        _ => return,
    }
    account.unanswered = account.unanswered.saturating_sub(1);
}

impl Latency {
    fn of(all_us: impl Iterator<Item = u64>) -> Option<Self> {
        let mut latency_us = Histogram::<u64>::new_with_bounds(1, 600_000_000, 3).ok()?;
        all_us.for_each(|us| latency_us.saturating_record(us));
        let quantile_ms = |quantile| latency_us.value_at_quantile(quantile) as f64 / 1000.0;
        Some(Self {
            deliveries: latency_us.len(),
            p50_ms: quantile_ms(0.5),
            p99_ms: quantile_ms(0.99),
            p999_ms: quantile_ms(0.999),
            max_ms: latency_us.max() as f64 / 1000.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_of_the_phase_it_was_due_in() {
        let schedule = Schedule::new(500, 2);
        let quarantines = Quarantines::from([(3_500_000_000, 4_000_000_000)]);
        let phase = |due_ns| schedule.phase(due_ns, &quarantines);
        assert_eq!(phase(1_000_000_499), None);
        assert_eq!(phase(1_000_000_500), Some(Phase::Baseline));
        assert_eq!(phase(3_000_000_500), Some(Phase::Looping));
        assert_eq!(phase(3_500_000_000), Some(Phase::Quarantined));
        assert_eq!(phase(4_000_000_000), Some(Phase::Looping));
    }

    #[test]
    fn messages_are_due_one_after_the_other_up_to_the_end() {
        let mut pace = Pace::new(100, 130, 10);
        assert_eq!(pace.take(99), None);
        let due: Vec<u64> = std::iter::from_fn(|| pace.take(1000)).map(|stamp| stamp.due_ns).collect();
        assert_eq!(due, [100, 110, 120]);
        assert_eq!(pace.due_ns(), None);
    }
}
