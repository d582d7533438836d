//! Any EVM node over HTTP JSON-RPC.
//!
//! Blocking HTTP on tokio's blocking threads: a handful of small requests per epoch do not need an asynchronous
//! HTTP client. Answers are bounded in time and size; the node's URL, which may hold an access key, never gets into a message.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, U256};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::error::{ChainError, TxRejection, shorten};
use crate::hexnum::{
    data, quantity, read_address, read_b256, read_bytes, read_u64, read_u128, read_u256,
};
use crate::types::{At, Call, Fees, Log, LogFilter, Receipt};
use crate::{Chain, Reply, Revert};

/// Requests under way at once; more wait.
const PARALLEL: usize = 8;
/// Most events in one answer.
const MOST_LOGS: usize = 10_000;
/// Tip when a node does not offer one: 1 gwei.
const DEFAULT_TIP: u128 = 1_000_000_000;

/// How to reach a node.
#[derive(Clone, Debug)]
pub struct RpcConfig {
    /// `http://host:port/path`, or `https://` when this program was built with the feature `tls`.
    pub url: String,
    /// Chain that the node must serve.
    pub chain_id: u64,
    /// Longest time for one request, connection included.
    pub timeout: Duration,
    /// Longest answer in bytes.
    pub max_answer_bytes: u64,
}

impl RpcConfig {
    /// A node with the usual bounds: 10 seconds, 8 MiB.
    pub fn new(url: impl Into<String>, chain_id: u64) -> Self {
        Self {
            url: url.into(),
            chain_id,
            timeout: Duration::from_secs(10),
            max_answer_bytes: 8 << 20,
        }
    }
}

/// A chain behind JSON-RPC. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RpcChain {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    agent: ureq::Agent,
    url: String,
    endpoint: String,
    chain_id: u64,
    max_answer_bytes: u64,
    permits: Arc<Semaphore>,
}

impl RpcChain {
    /// Prepares a client. Connects to nothing yet: see [`RpcChain::check`].
    ///
    /// # Errors
    /// [`ChainError::Config`] for a URL that cannot work.
    pub fn new(config: RpcConfig) -> Result<Self, ChainError> {
        let (host, endpoint) = endpoint_of(&config.url)?;
        let mut builder = ureq::Agent::config_builder()
            .timeout_global(Some(config.timeout))
            .max_redirects(0)
            .http_status_as_error(false);
        if matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]") {
            // A proxy from the environment cannot reach this machine's own node.
            builder = builder.proxy(None);
        }
        Ok(Self {
            inner: Arc::new(Inner {
                agent: builder.build().new_agent(),
                url: config.url,
                endpoint,
                chain_id: config.chain_id,
                max_answer_bytes: config.max_answer_bytes,
                permits: Arc::new(Semaphore::new(PARALLEL)),
            }),
        })
    }

    /// Asks the node for its chain and compares. Call it before the first transaction.
    ///
    /// # Errors
    /// [`ChainError::WrongChain`], or what the transport reports.
    pub async fn check(&self) -> Result<(), ChainError> {
        self.chain_id().await.map(drop)
    }

    /// Host and port of the node, for messages.
    pub fn endpoint(&self) -> &str {
        &self.inner.endpoint
    }

    async fn ask<T: Send + 'static>(
        &self,
        method: &'static str,
        params: Value,
        read: impl FnOnce(&Value) -> Result<T, String> + Send + 'static,
    ) -> Result<T, ChainError> {
        let permit = Arc::clone(&self.inner.permits)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let inner = Arc::clone(&self.inner);
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let answer = inner.post(method, &params)?;
            read(&answer).map_err(|detail| inner.bad(method, detail))
        });
        task.await.unwrap_or_else(|error| {
            let detail = format!("the request was broken off: {error}");
            Err(ChainError::Unreachable { endpoint: self.inner.endpoint.clone(), method, detail })
        })
    }
}

