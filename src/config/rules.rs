//! The rules that no schema can state: what one key demands of another, and what must exist outside the configuration.
//!
//! Only here are keys known by name. The rules see what the checks of the schema left, so each of them holds its tongue
//! when a value it depends on was already refused.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::check::{Origin, Problem, nearest};
use super::formats::did_you_mean;
use super::jwks::read_jwks;
use super::keys::KeyFault;
use super::tree::{Node, Place};
use super::{Config, Key};

/// What `component` may begin with instead of being a path, and the components that come with the server.
const BUNDLED_PREFIX: &str = "bundled:";
const BUNDLED: [&str; 2] = ["message-policy", "room-acl"];

/// What the rules judge.
pub(super) struct Judged<'a> {
    pub(super) config: &'a Config,
    /// The tree that the configuration was made from; the lists of both have the same entries.
    pub(super) tree: &'a Node,
    /// Where a problem belongs that nothing written is to blame for.
    pub(super) whole: Origin,
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
    /// What was wrong before.
    pub(super) earlier: &'a [Problem],
}

/// Applies every rule.
pub(super) fn judge(judged: &Judged<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    judge_reach(judged, &mut problems);
    judge_keys(judged, &mut problems);
    judge_api_keys(judged, &mut problems);
    judge_jwks(judged, &mut problems);
    judge_rooms(judged, &mut problems);
    judge_plugins(judged, &mut problems);
    judge_bounds(judged, &mut problems);
    problems
}

impl Judged<'_> {
    fn place(&self, path: &[&str]) -> Place {
        self.tree.get(path).map_or(Place::whole(self.whole.clone()), |node| node.place.clone())
    }

    /// Whether nothing at or below these keys was refused before.
    fn is_sound(&self, keys: &[&str]) -> bool {
        let concerns = |problem: &Problem, key: &str| {
            problem.key.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        !self.earlier.iter().any(|problem| keys.iter().any(|key| concerns(problem, key)))
    }

    /// The entries of a list with the paths by which the operator knows them.
    fn entries<'b, T>(
        &'b self,
        path: &'b [&'b str],
        values: &'b [T],
    ) -> impl Iterator<Item = (String, &'b Node, &'b T)> {
        let items = self.tree.get(path).map_or(&[][..], Node::items);
        items.iter().zip(values).map(|(item, value)| (format!("{}[{}]", path.join("."), item.index), &item.node, value))
    }
}

fn place_in(node: &Node, key: &str) -> Place {
    node.get(&[key]).unwrap_or(node).place.clone()
}

/// A development server signs with a key it made itself, so nobody beyond this machine may reach it.
fn judge_reach(judged: &Judged<'_>, problems: &mut Vec<Problem>) {
    let config = judged.config;
    if config.development {
        for (path, address) in [(&["listen"][..], config.listen), (&["admin", "listen"], config.admin.listen)] {
            if !address.ip().to_canonical().is_loopback() {
                let message = format!("a development server listens on loopback addresses only, not on {address}");
                let remedy =
                    "set JWT_SECRET or a key in [[auth.keys]], and development = false, to be reached from elsewhere";
                problems.push(Problem::at(&judged.place(path), path.join("."), message).suggest(remedy.to_owned()));
            }
        }
    } else if config.auth.keys.is_empty() && !config.auth.has_jwks() && judged.is_sound(&["auth", "development"]) {
        let message = "a server needs a key to judge tokens by, unless development = true";
        let remedy = "set JWT_SECRET to at least 32 random bytes (openssl rand -base64 48), or add [[auth.keys]] or auth.jwks_url \
             to the file";
        problems.push(Problem::at(&judged.place(&["auth", "keys"]), "auth.keys", message).suggest(remedy.to_owned()));
    }
    if is_clash(config.listen, config.admin.listen) && judged.is_sound(&["listen", "admin"]) {
        let path = if judged.tree.get(&["admin", "listen"]).is_some() { &["admin", "listen"][..] } else { &["listen"] };
        let message = "listen and admin.listen need different ports";
        problems.push(Problem::at(&judged.place(path), path.join("."), message));
    }
}

/// Whether two listeners would take the same port of the same address. Port 0 is any free one.
fn is_clash(one: SocketAddr, other: SocketAddr) -> bool {
    let overlaps = |left: IpAddr, right: IpAddr| left == right || left.is_unspecified() || right.is_unspecified();
    one.port() == other.port() && one.port() != 0 && overlaps(one.ip(), other.ip())
}

fn judge_keys(judged: &Judged<'_>, problems: &mut Vec<Problem>) {
    let mut named = HashMap::new();
    for (path, node, key) in judged.entries(&["auth", "keys"], &judged.config.auth.keys) {
        if let Err(fault) = key.material_from(judged.variable) {
            let field = field_to_blame(key, &fault);
            let full = if field.is_empty() { path.clone() } else { format!("{path}.{field}") };
            problems.push(Problem::at(&place_in(node, field), full, fault.to_string()).suggest(fault.remedy()));
        }
        let Some(kid) = &key.kid else { continue };
        if let Some(first) = named.insert((kid, format!("{:?}", key.algorithm)), path.clone()) {
            let message = format!("{kid:?} with {:?} is already the key id of {first}", key.algorithm);
            problems.push(Problem::at(&place_in(node, "kid"), format!("{path}.kid"), message));
        }
    }
}

