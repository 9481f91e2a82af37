//! The life of one connection of a lane: what is sent, what is answered, and what becomes of the rest when it ends.
//!
//! A server answers in the order in which it is asked. So only the oldest question has to be looked at, and what was
//! answered says how long the server has been silent. A server that is silent for longer than an answer may take is
//! frozen, and nothing that it says later is believed.
//!
//! Three answers say that nothing was done, and why: the script is not known, the slot is elsewhere, its keys are on
//! their way. Then nothing more is sent until all that was sent is answered; what was not done is put in front of what
//! was not sent, the reason is removed, and it goes on in the old order. A job is refused if a later one of its lane was
//! done meanwhile.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{self, Cmd, RedisResult};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::call::{Answer, Job, Ticket, Wait};
use super::core::Core;
use super::dialer::{WINDOW, is_demoted};
use super::error::{Fault, LinkError, Meaning, Refusal};
use super::lane::Lane;
use super::pending::{self, Answered, Pending};
use super::settings::Address;
use super::value::Value;
use super::weather::Sky;

/// How often a job may be sent to another server.
const MOVES_MAX: u8 = 8;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It is gone. What was sent may have been done.
    Lost,
    /// The server says nothing.
    Frozen,
    /// It is no longer wanted.
    Retired,
}

/// Why nothing more is sent for now.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Recovery {
    /// The server does not know a script.
    Scripts,
    /// Keys are on their way.
    Patience,
    /// Slots are elsewhere.
    Slots,
}

/// What was sent.
struct Sent {
    what: What,
    pending: Pending,
    at: Instant,
    /// What it may take besides the time that everything may take.
    extra: Duration,
}

enum What {
    Job(Box<Job>),
    /// How many replicas have all before it.
    Wait,
    Probe,
    /// That the next job is for once done here.
    Asking,
}

