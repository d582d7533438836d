//! Everything that is said to a chain, said to every chain there is: the one in the process, the same over JSON-RPC, and
//! anvil as an independent node.

// A failed unwrap is how a test fails; clippy exempts test functions only, not what they share.
#![allow(clippy::unwrap_used)]

mod artifacts;
mod behaviour;
mod bench;
mod outbox;
mod persistence;
mod rpc;
mod serving;
mod vectors;
