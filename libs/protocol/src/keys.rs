//! Private keys: read from hex text, wiped from memory, never printed.

use std::fmt;

use alloy_primitives::{Address, B256};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use k256::ecdsa;

use crate::signed::Signature;

/// Why a text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a key: expected 64 hexadecimal digits{0}")]
pub struct InvalidKey(&'static str);

/// 32 secret bytes as they stand in a key file: 64 hexadecimal digits, white space around them
/// ignored.
pub struct KeyText([u8; 32]);

impl KeyText {
    /// Parses the content of a key file.
    ///
    /// # Errors
    /// [`InvalidKey`] when it is anything but 64 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        let text = text.trim();
        let text = text.strip_prefix("0x").unwrap_or(text);
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidKey(""))?;
        Ok(Self(bytes))
    }
}

impl KeyText {
    /// The secret.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A household's Ed25519 key.
pub struct HouseholdKey(SigningKey);

impl HouseholdKey {
    /// From 32 secret bytes.
    #[must_use]
    pub fn from_bytes(secret: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(secret))
    }

    /// From a key file's content.
    #[must_use]
    pub fn from_text(text: &KeyText) -> Self {
        Self::from_bytes(&text.0)
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> VerifyingKey {
        self.0.verifying_key()
    }

    /// The public half in hex, as it stands in an enrolment.
    #[must_use]
    pub fn public_hex(&self) -> String {
        hex::encode(self.public().as_bytes())
    }

    pub(crate) fn sign(&self, digest: B256) -> Signature {
        Signature::from_bytes(self.0.sign(digest.as_slice()).to_bytes().to_vec())
    }
}

impl fmt::Debug for HouseholdKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HouseholdKey({})", self.public_hex())
    }
}

/// The operator's secp256k1 key.
pub struct OperatorKey(ecdsa::SigningKey);

impl OperatorKey {
    /// From 32 secret bytes.
    ///
    /// # Errors
    /// [`InvalidKey`] when the number is zero or beyond the curve's order.
    pub fn from_bytes(secret: &[u8; 32]) -> Result<Self, InvalidKey> {
        ecdsa::SigningKey::from_slice(secret)
            .map(Self)
            .map_err(|_| InvalidKey(" of a number on the secp256k1 curve"))
    }

    /// From a key file's content.
    ///
    /// # Errors
    /// As [`OperatorKey::from_bytes`].
    pub fn from_text(text: &KeyText) -> Result<Self, InvalidKey> {
        Self::from_bytes(&text.0)
    }

    /// The address that verifies this key's signatures.
    #[must_use]
    pub fn address(&self) -> Address {
        address_of(self.0.verifying_key())
    }

    pub(crate) fn sign(&self, digest: B256) -> Signature {
        let (signature, recovery) = self
            .0
            .sign_prehash_recoverable(digest.as_slice())
            .expect("a 32-byte digest can always be signed");
        let mut bytes = signature.to_bytes().to_vec();
        bytes.push(27 + recovery.to_byte());
        Signature::from_bytes(bytes)
    }
}

impl fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorKey({})", self.address())
    }
}

/// A household's public key from an enrolment; points of small order are refused, because a
/// signature under them proves nothing.
///
/// # Errors
/// [`InvalidKey`] when it is not the hex of a point that can verify.
pub fn public_key_from_hex(text: &str) -> Result<VerifyingKey, InvalidKey> {
    public_key_from_bytes(&KeyText::parse(text)?.0)
}

/// As [`public_key_from_hex`], from the 32 bytes of a message.
///
/// # Errors
/// [`InvalidKey`].
pub fn public_key_from_bytes(bytes: &[u8; 32]) -> Result<VerifyingKey, InvalidKey> {
    let key = VerifyingKey::from_bytes(bytes)
        .map_err(|_| InvalidKey(" of a point on the Ed25519 curve"))?;
    if key.is_weak() {
        return Err(InvalidKey(" of a point of full order"));
    }
    Ok(key)
}

pub(crate) fn address_of(key: &ecdsa::VerifyingKey) -> Address {
    Address::from_public_key(key)
}
