//! The policy: one message in, one verdict out.
//!
//! A message that breaks no rule must cost next to nothing, because every message of the server passes here: the body
//! is read in place, without building a tree of it, and nothing is allocated unless a string has escapes in it.

use operator_config::ConfigError;

use crate::config;
use crate::json;
use crate::links::Links;
use crate::shape::Shapes;
use crate::words::{Words, is_ignored};

/// The events whose bodies the policy understands. It accepts all others.
pub(crate) const EVENTS: [&str; 2] = ["message-new", "message-edited"];

/// The rules, ready to be applied. Without configuration there are none.
#[derive(Default)]
pub struct Policy {
    pub(crate) shapes: Shapes,
    /// Characters in all strings of the content together; 0: any number.
    pub(crate) length_max: usize,
    /// Visible characters in content that is a string; 0: any number.
    pub(crate) length_min: usize,
    pub(crate) words: Words,
    pub(crate) words_action: WordsAction,
    pub(crate) links: Links,
}

/// What happens to a message with a forbidden word in it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum WordsAction {
    #[default]
    Reject,
    Mask,
}

/// What shall become of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes as it is.
    Accept,
    /// It passes with this body.
    Replace(String),
    /// It does not pass.
    Reject(Refusal),
}

/// The rule that a refused message breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// `types` does not list the type.
    TypeNotAllowed,
    /// The content is not what `shape` says for its type.
    Shape,
    /// Fewer visible characters than `length_min`.
    TooShort,
    /// More characters than `length_max`.
    TooLong,
    /// One of `words`.
    ForbiddenWord,
    /// A link that `links` does not allow.
    LinkNotAllowed,
    /// More links than `links.per_message_max`.
    TooManyLinks,
}

impl Policy {
    /// Reads the operator's configuration.
    ///
    /// # Errors
    ///
    /// Names the first key that is unknown or has a value that makes no sense.
    pub fn from_json(json: &str) -> Result<Self, ConfigError> {
        config::parse(json)
    }

    /// Judges one message. `body` is the JSON text that the server passes for `event`.
    #[must_use]
    pub fn check(&self, event: &str, body: &str) -> Verdict {
        if !EVENTS.contains(&event) {
            return Verdict::Accept;
        }
        match self.judge(body) {
            Ok(None) => Verdict::Accept,
            Ok(Some(body)) => Verdict::Replace(body),
            Err(refusal) => Verdict::Reject(refusal),
        }
    }

    /// `Ok(Some(body))` is a body to put in the place of the one given.
    fn judge(&self, body: &str) -> Result<Option<String>, Refusal> {
        let (kind, content) = parts(body).ok_or(Refusal::Shape)?;
        self.shapes.check(kind, content)?;

        // A text has at most as many characters as its JSON has bytes, so most need not be counted.
        let count_length = self.length_max > 0 && content.len() > self.length_max;
        let mut length = 0_usize;
        let mut links = 0_usize;
        let mut broken: Option<Refusal> = None;
        let mut mask = false;
        for token in json::Strings::of(content) {
            // Text that is no Unicode (half of a surrogate pair) cannot be looked at, and is no text.
            let text = token.decode().ok_or(Refusal::Shape)?;
            if count_length {
                length = length.saturating_add(text.chars().count());
            }
            if self.length_min > 0 && token.is_whole(content) && !has_visible(&text, self.length_min) {
                return Err(Refusal::TooShort);
            }
            if !self.words.is_empty() && self.words.find(&text, 0).is_some() {
                match self.words_action {
                    WordsAction::Reject => note(&mut broken, Refusal::ForbiddenWord),
                    WordsAction::Mask => mask = true,
                }
            }
            if let Err(refusal) = self.links.check(&text, &mut links) {
                note(&mut broken, refusal);
            }
        }
        if count_length && length > self.length_max {
            note(&mut broken, Refusal::TooLong);
        }
        match broken {
            Some(refusal) => Err(refusal),
            None if mask => Ok(Some(self.masked(body, content))),
            None => Ok(None),
        }
    }

    /// The body with every forbidden word masked. Only the strings concerned are written anew; everything else, down
    /// to the way that numbers are written, stays as it came.
    fn masked(&self, body: &str, content: &str) -> String {
        // `content` is a part of `body`, so this is where it begins.
        let begin = content.as_ptr().addr().saturating_sub(body.as_ptr().addr());
        let mut result = String::with_capacity(body.len());
        let mut copied = 0;
        for token in json::Strings::of(content) {
            let Some(text) = token.decode() else { continue };
            let Some(masked) = self.words.mask(&text) else { continue };
            result.push_str(body.get(copied..begin + token.begin).unwrap_or_default());
            result.push_str(&json::encode(&masked));
            copied = begin + token.end;
        }
        result.push_str(body.get(copied..).unwrap_or_default());
        result
    }
}

