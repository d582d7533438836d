//! `/rpc`: the EVM in this process, for wallets and auditors that want to read it.
//!
//! Only methods that read, one request at a time, and only as JSON: a form on a foreign page cannot
//! send that without asking first, and nobody answers such a question here.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::Api;
use super::error::ApiError;

/// Largest request.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Methods that cannot change anything.
const METHODS: [&str; 7] = [
    "eth_chainId",
    "eth_blockNumber",
    "eth_call",
    "eth_getCode",
    "eth_getLogs",
    "eth_getBlockByNumber",
    "eth_getTransactionReceipt",
];

/// Hands a JSON-RPC request on.
pub async fn rpc(
    api: web::Data<Api>,
    request: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let Some(rpc) = &api.rpc else {
        return Err(ApiError::not_found(
            "no_chain_here",
            "the chain does not run in this process".to_owned(),
            "ask the node named in [chain] rpc",
        ));
    };
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let is_json = content_type.and_then(|value| value.to_str().ok()).is_some_and(|value| {
        value.split(';').next().is_some_and(|v| v.trim() == "application/json")
    });
    if !is_json {
        return Err(ApiError::refused(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not_json",
            "a JSON-RPC request has the content type application/json".to_owned(),
            "set the Content-Type header",
        ));
    }
    let body = match body.to_bytes_limited(MAX_BODY_BYTES).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => {
            let hint = "send the request again";
            return Err(ApiError::bad_request("broken_body", error.to_string(), hint));
        }
        Err(_) => {
            return Err(ApiError::refused(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                format!("more than {MAX_BODY_BYTES} bytes"),
                "ask in smaller pieces",
            ));
        }
    };
    let answer = match serde_json::from_slice::<Value>(&body) {
        Err(error) => failure(&Value::Null, -32_700, &format!("no JSON: {error}")),
        Ok(call) => match allowed(&call) {
            Ok(()) => rpc(call).await,
            Err((code, why)) => failure(&call["id"], code, &why),
        },
    };
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(answer))
}

fn allowed(call: &Value) -> Result<(), (i32, String)> {
    if !call.is_object() {
        return Err((-32_600, "one request per call; batches are not accepted".to_owned()));
    }
    match call["method"].as_str() {
        Some(method) if METHODS.contains(&method) => Ok(()),
        Some(method) => {
            let known = METHODS.join(", ");
            Err((-32_601, format!("{method:?} is not offered; there are: {known}")))
        }
        None => Err((-32_600, "a request has a method".to_owned())),
    }
}

fn failure(id: &Value, code: i32, message: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::allowed;

    #[test]
    fn only_single_reading_calls_pass() {
        let check = |call: serde_json::Value, code: Option<i32>| {
            assert_eq!(allowed(&call).err().map(|(code, _)| code), code, "{call}");
        };
        check(json!({"method": "eth_call"}), None);
        check(json!({"method": "eth_sendRawTransaction"}), Some(-32_601));
        check(json!({"method": "evm_mine"}), Some(-32_601));
        check(json!([{"method": "eth_call"}]), Some(-32_600));
        check(json!({}), Some(-32_600));
    }
}
