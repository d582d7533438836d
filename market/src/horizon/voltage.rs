//! Voltage limits for the plan: LinDistFlow with one power factor.
//!
//! v_n = v_parent/ratio² − (drop_kw + tan φ·drop_kvar)·P_n, in squared per-unit voltages, where
//! P_n is the mean power through the branch that feeds node n. The linear model errs by parts per
//! thousand; limits should keep that distance from the legal ones, and the exact sweep of
//! [`feeder`] has the last word.

use feeder::{BusPower, Network};
use units::Price;

use crate::horizon::Refusal;
use crate::{Grid, MAX_PRICE, Node};

/// kW that one kWh per slot of a quarter-hour is.
const KW_PER_KWH: f64 = 4.0;

/// Breaches below this are none, in squared per-unit voltage: rounding to whole Wh, far below what
/// the linear model errs by.
pub(super) const WITHIN: f64 = 1e-5;

/// One breach counts in these, squared per-unit voltage.
pub(super) const UNIT: f64 = 0.01;

/// One limit at one node, as a row over the flows on the way to it: `Σ coefficient · kWh ≤ room`,
/// in units of [`UNIT`].
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Limit {
    /// Node whose branch flows, and its coefficient.
    pub path: Vec<(usize, f64)>,
    pub room: f64,
}

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

    /// Limits and drops of a network whose [`Grid`] was made with
    /// [`Grid::from_network`], at one ratio of reactive to real power everywhere.
    ///
    /// # Errors
    /// [`Refusal::Voltage`] when the network's slacks differ in voltage or a number is out of
    /// range.
    pub fn of_network(
        network: &Network,
        (low, high): (f64, f64),
        tan_phi: f64,
        penalty: Price,
    ) -> Result<Self, Refusal> {
        let fault = |problem: String| Refusal::Voltage { problem };
        let state = network
            .lin_dist(&vec![BusPower::default(); network.buses().len()])
            .map_err(|flaw| fault(flaw.to_string()))?;
        let source = network.slacks().first().map_or(1.0, |slack| slack.vm_pu);
        if let Some(other) = network.slacks().iter().find(|slack| slack.vm_pu != source) {
            return Err(fault(format!("slacks at {source} and {} per unit", other.vm_pu)));
        }
        let drops = network.branches().iter().zip(&state.branches).map(|(branch, state)| Drop {
            per_kw: state.drop_per_kw + tan_phi * state.drop_per_kvar,
            ratio: branch.ratio_pu,
        });
        Ok(Self { source, low, high, drops: drops.collect(), penalty })
    }

    /// Squared voltage per node for energies towards each node in a slot, kWh.
    pub(super) fn at(&self, grid: &Grid, flows_kwh: &[f64]) -> Vec<f64> {
        let powers: Vec<f64> = flows_kwh.iter().map(|kwh| kwh * KW_PER_KWH).collect();
        self.squared(grid, &powers)
    }

    /// By how much a squared voltage is outside: negative when too low, zero when neither.
    pub(super) fn breach(&self, squared: f64) -> f64 {
        (squared - self.high * self.high).max(0.0) + (squared - self.low * self.low).min(0.0)
    }

    /// The upper or lower limit at a node as a row.
    pub(super) fn limit(&self, grid: &Grid, node: usize, high: bool) -> Limit {
        let (mut path, mut scale) = (Vec::new(), 1.0 / UNIT);
        for at in grid.path(Node::at(node)).take_while(|&at| at != Node::ROOT) {
            let drop = self.drops[at.index() - 1];
            path.push((at.index(), drop.per_kw * KW_PER_KWH * scale));
            scale /= drop.ratio * drop.ratio;
        }
        let idle = self.source * self.source * scale;
        if high {
            // What is drawn lowers the voltage.
            path.iter_mut().for_each(|(_, coefficient)| *coefficient = -*coefficient);
            return Limit { path, room: self.high * self.high / UNIT - idle };
        }
        Limit { path, room: idle - self.low * self.low / UNIT }
    }
}
