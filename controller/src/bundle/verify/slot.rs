//! One slot, from its signed messages to its place in the log.

use market::Terms;
use protocol::{Header, Totals, merkle};
use units::{Price, Slot};

use super::super::line::{
    ClearingLine, HeaderLine, Line, OrderLine, ReadingLine, StatementLine, TransfersLine,
};
use super::blocks::Block;
use super::findings::Findings;
use super::state::{Root, Settled, State};
use super::{auction, meters, opening, revision, settlement};
use crate::rules::{self, Revision};

/// The lines of a slot, by kind.
#[derive(Default)]
pub struct SlotLines {
    /// The clearing.
    pub clearing: Option<(u64, ClearingLine)>,
    /// The book.
    pub orders: Vec<(u64, OrderLine)>,
    /// The readings.
    pub readings: Vec<(u64, ReadingLine)>,
    /// The bills.
    pub statements: Vec<(u64, StatementLine)>,
    /// The ledger entries.
    pub transfers: Option<(u64, TransfersLine)>,
    /// The log entry.
    pub header: Option<(u64, HeaderLine)>,
}

/// Checks a slot and goes on to the next.
pub fn check(state: &mut State, block: Block, found: &mut Findings) {
    let damaged = block.is_damaged();
    let seal = block.seal;
    let lines = sort(state, block, found);
    if let Some(header) = lines.header.as_ref().filter(|(_, line)| line.header.version != 1) {
        return revision::check(state, (seal, damaged), &lines, header, found);
    }
    let stated = lines.header.as_ref().map(|(_, line)| Slot::new(line.header.slot));
    let slot = stated.filter(|slot| *slot <= state.last && *slot >= state.next);
    if let (Some(stated), Some((number, _))) = (stated, &lines.header)
        && stated != state.next
    {
        let what = format!("stands where slot {} is next", state.next.number());
        found.slot(*number, "header", stated, what);
    }
    let slot = slot.unwrap_or(state.next);
    // Readings come first: the chains go on, whatever else is wrong with the slot.
    let readings_root = meters::check(state, slot, &lines.readings, found);
    if let (Some(late), Some((number, _))) = (state.found(&state.past), &lines.header) {
        let what = format!(
            "bills the energy of slot {} ({}) late, which belongs into a new version of that slot",
            late.slot.number(),
            late.slot
        );
        found.slot(*number, "header", slot, what);
    }
    let complete = (&lines.clearing, &lines.transfers, &lines.header);
    let (Some((at, clearing)), Some(transfers), Some(header)) = complete else {
        if !damaged {
            found.slot(seal, "block", slot, "its clearing, transfers or header is missing");
        }
        adopt(state, slot, &lines);
        return;
    };
    if !damaged {
        let clearing = (*at, clearing);
        let (orders, statements) = (&lines.orders, &lines.statements);
        let auction = auction::check(state, slot, clearing, orders, statements, found);
        if let Some(cleared) = auction {
            let slip = settlement::Slip {
                slot,
                cleared: &cleared,
                before: None,
                readings_root,
                transfers,
                header,
            };
            let settled = settlement::check(state, &slip, None, statements, found);
            if let Some((members, outcome)) = settled {
                let rewarded = rules::rewarded(&outcome.settlement);
                state.past.insert(slot, Revision { cleared, version: 1, members, rewarded });
            }
        }
        check_log(state, slot, header, found);
        found.counts.slots += 1;
    }
    adopt(state, slot, &lines);
}

/// Sorts a block's lines by kind and complains about any that stands in a wrong place.
fn sort(state: &mut State, block: Block, found: &mut Findings) -> SlotLines {
    let mut lines = SlotLines::default();
    let mut last = 0;
    for entry in block.entries {
        let number = entry.number;
        let Some(line) = entry.line else { continue };
        let kind = line.kind();
        let place = place(&line);
        let single = matches!(line, Line::Clearing(_) | Line::Transfers(_) | Line::Header(_));
        if place == 0 || place < last || (single && place == last) {
            found.add(number, kind, "stands in a wrong place");
        }
        last = last.max(place);
        match line {
            Line::Before(line) => opening::before(state, number, *line, found),
            Line::Earlier(line) => earlier(state, number, &line, found),
            Line::Clearing(line) => lines.clearing = Some((number, *line)),
            Line::Order(line) => lines.orders.push((number, *line)),
            Line::Reading(line) => lines.readings.push((number, *line)),
            Line::Statement(line) => lines.statements.push((number, *line)),
            Line::Transfers(line) => lines.transfers = Some((number, *line)),
            Line::Header(line) => lines.header = Some((number, *line)),
            _ => {}
        }
    }
    lines
}

