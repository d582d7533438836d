//! The embedded chain's state on disk: restarts, kills, damage, a second process.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use chain::{
    At, B256, Bytes, Call, Chain, ChainError, EmbeddedChain, EmbeddedConfig, EmbeddedError, Fees,
    U256, prepare,
};

use crate::bench::{Bench, CHAIN_ID, COMMUNITY, embedded, header_after, open_embedded, wallet};

const FEES: Fees = Fees { max_fee_per_gas: 2_000_000_000, max_priority_fee_per_gas: 0 };

async fn pay(chain: &EmbeddedChain, nonce: u64) -> Result<B256, ChainError> {
    let mut call = Call::new(wallet(1).address(), Bytes::new());
    call.value = U256::from(1);
    let tx = prepare(&wallet(0), CHAIN_ID, &call, nonce, FEES, 21_000);
    chain.send_raw(tx.raw).await
}

#[tokio::test]
async fn a_restart_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let (deployed, header, receipt) = {
        let chain = embedded(dir.path());
        let plan = crate::bench::plan(wallet(0).address(), 0);
        let deployed = plan.run(&chain, &wallet(0), 0, std::time::Duration::ZERO).await.unwrap();
        let header = header_after(None);
        let tx = prepare(&wallet(0), CHAIN_ID, &deployed.submit(&header), 3, FEES, 400_000);
        let hash = chain.send_raw(tx.raw).await.unwrap();
        (deployed, header, chain.receipt(hash).await.unwrap().unwrap())
    };
    let chain = embedded(dir.path());
    deployed.verify(&chain, COMMUNITY).await.unwrap();
    let head = deployed.head(&chain, At::Latest).await.unwrap();
    assert_eq!((head.seq, head.hash), (1, header.hash()));
    assert_eq!(chain.receipt(receipt.tx_hash).await.unwrap(), Some(receipt));
    assert_eq!(deployed.headers(&chain, 0).await.unwrap(), std::slice::from_ref(&header));
    assert_eq!(chain.nonce(wallet(0).address()).await.unwrap(), 4);
    assert_eq!(chain.block_number().await.unwrap(), 4);
    // Funding is for accounts that the chain has never seen: a restart gives nothing back.
    let balance = chain.balance(wallet(0).address()).await.unwrap();
    assert!(balance < U256::from(10u64).pow(U256::from(22)));
    let next = prepare(
        &wallet(0),
        CHAIN_ID,
        &deployed.submit(&header_after(Some(&header))),
        4,
        FEES,
        400_000,
    );
    chain.send_raw(next.raw).await.unwrap();
    assert_eq!(deployed.head(&chain, At::Latest).await.unwrap().seq, 2);
}

#[tokio::test]
async fn the_newest_blocks_are_kept_and_older_ones_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let chain = embedded(dir.path());
    let mut hashes = Vec::new();
    for nonce in 0..chain::evm::KEPT_BLOCKS + 10 {
        hashes.push(pay(&chain, nonce).await.unwrap());
    }
    check_kept(&chain, &hashes).await;
    drop(chain);
    check_kept(&embedded(dir.path()), &hashes).await;
}

async fn check_kept(chain: &EmbeddedChain, hashes: &[B256]) {
    assert_eq!(chain.block_number().await.unwrap(), hashes.len() as u64);
    assert_eq!(chain.receipt(hashes[9]).await.unwrap(), None);
    assert!(chain.receipt(hashes[10]).await.unwrap().is_some());
    assert!(chain.receipt(*hashes.last().unwrap()).await.unwrap().is_some());
    // A transaction whose receipt is forgotten still cannot be repeated.
    let again = pay(chain, 0).await.unwrap_err();
    assert!(matches!(again, ChainError::Rejected(chain::TxRejection::NonceTooLow)), "{again}");
}

#[tokio::test]
async fn a_crash_before_the_rename_leaves_the_old_state() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state.evm");
    let temporary = dir.path().join("state.tmp");
    let chain = embedded(dir.path());
    pay(&chain, 0).await.unwrap();
    let before = std::fs::read(&state).unwrap();
    pay(&chain, 1).await.unwrap();
    let after = std::fs::read(&state).unwrap();
    drop(chain);
    // The crash happens when this much of the new state was written to the temporary file.
    for written in [0, 1, 24, after.len() / 2, after.len() - 1, after.len()] {
        std::fs::write(&state, &before).unwrap();
        std::fs::write(&temporary, &after[..written]).unwrap();
        let chain = embedded(dir.path());
        assert_eq!(chain.nonce(wallet(0).address()).await.unwrap(), 1, "{written} bytes written");
        pay(&chain, 1).await.unwrap();
        drop(chain);
        let chain = embedded(dir.path());
        assert_eq!(chain.nonce(wallet(0).address()).await.unwrap(), 2);
    }
}

#[tokio::test]
async fn a_failed_write_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let temporary = dir.path().join("state.tmp");
    let chain = embedded(dir.path());
    pay(&chain, 0).await.unwrap();
    // The temporary file cannot be created: a directory has its name.
    std::fs::create_dir(&temporary).unwrap();
    let error = pay(&chain, 1).await.unwrap_err();
    assert!(error.to_string().contains("state.tmp"), "{error}");
    assert_eq!(chain.nonce(wallet(0).address()).await.unwrap(), 1);
    assert_eq!(chain.block_number().await.unwrap(), 1);
    std::fs::remove_dir(&temporary).unwrap();
    pay(&chain, 1).await.unwrap();
    drop(chain);
    let nonce = embedded(dir.path()).nonce(wallet(0).address()).await.unwrap();
    assert_eq!(nonce, 2);
}

