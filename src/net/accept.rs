//! Accepting connections, and how many there may be.
//!
//! One task accepts and hands each socket to the shard with the fewest. Whoever is accepted holds an admission, which
//! counts until it is dropped.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

/// Connections that the kernel keeps for us while we are busy.
const BACKLOG: i32 = 4096;

/// How long accepting pauses when it fails, for example for want of file descriptors.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// Sockets that wait for a shard.
pub(super) const INTAKE_MAX: usize = 1024;

/// File descriptors that are not for clients: listeners, logs, plugins, the admin listener.
const SPARE_FILES: usize = 128;

/// A socket on its way to a shard.
pub struct Accepted {
    pub(super) stream: std::net::TcpStream,
    pub(super) peer: SocketAddr,
    /// Held until the handshake is done.
    pub(super) handshake: OwnedSemaphorePermit,
    pub(super) load: Load,
}

/// Counts one connection of a shard.
pub(super) struct Load(Arc<AtomicUsize>);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Makes a listening socket ready: more room for a crowd than the standard library's, and no delay for small writes.
///
/// # Errors
///
/// What the kernel says.
pub fn bind(listener: std::net::TcpListener) -> io::Result<std::net::TcpListener> {
    let socket = socket2::SockRef::from(&listener);
    socket.listen(BACKLOG)?;
    socket.set_tcp_nodelay(true)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Accepts connections.
pub struct Acceptor {
    listener: TcpListener,
    handshakes: Arc<Semaphore>,
    shards: Vec<(mpsc::Sender<Accepted>, Arc<AtomicUsize>)>,
}

impl Acceptor {
    /// An acceptor for some shards; also what comes out at each.
    pub fn new(listener: TcpListener, handshakes_max: usize, shards: u16) -> (Self, Vec<mpsc::Receiver<Accepted>>) {
        let handshakes_max =
            if handshakes_max == 0 { Semaphore::MAX_PERMITS } else { handshakes_max.min(Semaphore::MAX_PERMITS) };
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..shards).map(|_| mpsc::channel(INTAKE_MAX)).unzip();
        let shards = senders.into_iter().map(|sender| (sender, Arc::new(AtomicUsize::new(0)))).collect();
        (Self { listener, handshakes: Arc::new(Semaphore::new(handshakes_max)), shards }, receivers)
    }

    /// Accepts until told to stop.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        loop {
            // Dropping either future loses nothing: a connection that was not accepted waits in the kernel.
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.accept() => {}
            }
        }
    }

    async fn accept(&self) {
        let Ok(handshake) = Arc::clone(&self.handshakes).acquire_owned().await else { return };
        let accepted = self.listener.accept().await.and_then(|(stream, peer)| Ok((stream.into_std()?, peer)));
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                return;
            }
        };
        let Some((sender, load)) = self.shards.iter().min_by_key(|(_, load)| load.load(Ordering::Relaxed)) else {
            return;
        };
        load.fetch_add(1, Ordering::Relaxed);
        let accepted = Accepted { stream, peer, handshake, load: Load(Arc::clone(load)) };
        // A shard that takes no more is stopping, or so busy that this one is better tried again later.
        let _refused = sender.try_send(accepted);
    }
}

/// How many connections there are, in all and by address.
pub struct Admissions {
    connections_max: usize,
    per_address_max: usize,
    connections: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection that counts.
pub(super) struct Admission {
    admissions: Arc<Admissions>,
    address: Option<IpAddr>,
}

impl Admissions {
    /// Bounds; 0 = what the limit on open files leaves, and none by address.
    pub fn new(connections_max: usize, per_address_max: usize) -> Self {
        let files = raise_file_limit().saturating_sub(SPARE_FILES);
        let connections_max = if connections_max == 0 { files } else { connections_max.min(files) };
        Self {
            connections_max,
            per_address_max,
            connections: AtomicUsize::new(0),
            by_address: Mutex::new(HashMap::new()),
        }
    }

    /// How many there may be at once.
    pub fn connections_max(&self) -> usize {
        self.connections_max
    }

    /// Counts a connection, if it is within the bounds.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Admission> {
        let count = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let mut admission = Admission { admissions: Arc::clone(self), address: None };
        if count > self.connections_max {
            return None;
        }
        if self.per_address_max != 0 {
            let address = super::address::counted(address);
            let mut by_address = self.by_address.lock();
            let connections = by_address.entry(address).or_default();
            if *connections >= self.per_address_max {
                drop(by_address);
                return None;
            }
            *connections += 1;
            admission.address = Some(address);
        }
        Some(admission)
    }

    /// Whether nobody is connected.
    pub(super) fn is_empty(&self) -> bool {
        self.connections.load(Ordering::Relaxed) == 0
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.admissions.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(address) = self.address {
            let mut by_address = self.admissions.by_address.lock();
            if let Some(connections) = by_address.get_mut(&address) {
                *connections -= 1;
                if *connections == 0 {
                    by_address.remove(&address);
                }
            }
        }
    }
}

/// Raises the limit on open files as far as it may be; returns what it is.
fn raise_file_limit() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    current.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX)
}
