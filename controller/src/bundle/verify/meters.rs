//! Readings: signed, linked, plausible, and exactly those that were settled.

use protocol::{B256, EventKind, MAX_EVENTS, Signed};
use units::{PointId, Slot};

use super::super::line::{ReadingLine, TOO_EARLY};
use super::findings::Findings;
use super::state::{Member, State};
use crate::rules::{self, Implausible, digests_root};

/// Takes a slot's readings into their members' chains; returns the root over those that count.
pub fn check(
    state: &mut State,
    slot: Slot,
    readings: &[(u64, ReadingLine)],
    found: &mut Findings,
) -> B256 {
    let mut digests = Vec::with_capacity(readings.len());
    let mut last: Option<(&str, u64)> = None;
    let origin = state.first.previous().number();
    for (number, line) in readings {
        let body = &line.reading.body;
        let at = (body.point.as_str(), slot);
        if last.is_some_and(|last| last >= (body.point.as_str(), body.seq)) {
            found.point(*number, "reading", at, "is out of order or there twice");
        }
        last = Some((&body.point, body.seq));
        let member = PointId::new(body.point.as_str()).ok();
        let Some(member) = member.and_then(|point| state.members.get_mut(&point)) else {
            found.point(*number, "reading", at, "is of nobody who is enrolled");
            continue;
        };
        let digest = state.domain.digest(body);
        found.counts.readings += 1;
        remark_events(body, *number, found);
        if let Err(why) = link(member, &state.domain, &line.reading) {
            found.point(*number, "reading", at, why);
        }
        // Whatever was found, the chain goes on from here, so that later links are judged by
        // themselves.
        member.seq = body.seq;
        member.head = digest;
        match &line.quarantine {
            Some(reason) if reason == TOO_EARLY && body.slot < origin => found.early(&body.point),
            Some(reason) => found.remark(format!(
                "reading {} of {} did not count (line {number}): {reason}",
                body.seq, body.point
            )),
            None => {
                digests.push(digest);
                if let Err(why) = count(member, slot, &line.reading.body) {
                    found.point(*number, "reading", at, why);
                }
            }
        }
    }
    digests_root(digests)
}

/// What happened to a meter and moved what is billed should be known to whoever checks the bills.
fn remark_events(body: &protocol::Reading, number: u64, found: &mut Findings) {
    use EventKind::{Confirmed, Exchange, Jump, Overflow, Reset};
    for event in body.events.iter().take(MAX_EVENTS) {
        if let Ok(Reset | Exchange | Jump | Confirmed | Overflow) = event.kind.parse() {
            found.remark(format!(
                "the meter of {} tells of \"{}\" at its {} register: {} to {} (line {number})",
                body.point, event.kind, event.register, event.before, event.after
            ));
        }
    }
}

/// Signature, and the place in the member's chain.
fn link(
    member: &Member,
    domain: &protocol::Domain,
    reading: &Signed<protocol::Reading>,
) -> Result<(), String> {
    let body = &reading.body;
    let keys = member.keys.for_reading(body.seq, body.time_ms);
    reading.clone().verify_any(domain, keys).map_err(|error| error.to_string())?;
    if member.keys.head_before(body.seq).is_some_and(|head| head != body.prev) {
        return Err("is not the one that its key was handed over for".to_owned());
    }
    if body.epoch != member.line.epoch {
        let enrolled = member.line.epoch;
        return Err(format!("is of epoch {} where {enrolled} is enrolled", body.epoch));
    }
    if Some(body.seq) != member.seq.checked_add(1) {
        return Err(format!("has sequence {} after {}", body.seq, member.seq));
    }
    if body.prev != member.head {
        return Err(format!("links to {} and not to the reading before it", body.prev));
    }
    Ok(())
}

/// Puts registers among those that the settlement may use, unless they cannot be true.
fn count(member: &mut Member, slot: Slot, reading: &protocol::Reading) -> Result<(), String> {
    let registers = rules::registers(reading)?;
    let edge = Slot::new(reading.slot);
    if edge > slot {
        return Err(format!("is for slot {}, which had not been reached", reading.slot));
    }
    let newest = member.newest();
    let last = newest.map(|(slot, _)| slot);
    match rules::implausible(member.connection(), newest, last, reading, registers) {
        None => {
            member.edges.insert(edge, registers);
            Ok(())
        }
        Some(Implausible::Untimely(why) | Implausible::ImpossibleEnergy(why)) => {
            Err(format!("counts, but cannot be true: {why}"))
        }
    }
}
