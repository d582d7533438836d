//! Proving a result without trusting whoever computed it.
//!
//! The proof is weak duality. For any prices λ, one per node, no feasible allotment has more
//! welfare than
//!
//! `D(λ) = Σ q_b·max(0, v_b − λ) + Σ q_s·max(0, λ − c_s)
//!       + Σ cap·max(0, ±(λ_node − λ_parent) − fee)
//!       + import_cap·max(0, λ_root − import_price) + export_cap·max(0, export_price − λ_root)`,
//!
//! so an allotment that keeps every bound, balances at every node and whose welfare *is* `D(λ)` for
//! some λ is optimal. What follows the welfare is proven by looking for an exchange: at the margin
//! no watt-hour can be moved, along branches with room, to where the rules would rather have it.
//!
//! Nothing here is shared with the search, and all sums are `i128`. The cost is one pass over the
//! lots and a few over the nodes.

mod margin;

use std::hint::select_unpredictable;

use units::{Energy, Price};

use super::{Radial, Supplier};
use crate::{Grid, Lot, Node, Rank, Side};

/// Beyond every price that lots, fees and suppliers can lead to.
const FAR_NANO: i128 = 1 << 40;

/// What is wrong with a result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum RadialViolation {
    /// A list has another length than what it describes.
    #[error("the result states {found} {what} where there are {expected}")]
    Shape {
        /// Which list.
        what: &'static str,
        /// Length it must have.
        expected: usize,
        /// Length it has.
        found: usize,
    },
    /// A lot is at a node that the grid does not have.
    #[error("lot {lot} is at {node}, which the grid does not have")]
    UnknownNode {
        /// Index of the lot.
        lot: usize,
        /// Its node.
        node: Node,
    },
    /// A fill is negative or more than was ordered.
    #[error("lot {lot}: {fill} is not between nothing and the {quantity} ordered")]
    Fill {
        /// Index of the lot.
        lot: usize,
        /// Its fill.
        fill: Energy,
        /// What was ordered.
        quantity: Energy,
    },
    /// A flow is beyond its cap.
    #[error("{flow} towards {node}: at most {import_cap} fit, and {export_cap} the other way")]
    Flow {
        /// The node (the root: what the supplier delivers).
        node: Node,
        /// The flow.
        flow: Energy,
        /// Room towards the node.
        import_cap: Energy,
        /// Room away from it.
        export_cap: Energy,
    },
    /// Energy appears or vanishes at a node.
    #[error("{node} takes and forwards {taken} Wh but gets {delivered}")]
    OffBalance {
        /// The node.
        node: Node,
        /// What its lots take and its children get, Wh.
        taken: i128,
        /// The stated flow.
        delivered: Energy,
    },
    /// A stated total is not the sum of its parts.
    #[error("stated {what} {stated} is not {exact}")]
    Total {
        /// `welfare` in nano-currency or `traded energy` in Wh.
        what: &'static str,
        /// As stated.
        stated: i128,
        /// As summed up.
        exact: i128,
    },
    /// No price supports the fills and flows.
    #[error("no price at {node} supports the result: at least {low} and at most {high}")]
    NotSupported {
        /// The node.
        node: Node,
        /// Lower end of what would be an interval.
        low: Price,
        /// Upper end.
        high: Price,
    },
    /// A stated interval is not the exact one.
    #[error("{node}: stated interval {stated:?} is not {exact:?}")]
    Interval {
        /// The node.
        node: Node,
        /// As stated.
        stated: (Option<Price>, Option<Price>),
        /// As the fills and flows have it.
        exact: (Option<Price>, Option<Price>),
    },
    /// A price is not the middle of the interval of a zone that trades.
    #[error("{node}: stated price {stated:?} is not {exact:?}")]
    Price {
        /// The node.
        node: Node,
        /// As stated.
        stated: Option<Price>,
        /// The middle, or none without trade.
        exact: Option<Price>,
    },
    /// A lot trades at a loss.
    #[error("lot {lot} trades {fill} at {price}, worse than its limit {limit}")]
    Loss {
        /// Index of the lot.
        lot: usize,
        /// Its fill.
        fill: Energy,
        /// Price at its node.
        price: Price,
        /// Its limit.
        limit: Price,
    },
    /// Welfare is below its upper bound.
    #[error("welfare {welfare} is below its bound {bound} (nano-currency)")]
    Gap {
        /// Welfare of the result.
        welfare: i128,
        /// Dual bound at the prices.
        bound: i128,
    },
    /// More could be traded at the same welfare.
    #[error("{seller} could deliver more to {buyer} at no loss")]
    NotMaximal {
        /// Node of an unfilled seller at the margin, or the root for the supplier.
        seller: Node,
        /// Node of an unfilled buyer at the margin, or the root for the supplier.
        buyer: Node,
    },
    /// One order at the margin gets more than its share while another could have it.
    #[error(
        "lot {less} gets {less_fill} while lot {more} gets {more_fill}: a watt-hour could move"
    )]
    Unequal {
        /// The lot with less than its share.
        less: usize,
        /// Its fill.
        less_fill: Energy,
        /// The lot with more than its share.
        more: usize,
        /// Its fill.
        more_fill: Energy,
    },
    /// An order at the margin of a zone with room gets another share than in proportion.
    #[error("lot {lot} gets {fill}, not its share of {share} or a watt-hour more")]
    Share {
        /// The lot.
        lot: usize,
        /// Its fill.
        fill: Energy,
        /// Its share, rounded down.
        share: Energy,
    },
    /// A last watt-hour went to the wrong one.
    #[error("lot {lot} is before lot {other} in line for a last watt-hour that the other got")]
    LastWattHour {
        /// The lot without it.
        lot: usize,
        /// The lot with it.
        other: usize,
    },
}

