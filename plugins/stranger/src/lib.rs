//! A message filter that asks for something no server has, for the tests of the plugin host: loading it must fail, with
//! a sentence that names the import `stentor:stranger/telepathy`.
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
        inline: "
            package stentor:stranger;

            interface telepathy {
                read: func(subject: string) -> string;
            }

            world stranger {
                include stentor:plugin/message-filter-plugin@0.1.0;
                import telepathy;
            }
        ",
        generate_all,
    });
}

use bindings::exports::stentor::plugin::lifecycle::{self, Config, ConfigError, Manifest};
use bindings::exports::stentor::plugin::message_filter::{self, Verdict};
use bindings::stentor::plugin::types::{ConnectionId, Payload};
use bindings::stentor::stranger::telepathy;

struct Stranger;

bindings::export!(Stranger with_types_in bindings);

impl lifecycle::Guest for Stranger {
    fn configure(_: Config) -> Result<Manifest, ConfigError> {
        Ok(Manifest {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            interests: Vec::new(),
        })
    }

    fn retire() {}
}

impl message_filter::Guest for Stranger {
    /// The call keeps the import from being left out as one that is never used.
    fn filter(_: ConnectionId, subject: String, _: String, _: String, _: Payload) -> Verdict {
        if telepathy::read(&subject).is_empty() {
            Verdict::Discard
        } else {
            Verdict::Accept
        }
    }
}
