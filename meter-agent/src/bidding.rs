//! The `[bidding]` part of the configuration: what the owner decides about orders.

use serde::{Deserialize, Serialize};
use units::{Energy, Price};

use crate::config::ConfigError;
use crate::core::forecast::Site;
use crate::core::limits::{Keep, Ready};
use crate::core::policy::{Battery, Car, Style, Wishes};
use crate::core::zone::Zone;

/// Largest battery of a household or a car, kWh, and its power, kW.
const MOST_KWH: f64 = 10_000.0;
/// Most sentences about one thing.
const MOST_SENTENCES: usize = 16;

/// `[bidding]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BiddingConfig {
    /// Whether to bid at all.
    pub enabled: bool,
    /// Kind of policy.
    pub policy: Style,
    /// Part of the gain over the supplier's price that the household insists on, 0 to 100.
    pub insist_percent: f64,
    /// The clock on the wall: a European name or a POSIX rule.
    pub time_zone: String,
    /// Where the plant stands, degrees north; with `longitude`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latitude: Option<f64>,
    /// Degrees east.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longitude: Option<f64>,
    /// The battery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub battery: Option<BatteryConfig>,
    /// The car.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub car: Option<CarConfig>,
}

impl Default for BiddingConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            policy: Style::default(),
            insist_percent: 10.0,
            time_zone: "Europe/Berlin".to_owned(),
            latitude: None,
            longitude: None,
            battery: None,
            car: None,
        }
    }
}

/// `[bidding.battery]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatteryConfig {
    /// What it can hold, kWh.
    pub capacity_kwh: f64,
    /// Most power into it, kW.
    pub charge_kw: f64,
    /// Most power out of it, kW.
    pub discharge_kw: f64,
    /// Part of the charged energy that is stored, percent.
    #[serde(default = "efficiency")]
    pub efficiency_in_percent: f64,
    /// Part of the stored energy that comes out, percent.
    #[serde(default = "efficiency")]
    pub efficiency_out_percent: f64,
    /// What every kWh through it costs in wear, either way, ct.
    #[serde(default)]
    pub wear_ct_per_kwh: f64,
    /// What must stay in it, in words.
    #[serde(default)]
    pub keep: Vec<String>,
}

const fn efficiency() -> f64 {
    95.0
}

/// `[bidding.car]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CarConfig {
    /// What it can hold, kWh.
    pub capacity_kwh: f64,
    /// Most power of the charger, kW.
    pub charge_kw: f64,
    /// When it must have how much, in words.
    pub ready: Vec<String>,
}

impl BiddingConfig {
    /// What the owner decided, exactly.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with the key, what is wrong, and what would be right.
    pub fn wishes(&self) -> Result<Wishes, ConfigError> {
        let insist = number("bidding.insist_percent", self.insist_percent, 0.0, 100.0)?;
        let zone = Zone::parse(&self.time_zone)
            .map_err(|unknown| invalid("bidding.time_zone", unknown.to_string()))?;
        let site = match (self.latitude, self.longitude) {
            (None, None) => None,
            (Some(latitude), Some(longitude)) => Some(Site {
                latitude: number("bidding.latitude", latitude, -90.0, 90.0)?,
                longitude: number("bidding.longitude", longitude, -180.0, 180.0)?,
            }),
            _ => {
                let problem = "latitude and longitude belong together: give both or none";
                return Err(invalid("bidding.latitude", problem.to_owned()));
            }
        };
        let (battery, keep) = match &self.battery {
            Some(config) => (Some(config.facts()?), config.keep()?),
            None => (None, Vec::new()),
        };
        if self.policy == Style::Battery && battery.is_none() {
            let problem = "\"battery\" needs a [bidding.battery] with capacity_kwh, charge_kw and discharge_kw";
            return Err(invalid("bidding.policy", problem.to_owned()));
        }
        let car = self.car.as_ref().map(CarConfig::facts).transpose()?;
        let insist_ppm = scaled(insist, 1e4);
        Ok(Wishes { style: self.policy, insist_ppm, zone, site, battery, keep, car })
    }

