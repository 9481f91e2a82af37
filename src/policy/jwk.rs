//! A JSON Web Key Set (RFC 7517): from an issuer's text to the keys that judge tokens.
//!
//! A set holds whatever an issuer publishes, so a key that is not for us (one for encryption, or of an algorithm that
//! is not spoken) is passed over, and so is one that nobody should have published: a secret, a private key, a key that
//! can be guessed. A text that leaves no key at all is no set. Which algorithm a key is for is said by the key or by
//! the operator, and never by a token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::jwt::Key;

/// Keys of one set.
const KEYS_MAX: usize = 100;

/// Bits of an RSA modulus: what the library verifies with, and no less than cannot be factored.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Bytes of an RSA exponent. Nearly all have three; a long one is only there to keep the verifier busy.
const RSA_EXPONENT_BYTES_MAX: usize = 8;

/// Why a text is no set of keys.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum JwksFault {
    /// Not JSON, or other JSON.
    #[error("it is not a JSON Web Key Set: {0}")]
    Malformed(String),
    /// More keys than anyone needs.
    #[error("it has {0} keys, at most {KEYS_MAX} are taken")]
    TooMany(usize),
    /// Nothing in it is a key for tokens.
    #[error("none of its {0} keys can be used")]
    NoKeys(usize),
}

/// The keys of one text.
#[derive(Default)]
pub(super) struct KeySet {
    /// One for each key and algorithm.
    pub(super) keys: Vec<Key>,
    /// How many of the text's keys these are.
    pub(super) published: usize,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

/// A published key, with the fields of all types (RFC 7518 §6).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// What makes a key a private one.
    d: Option<Value>,
}

/// Why a key is passed over.
#[derive(Debug, PartialEq, Eq)]
enum Passed {
    /// It is for something else, which is quite usual.
    NotForUs(&'static str),
    /// It should not be there, or someone believes that it is used.
    Unfit(&'static str),
}

/// Reads a set. Keys that name no algorithm are for those of `algorithms` that their type allows.
pub(super) fn parse(text: &str, algorithms: &[Algorithm]) -> Result<KeySet, JwksFault> {
    let document: Document = serde_json::from_str(text).map_err(|error| JwksFault::Malformed(describe(&error)))?;
    let total = document.keys.len();
    if total > KEYS_MAX {
        return Err(JwksFault::TooMany(total));
    }
    let mut set = KeySet::default();
    for (index, value) in document.keys.into_iter().enumerate() {
        let read = serde_json::from_value::<Jwk>(value).map_err(|_| Passed::Unfit("it is not a key"));
        match read.and_then(|jwk| read_key(&jwk, algorithms)) {
            Ok(keys) => {
                set.keys.extend(keys);
                set.published += 1;
            }
            Err(Passed::NotForUs(reason)) => tracing::debug!(index, reason, "a published key is not for tokens"),
            Err(Passed::Unfit(reason)) => tracing::warn!(index, reason, "a published key is not used"),
        }
    }
    if set.keys.is_empty() { Err(JwksFault::NoKeys(total)) } else { Ok(set) }
}

/// What is wrong with JSON, without any of it: an address may answer with something that is not for a log.
fn describe(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    let what = match error.classify() {
        Category::Data => "there is no list \"keys\" in it",
        Category::Eof => "it is cut short",
        Category::Syntax | Category::Io => "it is not JSON",
    };
    format!("{what} (line {})", error.line())
}

fn read_key(jwk: &Jwk, algorithms: &[Algorithm]) -> Result<Vec<Key>, Passed> {
    if jwk.kty == "oct" {
        return Err(Passed::Unfit("a secret is not published: whoever reads it can sign"));
    }
    if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return Err(Passed::NotForUs("its use is not sig"));
    }
    if jwk.key_ops.as_ref().is_some_and(|operations| !operations.iter().any(|operation| operation == "verify")) {
        return Err(Passed::NotForUs("verify is not among its key_ops"));
    }
    let possible = possible_algorithms(jwk)?;
    let chosen: Vec<Algorithm> = match &jwk.alg {
        Some(named) => possible.iter().copied().filter(|possible| named.parse() == Ok(*possible)).collect(),
        None => possible.iter().copied().filter(|possible| algorithms.contains(possible)).collect(),
    };
    if chosen.is_empty() {
        return Err(match jwk.alg {
            Some(_) => Passed::NotForUs("its algorithm is not spoken, or not its type's"),
            None => Passed::Unfit("it names no algorithm, and jwks_algorithms has none for its type"),
        });
    }
    if jwk.d.is_some() {
        return Err(Passed::Unfit("it is a private key"));
    }
    let decoding = decoding_key(jwk)?;
    let key = |algorithm| Key { kid: jwk.kid.clone(), algorithm, decoding: decoding.clone() };
    Ok(chosen.into_iter().map(key).collect())
}

/// The algorithms that a key's type allows.
fn possible_algorithms(jwk: &Jwk) -> Result<&'static [Algorithm], Passed> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => Ok(&[RS256, RS384, RS512, PS256, PS384, PS512]),
        ("EC", Some("P-256")) => Ok(&[ES256]),
        ("EC", Some("P-384")) => Ok(&[ES384]),
        ("OKP", Some("Ed25519")) => Ok(&[EdDSA]),
        _ => Err(Passed::NotForUs("its type or its curve is not spoken")),
    }
}

