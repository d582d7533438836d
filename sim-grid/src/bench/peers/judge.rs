//! What a matching is worth, judged in integers: a peer's own sums are not asked.

use market::{Lot, Side};
use serde::{Deserialize, Serialize};

use crate::bench::books::{Optimum, sort_and_match};

/// Parts of a watt-hour that fills are counted in.
const MICRO: f64 = 1e6;
/// Nano-currency in a cent.
const NANO_PER_CT: f64 = 1e7;
/// Fills that differ by less are the same, micro-watt-hours: a thousandth of a watt-hour.
const SAME_UWH: i64 = 1_000;
/// Money beyond a limit that is forgiven to floating point: this part of it.
const FORGIVEN: i128 = 1_000_000;

/// What each lot got.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Outcome {
    /// Energy, kWh.
    pub kwh: Vec<f64>,
    /// What a buyer pays or a seller is paid, ct.
    pub ct: Vec<f64>,
}

/// The same in integers.
struct Exact {
    /// Micro-watt-hours per lot.
    energy: Vec<i64>,
    /// Nano-currency per lot.
    money: Vec<i64>,
}

/// What is left of a matching under scrutiny.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Verdict {
    /// Welfare as a share of the best possible; none where nothing can be gained.
    pub welfare: Option<f64>,
    /// How far the traded energy is from the nearest that is optimal, as a share of that; the
    /// energy itself in Wh where nothing should trade.
    pub volume_error: f64,
    /// Energy bought less energy sold, Wh: what appears from nowhere.
    pub imbalance_wh: f64,
    /// Lots that got more than they wanted.
    pub beyond_quantity: usize,
    /// Lots that pay more, or are paid less, than their limit.
    pub beyond_limit: usize,
    /// What buyers pay beyond what sellers get, as a share of the best possible welfare.
    pub kept: Option<f64>,
}

impl Outcome {
    fn exact(&self, lots: usize) -> Result<Exact, String> {
        let whole = |values: &[f64], scale: f64| -> Result<Vec<i64>, String> {
            if values.len() != lots {
                return Err(format!("names {} lots of {lots}", values.len()));
            }
            values
                .iter()
                .map(|value| {
                    let scaled = (value * scale).round();
                    if !scaled.is_finite() || scaled.abs() > 1e17 {
                        return Err(format!("{value} is no quantity"));
                    }
                    #[expect(clippy::cast_possible_truncation, reason = "checked just above")]
                    Ok(scaled as i64)
                })
                .collect()
        };
        Ok(Exact {
            energy: whole(&self.kwh, 1_000.0 * MICRO)?,
            money: whole(&self.ct, NANO_PER_CT)?,
        })
    }

    /// Energy per lot, micro-watt-hours.
    ///
    /// # Errors
    /// When it is not about so many lots, or not of numbers.
    pub fn micro_wh(&self, lots: usize) -> Result<Vec<i64>, String> {
        Ok(self.exact(lots)?.energy)
    }

    /// Whether two outcomes give everybody the same energy at the same money.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        let (Ok(one), Ok(two)) = (self.exact(self.kwh.len()), other.exact(self.kwh.len())) else {
            return false;
        };
        let close = |a: &[i64], b: &[i64], by: i64| {
            a.iter().zip(b).all(|(a, b)| a.abs_diff(*b) <= by.unsigned_abs())
        };
        // A thousandth of a watt-hour at a few hundred nano-currency each is below 1,000.
        close(&one.energy, &two.energy, SAME_UWH) && close(&one.money, &two.money, 1_000)
    }
}

/// Judges what `lots` got.
///
/// # Errors
/// When the outcome is not about these lots, or not of numbers.
pub fn judge(lots: &[Lot], outcome: &Outcome) -> Result<Verdict, String> {
    let best = sort_and_match(lots);
    let exact = outcome.exact(lots.len())?;
    let (mut welfare, mut bought, mut sold, mut kept) = (0_i128, 0_i128, 0_i128, 0_i128);
    let (mut beyond_quantity, mut beyond_limit) = (0, 0);
    for ((lot, &energy), &money) in lots.iter().zip(&exact.energy).zip(&exact.money) {
        let worth = i128::from(lot.limit.nano_per_wh()) * i128::from(energy);
        let paid = i128::from(money) * 1_000_000;
        let sign = if lot.side == Side::Buy { 1 } else { -1 };
        welfare += sign * worth;
        kept += sign * paid;
        *(if lot.side == Side::Buy { &mut bought } else { &mut sold }) += i128::from(energy);
        let forgiven = worth.abs() / FORGIVEN + 1_000_000;
        beyond_limit += usize::from(sign * (paid - worth) > forgiven);
        let most = lot.quantity.wh() * 1_000_000 + SAME_UWH;
        beyond_quantity += usize::from(!(-SAME_UWH..=most).contains(&energy));
    }
    let share = |of: i128| (best.welfare > 0).then(|| ratio(of, best.welfare * 1_000_000));
    Ok(Verdict {
        welfare: share(welfare),
        volume_error: volume_error(&best, bought.min(sold)),
        imbalance_wh: ratio(bought - sold, 1_000_000),
        beyond_quantity,
        beyond_limit,
        kept: share(kept),
    })
}

