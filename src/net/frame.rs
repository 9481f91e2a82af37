//! WebSocket frames, as RFC 6455 has them, from clients to the server: bytes in, messages out.
//!
//! The decoder is the server's own, because it must read from a buffer that many connections share, refuse what a client
//! may not send, and bound a message over all its fragments. It does no I/O. Bytes are unmasked in place.

use std::borrow::Cow;

use fastwebsockets::{CloseCode as WireCloseCode, OpCode, unmask};

use crate::wire::CloseCode;
use crate::wire::deflate::{InflateError, inflate};

/// Longest payload of a control frame.
const CONTROL_BYTES_MAX: usize = 125;

/// Bounds on messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bytes of a message over all its fragments.
    pub(super) message_bytes_max: usize,
    /// Fragments of a message.
    pub(super) message_fragments_max: usize,
}

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming<'a> {
    /// A whole text message.
    Text(Cow<'a, str>),
    /// A whole binary message.
    Binary(Cow<'a, [u8]>),
    /// A fragment that does not end its message yet.
    Fragment,
    /// A ping.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// A close frame, with its code.
    Close(Option<u16>),
}

/// One connection's decoder. Between messages it holds nothing.
pub(super) struct Decoder {
    assembly: Option<Box<Assembly>>,
    limits: Limits,
    /// Whether messages may be compressed.
    deflate: bool,
}

/// A message of which not all fragments came yet.
struct Assembly {
    text: bool,
    compressed: bool,
    bytes: Vec<u8>,
    fragments: usize,
    /// How much of a text is known to be UTF-8.
    checked: usize,
}

/// A frame's head.
struct Head {
    fin: bool,
    /// RSV1, with which a compressed message begins.
    compressed: bool,
    opcode: OpCode,
    mask: [u8; 4],
    head_bytes: usize,
    payload_bytes: usize,
}

impl Decoder {
    /// A decoder, for a connection on which messages may be compressed, or not.
    pub(super) fn new(limits: Limits, deflate: bool) -> Self {
        Self { assembly: None, limits, deflate }
    }

    /// Takes one frame from the beginning of `data`, and says how many bytes it was; `None` if it is not complete yet.
    ///
    /// # Errors
    ///
    /// The code to close with.
    pub(super) fn take<'a>(&mut self, data: &'a mut [u8]) -> Result<Option<(Incoming<'a>, usize)>, CloseCode> {
        let Some(head) = Head::parse(data)? else { return Ok(None) };
        self.check(&head)?;
        let used = head.head_bytes + head.payload_bytes;
        let Some(payload) = data.get_mut(head.head_bytes..used) else { return Ok(None) };
        unmask(payload, head.mask);
        let incoming = match head.opcode {
            OpCode::Ping => Incoming::Ping(payload),
            OpCode::Pong => Incoming::Pong(payload),
            OpCode::Close => Incoming::Close(close_code(payload)?),
            OpCode::Text | OpCode::Binary if head.fin && head.compressed => {
                inflated(head.opcode == OpCode::Text, payload, self.limits)?
            }
            OpCode::Text if head.fin => {
                Incoming::Text(Cow::Borrowed(std::str::from_utf8(payload).map_err(|_| CloseCode::InvalidText)?))
            }
            OpCode::Binary if head.fin => Incoming::Binary(Cow::Borrowed(payload)),
            OpCode::Text | OpCode::Binary => {
                let text = head.opcode == OpCode::Text;
                let compressed = head.compressed;
                let assembly = Assembly { text, compressed, bytes: Vec::new(), fragments: 0, checked: 0 };
                self.assembly = Some(Box::new(assembly));
                self.assemble(payload, head.fin)?
            }
            OpCode::Continuation => self.assemble(payload, head.fin)?,
        };
        Ok(Some((incoming, used)))
    }

    /// Whether a frame may come now, judged by its head alone: before any of its payload is kept.
    fn check(&self, head: &Head) -> Result<(), CloseCode> {
        let (bytes, fragments) =
            self.assembly.as_ref().map_or((0, 0), |assembly| (assembly.bytes.len(), assembly.fragments));
        match head.opcode {
            // Only a message's first frame says that it is compressed.
            OpCode::Ping | OpCode::Pong | OpCode::Close | OpCode::Continuation if head.compressed => {
                return Err(CloseCode::ProtocolError);
            }
            OpCode::Text | OpCode::Binary if head.compressed && !self.deflate => return Err(CloseCode::ProtocolError),
            OpCode::Ping | OpCode::Pong | OpCode::Close => return Ok(()),
            OpCode::Continuation if self.assembly.is_none() => return Err(CloseCode::ProtocolError),
            OpCode::Text | OpCode::Binary if self.assembly.is_some() => return Err(CloseCode::ProtocolError),
            OpCode::Continuation | OpCode::Text | OpCode::Binary => {}
        }
        let too_big = bytes.saturating_add(head.payload_bytes) > self.limits.message_bytes_max;
        if too_big || fragments >= self.limits.message_fragments_max { Err(CloseCode::TooBig) } else { Ok(()) }
    }

    fn assemble<'a>(&mut self, payload: &[u8], fin: bool) -> Result<Incoming<'a>, CloseCode> {
        let Some(assembly) = &mut self.assembly else { return Err(CloseCode::ProtocolError) };
        assembly.bytes.extend_from_slice(payload);
        assembly.fragments += 1;
        if assembly.text && !assembly.compressed {
            assembly.check_text(fin)?;
        }
        if !fin {
            return Ok(Incoming::Fragment);
        }
        let Some(assembly) = self.assembly.take() else { return Err(CloseCode::ProtocolError) };
        if assembly.compressed {
            return inflated(assembly.text, &assembly.bytes, self.limits);
        }
        if !assembly.text {
            return Ok(Incoming::Binary(Cow::Owned(assembly.bytes)));
        }
        String::from_utf8(assembly.bytes)
            .map(|text| Incoming::Text(Cow::Owned(text)))
            .map_err(|_| CloseCode::InvalidText)
    }
}

