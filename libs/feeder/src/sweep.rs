//! The exact power flow of a tree by backward/forward sweep.
//!
//! Backward: every bus draws I = conj(S / V) at the voltage of the last round, and the currents of
//! a subtree add up towards the slack. Forward: V_child = V_parent / ratio − Z·I. Repeated until
//! no voltage moves. For the loads of a low-voltage street this contracts by a factor of ten or
//! more per round (Shirmohammadi et al., IEEE Trans. Power Systems 3 (1988) 753).

use crate::complex::Complex;
use crate::network::{Branch, Element, Network};

/// Most rounds of one sweep. A street needs 7 to 17; more than this means no solution.
const MAX_ROUNDS: usize = 200;
/// A round that moves no voltage by more than this (per unit) is the last.
const TOLERANCE_PU: f64 = 1e-13;
/// Below this voltage (per unit) the constant-power model has collapsed.
const COLLAPSE_PU: f64 = 0.05;

/// Net consumption at a bus (or power through something): positive = drawn from the grid.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct BusPower {
    /// Active power, kW.
    pub p_kw: f64,
    /// Reactive power, kvar.
    pub q_kvar: f64,
}

/// The voltage of a bus.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BusVoltage {
    /// Size, per unit of the nominal voltage.
    pub vm_pu: f64,
    /// Angle, degrees; the phase shift of transformers is left out.
    pub va_deg: f64,
}

/// What flows through a line.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LineFlow {
    /// Active power entering at the end that faces the slack, kW; negative = towards the slack.
    pub p_from_kw: f64,
    /// Reactive power entering at that end, kvar.
    pub q_from_kvar: f64,
    /// Current, A.
    pub current_a: f64,
    /// Current over ampacity, %.
    pub loading_pct: f64,
    /// Power lost in the line, kW.
    pub loss_kw: f64,
}

/// What flows through a transformer.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TransformerFlow {
    /// Active power entering at the high-voltage side, kW; negative = into the grid above.
    pub p_hv_kw: f64,
    /// Reactive power entering at that side, kvar.
    pub q_hv_kvar: f64,
    /// Current on the low-voltage side, A.
    pub i_lv_a: f64,
    /// The larger of both windings' current over rated current, %.
    pub loading_pct: f64,
    /// Power lost in the windings, kW.
    pub loss_kw: f64,
}

/// A solved state of the network; all lists in the order of the network's own.
#[derive(Debug, Clone, PartialEq)]
pub struct PowerFlow {
    /// Per bus.
    pub buses: Vec<BusVoltage>,
    /// Per line.
    pub lines: Vec<LineFlow>,
    /// Per transformer.
    pub transformers: Vec<TransformerFlow>,
    /// What the grid above delivers, all slacks together.
    pub slack: BusPower,
    /// All losses, kW.
    pub loss_kw: f64,
    /// Rounds that the sweep took.
    pub rounds: usize,
}

/// Why there is no power flow.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PowerFlowError {
    /// The list of loads does not fit the network.
    #[error("{given} bus powers were given, but the network has {buses} buses")]
    WrongLength {
        /// Entries given.
        given: usize,
        /// Buses there are.
        buses: usize,
    },
    /// A load is NaN or infinite.
    #[error("the power at bus {bus} is no finite number")]
    NotFinite {
        /// The bus.
        bus: String,
    },
    /// No voltage satisfies the loads: more is drawn than the network can carry.
    #[error(
        "no power flow after {rounds} rounds: the voltage at bus {bus} does not settle; more power is drawn or fed in than the network can carry"
    )]
    NotConverged {
        /// Rounds tried.
        rounds: usize,
        /// The bus that moved most, or collapsed.
        bus: String,
    },
}

impl Network {
    /// Solves the power flow for constant powers, one entry per bus. A power at a slack bus is
    /// served there and adds to [`PowerFlow::slack`].
    ///
    /// # Errors
    /// [`PowerFlowError`]; after at most 200 rounds.
    pub fn sweep(&self, powers: &[BusPower]) -> Result<PowerFlow, PowerFlowError> {
        self.check_powers(powers)?;
        let mut state = State::flat(self);
        let mut worst = 0;
        for rounds in 1..=MAX_ROUNDS {
            state.gather_currents(self, powers);
            match state.update_voltages(self) {
                Moved::Collapsed(bus) => {
                    let bus = self.buses()[bus].id.clone();
                    return Err(PowerFlowError::NotConverged { rounds, bus });
                }
                Moved::By(_, pu) if pu <= TOLERANCE_PU => {
                    state.gather_currents(self, powers);
                    return Ok(state.results(self, rounds));
                }
                Moved::By(bus, _) => worst = bus,
            }
        }
        let bus = self.buses()[worst].id.clone();
        Err(PowerFlowError::NotConverged { rounds: MAX_ROUNDS, bus })
    }

    pub(crate) fn check_powers(&self, powers: &[BusPower]) -> Result<(), PowerFlowError> {
        let buses = self.buses().len();
        if powers.len() != buses {
            return Err(PowerFlowError::WrongLength { given: powers.len(), buses });
        }
        match powers.iter().position(|power| !(power.p_kw.is_finite() && power.q_kvar.is_finite()))
        {
            None => Ok(()),
            Some(bus) => Err(PowerFlowError::NotFinite { bus: self.buses()[bus].id.clone() }),
        }
    }
}

/// Phase-to-neutral phasors of one round, in volts and amperes.
struct State {
    voltages: Vec<Complex>,
    /// Per bus: the current that its feeding branch delivers into it.
    currents: Vec<Complex>,
}

