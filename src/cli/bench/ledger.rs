//! The account of one run: every message and every delivery of it, once. From it come loss, duplicates and latency.
//! Pure bookkeeping; knows nothing of sockets, and takes the time as an argument.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::client::Seat;
use super::dialect::{Dialect, Incoming};
use super::stamp::Stamp;

/// What was sent and what became of it, in plain counts.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Account {
    /// Messages sent.
    pub(crate) sent: u64,
    /// Of them, acknowledged (all, where there are no acknowledgements).
    pub(crate) accepted: u64,
    /// Refusals, by code.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Messages neither acknowledged nor refused.
    pub(crate) unanswered: u64,
    /// Accepted messages, times the members of their room.
    pub(crate) expected: u64,
    /// Deliveries of accepted messages, each counted once.
    pub(crate) delivered: u64,
    /// Expected, but not delivered.
    pub(crate) lost: u64,
    /// Delivered again.
    pub(crate) duplicates: u64,
    /// Delivered to a room, or of a message, that it does not belong to, or although refused.
    pub(crate) strays: u64,
    /// Connections that ended during the run, by reason.
    pub(crate) ended: BTreeMap<String, u64>,
}

impl Account {
    /// Whether all that was accepted arrived exactly once, and nothing else happened.
    pub(crate) fn is_exact(&self) -> bool {
        self.lost == 0 && self.duplicates == 0 && self.strays == 0 && self.unanswered == 0 && self.ended.is_empty()
    }

    /// Adds another run's counts.
    pub(crate) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.accepted += other.accepted;
        self.unanswered += other.unanswered;
        self.expected += other.expected;
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.duplicates += other.duplicates;
        self.strays += other.strays;
        for (ours, theirs) in [(&mut self.refused, &other.refused), (&mut self.ended, &other.ended)] {
            for (key, count) in theirs {
                *ours.entry(key.clone()).or_default() += count;
            }
        }
    }
}

/// One bit per thing.
struct Bits(Vec<u64>);

impl Bits {
    fn new(length: usize) -> Self {
        Self(vec![0; length.div_ceil(64)])
    }

    /// Sets a bit; says whether that is news.
    fn set(&mut self, index: usize) -> bool {
        let Some(word) = self.0.get_mut(index / 64) else { return false };
        let bit = 1 << (index % 64);
        let news = *word & bit == 0;
        *word |= bit;
        news
    }

    fn has(&self, index: usize) -> bool {
        self.0.get(index / 64).is_some_and(|word| word & (1 << (index % 64)) != 0)
    }
}

/// Members of a room who send. The warm-up of a second is long enough for each to send once.
const TALKERS_PER_ROOM_MAX: usize = 20;

/// Room, members and number of the messages of a run: message `n` goes to room `n % rooms`, from member
/// `n / rooms % talkers` of it, where the talkers are all its members, or the first of them: in a large room few talk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) rooms: usize,
    pub(super) members: usize,
    pub(super) messages: usize,
}

impl Shape {
    /// Who sends message `number`.
    pub(super) fn sender(self, number: usize) -> Seat {
        Seat { room: number % self.rooms, member: number / self.rooms % self.members.min(TALKERS_PER_ROOM_MAX) }
    }

    /// The connection that has a seat.
    pub(super) fn connection(self, seat: Seat) -> usize {
        seat.room * self.members + seat.member
    }
}

/// The open account of a run.
pub(super) struct Ledger {
    shape: Shape,
    acknowledged: bool,
    sent: usize,
    accepted: Bits,
    accepted_count: usize,
    refused: Bits,
    refused_count: usize,
    refusals: BTreeMap<String, u64>,
    seen: Bits,
    seen_count: u64,
    duplicates: u64,
    strays: u64,
    frame_bytes: u64,
    window: Window,
}

