//! `stentor check`: everything that would keep a server from starting, without starting one.
//!
//! What makes a plugin or a published key good is not known here: whoever composes the program passes that check in.

use std::fmt::Write as _;

use super::{ConfigPath, Failure, write_out};
use crate::config::{Config, Loaded, Problem};

/// Does what a server does before it serves, and reports what keeps it from that.
pub type StartCheck = fn(&Config) -> Vec<Problem>;

pub(crate) fn run(path: &ConfigPath, check_start: StartCheck) -> Result<(), Failure> {
    let loaded = path.load()?;
    let problems = check_start(&loaded.config);
    if !problems.is_empty() {
        return Err(Failure::Configuration(problems));
    }
    write_out(&summary(&loaded))
}

fn summary(loaded: &Loaded) -> String {
    let config = &loaded.config;
    let file = loaded.file.as_ref().map_or("none".to_owned(), |path| path.display().to_string());
    let published = config.auth.has_jwks().then(|| "published keys".to_owned());
    let keys: Vec<_> = config.auth.keys.iter().map(|key| format!("{:?}", key.algorithm)).chain(published).collect();
    let keys = if keys.is_empty() { "development key".to_owned() } else { keys.join(", ") };
    let plugins = list_or_none(config.plugins.iter().map(|plugin| plugin.name.as_str()));
    let mut text = String::from("configuration is good\n");
    for (name, value) in [
        ("file", file),
        ("server", if config.development { "development" } else { "production" }.to_owned()),
        ("listen", format!("{}, admin {}", config.listen, config.admin.listen)),
        ("origins", list_or_none(config.allowed_origins.iter().map(String::as_str))),
        ("keys", keys),
        ("rooms", format!("{} class(es)", config.rooms.len())),
        ("plugins", plugins),
    ] {
        // Writing to a string cannot fail.
        writeln!(text, "  {name:<8} {value}").ok();
    }
    for note in &loaded.notes {
        writeln!(text, "warning: {note}").ok();
    }
    text
}

fn list_or_none<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
