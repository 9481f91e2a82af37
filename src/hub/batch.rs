//! Frames that are written together, and their bytes in each encoding, made once for all members.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::message::Seq;
use crate::wire::deflate::deflate_frame;
use crate::wire::frame::{PROOF_PING, text_frame, text_header};
use crate::wire::{Encoding, Frame};

/// Longest WebSocket message made of several pushes, in bytes of JSON. Clients bound what they receive, too.
const JOINED_BYTES_MAX: usize = 32 << 10;

/// A frame that waits in a room's outbox.
#[derive(Clone)]
pub(super) struct Pending {
    pub(super) tick: u64,
    pub(super) frame: Arc<Frame>,
    /// Members with a lower place were live when it was published.
    pub(super) audience: u32,
    /// The one connection that does not want it.
    pub(super) skip: Option<u32>,
}

impl Pending {
    /// Whether a member is still to be written this frame.
    pub(super) fn is_for(&self, slot: u32, index: u32, served: u64) -> bool {
        self.tick > served && index < self.audience && self.skip != Some(slot)
    }
}

/// The frames of one pass.
pub(super) struct Batch {
    frames: Vec<Pending>,
    first_tick: u64,
    last_tick: u64,
    /// Members with a lower place get all frames; with a higher one, perhaps some.
    common_audience: u32,
    /// Members with a lower place get at least one.
    audience: u32,
    /// Connections that do not want one of the frames.
    skips: SmallVec<[u32; 4]>,
    ephemeral: bool,
    /// The last event of the room's log that is among them.
    logged: Option<Seq>,
    bytes: [Option<Bytes>; Encoding::COUNT],
    /// The same with a ping behind it.
    with_ping: [Option<Bytes>; Encoding::COUNT],
    deflate_bytes_min: usize,
}

impl Batch {
    /// A batch, unless there is nothing to write.
    pub(super) fn new(frames: Vec<Pending>, deflate_bytes_min: usize) -> Option<Self> {
        let (first, last) = (frames.first()?, frames.last()?);
        Some(Self {
            first_tick: first.tick,
            last_tick: last.tick,
            common_audience: first.audience,
            audience: last.audience,
            skips: frames.iter().filter_map(|pending| pending.skip).collect(),
            ephemeral: frames.iter().all(|pending| pending.frame.ephemeral()),
            logged: frames.iter().rev().find_map(|pending| pending.frame.seq()),
            bytes: [const { None }; Encoding::COUNT],
            with_ping: [const { None }; Encoding::COUNT],
            deflate_bytes_min,
            frames,
        })
    }

    pub(super) fn frames(&self) -> &[Pending] {
        &self.frames
    }

    pub(super) fn last_tick(&self) -> u64 {
        self.last_tick
    }

    /// How far down the list of members the batch reaches.
    pub(super) fn audience(&self) -> usize {
        self.audience as usize
    }

    pub(super) fn ephemeral(&self) -> bool {
        self.ephemeral
    }

    /// The last event of the room's log that is among the frames.
    pub(super) fn logged(&self) -> Option<Seq> {
        self.logged
    }

    /// Whether a member that was served up to a tick gets exactly the whole batch.
    pub(super) fn is_whole_for(&self, slot: u32, index: usize, served: u64) -> bool {
        served < self.first_tick
            && index < self.common_audience as usize
            && (self.skips.is_empty() || !self.skips.contains(&slot))
    }

    /// The whole batch in an encoding, with a ping behind it.
    pub(super) fn bytes_with_ping(&mut self, encoding: Encoding) -> &Bytes {
        static NOTHING: Bytes = Bytes::new();
        let index = encoding.index();
        if self.with_ping.get(index).is_some_and(Option::is_none) {
            let bytes = [self.bytes(encoding), PROOF_PING.as_slice()].concat();
            self.with_ping.get_mut(index).into_iter().for_each(|slot| *slot = Some(bytes.clone().into()));
        }
        self.with_ping.get(index).and_then(Option::as_ref).unwrap_or(&NOTHING)
    }

