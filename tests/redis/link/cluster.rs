//! A cluster: slots, servers that lose them, servers that are lost.

use std::collections::HashMap;
use std::time::Duration;

use stentor::store::redis::{Call, Script, Sky};

use super::{Tested, preflight, push, settings};
use crate::servers::{Cluster, until};

/// Appends to a list and publishes in its slot.
static TELL: Script =
    Script::new("tell", "redis.call('RPUSH', KEYS[1], ARGV[2]) return redis.call('SPUBLISH', ARGV[1], ARGV[2])");

static SCRIPTS: [&Script; 2] = [&super::PUSH, &TELL];

fn slot_of(cluster: &Cluster, key: &str) -> u16 {
    cluster.servers[0].ask(&format!("CLUSTER KEYSLOT {key}"))
}

fn list_of(cluster: &Cluster, key: &str) -> Vec<usize> {
    cluster.owner_of(slot_of(cluster, key)).ask(&format!("LRANGE {key} 0 -1"))
}

#[test]
fn calls_and_channels_go_where_their_slots_are() {
    const ROOMS: usize = 30;
    let cluster = Cluster::start(3, 0);
    let mut preflight = preflight();
    preflight.scripts = &SCRIPTS;
    let tested = Tested::try_start(settings(&cluster.url()), preflight).unwrap();
    for room in 0..ROOMS {
        tested.link.subscribe(&format!("{{room-{room}}}feed")).unwrap();
    }
    (0..ROOMS).for_each(|_| {
        tested.next_subscribed();
    });
    for number in 0..50 {
        for room in 0..ROOMS {
            let (key, channel) = (format!("{{room-{room}}}list"), format!("{{room-{room}}}feed"));
            tested.link.call(Call::script(&TELL, [key], [channel, number.to_string()]), |result| {
                assert_eq!(result.unwrap().value.int(), Some(1));
            });
        }
    }
    let mut heard: HashMap<String, Vec<usize>> = HashMap::new();
    for _ in 0..50 * ROOMS {
        let message = tested.next_message();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        heard.entry(text(&message.channel)).or_default().push(text(&message.payload).parse().unwrap());
    }
    assert_eq!(heard.len(), ROOMS);
    assert!(heard.values().all(|numbers| numbers.len() == 50 && numbers.is_sorted()), "{heard:?}");
    for room in 0..ROOMS {
        assert_eq!(list_of(&cluster, &format!("{{room-{room}}}list")), (0..50).collect::<Vec<_>>());
    }
    let used = cluster.servers.iter().filter(|server| server.ask::<usize>("DBSIZE") > 0).count();
    assert_eq!(used, 3, "they are on all servers");
}

/// Moves a slot as the specification says, with its keys, while it is used.
fn migrate(cluster: &Cluster, slot: u16, to: usize) {
    let target = &cluster.servers[to];
    let source = cluster.owner_of(slot);
    let (source_id, target_id): (String, String) = (source.ask("CLUSTER MYID"), target.ask("CLUSTER MYID"));
    target.ask::<()>(&format!("CLUSTER SETSLOT {slot} IMPORTING {source_id}"));
    source.ask::<()>(&format!("CLUSTER SETSLOT {slot} MIGRATING {target_id}"));
    loop {
        let keys: Vec<String> = source.ask(&format!("CLUSTER GETKEYSINSLOT {slot} 1"));
        let Some(key) = keys.first() else { break };
        source.ask::<()>(&format!("MIGRATE 127.0.0.1 {} {key} 0 5000", target.port));
    }
    for server in [target, source] {
        server.ask::<()>(&format!("CLUSTER SETSLOT {slot} NODE {target_id}"));
    }
}

#[test]
fn slots_that_move_are_followed_in_order() {
    let cluster = Cluster::start(3, 0);
    let tested = Tested::start(settings(&cluster.url()));
    let slot = slot_of(&cluster, "{moving}list");
    tested.link.subscribe("{moving}feed").unwrap();
    tested.next_subscribed();
    let mut next = 0;
    for round in 0..6 {
        let begin = |count: usize, next: &mut usize| -> Vec<_> {
            let answers = (0..count).map(|part| tested.begin(push("{moving}list", *next + part))).collect();
            *next += count;
            answers
        };
        let mut answers = begin(300, &mut next);
        std::thread::scope(|scope| {
            scope.spawn(|| migrate(&cluster, slot, round % 3));
            answers.extend(begin(300, &mut next));
        });
        for answer in answers {
            answer.recv_timeout(Duration::from_secs(60)).unwrap().unwrap();
        }
        assert_eq!(list_of(&cluster, "{moving}list"), (0..next).collect::<Vec<_>>(), "round {round}");
        until("the channel is heard where it is now", || {
            (cluster.owner_of(slot).ask::<usize>(&format!("SPUBLISH {{moving}}feed {round}")) == 1).then_some(())
        });
    }
}

#[test]
fn a_master_that_is_lost_is_replaced_and_the_others_go_on() {
    let mut cluster = Cluster::start(3, 1);
    let tested = Tested::start(settings(&cluster.url()));
    let rooms: Vec<String> = (0..30).map(|room| format!("{{room-{room}}}list")).collect();
    for room in &rooms {
        tested.call(push(room, 0)).unwrap();
    }
    tested.link.subscribe("{room-0}feed").unwrap();
    tested.next_subscribed();
    let slot = slot_of(&cluster, &rooms[0]);
    let port = cluster.owner_of(slot).port;
    let lost = cluster.servers.iter().position(|server| server.port == port).unwrap();
    let elsewhere = rooms.iter().find(|room| cluster.owner_of(slot_of(&cluster, room)).port != port).unwrap().clone();
    cluster.servers[lost].kill();
    tested.until_sky(Sky::Away);
    tested.call(push(&elsewhere, 1)).unwrap();
    tested.insist(|| push(&rooms[0], 2));
    tested.until_sky(Sky::Up);
    until("the channel is heard where it is now", || {
        let mut heard = cluster.servers.iter().filter(|server| server.port != port);
        heard
            .any(|server| server.try_ask::<usize>("SPUBLISH {room-0}feed x").is_ok_and(|heard| heard == 1))
            .then_some(())
    });
}
