//! The JSON-RPC client against nodes that are away, slow, wrong, broken or hostile.

use std::time::Duration;

use chain::{Address, At, Bytes, Call, Chain, ChainError, RpcChain, RpcConfig, TxRejection};
use serde_json::{Value, json};

use crate::bench::{CHAIN_ID, serve_with};

/// A client of a node that answers everything with `body`.
fn client_of(status: &'static str, body: impl Into<Vec<u8>>) -> RpcChain {
    let body = body.into();
    let url = serve_with(move |_, _| (status.to_owned(), body.clone()));
    RpcChain::new(RpcConfig::new(url, CHAIN_ID)).unwrap()
}

fn result(value: Value) -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "result": value }).to_string()
}

fn error(code: i64, message: &str, data: Value) -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": code, "message": message, "data": data } })
        .to_string()
}

#[tokio::test]
async fn unusable_answers_are_faults_with_a_reason() {
    let table = [
        ("200 OK", String::new(), "not JSON"),
        ("200 OK", "<html>".to_owned(), "not JSON"),
        ("200 OK", "{}".to_owned(), "neither a result nor an error"),
        ("200 OK", "[]".to_owned(), "neither a result nor an error"),
        ("200 OK", result(Value::Null), "a string is expected"),
        ("200 OK", result(json!(7)), "a string is expected"),
        ("200 OK", result(json!("7")), "begin with 0x"),
        ("200 OK", result(json!("0x")), "1 to 64"),
        ("200 OK", result(json!("0xzz")), "not hexadecimal"),
        ("200 OK", result(json!(format!("0x1{}", "0".repeat(16)))), "64 bits"),
        ("200 OK", result(json!(format!("0x{}", "0".repeat(65)))), "1 to 64"),
        ("502 Bad Gateway", "<html>".to_owned(), "502"),
    ];
    for (status, body, expected) in table {
        let failed = client_of(status, body.clone()).block_number().await.unwrap_err();
        let text = failed.to_string();
        assert!(text.contains(expected) && text.contains("eth_blockNumber"), "{body}: {text}");
        assert!(failed.is_transient());
    }
    // Fields of structures.
    let receipt = json!({
        "transactionHash": Bytes::from(vec![1; 32]), "blockNumber": "0x1", "blockHash": Bytes::from(vec![2; 32]),
        "status": "0x1", "gasUsed": "0x5208", "contractAddress": null, "logs": [],
    });
    let good = client_of("200 OK", result(receipt.clone()));
    assert!(good.receipt(Default::default()).await.unwrap().unwrap().success);
    let changes = [
        ("status", json!("0x2"), "neither 0 nor 1"),
        ("status", Value::Null, "string"),
        ("blockHash", json!("0x12"), "32 bytes"),
        ("contractAddress", json!("0x12"), "20 bytes"),
        ("logs", json!([{ "topics": [1] }]), "logs"),
        ("logs", json!(vec![json!({}); 10_001]), "10000"),
    ];
    for (field, value, expected) in changes {
        let mut bad = receipt.clone();
        bad[field] = value;
        let failed =
            client_of("200 OK", result(bad)).receipt(Default::default()).await.unwrap_err();
        assert!(failed.to_string().contains(expected), "{field}: {failed}");
    }
}

#[tokio::test]
async fn refusals_keep_the_nodes_words_short() {
    let noisy = "x".repeat(10_000) + "\u{1b}[31m\n";
    let failed = client_of("200 OK", error(-32000, &noisy, Value::Null)).fees().await.unwrap_err();
    let text = failed.to_string();
    assert!(text.len() < 600 && !text.contains('\u{1b}') && !text.contains('\n'), "{text}");
    assert!(!failed.is_transient());
    let busy = client_of("429 Too Many Requests", error(-32005, "limit exceeded", Value::Null));
    assert!(busy.block_number().await.unwrap_err().is_transient());
}

#[tokio::test]
async fn reverts_are_understood_in_every_spelling() {
    let data = format!("0x{}", hex::encode(&chain::keccak256("MissingRewardsRoot()")[..4]));
    let bodies = [
        error(3, "execution reverted", json!(data)),
        error(-32000, "VM Exception: Reverted", json!({ "data": data })),
        error(-32015, "execution reverted", json!(data)),
    ];
    for body in bodies {
        let call = Call::new(Address::ZERO, Bytes::new());
        match client_of("200 OK", body.clone()).call_at(call, At::Latest).await.unwrap_err() {
            ChainError::Reverted(revert) => assert_eq!(revert.name, "MissingRewardsRoot", "{body}"),
            other => panic!("{body}: {other}"),
        }
    }
}

