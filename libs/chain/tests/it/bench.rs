//! Test chains and funded accounts.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chain::{
    Address, Call, Chain, ChainError, DeployParams, DeployPlan, Deployment, EmbeddedChain,
    EmbeddedConfig, EpochHeader, Receipt, RpcChain, RpcConfig, U256, Wallet, community_hash,
    prepare,
};
use serde_json::{Value, json};

pub const CHAIN_ID: u64 = 31_337;
pub const COMMUNITY: &str = "elm-street";
pub const EPOCH_CAP: u128 = 1_000_000;
pub const TOTAL_CAP: u128 = 2_500_000;

/// The first three keys of the well-known development mnemonic: anvil funds them, and so do we.
const KEYS: [&str; 3] = [
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
];

pub fn wallet(index: usize) -> Wallet {
    Wallet::from_hex(KEYS[index]).unwrap()
}

/// An embedded chain in `dir` whose clock advances one second per reading.
pub fn embedded(dir: &Path) -> EmbeddedChain {
    open_embedded(dir).unwrap()
}

pub fn open_embedded(dir: &Path) -> Result<EmbeddedChain, chain::EmbeddedError> {
    let ticks = AtomicU64::new(1_790_000_000);
    EmbeddedChain::open(EmbeddedConfig {
        dir: dir.to_owned(),
        chain_id: CHAIN_ID,
        fund: (0..KEYS.len())
            .map(|i| (wallet(i).address(), U256::from(10u64).pow(U256::from(22))))
            .collect(),
        now_unix_s: Arc::new(move || ticks.fetch_add(1, Ordering::Relaxed)),
    })
}

/// A chain, and what must live as long as it.
pub struct Bench {
    pub chain: Arc<dyn Chain>,
    /// URL, for chains behind JSON-RPC.
    pub url: Option<String>,
    _dir: Option<tempfile::TempDir>,
    _node: Option<Anvil>,
}

