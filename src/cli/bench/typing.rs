//! Everybody types: each member of each room says so several times a second, as clients do, and once a second stops. The
//! others are told of the first start and of the stop only. Knows nothing of sockets' details, repetitions and reports.

use super::client::Seat;
use super::dialect::{self, Incoming};
use super::ephemeral::{self, Change, EphemeralFigures, Storm};
use super::error::BenchError;
use super::ledger::Account;
use super::measure::{OPEN_TIME_MAX, calm};
use super::swarm::Swarm;
use super::target::{Seating, Target};

/// Who types, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Typists {
    pub(super) rooms: usize,
    pub(super) members: usize,
    /// Starts of each member. With the last one of each second comes a stop.
    pub(super) starts_per_second: u64,
}

impl Typists {
    fn users(self) -> usize {
        self.rooms * self.members
    }

    /// Who sends request `number`, and which one of that user's it is: neighbours in time are in different rooms.
    fn turn(self, number: usize) -> (Seat, usize) {
        let member = number / self.rooms % self.members;
        (Seat { room: number % self.rooms, member }, number / self.users())
    }

    /// The change that a user's start number `turn` makes: of each second's starts, the first is news, and the last one
    /// is followed by a stop.
    fn transition(self, turn: usize) -> Option<usize> {
        let starts = usize::try_from(self.starts_per_second.max(2)).unwrap_or(usize::MAX);
        match turn % starts {
            0 => Some(turn / starts * 2),
            last if last + 1 == starts => Some(turn / starts * 2 + 1),
            _ => None,
        }
    }

    /// When a user's change was due, from the begin.
    fn due_ns(self, seat: Seat, transition: usize) -> u64 {
        let starts = self.starts_per_second.max(2);
        let turn = transition as u64 / 2 * starts + if transition.is_multiple_of(2) { 0 } else { starts - 1 };
        (turn * self.users() as u64 + (seat.member * self.rooms + seat.room) as u64) * self.interval_ns()
    }

    fn interval_ns(self) -> u64 {
        1_000_000_000 / (self.users() as u64 * self.starts_per_second.max(2)).max(1)
    }

    fn change(self, seat: Seat, transition: usize) -> Change {
        Change {
            number: transition * self.users() + seat.room * self.members + seat.member,
            due_ns: self.due_ns(seat, transition),
            receivers: u32::try_from(self.members.saturating_sub(1)).unwrap_or(u32::MAX),
        }
    }
}

/// The storm, and what each has heard of each.
struct TypingStorm {
    typists: Typists,
    rooms: Vec<String>,
    /// By receiver and typist, both in the same room: changes heard of. Pushes do not say of which start they are, but
    /// they come in order, starts and stops in turn.
    heard: Vec<usize>,
}

impl Storm for TypingStorm {
    fn interval_ns(&self) -> u64 {
        self.typists.interval_ns()
    }

    fn changes_max(&self, requests: usize) -> usize {
        // Two for each second, of each user.
        requests + 2 * self.typists.users()
    }

    fn send(&mut self, number: usize, _due_ns: u64, swarm: &mut Swarm) -> Option<Change> {
        let (seat, turn) = self.typists.turn(number);
        let transition = self.typists.transition(turn);
        let room = self.rooms.get(seat.room).map_or("", String::as_str);
        let connection = swarm.connection(seat.room * self.typists.members + seat.member)?;
        connection.send(&dialect::typing(room, true));
        if transition.is_some_and(|transition| transition % 2 == 1) {
            connection.send(&dialect::typing(room, false));
        }
        Some(self.typists.change(seat, transition?))
    }

    fn hear(&mut self, seat: Seat, incoming: &Incoming) -> Option<Change> {
        let Incoming::Typing { user, is_typing } = *incoming else { return None };
        let members = self.typists.members;
        let typist = Seat { room: user / members, member: user % members };
        let pair = (seat.room * members + seat.member) * members + typist.member;
        let heard = self.heard.get_mut(pair).filter(|_| typist.room == seat.room)?;
        // One that was dropped is passed over.
        let transition = *heard + usize::from((*heard % 2 == 0) != is_typing);
        *heard = transition + 1;
        Some(self.typists.change(typist, transition))
    }
}

/// Lets everybody type.
pub(super) fn typing(
    target: &Target,
    typists: Typists,
    seconds: u64,
) -> Result<(EphemeralFigures, Account), BenchError> {
    let mut swarm = Swarm::new()?;
    let seating = Seating::Rooms { rooms: typists.rooms, members: typists.members };
    swarm.open(target.openings(seating)?, OPEN_TIME_MAX)?;
    calm(&mut swarm)?;
    let rooms = (0..typists.rooms).map(|room| target.room(room)).collect();
    let mut storm = TypingStorm { typists, rooms, heard: vec![0; typists.users() * typists.members] };
    ephemeral::run(target, &mut swarm, &mut storm, seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPISTS: Typists = Typists { rooms: 2, members: 3, starts_per_second: 5 };

    fn storm() -> TypingStorm {
        TypingStorm { typists: TYPISTS, rooms: Vec::new(), heard: vec![0; 18] }
    }

    #[test]
    fn of_five_starts_the_first_and_a_stop_behind_the_last_are_told() {
        let transitions: Vec<_> = (0..11).map(|turn| TYPISTS.transition(turn)).collect();
        let told = [(0, 0), (4, 1), (5, 2), (9, 3), (10, 4)];
        for (turn, transition) in transitions.iter().enumerate() {
            let expected = told.iter().find(|(told, _)| *told == turn).map(|(_, transition)| *transition);
            assert_eq!(*transition, expected, "turn {turn}");
        }
    }

    #[test]
    fn a_change_is_due_when_its_request_is() {
        for number in 0..200 {
            let (seat, turn) = TYPISTS.turn(number);
            if let Some(transition) = TYPISTS.transition(turn) {
                assert_eq!(TYPISTS.due_ns(seat, transition), number as u64 * TYPISTS.interval_ns(), "{number}");
            }
        }
    }

    #[test]
    fn a_push_that_was_dropped_is_passed_over() {
        let mut storm = storm();
        let listener = Seat { room: 1, member: 0 };
        let typist = Seat { room: 1, member: 2 };
        let mut hear = |user, is_typing| storm.hear(listener, &Incoming::Typing { user, is_typing });
        assert_eq!(hear(5, true), Some(TYPISTS.change(typist, 0)));
        // The stop was dropped.
        assert_eq!(hear(5, true), Some(TYPISTS.change(typist, 2)));
        assert_eq!(hear(5, false), Some(TYPISTS.change(typist, 3)));
        assert_eq!(hear(1, true), None, "of another room");
        assert_eq!(TYPISTS.change(typist, 0).receivers, 2);
    }
}
