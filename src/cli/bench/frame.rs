//! WebSocket frames, as little of RFC 6455 as a load generator and its floor need. Knows nothing of what is inside.

/// Text frame.
pub(super) const TEXT: u8 = 0x1;
/// Close frame.
pub(super) const CLOSE: u8 = 0x8;
/// Ping frame.
pub(super) const PING: u8 = 0x9;
/// Pong frame.
pub(super) const PONG: u8 = 0xA;

/// Payload bytes above which a frame is taken for nonsense.
pub(super) const PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// Key of the handshake: the example of RFC 6455, since no cache stands between us and the server.
pub(super) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// The one right answer to `KEY`.
pub(super) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Bytes of the longest request or response head that is waited for.
pub(super) const HEAD_BYTES_MAX: usize = 16 << 10;

/// The head of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) opcode: u8,
    pub(super) whole: bool,
    pub(super) mask: Option<[u8; 4]>,
    pub(super) head_bytes: usize,
    pub(super) payload_bytes: usize,
}

/// Reads a frame's head, if all of it is there.
pub(super) fn head(bytes: &[u8]) -> Option<Head> {
    let (&[first, second], rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = match second & 0x7F {
        126 => rest.split_first_chunk::<2>().map(|(length, rest)| (u64::from(u16::from_be_bytes(*length)), rest))?,
        127 => rest.split_first_chunk::<8>().map(|(length, rest)| (u64::from_be_bytes(*length), rest))?,
        short => (u64::from(short), rest),
    };
    let (mask, rest) = if second & 0x80 == 0 {
        (None, rest)
    } else {
        rest.split_first_chunk::<4>().map(|(mask, rest)| (Some(*mask), rest))?
    };
    Some(Head {
        opcode: first & 0x0F,
        whole: first & 0x80 != 0,
        mask,
        head_bytes: bytes.len() - rest.len(),
        payload_bytes: usize::try_from(length).unwrap_or(usize::MAX),
    })
}

/// Appends a masked frame, as a client must send it.
pub(super) fn push_masked(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    const MASK: [u8; 4] = [0x5A, 0xC3, 0x96, 0x0F];
    push_head(out, opcode, payload.len(), 0x80);
    out.extend_from_slice(&MASK);
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(masked) = out.get_mut(start..) {
        unmask(masked, MASK);
    }
}

/// Appends a frame's head, as a server must send it.
pub(super) fn push_plain_head(out: &mut Vec<u8>, opcode: u8, payload_bytes: usize) {
    push_head(out, opcode, payload_bytes, 0);
}

/// Applies or removes a mask.
pub(super) fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    for chunk in payload.chunks_mut(4) {
        for (byte, key) in chunk.iter_mut().zip(mask) {
            *byte ^= key;
        }
    }
}

/// Bytes of an unmasked frame's head.
pub(super) const fn plain_head_bytes(payload_bytes: usize) -> usize {
    match payload_bytes {
        0..126 => 2,
        126..65_536 => 4,
        _ => 10,
    }
}

fn push_head(out: &mut Vec<u8>, opcode: u8, payload_bytes: usize, masked: u8) {
    out.push(0x80 | opcode);
    if let Ok(length) = u8::try_from(payload_bytes)
        && length < 126
    {
        out.push(masked | length);
    } else if let Ok(length) = u16::try_from(payload_bytes) {
        out.push(masked | 126);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        out.push(masked | 127);
        out.extend_from_slice(&(payload_bytes as u64).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_of_each_length_class_is_read_as_it_was_written() {
        for payload_bytes in [0, 1, 125, 126, 127, 65_535, 65_536] {
            let payload = vec![b'x'; payload_bytes];
            let mut frame = Vec::new();
            push_masked(&mut frame, TEXT, &payload);
            let read = head(&frame).expect("a whole head");
            assert_eq!((read.opcode, read.whole, read.payload_bytes), (TEXT, true, payload_bytes));
            let mut body = frame.split_off(read.head_bytes);
            unmask(&mut body, read.mask.expect("a mask"));
            assert_eq!(body, payload);

            let mut plain = Vec::new();
            push_plain_head(&mut plain, TEXT, payload_bytes);
            assert_eq!(plain.len(), plain_head_bytes(payload_bytes));
            assert_eq!(head(&plain).map(|read| read.mask), Some(None));
        }
    }

    #[test]
    fn an_incomplete_head_is_not_read() {
        let mut frame = Vec::new();
        push_masked(&mut frame, TEXT, &[b'x'; 300]);
        for length in 0..8 {
            assert_eq!(head(&frame[..length]), None);
        }
    }
}
