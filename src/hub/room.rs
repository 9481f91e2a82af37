//! One room's live members here, and the frames that wait to be written to them.
//!
//! Members stand in a dense list. While anything waits, nobody's place in it changes: whoever leaves is only struck
//! out, and whoever comes is added at the end, where the frames that wait do not reach.

use std::time::Instant;

use super::batch::{Batch, Pending};
use crate::ids::RoomId;
use crate::message::Seq;

/// A place that was given up.
pub(super) const NOBODY: u32 = u32::MAX;

/// A room with at least one live member here, or with one who just left.
pub(super) struct Room {
    pub(super) id: RoomId,
    /// The last event of the room's log that was published here.
    pub(super) logged: Seq,
    /// Slots of connections.
    pub(super) members: Vec<u32>,
    struck_out: usize,
    outbox: Vec<Pending>,
    /// When the oldest frame in the outbox was published.
    since: Option<Instant>,
    /// The pass that is under way.
    pub(super) pass: Option<Pass>,
    /// When the last pass began.
    pub(super) last_flush: Option<Instant>,
}

/// A walk over a room's members, each of whom is written the batch.
pub(super) struct Pass {
    pub(super) batch: Batch,
    /// When the oldest of its frames was published.
    pub(super) since: Instant,
    /// Place of the next member.
    pub(super) next: usize,
}

