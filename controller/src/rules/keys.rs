//! Which key of a household counts when; shared by the desk and the auditor.
//!
//! A household starts with the key that it was enrolled with and hands over from key to key. A reading
//! belongs to the key that its number falls to: the change names the first reading of the new key and
//! the digest of the last one of the old. For a while (the overlap) the old key counts as well. A key
//! that is revoked counts for nothing that was not on record by then, but for the readings before a
//! handing over, which the change vouches for.

use ed25519_dalek::VerifyingKey;
use protocol::{
    Address, B256, Domain, KeyChange, KeyRevocation, MAX_KEY_CHANGES, MAX_KEY_OVERLAP_MS, Refused,
    Signed, SignedKeyChange, public_key_from_bytes,
};
use serde::{Deserialize, Serialize};

use super::MAX_SKEW_MS;

/// A change of key that counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyChangeRecord {
    /// When it arrived, Unix milliseconds.
    pub received_ms: i64,
    /// As both keys signed it.
    pub change: SignedKeyChange,
}

/// A revocation that counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRevocationRecord {
    /// When it arrived, Unix milliseconds.
    pub received_ms: i64,
    /// The household's newest reading on record by then.
    pub reading_seq: u64,
    /// As the key itself or the operator signed it.
    pub revocation: Signed<KeyRevocation>,
}

/// Whether a revocation was signed by the key that it revokes, or by the operator.
#[must_use]
pub fn is_signed(revocation: &Signed<KeyRevocation>, domain: &Domain, operator: Address) -> bool {
    let itself = public_key_from_bytes(&revocation.body.key.0).ok();
    revocation.clone().verify_any(domain, itself.as_ref()).is_ok()
        || revocation.clone().verify_operator(domain, operator).is_ok()
}

/// The keys of one household in one epoch, oldest first.
#[derive(Debug, Clone)]
pub struct KeyRing {
    epoch: u32,
    keys: Vec<Held>,
}

#[derive(Debug, Clone)]
struct Held {
    key: VerifyingKey,
    /// The first reading that is its own.
    from_seq: u64,
    /// When the operator had the change, Unix milliseconds.
    since_ms: i64,
    /// Digest of the change that brought it, and what that says the reading before its first one is.
    change: B256,
    head: B256,
    /// Until when it counts beside the next one; meaningless for the newest.
    until_ms: i64,
    revoked: Option<Revoked>,
}

/// When a key was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revoked {
    /// The household's newest reading on record by then.
    pub reading_seq: u64,
    /// When the operator had it, Unix milliseconds.
    pub received_ms: i64,
}

/// Why a change or a revocation does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Of another enrolment.
    #[error("epoch {found} where {enrolled} is enrolled")]
    Epoch {
        /// The message's.
        found: u32,
        /// The enrolment's.
        enrolled: u32,
    },
    /// A second, different change under one number.
    #[error("a second, different change with number {0}")]
    Contradiction(u32),
    /// A change is missing before it.
    #[error("change {found} where {next} is next")]
    Gap {
        /// The message's.
        found: u32,
        /// The expected one.
        next: u32,
    },
    /// The signatures, or the new key.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The key that hands over counts no more.
    #[error("the key that hands over was revoked before")]
    Revoked,
    /// The new key was there before.
    #[error("the new key has been this household's before")]
    Reused,
    /// Times or numbers that cannot be.
    #[error("{0}")]
    Impossible(String),
    /// Nobody's key.
    #[error("the key was never this household's")]
    Unknown,
}

impl KeyRing {
    /// With the key of the enrolment.
    #[must_use]
    pub fn new(key: VerifyingKey, epoch: u32) -> Self {
        let first = Held {
            key,
            from_seq: 1,
            since_ms: i64::MIN,
            change: B256::ZERO,
            head: B256::ZERO,
            until_ms: i64::MAX,
            revoked: None,
        };
        Self { epoch, keys: vec![first] }
    }

