//! The settlement of a slot: every bill, every ledger entry and the header, computed again.

use std::cell::RefCell;
use std::collections::BTreeMap;

use market::Terms;
use protocol::{B256, Header, LateLine, Statement, merkle};
use serde::Serialize;
use serde_json::Value;
use units::{PointId, Price, Slot};

use super::super::line::{HeaderLine, StatementLine, TransferLine, TransfersLine};
use super::findings::Findings;
use super::state::State;
use crate::rules::{
    Cleared, Member, Outcome, Place, Revision, SettlingFault, SlotBasis, meter, settle_again,
    settle_slot,
};
use crate::store::transfer_reason;

/// Most differences of one line that are told.
const MAX_DIFFERENCES: usize = 3;

/// What is known of a slot besides its bills.
pub struct Slip<'a> {
    /// The slot.
    pub slot: Slot,
    /// Its auction.
    pub cleared: &'a Cleared,
    /// The settlement before; none for the first.
    pub before: Option<&'a Revision>,
    /// Root over the readings that count.
    pub readings_root: B256,
    /// Its ledger entries.
    pub transfers: &'a (u64, TransfersLine),
    /// Its log entry.
    pub header: &'a (u64, HeaderLine),
}

/// Settles the slot again and compares; `members` are those whose bills these must be, none when the
/// bills say who they are. Returns who was billed and what follows, when something does.
pub fn check(
    state: &State,
    slip: &Slip<'_>,
    members: Option<Vec<Member>>,
    statements: &[(u64, StatementLine)],
    found: &mut Findings,
) -> Option<(Vec<Member>, Outcome)> {
    check_sums(slip.slot, slip.transfers, slip.header, statements, found);
    let members = match members {
        Some(members) => {
            found.counts.statements += statements.len() as u64;
            same_members(slip, &members, statements, found)?;
            members
        }
        None => billed(state, slip, statements, found)?,
    };
    let number = slip.header.0;
    let stated = stated_terms(state, slip.slot, statements, found);
    match settle(state, slip, &members, &stated) {
        Err(fault) => {
            found.slot(number, "header", slip.slot, format!("cannot be settled: {fault}"));
            None
        }
        Ok(outcome) => {
            compare_statements(slip.slot, &outcome, statements, found);
            compare_transfers(slip, &outcome, found);
            compare_header(state, slip, &outcome, statements, found);
            Some((members, outcome))
        }
    }
}

/// A later version bills exactly those whom the first one billed.
fn same_members(
    slip: &Slip<'_>,
    members: &[Member],
    statements: &[(u64, StatementLine)],
    found: &mut Findings,
) -> Option<()> {
    let stated = statements.iter().map(|(_, line)| line.statement.point.as_str());
    if stated.eq(members.iter().map(|member| member.point.as_str())) {
        return Some(());
    }
    let what = "its bills are not for the households that the first version billed";
    found.slot(slip.header.0, "header", slip.slot, what);
    None
}

/// Who was billed, with the energy that follows from the readings.
fn billed(
    state: &State,
    slip: &Slip<'_>,
    statements: &[(u64, StatementLine)],
    found: &mut Findings,
) -> Option<Vec<Member>> {
    let slot = slip.slot;
    let mut members: BTreeMap<PointId, Member> = BTreeMap::new();
    let mut right = true;
    for (number, line) in statements {
        let statement = &line.statement;
        found.counts.statements += 1;
        let at = (statement.point.as_str(), slot);
        let mut complain = |what: String| {
            right = false;
            found.point(*number, "statement", at, what);
        };
        let Some(member) = state.member(&statement.point) else {
            complain("is of nobody who is enrolled".to_owned());
            continue;
        };
        if statement.slot != slot.number() {
            complain(format!("is of slot {}", statement.slot));
        }
        let point = member.line.point.clone();
        if members.last_key_value().is_some_and(|(last, _)| *last >= point) {
            complain("is out of order or there twice".to_owned());
        }
        let metering = meter(member.settled, &member.edges, slot);
        let renewable = member.line.renewable;
        members.insert(point.clone(), Member { point, renewable, metering });
    }
    for (point, _) in state.members.iter().filter(|(_, member)| member.billed) {
        if !members.contains_key(point) {
            right = false;
            let what = "has no bill, though it had one before";
            found.point(slip.header.0, "header", (point.as_str(), slot), what);
        }
    }
    right.then(|| members.into_values().collect())
}

