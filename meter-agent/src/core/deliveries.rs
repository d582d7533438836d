//! Statements: judged as they come, asked for when they are missing.

use protocol::{Ask, Audit, B256, Delivery, MAX_MESSAGE_BYTES, Up};
use units::Slot;

use super::audit::{self, Finding, Knowledge};
use super::witness::{MAX_ASKS, Place};
use super::{Core, Effect, Evidence, Level, plausible};

impl Core {
    pub(super) fn delivery(&mut self, now_ms: i64, payload: &[u8], effects: &mut Vec<Effect>) {
        let delivery = match parse(payload) {
            Ok(delivery) => delivery,
            Err(reason) => {
                self.status.refused += 1;
                effects.push(Effect::Report(
                    Level::Warning,
                    format!("a statement cannot be read: {reason}"),
                ));
                return;
            }
        };
        let digest = self.settings.domain.digest(&delivery.statement);
        // Only what the operator signed may make the household ask, doubt or forget.
        if let Err(finding) = audit::authentic(&delivery, &self.knowledge()) {
            self.reject(now_ms, &delivery, digest, &finding.to_string(), effects);
            return;
        }
        match self.witness.place(&delivery, digest) {
            Place::Repeated => {
                // Shown again because the verdict was lost on its way.
                let index = delivery.header.index;
                let reason = self.witness.doubts.get(&index).cloned().unwrap_or_default();
                self.say(now_ms, &delivery, digest, reason, effects);
            }
            Place::Forgotten => {}
            Place::SecondStory => {
                let reason = "a second, different statement for a slot that was settled".to_owned();
                self.reject(now_ms, &delivery, digest, &reason, effects);
            }
            Place::Ahead => self.ahead(now_ms, &delivery, digest, effects),
            Place::Next => self.judge(now_ms, &delivery, digest, None, effects),
        }
    }

