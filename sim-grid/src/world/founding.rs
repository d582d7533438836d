//! Founding the street: every customer, device, meter, bus, line and transformer becomes an entity.

use std::sync::Arc;

use bevy_ecs::prelude::{Entity, World};
use feeder::{BusVoltage, LineFlow, TransformerFlow};

use super::WorldOptions;
use super::chance::Chance;
use super::counter::Counter;
use super::parts::{
    Balance, Battery, Bus, Consumer, ConsumerKind, Customer, Flow, Ground, Image, Line, Meter,
    Solar, Transformer, Weather,
};
use super::storage::Storage;
use super::truth::CustomerTruth;
use crate::devices::{
    BatteryPlate, DeviceImage, Equipment, Identity, InverterPlate, MeterFace, draw_faces,
};
use crate::scenario::{BatteryRating, Profiles, Scenario};

/// The entities that the world looks at from outside.
pub(super) struct Founded {
    pub meters: Vec<Entity>,
    pub buses: Vec<Entity>,
    pub lines: Vec<Entity>,
    pub transformers: Vec<Entity>,
}

/// Fills an empty world.
pub(super) fn found(ecs: &mut World, scenario: &Arc<Scenario>, options: WorldOptions) -> Founded {
    ecs.insert_resource(Ground(Arc::clone(scenario)));
    ecs.insert_resource(Weather::default());
    ecs.insert_resource(Flow::default());
    let faces = draw_faces(scenario, options.seed, options.mqtt);
    let mut meters = Vec::with_capacity(faces.len());
    for (index, face) in faces.into_iter().enumerate() {
        meters.push(settle(ecs, scenario, options.seed, index, face));
    }
    let network = &scenario.network;
    let still = BusVoltage { vm_pu: 1.0, va_deg: 0.0 };
    let buses =
        (0..network.buses().len()).map(|index| ecs.spawn(Bus { index, voltage: still }).id());
    let buses = buses.collect();
    let lines = (0..network.lines().len())
        .map(|index| ecs.spawn(Line { index, flow: LineFlow::default() }).id())
        .collect();
    let transformers = (0..network.transformers().len())
        .map(|index| ecs.spawn(Transformer { index, flow: TransformerFlow::default() }).id())
        .collect();
    Founded { meters, buses, lines, transformers }
}

/// Moves one customer in; returns the meter.
fn settle(
    ecs: &mut World,
    scenario: &Scenario,
    seed: u64,
    index: usize,
    face: MeterFace,
) -> Entity {
    let customer = &scenario.customers[index];
    let profiles = &scenario.profiles[index];
    let mut chance = Chance::new(seed, customer.id.as_str());
    let owner = ecs.spawn((Customer { index, bus: customer.bus }, Balance::default())).id();
    for (kind, series) in [
        (ConsumerKind::Load, &profiles.base),
        (ConsumerKind::HeatPump, &profiles.heat_pump),
        (ConsumerKind::Ev, &profiles.ev),
    ] {
        if series.is_some() {
            ecs.spawn(Consumer { owner, customer: index, kind, power: 0 });
        }
    }
    let batteries = batteries(scenario, index);
    for rating in &batteries {
        let storage = Storage::new(*rating);
        ecs.spawn(Battery { owner, power: 0, storage, window: None, turned: false });
    }
    let has_solar = profiles.pv.is_some() || profiles.pv_battery.is_some();
    let registers = FirstRegisters::draw(has_solar, &mut chance);
    if has_solar {
        let produced = Counter::from_wh(registers.produced_wh);
        ecs.spawn(Solar { owner, customer: index, power: 0, produced });
    }
    let equipment = equip(scenario, index, face, &batteries, &mut chance);
    let meter = Meter {
        owner,
        import: Counter::from_wh(registers.import_wh),
        export: Counter::from_wh(registers.export_wh),
        reactive_import: Counter::from_wh(registers.import_wh / 4),
        reactive_export: Counter::from_wh(registers.import_wh / 16),
        low_import_wh: registers.import_wh * 2 / 5,
        low_export_wh: registers.export_wh * 2 / 7,
    };
    let truth = CustomerTruth::unmeasured(customer.id.clone());
    let device = Arc::new(DeviceImage::default());
    ecs.spawn((meter, Image { equipment, truth, device })).id()
}

