//! Messages at the time they came, whenever the desk gets to read them.
//!
//! A desk that was busy must not hold its own slowness against the households: an order that was here
//! before the gate counts, however late it is read. So the desk's time is that of the messages it
//! reads. Where a gate lies between two of them it hears the first ones at their own time, then closes
//! the gate, then hears the rest.

use std::collections::VecDeque;

use units::Slot;

use crate::desk::Input;
use crate::mqtt::Incoming;

/// Messages that the desk has not heard.
#[derive(Debug, Default)]
pub struct Arrivals {
    waiting: VecDeque<Incoming>,
    /// The desk's time so far.
    heard_ms: i64,
}

impl Arrivals {
    /// Takes what has come, in the order in which it came.
    pub fn take(&mut self, messages: impl IntoIterator<Item = Incoming>) {
        self.waiting.extend(messages);
    }

    /// The next messages between two gates, and when the desk should hear them: when the last of them
    /// came, or at `now_ms` if they are the last and no gate lies between. None when all are heard.
    /// The next gate closes at `gate_ms`, each later one a slot after the one before.
    pub fn next(&mut self, gate_ms: i64, now_ms: i64) -> Option<(i64, Vec<Input>)> {
        let first_ms = self.waiting.front()?.received_ms.max(self.heard_ms);
        let until_ms = if first_ms < gate_ms {
            gate_ms
        } else {
            first_ms + Slot::LENGTH_MS - (first_ms - gate_ms).rem_euclid(Slot::LENGTH_MS)
        };
        let mut inputs = Vec::new();
        while let Some(Incoming { received_ms, .. }) = self.waiting.front()
            && *received_ms < until_ms
        {
            let Incoming { topic, payload, received_ms } =
                self.waiting.pop_front().expect("just seen");
            self.heard_ms = self.heard_ms.max(received_ms);
            inputs.push(Input::Message { topic, payload });
        }
        if self.waiting.is_empty() && now_ms < until_ms {
            self.heard_ms = self.heard_ms.max(now_ms);
        }
        Some((self.heard_ms, inputs))
    }

    /// The desk's time where nothing is to be heard: never less than before.
    pub fn at(&mut self, now_ms: i64) -> i64 {
        self.heard_ms = self.heard_ms.max(now_ms);
        self.heard_ms
    }

    /// The desk's time so far.
    pub const fn heard_ms(&self) -> i64 {
        self.heard_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: i64 = Slot::LENGTH_MS;

    /// Hears messages that came at these moments; the gate goes on after each part as the desk's does.
    fn heard(
        arrivals: &mut Arrivals,
        moments: &[i64],
        (mut gate_ms, now_ms): (i64, i64),
    ) -> Vec<(i64, usize)> {
        arrivals.take(moments.iter().map(|&received_ms| Incoming {
            topic: String::new(),
            payload: Vec::new(),
            received_ms,
        }));
        let mut parts = Vec::new();
        while let Some((at_ms, inputs)) = arrivals.next(gate_ms, now_ms) {
            parts.push((at_ms, inputs.len()));
            while gate_ms <= at_ms {
                gate_ms += SLOT;
            }
        }
        parts
    }

    #[test]
    fn a_gate_closes_between_what_came_before_and_what_came_after() {
        let gate = 10 * SLOT;
        for (moments, parts) in [
            (&[][..], &[][..]),
            (&[gate - 5, gate - 3], &[(gate - 3, 2)]),
            (&[gate - 5, gate - 1, gate, gate + 9], &[(gate - 1, 2), (gate + 9, 2)]),
            (&[gate, gate + 1], &[(gate + 1, 2)]),
            // Read after two more gates.
            (
                &[gate - 1, gate + SLOT - 1, gate + SLOT, gate + 2 * SLOT],
                &[(gate - 1, 1), (gate + SLOT - 1, 1), (gate + SLOT, 1), (gate + 2 * SLOT, 1)],
            ),
            (&[gate + 3 * SLOT + 7, gate + 3 * SLOT + 8], &[(gate + 3 * SLOT + 8, 2)]),
        ] {
            let late = (gate, gate + 9 * SLOT);
            assert_eq!(heard(&mut Arrivals::default(), moments, late), parts, "{moments:?}");
        }
        // As long as no gate lies between, now is as good.
        let mut arrivals = Arrivals::default();
        assert_eq!(heard(&mut arrivals, &[gate - 9, gate - 5], (gate, gate - 1)), [(gate - 1, 2)]);
        assert_eq!(
            heard(&mut arrivals, &[gate - 1, gate], (gate, gate + 7)),
            [(gate - 1, 1), (gate + 7, 1)]
        );
    }

    #[test]
    fn the_desks_time_never_goes_back() {
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.at(500), 500);
        // The clock on the wall was set back, and a message was stamped before the desk looked.
        assert_eq!(heard(&mut arrivals, &[490, 495, 501], (SLOT, 0)), [(501, 3)]);
        assert_eq!(arrivals.at(499), 501);
        assert_eq!(heard(&mut arrivals, &[400], (450, 0)), [(501, 1)]);
    }
}
