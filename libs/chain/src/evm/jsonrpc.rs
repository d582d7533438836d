//! The embedded chain as an EVM node: the JSON-RPC methods that wallets and [`crate::RpcChain`] need.
//!
//! Transport-free: the controller's HTTP server hands requests in, so that a household can verify anchors against the
//! operator's own chain with the same client as against any other.

use alloy_primitives::{B256, Bytes, U256};
use serde_json::{Map, Value, json};

use super::world::{Block, Mined};
use super::{BASE_FEE, BLOCK_GAS_LIMIT, CALL_GAS_LIMIT, EmbeddedChain, execute};
use crate::error::{TxRejection, shorten};
use crate::hexnum::{data, quantity, read_address, read_b256, read_bytes, read_u64, read_u256};
use crate::types::{Call, Log, LogFilter};
use crate::{ChainError, SignedTx, TxRequest};

/// Most requests in one batch.
const MOST_IN_BATCH: usize = 32;
/// Most blocks in one answer of eth_feeHistory.
const MOST_FEE_BLOCKS: u64 = 1024;

/// A JSON-RPC error: code, message, and data for reverts.
struct Refusal {
    code: i64,
    message: String,
    data: Option<Value>,
}

impl Refusal {
    fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    fn params(message: impl Into<String>) -> Self {
        Self::new(-32602, message)
    }
}

impl From<ChainError> for Refusal {
    fn from(error: ChainError) -> Self {
        match error {
            ChainError::Reverted(revert) => Self {
                code: 3,
                message: format!("execution reverted: {}", revert.text),
                data: Some(data(&revert.data)),
            },
            ChainError::Rejected(rejection) => Self::new(-32000, wording(&rejection)),
            other => Self::new(-32603, other.to_string()),
        }
    }
}

/// The wording of geth, which clients look for.
fn wording(rejection: &TxRejection) -> String {
    match rejection {
        TxRejection::AlreadyKnown => "already known".into(),
        TxRejection::NonceTooLow => "nonce too low".into(),
        TxRejection::NonceGap => "nonce too high: blocks are made at once, nothing waits".into(),
        TxRejection::ReplacementUnderpriced => "replacement transaction underpriced".into(),
        TxRejection::FeeTooLow => "max fee per gas less than block base fee".into(),
        TxRejection::InsufficientFunds => "insufficient funds for gas * price + value".into(),
        TxRejection::Other(text) => text.clone(),
    }
}

/// Answers one request or a batch.
pub(super) fn handle(chain: &EmbeddedChain, request: Value) -> Value {
    match request {
        Value::Array(requests) if requests.is_empty() || requests.len() > MOST_IN_BATCH => {
            let text = format!("a batch holds 1 to {MOST_IN_BATCH} requests");
            envelope(Value::Null, Err(Refusal::new(-32600, text)))
        }
        Value::Array(requests) => {
            Value::Array(requests.into_iter().map(|request| one(chain, request)).collect())
        }
        request => one(chain, request),
    }
}

fn one(chain: &EmbeddedChain, request: Value) -> Value {
    let id = match request.get("id") {
        Some(id @ (Value::String(_) | Value::Number(_))) => id.clone(),
        _ => Value::Null,
    };
    let Some(method) = request.get("method").and_then(Value::as_str) else {
        return envelope(id, Err(Refusal::new(-32600, "a request needs a method")));
    };
    let none = Vec::new();
    let params = match request.get("params") {
        None | Some(Value::Null) => &none,
        Some(Value::Array(params)) => params,
        Some(_) => return envelope(id, Err(Refusal::params("params must be a list"))),
    };
    envelope(id, answer(chain, method, &Params(params)))
}

fn envelope(id: Value, answer: Result<Value, Refusal>) -> Value {
    match answer {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(refusal) => {
            let message = shorten(&refusal.message);
            let mut error = json!({ "code": refusal.code, "message": message });
            if let Some(data) = refusal.data {
                error["data"] = data;
            }
            json!({ "jsonrpc": "2.0", "id": id, "error": error })
        }
    }
}

