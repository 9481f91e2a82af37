//! The demo page of a development server, and the tokens it needs.

mod files;

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::{Deserialize, Serialize};

use self::files::File;
use super::http::text;

/// Scripts and styles are files of this server, and none are in the page itself: what somebody writes in a chat can
/// never run. (`ws:` is for browsers that do not count a WebSocket of the same origin as `'self'`.)
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
                                       connect-src 'self' ws:; base-uri 'none'; form-action 'none'; \
                                       frame-ancestors 'none'";

/// Where the page gets its tokens.
const TOKEN_PATH: &str = "/demo/token";

/// Bytes of a request for a token.
const TOKEN_REQUEST_BYTES_MAX: usize = 4096;

/// A token for the page.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DemoToken {
    /// The token.
    pub token: String,
    /// When it expires, in milliseconds since the Unix epoch.
    pub expires_at: u64,
}

/// Makes a token for a user, unless the name will not do.
type Mint = dyn Fn(&str) -> Option<DemoToken> + Send + Sync;

/// Serves the page.
#[derive(Clone)]
pub struct Demo {
    mint: Arc<Mint>,
    /// Where the page may be asked for; a name that an attacker's DNS points here is none of them.
    hosts: Vec<String>,
}

impl Demo {
    /// A demo whose tokens are made by `mint`, for requests that name one of `hosts`.
    pub fn new(hosts: Vec<String>, mint: impl Fn(&str) -> Option<DemoToken> + Send + Sync + 'static) -> Self {
        Self { mint: Arc::new(mint), hosts }
    }

    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let forwarded = ["forwarded", "x-forwarded-for"].iter().any(|name| request.headers().contains_key(*name));
        if forwarded || !self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host)) {
            return text(StatusCode::FORBIDDEN, "the demo is served under a loopback address only");
        }
        let path = request.uri().path();
        match (request.method(), files::find(path)) {
            (&Method::GET, Some(file)) => show(&file),
            (&Method::POST, None) if path == TOKEN_PATH => self.token(request).await,
            (_, file) if file.is_some() || path == TOKEN_PATH => {
                text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")
            }
            _ => text(StatusCode::NOT_FOUND, "not found"),
        }
    }

    async fn token(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        #[derive(Deserialize)]
        struct Wanted {
            user: String,
        }
        // A page of another origin cannot send this type without asking first, and asking is not answered.
        let is_json = request
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        if !is_json {
            return text(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send application/json");
        }
        let body = Limited::new(request.into_body(), TOKEN_REQUEST_BYTES_MAX).collect().await;
        let Ok(body) = body.map(http_body_util::Collected::to_bytes) else {
            return text(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large");
        };
        let wanted = serde_json::from_slice::<Wanted>(&body).ok();
        let Some(token) = wanted.and_then(|wanted| (self.mint)(&wanted.user)) else {
            return text(
                StatusCode::BAD_REQUEST,
                "user must be a name of 1 to 200 bytes without control characters or any of { } * ? [ ] \\",
            );
        };
        let mut response = Response::new(Full::new(crate::wire::encode::json(&token).into()));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

fn show(file: &File) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(file.text.as_bytes())));
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, file.kind),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
