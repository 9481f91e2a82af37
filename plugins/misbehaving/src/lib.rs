//! A message filter that does what its configuration says, for the tests of the plugin host.
//!
//! The configuration is `{"behaviour": NAME}`; the names are listed at `act`. Whatever the behaviour, only a message
//! whose body contains the text `trigger` sets it off and every other one is accepted at once, so that a test can see
//! the host recover after a failure. Behaviours named `configure-…` and `retire-…` act in those functions instead.
//!
//! `{"behaviour": "accept"}` is the filter that does nothing, which the benchmarks use. An optional key `interest`,
//! `{"events": […], "rooms": […], "max_payload_bytes": n}`, is handed to the host as the manifest's interest.
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
use std::hint::black_box;

use bindings::exports::stentor::plugin::lifecycle::{self, Config, ConfigError, Interest, Manifest};
use bindings::exports::stentor::plugin::message_filter::{self, Verdict};
use bindings::stentor::plugin::log;
use bindings::stentor::plugin::types::{ConnectionId, Payload, Rejection};
use serde_json::{Value, json};

/// The behaviours that `act` knows, so that a misspelt one in a test is refused and does not pass for `accept`.
const BEHAVIOURS: [&str; 22] = [
    "accept",
    "bad-replace",
    "bad-shape",
    "binary-replace",
    "configure-error",
    "configure-loop",
    "configure-trap",
    "count",
    "discard",
    "echo-subject",
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
    "trap",
];

thread_local! {
    static BEHAVIOUR: OnceCell<String> = const { OnceCell::new() };
    /// Calls of `filter` that this instance has seen.
    static CALLS: Cell<u32> = const { Cell::new(0) };
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
            "configure-loop" => spin(),
            "configure-trap" => core::arch::wasm32::unreachable(),
            _ => {}
        }
        BEHAVIOUR.with(|cell| cell.get_or_init(|| behaviour.to_owned()).len());
        Ok(Manifest {
            name: "misbehaving".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            interests: config.get("interest").map(interest).into_iter().collect(),
        })
    }

    fn retire() {
        let behaviour = BEHAVIOUR.with(|cell| cell.get().cloned()).unwrap_or_default();
        match behaviour.as_str() {
            "retire-loop" => spin(),
            "retire-trap" => core::arch::wasm32::unreachable(),
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
        "loop" => spin(),
        // Takes memory until it gets no more; then the allocator aborts, which is a trap.
        "grow" => {
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            loop {
                hoard.push(black_box(vec![1; 1 << 20]));
            }
        }
        // Uses up the stack.
        "recurse" => {
            black_box(recurse(1));
            Verdict::Accept
        }
        "trap" => core::arch::wasm32::unreachable(),
        #[expect(clippy::panic, reason = "it is what the test asks for")]
        "panic" => panic!("as it was told to"),
        // Ten thousand lines in one call, then accepts.
        "flood-log" => {
            for line in 0..10_000 {
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
        "discard" => Verdict::Discard,
        // The content becomes the string "replaced".
        "replace" => replace_content(body, json!("replaced")),
        // The content becomes {connection, subject, room, event} as the host passed them.
        "echo-subject" => replace_content(body, echo.clone()),
        // The content becomes the number of calls that this instance has seen, this one included.
        "count" => replace_content(body, json!(CALLS.get())),
        // Content of 4 MiB, which is more than any message may have.
        "huge-replace" => replace_content(body, json!("x".repeat(4 << 20))),
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
    let strings = |key: &str| -> Vec<String> {
        let list = value.get(key).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    Interest {
        events: strings("events"),
        rooms: strings("rooms"),
        max_payload_bytes: value
            .get("max_payload_bytes")
            .and_then(Value::as_u64)
            .and_then(|bytes| u32::try_from(bytes).ok())
            .unwrap_or(0),
    }
}

fn spin() -> ! {
    let mut turn = 0_u64;
    loop {
        turn = black_box(turn.wrapping_add(1));
    }
}

/// Keeps next to nothing in memory, so that it is the engine's stack that runs out and not the guest's own.
#[expect(unconditional_recursion, reason = "it is what the test asks for")]
fn recurse(depth: u64) -> u64 {
    recurse(black_box(depth.wrapping_add(1))).wrapping_add(depth)
}
