//! `permessage-deflate` (RFC 7692) without context takeover: what was offered, messages smaller and messages as they were.
//!
//! Each message stands alone, so it is compressed once for all receivers, and a connection keeps no state for it: the
//! compressor and the decompressor belong to the thread. Knows nothing of connections, and no frame but its first byte.

use std::cell::RefCell;

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::frame::{message_frame, payload_of};

/// The answer to an offer that is taken.
pub const ACCEPTED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// The first byte of a compressed text: FIN, RSV1 and the opcode.
const COMPRESSED_TEXT: u8 = 0xc1;
/// The first byte of a text as it is.
const TEXT: u8 = 0x81;
/// How each message's data end, which is left out on the wire.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// Longest list of extensions that is looked at, in bytes.
const OFFER_BYTES_MAX: usize = 1024;
/// The decompressed message grows by steps of this size, so that a small message costs little.
const STEP_BYTES: usize = 4096;

/// Why a compressed message is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InflateError {
    /// It would be longer than it may be.
    TooLong,
    /// The data make no sense.
    Invalid,
}

thread_local! {
    static COMPRESS: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
    static DECOMPRESS: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// Whether a list of extensions holds an offer that can be taken: one without parameters that are unknown, and without a
/// window for the server smaller than ours.
pub fn is_offered(extensions: &str) -> bool {
    extensions.len() <= OFFER_BYTES_MAX && extensions.split(',').any(is_acceptable)
}

fn is_acceptable(offer: &str) -> bool {
    let mut parts = offer.split(';').map(str::trim);
    if parts.next() != Some("permessage-deflate") {
        return false;
    }
    let mut seen: Vec<&str> = Vec::new();
    parts.all(|parameter| {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
            None => (parameter, None),
        };
        let is_first = !seen.contains(&name);
        seen.push(name);
        let is_understood = match (name, value) {
            ("server_no_context_takeover" | "client_no_context_takeover" | "client_max_window_bits", None) => true,
            ("client_max_window_bits", Some(bits)) => bits.parse().is_ok_and(|bits: u8| (8..=15).contains(&bits)),
            ("server_max_window_bits", Some(bits)) => bits == "15",
            _ => false,
        };
        is_first && is_understood
    })
}

/// A text frame, compressed if it is at least so long and becomes shorter by it. Other frames stay as they are.
pub fn deflate_frame(frame: &Bytes, bytes_min: usize) -> Bytes {
    let payload = payload_of(frame);
    if payload.len() < bytes_min || frame.first() != Some(&TEXT) {
        return frame.clone();
    }
    match deflate(payload) {
        Some(short) if short.len() < payload.len() => message_frame(COMPRESSED_TEXT, &short),
        _ => frame.clone(),
    }
}

fn deflate(payload: &[u8]) -> Option<Vec<u8>> {
    COMPRESS.with_borrow_mut(|compress| {
        compress.reset();
        // Whatever would not fit into as many bytes is not worth being compressed.
        let mut short = Vec::with_capacity(payload.len() + TAIL.len());
        let status = compress.compress_vec(payload, &mut short, FlushCompress::Sync).ok()?;
        let is_whole = status == Status::Ok && compress.total_in() == payload.len() as u64 && short.ends_with(&TAIL);
        short.truncate(short.len().saturating_sub(TAIL.len()));
        is_whole.then_some(short)
    })
}

/// A compressed message as it was, if it is not longer than it may be.
///
/// # Errors
///
/// If it is, or if the data make no sense.
pub fn inflate(data: &[u8], bytes_max: usize) -> Result<Vec<u8>, InflateError> {
    DECOMPRESS.with_borrow_mut(|decompress| {
        decompress.reset(false);
        let mut message = Vec::new();
        for part in [data, &TAIL] {
            inflate_part(decompress, part, &mut message, bytes_max)?;
        }
        Ok(message)
    })
}