    /// What was understood, a sentence per line; `steered` when the owner lets the battery be steered.
    ///
    /// # Errors
    /// As [`BiddingConfig::wishes`].
    pub fn in_words(&self, steered: bool) -> Result<Vec<String>, ConfigError> {
        let wishes = self.wishes()?;
        if !self.enabled {
            return Ok(vec!["no orders are placed: bidding is not enabled".to_owned()]);
        }
        let orders = match wishes.style {
            Style::Passive => "what is forecast, at one price",
            Style::Ladder => "what is certain at almost any price, what is doubtful where it pays",
            Style::Battery => "what house and battery would do at every price",
        };
        let mut lines = vec![
            format!("orders: {orders}"),
            format!("insists on {} % of the gain over the supplier's price", self.insist_percent),
            format!("times are those of {}", wishes.zone.name()),
        ];
        if let Some(site) = wishes.site {
            lines.push(format!("the sun stands over {}° N, {}° E", site.latitude, site.longitude));
        }
        if let Some(config) = &self.battery {
            lines.push(format!(
                "battery: {} kWh, {} kW in, {} kW out, {} % in, {} % out, wear {} ct/kWh",
                config.capacity_kwh,
                config.charge_kw,
                config.discharge_kw,
                config.efficiency_in_percent,
                config.efficiency_out_percent,
                config.wear_ct_per_kwh,
            ));
            lines.extend(wishes.keep.iter().map(|keep| format!("battery: {keep}")));
            lines.push(if steered { SETPOINTS } else { NO_SETPOINTS }.to_owned());
        }
        if let Some(car) = &wishes.car {
            lines.extend(car.ready.iter().map(|ready| format!("car: {ready}")));
            lines.push(NO_CHARGER.to_owned());
        }
        Ok(lines)
    }
}

/// Whether what is decided is done.
const SETPOINTS: &str = "battery: the agent steers it, so that it follows what was traded";
const NO_SETPOINTS: &str = "battery: its owner does not let it be steered; what it does by itself is learned as part of the load";
const NO_CHARGER: &str =
    "car: the agent does not see the charger; the car's energy is ordered as part of the load";

impl BatteryConfig {
    fn facts(&self) -> Result<Battery, ConfigError> {
        let key = |name: &str| format!("bidding.battery.{name}");
        let wh = |name: &str, value: f64, per: f64| {
            let value = number(&key(name), value, 0.1, MOST_KWH)?;
            Ok::<_, ConfigError>(Energy::from_wh(scaled(value, per)))
        };
        let ppm = |name: &str, value: f64| {
            Ok::<_, ConfigError>(scaled(number(&key(name), value, 50.0, 100.0)?, 1e4))
        };
        let wear = number(&key("wear_ct_per_kwh"), self.wear_ct_per_kwh, 0.0, 100.0)?;
        Ok(Battery {
            capacity: wh("capacity_kwh", self.capacity_kwh, 1_000.0)?,
            charge: wh("charge_kw", self.charge_kw, 250.0)?,
            discharge: wh("discharge_kw", self.discharge_kw, 250.0)?,
            efficiency_in_ppm: ppm("efficiency_in_percent", self.efficiency_in_percent)?,
            efficiency_out_ppm: ppm("efficiency_out_percent", self.efficiency_out_percent)?,
            wear: Price::from_nano_per_wh(scaled(wear, 1e4)),
        })
    }

    fn keep(&self) -> Result<Vec<Keep>, ConfigError> {
        let key = "bidding.battery.keep";
        sentences(key, &self.keep)?
            .map(|text| Keep::parse(text).map_err(|unclear| invalid(key, unclear.to_string())))
            .collect()
    }
}

impl CarConfig {
    fn facts(&self) -> Result<Car, ConfigError> {
        let key = "bidding.car.ready";
        let ready: Result<Vec<Ready>, ConfigError> = sentences(key, &self.ready)?
            .map(|text| Ready::parse(text).map_err(|unclear| invalid(key, unclear.to_string())))
            .collect();
        let capacity = number("bidding.car.capacity_kwh", self.capacity_kwh, 0.1, MOST_KWH)?;
        let charge = number("bidding.car.charge_kw", self.charge_kw, 0.1, MOST_KWH)?;
        Ok(Car {
            capacity: Energy::from_wh(scaled(capacity, 1_000.0)),
            charge: Energy::from_wh(scaled(charge, 250.0)),
            ready: ready?,
        })
    }
}

fn sentences<'a>(
    key: &str,
    texts: &'a [String],
) -> Result<std::slice::Iter<'a, String>, ConfigError> {
    if texts.len() > MOST_SENTENCES {
        return Err(invalid(
            key,
            format!("{} sentences are more than {MOST_SENTENCES}", texts.len()),
        ));
    }
    Ok(texts.iter())
}

fn number(key: &str, value: f64, from: f64, to: f64) -> Result<f64, ConfigError> {
    if (from..=to).contains(&value) {
        Ok(value)
    } else {
        Err(invalid(key, format!("{value} is not between {from} and {to}")))
    }
}

/// To a whole number of smaller units.
#[expect(clippy::cast_possible_truncation, reason = "checked to be small")]
fn scaled(value: f64, units: f64) -> i64 {
    (value * units).round() as i64
}

fn invalid(key: &str, problem: String) -> ConfigError {
    ConfigError::Invalid { key: key.to_owned(), problem }
}
