//! Several devices of one user: what one of them has read, all have.

use serde_json::{Value, json};

use crate::common::{Client, TestServer, config};

fn server() -> TestServer {
    let mut config = config();
    config.shards = 3;
    config.timing.receipt_coalesce_ms = 0;
    TestServer::start(config).explicit()
}

fn device(server: &TestServer, user: &str, device: &str) -> Client {
    server.device(user, json!({"deviceId": device}))
}

fn read(client: &mut Client, up_to: &Value) {
    client.ok("mark-read", json!({"conversationId": "lobby", "upTo": up_to}));
}

/// Delivered, seen and unread, as `auth-success` tells a device.
fn progress(server: &TestServer, user: &str, name: &str) -> (u64, u64, u64) {
    let room = device(server, user, name).success["rooms"][0].clone();
    let field = |name: &str| room[name].as_u64().unwrap_or_else(|| panic!("{name} in {room}"));
    (field("delivered"), field("seen"), field("unread"))
}

#[test]
fn s2_14_what_is_read_on_one_device_is_read_on_all() {
    let server = server();
    let mut ann = server.member("ann", "lobby");
    let mut phone = device(&server, "bob", "phone");
    phone.join("lobby");
    let mut laptop = device(&server, "bob", "laptop");
    let one = ann.say("lobby", "one");
    let two = ann.say("lobby", "two");
    assert_eq!(progress(&server, "bob", "tablet").2, 2);
    read(&mut phone, &one["seq"]);
    for kind in ["delivered", "seen"] {
        let told = laptop.push_after_others("receipt");
        assert_eq!((&told["userId"], &told["type"], &told["upTo"]), (&json!("bob"), &json!(kind), &one["seq"]));
    }
    assert_eq!(progress(&server, "bob", "another").2, 1);
    read(&mut laptop, &two["seq"]);
    assert_eq!(phone.push_after_others("receipt")["upTo"], two["seq"]);
    let two = two["seq"].as_u64().unwrap();
    assert_eq!(progress(&server, "bob", "one more"), (two, two, 0));
}

#[test]
fn each_device_has_a_delivery_cursor_of_its_own() {
    let server = server();
    let mut ann = server.member("ann", "lobby");
    let mut phone = device(&server, "bob", "phone");
    let start = phone.join("lobby")["seq"].as_u64().unwrap();
    let mut laptop = device(&server, "bob", "laptop");
    let ack = |client: &mut Client, up_to: u64| {
        client.ok("ack", json!({"conversationId": "lobby", "upTo": up_to}));
    };
    for _ in 0..6 {
        ann.say("lobby", "hello");
    }
    ack(&mut phone, start + 2);
    ack(&mut laptop, start + 5);
    assert_eq!(progress(&server, "bob", "phone").0, start + 2);
    assert_eq!(progress(&server, "bob", "laptop").0, start + 5);
    // One that was never seen before starts where its user is.
    assert_eq!(progress(&server, "bob", "new").0, start + 5);
    // Neither goes back.
    ack(&mut laptop, start + 1);
    assert_eq!(progress(&server, "bob", "laptop").0, start + 5);
    // Without a name, all that have none are one.
    let mut nameless = server.user("bob");
    ack(&mut nameless, start + 6);
    assert_eq!(server.user("bob").success["rooms"][0]["delivered"], start + 6);
    assert_eq!(progress(&server, "bob", "phone").0, start + 2);
}

#[test]
fn one_s_own_messages_are_not_unread() {
    let server = server();
    let (mut ann, mut bob) = (server.member("ann", "lobby"), server.member("bob", "lobby"));
    let unread = |user: &str| server.user(user).success["rooms"][0]["unread"].clone();
    let mine = ann.say("lobby", "mine");
    assert_eq!((unread("ann"), unread("bob")), (json!(0), json!(1)));
    bob.say("lobby", "yours");
    ann.say("lobby", "mine again");
    assert_eq!((unread("ann"), unread("bob")), (json!(1), json!(2)));
    let question = json!({"conversationId": "lobby", "messageId": mine["messageId"]});
    ann.ok("delete-message", question);
    assert_eq!(unread("bob"), json!(1), "what was deleted need not be read");
}

#[test]
fn leaving_forgets_and_joining_starts_at_the_head() {
    let server = server();
    let (mut ann, mut bob) = (server.member("ann", "lobby"), server.member("bob", "lobby"));
    ann.say("lobby", "one");
    bob.leave("lobby");
    ann.say("lobby", "two");
    let head = bob.join("lobby")["seq"].clone();
    let room = server.user("bob").success["rooms"][0].clone();
    assert_eq!((&room["delivered"], &room["seen"], &room["unread"]), (&head, &head, &json!(0)));
}
