//! Looking at an address that a person has named: who answers, what it is, which maps fit.
//!
//! Five questions a second at most, to the few units that makers deliver their devices with, and to
//! others only when they are named: sweeping all 247 has brought gateways down. Where a gateway says
//! that nobody is there, it is not asked about many more.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::fit::{Confidence, Fit, judge, maker};
use super::interview::{Interview, Stop, Told};
use super::progress::Progress;
use super::target::Target;
use crate::device::{Chain, DeviceMap, Identity, Trait, Transport};
use crate::modbus::{Place, ReadError, Sounding};

/// Between two questions.
pub const PACE: Duration = Duration::from_millis(200);
/// Where makers deliver their devices: inverters at 1, meters at 1 or 2, SMA at 3 and (SunSpec) 126,
/// Kostal at 71, Victron at 100, Fronius meters at 200 and 240, GoodWe at 247.
const UNITS: [u8; 13] = [1, 2, 3, 71, 100, 126, 200, 201, 202, 203, 204, 240, 247];
/// On a serial line an absent unit costs a second of everybody's time.
const SERIAL_UNITS: [u8; 4] = [1, 2, 3, 247];
/// How long a unit has for its first answer, and for the others.
const FIRST_ANSWER: Duration = Duration::from_millis(1_000);
const ANSWER: Duration = Duration::from_millis(3_000);
/// A device that nobody heard of is given so long after connecting, and so long for its answer.
const DEAF: Duration = Duration::from_millis(2_000);
const SLOW_ANSWER: Duration = Duration::from_millis(6_000);
/// Units that a gateway may call absent before no more are tried.
const MOST_ABSENT: u32 = 2;
/// Units that are asked about maps, at most; more than that is no household's device.
const MOST_UNITS: usize = 8;

/// What was found at one address.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ProbeReport {
    /// Where was looked.
    pub target: String,
    /// Who answers.
    pub units: Vec<UnitReport>,
    /// Units that were asked and are not there.
    pub absent: Vec<u8>,
    /// What else a person should know.
    pub notes: Vec<String>,
    /// Questions that were asked.
    pub questions: u32,
}

/// One unit that answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct UnitReport {
    /// Unit id.
    pub unit: u8,
    /// What it says it is.
    pub identity: BTreeMap<String, String>,
    /// Its SunSpec models; none when it has no marker.
    pub sunspec: Option<Vec<u16>>,
    /// Maps that fit, the best first.
    pub fits: Vec<Fit>,
    /// Maps that do not, and why.
    pub refused: Vec<(String, String)>,
    /// Why the asking ended early, if it did.
    pub note: Option<String>,
}

impl UnitReport {
    /// Whether two units are two faces of one device: the same words, the same serial number.
    pub(super) fn is_same_device(&self, other: &Self) -> bool {
        let serial = Trait::Serial.to_string();
        self.identity.get(&serial).is_some_and(|own| other.identity.get(&serial) == Some(own))
    }
}

/// Why nothing was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// No connection.
    #[error("cannot connect to {place}: {reason}. {advice}")]
    Unreachable {
        /// Where.
        place: String,
        /// The system's answer.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// A connection, and no answer.
    #[error("{place} accepts connections, but no unit answers (asked: {units}). {advice}")]
    Silent {
        /// Where.
        place: String,
        /// Who was asked.
        units: String,
        /// What to do.
        advice: &'static str,
    },
    /// Something answers that speaks otherwise.
    #[error(
        "what answers at {place} does not speak Modbus ({reason}). Is the port right? Modbus TCP is \
         502 or 1502; a web page is 80, a broker 1883. If a gateway passes the bytes of an RS-485 line \
         on as they are, write rtu://{place}"
    )]
    Foreign {
        /// Where.
        place: String,
        /// What came.
        reason: String,
    },
}

/// What to do about a place that cannot be reached.
#[must_use]
pub fn advice(reason: &str) -> &'static str {
    let reason = reason.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    if has(&["refused"]) {
        "Somebody is there, but nobody listens at this port: switch Modbus TCP on in the device's menu, \
         and check the port (502, sometimes 1502)"
    } else if has(&["no answer within", "timed out", "unreachable", "no route"]) {
        "Nobody answers there: check the address in your router's list of devices, and whether this \
         computer is in the same network"
    } else if has(&["lookup", "not known", "resolve", "nodename", "temporary failure"]) {
        "Nobody knows this name: write the address instead, as your router shows it"
    } else if has(&["permission", "denied"]) {
        "This account may not use the port: add it to the group of the port (`ls -l` shows it, mostly \
         dialout) and log in again"
    } else if has(&["no such file", "not found"]) {
        "There is no such port: `ls -l /dev/serial/by-id` shows what is plugged in"
    } else if has(&["busy", "in use"]) {
        "Another program has it open: only one can"
    } else {
        "Check address, cable and power"
    }
}

