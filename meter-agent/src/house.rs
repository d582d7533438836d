//! The household's devices together: newest figures, present flows, and the registers at an edge.

use std::collections::BTreeMap;

use protocol::RawSample;
use units::Slot;

use crate::config::Role;
use crate::core::{Count, Flows, Registers, Summed};
use crate::device::{Absence, Figure, Observed, Quantity, Readout};
use crate::power_sum::PowerSum;

/// Widest gap between two messages over which an edge is interpolated, milliseconds; and none that
/// is wider than the device's figures stay fresh.
const MAX_GAP_MS: i64 = Slot::LENGTH_MS;
/// A device's clock is compared when it was read this long ago at most, milliseconds.
const CLOCK_FRESH_MS: i64 = Slot::LENGTH_MS;
/// A message of a device that speaks when it likes counts as spoken at an edge from this long before
/// it: a thousandth of a slot, so that it need not be seen which of the two came first.
const EARLY_MS: i64 = 1_000;

/// What is known of one device.
#[derive(Debug, Clone)]
pub struct Device {
    /// Name in the configuration.
    pub name: String,
    /// What it is to the household.
    pub role: Role,
    /// Whether its missing export register counts as zero.
    pub no_export: bool,
    /// Whether it speaks when it likes, so that an edge lies between two messages.
    pub pushes: bool,
    /// Figures older than this are stale, milliseconds of market time.
    pub max_age_ms: i64,
    trails: BTreeMap<Quantity, Trail>,
    /// Sums of its power in the place of the registers that it has not.
    power_sum: Option<PowerSum>,
    /// Whether it is a battery that is steered, so that what flows into it is no load.
    steered: bool,
    identity: Option<String>,
    /// Its clock less ours, and when that was seen.
    clock_offset_ms: Option<(i64, i64)>,
}

/// A register at an edge: the count, the time at which it was true, and what was said on both sides
/// when it was taken between.
type AtEdge = (Observed<Count>, Option<i64>, Vec<(i64, i64)>);

/// The newest figure of a quantity, and the last one before the newest slot edge.
#[derive(Debug, Clone)]
struct Trail {
    before: Option<Figure>,
    latest: Figure,
}

impl Device {
    /// A device that has said nothing yet.
    #[must_use]
    pub const fn new(
        name: String,
        role: Role,
        no_export: bool,
        pushes: bool,
        max_age_ms: i64,
    ) -> Self {
        Self {
            name,
            role,
            no_export,
            pushes,
            max_age_ms,
            trails: BTreeMap::new(),
            power_sum: None,
            steered: false,
            identity: None,
            clock_offset_ms: None,
        }
    }

    /// The device has no registers: its power is summed up, over no longer time without a
    /// measurement than `max_gap_ms`.
    #[must_use]
    pub fn summing_power(mut self, max_gap_ms: i64) -> Self {
        self.power_sum = Some(PowerSum::new(max_gap_ms));
        self
    }

    /// The battery is steered: what flows into it is known apart from the load, by its registers or,
    /// without any, by summing its power up.
    #[must_use]
    pub fn steered(self, max_gap_ms: i64) -> Self {
        Self { steered: true, ..self.summing_power(max_gap_ms) }
    }

    /// Takes over new figures.
    pub fn take(&mut self, readout: &Readout) {
        for (quantity, figure) in readout.iter() {
            self.follow(quantity, figure.clone());
        }
        self.sum_up(readout);
        if readout.identity.is_some() {
            self.identity.clone_from(&readout.identity);
        }
        if let Some((device_ms, taken_ms)) = readout.device_clock_ms {
            self.clock_offset_ms = Some((device_ms - taken_ms, taken_ms));
        }
    }

    /// Sums up the power of a device without registers; they are figures like any others then.
    fn sum_up(&mut self, readout: &Readout) {
        let Some(sum) = &mut self.power_sum else { return };
        let Some(Figure { value: Observed::Value(power_mw), taken_ms, .. }) =
            readout.figure(Quantity::Power)
        else {
            return;
        };
        sum.take(*taken_ms, *power_mw);
        let (import, export) = sum.mwh();
        let registers = [(Quantity::EnergyImport, import), (Quantity::EnergyExport, export)];
        for (quantity, mwh) in registers {
            self.follow(quantity, Figure::plain(Observed::Value(mwh), *taken_ms));
        }
    }

