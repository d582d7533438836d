//! A street to simulate: a folder of CSV files, checked as a whole before anything runs.
//!
//! `customers.csv`, `devices.csv`, `tariffs.csv`, the four files of `grid/`, and in `ts/`:
//!
//! | file | needed |
//! |---|---|
//! | `base_p_kw`, `hp_p_kw`, `ev_p_kw`, `pv_p_kw` | when a device of that kind exists |
//! | `pvbat_raw_pv_p_kw` | the PV behind a battery that the simulation runs itself |
//! | `pvbat_p_kw` | PV and battery together, when the raw PV is not there |
//! | `load_q_kvar` | when there is any load |
//! | `load_wh`, `gen_wh` | never; checked against the powers when there |
//!
//! `orders_TARIFF.csv` is read on its own, by those who ask for it ([`Orders`]); expected results are
//! not read. `tariffs.csv` sets the steps (see [`Timeline`]); every
//! series must have the same. Powers finer than 0.1 W are rounded to it.

mod error;
mod moment;
mod orders;
mod people;
mod series;
mod synthetic;
mod tariff;
mod timeline;

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use feeder::{Network, TableError};
use units::Slot;

pub use error::{Flaw, ScenarioError};
pub use moment::{parse_minute, parse_slot};
pub use orders::{Orders, Wish};
pub use people::{BatteryRating, Customer, Device, DeviceKind};
pub use series::{Series, wh_of_slot};
pub use synthetic::Synthetic;
pub use tariff::Tariff;
pub use timeline::{Block, Timeline, t_of_slot};

use series::{SeriesFile, Sign};

/// What one customer uses and produces; `None` where there is no such device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profiles {
    /// Everything without a device of its own.
    pub base: Option<Series>,
    /// All heat pumps together.
    pub heat_pump: Option<Series>,
    /// All EV chargers together.
    pub ev: Option<Series>,
    /// Reactive power of all loads, 0.1 var.
    pub reactive: Option<Series>,
    /// PV without a battery.
    pub pv: Option<Series>,
    /// PV behind a battery: before it when `runs_battery`, otherwise after it.
    pub pv_battery: Option<Series>,
    /// PV and battery together as the pack publishes them, beside the raw PV of `pv_battery`.
    pub published: Option<Series>,
    /// Whether `pv_battery` is the raw PV, so that the battery is the simulation's to run.
    pub runs_battery: bool,
}

impl Profiles {
    /// Consumption in a row, 0.1 W.
    #[must_use]
    pub fn load(&self, row: usize) -> i64 {
        [&self.base, &self.heat_pump, &self.ev].into_iter().map(|series| at(series, row)).sum()
    }

    /// Generation in a row before any battery that the simulation runs, 0.1 W.
    #[must_use]
    pub fn generation(&self, row: usize) -> i64 {
        at(&self.pv, row) + at(&self.pv_battery, row)
    }

    /// Generation in a row as the pack publishes it, behind the battery that ran there, 0.1 W. The
    /// raw PV where nothing else is published.
    #[must_use]
    pub fn published_generation(&self, row: usize) -> i64 {
        let behind = if self.published.is_some() { &self.published } else { &self.pv_battery };
        at(&self.pv, row) + at(behind, row)
    }
}

fn at(series: &Option<Series>, row: usize) -> i64 {
    series.as_ref().and_then(|series| series.get(row)).map_or(0, |power| i64::from(*power))
}

/// A loaded and checked scenario.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Name of its folder.
    pub name: String,
    /// The feeder.
    pub network: Network,
    /// Who lives there.
    pub customers: Vec<Customer>,
    /// What they own.
    pub devices: Vec<Device>,
    /// Which slots are covered.
    pub timeline: Timeline,
    /// Per customer.
    pub profiles: Vec<Profiles>,
    /// At least one.
    pub tariffs: Vec<Tariff>,
}

impl Scenario {
    /// Reads and checks a folder.
    ///
    /// # Errors
    /// [`ScenarioError`] with file, line and reason.
    pub fn load(folder: &Path) -> Result<Self, ScenarioError> {
        if !folder.is_dir() {
            return Err(ScenarioError::NoFolder(folder.to_owned()));
        }
        let files = Folder(folder.to_owned());
        let network = Network::read(|file| files.open_raw(file))?;
        let customers = people::read_customers(files.open(people::CUSTOMERS)?, &network)?;
        let devices = people::read_devices(files.open(people::DEVICES)?, &network, &customers)?;
        let (timeline, tariffs) = tariff::read_tariffs(files.open(timeline::MASTER)?)?;
        let street =
            Street { files, customers: &customers, devices: &devices, timeline: &timeline };
        let profiles = street.read_profiles()?;
        let name = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let name = name.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
        Ok(Self { name, network, customers, devices, timeline, profiles, tariffs })
    }

