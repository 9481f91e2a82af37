//! The keys that an issuer publishes: what is in force, and what replaces it.
//!
//! A set is parsed beside the old one and put in its place whole, so whoever judges a token sees the one or the other
//! and waits for neither. What cannot be used replaces nothing: an issuer that is away, or answers nonsense, leaves
//! everyone with the keys they had. Where the texts come from is not known here.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use parking_lot::RwLock;

use super::jwk::{self, JwksFault, KeySet};
use super::jwt::{Key, KeyError};
use super::refresh::Refresh;
use crate::config;

/// Where a set comes from. Each has its own, and all of them are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// `jwks_file`.
    File,
    /// `jwks_url`.
    Url,
}

/// A set with the text it was made from.
#[derive(Clone, Default)]
struct Set {
    text: Arc<str>,
    keys: Arc<KeySet>,
}

/// All sets at one time.
#[derive(Clone, Default)]
pub(super) struct Sets {
    file: Set,
    url: Set,
}

impl Sets {
    /// Their keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        [&self.file, &self.url].into_iter().flat_map(|set| &set.keys.keys)
    }

    /// How many keys were published. A key for several algorithms is one.
    pub(super) fn published(&self) -> usize {
        self.file.keys.published + self.url.keys.published
    }

    fn of(&self, source: Source) -> &Set {
        match source {
            Source::File => &self.file,
            Source::Url => &self.url,
        }
    }

    fn of_mut(&mut self, source: Source) -> &mut Set {
        match source {
            Source::File => &mut self.file,
            Source::Url => &mut self.url,
        }
    }
}

/// What is in force.
pub(super) struct Published {
    sets: RwLock<Arc<Sets>>,
    file: Option<PathBuf>,
    url: String,
    algorithms: Vec<Algorithm>,
    /// When it is fetched again.
    pub(super) refresh: Refresh,
}

impl Published {
    /// What the configuration names. The file is read at once; the address is for later.
    pub(super) fn new(auth: &config::Auth, algorithms: Vec<Algorithm>) -> Result<Self, KeyError> {
        let floor = Duration::from_secs(auth.jwks_refetch_seconds_min);
        let refresh = Refresh::new(floor, !auth.jwks_url.is_empty());
        let file = auth.jwks_file().map(Path::to_owned);
        let published = Self { sets: RwLock::default(), file, url: auth.jwks_url.clone(), algorithms, refresh };
        published.read_file().transpose()?;
        Ok(published)
    }

    /// What is in force now.
    pub(super) fn keys(&self) -> Arc<Sets> {
        Arc::clone(&self.sets.read())
    }

    /// Takes over what was fetched from the same address, so that an issuer may be away while the configuration changes.
    pub(super) fn inherit(&self, before: &Self) {
        let text = Arc::clone(&before.keys().of(Source::Url).text);
        if self.url == before.url && !text.is_empty() {
            // What this configuration has no use for is not taken over.
            let _unusable = self.replace(Source::Url, &text);
        }
    }

    /// Reads the file, if there is one. Returns whether it differs from what it was.
    pub(super) fn read_file(&self) -> Option<Result<bool, KeyError>> {
        let text = config::read_jwks(self.file.as_ref()?).map_err(KeyError::FileUnreadable);
        Some(text.and_then(|text| self.replace(Source::File, &text).map_err(KeyError::FileUnusable)))
    }

    /// Puts a source's new set in the place of its old one. Returns whether they differ.
    pub(super) fn replace(&self, source: Source, text: &str) -> Result<bool, JwksFault> {
        if !text.is_empty() && *self.keys().of(source).text == *text {
            return Ok(false);
        }
        let set = Set { text: text.into(), keys: Arc::new(jwk::parse(text, &self.algorithms)?) };
        let mut sets = self.sets.write();
        let mut changed = Sets::clone(&sets);
        *changed.of_mut(source) = set;
        *sets = Arc::new(changed);
        Ok(true)
    }
}
