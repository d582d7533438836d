//! An EVM chain inside the process: no node to install, the same contracts, the same answers as over JSON-RPC.
//!
//! One block per transaction, made the moment the transaction is handed in and final when it is on the disk. What the
//! methods of [`crate::Chain`] return, and what [`EmbeddedChain::handle_json_rpc`] serves to other processes, is always
//! state that survives a power cut: a new state becomes visible after it was written, synced and renamed into place.

mod execute;
mod jsonrpc;
mod store;
mod world;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use alloy_primitives::{Address, B256, Bytes, U256};

use crate::error::TxRejection;
use crate::types::{At, Call, Fees, Log, LogFilter, Receipt};
use crate::{Chain, ChainError, Reply, SignedTx};

use store::Store;
use world::World;

/// Chain id of the embedded chain when nobody asks for another: the one of local development chains.
pub const DEFAULT_CHAIN_ID: u64 = 31_337;
/// Base fee of every block, wei per gas. Constant, because blocks of one transaction are never contended; above
/// zero, because whoever may write must have been funded, which bounds what strangers can store.
pub const BASE_FEE: u64 = 1_000_000_000;
/// Gas limit of a block and thus of a transaction.
pub const BLOCK_GAS_LIMIT: u64 = 30_000_000;
/// Most gas of a call or an estimate: questions are free, so they are kept shorter than transactions.
pub const CALL_GAS_LIMIT: u64 = 10_000_000;
/// Newest blocks, with their receipts and events, that are kept. Older ones are forgotten; contract state never is.
pub const KEPT_BLOCKS: u64 = 1024;

/// A fault of the chain in the process.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Reading or writing the directory failed.
    #[error("chain state {path}: {doing} failed: {source}")]
    Io {
        /// File or directory.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process, or another instance in this one, has the directory.
    #[error("chain state {path} is in use by another process; stop it or choose another directory")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The state file is damaged or was written by something else.
    #[error(
        "chain state {path} is damaged: {detail}. Restore the file from a backup, or move it away to start a \
         new, empty chain (what was anchored on the old one is then only in the settlement log)"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The state belongs to a chain with another id.
    #[error("chain state {path} belongs to chain {found}, the configuration says {expected}")]
    OtherChain {
        /// The file.
        path: PathBuf,
        /// Chain id in the configuration.
        expected: u64,
        /// Chain id in the file.
        found: u64,
    },
    /// The interpreter broke one of its own promises.
    #[error("the EVM failed: {0}")]
    Interpreter(String),
}

/// How to open an embedded chain.
#[derive(Clone)]
pub struct EmbeddedConfig {
    /// Directory of the state, made when it is missing. One process at a time.
    pub dir: PathBuf,
    /// EIP-155 id. Cannot change once the state exists.
    pub chain_id: u64,
    /// Wei for accounts that the chain has never seen; accounts that it knows keep what they have.
    pub fund: Vec<(Address, U256)>,
    /// Unix seconds for the next block's timestamp. A block is never older than its parent plus one second.
    pub now_unix_s: Arc<dyn Fn() -> u64 + Send + Sync>,
}

/// The chain in the process. Cheap to clone; all clones are the same chain.
#[derive(Clone)]
pub struct EmbeddedChain {
    inner: Arc<Inner>,
}