    const fn knowledge(&self) -> Knowledge<'_> {
        Knowledge {
            domain: &self.settings.domain,
            operator: self.settings.operator,
            point: &self.settings.point,
            witness: &self.witness,
            edges: &self.edges,
            book: &self.book,
        }
    }

    /// Judges the next entry of the log; with a `doubt` it is not accepted even if all else holds.
    fn judge(
        &mut self,
        now_ms: i64,
        delivery: &Delivery,
        digest: B256,
        doubt: Option<Finding>,
        effects: &mut Vec<Effect>,
    ) {
        let frontier = match audit::follows(delivery, &self.knowledge()) {
            Ok(frontier) => frontier,
            Err(finding) => {
                self.reject(now_ms, delivery, digest, &finding.to_string(), effects);
                return;
            }
        };
        let bill = audit::bill(delivery, &self.knowledge());
        self.witness.advance(delivery, frontier, digest);
        let header = &delivery.header;
        self.learn_terms(header.slot, header.retail, header.feed_in);
        self.caught_up(now_ms, effects);
        match bill.and_then(|()| doubt.map_or(Ok(()), Err)) {
            Ok(()) => self.accept(now_ms, delivery, digest, effects),
            Err(finding) => {
                let reason = finding.to_string();
                self.witness.doubts.insert(header.index, reason.clone());
                self.reject(now_ms, delivery, digest, &reason, effects);
            }
        }
    }

    fn accept(
        &mut self,
        now_ms: i64,
        delivery: &Delivery,
        digest: B256,
        effects: &mut Vec<Effect>,
    ) {
        let slot = delivery.statement.slot;
        self.status.verified += 1;
        self.status.verified_slot = self.status.verified_slot.max(Some(slot));
        effects.push(Effect::SaveState);
        self.say(now_ms, delivery, digest, String::new(), effects);
        effects.push(Effect::Report(
            Level::Debug,
            format!(
                "slot {}, version {}: the bill of {} nano holds",
                Slot::new(slot),
                delivery.statement.version,
                delivery.statement.amount
            ),
        ));
    }

    fn reject(
        &mut self,
        now_ms: i64,
        delivery: &Delivery,
        digest: B256,
        reason: &str,
        effects: &mut Vec<Effect>,
    ) {
        let message = serde_json::to_value(delivery).unwrap_or_default();
        let fingerprint = protocol::keccak256(message.to_string());
        if self.failed == Some(fingerprint) {
            return;
        }
        self.failed = Some(fingerprint);
        let slot = delivery.statement.slot;
        self.status.failed += 1;
        self.status.last_finding = Some(reason.to_owned());
        effects.push(Effect::Report(
            Level::Error,
            format!("the statement for slot {} does not hold: {reason}", Slot::new(slot)),
        ));
        effects.push(Effect::KeepEvidence(Evidence {
            time_ms: now_ms,
            kind: "statement",
            slot: Some(slot),
            reason: reason.to_owned(),
            message,
        }));
        effects.push(Effect::SaveState);
        self.say(now_ms, delivery, digest, reason.to_owned(), effects);
    }

    /// Signs the verdict; an empty reason means that everything held.
    fn say(
        &self,
        now_ms: i64,
        delivery: &Delivery,
        statement: B256,
        reason: String,
        effects: &mut Vec<Effect>,
    ) {
        let audit = Audit {
            point: self.settings.point.to_string(),
            slot: delivery.statement.slot,
            version: delivery.statement.version,
            verified: reason.is_empty(),
            reason,
            statement,
            time_ms: now_ms,
        };
        effects.push(Effect::Publish(Up::Audit, self.sign(audit).to_json()));
    }

    /// Statements before this one were not seen: asks for them, and goes on without them when they
    /// are not shown.
    fn ahead(&mut self, now_ms: i64, delivery: &Delivery, digest: B256, effects: &mut Vec<Effect>) {
        let next = self.witness.frontier.size();
        match self.asked {
            Some((from, times)) if from == next && times > MAX_ASKS => {
                let to = delivery.header.index;
                self.asked = None;
                self.witness.skip();
                let doubt = Some(Finding::Withheld { from, to });
                self.judge(now_ms, delivery, digest, doubt, effects);
            }
            Some((from, _)) if from == next => {}
            _ => {
                self.asked = Some((next, 0));
                self.ask_again(now_ms, effects);
            }
        }
    }

    /// After a reconnect: what was entered into the log meanwhile? Whoever has seen nothing of it
    /// asks from the first slot that the own meter knows of.
    pub(super) fn ask_after_outage(&mut self, now_ms: i64, effects: &mut Vec<Effect>) {
        let from_index = self.witness.frontier.size();
        let from_slot = match self.edges.first() {
            _ if from_index > 0 => 0,
            Some(first) => first.number(),
            None => return,
        };
        // Asked once and not tracked: most often there is nothing, and a gap shows itself later.
        self.asked = None;
        effects.push(Effect::Publish(Up::Ask, self.ask(now_ms, from_index, from_slot)));
    }

    fn ask(&self, now_ms: i64, from_index: u64, from_slot: i64) -> Vec<u8> {
        let point = self.settings.point.to_string();
        self.sign(Ask { point, from_index, from_slot, time_ms: now_ms }).to_json()
    }

    /// Asks for the entries after the last one seen, a bounded number of times.
    pub(super) fn ask_again(&mut self, now_ms: i64, effects: &mut Vec<Effect>) {
        let Some((from, times)) = self.asked else { return };
        if times > MAX_ASKS || !self.is_connected() {
            return;
        }
        self.asked = Some((from, times + 1));
        if times == MAX_ASKS {
            return;
        }
        effects.push(Effect::Publish(Up::Ask, self.ask(now_ms, from, 0)));
        effects.push(Effect::AwaitAnswer);
    }

    /// A statement was judged: the next gap is a new question.
    fn caught_up(&mut self, now_ms: i64, effects: &mut Vec<Effect>) {
        let size = self.witness.frontier.size();
        if self.asked.take_if(|(from, _)| *from < size).is_some() {
            effects.push(self.answered(now_ms));
        }
    }
}

fn parse(payload: &[u8]) -> Result<Delivery, String> {
    if payload.len() > MAX_MESSAGE_BYTES {
        return Err(format!("{} bytes is more than {MAX_MESSAGE_BYTES}", payload.len()));
    }
    let delivery: Delivery = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    let Delivery { statement, header, .. } = &delivery;
    let late = statement.late.iter().map(|line| line.slot);
    let slots = [statement.slot, header.slot].into_iter().chain(late);
    match slots.into_iter().find(|&slot| !plausible(slot)) {
        Some(slot) => Err(format!("slot {slot} is not plausible")),
        None => Ok(delivery),
    }
}
