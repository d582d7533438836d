//! Running the EVM on a [`World`]: transactions that make a new world, and calls that leave it alone.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, TxKind, U256, keccak256};
use revm::bytecode::Bytecode;
use revm::context::result::{EVMError, ExecutionResult, InvalidTransaction, Output};
use revm::context::{BlockEnv, CfgEnv, TxEnv};
use revm::database_interface::{DatabaseRef, WrapDatabaseRef};
use revm::primitives::hardfork::SpecId;
use revm::state::AccountInfo;
use revm::{Context, ExecuteEvm, MainBuilder, MainContext};

use super::world::{Account, Block, Event, Mined, World};
use super::{BASE_FEE, BLOCK_GAS_LIMIT, CALL_GAS_LIMIT, EmbeddedError};
use crate::error::TxRejection;
use crate::types::Call;
use crate::{ChainError, Revert, SignedTx, TxRequest};

/// Rules of the embedded chain. The contracts are compiled for "cancun", so every chain since 2024 runs them.
const SPEC: SpecId = SpecId::PRAGUE;

/// The world after `request`, in a new block. A transaction that reverts is included too: it costs gas.
///
/// # Errors
/// [`ChainError::Rejected`] when no block could include it.
pub(super) fn include(
    world: &World,
    request: &TxRequest,
    signed: &SignedTx,
    timestamp: u64,
) -> Result<World, ChainError> {
    let parent = world.newest();
    let number = parent.number + 1;
    let tx = TxEnv {
        tx_type: 2,
        caller: signed.from,
        gas_limit: request.gas_limit,
        gas_price: request.fees.max_fee_per_gas,
        gas_priority_fee: Some(request.fees.max_priority_fee_per_gas),
        kind: request.to.map_or(TxKind::Create, TxKind::Call),
        value: request.value,
        data: request.data.clone(),
        nonce: request.nonce,
        chain_id: Some(request.chain_id),
        ..plain_tx()
    };
    let block = block_env(world, number, timestamp, BASE_FEE);
    let mut cfg = CfgEnv::new_with_spec(SPEC);
    cfg.chain_id = world.chain_id;
    let mut evm = context(world, block, cfg).build_mainnet();
    let outcome = evm.transact(tx).map_err(rejection)?;
    let mut next = world.clone();
    commit(&mut next, outcome.state.into_iter().collect());
    let mined = mined(signed, outcome.result);
    next.append(Block::new(number, parent.hash, timestamp, vec![mined]));
    Ok(next)
}

/// Runs a call with at most `gas_limit` gas and returns what it returned.
///
/// # Errors
/// [`ChainError::Reverted`] when it reverts or runs out of gas.
pub(super) fn call(world: &World, call: &Call, gas_limit: u64) -> Result<Bytes, ChainError> {
    match simulate(world, call, gas_limit)? {
        ExecutionResult::Success { output, .. } => Ok(output.into_data()),
        ExecutionResult::Revert { output, .. } => Err(ChainError::Reverted(Revert::decode(output))),
        ExecutionResult::Halt { reason, .. } => Err(ChainError::Reverted(Revert {
            name: "",
            text: format!("stopped: {reason:?}"),
            data: Bytes::new(),
        })),
    }
}

/// A gas limit with which the call succeeds, close to what it uses. At most five executions.
pub(super) fn estimate(world: &World, tried: &Call) -> Result<u64, ChainError> {
    // Also reports a revert with its reason.
    call(world, tried, CALL_GAS_LIMIT)?;
    let used = simulate(world, tried, CALL_GAS_LIMIT)?.tx_gas_used();
    // More than what is paid for may be needed: refunds come last, and a call passes on 63/64 of the gas only.
    let candidates = [used, used + used / 63 + 2_300, used + used / 4, used + used / 2];
    let succeeds = |gas: &u64| simulate(world, tried, *gas).is_ok_and(|result| result.is_success());
    Ok(candidates.into_iter().find(succeeds).unwrap_or(CALL_GAS_LIMIT))
}

fn simulate(world: &World, call: &Call, gas_limit: u64) -> Result<ExecutionResult, ChainError> {
    let newest = world.newest();
    let caller = call.from.unwrap_or_default();
    let tx = TxEnv {
        caller,
        gas_limit: gas_limit.min(CALL_GAS_LIMIT),
        kind: call.to.map_or(TxKind::Create, TxKind::Call),
        value: call.value,
        data: call.data.clone(),
        // A creation's address depends on the nonce; the check itself is off.
        nonce: world.nonce(caller),
        chain_id: Some(world.chain_id),
        ..plain_tx()
    };
    // Without a base fee nobody needs wei to ask a question.
    let block = block_env(world, newest.number, newest.timestamp, 0);
    let mut cfg = CfgEnv::new_with_spec(SPEC);
    cfg.chain_id = world.chain_id;
    cfg.disable_nonce_check = true;
    context(world, block, cfg).build_mainnet().transact(tx).map_err(rejection).map(|out| out.result)
}

type EvmContext<'a> = revm::handler::MainnetContext<WrapDatabaseRef<&'a World>>;

