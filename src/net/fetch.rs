//! One GET, as a client: how a text is fetched from an address that the operator trusts.
//!
//! Each question has a connection of its own, as there is one every few minutes. Redirects are not followed, and no
//! proxy is used: what comes back decides who people are, so it comes from the configured host, over TLS, or not at
//! all. Without TLS only this machine is asked. The time, the head and the body of an answer are bounded.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

/// Time for the whole of it: names, connecting, TLS, the answer.
const FETCH_MAX: Duration = Duration::from_secs(3);

/// Time for connecting to one of a host's addresses, so that one that is dead leaves time for the next.
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Where a text is fetched from, and whom to believe that it is there.
pub struct Endpoint {
    uri: Uri,
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// Why nothing can be fetched, whoever answers.
#[derive(Debug, Error)]
pub enum EndpointError {
    /// No address, or of no scheme that is spoken.
    #[error("{0:?} is not an address that can be fetched from")]
    Malformed(String),
    /// The file with root certificates cannot be used.
    #[error("cannot use the certificates in {path}: {reason}")]
    Certificates {
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Nobody's certificate would be believed.
    #[error("this system has no root certificates: install them (ca-certificates), or name a file of your own")]
    NoRoots,
    /// TLS itself cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// Why a fetch brought nothing.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum FetchError {
    /// There was no answer.
    #[error("{0}")]
    Unreachable(String),
    /// There was one, which is not what was asked for.
    #[error("{0}")]
    Unusable(String),
}

/// What a fetch brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fetched {
    pub(super) text: String,
    /// How long the answer says that it is good.
    pub(super) max_age: Option<Duration>,
}

impl Endpoint {
    /// The address may be certified by what the system trusts, and by the roots of a file.
    ///
    /// # Errors
    ///
    /// When nothing can be fetched from there, whoever answers.
    pub fn new(url: &str, roots: Option<&Path>) -> Result<Self, EndpointError> {
        let malformed = || EndpointError::Malformed(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| malformed())?;
        let host = uri.host().ok_or_else(malformed)?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let (tls, default_port) = match uri.scheme_str() {
            Some("https") => {
                let name = ServerName::try_from(host.clone()).map_err(|_| malformed())?;
                (Some((connector(roots)?, name)), 443)
            }
            Some("http") => (None, 80),
            _ => return Err(malformed()),
        };
        let port = uri.port_u16().unwrap_or(default_port);
        Ok(Self { uri, host, port, tls })
    }

    /// Fetches what is there, of so many bytes at most.
    pub(super) async fn fetch(&self, bytes_max: usize) -> Result<Fetched, FetchError> {
        match timeout(FETCH_MAX, self.fetch_unbounded(bytes_max)).await {
            Ok(result) => result,
            Err(_) => Err(FetchError::Unreachable(format!("no answer in {FETCH_MAX:?}"))),
        }
    }

    async fn fetch_unbounded(&self, bytes_max: usize) -> Result<Fetched, FetchError> {
        let stream = self.connect().await?;
        match &self.tls {
            None => self.exchange(stream, bytes_max).await,
            Some((connector, name)) => {
                let stream =
                    connector.connect(name.clone(), stream).await.map_err(|error| unreachable("TLS", &error))?;
                self.exchange(stream, bytes_max).await
            }
        }
    }

    async fn connect(&self) -> Result<TcpStream, FetchError> {
        let mut last = FetchError::Unreachable(format!("{} has no address", self.host));
        let addresses = lookup_host((self.host.as_str(), self.port)).await;
        for address in addresses.map_err(|error| unreachable(&self.host, &error))? {
            if self.tls.is_none() && !address.ip().to_canonical().is_loopback() {
                last = FetchError::Unreachable(format!("{address} is not this machine, and there is no TLS"));
                continue;
            }
            match timeout(CONNECT_MAX, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = unreachable(&address.to_string(), &error),
                Err(_) => last = FetchError::Unreachable(format!("{address}: no connection in {CONNECT_MAX:?}")),
            }
        }
        Err(last)
    }

    async fn exchange<S>(&self, stream: S, bytes_max: usize) -> Result<Fetched, FetchError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let broken = |error: hyper::Error| unreachable("HTTP", &error);
        let (mut sender, connection) =
            http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Dropped at the end, and the connection with it.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let response = sender.send_request(self.request()?).await.map_err(broken)?;
        let (head, body) = response.into_parts();
        if head.status != StatusCode::OK {
            return Err(FetchError::Unusable(format!("the answer is {}", head.status)));
        }
        let body = Limited::new(body, bytes_max).collect().await.map_err(|error| {
            let is_too_long = error.is::<http_body_util::LengthLimitError>();
            if is_too_long {
                FetchError::Unusable(format!("the answer has more than {bytes_max} bytes"))
            } else {
                FetchError::Unreachable(format!("the answer breaks off: {error}"))
            }
        })?;
        let text = String::from_utf8(body.to_bytes().into())
            .map_err(|_| FetchError::Unusable("the answer is not UTF-8".to_owned()))?;
        Ok(Fetched { text, max_age: max_age(&head.headers) })
    }

