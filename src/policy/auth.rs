//! The auth chain: who a connection is, and what it may do in which room.
//!
//! Links are asked in the configuration's order, and the built-in token check is one of them; the first yes or no
//! decides. Whatever can be said without asking a plugin is said at once; the rest runs on the pool's own threads and
//! comes back by a call. It must not know connections or rooms beyond their names.

use std::sync::Arc;
use std::time::Duration;

use super::bindings::auth::exports::stentor::plugin::auth as wit;
use super::identity::{Attribute, Identity, attributes_from};
use super::jwt::{Authenticator, TokenError};
use super::plugin::printable;
use super::pool::{Answer, NoAnswer, Pool, Question};
use super::verdict::{Action, AuthError, Credentials, Decision, Denial, NotAllowed, Who};
use crate::config::{AllAbstain, OnFailure};
use crate::ids::{ConnectionId, RoomId, UserId};
use crate::message::Timestamp;
use crate::metrics::{GuestHook, PluginOutcome};

/// Longest code and message of a plugin's no that are passed on, in bytes; the rest is cut.
const DENIAL_CODE_BYTES_MAX: usize = 64;
const DENIAL_MESSAGE_BYTES_MAX: usize = 500;

/// What the chain needs besides its links.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) when_all_abstain: AllAbstain,
    pub(super) verdict_max: Duration,
    pub(super) denial_max: Duration,
}

pub(super) enum Link {
    Jwt,
    Plugin(Pool),
}

/// The chain of one configuration.
pub struct Auth {
    links: Vec<Link>,
    authenticator: Arc<Authenticator>,
    settings: Settings,
    runtime: tokio::runtime::Handle,
    /// Which configuration this is: verdicts of another one do not hold.
    generation: u64,
}

impl Auth {
    pub(super) fn new(
        links: Vec<Link>,
        authenticator: Arc<Authenticator>,
        settings: Settings,
        runtime: tokio::runtime::Handle,
        generation: u64,
    ) -> Self {
        Self { links, authenticator, settings, runtime, generation }
    }

