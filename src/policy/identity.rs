//! Who a token speaks for, and what else it says of them.
//!
//! What it says becomes attributes: names with texts, which is what plugins are given. They are all there, or there is no
//! identity. A list that was cut short would let in whom a plugin keeps out by an attribute, so a token that says too much
//! is refused, and the operator chooses what of it is wanted (`auth.attribute_claims`).

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::ids::UserId;
use crate::message::Timestamp;

/// Attributes of one identity. A plugin is given them with every question.
const ATTRIBUTES_MAX: usize = 64;

/// Bytes of all their names and values.
const ATTRIBUTES_BYTES_MAX: usize = 4 << 10;

/// Claims that mean the same to everyone (RFC 7519 §4.1), and say nothing more of the user.
const REGISTERED_CLAIMS: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];

/// Who a token speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: UserId,
    /// When the token stops speaking.
    pub expires_at: Option<Timestamp>,
    /// What else it says of the user.
    pub attributes: Arc<[Attribute]>,
    /// The token's own name (`jti`), if it has one.
    pub token_id: Option<Box<str>>,
    /// When the token was issued, if it says so.
    pub issued_at: Option<Timestamp>,
}

/// One thing that is known of a user. A name may occur more than once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// The claim's name.
    pub name: Box<str>,
    /// Its value: a text as it is, a number or a boolean as JSON writes it.
    pub value: Box<str>,
}

/// A token says more than an identity has room for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// The attributes that claims make. Only the `wanted` ones are looked at, or all where none is named.
pub(super) fn attributes(
    claims: &Map<String, Value>,
    user_claim: &str,
    wanted: &[String],
) -> Result<Arc<[Attribute]>, TooMany> {
    let is_wanted = |name: &str| {
        let is_private = name != user_claim && !REGISTERED_CLAIMS.contains(&name);
        is_private && (wanted.is_empty() || wanted.iter().any(|wanted| wanted == name))
    };
    let (mut attributes, mut bytes) = (Vec::new(), 0);
    for (name, value) in claims.iter().filter(|(name, _)| is_wanted(name)) {
        for text in value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice).iter().filter_map(text) {
            bytes += name.len() + text.len();
            if attributes.len() == ATTRIBUTES_MAX || bytes > ATTRIBUTES_BYTES_MAX {
                return Err(TooMany);
            }
            attributes.push(Attribute { name: name.as_str().into(), value: text });
        }
    }
    // Most tokens say nothing more, and share the one list that is empty.
    Ok(if attributes.is_empty() { Arc::default() } else { attributes.into() })
}

/// The attributes that a plugin gives someone, if they are not too many and each has a name.
pub(super) fn attributes_from(pairs: impl Iterator<Item = (String, String)>) -> Option<Arc<[Attribute]>> {
    let (mut attributes, mut bytes) = (Vec::new(), 0);
    for (name, value) in pairs {
        bytes += name.len() + value.len();
        if name.is_empty() || attributes.len() == ATTRIBUTES_MAX || bytes > ATTRIBUTES_BYTES_MAX {
            return None;
        }
        attributes.push(Attribute { name: name.into(), value: value.into() });
    }
    Some(if attributes.is_empty() { Arc::default() } else { attributes.into() })
}

/// What can be said in one text. An object cannot, nor a list in a list.
fn text(value: &Value) -> Option<Box<str>> {
    match value {
        Value::String(text) => Some(text.as_str().into()),
        Value::Number(number) => Some(number.to_string().into()),
        Value::Bool(boolean) => Some(boolean.to_string().into()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn attributes_of(claims: &Value, wanted: &[&str]) -> Result<Vec<(String, String)>, TooMany> {
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        let found = attributes(claims.as_object().unwrap(), "userId", &wanted)?;
        Ok(found.iter().map(|found| (found.name.to_string(), found.value.to_string())).collect())
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn private_claims_are_attributes() {
        let claims = json!({
            "iss": "i", "sub": "s", "aud": ["a"], "exp": 1, "nbf": 1, "iat": 1, "jti": "j", "userId": "ann",
            "role": "admin", "level": 7, "ratio": 0.5, "staff": true, "groups": ["a", "b", 3, false],
            "address": {"city": "X"}, "mixed": ["a", {"b": 1}, ["c"], null], "nothing": null, "none": [], "empty": "",
        });
        let expected = [
            ("empty", ""),
            ("groups", "a"),
            ("groups", "b"),
            ("groups", "3"),
            ("groups", "false"),
            ("level", "7"),
            ("mixed", "a"),
            ("ratio", "0.5"),
            ("role", "admin"),
            ("staff", "true"),
        ];
        let mut found = attributes_of(&claims, &[]).unwrap();
        // Of one claim's entries the order is the claim's, of different claims it is anyone's.
        found.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(found, pairs(&expected));
        assert_eq!(attributes_of(&claims, &["role", "iss", "absent"]).unwrap(), pairs(&[("role", "admin")]));
    }

    #[test]
    fn all_are_there_or_none() {
        let entries = |count: usize| json!({"groups": vec!["g"; count], "role": "admin"});
        assert_eq!(attributes_of(&entries(ATTRIBUTES_MAX - 1), &[]).map(|found| found.len()), Ok(ATTRIBUTES_MAX));
        assert_eq!(attributes_of(&entries(ATTRIBUTES_MAX), &[]), Err(TooMany));
        let bytes = |bytes: usize| json!({"role": "x".repeat(bytes - "role".len())});
        assert_eq!(attributes_of(&bytes(ATTRIBUTES_BYTES_MAX), &[]).map(|found| found.len()), Ok(1));
        assert_eq!(attributes_of(&bytes(ATTRIBUTES_BYTES_MAX + 1), &[]), Err(TooMany));
        // What is not wanted takes no room.
        assert_eq!(attributes_of(&entries(ATTRIBUTES_MAX), &["role"]).unwrap(), pairs(&[("role", "admin")]));
    }

    #[test]
    fn nothing_more_to_say_takes_no_memory() {
        let empty = || attributes(json!({"sub": "ann", "exp": 1}).as_object().unwrap(), "sub", &[]).unwrap();
        assert!(Arc::ptr_eq(&empty(), &empty()));
    }
}
