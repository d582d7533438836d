//! Which journalled readings to send, and when to send them again.
//!
//! Only the operator's signed receipt releases a reading. A bounded number is on the way at any
//! time; after a reconnect, a gap or silence sending starts again behind the last receipt, with one
//! reading until a receipt shows that somebody listens: what follows a lost one would be refused.
//! Catching up is paced by a token bucket, so that an operator who was away is not overrun by a whole
//! street at once and live messages find the line free. The oldest goes first: readings are a chain, and
//! what is settled next is what is oldest; the present is shown by live messages, which are not paced.

/// Most readings on the way at once while receipts come.
const WINDOW: u64 = 16;

/// Readings that may be sent at once after a time without any, and how many more a second of market
/// time brings.
pub const BURST: u64 = 32;
const PER_SECOND: u64 = 8;
/// A token in the units that the bucket counts in: thousandths, one for each millisecond and rate.
const TOKEN: u64 = 1_000;

/// What may be sent now: fills with time, up to a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bucket {
    /// In thousandths of a token.
    filled: u64,
    size: u64,
    at_ms: i64,
}

impl Bucket {
    const fn full(burst: u64) -> Self {
        let size = burst.saturating_mul(TOKEN);
        Self { filled: size, size, at_ms: i64::MIN }
    }

    /// Fills up to a moment. A clock that was set back fills nothing.
    fn fill(&mut self, now_ms: i64) {
        let elapsed_ms = now_ms.saturating_sub(self.at_ms).max(0).unsigned_abs();
        let gained = elapsed_ms.saturating_mul(PER_SECOND);
        self.filled = self.filled.saturating_add(gained).min(self.size);
        self.at_ms = now_ms;
    }

