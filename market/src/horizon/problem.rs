//! What is planned: offers per slot on a grid, storage and loads that may wait, and the supplier.

use units::{Energy, Price, Slot};

use crate::horizon::{Refusal, Voltage};
use crate::{Grid, Lot, Node, Side};

/// Most slots of a horizon: a week. The market runs over a day of 96, the back-test over a week.
pub const MAX_SLOTS: usize = 672;

/// Parts per million, the unit of efficiencies.
pub const PPM: i64 = 1_000_000;

/// What a kWh is, beside being a kWh; better attributes first. Energy of one class also counts as
/// every class after it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Class {
    /// From below the same transformer as whoever asks for it.
    OwnStreet,
    /// From the community's own plant.
    Plant,
    /// From renewable generation, directly or through a battery.
    Green,
    /// Anything.
    #[default]
    Any,
}

/// What a purchase pays for energy of a class or a better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Wish {
    /// The least good class that is paid for, not [`Class::Any`].
    pub class: Class,
    /// Most paid per Wh on top of the price of any energy; positive, on the tick.
    pub premium: Price,
}

/// A lot and what its energy is (a sale) or what more it pays for what (a purchase).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Offer {
    /// Where, which way, how much, at what limit. An inelastic load buys at the price cap, a
    /// plant that may be curtailed sells at its marginal cost.
    pub lot: Lot,
    /// What the energy of a sale is; without meaning for a purchase.
    pub class: Class,
    /// What a purchase asks for; without meaning for a sale.
    pub wish: Option<Wish>,
}

impl Offer {
    /// A lot without wishes.
    #[must_use]
    pub const fn plain(lot: Lot) -> Self {
        Self { lot, class: Class::Any, wish: None }
    }

    /// Load that must be served, bought at the cap.
    #[must_use]
    pub const fn load(node: Node, quantity: Energy, cap: Price) -> Self {
        Self::plain(Lot { node, side: Side::Buy, quantity, limit: cap })
    }

    /// Generation that costs nothing and may be curtailed.
    #[must_use]
    pub const fn generation(node: Node, quantity: Energy) -> Self {
        Self::plain(Lot { node, side: Side::Sell, quantity, limit: Price::ZERO })
    }
}

/// The supplier at the root in one slot.
///
/// Where `export` is above `import`, it counts as equal: one connection cannot import and export
/// at once, and a plan that assumed it could would live on money that nobody pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Supply {
    /// What the supplier takes per Wh.
    pub import: Price,
    /// Most energy it delivers, Wh, `0 ..= UNCAPPED`.
    pub import_cap: Energy,
    /// What the supplier pays per Wh.
    pub export: Price,
    /// Most energy it takes, Wh, `0 ..= UNCAPPED`.
    pub export_cap: Energy,
}

impl Supply {
    /// Both prices, as much as the grid carries.
    #[must_use]
    pub const fn at(import: Price, export: Price) -> Self {
        let cap = crate::UNCAPPED;
        Self { import, import_cap: cap, export, export_cap: cap }
    }

    /// What an exported Wh counts for in a plan.
    #[must_use]
    pub fn credited(&self) -> Price {
        self.export.min(self.import)
    }
}

/// One slot of the horizon.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Period {
    /// What the supplier offers.
    pub supply: Supply,
    /// What is asked and offered, [`Plan`](crate::horizon::Plan) answers in this order.
    pub offers: Vec<Offer>,
}

/// What a battery should hold after the last slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum End {
    /// At least this much, as far as it can be reached; what is above is worth nothing.
    Target(Energy),
    /// Whatever is left is worth this per stored Wh, not negative.
    Value(Price),
}

