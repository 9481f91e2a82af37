//! The operator's listener: metrics, health, and the server API.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::api::Api;
use super::http::text;
use crate::metrics::Metrics;

/// Connections of operators at once; further ones wait.
const CONNECTIONS_MAX: usize = 256;

/// Time an operator's connection may take for a request's head, and may live.
const HEAD_MAX: Duration = Duration::from_secs(10);
const CONNECTION_MAX: Duration = Duration::from_secs(60);

/// Whether clients should be sent here.
#[derive(Default)]
pub struct Readiness {
    draining: AtomicBool,
    keyless: AtomicBool,
    storeless: AtomicBool,
}

impl Readiness {
    /// From now on no more clients should come.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether there is any key to judge tokens by. Without one nobody could log in here.
    pub fn set_has_keys(&self, has_keys: bool) {
        self.keyless.store(!has_keys, Ordering::Relaxed);
    }

    /// Whether what is sent can be stored.
    pub fn set_has_store(&self, has_store: bool) {
        self.storeless.store(!has_store, Ordering::Relaxed);
    }

    fn is_storeless(&self) -> bool {
        self.storeless.load(Ordering::Relaxed)
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    fn is_keyless(&self) -> bool {
        self.keyless.load(Ordering::Relaxed)
    }
}

/// The operator's listener.
pub struct Admin {
    /// Where it listens.
    pub listener: TcpListener,
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// What `/readyz` says.
    pub readiness: Arc<Readiness>,
    /// The API for the application's own servers.
    pub api: Arc<Api>,
}

impl Admin {
    /// Serves as long as the server's runtime lives: also while connections drain, when it says so.
    pub async fn run(self) {
        let admin = Arc::new(self);
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
            match admin.listener.accept().await {
                Ok((stream, peer)) => {
                    let admin = Arc::clone(&admin);
                    tasks.spawn(async move {
                        admin.serve(stream, peer.ip()).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an operator's connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            while tasks.try_join_next().is_some() {}
        }
    }

    async fn serve(&self, stream: TcpStream, peer: IpAddr) {
        let service =
            service_fn(
                |request: Request<Incoming>| async move { Ok::<_, Infallible>(self.answer(request, peer).await) },
            );
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_MAX)
            .serve_connection(TokioIo::new(stream), service);
        if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_MAX, connection).await {
            tracing::debug!(%error, "an operator's connection failed");
        }
    }

    async fn answer(&self, request: Request<Incoming>, peer: IpAddr) -> Response<Full<Bytes>> {
        if request.uri().path().starts_with("/api/") {
            return self.api.answer(request, peer).await;
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
        }
        match request.uri().path() {
            "/metrics" => {
                let mut response = Response::new(Full::new(self.metrics.render().into()));
                let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                response
            }
            "/healthz" => json(StatusCode::OK, "{\"status\":\"ok\"}"),
            "/readyz" if self.readiness.is_draining() => {
                json(StatusCode::SERVICE_UNAVAILABLE, "{\"status\":\"unavailable\",\"failing\":[\"draining\"]}")
            }
            "/readyz" if self.readiness.is_keyless() => {
                json(StatusCode::SERVICE_UNAVAILABLE, "{\"status\":\"unavailable\",\"failing\":[\"keys\"]}")
            }
            "/readyz" if self.readiness.is_storeless() => {
                json(StatusCode::SERVICE_UNAVAILABLE, "{\"status\":\"unavailable\",\"failing\":[\"store\"]}")
            }
            "/readyz" => json(StatusCode::OK, "{\"status\":\"ok\"}"),
            _ => text(StatusCode::NOT_FOUND, "not found"),
        }
    }
}

fn json(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = text(status, body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
