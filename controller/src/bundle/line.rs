//! The lines of a bundle.
//!
//! Every line is one JSON object in exactly one spelling: what a reader writes again must be the
//! same bytes. Lines stand in blocks, and each block ends with a seal, the hashes of its lines, so
//! that a changed line can be named even where nothing signed covers it. The manifest at the end
//! does the same with the seals; its own hash is the bundle's fingerprint.

use std::collections::BTreeMap;

use chain::EpochHeader;
use market::sharing::Sharing;
use protocol::{
    Address, B256, Checkpoint, Clearing, Header, Order, Reading, Signed, Statement, keccak256,
    merkle,
};
use serde::{Deserialize, Serialize};
use units::{CommunityId, PointId};

use crate::rules::{GridForm, KeyChangeRecord, KeyRevocationRecord};

/// Version of this form.
pub const FORMAT: u32 = 5;

/// Why a reading from before the street's first slot does not count.
pub const TOO_EARLY: &str = "the street had not begun";

/// Longest line, in bytes: a slot of some ten thousand households.
pub const MAX_LINE_BYTES: usize = 16 * 1024 * 1024;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Line {
    /// Who and what; the first line.
    Street(Box<Street>),
    /// A grid on which slots were cleared; the clearings name it by its digest.
    Grid(Box<GridLine>),
    /// A sharing rule and a legal key; the clearings name them by their digest.
    Sharing(Box<SharingFormLine>),
    /// The log before the first slot, as the operator signed it at some earlier size.
    Before(Box<CheckpointLine>),
    /// The signed clearing of an earlier slot whose terms a late bill line needs.
    Earlier(Box<ClearingLine>),
    /// A household's reading before the first slot.
    Baseline(Box<ReadingLine>),
    /// The result of a slot's auction; the first line of its block. A block without one is of a slot
    /// that was settled again.
    Clearing(Box<ClearingLine>),
    /// An order in the slot's book.
    Order(Box<OrderLine>),
    /// A reading that the slot's settlement used, or that it could not use.
    Reading(Box<ReadingLine>),
    /// A household's bill.
    Statement(Box<StatementLine>),
    /// The slot's ledger entries; of a later version, the differences.
    Transfers(Box<TransfersLine>),
    /// The slot's log entry.
    Header(Box<HeaderLine>),
    /// An epoch as it went to the chain.
    Anchor(Box<AnchorLine>),
    /// The end of a block.
    Seal(Box<Seal>),
    /// The end.
    Manifest(Box<Manifest>),
}

/// Who takes part, under which rules, and what was before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Street {
    /// [`FORMAT`].
    pub format: u32,
    /// Name of the community: the signing domain.
    pub community: CommunityId,
    /// Currency of all money.
    pub currency: String,
    /// Who signs for the community.
    pub operator: Address,
    /// First slot.
    pub first_slot: i64,
    /// Last slot.
    pub last_slot: i64,
    /// Orders are accepted until this long before a slot.
    pub gate_lead_s: u32,
    /// How many slots back a slot is settled again when a meter comes late; 0 = never.
    pub correct_within_slots: u32,
    /// Reward per eligible Wh, 10⁻¹⁸ tokens, decimal.
    pub reward_rate: String,
    /// Most rewards per slot, 10⁻¹⁸ tokens, decimal.
    pub reward_cap: String,
    /// The log before the first slot.
    pub log: merkle::Frontier,
    /// The members, by metering point.
    pub members: Vec<MemberLine>,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberLine {
    /// Metering point.
    pub point: PointId,
    /// Ed25519 public key with which the epoch began, hex.
    pub key: String,
    /// Epoch of key and meter.
    pub epoch: u32,
    /// The keys that were handed over since, by number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_changes: Vec<KeyChangeRecord>,
    /// The keys that count no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_revocations: Vec<KeyRevocationRecord>,
    /// Account that earns its rewards.
    pub payout: Address,
    /// Whether its export earns rewards.
    pub renewable: bool,
    /// Largest power from the grid, W.
    pub max_import_w: i64,
    /// Largest power to the grid, W.
    pub max_export_w: i64,
    /// All rewards before the first slot, 10⁻¹⁸ tokens, decimal.
    pub rewards_before: String,
}

