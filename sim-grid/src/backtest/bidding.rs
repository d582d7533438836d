//! Where the orders of a slot come from: the scenario's file, or the households themselves.

use std::path::Path;
use std::str::FromStr;

use market::{Side, Terms};
use units::{Energy, Price, Slot};

use super::error::BacktestError;
use super::metering::House;
use crate::scenario::{Orders, Scenario, Tariff, Wish};
use crate::world::chance::Chance;

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
}

impl OrderSource {
    /// As it is typed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::File => "file",
            Self::Policy => "policy",
        }
    }
}

impl FromStr for OrderSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Auto, Self::File, Self::Policy];
        let found = all.into_iter().find(|source| source.name() == text);
        found.ok_or_else(|| format!("{text:?} is no source of orders; choose auto, file or policy"))
    }
}

/// All that is needed to order for a whole street.
pub(super) struct Bidders {
    source: OrderSource,
    file: Option<Orders>,
    temper: Vec<Temper>,
    wishes: Vec<Wish>,
    /// Slots in which the file ordered.
    pub from_file: usize,
    /// Slots in which the policies ordered.
    pub from_policy: usize,
}

/// How far a household goes, between feed-in (0) and retail (100), in percent.
#[derive(Debug, Clone, Copy)]
struct Temper {
    buys_up_to: i64,
    sells_from: i64,
}

impl Bidders {
    pub fn new(
        scenario: &Scenario,
        tariff: &Tariff,
        folder: Option<&Path>,
        source: OrderSource,
        seed: u64,
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
        let mut chance = Chance::new(seed, "bidding");
        let mut draw = |low, high| i64::try_from(chance.between(low, high)).expect("a percentage");
        let tempers = scenario
            .customers
            .iter()
            .map(|_| Temper { buys_up_to: draw(55, 95), sells_from: draw(5, 45) });
        let temper = tempers.collect();
        let wishes = Vec::new();
        Ok(Self { source, file, temper, wishes, from_file: 0, from_policy: 0 })
    }

    /// The orders of a slot.
    pub fn wishes(&mut self, row: usize, slot: Slot, terms: Terms, houses: &[House]) -> &[Wish] {
        let covered = self.file.as_ref().and_then(|file| file.of(row, slot));
        match (covered, self.source) {
            (Some(wishes), _) => {
                self.from_file += 1;
                wishes
            }
            (None, OrderSource::File) => &[],
            (None, _) => {
                self.from_policy += 1;
                self.wishes.clear();
                if terms.leave_room() {
                    let orders = houses.iter().zip(&self.temper).enumerate();
                    self.wishes.extend(
                        orders.filter_map(|(i, (house, temper))| temper.wish(i, house, terms)),
                    );
                }
                &self.wishes
            }
        }
    }
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
