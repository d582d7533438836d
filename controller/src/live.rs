//! The board of the street's present: the newest live message of every household.
//!
//! For display only. Nothing on the board is ever settled, and what is not known stays unknown: a
//! household that has fallen silent is left out of the sums instead of counting as zero.

use std::collections::BTreeMap;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};

use protocol::Live;
use units::PointId;

/// Silence after which a household no longer counts, milliseconds of real time.
const SILENT_AFTER_MS: f64 = 15_000.0;

/// The newest live message of one household.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What its agent said.
    pub live: Live,
    /// When that arrived, Unix milliseconds of market time.
    pub received_ms: i64,
}

/// The street's flows in W, summed over the households that report.
///
/// They balance: production + discharge + import from the grid = use + charge + export to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flows {
    /// Production of all plants.
    pub pv_w: i64,
    /// Use of all homes, as it follows from the other flows.
    pub home_w: i64,
    /// Into batteries.
    pub battery_charge_w: i64,
    /// Out of batteries.
    pub battery_discharge_w: i64,
    /// From the grid above into the street.
    pub grid_import_w: i64,
    /// From the street into the grid above.
    pub grid_export_w: i64,
    /// From neighbour to neighbour.
    pub shared_w: i64,
}

/// What the board says about the street.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Present {
    /// Households that report now.
    pub reporting: usize,
    /// Households on the board.
    pub households: usize,
    /// Age of the newest message, milliseconds of market time; none before the first.
    pub age_ms: Option<i64>,
    /// The sums; none while nobody reports.
    pub flows: Option<Flows>,
}

/// The newest live message of every enrolled household.
#[derive(Debug)]
pub struct Board {
    places: RwLock<BTreeMap<PointId, Option<Seen>>>,
    changes: AtomicU64,
    silent_after_ms: i64,
}

impl Board {
    /// An empty board with a place for each household; `speed` is that of the market's clock.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a saturating float cast of a bound")]
    pub fn new(points: impl IntoIterator<Item = PointId>, speed: f64) -> Self {
        Self {
            places: RwLock::new(points.into_iter().map(|point| (point, None)).collect()),
            changes: AtomicU64::new(0),
            silent_after_ms: (SILENT_AFTER_MS * speed.max(1.0)) as i64,
        }
    }

    /// Puts a verified message on its household's place. Messages of others and messages older
    /// than the one that is there are left out, so that the board never grows or runs backwards.
    pub fn update(&self, live: Live, received_ms: i64) {
        let Ok(point) = PointId::new(live.point.as_str()) else { return };
        let mut places = self.places.write().expect("no writer panics while it holds the board");
        let Some(place) = places.get_mut(&point) else { return };
        if place.as_ref().is_none_or(|seen| seen.live.time_ms <= live.time_ms) {
            *place = Some(Seen { live, received_ms });
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts every change, so that a reader sees whether there is anything new.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// The newest message of one household.
    #[must_use]
    pub fn seen(&self, point: &PointId) -> Option<Seen> {
        self.read().get(point).cloned().flatten()
    }

    /// The newest message of every household that has reported lately.
    #[must_use]
    pub fn fresh(&self, now_ms: i64) -> BTreeMap<PointId, Seen> {
        self.read()
            .iter()
            .filter_map(|(point, seen)| Some((point.clone(), seen.clone()?)))
            .filter(|(_, seen)| self.is_fresh(seen, now_ms))
            .collect()
    }

    /// The sums over all households that have reported lately.
    #[must_use]
    pub fn present(&self, now_ms: i64) -> Present {
        let places = self.read();
        let newest = places.values().flatten().map(|seen| seen.received_ms).max();
        let fresh: Vec<&Live> = places
            .values()
            .flatten()
            .filter(|seen| self.is_fresh(seen, now_ms) && !seen.live.power_w.is_empty())
            .map(|seen| &seen.live)
            .collect();
        Present {
            reporting: fresh.len(),
            households: places.len(),
            age_ms: newest.map(|received_ms| (now_ms - received_ms).max(0)),
            flows: (!fresh.is_empty()).then(|| Flows::of(&fresh)),
        }
    }

    fn is_fresh(&self, seen: &Seen, now_ms: i64) -> bool {
        now_ms - seen.received_ms <= self.silent_after_ms
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<PointId, Option<Seen>>> {
        self.places.read().expect("no writer panics while it holds the board")
    }
}

impl Flows {
    fn of(fresh: &[&Live]) -> Self {
        let first = |values: &[i64]| values.first().copied().unwrap_or(0);
        let sum = |part: &dyn Fn(&Live) -> i64| -> i64 {
            fresh.iter().fold(0, |total: i64, live| total.saturating_add(part(live)))
        };
        let import = sum(&|live| first(&live.power_w).max(0));
        let export = sum(&|live| first(&live.power_w).saturating_neg().max(0));
        let pv_w = sum(&|live| first(&live.pv_w).max(0));
        let battery_charge_w = sum(&|live| first(&live.battery_w).max(0));
        let battery_discharge_w = sum(&|live| first(&live.battery_w).saturating_neg().max(0));
        let shared_w = import.min(export);
        let made = pv_w.saturating_add(battery_discharge_w).saturating_add(import);
        // Devices are read one after the other, so that a sum may be off by a little for a moment;
        // a home never produces.
        let home_w = made.saturating_sub(battery_charge_w).saturating_sub(export).max(0);
        Self {
            pv_w,
            home_w,
            battery_charge_w,
            battery_discharge_w,
            grid_import_w: import - shared_w,
            grid_export_w: export - shared_w,
            shared_w,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(name: &str) -> PointId {
        PointId::new(name).expect("a point")
    }

    fn live(name: &str, time_ms: i64, power: i64, pv: Option<i64>, battery: Option<i64>) -> Live {
        Live {
            point: name.to_owned(),
            time_ms,
            power_w: vec![power],
            pv_w: pv.into_iter().collect(),
            battery_w: battery.into_iter().collect(),
            soc_permille: Vec::new(),
            voltage_mv: Vec::new(),
        }
    }

    #[test]
    fn the_sums_balance_and_neighbours_come_before_the_grid() {
        let board = Board::new(["a", "b", "c"].map(point), 1.0);
        assert_eq!(board.present(0).flows, None);
        board.update(live("a", 10, -3_000, Some(5_000), Some(1_000)), 10);
        board.update(live("b", 11, 2_000, None, None), 12);
        board.update(live("stranger", 11, 9_999, None, None), 12);
        let present = board.present(20);
        assert_eq!((present.reporting, present.households, present.age_ms), (2, 3, Some(8)));
        let flows = Flows {
            pv_w: 5_000,
            home_w: 3_000,
            battery_charge_w: 1_000,
            battery_discharge_w: 0,
            grid_import_w: 0,
            grid_export_w: 1_000,
            shared_w: 2_000,
        };
        assert_eq!(present.flows, Some(flows));
        assert_eq!(board.changes(), 2);
    }

    #[test]
    fn the_silent_and_the_late_do_not_count() {
        let board = Board::new(["a"].map(point), 1.0);
        board.update(live("a", 10, 100, None, None), 10);
        board.update(live("a", 9, 500, None, None), 11);
        assert_eq!(board.seen(&point("a")).map(|seen| seen.live.power_w), Some(vec![100]));
        assert_eq!(board.present(15_010).reporting, 1);
        assert_eq!(board.present(15_011).flows, None);
        assert!(board.fresh(15_011).is_empty());
    }
}
