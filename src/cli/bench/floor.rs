//! The floor: the least a server can do to deliver a message to a room, and so what ours is compared with. One epoll
//! thread, one `send` per receiver, frames of a given length; no JSON, no tokens, no acknowledgements, no plugins.
//! It knows nothing of the server, and shares no code with it on purpose.

use std::collections::HashMap;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddr};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use rustix::net::{SendFlags, send};

use super::error::{BenchError, failed};
use super::frame::{self, ACCEPT, HEAD_BYTES_MAX, Head, KEY};

const EVENTS_MAX: usize = 1024;
const SCRATCH_BYTES: usize = 64 << 10;
const BACKLOG: i32 = 4096;
/// Bytes that wait for a slow receiver before it is dropped.
const UNSENT_BYTES_MAX: usize = 64 << 20;
const LISTENER: Token = Token(usize::MAX - 1);

/// How to run the floor.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct FloorArgs {
    /// Port on the loopback interface.
    #[arg(long)]
    pub(super) port: u16,
    /// Length of each frame to a receiver, head included.
    #[arg(long, default_value_t = 181)]
    pub(super) frame_bytes: usize,
}

/// Where what a peer sends goes.
#[derive(Clone, Copy)]
enum Role {
    Newcomer,
    Member(usize),
    Echo,
}

struct Peer {
    stream: TcpStream,
    role: Role,
    /// Absent as long as nothing is left over, which is nearly always.
    rest: Option<Box<Rest>>,
}

#[derive(Default)]
struct Rest {
    unread: Vec<u8>,
    unsent: Vec<u8>,
}

/// All peers and rooms.
struct Floor {
    poll: Poll,
    listener: TcpListener,
    payload_bytes: usize,
    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    names: HashMap<String, usize>,
    rooms: Vec<Vec<usize>>,
    content: Vec<u8>,
    frame: Vec<u8>,
}

/// Serves until killed, or until the process that started it is gone.
pub(super) fn run(args: &FloorArgs) -> Result<(), BenchError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let mut listener = TcpListener::bind(address).map_err(failed("bind"))?;
    rustix::net::listen(&listener, BACKLOG).map_err(|error| failed("listen")(error.into()))?;
    let poll = Poll::new().map_err(failed("epoll"))?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE).map_err(failed("epoll"))?;
    let head_bytes = frame::plain_head_bytes(args.frame_bytes.saturating_sub(2));
    let mut floor = Floor {
        poll,
        listener,
        payload_bytes: args.frame_bytes.saturating_sub(head_bytes),
        peers: Vec::new(),
        free: Vec::new(),
        names: HashMap::new(),
        rooms: Vec::new(),
        content: Vec::new(),
        frame: Vec::new(),
    };
    let mut events = Events::with_capacity(EVENTS_MAX);
    let mut scratch = vec![0; SCRATCH_BYTES];
    loop {
        match floor.poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome.map_err(failed("epoll"))?,
        }
        for event in &events {
            match event.token() {
                LISTENER => floor.accept(),
                Token(peer) => floor.serve(peer, &mut scratch),
            }
        }
    }
}