    /// The whole batch in an encoding.
    pub(super) fn bytes(&mut self, encoding: Encoding) -> &Bytes {
        // One frame alone is the same with and without batching, and is shared as it is.
        static NOTHING: Bytes = Bytes::new();
        let index = encoding.index();
        let deflate_bytes_min = self.deflate_bytes_min;
        let Some(slot) = self.bytes.get_mut(index) else { return &NOTHING };
        slot.get_or_insert_with(|| match self.frames.as_slice() {
            [only] => only.frame.encoded(encoding, deflate_bytes_min).clone(),
            frames if encoding.batch => joined(frames, encoding, deflate_bytes_min),
            frames => {
                let frames = frames.iter().map(|pending| pending.frame.encoded(encoding, deflate_bytes_min));
                let mut bytes = Vec::with_capacity(frames.clone().map(Bytes::len).sum());
                frames.for_each(|frame| bytes.extend_from_slice(frame));
                bytes.into()
            }
        })
    }
}

/// Several pushes as few WebSocket messages, one object a line.
fn joined(frames: &[Pending], encoding: Encoding, deflate_bytes_min: usize) -> Bytes {
    let mut bytes = Vec::new();
    let mut line = Vec::new();
    let push = |bytes: &mut Vec<u8>, line: &[u8]| {
        if encoding.deflate {
            bytes.extend_from_slice(&deflate_frame(&text_frame(line), deflate_bytes_min));
        } else {
            text_header(bytes, line.len());
            bytes.extend_from_slice(line);
        }
    };
    for pending in frames {
        let json = pending.frame.json(encoding.dialect);
        if !line.is_empty() && line.len() + json.len() > JOINED_BYTES_MAX {
            push(&mut bytes, &line);
            line.clear();
        }
        if !line.is_empty() {
            line.push(b'\n');
        }
        line.extend_from_slice(json);
    }
    push(&mut bytes, &line);
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Dialect;
    use crate::wire::dialect::Push;

    fn batch(count: u64) -> Batch {
        let pending = |tick| Pending {
            tick,
            frame: Arc::new(Frame::new(Push::MessageNew, tick.to_string().as_bytes(), false)),
            audience: 3,
            skip: (tick == 2).then_some(7),
        };
        Batch::new((1..=count).map(pending).collect(), usize::MAX).unwrap()
    }

    #[test]
    fn s2_56_each_encoding_is_made_of_the_same_frames() {
        let mut batch = batch(2);
        let plain = batch.bytes(Encoding::default()).clone();
        assert_eq!(
            plain.as_ref(),
            b"\x81\x20{\"event\":\"message-new\",\"data\":1}\x81\x20{\"event\":\"message-new\",\"data\":2}"
        );
        let conversation = Encoding { dialect: Dialect::Conversation, batch: true, deflate: false };
        let lines = batch.bytes(conversation).clone();
        assert_eq!(
            lines.as_ref(),
            b"\x81\x41{\"event\":\"new-message\",\"data\":1}\n{\"event\":\"new-message\",\"data\":2}"
        );
    }

    #[test]
    fn joined_messages_are_bounded() {
        let frame = Arc::new(Frame::new(Push::MessageNew, format!("\"{}\"", "x".repeat(20_000)).as_bytes(), false));
        let pending = |tick| Pending { tick, frame: Arc::clone(&frame), audience: 1, skip: None };
        let mut batch = Batch::new(vec![pending(1), pending(2), pending(3)], usize::MAX).unwrap();
        let joined = batch.bytes(Encoding { batch: true, ..Encoding::default() });
        assert_eq!(joined.len(), 3 * frame.bytes(Dialect::Room).len(), "three messages, for two would be too long");
    }

    #[test]
    fn only_whom_the_whole_batch_is_for_gets_it_whole() {
        let batch = batch(2);
        assert!(batch.is_whole_for(1, 2, 0));
        assert!(!batch.is_whole_for(7, 2, 0), "it does not want one of the frames");
        assert!(!batch.is_whole_for(1, 3, 0), "it came later");
        assert!(!batch.is_whole_for(1, 2, 1), "it has the first already");
    }
}
