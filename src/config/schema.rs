//! The JSON Schema of the configuration, and the questions that the checks ask of it.
//!
//! schemars derives the schema from the structs, so a key, its type and its bounds are written once. Nothing here knows
//! any key by name. The texts that Rust parses further (addresses, networks, origins) are told apart by `format`, which
//! `formats` judges.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::Config;

/// The JSON Schema of `stentor.toml`, with descriptions and defaults.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Config);
    schema.insert("title".to_owned(), Value::from("Stentor configuration"));
    schema.to_value()
}

/// Declares the schema of a text with a further grammar. It is inlined, as the type exists for its schema alone.
macro_rules! text_schema {
    ($(#[$meta:meta])* $name:ident, $($schema:tt)*) => {
        $(#[$meta])*
        pub(super) struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($($schema)*)
            }
        }
    };
}

text_schema!(
    /// An IP address and a port.
    SocketAddressText,
    { "type": "string", "format": "socket-address" }
);
text_schema!(
    /// An IP network in CIDR notation.
    NetworkText,
    { "type": "string", "format": "network" }
);
text_schema!(
    /// An origin as a browser sends it.
    OriginText,
    { "type": "string", "format": "origin" }
);
text_schema!(
    /// An address where an issuer publishes its keys, or nothing.
    JwksUrlText,
    { "type": "string", "format": "jwks-url" }
);
text_schema!(
    /// A name that is safe in metrics and log lines.
    PluginNameText,
    { "type": "string", "format": "plugin-name", "pattern": "^[A-Za-z0-9_-]{1,64}$" }
);

/// What kind of value the schema wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    Integer,
    Text,
    List,
    /// A table with known keys.
    Table,
    /// A table whose keys are not ours.
    Map,
    /// Anything that JSON can say.
    Free,
}

/// One place in the schema.
#[derive(Clone, Copy)]
pub(super) struct Shape<'a> {
    root: &'a Value,
    /// As the parent states it: its description and its bounds.
    stated: &'a Value,
    /// With references followed: its type.
    target: &'a Value,
}

impl<'a> Shape<'a> {
    pub(super) fn of(root: &'a Value) -> Self {
        Self { root, stated: root, target: root }
    }

    fn at(self, stated: &'a Value) -> Self {
        let optional = |options: &'a Value| {
            options.as_array()?.iter().find(|option| option.get("type").and_then(Value::as_str) != Some("null"))
        };
        let inner = stated.get("anyOf").and_then(optional).unwrap_or(stated);
        let target = inner
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|reference| self.root.pointer(reference.trim_start_matches('#')))
            .unwrap_or(inner);
        Self { root: self.root, stated, target }
    }

    pub(super) fn kind(self) -> Kind {
        if !self.choices().is_empty() {
            return Kind::Text;
        }
        let named = match self.target.get("type") {
            Some(Value::Array(types)) => types.first().and_then(Value::as_str),
            Some(single) => single.as_str(),
            None => None,
        };
        match named {
            Some("boolean") => Kind::Boolean,
            Some("integer") => Kind::Integer,
            Some("string") => Kind::Text,
            Some("array") => Kind::List,
            Some("object") if self.target.get("properties").is_some() => Kind::Table,
            Some("object") => Kind::Map,
            _ => Kind::Free,
        }
    }

    fn look_up(self, name: &str) -> Option<&'a Value> {
        self.stated.get(name).or_else(|| self.target.get(name))
    }

    pub(super) fn description(self) -> &'a str {
        self.look_up("description").and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether the value must never be shown.
    pub(super) fn is_secret(self) -> bool {
        self.look_up("writeOnly").and_then(Value::as_bool).unwrap_or_default()
    }

    pub(super) fn format(self) -> &'a str {
        self.look_up("format").and_then(Value::as_str).unwrap_or_default()
    }

    /// The least and the greatest integer. TOML has no integers beyond 64 signed bits, whatever the struct could hold.
    pub(super) fn range(self) -> (i128, i128) {
        let bound = |name| self.look_up(name).and_then(Value::as_number).and_then(|number| number.as_i128());
        let type_max = match self.format() {
            "uint8" => u8::MAX.into(),
            "uint16" => u16::MAX.into(),
            "uint32" => u32::MAX.into(),
            _ => i64::MAX.into(),
        };
        (bound("minimum").unwrap_or(i64::MIN.into()), bound("maximum").unwrap_or(type_max).min(type_max))
    }

    /// The bounds that the struct states beyond those of its type, for people.
    pub(super) fn bounds_text(self) -> Option<String> {
        if self.kind() != Kind::Integer {
            return None;
        }
        let (min, max) = self.range();
        match (min > 0, self.look_up("maximum").is_some()) {
            (true, true) => Some(format!("From {min} to {max}.")),
            (true, false) => Some(format!("At least {min}.")),
            (false, true) => Some(format!("At most {max}.")),
            (false, false) => None,
        }
    }

    pub(super) fn items_max(self) -> Option<u64> {
        self.look_up("maxItems").and_then(Value::as_u64)
    }

    pub(super) fn length_min(self) -> u64 {
        self.look_up("minLength").and_then(Value::as_u64).unwrap_or_default()
    }

    /// The values of an enumeration; empty when it is none.
    pub(super) fn choices(self) -> Vec<&'a str> {
        let documented = self.target.get("oneOf").and_then(Value::as_array).into_iter().flatten();
        let plain = self.target.get("enum").and_then(Value::as_array).into_iter().flatten();
        documented
            .flat_map(|choice| {
                let grouped = choice.get("enum").and_then(Value::as_array).into_iter().flatten();
                choice.get("const").into_iter().chain(grouped)
            })
            .chain(plain)
            .filter_map(Value::as_str)
            .collect()
    }

    pub(super) fn items(self) -> Option<Self> {
        self.target.get("items").map(|items| self.at(items))
    }

    pub(super) fn property(self, key: &str) -> Option<Self> {
        self.target.get("properties")?.get(key).map(|property| self.at(property))
    }

    pub(super) fn keys(self) -> impl Iterator<Item = &'a str> {
        self.target
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(|all| all.keys().map(String::as_str))
    }

    pub(super) fn required(self) -> impl Iterator<Item = &'a str> {
        self.target.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    /// The names of all keys below this one, with the tables that they are in; tables in lists are left out.
    pub(super) fn paths(self) -> Vec<String> {
        let mut paths = Vec::new();
        for key in self.keys() {
            paths.push(key.to_owned());
            if let Some(inner) = self.property(key).filter(|inner| inner.kind() == Kind::Table) {
                paths.extend(inner.paths().iter().map(|path| format!("{key}.{path}")));
            }
        }
        paths
    }
}
