//! The household's keys: handed over from one to the next while readings go on.
//!
//! A change of key is made at a moment between two readings, signed by both keys and written down
//! before anything is signed by the new one. Until the operator has it on record, readings of the new
//! key wait and everything else is still signed by the old one, so that nothing is ever said that the
//! operator could not believe.

use std::sync::Arc;

use protocol::{
    B256, Domain, HouseholdKey, KeyChange, KeyRecord, KeyRevocation, MAX_KEY_CHANGES,
    MAX_KEY_OVERLAP_MS, Message, Signed, SignedKeyChange, Up, Verified,
};
use serde::{Deserialize, Serialize};

use super::{Core, Effect, Evidence, Level};

/// Most foreign revocations that are told of.
const MAX_REVOKED: usize = 2 * MAX_KEY_CHANGES;

/// The secret halves that are at hand.
#[derive(Debug)]
pub struct Keys {
    /// Signs every reading from now on.
    pub current: Arc<HouseholdKey>,
    /// The one before, while it may still be needed.
    pub former: Option<Arc<HouseholdKey>>,
}

impl Keys {
    /// A household that has never changed its key.
    #[must_use]
    pub fn only(current: HouseholdKey) -> Self {
        Self { current: Arc::new(current), former: None }
    }
}

/// The changes of key in this epoch, and what the operator knows of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyHistory {
    /// By number, from 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<SignedKeyChange>,
    /// How many of them the operator has on record.
    #[serde(default)]
    pub on_record: u32,
    /// Own revocations that the operator may not have on record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revocations: Vec<Signed<KeyRevocation>>,
    /// Keys that the operator has on record as revoked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked: Vec<B256>,
}

impl KeyHistory {
    /// The key that must sign now; none when there was never a change.
    #[must_use]
    pub fn current(&self) -> Option<B256> {
        self.changes.last().map(|change| change.body.new_key)
    }

    /// The key before it.
    #[must_use]
    pub fn former(&self) -> Option<B256> {
        self.changes.last().map(|change| change.body.old_key)
    }

    /// The key that a reading was signed by, when `current` signs now.
    #[must_use]
    pub fn key_of(&self, seq: u64, current: B256) -> B256 {
        let next = self.changes.iter().find(|change| seq < change.body.from_seq);
        next.map_or(current, |change| change.body.old_key)
    }

    /// Until when the former key counts beside the present one.
    #[must_use]
    pub fn until_ms(&self) -> Option<i64> {
        self.changes.last().map(|change| change.body.until_ms)
    }

    /// Changes that the operator may not know of, oldest first.
    fn untold(&self) -> &[SignedKeyChange] {
        let known = usize::try_from(self.on_record).unwrap_or(usize::MAX);
        &self.changes[known.min(self.changes.len())..]
    }

    /// Whether the operator has every change on record, so that another may follow.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.untold().is_empty()
    }

    /// Whether the operator has every change and revocation on record.
    #[must_use]
    pub fn is_on_record(&self) -> bool {
        self.untold().is_empty() && self.revocations.is_empty()
    }

    /// The last reading that may be sent: the next one's key is not on record yet.
    pub(super) fn hold_after(&self) -> Option<u64> {
        self.untold().first().map(|change| change.body.from_seq.saturating_sub(1))
    }
}

impl Core {
    /// The changes of key so far.
    #[must_use]
    pub const fn key_history(&self) -> &KeyHistory {
        &self.keys
    }

    /// The public half of the key that signs readings.
    #[must_use]
    pub fn present_key(&self) -> B256 {
        public(&self.settings.keys.current)
    }

    /// Whether the former key is of no more use: the new one is on record, and the overlap is over.
    #[must_use]
    pub fn is_former_key_spent(&self, now_ms: i64) -> bool {
        self.keys.is_on_record() && self.keys.until_ms().is_some_and(|until_ms| until_ms < now_ms)
    }

