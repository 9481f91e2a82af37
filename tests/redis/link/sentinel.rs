//! A master that fails, and sentinels that name another.

use std::time::Duration;

use stentor::store::redis::{LinkError, Sky, Wait};

use super::{Tested, preflight, push, settings};
use crate::servers::{Guarded, until};

#[test]
fn another_master_is_found() {
    let mut guarded = Guarded::start(2);
    let tested = Tested::start(settings(&guarded.url()));
    tested.link.subscribe("channel").unwrap();
    assert_eq!(tested.next_subscribed(), "channel");
    let wait = Some(Wait { replicas: 2, ms_max: 2_000 });
    for number in 0..50 {
        assert_eq!(tested.call(push("key", number).with_wait(wait)).unwrap().replicas, Some(2));
    }
    guarded.servers[0].kill();
    assert_eq!(tested.next_loss(), None);
    tested.insist(|| push("key", "after"));
    tested.until_sky(Sky::Up);
    assert_eq!(tested.next_subscribed(), "channel");
    let port = guarded.master_port();
    assert_ne!(port, guarded.servers[0].port);
    let master = guarded.servers.iter().find(|server| server.port == port).unwrap();
    let list: Vec<String> = master.ask("LRANGE key 0 -1");
    // The last one may be there twice: whoever insists does it again when it is unknown whether it was done.
    let expected: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    assert_eq!(list[..50], expected, "what replicas had is there");
    assert!(list[50..].iter().all(|value| value == "after") && list.len() > 50, "{list:?}");
    // Whoever is made the master cuts its connections once more.
    until("it is listened to", || (master.ask::<usize>("PUBLISH channel found") == 1).then_some(()));
    assert_eq!(tested.next_message().payload, "found");
}

#[test]
fn a_master_that_was_frozen_is_not_written_to_when_it_thaws() {
    let guarded = Guarded::start(1);
    let tested = Tested::start(settings(&guarded.url()));
    tested.call(push("key", 0)).unwrap();
    guarded.servers[0].freeze();
    tested.until_sky(Sky::Away);
    until("another is the master", || (guarded.master_port() != guarded.servers[0].port).then_some(()));
    guarded.servers[0].thaw();
    // The old one does not know yet that it no longer is the master; whoever asks the sentinels does.
    let mut done = 0;
    for number in 1..200 {
        match tested.begin(push("key", number)).recv_timeout(Duration::from_secs(60)).unwrap() {
            Ok(_) => done += 1,
            Err(error) => assert!(!matches!(error, LinkError::Busy), "{error}"),
        }
    }
    tested.insist(|| push("key", "last"));
    let list: Vec<String> = guarded.servers[1].ask("LRANGE key 0 -1");
    assert_eq!(list.first().map(String::as_str), Some("0"));
    assert_eq!(list.len(), done + 2, "everything that was done is with the new master");
}

#[test]
fn a_master_that_nobody_knows_is_a_problem() {
    let guarded = Guarded::start(1);
    let found = Tested::try_start(settings(&guarded.url().replace("/main", "/other")), preflight());
    let Err(found) = found else { panic!("it starts") };
    assert!(found.contains("knows no master \"other\""), "{found}");
    let direct = Tested::try_start(settings(&guarded.sentinels[0].url()), preflight());
    let Err(found) = direct else { panic!("it starts") };
    assert!(found.contains("it is a sentinel"), "{found}");
}
