//! Redis servers that a test starts, stops, freezes and kills: real processes on free ports, gone with the test.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use deadpool_redis::redis::{self, Client, Connection, FromRedisValue, RedisResult};
use rustix::process::{Pid, Signal, kill_process};

/// So long something may take that is going to happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is there.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A port that nobody has.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// A server.
pub(crate) struct Server {
    process: Option<Child>,
    pub(crate) port: u16,
    pub(crate) directory: PathBuf,
    arguments: Vec<String>,
    is_sentinel: bool,
}

impl Server {
    /// One that keeps nothing.
    pub(crate) fn start() -> Self {
        Self::with(&["--appendonly", "no"])
    }

    /// One that keeps everything, written before it is answered.
    pub(crate) fn durable() -> Self {
        Self::with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// One with further arguments.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut server =
            Self { process: None, port: free_port(), directory: new_directory(), arguments, is_sentinel: false };
        server.restart();
        server
    }

    /// A replica, in step with its master.
    pub(crate) fn replica_of(master: &Server) -> Self {
        let replica = Self::with(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
        master.until_info("replication", &format!("port={},state=online", replica.port));
        // It may have the whole copy and not have read it yet.
        replica.until_info("replication", "master_link_status:up");
        replica
    }

    fn sentinel(master: &Server, name: &str) -> Self {
        let mut sentinel = Self {
            process: None,
            port: free_port(),
            directory: new_directory(),
            arguments: Vec::new(),
            is_sentinel: true,
        };
        let configuration = format!(
            "port {}\nsentinel monitor {name} 127.0.0.1 {} 2\nsentinel down-after-milliseconds {name} 1000\n\
             sentinel failover-timeout {name} 5000\n",
            sentinel.port, master.port
        );
        fs::write(sentinel.directory.join("sentinel.conf"), configuration).unwrap();
        sentinel.restart();
        sentinel
    }

    /// Starts the process, again if there was one.
    pub(crate) fn restart(&mut self) {
        let mut command = Command::new("redis-server");
        if self.is_sentinel {
            command.arg("sentinel.conf").arg("--sentinel");
        } else {
            command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
            command.args(["--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0"]);
            command.args(&self.arguments);
        }
        let log = fs::OpenOptions::new().append(true).create(true).open(self.directory.join("log")).unwrap();
        command.current_dir(&self.directory).stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
        self.process = Some(command.spawn().expect("redis-server is installed (tests/run does it)"));
        until("the server answers", || {
            let process = self.process.as_mut().unwrap();
            assert!(process.try_wait().unwrap().is_none(), "{}", self.log());
            self.is_there().then_some(())
        });
    }

    fn is_there(&self) -> bool {
        if self.arguments.iter().any(|argument| argument == "--tls-port") {
            return std::net::TcpStream::connect(("127.0.0.1", self.tls_port())).is_ok();
        }
        // A server that asks for a password is there too.
        match self.try_connect().and_then(|mut connection| redis::cmd("PING").query::<String>(&mut connection)) {
            Ok(_) => true,
            Err(error) => error.code() == Some("NOAUTH"),
        }
    }

    /// The port for TLS, of one that was started with it.
    pub(crate) fn tls_port(&self) -> u16 {
        let at = self.arguments.iter().position(|argument| argument == "--tls-port").unwrap();
        self.arguments[at + 1].parse().unwrap()
    }

    /// What it said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn try_connect(&self) -> RedisResult<Connection> {
        Client::open(self.url())?.get_connection_with_timeout(Duration::from_secs(5))
    }

    /// A connection of the test's own.
    pub(crate) fn connect(&self) -> Connection {
        self.try_connect().unwrap()
    }

    /// Does a command that works.
    pub(crate) fn ask<T: FromRedisValue>(&self, words: &str) -> T {
        self.try_ask(words).unwrap_or_else(|error| panic!("{words}: {error}"))
    }

    /// Does a command.
    pub(crate) fn try_ask<T: FromRedisValue>(&self, words: &str) -> RedisResult<T> {
        let mut words = words.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            command.arg(word);
        });
        command.query(&mut self.try_connect()?)
    }

    /// Waits until it says something of itself.
    pub(crate) fn until_info(&self, section: &str, text: &str) {
        until(text, || {
            let info: RedisResult<String> = self.try_ask(&format!("INFO {section}"));
            info.is_ok_and(|info| info.contains(text)).then_some(())
        });
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().unwrap();
        kill_process(Pid::from_child(process), signal).unwrap();
    }

    /// Stops it in the middle of whatever it does.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _gone_already = process.kill();
            let _ = process.wait();
        }
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

