//! Verdicts: what plugins said of rights in rooms holds for as long as it should, and no longer.

use serde_json::{Value, json};
use stentor::config::{Config, OnFailure, Plugin};

use crate::common::{Client, TestServer, Token, config, obedient, plugin, until, with_plugins};

const HOUR_MS: u64 = 3_600_000;

fn allowing(cache_ms: u64) -> Config {
    with_plugins(vec![obedient("p", json!({"authorize": "allow", "cache_ms": cache_ms}))])
}

/// Everything is allowed but this, each an action and a pattern of rooms.
fn but(denied: &[&str]) -> Vec<Plugin> {
    vec![obedient("p", json!({"authorize": "deny-actions", "deny": denied}))]
}

/// The bundled access list.
fn acl(rules: &Value) -> Plugin {
    let config = json!({"rules": rules}).as_object().unwrap().clone();
    Plugin { config, wait_ms_max: 60_000, call_ms_max: 500, ..Plugin::new("acl", "bundled:room-acl") }
}

/// How often the plugin said yes.
fn yeses(server: &TestServer) -> f64 {
    server.calls("p", "authorize", "allow")
}

/// Questions that a remembered verdict answered, and the others.
fn hits_and_misses(server: &TestServer) -> (f64, f64) {
    let series = |result: &str| format!("stentor_authorize_cache_total{{result=\"{result}\"}}");
    (server.metric(&series("hit")), server.metric(&series("miss")))
}

fn renew(client: &mut Client, token: &Token) {
    client.success = client.reply_named("auth-success", "auth", json!({"token": token.sign()}));
}

fn refused_as_told(client: &mut Client, code: &str, event: &str, data: Value) {
    let refusal = client.refused(code, event, data);
    assert_eq!(
        (&refusal["plugin"], &refusal["reason"], &refusal["retryable"]),
        (&json!("p"), &json!("as_told"), &json!(false)),
        "{refusal}"
    );
}

/// Sends until the plugin is asked once more than it was.
fn asked_again(server: &TestServer, client: &mut Client, why: &str) {
    let before = yeses(server);
    until(why, || {
        client.say("lobby", "hello");
        (yeses(server) > before).then_some(())
    });
}

// Remembering

#[test]
fn an_answer_is_asked_for_once() {
    let server = TestServer::start(allowing(HOUR_MS));
    let mut ann = server.member("ann", "lobby");
    for _ in 0..5 {
        ann.say("lobby", "hello");
        ann.online("lobby");
    }
    // To join, to send, and to see who is there.
    assert_eq!(yeses(&server), 3.0);
    assert_eq!(hits_and_misses(&server), (8.0, 3.0));
    // Of another room, and of another connection, nothing is known yet.
    ann.join("other");
    ann.say("other", "hello");
    let mut again = server.member("ann", "lobby");
    again.say("lobby", "hello");
    assert_eq!(
        yeses(&server),
        3.0 + 2.0 + 6.0,
        "the second connection is asked about the two rooms and what was said there, the join, the send"
    );
}

#[test]
fn an_answer_that_holds_for_no_time_is_asked_for_every_time() {
    let server = TestServer::start(allowing(0));
    let mut ann = server.member("ann", "lobby");
    for _ in 0..5 {
        ann.say("lobby", "hello");
    }
    assert_eq!((yeses(&server), hits_and_misses(&server)), (6.0, (0.0, 6.0)));
}

#[test]
fn of_several_links_the_shortest_time_counts() {
    let abstains = obedient("q", json!({"authorize": "abstain", "cache_ms": 0}));
    let mut config = allowing(HOUR_MS);
    config.plugins.insert(0, abstains);
    let server = TestServer::start(config);
    let mut ann = server.member("ann", "lobby");
    for _ in 0..3 {
        ann.say("lobby", "hello");
    }
    assert_eq!((yeses(&server), hits_and_misses(&server).0), (4.0, 0.0));
}

