//! Keys that share a street's surplus from meters alone: ours against another's maximum flow.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use market::sharing::{Key, Keys, Rounds, allocate};
use market::{Flow, Metered};
use serde::{Deserialize, Serialize};
use units::{Energy, PointId, Slot};

use super::{Asked, Finding, Setup};
use crate::bench::books::rank;
use crate::bench::cpu_best;
use crate::scenario::{Scenario, wh_of_slot};

/// Slots that are shared: a week.
const SLOTS: usize = 672;

/// A street's metered slots.
struct Street {
    members: Vec<PointId>,
    slots: Vec<(Slot, Vec<Metered>)>,
}

/// A street's surplus, shared.
#[derive(Debug, Serialize)]
pub struct SharingResult {
    /// How many slots.
    pub slots: usize,
    /// Among how many.
    pub members: usize,
    /// By whom and how.
    pub rows: Vec<SharingRow>,
}

/// How a key was applied.
#[derive(Debug, Serialize)]
pub struct SharingRow {
    /// Whose engine.
    pub engine: &'static str,
    /// Which key.
    pub key: &'static str,
    /// What came of it.
    #[serde(flatten)]
    pub finding: Finding<Shared>,
}

/// What members gave and took over all slots.
#[derive(Debug, Serialize)]
pub struct Shared {
    /// Processor time of the fastest run, seconds.
    pub seconds: f64,
    /// Energy that stays inside, kWh.
    pub total_kwh: f64,
    /// Largest distance of a member's energy to our dynamic key, Wh per slot.
    pub most_apart_wh: f64,
    /// Whether a second run gives everybody the same.
    pub repeats: bool,
    /// Whether meters in another order give everybody the same.
    pub shuffles: bool,
}

/// What each member gave and took over all slots.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Totals {
    given_kwh: Vec<f64>,
    taken_kwh: Vec<f64>,
}

impl Street {
    /// The scenario's first week.
    fn load(folder: &Path) -> anyhow::Result<Self> {
        let scenario = Scenario::load(folder).context("the scenario is refused")?;
        let members: Vec<PointId> =
            scenario.customers.iter().map(|customer| customer.id.clone()).collect();
        let rows = scenario.slots_from(scenario.timeline.first()).min(SLOTS);
        ensure!(rows > 0, "the scenario has no slots");
        let slots = (0..rows).map(|row| {
            let slot = scenario.timeline.slot_of(row).expect("a row of the timeline");
            let metered = members.iter().enumerate().map(|(i, point)| {
                let profile = &scenario.profiles[i];
                let net = wh_of_slot(profile.load(row)) - wh_of_slot(profile.generation(row));
                let flow = Flow {
                    import: Energy::from_wh(net.max(0)),
                    export: Energy::from_wh((-net).max(0)),
                    produced: None,
                };
                Metered {
                    point: point.clone(),
                    rank: rank(0, i),
                    renewable: true,
                    flow: Some(flow),
                }
            });
            (slot, metered.collect())
        });
        let slots = slots.collect();
        Ok(Self { members, slots })
    }

    /// Writes the meters: slot, member's number, Wh out and in.
    fn write(&self, path: &Path, backwards: bool) -> anyhow::Result<()> {
        let mut file = csv::Writer::from_path(path)?;
        file.write_record(["slot", "member", "export_wh", "import_wh"])?;
        for (slot, metered) in &self.slots {
            let mut rows: Vec<(usize, &Metered)> = metered.iter().enumerate().collect();
            if backwards {
                rows.reverse();
            }
            for (member, metered) in rows {
                let flow = metered.flow.expect("all are read");
                let numbers = [slot.number(), member as i64, flow.export.wh(), flow.import.wh()];
                file.write_record(numbers.map(|number| number.to_string()))?;
            }
        }
        Ok(file.flush()?)
    }

