//! What happens on a connection: messages in, requests to the relay, refusals and closes out.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;
use tokio::net::TcpStream;

use super::refusals::{refusal_of, token_refusal};
use super::state::{Due, Permit, State};
use super::{Authenticating, Opening, Session, Shard};
use crate::ids::{ConnectionId, ConnectionKey};
use crate::message::Timestamp;
use crate::metrics::{CLOSED_BY_CLIENT, CLOSED_BY_NETWORK};
use crate::policy::{AuthError, Credentials, Identity, TokenError};
use crate::relay::{Arrival, Asked, Mail, wall_clock};
use crate::wire::decode::{Envelope, envelopes};
use crate::wire::dialect::Push;
use crate::wire::frame::{PING, PROOF, close_frame, pong_frame};
use crate::wire::request::{self, Auth, Request};
use crate::wire::{CloseCode, Dialect, ErrorCode, Refusal, encode};

/// Event under which a refusal is logged that belongs to no request.
const NO_EVENT: &str = "none";

impl Shard {
    /// Takes over a connection whose handshake is done.
    pub fn open(&mut self, stream: TcpStream, opening: Opening) -> ConnectionKey {
        let key = self.relay.hub.insert(stream);
        self.opened += 1;
        self.open += 1;
        let connection = ConnectionId::new(self.shard, self.opened);
        let session = Session {
            key,
            connection,
            state: State::new(&self.settings.state, Instant::now()),
            address: opening.address,
            headers: opening.headers,
            authenticating: None,
            rest: None,
            departed: false,
            leaves_at: None,
            _admission: opening.admission,
        };
        let slot = key.slot as usize;
        if self.sessions.len() <= slot {
            self.sessions.resize_with(slot + 1, || None);
        }
        if let Some(place) = self.sessions.get_mut(slot) {
            *place = Some(session);
        }
        self.metrics.connections_opened.increment(1);
        self.metrics.connections.increment(1.0);
        tracing::info!(conn = %connection, address = %opening.address, "connected");
        if opening.deflate {
            self.relay.hub.deflate(key);
        }
        if opening.over_capacity {
            self.relay.hub.close(key, CloseCode::OverCapacity);
        } else if self.draining {
            self.relay.hub.close(key, CloseCode::GoingAway);
        } else if let Some(identity) = opening.identity {
            let asked = Asked::of_server(key, "auth");
            match opening.options {
                Ok(options) => self.welcome(
                    asked,
                    Arrival { identity, options, since: Vec::new(), renewal: false, later: Vec::new() },
                ),
                Err(refusal) => self.refuse(&asked, &refusal),
            }
        }
        key
    }

    /// A text message arrived.
    pub fn text(&mut self, key: ConnectionKey, text: &str) {
        let mut requests = envelopes(text);
        while let Some(item) = requests.next() {
            match item {
                Ok(envelope) => self.envelope(key, &envelope),
                Err(malformed) => {
                    let asked = Asked::new(key, malformed.id, NO_EVENT, NO_EVENT);
                    self.invalid(&asked, malformed.message);
                }
            }
            let closing = self.relay.hub.connection(key).is_none_or(|connection| connection.closing().is_some());
            if closing {
                return;
            }
            if self.is_waiting(key) {
                let rest = requests.rest();
                if let Some(session) = self.session(key).filter(|_| !rest.is_empty()) {
                    session.rest = Some(rest.into());
                }
                return;
            }
        }
    }

    /// Goes on with a message of which a request was under way. Returns whether there was one.
    pub fn resume(&mut self, key: ConnectionKey) -> bool {
        let Some(rest) = self.session(key).and_then(|session| session.rest.take()) else { return false };
        self.text(key, &rest);
        true
    }

    /// A binary message arrived, which means nothing in this version.
    pub fn binary(&mut self, key: ConnectionKey) {
        let asked = Asked::of_server(key, NO_EVENT);
        self.invalid(&asked, "binary messages are not part of this protocol");
    }

    /// A ping arrived.
    pub fn ping(&mut self, key: ConnectionKey, payload: &[u8]) {
        if self.permitted_control(key) {
            self.relay.hub.reply(key, pong_frame(payload));
        }
    }

