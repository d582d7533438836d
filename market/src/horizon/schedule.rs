//! Storage and waiting loads in whole watt-hours.
//!
//! What a battery holds follows from what it has drawn and given since the start, without any
//! rounding on the way ([`Content`]): a micro-Wh lost per slot would keep it from ever reaching its
//! limits by a whole Wh, and that Wh would be missing where it is dear. The solver's path of stored
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
    /// Content afterwards, micro-Wh, rounded down.
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

/// What a battery holds, exactly: in micro-Wh by its `discharge_ppm`, the unit in which a Wh drawn
/// and a Wh given are both whole numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Content(i128);

/// What a Wh given takes out, in the unit of [`Content`].
const PER_GIVEN: i128 = PPM as i128 * PPM as i128;

impl Battery {
    fn content(&self, energy: Energy) -> Content {
        Content(i128::from(energy.wh()) * i128::from(PPM) * i128::from(self.discharge_ppm))
    }

    /// Before the first slot.
    pub(super) fn at_start(&self) -> Content {
        self.content(self.start)
    }

    /// After some steps from the start.
    pub(super) fn after(&self, steps: &[Step]) -> Content {
        steps.iter().fold(self.at_start(), |content, step| self.moved(content, step.net().wh()))
    }

    /// After drawing, or giving when negative, so many Wh.
    fn moved(&self, content: Content, net: i64) -> Content {
        let net = i128::from(net);
        let drawn = net.max(0) * i128::from(self.charge_ppm) * i128::from(self.discharge_ppm);
        Content(content.0 + drawn - (-net).max(0) * PER_GIVEN)
    }

    fn micro_wh(&self, content: Content) -> i64 {
        let uwh = content.0.div_euclid(i128::from(self.discharge_ppm));
        i64::try_from(uwh).expect("at most what the battery holds")
    }

    /// Most that can be given without going below the reserve, Wh.
    fn givable(&self, content: Content) -> i64 {
        let spare = (content.0 - self.content(self.min).0).max(0);
        let most = i64::try_from(spare / PER_GIVEN).expect("less than what is stored");
        most.min(self.discharge_cap.wh())
    }

    /// Most that can be drawn without running over, Wh.
    fn drawable(&self, content: Content) -> i64 {
        let room = (self.content(self.max).0 - content.0).max(0);
        let per_drawn = i128::from(self.charge_ppm) * i128::from(self.discharge_ppm);
        i64::try_from((room / per_drawn).min(i128::from(self.charge_cap.wh()))).expect("a cap")
    }

    /// The step of drawing or giving, and what is held then; `None` when that is more than it can.
    pub(super) fn step(&self, content: Content, net: i64) -> Option<(Step, Content)> {
        if !(-self.givable(content)..=self.drawable(content)).contains(&net) {
            return None;
        }
        let content = self.moved(content, net);
        let (charge, discharge) = (Energy::from_wh(net.max(0)), Energy::from_wh((-net).max(0)));
        Some((Step { charge, discharge, stored_uwh: self.micro_wh(content) }, content))
    }

    /// The step closest to a wish for drawing or giving, Wh.
    pub(super) fn within(&self, content: Content, net: i64) -> (Step, Content) {
        let net = net.clamp(-self.givable(content), self.drawable(content));
        self.step(content, net).expect("clamped to what it can")
    }

    /// Follows a path of stored energy in whole Wh, as far as it can.
    ///
    /// `wanted` are the solver's charge, discharge and content per slot in Wh. What it draws or
    /// gives in whole Wh anyway stays as it is; a fraction is rounded so that the content comes
    /// closest to the path.
    pub(super) fn follow(&self, wanted: &[(f64, f64, f64)]) -> Vec<Step> {
        let mut content = self.at_start();
        let steps = wanted.iter().map(|&(charge, discharge, path)| {
            let missing = path * 1e6 - float(self.micro_wh(content));
            let net = if charge >= discharge {
                nearest(charge, missing / float(self.charge_ppm)).max(0)
            } else {
                -nearest(discharge, -missing * float(self.discharge_ppm) / 1e12).max(0)
            };
            let (step, after) = self.within(content, net);
            content = after;
            step
        });
        steps.collect()
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
    pub(super) fn follow(&self, wanted: &[f64]) -> Vec<Energy> {
        let window = self.window(wanted.len());
        let (mut path, mut sum) = (0.0, 0);
        let served = wanted.iter().enumerate().map(|(t, &wanted)| {
            path += wanted;
            let most = self.cap.wh().min(self.need.wh() - sum);
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
