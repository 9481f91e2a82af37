//! What the configuration tells the plugin to do. A misspelt behaviour in a test is refused, so that it does not pass for
//! another.

use std::cell::Cell;

use operator_config::{At, ConfigError, read};
use serde_json::Value;

const KEYS: [&str; 15] = [
    "authenticate",
    "refresh",
    "authorize",
    "lifecycle",
    "trigger",
    "otherwise",
    "cache_ms",
    "interest",
    "subject",
    "expires_at",
    "attributes",
    "turns",
    "deny",
    "forget",
    "tell",
];
const HOOKS: [&str; 3] = ["authenticate", "refresh", "authorize"];

/// For every hook; see `deeds`.
const BEHAVIOURS: [&str; 19] = [
    "abstain",
    "allow",
    "bad-utf8",
    "count",
    "deny",
    "error",
    "flood-host",
    "flood-log",
    "forget",
    "grow",
    "huge-deny",
    "huge-error",
    "log",
    "loop",
    "panic",
    "recurse",
    "slow",
    "tell",
    "trap",
];

/// For `authenticate` and `refresh`; see `people`.
const ABOUT_PEOPLE: [&str; 8] = [
    "add-attributes",
    "allow-only-token",
    "bad-subject",
    "echo",
    "huge-allow",
    "narrow",
    "replace-subject",
    "too-many-attributes",
];

/// For `authorize`.
const ABOUT_ACTIONS: [&str; 1] = ["deny-actions"];

const LIFECYCLE: [&str; 6] = [
    "configure-error",
    "configure-loop",
    "configure-trap",
    "retire-log",
    "retire-loop",
    "retire-trap",
];

/// The whole of it.
pub(crate) struct Settings {
    pub(crate) authenticate: Hook,
    pub(crate) refresh: Hook,
    pub(crate) authorize: Hook,
    pub(crate) lifecycle: String,
    pub(crate) trigger: bool,
    pub(crate) cache_ms: u32,
    pub(crate) interest: Option<mischief::Interest>,
    pub(crate) subject: Option<String>,
    pub(crate) expires_at: Option<u64>,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) turns: u64,
    pub(crate) deny: Vec<String>,
    pub(crate) forget: Option<String>,
    pub(crate) tell: Option<Vec<String>>,
    /// Which instance this is.
    pub(crate) instance: u32,
}

/// What one hook does.
pub(crate) struct Hook {
    behaviour: String,
    otherwise: String,
    /// Calls that this instance has seen.
    pub(crate) calls: Cell<u32>,
}

impl Hook {
    /// What to do, now that it was called once more.
    pub(crate) fn called(&self, set_off: bool) -> &str {
        self.calls.set(self.calls.get().wrapping_add(1));
        if set_off { &self.behaviour } else { &self.otherwise }
    }
}

impl Settings {
    pub(crate) fn parse(json: &str, instance: u32) -> Result<Self, ConfigError> {
        let value = read(json)?;
        let root = At::root(&value);
        root.only(&KEYS)?;
        let otherwise = root.child("otherwise");
        if let Some(table) = &otherwise {
            table.only(&HOOKS)?;
        }
        let hook = |name: &str, more: &[&str]| {
            let known = [&BEHAVIOURS[..], more].concat();
            Ok(Hook {
                behaviour: choice(&root, name, &known)?.unwrap_or("abstain").to_owned(),
                otherwise: match &otherwise {
                    Some(table) => choice(table, name, &known)?.unwrap_or("abstain").to_owned(),
                    None => "abstain".to_owned(),
                },
                calls: Cell::new(0),
            })
        };
        let attributes = root.entries("attributes")?;
        Ok(Self {
            authenticate: hook("authenticate", &ABOUT_PEOPLE)?,
            refresh: hook("refresh", &ABOUT_PEOPLE)?,
            authorize: hook("authorize", &ABOUT_ACTIONS)?,
            lifecycle: choice(&root, "lifecycle", &LIFECYCLE)?.unwrap_or_default().to_owned(),
            trigger: root.switch("trigger")?.unwrap_or(false),
            cache_ms: root.number("cache_ms", u32::MAX)?.unwrap_or(0),
            interest: root.child("interest").map(|item| mischief::Interest::read(item.value)),
            subject: text(&root, "subject"),
            expires_at: root.child("expires_at").and_then(|item| item.value.as_u64()),
            attributes: attributes
                .into_iter()
                .map(|(name, item)| Ok((name.clone(), item.text()?.to_owned())))
                .collect::<Result<_, _>>()?,
            turns: root.child("turns").and_then(|item| item.value.as_u64()).unwrap_or(0),
            deny: texts(&root, "deny")?,
            forget: text(&root, "forget"),
            tell: match root.child("tell") {
                Some(_) => Some(texts(&root, "tell")?),
                None => None,
            },
            instance,
        })
    }
}

/// One of these names.
fn choice<'a>(at: &At<'a>, key: &str, known: &[&str]) -> Result<Option<&'a str>, ConfigError> {
    let Some(item) = at.child(key) else { return Ok(None) };
    let name = item.text()?;
    if !known.contains(&name) {
        return Err(item.error(format!("expected one of {known:?}")));
    }
    Ok(Some(name))
}

/// A text, which may be empty: that one is of interest too.
fn text(at: &At<'_>, key: &str) -> Option<String> {
    at.child(key).and_then(|item| item.value.as_str().map(str::to_owned))
}

fn texts(at: &At<'_>, key: &str) -> Result<Vec<String>, ConfigError> {
    let items = at.items(key)?;
    items.iter().map(|item| item.text().map(str::to_owned)).collect()
}

/// Names and values as JSON: `{"name": ["value", …]}`.
pub(crate) fn by_name<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    let mut table = serde_json::Map::new();
    for (name, value) in pairs {
        let values = table.entry(name).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(values) = values {
            values.push(value.into());
        }
    }
    Value::Object(table)
}
