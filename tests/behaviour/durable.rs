//! What the disk keeps: everything that lasts is there after a restart, and a file that cannot be used is never begun
//! anew. (What a crash leaves is tested in `tests/crash`.)

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use stentor::StartError;
use stentor::config::{Config, Durability};

use crate::common::{API_KEY, Client, TestServer, Token, api_key, config, now_ms, now_seconds};

/// A data directory of a test's own.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("durable-{name}"));
        fs::remove_dir_all(&path).ok();
        Self(path)
    }

    fn config(&self) -> Config {
        let mut config = Config { data_directory: self.0.clone(), ..config() };
        config.store.durability = Durability::Disk;
        config
    }

    fn start(&self) -> TestServer {
        TestServer::start(self.config())
    }

    fn file(&self) -> PathBuf {
        self.0.join("store.redb")
    }

    fn refusal(&self) -> String {
        match TestServer::try_start(self.config()) {
            Err(error @ StartError::Store(_)) => error.to_string(),
            Err(error) => panic!("it does not start for another reason: {error}"),
            Ok(_) => panic!("it starts"),
        }
    }
}

fn messages(client: &mut Client) -> Value {
    client.history(json!({"conversationId": "lobby"}))["messages"].clone()
}

#[test]
fn everything_that_lasts_is_there_after_a_restart() {
    let directory = Directory::new("restart");
    let server = directory.start();
    let mut ann = server.user("ann");
    assert_eq!(ann.success["server"]["durability"], "disk");
    let joined = ann.join("lobby");
    ann.join("other");
    ann.leave("other");
    let first = ann.post(json!({"conversationId": "lobby", "content": {"a": [1, "ü"]}, "tempId": "t1"}));
    let second = ann.say("lobby", "to be edited");
    let third = ann.say("lobby", "to be deleted");
    let message = |ack: &Value| json!({"conversationId": "lobby", "messageId": ack["messageId"]});
    let mut edit = message(&second);
    edit["content"] = "edited".into();
    ann.ok("edit-message", edit);
    ann.ok("delete-message", message(&third));
    let before = messages(&mut ann);
    server.stop();
    for shards in [1, 3] {
        // However many shards there are: a room is found where it belongs.
        let server = TestServer::start(Config { shards, ..directory.config() });
        let since = json!({"lobby": {"epoch": joined["epoch"], "seq": joined["seq"]}});
        let mut ann = server.device("ann", json!({"since": since}));
        let rooms = ann.success["rooms"].as_array().unwrap().clone();
        let names: Vec<_> = rooms.iter().map(|room| &room["conversationId"]).collect();
        assert_eq!(names, ["lobby"], "she left the other");
        assert_eq!((&rooms[0]["epoch"], &rooms[0]["seq"]), (&joined["epoch"], &json!(6)));
        assert_eq!(rooms[0]["seen"], third["seq"], "so far she had read, and written");
        for event in ["message-new", "message-new", "message-new", "message-edited", "message-deleted", "queue-flushed"]
        {
            ann.push(event);
        }
        assert_eq!(messages(&mut ann), before);
        let again = ann.post(json!({"conversationId": "lobby", "content": "no", "tempId": "t1"}));
        assert_eq!((&again["messageId"], &again["duplicate"]), (&first["messageId"], &json!(true)));
        server.stop();
    }
    let server = directory.start();
    let mut ann = server.user("ann");
    assert_eq!(ann.say("lobby", "and on")["seq"], 7);
    ann.join("other");
    server.stop();
}