/// Terms of slots that no clearing in the bundle tells: those that the bills themselves state.
fn stated_terms(
    state: &State,
    slot: Slot,
    statements: &[(u64, StatementLine)],
    found: &mut Findings,
) -> BTreeMap<Slot, Terms> {
    let mut stated: BTreeMap<Slot, Terms> = BTreeMap::new();
    for (number, line) in statements {
        for late in &line.statement.late {
            let LateLine { slot: of, retail, feed_in, .. } = *late;
            let of = Slot::new(of);
            if state.terms.contains_key(&of) {
                continue;
            }
            let at = (line.statement.point.as_str(), slot);
            let price = Price::from_nano_per_wh;
            match Terms::new(price(retail), price(feed_in)) {
                Err(fault) => found.point(*number, "statement", at, format!("late line: {fault}")),
                Ok(terms) if stated.get(&of).is_some_and(|known| *known != terms) => {
                    let what = "a late line has other terms than another bill for the same slot";
                    found.point(*number, "statement", at, what);
                }
                Ok(terms) => {
                    stated.insert(of, terms);
                    found.remark(format!(
                        "no clearing tells the tariff of slot {} ({of}); that of its late energy is \
                         the operator's word (line {number})",
                        of.number()
                    ));
                }
            }
        }
    }
    stated
}

