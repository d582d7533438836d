//! The journal in the Open Charge Metering Format 1.4: what transparency software can check.
//!
//! Each signed reading becomes one record of the fiscal context (readings without a charging
//! transaction): both registers, their time with its state, the meter's state, and a page number that
//! counts up by one. The native signature is Ed25519, which OCMF does not know, so these records are
//! signed by a second key on the curve P-256, one per epoch, because the page numbers start anew with
//! each. The same reading always gives the same bytes, signature included (RFC 6979): an export can be
//! repeated and compared. The public key goes to whoever checks by another way than the records.
//!
//! Format: OCMF 1.4, S.A.F.E. e.V.; OBIS codes of the registers as in IEC 62056-6-1.

use std::path::Path;

use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use protocol::{B256, ClockStatus, Domain, EventKind, Quality, Reading};
use serde_json::json;
use units::Slot;

use crate::core;
use crate::key_file::{self, KeyError};

/// Register of the energy from the grid, and of the energy to it.
const IMPORT: &str = "01-00:01.08.00*FF";
const EXPORT: &str = "01-00:02.08.00*FF";
/// What precedes the point of a P-256 key in SPKI (RFC 5480): its algorithm and curve.
const SPKI_HEAD: &str = "3059301306072A8648CE3D020106082A8648CE3D030107034200";

/// Why there is no key for OCMF.
#[derive(Debug, thiserror::Error)]
pub enum OcmfError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] KeyError),
    /// It holds no key.
    #[error("{file}: no key of the curve P-256: 64 hexadecimal digits are expected")]
    NoKey {
        /// The file.
        file: String,
    },
}

/// The key that signs the records of one epoch.
pub struct OcmfKey(SigningKey);

impl OcmfKey {
    /// Reads the key of an epoch from `folder`, or makes it: `ocmf-EPOCH.key`, readable by its owner
    /// only.
    ///
    /// # Errors
    /// [`OcmfError`].
    pub fn load_or_create(folder: &Path, epoch: u32) -> Result<Self, OcmfError> {
        let path = folder.join(format!("ocmf-{epoch}.key"));
        if !path.exists() {
            key_file::create(&path)?;
        }
        let no_key = || OcmfError::NoKey { file: path.display().to_string() };
        let bytes = hex::decode(key_file::secret(&path)?.trim()).map_err(|_| no_key())?;
        SigningKey::from_slice(&bytes).map(Self).map_err(|_| no_key())
    }

    /// The public half as transparency software takes it: SPKI in DER, hexadecimal.
    #[must_use]
    pub fn public_hex(&self) -> String {
        let point = self.0.verifying_key().to_encoded_point(false);
        format!("{SPKI_HEAD}{}", hex::encode_upper(point.as_bytes()))
    }

    /// The record of a reading. `serial` is the meter's number when it is known.
    #[must_use]
    pub fn record(&self, domain: &Domain, reading: &Reading, serial: Option<&str>) -> String {
        let payload = payload(domain, reading, serial);
        let signature: Signature = self.0.sign(payload.as_bytes());
        let signature = json!({
            "SA": "ECDSA-secp256r1-SHA256",
            "SE": "hex",
            "SM": "application/x-der",
            "SD": hex::encode_upper(signature.to_der().as_bytes()),
        });
        format!("OCMF|{payload}|{signature}")
    }
}

/// What is signed. Written out, so that its bytes do not depend on a library's taste.
fn payload(domain: &Domain, reading: &Reading, serial: Option<&str>) -> String {
    let text = |text: &str| serde_json::Value::from(text.replace('|', "/")).to_string();
    let gateway = format!("{}/{}/{}", domain.community(), reading.point, reading.epoch);
    let meter = serial.map_or_else(String::new, |serial| format!("\"MS\":{},", text(serial)));
    let slot_end = utc(Slot::new(reading.slot).end_ms(), '.');
    let digest: B256 = domain.digest(reading);
    let readings = [(IMPORT, reading.import_wh), (EXPORT, reading.export_wh)].map(|(obis, wh)| {
        format!(
            "{{\"TM\":\"{} {}\",\"RV\":{wh},\"RI\":\"{obis}\",\"RU\":\"Wh\",\"RT\":\"AC\",\"EF\":\"{}\",\"ST\":\"{}\"}}",
            utc(reading.time_ms, ',').replace('Z', "+0000"),
            time_state(reading),
            error_flags(reading),
            meter_state(reading),
        )
    });
    format!(
        "{{\"FV\":\"1.4\",\"GI\":\"Streetwatt meter-agent\",\"GS\":{},\"PG\":\"F{}\",{meter}\"RD\":[{}],\
         \"XE\":\"{slot_end}\",\"XQ\":{},\"XD\":\"{digest}\"}}",
        text(&gateway),
        reading.seq,
        readings.join(","),
        text(&reading.quality),
    )
}

/// OCMF's letter for the state of the clock.
fn time_state(reading: &Reading) -> char {
    match reading.clock.parse() {
        Ok(ClockStatus::Synchronised) => 'S',
        Ok(ClockStatus::Informative) => 'I',
        Ok(ClockStatus::Relative) => 'R',
        Ok(ClockStatus::Unsynchronised) | Err(_) => 'U',
    }
}

