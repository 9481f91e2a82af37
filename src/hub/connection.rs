//! One connection as the hub sees it: a socket, its rooms, and what could not be written yet.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::Stats;
use super::backlog::Backlog;
use super::pages::Pages;
use super::proof::Proof;
use crate::message::Seq;
use crate::wire::{CloseCode, Encoding};

/// A connection's place in a room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) room: u32,
    /// In the room's list of members.
    pub(super) index: u32,
    pub(super) membership: u64,
    /// The last event behind which a ping was written.
    pub(super) pinged: Seq,
    /// The last event that is known to have arrived.
    pub(super) proven: Seq,
}

/// One connection. An idle one owns nothing beyond these fields.
pub struct Connection {
    stream: TcpStream,
    pub(super) generation: u32,
    pub(super) encoding: Encoding,
    /// Everything caused up to this tick was written, or waits in the backlog.
    pub(super) served: u64,
    /// Replies that wait for a room's flush, with their ticks.
    pub(super) deferred: Vec<(u64, Bytes)>,
    pub(super) rooms: SmallVec<[Place; 1]>,
    pub(super) proof: Proof,
    /// Whether the next sweep looks for what waits among the deferred.
    pub(super) late: bool,
    /// Only while what it missed is written to it page by page.
    pub(super) pages: Option<Box<Pages>>,
    /// Only while the socket is full, or held.
    pub(super) backlog: Option<Box<Backlog>>,
    /// Set once a close frame was sent, with the time at which the socket is given up.
    pub(super) closing: Option<(CloseCode, Instant)>,
    waker: Option<Waker>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, generation: u32) -> Self {
        Self {
            stream,
            generation,
            encoding: Encoding::default(),
            served: 0,
            deferred: Vec::new(),
            rooms: SmallVec::new(),
            proof: Proof::default(),
            late: false,
            pages: None,
            backlog: None,
            closing: None,
            waker: None,
        }
    }

    /// With what code the connection is being closed, and until when the other side may answer.
    pub fn closing(&self) -> Option<(CloseCode, Instant)> {
        self.closing
    }

    /// Whether all that was meant for the connection reached its socket.
    pub fn is_drained(&self) -> bool {
        self.backlog.is_none()
    }

    /// Remembers the task that drives this connection.
    pub fn set_waker(&mut self, waker: &Waker) {
        if self.waker.as_ref().is_none_or(|known| !known.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
    }

    /// Lets the connection's task run.
    pub fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Reads what the socket has into a buffer that is not the connection's own.
    pub fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }

    /// Whether a batch may be written as it is: nothing else waits for this connection.
    pub(super) fn is_plain(&self) -> bool {
        self.backlog.is_none() && self.deferred.is_empty() && self.closing.is_none()
    }

    /// Writes, or queues what the socket does not take. Returns whether anything waits now.
    pub(super) fn write(&mut self, bytes: &Bytes, frames: usize, ephemeral: bool, stats: &mut Stats) -> bool {
        if self.closing.is_some() {
            return false;
        }
        if let Some(backlog) = &mut self.backlog {
            if ephemeral && !backlog.is_held() {
                stats.dropped += frames as u64;
                return false;
            }
            stats.deliveries += frames as u64;
            backlog.push(bytes.clone(), frames);
            return true;
        }
        stats.deliveries += frames as u64;
        stats.writes += 1;
        let written = match self.stream.try_write(bytes) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => {
                // The socket is dead; its task will read as much and clean up.
                self.wake();
                return false;
            }
        };
        stats.bytes += written as u64;
        if written == bytes.len() {
            return false;
        }
        if written > 0 {
            // A short write leaves the socket's readiness set; clear it, so that the next attempt waits for room.
            let _cleared =
                self.stream.try_io(Interest::WRITABLE, || -> io::Result<()> { Err(io::ErrorKind::WouldBlock.into()) });
        }
        let mut backlog = Backlog::default();
        backlog.push_rest(bytes.slice(written..), frames, written > 0);
        self.backlog = Some(Box::new(backlog));
        self.wake();
        true
    }

    /// Writes what waits, as far as the socket takes it. Ready once nothing waits.
    pub fn poll_drain(&mut self, context: &mut Context<'_>, stats: &mut Stats) -> Poll<io::Result<()>> {
        loop {
            let Some(backlog) = self.backlog.as_mut().filter(|backlog| !backlog.is_held()) else {
                return Poll::Ready(Ok(()));
            };
            if backlog.is_empty() {
                self.backlog = None;
                return Poll::Ready(Ok(()));
            }
            match self.stream.poll_write_ready(context) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => return Poll::Pending,
            }
            stats.writes += 1;
            match self.stream.try_write_vectored(&backlog.slices()) {
                Ok(written) => {
                    stats.bytes += written as u64;
                    backlog.advance(written, Instant::now());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Ends the sending side, once everything is written.
    pub fn shutdown(&mut self) {
        let _already_gone = socket2::SockRef::from(&self.stream).shutdown(std::net::Shutdown::Write);
    }
}