/// What is measured only between the end of the warm-up and the end of the run.
struct Window {
    from_ns: u64,
    to_ns: u64,
    open: bool,
    deliveries: u64,
    latency_us: Histogram<u64>,
    late_us: Histogram<u64>,
}

impl Ledger {
    /// Opens an account. Latencies are taken of messages due from `from_ns` to before `to_ns`.
    pub(super) fn new(shape: Shape, dialect: Dialect, from_ns: u64, to_ns: u64) -> Option<Self> {
        let histogram = Histogram::new_with_bounds(1, 600_000_000, 3).ok()?;
        Some(Self {
            shape,
            acknowledged: dialect == Dialect::Stentor,
            sent: 0,
            accepted: Bits::new(shape.messages),
            accepted_count: 0,
            refused: Bits::new(shape.messages),
            refused_count: 0,
            refusals: BTreeMap::new(),
            seen: Bits::new(shape.messages * shape.members),
            seen_count: 0,
            duplicates: 0,
            strays: 0,
            frame_bytes: 0,
            window: Window {
                from_ns,
                to_ns,
                open: false,
                deliveries: 0,
                latency_us: histogram.clone(),
                late_us: histogram,
            },
        })
    }

    /// Opens or shuts the window in which deliveries are counted for the rate.
    pub(super) fn set_window(&mut self, open: bool) {
        self.window.open = open;
    }

    /// A message went out.
    pub(super) fn sent(&mut self, due_ns: u64, now_ns: u64) {
        self.sent += 1;
        if (self.window.from_ns..self.window.to_ns).contains(&due_ns) {
            self.window.late_us.saturating_record(now_ns.saturating_sub(due_ns) / 1000);
        }
    }

    /// Something came in at `seat`.
    pub(super) fn heard(&mut self, seat: Seat, incoming: Incoming, frame_bytes: usize, now_ns: u64) {
        match incoming {
            Incoming::Delivery(stamp) => {
                self.frame_bytes += frame_bytes as u64;
                self.delivered(seat, stamp, now_ns);
            }
            Incoming::Accepted(number) => {
                let number = usize::try_from(number).unwrap_or(usize::MAX);
                self.accepted_count += usize::from(number < self.sent && self.accepted.set(number));
            }
            Incoming::Refused { code, number } => {
                *self.refusals.entry(code).or_default() += 1;
                if let Some(number) = number.and_then(|number| usize::try_from(number).ok()) {
                    self.refused_count += usize::from(number < self.sent && self.refused.set(number));
                }
            }
            _ => {}
        }
    }

    /// Whether nothing more is to be waited for.
    pub(super) fn is_settled(&self) -> bool {
        let accepted = if self.acknowledged { self.accepted_count } else { self.sent };
        let answered = !self.acknowledged || self.accepted_count + self.refused_count >= self.sent;
        answered && self.seen_count >= accepted as u64 * self.shape.members as u64
    }

    /// Deliveries in the window, latencies and lateness (both in microseconds), mean length of a delivered frame.
    pub(super) fn figures(&self) -> (u64, &Histogram<u64>, &Histogram<u64>, f64) {
        let deliveries = self.seen_count + self.duplicates;
        let frame_bytes = if deliveries == 0 { 0.0 } else { self.frame_bytes as f64 / deliveries as f64 };
        (self.window.deliveries, &self.window.latency_us, &self.window.late_us, frame_bytes)
    }

