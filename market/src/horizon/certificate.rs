//! What a plan is worth, and an upper bound for what any plan could be worth, in integers.
//!
//! Weak duality: for whatever prices λ per node and slot and values μ of stored energy, the best
//! that every part could do for itself at these prices (offers, supplier, branches within their
//! caps, batteries, waiting loads) adds up to at least the welfare of any plan. Everything is
//! computed in i128, bounds are rounded up and welfare is rounded down, so the gap is never
//! flattered.

use units::{Energy, Price};

use crate::horizon::plan::{Dispatch, Stored};
use crate::horizon::problem::{Battery, End, Horizon, PPM};
use crate::horizon::schedule::Step;
use crate::horizon::survey::Surveyed;
use crate::{Node, Side};

/// Prices to bound the welfare with.
#[derive(Debug, Clone)]
pub(super) struct Multipliers {
    /// Per slot and node, nano per Wh.
    pub nodes: Vec<Vec<Price>>,
    /// Per battery and slot: value of a stored Wh after the slot, and the price of the reserve or
    /// target that binds, not negative.
    pub stored: Vec<Vec<(Price, Price)>>,
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
    let mut bound = 0;
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
                    (gain - nano(branch.fee), -gain - nano(branch.fee))
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
        bound += wh(battery.charge_cap) * charge.max(0);
        let discharge = (price - wear) * i128::from(battery.discharge_ppm) - nano(value) * ppm;
        let given = wh(battery.discharge_cap) * discharge.max(0) * ppm;
        let per = i128::from(battery.discharge_ppm);
        bound += (given + per - 1) / per;
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
