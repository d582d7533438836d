//! What a plan is worth, and an upper bound for what any plan could be worth, in integers.
//!
//! Weak duality: for whatever prices λ per node and slot and values μ of stored energy, the best
//! that every part could do for itself at these prices (offers, supplier, branches within their
//! caps, batteries, waiting loads) adds up to at least the welfare of any plan. Everything is
//! computed in i128, bounds are rounded up and welfare is rounded down, so the gap is never
//! flattered.

use std::collections::BTreeMap;

use units::{Energy, Price};

use crate::horizon::plan::{Dispatch, Stored};
use crate::horizon::problem::{Battery, End, Horizon, PPM};
use crate::horizon::relaxed::kwh;
use crate::horizon::schedule::{Step, float, truncated};
use crate::horizon::survey::Surveyed;
use crate::horizon::voltage::{UNIT, Voltage, WITHIN};
use crate::{Node, Side};

/// Prices to bound the welfare with.
#[derive(Debug, Clone)]
pub(super) struct Multipliers {
    /// Per slot and node, nano per Wh.
    pub nodes: Vec<Vec<Price>>,
    /// Per battery and slot: value of a stored Wh after the slot, and the price of the reserve or
    /// target that binds, not negative.
    pub stored: Vec<Vec<(Price, Price)>>,
    /// Voltage limits that bind: slot, node, whether it is the upper one, and nano per Wh of its
    /// unit, not negative.
    pub limits: Vec<(usize, usize, bool, Price)>,
}

/// What the voltage limits add to the cost of flows and to the bound.
#[derive(Default)]
struct VoltageTerms {
    /// Per slot and node, nano for a Wh towards it.
    toll: BTreeMap<(usize, usize), f64>,
    /// Nano-currency, rounded up.
    room: i128,
}

impl VoltageTerms {
    fn of(horizon: &Horizon, with: &Multipliers) -> Self {
        let mut terms = Self::default();
        let Some(voltage) = &horizon.voltage else { return terms };
        for &(t, node, high, price) in &with.limits {
            let limit = voltage.limit(&horizon.grid, node, high);
            let price = float(price.min(voltage.penalty).nano_per_wh());
            for (at, coefficient) in limit.path {
                *terms.toll.entry((t, at)).or_default() += price * coefficient;
            }
            terms.room += up(price * limit.room * 1_000.0);
        }
        terms
    }

    /// What a Wh towards the node, or from it, gains by the limits, rounded up.
    fn gain(&self, t: usize, node: usize, inward: bool) -> i128 {
        let toll = self.toll.get(&(t, node)).copied().unwrap_or(0.0);
        up(if inward { -toll } else { toll })
    }
}

/// Rounded up to a whole number with room for what floats lose.
fn up(value: f64) -> i128 {
    i128::from(truncated(value.ceil())) + i128::from(value != 0.0)
}

fn nano(price: Price) -> i128 {
    i128::from(price.nano_per_wh())
}

fn wh(energy: Energy) -> i128 {
    i128::from(energy.wh())
}

/// Welfare of a plan, nano-currency: what buyers would have paid at most, less what sellers would
/// have taken at least, fees, the supplier's bill, wear and what is missing.
pub(super) fn welfare(
    horizon: &Horizon,
    periods: &[Dispatch],
    batteries: &[Vec<Step>],
    deferrables: &[Stored],
) -> i128 {
    let mut welfare = 0;
    for (period, dispatch) in horizon.periods.iter().zip(periods) {
        for (offer, &fill) in period.offers.iter().zip(&dispatch.fills) {
            let value = wh(fill) * nano(offer.lot.limit);
            welfare += if offer.lot.side == Side::Buy { value } else { -value };
        }
        let root = wh(dispatch.flows[0]);
        let price = if root > 0 { period.supply.import } else { period.supply.credited() };
        welfare -= root * nano(price);
        for (branch, flow) in horizon.grid.branches().iter().zip(&dispatch.flows[1..]) {
            welfare -= wh(*flow).abs() * nano(branch.fee);
        }
    }
    if let Some(voltage) = &horizon.voltage {
        for dispatch in periods {
            let breach: f64 =
                breaches(horizon, voltage, &dispatch.flows).map(|(_, b)| b.abs()).sum();
            welfare -= up(breach / UNIT * 1_000.0 * float(voltage.penalty.nano_per_wh()));
        }
    }
    for (battery, steps) in horizon.batteries.iter().zip(batteries) {
        let moved: i128 = steps.iter().map(|step| wh(step.charge) + wh(step.discharge)).sum();
        welfare -= moved * nano(battery.wear);
        let short = nano(horizon.shortfall_price(battery));
        for (t, step) in steps.iter().enumerate() {
            let wanted = battery.wanted(t, steps.len());
            welfare -= short * wh((wanted - step.stored()).max(Energy::ZERO));
        }
        if let (End::Value(value), Some(last)) = (battery.end, steps.last()) {
            welfare += (i128::from(last.stored_uwh) * nano(value)).div_euclid(i128::from(PPM));
        }
    }
    for (load, served) in horizon.deferrables.iter().zip(deferrables) {
        welfare += wh(served.energy.iter().sum()) * nano(load.value);
        welfare -= wh(served.unmet) * nano(load.penalty);
    }
    welfare
}

