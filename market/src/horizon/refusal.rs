//! Why a horizon is not planned. Whatever passes here has a plan.

use units::{Energy, Price};

use crate::horizon::problem::{Battery, Class, Deferrable, End, Horizon, MAX_SLOTS, PPM, Period};
use crate::{MAX_PRICE, MAX_QUANTITY, Node, Side, UNCAPPED};

/// Most offers of one slot.
pub const MAX_OFFERS: usize = 10_000;

/// Most batteries, and most deferrable loads, of one horizon.
pub const MAX_STORES: usize = 1_000;

/// Why a horizon is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// There is no slot, or too many.
    #[error("{slots} slots: a horizon has 1 to {MAX_SLOTS}")]
    Slots {
        /// How many there are.
        slots: usize,
    },
    /// Too many of something.
    #[error("{count} {what} are more than the {most} of a horizon")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// A node that the grid does not have.
    #[error("{place} is at {node}, which the grid does not have: it has {size} nodes")]
    UnknownNode {
        /// Which offer, battery or load.
        place: String,
        /// Where it says it is.
        node: Node,
        /// Nodes of the grid.
        size: usize,
    },
    /// A price out of range or off the tick.
    #[error("{place}: {what} {price} is not allowed: {why}")]
    Price {
        /// Where it was found.
        place: String,
        /// Which price.
        what: &'static str,
        /// The price.
        price: Price,
        /// What it has to be.
        why: &'static str,
    },
    /// An energy out of range.
    #[error("{place}: {what} {energy} is not between {least} and {most}")]
    Energy {
        /// Where it was found.
        place: String,
        /// Which energy.
        what: &'static str,
        /// The energy.
        energy: Energy,
        /// Least allowed.
        least: Energy,
        /// Most allowed.
        most: Energy,
    },
    /// An efficiency that is none.
    #[error("{place}: {what} {ppm} ppm is not between 1 and {PPM}")]
    Efficiency {
        /// Which battery.
        place: String,
        /// Which efficiency.
        what: &'static str,
        /// The number.
        ppm: i64,
    },
    /// A load that has no time to be served.
    #[error("{place}: it leaves in slot {departure} and arrives in slot {arrival} of {slots}")]
    Window {
        /// Which load.
        place: String,
        /// First slot.
        arrival: usize,
        /// First slot after.
        departure: usize,
        /// Slots of the horizon.
        slots: usize,
    },
    /// The voltage option does not fit the grid.
    #[error("voltage limits: {problem}")]
    Voltage {
        /// What is wrong.
        problem: String,
    },
}

pub(super) fn check(horizon: &Horizon) -> Result<(), Refusal> {
    let slots = horizon.periods.len();
    if slots == 0 || slots > MAX_SLOTS {
        return Err(Refusal::Slots { slots });
    }
    let stores = [("batteries", horizon.batteries.len()), ("loads", horizon.deferrables.len())];
    for (what, count) in stores {
        too_many(what, count, MAX_STORES)?;
    }
    for (t, period) in horizon.periods.iter().enumerate() {
        too_many("offers of a slot", period.offers.len(), MAX_OFFERS)?;
        check_period(horizon, t, period)?;
    }
    for battery in &horizon.batteries {
        check_battery(horizon, battery)?;
    }
    for load in &horizon.deferrables {
        check_deferrable(horizon, load)?;
    }
    match &horizon.voltage {
        Some(voltage) => voltage.check(&horizon.grid),
        None => Ok(()),
    }
}

fn too_many(what: &'static str, count: usize, most: usize) -> Result<(), Refusal> {
    if count > most { Err(Refusal::TooMany { what, count, most }) } else { Ok(()) }
}

