//! A WebSocket connection that may break at any byte, which is no failure here.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::common::client_frame;

/// Nothing takes so long; a wait like this means that it will never end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The connection.
pub(crate) struct Line {
    stream: TcpStream,
    buffer: VecDeque<u8>,
}

impl Line {
    /// Connects, if there is anybody.
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let request = "GET /ws HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(request.as_bytes())?;
        let mut line = Self { stream, buffer: VecDeque::new() };
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(line.take(1)?);
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        Ok(line)
    }

    pub(crate) fn send(&mut self, message: &Value) -> io::Result<()> {
        self.stream.write_all(&client_frame(0x81, message.to_string().as_bytes()))
    }

    /// The next message.
    pub(crate) fn next(&mut self) -> io::Result<Value> {
        loop {
            let head = self.take(2)?;
            let length = match head[1] {
                126 => u64::from(u16::from_be_bytes(self.take(2)?.try_into().unwrap())),
                127 => u64::from_be_bytes(self.take(8)?.try_into().unwrap()),
                short => u64::from(short),
            };
            let payload = self.take(length as usize)?;
            match head[0] {
                0x81 => return Ok(serde_json::from_slice(&payload).unwrap()),
                0x89 => self.stream.write_all(&client_frame(0x8a, &payload))?,
                0x88 => return Err(io::ErrorKind::ConnectionAborted.into()),
                other => panic!("a frame that begins with {other:#x}"),
            }
        }
    }

    fn take(&mut self, bytes: usize) -> io::Result<Vec<u8>> {
        let mut chunk = [0; 16 << 10];
        while self.buffer.len() < bytes {
            match self.stream.read(&mut chunk)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.buffer.extend(&chunk[..read]),
            }
        }
        Ok(self.buffer.drain(..bytes).collect())
    }
}
