//! SunSpec devices: model 1 in front, then what the device is, then the end marker, from wire
//! address 40000.
//!
//! Sign of power: model 203 counts W positive from the grid, model 103 W positive as produced,
//! model 802 W positive as charging, model 714 DCW positive as discharging (the 700 series counts
//! injection positive). Energy registers have the scale factor 0: whole Wh.

use super::block::Block;
use super::image::{Bank, UnitImage};
use super::plate::{BatteryPlate, Equipment, Identity, InverterPlate};
use crate::world::{BatteryTruth, CustomerTruth, SolarTruth};

/// Wire address of the marker.
const BASE: u16 = 40_000;
/// `SunS`.
const MARKER: [u16; 2] = [0x5375, 0x6e53];
/// End of the list of models.
const END: [u16; 2] = [0xffff, 0];
/// Most registers in one answer of Modbus.
const MAX_REGISTERS: u16 = 125;
/// Grid frequency, Hz.
const FREQUENCY_HZ: f64 = 50.0;
/// DC voltage of the roof, V.
const ROOF_V: f64 = 620.0;
/// Share of the DC power that the inverter turns into AC.
const INVERTER_EFFICIENCY: f64 = 0.97;
/// DC voltage of a battery, V.
const BATTERY_V: f64 = 400.0;
/// Voltage between phases over voltage to neutral.
const SQRT_3: f64 = 1.732_050_807_568_877_2;

/// The unit of the inverter: models 1, 103 and 120.
pub(super) fn inverter(
    plate: &InverterPlate,
    solar: &SolarTruth,
    truth: &CustomerTruth,
    unit: u8,
) -> UnitImage {
    let (three_phase, nameplate) = (inverter_103(plate, solar, truth), nameplate_120(plate));
    unit_image(&[common(&plate.identity, unit), three_phase, nameplate])
}

/// The unit of the meter: models 1 and 203.
pub(super) fn meter(equipment: &Equipment, truth: &CustomerTruth, unit: u8) -> UnitImage {
    unit_image(&[common(&equipment.meter, unit), meter_203(equipment, truth)])
}

/// The unit of the battery: models 1, 124, 802, 713 and 714.
pub(super) fn battery(plate: &BatteryPlate, truth: &BatteryTruth, unit: u8) -> UnitImage {
    unit_image(&[
        common(&plate.identity, unit),
        storage_124(plate, truth),
        battery_802(plate, truth),
        capacity_713(plate, truth),
        measurement_714(plate, truth),
    ])
}

fn unit_image(models: &[Vec<u16>]) -> UnitImage {
    let registers = MARKER.iter().chain(models.iter().flatten()).chain(&END).copied().collect();
    let holding = vec![Bank { start: BASE, registers }];
    UnitImage { holding, input: Vec::new(), max_registers: MAX_REGISTERS, even: false }
}

fn common(identity: &Identity, unit: u8) -> Vec<u16> {
    let mut block = Block::new(1);
    block.text("Mn", identity.manufacturer).text("Md", identity.model);
    block.text("Vr", &identity.firmware).text("SN", &identity.serial);
    block.code("DA", u32::from(unit));
    block.finish()
}

