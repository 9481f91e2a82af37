//! The environment laid over the file: `STENTOR__SECTION__KEY` for every key, and S1's variables under their own names.
//!
//! A variable's text is read by the type that the schema has at its key. An empty variable counts as unset, as compose
//! files and charts often leave them so. Nothing here judges a value beyond its type.

use std::net::SocketAddr;

use super::check::{Origin, Problem, join, nearest};
use super::schema::{Kind, Shape};
use super::tree::{Content, Entry, Node, Place, parse_value};
use super::{Config, development};

/// What the names of our own variables begin with. The doubled underscore keeps them apart from the `STENTOR_…` variables
/// that Kubernetes sets for a service of that name.
pub(super) const PREFIX: &str = "STENTOR__";

const NO_REDIS: &str = "the Redis engine is not in this version, which keeps everything in one process";

/// The variables that are set, by name.
pub(super) struct Variables<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Variables<'a> {
    pub(super) fn new(environment: &'a [(String, String)]) -> Self {
        let mut set: Vec<_> = environment
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        // A section's variable comes before those of its keys, so that the finer one has the last word.
        set.sort_unstable_by_key(|(name, _)| (name.matches("__").count(), *name));
        Self(set)
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(set, _)| *set == name).map(|(_, value)| *value)
    }

    /// Whether the environment says anything about a section.
    pub(super) fn names_section(&self, section: &str) -> bool {
        let name = variable_of(section);
        self.0
            .iter()
            .any(|(set, _)| set.strip_prefix(&name).is_some_and(|rest| rest.is_empty() || rest.starts_with("__")))
    }
}

/// The variable that stands for a key.
pub(super) fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// What the overlay found.
#[derive(Default)]
pub(super) struct Overlaid {
    pub(super) problems: Vec<Problem>,
    pub(super) notes: Vec<String>,
}

/// Lays the variables over the tree.
pub(super) fn overlay(root: &mut Node, variables: &Variables<'_>, shape: Shape<'_>) -> Overlaid {
    let mut overlaid = Overlaid::default();
    for (name, value) in &variables.0 {
        let problem = match name.strip_prefix(PREFIX) {
            Some(rest) => set_key(root, shape, (name, rest), value).err(),
            None => refuse_redis(name, value, &mut overlaid.notes),
        };
        overlaid.problems.extend(problem);
        overlaid.notes.extend(note_single_underscore(name, shape));
    }
    overlaid.problems.extend(set_port(root, variables, &mut overlaid.notes).err());
    set_development_origins(root);
    if let Some(secret) = variables.get("JWT_SECRET") {
        push(root, &["auth", "keys"], secret_key(secret));
    }
    if let Some(url) = variables.get("FRONTEND_URL") {
        let place = Place::variable("FRONTEND_URL");
        push(root, &["allowed_origins"], Node::text(url.strip_suffix('/').unwrap_or(url), &place));
    }
    overlaid.problems.extend(refuse_non_utf8(variables));
    overlaid
}

fn push(root: &mut Node, path: &[&str], node: Node) {
    if let Some(list) = root.get_or_insert(path, &node.place.clone(), Node::list) {
        list.push(node);
    }
}

fn secret_key(secret: &str) -> Node {
    let key = serde_json::json!({ "algorithm": "HS256", "secret": secret });
    Node::from_json(key, &Place::variable("JWT_SECRET"))
}

/// Sets one key from its variable.
fn set_key(root: &mut Node, shape: Shape<'_>, (name, rest): (&str, &str), value: &str) -> Result<(), Problem> {
    let place = Place::variable(name);
    let lowered = rest.to_lowercase();
    let path: Vec<&str> = lowered.split("__").collect();
    let key = path.join(".");
    if path.first() == Some(&"redis") {
        return Err(Problem::at(&place, key, NO_REDIS).suggest("unset it".to_owned()));
    }
    let mut at = shape;
    for segment in &path {
        let Some(inner) = at.property(segment) else {
            return Err(unknown_variable(&place, &key, at, shape));
        };
        at = inner;
    }
    if rest.to_uppercase() != rest {
        let meant = format!("did you mean {}?", variable_of(&key));
        return Err(Problem::at(&place, key, "variables are written in upper case").suggest(meant));
    }
    let node = read_value(value, at, &place, &key)?;
    if let Some(parent) = path.split_last().and_then(|(_, sections)| root.get_or_insert(sections, &place, Node::table))
    {
        merge(parent, path.last().copied().unwrap_or_default(), node);
    }
    Ok(())
}

