//! Two hundred reloads, each with another configuration and plugin, while a thousand clients chat: no connection is
//! closed, no message is lost, each is decided once and by a configuration that was in force, and the server is as large
//! afterwards as halfway. In between are reloads that must be refused, and leave in force what was.
//!
//! The server runs as a process of its own: it gets real signals, and its memory can be told from the test's.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test"
)]

#[allow(dead_code, unused_imports, reason = "what the tests of behaviour need is more than what this one does")]
#[path = "behaviour/common/mod.rs"]
mod common;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use common::{Client, Handshake, Response, SECRET, Token, plugin, until};

const ROOMS: usize = 100;
const MEMBERS: usize = 10;
/// Threads that chat, each for an equal share of the rooms.
const THREADS: usize = 4;
const RELOADS: usize = 200;
/// After so many reloads comes one that must be refused.
const REFUSED_EVERY: usize = 8;
/// After so many, a component that the server has never seen. It is compiled; all others are in the cache.
const NEW_COMPONENT_EVERY: usize = 20;
/// How much larger the server may be after the second half than after the first: in percent, and in bytes.
const GROWTH_PERCENT_MAX: u64 = 5;
const GROWTH_BYTES_MAX: u64 = 4 << 20;
/// Words of every message. Each configuration minds one of them.
const WORDS: [&str; 10] = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay"];

/// What a configuration makes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// The word is masked, and no other.
    Masked(&'static str),
    /// The whole content is another.
    Replaced,
    /// Refused.
    Refused,
}

/// A configuration, by its number.
#[derive(Clone, Copy, Debug)]
struct Generation(usize);

impl Generation {
    fn decision(self) -> Decision {
        match self.0 % 5 {
            3 => Decision::Replaced,
            4 => Decision::Refused,
            _ => Decision::Masked(self.word()),
        }
    }

    fn word(self) -> &'static str {
        WORDS[self.0 % WORDS.len()]
    }

    /// The component, and the configuration of it as TOML.
    fn plugin(self, directory: &Path) -> (PathBuf, String) {
        let built = |file: &str| PathBuf::from(plugin("any", file, json!({})).component);
        let action = match self.decision() {
            Decision::Replaced => return (built("misbehaving.wasm"), "{ behaviour = \"replace\" }".to_owned()),
            Decision::Refused => "reject",
            Decision::Masked(_) => "mask",
        };
        let path = if self.0 % NEW_COMPONENT_EVERY == NEW_COMPONENT_EVERY / 2 {
            // Another component, though it does the same: a section that nobody reads makes the difference.
            let name = format!("generation {}", self.0);
            let mut bytes = std::fs::read(built("message-policy.wasm")).unwrap();
            let length = u8::try_from(name.len()).unwrap();
            assert!(length < 0x7f, "lengths are of one byte");
            bytes.extend_from_slice(&[0, length + 1, length]);
            bytes.extend_from_slice(name.as_bytes());
            let path = directory.join("changed.wasm");
            std::fs::write(&path, bytes).unwrap();
            path
        } else {
            built("message-policy.wasm")
        };
        (path, format!("{{ words = [\"{}\"], words_action = \"{action}\" }}", self.word()))
    }

    /// The whole file. Whatever a reload can change is sometimes different, and none of it may be felt.
    fn toml(self, directory: &Path) -> String {
        let (component, rules) = self.plugin(directory);
        let odd = self.0 % 2;
        let mut text = format!(
            "listen = \"127.0.0.1:0\"\nshards = 2\ndata_directory = {:?}\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [log]\nformat = \"json\"\n[[auth.keys]]\nalgorithm = \"HS256\"\nsecret = \"{SECRET}\"\n",
            directory.join("data"),
        );
        // So little is kept of a room that the store is full, and grows no more, long before memory is looked at.
        text.push_str("[store]\nroom_events_max = 50\ndedup_entries_max = 4000\n");
        write!(
            text,
            "[delivery]\nroom_flush_ms = {}\n[timing]\nping_ms = {}\n[limits]\nrequests_per_second_max = {}\n\
             request_burst_max = {}\noutbox_frames_max = {}\nrooms_per_connection_max = {}\n",
            odd * 5,
            25_000 + odd * 1_000,
            odd * 100_000,
            100_000 + self.0,
            4_096 + self.0,
            1_000 + self.0,
        )
        .unwrap();
        // Far more than a call takes, so that no call is ended, however busy the machine is.
        write!(
            text,
            "[[plugins]]\nname = \"decider\"\ncomponent = {component:?}\ncall_ms_max = {}\nconfig = {rules}\n",
            800 + self.0 % 3 * 100,
        )
        .unwrap();
        text
    }

    /// The same file with a mistake in it.
    fn broken_toml(self, directory: &Path) -> String {
        let good = self.toml(directory);
        match self.0 / REFUSED_EVERY % 3 {
            0 => format!("{good}this is no TOML"),
            1 => {
                let (start, _) = good.rsplit_once("config = ").unwrap();
                format!("{start}config = {{ wrods = [\"misspelt\"], behaviour = \"no such\" }}\n")
            }
            _ => {
                let (start, rest) = good.split_once("component = ").unwrap();
                let (_, end) = rest.split_once('\n').unwrap();
                format!("{start}component = {:?}\n{end}", directory.join("missing.wasm"))
            }
        }
    }
}

