//! Everything the embedded chain knows: accounts, code, the newest blocks. A value: a transaction makes a new one,
//! sharing what did not change.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256};
use alloy_rlp::{Encodable, RlpDecodable, RlpEncodable};

use super::KEPT_BLOCKS;
use crate::types::{Log, LogFilter, Receipt};

/// The chain's complete state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct World {
    pub chain_id: u64,
    pub accounts: BTreeMap<Address, Arc<Account>>,
    pub codes: BTreeMap<B256, Bytes>,
    /// The newest blocks by number, never empty.
    pub blocks: BTreeMap<u64, Arc<Block>>,
    /// Block of each transaction in `blocks`.
    pub transactions: BTreeMap<B256, u64>,
}

/// One account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub nonce: u64,
    pub balance: U256,
    pub code_hash: B256,
    /// Words that are not zero.
    pub storage: BTreeMap<U256, U256>,
}

impl Default for Account {
    fn default() -> Self {
        Self { nonce: 0, balance: U256::ZERO, code_hash: KECCAK256_EMPTY, storage: BTreeMap::new() }
    }
}

/// One block: the genesis block has no transaction, every other has one.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(super) struct Block {
    pub number: u64,
    pub parent: B256,
    /// Unix seconds.
    pub timestamp: u64,
    pub transactions: Vec<Mined>,
    /// [`Block::digest`] of the rest.
    pub hash: B256,
}

/// A transaction and what it did.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(super) struct Mined {
    pub hash: B256,
    pub raw: Bytes,
    pub success: bool,
    pub gas_used: u64,
    /// Address of the created contract, or no bytes.
    pub created: Bytes,
    pub events: Vec<Event>,
}

/// An event of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, RlpEncodable, RlpDecodable)]
pub(super) struct Event {
    pub address: Address,
    pub topics: Vec<B256>,
    pub data: Bytes,
}

impl Block {
    pub fn new(number: u64, parent: B256, timestamp: u64, transactions: Vec<Mined>) -> Self {
        let mut block = Self { number, parent, timestamp, transactions, hash: B256::ZERO };
        block.hash = block.digest();
        block
    }

    /// keccak256 over parent, number, time and the transactions with their outcome. Not Ethereum's block hash: that
    /// commits to a state trie which nobody needs here. It links the blocks and names them.
    pub fn digest(&self) -> B256 {
        let mut bytes = Vec::new();
        self.parent.encode(&mut bytes);
        self.number.encode(&mut bytes);
        self.timestamp.encode(&mut bytes);
        self.transactions.encode(&mut bytes);
        keccak256(bytes)
    }
}

impl World {
    /// An empty chain whose block 0 was made at `timestamp`.
    pub fn genesis(chain_id: u64, timestamp: u64) -> Self {
        let block = Block::new(0, B256::ZERO, timestamp, Vec::new());
        Self {
            chain_id,
            accounts: BTreeMap::new(),
            codes: BTreeMap::new(),
            blocks: BTreeMap::from([(0, Arc::new(block))]),
            transactions: BTreeMap::new(),
        }
    }

    /// Credits an account that the chain has never seen. True when it did.
    pub fn fund_if_unknown(&mut self, address: Address, balance: U256) -> bool {
        if balance.is_zero() || self.accounts.contains_key(&address) {
            return false;
        }
        self.accounts.insert(address, Arc::new(Account { balance, ..Account::default() }));
        true
    }

    pub fn newest(&self) -> &Block {
        self.blocks.last_key_value().expect("a chain has at least its genesis block").1
    }

    pub fn balance(&self, address: Address) -> U256 {
        self.accounts.get(&address).map_or(U256::ZERO, |account| account.balance)
    }

    pub fn nonce(&self, address: Address) -> u64 {
        self.accounts.get(&address).map_or(0, |account| account.nonce)
    }

    pub fn code(&self, address: Address) -> Bytes {
        let code_hash = self.accounts.get(&address).map(|account| account.code_hash);
        code_hash.and_then(|hash| self.codes.get(&hash)).cloned().unwrap_or_default()
    }

    /// The block of a transaction and its outcome.
    pub fn transaction(&self, hash: B256) -> Option<(&Block, &Mined)> {
        let block = self.blocks.get(self.transactions.get(&hash)?)?;
        Some((block, block.transactions.iter().find(|mined| mined.hash == hash)?))
    }

    pub fn receipt(&self, hash: B256) -> Option<Receipt> {
        let (block, mined) = self.transaction(hash)?;
        Some(Receipt {
            tx_hash: hash,
            block_number: block.number,
            block_hash: block.hash,
            success: mined.success,
            gas_used: mined.gas_used,
            contract_address: Address::try_from(mined.created.as_ref()).ok(),
            logs: logs_of(block, mined).collect(),
        })
    }

    pub fn logs(&self, filter: &LogFilter) -> Vec<Log> {
        let last = filter.to_block.unwrap_or(u64::MAX);
        if filter.from_block > last {
            return Vec::new();
        }
        self.blocks
            .range(filter.from_block..=last)
            .flat_map(|(_, block)| {
                block.transactions.iter().flat_map(|mined| logs_of(block, mined))
            })
            .filter(|log| filter.address.is_none_or(|address| log.address == address))
            .filter(|log| filter.event.is_none_or(|event| log.topics.first() == Some(&event)))
            .collect()
    }

    /// Appends a block and forgets the one that is too old to be kept.
    pub fn append(&mut self, block: Block) {
        for mined in &block.transactions {
            self.transactions.insert(mined.hash, block.number);
        }
        self.blocks.insert(block.number, Arc::new(block));
        while self.blocks.len() as u64 > KEPT_BLOCKS {
            let (_, old) = self.blocks.pop_first().expect("more than one block is kept");
            for mined in &old.transactions {
                self.transactions.remove(&mined.hash);
            }
        }
    }
}

fn logs_of<'a>(block: &'a Block, mined: &'a Mined) -> impl Iterator<Item = Log> + 'a {
    mined.events.iter().map(|event| Log {
        address: event.address,
        topics: event.topics.clone(),
        data: event.data.clone(),
        block_number: block.number,
        tx_hash: mined.hash,
    })
}