    fn follow(&mut self, quantity: Quantity, figure: Figure) {
        match self.trails.get_mut(&quantity) {
            None => {
                self.trails.insert(quantity, Trail { before: None, latest: figure });
            }
            Some(trail) => {
                let edge_ms = Slot::at_ms(figure.taken_ms).start_ms();
                let old = std::mem::replace(&mut trail.latest, figure);
                if old.taken_ms < edge_ms {
                    trail.before = Some(old);
                }
            }
        }
    }

    /// The present value, when it is fresh.
    fn present(&self, quantity: Quantity, now_ms: i64) -> Option<(i64, i64)> {
        let latest = &self.trails.get(&quantity)?.latest;
        let fresh = latest.taken_ms >= now_ms - self.max_age_ms;
        latest.value.as_value().filter(|_| fresh).map(|&value| (value, latest.taken_ms))
    }

    /// The newest count of a register that was true at `from_ms` or later, and its time.
    fn count_since(&self, quantity: Quantity, from_ms: i64) -> (Observed<Count>, Option<i64>) {
        let absent = quantity == Quantity::EnergyExport && self.no_export;
        let Some(trail) = self.trails.get(&quantity) else {
            return if absent { (zero(), None) } else { (Observed::Absent(Absence::NotYet), None) };
        };
        let Figure { value, rolls_over_at, resolution, resets, taken_ms } = &trail.latest;
        if *taken_ms < from_ms {
            return (Observed::Absent(Absence::Stale), None);
        }
        match value {
            Observed::Absent(Absence::Unsupported) if absent => (zero(), None),
            other => {
                let count = |mwh| Count {
                    mwh,
                    rolls_over_at: *rolls_over_at,
                    resolution_mwh: *resolution,
                    resets: *resets,
                };
                (other.clone().map(count), Some(*taken_ms))
            }
        }
    }

    /// The register at an edge, and the time it was true. A device that is asked shows it right
    /// after the edge; one that speaks when it likes has the edge between two messages, and the
    /// register is taken on the straight line between them.
    fn count_at(&self, quantity: Quantity, edge_ms: i64) -> AtEdge {
        let early_ms = if self.pushes { EARLY_MS } else { 0 };
        let (after, after_ms) = self.count_since(quantity, edge_ms - early_ms);
        let after_ms = after_ms.map(|after_ms| after_ms.max(edge_ms));
        let before = self.trails.get(&quantity).and_then(|trail| trail.before.as_ref());
        let (true, Some(count), Some(after_ms), Some(before)) =
            (self.pushes, after.as_value(), after_ms, before)
        else {
            return (after, after_ms, Vec::new());
        };
        let (span_ms, part_ms) = (after_ms - before.taken_ms, edge_ms - before.taken_ms);
        let Some(&low) = before.value.as_value() else {
            return (after, Some(after_ms), Vec::new());
        };
        let widest_ms = self.max_age_ms.min(MAX_GAP_MS);
        if part_ms < 0 || span_ms <= part_ms || span_ms > widest_ms || count.mwh < low {
            return (after, Some(after_ms), Vec::new());
        }
        let samples = vec![(before.taken_ms, low), (after_ms, count.mwh)];
        let rise = i128::from(count.mwh - low) * i128::from(part_ms) / i128::from(span_ms);
        let mwh = low + i64::try_from(rise).expect("a part of a difference of 64 bits");
        (Observed::Value(Count { mwh, ..*count }), Some(edge_ms), samples)
    }
}

impl Device {
    /// What has gone into a battery less what came out of it, mWh: by its registers, or by the sum of
    /// its power where that has no gap since `whole_since_ms`.
    fn stored_mwh(
        &self,
        whole_since_ms: i64,
        count: &impl Fn(&Self, Quantity) -> AtEdge,
    ) -> Option<i64> {
        let mwh = |quantity| Some(count(self, quantity).0.as_value()?.mwh);
        let counted = mwh(Quantity::EnergyCharged).zip(mwh(Quantity::EnergyDischarged));
        let summed = || {
            let sum = self.power_sum.as_ref()?;
            let whole = sum.gap_ms().1 <= whole_since_ms;
            let both = mwh(Quantity::EnergyImport).zip(mwh(Quantity::EnergyExport));
            both.filter(|_| whole)
        };
        counted.or_else(summed).map(|(charged, discharged)| charged - discharged)
    }
}