    /// Which configuration this is.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.links.iter().filter_map(|link| match link {
            Link::Plugin(pool) => Some(pool),
            Link::Jwt => None,
        })
    }

    /// Whether some plugin wants to be asked about persons, or about an action.
    fn wants(&self, event: &str, room: Option<&str>) -> bool {
        self.pools().any(|pool| pool.manifest.wants(event, room, 0))
    }

    /// Names of the headers that plugins want to see, in lower case.
    pub fn headers(&self) -> impl Iterator<Item = &str> {
        self.pools().flat_map(|pool| pool.plugin.headers.iter().map(String::as_str))
    }

    /// Who a token speaks for, if that can be said without asking anybody.
    pub fn authenticate_now(&self, token: &str, renewal: bool, now: Timestamp) -> Option<Result<Identity, AuthError>> {
        let hook = if renewal { GuestHook::Refresh } else { GuestHook::Authenticate };
        if self.wants(hook.name(), None) {
            return None;
        }
        let result = self.authenticator.authenticate(token, now);
        if result == Err(TokenError::UnknownKey) && self.authenticator.refresh_may_help(token) {
            return None;
        }
        Some(result.map_err(AuthError::Token))
    }

    /// Who a client is: the whole chain is asked, and `reply` is called with the answer, on a thread of the pool.
    pub fn authenticate(
        self: &Arc<Self>,
        connection: ConnectionId,
        credentials: Credentials,
        now: Timestamp,
        reply: impl FnOnce(Result<Identity, AuthError>) + Send + 'static,
    ) {
        let auth = Arc::clone(self);
        self.runtime.spawn(async move { reply(auth.who_is(connection, credentials, now).await) });
    }

    /// Whether a connection may go on with a new token.
    pub fn refresh(
        self: &Arc<Self>,
        who: Who,
        token: String,
        now: Timestamp,
        reply: impl FnOnce(Result<Identity, AuthError>) + Send + 'static,
    ) {
        let auth = Arc::clone(self);
        self.runtime.spawn(async move { reply(auth.renewed(who, token, now).await) });
    }

    /// Whether somebody has to be asked about an action.
    pub fn is_asked(&self, action: Action, room: &RoomId) -> bool {
        self.wants(action.name(), Some(room.as_str()))
    }

    /// Asks what someone may do, all questions in their order, and calls `reply` with the answers.
    pub fn authorize(
        self: &Arc<Self>,
        who: Who,
        questions: Vec<(Action, RoomId)>,
        reply: impl FnOnce(Vec<(Action, RoomId, Decision)>) + Send + 'static,
    ) {
        let auth = Arc::clone(self);
        self.runtime.spawn(async move {
            let mut decisions = Vec::with_capacity(questions.len());
            for (action, room) in questions {
                let decision = auth.may(&who, action, &room).await;
                decisions.push((action, room, decision));
            }
            reply(decisions);
        });
    }

    /// Lets all instances end in good order that nobody uses.
    pub async fn retire(&self) {
        for pool in self.pools() {
            pool.retire().await;
        }
    }

    /// What the built-in check makes of a token, with fresh keys if that may help.
    async fn verify(&self, token: Option<&str>, now: Timestamp) -> Option<Result<Identity, TokenError>> {
        let token = token.filter(|_| self.links.iter().any(|link| matches!(link, Link::Jwt)))?;
        let result = self.authenticator.authenticate(token, now);
        if result == Err(TokenError::UnknownKey) && self.authenticator.refresh_may_help(token) {
            self.authenticator.refreshed(token).await;
            return Some(self.authenticator.authenticate(token, now));
        }
        Some(result)
    }

    async fn who_is(
        &self,
        connection: ConnectionId,
        credentials: Credentials,
        now: Timestamp,
    ) -> Result<Identity, AuthError> {
        let verified = self.verify(credentials.token.as_deref(), now).await;
        let question = Question::Authenticate(wit::ConnectRequest {
            connection: connection.0,
            address: credentials.address,
            token: credentials.token,
            headers: credentials.headers.iter().map(to_wit).collect(),
            verified: verified.as_ref().and_then(|result| result.as_ref().ok()).map(identity_to_wit),
        });
        self.person(&question, verified).await
    }

    async fn renewed(&self, who: Who, token: String, now: Timestamp) -> Result<Identity, AuthError> {
        let verified = self.verify(Some(&token), now).await;
        let question = Question::Refresh {
            connection: who.connection.0,
            subject: who.user.as_str().to_owned(),
            token,
            verified: verified.as_ref().and_then(|result| result.as_ref().ok()).map(identity_to_wit),
        };
        self.person(&question, verified).await
    }

    /// Asks link by link who someone is.
    async fn person(
        &self,
        question: &Question,
        verified: Option<Result<Identity, TokenError>>,
    ) -> Result<Identity, AuthError> {
        let hook = question.hook();
        let mut error = AuthError::Anonymous;
        for link in &self.links {
            let pool = match link {
                Link::Jwt => match &verified {
                    Some(Ok(identity)) => return Ok(identity.clone()),
                    // What is no token of ours may be one of the next link's; a token of ours that is bad is bad.
                    Some(Err(fault @ (TokenError::Malformed | TokenError::UnknownKey))) => {
                        error = AuthError::Token(*fault);
                        continue;
                    }
                    Some(Err(fault)) => return Err(AuthError::Token(*fault)),
                    None => continue,
                },
                Link::Plugin(pool) if pool.manifest.wants(hook.name(), None, 0) => pool,
                Link::Plugin(_) => continue,
            };
            match pool.call(question.clone(), |answer| judge_person(answer, pool)).await {
                Ok(Verdict::Allow(identity)) => return Ok(of_token(identity, verified.as_ref())),
                Ok(Verdict::Deny(denial)) => return Err(AuthError::Denied(denial)),
                Ok(Verdict::Abstain) => {}
                Err(NoAnswer) if pool.plugin.on_failure(hook) == OnFailure::Closed => {
                    return Err(AuthError::Unavailable { plugin: Arc::clone(&pool.plugin.name) });
                }
                Err(NoAnswer) => {}
            }
            if matches!(error, AuthError::Anonymous) && has_token(question) {
                error = AuthError::Token(TokenError::UnknownKey);
            }
        }
        Err(error)
    }

    /// Asks link by link whether someone may do something.
    async fn may(&self, who: &Who, action: Action, room: &RoomId) -> Decision {
        let mut abstained = false;
        let mut holds = self.settings.verdict_max;
        for pool in self.pools().filter(|pool| pool.manifest.wants(action.name(), Some(room.as_str()), 0)) {
            let question = Question::Authorize {
                connection: who.connection.0,
                subject: who.user.as_str().to_owned(),
                attributes: who.attributes.iter().map(to_wit).collect(),
                action: action.name(),
                room: room.as_str().to_owned(),
            };
            match pool.call(question, |answer| judge_access(answer, pool)).await {
                Ok((verdict, cache)) => {
                    holds = holds.min(cache);
                    match verdict {
                        Verdict::Allow(()) => return Decision { outcome: Ok(()), holds },
                        Verdict::Deny(denial) => return self.no(NotAllowed::Denied(denial), holds),
                        Verdict::Abstain => abstained = true,
                    }
                }
                Err(NoAnswer) if pool.plugin.on_failure(GuestHook::Authorize) == OnFailure::Closed => {
                    let plugin = Arc::clone(&pool.plugin.name);
                    return self.no(NotAllowed::Unavailable { plugin }, Duration::ZERO);
                }
                // As if the plugin were not there, but not for longer than this once.
                Err(NoAnswer) => holds = Duration::ZERO,
            }
        }
        if !action.is_free() {
            let denial = Denial {
                plugin: None,
                code: "not_the_author".to_owned(),
                message: "only its author may change a message".to_owned(),
            };
            return self.no(NotAllowed::Denied(denial), holds);
        }
        if abstained && self.settings.when_all_abstain == AllAbstain::Deny {
            let denial =
                Denial { plugin: None, code: "not_allowed".to_owned(), message: "no policy allows this".to_owned() };
            return self.no(NotAllowed::Denied(denial), holds);
        }
        Decision { outcome: Ok(()), holds }
    }

    fn no(&self, why: NotAllowed, holds: Duration) -> Decision {
        Decision { outcome: Err(why), holds: holds.min(self.settings.denial_max) }
    }
}

