//! The files of a street: keys, one configuration for the controller, one for each household.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use controller::config::{
    BrokerConfig, ChainConfig, Config as ControllerConfig, FeederConfig, HouseholdConfig,
    HttpConfig, MarketConfig, RewardConfig, TariffConfig,
};
use meter_agent::bidding::{BatteryConfig, BiddingConfig};
use meter_agent::config::{
    Config as AgentConfig, ControlConfig, DeviceConfig, DeviceMqttConfig, JournalConfig, KeyConfig,
    MqttConfig, Role,
};
use meter_agent::core::policy::Style;
use units::{BusId, CommunityId, PointId};

use super::DemoOptions;
use crate::faces::{BrokerUrl, Face, FaceKind, UnitRole};
use crate::scenario::{DeviceKind, Scenario};
use crate::world::chance::Chance;
use crate::world::{World, WorldOptions};

/// How long a battery goes on after its agent has died, seconds of real time.
pub const WATCHDOG_S: u32 = 15;

/// Everything that is decided before the first part starts.
pub(crate) struct Plan {
    pub(crate) options: DemoOptions,
    pub(crate) broker: BrokerUrl,
    /// Where the broker in the process listens; none when there is another.
    listen: Option<SocketAddr>,
    community: CommunityId,
    operator: chain::Address,
    /// Which part of the gain each household insists on, percent.
    insists: BTreeMap<PointId, f64>,
}

impl Plan {
    /// Makes keys where there are none and writes the controller's configuration.
    pub(crate) fn make(options: DemoOptions, scenario: &Scenario) -> anyhow::Result<Self> {
        let names: Vec<&str> = scenario.tariffs.iter().map(|tariff| tariff.name.as_str()).collect();
        let Some(tariff) = scenario.tariff(options.tariff.as_deref()) else {
            bail!("there is no such tariff; the scenario has: {}", names.join(", "));
        };
        let (broker, listen) = match &options.broker {
            Some(broker) => (broker.clone(), None),
            None => {
                let listen = free_address()?;
                (BrokerUrl::new(listen.ip().to_string(), listen.port()), Some(listen))
            }
        };
        let community = CommunityId::new(scenario.name.clone())
            .context("the name of the scenario's folder is the name of the community")?;
        std::fs::create_dir_all(&options.data_dir)
            .with_context(|| format!("cannot make {}", options.data_dir.display()))?;
        let tariff = tariff.name.clone();
        let mut plan = Self {
            insists: insists(scenario, options.seed),
            options,
            broker,
            listen,
            community,
            operator: chain::Address::ZERO,
        };
        let config = plan.controller(scenario, tariff)?;
        let file = plan.controller_file();
        std::fs::write(&file, config.to_toml())
            .with_context(|| format!("cannot write {}", file.display()))?;
        plan.operator = controller::run::operator_address(&plan.controller_config()?)?;
        Ok(plan)
    }

    /// Name of the community.
    pub(crate) const fn community(&self) -> &CommunityId {
        &self.community
    }

    pub(crate) fn controller_file(&self) -> PathBuf {
        self.options.data_dir.join("controller.toml")
    }

    pub(crate) fn controller_config(&self) -> anyhow::Result<ControllerConfig> {
        Ok(ControllerConfig::load(&self.controller_file())?)
    }

    fn controller(&self, scenario: &Scenario, tariff: String) -> anyhow::Result<ControllerConfig> {
        let options = &self.options;
        let folder = std::path::absolute(&options.scenario)?;
        Ok(ControllerConfig {
            community: self.community.clone(),
            currency: "EUR".to_owned(),
            data_dir: PathBuf::from("controller"),
            clock: options.clock,
            http: HttpConfig { bind: options.http },
            broker: BrokerConfig {
                listen: self.listen.unwrap_or(BrokerConfig::default().listen),
                url: options.broker.as_ref().map(ToString::to_string),
                username: None,
                password_file: None,
                tls: None,
            },
            market: MarketConfig::default(),
            tariff: TariffConfig {
                file: Some(folder.join("tariffs.csv")),
                name: Some(tariff),
                retail_e5: None,
                feed_in_e5: None,
            },
            feeder: Some(FeederConfig { dir: folder }),
            grid: options.grid.clone(),
            sharing: options.sharing.of(&points(scenario)),
            chain: ChainConfig {
                rpc: options.rpc.as_ref().map(|node| node.url.clone()),
                key_file: match &options.rpc {
                    Some(node) => Some(std::path::absolute(&node.key_file)?),
                    None => None,
                },
                // A node for trying things out makes a block per transaction and then no more, so
                // nothing would ever be finalised there.
                finality: Some("latest".to_owned()),
                anchor_every_slots: options.anchor_every_slots,
                ..ChainConfig::default()
            },
            rewards: RewardConfig::default(),
            households: self.members(scenario)?,
        })
    }

