//! What energy in a battery is worth: the exact solution of the single-battery linear program.
//!
//! Let V(e) be the most that can be earned from a slot on, when e Wh are stored at its start. With
//! one battery, and bought energy never cheaper than sold energy, V is concave and piecewise
//! linear, and one slot back it is
//!
//! ```text
//! V'(e) = max over u of  h(u) + V(e + u)            u = change of the stored energy
//! ```
//!
//! where h, the slot's own reward, is concave with at most four pieces: charge from the grid, charge
//! from the roof, discharge into the house, discharge into the grid. This maximum is a
//! sup-convolution, and the sup-convolution of two concave piecewise linear functions is all their
//! pieces in the order of their slopes. So a slot costs one merge of at most four pieces into a
//! sorted list, whose ends are then cut to what the battery holds: the whole day is exact, needs no
//! solver, and takes microseconds.
//!
//! Where selling pays more than buying costs the reward is not concave; then the side that the house
//! is not on without the battery counts at the price of the side that it is on, which never
//! promises more than comes. The same holds for prices below zero, where energy would be burnt by
//! charging and discharging at once.

use super::battery::Battery;

/// Pieces shorter than this are rounding, Wh.
const SHORTEST: f64 = 1e-9;

/// A slot as a plan sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    /// Load minus sun without the battery, Wh.
    pub net_wh: f64,
    /// Price of energy from the grid, nano-currency per Wh.
    pub buy: f64,
    /// Price of energy into the grid, nano-currency per Wh.
    pub sell: f64,
    /// Stored energy that must be there at the slot's end, Wh.
    pub floor_wh: f64,
}

/// A straight piece of a concave function.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Piece {
    /// How much stored energy it covers, Wh.
    pub wh: f64,
    /// What each is worth, nano-currency per stored Wh.
    pub slope: f64,
}

/// A concave piecewise linear function of the stored energy.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Worth {
    /// The least energy that it is defined for, Wh.
    low: f64,
    /// Its value there, nano-currency.
    base: f64,
    /// From `low` on, by falling slope.
    pieces: Vec<Piece>,
}

/// The reward of a slot by the energy taken out of the store (negative: put in), from the most
/// that can be put in on.
struct Reward {
    low: f64,
    base: f64,
    pieces: [Piece; 4],
}

impl Reward {
    fn of(battery: &Battery, slot: &Outlook) -> Self {
        let (eta_in, eta_out) = (battery.efficiency_in(), battery.efficiency_out());
        let [charge, discharge, wear] =
            [battery.charge.wh(), battery.discharge.wh(), battery.wear.nano_per_wh()].map(float);
        let is_short = slot.net_wh > 0.0;
        let sell = if is_short { slot.sell.min(slot.buy) } else { slot.sell };
        let buy = if is_short { slot.buy } else { slot.buy.max(slot.sell) };
        let lack = slot.net_wh.max(0.0).min(discharge);
        let left_over = (-slot.net_wh).max(0.0).min(charge);
        let charges = [
            Piece { wh: (charge - left_over) * eta_in, slope: (buy + wear) / eta_in },
            Piece { wh: left_over * eta_in, slope: (sell + wear) / eta_in },
        ];
        // Below zero, charging and discharging at once would pay: it may not.
        let cheapest = if left_over > 0.0 { charges[1].slope } else { charges[0].slope };
        let gain = |price: f64| ((price - wear) * eta_out).min(cheapest);
        let pieces = [
            charges[0],
            charges[1],
            Piece { wh: lack / eta_out, slope: gain(buy) },
            Piece { wh: (discharge - lack) / eta_out, slope: gain(sell) },
        ];
        let full = slot.net_wh + charge;
        let cost = if full > 0.0 { full * buy } else { full * sell };
        Self { low: -charge * eta_in, base: -cost - wear * charge, pieces }
    }
}

impl Worth {
    /// Of energy that is left when the plan ends: `per_wh` for each stored Wh.
    #[must_use]
    pub fn flat(battery: &Battery, floor_wh: f64, per_wh: f64) -> Self {
        let capacity = float(battery.capacity.wh());
        let low = floor_wh.clamp(0.0, capacity);
        let pieces = vec![Piece { wh: capacity - low, slope: per_wh }];
        Self { low, base: low * per_wh, pieces }
    }

    /// Of energy at the start of a plan over these slots, when what is left at its end is worth
    /// `end` for each stored Wh. `floor_wh` is what must be stored at the start.
    #[must_use]
    pub fn over(battery: &Battery, slots: &[Outlook], floor_wh: f64, end: f64) -> Self {
        let mut spare = Vec::new();
        let floors = [floor_wh].into_iter().chain(slots.iter().map(|slot| slot.floor_wh));
        let floors: Vec<f64> = floors.collect();
        let mut worth = Self::flat(battery, floors[slots.len()], end);
        for (slot, &floor_wh) in slots.iter().zip(&floors).rev() {
            worth = worth.before(battery, slot, floor_wh, &mut spare);
        }
        worth
    }

