//! Links, and where they may lead.
//!
//! A link is what the usual clients make one of: `scheme://…`, whatever the scheme, and `www.…`. Bare names such as
//! `example.com` are none, because nothing tells them from a full stop without a space behind it.
//!
//! Reading the host out of a link is where such filters are led astray, so whatever is not plainly an allowed host is
//! refused: names before an `@`, back slashes, and characters that browsers turn into others do not help.

use crate::json::find;
use crate::policy::Refusal;

/// The rules about links.
pub(crate) struct Links {
    pub(crate) allow: bool,
    /// The hosts allowed, with all that is under them; empty: all.
    pub(crate) hosts: Vec<String>,
    /// 0: any number.
    pub(crate) per_message_max: usize,
}

impl Default for Links {
    fn default() -> Self {
        Self {
            allow: true,
            hosts: Vec::new(),
            per_message_max: 0,
        }
    }
}

impl Links {
    /// `count` is the number of links in the message so far.
    pub(crate) fn check(&self, text: &str, count: &mut usize) -> Result<(), Refusal> {
        if self.allow && self.hosts.is_empty() && self.per_message_max == 0 {
            return Ok(());
        }
        for host in (Hosts { text, at: 0 }) {
            if !self.allow || !self.leads_to_allowed(host) {
                return Err(Refusal::LinkNotAllowed);
            }
            *count = count.saturating_add(1);
            if self.per_message_max > 0 && *count > self.per_message_max {
                return Err(Refusal::TooManyLinks);
            }
        }
        Ok(())
    }

    fn leads_to_allowed(&self, host: &str) -> bool {
        if self.hosts.is_empty() {
            return true;
        }
        if !is_host(host) {
            return false;
        }
        let host = host.to_lowercase();
        let under = |parent: &str| {
            host.strip_suffix(parent)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        self.hosts.iter().any(|allowed| under(allowed))
    }
}

/// Whether a text is the name of a host, and nothing but that.
pub(crate) fn is_host(host: &str) -> bool {
    !host.is_empty()
        && host.split('.').all(|label| !label.is_empty())
        && host
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '-' | '.' | '_'))
}

/// The hosts of the links in a text: what stands where a host should, which is not always one.
struct Hosts<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Iterator for Hosts<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let bytes = self.text.as_bytes();
        loop {
            let sign = find(bytes, self.at, b':', b'.')?;
            self.at = sign + 1;
            let Some(begin) = link_at(bytes, sign) else { continue };
            let rest = self.text.get(begin..)?;
            let authority = rest.split(ends_authority).next().unwrap_or_default();
            if authority.is_empty() && rest.chars().next().is_none_or(|c| !matches!(c, '/' | '\\')) {
                continue;
            }
            self.at = begin + authority.len();
            let host = host_of(authority);
            // "www." alone is an abbreviation, not a link.
            if bytes.get(sign) == Some(&b'.') && host.len() <= "www.".len() {
                continue;
            }
            return Some(host);
        }
    }
}

/// Where the host begins, if the colon or full stop at `sign` belongs to the beginning of a link.
fn link_at(bytes: &[u8], sign: usize) -> Option<usize> {
    let before = |distance: usize| sign.checked_sub(distance).and_then(|at| bytes.get(at));
    if bytes.get(sign) == Some(&b':') {
        let slashes = bytes
            .get(sign + 1..sign + 3)?
            .iter()
            .all(|byte| matches!(byte, b'/' | b'\\'));
        let scheme = before(1).is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        return (slashes && scheme).then_some(sign + 3);
    }
    let begin = sign.checked_sub(3)?;
    let www = bytes.get(begin..sign)?.eq_ignore_ascii_case(b"www");
    let starts = before(4).is_none_or(|byte| !byte.is_ascii_alphanumeric());
    (www && starts).then_some(begin)
}

fn ends_authority(c: char) -> bool {
    matches!(c, '/' | '?' | '#' | '\\' | '"' | '<' | '>' | '`') || c.is_whitespace() || c.is_control()
}

fn host_of(authority: &str) -> &str {
    // A name and password may stand before the host: it is what follows the last `@` that counts.
    let host = authority.rsplit('@').next().unwrap_or_default();
    // The sentence around the link may go on right behind it.
    let host = host.trim_end_matches(['.', ',', ';', ':', '!', '\'', ')', ']', '}', '*', '_', '~', '|']);
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name.strip_suffix('.').unwrap_or(name),
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(text: &str) -> Vec<&str> {
        Hosts { text, at: 0 }.collect()
    }

    fn only(allowed: &[&str]) -> Links {
        Links {
            hosts: allowed.iter().map(|host| (*host).to_owned()).collect(),
            ..Links::default()
        }
    }

    #[test]
    fn finds_links() {
        assert_eq!(hosts("see https://example.com/a?b#c."), ["example.com"]);
        assert_eq!(
            hosts("HTTP://Example.COM:8080, www.example.org!"),
            ["Example.COM", "www.example.org"]
        );
        assert_eq!(hosts("(https://example.com) [x](ftp://a.b)"), ["example.com", "a.b"]);
        assert_eq!(
            hosts("https://www.example.com/www.other.org"),
            ["www.example.com", "www.other.org"]
        );
        assert_eq!(hosts("file:///etc/passwd"), [""]);
        for none in [
            "",
            "a: b",
            "see: //x",
            "://x",
            "www.",
            "www...",
            "awww.x.y",
            "http://",
            "12:30",
            "a.b",
            "http:// x",
        ] {
            assert_eq!(hosts(none), [""; 0], "{none}");
        }
    }

    #[test]
    fn allowed_hosts_and_what_is_under_them() {
        let links = only(&["example.com", "bücher.example"]);
        for good in [
            "https://example.com",
            "https://EXAMPLE.com.",
            "http://a.b.example.com:80/x",
            "www.example.com",
            "https://user@example.com/",
            "https://BÜCHER.example",
            "no link at all",
        ] {
            assert_eq!(links.check(good, &mut 0), Ok(()), "{good}");
        }
        for bad in [
            "https://example.org",
            "https://badexample.com",
            "https://example.com.evil.org",
            "https://example.com@evil.org",
            "https://example.com:x@evil.org/",
            "https://evil.org\\@example.com",
            "https:\\\\evil.org",
            "https://evil.org/@example.com",
            "https://evil.org#example.com",
            "https://evil.org?.example.com",
            "https://evil%2eorg.example.com",
            "https://example.com!.evil.org",
            "https://example.com。evil.org",
            "https:///evil.org",
            "https://.example.com",
            "https://[::1]/",
            "www.evil.org",
            "x www.evil.org",
            "ok https://example.com but http://evil.org",
        ] {
            assert_eq!(links.check(bad, &mut 0), Err(Refusal::LinkNotAllowed), "{bad}");
        }
    }

    #[test]
    fn none_or_few() {
        let none = Links {
            allow: false,
            ..Links::default()
        };
        assert_eq!(none.check("plain", &mut 0), Ok(()));
        assert_eq!(none.check("www.example.com", &mut 0), Err(Refusal::LinkNotAllowed));
        let few = Links {
            per_message_max: 1,
            ..Links::default()
        };
        assert_eq!(few.check("http://a.b", &mut 0), Ok(()));
        assert_eq!(few.check("http://a.b http://a.b", &mut 0), Err(Refusal::TooManyLinks));
    }
}
