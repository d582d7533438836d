//! What a step leaves behind: rows for the store, messages for the broker.

use market::sharing::Allocation;
use market::{Book, Clearing, Side, Transfer};
use protocol::{
    Audit, B256, Checkpoint, Delivery, Header, Order, Reading, Signed, Topic, Totals, Verified,
    merkle,
};
use serde::{Deserialize, Serialize};
use units::{Energy, PointId, Price, Slot};

use crate::rules::{KeyChangeRecord, KeyRevocationRecord, Member, Registers};

/// A row to be written; all of a step's rows are one transaction.
#[derive(Debug)]
pub enum Record {
    /// A reading was accepted.
    Reading(Box<ReadingRecord>),
    /// An order stands in the book.
    Order(Box<Verified<Order>>, i64),
    /// A gate closed.
    Cleared(Box<ClearedRecord>),
    /// A slot was settled.
    Settled(Box<SettledRecord>),
    /// A household judged its statement.
    Audit(Box<Verified<Audit>>),
    /// A message was not accepted.
    Refusal(RefusalRecord),
    /// A household's watermarks after the step; one for every household that came further.
    Watermark(Watermark),
    /// A household has another key.
    KeyChange(Box<KeyChangeRecord>),
    /// A household's key counts no more.
    KeyRevocation(Box<KeyRevocationRecord>),
    /// An epoch is ready for the chain.
    Anchor(Box<AnchorDraft>),
}

/// A message to be published once the step's records are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Where.
    pub topic: Topic,
    /// What.
    pub payload: Vec<u8>,
    /// Whether late subscribers should get it.
    pub retain: bool,
}

/// An accepted reading.
#[derive(Debug)]
pub struct ReadingRecord {
    /// The reading.
    pub reading: Verified<Reading>,
    /// When it arrived.
    pub received_ms: i64,
    /// Why its registers do not count; none when they do.
    pub quarantine: Option<String>,
}

/// How far a household has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    /// Metering point.
    pub point: PointId,
    /// Epoch of key and meter.
    pub epoch: u32,
    /// Highest reading without a gap before it.
    pub reading_seq: u64,
    /// Its digest.
    pub reading_head: B256,
    /// Highest order.
    pub order_seq: u64,
    /// Registers up to which everything is settled.
    pub settled: Option<(Slot, Registers)>,
    /// The newest reading that is settled; 0 = none.
    pub settled_seq: u64,
    /// Rewards so far, 10⁻¹⁸ tokens.
    pub reward_total: u128,
}

/// A cleared slot.
#[derive(Debug)]
pub struct ClearedRecord {
    /// The book that was cleared.
    pub book: Book,
    /// The result.
    pub clearing: Clearing,
    /// What was published about it.
    pub message: Signed<protocol::Clearing>,
    /// What each order got.
    pub fills: Vec<FillRecord>,
    /// How long the solver took, microseconds.
    pub solve_us: Option<i64>,
}

/// What one order got.
#[derive(Debug, Clone)]
pub struct FillRecord {
    /// Whose order.
    pub point: PointId,
    /// Which of the order's sides traded.
    pub side: Side,
    /// How much.
    pub quantity: Energy,
    /// At which price.
    pub price: Price,
    /// Digest of the order.
    pub order: B256,
}

/// A slot that was settled, or settled again.
#[derive(Debug)]
pub struct SettledRecord {
    /// The header at its place in the log.
    pub header: Header,
    /// Its leaf.
    pub leaf: B256,
    /// The log after it.
    pub frontier: merkle::Frontier,
    /// The operator's signature under that log.
    pub checkpoint: Signed<Checkpoint>,
    /// The statements, by metering point.
    pub statements: Vec<StatementRecord>,
    /// The ledger entries.
    pub transfers: Vec<Transfer>,
    /// What it adds to the sums of its epoch.
    pub moved: Totals,
    /// Who was billed with which meters, while the slot can still be settled again.
    pub members: Option<Vec<Member>>,
    /// Whose energy was whose in law; none without a key.
    pub allocation: Option<Allocation>,
}

/// A statement as it is sent.
#[derive(Debug)]
pub struct StatementRecord {
    /// Its leaf.
    pub leaf: B256,
    /// The household's newest reading that is settled after it; 0 = none.
    pub reading_seq: u64,
    /// All that the household gets.
    pub delivery: Delivery,
}

/// A message that was not accepted.
#[derive(Debug)]
pub struct RefusalRecord {
    /// Who sent it, when that is one of the members.
    pub point: Option<PointId>,
    /// Kind of message.
    pub kind: &'static str,
    /// Reason to count by.
    pub reason: &'static str,
    /// What exactly.
    pub detail: String,
    /// Keccak-256 of the bytes.
    pub message_hash: B256,
    /// The bytes, cut to the largest accepted size.
    pub message: Vec<u8>,
    /// When.
    pub time_ms: i64,
}

/// An epoch of settled slots on its way to the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchorDraft {
    /// Number of the epoch, from 1.
    pub seq: u64,
    /// First slot.
    pub from_slot: Slot,
    /// Last slot so far; before the first while the epoch is empty.
    pub to_slot: Slot,
    /// Size of the log after the last slot.
    pub log_size: u64,
    /// Root of that log.
    pub log_root: B256,
    /// Sums over the epoch; `reward_total` is cumulative.
    pub totals: Totals,
    /// Rewards so far by payout account, 10⁻¹⁸ tokens as decimal text.
    pub rewards: std::collections::BTreeMap<protocol::Address, String>,
    /// When it was complete.
    pub time_ms: i64,
}

impl AnchorDraft {
    /// An epoch without slots.
    #[must_use]
    pub fn empty(seq: u64, from_slot: Slot) -> Self {
        Self {
            seq,
            from_slot,
            to_slot: from_slot.previous(),
            log_size: 0,
            log_root: B256::ZERO,
            totals: Totals::default(),
            rewards: std::collections::BTreeMap::new(),
            time_ms: 0,
        }
    }

    /// Slots so far.
    #[must_use]
    pub const fn slots(&self) -> i64 {
        self.to_slot.number() - self.from_slot.number() + 1
    }

    /// The rewards tree of the epoch; its root goes into the epoch's header.
    ///
    /// # Panics
    /// When the rewards are no numbers or beyond 128 bits, which the desk has checked.
    #[must_use]
    pub fn rewards_tree(&self) -> chain::RewardsTree {
        let earned = self
            .rewards
            .iter()
            .map(|(account, wei)| (*account, wei.parse().expect("written from a number")))
            .collect();
        chain::RewardsTree::new(earned).expect("checked by the rewards' running total")
    }

    /// Adds the next entry of the log: the settlement of the next slot, or a later version of an
    /// earlier one. `totals` is what it moved.
    pub fn add(&mut self, slot: Slot, version: u32, totals: &Totals) {
        let sum = &mut self.totals;
        for (into, value) in [
            (&mut sum.import_wh, totals.import_wh),
            (&mut sum.export_wh, totals.export_wh),
            (&mut sum.grid_import_wh, totals.grid_import_wh),
            (&mut sum.grid_export_wh, totals.grid_export_wh),
            (&mut sum.local_wh, totals.local_wh),
            (&mut sum.debit, totals.debit),
            (&mut sum.credit, totals.credit),
            (&mut sum.supplier, totals.supplier),
            (&mut sum.reward_wh, totals.reward_wh),
        ] {
            *into = into.checked_add(value).expect(
                "an epoch has at most 960 bounded slots, each settled at most once per member",
            );
        }
        sum.reward_total = totals.reward_total;
        if version == 1 {
            self.to_slot = slot;
        }
    }
}
