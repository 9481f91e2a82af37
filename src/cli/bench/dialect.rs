//! What is said to a server and how its answers are understood: ours by `Dialect::Stentor`, the floor by
//! `Dialect::Floor`. Pure text in and out; knows nothing of sockets.

use std::io::Write;

use serde::Deserialize;

use super::frame::{self, ACCEPT, KEY};
use super::stamp::{Stamp, digits};

/// Bytes of a message's content in every workload.
pub(super) const CONTENT_BYTES: usize = 100;

/// Whom a connection talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// The server under test.
    Stentor,
    /// The bare write loop it is compared with.
    Floor,
}

/// What a text frame from a server means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// A message, delivered.
    Delivery(Stamp),
    /// Message `number` was accepted.
    Accepted(u64),
    /// Our heartbeat came back.
    Heartbeat(Stamp),
    /// The token was good.
    Authenticated,
    /// The join was.
    Joined,
    /// What had waited is here.
    Flushed,
    /// A user types, or no longer does.
    Typing { user: usize, is_typing: bool },
    /// A user's presence is as an update of ours said.
    Presence(Stamp),
    /// Something was refused; with the number of the message, if it was one.
    Refused { code: String, number: Option<u64> },
    /// Nothing that matters here.
    Other,
}

/// The upgrade request of one connection.
pub(super) fn upgrade(host: &str, path: &str, token: Option<&str>) -> Vec<u8> {
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{authorization}\r\n"
    )
    .into_bytes()
}

/// Whether a response head accepts the upgrade; what it says instead, if not.
pub(super) fn upgraded(head: &[u8]) -> Result<(), String> {
    let head = String::from_utf8_lossy(head);
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("101") {
        return Err(format!("the upgrade was answered with {status:?}"));
    }
    let accepted = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .any(|(name, value)| name.trim().eq_ignore_ascii_case("sec-websocket-accept") && value.trim() == ACCEPT);
    if accepted { Ok(()) } else { Err("the upgrade has no right Sec-WebSocket-Accept".to_owned()) }
}

