//! The list as a component: the only file that knows the interface to the server.

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
        world: "auth-plugin",
    });
}

use std::cell::OnceCell;

use bindings::exports::stentor::plugin::auth::{
    self, AccessDecision, AccessOutcome, AuthOutcome, ConnectRequest, Identity,
};
use bindings::exports::stentor::plugin::lifecycle::{self, Config, ConfigError, Interest, Manifest};
use bindings::stentor::plugin::attributes::Attribute;
use bindings::stentor::plugin::types::{ConnectionId, Rejection};

use crate::{Acl, Action, Decision, Person};

/// The one reason that there is for a refusal; its message says what was refused.
const NOT_ALLOWED: &str = "not_allowed";

thread_local! {
    /// An instance is configured once and has one thread, so this is all the state that there is.
    static ACL: OnceCell<Acl> = const { OnceCell::new() };
}

struct Guest;

bindings::export!(Guest with_types_in bindings);

impl lifecycle::Guest for Guest {
    fn configure(cfg: Config) -> Result<Manifest, ConfigError> {
        match Acl::from_json(&cfg.json) {
            Ok(acl) => {
                ACL.with(|cell| {
                    cell.get_or_init(|| acl);
                });
                Ok(Manifest {
                    name: env!("CARGO_PKG_NAME").to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    interests: vec![Interest {
                        // Who people are is for others to say.
                        events: Action::ALL.map(|action| action.name().to_owned()).to_vec(),
                        rooms: Vec::new(),
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

impl auth::Guest for Guest {
    fn authenticate(_: ConnectRequest) -> Result<AuthOutcome, String> {
        Ok(AuthOutcome::Abstain)
    }

    fn refresh(_: ConnectionId, _: String, _: String, _: Option<Identity>) -> Result<AuthOutcome, String> {
        Ok(AuthOutcome::Abstain)
    }

    fn authorize(
        _: ConnectionId,
        subject: String,
        attributes: Vec<Attribute>,
        action: String,
        room: String,
    ) -> Result<AccessDecision, String> {
        let person = Person {
            subject: &subject,
            attributes: attributes
                .iter()
                .map(|attribute| (attribute.name.as_str(), attribute.value.as_str()))
                .collect(),
        };
        ACL.with(|cell| {
            let acl = cell.get().ok_or("the access list is not configured")?;
            let outcome = match acl.decide(&person, &action, &room) {
                Decision::Allow => AccessOutcome::Allow,
                Decision::Deny(action) => AccessOutcome::Deny(Rejection {
                    code: NOT_ALLOWED.to_owned(),
                    message: action.refusal().to_owned(),
                }),
                Decision::Abstain => AccessOutcome::Abstain,
            };
            Ok(AccessDecision {
                outcome,
                cache_ms: acl.cache_ms(),
            })
        })
    }
}
