//! What is asked about people, and what comes of it: the words in which the auth chain speaks with the rest of the server.

use std::sync::Arc;
use std::time::Duration;

use super::identity::Attribute;
use super::jwt::TokenError;
use crate::ids::{ConnectionId, UserId};

/// What someone may do in a room, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Join it, or become live in it after having joined it earlier.
    Join,
    /// Send messages.
    Send,
    /// Change the messages of others.
    Edit,
    /// Delete the messages of others.
    Delete,
    /// Read what was said before.
    History,
    /// See who is online.
    Presence,
}

impl Action {
    /// Whether everybody may, where no plugin minds. What others wrote is changed only by whom a plugin allows it.
    pub(super) fn is_free(self) -> bool {
        !matches!(self, Self::Edit | Self::Delete)
    }

    /// Its name in the WIT package.
    pub fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Send => "send",
            Self::Edit => "edit",
            Self::Delete => "delete",
            Self::History => "history",
            Self::Presence => "presence",
        }
    }
}

/// A plugin's no, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Which plugin; none, if no plugin said yes.
    pub plugin: Option<Arc<str>>,
    /// The plugin's own code.
    pub code: String,
    /// For people.
    pub message: String,
}

/// Why someone is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthError {
    /// The built-in check does not accept the token.
    Token(TokenError),
    /// A plugin said no.
    Denied(Denial),
    /// A plugin that had to answer did not.
    Unavailable {
        /// Which.
        plugin: Arc<str>,
    },
    /// Nobody brought anything to be judged by.
    Anonymous,
}

impl AuthError {
    /// Its name in logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Token(error) => error.name(),
            Self::Denied(_) => "denied",
            Self::Unavailable { .. } => "policy_unavailable",
            Self::Anonymous => "anonymous",
        }
    }
}

/// What a client brought to be judged by.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// A token, if there was one.
    pub token: Option<String>,
    /// Where the client is.
    pub address: String,
    /// The headers that plugins want to see.
    pub headers: Vec<Attribute>,
}

/// Who asks for something.
#[derive(Clone, Debug)]
pub struct Who {
    /// On which connection.
    pub connection: ConnectionId,
    /// Which user.
    pub user: UserId,
    /// What is known of the user.
    pub attributes: Arc<[Attribute]>,
}

/// Why something may not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAllowed {
    /// It was refused.
    Denied(Denial),
    /// A plugin that had to answer did not.
    Unavailable {
        /// Which.
        plugin: Arc<str>,
    },
}

/// Whether something may be done, and for how long that holds.
#[derive(Clone, Debug)]
pub struct Decision {
    /// Yes, or why not.
    pub outcome: Result<(), NotAllowed>,
    /// How long it may be remembered.
    pub holds: Duration,
}
