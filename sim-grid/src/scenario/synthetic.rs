//! A street made from a seed: as many houses and days as a measurement needs, and no file.
//!
//! Houses stand along lanes of twenty behind one transformer station that grows with the street.
//! Loads have a morning and an evening hump and a personal size; roofs follow the length of the day
//! and the day's clouds, which all share. Everything is whole numbers, so a seed gives the same
//! street on every machine.

use std::str::FromStr;

use feeder::{Bus, Line, Network, NetworkParts, Slack, Transformer};
use units::{PointId, Slot};

use super::people::{BatteryRating, Customer, Device, DeviceKind};
use super::series::Series;
use super::tariff::Tariff;
use super::timeline::{EPOCH, Timeline};
use super::{Profiles, Scenario};
use crate::world::chance::Chance;

/// Houses along one cable.
const LANE: u32 = 20;
/// Houses behind one 400-kVA transformer.
const STATION: u32 = 100;
/// First day: 1 June 2016, counted from 1 January.
const FIRST_DAY: i64 = 152;
/// Days of 2016.
const YEAR: i64 = 366;

/// What to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synthetic {
    /// Number of houses, 1 to 10 000.
    pub houses: u32,
    /// Number of days, 1 to 366.
    pub days: u32,
    /// Every how many houses there is a roof with PV; 0 for none.
    pub pv_every: u32,
    /// Every how many houses the roof has a battery; 0 for none.
    pub battery_every: u32,
    /// Seed of everything drawn.
    pub seed: u64,
}

impl Default for Synthetic {
    /// A day of a hundred houses, every second with PV, every fourth with a battery.
    fn default() -> Self {
        Self { houses: 100, days: 1, pv_every: 2, battery_every: 4, seed: 1 }
    }
}

impl FromStr for Synthetic {
    type Err = String;

    /// Reads `houses=100,days=1,pv=2,battery=4,seed=1`; what is left out is as by default.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut synthetic = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| format!("{part:?} is not of the form houses=100"))?;
            let number = |range: std::ops::RangeInclusive<u32>| -> Result<u32, String> {
                let found = value.parse().ok().filter(|number| range.contains(number));
                let (low, high) = (range.start(), range.end());
                found.ok_or_else(|| {
                    format!("{name} is a number from {low} to {high}, not {value:?}")
                })
            };
            match name {
                "houses" => synthetic.houses = number(1..=10_000)?,
                "days" => synthetic.days = number(1..=366)?,
                "pv" => synthetic.pv_every = number(0..=10_000)?,
                "battery" => synthetic.battery_every = number(0..=10_000)?,
                "seed" => synthetic.seed = u64::from(number(0..=u32::MAX)?),
                _ => {
                    return Err(format!(
                        "{name:?} is nothing a street is made from; choose from houses, days, pv, battery, seed"
                    ));
                }
            }
        }
        Ok(synthetic)
    }
}

