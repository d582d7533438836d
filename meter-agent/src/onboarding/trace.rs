//! What goes over the lines while every device is read for a while: for a report of a defect.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use clock::Clock;
use rumqttc::v5::mqttbytes::QoS;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use super::redact::Secrets;
use crate::agent::AgentError;
use crate::chance::Chance;
use crate::config::{Config, ConfigError, DeviceConfig};
use crate::device::{DeviceMap, Inbox, Readout, Telegrams, Trait, Transport};
use crate::modbus::{Ear, Line, Place, Rank, Unit};
use crate::mqtt::{Account, SessionEvent, keep_session};
use crate::streams::overhear;

/// Most of a trace that is kept, in bytes that went over the lines, and in pieces.
const MOST_BYTES: usize = 256 * 1024;
const MOST_PIECES: usize = 4_000;
/// Bytes on one line.
const PER_LINE: usize = 32;

/// One piece of what went over a line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    after: Duration,
    /// We said it.
    ours: bool,
    /// None for bytes; the topic of a message.
    topic: Option<String>,
    bytes: Vec<u8>,
}

/// Pieces as they come, up to the bounds.
#[derive(Debug, Default)]
struct Tape {
    pieces: Vec<Piece>,
    bytes: usize,
    left_out: usize,
}

impl Tape {
    fn take(&mut self, piece: Piece) {
        if self.bytes + piece.bytes.len() > MOST_BYTES || self.pieces.len() >= MOST_PIECES {
            self.left_out += 1;
            return;
        }
        self.bytes += piece.bytes.len();
        // What one side says without being interrupted is one message, however it was cut.
        let same = |last: &&mut Piece| {
            last.ours == piece.ours && last.topic.is_none() && piece.topic.is_none()
        };
        match self.pieces.last_mut().filter(same) {
            Some(last) => last.bytes.extend_from_slice(&piece.bytes),
            None => self.pieces.push(piece),
        }
    }
}

/// What went over the line of one device.
#[derive(Debug)]
pub struct DeviceTrace {
    device: usize,
    head: String,
    tape: Tape,
    /// What the agent made of it.
    outcome: Vec<String>,
    identity: Vec<String>,
}

/// Reads each device in turn, `span` long each, and notes every byte.
///
/// # Errors
/// [`AgentError`] when the configuration cannot be used.
pub async fn trace(
    config: &Config,
    clock: &Clock,
    only: Option<&str>,
    span: Duration,
) -> Result<Vec<DeviceTrace>, AgentError> {
    let maps = config.maps().map_err(ConfigError::from)?;
    let mut traces = Vec::new();
    for (index, (device, map)) in config.devices.iter().zip(maps).enumerate() {
        if only.is_some_and(|only| only != device.name) {
            continue;
        }
        let mut own = DeviceTrace {
            device: index,
            head: format!("{} map {} ({}), {}", device.name, map.id, map.status, map.transport),
            tape: Tape::default(),
            outcome: Vec::new(),
            identity: Vec::new(),
        };
        match map.transport {
            Transport::Mqtt => messages(config, device, map, clock, span, &mut own).await?,
            Transport::P1 | Transport::Sml => telegrams(device, map, clock, span, &mut own).await,
            Transport::Modbus | Transport::Sunspec => {
                registers(device, map, clock, span, &mut own).await
            }
        }
        traces.push(own);
    }
    Ok(traces)
}

/// An ear that writes on a tape.
fn ear(tape: &Arc<Mutex<Tape>>) -> Ear {
    let (tape, started) = (Arc::clone(tape), Instant::now());
    Arc::new(move |ours, bytes| {
        let piece = Piece { after: started.elapsed(), ours, topic: None, bytes: bytes.to_vec() };
        tape.lock().expect("nobody panics while holding it").take(piece);
    })
}

fn taken(tape: &Arc<Mutex<Tape>>) -> Tape {
    std::mem::take(&mut *tape.lock().expect("nobody panics while holding it"))
}

