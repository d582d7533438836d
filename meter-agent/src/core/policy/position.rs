//! From what a household would do at every price to orders.
//!
//! A *position* is the energy that a household has bought for a slot (negative: sold). The curve
//! says what one more Wh of position is worth to it: it falls from the retail price, far on the
//! selling side, to the feed-in price, far on the buying side. What lies on the buying side becomes
//! steps of a bid, what lies on the selling side steps of an ask; the two are one truth seen from
//! zero, so they can never trade with each other.

use market::{MAX_STEPS, Terms};
use units::{Energy, Price};

/// Most energy that is ever ordered, Wh.
const MAX_ORDER_WH: f64 = 1e7;

/// A step of an order with its limit as a price: on the tick, between feed-in and retail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rung {
    /// How much, > 0.
    pub quantity: Energy,
    /// Highest price to pay or lowest to accept.
    pub limit: Price,
}

/// What one more Wh is worth, by position.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Position {
    /// Where the curve begins, Wh; below it everything is worth the retail price.
    from: f64,
    /// Wh and nano-currency per Wh, by falling price. After them the feed-in price.
    pieces: Vec<(f64, f64)>,
}

impl Position {
    /// A curve that begins at a position.
    pub const fn from(wh: f64) -> Self {
        Self { from: wh, pieces: Vec::new() }
    }

    /// Goes on for `wh` at a price. Prices must not rise; where one does by rounding it counts as
    /// the one before.
    pub fn go_on(&mut self, wh: f64, price: f64) {
        let price = self.pieces.last().map_or(price, |&(_, before)| price.min(before));
        if wh > 0.0 {
            self.pieces.push((wh, price));
        }
    }

    /// Bid and ask, each with its best step first. `insist_ppm` is the part of the gain between a
    /// step's worth and the supplier's price of the other side that the household insists on.
    pub fn steps(&self, terms: Terms, insist_ppm: i64) -> (Vec<Rung>, Vec<Rung>) {
        if !terms.leave_room() {
            return (Vec::new(), Vec::new());
        }
        let (mut bid, mut ask) = (Ladder::new(terms, insist_ppm), Ladder::new(terms, insist_ppm));
        let (retail, feed_in) = (float(terms.retail()), float(terms.feed_in()));
        // What is needed at any price, and what is left over at any price.
        bid.step(self.from.min(MAX_ORDER_WH), retail, Price::min);
        let mut end = self.from;
        for &(wh, price) in &self.pieces {
            let (from, to) = (end, end + wh);
            end = to;
            if to > 0.0 && price > feed_in {
                bid.step(to - from.max(0.0), price, Price::min);
            }
        }
        ask.step((-end).min(MAX_ORDER_WH), feed_in, Price::max);
        for &(wh, price) in self.pieces.iter().rev() {
            let (from, to) = (end - wh, end);
            end = from;
            if from < 0.0 && price < retail {
                ask.step(to.min(0.0) - from, price, Price::max);
            }
        }
        let (bid, mut ask) = (bid.steps(Bound::Above), ask.steps(Bound::Below));
        if let Some(best) = bid.first() {
            keep_apart(&mut ask, best.limit + Price::TICK, terms.retail());
        }
        (bid, ask)
    }
}

/// A piece on both sides of zero has one price: the ask gives way, so that a household never trades
/// with itself.
fn keep_apart(ask: &mut Vec<Rung>, lowest: Price, highest: Price) {
    for rung in ask.iter_mut() {
        rung.limit = rung.limit.max(lowest);
    }
    ask.retain(|rung| rung.limit <= highest);
    ask.dedup_by(|next, rung| {
        let is_same = next.limit == rung.limit;
        if is_same {
            rung.quantity += next.quantity;
        }
        is_same
    });
}

/// Steps under construction.
struct Ladder {
    terms: Terms,
    insist_ppm: i64,
    /// Energy so far, Wh, and as whole Wh.
    total: f64,
    given: i64,
    steps: Vec<Rung>,
}

/// On which side of a limit the prices lie that are as good.
enum Bound {
    /// A bid: lower limits come later.
    Above,
    /// An ask: higher limits come later.
    Below,
}

impl Ladder {
    const fn new(terms: Terms, insist_ppm: i64) -> Self {
        Self { terms, insist_ppm, total: 0.0, given: 0, steps: Vec::new() }
    }

    /// Adds a step; `worse` picks the limit that asks less of the household of two.
    fn step(&mut self, wh: f64, price: f64, worse: fn(Price, Price) -> Price) {
        if wh <= 0.0 || self.total >= MAX_ORDER_WH {
            return;
        }
        self.total = (self.total + wh).min(MAX_ORDER_WH);
        #[expect(clippy::cast_possible_truncation, reason = "at most MAX_ORDER_WH")]
        let reached = self.total.round() as i64;
        let quantity = reached - self.given;
        if quantity == 0 {
            return;
        }
        self.given = reached;
        let limit = self.limit(price, worse);
        match self.steps.last_mut() {
            Some(last) if last.limit == limit => last.quantity += Energy::from_wh(quantity),
            _ => self.steps.push(Rung { quantity: Energy::from_wh(quantity), limit }),
        }
    }

