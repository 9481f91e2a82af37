//! The list: one question in, one decision out.

use operator_config::ConfigError;

use crate::action::Action;
use crate::condition::Condition;
use crate::config;
use crate::pattern::Pattern;

/// Who asks.
pub struct Person<'a> {
    /// The user's id.
    pub subject: &'a str,
    /// Names and values of what is known of the user. A name may come several times.
    pub attributes: Vec<(&'a str, &'a str)>,
}

/// The rules in their order, ready to be applied.
#[derive(Debug)]
pub struct Acl {
    pub(crate) rules: Vec<Rule>,
    /// How long a decision may be remembered, in milliseconds.
    pub(crate) cache_ms: u32,
}

/// Who may do what in some rooms.
#[derive(Debug)]
pub(crate) struct Rule {
    /// It decides about the rooms that one of these matches.
    pub(crate) rooms: Vec<Pattern>,
    pub(crate) join: Who,
    pub(crate) send: Who,
    pub(crate) edit: Who,
    pub(crate) delete: Who,
    pub(crate) history: Who,
    pub(crate) presence: Who,
}

/// Who may do one thing.
#[derive(Debug)]
pub(crate) enum Who {
    Everyone,
    Nobody,
    /// Everyone who meets one of these.
    AnyOf(Vec<Condition>),
}

/// What the list says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow,
    /// No, and what was asked for.
    Deny(Action),
    /// Nothing: there is no rule for the room, or the action is one that the list does not know.
    Abstain,
}

impl Acl {
    /// Reads the operator's configuration.
    ///
    /// # Errors
    ///
    /// Names the first key that is unknown or has a value that makes no sense.
    pub fn from_json(json: &str) -> Result<Self, ConfigError> {
        config::parse(json)
    }

    /// Whether the person may do that in the room.
    #[must_use]
    pub fn decide(&self, person: &Person<'_>, action: &str, room: &str) -> Decision {
        let Some(action) = Action::from_name(action) else {
            return Decision::Abstain;
        };
        match self.rules.iter().find(|rule| rule.is_about(person, room)) {
            None => Decision::Abstain,
            Some(rule) if rule.who(action).includes(person) => Decision::Allow,
            Some(_) => Decision::Deny(action),
        }
    }

    /// How long a decision may be remembered, in milliseconds.
    #[must_use]
    pub fn cache_ms(&self) -> u32 {
        self.cache_ms
    }
}

impl Rule {
    fn is_about(&self, person: &Person<'_>, room: &str) -> bool {
        self.rooms.iter().any(|pattern| pattern.matches(room, person))
    }

    fn who(&self, action: Action) -> &Who {
        match action {
            Action::Join => &self.join,
            Action::Send => &self.send,
            Action::Edit => &self.edit,
            Action::Delete => &self.delete,
            Action::History => &self.history,
            Action::Presence => &self.presence,
        }
    }
}

