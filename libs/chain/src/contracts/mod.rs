//! The street's contracts as the rest of the house sees them: plain structs, calls to send, answers to read.
//!
//! The Solidity is in `contracts/`; its compiled artifacts are embedded here, so neither building nor running needs Node.

pub mod abi;
mod artifact;
mod deploy;
mod deployment;
mod header;

pub use artifact::{Artifact, anchor, grid_token, registry, rewards};
pub use deploy::{DeployParams, DeployPlan, DeployProgress, DeployStep};
pub use deployment::{AnchoredEpoch, Deployment, Head, Household};
pub use header::EpochHeader;

use alloy_primitives::{B256, keccak256};

/// How a community's id appears on the chain: keccak256 of its UTF-8 bytes.
pub fn community_hash(community: &str) -> B256 {
    keccak256(community.as_bytes())
}

/// How a metering point appears on the chain: keccak256(tag, salt, community hash, id). The 32 random bytes of salt
/// keep anyone from finding the id by trying all of them; the household and the operator know it.
pub fn metering_point_commitment(salt: &[u8; 32], community: &str, metering_point: &str) -> B256 {
    let mut preimage = b"Streetwatt metering point v1".to_vec();
    preimage.extend_from_slice(salt);
    preimage.extend_from_slice(community_hash(community).as_slice());
    preimage.extend_from_slice(metering_point.as_bytes());
    keccak256(preimage)
}
