//! Calls: their order, their answers, their bounds.

use std::time::Duration;

use stentor::store::redis::{Answer, Call, Fault, LinkError, Refusal, Sky, Value, Wait};

use super::{FAIL, Tested, push, settings};
use crate::servers::{Server, until};

#[test]
fn calls_of_one_lane_are_done_in_their_order() {
    const ROOMS: usize = 8;
    const CALLS: usize = 1_000;
    let server = Server::start();
    let mut settings = settings(&server.url());
    settings.command_ms_max = 60_000;
    let tested = Tested::start(settings);
    std::thread::scope(|scope| {
        for room in 0..ROOMS {
            let tested = &tested.link;
            scope.spawn(move || {
                for number in 0..CALLS {
                    tested.call(push(&format!("room-{room}"), number), |result| {
                        result.unwrap();
                    });
                }
            });
        }
    });
    until("all are answered", || (tested.link.snapshot().pending_calls == 0).then_some(()));
    for room in 0..ROOMS {
        let list: Vec<usize> = server.ask(&format!("LRANGE room-{room} 0 -1"));
        assert_eq!(list, (0..CALLS).collect::<Vec<_>>(), "room-{room}");
    }
    let snapshot = tested.link.snapshot();
    assert_eq!((snapshot.pending_bytes, snapshot.busy, snapshot.time_outs, snapshot.reconnects), (0, 0, 0, 0));
    // Two lanes, one that listens, and the test.
    let clients: String = server.ask("INFO clients");
    assert!(clients.contains("connected_clients:4\r\n"), "{clients}");
}

#[test]
fn many_calls_are_under_way_at_once() {
    let server = Server::start();
    let tested = Tested::start(settings(&server.url()));
    // While this one blocks its connection, the others of its lane wait behind it in the server, not here.
    let blocking = tested.begin(Call::command("BLPOP", ["nothing", "0.3"]).on("lane"));
    let behind: Vec<_> = (0..100).map(|number| tested.begin(push("key", number).on("lane"))).collect();
    until("all are sent", || {
        let clients: String = server.ask("CLIENT LIST TYPE normal");
        let waiting = |client: &str| {
            client.split(' ').find_map(|field| field.strip_prefix("qbuf=")).map_or(0, |bytes| bytes.parse().unwrap())
        };
        clients.lines().any(|client| waiting(client) > 100 * 60).then_some(())
    });
    assert_eq!(blocking.recv().unwrap().unwrap().value, Value::Nil);
    for (number, answer) in behind.into_iter().enumerate() {
        assert_eq!(answer.recv().unwrap().unwrap().value, Value::Int(number as i64 + 1));
    }
}

#[test]
fn answers_are_what_redis_says() {
    let server = Server::start();
    let tested = Tested::start(settings(&server.url()));
    let command = |words: &str| {
        let (name, rest) = words.split_once(' ').unwrap_or((words, ""));
        tested.call(Call::command(name, rest.split_whitespace()))
    };
    let value = |words: &str| command(words).unwrap().value;
    assert_eq!(value("SET a 5"), Value::Status("OK".to_owned()));
    assert_eq!(value("GET a"), Value::Bytes("5".into()));
    assert_eq!(value("GET a").int(), Some(5));
    assert_eq!(value("GET b"), Value::Nil);
    assert_eq!(value("INCR a"), Value::Int(6));
    value("HSET h f v");
    assert_eq!(value("HGETALL h"), Value::List(vec![Value::Bytes("f".into()), Value::Bytes("v".into())]));
    assert_eq!(value("MGET a b").list().unwrap()[1], Value::Nil);
    let refused = tested.call(Call::script(&FAIL, ["k"], [""; 0]));
    assert_eq!(refused, Err(LinkError::Refused(Refusal::Said("MINE".to_owned(), "it is wrong".to_owned()))));
    assert!(matches!(command("INCR h"), Err(LinkError::Refused(Refusal::Said(code, _))) if code == "WRONGTYPE"));
    assert!(matches!(command("NONSENSE"), Err(LinkError::Refused(Refusal::Said(code, _))) if code == "ERR"));
    assert_eq!(tested.link.weather().sky, Sky::Up);
}

