//! The texts of keys: where they are read from, and whether a text can be the key that it is given as.
//!
//! A weak or misplaced key is the one fault of a configuration that no log would ever show, so it is refused before the
//! server starts. Nothing here judges a token.

use std::path::PathBuf;

use jsonwebtoken::DecodingKey;

use super::{Algorithm, Key, Secret};

/// No signature is stronger than its secret. RFC 7518 §3.2 asks for as many bytes as the hash has, which for HS256 are
/// these; a random secret of that size cannot be guessed with any hash.
pub(super) const SECRET_BYTES_MIN: usize = 32;

/// A key file is a line or a PEM block. Whatever is longer is another file.
const KEY_FILE_BYTES_MAX: u64 = 64 << 10;

/// Why a key cannot be used. No text of a key is ever in it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyFault {
    /// There is no source, or more than one.
    #[error("needs exactly one of secret, secret_env and file, has {0}")]
    Sources(usize),
    /// The variable of `secret_env` is not set.
    #[error("the environment variable {0} is not set")]
    Unset(String),
    /// The key file cannot be read.
    #[error("cannot read the key file {path}: {reason}")]
    Unreadable {
        /// The file as configured.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// A secret could be guessed by trying.
    #[error("a secret for HS algorithms has at least {SECRET_BYTES_MIN} bytes, this has {0}")]
    TooShort(usize),
    /// The secret of some tutorial.
    #[error("the secret is a well-known placeholder, which anyone could sign with")]
    Placeholder,
    /// The secret repeats a few characters.
    #[error("the secret repeats a few characters, so it can be guessed")]
    Monotonous,
    /// A PEM text as an HS secret: everyone who has the public key could sign.
    #[error("a PEM text is not a secret for HS algorithms")]
    PemAsSecret,
    /// A text that is not PEM for an asymmetric algorithm.
    #[error("{0:?} needs a public key in PEM, found a text that is not PEM")]
    NotPem(Algorithm),
    /// `secret` for an asymmetric algorithm.
    #[error("{0:?} needs a public key, which is given by file or secret_env")]
    InlinePublicKey(Algorithm),
    /// A private key, which a server that only verifies must not have.
    #[error("the PEM text is a private key; the server needs the public key alone")]
    PrivateKey,
    /// A PEM text that is no public key for the algorithm.
    #[error("the PEM text is not a public key for {algorithm:?}: {reason}")]
    WrongPem {
        /// The key's algorithm.
        algorithm: Algorithm,
        /// What the parser says.
        reason: String,
    },
}

impl KeyFault {
    /// What to do about it.
    pub(super) fn remedy(&self) -> Option<String> {
        match self {
            Self::TooShort(_) | Self::Placeholder | Self::Monotonous => {
                Some("make one with: openssl rand -base64 48".to_owned())
            }
            Self::PemAsSecret => Some("set the algorithm of the key pair, such as RS256, ES256 or EdDSA".to_owned()),
            Self::PrivateKey => Some("extract it with: openssl pkey -in KEY -pubout".to_owned()),
            Self::Unreadable { path, .. } if path.is_relative() => {
                Some("a relative path starts at the working directory".to_owned())
            }
            _ => None,
        }
    }
}

impl Algorithm {
    /// Whether one secret both signs and verifies.
    pub fn is_symmetric(self) -> bool {
        matches!(self, Self::HS256 | Self::HS384 | Self::HS512)
    }
}

impl Key {
    /// Reads the secret, or the public key in PEM, from where it is kept, and refuses what cannot be that.
    ///
    /// # Errors
    /// The first thing that is wrong with the key.
    pub fn material(&self) -> Result<Secret, KeyFault> {
        self.material_from(&|name| std::env::var(name).ok())
    }

    /// The same with another environment.
    ///
    /// # Errors
    /// The first thing that is wrong with the key.
    pub fn material_from(&self, variable: &dyn Fn(&str) -> Option<String>) -> Result<Secret, KeyFault> {
        let text = match (&self.secret, &self.secret_env, &self.file) {
            (Some(_), None, None) if !self.algorithm.is_symmetric() => {
                return Err(KeyFault::InlinePublicKey(self.algorithm));
            }
            (Some(secret), None, None) => secret.reveal().to_owned(),
            (None, Some(name), None) => {
                variable(name).filter(|text| !text.is_empty()).ok_or_else(|| KeyFault::Unset(name.clone()))?
            }
            (None, None, Some(path)) => read_key_file(path, KEY_FILE_BYTES_MAX)?.trim().to_owned(),
            _ => {
                let sources = [self.secret.is_some(), self.secret_env.is_some(), self.file.is_some()];
                return Err(KeyFault::Sources(sources.into_iter().filter(|given| *given).count()));
            }
        };
        if self.algorithm.is_symmetric() {
            judge_secret(&text)?
        } else {
            judge_pem(self.algorithm, &text)?
        }
        Ok(Secret::new(text))
    }
}

