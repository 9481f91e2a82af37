//! The WebSocket handshake: what a request must be to become a connection, and who it says it is.
//!
//! The check is our own, stricter than fastwebsockets' upgrade, which accepts other methods, short keys and any origin.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::{Method, Request, StatusCode, Version};
use ipnet::IpNet;
use parking_lot::RwLock;
use sha1::{Digest as _, Sha1};
use tokio::sync::oneshot;

use super::accept::{Admission, Admissions};
use super::address;
use super::frame::Limits;
use crate::ids::ConnectionId;
use crate::metrics::Metrics;
use crate::policy::{Attribute, Auth, AuthError, Credentials, Identity};
use crate::relay::wall_clock;
use crate::session::Opening;
use crate::wire::request::{AuthOptions, auth_options};
use crate::wire::{Refusal, SUBPROTOCOL, deflate};

/// What RFC 6455 appends to the key.
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Before a token that is offered as a subprotocol.
const BEARER: &str = "bearer.";

/// What the handshake needs to know, as long as the server lives.
pub struct Gate {
    /// What the configuration in force says.
    pub rules: RwLock<Arc<Rules>>,
    /// Where refusals are counted.
    pub metrics: Arc<Metrics>,
    /// Counts connections.
    pub admissions: Arc<Admissions>,
    /// Set when the server stops.
    pub draining: AtomicBool,
    /// The demo page, in development.
    pub demo: Option<super::Demo>,
}

/// What a configuration says of handshakes.
pub struct Rules {
    /// Says who a client is.
    pub auth: Arc<Auth>,
    /// Origins a browser may come from.
    pub allowed_origins: Vec<String>,
    /// Whether `?token=` is a way to authenticate.
    pub query_token: bool,
    /// Networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether `permessage-deflate` is agreed to.
    pub deflates: bool,
    /// Bounds on messages.
    pub message_limits: (usize, usize),
    /// Time for a whole handshake.
    pub handshake_max: std::time::Duration,
    /// Bytes of a handshake's head.
    pub handshake_bytes_max: usize,
}

impl Rules {
    pub(super) fn frame_limits(&self) -> Limits {
        let bound = |value: usize| if value == 0 { usize::MAX } else { value };
        Limits { message_bytes_max: bound(self.message_limits.0), message_fragments_max: bound(self.message_limits.1) }
    }
}

/// A request that becomes a connection.
pub(super) struct Upgrade {
    /// For `Sec-WebSocket-Accept`.
    pub(super) accept: String,
    /// Whether the client offered our subprotocol.
    pub(super) subprotocol: bool,
    /// Whether messages may be compressed.
    pub(super) deflate: bool,
    pub(super) identity: Option<Identity>,
    /// Headers that plugins will want to see, if it is nobody yet.
    headers: Vec<Attribute>,
    pub(super) options: Result<AuthOptions, Refusal>,
    pub(super) address: IpAddr,
    /// None if there is no room for it, so that it is to be told and closed.
    admission: Option<Admission>,
    /// Whether messages are only to be sent back.
    pub(super) echo: bool,
}

impl Upgrade {
    pub(super) fn opening(self, load: super::accept::Load) -> Opening {
        Opening {
            address: self.address,
            identity: self.identity,
            headers: self.headers,
            options: self.options,
            deflate: self.deflate,
            over_capacity: self.admission.is_none(),
            admission: Box::new((self.admission, load)),
        }
    }
}

/// Why a request becomes none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    /// For metrics and logs; one of `metrics::HANDSHAKE_REFUSALS`.
    pub(super) name: &'static str,
    /// For the client.
    pub(super) message: &'static str,
}

const fn refused(status: StatusCode, name: &'static str, message: &'static str) -> Refused {
    Refused { status, name, message }
}

/// Whether a comma-separated header holds a token, whatever its case.
fn lists(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// The key's answer, if the request is a WebSocket handshake.
fn accept_key<B>(request: &Request<B>) -> Result<String, Refused> {
    let headers = request.headers();
    let not_websocket = |message| Err(refused(StatusCode::UPGRADE_REQUIRED, "not_websocket", message));
    if request.method() != Method::GET {
        return Err(refused(StatusCode::METHOD_NOT_ALLOWED, "not_websocket", "a WebSocket handshake is a GET"));
    }
    if request.version() != Version::HTTP_11 {
        return not_websocket("a WebSocket handshake is HTTP/1.1");
    }
    if !lists(headers, header::UPGRADE, "websocket") || !lists(headers, header::CONNECTION, "upgrade") {
        return not_websocket("this address speaks WebSocket");
    }
    if headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0")
    {
        return Err(refused(StatusCode::BAD_REQUEST, "not_websocket", "a WebSocket handshake has no body"));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(refused(StatusCode::UPGRADE_REQUIRED, "version", "only WebSocket version 13 is spoken"));
    }
    let bad_key = refused(StatusCode::BAD_REQUEST, "key", "Sec-WebSocket-Key must be 16 bytes in base64");
    let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else { return Err(bad_key) };
    if BASE64.decode(key.as_bytes()).map_or(true, |bytes| bytes.len() != 16) {
        return Err(bad_key);
    }
    let digest = Sha1::new().chain_update(key.as_bytes()).chain_update(KEY_SUFFIX).finalize();
    Ok(BASE64.encode(digest))
}

/// Whether our subprotocol is offered, and a token beside it.
fn subprotocols(headers: &HeaderMap) -> Result<(bool, Option<&str>), Refused> {
    let mut offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().peekable();
    if offered.peek().is_none() {
        return Ok((false, None));
    }
    let (mut ours, mut token) = (false, None);
    for item in offered.filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(',')).map(str::trim) {
        ours |= item == SUBPROTOCOL;
        token = token.or(item.strip_prefix(BEARER));
    }
    if ours {
        Ok((true, token))
    } else {
        Err(refused(StatusCode::BAD_REQUEST, "subprotocol", "none of the offered subprotocols is stentor.v1"))
    }
}

