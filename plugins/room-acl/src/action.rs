//! What can be asked for in a room.

/// An action that the list has a say in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Become a member, and live, in a room.
    Join,
    /// Send a message.
    Send,
    /// Edit a message of somebody else.
    Edit,
    /// Delete a message of somebody else.
    Delete,
    /// Read what was sent before.
    History,
    /// See who is online.
    Presence,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Join,
        Self::Send,
        Self::Edit,
        Self::Delete,
        Self::History,
        Self::Presence,
    ];

    /// The name that the server has for it, which is also its key in the configuration.
    #[must_use]
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

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }

    /// What somebody who may not do it is told. It names the action and nothing else: neither the room nor the rule.
    #[must_use]
    pub fn refusal(self) -> &'static str {
        match self {
            Self::Join => "You may not join this room.",
            Self::Send => "You may not send messages to this room.",
            Self::Edit => "You may not edit messages of others in this room.",
            Self::Delete => "You may not delete messages of others in this room.",
            Self::History => "You may not read what was sent to this room before.",
            Self::Presence => "You may not see who is online in this room.",
        }
    }
}