    /// From the record: the key of the enrolment, or a newer one that has taken its place in the
    /// configuration since, and all that is on record of the epoch.
    ///
    /// # Errors
    /// [`KeyFault`] when key and record contradict each other.
    pub fn recorded<'r>(
        domain: &Domain,
        (key, epoch): (VerifyingKey, u32),
        changes: &[&KeyChangeRecord],
        revocations: impl IntoIterator<Item = &'r KeyRevocationRecord>,
    ) -> Result<Self, KeyFault> {
        let is_newer = |record: &&KeyChangeRecord| record.change.body.new_key.0 == key.to_bytes();
        let first = match changes.first() {
            Some(first) if changes.iter().any(is_newer) => {
                public_key_from_bytes(&first.change.body.old_key.0)
                    .map_err(|_| KeyFault::Unknown)?
            }
            _ => key,
        };
        Self::new(first, epoch).with_record(domain, changes, revocations)
    }

    /// With all that is on record of it.
    ///
    /// # Errors
    /// [`KeyFault`]: the first record that does not follow.
    pub fn with_record<'r>(
        mut self,
        domain: &Domain,
        changes: &[&KeyChangeRecord],
        revocations: impl IntoIterator<Item = &'r KeyRevocationRecord>,
    ) -> Result<Self, KeyFault> {
        for record in changes {
            self.take(domain, &record.change, record.received_ms)?;
        }
        for KeyRevocationRecord { received_ms, reading_seq, revocation } in revocations {
            let (reading_seq, received_ms) = (*reading_seq, *received_ms);
            let revoked = Revoked { reading_seq, received_ms };
            self.revoke(revocation.body.epoch, &revocation.body.key.0, revoked)?;
        }
        Ok(self)
    }

    fn newest(&self) -> &Held {
        self.keys.last().expect("there is always the key of the enrolment")
    }

    /// The newest key.
    #[must_use]
    pub fn key(&self) -> &VerifyingKey {
        &self.newest().key
    }

    /// Number of the newest change (0 = none), and its digest.
    #[must_use]
    pub fn change(&self) -> (u32, B256) {
        let number = u32::try_from(self.keys.len() - 1).expect("at most MAX_KEY_CHANGES");
        (number, self.newest().change)
    }

    /// The keys that were revoked.
    pub fn revoked(&self) -> impl Iterator<Item = B256> {
        let revoked = self.keys.iter().filter(|held| held.revoked.is_some());
        revoked.map(|held| B256::from(held.key.to_bytes()))
    }

    /// Whether a key is or was this household's.
    #[must_use]
    pub fn knows(&self, key: &[u8; 32]) -> bool {
        self.keys.iter().any(|held| held.key.as_bytes() == key)
    }

    /// The keys under which a reading counts that claims to have been made at `at_ms`.
    pub fn for_reading(&self, seq: u64, at_ms: i64) -> impl Iterator<Item = &VerifyingKey> {
        let owner = self.keys.iter().rposition(|held| held.from_seq <= seq).unwrap_or(0);
        let known = |held: &Held| held.revoked.is_none_or(|revoked| seq <= revoked.reading_seq);
        let has_successor = owner + 1 < self.keys.len();
        let own = Some(&self.keys[owner]).filter(|held| has_successor || known(held));
        let before =
            self.before(owner).filter(|&(held, until_ms)| at_ms <= until_ms && known(held));
        own.into_iter().chain(before.map(|(held, _)| held)).map(|held| &held.key)
    }

    /// The keys under which any other message counts that the operator had at `at_ms`.
    pub fn for_message(&self, at_ms: i64) -> impl Iterator<Item = &VerifyingKey> {
        let newest = self.keys.iter().rposition(|held| held.since_ms <= at_ms).unwrap_or(0);
        let known = move |held: &Held| held.revoked.is_none_or(|r| at_ms <= r.received_ms);
        let own = Some(&self.keys[newest]).filter(|held| known(held));
        let before = self.before(newest);
        let before = before.filter(|&(held, until_ms)| at_ms <= until_ms && known(held));
        own.into_iter().chain(before.map(|(held, _)| held)).map(|held| &held.key)
    }

    /// The key before one, and until when it counts: at least until the change was on record.
    fn before(&self, index: usize) -> Option<(&Held, i64)> {
        let held = &self.keys[index.checked_sub(1)?];
        Some((held, held.until_ms.max(self.keys[index].since_ms)))
    }

    /// What the reading before `seq` must be, when a new key starts with `seq`.
    #[must_use]
    pub fn head_before(&self, seq: u64) -> Option<B256> {
        let first = self.keys.iter().skip(1).find(|held| held.from_seq == seq);
        first.map(|held| held.head)
    }

    /// Takes a change that the operator had at `received_ms`; whether it is news.
    ///
    /// # Errors
    /// [`KeyFault`].
    pub fn take(
        &mut self,
        domain: &Domain,
        signed: &SignedKeyChange,
        received_ms: i64,
    ) -> Result<bool, KeyFault> {
        let body = &signed.body;
        self.is_of_epoch(body.epoch)?;
        let digest = signed.digest(domain);
        let (number, _) = self.change();
        if body.number <= number {
            let known = usize::try_from(body.number).ok().and_then(|at| self.keys.get(at));
            return match known.is_some_and(|held| body.number > 0 && held.change == digest) {
                true => Ok(false),
                false => Err(KeyFault::Contradiction(body.number)),
            };
        }
        if body.number != number + 1 {
            return Err(KeyFault::Gap { found: body.number, next: number + 1 });
        }
        let newest = self.newest();
        let new = signed.verify(domain, &newest.key)?;
        if newest.revoked.is_some() {
            return Err(KeyFault::Revoked);
        }
        if self.knows(new.as_bytes()) {
            return Err(KeyFault::Reused);
        }
        possible(body, received_ms, newest.from_seq, self.keys.len())
            .map_err(KeyFault::Impossible)?;
        self.keys.last_mut().expect("the key of the enrolment").until_ms = body.until_ms;
        self.keys.push(Held {
            key: new,
            from_seq: body.from_seq,
            since_ms: received_ms,
            change: digest,
            head: body.head,
            until_ms: i64::MAX,
            revoked: None,
        });
        Ok(true)
    }

    /// Takes a revocation; whether it is news.
    ///
    /// # Errors
    /// [`KeyFault`].
    pub fn revoke(
        &mut self,
        epoch: u32,
        key: &[u8; 32],
        revoked: Revoked,
    ) -> Result<bool, KeyFault> {
        self.is_of_epoch(epoch)?;
        let at = self.keys.iter().position(|held| held.key.as_bytes() == key);
        let at = at.ok_or(KeyFault::Unknown)?;
        if self.keys.get(at + 1).is_some_and(|next| next.since_ms > revoked.received_ms) {
            return Err(KeyFault::Revoked);
        }
        let held = &mut self.keys[at];
        Ok(held.revoked.is_none() && held.revoked.replace(revoked).is_none())
    }

    const fn is_of_epoch(&self, found: u32) -> Result<(), KeyFault> {
        if found == self.epoch {
            Ok(())
        } else {
            Err(KeyFault::Epoch { found, enrolled: self.epoch })
        }
    }
}