/// OCMF's letter for the state of the meter. A register that bridges missed edges is as good as any:
/// only how its energy spreads over the slots before is unknown.
fn meter_state(reading: &Reading) -> char {
    let exchanged = [EventKind::Exchange, EventKind::Reset].map(EventKind::as_str);
    let of_meter = |register: &str| [core::IMPORT, core::EXPORT].contains(&register);
    let is_exchanged = reading
        .events
        .iter()
        .any(|event| of_meter(&event.register) && exchanged.contains(&event.kind.as_str()));
    match reading.quality.parse() {
        _ if is_exchanged => 'X',
        Ok(Quality::Measured | Quality::Bridged) => 'G',
        Ok(Quality::Integrated | Quality::Substituted) => 'S',
        Err(_) => 'E',
    }
}

/// Which quantities must not be billed: energy of a meter in an unknown state, time of a clock that
/// nobody set.
fn error_flags(reading: &Reading) -> String {
    let energy = meter_state(reading) == 'E';
    let time = time_state(reading) == 'U';
    [(energy, 'E'), (time, 't')]
        .into_iter()
        .filter(|(is_wrong, _)| *is_wrong)
        .map(|(_, c)| c)
        .collect()
}

/// A moment as `YYYY-MM-DDTHH:MM:SS.mmmZ`, with another decimal mark where it is wanted.
#[must_use]
pub fn utc(unix_ms: i64, mark: char) -> String {
    let slot = Slot::at_ms(unix_ms);
    let start = slot.to_string();
    let within_ms = unix_ms - slot.start_ms();
    let quarter = start[14..16].parse::<i64>().expect("a slot prints its minutes");
    let (minute, second) = (quarter + within_ms / 60_000, within_ms / 1_000 % 60);
    format!("{}:{minute:02}:{second:02}{mark}{:03}Z", &start[..13], within_ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(quality: &str, clock: &str) -> Reading {
        Reading {
            point: "C001".into(),
            epoch: 2,
            seq: 7,
            prev: B256::ZERO,
            slot: 1_612_896,
            time_ms: Slot::new(1_612_896).end_ms() + 61_042,
            clock: clock.into(),
            import_wh: 1_234_567,
            export_wh: 0,
            produced_wh: vec![],
            power_w: vec![],
            quality: quality.into(),
            resolution_mwh: vec![],
            device_offset_ms: vec![],
            samples: vec![],
            events: vec![],
        }
    }

    fn domain() -> Domain {
        Domain::new("example-street".parse().expect("a name"))
    }

    #[test]
    fn moments_are_written_to_the_millisecond() {
        for (unix_ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (Slot::new(1_612_896).end_ms() + 61_042, "2016-01-01T00:16:01.042Z"),
            (Slot::new(1_612_896).start_ms() - 1, "2015-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(utc(unix_ms, '.'), expected);
        }
    }

    #[test]
    fn states_follow_from_quality_and_clock() {
        for (quality, clock, states) in [
            ("measured", "synchronised", ('G', 'S', "")),
            ("bridged", "informative", ('G', 'I', "")),
            ("integrated", "relative", ('S', 'R', "")),
            ("substituted", "synchronised", ('S', 'S', "")),
            ("measured", "unsynchronised", ('G', 'U', "t")),
            ("something new", "another", ('E', 'U', "Et")),
        ] {
            let reading = reading(quality, clock);
            let found = (meter_state(&reading), time_state(&reading), error_flags(&reading));
            assert_eq!((found.0, found.1, found.2.as_str()), states, "{quality} {clock}");
        }
    }

    #[test]
    fn an_exchanged_meter_is_told_and_an_exchanged_inverter_is_not() {
        for (register, kind, state) in [
            ("import", EventKind::Exchange, 'X'),
            ("export", EventKind::Reset, 'X'),
            ("produced.roof", EventKind::Exchange, 'G'),
            ("import", EventKind::Rollover, 'G'),
        ] {
            let mut reading = reading("measured", "synchronised");
            reading.events.push(protocol::MeterEvent {
                register: register.into(),
                kind: kind.to_string(),
                before: 5,
                after: 1,
                times: 1,
                time_ms: 0,
            });
            assert_eq!(meter_state(&reading), state, "{register} {kind}");
        }
    }

    #[test]
    fn a_record_is_the_same_byte_by_byte_and_cannot_be_broken_out_of() {
        let key = OcmfKey(SigningKey::from_slice(&[7; 32]).expect("a key"));
        let reading = reading("measured", "synchronised");
        let record = key.record(&domain(), &reading, Some("1EMH00|\"12"));
        assert_eq!(record, key.record(&domain(), &reading, Some("1EMH00|\"12")));
        let sections: Vec<&str> = record.split('|').collect();
        assert_eq!((sections.len(), sections[0]), (3, "OCMF"));
        let payload: serde_json::Value = serde_json::from_str(sections[1]).expect("JSON");
        assert_eq!(payload["MS"], "1EMH00/\"12");
        assert_eq!(payload["PG"], "F7");
        assert_eq!(payload["RD"][0]["TM"], "2016-01-01T00:16:01,042+0000 S");
        assert_eq!(payload["RD"][1]["RI"], "01-00:02.08.00*FF");
        assert_eq!(payload["XE"], "2016-01-01T00:15:00.000Z");
        assert_eq!(key.public_hex().len(), 2 * 91);
    }
}
