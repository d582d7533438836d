//! A plan, and how it comes about.

use std::collections::BTreeSet;

use units::{Energy, Price, Slot};

use crate::horizon::attributes::{self, Attributes};
use crate::horizon::certificate::{self, Multipliers};
use crate::horizon::detail::Detail;
use crate::horizon::dispatch::{self, Dispatched, Draw, Guide};
use crate::horizon::optimum::{Optimum, optimum};
use crate::horizon::problem::Horizon;
use crate::horizon::relaxed::{BatteryColumns, cents};
use crate::horizon::schedule::{Step, truncated};
use crate::horizon::survey::{Outlook, Surveyed, survey, upheld};
use crate::horizon::{Refusal, prices};
use crate::solver::Solver;
use crate::{MAX_PRICE, Node, NodePrice};

/// One slot of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Dispatch {
    /// Filled energy per offer, Wh, in the order of the offers.
    pub fills: Vec<Energy>,
    /// Energy towards each node, Wh, negative away from it; the root's from the supplier.
    pub flows: Vec<Energy>,
    /// Per node.
    pub prices: Vec<NodePrice>,
    /// What of the energy was special, where somebody asked for it.
    pub attributes: Option<Attributes>,
}

/// What a waiting load gets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Stored {
    /// Energy per slot, Wh.
    pub energy: Vec<Energy>,
    /// What is left unserved, Wh.
    pub unmet: Energy,
}

/// Something that could not be had; the plan is the best without it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(tag = "what", rename_all = "snake_case"))]
pub enum Shortfall {
    /// A load leaves before it has what it needs.
    #[error("load {name} leaves with {missing} less than it needs")]
    Unmet {
        /// Which load.
        name: String,
        /// What it misses, Wh.
        missing: Energy,
    },
    /// A battery holds less than it should after a slot; the worst slot is named.
    #[error("battery {name} is {missing} below what it should hold after slot {slot}")]
    BelowReserve {
        /// Which battery.
        name: String,
        /// After which slot.
        slot: Slot,
        /// What it misses, Wh.
        missing: Energy,
    },
    /// The voltage at a node is outside its limits; the worst node of the slot is named.
    #[error(
        "the voltage at {node} is outside its limits in slot {slot} by {square_ppm} ppm squared"
    )]
    Voltage {
        /// Where.
        node: Node,
        /// When.
        slot: Slot,
        /// By how much, parts per million of squared per-unit voltage, negative when too low.
        square_ppm: i64,
    },
}

/// How a plan was found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(tag = "by", rename_all = "snake_case"))]
pub enum Method {
    /// The linear program, rounded and proven optimal but for the rounding.
    Lp {
        /// Who solved it.
        solver: String,
    },
    /// The last plan's storage, or none, with every slot cleared exactly.
    LastStorage {
        /// Why the linear program did not answer.
        because: String,
    },
}

/// What every offer, battery and load does in every slot, in whole Wh.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Plan {
    /// The first slot.
    pub first: Slot,
    /// Per slot.
    pub periods: Vec<Dispatch>,
    /// Per battery and slot.
    pub batteries: Vec<Vec<Step>>,
    /// Per waiting load.
    pub deferrables: Vec<Stored>,
    /// What could not be had.
    pub shortfalls: Vec<Shortfall>,
    /// What the plan is worth, nano-currency: what buyers would have paid, less what sellers would
    /// have taken, fees, the supplier's bill, wear and penalties; premia apart.
    pub welfare: i128,
    /// No plan is worth more than this, nano-currency; none when nothing was proven.
    pub bound: Option<i128>,
    /// How it was found.
    pub method: Method,
}

/// Plans a horizon: the optimum when the solver finds it and integers confirm it, otherwise the
/// `last` plan's storage (or idle storage) with every slot cleared exactly. Whatever the solver
/// answers, the plan keeps every limit.
///
/// # Errors
/// [`Refusal`] when the horizon itself is wrong.
pub fn plan(
    horizon: &Horizon,
    solver: &mut dyn Solver,
    last: Option<&Plan>,
) -> Result<Plan, Refusal> {
    horizon.check()?;
    match optimal(horizon, solver) {
        Ok(plan) => Ok(plan),
        Err(because) => Ok(standing(horizon, last, because)),
    }
}

