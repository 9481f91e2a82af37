//! Forbidden words and phrases.
//!
//! A text is cut into words: runs of letters and digits. Each word is hashed while it is read, and only a word whose
//! hash is that of a forbidden one is looked at again, so an innocent text is read once and nothing is allocated.
//!
//! Two things keep simple tricks from working: letters are compared without case, full-width letters as ordinary ones,
//! and characters that do not show (zero-width ones) or only decorate the letter before them (combining marks) are
//! passed over. Look-alike letters of other alphabets, digits for letters and letters set apart by spaces or
//! punctuation are not caught: guessing at those finds forbidden words in innocent texts.

const FILTER_WORDS: usize = 64;

/// The forbidden words, ready to be looked for.
pub(crate) struct Words {
    /// Each phrase as its words, folded.
    phrases: Vec<Vec<String>>,
    /// The hash of each phrase's first word, and which phrase it is; sorted.
    index: Vec<(u64, usize)>,
    /// A bit for the first bits of every hash in the index. It answers "no" for nearly every innocent word, without a search.
    filter: [u64; FILTER_WORDS],
}

impl Default for Words {
    fn default() -> Self {
        Self {
            phrases: Vec::new(),
            index: Vec::new(),
            filter: [0; FILTER_WORDS],
        }
    }
}

impl Words {
    /// Adds a word or phrase. False if it does not begin and end with a letter or digit: such a one would lose its
    /// ends, and `c++` would forbid every `c`.
    pub(crate) fn add(&mut self, phrase: &str) -> bool {
        let phrase = phrase.trim();
        let (Some(first), Some(last)) = (phrase.chars().next(), phrase.chars().next_back()) else {
            return false;
        };
        if !first.is_alphanumeric() || !(last.is_alphanumeric() || is_ignored(last)) {
            return false;
        }
        let tokens = Tokens { text: phrase, at: 0 };
        let words: Vec<String> = tokens
            .map(|token| folded(phrase.get(token.begin..token.end).unwrap_or_default()).collect())
            .collect();
        let Some(hash) = (Tokens { text: phrase, at: 0 }).next().map(|token| token.hash) else {
            return false;
        };
        if let Some(bits) = self.filter.get_mut(slot(hash)) {
            *bits |= bit(hash);
        }
        let entry = (hash, self.phrases.len());
        let place = self.index.partition_point(|known| *known < entry);
        self.index.insert(place, entry);
        self.phrases.push(words);
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.phrases.is_empty()
    }

    /// Where the first forbidden word at or after `from` begins and ends.
    pub(crate) fn find(&self, text: &str, from: usize) -> Option<(usize, usize)> {
        let mut tokens = Tokens { text, at: from };
        while let Some(token) = tokens.next() {
            let known = self
                .filter
                .get(slot(token.hash))
                .is_some_and(|bits| bits & bit(token.hash) != 0);
            if known && let Some(end) = self.phrase_at(&token, &tokens) {
                return Some((token.begin, end));
            }
        }
        None
    }

    /// The text with the letters and digits of its forbidden words replaced by `*`; none if it has no such word.
    pub(crate) fn mask(&self, text: &str) -> Option<String> {
        let mut masked: Option<String> = None;
        let mut at = 0;
        while let Some((begin, end)) = self.find(text, at) {
            let masked = masked.get_or_insert_with(|| String::with_capacity(text.len()));
            masked.push_str(text.get(at..begin).unwrap_or_default());
            let word = text.get(begin..end).unwrap_or_default();
            masked.extend(word.chars().map(|c| if c.is_alphanumeric() { '*' } else { c }));
            at = end;
        }
        if let Some(masked) = &mut masked {
            masked.push_str(text.get(at..).unwrap_or_default());
        }
        masked
    }

    /// The end of the longest phrase that begins with the word `first`; `rest` are the words after it.
    fn phrase_at(&self, first: &Token, rest: &Tokens<'_>) -> Option<usize> {
        let begin = self.index.partition_point(|(hash, _)| *hash < first.hash);
        let candidates = self
            .index
            .get(begin..)?
            .iter()
            .take_while(|(hash, _)| *hash == first.hash);
        candidates
            .filter_map(|(_, phrase)| match_phrase(self.phrases.get(*phrase)?, first, rest.clone()))
            .max()
    }
}