impl Inner {
    fn post(&self, method: &'static str, params: &Value) -> Result<Value, ChainError> {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let unreachable = |error: ureq::Error| ChainError::Unreachable {
            endpoint: self.endpoint.clone(),
            method,
            detail: shorten(&error.to_string()),
        };
        let mut response = self
            .agent
            .post(&self.url)
            .content_type("application/json")
            .send(request.to_string())
            .map_err(unreachable)?;
        let status = response.status();
        let body =
            response.body_mut().with_config().limit(self.max_answer_bytes).read_to_vec().map_err(
                |error| match error {
                    ureq::Error::BodyExceedsLimit(limit) => {
                        self.bad(method, format!("the answer is longer than {limit} bytes"))
                    }
                    other => unreachable(other),
                },
            )?;
        let answer: Value = serde_json::from_slice(&body).map_err(|error| {
            if status.is_success() {
                self.bad(method, format!("not JSON: {error}"))
            } else {
                let detail = format!("HTTP status {status}");
                ChainError::Unreachable { endpoint: self.endpoint.clone(), method, detail }
            }
        })?;
        self.result(method, answer)
    }

    fn result(&self, method: &'static str, mut answer: Value) -> Result<Value, ChainError> {
        let error = answer.get("error").filter(|error| !error.is_null());
        if let Some(error) = error {
            return Err(self.refusal(method, error));
        }
        match answer.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => Err(self.bad(method, "neither a result nor an error".to_owned())),
        }
    }

    fn refusal(&self, method: &'static str, error: &Value) -> ChainError {
        let code = error.get("code").and_then(Value::as_i64).unwrap_or(0);
        let message = error.get("message").and_then(Value::as_str).unwrap_or("no message");
        if method == "eth_sendRawTransaction" && !matches!(code, -32005 | -32601 | 429) {
            return ChainError::Rejected(TxRejection::from_message(message));
        }
        // geth and anvil put the revert data here; others nest it once more.
        let payload = error.get("data").map(|data| data.get("data").unwrap_or(data));
        let revert_data = payload.and_then(|data| read_bytes(data).ok());
        let reverted = code == 3 || message.to_ascii_lowercase().contains("revert");
        if reverted {
            return ChainError::Reverted(Revert::decode(revert_data.unwrap_or_default()));
        }
        let endpoint = self.endpoint.clone();
        ChainError::Refused { endpoint, method, code, message: shorten(message) }
    }

    fn bad(&self, method: &'static str, detail: String) -> ChainError {
        ChainError::BadAnswer { endpoint: self.endpoint.clone(), method, detail: shorten(&detail) }
    }
}

impl Chain for RpcChain {
    fn chain_id(&self) -> Reply<'_, u64> {
        Box::pin(async {
            let found = self.ask("eth_chainId", json!([]), read_u64).await?;
            let expected = self.inner.chain_id;
            if found == expected {
                Ok(found)
            } else {
                Err(ChainError::WrongChain { expected, found })
            }
        })
    }

    fn block_number(&self) -> Reply<'_, u64> {
        Box::pin(self.ask("eth_blockNumber", json!([]), read_u64))
    }

    fn balance(&self, address: Address) -> Reply<'_, U256> {
        Box::pin(self.ask("eth_getBalance", json!([address, "latest"]), read_u256))
    }

    fn nonce(&self, address: Address) -> Reply<'_, u64> {
        Box::pin(self.ask("eth_getTransactionCount", json!([address, "latest"]), read_u64))
    }

    fn code(&self, address: Address) -> Reply<'_, Bytes> {
        Box::pin(self.ask("eth_getCode", json!([address, "latest"]), read_bytes))
    }

    fn call_at(&self, call: Call, at: At) -> Reply<'_, Bytes> {
        let tag = match at {
            At::Latest => "latest",
            At::Safe => "safe",
            At::Finalized => "finalized",
        };
        Box::pin(self.ask("eth_call", json!([call_json(&call), tag]), read_bytes))
    }

    fn estimate_gas(&self, call: Call) -> Reply<'_, u64> {
        Box::pin(self.ask("eth_estimateGas", json!([call_json(&call)]), read_u64))
    }

    fn fees(&self) -> Reply<'_, Fees> {
        Box::pin(async {
            let base = self.ask("eth_getBlockByNumber", json!(["latest", false]), read_base_fee);
            let base = base.await?;
            let tip = match self.ask("eth_maxPriorityFeePerGas", json!([]), read_u128).await {
                Ok(tip) => tip,
                // Not every node knows this method.
                Err(ChainError::Refused { .. }) => DEFAULT_TIP,
                Err(error) => return Err(error),
            };
            // The base fee rises by at most an eighth per block: twice of it lasts for six full blocks.
            let max_fee_per_gas = base.saturating_mul(2).saturating_add(tip);
            Ok(Fees { max_fee_per_gas, max_priority_fee_per_gas: tip })
        })
    }

    fn send_raw(&self, raw: Bytes) -> Reply<'_, B256> {
        Box::pin(self.ask("eth_sendRawTransaction", json!([raw]), read_b256))
    }

    fn receipt(&self, hash: B256) -> Reply<'_, Option<Receipt>> {
        Box::pin(self.ask("eth_getTransactionReceipt", json!([hash]), |answer| {
            if answer.is_null() { Ok(None) } else { read_receipt(answer).map(Some) }
        }))
    }

    fn logs(&self, filter: LogFilter) -> Reply<'_, Vec<Log>> {
        let mut query = json!({ "fromBlock": quantity(U256::from(filter.from_block)) });
        query["toBlock"] =
            filter.to_block.map_or_else(|| json!("latest"), |number| quantity(U256::from(number)));
        if let Some(address) = filter.address {
            query["address"] = json!(address);
        }
        if let Some(event) = filter.event {
            query["topics"] = json!([event]);
        }
        Box::pin(self.ask("eth_getLogs", json!([query]), read_logs))
    }
}

