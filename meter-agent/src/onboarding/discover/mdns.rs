//! Devices that announce themselves by multicast DNS (RFC 6762, RFC 6763).

use std::collections::BTreeMap;
use std::time::Duration;

use mdns_sd::{ResolvedService, ServiceDaemon, ServiceEvent};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

/// What is asked for: meters and plugs, Modbus, ESPHome and HomeWizard, brokers, operators, and web
/// pages, by whose names inverters give themselves away.
const SERVICES: [&str; 7] = [
    "_shelly._tcp.local.",
    "_modbus._tcp.local.",
    "_esphomelib._tcp.local.",
    "_hwenergy._tcp.local.",
    "_mqtt._tcp.local.",
    "_openadr3._tcp.local.",
    "_http._tcp.local.",
];
/// Announcements that are kept, at most.
const MOST: usize = 128;
/// Makers whose web pages are worth a look over Modbus: part of the name, port, unit.
const MAKERS: [(&str, u16, &str); 12] = [
    ("fronius", 502, "1 (meter: 200)"),
    ("sma", 502, "3 (SunSpec: 126)"),
    ("solaredge", 1_502, "1"),
    ("kostal", 1_502, "71"),
    ("plenticore", 1_502, "71"),
    ("goodwe", 502, "247"),
    ("huawei", 502, "1"),
    ("sungrow", 502, "1"),
    ("victron", 502, "100"),
    ("venus", 502, "100"),
    ("keba", 502, "255"),
    ("alfen", 502, "1"),
];

/// A device that announced itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Announced {
    /// The name it gives itself.
    pub name: String,
    /// What it offers, as in `_shelly._tcp`.
    pub service: String,
    /// Where, an IPv4 address if it has one.
    pub address: String,
    /// The port of what it offers.
    pub port: u16,
    /// What to do about it, when it can be a device for the agent; none for others.
    pub hint: Option<String>,
}

/// Listens for announcements for so long.
///
/// # Errors
/// Why the network cannot be asked.
pub async fn announced(span: Duration) -> Result<Vec<Announced>, String> {
    let daemon = ServiceDaemon::new().map_err(|error| error.to_string())?;
    let end = Instant::now() + span;
    let mut receivers = Vec::new();
    for service in SERVICES {
        receivers.push(daemon.browse(service).map_err(|error| error.to_string())?);
    }
    let mut found: BTreeMap<(String, String), Announced> = BTreeMap::new();
    for receiver in receivers {
        // The queues are bounded and filled by the daemon meanwhile, so that one after the other will do.
        loop {
            let event = match timeout_at(end, receiver.recv_async()).await {
                Ok(Ok(event)) => event,
                Ok(Err(_)) => break,
                Err(_) => match receiver.try_recv() {
                    Ok(event) => event,
                    Err(_) => break,
                },
            };
            if let ServiceEvent::ServiceResolved(service) = event
                && found.len() < MOST
                && let Some(announced) = of_service(&service)
            {
                found.insert((announced.address.clone(), announced.service.clone()), announced);
            }
        }
    }
    // It may have ended by itself.
    let _ = daemon.shutdown();
    Ok(found.into_values().collect())
}

fn of_service(service: &ResolvedService) -> Option<Announced> {
    let kind = service.ty_domain.trim_end_matches('.').trim_end_matches(".local");
    let name = service.fullname.trim_end_matches(&service.ty_domain).trim_end_matches('.');
    let mut addresses: Vec<_> = service.addresses.iter().map(|own| own.to_ip_addr()).collect();
    // IPv4 first, and always the same one.
    addresses.sort();
    let address = addresses.first()?.to_string();
    let told = |key: &str| service.get_property_val_str(key).unwrap_or_default().to_owned();
    let clean = |text: &str| text.chars().filter(|c| !c.is_control()).take(80).collect::<String>();
    let (name, port) = (clean(name), service.port);
    let hint = hint(kind, &name, &address, port, &told("gen"));
    Some(Announced { name, service: kind.to_owned(), address, port, hint })
}

/// What to do about a device, by what it announces.
fn hint(kind: &str, name: &str, address: &str, port: u16, generation: &str) -> Option<String> {
    let lower = name.to_lowercase();
    match kind {
        "_modbus._tcp" => Some(format!("meter-agent probe {address}:{port}")),
        "_shelly._tcp" if generation.is_empty() || generation == "1" => Some(
            "switch MQTT on in its settings (Internet & Security), then meter-agent discover --mqtt \
             mqtt://YOUR_BROKER"
                .to_owned(),
        ),
        "_shelly._tcp" => Some(
            "switch MQTT on in its settings, with 'Generic status update over MQTT', then meter-agent \
             discover --mqtt mqtt://YOUR_BROKER"
                .to_owned(),
        ),
        "_esphomelib._tcp" => Some(
            "give the node the mqtt component, then meter-agent discover --mqtt mqtt://YOUR_BROKER"
                .to_owned(),
        ),
        "_hwenergy._tcp" => Some(
            "it speaks only HTTP: read its meter's P1 port without it (map dsmr-p1), or through Home \
             Assistant (map home-assistant)"
                .to_owned(),
        ),
        "_mqtt._tcp" => Some(format!("a broker: meter-agent discover --mqtt mqtt://{address}:{port}")),
        "_openadr3._tcp" => None,
        // Web pages of things that tell their name in a service of their own are told there.
        _ if lower.starts_with("shelly") => None,
        _ => MAKERS.iter().find(|(maker, ..)| lower.contains(maker)).map(|(_, port, unit)| {
            format!("Modbus may have to be switched on; then meter-agent probe {address}:{port}, unit {unit}")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_lead_somewhere() {
        for (kind, name, generation, said) in [
            ("_modbus._tcp", "gateway", "", Some("probe 192.0.2.7:80")),
            ("_shelly._tcp", "shellyem-AA", "", Some("Internet & Security")),
            ("_shelly._tcp", "shellypro3em-AA", "2", Some("Generic status update")),
            ("_http._tcp", "shellypro3em-AA", "2", None),
            ("_http._tcp", "SMA123", "", Some("unit 3")),
            ("_http._tcp", "My SolarEdge", "", Some("probe 192.0.2.7:1502")),
            ("_http._tcp", "printer", "", None),
            ("_hwenergy._tcp", "p1meter", "", Some("only HTTP")),
        ] {
            let hint = hint(kind, name, "192.0.2.7", 80, generation);
            match said {
                Some(said) => assert!(hint.as_deref().is_some_and(|h| h.contains(said)), "{name}"),
                None => assert_eq!(hint, None, "{name}"),
            }
        }
    }

    #[test]
    fn a_service_becomes_what_a_person_can_read() {
        let info = mdns_sd::ServiceInfo::new(
            "_modbus._tcp.local.",
            "meter\u{1b}[31m in the cellar",
            "meter.local.",
            "192.0.2.9",
            502,
            None,
        );
        let service = info.expect("valid").as_resolved_service();
        let announced = of_service(&service).expect("it has an address");
        assert_eq!((announced.address.as_str(), announced.port), ("192.0.2.9", 502));
        assert!(announced.name.starts_with("meter[31m in"), "no control characters: {announced:?}");
        assert_eq!(announced.hint.as_deref(), Some("meter-agent probe 192.0.2.9:502"));
    }
}
