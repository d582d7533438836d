//! The first block: who takes part, and where everything stood before the first slot.

use market::Policy;
use protocol::{B256, Domain, Signed, public_key_from_hex};
use units::Slot;

use super::super::line::{
    CheckpointLine, FORMAT, GridLine, Line, MemberLine, ReadingLine, SharingFormLine, Street,
};
use super::Trust;
use super::blocks::Block;
use super::findings::Findings;
use super::state::{Member, Root, State};
use crate::rules::{self, KeyRing, StreetSharing};

/// Most slots in one bundle: ten years.
const MAX_SLOTS: i64 = 3_660 * Slot::PER_DAY;
/// Most members; sums over more of them could leave the range of money.
const MAX_MEMBERS: usize = 20_000;
/// Most leaves of a log.
const MAX_LOG: u64 = 1 << 40;

/// Reads the first block; none when it does not say enough to check anything.
pub fn open(block: Block, trust: &Trust, found: &mut Findings) -> Option<State> {
    let mut entries = block.entries.into_iter();
    let first = entries.next();
    let Some(Line::Street(street)) = first.as_ref().and_then(|entry| entry.line.as_ref()) else {
        found.add(1, "street", "the first line must say which street this is");
        return None;
    };
    let mut state = state(street, trust, found)?;
    for entry in entries {
        let number = entry.number;
        match entry.line {
            // Told when it was read.
            None => {}
            Some(Line::Grid(line)) => grid(&mut state, number, *line, found),
            Some(Line::Sharing(line)) => sharing(&mut state, number, *line, found),
            Some(Line::Before(line)) => before(&mut state, number, *line, found),
            Some(Line::Baseline(line)) => baseline(&mut state, number, *line, found),
            Some(other) => found.add(number, other.kind(), "does not belong into the first block"),
        }
    }
    let log = state.log.as_ref()?;
    let (size, root) = (log.size(), log.root());
    let is_signed = |known: &Root| known.size == size && known.root == root;
    if !state.roots.iter().any(is_signed) {
        found.add(1, "street", "the log before the first slot is not signed by the operator");
    }
    Some(state)
}

fn state(street: &Street, trust: &Trust, found: &mut Findings) -> Option<State> {
    if street.format != FORMAT {
        let what = format!("format {} is not known; this program reads {FORMAT}", street.format);
        found.add(1, "street", what);
        return None;
    }
    if trust.operator.is_some_and(|operator| operator != street.operator) {
        found.add(
            1,
            "street",
            format!("the operator is {}, not the expected one", street.operator),
        );
    }
    let (first, last) = (Slot::new(street.first_slot), Slot::new(street.last_slot));
    let slots = street.last_slot.checked_sub(street.first_slot).map(|count| count + 1);
    let bounded = street.first_slot.unsigned_abs() <= rules::MAX_SLOT;
    if !bounded || !slots.is_some_and(|slots| (1..=MAX_SLOTS).contains(&slots)) {
        let what = format!("{} to {} are no slots", street.first_slot, street.last_slot);
        found.add(1, "street", what);
        return None;
    }
    if street.members.len() > MAX_MEMBERS || street.log.size() > MAX_LOG {
        found.add(1, "street", "has more members or settled slots than this program can check");
        return None;
    }
    if street.correct_within_slots > rules::MAX_CORRECT_WITHIN {
        found.add(1, "street", "settles slots again from further back than any street can");
        return None;
    }
    let (Ok(rate), Ok(cap)) = (street.reward_rate.parse(), street.reward_cap.parse()) else {
        found.add(1, "street", "reward_rate and reward_cap are no amounts");
        return None;
    };
    let mut state = State {
        domain: Domain::new(street.community.clone()),
        operator: street.operator,
        gate_lead_ms: i64::from(street.gate_lead_s) * 1_000,
        policy: Policy { rate_wei_per_wh: rate, cap_wei: cap },
        grids: std::collections::BTreeMap::from([Default::default()]),
        sharings: std::collections::BTreeMap::from([Default::default()]),
        members: std::collections::BTreeMap::new(),
        log: Some(street.log.clone()),
        roots: vec![Root { size: 0, root: B256::ZERO, time_ms: i64::MIN }],
        terms: std::collections::BTreeMap::new(),
        first,
        last,
        next: first,
        correct_within: street.correct_within_slots,
        past: std::collections::BTreeMap::new(),
        corrected: None,
        moved: protocol::Totals::default(),
        settled: Vec::new(),
    };
    for line in &street.members {
        match member(line, &state) {
            Err(why) => found.add(1, "street", format!("member {}: {why}", line.point)),
            Ok(member) => {
                remark_keys(line, found);
                if state.members.insert(line.point.clone(), member).is_some() {
                    found.add(1, "street", format!("member {} stands twice", line.point));
                }
            }
        }
    }
    Some(state)
}

/// A grid that clearings may name.
fn grid(state: &mut State, number: u64, line: GridLine, found: &mut Findings) {
    let grid = match rules::StreetGrid::new(line.grid) {
        Ok(grid) => grid,
        Err(fault) => return found.add(number, "grid", fault.to_string()),
    };
    if grid.form().is_none() {
        return found.add(number, "grid", "is no grid: it has no branch");
    }
    if let Some((point, _)) = grid.homes().find(|(point, _)| !state.members.contains_key(*point)) {
        found.add(number, "grid", format!("has {point} on it, who is not enrolled"));
    }
    if state.grids.insert(grid.digest(), grid).is_some() {
        found.add(number, "grid", "stands twice");
    }
}