/// A table is merged key by key; anything else replaces what was there.
fn merge(parent: &mut Node, key: &str, node: Node) {
    let Some(entries) = parent.entries_mut() else { return };
    let place = node.place.clone();
    let there = entries.get_mut(key).map(|entry| &mut entry.node).filter(|there| is_table(there));
    match (there, node.content) {
        (Some(there), Content::Table(fields)) => {
            for (field, entry) in fields {
                merge(there, &field, entry.node);
            }
        }
        (_, content) => {
            let node = Node { content, place: place.clone() };
            entries.insert(key.to_owned(), Entry { key_place: place, node });
        }
    }
}

fn is_table(node: &Node) -> bool {
    matches!(node.content, Content::Table(_))
}

fn unknown_variable(place: &Place, key: &str, at: Shape<'_>, root: Shape<'_>) -> Problem {
    if at.kind() == Kind::List {
        let list = key.split('.').scan(String::new(), |path, segment| {
            *path = join(path, segment);
            Some(path.clone())
        });
        let whole = list.filter(|path| root.paths().contains(path)).last().unwrap_or_default();
        let suggestion = format!("set the whole list with {}", variable_of(&whole));
        return Problem::at(place, key, "a list's entries have no variables of their own").suggest(suggestion);
    }
    let paths = root.paths();
    let last = key.rsplit('.').next().unwrap_or_default();
    let same_name = paths.iter().find(|path| path.rsplit('.').next() == Some(last)).map(String::as_str);
    let meant = nearest(key, paths.iter().map(String::as_str)).or(same_name);
    let suggestion = meant.map(|meant| format!("did you mean {}?", variable_of(meant)));
    Problem::at(place, key, "unknown key").suggest(suggestion)
}

/// Reads a variable's text by the type of its key.
fn read_value(text: &str, shape: Shape<'_>, place: &Place, key: &str) -> Result<Node, Problem> {
    let kind = shape.kind();
    if kind == Kind::Text {
        return Ok(Node::text(text, place));
    }
    let (wanted, suggestion) = match kind {
        Kind::Integer => ("an integer", None),
        Kind::Boolean => ("true or false", None),
        Kind::List if shape.items().is_some_and(|items| items.kind() == Kind::Text) => {
            ("a list in TOML syntax", Some(format!("write [{text:?}]")))
        }
        Kind::List => ("a list in TOML syntax", Some("write a list such as [{ … }]".to_owned())),
        _ => ("a table in TOML syntax", Some("write a table such as { key = value }".to_owned())),
    };
    let found = parse_value(text, place);
    let fits = |node: &Node| match kind {
        Kind::Integer => node.kind_name() == "an integer",
        Kind::Boolean => node.kind_name() == "a boolean",
        Kind::List => node.kind_name() == "a list",
        _ => node.kind_name() == "a table",
    };
    match found {
        Ok(node) if fits(&node) => Ok(node),
        // What a list or a table holds may be a secret, so its text is not repeated.
        Ok(node) => {
            Err(Problem::at(place, key, format!("expected {wanted}, found {}", node.kind_name())).suggest(suggestion))
        }
        Err(_) if matches!(kind, Kind::Integer | Kind::Boolean) => {
            Err(Problem::at(place, key, format!("expected {wanted}, found {text:?}")))
        }
        Err(_) if !text.trim_start().starts_with(['[', '{']) => {
            Err(Problem::at(place, key, format!("expected {wanted}, found a bare text")).suggest(suggestion))
        }
        Err(fault) => Err(Problem::at(place, key, format!("expected {wanted}: {fault}"))),
    }
}