impl Assembly {
    /// Checks what came since the last time. A character may be cut at the end of a fragment, but not of the message.
    fn check_text(&mut self, fin: bool) -> Result<(), CloseCode> {
        let unchecked = self.bytes.get(self.checked..).unwrap_or_default();
        match std::str::from_utf8(unchecked) {
            Ok(_) => self.checked = self.bytes.len(),
            Err(error) if error.error_len().is_none() && !fin => self.checked += error.valid_up_to(),
            Err(_) => return Err(CloseCode::InvalidText),
        }
        Ok(())
    }
}

impl Head {
    /// A frame's head, or `None` if not all of it is there. What no client may send is an error.
    fn parse(data: &[u8]) -> Result<Option<Self>, CloseCode> {
        let (Some(first), Some(second)) = (data.first(), data.get(1)) else { return Ok(None) };
        let opcode = OpCode::try_from(first & 0x0f).map_err(|_| CloseCode::ProtocolError)?;
        let fin = first & 0x80 != 0;
        let (compressed, reserved) = (first & 0x40 != 0, first & 0x30 != 0);
        let masked = second & 0x80 != 0;
        let short = usize::from(second & 0x7f);
        let control = matches!(opcode, OpCode::Close | OpCode::Ping | OpCode::Pong);
        if reserved || !masked || (control && (!fin || short > CONTROL_BYTES_MAX)) {
            return Err(CloseCode::ProtocolError);
        }
        let (payload_bytes, length_bytes) = match short {
            126 => {
                let Some(length) = data.get(2..4).and_then(|bytes| bytes.try_into().ok()) else { return Ok(None) };
                (usize::from(u16::from_be_bytes(length)), 2)
            }
            127 => {
                let Some(length) = data.get(2..10).and_then(|bytes| bytes.try_into().ok()) else { return Ok(None) };
                let length = u64::from_be_bytes(length);
                if length >> 63 != 0 {
                    return Err(CloseCode::ProtocolError);
                }
                (usize::try_from(length).map_err(|_| CloseCode::TooBig)?, 8)
            }
            _ => (short, 0),
        };
        // Lengths are to be written in the shortest way.
        if (length_bytes == 2 && payload_bytes < 126) || (length_bytes == 8 && payload_bytes <= usize::from(u16::MAX)) {
            return Err(CloseCode::ProtocolError);
        }
        let Some(mask) = data.get(2 + length_bytes..6 + length_bytes).and_then(|bytes| bytes.try_into().ok()) else {
            // A head announces its length before the mask: a message that is too big is refused without the rest.
            return if payload_bytes > isize::MAX as usize / 2 { Err(CloseCode::TooBig) } else { Ok(None) };
        };
        Ok(Some(Self { fin, compressed, opcode, mask, head_bytes: 6 + length_bytes, payload_bytes }))
    }
}