/// Volts between phase and neutral at the nominal voltage.
fn base_volts(vn_kv: f64) -> f64 {
    vn_kv * 1000.0 / 3f64.sqrt()
}

/// Phase volts above over phase volts below, without load.
fn turns(network: &Network, branch: &Branch) -> f64 {
    let buses = network.buses();
    branch.ratio_pu * buses[branch.parent].vn_kv / buses[branch.child].vn_kv
}

/// Three-phase complex power, kW and kvar.
fn power_kva(voltage: Complex, current: Complex) -> Complex {
    (voltage * current.conj()).scale(3.0 / 1000.0)
}

/// How far a round moved the voltages: the bus that moved most, and by how much (pu).
enum Moved {
    By(usize, f64),
    Collapsed(usize),
}

impl State {
    /// Every bus at the voltage that it has without load.
    fn flat(network: &Network) -> Self {
        let count = network.buses().len();
        let mut voltages = vec![Complex::ZERO; count];
        for (bus, slack) in network.roots() {
            let size = slack.vm_pu * base_volts(network.buses()[bus].vn_kv);
            voltages[bus] = Complex::from_polar_deg(size, slack.va_degree);
        }
        for branch in network.branches() {
            voltages[branch.child] = voltages[branch.parent].scale(1.0 / turns(network, branch));
        }
        Self { voltages, currents: vec![Complex::ZERO; count] }
    }

    /// Backward: what every bus draws, summed towards the slack.
    fn gather_currents(&mut self, network: &Network, powers: &[BusPower]) {
        for ((current, power), voltage) in self.currents.iter_mut().zip(powers).zip(&self.voltages)
        {
            let per_phase = Complex::new(power.p_kw, power.q_kvar).scale(1000.0 / 3.0);
            *current = (per_phase / *voltage).conj();
        }
        for branch in network.branches().iter().rev() {
            let above = self.currents[branch.child].scale(1.0 / turns(network, branch));
            self.currents[branch.parent] = self.currents[branch.parent] + above;
        }
    }

    /// Forward: voltages from the slack outwards.
    fn update_voltages(&mut self, network: &Network) -> Moved {
        let (mut worst, mut most) = (0, 0.0);
        for branch in network.branches() {
            let drop = Complex::new(branch.r_ohm, branch.x_ohm) * self.currents[branch.child];
            let voltage = self.voltages[branch.parent].scale(1.0 / turns(network, branch)) - drop;
            let base = base_volts(network.buses()[branch.child].vn_kv);
            let moved = (voltage - self.voltages[branch.child]).abs() / base;
            self.voltages[branch.child] = voltage;
            // Written so that NaN counts as a collapse.
            let stands = voltage.abs() > COLLAPSE_PU * base;
            if !stands {
                return Moved::Collapsed(branch.child);
            }
            if moved > most {
                (worst, most) = (branch.child, moved);
            }
        }
        Moved::By(worst, most)
    }

    fn results(&self, network: &Network, rounds: usize) -> PowerFlow {
        let buses = network.buses().iter().zip(&self.voltages).map(|(bus, voltage)| BusVoltage {
            vm_pu: voltage.abs() / base_volts(bus.vn_kv),
            va_deg: voltage.angle_deg(),
        });
        let mut lines = vec![LineFlow::default(); network.lines().len()];
        let mut transformers = vec![TransformerFlow::default(); network.transformers().len()];
        let mut loss_kw = 0.0;
        for branch in network.branches() {
            loss_kw += self.loss_kw(branch);
            match branch.element {
                Element::Line(i) => lines[i] = self.line_flow(network, branch, i),
                Element::Transformer(i) => {
                    transformers[i] = self.transformer_flow(network, branch, i);
                }
            }
        }
        let mut slack = BusPower::default();
        for (bus, _) in network.roots() {
            let power = power_kva(self.voltages[bus], self.currents[bus]);
            slack.p_kw += power.re;
            slack.q_kvar += power.im;
        }
        PowerFlow { buses: buses.collect(), lines, transformers, slack, loss_kw, rounds }
    }

    fn loss_kw(&self, branch: &Branch) -> f64 {
        3.0 * self.currents[branch.child].abs_squared() * branch.r_ohm / 1000.0
    }

    fn line_flow(&self, network: &Network, branch: &Branch, line: usize) -> LineFlow {
        let current = self.currents[branch.child];
        let power = power_kva(self.voltages[branch.parent], current);
        let current_a = current.abs();
        LineFlow {
            p_from_kw: power.re,
            q_from_kvar: power.im,
            current_a,
            loading_pct: current_a / (network.lines()[line].max_i_ka * 1000.0) * 100.0,
            loss_kw: self.loss_kw(branch),
        }
    }

    fn transformer_flow(&self, network: &Network, branch: &Branch, i: usize) -> TransformerFlow {
        let transformer = &network.transformers()[i];
        let lv = self.currents[branch.child];
        let hv = lv.scale(1.0 / turns(network, branch));
        let power = power_kva(self.voltages[branch.parent], hv);
        let rated = |vn_kv: f64| transformer.sn_kva / (3f64.sqrt() * vn_kv);
        let share_lv = lv.abs() / rated(transformer.vn_lv_kv);
        let share_hv = hv.abs() / rated(transformer.vn_hv_kv);
        TransformerFlow {
            p_hv_kw: power.re,
            q_hv_kvar: power.im,
            i_lv_a: lv.abs(),
            loading_pct: share_lv.max(share_hv) * 100.0,
            loss_kw: self.loss_kw(branch),
        }
    }
}