/// The masked frame with which a connection joins a room.
pub(super) fn join(room: &str) -> Vec<u8> {
    masked(&format!(r#"{{"event":"join-room","data":{{"conversationId":"{room}"}}}}"#))
}

/// The masked frame that acknowledges everything in a room.
pub(super) fn ack_all(room: &str) -> Vec<u8> {
    // Beyond the head means the head.
    masked(&format!(r#"{{"event":"ack","data":{{"conversationId":"{room}","upTo":{HEAD}}}}}"#, HEAD = u32::MAX))
}

/// The masked frame that tells a room that somebody types, or no longer does.
pub(super) fn typing(room: &str, is_typing: bool) -> Vec<u8> {
    let event = if is_typing { "typing-start" } else { "typing-stop" };
    masked(&format!(r#"{{"event":"{event}","data":{{"conversationId":"{room}"}}}}"#))
}

/// The masked frame that changes the sender's presence. The stamp is in its text.
pub(super) fn presence(status: &str, stamp: Stamp) -> Vec<u8> {
    let mut text = format!(r#"{{"event":"presence-update","data":{{"status":"{status}","text":""#).into_bytes();
    stamp.write(&mut text, 0);
    text.extend_from_slice(br#""}}"#);
    let mut out = Vec::new();
    frame::push_masked(&mut out, frame::TEXT, &text);
    out
}

/// The masked frame that asks to hear of the presence of some users.
pub(super) fn subscribe_presence(users: &[String]) -> Result<Vec<u8>, serde_json::Error> {
    let users = serde_json::to_string(users)?;
    Ok(masked(&format!(r#"{{"event":"subscribe-presence","data":{{"userIds":{users}}}}}"#)))
}

fn masked(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    frame::push_masked(&mut out, frame::TEXT, text.as_bytes());
    out
}

/// Writes frames in one dialect, with one buffer for all.
pub(super) struct Speaker {
    dialect: Dialect,
    text: Vec<u8>,
    frame: Vec<u8>,
}

impl Speaker {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, text: Vec::new(), frame: Vec::new() }
    }

    /// The masked frame that sends a message to a room.
    pub(super) fn message(&mut self, room: &str, stamp: Stamp) -> &[u8] {
        self.message_that_says("", room, stamp)
    }

    /// The same for a message that sets off what the test guests do.
    pub(super) fn trigger(&mut self, room: &str, stamp: Stamp) -> &[u8] {
        self.message_that_says("trigger ", room, stamp)
    }

    fn message_that_says(&mut self, word: &str, room: &str, stamp: Stamp) -> &[u8] {
        self.text.clear();
        match self.dialect {
            Dialect::Floor => stamp.write(&mut self.text, CONTENT_BYTES),
            Dialect::Stentor => {
                let _ = write!(
                    self.text,
                    r#"{{"event":"send-message","id":{},"data":{{"conversationId":"{room}","content":"{word}"#,
                    stamp.number
                );
                stamp.write(&mut self.text, CONTENT_BYTES);
                self.text.extend_from_slice(br#""}}"#);
            }
        }
        self.framed()
    }

    /// The masked frame that asks for an answer. The floor sends the same one back.
    pub(super) fn heartbeat(&mut self, stamp: Stamp) -> &[u8] {
        self.text.clear();
        self.text.extend_from_slice(br#"{"event":"heartbeat","id":""#);
        stamp.write(&mut self.text, 0);
        self.text.extend_from_slice(br#""}"#);
        self.framed()
    }

    fn framed(&mut self) -> &[u8] {
        self.frame.clear();
        frame::push_masked(&mut self.frame, frame::TEXT, &self.text);
        &self.frame
    }
}

/// Understands what one connection's server says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listener {
    dialect: Dialect,
    hint: usize,
}

impl Listener {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, hint: 0 }
    }

    /// Understands one text frame.
    pub(super) fn hear(&mut self, text: &[u8]) -> Incoming {
        const MESSAGE: &[u8] = br#"{"event":"message-new""#;
        const ACK: &[u8] = br#"{"event":"message-ack","id":"#;
        const TYPING: &[u8] = br#"{"event":"typing"#;
        const PRESENCE: &[u8] = br#"{"event":"presence""#;
        const HEARTBEAT: &[u8] = br#"{"event":"heartbeat-ack""#;
        if self.dialect == Dialect::Floor || text.starts_with(MESSAGE) {
            return Stamp::find(text, &mut self.hint).map_or(Incoming::Other, Incoming::Delivery);
        }
        if let Some(rest) = text.strip_prefix(ACK)
            && let Some(number) = rest.split(|byte| !byte.is_ascii_digit()).next().and_then(digits)
        {
            return Incoming::Accepted(number);
        }
        if text.starts_with(HEARTBEAT) {
            return Stamp::find(text, &mut self.hint).map_or(Incoming::Other, Incoming::Heartbeat);
        }
        if text.starts_with(PRESENCE) {
            return Stamp::find(text, &mut self.hint).map_or(Incoming::Other, Incoming::Presence);
        }
        if text.starts_with(TYPING) {
            return typist(text).map_or(Incoming::Other, |(user, is_typing)| Incoming::Typing { user, is_typing });
        }
        self.hear_slowly(text)
    }

    /// For what is rare, or written otherwise than expected.
    fn hear_slowly(&mut self, text: &[u8]) -> Incoming {
        #[derive(Deserialize)]
        struct Envelope<'a> {
            #[serde(borrow)]
            event: std::borrow::Cow<'a, str>,
            #[serde(default)]
            id: serde_json::Value,
            #[serde(default)]
            data: serde_json::Value,
        }
        let Ok(envelope) = serde_json::from_slice::<Envelope<'_>>(text) else {
            return Incoming::Refused { code: "(not JSON)".to_owned(), number: None };
        };
        let number = envelope.id.as_u64();
        match envelope.event.as_ref() {
            "message-new" => Stamp::find(text, &mut self.hint).map_or(Incoming::Other, Incoming::Delivery),
            "heartbeat-ack" => Stamp::find(text, &mut self.hint).map_or(Incoming::Other, Incoming::Heartbeat),
            "message-ack" => number.map_or(Incoming::Other, Incoming::Accepted),
            "auth-success" => Incoming::Authenticated,
            "room-joined" => Incoming::Joined,
            "queue-flushed" => Incoming::Flushed,
            "error" => {
                let code = envelope.data.get("code").and_then(|code| code.as_str()).unwrap_or("(no code)");
                Incoming::Refused { code: code.to_owned(), number }
            }
            "resync" => Incoming::Refused { code: "(resync)".to_owned(), number: None },
            _ => Incoming::Other,
        }
    }
}

/// Which of our users a push is about, and whether that one types. Answers that list several are of no interest.
fn typist(text: &[u8]) -> Option<(usize, bool)> {
    #[derive(Deserialize)]
    struct Push<'a> {
        #[serde(borrow)]
        data: Typing<'a>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typing<'a> {
        #[serde(borrow)]
        user_id: std::borrow::Cow<'a, str>,
        is_typing: bool,
    }
    let Push { data } = serde_json::from_slice(text).ok()?;
    // Before the number may be a prefix, which ends with a `u`.
    let (_, number) = data.user_id.rsplit_once('u')?;
    Some((usize::try_from(digits(number.as_bytes())?).ok()?, data.is_typing))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(text: &str) -> Incoming {
        Listener::new(Dialect::Stentor).hear(text.as_bytes())
    }

    #[test]
    fn pushes_and_answers_are_understood_in_any_spelling() {
        let stamp = Stamp { due_ns: 77, number: 5 };
        for text in [
            r#"{"event":"message-new","data":{"seq":1,"content":"~T0000000000000077~00000005~ and"}}"#,
            r#"{"data":{"content":"~T0000000000000077~00000005~ and"}, "event" : "message-new"}"#,
        ] {
            assert_eq!(hear(text), Incoming::Delivery(stamp));
        }
        assert_eq!(hear(r#"{"event":"message-ack","id":17,"data":{"seq":9}}"#), Incoming::Accepted(17));
        assert_eq!(hear(r#"{"id":17,"event":"message-ack","data":{"seq":9}}"#), Incoming::Accepted(17));
        assert_eq!(hear(r#"{"event":"auth-success","data":{}}"#), Incoming::Authenticated);
        assert_eq!(hear(r#"{"event":"room-joined","data":{}}"#), Incoming::Joined);
        assert_eq!(
            hear(r#"{"event":"heartbeat-ack","id":"~T0000000000000077~00000005~","data":{}}"#),
            Incoming::Heartbeat(stamp)
        );
        assert_eq!(hear(r#"{"event":"member-joined","data":{}}"#), Incoming::Other);
    }

    #[test]
    fn what_is_told_of_others_is_understood() {
        let typing = r#"{"event":"typing","data":{"conversationId":"r3","userId":"b7-u31","isTyping":true}}"#;
        assert_eq!(hear(typing), Incoming::Typing { user: 31, is_typing: true });
        let stop = r#"{"event":"typing-stop","data":{"conversationId":"r3","userId":"u31","isTyping":false}}"#;
        assert_eq!(hear(stop), Incoming::Typing { user: 31, is_typing: false });
        let listed = r#"{"event":"typing-users","data":{"conversationId":"r3","users":["u31"]}}"#;
        assert_eq!(hear(listed), Incoming::Other);
        let presence =
            r#"{"event":"presence","data":{"userId":"u1","status":"away","text":"~T0000000000000077~00000005~"}}"#;
        assert_eq!(hear(presence), Incoming::Presence(Stamp { due_ns: 77, number: 5 }));
        assert_eq!(hear(r#"{"event":"presence","data":{"userId":"u1","status":"online"}}"#), Incoming::Other);
        assert_eq!(hear(r#"{"event":"queue-flushed","data":{"count":20}}"#), Incoming::Flushed);
    }

    #[test]
    fn what_is_said_is_json() {
        let said = |mut frame: Vec<u8>| -> serde_json::Value {
            let head = frame::head(&frame).expect("a head");
            let mut text = frame.split_off(head.head_bytes);
            frame::unmask(&mut text, head.mask.expect("a mask"));
            serde_json::from_slice(&text).expect("JSON")
        };
        assert_eq!(said(ack_all("r1"))["data"]["upTo"], u32::MAX);
        assert_eq!(said(typing("r1", true))["event"], "typing-start");
        assert_eq!(said(typing("r1", false))["event"], "typing-stop");
        let stamp = Stamp { due_ns: 77, number: 5 };
        assert_eq!(said(presence("away", stamp))["data"]["text"], "~T0000000000000077~00000005~");
        let users = ["u1".to_owned(), "u2".to_owned()];
        assert_eq!(said(subscribe_presence(&users).expect("JSON"))["data"]["userIds"][1], "u2");
    }

    #[test]
    fn refusals_are_never_ignored() {
        assert_eq!(
            hear(r#"{"event":"error","id":3,"data":{"code":"RATE_LIMITED"}}"#),
            Incoming::Refused { code: "RATE_LIMITED".to_owned(), number: Some(3) }
        );
        assert_eq!(hear("nonsense"), Incoming::Refused { code: "(not JSON)".to_owned(), number: None });
    }

    #[test]
    fn an_upgrade_needs_the_right_accept() {
        let good = format!("HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: {ACCEPT}\r\n\r\n");
        assert_eq!(upgraded(good.as_bytes()), Ok(()));
        assert!(upgraded(b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n\r\n").is_err());
        assert!(upgraded(b"HTTP/1.1 401 Unauthorized\r\n\r\n").is_err());
    }
}
