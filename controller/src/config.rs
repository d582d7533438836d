//! The controller's configuration file: TOML, unknown keys refused, every value checked before
//! anything starts.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clock::ClockConfig;
use market::sharing::Sharing;
use protocol::{Address, public_key_from_hex};
use serde::{Deserialize, Serialize};
use tls::BrokerUrl;
pub use tls::TlsConfig;
use units::{BusId, CommunityId, PointId, Slot};

use crate::rules::{MAX_CORRECT_WITHIN, StreetSharing};

/// What `controller run --config FILE` reads.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the community; part of every signature and topic.
    pub community: CommunityId,
    /// Currency of all prices, an ISO 4217 code.
    #[serde(default = "default_currency")]
    pub currency: String,
    /// Where the database, the keys and the embedded chain live.
    pub data_dir: PathBuf,
    /// Runs market time faster than the system's clock; only for simulated streets.
    #[serde(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockConfig>,
    /// The HTTP API and the web app.
    #[serde(default)]
    pub http: HttpConfig,
    /// The MQTT broker.
    #[serde(default)]
    pub broker: BrokerConfig,
    /// The rounds.
    #[serde(default)]
    pub market: MarketConfig,
    /// The supplier's prices.
    pub tariff: TariffConfig,
    /// The low-voltage network, for the operator's page.
    #[serde(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feeder: Option<FeederConfig>,
    /// The grid that the members trade on; without it everybody is at one place.
    #[serde(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grid: Option<GridConfig>,
    /// What members pay each other, and how the grid operator allocates.
    #[serde(default)]
    pub sharing: Sharing,
    /// Where settlements are anchored.
    #[serde(default)]
    pub chain: ChainConfig,
    /// Producer rewards.
    #[serde(default)]
    pub rewards: RewardConfig,
    /// The members.
    #[serde(default, rename = "household")]
    pub households: Vec<HouseholdConfig>,
}

/// `[http]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Address to listen on; anything but loopback is a deliberate choice.
    pub bind: SocketAddr,
}

/// `[broker]`: one in this process, or any MQTT v5 broker.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BrokerConfig {
    /// Where the broker in the process listens; ignored when `url` is given.
    pub listen: SocketAddr,
    /// `mqtt://host:port` of another broker, or `mqtts://host:port` for TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// User name at that broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// File with the password, readable by its owner only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Whom to believe that it is the broker, and what to prove oneself with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
}

/// `[market]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MarketConfig {
    /// How long before a slot its order gate closes, seconds of market time, 0 to 900.
    pub gate_lead_s: u32,
    /// How long after a slot its readings are waited for, seconds of market time, 1 to 604 800.
    pub metering_deadline_s: u32,
    /// How many slots back a slot is settled again when a meter comes late, 0 (never) to 2976.
    pub correct_within_slots: u32,
    /// How long the solver may take, milliseconds of real time, 10 to 60 000.
    pub solver_deadline_ms: u32,
    /// Most orders in one book.
    pub max_orders: usize,
}

/// `[tariff]`: a file of prices per slot, or two flat prices.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TariffConfig {
    /// CSV with the columns `t` (quarter-hours since 2016-01-01T00:00Z), `NAME_retail_e5` and
    /// `NAME_feedin_e5` (10⁻⁵ currency per kWh).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Which tariff of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Flat retail price, 10⁻⁵ currency per kWh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retail_e5: Option<i64>,
    /// Flat feed-in price, 10⁻⁵ currency per kWh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feed_in_e5: Option<i64>,
}

/// `[feeder]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeederConfig {
    /// Folder that holds grid/buses.csv, grid/lines.csv, grid/transformers.csv and grid/slack.csv.
    pub dir: PathBuf,
}

/// `[grid]`: limits and fees of the network in the auction. Fees and prices in 10⁻⁵ currency per
/// kWh, shares in parts per million. A fee is paid once per tier that energy enters, either way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GridConfig {
    /// Folder of the network, as in `[feeder]`; that one when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// Fee for the street's cables.
    pub street_fee_e5: i64,
    /// Fee for a transformer.
    pub transformer_fee_e5: i64,
    /// Fee for medium voltage.
    pub substation_fee_e5: i64,
    /// Share of the energy that the street's cables lose.
    pub street_loss_ppm: u32,
    /// Share that a transformer loses.
    pub transformer_loss_ppm: u32,
    /// Share that medium voltage loses.
    pub substation_loss_ppm: u32,
    /// What lost energy costs.
    pub loss_price_e5: i64,
    /// Whether cables and transformers limit the trade.
    pub thermal_limits: bool,
    /// Part of every limit that is left alone.
    pub margin_ppm: u32,
    /// Active over apparent power of the trade.
    pub power_factor_ppm: u32,
}

/// `[chain]`: an EVM in this process, or any EVM node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChainConfig {
    /// JSON-RPC address of a node; without it the EVM runs in this process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpc: Option<String>,
    /// EIP-155 id that the chain must have.
    pub chain_id: u64,
    /// Which block counts as final: `latest`, `safe` or `finalized`; by default the latest of the
    /// EVM in this process and the finalized of a node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finality: Option<String>,
    /// File with the key that pays for transactions; default `data_dir/operator.key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Settled slots per anchored epoch, 1 to 960.
    pub anchor_every_slots: u32,
}