    /// Our own keys; the dynamic one first.
    fn ours(&self) -> anyhow::Result<(Vec<SharingRow>, Totals)> {
        let dynamic = self.allocated(&Key::ProRata, false)?;
        let mut rows = Vec::new();
        for (key, name) in [
            (Key::ProRata, "dynamic"),
            (self.equal_keys(1)?, "static"),
            (self.equal_keys(3)?, "static x3"),
        ] {
            tracing::info!("streetwatt: sharing by a {name} key");
            let first = self.allocated(&key, false)?;
            let budget = Duration::from_millis(500);
            let seconds = cpu_best(budget, || self.allocated(&key, false)).as_secs_f64();
            let again = [self.allocated(&key, false)?, self.allocated(&key, true)?];
            let shared =
                Shared::new(seconds, [&first, &again[0], &again[1]], &dynamic, self.slots.len());
            rows.push(SharingRow {
                engine: "streetwatt",
                key: name,
                finding: Finding::Judged(shared),
            });
        }
        Ok((rows, dynamic))
    }

    /// The same part for everybody.
    fn equal_keys(&self, rounds: u8) -> anyhow::Result<Key> {
        let count = u32::try_from(self.members.len())?;
        let total = market::sharing::KEYS_TOTAL;
        let part = |i: usize| total / count + u32::from((i as u32) < total % count);
        let keys: BTreeMap<PointId, u32> =
            self.members.iter().cloned().enumerate().map(|(i, point)| (point, part(i))).collect();
        Ok(Key::Static { keys: Keys::new(keys)?, rounds: Rounds::new(rounds)? })
    }

    /// What everybody gives and takes by a key.
    fn allocated(&self, key: &Key, backwards: bool) -> anyhow::Result<Totals> {
        let mut totals: BTreeMap<&PointId, (i64, i64)> =
            self.members.iter().map(|point| (point, (0, 0))).collect();
        for (slot, metered) in &self.slots {
            let allocation = if backwards {
                let mut metered = metered.clone();
                metered.reverse();
                allocate(key, *slot, &metered, &[])?
            } else {
                allocate(key, *slot, metered, &[])?
            };
            for line in &allocation.lines {
                let (given, taken) = totals.get_mut(&line.point).expect("a member");
                *given += line.given.wh();
                *taken += line.taken.wh();
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let kwh = |wh: i64| wh as f64 / 1e3;
        let sums = || self.members.iter().map(|point| totals[point]);
        Ok(Totals {
            given_kwh: sums().map(|(given, _)| kwh(given)).collect(),
            taken_kwh: sums().map(|(_, taken)| kwh(taken)).collect(),
        })
    }
}

impl Shared {
    fn new(
        seconds: f64,
        [first, again, shuffled]: [&Totals; 3],
        dynamic: &Totals,
        slots: usize,
    ) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a figure to read")]
        let slots = slots as f64;
        Self {
            seconds,
            total_kwh: first.taken_kwh.iter().sum(),
            most_apart_wh: first.apart(dynamic) * 1e3 / slots,
            repeats: first.apart(again) < 1e-6,
            shuffles: first.apart(shuffled) < 1e-6,
        }
    }
}

impl Totals {
    /// Largest distance of a member, kWh.
    fn apart(&self, other: &Self) -> f64 {
        let most = |one: &[f64], two: &[f64]| {
            if one.len() != two.len() {
                return f64::INFINITY;
            }
            one.iter().zip(two).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
        };
        most(&self.given_kwh, &other.given_kwh).max(most(&self.taken_kwh, &other.taken_kwh))
    }
}

/// Shares a week of the scenario by our keys and by the peer's.
pub(super) fn compare(setup: &Setup, scratch: &Path) -> anyhow::Result<SharingResult> {
    let street = Street::load(&setup.scenario)?;
    let (mut rows, dynamic) = street.ours()?;
    let (plain, mixed) = (scratch.join("meters.csv"), scratch.join("meters-mixed.csv"));
    street.write(&plain, false)?;
    street.write(&mixed, true)?;
    tracing::info!("ec-data-analysis: sharing");
    let mut asked = Asked::new(setup.home("ec", "ec"), setup);
    let slots = street.slots.len();
    let finding = match asked.ask::<Totals>("fair", (&plain, &mixed)) {
        Ok((seconds, [first, again, shuffled])) => {
            Finding::Judged(Shared::new(seconds, [&first, &again, &shuffled], &dynamic, slots))
        }
        Err(error) => Finding::Nothing { error },
    };
    rows.push(SharingRow { engine: "ec-data-analysis 0.9.1", key: "dynamic", finding });
    Ok(SharingResult { slots, members: street.members.len(), rows })
}
