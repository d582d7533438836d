//! The low-voltage network as the meters see it now: voltages and loadings from a power flow over
//! the households' live powers.

use std::collections::BTreeMap;

use ::feeder::{BusPower, Network, PowerFlow};
use actix_web::{HttpResponse, web};
use serde::Serialize;
use units::PointId;
use utoipa::ToSchema;

use super::Api;
use super::error::{ApiError, ErrorView};
use crate::config::HouseholdConfig;

/// EN 50160: the voltage at a customer stays within ±10 % of its nominal value.
const LOW_PU: f64 = 0.9;
/// See [`LOW_PU`].
const HIGH_PU: f64 = 1.1;

/// The network now.
#[derive(Serialize, ToSchema)]
pub struct FeederView {
    /// Where the numbers come from.
    source: String,
    /// Age of the newest live message, milliseconds of market time; null for a slot of the past.
    age_ms: Option<i64>,
    /// Households on the network that report.
    reporting: usize,
    /// Households on the network.
    households: usize,
    /// All buses, the ones nearer to the grid above first.
    buses: Vec<BusView>,
    /// All lines and transformers.
    branches: Vec<BranchView>,
    /// What voltages are compared with.
    limits: LimitsView,
}

/// A bus.
#[derive(Serialize, ToSchema)]
pub struct BusView {
    /// Its name.
    id: String,
    /// The bus that feeds it; null for a bus of the grid above.
    parent: Option<String>,
    /// Branches from the grid above.
    depth: usize,
    /// Voltage per unit; null while unknown.
    vm_pu: Option<f64>,
    /// The voltage against the limits.
    band: Band,
    /// Metering points connected here.
    points: Vec<String>,
}

/// A voltage against the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Band {
    /// Within the limits.
    Ok,
    /// Below.
    Low,
    /// Above.
    High,
    /// A household at this bus does not report.
    Unknown,
}

/// A line or a transformer.
#[derive(Serialize, ToSchema)]
pub struct BranchView {
    /// Its name.
    id: String,
    /// The bus on the side of the grid above.
    from: String,
    /// The bus that it feeds.
    to: String,
    /// `line` or `transformer`.
    #[schema(example = "line")]
    kind: &'static str,
    /// Length; null for a transformer, and when the network's files do not give it.
    length_m: Option<f64>,
    /// Power entering at `from`; negative = towards the grid above.
    p_w: Option<i64>,
    /// Current over what it may carry for ever.
    loading_percent: Option<f64>,
    /// What it may carry for ever; null for a transformer.
    max_a: Option<f64>,
}

/// What voltages are compared with.
#[derive(Serialize, ToSchema)]
pub struct LimitsView {
    /// Lowest voltage.
    low_pu: f64,
    /// Highest voltage.
    high_pu: f64,
}

/// The network with voltages and loadings
#[utoipa::path(
    get,
    path = "/api/v1/feeder",
    responses((status = 200, body = FeederView), (status = 404, body = ErrorView))
)]
pub async fn feeder(api: web::Data<Api>) -> Result<HttpResponse, ApiError> {
    let Some(network) = &api.network else { return Err(no_feeder()) };
    let now_ms = api.clock.now_ms();
    let fresh = api.board.fresh(now_ms);
    let live = |point: &PointId| fresh.get(point)?.live.power_w.first().copied();
    let state = State::of(&api, network, |home| home.bus.as_ref().map(ToString::to_string), live);
    let mut view = state.view(network);
    view.age_ms = api.board.present(now_ms).age_ms;
    Ok(HttpResponse::Ok().json(view))
}

/// The network is not known.
pub(super) fn no_feeder() -> ApiError {
    ApiError::not_found(
        "no_feeder",
        "the network of this street is not known".to_owned(),
        "name the folder with buses.csv, lines.csv, transformers.csv and slack.csv in \
         [feeder] dir",
    )
}

/// What is known about every bus.
pub(super) struct State {
    /// Metering points by bus index.
    points: Vec<Vec<String>>,
    /// Whether every household at the bus reports, by bus index.
    known: Vec<bool>,
    pub(super) flow: Option<PowerFlow>,
    reporting: usize,
    households: usize,
}

impl State {
    /// The power flow of the powers that are known, W from the grid.
    pub(super) fn of(
        api: &Api,
        network: &Network,
        bus_of: impl Fn(&HouseholdConfig) -> Option<String>,
        power_of: impl Fn(&PointId) -> Option<i64>,
    ) -> Self {
        let count = network.buses().len();
        let mut points = vec![Vec::new(); count];
        let mut known = vec![true; count];
        let mut powers = vec![BusPower::default(); count];
        let (mut reporting, mut households) = (0, 0);
        for home in &api.config.households {
            let bus = bus_of(home).and_then(|bus| network.bus_index(&bus));
            let Some(bus) = bus else { continue };
            households += 1;
            points[bus].push(home.point.to_string());
            match power_of(&home.point) {
                Some(power_w) => {
                    reporting += 1;
                    powers[bus].p_kw += kilowatts(power_w);
                }
                None => known[bus] = false,
            }
        }
        let flow = (reporting > 0).then(|| network.sweep(&powers));
        let flow = flow.transpose().unwrap_or_else(|error| {
            tracing::warn!(%error, "no power flow for these powers");
            None
        });
        Self { points, known, flow, reporting, households }
    }

