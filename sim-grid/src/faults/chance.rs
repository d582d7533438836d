//! A plan drawn from a seed: every house gets something now and then, of all that a counter
//! survives.

use units::Slot;

use super::{ChainEnd, Fault, FaultPlan, Newcomer, Spell};
use crate::faces::{Face, UnitRole};
use crate::world::chance::Chance;

/// Slots at the start in which nothing goes wrong, so that everybody knows where the counters began.
const CALM_SLOTS: i64 = 2;
/// Longest spell of a counter that shows something else, milliseconds of market time: what stays
/// longer is an exchange, and then nobody can know what flowed in between.
const SHORT_MS: u64 = 200_000;
/// Most spells of one house.
const MOST_SPELLS: usize = 200;

impl FaultPlan {
    /// Draws what goes wrong between two moments, for every house. Nothing in it destroys a counter:
    /// in the end every meter shows again all that flowed.
    #[must_use]
    pub fn draw(seed: u64, faces: &[Face], from_ms: i64, until_ms: i64) -> Self {
        let mut spells = Vec::new();
        for face in faces {
            let mut chance = Chance::new(seed, face.customer.as_str());
            let mut at_ms = from_ms + CALM_SLOTS * Slot::LENGTH_MS;
            for _ in 0..MOST_SPELLS {
                at_ms += pause(&mut chance);
                let spell = Self::draw_spell(&mut chance, face, at_ms);
                if spell.until_ms >= until_ms {
                    break;
                }
                at_ms = spell.until_ms;
                if spell.concerns(face) {
                    spells.push(spell);
                }
            }
        }
        Self::new(seed, spells)
    }

    fn draw_spell(chance: &mut Chance, face: &Face, from_ms: i64) -> Spell {
        let (fault, device) = if face.kind.modbus_addr().is_some() {
            asked(chance)
        } else {
            (published(chance), None)
        };
        let touches_counters = matches!(
            fault,
            Fault::CounterZero {} | Fault::CounterJump { .. } | Fault::WordOrder {}
        );
        let longest_ms =
            if touches_counters { SHORT_MS } else { 3 * Slot::LENGTH_MS.unsigned_abs() };
        let length_ms = chance.between(60_000, longest_ms);
        // What a counter shows is a fact; what happens to single requests is more or less often so.
        let always = touches_counters || !(fault.is_on_the_wire() || fault.is_of_messages());
        let chance_percent = if always { 100 } else { [5, 30, 100][index(chance, 3)] };
        Spell {
            customer: Some(face.customer.to_string()),
            device,
            from_ms,
            until_ms: from_ms.saturating_add(i64::try_from(length_ms).unwrap_or(i64::MAX)),
            chance_percent,
            fault,
        }
    }
}

/// Time without a fault: a quarter of a slot to three.
fn pause(chance: &mut Chance) -> i64 {
    let slot_ms = Slot::LENGTH_MS.unsigned_abs();
    i64::try_from(chance.between(slot_ms / 4, 3 * slot_ms)).expect("less than an hour")
}

fn index(chance: &mut Chance, count: u64) -> usize {
    usize::try_from(chance.between(0, count)).expect("an index")
}

/// A fault of a house that is asked, and whose it is.
fn asked(chance: &mut Chance) -> (Fault, Option<UnitRole>) {
    let ms = |chance: &mut Chance| u32::try_from(chance.between(50, 4_000)).expect("small");
    let code = |chance: &mut Chance| [2, 4, 5, 6, 10, 11][index(chance, 6)];
    let faults = [
        Fault::LateReply { delay_ms: ms(chance) },
        Fault::PreviousReply { renumbered: false },
        Fault::PreviousReply { renumbered: true },
        Fault::Exception { code: code(chance) },
        Fault::HalfFrame {},
        Fault::Reset { after_requests: u32::try_from(chance.between(1, 30)).expect("small") },
        Fault::SingleClient { newcomer: Newcomer::Refused },
        Fault::SingleClient { newcomer: Newcomer::Replaces },
        Fault::Deaf { connect_ms: ms(chance) },
        Fault::UnitOffline { code: None },
        Fault::UnitOffline { code: Some(11) },
        Fault::ChainEnd { how: ChainEnd::Zero },
        Fault::ChainEnd { how: ChainEnd::Refused },
        Fault::Base { address: [0, 50_000][index(chance, 2)] },
        Fault::AsleepAtNight {},
        Fault::CounterZero {},
        Fault::CounterDip { wh: u32::try_from(chance.between(1, 101)).expect("small") },
        Fault::CounterJump { wh: 35_900_000 },
        Fault::ScaleFactor { shift: [1, 2][index(chance, 2)] },
        Fault::TornScaleFactor {},
        Fault::WordOrder {},
        Fault::SignFlip { registers: false },
    ];
    let count = u64::try_from(faults.len()).expect("a list");
    let fault = faults[index(chance, count)].clone();
    let device = match fault {
        Fault::AsleepAtNight {} => Some(UnitRole::Inverter),
        _ if fault.is_of_the_port() => None,
        _ => Some(UnitRole::Meter),
    };
    (fault, device)
}

/// A fault of a meter that publishes.
fn published(chance: &mut Chance) -> Fault {
    let faults = [
        Fault::RetainedStale {},
        Fault::Duplicate { late: false },
        Fault::Duplicate { late: true },
        Fault::DeviceClock { seconds: 90 },
        Fault::DeviceClock { seconds: -90 },
        Fault::CounterZero {},
        Fault::CounterDip { wh: 100 },
    ];
    let count = u64::try_from(faults.len()).expect("a list");
    faults[index(chance, count)].clone()
}
