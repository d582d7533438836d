//! Who lives in the street and what they own: `customers.csv` and `devices.csv`.

use std::collections::BTreeMap;
use std::io::Read;

use feeder::{Network, Row, TableReader};
use units::PointId;

use super::error::{Flaw, ScenarioError};

/// Name of the list of customers.
pub(super) const CUSTOMERS: &str = "customers.csv";
/// Name of the list of devices.
pub(super) const DEVICES: &str = "devices.csv";

/// A household or business: one metering point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Customer {
    /// The metering point.
    pub id: PointId,
    /// Index of its bus in the network.
    pub bus: usize,
    /// `household`, `business` or whatever the pack calls it; for people only.
    pub kind: String,
}

/// What a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceKind {
    /// Everything without a device of its own.
    Base,
    /// A heat pump.
    HeatPump,
    /// An EV charger at home.
    EvHome,
    /// An EV charger at work.
    EvWork,
    /// A PV system.
    Pv,
    /// A PV system with a battery.
    PvBattery,
}

impl DeviceKind {
    /// As the files write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::HeatPump => "heat_pump",
            Self::EvHome => "ev_home",
            Self::EvWork => "ev_work",
            Self::Pv => "pv",
            Self::PvBattery => "pv_battery",
        }
    }

    /// Whether it produces from the sun.
    #[must_use]
    pub const fn is_solar(self) -> bool {
        matches!(self, Self::Pv | Self::PvBattery)
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Base, Self::HeatPump, Self::EvHome, Self::EvWork, Self::Pv, Self::PvBattery]
            .into_iter()
            .find(|kind| kind.name() == text)
    }
}

/// The storage of a `pv_battery` device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatteryRating {
    /// Usable energy, Wh.
    pub energy_wh: u32,
    /// Most power in either direction, W.
    pub power_w: u32,
    /// Share of the energy that survives charging, and again discharging, in millionths.
    pub efficiency_ppm: u32,
}

/// A device behind a metering point.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// Its name.
    pub id: String,
    /// Index of its owner in the list of customers.
    pub customer: usize,
    /// What it is.
    pub kind: DeviceKind,
    /// Rated active power, W.
    pub rated_w: u32,
    /// Its storage; `None` for everything but a `pv_battery` with complete ratings.
    pub battery: Option<BatteryRating>,
}

/// Largest rating of a device: a 10-MW connection is none of a low-voltage street.
const LARGEST_KW: f64 = 10_000.0;

/// Reads `customers.csv`.
pub(super) fn read_customers<R: Read>(
    source: R,
    network: &Network,
) -> Result<Vec<Customer>, ScenarioError> {
    let mut table = TableReader::new(CUSTOMERS, source)?;
    let (id, bus) = (table.column("customer_id")?, table.column("bus_id")?);
    let kind = table.column("type")?;
    let mut customers: Vec<Customer> = Vec::new();
    let mut seen: BTreeMap<PointId, ()> = BTreeMap::new();
    while let Some(row) = table.next_row()? {
        let point = point_id(&row, id)?;
        if seen.insert(point.clone(), ()).is_some() {
            let flaw = Flaw::Duplicate { kind: "customer", id: point.to_string() };
            return Err(ScenarioError::at(row.place(), flaw));
        }
        let bus = bus_index(&row, bus, network, || format!("customer {point}"))?;
        customers.push(Customer { id: point, bus, kind: row.text(kind).to_owned() });
    }
    if customers.is_empty() {
        return Err(ScenarioError::at(feeder::Place::new(CUSTOMERS, 1), Flaw::Empty));
    }
    Ok(customers)
}

fn point_id(row: &Row<'_>, column: usize) -> Result<PointId, ScenarioError> {
    PointId::new(row.text(column))
        .map_err(|error| ScenarioError::at(row.place(), Flaw::BadId(error.to_string())))
}

fn bus_index(
    row: &Row<'_>,
    column: usize,
    network: &Network,
    owner: impl FnOnce() -> String,
) -> Result<usize, ScenarioError> {
    let bus = row.text(column);
    network.bus_index(bus).ok_or_else(|| {
        ScenarioError::at(row.place(), Flaw::UnknownBus { owner: owner(), bus: bus.to_owned() })
    })
}

/// The columns of `devices.csv`.
struct Columns {
    id: usize,
    customer: usize,
    bus: usize,
    kind: usize,
    p_rated: usize,
    s_rated: usize,
    energy: usize,
    efficiency: usize,
}

