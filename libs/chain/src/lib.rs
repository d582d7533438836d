//! The street's view of an EVM chain: one trait, two back ends, and everything that is said through it.
//!
//! Settlement happens off the chain; the chain keeps epoch headers, the registry of households and the producers'
//! rewards, where nobody can rewrite them afterwards. This crate is the only place that knows an EVM:
//!
//! - [`Chain`]: what the rest of the house may ask of a chain. [`RpcChain`] talks to any EVM node over JSON-RPC;
//!   [`EmbeddedChain`] (feature `evm`) runs one inside the process and keeps it on disk.
//! - [`Wallet`], [`TxRequest`], [`SignedTx`]: EIP-1559 transactions, signed here, no node holds a key.
//! - [`contracts`]: typed calls and reads of the street's contracts, and [`DeployPlan`], their resumable deployment.
//! - [`RewardsTree`]: the cumulative rewards tree that `Rewards.claim` checks proofs against.
//! - [`outbox`]: the rules by which a durable outbox brings a transaction onto the chain, once.
//!
//! Nothing here reads a clock or draws random numbers: block times of the embedded chain and keys come from the caller.

pub mod contracts;
mod error;
#[cfg(feature = "evm")]
pub mod evm;
mod hexnum;
pub mod outbox;
mod revert;
mod rewards;
pub mod rpc;
mod sender;
mod transaction;
mod types;
mod wallet;

pub use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
pub use contracts::{
    AnchoredEpoch, DeployParams, DeployPlan, DeployProgress, Deployment, EpochHeader, Head,
    Household, community_hash, metering_point_commitment,
};
pub use error::{ChainError, TxRejection};
#[cfg(feature = "evm")]
pub use evm::{EmbeddedChain, EmbeddedConfig, EmbeddedError};
pub use outbox::{Action, Effect, Observation, OutboxRules, TxFailure, TxState};
pub use revert::Revert;
pub use rewards::{RewardsError, RewardsTree, reward_leaf, verify_reward};
pub use rpc::{RpcChain, RpcConfig};
pub use sender::{Broadcast, broadcast, estimate, observe, prepare, status};
pub use transaction::{SignedTx, TxDecodeError, TxRequest};
pub use types::{At, Call, Fees, Log, LogFilter, Receipt};
pub use wallet::{Wallet, WalletError};

use std::future::Future;
use std::pin::Pin;

/// The answer of a chain: a future, boxed so that back ends can be exchanged at run time.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, ChainError>> + Send + 'a>>;

/// What the house asks of a chain. Every method may fail because the chain is away; nothing is retried inside,
/// the caller's outbox decides.
pub trait Chain: Send + Sync {
    /// EIP-155 id of the chain.
    fn chain_id(&self) -> Reply<'_, u64>;

    /// Number of the newest block.
    fn block_number(&self) -> Reply<'_, u64>;

    /// Balance in wei at the newest block.
    fn balance(&self, address: Address) -> Reply<'_, U256>;

    /// Transactions of `address` that are in blocks so far: the nonce of its next one.
    fn nonce(&self, address: Address) -> Reply<'_, u64>;

    /// Code at `address`, empty when there is none.
    fn code(&self, address: Address) -> Reply<'_, Bytes>;

    /// Runs a call on the state `at` without changing anything.
    ///
    /// # Errors
    /// [`ChainError::Reverted`] with the contract's own reason when the call reverts.
    fn call_at(&self, call: Call, at: At) -> Reply<'_, Bytes>;

    /// Gas that the call would need as a transaction now, before any safety margin.
    ///
    /// # Errors
    /// [`ChainError::Reverted`] when it would revert.
    fn estimate_gas(&self, call: Call) -> Reply<'_, u64>;

    /// Fees with which a transaction is taken into one of the next blocks.
    fn fees(&self) -> Reply<'_, Fees>;

    /// Hands in a signed transaction and returns its hash. The hash says nothing about inclusion.
    ///
    /// # Errors
    /// [`ChainError::Rejected`] when the node refuses it; see [`broadcast`] for which refusals are harmless.
    fn send_raw(&self, raw: Bytes) -> Reply<'_, B256>;

    /// The receipt of a transaction in a block; `None` while there is none or when it is too old to be kept.
    fn receipt(&self, hash: B256) -> Reply<'_, Option<Receipt>>;

    /// Events that match `filter`, in the order of the chain.
    fn logs(&self, filter: LogFilter) -> Reply<'_, Vec<Log>>;

    /// Runs a read-only call on the newest state.
    fn call(&self, to: Address, data: Bytes) -> Reply<'_, Bytes> {
        self.call_at(Call::new(to, data), At::Latest)
    }
}
