//! The newest days of one series, slot by slot, as compact integers.

/// Slots that are kept: eight days, so that the same slot a week ago is still there.
const KEPT: i64 = 768;
/// Stands for a slot that is not known.
const UNKNOWN: i32 = i32::MIN;

/// Energy per slot, Wh.
#[derive(Debug, Clone)]
pub struct History {
    ring: Box<[i32]>,
    newest: Option<i64>,
}

impl History {
    /// Nothing known.
    pub fn new() -> Self {
        Self { ring: vec![UNKNOWN; position(KEPT - 1) + 1].into_boxed_slice(), newest: None }
    }

    /// The newest slot.
    pub const fn newest(&self) -> Option<i64> {
        self.newest
    }

    /// Adds a slot newer than all others; what lies beyond ±2 GWh counts as that much.
    pub fn push(&mut self, slot: i64, wh: i64) {
        let forgotten_from = self.newest.map_or(slot - KEPT, |newest| newest.max(slot - KEPT));
        for skipped in forgotten_from + 1..slot {
            self.ring[position(skipped)] = UNKNOWN;
        }
        let wh = i32::try_from(wh).unwrap_or(if wh < 0 { UNKNOWN + 1 } else { i32::MAX });
        self.ring[position(slot)] = wh.max(UNKNOWN + 1);
        self.newest = Some(slot);
    }

    /// The energy of a slot, Wh.
    pub fn at(&self, slot: i64) -> Option<f64> {
        let newest = self.newest?;
        let is_kept = slot <= newest && slot > newest - KEPT;
        let wh = self.ring[position(slot)];
        (is_kept && wh != UNKNOWN).then(|| f64::from(wh))
    }
}

fn position(slot: i64) -> usize {
    usize::try_from(slot.rem_euclid(KEPT)).expect("a remainder of a positive number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_and_what_is_too_old_is_unknown() {
        let mut history = History::new();
        assert_eq!(history.at(5), None);
        history.push(5, 7);
        history.push(8, -3);
        let seen: Vec<_> = (4..10).map(|slot| history.at(slot)).collect();
        assert_eq!(seen, [None, Some(7.0), None, None, Some(-3.0), None]);
        history.push(5 + KEPT, 1);
        assert_eq!((history.at(5), history.at(8)), (None, Some(-3.0)));
        history.push(8 + 3 * KEPT, i64::MAX);
        assert_eq!((history.at(5 + KEPT), history.at(8 + 2 * KEPT)), (None, None));
        assert_eq!(history.at(8 + 3 * KEPT), Some(f64::from(i32::MAX)));
    }
}