/// Distance of the traded micro-watt-hours to the optimal ones.
fn volume_error(best: &Optimum, traded: i128) -> f64 {
    let (least, most) =
        (i128::from(best.least_wh) * 1_000_000, i128::from(best.most_wh) * 1_000_000);
    let off = traded - traded.clamp(least, most);
    let off = if off.abs() <= i128::from(SAME_UWH) { 0 } else { off };
    if most == 0 {
        return ratio(off, 1_000_000);
    }
    ratio(off, if off < 0 { least } else { most })
}

#[expect(clippy::cast_precision_loss, reason = "a figure to read")]
fn ratio(part: i128, whole: i128) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use market::Node;
    use units::{Energy, Price};

    /// A buyer of 2 kWh at 20 ct and sellers of 1 kWh at 10 and 2 kWh at 14 ct.
    fn lots() -> Vec<Lot> {
        [(Side::Buy, 2_000, 20), (Side::Sell, 1_000, 10), (Side::Sell, 2_000, 14)]
            .map(|(side, wh, ct)| Lot {
                node: Node::ROOT,
                side,
                quantity: Energy::from_wh(wh),
                limit: Price::from_e5_per_kwh(ct * 1_000),
            })
            .to_vec()
    }

    fn verdict(kwh: [f64; 3], ct: [f64; 3]) -> Verdict {
        judge(&lots(), &Outcome { kwh: kwh.to_vec(), ct: ct.to_vec() }).expect("numbers")
    }

    #[test]
    fn the_optimum_is_faultless() {
        let best = verdict([2.0, 1.0, 1.0], [34.0, 17.0, 17.0]);
        let expected = Verdict {
            welfare: Some(1.0),
            volume_error: 0.0,
            imbalance_wh: 0.0,
            beyond_quantity: 0,
            beyond_limit: 0,
            kept: Some(0.0),
        };
        assert_eq!(best, expected);
    }

    #[test]
    fn faults_are_counted_apart() {
        // Only the dearer seller trades, at 12 ct: a loss of welfare, and below its limit.
        let greedy = verdict([2.0, 0.0, 2.0], [24.0, 0.0, 24.0]);
        assert_eq!((greedy.welfare, greedy.beyond_limit), (Some(0.75), 1));
        assert!(greedy.volume_error.abs() < 1e-12);
        // Half of the volume, and an operator who keeps 3 of the 16 ct.
        let half = verdict([1.0, 1.0, 0.0], [18.0, 15.0, 0.0]);
        assert_eq!((half.volume_error, half.welfare), (-0.5, Some(10.0 / 16.0)));
        assert_eq!(half.kept, Some(3.0 / 16.0));
        // Energy from nowhere, and more than was wanted.
        let magic = verdict([2.5, 1.0, 1.0], [40.0, 15.0, 15.0]);
        assert_eq!((magic.imbalance_wh, magic.beyond_quantity), (500.0, 1));
    }

    #[test]
    fn nonsense_is_refused() {
        let short = Outcome { kwh: vec![1.0], ct: vec![1.0; 3] };
        judge(&lots(), &short).expect_err("a lot is missing");
        let wrong = Outcome { kwh: vec![f64::NAN; 3], ct: vec![1.0; 3] };
        judge(&lots(), &wrong).expect_err("no number");
        assert!(!wrong.same(&wrong));
    }

    #[test]
    fn a_thousandth_of_a_watt_hour_is_no_difference() {
        let outcome = |kwh: f64| Outcome { kwh: vec![kwh], ct: vec![10.0] };
        assert!(outcome(1.0).same(&outcome(1.000_000_9)));
        assert!(!outcome(1.0).same(&outcome(1.000_01)));
    }
}
