//! Problems of a configuration, and the checks that the schema alone decides: keys, types, bounds, enumerations, formats.
//!
//! What is wrong is taken out of the tree, so that the rest can still be judged and every problem is reported at once.
//! Nothing here knows a key by name: rules that concern certain keys are in `rules`.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::formats::{self, did_you_mean};
use super::schema::{Kind, Shape};
use super::tree::{Content, Entry, Item, Node, Place};

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A configuration file.
    File(Arc<Path>),
    /// The environment variable of that name.
    Environment(String),
    /// Nowhere: the value is a default, or what is wrong is that something is missing.
    Default,
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file or the variable that is to be changed.
    pub source: Origin,
    /// Line in the file, from 1.
    pub line: Option<u32>,
    /// Column in the line in characters, from 1.
    pub column: Option<u32>,
    /// The key, as `section.key` or `list[0].key`; empty when the problem is not one key's.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub suggestion: Option<String>,
}

impl Problem {
    /// A problem that no single line is to blame for, for example a plugin that does not load.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::at(&Place::whole(Origin::Default), key, message)
    }

    /// The same problem with what to do about it.
    #[must_use]
    pub fn suggest(mut self, suggestion: impl Into<Option<String>>) -> Self {
        self.suggestion = suggestion.into();
        self
    }

    pub(super) fn at(place: &Place, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            source: place.origin.clone(),
            line: place.line,
            column: place.column,
            key: key.into(),
            message: message.into(),
            suggestion: None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = self.key.as_str();
        match &self.source {
            Origin::File(path) => write!(formatter, "{}", path.display())?,
            Origin::Environment(name) => {
                write!(formatter, "{name}")?;
                // A variable that stands for the key says all there is; only a value inside its value needs the path.
                if !name.starts_with(super::environment::PREFIX) || super::environment::variable_of(key) == *name {
                    key = "";
                }
            }
            Origin::Default => formatter.write_str("configuration")?,
        }
        for number in [self.line, self.column].into_iter().flatten() {
            write!(formatter, ":{number}")?;
        }
        if !key.is_empty() {
            write!(formatter, ": {key}")?;
        }
        write!(formatter, ": {}", self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(formatter, "; {suggestion}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// Puts problems in the order in which an operator reads: the file by lines, then the variables by name.
pub(super) fn sort(problems: &mut Vec<Problem>) {
    problems.sort_by(|one, other| {
        let order = |problem: &Problem| (problem.source.clone(), problem.line, problem.column, problem.key.clone());
        order(one).cmp(&order(other))
    });
    problems.dedup();
}

/// Checks a tree against the schema, takes out what is wrong and returns what that was.
pub(super) fn check_tree(root: &mut Node, shape: Shape<'_>) -> Vec<Problem> {
    let mut walk = Walk { paths: shape.paths(), problems: Vec::new() };
    walk.check(root, shape, "");
    walk.problems
}

/// The key that an unknown one stands for, if one is near.
pub(super) fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let unknown = unknown.to_lowercase();
    let sorted = |name: &str| {
        let mut words: Vec<_> = name.split('_').collect();
        words.sort_unstable();
        words.join("_")
    };
    known
        .map(|name| {
            let lowered = name.to_lowercase();
            // `max_connections` is meant as `connections_max`, however far apart the letters are.
            let by_words = if sorted(&lowered) == sorted(&unknown) { 0.99 } else { 0.0 };
            (strsim::jaro_winkler(&unknown, &lowered).max(by_words), name)
        })
        .filter(|(likeness, _)| *likeness >= 0.84)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, name)| name)
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

struct Walk {
    /// All keys with their sections, to find one that was written in the wrong section.
    paths: Vec<String>,
    problems: Vec<Problem>,
}

impl Walk {
    /// Whether the value may stay.
    fn check(&mut self, node: &mut Node, shape: Shape<'_>, key: &str) -> bool {
        let fault = match (shape.kind(), &mut node.content) {
            (Kind::Table, Content::Table(_)) => return self.check_table(node, shape, key),
            (Kind::List, Content::List(items)) => {
                let excess = excess_items(items, shape);
                if let Some(items_shape) = shape.items() {
                    items.retain_mut(|item| self.check(&mut item.node, items_shape, &format!("{key}[{}]", item.index)));
                }
                excess
            }
            (Kind::Integer, Content::Integer(integer)) => judge_range(*integer, shape),
            (Kind::Text, Content::Text(text)) => judge_text(text, shape),
            (Kind::Boolean, Content::Boolean(_)) => None,
            (Kind::Map, Content::Table(_)) | (Kind::Free, _) => judge_free(node),
            (kind, _) => Some(wrong_kind(node, kind, shape, key)),
        };
        let Some((message, suggestion)) = fault else {
            return true;
        };
        self.problems.push(Problem::at(&node.place, key, message).suggest(suggestion));
        false
    }

    fn check_table(&mut self, node: &mut Node, shape: Shape<'_>, path: &str) -> bool {
        let place = node.place.clone();
        let Some(entries) = node.entries_mut() else {
            return false;
        };
        let mut is_whole = true;
        for required in shape.required().filter(|required| !entries.contains_key(*required)) {
            let suggestion = shape
                .property(required)
                .map(|property| property.choices().join(", "))
                .filter(|choices| !choices.is_empty())
                .map(|choices| format!("one of {choices}"));
            self.problems.push(Problem::at(&place, join(path, required), "is missing").suggest(suggestion));
            is_whole = false;
        }
        entries.retain(|key, entry| {
            let full = join(path, key);
            let Some(property) = shape.property(key) else {
                self.report_unknown(key, &full, entry, shape);
                return false;
            };
            let stays = self.check(&mut entry.node, property, &full);
            is_whole &= stays || !shape.required().any(|required| required == key);
            stays
        });
        // A table of a list that lacks what it must have cannot be judged further; its list goes on without it.
        is_whole
    }

    fn report_unknown(&mut self, key: &str, full: &str, entry: &Entry, shape: Shape<'_>) {
        let name_of = |path: &'_ str| path.rsplit('.').next().unwrap_or_default().to_owned();
        let elsewhere = || {
            let names: Vec<_> = self.paths.iter().map(|path| name_of(path)).collect();
            let meant = nearest(key, names.iter().map(String::as_str))?;
            let mut paths = self.paths.iter().filter(|path| name_of(path) == meant);
            paths.next().filter(|_| paths.next().is_none()).map(String::as_str)
        };
        let meant = nearest(key, shape.keys()).filter(|near| *near != key).or_else(elsewhere);
        let suggestion = meant.map(did_you_mean).or_else(|| {
            let known: Vec<_> = shape.keys().collect();
            (known.len() <= 12).then(|| format!("known here: {}", known.join(", ")))
        });
        self.problems.push(Problem::at(&entry.key_place, full, "unknown key").suggest(suggestion));
    }
}

type Fault = Option<(String, Option<String>)>;

fn excess_items(items: &[Item], shape: Shape<'_>) -> Fault {
    let items_max = shape.items_max()?;
    let excess = items.len() as u64 > items_max;
    excess.then(|| (format!("has {} entries, at most {items_max} are allowed", items.len()), None))
}

fn judge_range(integer: i128, shape: Shape<'_>) -> Fault {
    let (min, max) = shape.range();
    if integer < min {
        Some((format!("must be at least {min}, is {integer}"), None))
    } else if integer > max {
        Some((format!("must be at most {max}, is {integer}"), None))
    } else {
        None
    }
}

fn judge_text(text: &str, shape: Shape<'_>) -> Fault {
    let choices = shape.choices();
    if !choices.is_empty() && !choices.contains(&text) {
        let meant = nearest(text, choices.iter().copied()).map(did_you_mean);
        return Some((format!("unknown value {text:?}, known are {}", choices.join(", ")), meant));
    }
    if (text.chars().count() as u64) < shape.length_min() {
        return Some(("must not be empty".to_owned(), None));
    }
    formats::judge(shape.format(), text).map(|fault| (fault.message, fault.suggestion))
}

/// What is passed on as JSON must be something that JSON can say.
fn judge_free(node: &Node) -> Fault {
    match &node.content {
        Content::Float(float) if !float.is_finite() => Some((format!("{float} cannot be passed on as JSON"), None)),
        Content::Integer(integer) if i64::try_from(*integer).is_err() => {
            Some((format!("{integer} does not fit into 64 bits"), None))
        }
        Content::List(items) => items.iter().find_map(|item| judge_free(&item.node)),
        Content::Table(entries) => entries.values().find_map(|entry| judge_free(&entry.node)),
        _ => None,
    }
}

fn wrong_kind(node: &Node, wanted: Kind, shape: Shape<'_>, key: &str) -> (String, Option<String>) {
    let wanted_name = match wanted {
        Kind::Boolean => "a boolean",
        Kind::Integer => "an integer",
        Kind::Text => "a string",
        Kind::List => "a list",
        Kind::Table | Kind::Map => "a table",
        Kind::Free => "a value",
    };
    let list_of = shape.items().map(Shape::kind);
    let suggestion = match (wanted, &node.content) {
        // What was meant as a secret must not end in a log because its quotation marks are missing.
        _ if shape.is_secret() => Some("write it in quotation marks".to_owned()),
        (Kind::Integer, Content::Text(text)) if text.parse::<i64>().is_ok() => {
            Some(format!("write {text} without quotation marks"))
        }
        (Kind::Boolean, Content::Text(text)) if text == "true" || text == "false" => {
            Some(format!("write {text} without quotation marks"))
        }
        (Kind::Boolean, _) => Some("write true or false".to_owned()),
        (Kind::Text, Content::Integer(integer)) => Some(format!("write \"{integer}\"")),
        (Kind::List, Content::Text(text)) if list_of == Some(Kind::Text) => Some(format!("write [{text:?}]")),
        (Kind::List, Content::Table(_)) => Some(format!("write [[{key}]]")),
        _ => None,
    };
    (format!("expected {wanted_name}, found {}", node.kind_name()), suggestion)
}
