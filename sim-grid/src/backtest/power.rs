//! What the street's energy does to its cables: one exact power flow per slot, and the extremes.

use feeder::{BusPower, Network, PowerFlow};
use units::Slot;

use super::error::BacktestError;
use super::metering::House;
use super::report::{BranchFigures, BusFigures, Extreme, FeederFigures};
use crate::scenario::Scenario;

/// The band that EN 50160 allows a low-voltage supply, per unit of the nominal voltage.
pub const BAND_PU: (f64, f64) = (0.9, 1.1);

/// Collects the states of the feeder over a run.
pub(super) struct FeederWatch {
    powers: Vec<BusPower>,
    wh: Vec<(i64, i64)>,
    lowest: Vec<f64>,
    highest: Vec<f64>,
    lowest_at: Option<(f64, usize, Slot)>,
    highest_at: Option<(f64, usize, Slot)>,
    lines: Vec<(f64, Option<Slot>)>,
    transformers: Vec<(f64, Option<Slot>)>,
    figures: Counts,
}

#[derive(Default)]
struct Counts {
    slots: u64,
    voltage_slots: u64,
    voltage_bus_slots: u64,
    overload_slots: u64,
    loss_wh: f64,
}

impl FeederWatch {
    pub fn new(network: &Network) -> Self {
        let buses = network.buses().len();
        Self {
            powers: vec![BusPower::default(); buses],
            wh: vec![(0, 0); buses],
            lowest: vec![f64::INFINITY; buses],
            highest: vec![f64::NEG_INFINITY; buses],
            lowest_at: None,
            highest_at: None,
            lines: vec![(0.0, None); network.lines().len()],
            transformers: vec![(0.0, None); network.transformers().len()],
            figures: Counts::default(),
        }
    }

    /// Solves a slot and keeps what is extreme.
    pub fn observe(
        &mut self,
        scenario: &Scenario,
        row: usize,
        slot: Slot,
        houses: &[House],
    ) -> Result<(), BacktestError> {
        self.wh.fill((0, 0));
        for ((customer, house), profiles) in
            scenario.customers.iter().zip(houses).zip(&scenario.profiles)
        {
            let reactive = profiles.reactive.as_ref().and_then(|series| series.get(row));
            self.wh[customer.bus].0 += house.net();
            self.wh[customer.bus].1 += reactive.map_or(0, |value| i64::from(*value));
        }
        // Wh in a quarter of an hour times 4 are W; reactive power comes in 0.1 var.
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        for (power, (wh, decivar)) in self.powers.iter_mut().zip(&self.wh) {
            *power = BusPower { p_kw: *wh as f64 / 250.0, q_kvar: *decivar as f64 / 10_000.0 };
        }
        let flow = scenario.network.sweep(&self.powers);
        let flow = flow.map_err(|source| BacktestError::PowerFlow { slot, source })?;
        self.keep(slot, &flow);
        Ok(())
    }

    fn keep(&mut self, slot: Slot, flow: &PowerFlow) {
        self.figures.slots += 1;
        self.figures.loss_wh += flow.loss_kw * 250.0;
        let mut outside = 0;
        for (bus, voltage) in flow.buses.iter().enumerate() {
            let vm = voltage.vm_pu;
            self.lowest[bus] = self.lowest[bus].min(vm);
            self.highest[bus] = self.highest[bus].max(vm);
            if self.lowest_at.is_none_or(|(least, ..)| vm < least) {
                self.lowest_at = Some((vm, bus, slot));
            }
            if self.highest_at.is_none_or(|(most, ..)| vm > most) {
                self.highest_at = Some((vm, bus, slot));
            }
            outside += u64::from(!(BAND_PU.0..=BAND_PU.1).contains(&vm));
        }
        self.figures.voltage_bus_slots += outside;
        self.figures.voltage_slots += u64::from(outside > 0);
        let mut overloaded = false;
        let lines = self.lines.iter_mut().zip(flow.lines.iter().map(|line| line.loading_pct));
        let transformers = flow.transformers.iter().map(|transformer| transformer.loading_pct);
        for (most, loading) in lines.chain(self.transformers.iter_mut().zip(transformers)) {
            overloaded |= loading > 100.0;
            if loading > most.0 {
                *most = (loading, Some(slot));
            }
        }
        self.figures.overload_slots += u64::from(overloaded);
    }

    /// What was seen.
    pub fn figures(&self, network: &Network) -> FeederFigures {
        let name = |bus: usize| network.buses()[bus].id.clone();
        let extreme = |found: Option<(f64, usize, Slot)>| {
            found.map(|(vm, bus, slot)| Extreme {
                upu: millionths(vm),
                bus: name(bus),
                slot: slot.to_string(),
            })
        };
        let line = network.lines().iter().zip(&self.lines).map(|(line, most)| (&line.id, most));
        let transformer = network.transformers().iter().zip(&self.transformers);
        let transformer = transformer.map(|(transformer, most)| (&transformer.id, most));
        let loading: std::collections::BTreeMap<&String, &(f64, Option<Slot>)> =
            line.chain(transformer).collect();
        let branches = network.branches().iter().map(|branch| {
            let id = network.branch_id(branch).to_owned();
            let (most, slot) = loading[&id];
            BranchFigures {
                highest_loading_ppm: millionths(most / 100.0),
                slot: slot.map(|slot| slot.to_string()),
                id,
                from_bus: name(branch.parent),
                to_bus: name(branch.child),
            }
        });
        let buses = network.buses().iter().enumerate().map(|(i, bus)| BusFigures {
            id: bus.id.clone(),
            lowest_upu: millionths(self.lowest[i]),
            highest_upu: millionths(self.highest[i]),
        });
        let counts = &self.figures;
        FeederFigures {
            slots: counts.slots,
            voltage_violation_slots: counts.voltage_slots,
            voltage_violations: counts.voltage_bus_slots,
            overload_slots: counts.overload_slots,
            losses_wh: whole(counts.loss_wh),
            lowest_voltage: extreme(self.lowest_at),
            highest_voltage: extreme(self.highest_at),
            buses: buses.collect(),
            branches: branches.collect(),
        }
    }
}

fn millionths(value: f64) -> i64 {
    whole(value * 1e6)
}

/// The nearest whole number; voltages, loadings and losses are far below 2^53.
#[expect(clippy::cast_possible_truncation, reason = "far below 2^53")]
fn whole(value: f64) -> i64 {
    value.round() as i64
}