/// Looks at an address, with these maps in mind. `now_ms` is the time now, Unix milliseconds.
///
/// # Errors
/// [`ProbeError`] when nothing there answers.
pub async fn probe(
    target: &Target,
    maps: &BTreeMap<String, DeviceMap>,
    now_ms: i64,
    progress: &Progress,
) -> Result<ProbeReport, ProbeError> {
    let mut sounding = Sounding::new(target.place.clone(), PACE);
    let mut report = ProbeReport { target: target.to_string(), ..ProbeReport::default() };
    progress.tell(&format!("connecting to {}", target.place));
    sounding.connect().await.map_err(|error| unreachable(&target.place, &error))?;
    let asked = units(target);
    let mut found = scan(&mut sounding, &asked, FIRST_ANSWER, progress, &mut report).await?;
    if found.is_empty() && report.absent.is_empty() {
        progress.tell("no answer yet: once more, with more patience");
        sounding.be_patient(DEAF);
        let few = &asked[..asked.len().min(2)];
        found = scan(&mut sounding, few, SLOW_ANSWER, progress, &mut report).await?;
    }
    if found.is_empty() {
        return Err(silent(target, &asked, &report));
    }
    if found.len() > MOST_UNITS {
        report
            .notes
            .push(format!("{} units answer; the first {MOST_UNITS} were looked at", found.len()));
        found.truncate(MOST_UNITS);
    }
    for unit in found {
        progress.tell(&format!("unit {unit} answers: which maps fit?"));
        if let Some(same) = twin(&mut sounding, unit, &report.units, maps, now_ms).await {
            progress.tell(&format!("unit {unit} is unit {same} once more"));
            report.notes.push(format!("unit {unit} is the same device as unit {same}"));
            continue;
        }
        let told = look(&mut sounding, unit, maps, now_ms).await;
        let best = told.fits.first().filter(|fit| fit.confidence > Confidence::No);
        match best {
            Some(fit) => progress.tell(&format!("unit {unit}: {} ({})", fit.name, fit.confidence)),
            None => progress.tell(&format!("unit {unit}: no map fits")),
        }
        report.units.push(told);
    }
    report.questions = sounding.asked();
    Ok(report)
}

fn units(target: &Target) -> Vec<u8> {
    match (target.unit, &target.place) {
        (Some(unit), _) => vec![unit],
        (None, Place::Tcp(_)) => UNITS.to_vec(),
        (None, _) => SERIAL_UNITS.to_vec(),
    }
}

fn unreachable(place: &Place, error: &ReadError) -> ProbeError {
    let reason = match error {
        ReadError::Unreachable { reason, .. } => reason.clone(),
        other => other.to_string(),
    };
    ProbeError::Unreachable { advice: advice(&reason), place: place.to_string(), reason }
}

fn silent(target: &Target, asked: &[u8], report: &ProbeReport) -> ProbeError {
    let list: Vec<String> = asked.iter().map(u8::to_string).collect();
    let advice = match (&target.place, report.absent.is_empty()) {
        (_, false) => {
            "The gateway says that nobody is behind these: what is the device's unit id? Name it after \
             a slash, for example …:502/5"
        }
        (Place::Tcp(_), true) => {
            "Is another program connected (many devices speak to one at a time)? Is Modbus switched \
             on, without restriction to one address? If the unit id is another one, name it after a \
             slash, for example …:502/5"
        }
        (Place::RtuOverTcp(_) | Place::Serial(_), true) => {
            "Are A and B swapped, is the speed right (@9600-8N1, @19200-8E1 …), and what is the unit \
             id? Nothing breaks by swapping the wires"
        }
    };
    let list = if report.absent.is_empty() {
        list.join(", ")
    } else {
        report.absent.iter().map(u8::to_string).collect::<Vec<_>>().join(", ")
    };
    ProbeError::Silent { place: target.place.to_string(), units: list, advice }
}

/// Which of these units answer.
async fn scan(
    sounding: &mut Sounding,
    units: &[u8],
    patience: Duration,
    progress: &Progress,
    report: &mut ProbeReport,
) -> Result<Vec<u8>, ProbeError> {
    let mut found = Vec::new();
    let mut absent_in_a_row = 0;
    let mut foreign = 0;
    for &unit in units {
        progress.tell(&format!("asking unit {unit}"));
        let mut interview = Interview::new(sounding, unit, patience);
        match interview.words(3, 40_000, 2).await {
            Ok(_) | Err(Stop::Enough) => {
                found.push(unit);
                absent_in_a_row = 0;
            }
            Err(Stop::Absent(_)) => {
                report.absent.push(unit);
                absent_in_a_row += 1;
                if absent_in_a_row == MOST_ABSENT {
                    progress.tell("the gateway says that nobody is there: no more units are tried");
                    break;
                }
            }
            Err(Stop::Unreachable(error)) => return Err(unreachable(sounding.place(), &error)),
            Err(Stop::Silent(ReadError::Broken { reason, .. })) => {
                foreign += 1;
                // Somebody who answers every unit with something else is no Modbus device.
                if foreign == 2 && found.is_empty() {
                    let place = sounding.place().to_string();
                    return Err(ProbeError::Foreign { place, reason });
                }
            }
            Err(Stop::Silent(_)) => {}
        }
    }
    Ok(found)
}