    /// Takes up to `wanted` tokens.
    fn take(&mut self, now_ms: i64, wanted: u64) -> u64 {
        self.fill(now_ms);
        let taken = wanted.min(self.filled / TOKEN);
        self.filled -= taken * TOKEN;
        taken
    }
}

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
    /// The last reading that may be sent, while the key of the next is not on record.
    hold_after: Option<u64>,
    bucket: Bucket,
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
            hold_after: None,
            bucket: Bucket::full(BURST),
        }
    }

    /// Sends so many readings at once after a time without any, instead of [`BURST`].
    #[must_use]
    pub const fn with_burst(mut self, burst: u64) -> Self {
        self.bucket = Bucket::full(burst);
        self
    }

    /// Readings after this one wait; none = all may go.
    pub const fn hold_after(&mut self, seq: Option<u64>) {
        self.hold_after = seq;
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
    pub fn take(&mut self, now_ms: i64) -> Option<(u64, u64)> {
        let wanted = self.wanted();
        let taken = if wanted > 0 { self.bucket.take(now_ms, wanted) } else { 0 };
        if taken == 0 {
            return None;
        }
        let first = self.sent + 1;
        self.sent += taken;
        Some((first, self.sent))
    }

    /// How many more would be sent if there were tokens for them.
    fn wanted(&self) -> u64 {
        let window = if self.answered { WINDOW } else { 1 };
        let until = self.last.min(self.released + window);
        let until = self.hold_after.map_or(until, |held| until.min(held));
        if self.connected { until.saturating_sub(self.sent) } else { 0 }
    }

    /// When more can be sent although nothing comes in, if that is what is waited for.
    #[must_use]
    pub fn wake_ms(&self, now_ms: i64) -> Option<i64> {
        let waits = self.wanted() > 0 && self.bucket.filled < TOKEN;
        waits.then(|| now_ms.saturating_add(1_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

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
        assert_eq!(outbox.take(NOW), None, "not connected");
        outbox.set_connected(true);
        assert_eq!(outbox.take(NOW), Some((4, 4)));
        assert_eq!(outbox.take(NOW), None);
        assert_eq!(outbox.receipt(4, 1), Released::Progress);
        assert_eq!(outbox.take(NOW), Some((5, 20)));
        assert_eq!(outbox.take(NOW), None);
        assert_eq!(outbox.receipt(10, 1), Released::Progress);
        assert_eq!(outbox.take(NOW), Some((21, 26)));
        outbox.operator_is_there();
        assert_eq!(outbox.take(NOW), None, "receipts come anyway");
        outbox.overdue();
        assert_eq!(outbox.take(NOW), Some((11, 11)));
        outbox.operator_is_there();
        assert_eq!(outbox.take(NOW), Some((11, 11)));
        outbox.set_connected(false);
        assert_eq!(outbox.take(NOW), None);
        outbox.set_connected(true);
        assert_eq!(outbox.take(NOW), Some((11, 11)));
        assert_eq!(outbox.receipt(40, 1), Released::Progress);
        outbox.appended(41);
        assert_eq!(outbox.take(NOW), Some((41, 41)));
    }

    #[test]
    fn a_gap_is_answered_once_and_not_with_a_storm() {
        let mut outbox = answered(9, 4);
        assert_eq!(outbox.take(NOW), Some((5, 9)));
        // The operator lacks 5 and says so for each of 6 to 9.
        for round in 0..4 {
            assert_eq!(outbox.receipt(4, 100), Released::Waiting);
            assert_eq!(outbox.take(NOW), (round == 0).then_some((5, 9)), "round {round}");
        }
        assert_eq!(outbox.receipt(9, 101), Released::Progress);
        assert_eq!(outbox.take(NOW), None);
        assert_eq!(outbox.waiting(), 0);
    }

    #[test]
    fn an_operator_that_lost_readings_gets_them_again_but_old_receipts_change_nothing() {
        let mut outbox = answered(9, 9);
        assert_eq!(outbox.receipt(5, 100), Released::Stale);
        assert_eq!(outbox.take(NOW), None);
        assert_eq!(outbox.receipt(5, 101), Released::Lost);
        assert_eq!(outbox.take(NOW), Some((6, 9)));
    }

    #[test]
    fn a_long_backlog_is_paced_and_a_fresh_reading_is_not_kept_waiting() {
        let mut outbox = answered(1_000, 0);
        let mut now_ms = NOW;
        let mut sent = 0;
        while let Some((_, last)) = outbox.take(now_ms) {
            sent = last;
            outbox.receipt(last, now_ms);
        }
        assert_eq!(sent, BURST, "at once");
        assert_eq!(outbox.wake_ms(now_ms), Some(now_ms + 1_000));
        now_ms += 1_000;
        assert_eq!(outbox.take(now_ms), Some((BURST + 1, BURST + PER_SECOND)));
        // A clock that is set back stops nothing for good.
        assert_eq!(outbox.take(now_ms - 60_000), None);
        now_ms -= 59_000;
        assert_eq!(outbox.take(now_ms).map(|(first, _)| first), Some(BURST + PER_SECOND + 1));
        let mut outbox = answered(5, 5);
        outbox.appended(6);
        assert_eq!((outbox.take(now_ms), outbox.wake_ms(now_ms)), (Some((6, 6)), None));
        outbox.hold_after(Some(6));
        outbox.appended(7);
        assert_eq!((outbox.take(now_ms), outbox.wake_ms(now_ms)), (None, None), "held");
    }

    proptest::proptest! {
        /// Whatever is appended, answered and lost: in no time more readings go out than the burst
        /// and the rate allow, each part goes on where the last receipt or sending ended, and once
        /// the operator answers, all of them arrive.
        #[test]
        fn the_pace_is_kept_and_everything_arrives(
            backlog in 0..2_000_u64,
            steps in proptest::collection::vec((0..5_000_i64, 0..6_u8), 1..200),
        ) {
            let mut outbox = Outbox::new(backlog, 0, 0);
            let (mut last, mut stored, mut now_ms) = (backlog, 0_u64, NOW);
            let mut sendings: Vec<(i64, u64)> = Vec::new();
            outbox.set_connected(true);
            // After the steps the operator answers everything for as long as it takes.
            let honest = std::iter::repeat_n((1_000, 0), 2_600);
            for (wait_ms, what) in steps.into_iter().chain(honest) {
                now_ms += wait_ms;
                match what {
                    1 => { last += 1; outbox.appended(last); }
                    2 => outbox.overdue(),
                    3 => outbox.set_connected(false),
                    4 => outbox.set_connected(true),
                    5 => { outbox.operator_is_there(); }
                    _ => { outbox.set_connected(true); }
                }
                if let Some((first, to)) = outbox.take(now_ms) {
                    proptest::prop_assert!(first <= to && to <= last);
                    proptest::prop_assert!(first > outbox.released(), "what is stored is not sent");
                    sendings.push((now_ms, to - first + 1));
                    // The operator stores what follows what it has, and says so, unless that is lost.
                    if first <= stored + 1 { stored = stored.max(to); }
                    if what != 2 { outbox.receipt(stored, now_ms); }
                }
            }
            proptest::prop_assert_eq!(outbox.waiting(), 0);
            for (at, &(from_ms, _)) in sendings.iter().enumerate() {
                let mut sum = 0;
                for &(to_ms, count) in &sendings[at..] {
                    sum += count;
                    let most = BURST * TOKEN + (to_ms - from_ms).unsigned_abs() * PER_SECOND;
                    proptest::prop_assert!(sum * TOKEN <= most, "{sum} in {} ms", to_ms - from_ms);
                }
            }
        }
    }
}