impl Refusal {
    /// The stable name, which clients see as `reason`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::TypeNotAllowed => "type_not_allowed",
            Self::Shape => "shape",
            Self::TooLong => "too_long",
            Self::TooShort => "too_short",
            Self::ForbiddenWord => "forbidden_word",
            Self::LinkNotAllowed => "link_not_allowed",
            Self::TooManyLinks => "too_many_links",
        }
    }

    /// One sentence for people. It never repeats what they wrote, because it may be logged.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::TypeNotAllowed => "Messages of this type are not allowed here.",
            Self::Shape => "The content does not have the form that messages of this type have here.",
            Self::TooLong => "The message is too long.",
            Self::TooShort => "The message is too short.",
            Self::ForbiddenWord => "The message has a word in it that is not allowed here.",
            Self::LinkNotAllowed => "The message has a link in it that is not allowed here.",
            Self::TooManyLinks => "The message has too many links in it.",
        }
    }
}

/// The body's type, which an edit does not have, and its content, both as JSON text. None for a body that is not as the
/// interface says: letting that pass unseen would make a way around the rules.
fn parts(body: &str) -> Option<(Option<&str>, &str)> {
    let mut kind = None;
    let mut content = None;
    let mut twice = false;
    json::fields(body, |key, value| match key.as_ref() {
        "type" => twice |= kind.replace(value).is_some(),
        "content" => twice |= content.replace(value).is_some(),
        _ => {}
    })?;
    if twice { None } else { Some((kind, content?)) }
}

/// Of several broken rules the first in the order of `Refusal` is told, so that the answer does not depend on where in
/// the content each was broken.
fn note(broken: &mut Option<Refusal>, refusal: Refusal) {
    *broken = Some(broken.map_or(refusal, |known| known.min(refusal)));
}

