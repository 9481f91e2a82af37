//! The server API: what the application's own servers may ask, over HTTP on the operator's listener.
//!
//! A request is judged by its key, bounded in size, number and time, and handed to the shards, which carry it out by the
//! verbs that clients' requests are carried out by. What a verb means is not known here.

mod answer;
mod attempts;
mod command;
mod keys;
mod run;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use ipnet::IpNet;
use parking_lot::RwLock;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use self::attempts::Attempts;
pub use self::attempts::WrongKeys;
pub use self::command::Bounds;
use self::command::known_verb;
pub use self::keys::Keys;
use super::address;
use crate::metrics::{ApiOutcome, Metrics};
use crate::policy::Revocations;
use crate::relay::{CallReply, Mailboxes};
use crate::wire::decode::deeper_than;
use crate::wire::encode::json;
use crate::wire::{ErrorCode, JSON_DEPTH_MAX, Refusal};

/// What the API is, for programs and people.
const DOCUMENT: &str = include_str!("openapi.json");

/// What the configuration says of the API.
pub struct Rules {
    /// Who may use it.
    pub keys: Keys,
    /// Bounds on commands.
    pub bounds: Bounds,
    /// Bytes of a body.
    pub body_bytes_max: usize,
    /// Requests under way at once.
    pub requests_max: usize,
    /// Time of one request.
    pub request_max: Duration,
    /// Wrong keys that may be tried.
    pub wrong_keys: WrongKeys,
    /// Proxies whose word is taken for where a request comes from.
    pub trusted_proxies: Vec<IpNet>,
}

/// The server API.
pub struct Api {
    rules: RwLock<Arc<Rules>>,
    mailboxes: Mailboxes,
    revocations: Arc<Revocations>,
    metrics: Arc<Metrics>,
    under_way: AtomicUsize,
    /// Outlives a reload: new rules are no new chance.
    attempts: Attempts,
}

