//! HTTP by hand: handshakes, good and bad, and the operator's listener.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use super::{Client, DEADLINE};

/// The key of RFC 6455's own example, and its answer.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A handshake that is still to be sent. Every part can be changed or taken away.
pub(crate) struct Handshake {
    address: SocketAddr,
    request_line: String,
    headers: Vec<(String, String)>,
    behind: Vec<u8>,
}

impl Handshake {
    pub(crate) fn to(address: SocketAddr) -> Self {
        let headers = [
            ("Host", address.to_string().as_str()),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", KEY),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        Self { address, request_line: "GET /ws HTTP/1.1".to_owned(), headers, behind: Vec::new() }
    }

    pub(crate) fn request_line(mut self, line: &str) -> Self {
        line.clone_into(&mut self.request_line);
        self
    }

    pub(crate) fn path(self, path: &str) -> Self {
        self.request_line(&format!("GET {path} HTTP/1.1"))
    }

    /// Adds a header, beside one of the same name.
    pub(crate) fn add(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a header.
    pub(crate) fn set(self, name: &str, value: &str) -> Self {
        self.without(name).add(name, value)
    }

    /// Takes a header away.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    /// Offers a token as a header.
    pub(crate) fn bearer(self, token: &str) -> Self {
        self.set("Authorization", &format!("Bearer {token}"))
    }

    /// Sends bytes in the same write, behind the handshake.
    pub(crate) fn behind(mut self, bytes: &[u8]) -> Self {
        self.behind.extend_from_slice(bytes);
        self
    }

    /// The request as it is sent.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{}\r\n", self.request_line).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.behind);
        bytes
    }

    /// Sends it and reads the head of the answer; what came behind it is left in `rest`.
    fn exchange(&self) -> (Response, TcpStream) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        // A server that refuses early may not read all of it.
        let _refused_meanwhile = stream.write_all(&self.bytes());
        (Response::read_head(&mut stream), stream)
    }

    /// Sends it and reads the whole answer, which must not be an upgrade.
    pub(crate) fn refused(&self) -> Response {
        let (mut response, mut stream) = self.exchange();
        assert_ne!(response.status, 101, "upgraded");
        response.read_body(&mut stream);
        response
    }

    /// Sends it, and reads the answer: with a client if it is an upgrade, and wholly if it is not.
    pub(crate) fn attempt(&self) -> (Option<Client>, Response) {
        let (mut response, mut stream) = self.exchange();
        if response.status == 101 {
            return (Some(response.client(stream)), response);
        }
        response.read_body(&mut stream);
        (None, response)
    }

    /// Sends it; the answer must be an upgrade.
    pub(crate) fn upgrade(&self) -> Client {
        self.upgrade_with_response().0
    }

    /// The same, with the answer.
    pub(crate) fn upgrade_with_response(&self) -> (Client, Response) {
        let (response, stream) = self.exchange();
        assert_eq!(response.status, 101, "not upgraded: {}", response.head);
        (response.client(stream), response)
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Status line and headers.
    pub(crate) head: String,
    /// What was read behind the head.
    rest: Vec<u8>,
    pub(crate) body: String,
}

impl Response {
    /// The client whose handshake it answers.
    fn client(&self, stream: TcpStream) -> Client {
        let mut client = Client::new(stream, self.rest.clone());
        client.deflates = self.header("Sec-WebSocket-Extensions").is_some();
        client
    }

    fn read_head(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
                let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                return Self { status, head, rest: bytes[end + 4..].to_vec(), body: String::new() };
            }
            let read = stream.read(&mut buffer).unwrap();
            assert!(read > 0, "no answer, only {:?}", String::from_utf8_lossy(&bytes));
            bytes.extend_from_slice(&buffer[..read]);
        }
    }

    /// Reads the body by its length, or to the end of the stream.
    fn read_body(&mut self, stream: &mut TcpStream) {
        let length = self.header("content-length").map(|length| length.parse::<usize>().unwrap());
        let mut bytes = std::mem::take(&mut self.rest);
        let mut buffer = [0; 4096];
        while length.is_none_or(|length| bytes.len() < length) {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => bytes.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("{error}"),
            }
        }
        self.body = String::from_utf8(bytes).unwrap();
    }

    /// The first header of a name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let matches = |line: &&str| line.split(':').next().is_some_and(|known| known.eq_ignore_ascii_case(name));
        self.head.lines().skip(1).find(matches).map(|line| line.split_once(':').unwrap().1.trim())
    }

    /// Sends a request of any kind and reads the whole answer.
    pub(crate) fn to(address: SocketAddr, request: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = Self::read_head(&mut stream);
        response.read_body(&mut stream);
        response
    }

    /// A POST of JSON with a key.
    pub(crate) fn post(address: SocketAddr, path: &str, key: &str, body: &str) -> Self {
        let length = body.len();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n");
        Self::to(address, &format!("{head}Authorization: Bearer {key}\r\n\r\n{body}"))
    }

    /// A plain GET.
    pub(crate) fn get(address: SocketAddr, path: &str) -> Self {
        Self::to(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"))
    }
}
