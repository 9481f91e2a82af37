//! A message filter that does what its configuration says, for the tests of the plugin host.
//!
//! The configuration is `{"behaviour": NAME}`; the names are listed at `act`. Whatever the behaviour, only a message
//! whose body contains the text `trigger` sets it off and every other one is accepted at once, so that a test can see
//! the host recover after a failure. Behaviours named `configure-…` and `retire-…` act in those functions instead.
//!
//! `{"behaviour": "accept"}` is the filter that does nothing, which the benchmarks use. An optional key `interest`,
//! `{"events": […], "rooms": […], "max_payload_bytes": n}`, is handed to the host as the manifest's interest. `turns` is
//! how long `slow` is busy.
#![cfg(target_arch = "wasm32")]

mod bindings {
    //! The generated side of the world; what it does inside is not ours to lint.
    #![allow(
        clippy::all,
        missing_docs,
        unreachable_pub,
        rust_2018_idioms,
        reason = "generated code"
    )]

    wit_bindgen::generate!({
        path: "../../wit",
        world: "message-filter-plugin",
    });
}

use std::cell::{Cell, OnceCell};

use bindings::exports::stentor::plugin::lifecycle::{self, Config, ConfigError, Interest, Manifest};
use bindings::exports::stentor::plugin::message_filter::{self, Verdict};
use bindings::stentor::plugin::log;
use bindings::stentor::plugin::types::{ConnectionId, Payload, Rejection};
use mischief::{FLOOD_CALLS, FLOOD_LINES, HUGE_BYTES, not_utf8};
use serde_json::{Value, json};

/// The behaviours that `act` knows, so that a misspelt one in a test is refused and does not pass for `accept`.
const BEHAVIOURS: [&str; 25] = [
    "accept",
    "bad-replace",
    "bad-shape",
    "bad-utf8",
    "binary-replace",
    "configure-error",
    "configure-loop",
    "configure-trap",
    "count",
    "discard",
    "echo-subject",
    "flood-host",
    "flood-log",
    "grow",
    "huge-replace",
    "log",
    "loop",
    "panic",
    "recurse",
    "reject",
    "replace",
    "retire-loop",
    "retire-trap",
    "slow",
    "trap",
];

thread_local! {
    static BEHAVIOUR: OnceCell<String> = const { OnceCell::new() };
    /// Calls of `filter` that this instance has seen.
    static CALLS: Cell<u32> = const { Cell::new(0) };
    /// How long `slow` is busy.
    static TURNS: Cell<u64> = const { Cell::new(0) };
}

struct Misbehaving;

bindings::export!(Misbehaving with_types_in bindings);

impl lifecycle::Guest for Misbehaving {
    fn configure(cfg: Config) -> Result<Manifest, ConfigError> {
        let config: Value = serde_json::from_str(&cfg.json).map_err(|error| ConfigError {
            path: String::new(),
            message: error.to_string(),
        })?;
        let behaviour = config.get("behaviour").and_then(Value::as_str).unwrap_or("accept");
        if !BEHAVIOURS.contains(&behaviour) {
            return Err(ConfigError {
                path: "/behaviour".to_owned(),
                message: format!("expected one of {BEHAVIOURS:?}"),
            });
        }
        match behaviour {
            "configure-error" => {
                return Err(ConfigError {
                    path: "/behaviour".to_owned(),
                    message: "refused, as it was told to".to_owned(),
                });
            }
            "configure-loop" => mischief::spin(),
            "configure-trap" => mischief::trap(),
            _ => {}
        }
        BEHAVIOUR.with(|cell| cell.get_or_init(|| behaviour.to_owned()).len());
        TURNS.set(config.get("turns").and_then(Value::as_u64).unwrap_or(0));
        Ok(Manifest {
            name: "misbehaving".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            interests: config.get("interest").map(interest).into_iter().collect(),
        })
    }

    fn retire() {
        let behaviour = BEHAVIOUR.with(|cell| cell.get().cloned()).unwrap_or_default();
        match behaviour.as_str() {
            "retire-loop" => mischief::spin(),
            "retire-trap" => mischief::trap(),
            "log" => log::write(log::Level::Info, "misbehaving: retired"),
            _ => {}
        }
    }
}