/// A sharing rule and a legal key, for the clearings that name them.
fn sharing(state: &mut State, number: u64, line: SharingFormLine, found: &mut Findings) {
    let members = state.members.keys().cloned().collect();
    match StreetSharing::new(line.sharing, &members) {
        Err(fault) => found.add(number, "sharing", fault.to_string()),
        Ok(sharing) => {
            if state.sharings.insert(sharing.digest(), sharing).is_some() {
                found.add(number, "sharing", "stands twice");
            }
        }
    }
}

/// Whoever checks the bills should know whose key was exchanged, and when.
fn remark_keys(line: &MemberLine, found: &mut Findings) {
    for record in &line.key_changes {
        let body = &record.change.body;
        found.remark(format!(
            "{} has another key from reading {} on: {}",
            line.point,
            body.from_seq,
            hex::encode(body.new_key)
        ));
    }
    for record in &line.key_revocations {
        let body = &record.revocation.body;
        found.remark(format!(
            "a key of {} counts no more after its reading {}: {} ({})",
            line.point,
            record.reading_seq,
            hex::encode(body.key),
            body.reason
        ));
    }
}

/// The keys of a member: each change signed by both keys, each revocation by its key or the operator.
fn keys(line: &MemberLine, state: &State) -> Result<KeyRing, String> {
    let key = public_key_from_hex(&line.key).map_err(|error| error.to_string())?;
    let changes: Vec<_> = line.key_changes.iter().collect();
    let point = line.point.as_str();
    let foreign = changes.iter().any(|record| record.change.body.point != point)
        || line.key_revocations.iter().any(|record| record.revocation.body.point != point);
    if foreign {
        return Err("has a change of somebody else's key".to_owned());
    }
    let unsigned = line
        .key_revocations
        .iter()
        .any(|record| !rules::is_signed(&record.revocation, &state.domain, state.operator));
    if unsigned {
        return Err("a revocation is signed neither by its key nor by the operator".to_owned());
    }
    KeyRing::new(key, line.epoch)
        .with_record(&state.domain, &changes, &line.key_revocations)
        .map_err(|fault| format!("a change of its key: {fault}"))
}

fn member(line: &MemberLine, state: &State) -> Result<Member, String> {
    let rewards = line.rewards_before.parse().map_err(|_| "rewards_before is no amount")?;
    let powers = [line.max_import_w, line.max_export_w];
    if powers.iter().any(|power| !(0..=10_000_000).contains(power)) {
        return Err("a connection carries 0 to 10 000 000 W".to_owned());
    }
    Ok(Member {
        line: line.clone(),
        keys: keys(line, state)?,
        seq: 0,
        head: B256::ZERO,
        settled: None,
        edges: std::collections::BTreeMap::new(),
        rewards,
        billed: false,
    })
}

/// A signed size of the log before the first slot.
pub fn before(state: &mut State, number: u64, line: CheckpointLine, found: &mut Findings) {
    let verified = match line.checkpoint.verify_operator(&state.domain, state.operator) {
        Ok(verified) => verified,
        Err(error) => return found.add(number, "before", error.to_string()),
    };
    let body = verified.body();
    let slot = Slot::new(body.slot);
    if slot >= state.first {
        return found.slot(number, "before", slot, "is not before the first slot");
    }
    let root = Root { size: body.size, root: body.root, time_ms: body.time_ms };
    match state.roots.binary_search_by_key(&root.size, |known| known.size) {
        Ok(at) if state.roots[at].root == root.root => {}
        Ok(_) => found.slot(number, "before", slot, "the operator signed two logs of this size"),
        Err(at) => state.roots.insert(at, root),
    }
}

/// A reading before the first slot: where a member's chain and registers stand.
fn baseline(state: &mut State, number: u64, line: ReadingLine, found: &mut Findings) {
    let ReadingLine { quarantine, reading } = line;
    let Signed { body, .. } = &reading;
    let (point, slot) = (body.point.clone(), Slot::new(body.slot));
    let at = (point.as_str(), slot);
    let Some(member) =
        units::PointId::new(point.as_str()).ok().and_then(|p| state.members.get_mut(&p))
    else {
        return found.point(number, "baseline", at, "is of nobody who is enrolled");
    };
    let keys = member.keys.for_reading(body.seq, body.time_ms);
    let verified = match reading.clone().verify_any(&state.domain, keys) {
        Ok(verified) => verified,
        Err(error) => return found.point(number, "baseline", at, error.to_string()),
    };
    let body = verified.body();
    let far = body.slot.unsigned_abs() > rules::MAX_SLOT;
    if far || quarantine.is_some() || body.epoch != member.line.epoch || slot >= state.first {
        return found.point(number, "baseline", at, "is no reading to count from");
    }
    if member.settled.is_some() {
        return found.point(number, "baseline", at, "there is one already");
    }
    match rules::registers(body) {
        Err(why) => found.point(number, "baseline", at, why),
        Ok(registers) => {
            member.seq = body.seq;
            member.head = verified.digest();
            member.settled = Some((slot, registers));
            found.counts.readings += 1;
        }
    }
}
