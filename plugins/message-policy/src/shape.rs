//! Which types of messages there are, and what form the content of each has.
//!
//! This is less than a schema language on purpose: it says what a client may rely on when it draws a message (that
//! there is a string, that a location has two numbers), and every check is one look at the first byte of a value.

use crate::json;
use crate::policy::Refusal;

/// The key of `shape` that speaks for every type that has no key of its own.
pub(crate) const OTHER_TYPES: &str = "*";

/// The rules about types and content.
#[derive(Default)]
pub(crate) struct Shapes {
    /// The types allowed; empty: all.
    pub(crate) types: Vec<String>,
    pub(crate) by_type: Vec<(String, Shape)>,
}

/// What the content of a message must be.
pub(crate) enum Shape {
    Kind(Kind),
    /// An object with these fields.
    Fields {
        fields: Vec<Field>,
        /// Whether there may be other fields too.
        others: bool,
    },
}

/// A field of an object.
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
}

/// The kinds of JSON values, and any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Any,
    Null,
    Boolean,
    Number,
    String,
    Array,
    Object,
}

impl Shapes {
    /// `kind` is the body's `type` as JSON text, which an edit does not have: its content must then fit at least one of
    /// the types that are allowed.
    pub(crate) fn check(&self, kind: Option<&str>, content: &str) -> Result<(), Refusal> {
        if self.types.is_empty() && self.by_type.is_empty() {
            return Ok(());
        }
        let fits = match kind {
            Some(kind) => {
                let kind = json::decode(kind).ok_or(Refusal::Shape)?;
                if !self.types.is_empty() && !self.types.iter().any(|allowed| *allowed == kind) {
                    return Err(Refusal::TypeNotAllowed);
                }
                self.fits(&kind, content)
            }
            None if self.types.is_empty() => {
                // Types without a shape are allowed, and one of those it may be.
                self.of(OTHER_TYPES).is_none() || self.by_type.iter().any(|(_, shape)| shape.fits(content))
            }
            None => self.types.iter().any(|kind| self.fits(kind, content)),
        };
        if fits { Ok(()) } else { Err(Refusal::Shape) }
    }

    fn fits(&self, kind: &str, content: &str) -> bool {
        self.of(kind)
            .or_else(|| self.of(OTHER_TYPES))
            .is_none_or(|shape| shape.fits(content))
    }

    fn of(&self, kind: &str) -> Option<&Shape> {
        self.by_type
            .iter()
            .find(|(name, _)| name == kind)
            .map(|(_, shape)| shape)
    }
}

impl Shape {
    fn fits(&self, content: &str) -> bool {
        match self {
            Self::Kind(kind) => kind.fits(content),
            Self::Fields { fields, others } => fits_fields(fields, *others, content).unwrap_or(false),
        }
    }
}

impl Kind {
    const NAMES: [(&'static str, Self); 7] = [
        ("any", Self::Any),
        ("null", Self::Null),
        ("boolean", Self::Boolean),
        ("number", Self::Number),
        ("string", Self::String),
        ("array", Self::Array),
        ("object", Self::Object),
    ];

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, kind)| *kind)
    }

    /// A value's first byte tells its kind.
    fn of(value: &str) -> Self {
        match value.as_bytes().first() {
            Some(b'"') => Self::String,
            Some(b'{') => Self::Object,
            Some(b'[') => Self::Array,
            Some(b't' | b'f') => Self::Boolean,
            Some(b'n') => Self::Null,
            _ => Self::Number,
        }
    }

    fn fits(self, value: &str) -> bool {
        self == Self::Any || self == Self::of(value)
    }
}

/// None if the content is no object. A field that comes twice must be right both times, because clients differ in which
/// of the two they take.
fn fits_fields(fields: &[Field], others: bool, content: &str) -> Option<bool> {
    let mut missing: Vec<&str> = fields
        .iter()
        .filter(|field| field.required)
        .map(|field| field.name.as_str())
        .collect();
    let mut fits = true;
    json::fields(content, |name, value| {
        match fields.iter().find(|field| field.name == name) {
            Some(field) => fits &= field.kind.fits(value),
            None => fits &= others,
        }
        missing.retain(|required| *required != name);
    })?;
    Some(fits && missing.is_empty())
}

#[cfg(test)]
mod tests {
    use crate::{Policy, Verdict};

