//! Keeping answers and questions in step where an answer does not say what it answers.
//!
//! In RTU, and behind gateways that give a late answer the number of the present question, only
//! unit, function and length of an answer can be checked. So a question that was given up is
//! remembered as owed. Nothing of the same shape is asked before a *marker* has come back: a question
//! of a length that nothing owed has. A serial line answers in order, so what was owed before the
//! marker can no longer come after it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::read::{Function, Read};

/// Most questions remembered; the oldest is forgotten first.
const MAX_OWED: usize = 32;
/// No gateway holds an answer back for longer than this.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// How many registers past the asked ones a marker may take in.
const REACH: u16 = 8;

/// What an answer without a transaction shows of its question.
type Shape = (u8, Function, u16);

const fn shape(read: Read) -> Shape {
    (read.unit(), read.function(), read.count())
}

/// The answers that may still come.
#[derive(Debug, Default)]
pub struct Steps {
    owed: VecDeque<(Shape, Instant)>,
}

impl Steps {
    /// A question was given up; its answer may still come.
    pub fn give_up(&mut self, read: Read, now: Instant) {
        self.forget(now);
        if self.owed.len() == MAX_OWED {
            self.owed.pop_front();
        }
        self.owed.push_back((shape(read), now));
    }

    /// Whether an answer that is owed could be taken for the answer to this.
    pub fn is_ambiguous(&mut self, read: Read, now: Instant) -> bool {
        self.forget(now);
        self.owed.iter().any(|(owed, _)| *owed == shape(read))
    }

    /// Whether this unit owes anything.
    pub fn owes(&self, unit: u8) -> bool {
        self.owed.iter().any(|((owing, ..), _)| *owing == unit)
    }

    /// An answer of this shape has come that is not for the present question: whether it was owed.
    /// Without a unit, when it is only known that another one sent it.
    pub fn settle(&mut self, unit: Option<u8>, function: u8, count: usize) -> bool {
        let found = self.owed.iter().position(|((owing, asked, owed), _)| {
            unit.is_none_or(|unit| *owing == unit)
                && asked.code() == function
                && usize::from(*owed) == count
        });
        found.and_then(|at| self.owed.remove(at)).is_some()
    }

    /// Whether a refusal of this function may be a late one. It settles nothing: the same question may
    /// be refused again.
    pub fn may_refuse(&self, function: u8) -> bool {
        self.owed.iter().any(|((_, asked, _), _)| asked.code() == function)
    }

    /// The unit has answered a marker, or has been quiet for so long that nothing comes any more.
    pub fn clear(&mut self, unit: u8) {
        self.owed.retain(|((owing, ..), _)| *owing != unit);
    }

    /// A question next to `read` whose answer nothing owed can be taken for. Shorter ones first:
    /// they stay inside what the device is known to have.
    pub fn marker(&self, read: Read, even: bool) -> Option<Read> {
        let step = if even { 2 } else { 1 };
        let shorter = (1..read.count()).rev();
        let longer = read.count() + 1..=read.count().saturating_add(REACH);
        shorter
            .chain(longer)
            .filter(|count| count % step == read.count() % step)
            .filter_map(|count| Read::new(read.unit(), read.function(), read.address(), count))
            .find(|marker| !self.owed.iter().any(|(owed, _)| *owed == shape(*marker)))
    }

    fn forget(&mut self, now: Instant) {
        self.owed.retain(|(_, since)| now.duration_since(*since) < FORGOTTEN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(unit: u8, count: u16) -> Read {
        Read::new(unit, Function::Input, 100, count).expect("possible")
    }

    #[test]
    fn what_is_owed_is_told_from_what_is_asked_by_its_shape() {
        let now = Instant::now();
        let mut steps = Steps::default();
        steps.give_up(read(1, 10), now);
        for (asked, expected) in [
            (read(1, 10), true),
            (Read::new(1, Function::Input, 7, 10).expect("possible"), true),
            (read(1, 9), false),
            (read(2, 10), false),
            (Read::new(1, Function::Holding, 100, 10).expect("possible"), false),
        ] {
            assert_eq!(steps.is_ambiguous(asked, now), expected, "{asked:?}");
        }
        assert!(steps.may_refuse(4) && !steps.may_refuse(3));
        assert!(!steps.settle(Some(1), 3, 10) && !steps.settle(Some(2), 4, 10));
        assert!(steps.settle(Some(1), 4, 10) && !steps.settle(Some(1), 4, 10));
        steps.give_up(read(2, 10), now);
        assert!(steps.settle(None, 4, 10) && !steps.settle(None, 4, 10));
        steps.give_up(read(1, 10), now);
        assert!(!steps.is_ambiguous(read(1, 10), now + FORGOTTEN), "one day it is over");
    }

    #[test]
    fn a_marker_has_a_length_that_nothing_owed_has() {
        let now = Instant::now();
        let mut steps = Steps::default();
        for count in [10, 9, 7] {
            steps.give_up(read(1, count), now);
        }
        assert_eq!(steps.marker(read(1, 10), false).map(Read::count), Some(8));
        assert_eq!(steps.marker(read(1, 10), true).map(Read::count), Some(8));
        assert_eq!(steps.marker(read(1, 1), false).map(Read::count), Some(2));
        assert_eq!(steps.marker(read(1, 2), true).map(Read::count), Some(4));
        for count in 1..=30 {
            steps.give_up(read(1, count), now);
        }
        assert_eq!(steps.marker(read(1, 10), false), None);
        steps.clear(1);
        assert!(!steps.owes(1));
    }

    #[test]
    fn memory_is_bounded() {
        let now = Instant::now();
        let mut steps = Steps::default();
        for _ in 0..1_000 {
            steps.give_up(read(1, 10), now);
        }
        assert_eq!(steps.owed.len(), MAX_OWED);
    }
}
