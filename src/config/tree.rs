//! The configuration as it was written: values that remember where they came from.
//!
//! TOML files, environment variables and the development configuration all become this tree before anything is judged,
//! so that every problem can name its line or its variable. Nothing here knows a key or the schema.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::check::{Origin, Problem};

/// Where a key or a value was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) origin: Origin,
    pub(super) line: Option<u32>,
    pub(super) column: Option<u32>,
}

impl Place {
    /// A place of which nothing finer than its origin is known.
    pub(super) fn whole(origin: Origin) -> Self {
        Self { origin, line: None, column: None }
    }

    pub(super) fn variable(name: &str) -> Self {
        Self::whole(Origin::Environment(name.to_owned()))
    }
}

/// A value and its place. It may hold a secret, so it has no debug output.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) content: Content,
    pub(super) place: Place,
}

/// What a value is.
#[derive(Clone)]
pub(super) enum Content {
    Boolean(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    Moment(String),
    List(Vec<Item>),
    Table(BTreeMap<String, Entry>),
}

/// A list's value. It keeps its index, as the checks drop the values that are wrong.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) index: usize,
    pub(super) node: Node,
}

/// A table's value, with the place of its key.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key_place: Place,
    pub(super) node: Node,
}

impl Node {
    pub(super) fn table(place: Place) -> Self {
        Self { content: Content::Table(BTreeMap::new()), place }
    }

    pub(super) fn list(place: Place) -> Self {
        Self { content: Content::List(Vec::new()), place }
    }

    pub(super) fn text(text: impl Into<String>, place: &Place) -> Self {
        Self { content: Content::Text(text.into()), place: place.clone() }
    }

    /// A value from JSON, all of it at one place. Null entries vanish.
    pub(super) fn from_json(value: Value, place: &Place) -> Self {
        let content = match value {
            Value::Bool(boolean) => Content::Boolean(boolean),
            Value::Number(number) => match number.as_i128() {
                Some(integer) => Content::Integer(integer),
                None => Content::Float(number.as_f64().unwrap_or_default()),
            },
            Value::String(text) => Content::Text(text),
            Value::Null => Content::Text(String::new()),
            Value::Array(values) => {
                Content::List(numbered(values.into_iter().map(|value| Self::from_json(value, place))))
            }
            Value::Object(fields) => Content::Table(
                fields
                    .into_iter()
                    .filter(|(_, value)| !value.is_null())
                    .map(|(key, value)| (key, Entry { key_place: place.clone(), node: Self::from_json(value, place) }))
                    .collect(),
            ),
        };
        Self { content, place: place.clone() }
    }

    pub(super) fn to_json(&self) -> Value {
        match &self.content {
            Content::Boolean(boolean) => Value::from(*boolean),
            Content::Integer(integer) => i64::try_from(*integer).map_or(Value::Null, Value::from),
            Content::Float(float) => Value::from(*float),
            Content::Text(text) | Content::Moment(text) => Value::from(text.as_str()),
            Content::List(items) => items.iter().map(|item| item.node.to_json()).collect(),
            Content::Table(entries) => {
                Value::Object(entries.iter().map(|(key, entry)| (key.clone(), entry.node.to_json())).collect())
            }
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn entries_mut(&mut self) -> Option<&mut BTreeMap<String, Entry>> {
        match &mut self.content {
            Content::Table(entries) => Some(entries),
            _ => None,
        }
    }

    /// The values of a list; none when it is not one.
    pub(super) fn items(&self) -> &[Item] {
        match &self.content {
            Content::List(items) => items,
            _ => &[],
        }
    }

    /// Appends to a list; a value that is no list is left to the checks.
    pub(super) fn push(&mut self, node: Self) {
        if let Content::List(items) = &mut self.content {
            let index = items.last().map_or(0, |last| last.index + 1);
            items.push(Item { index, node });
        }
    }

    /// The value at a path of keys.
    pub(super) fn get(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| match &node.content {
            Content::Table(entries) => entries.get(*key).map(|entry| &entry.node),
            _ => None,
        })
    }

    /// The value at a path of keys, made by `create` where there is none, with the tables on the way. `None` when
    /// something on the way is not a table; the checks say so.
    pub(super) fn get_or_insert(
        &mut self,
        path: &[&str],
        place: &Place,
        create: fn(Place) -> Self,
    ) -> Option<&mut Self> {
        let Some((first, rest)) = path.split_first() else {
            return Some(self);
        };
        let make = if rest.is_empty() { create } else { Self::table };
        let entry = self
            .entries_mut()?
            .entry((*first).to_owned())
            .or_insert_with(|| Entry { key_place: place.clone(), node: make(place.clone()) });
        entry.node.get_or_insert(rest, place, create)
    }

    /// What it is, with its article, for messages.
    pub(super) fn kind_name(&self) -> &'static str {
        match &self.content {
            Content::Boolean(_) => "a boolean",
            Content::Integer(_) => "an integer",
            Content::Float(_) => "a floating-point number",
            Content::Text(_) => "a string",
            Content::Moment(_) => "a date or time",
            Content::List(_) => "a list",
            Content::Table(_) => "a table",
        }
    }
}