/// `[rewards]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RewardConfig {
    /// Thousandths of a token per locally used renewable kWh, 0 to 1 000 000.
    pub millitokens_per_kwh: u64,
    /// Most tokens that may be earned in one slot by all producers together.
    pub max_tokens_per_slot: u64,
}

/// `[[household]]`: one member with its metering point.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HouseholdConfig {
    /// Metering point.
    pub point: PointId,
    /// What the member calls itself; defaults to the point.
    #[serde(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Bus of the feeder it is connected to.
    #[serde(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bus: Option<BusId>,
    /// Ed25519 public key of its agent, 64 hexadecimal digits.
    pub key: String,
    /// Counts up when the key or the meter is exchanged.
    #[serde(default = "first_epoch")]
    pub epoch: u32,
    /// Account that earns its rewards.
    pub payout: Address,
    /// Largest power from the grid, W.
    pub max_import_w: i64,
    /// Largest power to the grid, W.
    pub max_export_w: i64,
    /// Whether what it feeds in is renewable and earns rewards.
    #[serde(default)]
    pub renewable: bool,
    /// `household` or `business`.
    #[serde(default = "default_kind")]
    pub kind: String,
    /// Devices for the pages: `pv`, `battery`, `heat_pump`, `ev`.
    #[serde(default)]
    pub devices: Vec<String>,
}

fn default_currency() -> String {
    "EUR".to_owned()
}

fn default_kind() -> String {
    "household".to_owned()
}

const fn first_epoch() -> u32 {
    1
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { bind: SocketAddr::from(([127, 0, 0, 1], 8080)) }
    }
}

impl Default for BrokerConfig {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 1883));
        Self { listen, url: None, username: None, password_file: None, tls: None }
    }
}

impl Default for MarketConfig {
    fn default() -> Self {
        Self {
            gate_lead_s: 120,
            metering_deadline_s: 900,
            correct_within_slots: 672,
            solver_deadline_ms: 5_000,
            max_orders: 100_000,
        }
    }
}

impl Default for GridConfig {
    fn default() -> Self {
        Self {
            dir: None,
            street_fee_e5: 0,
            transformer_fee_e5: 0,
            substation_fee_e5: 0,
            street_loss_ppm: 0,
            transformer_loss_ppm: 0,
            substation_loss_ppm: 0,
            loss_price_e5: 0,
            thermal_limits: true,
            margin_ppm: 100_000,
            power_factor_ppm: 950_000,
        }
    }
}

impl Default for ChainConfig {
    fn default() -> Self {
        Self { rpc: None, chain_id: 31_337, finality: None, key_file: None, anchor_every_slots: 4 }
    }
}

impl Default for RewardConfig {
    fn default() -> Self {
        Self { millitokens_per_kwh: 1_000, max_tokens_per_slot: 100 }
    }
}

/// Why a configuration is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFault {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is no valid TOML of this form.
    #[error("{}: {source}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        source: Box<toml::de::Error>,
    },
    /// A value is out of its range or contradicts another.
    #[error("{}: {what}: {why}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Which value.
        what: String,
        /// Why it cannot be, and what could.
        why: String,
    },
}