    /// Signs a reading: with the key that is current, whatever the operator knows by now.
    pub(super) fn sign_reading(&self, body: protocol::Reading) -> Signed<protocol::Reading> {
        Signed::by_household(body, &self.settings.domain, &self.settings.keys.current)
    }

    /// Signs anything else: with the key that the operator has on record.
    pub(super) fn sign<T: Message>(&self, body: T) -> Signed<T> {
        let keys = &self.settings.keys;
        let former = keys.former.as_ref().filter(|_| !self.keys.untold().is_empty());
        let key = former.unwrap_or(&keys.current);
        Signed::by_household(body, &self.settings.domain, key)
    }

    /// Hands over to another key, between two readings.
    pub(super) fn rotate(
        &mut self,
        now_ms: i64,
        new: Arc<HouseholdKey>,
        overlap_ms: i64,
        effects: &mut Vec<Effect>,
    ) {
        let refused = if !self.keys.untold().is_empty() {
            Some("the operator has not confirmed the change before it yet".to_owned())
        } else if self.keys.changes.len() >= MAX_KEY_CHANGES {
            let why = "changes in one epoch: raise epoch and have the next key enrolled anew";
            Some(format!("{MAX_KEY_CHANGES} {why}"))
        } else {
            None
        };
        if let Some(why) = refused {
            let text = format!("the key is not changed: {why}");
            effects.push(Effect::Report(Level::Error, text));
            return;
        }
        let old = Arc::clone(&self.settings.keys.current);
        let body = KeyChange {
            point: self.settings.point.to_string(),
            epoch: self.settings.epoch,
            number: u32::try_from(self.keys.changes.len()).expect("few") + 1,
            old_key: public(&old),
            new_key: public(&new),
            from_seq: self.last_seq + 1,
            head: self.head,
            until_ms: now_ms.saturating_add(overlap_ms.clamp(0, MAX_KEY_OVERLAP_MS)),
            time_ms: now_ms,
        };
        let text = format!(
            "another key signs from reading {} on: {}",
            body.from_seq,
            hex::encode(body.new_key)
        );
        let change = SignedKeyChange::by_both(body, &self.settings.domain, &old, &new);
        self.keys.changes.push(change);
        self.settings.keys = Keys { current: new, former: Some(old) };
        self.outbox.hold_after(self.keys.hold_after());
        effects.push(Effect::SaveState);
        effects.push(Effect::Report(Level::Info, text));
        self.tell_keys(effects);
    }

    /// Says that the former key counts no more, signed by itself.
    pub(super) fn revoke_key(
        &mut self,
        now_ms: i64,
        key: B256,
        reason: String,
        effects: &mut Vec<Effect>,
    ) {
        let said = self.keys.revocations.iter().any(|known| known.body.key == key);
        if said || self.keys.revoked.contains(&key) {
            return;
        }
        let former = self.settings.keys.former.as_ref().filter(|former| public(former) == key);
        let Some(former) = former else {
            let text =
                "only the key before the present one can be revoked here, while it is still \
                        in its file: ask the operator to revoke it"
                    .to_owned();
            effects.push(Effect::Report(Level::Error, text));
            return;
        };
        let body = KeyRevocation {
            point: self.settings.point.to_string(),
            epoch: self.settings.epoch,
            key,
            reason,
            time_ms: now_ms,
        };
        let signed = Signed::by_household(body, &self.settings.domain, former);
        self.keys.revocations.push(signed);
        effects.push(Effect::SaveState);
        let text = format!("the key {} is revoked", hex::encode(key));
        effects.push(Effect::Report(Level::Warning, text));
        self.tell_keys(effects);
    }

