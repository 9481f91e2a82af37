//! What is counted of the server API.

use metrics::{Counter, Histogram, Label, Unit};

use super::{ByName, Register};

/// The API's verbs, and the name for whatever is none.
pub const API_VERBS: [&str; 16] = [
    "publish",
    "edit",
    "delete",
    "broadcast",
    "history",
    "presence",
    "rooms",
    "connections",
    "join",
    "leave",
    "disconnect",
    "revoke",
    "notify",
    "batch",
    "openapi",
    "unknown",
];

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiOutcome {
    /// It was carried out.
    Ok,
    /// It was refused, and would be again.
    Refused,
    /// It could not be carried out now.
    Failed,
}

impl ApiOutcome {
    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// All outcomes, by name.
pub const API_OUTCOMES: [&str; 3] = ["ok", "refused", "failed"];

/// What became of keys: let in, wrong, none was sent, too many wrong ones had been tried before, no key is configured.
pub const API_KEY_RESULTS: [&str; 5] = ["right", "wrong", "missing", "not_looked_at", "closed"];

/// Handles for the server API.
pub struct ApiMetrics {
    requests: Vec<(&'static str, &'static str, Counter)>,
    /// From a request's head to its answer.
    pub duration: Histogram,
    /// Keys, by what became of them.
    pub keys: ByName,
}

impl ApiMetrics {
    pub(super) fn new(new: &Register<'_>) -> Self {
        let (name, help) = ("stentor_api_requests_total", "Requests of the server API, by verb and outcome.");
        let pairs = API_VERBS.into_iter().flat_map(|verb| API_OUTCOMES.into_iter().map(move |outcome| (verb, outcome)));
        let counter = |(verb, outcome)| {
            let labels = vec![Label::from_static_parts("verb", verb), Label::from_static_parts("outcome", outcome)];
            (verb, outcome, new.labelled_counter(name, help, labels))
        };
        Self {
            requests: pairs.map(counter).collect(),
            duration: new.histogram(
                "stentor_api_request_duration_seconds",
                Unit::Seconds,
                "Time from the head of a request of the server API to its answer.",
            ),
            keys: new.by_name(
                ("stentor_api_keys_total", "result"),
                "Requests of the server API, by what became of their key.",
                API_KEY_RESULTS,
            ),
        }
    }

    /// Counts a request, or a command of a batch.
    pub fn count(&self, verb: &'static str, outcome: ApiOutcome) {
        let is_it = |(known, how, _): &&(&str, &str, Counter)| *known == verb && *how == outcome.name();
        if let Some((_, _, counter)) = self.requests.iter().find(is_it) {
            counter.increment(1);
        }
    }
}