    /// Of energy at the start of a slot, when this is its worth at the slot's end. `floor_wh` is
    /// what must be stored at the start; `spare` is a list that may be used.
    #[must_use]
    pub fn before(
        mut self,
        battery: &Battery,
        slot: &Outlook,
        floor_wh: f64,
        spare: &mut Vec<Piece>,
    ) -> Self {
        let reward = Reward::of(battery, slot);
        self.merge(&reward.pieces, spare);
        self.low += reward.low;
        self.base += reward.base;
        self.cut(floor_wh, float(battery.capacity.wh()));
        self
    }

    /// Merges pieces into the list, all by falling slope.
    fn merge(&mut self, news: &[Piece; 4], spare: &mut Vec<Piece>) {
        spare.clear();
        spare.reserve(self.pieces.len() + news.len());
        let mut news = news.iter().filter(|piece| piece.wh > SHORTEST).peekable();
        for &piece in &self.pieces {
            while let Some(&&new) = news.peek() {
                if new.slope < piece.slope {
                    break;
                }
                push(spare, new);
                news.next();
            }
            push(spare, piece);
        }
        news.for_each(|&new| push(spare, new));
        std::mem::swap(&mut self.pieces, spare);
    }

    /// Keeps what lies between two levels.
    fn cut(&mut self, from: f64, to: f64) {
        let mut gone = 0;
        while let Some(piece) = self.pieces.get_mut(gone)
            && self.low < from
        {
            let part = piece.wh.min(from - self.low);
            self.low += part;
            self.base += part * piece.slope;
            if part < piece.wh {
                piece.wh -= part;
                break;
            }
            gone += 1;
        }
        self.pieces.drain(..gone);
        let mut room = (to - self.low).max(0.0);
        let fits = self.pieces.iter_mut().position(|piece| {
            let is_last = piece.wh >= room;
            if is_last {
                piece.wh = room;
            }
            room -= piece.wh;
            is_last
        });
        if let Some(last) = fits {
            self.pieces.truncate(last + 1);
        }
    }

    /// The most that can be earned with this much stored, nano-currency.
    #[must_use]
    pub fn at(&self, stored_wh: f64) -> f64 {
        let mut left = stored_wh - self.low;
        let mut value = self.base;
        for piece in &self.pieces {
            let part = piece.wh.min(left).max(0.0);
            value += part * piece.slope;
            left -= part;
        }
        value
    }

    /// The least energy it is defined for, Wh.
    #[must_use]
    pub const fn low(&self) -> f64 {
        self.low
    }

    /// The pieces above a level, nearest first: what more energy is worth.
    pub fn above(&self, stored_wh: f64) -> impl Iterator<Item = Piece> + '_ {
        let mut below = stored_wh - self.low;
        self.pieces.iter().filter_map(move |piece| {
            let skipped = piece.wh.min(below).max(0.0);
            below -= piece.wh;
            Some(Piece { wh: piece.wh - skipped, ..*piece }).filter(|piece| piece.wh > SHORTEST)
        })
    }

    /// The pieces below a level, nearest first: what less energy costs.
    pub fn below(&self, stored_wh: f64) -> impl Iterator<Item = Piece> + '_ {
        let top: f64 = self.low + self.pieces.iter().map(|piece| piece.wh).sum::<f64>();
        let mut above = top - stored_wh;
        self.pieces.iter().rev().filter_map(move |piece| {
            let skipped = piece.wh.min(above).max(0.0);
            above -= piece.wh;
            Some(Piece { wh: piece.wh - skipped, ..*piece }).filter(|piece| piece.wh > SHORTEST)
        })
    }
}