    /// On the tick, on the household's side of the worth, moved by what it insists on.
    fn limit(&self, price: f64, worse: fn(Price, Price) -> Price) -> Price {
        let (low, high) = (self.terms.feed_in(), self.terms.retail());
        let price = price.clamp(float(low), float(high));
        let tick = Price::TICK.nano_per_wh();
        #[expect(clippy::cast_possible_truncation, reason = "between two prices")]
        let down = (price / float(Price::TICK)).floor() as i64 * tick;
        let (down, up) = (Price::from_nano_per_wh(down), Price::from_nano_per_wh(down + tick));
        let is_exact = (price - float(down)).abs() < 1e-6;
        let exact = if is_exact { down } else { worse(down, up) }.clamp(low, high);
        // A bid is moved towards the feed-in price, an ask towards the retail price.
        let aim = worse(low, high);
        let room = i128::from(aim.nano_per_wh()) - i128::from(exact.nano_per_wh());
        let step = 1_000_000 * i128::from(tick);
        let moved = (room * i128::from(self.insist_ppm) + step / 2 * room.signum()) / step;
        let nano = i128::from(exact.nano_per_wh()) + moved * i128::from(tick);
        let nano = i64::try_from(nano).expect("between two prices of 64 bits");
        Price::from_nano_per_wh(nano).clamp(low, high)
    }

    /// At most [`MAX_STEPS`]: neighbours with the smallest quantities are joined at the limit that
    /// is worse for the trade, so that no Wh is traded beyond its worth.
    fn steps(mut self, bound: Bound) -> Vec<Rung> {
        while self.steps.len() > MAX_STEPS {
            let pair = |i: &usize| self.steps[*i].quantity + self.steps[i + 1].quantity;
            let at = (0..self.steps.len() - 1).min_by_key(pair).expect("more than one step");
            let next = self.steps.remove(at + 1);
            let step = &mut self.steps[at];
            step.quantity += next.quantity;
            step.limit = match bound {
                Bound::Above => step.limit.min(next.limit),
                Bound::Below => step.limit.max(next.limit),
            };
        }
        self.steps
    }
}

#[expect(clippy::cast_precision_loss, reason = "prices are below 2^53")]
fn float(price: Price) -> f64 {
    price.nano_per_wh() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(retail: i64, feed_in: i64) -> Terms {
        let price = Price::from_nano_per_wh;
        Terms::new(price(retail), price(feed_in)).expect("on the tick")
    }

    fn curve(from: f64, pieces: &[(f64, f64)]) -> Position {
        let mut position = Position::from(from);
        pieces.iter().for_each(|&(wh, price)| position.go_on(wh, price));
        position
    }

    fn plain(steps: &[Rung]) -> Vec<(i64, i64)> {
        steps.iter().map(|step| (step.quantity.wh(), step.limit.nano_per_wh())).collect()
    }

    #[test]
    fn one_curve_is_a_bid_an_ask_or_both() {
        let terms = terms(300_000, 100_000);
        for (position, insist_ppm, bid, ask) in [
            // A plain need, a plain surplus, with and without insisting.
            (curve(400.0, &[]), 0, vec![(400, 300_000)], vec![]),
            (curve(400.0, &[]), 100_000, vec![(400, 280_000)], vec![]),
            (curve(-400.0, &[]), 0, vec![], vec![(400, 100_000)]),
            (curve(-400.0, &[]), 250_000, vec![], vec![(400, 150_000)]),
            // Flexible around zero: sells dear, buys cheap.
            (
                curve(-300.0, &[(200.0, 250_007.0), (300.0, 200_003.0)]),
                0,
                vec![(200, 200_000)],
                vec![(100, 200_010), (200, 250_010)],
            ),
            // The same with a price on the tick: the ask gives way.
            (curve(-100.0, &[(300.0, 200_000.0)]), 0, vec![(200, 200_000)], vec![(100, 200_010)]),
            // Needs 100, would give up 60 of a total of 160 from 250 on, and would take 50 at 120.
            (
                curve(100.0, &[(60.0, 250_000.0), (50.0, 120_000.0), (40.0, 90_000.0)]),
                0,
                vec![(100, 300_000), (60, 250_000), (50, 120_000)],
                vec![],
            ),
            // Beyond the supplier's prices nothing is asked of the neighbours.
            (curve(-50.0, &[(50.0, 310_000.0), (50.0, 300_000.0)]), 0, vec![(50, 300_000)], vec![]),
            (curve(-50.0, &[(30.0, 100_000.0), (20.0, 90_000.0)]), 0, vec![], vec![(50, 100_000)]),
            // Halves of a Wh add up.
            (curve(0.4, &[(0.4, 200_000.0), (0.4, 150_000.0)]), 0, vec![(1, 200_000)], vec![]),
        ] {
            let (found_bid, found_ask) = position.steps(terms, insist_ppm);
            assert_eq!((plain(&found_bid), plain(&found_ask)), (bid, ask), "{position:?}");
        }
        assert_eq!(curve(400.0, &[]).steps(self::terms(100, 100), 0), (vec![], vec![]));
    }

    #[test]
    fn many_steps_are_joined_without_promising_more() {
        let pieces: Vec<_> =
            (0..40).map(|i| (10.0 + f64::from(i), 290_000.0 - 4_000.0 * f64::from(i))).collect();
        let (bid, ask) = curve(0.0, &pieces).steps(terms(300_000, 100_000), 0);
        assert_eq!((bid.len(), ask.len()), (MAX_STEPS, 0));
        let total: i64 = bid.iter().map(|step| step.quantity.wh()).sum();
        assert_eq!(total, (0..40).map(|i| 10 + i).sum::<i64>());
        assert!(bid.windows(2).all(|pair| pair[0].limit > pair[1].limit));
        // At every price at most as much is wanted as before.
        for price in (100_000..300_000_i32).step_by(1_000) {
            let wanted: i64 = bid
                .iter()
                .filter(|step| step.limit.nano_per_wh() >= i64::from(price))
                .map(|step| step.quantity.wh())
                .sum();
            let exact: f64 = pieces.iter().filter(|p| p.1 >= f64::from(price)).map(|p| p.0).sum();
            assert!(i32::try_from(wanted).map(f64::from).expect("small") <= exact, "{price}");
        }
    }
}