/// The plan that needs no solver.
fn standing(horizon: &Horizon, last: Option<&Plan>, because: String) -> Plan {
    let slots = horizon.periods.len();
    let shift = last.map_or(0, |last| horizon.first.number() - last.first.number());
    let before = |steps: &Vec<Step>, t: usize| {
        usize::try_from(shift).ok().and_then(|shift| steps.get(t + shift).copied())
    };
    let batteries = horizon.batteries.iter().enumerate().map(|(i, battery)| {
        let kept = last.and_then(|last| last.batteries.get(i));
        let mut content = battery.at_start();
        let steps = (0..slots).map(|t| {
            let step = kept.and_then(|steps| before(steps, t)).unwrap_or_default();
            let (step, after) = battery.within(content, step.net().wh());
            content = after;
            step
        });
        steps.collect()
    });
    let deferrables = horizon.deferrables.iter().map(|load| {
        // As soon as possible: nobody knows better now.
        let mut left = load.need;
        let energy = (0..slots).map(|t| {
            let served =
                if load.window(slots).contains(&t) { load.cap.min(left) } else { Energy::ZERO };
            left -= served;
            served
        });
        energy.collect()
    });
    let schedule = Schedule { batteries: batteries.collect(), deferrables: deferrables.collect() };
    let (schedule, dispatched) = settle(horizon, schedule, |_| None);
    assemble(horizon, schedule, dispatched, Method::LastStorage { because })
}

/// Storage and waiting loads in whole Wh.
#[derive(Debug, Clone)]
struct Schedule {
    batteries: Vec<Vec<Step>>,
    deferrables: Vec<Vec<Energy>>,
}

impl Schedule {
    fn draws(&self, horizon: &Horizon, t: usize) -> Vec<Draw> {
        let batteries = horizon.batteries.iter().zip(&self.batteries).map(|(battery, steps)| {
            Draw { node: battery.node, net: steps[t].net().wh(), limit: MAX_PRICE }
        });
        let loads = horizon.deferrables.iter().zip(&self.deferrables).map(|(load, energy)| {
            let limit = (load.value + load.penalty).min(MAX_PRICE);
            Draw { node: load.node, net: energy[t].wh(), limit }
        });
        batteries.chain(loads).collect()
    }

    /// Takes over what was drawn in slot `t`, and lets later slots follow.
    fn cut(&mut self, horizon: &Horizon, t: usize, drawn: &[i64]) {
        let (of_batteries, of_loads) = drawn.split_at(self.batteries.len());
        for ((battery, steps), &net) in
            horizon.batteries.iter().zip(&mut self.batteries).zip(of_batteries)
        {
            steps[t].charge = Energy::from_wh(net.max(0));
            steps[t].discharge = Energy::from_wh((-net).max(0));
            let mut content = battery.after(&steps[..t]);
            for step in &mut steps[t..] {
                (*step, content) = battery.within(content, step.net().wh());
            }
        }
        for (energy, &net) in self.deferrables.iter_mut().zip(of_loads) {
            energy[t] = Energy::from_wh(net);
        }
    }
}

/// Dispatches slot after slot. Where the network or the prices leave no room for all of a draw,
/// the draw is cut, and the battery's later slots with it as far as its content demands.
fn settle(
    horizon: &Horizon,
    mut schedule: Schedule,
    guide: impl Fn(usize) -> Option<Guide>,
) -> (Schedule, Vec<Dispatched>) {
    let mut dispatched = Vec::with_capacity(horizon.periods.len());
    for t in 0..horizon.periods.len() {
        let guide = guide(t);
        let draws = schedule.draws(horizon, t);
        let mut slot = dispatch::dispatch(horizon, t, &draws, guide.as_ref());
        if draws.iter().zip(&slot.drawn).any(|(draw, &drawn)| draw.net != drawn) {
            schedule.cut(horizon, t, &slot.drawn);
            // A cut step stays within a battery's limits, so this is what was drawn.
            slot.drawn = schedule.draws(horizon, t).iter().map(|draw| draw.net).collect();
        }
        dispatched.push(slot);
    }
    (schedule, dispatched)
}

fn assemble(
    horizon: &Horizon,
    schedule: Schedule,
    dispatched: Vec<Dispatched>,
    method: Method,
) -> Plan {
    let periods = dispatched.into_iter().map(|slot| Dispatch {
        fills: slot.fills,
        flows: slot.flows,
        prices: slot
            .prices
            .into_iter()
            .map(|(low, high, price)| NodePrice { low, high, price })
            .collect(),
        attributes: None,
    });
    let mut periods: Vec<Dispatch> = periods.collect();
    let fills: Vec<&[Energy]> = periods.iter().map(|dispatch| &*dispatch.fills).collect();
    let traded = attributes::trade(horizon, &fills, &schedule.batteries);
    for (dispatch, traded) in periods.iter_mut().zip(traded) {
        dispatch.attributes = traded;
    }
    let deferrables = horizon.deferrables.iter().zip(schedule.deferrables).map(|(load, energy)| {
        let unmet = load.need - energy.iter().sum();
        Stored { energy, unmet }
    });
    let deferrables: Vec<Stored> = deferrables.collect();
    let batteries = schedule.batteries;
    let welfare = certificate::welfare(horizon, &periods, &batteries, &deferrables);
    let mut shortfalls = shortfalls(horizon, &batteries, &deferrables);
    shortfalls.extend(outside(horizon, &periods));
    let first = horizon.first;
    Plan { first, periods, batteries, deferrables, shortfalls, welfare, bound: None, method }
}

