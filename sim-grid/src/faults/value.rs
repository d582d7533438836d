//! What a faulty device believes: the truth, bent before it is drawn.

use super::{Fault, Spell};
use crate::devices::Equipment;
use crate::faces::UnitRole;
use crate::world::CustomerTruth;
use crate::world::counter::Counter;

/// Where a counter of 32 bits starts again, Wh.
const ACC32_WH: u64 = 1 << 32;

/// How things stood when a spell began, and what has come together since.
#[derive(Debug, Clone)]
pub(crate) struct Began {
    truth: CustomerTruth,
    seen_ms: i64,
    /// What flowed in through one phase and out through another.
    circulated: Counter,
}

impl Began {
    /// A spell that begins now.
    pub fn new(truth: &CustomerTruth) -> Self {
        Self { truth: truth.clone(), seen_ms: truth.at_ms, circulated: Counter::default() }
    }

    fn circulate(&mut self, truth: &CustomerTruth, unbalance_w: u32) {
        let third = truth.net_dw / 3;
        let shift = i64::from(unbalance_w) * 10;
        let phases = [third + shift, third - shift / 2, third - shift / 2];
        let inwards: i64 = phases.iter().map(|phase| phase.max(&0)).sum();
        let extra = (inwards - truth.net_dw.max(0)).max(0).unsigned_abs();
        let passed_ms = truth.at_ms.saturating_sub(self.seen_ms).max(0).unsigned_abs();
        self.circulated.add(extra, passed_ms);
        self.seen_ms = truth.at_ms;
    }
}

/// Bends what the devices of a house believe (`seen`) and what they say they are (`plates`).
pub(crate) fn bend(
    spell: &Spell,
    began: &mut Began,
    truth: &CustomerTruth,
    seen: &mut CustomerTruth,
    plates: &mut Equipment,
) {
    let of = |role| spell.device.is_none_or(|device| device == role);
    match spell.fault {
        Fault::CounterZero {} => on_counters(seen, &of, |_, _| 0, &began.truth),
        Fault::CounterDip { wh } => {
            on_counters(seen, &of, |now, _| now.saturating_sub(wh.into()), &began.truth);
        }
        Fault::CounterJump { wh } => {
            on_counters(seen, &of, |now, _| now + u64::from(wh), &began.truth);
        }
        Fault::Exchange { counted_wh } => {
            on_counters(seen, &of, |now, then| now - then + u64::from(counted_wh), &began.truth);
            if of(UnitRole::Meter) {
                plates.meter.serial = format!("{}9", plates.meter.serial);
            }
        }
        Fault::Rollover { left_wh } => {
            let first = ACC32_WH - u64::from(left_wh);
            on_counters(seen, &of, |now, then| (now - then + first) % ACC32_WH, &began.truth);
        }
        Fault::SignFlip { registers } => {
            seen.net_dw = -seen.net_dw;
            if registers {
                std::mem::swap(&mut seen.import_wh, &mut seen.export_wh);
                std::mem::swap(&mut seen.low_import_wh, &mut seen.low_export_wh);
            }
        }
        Fault::PerPhase { unbalance_w } => {
            began.circulate(truth, unbalance_w);
            seen.import_wh += began.circulated.wh();
            seen.export_wh += began.circulated.wh();
        }
        Fault::DeviceClock { seconds } => seen.at_ms += i64::from(seconds) * 1_000,
        _ => {}
    }
}

/// Changes the energy counters of the devices concerned: each from what it shows and what it showed
/// when the spell began.
fn on_counters(
    seen: &mut CustomerTruth,
    of: &impl Fn(UnitRole) -> bool,
    change: impl Fn(u64, u64) -> u64,
    then: &CustomerTruth,
) {
    if of(UnitRole::Meter) {
        seen.import_wh = change(seen.import_wh, then.import_wh);
        seen.export_wh = change(seen.export_wh, then.export_wh);
        // Both tariffs still add up to the total.
        seen.low_import_wh = change(seen.low_import_wh, then.low_import_wh).min(seen.import_wh);
        seen.low_export_wh = change(seen.low_export_wh, then.low_export_wh).min(seen.export_wh);
    }
    if let (true, Some(solar), Some(then)) = (of(UnitRole::Inverter), &mut seen.solar, then.solar) {
        solar.produced_wh = change(solar.produced_wh, then.produced_wh);
    }
    if let (true, Some(now), Some(then)) = (of(UnitRole::Battery), &mut seen.battery, then.battery)
    {
        now.charged_wh = change(now.charged_wh, then.charged_wh);
        now.discharged_wh = change(now.discharged_wh, then.discharged_wh);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::{Identity, MeterFace};
    use crate::world::chance::Chance;
    use units::PointId;

    fn truth(at_ms: i64, net_dw: i64, import_wh: u64, export_wh: u64) -> CustomerTruth {
        let id = PointId::new("H1".to_owned()).expect("an id");
        let truth = CustomerTruth { net_dw, import_wh, export_wh, ..CustomerTruth::unmeasured(id) };
        CustomerTruth { at_ms, ..truth }
    }

    fn plates() -> Equipment {
        Equipment {
            face: MeterFace::SunSpec,
            meter: Identity::draw("meter", "M", &mut Chance::new(1, "test")),
            connection_w: 10_000,
            inverter: None,
            battery: None,
        }
    }

    /// What a meter shows (import, export) 15 minutes after a fault began.
    fn seen(fault: Fault) -> (u64, u64, i64) {
        let before = truth(0, 9_000, 5_000, 700);
        let now = truth(900_000, 9_000, 5_225, 700);
        let (mut began, mut seen) = (Began::new(&before), now.clone());
        bend(&Spell::always(fault), &mut began, &now, &mut seen, &mut plates());
        (seen.import_wh, seen.export_wh, seen.net_dw)
    }

    #[test]
    fn counters_and_signs_are_bent_as_the_fault_says() {
        assert_eq!(seen(Fault::CounterZero {}), (0, 0, 9_000));
        assert_eq!(seen(Fault::CounterDip { wh: 100 }), (5_125, 600, 9_000));
        assert_eq!(seen(Fault::CounterJump { wh: 1_000_000 }), (1_005_225, 1_000_700, 9_000));
        assert_eq!(seen(Fault::Exchange { counted_wh: 1_200 }), (1_425, 1_200, 9_000));
        assert_eq!(seen(Fault::Rollover { left_wh: 200 }), (25, ACC32_WH - 200, 9_000));
        assert_eq!(seen(Fault::SignFlip { registers: false }), (5_225, 700, -9_000));
        assert_eq!(seen(Fault::SignFlip { registers: true }), (700, 5_225, -9_000));
        // 300 W per phase on average; 1300, -200, -200: 400 W go round for a quarter-hour.
        assert_eq!(seen(Fault::PerPhase { unbalance_w: 1_000 }), (5_325, 800, 9_000));
    }
}