fn answer(chain: &EmbeddedChain, method: &str, params: &Params<'_>) -> Result<Value, Refusal> {
    let world = chain.world();
    Ok(match method {
        "web3_clientVersion" => json!(concat!("streetwatt/", env!("CARGO_PKG_VERSION"))),
        "net_version" => json!(world.chain_id.to_string()),
        "eth_chainId" => number(world.chain_id),
        "eth_syncing" => json!(false),
        "eth_accounts" => json!([]),
        "eth_blockNumber" => number(world.newest().number),
        "eth_gasPrice" => number(BASE_FEE),
        "eth_maxPriorityFeePerGas" => number(0),
        "eth_feeHistory" => fee_history(chain, params)?,
        "eth_getBalance" => {
            let address = params.read(0, read_address)?;
            params.newest_state(chain, 1)?;
            quantity(world.balance(address))
        }
        "eth_getTransactionCount" => {
            let address = params.read(0, read_address)?;
            params.newest_state(chain, 1)?;
            number(world.nonce(address))
        }
        "eth_getCode" => {
            let address = params.read(0, read_address)?;
            params.newest_state(chain, 1)?;
            data(world.code(address))
        }
        "eth_call" => {
            let (call, gas) = params.read(0, read_call)?;
            params.newest_state(chain, 1)?;
            data(execute::call(&world, &call, gas)?)
        }
        "eth_estimateGas" => {
            let (call, _) = params.read(0, read_call)?;
            params.newest_state(chain, 1)?;
            number(execute::estimate(&world, &call)?)
        }
        "eth_sendRawTransaction" => data(chain.include(&params.read(0, read_bytes)?)?),
        "eth_getTransactionReceipt" => {
            let found = world.transaction(params.read(0, read_b256)?);
            found.map_or(Value::Null, |(block, mined)| receipt_json(block, mined))
        }
        "eth_getTransactionByHash" => {
            let found = world.transaction(params.read(0, read_b256)?);
            found.map_or(Value::Null, |(block, mined)| transaction_json(block, mined))
        }
        "eth_getBlockByNumber" => {
            let block = params.block_number(chain, 0)?;
            let full = params.flag(1)?;
            world.blocks.get(&block).map_or(Value::Null, |block| block_json(block, full))
        }
        "eth_getBlockByHash" => {
            let hash = params.read(0, read_b256)?;
            let full = params.flag(1)?;
            let found = world.blocks.values().rev().find(|block| block.hash == hash);
            found.map_or(Value::Null, |block| block_json(block, full))
        }
        "eth_getLogs" => {
            let filter = log_filter(params.get(0)?, world.newest().number)?;
            let logs = world.logs(&filter);
            let hash_of = |number| world.blocks.get(&number).map_or(B256::ZERO, |b| b.hash);
            let each = logs.iter().map(|log| log_json(log, hash_of(log.block_number)));
            Value::Array(numbered(each))
        }
        other => {
            return Err(Refusal::new(
                -32601,
                format!("the method {} does not exist", shorten(other)),
            ));
        }
    })
}

/// Positional parameters.
struct Params<'a>(&'a [Value]);

impl Params<'_> {
    fn get(&self, at: usize) -> Result<&Value, Refusal> {
        self.0.get(at).ok_or_else(|| Refusal::params(format!("parameter {} is missing", at + 1)))
    }

    fn read<T>(&self, at: usize, read: fn(&Value) -> Result<T, String>) -> Result<T, Refusal> {
        read(self.get(at)?)
            .map_err(|error| Refusal::params(format!("parameter {}: {error}", at + 1)))
    }

    fn flag(&self, at: usize) -> Result<bool, Refusal> {
        match self.0.get(at) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(Refusal::params(format!("parameter {} must be true or false", at + 1))),
        }
    }

    /// A block by number or name.
    fn block_number(&self, chain: &EmbeddedChain, at: usize) -> Result<u64, Refusal> {
        match self.0.get(at).and_then(Value::as_str) {
            Some("latest" | "pending" | "safe" | "finalized") => Ok(chain.world().newest().number),
            Some("earliest") => Ok(0),
            _ => self.read(at, read_u64),
        }
    }

    /// Only the newest state is kept; asking for an older one is refused rather than answered wrongly.
    fn newest_state(&self, chain: &EmbeddedChain, at: usize) -> Result<(), Refusal> {
        if matches!(self.0.get(at), None | Some(Value::Null)) {
            return Ok(());
        }
        let newest = chain.world().newest().number;
        let asked = self.block_number(chain, at)?;
        if asked == newest {
            return Ok(());
        }
        let text = format!("the state of block {asked} is not kept, only that of block {newest}");
        Err(Refusal::new(-32000, text))
    }
}