fn shortfalls(horizon: &Horizon, batteries: &[Vec<Step>], loads: &[Stored]) -> Vec<Shortfall> {
    let unmet = horizon.deferrables.iter().zip(loads).filter(|(_, got)| got.unmet.is_positive());
    let unmet =
        unmet.map(|(load, got)| Shortfall::Unmet { name: load.name.clone(), missing: got.unmet });
    let low = horizon.batteries.iter().zip(batteries).filter_map(|(battery, steps)| {
        let missing = steps.iter().enumerate().map(|(t, step)| {
            (battery.wanted(t, steps.len()) - step.stored(), std::cmp::Reverse(t))
        });
        let (missing, std::cmp::Reverse(t)) = missing.max()?;
        let slot = horizon.first.offset(i64::try_from(t).expect("at most MAX_SLOTS"));
        let name = battery.name.clone();
        missing.is_positive().then_some(Shortfall::BelowReserve { name, slot, missing })
    });
    unmet.chain(low).collect()
}

/// The worst voltage of every slot that has one outside its limits.
fn outside(horizon: &Horizon, periods: &[Dispatch]) -> Vec<Shortfall> {
    let Some(voltage) = &horizon.voltage else { return Vec::new() };
    let slots = periods.iter().enumerate().filter_map(|(t, dispatch)| {
        let breaches = certificate::breaches(horizon, voltage, &dispatch.flows);
        let (node, breach) = breaches.max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))?;
        let slot = horizon.first.offset(i64::try_from(t).expect("at most MAX_SLOTS"));
        let square_ppm = truncated((breach * 1e6).round());
        Some(Shortfall::Voltage { node: Node::at(node), slot, square_ppm })
    });
    slots.collect()
}

/// The plan by linear program, proven; or why there is none.
fn optimal(horizon: &Horizon, solver: &mut dyn Solver) -> Result<Plan, String> {
    let likely = survey(horizon, Outlook::Likely);
    let (found, priced) = solved(horizon, &likely, solver)?;
    if upheld(horizon, &likely, &priced.middle.nodes) {
        return proven(horizon, &likely, &found, &priced, solver.name());
    }
    let certain = survey(horizon, Outlook::Certain);
    let (found, priced) = solved(horizon, &certain, solver)?;
    proven(horizon, &certain, &found, &priced, solver.name())
}

/// The optimum in floats and the prices that support it.
fn solved(
    horizon: &Horizon,
    surveyed: &[Surveyed],
    solver: &mut dyn Solver,
) -> Result<(Optimum, Priced), String> {
    let detail = Detail::first(horizon, surveyed);
    let found = optimum(horizon, surveyed, detail, solver)?;
    let priced = Priced::of(horizon, &found, solver)?;
    Ok((found, priced))
}

/// The optimum in whole Wh, when the bound confirms it.
fn proven(
    horizon: &Horizon,
    surveyed: &[Surveyed],
    found: &Optimum,
    priced: &Priced,
    solver: &str,
) -> Result<Plan, String> {
    let schedule = round(horizon, found);
    let at_limit: BTreeSet<usize> = found.relaxed.limits.iter().map(|&(t, ..)| t).collect();
    let (schedule, dispatched) = settle(horizon, schedule, |t| {
        let prices = priced.middle.nodes[t].clone();
        let flows = at_limit.contains(&t).then(|| found.flows[t].clone());
        Some(Guide { prices, flows })
    });
    let method = Method::Lp { solver: solver.to_owned() };
    let mut plan = assemble(horizon, schedule, dispatched, method);
    for ((dispatch, nodes), t) in plan.periods.iter_mut().zip(&priced.middle.nodes).zip(0..) {
        let prices = nodes.iter().enumerate().map(|(node, &price)| NodePrice {
            low: Some(priced.low[t][node]),
            high: Some(priced.high[t][node]),
            price: Some(price),
        });
        dispatch.prices = prices.collect();
    }
    let bound = certificate::bound(horizon, surveyed, &priced.middle);
    let gap = bound - plan.welfare;
    let allowed = tolerance(horizon, found, plan.welfare);
    if gap < 0 {
        return Err(format!("a bound {gap} nano below the plan: the certificate is wrong"));
    }
    if gap > allowed {
        return Err(format!("the solver's optimum is {gap} nano from proven, {allowed} allowed"));
    }
    plan.bound = Some(bound);
    Ok(plan)
}