impl Synthetic {
    /// Makes the street. Tariffs are `flat`, and `tou` with dear evenings and cheap noons.
    #[must_use]
    pub fn scenario(&self) -> Scenario {
        let network = self.network();
        let mut customers = Vec::new();
        let mut devices = Vec::new();
        let mut profiles = Vec::new();
        let sky = self.sky();
        for house in 0..self.houses {
            let id = format!("H{:05}", house + 1);
            let bus = network.bus_index(&bus_of(house)).expect("every house has its bus");
            let customer = customers.len();
            customers.push(Customer {
                id: PointId::new(id.as_str()).expect("letters and digits"),
                bus,
                kind: "household".to_owned(),
            });
            let mut chance = Chance::new(self.seed ^ (u64::from(house) << 32), "house");
            let mut device = |name: &str, kind, rated_w, battery| {
                let id = format!("{id}.{name}");
                devices.push(Device { id, customer, kind, rated_w, battery });
            };
            let (base, reactive) = self.load(&mut chance);
            device("base", DeviceKind::Base, 6_000, None);
            let mut profile =
                Profiles { base: Some(base), reactive: Some(reactive), ..Profiles::default() };
            let every = |count: u32| count > 0 && (house + 1).is_multiple_of(count);
            let rated_w = u32::try_from(chance.between(40, 101)).expect("small") * 100;
            if every(self.battery_every) {
                let energy_wh = rated_w;
                let power_w = rated_w / 2;
                let rating = BatteryRating { energy_wh, power_w, efficiency_ppm: 950_000 };
                device("pvb", DeviceKind::PvBattery, rated_w, Some(rating));
                profile.pv_battery = Some(roof(&sky, rated_w));
                profile.runs_battery = true;
            } else if every(self.pv_every) {
                device("pv", DeviceKind::Pv, rated_w, None);
                profile.pv = Some(roof(&sky, rated_w));
            }
            profiles.push(profile);
        }
        let timeline = Timeline::consecutive(EPOCH.offset(FIRST_DAY * Slot::PER_DAY), self.slots());
        Scenario {
            name: format!("synthetic-{}-{}", self.houses, self.seed),
            network,
            customers,
            devices,
            timeline,
            profiles,
            tariffs: self.tariffs(),
        }
    }

    fn slots(&self) -> usize {
        self.days as usize * 96
    }

    fn network(&self) -> Network {
        let stations = f64::from(self.houses.div_ceil(STATION));
        let bus = |id: String, vn_kv: f64| Bus { id, vn_kv };
        let mut parts = NetworkParts {
            buses: vec![bus("MV".to_owned(), 20.0), bus("LV".to_owned(), 0.4)],
            slacks: vec![Slack { bus: "MV".to_owned(), vm_pu: 1.0, va_degree: 0.0 }],
            transformers: vec![Transformer {
                id: "T1".to_owned(),
                hv_bus: "MV".to_owned(),
                lv_bus: "LV".to_owned(),
                sn_kva: 400.0 * stations,
                vn_hv_kv: 20.0,
                vn_lv_kv: 0.4,
                ratio_pu: 1.0,
                r_lv_ohm: 0.004_6 / stations,
                x_lv_ohm: 0.023_5 / stations,
            }],
            lines: Vec::new(),
        };
        for house in 0..self.houses {
            // 30 m of NAYY 4x150: 0.206 and 0.080 ohm per km, 270 A.
            parts.lines.push(Line {
                id: format!("L{:05}", house + 1),
                from_bus: if house % LANE == 0 { "LV".to_owned() } else { bus_of(house - 1) },
                to_bus: bus_of(house),
                length_m: Some(30.0),
                r_ohm: 0.006_18,
                x_ohm: 0.002_4,
                max_i_ka: 0.27,
            });
            parts.buses.push(bus(bus_of(house), 0.4));
        }
        Network::new(parts).expect("lanes behind a transformer are a tree")
    }

    /// Base load and its reactive part, 0.1 W and 0.1 var.
    fn load(&self, chance: &mut Chance) -> (Series, Series) {
        let size = i64::try_from(chance.between(60, 180)).expect("a percentage");
        let mut spell = 0;
        let power = |slot: usize| -> i32 {
            let quarter = slot % 96;
            let (hour, part) = (quarter / 4, i64::try_from(quarter % 4).expect("small"));
            let (now, next) = (HOURS_W[hour], HOURS_W[(hour + 1) % 24]);
            let smooth = now + (next - now) * part / 4;
            // A kettle, an oven, a washing machine: now and then, for a while.
            if spell == 0 && chance.between(0, 40) == 0 {
                spell = chance.between(1, 6);
            }
            let extra = if spell > 0 { 900 } else { 0 };
            spell = spell.saturating_sub(1);
            let noise = i64::try_from(chance.between(70, 131)).expect("a percentage");
            let w = (smooth * noise / 100 + extra) * size / 100;
            i32::try_from(w * 10).expect("a household's load")
        };
        let base: Series = (0..self.slots()).map(power).collect();
        let reactive = base.iter().map(|power| power / 5).collect();
        (base, reactive)
    }