impl Radial {
    /// Proves the result: quantities, caps, balance at every node, price intervals and prices,
    /// nobody at a loss, welfare equal to its dual bound, the most local energy at that welfare,
    /// and equal shares at the margin.
    ///
    /// `rank` must be what the lots were cleared with; it decides about single watt-hours.
    ///
    /// # Errors
    /// The first [`RadialViolation`] found.
    pub fn certify(
        &self,
        lots: &[Lot],
        grid: &Grid,
        supplier: Option<&Supplier>,
        rank: impl Fn(usize) -> Rank,
    ) -> Result<(), RadialViolation> {
        self.check_shape(lots.len(), grid.size())?;
        let prices: Vec<i64> = (0..grid.size()).map(|node| self.supporting(node)).collect();
        let sums = Sums::of(lots, &self.fills, &prices)?;
        self.check_flows(grid, supplier, &sums)?;
        self.check_welfare(grid, supplier, &sums, &prices)?;
        self.check_prices(grid, supplier, &sums)?;
        margin::check(self, lots, grid, supplier, &prices, &sums.margin, rank)
    }

    fn check_shape(&self, lots: usize, nodes: usize) -> Result<(), RadialViolation> {
        let shapes = [
            ("fills", lots, self.fills.len()),
            ("flows", nodes, self.flows.len()),
            ("lowest prices", nodes, self.low.len()),
            ("highest prices", nodes, self.high.len()),
            ("prices", nodes, self.price.len()),
        ];
        for (what, expected, found) in shapes {
            if expected != found {
                return Err(RadialViolation::Shape { what, expected, found });
            }
        }
        Ok(())
    }

    /// The middle of the stated interval, with bounds far away where none are stated.
    fn supporting(&self, node: usize) -> i64 {
        let nano = |price: Option<Price>, far: i128| {
            price.map_or(far, |price| i128::from(price.nano_per_wh()).clamp(-FAR_NANO, FAR_NANO))
        };
        let sum = nano(self.low[node], -FAR_NANO) + nano(self.high[node], FAR_NANO);
        i64::try_from(sum.div_euclid(2)).expect("both are within ±2⁴⁰")
    }

    fn check_flows(
        &self,
        grid: &Grid,
        supplier: Option<&Supplier>,
        sums: &Sums,
    ) -> Result<(), RadialViolation> {
        let mut taken: Vec<i128> = sums.nodes.iter().map(|node| node.taken).collect();
        for node in grid.nodes().rev() {
            let flow = self.flows[node.index()];
            let (import_cap, export_cap) = match grid.branch(node) {
                Some(branch) => (branch.import_cap, branch.export_cap),
                None => supplier.map_or((Energy::ZERO, Energy::ZERO), |supplier| {
                    (supplier.import_cap, supplier.export_cap)
                }),
            };
            if flow > import_cap || flow < -export_cap {
                return Err(RadialViolation::Flow { node, flow, import_cap, export_cap });
            }
            if taken[node.index()] != i128::from(flow.wh()) {
                let taken = taken[node.index()];
                return Err(RadialViolation::OffBalance { node, taken, delivered: flow });
            }
            if let Some(parent) = grid.parent(node) {
                taken[parent.index()] += i128::from(flow.wh());
            }
        }
        Ok(())
    }

