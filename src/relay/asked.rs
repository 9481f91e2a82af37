//! Requests that are to be answered.

use crate::ids::ConnectionKey;

/// A request that is to be answered: by whom it was made, under which id, and for what.
#[derive(Debug)]
pub struct Asked {
    /// The connection.
    pub key: ConnectionKey,
    /// The request's id, as it came.
    pub id: Option<Box<str>>,
    /// The request's event, as it is logged.
    pub event: &'static str,
    /// What the client called it, if that is something else.
    said: Option<Box<str>>,
}

/// Longest name of an event that a refusal repeats, in bytes.
const SAID_BYTES_MAX: usize = 64;

impl Asked {
    /// A client's request, known to us as `event`.
    pub fn new(key: ConnectionKey, id: Option<&str>, event: &'static str, said: &str) -> Self {
        let said = said.get(..said.floor_char_boundary(SAID_BYTES_MAX)).filter(|said| *said != event);
        Self { key, id: id.map(Box::from), event, said: said.map(Box::from) }
    }

    /// Something that the server does on its own, or that is no request.
    pub fn of_server(key: ConnectionKey, event: &'static str) -> Self {
        Self { key, id: None, event, said: None }
    }

    /// The request's event, as the client called it.
    pub(super) fn name(&self) -> &str {
        self.said.as_deref().unwrap_or(self.event)
    }
}