impl Room {
    pub(super) fn new(id: RoomId) -> Self {
        Self {
            id,
            logged: 0,
            members: Vec::new(),
            struck_out: 0,
            outbox: Vec::new(),
            since: None,
            pass: None,
            last_flush: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.len() == self.struck_out
    }

    /// Whether nothing waits.
    pub(super) fn is_clean(&self) -> bool {
        self.outbox.is_empty() && self.pass.is_none()
    }

    pub(super) fn has_outbox(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Adds a member; returns its place.
    pub(super) fn add(&mut self, slot: u32) -> u32 {
        self.members.push(slot);
        u32::try_from(self.members.len() - 1).unwrap_or(u32::MAX)
    }

    /// Takes a member out; returns who was moved into its place, and that place.
    pub(super) fn remove(&mut self, index: u32) -> Option<(u32, u32)> {
        *self.members.get_mut(index as usize)? = NOBODY;
        self.struck_out += 1;
        if self.is_clean() { self.fill_gap(index) } else { None }
    }

    /// Moves the last member into a place that was given up; returns who was moved, and where.
    fn fill_gap(&mut self, gap: u32) -> Option<(u32, u32)> {
        while self.members.last() == Some(&NOBODY) {
            self.members.pop();
            self.struck_out -= 1;
        }
        if gap as usize >= self.members.len() {
            return None;
        }
        let last = self.members.pop()?;
        *self.members.get_mut(gap as usize)? = last;
        self.struck_out -= 1;
        Some((last, gap))
    }

    /// Closes the gaps between passes, once there are many; returns who was moved, and where. Everyone keeps their place
    /// in the order, so frames that wait still reach exactly whom they are for.
    pub(super) fn close_gaps(&mut self) -> Vec<(u32, u32)> {
        if self.struck_out == 0 || self.struck_out * 4 < self.members.len() || self.pass.is_some() {
            return Vec::new();
        }
        for pending in &mut self.outbox {
            let reached = self.members.iter().take(pending.audience as usize);
            pending.audience = u32::try_from(reached.filter(|member| **member != NOBODY).count()).unwrap_or(u32::MAX);
        }
        self.members.retain(|member| *member != NOBODY);
        self.struck_out = 0;
        self.members.iter().copied().zip(0..).collect()
    }

    /// Appends a frame for the members there are now; returns how many.
    pub(super) fn push(&mut self, pending: Pending, now: Instant) -> usize {
        let audience = self.members.len();
        self.since.get_or_insert(now);
        self.logged = pending.frame.seq().unwrap_or(self.logged);
        self.outbox.push(Pending { audience: u32::try_from(audience).unwrap_or(u32::MAX), ..pending });
        audience - self.struck_out
    }

    /// Begins a pass with all that waits.
    pub(super) fn begin_pass(&mut self, now: Instant, deflate_bytes_min: usize) {
        self.last_flush = Some(now);
        let since = self.since.take().unwrap_or(now);
        let batch = Batch::new(std::mem::take(&mut self.outbox), deflate_bytes_min);
        self.pass = batch.map(|batch| Pass { batch, since, next: 0 });
    }

    /// All frames that may be unwritten for some member.
    pub(super) fn unwritten(&self) -> impl Iterator<Item = &Pending> {
        let passing = self.pass.iter().flat_map(|pass| pass.batch.frames());
        passing.chain(&self.outbox)
    }

    /// How far down the list of members the newest frame reaches that may be unwritten.
    pub(super) fn last_audience(&self) -> u32 {
        let passing = self.pass.as_ref().map_or(0, |pass| u32::try_from(pass.batch.audience()).unwrap_or(u32::MAX));
        self.outbox.last().map_or(passing, |pending| pending.audience)
    }

    /// Tick of the newest frame that may be unwritten; 0 if there is none.
    pub(super) fn last_tick(&self) -> u64 {
        let passing = self.pass.as_ref().map_or(0, |pass| pass.batch.last_tick());
        self.outbox.last().map_or(passing, |pending| pending.tick)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::wire::Frame;
    use crate::wire::dialect::Push;

    fn room(members: u32) -> Room {
        let mut room = Room::new(RoomId::parse("r").unwrap());
        (0..members).for_each(|slot| assert_eq!(room.add(slot + 10), slot));
        room
    }

    fn pending(tick: u64) -> Pending {
        Pending { tick, frame: Arc::new(Frame::new(Push::MessageNew, b"1", false)), audience: 0, skip: None }
    }

    #[test]
    fn a_quiet_rooms_gap_is_filled_at_once() {
        let mut room = room(4);
        assert_eq!(room.remove(1), Some((13, 1)));
        assert_eq!(room.members, [10, 13, 12]);
        assert_eq!(room.remove(2), None);
        assert_eq!(room.members, [10, 13]);
        assert_eq!(room.remove(0), Some((13, 0)));
        assert_eq!(room.remove(0), None);
        assert!(room.is_empty() && room.members.is_empty());
    }

    #[test]
    fn a_pass_is_as_old_as_its_oldest_frame() {
        let mut room = room(1);
        let times: Vec<Instant> =
            (0..4).map(|number| Instant::now() + std::time::Duration::from_secs(number)).collect();
        room.push(pending(1), times[0]);
        room.push(pending(2), times[1]);
        room.begin_pass(times[2], 0);
        assert_eq!(room.pass.take().map(|pass| pass.since), Some(times[0]));
        room.push(pending(3), times[3]);
        room.begin_pass(times[3], 0);
        assert_eq!(room.pass.take().map(|pass| pass.since), Some(times[3]));
    }

    #[test]
    fn while_anything_waits_places_stay_and_newcomers_are_out_of_reach() {
        let mut room = room(5);
        assert_eq!(room.push(pending(1), Instant::now()), 5);
        assert_eq!(room.remove(1), None);
        assert_eq!(room.remove(4), None);
        assert_eq!(room.add(20), 5);
        assert_eq!(room.push(pending(2), Instant::now()), 4);
        assert_eq!(room.unwritten().map(|pending| pending.audience).collect::<Vec<_>>(), [5, 6]);
        room.begin_pass(Instant::now(), 0);
        assert!(room.close_gaps().is_empty(), "not during a pass");
        assert_eq!(room.last_tick(), 2);
        room.pass = None;
        assert_eq!(room.push(pending(3), Instant::now()), 4);
        assert_eq!(room.close_gaps(), [(10, 0), (12, 1), (13, 2), (20, 3)]);
        assert_eq!(room.members, [10, 12, 13, 20]);
        assert_eq!(room.last_audience(), 4);
    }
}
