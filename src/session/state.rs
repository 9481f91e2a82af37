//! What a connection may do when: authentication, rates, and the times after which something happens.
//!
//! Pure: times are passed in, and what is to be done comes out. Nothing here waits or writes.

use std::time::{Duration, Instant};

use crate::message::Timestamp;
use crate::wire::CloseCode;

/// Limits and times of every connection.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Requests a second, as a long-term rate. 0 = no bound.
    pub requests_per_second_max: u32,
    /// Requests at once after a pause.
    pub request_burst_max: u32,
    /// Refusals for rate in a row after which the connection is closed.
    pub rate_refusals_max: u32,
    /// Invalid frames in a row after which the connection is closed.
    pub invalid_frames_max: u32,
    /// Time to authenticate.
    pub auth_max: Duration,
    /// Quiet time after which a ping is sent.
    pub ping: Duration,
    /// Time after the ping in which something must arrive.
    pub pong_max: Duration,
    /// How long before its token expires a connection is told.
    pub token_expiring: Duration,
}

/// What a connection's next request may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permit {
    /// It may go on.
    Granted,
    /// It is refused; another may come after this time.
    Refused { retry_after: Duration },
    /// It was refused too often.
    Exhausted,
}

/// What is to be done because time passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Send a ping.
    Ping,
    /// Tell that the token expires.
    TokenExpiring { expires_at: Timestamp },
    /// Tell why, if a code is given for that, and close.
    Close(CloseCode),
}

/// One connection's state.
#[derive(Debug)]
pub(super) struct State {
    opened: Instant,
    heard: Instant,
    pinged: bool,
    authenticated: bool,
    expires_at: Option<Timestamp>,
    expiry_told: bool,
    invalid_frames: u32,
    bucket: Bucket,
}

/// A token bucket, with the refusals since it last had a token.
#[derive(Debug)]
struct Bucket {
    tokens: f32,
    filled: Instant,
    refusals: u32,
}

impl State {
    pub(super) fn new(settings: &Settings, now: Instant) -> Self {
        Self {
            opened: now,
            heard: now,
            pinged: false,
            authenticated: false,
            expires_at: None,
            expiry_told: false,
            invalid_frames: 0,
            bucket: Bucket { tokens: settings.request_burst_max as f32, filled: now, refusals: 0 },
        }
    }

    pub(super) fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    /// A token was accepted.
    pub(super) fn authenticated(&mut self, expires_at: Option<Timestamp>) {
        self.authenticated = true;
        self.expires_at = expires_at;
        self.expiry_told = false;
    }

    /// Something arrived. Returns how long nothing had.
    pub(super) fn heard(&mut self, now: Instant) -> Duration {
        let quiet = now.saturating_duration_since(self.heard);
        self.heard = now;
        self.pinged = false;
        quiet
    }

