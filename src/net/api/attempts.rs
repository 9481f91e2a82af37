//! How often wrong keys may be tried: from one address, and by all strangers together.
//!
//! Whoever has tried too often is refused without a look at the key, also at a right one, so that keys are tried no
//! faster than the bounds say. What others try hurts nobody from whose address a right key has come: the bound on all is
//! for strangers. What is remembered of addresses is bounded too.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::wire::{ErrorCode, Refusal};

/// The time that the bounds are for.
const MINUTE: Duration = Duration::from_secs(60);

/// Addresses of which it is remembered that they tried wrong keys. Of one more only the bound on all holds.
const WRONG_ADDRESSES_MAX: usize = 4096;

/// Addresses of which it is remembered that a right key came from them; the one that was longest silent gives way.
const RIGHT_ADDRESSES_MAX: usize = 1024;

/// Log lines a minute about keys that are refused.
const LINES_PER_MINUTE_MAX: u32 = 60;

/// Wrong keys that may be tried in a minute. 0 = no bound.
#[derive(Clone, Copy, Debug)]
pub struct WrongKeys {
    /// From one address.
    pub per_address_max: u32,
    /// From all addresses together from which no right key has come.
    pub strangers_max: u32,
}

/// What was tried lately.
#[derive(Default)]
pub(super) struct Attempts(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    wrong: HashMap<IpAddr, Meter>,
    strangers: Meter,
    /// When the last right key came from an address.
    right: HashMap<IpAddr, Instant>,
    lines: Meter,
    lines_suppressed: u64,
}

/// Counts what happens against a number in a minute. That many may come at once, and then again as time goes by.
#[derive(Clone, Copy, Default)]
struct Meter {
    /// When all that was counted is forgotten.
    empty_at: Option<Instant>,
}

impl Meter {
    /// How long it takes until one more may come; nothing if it may now.
    fn wait(self, per_minute_max: u32, now: Instant) -> Option<Duration> {
        let gap = MINUTE.checked_div(per_minute_max)?;
        let counted = self.empty_at?.saturating_duration_since(now);
        (counted + gap).checked_sub(MINUTE).filter(|wait| !wait.is_zero())
    }

    fn count(&mut self, per_minute_max: u32, now: Instant) {
        if let Some(gap) = MINUTE.checked_div(per_minute_max) {
            self.empty_at = Some(self.empty_at.map_or(now, |empty_at| empty_at.max(now)) + gap);
        }
    }

    fn is_empty(self, now: Instant) -> bool {
        self.empty_at.is_none_or(|empty_at| empty_at <= now)
    }
}

impl Attempts {
    /// Has a key judged that comes from an address, unless there were too many wrong ones.
    pub(super) fn judge<T>(
        &self,
        bounds: WrongKeys,
        (from, now): (IpAddr, Instant),
        look: impl FnOnce() -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        // Looked at and counted in one step, so that many at once are no way around the bounds.
        let mut remembered = self.0.lock();
        if let Some(wait) = remembered.wait(bounds, from, now) {
            let message = "too many wrong keys were tried; the key was not looked at";
            let mut refusal = Refusal::new(ErrorCode::RateLimited, message);
            refusal.retry_after_ms = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1));
            return Err(refusal);
        }
        let judged = look();
        match &judged {
            Ok(_) => remembered.note_right(from, now),
            Err(refusal) if refusal.code == ErrorCode::AuthFailed => remembered.note_wrong(bounds, from, now),
            // Without a key nothing was tried.
            Err(_) => {}
        }
        judged
    }

    /// Whether a line may be written about a refused key: if so, how many were not since the last.
    pub(super) fn line(&self, now: Instant) -> Option<u64> {
        let mut remembered = self.0.lock();
        if remembered.lines.wait(LINES_PER_MINUTE_MAX, now).is_some() {
            remembered.lines_suppressed += 1;
            return None;
        }
        remembered.lines.count(LINES_PER_MINUTE_MAX, now);
        Some(std::mem::take(&mut remembered.lines_suppressed))
    }
}

impl Remembered {
    fn wait(&self, bounds: WrongKeys, from: IpAddr, now: Instant) -> Option<Duration> {
        let own = self.wrong.get(&from).and_then(|meter| meter.wait(bounds.per_address_max, now));
        let is_stranger = !self.right.contains_key(&from);
        own.or_else(|| is_stranger.then(|| self.strangers.wait(bounds.strangers_max, now)).flatten())
    }

    fn note_wrong(&mut self, bounds: WrongKeys, from: IpAddr, now: Instant) {
        if !self.right.contains_key(&from) {
            self.strangers.count(bounds.strangers_max, now);
        }
        if bounds.per_address_max == 0 {
            return;
        }
        if self.wrong.len() >= WRONG_ADDRESSES_MAX && !self.wrong.contains_key(&from) {
            self.wrong.retain(|_, meter| !meter.is_empty(now));
            if self.wrong.len() >= WRONG_ADDRESSES_MAX {
                return;
            }
        }
        self.wrong.entry(from).or_default().count(bounds.per_address_max, now);
    }

