//! Reads the operator's configuration: which keys there are, and what they must be.

use std::collections::BTreeMap;

use operator_config::{At, ConfigError, read};

use crate::acl::{Acl, Rule, Who};
use crate::action::Action;
use crate::condition::Condition;
use crate::pattern::Pattern;

/// All rules may have to be looked through for one question, so there is an end to what they may be.
const RULES_MAX: usize = 100;
/// Patterns of rooms, in all rules together.
const PATTERNS_MAX: usize = 500;
/// Pieces of them that are costly, in all rules together.
const COSTLY_PIECES_MAX: usize = 20;
const CONDITIONS_PER_ACTION_MAX: usize = 50;

const CACHE_SECONDS: u32 = 300;
const CACHE_SECONDS_MAX: u32 = 86_400;

const KEYS: [&str; 2] = ["rules", "cache_seconds"];
const RULE_KEYS: [&str; 7] = ["rooms", "join", "send", "edit", "delete", "history", "presence"];
const WHO: &str = "\"everyone\", \"nobody\" or a list of conditions, for example [\"role=member\"]";

pub(crate) fn parse(json: &str) -> Result<Acl, ConfigError> {
    let value = read(json)?;
    let root = At::root(&value);
    root.only(&KEYS)?;
    let items = root.items("rules")?;
    if items.is_empty() {
        return Err(at_key(&root, "rules")
            .error("expected a list `rules` with at least one rule: without rules nothing is decided"));
    }
    if items.len() > RULES_MAX {
        return Err(at_key(&root, "rules").error(format!("there may be at most {RULES_MAX} rules")));
    }
    let mut patterns = Patterns::default();
    let rules = items
        .iter()
        .map(|item| rule(item, &mut patterns))
        .collect::<Result<Vec<Rule>, ConfigError>>()?;
    let seconds = root
        .number("cache_seconds", CACHE_SECONDS_MAX)?
        .unwrap_or(CACHE_SECONDS);
    Ok(Acl {
        rules,
        cache_ms: seconds.saturating_mul(1000),
    })
}

/// What is at `key`, or, if it is missing, what it is missing in.
fn at_key<'a>(at: &At<'a>, key: &str) -> At<'a> {
    at.child(key).unwrap_or_else(|| at.clone())
}

/// The patterns read so far.
#[derive(Default)]
struct Patterns<'a> {
    /// Where each is.
    places: BTreeMap<&'a str, String>,
    costly_pieces: usize,
}

impl<'a> Patterns<'a> {
    fn read(&mut self, at: &At<'a>) -> Result<Pattern, ConfigError> {
        let text = at.text()?;
        let pattern = Pattern::of_rooms(text).map_err(|message| at.error(message))?;
        if let Some(place) = self.places.insert(text, at.path().to_owned()) {
            return Err(at.error(format!("the same pattern is at `{place}`, so it is decided there")));
        }
        if self.places.len() > PATTERNS_MAX {
            return Err(at.error(format!("there may be at most {PATTERNS_MAX} patterns in all rules")));
        }
        self.costly_pieces = self.costly_pieces.saturating_add(pattern.costly_pieces());
        if self.costly_pieces > COSTLY_PIECES_MAX {
            return Err(at.error(format!(
                "at most {COSTLY_PIECES_MAX} placeholders of attributes in all rules may come after a `*` or after another \
                 one: matching them takes long"
            )));
        }
        Ok(pattern)
    }
}

fn rule<'a>(at: &At<'a>, patterns: &mut Patterns<'a>) -> Result<Rule, ConfigError> {
    at.only(&RULE_KEYS)?;
    let items = at.items("rooms")?;
    if items.is_empty() {
        return Err(at_key(at, "rooms")
            .error("expected a list `rooms` with at least one pattern, for example \"*\" for all rooms"));
    }
    let rooms = items.iter().map(|item| patterns.read(item)).collect::<Result<_, _>>()?;
    let who = |action: Action, unsaid: Who| match at.child(action.name()) {
        Some(item) => who(&item),
        None => Ok(unsaid),
    };
    Ok(Rule {
        rooms,
        join: who(Action::Join, Who::Everyone)?,
        send: who(Action::Send, Who::Everyone)?,
        // These two are asked about messages of others.
        edit: who(Action::Edit, Who::Nobody)?,
        delete: who(Action::Delete, Who::Nobody)?,
        history: who(Action::History, Who::Everyone)?,
        presence: who(Action::Presence, Who::Everyone)?,
    })
}

