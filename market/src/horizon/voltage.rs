//! Voltage limits for the plan: LinDistFlow with one power factor.
//!
//! v_n = v_parent/ratio² − (drop_kw + tan φ·drop_kvar)·P_n, in squared per-unit voltages, where
//! P_n is the mean power through the branch that feeds node n. The linear model errs by parts per
//! thousand; limits should keep that distance from the legal ones, and the exact sweep of
//! [`feeder`] has the last word.

use units::Price;

use crate::horizon::Refusal;
use crate::{Grid, MAX_PRICE};

/// How the voltage at a branch's far end follows from the near one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drop {
    /// Squared per-unit voltage lost per kW towards the node, reactive power included.
    pub per_kw: f64,
    /// Transformer ratio per unit, 1 for a line.
    pub ratio: f64,
}

/// Limits for the voltage at every node.
#[derive(Debug, Clone, PartialEq)]
pub struct Voltage {
    /// Voltage that the grid above holds at the root, per unit.
    pub source: f64,
    /// Least voltage, per unit.
    pub low: f64,
    /// Highest voltage, per unit.
    pub high: f64,
    /// Per branch of the grid, in its order.
    pub drops: Vec<Drop>,
    /// What a breach of 0.01 in squared per-unit voltage costs per slot, as if it were a price
    /// per kWh. High enough that offers give way first.
    pub penalty: Price,
}

impl Voltage {
    /// Whether the numbers are physical and fit the grid.
    pub(super) fn check(&self, grid: &Grid) -> Result<(), Refusal> {
        let fault = |problem: String| Err(Refusal::Voltage { problem });
        if self.drops.len() != grid.branches().len() {
            let (drops, branches) = (self.drops.len(), grid.branches().len());
            return fault(format!("{drops} drops for {branches} branches"));
        }
        for (what, value) in [("source", self.source), ("low", self.low), ("high", self.high)] {
            if !(0.5..=2.0).contains(&value) {
                return fault(format!("{what} {value} is not between 0.5 and 2 per unit"));
            }
        }
        if self.low >= self.high {
            return fault(format!("low {} is not below high {}", self.low, self.high));
        }
        for (drop, branch) in self.drops.iter().zip(grid.branches()) {
            if !(-1.0..=1.0).contains(&drop.per_kw) || !(0.5..=2.0).contains(&drop.ratio) {
                let name = &branch.name;
                return fault(format!("branch {name}: {drop:?} is out of range"));
            }
        }
        if !(Price::ZERO..=MAX_PRICE).contains(&self.penalty) {
            return fault(format!(
                "penalty {} is not a price of at most {MAX_PRICE}",
                self.penalty
            ));
        }
        Ok(())
    }

    /// Squared voltage per node for mean powers towards each node, kW.
    #[must_use]
    pub fn squared(&self, grid: &Grid, towards_kw: &[f64]) -> Vec<f64> {
        let mut squared = vec![self.source * self.source];
        for (i, (branch, drop)) in grid.branches().iter().zip(&self.drops).enumerate() {
            let above = squared[branch.parent.index()];
            squared.push(above / (drop.ratio * drop.ratio) - drop.per_kw * towards_kw[i + 1]);
        }
        squared
    }
}