    fn note_right(&mut self, from: IpAddr, now: Instant) {
        if self.right.len() >= RIGHT_ADDRESSES_MAX && !self.right.contains_key(&from) {
            let silent = self.right.iter().min_by_key(|(_, last)| **last).map(|(address, _)| *address);
            silent.map(|address| self.right.remove(&address));
        }
        self.right.insert(from, now);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const BOUNDS: WrongKeys = WrongKeys { per_address_max: 3, strangers_max: 10 };

    fn address(number: usize) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(number).unwrap()))
    }

    /// What becomes of a key: let in, wrong, or not looked at.
    fn come(attempts: &Attempts, number: usize, now: Instant, is_right: bool) -> Option<bool> {
        let look = || if is_right { Ok(()) } else { Err(Refusal::new(ErrorCode::AuthFailed, "")) };
        match attempts.judge(BOUNDS, (address(number), now), look) {
            Ok(()) => Some(true),
            Err(refusal) if refusal.code == ErrorCode::AuthFailed => Some(false),
            Err(refusal) => {
                assert!(refusal.code == ErrorCode::RateLimited && refusal.retry_after_ms > Some(0), "{refusal:?}");
                None
            }
        }
    }

    #[test]
    fn an_address_may_try_so_often_and_then_as_time_goes_by() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for _ in 0..3 {
            assert_eq!(come(&attempts, 1, now, false), Some(false));
        }
        assert_eq!(come(&attempts, 1, now, false), None);
        assert_eq!(come(&attempts, 1, now, true), None, "a right key is not looked at either");
        assert_eq!(come(&attempts, 2, now, true), Some(true));
        let later = now + MINUTE / 3;
        assert_eq!(come(&attempts, 1, later, false), Some(false));
        assert_eq!(come(&attempts, 1, later, false), None);
        assert_eq!(come(&attempts, 1, later + MINUTE / 3, true), Some(true));
    }

    #[test]
    fn strangers_share_a_bound_that_does_not_hold_for_those_who_had_a_right_key() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        assert_eq!(come(&attempts, 0, now, true), Some(true));
        for number in 1..=10 {
            assert_eq!(come(&attempts, number, now, false), Some(false));
        }
        assert_eq!(come(&attempts, 11, now, false), None);
        assert_eq!(come(&attempts, 11, now, true), None);
        assert_eq!(come(&attempts, 0, now, true), Some(true));
        // What it gets wrong itself is bounded by its address, and is not the strangers'.
        for _ in 0..3 {
            assert_eq!(come(&attempts, 0, now, false), Some(false));
        }
        assert_eq!(come(&attempts, 0, now, true), None);
        assert_eq!(come(&attempts, 11, now + MINUTE / 10, true), Some(true));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        let unbounded = WrongKeys { strangers_max: 0, ..BOUNDS };
        let wrong = || Err::<(), _>(Refusal::new(ErrorCode::AuthFailed, ""));
        for number in 0..WRONG_ADDRESSES_MAX + 100 {
            let _refused = attempts.judge(unbounded, (address(number), now), wrong);
            attempts.judge(unbounded, (address(number), now), || Ok(())).unwrap();
        }
        let sizes = |attempts: &Attempts| {
            let remembered = attempts.0.lock();
            (remembered.wrong.len(), remembered.right.len())
        };
        assert_eq!(sizes(&attempts), (WRONG_ADDRESSES_MAX, RIGHT_ADDRESSES_MAX));
        assert!(attempts.0.lock().right.contains_key(&address(WRONG_ADDRESSES_MAX + 99)), "the last one is there");
        // Those whose time is over make room.
        let _refused = attempts.judge(unbounded, (address(WRONG_ADDRESSES_MAX + 200), now + MINUTE), wrong);
        assert_eq!(sizes(&attempts).0, 1);
    }

    #[test]
    fn no_bound_is_none() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        let none = WrongKeys { per_address_max: 0, strangers_max: 0 };
        for _ in 0..1000 {
            let judged =
                attempts.judge(none, (address(1), now), || Err::<(), _>(Refusal::new(ErrorCode::AuthFailed, "")));
            assert_eq!(judged.unwrap_err().code, ErrorCode::AuthFailed);
        }
        assert!(attempts.0.lock().wrong.is_empty());
    }

    #[test]
    fn lines_are_counted_when_they_are_not_written() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        let written = (0..1000).filter(|_| attempts.line(now).is_some()).count();
        assert_eq!(written, LINES_PER_MINUTE_MAX as usize);
        assert_eq!(attempts.line(now + MINUTE), Some(1000 - u64::from(LINES_PER_MINUTE_MAX)));
        assert_eq!(attempts.line(now + MINUTE), Some(0));
    }
}
