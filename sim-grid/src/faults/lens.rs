//! The devices of the street seen through their faults: what each house shows at a moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use units::Slot;

use super::value::{Began, bend};
use super::{Fault, FaultPlan, Spell, bent};
use crate::devices::{DeviceImage, Equipment};
use crate::faces::{Face, Scene};
use crate::world::CustomerTruth;

/// What a house is and shows without a fault.
pub(crate) struct House<'w> {
    /// Position in the scenario.
    pub index: usize,
    pub face: &'w Face,
    pub equipment: &'w Equipment,
    pub truth: &'w CustomerTruth,
    pub image: Arc<DeviceImage>,
}

/// A plan on its way through time: remembers how things stood when a spell began.
#[derive(Debug, Default)]
pub(crate) struct Lens {
    plan: FaultPlan,
    /// By number of the spell and position of the house.
    began: BTreeMap<(usize, usize), Began>,
}

impl Lens {
    /// A lens of a plan that suits the street.
    pub const fn new(plan: FaultPlan) -> Self {
        Self { plan, began: BTreeMap::new() }
    }

    /// The plan.
    pub const fn plan(&self) -> &FaultPlan {
        &self.plan
    }

    /// What a house shows at the moment of its truth.
    pub fn look(&mut self, house: House<'_>) -> Scene {
        let House { index, face, equipment, truth, image } = house;
        let now_ms = truth.at_ms;
        self.forget(index, face, now_ms);
        let faults = self.plan.on_the_wire(face, now_ms);
        let spells: Vec<(usize, &Spell)> = self.plan.at(face, now_ms).collect();
        if spells.is_empty() {
            return Scene { image, other: None, faults };
        }
        let (mut seen, mut plates) = (truth.clone(), equipment.clone());
        for &(number, spell) in &spells {
            let began = self.began.entry((number, index)).or_insert_with(|| {
                tracing::info!("{}, from {}: {spell}", face.customer, at(now_ms));
                Began::new(truth)
            });
            bend(spell, began, truth, &mut seen, &mut plates);
        }
        let mut image = image;
        if seen != *truth || plates != *equipment {
            image = Arc::new(DeviceImage::draw(&plates, &seen));
        }
        let mut other = None;
        for &(_, spell) in &spells {
            let unit = spell.unit(&face.kind);
            if spell.fault.is_in_registers() {
                bent(Arc::make_mut(&mut image), unit, &spell.fault, &seen);
            }
            if matches!(spell.fault, Fault::TornScaleFactor {}) {
                let shifted = Fault::ScaleFactor { shift: 1 };
                bent(Arc::make_mut(other.insert(Arc::clone(&image))), unit, &shifted, &seen);
            }
        }
        Scene { image, other, faults }
    }

    /// Forgets the spells of a house that are over, and says so.
    fn forget(&mut self, index: usize, face: &Face, now_ms: i64) {
        let plan = &self.plan;
        self.began.retain(|&(number, house), _| {
            let spell = &plan.spells[number];
            let stays = house != index || spell.lasts_at(now_ms);
            if !stays {
                tracing::info!("{}, over at {}: {spell}", face.customer, at(now_ms));
            }
            stays
        });
    }
}

/// A moment as text: its slot, and how many seconds of it are over.
fn at(now_ms: i64) -> String {
    let slot = Slot::at_ms(now_ms);
    format!("{slot} + {} s", (now_ms - slot.start_ms()) / 1_000)
}