impl Who {
    fn includes(&self, person: &Person<'_>) -> bool {
        match self {
            Self::Everyone => true,
            Self::Nobody => false,
            Self::AnyOf(conditions) => conditions.iter().any(|condition| condition.is_met(person)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(json: &str) -> Acl {
        Acl::from_json(json).unwrap()
    }

    fn decide(acl: &Acl, subject: &str, attributes: &[(&str, &str)], action: &str, room: &str) -> Decision {
        let attributes = attributes.to_vec();
        acl.decide(&Person { subject, attributes }, action, room)
    }

    #[test]
    fn the_first_rule_about_the_room_decides_and_no_other() {
        let acl = acl(r#"{"rules":[
            {"rooms":["staff-*"],"join":["role=staff"]},
            {"rooms":["staff-lounge","lobby"],"join":"everyone","send":"nobody"}]}"#);
        assert_eq!(
            decide(&acl, "ann", &[], "join", "staff-lounge"),
            Decision::Deny(Action::Join)
        );
        assert_eq!(
            decide(&acl, "ann", &[("role", "staff")], "join", "staff-lounge"),
            Decision::Allow
        );
        // The second rule would forbid it, but it is not asked.
        assert_eq!(decide(&acl, "ann", &[], "send", "staff-lounge"), Decision::Allow);
        assert_eq!(decide(&acl, "ann", &[], "send", "lobby"), Decision::Deny(Action::Send));
        assert_eq!(decide(&acl, "ann", &[], "join", "elsewhere"), Decision::Abstain);
    }

    #[test]
    fn what_a_rule_does_not_say() {
        let acl = acl(r#"{"rules":[{"rooms":["*"]}]}"#);
        for action in ["join", "send", "history", "presence"] {
            assert_eq!(decide(&acl, "ann", &[], action, "lobby"), Decision::Allow, "{action}");
        }
        assert_eq!(decide(&acl, "ann", &[], "edit", "lobby"), Decision::Deny(Action::Edit));
        assert_eq!(
            decide(&acl, "ann", &[], "delete", "lobby"),
            Decision::Deny(Action::Delete)
        );
    }

    #[test]
    fn every_action_has_its_own_answer() {
        for wanted in Action::ALL {
            let mut rule = String::new();
            for action in Action::ALL {
                let who = if action == wanted { "everyone" } else { "nobody" };
                rule.push_str(&format!(r#","{}":"{who}""#, action.name()));
            }
            let acl = acl(&format!(r#"{{"rules":[{{"rooms":["*"]{rule}}}]}}"#));
            for action in Action::ALL {
                let expected = if action == wanted {
                    Decision::Allow
                } else {
                    Decision::Deny(action)
                };
                assert_eq!(decide(&acl, "ann", &[], action.name(), "lobby"), expected);
            }
        }
    }

    #[test]
    fn an_action_of_a_later_version_is_for_others_to_decide() {
        let acl = acl(r#"{"rules":[{"rooms":["*"],"join":"nobody"}]}"#);
        for action in ["", "Join", "pin", "authenticate"] {
            assert_eq!(decide(&acl, "ann", &[], action, "lobby"), Decision::Abstain, "{action}");
        }
    }

    #[test]
    fn rooms_of_two_and_of_teams() {
        let acl = acl(r#"{"rules":[
            {"rooms":["dm:{userId}:*","dm:*:{userId}"]},
            {"rooms":["team-{team}","team-{team}-*"],"delete":["lead-of=*"]},
            {"rooms":["dm:*","team-*"],"join":"nobody","send":"nobody","history":"nobody","presence":"nobody"}]}"#);
        let ann = [("team", "red"), ("team", "blue"), ("lead-of", "blue")];
        for (room, decision) in [
            ("dm:ann:bob", Decision::Allow),
            ("dm:bob:ann", Decision::Allow),
            ("dm:bob:cid", Decision::Deny(Action::History)),
            ("dm:anna:bob", Decision::Deny(Action::History)),
            ("team-red", Decision::Allow),
            ("team-blue-plans", Decision::Allow),
            ("team-blues", Decision::Deny(Action::History)),
            ("team-", Decision::Deny(Action::History)),
            ("lobby", Decision::Abstain),
        ] {
            assert_eq!(decide(&acl, "ann", &ann, "history", room), decision, "{room}");
        }
        assert_eq!(decide(&acl, "ann", &ann, "delete", "team-red"), Decision::Allow);
        assert_eq!(
            decide(&acl, "bob", &ann[..2], "delete", "team-red"),
            Decision::Deny(Action::Delete)
        );
    }

    #[test]
    fn nobody_passes_for_another_by_an_attribute_or_a_strange_id() {
        let acl = acl(r#"{"rules":[
            {"rooms":["vault"],"join":["{userId}=ann","role=admin"]},
            {"rooms":["home-{userId}"]},
            {"rooms":["home-*"],"join":"nobody"}]}"#);
        assert_eq!(decide(&acl, "ann", &[], "join", "vault"), Decision::Allow);
        let forged = [
            ("userId", "ann"),
            ("{userId}", "ann"),
            ("subject", "ann"),
            ("{userId}=ann", ""),
            ("", "{userId}=ann"),
            ("role=admin", ""),
            ("Role", "admin"),
            ("role", "admin "),
            ("role", "*"),
        ];
        assert_eq!(
            decide(&acl, "eve", &forged, "join", "vault"),
            Decision::Deny(Action::Join)
        );
        assert_eq!(
            decide(&acl, "eve", &forged, "join", "home-ann"),
            Decision::Deny(Action::Join)
        );
        // The server lets nobody have such an id. If it did, it would still be an id and no pattern.
        for strange in ["*", "{userId}", "a*", "", "ann-*"] {
            assert_eq!(
                decide(&acl, strange, &[], "join", "home-ann"),
                Decision::Deny(Action::Join),
                "{strange}"
            );
            assert_eq!(
                decide(&acl, strange, &[], "join", "vault"),
                Decision::Deny(Action::Join)
            );
        }
    }

    #[test]
    fn a_refusal_names_the_action_and_not_the_rule() {
        let messages: Vec<&str> = Action::ALL.into_iter().map(Action::refusal).collect();
        for (action, message) in Action::ALL.into_iter().zip(&messages) {
            assert!(
                message.starts_with("You may not ") && message.ends_with('.'),
                "{action:?}"
            );
            assert_eq!(messages.iter().filter(|other| *other == message).count(), 1);
        }
    }
}
