//! Settlement: readings are in or overdue, so the slot is billed, logged and signed.

use protocol::{B256, Checkpoint, Delivery, Down, Header, Signed, Statement, Topic, merkle};
use tracing::error;
use units::Slot;

use super::{
    AnchorDraft, Cleared, Desk, MAX_SLOTS_PER_STEP, Outgoing, Record, SettledRecord,
    StatementRecord, Step,
};
use crate::rules::{self, Member, Outcome, Place, SlotBasis};

impl Desk {
    /// Settles the slots whose readings are in, or whose deadline has passed, in order.
    pub(super) fn settle_due(&mut self, now_ms: i64, step: &mut Step) {
        for _ in 0..MAX_SLOTS_PER_STEP {
            let slot = self.next_settle;
            if !self.cleared.contains_key(&slot) || !self.is_due(now_ms, slot) {
                return;
            }
            if let Err(fault) = self.settle(now_ms, slot, step) {
                // Nothing was booked. Every step tries again, so the slot is not lost, and nothing
                // later overtakes it.
                error!(%slot, %fault, "the slot cannot be settled; its inputs are in the record");
                return;
            }
        }
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

    fn settle(
        &mut self,
        now_ms: i64,
        slot: Slot,
        step: &mut Step,
    ) -> Result<(), rules::SettlingFault> {
        let cleared = &self.cleared[&slot];
        let members: Vec<Member> =
            self.households.values().map(|household| household.member(slot)).collect();
        let basis = SlotBasis {
            clearing: &cleared.clearing,
            seed: cleared.seed,
            terms: &|slot| self.terms(slot),
            policy: self.setup.policy,
            grid: &cleared.grid,
            members: &members,
        };
        let outcome = rules::settle_slot(&basis, &self.rewards)?;

        let cleared = self.cleared.remove(&slot).expect("just used");
        let readings_root = self.release_readings(slot, &members);
        let record = self.log_slot(now_ms, &cleared, &outcome, readings_root);
        for statement in &record.statements {
            let point = statement.delivery.statement.point.clone();
            let point = units::PointId::new(point).expect("an enrolled point");
            let topic = Topic::Down(point, Down::Statement);
            let payload = serde_json::to_vec(&statement.delivery).expect("plain data");
            step.outgoing.push(Outgoing { topic, payload, retain: false });
        }
        self.rewards = outcome.rewards;
        self.epoch.add(slot, &outcome.totals);
        step.records.push(Record::Settled(Box::new(record)));
        step.moved.extend(self.households.keys().cloned());
        self.next_settle = slot.next();
        self.close_epoch(now_ms, step);
        Ok(())
    }

    fn release_readings(&mut self, slot: Slot, members: &[Member]) -> B256 {
        let mut digests = Vec::new();
        for (household, member) in self.households.values_mut().zip(members) {
            digests.extend(household.release(slot, member.metering.settled));
        }
        rules::digests_root(digests)
    }

    fn log_slot(
        &mut self,
        now_ms: i64,
        cleared: &Cleared,
        outcome: &Outcome,
        readings_root: B256,
    ) -> SettledRecord {
        let slot = cleared.clearing.slot;
        let domain = &self.setup.domain;
        let statements =
            outcome.statements(|point| rules::salt(&self.setup.salt_secret, slot, point));
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
        let statements = deliveries(statements, &leaves, &header, &log_path, &checkpoint);
        SettledRecord {
            header,
            leaf,
            frontier: self.log.clone(),
            checkpoint,
            statements,
            transfers: outcome.transfers.clone(),
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