/// Adds a piece, or lengthens the last one when it goes on straight.
fn push(pieces: &mut Vec<Piece>, piece: Piece) {
    match pieces.last_mut() {
        Some(last) if last.slope.total_cmp(&piece.slope).is_eq() => last.wh += piece.wh,
        _ => pieces.push(piece),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a household's energy and prices, for a plan")]
pub(super) fn float(value: i64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use units::{Energy, Price};

    use super::*;

    /// Without losses whole numbers suffice: the most that can be earned from every level, found
    /// by trying every change in every slot.
    fn by_trying(battery: &Battery, slots: &[Outlook], end: i64) -> Vec<i64> {
        let capacity = battery.capacity.wh();
        let [charge, discharge, wear] =
            [battery.charge.wh(), battery.discharge.wh(), battery.wear.nano_per_wh()];
        let int = |value: f64| value as i64;
        let mut value: Vec<i64> = (0..=capacity).map(|e| e * end).collect();
        let mut floor = 0;
        for slot in slots.iter().rev() {
            floor = int(slot.floor_wh).max(floor);
            let reward = |change: i64| {
                let net = int(slot.net_wh) + change;
                let cost = if net > 0 { net * int(slot.buy) } else { net * int(slot.sell) };
                -cost - wear * change.abs()
            };
            value = (0..=capacity)
                .map(|from| {
                    let to =
                        (from - discharge).max(int(slot.floor_wh))..=(from + charge).min(capacity);
                    to.map(|to| reward(to - from) + value[to as usize])
                        .max()
                        .unwrap_or(i64::MIN / 4)
                })
                .collect();
        }
        value
    }

    fn slot() -> impl Strategy<Value = Outlook> {
        (-12..12_i32, 1..40_i32, 0..40_i32).prop_map(|(net, buy, less)| Outlook {
            net_wh: f64::from(net),
            buy: f64::from(buy),
            sell: f64::from((buy - less).max(0)),
            floor_wh: 0.0,
        })
    }

    fn battery(capacity: i64, charge: i64, discharge: i64, wear: i64, eta: (i64, i64)) -> Battery {
        Battery {
            capacity: Energy::from_wh(capacity),
            charge: Energy::from_wh(charge),
            discharge: Energy::from_wh(discharge),
            efficiency_in_ppm: eta.0,
            efficiency_out_ppm: eta.1,
            wear: Price::from_nano_per_wh(wear),
        }
    }

    fn exact(battery: &Battery, slots: &[Outlook], end: f64) -> Worth {
        Worth::over(battery, slots, 0.0, end)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

        #[test]
        fn no_schedule_earns_more_and_one_earns_as_much(
            slots in prop::collection::vec(slot(), 1..12),
            capacity in 1..25_i64, charge in 1..9_i64, discharge in 1..9_i64, wear in 0..4_i64,
            end in 0..30_i32,
        ) {
            let battery = battery(capacity, charge, discharge, wear, (1_000_000, 1_000_000));
            let tried = by_trying(&battery, &slots, i64::from(end));
            let worth = exact(&battery, &slots, f64::from(end));
            for (stored, best) in (0..).zip(tried) {
                let found = worth.at(f64::from(stored));
                prop_assert!((found - float(best)).abs() < 1e-6, "{stored}: {found} {best}");
            }
        }

        #[test]
        fn it_is_concave_and_stays_within_the_battery(
            slots in prop::collection::vec(slot(), 1..96),
            capacity in 1..4_000_i64, eta_in in 700_000..1_000_000_i64, eta_out in 700_000..1_000_000_i64,
        ) {
            let battery = battery(capacity, 9, 7, 1, (eta_in, eta_out));
            let worth = exact(&battery, &slots, 5.0);
            prop_assert!(worth.pieces.windows(2).all(|pair| pair[0].slope >= pair[1].slope));
            let covered: f64 = worth.pieces.iter().map(|piece| piece.wh).sum();
            prop_assert!((worth.low + covered - float(capacity)).abs() < 1e-6);
            prop_assert!(worth.low.abs() < 1e-9);
            // Above and below a level lies what the whole consists of.
            let level = 0.37 * float(capacity);
            let above: f64 = worth.above(level).map(|piece| piece.wh).sum();
            let below: f64 = worth.below(level).map(|piece| piece.wh).sum();
            prop_assert!((above + below - float(capacity)).abs() < 1e-6);
            prop_assert!((below - level).abs() < 1e-6);
        }
    }

    #[test]
    fn floors_bind_and_a_day_of_two_prices_is_traded() {
        let battery = battery(100, 50, 50, 0, (1_000_000, 1_000_000));
        let at = |buy: f64, floor_wh: f64| Outlook { net_wh: 0.0, buy, sell: buy, floor_wh };
        // Cheap, then dear: buys 50 and sells it, and what was there as well.
        let free = exact(&battery, &[at(10.0, 0.0), at(30.0, 0.0)], 0.0);
        assert_eq!((free.at(0.0), free.at(20.0)), (50.0 * 20.0, 50.0 * 20.0 + 20.0 * 10.0));
        // 40 must be left at the end: only what is above may go.
        let kept = exact(&battery, &[at(10.0, 0.0), at(30.0, 40.0)], 0.0);
        assert_eq!(kept.at(20.0), 30.0 * 30.0 - 50.0 * 10.0);
        assert!(kept.low() < 1e-9 || kept.low() <= 40.0);
    }
}
