//! A push as it goes on the wire: a WebSocket header and JSON, encoded once for all its receivers.
//!
//! Server frames are not masked, so the very same bytes go to every receiver of the same encoding. The conversation
//! dialect's bytes, and the compressed ones, are made on first use, by whichever shard needs them, and only then.

use std::sync::OnceLock;

use bytes::Bytes;

use super::deflate::deflate_frame;
use super::dialect::{Dialect, Encoding, Push};
use crate::message::Seq;

/// First byte of an unfragmented text frame.
const TEXT: u8 = 0x81;

/// Appends the header of an unmasked, unfragmented text frame of `length` bytes.
pub fn text_header(buffer: &mut Vec<u8>, length: usize) {
    header(buffer, TEXT, length);
}

fn header(buffer: &mut Vec<u8>, first: u8, length: usize) {
    buffer.push(first);
    if let Ok(short) = u8::try_from(length)
        && short < 126
    {
        buffer.push(short);
    } else if let Ok(medium) = u16::try_from(length) {
        buffer.push(126);
        buffer.extend_from_slice(&medium.to_be_bytes());
    } else {
        buffer.push(127);
        buffer.extend_from_slice(&(length as u64).to_be_bytes());
    }
}

/// A text frame around a payload.
pub fn text_frame(payload: &[u8]) -> Bytes {
    message_frame(TEXT, payload)
}

/// An unfragmented frame whose first byte is given: FIN and opcode.
pub fn message_frame(first: u8, payload: &[u8]) -> Bytes {
    let mut buffer = Vec::with_capacity(payload.len() + 10);
    header(&mut buffer, first, payload.len());
    buffer.extend_from_slice(payload);
    buffer.into()
}

/// An empty ping: is anybody there?
pub const PING: [u8; 2] = [0x89, 0];

/// What the ping behind what is written carries, so that its pong is told from others.
pub const PROOF: &[u8] = b"+";

/// The ping behind what is written.
pub const PROOF_PING: [u8; 3] = [0x89, 1, b'+'];

/// A pong with the ping's payload, of which a control frame holds at most 125 bytes.
pub fn pong_frame(payload: &[u8]) -> Bytes {
    message_frame(0x8a, payload.get(..125).unwrap_or(payload))
}

/// A close frame. Without a code its body is empty.
pub fn close_frame(code: Option<u16>, reason: &str) -> Bytes {
    let mut body = Vec::with_capacity(2 + reason.len());
    if let Some(code) = code {
        body.extend_from_slice(&code.to_be_bytes());
        body.extend_from_slice(reason.as_bytes().get(..123).unwrap_or(reason.as_bytes()));
    }
    message_frame(0x88, &body)
}

/// One push in every form in which it may be sent.
#[derive(Debug)]
pub struct Frame {
    push: Push,
    ephemeral: bool,
    /// Its place in its room's log.
    seq: Option<Seq>,
    /// Header and JSON under the room dialect's name.
    room: Bytes,
    /// Where the JSON starts in `room`.
    json_start: usize,
    conversation: OnceLock<Bytes>,
    /// The same, compressed, by dialect.
    deflated: [OnceLock<Bytes>; 2],
}

const PREFIX: &str = "{\"event\":\"";
const MIDDLE: &str = "\",\"data\":";

fn envelope(name: &str, data: &[u8]) -> (Bytes, usize) {
    let length = PREFIX.len() + name.len() + MIDDLE.len() + data.len() + 1;
    let mut buffer = Vec::with_capacity(length + 10);
    text_header(&mut buffer, length);
    let json_start = buffer.len();
    buffer.extend_from_slice(PREFIX.as_bytes());
    buffer.extend_from_slice(name.as_bytes());
    buffer.extend_from_slice(MIDDLE.as_bytes());
    buffer.extend_from_slice(data);
    buffer.push(b'}');
    (buffer.into(), json_start)
}

impl Frame {
    /// Encodes a push whose data are already JSON. An ephemeral one may be dropped for a slow connection.
    pub fn new(push: Push, data: &[u8], ephemeral: bool) -> Self {
        let (room, json_start) = envelope(push.name(Dialect::Room), data);
        Self {
            push,
            ephemeral,
            seq: None,
            room,
            json_start,
            conversation: OnceLock::new(),
            deflated: Default::default(),
        }
    }