/// `PORT` replaces the port of the listener and leaves its address.
fn set_port(root: &mut Node, variables: &Variables<'_>, notes: &mut Vec<String>) -> Result<(), Problem> {
    let Some(text) = variables.get("PORT") else {
        return Ok(());
    };
    let place = Place::variable("PORT");
    let Ok(port) = text.parse::<u16>() else {
        return Err(Problem::at(&place, "listen", format!("{text:?} is not a port")));
    };
    let Some(mut address) = configured_listen(root) else {
        return Ok(());
    };
    if variables.get("STENTOR__LISTEN").is_some() && address.port() != port {
        notes.push(format!("PORT={port} replaces port {} of STENTOR__LISTEN", address.port()));
    }
    address.set_port(port);
    merge(root, "listen", Node::text(address.to_string(), &place));
    Ok(())
}

/// The client listener's address as far as it is known; nothing when it does not parse, which the checks report.
fn configured_listen(root: &Node) -> Option<SocketAddr> {
    match root.get(&["listen"]) {
        Some(node) => node.as_text()?.parse().ok(),
        None => Some(Config::default().listen),
    }
}

/// A development server serves its own page, so its own address is an allowed origin unless the list was given.
fn set_development_origins(root: &mut Node) {
    let is_development = matches!(root.get(&["development"]), Some(Node { content: Content::Boolean(true), .. }));
    if !is_development || root.get(&["allowed_origins"]).is_some() {
        return;
    }
    let Some(listen) = configured_listen(root) else { return };
    let place = Place::whole(Origin::Default);
    for origin in development::origins(listen.port()) {
        push(root, &["allowed_origins"], Node::text(origin, &place));
    }
}

fn refuse_redis(name: &str, value: &str, notes: &mut Vec<String>) -> Option<Problem> {
    if !["REDIS_HOST", "REDIS_PORT", "REDIS_URL", "REDIS_PASSWORD"].contains(&name) {
        return None;
    }
    // Kubernetes sets REDIS_PORT=tcp://… in every pod beside a service called redis; nobody asked for Redis by that.
    if name == "REDIS_PORT" && value.starts_with("tcp://") {
        notes.push(format!("REDIS_PORT is ignored: it is a service link of Kubernetes; {NO_REDIS}"));
        return None;
    }
    Some(Problem::at(&Place::variable(name), "", NO_REDIS).suggest("unset it".to_owned()))
}

/// Takes a `[redis]` table out of a file's tree.
pub(super) fn refuse_redis_table(root: &mut Node) -> Option<Problem> {
    let entry = root.entries_mut()?.remove("redis")?;
    Some(Problem::at(&entry.key_place, "redis", NO_REDIS).suggest("remove it".to_owned()))
}

/// `STENTOR_LISTEN` does nothing, which is easily overlooked.
fn note_single_underscore(name: &str, shape: Shape<'_>) -> Option<String> {
    let rest = name.strip_prefix("STENTOR_").filter(|rest| !rest.starts_with('_'))?;
    let path =
        shape.paths().into_iter().find(|path| path.replace('.', "_").to_uppercase() == rest.replace("__", "_"))?;
    Some(format!("{name} is not read; did you mean {}?", variable_of(&path)))
}

/// The process replaces bytes that are not UTF-8, and a secret changed so would match no token.
fn refuse_non_utf8(variables: &Variables<'_>) -> Vec<Problem> {
    let is_read = |name: &str| name.starts_with(PREFIX) || ["JWT_SECRET", "FRONTEND_URL", "PORT"].contains(&name);
    variables
        .0
        .iter()
        .filter(|(name, value)| is_read(name) && value.contains('\u{fffd}'))
        .map(|(name, _)| Problem::at(&Place::variable(name), "", "is not valid UTF-8"))
        .collect()
}
