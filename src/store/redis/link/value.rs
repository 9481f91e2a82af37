//! What Redis answers: its own type, so that nobody above the link knows the library.

use bytes::Bytes;
use deadpool_redis::redis;

/// An answer, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// There is nothing. A script's `false` and `nil`.
    Nil,
    /// A number. A script's numbers are cut to whole ones.
    Int(i64),
    /// A short text that is no data, like `OK`.
    Status(String),
    /// Data.
    Bytes(Bytes),
    /// Several.
    List(Vec<Value>),
}

impl Value {
    /// The number, also where it comes as text.
    pub fn int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Bytes(_) | Self::Status(_) => self.text()?.parse().ok(),
            Self::Nil | Self::List(_) => None,
        }
    }

    /// The data.
    pub fn bytes(&self) -> Option<&Bytes> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    /// The text, if it is UTF-8.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            Self::Status(text) => Some(text),
            Self::Nil | Self::Int(_) | Self::List(_) => None,
        }
    }

    /// The parts.
    pub fn list(&self) -> Option<&[Value]> {
        if let Self::List(values) = self { Some(values) } else { None }
    }

    /// The parts, to keep.
    pub fn into_list(self) -> Option<Vec<Value>> {
        if let Self::List(values) = self { Some(values) } else { None }
    }

    /// Takes an answer over. An error inside a list is the first of the errors.
    pub(super) fn from_answer(answer: redis::Value) -> Result<Self, redis::RedisError> {
        use redis::Value as Raw;
        let list =
            |values: Vec<Raw>| values.into_iter().map(Self::from_answer).collect::<Result<_, _>>().map(Self::List);
        match answer {
            Raw::Nil => Ok(Self::Nil),
            Raw::Int(number) => Ok(Self::Int(number)),
            Raw::Boolean(is) => Ok(Self::Int(is.into())),
            Raw::Okay => Ok(Self::Status("OK".to_owned())),
            Raw::SimpleString(text) => Ok(Self::Status(text)),
            Raw::BulkString(bytes) => Ok(Self::Bytes(bytes.into())),
            Raw::VerbatimString { text, .. } => Ok(Self::Bytes(text.into())),
            Raw::Double(number) => Ok(Self::Bytes(number.to_string().into())),
            Raw::Array(values) | Raw::Set(values) => list(values),
            Raw::Map(pairs) => list(pairs.into_iter().flat_map(|(key, value)| [key, value]).collect()),
            Raw::Attribute { data, .. } => Self::from_answer(*data),
            Raw::Push { data, .. } => list(data),
            Raw::ServerError(error) => Err(error.into()),
            other => Ok(Self::Bytes(format!("{other:?}").into())),
        }
    }
}