#[test]
fn what_is_right_only_without_a_plugin_that_failed_is_not_remembered() {
    let mut config = allowing(HOUR_MS);
    let failing = obedient("q", json!({"authorize": "error"}));
    config.plugins.insert(0, Plugin { on_failure: OnFailure::Open, ..failing });
    let server = TestServer::start(config);
    let mut ann = server.member("ann", "lobby");
    for _ in 0..3 {
        ann.say("lobby", "hello");
    }
    assert_eq!((yeses(&server), hits_and_misses(&server).0), (4.0, 0.0));
}

// Forgetting

#[test]
fn an_answer_ends_with_its_time() {
    let server = TestServer::start(allowing(20));
    let mut ann = server.member("ann", "lobby");
    ann.say("lobby", "hello");
    asked_again(&server, &mut ann, "the plugin's own time is over");
    // And with the operator's, if that is shorter.
    let mut config = allowing(HOUR_MS);
    config.auth.verdict_ms_max = 20;
    server.reload(config);
    ann.say("lobby", "hello");
    asked_again(&server, &mut ann, "the operator's time is over");
}

/// What the plugin counts: its message is how often this instance was asked.
fn count(client: &mut Client) -> String {
    let refusal = client.refused("JOIN_ROOM_FAILED", "join-room", json!({"conversationId": "lobby"}));
    assert_eq!(refusal["reason"], "counted");
    refusal["message"].as_str().unwrap().to_owned()
}

#[test]
fn a_no_is_remembered_no_longer_than_the_operator_allows() {
    let counting = || with_plugins(vec![obedient("p", json!({"authorize": "count", "cache_ms": HOUR_MS}))]);
    let mut config = counting();
    config.auth.denial_ms_max = HOUR_MS;
    let server = TestServer::start(config);
    let mut ann = server.user("ann");
    for _ in 0..5 {
        assert_eq!(count(&mut ann), "1");
    }
    assert_eq!(hits_and_misses(&server), (4.0, 1.0));
    let mut config = counting();
    config.auth.denial_ms_max = 0;
    server.reload(config);
    for calls in 1..5 {
        assert_eq!(count(&mut ann), calls.to_string());
    }
    let mut config = counting();
    config.auth.denial_ms_max = 20;
    server.reload(config);
    assert_eq!(count(&mut ann), "1");
    until("the no is asked for again", || (count(&mut ann) != "1").then_some(()));
}

#[test]
fn an_answer_ends_with_the_configuration() {
    let server = TestServer::start(allowing(HOUR_MS));
    let mut ann = server.member("ann", "lobby");
    ann.say("lobby", "hello");
    for _ in 0..3 {
        let before = yeses(&server);
        server.reload(allowing(HOUR_MS));
        ann.say("lobby", "hello");
        ann.say("lobby", "hello");
        assert_eq!(yeses(&server), before + 1.0);
    }
    // What held before a reload does not come back by another one.
    server.reload(with_plugins(but(&["send:*"])));
    refused_as_told(&mut ann, "FORBIDDEN", "send-message", json!({"conversationId": "lobby", "content": 1}));
    server.reload(config());
    ann.say("lobby", "hello");
    server.reload(with_plugins(but(&["send:*"])));
    refused_as_told(&mut ann, "FORBIDDEN", "send-message", json!({"conversationId": "lobby", "content": 1}));
}

#[test]
fn an_answer_ends_with_the_connections_token() {
    let server = TestServer::start(allowing(HOUR_MS));
    let (mut ann, mut other) = (server.member("ann", "lobby"), server.user("ann"));
    for client in [&mut ann, &mut other] {
        client.say("lobby", "hello");
    }
    let before = yeses(&server);
    renew(&mut ann, &Token::of("ann"));
    assert_eq!(yeses(&server), before + 1.0, "may it still be in the room?");
    other.say("lobby", "hello");
    assert_eq!(yeses(&server), before + 1.0, "the other connection's token is as it was");
    ann.say("lobby", "hello");
    assert_eq!(yeses(&server), before + 2.0);
}

