//! Meters that publish by themselves over MQTT, as Shelly, Tasmota and DSMR-reader spell it.
//!
//! Counters are whole Wh, in the unit of the device: what a telegram says is exactly what the
//! meter's display would show.

use serde_json::{Value, json};
use units::Slot;

use super::plate::MeterFace;
use crate::world::CustomerTruth;

/// One MQTT message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telegram {
    /// Topic.
    pub topic: String,
    /// Payload.
    pub payload: String,
}

/// A message that says whether a device is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// Retained topic.
    pub topic: String,
    /// Payload while it is connected.
    pub online: &'static str,
    /// Payload of the last will.
    pub offline: &'static str,
}

/// The retained presence message of a meter, if its kind has one.
#[must_use]
pub fn presence(face: &MeterFace) -> Option<Presence> {
    match face {
        MeterFace::Shelly { topic_prefix } => Some(Presence {
            topic: format!("{topic_prefix}/online"),
            online: "true",
            offline: "false",
        }),
        MeterFace::Tasmota { topic } => Some(Presence {
            topic: format!("tele/{topic}/LWT"),
            online: "Online",
            offline: "Offline",
        }),
        MeterFace::Dsmr { .. } | MeterFace::SunSpec | MeterFace::Sdm630 => None,
    }
}

/// Everything that a meter publishes at one moment; nothing for a meter that is asked.
#[must_use]
pub fn telegrams(face: &MeterFace, truth: &CustomerTruth) -> Vec<Telegram> {
    match face {
        MeterFace::SunSpec | MeterFace::Sdm630 => Vec::new(),
        MeterFace::Shelly { topic_prefix } => shelly(topic_prefix, truth),
        MeterFace::Tasmota { topic } => vec![tasmota(topic, truth)],
        MeterFace::Dsmr { topic_prefix } => dsmr(topic_prefix, truth),
    }
}

/// Rounded to a number of decimals, as firmware prints it.
fn rounded(value: f64, decimals: i32) -> f64 {
    let factor = 10f64.powi(decimals);
    // Adding 0 turns −0 into 0.
    (value * factor).round() / factor + 0.0
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn wh(count: u64) -> f64 {
    count as f64
}

fn shelly(prefix: &str, truth: &CustomerTruth) -> Vec<Telegram> {
    let (watt, volt_ampere) = (truth.net_w(), truth.apparent_va());
    let ampere = volt_ampere / 3.0 / truth.voltage_v;
    let factor = if volt_ampere > 0.0 { watt.abs() / volt_ampere } else { 1.0 };
    let mut status = serde_json::Map::new();
    let mut energy = serde_json::Map::new();
    status.insert("id".into(), json!(0));
    energy.insert("id".into(), json!(0));
    for (i, phase) in ["a", "b", "c"].into_iter().enumerate() {
        let mut set = |name: &str, value: f64| {
            status.insert(format!("{phase}_{name}"), json!(value));
        };
        set("current", rounded(ampere, 3));
        set("voltage", rounded(truth.voltage_v, 1));
        set("act_power", rounded(watt / 3.0, 1));
        set("aprt_power", rounded(volt_ampere / 3.0, 1));
        set("pf", rounded(factor, 2));
        set("freq", 50.0);
        // The first phase takes the remainder, so that the phases add up to the total.
        let third = |total: u64| if i == 0 { total - 2 * (total / 3) } else { total / 3 };
        energy.insert(format!("{phase}_total_act_energy"), json!(wh(third(truth.import_wh))));
        energy.insert(format!("{phase}_total_act_ret_energy"), json!(wh(third(truth.export_wh))));
    }
    status.insert("n_current".into(), Value::Null);
    status.insert("total_current".into(), json!(rounded(ampere * 3.0, 3)));
    status.insert("total_act_power".into(), json!(rounded(watt, 3)));
    status.insert("total_aprt_power".into(), json!(rounded(volt_ampere, 3)));
    energy.insert("total_act".into(), json!(wh(truth.import_wh)));
    energy.insert("total_act_ret".into(), json!(wh(truth.export_wh)));
    vec![
        Telegram {
            topic: format!("{prefix}/status/em:0"),
            payload: Value::Object(status).to_string(),
        },
        Telegram {
            topic: format!("{prefix}/status/emdata:0"),
            payload: Value::Object(energy).to_string(),
        },
    ]
}

/// kWh with three decimals, exact to the Wh.
fn kwh(count: u64) -> String {
    format!("{}.{:03}", count / 1_000, count % 1_000)
}

fn tasmota(topic: &str, truth: &CustomerTruth) -> Telegram {
    let watt = truth.net_w();
    let volt_ampere = truth.apparent_va();
    let factor = if volt_ampere > 0.0 { watt.abs() / volt_ampere } else { 1.0 };
    // Written by hand: a float would print 1234.5600000000001 now and then.
    let payload = format!(
        "{{\"Time\":\"{}\",\"ENERGY\":{{\"TotalStartTime\":\"2015-01-01T00:00:00\",\
         \"Total\":{},\"ExportActive\":{},\"Power\":{:.0},\"ApparentPower\":{:.0},\
         \"ReactivePower\":{:.0},\"Factor\":{factor:.2},\"Frequency\":50,\"Voltage\":{:.1},\
         \"Current\":{:.3}}}}}",
        local_time(truth.at_ms),
        kwh(truth.import_wh),
        kwh(truth.export_wh),
        rounded(watt, 0),
        volt_ampere,
        rounded(truth.reactive_var(), 0),
        truth.voltage_v,
        volt_ampere / truth.voltage_v,
    );
    Telegram { topic: format!("tele/{topic}/SENSOR"), payload }
}

/// The clock of a device that knows no zone; this one is set to UTC.
fn local_time(at_ms: i64) -> String {
    let slot = Slot::at_ms(at_ms);
    let day = slot.to_string();
    let seconds = at_ms.div_euclid(1_000).rem_euclid(86_400);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{}T{hour:02}:{minute:02}:{second:02}", &day[..10])
}

fn dsmr(prefix: &str, truth: &CustomerTruth) -> Vec<Telegram> {
    let kw = |watt: f64| format!("{:.3}", watt.max(0.0) / 1_000.0);
    let watt = truth.net_w();
    let ampere = truth.apparent_va() / 3.0 / truth.voltage_v;
    let mut all = vec![
        ("timestamp".to_owned(), format!("{}Z", local_time(truth.at_ms))),
        // Tariff 1 is the low one.
        ("electricity_delivered_1".to_owned(), kwh(truth.low_import_wh)),
        ("electricity_delivered_2".to_owned(), kwh(truth.import_wh - truth.low_import_wh)),
        ("electricity_returned_1".to_owned(), kwh(truth.low_export_wh)),
        ("electricity_returned_2".to_owned(), kwh(truth.export_wh - truth.low_export_wh)),
        ("electricity_currently_delivered".to_owned(), kw(watt)),
        ("electricity_currently_returned".to_owned(), kw(-watt)),
    ];
    for phase in 1..=3 {
        all.push((format!("phase_currently_delivered_l{phase}"), kw(watt / 3.0)));
        all.push((format!("phase_currently_returned_l{phase}"), kw(-watt / 3.0)));
        all.push((format!("phase_voltage_l{phase}"), format!("{:.1}", truth.voltage_v)));
        all.push((format!("phase_power_current_l{phase}"), format!("{ampere:.0}")));
    }
    all.into_iter()
        .map(|(name, payload)| Telegram { topic: format!("{prefix}/{name}"), payload })
        .collect()
}