/// Reads `devices.csv`.
pub(super) fn read_devices<R: Read>(
    source: R,
    network: &Network,
    customers: &[Customer],
) -> Result<Vec<Device>, ScenarioError> {
    let mut table = TableReader::new(DEVICES, source)?;
    let columns = Columns {
        id: table.column("device_id")?,
        customer: table.column("customer_id")?,
        bus: table.column("bus_id")?,
        kind: table.column("kind")?,
        p_rated: table.column("p_rated_kw")?,
        s_rated: table.column("s_rated_kva")?,
        energy: table.column("energy_kwh")?,
        efficiency: table.column("efficiency")?,
    };
    let owners: BTreeMap<&str, usize> =
        customers.iter().enumerate().map(|(i, customer)| (customer.id.as_str(), i)).collect();
    let mut seen: BTreeMap<String, ()> = BTreeMap::new();
    let mut devices = Vec::new();
    while let Some(row) = table.next_row()? {
        let device = read_device(&row, &columns, network, customers, &owners)?;
        if seen.insert(device.id.clone(), ()).is_some() {
            let flaw = Flaw::Duplicate { kind: "device", id: device.id };
            return Err(ScenarioError::at(row.place(), flaw));
        }
        devices.push(device);
    }
    Ok(devices)
}

fn read_device(
    row: &Row<'_>,
    columns: &Columns,
    network: &Network,
    customers: &[Customer],
    owners: &BTreeMap<&str, usize>,
) -> Result<Device, ScenarioError> {
    let id = row.text(columns.id).to_owned();
    let owner = row.text(columns.customer);
    let customer = owners.get(owner).copied().ok_or_else(|| {
        let owner_text = format!("device {id}");
        let flaw = Flaw::UnknownCustomer { owner: owner_text, customer: owner.to_owned() };
        ScenarioError::at(row.place(), flaw)
    })?;
    let bus = bus_index(row, columns.bus, network, || format!("device {id}"))?;
    if bus != customers[customer].bus {
        let flaw = Flaw::OtherBus {
            device: id,
            bus: row.text(columns.bus).to_owned(),
            customer: owner.to_owned(),
            home: network.buses()[customers[customer].bus].id.clone(),
        };
        return Err(ScenarioError::at(row.place(), flaw));
    }
    let kind = DeviceKind::parse(row.text(columns.kind)).ok_or_else(|| {
        row.bad_field(columns.kind, "base, heat_pump, ev_home, ev_work, pv or pv_battery")
    })?;
    let rated_w = watts(row, columns.p_rated, "p_rated_kw")?.unwrap_or(0);
    let battery = match kind {
        DeviceKind::PvBattery => read_battery(row, columns)?,
        _ => None,
    };
    Ok(Device { id, customer, kind, rated_w, battery })
}

/// A rating in kW (or kWh, kVA) as whole watts.
fn watts(row: &Row<'_>, column: usize, name: &'static str) -> Result<Option<u32>, ScenarioError> {
    let Some(value) = row.optional_number(column)? else { return Ok(None) };
    if !(0.0..=LARGEST_KW).contains(&value) {
        let flaw = Flaw::OutOfRange { column: name.to_owned(), value, range: "0 to 10 000" };
        return Err(ScenarioError::at(row.place(), flaw));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 10^7")]
    Ok(Some((value * 1000.0).round() as u32))
}

/// The storage, if all three ratings are there.
fn read_battery(row: &Row<'_>, columns: &Columns) -> Result<Option<BatteryRating>, ScenarioError> {
    let energy_wh = watts(row, columns.energy, "energy_kwh")?;
    let power_w = watts(row, columns.s_rated, "s_rated_kva")?;
    let efficiency = row.optional_number(columns.efficiency)?;
    if let Some(value) = efficiency
        && !(0.01..=1.0).contains(&value)
    {
        let flaw = Flaw::OutOfRange { column: "efficiency".to_owned(), value, range: "0.01 to 1" };
        return Err(ScenarioError::at(row.place(), flaw));
    }
    let (Some(energy_wh), Some(power_w), Some(efficiency)) = (energy_wh, power_w, efficiency)
    else {
        return Ok(None);
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 10^6")]
    let efficiency_ppm = (efficiency * 1e6).round() as u32;
    Ok(Some(BatteryRating { energy_wh, power_w, efficiency_ppm }))
}
