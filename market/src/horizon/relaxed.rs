//! The linear program, as small as it may be.
//!
//! Per slot and node there is a balance, per branch a flow with a cap and a fee for |flow|. Most
//! caps never bind and most flows have an obvious direction, so a branch is first *relaxed*: its
//! cap is left out and its fee charged as `± fee · flow` in the direction that it is expected to
//! have, which is never more than the true fee. Its two ends then share one balance row, and the
//! fee becomes part of what an energy at the far end costs. The relaxed program is never worse
//! than the true one; where its answer breaks a cap or flows against the expected direction, the
//! branch of that slot is stated exactly and the program solved again ([`Detail::refine`]). When
//! nothing is broken the answer is the true optimum.
//!
//! What follows from something else (a battery's content, the flow in the expected direction) is
//! said to ([`Program::imply`]), so that a solver need not carry it along.
//!
//! Per slot t, with the balance in kWh and money in ct:
//!
//! ```text
//! max  Σ v·x_b − Σ c·y_s − Σ π_imp·g⁺ + Σ π_exp·g⁻ − Σ fee·|F| − Σ κ(ch + dis) + Σ ω·e_T + Σ (w + M)·z
//! s.t. Σ x_b + ch + z − Σ y_s − dis = F_n − Σ F_children                      per zone and slot
//!      e_t = e_{t−1} + η_c·ch_t − dis_t/η_d ,  min ≤ e ≤ max                   per battery and slot
//!      Σ_t z_t ≤ need                                                         per waiting load
//! ```

use std::collections::BTreeMap;

use crate::horizon::detail::Detail;
use crate::horizon::problem::{End, Horizon, PPM};
use crate::horizon::survey::Surveyed;
use crate::solver::{Label, Program};
use crate::{Node, Side};

/// A battery's content is stated every so many slots, and implied in between: sums over more slots
/// make long rows, over fewer many.
const STATED_EVERY: i64 = 32;

/// Columns of one battery in one slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatteryColumns {
    pub charge: usize,
    pub discharge: usize,
    pub stored: usize,
    /// The row that carries energy from slot to slot.
    pub row: usize,
    /// The row that wants a reserve or target which may be missed, and how much, Wh.
    pub wanted: Option<(usize, i64)>,
}

/// A program with the meaning of its columns and rows.
#[derive(Debug)]
pub(super) struct Relaxed {
    pub program: Program,
    /// Per slot and node: the balance row of its zone.
    pub balance: Vec<Vec<usize>>,
    /// Per slot and node: what the relaxed branches up to its zone add to the price, ct/kWh.
    pub offset: Vec<Vec<f64>>,
    /// Per slot, one column per [`Surveyed::open`] level.
    pub levels: Vec<Vec<usize>>,
    /// Per battery and slot.
    pub batteries: Vec<Vec<BatteryColumns>>,
    /// Per waiting load: row, and slot and column of each slot it may draw in.
    pub deferrables: Vec<(usize, Vec<(usize, usize)>)>,
    /// Per slot and node with flow columns of its own, inwards and outwards.
    pub flows: BTreeMap<(usize, usize), (usize, usize)>,
    /// Stated voltage limits: slot, node, whether it is the upper one, and the row.
    pub limits: Vec<(usize, usize, bool, usize)>,
    /// Entries of the balance rows while they are gathered.
    gathered: Vec<Vec<(usize, f64)>>,
}

/// An energy in the solver's unit.
#[expect(clippy::cast_precision_loss, reason = "a proposal may be off; it is checked exactly")]
pub(super) fn kwh(wh: i64) -> f64 {
    wh as f64 / 1_000.0
}

/// A price in the solver's unit, ct/kWh.
#[expect(clippy::cast_precision_loss, reason = "a proposal may be off; it is checked exactly")]
pub(super) fn cents(price: units::Price) -> f64 {
    price.nano_per_wh() as f64 / 10_000.0
}

#[expect(clippy::cast_precision_loss, reason = "at most a million")]
pub(super) fn share(ppm: i64) -> f64 {
    ppm as f64 / PPM as f64
}