#[tokio::test]
async fn rejections_are_understood_from_every_client() {
    use TxRejection as T;
    let table = [
        ("already known", T::AlreadyKnown),
        ("AlreadyKnown", T::AlreadyKnown),
        ("Known transaction", T::AlreadyKnown),
        ("transaction already imported", T::AlreadyKnown),
        ("nonce too low: next nonce 5, tx nonce 4", T::NonceTooLow),
        ("NONCE_TOO_LOW", T::NonceTooLow),
        ("OldNonce, Current nonce: 5", T::NonceTooLow),
        ("nonce too high", T::NonceGap),
        ("replacement transaction underpriced", T::ReplacementUnderpriced),
        ("transaction underpriced", T::FeeTooLow),
        ("max fee per gas less than block base fee", T::FeeTooLow),
        ("FeeTooLow", T::FeeTooLow),
        ("insufficient funds for gas * price + value: balance 0", T::InsufficientFunds),
        ("Upfront cost exceeds account balance", T::InsufficientFunds),
        ("intrinsic gas too low", T::Other("intrinsic gas too low".into())),
    ];
    for (message, expected) in table {
        assert_eq!(T::from_message(message), expected, "{message}");
        let client = client_of("200 OK", error(-32000, message, Value::Null));
        match client.send_raw(Bytes::new()).await.unwrap_err() {
            ChainError::Rejected(found) => assert_eq!(found, expected, "{message}"),
            other => panic!("{message}: {other}"),
        }
    }
    // A node that is too busy has not judged the transaction.
    let busy = client_of("200 OK", error(-32005, "limit exceeded", Value::Null));
    assert!(busy.send_raw(Bytes::new()).await.unwrap_err().is_transient());
}

#[tokio::test]
async fn the_wrong_chain_is_named() {
    let client = client_of("200 OK", result(json!("0x1")));
    let failed = client.check().await.unwrap_err();
    assert!(matches!(failed, ChainError::WrongChain { expected: CHAIN_ID, found: 1 }), "{failed}");
}

#[tokio::test]
async fn answers_are_bounded_in_size_and_time() {
    let url = serve_with(|_, _| ("200 OK".to_owned(), vec![b' '; 100_000]));
    let config = RpcConfig { max_answer_bytes: 10_000, ..RpcConfig::new(url, CHAIN_ID) };
    let failed = RpcChain::new(config).unwrap().block_number().await.unwrap_err();
    assert!(failed.to_string().contains("longer than 10000 bytes"), "{failed}");
    // A listener that accepts and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let config = RpcConfig { timeout: Duration::from_millis(200), ..RpcConfig::new(url, CHAIN_ID) };
    let failed = RpcChain::new(config).unwrap().block_number().await.unwrap_err();
    assert!(matches!(failed, ChainError::Unreachable { .. }) && failed.is_transient(), "{failed}");
    // Nobody listens.
    let address = silent.local_addr().unwrap();
    drop(silent);
    let config = RpcConfig::new(format!("http://{address}"), CHAIN_ID);
    let failed = RpcChain::new(config).unwrap().block_number().await.unwrap_err();
    assert!(matches!(failed, ChainError::Unreachable { .. }), "{failed}");
    assert!(failed.to_string().contains(&address.to_string()), "{failed}");
}

#[tokio::test]
async fn secrets_in_the_url_stay_there() {
    let url = serve_with(|path, _| {
        assert_eq!(path, "/v3/s3cr3t?key=t0k3n");
        ("500 Internal Server Error".to_owned(), b"oops".to_vec())
    });
    let url = url.replace("http://", "http://user:pa55@") + "/v3/s3cr3t?key=t0k3n";
    let client = RpcChain::new(RpcConfig::new(&url, CHAIN_ID)).unwrap();
    let text = format!("{} {}", client.block_number().await.unwrap_err(), client.endpoint());
    for secret in ["s3cr3t", "t0k3n", "pa55", "user"] {
        assert!(!text.contains(secret), "{text}");
    }
    // A redirect is not followed: it could lead the key elsewhere.
    let elsewhere = client_of("302 Found", "");
    assert!(elsewhere.block_number().await.is_err());
}

#[test]
fn urls_that_cannot_work_are_refused_at_once() {
    let table = [
        ("", "http://"),
        ("127.0.0.1:8545", "http://"),
        ("ws://127.0.0.1:8545", "scheme"),
        ("http://", "no host"),
        ("http:///path", "no host"),
    ];
    for (url, expected) in table {
        let refused = RpcChain::new(RpcConfig::new(url, CHAIN_ID)).unwrap_err().to_string();
        assert!(refused.contains(expected), "{url}: {refused}");
    }
    let secure = RpcChain::new(RpcConfig::new("https://example.org/rpc", CHAIN_ID));
    assert_eq!(secure.is_ok(), cfg!(feature = "tls"));
}