/// The order of a slot's lines; zero for lines that do not belong to a slot.
const fn place(line: &Line) -> u8 {
    match line {
        Line::Before(_) | Line::Earlier(_) => 1,
        Line::Clearing(_) => 2,
        Line::Order(_) => 3,
        Line::Reading(_) => 4,
        Line::Statement(_) => 5,
        Line::Transfers(_) => 6,
        Line::Header(_) => 7,
        _ => 0,
    }
}

/// The terms of a slot before the first, for energy that is billed late.
fn earlier(state: &mut State, number: u64, line: &ClearingLine, found: &mut Findings) {
    let body = &line.clearing.body;
    let slot = Slot::new(body.slot);
    if let Err(error) = line.clearing.clone().verify_operator(&state.domain, state.operator) {
        return found.slot(number, "earlier", slot, error.to_string());
    }
    let price = Price::from_nano_per_wh;
    match Terms::new(price(body.retail), price(body.feed_in)) {
        Err(fault) => found.slot(number, "earlier", slot, fault.to_string()),
        Ok(_) if slot >= state.first => {
            found.slot(number, "earlier", slot, "is not before the first slot");
        }
        Ok(terms) => {
            state.terms.insert(slot, terms);
        }
    }
}

/// The log entry against the log as it follows from all headers.
pub fn check_log(
    state: &State,
    slot: Slot,
    (number, line): &(u64, HeaderLine),
    found: &mut Findings,
) {
    let HeaderLine { header, checkpoint } = line;
    let mut complain = |what: String| found.slot(*number, "header", slot, what);
    if header.time_ms < slot.end_ms() {
        complain("was settled before the slot had ended".to_owned());
    }
    let verified = checkpoint.clone().verify_operator(&state.domain, state.operator);
    if let Err(error) = verified {
        complain(format!("checkpoint: {error}"));
    }
    let body = &checkpoint.body;
    if body.slot != header.slot || body.time_ms != header.time_ms {
        complain("the checkpoint is of another slot or time".to_owned());
    }
    let Some(mut log) = state.log.clone() else { return };
    log.append(merkle::leaf(state.domain.digest(header)));
    if body.size != log.size() {
        complain(format!("the checkpoint signs {} leaves, there are {}", body.size, log.size()));
    }
    if body.root != log.root() {
        complain(format!(
            "the checkpoint signs the root {}, the headers give {}",
            body.root,
            log.root()
        ));
    }
}

/// Goes on from what is written, so that later slots are judged by themselves.
pub fn adopt(state: &mut State, slot: Slot, lines: &SlotLines) {
    for (_, line) in &lines.statements {
        let point = units::PointId::new(line.statement.point.as_str()).ok();
        if let Some(member) = point.and_then(|point| state.members.get_mut(&point)) {
            member.rewards = u128::try_from(line.statement.reward_total).unwrap_or(member.rewards);
            member.billed = true;
        }
    }
    for member in state.members.values_mut() {
        let later = member.edges.split_off(&slot.next());
        if let Some((&edge, &registers)) = member.edges.iter().next_back() {
            member.settled = Some((edge, registers));
        }
        member.edges = later;
    }
    let is_first = lines.header.as_ref().is_none_or(|(_, line)| line.header.version == 1);
    if is_first {
        state.next = slot.next();
        state.corrected = None;
    }
    match &lines.header {
        Some((_, line)) => adopt_log(state, slot, &line.header, line),
        None => state.log = None,
    }
    let State { past, members, next, correct_within, .. } = state;
    let oldest = next.offset(-i64::from(*correct_within));
    past.retain(|slot, revision| {
        *slot >= oldest && revision.is_open(|point| Some(members.get(point)?.settled?.0))
    });
}

fn adopt_log(state: &mut State, slot: Slot, header: &Header, line: &HeaderLine) {
    if let Some(log) = &mut state.log {
        log.append(merkle::leaf(state.domain.digest(header)));
    }
    let checkpoint = &line.checkpoint.body;
    let root = Root { size: checkpoint.size, root: checkpoint.root, time_ms: header.time_ms };
    if state.roots.last().is_none_or(|last| last.size < root.size) {
        state.roots.push(root);
    }
    let moved = rules::moved(header);
    let sum = |part: fn(&Totals) -> i64| part(&state.moved).saturating_add(part(&moved));
    state.moved = Totals {
        import_wh: sum(|totals| totals.import_wh),
        export_wh: sum(|totals| totals.export_wh),
        grid_import_wh: sum(|totals| totals.grid_import_wh),
        grid_export_wh: sum(|totals| totals.grid_export_wh),
        local_wh: sum(|totals| totals.local_wh),
        debit: sum(|totals| totals.debit),
        credit: sum(|totals| totals.credit),
        ..moved
    };
    if header.version != 1 {
        return;
    }
    let rewards_root = state.rewards_tree().map(|tree| tree.root());
    state.settled.push(Settled {
        slot,
        totals: std::mem::take(&mut state.moved),
        log_size: checkpoint.size,
        log_root: checkpoint.root,
        rewards_root,
    });
}
