//! Two hundred reloads, each with another configuration and plugin, while a thousand clients chat: no connection is
//! closed, no message is lost, each is decided once and by a configuration that was in force, and the server is as large
//! afterwards as halfway. In between are reloads that must be refused, and leave in force what was. And what a plugin did
//! wrong under one configuration is not held against the next.
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
#[path = "../behaviour/common/mod.rs"]
mod common;

mod generation;
mod room;
mod server;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use common::{Client, plugin, until};
use generation::Generation;
use room::{Room, Sent};
use server::Server;

const ROOMS: usize = 100;
const MEMBERS: usize = 10;
/// Threads that chat, each for an equal share of the rooms.
const THREADS: usize = 4;
const RELOADS: usize = 200;
/// After so many reloads comes one that must be refused.
const REFUSED_EVERY: usize = 8;
/// How much larger the server may be after the second half than after the first: in percent, and in bytes.
const GROWTH_PERCENT_MAX: u64 = 5;
const GROWTH_BYTES_MAX: u64 = 4 << 20;

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

/// Chats in some rooms until it is enough.
fn chat(mut rooms: Vec<Room>, progress: &Progress) {
    let mut round = 0;
    while !progress.enough.load(Ordering::SeqCst) {
        // What is decided from here to the answer is decided by one of these.
        let first = progress.done.load(Ordering::SeqCst);
        let generations = || first..=progress.begun.load(Ordering::SeqCst);
        let sent: Vec<_> = rooms.iter_mut().map(|room| room.send(round)).collect();
        progress.sent.fetch_add(sent.iter().map(Vec::len).sum(), Ordering::Relaxed);
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
    let server = Server::start("chat");
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

#[test]
fn a_reload_ends_a_quarantine() {
    let server = Server::start("quarantine");
    let component = PathBuf::from(plugin("any", "misbehaving.wasm", json!({})).component);
    let trap = |seconds: usize| {
        let keys = format!(
            "quarantine_failures = 1\nquarantine_ms_min = {}\nquarantine_ms_max = {0}\nconfig = {{ behaviour = \"trap\" }}",
            seconds * 1_000,
        );
        Generation(0).toml_with(&server.directory, &component, &keys)
    };
    let is_quarantined = || server.metric("stentor_plugin_quarantined{") == 1;
    server.reload(&trap(3_600), "ok");
    assert!(!is_quarantined());
    let mut client = server.user("ann", "lobby");
    let send = |content: &str| json!({"conversationId": "lobby", "content": content});
    for content in ["trigger", "harmless"] {
        client.refused("POLICY_UNAVAILABLE", "send-message", send(content));
        assert!(is_quarantined());
    }
    server.reload(&trap(3_601), "ok");
    client.post(send("harmless"));
    // What is left of the old plugin goes in its own time.
    until("the metric says it too", || (!is_quarantined()).then_some(()));
    client.refused("POLICY_UNAVAILABLE", "send-message", send("trigger"));
    assert!(is_quarantined());
}