fn read_call(value: &Value) -> Result<(Call, u64), String> {
    let object = value.as_object().ok_or("a transaction object is expected")?;
    let present = |name: &str| object.get(name).filter(|value| !value.is_null());
    // "input" is the newer name of "data"; some clients send both.
    let payload = present("input").or_else(|| present("data"));
    let call = Call {
        from: present("from").map(read_address).transpose()?,
        to: present("to").map(read_address).transpose()?,
        data: payload.map(read_bytes).transpose()?.unwrap_or_default(),
        value: present("value").map(read_u256).transpose()?.unwrap_or_default(),
    };
    let gas = present("gas").map(read_u64).transpose()?.unwrap_or(CALL_GAS_LIMIT);
    Ok((call, gas))
}

fn log_filter(value: &Value, newest: u64) -> Result<LogFilter, Refusal> {
    let object = value.as_object().ok_or_else(|| Refusal::params("a filter is expected"))?;
    let refuse = |name: &str| Refusal::params(format!("{name} in this form is not supported"));
    let bound = |name: &str| match object.get(name) {
        None | Some(Value::Null) => Ok(newest),
        Some(Value::String(tag)) if tag == "earliest" => Ok(0),
        Some(Value::String(tag)) if !tag.starts_with("0x") => match tag.as_str() {
            "latest" | "pending" | "safe" | "finalized" => Ok(newest),
            _ => Err(refuse(name)),
        },
        Some(value) => read_u64(value).map_err(|_| refuse(name)),
    };
    let address = match object.get("address") {
        None | Some(Value::Null) => None,
        Some(value) => Some(read_address(value).map_err(|_| refuse("address"))?),
    };
    let event = match object.get("topics").and_then(Value::as_array).map(Vec::as_slice) {
        None | Some([] | [Value::Null]) => None,
        Some([event]) => Some(read_b256(event).map_err(|_| refuse("topics"))?),
        Some(_) => return Err(refuse("topics")),
    };
    if object.contains_key("blockHash") {
        return Err(refuse("blockHash"));
    }
    let (from_block, to_block) = (bound("fromBlock")?, Some(bound("toBlock")?));
    Ok(LogFilter { from_block, to_block, address, event })
}

fn fee_history(chain: &EmbeddedChain, params: &Params<'_>) -> Result<Value, Refusal> {
    let count = params.read(0, read_u64)?.min(MOST_FEE_BLOCKS);
    let newest = params.block_number(chain, 1)?.min(chain.world().newest().number);
    let oldest = (newest + 1).saturating_sub(count);
    let blocks = newest + 1 - oldest;
    let fees: Vec<Value> = (0..=blocks).map(|_| number(BASE_FEE)).collect();
    let ratios: Vec<f64> = (0..blocks).map(|_| 0.0).collect();
    let mut history =
        json!({ "oldestBlock": number(oldest), "baseFeePerGas": fees, "gasUsedRatio": ratios });
    if let Some(Value::Array(percentiles)) = params.0.get(2) {
        let tips = vec![number(0); percentiles.len().min(100)];
        history["reward"] = Value::Array((0..blocks).map(|_| json!(tips)).collect());
    }
    Ok(history)
}

fn number(number: u64) -> Value {
    quantity(U256::from(number))
}

/// Adds each event's place in the block.
fn numbered(logs: impl Iterator<Item = Value>) -> Vec<Value> {
    let mut last_block = Value::Null;
    let mut index = 0;
    logs.map(|mut log| {
        index = if log["blockNumber"] == last_block { index + 1 } else { 0 };
        last_block = log["blockNumber"].clone();
        log["logIndex"] = number(index);
        log
    })
    .collect()
}

