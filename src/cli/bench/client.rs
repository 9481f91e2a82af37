//! One connection of the generator: the handshake, then frames in and out without blocking. It keeps what a read left
//! over and what a write could not take, and nothing else. Knows nothing of workloads, schedules or other connections.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;

use super::dialect::{self, Dialect, Incoming, Listener};
use super::error::{BenchError, failed};
use super::frame::{self, Head};

/// How many deliveries are answered with a word. TCP takes a side that has answered a few times at once for a partner in
/// a dialogue, and from then on its acknowledgements wait for its next answer. Over loopback it then is the server's
/// `send` that processes them, rather than the client's `recv`: two thirds more for each delivery. Clients of a chat do
/// speak, and so do those of the server and of the floor, or one would be measured with cheaper sockets than the other.
const WORDS: u8 = 4;

/// Where a connection sits: in which room, and as which of its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) room: usize,
    pub(super) member: usize,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waits for the answer to its upgrade request.
    Upgrading,
    /// Waits for `auth-success`, then for `room-joined`.
    Greeting,
    /// Takes part.
    Ready,
    /// Ended, by whichever side.
    Closed,
}

/// What a connection needs to begin.
pub(super) struct Opening {
    pub(super) address: SocketAddr,
    pub(super) dialect: Dialect,
    pub(super) seat: Seat,
    /// The upgrade request.
    pub(super) request: Vec<u8>,
    /// The frame sent once authenticated; empty if there is nothing to join.
    pub(super) join: Vec<u8>,
}

/// One connection.
pub(super) struct Connection {
    stream: TcpStream,
    seat: Seat,
    phase: Phase,
    dialect: Dialect,
    listener: Listener,
    join: Vec<u8>,
    leftover: Vec<u8>,
    unsent: Vec<u8>,
    begun_ns: u64,
    pongs: u64,
    /// Deliveries that it still has a word to say to.
    words: u8,
    ending: Option<Box<str>>,
}

