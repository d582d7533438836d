//! The cumulative rewards tree: who has earned how much since the beginning.
//!
//! The shape is OpenZeppelin's StandardMerkleTree for `(address, uint256)`, so that its proofs satisfy `MerkleProof`
//! on the chain and anyone can rebuild the tree with public tools.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::SolValue;

/// Why a rewards tree cannot be built.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RewardsError {
    /// Tokens cannot be sent to the zero address, so nobody could ever claim them.
    #[error("the zero address cannot earn rewards")]
    ZeroAddress,
    /// The sum does not fit the anchor's 128 bits.
    #[error("the rewards add up to more than 128 bits hold")]
    Overflow,
}

/// The tree over all producers' cumulative rewards, in the token's smallest unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewardsTree {
    earned: BTreeMap<Address, u128>,
    /// Heap order: the root first, children of `i` at `2i+1` and `2i+2`, leaves at the end. Empty without leaves.
    nodes: Vec<B256>,
    /// Leaf hash of each account to its place among `nodes`.
    places: BTreeMap<B256, usize>,
    total: u128,
}

impl RewardsTree {
    /// Builds the tree. Accounts that have earned nothing are left out.
    ///
    /// # Errors
    /// [`RewardsError`] for the zero address and for a sum beyond 128 bits.
    pub fn new(earned: BTreeMap<Address, u128>) -> Result<Self, RewardsError> {
        let earned: BTreeMap<_, _> = earned.into_iter().filter(|(_, amount)| *amount > 0).collect();
        if earned.contains_key(&Address::ZERO) {
            return Err(RewardsError::ZeroAddress);
        }
        let total = earned
            .values()
            .try_fold(0u128, |sum, amount| sum.checked_add(*amount))
            .ok_or(RewardsError::Overflow)?;
        let mut leaves: Vec<B256> =
            earned.iter().map(|(account, amount)| reward_leaf(*account, *amount)).collect();
        leaves.sort_unstable();
        let nodes = heap(&leaves);
        let places =
            leaves.iter().enumerate().map(|(i, leaf)| (*leaf, nodes.len() - 1 - i)).collect();
        Ok(Self { earned, nodes, places, total })
    }

    /// What goes into the epoch header; zero while nobody has earned anything.
    pub fn root(&self) -> B256 {
        self.nodes.first().copied().unwrap_or(B256::ZERO)
    }

    /// Sum over all accounts: the header's `reward_total`.
    pub fn total(&self) -> u128 {
        self.total
    }

    /// What `account` has earned since the beginning.
    pub fn earned(&self, account: Address) -> u128 {
        self.earned.get(&account).copied().unwrap_or(0)
    }

    /// Accounts and amounts, by address.
    pub fn accounts(&self) -> &BTreeMap<Address, u128> {
        &self.earned
    }

    /// The siblings from the account's leaf up to the root; `None` when it has earned nothing.
    pub fn proof(&self, account: Address) -> Option<Vec<B256>> {
        let leaf = reward_leaf(account, *self.earned.get(&account)?);
        let mut at = self.places[&leaf];
        let mut siblings = Vec::new();
        while at > 0 {
            let sibling = if at % 2 == 1 { at + 1 } else { at - 1 };
            siblings.push(self.nodes[sibling]);
            at = (at - 1) / 2;
        }
        Some(siblings)
    }
}

/// Hash of one leaf: keccak256(keccak256(abi.encode(account, cumulative))). Hashed twice, so that no inner node can
/// pass for a leaf.
pub fn reward_leaf(account: Address, cumulative: u128) -> B256 {
    keccak256(keccak256((account, U256::from(cumulative)).abi_encode()))
}

/// True when `proof` leads from the account's leaf to `root`, as `Rewards.claim` checks it.
pub fn verify_reward(account: Address, cumulative: u128, proof: &[B256], root: B256) -> bool {
    proof.iter().fold(reward_leaf(account, cumulative), |node, sibling| parent(node, *sibling))
        == root
}

/// Lays sorted leaves out from the end and fills the inner nodes above them.
fn heap(leaves: &[B256]) -> Vec<B256> {
    if leaves.is_empty() {
        return Vec::new();
    }
    let size = 2 * leaves.len() - 1;
    let mut nodes = vec![B256::ZERO; size];
    for (i, leaf) in leaves.iter().enumerate() {
        nodes[size - 1 - i] = *leaf;
    }
    for i in (0..size - leaves.len()).rev() {
        nodes[i] = parent(nodes[2 * i + 1], nodes[2 * i + 2]);
    }
    nodes
}

fn parent(a: B256, b: B256) -> B256 {
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    keccak256([low.as_slice(), high.as_slice()].concat())
}