/// The smallest scale factor (from `finest` up) under which a 16-bit register holds the value with
/// a quarter of headroom.
fn exponent_for(largest: f64, finest: i16) -> i16 {
    let mut exponent = finest;
    while exponent < 10 && largest * 1.25 > 32_767.0 * 10f64.powi(i32::from(exponent)) {
        exponent += 1;
    }
    exponent
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn watts(deciwatts: i64) -> f64 {
    deciwatts as f64 / 10.0
}

/// Largest phase current at the lowest sensible voltage, A.
fn largest_current(power_w: u32) -> f64 {
    f64::from(power_w) / 3.0 / 200.0
}

fn inverter_103(plate: &InverterPlate, solar: &SolarTruth, truth: &CustomerTruth) -> Vec<u16> {
    let power_w = watts(solar.power_dw);
    let phase_a = power_w / 3.0 / truth.voltage_v;
    let current = exponent_for(largest_current(plate.rated_w) * 3.0, -2);
    let power = exponent_for(f64::from(plate.rated_w), -1);
    let mut block = Block::new(103);
    block.scale("A_SF", current).real("A", phase_a * 3.0);
    for phase in ["AphA", "AphB", "AphC"] {
        block.real(phase, phase_a);
    }
    block.scale("V_SF", -1);
    for phase in ["PhVphA", "PhVphB", "PhVphC"] {
        block.real(phase, truth.voltage_v);
    }
    for pair in ["PPVphAB", "PPVphBC", "PPVphCA"] {
        block.real(pair, truth.voltage_v * SQRT_3);
    }
    block.scale("W_SF", power).real("W", power_w);
    block.scale("Hz_SF", -2).real("Hz", FREQUENCY_HZ);
    block.scale("VA_SF", power).real("VA", power_w);
    block.scale("VAr_SF", power).real("VAr", 0.0);
    block.scale("PF_SF", -1).real("PF", 100.0);
    block.counter("WH", solar.produced_wh).scale("WH_SF", 0);
    let dc_w = power_w / INVERTER_EFFICIENCY;
    let dc_v = if solar.power_dw > 0 { ROOF_V } else { 0.0 };
    block.scale("DCV_SF", -1).real("DCV", dc_v);
    block.scale("DCA_SF", current).real("DCA", dc_w / ROOF_V);
    block.scale("DCW_SF", exponent_for(f64::from(plate.rated_w) / INVERTER_EFFICIENCY, -1));
    block.real("DCW", dc_w);
    let share = power_w / f64::from(plate.rated_w.max(1));
    block.scale("Tmp_SF", -1).real("TmpCab", 20.0 + 30.0 * share);
    // 4 MPPT, 2 SLEEPING.
    block.code("St", if solar.power_dw > 0 { 4 } else { 2 });
    block.code("Evt1", 0).code("Evt2", 0);
    block.finish()
}

fn nameplate_120(plate: &InverterPlate) -> Vec<u16> {
    let rated = f64::from(plate.rated_w);
    let power = exponent_for(rated, 0);
    let mut block = Block::new(120);
    // 4 PV.
    block.code("DERTyp", 4);
    block.scale("WRtg_SF", power).real("WRtg", rated);
    block.scale("VARtg_SF", power).real("VARtg", rated);
    block.scale("VArRtg_SF", power);
    for quadrant in ["VArRtgQ1", "VArRtgQ2", "VArRtgQ3", "VArRtgQ4"] {
        block.real(quadrant, 0.0);
    }
    let amperes = rated / 3.0 / 230.0;
    block.scale("ARtg_SF", exponent_for(amperes, -1)).real("ARtg", amperes);
    block.scale("PFRtg_SF", -2);
    for quadrant in ["PFRtgQ1", "PFRtgQ2", "PFRtgQ3", "PFRtgQ4"] {
        block.real(quadrant, 1.0);
    }
    block.finish()
}

/// A total and the names of its three phases.
type Phases = (&'static str, [&'static str; 3]);

