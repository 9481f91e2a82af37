//! A configuration as commented TOML, for copying.
//!
//! The comments are the schema's descriptions, so the file explains itself as the code does. A secret is never printed:
//! its line is a comment. Everything else loads to the same configuration again.

use toml::{Table, Value};

use super::schema::{Kind, Shape, schema};
use super::{Algorithm, ApiKey, Config, JoinPolicy, Key, Plugin, RoomClass};

const WIDTH: usize = 110;

const INTRODUCTION: &str = "\
# The configuration of Stentor. Every key may be left out; then it has its default.
# A setting behind a bare # is an example that is not in force.
# Each key has an environment variable that outweighs it: STENTOR__LIMITS__CONNECTIONS_MAX=1000
";

/// The whole configuration as TOML, each key under its description. Secrets are left out.
pub fn print(config: &Config) -> String {
    let schema = schema();
    let mut page = Page { text: INTRODUCTION.to_owned(), is_example: false };
    match Table::try_from(config) {
        Ok(table) => page.table(&table, Shape::of(&schema), ""),
        // Only a number that TOML has no room for comes here, and none that was loaded is one.
        Err(error) => page.line(&format!("# This configuration cannot be written as TOML: {error}")),
    }
    page.text
}

struct Page {
    text: String,
    /// Whether settings are commented out.
    is_example: bool,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn setting(&mut self, text: &str) {
        for line in text.lines() {
            let mark = if self.is_example { "#" } else { "" };
            self.line(&format!("{mark}{line}"));
        }
    }

    fn describe(&mut self, shape: Shape<'_>) {
        let choices = shape.choices();
        let one_of = (!choices.is_empty()).then(|| format!("One of: {}.", choices.join(", ")));
        let sentences = [Some(shape.description().replace('\n', " ")), one_of, shape.bounds_text()];
        let mut line = String::from("#");
        for word in sentences.iter().flatten().flat_map(|sentence| sentence.split_whitespace()) {
            if line.chars().count() + word.chars().count() >= WIDTH {
                self.line(&std::mem::replace(&mut line, String::from("#")));
            }
            line.push(' ');
            line.push_str(word);
        }
        if line.len() > 1 {
            self.line(&line);
        }
    }

    /// The values of a table first, as everything below a header belongs to it, then its tables and lists of tables.
    fn table(&mut self, table: &Table, shape: Shape<'_>, path: &str) {
        let is_list_of_tables = |inner: Shape<'_>| {
            inner.kind() == Kind::List && inner.items().is_some_and(|items| items.kind() == Kind::Table)
        };
        let known = |key: &str| shape.property(key);
        let is_nested = |inner: Shape<'_>| matches!(inner.kind(), Kind::Table | Kind::Map) || is_list_of_tables(inner);
        for (key, value) in table {
            match known(key) {
                Some(inner) if is_nested(inner) => {}
                Some(inner) => self.value(key, value, inner, path),
                None => self.setting(&assignment(key, value)),
            }
        }
        for (key, value) in table {
            let Some(inner) = known(key).filter(|inner| is_nested(*inner)) else {
                continue;
            };
            let path = super::check::join(path, key);
            match (value, inner.items().filter(|_| is_list_of_tables(inner))) {
                (Value::Table(fields), _) => self.section(fields, inner, &path),
                (Value::Array(entries), Some(items)) => self.list(entries, inner, items, &path),
                _ => {}
            }
        }
    }

    fn value(&mut self, key: &str, value: &Value, shape: Shape<'_>, path: &str) {
        // The keys of the whole file stand apart; those of a section stay together.
        if path.is_empty() {
            self.line("");
        }
        self.describe(shape);
        if shape.is_secret() {
            self.line(&format!(
                "#{key} = \"…\"  (a secret is never printed: write it here again, or keep it elsewhere)"
            ));
        } else {
            self.setting(&assignment(key, value));
        }
    }

    fn section(&mut self, fields: &Table, shape: Shape<'_>, path: &str) {
        self.line("");
        self.describe(shape);
        self.setting(&format!("[{path}]"));
        self.table(fields, shape, path);
    }

    fn list(&mut self, entries: &[Value], shape: Shape<'_>, items: Shape<'_>, path: &str) {
        self.line("");
        self.describe(shape);
        let example = if entries.is_empty() { example(path) } else { None };
        self.is_example = example.is_some();
        for (index, entry) in entries.iter().chain(example.as_ref()).enumerate() {
            let Some(fields) = entry.as_table() else { continue };
            if index > 0 {
                self.line("");
            }
            self.setting(&format!("[[{path}]]"));
            self.table(fields, items, path);
        }
        self.is_example = false;
    }
}

/// `key = value`, with the key quoted where it must be.
fn assignment(key: &str, value: &Value) -> String {
    let mut single = Table::new();
    single.insert(key.to_owned(), value.clone());
    let inline = Value::Table(single).to_string();
    inline.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(&inline).trim().to_owned()
}

