//! A secp256k1 account: the operator's, or a household's that sends its own claims.

use alloy_primitives::{Address, B256, keccak256};
use k256::ecdsa::{SigningKey, VerifyingKey};
use k256::elliptic_curve::zeroize::{Zeroize, Zeroizing};

use crate::transaction::{SignedTx, TxRequest};

/// Why a key was not accepted. The key itself is never repeated in a message.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WalletError {
    /// Not 64 hexadecimal digits.
    #[error("the key must be 64 hexadecimal digits (32 bytes), with or without 0x in front")]
    NotHex,
    /// Zero, or not below the order of the curve.
    #[error("the key is not a valid secp256k1 secret; generate a new one")]
    OutOfRange,
}

/// A secret key and the address it controls. The secret is wiped from memory when the wallet is dropped.
pub struct Wallet {
    key: SigningKey,
    address: Address,
}

impl std::fmt::Debug for Wallet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Wallet({})", self.address)
    }
}

impl Wallet {
    /// Reads the content of a key file: 64 hexadecimal digits, surrounding white space allowed. The caller wipes
    /// its own copy of the text.
    ///
    /// # Errors
    /// [`WalletError`] when it is not a usable key.
    pub fn from_hex(text: &str) -> Result<Self, WalletError> {
        let digits = text.trim();
        let digits = digits.strip_prefix("0x").unwrap_or(digits);
        let mut secret = Zeroizing::new([0u8; 32]);
        hex::decode_to_slice(digits, secret.as_mut()).map_err(|_| WalletError::NotHex)?;
        Self::from_secret(&secret)
    }

    /// Makes a wallet from 32 secret bytes, for example fresh random ones.
    ///
    /// # Errors
    /// [`WalletError::OutOfRange`] for zero and for numbers not below the curve's order (chance 2⁻¹²⁸).
    pub fn from_secret(secret: &[u8; 32]) -> Result<Self, WalletError> {
        let key = SigningKey::from_slice(secret).map_err(|_| WalletError::OutOfRange)?;
        let address = address_of(key.verifying_key());
        Ok(Self { key, address })
    }

    /// The account.
    pub fn address(&self) -> Address {
        self.address
    }

    /// The secret as the content of a key file, wiped when dropped.
    pub fn to_hex(&self) -> Zeroizing<String> {
        let mut secret = self.key.to_bytes();
        let text = Zeroizing::new(hex::encode(secret));
        secret[..].zeroize();
        text
    }

    /// Signs a 32-byte digest: r, s (low), v (27 or 28). Deterministic (RFC 6979), so signing the same thing twice
    /// gives the same bytes.
    pub fn sign_digest(&self, digest: &B256) -> [u8; 65] {
        let (signature, recovery) = self
            .key
            .sign_prehash_recoverable(digest.as_slice())
            .expect("RFC 6979 signing of a 32-byte digest with a valid key cannot fail");
        let mut bytes = [0u8; 65];
        bytes[..64].copy_from_slice(&signature.to_bytes());
        bytes[64] = 27 + recovery.to_byte();
        bytes
    }

    /// Signs a transaction.
    pub fn sign(&self, request: &TxRequest) -> SignedTx {
        let signature = self.sign_digest(&keccak256(request.signing_payload()));
        SignedTx::assemble(request, self.address, &signature)
    }
}

/// The account of a public key: the last 20 bytes of keccak256 over its uncompressed point.
pub(crate) fn address_of(key: &VerifyingKey) -> Address {
    Address::from_raw_public_key(&key.to_encoded_point(false).as_bytes()[1..])
}