fn match_phrase(phrase: &[String], first: &Token, mut rest: Tokens<'_>) -> Option<usize> {
    let text = rest.text;
    let same = |word: &str, token: &Token| {
        text.get(token.begin..token.end)
            .is_some_and(|found| folded(found).eq(word.chars()))
    };
    let (head, tail) = phrase.split_first()?;
    if !same(head, first) {
        return None;
    }
    let mut end = first.end;
    for word in tail {
        let token = rest.next()?;
        if !same(word, &token) {
            return None;
        }
        end = token.end;
    }
    Some(end)
}

/// One word of a text.
struct Token {
    begin: usize,
    end: usize,
    /// Of the folded letters.
    hash: u64,
}

/// The words of a text.
#[derive(Clone)]
struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let bytes = self.text.as_bytes();
        let mut at = self.at;
        let mut token: Option<Token> = None;
        while let Some(&byte) = bytes.get(at) {
            if let Some(letter) = folded_ascii(byte) {
                let known = token.get_or_insert(Token {
                    begin: at,
                    end: at,
                    hash: SEED,
                });
                let mut hash = step(known.hash, u32::from(letter));
                at += 1;
                // Most words are plain ASCII to their end, so that is a loop of its own, with little in it.
                while let Some(letter) = bytes.get(at).and_then(|&byte| folded_ascii(byte)) {
                    hash = step(hash, u32::from(letter));
                    at += 1;
                }
                known.hash = hash;
                known.end = at;
                continue;
            }
            let Some(c) = (if byte.is_ascii() {
                Some(char::from(byte))
            } else {
                self.text.get(at..)?.chars().next()
            }) else {
                break;
            };
            let after = at + c.len_utf8();
            if byte.is_ascii() || !(is_ignored(c) || c.is_alphanumeric()) {
                if token.is_some() {
                    break;
                }
                at = after;
            } else if is_ignored(c) {
                at = after;
            } else {
                let alone = stands_alone(c);
                if alone && token.is_some() {
                    break;
                }
                let known = token.get_or_insert(Token {
                    begin: at,
                    end: at,
                    hash: SEED,
                });
                known.hash = fold(c).fold(known.hash, |hash, c| step(hash, u32::from(c)));
                at = after;
                known.end = at;
                if alone {
                    break;
                }
            }
        }
        self.at = at;
        token
    }
}

/// Characters of the scripts that are written without spaces between words. Each counts as a word, so that a forbidden
/// word of several such characters is found wherever they stand one after the other.
fn stands_alone(c: char) -> bool {
    matches!(c,
        '\u{0e00}'..='\u{0eff}'        // Thai, Lao
        | '\u{1000}'..='\u{109f}'      // Burmese
        | '\u{1780}'..='\u{17ff}'      // Khmer
        | '\u{2e80}'..='\u{9fff}'      // Chinese, Japanese
        | '\u{f900}'..='\u{faff}'
        | '\u{ff66}'..='\u{ff9f}'
        | '\u{20000}'..='\u{3ffff}')
}

