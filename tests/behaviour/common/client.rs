//! A client that shares no code with the server: blocking, strict about what the server sends, and free to send anything.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use serde_json::{Value, json};

use super::{DEADLINE, deadline};

/// A frame of the server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Text(String),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    /// The end of the stream.
    End,
}

/// A masked frame, as a client sends it. `first` is the first byte: FIN, reserved bits, opcode.
pub(crate) fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        0..=125 => bytes.push(0x80 | u8::try_from(payload.len()).unwrap()),
        126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    let mask = [0x5a, 0x17, 0xc3, 0x99];
    bytes.extend_from_slice(&mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A compressed message as it was (RFC 7692, 7.2.2).
fn inflate(mut data: Vec<u8>) -> Vec<u8> {
    data.extend_from_slice(&[0, 0, 0xff, 0xff]);
    let mut message = Vec::new();
    let mut reader = flate2::read::DeflateDecoder::new(data.as_slice());
    // The data have no last block, which the reader takes for a stream that was cut.
    let _cut = reader.read_to_end(&mut message);
    message
}

/// What comes without having been asked for, whenever somebody else does something: most tests are not about it.
const BY_THE_WAY: [&str; 7] =
    ["receipt", "message-delivered", "messages-read", "presence", "user-online", "user-offline", "presence-status"];

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    /// Bytes that were read but are not a whole frame yet.
    buffer: Vec<u8>,
    /// Messages that came while something else was waited for, in their order, each with its text.
    inbox: VecDeque<(Value, String)>,
    next_id: u64,
    /// Whether pings are answered, as any WebSocket client would.
    pub(crate) answers_pings: bool,
    /// Whether several objects may come in one message, one a line.
    pub(crate) batch: bool,
    /// Whether pushes are heard that come by the way: receipts, presence, and that nothing was queued.
    pub(crate) hears_all: bool,
    /// Whether it said what it had seen, and so waits for the end of what it missed.
    asked_since: bool,
    /// Whether compression was agreed to, and how many messages came compressed.
    pub(crate) deflates: bool,
    pub(crate) deflated: usize,
    /// Data of `auth-success`.
    pub(crate) success: Value,
}

impl Client {
    pub(crate) fn new(stream: TcpStream, buffer: Vec<u8>) -> Self {
        Self {
            stream,
            buffer,
            inbox: VecDeque::new(),
            next_id: 0,
            answers_pings: true,
            batch: false,
            hears_all: false,
            asked_since: false,
            deflates: false,
            deflated: 0,
            success: Value::Null,
        }
    }

    // Frames

