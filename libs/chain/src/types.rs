//! The chain's nouns: calls, receipts, events, fees. The same for every back end.

use alloy_primitives::{Address, B256, Bytes, U256};
use serde::{Deserialize, Serialize};

/// Which state a read sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum At {
    /// The newest block: may still be reorganised away.
    #[default]
    Latest,
    /// A block that the network does not expect to lose.
    Safe,
    /// A block that cannot be lost without slashing a third of the validators. Not every rollup offers it.
    Finalized,
}

/// A message to a contract, or the creation of one (`to` is `None`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Sender whose rights the call has; the zero address when `None`.
    pub from: Option<Address>,
    /// Contract, or `None` to create one from `data`.
    pub to: Option<Address>,
    /// Calldata, or init code.
    pub data: Bytes,
    /// Wei sent along.
    pub value: U256,
}

impl Call {
    /// A call of `to` with `data`, sending no wei.
    pub fn new(to: Address, data: Bytes) -> Self {
        Self { from: None, to: Some(to), data, value: U256::ZERO }
    }

    /// The creation of a contract.
    pub fn create(init_code: Bytes) -> Self {
        Self { from: None, to: None, data: init_code, value: U256::ZERO }
    }

    /// The same call with the rights of `from`.
    pub fn from(mut self, from: Address) -> Self {
        self.from = Some(from);
        self
    }
}

/// An event that a contract emitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Contract that emitted it.
    pub address: Address,
    /// Event signature hash and indexed fields.
    pub topics: Vec<B256>,
    /// ABI-encoded unindexed fields.
    pub data: Bytes,
    /// Block that holds it.
    pub block_number: u64,
    /// Transaction that caused it.
    pub tx_hash: B256,
}

/// Which events to return.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// First block.
    pub from_block: u64,
    /// Last block; the newest when `None`.
    pub to_block: Option<u64>,
    /// Emitting contract; any when `None`.
    pub address: Option<Address>,
    /// First topic (the event's signature hash); any when `None`.
    pub event: Option<B256>,
}

/// Proof of inclusion of a transaction, as the node tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Transaction.
    pub tx_hash: B256,
    /// Block that holds it.
    pub block_number: u64,
    /// Hash of that block.
    pub block_hash: B256,
    /// False when it reverted: it cost gas and changed nothing.
    pub success: bool,
    /// Gas paid for.
    pub gas_used: u64,
    /// Contract that it created.
    pub contract_address: Option<Address>,
    /// Events that it emitted.
    pub logs: Vec<Log>,
}

/// EIP-1559 fees, wei per gas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fees {
    /// Most that is paid per gas, base fee and tip together.
    pub max_fee_per_gas: u128,
    /// Tip for the block's producer, at most `max_fee_per_gas`.
    pub max_priority_fee_per_gas: u128,
}

impl Fees {
    /// The fees that replace a pending transaction of the same nonce: nodes ask for at least 10 % more of both,
    /// this gives 12.5 %, rounded up, and never less than the market asks now.
    pub fn bumped(self, market: Fees) -> Fees {
        let raise = |fee: u128| fee.saturating_add(fee / 8).saturating_add(1);
        Fees {
            max_fee_per_gas: raise(self.max_fee_per_gas).max(market.max_fee_per_gas),
            max_priority_fee_per_gas: raise(self.max_priority_fee_per_gas)
                .max(market.max_priority_fee_per_gas),
        }
    }

    /// Neither fee above `cap`.
    pub fn capped(self, cap: u128) -> Fees {
        Fees {
            max_fee_per_gas: self.max_fee_per_gas.min(cap),
            max_priority_fee_per_gas: self.max_priority_fee_per_gas.min(cap),
        }
    }
}
