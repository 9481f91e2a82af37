//! What can be said of a person, in `authenticate` and `refresh`.

use mischief::HUGE_BYTES;
use serde_json::{Value, json};

use crate::bindings::exports::stentor::plugin::auth::{AuthOutcome, Identity};
use crate::bindings::stentor::plugin::attributes::Attribute;
use crate::deeds::{self, Answer, Call};
use crate::settings::{Settings, by_name};

/// Many more than anybody may have.
const TOO_MANY_ATTRIBUTES: usize = 1000;

/// No id: every character in it that ids may not have but the control characters.
const BAD_SUBJECT: &str = "{ann}*?[\\";

/// With this begin tokens that name their bearer, for `allow-only-token`.
const OPAQUE: &str = "opaque-";

/// What somebody brought, at the handshake or later.
pub(crate) struct Arrival {
    pub(crate) hook: &'static str,
    pub(crate) connection: u64,
    /// Whose connection it is, where that is settled.
    pub(crate) subject: Option<String>,
    pub(crate) address: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) headers: Vec<Attribute>,
    pub(crate) verified: Option<Identity>,
}

impl Arrival {
    pub(crate) fn has_trigger(&self) -> bool {
        self.token.as_ref().is_some_and(|token| token.contains("trigger"))
    }

    pub(crate) fn answer(&self, behaviour: &str, settings: &Settings, count: u32) -> Result<AuthOutcome, String> {
        let mut person = self.person(settings);
        match behaviour {
            // The attributes of the configuration, besides those that there are.
            "add-attributes" => person.attributes.extend(configured(settings)),
            // The subject of the configuration, in place of that of the token.
            "replace-subject" => person.subject = settings.subject.clone().unwrap_or_default(),
            "bad-subject" => person.subject = BAD_SUBJECT.to_owned(),
            "too-many-attributes" => {
                let many = (0..TOO_MANY_ATTRIBUTES).map(|number| attribute("n", number.to_string()));
                person.attributes.extend(many);
            }
            "huge-allow" => person.attributes.push(attribute("huge", "x".repeat(HUGE_BYTES))),
            // Attributes that say what the host passed. `authorize` with `tell` shows them.
            "echo" => person.attributes.extend(self.echo()),
            // Nobody without the attributes of the configuration; whoever has them is for the next link.
            "narrow" if self.token.is_none() || self.has(settings) => return Ok(AuthOutcome::Abstain),
            "narrow" => return outcome(deeds::act("deny", &self.call(settings, count)), person),
            // Whoever has a token `opaque-…` is called by that very token; others are for the next link.
            "allow-only-token" => match &self.token {
                Some(token) if token.starts_with(OPAQUE) => {
                    person.subject.clone_from(token);
                    person.attributes = configured(settings).collect();
                }
                _ => return Ok(AuthOutcome::Abstain),
            },
            _ => return outcome(deeds::act(behaviour, &self.call(settings, count)), person),
        }
        Ok(AuthOutcome::Allow(person))
    }

    /// Who is allowed, by `allow`: whoever the server has verified, else whose connection it is, else the subject of the
    /// configuration.
    fn person(&self, settings: &Settings) -> Identity {
        let mut person = self.verified.clone().unwrap_or_else(|| Identity {
            subject: self
                .subject
                .as_ref()
                .or(settings.subject.as_ref())
                .map_or_else(|| "obedient".to_owned(), String::clone),
            expires_at: None,
            attributes: Vec::new(),
        });
        person.expires_at = settings.expires_at.or(person.expires_at);
        person
    }

    /// Whether the person verified has all attributes of the configuration.
    fn has(&self, settings: &Settings) -> bool {
        let has = |wanted: Attribute| {
            let attributes = self.verified.iter().flat_map(|person| &person.attributes);
            attributes
                .into_iter()
                .any(|found| found.name == wanted.name && found.value == wanted.value)
        };
        self.verified.is_some() && configured(settings).all(has)
    }

    fn echo(&self) -> Vec<Attribute> {
        let mut echo = vec![attribute("echo.connection", self.connection.to_string())];
        echo.extend(self.address.clone().map(|address| attribute("echo.address", address)));
        echo.extend(self.token.clone().map(|token| attribute("echo.token", token)));
        echo.extend(
            self.verified
                .iter()
                .map(|person| attribute("echo.verified", person.subject.clone())),
        );
        echo.extend(self.headers.iter().map(|header| Attribute {
            name: format!("echo.header.{}", header.name),
            value: header.value.clone(),
        }));
        echo
    }

    fn call<'a>(&'a self, settings: &'a Settings, count: u32) -> Call<'a> {
        let known = self.verified.as_ref().map(|person| person.subject.as_str());
        Call {
            settings,
            subject: known.or(self.subject.as_deref()).unwrap_or_default(),
            count,
            told: self.told(settings),
        }
    }

    fn told(&self, settings: &Settings) -> Value {
        json!({
            "hook": self.hook,
            "instance": settings.instance,
            "connection": self.connection,
            "subject": self.subject,
            "address": self.address,
            "token": self.token,
            "headers": pairs(&self.headers),
            "verified": self.verified.as_ref().map(|person| json!({
                "subject": person.subject,
                "expiresAt": person.expires_at,
                "attributes": pairs(&person.attributes),
            })),
        })
    }
}

fn outcome(answer: Answer, person: Identity) -> Result<AuthOutcome, String> {
    match answer {
        Answer::Allow => Ok(AuthOutcome::Allow(person)),
        Answer::Deny(rejection) => Ok(AuthOutcome::Deny(rejection)),
        Answer::Abstain => Ok(AuthOutcome::Abstain),
        Answer::Error(message) => Err(message),
    }
}

fn configured(settings: &Settings) -> impl Iterator<Item = Attribute> + '_ {
    let pairs = settings.attributes.iter();
    pairs.map(|(name, value)| attribute(name, value))
}

fn attribute(name: &str, value: impl Into<String>) -> Attribute {
    Attribute {
        name: name.to_owned(),
        value: value.into(),
    }
}

fn pairs(attributes: &[Attribute]) -> Value {
    by_name(
        attributes
            .iter()
            .map(|attribute| (attribute.name.as_str(), attribute.value.as_str())),
    )
}
