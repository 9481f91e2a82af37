//! The thread that does all that waits for Redis, and nothing else.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::{Arc, mpsc::SyncSender};
use std::thread::JoinHandle;

use thiserror::Error;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;

use super::Shared;
use super::call::Job;
use super::channels::Heard;
use super::cluster::Map;
use super::core::Core;
use super::dialer::Dialer;
use super::listeners::Listeners;
use super::preflight::{self, Preflight, Problem};
use super::weather::Board;

/// Calls that are handed out before anything else has its turn.
const CALLS_MAX: usize = 256;

/// Why there is no link.
#[derive(Debug, Error)]
pub enum StartError {
    /// There can be no thread.
    #[error("there can be no thread for Redis: {0}")]
    Thread(#[from] io::Error),
    /// TLS cannot be set up.
    #[error("{0}")]
    Certificates(String),
    /// It cannot work as it is, for each of these reasons.
    #[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
    Problems(Vec<Problem>),
}

pub(super) type Hear = Arc<dyn Fn(Heard) + Send + Sync>;

/// Starts the thread and waits until it says that everything is as it has to be.
pub(super) fn start(
    shared: Arc<Shared>,
    preflight: Preflight,
    hear: Hear,
    calls: mpsc::Receiver<Job>,
) -> Result<JoinHandle<()>, StartError> {
    let dialer = Dialer::new(shared.settings.clone(), preflight.scripts).map_err(StartError::Certificates)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("redis".to_owned()).spawn(move || {
        run(&runtime, Beginning { shared, dialer, hear, preflight, ready }, calls);
    })?;
    match is_ready.recv() {
        Ok(problems) if problems.is_empty() => Ok(thread),
        Ok(problems) => Err(StartError::Problems(problems)),
        Err(_) => Err(StartError::Thread(io::Error::other("it ended"))),
    }
}

/// What the thread begins with.
struct Beginning {
    shared: Arc<Shared>,
    dialer: Dialer,
    hear: Hear,
    preflight: Preflight,
    ready: SyncSender<Vec<Problem>>,
}

fn run(runtime: &Runtime, beginning: Beginning, mut calls: mpsc::Receiver<Job>) {
    let Beginning { shared, dialer, hear, preflight, ready } = beginning;
    let tasks = LocalSet::new();
    tasks.block_on(runtime, async {
        let tell = Arc::clone(&hear);
        let board = Board::new(Arc::clone(&shared.weather), Box::new(move |weather| tell(Heard::Weather(weather))));
        let core = Rc::new(Core {
            shared,
            dialer,
            board,
            map: Map::default(),
            hear,
            is_sharded: Cell::new(false),
            named: RefCell::new(None),
        });
        let problems = preflight::run(&core, &preflight).await;
        if !problems.is_empty() {
            let _nobody_waits = ready.send(problems);
            return;
        }
        if !core.is_cluster() {
            core.map.ensure(&core, None);
        }
        spawn_local(Rc::clone(&core).watch_master());
        spawn_local(Map::watch(Rc::clone(&core)));
        spawn_local(Listeners::new(Rc::clone(&core)).run());
        // Whoever starts finds everything there, unless it went away this very moment.
        let _either = timeout(core.settings().connect_max(), core.board.until_there()).await;
        let _nobody_waits = ready.send(problems);
        let mut taken = Vec::with_capacity(CALLS_MAX);
        // It ends with the last link.
        while calls.recv_many(&mut taken, CALLS_MAX).await > 0 {
            taken.drain(..).for_each(|job| core.dispatch(job));
        }
    });
}
