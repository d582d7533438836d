//! What a community writes down about its grid and its key: a file in the words that a live street's
//! configuration uses in `[grid]` and `[sharing]`.
//!
//! Fees and prices are in 10⁻⁵ currency per kWh, shares in parts per million. The building tier is
//! what a live street does not have: the connection that everything passes which leaves or enters a
//! bus with customers.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use market::sharing::{Inside, Key, Rule, Sharing};
use market::{GridRules, TierRule};
use serde::Deserialize;
use units::Price;

use super::error::BacktestError;
use super::network::Fees;
use super::text::cents;
use crate::scenario::Scenario;

/// The file's name in a scenario's folder.
pub const RULES_FILE: &str = "rules.toml";

/// Grid and key of a community.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Community {
    /// Fees, losses and margins of the tiers.
    pub grid: GridRules,
    /// Whether cables and transformers limit the trade.
    pub thermal_limits: bool,
    /// What members pay each other and how the grid operator allocates; the key is what
    /// [`OwnKey`](super::Rule::OwnKey) applies.
    pub sharing: Sharing,
    /// Where this was read.
    file: String,
}

impl Default for Community {
    /// No fees, the cables' own limits, no key.
    fn default() -> Self {
        Self {
            grid: GridRules::default(),
            thermal_limits: true,
            sharing: Sharing::default(),
            file: RULES_FILE.to_owned(),
        }
    }
}

impl Community {
    /// Reads the file of a scenario's folder; without one, nothing is agreed.
    ///
    /// # Errors
    /// [`BacktestError::Rules`] with the file, the place in it and the reason.
    pub fn of_folder(folder: &Path) -> Result<Self, BacktestError> {
        let file = folder.join(RULES_FILE);
        match std::fs::read_to_string(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            read => Self::parse(&file, read),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`BacktestError::Rules`] with the file, the place in it and the reason.
    pub fn read(file: &Path) -> Result<Self, BacktestError> {
        Self::parse(file, std::fs::read_to_string(file))
    }

    fn parse(file: &Path, text: std::io::Result<String>) -> Result<Self, BacktestError> {
        let file = file.display().to_string();
        let refused = |reason: String| BacktestError::Rules { file: file.clone(), reason };
        let text = text.map_err(|error| refused(error.to_string()))?;
        let written: Written =
            toml::from_str(&text).map_err(|error| refused(error.to_string().trim_end().into()))?;
        if written.grid.dir.is_some() {
            let reason = "[grid] dir: the network is the scenario's own; leave `dir` out";
            return Err(refused(reason.to_owned()));
        }
        let grid = written.grid.rules();
        grid.check().map_err(|fault| refused(format!("[grid]: {fault}")))?;
        if matches!(written.sharing.key, Key::Pairs { .. }) {
            let reason = "[sharing] key: \"pairs\" follows the auction's trades; look at the rule \
                          auction, or choose another key";
            return Err(refused(reason.to_owned()));
        }
        let (thermal_limits, sharing) = (written.grid.thermal_limits, written.sharing);
        Ok(Self { grid, thermal_limits, sharing, file })
    }

    /// With other fees for the tiers that are named.
    #[must_use]
    pub fn with_fees(mut self, fees: &Fees) -> Self {
        let grid = &mut self.grid;
        for (tier, fee) in [
            (&mut grid.building, fees.building),
            (&mut grid.street, fees.street),
            (&mut grid.transformer, fees.transformer),
            (&mut grid.substation, fees.substation),
        ] {
            tier.fee = fee.unwrap_or(tier.fee);
        }
        self
    }

    /// Whether there is a key to test.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.sharing.key != Key::None
    }

    /// Whether rule and key fit together and name customers only.
    pub(super) fn check(&self, scenario: &Scenario) -> Result<(), BacktestError> {
        let members: BTreeSet<_> = scenario.customers.iter().map(|one| one.id.clone()).collect();
        self.sharing.check(&members).map_err(|fault| BacktestError::Rules {
            file: self.file.clone(),
            reason: format!("[sharing]: {fault}"),
        })
    }