    fn members(&self, scenario: &Scenario) -> anyhow::Result<Vec<HouseholdConfig>> {
        let world_options =
            WorldOptions { seed: self.options.seed, from: self.options.from, mqtt: true };
        let world = World::new(std::sync::Arc::new(scenario.clone()), world_options)?;
        let mut members = Vec::with_capacity(scenario.customers.len());
        for (index, customer) in scenario.customers.iter().enumerate() {
            let key = household_key(&self.household_dir(&customer.id))?;
            let connection_w = i64::from(world.equipment(index).connection_w);
            let owned = scenario.devices.iter().filter(|device| device.customer == index);
            let kinds: Vec<DeviceKind> = owned.map(|device| device.kind).collect();
            members.push(HouseholdConfig {
                point: customer.id.clone(),
                name: None,
                bus: Some(BusId::new(scenario.network.buses()[customer.bus].id.clone())?),
                key: key.public_hex(),
                epoch: 1,
                payout: self.payout(&customer.id)?,
                max_import_w: connection_w,
                max_export_w: connection_w,
                renewable: kinds.iter().any(|kind| kind.is_solar()),
                kind: if customer.kind == "business" { "business" } else { "household" }.to_owned(),
                devices: page_devices(&kinds),
            });
        }
        Ok(members)
    }

    fn household_dir(&self, point: &PointId) -> PathBuf {
        self.options.data_dir.join("households").join(point.as_str())
    }

    /// The account of a household, made on first use.
    fn payout(&self, point: &PointId) -> anyhow::Result<chain::Address> {
        let file = self.household_dir(point).join("payout.key");
        let secret = controller::keys::load_or_create(&file)?;
        Ok(chain::Wallet::from_secret(&secret)?.address())
    }

    /// Writes the configuration of a household's agent.
    pub(crate) fn write_agent(&self, face: &Face) -> anyhow::Result<PathBuf> {
        let steered = face.battery_wh.zip(face.battery_w).filter(|_| self.options.steer);
        let bidding = BiddingConfig {
            insist_percent: self.insists[&face.customer],
            policy: if steered.is_some() { Style::Battery } else { Style::default() },
            battery: steered.map(|(energy_wh, power_w)| battery_facts(energy_wh, power_w)),
            ..BiddingConfig::default()
        };
        let config = AgentConfig {
            community: self.community.clone(),
            point: face.customer.clone(),
            operator: self.operator,
            data_dir: PathBuf::from("."),
            epoch: 1,
            // A clock that is moved by hand waits for the batteries.
            poll_interval_ms: match (steered, self.options.clock) {
                (Some(_), None) => 100,
                _ => 1_000,
            },
            connection_w: i64::from(face.connection_w),
            edge_grace_s: None,
            clock_status: None,
            devices_dir: None,
            key: KeyConfig::default(),
            journal: JournalConfig::default(),
            mqtt: MqttConfig::open(self.broker.to_string()),
            clock: self.options.clock,
            bidding,
            proxy: meter_agent::proxy::Proxies::default(),
            home_assistant: None,
            metrics: None,
            devices: devices(face, steered.map(|(_, power_w)| power_w)),
        };
        let file = self.household_dir(&face.customer).join("agent.toml");
        std::fs::write(&file, config.to_toml())
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }
}