/// A server process, ended with the test however that ends.
struct Server {
    process: Child,
    address: SocketAddr,
    admin: SocketAddr,
    directory: PathBuf,
    /// What the log says that is an error, and no refused configuration.
    errors: Arc<Mutex<Vec<String>>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
        std::fs::remove_dir_all(&self.directory).ok();
    }
}

impl Server {
    fn start() -> Self {
        let directory = std::env::temp_dir().join(format!("stentor-reload-{}", std::process::id()));
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
    fn resident_bytes(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with("Rss:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// The sum of all series whose names and labels begin so.
    fn metric(&self, series: &str) -> u64 {
        let body = Response::get(self.admin, "/metrics").body;
        let values = body.lines().filter(|line| line.starts_with(series)).map(|line| line.rsplit_once(' ').unwrap().1);
        values.map(|value| value.parse::<f64>().unwrap() as u64).sum()
    }

    fn reloads(&self, result: &str) -> u64 {
        self.metric(&format!("stentor_reloads_total{{result=\"{result}\"}}"))
    }

    /// Writes the file, sends the signal and waits until the server has counted what came of it.
    fn reload(&self, text: &str, result: &str) {
        let before = self.reloads(result);
        std::fs::write(self.directory.join("stentor.toml"), text).unwrap();
        let pid = Pid::from_raw(self.process.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::HUP).unwrap();
        until("the reload is counted", || (self.reloads(result) > before).then_some(()));
    }

    fn user(&self, user: &str, room: &str) -> Client {
        let mut client = Handshake::to(self.address).bearer(&Token::of(user).sign()).upgrade();
        client.push("auth-success");
        client.join(room);
        client
    }
}

/// What the threads share.
#[derive(Default)]
struct Progress {
    /// The newest configuration that is known to be in force, and the newest that may be.
    done: AtomicUsize,
    begun: AtomicUsize,
    enough: AtomicBool,
    sent: AtomicUsize,
    refused: AtomicUsize,
}

/// Sets the flag when it is dropped, so that the chat ends even if the test has failed.
struct Enough<'a>(&'a Progress);

impl Drop for Enough<'_> {
    fn drop(&mut self) {
        self.0.enough.store(true, Ordering::SeqCst);
    }
}

/// A message that was sent, and how it was answered.
struct Sent {
    temp_id: String,
    content: String,
    answer: Value,
}

impl Sent {
    fn say(client: &mut Client, room: &str, temp_id: String) -> (String, Self) {
        let content = format!("trigger {} {temp_id}", WORDS.join(" "));
        let id = client.ask("send-message", json!({"conversationId": room, "content": content, "tempId": temp_id}));
        (id, Self { temp_id, content, answer: Value::Null })
    }

