//! Faults: a server that is frozen, killed, full, demoted; connections that are cut.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use stentor::store::redis::{Call, Fault, LinkError, Refusal, Sky};

use super::{Tested, is_not_done, push, settings};
use crate::servers::{Server, until};

/// Calls without end, from several rooms at once, while something happens. What was said to be done is done, nothing is
/// done twice, and what was said not to be done is not.
fn keeps_its_word(tested: &Tested, read: impl Fn(usize) -> Vec<usize>, happen: impl FnOnce(&dyn Fn(usize))) {
    const ROOMS: usize = 4;
    let (is_over, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let outcomes = std::thread::scope(|scope| {
        let rooms: Vec<_> = (0..ROOMS)
            .map(|room| {
                let (tested, is_over, done) = (tested, &is_over, &done);
                scope.spawn(move || {
                    let mut outcomes = Vec::new();
                    for number in 0.. {
                        if is_over.load(Ordering::Relaxed) {
                            break;
                        }
                        // A window of calls at a time.
                        let answers: Vec<_> = (0..16)
                            .map(|part| {
                                (number * 16 + part, tested.begin(push(&format!("{{{room}}}list"), number * 16 + part)))
                            })
                            .collect();
                        for (number, answer) in answers {
                            let result = answer.recv_timeout(Duration::from_secs(60)).expect("every call is answered");
                            if result.is_ok() {
                                done.fetch_add(1, Ordering::Relaxed);
                            } else {
                                // Whoever is refused does not ask again at once.
                                std::thread::sleep(Duration::from_millis(1));
                            }
                            outcomes.push((number, result));
                        }
                    }
                    outcomes
                })
            })
            .collect();
        happen(&|more| {
            let before = done.load(Ordering::Relaxed);
            until("calls are done", || (done.load(Ordering::Relaxed) >= before + more).then_some(()));
        });
        is_over.store(true, Ordering::Relaxed);
        rooms.into_iter().map(|room| room.join().unwrap()).collect::<Vec<_>>()
    });
    for (room, outcomes) in outcomes.into_iter().enumerate() {
        let list = read(room);
        let found: HashSet<usize> = list.iter().copied().collect();
        assert_eq!(found.len(), list.len(), "nothing is done twice");
        assert!(list.is_sorted(), "everything is in order");
        for (number, result) in outcomes {
            match result {
                Ok(_) => assert!(found.contains(&number), "{number} was done"),
                Err(error) if is_not_done(&error) => assert!(!found.contains(&number), "{number}: {error}"),
                Err(_) => {}
            }
        }
    }
}

fn list_of(server: &Server) -> impl Fn(usize) -> Vec<usize> + '_ {
    |room| server.ask(&format!("LRANGE {{{room}}}list 0 -1"))
}

#[test]
fn a_frozen_server_is_away_and_comes_back_by_itself() {
    let server = Server::start();
    let tested = Tested::start(settings(&server.url()));
    assert_eq!(tested.link.weather().sky, Sky::Up);
    tested.call(push("key", 0)).unwrap();
    server.freeze();
    let sent = tested.begin(push("key", 1));
    assert_eq!(sent.recv_timeout(Duration::from_secs(60)).unwrap(), Err(LinkError::Unknown(Fault::TimedOut)));
    tested.until_sky(Sky::Away);
    // Now nobody waits for an answer.
    until("calls are refused", || match tested.call(push("key", 2)) {
        Err(LinkError::NotSent(Fault::Away)) => Some(()),
        Err(_) => None,
        Ok(answer) => panic!("{answer:?}"),
    });
    server.thaw();
    tested.until_sky(Sky::Up);
    tested.insist(|| push("key", 3));
    let list: Vec<usize> = server.ask("LRANGE key 0 -1");
    // What was unknown was done when it thawed.
    assert_eq!(list, [0, 1, 3]);
}

#[test]
fn what_is_under_way_when_a_server_freezes_is_told_truly() {
    let server = Server::start();
    let tested = Tested::start(settings(&server.url()));
    keeps_its_word(&tested, list_of(&server), |go_on| {
        for _ in 0..3 {
            go_on(500);
            server.freeze();
            tested.until_sky(Sky::Away);
            server.thaw();
        }
        go_on(500);
    });
}

