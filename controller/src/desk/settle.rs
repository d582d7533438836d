//! Settlement: readings are in or overdue, so the slot is billed, logged and signed; and again, when
//! a meter comes late.

use market::Terms;
use protocol::{B256, Checkpoint, Delivery, Down, Header, Signed, Statement, Topic, merkle};
use tracing::error;
use units::{PointId, Slot};

use super::{
    AnchorDraft, Desk, MAX_ENTRIES_PER_STEP, Outgoing, Record, SettledRecord, StatementRecord, Step,
};
use crate::rules::{self, Cleared, Found, Member, Outcome, Place, Revision, SlotBasis};

impl Desk {
    /// Settles the slots whose readings are in, or whose deadline has passed, in order; before each,
    /// earlier slots are settled again for which late readings came. A bounded number of entries per
    /// step; the rest goes on at once in the next.
    pub(super) fn settle_due(&mut self, now_ms: i64, step: &mut Step) {
        self.is_behind = false;
        for _ in 0..MAX_ENTRIES_PER_STEP {
            let slot = self.next_settle;
            if !self.cleared.contains_key(&slot) || !self.is_due(now_ms, slot) {
                return;
            }
            if let Some(found) = self.found_before(slot) {
                self.settle_again(now_ms, &found, step);
                continue;
            }
            if let Err(fault) = self.settle(now_ms, slot, step) {
                // Nothing was booked. Every step tries again, so the slot is not lost, and nothing
                // later overtakes it.
                error!(%slot, %fault, "the slot cannot be settled; its inputs are in the record");
                return;
            }
        }
        self.is_behind = true;
    }

    /// Until when a slot's readings are waited for. The time in which the controller itself was away
    /// does not count against the households: after a start they get the whole time to deliver.
    pub(super) fn deadline_ms(&self, slot: Slot) -> i64 {
        let market = &self.setup.market;
        let patience_ms = market.deadline_ms(slot) - slot.end_ms();
        market.deadline_ms(slot).max(self.opened_ms + patience_ms)
    }

    fn is_due(&self, now_ms: i64, slot: Slot) -> bool {
        if now_ms < slot.end_ms() {
            return false;
        }
        now_ms >= self.deadline_ms(slot)
            || !self.households.values().any(|household| household.is_awaited(slot))
    }

    /// What late readings make of the slots before one that is due.
    fn found_before(&self, slot: Slot) -> Option<Found> {
        let readings =
            self.households.iter().map(|(point, home)| (point, home.settled, &home.edges));
        rules::find(&self.past, slot, self.setup.market.correct_within_slots, readings)
    }

    fn settle(
        &mut self,
        now_ms: i64,
        slot: Slot,
        step: &mut Step,
    ) -> Result<(), rules::SettlingFault> {
        let cleared = &self.cleared[&slot];
        let members: Vec<Member> =
            self.households.values().map(|household| household.member(slot)).collect();
        let outcome = {
            let terms = self.terms_beside(cleared);
            rules::settle_slot(&self.basis(cleared, &terms, &members), &self.rewards)?
        };

        let cleared = self.cleared.remove(&slot).expect("just used");
        let mut digests = Vec::new();
        for (household, member) in self.households.values_mut().zip(&members) {
            digests.extend(household.release(slot, member.metering.settled));
        }
        step.moved.extend(self.households.keys().cloned());
        self.next_settle = slot.next();
        let revision = Revision {
            version: 1,
            rewarded: rules::rewarded(&outcome.settlement),
            cleared,
            members,
        };
        self.enter(now_ms, revision, &outcome, rules::digests_root(digests), step);
        self.rewards = outcome.rewards;
        self.close_past();
        self.close_epoch(now_ms, step);
        Ok(())
    }