impl Bench {
    pub fn embedded() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let chain = Arc::new(embedded(dir.path()));
        Self { chain, url: None, _dir: Some(dir), _node: None }
    }

    /// The embedded chain, reached through a real HTTP connection.
    pub fn over_http() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = serve(embedded(dir.path()));
        let chain = Arc::new(RpcChain::new(RpcConfig::new(&url, CHAIN_ID)).unwrap());
        Self { chain, url: Some(url), _dir: Some(dir), _node: None }
    }

    /// A fresh anvil, or `None` (with the reason on stdout) when this machine has none.
    pub fn anvil(arguments: &[&str]) -> Option<Self> {
        let node = Anvil::start(arguments)?;
        let chain = Arc::new(RpcChain::new(RpcConfig::new(&node.url, CHAIN_ID)).unwrap());
        Some(Self { chain, url: Some(node.url.clone()), _dir: None, _node: Some(node) })
    }

    pub fn chain(&self) -> &dyn Chain {
        self.chain.as_ref()
    }

    /// A raw JSON-RPC request to the node, for anvil's own methods.
    pub fn raw(&self, method: &str, params: Value) -> Value {
        let url = self.url.as_ref().unwrap();
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut response =
            ureq::post(url).content_type("application/json").send(request.to_string()).unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// A fresh set of contracts operated by wallet 0.
    pub async fn deploy(&self) -> Deployment {
        let operator = wallet(0);
        let first_nonce = self.chain.nonce(operator.address()).await.unwrap();
        plan(operator.address(), first_nonce)
            .run(self.chain(), &operator, 200, Duration::from_millis(20))
            .await
            .unwrap()
    }

    /// Sends a call and waits until it is in a block.
    pub async fn send(&self, wallet: &Wallet, call: &Call) -> Receipt {
        self.send_with_gas(wallet, call, 900_000).await
    }

    pub async fn send_with_gas(&self, wallet: &Wallet, call: &Call, gas: u64) -> Receipt {
        let nonce = self.chain.nonce(wallet.address()).await.unwrap();
        let fees = self.chain.fees().await.unwrap();
        let tx = prepare(wallet, CHAIN_ID, call, nonce, fees, gas);
        assert_eq!(self.chain.send_raw(tx.raw.clone()).await.unwrap(), tx.hash);
        self.wait(tx.hash).await
    }

    pub async fn wait(&self, hash: chain::B256) -> Receipt {
        for _ in 0..500 {
            if let Some(receipt) = self.chain.receipt(hash).await.unwrap() {
                return receipt;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{hash} was not included");
    }

    /// The name of the error that the call reverts with, both when simulated and when really sent.
    pub async fn refused(&self, wallet: &Wallet, call: &Call) -> &'static str {
        let asked = self.chain.estimate_gas(call.clone().from(wallet.address())).await;
        let Err(ChainError::Reverted(revert)) = asked else {
            panic!("a revert was expected: {asked:?}");
        };
        let sent = self.send(wallet, call).await;
        assert!(!sent.success, "{} was announced but the transaction succeeded", revert.text);
        assert!(sent.logs.is_empty());
        revert.name
    }
}

pub fn plan(deployer: Address, first_nonce: u64) -> DeployPlan {
    DeployPlan {
        deployer,
        first_nonce,
        params: DeployParams {
            operator: deployer,
            community: community_hash(COMMUNITY),
            epoch_reward_cap: EPOCH_CAP,
            total_reward_cap: TOTAL_CAP,
        },
    }
}

/// A sound header after `last` (the first one when it is `None`) covering 96 slots.
pub fn header_after(last: Option<&EpochHeader>) -> EpochHeader {
    let seq = last.map_or(1, |last| last.seq + 1);
    let from_slot = last.map_or(1_612_896, |last| last.to_slot + 1);
    EpochHeader {
        seq,
        prev: last.map_or(chain::B256::ZERO, EpochHeader::hash),
        from_slot,
        to_slot: from_slot + 95,
        log_size: last.map_or(0, |last| last.log_size) + 96,
        log_root: chain::keccak256(format!("log root {seq}")),
        rewards_root: last.map_or(chain::B256::ZERO, |last| last.rewards_root),
        import_wh: 500_000 + seq,
        export_wh: 120_000,
        grid_import_wh: 400_000 + seq,
        grid_export_wh: 20_000,
        local_wh: 100_000,
        debit: 123_456_789_012_345,
        credit: 123_456_789_012_345,
        reward_total: last.map_or(0, |last| last.reward_total),
    }
}

/// anvil on a port of its own choice; killed by its own process id when dropped.
pub struct Anvil {
    process: Child,
    pub url: String,
}

impl Anvil {
    fn start(arguments: &[&str]) -> Option<Self> {
        let Some(program) = std::env::var_os("STREETWATT_ANVIL").map(PathBuf::from) else {
            println!(
                "SKIPPED: STREETWATT_ANVIL is not set; `npm ci` in contracts/ brings \
                 node_modules/@foundry-rs/anvil-<platform>/bin/anvil"
            );
            return None;
        };
        let mut process = Command::new(&program)
            .args(["--host", "127.0.0.1", "--port", "0"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap_or_else(|error| panic!("STREETWATT_ANVIL={}: {error}", program.display()));
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines
            .find_map(|line| line.unwrap().strip_prefix("Listening on ").map(str::to_owned))
            .expect("anvil says where it listens");
        // Keeps the pipe from filling up.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { process, url: format!("http://{address}") })
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Serves an embedded chain over HTTP on a free port, until the test process ends.
pub fn serve(chain: EmbeddedChain) -> String {
    serve_with(move |_, body| match serde_json::from_slice(body) {
        Ok(request) => {
            ("200 OK".to_owned(), chain.handle_json_rpc(request).to_string().into_bytes())
        }
        Err(error) => ("400 Bad Request".to_owned(), error.to_string().into_bytes()),
    })
}

/// A small HTTP server: `answer` gets the path and the body, and returns status and body.
pub fn serve_with(
    answer: impl Fn(&str, &[u8]) -> (String, Vec<u8>) + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || {
                exchange(&mut stream.unwrap(), answer.as_ref()).ok();
            });
        }
    });
    url
}

fn exchange(
    stream: &mut TcpStream,
    answer: &impl Fn(&str, &[u8]) -> (String, Vec<u8>),
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request_line = String::new();
    reader.read_line(&mut request_line)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let path = request_line.split(' ').nth(1).unwrap_or_default();
    let (status, body) = answer(path, &body);
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(&body)
}
