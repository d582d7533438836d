//! Which quarter-hours a scenario covers.
//!
//! `t` counts quarter-hours from 2016-01-01T00:00:00Z. The rows are one or more blocks of
//! consecutive steps. Between blocks whole UTC days may be left out (a pack of four sample weeks is
//! four blocks), so a jump must lead from the last quarter-hour of a day to the first of a later
//! day; every other jump is a gap and refused.

use std::ops::Range;

use feeder::Row;
use units::Slot;

use super::error::{Flaw, ScenarioError};

/// The slot of t = 0.
pub(super) const EPOCH: Slot = Slot::new(1_612_896);
/// Steps further away than this (about 100 years) are typing errors.
const FARTHEST: i64 = 100 * 366 * Slot::PER_DAY;

/// The file whose rows set the steps for all others.
pub(super) const MASTER: &str = "tariffs.csv";

/// A run of consecutive slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// First slot.
    pub first: Slot,
    /// Row of the first slot.
    pub first_row: usize,
    /// Number of slots.
    pub slots: usize,
}

impl Block {
    /// First slot after the block.
    #[must_use]
    pub fn end(&self) -> Slot {
        self.first.offset(i64::try_from(self.slots).expect("a file has fewer rows than 2^63"))
    }

    /// Whether the slot is one of the block's.
    #[must_use]
    pub fn contains(&self, slot: Slot) -> bool {
        self.first <= slot && slot < self.end()
    }
}

/// All slots of a scenario, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timeline {
    blocks: Vec<Block>,
    rows: usize,
}

impl Timeline {
    /// The runs of consecutive slots.
    #[must_use]
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Number of slots in all blocks.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is no slot at all; never so in a loaded scenario.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The very first slot.
    ///
    /// # Panics
    /// If the timeline is empty.
    #[must_use]
    pub fn first(&self) -> Slot {
        self.blocks.first().expect("a loaded scenario has at least one slot").first
    }

    /// The block that contains a slot.
    #[must_use]
    pub fn block_of(&self, slot: Slot) -> Option<&Block> {
        let after = self.blocks.partition_point(|block| block.first <= slot);
        self.blocks[..after].last().filter(|block| block.contains(slot))
    }

    /// The row of a slot in every series.
    #[must_use]
    pub fn row_of(&self, slot: Slot) -> Option<usize> {
        let block = self.block_of(slot)?;
        let inside = usize::try_from(slot.number() - block.first.number()).ok()?;
        Some(block.first_row + inside)
    }

    /// The slot of a row.
    #[must_use]
    pub fn slot_of(&self, row: usize) -> Option<Slot> {
        let after = self.blocks.partition_point(|block| block.first_row <= row);
        let block = self.blocks[..after].last().filter(|_| row < self.rows)?;
        Some(block.first.offset(i64::try_from(row - block.first_row).ok()?))
    }

    /// One run of consecutive slots, for a street that is made rather than read.
    #[must_use]
    pub fn consecutive(first: Slot, slots: usize) -> Self {
        Self { blocks: vec![Block { first, first_row: 0, slots }], rows: slots }
    }

    /// The rows of all slots from `from` up to, but not including, `to`.
    #[must_use]
    pub fn rows_between(&self, from: Slot, to: Slot) -> Range<usize> {
        let before = |slot: Slot| -> usize {
            let of = |block: &Block| {
                let inside = slot.number().saturating_sub(block.first.number());
                usize::try_from(inside).unwrap_or(0).min(block.slots)
            };
            self.blocks.iter().map(of).sum()
        };
        let first = before(from);
        first..before(to).max(first)
    }

    /// Adds the next row.
    pub(super) fn push(&mut self, row: &Row<'_>, column: usize) -> Result<(), ScenarioError> {
        let t = read_t(row, column)?;
        let slot = slot_of_t(t);
        if let Some(previous) = self.slot_of(self.rows.wrapping_sub(1)) {
            let before = t_of_slot(previous);
            if t <= before {
                let flaw = Flaw::NotAscending { t, previous: before };
                return Err(ScenarioError::at(row.place(), flaw));
            }
            if slot == previous.next() {
                self.blocks.last_mut().expect("a previous row is in a block").slots += 1;
                self.rows += 1;
                return Ok(());
            }
            let whole_days =
                previous.next().number() % Slot::PER_DAY == 0 && slot.number() % Slot::PER_DAY == 0;
            if !whole_days {
                return Err(ScenarioError::at(row.place(), Flaw::Gap { t, previous: before }));
            }
        }
        self.blocks.push(Block { first: slot, first_row: self.rows, slots: 1 });
        self.rows += 1;
        Ok(())
    }

    /// Checks that a row of another file stands for the step that the timeline has there.
    pub(super) fn check(
        &self,
        index: usize,
        row: &Row<'_>,
        column: usize,
    ) -> Result<(), ScenarioError> {
        let t = read_t(row, column)?;
        match self.slot_of(index).map(t_of_slot) {
            Some(expected) if expected == t => Ok(()),
            Some(expected) => {
                let flaw = Flaw::OtherTime { t, master: MASTER, expected };
                Err(ScenarioError::at(row.place(), flaw))
            }
            None => {
                let flaw =
                    Flaw::OtherLength { rows: index + 1, master: MASTER, expected: self.rows };
                Err(ScenarioError::at(row.place(), flaw))
            }
        }
    }
}

/// The number and, where the file has it, the text of a time must say the same.
pub(super) fn check_timestamp(
    row: &Row<'_>,
    t: usize,
    timestamp: Option<usize>,
) -> Result<(), ScenarioError> {
    let Some(timestamp) = timestamp else { return Ok(()) };
    let t = read_t(row, t)?;
    let short = slot_of_t(t).to_string();
    let expected = format!("{}:00Z", short.trim_end_matches('Z'));
    let found = row.text(timestamp);
    if found == expected {
        return Ok(());
    }
    let found = found.chars().take(40).collect();
    Err(ScenarioError::at(row.place(), Flaw::OtherTimestamp { t, expected, found }))
}

fn read_t(row: &Row<'_>, column: usize) -> Result<i64, ScenarioError> {
    let t = row.integer(column)?;
    if t.abs() > FARTHEST {
        return Err(row.bad_field(column, "a quarter-hour within 100 years of 2016").into());
    }
    Ok(t)
}

const fn slot_of_t(t: i64) -> Slot {
    EPOCH.offset(t)
}

/// The step number of a slot, as the files write it.
#[must_use]
pub const fn t_of_slot(slot: Slot) -> i64 {
    slot.number() - EPOCH.number()
}
