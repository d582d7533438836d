//! The embedded chain as a JSON-RPC node: what clients other than ours see.

use chain::{Chain, keccak256};
use serde_json::{Value, json};

use crate::bench::{CHAIN_ID, embedded, header_after, plan, wallet};

fn request(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params })
}

#[tokio::test]
async fn an_anchored_epoch_is_visible_to_any_client() {
    let dir = tempfile::tempdir().unwrap();
    let chain = embedded(dir.path());
    let at = plan(wallet(0).address(), 0)
        .run(&chain, &wallet(0), 0, std::time::Duration::ZERO)
        .await
        .unwrap();
    let fees = chain.fees().await.unwrap();
    let tx =
        chain::prepare(&wallet(0), CHAIN_ID, &at.submit(&header_after(None)), 3, fees, 400_000);
    chain.send_raw(tx.raw.clone()).await.unwrap();
    let ask = |method: &str, params: Value| {
        let answer = chain.handle_json_rpc(request(method, params));
        assert_eq!(answer["id"], 7);
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    };
    assert_eq!(ask("eth_chainId", json!([])), "0x7a69");
    assert_eq!(ask("net_version", json!([])), "31337");
    assert_eq!(ask("eth_blockNumber", json!([])), "0x4");
    assert_eq!(ask("eth_getTransactionCount", json!([wallet(0).address(), "latest"])), "0x4");
    assert_eq!(ask("eth_getTransactionCount", json!([wallet(0).address()])), "0x4");
    let receipt = ask("eth_getTransactionReceipt", json!([tx.hash]));
    let block = ask("eth_getBlockByNumber", json!(["latest", true]));
    assert_eq!(receipt["blockHash"], block["hash"]);
    assert_eq!(ask("eth_getBlockByHash", json!([block["hash"], true])), block);
    assert_eq!(block["transactions"][0]["hash"], json!(tx.hash));
    assert_eq!(ask("eth_getTransactionByHash", json!([tx.hash])), block["transactions"][0]);
    let parent = ask("eth_getBlockByNumber", json!(["0x3", false]));
    assert_eq!(parent["hash"], block["parentHash"]);
    assert_eq!(ask("eth_getBlockByNumber", json!(["0x5", false])), Value::Null);
    assert_eq!(receipt["status"], "0x1");
    assert_eq!(receipt["effectiveGasPrice"], "0x3b9aca00");
    let event = keccak256(
        "Anchored(uint64,bytes32,(uint64,bytes32,uint64,uint64,uint64,bytes32,bytes32,\
         uint64,uint64,uint64,uint64,uint64,uint128,uint128,uint128))",
    );
    let filter = json!({ "fromBlock": "earliest", "address": at.anchor, "topics": [event] });
    assert_eq!(ask("eth_getLogs", json!([filter])), receipt["logs"]);
    let newer = json!({ "fromBlock": "0x5", "toBlock": "latest" });
    assert_eq!(ask("eth_getLogs", json!([newer])), json!([]));
    let history = ask("eth_feeHistory", json!(["0x2", "latest", [25.0, 75.0]]));
    assert_eq!(history["oldestBlock"], "0x3");
    assert_eq!(history["baseFeePerGas"].as_array().unwrap().len(), 3);
    assert_eq!(history["reward"], json!([["0x0", "0x0"], ["0x0", "0x0"]]));
    // Handed in again over JSON-RPC.
    let again = chain.handle_json_rpc(request("eth_sendRawTransaction", json!([tx.raw])));
    assert_eq!(again["error"]["message"], "already known");
}

#[test]
fn bad_requests_are_answered_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let chain = embedded(dir.path());
    let address = wallet(0).address();
    let table = [
        (json!(null), -32600),
        (json!(7), -32600),
        (json!({}), -32600),
        (json!([]), -32600),
        (json!(vec![request("eth_chainId", json!([])); 33]), -32600),
        (request("eth_mine", json!([])), -32601),
        (request("eth_chainId", json!({ "a": 1 })), -32602),
        (request("eth_getBalance", json!([])), -32602),
        (request("eth_getBalance", json!(["0x12", "latest"])), -32602),
        (request("eth_getBalance", json!([address, "0x99"])), -32000),
        (request("eth_getBalance", json!([address, "yesterday"])), -32602),
        (request("eth_call", json!(["0x", "latest"])), -32602),
        (request("eth_call", json!([{ "to": address, "data": "0xz" }])), -32602),
        (request("eth_sendRawTransaction", json!(["0x02"])), -32000),
        (request("eth_sendRawTransaction", json!(["0xf86c"])), -32000),
        (request("eth_getTransactionReceipt", json!(["0x12"])), -32602),
        (request("eth_getBlockByNumber", json!(["latest", "yes"])), -32602),
        (request("eth_getLogs", json!([{ "topics": [null, ["0x"]] }])), -32602),
        (request("eth_getLogs", json!([{ "blockHash": "0x12" }])), -32602),
        (request("eth_getLogs", json!([{ "fromBlock": "soon" }])), -32602),
        (request("eth_estimateGas", json!([{ "data": "0xfe" }])), 3),
        (request(&"m".repeat(100_000), json!([])), -32601),
    ];
    for (asked, code) in table {
        let answer = chain.handle_json_rpc(asked.clone());
        assert_eq!(answer["error"]["code"], code, "{answer}");
        assert!(answer.to_string().len() < 600);
    }
    let batch = json!([request("eth_chainId", json!([])), request("nothing", json!([]))]);
    let answers = chain.handle_json_rpc(batch);
    assert_eq!(answers[0]["result"], "0x7a69");
    assert_eq!(answers[1]["error"]["code"], -32601);
}

proptest::proptest! {
    #[test]
    fn no_request_brings_it_down(text in "\\PC{0,80}", number in proptest::prelude::any::<u64>()) {
        let dir = tempfile::tempdir().unwrap();
        let chain = embedded(dir.path());
        let values = [json!(text), json!(number), json!(null), json!([text]), json!({ "data": text })];
        for method in ["eth_call", "eth_getBlockByNumber", "eth_feeHistory", "eth_getLogs", "eth_sendRawTransaction"] {
            for first in &values {
                for second in &values {
                    let answer = chain.handle_json_rpc(request(method, json!([first, second])));
                    proptest::prop_assert!(answer.is_object());
                }
            }
        }
    }
}