fn meter_203(equipment: &Equipment, truth: &CustomerTruth) -> Vec<u16> {
    const POWER: Phases = ("W", ["WphA", "WphB", "WphC"]);
    const APPARENT: Phases = ("VA", ["VAphA", "VAphB", "VAphC"]);
    const REACTIVE: Phases = ("VAR", ["VARphA", "VARphB", "VARphC"]);
    const EXPORT: Phases = ("TotWhExp", ["TotWhExpPhA", "TotWhExpPhB", "TotWhExpPhC"]);
    const IMPORT: Phases = ("TotWhImp", ["TotWhImpPhA", "TotWhImpPhB", "TotWhImpPhC"]);
    let mut block = Block::new(203);
    let (net_w, apparent_va) = (truth.net_w(), truth.apparent_va());
    let phase_a = apparent_va / 3.0 / truth.voltage_v;
    block.scale("A_SF", exponent_for(largest_current(equipment.connection_w) * 3.0, -2));
    block.real("A", phase_a * 3.0);
    for phase in ["AphA", "AphB", "AphC"] {
        block.real(phase, phase_a);
    }
    block.scale("V_SF", -1);
    for phase in ["PhV", "PhVphA", "PhVphB", "PhVphC"] {
        block.real(phase, truth.voltage_v);
    }
    for pair in ["PPV", "PhVphAB", "PhVphBC", "PhVphCA"] {
        block.real(pair, truth.voltage_v * SQRT_3);
    }
    block.scale("Hz_SF", -2).real("Hz", FREQUENCY_HZ);
    let power = exponent_for(f64::from(equipment.connection_w), -1);
    for (scale, (total, phases), value) in [
        ("W_SF", POWER, net_w),
        ("VA_SF", APPARENT, apparent_va),
        ("VAR_SF", REACTIVE, truth.reactive_var()),
    ] {
        block.scale(scale, power).real(total, value);
        for phase in phases {
            block.real(phase, value / 3.0);
        }
    }
    let factor = if apparent_va > 0.0 { net_w.abs() / apparent_va * 100.0 } else { 100.0 };
    block.scale("PF_SF", -1).real("PF", factor);
    for phase in ["PFphA", "PFphB", "PFphC"] {
        block.real(phase, factor);
    }
    for ((total, [a, b, c]), wh) in [(EXPORT, truth.export_wh), (IMPORT, truth.import_wh)] {
        block.counter(total, wh);
        block.counter(a, wh - 2 * (wh / 3)).counter(b, wh / 3).counter(c, wh / 3);
    }
    block.scale("TotWh_SF", 0).code("Evt", 0);
    block.finish()
}

/// Off, charging, discharging, full or empty, as the models 124 and 802 number it.
fn charge_status(truth: &BatteryTruth) -> u32 {
    match truth.power_dw {
        power if power > 0 => 4,
        power if power < 0 => 3,
        _ if truth.state_of_charge > 0.999 => 5,
        _ if truth.state_of_charge < 0.001 => 2,
        _ => 6,
    }
}

fn storage_124(plate: &BatteryPlate, truth: &BatteryTruth) -> Vec<u16> {
    let rated = f64::from(plate.power_w);
    let mut block = Block::new(124);
    block.scale("WChaMax_SF", exponent_for(rated, 0)).real("WChaMax", rated);
    block.scale("WChaDisChaGra_SF", 0).real("WChaGra", 100.0).real("WDisChaGra", 100.0);
    block.code("StorCtl_Mod", 0);
    block.scale("MinRsvPct_SF", 0).real("MinRsvPct", 0.0);
    block.scale("ChaState_SF", -1).real("ChaState", truth.state_of_charge * 100.0);
    block.scale("InBatV_SF", -1).real("InBatV", BATTERY_V);
    // Nobody limits it: both rates are full, and the timer rests. 1 = the grid may charge it.
    block.scale("InOutWRte_SF", -2).real("OutWRte", 100.0).real("InWRte", 100.0);
    block.code("InOutWRte_WinTms", 0).code("InOutWRte_RvrtTms", 0);
    block.code("ChaSt", charge_status(truth)).code("ChaGriSet", 1);
    block.finish()
}

