//! What a check carries from slot to slot.

use std::collections::BTreeMap;

use market::{Cumulative, Mint, Policy, RewardFault, Terms};
use protocol::{Address, B256, Domain, Totals, merkle};
use units::{PointId, Slot};

use super::super::line::MemberLine;
use crate::rules::{Connection, KeyRing, Registers, Revision, StreetGrid, StreetSharing};

/// A member, and how far its readings have come.
#[derive(Debug)]
pub struct Member {
    /// As it is enrolled.
    pub line: MemberLine,
    /// Its keys, and when each counts.
    pub keys: KeyRing,
    /// Sequence number of its last reading.
    pub seq: u64,
    /// Digest of its last reading.
    pub head: B256,
    /// Registers up to which everything is settled.
    pub settled: Option<(Slot, Registers)>,
    /// Readings that count and are not settled.
    pub edges: BTreeMap<Slot, Registers>,
    /// All rewards so far, 10⁻¹⁸ tokens.
    pub rewards: u128,
    /// Whether it has had a bill.
    pub billed: bool,
}

/// The log at one size.
#[derive(Debug, Clone, Copy)]
pub struct Root {
    /// Leaves.
    pub size: u64,
    /// Root.
    pub root: B256,
    /// When it was signed, Unix milliseconds.
    pub time_ms: i64,
}

/// A slot that was read, for the epochs.
#[derive(Debug)]
pub struct Settled {
    /// The slot.
    pub slot: Slot,
    /// What it moved, with the corrections of earlier slots since the slot before.
    pub totals: Totals,
    /// Size of the log after it.
    pub log_size: u64,
    /// Root of the log after it.
    pub log_root: B256,
    /// Root of the rewards tree after it; none when there is no such tree.
    pub rewards_root: Option<B256>,
}

/// What is known before a slot.
pub struct State {
    /// Signing domain.
    pub domain: Domain,
    /// Who signs for the community.
    pub operator: Address,
    /// Orders are accepted until this long before a slot.
    pub gate_lead_ms: i64,
    /// How rewards are earned.
    pub policy: Policy,
    /// Grids that slots were cleared on, by digest; the plate has none, zero.
    pub grids: BTreeMap<B256, StreetGrid>,
    /// Sharing rules and legal keys by digest; the auction alone is always there.
    pub sharings: BTreeMap<B256, StreetSharing>,
    /// The members.
    pub members: BTreeMap<PointId, Member>,
    /// The log; none after a gap that cannot be bridged.
    pub log: Option<merkle::Frontier>,
    /// Known sizes of the log, ascending.
    pub roots: Vec<Root>,
    /// The supplier's terms in the slots that were read.
    pub terms: BTreeMap<Slot, Terms>,
    /// First slot.
    pub first: Slot,
    /// Last slot.
    pub last: Slot,
    /// Next slot.
    pub next: Slot,
    /// How many slots back a slot is settled again.
    pub correct_within: u32,
    /// Slots in which a meter is missing that may still come.
    pub past: BTreeMap<Slot, Revision>,
    /// The last slot that was settled again since the last that was settled.
    pub corrected: Option<Slot>,
    /// What the log's entries have moved since the last slot that was settled.
    pub moved: Totals,
    /// Slots that were read.
    pub settled: Vec<Settled>,
}

impl Member {
    /// The newest registers that count.
    pub fn newest(&self) -> Option<(Slot, Registers)> {
        self.edges.iter().next_back().map(|(&slot, &registers)| (slot, registers)).or(self.settled)
    }

    /// What its connection can carry.
    pub const fn connection(&self) -> Connection {
        let MemberLine { max_import_w, max_export_w, .. } = self.line;
        Connection { max_import_w, max_export_w }
    }
}

impl State {
    /// The member with this name.
    pub fn member(&self, point: &str) -> Option<&Member> {
        self.members.get(&PointId::new(point).ok()?)
    }

    /// All rewards so far.
    ///
    /// # Errors
    /// When they leave the range of the chain's numbers.
    pub fn rewards(&self) -> Result<Cumulative, RewardFault> {
        let mints: Vec<Mint> = self
            .members
            .iter()
            .map(|(point, member)| Mint { point: point.clone(), wei: member.rewards })
            .collect();
        let mut rewards = Cumulative::default();
        rewards.add(&mints)?;
        Ok(rewards)
    }

    /// The tree of all rewards so far by account; none when there is no such tree.
    pub fn rewards_tree(&self) -> Option<chain::RewardsTree> {
        let mut earned: BTreeMap<Address, u128> = BTreeMap::new();
        for member in self.members.values() {
            let sum = earned.entry(member.line.payout).or_default();
            *sum = sum.checked_add(member.rewards)?;
        }
        chain::RewardsTree::new(earned).ok()
    }

    /// The moment at which a slot's gate closes.
    pub const fn gate_ms(&self, slot: Slot) -> i64 {
        slot.start_ms() - self.gate_lead_ms
    }
}
