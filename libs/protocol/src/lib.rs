//! What crosses a wire, and how anyone can check who said it.
//!
//! Messages are EIP-712 typed data under a domain that names the community, so a signature never
//! depends on how the JSON around it is spelled. Households sign the digest with Ed25519, the
//! operator with secp256k1. [`merkle`] holds the append-only log and its proofs.

mod domain;
mod key_change;
mod keys;
pub mod merkle;
mod message;
mod signed;
mod topic;
mod words;

pub use alloy_primitives::{Address, B256, U256, keccak256};
pub use domain::Domain;
pub use key_change::{MAX_KEY_CHANGES, MAX_KEY_OVERLAP_MS, SignedKeyChange};
pub use keys::{
    HouseholdKey, InvalidKey, KeyText, OperatorKey, public_key_from_bytes, public_key_from_hex,
};
pub use message::{
    Ask, Audit, BusPrice, Checkpoint, Clearing, Delivery, Fill, Header, KeyChange, KeyRecord,
    KeyRevocation, LateLine, LegalLine, Live, MeterEvent, Offer, Order, RawSample, Reading,
    Receipt, Refusal, SharingLine, Statement, Step, Totals, Verdict,
};
pub use signed::{Message, Refused, Signature, Signed, Verified};
pub use topic::{Down, Public, Topic, Up, wildcard_up};
pub use words::{ClockStatus, EventKind, MAX_EVENTS, MAX_SAMPLES, Peg, Quality, Side};

/// Largest message that any party accepts, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024;

/// Most spans of late energy that a settlement adds to a bill, so that it stays a message.
pub const MAX_LATE_LINES: usize = 32;
