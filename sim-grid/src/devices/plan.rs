//! Which house has which meter: most speak SunSpec, at least eight something else.

use super::plate::MeterFace;
use crate::scenario::Scenario;
use crate::world::chance::Chance;

/// Most houses without SunSpec that a street has, as a share of all: 3 of 10.
const OTHERS_OF_TEN: usize = 3;
/// Least number of houses without SunSpec, in a street that is large enough.
const LEAST_OTHERS: usize = 8;

/// Draws the meter of every house. A house with PV keeps devices that are asked over Modbus; the
/// smallest PV system without a battery sits beside an SDM630. Without a broker nothing publishes,
/// and an SDM630 takes the place of every such meter.
pub(crate) fn draw(scenario: &Scenario, seed: u64, mqtt: bool) -> Vec<MeterFace> {
    let mut chance = Chance::new(seed, "meter faces");
    let count = scenario.customers.len();
    let has_solar = |customer: &usize| {
        let profiles = &scenario.profiles[*customer];
        profiles.pv.is_some() || profiles.pv_battery.is_some()
    };
    let mut plain: Vec<usize> = (0..count).filter(|customer| !has_solar(customer)).collect();
    chance.shuffle(&mut plain);
    let wanted = (count * OTHERS_OF_TEN / 10).max(LEAST_OTHERS).min(count / 2);
    let mut faces = vec![MeterFace::SunSpec; count];
    let mut others = 0;
    if wanted > 0
        && let Some(customer) = smallest_solar(scenario)
    {
        faces[customer] = MeterFace::Sdm630;
        others += 1;
    }
    for (turn, customer) in plain.into_iter().take(wanted - others).enumerate() {
        faces[customer] = match turn % 4 {
            0 if mqtt => shelly(&mut chance),
            1 if mqtt => tasmota(&mut chance),
            2 if mqtt => dsmr(scenario.customers[customer].id.as_str()),
            _ => MeterFace::Sdm630,
        };
    }
    faces
}

/// The house with the smallest PV system without a battery, where there are several.
fn smallest_solar(scenario: &Scenario) -> Option<usize> {
    let mut solar: Vec<(i32, usize)> = Vec::new();
    for (customer, profiles) in scenario.profiles.iter().enumerate() {
        if let (Some(series), None) = (&profiles.pv, &profiles.pv_battery) {
            solar.push((series.iter().copied().max().unwrap_or(0), customer));
        }
    }
    solar.sort_unstable();
    if solar.len() < 2 { None } else { Some(solar[0].1) }
}

fn shelly(chance: &mut Chance) -> MeterFace {
    let mac = chance.bits() & 0xffff_ffff_ffff;
    MeterFace::Shelly { topic_prefix: format!("shellypro3em-{mac:012x}") }
}

fn tasmota(chance: &mut Chance) -> MeterFace {
    MeterFace::Tasmota { topic: format!("tasmota_{:06X}", chance.bits() & 0x00ff_ffff) }
}

fn dsmr(customer: &str) -> MeterFace {
    MeterFace::Dsmr { topic_prefix: format!("dsmr/{customer}/reading") }
}