    /// Stated totals, and that welfare reaches its bound.
    fn check_welfare(
        &self,
        grid: &Grid,
        supplier: Option<&Supplier>,
        sums: &Sums,
        prices: &[i64],
    ) -> Result<(), RadialViolation> {
        let (mut welfare, mut bound) = (sums.value, sums.bound);
        for node in grid.nodes() {
            let Some(branch) = grid.branch(node) else {
                continue;
            };
            let fee = wide(branch.fee);
            welfare -= i128::from(self.flows[node.index()].wh()).abs() * fee;
            let rise = i128::from(prices[node.index()]) - i128::from(prices[branch.parent.index()]);
            bound += i128::from(branch.import_cap.wh()) * (rise - fee).max(0);
            bound += i128::from(branch.export_cap.wh()) * (-rise - fee).max(0);
        }
        let supply = i128::from(self.flows[0].wh());
        if let Some(supplier) = supplier {
            let (import, export) = (wide(supplier.import_price), wide(supplier.export_price));
            welfare -= supply.max(0) * import + supply.min(0) * export;
            let price = i128::from(prices[0]);
            bound += i128::from(supplier.import_cap.wh()) * (price - import).max(0);
            bound += i128::from(supplier.export_cap.wh()) * (export - price).max(0);
        }
        let bought: i128 = sums.nodes.iter().map(|node| node.bought).sum();
        let traded = bought - supply.max(0);
        let totals = [
            ("welfare", self.welfare, welfare),
            ("traded energy", i128::from(self.traded.wh()), traded),
        ];
        for (what, stated, exact) in totals {
            if stated != exact {
                return Err(RadialViolation::Total { what, stated, exact });
            }
        }
        if welfare != bound {
            return Err(RadialViolation::Gap { welfare, bound });
        }
        Ok(())
    }

    /// Intervals and prices from the fills and flows.
    fn check_prices(
        &self,
        grid: &Grid,
        supplier: Option<&Supplier>,
        sums: &Sums,
    ) -> Result<(), RadialViolation> {
        let mut low: Vec<i128> = sums.nodes.iter().map(|node| i128::from(node.floor)).collect();
        let mut high: Vec<i128> = sums.nodes.iter().map(|node| i128::from(node.cap)).collect();
        if let Some(supplier) = supplier {
            let supply = self.flows[0];
            if supply.is_positive() || -supply < supplier.export_cap {
                let floor = if supply.is_positive() {
                    supplier.import_price
                } else {
                    supplier.export_price
                };
                low[0] = low[0].max(wide(floor));
            }
            if supply < Energy::ZERO || supply < supplier.import_cap {
                let cap = if supply < Energy::ZERO {
                    supplier.export_price
                } else {
                    supplier.import_price
                };
                high[0] = high[0].min(wide(cap));
            }
        }
        // `high[to] ≤ high[from] + fee` wherever energy could still go or already comes that way.
        // Once from the leaves and once from the root reaches everybody.
        let links = self.links(grid);
        for &Link { from, to, by } in links.iter().rev().chain(&links) {
            high[to] = high[to].min(high[from] + by);
            low[from] = low[from].max(low[to] - by);
        }
        let trading = self.trading(grid, sums);
        for node in grid.nodes() {
            let i = node.index();
            let known = |bound: i128| (bound.abs() < FAR_NANO / 2).then(|| price(bound));
            let exact = (known(low[i]), known(high[i]));
            if let (Some(low), Some(high)) = exact
                && low > high
            {
                return Err(RadialViolation::NotSupported { node, low, high });
            }
            let stated = (self.low[i], self.high[i]);
            if stated != exact {
                return Err(RadialViolation::Interval { node, stated, exact });
            }
            let middle = exact.0.zip(exact.1).map(|(low, high)| low.middle(high));
            let (stated, exact) = (self.price[i], middle.filter(|_| trading[i]));
            if stated != exact {
                return Err(RadialViolation::Price { node, stated, exact });
            }
        }
        Ok(())
    }
}

/// `price(to) ≤ price(from) + by`.
struct Link {
    from: usize,
    to: usize,
    by: i128,
}