/// Whether times and numbers of a change can be.
fn possible(body: &KeyChange, received_ms: i64, from_seq: u64, keys: usize) -> Result<(), String> {
    if keys > MAX_KEY_CHANGES {
        return Err(format!("more than {MAX_KEY_CHANGES} changes: raise the epoch and enrol anew"));
    }
    let overlap_ms = body.until_ms.saturating_sub(body.time_ms);
    if !(0..=MAX_KEY_OVERLAP_MS).contains(&overlap_ms) {
        return Err(format!("an overlap of {overlap_ms} ms is none between 0 and 30 days"));
    }
    if body.time_ms > received_ms.saturating_add(MAX_SKEW_MS) {
        return Err(format!("it was made at {}, which is to come", body.time_ms));
    }
    if body.from_seq < from_seq {
        return Err(format!(
            "it starts at reading {}, before the key that hands over",
            body.from_seq
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use protocol::HouseholdKey;
    use units::CommunityId;

    use super::*;

    const DAY_MS: i64 = 86_400_000;

    fn domain() -> Domain {
        Domain::new(CommunityId::new("street").expect("valid"))
    }

    fn key(seed: u8) -> HouseholdKey {
        HouseholdKey::from_bytes(&[seed; 32])
    }

    /// A change from the key of one seed to that of the next, made at its number's day.
    fn change(number: u32, old: u8, new: u8, from_seq: u64) -> SignedKeyChange {
        let time_ms = i64::from(number) * DAY_MS;
        let body = KeyChange {
            point: "C001".into(),
            epoch: 1,
            number,
            old_key: B256::from(key(old).public().to_bytes()),
            new_key: B256::from(key(new).public().to_bytes()),
            from_seq,
            head: B256::repeat_byte(7),
            until_ms: time_ms + DAY_MS / 2,
            time_ms,
        };
        SignedKeyChange::by_both(body, &domain(), &key(old), &key(new))
    }

    fn ring() -> KeyRing {
        let mut ring = KeyRing::new(key(1).public(), 1);
        assert_eq!(ring.take(&domain(), &change(1, 1, 2, 10), DAY_MS + 5), Ok(true));
        ring
    }

    fn seeds<'k>(keys: impl Iterator<Item = &'k VerifyingKey>) -> Vec<u8> {
        keys.map(|found| (1..9).find(|&seed| key(seed).public() == *found).expect("one of ours"))
            .collect()
    }

    #[test]
    fn a_reading_falls_to_a_key_by_its_number_and_to_two_for_a_while() {
        let ring = ring();
        let until_ms = DAY_MS + DAY_MS / 2;
        for (seq, at_ms, expected) in [
            (1, 0, &[1][..]),
            (9, 90 * DAY_MS, &[1]),
            (10, until_ms, &[2, 1]),
            (10, until_ms + 1, &[2]),
            (5_000, 90 * DAY_MS, &[2]),
        ] {
            assert_eq!(seeds(ring.for_reading(seq, at_ms)), expected, "{seq} at {at_ms}");
        }
        for (at_ms, expected) in
            [(0, &[1][..]), (DAY_MS + 4, &[1]), (DAY_MS + 5, &[2, 1]), (until_ms + 1, &[2])]
        {
            assert_eq!(seeds(ring.for_message(at_ms)), expected, "at {at_ms}");
        }
        assert_eq!(ring.head_before(10), Some(B256::repeat_byte(7)));
        assert_eq!((ring.head_before(11), ring.head_before(1)), (None, None));
    }

    #[test]
    fn a_change_that_came_late_leaves_the_old_key_until_it_came() {
        let mut ring = KeyRing::new(key(1).public(), 1);
        ring.take(&domain(), &change(1, 1, 2, 10), 40 * DAY_MS).expect("good");
        assert_eq!(seeds(ring.for_message(40 * DAY_MS - 1)), [1]);
        assert_eq!(seeds(ring.for_message(40 * DAY_MS)), [2, 1]);
        assert_eq!(seeds(ring.for_message(40 * DAY_MS + 1)), [2]);
    }

    #[test]
    fn a_revoked_key_counts_for_what_is_on_record_and_for_what_a_change_vouches_for() {
        let mut ring = ring();
        let revoked = Revoked { reading_seq: 4, received_ms: DAY_MS + 100 };
        let old = key(1).public();
        assert_eq!(ring.revoke(1, old.as_bytes(), revoked), Ok(true));
        assert_eq!(ring.revoke(1, old.as_bytes(), revoked), Ok(false), "said again");
        assert_eq!(seeds(ring.for_reading(9, DAY_MS)), [1], "handed over with its digest");
        assert_eq!(seeds(ring.for_reading(10, DAY_MS)), [2]);
        assert_eq!(seeds(ring.for_message(DAY_MS + 101)), [2]);
        assert_eq!(ring.revoked().collect::<Vec<_>>(), [B256::from(old.to_bytes())]);
        let newest = key(2).public();
        let revoked = Revoked { reading_seq: 12, received_ms: DAY_MS + 200 };
        assert_eq!(ring.revoke(1, newest.as_bytes(), revoked), Ok(true));
        assert_eq!(seeds(ring.for_reading(12, DAY_MS)), [2], "on record");
        assert_eq!(seeds(ring.for_reading(13, DAY_MS)), [0_u8; 0], "nobody's any more");
        assert_eq!(seeds(ring.for_message(DAY_MS + 201)), [0_u8; 0]);
        let next = ring.take(&domain(), &change(2, 2, 3, 20), 2 * DAY_MS);
        assert_eq!(next, Err(KeyFault::Revoked));
        let nobody = ring.revoke(1, key(8).public().as_bytes(), revoked);
        assert_eq!(nobody, Err(KeyFault::Unknown));
        assert!(matches!(ring.revoke(2, newest.as_bytes(), revoked), Err(KeyFault::Epoch { .. })));
    }

    #[test]
    fn only_a_change_that_both_keys_signed_and_that_follows_is_taken() {
        let good = change(2, 2, 3, 20);
        let with = |edit: &dyn Fn(&mut KeyChange)| {
            let mut body = good.body.clone();
            edit(&mut body);
            SignedKeyChange::by_both(body, &domain(), &key(2), &key(3))
        };
        let (mut stolen, mut borrowed, mut forged) = (good.clone(), good.clone(), good.clone());
        stolen.new_sig = stolen.old_sig.clone();
        borrowed.old_sig = borrowed.new_sig.clone();
        forged.body.until_ms += 1;
        let impossible = |fault: &KeyFault| matches!(fault, KeyFault::Impossible(_));
        let refused = |fault: &KeyFault| matches!(fault, KeyFault::Refused(_));
        type Is<'a> = &'a dyn Fn(&KeyFault) -> bool;
        let cases: [(&str, SignedKeyChange, Is<'_>); 12] = [
            ("not held by who hands over", stolen, &refused),
            ("not handed over", borrowed, &refused),
            ("changed since", forged, &refused),
            ("of another old key", change(2, 1, 3, 20), &refused),
            ("to itself", change(2, 2, 2, 20), &refused),
            ("back to an earlier one", change(2, 2, 1, 20), &|f| *f == KeyFault::Reused),
            ("another epoch", with(&|b| b.epoch = 2), &|f| matches!(f, KeyFault::Epoch { .. })),
            ("a gap", with(&|b| b.number = 3), &|f| matches!(f, KeyFault::Gap { next: 2, .. })),
            ("said otherwise", with(&|b| b.number = 1), &|f| *f == KeyFault::Contradiction(1)),
            ("too long", with(&|b| b.until_ms += 30 * DAY_MS), &impossible),
            ("from the future", with(&|b| b.time_ms += DAY_MS), &impossible),
            ("before the key before", with(&|b| b.from_seq = 9), &impossible),
        ];
        for (name, signed, expected) in cases {
            let mut ring = ring();
            let fault = ring.take(&domain(), &signed, 2 * DAY_MS).expect_err(name);
            assert!(expected(&fault), "{name}: {fault:?}");
            assert_eq!(ring.change().0, 1, "{name}: nothing changed");
        }
        let mut ring = ring();
        assert_eq!(ring.take(&domain(), &good, 2 * DAY_MS), Ok(true));
        assert_eq!(ring.take(&domain(), &good, 9 * DAY_MS), Ok(false), "said again");
        assert_eq!(ring.take(&domain(), &change(1, 1, 2, 10), 9 * DAY_MS), Ok(false));
        assert_eq!(*ring.key(), key(3).public());
    }
}
