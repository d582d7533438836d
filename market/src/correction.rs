//! A slot settled again: what a corrected meter changes, and nothing else.
//!
//! Meters are corrected for months, and a meter that was silent at the deadline turns up later. A
//! slot then gets a new version: the same auction and the same terms, settled with the meters as
//! they are known now. The old version stays as it was posted; only differences are posted on top,
//! so that the ledger stands exactly as if the slot had been settled with the right meters at once
//! — for the household that was silent and for the neighbours whose deviations it had moved. The
//! same meters give the same settlement, and no transfer.
//!
//! Where a late reading is known for a slot itself, a correction replaces the [`Late`] line: the
//! energy is settled in its slot, at the prices its auction gave it. A `Late` line remains right
//! for what registers advanced over a gap of several slots, of which only the sum is known.

use std::collections::BTreeSet;

use units::Slot;

use crate::{
    Account, Balances, Clearing, Late, LedgerFault, Metered, Reason, Settlement, SettlementFault,
    Transfer, post, settle,
};

/// A settlement with its place among the versions of its slot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Revision {
    /// 1 for what was settled at the deadline.
    pub version: u32,
    /// The settlement.
    pub settlement: Settlement,
}

/// A new version and what it moves.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Correction {
    /// The new version.
    pub revision: Revision,
    /// The differences to the version before: balanced, pool empty.
    pub transfers: Vec<Transfer>,
}

/// Why a slot cannot be settled again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CorrectionFault {
    /// The corrected meters cannot be settled.
    #[error(transparent)]
    Settlement(#[from] SettlementFault),
    /// A version cannot be posted, or its differences do not add up.
    #[error(transparent)]
    Ledger(#[from] LedgerFault),
    /// Another slot, price or tariff: only meters are corrected.
    #[error(
        "version {version} of {slot} differs from the one before in {what}: only meters are \
         corrected"
    )]
    OtherBasis {
        /// The corrected slot.
        slot: Slot,
        /// The new version.
        version: u32,
        /// What differs.
        what: &'static str,
    },
    /// Versions follow each other.
    #[error("version {new} of {slot} does not follow version {old}")]
    OtherVersion {
        /// The corrected slot.
        slot: Slot,
        /// The version before.
        old: u32,
        /// The new version.
        new: u32,
    },
}

impl Revision {
    /// The first version of a slot.
    #[must_use]
    pub const fn first(settlement: Settlement) -> Self {
        Self { version: 1, settlement }
    }

    /// Settles the slot again with its meters as they are known now.
    ///
    /// `clearing` is the slot's auction as it was; `metered` lists the same points as before;
    /// `late` are the late lines that stay with the slot ([`Settlement::late`]). `None` when nothing changes: the same
    /// meters post nothing and make no version.
    ///
    /// # Errors
    /// [`CorrectionFault`]; nothing may be booked then.
    pub fn correct(
        &self,
        clearing: &Clearing,
        metered: &[Metered],
        late: &[Late],
    ) -> Result<Option<Correction>, CorrectionFault> {
        let settlement = settle(clearing, self.settlement.basis.terms, metered, late)?;
        if settlement == self.settlement {
            return Ok(None);
        }
        let revision = Self { version: self.version.saturating_add(1), settlement };
        let transfers = differences(self, &revision)?;
        Ok(Some(Correction { revision, transfers }))
    }
}

/// What moves between two versions of a slot: at most one transfer per account, through the pool.
///
/// # Errors
/// [`CorrectionFault`] when the versions are not of the same auction, not in sequence, or either
/// cannot be posted.
pub fn differences(old: &Revision, new: &Revision) -> Result<Vec<Transfer>, CorrectionFault> {
    let slot = old.settlement.basis.slot;
    let version = new.version;
    if old.version.checked_add(1) != Some(version) {
        return Err(CorrectionFault::OtherVersion { slot, old: old.version, new: version });
    }
    if let Some(what) = other_basis(&old.settlement, &new.settlement) {
        return Err(CorrectionFault::OtherBasis { slot, version, what });
    }
    Ok(reposted(slot, version, &post(&old.settlement)?, &post(&new.settlement)?)?)
}

/// The transfers that turn what was posted for a slot into what should have been posted: at most
/// one per account, through the pool.
///
/// After `before` and these, every account stands where `after` alone would have brought it; that
/// is proven, and the pool is empty if it was empty in both. Transfers of the same effect give
/// none. For settlements there is [`differences`]; this one serves the transfers of sharing rules
/// and overlays.
///
/// # Errors
/// [`LedgerFault`] when a transfer is not sound or a balance leaves its range.
pub fn reposted(
    slot: Slot,
    version: u32,
    before: &[Transfer],
    after: &[Transfer],
) -> Result<Vec<Transfer>, LedgerFault> {
    let (before, after) = (Balances::of(before)?, Balances::of(after)?);
    let accounts: BTreeSet<&Account> = before
        .iter()
        .chain(after.iter())
        .map(|(account, _)| account)
        .filter(|&account| *account != Account::Pool)
        .collect();
    let reason = Reason::Correction { slot, version };
    let mut transfers = Vec::new();
    for account in accounts {
        let moved = after.of_account(account).checked_sub(before.of_account(account));
        let fault = || LedgerFault::OutOfRange { account: account.clone() };
        let moved = moved.ok_or_else(fault)?;
        transfers.extend(Transfer::of(slot, &Account::Pool, account, moved, reason));
    }
    prove(before, &after, &transfers)?;
    Ok(transfers)
}

/// What is not the same in two settlements that must be of the same auction.
fn other_basis(old: &Settlement, new: &Settlement) -> Option<&'static str> {
    let (a, b) = (&old.basis, &new.basis);
    let points = |settlement: &Settlement| -> Vec<units::PointId> {
        settlement.bills.iter().map(|bill| bill.point.clone()).collect()
    };
    let fills = |settlement: &Settlement| -> Vec<[units::Energy; 2]> {
        let bills = settlement.bills.iter().map(|bill| &bill.charges);
        bills.map(|charges| [charges.import.scheduled, charges.export.scheduled]).collect()
    };
    match () {
        () if a.slot != b.slot => Some("its slot"),
        () if a.terms != b.terms => Some("the supplier's prices"),
        () if a.price != b.price => Some("the clearing price"),
        () if points(old) != points(new) => Some("its metering points"),
        () if fills(old) != fills(new) => Some("what was traded"),
        () => None,
    }
}

/// Old balances plus differences are the new balances, account by account.
fn prove(
    mut balances: Balances,
    after: &Balances,
    transfers: &[Transfer],
) -> Result<(), LedgerFault> {
    for transfer in transfers {
        balances.apply(transfer)?;
    }
    for (account, _) in balances.iter().chain(after.iter()) {
        let (balance, expected) = (balances.of_account(account), after.of_account(account));
        if balance != expected {
            let account = account.clone();
            return Err(LedgerFault::WrongBalance { account, balance, expected });
        }
    }
    Ok(())
}

impl Settlement {
    /// The late lines of all bills, by point: what a corrected version keeps, unless a line's
    /// energy has found its own slot.
    #[must_use]
    pub fn late(&self) -> Vec<Late> {
        let lines = self.bills.iter().flat_map(|bill| &bill.charges.late);
        lines.map(|line| line.late.clone()).collect()
    }
}