/// A settlement that could not be made.
#[derive(Debug, thiserror::Error)]
enum Unsettled {
    #[error(transparent)]
    Rule(#[from] SettlingFault),
    #[error(transparent)]
    Rewards(#[from] market::RewardFault),
    #[error("the tariff of slot {} is not known", .0.number())]
    NoTerms(Slot),
}

fn settle(
    state: &State,
    slip: &Slip<'_>,
    members: &[Member],
    stated: &BTreeMap<Slot, Terms>,
) -> Result<Outcome, Unsettled> {
    let present = slip.cleared.terms;
    let unknown = RefCell::new(None);
    let terms = |slot: Slot| match state.terms.get(&slot).or_else(|| stated.get(&slot)) {
        Some(terms) => *terms,
        None => {
            unknown.replace(Some(slot));
            present
        }
    };
    let cleared = slip.cleared;
    let basis = SlotBasis {
        clearing: &cleared.clearing,
        seed: cleared.seed,
        terms: &terms,
        policy: state.policy,
        grid: &cleared.grid,
        sharing: &cleared.sharing,
        members,
    };
    let rewards = state.rewards()?;
    let outcome = match slip.before {
        None => settle_slot(&basis, &rewards)?,
        Some(before) => settle_again(&basis, before, &rewards)?,
    };
    match unknown.take() {
        None => Ok(outcome),
        Some(slot) => Err(Unsettled::NoTerms(slot)),
    }
}

fn compare_statements(
    slot: Slot,
    outcome: &Outcome,
    statements: &[(u64, StatementLine)],
    found: &mut Findings,
) {
    let salts: BTreeMap<&str, B256> = statements
        .iter()
        .map(|(_, line)| (line.statement.point.as_str(), line.statement.salt))
        .collect();
    let exact = outcome.statements(|point| salts.get(point.as_str()).copied().unwrap_or_default());
    for ((number, line), exact) in statements.iter().zip(&exact) {
        for what in differences(&line.statement, exact) {
            found.point(*number, "statement", (&line.statement.point, slot), what);
        }
    }
}

fn compare_transfers(slip: &Slip<'_>, outcome: &Outcome, found: &mut Findings) {
    let (number, line) = slip.transfers;
    let exact: Vec<TransferLine> = outcome
        .transfers
        .iter()
        .map(|transfer| TransferLine {
            debit: transfer.debit.to_string(),
            credit: transfer.credit.to_string(),
            amount: transfer.amount.nano(),
            reason: transfer_reason(&transfer.reason),
        })
        .collect();
    found.counts.transfers += line.transfers.len() as u64;
    if line.transfers == exact {
        return;
    }
    let unlike = line.transfers.iter().zip(&exact).position(|(stated, exact)| stated != exact);
    let at = unlike.unwrap_or_else(|| line.transfers.len().min(exact.len()));
    let told = |transfers: &[TransferLine]| match transfers.get(at) {
        None => "nothing".to_owned(),
        Some(TransferLine { debit, credit, amount, reason }) => {
            format!("{amount} from {debit} to {credit} ({reason})")
        }
    };
    let what =
        format!("entry {} is {}, but {} follows", at + 1, told(&line.transfers), told(&exact));
    found.slot(*number, "transfers", slip.slot, what);
}

fn compare_header(
    state: &State,
    slip: &Slip<'_>,
    outcome: &Outcome,
    statements: &[(u64, StatementLine)],
    found: &mut Findings,
) {
    let (number, line) = slip.header;
    let leaf = |statement: &Statement| merkle::leaf(state.domain.digest(statement));
    let leaves = statements.iter().map(|(_, line)| leaf(&line.statement)).collect();
    let (index, previous_root) = match &state.log {
        Some(log) => (log.size(), log.root()),
        None => (line.header.index, line.header.previous_root),
    };
    let exact = outcome.header(&Place {
        index,
        previous_root,
        orders_root: slip.cleared.orders_root,
        readings_root: slip.readings_root,
        statement_leaves: leaves,
        time_ms: line.header.time_ms,
    });
    for what in differences(&line.header, &exact) {
        found.slot(*number, "header", slip.slot, what);
    }
}

/// What the numbers must add up to, whatever the rules say.
pub fn check_sums(
    slot: Slot,
    transfers: &(u64, TransfersLine),
    (number, line): &(u64, HeaderLine),
    statements: &[(u64, StatementLine)],
    found: &mut Findings,
) {
    let header = &line.header;
    let totals = &header.totals;
    let sum = |part: fn(&Statement) -> i64| -> i128 {
        statements.iter().map(|(_, line)| i128::from(part(&line.statement))).sum()
    };
    let late = |part: fn(&LateLine) -> i64| -> i128 {
        let lines = statements.iter().flat_map(|(_, line)| &line.statement.late);
        lines.map(|line| i128::from(part(line))).sum()
    };
    let wide = |value: i64| i128::from(value);
    let (import, export) = (wide(totals.import_wh), wide(totals.export_wh));
    for (what, left, right) in [
        ("Wh bought and sold", sum(|s| s.bought_wh), sum(|s| s.sold_wh)),
        ("Wh bought and scheduled", sum(|s| s.bought_wh), wide(header.scheduled_wh)),
        ("Wh imported", sum(|s| s.import_wh) + late(|l| l.import_wh), import),
        ("Wh exported", sum(|s| s.export_wh) + late(|l| l.export_wh), export),
        (
            "Wh into and out of the street",
            import + wide(totals.grid_export_wh),
            export + wide(totals.grid_import_wh),
        ),
        ("money into and out of the pool", wide(totals.debit), wide(totals.credit)),
        (
            "bills and what supplier and network get",
            sum(|s| s.amount),
            wide(totals.supplier) + wide(totals.grid_fees) + wide(totals.congestion),
        ),
        ("Wh that earn rewards", sum(|s| s.reward_wh), wide(totals.reward_wh)),
    ] {
        if left != right {
            let what = format!("{what} differ: {left} and {right}");
            found.slot(*number, "header", slot, what);
        }
    }
    check_balances(slot, transfers, header, statements, found);
}

/// Credits minus debits of every account: the pool is empty, and everyone has paid the bill of the
/// first version. What a later one moves are differences, which follow from settling it again.
fn check_balances(
    slot: Slot,
    (number, line): &(u64, TransfersLine),
    header: &Header,
    statements: &[(u64, StatementLine)],
    found: &mut Findings,
) {
    let mut balances: BTreeMap<&str, i128> = BTreeMap::new();
    for transfer in &line.transfers {
        *balances.entry(&transfer.debit).or_default() -= i128::from(transfer.amount);
        *balances.entry(&transfer.credit).or_default() += i128::from(transfer.amount);
        if transfer.amount <= 0 || transfer.debit == transfer.credit {
            found.slot(*number, "transfers", slot, "an entry moves nothing");
        }
    }
    if header.version > 1 {
        let balance = balances.remove("pool").unwrap_or_default();
        if balance != 0 {
            found.slot(*number, "transfers", slot, format!("the pool keeps {balance}"));
        }
        return;
    }
    let households = statements.iter().map(|(_, line)| {
        let Statement { point, amount, .. } = &line.statement;
        (format!("household:{point}"), -i128::from(*amount))
    });
    let totals = &header.totals;
    let others = [
        ("pool", 0),
        ("supplier", totals.supplier),
        ("grid-fees", totals.grid_fees),
        ("congestion", totals.congestion),
    ];
    let others = others.map(|(account, amount)| (account.to_owned(), i128::from(amount)));
    for (account, expected) in households.chain(others) {
        let balance = balances.remove(account.as_str()).unwrap_or_default();
        if balance != expected {
            let what = format!("{account} moves by {balance}, its bill says {expected}");
            found.slot(*number, "transfers", slot, what);
        }
    }
    for account in balances.keys() {
        let what = format!("{account} has entries but no bill");
        found.slot(*number, "transfers", slot, what);
    }
}

/// Fields that are not what follows, in words.
fn differences<T: Serialize>(stated: &T, exact: &T) -> Vec<String> {
    let value = |item: &T| serde_json::to_value(item).expect("messages are plain data");
    let mut told = Vec::new();
    walk("", &value(stated), &value(exact), &mut told);
    told.truncate(MAX_DIFFERENCES);
    told
}

fn walk(path: &str, stated: &Value, exact: &Value, told: &mut Vec<String>) {
    match (stated, exact) {
        (Value::Object(fields), Value::Object(others)) => {
            for (name, stated) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                walk(&path, stated, others.get(name).unwrap_or(&Value::Null), told);
            }
        }
        _ if stated != exact => {
            told.push(format!("{path} is {stated} where {exact} follows"));
        }
        _ => {}
    }
}
