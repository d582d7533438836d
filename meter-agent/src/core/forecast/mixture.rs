//! Several forecasts of one quantity, mixed by their merit, and the quantiles around the mixture.
//!
//! Weights follow the exponentiated gradient of the absolute error: whoever pulled the mixture in
//! the wrong direction loses weight in proportion to how far it pulled (J. Kivinen and
//! M. K. Warmuth, "Exponentiated gradient versus gradient descent for linear predictors", 1997).
//! Quantiles follow the gradient of the pinball loss of the error in units of a scale that the
//! caller gives, so that a doubt learned at noon also serves the evening.
//!
//! Both are kept per band of horizons, because the newest value is the best witness for the next
//! quarter-hour and a poor one for tomorrow. Each band is trained at one horizon.

use super::{LEVELS, Quantiles};

/// How far ahead each band is trained, slots.
pub const TRAINED_AT: [i64; BANDS] = [1, 2, 4, 8, 16, 32, 64];
/// Number of bands.
pub const BANDS: usize = 7;
/// First horizon beyond each band, slots.
const BAND_ENDS: [i64; BANDS - 1] = [2, 3, 6, 12, 24, 48];
/// Forecasts that wait for their slot, per band; more than the farthest training horizon.
const WAITING: usize = 65;
/// No expert falls below this weight, so that it can come back.
const LEAST_WEIGHT: f64 = 0.002;
/// A single surprise moves weights by at most this many scales.
const LARGEST_PULL: f64 = 3.0;

/// How fast a mixture learns.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    /// Of the weights, per slot.
    pub weights: f64,
    /// Of the quantiles, in scales per slot.
    pub quantiles: f64,
}

/// A mixture of `N` experts.
#[derive(Debug, Clone)]
pub struct Mixture<const N: usize> {
    rates: Rates,
    bands: [Band<N>; BANDS],
}

#[derive(Debug, Clone)]
struct Band<const N: usize> {
    weights: [f64; N],
    /// Distance of each quantile from the mixture, in scales.
    offsets: Quantiles,
    waiting: Box<[Waiting<N>]>,
}

/// What was said about a slot, and the scale it was said with.
#[derive(Debug, Clone, Copy)]
struct Waiting<const N: usize> {
    slot: i64,
    said: [f64; N],
    scale: f64,
}

impl<const N: usize> Mixture<N> {
    /// Starts from weights per band (which need not sum to one) and offsets of the quantiles.
    pub fn new(rates: Rates, weights: impl Fn(usize) -> [f64; N], offsets: Quantiles) -> Self {
        let none = Waiting { slot: i64::MIN, said: [0.0; N], scale: 1.0 };
        let band = |band| {
            let weights = normal(weights(band));
            Band { weights, offsets, waiting: vec![none; WAITING].into_boxed_slice() }
        };
        Self { rates, bands: std::array::from_fn(band) }
    }

    /// The mixture of what the experts say about a slot `ahead` slots after the newest known one.
    pub fn mix(&self, ahead: i64, said: &[f64; N]) -> f64 {
        blend(&self.bands[band_of(ahead)].weights, said)
    }

    /// How far a quantile lies from the mixture, in scales; ascending in `level`.
    pub fn offset(&self, ahead: i64, level: usize) -> f64 {
        self.bands[band_of(ahead)].offsets[level]
    }

    /// Compares what was said about a slot with what came.
    pub fn learn(&mut self, slot: i64, came: f64) {
        let rates = self.rates;
        for band in &mut self.bands {
            let Waiting { slot: about, said, scale } = band.waiting[position(slot)];
            if about == slot {
                band.learn(rates, &said, scale, came);
            }
        }
    }

    /// Notes what is said about the slot at a band's training horizon.
    pub fn note(&mut self, band: usize, slot: i64, said: [f64; N], scale: f64) {
        self.bands[band].waiting[position(slot)] = Waiting { slot, said, scale };
    }
}

impl<const N: usize> Band<N> {
    fn learn(&mut self, rates: Rates, said: &[f64; N], scale: f64, came: f64) {
        let mixed = blend(&self.weights, said);
        let error = (came - mixed) / scale;
        for (offset, level) in self.offsets.iter_mut().zip(LEVELS) {
            let step = if error > *offset { level } else { level - 1.0 };
            *offset += rates.quantiles * step;
        }
        // Steps of different size let neighbours cross by one step; then they take each other's place.
        self.offsets.sort_unstable_by(f64::total_cmp);
        if error != 0.0 {
            for (weight, said) in self.weights.iter_mut().zip(said) {
                let pull = ((said - mixed) / scale).clamp(-LARGEST_PULL, LARGEST_PULL);
                let gain = (rates.weights * error.signum() * pull).exp();
                *weight = (*weight * gain).max(LEAST_WEIGHT);
            }
            self.weights = normal(self.weights);
        }
    }
}

fn blend<const N: usize>(weights: &[f64; N], said: &[f64; N]) -> f64 {
    weights.iter().zip(said).map(|(weight, said)| weight * said).sum()
}

fn normal<const N: usize>(weights: [f64; N]) -> [f64; N] {
    let sum: f64 = weights.iter().sum();
    weights.map(|weight| weight / sum)
}

fn band_of(ahead: i64) -> usize {
    BAND_ENDS.iter().take_while(|&&end| ahead >= end).count()
}

fn position(slot: i64) -> usize {
    let length = i64::try_from(WAITING).expect("small");
    usize::try_from(slot.rem_euclid(length)).expect("a remainder of a positive number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_training_horizon_lies_in_its_band_and_is_remembered() {
        for (band, ahead) in TRAINED_AT.into_iter().enumerate() {
            assert_eq!(band_of(ahead), band);
            assert!(usize::try_from(ahead).expect("small") < WAITING);
        }
        assert_eq!(band_of(1_000), BANDS - 1);
    }

    #[test]
    fn the_better_expert_gets_the_weight_and_the_quantiles_their_share() {
        let rates = Rates { weights: 0.05, quantiles: 0.02 };
        let mut mixture = Mixture::new(rates, |_| [1.0, 1.0], [-0.2, -0.1, 0.0, 0.1, 0.2]);
        let mut state = 7_u64;
        let mut below = [0_u32; 5];
        for slot in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let noise =
                f64::from(u32::try_from(state >> 40).expect("24 bits")) / f64::from(1 << 24);
            let truth = 100.0 + 10.0 * noise;
            let said = [100.0, 60.0];
            mixture.note(1, slot, said, 10.0);
            let mixed = mixture.mix(2, &said);
            for (level, below) in below.iter_mut().enumerate() {
                *below +=
                    u32::from(slot >= 10_000 && truth <= mixed + 10.0 * mixture.offset(2, level));
            }
            mixture.learn(slot, truth);
        }
        assert!(mixture.mix(2, &[1.0, 0.0]) > 0.98);
        for (level, below) in LEVELS.into_iter().zip(below) {
            let share = f64::from(below) / 10_000.0;
            assert!((share - level).abs() < 0.02, "{share} instead of {level}");
        }
    }
}