    /// The content of the message if this was decided.
    fn decided(&self, decision: Decision) -> Option<String> {
        match decision {
            Decision::Masked(word) => Some(self.content.replace(word, &"*".repeat(word.len()))),
            Decision::Replaced => Some("replaced".to_owned()),
            Decision::Refused => None,
        }
    }

    /// Whether it was acknowledged. Otherwise it was refused, and by the plugin.
    fn is_accepted(&self) -> bool {
        let data = &self.answer["data"];
        if self.answer["event"] == "message-ack" {
            assert_eq!((&data["tempId"], &data["duplicate"]), (&json!(self.temp_id), &json!(false)), "{data}");
            return true;
        }
        assert_eq!((&data["code"], &data["reason"]), (&json!("REJECTED"), &json!("forbidden_word")), "{}", self.answer);
        false
    }

    /// The content is what one of these configurations makes of it; of a refused message there is none.
    fn check(&self, content: Option<&str>, generations: std::ops::RangeInclusive<usize>) {
        let mut decided = generations.clone().map(|number| self.decided(Generation(number).decision()));
        assert!(
            decided.any(|decided| decided.as_deref() == content),
            "{:?} became {content:?} under one of {generations:?}",
            self.content
        );
    }
}

/// The people of one room. Each has an own connection.
struct Room {
    name: String,
    members: Vec<Client>,
    /// Of the last message that was delivered.
    seq: u64,
}

impl Room {
    fn open(server: &Server, number: usize) -> Self {
        let name = format!("room-{number}");
        let mut members: Vec<Client> =
            (0..MEMBERS).map(|member| server.user(&format!("user-{number}-{member}"), &name)).collect();
        for client in &mut members {
            client.barrier(&name);
            while client.has_mail() {
                client.push("member-joined");
            }
        }
        let seq = MEMBERS as u64;
        Self { name, members, seq }
    }

    /// Everybody sends a message at once.
    fn send(&mut self, round: usize, progress: &Progress) -> Vec<(String, Sent)> {
        progress.sent.fetch_add(self.members.len(), Ordering::Relaxed);
        let say = |(member, client)| Sent::say(client, &self.name, format!("r{round}m{member}"));
        self.members.iter_mut().enumerate().map(say).collect()
    }

    /// Everybody is answered, and gets all that was accepted, in order and once. What is still to come then, and should
    /// not, is met by the next round.
    fn receive(
        &mut self,
        sent: Vec<(String, Sent)>,
        generations: &impl Fn() -> std::ops::RangeInclusive<usize>,
    ) -> usize {
        let mut accepted = HashMap::new();
        let mut refused = 0;
        for (client, (id, mut sent)) in self.members.iter_mut().zip(sent) {
            sent.answer = client.answer(&id);
            if sent.is_accepted() {
                accepted.insert(sent.temp_id.clone(), sent);
            } else {
                sent.check(None, generations());
                refused += 1;
            }
        }
        let generations = generations();
        let mut contents = HashMap::new();
        for (member, client) in self.members.iter_mut().enumerate() {
            for seq in (self.seq + 1..).take(accepted.len()) {
                let message = client.push("message-new");
                assert_eq!(message["seq"], seq, "in order, and without a hole: {message}");
                let sent = accepted.get(message["tempId"].as_str().unwrap()).expect("it was acknowledged just now");
                let ack = &sent.answer["data"];
                for key in ["seq", "epoch", "messageId", "tempId", "sentAt"] {
                    assert_eq!(message[key], ack[key], "{message} {ack}");
                }
                if member == 0 {
                    sent.check(message["content"].as_str(), generations.clone());
                    contents.insert(seq, message["content"].clone());
                }
                assert_eq!(message["content"], contents[&seq], "the same for everybody");
            }
        }
        self.seq += accepted.len() as u64;
        refused
    }

