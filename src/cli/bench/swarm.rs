//! All connections of the generator on one epoll instance, and a timer that is exact to microseconds (epoll's own
//! timeout is rounded up to a millisecond, which would be most of what we measure). Knows no workload.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use super::client::{Connection, Opening, Phase};
use super::dialect::Incoming;
use super::error::{BenchError, failed};

/// Events taken at once: few, so that a message that is due does not wait long behind deliveries.
const EVENTS_MAX: usize = 256;
const SCRATCH_BYTES: usize = 256 << 10;
/// Connections on their way at once.
const OPENING_MAX: usize = 512;
/// Longest wait in one turn, so that deadlines are seen.
const TURN_MAX: Duration = Duration::from_millis(50);
const TIMER: Token = Token(usize::MAX - 1);

/// The connections, and the clock from which all times of a run are counted.
pub(super) struct Swarm {
    poll: Poll,
    events: Events,
    timer: OwnedFd,
    /// What the timer is set to.
    armed_ns: u64,
    scratch: Vec<u8>,
    start: Instant,
    connections: Vec<Connection>,
    ready: usize,
    closed: usize,
}

impl Swarm {
    pub(super) fn new() -> Result<Self, BenchError> {
        let poll = Poll::new().map_err(failed("epoll"))?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)
            .map_err(|error| failed("timerfd")(error.into()))?;
        poll.registry()
            .register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)
            .map_err(failed("epoll"))?;
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            timer,
            armed_ns: u64::MAX,
            scratch: vec![0; SCRATCH_BYTES],
            start: Instant::now(),
            connections: Vec::new(),
            ready: 0,
            closed: 0,
        })
    }

    /// Nanoseconds of this swarm's monotonic clock.
    pub(super) fn now_ns(&self) -> u64 {
        elapsed_ns(self.start)
    }

    /// The instant from which `now_ns` counts.
    pub(super) fn start(&self) -> Instant {
        self.start
    }

    pub(super) fn connection(&mut self, index: usize) -> Option<&mut Connection> {
        self.connections.get_mut(index)
    }

    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    /// Pings of the server that were answered so far, on all connections.
    pub(super) fn pongs(&self) -> u64 {
        self.connections.iter().map(Connection::pongs).sum()
    }

    /// Why connections ended, one entry for each that did.
    pub(super) fn endings(&self) -> impl Iterator<Item = &str> {
        self.connections.iter().filter_map(Connection::ending)
    }

    /// Opens connections as fast as they come to be ready, a bounded number at once.
    pub(super) fn open(&mut self, openings: Vec<Opening>, time_max: Duration) -> Result<(), BenchError> {
        self.open_and_hear(openings, time_max, |_, _, _| ())
    }

    /// The same, where it matters what those hear that are ready already.
    pub(super) fn open_and_hear<F>(
        &mut self,
        openings: Vec<Opening>,
        time_max: Duration,
        mut hear: F,
    ) -> Result<(), BenchError>
    where
        F: FnMut(&mut Connection, Incoming, usize),
    {
        let wanted = openings.len();
        let deadline_ns = self.now_ns() + time_max.as_nanos() as u64;
        let mut openings = openings.into_iter();
        self.connections.reserve(wanted);
        while self.ready < wanted {
            let room = OPENING_MAX.saturating_sub(self.connections.len() - self.ready);
            for opening in openings.by_ref().take(room) {
                self.begin(opening)?;
            }
            self.turn(u64::MAX, &mut hear)?;
            if self.closed == 0 && self.now_ns() < deadline_ns {
                continue;
            }
            let late = format!("no more came in {} s", time_max.as_secs());
            let problem = self.endings().next().map_or(late, str::to_owned);
            return Err(BenchError::Connect { ready: self.ready, wanted, problem });
        }
        Ok(())
    }

    /// Waits until something happens or `until_ns`, and deals with it.
    pub(super) fn turn<F>(&mut self, until_ns: u64, mut hear: F) -> Result<(), BenchError>
    where
        F: FnMut(&mut Connection, Incoming, usize),
    {
        self.arm(until_ns)?;
        match self.poll.poll(&mut self.events, Some(TURN_MAX)) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            outcome => outcome.map_err(failed("epoll"))?,
        }
        for event in &self.events {
            let Some(connection) = self.connections.get_mut(event.token().0) else { continue };
            let before = connection.phase();
            connection.serve(&mut self.scratch, &mut hear);
            let after = connection.phase();
            if before != after {
                self.ready += usize::from(after == Phase::Ready);
                self.closed += usize::from(after == Phase::Closed);
            }
        }
        Ok(())
    }

    fn begin(&mut self, opening: Opening) -> Result<(), BenchError> {
        let mut connection = Connection::open(opening, self.now_ns())?;
        let token = Token(self.connections.len());
        self.poll
            .registry()
            .register(connection.stream(), token, Interest::READABLE | Interest::WRITABLE)
            .map_err(failed("epoll"))?;
        // Not a reason to stop: the figures would only be worse.
        let _ = connection.stream().set_nodelay(true);
        self.connections.push(connection);
        Ok(())
    }

    fn arm(&mut self, until_ns: u64) -> Result<(), BenchError> {
        let wait_ns = until_ns.saturating_sub(self.now_ns());
        if wait_ns > TURN_MAX.as_nanos() as u64 || (wait_ns > 0 && until_ns == self.armed_ns) {
            return Ok(());
        }
        // Zero would disarm it.
        let it_value = Timespec { tv_sec: 0, tv_nsec: wait_ns.max(1) as i64 };
        let once = Itimerspec { it_interval: Timespec::default(), it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)
            .map_err(|error| failed("timerfd")(error.into()))?;
        self.armed_ns = until_ns;
        Ok(())
    }
}

/// Nanoseconds since `start`.
pub(super) fn elapsed_ns(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
