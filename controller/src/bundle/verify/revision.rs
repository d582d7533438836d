//! A slot that was settled again: the same auction with the meters that had been missing.

use std::collections::BTreeMap;

use protocol::{Header, Statement, merkle};
use units::{PointId, Slot};

use super::super::line::{HeaderLine, StatementLine, TransfersLine};
use super::findings::Findings;
use super::meters;
use super::settlement::{self, Slip};
use super::slot::{SlotLines, adopt, check_log};
use super::state::State;
use crate::rules::{self, Found, Revision, meter};

/// Checks a later version of a slot and goes on to the next entry.
pub fn check(
    state: &mut State,
    (seal, damaged): (u64, bool),
    lines: &SlotLines,
    header: &(u64, HeaderLine),
    found: &mut Findings,
) {
    let (number, line) = header;
    let stated = Slot::new(line.header.slot);
    let oldest = state.next.offset(-i64::from(state.correct_within));
    // The bound keeps every later sum in range.
    let is_near = (oldest..state.next).contains(&stated);
    let slot = if is_near { stated } else { state.next.previous() };
    if !is_near {
        let what = "is settled again, which only the slots of the correction window before the \
                    next one are";
        found.slot(*number, "header", stated, what);
    }
    if state.corrected.is_some_and(|last| slot <= last) {
        found.slot(*number, "header", slot, "is settled again after a later slot was");
    }
    state.corrected = Some(slot);
    let readings_root = meters::check(state, slot, &lines.readings, found);
    if lines.clearing.is_some() || !lines.orders.is_empty() {
        let what = "has an auction, though only meters can change";
        found.slot(*number, "header", slot, what);
    }
    match &lines.transfers {
        None if !damaged => found.slot(seal, "block", slot, "its transfers are missing"),
        None => {}
        Some(transfers) if !damaged => {
            let entry = Entry { slot, readings_root, transfers, header };
            entry.check(state, &lines.statements, found);
            check_log(state, slot, header, found);
            found.counts.corrected += 1;
        }
        Some(_) => {}
    }
    adopt(state, slot, lines);
}

struct Entry<'a> {
    slot: Slot,
    readings_root: protocol::B256,
    transfers: &'a (u64, TransfersLine),
    header: &'a (u64, HeaderLine),
}

impl Entry<'_> {
    fn check(&self, state: &mut State, statements: &[(u64, StatementLine)], found: &mut Findings) {
        let (number, slot) = (self.header.0, self.slot);
        if let Some(before) = state.past.remove(&slot) {
            self.rebuild(state, before, statements, found);
        } else if slot < state.first {
            self.check_own(state, statements, found);
        } else {
            let what = "is settled again, though no meter was missing in it";
            found.slot(number, "header", slot, what);
        }
    }

    /// Settles the slot again and compares.
    fn rebuild(
        &self,
        state: &mut State,
        before: Revision,
        statements: &[(u64, StatementLine)],
        found: &mut Findings,
    ) {
        let (number, slot) = (self.header.0, self.slot);
        let past = BTreeMap::from([(slot, before)]);
        let now = state.found(&past);
        let before = &past[&slot];
        let unused = |now: &Option<Found>| {
            state.members.iter().any(|(point, member)| {
                let used = now.as_ref().is_some_and(|now| now.meters.contains_key(point));
                !used && !member.edges.is_empty()
            })
        };
        let Some(now) = now.clone().filter(|_| !unused(&now)) else {
            let what = "is settled again with readings that are not its missing ones";
            return found.slot(number, "header", slot, what);
        };
        let members = before.members_with(&now);
        let slip = Slip {
            slot,
            cleared: &before.cleared,
            before: Some(before),
            readings_root: self.readings_root,
            transfers: self.transfers,
            header: self.header,
        };
        let settled = settlement::check(state, &slip, Some(members), statements, found);
        if let Some((members, outcome)) = settled {
            let (cleared, rewarded) = (before.cleared.clone(), before.rewarded.clone());
            let version = outcome.version;
            state.past.insert(slot, Revision { cleared, version, members, rewarded });
        }
    }

    /// What can be checked without the auction and the others' meters, which stand before this
    /// bundle: the meters that were found, the sums, and the roots.
    fn check_own(&self, state: &State, statements: &[(u64, StatementLine)], found: &mut Findings) {
        let (number, slot) = (self.header.0, self.slot);
        let header = &self.header.1.header;
        for (line, StatementLine { statement }) in statements {
            found.counts.statements += 1;
            let Some(why) = unlike_meter(state, slot, statement, header) else { continue };
            found.point(*line, "statement", (&statement.point, slot), why);
        }
        settlement::check_sums(slot, self.transfers, self.header, statements, found);
        let leaf = |line: &StatementLine| merkle::leaf(state.domain.digest(&line.statement));
        let leaves: Vec<_> = statements.iter().map(|(_, line)| leaf(line)).collect();
        if header.statements_root != merkle::root(&leaves) {
            found.slot(number, "header", slot, "statements_root is not that of these statements");
        }
        if header.readings_root != self.readings_root {
            found.slot(number, "header", slot, "readings_root is not that of these readings");
        }
        if let Some(log) = &state.log
            && (header.index, header.previous_root) != (log.size(), log.root())
        {
            found.slot(number, "header", slot, "is not the next entry of the log");
        }
        found.counts.transfers += self.transfers.1.transfers.len() as u64;
        found.remark(format!(
            "slot {} ({slot}) was settled again (version {}, line {number}); its auction stands \
             before this bundle, so its bills were not computed again: export from that slot on",
            slot.number(),
            header.version
        ));
    }
}

/// Why a bill is not what its household's own readings say; none when it is.
fn unlike_meter(
    state: &State,
    slot: Slot,
    statement: &Statement,
    header: &Header,
) -> Option<String> {
    let Some(member) = state.member(&statement.point) else {
        return Some("is of nobody who is enrolled".to_owned());
    };
    if (statement.slot, statement.version) != (header.slot, header.version) {
        return Some(format!("is version {} of slot {}", statement.version, statement.slot));
    }
    if member.edges.is_empty() {
        return None;
    }
    let meter = meter(member.settled, &member.edges, slot);
    let span = meter.on_time?;
    let stated = (statement.measured, statement.import_wh, statement.export_wh);
    let exact = (true, span.import.wh(), span.export.wh());
    (stated != exact).then(|| format!("is {stated:?} where the readings say {exact:?}"))
}

impl State {
    /// What the readings that are not settled make of earlier slots.
    pub fn found(&self, past: &BTreeMap<Slot, Revision>) -> Option<Found> {
        let readings = self
            .members
            .iter()
            .map(|(point, member): (&PointId, _)| (point, member.settled, &member.edges));
        rules::find(past, self.next, self.correct_within, readings)
    }
}
