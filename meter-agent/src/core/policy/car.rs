//! A car that must have so much by a time: the cheapest quarter-hours before it.
//!
//! For one car the plan is exact without a solver: every Wh of every slot has a price (what the
//! roof would have sold, then what the grid charges), and the cheapest that suffice are taken. Of
//! equal ones the earliest, so that the car is rather ready too early.

use units::Energy;

use super::worth::{Outlook, float};
use crate::core::limits::Ready;

/// A car and its charger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Car {
    /// What it can hold, Wh > 0.
    pub capacity: Energy,
    /// Most that can be charged in a slot, AC, Wh > 0.
    pub charge: Energy,
    /// When it must have how much.
    pub ready: Vec<Ready>,
}

/// A deadline: so much energy, Wh, before the slot at this index.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Deadline {
    /// Slots from the plan's start on.
    pub index: usize,
    /// Energy still to be charged by then, AC, Wh.
    pub wh: f64,
}

/// Energy to charge in every slot, Wh. Deadlines that cannot be met are met as far as possible.
pub fn charging(car: &Car, slots: &[Outlook], deadlines: &[Deadline]) -> Vec<f64> {
    let most = float(car.charge.wh());
    let mut planned = vec![0.0; slots.len()];
    let mut deadlines = deadlines.to_vec();
    deadlines.sort_by_key(|deadline| deadline.index);
    for Deadline { index, wh } in deadlines {
        let end = index.min(slots.len());
        let mut missing = wh - planned[..end].iter().sum::<f64>();
        let mut parts: Vec<(f64, usize, f64)> = Vec::with_capacity(2 * end);
        for (slot, outlook) in slots[..end].iter().enumerate() {
            let room = most - planned[slot];
            let left_over = (-outlook.net_wh - planned[slot]).clamp(0.0, room);
            parts.push((outlook.sell.min(outlook.buy), slot, left_over));
            parts.push((outlook.buy, slot, room - left_over));
        }
        parts.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        for (_, slot, wh) in parts {
            if missing <= 0.0 {
                break;
            }
            let part = wh.min(missing);
            planned[slot] += part;
            missing -= part;
        }
    }
    planned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(net_wh: f64, buy: f64) -> Outlook {
        Outlook { net_wh, buy, sell: 10.0, floor_wh: 0.0 }
    }

    fn plan(deadlines: &[(usize, f64)]) -> Vec<f64> {
        let wh = Energy::from_wh;
        let car = Car { capacity: wh(50_000), charge: wh(100), ready: Vec::new() };
        let slots = [slot(50.0, 30.0), slot(-40.0, 30.0), slot(0.0, 20.0), slot(-500.0, 40.0)];
        let deadlines: Vec<_> =
            deadlines.iter().map(|&(index, wh)| Deadline { index, wh }).collect();
        charging(&car, &slots, &deadlines)
    }

    #[test]
    fn the_cheapest_slots_before_the_deadline_are_taken() {
        assert_eq!(plan(&[]), [0.0; 4]);
        assert_eq!(plan(&[(4, 90.0)]), [0.0, 40.0, 0.0, 50.0]);
        assert_eq!(plan(&[(3, 90.0)]), [0.0, 40.0, 50.0, 0.0]);
        assert_eq!(plan(&[(3, 200.0)]), [60.0, 40.0, 100.0, 0.0]);
        assert_eq!(plan(&[(2, 900.0)]), [100.0, 100.0, 0.0, 0.0]);
        // The early deadline comes first, the late one adds what it needs beyond it.
        assert_eq!(plan(&[(9, 150.0), (1, 50.0)]), [50.0, 40.0, 0.0, 60.0]);
    }
}
