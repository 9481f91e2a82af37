//! Two servers on one Redis: what is promised of one holds across both.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use stentor::config::{Config, Redis};

use crate::common::{Client, TestServer, config, until, with_api};

#[path = "../redis/servers.rs"]
#[allow(dead_code, reason = "the tests of the connection layer use the rest")]
pub(crate) mod servers;

/// Servers that share a Redis, which ends after them.
pub(crate) struct Nodes {
    pub(crate) nodes: Vec<TestServer>,
    pub(crate) redis: servers::Server,
}

impl Nodes {
    pub(crate) fn start(count: usize) -> Self {
        Self::with(count, config())
    }

    pub(crate) fn with(count: usize, config: Config) -> Self {
        Self::on(servers::Server::start(), count, config)
    }

    pub(crate) fn on(redis: servers::Server, count: usize, mut config: Config) -> Self {
        config.redis = Some(Redis { lease_ms: 300, ..Redis::at(redis.url()) });
        config.timing.receipt_coalesce_ms = 0;
        let nodes = (0..count).map(|_| TestServer::start(config.clone())).collect();
        Self { nodes, redis }
    }

    pub(crate) fn member(&self, node: usize, user: &str) -> Client {
        self.nodes[node].member(user, "lobby")
    }
}

fn content(message: &Value) -> String {
    message["content"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_said_on_one_node_is_heard_on_the_other() {
    let nodes = Nodes::start(2);
    let (mut ann, mut bob) = (nodes.member(0, "ann"), nodes.member(1, "bob"));
    let sent = ann.say("lobby", "hello");
    let heard = bob.message();
    assert_eq!(
        (&heard["messageId"], &heard["seq"], &heard["epoch"]),
        (&sent["messageId"], &sent["seq"], &sent["epoch"])
    );
    assert_eq!(heard["userId"], "ann");
    let answer = bob.say("lobby", "hi");
    assert_eq!(ann.message()["messageId"], sent["messageId"], "the sender gets it too");
    assert_eq!(ann.message()["messageId"], answer["messageId"]);
    assert_eq!(bob.history(json!({"conversationId": "lobby"}))["messages"].as_array().unwrap().len(), 2);
    assert_eq!(ann.online("lobby"), ["ann", "bob"]);
}

#[test]
fn all_nodes_have_one_order_whoever_sends() {
    const EACH: usize = 200;
    let nodes = Nodes::start(3);
    let mut clients: Vec<Client> = (0..6).map(|at| nodes.member(at % 3, &format!("user-{at}"))).collect();
    let orders: Vec<Vec<(u64, String)>> = std::thread::scope(|scope| {
        let running: Vec<_> = clients
            .iter_mut()
            .enumerate()
            .map(|(at, client)| {
                scope.spawn(move || {
                    let mut heard = Vec::new();
                    for number in 0..EACH {
                        let id = client.ask("send-message", json!({
                            "conversationId": "lobby", "content": format!("{at}/{number}"), "tempId": format!("{number}"),
                        }));
                        assert_eq!(client.answer(&id)["event"], "message-ack");
                    }
                    while heard.len() < 6 * EACH {
                        let message = client.message();
                        heard.push((message["seq"].as_u64().unwrap(), content(&message)));
                    }
                    heard
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let first = &orders[0];
    assert!(first.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0), "without holes");
    assert!(orders.iter().all(|order| order == first), "one order");
    assert_eq!(first.iter().map(|(_, content)| content).collect::<BTreeSet<_>>().len(), 6 * EACH);
}

#[test]
fn devices_of_one_user_on_different_nodes_are_one_user() {
    let nodes = Nodes::start(2);
    let mut phone = nodes.nodes[0].device("ann", json!({"deviceId": "phone"}));
    let mut laptop = nodes.nodes[1].device("ann", json!({"deviceId": "laptop"}));
    phone.join("lobby");
    assert_eq!(laptop.push_after_others("room-joined")["conversationId"], "lobby");
    let sent = phone.post(json!({"conversationId": "lobby", "content": "x", "tempId": "t"}));
    assert_eq!(laptop.message()["messageId"], sent["messageId"]);
    let again = laptop.post(json!({"conversationId": "lobby", "content": "x", "tempId": "t"}));
    assert_eq!((&again["duplicate"], &again["messageId"]), (&json!(true), &sent["messageId"]));
    laptop.leave("lobby");
    assert_eq!(phone.push_after_others("room-left")["reason"], "left");
    phone.refused("NOT_A_MEMBER", "send-message", json!({"conversationId": "lobby", "content": "x"}));
}

#[test]
fn receipts_reach_the_author_on_another_node() {
    let nodes = Nodes::start(2);
    let mut ann = nodes.member(0, "ann");
    ann.hears_all = true;
    let mut bob = nodes.member(1, "bob");
    let sent = ann.say("lobby", "hello");
    bob.message();
    bob.ok("mark-read", json!({"conversationId": "lobby", "upTo": sent["seq"]}));
    let receipt = loop {
        let receipt = ann.push_after_others("receipt");
        if receipt["type"] == "seen" {
            break receipt;
        }
    };
    assert_eq!((&receipt["userId"], &receipt["upTo"]), (&json!("bob"), &sent["seq"]));
    let question = json!({"conversationId": "lobby", "messageId": sent["messageId"]});
    assert_eq!(ann.reply_named("message-status", "get-message-status", question)["status"], "read");
}

#[test]
fn what_was_missed_waits_on_every_node() {
    let nodes = Nodes::start(2);
    let (mut ann, bob) = (nodes.member(0, "ann"), nodes.member(1, "bob"));
    let delivered = bob.success["rooms"].clone();
    assert_eq!(delivered, json!([]));
    bob.close();
    let sent: Vec<Value> = (0..5).map(|number| ann.say("lobby", number.to_string())).collect();
    let mut back = nodes.nodes[0].device("bob", json!({}));
    for message in &sent {
        let missed = back.message();
        assert_eq!((&missed["messageId"], &missed["queued"]), (&message["messageId"], &json!(true)));
    }
    let edited = json!({"conversationId": "lobby", "messageId": sent[0]["messageId"], "content": "new"});
    ann.ok("edit-message", edited);
    assert_eq!(back.push_after_others("message-edited")["content"], "new");
    ann.ok("delete-message", json!({"conversationId": "lobby", "messageId": sent[0]["messageId"]}));
    assert_eq!(back.push_after_others("message-deleted")["messageId"], sent[0]["messageId"]);
}

#[test]
fn presence_and_typing_go_across() {
    let nodes = Nodes::start(2);
    let mut ann = nodes.member(0, "ann");
    ann.hears_all = true;
    let statuses = ann.reply_named("presence-status", "subscribe-presence", json!({"userIds": ["bob"]}));
    assert_eq!(statuses["users"][0]["status"], "offline");
    let mut bob = nodes.member(1, "bob");
    assert_eq!(ann.push_after_others("presence")["status"], "online");
    bob.ok("typing-start", json!({"conversationId": "lobby"}));
    assert_eq!(ann.push_after_others("typing")["userId"], "bob");
    let question = json!({"conversationId": "lobby"});
    assert_eq!(ann.reply_named("typing-users", "get-typing-users", question)["users"], json!(["bob"]));
    bob.say("lobby", "done");
    assert_eq!(ann.push_after_others("typing-stop")["userId"], "bob");
    bob.ok("presence-update", json!({"status": "busy"}));
    assert_eq!(ann.push_after_others("presence")["status"], "busy");
    let question = json!({"userIds": ["bob", "ann", "nobody"]});
    let statuses = ann.reply_named("presence-status", "get-presence", question);
    let of = |at: usize| statuses["users"][at]["status"].clone();
    assert_eq!((of(0), of(1), of(2)), (json!("busy"), json!("online"), json!("offline")));
    bob.close();
    assert_eq!(ann.push_after_others("presence")["status"], "offline");
}

#[test]
fn a_users_connections_are_counted_on_all_nodes() {
    let mut config = config();
    config.limits.connections_per_user_max = 2;
    let nodes = Nodes::with(2, config);
    let (_first, second) = (nodes.nodes[0].user("ann"), nodes.nodes[1].user("ann"));
    let mut third = nodes.nodes[0].connect();
    let id = third.ask("auth", json!({"token": crate::common::Token::of("ann").sign()}));
    assert_eq!(third.answer(&id)["data"]["code"], "LIMIT_EXCEEDED");
    third.closed(4105);
    second.close();
    until("there is room again", || {
        let mut next = nodes.nodes[0].connect();
        let id = next.ask("auth", json!({"token": crate::common::Token::of("ann").sign()}));
        (next.answer(&id)["event"] == "auth-success").then_some(())
    });
}

#[test]
fn the_server_api_speaks_to_all_nodes() {
    let nodes = Nodes::with(2, with_api());
    let mut bob = nodes.member(1, "bob");
    let body = json!({"conversationId": "lobby", "userId": "bot", "content": "news"});
    let sent = nodes.nodes[0].api("publish", body);
    assert_eq!(bob.message()["messageId"], sent["messageId"]);
    nodes.nodes[0].api("leave", json!({"conversationId": "lobby", "userId": "bob"}));
    assert_eq!(bob.push_after_others("room-left")["reason"], "removed");
}

#[test]
fn while_redis_is_away_nothing_is_acknowledged_and_afterwards_nothing_is_missing() {
    let mut nodes = Nodes::on(servers::Server::durable(), 2, config());
    let (mut ann, mut bob) = (nodes.member(0, "ann"), nodes.member(1, "bob"));
    let before = ann.say("lobby", "before");
    nodes.redis.kill();
    ann.refused(
        "STORE_UNAVAILABLE",
        "send-message",
        json!({"conversationId": "lobby", "content": "lost", "tempId": "1"}),
    );
    nodes.redis.restart();
    let after = until("it is back", || {
        let id = ann.ask("send-message", json!({"conversationId": "lobby", "content": "after", "tempId": "2"}));
        let answer = ann.answer(&id);
        (answer["event"] == "message-ack").then(|| answer["data"].clone())
    });
    for sent in [before, after] {
        assert_eq!(bob.message()["messageId"], sent["messageId"]);
        assert_eq!(ann.message()["messageId"], sent["messageId"]);
    }
}

#[test]
fn what_a_dead_node_left_is_taken_away() {
    let nodes = Nodes::start(1);
    let mut ann = nodes.member(0, "ann");
    ann.hears_all = true;
    let bob = nodes.member(0, "bob");
    ann.reply_named("presence-status", "subscribe-presence", json!({"userIds": ["bob"]}));
    assert_eq!(ann.online("lobby"), ["ann", "bob"]);
    bob.close();
    until("bob is gone", || (ann.push_after_others("presence")["status"] == "offline").then_some(()));
    // A node of which nobody knows more than what it wrote, and that renews nothing.
    let mut redis = nodes.redis.connect();
    let mut ask = |words: &[&str]| {
        let (name, arguments) = words.split_first().unwrap();
        deadpool_redis::redis::cmd(name).arg(arguments).exec(&mut redis).unwrap();
    };
    ask(&["HSET", "user:bob:nodes", "ghost", "1\u{1f}online\u{1f}"]);
    ask(&["HSET", "room:lobby:live", "bob", " ghost "]);
    ask(&["SADD", "room:lobby:users", "bob"]);
    ask(&["SADD", "stentor:node:ghost:users", "bob"]);
    ask(&["SADD", "stentor:node:ghost:rooms", "lobby"]);
    ask(&["ZADD", "stentor:nodes", "1", "ghost"]);
    assert_eq!(ann.push_after_others("presence")["status"], "offline");
    until("bob is in the room no more", || (ann.online("lobby") == ["ann"]).then_some(()));
}
