//! What a household will use and produce in the coming day, with the doubt about it.
//!
//! Two series are learned slot by slot: the *load* and the *sun*. Where the production is metered,
//! load = import − export + production; where it is not, the net energy is treated as the load and
//! may be negative, and there is no sun. What a battery does counts as load unless the caller takes
//! it out.
//!
//! Each series is forecast by a handful of simple experts (the newest value, the same slot
//! yesterday and a week ago, a profile by time of day and kind of day, a clear sky dimmed like the
//! last hours, …) which are mixed by weights that follow their errors, separately for near and far
//! horizons (see [`mixture`]). The same place learns how far off the mixture is, which gives the
//! quantiles. From the first value on there is a forecast: it is that value, until there is more.
//!
//! Memory is bounded: eight days of Wh as 32-bit integers per series, and tables by time of day.
//! A forecast proposes: floats are fine here, and nothing is settled on them.

mod history;
mod load;
mod mixture;
mod sun;

use units::Slot;

use super::zone::Zone;
use load::LoadModel;
use sun::SunModel;

pub use sun::Site;

/// Slots that are forecast at most: a day.
pub const HORIZON: usize = 96;
/// The levels of [`Quantiles`], in parts of one.
pub const LEVELS: [f64; 5] = [0.1, 0.3, 0.5, 0.7, 0.9];

/// Energy of one slot that is not exceeded with the probability of [`LEVELS`], Wh, ascending.
pub type Quantiles = [f64; LEVELS.len()];

/// The position of the median in [`Quantiles`].
pub const MEDIAN: usize = 2;

/// What was measured in one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// Used behind the meter, Wh; where the production is not metered: import − export.
    pub load_wh: i64,
    /// Produced by the own plant, Wh ≥ 0, where it is metered.
    pub sun_wh: Option<i64>,
}

/// Learns a household's load and sun, and forecasts both.
#[derive(Debug, Clone)]
pub struct Forecaster {
    load: LoadModel,
    sun: SunModel,
}

impl Forecaster {
    /// Without any history. `site` is where the plant stands, when the owner says so: the shape of
    /// a clear day then follows the sun's path instead of the brightest days seen.
    #[must_use]
    pub fn new(zone: Zone, site: Option<Site>) -> Self {
        Self { load: LoadModel::new(zone), sun: SunModel::new(site) }
    }

    /// Takes over what was measured in a slot. Slots must come in order; gaps are fine. A slot that
    /// is not newer than the newest known one is ignored.
    pub fn learn(&mut self, slot: Slot, measured: Measured) {
        self.load.learn(slot.number(), measured.load_wh);
        if let Some(sun_wh) = measured.sun_wh {
            self.sun.learn(slot.number(), sun_wh.max(0));
        }
    }

    /// The newest slot whose load is known.
    #[must_use]
    pub fn newest(&self) -> Option<Slot> {
        self.load.newest().map(Slot::new)
    }

    /// Quantiles of the load of a slot, Wh; none before anything was learned, and for slots that
    /// are not ahead.
    #[must_use]
    pub fn load(&self, slot: Slot) -> Option<Quantiles> {
        self.load.quantiles(slot.number())
    }

    /// Quantiles of the production of a slot, Wh; zero where none was ever metered.
    #[must_use]
    pub fn sun(&self, slot: Slot) -> Quantiles {
        self.sun.quantiles(slot.number()).unwrap_or_default()
    }

    /// Quantiles of load minus sun, Wh, as if the two missed independently of each other: their
    /// distances from the median add like the sides of a right angle.
    #[must_use]
    pub fn net(&self, slot: Slot) -> Option<Quantiles> {
        let load = self.load(slot)?;
        let sun = self.sun(slot);
        let middle = load[MEDIAN] - sun[MEDIAN];
        Some(std::array::from_fn(|i| {
            let opposite = LEVELS.len() - 1 - i;
            let wide = (load[i] - load[MEDIAN]).hypot(sun[MEDIAN] - sun[opposite]);
            if i < MEDIAN { middle - wide } else { middle + wide }
        }))
    }

    /// Medians of load and sun of `slots` slots from `from` on, Wh; none before anything was
    /// learned, and when `from` is not ahead. Beyond [`HORIZON`] slots only the time of day and the
    /// kind of day speak.
    #[must_use]
    pub fn medians(&self, from: Slot, slots: usize) -> Option<Vec<(f64, f64)>> {
        let mut medians = Vec::with_capacity(slots);
        self.load.medians(from.number(), slots, |load| medians.push((load, 0.0)))?;
        self.sun.medians(from.number(), &mut medians);
        Some(medians)
    }
}
