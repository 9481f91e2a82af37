//! Reads JSON text in place: the fields of an object, and all strings within a value.
//!
//! The server has parsed the text before, so this looks for quotation marks and brackets and checks little. That makes
//! it several times as fast as parsing once more, and it allocates nothing. On text that is not JSON it finds nonsense
//! or nothing, but neither fails nor runs on for ever.

use std::borrow::Cow;

/// Calls `each` with every key of an object and its value as JSON text; none if `object` is not an object.
pub(crate) fn fields<'a>(object: &'a str, mut each: impl FnMut(Cow<'a, str>, &'a str)) -> Option<()> {
    let bytes = object.as_bytes();
    let mut at = space_end(bytes, 0);
    if *bytes.get(at)? != b'{' {
        return None;
    }
    at = space_end(bytes, at + 1);
    if *bytes.get(at)? == b'}' {
        return Some(());
    }
    loop {
        let key_end = string_end(bytes, at)?.0;
        let key = decode(object.get(at..key_end)?)?;
        at = space_end(bytes, key_end);
        if *bytes.get(at)? != b':' {
            return None;
        }
        at = space_end(bytes, at + 1);
        let value_end = value_end(bytes, at)?;
        each(key, object.get(at..value_end)?);
        at = space_end(bytes, value_end);
        match *bytes.get(at)? {
            b',' => at = space_end(bytes, at + 1),
            b'}' => return Some(()),
            _ => return None,
        }
    }
}

/// The strings of a JSON text that are values, one after the other. Keys of objects are left out.
pub(crate) struct Strings<'a> {
    text: &'a str,
    at: usize,
}

/// One string of a JSON text, with its quotation marks.
#[derive(Clone, Copy)]
pub(crate) struct Token<'a> {
    /// Where it begins and ends in the text.
    pub(crate) begin: usize,
    pub(crate) end: usize,
    raw: &'a str,
    escaped: bool,
}

impl<'a> Strings<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        Self { text, at: 0 }
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let bytes = self.text.as_bytes();
        loop {
            let begin = find(bytes, self.at, b'"', b'"')?;
            let (end, escaped) = string_end(bytes, begin)?;
            self.at = end;
            let is_key = bytes.get(space_end(bytes, end)) == Some(&b':');
            if !is_key {
                return Some(Token {
                    begin,
                    end,
                    raw: self.text.get(begin..end)?,
                    escaped,
                });
            }
        }
    }
}

impl<'a> Token<'a> {
    /// Whether the string is the whole of the text that it was found in.
    pub(crate) fn is_whole(&self, text: &str) -> bool {
        self.begin == 0 && self.end == text.len()
    }

    /// The text of the string; none if it is not Unicode.
    pub(crate) fn decode(&self) -> Option<Cow<'a, str>> {
        if self.escaped {
            serde_json::from_str(self.raw).ok().map(Cow::Owned)
        } else {
            inner(self.raw).map(Cow::Borrowed)
        }
    }
}

/// The text of a JSON string; none if `raw` is no string or its text is not Unicode.
pub(crate) fn decode(raw: &str) -> Option<Cow<'_, str>> {
    match inner(raw)? {
        inner if !inner.as_bytes().contains(&b'\\') => Some(Cow::Borrowed(inner)),
        _ => serde_json::from_str(raw).ok().map(Cow::Owned),
    }
}

/// What stands between the quotation marks.
fn inner(raw: &str) -> Option<&str> {
    raw.strip_prefix('"')?.strip_suffix('"')
}

/// A text as a JSON string.
pub(crate) fn encode(text: &str) -> String {
    // Writing a string to memory does not fail; the empty string is there for the type's sake.
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned())
}

