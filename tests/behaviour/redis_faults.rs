//! Bad weather at Redis: whatever is acknowledged stays, all nodes keep one order, and service comes back by itself.

use std::collections::BTreeSet;

use deadpool_redis::redis;
use serde_json::{Value, json};

use crate::common::{Client, TestServer, config, until};
use crate::two_nodes::Nodes;
use crate::two_nodes::servers::{Cluster, Server};

/// Sends until something is acknowledged; the data of the acknowledgement.
fn say_at_last(client: &mut Client, temp_id: &str) -> Value {
    until("it is acknowledged", || {
        let message = json!({"conversationId": "lobby", "content": temp_id, "tempId": temp_id});
        let id = client.ask("send-message", message);
        let answer = client.answer(&id);
        if answer["event"] == "error" {
            assert_eq!(answer["data"]["retryable"], true, "{answer}");
        }
        (answer["event"] == "message-ack").then(|| answer["data"].clone())
    })
}

/// Takes messages until one with this id has come; each with its place.
fn up_to(client: &mut Client, last: &Value) -> Vec<(u64, String)> {
    let mut heard = Vec::new();
    loop {
        let message = client.message();
        heard.push((message["seq"].as_u64().unwrap(), message["messageId"].as_str().unwrap().to_owned()));
        if message["messageId"] == last["messageId"] {
            return heard;
        }
    }
}

/// Says something again and again while something happens; then both have heard all of it, once and in order.
fn while_talking(nodes: &Nodes, happens: impl Fn(usize)) {
    let (mut ann, mut bob) = (nodes.member(0, "ann"), nodes.member(1, "bob"));
    let mut acknowledged = Vec::new();
    for number in 0..300 {
        happens(number);
        acknowledged.push(say_at_last(&mut ann, &number.to_string()));
    }
    let last = acknowledged.last().unwrap().clone();
    let ids: Vec<&str> = acknowledged.iter().map(|ack| ack["messageId"].as_str().unwrap()).collect();
    let (of_ann, of_bob) = (up_to(&mut ann, &last), up_to(&mut bob, &last));
    assert_eq!(of_ann, of_bob);
    assert!(of_bob.windows(2).all(|pair| pair[0].0 < pair[1].0));
    let heard: Vec<&str> = of_bob.iter().map(|(_, id)| &**id).filter(|id| ids.contains(id)).collect();
    assert_eq!(heard, ids, "all that was acknowledged, once and in order");
    assert_eq!(of_bob.len(), of_bob.iter().map(|(_, id)| id).collect::<BTreeSet<_>>().len());
}

#[test]
fn cut_channels_lose_nothing() {
    let nodes = Nodes::start(2);
    while_talking(&nodes, |number| {
        if number % 30 == 10 {
            let _killed: redis::RedisResult<u64> = nodes.redis.try_ask("CLIENT KILL TYPE pubsub");
        }
    });
}

#[test]
fn cut_connections_lose_nothing() {
    let nodes = Nodes::start(2);
    while_talking(&nodes, |number| {
        if number % 100 == 50 {
            let _killed: redis::RedisResult<u64> = nodes.redis.try_ask("CLIENT KILL TYPE normal SKIPME yes");
        }
    });
}

#[test]
fn a_redis_that_stands_still_is_noticed_and_comes_back() {
    let nodes = Nodes::start(2);
    let (mut ann, mut bob) = (nodes.member(0, "ann"), nodes.member(1, "bob"));
    nodes.redis.freeze();
    ann.refused("STORE_UNAVAILABLE", "send-message", json!({"conversationId": "lobby", "content": "x", "tempId": "1"}));
    until("it is noticed", || (nodes.nodes[0].admin("/readyz").status == 503).then_some(()));
    nodes.redis.thaw();
    let first = say_at_last(&mut ann, "1");
    let second = say_at_last(&mut ann, "2");
    let heard = up_to(&mut bob, &second);
    assert_eq!(
        heard.iter().filter(|(_, id)| *id == first["messageId"]).count(),
        1,
        "once, whatever came of the first try"
    );
    until("it is well", || (nodes.nodes[0].admin("/readyz").status == 200).then_some(()));
}

#[test]
fn a_redis_that_lost_all_has_another_log_and_everyone_is_told() {
    let mut nodes = Nodes::start(2);
    let (mut ann, mut bob) = (nodes.member(0, "ann"), nodes.member(1, "bob"));
    let epoch = ann.say("lobby", "gone")["epoch"].clone();
    nodes.redis.kill();
    nodes.redis.restart();
    let resync = bob.push_after_others("resync");
    assert_eq!(resync["conversationId"], "lobby");
    assert_ne!(resync["epoch"], epoch);
    let joined = until("ann is in again", || {
        let id = ann.ask("join-room", json!({"conversationId": "lobby", "since": {"epoch": epoch, "seq": 1}}));
        let answer = ann.answer(&id);
        (answer["event"] == "room-joined").then(|| answer["data"].clone())
    });
    assert_eq!(joined["recovered"], false);
    let sent = ann.say("lobby", "new");
    assert_eq!(sent["epoch"], joined["epoch"]);
}