fn told(outcome: Result<&Readout, String>) -> String {
    match outcome {
        Ok(readout) => {
            let shown = |(quantity, figure): (crate::device::Quantity, &crate::device::Figure)| {
                match figure.value.as_value() {
                    Some(&value) => format!("{quantity} {}", quantity.shown(value)),
                    None => format!("{quantity} {}", figure.value),
                }
            };
            readout.iter().map(shown).collect::<Vec<_>>().join(", ")
        }
        Err(reason) => format!("not read: {reason}"),
    }
}

async fn registers(
    device: &DeviceConfig,
    map: DeviceMap,
    clock: &Clock,
    span: Duration,
    own: &mut DeviceTrace,
) {
    let (Some(place), Some(id)) = (device.place(), device.unit) else { return };
    let tape = Arc::default();
    let line = Line::overheard(place, Chance::from_system(), ear(&tape));
    let mut unit = Unit::new(id, map, device.timeout_ms);
    let end = Instant::now() + span;
    loop {
        let read = unit.read(&line, Rank::Poll, clock.now_ms());
        let Ok(outcome) = timeout_at(end, read).await else { break };
        if own.outcome.len() < 50 {
            own.outcome.push(told(outcome.as_ref().map_err(ToString::to_string)));
        }
        sleep(Duration::from_secs(1)).await;
        if Instant::now() >= end {
            break;
        }
    }
    let serial = unit.identity().get(Trait::Serial).map(str::to_owned);
    own.identity.extend(serial);
    drop(line);
    own.tape = taken(&tape);
}

async fn telegrams(
    device: &DeviceConfig,
    map: DeviceMap,
    clock: &Clock,
    span: Duration,
    own: &mut DeviceTrace,
) {
    let Some(place) = device.place() else { return };
    let tape = Arc::default();
    let mut telegrams = Telegrams::new(map);
    let heard = overhear(&place, span, ear(&tape)).await;
    if let Err(reason) = heard {
        own.outcome.push(format!("not read: {reason}"));
    }
    own.tape = taken(&tape);
    for piece in &own.tape.pieces {
        for outcome in telegrams.push(&piece.bytes, clock.now_ms()) {
            own.identity.extend(outcome.as_ref().ok().and_then(|readout| readout.identity.clone()));
            own.outcome.push(told(outcome.as_ref().map_err(ToString::to_string)));
        }
    }
    own.outcome.truncate(50);
}

async fn messages(
    config: &Config,
    device: &DeviceConfig,
    map: DeviceMap,
    clock: &Clock,
    span: Duration,
    own: &mut DeviceTrace,
) -> Result<(), AgentError> {
    let Some(mqtt) = &device.mqtt else { return Ok(()) };
    let broker = mqtt.broker.as_ref().unwrap_or(&config.mqtt);
    let account = Account::of(broker, format!("streetwatt-{}-trace", config.point))?;
    let mut inbox = Inbox::new(map, &mqtt.topic);
    let filters = inbox.topics().iter().map(|topic| (topic.clone(), QoS::AtLeastOnce)).collect();
    let (sender, mut events) = mpsc::channel(64);
    let session = tokio::spawn(keep_session(account, filters, sender, Chance::from_system()));
    let (started, end) = (Instant::now(), Instant::now() + span);
    while let Ok(Some(event)) = timeout_at(end, events.recv()).await {
        match event {
            SessionEvent::Up(_) => own.outcome.push("connected to the broker".to_owned()),
            SessionEvent::Down(reason) => own.outcome.push(format!("no broker: {reason}")),
            SessionEvent::Message { topic, payload, retained } => {
                let outcome = inbox.take(&topic, &payload, retained, clock.now_ms());
                own.outcome.extend(match outcome {
                    Ok(Some(readout)) => Some(told(Ok(&readout))),
                    Ok(None) => None,
                    Err(fault) => Some(told(Err(fault.to_string()))),
                });
                own.tape.take(Piece {
                    after: started.elapsed(),
                    ours: false,
                    topic: Some(format!("{topic}{}", if retained { " (kept)" } else { "" })),
                    bytes: payload,
                });
            }
        }
        own.outcome.truncate(50);
    }
    session.abort();
    Ok(())
}