    /// Sends bytes as they are. A server that hung up meanwhile is found out by the next read.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        let _hung_up = self.stream.write_all(bytes);
    }

    /// Sends one frame.
    pub(crate) fn send_frame(&mut self, first: u8, payload: &[u8]) {
        self.send_raw(&client_frame(first, payload));
    }

    /// Sends a text message.
    pub(crate) fn send_text(&mut self, text: &str) {
        self.send_frame(0x81, text.as_bytes());
    }

    /// The socket itself.
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// The server's next frame. What RFC 6455 forbids a server fails the test.
    pub(crate) fn next_frame(&mut self) -> Frame {
        let end = deadline();
        loop {
            if let Some(frame) = self.take_frame() {
                return frame;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "nothing came in {DEADLINE:?}; waiting: {:?}", self.inbox);
            self.stream.set_read_timeout(Some(left)).unwrap();
            let mut chunk = [0; 65_536];
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    assert!(self.buffer.is_empty(), "the stream ended within a frame");
                    return Frame::End;
                }
                Ok(read) => self.buffer.extend_from_slice(&chunk[..read]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                    return Frame::End;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Takes a whole frame from what was read.
    fn take_frame(&mut self) -> Option<Frame> {
        let (first, second) = (*self.buffer.first()?, *self.buffer.get(1)?);
        assert_eq!(second & 0x80, 0, "the server masks");
        let deflated = self.deflates && first == 0xc1;
        assert!(deflated || first & 0xf0 == 0x80, "the server fragments, or sets reserved bits");
        let (length, head) = match second {
            126 => (usize::from(u16::from_be_bytes(self.buffer.get(2..4)?.try_into().unwrap())), 4),
            127 => (usize::try_from(u64::from_be_bytes(self.buffer.get(2..10)?.try_into().unwrap())).unwrap(), 10),
            short => (usize::from(short), 2),
        };
        assert_eq!(
            head,
            [2, 4, 10][usize::from(length > 125) + usize::from(length > 0xffff)],
            "a length is not minimal"
        );
        let mut payload = self.buffer.get(head..head + length)?.to_vec();
        self.buffer.drain(..head + length);
        if deflated {
            self.deflated += 1;
            payload = inflate(payload);
        }
        Some(match first & 0x0f {
            1 => Frame::Text(String::from_utf8(payload).expect("the server sends UTF-8")),
            8 if payload.is_empty() => Frame::Close(None, String::new()),
            8 => {
                let code = u16::from_be_bytes(payload[..2].try_into().unwrap());
                Frame::Close(Some(code), String::from_utf8(payload[2..].to_vec()).expect("a reason is UTF-8"))
            }
            9 => Frame::Ping(payload),
            10 => Frame::Pong(payload),
            opcode => panic!("the server sends opcode {opcode}"),
        })
    }

    // Messages

    /// Reads until at least one more message is in the inbox.
    fn fetch(&mut self) {
        match self.next_frame() {
            Frame::Text(text) => self.take_text(&text),
            Frame::Ping(payload) if self.answers_pings => self.send_frame(0x8a, &payload),
            Frame::Ping(_) | Frame::Pong(_) => {}
            end => panic!("{end:?} while a message was waited for; before it came {:?}", self.inbox),
        }
    }

    /// Puts a message into the inbox: one object, or one a line where that was asked for.
    fn take_text(&mut self, text: &str) {
        let lines = if self.batch { text.split('\n').collect() } else { vec![text] };
        for line in lines {
            let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
            let event = value["event"].as_str().unwrap_or_default();
            let nothing_queued = event == "queue-flushed" && value["data"]["count"] == 0 && !self.asked_since;
            let by_the_way = value.get("id").is_none() && (BY_THE_WAY.contains(&event) || nothing_queued);
            if self.hears_all || !by_the_way {
                self.inbox.push_back((value, line.to_owned()));
            }
        }
    }

    /// The server's next message, as it came.
    pub(crate) fn next_text(&mut self) -> String {
        loop {
            if let Some((_, text)) = self.inbox.pop_front() {
                return text;
            }
            self.fetch();
        }
    }

    /// Whether a message waits in the inbox.
    pub(crate) fn has_mail(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// The server's next message, whatever it is.
    pub(crate) fn next(&mut self) -> Value {
        loop {
            if let Some((message, _)) = self.inbox.pop_front() {
                return message;
            }
            self.fetch();
        }
    }

    /// The server's next answer, whatever it is; pushes before it are passed over.
    pub(crate) fn next_answer(&mut self) -> Value {
        loop {
            let message = self.next();
            if message.get("id").is_some() {
                return message;
            }
        }
    }

    /// The next message, which must be a push of this name; its data.
    pub(crate) fn push(&mut self, event: &str) -> Value {
        let message = self.next();
        assert_eq!(message["event"], event, "{message}");
        assert_eq!(message.get("id"), None, "{message}");
        message["data"].clone()
    }

    /// The next message that is a push of this name; others before it are passed over.
    pub(crate) fn push_after_others(&mut self, event: &str) -> Value {
        loop {
            let message = self.next();
            if message["event"] == event && message.get("id").is_none() {
                return message["data"].clone();
            }
        }
    }

    /// The next message, which must be a refusal without an id; its data.
    pub(crate) fn refusal(&mut self, code: &str) -> Value {
        let data = self.push("error");
        assert_eq!(data["code"], code, "{data}");
        data
    }

    /// Sends an envelope as it is.
    pub(crate) fn send(&mut self, envelope: &Value) {
        self.asked_since |= envelope["event"] == "auth" && envelope["data"].get("since").is_some();
        self.send_text(&envelope.to_string());
    }

    /// Sends a request with a fresh id, which is returned, and does not wait.
    pub(crate) fn ask(&mut self, event: &str, data: Value) -> String {
        self.next_id += 1;
        let id = format!("q{}", self.next_id);
        self.send(&json!({"event": event, "id": id, "data": data}));
        id
    }

    /// Waits for the answer to a request. What else comes meanwhile stays in the inbox.
    pub(crate) fn answer(&mut self, id: &str) -> Value {
        self.answer_by(&id.into())
    }

    /// The same for an id of any kind.
    pub(crate) fn answer_by(&mut self, id: &Value) -> Value {
        let mut seen = 0;
        loop {
            while let Some((message, _)) = self.inbox.get(seen) {
                if message.get("id") == Some(id) {
                    return self.inbox.remove(seen).unwrap().0;
                }
                seen += 1;
            }
            self.fetch();
        }
    }

    /// Asks and waits for the whole answer.
    pub(crate) fn call(&mut self, event: &str, data: Value) -> Value {
        let id = self.ask(event, data);
        self.answer(&id)
    }

    /// Asks; the answer must be an event of this name; its data.
    pub(crate) fn reply_named(&mut self, expected: &str, event: &str, data: Value) -> Value {
        let answer = self.call(event, data.clone());
        assert_eq!(answer["event"], expected, "{event} {data}: {answer}");
        answer["data"].clone()
    }

    /// Asks; the answer must be `ok`; its data.
    pub(crate) fn ok(&mut self, event: &str, data: Value) -> Value {
        self.reply_named("ok", event, data)
    }

    /// Asks; the answer must be a refusal with this code; its data.
    pub(crate) fn refused(&mut self, code: &str, event: &str, data: Value) -> Value {
        let refusal = self.reply_named("error", event, data.clone());
        assert_eq!(refusal["code"], code, "{event} {data}: {refusal}");
        refusal
    }

    // What tests do most

    /// Joins a room; data of `room-joined`.
    pub(crate) fn join(&mut self, room: &str) -> Value {
        self.reply_named("room-joined", "join-room", json!({"conversationId": room}))
    }

    /// Joins a room from where the client left it; data of `room-joined`.
    pub(crate) fn join_since(&mut self, room: &str, since: Value) -> Value {
        self.reply_named("room-joined", "join-room", json!({"conversationId": room, "since": since}))
    }

    /// Leaves a room.
    pub(crate) fn leave(&mut self, room: &str) {
        self.reply_named("room-left", "leave-room", json!({"conversationId": room}));
    }

    /// Sends a message; data of `message-ack`.
    pub(crate) fn say(&mut self, room: &str, content: impl Into<Value>) -> Value {
        self.post(json!({"conversationId": room, "content": content.into()}))
    }

    /// Sends a message with whatever the request may say; data of `message-ack`.
    pub(crate) fn post(&mut self, data: Value) -> Value {
        self.reply_named("message-ack", "send-message", data)
    }

    /// Messages of a room, as `history` lists them.
    pub(crate) fn history(&mut self, request: Value) -> Value {
        self.reply_named("history", "history", request)
    }

    /// Who is online in a room.
    pub(crate) fn online(&mut self, room: &str) -> Vec<String> {
        let data = self.reply_named("online-users", "get-online-users", json!({"conversationId": room}));
        data["users"].as_array().unwrap().iter().map(|user| user.as_str().unwrap().to_owned()).collect()
    }

    /// Waits for the next `message-new`, passing over everything else; its data.
    pub(crate) fn message(&mut self) -> Value {
        self.push_after_others("message-new")
    }

    /// A round trip that comes after all that was pushed before in a room: the room's owner answers it. For a user who
    /// is no member it is refused, but answered.
    pub(crate) fn barrier(&mut self, room: &str) {
        self.call("get-online-users", json!({"conversationId": room}));
    }

    /// Asserts that nothing came, up to now, besides what was taken already.
    pub(crate) fn nothing_came(&mut self, room: &str) {
        self.barrier(room);
        assert_eq!(self.inbox, [], "nothing was to come");
    }

    /// Asserts that the server answers, and that nothing else came before the answer.
    pub(crate) fn is_alive(&mut self) {
        self.reply_named("heartbeat-ack", "heartbeat", Value::Null);
    }

    // The end

    /// Reads until the server closes, which must be with this code; then answers as RFC 6455 has it and waits for the
    /// end of the stream. What came before stays in the inbox. Returns the reason.
    pub(crate) fn closed(&mut self, code: u16) -> String {
        let (found, reason) = self.closed_somehow();
        assert_eq!(found, Some(code), "{reason}; before it came {:?}", self.inbox);
        reason
    }

    /// The same with any code, or `None` where the stream ended without a close frame.
    pub(crate) fn closed_somehow(&mut self) -> (Option<u16>, String) {
        loop {
            match self.next_frame() {
                Frame::Close(code, reason) => {
                    self.send_frame(0x88, &code.map_or(Vec::new(), |code| code.to_be_bytes().to_vec()));
                    self.ended();
                    return (code, reason);
                }
                Frame::End => return (None, String::new()),
                Frame::Text(text) => self.take_text(&text),
                Frame::Ping(_) | Frame::Pong(_) => {}
            }
        }
    }

    /// Reads until the server closes, and hangs up; the code, or `None` where the stream ended without a close frame.
    pub(crate) fn close_code(mut self) -> Option<u16> {
        loop {
            match self.next_frame() {
                Frame::Close(code, _) => return code,
                Frame::End => return None,
                Frame::Text(_) | Frame::Ping(_) | Frame::Pong(_) => {}
            }
        }
    }

    /// Reads to the end of the stream; nothing but control frames may come before it.
    pub(crate) fn ended(&mut self) {
        loop {
            match self.next_frame() {
                Frame::End => return,
                Frame::Ping(_) | Frame::Pong(_) => {}
                other => panic!("{other:?} after the close frame"),
            }
        }
    }

    /// Closes politely and waits for the server's answer.
    pub(crate) fn close(mut self) {
        self.send_frame(0x88, &1000_u16.to_be_bytes());
        self.closed(1000);
    }
}
