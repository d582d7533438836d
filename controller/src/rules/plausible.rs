//! What a meter can have shown: the bounds that a connection and a clock put on registers.

use protocol::{EventKind, MAX_EVENTS, MAX_SAMPLES, MeterEvent, Quality, Reading};
use units::{Energy, Slot};

use super::Registers;

/// Largest register value: beyond it a float could no longer count single Wh.
const MAX_REGISTER_WH: u64 = 1 << 53;
/// How far a reading's time may be from the edge it belongs to.
pub const MAX_SKEW_MS: i64 = Slot::LENGTH_MS / 2;
/// Largest slot number that is looked at, in either direction.
pub const MAX_SLOT: u64 = 1 << 32;
/// Longest name of a register, bytes.
const MAX_REGISTER_NAME: usize = 80;
/// Tolerance on the declared connection power, percent.
const POWER_MARGIN_PERCENT: i64 = 120;

/// What a metering point's connection can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Largest power from the grid, W.
    pub max_import_w: i64,
    /// Largest power to the grid, W.
    pub max_export_w: i64,
}

/// Why registers cannot be true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Implausible {
    /// The time does not belong to the slot, or the slot was read before.
    Untimely(String),
    /// The registers moved backwards or faster than the connection allows.
    ImpossibleEnergy(String),
}

/// The registers of a reading.
///
/// # Errors
/// What is malformed about them.
pub fn registers(reading: &Reading) -> Result<Registers, String> {
    let energy = |wh: u64| match i64::try_from(wh) {
        Ok(value) if wh <= MAX_REGISTER_WH => Ok(Energy::from_wh(value)),
        _ => Err(format!("a register of {wh} Wh")),
    };
    let produced = match reading.produced_wh.as_slice() {
        [] => None,
        [wh] => Some(energy(*wh)?),
        _ => return Err("more than one production register".to_owned()),
    };
    if reading.power_w.len() > 1 || reading.quality.parse::<Quality>().is_err() {
        return Err("power_w or quality".to_owned());
    }
    if reading.resolution_mwh.len() > 1 || reading.device_offset_ms.len() > 1 {
        return Err("resolution_mwh or device_offset_ms".to_owned());
    }
    if reading.samples.len() > MAX_SAMPLES || reading.events.len() > MAX_EVENTS {
        return Err(format!("more than {MAX_SAMPLES} samples or {MAX_EVENTS} events"));
    }
    if let Some(event) = reading.events.iter().find(|event| !is_sound(event)) {
        return Err(format!("the event {:?} of {:?}", event.kind, event.register));
    }
    let (import, export) = (energy(reading.import_wh)?, energy(reading.export_wh)?);
    Ok(Registers { import, export, produced })
}

/// Whether an event is one that a reading can tell of.
fn is_sound(event: &MeterEvent) -> bool {
    event.kind.parse::<EventKind>().is_ok()
        && (1..=MAX_REGISTER_NAME).contains(&event.register.len())
        && event.times > 0
}

/// Why registers cannot be true after the newest ones that count; `last` is the slot of the newest
/// reading, whether it counts or not. None when nothing speaks against them.
#[must_use]
pub fn implausible(
    connection: Connection,
    newest: Option<(Slot, Registers)>,
    last: Option<Slot>,
    reading: &Reading,
    registers: Registers,
) -> Option<Implausible> {
    let slot = Slot::new(reading.slot);
    let untimely = |detail: String| Some(Implausible::Untimely(detail));
    let impossible = |detail: String| Some(Implausible::ImpossibleEnergy(detail));
    // The first bound keeps the second from leaving the range.
    let far = reading.slot.unsigned_abs() > MAX_SLOT;
    if far || reading.time_ms.abs_diff(slot.end_ms()) > MAX_SKEW_MS.unsigned_abs() {
        return untimely(format!("time {} for the end of slot {}", reading.time_ms, reading.slot));
    }
    if last.is_some_and(|last| slot <= last) {
        return untimely(format!("slot {slot} has been read before"));
    }
    let (from, before) = newest?;
    let elapsed_ms = reading.time_ms - from.end_ms() + MAX_SKEW_MS / 15;
    let limits = [
        ("import", before.import, registers.import, connection.max_import_w),
        ("export", before.export, registers.export, connection.max_export_w),
    ];
    for (name, old, new, power_w) in limits {
        if new < old {
            return impossible(format!("{name} register fell from {old} to {new}"));
        }
        let bound = energy_bound(power_w * POWER_MARGIN_PERCENT / 100, elapsed_ms);
        if new - old > bound {
            let most = format!("{bound} is possible at {power_w} W");
            return impossible(format!("{name} of {} since slot {from}, {most}", new - old));
        }
    }
    if let (Some(old), Some(new)) = (before.produced, registers.produced)
        && new < old
    {
        return impossible(format!("production register fell from {old} to {new}"));
    }
    None
}

/// Energy that `power_w` can move in `ms`, rounded up.
#[must_use]
pub fn energy_bound(power_w: i64, ms: i64) -> Energy {
    let watt_ms = i128::from(power_w) * i128::from(ms.max(0));
    let wh = watt_ms.div_euclid(3_600_000) + 1;
    Energy::from_wh(i64::try_from(wh).unwrap_or(i64::MAX))
}
