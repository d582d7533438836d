//! JSON-RPC's two spellings of numbers and bytes (quantities without leading zeros, data with them), read strictly.

use alloy_primitives::{Address, B256, Bytes, U256};
use serde_json::Value;

/// A number as JSON-RPC writes it.
pub(crate) fn quantity(number: impl Into<U256>) -> Value {
    Value::String(format!("{:#x}", number.into()))
}

/// Bytes as JSON-RPC writes them.
pub(crate) fn data(bytes: impl AsRef<[u8]>) -> Value {
    Value::String(format!("0x{}", hex::encode(bytes)))
}

/// Reads a quantity of at most 256 bits.
pub(crate) fn read_u256(value: &Value) -> Result<U256, String> {
    let digits = hex_digits(value)?;
    if digits.is_empty() || digits.len() > 64 {
        return Err(format!("a quantity has 1 to 64 hexadecimal digits, not {}", digits.len()));
    }
    U256::from_str_radix(digits, 16).map_err(|_| "not hexadecimal".to_owned())
}

/// Reads a quantity that must fit 64 bits.
pub(crate) fn read_u64(value: &Value) -> Result<u64, String> {
    u64::try_from(read_u256(value)?).map_err(|_| "the number does not fit 64 bits".to_owned())
}

/// Reads a quantity that must fit 128 bits.
pub(crate) fn read_u128(value: &Value) -> Result<u128, String> {
    u128::try_from(read_u256(value)?).map_err(|_| "the number does not fit 128 bits".to_owned())
}

/// Reads bytes of any length.
pub(crate) fn read_bytes(value: &Value) -> Result<Bytes, String> {
    hex::decode(hex_digits(value)?).map(Bytes::from).map_err(|error| error.to_string())
}

/// Reads exactly 32 bytes.
pub(crate) fn read_b256(value: &Value) -> Result<B256, String> {
    let bytes = read_bytes(value)?;
    B256::try_from(bytes.as_ref()).map_err(|_| format!("32 bytes expected, {} given", bytes.len()))
}

/// Reads exactly 20 bytes.
pub(crate) fn read_address(value: &Value) -> Result<Address, String> {
    let bytes = read_bytes(value)?;
    Address::try_from(bytes.as_ref())
        .map_err(|_| format!("20 bytes expected, {} given", bytes.len()))
}

fn hex_digits(value: &Value) -> Result<&str, String> {
    value
        .as_str()
        .ok_or("a string is expected")?
        .strip_prefix("0x")
        .ok_or_else(|| "it must begin with 0x".to_owned())
}