/// Counts one request under way.
struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Api {
    /// An API in front of some shards.
    pub fn new(rules: Rules, mailboxes: Mailboxes, revocations: Arc<Revocations>, metrics: Arc<Metrics>) -> Self {
        Self {
            rules: RwLock::new(Arc::new(rules)),
            mailboxes,
            revocations,
            metrics,
            under_way: AtomicUsize::new(0),
            attempts: Attempts::default(),
        }
    }

    /// From here on these hold, for requests that are still to come.
    pub fn set_rules(&self, rules: Rules) {
        *self.rules.write() = Arc::new(rules);
    }

    pub(super) async fn answer(&self, request: Request<Incoming>, peer: IpAddr) -> Response<Full<Bytes>> {
        if request.uri().path() == "/api/openapi.json" {
            return self.document(request.method());
        }
        let began = Instant::now();
        let rules = Arc::clone(&self.rules.read());
        let path = request.uri().path().to_owned();
        let verb = path.strip_prefix("/api/v1/").unwrap_or_default();
        let name = known_verb(verb);
        let from = address::client(peer, request.headers(), &rules.trusted_proxies);
        let look = || rules.keys.judge(request.headers());
        let key = match self.attempts.judge(rules.wrong_keys, (address::counted(from), began), look) {
            Ok(key) => key,
            Err(refusal) => return self.turn_away(began, name, from, refusal),
        };
        self.metrics.api.keys.count("right");
        if name == "unknown" {
            return self.finish(began, key, name, Err(Refusal::new(ErrorCode::UnknownEvent, "no such verb")));
        }
        if request.method() != Method::POST {
            self.count(key, name, ApiOutcome::Refused, "method");
            return answer::wrong_method("POST");
        }
        let result = match self.admit(&rules) {
            Ok(_under_way) => self.within_time(&rules, key, name, request.into_body()).await,
            Err(refusal) => Err(refusal),
        };
        self.finish(began, key, name, result)
    }

    /// What the API is. Nothing in it is secret.
    fn document(&self, method: &Method) -> Response<Full<Bytes>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return answer::wrong_method("GET, HEAD");
        }
        self.metrics.api.count("openapi", ApiOutcome::Ok);
        answer::json(StatusCode::OK, DOCUMENT)
    }

    fn admit(&self, rules: &Rules) -> Result<UnderWay<'_>, Refusal> {
        let under_way = UnderWay(&self.under_way);
        if self.under_way.fetch_add(1, Ordering::Relaxed) >= rules.requests_max {
            return Err(Refusal::new(ErrorCode::RateLimited, "too many requests are under way"));
        }
        Ok(under_way)
    }

    async fn within_time(&self, rules: &Rules, key: &str, verb: &'static str, body: Incoming) -> CallReply {
        let deadline = Instant::now() + rules.request_max;
        let body = tokio::time::timeout_at(deadline, read(body, rules.body_bytes_max)).await;
        let body =
            body.unwrap_or_else(|_| Err(Refusal::new(ErrorCode::AuthTimeout, "the body did not come in time")))?;
        let done = tokio::time::timeout_at(deadline, self.carry_out(rules, key, verb, &body)).await;
        done.unwrap_or_else(|_| {
            let message = "not done in time; what was asked may still happen, so repeat it with the same tempId";
            Err(Refusal::new(ErrorCode::StoreUnavailable, message))
        })
    }

    async fn carry_out(&self, rules: &Rules, key: &str, verb: &'static str, body: &RawValue) -> CallReply {
        if verb == "batch" {
            return self.batch(rules, key, body).await;
        }
        self.one(rules, key, verb, body).await
    }

    async fn one(&self, rules: &Rules, key: &str, verb: &str, body: &RawValue) -> CallReply {
        let command = command::parse(verb, body, key, rules.bounds)?;
        run::run(&self.mailboxes, &self.revocations, command).await
    }

    /// One after the other, each whatever became of those before.
    async fn batch(&self, rules: &Rules, key: &str, body: &RawValue) -> CallReply {
        #[derive(Serialize)]
        struct Results {
            results: Vec<Box<RawValue>>,
        }
        let mut results = Vec::new();
        for (verb, data) in command::batch(body, rules.bounds)? {
            let outcome = self.one(rules, key, &verb, &data).await;
            self.count(key, known_verb(&verb), answer::outcome(&outcome), code(&outcome));
            results.extend(answer::result(&outcome, None));
        }
        Ok(json(&Results { results }))
    }

    /// Answers whoever has no right key, and ends the connection: each further try costs another.
    fn turn_away(&self, began: Instant, verb: &'static str, from: IpAddr, refusal: Refusal) -> Response<Full<Bytes>> {
        let result = match refusal.code {
            ErrorCode::AuthFailed => "wrong",
            ErrorCode::NotAuthenticated => "missing",
            ErrorCode::RateLimited => "not_looked_at",
            _ => "closed",
        };
        self.metrics.api.keys.count(result);
        self.metrics.api.duration.record(began.elapsed());
        if let Some(suppressed) = self.attempts.line(began) {
            tracing::info!(address = %from, result, suppressed, "api key refused");
        }
        let result = Err(refusal);
        self.metrics.api.count(verb, answer::outcome(&result));
        answer::last(answer::response(result))
    }

    fn finish(&self, began: Instant, key: &str, verb: &'static str, result: CallReply) -> Response<Full<Bytes>> {
        self.metrics.api.duration.record(began.elapsed());
        self.count(key, verb, answer::outcome(&result), code(&result));
        answer::response(result)
    }

    fn count(&self, key: &str, verb: &'static str, outcome: ApiOutcome, code: &str) {
        self.metrics.api.count(verb, outcome);
        let outcome = outcome.name();
        // What goes well may go well a thousand times a second.
        match outcome {
            "ok" => tracing::debug!(key, verb, outcome, "api request"),
            _ => tracing::info!(key, verb, outcome, code, "api request"),
        }
    }
}

fn code(result: &CallReply) -> &'static str {
    result.as_ref().err().map_or("", |refusal| refusal.code.name())
}

/// Reads a body, which must be JSON.
async fn read(body: Incoming, bytes_max: usize) -> Result<Box<RawValue>, Refusal> {
    let too_large = || Refusal::new(ErrorCode::PayloadTooLarge, format!("a body has at most {bytes_max} bytes"));
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large());
    }
    let bytes = match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => return Err(too_large()),
        Err(_) => return Err(Refusal::new(ErrorCode::InvalidFrame, "the body broke off")),
    };
    let not_json = || Refusal::new(ErrorCode::InvalidFrame, "the body must be a JSON object");
    let text = std::str::from_utf8(&bytes).map_err(|_| not_json())?;
    if deeper_than(text, JSON_DEPTH_MAX) {
        return Err(Refusal::new(ErrorCode::InvalidFrame, "nested too deeply"));
    }
    serde_json::from_str(text).map_err(|_| not_json())
}
