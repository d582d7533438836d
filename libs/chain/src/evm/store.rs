//! The embedded chain's directory: one state file, replaced atomically, under one process's lock.
//!
//! File format: magic with a version, length of the body, body (RLP), keccak256 of the body. The new state is written
//! to a temporary file, synced, renamed over the old one, and the directory synced, so that after a crash at any point
//! the file is either the old state or the new one, whole.

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};

use super::EmbeddedError;
use super::world::{Account, Block, World};

const MAGIC: &[u8; 16] = b"streetwatt-evm\0\x01";
const HEAD: usize = MAGIC.len() + 8;
const TAIL: usize = 32;
/// Largest state file that is read: far above what a street writes in decades.
const MOST_BYTES: u64 = 1 << 30;

/// An open, locked state directory.
pub(super) struct Store {
    dir: PathBuf,
    path: PathBuf,
    /// Held as long as the store lives; the system releases it when the process ends, however it ends.
    _lock: File,
}

impl Store {
    /// Makes the directory when it is missing and takes its lock.
    pub fn open(dir: &Path) -> Result<Self, EmbeddedError> {
        std::fs::create_dir_all(dir).map_err(io(dir, "making the directory"))?;
        let lock_path = dir.join("lock");
        let lock = File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(io(&lock_path, "opening the lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(EmbeddedError::InUse { path: dir.to_owned() });
            }
            Err(TryLockError::Error(source)) => {
                return Err(io(&lock_path, "locking")(source));
            }
        }
        Ok(Self { dir: dir.to_owned(), path: dir.join("state.evm"), _lock: lock })
    }

    /// The state file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the state; `None` when the chain is new. A temporary file that a crash left behind is ignored: it was
    /// never acknowledged, and the next write replaces it.
    pub fn load(&self) -> Result<Option<World>, EmbeddedError> {
        let length = match std::fs::metadata(&self.path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(&self.path, "reading")(error)),
        };
        if length > MOST_BYTES {
            return Err(self.corrupt(format!("{length} bytes, at most {MOST_BYTES} are read")));
        }
        let bytes = std::fs::read(&self.path).map_err(io(&self.path, "reading"))?;
        let body = unseal(&bytes).map_err(|detail| self.corrupt(detail))?;
        decode(body).map(Some).map_err(|detail| self.corrupt(detail))
    }

    /// Replaces the state. When it returns an error, the old state is still in force.
    pub fn save(&self, world: &World) -> Result<(), EmbeddedError> {
        let temporary = self.dir.join("state.tmp");
        let bytes = seal(&encode(world));
        let mut file = File::create(&temporary).map_err(io(&temporary, "creating"))?;
        file.write_all(&bytes).map_err(io(&temporary, "writing"))?;
        file.sync_all().map_err(io(&temporary, "syncing"))?;
        drop(file);
        std::fs::rename(&temporary, &self.path).map_err(io(&self.path, "replacing"))?;
        let dir = File::open(&self.dir).map_err(io(&self.dir, "opening"))?;
        dir.sync_all().map_err(io(&self.dir, "syncing"))
    }

    fn corrupt(&self, detail: String) -> EmbeddedError {
        EmbeddedError::Corrupt { path: self.path.clone(), detail }
    }
}

fn io(path: &Path, doing: &'static str) -> impl FnOnce(std::io::Error) -> EmbeddedError {
    let path = path.to_owned();
    move |source| EmbeddedError::Io { path, doing, source }
}

fn seal(body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u64).to_le_bytes();
    [MAGIC.as_slice(), &length, body, keccak256(body).as_slice()].concat()
}

fn unseal(bytes: &[u8]) -> Result<&[u8], String> {
    if bytes.len() < HEAD + TAIL {
        return Err(format!("{} bytes are too few for a state file", bytes.len()));
    }
    let (magic, rest) = bytes.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err("it does not begin like a state file of this version".to_owned());
    }
    let (length, rest) = rest.split_at(8);
    let length = u64::from_le_bytes(length.try_into().expect("split at eight bytes"));
    if length != (rest.len() - TAIL) as u64 {
        return Err(format!("it should hold {length} bytes but holds {}", rest.len() - TAIL));
    }
    let (body, digest) = rest.split_at(rest.len() - TAIL);
    if keccak256(body).as_slice() != digest {
        return Err("its checksum is wrong".to_owned());
    }
    Ok(body)
}

#[derive(RlpEncodable, RlpDecodable)]
struct StoredWorld {
    chain_id: u64,
    accounts: Vec<StoredAccount>,
    codes: Vec<Bytes>,
    blocks: Vec<Block>,
}

#[derive(RlpEncodable, RlpDecodable)]
struct StoredAccount {
    address: Address,
    nonce: u64,
    balance: U256,
    code_hash: B256,
    storage: Vec<StoredWord>,
}

#[derive(RlpEncodable, RlpDecodable)]
struct StoredWord {
    key: U256,
    word: U256,
}

fn encode(world: &World) -> Vec<u8> {
    let account = |(address, account): (&Address, &Arc<Account>)| StoredAccount {
        address: *address,
        nonce: account.nonce,
        balance: account.balance,
        code_hash: account.code_hash,
        storage: account
            .storage
            .iter()
            .map(|(key, word)| StoredWord { key: *key, word: *word })
            .collect(),
    };
    let stored = StoredWorld {
        chain_id: world.chain_id,
        accounts: world.accounts.iter().map(account).collect(),
        codes: world.codes.values().cloned().collect(),
        blocks: world.blocks.values().map(|block| Block::clone(block)).collect(),
    };
    let mut bytes = Vec::with_capacity(stored.length());
    stored.encode(&mut bytes);
    bytes
}

/// Reads a body whose checksum is right, and still checks what the rest of the chain relies on.
fn decode(mut body: &[u8]) -> Result<World, String> {
    let stored = StoredWorld::decode(&mut body).map_err(|error| error.to_string())?;
    if !body.is_empty() {
        return Err(format!("{} bytes follow the state", body.len()));
    }
    let (Some(first), true) = (stored.blocks.first(), linked(&stored.blocks)) else {
        return Err("its blocks are not linked".to_owned());
    };
    let mut world = World::genesis(stored.chain_id, first.timestamp);
    world.blocks.clear();
    for block in stored.blocks {
        world.append(block);
    }
    world.codes = stored.codes.into_iter().map(|code| (keccak256(&code), code)).collect();
    for account in stored.accounts {
        let storage = account.storage.into_iter().map(|pair| (pair.key, pair.word)).collect();
        let StoredAccount { address, nonce, balance, code_hash, .. } = account;
        let account = Account { nonce, balance, code_hash, storage };
        if account.has_code() && !world.codes.contains_key(&code_hash) {
            return Err(format!("the code of account {address} is missing"));
        }
        world.accounts.insert(address, Arc::new(account));
    }
    Ok(world)
}

fn linked(blocks: &[Block]) -> bool {
    let each = blocks.iter().all(|block| block.hash == block.digest());
    let pairs = blocks
        .windows(2)
        .all(|pair| pair[1].parent == pair[0].hash && pair[1].number == pair[0].number + 1);
    each && pairs
}