impl Radial {
    /// All relations between the prices at the ends of branches; those of the branches far from the
    /// root last.
    fn links(&self, grid: &Grid) -> Vec<Link> {
        let mut links = Vec::with_capacity(2 * grid.size());
        for node in grid.nodes() {
            let Some(branch) = grid.branch(node) else {
                continue;
            };
            let (here, up) = (node.index(), branch.parent.index());
            let (flow, fee) = (self.flows[here], wide(branch.fee));
            if flow < Energy::ZERO {
                links.push(Link { from: up, to: here, by: -fee });
            } else if flow < branch.import_cap {
                links.push(Link { from: up, to: here, by: fee });
            }
            if flow.is_positive() {
                links.push(Link { from: here, to: up, by: -fee });
            } else if -flow < branch.export_cap {
                links.push(Link { from: here, to: up, by: fee });
            }
        }
        links
    }

    /// Whether anything is filled in the zone of each node.
    fn trading(&self, grid: &Grid, sums: &Sums) -> Vec<bool> {
        let mut zone: Vec<usize> = Vec::with_capacity(grid.size());
        let mut trades = vec![false; grid.size()];
        for node in grid.nodes() {
            let i = node.index();
            let joined = grid.branch(node).is_some_and(|branch| {
                let free = branch.fee.is_zero()
                    && branch.import_cap.is_positive()
                    && branch.export_cap.is_positive();
                free || !self.flows[i].is_zero()
            });
            let up = grid.parent(node).filter(|_| joined);
            zone.push(up.map_or(i, |up| zone[up.index()]));
            trades[zone[i]] |= sums.nodes[i].filled;
        }
        zone.into_iter().map(|zone| trades[zone]).collect()
    }
}

fn wide(price: Price) -> i128 {
    i128::from(price.nano_per_wh())
}

fn price(nano: i128) -> Price {
    Price::from_nano_per_wh(i64::try_from(nano).expect("compared with 2³⁹ before"))
}

/// What one pass over the lots tells.
struct Sums {
    nodes: Vec<AtNode>,
    /// Buyers' worth less sellers'.
    value: i128,
    /// The lots' part of the dual bound.
    bound: i128,
    /// Lots whose limit is the price.
    margin: Vec<u32>,
}

/// What the lots of a node tell.
struct AtNode {
    /// The price that the bound is computed with.
    price: i64,
    /// Energy that the lots take, less what they give.
    taken: i128,
    bought: i128,
    /// Least and most that the price may be for the lots.
    floor: i64,
    cap: i64,
    /// Whether anything is filled.
    filled: bool,
}

impl Sums {
    fn of(lots: &[Lot], fills: &[Energy], prices: &[i64]) -> Result<Self, RadialViolation> {
        let far = i64::try_from(FAR_NANO).expect("2⁴⁰");
        let mut nodes: Vec<AtNode> = prices
            .iter()
            .map(|&price| AtNode {
                price,
                taken: 0,
                bought: 0,
                floor: -far,
                cap: far,
                filled: false,
            })
            .collect();
        let (mut value, mut bound) = (0_i128, 0_i128);
        let mut margin = Vec::new();
        for (i, (lot, &fill)) in (0_u32..).zip(lots.iter().zip(fills)) {
            let (quantity, limit) = (lot.quantity, lot.limit.nano_per_wh());
            let Some(here) = nodes.get_mut(lot.node.index()) else {
                return Err(RadialViolation::UnknownNode { lot: i as usize, node: lot.node });
            };
            if fill < Energy::ZERO || fill > quantity {
                return Err(RadialViolation::Fill { lot: i as usize, fill, quantity });
            }
            let buys = lot.side == Side::Buy;
            let (some, rest) = (!fill.is_zero(), fill < quantity);
            // A filled buyer and an unfilled seller cap the price, the others are floors.
            let caps = select_unpredictable(buys, some, rest);
            let floors = select_unpredictable(buys, rest, some);
            here.cap = here.cap.min(select_unpredictable(caps, limit, far));
            here.floor = here.floor.max(select_unpredictable(floors, limit, -far));
            let signed = select_unpredictable(buys, fill.wh(), -fill.wh());
            here.taken += i128::from(signed);
            here.bought += i128::from(signed.max(0));
            here.filled |= some;
            value += i128::from(signed) * i128::from(limit);
            let above = limit - here.price;
            let gain = select_unpredictable(buys, above, -above);
            bound += i128::from(quantity.wh()) * i128::from(gain.max(0));
            if gain < 0 && some {
                let price = Price::from_nano_per_wh(here.price);
                return Err(RadialViolation::Loss {
                    lot: i as usize,
                    fill,
                    price,
                    limit: lot.limit,
                });
            }
            if gain == 0 {
                margin.push(i);
            }
        }
        Ok(Self { nodes, value, bound, margin })
    }
}