fn numbered(nodes: impl Iterator<Item = Node>) -> Vec<Item> {
    nodes.enumerate().map(|(index, node)| Item { index, node }).collect()
}

/// A file as far as it could be read, with what is wrong in its syntax.
pub(super) struct Parsed {
    pub(super) root: Node,
    pub(super) problems: Vec<Problem>,
}

/// Parses the text of a TOML file.
pub(super) fn parse_file(file: &Arc<Path>, text: &str) -> Parsed {
    let origin = Origin::File(Arc::clone(file));
    let lines = Lines { origin: origin.clone(), text, starts: line_starts(text) };
    let (document, errors) = DeTable::parse_recoverable(text);
    let problems = errors
        .iter()
        .map(|error| {
            let place = error.span().map_or(Place::whole(origin.clone()), |span| lines.place(span.start));
            Problem::at(&place, "", error.message())
        })
        .collect();
    let content = table_content(document.get_ref(), &|offset| lines.place(offset));
    Parsed { root: Node { content, place: Place::whole(origin) }, problems }
}

/// Parses one TOML value, all of it at one place.
pub(super) fn parse_value(text: &str, place: &Place) -> Result<Node, String> {
    match DeValue::parse(text.trim()) {
        Ok(value) => Ok(node(&value, &|_| place.clone())),
        Err(error) => Err(error.message().to_owned()),
    }
}

fn node(value: &Spanned<DeValue<'_>>, place_at: &dyn Fn(usize) -> Place) -> Node {
    let content = match value.get_ref() {
        DeValue::Boolean(boolean) => Content::Boolean(*boolean),
        DeValue::Integer(integer) => Content::Integer(integer_value(integer.as_str(), integer.radix())),
        DeValue::Float(float) => Content::Float(float.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::String(text) => Content::Text(text.clone().into_owned()),
        DeValue::Datetime(moment) => Content::Moment(moment.to_string()),
        DeValue::Array(values) => Content::List(numbered(values.iter().map(|value| node(value, place_at)))),
        DeValue::Table(table) => table_content(table, place_at),
    };
    Node { content, place: place_at(value.span().start) }
}

fn table_content(table: &DeTable<'_>, place_at: &dyn Fn(usize) -> Place) -> Content {
    let entries = table.iter().map(|(key, value)| {
        let entry = Entry { key_place: place_at(key.span().start), node: node(value, place_at) };
        (key.get_ref().clone().into_owned(), entry)
    });
    Content::Table(entries.collect())
}

/// An integer too long for 128 bits becomes the nearest, which every bound refuses as well.
fn integer_value(digits: &str, radix: u32) -> i128 {
    let nearest = if digits.starts_with('-') { i128::MIN } else { i128::MAX };
    i128::from_str_radix(digits, radix).unwrap_or(nearest)
}

/// Turns offsets into lines and columns.
struct Lines<'a> {
    origin: Origin,
    text: &'a str,
    starts: Vec<usize>,
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(offset, _)| offset + 1)).collect()
}

impl Lines<'_> {
    fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let column = self.text.get(start..offset).map(|before| before.chars().count() + 1);
        Place {
            origin: self.origin.clone(),
            line: u32::try_from(line).ok(),
            column: column.and_then(|column| u32::try_from(column).ok()),
        }
    }
}
