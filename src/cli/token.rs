//! `stentor token`: a token for a user, to try a server with.
//!
//! How tokens are signed is the policy's; here are only the arguments and the printing.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::{ConfigPath, Failure, write_out};
use crate::policy::{SigningError, sign};

/// `stentor token …`
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// The user that the token is for.
    #[arg(long)]
    user: String,
    /// How long the token is good, such as 30s, 15m, 1h or 7d.
    #[arg(long, default_value = "1h", value_parser = parse_duration)]
    ttl: Duration,
    /// A further claim. The value is JSON where it parses as JSON, else a text.
    #[arg(long = "claim", value_name = "KEY=VALUE", value_parser = parse_claim)]
    claims: Vec<(String, Value)>,
    #[command(flatten)]
    path: ConfigPath,
}

pub(crate) fn run(arguments: &TokenArgs) -> Result<(), Failure> {
    let loaded = arguments.path.load()?;
    let claims = arguments.claims.iter().cloned().collect();
    let token = sign(&loaded.config, &arguments.user, arguments.ttl, claims).map_err(|error| match error {
        SigningError::ReservedClaim(_) | SigningError::TooLong => Failure::Usage(error.to_string()),
        other => Failure::Other(other.into()),
    })?;
    write_out(&format!("{token}\n"))
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let explain = || format!("{text:?} is not a time: write a number and s, m, h or d, such as 15m");
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit_seconds = match text.get(digits.len()..) {
        Some("s") => 1,
        Some("m") => 60,
        Some("h") => 3600,
        Some("d") => 24 * 3600,
        _ => return Err(explain()),
    };
    let count: u64 = digits.parse().map_err(|_| explain())?;
    count.checked_mul(unit_seconds).map(Duration::from_secs).ok_or_else(explain)
}

fn parse_claim(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => {
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            Ok((key.to_owned(), value))
        }
        _ => Err(format!("{text:?} is not KEY=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, seconds) in [("30s", 30), ("15m", 900), ("1h", 3600), ("7d", 604_800)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)));
        }
        for bad in ["", "h", "5", "5w", "-1h", "1.5h", "99999999999999999999d", "9999999999999999999d"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn claims_are_json_or_texts() {
        assert_eq!(parse_claim("rooms=[\"a\"]"), Ok(("rooms".to_owned(), serde_json::json!(["a"]))));
        assert_eq!(parse_claim("name=Ann = B"), Ok(("name".to_owned(), Value::from("Ann = B"))));
        assert_eq!(parse_claim("level=5"), Ok(("level".to_owned(), Value::from(5))));
        assert!(parse_claim("=5").is_err() && parse_claim("level").is_err());
    }
}