    /// A tariff by name; without a name the first of the file.
    #[must_use]
    pub fn tariff(&self, name: Option<&str>) -> Option<&Tariff> {
        match name {
            None => self.tariffs.first(),
            Some(name) => self.tariffs.iter().find(|tariff| tariff.name == name),
        }
    }

    /// How many slots can be run from this one without a break; 0 outside of the scenario.
    #[must_use]
    pub fn slots_from(&self, slot: Slot) -> usize {
        self.timeline.block_of(slot).map_or(0, |block| {
            usize::try_from(block.end().number() - slot.number()).expect("inside of the block")
        })
    }
}

/// The files of a scenario, by the names that messages use.
struct Folder(PathBuf);

impl Folder {
    fn open_raw(&self, file: &str) -> io::Result<BufReader<File>> {
        File::open(self.0.join(file)).map(BufReader::new)
    }

    fn open(&self, file: &str) -> Result<BufReader<File>, TableError> {
        self.open_raw(file).map_err(|source| TableError::Open { file: file.to_owned(), source })
    }

    fn has(&self, file: &str) -> bool {
        self.0.join(file).exists()
    }
}

/// What is known before the series are read.
struct Street<'s> {
    files: Folder,
    customers: &'s [Customer],
    devices: &'s [Device],
    timeline: &'s Timeline,
}

const BASE: &str = "ts/base_p_kw.csv";
const HEAT_PUMP: &str = "ts/hp_p_kw.csv";
const EV: &str = "ts/ev_p_kw.csv";
const REACTIVE: &str = "ts/load_q_kvar.csv";
const PV: &str = "ts/pv_p_kw.csv";
const PV_BATTERY: &str = "ts/pvbat_p_kw.csv";
const PV_BATTERY_RAW: &str = "ts/pvbat_raw_pv_p_kw.csv";
const LOAD_WH: &str = "ts/load_wh.csv";
const GEN_WH: &str = "ts/gen_wh.csv";