fn call_json(call: &Call) -> Value {
    let mut object = json!({ "data": data(&call.data) });
    if let Some(from) = call.from {
        object["from"] = json!(from);
    }
    if let Some(to) = call.to {
        object["to"] = json!(to);
    }
    if !call.value.is_zero() {
        object["value"] = quantity(call.value);
    }
    object
}

fn field<T>(
    object: &Value,
    name: &str,
    read: impl FnOnce(&Value) -> Result<T, String>,
) -> Result<T, String> {
    let value = object.get(name).ok_or_else(|| format!("the field {name} is missing"))?;
    read(value).map_err(|error| format!("{name}: {error}"))
}

fn read_base_fee(block: &Value) -> Result<u128, String> {
    field(block, "baseFeePerGas", read_u128)
        .map_err(|error| format!("{error}; a chain with EIP-1559 fees is needed"))
}

fn read_receipt(receipt: &Value) -> Result<Receipt, String> {
    let created = receipt.get("contractAddress").filter(|address| !address.is_null());
    Ok(Receipt {
        tx_hash: field(receipt, "transactionHash", read_b256)?,
        block_number: field(receipt, "blockNumber", read_u64)?,
        block_hash: field(receipt, "blockHash", read_b256)?,
        success: match field(receipt, "status", read_u64)? {
            0 => false,
            1 => true,
            other => return Err(format!("status {other} is neither 0 nor 1")),
        },
        gas_used: field(receipt, "gasUsed", read_u64)?,
        contract_address: created.map(read_address).transpose()?,
        logs: field(receipt, "logs", read_logs)?,
    })
}

fn read_logs(logs: &Value) -> Result<Vec<Log>, String> {
    let logs = logs.as_array().ok_or("a list of events is expected")?;
    if logs.len() > MOST_LOGS {
        return Err(format!("{} events, at most {MOST_LOGS} are taken", logs.len()));
    }
    logs.iter().map(read_log).collect()
}

fn read_log(log: &Value) -> Result<Log, String> {
    let topics = log.get("topics").and_then(Value::as_array).ok_or("an event without topics")?;
    if topics.len() > 4 {
        return Err(format!("an event has at most 4 topics, not {}", topics.len()));
    }
    Ok(Log {
        address: field(log, "address", read_address)?,
        topics: topics.iter().map(read_b256).collect::<Result<_, _>>()?,
        data: field(log, "data", read_bytes)?,
        block_number: field(log, "blockNumber", read_u64)?,
        tx_hash: field(log, "transactionHash", read_b256)?,
    })
}

/// Host, and host with port, of a URL; the rest of it may be secret.
fn endpoint_of(url: &str) -> Result<(String, String), ChainError> {
    let config = |text: String| Err(ChainError::Config(text));
    let (scheme, rest) = match url.split_once("://") {
        Some(parts) => parts,
        None => return config("the RPC URL must begin with http:// or https://".to_owned()),
    };
    match scheme {
        "http" => {}
        "https" if cfg!(feature = "tls") => {}
        "https" => {
            return config(
                "this build speaks http:// only; build with the feature `tls` for https://, \
                 or use a node of your own on http://127.0.0.1:8545"
                    .to_owned(),
            );
        }
        other => {
            return config(format!("the RPC URL's scheme must be http or https, not {other:?}"));
        }
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let endpoint = authority.rsplit('@').next().unwrap_or_default();
    if endpoint.is_empty() {
        return config("the RPC URL has no host".to_owned());
    }
    let host = match endpoint.rsplit_once(':') {
        Some((host, port)) if port.chars().all(|c| c.is_ascii_digit()) => host,
        _ => endpoint,
    };
    Ok((host.to_owned(), endpoint.to_owned()))
}
