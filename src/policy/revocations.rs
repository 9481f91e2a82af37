//! Tokens that are refused although they are good: what the application has taken back before its time.
//!
//! Looked up in memory, bounded, and only for as long as a token that is meant could still be good. Whoever judges a token
//! asks here last, whatever said yes to it.

use std::collections::HashMap;

use parking_lot::RwLock;

use super::identity::Identity;
use crate::ids::UserId;
use crate::message::Timestamp;

/// Revocations that hold at once.
const REVOCATIONS_MAX: usize = 100_000;

/// Which tokens are meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Revoked {
    /// All of a user's that were issued until now.
    User(UserId),
    /// The one with this `jti`.
    Token(Box<str>),
}

/// There are as many revocations as there may be, and none of them has expired.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

/// Until when a revocation holds, and until when it did before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prolonged {
    /// Now.
    pub until: Timestamp,
    /// Before, if it did.
    pub before: Option<Timestamp>,
}

#[derive(Clone, Copy)]
struct Revocation {
    at: Timestamp,
    until: Timestamp,
}

/// All revocations that hold.
#[derive(Default)]
pub struct Revocations(RwLock<HashMap<Revoked, Revocation>>);

impl Revocations {
    /// Refuses these tokens from now on, until the last of them has expired.
    ///
    /// # Errors
    ///
    /// When there is no room for another revocation.
    pub fn revoke(&self, what: Revoked, until: Timestamp, now: Timestamp) -> Result<Prolonged, Full> {
        let mut revoked = self.0.write();
        if revoked.len() >= REVOCATIONS_MAX && !revoked.contains_key(&what) {
            revoked.retain(|_, revocation| revocation.until > now);
            if revoked.len() >= REVOCATIONS_MAX {
                return Err(Full);
            }
        }
        let before = revoked.get(&what).map(|before| before.until);
        let until = before.map_or(until, |before| before.max(until));
        revoked.insert(what, Revocation { at: now, until });
        Ok(Prolonged { until, before })
    }

    /// Takes up a revocation of an earlier process.
    pub fn restore(&self, what: Revoked, at: Timestamp, until: Timestamp) {
        let mut revoked = self.0.write();
        let revocation = revoked.entry(what).or_insert(Revocation { at, until });
        *revocation = Revocation { at: revocation.at.max(at), until: revocation.until.max(until) };
    }

    /// Whether the token that this identity comes from was revoked.
    pub fn is_revoked(&self, identity: &Identity, now: Timestamp) -> bool {
        let revoked = self.0.read();
        if revoked.is_empty() {
            return false;
        }
        let holds = |what: &Revoked| revoked.get(what).filter(|revocation| revocation.until > now);
        let token = identity.token_id.clone().map(Revoked::Token);
        if token.is_some_and(|token| holds(&token).is_some()) {
            return true;
        }
        // A token that does not say when it was issued may be as old as any. One of the same second may be, too.
        holds(&Revoked::User(identity.user.clone()))
            .is_some_and(|revocation| identity.issued_at.is_none_or(|issued_at| issued_at <= revocation.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(user: &str, token_id: Option<&str>, issued_at: Option<Timestamp>) -> Identity {
        let user = UserId::parse(user).unwrap();
        Identity {
            user,
            expires_at: None,
            attributes: std::sync::Arc::default(),
            token_id: token_id.map(Box::from),
            issued_at,
        }
    }

    #[test]
    fn what_is_revoked_is_refused_until_it_would_have_expired() {
        let revocations = Revocations::default();
        let ann = UserId::parse("ann").unwrap();
        revocations.revoke(Revoked::User(ann), 100, 10).unwrap();
        revocations.revoke(Revoked::Token("t1".into()), 50, 10).unwrap();
        for (user, token_id, issued_at, now, expected) in [
            ("ann", None, None, 20, true),
            ("ann", None, Some(10), 20, true),
            ("ann", None, Some(11), 20, false),
            ("ann", None, None, 100, false),
            ("bob", None, None, 20, false),
            ("bob", Some("t1"), Some(30), 20, true),
            ("bob", Some("t2"), None, 20, false),
            ("bob", Some("t1"), None, 50, false),
        ] {
            let identity = identity(user, token_id, issued_at);
            assert_eq!(revocations.is_revoked(&identity, now), expected, "{identity:?} at {now}");
        }
    }

    #[test]
    fn there_is_a_bound_and_what_has_expired_gives_way() {
        let revocations = Revocations::default();
        let token = |number: usize| Revoked::Token(number.to_string().into());
        for number in 0..REVOCATIONS_MAX {
            assert_eq!(revocations.revoke(token(number), 50, 10), Ok(Prolonged { until: 50, before: None }));
        }
        assert_eq!(revocations.revoke(token(REVOCATIONS_MAX), 90, 10), Err(Full));
        assert_eq!(revocations.revoke(token(0), 90, 10), Ok(Prolonged { until: 90, before: Some(50) }));
        assert_eq!(revocations.revoke(token(0), 70, 10), Ok(Prolonged { until: 90, before: Some(90) }));
        revocations.revoke(token(REVOCATIONS_MAX), 90, 60).unwrap();
        assert!(revocations.is_revoked(&identity("x", Some("0"), None), 60), "the later end counts");
    }
}
