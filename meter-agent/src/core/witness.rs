//! What a household has seen of the community's log, and what to make of the next delivery.

use std::collections::BTreeMap;

use protocol::merkle::Frontier;
use protocol::{B256, Delivery, U256};
use serde::{Deserialize, Serialize};

/// Judged statements that are remembered, to tell a repetition from a second story.
const KEPT: usize = 192;
/// How often a missing part of the log is asked for before the household goes on without it.
pub const MAX_ASKS: u32 = 3;

/// The right edge of the log, and what was billed so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Witness {
    /// The log as far as it was seen.
    pub frontier: Frontier,
    /// Slot of its last header.
    pub last_slot: Option<i64>,
    /// The edge up to which all energy is billed.
    pub billed_to: Option<i64>,
    /// All rewards of this household so far.
    pub reward_total: U256,
    /// Digests of judged statements, by slot.
    pub judged: BTreeMap<i64, B256>,
    /// What did not hold in those that did not.
    #[serde(default)]
    pub doubts: BTreeMap<i64, String>,
}

/// How a delivery relates to what was seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The next entry of the log, or the first one ever.
    Next,
    /// Entries before it were not seen.
    Ahead,
    /// Judged before.
    Repeated,
    /// Another statement for a slot that was judged before.
    SecondStory,
    /// Older than anything remembered.
    Forgotten,
}

impl Witness {
    /// Where a delivery belongs. `digest` is that of its statement.
    #[must_use]
    pub fn place(&self, delivery: &Delivery, digest: B256) -> Place {
        let (size, index) = (self.frontier.size(), delivery.header.index);
        if index == size || size == 0 {
            return Place::Next;
        }
        if index > size {
            return Place::Ahead;
        }
        match self.judged.get(&delivery.statement.slot) {
            Some(&judged) if judged == digest => Place::Repeated,
            Some(_) => Place::SecondStory,
            None => Place::Forgotten,
        }
    }

    /// Goes on behind a delivery that belongs to the log, whether or not its bill holds.
    pub fn advance(&mut self, delivery: &Delivery, frontier: Frontier, digest: B256) {
        let Delivery { statement, .. } = delivery;
        self.frontier = frontier;
        self.last_slot = Some(statement.slot);
        if let Some(line) = statement.late.last() {
            self.billed_to = Some(line.slot);
        }
        if statement.measured {
            self.billed_to = Some(statement.slot);
        }
        self.reward_total = self.reward_total.max(statement.reward_total);
        self.judged.insert(statement.slot, digest);
        while self.judged.len() > KEPT {
            if let Some((slot, _)) = self.judged.pop_first() {
                self.doubts.remove(&slot);
            }
        }
    }

    /// Forgets the log and what was billed, to go on behind a part that was never shown.
    pub fn skip(&mut self) {
        self.frontier = Frontier::default();
        self.last_slot = None;
        self.billed_to = None;
    }
}