#[test]
fn scripts_that_are_gone_are_loaded_again_and_the_order_is_kept() {
    let server = Server::start();
    let tested = Tested::start(settings(&server.url()));
    let mut flusher = server.connect();
    let mut done = Vec::new();
    for round in 0..20 {
        let answers: Vec<_> =
            (0..200).map(|number| (round * 200 + number, tested.begin(push("key", round * 200 + number)))).collect();
        deadpool_redis::redis::cmd("SCRIPT").arg("FLUSH").exec(&mut flusher).unwrap();
        for (number, answer) in answers {
            match answer.recv_timeout(Duration::from_secs(60)).unwrap() {
                Ok(_) => done.push(number),
                Err(error) => assert_eq!(error, LinkError::NotSent(Fault::Overtaken)),
            }
        }
    }
    let list: Vec<i32> = server.ask("LRANGE key 0 -1");
    assert_eq!(list, done, "what is done is done once and in order, and nothing else is");
    assert!(done.len() >= 4_000 / 2);
}

#[test]
fn too_many_calls_are_refused_at_once() {
    let server = Server::start();
    let mut settings = settings(&server.url());
    settings.pending_calls_max = 5;
    settings.pending_bytes_max = 10_000;
    let tested = Tested::start(settings);
    server.freeze();
    let first: Vec<_> = (0..5).map(|number| tested.begin(push("key", number))).collect();
    let refused = tested.begin(push("key", 5));
    // The others are not answered yet, and nobody had to wait for this.
    assert_eq!(refused.try_recv().unwrap(), Err(LinkError::Busy));
    assert_eq!(tested.link.snapshot().busy, 1);
    server.thaw();
    for answer in first {
        let _either = answer.recv_timeout(Duration::from_secs(60)).unwrap();
    }
    tested.insist(|| push("key", 6));
    let long = "x".repeat(10_000);
    assert_eq!(tested.call(push("key", long)), Err(LinkError::Busy));
    assert_eq!(tested.link.snapshot().pending_bytes, 0);
}

#[test]
fn a_call_that_takes_too_long_is_unknown_and_harms_no_other() {
    let server = Server::start();
    let tested = Tested::start(settings(&server.url()));
    // The other lane is answered all the time, so the server is not frozen; this one is held up by its own first call.
    let blocking = tested.begin(Call::command("BLPOP", ["nothing", "20"]).on("slow"));
    assert_eq!(blocking.recv_timeout(Duration::from_secs(60)).unwrap(), Err(LinkError::Unknown(Fault::TimedOut)));
    // Its connection is given up, because whatever it says next would be too late.
    tested.insist(|| push("key", 1).on("slow"));
    assert!(tested.link.snapshot().time_outs >= 1);
}

#[test]
fn calls_are_answered_when_replicas_have_them() {
    let server = Server::start();
    let mut replica = Server::replica_of(&server);
    let tested = Tested::start(settings(&server.url()));
    // A replica that was just made may take a while for its first answer.
    let wait = Some(Wait { replicas: 1, ms_max: 30_000 });
    let answers: Vec<_> = (0..500).map(|number| tested.begin(push("key", number).with_wait(wait))).collect();
    for (number, answer) in answers.into_iter().enumerate() {
        let answer = answer.recv_timeout(Duration::from_secs(60)).unwrap().unwrap();
        assert_eq!(answer, Answer { value: Value::Int(number as i64 + 1), replicas: Some(1) });
    }
    let list: Vec<usize> = replica.ask("LRANGE key 0 -1");
    assert_eq!(list, (0..500).collect::<Vec<_>>());
    // One question does for many calls.
    let stats: String = server.ask("INFO commandstats");
    let waits: usize = stats.split("cmdstat_wait:calls=").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
    assert!(waits < 250, "{waits} WAITs for 500 calls");
    replica.kill();
    server.until_info("replication", "connected_slaves:0");
    let wait = Some(Wait { replicas: 1, ms_max: 100 });
    let answer = tested.call(push("key", 500).with_wait(wait)).unwrap();
    assert_eq!(answer, Answer { value: Value::Int(501), replicas: Some(0) });
}

#[test]
fn the_last_link_ends_the_thread_and_answers_what_is_left() {
    let server = Server::start();
    let tested = Tested::start(settings(&server.url()));
    server.freeze();
    let waiting = tested.begin(push("key", 1));
    drop(tested);
    let error = waiting.recv_timeout(Duration::from_secs(60)).unwrap().unwrap_err();
    assert!(matches!(error, LinkError::Unknown(Fault::Closed) | LinkError::NotSent(Fault::Closed)), "{error}");
    server.thaw();
}
