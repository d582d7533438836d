//! The record as a file that proves itself.
//!
//! A bundle is a text of JSON lines: who takes part and under which rules, then for every slot the
//! orders, readings and clearing as they were signed, the bills, the ledger entries, and the
//! signed log entry over all of it. [`Export`] writes one from the record. [`verify`] reads one
//! and nothing else, rebuilds everything that follows from the signatures, and names each line
//! that does not fit.

mod command;
mod export;
mod line;
mod verify;

pub use command::{ExportArguments, VerifyArguments};
pub use export::{Export, ExportFault, Written};
pub use verify::{ChainFault, Counts, Finding, Report, Trust, compare_with_chain, verify};
