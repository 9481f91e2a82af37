//! One connection's task: reads what the socket has, hands messages to the session, writes what waits.
//!
//! The task is one small future and owns no buffer: it reads into its shard's, and keeps only what is left of a frame
//! that has not wholly arrived. While a request is under way it reads nothing, so the client feels how fast it is.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::ReadBuf;

use super::frame::{Decoder, Incoming};
use crate::hub::Stats;
use crate::ids::ConnectionKey;
use crate::session::Shard;

/// Reads in one turn, after which other connections get theirs.
const READS_PER_TURN: usize = 4;

/// A connection's reading side.
struct Reader {
    key: ConnectionKey,
    decoder: Decoder,
    /// Bytes that were read but not yet decoded.
    left: Vec<u8>,
    /// Whether the stream makes no sense any more, so that what arrives is only thrown away.
    deaf: bool,
    /// Whether the client closed, so that nothing more is to be waited for.
    closed: bool,
    /// Whether the frames are only to be sent back (see `echo`).
    echo: bool,
}

/// Why a task ends.
enum End {
    /// All is said.
    Done,
    /// The socket ended by itself.
    Lost,
}

/// A connection's task, which runs until the connection ends. Written out, because there is one for each connection and
/// what an `async fn` makes of it is twice as large.
pub(super) struct Task {
    shard: Rc<RefCell<Shard>>,
    reader: Reader,
}

impl Task {
    /// `left` was read together with the handshake.
    pub(super) fn new(
        shard: Rc<RefCell<Shard>>,
        key: ConnectionKey,
        left: Vec<u8>,
        decoder: Decoder,
        echo: bool,
    ) -> Self {
        let reader = Reader { key, decoder, left, deaf: false, closed: false, echo };
        Self { shard, reader }
    }
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { shard, reader } = &mut *self;
        let mut shard = shard.borrow_mut();
        let end = ready!(reader.poll(&mut shard, context));
        shard.finish(reader.key, matches!(end, End::Lost));
        Poll::Ready(())
    }
}