    /// Sends what the operator may not have on record of our keys; a change goes before everything
    /// that its key has signed.
    pub(super) fn tell_keys(&self, effects: &mut Vec<Effect>) {
        if !self.is_connected() || self.keys.is_on_record() {
            return;
        }
        let changes = self.keys.untold().iter();
        let changes = changes.map(|change| Effect::Publish(Up::KeyChange, change.to_json()));
        let revocations = self.keys.revocations.iter();
        let revocations =
            revocations.map(|signed| Effect::Publish(Up::KeyRevocation, signed.to_json()));
        effects.extend(changes.chain(revocations));
        effects.push(Effect::AwaitAnswer);
    }

    /// Which of our keys the operator has on record: those that we know of, and no others.
    pub(super) fn key_record(
        &mut self,
        now_ms: i64,
        record: &Verified<KeyRecord>,
        effects: &mut Vec<Effect>,
    ) {
        let KeyRecord { point, epoch, number, change, key, revoked, .. } = record.body();
        if *point != self.settings.point.as_str() || *epoch != self.settings.epoch {
            return;
        }
        let known = usize::try_from(*number).unwrap_or(usize::MAX);
        let ours = match known.checked_sub(1) {
            None => Some(B256::ZERO),
            Some(at) => self.keys.changes.get(at).map(|one| one.digest(&self.settings.domain)),
        };
        if ours != Some(*change) {
            if self.foreign_change.replace(*change) == Some(*change) {
                return;
            }
            let reason = format!(
                "the operator has a change {number} of this household's key, to {}, that was not \
                 made here: whoever made it holds the key. Have the operator revoke it, and enrol \
                 another key with the next epoch",
                hex::encode(key)
            );
            effects.push(Effect::Report(Level::Error, reason.clone()));
            effects.push(Effect::KeepEvidence(Evidence {
                time_ms: now_ms,
                kind: "key-record",
                slot: None,
                reason,
                message: serde_json::to_value(record.signed()).unwrap_or_default(),
            }));
            return;
        }
        let before = self.keys.clone();
        self.keys.on_record = *number;
        self.keys.revocations.retain(|signed| !revoked.contains(&signed.body.key));
        for key in revoked.iter().take(MAX_REVOKED).filter(|key| !before.revoked.contains(key)) {
            self.keys.revoked.push(*key);
            let ours = before.revocations.iter().any(|signed| signed.body.key == *key);
            if !ours {
                self.revoked_by_operator(*key, effects);
            }
        }
        if self.keys == before {
            return;
        }
        self.outbox.hold_after(self.keys.hold_after());
        effects.push(Effect::SaveState);
        if self.keys.is_on_record() {
            let text = "the operator has the household's keys on record".to_owned();
            effects.push(Effect::Report(Level::Info, text));
        }
        effects.push(self.answered(now_ms));
    }

    fn revoked_by_operator(&self, key: B256, effects: &mut Vec<Effect>) {
        let which = if key == public(&self.settings.keys.current) {
            "this household's key: nothing that it signs counts any more. Ask why, make a new one, \
             raise epoch in the configuration and have both enrolled"
        } else {
            "an earlier key of this household"
        };
        let text = format!("the operator has revoked {which} ({})", hex::encode(key));
        effects.push(Effect::Report(Level::Error, text));
    }
}

fn public(key: &HouseholdKey) -> B256 {
    B256::from(key.public().to_bytes())
}

/// Whether readings were signed by the keys that were theirs; the first that was not.
///
/// # Errors
/// Its sequence number, and the key that should have signed it.
pub fn audit_signatures<'r>(
    history: &KeyHistory,
    current: B256,
    domain: &Domain,
    readings: impl IntoIterator<Item = &'r Signed<protocol::Reading>>,
) -> Result<u64, (u64, B256)> {
    let mut held = 0;
    for signed in readings {
        let seq = signed.body.seq;
        let owner = history.key_of(seq, current);
        let key = protocol::public_key_from_bytes(&owner.0).map_err(|_| (seq, owner))?;
        signed.clone().verify_household(domain, &key).map_err(|_| (seq, owner))?;
        held += 1;
    }
    Ok(held)
}