fn battery_802(plate: &BatteryPlate, truth: &BatteryTruth) -> Vec<u16> {
    let (energy, rated) = (f64::from(plate.energy_wh), f64::from(plate.power_w));
    let ampere_hours = energy / BATTERY_V;
    let power_w = watts(truth.power_dw);
    let mut block = Block::new(802);
    block.scale("AHRtg_SF", exponent_for(ampere_hours, -1)).real("AHRtg", ampere_hours);
    block.scale("WHRtg_SF", exponent_for(energy, 0)).real("WHRtg", energy);
    block.scale("WChaDisChaMax_SF", exponent_for(rated, 0));
    block.real("WChaRteMax", rated).real("WDisChaRteMax", rated);
    block.scale("SoC_SF", -1).real("SoC", truth.state_of_charge * 100.0);
    block.real("SoCMax", 100.0).real("SoCMin", 0.0);
    block.scale("SoH_SF", 0).real("SoH", 100.0);
    let cycles =
        if plate.energy_wh == 0 { 0 } else { truth.discharged_wh / u64::from(plate.energy_wh) };
    block.code("NCyc", u32::try_from(cycles).unwrap_or(u32::MAX - 1));
    block.code("ChaSt", charge_status(truth));
    // Local control, lithium-ion, connected, started.
    block.code("LocRemCtl", 1).code("AlmRst", 0).code("Typ", 4).code("State", 3);
    for events in ["Evt1", "Evt2", "EvtVnd1", "EvtVnd2"] {
        block.code(events, 0);
    }
    block.scale("V_SF", -1).real("V", BATTERY_V).scale("CellV_SF", -3);
    block.scale("A_SF", exponent_for(rated / BATTERY_V, -2)).real("A", power_w / BATTERY_V);
    block.scale("AMax_SF", -1).real("AChaMax", rated / BATTERY_V);
    block.real("ADisChaMax", rated / BATTERY_V);
    block.scale("W_SF", exponent_for(rated, -1)).real("W", power_w);
    block.code("SetOp", 1).code("SetInvState", 3);
    block.finish()
}

fn capacity_713(plate: &BatteryPlate, truth: &BatteryTruth) -> Vec<u16> {
    let energy = f64::from(plate.energy_wh);
    let mut block = Block::new(713);
    block.scale("WH_SF", exponent_for(energy, 0)).scale("Pct_SF", -1);
    block.real("WHRtg", energy).real("WHAvail", energy * truth.state_of_charge);
    block.real("SoC", truth.state_of_charge * 100.0).real("SoH", 100.0).code("Sta", 0);
    block.finish()
}

fn measurement_714(plate: &BatteryPlate, truth: &BatteryTruth) -> Vec<u16> {
    let discharge_w = -watts(truth.power_dw);
    let mut block = Block::new(714);
    block.code("PrtAlrms", 0).code("NPrt", 1);
    for scale in ["DCA_SF", "DCV_SF", "Tmp_SF"] {
        block.scale(scale, -1);
    }
    let power = exponent_for(f64::from(plate.power_w), 0);
    block.scale("DCW_SF", power).scale("DCWH_SF", 0);
    block.real("DCA", discharge_w / BATTERY_V).real("DCW", discharge_w);
    block.counter("DCWhInj", truth.discharged_wh).counter("DCWhAbs", truth.charged_wh);
    // 1 = energy storage.
    block.code("Prt.PrtTyp", 1).code("Prt.ID", 1).text("Prt.IDStr", "battery");
    block.real("Prt.DCA", discharge_w / BATTERY_V).real("Prt.DCV", BATTERY_V);
    block.real("Prt.DCW", discharge_w);
    block.counter("Prt.DCWhInj", truth.discharged_wh).counter("Prt.DCWhAbs", truth.charged_wh);
    block.code("Prt.DCSta", 1).code("Prt.DCAlrm", 0);
    block.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_factors_leave_headroom() {
        for (largest, finest, exponent) in [
            (2_000.0, -1, -1),
            (6_500.0, -1, 0),
            (26_000.0, 0, 0),
            (27_000.0, 0, 1),
            (128_800.0, -1, 1),
        ] {
            assert_eq!(exponent_for(largest, finest), exponent, "{largest}");
        }
    }
}
