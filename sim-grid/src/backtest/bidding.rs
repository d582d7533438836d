//! Where the orders of a slot come from: the scenario's file, or the households themselves.
//!
//! A household orders as its meter agent does ([`meter_agent::core::policy`]): from a forecast made
//! of what it has seen so far, one slot behind as in life, at limits that follow from its policy.
//! The back-test's first hours are therefore as clumsy as a new agent's. `pegged` is the simple
//! counterpart: everybody knows its energy beforehand and names a price between the supplier's two.

use std::path::Path;
use std::str::FromStr;

use market::{Limit, Metered, Node, Order, Side, Steps, Terms};
use meter_agent::core::forecast::Measured;
use meter_agent::core::policy::{Decision, Policy, Standing, Style, View, Wishes};
use meter_agent::core::zone::Zone;
use units::{Energy, Price, Slot};

use super::error::BacktestError;
use super::metering::House;
use super::storage::Batteries;
use crate::scenario::{Orders, Scenario, Tariff, Wish};
use crate::world::chance::Chance;

/// Slots whose prices a household knows when it orders: a day ahead.
const KNOWN_AHEAD: usize = 96;

/// Which orders a back-test takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OrderSource {
    /// The scenario's file on the days that it covers, the households' policies on all others.
    #[default]
    Auto,
    /// The scenario's file; nobody orders on days that it does not cover.
    File,
    /// The households' policies.
    Policy,
    /// Exact energy at a price between the supplier's two, drawn once per household.
    Pegged,
}

impl OrderSource {
    const ALL: [Self; 4] = [Self::Auto, Self::File, Self::Policy, Self::Pegged];

    /// As it is typed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::File => "file",
            Self::Policy => "policy",
            Self::Pegged => "pegged",
        }
    }
}

impl FromStr for OrderSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|source| source.name() == text);
        found.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|source| source.name()).collect();
            format!("{text:?} is no source of orders; choose from {}", names.join(", "))
        })
    }
}

/// All that is needed to order for a whole street.
pub(super) struct Bidders {
    source: OrderSource,
    file: Option<Orders>,
    tempers: Vec<Temper>,
    /// None where no slot can need them.
    policies: Vec<Policy>,
    /// What batteries should do in the slot, by customer.
    pub standings: Vec<Option<Standing>>,
    /// Energy of the slot before, which agents have not seen yet when they order.
    unseen: Option<(Slot, Vec<House>)>,
    orders: Vec<Order>,
    /// Slots in which the file ordered.
    pub from_file: u64,
    /// Slots in which the households ordered.
    pub from_households: u64,
}

/// A household's position between the supplier's prices.
#[derive(Debug, Clone, Copy)]
struct Temper {
    /// Highest price to pay, percent of the way from feed-in to retail.
    buys_up_to: i64,
    /// Lowest price to accept.
    sells_from: i64,
}

/// What a slot's orders depend on.
pub(super) struct Before<'b> {
    pub row: usize,
    pub slot: Slot,
    pub terms: Terms,
    pub tariff: &'b Tariff,
    pub metered: &'b [Metered],
    /// Where everybody is in the grid; empty on a plate.
    pub nodes: &'b [Node],
    pub houses: &'b [House],
    pub batteries: Option<&'b Batteries>,
}

impl Bidders {
    pub fn new(
        scenario: &Scenario,
        tariff: &Tariff,
        folder: Option<&Path>,
        source: OrderSource,
        seed: u64,
        batteries: Option<&Batteries>,
    ) -> Result<Self, BacktestError> {
        let file = match (folder, source) {
            (Some(folder), OrderSource::Auto | OrderSource::File) => {
                Orders::load(folder, scenario, tariff)?
            }
            _ => None,
        };
        if source == OrderSource::File && file.is_none() {
            return Err(BacktestError::NoOrders { tariff: tariff.name.clone() });
        }
        let customers = scenario.customers.len();
        let mut chance = Chance::new(seed, "bidding");
        let mut draw = |low, high| i64::try_from(chance.between(low, high)).expect("a percentage");
        let tempers: Vec<Temper> = (0..customers)
            .map(|_| Temper { buys_up_to: draw(55, 95), sells_from: draw(5, 45) })
            .collect();
        let zone = Zone::parse("Europe/Berlin").expect("a zone that agents know");
        let policy = |(i, temper): (usize, &Temper)| {
            let battery = batteries.and_then(|batteries| batteries.facts(i));
            Policy::new(Wishes {
                style: if battery.is_some() { Style::Battery } else { Style::Ladder },
                // A seller insists as its temper has it; buyers' certainty sets most of their limits.
                insist_ppm: temper.sells_from * 2_000,
                zone: zone.clone(),
                site: None,
                battery,
                keep: Vec::new(),
                car: None,
            })
        };
        let policies = match source {
            OrderSource::File | OrderSource::Pegged => Vec::new(),
            OrderSource::Auto | OrderSource::Policy => {
                tempers.iter().enumerate().map(policy).collect()
            }
        };
        Ok(Self {
            source,
            file,
            tempers,
            policies,
            standings: vec![None; customers],
            unseen: None,
            orders: Vec::new(),
            from_file: 0,
            from_households: 0,
        })
    }

