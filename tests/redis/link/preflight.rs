//! What makes it impossible is named at the start, each thing in one sentence.

use stentor::store::redis::{Preflight, Settings, Sky};

use super::{Tested, preflight, push, settings};
use crate::servers::{Server, free_port};

fn problems(settings: Settings, preflight: Preflight) -> String {
    match Tested::try_start(settings, preflight) {
        Ok(_) => panic!("it starts"),
        Err(problems) => problems,
    }
}

fn command(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn nobody_there_is_a_problem() {
    let port = free_port();
    let problems = problems(settings(&format!("redis://127.0.0.1:{port}")), preflight());
    assert!(problems.contains(&format!("Redis at 127.0.0.1:{port}: ")), "{problems}");
}

#[test]
fn a_wrong_password_is_a_problem_and_not_shown() {
    let server = Server::start();
    server.ask::<()>("CONFIG SET requirepass right");
    let with = |login: &str| settings(&server.url().replace("//", &format!("//{login}@")));
    for login in [":wrong", "nobody:wrong"] {
        let problems = problems(with(login), preflight());
        assert!(problems.contains("user or the password") && !problems.contains(":wrong"), "{problems}");
    }
    let none = problems(settings(&server.url()), preflight());
    assert!(none.contains("NOAUTH") || none.contains("Authentication required"), "{none}");
    let tested = Tested::start(with(":right"));
    tested.call(push("key", 1)).unwrap();
}

#[test]
fn the_database_is_the_one_that_is_named() {
    let server = Server::start();
    let tested = Tested::start(settings(&format!("{}/3", server.url())));
    tested.call(push("key", 1)).unwrap();
    let keyspace: String = server.ask("INFO keyspace");
    assert!(keyspace.contains("db3:keys=1"), "{keyspace}");
    let problems = problems(settings(&format!("{}/99", server.url())), preflight());
    assert!(problems.contains("database") || problems.contains("DB index"), "{problems}");
}

#[test]
fn what_the_user_may_not_do_is_named() {
    let server = Server::start();
    let allowed = "ACL SETUSER chat on >pw ~stentor:* &stentor:* +@read +@write +@connection +@scripting +@pubsub";
    server.ask::<()>(&format!("{allowed} -hset +info"));
    let settings = settings(&server.url().replace("//", "//chat:pw@"));
    let mut preflight = preflight();
    preflight.commands = vec![
        command(&["HSET", "stentor:probe", "field", "value"]),
        command(&["GET", "elsewhere"]),
        command(&["SUBSCRIBE", "elsewhere"]),
        command(&["GET", "stentor:probe"]),
        command(&["SUBSCRIBE", "stentor:room"]),
    ];
    let found = problems(settings.clone(), preflight.clone());
    for forbidden in ["HSET stentor:probe field value", "GET elsewhere", "SUBSCRIBE elsewhere"] {
        assert!(found.contains(&format!("the user chat has no permission for {forbidden:?}")), "{found}");
    }
    assert_eq!(found.lines().count(), 3, "{found}");
    preflight.commands.retain(|command| command[1].starts_with("stentor"));
    server.ask::<()>("ACL SETUSER chat +hset");
    let tested = Tested::try_start(settings, preflight).unwrap();
    tested.call(push("stentor:list", 1)).unwrap();
    tested.link.subscribe("stentor:room").unwrap();
    assert_eq!(tested.next_subscribed(), "stentor:room");
}

#[test]
fn what_loses_promises_is_refused() {
    let server = Server::start();
    server.ask::<()>("CONFIG SET maxmemory-policy allkeys-lru");
    let problems = problems(settings(&server.url()), preflight());
    assert!(problems.contains("maxmemory-policy is allkeys-lru"), "{problems}");
}

#[test]
fn replicas_are_counted_and_a_replica_is_no_master() {
    let server = Server::start();
    let mut wanting = preflight();
    wanting.replicas_min = 1;
    let found = problems(settings(&server.url()), wanting.clone());
    assert!(found.contains("it has 0 replicas, and 1 are needed"), "{found}");
    let replica = Server::replica_of(&server);
    server.until_info("replication", "connected_slaves:1");
    let tested = Tested::try_start(settings(&server.url()), wanting).unwrap();
    assert_eq!(tested.link.weather().sky, Sky::Up);
    let found = problems(settings(&replica.url()), preflight());
    assert!(found.contains("it is a replica and takes no writes"), "{found}");
}

#[test]
fn a_script_that_is_wrong_is_named() {
    use stentor::store::redis::Script;
    static WRONG: Script = Script::new("wrong", "this is no Lua");
    static SCRIPTS: [&Script; 1] = [&WRONG];
    let server = Server::start();
    let found = problems(settings(&server.url()), Preflight { scripts: &SCRIPTS, ..Preflight::default() });
    assert!(found.contains("the script wrong"), "{found}");
}

#[test]
fn a_cluster_is_named_as_one_and_nothing_else_is() {
    let single = Server::start();
    let found = problems(settings(&format!("redis-cluster://127.0.0.1:{}", single.port)), preflight());
    assert!(found.contains("it is no cluster"), "{found}");
    let part = Server::with(&["--cluster-enabled", "yes", "--cluster-port", &free_port().to_string()]);
    let found = problems(settings(&part.url()), preflight());
    assert!(found.contains("it is part of a cluster"), "{found}");
    let found = problems(settings(&format!("redis-cluster://127.0.0.1:{}", part.port)), preflight());
    assert!(found.contains("no servers with slots"), "{found}");
}