fn log_json(log: &Log, block_hash: B256) -> Value {
    json!({
        "address": log.address,
        "topics": log.topics,
        "data": data(&log.data),
        "blockNumber": number(log.block_number),
        "blockHash": block_hash,
        "transactionHash": log.tx_hash,
        "transactionIndex": number(0),
        "removed": false,
    })
}

/// The request and signature in the signed bytes, which decoded when the block was made.
fn signed(mined: &Mined) -> (TxRequest, SignedTx) {
    SignedTx::decode(&mined.raw).expect("only transactions that decode get into a block")
}

/// The fields that follow from the signed bytes.
fn signed_fields(mined: &Mined) -> Map<String, Value> {
    let (request, signed) = signed(mined);
    let fields = json!({
        "type": "0x2",
        "hash": signed.hash,
        "from": signed.from,
        "to": request.to,
        "nonce": number(request.nonce),
        "value": quantity(request.value),
        "input": data(&request.data),
        "gas": number(request.gas_limit),
        "chainId": number(request.chain_id),
        "maxFeePerGas": quantity(U256::from(request.fees.max_fee_per_gas)),
        "maxPriorityFeePerGas": quantity(U256::from(request.fees.max_priority_fee_per_gas)),
        "accessList": [],
    });
    match fields {
        Value::Object(fields) => fields,
        _ => unreachable!("an object literal is an object"),
    }
}

fn transaction_json(block: &Block, mined: &Mined) -> Value {
    let mut fields = signed_fields(mined);
    fields.insert("blockNumber".into(), number(block.number));
    fields.insert("blockHash".into(), json!(block.hash));
    fields.insert("transactionIndex".into(), number(0));
    Value::Object(fields)
}

fn receipt_json(block: &Block, mined: &Mined) -> Value {
    let (request, signed) = signed(mined);
    let (fees, base) = (request.fees, u128::from(BASE_FEE));
    // Inclusion required at least the base fee.
    let tip = fees.max_priority_fee_per_gas.min(fees.max_fee_per_gas.saturating_sub(base));
    let logs = mined.events.iter().map(|event| {
        let log = Log {
            address: event.address,
            topics: event.topics.clone(),
            data: event.data.clone(),
            block_number: block.number,
            tx_hash: mined.hash,
        };
        log_json(&log, block.hash)
    });
    let created = Some(&mined.created).filter(|created| !created.is_empty());
    json!({
        "type": "0x2",
        "transactionHash": mined.hash,
        "transactionIndex": number(0),
        "blockNumber": number(block.number),
        "blockHash": block.hash,
        "from": signed.from,
        "to": request.to,
        "contractAddress": created.map(data),
        "status": number(u64::from(mined.success)),
        "gasUsed": number(mined.gas_used),
        "cumulativeGasUsed": number(mined.gas_used),
        "effectiveGasPrice": quantity(U256::from(base + tip)),
        "logs": numbered(logs),
        "logsBloom": data([0u8; 256]),
    })
}

fn block_json(block: &Block, full: bool) -> Value {
    let transactions: Vec<Value> = block
        .transactions
        .iter()
        .map(|mined| if full { transaction_json(block, mined) } else { json!(mined.hash) })
        .collect();
    let gas_used = block.transactions.iter().map(|mined| mined.gas_used).sum::<u64>();
    let zero = B256::ZERO;
    json!({
        "number": number(block.number),
        "hash": block.hash,
        "parentHash": block.parent,
        "timestamp": number(block.timestamp),
        "gasLimit": number(BLOCK_GAS_LIMIT),
        "gasUsed": number(gas_used),
        "baseFeePerGas": number(BASE_FEE),
        "transactions": transactions,
        "miner": alloy_primitives::Address::ZERO,
        "difficulty": "0x0",
        "nonce": "0x0000000000000000",
        "extraData": data(Bytes::new()),
        "logsBloom": data([0u8; 256]),
        "mixHash": zero,
        "sha3Uncles": zero,
        "stateRoot": zero,
        "transactionsRoot": zero,
        "receiptsRoot": zero,
        "size": number(0),
        "uncles": [],
    })
}
