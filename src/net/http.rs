//! HTTP on the client listener: the handshake, and in development the demo page. Everything else is not found.

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::handshake::{Gate, Refused, Rules, Upgrade};
use crate::wire::{SUBPROTOCOL, deflate};

/// Headers of a handshake.
const HEADERS_MAX: usize = 64;

/// A connection whose handshake is done.
pub(super) struct Upgraded {
    pub(super) stream: TcpStream,
    pub(super) upgrade: Upgrade,
    /// What the client sent behind its handshake.
    pub(super) left: Vec<u8>,
    /// Bounds on its messages.
    pub(super) frame_limits: super::frame::Limits,
}

/// Speaks HTTP with a client until it has its handshake, or its answer.
pub(super) async fn handshake(gate: &Arc<Gate>, stream: TcpStream, peer: SocketAddr) -> Option<Upgraded> {
    let rules = gate.rules();
    let deadline = Instant::now() + rules.handshake_max;
    // A client that says nothing yet costs no HTTP buffers: those are made when there is something to read.
    tokio::time::timeout_at(deadline, stream.readable()).await.ok()?.ok()?;
    let upgraded: Rc<RefCell<Option<Upgrade>>> = Rc::default();
    let service = service_fn(|request| {
        let upgraded = Rc::clone(&upgraded);
        let (gate, rules) = (Arc::clone(gate), Arc::clone(&rules));
        async move {
            let mut response = answer((&gate, &rules), request, peer, &upgraded).await;
            if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                // One answer and no more: this listener is for connections of another kind.
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(rules.handshake_max)
        .max_buf_size(rules.handshake_bytes_max)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .without_shutdown();
    // The time bounds the whole handshake, also one that trickles in behind its headers.
    let parts = tokio::time::timeout_at(deadline, connection).await.ok()?.ok()?;
    let upgrade = upgraded.borrow_mut().take()?;
    let frame_limits = rules.frame_limits();
    Some(Upgraded { stream: parts.io.into_inner(), upgrade, left: parts.read_buf.to_vec(), frame_limits })
}

async fn answer(
    (gate, rules): (&Gate, &Rules),
    request: Request<Incoming>,
    peer: SocketAddr,
    upgraded: &RefCell<Option<Upgrade>>,
) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if let Some(demo) = gate.demo.as_ref().filter(|_| path.starts_with("/demo")) {
        return demo.answer(request).await;
    }
    let is_websocket_path = matches!(path, "/ws" | "/") || (cfg!(feature = "echo-route") && path == "/echo");
    if !is_websocket_path {
        return text(StatusCode::NOT_FOUND, "not found");
    }
    match gate.check(rules, &request, peer.ip()).await {
        Ok(upgrade) => {
            let response = switching(&upgrade);
            *upgraded.borrow_mut() = Some(upgrade);
            response
        }
        Err(refused) => {
            gate.metrics.handshakes_refused.count(refused.name);
            tracing::info!(address = %peer.ip(), reason = refused.name, status = refused.status.as_u16(), "handshake refused");
            refusal(refused)
        }
    }
}

fn switching(upgrade: &Upgrade) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = HeaderValue::from_str(&upgrade.accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if upgrade.subprotocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    if upgrade.deflate {
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(deflate::ACCEPTED));
    }
    response
}

fn refusal(refused: Refused) -> Response<Full<Bytes>> {
    let mut response = text(refused.status, refused.message);
    let headers = response.headers_mut();
    match refused.status {
        StatusCode::UPGRADE_REQUIRED => {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        StatusCode::UNAUTHORIZED => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        _ => {}
    }
    response
}

/// A short answer for people.
pub(super) fn text(status: StatusCode, message: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(message.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