#[test]
fn s2_16_what_arrived_and_when_somebody_was_there_is_known_after_a_restart() {
    let directory = Directory::new("people");
    let server = directory.start().explicit();
    let mut ann = server.member("ann", "lobby");
    let mut bob = server.device("bob", json!({"deviceId": "phone", "autoAck": true}));
    bob.join("lobby");
    let said = ann.say("lobby", "hello");
    assert_eq!(bob.message()["content"], "hello");
    bob.is_alive();
    // A pong moves the cursor, which is stored by and by.
    while ann.push_after_others("receipt")["upTo"] != said["seq"] {}
    let at = ann.reply_named("heartbeat-ack", "heartbeat", Value::Null)["at"].as_u64().unwrap();
    bob.close();
    server.stop();
    let server = directory.start().explicit();
    let mut ann = server.user("ann");
    let found = ann.reply_named("presence-status", "get-presence", json!({"userIds": ["bob", "nobody"]}));
    assert_eq!(found["users"][0]["status"], "offline");
    assert!(found["users"][0]["lastSeenAt"].as_u64().unwrap() >= at, "{found}");
    assert_eq!(found["users"][1]["lastSeenAt"], Value::Null);
    let bob = server.device("bob", json!({"deviceId": "phone"}));
    assert_eq!((&bob.success["queued"], &bob.success["rooms"][0]["delivered"]), (&json!(0), &said["seq"]));
    drop((ann, bob));
    server.stop();
}

#[test]
fn in_memory_nothing_is_written() {
    let directory = Directory::new("memory");
    let mut config = directory.config();
    config.store.durability = Durability::Memory;
    let server = TestServer::start(config);
    assert_eq!(server.member("ann", "lobby").success["server"]["durability"], "memory");
    server.stop();
    assert!(!directory.file().exists());
}

#[test]
fn retention_is_of_the_disk_too() {
    let directory = Directory::new("retention");
    let mut config = directory.config();
    config.store.room_events_max = 3;
    let server = TestServer::start(config.clone());
    let mut ann = server.member("ann", "lobby");
    for number in 0..10 {
        ann.say("lobby", number);
    }
    server.stop();
    let server = TestServer::start(config);
    let mut ann = server.user("ann");
    let contents: Vec<Value> =
        messages(&mut ann).as_array().unwrap().iter().map(|message| message["content"].clone()).collect();
    assert_eq!(contents, [7, 8, 9]);
    server.stop();
}

#[test]
fn a_directory_has_one_server() {
    let directory = Directory::new("locked");
    let server = directory.start();
    let refusal = directory.refusal();
    assert!(refusal.contains("store.redb: another server has it open"), "{refusal}");
    server.stop();
    directory.start().stop();
}

#[test]
fn a_damaged_file_is_refused_and_left_as_it_is() {
    let directory = Directory::new("damaged");
    let server = directory.start();
    let mut ann = server.member("ann", "lobby");
    for number in 0..200 {
        ann.say("lobby", format!("{number} {}", "text ".repeat(400)));
    }
    server.stop();
    let good = fs::read(directory.file()).unwrap();
    let half = good.len() / 2;
    let mut torn = good.clone();
    torn[good.len() / 8..].iter_mut().step_by(97).for_each(|byte| *byte ^= 0x55);
    for (what, bad) in
        [("truncated", good[..half].to_vec()), ("torn", torn), ("empty", Vec::new()), ("other", vec![7; 4096])]
    {
        fs::write(directory.file(), &bad).unwrap();
        let refusal = directory.refusal();
        assert!(refusal.contains("store.redb: the file is damaged"), "{what}: {refusal}");
        let left = fs::read(directory.file()).unwrap();
        assert!(left.len() <= bad.len().max(1) || what == "truncated", "{what}: nothing was made in its place");
    }
    fs::write(directory.file(), &good).unwrap();
    let server = directory.start();
    assert_eq!(messages(&mut server.user("ann")).as_array().unwrap().len(), 50);
    server.stop();
}

