//! The names things have: users, rooms, devices, messages, connections.
//!
//! Each is checked once, where it enters, and cannot be mistaken for another afterwards. What an id may contain is the
//! protocol's rule (section 2.4); this module must not know what the ids are used for.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// Longest id and `tempId`, in bytes.
pub const ID_BYTES_MAX: usize = 200;

/// Why a text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IdError {
    /// Empty text names nothing.
    #[error("must not be empty")]
    Empty,
    /// Longer than [`ID_BYTES_MAX`].
    #[error("must be at most 200 bytes long")]
    TooLong,
    /// A control character, or one that means something to Redis.
    #[error("must not contain control characters or any of {{ }} * ? [ ] \\")]
    Character,
}

fn check_length(text: &str) -> Result<(), IdError> {
    match text.len() {
        0 => Err(IdError::Empty),
        1..=ID_BYTES_MAX => Ok(()),
        _ => Err(IdError::TooLong),
    }
}

/// Checks the protocol's rule for ids: 1 to 200 bytes, no control characters, none of `{ } * ? [ ] \`.
///
/// # Errors
///
/// What is wrong with the text.
pub fn check_id(text: &str) -> Result<(), IdError> {
    check_length(text)?;
    let forbidden = |character: char| character.is_control() || "{}*?[]\\".contains(character);
    if text.chars().any(forbidden) { Err(IdError::Character) } else { Ok(()) }
}

/// Checks the rule for texts that are echoed but name nothing of ours (`tempId`, `type`, `replyTo`): 1 to 200 bytes, printable.
///
/// # Errors
///
/// What is wrong with the text.
pub fn check_label(text: &str) -> Result<(), IdError> {
    check_length(text)?;
    if text.chars().any(char::is_control) { Err(IdError::Character) } else { Ok(()) }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes a text as an id.
            ///
            /// # Errors
            ///
            /// What is wrong with the text.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                check_id(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, formatter)
            }
        }
    };
}

text_id!(
    /// A user, as the token names it.
    UserId
);
text_id!(
    /// A conversation.
    RoomId
);
text_id!(
    /// One of a user's devices, as the client names it.
    DeviceId
);
text_id!(
    /// A message. Made by the store; opaque to clients.
    MessageId
);

/// One connection, as its client knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionId(ulid::Ulid);

impl SessionId {
    /// The id that a client was told, if it can be one.
    pub fn parse(text: &str) -> Option<Self> {
        ulid::Ulid::from_string(text).ok().map(Self)
    }
}

impl serde::Serialize for SessionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Makes ids that nobody made before: 26 letters and digits that sort by the time they were made.
#[derive(Default)]
pub struct IdSource(ulid::Generator);

impl IdSource {
    fn next(&mut self) -> String {
        let id = self.0.generate().unwrap_or_else(ulid::Overflow::commit_overflow_random);
        id.to_string()
    }

    /// For a message.
    pub fn message(&mut self) -> MessageId {
        MessageId(self.next().into())
    }

    /// For a session.
    pub fn session(&mut self) -> SessionId {
        SessionId(self.0.generate().unwrap_or_else(ulid::Overflow::commit_overflow_random))
    }

    /// For a room's log: its random part alone tells it from any earlier log of the same room.
    pub fn epoch(&mut self) -> Arc<str> {
        self.next().split_off(14).to_lowercase().into()
    }
}

/// Which worker shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

/// One connection of a shard. A slot is used again, with another generation, so an old key finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionKey {
    /// Place in the shard's table.
    pub slot: u32,
    /// How often that place had been used before.
    pub generation: u32,
}

impl ConnectionKey {
    /// A slot that no table has: keys with it are those of the server API's calls.
    const CALL_SLOT: u32 = u32::MAX;

    /// The key of one of the server API's calls, by its number.
    pub fn of_call(number: u32) -> Self {
        Self { slot: Self::CALL_SLOT, generation: number }
    }

    /// Whether this is a call of the server API, and no connection.
    pub fn is_call(self) -> bool {
        self.slot == Self::CALL_SLOT
    }
}

/// A connection's number in logs and plugins: unique while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

impl ConnectionId {
    /// The number of the `count`th connection of a shard.
    pub fn new(shard: ShardId, count: u64) -> Self {
        Self(u64::from(shard.0) << 48 | (count & 0xffff_ffff_ffff))
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:x}", self.0)
    }
}

/// Whether a room's id is what a pattern describes: `*` stands for any text, everything else for itself.
pub fn pattern_matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut left) = text.strip_prefix(start) else { return false };
    let Some((middles, end)) = rest.rsplit_once('*') else { return left.ends_with(rest) };
    for middle in middles.split('*') {
        let Some(at) = left.find(middle) else { return false };
        left = left.get(at + middle.len()..).unwrap_or_default();
    }
    left.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_to_the_protocols_alphabet() {
        assert_eq!(UserId::parse("alice").map(|id| id.to_string()), Ok("alice".to_owned()));
        assert!(RoomId::parse("dm-ålice:bob.ø/1").is_ok());
        assert_eq!(RoomId::parse(""), Err(IdError::Empty));
        assert!(RoomId::parse(&"x".repeat(200)).is_ok());
        assert_eq!(RoomId::parse(&"x".repeat(201)), Err(IdError::TooLong));
        for bad in ["a{b", "a}b", "*", "a?", "[a", "a]", "a\\b", "a\nb", "a\u{7f}", "\u{85}"] {
            assert_eq!(RoomId::parse(bad), Err(IdError::Character), "{bad:?}");
        }
        assert!(check_label("any {printable} [text]*").is_ok());
        assert_eq!(check_label("a\tb"), Err(IdError::Character));
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, yes, no) in [
            ("lobby", vec!["lobby"], vec!["lobby2", "lob", ""]),
            ("live-*", vec!["live-", "live-x", "live-x-y"], vec!["live", "xlive-"]),
            ("*-live", vec!["-live", "x-live", "live-live"], vec!["x-live-"]),
            ("a*b*c", vec!["abc", "axbxc", "abbcc"], vec!["ab", "acb", "abcx"]),
            ("*", vec!["", "anything"], vec![]),
            ("a*a", vec!["aa", "aba"], vec!["a"]),
        ] {
            assert!(yes.iter().all(|text| pattern_matches(pattern, text)), "{pattern}");
            assert!(!no.iter().any(|text| pattern_matches(pattern, text)), "{pattern}");
        }
    }
}
