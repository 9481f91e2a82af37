//! A lane: calls that are done in their order, over a connection that is made again whenever it is lost.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::Notify;

use super::call::Job;
use super::core::Core;
use super::dialer::{Obstacle, discard};
use super::error::Fault;
use super::pause::Pause;
use super::session::{End, Session};
use super::settings::Address;
use super::weather::Sky;

/// Where jobs wait for a connection.
pub(super) struct Lane {
    /// Where it goes. `None`: to whichever server is the master.
    address: Option<Address>,
    queue: RefCell<VecDeque<Job>>,
    /// Whether jobs are taken. It is shut when nobody is there.
    is_open: Cell<bool>,
    is_retired: Cell<bool>,
    pub(super) bell: Notify,
}

impl Lane {
    pub(super) fn new(address: Option<Address>) -> Self {
        let (queue, is_retired) = Default::default();
        // Whoever comes first waits for the first attempt.
        Self { address, queue, is_open: Cell::new(true), is_retired, bell: Notify::new() }
    }

    /// Takes a job, or says at once that nobody is there.
    pub(super) fn offer(&self, job: Job) {
        if self.is_open.get() {
            self.queue.borrow_mut().push_back(job);
            self.bell.notify_one();
        } else {
            job.ticket.refuse(Fault::Away);
        }
    }

    /// The next job whose time is not over.
    pub(super) fn next(&self, now: Instant) -> Option<Job> {
        loop {
            let job = self.queue.borrow_mut().pop_front()?;
            if job.deadline > now {
                return Some(job);
            }
            job.ticket.refuse(Fault::TimedOut);
        }
    }

    /// Looks at the next job.
    pub(super) fn peek<T>(&self, look: impl FnOnce(&Job) -> T) -> Option<T> {
        self.queue.borrow().front().map(look)
    }

    /// Refuses those whose time is over: as deadlines are in order, they are in front.
    pub(super) fn expire(&self, now: Instant) {
        while self.peek(|job| job.deadline <= now) == Some(true) {
            let Some(job) = self.queue.borrow_mut().pop_front() else { return };
            job.ticket.refuse(Fault::TimedOut);
        }
    }

    /// Puts jobs back in front, in their order.
    pub(super) fn put_back(&self, jobs: Vec<Job>) {
        let mut queue = self.queue.borrow_mut();
        jobs.into_iter().rev().for_each(|job| queue.push_front(job));
    }

    /// Takes all that wait.
    pub(super) fn take_all(&self) -> VecDeque<Job> {
        std::mem::take(&mut *self.queue.borrow_mut())
    }

    /// The server is gone for good: the lane ends.
    pub(super) fn retire(&self) {
        self.is_retired.set(true);
        self.bell.notify_one();
    }

    pub(super) fn is_retired(&self) -> bool {
        self.is_retired.get()
    }

    fn shut(&self, fault: Fault) {
        self.is_open.set(false);
        for job in self.take_all() {
            job.ticket.refuse(fault);
        }
    }

    /// Lives until it is retired.
    pub(super) async fn run(self: Rc<Self>, core: Rc<Core>) {
        let place = core.board.enter();
        let mut pause = Pause::new(core.settings().pause_ms_max);
        let mut is_first = true;
        while !self.is_retired() {
            let began = Instant::now();
            match self.connect_watched(&core, place).await {
                Ok((address, connection)) => {
                    if !std::mem::take(&mut is_first) {
                        core.shared.counters.reconnected();
                    }
                    self.is_open.set(true);
                    core.board.set(place, Sky::Up);
                    let end = Session::new(&core, &self, place, address, (*connection).clone()).run().await;
                    discard(connection);
                    if end == End::Frozen {
                        core.board.set(place, Sky::Away);
                        self.shut(Fault::Away);
                    }
                    // What is not sent yet waits for one attempt. Whoever is lost again and again is not asked all the time.
                    if began.elapsed() > core.settings().watch() {
                        pause.forget();
                        continue;
                    }
                }
                Err(Obstacle { sky, text }) => {
                    tracing::debug!(%text, "no connection to Redis");
                    core.board.set(place, sky);
                    self.shut(Fault::Away);
                    core.map.doubt();
                }
            }
            pause.wait().await;
        }
        core.board.leave(place);
        self.is_open.set(false);
        // They were not sent, and go where the slots are now.
        core.send_on(self.take_all().into_iter());
    }

    /// Connects. Those who wait for it do not wait for long.
    async fn connect_watched(
        &self,
        core: &Rc<Core>,
        place: usize,
    ) -> Result<(Address, deadpool_redis::Connection), Obstacle> {
        let connecting = self.connect(core);
        tokio::pin!(connecting);
        tokio::select! {
            result = &mut connecting => return result,
            () = tokio::time::sleep(core.settings().watch()) => {}
        }
        core.board.set(place, Sky::Away);
        self.shut(Fault::Away);
        connecting.await
    }

    async fn connect(&self, core: &Rc<Core>) -> Result<(Address, deadpool_redis::Connection), Obstacle> {
        let address = match &self.address {
            Some(address) => address.clone(),
            None => core.dialer.master().await?,
        };
        let connection = core.dialer.lane(&address).await?;
        // A master that was frozen while it was waited for may have been replaced, and does not know it yet.
        if self.address.is_none() && core.knows_others() && core.dialer.master().await? != address {
            discard(connection);
            return Err(Obstacle { sky: Sky::Away, text: "there is another master".to_owned() });
        }
        Ok((address, connection))
    }
}