    /// Whether one more request, or control frame, is within the rate.
    pub(super) fn permit(&mut self, settings: &Settings, now: Instant) -> Permit {
        if settings.requests_per_second_max == 0 {
            return Permit::Granted;
        }
        let rate = settings.requests_per_second_max as f32;
        let bucket = &mut self.bucket;
        let gained = now.saturating_duration_since(bucket.filled).as_secs_f32() * rate;
        bucket.tokens = (bucket.tokens + gained).min(settings.request_burst_max as f32);
        bucket.filled = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            bucket.refusals = 0;
            return Permit::Granted;
        }
        bucket.refusals += 1;
        if bucket.refusals >= settings.rate_refusals_max {
            return Permit::Exhausted;
        }
        Permit::Refused { retry_after: Duration::from_secs_f32((1.0 - bucket.tokens) / rate) }
    }

    /// A frame was no request. Returns whether it was one too many.
    pub(super) fn invalid_frame(&mut self, settings: &Settings) -> bool {
        self.invalid_frames += 1;
        settings.invalid_frames_max != 0 && self.invalid_frames >= settings.invalid_frames_max
    }

    /// A frame was a request, whatever becomes of it.
    pub(super) fn valid_frame(&mut self) {
        self.invalid_frames = 0;
    }

    /// What is to be done by now, most important first.
    pub(super) fn due(&mut self, settings: &Settings, now: Instant, wall: Timestamp) -> Option<Due> {
        if !self.authenticated && now.saturating_duration_since(self.opened) >= settings.auth_max {
            return Some(Due::Close(CloseCode::AuthTimeout));
        }
        if let Some(expires_at) = self.expires_at {
            if expires_at <= wall {
                return Some(Due::Close(CloseCode::TokenExpired));
            }
            if !self.expiry_told && super::until(expires_at, wall) <= settings.token_expiring {
                self.expiry_told = true;
                return Some(Due::TokenExpiring { expires_at });
            }
        }
        let quiet = now.saturating_duration_since(self.heard);
        if quiet >= settings.ping + settings.pong_max {
            return Some(Due::Close(CloseCode::NoPong));
        }
        if quiet >= settings.ping && !self.pinged {
            self.pinged = true;
            return Some(Due::Ping);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            requests_per_second_max: 10,
            request_burst_max: 3,
            rate_refusals_max: 3,
            invalid_frames_max: 2,
            auth_max: Duration::from_secs(10),
            ping: Duration::from_secs(25),
            pong_max: Duration::from_secs(20),
            token_expiring: Duration::from_secs(30),
        }
    }

    fn seconds(start: Instant, seconds: f64) -> Instant {
        start + Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_burst_then_the_rate_then_the_door() {
        let (settings, start) = (settings(), Instant::now());
        let mut state = State::new(&settings, start);
        for _ in 0..3 {
            assert_eq!(state.permit(&settings, start), Permit::Granted);
        }
        assert!(
            matches!(state.permit(&settings, start), Permit::Refused { retry_after } if retry_after <= Duration::from_millis(101))
        );
        assert_eq!(
            state.permit(&settings, seconds(start, 0.11)),
            Permit::Granted,
            "one token came back, and refusals start anew"
        );
        assert!(matches!(state.permit(&settings, seconds(start, 0.11)), Permit::Refused { .. }));
        assert!(matches!(state.permit(&settings, seconds(start, 0.12)), Permit::Refused { .. }));
        assert_eq!(state.permit(&settings, seconds(start, 0.13)), Permit::Exhausted);
    }

    #[test]
    fn a_pause_gives_back_no_more_than_a_burst() {
        let (settings, start) = (settings(), Instant::now());
        let mut state = State::new(&settings, start);
        let later = seconds(start, 3600.0);
        let granted = (0..10).filter(|_| state.permit(&settings, later) == Permit::Granted).count();
        assert_eq!(granted, 3);
    }

    #[test]
    fn invalid_frames_count_only_in_a_row() {
        let settings = settings();
        let mut state = State::new(&settings, Instant::now());
        assert!(!state.invalid_frame(&settings));
        state.valid_frame();
        assert!(!state.invalid_frame(&settings));
        assert!(state.invalid_frame(&settings));
    }

    #[test]
    fn who_does_not_authenticate_goes() {
        let (settings, start) = (settings(), Instant::now());
        let mut state = State::new(&settings, start);
        assert_eq!(state.due(&settings, seconds(start, 9.9), 0), None);
        assert_eq!(state.due(&settings, seconds(start, 10.0), 0), Some(Due::Close(CloseCode::AuthTimeout)));
    }

    #[test]
    fn a_quiet_connection_is_pinged_once_and_then_closed() {
        let (settings, start) = (settings(), Instant::now());
        let mut state = State::new(&settings, start);
        state.authenticated(None);
        assert_eq!(state.due(&settings, seconds(start, 24.0), 0), None);
        assert_eq!(state.due(&settings, seconds(start, 25.0), 0), Some(Due::Ping));
        assert_eq!(state.due(&settings, seconds(start, 26.0), 0), None);
        assert_eq!(state.heard(seconds(start, 27.0)), Duration::from_secs(27));
        assert_eq!(state.due(&settings, seconds(start, 52.0), 0), Some(Due::Ping));
        assert_eq!(state.due(&settings, seconds(start, 72.0), 0), Some(Due::Close(CloseCode::NoPong)));
    }

    #[test]
    fn an_expiring_token_is_told_once_and_a_fresh_one_starts_anew() {
        let (settings, start) = (settings(), Instant::now());
        let mut state = State::new(&settings, start);
        state.authenticated(Some(100_000));
        assert_eq!(state.due(&settings, start, 69_999), None);
        assert_eq!(state.due(&settings, start, 70_000), Some(Due::TokenExpiring { expires_at: 100_000 }));
        assert_eq!(state.due(&settings, start, 80_000), None);
        state.authenticated(Some(105_000));
        assert_eq!(state.due(&settings, start, 80_000), Some(Due::TokenExpiring { expires_at: 105_000 }));
        assert_eq!(state.due(&settings, start, 105_000), Some(Due::Close(CloseCode::TokenExpired)));
    }
}