impl message_filter::Guest for Misbehaving {
    fn filter(connection: ConnectionId, subject: String, room: String, event: String, body: Payload) -> Verdict {
        CALLS.set(CALLS.get().wrapping_add(1));
        BEHAVIOUR.with(|cell| match cell.get().map(String::as_str) {
            None | Some("accept") => Verdict::Accept,
            Some(behaviour) => {
                let triggered = match &body {
                    Payload::Text(text) => text.contains("trigger"),
                    Payload::Binary(bytes) => bytes.windows(7).any(|window| window == b"trigger"),
                };
                if !triggered {
                    return Verdict::Accept;
                }
                let echo = json!({"connection": connection, "subject": subject, "room": room, "event": event});
                act(behaviour, &body, &echo)
            }
        })
    }
}

/// What each behaviour does with a message that sets it off.
fn act(behaviour: &str, body: &Payload, echo: &Value) -> Verdict {
    match behaviour {
        // Never ends, so the deadline must end it.
        "loop" => mischief::spin(),
        // Is busy, and then accepts.
        "slow" => {
            mischief::turn(TURNS.get());
            Verdict::Accept
        }
        "grow" => mischief::grow(),
        "recurse" => {
            mischief::overflow();
            Verdict::Accept
        }
        "trap" => mischief::trap(),
        "panic" => mischief::fall(),
        // A million calls of the host in one, then accepts.
        "flood-host" => {
            for _ in 0..FLOOD_CALLS {
                log::enabled(log::Level::Trace);
            }
            Verdict::Accept
        }
        // Ten thousand lines in one call, then accepts.
        "flood-log" => {
            for line in 0..FLOOD_LINES {
                log::write(log::Level::Warn, &format!("misbehaving: line {line}"));
            }
            Verdict::Accept
        }
        // One line, then accepts.
        "log" => {
            if log::enabled(log::Level::Info) {
                log::write(log::Level::Info, "misbehaving: one line");
            }
            Verdict::Accept
        }
        "reject" => Verdict::Reject(Rejection {
            code: "as_told".to_owned(),
            message: "Refused, as the plugin was told to.".to_owned(),
        }),
        // Refuses with a code that is no text.
        "bad-utf8" => Verdict::Reject(Rejection {
            code: not_utf8(),
            message: "The code is not UTF-8.".to_owned(),
        }),
        "discard" => Verdict::Discard,
        // The content becomes the string "replaced".
        "replace" => replace_content(body, json!("replaced")),
        // The content becomes {connection, subject, room, event} as the host passed them.
        "echo-subject" => replace_content(body, echo.clone()),
        // The content becomes the number of calls that this instance has seen, this one included.
        "count" => replace_content(body, json!(CALLS.get())),
        // Content that is longer than any message may be.
        "huge-replace" => replace_content(body, json!("x".repeat(HUGE_BYTES))),
        // Not JSON.
        "bad-replace" => Verdict::Replace(Payload::Text("not JSON {".to_owned())),
        // JSON, but not an object with a content.
        "bad-shape" => Verdict::Replace(Payload::Text(r#"["neither","type","nor","content"]"#.to_owned())),
        // Bytes where text is asked for.
        "binary-replace" => Verdict::Replace(Payload::Binary(vec![0xff, 0x00])),
        _ => Verdict::Accept,
    }
}

/// The body as it was, with other content.
fn replace_content(body: &Payload, content: Value) -> Verdict {
    let Payload::Text(text) = body else {
        return Verdict::Accept;
    };
    let mut body: Value = serde_json::from_str(text).unwrap_or_else(|_| json!({}));
    if let Some(object) = body.as_object_mut() {
        object.insert("content".to_owned(), content);
    }
    Verdict::Replace(Payload::Text(body.to_string()))
}

fn interest(value: &Value) -> Interest {
    let wanted = mischief::Interest::read(value);
    Interest {
        events: wanted.events,
        rooms: wanted.rooms,
        max_payload_bytes: wanted.max_payload_bytes,
    }
}
