//! The world's functions: each looks up what it was told to do, and does it.

use std::cell::OnceCell;

use serde_json::json;

use crate::bindings;
use crate::bindings::exports::stentor::plugin::auth::{
    self, AccessDecision, AccessOutcome, AuthOutcome, ConnectRequest, Identity,
};
use crate::bindings::exports::stentor::plugin::lifecycle::{self, Config, ConfigError, Interest, Manifest};
use crate::bindings::stentor::plugin::attributes::Attribute;
use crate::bindings::stentor::plugin::log;
use crate::bindings::stentor::plugin::types::ConnectionId;
use crate::deeds::{self, Answer, Call};
use crate::people::Arrival;
use crate::settings::{Settings, by_name};

thread_local! {
    static SETTINGS: OnceCell<Settings> = const { OnceCell::new() };
}

struct Obedient;

bindings::export!(Obedient with_types_in bindings);

impl lifecycle::Guest for Obedient {
    fn configure(cfg: Config) -> Result<Manifest, ConfigError> {
        let settings = Settings::parse(&cfg.json, cfg.instance_index).map_err(|error| ConfigError {
            path: error.path,
            message: error.message,
        })?;
        match settings.lifecycle.as_str() {
            "configure-error" => {
                return Err(ConfigError {
                    path: "/lifecycle".to_owned(),
                    message: "refused, as it was told to".to_owned(),
                });
            }
            "configure-loop" => mischief::spin(),
            "configure-trap" => mischief::trap(),
            _ => {}
        }
        let interest = settings.interest.as_ref().map(|wanted| Interest {
            events: wanted.events.clone(),
            rooms: wanted.rooms.clone(),
            max_payload_bytes: wanted.max_payload_bytes,
        });
        SETTINGS.with(|cell| {
            cell.get_or_init(|| settings);
        });
        Ok(Manifest {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            interests: interest.into_iter().collect(),
        })
    }

    fn retire() {
        match with(|settings| settings.lifecycle.clone()).as_deref() {
            Ok("retire-loop") => mischief::spin(),
            Ok("retire-trap") => mischief::trap(),
            Ok("retire-log") => log::write(log::Level::Info, "obedient: retired"),
            _ => {}
        }
    }
}

impl auth::Guest for Obedient {
    fn authenticate(request: ConnectRequest) -> Result<AuthOutcome, String> {
        let arrival = Arrival {
            hook: "authenticate",
            connection: request.connection,
            subject: None,
            address: Some(request.address),
            token: request.token,
            headers: request.headers,
            verified: request.verified,
        };
        with(|settings| {
            let behaviour = settings.authenticate.called(!settings.trigger || arrival.has_trigger());
            arrival.answer(behaviour, settings, settings.authenticate.calls.get())
        })?
    }

    fn refresh(
        connection: ConnectionId,
        subject: String,
        token: String,
        verified: Option<Identity>,
    ) -> Result<AuthOutcome, String> {
        let arrival = Arrival {
            hook: "refresh",
            connection,
            subject: Some(subject),
            address: None,
            token: Some(token),
            headers: Vec::new(),
            verified,
        };
        with(|settings| {
            let behaviour = settings.refresh.called(!settings.trigger || arrival.has_trigger());
            arrival.answer(behaviour, settings, settings.refresh.calls.get())
        })?
    }

    fn authorize(
        connection: ConnectionId,
        subject: String,
        attributes: Vec<Attribute>,
        action: String,
        room: String,
    ) -> Result<AccessDecision, String> {
        with(|settings| {
            let behaviour = settings.authorize.called(!settings.trigger || room.contains("trigger"));
            let is_told = |name: &str| {
                let names = settings.tell.as_ref();
                names.is_none_or(|names| names.iter().any(|wanted| wanted == name))
            };
            let told = attributes
                .iter()
                .map(|attribute| (attribute.name.as_str(), attribute.value.as_str()))
                .filter(|(name, _)| is_told(name));
            let call = Call {
                settings,
                subject: &subject,
                count: settings.authorize.calls.get(),
                told: json!({
                    "instance": settings.instance,
                    "connection": connection,
                    "subject": subject,
                    "attributes": by_name(told),
                    "action": action,
                    "room": room,
                }),
            };
            // Denies what is listed, and allows everything else.
            let behaviour = if behaviour == "deny-actions" {
                let asked = format!("{action}:{room}");
                let listed = settings.deny.iter().any(|pattern| matches(pattern, &asked));
                if listed { "deny" } else { "allow" }
            } else {
                behaviour
            };
            let outcome = match deeds::act(behaviour, &call) {
                Answer::Allow => AccessOutcome::Allow,
                Answer::Deny(rejection) => AccessOutcome::Deny(rejection),
                Answer::Abstain => AccessOutcome::Abstain,
                Answer::Error(message) => return Err(message),
            };
            Ok(AccessDecision {
                outcome,
                cache_ms: settings.cache_ms,
            })
        })?
    }
}

fn with<T>(act: impl FnOnce(&Settings) -> T) -> Result<T, String> {
    SETTINGS.with(|cell| cell.get().map(act).ok_or_else(|| "not configured".to_owned()))
}

/// `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, rest)) => text.strip_prefix(before).is_some_and(|left| {
            left.char_indices()
                .map(|(at, _)| at)
                .chain([left.len()])
                .any(|at| left.get(at..).is_some_and(|left| matches(rest, left)))
        }),
    }
}