#[test]
fn a_server_that_is_killed_and_started_again_is_used_again() {
    let mut server = Server::durable();
    let tested = Tested::start(settings(&server.url()));
    let port = server.port;
    let read = |room: usize| -> Vec<usize> {
        let client = deadpool_redis::redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
        let mut command = deadpool_redis::redis::cmd("LRANGE");
        command.arg(format!("{{{room}}}list")).arg(0).arg(-1).query(&mut client.get_connection().unwrap()).unwrap()
    };
    keeps_its_word(&tested, read, |go_on| {
        for _ in 0..3 {
            go_on(300);
            server.kill();
            tested.until_sky(Sky::Away);
            server.restart();
            tested.until_sky(Sky::Up);
        }
        go_on(300);
    });
}

#[test]
fn connections_that_are_cut_are_made_again_a_hundred_times() {
    let server = Server::start();
    let tested = Tested::start(settings(&server.url()));
    tested.link.subscribe("channel").unwrap();
    assert_eq!(tested.next_subscribed(), "channel");
    keeps_its_word(&tested, list_of(&server), |go_on| {
        for _ in 0..100 {
            server.ask::<()>("CLIENT KILL TYPE normal SKIPME yes");
            server.ask::<()>("CLIENT KILL TYPE pubsub");
            assert_eq!(tested.next_loss(), None);
            assert_eq!(tested.next_subscribed(), "channel");
            go_on(20);
        }
    });
    server.ask::<()>("PUBLISH channel still");
    assert_eq!(tested.next_message().payload, "still");
    let snapshot = tested.link.snapshot();
    assert!(snapshot.losses >= 100 && snapshot.reconnects >= 100, "{snapshot:?}");
    until("the old connections are gone", || {
        let clients: String = server.ask("INFO clients");
        let count = clients.lines().find_map(|line| line.strip_prefix("connected_clients:")).unwrap();
        // Two lanes, one that listens, one that asks, and the test.
        (count.parse::<usize>().unwrap() <= 5).then_some(())
    });
}

#[test]
fn a_full_server_is_noticed_and_when_it_no_longer_is() {
    let server = Server::start();
    let tested = Tested::start(settings(&server.url()));
    tested.call(push("key", 1)).unwrap();
    server.ask::<()>("CONFIG SET maxmemory 1");
    // Nobody has to try.
    tested.until_sky(Sky::Full);
    assert!(matches!(tested.call(push("key", 2)), Err(LinkError::Refused(Refusal::Full(_)))));
    // What needs no memory is done.
    tested.call(Call::command("LLEN", ["key"]).at("key")).unwrap();
    server.ask::<()>("CONFIG SET maxmemory 0");
    tested.until_sky(Sky::Up);
    tested.call(push("key", 3)).unwrap();
    let list: Vec<usize> = server.ask("LRANGE key 0 -1");
    assert_eq!(list, [1, 3]);
}

#[test]
fn a_server_that_becomes_a_replica_is_noticed() {
    let (server, other) = (Server::start(), Server::start());
    let tested = Tested::start(settings(&server.url()));
    server.ask::<()>(&format!("REPLICAOF 127.0.0.1 {}", other.port));
    tested.until_sky(Sky::ReadOnly);
    assert!(matches!(tested.call(push("key", 2)), Err(LinkError::Refused(Refusal::ReadOnly(_)))));
    server.ask::<()>("REPLICAOF NO ONE");
    tested.until_sky(Sky::Up);
    tested.insist(|| push("key", 3));
}

#[test]
fn too_few_replicas_and_a_script_without_end_are_noticed() {
    let server = Server::start();
    let tested = Tested::start(settings(&server.url()));
    server.ask::<()>("CONFIG SET min-replicas-to-write 1");
    tested.until_sky(Sky::NoReplicas);
    assert!(matches!(tested.call(push("key", 2)), Err(LinkError::Refused(Refusal::NoReplicas(_)))));
    server.ask::<()>("CONFIG SET min-replicas-to-write 0");
    tested.until_sky(Sky::Up);
    server.ask::<()>("CONFIG SET busy-reply-threshold 1");
    let mut endless = server.connect();
    let script = std::thread::spawn(move || {
        deadpool_redis::redis::cmd("EVAL").arg("while true do end").arg(0).exec(&mut endless).unwrap_err()
    });
    tested.until_sky(Sky::NotReady);
    assert!(matches!(tested.call(push("key", 2)), Err(LinkError::Refused(Refusal::NotReady(_)))));
    server.ask::<()>("SCRIPT KILL");
    script.join().unwrap();
    tested.until_sky(Sky::Up);
    tested.insist(|| push("key", 3));
}
