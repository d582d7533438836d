//! How much memory clearing a large book takes.
//!
//! The system keeps the most that a process ever held. Only in a process that has done nothing
//! else does that figure belong to the clearing, so a bench that measures more starts one.

use std::process::Command;

use anyhow::{Context, ensure};
use market::radial;
use serde::{Deserialize, Serialize};

use super::{Figure, Goal, Unit, feeder};
use crate::bench::books::rank;
use crate::bench::process::Usage;

/// Lots in the book.
const LOTS: usize = 1_000_000;
/// Most memory that clearing them may take, book included, 10⁶ bytes.
const MOST_MB: f64 = 200.0;

/// Memory of a process that clears one large book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryCost {
    /// Lots in the book.
    pub lots: usize,
    /// What the book and its grid take, KiB.
    pub book_kib: u64,
    /// What clearing and proving take beside the book, at their worst, KiB.
    pub clearing_kib: u64,
}

impl MemoryCost {
    /// The whole beside its goal.
    #[must_use]
    pub fn figure(&self) -> Figure {
        #[expect(clippy::cast_precision_loss, reason = "a figure to read")]
        let megabytes = ((self.book_kib + self.clearing_kib) * 1_024) as f64 / 1e6;
        let what = format!("memory to clear {} lots", super::count(self.lots));
        Figure::new(what, megabytes, Unit::Megabytes, Some(Goal::AtMost(MOST_MB)))
    }
}

/// Clears a large book in this process, which should have done nothing else before.
///
/// # Errors
/// When the system does not tell, or the clearing is not proven.
pub fn memory(seed: u64) -> anyhow::Result<MemoryCost> {
    let before = usage()?;
    let (lots, grid) = feeder::problem(LOTS, seed)?;
    let with_book = usage()?;
    // The peak counts from here on (proc(5), clear_refs).
    std::fs::write("/proc/self/clear_refs", "5").context("the system keeps no new peak")?;
    let rank = |lot: usize| rank(seed, lot);
    let cleared = radial::clear(&lots, &grid, None, rank)?;
    cleared.certify(&lots, &grid, None, rank).context("the clearing is not proven")?;
    let after = usage()?;
    let clearing_kib = after.peak_resident_kib.saturating_sub(with_book.resident_kib);
    ensure!(
        clearing_kib > 0,
        "clearing {LOTS} lots seems to take no memory: not a first measurement"
    );
    let book_kib = with_book.resident_kib.saturating_sub(before.resident_kib);
    Ok(MemoryCost { lots: LOTS, book_kib, clearing_kib })
}

/// The same in a process of its own.
///
/// # Errors
/// When the process fails, in its words.
pub fn memory_in_a_process_of_its_own(seed: u64) -> anyhow::Result<MemoryCost> {
    tracing::info!("memory of clearing {LOTS} lots");
    let output = Command::new(std::env::current_exe()?)
        .args(["bench", "--only", "memory", "--json", "--seed", &seed.to_string()])
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the process that measures memory fails: {said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    Ok(serde_json::from_value(report["memory"].clone())?)
}

fn usage() -> anyhow::Result<Usage> {
    Usage::here().context("the system does not tell what this process holds")
}