const fn zero() -> Observed<Count> {
    Observed::Value(Count::plain(0))
}

/// All devices of a household.
#[derive(Debug, Clone)]
pub struct House(Vec<Device>);

impl House {
    /// The devices in the order of the configuration.
    #[must_use]
    pub const fn new(devices: Vec<Device>) -> Self {
        Self(devices)
    }

    /// One device.
    pub fn device_mut(&mut self, index: usize) -> Option<&mut Device> {
        self.0.get_mut(index)
    }

    /// The present flows. Production and batteries are sums: unknown when one part is unknown.
    #[must_use]
    pub fn flows(&self, now_ms: i64) -> Flows {
        let power = self.meter().and_then(|meter| meter.present(Quantity::Power, now_ms));
        let voltage = self.0.iter().find_map(|device| device.present(Quantity::VoltageL1, now_ms));
        Flows {
            taken_ms: power.map_or(now_ms, |(_, taken_ms)| taken_ms),
            oldest_ms: self.oldest_ms(now_ms),
            power_mw: power.map(|(value, _)| value),
            pv_mw: self.sum(Role::Pv, Quantity::Power, now_ms).map(|(sum, _)| -sum),
            battery_mw: self.sum(Role::Battery, Quantity::Power, now_ms).map(|(sum, _)| sum),
            charger_mw: self.sum(Role::Charger, Quantity::Power, now_ms).map(|(sum, _)| sum),
            soc_permille: self
                .sum(Role::Battery, Quantity::StateOfCharge, now_ms)
                .map(|(sum, count)| sum / count),
            voltage_mv: voltage.map(|(value, _)| value),
        }
    }

    /// When the oldest of the figures was taken that a steered battery goes by.
    fn oldest_ms(&self, now_ms: i64) -> Option<i64> {
        let battery = self.of(Role::Battery).find(|device| device.steered)?;
        let of = |device: &Device, quantity| Some(device.present(quantity, now_ms)?.1);
        let power = of(self.meter()?, Quantity::Power)?;
        Some(power.min(of(battery, Quantity::Power)?).min(of(battery, Quantity::StateOfCharge)?))
    }

    /// What a generator or a charging point needs for its limit: the power at the grid connection, the
    /// device's own (positive into it), mW, and when the older of both was measured; none while one of
    /// them is not known.
    #[must_use]
    pub fn beside_meter(&self, index: usize, now_ms: i64) -> Option<(i64, i64, i64)> {
        let (grid_mw, grid_ms) = self.meter()?.present(Quantity::Power, now_ms)?;
        let (own_mw, own_ms) = self.0.get(index)?.present(Quantity::Power, now_ms)?;
        Some((grid_mw, own_mw, grid_ms.min(own_ms)))
    }

    /// The registers as they are now; none while the meter has not spoken lately.
    #[must_use]
    pub fn registers_now(&self, now_ms: i64) -> Option<Registers> {
        let from_ms = now_ms - self.meter()?.max_age_ms;
        self.registers(from_ms, |device, quantity| {
            let (count, taken_ms) = device.count_since(quantity, from_ms);
            (count, taken_ms, Vec::new())
        })
    }

    /// The registers at the end of a slot; none while the meter has not spoken since.
    #[must_use]
    pub fn registers_at(&self, slot: Slot) -> Option<Registers> {
        let edge_ms = slot.end_ms();
        self.registers(edge_ms, |device, quantity| device.count_at(quantity, edge_ms))
    }

    /// Whether every generator, and a battery that is steered, has spoken since the end of a slot.
    #[must_use]
    pub fn is_complete_at(&self, slot: Slot) -> bool {
        let spoken = |device: &Device, quantity| {
            device
                .count_since(quantity, slot.end_ms())
                .1
                .is_some_and(|at_ms| at_ms >= slot.end_ms())
        };
        self.of(Role::Pv)
            .all(|device| device.count_since(Quantity::EnergyProduced, slot.end_ms()).1.is_some())
            && self
                .of(Role::Battery)
                .filter(|device| device.steered)
                .all(|device| spoken(device, Quantity::EnergyImport))
    }

