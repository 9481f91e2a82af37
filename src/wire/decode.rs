//! Text to envelopes: what a client sent, before anyone asks what it means.
//!
//! One WebSocket message may hold several JSON objects separated by white space. An envelope borrows from the text; its
//! data stay raw until `request` knows what they should be.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{JSON_DEPTH_MAX, REQUEST_ID_BYTES_MAX};

/// A request's envelope.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// Name of the event, as JSON: a string that may hold escapes.
    event: &'a RawValue,
    /// The request's id as it came, raw JSON.
    pub id: Option<&'a str>,
    /// The request's data, raw JSON.
    pub data: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    /// Name of the event.
    pub fn event(&self) -> Cow<'a, str> {
        unescape(self.event.get()).unwrap_or_default()
    }
}

/// Something that is not a request. Whatever follows it in the same message is lost with it.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed<'a> {
    /// The id, if the object had a good one.
    pub id: Option<&'a str>,
    /// What is wrong, for people.
    pub message: &'static str,
}

/// A JSON string, unescaped only if it has to be.
fn unescape(raw: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(raw).ok().map(|text| text.0)
}

/// The requests in one message's text. Ends after the first malformed one.
pub struct Envelopes<'a> {
    text: &'a str,
    stream: serde_json::StreamDeserializer<'a, serde_json::de::StrRead<'a>, Object<'a>>,
    too_deep: bool,
    first: bool,
    ended: bool,
}

/// The requests in one message's text.
pub fn envelopes(text: &str) -> Envelopes<'_> {
    Envelopes {
        text,
        stream: serde_json::Deserializer::from_str(text).into_iter(),
        too_deep: deeper_than(text, JSON_DEPTH_MAX),
        first: true,
        ended: false,
    }
}

impl<'a> Envelopes<'a> {
    /// The text behind the requests that were taken so far; empty if there is nothing more to take.
    pub fn rest(&self) -> &'a str {
        if self.ended { "" } else { self.text.get(self.stream.byte_offset()..).unwrap_or_default().trim_ascii_start() }
    }

    fn malformed(&mut self, message: &'static str) -> Option<Result<Envelope<'a>, Malformed<'a>>> {
        self.ended = true;
        Some(Err(Malformed { id: None, message }))
    }
}

impl<'a> Iterator for Envelopes<'a> {
    type Item = Result<Envelope<'a>, Malformed<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if self.too_deep {
            return self.malformed("nested too deeply");
        }
        let item = self.stream.next();
        match item {
            None if self.first => self.malformed("empty message"),
            None => None,
            Some(Err(_)) => self.malformed("not a JSON object with an event"),
            Some(Ok(object)) => {
                self.first = false;
                let checked = object.check();
                self.ended = checked.is_err();
                Some(checked)
            }
        }
    }
}

