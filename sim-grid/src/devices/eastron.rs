//! An Eastron SDM630 behind a Modbus TCP gateway: input registers with float32, high word first;
//! register map from the maker's protocol sheet. Requests start at even addresses, count an even
//! number of registers and at most 80 of them, as with the real meter.

use super::image::{Bank, UnitImage};
use super::plate::Identity;
use crate::world::CustomerTruth;

/// Input registers run from 0 up to, but not including, this address.
const END: usize = 0x0182;
/// Wire address of the serial number in the holding registers.
const SERIAL: u16 = 0xfc00;
/// Most registers in one answer.
const MAX_REGISTERS: u16 = 80;

/// The registers of the meter.
pub(super) fn meter(identity: &Identity, truth: &CustomerTruth, unit: u8) -> UnitImage {
    let mut input = vec![0; END];
    for (address, value) in measurements(truth) {
        float(&mut input, address, value);
    }
    let mut settings = vec![0; 0x20];
    // System type 3 = three phases with neutral; the address; the baud rate 2 = 9600.
    float(&mut settings, 0x0a, 3.0);
    float(&mut settings, 0x14, f64::from(unit));
    float(&mut settings, 0x1c, 2.0);
    let digits: String = identity.serial.chars().filter(char::is_ascii_digit).collect();
    let serial: u32 = digits.parse().unwrap_or(0);
    let bytes = serial.to_be_bytes();
    let serial =
        vec![u16::from_be_bytes([bytes[0], bytes[1]]), u16::from_be_bytes([bytes[2], bytes[3]])];
    UnitImage {
        holding: vec![
            Bank { start: 0, registers: settings },
            Bank { start: SERIAL, registers: serial },
        ],
        input: vec![Bank { start: 0, registers: input }],
        max_registers: MAX_REGISTERS,
        even: true,
    }
}

/// Address and value of everything that the meter shows; what is not listed reads 0.
fn measurements(truth: &CustomerTruth) -> Vec<(usize, f64)> {
    let (watt, var, volt_ampere) = (truth.net_w(), truth.reactive_var(), truth.apparent_va());
    let volt = truth.voltage_v;
    let ampere = volt_ampere / 3.0 / volt;
    let factor: f64 = if volt_ampere > 0.0 { watt / volt_ampere } else { 1.0 };
    let angle = factor.clamp(-1.0, 1.0).acos().to_degrees();
    let (import, export) = (kilo(truth.import_wh), kilo(truth.export_wh));
    let (var_import, var_export) =
        (kilo(truth.reactive_import_varh), kilo(truth.reactive_export_varh));
    let mut all = Vec::with_capacity(64);
    for phase in 0..3 {
        let at = |address: usize| address + 2 * phase;
        all.extend([
            (at(0x00), volt),
            (at(0x06), ampere),
            (at(0x0c), watt / 3.0),
            (at(0x12), volt_ampere / 3.0),
            (at(0x18), var / 3.0),
            (at(0x1e), factor),
            (at(0x24), angle),
            (at(0xc8), volt * 3f64.sqrt()),
            (at(0x15a), import / 3.0),
            (at(0x160), export / 3.0),
        ]);
    }
    all.extend([
        (0x2a, volt),
        (0x2e, ampere),
        (0x30, ampere * 3.0),
        (0x34, watt),
        (0x38, volt_ampere),
        (0x3c, var),
        (0x3e, factor),
        (0x42, angle),
        (0x46, 50.0),
        (0x48, import),
        (0x4a, export),
        (0x4c, var_import),
        (0x4e, var_export),
        (0x156, import + export),
        (0x158, var_import + var_export),
    ]);
    all
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn kilo(count: u64) -> f64 {
    count as f64 / 1_000.0
}

#[expect(clippy::cast_possible_truncation, reason = "the meter has float32")]
fn float(registers: &mut [u16], address: usize, value: f64) {
    let bytes = (value as f32).to_be_bytes();
    registers[address] = u16::from_be_bytes([bytes[0], bytes[1]]);
    registers[address + 1] = u16::from_be_bytes([bytes[2], bytes[3]]);
}
