//! What happens when everybody comes back at once, as after a failure of the network: devices that were away connect, and
//! each is told what it missed. Every message that waited must come exactly once. Knows nothing of repetitions and reports.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::client::Connection;
use super::crowd::{check_descriptors, resident};
use super::dialect::{self, Incoming, Speaker};
use super::error::BenchError;
use super::ledger::{Account, Ledger, Shape};
use super::measure::{DUPLICATES_NS, OPEN_TIME_MAX, answered, no_histogram};
use super::process::CpuTime;
use super::scrape;
use super::stamp::Stamp;
use super::swarm::{Swarm, elapsed_ns};
use super::target::{Seating, Target};

/// How often the server is asked whether all have gone.
const GONE_POLL: Duration = Duration::from_millis(50);

/// Who comes back, and to what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crowd {
    pub(super) rooms: usize,
    /// Devices in each room, each of a user of its own.
    pub(super) members: usize,
    /// Messages in each room while they are away.
    pub(super) queued: usize,
}

impl Crowd {
    pub(super) fn devices(self) -> usize {
        self.rooms * self.members
    }

    fn shape(self) -> Shape {
        Shape { rooms: self.rooms, members: self.members, messages: self.rooms * self.queued }
    }
}

/// One return.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct ReconnectFigures {
    /// Time until the last one had all that had waited for it.
    pub(crate) back_seconds: f64,
    /// For one device: from connecting, its token with it, until it had all.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Messages that had waited, a second, until then.
    pub(crate) messages_per_second: f64,
    /// CPU seconds of the process under test for each 1,000 devices.
    pub(crate) cpu_seconds_per_1000: Option<f64>,
    /// Resident bytes before they came, and with all of them back.
    pub(crate) away_bytes: f64,
    pub(crate) back_bytes: f64,
    /// Pings of the server that were answered.
    pub(crate) pongs: f64,
}

/// Lets the devices go, leaves messages for them, and lets them come back.
pub(super) fn reconnect(target: &Target, crowd: Crowd) -> Result<(ReconnectFigures, Account), BenchError> {
    check_descriptors(crowd.devices() + crowd.rooms)?;
    let needs = |what: &str| BenchError::Usage(format!("reconnect: needs {what}"));
    let admin = target.admin.ok_or_else(|| needs("an admin listener"))?;
    let pid = target.pid.ok_or_else(|| needs("a process id"))?;
    let mut ledger = Ledger::new(crowd.shape(), target.dialect, 0, 0).ok_or_else(no_histogram)?;
    leave_messages(target, admin, crowd, &mut ledger)?;
    // Tokens and requests are made before the clock starts.
    let openings = target.devices(seating(crowd), false)?;
    let away_bytes = resident(pid)?;
    let mut latency_us = Histogram::<u64>::new_with_bounds(1, 600_000_000, 3).map_err(|_| no_histogram())?;
    let before = CpuTime::of(pid);
    let mut swarm = Swarm::new()?;
    let start = swarm.start();
    let back = Cell::new(0);
    let mut hear = |connection: &mut Connection, incoming: Incoming, bytes: usize| {
        let now_ns = elapsed_ns(start);
        if incoming == Incoming::Flushed {
            back.set(back.get() + 1);
            latency_us.saturating_record(now_ns.saturating_sub(connection.begun_ns()) / 1000);
        }
        ledger.heard(connection.seat(), incoming, bytes, now_ns);
    };
    swarm.open_and_hear(openings, OPEN_TIME_MAX, &mut hear)?;
    while back.get() < crowd.devices() {
        swarm.turn(u64::MAX, &mut hear)?;
        let late = (start.elapsed() > OPEN_TIME_MAX).then_some("no queue-flushed");
        if let Some(problem) = swarm.endings().next().or(late) {
            let (ready, wanted) = (back.get(), crowd.devices());
            return Err(BenchError::Connect { ready, wanted, problem: problem.to_owned() });
        }
    }
    let back_seconds = start.elapsed().as_secs_f64();
    let cpu_seconds = before.zip(CpuTime::of(pid)).map(|(before, after)| after.seconds_since(&before));
    let back_bytes = resident(pid)?;
    let until_ns = swarm.now_ns() + DUPLICATES_NS;
    while swarm.now_ns() < until_ns {
        swarm.turn(until_ns, &mut hear)?;
    }
    let account = ledger.close(swarm.endings());
    let figures = ReconnectFigures {
        back_seconds,
        p50_ms: latency_us.value_at_quantile(0.5) as f64 / 1000.0,
        p99_ms: latency_us.value_at_quantile(0.99) as f64 / 1000.0,
        messages_per_second: account.delivered as f64 / back_seconds.max(1e-9),
        cpu_seconds_per_1000: cpu_seconds.map(|cpu| cpu * 1000.0 / crowd.devices().max(1) as f64),
        away_bytes,
        back_bytes,
        pongs: swarm.pongs() as f64,
    };
    Ok((figures, account))
}