pub(super) struct Session<'a> {
    core: &'a Rc<Core>,
    lane: &'a Lane,
    /// On the board.
    place: usize,
    address: Address,
    connection: MultiplexedConnection,
    sent: VecDeque<Sent>,
    /// Done, and not known to be with the replicas.
    unconfirmed: Vec<(Ticket, Value)>,
    /// Surely not done, in their order.
    again: Vec<Job>,
    recovery: Option<Recovery>,
    /// Where slots are now, as the server says.
    moved: Vec<(u16, Address)>,
    /// When the server last said anything.
    heard_at: Instant,
    probed_at: Instant,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        core: &'a Rc<Core>,
        lane: &'a Lane,
        place: usize,
        address: Address,
        connection: MultiplexedConnection,
    ) -> Self {
        let now = Instant::now();
        let (sent, unconfirmed, again, recovery, moved) = Default::default();
        Self {
            core,
            lane,
            place,
            address,
            connection,
            sent,
            unconfirmed,
            again,
            recovery,
            moved,
            heard_at: now,
            probed_at: now,
        }
    }

    /// Lives until the connection ends, and says what became of everything.
    pub(super) async fn run(mut self) -> End {
        let end = self.serve().await;
        let fault = if end == End::Frozen { Fault::TimedOut } else { Fault::Away };
        for (ticket, _) in self.unconfirmed.drain(..) {
            ticket.fail(fault);
        }
        for sent in self.sent.drain(..) {
            if let What::Job(job) = sent.what {
                job.ticket.fail(fault);
            }
        }
        self.lane.put_back(std::mem::take(&mut self.again));
        end
    }

    async fn serve(&mut self) -> End {
        let command_max = self.core.settings().command_max();
        let mut tick = interval((command_max / 10).clamp(Duration::from_millis(5), Duration::from_millis(100)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let lost = Arc::clone(&self.core.dialer.lost);
        self.probe();
        loop {
            if self.lane.is_retired() && self.sent.is_empty() {
                return End::Retired;
            }
            self.send();
            if self.sent.is_empty()
                && let Some(recovery) = self.recovery.take()
                && let Err(end) = self.recover(recovery).await
            {
                return end;
            }
            let is_room = self.recovery.is_none() && self.sent.len() < WINDOW;
            let lane = self.lane;
            tokio::select! {
                biased;
                () = lost.notified() => self.probe(),
                result = oldest(&mut self.sent) => {
                    if let Err(end) = self.take(result) {
                        return end;
                    }
                }
                () = lane.bell.notified(), if is_room => {}
                _ = tick.tick() => {
                    if self.is_frozen() {
                        return End::Frozen;
                    }
                    if self.core.is_elsewhere(&self.address) {
                        return End::Lost;
                    }
                }
            }
        }
    }

    /// Sends what waits, as far as there is room.
    fn send(&mut self) {
        let now = Instant::now();
        while self.recovery.is_none() && self.sent.len() < WINDOW && !self.lane.is_retired() {
            let Some(mut job) = self.lane.next(now) else { return };
            let wait = job.wait;
            if job.ask.take().is_some() {
                self.push(What::Asking, redis::cmd("ASKING"), Duration::ZERO);
            }
            job.ticket.is_sent = true;
            let command = std::mem::take(&mut job.command);
            self.push(What::Job(Box::new(job)), command, Duration::ZERO);
            // One question about replicas does for all that is sent before it.
            if let Some(wait) = wait
                && (self.sent.len() >= WINDOW || self.lane.peek(|next| next.wait == Some(wait)) != Some(true))
            {
                self.push_wait(wait);
            }
        }
    }

    fn push_wait(&mut self, wait: Wait) {
        self.push(What::Wait, wait.command(), wait.max());
    }

    fn probe(&mut self) {
        let is_asked = self.sent.iter().any(|sent| matches!(sent.what, What::Probe));
        if !is_asked {
            self.probed_at = Instant::now();
            self.push(What::Probe, self.core.probe(&self.address), Duration::ZERO);
        }
    }

    fn push(&mut self, what: What, command: Cmd, extra: Duration) {
        let pending = pending::ask(&self.connection, command);
        self.sent.push_back(Sent { what, pending, at: Instant::now(), extra });
    }

    /// Takes the answer to the oldest question, and those that came with it.
    fn take(&mut self, answered: Answered) -> Result<(), End> {
        let mut next = Some(answered);
        while let Some((result, command)) = next.take() {
            let Some(sent) = self.sent.pop_front() else { return Ok(()) };
            self.take_one(sent.what, result, command)?;
            next = self.sent.front_mut().and_then(|oldest| pending::poll_now(&mut oldest.pending));
        }
        Ok(())
    }

    fn take_one(&mut self, what: What, result: RedisResult<redis::Value>, command: Cmd) -> Result<(), End> {
        let result = result.and_then(Value::from_answer).map_err(|error| (Meaning::of(&error), error));
        if let Err((Meaning::Lost, error)) = result {
            tracing::debug!(%error, address = %self.address, "a connection to Redis is lost");
            if let What::Job(job) = what {
                job.ticket.fail(Fault::Away);
            }
            return Err(End::Lost);
        }
        self.heard_at = Instant::now();
        let result = result.map_err(|(meaning, _)| meaning);
        match what {
            What::Asking => Ok(()),
            What::Wait => {
                let replicas = result.ok().and_then(|value| value.int()).and_then(|count| u32::try_from(count).ok());
                for (ticket, value) in self.unconfirmed.drain(..) {
                    ticket.answer(Ok(Answer { value, replicas: Some(replicas.unwrap_or(0)) }));
                }
                Ok(())
            }
            What::Probe => {
                let sky = if let Err(Meaning::Refused(refusal)) = &result { Sky::of(refusal) } else { Sky::Up };
                self.core.board.set(self.place, sky);
                self.check_demoted(result.err())
            }
            What::Job(mut job) => {
                job.command = command;
                self.take_job(*job, result)
            }
        }
    }

    fn take_job(&mut self, mut job: Job, result: Result<Value, Meaning>) -> Result<(), End> {
        let meaning = match result {
            Ok(value) => {
                self.refuse_overtaken(job.lane);
                match job.wait {
                    Some(_) => self.unconfirmed.push((job.ticket, value)),
                    None => job.ticket.answer(Ok(Answer { value, replicas: None })),
                }
                return Ok(());
            }
            Err(Meaning::Refused(refusal)) => {
                let sky = Sky::of(&refusal);
                if sky != Sky::Up {
                    self.core.board.set(self.place, sky);
                }
                let meaning = Meaning::Refused(refusal.clone());
                job.ticket.answer(Err(LinkError::Refused(refusal)));
                return self.check_demoted(Some(meaning));
            }
            Err(meaning) => meaning,
        };
        let recovery = match meaning {
            Meaning::NoScript if job.is_script && !job.is_repeat => {
                job.is_repeat = true;
                Recovery::Scripts
            }
            Meaning::NoScript => {
                let refusal = Refusal::Said("NOSCRIPT".to_owned(), "although all scripts were loaded".to_owned());
                job.ticket.answer(Err(LinkError::Refused(refusal)));
                return Ok(());
            }
            _ if job.moves >= MOVES_MAX => {
                job.ticket.refuse(Fault::Moved);
                return Ok(());
            }
            Meaning::Ask(server) => {
                job.ask = Address::parse(&server, 0).ok();
                Recovery::Slots
            }
            Meaning::TryAgain => Recovery::Patience,
            Meaning::Moved(server) => {
                self.moved.extend(job.slot.zip(Address::parse(&server, 0).ok()));
                Recovery::Slots
            }
            Meaning::Refused(_) | Meaning::Lost => Recovery::Slots,
        };
        if recovery != Recovery::Scripts {
            job.moves += 1;
        }
        job.ticket.is_sent = false;
        self.recovery = self.recovery.max(Some(recovery));
        self.again.push(job);
        Ok(())
    }

    /// Whoever comes after a job that was done is too late to be done before it.
    fn refuse_overtaken(&mut self, lane: Option<u64>) {
        if self.again.is_empty() || lane.is_none() {
            return;
        }
        for overtaken in self.again.extract_if(.., |waiting| waiting.lane == lane) {
            overtaken.ticket.refuse(Fault::Overtaken);
        }
    }

    /// Leaves a server that is no longer the master, where others may know which is.
    fn check_demoted(&self, meaning: Option<Meaning>) -> Result<(), End> {
        match meaning {
            Some(Meaning::Refused(refusal)) if is_demoted(&refusal) && self.core.knows_others() => Err(End::Lost),
            _ => Ok(()),
        }
    }

    /// Everything that was sent is answered: removes what was in the way.
    async fn recover(&mut self, recovery: Recovery) -> Result<(), End> {
        let max = self.core.settings().command_max();
        match recovery {
            Recovery::Scripts => {
                let loading = self.core.dialer.load(&mut self.connection);
                match timeout(max, loading).await {
                    Ok(Ok(())) => self.heard_at = Instant::now(),
                    Ok(Err(_)) => return Err(End::Lost),
                    Err(_) => return Err(End::Frozen),
                }
                self.lane.put_back(std::mem::take(&mut self.again));
            }
            Recovery::Patience => {
                tokio::time::sleep(self.core.settings().watch() / 10).await;
                self.lane.put_back(std::mem::take(&mut self.again));
            }
            Recovery::Slots => {
                self.core.map.refresh(self.core).await;
                for (slot, address) in self.moved.drain(..) {
                    self.core.map.assign(self.core, slot, &address);
                }
                let waiting = self.lane.take_all();
                self.core.send_on(std::mem::take(&mut self.again).into_iter().chain(waiting));
            }
        }
        Ok(())
    }

    /// Answers those whose time is over, asks whether anybody is there, and says whether nobody is.
    fn is_frozen(&mut self) -> bool {
        let now = Instant::now();
        self.lane.expire(now);
        for sent in &mut self.sent {
            if let What::Job(job) = &mut sent.what
                && job.deadline + job.wait.map_or(Duration::ZERO, Wait::max) <= now
            {
                job.ticket.expire();
            }
        }
        let max = self.core.settings().command_max();
        if now.duration_since(self.probed_at) >= self.core.settings().watch() {
            self.probe();
        }
        let silent = now.duration_since(self.heard_at);
        self.sent.front().is_some_and(|oldest| {
            let due = max + oldest.extra;
            silent >= max && now.duration_since(oldest.at) >= due
        })
    }
}

/// The answer to the oldest question, when it comes.
async fn oldest(sent: &mut VecDeque<Sent>) -> Answered {
    poll_fn(|context| match sent.front_mut() {
        Some(oldest) => oldest.pending.as_mut().poll(context),
        None => Poll::Pending,
    })
    .await
}
