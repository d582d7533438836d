//! The epoch header: what one or more settled slots leave behind on the chain.

use alloy_primitives::{B256, keccak256};
use alloy_sol_types::SolValue;
use serde::{Deserialize, Serialize};

use super::abi::AnchorHeader;

/// One epoch. Energy is the sum over all households and slots in it, Wh; money is nano-currency; rewards are the
/// token's smallest unit and count from the beginning. In JSON the 128-bit numbers are decimal strings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochHeader {
    /// Number of the epoch, from 1.
    pub seq: u64,
    /// [`EpochHeader::hash`] of the epoch before, zero for the first.
    pub prev: B256,
    /// First slot, quarter-hours since the Unix epoch.
    pub from_slot: u64,
    /// Last slot.
    pub to_slot: u64,
    /// Leaves of the settlement log after this epoch; every epoch appends.
    pub log_size: u64,
    /// Root of the settlement log.
    pub log_root: B256,
    /// [`crate::RewardsTree::root`]; zero while nobody has earned anything.
    pub rewards_root: B256,
    /// Energy that entered the households.
    pub import_wh: u64,
    /// Energy that left the households.
    pub export_wh: u64,
    /// Energy drawn from the supplier. `import_wh + grid_export_wh == export_wh + grid_import_wh`.
    pub grid_import_wh: u64,
    /// Energy fed to the supplier.
    pub grid_export_wh: u64,
    /// Energy matched inside the street, at most the import and at most the export.
    pub local_wh: u64,
    /// Money debited, equal to `credit`.
    #[serde(with = "decimal")]
    pub debit: u128,
    /// Money credited.
    #[serde(with = "decimal")]
    pub credit: u128,
    /// Tokens earned by all producers since the beginning: [`crate::RewardsTree::total`].
    #[serde(with = "decimal")]
    pub reward_total: u128,
}

impl EpochHeader {
    /// keccak256 of the header's ABI encoding, fifteen words in the order of the fields: `Anchor.hashOf`.
    pub fn hash(&self) -> B256 {
        keccak256(self.to_abi().abi_encode())
    }

    pub(super) fn to_abi(&self) -> AnchorHeader {
        AnchorHeader {
            seq: self.seq,
            prev: self.prev,
            fromSlot: self.from_slot,
            toSlot: self.to_slot,
            logSize: self.log_size,
            logRoot: self.log_root,
            rewardsRoot: self.rewards_root,
            importWh: self.import_wh,
            exportWh: self.export_wh,
            gridImportWh: self.grid_import_wh,
            gridExportWh: self.grid_export_wh,
            localWh: self.local_wh,
            debit: self.debit,
            credit: self.credit,
            rewardTotal: self.reward_total,
        }
    }

    pub(super) fn from_abi(header: &AnchorHeader) -> Self {
        Self {
            seq: header.seq,
            prev: header.prev,
            from_slot: header.fromSlot,
            to_slot: header.toSlot,
            log_size: header.logSize,
            log_root: header.logRoot,
            rewards_root: header.rewardsRoot,
            import_wh: header.importWh,
            export_wh: header.exportWh,
            grid_import_wh: header.gridImportWh,
            grid_export_wh: header.gridExportWh,
            local_wh: header.localWh,
            debit: header.debit,
            credit: header.credit,
            reward_total: header.rewardTotal,
        }
    }
}

/// 128-bit numbers as decimal strings: JSON readers elsewhere keep 53 bits only.
mod decimal {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(number: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let canonical = !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && (text.len() == 1 || !text.starts_with('0'));
        if !canonical {
            return Err(de::Error::custom("a decimal number in a string is expected"));
        }
        text.parse().map_err(|_| de::Error::custom("the number does not fit 128 bits"))
    }
}
