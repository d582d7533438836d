//! A battery's facts, and what is in it, in exact integers.

use units::{Energy, Price};

/// One, in parts per million.
const MILLION: i64 = 1_000_000;

/// A battery with its converter, seen from the AC side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Battery {
    /// What it can hold, Wh > 0.
    pub capacity: Energy,
    /// Most that can be charged in a slot, AC, Wh ≥ 0.
    pub charge: Energy,
    /// Most that can be discharged in a slot, AC, Wh ≥ 0.
    pub discharge: Energy,
    /// Part of the charged energy that is stored, ppm, 1 to 1 000 000.
    pub efficiency_in_ppm: i64,
    /// Part of the stored energy that comes out, ppm, 1 to 1 000 000.
    pub efficiency_out_ppm: i64,
    /// What every Wh through the converter costs in wear, either way, ≥ 0.
    pub wear: Price,
}

/// What is in a battery, in millionths of a Wh: charging and discharging whole Wh on the AC side
/// is exact up to the last millionth, which is lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Store {
    micro_wh: i64,
}

impl Store {
    /// So much energy inside of the battery.
    #[must_use]
    pub fn of(energy: Energy) -> Self {
        Self { micro_wh: energy.wh().saturating_mul(MILLION) }
    }

    /// Energy inside, whole Wh.
    #[must_use]
    pub const fn energy(self) -> Energy {
        Energy::from_wh(self.micro_wh / MILLION)
    }

    /// Energy inside, Wh.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a household's battery, for a plan")]
    pub fn wh(self) -> f64 {
        self.micro_wh as f64 / 1e6
    }
}

impl Battery {
    /// Most that can be charged into this store in a slot, AC, whole Wh.
    #[must_use]
    pub fn room(&self, store: Store) -> Energy {
        let free = (self.capacity.wh().saturating_mul(MILLION) - store.micro_wh).max(0);
        Energy::from_wh(free / self.efficiency_in_ppm).min(self.charge)
    }

    /// Most that this store gives in a slot without falling below `floor`, AC, whole Wh.
    #[must_use]
    pub fn supply(&self, store: Store, floor: Store) -> Energy {
        let above = i128::from((store.micro_wh - floor.micro_wh).max(0));
        let wh = above * i128::from(self.efficiency_out_ppm) / i128::from(MILLION * MILLION);
        Energy::from_wh(i64::try_from(wh).unwrap_or(i64::MAX)).min(self.discharge)
    }

    /// The store after a slot in which `energy` was charged (negative: discharged), AC. More than
    /// fits or than is there is the caller's mistake and ends at full or empty.
    #[must_use]
    pub fn after(&self, store: Store, energy: Energy) -> Store {
        let wh = i128::from(energy.wh());
        let change = if wh >= 0 {
            wh * i128::from(self.efficiency_in_ppm)
        } else {
            (wh * i128::from(MILLION * MILLION)).div_euclid(i128::from(self.efficiency_out_ppm))
        };
        let full = i128::from(self.capacity.wh()) * i128::from(MILLION);
        let micro_wh = (i128::from(store.micro_wh) + change).clamp(0, full);
        Store { micro_wh: i64::try_from(micro_wh).expect("between zero and the capacity") }
    }

    /// Self-consumption as every inverter does it without a plan: what the roof has left over goes
    /// in, what the house lacks comes out, and the grid is never touched for it. Charged energy
    /// (negative: discharged), AC, for a slot with this net load.
    #[must_use]
    pub fn serve_house(&self, store: Store, net: Energy) -> Energy {
        if net.is_positive() {
            -net.min(self.supply(store, Store::default()))
        } else {
            (-net).min(self.room(store))
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "parts per million")]
    pub(super) fn efficiency_in(&self) -> f64 {
        self.efficiency_in_ppm as f64 / 1e6
    }

    #[expect(clippy::cast_precision_loss, reason = "parts per million")]
    pub(super) fn efficiency_out(&self) -> f64 {
        self.efficiency_out_ppm as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATTERY: Battery = Battery {
        capacity: Energy::from_wh(1_000),
        charge: Energy::from_wh(500),
        discharge: Energy::from_wh(400),
        efficiency_in_ppm: 950_000,
        efficiency_out_ppm: 900_000,
        wear: Price::ZERO,
    };

    #[test]
    fn what_goes_in_comes_out_less_the_losses() {
        let wh = Energy::from_wh;
        let mut store = Store::default();
        assert_eq!((BATTERY.room(store), BATTERY.supply(store, store)), (wh(500), wh(0)));
        store = BATTERY.after(store, wh(500));
        assert_eq!((store.energy(), BATTERY.supply(store, Store::default())), (wh(475), wh(400)));
        store = BATTERY.after(store, wh(500));
        // 50 Wh of room take 52 Wh and a bit.
        assert_eq!((store.energy(), BATTERY.room(store)), (wh(950), wh(52)));
        assert_eq!(BATTERY.supply(store, Store::of(wh(900))), wh(45));
        store = BATTERY.after(store, wh(-400));
        assert_eq!(store.energy(), wh(505));
        assert_eq!(BATTERY.serve_house(store, wh(-2_000)), wh(500));
        assert_eq!(BATTERY.serve_house(store, wh(300)), wh(-300));
        // Everything out: nothing is left but what is too little for a Wh.
        store = BATTERY.after(store, -BATTERY.supply(store, Store::default()));
        store = BATTERY.after(store, -BATTERY.supply(store, Store::default()));
        assert_eq!(BATTERY.supply(store, Store::default()), Energy::ZERO);
        assert!(store.wh() >= 0.0 && store.wh() < 1.2, "{}", store.wh());
    }
}
