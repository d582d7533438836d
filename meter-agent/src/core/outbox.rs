//! Which journalled readings to send, and when to send them again.
//!
//! Only the operator's signed receipt releases a reading. A bounded number is on the way at any
//! time; after a reconnect, a gap or silence sending starts again behind the last receipt, with one
//! reading until a receipt shows that somebody listens: what follows a lost one would be refused.

/// Most readings on the way at once while receipts come.
const WINDOW: u64 = 16;

/// What a receipt changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// More is stored than before.
    Progress,
    /// The operator waits for the reading after this one.
    Waiting,
    /// The operator has less than it had promised before: it is sent again.
    Lost,
    /// Old news.
    Stale,
}

/// The state of delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbox {
    last: u64,
    sent: u64,
    released: u64,
    released_ms: i64,
    /// The watermark behind which sending already started again.
    rewound: Option<u64>,
    connected: bool,
    /// A receipt has come since sending started (again).
    answered: bool,
}

impl Outbox {
    /// With a journal up to `last`, of which the operator has `released`.
    #[must_use]
    pub fn new(last: u64, released: u64, released_ms: i64) -> Self {
        let released = released.min(last);
        Self {
            last,
            sent: released,
            released,
            released_ms,
            rewound: None,
            connected: false,
            answered: false,
        }
    }

    /// Highest sequence number that the operator has for good.
    #[must_use]
    pub const fn released(&self) -> u64 {
        self.released
    }

    /// Market time of the newest receipt.
    #[must_use]
    pub const fn released_ms(&self) -> i64 {
        self.released_ms
    }

    /// Readings that the operator does not have for good yet.
    #[must_use]
    pub const fn waiting(&self) -> u64 {
        self.last - self.released
    }

    /// A reading was journalled.
    pub const fn appended(&mut self, seq: u64) {
        self.last = seq;
    }

    /// The link came up or went down; everything unreleased will be sent again.
    pub const fn set_connected(&mut self, connected: bool) {
        self.connected = connected;
        self.overdue();
    }

    /// The receipt that was hoped for did not come.
    pub const fn overdue(&mut self) {
        self.sent = self.released;
        self.rewound = None;
        self.answered = false;
    }

    /// The operator has just said something else: if no receipt came so far, it was not there before.
    pub const fn operator_is_there(&mut self) {
        if !self.answered {
            self.sent = self.released;
        }
    }

    /// Takes a receipt of the operator; `seq` is at most the newest journalled one.
    pub fn receipt(&mut self, seq: u64, time_ms: i64) -> Released {
        self.answered = true;
        if seq > self.released {
            self.released = seq;
            self.released_ms = self.released_ms.max(time_ms);
            self.sent = self.sent.max(seq);
            self.rewound = None;
            return Released::Progress;
        }
        if seq < self.released {
            if time_ms <= self.released_ms {
                return Released::Stale;
            }
            (self.released, self.released_ms) = (seq, time_ms);
            (self.sent, self.rewound) = (seq, Some(seq));
            return Released::Lost;
        }
        if self.sent > seq && self.rewound != Some(seq) {
            (self.sent, self.rewound) = (seq, Some(seq));
        }
        Released::Waiting
    }

    /// The readings to send now, first and last sequence number.
    pub fn take(&mut self) -> Option<(u64, u64)> {
        let window = if self.answered { WINDOW } else { 1 };
        let until = self.last.min(self.released + window);
        if !self.connected || self.sent >= until {
            return None;
        }
        let first = self.sent + 1;
        self.sent = until;
        Some((first, until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Connected, with a first receipt for what is released.
    fn answered(last: u64, released: u64) -> Outbox {
        let mut outbox = Outbox::new(last, released, 100);
        outbox.set_connected(true);
        outbox.receipt(released, 100);
        outbox
    }

    #[test]
    fn one_reading_goes_ahead_and_a_window_follows_its_receipt() {
        let mut outbox = Outbox::new(40, 3, 0);
        assert_eq!(outbox.take(), None, "not connected");
        outbox.set_connected(true);
        assert_eq!(outbox.take(), Some((4, 4)));
        assert_eq!(outbox.take(), None);
        assert_eq!(outbox.receipt(4, 1), Released::Progress);
        assert_eq!(outbox.take(), Some((5, 20)));
        assert_eq!(outbox.take(), None);
        assert_eq!(outbox.receipt(10, 1), Released::Progress);
        assert_eq!(outbox.take(), Some((21, 26)));
        outbox.operator_is_there();
        assert_eq!(outbox.take(), None, "receipts come anyway");
        outbox.overdue();
        assert_eq!(outbox.take(), Some((11, 11)));
        outbox.operator_is_there();
        assert_eq!(outbox.take(), Some((11, 11)));
        outbox.set_connected(false);
        assert_eq!(outbox.take(), None);
        outbox.set_connected(true);
        assert_eq!(outbox.take(), Some((11, 11)));
        assert_eq!(outbox.receipt(40, 1), Released::Progress);
        outbox.appended(41);
        assert_eq!(outbox.take(), Some((41, 41)));
    }

    #[test]
    fn a_gap_is_answered_once_and_not_with_a_storm() {
        let mut outbox = answered(9, 4);
        assert_eq!(outbox.take(), Some((5, 9)));
        // The operator lacks 5 and says so for each of 6 to 9.
        for round in 0..4 {
            assert_eq!(outbox.receipt(4, 100), Released::Waiting);
            assert_eq!(outbox.take(), (round == 0).then_some((5, 9)), "round {round}");
        }
        assert_eq!(outbox.receipt(9, 101), Released::Progress);
        assert_eq!(outbox.take(), None);
        assert_eq!(outbox.waiting(), 0);
    }

    #[test]
    fn an_operator_that_lost_readings_gets_them_again_but_old_receipts_change_nothing() {
        let mut outbox = answered(9, 9);
        assert_eq!(outbox.receipt(5, 100), Released::Stale);
        assert_eq!(outbox.take(), None);
        assert_eq!(outbox.receipt(5, 101), Released::Lost);
        assert_eq!(outbox.take(), Some((6, 9)));
    }
}