/// A plugin that is made to forget by whoever joins a room with `trigger` in its name.
fn forgetful(whom: &Value) -> Config {
    let mut told =
        json!({"authorize": "forget", "trigger": true, "otherwise": {"authorize": "allow"}, "cache_ms": HOUR_MS});
    if !whom.is_null() {
        told["forget"] = whom.clone();
    }
    with_plugins(vec![obedient("p", told)])
}

#[test]
fn an_answer_ends_when_a_plugin_wants_it_forgotten() {
    // Whose verdicts: those of whoever asks, somebody's by name, everybody's.
    for (whom, forgets_ann, forgets_cid) in [
        (Value::Null, false, false),
        (json!("ann"), true, false),
        (json!(""), true, true),
        (json!("nobody"), false, false),
    ] {
        let server = TestServer::start(forgetful(&whom));
        let (mut ann, mut bob, mut cid) =
            (server.member("ann", "lobby"), server.member("bob", "lobby"), server.member("cid", "lobby"));
        for client in [&mut ann, &mut bob, &mut cid] {
            client.say("lobby", "hello");
        }
        bob.join("trigger");
        for (client, forgotten) in
            [(&mut ann, forgets_ann), (&mut cid, forgets_cid), (&mut bob, whom.is_null() || whom == "")]
        {
            if forgotten {
                asked_again(&server, client, "the answer is forgotten");
            }
            let before = yeses(&server);
            client.say("lobby", "hello");
            assert_eq!(yeses(&server), before, "{whom}: what is remembered stays so");
        }
    }
}

/// A plugin that is long about an action in a room, for so many turns, and then allows it.
fn slow(turns: u64, action: &str, room: &str) -> Plugin {
    let interest = json!({"events": [action], "rooms": [room]});
    let slow = json!({"authorize": "slow", "turns": turns, "cache_ms": HOUR_MS, "interest": interest});
    Plugin { call_ms_max: 1_000, ..obedient("slow", slow) }
}

/// Turns that take some tenths of a second.
const LONG: u64 = 100_000_000;

/// Asks a slow plugin, lets something happen while the answer is on its way, and tells how often it is asked after that.
fn asked_after(server: &TestServer, meanwhile: impl FnOnce()) -> f64 {
    let mut ann = server.member("ann", "lobby");
    let misses = hits_and_misses(server).1;
    let asked = ann.ask("send-message", json!({"conversationId": "lobby", "content": "hello"}));
    until("the plugin is asked", || (hits_and_misses(server).1 > misses).then_some(()));
    meanwhile();
    // On a busy machine the call may end for its time, which comes to the same here: there is nothing to remember.
    ann.answer(&asked);
    let misses = hits_and_misses(server).1;
    ann.call("send-message", json!({"conversationId": "lobby", "content": "hello"}));
    hits_and_misses(server).1 - misses
}

#[test]
fn an_answer_that_is_overtaken_is_not_remembered() {
    let mut config = forgetful(&json!("ann"));
    config.plugins.insert(0, slow(LONG, "send", "lobby"));
    let server = TestServer::start(config.clone());
    let mut bob = server.user("bob");
    let forget = || {
        bob.join("trigger");
    };
    assert_eq!(asked_after(&server, forget), 1.0, "it was asked before the answer was to be forgotten");
    assert_eq!(asked_after(&server, || server.reload(config)), 1.0, "it was asked before the configuration changed");
}

#[test]
fn an_answer_about_an_old_token_does_not_count_for_the_new_one() {
    // Who leads a room is let in at once, who is barred from it is not, and about others the next link thinks for long.
    let rules = json!([{"rooms": ["{lead}"]}, {"rooms": ["{barred}"], "join": "nobody"}]);
    let server = TestServer::start(with_plugins(vec![acl(&rules), slow(LONG, "join", "plans")]));
    let (mut phone, mut desk) =
        (server.user("ann"), server.with_token(&Token::of("ann").claim("lead", "plans"), json!({})));
    let misses = hits_and_misses(&server).1;
    desk.join("plans");
    until("it is asked whether the phone may follow", || (hits_and_misses(&server).1 > misses + 1.0).then_some(()));
    renew(&mut phone, &Token::of("ann").claim("barred", "plans"));
    assert_eq!(rooms(&phone), [""; 0]);
    let answers =
        || ["allow", "cpu_timeout"].map(|outcome| server.calls("slow", "authorize", outcome)).iter().sum::<f64>();
    until("the answer comes", || (answers() == 1.0).then_some(()));
    phone.is_alive();
    desk.say("plans", "not for everybody");
    phone.nothing_came("plans");
}

