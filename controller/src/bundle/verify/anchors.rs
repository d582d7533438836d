//! Epochs: linked to each other, and exactly the log, the sums and the rewards of their slots.

use std::collections::BTreeMap;

use chain::{EpochHeader, RewardsTree};
use protocol::Totals;

use super::super::line::{AnchorLine, Line};
use super::blocks::Block;
use super::findings::Findings;
use super::state::{Settled, State};

/// Checks the block of epochs.
pub fn check(state: &State, block: Block, found: &mut Findings) {
    let mut before: Option<EpochHeader> = None;
    for entry in block.entries {
        let Some(Line::Anchor(line)) = entry.line else { continue };
        let number = entry.number;
        found.counts.epochs += 1;
        let told: Vec<String> =
            link(before.as_ref(), &line.header).into_iter().chain(contents(state, &line)).collect();
        for what in told {
            found.add(number, "anchor", format!("epoch {}: {what}", line.header.seq));
        }
        found.epochs.push((number, line.header.clone()));
        if u64::try_from(state.first.number()).is_ok_and(|first| line.header.from_slot < first) {
            found.remark(format!(
                "epoch {} begins before this bundle, so its sums were not added up (line {number})",
                line.header.seq
            ));
        }
        before = Some(line.header);
    }
    let anchored = before.map_or(state.first.number(), |last| {
        i64::try_from(last.to_slot).unwrap_or(i64::MAX).saturating_add(1)
    });
    let open = state.next.number() - anchored.max(state.first.number());
    if open > 0 {
        found.remark(format!("the last {open} slots were not in an epoch when this was exported"));
    }
}

/// The place in the chain of epochs.
fn link(before: Option<&EpochHeader>, header: &EpochHeader) -> Vec<String> {
    let mut told = Vec::new();
    match before {
        None if (header.seq == 1) != header.prev.is_zero() => {
            told.push("the first epoch, and no other, has nothing to link to".to_owned());
        }
        None => {}
        Some(before) => {
            if Some(header.seq) != before.seq.checked_add(1) {
                told.push(format!("follows epoch {}", before.seq));
            }
            if header.prev != before.hash() {
                told.push("does not link to the epoch before it".to_owned());
            }
            if Some(header.from_slot) != before.to_slot.checked_add(1) {
                told.push(format!("begins at slot {} after {}", header.from_slot, before.to_slot));
            }
        }
    }
    told
}

/// What the epoch says about its slots.
fn contents(state: &State, line: &AnchorLine) -> Vec<String> {
    let header = &line.header;
    let mut told = Vec::new();
    let (Ok(from), Ok(to)) = (i64::try_from(header.from_slot), i64::try_from(header.to_slot))
    else {
        return vec!["its slots are no slots".to_owned()];
    };
    let at = state.settled.binary_search_by_key(&to, |settled| settled.slot.number());
    let Ok(at) = at else {
        return vec![format!("ends at slot {to}, which is not in this bundle")];
    };
    let last = &state.settled[at];
    if (header.log_size, header.log_root) != (last.log_size, last.log_root) {
        told.push("its log is not the log after its last slot".to_owned());
    }
    told.extend(rewards(line, last));
    let into = u128::from(header.import_wh) + u128::from(header.grid_export_wh);
    if into != u128::from(header.export_wh) + u128::from(header.grid_import_wh) {
        told.push("its energy does not add up".to_owned());
    }
    if header.debit != header.credit {
        told.push("its money does not add up".to_owned());
    }
    if from > to {
        told.push("ends before it begins".to_owned());
    } else if from >= state.first.number() {
        let slots = state.settled[..=at].iter().filter(|settled| settled.slot.number() >= from);
        let slots: Vec<&Settled> = slots.collect();
        let count = i64::try_from(slots.len()).unwrap_or(i64::MAX);
        // Slots that could not be read were named before.
        if count == to - from + 1 {
            told.extend(sums(header, &slots));
        }
    }
    told
}

fn rewards(line: &AnchorLine, last: &Settled) -> Vec<String> {
    let mut told = Vec::new();
    let earned: Option<BTreeMap<_, u128>> =
        line.rewards.iter().map(|(account, wei)| Some((*account, wei.parse().ok()?))).collect();
    match earned.and_then(|earned| RewardsTree::new(earned).ok()) {
        None => told.push("its rewards are no amounts".to_owned()),
        Some(tree) if tree.root() != line.header.rewards_root => {
            told.push("its rewards root is not that of its rewards".to_owned());
        }
        Some(_) => {}
    }
    if last.rewards_root != Some(line.header.rewards_root) {
        told.push("its rewards root is not that of the rewards after its last slot".to_owned());
    }
    if u128::try_from(last.totals.reward_total) != Ok(line.header.reward_total) {
        told.push("its reward total is not that of its last slot".to_owned());
    }
    told
}

fn sums(header: &EpochHeader, slots: &[&Settled]) -> Vec<String> {
    let sum = |part: fn(&Totals) -> i64| -> i128 {
        slots.iter().map(|settled| i128::from(part(&settled.totals))).sum()
    };
    let money = |value: u128| i128::try_from(value).unwrap_or(i128::MAX);
    [
        ("import_wh", i128::from(header.import_wh), sum(|totals| totals.import_wh)),
        ("export_wh", i128::from(header.export_wh), sum(|totals| totals.export_wh)),
        ("grid_import_wh", i128::from(header.grid_import_wh), sum(|totals| totals.grid_import_wh)),
        ("grid_export_wh", i128::from(header.grid_export_wh), sum(|totals| totals.grid_export_wh)),
        ("local_wh", i128::from(header.local_wh), sum(|totals| totals.local_wh)),
        ("debit", money(header.debit), sum(|totals| totals.debit)),
        ("credit", money(header.credit), sum(|totals| totals.credit)),
    ]
    .into_iter()
    .filter(|(_, stated, exact)| stated != exact)
    .map(|(name, stated, exact)| format!("{name} is {stated}, its slots give {exact}"))
    .collect()
}
