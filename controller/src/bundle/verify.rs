//! Checks a bundle from its bytes alone: no database, no configuration, no clock.
//!
//! Everything that follows from signed messages is computed again: books, draws, clearings,
//! metered energy, bills, ledger entries, rewards, log roots, epochs. What is written must be what
//! follows. After a finding the check goes on with what is written, so that one changed line does
//! not accuse all later ones.
//!
//! A bundle cannot prove by itself who the members and the operator are: compare the operator's
//! address, the fingerprint, or the roots on the chain.

mod anchors;
mod auction;
mod blocks;
mod findings;
mod meters;
mod opening;
mod revision;
mod settlement;
mod slot;
mod state;

use std::io::{self, BufRead};

use chain::{At, Chain, ChainError, Deployment, EpochHeader};
use protocol::{Address, B256};

use blocks::Blocks;
use findings::Findings;
pub use findings::{Counts, Finding, Report};

/// What the reader knows from elsewhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trust {
    /// The operator's address; none accepts the one in the bundle.
    pub operator: Option<Address>,
    /// The bundle's fingerprint; none accepts any.
    pub fingerprint: Option<B256>,
}

/// Reads and checks a bundle. Memory is bounded by one slot and a few numbers per slot.
///
/// # Errors
/// Only when `input` cannot be read; everything that is wrong with its content is in the report.
pub fn verify(input: impl BufRead, trust: &Trust) -> io::Result<Report> {
    let mut found = Findings::default();
    let mut blocks = Blocks::new(input);
    let mut state = None;
    if let Some(block) = blocks.next(&mut found)? {
        state = opening::open(block, trust, &mut found);
    }
    let mut anchored = false;
    while let Some(block) = blocks.next(&mut found)? {
        let Some(state) = &mut state else { continue };
        if block.is_slot() {
            slot::check(state, block, &mut found);
        } else if anchored {
            found.add(block.first_number(), "block", "stands after the epochs, where nothing may");
        } else {
            anchored = true;
            anchors::check(state, block, &mut found);
        }
    }
    let end = blocks.number();
    if let Some(state) = &mut state {
        if state.next <= state.last {
            let what =
                format!("slots {} to {} are missing", state.next.number(), state.last.number());
            found.add(end, "bundle", what);
        }
        if !anchored {
            found.add(end, "bundle", "the block of epochs is missing");
        }
    }
    if let Some(expected) = trust.fingerprint
        && blocks.fingerprint() != Some(expected)
    {
        found.add(end, "manifest", format!("the fingerprint is not {expected}"));
    }
    Ok(found.report(state, end, blocks.fingerprint()))
}

/// Why the chain could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("the chain cannot be asked: {0}")]
pub struct ChainFault(#[from] ChainError);

/// Compares the bundle's epochs with those that an anchor contract holds, and adds what differs to
/// the report.
///
/// # Errors
/// [`ChainFault`] when the chain does not answer.
pub async fn compare_with_chain(
    report: &mut Report,
    chain: &dyn Chain,
    anchor: Address,
) -> Result<(), ChainFault> {
    let deployment = Deployment {
        anchor,
        registry: Address::ZERO,
        token: Address::ZERO,
        rewards: Address::ZERO,
    };
    let epochs: Vec<(u64, EpochHeader)> = report.epochs.clone();
    for (line, header) in epochs {
        let found = deployment.epoch(chain, header.seq, At::Latest).await?;
        let Some(found) = found else {
            report.add(line, "anchor", format!("epoch {} is not on the chain", header.seq));
            continue;
        };
        for (name, on_chain, here) in [
            ("log root", found.log_root, header.log_root),
            ("rewards root", found.rewards_root, header.rewards_root),
            ("header hash", found.header_hash, header.hash()),
        ] {
            if on_chain != here {
                let seq = header.seq;
                let what =
                    format!("epoch {seq} has the {name} {here}, on the chain it is {on_chain}");
                report.add(line, "anchor", what);
            }
        }
        report.counts.epochs_on_chain += 1;
    }
    Ok(())
}