    fn registers(
        &self,
        from_ms: i64,
        count: impl Fn(&Device, Quantity) -> AtEdge,
    ) -> Option<Registers> {
        let meter = self.meter()?;
        let (import, import_ms, import_samples) = count(meter, Quantity::EnergyImport);
        let (export, export_ms, export_samples) = count(meter, Quantity::EnergyExport);
        let taken_ms = import_ms.into_iter().chain(export_ms).max()?;
        import.as_value()?;
        export.as_value()?;
        let produced = self
            .of(Role::Pv)
            .map(|device| (device.name.clone(), count(device, Quantity::EnergyProduced).0))
            .collect();
        let battery = self.of(Role::Battery).find(|device| device.steered);
        let slot_ms = Slot::at_ms(from_ms).previous().start_ms();
        let stored_mwh = battery.and_then(|battery| battery.stored_mwh(slot_ms, &count));
        let charged = self
            .of(Role::Charger)
            .map(|device| (device.name.clone(), count(device, Quantity::EnergyImport).0))
            .collect();
        let power = meter.trails.get(&Quantity::Power).map(|trail| &trail.latest);
        let power_mw = power
            .filter(|power| power.taken_ms >= from_ms)
            .and_then(|power| power.value.as_value().copied());
        let named = |register: &'static str, samples: Vec<(i64, i64)>| {
            samples.into_iter().map(move |(time_ms, raw_mwh)| RawSample {
                register: register.to_owned(),
                time_ms,
                raw_mwh,
            })
        };
        let device_offset_ms = meter
            .clock_offset_ms
            .filter(|(_, seen_ms)| *seen_ms >= taken_ms - CLOCK_FRESH_MS)
            .map(|(offset_ms, _)| offset_ms);
        Some(Registers {
            taken_ms,
            import,
            export,
            produced,
            power_mw,
            stored_mwh,
            charged,
            identity: meter.identity.clone(),
            device_offset_ms,
            samples: named("import", import_samples)
                .chain(named("export", export_samples))
                .collect(),
            summed: meter.power_sum.as_ref().map(|sum| Summed { gap_ms: sum.gap_ms() }),
        })
    }

    fn of(&self, role: Role) -> impl Iterator<Item = &Device> {
        self.0.iter().filter(move |device| device.role == role)
    }

    fn meter(&self) -> Option<&Device> {
        self.of(Role::Meter).next()
    }

    /// Sum over the devices of a role and their number; none without any or when one is unknown.
    fn sum(&self, role: Role, quantity: Quantity, now_ms: i64) -> Option<(i64, i64)> {
        let values: Option<Vec<i64>> = self
            .of(role)
            .map(|device| device.present(quantity, now_ms).map(|(value, _)| value))
            .collect();
        let values = values.filter(|values| !values.is_empty())?;
        let count = i64::try_from(values.len()).ok()?;
        Some((values.iter().try_fold(0_i64, |sum, &value| sum.checked_add(value))?, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDGE: i64 = Slot::new(1_000).end_ms();
    const SLOT: Slot = Slot::new(1_000);

    fn meter(pushes: bool, no_export: bool) -> House {
        House::new(vec![Device::new("grid".into(), Role::Meter, no_export, pushes, 60_000)])
    }

    /// Says figures (quantity, value) at a time.
    fn say(house: &mut House, device: usize, taken_ms: i64, figures: &[(Quantity, Observed<i64>)]) {
        let mut readout = Readout::default();
        for (quantity, value) in figures {
            let figure = Figure::plain(value.clone(), taken_ms);
            readout.set(*quantity, figure);
        }
        house.device_mut(device).expect("there").take(&readout);
    }

    fn say_import(house: &mut House, taken_ms: i64, mwh: i64) {
        let figures = [
            (Quantity::EnergyImport, Observed::Value(mwh)),
            (Quantity::EnergyExport, Observed::Value(0)),
        ];
        say(house, 0, taken_ms, &figures);
    }

    /// Import and its time at the edge after messages at (milliseconds from the edge, mWh).
    fn at_edge(pushes: bool, messages: &[(i64, i64)]) -> Option<(i64, i64)> {
        let mut house = meter(pushes, false);
        for &(offset_ms, mwh) in messages {
            say_import(&mut house, EDGE + offset_ms, mwh);
        }
        let registers = house.registers_at(SLOT)?;
        Some((registers.import.as_value()?.mwh, registers.taken_ms - EDGE))
    }

    #[test]
    fn a_device_that_is_asked_shows_its_registers_after_the_edge() {
        for (messages, expected) in [
            (&[][..], None),
            (&[(-1, 100)], None),
            (&[(0, 100)], Some((100, 0))),
            (&[(-900, 90), (30, 100)], Some((100, 30))),
        ] {
            assert_eq!(at_edge(false, messages), expected, "{messages:?}");
        }
    }

    #[test]
    fn a_device_that_speaks_when_it_likes_has_the_edge_between_two_messages() {
        for (messages, expected) in [
            (&[][..], None),
            (&[(-1_001, 100)], None),
            // Up to a second early counts as spoken at the edge.
            (&[(-1_000, 100)], Some((100, 0))),
            (&[(5_000, 100)], Some((100, 5_000))),
            (&[(-10_000, 100), (30_000, 200)], Some((125, 0))),
            // The last message before the edge counts, however many come after it.
            (&[(-20_000, 0), (-10_000, 100), (10_000, 150), (30_000, 200)], Some((125, 0))),
            // Too far apart, or running backwards: as it is said.
            (&[(-880_000, 100), (30_000, 200)], Some((200, 30_000))),
            (&[(-10_000, 300), (30_000, 200)], Some((200, 30_000))),
        ] {
            assert_eq!(at_edge(true, messages), expected, "{messages:?}");
        }
    }

    #[test]
    fn a_missing_export_register_is_zero_only_when_the_configuration_says_so() {
        let unsupported = Observed::Absent(Absence::Unsupported);
        for (no_export, export, expected) in [
            (false, unsupported.clone(), None),
            (true, unsupported, Some(0)),
            (true, Observed::Value(7), Some(7)),
            (true, Observed::Fault("broken".into()), None),
            (true, Observed::Absent(Absence::Sentinel), None),
        ] {
            let mut house = meter(false, no_export);
            let import = (Quantity::EnergyImport, Observed::Value(5));
            say(&mut house, 0, EDGE, &[import, (Quantity::EnergyExport, export.clone())]);
            let found = house.registers_at(SLOT);
            let found = found.and_then(|r| r.export.as_value().map(|count| count.mwh));
            assert_eq!(found, expected, "{no_export} {export:?}");
        }
        let mut silent = meter(false, true);
        say(&mut silent, 0, EDGE, &[(Quantity::EnergyImport, Observed::Value(5))]);
        assert!(silent.registers_at(SLOT).is_some());
    }

    #[test]
    fn flows_are_sums_and_unknown_when_a_part_is_unknown() {
        let device = |name: &str, role| Device::new(name.into(), role, false, false, 60_000);
        let mut house = House::new(vec![
            device("grid", Role::Meter),
            device("roof", Role::Pv),
            device("shed", Role::Pv),
            device("cellar", Role::Battery),
        ]);
        let power = |mw| (Quantity::Power, Observed::Value(mw));
        say(&mut house, 0, 1_000, &[power(-500), (Quantity::VoltageL1, Observed::Value(230_000))]);
        say(&mut house, 1, 1_000, &[power(-3_000)]);
        say(&mut house, 3, 1_000, &[power(-200), (Quantity::StateOfCharge, Observed::Value(640))]);
        let flows = house.flows(2_000);
        assert_eq!((flows.power_mw, flows.pv_mw), (Some(-500), None));
        say(&mut house, 2, 1_500, &[power(-1_000)]);
        let flows = house.flows(2_000);
        assert_eq!((flows.pv_mw, flows.battery_mw), (Some(4_000), Some(-200)));
        assert_eq!((flows.soc_permille, flows.voltage_mv), (Some(640), Some(230_000)));
        assert_eq!((flows.taken_ms, house.flows(70_000).power_mw), (1_000, None));
    }
}