/// The household's key, made on first use.
fn household_key(dir: &Path) -> anyhow::Result<protocol::HouseholdKey> {
    let file = dir.join("household.key");
    std::fs::create_dir_all(dir)?;
    if file.exists() {
        Ok(meter_agent::key_file::load(&file)?)
    } else {
        Ok(meter_agent::key_file::create(&file)?)
    }
}

/// What each household insists on, drawn so that a street has a curve and not a cliff: 5 to 45 % of
/// the gain.
fn insists(scenario: &Scenario, seed: u64) -> BTreeMap<PointId, f64> {
    let mut chance = Chance::new(seed, "bidding");
    let mut draw = || {
        let percent = chance.between(5, 45);
        f64::from(u32::try_from(percent).expect("a percentage"))
    };
    scenario.customers.iter().map(|customer| (customer.id.clone(), draw())).collect()
}

/// The words that the pages know.
fn page_devices(kinds: &[DeviceKind]) -> Vec<String> {
    let has = |wanted: &[DeviceKind]| kinds.iter().any(|kind| wanted.contains(kind));
    let words = [
        ("pv", has(&[DeviceKind::Pv, DeviceKind::PvBattery])),
        ("battery", has(&[DeviceKind::PvBattery])),
        ("heat_pump", has(&[DeviceKind::HeatPump])),
        ("ev", has(&[DeviceKind::EvHome, DeviceKind::EvWork])),
    ];
    words.into_iter().filter(|(_, has)| *has).map(|(word, _)| word.to_owned()).collect()
}

fn battery_facts(energy_wh: u32, power_w: u32) -> BatteryConfig {
    let kilo = |of: u32| f64::from(of) / 1_000.0;
    BatteryConfig {
        capacity_kwh: kilo(energy_wh),
        charge_kw: kilo(power_w),
        discharge_kw: kilo(power_w),
        efficiency_in_percent: 95.0,
        efficiency_out_percent: 95.0,
        wear_ct_per_kwh: 0.0,
        keep: Vec::new(),
    }
}

/// How an agent reads the devices of a house, and steers its battery up to so many watts.
pub(crate) fn devices(face: &Face, steered_w: Option<u32>) -> Vec<DeviceConfig> {
    let leave = |power_w| ControlConfig {
        enabled: true,
        max_charge_w: Some(power_w),
        max_discharge_w: Some(power_w),
        watchdog_s: Some(WATCHDOG_S),
        ..ControlConfig::default()
    };
    let modbus = |name: &str, role: Role, map: &str, unit: Option<u8>| {
        Some(DeviceConfig {
            host: Some(face.kind.modbus_addr()?.to_string()),
            unit: Some(unit?),
            ..DeviceConfig::new(name, role, map)
        })
    };
    let mqtt = |map: &str, topic: &str| DeviceConfig {
        mqtt: Some(DeviceMqttConfig { topic: topic.to_owned(), broker: None, max_age_s: 3_600 }),
        ..DeviceConfig::new("meter", Role::Meter, map)
    };
    let meter = match &face.kind {
        FaceKind::Shelly { topic_prefix } => return vec![mqtt("shelly-gen2", topic_prefix)],
        // It forgets when it loses power, which a simulated one does not; its owner accepts that.
        FaceKind::Tasmota { topic } => {
            return vec![DeviceConfig { allow_resetting: true, ..mqtt("tasmota", topic) }];
        }
        FaceKind::Dsmr { topic_prefix } => return vec![mqtt("dsmr-reader", topic_prefix)],
        FaceKind::SunSpec { .. } => "sunspec-meter-203",
        FaceKind::Sdm630 { .. } => "eastron-sdm630",
    };
    let unit = |role: UnitRole| face.kind.unit_of(role);
    [
        modbus("meter", Role::Meter, meter, unit(UnitRole::Meter)),
        modbus("inverter", Role::Pv, "sunspec-inverter-103", unit(UnitRole::Inverter)),
        modbus("battery", Role::Battery, "sunspec-battery-802", unit(UnitRole::Battery))
            .map(|battery| DeviceConfig { control: steered_w.map(leave), ..battery }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn points(scenario: &Scenario) -> Vec<PointId> {
    scenario.customers.iter().map(|customer| customer.id.clone()).collect()
}

/// A port that nobody listens on right now.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(probe.local_addr()?)
}