    /// The orders of a slot. Where retail is not above feed-in there is nothing to order.
    pub fn orders(&mut self, before: &Before<'_>) -> &[Order] {
        self.orders.clear();
        self.standings.fill(None);
        let covered = self.file.as_ref().and_then(|file| file.of(before.row, before.slot));
        // A battery is planned in any slot; only orders need room between the prices.
        let decides =
            !self.policies.is_empty() && (covered.is_none() || before.batteries.is_some());
        let mut decisions = Vec::new();
        if decides {
            decisions = decide(&mut self.policies, before, self.unseen.as_ref());
        }
        match (covered, self.source) {
            _ if !before.terms.leave_room() => {}
            (Some(wishes), _) => {
                self.from_file += 1;
                self.orders.extend(wishes.iter().map(|wish| plain(wish, before)));
            }
            (None, OrderSource::File) => {}
            (None, OrderSource::Pegged) => {
                self.from_households += 1;
                let houses = before.houses.iter().zip(&self.tempers).enumerate();
                let wishes =
                    houses.filter_map(|(i, (house, temper))| temper.wish(i, house, before.terms));
                self.orders.extend(wishes.map(|wish| plain(&wish, before)));
            }
            (None, OrderSource::Auto | OrderSource::Policy) => {
                self.from_households += 1;
                for (i, decision) in decisions.iter().enumerate() {
                    let Some(decision) = decision else { continue };
                    let order =
                        |side, steps: &Option<Steps>| Some(before.order(i, side, steps.clone()?));
                    self.orders.extend(order(Side::Buy, &decision.buy));
                    self.orders.extend(order(Side::Sell, &decision.sell));
                }
            }
        }
        for (standing, decision) in self.standings.iter_mut().zip(decisions) {
            *standing = decision.and_then(|decision| decision.battery);
        }
        &self.orders
    }

    /// Lets the households see what was measured in the slot before, and keeps this slot's energy
    /// for later. Batteries are not in it: the agents know their own.
    pub fn learn(&mut self, slot: Slot, houses: &[House]) {
        if self.policies.is_empty() {
            return;
        }
        let mut seen = Vec::new();
        if let Some((slot, energies)) = self.unseen.take() {
            for (policy, house) in self.policies.iter_mut().zip(&energies) {
                let sun_wh = Some(house.generation);
                policy.learn(slot, Measured { load_wh: house.load, sun_wh });
            }
            seen = energies;
        }
        seen.clear();
        seen.extend_from_slice(houses);
        self.unseen = Some((slot, seen));
    }
}

/// What every household wants, in the order of the customers.
fn decide(
    policies: &mut [Policy],
    before: &Before<'_>,
    unseen: Option<&(Slot, Vec<House>)>,
) -> Vec<Option<Decision>> {
    let known = before.tariff.retail_e5.len().min(before.row + KNOWN_AHEAD);
    let terms: Vec<Terms> = (before.row..known)
        .map_while(|row| super::terms(before.tariff, row, before.slot).ok())
        .collect();
    let present = |i: usize| {
        let (_, houses) = unseen?;
        Some(Energy::from_wh(houses[i].load - houses[i].generation))
    };
    let decide = |(i, policy): (usize, &mut Policy)| {
        let stored = before.batteries.and_then(|batteries| batteries.store(i));
        policy.decide(&View {
            slot: before.slot,
            terms: &terms,
            stored: stored.map(|store| (before.slot, store)),
            scheduled: &[],
            car_lacks: None,
            present: present(i),
        })
    };
    policies.iter_mut().enumerate().map(decide).collect()
}

impl Before<'_> {
    /// An order of a customer, at its place in the grid.
    fn order(&self, customer: usize, side: Side, steps: Steps) -> Order {
        let Metered { point, rank, .. } = &self.metered[customer];
        let node = self.nodes.get(customer).copied().unwrap_or(Node::ROOT);
        Order { point: point.clone(), node, side, steps, rank: *rank }
    }
}

fn plain(wish: &Wish, before: &Before<'_>) -> Order {
    let steps = Steps::one(wish.quantity, Limit::At(wish.limit));
    before.order(wish.customer, wish.side, steps)
}

impl Temper {
    fn wish(&self, customer: usize, house: &House, terms: Terms) -> Option<Wish> {
        let net = house.net();
        let (side, percent) = match net {
            0 => return None,
            1.. => (Side::Buy, self.buys_up_to),
            _ => (Side::Sell, self.sells_from),
        };
        let quantity = Energy::from_wh(net.abs());
        Some(Wish { customer, side, quantity, limit: between(terms, percent) })
    }
}

/// The price at so many percent of the way from feed-in to retail, on the tick.
fn between(terms: Terms, percent: i64) -> Price {
    let tick = Price::TICK.nano_per_wh();
    let (low, high) = (terms.feed_in().nano_per_wh(), terms.retail().nano_per_wh());
    Price::from_nano_per_wh(low + (high - low) / tick * percent / 100 * tick)
}
