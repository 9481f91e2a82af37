//! Reads the operator's configuration. Everything wrong in it is told with the place where it stands, and an unknown
//! key is wrong too: a rule that is misspelt must not pass for a rule that is in force.

use serde_json::{Map, Value};

use crate::links::is_host;
use crate::policy::{Policy, WordsAction};
use crate::shape::{Field, Kind, OTHER_TYPES, Shape};

const KEYS: [&str; 7] = [
    "types",
    "shape",
    "length_max",
    "length_min",
    "words",
    "words_action",
    "links",
];
const LINKS_KEYS: [&str; 3] = ["allow", "hosts", "per_message_max"];
const FIELDS_KEYS: [&str; 3] = ["required", "optional", "others"];
const KINDS: &str = "\"string\", \"number\", \"boolean\", \"array\", \"object\", \"null\" or \"any\"";

/// What is wrong with a configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// A JSON pointer to the place; empty: the whole.
    pub path: String,
    /// What was expected there.
    pub message: String,
}

/// A value and where it stands.
#[derive(Clone)]
struct At<'a> {
    value: &'a Value,
    path: String,
}

pub(crate) fn parse(json: &str) -> Result<Policy, ConfigError> {
    let value: Value = serde_json::from_str(json).map_err(|error| ConfigError {
        path: String::new(),
        message: format!("not JSON: {error}"),
    })?;
    let root = At {
        value: &value,
        path: String::new(),
    };
    root.only(&KEYS)?;

    let mut policy = Policy::default();
    for item in root.items("types")? {
        policy.shapes.types.push(item.text()?.to_owned());
    }
    for (name, item) in root.entries("shape")? {
        if name != OTHER_TYPES && !policy.shapes.types.is_empty() && !policy.shapes.types.contains(name) {
            return Err(item.error("this type is not one of `types`, so it has no shape"));
        }
        policy.shapes.by_type.push((name.clone(), item.shape()?));
    }
    policy.length_max = root.number("length_max")?;
    policy.length_min = root.number("length_min")?;
    if policy.length_max > 0 && policy.length_min > policy.length_max {
        return Err(root.child("length_min").map_or_else(
            || root.error("`length_min` is above `length_max`"),
            |item| item.error("more than `length_max`, so no message could be sent"),
        ));
    }
    for item in root.items("words")? {
        if !policy.words.add(item.text()?) {
            return Err(item.error("expected a word or phrase that begins and ends with a letter or digit"));
        }
    }
    if let Some(item) = root.child("words_action") {
        policy.words_action = match item.value.as_str() {
            Some("reject") => WordsAction::Reject,
            Some("mask") => WordsAction::Mask,
            _ => return Err(item.error("expected \"reject\" or \"mask\"")),
        };
    }
    if let Some(links) = root.child("links") {
        links.links(&mut policy)?;
    }
    Ok(policy)
}

impl<'a> At<'a> {
    fn error(&self, message: impl Into<String>) -> ConfigError {
        ConfigError {
            path: self.path.clone(),
            message: message.into(),
        }
    }

