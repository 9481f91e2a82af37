//! Quarantine: a plugin that fails again and again is left alone for a while.
//!
//! In service, failures are counted in a window. Too many, and nobody asks the plugin until a time has passed; then one
//! trial call is let through. If that fails too, the time doubles. A call of a healthy plugin costs one atomic load.
//! Pure but for the random part of the wait: times are passed in.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config;

/// The plugin is asked.
const IN_SERVICE: u64 = 0;
/// Someone is asking it for a trial.
const ON_TRIAL: u64 = u64::MAX;

/// When a plugin is put into quarantine, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// Failures in the window that are too many. 0 = never too many.
    pub(super) failures: u32,
    pub(super) window: Duration,
    pub(super) wait_min: Duration,
    pub(super) wait_max: Duration,
}

impl From<&config::Plugin> for Settings {
    fn from(plugin: &config::Plugin) -> Self {
        Self {
            failures: plugin.quarantine_failures,
            window: Duration::from_millis(plugin.quarantine_window_ms),
            wait_min: Duration::from_millis(plugin.quarantine_ms_min),
            wait_max: Duration::from_millis(plugin.quarantine_ms_max.max(plugin.quarantine_ms_min)),
        }
    }
}

/// Whether a plugin may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It may.
    Granted,
    /// It may, and what comes of it decides about the quarantine.
    Trial,
    /// It may not.
    Refused,
}

/// What a failure led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consequence {
    /// Nothing yet.
    None,
    /// The plugin is left alone for so long.
    Quarantined(Duration),
    /// It was left alone already, and is for so much longer.
    Prolonged(Duration),
}

/// One plugin's standing, shared by all that ask it.
#[derive(Debug)]
pub(super) struct Quarantine {
    settings: Settings,
    epoch: Instant,
    /// `IN_SERVICE`, `ON_TRIAL`, or the microsecond after `epoch` at which the quarantine ends.
    state: AtomicU64,
    record: Mutex<Record>,
}

#[derive(Debug)]
struct Record {
    window_began: Instant,
    failures: u32,
    /// The next quarantine's length.
    wait: Duration,
    /// When the last one ended well.
    recovered: Instant,
}

impl Quarantine {
    pub(super) fn new(settings: Settings, now: Instant) -> Self {
        let record = Record { window_began: now, failures: 0, wait: settings.wait_min, recovered: now };
        Self { settings, epoch: now, state: AtomicU64::new(IN_SERVICE), record: Mutex::new(record) }
    }

    /// Whether the plugin may be asked. Whoever gets a trial must conclude it by one of the three methods below.
    pub(super) fn admit(&self) -> Admission {
        match self.state.load(Ordering::Relaxed) {
            IN_SERVICE => Admission::Granted,
            state => self.admit_after(state, Instant::now()),
        }
    }

    /// Whether there is no quarantine.
    pub(super) fn is_in_service(&self) -> bool {
        self.state.load(Ordering::Relaxed) == IN_SERVICE
    }

    fn admit_after(&self, state: u64, now: Instant) -> Admission {
        if state == ON_TRIAL || self.micros(now) < state {
            return Admission::Refused;
        }
        let taken = self.state.compare_exchange(state, ON_TRIAL, Ordering::AcqRel, Ordering::Relaxed);
        if taken.is_ok() { Admission::Trial } else { Admission::Refused }
    }

    /// A trial could not be made: the next one may try.
    pub(super) fn not_tried(&self, admission: Admission, now: Instant) {
        if admission == Admission::Trial {
            self.state.store(self.micros(now).max(1), Ordering::Release);
        }
    }

    /// A call went well. Returns whether that ended a quarantine.
    pub(super) fn succeeded(&self, admission: Admission, now: impl FnOnce() -> Instant) -> bool {
        if admission != Admission::Trial {
            return false;
        }
        let mut record = self.record.lock();
        record.failures = 0;
        record.recovered = now();
        self.state.store(IN_SERVICE, Ordering::Release);
        true
    }

    /// A call failed.
    pub(super) fn failed(&self, admission: Admission, now: Instant) -> Consequence {
        let mut record = self.record.lock();
        if now.saturating_duration_since(record.window_began) > self.settings.window {
            record.window_began = now;
            record.failures = 0;
        }
        record.failures = record.failures.saturating_add(1);
        let too_many = self.settings.failures != 0 && record.failures >= self.settings.failures;
        let in_service = self.state.load(Ordering::Acquire) == IN_SERVICE;
        if admission != Admission::Trial && !(too_many && in_service) {
            return Consequence::None;
        }
        // A plugin that was well for long enough starts afresh.
        if admission != Admission::Trial
            && now.saturating_duration_since(record.recovered) > self.settings.wait_max.saturating_mul(2)
        {
            record.wait = self.settings.wait_min;
        }
        let wait = with_jitter(record.wait);
        record.wait = record.wait.saturating_mul(2).min(self.settings.wait_max);
        record.failures = 0;
        self.state.store(self.micros(now + wait).clamp(1, ON_TRIAL - 1), Ordering::Release);
        if in_service { Consequence::Quarantined(wait) } else { Consequence::Prolonged(wait) }
    }