fn check_period(horizon: &Horizon, t: usize, period: &Period) -> Result<(), Refusal> {
    let supplier = || format!("slot {t}, supplier");
    let supply = &period.supply;
    for (what, cap) in [("import cap", supply.import_cap), ("export cap", supply.export_cap)] {
        energy(supplier, what, cap, Energy::ZERO, UNCAPPED)?;
    }
    for (what, value) in [("import price", supply.import), ("export price", supply.export)] {
        price(supplier, what, value, Sign::Any)?;
    }
    for (i, offer) in period.offers.iter().enumerate() {
        let place = || format!("slot {t}, offer {i}");
        node(horizon, place, offer.lot.node)?;
        energy(place, "quantity", offer.lot.quantity, Energy::from_wh(1), MAX_QUANTITY)?;
        price(place, "limit", offer.lot.limit, Sign::Any)?;
        if let (Side::Buy, Some(wish)) = (offer.lot.side, offer.wish) {
            if wish.class == Class::Any || !wish.premium.is_positive() {
                let (what, price, why) = ("premium", wish.premium, "it is for nothing special");
                return Err(Refusal::Price { place: place(), what, price, why });
            }
            price(place, "premium", wish.premium, Sign::NotNegative)?;
        }
    }
    Ok(())
}

fn check_battery(horizon: &Horizon, battery: &Battery) -> Result<(), Refusal> {
    let place = || format!("battery {}", battery.name);
    let zero = Energy::ZERO;
    node(horizon, place, battery.node)?;
    energy(place, "most energy", battery.max, zero, MAX_QUANTITY)?;
    energy(place, "least energy", battery.min, zero, battery.max)?;
    energy(place, "energy at the start", battery.start, zero, battery.max)?;
    energy(place, "charging per slot", battery.charge_cap, zero, MAX_QUANTITY)?;
    energy(place, "discharging per slot", battery.discharge_cap, zero, MAX_QUANTITY)?;
    price(place, "wear", battery.wear, Sign::NotNegative)?;
    for (what, ppm) in [
        ("charging efficiency", battery.charge_ppm),
        ("discharging efficiency", battery.discharge_ppm),
    ] {
        if !(1..=PPM).contains(&ppm) {
            return Err(Refusal::Efficiency { place: place(), what, ppm });
        }
    }
    match battery.end {
        End::Target(target) => energy(place, "target", target, zero, battery.max),
        End::Value(value) => sized(place, "value at the end", value, Sign::NotNegative),
    }
}

fn check_deferrable(horizon: &Horizon, load: &Deferrable) -> Result<(), Refusal> {
    let place = || format!("load {}", load.name);
    node(horizon, place, load.node)?;
    energy(place, "need", load.need, Energy::ZERO, MAX_QUANTITY)?;
    energy(place, "energy per slot", load.cap, Energy::ZERO, MAX_QUANTITY)?;
    price(place, "value", load.value, Sign::NotNegative)?;
    price(place, "penalty", load.penalty, Sign::NotNegative)?;
    let (arrival, departure, slots) = (load.arrival, load.departure, horizon.periods.len());
    if departure <= arrival || arrival >= slots {
        return Err(Refusal::Window { place: place(), arrival, departure, slots });
    }
    Ok(())
}

fn node(horizon: &Horizon, place: impl Fn() -> String, node: Node) -> Result<(), Refusal> {
    if horizon.grid.contains(node) {
        return Ok(());
    }
    Err(Refusal::UnknownNode { place: place(), node, size: horizon.grid.size() })
}

fn energy(
    place: impl Fn() -> String,
    what: &'static str,
    energy: Energy,
    least: Energy,
    most: Energy,
) -> Result<(), Refusal> {
    if (least..=most).contains(&energy) {
        return Ok(());
    }
    Err(Refusal::Energy { place: place(), what, energy, least, most })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Any,
    NotNegative,
}

fn price(
    place: impl Fn() -> String,
    what: &'static str,
    price: Price,
    sign: Sign,
) -> Result<(), Refusal> {
    if !price.is_on_tick() {
        return Err(Refusal::Price { place: place(), what, price, why: "it is off the tick" });
    }
    sized(place, what, price, sign)
}

/// A price that need not lie on the tick, as it stands for stored energy, not for an order.
fn sized(
    place: impl Fn() -> String,
    what: &'static str,
    price: Price,
    sign: Sign,
) -> Result<(), Refusal> {
    let why = if !(-MAX_PRICE..=MAX_PRICE).contains(&price) {
        "it is beyond the largest price; check its unit"
    } else if sign == Sign::NotNegative && price < Price::ZERO {
        "it is negative"
    } else {
        return Ok(());
    };
    Err(Refusal::Price { place: place(), what, price, why })
}
