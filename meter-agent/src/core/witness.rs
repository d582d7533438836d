//! What a household has seen of the community's log, and what to make of the next delivery.

use std::collections::BTreeMap;

use protocol::merkle::Frontier;
use protocol::{B256, Delivery, LateLine, Statement, U256, keccak256};
use serde::{Deserialize, Serialize};

/// Judged statements that are remembered, to tell a repetition from a second story.
const KEPT: usize = 192;
/// Slots with a missing meter that are remembered, as they may be settled again: a good week.
const KEPT_OPEN: usize = 800;
/// How often a missing part of the log is asked for before the household goes on without it.
pub const MAX_ASKS: u32 = 3;

/// The right edge of the log, and what was billed so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Witness {
    /// The log as far as it was seen.
    pub frontier: Frontier,
    /// The newest slot that was settled for the first time.
    pub last_slot: Option<i64>,
    /// From this slot on, all settlements were seen and those that may change are remembered.
    pub seen_from: Option<i64>,
    /// The edge up to which all energy is billed.
    pub billed_to: Option<i64>,
    /// All rewards of this household so far.
    pub reward_total: U256,
    /// Digests of judged statements, by their entry in the log.
    pub judged: BTreeMap<u64, B256>,
    /// What did not hold in those that did not.
    #[serde(default)]
    pub doubts: BTreeMap<u64, String>,
    /// The newest settlement of slots in which a meter was missing: only these are settled again.
    #[serde(default)]
    pub open: BTreeMap<i64, Slip>,
}

/// What a later version of a slot is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slip {
    /// Which settlement it is.
    pub version: u32,
    /// Digest of what no version may change: prices, trades, fees, rewards, the sharing rule.
    pub fixed: B256,
    /// How many households' meters were missing.
    pub missing: u32,
    /// Metered import of the street.
    pub street_import_wh: i64,
    /// Metered export of the street.
    pub street_export_wh: i64,
    /// Whether the own meter was there.
    pub measured: bool,
    /// Own import.
    pub import_wh: i64,
    /// Own export.
    pub export_wh: i64,
    /// Energy of earlier slots that was billed with it.
    pub late: Vec<LateLine>,
}

/// What a statement bills that no earlier version of its slot did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fresh<'a> {
    /// Energy of earlier slots.
    pub late: &'a [LateLine],
    /// Whether the slot's own energy is.
    pub measured: bool,
}

impl Slip {
    /// The slip of a delivery.
    #[must_use]
    pub fn of(delivery: &Delivery) -> Self {
        let Delivery { statement, header, .. } = delivery;
        Self {
            version: header.version,
            fixed: fixed(delivery),
            missing: header.missing,
            street_import_wh: header.totals.import_wh,
            street_export_wh: header.totals.export_wh,
            measured: statement.measured,
            import_wh: statement.import_wh,
            export_wh: statement.export_wh,
            late: statement.late.clone(),
        }
    }
}

/// Digest of what no version may change.
fn fixed(delivery: &Delivery) -> B256 {
    let Delivery { statement, header, .. } = delivery;
    let totals = &header.totals;
    let public = (
        (header.slot, header.retail, header.feed_in, &header.price, header.scheduled_wh),
        (header.orders_root, header.sharing, header.statements),
        (totals.grid_fees, totals.congestion, totals.reward_wh),
    );
    let own = (
        (statement.bought_wh, statement.sold_wh, &statement.price, &statement.bus),
        statement.reward_wh,
    );
    keccak256(serde_json::to_string(&(public, own)).expect("messages are plain data"))
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
    /// Another statement for an entry that was judged before.
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
        match self.judged.get(&index) {
            Some(&judged) if judged == digest => Place::Repeated,
            Some(_) => Place::SecondStory,
            None => Place::Forgotten,
        }
    }

    /// What a statement bills that no earlier version of its slot did. Of versions that were not
    /// seen, what lies behind everything billed so far.
    #[must_use]
    pub fn fresh<'a>(&self, statement: &'a Statement) -> Fresh<'a> {
        let late = statement.late.as_slice();
        let known = if statement.version <= 1 { None } else { self.open.get(&statement.slot) };
        match known {
            _ if statement.version <= 1 => Fresh { late, measured: statement.measured },
            Some(slip) => Fresh {
                late: late.get(slip.late.len()..).unwrap_or_default(),
                measured: statement.measured && !slip.measured,
            },
            None => {
                let is_new = |slot: i64| self.billed_to.is_none_or(|to| slot > to);
                let old = late.iter().take_while(|line| !is_new(line.slot)).count();
                let measured = statement.measured && is_new(statement.slot);
                Fresh { late: &late[old..], measured }
            }
        }
    }

    /// Goes on behind a delivery that belongs to the log, whether or not its bill holds.
    pub fn advance(&mut self, delivery: &Delivery, frontier: Frontier, digest: B256) {
        let Delivery { statement, header, .. } = delivery;
        let fresh = self.fresh(statement);
        if let Some(line) = fresh.late.last() {
            self.billed_to = Some(line.slot);
        }
        if fresh.measured {
            self.billed_to = Some(statement.slot);
        }
        self.frontier = frontier;
        if header.version <= 1 {
            self.last_slot = Some(statement.slot);
            self.seen_from = self.seen_from.or(self.last_slot);
        }
        if header.missing > 0 {
            self.open.insert(statement.slot, Slip::of(delivery));
        } else {
            self.open.remove(&statement.slot);
        }
        while self.open.len() > KEPT_OPEN {
            let oldest = self.open.pop_first().map(|(slot, _)| slot + 1);
            self.seen_from = self.seen_from.max(oldest);
        }
        self.reward_total = self.reward_total.max(statement.reward_total);
        self.judged.insert(header.index, digest);
        while self.judged.len() > KEPT {
            if let Some((index, _)) = self.judged.pop_first() {
                self.doubts.remove(&index);
            }
        }
    }

    /// Forgets the log and what was billed, to go on behind a part that was never shown.
    pub fn skip(&mut self) {
        self.frontier = Frontier::default();
        self.last_slot = None;
        self.seen_from = None;
        self.billed_to = None;
        self.open.clear();
    }
}