/// Reads a file with keys, whatever they are.
pub(super) fn read_key_file(path: &std::path::Path, bytes_max: u64) -> Result<String, KeyFault> {
    let unreadable = |reason: String| KeyFault::Unreadable { path: path.to_owned(), reason };
    let read = || -> std::io::Result<String> {
        use std::io::Read as _;
        let mut text = String::new();
        std::fs::File::open(path)?.take(bytes_max + 1).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(|error| unreadable(error.to_string()))?;
    if text.len() as u64 > bytes_max {
        return Err(unreadable(format!("longer than {bytes_max} bytes")));
    }
    Ok(text)
}

fn judge_secret(text: &str) -> Result<(), KeyFault> {
    if text.contains("-----BEGIN") {
        return Err(KeyFault::PemAsSecret);
    }
    // The placeholder first: to be told that `changeme` is short would invite `changemechangeme…`.
    if is_placeholder(text) {
        return Err(KeyFault::Placeholder);
    }
    if text.len() < SECRET_BYTES_MIN {
        return Err(KeyFault::TooShort(text.len()));
    }
    // Random digits alone have ten different characters, random hex and base64 more.
    let distinct = text.bytes().collect::<std::collections::BTreeSet<_>>().len();
    if distinct < 7 { Err(KeyFault::Monotonous) } else { Ok(()) }
}

/// Whether a text is, or contains, what documents and templates have where a secret belongs. The longer phrases do not
/// occur by chance in a random text; the short words count only when they are all there is.
fn is_placeholder(text: &str) -> bool {
    const WHOLE: [&str; 14] = [
        "secret",
        "mysecret",
        "jwtsecret",
        "supersecret",
        "topsecret",
        "secretkey",
        "mysecretkey",
        "jwtsecretkey",
        "password",
        "default",
        "example",
        "test",
        "admin",
        "0123456789abcdef0123456789abcdef",
    ];
    const PHRASES: [&str; 17] = [
        "yoursecret",
        "yoursupersecret",
        "yourjwtsecret",
        "yourownsecret",
        "your256bitsecret",
        "yourverysecret",
        "yoursecurekey",
        "changeme",
        "changethis",
        "changeinproduction",
        "pleasechange",
        "replaceme",
        "replacethis",
        "replacewith",
        "placeholder",
        "secretkeyhere",
        "insertsecret",
    ];
    let plain: String =
        text.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect();
    WHOLE.contains(&plain.as_str())
        || PHRASES.iter().any(|phrase| plain.contains(phrase))
        || plain.starts_with("12345678901234567890")
        || plain.starts_with("abcdefghijklmnopqrstuvwxyz")
}

fn judge_pem(algorithm: Algorithm, text: &str) -> Result<(), KeyFault> {
    if !text.contains("-----BEGIN") {
        return Err(KeyFault::NotPem(algorithm));
    }
    if text.contains("PRIVATE KEY-----") {
        return Err(KeyFault::PrivateKey);
    }
    let parsed = match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => DecodingKey::from_ec_pem(text.as_bytes()),
        Algorithm::EdDSA => DecodingKey::from_ed_pem(text.as_bytes()),
        _ => DecodingKey::from_rsa_pem(text.as_bytes()),
    };
    parsed.map(drop).map_err(|error| KeyFault::WrongPem { algorithm, reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "Zk3hQ9x2Lr7vB1mT8yWc5NfJ0pXs4GdA";
    const ED25519: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

    fn key(algorithm: Algorithm, secret: Option<&str>, variable: Option<&str>) -> Key {
        Key {
            kid: None,
            algorithm,
            secret: secret.map(Secret::new),
            secret_env: variable.map(str::to_owned),
            file: None,
        }
    }

    fn from_variable(algorithm: Algorithm, text: &str) -> Result<Secret, KeyFault> {
        key(algorithm, None, Some("K")).material_from(&|name| (name == "K").then(|| text.to_owned()))
    }

    #[test]
    fn weak_secrets_are_refused() {
        for placeholder in [
            "secret",
            "changeme",
            "your-secret-key",
            "Your_Secret_Key_Change_This_In_Production!",
            "your-256-bit-secret",
            "change-me-change-me-change-me-change-me",
            "12345678901234567890123456789012",
            "jwt-secret",
        ] {
            assert_eq!(from_variable(Algorithm::HS256, placeholder), Err(KeyFault::Placeholder), "{placeholder}");
        }
        assert_eq!(from_variable(Algorithm::HS256, "Zk3hQ9x2Lr7v"), Err(KeyFault::TooShort(12)));
        assert_eq!(from_variable(Algorithm::HS512, &"ab".repeat(32)), Err(KeyFault::Monotonous));
        assert_eq!(from_variable(Algorithm::HS256, GOOD).as_ref().map(Secret::reveal), Ok(GOOD));
        let test_secret = "the secret that only our own tests sign with";
        assert!(from_variable(Algorithm::HS256, test_secret).is_ok());
    }

    #[test]
    fn a_pem_text_and_a_secret_are_not_confused() {
        assert_eq!(from_variable(Algorithm::HS256, ED25519), Err(KeyFault::PemAsSecret));
        assert_eq!(from_variable(Algorithm::RS256, GOOD), Err(KeyFault::NotPem(Algorithm::RS256)));
        assert!(from_variable(Algorithm::EdDSA, ED25519).is_ok());
        assert!(matches!(from_variable(Algorithm::ES256, ED25519), Err(KeyFault::WrongPem { .. })));
        let private = ED25519.replace("PUBLIC", "PRIVATE");
        assert_eq!(from_variable(Algorithm::EdDSA, &private), Err(KeyFault::PrivateKey));
        let inline = key(Algorithm::EdDSA, Some(ED25519), None).material_from(&|_| None);
        assert_eq!(inline, Err(KeyFault::InlinePublicKey(Algorithm::EdDSA)));
    }

    #[test]
    fn a_key_has_one_source() {
        assert_eq!(key(Algorithm::HS256, None, None).material_from(&|_| None), Err(KeyFault::Sources(0)));
        let two = key(Algorithm::HS256, Some(GOOD), Some("K")).material_from(&|_| None);
        assert_eq!(two, Err(KeyFault::Sources(2)));
        let unset = key(Algorithm::HS256, None, Some("K")).material_from(&|_| Some(String::new()));
        assert_eq!(unset, Err(KeyFault::Unset("K".to_owned())));
        let absent = Key { file: Some("no/such/file.pem".into()), ..key(Algorithm::EdDSA, None, None) };
        assert!(matches!(absent.material(), Err(KeyFault::Unreadable { .. })));
    }
}
