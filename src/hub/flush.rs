//! Flush passes: walks over the members of rooms in which something waits.
//!
//! A pass is cut into slices, and rooms take turns slice by slice, so that neither one huge room nor many rooms hold up
//! the input that arrives meanwhile.

use std::cmp::Reverse;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::Hub;
use super::room::NOBODY;

/// Writes after which a pass lets others run.
const SLICE_WRITES_MAX: usize = 256;

/// Time after which a pass lets others run, whatever it did.
const SLICE_TIME_MAX: Duration = Duration::from_micros(500);

/// How many writes go by between two looks at the clock.
const WRITES_PER_CLOCK: usize = 16;

/// What is left to do after a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing waits.
    Idle,
    /// Nothing may be written before this time.
    Until(Instant),
    /// There is more to write now.
    More,
}

impl Hub {
    /// Remembers whom to wake when something is to be flushed.
    pub fn set_flusher(&mut self, waker: &Waker) {
        if self.flusher.as_ref().is_none_or(|known| !known.will_wake(waker)) {
            self.flusher = Some(waker.clone());
        }
    }

    /// What a slice would find.
    pub fn flush_state(&self, now: Instant) -> Progress {
        match self.delayed.peek() {
            _ if !self.queue.is_empty() => Progress::More,
            Some(Reverse((due, _))) if *due <= now => Progress::More,
            Some(Reverse((due, _))) => Progress::Until(*due),
            None => Progress::Idle,
        }
    }

    /// Writes for a while, and says what is left.
    pub fn flush_slice(&mut self, now: Instant) -> Progress {
        self.set_clock(now);
        while let Some(Reverse((due, room))) = self.delayed.peek().copied()
            && due <= now
        {
            self.delayed.pop();
            self.queue.push_back(room);
        }
        let mut budget = Budget { writes: SLICE_WRITES_MAX, began: now };
        // Most slices end with the end of a pass, whose time does for both.
        let mut read_clock = None;
        while let Some(room) = self.queue.pop_front() {
            if self.pass(room, &mut budget, now) {
                let written = Instant::now();
                self.end_pass(room, now, written);
                read_clock = Some(written);
            } else {
                self.queue.push_back(room);
                read_clock = None;
            }
            if budget.is_spent() {
                break;
            }
        }
        self.flush_state(read_clock.unwrap_or_else(Instant::now))
    }

    /// Goes on with a room's pass, or begins one. Returns whether it is done.
    fn pass(&mut self, room_key: u32, budget: &mut Budget, now: Instant) -> bool {
        let Some(room) = self.rooms.get_mut(room_key as usize) else { return true };
        if room.pass.is_none() {
            room.begin_pass(now, self.limits.deflate_bytes_min);
            self.stats.passes += 1;
        }
        loop {
            match self.write_whole_batches(room_key, budget) {
                Step::Done => return true,
                Step::Spent => return false,
                Step::Special(slot) => {
                    budget.spend();
                    self.settle(slot);
                }
            }
        }
    }

    /// Writes the batch to members until one needs something else than exactly the batch.
    fn write_whole_batches(&mut self, room_key: u32, budget: &mut Budget) -> Step {
        let (only_dirty_room, now_ms) = (self.dirty_rooms == 1, self.now_ms);
        let Some(room) = self.rooms.get_mut(room_key as usize) else { return Step::Done };
        let Some(pass) = &mut room.pass else { return Step::Done };
        let crowd = room.members.len();
        let end = pass.batch.audience().min(crowd);
        while pass.next < end {
            if budget.is_spent() {
                return Step::Spent;
            }
            let index = pass.next;
            pass.next += 1;
            let Some(slot) = room.members.get(index).copied().filter(|slot| *slot != NOBODY) else { continue };
            let Some(connection) = self.connections.get_mut(slot as usize) else { continue };
            if connection.served >= pass.batch.last_tick() && connection.deferred.is_empty() {
                continue;
            }
            let alone = only_dirty_room || connection.rooms.len() == 1;
            if !(alone && connection.is_plain() && pass.batch.is_whole_for(slot, index, connection.served)) {
                return Step::Special(slot);
            }
            let mut pings = false;
            if let Some(logged) = pass.batch.logged() {
                connection.proof.note_written();
                if connection.proof.is_due(now_ms) {
                    // The ping covers all its rooms.
                    let [place] = connection.rooms.as_mut_slice() else { return Step::Special(slot) };
                    pings = logged > place.pinged && connection.proof.is_due_in(place, logged, crowd, now_ms);
                    place.pinged = if pings { logged } else { place.pinged };
                }
            }
            connection.served = pass.batch.last_tick();
            budget.spend();
            let frames = pass.batch.frames().len();
            let ephemeral = pass.batch.ephemeral();
            let bytes = if pings {
                connection.proof.begin(now_ms);
                self.stats.pings += 1;
                pass.batch.bytes_with_ping(connection.encoding)
            } else {
                pass.batch.bytes(connection.encoding)
            };
            // What the socket does not take waits in a backlog that is new, so no bound can be crossed yet.
            let _waits = connection.write(bytes, frames, ephemeral, &mut self.stats);
        }
        Step::Done
    }

    fn end_pass(&mut self, room_key: u32, now: Instant, written: Instant) {
        let Some(room) = self.rooms.get_mut(room_key as usize) else { return };
        if let Some(pass) = room.pass.take() {
            // Once for all receivers: an upper bound for each, because the oldest event and the last write are meant.
            self.latency.record(written.saturating_duration_since(pass.since));
        }
        let moved = room.close_gaps();
        let clean = !room.has_outbox();
        self.note_moved(room_key, moved);
        if clean {
            self.dirty_rooms -= 1;
            self.drop_room_if_empty(room_key);
        } else {
            self.schedule(room_key, now);
        }
    }
}

enum Step {
    /// All members were written.
    Done,
    /// The slice is used up.
    Spent,
    /// This member needs more than the batch, or less.
    Special(u32),
}

struct Budget {
    writes: usize,
    began: Instant,
}

impl Budget {
    fn spend(&mut self) {
        self.writes = self.writes.saturating_sub(1);
        if self.writes.is_multiple_of(WRITES_PER_CLOCK) && self.began.elapsed() > SLICE_TIME_MAX {
            self.writes = 0;
        }
    }

    fn is_spent(&self) -> bool {
        self.writes == 0
    }
}