/// Notes from which token somebody's identity comes, whoever said that it is theirs.
fn of_token(identity: Identity, verified: Option<&Result<Identity, TokenError>>) -> Identity {
    match verified {
        Some(Ok(token)) => Identity { token_id: token.token_id.clone(), issued_at: token.issued_at, ..identity },
        _ => identity,
    }
}

/// What one link says.
enum Verdict<T> {
    Allow(T),
    Deny(Denial),
    Abstain,
}

fn judge_person(answer: Answer, pool: &Pool) -> Option<(PluginOutcome, Verdict<Identity>)> {
    let Answer::Person(outcome) = answer else { return None };
    Some(match outcome {
        wit::AuthOutcome::Allow(identity) => {
            let user = UserId::parse(&identity.subject).ok()?;
            let pairs = identity.attributes.into_iter().map(|attribute| (attribute.name, attribute.value));
            let attributes = attributes_from(pairs)?;
            let expires_at = identity.expires_at;
            let identity = Identity { user, expires_at, attributes, token_id: None, issued_at: None };
            (PluginOutcome::Allow, Verdict::Allow(identity))
        }
        wit::AuthOutcome::Deny(rejection) => (PluginOutcome::Deny, Verdict::Deny(denial(rejection, pool))),
        wit::AuthOutcome::Abstain => (PluginOutcome::Abstain, Verdict::Abstain),
    })
}

fn judge_access(answer: Answer, pool: &Pool) -> Option<(PluginOutcome, (Verdict<()>, Duration))> {
    let Answer::Access(decision) = answer else { return None };
    let holds = Duration::from_millis(u64::from(decision.cache_ms));
    Some(match decision.outcome {
        wit::AccessOutcome::Allow => (PluginOutcome::Allow, (Verdict::Allow(()), holds)),
        wit::AccessOutcome::Deny(rejection) => (PluginOutcome::Deny, (Verdict::Deny(denial(rejection, pool)), holds)),
        wit::AccessOutcome::Abstain => (PluginOutcome::Abstain, (Verdict::Abstain, holds)),
    })
}

fn denial(rejection: wit::Rejection, pool: &Pool) -> Denial {
    Denial {
        plugin: Some(Arc::clone(&pool.plugin.name)),
        code: printable(&rejection.code, DENIAL_CODE_BYTES_MAX),
        message: printable(&rejection.message, DENIAL_MESSAGE_BYTES_MAX),
    }
}

fn has_token(question: &Question) -> bool {
    match question {
        Question::Authenticate(request) => request.token.is_some(),
        Question::Refresh { .. } => true,
        Question::Authorize { .. } => false,
    }
}

fn to_wit(attribute: &Attribute) -> wit::Attribute {
    wit::Attribute { name: attribute.name.to_string(), value: attribute.value.to_string() }
}

fn identity_to_wit(identity: &Identity) -> wit::Identity {
    wit::Identity {
        subject: identity.user.as_str().to_owned(),
        expires_at: identity.expires_at,
        attributes: identity.attributes.iter().map(to_wit).collect(),
    }
}
