//! A shard's thread: its runtime, and the few tasks that are not a connection's.
//!
//! Everything a shard owns is reached by its own tasks only, one at a time, so it sits in a `RefCell` that is never
//! borrowed across a wait.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use metrics::Histogram;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};

use super::accept::{Accepted, Admissions};
use super::frame::Decoder;
use super::handshake::Gate;
use super::http::Upgraded;
use super::{connection, http};
use crate::hub::Progress;
use crate::relay::Mail;
use crate::session::{Reload, Shard};

/// Mail that is taken at once, before connections get their turn.
const MAIL_PER_TURN: usize = 128;

/// How often a stopping shard looks whether all connections are gone.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// What reaches a shard from outside.
pub struct Inbox {
    /// New sockets.
    pub sockets: mpsc::Receiver<Accepted>,
    /// What other shards send.
    pub mail: mpsc::UnboundedReceiver<Mail>,
    /// Set when the server begins to stop.
    pub drain: watch::Receiver<bool>,
    /// Configurations that come into force while it runs.
    pub reloads: mpsc::Receiver<Reload>,
    /// When everybody must be gone, counted from the beginning of the stop.
    pub drain_max: Duration,
    /// The time, whenever it is time to look at what is due.
    pub clock: watch::Receiver<Instant>,
}

/// Runs a shard on the calling thread, until the server stops.
///
/// # Errors
///
/// When the thread gets no runtime.
pub fn run(shard: Shard, inbox: Inbox, gate: Arc<Gate>) -> io::Result<()> {
    let (turns, rests) = (shard.gather(), shard.gather());
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .on_thread_park(move || rests.rest())
        .on_thread_unpark(move || turns.begin_turn())
        .build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let shard = Rc::new(RefCell::new(shard));
        let Inbox { sockets, mail, reloads, drain, drain_max, clock } = inbox;
        tokio::task::spawn_local(take_sockets(Rc::clone(&shard), sockets, Arc::clone(&gate)));
        tokio::task::spawn_local(take_mail(Rc::clone(&shard), mail));
        tokio::task::spawn_local(take_reloads(Rc::clone(&shard), reloads));
        tokio::task::spawn_local(flush(Rc::clone(&shard)));
        tokio::task::spawn_local(push_receipts(Rc::clone(&shard)));
        tokio::task::spawn_local(sweep_on_time(Rc::clone(&shard), clock, gate.metrics.shard_delay.clone()));
        until_drained(&shard, drain, drain_max, &gate.admissions).await;
        shard.borrow_mut().relay.close();
    });
    Ok(())
}

async fn take_sockets(shard: Rc<RefCell<Shard>>, mut sockets: mpsc::Receiver<Accepted>, gate: Arc<Gate>) {
    while let Some(accepted) = sockets.recv().await {
        tokio::task::spawn_local(serve(Rc::clone(&shard), accepted, Arc::clone(&gate)));
    }
}

/// From a socket to a connection. What the handshake needed is given back before the connection's own small task begins.
async fn serve(shard: Rc<RefCell<Shard>>, accepted: Accepted, gate: Arc<Gate>) {
    let Accepted { stream, peer, handshake, load } = accepted;
    let began = Instant::now();
    let stream = match TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => {
            tracing::warn!(%error, "cannot take over a socket");
            return;
        }
    };
    let Some(upgraded) = http::handshake(&gate, stream, peer).await else { return };
    drop(handshake);
    gate.metrics.handshake_duration.record(began.elapsed());
    let Upgraded { stream, upgrade, left, frame_limits } = upgraded;
    let (echo, decoder) = (upgrade.echo, Decoder::new(frame_limits, upgrade.deflate));
    let key = shard.borrow_mut().open(stream, upgrade.opening(load));
    tokio::task::spawn_local(connection::Task::new(Rc::clone(&shard), key, left, decoder, echo));
}

async fn take_mail(shard: Rc<RefCell<Shard>>, mut mailbox: mpsc::UnboundedReceiver<Mail>) {
    let mut batch = Vec::with_capacity(MAIL_PER_TURN);
    while mailbox.recv_many(&mut batch, MAIL_PER_TURN).await > 0 {
        {
            let mut shard = shard.borrow_mut();
            batch.drain(..).for_each(|mail| shard.receive(mail));
        }
        // Connections and flushes get their turn, however much mail there is.
        tokio::task::yield_now().await;
    }
}

async fn take_reloads(shard: Rc<RefCell<Shard>>, mut reloads: mpsc::Receiver<Reload>) {
    while let Some(reload) = reloads.recv().await {
        shard.borrow_mut().reload(reload);
    }
}

/// Writes what rooms have waiting, whenever something does and the input that was ready has been dealt with.
async fn flush(shard: Rc<RefCell<Shard>>) {
    loop {
        let progress = shard.borrow_mut().relay.hub.flush_slice(Instant::now());
        match progress {
            Progress::More => tokio::task::yield_now().await,
            Progress::Idle => flushable(&shard, None).await,
            // Dropping the wait for something new loses nothing: the hub is asked again either way.
            Progress::Until(due) => tokio::select! {
                () = tokio::time::sleep_until(due.into()) => {}
                () = flushable(&shard, Some(due)) => {}
            },
        }
    }
}

/// Pushes receipts that were held back, when their time comes. There is a timer only while there are any.
async fn push_receipts(shard: Rc<RefCell<Shard>>) {
    loop {
        let due = poll_fn(|context| shard.borrow_mut().relay.poll_receipts_due(context)).await;
        tokio::time::sleep_until(due.into()).await;
        shard.borrow_mut().relay.push_due_receipts(Instant::now());
    }
}

/// Waits until there is something to write now, or earlier than what is known.
async fn flushable(shard: &RefCell<Shard>, known: Option<Instant>) {
    poll_fn(|context| {
        let mut shard = shard.borrow_mut();
        let hub = &mut shard.relay.hub;
        hub.set_flusher(context.waker());
        match hub.flush_state(Instant::now()) {
            Progress::More => Poll::Ready(()),
            Progress::Until(due) if known.is_none_or(|known| due < known) => Poll::Ready(()),
            Progress::Until(_) | Progress::Idle => Poll::Pending,
        }
    })
    .await;
}

/// Sweeps whenever the server's clock says so. The clock is not the shard's own: a timer that is always pending would
/// make each wait for input program the machine's timer, which costs more than reading a message does.
async fn sweep_on_time(shard: Rc<RefCell<Shard>>, mut clock: watch::Receiver<Instant>, delay: Histogram) {
    while clock.changed().await.is_ok() {
        delay.record(clock.borrow_and_update().elapsed());
        shard.borrow_mut().sweep();
    }
}

/// Waits for the stop, lets everyone go, and returns when all are gone or time is up. A shard without connections stays
/// as long as the others have any, because it owns rooms that those are in.
async fn until_drained(
    shard: &RefCell<Shard>,
    mut drain: watch::Receiver<bool>,
    drain_max: Duration,
    admissions: &Admissions,
) {
    // A sender that is gone means that the server is gone, which is a stop too.
    let _stopped = drain.wait_for(|stop| *stop).await;
    shard.borrow_mut().drain();
    let deadline = Instant::now() + drain_max;
    while !(admissions.is_empty() && shard.borrow().is_empty()) && Instant::now() < deadline {
        tokio::time::sleep(DRAIN_POLL).await;
    }
}