#[test]
fn what_is_replicated_waits_for_its_replica() {
    let master = Server::start();
    let replica = Server::replica_of(&master);
    let mut config = config();
    let redis = stentor::config::Redis { replicas_min: 1, ..stentor::config::Redis::at(master.url()) };
    config.redis = Some(redis);
    let server = TestServer::start(config.clone());
    let mut ann = server.user("ann");
    assert_eq!(ann.success["server"]["durability"], "replicated");
    until("ann is in", || (ann.call("join-room", json!("lobby"))["event"] == "room-joined").then_some(()));
    say_at_last(&mut ann, "0");
    replica.freeze();
    let message = json!({"conversationId": "lobby", "content": "x", "tempId": "1"});
    ann.refused("STORE_UNAVAILABLE", "send-message", message.clone());
    ann.refused("STORE_UNAVAILABLE", "send-message", message);
    replica.thaw();
    let sent = say_at_last(&mut ann, "1");
    assert_eq!(sent["duplicate"], true, "it was there, but nobody had been promised so");
    drop(server);
    config.redis.as_mut().unwrap().replicas_min = 2;
    assert!(TestServer::try_start(config).is_err(), "there are not so many");
}

#[test]
fn every_key_ends_or_has_an_owner() {
    let nodes = Nodes::start(2);
    let (mut ann, bob) = (nodes.member(0, "ann"), nodes.member(1, "bob"));
    ann.post(json!({"conversationId": "lobby", "content": "x", "tempId": "t"}));
    ann.ok("typing-start", json!({"conversationId": "lobby"}));
    bob.close();
    // Looked after: by memberships, by the reaper, or by their times.
    let owned = [
        "room:lobby:meta",
        "room:lobby:members",
        "room:lobby:cursors",
        "room:lobby:live",
        "room:lobby:users",
        "user:ann:rooms",
        "user:bob:rooms",
        "user:ann:nodes",
        "user:bob:nodes",
        "stentor:nodes",
    ];
    let keys: Vec<String> = nodes.redis.ask("KEYS *");
    assert!(keys.len() > 10, "{keys:?}");
    let mut connection = nodes.redis.connect();
    for key in keys.iter().filter(|key| !key.starts_with("stentor:node:")) {
        let ttl: i64 = redis::cmd("PTTL").arg(key).query(&mut connection).unwrap();
        assert!(ttl != -1 || owned.contains(&&**key), "{key} stays for ever");
    }
    // As S1 reads them.
    let users: BTreeSet<String> = nodes.redis.ask("SMEMBERS user:ann:rooms");
    assert_eq!(users, BTreeSet::from(["lobby".to_owned()]));
    let presence: String = nodes.redis.ask("GET presence:ann");
    let presence: Value = serde_json::from_str(&presence).unwrap();
    assert_eq!((&presence["userId"], &presence["status"]), (&json!("ann"), &json!("online")));
    assert!(presence["lastSeenAt"].is_u64() && presence["socketIds"].as_array().unwrap().len() == 1, "{presence}");
    let typing: String = nodes.redis.ask("GET typing:lobby:ann");
    assert_eq!(serde_json::from_str::<Value>(&typing).unwrap()["isTyping"], true);
}

#[test]
fn a_cluster_does_what_one_server_does() {
    let cluster = Cluster::start(3, 0);
    let mut config = config();
    config.redis = Some(stentor::config::Redis::at(cluster.url()));
    let nodes = [TestServer::start(config.clone()), TestServer::start(config)];
    let (mut ann, mut bob) = (nodes[0].member("ann", "lobby"), nodes[1].member("bob", "lobby"));
    ann.hears_all = true;
    ann.reply_named("presence-status", "subscribe-presence", json!({"userIds": ["bob", "cid"]}));
    let sent = ann.say("lobby", "hello");
    assert_eq!(bob.message()["messageId"], sent["messageId"]);
    bob.ok("presence-update", json!({"status": "busy"}));
    assert_eq!(ann.push_after_others("presence")["status"], "busy");
    bob.ok("typing-start", json!({"conversationId": "lobby"}));
    assert_eq!(ann.push_after_others("typing")["userId"], "bob");
    let mut phone = nodes[0].user("bob");
    bob.join("den");
    assert_eq!(phone.push_after_others("room-joined")["conversationId"], "den");
}