fn decoding_key(jwk: &Jwk) -> Result<DecodingKey, Passed> {
    let bytes = |field: &Option<String>| {
        let text = field.as_ref().ok_or(Passed::Unfit("it is not whole"))?;
        BASE64.decode(text).map_err(|_| Passed::Unfit("it is not in base64url"))
    };
    let point = |length: usize| {
        let (x, y) = (bytes(&jwk.x)?, bytes(&jwk.y)?);
        if (x.len(), y.len()) != (length, length) {
            return Err(Passed::Unfit("it is not a point of its curve"));
        }
        // Uncompressed, as SEC 1 has it.
        Ok(DecodingKey::from_ec_der(&[&[4], x.as_slice(), &y].concat()))
    };
    match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => rsa(&bytes(&jwk.n)?, &bytes(&jwk.e)?),
        ("EC", Some("P-256")) => point(32),
        ("EC", _) => point(48),
        _ => match bytes(&jwk.x)? {
            x if x.len() == 32 => Ok(DecodingKey::from_ed_der(&x)),
            _ => Err(Passed::Unfit("it is not a point of its curve")),
        },
    }
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<DecodingKey, Passed> {
    // Some issuers write the byte that keeps a number positive elsewhere; the library takes none.
    let significant = |bytes: &[u8]| bytes.iter().skip_while(|byte| **byte == 0).copied().collect::<Vec<u8>>();
    let (modulus, exponent) = (significant(modulus), significant(exponent));
    let bits = modulus.first().map_or(0, |first| modulus.len() * 8 - first.leading_zeros() as usize);
    if !RSA_BITS.contains(&bits) {
        return Err(Passed::Unfit("its modulus has less than 2048 bits, or more than 8192"));
    }
    if exponent.is_empty() || exponent.len() > RSA_EXPONENT_BYTES_MAX {
        return Err(Passed::Unfit("its exponent is none"));
    }
    Ok(DecodingKey::from_rsa_raw_components(&modulus, &exponent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Keys of RFC 7515 (A.2, A.3) and RFC 8037 (A.2), without names.
    fn rsa_key() -> Value {
        json!({"kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"})
    }

    fn ec_key() -> Value {
        json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"})
    }

    fn ed_key() -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
    }

    fn with(mut key: Value, fields: Value) -> Value {
        key.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        key
    }

    const DEFAULT: [Algorithm; 4] = [Algorithm::RS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];

    fn set(keys: &[Value], algorithms: &[Algorithm]) -> Result<KeySet, JwksFault> {
        parse(&json!({"keys": keys}).to_string(), algorithms)
    }

    fn algorithms_of(key: Value, algorithms: &[Algorithm]) -> Vec<Algorithm> {
        set(&[key], algorithms).map_or(Vec::new(), |set| set.keys.iter().map(|key| key.algorithm).collect())
    }

    #[test]
    fn a_key_is_for_the_algorithm_that_it_names() {
        use Algorithm::{ES256, EdDSA, PS384, RS256};
        for (key, alg, expected) in [
            (rsa_key(), "RS256", vec![RS256]),
            (rsa_key(), "PS384", vec![PS384]),
            (ec_key(), "ES256", vec![ES256]),
            (ed_key(), "EdDSA", vec![EdDSA]),
            // What does not go with its type, or is not known, or is a secret's.
            (rsa_key(), "ES256", vec![]),
            (ec_key(), "ES384", vec![]),
            (ec_key(), "EdDSA", vec![]),
            (rsa_key(), "HS256", vec![]),
            (ed_key(), "HS256", vec![]),
            (rsa_key(), "RSA-OAEP", vec![]),
            (rsa_key(), "none", vec![]),
            (rsa_key(), "", vec![]),
        ] {
            assert_eq!(algorithms_of(with(key, json!({"alg": alg})), &DEFAULT), expected, "{alg}");
        }
    }

    #[test]
    fn a_key_that_names_none_is_for_what_the_operator_says() {
        use Algorithm::{ES256, EdDSA, HS256, PS256, RS256, RS512};
        assert_eq!(algorithms_of(rsa_key(), &DEFAULT), [RS256]);
        assert_eq!(algorithms_of(ec_key(), &DEFAULT), [ES256]);
        assert_eq!(algorithms_of(ed_key(), &DEFAULT), [EdDSA]);
        assert_eq!(algorithms_of(rsa_key(), &[RS512, PS256, ES256]), [RS512, PS256]);
        assert_eq!(algorithms_of(rsa_key(), &[ES256]), []);
        assert_eq!(algorithms_of(rsa_key(), &[]), []);
        assert_eq!(algorithms_of(rsa_key(), &[HS256]), []);
        // What the key says outweighs that.
        assert_eq!(algorithms_of(with(rsa_key(), json!({"alg": "PS256"})), &DEFAULT), [PS256]);
    }

    #[test]
    fn what_is_not_for_tokens_is_passed_over() {
        let long = "A".repeat(2000);
        for unfit in [
            json!({"kty": "oct", "k": "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3JldA", "alg": "HS256"}),
            json!({"kty": "oct", "k": "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3JldA", "alg": "RS256"}),
            with(rsa_key(), json!({"use": "enc"})),
            with(rsa_key(), json!({"key_ops": ["encrypt"]})),
            with(rsa_key(), json!({"d": "AQAB"})),
            with(rsa_key(), json!({"n": "AQAB"})),
            with(rsa_key(), json!({"n": long})),
            with(rsa_key(), json!({"n": "not base64!"})),
            with(rsa_key(), json!({"e": ""})),
            with(rsa_key(), json!({"e": "AAAA"})),
            with(rsa_key(), json!({"e": "AQAAAAAAAAAAAAAB"})),
            with(ec_key(), json!({"x": "AQAB"})),
            with(ec_key(), json!({"crv": "P-384"})),
            with(ec_key(), json!({"crv": "secp256k1"})),
            with(ed_key(), json!({"crv": "X25519"})),
            with(ed_key(), json!({"x": "AQAB"})),
            json!({"kty": "RSA", "e": "AQAB"}),
            json!({"kty": "AKP", "alg": "ML-DSA-44"}),
            json!({"kid": "k"}),
            json!({"kty": 1}),
            json!("key"),
            json!(null),
        ] {
            let text = unfit.to_string();
            assert_eq!(set(std::slice::from_ref(&unfit), &DEFAULT).err(), Some(JwksFault::NoKeys(1)), "{text}");
            // And it does not keep its neighbour from being used.
            let neighbour = with(ed_key(), json!({"kid": "good"}));
            let found = set(&[unfit, neighbour], &DEFAULT).unwrap();
            assert_eq!((found.published, found.keys.len()), (1, 1), "{text}");
            assert_eq!(found.keys[0].kid.as_deref(), Some("good"));
        }
    }

    #[test]
    fn what_an_issuer_says_besides_does_not_matter() {
        let key = with(
            rsa_key(),
            json!({"use": "sig", "key_ops": ["verify", "x"], "kid": "k", "x5c": ["MIIC"], "x5t": "x", "issuer": {"a": 1}}),
        );
        let text = json!({"keys": [key], "issuer": "https://id.example.com"}).to_string();
        assert_eq!(parse(&text, &DEFAULT).unwrap().published, 1);
    }

    #[test]
    fn a_text_that_is_no_set_is_refused() {
        for bad in ["", "{}", "[]", "null", "{\"keys\": {}}", "{\"keys\": [", "<html>sign in first</html>", "keys"] {
            let fault = parse(bad, &DEFAULT).err().unwrap();
            assert!(matches!(fault, JwksFault::Malformed(_)), "{bad}");
            assert!(!fault.to_string().contains("html"), "{fault}");
        }
        assert_eq!(set(&[], &DEFAULT).err(), Some(JwksFault::NoKeys(0)));
        assert_eq!(set(&vec![ed_key(); KEYS_MAX], &DEFAULT).map(|set| set.published).ok(), Some(KEYS_MAX));
        assert_eq!(set(&vec![ed_key(); KEYS_MAX + 1], &DEFAULT).err(), Some(JwksFault::TooMany(KEYS_MAX + 1)));
    }
}