impl Street<'_> {
    fn read_profiles(&self) -> Result<Vec<Profiles>, ScenarioError> {
        use DeviceKind::{Base, EvHome, EvWork, HeatPump, Pv};
        let base = self.claimed(BASE, "base", &[Base], Sign::NotNegative)?;
        let heat_pump = self.claimed(HEAT_PUMP, "heat_pump", &[HeatPump], Sign::NotNegative)?;
        let ev = self.claimed(EV, "ev_home or ev_work", &[EvHome, EvWork], Sign::NotNegative)?;
        let loads = [Base, HeatPump, EvHome, EvWork];
        let reactive = self.claimed(REACTIVE, "load", &loads, Sign::Any)?;
        let pv = self.claimed(PV, "pv", &[Pv], Sign::NotNegative)?;
        let published = self.read_if_there(PV_BATTERY)?;
        let raw = self.read_if_there(PV_BATTERY_RAW)?;

        let mut profiles = Vec::with_capacity(self.customers.len());
        let columns = base.into_iter().zip(heat_pump).zip(ev).zip(reactive).zip(pv);
        for ((((base, heat_pump), ev), reactive), pv) in columns {
            profiles.push(Profiles { base, heat_pump, ev, reactive, pv, ..Profiles::default() });
        }
        self.check_energy(&profiles, published.as_ref())?;
        self.attach_pv_batteries(&mut profiles, published, raw)?;
        Ok(profiles)
    }

    /// Whether each customer has a device of one of these kinds.
    fn owners(&self, kinds: &[DeviceKind]) -> Vec<bool> {
        let mut owners = vec![false; self.customers.len()];
        for device in self.devices.iter().filter(|device| kinds.contains(&device.kind)) {
            owners[device.customer] = true;
        }
        owners
    }

    fn read(&self, file: &'static str, sign: Sign) -> Result<SeriesFile, ScenarioError> {
        SeriesFile::read(file, self.files.open(file)?, self.customers, self.timeline, sign)
    }

    fn read_if_there(&self, file: &'static str) -> Result<Option<SeriesFile>, ScenarioError> {
        if self.files.has(file) { self.read(file, Sign::NotNegative).map(Some) } else { Ok(None) }
    }

    /// Reads a file whose columns and whose devices must match.
    fn claimed(
        &self,
        file: &'static str,
        kind: &'static str,
        kinds: &[DeviceKind],
        sign: Sign,
    ) -> Result<Vec<Option<Series>>, ScenarioError> {
        let owners = self.owners(kinds);
        let needed = owners.contains(&true);
        let mut series = if needed || self.files.has(file) {
            self.read(file, sign)?
        } else {
            SeriesFile::absent(file, self.customers.len())
        };
        let mut claimed = Vec::with_capacity(owners.len());
        for (customer, owns) in owners.into_iter().enumerate() {
            let column =
                if owns { Some(series.claim(customer, self.customers, kind)?) } else { None };
            claimed.push(column);
        }
        series.check_all_claimed(self.customers, kind)?;
        Ok(claimed)
    }

    /// Gives every `pv_battery` device its raw PV, or else the published sum of PV and battery.
    fn attach_pv_batteries(
        &self,
        profiles: &mut [Profiles],
        published: Option<SeriesFile>,
        raw: Option<SeriesFile>,
    ) -> Result<(), ScenarioError> {
        let kind = DeviceKind::PvBattery.name();
        let none = |file| SeriesFile::absent(file, self.customers.len());
        let mut published = published.unwrap_or_else(|| none(PV_BATTERY));
        let mut raw = raw.unwrap_or_else(|| none(PV_BATTERY_RAW));
        for (customer, owns) in self.owners(&[DeviceKind::PvBattery]).into_iter().enumerate() {
            if !owns {
                continue;
            }
            let after = published.columns[customer].take();
            if raw.columns[customer].is_some() {
                self.check_batteries(customer)?;
                profiles[customer].runs_battery = true;
                profiles[customer].published = after;
                profiles[customer].pv_battery = Some(raw.claim(customer, self.customers, kind)?);
            } else {
                published.columns[customer] = after;
                profiles[customer].pv_battery =
                    Some(published.claim(customer, self.customers, kind)?);
            }
        }
        published.check_all_claimed(self.customers, kind)?;
        raw.check_all_claimed(self.customers, kind)
    }

    /// A battery that the simulation runs needs all its ratings.
    fn check_batteries(&self, customer: usize) -> Result<(), ScenarioError> {
        let incomplete = self.devices.iter().position(|device| {
            device.customer == customer
                && device.kind == DeviceKind::PvBattery
                && device.battery.is_none()
        });
        match incomplete {
            None => Ok(()),
            Some(row) => {
                let column = "energy_kwh, s_rated_kva and efficiency";
                let device = self.devices[row].id.clone();
                let place = feeder::Place::new(people::DEVICES, row as u64 + 2);
                Err(ScenarioError::at(place, Flaw::MissingRating { device, column }))
            }
        }
    }

    /// The canonical integers, where the folder has them, must be what the powers give.
    fn check_energy(
        &self,
        profiles: &[Profiles],
        published: Option<&SeriesFile>,
    ) -> Result<(), ScenarioError> {
        let load = |customer: usize, row: usize| Some(profiles[customer].load(row));
        self.check_wh(LOAD_WH, load)?;
        let batteries = self.owners(&[DeviceKind::PvBattery]);
        let generation = |customer: usize, row: usize| {
            let behind = published.and_then(|file| file.columns[customer].as_ref());
            // Without the published sum of PV and battery there is nothing to compare with.
            match (batteries[customer], behind) {
                (true, None) => None,
                (_, behind) => {
                    let behind = behind.and_then(|series| series.get(row)).copied().unwrap_or(0);
                    Some(profiles[customer].generation(row) + i64::from(behind))
                }
            }
        };
        self.check_wh(GEN_WH, generation)
    }

    fn check_wh(
        &self,
        file: &'static str,
        tenth_watts: impl Fn(usize, usize) -> Option<i64>,
    ) -> Result<(), ScenarioError> {
        if !self.files.has(file) {
            return Ok(());
        }
        let mut rows = vec![0; self.customers.len()];
        let source = self.files.open(file)?;
        series::scan(file, source, self.customers, self.timeline, |row, column, customer| {
            let found = row.integer(column)?;
            let expected = tenth_watts(customer, rows[customer]).map(wh_of_slot);
            rows[customer] += 1;
            match expected {
                Some(expected) if expected != found => {
                    let customer = self.customers[customer].id.to_string();
                    let flaw = Flaw::OtherEnergy { customer, found, expected };
                    Err(ScenarioError::at(row.place(), flaw))
                }
                _ => Ok(()),
            }
        })
    }
}