/// How far from the bound a rounded optimum may be: a millionth, and per fractional energy of
/// storage one Wh at the highest price, as what is settled are whole Wh.
fn tolerance(horizon: &Horizon, found: &Optimum, welfare: i128) -> i128 {
    let fractional = |column: usize| {
        let wh = found.values[column] * 1_000.0;
        (wh - wh.round()).abs() > 1e-5
    };
    let batteries = found.relaxed.batteries.iter().flatten();
    let batteries = batteries.filter(|c| fractional(c.charge) || fractional(c.discharge)).count();
    let loads = found.relaxed.deferrables.iter().flat_map(|(_, columns)| columns);
    let loads = loads.filter(|(_, column)| fractional(*column)).count();
    let per_wh = i128::from(horizon.highest_price().nano_per_wh()) + 10_000;
    let count = i128::try_from(batteries + loads).expect("a count");
    let slots = i128::try_from(horizon.periods.len()).expect("a count");
    let limits = i128::try_from(found.relaxed.limits.len()).expect("a count");
    welfare.abs() / 1_000_000 + count * per_wh + limits * per_wh + slots * 10_000
}

fn round(horizon: &Horizon, found: &Optimum) -> Schedule {
    let wh = |column: usize| found.values[column] * 1_000.0;
    let slots = horizon.periods.len();
    let batteries =
        horizon.batteries.iter().zip(&found.relaxed.batteries).map(|(battery, columns)| {
            let wanted = |c: &BatteryColumns| (wh(c.charge), wh(c.discharge), wh(c.stored));
            let wanted: Vec<_> = columns.iter().map(wanted).collect();
            battery.follow(&wanted)
        });
    let deferrables =
        horizon.deferrables.iter().zip(&found.relaxed.deferrables).map(|(load, (_, columns))| {
            let mut wanted = vec![0.0; slots];
            for &(t, column) in columns {
                wanted[t] = wh(column);
            }
            load.follow(&wanted)
        });
    Schedule { batteries: batteries.collect(), deferrables: deferrables.collect() }
}

/// The prices that support an optimum.
struct Priced {
    low: Vec<Vec<Price>>,
    high: Vec<Vec<Price>>,
    middle: Multipliers,
}

impl Priced {
    fn of(horizon: &Horizon, found: &Optimum, solver: &mut dyn Solver) -> Result<Self, String> {
        let relaxed = &found.relaxed;
        let rows = relaxed.program.row_count();
        let mut weights = vec![0.0; rows];
        for &row in relaxed.balance.iter().flatten() {
            // Distinct, near one, the same for everybody who checks.
            weights[row] = 1.0 + f64::from(u32::try_from(row).unwrap_or(u32::MAX)) / 65_536.0;
        }
        let widest = 8.0 * cents(horizon.highest_price()) + 1_000.0;
        let widest = horizon
            .batteries
            .iter()
            .map(|battery| 2.0 * cents(horizon.shortfall_price(battery)))
            .fold(widest, f64::max);
        let range = prices::supporting(
            &relaxed.program,
            &found.values,
            widest,
            |row| weights[row],
            solver,
        )?;
        let nodes = |of: &dyn Fn(usize) -> f64| -> Vec<Vec<Price>> {
            let slots = relaxed.balance.iter().zip(&relaxed.offset);
            let price = |(&row, &offset): (&usize, &f64)| rounded(of(row)) + rounded(offset);
            slots.map(|(rows, offsets)| rows.iter().zip(offsets).map(price).collect()).collect()
        };
        let middle = |row: usize| f64::midpoint(range.low[row], range.high[row]);
        let stored = relaxed.batteries.iter().map(|columns| {
            let value = |c: &BatteryColumns| {
                let reserve = c.wanted.map_or(0.0, |(row, _)| -middle(row));
                (rounded(middle(c.row)), rounded(reserve.max(0.0)))
            };
            columns.iter().map(value).collect()
        });
        let stored = stored.collect();
        let limits = relaxed.limits.iter();
        let limits = limits
            .map(|&(t, node, high, row)| (t, node, high, rounded(middle(row)).max(Price::ZERO)));
        let limits = limits.collect();
        Ok(Self {
            low: nodes(&|row| range.low[row]),
            high: nodes(&|row| range.high[row]),
            middle: Multipliers { nodes: nodes(&middle), stored, limits },
        })
    }
}

/// ct/kWh to the nearest nano per Wh.
fn rounded(cents: f64) -> Price {
    Price::from_nano_per_wh(truncated((cents * 10_000.0).round()))
}
