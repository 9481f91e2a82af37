//! JSON Web Tokens: from a token to a user.
//!
//! The algorithm is the key's, never the token's choice. The library checks signatures, audiences and issuers; times
//! are checked here, because `exp` has no leeway and `nbf` and `iat` have one, which the library cannot tell apart.
//! Keys that are configured one by one stay as they are; those of an issuer come and go (`published`).

use std::collections::HashSet;

use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde_json::{Map, Value};
use thiserror::Error;

use super::identity::{Identity, attributes};
use super::jwk::JwksFault;
use super::published::{Published, Source};
use super::refresh::Refresh;
use crate::config;
use crate::ids::{UserId, check_id};
use crate::message::Timestamp;

/// Longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 8 << 10;

/// Why a token is not accepted. The client is told no more than whether it expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// It was good once.
    #[error("the token has expired")]
    Expired,
    /// Not a token, or one of a kind that is not accepted.
    #[error("the token is malformed")]
    Malformed,
    /// No configured key goes with it.
    #[error("the token names no known key or algorithm")]
    UnknownKey,
    /// Signed by someone else, or changed since.
    #[error("the token's signature is not valid")]
    Signature,
    /// A claim is missing or not what it must be.
    #[error("the token's claims are not acceptable")]
    Claims,
    /// It says more of the user than is taken.
    #[error("the token has more private claims than can be attributes: name those that are needed in attribute_claims")]
    TooManyAttributes,
}

impl TokenError {
    /// Every outcome of authentication that is not success.
    pub const ALL: [Self; 6] =
        [Self::Expired, Self::Malformed, Self::UnknownKey, Self::Signature, Self::Claims, Self::TooManyAttributes];

    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "bad_signature",
            Self::Claims => "bad_claims",
            Self::TooManyAttributes => "too_many_attributes",
        }
    }
}

/// Why a configured key cannot be used.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The key's text cannot be had, or is of the wrong kind.
    #[error("auth.keys[{index}]: {source}")]
    Unreadable {
        /// Which key.
        index: usize,
        /// Why.
        source: config::KeyFault,
    },
    /// Not a key for that algorithm.
    #[error("auth.keys[{index}]: not a key for {algorithm:?}: {source}")]
    Unusable {
        /// Which key.
        index: usize,
        /// For what it should be.
        algorithm: config::Algorithm,
        /// Why not.
        source: jsonwebtoken::errors::Error,
    },
    /// The file with published keys cannot be had.
    #[error("auth.jwks_file: {0}")]
    FileUnreadable(config::KeyFault),
    /// The file with published keys is none.
    #[error("auth.jwks_file: {0}")]
    FileUnusable(JwksFault),
}

/// A key and what it is for.
pub(super) struct Key {
    pub(super) kid: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

/// How the key that a token names stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It is there.
    Known,
    /// It may be one that the issuer has published since.
    Unknown,
    /// There is none to look for.
    Nameless,
}

/// Judges tokens.
pub struct Authenticator {
    keys: Vec<Key>,
    published: Option<Published>,
    user_claim: String,
    attribute_claims: Vec<String>,
    require_expiry: bool,
    leeway_seconds: u64,
    audiences: Option<HashSet<String>>,
    issuers: Option<HashSet<String>>,
}

impl Authenticator {
    /// Reads the configured keys, also those in an issuer's file. Those at its address are not fetched here.
    ///
    /// # Errors
    ///
    /// The first key that cannot be used.
    pub fn new(auth: &config::Auth) -> Result<Self, KeyError> {
        let keys = auth.keys.iter().enumerate().map(|(index, key)| read_key(index, key)).collect::<Result<_, _>>()?;
        let set = |list: &[String]| (!list.is_empty()).then(|| list.iter().cloned().collect());
        let algorithms = auth.jwks_algorithms.iter().copied().map(library_algorithm).collect();
        Ok(Self {
            keys,
            published: auth.has_jwks().then(|| Published::new(auth, algorithms)).transpose()?,
            user_claim: auth.user_claim.clone(),
            attribute_claims: auth.attribute_claims.clone(),
            require_expiry: auth.require_expiry,
            leeway_seconds: auth.leeway_seconds,
            audiences: set(&auth.audiences),
            issuers: set(&auth.issuers),
        })
    }

