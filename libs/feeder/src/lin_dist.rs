//! LinDistFlow: the power flow without losses, linear in the squared voltages.
//!
//! v_child = v_parent / ratio² − 2(r·P + x·Q), with v the squared voltage and P, Q the sum of what
//! the subtree draws (Baran & Wu, IEEE Trans. Power Delivery 4 (1989) 725). It over-estimates the
//! voltage of a loaded street a little and is what an LP can carry as constraints.

use crate::network::Network;
use crate::sweep::{BusPower, PowerFlowError};

/// The linear state of one branch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinearBranch {
    /// Power through the branch, the same at both ends.
    pub power: BusPower,
    /// By how much one kW through the branch lowers the child's squared voltage, pu².
    pub drop_per_kw: f64,
    /// The same for one kvar.
    pub drop_per_kvar: f64,
}

/// The solution of LinDistFlow.
#[derive(Debug, Clone, PartialEq)]
pub struct LinDistFlow {
    /// Voltage per bus, per unit of the nominal voltage; 0 where the square would be negative.
    pub vm_pu: Vec<f64>,
    /// Per branch, in the order of [`Network::branches`].
    pub branches: Vec<LinearBranch>,
    /// What the grid above delivers, all slacks together.
    pub slack: BusPower,
}

impl Network {
    /// Solves LinDistFlow for constant powers, one entry per bus.
    ///
    /// # Errors
    /// [`PowerFlowError::WrongLength`] or [`PowerFlowError::NotFinite`].
    pub fn lin_dist(&self, powers: &[BusPower]) -> Result<LinDistFlow, PowerFlowError> {
        self.check_powers(powers)?;
        let mut through = powers.to_vec();
        for branch in self.branches().iter().rev() {
            let below = through[branch.child];
            through[branch.parent].p_kw += below.p_kw;
            through[branch.parent].q_kvar += below.q_kvar;
        }
        let mut squared = vec![0.0; self.buses().len()];
        let mut slack = BusPower::default();
        for (bus, source) in self.roots() {
            squared[bus] = source.vm_pu * source.vm_pu;
            slack.p_kw += through[bus].p_kw;
            slack.q_kvar += through[bus].q_kvar;
        }
        let mut branches = Vec::with_capacity(self.branches().len());
        for branch in self.branches() {
            let vn_kv = self.buses()[branch.child].vn_kv;
            // ohm · kW / kV² = 1/1000, so the drop is a pure number.
            let per_ohm = 2.0 / (1000.0 * vn_kv * vn_kv);
            let state = LinearBranch {
                power: through[branch.child],
                drop_per_kw: branch.r_ohm * per_ohm,
                drop_per_kvar: branch.x_ohm * per_ohm,
            };
            squared[branch.child] = squared[branch.parent] / (branch.ratio_pu * branch.ratio_pu)
                - state.drop_per_kw * state.power.p_kw
                - state.drop_per_kvar * state.power.q_kvar;
            branches.push(state);
        }
        let vm_pu = squared.into_iter().map(|v| v.max(0.0).sqrt()).collect();
        Ok(LinDistFlow { vm_pu, branches, slack })
    }
}