/// Where the first `a` or `b` at or after `from` stands. Looks at eight bytes at a time, because most of a message is
/// neither.
pub(crate) fn find(bytes: &[u8], from: usize, a: u8, b: u8) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    // Sets the highest bit of the lowest byte that is zero, and of none below it.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7);
    let (of_a, of_b) = (ONES * u64::from(a), ONES * u64::from(b));
    let (words, rest) = bytes.get(from..)?.as_chunks::<8>();
    let mut at = from;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let hits = zeros(word ^ of_a) | zeros(word ^ of_b);
        if hits != 0 {
            return usize::try_from(hits.trailing_zeros() / 8)
                .ok()
                .map(|offset| at + offset);
        }
        at += 8;
    }
    rest.iter()
        .position(|&byte| byte == a || byte == b)
        .map(|offset| at + offset)
}

/// The end of the white space that begins at `at`, if any.
fn space_end(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

/// The end of the string that begins at `begin`, and whether there are escapes in it.
fn string_end(bytes: &[u8], begin: usize) -> Option<(usize, bool)> {
    if *bytes.get(begin)? != b'"' {
        return None;
    }
    let mut escaped = false;
    let mut at = begin + 1;
    loop {
        at = find(bytes, at, b'"', b'\\')?;
        if *bytes.get(at)? == b'"' {
            return Some((at + 1, escaped));
        }
        // A backslash and whatever it escapes.
        escaped = true;
        at += 2;
    }
}

/// The end of the value that begins at `begin`.
fn value_end(bytes: &[u8], begin: usize) -> Option<usize> {
    let mut at = begin;
    let mut depth = 0_usize;
    loop {
        match *bytes.get(at)? {
            b'"' => at = string_end(bytes, at)?.0,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            // A comma or colon within, a number, `true`, `false`, `null`, or white space.
            _ if depth > 0 => at += 1,
            _ => {
                let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b'}' | b']');
                return bytes
                    .get(at..)?
                    .iter()
                    .position(ends)
                    .filter(|&length| length > 0)
                    .map(|length| at + length);
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(text: &str) -> Vec<String> {
        Strings::of(text)
            .map(|token| token.decode().unwrap().into_owned())
            .collect()
    }

    #[test]
    fn finds_values_and_skips_keys() {
        assert_eq!(strings(r#""a""#), ["a"]);
        assert_eq!(
            strings(r#"{"k" : "v", "l":["w",1,null,{"m":"\"x\\"}], "n":"\\"}"#),
            ["v", "w", "\"x\\", "\\"]
        );
        assert_eq!(strings("17"), [""; 0]);
    }

    #[test]
    fn nonsense_ends() {
        for text in ["\"", "\"\\", "\"\\\"", "{\"a", "\"a\":", "é\"", "\"\\é\""] {
            for token in Strings::of(text) {
                let _ = token.decode();
            }
        }
        for text in [
            "",
            "{",
            "[]",
            "{\"",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":}",
            "{\"a\":[",
            "{\"a\":]}",
            "{\"a\":1",
            "{1:2}",
        ] {
            assert_eq!(fields(text, |_, _| ()), None, "{text}");
        }
    }

    #[test]
    fn finds_fields() {
        let mut found = Vec::new();
        let text = r#" { "a" : 1.5e3 ,"b\u0063":{"d":["}",{}]}, "":"\"," , "n":null} "#;
        assert_eq!(
            fields(text, |key, value| found.push((key.into_owned(), value))),
            Some(())
        );
        let found: Vec<(&str, &str)> = found.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        assert_eq!(
            found,
            [
                ("a", "1.5e3"),
                ("bc", r#"{"d":["}",{}]}"#),
                ("", r#""\",""#),
                ("n", "null")
            ]
        );
        assert_eq!(fields("{ }", |_, _| ()), Some(()));
    }

    #[test]
    fn finds_bytes() {
        let text = b"0123456789\xb9\x39abcdefghijklmnop";
        for from in 0..=text.len() + 1 {
            for byte in [b'0', b'7', b'8', b'9', b'a', b'o', b'p', b'x', 0xb9] {
                let plain = text
                    .iter()
                    .skip(from)
                    .position(|&other| other == byte || other == b'c')
                    .map(|offset| from + offset);
                assert_eq!(find(text, from, byte, b'c'), plain, "{byte} from {from}");
            }
        }
    }
}
