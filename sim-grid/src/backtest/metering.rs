//! What the meters of the street count in a slot, as whole watt-hours.

use market::{Flow, Metered, Rank, Terms};
use units::{Energy, Slot};

use crate::scenario::{Scenario, wh_of_slot};
use crate::world::chance::Chance;

/// One customer's energy in a slot, Wh ≥ 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct House {
    /// Used by all its loads.
    pub load: i64,
    /// Produced behind its meter.
    pub generation: i64,
    /// Into a battery (positive) or out of it, where the back-test runs the batteries.
    pub storage: i64,
}

impl House {
    /// Import minus export at the meter.
    pub const fn net(&self) -> i64 {
        self.load - self.generation + self.storage
    }
}

/// A slot as every rule sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quarter<'q> {
    pub slot: Slot,
    pub terms: Terms,
    /// By customer of the scenario.
    pub metered: &'q [Metered],
}

/// The meters of all customers, read again for every slot without allocating.
pub(super) struct Meters {
    pub houses: Vec<House>,
    pub metered: Vec<Metered>,
    seed: u64,
}

impl Meters {
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        let metered = scenario.customers.iter().map(|customer| Metered {
            point: customer.id.clone(),
            rank: [0; 32],
            renewable: true,
            flow: None,
        });
        let houses = vec![House::default(); scenario.customers.len()];
        Self { houses, metered: metered.collect(), seed }
    }

    /// Reads load and generation of a row; batteries, if any are run, come on top with
    /// [`Self::close`].
    pub fn read(&mut self, scenario: &Scenario, row: usize, raw: bool) {
        for (house, profiles) in self.houses.iter_mut().zip(&scenario.profiles) {
            let generation =
                if raw { profiles.generation(row) } else { profiles.published_generation(row) };
            *house = House {
                load: wh_of_slot(profiles.load(row)),
                generation: wh_of_slot(generation),
                storage: 0,
            };
        }
    }

    /// Draws the ranks that decide over last watt-hours anew, so that no customer is favoured over
    /// time.
    pub fn draw_ranks(&mut self, slot: Slot) {
        let mut chance = Chance::new(self.seed ^ slot.number().unsigned_abs(), "last watt-hours");
        for metered in &mut self.metered {
            metered.rank = rank(&mut chance);
        }
    }

    /// Turns what happens behind the meters into register differences.
    pub fn close(&mut self) {
        for (metered, house) in self.metered.iter_mut().zip(&self.houses) {
            let net = house.net();
            metered.flow = Some(Flow {
                import: Energy::from_wh(net.max(0)),
                export: Energy::from_wh((-net).max(0)),
                produced: Some(Energy::from_wh(house.generation)),
            });
        }
    }
}

fn rank(chance: &mut Chance) -> Rank {
    let mut rank = Rank::default();
    // 64 bits order a street; two equal ones fall back to the order of the points.
    rank[..8].copy_from_slice(&chance.bits().to_be_bytes());
    rank
}
