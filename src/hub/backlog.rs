//! What waits for a connection whose socket is full: bounded in bytes, frames and age.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Instant;

use bytes::{Buf, Bytes};

use super::Limits;

/// Buffers handed to the socket in one call.
const SLICES_MAX: usize = 16;

/// Frames in the order in which they will be written.
#[derive(Default)]
pub(super) struct Backlog {
    queue: VecDeque<Waiting>,
    bytes: usize,
    frames: usize,
    /// While nothing is to be written yet: behind how many entries those belong that will come first.
    held_at: Option<usize>,
    /// Bytes and frames that do not count against the bounds.
    granted: (usize, usize),
    /// Whether the first entry was written in part, so that it must be finished.
    begun: bool,
}

struct Waiting {
    bytes: Bytes,
    frames: usize,
    since: Instant,
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, bytes: Bytes, frames: usize) {
        self.bytes += bytes.len();
        self.frames += frames;
        self.queue.push_back(Waiting { bytes, frames, since: Instant::now() });
    }

    /// What is left of a write that the socket took only in part.
    pub(super) fn push_rest(&mut self, rest: Bytes, frames: usize, begun: bool) {
        self.push(rest, frames);
        self.begun = begun;
    }

    pub(super) fn is_held(&self) -> bool {
        self.held_at.is_some()
    }

    /// Lets whatever comes from now on wait.
    pub(super) fn hold(&mut self) {
        self.held_at.get_or_insert(self.queue.len());
    }

    /// Ends a hold; these frames come before all that was held.
    pub(super) fn release(&mut self, first: Vec<Bytes>) {
        let at = self.held_at.take().unwrap_or(self.queue.len()).min(self.queue.len());
        let held = self.queue.split_off(at);
        self.push_granted(first);
        self.queue.extend(held);
    }

    /// Takes frames that do not count against the bounds: whoever made them bounded them.
    pub(super) fn push_granted(&mut self, frames: Vec<Bytes>) {
        for bytes in frames {
            self.granted.0 += bytes.len();
            self.granted.1 += 1;
            self.push(bytes, 1);
        }
    }

    /// Whether a bound is crossed. A single frame is never too much: whoever made it bounded it.
    pub(super) fn is_over(&self, limits: &Limits, now: Instant) -> bool {
        let aged = self
            .queue
            .front()
            .is_some_and(|oldest| now.saturating_duration_since(oldest.since) > limits.outbox_age_max);
        let bytes = self.bytes.saturating_sub(self.granted.0);
        let frames = self.frames.saturating_sub(self.granted.1);
        aged || (frames > 1 && (bytes > limits.outbox_bytes_max || frames > limits.outbox_frames_max))
    }

    /// Forgets everything but an entry whose beginning the other side already has.
    pub(super) fn forget_unbegun(&mut self) {
        self.queue.truncate(usize::from(self.begun));
        self.granted = (0, 0);
        self.bytes = self.queue.iter().map(|waiting| waiting.bytes.len()).sum();
        self.frames = self.queue.iter().map(|waiting| waiting.frames).sum();
    }

    pub(super) fn slices(&self) -> [IoSlice<'_>; SLICES_MAX] {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        for (slice, waiting) in slices.iter_mut().zip(&self.queue) {
            *slice = IoSlice::new(&waiting.bytes);
        }
        slices
    }

    /// Takes note of what was written. What still waits has begun to move, so its age counts from now.
    pub(super) fn advance(&mut self, mut written: usize, now: Instant) {
        self.bytes = self.bytes.saturating_sub(written);
        while let Some(first) = self.queue.front_mut() {
            if written < first.bytes.len() {
                self.begun |= written > 0;
                first.bytes.advance(written);
                first.since = now;
                return;
            }
            written -= first.bytes.len();
            self.frames = self.frames.saturating_sub(first.frames);
            self.queue.pop_front();
            self.begun = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limits() -> Limits {
        Limits {
            room_flush: Duration::ZERO,
            deflate_bytes_min: 0,
            outbox_bytes_max: 100,
            outbox_frames_max: 3,
            outbox_age_max: Duration::from_secs(1),
            close_max: Duration::ZERO,
        }
    }

    fn backlog(sizes: &[usize]) -> Backlog {
        let mut backlog = Backlog::default();
        sizes.iter().for_each(|size| backlog.push(vec![0; *size].into(), 1));
        backlog
    }

    #[test]
    fn each_bound_counts_by_itself() {
        let now = Instant::now();
        assert!(!backlog(&[30, 30, 30]).is_over(&limits(), now));
        assert!(backlog(&[60, 60]).is_over(&limits(), now), "bytes");
        assert!(backlog(&[1, 1, 1, 1]).is_over(&limits(), now), "frames");
        assert!(backlog(&[1]).is_over(&limits(), now + Duration::from_secs(2)), "age");
        assert!(!backlog(&[1000]).is_over(&limits(), now), "one frame alone");
    }

    #[test]
    fn a_frame_that_was_begun_is_finished() {
        let mut begun = backlog(&[10, 20, 30]);
        begun.advance(4, Instant::now());
        begun.forget_unbegun();
        assert_eq!((begun.bytes(), begun.frames), (6, 1));
        let mut between = backlog(&[10, 20, 30]);
        between.advance(10, Instant::now());
        between.forget_unbegun();
        assert!(between.is_empty());
    }

    #[test]
    fn what_is_released_first_comes_between_what_waited_and_what_was_held() {
        let mut waiting = backlog(&[1]);
        waiting.hold();
        waiting.push(vec![0; 3].into(), 1);
        waiting.release(vec![vec![0; 2].into(), vec![0; 200].into()]);
        assert!(!waiting.is_held());
        let lengths: Vec<usize> = waiting.queue.iter().map(|entry| entry.bytes.len()).collect();
        assert_eq!(lengths, [1, 2, 200, 3]);
        assert!(!waiting.is_over(&limits(), Instant::now()), "what was released does not count");
    }
}
