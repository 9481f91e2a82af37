//! Signing tokens: for `stentor token`, the demo page and the benchmark.
//!
//! It signs with what the server verifies by, so it needs a secret that does both. Nothing here judges tokens.

use std::time::{Duration, SystemTime};

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Map, Value};

use crate::config::{Algorithm, Config, DevelopmentKeyError, Key, KeyFault, Secret, development_key};

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// Only public keys are configured.
    #[error(
        "cannot sign: only public keys are configured, and a public key verifies alone; sign with the private key where \
         your users log in, or add a key with algorithm = \"HS256\" for trying"
    )]
    OnlyPublicKeys,
    /// A claim that signing sets itself.
    #[error("the claim {0:?} is set by the user and the time to live")]
    ReservedClaim(String),
    /// The token would expire after the end of time.
    #[error("the time to live is too long")]
    TooLong,
    /// The configured secret cannot be read.
    #[error(transparent)]
    Key(#[from] KeyFault),
    /// The development key cannot be read or made.
    #[error(transparent)]
    DevelopmentKey(#[from] DevelopmentKeyError),
    /// The signature failed.
    #[error("cannot sign: {0}")]
    Signature(#[from] jsonwebtoken::errors::Error),
}

/// A token that a server with this configuration accepts, with further claims.
///
/// # Errors
/// When there is no secret to sign with, or a claim is one that this sets itself.
pub fn sign(
    config: &Config,
    user: &str,
    ttl: Duration,
    mut claims: Map<String, Value>,
) -> Result<String, SigningError> {
    let (key_id, algorithm, secret) = signing_key(config)?;
    let user_claim = &config.auth.user_claim;
    if let Some(reserved) = [user_claim, "iat", "exp"].into_iter().find(|name| claims.contains_key(*name)) {
        return Err(SigningError::ReservedClaim(reserved.to_owned()));
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let expiry = now.checked_add(ttl.as_secs()).filter(|expiry| i64::try_from(*expiry).is_ok());
    claims.insert(user_claim.clone(), Value::from(user));
    claims.insert("iat".to_owned(), Value::from(now));
    claims.insert("exp".to_owned(), Value::from(expiry.ok_or(SigningError::TooLong)?));
    for (claim, accepted) in [("aud", &config.auth.audiences), ("iss", &config.auth.issuers)] {
        if let Some(first) = accepted.first() {
            claims.entry(claim).or_insert_with(|| Value::from(first.as_str()));
        }
    }
    let mut header = Header::new(algorithm);
    header.kid = key_id;
    Ok(jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret.reveal().as_bytes()))?)
}

/// The first configured secret, else the development key.
fn signing_key(config: &Config) -> Result<(Option<String>, jsonwebtoken::Algorithm, Secret), SigningError> {
    let hashed = |key: &Key| match key.algorithm {
        Algorithm::HS256 => Some(jsonwebtoken::Algorithm::HS256),
        Algorithm::HS384 => Some(jsonwebtoken::Algorithm::HS384),
        Algorithm::HS512 => Some(jsonwebtoken::Algorithm::HS512),
        _ => None,
    };
    if let Some((key, algorithm)) = config.auth.keys.iter().find_map(|key| Some((key, hashed(key)?))) {
        return Ok((key.kid.clone(), algorithm, key.material()?));
    }
    if config.auth.keys.is_empty() && config.development {
        return Ok((None, jsonwebtoken::Algorithm::HS256, development_key(config)?));
    }
    Err(SigningError::OnlyPublicKeys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{DecodingKey, Validation};

    const SECRET: &str = "Zk3hQ9x2Lr7vB1mT8yWc5NfJ0pXs4GdA";

    fn key(algorithm: Algorithm, kid: Option<&str>) -> Key {
        Key { kid: kid.map(str::to_owned), algorithm, secret: Some(Secret::new(SECRET)), secret_env: None, file: None }
    }

    #[test]
    fn a_token_is_signed_with_the_first_secret() {
        let mut config = Config::default();
        config.auth.user_claim = "user_id".to_owned();
        config.auth.audiences = vec!["chat".to_owned()];
        config.auth.keys = vec![key(Algorithm::EdDSA, None), key(Algorithm::HS384, Some("k2"))];
        let claims = [("role".to_owned(), Value::from("admin"))].into_iter().collect();
        let token = sign(&config, "ann", Duration::from_secs(60), claims).unwrap();
        let mut validation = Validation::new(jsonwebtoken::Algorithm::HS384);
        validation.set_audience(&["chat"]);
        let decoded =
            jsonwebtoken::decode::<Value>(&token, &DecodingKey::from_secret(SECRET.as_bytes()), &validation).unwrap();
        assert_eq!(decoded.header.kid.as_deref(), Some("k2"));
        assert_eq!(decoded.claims["user_id"], "ann");
        assert_eq!(decoded.claims["role"], "admin");
        let lifetime = decoded.claims["exp"].as_u64().unwrap() - decoded.claims["iat"].as_u64().unwrap();
        assert_eq!(lifetime, 60);
    }

    #[test]
    fn what_cannot_be_signed_is_said() {
        let mut config = Config::default();
        config.auth.keys = vec![key(Algorithm::EdDSA, None)];
        let refused = sign(&config, "ann", Duration::ZERO, Map::new());
        assert!(matches!(refused, Err(SigningError::OnlyPublicKeys)));
        config.auth.keys = vec![key(Algorithm::HS256, None)];
        let claims = [("sub".to_owned(), Value::from("bob"))].into_iter().collect();
        assert!(matches!(sign(&config, "ann", Duration::ZERO, claims), Err(SigningError::ReservedClaim(_))));
    }
}
