//! Ten thousand connections at once in one process, three times over: each answers a heartbeat, each gets a broadcast,
//! and the memory they took is there for the next ten thousand.
//!
//! The server runs as a process of its own: with both ends of every socket the test would need more open files than a
//! process may have, and its memory could not be told from the test's.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const CONNECTIONS: usize = 10_000;
const STORMS: usize = 3;
/// What a later storm may leave of what the first left, in percent.
const LEFT_PERCENT_MAX: u64 = 105;
/// Nothing here takes long; a wait this long means that it will never end.
const PATIENCE: Duration = Duration::from_secs(60);
const SECRET: &str = "Qm7vK2xT9wLr4ZbN8sYc1HfJ6pXd3GaU";

/// A server process, ended with the test however that ends.
struct Server {
    process: Child,
    address: SocketAddr,
    admin: SocketAddr,
    directory: std::path::PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
        std::fs::remove_dir_all(&self.directory).ok();
    }
}

impl Server {
    fn start() -> Self {
        let directory = std::env::temp_dir().join(format!("stentor-crowd-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let config = directory.join("stentor.toml");
        let text = format!(
            "listen = \"127.0.0.1:0\"\ndata_directory = \"{}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [timing]\npresence_grace_ms = 0\n[log]\nformat = \"json\"\n\
             [[auth.keys]]\nalgorithm = \"HS256\"\nsecret = \"{SECRET}\"\n",
            directory.join("data").display()
        );
        std::fs::write(&config, text).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_stentor"))
            .args(["serve", "--config"])
            .arg(&config)
            .env_remove("JWT_SECRET")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let (address, admin) = loop {
            let line = log.next().expect("the server says where it listens").unwrap();
            let event: serde_json::Value = serde_json::from_str(&line).unwrap();
            if event["message"] == "listening" {
                let address = |name: &str| event[name].as_str().unwrap().parse().unwrap();
                break (address("client"), address("admin"));
            }
        };
        // A log that nobody reads would stop the server.
        std::thread::spawn(move || log.for_each(drop));
        Self { process, address, admin, directory }
    }

    /// Resident memory, in bytes.
    fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// The same as soon as it is within a bound, or if it never is: the allocator gives back what it no longer needs over
    /// some seconds.
    fn resident_bytes_within(&self, bytes_max: u64) -> u64 {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let resident = self.resident_bytes();
            if resident <= bytes_max || std::time::Instant::now() > deadline {
                return resident;
            }
            std::thread::yield_now();
        }
    }

    /// Open connections, as the server's own metrics say.
    fn connections(&self) -> u64 {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let line = response.lines().find_map(|line| line.strip_prefix("stentor_connections ")).unwrap();
        line.trim().parse().unwrap()
    }
}

fn token(user: &str) -> String {
    let expiry = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 3600;
    let claims = serde_json::json!({ "sub": user, "exp": expiry });
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
}

/// A blocking client: what it waits for is in the kernel's buffer sooner or later, so ten thousand need no event loop.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(address: SocketAddr, user: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        // A small buffer: there are ten thousand of them.
        let mut client = Self(BufReader::with_capacity(512, stream));
        let token = token(user);
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        client.0.get_mut().write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        client.0.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 101"), "{line}");
        while line != "\r\n" {
            line.clear();
            client.0.read_line(&mut line).unwrap();
        }
        client
    }

    fn send(&mut self, request: &serde_json::Value) {
        let text = request.to_string();
        let mut frame = vec![0x81];
        match u8::try_from(text.len()) {
            Ok(length) if length < 126 => frame.push(0x80 | length),
            _ => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&u16::try_from(text.len()).unwrap().to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(text.as_bytes());
        self.0.get_mut().write_all(&frame).unwrap();
    }

    /// Reads on until an event of this name.
    fn wait_for(&mut self, event: &str) -> serde_json::Value {
        loop {
            let mut head = [0; 2];
            self.0.read_exact(&mut head).unwrap();
            let mut length = u64::from(head[1]);
            if length == 126 {
                let mut bytes = [0; 2];
                self.0.read_exact(&mut bytes).unwrap();
                length = u64::from(u16::from_be_bytes(bytes));
            }
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.0.read_exact(&mut payload).unwrap();
            assert!(matches!(head[0], 0x81 | 0x89), "an unexpected frame {:#x}", head[0]);
            if head[0] == 0x81 {
                let value: serde_json::Value = serde_json::from_slice(&payload).unwrap();
                if value["event"] == event {
                    return value;
                }
            }
        }
    }
}

fn storm(server: &Server, number: usize) {
    // The same people come back each time, as they do: new members would be new data to keep.
    let room = "square";
    let join = serde_json::json!({ "event": "join-room", "data": room });
    let mut clients: Vec<Client> = (0..CONNECTIONS)
        .map(|index| {
            let mut client = Client::connect(server.address, &format!("user-{index}"));
            client.send(&join);
            client
        })
        .collect();
    for client in &mut clients {
        client.wait_for("room-joined");
        client.send(&serde_json::json!({ "event": "heartbeat", "id": 1 }));
    }
    for client in &mut clients {
        assert_eq!(client.wait_for("heartbeat-ack")["id"], 1);
    }
    let text = format!("to everyone in storm {number}");
    clients[0]
        .send(&serde_json::json!({ "event": "send-message", "data": { "conversationId": room, "content": text } }));
    for client in &mut clients {
        assert_eq!(client.wait_for("message-new")["data"]["content"], text);
    }
}

/// Waits until the server knows that everyone is gone; then what it still holds is what it keeps.
fn settle(server: &Server) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while server.connections() > 0 {
        assert!(std::time::Instant::now() < deadline, "the server keeps connections of clients that are gone");
    }
}

#[test]
fn s1_74_s1_76_ten_thousand_connections_come_and_go_three_times_in_the_same_memory() {
    let server = Server::start();
    let mut resident: Vec<u64> = Vec::new();
    for number in 0..STORMS {
        storm(&server, number);
        settle(&server);
        let bytes_max = resident.first().map_or(u64::MAX, |first| first * LEFT_PERCENT_MAX / 100);
        resident.push(server.resident_bytes_within(bytes_max));
    }
    println!("resident bytes after each storm: {resident:?}");
    for later in &resident[1..] {
        assert!(later * 100 <= resident[0] * LEFT_PERCENT_MAX, "memory grew from storm to storm: {resident:?}");
    }
}
