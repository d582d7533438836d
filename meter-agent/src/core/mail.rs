//! Messages of the operator, and what they change. Nothing is believed without its signature.

use protocol::{
    Clearing, Down, Fill, KeyRecord, Message, Offer, Public, Receipt, Refusal, Refused, Signed,
    Topic, Verdict, Verified,
};
use units::Slot;

use super::outbox::Released;
use super::{Core, Effect, Evidence, Level, plausible};

/// An offer further ahead than this is a mistake: a week.
const MAX_SLOTS_AHEAD: i64 = 7 * Slot::PER_DAY;

impl Core {
    pub(super) fn message(
        &mut self,
        now_ms: i64,
        topic: &Topic,
        payload: &[u8],
        effects: &mut Vec<Effect>,
    ) {
        let taken = match topic {
            Topic::Down(point, _) if *point != self.settings.point => return,
            Topic::Up(..) => return,
            Topic::Down(_, Down::Statement) => {
                self.delivery(now_ms, payload, effects);
                return;
            }
            Topic::Down(_, Down::Receipt) => {
                self.open::<Receipt>(payload).map(|m| self.receipt(now_ms, &m, effects))
            }
            Topic::Down(_, Down::Verdict) => {
                self.open::<Verdict>(payload).map(|m| self.verdict(now_ms, m.body(), effects))
            }
            Topic::Down(_, Down::Fill) => {
                self.open::<Fill>(payload).map(|m| self.fill(m.body(), effects))
            }
            Topic::Down(_, Down::Refusal) => {
                self.open::<Refusal>(payload).map(|m| self.refusal(m.body(), effects))
            }
            Topic::Down(_, Down::KeyRecord) => {
                self.open::<KeyRecord>(payload).map(|m| self.key_record(now_ms, &m, effects))
            }
            Topic::Public(Public::Offer) => {
                self.open::<Offer>(payload).map(|m| self.offer(now_ms, m.body(), effects))
            }
            Topic::Public(Public::Clearing) => {
                self.open::<Clearing>(payload).map(|m| self.clearing(m.body()))
            }
        };
        if taken.is_ok() {
            self.helm.hear(now_ms);
        }
        if let Err(refused) = taken {
            self.status.refused += 1;
            let name = topic.name(self.settings.domain.community());
            effects.push(Effect::Report(
                Level::Warning,
                format!("a message on {name} is not believed: {refused}"),
            ));
        }
    }

    fn open<T: Message>(&self, payload: &[u8]) -> Result<Verified<T>, Refused> {
        Signed::<T>::parse(payload)?.verify_operator(&self.settings.domain, self.settings.operator)
    }

    fn receipt(&mut self, now_ms: i64, receipt: &Verified<Receipt>, effects: &mut Vec<Effect>) {
        let Receipt { point, epoch, seq, head, time_ms } = receipt.body();
        if *point != self.settings.point.as_str() || *epoch != self.settings.epoch {
            return;
        }
        let known = self.edges.with_seq(*seq);
        let wrong = if *seq > self.last_seq {
            Some(format!(
                "the operator signed for reading {seq} of epoch {epoch}, but the journal ends at \
                 {}; if the journal was lost, raise epoch in the configuration and have the new \
                 epoch enrolled",
                self.last_seq
            ))
        } else if known.is_some_and(|edge| edge.digest != *head) {
            Some(format!("the operator signed for another reading {seq} than the journal's"))
        } else {
            None
        };
        if let Some(reason) = wrong {
            effects.push(Effect::Report(Level::Error, reason.clone()));
            effects.push(Effect::KeepEvidence(Evidence {
                time_ms: now_ms,
                kind: "receipt",
                slot: None,
                reason,
                message: serde_json::to_value(receipt.signed()).unwrap_or_default(),
            }));
            return;
        }
        match self.outbox.receipt(*seq, *time_ms) {
            Released::Progress => {
                self.edges.receipted(*seq, *time_ms);
                effects.push(Effect::Released(*seq));
                effects.push(self.answered(now_ms));
            }
            Released::Lost => effects.push(Effect::Report(
                Level::Warning,
                format!("the operator has readings up to {seq} only; the rest is sent again"),
            )),
            Released::Waiting | Released::Stale => {}
        }
        self.status.released_seq = self.outbox.released();
    }

    fn verdict(&mut self, now_ms: i64, verdict: &Verdict, effects: &mut Vec<Effect>) {
        let ours = self.book.verdict(verdict.slot, verdict.seq, verdict.accepted);
        if ours {
            effects.push(self.answered(now_ms));
        }
        if ours && !verdict.accepted {
            effects.push(Effect::Report(
                Level::Warning,
                format!("the order for slot {} was refused: {}", verdict.slot, verdict.reason),
            ));
        }
    }

    fn fill(&mut self, fill: &Fill, effects: &mut Vec<Effect>) {
        if self.book.fill(fill) && plausible(fill.slot) {
            effects.push(Effect::Report(
                Level::Debug,
                format!(
                    "slot {}: bought {} Wh, sold {} Wh",
                    Slot::new(fill.slot),
                    fill.bought_wh,
                    fill.sold_wh
                ),
            ));
        }
    }

    fn refusal(&mut self, refusal: &Refusal, effects: &mut Vec<Effect>) {
        let Refusal { point, kind, reason, .. } = refusal;
        if *point == self.settings.point.as_str() {
            effects.push(Effect::Report(
                Level::Warning,
                format!("the operator refused a message ({kind}): {reason}"),
            ));
        }
    }

    fn offer(&mut self, now_ms: i64, offer: &Offer, effects: &mut Vec<Effect>) {
        let ahead = offer.slot.saturating_sub(Slot::at_ms(now_ms).number());
        if !plausible(offer.slot)
            || ahead > MAX_SLOTS_AHEAD
            || offer.gate_ms > Slot::new(offer.slot).end_ms()
        {
            effects.push(Effect::Report(
                Level::Warning,
                format!(
                    "an offer for slot {} with a gate at {} is not plausible",
                    offer.slot, offer.gate_ms
                ),
            ));
            return;
        }
        self.learn_terms(offer.slot, offer.retail, offer.feed_in);
        // After a restart the order may be known and its offer not: it may never have left. And an
        // operator that offers again was away: it may never have arrived.
        if self.book.offer(offer.clone()) && self.is_connected() {
            self.repeat_orders(now_ms, |order| order.slot == offer.slot, effects);
        }
    }

    fn clearing(&mut self, clearing: &Clearing) {
        // Clearings are not kept by the broker: the operator is there now.
        self.outbox.operator_is_there();
        if plausible(clearing.slot) {
            self.book.clear(clearing.clone());
        }
    }
}