    fn table(&self) -> Result<&'a Map<String, Value>, ConfigError> {
        self.value.as_object().ok_or_else(|| self.error("expected a table"))
    }

    /// The table has none but these keys.
    fn only(&self, keys: &[&str]) -> Result<(), ConfigError> {
        for (key, value) in self.table()? {
            if !keys.contains(&key.as_str()) {
                let known = keys.join("`, `");
                return Err(self
                    .below(key, value)
                    .error(format!("unknown key; the keys here are `{known}`")));
            }
        }
        Ok(())
    }

    fn below(&self, key: &str, value: &'a Value) -> Self {
        Self {
            value,
            path: format!("{}/{}", self.path, key.replace('~', "~0").replace('/', "~1")),
        }
    }

    fn child(&self, key: &str) -> Option<Self> {
        self.value.get(key).map(|value| self.below(key, value))
    }

    /// The items of the list at `key`; none if there is no such key.
    fn items(&self, key: &str) -> Result<Vec<Self>, ConfigError> {
        let Some(list) = self.child(key) else {
            return Ok(Vec::new());
        };
        let items = list.value.as_array().ok_or_else(|| list.error("expected a list"))?;
        Ok(items
            .iter()
            .enumerate()
            .map(|(index, value)| list.below(&index.to_string(), value))
            .collect())
    }

    /// The entries of the table at `key`; none if there is no such key.
    fn entries(&self, key: &str) -> Result<Vec<(&'a String, Self)>, ConfigError> {
        let Some(table) = self.child(key) else {
            return Ok(Vec::new());
        };
        Ok(table
            .table()?
            .iter()
            .map(|(name, value)| (name, table.below(name, value)))
            .collect())
    }

    fn text(&self) -> Result<&'a str, ConfigError> {
        self.value
            .as_str()
            .filter(|text| !text.is_empty())
            .ok_or_else(|| self.error("expected a text that is not empty"))
    }

    /// The number at `key`; 0 if there is no such key.
    fn number(&self, key: &str) -> Result<usize, ConfigError> {
        let Some(item) = self.child(key) else { return Ok(0) };
        let number = item.value.as_u64().and_then(|number| u32::try_from(number).ok());
        let number = number.ok_or_else(|| item.error("expected a whole number from 0 to 4294967295"))?;
        usize::try_from(number).map_err(|_| item.error("too large"))
    }

    /// The switch at `key`.
    fn switch(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        let Some(item) = self.child(key) else { return Ok(None) };
        item.value
            .as_bool()
            .map(Some)
            .ok_or_else(|| item.error("expected true or false"))
    }

    fn kind(&self) -> Result<Kind, ConfigError> {
        self.value
            .as_str()
            .and_then(Kind::from_name)
            .ok_or_else(|| self.error(format!("expected {KINDS}")))
    }

    fn shape(&self) -> Result<Shape, ConfigError> {
        if !self.value.is_object() {
            return self.kind().map(Shape::Kind).map_err(|_| {
                self.error(format!(
                    "expected {KINDS}, or a table with `required`, `optional` and `others`"
                ))
            });
        }
        self.only(&FIELDS_KEYS)?;
        let mut fields: Vec<Field> = Vec::new();
        for (key, required) in [("required", true), ("optional", false)] {
            for (name, item) in self.entries(key)? {
                if fields.iter().any(|field| field.name == *name) {
                    return Err(item.error("this field is under `required` already"));
                }
                fields.push(Field {
                    name: name.clone(),
                    kind: item.kind()?,
                    required,
                });
            }
        }
        Ok(Shape::Fields {
            fields,
            others: self.switch("others")?.unwrap_or(false),
        })
    }

    fn links(&self, policy: &mut Policy) -> Result<(), ConfigError> {
        self.only(&LINKS_KEYS)?;
        policy.links.allow = self.switch("allow")?.unwrap_or(true);
        for item in self.items("hosts")? {
            let host = item.text()?;
            if !is_host(host) {
                return Err(item.error("expected the name of a host, without scheme, port, path or `*`"));
            }
            policy.links.hosts.push(host.to_lowercase());
        }
        if let Some(hosts) = self.child("hosts") {
            if policy.links.hosts.is_empty() {
                return Err(hosts.error("name at least one host; to allow no links at all, set `allow = false`"));
            }
            if !policy.links.allow {
                return Err(hosts.error("no link is allowed with `allow = false`, so there are no hosts to name"));
            }
        }
        policy.links.per_message_max = self.number("per_message_max")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str) -> (String, String) {
        let error = parse(json).err().unwrap_or_else(|| panic!("taken: {json}"));
        (error.path, error.message)
    }

    #[test]
    fn everything_is_optional() {
        assert!(parse("{}").is_ok());
        assert!(
            parse(
                r#"{"types":["text","place"],"shape":{"text":"string","place":{"required":{"lat":"number"},"others":true},
                    "*":"any"},"length_max":10,"length_min":1,"words":["heck"],"words_action":"mask",
                    "links":{"allow":true,"hosts":["Example.com"],"per_message_max":3}}"#
            )
            .is_ok()
        );
    }

    #[test]
    fn errors_say_where() {
        for (json, path) in [
            ("not JSON", ""),
            ("[]", ""),
            (r#"{"lenght_max":1}"#, "/lenght_max"),
            (r#"{"types":"text"}"#, "/types"),
            (r#"{"types":["text",7]}"#, "/types/1"),
            (r#"{"shape":["text"]}"#, "/shape"),
            (r#"{"shape":{"text":"str"}}"#, "/shape/text"),
            (r#"{"shape":{"a/b~c":7}}"#, "/shape/a~1b~0c"),
            (r#"{"types":["text"],"shape":{"image":"object"}}"#, "/shape/image"),
            (r#"{"shape":{"t":{"require":{}}}}"#, "/shape/t/require"),
            (r#"{"shape":{"t":{"required":{"a":"b"}}}}"#, "/shape/t/required/a"),
            (
                r#"{"shape":{"t":{"required":{"a":"any"},"optional":{"a":"any"}}}}"#,
                "/shape/t/optional/a",
            ),
            (r#"{"shape":{"t":{"others":1}}}"#, "/shape/t/others"),
            (r#"{"length_max":-1}"#, "/length_max"),
            (r#"{"length_max":"many"}"#, "/length_max"),
            (r#"{"length_max":1.5}"#, "/length_max"),
            (r#"{"length_max":3,"length_min":4}"#, "/length_min"),
            (r#"{"words":["ok","..."]}"#, "/words/1"),
            (r#"{"words":[""]}"#, "/words/0"),
            (r#"{"words_action":"drop"}"#, "/words_action"),
            (r#"{"links":true}"#, "/links"),
            (r#"{"links":{"host":[]}}"#, "/links/host"),
            (r#"{"links":{"allow":"no"}}"#, "/links/allow"),
            (r#"{"links":{"hosts":[]}}"#, "/links/hosts"),
            (r#"{"links":{"hosts":["https://example.com"]}}"#, "/links/hosts/0"),
            (r#"{"links":{"hosts":["a.b","*.c.d"]}}"#, "/links/hosts/1"),
            (r#"{"links":{"allow":false,"hosts":["a.b"]}}"#, "/links/hosts"),
            (r#"{"links":{"per_message_max":null}}"#, "/links/per_message_max"),
        ] {
            let (found, message) = refused(json);
            assert_eq!(found, path, "{json}: {message}");
            assert!(!message.is_empty());
        }
    }

    #[test]
    fn an_unknown_key_is_told_with_the_known_ones() {
        assert!(refused(r#"{"word":[]}"#).1.contains("`words_action`"));
    }
}