impl Relaxed {
    pub fn state(horizon: &Horizon, surveyed: &[Surveyed], detail: &Detail) -> Self {
        let mut relaxed = Self {
            program: Program::new(),
            balance: Vec::with_capacity(surveyed.len()),
            offset: Vec::with_capacity(surveyed.len()),
            levels: Vec::with_capacity(surveyed.len()),
            batteries: Vec::with_capacity(horizon.batteries.len()),
            deferrables: Vec::with_capacity(horizon.deferrables.len()),
            flows: BTreeMap::new(),
            limits: Vec::with_capacity(detail.limits.len()),
            gathered: Vec::new(),
        };
        for (t, slot) in surveyed.iter().enumerate() {
            relaxed.state_network(horizon, t, slot, detail);
        }
        for index in 0..horizon.batteries.len() {
            relaxed.state_battery(horizon, index, detail);
        }
        for index in 0..horizon.deferrables.len() {
            relaxed.state_deferrable(horizon, index);
        }
        relaxed.state_limits(horizon, detail);
        relaxed.close_balances(surveyed, horizon.first.number());
        relaxed
    }

    /// A column at a node that consumes `sign` kWh per unit.
    fn consume(
        &mut self,
        t: usize,
        node: usize,
        upper: f64,
        worth: f64,
        sign: f64,
        label: Label,
    ) -> usize {
        let cost = worth - sign * self.offset[t][node];
        let column = self.program.column(0.0, upper, cost);
        self.program.label_column(column, label);
        self.gathered[self.balance[t][node]].push((column, sign));
        column
    }

    /// A balance for every node whose branch is stated exactly, and for those that share it.
    fn state_zones(&mut self, horizon: &Horizon, t: usize, detail: &Detail) {
        let nodes = horizon.grid.size();
        let (mut balance, mut offset) = (vec![0; nodes], vec![0.0; nodes]);
        for node in 0..nodes {
            match horizon.grid.branch(Node::at(node)) {
                Some(branch) if !detail.exact[t][node] => {
                    let parent = branch.parent.index();
                    balance[node] = balance[parent];
                    offset[node] = offset[parent] + detail.direction[t][node] * cents(branch.fee);
                }
                _ => {
                    balance[node] = self.gathered.len();
                    self.gathered.push(Vec::new());
                }
            }
        }
        self.balance.push(balance);
        self.offset.push(offset);
    }

    fn state_network(&mut self, horizon: &Horizon, t: usize, slot: &Surveyed, detail: &Detail) {
        self.state_zones(horizon, t, detail);
        let now = horizon.first.number() + count(t);
        let supply = &horizon.periods[t].supply;
        self.consume(
            t,
            0,
            kwh(slot.room[0].0),
            -cents(supply.import),
            -1.0,
            label(Kind::Import, now, 0, 0),
        );
        self.consume(
            t,
            0,
            kwh(slot.room[0].1),
            cents(supply.credited()),
            1.0,
            label(Kind::Export, now, 0, 0),
        );
        for (node, branch) in (1..).zip(horizon.grid.branches()) {
            if !detail.exact[t][node] {
                continue;
            }
            // Energy towards the node is consumed at the parent and produced here.
            let (parent, fee) = (branch.parent.index(), cents(branch.fee));
            let inward = self.consume(
                t,
                parent,
                kwh(slot.room[node].0),
                -fee,
                1.0,
                label(Kind::Import, now, node, 0),
            );
            let outward = self.consume(
                t,
                parent,
                kwh(slot.room[node].1),
                -fee,
                -1.0,
                label(Kind::Export, now, node, 0),
            );
            let row = self.balance[t][node];
            self.gathered[row].extend([(inward, -1.0), (outward, 1.0)]);
            self.flows.insert((t, node), (inward, outward));
        }
        let levels = slot.open.iter().map(|level| {
            let (worth, sign, kind) = match level.side {
                Side::Buy => (cents(level.limit), 1.0, Kind::Bid),
                Side::Sell => (-cents(level.limit), -1.0, Kind::Ask),
            };
            let node = level.node.index();
            let label = label(kind, now, node, level.limit.nano_per_wh());
            self.consume(t, node, kwh(level.quantity.wh()), worth, sign, label)
        });
        let levels = levels.collect();
        self.levels.push(levels);
    }