/// A message that came compressed.
fn inflated<'a>(text: bool, data: &[u8], limits: Limits) -> Result<Incoming<'a>, CloseCode> {
    let bytes = inflate(data, limits.message_bytes_max).map_err(|error| match error {
        InflateError::TooLong => CloseCode::TooBig,
        InflateError::Invalid => CloseCode::InvalidText,
    })?;
    if !text {
        return Ok(Incoming::Binary(Cow::Owned(bytes)));
    }
    String::from_utf8(bytes).map(|text| Incoming::Text(Cow::Owned(text))).map_err(|_| CloseCode::InvalidText)
}

/// The code of a close frame, if it has one.
fn close_code(payload: &[u8]) -> Result<Option<u16>, CloseCode> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(None) } else { Err(CloseCode::ProtocolError) };
    };
    let code = u16::from_be_bytes(*code);
    if !WireCloseCode::from(code).is_allowed() {
        return Err(CloseCode::ProtocolError);
    }
    std::str::from_utf8(reason).map_err(|_| CloseCode::InvalidText)?;
    Ok(Some(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { message_bytes_max: 1000, message_fragments_max: 3 };

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            0..=125 => bytes.push(0x80 | payload.len() as u8),
            126..=0xffff => {
                bytes.push(0x80 | 126);
                bytes.extend_from_slice(&(payload.len() as u16).to_be_bytes());
            }
            _ => {
                bytes.push(0x80 | 127);
                bytes.extend_from_slice(&(payload.len() as u64).to_be_bytes());
            }
        }
        let mask = [1, 2, 3, 4];
        bytes.extend_from_slice(&mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }

    /// Feeds frames, each whole, until one gives more than a fragment.
    fn fed(frames: &[Vec<u8>]) -> Result<Vec<u8>, CloseCode> {
        let mut decoder = Decoder::new(LIMITS, false);
        for frame in frames {
            let mut data = frame.clone();
            let (incoming, used) = decoder.take(&mut data)?.expect("a whole frame");
            assert_eq!(used, frame.len());
            match incoming {
                Incoming::Fragment => {}
                Incoming::Text(text) => return Ok(text.as_bytes().to_vec()),
                Incoming::Binary(bytes) => return Ok(bytes.to_vec()),
                Incoming::Ping(bytes) => return Ok(bytes.to_vec()),
                Incoming::Pong(_) => return Ok(b"pong".to_vec()),
                Incoming::Close(code) => return Ok(format!("{code:?}").into_bytes()),
            }
        }
        Ok(Vec::new())
    }

    #[test]
    fn a_frame_may_come_byte_by_byte() {
        for payload in [&b""[..], b"hello", &[b'x'; 126], &[b'x'; 999]] {
            let whole = frame(0x81, payload);
            for cut in 0..whole.len() {
                let mut part = whole.get(..cut).expect("a part").to_vec();
                assert_eq!(Decoder::new(LIMITS, false).take(&mut part), Ok(None), "{cut} of {}", whole.len());
            }
            assert_eq!(fed(&[whole]), Ok(payload.to_vec()));
        }
    }

    #[test]
    fn fragments_make_one_message() {
        let euro = "€".as_bytes();
        let parts = [frame(0x01, &euro[..1]), frame(0x00, &euro[1..2]), frame(0x80, &euro[2..])];
        assert_eq!(fed(&parts), Ok(euro.to_vec()));
        assert_eq!(fed(&[frame(0x02, &[0xff]), frame(0x80, &[0xfe])]), Ok(vec![0xff, 0xfe]));
    }

    #[test]
    fn what_a_client_may_not_send_is_refused() {
        let protocol_error = Err(CloseCode::ProtocolError);
        let mut unmasked = frame(0x81, b"");
        unmasked[1] = 0;
        let long_form = vec![0x81, 0x80 | 126, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let negative = vec![0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for bad in [
            vec![unmasked],
            vec![long_form],
            vec![negative],
            vec![frame(0xc1, b"x")],
            vec![frame(0xa1, b"x")],
            vec![frame(0x91, b"x")],
            vec![frame(0x83, b"x")],
            vec![frame(0x8b, b"x")],
            vec![frame(0x09, b"x")],
            vec![frame(0x89, &[0; 126])],
            vec![frame(0x8a, &[0; 126])],
            vec![frame(0x88, &[0; 126])],
            vec![frame(0x80, b"x")],
            vec![frame(0x01, b"x"), frame(0x81, b"y")],
            vec![frame(0x01, b"x"), frame(0x01, b"y")],
            vec![frame(0x88, b"x")],
            vec![frame(0x88, &[0x03, 0xec])],
        ] {
            assert_eq!(fed(&bad), protocol_error, "{bad:?}");
        }
    }

    #[test]
    fn text_is_utf8_also_at_the_end_of_a_fragmented_message() {
        let invalid = Err(CloseCode::InvalidText);
        assert_eq!(fed(&[frame(0x81, &[0xe2, 0x82])]), invalid);
        assert_eq!(fed(&[frame(0x01, b"a"), frame(0x80, &[0xe2, 0x82])]), invalid);
        assert_eq!(fed(&[frame(0x01, &[0xff]), frame(0x00, b"a")]), invalid);
        assert_eq!(fed(&[frame(0x88, &[0x03, 0xe8, 0xff])]), invalid);
    }

    #[test]
    fn a_message_is_bounded_over_all_its_fragments() {
        let too_big = Err(CloseCode::TooBig);
        assert!(fed(&[frame(0x81, &[b'x'; 1000])]).is_ok());
        assert_eq!(fed(&[frame(0x81, &[b'x'; 1001])]), too_big);
        assert_eq!(fed(&[frame(0x01, &[b'x'; 600]), frame(0x80, &[b'x'; 600])]), too_big);
        assert_eq!(fed(&[frame(0x01, b""), frame(0x00, b""), frame(0x00, b""), frame(0x80, b"")]), too_big);
        let mut announced = vec![0x81, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3, 4];
        assert_eq!(
            Decoder::new(LIMITS, false).take(&mut announced),
            Err(CloseCode::TooBig),
            "refused by its head alone"
        );
    }

    #[test]
    fn control_frames_may_come_between_fragments() {
        let mut decoder = Decoder::new(LIMITS, false);
        for (bytes, expected) in [
            (frame(0x01, b"a"), Incoming::Fragment),
            (frame(0x89, b"p"), Incoming::Ping(b"p")),
            (frame(0x8a, b"+"), Incoming::Pong(b"+")),
            (frame(0x80, b"b"), Incoming::Text(Cow::Borrowed("ab"))),
            (frame(0x88, &[0x03, 0xe8]), Incoming::Close(Some(1000))),
            (frame(0x88, b""), Incoming::Close(None)),
        ] {
            let mut data = bytes;
            assert_eq!(decoder.take(&mut data).map(|taken| taken.map(|(incoming, _)| incoming)), Ok(Some(expected)));
        }
    }
}
