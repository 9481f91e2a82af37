//! What the tests share: servers, clients, tokens.

mod client;
mod http;
mod issuer;
mod log;
mod pair;
mod server;
mod token;

use std::time::{Duration, Instant};

pub(crate) use client::{Client, Frame, client_frame};
pub(crate) use http::{ACCEPT, Handshake, KEY, Response};
pub(crate) use issuer::{Answer, Certified, Issuer};
pub(crate) use log::Log;
pub(crate) use pair::{Pair, RSA, Scratch, ec};
pub(crate) use server::{API_KEY, TestServer, api_key, config, obedient, plugin, with_api, with_plugins};
pub(crate) use token::{SECRET, Token, now_ms, now_seconds};

/// How long anything may take before a test gives up. Long, because machines are slow and tests run side by side.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// When a wait that begins now is given up.
pub(crate) fn deadline() -> Instant {
    Instant::now() + DEADLINE
}

/// Asks again and again until the answer is there. Each question is a round trip, so this paces itself.
pub(crate) fn until<T>(what: &str, mut question: impl FnMut() -> Option<T>) -> T {
    let end = deadline();
    loop {
        if let Some(answer) = question() {
            return answer;
        }
        assert!(Instant::now() < end, "never: {what}");
        std::thread::yield_now();
    }
}