/// Whether arrays and objects are nested deeper than `depth_max`. Text that is not JSON may give either answer.
pub fn deeper_than(text: &str, depth_max: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > depth_max {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// The parts of a JSON object that an envelope has, unchecked. Derived code would take an array for an object too.
#[derive(Default)]
struct Object<'a> {
    event: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
}

impl<'a> Object<'a> {
    fn check(self) -> Result<Envelope<'a>, Malformed<'a>> {
        let id = self.id.map(RawValue::get);
        if id.is_some_and(|id| !is_request_id(id)) {
            return Err(Malformed {
                id: None,
                message: "id must be a string of at most 64 bytes or an unsigned integer",
            });
        }
        match self.event {
            Some(event) if event.get().starts_with('"') => Ok(Envelope { event, id, data: self.data }),
            Some(_) => Err(Malformed { id, message: "event must be a string" }),
            None => Err(Malformed { id, message: "event is missing" }),
        }
    }
}

fn is_request_id(raw: &str) -> bool {
    if raw.starts_with('"') {
        return unescape(raw).is_some_and(|text| text.len() <= REQUEST_ID_BYTES_MAX);
    }
    raw.parse::<u64>().is_ok() && raw.bytes().all(|byte| byte.is_ascii_digit())
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;
        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Object<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut object = Object::default();
                while let Some(key) = map.next_key::<Key>()? {
                    let place = match key {
                        Key::Event => &mut object.event,
                        Key::Id => &mut object.id,
                        Key::Data => &mut object.data,
                        Key::Other => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    if place.replace(map.next_value()?).is_some() {
                        return Err(A::Error::custom("duplicate field"));
                    }
                }
                Ok(object)
            }
        }
        deserializer.deserialize_map(ObjectVisitor)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Key {
    Event,
    Id,
    Data,
    #[serde(other)]
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    type Seen = Result<(String, Option<String>, Option<String>), String>;

    fn seen(text: &str) -> Vec<Seen> {
        envelopes(text)
            .map(|item| match item {
                Ok(envelope) => Ok((
                    envelope.event().into_owned(),
                    envelope.id.map(str::to_owned),
                    envelope.data.map(|data| data.get().to_owned()),
                )),
                Err(malformed) => Err(malformed.message.to_owned()),
            })
            .collect()
    }

    fn good(event: &str, id: Option<&str>, data: Option<&str>) -> Seen {
        Ok((event.to_owned(), id.map(str::to_owned), data.map(str::to_owned)))
    }

    #[test]
    fn one_message_may_hold_several_requests() {
        assert_eq!(
            seen(
                " {\"event\":\"a\",\"id\":\"7\",\"data\":{\"x\":[1]}}\n\t{\"data\":\"conv-1\",\"id\":18446744073709551615,\"event\":\"b\",\"more\":{}}{\"event\":\"\\u0063\"} "
            ),
            [
                good("a", Some("\"7\""), Some("{\"x\":[1]}")),
                good("b", Some("18446744073709551615"), Some("\"conv-1\"")),
                good("c", None, None),
            ]
        );
    }

    #[test]
    fn what_is_no_request_is_said_to_be_none() {
        for bad in [
            "",
            "  \n",
            "nonsense",
            "1",
            "null",
            "\"event\"",
            "[]",
            "[\"a\",null,null]",
            "{}",
            "{\"event\":1}",
            "{\"event\":null}",
            "{\"event\":\"a\"",
            "{\"event\":\"a\",\"event\":\"b\"}",
            "{\"event\":\"a\",}",
            "\u{feff}{\"event\":\"a\"}",
            "{\"event\":\"a\",\"id\":-1}",
            "{\"event\":\"a\",\"id\":1.0}",
            "{\"event\":\"a\",\"id\":null}",
            "{\"event\":\"a\",\"id\":{}}",
            "{\"event\":\"a\",\"id\":18446744073709551616}",
            "{\"event\":\"a\",\"data\":01}",
            "{\"event\":\"a\",\"data\":\"\u{1}\"}",
        ] {
            let seen = seen(bad);
            assert_eq!(seen.len(), 1, "{bad}");
            assert!(seen.iter().all(Result::is_err), "{bad}");
        }
        let id = |bytes: usize| format!("{{\"event\":\"a\",\"id\":\"{}\"}}", "x".repeat(bytes));
        assert!(seen(&id(64)).iter().all(Result::is_ok));
        assert!(seen(&id(65)).iter().all(Result::is_err));
    }

    #[test]
    fn what_follows_a_malformed_request_is_lost() {
        let seen = seen("{\"event\":\"a\"} nonsense {\"event\":\"b\"}");
        assert_eq!(seen.len(), 2);
        assert_eq!(seen.first(), Some(&good("a", None, None)));
    }

    #[test]
    fn a_missing_event_still_tells_the_id() {
        assert_eq!(
            envelopes("{\"id\":5}").next().and_then(Result::err),
            Some(Malformed { id: Some("5"), message: "event is missing" })
        );
    }

    #[test]
    fn nesting_is_bounded_and_brackets_in_strings_do_not_count() {
        let nested = |depth: usize| format!("{{\"event\":\"a\",\"data\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(seen(&nested(JSON_DEPTH_MAX - 1)).iter().all(Result::is_ok));
        assert!(seen(&nested(JSON_DEPTH_MAX)).iter().all(Result::is_err));
        assert!(seen(&nested(30_000)).iter().all(Result::is_err));
        assert!(
            seen(&format!("{{\"event\":\"a\",\"data\":\"{}\\\"{}\"}}", "[".repeat(500), "{".repeat(500)))
                .iter()
                .all(Result::is_ok)
        );
    }
}