#[test]
fn a_file_that_rotted_unseen_is_refused_too_or_costs_what_is_rotten() {
    let directory = Directory::new("rotten");
    let server = directory.start();
    let mut ann = server.member("ann", "lobby");
    for number in 0..200 {
        ann.say("lobby", format!("{number} {}", "text ".repeat(400)));
    }
    server.stop();
    let mark = directory.file().with_file_name("store.clean");
    for part in 0..16 {
        let good = fs::read(directory.file()).unwrap();
        let modified = fs::metadata(directory.file()).unwrap().modified().unwrap();
        let seal = fs::read(&mark).unwrap();
        let write = |bytes: &[u8]| {
            // Nothing tells from outside that it was touched, so not all of it is looked at once more.
            fs::write(directory.file(), bytes).unwrap();
            fs::File::options().write(true).open(directory.file()).unwrap().set_modified(modified).unwrap();
            fs::write(&mark, &seal).unwrap();
        };
        let mut rotten = good.clone();
        let begin = good.len() / 16 * part;
        rotten[begin..begin + good.len() / 16].iter_mut().step_by(97).for_each(|byte| *byte ^= 0x55);
        write(&rotten);
        match TestServer::try_start(directory.config()) {
            Err(StartError::Store(error)) => assert!(error.to_string().contains("damaged"), "{part}: {error}"),
            Err(error) => panic!("{part}: {error}"),
            Ok(server) => {
                // Whatever was hit: others are answered, though what has to be written may be refused.
                let mut bob = server.user("bob");
                let joined = bob.call("join-room", json!("elsewhere"));
                assert!(joined["event"] == "room-joined" || joined["data"]["reason"] == "unavailable", "{joined}");
                bob.is_alive();
                server.stop();
            }
        }
        write(&good);
        let server = directory.start();
        assert!(!mark.exists(), "what is in use is not marked as closed");
        assert_eq!(messages(&mut server.user("ann")).as_array().unwrap().len(), 50);
        server.stop();
    }
}

#[test]
fn what_was_revoked_stays_revoked() {
    let directory = Directory::new("revoked");
    let mut config = directory.config();
    config.api.keys = vec![api_key("tests", API_KEY)];
    let old = |user: &str| Token::of(user).claim("iat", now_seconds() as i64 - 100);
    let named = |id: &str| Token::of("bob").claim("jti", id);
    let hour = now_ms() + 3_600_000;
    let server = TestServer::start(config.clone());
    server.api("revoke", json!({"userId": "ann", "expiresAt": hour}));
    // A later word counts, and a shorter one takes nothing back.
    for expires_at in [now_ms() + 1000, hour, now_ms() + 1000] {
        server.api("revoke", json!({"tokenId": "t1", "expiresAt": expires_at}));
    }
    server.stop();
    for _ in 0..2 {
        let server = TestServer::start(config.clone());
        for (token, is_good) in [(old("ann"), false), (old("eve"), true), (named("t1"), false), (named("t2"), true)] {
            let answer = server.connect().call("auth", json!({"token": token.sign()}));
            assert_eq!(answer["event"] == "auth-success", is_good, "{answer}");
        }
        server.stop();
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_refused() {
    let directory = Directory::new("no-directory");
    fs::create_dir_all(directory.0.parent().unwrap()).unwrap();
    fs::write(&directory.0, "a file").unwrap();
    let refusal = directory.refusal();
    assert!(refusal.contains("store.redb"), "{refusal}");
    fs::remove_file(&directory.0).unwrap();
}

#[test]
fn what_the_application_did_is_there_after_a_restart() {
    let directory = Directory::new("api");
    let mut config = directory.config();
    config.api.keys = vec![api_key("tests", API_KEY)];
    let server = TestServer::start(config.clone());
    let publish = json!({"userId": "robot", "conversationId": "lobby", "content": "first", "tempId": "t1"});
    // Nobody is a member there.
    let ack = server.api("publish", publish.clone());
    server.api("join", json!({"userId": "ann", "conversationId": "team"}));
    server.stop();
    let server = TestServer::start(config);
    assert_eq!(server.api("history", json!({"conversationId": "lobby"}))["messages"][0]["messageId"], ack["messageId"]);
    let again = server.api("publish", publish);
    assert_eq!((&again["duplicate"], &again["messageId"]), (&json!(true), &ack["messageId"]));
    assert_eq!(server.user("ann").success["rooms"][0]["conversationId"], "team");
}