    /// What allocated energy costs.
    pub(super) const fn price(&self) -> Inside {
        match self.sharing.rule {
            Rule::Allocated { price } => price,
            _ => Inside::Middle,
        }
    }

    /// The key and its price in words; nothing without a key.
    pub(super) fn key_in_words(&self) -> Option<String> {
        let many = |count: usize, one: &str| match count {
            1 => format!("1 {one}"),
            more => format!("{more} {one}s"),
        };
        let key = match &self.sharing.key {
            Key::None | Key::Pairs { .. } => return None,
            Key::ProRata => "in proportion to use".to_owned(),
            Key::Static { rounds, .. } => {
                format!("by fixed parts, {}", many(usize::from(rounds.get()), "round"))
            }
            Key::Cascade { levels } => {
                format!("level by level, {}", many(levels.levels().len(), "level"))
            }
            Key::Hierarchical { tiers } => {
                format!("group by group, {}", many(tiers.len(), "tier"))
            }
        };
        Some(match self.price() {
            Inside::Middle => format!("{key}, at the middle price"),
            Inside::Fixed(price) => format!("{key}, at {} ct/kWh", cents(price.nano_per_wh())),
        })
    }
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    grid: WrittenGrid,
    sharing: Sharing,
}

/// `[grid]`, in the words of `street.toml`, and a building.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WrittenGrid {
    dir: Option<String>,
    building_fee_e5: i32,
    street_fee_e5: i32,
    transformer_fee_e5: i32,
    substation_fee_e5: i32,
    building_loss_ppm: u32,
    street_loss_ppm: u32,
    transformer_loss_ppm: u32,
    substation_loss_ppm: u32,
    loss_price_e5: i32,
    thermal_limits: bool,
    margin_ppm: u32,
    power_factor_ppm: u32,
}

impl Default for WrittenGrid {
    fn default() -> Self {
        let GridRules { margin_ppm, power_factor_ppm, .. } = GridRules::default();
        Self {
            dir: None,
            building_fee_e5: 0,
            street_fee_e5: 0,
            transformer_fee_e5: 0,
            substation_fee_e5: 0,
            building_loss_ppm: 0,
            street_loss_ppm: 0,
            transformer_loss_ppm: 0,
            substation_loss_ppm: 0,
            loss_price_e5: 0,
            thermal_limits: true,
            margin_ppm,
            power_factor_ppm,
        }
    }
}