    fn state_battery(&mut self, horizon: &Horizon, index: usize, detail: &Detail) {
        let battery = &horizon.batteries[index];
        let (node, wear) = (battery.node.index(), cents(battery.wear));
        let (stores, takes) = (share(battery.charge_ppm), 1.0 / share(battery.discharge_ppm));
        let start = kwh(battery.start.wh());
        let floor = start.min(kwh(battery.min.wh()));
        let short = cents(horizon.shortfall_price(battery));
        let last = horizon.periods.len() - 1;
        let mut columns: Vec<BatteryColumns> = Vec::with_capacity(horizon.periods.len());
        for t in 0..=last {
            let now = horizon.first.number() + count(t);
            let may = |way: bool| detail.one_way.get(&(index, t)).is_none_or(|&only| only == way);
            let cap = |way: bool, cap: units::Energy| if may(way) { kwh(cap.wh()) } else { 0.0 };
            let charge = self.consume(
                t,
                node,
                cap(true, battery.charge_cap),
                -wear,
                1.0,
                label(Kind::Charge, now, index, 0),
            );
            let discharge = self.consume(
                t,
                node,
                cap(false, battery.discharge_cap),
                -wear,
                -1.0,
                label(Kind::Discharge, now, index, 0),
            );
            self.program.exclude(charge, discharge);
            let worth = match battery.end {
                End::Value(value) if t == last => cents(value),
                _ => 0.0,
            };
            let stored = self.program.column(floor, kwh(battery.max.wh()), worth);
            self.program.label_column(stored, label(Kind::Stored, now, index, 0));
            let entries = [(stored, 1.0), (charge, -stores), (discharge, takes)];
            let row = match columns.last() {
                None => self.program.row(start, start, entries),
                Some(before) => {
                    let before = std::iter::once((before.stored, -1.0));
                    self.program.row(0.0, 0.0, entries.into_iter().chain(before))
                }
            };
            if now.rem_euclid(STATED_EVERY) != 0 {
                self.program.imply(stored, row);
            }
            self.program.label_row(row, label(Kind::Carry, now, index, 0));
            let wanted = match battery.end {
                End::Target(target) if t == last => target.max(battery.min),
                _ => battery.min,
            };
            let wanted = (wanted > battery.start.min(battery.min)).then(|| {
                // Where it cannot hold what it should, the shortfall is paid for, not forbidden.
                let missing = self.program.column(0.0, kwh(wanted.wh()), -short);
                self.program.label_column(missing, label(Kind::Missing, now, index, 0));
                let entries = [(stored, 1.0), (missing, 1.0)];
                let row = self.program.row(kwh(wanted.wh()), f64::INFINITY, entries);
                self.program.label_row(row, label(Kind::Wanted, now, index, 0));
                (row, wanted.wh())
            });
            columns.push(BatteryColumns { charge, discharge, stored, row, wanted });
        }
        self.batteries.push(columns);
    }

    /// Voltage limits as rows over the flows on the way, each with a breach that is paid for.
    fn state_limits(&mut self, horizon: &Horizon, detail: &Detail) {
        let Some(voltage) = &horizon.voltage else { return };
        for &(t, node, high) in &detail.limits {
            let limit = voltage.limit(&horizon.grid, node, high);
            let most: f64 = limit.path.iter().map(|(_, c)| c.abs()).sum();
            let breach = self.program.column(0.0, 1e4 * (1.0 + most), -cents(voltage.penalty));
            let flows = limit.path.iter().flat_map(|&(at, coefficient)| {
                let (inward, outward) = self.flows[&(t, at)];
                [(inward, coefficient), (outward, -coefficient)]
            });
            let entries: Vec<(usize, f64)> = flows.chain([(breach, -1.0)]).collect();
            let row = self.program.row(f64::NEG_INFINITY, limit.room, entries);
            let now = horizon.first.number() + count(t);
            let price = 10 * i64::from(high);
            self.program.label_column(breach, label(Kind::Breach, now, node, price));
            self.program.label_row(row, label(Kind::Limit, now, node, price));
            self.limits.push((t, node, high, row));
        }
    }

