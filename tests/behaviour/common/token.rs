//! Tokens of any kind, good and bad.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

/// The secret that the servers of these tests know.
pub(crate) const SECRET: &str = "the secret that only our own tests sign with";

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Seconds since the Unix epoch.
pub(crate) fn now_seconds() -> u64 {
    now_ms() / 1000
}

/// A token in the making: header and claims are any JSON.
#[derive(Clone)]
pub(crate) struct Token {
    header: Value,
    claims: Value,
}

impl Token {
    /// A good HS256 token of a user, for an hour.
    pub(crate) fn of(user: &str) -> Self {
        let (header, claims) =
            (json!({"alg": "HS256", "typ": "JWT"}), json!({"sub": user, "exp": now_seconds() + 3600}));
        Self { header, claims }
    }

    /// Sets a claim.
    pub(crate) fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims[name] = value.into();
        self
    }

    /// Takes a claim away.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.claims.as_object_mut().unwrap().remove(name);
        self
    }

    /// Sets a header field.
    pub(crate) fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header[name] = value.into();
        self
    }

    /// Lets the token expire so many milliseconds from now. `exp` may have a fraction.
    pub(crate) fn expires_in_ms(self, milliseconds: i64) -> Self {
        let at = now_ms().checked_add_signed(milliseconds).unwrap();
        self.claim("exp", at as f64 / 1000.0)
    }

    /// What is signed.
    fn message(&self) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}", part(&self.header), part(&self.claims))
    }

    /// The token, signed with the tests' secret.
    pub(crate) fn sign(&self) -> String {
        self.sign_with(&EncodingKey::from_secret(SECRET.as_bytes()), Algorithm::HS256)
    }

    /// The token, signed with any key. What the header says of the algorithm is left as it is.
    pub(crate) fn sign_with(&self, key: &EncodingKey, algorithm: Algorithm) -> String {
        let message = self.message();
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap();
        format!("{message}.{signature}")
    }

    /// The token with an empty signature.
    pub(crate) fn unsigned(&self) -> String {
        format!("{}.", self.message())
    }
}