/// An upper bound for the welfare of any plan, nano-currency.
pub(super) fn bound(horizon: &Horizon, surveyed: &[Surveyed], with: &Multipliers) -> i128 {
    let limits = VoltageTerms::of(horizon, with);
    let mut bound = limits.room;
    for ((t, period), surveyed) in horizon.periods.iter().enumerate().zip(surveyed) {
        let prices = &with.nodes[t];
        for offer in &period.offers {
            let gain = nano(offer.lot.limit) - nano(prices[offer.lot.node.index()]);
            let gain = if offer.lot.side == Side::Buy { gain } else { -gain };
            bound += wh(offer.lot.quantity) * gain.max(0);
        }
        let (most_in, most_out) = (&surveyed.most_in, &surveyed.most_out);
        for node in 0..horizon.grid.size() {
            let (inward, outward) = match horizon.grid.branch(Node::at(node)) {
                None => (
                    nano(prices[0]) - nano(period.supply.import),
                    nano(period.supply.credited()) - nano(prices[0]),
                ),
                Some(branch) => {
                    let gain = nano(prices[node]) - nano(prices[branch.parent.index()]);
                    let (inward, outward) =
                        (limits.gain(t, node, true), limits.gain(t, node, false));
                    (gain - nano(branch.fee) + inward, outward - gain - nano(branch.fee))
                }
            };
            bound += i128::from(most_in[node]) * inward.max(0);
            bound += i128::from(most_out[node]) * outward.max(0);
        }
    }
    for (index, battery) in horizon.batteries.iter().enumerate() {
        bound += battery_bound(horizon, battery, &with.nodes, &with.stored[index]);
    }
    for load in &horizon.deferrables {
        let window = load.window(horizon.periods.len());
        let worth = nano(load.value) + nano(load.penalty);
        let mut gains: Vec<i128> =
            window.map(|t| worth - nano(with.nodes[t][load.node.index()])).collect();
        gains.sort_unstable_by(|a, b| b.cmp(a));
        let mut left = wh(load.need);
        for gain in gains.into_iter().take_while(|&gain| gain > 0) {
            let served = wh(load.cap).min(left);
            bound += served * gain;
            left -= served;
        }
        bound -= wh(load.need) * nano(load.penalty);
    }
    bound
}

/// The best that one battery could do at these prices, its content valued by its multipliers.
fn battery_bound(
    horizon: &Horizon,
    battery: &Battery,
    nodes: &[Vec<Price>],
    values: &[(Price, Price)],
) -> i128 {
    let (ppm, wear) = (i128::from(PPM), nano(battery.wear));
    let slots = values.len();
    let short = nano(horizon.shortfall_price(battery));
    let floor = wh(battery.start.min(battery.min));
    // In units of a millionth of a nano-currency, as one division at the end rounds once.
    let mut bound = nano(values[0].0) * wh(battery.start) * ppm;
    for (t, &(value, reserve)) in values.iter().enumerate() {
        let price = nano(nodes[t][battery.node.index()]);
        let charge = nano(value) * i128::from(battery.charge_ppm) - (price + wear) * ppm;
        let charged = wh(battery.charge_cap) * charge.max(0);
        let discharge = (price - wear) * i128::from(battery.discharge_ppm) - nano(value) * ppm;
        let given = wh(battery.discharge_cap) * discharge.max(0) * ppm;
        let per = i128::from(battery.discharge_ppm);
        // Never both in one slot.
        bound += charged.max((given + per - 1) / per);
        let later = match (values.get(t + 1), battery.end) {
            (Some(&(later, _)), _) => nano(later),
            (None, End::Value(value)) => nano(value),
            (None, End::Target(_)) => 0,
        };
        let wanted = wh(battery.wanted(t, slots));
        let gain = later - nano(value) + nano(reserve);
        let kept = if gain > 0 { wh(battery.max) } else { floor };
        bound += kept * gain * ppm - nano(reserve) * wanted * ppm;
        bound += wanted * (nano(reserve) - short).max(0) * ppm;
    }
    (bound + ppm - 1).div_euclid(ppm)
}

/// Nodes whose voltage is outside its limits by more than roundings, and by how much.
pub(super) fn breaches(
    horizon: &Horizon,
    voltage: &Voltage,
    flows: &[Energy],
) -> impl Iterator<Item = (usize, f64)> {
    let flows: Vec<f64> = flows.iter().map(|flow| kwh(flow.wh())).collect();
    let squared = voltage.at(&horizon.grid, &flows).into_iter().enumerate();
    let breach = squared.map(|(node, v)| (node, voltage.breach(v)));
    let breach: Vec<(usize, f64)> = breach.filter(|(_, b)| b.abs() > WITHIN).collect();
    breach.into_iter()
}

impl Battery {
    /// What it should hold after slot `t` of `slots`, as far as it can; zero when that is assured.
    pub(super) fn wanted(&self, t: usize, slots: usize) -> Energy {
        let wanted = match self.end {
            End::Target(target) if t + 1 == slots => target.max(self.min),
            _ => self.min,
        };
        if wanted > self.start.min(self.min) { wanted } else { Energy::ZERO }
    }
}
