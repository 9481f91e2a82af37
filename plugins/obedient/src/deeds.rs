//! What can be done in any hook.

use mischief::{FLOOD_CALLS, FLOOD_LINES, HUGE_BYTES, not_utf8};
use serde_json::Value;

use crate::bindings::stentor::plugin::types::Rejection;
use crate::bindings::stentor::plugin::{log, verdicts};
use crate::settings::Settings;

/// An answer, whatever the hook.
pub(crate) enum Answer {
    Allow,
    Deny(Rejection),
    Abstain,
    Error(String),
}

/// What a deed may want to know of the call.
pub(crate) struct Call<'a> {
    pub(crate) settings: &'a Settings,
    /// Who asks, as far as that is known.
    pub(crate) subject: &'a str,
    /// How many calls of the hook this instance has seen, this one included.
    pub(crate) count: u32,
    /// All that the host passed.
    pub(crate) told: Value,
}

/// Does one of the things that can be done in any hook.
pub(crate) fn act(behaviour: &str, call: &Call<'_>) -> Answer {
    match behaviour {
        "abstain" => return Answer::Abstain,
        "deny" => return deny("as_told", "Refused, as the plugin was told to."),
        // Could not decide.
        "error" => return Answer::Error("as it was told to".to_owned()),
        // The message is the number of calls of this hook that this instance has seen.
        "count" => return deny("counted", call.count.to_string()),
        // The message is JSON of all that the host passed.
        "tell" => return deny("told", call.told.to_string()),
        "bad-utf8" => return deny(not_utf8(), "The code is not UTF-8."),
        "huge-deny" => return deny("huge", "x".repeat(HUGE_BYTES)),
        "huge-error" => return Answer::Error("x".repeat(HUGE_BYTES)),
        "loop" => mischief::spin(),
        "trap" => mischief::trap(),
        "panic" => mischief::fall(),
        "grow" => mischief::grow(),
        // Those below allow in the end, if it comes to that.
        "recurse" => mischief::overflow(),
        "slow" => mischief::turn(call.settings.turns),
        "log" => log::write(log::Level::Info, "obedient: one line"),
        "flood-log" => {
            for line in 0..FLOOD_LINES {
                log::write(log::Level::Warn, &format!("obedient: line {line}"));
            }
        }
        "flood-host" => {
            for _ in 0..FLOOD_CALLS {
                verdicts::forget("");
                log::enabled(log::Level::Trace);
            }
        }
        "forget" => {
            verdicts::forget(call.settings.forget.as_deref().unwrap_or(call.subject));
        }
        _ => {}
    }
    Answer::Allow
}

pub(crate) fn deny(code: impl Into<String>, message: impl Into<String>) -> Answer {
    Answer::Deny(Rejection {
        code: code.into(),
        message: message.into(),
    })
}