impl Connection {
    /// Begins to connect, now; the request goes out as soon as the kernel takes it.
    pub(super) fn open(opening: Opening, now_ns: u64) -> Result<Self, BenchError> {
        Ok(Self {
            stream: TcpStream::connect(opening.address).map_err(failed("connect"))?,
            seat: opening.seat,
            phase: Phase::Upgrading,
            dialect: opening.dialect,
            listener: Listener::new(opening.dialect),
            join: opening.join,
            leftover: Vec::new(),
            unsent: opening.request,
            begun_ns: now_ns,
            pongs: 0,
            words: WORDS,
            ending: None,
        })
    }

    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    pub(super) fn seat(&self) -> Seat {
        self.seat
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// When it began to connect.
    pub(super) fn begun_ns(&self) -> u64 {
        self.begun_ns
    }

    /// Pings of the server that were answered.
    pub(super) fn pongs(&self) -> u64 {
        self.pongs
    }

    /// Why it ended, if it did.
    pub(super) fn ending(&self) -> Option<&str> {
        self.ending.as_deref()
    }

    /// Sends a whole frame, or keeps what the socket does not take until it does.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        if self.phase == Phase::Closed {
            return;
        }
        let taken = if self.unsent.is_empty() { self.write(bytes) } else { 0 };
        if let Some(rest) = bytes.get(taken..) {
            self.unsent.extend_from_slice(rest);
        }
    }

    /// Deals with what the socket is ready for. `hear` gets every text frame's meaning once the connection is ready.
    pub(super) fn serve<F>(&mut self, scratch: &mut [u8], hear: &mut F)
    where
        F: FnMut(&mut Self, Incoming, usize),
    {
        if !self.unsent.is_empty() {
            self.flush();
        }
        while self.phase != Phase::Closed {
            match self.stream.read(scratch) {
                Ok(0) => self.end("the server ended the connection"),
                Ok(read) => {
                    self.take(scratch.get(..read).unwrap_or_default(), hear);
                    // A short read has emptied the socket: the next bytes will be announced.
                    if read < scratch.len() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::NotConnected => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.end(&error.to_string()),
            }
        }
    }

    fn flush(&mut self) {
        let waiting = std::mem::take(&mut self.unsent);
        let taken = self.write(&waiting);
        self.unsent = waiting.get(taken..).unwrap_or_default().to_vec();
    }

    fn write(&mut self, bytes: &[u8]) -> usize {
        match self.stream.write(bytes) {
            Ok(taken) => taken,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
            Err(error) => {
                self.end(&error.to_string());
                bytes.len()
            }
        }
    }

    fn end(&mut self, why: &str) {
        self.phase = Phase::Closed;
        self.ending.get_or_insert_with(|| why.into());
    }

    fn take<F>(&mut self, read: &[u8], hear: &mut F)
    where
        F: FnMut(&mut Self, Incoming, usize),
    {
        if self.leftover.is_empty() {
            let used = self.understand(read, hear);
            self.leftover.extend_from_slice(read.get(used..).unwrap_or_default());
            return;
        }
        let mut bytes = std::mem::take(&mut self.leftover);
        bytes.extend_from_slice(read);
        let used = self.understand(&bytes, hear);
        self.leftover = bytes.get(used..).unwrap_or_default().to_vec();
    }

    /// Deals with all that is complete; says how many bytes that was.
    fn understand<F>(&mut self, bytes: &[u8], hear: &mut F) -> usize
    where
        F: FnMut(&mut Self, Incoming, usize),
    {
        let mut used = 0;
        if self.phase == Phase::Upgrading {
            match self.finish_upgrade(bytes) {
                Some(length) => used = length,
                None => return 0,
            }
        }
        while self.phase != Phase::Closed {
            let rest = bytes.get(used..).unwrap_or_default();
            let Some(head) = frame::head(rest) else { break };
            if head.payload_bytes > frame::PAYLOAD_BYTES_MAX || head.mask.is_some() {
                self.end("the server sent an impossible frame");
                break;
            }
            let frame_bytes = head.head_bytes + head.payload_bytes;
            let Some(payload) = rest.get(head.head_bytes..frame_bytes) else { break };
            self.frame(head, payload, hear);
            used += frame_bytes;
        }
        used
    }

    fn finish_upgrade(&mut self, bytes: &[u8]) -> Option<usize> {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            if bytes.len() > frame::HEAD_BYTES_MAX {
                self.end("the answer to the upgrade does not end");
            }
            return None;
        };
        match dialect::upgraded(bytes.get(..end).unwrap_or_default()) {
            Ok(()) if self.dialect == Dialect::Floor => self.phase = Phase::Ready,
            Ok(()) => self.phase = Phase::Greeting,
            Err(why) => self.end(&why),
        }
        Some(end + 4)
    }

    fn frame<F>(&mut self, head: Head, payload: &[u8], hear: &mut F)
    where
        F: FnMut(&mut Self, Incoming, usize),
    {
        match head.opcode {
            frame::TEXT if head.whole => {
                let incoming = self.listener.hear(payload);
                if self.phase == Phase::Ready {
                    self.say_a_word();
                    hear(self, incoming, head.head_bytes + head.payload_bytes);
                } else {
                    self.greet(incoming);
                }
            }
            // By the pong a server knows that what it wrote before the ping has arrived, so it is not to wait.
            frame::PING => {
                let mut pong = Vec::new();
                frame::push_masked(&mut pong, frame::PONG, payload);
                self.send(&pong);
                self.pongs += 1;
            }
            frame::PONG => {}
            frame::CLOSE => {
                let code = payload.first_chunk::<2>().map_or(1005, |code| u16::from_be_bytes(*code));
                self.end(&format!("the server closed with {code}"));
            }
            _ => self.end("the server sent a fragment or a binary frame"),
        }
    }

    /// Says something to one of the first deliveries: a pong that nobody asked for, which every server must ignore.
    fn say_a_word(&mut self) {
        if let Some(left) = self.words.checked_sub(1) {
            self.words = left;
            let mut pong = Vec::new();
            frame::push_masked(&mut pong, frame::PONG, b"");
            self.send(&pong);
        }
    }

    fn greet(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Authenticated if self.join.is_empty() => self.phase = Phase::Ready,
            Incoming::Authenticated => {
                let join = std::mem::take(&mut self.join);
                self.send(&join);
            }
            Incoming::Joined => self.phase = Phase::Ready,
            Incoming::Refused { code, .. } => self.end(&format!("the server refused it: {code}")),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;
    use crate::cli::bench::measure::OPEN_TIME_MAX;
    use crate::cli::bench::swarm::Swarm;

    /// Enough, at 50 ms each, for the slowest machine.
    const TURNS_MAX: usize = 600;

    #[test]
    fn a_ping_behind_data_is_answered_with_a_masked_pong_of_its_payload() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().expect("the client");
            peer.set_read_timeout(Some(OPEN_TIME_MAX)).expect("a timeout");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                peer.read_exact(&mut byte).expect("a request");
                request.extend_from_slice(&byte);
            }
            let mut answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {accept}\r\n\r\n",
                accept = frame::ACCEPT
            )
            .into_bytes();
            for (opcode, payload) in [(frame::TEXT, b"{}".as_slice()), (frame::PING, b"+")] {
                frame::push_plain_head(&mut answer, opcode, payload.len());
                answer.extend_from_slice(payload);
            }
            peer.write_all(&answer).expect("an answer");
            // The first deliveries get a word each.
            let (mut word, mut pong) = ([0; 6], [0; 7]);
            peer.read_exact(&mut word).expect("a word");
            assert_eq!(word.first_chunk(), Some(&[0x8a, 0x80]), "an empty pong");
            peer.read_exact(&mut pong).expect("a pong");
            pong
        });
        let request = dialect::upgrade("here", "/floor/r0", None);
        let seat = Seat { room: 0, member: 0 };
        let mut swarm = Swarm::new().expect("epoll");
        let opening = Opening { address, dialect: Dialect::Floor, seat, request, join: Vec::new() };
        swarm.open(vec![opening], OPEN_TIME_MAX).expect("a connection");
        for _ in 0..TURNS_MAX {
            if swarm.pongs() > 0 {
                break;
            }
            swarm.turn(u64::MAX, |_, _, _| ()).expect("epoll");
        }
        assert_eq!(swarm.pongs(), 1);
        let mut pong = server.join().expect("a pong").to_vec();
        let head = frame::head(&pong).expect("a head");
        let mut payload = pong.split_off(head.head_bytes);
        frame::unmask(&mut payload, head.mask.expect("a mask"));
        assert_eq!((head.opcode, payload.as_slice()), (frame::PONG, b"+".as_slice()));
    }
}