/// The unit that is the same device by its serial number: many answer under every unit id.
async fn twin(
    sounding: &mut Sounding,
    unit: u8,
    known: &[UnitReport],
    maps: &BTreeMap<String, DeviceMap>,
    now_ms: i64,
) -> Option<u8> {
    let serial = Trait::Serial.to_string();
    let mut interview = Interview::new(sounding, unit, ANSWER);
    for other in known {
        let Some((serial, map)) = other.identity.get(&serial).zip(other.fits.first()) else {
            continue;
        };
        let Some(map) = maps.get(&map.map) else { continue };
        let chain = match map.transport {
            Transport::Sunspec => interview.chain().await.ok()?.ok()??,
            _ => Chain::default(),
        };
        let told = interview.told_by(map, Some(&chain), now_ms).await.ok()?;
        if matches!(&told, Told::Readout(_, own) if own.get(Trait::Serial) == Some(serial)) {
            return Some(other.unit);
        }
    }
    None
}

/// Whether a map is worth asking about: a map with models only where there are some.
fn is_candidate(map: &DeviceMap, chain: Option<&Chain>) -> bool {
    match (map.transport, chain) {
        (Transport::Modbus, _) => true,
        (Transport::Sunspec, Some(chain)) => {
            let mut required = map.blocks.iter().filter(|block| !block.optional);
            required.all(|block| chain.find(&block.models).is_some())
                && map.blocks.iter().any(|block| chain.find(&block.models).is_some())
        }
        _ => false,
    }
}

/// Whether a device that has said by its models what it is need not be asked about a map of another
/// maker.
fn is_settled(map: &DeviceMap, fitting: &[(Fit, Identity)]) -> bool {
    fitting.iter().any(|(fit, identity)| {
        let of_this_maker = || {
            let manufacturer = identity.get(Trait::Manufacturer).unwrap_or_default().to_lowercase();
            maker(map).is_some_and(|maker| manufacturer.contains(&maker))
        };
        fit.confidence == Confidence::Certain && !of_this_maker()
    })
}

/// Asks one unit about every map.
async fn look(
    sounding: &mut Sounding,
    unit: u8,
    maps: &BTreeMap<String, DeviceMap>,
    now_ms: i64,
) -> UnitReport {
    let mut report = UnitReport { unit, ..UnitReport::default() };
    let mut interview = Interview::new(sounding, unit, ANSWER);
    let chain = match interview.chain().await {
        Ok(Ok(chain)) => chain,
        Ok(Err(fault)) => {
            report.note = Some(fault.to_string());
            None
        }
        Err(stop) => return stopped(report, &stop),
    };
    report.sunspec = chain.as_ref().map(|own| own.models().iter().map(|model| model.id).collect());
    // Where a device has models, they are its own word; maps of fixed registers come second.
    let mut fitting: Vec<(Fit, Identity)> = Vec::new();
    let by_standard = maps.values().filter(|map| map.transport == Transport::Sunspec);
    let by_address = maps.values().filter(|map| map.transport == Transport::Modbus);
    for map in by_standard.chain(by_address).filter(|map| is_candidate(map, chain.as_ref())) {
        if map.transport == Transport::Modbus && is_settled(map, &fitting) {
            continue;
        }
        match interview.told_by(map, chain.as_ref(), now_ms).await {
            Ok(Told::Readout(told, identity)) => {
                let fit = judge(map, &told, &identity, Some(unit));
                let said_something = fit.figures.iter().any(|figure| figure.value.is_some());
                if fit.against.is_empty() && said_something {
                    fitting.push((fit, identity));
                } else {
                    report.refused.push((map.id.clone(), why_not(&fit)));
                }
            }
            Ok(Told::NotThis(why)) => report.refused.push((map.id.clone(), why)),
            Err(stop) => {
                report = stopped(report, &stop);
                break;
            }
        }
    }
    fitting
        .sort_by_key(|(fit, _)| (std::cmp::Reverse((fit.confidence, fit.score)), fit.map.clone()));
    // What the best of them reads as a name is the name.
    if let Some((_, identity)) = fitting.first() {
        let told = identity.iter().map(|(which, text)| (which.to_string(), text.to_owned()));
        report.identity = told.collect();
    }
    report.fits = fitting.into_iter().map(|(fit, _)| fit).collect();
    report
}

fn why_not(fit: &Fit) -> String {
    if fit.against.is_empty() { "it says nothing".to_owned() } else { fit.against.join("; ") }
}

fn stopped(mut report: UnitReport, stop: &Stop) -> UnitReport {
    let why = match stop {
        Stop::Silent(error) => {
            format!("it stopped answering ({error}); it was not asked any further")
        }
        Stop::Absent(error) | Stop::Unreachable(error) => error.to_string(),
        Stop::Enough => "it has been asked enough; further maps were not tried".to_owned(),
    };
    report.note = Some(why);
    report
}
