//! The signing domain: a signature made for one community means nothing in another.

use alloy_primitives::{B256, keccak256};
use alloy_sol_types::{Eip712Domain, SolStruct};
use units::CommunityId;

/// The EIP-712 domain of one community.
#[derive(Debug, Clone)]
pub struct Domain {
    community: CommunityId,
    separator: Eip712Domain,
}

impl Domain {
    /// `{name: "Streetwatt", version: "1", salt: keccak256(community id)}`.
    #[must_use]
    pub fn new(community: CommunityId) -> Self {
        let salt = keccak256(community.as_str().as_bytes());
        let separator =
            Eip712Domain::new(Some("Streetwatt".into()), Some("1".into()), None, None, Some(salt));
        Self { community, separator }
    }

    /// The community this domain belongs to.
    #[must_use]
    pub const fn community(&self) -> &CommunityId {
        &self.community
    }

    /// The 32 bytes that are signed for `body`: `keccak256(0x1901 ‖ domain ‖ struct)` (EIP-712).
    #[must_use]
    pub fn digest<T: SolStruct>(&self, body: &T) -> B256 {
        body.eip712_signing_hash(&self.separator)
    }
}