    fn code(config: &str, event: &str, body: &str) -> &'static str {
        match Policy::from_json(config).unwrap().check(event, body) {
            Verdict::Accept => "accept",
            Verdict::Replace(_) => "replace",
            Verdict::Reject(refusal) => refusal.code(),
        }
    }

    fn new(config: &str, kind: &str, content: &str) -> &'static str {
        code(
            config,
            "message-new",
            &format!(r#"{{"type":"{kind}","content":{content}}}"#),
        )
    }

    fn edited(config: &str, content: &str) -> &'static str {
        code(
            config,
            "message-edited",
            &format!(r#"{{"messageId":"1","content":{content}}}"#),
        )
    }

    #[test]
    fn types() {
        let config = r#"{"types":["text","image"]}"#;
        assert_eq!(new(config, "text", "1"), "accept");
        assert_eq!(new(config, r"te\u0078t", "1"), "accept");
        assert_eq!(new(config, "Text", "1"), "type_not_allowed");
        assert_eq!(code(config, "message-new", r#"{"type":7,"content":1}"#), "shape");
        assert_eq!(new(r#"{"types":[]}"#, "anything", "1"), "accept");
    }

    #[test]
    fn kinds() {
        for (kind, value) in [
            ("null", "null"),
            ("boolean", "true"),
            ("number", "-1.5"),
            ("string", r#""""#),
            ("array", "[]"),
            ("object", "{}"),
        ] {
            let config = format!(r#"{{"shape":{{"t":"{kind}"}}}}"#);
            assert_eq!(new(&config, "t", value), "accept", "{kind}");
            assert_eq!(new(&config, "other", value), "accept", "{kind}");
            let wrong = if kind == "array" { "0" } else { "[0]" };
            assert_eq!(new(&config, "t", wrong), "shape", "{kind}");
            assert_eq!(new(r#"{"shape":{"t":"any"}}"#, "t", value), "accept", "{kind}");
        }
        assert_eq!(new(r#"{"shape":{"*":"string","t":"number"}}"#, "t", "1"), "accept");
        assert_eq!(new(r#"{"shape":{"*":"string","t":"number"}}"#, "u", "1"), "shape");
    }

    #[test]
    fn fields() {
        let config =
            r#"{"shape":{"location":{"required":{"lat":"number","lon":"number"},"optional":{"label":"string"}}}}"#;
        for (content, expected) in [
            (r#"{"lat":1,"lon":2}"#, "accept"),
            (r#"{"lon":2, "label":"x", "la\u0074": 1}"#, "accept"),
            (r#"{"lat":1}"#, "shape"),
            (r#"{"lat":1,"lon":"2"}"#, "shape"),
            (r#"{"lat":1,"lon":2,"label":3}"#, "shape"),
            (r#"{"lat":1,"lon":2,"more":3}"#, "shape"),
            (r#"{"lat":1,"lon":2,"lat":"twice"}"#, "shape"),
            (r#""text""#, "shape"),
            ("[]", "shape"),
        ] {
            assert_eq!(new(config, "location", content), expected, "{content}");
        }
        let open = r#"{"shape":{"card":{"required":{"id":"any"},"others":true}}}"#;
        assert_eq!(new(open, "card", r#"{"id":null,"more":{}}"#), "accept");
        assert_eq!(new(open, "card", r#"{"more":{}}"#), "shape");
    }

    #[test]
    fn an_edit_fits_one_of_the_allowed_types() {
        let closed = r#"{"types":["text","place"],"shape":{"text":"string","place":"object"}}"#;
        assert_eq!(edited(closed, r#""a""#), "accept");
        assert_eq!(edited(closed, "{}"), "accept");
        assert_eq!(edited(closed, "1"), "shape");
        assert_eq!(
            edited(r#"{"types":["text","x"],"shape":{"text":"string"}}"#, "1"),
            "accept"
        );
        assert_eq!(edited(r#"{"shape":{"text":"string"}}"#, "1"), "accept");
        assert_eq!(edited(r#"{"shape":{"text":"string","*":"object"}}"#, "1"), "shape");
        // A server that tells the type of the message edited is taken at its word.
        assert_eq!(
            code(
                closed,
                "message-edited",
                r#"{"type":"text","messageId":"1","content":{}}"#
            ),
            "shape"
        );
    }
}