/// Makes the devices members that have seen everything so far, and then away; writes what they miss.
fn leave_messages(target: &Target, admin: SocketAddr, crowd: Crowd, ledger: &mut Ledger) -> Result<(), BenchError> {
    // First of all, so that nothing but their messages comes after the devices have gone.
    let mut writers = Swarm::new()?;
    writers.open(target.writers(crowd.rooms)?, OPEN_TIME_MAX)?;
    let mut devices = Swarm::new()?;
    devices.open(target.devices(seating(crowd), true)?, OPEN_TIME_MAX)?;
    for index in 0..devices.len() {
        if let Some(connection) = devices.connection(index) {
            let room = connection.seat().room;
            connection.send(&dialect::ack_all(&target.room(room)));
        }
    }
    let all = 0..devices.len();
    answered(&mut devices, all)?;
    drop(devices);
    wait_for_connections(admin, crowd.rooms)?;
    write(target, crowd, &mut writers, ledger)?;
    drop(writers);
    wait_for_connections(admin, 0)
}

/// Writes so many messages into each room, one after the other.
fn write(target: &Target, crowd: Crowd, writers: &mut Swarm, ledger: &mut Ledger) -> Result<(), BenchError> {
    let messages = crowd.shape().messages;
    // All at once, since the rooms do not take turns.
    (0..messages).for_each(|_| ledger.sent(0, 0));
    let rooms: Vec<String> = (0..crowd.rooms).map(|room| target.room(room)).collect();
    let mut speaker = Speaker::new(target.dialect);
    let mut say = |connection: &mut Connection, number: usize| {
        let room = rooms.get(connection.seat().room).map_or("", String::as_str);
        connection.send(speaker.message(room, Stamp { due_ns: 0, number: number as u64 }));
    };
    for room in 0..crowd.rooms {
        if let Some(connection) = writers.connection(room) {
            say(connection, room);
        }
    }
    let deadline_ns = writers.now_ns() + OPEN_TIME_MAX.as_nanos() as u64;
    let mut answers = 0;
    while answers < messages {
        writers.turn(deadline_ns, |connection, incoming, bytes| {
            let number = match &incoming {
                Incoming::Accepted(number) | Incoming::Refused { number: Some(number), .. } => *number,
                _ => return,
            };
            answers += 1;
            let next = usize::try_from(number).unwrap_or(usize::MAX).saturating_add(crowd.rooms);
            if next < messages {
                say(connection, next);
            }
            ledger.heard(connection.seat(), incoming, bytes, 0);
        })?;
        let late = (writers.now_ns() >= deadline_ns).then_some("no acknowledgement");
        if let Some(problem) = writers.endings().next().or(late) {
            return Err(BenchError::Connect { ready: answers, wanted: messages, problem: problem.to_owned() });
        }
    }
    Ok(())
}

fn wait_for_connections(admin: SocketAddr, wanted: usize) -> Result<(), BenchError> {
    let started = Instant::now();
    while scrape::connections(admin)? > wanted as f64 {
        if started.elapsed() > OPEN_TIME_MAX {
            return Err(BenchError::Admin("/metrics: connections that have ended are still counted".to_owned()));
        }
        std::thread::sleep(GONE_POLL);
    }
    Ok(())
}

fn seating(crowd: Crowd) -> Seating {
    Seating::Rooms { rooms: crowd.rooms, members: crowd.members }
}
