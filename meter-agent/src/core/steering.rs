//! What the steered battery should do now, so that the household takes what it traded.

use std::collections::BTreeMap;

use units::{Energy, Slot};

use super::metering::{EXPORT, IMPORT};
use super::policy::{Standing, Store};
use super::{Core, Flows};
use crate::control::follow::Course;
use crate::control::{Enabled, Setpoint};

/// Most slots of which a plan is remembered.
const KEPT: usize = 8;
/// The battery's content counts as known at a slot's start when it was seen so soon after, milliseconds.
const SOON_MS: i64 = Slot::LENGTH_MS / 3;

/// The battery, where its owner lets it be steered.
#[derive(Debug, Clone)]
pub struct Steering {
    /// The owner's leave.
    pub leave: Enabled,
    /// What the battery can hold, when the owner says so.
    pub capacity: Option<Energy>,
    /// How long a setpoint stands until the next look, milliseconds of market time.
    pub react_ms: i64,
}

impl Steering {
    /// What of the battery's content may be used, in Wh.
    fn store(&self, soc_permille: i64) -> Option<Store> {
        let (min, max) = self.leave.soc_permille();
        let usable = soc_permille.clamp(min, max) - min;
        Some(Store::of(Energy::from_wh(self.capacity?.wh().saturating_mul(usable) / 1_000)))
    }
}

/// What is known for steering.
#[derive(Debug, Default)]
pub struct Helm {
    /// When the operator was last heard, Unix milliseconds.
    heard_ms: Option<i64>,
    /// What may be used of the battery's content at the start of a slot.
    store: Option<(Slot, Store)>,
    /// What had gone into it by then, mWh.
    stored_mwh: Option<i64>,
    /// What has gone into it by now, mWh.
    newest_mwh: Option<i64>,
    /// What the plan says to do in a slot.
    plans: BTreeMap<i64, Standing>,
}

impl Helm {
    /// A message of the operator has come, and it is the operator's.
    pub fn hear(&mut self, now_ms: i64) {
        self.heard_ms = self.heard_ms.max(Some(now_ms));
    }

    /// The slot at whose start the battery's content is known, and the content.
    pub const fn store(&self) -> Option<(Slot, Store)> {
        self.store
    }

    /// What the plan says for a slot that is ordered now.
    pub fn plan(&mut self, slot: Slot, standing: Option<Standing>) {
        let Some(standing) = standing else { return };
        self.plans.insert(slot.number(), standing);
        while self.plans.len() > KEPT {
            self.plans.pop_first();
        }
    }
}

impl Core {
    /// Notes what is in the battery, from the figures of a poll.
    pub(super) fn note_store(&mut self, now_ms: i64, flows: &Flows, stored_mwh: Option<i64>) {
        let Some(steering) = &self.settings.steering else { return };
        let slot = Slot::at_ms(now_ms);
        self.helm.newest_mwh = stored_mwh;
        let known = self.helm.store.is_some_and(|(known, _)| known >= slot);
        let taken_ms = flows.oldest_ms.filter(|&taken_ms| taken_ms >= slot.start_ms());
        if known || taken_ms.is_none_or(|taken_ms| taken_ms >= slot.start_ms() + SOON_MS) {
            return;
        }
        self.helm.store = flows.soc_permille.and_then(|soc| Some((slot, steering.store(soc)?)));
        self.helm.stored_mwh = stored_mwh;
    }

    /// What the battery should be set to at `now_ms`; none when it should be on its own: nothing was
    /// traded, figures are missing, or the operator has not been heard for too long.
    #[must_use]
    pub fn steer(&self, now_ms: i64) -> Option<Setpoint> {
        let steering = self.settings.steering.as_ref()?;
        let heard_ms = self.helm.heard_ms?;
        if now_ms - heard_ms > steering.leave.operator_timeout_ms() {
            return None;
        }
        let slot = Slot::at_ms(now_ms);
        let flows = self.flows.as_ref()?;
        flows.oldest_ms?;
        let traded = self.book.order(slot)?.filled?.net();
        let mut course = Course {
            left_ms: slot.end_ms() - now_ms,
            goal_mwh: traded.wh().saturating_mul(1_000),
            so_far_mwh: 0,
            grid_mw: flows.power_mw?,
            battery_mw: flows.battery_mw?,
            react_ms: steering.react_ms,
        };
        match self.so_far_mwh(slot) {
            Some(so_far_mwh) => course.so_far_mwh = so_far_mwh,
            // What flowed before this slot was looked at is not known: the rest is set to be even.
            None => {
                let part = course.goal_mwh / 1_000 * course.left_ms.max(0) / Slot::LENGTH_MS;
                course.goal_mwh = part * 1_000;
            }
        }
        if let Some(goal_mwh) = self.planned_mwh(slot, &course, traded) {
            course.goal_mwh = goal_mwh;
        }
        let soc_permille = flows.soc_permille?;
        Some(steering.leave.battery(course.battery_mw(), soc_permille, course.house_mw()))
    }

    /// When the figures were taken that [`Core::steer`] goes by.
    #[must_use]
    pub fn steered_by_ms(&self) -> Option<i64> {
        self.flows.as_ref()?.oldest_ms
    }

    /// What has flowed from the grid since a slot began, mWh.
    fn so_far_mwh(&self, slot: Slot) -> Option<i64> {
        let edge = self.edges.at(slot.previous())?;
        let mwh = |id| self.counters.get(id).map(|watched| watched.counter().total_mwh);
        let (import, export) = mwh(IMPORT).zip(mwh(EXPORT))?;
        Some(import - export - (edge.import_wh - edge.export_wh).saturating_mul(1_000))
    }

    /// What the plan wants from the grid in the whole slot, the house being as it is, mWh. Where it pays
    /// the plan keeps to what was traded; it lets go where the missing energy is cheaper elsewhere.
    fn planned_mwh(&self, slot: Slot, course: &Course, traded: Energy) -> Option<i64> {
        let standing = self.helm.plans.get(&slot.number())?;
        let (_, store) = self.helm.store.filter(|(known, _)| *known == slot)?;
        let stored_mwh = self.helm.newest_mwh? - self.helm.stored_mwh?;
        let net = Energy::from_wh(course.net_mwh(stored_mwh) / 1_000);
        let charge = standing.follow(store, net, traded);
        Some((net + charge).wh().saturating_mul(1_000))
    }

    /// Notes what the device does.
    pub(super) fn steered(&mut self, at_ms: i64, setpoint: Option<i64>) {
        self.status.steered_ms = self.status.steered_ms.max(Some(at_ms));
        self.status.setpoint_mw = setpoint;
    }
}