impl Config {
    /// Reads and checks a file; relative paths in it count from its folder.
    ///
    /// # Errors
    /// [`ConfigFault`] names the file, the place and the reason.
    pub fn load(path: &Path) -> Result<Self, ConfigFault> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigFault::Read { path: path.to_owned(), source })?;
        let mut config: Self = toml::from_str(&text).map_err(|source| ConfigFault::Syntax {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        config.anchor_paths(path.parent().unwrap_or(Path::new(".")));
        match config.check() {
            Ok(()) => Ok(config),
            Err((what, why)) => Err(ConfigFault::Value { path: path.to_owned(), what, why }),
        }
    }

    /// As TOML.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration is plain data")
    }

    fn anchor_paths(&mut self, base: &Path) {
        let paths = [
            Some(&mut self.data_dir),
            self.tariff.file.as_mut(),
            self.feeder.as_mut().map(|feeder| &mut feeder.dir),
            self.grid.as_mut().and_then(|grid| grid.dir.as_mut()),
            self.chain.key_file.as_mut(),
            self.broker.password_file.as_mut(),
        ];
        let tls = self.broker.tls.iter_mut().flat_map(TlsConfig::paths_mut);
        for path in paths.into_iter().flatten().chain(tls) {
            *path = base.join(&*path);
        }
    }

    fn check(&self) -> Result<(), (String, String)> {
        // A negative number becomes one that no range contains.
        let fee = |part: fn(&GridConfig) -> i64| {
            self.grid.as_ref().map_or(0, |grid| u64::try_from(part(grid)).unwrap_or(u64::MAX))
        };
        let ranges = [
            ("market.gate_lead_s", u64::from(self.market.gate_lead_s), 0, 900),
            ("market.metering_deadline_s", u64::from(self.market.metering_deadline_s), 1, 604_800),
            (
                "market.correct_within_slots",
                u64::from(self.market.correct_within_slots),
                0,
                u64::from(MAX_CORRECT_WITHIN),
            ),
            ("market.solver_deadline_ms", u64::from(self.market.solver_deadline_ms), 10, 60_000),
            ("chain.anchor_every_slots", u64::from(self.chain.anchor_every_slots), 1, 960),
            ("grid.street_fee_e5", fee(|grid| grid.street_fee_e5), 0, 10_000_000),
            ("grid.transformer_fee_e5", fee(|grid| grid.transformer_fee_e5), 0, 10_000_000),
            ("grid.substation_fee_e5", fee(|grid| grid.substation_fee_e5), 0, 10_000_000),
            ("grid.loss_price_e5", fee(|grid| grid.loss_price_e5), 0, 10_000_000),
            ("rewards.millitokens_per_kwh", self.rewards.millitokens_per_kwh, 0, 1_000_000),
            ("rewards.max_tokens_per_slot", self.rewards.max_tokens_per_slot, 0, 1_000_000_000),
        ];
        for (what, value, low, high) in ranges {
            if !(low..=high).contains(&value) {
                let why = format!("{value} is not between {low} and {high}");
                return Err((what.to_owned(), why));
            }
        }
        let (file, flat) = (self.tariff.file.is_some(), self.tariff.retail_e5.is_some());
        if file == flat || flat != self.tariff.feed_in_e5.is_some() {
            let why = "give either `file` and `name`, or `retail_e5` and `feed_in_e5`";
            return Err(("tariff".to_owned(), why.to_owned()));
        }
        if let Some(finality) = &self.chain.finality
            && !["latest", "safe", "finalized"].contains(&finality.as_str())
        {
            let why = format!("{finality:?} is not latest, safe or finalized");
            return Err(("chain.finality".to_owned(), why));
        }
        self.check_broker()?;
        self.check_households()?;
        self.check_sharing()
    }

    fn check_broker(&self) -> Result<(), (String, String)> {
        let Some(text) = &self.broker.url else {
            let why = "belongs to a `url`: the broker in this process speaks no TLS";
            let stray = self.broker.tls.is_some();
            return if stray { Err(("broker.tls".to_owned(), why.to_owned())) } else { Ok(()) };
        };
        let Some(url) = BrokerUrl::parse(text) else {
            let why = format!("{text:?} is not mqtt://host:port or mqtts://host:port");
            return Err(("broker.url".to_owned(), why));
        };
        let checked = self.broker.tls.as_ref().map_or(Ok(()), |tls| tls.check(&url));
        checked.map_err(|fault| ("broker.tls".to_owned(), fault.to_string()))
    }

    fn check_sharing(&self) -> Result<(), (String, String)> {
        let members = self.households.iter().map(|household| household.point.clone()).collect();
        if let Err(fault) = StreetSharing::new(self.sharing.clone(), &members) {
            return Err(("sharing".to_owned(), fault.to_string()));
        }
        if self.grid.is_some() && !self.sharing.rule.takes_orders() {
            let why = format!(
                "limits and fees of the network are part of the auction, but the rule is \"{}\": \
                 leave [grid] out, or set rule = \"auction\"",
                self.sharing.rule
            );
            return Err(("grid".to_owned(), why));
        }
        Ok(())
    }

    fn check_households(&self) -> Result<(), (String, String)> {
        let (mut points, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for household in &self.households {
            let what = format!("household {}", household.point);
            let fail = |why: String| Err((what.clone(), why));
            if !points.insert(&household.point) {
                return fail("the metering point is enrolled twice".to_owned());
            }
            match public_key_from_hex(&household.key) {
                Err(error) => return fail(format!("key: {error}")),
                Ok(key) if !keys.insert(key.to_bytes()) => {
                    return fail("the key is enrolled for another metering point too".to_owned());
                }
                Ok(_) => {}
            }
            if household.payout == Address::ZERO {
                return fail("payout must be an account, not the zero address".to_owned());
            }
            let powers = [household.max_import_w, household.max_export_w];
            if powers.iter().any(|power| !(0..=10_000_000).contains(power)) {
                return fail("max_import_w and max_export_w are 0 to 10 000 000 W".to_owned());
            }
            if !["household", "business"].contains(&household.kind.as_str()) {
                return fail("kind is `household` or `business`".to_owned());
            }
        }
        Ok(())
    }
}

impl MarketConfig {
    /// The moment at which the order gate of a slot closes, Unix milliseconds.
    #[must_use]
    pub fn gate_ms(&self, slot: Slot) -> i64 {
        slot.start_ms() - i64::from(self.gate_lead_s) * 1_000
    }

    /// The moment until which a slot's readings are waited for, Unix milliseconds.
    #[must_use]
    pub fn deadline_ms(&self, slot: Slot) -> i64 {
        slot.end_ms() + i64::from(self.metering_deadline_s) * 1_000
    }
}