fn new_directory() -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("redis-{}-{number}", std::process::id());
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// A master, its replicas, and three sentinels that watch them.
pub(crate) struct Guarded {
    pub(crate) servers: Vec<Server>,
    pub(crate) sentinels: Vec<Server>,
}

impl Guarded {
    /// All of them, knowing each other.
    pub(crate) fn start(replicas: usize) -> Self {
        let master = Server::start();
        let mut servers: Vec<Server> = (0..replicas).map(|_| Server::replica_of(&master)).collect();
        master.until_info("replication", &format!("connected_slaves:{replicas}"));
        let sentinels: Vec<Server> = (0..3).map(|_| Server::sentinel(&master, "main")).collect();
        for sentinel in &sentinels {
            sentinel.until_info(
                "sentinel",
                &format!("status=ok,address=127.0.0.1:{},slaves={replicas},sentinels=3", master.port),
            );
        }
        servers.insert(0, master);
        Self { servers, sentinels }
    }

    /// Where they are.
    pub(crate) fn url(&self) -> String {
        let sentinels: Vec<String> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
        format!("redis-sentinel://{}/main", sentinels.join(","))
    }

    /// The port of the master, as a sentinel says.
    pub(crate) fn master_port(&self) -> u16 {
        let (_, port): (String, u16) = self.sentinels[0].ask("SENTINEL GET-MASTER-ADDR-BY-NAME main");
        port
    }
}

/// A cluster of masters, and as many replicas as are asked for of each.
pub(crate) struct Cluster {
    pub(crate) servers: Vec<Server>,
}

impl Cluster {
    /// All of them, with all slots.
    pub(crate) fn start(masters: usize, replicas: usize) -> Self {
        let count = masters * (replicas + 1);
        let servers: Vec<Server> = (0..count)
            .map(|_| {
                let bus = free_port().to_string();
                Server::with(&[
                    "--cluster-enabled",
                    "yes",
                    "--cluster-port",
                    &bus,
                    "--cluster-node-timeout",
                    "1500",
                    "--cluster-require-full-coverage",
                    "no",
                    "--cluster-config-file",
                    "nodes.conf",
                ])
            })
            .collect();
        let addresses = servers.iter().map(|server| format!("127.0.0.1:{}", server.port));
        let made = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(addresses)
            .args(["--cluster-replicas", &replicas.to_string(), "--cluster-yes"])
            .output()
            .expect("redis-cli is installed (tests/run does it)");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        for server in &servers {
            until("the cluster is whole", || {
                let info: RedisResult<String> = server.try_ask("CLUSTER INFO");
                let info = info.ok()?;
                (info.contains("cluster_state:ok") && info.contains(&format!("cluster_known_nodes:{count}")))
                    .then_some(())
            });
        }
        let cluster = Self { servers };
        for server in cluster.servers.iter().skip(masters) {
            server.until_info("replication", "master_link_status:up");
        }
        cluster
    }

    /// Where they are.
    pub(crate) fn url(&self) -> String {
        let addresses: Vec<String> = self.servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
        format!("redis-cluster://{}", addresses.join(","))
    }

    /// The master that has a slot.
    pub(crate) fn owner_of(&self, slot: u16) -> &Server {
        type Node = (String, u16);
        let ranges: Vec<Vec<redis::Value>> =
            self.servers.iter().find_map(|server| server.try_ask("CLUSTER SLOTS").ok()).unwrap();
        let port = ranges
            .into_iter()
            .find_map(|range| {
                let number = |index: usize| u16::from_redis_value(range[index].clone()).unwrap();
                let redis::Value::Array(node) = &range[2] else { panic!("{range:?}") };
                let (_, port): Node = (String::new(), u16::from_redis_value(node[1].clone()).unwrap());
                (number(0)..=number(1)).contains(&slot).then_some(port)
            })
            .unwrap();
        self.servers.iter().find(|server| server.port == port).unwrap()
    }
}
