//! Reads the operator's configuration: which keys there are, and what they must be.

use operator_config::{At, ConfigError, read};

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

pub(crate) fn parse(json: &str) -> Result<Policy, ConfigError> {
    let value = read(json)?;
    let root = At::root(&value);
    root.only(&KEYS)?;

    let mut policy = Policy::default();
    for item in root.items("types")? {
        policy.shapes.types.push(item.text()?.to_owned());
    }
    for (name, item) in root.entries("shape")? {
        if name != OTHER_TYPES && !policy.shapes.types.is_empty() && !policy.shapes.types.contains(name) {
            return Err(item.error("this type is not one of `types`, so it has no shape"));
        }
        policy.shapes.by_type.push((name.clone(), shape(&item)?));
    }
    policy.length_max = number(&root, "length_max")?;
    policy.length_min = number(&root, "length_min")?;
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
    if let Some(rules) = root.child("links") {
        links(&rules, &mut policy)?;
    }
    Ok(policy)
}

/// The number at `key`; 0 if there is no such key.
fn number(at: &At<'_>, key: &str) -> Result<usize, ConfigError> {
    let number = at.number(key, u32::MAX)?.unwrap_or(0);
    usize::try_from(number).map_err(|_| at.error(format!("`{key}` is too large")))
}

fn kind(at: &At<'_>) -> Result<Kind, ConfigError> {
    at.value
        .as_str()
        .and_then(Kind::from_name)
        .ok_or_else(|| at.error(format!("expected {KINDS}")))
}

fn shape(at: &At<'_>) -> Result<Shape, ConfigError> {
    if !at.value.is_object() {
        return kind(at).map(Shape::Kind).map_err(|_| {
            at.error(format!(
                "expected {KINDS}, or a table with `required`, `optional` and `others`"
            ))
        });
    }
    at.only(&FIELDS_KEYS)?;
    let mut fields: Vec<Field> = Vec::new();
    for (key, required) in [("required", true), ("optional", false)] {
        for (name, item) in at.entries(key)? {
            if fields.iter().any(|field| field.name == *name) {
                return Err(item.error("this field is under `required` already"));
            }
            fields.push(Field {
                name: name.clone(),
                kind: kind(&item)?,
                required,
            });
        }
    }
    Ok(Shape::Fields {
        fields,
        others: at.switch("others")?.unwrap_or(false),
    })
}

fn links(at: &At<'_>, policy: &mut Policy) -> Result<(), ConfigError> {
    at.only(&LINKS_KEYS)?;
    policy.links.allow = at.switch("allow")?.unwrap_or(true);
    for item in at.items("hosts")? {
        let host = item.text()?;
        if !is_host(host) {
            return Err(item.error("expected the name of a host, without scheme, port, path or `*`"));
        }
        policy.links.hosts.push(host.to_lowercase());
    }
    if let Some(hosts) = at.child("hosts") {
        if policy.links.hosts.is_empty() {
            return Err(hosts.error("name at least one host; to allow no links at all, set `allow = false`"));
        }
        if !policy.links.allow {
            return Err(hosts.error("no link is allowed with `allow = false`, so there are no hosts to name"));
        }
    }
    policy.links.per_message_max = number(at, "per_message_max")?;
    Ok(())
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