    /// Nothing more comes.
    fn close(mut self) {
        for client in &mut self.members {
            client.nothing_came(&self.name);
        }
    }
}

/// Chats in some rooms until it is enough.
fn chat(mut rooms: Vec<Room>, progress: &Progress) {
    let mut round = 0;
    while !progress.enough.load(Ordering::SeqCst) {
        // What is decided from here to the answer is decided by one of these.
        let first = progress.done.load(Ordering::SeqCst);
        let generations = || first..=progress.begun.load(Ordering::SeqCst);
        let sent: Vec<_> = rooms.iter_mut().map(|room| room.send(round, progress)).collect();
        for (room, sent) in rooms.iter_mut().zip(sent) {
            progress.refused.fetch_add(room.receive(sent, &generations), Ordering::Relaxed);
        }
        round += 1;
    }
    rooms.into_iter().for_each(Room::close);
}

/// Somebody who says something now and then, to see what is in force.
fn probe(client: &mut Client, temp_id: String, generation: Generation, progress: &Progress) {
    progress.sent.fetch_add(1, Ordering::Relaxed);
    let (id, mut sent) = Sent::say(client, "probe", temp_id);
    sent.answer = client.answer(&id);
    let content = if sent.is_accepted() {
        Some(client.push("message-new")["content"].as_str().unwrap().to_owned())
    } else {
        progress.refused.fetch_add(1, Ordering::Relaxed);
        None
    };
    sent.check(content.as_deref(), generation.0..=generation.0);
}

/// Reloads again and again; the resident memory after each.
fn reload(server: &Server, progress: &Progress) -> Vec<u64> {
    let mut client = server.user("probe", "probe");
    probe(&mut client, "first".to_owned(), Generation(0), progress);
    let mut resident = Vec::new();
    for number in 1..=RELOADS {
        let generation = Generation(number);
        if number % REFUSED_EVERY == 0 {
            server.reload(&generation.broken_toml(&server.directory), "refused");
            probe(&mut client, format!("not-{number}"), Generation(number - 1), progress);
        }
        progress.begun.store(number, Ordering::SeqCst);
        server.reload(&generation.toml(&server.directory), "ok");
        progress.done.store(number, Ordering::SeqCst);
        probe(&mut client, format!("{number}"), generation, progress);
        resident.push(server.resident_bytes());
    }
    client.nothing_came("probe");
    resident
}

#[test]
fn two_hundred_reloads_are_not_felt_by_a_thousand_who_chat() {
    let server = Server::start();
    let progress = Progress::default();
    let mut rooms: Vec<Room> = (0..ROOMS).map(|number| Room::open(&server, number)).collect();
    let resident = std::thread::scope(|scope| {
        let enough = Enough(&progress);
        let chats: Vec<_> = (0..THREADS)
            .map(|_| rooms.split_off(rooms.len() - ROOMS / THREADS))
            .map(|rooms| scope.spawn(|| chat(rooms, &progress)))
            .collect();
        let resident = reload(&server, &progress);
        drop(enough);
        chats.into_iter().for_each(|chat| chat.join().unwrap());
        resident
    });

    let sent = progress.sent.into_inner();
    let (half, end) = (resident[RELOADS / 2 - 1], resident[RELOADS - 1]);
    println!("{sent} messages, of which {} were refused", progress.refused.into_inner());
    println!("resident bytes after every tenth reload: {:?}", resident.iter().skip(9).step_by(10).collect::<Vec<_>>());
    assert_eq!(server.reloads("ok"), RELOADS as u64);
    assert_eq!(server.reloads("refused"), (RELOADS / REFUSED_EVERY) as u64);
    assert_eq!(server.metric("stentor_plugin_calls_total{"), sent as u64, "each message is decided once");
    // One for each shard and its spare; the instances of all earlier configurations are gone.
    until("old instances end", || (server.metric("stentor_plugin_instances{") == 4).then_some(()));
    assert_eq!(*server.errors.lock(), Vec::<String>::new());
    assert!(
        end * 100 <= half * (100 + GROWTH_PERCENT_MAX) + GROWTH_BYTES_MAX * 100,
        "memory grew from {half} to {end} bytes: {resident:?}"
    );
}
