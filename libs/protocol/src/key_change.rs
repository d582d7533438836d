//! The exchange of a household's key: one body under two signatures.
//!
//! The old key says that it hands over, the new one that it is held by whoever hands over. Neither
//! can be left out: a stolen old key alone cannot name a key that its thief does not hold, and nobody
//! can have somebody else's public key enrolled as their own.

use alloy_primitives::B256;
use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};

use crate::MAX_MESSAGE_BYTES;
use crate::domain::Domain;
use crate::keys::{HouseholdKey, public_key_from_bytes};
use crate::message::KeyChange;
use crate::signed::{Refused, Signature};

/// Longest time that two keys of a household can count side by side: 30 days.
pub const MAX_KEY_OVERLAP_MS: i64 = 30 * 86_400_000;
/// Most changes of key in one epoch; a household that needs more is enrolled anew.
pub const MAX_KEY_CHANGES: usize = 64;

/// A change of key with both signatures; nothing is known about it yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedKeyChange {
    /// What was said.
    pub body: KeyChange,
    /// By the key that goes.
    pub old_sig: Signature,
    /// By the key that comes.
    pub new_sig: Signature,
}

impl SignedKeyChange {
    /// Signs as both keys; they must be those of the body.
    #[must_use]
    pub fn by_both(
        body: KeyChange,
        domain: &Domain,
        old: &HouseholdKey,
        new: &HouseholdKey,
    ) -> Self {
        let digest = domain.digest(&body);
        Self { body, old_sig: old.sign(digest), new_sig: new.sign(digest) }
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

    /// The change's identity.
    #[must_use]
    pub fn digest(&self, domain: &Domain) -> B256 {
        domain.digest(&self.body)
    }

    /// Believes the change if `old` and the key that it names both signed it; returns the new key.
    ///
    /// # Errors
    /// [`Refused::BadSignature`], also when `old` is not the key that the body gives up, and
    /// [`Refused::Malformed`] when the new key is none, or the same.
    pub fn verify(&self, domain: &Domain, old: &VerifyingKey) -> Result<VerifyingKey, Refused> {
        let new = public_key_from_bytes(&self.body.new_key.0)
            .map_err(|error| Refused::Malformed(format!("new_key: {error}")))?;
        if self.body.old_key == self.body.new_key {
            return Err(Refused::Malformed("new_key is the old one".to_owned()));
        }
        if self.body.old_key.0 != old.to_bytes() {
            return Err(Refused::BadSignature);
        }
        let digest = domain.digest(&self.body);
        self.old_sig.holds(digest, old)?;
        self.new_sig.holds(digest, &new)?;
        Ok(new)
    }
}
