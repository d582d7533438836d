//! Keys: handed over, revoked, and told who asks.

use protocol::{
    B256, Down, KeyRecord, KeyRevocation, MAX_MESSAGE_BYTES, Signed, SignedKeyChange, Topic,
};
use units::PointId;

use super::{BAD_SIGNATURE, Desk, Envelope, Record, Rejected, Step, is_named, parse};
use crate::rules::{self, KeyChangeRecord, KeyFault, KeyRevocationRecord, Revoked};

/// Longest reason of a revocation, characters.
const MAX_REASON: usize = 500;

impl Desk {
    /// A change of key that both keys signed; said again, it is answered again.
    pub(super) fn take_key_change(
        &mut self,
        envelope: &Envelope<'_>,
        point: &PointId,
        step: &mut Step,
    ) -> Result<(), Rejected> {
        if envelope.payload.len() > MAX_MESSAGE_BYTES {
            return Err(Rejected::new("oversize", format!("{} bytes", envelope.payload.len())));
        }
        let change = SignedKeyChange::parse(envelope.payload)
            .map_err(|error| Rejected::new("malformed", error.to_string()))?;
        is_named(&change.body.point, point)?;
        let new_key = change.body.new_key.0;
        let others = self.households.iter().filter(|(other, _)| *other != point);
        if let Some((other, _)) = others.into_iter().find(|(_, one)| one.keys.knows(&new_key)) {
            let detail = format!("the new key is enrolled for {other}");
            return Err(Rejected::new("bad key change", detail));
        }
        let (domain, received_ms) = (self.setup.domain.clone(), envelope.now_ms);
        let household = self.household_mut(point);
        let mut keys = household.keys.clone();
        let is_news = keys.take(&domain, &change, received_ms).map_err(rejected)?;
        if is_news {
            let (seq, head) = (household.reading_seq, household.reading_head);
            let body = &change.body;
            let fits = body.from_seq > seq && (body.from_seq != seq + 1 || body.head == head);
            if !fits {
                let detail = format!(
                    "it hands over before reading {} (after {}), but reading {seq} is here ({head})",
                    body.from_seq, body.head
                );
                return Err(Rejected::new("bad key change", detail));
            }
            household.keys = keys;
            let record = KeyChangeRecord { received_ms, change };
            step.records.push(Record::KeyChange(Box::new(record)));
        }
        self.send_key_record(received_ms, point, step);
        Ok(())
    }

    /// A revocation that the key itself signed, or the operator; said again, it is answered again.
    pub(super) fn take_key_revocation(
        &mut self,
        envelope: &Envelope<'_>,
        point: &PointId,
        step: &mut Step,
    ) -> Result<(), Rejected> {
        let signed = parse::<KeyRevocation>(envelope, point, |revocation| &revocation.point)?;
        self.revoke(envelope.now_ms, point, signed, step)
    }

    /// A revocation that the operator has left for the desk.
    pub(super) fn take_operators_revocation(
        &mut self,
        now_ms: i64,
        revocation: Signed<KeyRevocation>,
        step: &mut Step,
    ) {
        let payload = revocation.to_json();
        let envelope = Envelope { now_ms, payload: &payload };
        let point = PointId::new(revocation.body.point.as_str()).ok();
        let known = point.filter(|point| self.households.contains_key(point));
        let outcome = match &known {
            Some(point) => self.revoke(now_ms, point, revocation, step),
            None => Err(Rejected::new("unknown metering point", revocation.body.point)),
        };
        if let Err(rejected) = outcome {
            self.refuse(&envelope, known.as_ref(), "key-revocation", rejected, step);
        }
    }

    fn revoke(
        &mut self,
        received_ms: i64,
        point: &PointId,
        revocation: Signed<KeyRevocation>,
        step: &mut Step,
    ) -> Result<(), Rejected> {
        if !rules::is_signed(&revocation, &self.setup.domain, self.setup.key.address()) {
            return Err(Rejected::new(
                BAD_SIGNATURE,
                "neither by the key itself nor by the operator",
            ));
        }
        let body = &revocation.body;
        if body.reason.len() > MAX_REASON {
            let detail = format!("a reason has at most {MAX_REASON} characters");
            return Err(Rejected::new("oversize", detail));
        }
        let household = self.household_mut(point);
        let reading_seq = household.reading_seq;
        let revoked = Revoked { reading_seq, received_ms };
        let is_news = household.keys.revoke(body.epoch, &body.key.0, revoked).map_err(rejected)?;
        if is_news {
            let record = KeyRevocationRecord { received_ms, reading_seq, revocation };
            step.records.push(Record::KeyRevocation(Box::new(record)));
        }
        self.send_key_record(received_ms, point, step);
        Ok(())
    }

    /// Tells a household which of its keys are on record.
    pub(super) fn send_key_record(&self, now_ms: i64, point: &PointId, step: &mut Step) {
        let household = self.household(point);
        let (number, change) = household.keys.change();
        let record = KeyRecord {
            point: point.to_string(),
            epoch: household.enrolment.epoch,
            number,
            change,
            key: B256::from(household.keys.key().to_bytes()),
            revoked: household.keys.revoked().collect(),
            time_ms: now_ms,
        };
        self.send(Topic::Down(point.clone(), Down::KeyRecord), record, false, step);
    }
}

fn rejected(fault: KeyFault) -> Rejected {
    let reason = match &fault {
        KeyFault::Refused(protocol::Refused::BadSignature) => BAD_SIGNATURE,
        _ => "bad key change",
    };
    Rejected::new(reason, fault.to_string())
}
