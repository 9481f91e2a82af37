//! The policy as a component: the only file that knows the interface to the server.

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

use std::cell::OnceCell;

use bindings::exports::stentor::plugin::lifecycle::{self, Config, ConfigError, Interest, Manifest};
use bindings::exports::stentor::plugin::message_filter::{self, Verdict};
use bindings::stentor::plugin::types::{ConnectionId, Payload, Rejection};

use crate::policy::{self, EVENTS, Policy};

thread_local! {
    /// An instance is configured once and has one thread, so this is all the state that there is.
    static POLICY: OnceCell<Policy> = const { OnceCell::new() };
}

struct Guest;

bindings::export!(Guest with_types_in bindings);

impl lifecycle::Guest for Guest {
    fn configure(cfg: Config) -> Result<Manifest, ConfigError> {
        match Policy::from_json(&cfg.json) {
            Ok(policy) => {
                POLICY.with(|cell| {
                    cell.get_or_init(|| policy);
                });
                Ok(Manifest {
                    name: env!("CARGO_PKG_NAME").to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    interests: vec![Interest {
                        events: EVENTS.map(str::to_owned).to_vec(),
                        rooms: Vec::new(),
                        // No cap: a message too long to be looked at would be the way around every rule.
                        max_payload_bytes: 0,
                    }],
                })
            }
            Err(error) => Err(ConfigError {
                path: error.path,
                message: error.message,
            }),
        }
    }

    fn retire() {}
}

impl message_filter::Guest for Guest {
    fn filter(_: ConnectionId, _: String, _: String, event: String, body: Payload) -> Verdict {
        // Bytes have no types, words or links to look at.
        let Payload::Text(body) = body else {
            return Verdict::Accept;
        };
        let verdict = POLICY.with(|cell| cell.get().map(|policy| policy.check(&event, &body)));
        match verdict {
            Some(policy::Verdict::Accept) => Verdict::Accept,
            Some(policy::Verdict::Replace(body)) => Verdict::Replace(Payload::Text(body)),
            Some(policy::Verdict::Reject(refusal)) => Verdict::Reject(Rejection {
                code: refusal.code().to_owned(),
                message: refusal.message().to_owned(),
            }),
            None => Verdict::Reject(Rejection {
                code: "not_configured".to_owned(),
                message: "The content policy is not configured.".to_owned(),
            }),
        }
    }
}
