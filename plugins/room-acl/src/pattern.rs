//! Patterns of rooms and of values.
//!
//! A pattern comes from the operator, who is trusted; what it is compared with, and what its placeholders stand for, comes
//! from users, who are not. So nothing of a user's is ever read as a pattern, and one piece of a pattern costs at most a
//! comparison of each of its values at each place of the text.

use crate::acl::Person;

/// The placeholder for the user's id.
pub(crate) const SUBJECT: &str = "userId";

/// Longest pattern, in bytes: that of a room has some placeholders in place of ids.
const PATTERN_BYTES_MAX: usize = 1000;

/// Stars and placeholders of one pattern.
const VARIABLES_MAX: usize = 8;

/// What no room's id has in it, besides control characters. Stars and braces are ours.
const NOT_IN_ROOMS: [char; 4] = ['?', '[', ']', '\\'];

/// A text in which parts are left open.
#[derive(Debug)]
pub(crate) struct Pattern {
    pieces: Vec<Piece>,
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    /// Just this.
    Text(String),
    /// `*`: any text, also none.
    Any,
    /// `{userId}`: the user's id.
    Subject,
    /// `{name}`: any value of that attribute.
    Attribute(String),
}

impl Pattern {
    /// Reads a pattern of rooms, with stars and placeholders.
    pub(crate) fn of_rooms(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            push_room_text(&mut pieces, before)?;
            let Some((name, after)) = after.split_once('}') else {
                return Err("a placeholder begins with `{` and does not end with `}`".to_owned());
            };
            if name == SUBJECT {
                pieces.push(Piece::Subject);
            } else {
                check_attribute_name(name)?;
                pieces.push(Piece::Attribute(name.to_owned()));
            }
            rest = after;
        }
        push_room_text(&mut pieces, rest)?;
        Self::checked(pieces, text)
    }

    /// Reads a pattern of values, with stars.
    pub(crate) fn of_values(text: &str) -> Result<Self, String> {
        if text.contains(['{', '}']) {
            return Err("there are no placeholders in values, only `*`".to_owned());
        }
        let mut pieces = Vec::new();
        push_text(&mut pieces, text);
        Self::checked(pieces, text)
    }

    fn checked(pieces: Vec<Piece>, text: &str) -> Result<Self, String> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(format!("longer than {PATTERN_BYTES_MAX} bytes"));
        }
        let is_variable = |piece: &&Piece| !matches!(piece, Piece::Text(_));
        if pieces.iter().filter(is_variable).count() > VARIABLES_MAX {
            return Err(format!("more than {VARIABLES_MAX} stars and placeholders"));
        }
        Ok(Self { pieces })
    }

    /// How many of the pieces are costly: each value is compared at each place of the text. An attribute's first
    /// placeholder is not if all before it is settled, because then there is one place where it can stand.
    pub(crate) fn costly_pieces(&self) -> usize {
        let is_attribute = |piece: &&Piece| matches!(piece, Piece::Attribute(_));
        let settled = |piece: &&Piece| matches!(piece, Piece::Text(_) | Piece::Subject);
        let mut unsettled = self.pieces.iter().skip_while(settled);
        // Either a star or the first attribute, after which there is more than one place.
        unsettled.next();
        unsettled.filter(is_attribute).count()
    }

    /// Whether the pattern describes the whole text, for that person.
    pub(crate) fn matches(&self, text: &str, person: &Person<'_>) -> bool {
        // Most patterns differ from most texts in how they begin.
        if let Some(Piece::Text(first)) = self.pieces.first()
            && !text.starts_with(first.as_str())
        {
            return false;
        }
        // For each place in the text whether the pieces so far may end there. All possibilities go forward together, so
        // none is tried twice, however many ways there are to the same place.
        let mut ends = vec![false; text.len().saturating_add(1)];
        if let Some(start) = ends.first_mut() {
            *start = true;
        }
        for piece in &self.pieces {
            match piece {
                Piece::Any => ends.iter_mut().skip_while(|end| !**end).for_each(|end| *end = true),
                Piece::Text(part) => ends = after(text, &ends, &[part.as_str()]),
                Piece::Subject => ends = after(text, &ends, &[person.subject]),
                Piece::Attribute(wanted) => {
                    let of_name = person.attributes.iter().filter(|(name, _)| name == wanted);
                    let values: Vec<&str> = of_name.map(|(_, value)| *value).collect();
                    ends = after(text, &ends, &values);
                }
            }
            if !ends.contains(&true) {
                return false;
            }
        }
        ends.last() == Some(&true)
    }
}

