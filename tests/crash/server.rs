//! A server process that is killed, and started again with what it left.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;

use crate::common::{Client, Handshake, Response, SECRET, Token};

/// The process and what is its own.
pub(crate) struct Process {
    directory: PathBuf,
    child: Option<Child>,
    admin: Option<SocketAddr>,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        std::fs::remove_dir_all(&self.directory).ok();
    }
}

impl Process {
    pub(crate) fn new(name: &str) -> Self {
        Self::with(name, "recover_events_max = 0\nrecover_bytes_max = 0\n")
    }

    /// With further limits.
    pub(crate) fn with(name: &str, limits: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("stentor-crash-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let text = format!(
            "listen = \"127.0.0.1:0\"\nshards = 2\ndata_directory = {:?}\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [log]\nformat = \"json\"\n[limits]\nrequests_per_second_max = 0\nmember_events_max = 0\n\
             {limits}[[auth.keys]]\nalgorithm = \"HS256\"\nsecret = {SECRET:?}\n",
            directory.join("data")
        );
        std::fs::write(directory.join("stentor.toml"), text).unwrap();
        Self { directory, child: None, admin: None }
    }

    /// Starts it. Returns where it listens.
    pub(crate) fn start(&mut self) -> SocketAddr {
        // Writing beyond a limit is to be an error and not a signal.
        let mut child = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" serve --config \"$1\"", env!("CARGO_BIN_EXE_stentor")])
            .arg(self.directory.join("stentor.toml"))
            .env_remove("JWT_SECRET")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        self.child = Some(child);
        let said = log.by_ref().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        let listening =
            said.into_iter().find(|event| event["message"] == "listening").expect("it says where it listens");
        // A log that nobody reads would stop the server.
        std::thread::spawn(move || log.for_each(drop));
        let address = |name: &str| listening[name].as_str().unwrap().parse().unwrap();
        self.admin = Some(address("admin"));
        address("client")
    }

    /// Kills it, without any warning.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn readiness(&self) -> Response {
        Response::get(self.admin.unwrap(), "/readyz")
    }

    /// The store's file can grow no more.
    pub(crate) fn limit_files_to_what_they_are(&self) {
        let file = self.directory.join("data/store.redb");
        self.limit(Some(std::fs::metadata(file).unwrap().len()));
    }

    pub(crate) fn lift_limit(&self) {
        self.limit(None);
    }

    fn limit(&self, bytes_max: Option<u64>) {
        let pid = Pid::from_child(self.child.as_ref().unwrap());
        prlimit(Some(pid), Resource::Fsize, Rlimit { current: bytes_max, maximum: None }).unwrap();
    }
}

/// An authenticated connection.
pub(crate) fn user(address: SocketAddr, name: &str) -> Client {
    let mut client = Handshake::to(address).bearer(&Token::of(name).sign()).upgrade();
    client.success = client.push("auth-success");
    client
}