    fn request(&self) -> Result<Request<Empty<Bytes>>, FetchError> {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let host = self.uri.authority().map_or("", |authority| authority.as_str());
        Request::get(path)
            .header(header::HOST, host)
            .header(header::ACCEPT, HeaderValue::from_static("application/json"))
            .header(header::USER_AGENT, HeaderValue::from_static(concat!("stentor/", env!("CARGO_PKG_VERSION"))))
            .header(header::CONNECTION, HeaderValue::from_static("close"))
            .body(Empty::new())
            .map_err(|error| unreachable("HTTP", &error))
    }
}

/// With everything that led to an error, which is where the reason is: an expired certificate, another name.
fn unreachable(what: &str, error: &dyn std::error::Error) -> FetchError {
    let mut text = format!("{what}: {error}");
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    FetchError::Unreachable(text)
}

fn connector(roots: Option<&Path>) -> Result<TlsConnector, EndpointError> {
    let mut store = RootCertStore::empty();
    // A certificate among many that cannot be read is nothing to stop for; that there is none is.
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = roots {
        let unusable = |reason: String| EndpointError::Certificates { path: path.to_owned(), reason };
        let of_system = store.len();
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))? {
            let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
            store.add(certificate).map_err(|error| unusable(error.to_string()))?;
        }
        if store.len() == of_system {
            return Err(unusable("there is none in it".to_owned()));
        }
    }
    if store.is_empty() {
        return Err(EndpointError::NoRoots);
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// `max-age` of `Cache-Control` (RFC 9111 §5.2.2.1), unless the answer is not to be kept at all.
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(header::CACHE_CONTROL);
    let directives = || values.iter().filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(','));
    let is = |directive: &str, name: &str| directive.trim().eq_ignore_ascii_case(name);
    if directives().any(|directive| is(directive, "no-store") || is(directive, "no-cache")) {
        return None;
    }
    directives().find_map(|directive| {
        let (name, seconds) = directive.split_once('=')?;
        is(name, "max-age").then(|| seconds.trim().trim_matches('"').parse().ok().map(Duration::from_secs))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read() {
        let parts =
            |url: &str| Endpoint::new(url, None).map(|endpoint| (endpoint.host, endpoint.port, endpoint.tls.is_some()));
        assert_eq!(parts("http://127.0.0.1/keys").unwrap(), ("127.0.0.1".to_owned(), 80, false));
        assert_eq!(parts("http://[::1]:8080/keys").unwrap(), ("::1".to_owned(), 8080, false));
        for bad in ["", "/keys", "keys", "ftp://localhost/keys", "localhost:80", "https://"] {
            assert!(matches!(Endpoint::new(bad, None), Err(EndpointError::Malformed(_))), "{bad}");
        }
        // No file, and one without a certificate.
        for path in ["no/such/file.pem", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")] {
            let unusable = Endpoint::new("https://localhost/", Some(Path::new(path)));
            assert!(matches!(unusable, Err(EndpointError::Certificates { .. })), "{path}");
        }
    }

    #[tokio::test]
    async fn without_tls_only_this_machine_is_asked() {
        // An address of documentation (RFC 5737): if it were asked, there would be no answer.
        let endpoint = Endpoint::new("http://192.0.2.1/keys", None).unwrap();
        let FetchError::Unreachable(reason) = endpoint.fetch(1).await.unwrap_err() else { panic!("it was asked") };
        assert!(reason.contains("there is no TLS"), "{reason}");
    }

    #[test]
    fn an_answer_may_say_how_long_it_is_good() {
        let age = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CACHE_CONTROL, value.parse().unwrap());
            }
            max_age(&headers).map(|age| age.as_secs())
        };
        assert_eq!(age(&["max-age=300"]), Some(300));
        assert_eq!(age(&["public, Max-Age=\"15\", must-revalidate"]), Some(15));
        assert_eq!(age(&["public", "max-age=0"]), Some(0));
        for none in [
            &[][..],
            &["public"],
            &["max-age"],
            &["max-age=x"],
            &["max-age=-1"],
            &["no-cache, max-age=300"],
            &["s-maxage=5"],
        ] {
            assert_eq!(age(none), None, "{none:?}");
        }
    }
}