/// Characters that do not show, or only decorate the one before them.
pub(crate) fn is_ignored(c: char) -> bool {
    matches!(c,
        '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{3164}' | '\u{ffa0}' | '\u{feff}'
        | '\u{0300}'..='\u{036f}'      // combining marks, and the variation selectors and formatting below
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{20d0}'..='\u{20ff}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// An ASCII letter or digit as it is compared. The bit that tells small letters from capitals is set in digits anyway.
fn folded_ascii(byte: u8) -> Option<u8> {
    let small = byte | 0x20;
    (small.is_ascii_lowercase() || byte.is_ascii_digit()).then_some(small)
}

fn folded(word: &str) -> impl Iterator<Item = char> {
    word.chars().filter(|&c| !is_ignored(c)).flat_map(fold)
}

/// A letter as it is compared: small, and ordinary where it is full-width.
fn fold(c: char) -> impl Iterator<Item = char> {
    let ordinary = match c {
        '\u{ff10}'..='\u{ff5a}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        _ => c,
    };
    ordinary.to_lowercase().filter(|&c| !is_ignored(c))
}

// FNV-1a, one step a character. It need not resist attack: a word with the hash of a forbidden one is compared with it.
const SEED: u64 = 0xcbf2_9ce4_8422_2325;

fn step(hash: u64, value: u32) -> u64 {
    (hash ^ u64::from(value)).wrapping_mul(0x0000_0100_0000_01b3)
}

/// Which word of the filter a hash has its bit in. The low bits are taken: those are the ones that FNV mixes best for
/// words of few letters.
fn slot(hash: u64) -> usize {
    usize::try_from((hash >> 6) % FILTER_WORDS as u64).unwrap_or(0)
}

fn bit(hash: u64) -> u64 {
    1 << (hash % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Words {
        let mut words = Words::default();
        for word in list {
            assert!(words.add(word), "{word}");
        }
        words
    }

    fn found<'t>(words: &Words, text: &'t str) -> Option<&'t str> {
        words.find(text, 0).map(|(begin, end)| &text[begin..end])
    }

    #[test]
    fn whole_words_only() {
        let words = words(&["ass", "röck", "4chan"]);
        for innocent in [
            "class",
            "assassin",
            "ass1",
            "pass ssa",
            "",
            "röcks",
            "ro\u{308}cks",
            "chan 4",
        ] {
            assert_eq!(found(&words, innocent), None, "{innocent}");
        }
        assert_eq!(found(&words, "an ass."), Some("ass"));
        assert_eq!(found(&words, "ASS"), Some("ASS"));
        assert_eq!(found(&words, "_ass_"), Some("ass"));
        assert_eq!(found(&words, "ein RÖCK!"), Some("RÖCK"));
        assert_eq!(found(&words, "see 4CHAN"), Some("4CHAN"));
    }

    #[test]
    fn phrases() {
        let words = words(&["buy now", "don't", "buy now or never"]);
        assert_eq!(found(&words, "please BUY -- now please"), Some("BUY -- now"));
        assert_eq!(found(&words, "buy it now"), None);
        assert_eq!(found(&words, "buy buy now"), Some("buy now"));
        assert_eq!(found(&words, "buy"), None);
        assert_eq!(found(&words, "I DON’T"), Some("DON’T"));
        assert_eq!(found(&words, "buy now or never!"), Some("buy now or never"));
    }

    #[test]
    fn simple_tricks() {
        let words = words(&["heck"]);
        for trick in [
            "he\u{200b}ck",
            "h\u{336}e\u{336}c\u{336}k\u{336}",
            "ＨＥＣＫ",
            "he\u{ad}ck",
            "HEC\u{212a}",
            "\u{feff}heck",
        ] {
            assert!(found(&words, trick).is_some(), "{trick}");
        }
        // Documented as not caught.
        for other in ["h3ck", "h e c k", "h.e.c.k", "hесk"] {
            assert_eq!(found(&words, other), None, "{other}");
        }
    }

    #[test]
    fn scripts_without_spaces() {
        let words = words(&["笨蛋", "バカ"]);
        assert_eq!(found(&words, "你是笨蛋吗"), Some("笨蛋"));
        assert_eq!(found(&words, "あのバカ野郎"), Some("バカ"));
        assert_eq!(found(&words, "笨 的 蛋"), None);
        assert_eq!(words.mask("你是笨蛋吗").as_deref(), Some("你是**吗"));
    }

    #[test]
    fn masks() {
        let words = words(&["heck", "buy now"]);
        assert_eq!(words.mask("fine"), None);
        assert_eq!(
            words.mask("Heck, heck: buy, now check heck").as_deref(),
            Some("****, ****: ***, *** check ****")
        );
    }

    #[test]
    fn words_without_clear_ends_are_not_taken() {
        for bad in ["", "  ", "c++", "@all", "...", "\u{200b}"] {
            assert!(!Words::default().add(bad), "{bad:?}");
        }
        assert!(Words::default().add(" heck "));
    }

    #[test]
    fn many_words() {
        let list: Vec<String> = (0..2000).map(|n| format!("word{n}")).collect();
        let words = words(&list.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(list.iter().all(|word| found(&words, &format!("a {word} b")).is_some()));
        assert_eq!(found(&words, "word2000 word wor d1"), None);
    }
}