#[tokio::test]
async fn every_damaged_byte_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state.evm");
    let chain = embedded(dir.path());
    pay(&chain, 0).await.unwrap();
    drop(chain);
    let good = std::fs::read(&state).unwrap();
    let refused = |bytes: &[u8], what: String| {
        std::fs::write(&state, bytes).unwrap();
        match open_embedded(dir.path()) {
            Err(error @ EmbeddedError::Corrupt { .. }) => {
                let text = error.to_string();
                assert!(text.contains("state.evm") && text.contains("backup"), "{text}");
            }
            Err(other) => panic!("{what}: {other}"),
            Ok(_) => panic!("{what}: accepted"),
        }
    };
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        refused(&bad, format!("byte {at} flipped"));
        refused(&good[..at], format!("cut after {at} bytes"));
    }
    refused(&[good.as_slice(), b"x"].concat(), "one byte more".into());
    std::fs::write(&state, &good).unwrap();
    let nonce = embedded(dir.path()).nonce(wallet(0).address()).await.unwrap();
    assert_eq!(nonce, 1);
}

#[test]
fn one_directory_one_process_one_chain_id() {
    let dir = tempfile::tempdir().unwrap();
    let first = embedded(dir.path());
    assert!(matches!(open_embedded(dir.path()), Err(EmbeddedError::InUse { .. })));
    let clone = first.clone();
    drop(first);
    let still = open_embedded(dir.path());
    assert!(matches!(still, Err(EmbeddedError::InUse { .. })), "a clone still has it");
    drop(clone);
    let other = EmbeddedChain::open(EmbeddedConfig {
        dir: dir.path().to_owned(),
        chain_id: 1,
        fund: Vec::new(),
        now_unix_s: std::sync::Arc::new(|| 0),
    });
    assert!(matches!(other, Err(EmbeddedError::OtherChain { expected: 1, found: CHAIN_ID, .. })));
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(matches!(open_embedded(file.path()), Err(EmbeddedError::Io { .. })));
}

#[tokio::test]
async fn block_times_never_go_back() {
    let dir = tempfile::tempdir().unwrap();
    let chain = EmbeddedChain::open(EmbeddedConfig {
        dir: dir.path().to_owned(),
        chain_id: CHAIN_ID,
        fund: vec![(wallet(0).address(), U256::from(10u64).pow(U256::from(18)))],
        // A clock that stands still.
        now_unix_s: std::sync::Arc::new(|| 1_000),
    })
    .unwrap();
    let timestamp = |number: u64| {
        let request = serde_json::json!({
            "jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber",
            "params": [format!("{number:#x}"), false]
        });
        let block = chain.handle_json_rpc(request);
        u64::from_str_radix(&block["result"]["timestamp"].as_str().unwrap()[2..], 16).unwrap()
    };
    pay(&chain, 0).await.unwrap();
    pay(&chain, 1).await.unwrap();
    assert_eq!([timestamp(0), timestamp(1), timestamp(2)], [1_000, 1_001, 1_002]);
}

const CHILD_DIR: &str = "STREETWATT_TEST_CHAIN_DIR";

/// Kills a process with SIGKILL while it writes, several times, and looks whether anything that was acknowledged is
/// missing. The process is this test itself, started again with a directory in its environment.
#[tokio::test]
async fn kill_9_loses_nothing_that_was_acknowledged() {
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        write_until_killed(Path::new(&dir)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<B256> = Vec::new();
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "persistence::kill_9_loses_nothing_that_was_acknowledged"])
            .arg("--nocapture")
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let hashes = lines.filter_map(|line| {
            let line = line.ok()?;
            Some(line.split_once("acknowledged ")?.1.parse::<B256>().unwrap())
        });
        acknowledged.extend(hashes.take(5 + 7 * round));
        assert!(matches!(open_embedded(dir.path()), Err(EmbeddedError::InUse { .. })));
        child.kill().unwrap();
        child.wait().unwrap();
        let chain = embedded(dir.path());
        for hash in &acknowledged {
            assert!(chain.receipt(*hash).await.unwrap().is_some(), "round {round}: {hash} is lost");
        }
        let nonce = chain.nonce(wallet(0).address()).await.unwrap();
        assert_eq!(chain.block_number().await.unwrap(), nonce, "one block per transaction");
        assert!(nonce >= acknowledged.len() as u64);
        let paid = chain.balance(wallet(1).address()).await.unwrap();
        let start = U256::from(10u64).pow(U256::from(22));
        assert_eq!(paid, start + U256::from(nonce), "each transaction happened once");
    }
}

async fn write_until_killed(dir: &Path) -> ! {
    let chain = embedded(dir);
    let mut nonce = chain.nonce(wallet(0).address()).await.unwrap();
    loop {
        let hash = pay(&chain, nonce).await.unwrap();
        println!("acknowledged {hash}");
        nonce += 1;
    }
}

#[tokio::test]
async fn readers_and_writers_work_at_once() {
    let bench = Bench::embedded();
    let at = bench.deploy().await;
    let reader = {
        let chain = bench.chain.clone();
        tokio::spawn(async move {
            let mut seen = Vec::new();
            while seen.last() != Some(&20) {
                seen.push(at.head(chain.as_ref(), At::Latest).await.unwrap().seq);
            }
            seen
        })
    };
    let mut last = None;
    for _ in 0..20 {
        let header = header_after(last.as_ref());
        assert!(bench.send(&wallet(0), &at.submit(&header)).await.success);
        last = Some(header);
    }
    let seen = reader.await.unwrap();
    assert!(seen.is_sorted(), "a reader never sees an older state after a newer one");
}
