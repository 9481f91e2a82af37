//! Section E, logs: what the program writes about the connections of one user, and what it never writes.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::common::{Handshake, SECRET, Scratch, Token};

#[test]
fn s1_66_s1_82_who_comes_authenticates_joins_leaves_and_goes_is_in_the_log() {
    let scratch = Scratch::new();
    let file = scratch.path("stentor.toml");
    let text = format!(
        "listen = \"127.0.0.1:0\"\nshards = 1\ndata_directory = {:?}\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [log]\nformat = \"json\"\n[timing]\ndrain_ms = 0\n[[auth.keys]]\nalgorithm = \"HS256\"\nsecret = {SECRET:?}\n",
        scratch.path("data")
    );
    std::fs::write(&file, text).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_stentor"));
    let mut program = program.args(["serve", "--config"]).arg(&file).env_remove("JWT_SECRET");
    program = program.stderr(Stdio::piped()).stdout(Stdio::null());
    let mut process = program.spawn().unwrap();
    let lines = BufReader::new(process.stderr.take().unwrap()).lines().map(|line| line.unwrap());
    let mut log =
        lines.map(|line| serde_json::from_str::<Value>(&line).unwrap_or_else(|error| panic!("{error}: {line}")));
    let listening = log.find(|line| line["message"] == "listening").expect("it says where it listens");
    let address: SocketAddr = listening["client"].as_str().unwrap().parse().unwrap();

    Handshake::to(address).bearer("token-that-is-bad").refused();
    let mut failing = Handshake::to(address).upgrade();
    failing.refused("AUTH_FAILED", "auth", json!("token-that-is-bad"));
    failing.closed(4001);
    let token = Token::of("ann").sign();
    let mut ann = Handshake::to(address).bearer(&token).upgrade();
    ann.push("auth-success");
    ann.join("lobby");
    ann.say("lobby", "content-of-ann");
    ann.refused("MESSAGE_NOT_FOUND", "delete-message", json!({"conversationId": "lobby", "messageId": "none"}));
    ann.leave("lobby");
    ann.close();
    // Whatever it has to say is said when it has ended.
    kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
    let log: Vec<Value> = log.collect();
    assert!(process.wait().unwrap().success());

    let find = |message: &str, user: &str| {
        let found = log.iter().find(|line| line["message"] == message && (user.is_empty() || line["user"] == user));
        found.unwrap_or_else(|| panic!("no line says {message:?} of {user:?}: {log:#?}"))
    };
    let conn = &find("authenticated", "ann")["conn"];
    assert!(conn.is_string() || conn.is_u64(), "{conn}");
    for message in ["joined", "left"] {
        let line = find(message, "ann");
        assert_eq!((&line["conn"], &line["room"]), (conn, &json!("lobby")), "{line}");
    }
    let refused = find("refused", "ann");
    let about = ["conn", "room", "event", "code"].map(|field| refused[field].clone());
    assert_eq!(about, [conn.clone(), json!("lobby"), json!("delete-message"), json!("MESSAGE_NOT_FOUND")]);
    for message in ["connected", "disconnected"] {
        assert!(log.iter().any(|line| line["message"] == message && line["conn"] == *conn), "{message}: {log:#?}");
    }
    assert!(!find("authentication failed", "")["result"].is_null());
    assert!(!find("handshake refused", "")["reason"].is_null());
    let whole = format!("{log:?}");
    for secret in [SECRET, &token, "token-that-is-bad", "content-of-ann"] {
        assert!(!whole.contains(secret), "{secret}");
    }
}
