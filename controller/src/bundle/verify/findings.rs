//! What a check has found.

use std::collections::BTreeSet;

use chain::EpochHeader;
use protocol::{Address, B256};
use serde::Serialize;
use units::Slot;

use super::super::line::TOO_EARLY;
use super::state::State;

/// Most findings that are told one by one; all are counted.
const MAX_FINDINGS: usize = 500;
/// Most remarks.
const MAX_REMARKS: usize = 100;

/// Something that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Line of the bundle, from 1.
    pub line: u64,
    /// What the line is.
    pub kind: String,
    /// Metering point that it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point: Option<String>,
    /// Slot that it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<i64>,
    /// What does not hold.
    pub what: String,
}

/// How much was checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Lines, all of them.
    pub lines: u64,
    /// Settled slots.
    pub slots: u64,
    /// Slots that were settled again, every time.
    pub corrected: u64,
    /// Signed orders.
    pub orders: u64,
    /// Signed readings, those before the first slot included.
    pub readings: u64,
    /// Bills.
    pub statements: u64,
    /// Ledger entries.
    pub transfers: u64,
    /// Epochs.
    pub epochs: u64,
    /// Epochs that were found on the chain.
    pub epochs_on_chain: u64,
}

/// The result of a check.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Whether everything holds.
    pub verified: bool,
    /// Name of the community.
    pub community: Option<String>,
    /// Whose signatures were checked.
    pub operator: Option<Address>,
    /// First slot.
    pub first_slot: Option<i64>,
    /// Last slot.
    pub last_slot: Option<i64>,
    /// Root of the log after the last slot.
    pub log_root: Option<B256>,
    /// Digest of the manifest.
    pub fingerprint: Option<B256>,
    /// How much was checked.
    pub counts: Counts,
    /// Count of everything that does not hold.
    pub findings_total: u64,
    /// The first of them.
    pub findings: Vec<Finding>,
    /// What holds, but should be known.
    pub remarks: Vec<String>,
    /// The epochs, with their lines.
    #[serde(skip)]
    pub epochs: Vec<(u64, EpochHeader)>,
}

impl Report {
    /// Adds a finding.
    pub(super) fn add(&mut self, line: u64, kind: &str, what: String) {
        self.verified = false;
        self.findings_total += 1;
        if self.findings.len() < MAX_FINDINGS {
            let (kind, point, slot) = (kind.to_owned(), None, None);
            self.findings.push(Finding { line, kind, point, slot, what });
        }
    }
}

/// Findings as they come up.
#[derive(Debug, Default)]
pub struct Findings {
    total: u64,
    first: Vec<Finding>,
    remarks: Vec<String>,
    /// Readings from before the street's first slot, and whose they are.
    early: (u64, BTreeSet<String>),
    /// How much was checked.
    pub counts: Counts,
    /// The epochs, with their lines.
    pub epochs: Vec<(u64, EpochHeader)>,
}

impl Findings {
    /// Something about a line.
    pub fn add(&mut self, line: u64, kind: &str, what: impl Into<String>) {
        self.push(line, kind, None, None, what.into());
    }

    /// Something about a slot.
    pub fn slot(&mut self, line: u64, kind: &str, slot: Slot, what: impl Into<String>) {
        self.push(line, kind, None, Some(slot), what.into());
    }

    /// Something about a household in a slot.
    pub fn point(
        &mut self,
        line: u64,
        kind: &str,
        (point, slot): (&str, Slot),
        what: impl Into<String>,
    ) {
        self.push(line, kind, Some(point), Some(slot), what.into());
    }

    fn push(
        &mut self,
        line: u64,
        kind: &str,
        point: Option<&str>,
        slot: Option<Slot>,
        what: String,
    ) {
        self.total += 1;
        if self.first.len() < MAX_FINDINGS {
            self.first.push(Finding {
                line,
                kind: kind.to_owned(),
                point: point.map(str::to_owned),
                slot: slot.map(Slot::number),
                what,
            });
        }
    }

    /// Something that holds but should be known.
    pub fn remark(&mut self, text: String) {
        if self.remarks.len() < MAX_REMARKS && !self.remarks.contains(&text) {
            self.remarks.push(text);
        }
    }

    /// A reading from before the street's first slot; all of them make one remark.
    pub fn early(&mut self, point: &str) {
        self.early.0 += 1;
        if !self.early.1.contains(point) {
            self.early.1.insert(point.to_owned());
        }
    }

    fn remark_early(&mut self) {
        let (readings, points) = (self.early.0, self.early.1.len());
        if readings > 0 {
            self.remark(format!(
                "{readings} readings of {points} households did not count: {TOO_EARLY}"
            ));
        }
    }

    /// All of it.
    pub fn report(mut self, state: Option<State>, lines: u64, fingerprint: Option<B256>) -> Report {
        self.remark_early();
        let state = state.as_ref();
        Report {
            verified: self.total == 0,
            community: state.map(|state| state.domain.community().to_string()),
            operator: state.map(|state| state.operator),
            first_slot: state.map(|state| state.first.number()),
            last_slot: state.map(|state| state.last.number()),
            log_root: state
                .and_then(|state| state.log.as_ref())
                .map(protocol::merkle::Frontier::root),
            fingerprint,
            counts: Counts { lines, ..self.counts },
            findings_total: self.total,
            findings: self.first,
            remarks: self.remarks,
            epochs: self.epochs,
        }
    }
}