    fn micros(&self, time: Instant) -> u64 {
        u64::try_from(time.saturating_duration_since(self.epoch).as_micros()).unwrap_or(ON_TRIAL - 1)
    }
}

/// A time and up to a quarter more, so that what failed together is not tried again together.
fn with_jitter(wait: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or_default();
    wait + (wait / 4).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings {
        failures: 3,
        window: Duration::from_secs(10),
        wait_min: Duration::from_secs(1),
        wait_max: Duration::from_secs(4),
    };

    struct Clock(Instant);

    impl Clock {
        fn after(&mut self, seconds: f64) -> Instant {
            self.0 += Duration::from_secs_f64(seconds);
            self.0
        }
    }

    fn start(settings: Settings) -> (Quarantine, Clock) {
        let now = Instant::now();
        (Quarantine::new(settings, now), Clock(now))
    }

    fn admit(quarantine: &Quarantine, now: Instant) -> Admission {
        match quarantine.state.load(Ordering::Relaxed) {
            IN_SERVICE => Admission::Granted,
            state => quarantine.admit_after(state, now),
        }
    }

    fn wait(consequence: Consequence) -> f64 {
        match consequence {
            Consequence::Quarantined(wait) | Consequence::Prolonged(wait) => wait.as_secs_f64(),
            Consequence::None => 0.0,
        }
    }

    #[test]
    fn failures_far_apart_are_forgiven() {
        let (quarantine, mut clock) = start(SETTINGS);
        for _ in 0..20 {
            assert_eq!(quarantine.failed(Admission::Granted, clock.after(6.0)), Consequence::None);
        }
        assert_eq!(quarantine.admit(), Admission::Granted);
    }

    #[test]
    fn too_many_failures_are_followed_by_one_trial_at_a_time() {
        let (quarantine, mut clock) = start(SETTINGS);
        for _ in 0..2 {
            assert_eq!(quarantine.failed(Admission::Granted, clock.after(0.1)), Consequence::None);
        }
        let first = wait(quarantine.failed(Admission::Granted, clock.after(0.1)));
        assert!((1.0..=1.25).contains(&first), "{first}");
        // A call that was under way fails late: that changes nothing.
        assert_eq!(quarantine.failed(Admission::Granted, clock.0), Consequence::None);
        assert_eq!(admit(&quarantine, clock.after(0.9)), Admission::Refused);
        assert_eq!(admit(&quarantine, clock.after(0.4)), Admission::Trial);
        assert_eq!(admit(&quarantine, clock.0), Admission::Refused, "somebody tries already");
        assert!(quarantine.succeeded(Admission::Trial, || clock.0));
        assert_eq!(admit(&quarantine, clock.0), Admission::Granted);
    }

    #[test]
    fn the_wait_doubles_up_to_its_bound_and_starts_afresh_after_health() {
        let (quarantine, mut clock) = start(SETTINGS);
        quarantine.failed(Admission::Granted, clock.0);
        quarantine.failed(Admission::Granted, clock.0);
        let mut waits = vec![wait(quarantine.failed(Admission::Granted, clock.0))];
        for _ in 0..4 {
            assert_eq!(admit(&quarantine, clock.after(6.0)), Admission::Trial);
            let consequence = quarantine.failed(Admission::Trial, clock.0);
            assert!(matches!(consequence, Consequence::Prolonged(_)), "it was there already");
            waits.push(wait(consequence));
        }
        for (wait, least) in waits.iter().zip([1.0, 2.0, 4.0, 4.0, 4.0]) {
            assert!((least..=least * 1.25).contains(wait), "{waits:?}");
        }
        assert_eq!(admit(&quarantine, clock.after(6.0)), Admission::Trial);
        assert!(quarantine.succeeded(Admission::Trial, || clock.0));
        clock.after(9.0);
        quarantine.failed(Admission::Granted, clock.0);
        quarantine.failed(Admission::Granted, clock.0);
        let afresh = wait(quarantine.failed(Admission::Granted, clock.0));
        assert!((1.0..=1.25).contains(&afresh), "{afresh}");
    }

    #[test]
    fn a_trial_that_was_not_made_is_the_next_ones() {
        let (quarantine, mut clock) = start(Settings { failures: 1, ..SETTINGS });
        quarantine.failed(Admission::Granted, clock.0);
        assert_eq!(admit(&quarantine, clock.after(2.0)), Admission::Trial);
        quarantine.not_tried(Admission::Trial, clock.0);
        assert_eq!(admit(&quarantine, clock.after(0.1)), Admission::Trial);
    }

    #[test]
    fn without_a_bound_there_is_no_quarantine() {
        let (quarantine, mut clock) = start(Settings { failures: 0, ..SETTINGS });
        for _ in 0..100 {
            assert_eq!(quarantine.failed(Admission::Granted, clock.after(0.01)), Consequence::None);
        }
        assert_eq!(quarantine.admit(), Admission::Granted);
    }
}
