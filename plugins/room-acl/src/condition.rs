//! What is asked of a person: `name=value`.

use crate::acl::Person;
use crate::pattern::{Pattern, SUBJECT, check_attribute_name};

/// Longest condition, in bytes.
const CONDITION_BYTES_MAX: usize = 1000;

/// Something that the user's id or one of the attributes must be.
#[derive(Debug)]
pub(crate) struct Condition {
    of: Of,
    value: Pattern,
}

/// Which of a person's values is looked at. The id has a spelling that is no attribute's name in a configuration, so an
/// attribute with any name whatever is never taken for it.
#[derive(Debug)]
enum Of {
    Subject,
    Attribute(String),
}

impl Condition {
    /// Reads `name=value`, where the name ends at the first `=`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > CONDITION_BYTES_MAX {
            return Err(format!("longer than {CONDITION_BYTES_MAX} bytes"));
        }
        let Some((name, value)) = text.split_once('=').filter(|(_, value)| !value.is_empty()) else {
            return Err(format!(
                "expected an attribute and its value, `name=value`, or a user's id, `{{{SUBJECT}}}=value`"
            ));
        };
        let subject = name
            .strip_prefix('{')
            .and_then(|name| name.strip_suffix('}'))
            .is_some_and(|name| name == SUBJECT);
        let of = if subject {
            Of::Subject
        } else {
            check_attribute_name(name)?;
            Of::Attribute(name.to_owned())
        };
        Ok(Self {
            of,
            value: Pattern::of_values(value)?,
        })
    }

    pub(crate) fn is_met(&self, person: &Person<'_>) -> bool {
        match &self.of {
            Of::Subject => self.value.matches(person.subject, person),
            Of::Attribute(wanted) => person
                .attributes
                .iter()
                .any(|(name, value)| name == wanted && self.value.matches(value, person)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(condition: &str, subject: &str, attributes: &[(&str, &str)]) -> bool {
        let attributes = attributes.to_vec();
        Condition::parse(condition)
            .unwrap()
            .is_met(&Person { subject, attributes })
    }

    #[test]
    fn any_value_of_the_name_counts() {
        let roles = [("role", "member"), ("role", "moderator"), ("plan", "gold")];
        for (condition, expected) in [
            ("role=member", true),
            ("role=moderator", true),
            ("role=gold", false),
            ("role=mod", false),
            ("role=mod*", true),
            ("role=*er*", true),
            ("role=*", true),
            ("rank=*", false),
            ("Role=member", false),
            ("{userId}=ann", true),
            ("{userId}=a*", true),
            ("{userId}=member", false),
            ("plan=*ol*", true),
        ] {
            assert_eq!(met(condition, "ann", &roles), expected, "{condition}");
        }
    }

    #[test]
    fn a_name_ends_at_the_first_equals_sign() {
        assert!(met("dn=cn=ann,o=org", "ann", &[("dn", "cn=ann,o=org")]));
        assert!(!met("dn=cn=ann", "ann", &[("dn=cn", "ann")]));
        assert!(met("is admin=true", "ann", &[("is admin", "true")]));
        assert!(met("none=*", "ann", &[("none", "")]));
    }

    #[test]
    fn a_value_is_taken_literally_wherever_it_comes_from() {
        assert!(met("role=?[x]", "ann", &[("role", "?[x]")]));
        assert!(!met("role=member", "ann", &[("role", "*")]));
        assert!(!met("role=member", "ann", &[("role", "mem*")]));
    }

    #[test]
    fn what_is_no_condition() {
        let long = format!("role={}", "x".repeat(CONDITION_BYTES_MAX));
        for text in [
            "everyone",
            "role",
            "role=",
            "=member",
            "{userId}=",
            "userId=ann",
            "user_id=ann",
            "{UserId}=ann",
            "{role}=member",
            "ro*le=x",
            "owner={userId}",
            &long,
        ] {
            assert!(Condition::parse(text).is_err(), "{text}");
        }
    }
}
