//! What of the network the program states exactly, and what it leaves out until it is broken.

use std::collections::{BTreeMap, BTreeSet};

use crate::Node;
use crate::horizon::problem::Horizon;
use crate::horizon::relaxed::{Relaxed, kwh};
use crate::horizon::survey::Surveyed;
use crate::horizon::voltage;

/// What of the network is stated exactly.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Detail {
    /// Per slot and node: the branch has flow columns with cap and fee of their own.
    pub exact: Vec<Vec<bool>>,
    /// Per slot and node: the expected direction of a relaxed branch, +1 towards the node.
    pub direction: Vec<Vec<f64>>,
    /// Voltage limits that are stated: slot, node, and whether it is the upper one.
    pub limits: BTreeSet<(usize, usize, bool)>,
    /// Batteries and slots that may only charge (true) or only discharge.
    pub one_way: BTreeMap<(usize, usize), bool>,
}

/// Flows below this are none, kWh: a tenth of the unit that is settled.
const NO_FLOW_KWH: f64 = 1e-4;

impl Detail {
    /// States exactly what storage is likely to turn around, and relaxes the rest.
    pub fn first(horizon: &Horizon, surveyed: &[Surveyed]) -> Self {
        let mut exact = vec![vec![false; horizon.grid.size()]; surveyed.len()];
        let direction = surveyed
            .iter()
            .map(|slot| slot.guess.iter().map(|&f| if f < 0 { -1.0 } else { 1.0 }).collect())
            .collect();
        for (exact, slot) in exact.iter_mut().zip(surveyed) {
            for (node, branch) in (1..).zip(horizon.grid.branches()) {
                let (least, most) = slot.span[node];
                exact[node] =
                    slot.tight[node] || (branch.fee.is_positive() && least < 0 && most > 0);
            }
        }
        Self { exact, direction, limits: BTreeSet::new(), one_way: BTreeMap::new() }
    }

    /// States exactly every relaxed branch that these flows (kWh) break; whether there is one.
    pub fn refine(
        &mut self,
        horizon: &Horizon,
        surveyed: &[Surveyed],
        flows: &[Vec<f64>],
    ) -> usize {
        let mut broken = 0;
        for (t, flows) in flows.iter().enumerate() {
            for (node, branch) in (1..).zip(horizon.grid.branches()) {
                let (flow, surveyed) = (flows[node], &surveyed[t]);
                let over = flow > kwh(branch.import_cap.wh()) + NO_FLOW_KWH
                    || -flow > kwh(branch.export_cap.wh()) + NO_FLOW_KWH;
                let against =
                    branch.fee.is_positive() && flow * self.direction[t][node] < -NO_FLOW_KWH;
                if !self.exact[t][node] && (against || (over && surveyed.tight[node])) {
                    self.exact[t][node] = true;
                    broken += 1;
                }
            }
        }
        broken + self.refine_voltage(horizon, flows)
    }

    /// States the voltage limits that these flows break, where no node further out breaks them
    /// more, and every branch on the way there.
    fn refine_voltage(&mut self, horizon: &Horizon, flows: &[Vec<f64>]) -> usize {
        let Some(voltage) = &horizon.voltage else { return 0 };
        let mut added = 0;
        for (t, flows) in flows.iter().enumerate() {
            let squared = voltage.at(&horizon.grid, flows);
            let breach: Vec<f64> = squared.into_iter().map(|v| voltage.breach(v)).collect();
            let mut worst_behind = vec![0.0_f64; breach.len()];
            for node in (1..breach.len()).rev() {
                let size = breach[node].abs();
                if size > voltage::WITHIN / 10.0 && size > worst_behind[node] {
                    let new = self.limits.insert((t, node, breach[node] > 0.0));
                    added += usize::from(new);
                    for on_the_way in horizon.grid.path(Node::at(node)) {
                        self.exact[t][on_the_way.index()] = true;
                    }
                }
                let parent = horizon.grid.branches()[node - 1].parent.index();
                worst_behind[parent] = worst_behind[parent].max(size).max(worst_behind[node]);
            }
        }
        added
    }

    /// Lets no battery charge and discharge at once: what it does more of, it does alone.
    pub fn part(&mut self, relaxed: &Relaxed, values: &[f64]) -> usize {
        let before = self.one_way.len();
        for (i, columns) in relaxed.batteries.iter().enumerate() {
            for (t, columns) in columns.iter().enumerate() {
                let (charge, discharge) = (values[columns.charge], values[columns.discharge]);
                if charge.min(discharge) > NO_FLOW_KWH {
                    self.one_way.insert((i, t), charge >= discharge);
                }
            }
        }
        self.one_way.len() - before
    }
}
