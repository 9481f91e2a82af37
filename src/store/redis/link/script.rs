//! A Lua script, which the server knows by the hash of its text.

use std::sync::OnceLock;

use sha1::{Digest as _, Sha1};

/// A script. One text is one `static`.
#[derive(Debug)]
pub struct Script {
    name: &'static str,
    source: &'static str,
    sha1: OnceLock<String>,
}

impl Script {
    /// A script under a name for people.
    pub const fn new(name: &'static str, source: &'static str) -> Self {
        Self { name, source, sha1: OnceLock::new() }
    }

    /// What people call it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its text.
    pub fn source(&self) -> &'static str {
        self.source
    }

    /// What the server calls it.
    pub fn sha1(&self) -> &str {
        self.sha1.get_or_init(|| Sha1::digest(self.source).iter().map(|byte| format!("{byte:02x}")).collect())
    }
}