fn judge_api_keys(judged: &Judged<'_>, problems: &mut Vec<Problem>) {
    let mut named = HashMap::new();
    for (path, node, api_key) in judged.entries(&["api", "keys"], &judged.config.api.keys) {
        let key = api_key.as_key();
        if let Err(fault) = key.material_from(judged.variable) {
            let field = field_to_blame(&key, &fault);
            let full = if field.is_empty() { path.clone() } else { format!("{path}.{field}") };
            problems.push(Problem::at(&place_in(node, field), full, fault.to_string()).suggest(fault.remedy()));
        }
        if let Some(first) = named.insert(&api_key.name, path.clone()) {
            let message = format!("{:?} is already the name of {first}", api_key.name);
            problems.push(Problem::at(&place_in(node, "name"), format!("{path}.name"), message));
        }
    }
}

fn judge_jwks(judged: &Judged<'_>, problems: &mut Vec<Problem>) {
    let auth = &judged.config.auth;
    if let Some(fault) = auth.jwks_file().and_then(|path| read_jwks(path).err()) {
        let place = judged.place(&["auth", "jwks_file"]);
        problems.push(Problem::at(&place, "auth.jwks_file", fault.to_string()).suggest(fault.remedy()));
    }
    for algorithm in auth.jwks_algorithms.iter().filter(|algorithm| algorithm.is_symmetric()) {
        let message = format!("{algorithm:?} is not for published keys: whoever reads one could sign with it");
        let remedy = "give the secret in [[auth.keys]]".to_owned();
        let place = judged.place(&["auth", "jwks_algorithms"]);
        problems.push(Problem::at(&place, "auth.jwks_algorithms", message).suggest(remedy));
    }
    if !auth.jwks_ca_file.as_os_str().is_empty() && auth.jwks_url.is_empty() && judged.is_sound(&["auth.jwks_url"]) {
        let place = judged.place(&["auth", "jwks_ca_file"]);
        problems.push(Problem::at(&place, "auth.jwks_ca_file", "means nothing without jwks_url"));
    }
}

fn field_to_blame(key: &Key, fault: &KeyFault) -> &'static str {
    match fault {
        KeyFault::Sources(_) => "",
        _ if key.secret.is_some() => "secret",
        _ if key.secret_env.is_some() => "secret_env",
        _ => "file",
    }
}

fn judge_rooms(judged: &Judged<'_>, problems: &mut Vec<Problem>) {
    let mut patterns = HashMap::new();
    for (path, node, class) in judged.entries(&["rooms"], &judged.config.rooms) {
        if let Some(first) = patterns.get(&class.pattern) {
            let message = format!("{:?} is already the pattern of {first}, which decides", class.pattern);
            problems.push(Problem::at(&place_in(node, "pattern"), format!("{path}.pattern"), message));
        } else {
            patterns.insert(&class.pattern, path);
        }
    }
}

fn judge_plugins(judged: &Judged<'_>, problems: &mut Vec<Problem>) {
    let mut names = HashMap::new();
    for (path, node, plugin) in judged.entries(&["plugins"], &judged.config.plugins) {
        if let Some(first) = names.insert(&plugin.name, path.clone()) {
            let message = format!("{:?} is already the name of {first}", plugin.name);
            problems.push(Problem::at(&place_in(node, "name"), format!("{path}.name"), message));
        }
        if let Some((message, suggestion)) = component_fault(&plugin.component) {
            let place = place_in(node, "component");
            problems.push(Problem::at(&place, format!("{path}.component"), message).suggest(suggestion));
        }
    }
}

fn component_fault(component: &str) -> Option<(String, Option<String>)> {
    if component == super::BUILTIN_JWT {
        return None;
    }
    if let Some(name) = component.strip_prefix(BUNDLED_PREFIX) {
        let known = BUNDLED.map(|known| format!("{BUNDLED_PREFIX}{known}"));
        if BUNDLED.contains(&name) {
            return None;
        }
        let suggestion = match nearest(name, BUNDLED.into_iter()) {
            Some(meant) => did_you_mean(&format!("{BUNDLED_PREFIX}{meant}")),
            None => format!("bundled are: {}", known.join(", ")),
        };
        return Some((format!("no plugin {name:?} comes with the server"), Some(suggestion)));
    }
    let path = Path::new(component);
    if path.is_file() {
        return None;
    }
    let suggestion = if BUNDLED.contains(&component) {
        Some(did_you_mean(&format!("{BUNDLED_PREFIX}{component}")))
    } else {
        path.is_relative().then(|| "a relative path starts at the working directory".to_owned())
    };
    let message = if path.is_dir() { "is a directory, not a component" } else { "there is no such file" };
    Some((format!("{component:?}: {message}"), suggestion))
}

/// A message that no outbox can hold would close every connection that it is delivered to.
fn judge_bounds(judged: &Judged<'_>, problems: &mut Vec<Problem>) {
    let limits = &judged.config.limits;
    let keys = ["limits.message_bytes_max", "limits.outbox_bytes_max"];
    if limits.message_bytes_max <= limits.outbox_bytes_max || !judged.is_sound(&keys) {
        return;
    }
    let written = ["message_bytes_max", "outbox_bytes_max"]
        .into_iter()
        .find(|key| judged.tree.get(&["limits", key]).is_some())
        .unwrap_or("message_bytes_max");
    let message = format!(
        "a message of message_bytes_max = {} would not fit into outbox_bytes_max = {}",
        limits.message_bytes_max, limits.outbox_bytes_max
    );
    let place = judged.place(&["limits", written]);
    problems
        .push(Problem::at(&place, format!("limits.{written}"), message).suggest("raise outbox_bytes_max".to_owned()));
}
