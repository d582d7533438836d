//! Signed on the wire, verified in the hand: only [`Signed::verify_household`] and
//! [`Signed::verify_operator`] make a [`Verified`].

use std::fmt;

use alloy_primitives::{Address, B256};
use alloy_sol_types::SolStruct;
use ed25519_dalek::VerifyingKey;
use k256::ecdsa::{self, RecoveryId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::MAX_MESSAGE_BYTES;
use crate::domain::Domain;
use crate::keys::{HouseholdKey, OperatorKey, address_of};
use crate::message::{
    Ask, Audit, Checkpoint, Clearing, Fill, Header, KeyRecord, KeyRevocation, Live, Offer, Order,
    Reading, Receipt, Refusal, Statement, Verdict,
};

/// A body that can be signed and sent.
pub trait Message: SolStruct + Clone + Serialize + DeserializeOwned {}

macro_rules! messages {
    ($($name:ty),+ $(,)?) => { $(impl Message for $name {})+ };
}
messages!(
    Ask,
    Audit,
    Checkpoint,
    Clearing,
    Fill,
    Header,
    KeyRecord,
    KeyRevocation,
    Live,
    Offer,
    Order,
    Reading,
    Receipt,
    Refusal,
    Statement,
    Verdict
);

/// 64 bytes of Ed25519, or 65 bytes (r ‖ s ‖ v, v = 27 or 28) of secp256k1.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature(Vec<u8>);

impl Signature {
    /// The raw bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Whether it is a household's, under this digest: strict Ed25519, never batched.
    pub(crate) fn holds(&self, digest: B256, key: &VerifyingKey) -> Result<(), Refused> {
        let signature =
            ed25519_dalek::Signature::from_slice(&self.0).map_err(|_| Refused::BadSignature)?;
        key.verify_strict(digest.as_slice(), &signature).map_err(|_| Refused::BadSignature)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", hex::encode(&self.0))
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() != 128 && text.len() != 130 {
            return Err(serde::de::Error::custom("a signature has 64 or 65 bytes in hex"));
        }
        hex::decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// Why a message is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Larger than [`MAX_MESSAGE_BYTES`].
    #[error("{size} bytes is more than the {MAX_MESSAGE_BYTES} that are accepted")]
    Oversize {
        /// Bytes received.
        size: usize,
    },
    /// No JSON of the expected form.
    #[error("malformed: {0}")]
    Malformed(String),
    /// The signature does not belong to this body, key and community.
    #[error("the signature does not match the body, the key and the community")]
    BadSignature,
}

/// A body and a signature over its digest; nothing is known about it yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed<T> {
    /// What was said.
    pub body: T,
    /// Who said it, to be checked.
    pub sig: Signature,
}

/// A body whose signature held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T> {
    signed: Signed<T>,
    digest: B256,
}

impl<T> Verified<T> {
    /// What was said.
    pub const fn body(&self) -> &T {
        &self.signed.body
    }

    /// The signed digest; the message's identity.
    pub const fn digest(&self) -> B256 {
        self.digest
    }

    /// The message as it was received, for the record.
    pub const fn signed(&self) -> &Signed<T> {
        &self.signed
    }
}

impl<T: Message> Signed<T> {
    /// Signs as a household.
    #[must_use]
    pub fn by_household(body: T, domain: &Domain, key: &HouseholdKey) -> Self {
        let digest = domain.digest(&body);
        Self { body, sig: key.sign(digest) }
    }

    /// Signs as the operator.
    #[must_use]
    pub fn by_operator(body: T, domain: &Domain, key: &OperatorKey) -> Self {
        let digest = domain.digest(&body);
        Self { body, sig: key.sign(digest) }
    }

    /// Parses a message of bounded size.
    ///
    /// # Errors
    /// [`Refused::Oversize`] or [`Refused::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Refused> {
        if bytes.len() > MAX_MESSAGE_BYTES {
            return Err(Refused::Oversize { size: bytes.len() });
        }
        serde_json::from_slice(bytes).map_err(|error| Refused::Malformed(error.to_string()))
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("messages are plain data")
    }

    /// Believes the message if `key` signed it in this community (strict Ed25519: no malleable
    /// signatures, no small-order keys; never batched, so every verifier agrees).
    ///
    /// # Errors
    /// [`Refused::BadSignature`].
    pub fn verify_household(
        self,
        domain: &Domain,
        key: &VerifyingKey,
    ) -> Result<Verified<T>, Refused> {
        let digest = domain.digest(&self.body);
        self.sig.holds(digest, key)?;
        Ok(Verified { signed: self, digest })
    }

    /// Believes the message if one of several keys signed it, the first that did; see
    /// [`Signed::verify_household`].
    ///
    /// # Errors
    /// [`Refused::BadSignature`] when none of them did.
    pub fn verify_any<'k>(
        self,
        domain: &Domain,
        keys: impl IntoIterator<Item = &'k VerifyingKey>,
    ) -> Result<Verified<T>, Refused> {
        let digest = domain.digest(&self.body);
        match keys.into_iter().any(|key| self.sig.holds(digest, key).is_ok()) {
            true => Ok(Verified { signed: self, digest }),
            false => Err(Refused::BadSignature),
        }
    }

    /// Believes the message if the holder of `operator` signed it in this community.
    ///
    /// # Errors
    /// [`Refused::BadSignature`].
    pub fn verify_operator(
        self,
        domain: &Domain,
        operator: Address,
    ) -> Result<Verified<T>, Refused> {
        let digest = domain.digest(&self.body);
        let signer = recover(digest, self.sig.as_bytes()).ok_or(Refused::BadSignature)?;
        if signer == operator {
            Ok(Verified { signed: self, digest })
        } else {
            Err(Refused::BadSignature)
        }
    }
}

/// The address that signed `digest`; only low-s signatures with v = 27 or 28 count.
fn recover(digest: B256, bytes: &[u8]) -> Option<Address> {
    let (rs, v) = bytes.split_at_checked(64)?;
    let [v] = v else { return None };
    let recovery = RecoveryId::from_byte(v.checked_sub(27)?)?;
    let signature = ecdsa::Signature::from_slice(rs).ok()?;
    if signature.normalize_s().is_some() {
        return None;
    }
    let key = ecdsa::VerifyingKey::recover_from_prehash(digest.as_slice(), &signature, recovery);
    Some(address_of(&key.ok()?))
}
