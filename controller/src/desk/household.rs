//! One member: who it is, and how far its readings and orders have come.

use std::collections::BTreeMap;

use ed25519_dalek::VerifyingKey;
use protocol::{Address, B256};
use units::{BusId, PointId, Slot};

use super::Watermark;
use crate::rules::{Connection, KeyRing, Member, Registers, meter};

/// A member as it was enrolled.
#[derive(Debug, Clone)]
pub struct Enrolment {
    /// Metering point.
    pub point: PointId,
    /// What the member calls itself.
    pub name: String,
    /// Where it is connected.
    pub bus: Option<BusId>,
    /// Its agent's key, as it was enrolled.
    pub key: VerifyingKey,
    /// Epoch of key and meter.
    pub epoch: u32,
    /// Account that earns its rewards.
    pub payout: Address,
    /// Largest power from the grid, W.
    pub max_import_w: i64,
    /// Largest power to the grid, W.
    pub max_export_w: i64,
    /// Whether its export earns rewards.
    pub renewable: bool,
    /// `household` or `business`.
    pub kind: String,
    /// Devices for the pages.
    pub devices: Vec<String>,
}

impl Enrolment {
    /// What its connection can carry.
    pub(super) const fn connection(&self) -> Connection {
        Connection { max_import_w: self.max_import_w, max_export_w: self.max_export_w }
    }
}

/// A reading's place in its household's chain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) seq: u64,
    pub(super) digest: B256,
}

/// A member and its watermarks.
#[derive(Debug, Clone)]
pub(super) struct Household {
    pub(super) enrolment: Enrolment,
    /// The keys that it has handed over since it was enrolled.
    pub(super) keys: KeyRing,
    /// Highest reading without a gap before it; 0 = none.
    pub(super) reading_seq: u64,
    /// Its digest.
    pub(super) reading_head: B256,
    /// Highest order.
    pub(super) order_seq: u64,
    /// Registers up to which everything is settled.
    pub(super) settled: Option<(Slot, Registers)>,
    /// Readings that are not settled, by the slot they end.
    pub(super) edges: BTreeMap<Slot, Registers>,
    /// Which readings these are.
    pub(super) marks: BTreeMap<Slot, Mark>,
    /// The newest reading that is settled; 0 = none.
    pub(super) settled_seq: u64,
    /// Slot of the newest plausible reading; one with an impossible time must not block later ones.
    pub(super) last_slot: Option<Slot>,
    /// Time of the newest live message.
    pub(super) live_ms: i64,
}

impl Household {
    pub(super) fn new(enrolment: Enrolment) -> Self {
        Self {
            keys: KeyRing::new(enrolment.key, enrolment.epoch),
            enrolment,
            reading_seq: 0,
            reading_head: B256::ZERO,
            order_seq: 0,
            settled: None,
            edges: BTreeMap::new(),
            marks: BTreeMap::new(),
            settled_seq: 0,
            last_slot: None,
            live_ms: i64::MIN,
        }
    }

    /// The newest registers that count.
    pub(super) fn newest(&self) -> Option<(Slot, Registers)> {
        self.edges.iter().next_back().map(|(&slot, &registers)| (slot, registers)).or(self.settled)
    }

    /// Whether a slot's settlement should wait for this household: it was there at the slot's start
    /// and its reading for the end has not come.
    pub(super) fn is_awaited(&self, slot: Slot) -> bool {
        self.newest().is_some_and(|(newest, _)| newest == slot.previous())
    }

    pub(super) fn member(&self, slot: Slot) -> Member {
        Member {
            point: self.enrolment.point.clone(),
            renewable: self.enrolment.renewable,
            metering: meter(self.settled, &self.edges, slot),
        }
    }

    /// Forgets readings that are settled; returns the digests of those up to `slot`, or up to where
    /// a full bill ended before it.
    pub(super) fn release(&mut self, slot: Slot, settled: Option<(Slot, Registers)>) -> Vec<B256> {
        self.settled = settled;
        let ends = settled.map_or(slot, |(to, _)| to);
        let is_full = self.edges.range(..=slot).next_back().is_some_and(|(&edge, _)| edge > ends);
        let first_kept = if is_full { ends } else { slot }.next();
        self.edges = self.edges.split_off(&first_kept);
        let later = self.marks.split_off(&first_kept);
        let released = std::mem::replace(&mut self.marks, later);
        if let Some((_, newest)) = released.last_key_value() {
            self.settled_seq = newest.seq;
        }
        released.into_values().map(|mark| mark.digest).collect()
    }

    pub(super) fn watermark(&self, reward_total: u128) -> Watermark {
        Watermark {
            point: self.enrolment.point.clone(),
            epoch: self.enrolment.epoch,
            reading_seq: self.reading_seq,
            reading_head: self.reading_head,
            order_seq: self.order_seq,
            settled: self.settled,
            settled_seq: self.settled_seq,
            reward_total,
        }
    }
}