    /// Who a token speaks for, now.
    ///
    /// # Errors
    ///
    /// Why it is not accepted.
    pub fn authenticate(&self, token: &str, now: Timestamp) -> Result<Identity, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Malformed)?;
        // `crit` names extensions that must be understood; none is.
        if header.crit.is_some() {
            return Err(TokenError::Malformed);
        }
        let published = self.published.as_ref().map(Published::keys);
        let keys = || self.keys.iter().chain(published.iter().flat_map(|sets| sets.keys()));
        // A `kid` that no key has is judged like none: the signature decides.
        let known = header.kid.as_deref().filter(|kid| keys().any(|key| key.kid.as_deref() == Some(kid)));
        let mut error = TokenError::UnknownKey;
        for key in keys().filter(|key| key.kid.as_deref() == known && key.algorithm == header.alg) {
            match jsonwebtoken::decode::<Map<String, Value>>(token, &key.decoding, &self.validation(key.algorithm)) {
                Ok(token) => return self.identity(&token.claims, now),
                Err(failure) => error = classify(&failure),
            }
        }
        // If it is nobody's, what is wrong is that the key it names is not here.
        let is_nobodys = error == TokenError::Signature && known.is_none() && header.kid.is_some();
        Err(if is_nobodys { TokenError::UnknownKey } else { error })
    }

    /// Whether a token that was refused as of an unknown key may be good after [`Self::refreshed`]: the key it names is
    /// not known, and a fetch is under way or may begin; or it has become known meanwhile.
    pub fn refresh_may_help(&self, token: &str) -> bool {
        let Some(published) = &self.published else { return false };
        match self.standing(published, token) {
            Standing::Known => true,
            Standing::Unknown => published.refresh.may_help(),
            Standing::Nameless => false,
        }
    }

    /// Waits until published keys were fetched again, for a few seconds at most. All who wait share one fetch. Nobody
    /// waits where none may begin, or for a key that is there.
    pub async fn refreshed(&self, token: &str) {
        if let Some(published) = &self.published
            && self.standing(published, token) == Standing::Unknown
        {
            published.refresh.finished().await;
        }
    }

    fn standing(&self, published: &Published, token: &str) -> Standing {
        let header = Some(token).filter(|token| token.len() <= TOKEN_BYTES_MAX).map(jsonwebtoken::decode_header);
        let Some(Ok(Header { kid: Some(kid), alg, .. })) = header else { return Standing::Nameless };
        let sets = published.keys();
        let of_that_name = || self.keys.iter().chain(sets.keys()).filter(|key| key.kid.as_deref() == Some(&kid));
        if of_that_name().any(|key| key.algorithm == alg) {
            Standing::Known
        } else if of_that_name().next().is_none() {
            Standing::Unknown
        } else {
            // The key is there, and not for that algorithm: a fetch would only bring it again.
            Standing::Nameless
        }
    }

    /// Takes over what was fetched for another configuration, if it is published at the same address.
    pub fn inherit(&self, before: &Self) {
        if let (Some(published), Some(before)) = (&self.published, &before.published) {
            published.inherit(before);
        }
    }

    /// Whether there is any key at all.
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty() || self.published_keys() > 0
    }

    /// How many published keys are in use.
    pub fn published_keys(&self) -> usize {
        self.published.as_ref().map_or(0, |published| published.keys().published())
    }

    /// When published keys are to be fetched, for whoever does it; none where none are published.
    pub fn refresh(&self) -> Option<&Refresh> {
        self.published.as_ref().map(|published| &published.refresh)
    }

    /// Uses the keys of this text from now on, instead of those that came from the issuer's address before. Returns
    /// whether they differ.
    ///
    /// # Errors
    ///
    /// Why the text is no set of keys. Then everything stays as it was.
    pub fn publish(&self, text: &str) -> Result<bool, JwksFault> {
        self.published.as_ref().map_or(Ok(false), |published| published.replace(Source::Url, text))
    }

    /// The same for the file with published keys, if there is one. It is read here, which blocks.
    ///
    /// # Errors
    ///
    /// Why the file cannot be used. Then everything stays as it was.
    pub fn read_published_file(&self) -> Option<Result<bool, KeyError>> {
        self.published.as_ref()?.read_file()
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = self.audiences.is_some();
        validation.aud.clone_from(&self.audiences);
        validation.iss.clone_from(&self.issuers);
        let required = [("aud", self.audiences.is_some()), ("iss", self.issuers.is_some())];
        validation.required_spec_claims =
            required.iter().filter(|(_, wanted)| *wanted).map(|(name, _)| (*name).to_owned()).collect();
        validation
    }

    fn identity(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<Identity, TokenError> {
        let leeway_ms = self.leeway_seconds.saturating_mul(1000);
        let time = |name| claims.get(name).map(|value| milliseconds(value).ok_or(TokenError::Claims)).transpose();
        let expires_at = time("exp")?;
        if expires_at.is_none() && self.require_expiry {
            return Err(TokenError::Claims);
        }
        if expires_at.is_some_and(|expiry| expiry <= now) {
            return Err(TokenError::Expired);
        }
        let issued_at = time("iat")?;
        for not_before in [time("nbf")?, issued_at].into_iter().flatten() {
            if not_before > now.saturating_add(leeway_ms) {
                return Err(TokenError::Claims);
            }
        }
        let user = claims.get(&self.user_claim).and_then(Value::as_str).ok_or(TokenError::Claims)?;
        check_id(user).map_err(|_| TokenError::Claims)?;
        let user_id = UserId::parse(user).map_err(|_| TokenError::Claims)?;
        let attributes =
            attributes(claims, &self.user_claim, &self.attribute_claims).map_err(|_| TokenError::TooManyAttributes)?;
        let token_id = claims.get("jti").and_then(Value::as_str).filter(|id| check_id(id).is_ok()).map(Box::from);
        Ok(Identity { user: user_id, expires_at, attributes, token_id, issued_at })
    }
}

