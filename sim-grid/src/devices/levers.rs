//! What somebody has set in a battery over Modbus, and what the battery makes of it.
//!
//! Of model 124 a few points can be written: the mode (which of both limits count), the limits of
//! discharging and charging in percent of full power, and after how many seconds without a further word
//! both are forgotten. A negative limit of one direction commands the other.

use std::collections::BTreeMap;
use std::time::Duration;

use super::image::{Bank, UnitImage};
use super::model_map::model;
use super::plate::BatteryPlate;
use crate::world::Window;

/// The storage model.
const STORAGE: u16 = 124;
/// Its points that can be written.
const WRITABLE: [&str; 5] =
    ["StorCtl_Mod", "OutWRte", "InWRte", "InOutWRte_WinTms", "InOutWRte_RvrtTms"];
/// Registers before the first model: the marker.
const MARKER: usize = 2;
/// Bits of the mode: the limit of charging counts, and that of discharging.
const LIMITS_CHARGE: u16 = 1;
const LIMITS_DISCHARGE: u16 = 2;
/// Full power in the registers: hundredths of a percent.
const FULL: i64 = 10_000;

/// Registers that were written, by address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Levers {
    set: BTreeMap<u16, u16>,
}

impl Levers {
    /// Whether a unit has anything to steer.
    pub fn are_on(unit: &UnitImage) -> bool {
        storage_address(unit).is_some()
    }

    /// Takes registers, when all of them can be written on this unit.
    pub fn write(&mut self, unit: &UnitImage, address: u16, words: &[u16]) -> bool {
        let Some(base) = storage_address(unit) else { return false };
        let places = || (address..=u16::MAX).zip(words);
        let offsets: Vec<u16> = WRITABLE.iter().map(|name| offset(name)).collect();
        let fits = |at: u16| at.checked_sub(base).is_some_and(|own| offsets.contains(&own));
        let all = !words.is_empty()
            && places().count() == words.len()
            && places().all(|(at, _)| fits(at));
        if all {
            self.set.extend(places().map(|(at, &word)| (at, word)));
        }
        all
    }

    /// Shows what was written in the place of what the device shows by itself.
    pub fn overlay(&self, address: u16, words: &mut [u16]) {
        for (word, at) in words.iter_mut().zip(address..=u16::MAX) {
            if let Some(&set) = self.set.get(&at) {
                *word = set;
            }
        }
    }

    /// How long it stands without a further word; for ever when nobody said.
    pub fn reverts_after(&self, unit: &UnitImage) -> Option<Duration> {
        let seconds = self.value(unit, "InOutWRte_RvrtTms").filter(|&seconds| seconds > 0)?;
        Some(Duration::from_secs(seconds.into()))
    }

    /// The powers that are left to the battery; none while it is on its own.
    pub fn window(&self, unit: &UnitImage, plate: &BatteryPlate) -> Option<Window> {
        let mode = self.value(unit, "StorCtl_Mod")?;
        let full_dw = i64::from(plate.power_w) * 10;
        let rate = |name| {
            let percent = self.value(unit, name).map_or(FULL, |word| word.cast_signed().into());
            full_dw * percent.clamp(-FULL, FULL) / FULL
        };
        let limits = |bit: u16| mode & bit != 0;
        let most_dw = if limits(LIMITS_CHARGE) { rate("InWRte") } else { full_dw };
        let least_dw = if limits(LIMITS_DISCHARGE) { -rate("OutWRte") } else { -full_dw };
        let steered = limits(LIMITS_CHARGE | LIMITS_DISCHARGE);
        // Two limits that leave nothing between them: the lower one counts.
        steered.then_some(Window { least_dw: least_dw.min(most_dw), most_dw })
    }

    fn value(&self, unit: &UnitImage, name: &str) -> Option<u16> {
        self.set.get(&(storage_address(unit)? + offset(name))).copied()
    }
}

fn offset(name: &str) -> u16 {
    let point = &model(STORAGE).points[name];
    u16::try_from(point.offset).expect("a model is short")
}

/// Where the storage model of a unit begins.
fn storage_address(unit: &UnitImage) -> Option<u16> {
    let Bank { start, registers } =
        unit.holding.iter().find(|bank| bank.registers.first() == Some(&0x5375))?;
    let mut at = MARKER;
    while let Some(&[id, length]) = registers.get(at..at + 2) {
        if id == STORAGE {
            return start.checked_add(u16::try_from(at).ok()?);
        }
        if id == 0xffff {
            return None;
        }
        at += usize::from(length) + 2;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::{DeviceImage, Equipment, Identity, MeterFace};
    use crate::world::{BatteryTruth, CustomerTruth};

    fn battery() -> (UnitImage, BatteryPlate) {
        let identity = || Identity {
            manufacturer: "m",
            model: "m",
            firmware: "1".to_owned(),
            serial: "1".to_owned(),
        };
        let plate = BatteryPlate { identity: identity(), energy_wh: 10_000, power_w: 5_000 };
        let equipment = Equipment {
            face: MeterFace::SunSpec,
            meter: identity(),
            connection_w: 20_000,
            inverter: None,
            battery: Some(plate.clone()),
        };
        let mut truth = CustomerTruth::unmeasured("C1".parse().expect("an id"));
        truth.voltage_v = 230.0;
        truth.battery = Some(BatteryTruth {
            power_dw: 0,
            state_of_charge: 0.5,
            charged_wh: 0,
            discharged_wh: 0,
        });
        let mut image = DeviceImage::draw(&equipment, &truth);
        (image.units.remove(&3).expect("a battery"), plate)
    }

    #[test]
    fn limits_leave_a_window_and_a_negative_one_commands() {
        let (unit, plate) = battery();
        let base = storage_address(&unit).expect("model 124");
        for (mode, discharge, charge, expected) in [
            (0, 10_000, 10_000, None),
            (3, 10_000, 10_000, Some((-50_000, 50_000))),
            (1, 0, 0, Some((-50_000, 0))),
            (2, 0, 0, Some((0, 50_000))),
            // Between 20 % and 20 % of charging, of discharging.
            (3, -2_000, 2_000, Some((10_000, 10_000))),
            (3, 2_000, -2_000, Some((-10_000, -10_000))),
            (3, -10_000, 0, Some((0, 0))),
        ] {
            let mut levers = Levers::default();
            let words = [discharge, charge].map(|percent: i16| percent.cast_unsigned());
            assert!(levers.write(&unit, base + 12, &words));
            assert!(levers.write(&unit, base + 5, &[mode]));
            let window = expected.map(|(least_dw, most_dw)| Window { least_dw, most_dw });
            assert_eq!(levers.window(&unit, &plate), window, "{mode} {discharge} {charge}");
        }
    }

    #[test]
    fn only_the_points_of_control_can_be_written() {
        let (unit, plate) = battery();
        let base = storage_address(&unit).expect("model 124");
        let mut levers = Levers::default();
        for (at, words, taken) in [
            (base + 8, &[1][..], false),
            (base + 11, &[1, 2], false),
            (base + 15, &[60], true),
            (base + 15, &[60, 0], false),
            (base + 5, &[], false),
            (0, &[1], false),
            (u16::MAX, &[1, 2], false),
        ] {
            assert_eq!(levers.write(&unit, at, words), taken, "{at} {words:?}");
        }
        assert_eq!(levers.reverts_after(&unit), Some(Duration::from_secs(60)));
        assert_eq!(levers.window(&unit, &plate), None, "no mode is set");
        let mut shown = [1, 2, 3];
        levers.overlay(base + 14, &mut shown);
        assert_eq!(shown, [1, 60, 3]);
    }
}