/// Whether at least so many characters of a text leave a mark on the screen.
fn has_visible(text: &str, least: usize) -> bool {
    let is_visible = |c: &char| !c.is_whitespace() && !c.is_control() && !is_ignored(*c);
    text.chars().filter(is_visible).take(least).count() == least
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(json: &str) -> Policy {
        Policy::from_json(json).unwrap()
    }

    fn text(content: &str) -> String {
        format!(
            r#"{{"type":"text","content":{}}}"#,
            serde_json::to_string(content).unwrap()
        )
    }

    fn new(policy: &Policy, content: &str) -> Verdict {
        policy.check("message-new", &text(content))
    }

    fn refused(verdict: Verdict) -> &'static str {
        match verdict {
            Verdict::Reject(refusal) => refusal.code(),
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn no_configuration_accepts_everything() {
        let policy = policy("{}");
        assert_eq!(new(&policy, "hello"), Verdict::Accept);
        assert_eq!(
            policy.check("message-new", r#"{"type":"x","content":null}"#),
            Verdict::Accept
        );
        assert_eq!(
            policy.check("message-edited", r#"{"messageId":"1","content":[1,{"a":"b"}]}"#),
            Verdict::Accept
        );
    }

    #[test]
    fn unknown_events_pass_and_broken_bodies_do_not() {
        let policy = policy("{}");
        assert_eq!(policy.check("reaction:add", "not even JSON"), Verdict::Accept);
        for body in [
            "",
            "not JSON",
            "[]",
            r#"{"type":"text"}"#,
            r#"{"type":"text","content":"a","content":"b"}"#,
        ] {
            assert_eq!(refused(policy.check("message-new", body)), "shape", "{body}");
        }
    }

    #[test]
    fn length_counts_characters_of_all_strings_but_not_keys() {
        let policy = policy(r#"{"length_max":5}"#);
        assert_eq!(new(&policy, "ñandú"), Verdict::Accept);
        assert_eq!(refused(new(&policy, "ñandús")), "too_long");
        assert_eq!(
            policy.check(
                "message-new",
                r#"{"type":"t","content":{"longer key":["ab",{"x":"cde"}]}}"#
            ),
            Verdict::Accept
        );
        assert_eq!(
            refused(policy.check("message-new", r#"{"type":"t","content":["abc","def"]}"#)),
            "too_long"
        );
        // An escape is one character.
        assert_eq!(
            policy.check("message-new", r#"{"type":"t","content":"\u00e9\n\"\\\ud83d\ude00"}"#),
            Verdict::Accept
        );
        assert_eq!(
            refused(policy.check("message-edited", r#"{"messageId":"1","content":"abcdef"}"#)),
            "too_long"
        );
    }

    #[test]
    fn length_min_wants_visible_characters() {
        let policy = policy(r#"{"length_min":1}"#);
        assert_eq!(new(&policy, " x "), Verdict::Accept);
        for blank in ["", "  \n\t", "\u{200b}\u{feff}", "\u{3000}"] {
            assert_eq!(refused(new(&policy, blank)), "too_short", "{blank:?}");
        }
        // Content that is not a string is a matter of its shape.
        assert_eq!(
            policy.check("message-new", r#"{"type":"t","content":{"a":""}}"#),
            Verdict::Accept
        );
    }

    #[test]
    fn words_are_found_in_nested_strings_and_behind_escapes() {
        let policy = policy(r#"{"words":["heck","buy now"]}"#);
        assert_eq!(new(&policy, "what the check"), Verdict::Accept);
        assert_eq!(refused(new(&policy, "What the HECK?")), "forbidden_word");
        assert_eq!(refused(new(&policy, "Buy,  now!")), "forbidden_word");
        let nested = r#"{"type":"card","content":{"rows":[{"label":"oh he\u0063k"}]}}"#;
        assert_eq!(refused(policy.check("message-new", nested)), "forbidden_word");
        // A key is not text.
        assert_eq!(
            policy.check("message-new", r#"{"type":"card","content":{"heck" : 1}}"#),
            Verdict::Accept
        );
    }

    #[test]
    fn masking_changes_the_words_and_nothing_else() {
        let policy = policy(r#"{"words":["heck","buy now"],"words_action":"mask"}"#);
        let body =
            r#"{ "type":"card", "content": {"n":1.0e400, "heck":"Heck\n no", "b":["ok","buy, NOW "]} ,"replyTo":"m"}"#;
        let masked =
            r#"{ "type":"card", "content": {"n":1.0e400, "heck":"****\n no", "b":["ok","***, *** "]} ,"replyTo":"m"}"#;
        assert_eq!(policy.check("message-new", body), Verdict::Replace(masked.to_owned()));
        assert_eq!(new(&policy, "all is well"), Verdict::Accept);
        assert_eq!(
            policy.check("message-edited", r#"{"messageId":"1","content":"heck"}"#),
            Verdict::Replace(r#"{"messageId":"1","content":"****"}"#.to_owned())
        );
    }

    #[test]
    fn a_refusal_wins_over_a_mask() {
        let policy = policy(r#"{"words":["heck"],"words_action":"mask","links":{"allow":false}}"#);
        assert_eq!(refused(new(&policy, "heck http://example.com")), "link_not_allowed");
    }

    #[test]
    fn the_first_rule_in_order_is_told() {
        let policy = policy(r#"{"length_max":10,"words":["heck"],"links":{"allow":false}}"#);
        assert_eq!(refused(new(&policy, "http://example.com heck")), "too_long");
        assert_eq!(
            refused(policy.check("message-new", r#"{"type":"t","content":["www.a.b","heck"]}"#)),
            "too_long"
        );
        assert_eq!(
            refused(policy.check("message-new", r#"{"type":"t","content":["w://a","heck"]}"#)),
            "forbidden_word"
        );
    }

    #[test]
    fn links_are_counted_over_the_whole_message() {
        let policy = policy(r#"{"links":{"per_message_max":2}}"#);
        assert_eq!(
            policy.check("message-new", r#"{"type":"t","content":["http://a.b","www.a.b"]}"#),
            Verdict::Accept
        );
        let three = r#"{"type":"t","content":["http://a.b www.c.d","https://e.f"]}"#;
        assert_eq!(refused(policy.check("message-new", three)), "too_many_links");
    }

    #[test]
    fn text_that_is_no_unicode_is_refused() {
        assert_eq!(
            refused(policy("{}").check("message-new", r#"{"type":"t","content":"\ud800"}"#)),
            "shape"
        );
    }

    #[test]
    fn deep_nesting_is_no_danger() {
        let policy = policy(r#"{"words":["heck"]}"#);
        let body = format!(
            r#"{{"type":"t","content":{}"heck"{}}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert_eq!(refused(policy.check("message-new", &body)), "forbidden_word");
    }
}