    /// Output of a roof per slot, in millionths of its rating: sun and clouds, shared by all.
    fn sky(&self) -> Vec<i64> {
        let mut chance = Chance::new(self.seed, "sky");
        let mut clear = 100;
        let mut sky = Vec::with_capacity(self.slots());
        for slot in 0..self.slots() {
            let (day, quarter) = (slot / 96, i64::try_from(slot % 96).expect("small"));
            if quarter == 0 {
                clear = i64::try_from(chance.between(30, 101)).expect("a percentage");
            }
            // Days of 8 to 16 hours, longest on day 172.
            let of_year = (FIRST_DAY + i64::try_from(day).expect("days")) % YEAR;
            let apart = (of_year - 172).abs().min(YEAR - (of_year - 172).abs());
            let half = 32 - 16 * apart / 183;
            let from_noon = (quarter - 50).abs();
            let height = (half * half - from_noon * from_noon).max(0) * 1_000_000 / (32 * 32);
            let gust = i64::try_from(chance.between(80, 101)).expect("a percentage");
            sky.push(height * clear / 100 * gust / 100 * 85 / 100);
        }
        sky
    }

    fn tariffs(&self) -> Vec<Tariff> {
        let slots = self.slots();
        let hour = |slot: usize| slot % 96 / 4;
        let tou = |slot: usize| match hour(slot) {
            17..21 => 38_000,
            11..15 => 22_000,
            _ => 28_000,
        };
        let tariff = |name: &str, retail_e5: Vec<i32>| Tariff {
            name: name.to_owned(),
            retail_e5,
            feed_in_e5: vec![8_000; slots],
        };
        vec![tariff("flat", vec![30_000; slots]), tariff("tou", (0..slots).map(tou).collect())]
    }
}

/// Base load by hour of the day, W.
const HOURS_W: [i64; 24] = [
    180, 150, 140, 140, 150, 190, 320, 420, 380, 310, 290, 330, 390, 350, 300, 290, 340, 480, 620,
    680, 610, 480, 340, 240,
];

fn bus_of(house: u32) -> String {
    format!("B{:05}", house + 1)
}

fn roof(sky: &[i64], rated_w: u32) -> Series {
    let power = |ppm: &i64| i32::try_from(ppm * i64::from(rated_w) / 100_000);
    sky.iter().map(|ppm| power(ppm).expect("a roof's power")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_street_is_made_as_described_and_repeats() {
        let text = "houses=45,days=2,seed=7";
        let synthetic: Synthetic = text.parse().expect("a street");
        let street = synthetic.scenario();
        assert_eq!(street.customers.len(), 45);
        assert_eq!(street.timeline.len(), 192);
        let count = |kind| street.devices.iter().filter(|device| device.kind == kind).count();
        assert_eq!(count(DeviceKind::PvBattery), 11);
        assert_eq!(count(DeviceKind::Pv), 11);
        assert_eq!(street.profiles, synthetic.scenario().profiles);
        let other: Synthetic = "houses=45,days=2,seed=8".parse().expect("a street");
        assert_ne!(street.profiles, other.scenario().profiles);
    }

    #[test]
    fn nonsense_is_refused_with_what_would_be_right() {
        for (text, expected) in [
            ("houses=0", "houses is a number from 1 to 10000, not \"0\""),
            ("days=x", "days is a number from 1 to 366, not \"x\""),
            ("houses", "\"houses\" is not of the form houses=100"),
            (
                "cats=3",
                "\"cats\" is nothing a street is made from; choose from houses, days, pv, battery, seed",
            ),
        ] {
            assert_eq!(text.parse::<Synthetic>(), Err(expected.to_owned()), "{text}");
        }
    }
}