    fn state_deferrable(&mut self, horizon: &Horizon, index: usize) {
        let load = &horizon.deferrables[index];
        let (node, worth) = (load.node.index(), cents(load.value) + cents(load.penalty));
        let slots = load.arrival..load.departure.min(horizon.periods.len());
        let cap = kwh(load.cap.min(load.need).wh());
        let columns: Vec<(usize, usize)> = slots
            .map(|t| {
                let now = horizon.first.number() + count(t);
                (t, self.consume(t, node, cap, worth, 1.0, label(Kind::Serve, now, index, 0)))
            })
            .collect();
        let need = kwh(load.need.wh());
        let row = self.program.row(f64::NEG_INFINITY, need, columns.iter().map(|&(_, c)| (c, 1.0)));
        // The window moves with the horizon; a load keeps its place in the list.
        self.program.label_row(row, label(Kind::Need, 0, index, 0));
        self.deferrables.push((row, columns));
    }

    /// Adds the balance rows behind all others and renumbers [`Self::balance`].
    fn close_balances(&mut self, surveyed: &[Surveyed], first: i64) {
        let mut decided = vec![0; self.gathered.len()];
        for (t, slot) in surveyed.iter().enumerate() {
            for (node, &wh) in slot.decided.iter().enumerate() {
                decided[self.balance[t][node]] += wh;
            }
        }
        let rows: Vec<usize> = std::mem::take(&mut self.gathered)
            .into_iter()
            .zip(decided)
            .map(|(entries, wh)| self.program.row(-kwh(wh), -kwh(wh), entries))
            .collect();
        for (t, balance) in self.balance.iter_mut().enumerate() {
            let now = first + count(t);
            for (node, row) in balance.iter_mut().enumerate().rev() {
                *row = rows[*row];
                self.program.label_row(*row, label(Kind::Balance, now, node, 0));
                if let Some(&(inward, outward)) = self.flows.get(&(t, node)) {
                    // The flow in the direction that is expected follows from the other.
                    let expected = if surveyed[t].guess[node] < 0 { outward } else { inward };
                    self.program.imply(expected, *row);
                }
            }
        }
    }

    /// Energy towards each node in each slot at these values, kWh; the root's from the supplier.
    pub fn flows(&self, horizon: &Horizon, surveyed: &[Surveyed], values: &[f64]) -> Vec<Vec<f64>> {
        let mut flows: Vec<Vec<f64>> =
            surveyed.iter().map(|slot| slot.decided.iter().map(|&wh| kwh(wh)).collect()).collect();
        for (t, slot) in surveyed.iter().enumerate() {
            for (level, &column) in slot.open.iter().zip(&self.levels[t]) {
                flows[t][level.node.index()] += match level.side {
                    Side::Buy => values[column],
                    Side::Sell => -values[column],
                };
            }
        }
        for (battery, columns) in horizon.batteries.iter().zip(&self.batteries) {
            for (flows, columns) in flows.iter_mut().zip(columns) {
                flows[battery.node.index()] += values[columns.charge] - values[columns.discharge];
            }
        }
        for (load, (_, columns)) in horizon.deferrables.iter().zip(&self.deferrables) {
            for &(t, column) in columns {
                flows[t][load.node.index()] += values[column];
            }
        }
        for flows in &mut flows {
            for node in (1..flows.len()).rev() {
                let parent = horizon.grid.branches()[node - 1].parent.index();
                flows[parent] += flows[node];
            }
        }
        flows
    }
}

/// A slot's place in the horizon as a number that slots are counted in.
fn count(t: usize) -> i64 {
    i64::try_from(t).expect("at most MAX_SLOTS")
}

/// What a column or row is about.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Import,
    Export,
    Bid,
    Ask,
    Charge,
    Discharge,
    Stored,
    Carry,
    Serve,
    Balance,
    Need,
    Missing,
    Wanted,
    Breach,
    Limit,
}

/// A label by kind, absolute slot, node or index, and price; horizons of a week stay apart.
fn label(kind: Kind, slot: i64, index: usize, price: i64) -> Label {
    let bits = |value: i64, bits: u32| value.rem_euclid(1 << bits).cast_unsigned();
    let index = i64::try_from(index).expect("at most MAX_NODES");
    let parts = bits(slot, 16) << 44 | bits(index, 16) << 28 | bits(price / 10, 28);
    Label((kind as u64) << 60 | parts)
}
