//! The picture as Prometheus text (exposition format 0.0.4), and whether all is well.

use std::fmt::Write;

use serde_json::{Value, json};
use units::Slot;

use super::{DevicePicture, Picture, decimal};
use crate::config::Role;

/// `Content-Type` of the exposition format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// So many readings may wait for a receipt before somebody should look: a day.
const MANY_WAITING: u64 = 96;
/// A slot's reading is overdue when the slot ended so long ago, milliseconds of market time.
const OVERDUE_MS: i64 = Slot::LENGTH_MS;

/// One metric with its samples: labels (already quoted) and value.
struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    samples: Vec<(String, String)>,
}

impl Metric {
    const fn new(name: &'static str, kind: &'static str, help: &'static str) -> Self {
        Self { name, kind, help, samples: Vec::new() }
    }

    fn sample(mut self, labels: &[(&str, &str)], value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            let labels = labels.iter().map(|(key, text)| format!("{key}=\"{}\"", escaped(text)));
            self.samples.push((labels.collect::<Vec<_>>().join(","), value.to_string()));
        }
        self
    }

    fn per_device<T: ToString>(
        self,
        picture: &Picture,
        value: impl Fn(&DevicePicture) -> Option<T>,
    ) -> Self {
        picture.devices.iter().fold(self, |metric, device| {
            let labels = [("device", device.name.as_str()), ("role", role(device.role))];
            metric.sample(&labels, value(device))
        })
    }

    fn write(&self, text: &mut String) {
        if self.samples.is_empty() {
            return;
        }
        let Self { name, kind, help, samples } = self;
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let _ = match labels.is_empty() {
                true => writeln!(text, "{name} {value}"),
                false => writeln!(text, "{name}{{{labels}}} {value}"),
            };
        }
    }
}

/// A label's value: backslash, quote and line feed are escaped.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::Meter => "meter",
        Role::Pv => "pv",
        Role::Battery => "battery",
        Role::Charger => "charger",
    }
}

/// Everything that is known at `now_ms`; a figure that is not known is left out.
#[must_use]
pub fn text(picture: &Picture, now_ms: i64) -> String {
    let mut text = String::new();
    let metrics =
        flows(picture).into_iter().chain(devices(picture, now_ms)).chain(delivery(picture));
    metrics.for_each(|metric| metric.write(&mut text));
    text
}

fn flows(picture: &Picture) -> [Metric; 4] {
    let flows = &picture.flows;
    let watts = |mw: Option<i64>| mw.map(|mw| decimal(mw, 3));
    let registers = Metric::new(
        "streetwatt_energy_watthours_total",
        "counter",
        "Registers that never run backwards: import, export and produced.DEVICE.",
    );
    let registers = picture.registers_wh.iter().fold(registers, |metric, (register, wh)| {
        metric.sample(&[("register", register)], Some(wh))
    });
    [
        Metric::new(
            "streetwatt_power_watts",
            "gauge",
            "Present power; grid: positive = from the grid, pv: producing, battery: charging, \
             charger: charging a vehicle.",
        )
        .sample(&[("of", "grid")], watts(flows.power_mw))
        .sample(&[("of", "pv")], watts(flows.pv_mw))
        .sample(&[("of", "battery")], watts(flows.battery_mw))
        .sample(&[("of", "charger")], watts(flows.charger_mw)),
        registers,
        Metric::new("streetwatt_battery_charge_ratio", "gauge", "State of charge, 0 to 1.")
            .sample(&[], flows.soc_permille.map(|permille| decimal(permille, 3))),
        Metric::new("streetwatt_voltage_volts", "gauge", "Voltage of the first phase.")
            .sample(&[], flows.voltage_mv.map(|mv| decimal(mv, 3))),
    ]
}

fn devices(picture: &Picture, now_ms: i64) -> [Metric; 4] {
    [
        Metric::new("streetwatt_device_up", "gauge", "Whether the device has answered lately.")
            .per_device(picture, |device| Some(u8::from(device.is_present(now_ms)))),
        Metric::new(
            "streetwatt_device_age_seconds",
            "gauge",
            "Age of the device's newest answer, in market time.",
        )
        .per_device(picture, |device| device.age_ms(now_ms).map(|ms| decimal(ms, 3))),
        Metric::new(
            "streetwatt_device_answers_total",
            "counter",
            "Usable answers of the device since the start.",
        )
        .per_device(picture, |device| Some(device.answers)),
        Metric::new(
            "streetwatt_device_failures_total",
            "counter",
            "Polls of the device without a usable answer since the start.",
        )
        .per_device(picture, |device| Some(device.failures)),
    ]
}

fn delivery(picture: &Picture) -> Vec<Metric> {
    let status = &picture.status;
    let slot_end = |slot: Option<i64>| slot.map(|slot| Slot::new(slot).end_ms() / 1_000);
    let counter = |name, help| Metric::new(name, "counter", help);
    let gauge = |name, help| Metric::new(name, "gauge", help);
    vec![
        gauge("streetwatt_build_info", "The agent's version.")
            .sample(&[("version", env!("CARGO_PKG_VERSION"))], Some(1)),
        gauge("streetwatt_operator_connected", "Whether the operator's broker is connected.")
            .sample(&[], Some(u8::from(status.connected))),
        counter("streetwatt_readings_journalled_total", "Readings of this epoch on the disk.")
            .sample(&[], Some(status.journalled_seq)),
        counter("streetwatt_readings_receipted_total", "Readings that the operator signed for.")
            .sample(&[], Some(status.released_seq)),
        gauge("streetwatt_readings_waiting", "Readings that wait for a receipt.")
            .sample(&[], Some(picture.waiting())),
        gauge("streetwatt_newest_reading_seconds", "End of the newest read slot, Unix time.")
            .sample(&[], slot_end(status.journalled_slot)),
        counter("streetwatt_edges_missed_total", "Slot ends that could not be read in time.")
            .sample(&[], Some(status.missed_edges)),
        counter("streetwatt_orders_total", "Orders placed since the start.")
            .sample(&[], Some(status.orders)),
        counter("streetwatt_bills_total", "Bills checked since the start.")
            .sample(&[("result", "verified")], Some(status.verified))
            .sample(&[("result", "failed")], Some(status.failed)),
        counter("streetwatt_messages_refused_total", "Messages that were not believed.")
            .sample(&[], Some(status.refused)),
    ]
}

