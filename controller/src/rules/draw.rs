//! Draws that nobody can choose: ties, and the salt of a statement.

use protocol::{B256, keccak256, merkle};
use units::{PointId, Slot};

/// Merkle root over digests in ascending order; zero for none. The order makes the root depend on
/// the set alone.
#[must_use]
pub fn digests_root(digests: impl IntoIterator<Item = B256>) -> B256 {
    let mut digests: Vec<B256> = digests.into_iter().collect();
    digests.sort_unstable();
    let leaves: Vec<B256> = digests.into_iter().map(merkle::leaf).collect();
    merkle::root(&leaves)
}

/// `keccak256(log root ‖ orders root ‖ slot)`, the slot as eight bytes, big-endian.
///
/// The log root is fixed before the last order arrives and the orders root depends on every
/// household, so neither the operator nor a member knows the seed while it could still act on it.
#[must_use]
pub fn seed(log_root: B256, orders_root: B256, slot: Slot) -> B256 {
    keccak256([log_root.as_slice(), orders_root.as_slice(), &slot.number().to_be_bytes()].concat())
}

/// The key that orders `who` among equals: `keccak256(seed ‖ who)`.
#[must_use]
pub fn rank(seed: B256, who: &[u8]) -> [u8; 32] {
    keccak256([seed.as_slice(), who].concat()).0
}

/// The salt of one statement: `keccak256(secret ‖ slot ‖ version ‖ point)`. The secret never leaves the
/// controller, so a statement's leaf cannot be guessed from its content.
#[must_use]
pub fn salt(secret: &[u8; 32], slot: Slot, version: u32, point: &PointId) -> B256 {
    let (slot, version) = (slot.number().to_be_bytes(), version.to_be_bytes());
    let point = point.as_str().as_bytes();
    keccak256([secret.as_slice(), slot.as_slice(), version.as_slice(), point].concat())
}