/// A NumericDate as milliseconds. The largest means what it says: longer than anyone will wait.
fn milliseconds(value: &Value) -> Option<Timestamp> {
    match value.as_u64() {
        Some(seconds) => Some(seconds.saturating_mul(1000)),
        None => {
            let seconds = value.as_f64().filter(|seconds| *seconds >= 0.0)?;
            let milliseconds =
                std::time::Duration::try_from_secs_f64(seconds).map_or(u128::MAX, |duration| duration.as_millis());
            Some(Timestamp::try_from(milliseconds).unwrap_or(Timestamp::MAX))
        }
    }
}

fn classify(error: &jsonwebtoken::errors::Error) -> TokenError {
    use jsonwebtoken::errors::ErrorKind;
    match error.kind() {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => TokenError::UnknownKey,
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidIssuer | ErrorKind::InvalidAudience => {
            TokenError::Claims
        }
        _ => TokenError::Malformed,
    }
}

fn library_algorithm(algorithm: config::Algorithm) -> Algorithm {
    match algorithm {
        config::Algorithm::HS256 => Algorithm::HS256,
        config::Algorithm::HS384 => Algorithm::HS384,
        config::Algorithm::HS512 => Algorithm::HS512,
        config::Algorithm::RS256 => Algorithm::RS256,
        config::Algorithm::RS384 => Algorithm::RS384,
        config::Algorithm::RS512 => Algorithm::RS512,
        config::Algorithm::PS256 => Algorithm::PS256,
        config::Algorithm::PS384 => Algorithm::PS384,
        config::Algorithm::PS512 => Algorithm::PS512,
        config::Algorithm::ES256 => Algorithm::ES256,
        config::Algorithm::ES384 => Algorithm::ES384,
        config::Algorithm::EdDSA => Algorithm::EdDSA,
    }
}

fn read_key(index: usize, key: &config::Key) -> Result<Key, KeyError> {
    let material = key.material().map_err(|source| KeyError::Unreadable { index, source })?;
    let text = material.reveal().as_bytes();
    let algorithm = library_algorithm(key.algorithm);
    let decoding = match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => Ok(DecodingKey::from_secret(text)),
        Algorithm::ES256 | Algorithm::ES384 => DecodingKey::from_ec_pem(text),
        Algorithm::EdDSA => DecodingKey::from_ed_pem(text),
        _ => DecodingKey::from_rsa_pem(text),
    };
    let decoding = decoding.map_err(|source| KeyError::Unusable { index, algorithm: key.algorithm, source })?;
    Ok(Key { kid: key.kid.clone(), algorithm, decoding })
}