/// The batteries that the simulation runs at a customer.
fn batteries(scenario: &Scenario, customer: usize) -> Vec<BatteryRating> {
    if !scenario.profiles[customer].runs_battery {
        return Vec::new();
    }
    let devices = scenario.devices.iter().filter(|device| device.customer == customer);
    devices.filter_map(|device| device.battery).collect()
}

/// What the registers show on the first day. Below 4 096 kWh a float32 in kWh still tells every
/// Wh apart, and no register starts at 0, which SunSpec reads as "not counted".
struct FirstRegisters {
    import_wh: u64,
    export_wh: u64,
    produced_wh: u64,
}

impl FirstRegisters {
    fn draw(has_solar: bool, chance: &mut Chance) -> Self {
        let import_wh = chance.between(200_000, 3_000_000);
        if has_solar {
            let produced_wh = chance.between(300_000, 3_000_000);
            Self { import_wh, export_wh: produced_wh / 3 * 2, produced_wh }
        } else {
            // A few Wh from the test bench of the factory.
            Self { import_wh, export_wh: chance.between(2, 60), produced_wh: 0 }
        }
    }
}

fn equip(
    scenario: &Scenario,
    index: usize,
    face: MeterFace,
    batteries: &[BatteryRating],
    chance: &mut Chance,
) -> Equipment {
    let profiles = &scenario.profiles[index];
    let (meter_model, prefix) = match face {
        MeterFace::SunSpec => ("SW-Meter 3P", "SWM"),
        MeterFace::Sdm630 => ("SDM630-Modbus", "ES"),
        MeterFace::Shelly { .. } => ("SPEM-003CEBEU", "SH"),
        MeterFace::Tasmota { .. } => ("Tasmota energy meter", "TA"),
        MeterFace::Dsmr { .. } => ("DSMR 5.0 smart meter", "E00"),
    };
    let meter = Identity::draw(meter_model, prefix, chance);
    let solar_w = rated_solar_w(scenario, index);
    let inverter = solar_w.map(|rated_w| InverterPlate {
        identity: Identity::draw("SW-Inverter 3P", "SWI", chance),
        rated_w,
    });
    let storage_w: u32 = batteries.iter().map(|rating| rating.power_w).sum();
    let battery = (!batteries.is_empty()).then(|| BatteryPlate {
        identity: Identity::draw("SW-Storage", "SWB", chance),
        energy_wh: batteries.iter().map(|rating| rating.energy_wh).sum(),
        power_w: storage_w,
    });
    let connection_w = largest_load_w(profiles).max(solar_w.unwrap_or(0)).saturating_add(storage_w);
    Equipment { face, meter, connection_w, inverter, battery }
}

/// Rated PV of a customer: what the devices say, or what the profile shows if that is more.
fn rated_solar_w(scenario: &Scenario, index: usize) -> Option<u32> {
    let profiles = &scenario.profiles[index];
    if profiles.pv.is_none() && profiles.pv_battery.is_none() {
        return None;
    }
    let devices = scenario.devices.iter().filter(|device| device.customer == index);
    let rated: u32 =
        devices.filter(|device| device.kind.is_solar()).map(|device| device.rated_w).sum();
    let rows = 0..scenario.timeline.len();
    let peak = rows.map(|row| profiles.generation(row)).max().unwrap_or(0);
    Some(rated.max(u32::try_from(peak / 10 + 1).unwrap_or(u32::MAX)))
}

fn largest_load_w(profiles: &Profiles) -> u32 {
    let rows = profiles.base.as_ref().or(profiles.heat_pump.as_ref()).or(profiles.ev.as_ref());
    let rows = 0..rows.map_or(0, Vec::len);
    let peak = rows.map(|row| profiles.load(row)).max().unwrap_or(0);
    u32::try_from(peak / 10 + 1).unwrap_or(u32::MAX)
}