/// The ends of all the values where they stand at one of `starts`. An empty value is nowhere: it would turn `team-{team}*`
/// into a pattern of everybody's rooms.
fn after(text: &str, starts: &[bool], values: &[&str]) -> Vec<bool> {
    let mut ends = vec![false; starts.len()];
    let starts = starts.iter().enumerate().filter(|(_, is_start)| **is_start);
    for (start, _) in starts {
        let rest = text.as_bytes().get(start..).unwrap_or_default();
        for value in values {
            if !value.is_empty()
                && rest.starts_with(value.as_bytes())
                && let Some(end) = ends.get_mut(start.saturating_add(value.len()))
            {
                *end = true;
            }
        }
    }
    ends
}

/// Adds what stands between the placeholders of a pattern of rooms.
fn push_room_text(pieces: &mut Vec<Piece>, text: &str) -> Result<(), String> {
    if text.contains('}') {
        return Err("a `}` without a `{` before it".to_owned());
    }
    if text.contains(|character: char| character.is_control() || NOT_IN_ROOMS.contains(&character)) {
        let message = "no room has a control character or one of `? [ ] \\` in its id; `*` stands for any text";
        return Err(message.to_owned());
    }
    push_text(pieces, text);
    Ok(())
}

/// Adds a text in which only `*` means something. Several stars in a row are one.
fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    for (index, part) in text.split('*').enumerate() {
        if index > 0 && pieces.last() != Some(&Piece::Any) {
            pieces.push(Piece::Any);
        }
        if !part.is_empty() {
            pieces.push(Piece::Text(part.to_owned()));
        }
    }
}