/// What somebody should look at, and whether it is serious: the meter is silent, or a reading is
/// overdue. An inverter that sleeps and an operator that is away are not: the journal bridges both.
#[must_use]
pub fn health(picture: &Picture, now_ms: i64) -> (bool, Value) {
    let status = &picture.status;
    let mut serious = Vec::new();
    let mut slight = Vec::new();
    for device in &picture.devices {
        let reason = device.fault.as_deref().unwrap_or("nothing was heard of it lately");
        if !device.is_present(now_ms) {
            let problem = format!("{}: {reason}", device.name);
            let list = if device.role == Role::Meter { &mut serious } else { &mut slight };
            list.push(problem);
        }
    }
    let due = Slot::at_ms(now_ms - OVERDUE_MS).previous();
    if let Some(newest) = status.journalled_slot
        && newest < due.number()
    {
        serious.push(format!("the newest reading is of slot {}", Slot::new(newest)));
    }
    if !status.connected {
        slight.push("no connection to the operator's broker; readings wait on the disk".to_owned());
    }
    if picture.waiting() > MANY_WAITING {
        slight.push(format!("{} readings wait for the operator's receipt", picture.waiting()));
    }
    if status.failed > 0 {
        slight.push(format!("{} bills did not hold", status.failed));
    }
    let state = match (serious.is_empty(), slight.is_empty()) {
        (true, true) => "ok",
        (true, false) => "degraded",
        (false, _) => "failing",
    };
    let is_well = serious.is_empty();
    let problems: Vec<String> = serious.into_iter().chain(slight).collect();
    (is_well, json!({ "status": state, "problems": problems }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::core::{Flows, Status};

    fn device(name: &str, role: Role, answered_ms: Option<i64>) -> DevicePicture {
        DevicePicture {
            name: name.to_owned(),
            role,
            map: "map".to_owned(),
            answers: 7,
            failures: 2,
            answered_ms,
            max_age_ms: 15_000,
            fault: None,
        }
    }

    fn picture(now_ms: i64) -> Picture {
        let previous = Slot::at_ms(now_ms).previous().number();
        Picture {
            taken_ms: now_ms,
            flows: Flows { power_mw: Some(-1_234_567), soc_permille: Some(55), ..Flows::default() },
            registers_wh: BTreeMap::from([("import".to_owned(), 12), ("export".to_owned(), 0)]),
            status: Status {
                connected: true,
                journalled_seq: 9,
                released_seq: 7,
                journalled_slot: Some(previous),
                ..Status::default()
            },
            devices: vec![
                device("grid", Role::Meter, Some(now_ms - 1_500)),
                device("roof", Role::Pv, None),
            ],
        }
    }

    const NOW: i64 = 1_800_000_000_000;

    #[test]
    fn the_text_has_a_type_per_metric_and_nothing_unknown() {
        let text = text(&picture(NOW), NOW);
        for line in [
            "# TYPE streetwatt_power_watts gauge",
            "streetwatt_power_watts{of=\"grid\"} -1234.567",
            "# TYPE streetwatt_energy_watthours_total counter",
            "streetwatt_energy_watthours_total{register=\"export\"} 0",
            "streetwatt_battery_charge_ratio 0.055",
            "streetwatt_device_up{device=\"grid\",role=\"meter\"} 1",
            "streetwatt_device_up{device=\"roof\",role=\"pv\"} 0",
            "streetwatt_device_age_seconds{device=\"grid\",role=\"meter\"} 1.500",
            "streetwatt_device_failures_total{device=\"roof\",role=\"pv\"} 2",
            "streetwatt_readings_waiting 2",
            "streetwatt_bills_total{result=\"failed\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        for unknown in ["of=\"pv\"", "streetwatt_voltage_volts", "age_seconds{device=\"roof\""] {
            assert!(!text.contains(unknown), "{unknown} is in\n{text}");
        }
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }

    #[test]
    fn only_a_silent_meter_or_an_overdue_reading_is_serious() {
        let well = picture(NOW);
        let check = |change: fn(&mut Picture), is_well: bool, state: &str| {
            let mut picture = well.clone();
            picture.devices[1].answered_ms = Some(NOW);
            change(&mut picture);
            let (found, answer) = health(&picture, NOW);
            assert_eq!((found, answer["status"].as_str()), (is_well, Some(state)), "{answer}");
        };
        check(|_| {}, true, "ok");
        check(|picture| picture.devices[1].answered_ms = None, true, "degraded");
        check(|picture| picture.status.connected = false, true, "degraded");
        check(|picture| picture.status.released_seq = 0, true, "ok");
        check(|picture| picture.status.journalled_seq = 200, true, "degraded");
        check(|picture| picture.devices[0].answered_ms = Some(NOW - 15_001), false, "failing");
        check(|picture| picture.devices[0].answered_ms = None, false, "failing");
        check(|picture| picture.status.journalled_slot = Some(1), false, "failing");
        // A first start has no reading yet.
        check(|picture| picture.status.journalled_slot = None, true, "ok");
    }
}