    /// Settles a slot again with the meters that were found.
    fn settle_again(&mut self, now_ms: i64, found: &Found, step: &mut Step) {
        let slot = found.slot;
        let before = self.past.remove(&slot).expect("found among them");
        let members = before.members_with(found);
        let outcome = {
            let terms = self.terms_beside(&before.cleared);
            let basis = self.basis(&before.cleared, &terms, &members);
            rules::settle_again(&basis, &before, &self.rewards)
        };
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(fault) => {
                // Nothing was booked, and the street goes on: without its slot the energy becomes a
                // late line of the next one.
                error!(%slot, %fault, "the slot cannot be settled again");
                return;
            }
        };
        let mut digests = Vec::new();
        for (point, meter) in &found.meters {
            digests.extend(self.household_mut(point).release(slot, meter.settled));
        }
        step.moved.extend(found.meters.keys().cloned());
        let revision = Revision { version: outcome.version, members, ..before };
        self.enter(now_ms, revision, &outcome, rules::digests_root(digests), step);
    }

    /// The supplier's terms in any slot; those of the slot itself as they were published.
    fn terms_beside<'a>(&'a self, cleared: &Cleared) -> impl Fn(Slot) -> Terms + use<'a> {
        let (own, terms) = (cleared.clearing.slot, cleared.terms);
        move |slot| if slot == own { terms } else { self.terms(slot) }
    }

    fn basis<'a>(
        &self,
        cleared: &'a Cleared,
        terms: &'a dyn Fn(Slot) -> Terms,
        members: &'a [Member],
    ) -> SlotBasis<'a> {
        SlotBasis {
            clearing: &cleared.clearing,
            seed: cleared.seed,
            terms,
            policy: self.setup.policy,
            grid: &cleared.grid,
            sharing: &cleared.sharing,
            members,
        }
    }

    /// Enters a settlement into the log, sends it, and keeps it while it can be settled again.
    fn enter(
        &mut self,
        now_ms: i64,
        revision: Revision,
        outcome: &Outcome,
        readings_root: B256,
        step: &mut Step,
    ) {
        let (slot, is_open) = (revision.slot(), self.is_open(&revision));
        let mut record = self.log_slot(now_ms, &revision.cleared, outcome, readings_root);
        record.members = is_open.then(|| revision.members.clone());
        for statement in &record.statements {
            let point = statement.delivery.statement.point.clone();
            let point = PointId::new(point).expect("an enrolled point");
            let topic = Topic::Down(point, Down::Statement);
            let payload = serde_json::to_vec(&statement.delivery).expect("plain data");
            step.outgoing.push(Outgoing { topic, payload, retain: false });
        }
        self.epoch.add(slot, outcome.version, &outcome.moved);
        step.records.push(Record::Settled(Box::new(record)));
        if is_open {
            self.past.insert(slot, revision);
        }
    }

    /// Whether a settlement can still be replaced by a later one.
    pub(super) fn is_open(&self, revision: &Revision) -> bool {
        let within = i64::from(self.setup.market.correct_within_slots);
        revision.slot() >= self.next_settle.offset(-within)
            && revision.is_open(|point| Some(self.households.get(point)?.settled?.0))
    }

    /// Forgets settlements that stay as they are.
    fn close_past(&mut self) {
        let closed: Vec<Slot> = self
            .past
            .iter()
            .filter(|(_, revision)| !self.is_open(revision))
            .map(|(slot, _)| *slot)
            .collect();
        for slot in closed {
            self.past.remove(&slot);
        }
    }

    fn log_slot(
        &mut self,
        now_ms: i64,
        cleared: &Cleared,
        outcome: &Outcome,
        readings_root: B256,
    ) -> SettledRecord {
        let (slot, version) = (cleared.clearing.slot, outcome.version);
        let domain = &self.setup.domain;
        let secret = &self.setup.salt_secret;
        let statements = outcome.statements(|point| rules::salt(secret, slot, version, point));
        let leaves: Vec<B256> =
            statements.iter().map(|statement| merkle::leaf(domain.digest(statement))).collect();
        let header = outcome.header(&Place {
            index: self.log.size(),
            previous_root: self.log.root(),
            orders_root: cleared.orders_root,
            readings_root,
            statement_leaves: leaves.clone(),
            time_ms: now_ms,
        });
        let leaf = merkle::leaf(domain.digest(&header));
        let log_path = self.log.append(leaf);
        let checkpoint = Checkpoint {
            size: self.log.size(),
            root: self.log.root(),
            slot: slot.number(),
            time_ms: now_ms,
        };
        let checkpoint = Signed::by_operator(checkpoint, domain, &self.setup.key);
        let mut statements = deliveries(statements, &leaves, &header, &log_path, &checkpoint);
        for record in &mut statements {
            let household = PointId::new(record.delivery.statement.point.as_str()).ok();
            let household = household.and_then(|point| self.households.get(&point));
            record.reading_seq = household.map_or(0, |household| household.settled_seq);
        }
        SettledRecord {
            header,
            leaf,
            frontier: self.log.clone(),
            checkpoint,
            statements,
            transfers: outcome.transfers.clone(),
            moved: outcome.moved.clone(),
            members: None,
            allocation: outcome.allocation.clone(),
        }
    }

    /// Hands a full epoch to the chain.
    fn close_epoch(&mut self, now_ms: i64, step: &mut Step) {
        if self.epoch.slots() < i64::from(self.setup.anchor_every_slots) {
            return;
        }
        let next = AnchorDraft::empty(self.epoch.seq + 1, self.epoch.to_slot.next());
        let mut epoch = std::mem::replace(&mut self.epoch, next);
        epoch.log_size = self.log.size();
        epoch.log_root = self.log.root();
        epoch.time_ms = now_ms;
        let mut rewards = std::collections::BTreeMap::new();
        for (point, wei) in self.rewards.iter() {
            if let Some(household) = self.households.get(point) {
                *rewards.entry(household.enrolment.payout).or_insert(0_u128) += wei;
            }
        }
        epoch.rewards =
            rewards.into_iter().map(|(account, wei)| (account, wei.to_string())).collect();
        step.records.push(Record::Anchor(Box::new(epoch)));
    }
}

fn deliveries(
    statements: Vec<Statement>,
    leaves: &[B256],
    header: &Header,
    log_path: &[B256],
    checkpoint: &Signed<Checkpoint>,
) -> Vec<StatementRecord> {
    let deliver = |(index, statement): (usize, Statement)| StatementRecord {
        leaf: leaves[index],
        reading_seq: 0,
        delivery: Delivery {
            statement,
            position: index as u64,
            path: merkle::path(leaves, index),
            header: header.clone(),
            log_path: log_path.to_vec(),
            checkpoint: checkpoint.clone(),
        },
    };
    statements.into_iter().enumerate().map(deliver).collect()
}