impl WrittenGrid {
    fn rules(&self) -> GridRules {
        let price = |e5: i32| Price::from_e5_per_kwh(i64::from(e5));
        let tier = |fee_e5, loss_ppm| TierRule { fee: price(fee_e5), loss_ppm };
        GridRules {
            building: tier(self.building_fee_e5, self.building_loss_ppm),
            street: tier(self.street_fee_e5, self.street_loss_ppm),
            transformer: tier(self.transformer_fee_e5, self.transformer_loss_ppm),
            substation: tier(self.substation_fee_e5, self.substation_loss_ppm),
            loss_price: price(self.loss_price_e5),
            power_factor_ppm: self.power_factor_ppm,
            margin_ppm: self.margin_ppm,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Synthetic;

    fn read(text: &str) -> Result<Community, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(RULES_FILE);
        std::fs::write(&file, text).expect("a file");
        let read = Community::of_folder(folder.path());
        read.map_err(|error| error.to_string().replace(&file.display().to_string(), "FILE"))
    }

    #[test]
    fn a_file_says_grid_and_key() {
        let community = read(
            "[grid]\nbuilding_fee_e5 = 100\nstreet_fee_e5 = 1_200\ntransformer_fee_e5 = 2_000\n\
             substation_fee_e5 = 500\nstreet_loss_ppm = 20_000\nloss_price_e5 = 10_000\n\
             thermal_limits = false\n[sharing]\nrule = { allocated = { price = { fixed = 180_000 } } }\n\
             key = { cascade = { levels = [[\"H00001\"], [\"H00002\", \"H00003\"]] } }\n",
        )
        .expect("every word is known");
        let e5 = Price::from_e5_per_kwh;
        assert_eq!(community.grid.building.fee, e5(100));
        assert_eq!(community.grid.fee(market::Tier::Street), e5(1_400));
        assert_eq!(community.grid.substation.fee, e5(500));
        assert!(!community.thermal_limits && community.has_key());
        assert_eq!(
            community.key_in_words().as_deref(),
            Some("level by level, 2 levels, at 18.00 ct/kWh")
        );
        community.check(&Synthetic { houses: 3, ..Synthetic::default() }.scenario()).expect("all");
        let fees = "street=0.5,building=0".parse().expect("fees");
        let other = community.with_fees(&fees);
        assert_eq!((other.grid.building.fee, other.grid.street.fee), (Price::ZERO, e5(500)));
        assert_eq!(other.grid.transformer.fee, e5(2_000));
        assert_eq!(read("").map(|nothing| nothing.grid), Ok(GridRules::default()));
        let nowhere = Community::of_folder(Path::new("/nowhere")).expect("nothing is agreed");
        assert_eq!(nowhere, Community::default());
    }

    #[test]
    fn a_live_street_s_grid_is_understood() {
        let config = controller::config::GridConfig {
            street_fee_e5: 1_200,
            margin_ppm: 200_000,
            ..controller::config::GridConfig::default()
        };
        let text = toml::to_string(&config).expect("plain values");
        let community = read(&format!("[grid]\n{text}")).expect("the same words");
        assert_eq!(community.grid.street.fee, Price::from_e5_per_kwh(1_200));
        assert_eq!(community.grid.margin_ppm, 200_000);
        let mut plain = community.grid;
        (plain.street.fee, plain.margin_ppm) = (Price::ZERO, GridRules::default().margin_ppm);
        assert_eq!(plain, GridRules::default(), "and the same defaults");
    }

    #[test]
    fn what_is_wrong_is_refused_with_file_and_reason() {
        let static_of =
            |parts: &str| format!("[sharing]\nkey = {{ static = {{ keys = {{ {parts} }} }} }}");
        for (text, expected) in [
            ("[gird]\n", "unknown field `gird`, expected `grid` or `sharing`"),
            ("[grid]\nstreet_fee = 1\n", "unknown field `street_fee`, expected one of"),
            ("[grid]\nstreet_fee_e5 = 1.5\n", "invalid type: floating point `1.5`, expected i32"),
            ("[grid]\nstreet_fee_e5 = -5\n", "FILE: [grid]: street fee -0.0050 ct/kWh is negative"),
            (
                "[grid]\nmargin_ppm = 2_000_000\n",
                "FILE: [grid]: margin of 2000000 parts per million must be at most 1000000",
            ),
            ("[grid]\ndir = \"grid\"\n", "FILE: [grid] dir: the network is the scenario's own"),
            ("[sharing]\nkey = \"first-come\"\n", "unknown variant `first-come`"),
            (
                &static_of("H00001 = 900_000"),
                "the parts of a static key add up to 900000, not to 1000000",
            ),
            (
                "[sharing]\nkey = { pairs = { then = \"pro-rata\" } }\n",
                "\"pairs\" follows the auction's trades",
            ),
        ] {
            let told = read(text).expect_err(text);
            assert!(told.starts_with("FILE: ") && told.contains(expected), "{text}: {told}");
        }
        let street = Synthetic { houses: 2, ..Synthetic::default() }.scenario();
        for (text, expected) in [
            (
                static_of("H00001 = 900_000, H00009 = 100_000"),
                "[sharing]: the key names H00009, which is not a metering point of the community",
            ),
            (
                "[sharing]\nrule = { allocated = { price = \"middle\" } }\n".to_owned(),
                "[sharing]: the rule \"allocated\" bills what a key allocates, but the key is \"none\"",
            ),
        ] {
            let told = read(&text).expect("well written").check(&street).expect_err(&text);
            assert!(told.to_string().ends_with(expected), "{told}");
        }
        let told = Community::read(Path::new("/nowhere/r.toml")).expect_err("no file").to_string();
        assert!(told.starts_with("/nowhere/r.toml: No such file"), "{told}");
    }
}
