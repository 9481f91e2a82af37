//! A server process that is told to reload.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::common::{Client, Handshake, Response, Token, until};
use crate::generation::Generation;

/// A server process, ended with the test however that ends.
pub(crate) struct Server {
    process: Child,
    address: SocketAddr,
    admin: SocketAddr,
    pub(crate) directory: PathBuf,
    /// What the log says that is an error, and no refused configuration.
    pub(crate) errors: Arc<Mutex<Vec<String>>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
        std::fs::remove_dir_all(&self.directory).ok();
    }
}

impl Server {
    pub(crate) fn start(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("stentor-reload-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let config = directory.join("stentor.toml");
        std::fs::write(&config, Generation(0).toml(&directory)).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_stentor"))
            .args(["serve", "--config"])
            .arg(&config)
            .env_remove("JWT_SECRET")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap())
            .lines()
            .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        let listening = log.find(|event| event["message"] == "listening").expect("the server says where it listens");
        let address = |name: &str| listening[name].as_str().unwrap().parse().unwrap();
        let (address, admin) = (address("client"), address("admin"));
        let errors = Arc::new(Mutex::new(Vec::new()));
        let found = Arc::clone(&errors);
        // A log that nobody reads would stop the server.
        std::thread::spawn(move || {
            let bad = |event: &Value| {
                event["message"] == "plugin failed"
                    || event["level"] == "ERROR" && event["message"] != "the configuration is not reloaded"
            };
            log.filter(bad).for_each(|event| found.lock().push(event.to_string()));
        });
        Self { process, address, admin, directory, errors }
    }

    /// Resident memory, in bytes, counted by the page.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with("Rss:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// The sum of all series whose names and labels begin so.
    pub(crate) fn metric(&self, series: &str) -> u64 {
        let body = Response::get(self.admin, "/metrics").body;
        let values = body.lines().filter(|line| line.starts_with(series)).map(|line| line.rsplit_once(' ').unwrap().1);
        values.map(|value| value.parse::<f64>().unwrap() as u64).sum()
    }

    pub(crate) fn reloads(&self, result: &str) -> u64 {
        self.metric(&format!("stentor_reloads_total{{result=\"{result}\"}}"))
    }

    /// Writes the file, sends the signal and waits until the server has counted what came of it.
    pub(crate) fn reload(&self, text: &str, result: &str) {
        let before = self.reloads(result);
        std::fs::write(self.directory.join("stentor.toml"), text).unwrap();
        let pid = Pid::from_raw(self.process.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::HUP).unwrap();
        until("the reload is counted", || (self.reloads(result) > before).then_some(()));
    }

    pub(crate) fn user(&self, user: &str, room: &str) -> Client {
        let mut client = Handshake::to(self.address).bearer(&Token::of(user).sign()).upgrade();
        client.push("auth-success");
        client.join(room);
        client
    }
}