/// Whether an attribute may have that name in a configuration.
pub(crate) fn check_attribute_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("expected the name of an attribute".to_owned());
    }
    if name.contains(['{', '}', '*']) {
        return Err("the name of an attribute may not have `{`, `}` or `*` in it".to_owned());
    }
    // Whoever writes that means the id, and would be surprised when an attribute decided instead.
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    if plain.eq_ignore_ascii_case(SUBJECT) {
        return Err(format!(
            "the user's id is `{{{SUBJECT}}}`; no attribute may be called so here"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: Person<'_> = Person {
        subject: "nobody",
        attributes: Vec::new(),
    };

    fn room(pattern: &str) -> Pattern {
        Pattern::of_rooms(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"))
    }

    #[test]
    fn stars() {
        for (pattern, yes, no) in [
            ("lobby", vec!["lobby"], vec!["lobby2", "lob", "", "Lobby"]),
            ("live-*", vec!["live-", "live-x", "live-x-y"], vec!["live", "xlive-"]),
            ("*-live", vec!["-live", "x-live", "live-live"], vec!["x-live-"]),
            ("a*b*c", vec!["abc", "axbxc", "abbcc"], vec!["ab", "acb", "abcx"]),
            ("*", vec!["", "anything"], vec![]),
            ("**", vec!["", "anything"], vec![]),
            ("a*a", vec!["aa", "aba"], vec!["a"]),
            ("ø*", vec!["ø", "ødegård"], vec!["o", "Ø"]),
        ] {
            let pattern = room(pattern);
            assert!(yes.iter().all(|text| pattern.matches(text, &NOBODY)), "{pattern:?}");
            assert!(!no.iter().any(|text| pattern.matches(text, &NOBODY)), "{pattern:?}");
        }
    }

    #[test]
    fn an_attribute_stands_for_each_of_its_values_and_for_nothing_if_there_is_none() {
        let attributes = vec![("team", "red"), ("team", "red-2"), ("team", ""), ("org", "*")];
        let ann = Person {
            subject: "ann",
            attributes,
        };
        for (pattern, text, expected) in [
            ("t-{team}", "t-red", true),
            ("t-{team}", "t-red-2", true),
            ("t-{team}", "t-", false),
            ("t-{team}*", "t-blue", false),
            ("t-{team}-2-{team}", "t-red-2-red", true),
            ("t-{team}-2-{team}", "t-red-2-2-red-2", true),
            ("t-{team}-2-{team}", "t-red-red", false),
            ("{org}", "*", true),
            ("{org}", "anything", false),
            ("{none}*", "anything", false),
            ("*{none}", "anything", false),
            ("{team}{userId}", "redann", true),
        ] {
            assert_eq!(room(pattern).matches(text, &ann), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_costly() {
        for (pattern, costly) in [
            ("*", 0),
            ("team-{team}-*", 0),
            ("dm-*-{userId}", 0),
            ("{userId}-{team}", 0),
            ("org-{org}-team-{team}", 1),
            ("*-{team}", 1),
            ("{a}{b}*{c}*", 2),
        ] {
            assert_eq!(room(pattern).costly_pieces(), costly, "{pattern}");
        }
    }

    #[test]
    fn what_is_no_pattern_of_rooms() {
        let (long, many) = ("x".repeat(PATTERN_BYTES_MAX + 1), "*a".repeat(VARIABLES_MAX + 1));
        for text in [
            "{",
            "}",
            "a}b",
            "a{b",
            "{}",
            "{a{b}",
            "{a*}",
            "{a}}",
            "{userid}",
            "{user-id}",
            "{user_id}",
            "{USERID}",
            "a?",
            "[ab]",
            "a\\*",
            "a\nb",
            &long,
            &many,
        ] {
            assert!(Pattern::of_rooms(text).is_err(), "{text}");
        }
        assert!(Pattern::of_rooms(&"*".repeat(VARIABLES_MAX + 1)).is_ok());
        assert!(Pattern::of_rooms("{user}-{a.b/c d}").is_ok());
    }

    /// The same question asked in the plainest way: every value in every place, every length for every star.
    fn oracle(pieces: &[Piece], text: &str, person: &Person<'_>) -> bool {
        let Some((piece, rest)) = pieces.split_first() else {
            return text.is_empty();
        };
        let after = |value: &str| {
            let left = text.strip_prefix(value);
            !value.is_empty() && left.is_some_and(|left| oracle(rest, left, person))
        };
        match piece {
            Piece::Text(part) => after(part),
            Piece::Subject => after(person.subject),
            Piece::Attribute(wanted) => person
                .attributes
                .iter()
                .any(|(name, value)| name == wanted && after(value)),
            Piece::Any => text
                .char_indices()
                .map(|(at, _)| at)
                .chain([text.len()])
                .any(|at| oracle(rest, &text[at..], person)),
        }
    }

    /// A xorshift generator: the same numbers on every run, so that a failure can be seen again.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, end: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 >> 33).unwrap() % end
        }

        /// Up to `count_max` of these parts, one after the other.
        fn text(&mut self, parts: &[&str], count_max: usize) -> String {
            let count = self.below(count_max + 1);
            (0..count).map(|_| parts[self.below(parts.len())]).collect()
        }
    }

    #[test]
    fn it_agrees_with_the_plainest_matcher() {
        let mut numbers = Numbers(0x5eed);
        let (mut yes, mut no) = (0, 0);
        for _ in 0..200_000 {
            let pattern = numbers.text(&["a", "b", "é", "-", "*", "{userId}", "{t}", "{u}"], 7);
            let values: Vec<(&str, String)> = (0..numbers.below(4))
                .map(|_| {
                    (
                        ["t", "u"][numbers.below(2)],
                        numbers.text(&["a", "b", "é", "*", "{t}"], 2),
                    )
                })
                .collect();
            let subject = numbers.text(&["a", "b", "é", "-", "*"], 2);
            let person = Person {
                subject: &subject,
                attributes: values.iter().map(|(name, value)| (*name, value.as_str())).collect(),
            };
            let text = numbers.text(&["a", "a", "b", "é", "-", "*", "{t}"], 8);
            let Ok(pattern) = Pattern::of_rooms(&pattern) else {
                continue;
            };
            let expected = oracle(&pattern.pieces, &text, &person);
            assert_eq!(
                pattern.matches(&text, &person),
                expected,
                "{pattern:?} {text:?} {subject:?} {values:?}"
            );
            if expected { yes += 1 } else { no += 1 }
        }
        // Both answers came often enough to say something.
        assert!(yes > 5_000 && no > 5_000, "{yes} {no}");
    }

    #[test]
    fn what_would_keep_a_backtracking_matcher_busy_for_years() {
        let values = vec![("t", "a"), ("t", "aa"), ("t", "aaa"), ("t", "aaaa")];
        let person = Person {
            subject: "a",
            attributes: values,
        };
        let text = "a".repeat(2000);
        for pattern in ["*a*a*a*a*a*a*a*ab", "{t}{t}{t}{t}{t}{t}{t}{t}b", "*{t}*{t}*{t}*{t}b"] {
            assert!(!room(pattern).matches(&text, &person), "{pattern}");
        }
    }
}