/// Takes a part of the data. It may hold several deflate streams, of which each but the last has ended.
fn inflate_part(
    decompress: &mut Decompress,
    mut data: &[u8],
    message: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<(), InflateError> {
    loop {
        if message.len() == message.capacity() {
            message.reserve(STEP_BYTES.max(message.len()).min(bytes_max.saturating_sub(message.len()) + 1));
        }
        let (read, written) = (decompress.total_in(), message.len());
        let status = decompress.decompress_vec(data, message, FlushDecompress::Sync);
        let status = status.map_err(|_| InflateError::Invalid)?;
        let used = usize::try_from(decompress.total_in() - read).unwrap_or(usize::MAX);
        data = data.get(used..).unwrap_or_default();
        if message.len() > bytes_max {
            return Err(InflateError::TooLong);
        }
        if status == Status::StreamEnd {
            decompress.reset(false);
        }
        let is_full = message.len() == message.capacity();
        if data.is_empty() && !is_full {
            return Ok(());
        }
        if used == 0 && message.len() == written && !is_full && status != Status::StreamEnd {
            return Err(InflateError::Invalid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::text_frame;

    #[test]
    fn s1_95_offers_that_can_be_kept_are_taken() {
        for offer in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate;client_max_window_bits=10;server_no_context_takeover",
            "x-webkit-deflate-frame, permessage-deflate; server_max_window_bits=15",
            "permessage-deflate; server_max_window_bits=9, permessage-deflate; client_no_context_takeover",
            "permessage-deflate; server_max_window_bits=\"15\"",
        ] {
            assert!(is_offered(offer), "{offer}");
        }
        let long = format!("permessage-deflate{}", ", x".repeat(OFFER_BYTES_MAX));
        for offer in [
            "",
            "deflate",
            "permessage-deflate; server_max_window_bits=9",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits; client_max_window_bits",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; what",
            &long,
        ] {
            assert!(!is_offered(offer), "{offer}");
        }
    }

    /// A small generator (xorshift).
    fn random(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    #[test]
    fn what_was_compressed_comes_back() {
        let mut state = 0x9e37_79b9_7f4a_7c15;
        for length in [0, 1, 50, 200, 4095, 4096, 4097, 70_000, 300_000] {
            for variety in [1, 4, 256] {
                let text: Vec<u8> = (0..length).map(|_| b'!' + (random(&mut state) % variety % 90) as u8).collect();
                let frame = text_frame(&text);
                let short = deflate_frame(&frame, 0);
                if short.first() == Some(&COMPRESSED_TEXT) {
                    assert!(short.len() < frame.len());
                    assert_eq!(
                        inflate(payload_of(&short), length).as_deref(),
                        Ok(text.as_slice()),
                        "{length} {variety}"
                    );
                    if length > 0 {
                        assert_eq!(inflate(payload_of(&short), length - 1), Err(InflateError::TooLong));
                    }
                } else {
                    assert_eq!(short, frame);
                    assert!(variety == 256 || length < 200, "{length} {variety}");
                }
            }
        }
    }

    #[test]
    fn short_messages_and_other_frames_stay_as_they_are() {
        let text = text_frame(&[b'x'; 200]);
        assert_eq!(deflate_frame(&text, 201), text);
        assert_ne!(deflate_frame(&text, 200), text);
        let binary = message_frame(0x82, &[b'x'; 200]);
        assert_eq!(deflate_frame(&binary, 0), binary);
    }

    #[test]
    fn a_message_of_nothing_and_one_that_ends_its_stream_are_understood() {
        assert_eq!(inflate(&[0], 10).as_deref(), Ok([].as_slice()));
        // RFC 7692, 7.2.3: "Hello", in a block that is not the last, in one that is, stored, and in two blocks.
        for data in [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
        ] {
            assert_eq!(inflate(data, 5).as_deref(), Ok(b"Hello".as_slice()), "{data:x?}");
        }
    }

    #[test]
    fn a_bomb_costs_no_more_than_the_bound_and_nonsense_is_refused() {
        let zeros = deflate(&vec![b' '; 10_000_000]).expect("it shrinks");
        assert!(zeros.len() < 100_000);
        assert_eq!(inflate(&zeros, 65_536), Err(InflateError::TooLong));
        assert_eq!(inflate(&[0xff; 20], 1000), Err(InflateError::Invalid));
        let mut state = 7;
        for _ in 0..20_000 {
            let noise: Vec<u8> = (0..random(&mut state) % 64).map(|_| random(&mut state) as u8).collect();
            if let Ok(message) = inflate(&noise, 1000) {
                assert!(message.len() <= 1000);
            }
        }
    }
}