    /// A pong arrived. That something arrived was noted already; only too many are too many, unless they were asked for.
    pub fn pong(&mut self, key: ConnectionKey, payload: &[u8]) {
        if payload == PROOF && self.relay.hub.is_proving(key) {
            self.relay.prove(key);
        } else {
            self.permitted_control(key);
        }
    }

    fn permitted_control(&mut self, key: ConnectionKey) -> bool {
        match self.permit(key) {
            Permit::Granted => true,
            Permit::Refused { .. } => false,
            Permit::Exhausted => {
                self.relay.hub.close(key, CloseCode::RateLimited);
                false
            }
        }
    }

    /// The client closes: its code is sent back, as RFC 6455 has it.
    pub fn closed_by_client(&mut self, key: ConnectionKey, code: Option<u16>) {
        self.relay.hub.close_with(key, CloseCode::Normal, close_frame(code, ""));
    }

    /// The client broke the WebSocket protocol, or a bound on messages.
    pub fn violated(&mut self, key: ConnectionKey, code: CloseCode) {
        self.relay.hub.close(key, code);
    }

    /// Something arrived, whatever it is.
    pub fn heard(&mut self, key: ConnectionKey) {
        if let Some(quiet) = self.session(key).map(|session| session.state.heard(Instant::now())) {
            self.gather.heard(quiet);
        }
    }

    /// The connection is being closed, or its socket ended: nothing more is for it, and nobody is to see it as live.
    pub fn depart(&mut self, key: ConnectionKey) {
        let Some(session) = self.session(key).filter(|session| !session.departed) else { return };
        session.departed = true;
        session.rest = None;
        self.relay.depart(key);
    }

    /// The socket is given up.
    pub fn finish(&mut self, key: ConnectionKey, lost: bool) {
        self.depart(key);
        let Some(session) = self.sessions.get_mut(key.slot as usize).and_then(Option::take) else { return };
        let closing = self.relay.hub.remove(key).and_then(|connection| connection.closing()).map(|(code, _)| code);
        let reason = match closing {
            Some(CloseCode::Normal) => CLOSED_BY_CLIENT,
            Some(code) => code.name(),
            None if lost => CLOSED_BY_NETWORK,
            None => CLOSED_BY_CLIENT,
        };
        self.open -= 1;
        self.metrics.connections.decrement(1.0);
        self.metrics.connections_closed.count(reason);
        tracing::info!(conn = %session.connection, reason, "disconnected");
    }

    fn permit(&mut self, key: ConnectionKey) -> Permit {
        let settings = std::sync::Arc::clone(&self.settings);
        self.session(key).map_or(Permit::Granted, |session| session.state.permit(&settings.state, Instant::now()))
    }

    fn refuse(&mut self, asked: &Asked, refusal: &Refusal) {
        self.relay.refuse(asked, None, refusal);
    }

    fn refuse_and_close(&mut self, asked: &Asked, refusal: &Refusal, code: CloseCode) {
        self.refuse(asked, refusal);
        self.relay.hub.close(asked.key, code);
    }

    fn invalid(&mut self, asked: &Asked, message: &'static str) {
        if !self.within_rate(asked) {
            return;
        }
        let settings = std::sync::Arc::clone(&self.settings);
        self.refuse(asked, &Refusal::new(ErrorCode::InvalidFrame, message));
        if self.session(asked.key).is_some_and(|session| session.state.invalid_frame(&settings.state)) {
            self.relay.hub.close(asked.key, CloseCode::Abuse);
        }
    }