fn context(world: &World, block: BlockEnv, cfg: CfgEnv) -> EvmContext<'_> {
    Context::mainnet().with_db(WrapDatabaseRef(world)).with_block(block).with_cfg(cfg)
}

/// A legacy transaction of nobody, to be filled in.
fn plain_tx() -> TxEnv {
    TxEnv {
        tx_type: 0,
        caller: Address::ZERO,
        gas_limit: 0,
        gas_price: 0,
        kind: TxKind::Create,
        value: U256::ZERO,
        data: Bytes::new(),
        nonce: 0,
        chain_id: None,
        access_list: Default::default(),
        gas_priority_fee: None,
        blob_hashes: Vec::new(),
        max_fee_per_blob_gas: 0,
        authorization_list: Vec::new(),
    }
}

fn block_env(world: &World, number: u64, timestamp: u64, basefee: u64) -> BlockEnv {
    BlockEnv {
        number: U256::from(number),
        beneficiary: Address::ZERO,
        timestamp: U256::from(timestamp),
        gas_limit: BLOCK_GAS_LIMIT,
        basefee,
        // Anyone can foresee it: contracts must not draw lots with it, and ours do not.
        prevrandao: Some(keccak256(world.newest().hash)),
        ..BlockEnv::default()
    }
}

fn rejection(error: EVMError<Infallible>) -> ChainError {
    let invalid = match error {
        EVMError::Transaction(invalid) => invalid,
        other => return EmbeddedError::Interpreter(format!("{other:?}")).into(),
    };
    ChainError::Rejected(match invalid {
        InvalidTransaction::NonceTooLow { .. } => TxRejection::NonceTooLow,
        InvalidTransaction::NonceTooHigh { .. } => TxRejection::NonceGap,
        InvalidTransaction::LackOfFundForMaxFee { .. } => TxRejection::InsufficientFunds,
        InvalidTransaction::GasPriceLessThanBasefee => TxRejection::FeeTooLow,
        other => TxRejection::Other(other.to_string()),
    })
}

fn mined(signed: &SignedTx, result: ExecutionResult) -> Mined {
    let (success, gas_used) = (result.is_success(), result.tx_gas_used());
    let (logs, created) = match result {
        ExecutionResult::Success { logs, output: Output::Create(_, created), .. } => {
            (logs, created)
        }
        ExecutionResult::Success { logs, .. } => (logs, None),
        // The events of what reverted never happened.
        _ => (Vec::new(), None),
    };
    let event = |log: alloy_primitives::Log| Event {
        address: log.address,
        topics: log.data.topics().to_vec(),
        data: log.data.data,
    };
    Mined {
        hash: signed.hash,
        raw: signed.raw.clone(),
        success,
        gas_used,
        created: created
            .map(|address| Bytes::copy_from_slice(address.as_slice()))
            .unwrap_or_default(),
        events: logs.into_iter().map(event).collect(),
    }
}

fn commit(world: &mut World, changes: BTreeMap<Address, revm::state::Account>) {
    for (address, change) in changes {
        if !change.is_touched() {
            continue;
        }
        if change.is_selfdestructed() || change.is_empty() {
            world.accounts.remove(&address);
            continue;
        }
        if let Some(code) = &change.info.code
            && change.info.code_hash != KECCAK256_EMPTY
        {
            world.codes.entry(change.info.code_hash).or_insert_with(|| code.original_bytes());
        }
        let entry = world.accounts.entry(address).or_default();
        let account = Arc::make_mut(entry);
        account.nonce = change.info.nonce;
        account.balance = change.info.balance;
        account.code_hash = change.info.code_hash;
        if change.is_created() {
            account.storage.clear();
        }
        let words: BTreeMap<U256, U256> =
            change.storage.into_iter().map(|(key, slot)| (key, slot.present_value())).collect();
        for (key, word) in words {
            if word.is_zero() {
                account.storage.remove(&key);
            } else {
                account.storage.insert(key, word);
            }
        }
    }
}

impl DatabaseRef for World {
    type Error = Infallible;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(self.accounts.get(&address).map(|account| AccountInfo {
            balance: account.balance,
            nonce: account.nonce,
            code_hash: account.code_hash,
            code: None,
            ..AccountInfo::default()
        }))
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, Infallible> {
        Ok(self.codes.get(&code_hash).map_or_else(Bytecode::new, |code| {
            Bytecode::new_raw_checked(code.clone()).unwrap_or_else(|_| Bytecode::new())
        }))
    }

    fn storage_ref(&self, address: Address, index: U256) -> Result<U256, Infallible> {
        let account = self.accounts.get(&address);
        Ok(account.and_then(|account| account.storage.get(&index)).copied().unwrap_or(U256::ZERO))
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, Infallible> {
        Ok(self.blocks.get(&number).map_or(B256::ZERO, |block| block.hash))
    }
}

/// An empty account, for accounts that a transaction brings into being.
impl Account {
    pub(super) fn has_code(&self) -> bool {
        self.code_hash != KECCAK256_EMPTY
    }
}
