//! Who may use the server API.

use hyper::HeaderMap;
use hyper::header;

use crate::wire::{ErrorCode, Refusal};

/// Longest key that is looked at, in bytes.
const KEY_BYTES_MAX: usize = 4096;

/// The keys in force. They are never logged: their names are.
#[derive(Default)]
pub struct Keys(Vec<(String, String)>);

impl Keys {
    /// Keys with their names.
    pub fn new(named: Vec<(String, String)>) -> Self {
        Self(named)
    }

    /// Whose request this is.
    pub(super) fn judge(&self, headers: &HeaderMap) -> Result<&str, Refusal> {
        if self.0.is_empty() {
            return Err(Refusal::new(ErrorCode::Forbidden, "the server API is closed: no [[api.keys]] is configured"));
        }
        let refused = |code, message| Err(Refusal::new(code, message));
        let mut credentials = headers.get_all(header::AUTHORIZATION).iter();
        let Some(first) = credentials.next() else {
            return refused(ErrorCode::NotAuthenticated, "send a key: Authorization: Bearer KEY");
        };
        let presented = first.as_bytes();
        let (scheme, key) = presented.split_at_checked("Bearer ".len()).unwrap_or_default();
        if credentials.next().is_some() || !scheme.eq_ignore_ascii_case(b"Bearer ") || key.len() > KEY_BYTES_MAX {
            return refused(ErrorCode::AuthFailed, "send one key: Authorization: Bearer KEY");
        }
        // Every key is compared, each in a time that tells nothing of where it differs.
        let mut found = None;
        for (name, known) in &self.0 {
            if aws_lc_rs::constant_time::verify_slices_are_equal(known.as_bytes(), key).is_ok() {
                found = Some(name.as_str());
            }
        }
        found.map_or_else(|| refused(ErrorCode::AuthFailed, "the key is not acceptable"), Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(values: &[&str]) -> Result<String, &'static str> {
        let keys = Keys::new(vec![("one".into(), "first-key".into()), ("two".into(), "second-key".into())]);
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        keys.judge(&headers).map(str::to_owned).map_err(|refusal| refusal.code.name())
    }

    #[test]
    fn a_key_is_one_of_ours_or_none() {
        assert_eq!(judge(&["Bearer first-key"]), Ok("one".to_owned()));
        assert_eq!(judge(&["bearer second-key"]), Ok("two".to_owned()));
        assert_eq!(judge(&[]), Err("NOT_AUTHENTICATED"));
        let long = format!("Bearer {}", "x".repeat(KEY_BYTES_MAX + 1));
        for bad in
            ["", "Bearer", "Bearer ", "first-key", "Basic first-key", "Bearer first-ke", "Bearer first-keyy", &long]
        {
            assert_eq!(judge(&[bad]), Err("AUTH_FAILED"), "{bad}");
        }
        assert_eq!(judge(&["Bearer first-key", "Bearer first-key"]), Err("AUTH_FAILED"));
        assert_eq!(Keys::default().judge(&HeaderMap::new()).unwrap_err().code, ErrorCode::Forbidden);
    }
}
