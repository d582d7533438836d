//! Preparing a transaction, handing it in, and asking after it: the three steps around a durable outbox.
//!
//! The caller stores what [`prepare`] returns before it calls [`broadcast`], so that a crash in between can only
//! lead to the same bytes being sent again.

use alloy_primitives::B256;

use crate::error::{ChainError, TxRejection};
use crate::outbox::{Effect, Observation};
use crate::transaction::{SignedTx, TxRequest};
use crate::types::{Call, Fees, Receipt};
use crate::{Chain, Wallet};

/// What became of handing a transaction in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broadcast {
    /// The node took it.
    Accepted,
    /// The node had it already.
    AlreadyKnown,
    /// Its nonce is in a block already: by this very transaction or by another. The contract's state tells.
    NonceUsed,
    /// It pays too little for now, or too little more than the one it should replace.
    Underpriced,
}

/// Signs `call` as transaction number `nonce`. Pure: the same arguments give the same bytes.
pub fn prepare(
    wallet: &Wallet,
    chain_id: u64,
    call: &Call,
    nonce: u64,
    fees: Fees,
    gas_limit: u64,
) -> SignedTx {
    wallet.sign(&TxRequest::new(chain_id, nonce, fees, gas_limit, call))
}

/// The gas limit for `call` sent by `wallet`: the node's estimate and a quarter more, because the state may change
/// before it is included. Also the cheapest way to learn that it would revert.
///
/// # Errors
/// [`ChainError::Reverted`] when it would revert now, otherwise what the chain reports.
pub async fn estimate(chain: &dyn Chain, wallet: &Wallet, call: &Call) -> Result<u64, ChainError> {
    let gas = chain.estimate_gas(call.clone().from(wallet.address())).await?;
    Ok(gas.saturating_add(gas / 4))
}

/// Hands a prepared transaction in. Safe to repeat any number of times.
///
/// # Errors
/// [`ChainError`] when the chain is away, and for refusals that repeating does not mend by itself
/// (no funds, a gap before the nonce, a transaction that the node finds invalid).
pub async fn broadcast(chain: &dyn Chain, tx: &SignedTx) -> Result<Broadcast, ChainError> {
    match chain.send_raw(tx.raw.clone()).await {
        Ok(_) => Ok(Broadcast::Accepted),
        Err(ChainError::Rejected(rejection)) => match rejection {
            TxRejection::AlreadyKnown => Ok(Broadcast::AlreadyKnown),
            TxRejection::NonceTooLow => Ok(Broadcast::NonceUsed),
            TxRejection::ReplacementUnderpriced | TxRejection::FeeTooLow => {
                Ok(Broadcast::Underpriced)
            }
            other => Err(ChainError::Rejected(other)),
        },
        Err(error) => Err(error),
    }
}

/// Looks at the chain for [`crate::TxState::next`]. `variants` are all signed versions of one transaction (same nonce,
/// different fees), at least one; `effect` is what the caller read from the contract, before this call.
///
/// # Errors
/// [`ChainError`] when the chain is away.
///
/// # Panics
/// Without any variant.
pub async fn observe(
    chain: &dyn Chain,
    variants: &[SignedTx],
    effect: Effect,
) -> Result<Observation, ChainError> {
    let newest = variants.last().expect("a transaction in the outbox has at least one variant");
    let nonce_used = chain.nonce(newest.from).await? > newest.nonce;
    let mut reverted = false;
    if nonce_used && effect == Effect::Absent {
        for variant in variants {
            reverted |= chain.receipt(variant.hash).await?.is_some_and(|found| !found.success);
        }
    }
    Ok(Observation { effect, nonce_used, reverted, market: chain.fees().await? })
}

/// What the node knows of a transaction. A hint only: whether an anchor or a claim happened is read from the contract,
/// because a receipt can belong to a block that is reorganised away, and a replaced transaction has none.
///
/// # Errors
/// [`ChainError`] when the chain is away.
pub async fn status(chain: &dyn Chain, hash: B256) -> Result<Option<Receipt>, ChainError> {
    chain.receipt(hash).await
}
