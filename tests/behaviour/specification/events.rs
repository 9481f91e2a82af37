//! Sections B and C, events: that every name of both specifications is there, in either dialect.

use serde_json::{Value, json};

use crate::common::{TestServer, Token};

#[test]
fn s2_4_every_request_of_both_specifications_has_a_handler() {
    for dialect in ["room", "conversation"] {
        let server = TestServer::with_shards(2);
        let mut ann = server.device("ann", json!({"dialect": dialect}));
        ann.join("lobby");
        let mine = ann.say("lobby", "mine")["messageId"].clone();
        let message = json!({"conversationId": "lobby", "messageId": mine, "content": "again"});
        let users = json!({"userIds": ["bob"]});
        let all: [(&str, Value, &str); 23] = [
            ("auth", json!(Token::of("ann").sign()), "auth-success"),
            ("join-room", json!("lobby"), "room-joined"),
            ("typing-start", json!("lobby"), "ok"),
            ("get-typing-users", json!("lobby"), "typing-users"),
            ("typing-stop", json!("lobby"), "ok"),
            ("presence-update", json!("away"), "ok"),
            ("user-offline", Value::Null, "ok"),
            ("user-online", Value::Null, "ok"),
            ("get-presence", users.clone(), "presence-status"),
            ("subscribe-presence", users.clone(), "presence-status"),
            ("unsubscribe-presence", users, "ok"),
            ("heartbeat", Value::Null, "heartbeat-ack"),
            ("get-online-users", json!("lobby"), "online-users"),
            ("history", json!("lobby"), "history"),
            (
                "send-message",
                json!({"conversationId": "lobby", "content": {"text": "hi"}, "type": "text"}),
                "message-ack",
            ),
            ("edit-message", message.clone(), "ok"),
            ("get-message-status", message.clone(), "message-status"),
            ("mark-read", json!({"conversationId": "lobby", "messageIds": [mine]}), "ok"),
            ("ack", json!({"conversationId": "lobby", "upTo": 2}), "ok"),
            ("delete-message", message, "ok"),
            ("leave-room", json!("lobby"), "room-left"),
            ("join-conversation", json!("lobby"), "room-joined"),
            ("leave-conversation", json!("lobby"), "room-left"),
        ];
        for (event, data, reply) in all {
            ann.reply_named(reply, event, data);
        }
        ann.refused("UNKNOWN_EVENT", "one-that-nobody-specified", Value::Null);
    }
}
