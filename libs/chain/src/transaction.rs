//! EIP-1559 transactions: built, signed, and read back.
//!
//! Only type 2 without an access list is spoken here; that is all the street sends, and every EVM chain of today takes it.

use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use alloy_rlp::{Decodable, Encodable, Header};
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::types::{Call, Fees};
use crate::wallet::address_of;

/// EIP-2718 type byte of EIP-1559.
const TYPE: u8 = 2;
/// RLP of an empty access list.
const EMPTY_LIST: u8 = 0xc0;

/// A transaction before it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxRequest {
    /// Chain it is valid on.
    pub chain_id: u64,
    /// Number among the sender's transactions.
    pub nonce: u64,
    /// What the sender pays at most.
    pub fees: Fees,
    /// Most gas it may use.
    pub gas_limit: u64,
    /// Receiver, or `None` to create a contract.
    pub to: Option<Address>,
    /// Wei sent along.
    pub value: U256,
    /// Calldata or init code.
    pub data: Bytes,
}

/// A signed transaction, ready to be stored and then sent. Sending the same bytes again is always safe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedTx {
    /// The bytes for `eth_sendRawTransaction`.
    pub raw: Bytes,
    /// Its hash, known before it is sent.
    pub hash: B256,
    /// Sender.
    pub from: Address,
    /// Number among the sender's transactions.
    pub nonce: u64,
    /// What the sender pays at most.
    pub fees: Fees,
    /// Most gas it may use.
    pub gas_limit: u64,
}

/// Why bytes are not a transaction that this crate takes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TxDecodeError {
    /// Not type 2.
    #[error("only EIP-1559 transactions (type 2) are taken, this one begins with {0:#04x}")]
    WrongType(u8),
    /// No bytes at all.
    #[error("the transaction is empty")]
    Empty,
    /// The RLP does not parse.
    #[error("malformed transaction: {0}")]
    Malformed(String),
    /// It has an access list.
    #[error("access lists are not supported; leave it empty")]
    AccessList,
    /// The signature does not lead to an account, or s is in the upper half (EIP-2).
    #[error("the signature is not valid")]
    BadSignature,
}

impl TxRequest {
    /// A transaction that makes `call`.
    pub fn new(chain_id: u64, nonce: u64, fees: Fees, gas_limit: u64, call: &Call) -> Self {
        Self {
            chain_id,
            nonce,
            fees,
            gas_limit,
            to: call.to,
            value: call.value,
            data: call.data.clone(),
        }
    }

    /// The bytes whose keccak256 is signed.
    pub(crate) fn signing_payload(&self) -> Vec<u8> {
        list(&self.fields())
    }

    fn fields(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + self.data.len());
        self.chain_id.encode(&mut out);
        self.nonce.encode(&mut out);
        self.fees.max_priority_fee_per_gas.encode(&mut out);
        self.fees.max_fee_per_gas.encode(&mut out);
        self.gas_limit.encode(&mut out);
        self.to.map_or(TxKind::Create, TxKind::Call).encode(&mut out);
        self.value.encode(&mut out);
        self.data.encode(&mut out);
        out.push(EMPTY_LIST);
        out
    }
}

impl SignedTx {
    /// Joins a request and its signature (r, s, v with v 27 or 28).
    pub(crate) fn assemble(request: &TxRequest, from: Address, signature: &[u8; 65]) -> Self {
        let mut fields = request.fields();
        (signature[64] == 28).encode(&mut fields);
        U256::from_be_slice(&signature[..32]).encode(&mut fields);
        U256::from_be_slice(&signature[32..64]).encode(&mut fields);
        let raw = Bytes::from(list(&fields));
        Self {
            hash: keccak256(&raw),
            raw,
            from,
            nonce: request.nonce,
            fees: request.fees,
            gas_limit: request.gas_limit,
        }
    }

    /// Reads a signed transaction and recovers its sender.
    ///
    /// # Errors
    /// [`TxDecodeError`] when it is not a well-formed, well-signed EIP-1559 transaction.
    pub fn decode(raw: &[u8]) -> Result<(TxRequest, SignedTx), TxDecodeError> {
        match raw.first() {
            None => return Err(TxDecodeError::Empty),
            Some(&TYPE) => {}
            Some(&other) => return Err(TxDecodeError::WrongType(other)),
        }
        let (request, odd_y, r, s) = decode_fields(&raw[1..])?;
        let from = recover(&request, odd_y, r, s)?;
        let signed = SignedTx {
            raw: Bytes::copy_from_slice(raw),
            hash: keccak256(raw),
            from,
            nonce: request.nonce,
            fees: request.fees,
            gas_limit: request.gas_limit,
        };
        Ok((request, signed))
    }
}

fn decode_fields(mut body: &[u8]) -> Result<(TxRequest, bool, U256, U256), TxDecodeError> {
    let malformed = |error: alloy_rlp::Error| TxDecodeError::Malformed(error.to_string());
    let header = Header::decode(&mut body).map_err(malformed)?;
    if !header.list || header.payload_length != body.len() {
        return Err(TxDecodeError::Malformed("one list with all the fields is expected".into()));
    }
    let body = &mut body;
    let chain_id = u64::decode(body).map_err(malformed)?;
    let nonce = u64::decode(body).map_err(malformed)?;
    let max_priority_fee_per_gas = u128::decode(body).map_err(malformed)?;
    let max_fee_per_gas = u128::decode(body).map_err(malformed)?;
    let gas_limit = u64::decode(body).map_err(malformed)?;
    let to = match TxKind::decode(body).map_err(malformed)? {
        TxKind::Create => None,
        TxKind::Call(address) => Some(address),
    };
    let value = U256::decode(body).map_err(malformed)?;
    let data = Bytes::decode(body).map_err(malformed)?;
    match body.split_first() {
        Some((&EMPTY_LIST, rest)) => *body = rest,
        Some(_) => return Err(TxDecodeError::AccessList),
        None => return Err(TxDecodeError::Malformed("the access list is missing".into())),
    }
    let odd_y = bool::decode(body).map_err(malformed)?;
    let r = U256::decode(body).map_err(malformed)?;
    let s = U256::decode(body).map_err(malformed)?;
    if !body.is_empty() {
        return Err(TxDecodeError::Malformed("bytes follow the signature".into()));
    }
    let fees = Fees { max_fee_per_gas, max_priority_fee_per_gas };
    Ok((TxRequest { chain_id, nonce, fees, gas_limit, to, value, data }, odd_y, r, s))
}

fn recover(request: &TxRequest, odd_y: bool, r: U256, s: U256) -> Result<Address, TxDecodeError> {
    let signature = Signature::from_scalars(r.to_be_bytes::<32>(), s.to_be_bytes::<32>())
        .map_err(|_| TxDecodeError::BadSignature)?;
    // k256 refuses the upper half as well; it is a rule of the chain, so it does not hang on a library's default.
    if signature.normalize_s().is_some() {
        return Err(TxDecodeError::BadSignature);
    }
    let digest = keccak256(request.signing_payload());
    let key = VerifyingKey::recover_from_prehash(
        digest.as_slice(),
        &signature,
        RecoveryId::new(odd_y, false),
    )
    .map_err(|_| TxDecodeError::BadSignature)?;
    Ok(address_of(&key))
}

/// The type byte and an RLP list of already encoded fields.
fn list(fields: &[u8]) -> Vec<u8> {
    let header = Header { list: true, payload_length: fields.len() };
    let mut out = Vec::with_capacity(1 + header.length() + fields.len());
    out.push(TYPE);
    header.encode(&mut out);
    out.extend_from_slice(fields);
    out
}
