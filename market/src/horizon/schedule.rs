//! Storage and waiting loads in whole watt-hours.
//!
//! A battery's content is kept in micro-watt-hours, in which charging is exact (Wh times parts per
//! million) and discharging is rounded to the battery's disadvantage. The solver's path of stored
//! energy is followed, so that roundings do not add up, and clipped where the exact content, a
//! power limit or the owner's reserve says so.

use units::Energy;

use crate::horizon::problem::{Battery, Deferrable, PPM};

/// What a battery does in one slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Step {
    /// Energy drawn, Wh; zero when it gives.
    pub charge: Energy,
    /// Energy given, Wh; zero when it draws.
    pub discharge: Energy,
    /// Content afterwards, micro-Wh.
    pub stored_uwh: i64,
}

impl Step {
    /// Content afterwards in whole Wh, rounded down.
    #[must_use]
    pub const fn stored(&self) -> Energy {
        Energy::from_wh(self.stored_uwh.div_euclid(PPM))
    }

    /// What the battery draws, negative when it gives, Wh.
    #[must_use]
    pub fn net(&self) -> Energy {
        self.charge - self.discharge
    }
}

impl Battery {
    pub(super) fn start_uwh(&self) -> i64 {
        self.start.wh() * PPM
    }

    /// What discharging takes out, micro-Wh, rounded up.
    pub(super) fn taken_uwh(&self, discharge: i64) -> i64 {
        let exact = i128::from(discharge) * i128::from(PPM) * i128::from(PPM);
        let ppm = i128::from(self.discharge_ppm);
        i64::try_from((exact + ppm - 1) / ppm).expect("bounded by the largest quantity")
    }

    /// Most that can be given without going below the reserve, Wh.
    fn givable(&self, stored_uwh: i64) -> i64 {
        let spare = (stored_uwh - self.min.wh() * PPM).max(0);
        let out = i128::from(spare) * i128::from(self.discharge_ppm) / i128::from(PPM * PPM);
        let most = i64::try_from(out).expect("less than what is stored");
        most.min(self.discharge_cap.wh())
    }

    /// Most that can be drawn without running over, Wh.
    fn drawable(&self, stored_uwh: i64) -> i64 {
        let room = (self.max.wh() * PPM - stored_uwh).max(0);
        (room / self.charge_ppm).min(self.charge_cap.wh())
    }

    /// The step after drawing or giving; `None` when that is more than it can.
    pub(super) fn step(&self, stored_uwh: i64, charge: i64, discharge: i64) -> Option<Step> {
        let idle = charge == 0 || discharge == 0;
        let able = (0..=self.drawable(stored_uwh)).contains(&charge)
            && (0..=self.givable(stored_uwh)).contains(&discharge);
        let stored_uwh = stored_uwh + charge * self.charge_ppm - self.taken_uwh(discharge);
        let (charge, discharge) = (Energy::from_wh(charge), Energy::from_wh(discharge));
        (idle && able).then_some(Step { charge, discharge, stored_uwh })
    }

    /// A wish, cut down to what it can; drawing and giving at once cancel out.
    pub(super) fn within(&self, stored_uwh: i64, charge: i64, discharge: i64) -> (i64, i64) {
        let net = charge - discharge;
        let charge = net.max(0).min(self.drawable(stored_uwh));
        (charge, (-net).max(0).min(self.givable(stored_uwh)))
    }

    /// Follows a path of stored energy in whole Wh, as far as it can.
    ///
    /// `wanted` are the solver's charge, discharge and content per slot in Wh. What it draws or
    /// gives in whole Wh anyway stays as it is; a fraction is rounded so that the content comes
    /// closest to the path. At most `allowed` (net Wh, per slot) limits it further.
    pub(super) fn follow(&self, wanted: &[(f64, f64, f64)], allowed: &[(i64, i64)]) -> Vec<Step> {
        let mut stored_uwh = self.start_uwh();
        let mut steps = Vec::with_capacity(wanted.len());
        for (&(charge, discharge, content), &(most_in, most_out)) in wanted.iter().zip(allowed) {
            let missing = content * 1e6 - float(stored_uwh);
            let (charge, discharge) = if charge >= discharge {
                let exact = missing / float(self.charge_ppm);
                let most = self.drawable(stored_uwh).min(most_in);
                (nearest(charge, exact).clamp(0, most), 0)
            } else {
                let exact = -missing * float(self.discharge_ppm) / 1e12;
                (0, nearest(discharge, exact).clamp(0, self.givable(stored_uwh).min(most_out)))
            };
            let step = self.step(stored_uwh, charge, discharge).expect("clamped to what it can");
            stored_uwh = step.stored_uwh;
            steps.push(step);
        }
        steps
    }
}

/// Whole Wh: the solver's own when they are whole, otherwise those that keep to the path.
fn nearest(own: f64, exact: f64) -> i64 {
    let whole = own.round();
    if own < 0.01 || ((own - whole).abs() < 1e-3 && (exact - whole).abs() < 1.5) {
        return truncated(whole);
    }
    truncated(if (exact - own).abs() < 1.5 { exact.round() } else { whole })
}

impl Deferrable {
    /// The slots in which it may draw, within a horizon.
    pub(super) fn window(&self, slots: usize) -> std::ops::Range<usize> {
        self.arrival..self.departure.min(slots)
    }

    /// Whole Wh per slot of the horizon that follow the solver's in sum, within cap and need.
    pub(super) fn follow(&self, wanted: &[f64], allowed: &[i64]) -> Vec<Energy> {
        let window = self.window(wanted.len());
        let (mut path, mut sum) = (0.0, 0);
        let served = wanted.iter().zip(allowed).enumerate().map(|(t, (&wanted, &most))| {
            path += wanted;
            let most = self.cap.wh().min(self.need.wh() - sum).min(most);
            if !window.contains(&t) || wanted < 0.01 {
                return Energy::ZERO;
            }
            let served = nearest(wanted, path - float(sum)).clamp(0, most.max(0));
            sum += served;
            Energy::from_wh(served)
        });
        served.collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "only a proposal is rounded by it")]
pub(super) fn float(value: i64) -> f64 {
    value as f64
}

#[expect(clippy::cast_possible_truncation, reason = "saturates, and is clamped to bounds then")]
pub(super) fn truncated(value: f64) -> i64 {
    value as i64
}