    /// Whether the request is within the connection's rate; otherwise it is refused here.
    fn within_rate(&mut self, asked: &Asked) -> bool {
        let permit = self.permit(asked.key);
        if permit == Permit::Granted {
            return true;
        }
        let mut refusal = Refusal::new(ErrorCode::RateLimited, "too many requests");
        if let Permit::Refused { retry_after } = permit {
            refusal.retry_after_ms = Some(u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX).max(1));
            self.refuse(asked, &refusal);
        } else {
            self.refuse_and_close(asked, &refusal, CloseCode::RateLimited);
        }
        false
    }

    fn envelope(&mut self, key: ConnectionKey, envelope: &Envelope<'_>) {
        let event = envelope.event();
        let known = request::known_event(&event);
        self.metrics.requests.count(known);
        let asked = Asked::new(key, envelope.id, known, &event);
        let Some(session) = self.session(key) else { return };
        session.state.valid_frame();
        let authenticated = session.state.is_authenticated();
        if !self.within_rate(&asked) {
            return;
        }
        if !authenticated && !matches!(known, "auth" | "heartbeat") {
            self.refuse(&asked, &Refusal::new(ErrorCode::NotAuthenticated, "authenticate first"));
            return;
        }
        match request::parse(&event, envelope.data) {
            Ok(Request::Heartbeat) => self.heartbeat(&asked),
            Ok(Request::Auth(auth)) => self.authenticate(asked, *auth),
            Ok(request) => self.relay.request(asked, request),
            Err(refusal) => self.refuse(&asked, &refusal),
        }
    }

    fn heartbeat(&mut self, asked: &Asked) {
        #[derive(Serialize)]
        struct Heartbeat {
            at: Timestamp,
        }
        let reply = encode::reply("heartbeat-ack", asked.id.as_deref(), &Heartbeat { at: wall_clock() });
        self.relay.hub.reply(asked.key, reply);
    }

    fn authenticate(&mut self, asked: Asked, auth: Auth<'_>) {
        let Some(session) = self.session(asked.key) else { return };
        let (renewal, connection, address) = (session.state.is_authenticated(), session.connection, session.address);
        let headers = session.headers.clone();
        let key = asked.key;
        let Auth { token, options, since, .. } = auth;
        let pending = Authenticating { asked, options, since, renewal };
        let chain = std::sync::Arc::clone(self.relay.auth());
        let now = wall_clock();
        if let Some(result) = chain.authenticate_now(&token, renewal, now) {
            self.identified(pending, result);
            return;
        }
        let (mailboxes, shard) = self.relay.address();
        let reply = move |result| mailboxes.send(shard, Mail::Identified { key, result: Box::new(result) });
        if let Some(session) = self.session(key) {
            session.authenticating = Some(Box::new(pending));
        }
        match self.relay.who(key) {
            Some(who) if renewal => chain.refresh(who, token.into_owned(), now, reply),
            _ => {
                let credentials =
                    Credentials { token: Some(token.into_owned()), address: address.to_string(), headers };
                chain.authenticate(connection, credentials, now, reply);
            }
        }
    }

    /// Takes what other shards, and the auth chain, send.
    pub fn receive(&mut self, mail: Mail) {
        let (key, result) = match mail {
            Mail::Identified { key, result } => (key, result),
            mail => return self.relay.receive(mail),
        };
        let Some(pending) = self.session(key).and_then(|session| session.authenticating.take()) else { return };
        let is_open = self.relay.hub.connection(key).is_some_and(|connection| connection.closing().is_none());
        if is_open {
            self.identified(*pending, *result);
        }
        if !self.is_waiting(key)
            && let Some(connection) = self.relay.hub.connection(key)
        {
            connection.wake();
        }
    }

    /// The auth chain has said who a connection is.
    fn identified(&mut self, authenticating: Authenticating, result: Result<Identity, AuthError>) {
        let Authenticating { asked, options, since, renewal } = authenticating;
        match result {
            Ok(identity) if renewal && self.relay.user(asked.key).is_some_and(|user| *user != identity.user) => {
                self.refuse(&asked, &Refusal::new(ErrorCode::Forbidden, "the token is another user's"));
            }
            Ok(identity) => self.welcome(asked, Arrival { identity, options, since, renewal, later: Vec::new() }),
            Err(error) => {
                self.metrics.authentications.count(error.name());
                tracing::info!(conn = %self.connection_id(asked.key), result = error.name(), "authentication failed");
                match refusal_of(error) {
                    (refusal, Some(code)) if !renewal => self.refuse_and_close(&asked, &refusal, code),
                    (refusal, _) => self.refuse(&asked, &refusal),
                }
            }
        }
    }

    fn welcome(&mut self, asked: Asked, arrival: Arrival) {
        if self.revocations.is_revoked(&arrival.identity, wall_clock()) {
            return self.turn_away(&asked, arrival.renewal);
        }
        self.metrics.authentications.count("ok");
        let Identity { expires_at, .. } = arrival.identity;
        let Some(session) = self.session(asked.key) else { return };
        session.state.authenticated(expires_at);
        session.headers = Vec::new();
        let connection = session.connection;
        self.relay.arrive(asked, connection, arrival);
    }

    /// The token is good, but the application has taken it back.
    fn turn_away(&mut self, asked: &Asked, renewal: bool) {
        self.metrics.authentications.count("revoked");
        tracing::info!(conn = %self.connection_id(asked.key), result = "revoked", "authentication failed");
        let refusal = Refusal::new(ErrorCode::AuthFailed, "the token is not acceptable");
        if renewal {
            self.refuse(asked, &refusal);
        } else {
            self.refuse_and_close(asked, &refusal, CloseCode::AuthFailed);
        }
    }

    /// Does what is due on every connection. To be called now and then.
    pub fn sweep(&mut self) {
        let (now, wall) = (Instant::now(), wall_clock());
        let settings = std::sync::Arc::clone(&self.settings);
        for slot in 0..self.sessions.len() {
            let Some(session) = self.sessions.get_mut(slot).and_then(Option::as_mut) else { continue };
            let key = session.key;
            let leaves = session.leaves_at.is_some_and(|time| time <= now);
            let Some(connection) = self.relay.hub.connection(key) else { continue };
            if let Some((_, deadline)) = connection.closing() {
                if deadline <= now {
                    connection.wake();
                }
                continue;
            }
            if leaves {
                self.relay.hub.close(key, CloseCode::GoingAway);
                continue;
            }
            match session.state.due(&settings.state, now, wall) {
                None => {}
                // A client may answer only the latest of several pings.
                Some(Due::Ping) if self.relay.hub.is_proving(key) => {}
                Some(Due::Ping) => self.relay.hub.reply(key, Bytes::from_static(&PING)),
                Some(Due::TokenExpiring { expires_at }) => self.tell_expiry(key, expires_at),
                Some(Due::Close(code)) => self.close_with_reason(key, code),
            }
        }
        self.relay.sweep();
    }

    fn tell_expiry(&mut self, key: ConnectionKey, expires_at: Timestamp) {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Expiring {
            expires_at: Timestamp,
        }
        self.relay.hub.reply(key, encode::push(Push::TokenExpiring, Dialect::Room, &Expiring { expires_at }));
    }

    /// Closes for a reason that has an error code of its own, which is told first.
    fn close_with_reason(&mut self, key: ConnectionKey, code: CloseCode) {
        let asked = Asked::of_server(key, "auth");
        match code {
            CloseCode::AuthTimeout => {
                let refusal = Refusal::new(ErrorCode::AuthTimeout, "no authentication in time");
                self.refuse_and_close(&asked, &refusal, code);
            }
            CloseCode::TokenExpired => {
                let (refusal, code) = token_refusal(TokenError::Expired);
                self.refuse_and_close(&asked, &refusal, code);
            }
            _ => self.relay.hub.close(key, code),
        }
    }

    /// Begins to let everyone go: each connection is told when to come back, and closed a little later.
    pub fn drain(&mut self) {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct GoingAway {
            reconnect_in_ms: u64,
        }
        if self.draining {
            return;
        }
        self.draining = true;
        let now = Instant::now();
        let drain_ms = u64::try_from(self.settings.drain.as_millis()).unwrap_or(u64::MAX);
        let count = self.open.max(1) as u64;
        let mut told = 0;
        for slot in 0..self.sessions.len() {
            let Some(session) = self.sessions.get_mut(slot).and_then(Option::as_mut) else { continue };
            // Closes are spread evenly; the way back is spread over as long again, so that nobody's return is a crowd.
            let share = drain_ms.saturating_mul(told) / count;
            told += 1;
            session.leaves_at = Some(now + Duration::from_millis(share));
            let push = GoingAway { reconnect_in_ms: share.saturating_add(drain_ms) };
            let key = session.key;
            self.relay.hub.reply(key, encode::push(Push::GoingAway, Dialect::Room, &push));
        }
    }
}