/// A battery that the plan may charge and discharge.
///
/// Charging `c` stores `c·charge_ppm/10⁶`, discharging `d` takes `d·10⁶/discharge_ppm`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Battery {
    /// What a shortfall names.
    pub name: String,
    /// Where it is connected.
    pub node: Node,
    /// Most energy it draws per slot, Wh.
    pub charge_cap: Energy,
    /// Most energy it gives per slot, Wh.
    pub discharge_cap: Energy,
    /// Least it should hold, Wh: the owner's reserve.
    pub min: Energy,
    /// Most it can hold, Wh.
    pub max: Energy,
    /// What it holds now, Wh, at most `max`. Below `min` is no refusal: the plan fills it up.
    pub start: Energy,
    /// Share of the drawn energy that is stored, `1 ..= PPM`.
    pub charge_ppm: i64,
    /// Share of the taken energy that comes out, `1 ..= PPM`.
    pub discharge_ppm: i64,
    /// Cost per Wh drawn and per Wh given, not negative. A little of it keeps the plan from
    /// moving energy for nothing.
    pub wear: Price,
    /// What it should hold at the end.
    pub end: End,
    /// What discharged energy counts as, as far as it was charged with energy of that class.
    pub class: Class,
}

/// Energy that is needed some time between two slots: a car, a boiler.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Deferrable {
    /// What a shortfall names.
    pub name: String,
    /// Where it is connected.
    pub node: Node,
    /// First slot of the horizon in which it may draw.
    pub arrival: usize,
    /// First slot in which it no longer may, after `arrival`; beyond the horizon is cut off.
    pub departure: usize,
    /// Energy it needs in total, Wh.
    pub need: Energy,
    /// Most energy per slot, Wh.
    pub cap: Energy,
    /// What a served Wh is worth to its owner, not negative.
    pub value: Price,
    /// What an unmet Wh costs its owner, not negative.
    pub penalty: Price,
}

/// A problem over consecutive slots.
#[derive(Debug, Clone, PartialEq)]
pub struct Horizon {
    /// The first slot.
    pub first: Slot,
    /// The network; [`Grid::plate`] for one household.
    pub grid: Grid,
    /// The slots, `1 ..= MAX_SLOTS`.
    pub periods: Vec<Period>,
    /// Batteries in the plan's hands.
    pub batteries: Vec<Battery>,
    /// Loads that may wait.
    pub deferrables: Vec<Deferrable>,
    /// Voltage limits, when the feeder is known well enough.
    pub voltage: Option<Voltage>,
}

impl Horizon {
    /// A household behind one connection.
    #[must_use]
    pub const fn household(first: Slot, periods: Vec<Period>, batteries: Vec<Battery>) -> Self {
        let grid = Grid::plate();
        Self { first, grid, periods, batteries, deferrables: Vec::new(), voltage: None }
    }

    /// Whether every number is in range and every node exists.
    ///
    /// # Errors
    /// The first [`Refusal`].
    pub fn check(&self) -> Result<(), Refusal> {
        crate::horizon::refusal::check(self)
    }
}

impl Horizon {
    /// What a Wh that a battery misses costs: more than any price of the horizon could pay for,
    /// and little enough for the solver's scaling.
    pub(super) fn shortfall_price(&self, battery: &Battery) -> Price {
        let fees = self.grid.fees_to_root(battery.node).nano_per_wh();
        let highest = i128::from(self.highest_price().nano_per_wh() + fees + 10_000);
        let round_trip = i128::from(battery.charge_ppm) * i128::from(battery.discharge_ppm);
        let ppm = i128::from(PPM);
        let price = (4 * highest * ppm * ppm / round_trip).min(i128::from(i64::MAX / 1_000_000));
        Price::from_nano_per_wh(i64::try_from(price).expect("cut to the range"))
    }

    /// The largest size of any price in the horizon.
    pub(super) fn highest_price(&self) -> Price {
        let periods = self.periods.iter().flat_map(|period| {
            let supply = [period.supply.import, period.supply.export];
            let offers = period.offers.iter();
            supply.into_iter().chain(offers.map(|offer| offer.lot.limit))
        });
        let loads = self.deferrables.iter().map(|load| load.value + load.penalty);
        periods.chain(loads).map(Price::abs).max().unwrap_or_default()
    }
}