#[test]
fn what_is_sent_while_a_plugin_is_asked_waits_for_its_turn() {
    let plugins =
        vec![slow(LONG / 20, "send", "lobby"), obedient("p", json!({"authenticate": "allow", "authorize": "allow"}))];
    let server = TestServer::start(with_plugins(plugins));
    let mut ann = server.connect();
    let token = Token::of("ann").sign();
    let mut asked =
        vec![ann.ask("auth", json!({"token": token})), ann.ask("join-room", json!({"conversationId": "lobby"}))];
    let send = |client: &mut Client, room: &str, number: u64| {
        client.ask("send-message", json!({"conversationId": room, "content": number, "noEcho": true}))
    };
    asked.push(ann.ask("join-room", json!({"conversationId": "other"})));
    asked.extend((0..4).map(|number| send(&mut ann, "lobby", number)));
    asked.extend((4..8).map(|number| send(&mut ann, "other", number)));
    let events: Vec<String> = asked
        .iter()
        .map(|id| {
            let answer = ann.next_answer();
            assert_eq!(answer["id"], **id, "answers come in the order of the questions: {answer}");
            answer["event"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(events[..3], ["auth-success", "room-joined", "room-joined"]);
    assert!(events[3..].iter().all(|event| event == "message-ack"), "{events:?}");
    // The same in one message, one request after the other.
    let request = |event: &str, data: Value| json!({"event": event, "id": event, "data": data}).to_string();
    let text = [
        request("auth", json!({"token": token})),
        request("send-message", json!({"conversationId": "lobby", "content": 8})),
        request("history", json!({"conversationId": "lobby"})),
    ];
    ann.send_text(&text.join("\n"));
    let answers = [(); 3].map(|()| ann.next_answer());
    assert_eq!(answers.each_ref().map(|answer| answer["id"].as_str().unwrap()), ["auth", "send-message", "history"]);
    let contents: Vec<&Value> =
        answers[2]["data"]["messages"].as_array().unwrap().iter().map(|message| &message["content"]).collect();
    assert_eq!(contents, [0, 1, 2, 3, 8]);
}

// Actions

#[test]
fn what_others_wrote_is_changed_by_whom_a_plugin_allows_it() {
    let filter = plugin("filter", "misbehaving.wasm", json!({"behaviour": "reject"}));
    let with_filter = |mut plugins: Vec<Plugin>| {
        plugins.push(filter.clone());
        with_plugins(plugins)
    };
    let server = TestServer::start(with_filter(but(&["edit:*", "delete:*"])));
    let (mut ann, mut bob) = (server.member("ann", "lobby"), server.member("bob", "lobby"));
    let id = ann.say("lobby", "first")["messageId"].clone();
    let edit = |content: &str| json!({"conversationId": "lobby", "messageId": id, "content": content});
    let calls = yeses(&server);
    assert_eq!(ann.ok("edit-message", edit("second"))["version"], 2);
    let mine = ann.say("lobby", "mine")["messageId"].clone();
    ann.ok("delete-message", json!({"conversationId": "lobby", "messageId": mine}));
    assert_eq!(
        (yeses(&server), server.calls("p", "authorize", "deny")),
        (calls + 1.0, 0.0),
        "their own, people may change"
    );
    refused_as_told(&mut bob, "FORBIDDEN", "edit-message", edit("third"));
    refused_as_told(&mut bob, "FORBIDDEN", "delete-message", edit(""));
    assert_eq!(bob.history(json!({"conversationId": "lobby"}))["messages"][0]["content"], "second");
    // With the right, a filter still has its say.
    server.reload(with_filter(but(&[])));
    assert_eq!(bob.refused("REJECTED", "edit-message", edit("trigger"))["plugin"], "filter");
    assert_eq!(bob.ok("edit-message", edit("third"))["version"], 3);
    let edited = ann.push_after_others("message-edited");
    let edited = if edited["content"] == "third" { edited } else { ann.push_after_others("message-edited") };
    assert_eq!((&edited["content"], &edited["messageId"]), (&json!("third"), &id));
    bob.ok("delete-message", edit(""));
    ann.push_after_others("message-deleted");
}

#[test]
fn nobody_changes_what_others_wrote_without_a_yes() {
    let failing = || Plugin { on_failure: OnFailure::Open, ..obedient("p", json!({"authorize": "error"})) };
    let abstains = || obedient("p", json!({}));
    for plugins in
        [vec![], vec![failing()], vec![abstains()], vec![failing(), Plugin { name: "q".to_owned(), ..abstains() }]]
    {
        let mut config = with_plugins(plugins);
        config.auth.when_all_abstain = stentor::config::AllAbstain::Allow;
        let server = TestServer::start(config);
        let (mut ann, mut bob) = (server.member("ann", "lobby"), server.member("bob", "lobby"));
        let id = ann.say("lobby", "first")["messageId"].clone();
        let of_ann = json!({"conversationId": "lobby", "messageId": id, "content": "second"});
        bob.refused("FORBIDDEN", "edit-message", of_ann.clone());
        bob.refused("FORBIDDEN", "delete-message", of_ann);
    }
}

#[test]
fn reading_and_presence_are_rights_of_their_own() {
    let server = TestServer::start(with_plugins(but(&["history:lobby", "presence:lobby"])));
    let mut ann = server.user("ann");
    let joined = ann.join("lobby");
    let before = joined["seq"].as_u64().unwrap();
    ann.say("lobby", "hello");
    let since = json!({"epoch": joined["epoch"], "seq": before});
    let lobby = json!({"conversationId": "lobby"});
    refused_as_told(&mut ann, "FORBIDDEN", "history", lobby.clone());
    refused_as_told(&mut ann, "FORBIDDEN", "get-online-users", lobby.clone());
    refused_as_told(&mut ann, "FORBIDDEN", "get-typing-users", lobby);
    // Whoever may not read what was said joins without it.
    let mut bob = server.user("bob");
    let joined = bob.join_since("lobby", since.clone());
    assert_eq!((&joined["recovered"], &joined["messages"]), (&json!(false), &json!([])));
    server.reload(with_plugins(but(&[])));
    assert_eq!(bob.join_since("lobby", since)["recovered"], true);
    assert_eq!(ann.online("lobby"), ["ann", "bob"]);
}

#[test]
fn who_may_not_read_recovers_nothing_on_the_way_in() {
    let server = TestServer::start(with_plugins(but(&["history:secret"])));
    let mut ann = server.user("ann");
    let heads = ["secret", "lobby"].map(|room| {
        let joined = ann.join(room);
        let since = json!({"epoch": joined["epoch"], "seq": joined["seq"]});
        ann.say(room, "missed");
        (room, since)
    });
    let since: serde_json::Map<String, Value> =
        heads.into_iter().map(|(room, since)| (room.to_owned(), since)).collect();
    let mut again = server.device("ann", json!({"since": since}));
    // What it missed there and may not see is not passed over in silence.
    let resync = again.push("resync");
    assert_eq!((&resync["conversationId"], &resync["reason"]), (&json!("secret"), &json!("unrecoverable")));
    let missed = again.push("message-new");
    assert_eq!((&missed["conversationId"], again.push("queue-flushed")["count"].as_u64()), (&json!("lobby"), Some(1)));
}

#[test]
fn sending_and_joining_are_refused_with_their_own_codes() {
    let server = TestServer::start(with_plugins(but(&["send:lobby", "join:closed"])));
    let (mut ann, mut bob) = (server.member("ann", "lobby"), server.member("bob", "lobby"));
    ann.push("member-joined");
    refused_as_told(&mut ann, "FORBIDDEN", "send-message", json!({"conversationId": "lobby", "content": 1}));
    refused_as_told(&mut ann, "JOIN_ROOM_FAILED", "join-room", json!({"conversationId": "closed"}));
    bob.nothing_came("lobby");
    // Who is not in a room is told so, whatever the plugins say.
    bob.refused("NOT_A_MEMBER", "send-message", json!({"conversationId": "closed", "content": 1}));
}

// Becoming live

/// Names of the rooms in which a connection is live.
fn rooms(client: &Client) -> Vec<&str> {
    let rooms = client.success["rooms"].as_array().unwrap().iter();
    let mut names: Vec<_> = rooms.map(|room| room["conversationId"].as_str().unwrap()).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_connection_is_live_only_where_its_user_may_be_now() {
    let server = TestServer::start(with_plugins(but(&[])));
    let mut ann = server.member("ann", "lobby");
    ann.join("closed");
    assert_eq!(rooms(&server.user("ann")), ["closed", "lobby"]);
    server.reload(with_plugins(but(&["join:closed"])));
    let (mut again, mut bob) = (server.user("ann"), server.user("bob"));
    assert_eq!(rooms(&again), ["lobby"]);
    // The first connection was let in when it was asked about, and stays.
    ann.say("closed", "hello");
    ann.push_after_others("message-new");
    again.nothing_came("closed");
    // Until it brings a new token.
    renew(&mut ann, &Token::of("ann"));
    assert_eq!(rooms(&ann), ["lobby"]);
    again.post(json!({"conversationId": "closed", "content": "nobody hears it"}));
    for client in [&mut ann, &mut again] {
        client.nothing_came("closed");
    }
    refused_as_told(&mut bob, "JOIN_ROOM_FAILED", "join-room", json!({"conversationId": "closed"}));
}

#[test]
fn a_renewed_token_that_allows_less_ends_liveness_however_it_began() {
    // Rooms of the staff are for those whose token says so.
    let rules = json!([{"rooms": ["staff"], "join": ["role=staff"]}, {"rooms": ["*"]}]);
    let server = TestServer::start(with_plugins(vec![acl(&rules)]));
    let staff = Token::of("ann").claim("role", "staff");
    for options in [json!({}), json!({"attach": false})] {
        let mut ann = server.with_token(&staff, options.clone());
        ann.join("staff");
        let mut bob = server.with_token(&Token::of("bob").claim("role", "staff"), json!({}));
        bob.join("staff");
        bob.say("staff", "heard");
        assert_eq!(ann.message()["content"], "heard");
        renew(&mut ann, &Token::of("ann").claim("role", "guest"));
        bob.say("staff", "not heard");
        ann.nothing_came("staff");
        // And one that allows it again makes it live again, if it is to be live wherever its user is.
        if options["attach"] != false {
            renew(&mut ann, &staff);
            bob.say("staff", "heard again");
            assert_eq!(ann.message()["content"], "heard again");
        }
    }
}

#[test]
fn a_room_joined_on_another_connection_is_followed_where_it_may_be() {
    let rules = json!([{"rooms": ["staff"], "join": ["role=staff"]}, {"rooms": ["*"]}]);
    let server = TestServer::start(with_plugins(vec![acl(&rules)]));
    let staff = Token::of("ann").claim("role", "staff");
    let (mut phone, mut desk) = (server.user("ann"), server.with_token(&staff, json!({})));
    let mut tablet = server.with_token(&staff, json!({}));
    desk.join("staff");
    assert_eq!(tablet.push("room-joined")["conversationId"], "staff");
    desk.join("lobby");
    // What comes first is of the room after: the first was not followed.
    assert_eq!(phone.push("room-joined")["conversationId"], "lobby");
    assert_eq!(tablet.push("room-joined")["conversationId"], "lobby");
    desk.say("staff", "hello");
    assert_eq!(tablet.message()["content"], "hello");
    phone.nothing_came("staff");
}