impl Reader {
    fn poll(&mut self, shard: &mut Shard, context: &mut Context<'_>) -> Poll<End> {
        for _ in 0..READS_PER_TURN {
            let closing = match self.write(shard, context) {
                Ok(closing) => closing,
                Err(end) => return Poll::Ready(end),
            };
            if !self.decode_left(shard) {
                // The request under way wakes this task when it is answered.
                return Poll::Pending;
            }
            if closing && self.closed {
                // The client's close was among what was left; nothing more is to be waited for but the rest of ours.
                continue;
            }
            if !ready!(self.read(shard, context)) {
                return Poll::Ready(if self.closed { End::Done } else { End::Lost });
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what waits. Returns whether the connection is being closed, and ends it once nothing more is to come.
    fn write(&mut self, shard: &mut Shard, context: &mut Context<'_>) -> Result<bool, End> {
        let mut stats = Stats::default();
        let Some(connection) = shard.relay.hub.connection(self.key) else { return Err(End::Lost) };
        connection.set_waker(context.waker());
        let written: Poll<io::Result<()>> = connection.poll_drain(context, &mut stats);
        let (closing, wants_page) = (connection.closing(), connection.wants_page());
        shard.relay.hub.add_stats(&stats);
        let drained = match written {
            Poll::Ready(Err(_)) => return Err(End::Lost),
            Poll::Ready(Ok(())) => true,
            Poll::Pending => false,
        };
        let Some((_, deadline)) = closing else {
            if wants_page {
                shard.relay.read_on(self.key);
            }
            return Ok(false);
        };
        shard.depart(self.key);
        if drained
            && self.deaf
            && let Some(connection) = shard.relay.hub.connection(self.key)
        {
            // What the client says from here on cannot be understood, so its answer is the end of the stream.
            connection.shutdown();
        }
        let over = (drained && self.closed) || deadline <= Instant::now();
        if over { Err(End::Done) } else { Ok(true) }
    }

    /// Decodes what was read before. Returns whether more may be read.
    fn decode_left(&mut self, shard: &mut Shard) -> bool {
        loop {
            if shard.is_waiting(self.key) {
                return false;
            }
            if shard.resume(self.key) {
                continue;
            }
            break;
        }
        if self.left.is_empty() {
            return true;
        }
        let mut left = std::mem::take(&mut self.left);
        let used = self.decode(shard, &mut left);
        left.drain(..used);
        if left.is_empty() {
            // An idle connection keeps no buffer.
            left = Vec::new();
        }
        self.left = left;
        !shard.is_waiting(self.key)
    }

    /// Reads once. Returns whether there may be more: not at the end of the stream.
    fn read(&mut self, shard: &mut Shard, context: &mut Context<'_>) -> Poll<bool> {
        let mut scratch = shard.take_scratch();
        let mut buffer = ReadBuf::new(&mut scratch);
        let result = match shard.relay.hub.connection(self.key) {
            Some(connection) => connection.poll_read(context, &mut buffer),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        };
        let read = buffer.filled().len();
        if let Poll::Ready(Ok(())) = result
            && read > 0
        {
            shard.heard(self.key);
            shard.relay.hub.add_stats(&Stats { received: read as u64, ..Stats::default() });
            let bytes = scratch.get_mut(..read).unwrap_or_default();
            if self.left.is_empty() {
                let used = self.decode(shard, bytes);
                self.left.extend_from_slice(bytes.get(used..).unwrap_or_default());
            } else {
                self.left.extend_from_slice(bytes);
                let mut left = std::mem::take(&mut self.left);
                let used = self.decode(shard, &mut left);
                left.drain(..used);
                // An idle connection keeps no buffer.
                self.left = if left.is_empty() { Vec::new() } else { left };
            }
        }
        shard.scratch = scratch;
        result.map(|result| result.is_ok() && read > 0)
    }

    /// Takes whole frames from the beginning of `data` while they may be taken. Returns how many bytes they were.
    fn decode(&mut self, shard: &mut Shard, data: &mut [u8]) -> usize {
        let mut used = 0;
        loop {
            if self.deaf || self.closed {
                return data.len();
            }
            if shard.is_waiting(self.key) {
                return used;
            }
            let Some(rest) = data.get_mut(used..).filter(|rest| !rest.is_empty()) else { return used };
            match self.decoder.take(rest) {
                Ok(None) => return used,
                Ok(Some((incoming, bytes))) => {
                    used += bytes;
                    self.handle(shard, incoming);
                }
                Err(code) => {
                    self.deaf = true;
                    shard.violated(self.key, code);
                }
            }
        }
    }

    fn handle(&mut self, shard: &mut Shard, incoming: Incoming<'_>) {
        let key = self.key;
        let closing = shard.relay.hub.connection(key).is_none_or(|connection| connection.closing().is_some());
        match incoming {
            Incoming::Close(code) => {
                self.closed = true;
                shard.closed_by_client(key, code);
            }
            _ if closing => {}
            #[cfg(feature = "echo-route")]
            Incoming::Text(_) | Incoming::Binary(_) if self.echo => super::connection::echo(shard, key, incoming),
            Incoming::Text(text) => shard.text(key, &text),
            Incoming::Binary(_) => shard.binary(key),
            Incoming::Ping(payload) => shard.ping(key, payload),
            Incoming::Pong(payload) => shard.pong(key, payload),
            Incoming::Fragment => {}
        }
        let _only_with_the_echo_route = self.echo;
    }
}

/// Sends a message back, for the conformance tests of the frame layer.
#[cfg(feature = "echo-route")]
fn echo(shard: &mut Shard, key: ConnectionKey, incoming: Incoming<'_>) {
    let (first, payload) = match &incoming {
        Incoming::Text(text) => (0x81, text.as_bytes()),
        Incoming::Binary(bytes) => (0x82, bytes.as_ref()),
        _ => return,
    };
    shard.relay.hub.reply(key, crate::wire::frame::message_frame(first, payload));
}
