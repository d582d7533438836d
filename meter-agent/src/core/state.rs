//! What the agent remembers besides its journal: small, replaced as a whole.

use std::collections::BTreeMap;

use protocol::MeterEvent;
use serde::{Deserialize, Serialize};
use units::PointId;

use super::book::Placed;
use super::keys::KeyHistory;
use super::witness::Witness;

/// Version of the form below.
const VERSION: u32 = 3;

/// The state file's content with the identity it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    version: u32,
    point: PointId,
    epoch: u32,
    content: StateContent,
}

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateContent {
    /// Readings journalled so far: a journal that has fewer was lost.
    pub journal_seq: u64,
    /// Readings the operator has signed for.
    pub released_seq: u64,
    /// Market time of the newest receipt, Unix milliseconds.
    pub released_ms: i64,
    /// The changes of the household's key.
    #[serde(default)]
    pub keys: KeyHistory,
    /// What happened to the registers and the journal since the newest reading, for the next to tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub happenings: Vec<MeterEvent>,
    /// Highest order sequence number that may have been signed.
    pub order_seq: u64,
    /// Own orders by slot.
    pub orders: BTreeMap<i64, Placed>,
    /// Orders of slots from here on are all remembered.
    pub orders_known_from: i64,
    /// The log and the bills.
    pub witness: Witness,
}

/// Why a state does not belong here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForeignState {
    /// Written by another version of the agent.
    #[error("has version {0}, this agent reads version {VERSION}")]
    Version(u32),
    /// Of another household.
    #[error("belongs to metering point {0}")]
    Point(PointId),
}

impl State {
    /// A state of this version.
    #[must_use]
    pub const fn new(point: PointId, epoch: u32, content: StateContent) -> Self {
        Self { version: VERSION, point, epoch, content }
    }

    /// The state for this household and epoch. A new epoch starts its readings afresh and keeps
    /// orders, log and bills.
    ///
    /// # Errors
    /// [`ForeignState`].
    pub fn adopt(mut self, point: &PointId, epoch: u32) -> Result<Self, ForeignState> {
        if self.version != VERSION {
            return Err(ForeignState::Version(self.version));
        }
        if self.point != *point {
            return Err(ForeignState::Point(self.point));
        }
        if self.epoch != epoch {
            self.epoch = epoch;
            self.content.journal_seq = 0;
            self.content.released_seq = 0;
            self.content.released_ms = 0;
            self.content.keys = KeyHistory::default();
            self.content.happenings = Vec::new();
            self.content.witness.billed_to = None;
        }
        Ok(self)
    }

    /// What is remembered.
    #[must_use]
    pub const fn content(&self) -> &StateContent {
        &self.content
    }

    /// What is remembered, without the identity.
    #[must_use]
    pub fn into_content(self) -> StateContent {
        self.content
    }
}
