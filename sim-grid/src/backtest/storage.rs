//! The street's batteries, run by the back-test: each serving its own house, or as its household's
//! policy decides.

use market::Clearing;
use market::Side;
use meter_agent::core::policy::{Battery, Standing, Store};
use units::{Energy, Price};

use super::metering::{House, Meters};
use crate::scenario::{BatteryRating, Scenario};

/// Whose battery the back-test runs, and how full it is. All start empty.
#[derive(Debug, Clone)]
pub(super) struct Batteries {
    cells: Vec<Option<(Battery, Store)>>,
}

impl Batteries {
    /// Of all customers whose PV is known before the battery; a house with two has them as one.
    pub fn of(scenario: &Scenario) -> Self {
        let cell = |i: usize| {
            let mine = scenario.devices.iter().filter(|device| device.customer == i);
            let ratings = mine.filter_map(|device| device.battery.as_ref());
            let battery = ratings.map(facts).reduce(join)?;
            scenario.profiles[i].runs_battery.then_some((battery, Store::default()))
        };
        Self { cells: (0..scenario.customers.len()).map(cell).collect() }
    }

    /// What is known about a customer's battery.
    pub fn facts(&self, customer: usize) -> Option<Battery> {
        self.cells[customer].map(|(battery, _)| battery)
    }

    /// What is in it.
    pub fn store(&self, customer: usize) -> Option<Store> {
        self.cells[customer].map(|(_, store)| store)
    }

    /// Energy in all batteries, Wh.
    pub fn stored_wh(&self) -> i64 {
        self.cells.iter().flatten().map(|(_, store)| store.energy().wh()).sum()
    }

    /// What is left in a customer's battery at the end is worth at a feed-in price, nano-currency.
    pub fn left_nano(&self, customer: usize, feed_in: Price) -> i128 {
        let Some((battery, store)) = &self.cells[customer] else { return 0 };
        let given = i128::from(store.energy().wh()) * i128::from(battery.efficiency_out_ppm);
        given * i128::from(feed_in.nano_per_wh()) / 1_000_000
    }

    /// Runs a slot with every battery serving its own house.
    pub fn serve_houses(&mut self, houses: &mut [House]) {
        for (cell, house) in self.cells.iter_mut().zip(houses) {
            let Some((battery, store)) = cell else { continue };
            let energy = battery.serve_house(*store, Energy::from_wh(house.net()));
            *store = battery.after(*store, energy);
            house.storage = energy.wh();
        }
    }

    /// Runs a slot as the households decided, knowing what they traded.
    pub fn follow(
        &mut self,
        standings: &[Option<Standing>],
        clearing: &Clearing,
        meters: &mut Meters,
    ) {
        for (i, cell) in self.cells.iter_mut().enumerate() {
            let Some((battery, store)) = cell else { continue };
            let net = Energy::from_wh(meters.houses[i].net());
            let point = &meters.metered[i].point;
            let energy = match &standings[i] {
                None => battery.serve_house(*store, net),
                Some(standing) => {
                    let traded =
                        clearing.filled(point, Side::Buy) - clearing.filled(point, Side::Sell);
                    standing.charge(*store, net, traded)
                }
            };
            *store = battery.after(*store, energy);
            meters.houses[i].storage = energy.wh();
        }
    }
}

/// The ratings of a scenario hold for whole slots: W over a quarter of an hour.
fn facts(rating: &BatteryRating) -> Battery {
    let per_slot = Energy::from_wh(i64::from(rating.power_w) / 4);
    Battery {
        capacity: Energy::from_wh(i64::from(rating.energy_wh)),
        charge: per_slot,
        discharge: per_slot,
        efficiency_in_ppm: i64::from(rating.efficiency_ppm),
        efficiency_out_ppm: i64::from(rating.efficiency_ppm),
        wear: Price::ZERO,
    }
}

/// Two batteries of one house as one, with the worse efficiency.
fn join(a: Battery, b: Battery) -> Battery {
    Battery {
        capacity: a.capacity + b.capacity,
        charge: a.charge + b.charge,
        discharge: a.discharge + b.discharge,
        efficiency_in_ppm: a.efficiency_in_ppm.min(b.efficiency_in_ppm),
        efficiency_out_ppm: a.efficiency_out_ppm.min(b.efficiency_out_ppm),
        wear: a.wear,
    }
}