fn who(at: &At<'_>) -> Result<Who, ConfigError> {
    match at.value.as_str() {
        Some("everyone") => return Ok(Who::Everyone),
        Some("nobody") => return Ok(Who::Nobody),
        _ => {}
    }
    let items = at.list().map_err(|_| at.error(format!("expected {WHO}")))?;
    if items.is_empty() {
        return Err(at.error(format!("expected at least one condition, or {WHO}")));
    }
    if items.len() > CONDITIONS_PER_ACTION_MAX {
        return Err(at.error(format!("there may be at most {CONDITIONS_PER_ACTION_MAX} conditions")));
    }
    let condition = |item: &At<'_>| Condition::parse(item.text()?).map_err(|message| item.error(message));
    items.iter().map(condition).collect::<Result<_, _>>().map(Who::AnyOf)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str) -> (String, String) {
        let error = parse(json).err().unwrap_or_else(|| panic!("taken: {json}"));
        (error.path, error.message)
    }

    #[test]
    fn all_keys() {
        let acl = parse(
            r#"{"rules":[{"rooms":["dm-{userId}-*","org-{org}-*"],"join":"everyone","send":["role=member","{userId}=ann"],
                "edit":"nobody","delete":["role=moderator"],"history":"everyone","presence":"everyone"}],
                "cache_seconds":7}"#,
        )
        .unwrap();
        assert_eq!(acl.cache_ms(), 7000);
    }

    #[test]
    fn answers_are_remembered_for_five_minutes_unless_it_is_said_otherwise() {
        for (rest, expected) in [
            ("", 300_000),
            (r#","cache_seconds":0"#, 0),
            (r#","cache_seconds":86400"#, 86_400_000),
        ] {
            let acl = parse(&format!(r#"{{"rules":[{{"rooms":["*"]}}]{rest}}}"#)).unwrap();
            assert_eq!(acl.cache_ms(), expected);
        }
    }

    #[test]
    fn errors_say_where() {
        for (json, path) in [
            ("not JSON", ""),
            ("[]", ""),
            ("{}", ""),
            (r#"{"rules":[]}"#, "/rules"),
            (r#"{"rules":{}}"#, "/rules"),
            (r#"{"rule":[]}"#, "/rule"),
            (r#"{"rules":["*"]}"#, "/rules/0"),
            (r#"{"rules":[{}]}"#, "/rules/0"),
            (r#"{"rules":[{"rooms":[]}]}"#, "/rules/0/rooms"),
            (r#"{"rules":[{"rooms":"*"}]}"#, "/rules/0/rooms"),
            (r#"{"rules":[{"rooms":["a",""]}]}"#, "/rules/0/rooms/1"),
            (r#"{"rules":[{"rooms":["a{b"]}]}"#, "/rules/0/rooms/0"),
            (r#"{"rules":[{"rooms":["{user_id}"]}]}"#, "/rules/0/rooms/0"),
            (r#"{"rules":[{"rooms":["a"]},{"rooms":["b","a"]}]}"#, "/rules/1/rooms/1"),
            (r#"{"rules":[{"rooms":["*"],"jion":"nobody"}]}"#, "/rules/0/jion"),
            (r#"{"rules":[{"rooms":["*"],"join":"somebody"}]}"#, "/rules/0/join"),
            (r#"{"rules":[{"rooms":["*"],"join":true}]}"#, "/rules/0/join"),
            (r#"{"rules":[{"rooms":["*"],"send":[]}]}"#, "/rules/0/send"),
            (r#"{"rules":[{"rooms":["*"],"send":["a=b",7]}]}"#, "/rules/0/send/1"),
            (
                r#"{"rules":[{"rooms":["*"],"delete":["everyone"]}]}"#,
                "/rules/0/delete/0",
            ),
            (
                r#"{"rules":[{"rooms":["*"],"edit":["userId=ann"]}]}"#,
                "/rules/0/edit/0",
            ),
            (r#"{"rules":[{"rooms":["*"]}],"cache_seconds":-1}"#, "/cache_seconds"),
            (r#"{"rules":[{"rooms":["*"]}],"cache_seconds":86401}"#, "/cache_seconds"),
            (r#"{"rules":[{"rooms":["*"]}],"cache_seconds":"5m"}"#, "/cache_seconds"),
        ] {
            let (found, message) = refused(json);
            assert_eq!(found, path, "{json}: {message}");
            assert!(!message.is_empty());
        }
    }

    #[test]
    fn there_is_an_end_to_everything() {
        let list = |item: &dyn Fn(usize) -> String, count: usize| (0..count).map(item).collect::<Vec<_>>().join(",");
        let rules = |count| {
            format!(
                r#"{{"rules":[{}]}}"#,
                list(&|n| format!(r#"{{"rooms":["r{n}"]}}"#), count)
            )
        };
        let rooms = |pattern: &str, count| {
            let list = list(&|n| format!(r#""{pattern}{n}""#), count);
            format!(r#"{{"rules":[{{"rooms":[{list}]}}]}}"#)
        };
        let conditions = |count| {
            let list = list(&|n| format!(r#""a={n}""#), count);
            format!(r#"{{"rules":[{{"rooms":["*"],"send":[{list}]}}]}}"#)
        };
        assert!(parse(&rules(RULES_MAX)).is_ok());
        assert_eq!(refused(&rules(RULES_MAX + 1)).0, "/rules");
        assert!(parse(&rooms("r", PATTERNS_MAX)).is_ok());
        assert_eq!(
            refused(&rooms("r", PATTERNS_MAX + 1)).0,
            format!("/rules/0/rooms/{PATTERNS_MAX}")
        );
        assert!(parse(&rooms("*{t}", COSTLY_PIECES_MAX)).is_ok());
        assert_eq!(
            refused(&rooms("*{t}", COSTLY_PIECES_MAX + 1)).0,
            format!("/rules/0/rooms/{COSTLY_PIECES_MAX}")
        );
        assert!(parse(&conditions(CONDITIONS_PER_ACTION_MAX)).is_ok());
        assert_eq!(refused(&conditions(CONDITIONS_PER_ACTION_MAX + 1)).0, "/rules/0/send");
    }

    #[test]
    fn a_mistake_is_told_with_what_was_expected() {
        assert!(
            refused(r#"{"rules":[{"rooms":["*"],"jion":"nobody"}]}"#)
                .1
                .contains("`join`")
        );
        assert!(
            refused(r#"{"rules":[{"rooms":["*"],"edit":["user-id=ann"]}]}"#)
                .1
                .contains("{userId}")
        );
        assert!(
            refused(r#"{"rules":[{"rooms":["x","a"]},{"rooms":["a"]}]}"#)
                .1
                .contains("`/rules/0/rooms/1`")
        );
    }
}