impl Floor {
    fn accept(&mut self) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            let slot = self.free.pop().unwrap_or(self.peers.len());
            let interest = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().register(&mut stream, Token(slot), interest).is_err() {
                continue;
            }
            let _ = stream.set_nodelay(true);
            let peer = Some(Peer { stream, role: Role::Newcomer, rest: None });
            match self.peers.get_mut(slot) {
                Some(place) => *place = peer,
                None => self.peers.push(peer),
            }
        }
    }

    fn serve(&mut self, slot: usize, scratch: &mut [u8]) {
        self.flush(slot);
        while let Some(peer) = self.peer(slot) {
            match peer.stream.read(scratch) {
                Ok(read @ 1..) => {
                    self.take(slot, scratch.get(..read).unwrap_or_default());
                    if read < scratch.len() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => self.drop_peer(slot),
            }
        }
    }

    fn take(&mut self, slot: usize, read: &[u8]) {
        let Some(peer) = self.peer(slot) else { return };
        let unread = peer.rest.as_mut().map(|rest| std::mem::take(&mut rest.unread)).unwrap_or_default();
        if unread.is_empty() {
            let used = self.understand(slot, read);
            self.keep_unread(slot, read.get(used..).unwrap_or_default());
        } else {
            let bytes = [unread.as_slice(), read].concat();
            let used = self.understand(slot, &bytes);
            self.keep_unread(slot, bytes.get(used..).unwrap_or_default());
        }
    }

    fn keep_unread(&mut self, slot: usize, bytes: &[u8]) {
        let Some(peer) = self.peer(slot) else { return };
        if !bytes.is_empty() {
            peer.rest.get_or_insert_default().unread = bytes.to_vec();
        } else if peer.rest.as_ref().is_some_and(|rest| rest.unsent.is_empty()) {
            peer.rest = None;
        }
    }

    /// Deals with all that is complete; says how many bytes that was.
    fn understand(&mut self, slot: usize, bytes: &[u8]) -> usize {
        let mut used = 0;
        while let Some(role) = self.peer(slot).map(|peer| peer.role) {
            let rest = bytes.get(used..).unwrap_or_default();
            if matches!(role, Role::Newcomer) {
                match rest.windows(4).position(|window| window == b"\r\n\r\n") {
                    Some(end) => {
                        self.upgrade(slot, rest.get(..end).unwrap_or_default());
                        used += end + 4;
                        continue;
                    }
                    None if rest.len() > HEAD_BYTES_MAX => self.drop_peer(slot),
                    None => {}
                }
                break;
            }
            let Some(head) = frame::head(rest) else { break };
            if head.payload_bytes > frame::PAYLOAD_BYTES_MAX {
                self.drop_peer(slot);
                break;
            }
            let frame_bytes = head.head_bytes + head.payload_bytes;
            let Some(payload) = rest.get(head.head_bytes..frame_bytes) else { break };
            self.frame(slot, head, payload);
            used += frame_bytes;
        }
        used
    }

    fn upgrade(&mut self, slot: usize, head: &[u8]) {
        let head = String::from_utf8_lossy(head);
        let path = head.split(' ').nth(1).unwrap_or_default();
        let role = match path.strip_prefix("/floor/") {
            Some(room) => Role::Member(self.room(room)),
            None if path == "/echo" => Role::Echo,
            None => return self.drop_peer(slot),
        };
        let key_is_right = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .any(|(name, value)| name.eq_ignore_ascii_case("sec-websocket-key") && value.trim() == KEY);
        if !key_is_right {
            return self.drop_peer(slot);
        }
        if let Role::Member(room) = role
            && let Some(members) = self.rooms.get_mut(room)
        {
            members.push(slot);
        }
        if let Some(peer) = self.peer(slot) {
            peer.role = role;
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
            );
            write(peer, answer.as_bytes());
        }
    }

    fn room(&mut self, name: &str) -> usize {
        let next = self.rooms.len();
        let room = *self.names.entry(name.to_owned()).or_insert(next);
        if room == next {
            self.rooms.push(Vec::new());
        }
        room
    }

    fn frame(&mut self, slot: usize, head: Head, payload: &[u8]) {
        let Some(role) = self.peer(slot).map(|peer| peer.role) else { return };
        if head.opcode == frame::CLOSE {
            return self.drop_peer(slot);
        }
        let (frame::TEXT, Some(mask)) = (head.opcode, head.mask) else { return };
        self.content.clear();
        self.content.extend_from_slice(payload);
        frame::unmask(&mut self.content, mask);
        self.frame.clear();
        match role {
            Role::Newcomer => {}
            Role::Echo => {
                frame::push_plain_head(&mut self.frame, frame::TEXT, self.content.len());
                self.frame.extend_from_slice(&self.content);
                if let Some(peer) = self.peers.get_mut(slot).and_then(Option::as_mut) {
                    write(peer, &self.frame);
                }
            }
            Role::Member(room) => {
                let padding = self.payload_bytes.saturating_sub(self.content.len());
                frame::push_plain_head(&mut self.frame, frame::TEXT, self.content.len() + padding);
                self.frame.extend_from_slice(&self.content);
                self.frame.resize(self.frame.len() + padding, b' ');
                for member in self.rooms.get(room).into_iter().flatten() {
                    if let Some(peer) = self.peers.get_mut(*member).and_then(Option::as_mut) {
                        write(peer, &self.frame);
                    }
                }
            }
        }
    }

    fn flush(&mut self, slot: usize) {
        let Some(peer) = self.peer(slot) else { return };
        let Some(rest) = peer.rest.as_mut().filter(|rest| !rest.unsent.is_empty()) else { return };
        let unsent = std::mem::take(&mut rest.unsent);
        write(peer, &unsent);
        if peer.rest.as_ref().is_some_and(|rest| rest.unsent.len() > UNSENT_BYTES_MAX) {
            self.drop_peer(slot);
        }
    }

    fn peer(&mut self, slot: usize) -> Option<&mut Peer> {
        self.peers.get_mut(slot).and_then(Option::as_mut)
    }

    fn drop_peer(&mut self, slot: usize) {
        let Some(peer) = self.peers.get_mut(slot).and_then(Option::take) else { return };
        if let Role::Member(room) = peer.role
            && let Some(members) = self.rooms.get_mut(room)
        {
            members.retain(|member| *member != slot);
        }
        self.free.push(slot);
    }
}

/// One `send`; what the socket does not take waits until it is writable.
fn write(peer: &mut Peer, bytes: &[u8]) {
    let waits = peer.rest.as_ref().is_some_and(|rest| !rest.unsent.is_empty());
    let taken = if waits { 0 } else { send_now(&peer.stream, bytes) };
    if let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
        peer.rest.get_or_insert_default().unsent.extend_from_slice(rest);
    }
}

fn send_now(stream: &TcpStream, bytes: &[u8]) -> usize {
    match send(stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(taken) => taken,
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => 0,
        // The end of the connection will be read.
        Err(_) => bytes.len(),
    }
}