struct Inner {
    /// The newest durable state; readers clone the pointer and never wait for the disk.
    world: RwLock<Arc<World>>,
    /// One writer at a time; also holds the directory's lock.
    store: Mutex<Store>,
    now_unix_s: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl EmbeddedChain {
    /// Opens the chain in `config.dir`, or starts one there.
    ///
    /// # Errors
    /// [`EmbeddedError`] when the directory is in use, unreadable or damaged, or belongs to another chain.
    pub fn open(config: EmbeddedConfig) -> Result<Self, EmbeddedError> {
        let store = Store::open(&config.dir)?;
        let now = (config.now_unix_s)();
        let (mut world, mut changed) = match store.load()? {
            None => (World::genesis(config.chain_id, now), true),
            Some(world) if world.chain_id == config.chain_id => (world, false),
            Some(world) => {
                return Err(EmbeddedError::OtherChain {
                    path: store.path().to_owned(),
                    expected: config.chain_id,
                    found: world.chain_id,
                });
            }
        };
        for (address, balance) in config.fund {
            changed |= world.fund_if_unknown(address, balance);
        }
        if changed {
            store.save(&world)?;
        }
        Ok(Self {
            inner: Arc::new(Inner {
                world: RwLock::new(Arc::new(world)),
                store: Mutex::new(store),
                now_unix_s: config.now_unix_s,
            }),
        })
    }

    /// Answers one JSON-RPC request, or a batch of at most 32. Never fails: faults are JSON-RPC errors. Blocks the
    /// thread for an execution or a disk write, so call it where blocking is allowed.
    pub fn handle_json_rpc(&self, request: serde_json::Value) -> serde_json::Value {
        jsonrpc::handle(self, request)
    }

    fn world(&self) -> Arc<World> {
        // A panic of another reader leaves the pointer whole: it is only ever replaced in one assignment.
        Arc::clone(&self.inner.world.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Executes a transaction in a block of its own and stores the result before returning.
    fn include(&self, raw: &[u8]) -> Result<B256, ChainError> {
        let (request, signed) = SignedTx::decode(raw)
            .map_err(|error| ChainError::Rejected(TxRejection::Other(error.to_string())))?;
        let store = self.inner.store.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.world();
        if current.transaction(signed.hash).is_some() {
            return Err(ChainError::Rejected(TxRejection::AlreadyKnown));
        }
        let timestamp = (self.inner.now_unix_s)().max(current.newest().timestamp + 1);
        let next = execute::include(&current, &request, &signed, timestamp)?;
        store.save(&next)?;
        *self.inner.world.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        Ok(signed.hash)
    }

    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, ChainError> + Send + 'static,
    ) -> Reply<'_, T> {
        let chain = self.clone();
        Box::pin(async move {
            tokio::task::spawn_blocking(move || work(&chain)).await.unwrap_or_else(|error| {
                Err(EmbeddedError::Interpreter(format!("its thread stopped: {error}")).into())
            })
        })
    }
}

impl Chain for EmbeddedChain {
    fn chain_id(&self) -> Reply<'_, u64> {
        Box::pin(async { Ok(self.world().chain_id) })
    }

    fn block_number(&self) -> Reply<'_, u64> {
        Box::pin(async { Ok(self.world().newest().number) })
    }

    fn balance(&self, address: Address) -> Reply<'_, U256> {
        Box::pin(async move { Ok(self.world().balance(address)) })
    }

    fn nonce(&self, address: Address) -> Reply<'_, u64> {
        Box::pin(async move { Ok(self.world().nonce(address)) })
    }

    fn code(&self, address: Address) -> Reply<'_, Bytes> {
        Box::pin(async move { Ok(self.world().code(address)) })
    }

    /// Every block is final here, so all of `at` see the newest.
    fn call_at(&self, call: Call, _at: At) -> Reply<'_, Bytes> {
        self.run(move |chain| execute::call(&chain.world(), &call, CALL_GAS_LIMIT))
    }

    fn estimate_gas(&self, call: Call) -> Reply<'_, u64> {
        self.run(move |chain| execute::estimate(&chain.world(), &call))
    }

    fn fees(&self) -> Reply<'_, Fees> {
        Box::pin(async {
            Ok(Fees { max_fee_per_gas: u128::from(BASE_FEE) * 2, max_priority_fee_per_gas: 0 })
        })
    }

    fn send_raw(&self, raw: Bytes) -> Reply<'_, B256> {
        self.run(move |chain| chain.include(&raw))
    }

    fn receipt(&self, hash: B256) -> Reply<'_, Option<Receipt>> {
        Box::pin(async move { Ok(self.world().receipt(hash)) })
    }

    fn logs(&self, filter: LogFilter) -> Reply<'_, Vec<Log>> {
        self.run(move |chain| Ok(chain.world().logs(&filter)))
    }
}
