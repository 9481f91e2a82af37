//! Texts with a grammar of their own: addresses, networks, origins and names, told apart by the schema's `format`.
//!
//! Each refusal says what to write instead where that can be guessed. Nothing here knows which key a text belongs to.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// Why a text is refused, and what to write instead.
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) suggestion: Option<String>,
}

fn fault(message: String, suggestion: impl Into<Option<String>>) -> Option<Fault> {
    Some(Fault { message, suggestion: suggestion.into() })
}

/// What is wrong with a text of the given format; nothing when it is good or the format is not a text's.
pub(super) fn judge(format: &str, text: &str) -> Option<Fault> {
    match format {
        "socket-address" => judge_socket_address(text),
        "network" => judge_network(text),
        "origin" => judge_origin(text),
        "jwks-url" => judge_jwks_url(text),
        "plugin-name" => judge_plugin_name(text),
        _ => None,
    }
}

fn judge_socket_address(text: &str) -> Option<Fault> {
    if text.parse::<SocketAddr>().is_ok() {
        return None;
    }
    let port_of = |rest: &str| rest.parse::<u16>().ok();
    let meant = if let Some(port) = text.strip_prefix("localhost:").and_then(port_of) {
        Some(format!("127.0.0.1:{port}"))
    } else if let Some(port) = text.strip_prefix(':').or_else(|| text.strip_prefix("*:")).and_then(port_of) {
        Some(format!("0.0.0.0:{port}"))
    } else if let Some(port) = port_of(text) {
        Some(format!("127.0.0.1:{port}"))
    } else {
        text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 3001).to_string())
    };
    let suggestion = match meant {
        Some(meant) => did_you_mean(&meant),
        None => "write an IP address and a port, such as \"127.0.0.1:3001\"".to_owned(),
    };
    fault(format!("{text:?} is not an address with a port"), suggestion)
}

fn judge_network(text: &str) -> Option<Fault> {
    if text.parse::<IpNet>().is_ok() {
        return None;
    }
    let suggestion = match text.parse::<IpAddr>() {
        Ok(address) => did_you_mean(&IpNet::from(address).to_string()),
        Err(_) => "write an address and a prefix length, such as \"10.0.0.0/8\"".to_owned(),
    };
    fault(format!("{text:?} is not a network"), suggestion)
}

fn judge_plugin_name(text: &str) -> Option<Fault> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if (1..=64).contains(&text.len()) && text.bytes().all(is_allowed) {
        return None;
    }
    fault(format!("{text:?} is not a name: 1 to 64 letters, digits, \"-\" and \"_\""), None)
}

/// Browsers send an origin in one spelling: lower case, no default port, nothing after the port. Any other spelling would
/// never match, so it is refused with the one that will.
fn judge_origin(text: &str) -> Option<Fault> {
    if text.contains('*') {
        return fault(
            format!("{text:?} is not an origin; there are no wildcards, as any site could then act for its visitors"),
            "list each origin, such as \"https://chat.example.com\"".to_owned(),
        );
    }
    let example = || "write scheme://host[:port], such as \"https://chat.example.com\"".to_owned();
    let Some((scheme, rest)) = text.split_once("://") else {
        let looks_like_host = text.starts_with("localhost") || text.contains('.');
        let guess = looks_like_host.then(|| origin_parts("https", text)).flatten();
        return fault(format!("{text:?} is not an origin"), guess.map_or_else(example, |origin| did_you_mean(&origin)));
    };
    match origin_parts(scheme, rest) {
        Some(origin) if origin == text => None,
        Some(origin) => {
            let message = if rest.contains(['/', '?', '#']) {
                format!("{text:?} is not an origin, which has no path")
            } else {
                format!("{text:?} is not the way browsers write that origin")
            };
            fault(message, did_you_mean(&origin))
        }
        None => fault(format!("{text:?} is not an origin"), example()),
    }
}

/// Whoever can change what this address answers can log in as anyone, so nobody may stand in between: TLS, or a host
/// that is this machine. What is before an `@` would be a secret in every log line with the address.
fn judge_jwks_url(text: &str) -> Option<Fault> {
    if text.is_empty() {
        return None;
    }
    let example = "write https://host[:port]/path, such as \"https://id.example.com/.well-known/jwks.json\"".to_owned();
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return fault("an address with a name or a password in it is not fetched".to_owned(), example);
    }
    let origin = origin_parts(scheme, authority).unwrap_or_default();
    let is_address = rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    match origin.split_once("://") {
        Some(("https", _)) if is_address => None,
        Some(("http", host)) if is_address && is_this_machine(host) => None,
        Some(("http", _)) if is_address => fault(
            format!("{text:?} is not fetched: without TLS anyone on the way could put in keys of their own"),
            did_you_mean(&format!("https://{rest}")),
        ),
        _ => fault(format!("{text:?} is not an address that keys are fetched from"), example),
    }
}