    /// The same, for an event that has a place in its room's log.
    #[must_use]
    pub fn logged(self, seq: Option<Seq>) -> Self {
        Self { seq, ..self }
    }

    /// Its place in its room's log.
    pub fn seq(&self) -> Option<Seq> {
        self.seq
    }

    /// Whether it may be dropped for a slow connection.
    pub fn ephemeral(&self) -> bool {
        self.ephemeral
    }

    /// The whole WebSocket frame in a dialect.
    pub fn bytes(&self, dialect: Dialect) -> &Bytes {
        let name = self.push.name(dialect);
        if name == self.push.name(Dialect::Room) {
            return &self.room;
        }
        self.conversation.get_or_init(|| {
            let data_start = PREFIX.len() + self.push.name(Dialect::Room).len() + MIDDLE.len();
            let json = self.room.get(self.json_start..).unwrap_or_default();
            let data = json.get(data_start..json.len().saturating_sub(1)).unwrap_or_default();
            envelope(name, data).0
        })
    }

    /// The whole WebSocket frame in an encoding. With compression it is compressed if it is at least so long, once for all.
    pub fn encoded(&self, encoding: Encoding, deflate_bytes_min: usize) -> &Bytes {
        let bytes = self.bytes(encoding.dialect);
        if !encoding.deflate || bytes.len() < deflate_bytes_min {
            return bytes;
        }
        let [room, conversation] = &self.deflated;
        let slot = if std::ptr::eq(bytes, &raw const self.room) { room } else { conversation };
        slot.get_or_init(|| deflate_frame(bytes, deflate_bytes_min))
    }

    /// The JSON alone, without the WebSocket header.
    pub fn json(&self, dialect: Dialect) -> &[u8] {
        payload_of(self.bytes(dialect))
    }
}

/// What a frame that is not masked carries.
pub(super) fn payload_of(frame: &[u8]) -> &[u8] {
    frame.get(header_length(frame)..).unwrap_or_default()
}

fn header_length(frame: &[u8]) -> usize {
    match frame.get(1) {
        Some(126) => 4,
        Some(127) => 10,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_is_the_same_data_under_each_dialects_name() {
        for size in [10, 300, 70_000] {
            let data = format!("\"{}\"", "x".repeat(size));
            let frame = Frame::new(Push::MessageNew, data.as_bytes(), false);
            let expect = |name: &str| format!("{{\"event\":\"{name}\",\"data\":{data}}}");
            assert_eq!(frame.json(Dialect::Room), expect("message-new").as_bytes());
            assert_eq!(frame.json(Dialect::Conversation), expect("new-message").as_bytes());
            assert_eq!(
                frame.bytes(Dialect::Room).len(),
                frame.json(Dialect::Room).len() + header_length(frame.bytes(Dialect::Room))
            );
        }
        let edited = Frame::new(Push::MessageEdited, b"1", false);
        assert!(std::ptr::eq(edited.bytes(Dialect::Room), edited.bytes(Dialect::Conversation)));
    }

    #[test]
    fn headers_are_as_short_as_they_can_be() {
        let header = |length| {
            let mut buffer = Vec::new();
            text_header(&mut buffer, length);
            buffer
        };
        assert_eq!(header(125), [0x81, 125]);
        assert_eq!(header(126), [0x81, 126, 0, 126]);
        assert_eq!(header(65_535), [0x81, 126, 255, 255]);
        assert_eq!(header(65_536), [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn control_frames_never_exceed_125_bytes() {
        assert_eq!(close_frame(Some(4001), "no").as_ref(), [0x88, 4, 0x0f, 0xa1, b'n', b'o']);
        assert_eq!(close_frame(None, "ignored").as_ref(), [0x88, 0]);
        assert_eq!(close_frame(Some(1000), &"x".repeat(200)).len(), 127);
        assert_eq!(pong_frame(&[7; 300]).len(), 127);
    }
}
