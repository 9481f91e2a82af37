//! The file with an issuer's published keys: where it is, and its text. What a key in it is worth is `policy`'s to say,
//! which has the same question of keys that come from an address.

use std::path::Path;

use super::Auth;
use super::keys::{KeyFault, read_key_file};

/// Bytes of a JSON Web Key Set, from wherever it comes. A hundred keys with their certificates are less.
pub const JWKS_BYTES_MAX: usize = 256 << 10;

impl Auth {
    /// Whether keys are published somewhere, besides those that are configured one by one.
    pub fn has_jwks(&self) -> bool {
        !self.jwks_url.is_empty() || self.jwks_file().is_some()
    }

    /// The file with published keys, if one is configured.
    pub fn jwks_file(&self) -> Option<&Path> {
        Some(self.jwks_file.as_path()).filter(|path| !path.as_os_str().is_empty())
    }
}

/// The text of a file with published keys.
///
/// # Errors
/// When it cannot be read, or is too long to be one.
pub fn read_jwks(path: &Path) -> Result<String, KeyFault> {
    read_key_file(path, JWKS_BYTES_MAX as u64)
}
