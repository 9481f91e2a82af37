//! An issuer of keys: a small web server, with TLS or without, that answers what a test tells it to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use serde_json::{Value, json};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::DEADLINE;
use super::pair::Scratch;

/// What an issuer says to everyone.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: &'static str,
    headers: String,
    body: String,
}

impl Answer {
    pub(crate) fn body(body: impl Into<String>) -> Self {
        Self { status: "200 OK", headers: String::new(), body: body.into() }
    }

    /// A JSON Web Key Set.
    pub(crate) fn keys(keys: impl IntoIterator<Item = Value>) -> Self {
        let keys: Vec<Value> = keys.into_iter().collect();
        Self::body(json!({"keys": keys}).to_string())
    }

    pub(crate) fn status(mut self, status: &'static str) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers += &format!("{name}: {value}\r\n");
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let Self { status, headers, body } = self;
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len()).into_bytes()
    }
}

/// A certificate for a name, and the root that it comes from, both made by `openssl`. The files go with it.
pub(crate) struct Certified {
    directory: Scratch,
}

impl Certified {
    /// For a name as X.509 has it: `IP:127.0.0.1`.
    pub(crate) fn new(name: &str) -> Self {
        let directory = Scratch::new();
        let key = ["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
        let root = ["-subj", "/CN=Stentor's tests", "-keyout", "root.key", "-out", "root.pem"];
        directory.openssl(&[&key[..], &root].concat());
        let name = format!("subjectAltName={name}");
        let leaf = ["-CA", "root.pem", "-CAkey", "root.key", "-subj", "/CN=issuer", "-addext", &name];
        let plain = ["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "leaf.key", "-out", "leaf.pem"];
        directory.openssl(&[&key[..], &leaf, &plain].concat());
        Self { directory }
    }

    /// The file with the root certificate.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path("root.pem")
    }

    fn config(&self) -> ServerConfig {
        let chain = CertificateDer::pem_file_iter(self.directory.path("leaf.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(self.directory.path("leaf.key")).unwrap();
        ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.map(Result::unwrap).collect(), key)
            .unwrap()
    }
}

struct State {
    answer: Answer,
    /// The heads of requests, as they came.
    requests: Vec<String>,
    /// Answers wait while this is set.
    is_held: bool,
    /// Connections are closed without a word while this is set.
    is_away: bool,
    is_stopped: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    tls: Option<Arc<ServerConfig>>,
}

/// An issuer. It ends when it is dropped.
pub(crate) struct Issuer {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl Issuer {
    /// An issuer without TLS.
    pub(crate) fn new(answer: Answer) -> Self {
        Self::start(TcpListener::bind("127.0.0.1:0").unwrap(), answer, None)
    }

    /// An issuer with TLS.
    pub(crate) fn with_tls(answer: Answer, certified: &Certified) -> Self {
        Self::start(TcpListener::bind("127.0.0.1:0").unwrap(), answer, Some(Arc::new(certified.config())))
    }

    fn start(listener: TcpListener, answer: Answer, tls: Option<Arc<ServerConfig>>) -> Self {
        let address = listener.local_addr().unwrap();
        let state = State { answer, requests: Vec::new(), is_held: false, is_away: false, is_stopped: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), tls });
        let accepts = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming() {
                let state = accepts.state.lock();
                if state.is_stopped {
                    return;
                }
                if state.is_away {
                    continue;
                }
                drop(state);
                let shared = Arc::clone(&accepts);
                std::thread::spawn(move || shared.serve(stream.unwrap()));
            }
        });
        Self { address, shared, accepting: Some(accepting) }
    }

    /// Where its keys are.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/keys?format=jwks", self.address)
    }

    /// From now on it says this.
    pub(crate) fn says(&self, answer: Answer) {
        self.shared.state.lock().answer = answer;
    }

    /// From now on it takes its time.
    pub(crate) fn hold(&self) {
        self.shared.state.lock().is_held = true;
    }

    /// And now it goes on.
    pub(crate) fn go_on(&self) {
        self.shared.state.lock().is_held = false;
        self.shared.changed.notify_all();
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.shared.state.lock().requests.len()
    }

    /// Waits until it was asked so often.
    pub(crate) fn wait_until_asked(&self, times: usize) {
        let mut state = self.shared.state.lock();
        let waited = self.shared.changed.wait_while_for(&mut state, |state| state.requests.len() < times, DEADLINE);
        assert!(!waited.timed_out(), "asked {} times, not {times}", state.requests.len());
    }

    /// The head of the last request.
    pub(crate) fn last_request(&self) -> String {
        self.shared.state.lock().requests.last().cloned().unwrap_or_default()
    }

    /// Goes away: nobody answers any more. The address stays ours, so that nobody else's server is found there.
    pub(crate) fn leave(&self) {
        self.shared.state.lock().is_away = true;
    }

    /// Comes back, and says this.
    pub(crate) fn come_back(&self, answer: Answer) {
        let mut state = self.shared.state.lock();
        (state.answer, state.is_away) = (answer, false);
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.shared.state.lock().is_stopped = true;
        self.go_on();
        // The thread that accepts has to be woken to see it.
        let _woken = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            accepting.join().unwrap();
        }
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        match &self.tls {
            None => self.answer(stream),
            Some(config) => {
                let connection = ServerConnection::new(Arc::clone(config)).unwrap();
                self.answer(StreamOwned::new(connection, stream));
            }
        }
    }

    /// Reads a request's head and answers it. Whoever hangs up before that, or trusts us not, is no request.
    fn answer(&self, mut stream: impl Read + Write) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                _ => return,
            }
        }
        let mut state = self.state.lock();
        state.requests.push(String::from_utf8(head).unwrap());
        self.changed.notify_all();
        self.changed.wait_while(&mut state, |state| state.is_held);
        let bytes = state.answer.bytes();
        drop(state);
        let _hung_up = stream.write_all(&bytes).and_then(|()| stream.flush());
    }
}