/// Whether an origin's host, with or without a port, can be no other machine.
fn is_this_machine(host: &str) -> bool {
    let name = host.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or(host, |(name, _)| name);
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The origin as a browser writes it, when the parts can be one.
fn origin_parts(scheme: &str, rest: &str) -> Option<String> {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port.parse::<u16>().ok()?)),
        _ => (authority, None),
    };
    let scheme = scheme.to_ascii_lowercase();
    let host = host.to_ascii_lowercase();
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    let is_host = match host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        }
    };
    let is_default_port = matches!((scheme.as_str(), port), ("http", Some(80)) | ("https", Some(443)));
    let port = port.filter(|_| !is_default_port).map_or(String::new(), |port| format!(":{port}"));
    (is_scheme && is_host).then(|| format!("{scheme}://{host}{port}"))
}

pub(super) fn did_you_mean(meant: &str) -> String {
    format!("did you mean {meant:?}?")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(format: &str, text: &str) -> String {
        judge(format, text).map_or(String::new(), |fault| {
            fault.suggestion.map_or(fault.message.clone(), |suggestion| format!("{}; {suggestion}", fault.message))
        })
    }

    #[test]
    fn origins_are_what_browsers_send() {
        for good in [
            "https://chat.example.com",
            "http://localhost:5173",
            "http://[::1]:8080",
            "capacitor://localhost",
            "chrome-extension://abcdefghijklmnop",
        ] {
            assert_eq!(refusal("origin", good), "");
        }
        for (bad, meant) in [
            ("https://Example.com", "https://example.com"),
            ("https://example.com:443", "https://example.com"),
            ("https://example.com/", "https://example.com"),
            ("https://example.com/app?x", "https://example.com"),
            ("example.com", "https://example.com"),
        ] {
            let text = refusal("origin", bad);
            assert!(text.ends_with(&format!("; did you mean {meant:?}?")), "{text}");
        }
        for bad in ["*", "https://*.example.com", "", "null", "https://", "https://a b", "https://a:x", "https://u@a"] {
            assert!(!refusal("origin", bad).is_empty(), "{bad}");
        }
    }

    #[test]
    fn addresses_are_guessed() {
        assert_eq!(refusal("socket-address", "[::]:3001"), "");
        for (bad, meant) in [
            ("localhost:3001", "127.0.0.1:3001"),
            (":8080", "0.0.0.0:8080"),
            ("8080", "127.0.0.1:8080"),
            ("::1", "[::1]:3001"),
        ] {
            let expected = format!("{bad:?} is not an address with a port; did you mean {meant:?}?");
            assert_eq!(refusal("socket-address", bad), expected);
        }
        assert!(refusal("socket-address", "chat.example.com:80").contains("write an IP address and a port"));
        assert_eq!(refusal("network", "10.0.0.1"), "\"10.0.0.1\" is not a network; did you mean \"10.0.0.1/32\"?");
        assert!(refusal("network", "10.0.0.0/33").contains("such as"));
    }

    #[test]
    fn keys_are_fetched_where_nobody_can_change_them() {
        for good in [
            "",
            "https://id.example.com/.well-known/jwks.json",
            "https://id.example.com:8443/realms/chat/certs?x=1",
            "HTTPS://id.example.com/",
            "https://[2001:db8::1]/keys",
            "http://localhost:8080/keys",
            "http://127.0.0.1/keys",
            "http://127.9.9.9:1/",
            "http://[::1]:8080/keys",
        ] {
            assert_eq!(refusal("jwks-url", good), "", "{good}");
        }
        for bad in [
            "http://id.example.com/keys",
            "http://10.0.0.1/keys",
            "http://localhost.example.com/keys",
            "http://127.0.0.1.example.com/keys",
            "http://[::2]/keys",
        ] {
            let text = refusal("jwks-url", bad);
            assert!(text.contains("without TLS") && text.contains("did you mean \"https://"), "{text}");
        }
        for bad in [
            "id.example.com/keys",
            "https://",
            "https:///keys",
            "ftp://id.example.com/keys",
            "file:///etc/keys",
            "https://a b/keys",
            "https://id.example.com/a b",
            "https://id.example.com/keys#main",
            "https://id.example.com:x/keys",
        ] {
            assert!(refusal("jwks-url", bad).contains("write https://"), "{bad}");
        }
        let text = refusal("jwks-url", "https://chat:hunter2@id.example.com/keys");
        assert!(text.contains("a password") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn plugin_names_are_short_and_plain() {
        assert_eq!(refusal("plugin-name", "message-policy_2"), "");
        for bad in ["", "a b", "ä", &"x".repeat(65)] {
            assert!(!refusal("plugin-name", bad).is_empty());
        }
    }
}