/// A grid with the homes that are on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GridLine {
    /// The form that the digest is of.
    pub grid: GridForm,
}

/// How members share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharingFormLine {
    /// Its JSON's Keccak-256 is the digest that the clearings name.
    pub sharing: Sharing,
}

/// The log at one size, signed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointLine {
    /// The operator's signature.
    pub checkpoint: Signed<Checkpoint>,
}

/// A clearing, signed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClearingLine {
    /// As it was published.
    pub clearing: Signed<Clearing>,
}

/// An order, signed by its household.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderLine {
    /// When the operator received it, by the operator's word.
    pub received_ms: i64,
    /// As it was sent.
    pub order: Signed<Order>,
}

/// A reading, signed by its household.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadingLine {
    /// Why its registers do not count, when they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<String>,
    /// As it was sent.
    pub reading: Signed<Reading>,
}

/// A bill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatementLine {
    /// As it was sent; its digest is a leaf of the slot's tree.
    pub statement: Statement,
}

/// Ledger entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransfersLine {
    /// In the order in which they were booked.
    pub transfers: Vec<TransferLine>,
}

/// One ledger entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransferLine {
    /// Who pays.
    pub debit: String,
    /// Who gets.
    pub credit: String,
    /// How much, nano-currency.
    pub amount: i64,
    /// What for.
    pub reason: String,
}

/// A log entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderLine {
    /// Its digest is a leaf of the log.
    pub header: Header,
    /// The operator's signature under the log that ends with it.
    pub checkpoint: Signed<Checkpoint>,
}

/// An epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnchorLine {
    /// As the chain gets it.
    pub header: EpochHeader,
    /// All rewards at its end by account, 10⁻¹⁸ tokens, decimal.
    pub rewards: BTreeMap<Address, String>,
}

/// The hashes of a block's lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// Keccak-256 of each line of the block, without the line break.
    pub lines: Vec<B256>,
    /// Keccak-256 over all of these.
    pub digest: B256,
}

/// The digests of all blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Lines before this one.
    pub lines: u64,
    /// Digest of each block's seal.
    pub seals: Vec<B256>,
    /// Keccak-256 over all of these: the bundle's fingerprint.
    pub digest: B256,
}

impl Seal {
    /// The seal of these line hashes.
    #[must_use]
    pub fn over(lines: Vec<B256>) -> Self {
        let digest = digest(&lines);
        Self { lines, digest }
    }

    /// Whether it is the seal of its own hashes.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.digest == digest(&self.lines)
    }
}

impl Manifest {
    /// The manifest of these seals.
    #[must_use]
    pub fn over(lines: u64, seals: Vec<B256>) -> Self {
        let digest = digest(&seals);
        Self { lines, seals, digest }
    }

    /// Whether it is the manifest of its own seals.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.digest == digest(&self.seals)
    }
}

fn digest(hashes: &[B256]) -> B256 {
    keccak256(hashes.concat())
}

impl Line {
    /// The one spelling, without a line break.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("lines are plain data")
    }

    /// Reads a line; anything but its one spelling is refused.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let line: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let canonical = line.to_text();
        if canonical.as_bytes() == text {
            return Ok(line);
        }
        let at = canonical.bytes().zip(text).take_while(|(a, b)| a == *b).count();
        Err(format!("not in its one spelling (from byte {} on)", at + 1))
    }

    /// What the line is, for messages.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Street(_) => "street",
            Self::Grid(_) => "grid",
            Self::Sharing(_) => "sharing",
            Self::Before(_) => "before",
            Self::Earlier(_) => "earlier",
            Self::Baseline(_) => "baseline",
            Self::Clearing(_) => "clearing",
            Self::Order(_) => "order",
            Self::Reading(_) => "reading",
            Self::Statement(_) => "statement",
            Self::Transfers(_) => "transfers",
            Self::Header(_) => "header",
            Self::Anchor(_) => "anchor",
            Self::Seal(_) => "seal",
            Self::Manifest(_) => "manifest",
        }
    }
}
