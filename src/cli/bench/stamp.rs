//! The mark inside a message that says when it was due and which one it is. Knows nothing of what is around it.

use std::io::Write;

/// Bytes of the mark: `~T`, 16 digits of nanoseconds, `~`, 8 digits of number, `~`.
const STAMP_BYTES: usize = 28;
const FILLER: &[u8] = b" and the rest is here only to make the message as long as it should be";

/// When a message was due, in nanoseconds of the generator's clock, and its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) due_ns: u64,
    pub(super) number: u64,
}

impl Stamp {
    /// Appends the mark, and text up to `bytes` in all.
    pub(super) fn write(self, out: &mut Vec<u8>, bytes: usize) {
        // Writing to a vector cannot fail.
        let _ = write!(out, "~T{:016}~{:08}~", self.due_ns, self.number);
        out.extend(FILLER.iter().cycle().take(bytes.saturating_sub(STAMP_BYTES)));
    }

    /// Finds the mark. `hint` is where the last one was: messages of one kind have it at nearly the same place.
    pub(super) fn find(text: &[u8], hint: &mut usize) -> Option<Self> {
        if let Some(stamp) = text.get(*hint..).and_then(Self::read) {
            return Some(stamp);
        }
        let (place, stamp) = text
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'~')
            .find_map(|(place, _)| text.get(place..).and_then(Self::read).map(|stamp| (place, stamp)))?;
        *hint = place;
        Some(stamp)
    }

    fn read(text: &[u8]) -> Option<Self> {
        let text = text.strip_prefix(b"~T")?;
        let (due_ns, text) = text.split_first_chunk::<16>()?;
        let text = text.strip_prefix(b"~")?;
        let (number, text) = text.split_first_chunk::<8>()?;
        text.starts_with(b"~").then_some(())?;
        Some(Self { due_ns: digits(due_ns)?, number: digits(number)? })
    }
}

/// The value of ASCII digits, if they are nothing else and at most 19.
pub(super) fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 {
        return None;
    }
    text.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + u64::from(byte - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_found_wherever_it_is() {
        let stamp = Stamp { due_ns: 1_234_567_890, number: 42 };
        for prefix in ["", "~T~ ~", "{\"event\":\"message-new\",\"data\":{\"content\":\""] {
            let mut text = prefix.as_bytes().to_vec();
            stamp.write(&mut text, 100);
            assert_eq!(text.len(), prefix.len() + 100);
            let mut hint = 3;
            assert_eq!(Stamp::find(&text, &mut hint), Some(stamp));
            assert_eq!(hint, prefix.len());
            assert_eq!(Stamp::find(&text, &mut hint), Some(stamp));
        }
    }

    #[test]
    fn what_is_no_stamp_is_not_found() {
        assert_eq!(Stamp::find(b"~T12345678901234x6~00000001~", &mut 0), None);
        assert_eq!(Stamp::find(b"~T1234567890123456~0000001", &mut 0), None);
        assert_eq!(Stamp::find(b"", &mut 9), None);
    }
}