/// What an entry of an empty list could be.
fn example(path: &str) -> Option<Value> {
    match path {
        "auth.keys" => Value::try_from(Key {
            kid: Some("main".to_owned()),
            algorithm: Algorithm::HS256,
            secret: None,
            secret_env: Some("CHAT_SECRET".to_owned()),
            file: None,
        })
        .ok(),
        "api.keys" => Value::try_from(ApiKey {
            name: "backend".to_owned(),
            secret: None,
            secret_env: Some("CHAT_SECRET".to_owned()),
            file: None,
        })
        .ok(),
        "rooms" => Value::try_from(RoomClass {
            pattern: "announcements-*".to_owned(),
            history: Some(1_000),
            history_age_seconds_max: Some(7 * 24 * 3600),
            history_bytes_max: Some(1 << 20),
            join: JoinPolicy::Members,
        })
        .ok(),
        "plugins" => Value::try_from(Plugin::new("house-rules", "plugins/house-rules.wasm")).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Secret, Source, load};
    use super::*;

    /// What a printed text loads to, by way of a file as an operator has it.
    fn reload(name: &str, text: &str) -> Config {
        let path = std::env::temp_dir().join(format!("stentor-print-{name}-{}.toml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let environment = vec![("CHAT_SECRET".to_owned(), "Zk3hQ9x2Lr7vB1mT8yWc5NfJ0pXs4GdA".to_owned())];
        let loaded = load(&Source { path: Some(path.clone()), environment });
        std::fs::remove_file(path).unwrap();
        loaded.unwrap().config
    }

    fn key() -> Key {
        Key {
            kid: None,
            algorithm: Algorithm::HS256,
            secret: None,
            secret_env: Some("CHAT_SECRET".to_owned()),
            file: None,
        }
    }

    fn assert_same(one: &Config, other: &Config) {
        assert_eq!(serde_json::to_value(one).unwrap(), serde_json::to_value(other).unwrap());
    }

    #[test]
    fn a_printed_configuration_loads_again() {
        let mut config = Config::default();
        config.auth.keys.push(key());
        assert_same(&reload("default", &print(&config)), &config);

        let development = Config::development();
        assert_same(&reload("development", &print(&development)), &development);

        config.rooms = vec![
            RoomClass {
                pattern: "a-*".into(),
                history: None,
                history_age_seconds_max: None,
                history_bytes_max: Some(5),
                join: JoinPolicy::Open,
            },
            RoomClass {
                pattern: "\"b\"\n*".into(),
                history: Some(0),
                history_age_seconds_max: None,
                history_bytes_max: None,
                join: JoinPolicy::Members,
            },
        ];
        config.plugins = development.plugins;
        let odd = serde_json::json!({ "a b": "two\nlines", "nested": { "list": [1, 2.5, { "x.y": true }] }, "Ä\"": "\u{7f}'" });
        config.plugins[0].config = odd.as_object().unwrap().clone();
        config.proxy.trusted = vec!["10.0.0.0/8".parse().unwrap()];
        assert_same(&reload("full", &print(&config)), &config);
    }

    #[test]
    fn the_examples_of_empty_lists_are_good() {
        let mut config = Config::default();
        config.auth.keys.push(key());
        let text = print(&config);
        let without_plugin: String = text.split("#[[plugins]]").next().unwrap().lines().map(uncomment).collect();
        assert_eq!(reload("rooms", &without_plugin).rooms.len(), 1);

        let keys: String =
            print(&Config::default()).split("#[[rooms]]").next().unwrap().lines().map(uncomment).collect();
        assert_eq!(reload("keys", &keys).auth.keys.len(), 1);
    }

    fn uncomment(line: &str) -> String {
        let setting = line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line);
        format!("{setting}\n")
    }

    #[test]
    fn no_secret_is_printed() {
        let mut config = Config::default();
        let secret = Secret::new("Zk3hQ9x2Lr7vB1mT8yWc5NfJ0pXs4GdA");
        config.auth.keys.push(Key { secret: Some(secret), secret_env: None, ..key() });
        let text = print(&config);
        assert!(!text.contains("Zk3h"), "{text}");
        assert!(text.contains("\n#secret = \"…\"  (a secret is never printed"), "{text}");
    }

    #[test]
    fn every_key_is_there_with_its_description() {
        let text = print(&Config::default());
        let schema = schema();
        for path in Shape::of(&schema).paths() {
            let key = path.rsplit('.').next().unwrap();
            let is_there = text.contains(&format!("\n{key} = ")) || text.contains(&format!("[{path}]"));
            assert!(is_there, "{path}");
        }
        assert!(
            text.contains(
                "# Requests a second of one connection, as a long-term rate.\nrequests_per_second_max = 50\n"
            )
        );
    }
}