/// What must not be told of a household.
fn secrets(config: &Config, traces: &[DeviceTrace]) -> Secrets {
    let mut secrets = Secrets::default();
    let serials = traces.iter().flat_map(|trace| &trace.identity);
    for (number, serial) in serials.enumerate() {
        for part in serial.split(' ').filter(|part| part.chars().any(|c| c.is_ascii_digit())) {
            secrets.add(part, &format!("SERIAL-{}", number + 1));
        }
    }
    let mut brokers = vec![&config.mqtt];
    for (index, device) in config.devices.iter().enumerate() {
        let number = index + 1;
        if let Some(Place::Tcp(host) | Place::RtuOverTcp(host)) = device.place() {
            secrets.add(&host, &format!("HOST-{number}"));
            let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
            secrets.add(name, &format!("HOST-{number}"));
        }
        if let Some(mqtt) = &device.mqtt {
            secrets.add(&mqtt.topic, &format!("TOPIC-{number}"));
            for part in mqtt.topic.split('/').filter(|part| part.len() >= 8) {
                secrets.add(part, &format!("TOPIC-{number}"));
            }
            brokers.extend(&mqtt.broker);
        }
        secrets.add(&device.name, &format!("device-{number}"));
    }
    for broker in brokers {
        let host = tls::BrokerUrl::parse(&broker.url).map(|url| url.host).unwrap_or_default();
        secrets.add(&broker.url, "BROKER");
        secrets.add(&host, "BROKER");
    }
    secrets.add(config.point.as_str(), "POINT");
    secrets
}

/// The trace as text; with `redact` without what tells whose it is.
#[must_use]
pub fn trace_text(config: &Config, traces: &[DeviceTrace], redact: bool) -> String {
    let secrets = if redact { secrets(config, traces) } else { Secrets::default() };
    let clean = |text: &str| if redact { secrets.text(text) } else { text.to_owned() };
    let mut text = format!("# meter-agent {} trace\n", env!("CARGO_PKG_VERSION"));
    text.push_str(if redact {
        "# Serial numbers, addresses and topics are taken out (x, HOST, TOPIC, SERIAL, ADDRESS). Counters \
         and powers are in it: look through it before you show it.\n"
    } else {
        "# NOT redacted: serial numbers, addresses and topics are in it. --redact takes them out.\n"
    });
    for trace in traces {
        let device = &config.devices[trace.device];
        text.push_str(&format!("\n## {}\n", clean(&trace.head)));
        if let (Some(place), unit) = (device.place(), device.unit) {
            let unit = unit.map_or(String::new(), |unit| format!(", unit {unit}"));
            text.push_str(&format!("# at {}{unit}\n", clean(&place.to_string())));
        }
        for piece in &trace.tape.pieces {
            put(&mut text, piece, redact.then_some(&secrets));
        }
        if trace.tape.left_out > 0 {
            text.push_str(&format!("# {} more pieces are left out\n", trace.tape.left_out));
        }
        for outcome in &trace.outcome {
            text.push_str(&format!("= {}\n", clean(outcome)));
        }
    }
    text
}

fn put(text: &mut String, piece: &Piece, secrets: Option<&Secrets>) {
    let mark = if piece.ours { '>' } else { '<' };
    let time = format!("{:>9.3} {mark}", piece.after.as_secs_f64());
    if let Some(topic) = &piece.topic {
        let payload = String::from_utf8_lossy(&piece.bytes);
        let (topic, payload) = match secrets {
            Some(secrets) => (secrets.text(topic), secrets.text(&payload)),
            None => (topic.clone(), payload.into_owned()),
        };
        let payload: String = payload.chars().take(2_000).flat_map(char::escape_debug).collect();
        text.push_str(&format!("{time} {topic} {payload}\n"));
        return;
    }
    let bytes = secrets.map_or_else(|| piece.bytes.clone(), |secrets| secrets.bytes(&piece.bytes));
    for (index, line) in bytes.chunks(PER_LINE).enumerate() {
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let shown = |byte: &u8| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '.' };
        let plain: String = line.iter().map(shown).collect();
        let lead = if index == 0 { time.clone() } else { " ".repeat(time.len()) };
        text.push_str(&format!("{lead} {}  {plain}\n", hex.join(" ")));
    }
}