    /// Draws up the account.
    pub(super) fn close<'a>(&self, endings: impl Iterator<Item = &'a str>) -> Account {
        let mut account = Account {
            sent: self.sent as u64,
            refused: self.refusals.clone(),
            duplicates: self.duplicates,
            strays: self.strays,
            ..Account::default()
        };
        for number in 0..self.sent {
            let seats = number * self.shape.members..(number + 1) * self.shape.members;
            let delivered = seats.filter(|seat| self.seen.has(*seat)).count() as u64;
            if !self.acknowledged || self.accepted.has(number) {
                account.accepted += 1;
                account.delivered += delivered;
            } else {
                account.unanswered += u64::from(!self.refused.has(number));
                account.strays += if self.refused.has(number) { delivered } else { 0 };
            }
        }
        account.expected = account.accepted * self.shape.members as u64;
        account.lost = account.expected - account.delivered;
        for why in endings {
            *account.ended.entry(why.to_owned()).or_default() += 1;
        }
        account
    }

    fn delivered(&mut self, seat: Seat, stamp: Stamp, now_ns: u64) {
        let number = usize::try_from(stamp.number).unwrap_or(usize::MAX);
        if number >= self.sent || number % self.shape.rooms != seat.room {
            self.strays += 1;
            return;
        }
        self.window.deliveries += u64::from(self.window.open);
        if !self.seen.set(number * self.shape.members + seat.member) {
            self.duplicates += 1;
            return;
        }
        self.seen_count += 1;
        if (self.window.from_ns..self.window.to_ns).contains(&stamp.due_ns) {
            self.window.latency_us.saturating_record(now_ns.saturating_sub(stamp.due_ns) / 1000);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { rooms: 2, members: 3, messages: 4 };

    fn ledger(dialect: Dialect) -> Ledger {
        let mut ledger = Ledger::new(SHAPE, dialect, 0, 1_000_000).expect("a histogram");
        for _ in 0..4 {
            ledger.sent(0, 0);
        }
        ledger
    }

    fn deliver(ledger: &mut Ledger, number: u64, room: usize, member: usize) {
        let stamp = Stamp { due_ns: 1000, number };
        ledger.heard(Seat { room, member }, Incoming::Delivery(stamp), 100, 3_001_000);
    }

    #[test]
    fn what_arrives_once_everywhere_is_exact() {
        let mut ledger = ledger(Dialect::Stentor);
        for number in 0..4 {
            ledger.heard(SHAPE.sender(0), Incoming::Accepted(number), 50, 0);
            for member in 0..3 {
                assert!(!ledger.is_settled());
                deliver(&mut ledger, number, number as usize % 2, member);
            }
        }
        assert!(ledger.is_settled());
        let account = ledger.close(std::iter::empty());
        assert!(account.is_exact());
        assert_eq!((account.expected, account.delivered), (12, 12));
        let (_, latency_us, _, frame_bytes) = ledger.figures();
        assert_eq!((latency_us.len(), latency_us.value_at_quantile(0.5) / 10), (12, 300));
        assert!((frame_bytes - 100.0).abs() < 1e-9);
    }

    #[test]
    fn a_loss_and_a_duplicate_of_the_same_message_do_not_cancel_out() {
        let mut ledger = ledger(Dialect::Floor);
        for number in 0..4 {
            for member in 0..3 {
                let member = if number == 1 && member == 2 { 1 } else { member };
                deliver(&mut ledger, number, number as usize % 2, member);
            }
        }
        assert!(!ledger.is_settled());
        let account = ledger.close(std::iter::empty());
        assert_eq!((account.lost, account.duplicates, account.strays), (1, 1, 0));
        assert!(!account.is_exact());
    }

    #[test]
    fn refused_messages_are_not_expected_and_their_deliveries_are_strays() {
        let mut ledger = ledger(Dialect::Stentor);
        for number in 0..3 {
            let code = "REJECTED".to_owned();
            ledger.heard(SHAPE.sender(0), Incoming::Refused { code, number: Some(number) }, 50, 0);
        }
        deliver(&mut ledger, 0, 0, 0);
        deliver(&mut ledger, 1, 0, 0);
        let account = ledger.close(["reset"].into_iter());
        assert_eq!((account.expected, account.lost, account.strays, account.unanswered), (0, 0, 2, 1));
        assert_eq!((account.refused.get("REJECTED"), account.ended.get("reset")), (Some(&3), Some(&1)));
    }
}
