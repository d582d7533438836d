//! What must hold in every settlement: each bill follows from its figures, no Wh and no
//! nano-currency appears or vanishes.

use units::{Energy, Money};

use crate::bill::{Basis, Late, charge};
use crate::settlement::{Bill, Settlement, SettlementFault, Totals, long_part, short_part};

impl Settlement {
    /// Recomputes every bill and every sum from the stated figures: for auditors, and before any
    /// money moves.
    ///
    /// # Errors
    /// [`SettlementFault`] names the first bill or sum that is wrong.
    pub fn check(&self) -> Result<(), SettlementFault> {
        self.basis.check().map_err(SettlementFault::Basis)?;
        for pair in self.bills.windows(2) {
            if pair[0].point >= pair[1].point {
                return Err(SettlementFault::DuplicatePoint { point: pair[1].point.clone() });
            }
        }
        for bill in &self.bills {
            let late: Vec<Late> = bill.charges.late.iter().map(|line| line.late.clone()).collect();
            let point = bill.point.clone();
            match charge(&bill.own(), &self.basis, &late) {
                Ok(charges) if charges == bill.charges => {}
                Ok(_) => return Err(SettlementFault::WrongBill { point }),
                Err(fault) => return Err(SettlementFault::Bill { point, fault }),
            }
            let within = (Energy::ZERO..=bill.charges.export.metered).contains(&bill.eligible);
            if !within || late.iter().any(|late| late.point != point) {
                return Err(SettlementFault::WrongBill { point });
            }
        }
        self.check_energy()?;
        self.check_money()
    }

    fn check_energy(&self) -> Result<(), SettlementFault> {
        let Totals { scheduled, import, export, supplied, taken, .. } = self.totals;
        let Basis { short, long, matched, .. } = self.basis;
        let legs = || self.bills.iter().flat_map(|b| [&b.charges.import, &b.charges.export]);
        let sold: Energy = self.bills.iter().map(|bill| bill.charges.export.scheduled).sum();
        let shorts: Energy = legs().map(|leg| short_part(leg.deviation)).sum();
        let longs: Energy = legs().map(|leg| long_part(leg.deviation)).sum();
        let local = |is_short: bool| -> Energy {
            legs().filter(|leg| leg.deviation.is_positive() == is_short).map(|leg| leg.local).sum()
        };
        same_energy("energy bought is energy sold", scheduled, sold)?;
        same_energy("the short legs add up", short, shorts)?;
        same_energy("the long legs add up", long, longs)?;
        same_energy("the local parts of the short legs are the match", matched, local(true))?;
        same_energy("the local parts of the long legs are the match", matched, local(false))?;
        same_energy("deviations are what the street draws", short - long, import - export)?;
        same_energy(
            "the supplier covers what the street draws",
            supplied - taken,
            import - export,
        )?;
        if self.totals.eligible > self.totals.local {
            let (left, right) = (self.totals.eligible, self.totals.local);
            return same_energy("rewards are for local energy", left, right);
        }
        Ok(())
    }

    fn check_money(&self) -> Result<(), SettlementFault> {
        let exact = Totals::of(&self.basis, &self.bills)?;
        let sum = |part: fn(&Bill) -> Money| -> i128 {
            self.bills.iter().map(|bill| i128::from(part(bill).nano())).sum()
        };
        let trades = sum(|b| b.charges.import.trade) + sum(|b| b.charges.export.trade);
        let surplus = i128::from(self.basis.grid_fees.nano());
        let surplus = surplus + i128::from(self.basis.congestion.nano());
        same("the auction pays what it collects, but for the network", trades, surplus)?;
        let paid = sum(|bill| bill.charges.amount);
        let gets = i128::from(exact.supplier.nano()) + surplus;
        same("households pay what supplier and network get", paid, gets)?;
        let stated = i128::from(self.totals.supplier.nano());
        same("the supplier's amount is stated", stated, i128::from(exact.supplier.nano()))?;
        if self.totals == exact { Ok(()) } else { Err(SettlementFault::WrongTotals) }
    }
}

fn same_energy(what: &'static str, left: Energy, right: Energy) -> Result<(), SettlementFault> {
    same(what, i128::from(left.wh()), i128::from(right.wh()))
}

fn same(what: &'static str, left: i128, right: i128) -> Result<(), SettlementFault> {
    if left == right { Ok(()) } else { Err(SettlementFault::NotConserved { what, left, right }) }
}