    /// As pages see it.
    pub(super) fn view(self, network: &Network) -> FeederView {
        let Self { reporting, households, .. } = self;
        let source =
            format!("calculated from {reporting} of {households} meters, without reactive power");
        let parents: BTreeMap<usize, usize> =
            network.branches().iter().map(|branch| (branch.child, branch.parent)).collect();
        let limits = LimitsView { low_pu: LOW_PU, high_pu: HIGH_PU };
        let branches = self.branches(network, &parents);
        let buses = self.buses(network, &parents);
        FeederView { source, age_ms: None, reporting, households, buses, branches, limits }
    }

    fn buses(mut self, network: &Network, parents: &BTreeMap<usize, usize>) -> Vec<BusView> {
        // Branches are listed after the one that feeds them, so a parent's depth is there first.
        let mut depths = vec![0_usize; network.buses().len()];
        for branch in network.branches() {
            depths[branch.child] = depths[branch.parent] + 1;
        }
        let mut order: Vec<usize> = (0..depths.len()).collect();
        order.sort_by_key(|&bus| (depths[bus], bus));
        order
            .into_iter()
            .map(|bus| {
                let vm_pu = self.flow.as_ref().filter(|_| self.known[bus]);
                let vm_pu = vm_pu.map(|flow| flow.buses[bus].vm_pu);
                BusView {
                    id: network.buses()[bus].id.clone(),
                    parent: parents.get(&bus).map(|&bus| network.buses()[bus].id.clone()),
                    depth: depths[bus],
                    vm_pu: vm_pu.map(rounded),
                    band: band(vm_pu),
                    points: std::mem::take(&mut self.points[bus]),
                }
            })
            .collect()
    }

    fn branches(&self, network: &Network, parents: &BTreeMap<usize, usize>) -> Vec<BranchView> {
        // From the grid above to what it feeds, however the files write it.
        let ends = |a: &str, b: &str| {
            let fed_by_a = network.bus_index(b).and_then(|bus| parents.get(&bus).copied())
                == network.bus_index(a);
            let (from, to) = if fed_by_a { (a, b) } else { (b, a) };
            (from.to_owned(), to.to_owned())
        };
        let lines = network.lines().iter().enumerate().map(|(i, line)| {
            let (from, to) = ends(&line.from_bus, &line.to_bus);
            let flow = self.flow.as_ref().map(|flow| flow.lines[i]);
            BranchView {
                id: line.id.clone(),
                from,
                to,
                kind: "line",
                length_m: line.length_m.map(rounded),
                p_w: flow.map(|flow| watts(flow.p_from_kw)),
                loading_percent: flow.map(|flow| rounded(flow.loading_pct)),
                max_a: Some(rounded(line.max_i_ka * 1_000.0)),
            }
        });
        let transformers = network.transformers().iter().enumerate().map(|(i, transformer)| {
            let (from, to) = ends(&transformer.hv_bus, &transformer.lv_bus);
            let flow = self.flow.as_ref().map(|flow| flow.transformers[i]);
            BranchView {
                id: transformer.id.clone(),
                from,
                to,
                kind: "transformer",
                length_m: None,
                p_w: flow.map(|flow| watts(flow.p_hv_kw)),
                loading_percent: flow.map(|flow| rounded(flow.loading_pct)),
                max_a: None,
            }
        });
        transformers.chain(lines).collect()
    }
}

fn band(vm_pu: Option<f64>) -> Band {
    match vm_pu {
        None => Band::Unknown,
        Some(vm_pu) if vm_pu < LOW_PU => Band::Low,
        Some(vm_pu) if vm_pu > HIGH_PU => Band::High,
        Some(_) => Band::Ok,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a household's power, for display")]
fn kilowatts(power_w: i64) -> f64 {
    power_w as f64 / 1_000.0
}

#[expect(clippy::cast_possible_truncation, reason = "a saturating cast of a display value")]
fn watts(power_kw: f64) -> i64 {
    (power_kw * 1_000.0).round() as i64
}

/// Five digits after the point: more than any meter resolves.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e5).round() / 1e5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voltage_is_judged_by_the_limits_and_unknown_is_not_fine() {
        for (vm_pu, expected) in [
            (None, Band::Unknown),
            (Some(0.899), Band::Low),
            (Some(0.9), Band::Ok),
            (Some(1.1), Band::Ok),
            (Some(1.101), Band::High),
        ] {
            assert_eq!(band(vm_pu), expected, "{vm_pu:?}");
        }
    }
}