/// Whether compression is offered as we do it.
fn offers_deflate(headers: &HeaderMap) -> bool {
    let mut offers = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS).iter().filter_map(|value| value.to_str().ok());
    offers.any(deflate::is_offered)
}

/// The token of an `Authorization` header. A header of another kind is not for us.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl Gate {
    /// What the configuration in force says.
    pub(super) fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read())
    }

    /// Lets a request in, or says why not.
    pub(super) async fn check<B>(&self, rules: &Rules, request: &Request<B>, peer: IpAddr) -> Result<Upgrade, Refused> {
        let accept = accept_key(request)?;
        let headers = request.headers();
        if !headers.get_all(header::ORIGIN).iter().all(|origin| rules.is_allowed_origin(origin.as_bytes())) {
            return Err(refused(StatusCode::FORBIDDEN, "origin", "this origin may not connect"));
        }
        let (subprotocol, offered_token) = subprotocols(headers)?;
        if self.draining.load(Ordering::Relaxed) {
            return Err(refused(StatusCode::SERVICE_UNAVAILABLE, "draining", "the server is stopping"));
        }
        let query: Vec<_> = form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).collect();
        let query_token =
            query.iter().find(|(name, _)| rules.query_token && name == "token").map(|(_, token)| &**token);
        let token = bearer(headers).or(offered_token).or(query_token);
        let address = address::client(peer, headers, &rules.trusted_proxies);
        let credentials = Credentials {
            token: token.map(str::to_owned),
            address: address.to_string(),
            headers: rules.wanted_headers(headers),
        };
        let (identity, headers) = self.identify(&rules.auth, credentials).await?;
        let admission = self.admissions.admit(address);
        Ok(Upgrade {
            accept,
            subprotocol,
            deflate: rules.deflates && offers_deflate(request.headers()),
            identity,
            headers,
            options: auth_options(query.iter().map(|(name, value)| (&**name, &**value))),
            address,
            admission,
            echo: cfg!(feature = "echo-route") && request.uri().path() == "/echo",
        })
    }

    /// Who a client is. Nobody yet, if it brought nothing to be judged by; then its headers are kept for when it does.
    async fn identify(
        &self,
        auth: &Arc<Auth>,
        credentials: Credentials,
    ) -> Result<(Option<Identity>, Vec<Attribute>), Refused> {
        let now = wall_clock();
        let at_once = match credentials.token.as_deref() {
            Some(token) => auth.authenticate_now(token, false, now),
            None if credentials.headers.is_empty() => return Ok((None, Vec::new())),
            None => None,
        };
        let headers = credentials.headers.clone();
        let result = match at_once {
            Some(result) => result,
            None => {
                let (reply, answer) = oneshot::channel();
                auth.authenticate(ConnectionId(0), credentials, now, move |result| {
                    // Whoever asked is gone.
                    let _unheard = reply.send(result);
                });
                answer.await.unwrap_or(Err(AuthError::Anonymous))
            }
        };
        let error = match result {
            Ok(identity) => return Ok((Some(identity), Vec::new())),
            Err(AuthError::Anonymous) => return Ok((None, headers)),
            Err(error) => error,
        };
        self.metrics.authentications.count(error.name());
        Err(match error {
            AuthError::Unavailable { .. } => {
                refused(StatusCode::SERVICE_UNAVAILABLE, "policy", "who you are cannot be found out now")
            }
            _ => refused(StatusCode::UNAUTHORIZED, "token", "the token is not acceptable"),
        })
    }
}

impl Rules {
    /// The headers that plugins want to see, of which a client may send each several times.
    fn wanted_headers(&self, headers: &HeaderMap) -> Vec<Attribute> {
        let mut wanted: Vec<Attribute> = Vec::new();
        for name in self.auth.headers() {
            if wanted.iter().any(|known| &*known.name == name) {
                continue;
            }
            let texts = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            wanted.extend(texts.map(|value| Attribute { name: name.into(), value: value.into() }));
        }
        wanted
    }

    fn is_allowed_origin(&self, origin: &[u8]) -> bool {
        self.allowed_origins.iter().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(origin))
    }
}
