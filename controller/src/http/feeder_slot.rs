//! The network in a slot: what was traded over its branches and what being full cost, and, once the
//! slot is metered, the exact power flow of what was delivered.
//!
//! For the grid's operator, like the live powers of [`super::feeder`]: on a branch behind which one
//! household lives, the flow is what that household has traded.

use std::sync::Arc;

use ::feeder::Network;
use actix_web::{HttpResponse, web};
use market::{Branch, Nodal, Node, Tier, UNCAPPED};
use protocol::Statement;
use serde::Serialize;
use units::{Energy, PointId, Price, Slot};
use utoipa::ToSchema;

use super::Api;
use super::error::{ApiError, ErrorView};
use super::feeder::{FeederView, State, no_feeder, rounded};
use super::slots::not_cleared;
use crate::config::{GridConfig, HouseholdConfig};
use crate::rules::StreetGrid;

/// Watt-hours of a slot per watt.
const SLOTS_PER_HOUR: i64 = 4;
/// Parts per million of a whole.
const WHOLE_PPM: i128 = 1_000_000;

/// The network in one slot.
#[derive(Serialize, ToSchema)]
pub struct FeederSlotView {
    /// Quarter-hours since 1970-01-01T00:00Z.
    slot: i64,
    /// Its first moment, Unix milliseconds.
    start_ms: i64,
    /// What was traded over it; null when the members traded as if at one bus.
    traded: Option<TradedView>,
    /// What was delivered over it; null until the slot is settled, and without a known network.
    delivered: Option<DeliveredView>,
}

/// Trade on the grid.
#[derive(Serialize, ToSchema)]
pub struct TradedView {
    /// Energy that changed hands.
    cleared_wh: i64,
    /// Fees of all flows, nano-currency.
    fees_nano: i64,
    /// What full branches earned beyond their fees, nano-currency.
    congestion_nano: i64,
    /// All branches, the ones nearer to the grid above first.
    branches: Vec<TradedBranchView>,
    /// Price at every bus; null where nothing was traded.
    buses: Vec<BusPriceView>,
}

/// A branch as the market sees it.
#[derive(Serialize, ToSchema)]
pub struct TradedBranchView {
    /// Its name.
    id: String,
    /// The bus on the side of the grid above.
    from: String,
    /// The bus that it feeds.
    to: String,
    /// Energy towards `to`; negative away from it.
    flow_wh: i64,
    /// Most energy towards `to`; null without a limit.
    import_cap_wh: Option<i64>,
    /// Most energy away from `to`; null without a limit.
    export_cap_wh: Option<i64>,
    /// Fee per Wh, either way.
    fee: i64,
    /// Whether it carried all it might.
    full: bool,
    /// What a Wh more through it would have been worth beyond its fee: the price of being full,
    /// nano-currency per Wh; zero unless it is full, null where either end has no price.
    congestion: Option<i64>,
}

/// The price at a bus.
#[derive(Serialize, ToSchema)]
pub struct BusPriceView {
    /// Its name.
    id: String,
    /// What a Wh cost and earned there; null where nothing was traded.
    price: Option<i64>,
}

/// Delivery, as the meters and the power flow have it.
#[derive(Serialize, ToSchema)]
pub struct DeliveredView {
    /// Voltages and loadings for the quarter-hour's average powers.
    #[serde(flatten)]
    feeder: FeederView,
    /// Losses by the power flow, Wh; null when it has no solution.
    losses_wh: Option<f64>,
    /// Losses by the fixed shares that the fees were calculated with, Wh; null without `[grid]`.
    assumed_losses_wh: Option<f64>,
    /// Lowest voltage; null while none is known.
    lowest: Option<ExtremeView>,
    /// Highest voltage; null while none is known.
    highest: Option<ExtremeView>,
}

/// A voltage and where it was.
#[derive(Serialize, ToSchema)]
pub struct ExtremeView {
    /// The bus.
    bus: String,
    /// Voltage per unit.
    vm_pu: f64,
}

/// The network in a slot: trade, limits and what they cost, voltages and losses
#[utoipa::path(
    get,
    path = "/api/v1/feeder/{slot}",
    params(("slot" = i64, Path, description = "Quarter-hours since 1970-01-01T00:00Z")),
    responses((status = 200, body = FeederSlotView), (status = 404, body = ErrorView))
)]
pub async fn feeder_slot(
    api: web::Data<Api>,
    path: web::Path<i64>,
) -> Result<HttpResponse, ApiError> {
    let slot = Slot::new(*path);
    let message = api.reader.signed_clearing(slot).await?.ok_or_else(|| not_cleared(slot))?;
    let grid = api.reader.grid(message.body.grid).await?;
    if grid.grid().is_plate() && api.network.is_none() {
        return Err(no_feeder());
    }
    let traded = api.reader.nodal(slot).await?.map(|nodal| traded(&grid, &nodal, &message.body));
    let statements = api.reader.bills_of(slot).await?;
    let delivered = match &api.network {
        Some(network) if !statements.is_empty() => {
            let (api, network) = (api.clone(), Arc::clone(network));
            let solved = web::block(move || delivered(&api, &network, &grid, &statements)).await;
            solved.ok()
        }
        _ => None,
    };
    let (number, start_ms) = (slot.number(), slot.start_ms());
    Ok(HttpResponse::Ok().json(FeederSlotView { slot: number, start_ms, traded, delivered }))
}

fn traded(grid: &StreetGrid, nodal: &Nodal, body: &protocol::Clearing) -> TradedView {
    let branch = |(node, branch): (Node, &Branch)| {
        let flow = nodal.flows.get(node.index()).copied().unwrap_or_default();
        let cap = |cap: Energy| (cap < UNCAPPED).then(|| cap.wh());
        TradedBranchView {
            id: branch.name.clone(),
            from: grid.bus(branch.parent).to_owned(),
            to: grid.bus(node).to_owned(),
            flow_wh: flow.wh(),
            import_cap_wh: cap(branch.import_cap),
            export_cap_wh: cap(branch.export_cap),
            fee: branch.fee.nano_per_wh(),
            full: flow >= branch.import_cap || -flow >= branch.export_cap,
            congestion: nodal.congestion(grid.grid(), node).map(|price| price.nano_per_wh().abs()),
        }
    };
    let bus = |node: Node| BusPriceView {
        id: grid.bus(node).to_owned(),
        price: nodal.prices.get(node.index()).and_then(|at| at.price).map(Price::nano_per_wh),
    };
    TradedView {
        cleared_wh: body.cleared_wh,
        fees_nano: body.grid_fees,
        congestion_nano: body.congestion,
        branches: grid.grid().nodes().skip(1).zip(grid.grid().branches()).map(branch).collect(),
        buses: grid.grid().nodes().map(bus).collect(),
    }
}

fn delivered(
    api: &Api,
    network: &Network,
    grid: &StreetGrid,
    statements: &[Statement],
) -> DeliveredView {
    let net = |point: &PointId| {
        let statement = statements.iter().find(|statement| statement.point == point.as_str());
        let measured = statement.filter(|statement| statement.measured)?;
        Some(measured.import_wh - measured.export_wh)
    };
    // A home is where it was in that slot; without a grid, where it is.
    let bus_of = |home: &HouseholdConfig| match grid.place(&home.point) {
        Some(node) if !grid.grid().is_plate() => Some(grid.bus(node).to_owned()),
        _ => home.bus.as_ref().map(ToString::to_string),
    };
    let power_of = |point: &PointId| net(point).map(|wh| wh.saturating_mul(SLOTS_PER_HOUR));
    let state = State::of(api, network, bus_of, power_of);
    let losses_wh = state.flow.as_ref().map(|flow| rounded(flow.loss_kw * 250.0));
    let extreme = |better: fn(f64, f64) -> bool| {
        let buses = network.buses().iter().zip(&state.flow.as_ref()?.buses);
        let worst = buses.reduce(|a, b| if better(b.1.vm_pu, a.1.vm_pu) { b } else { a })?;
        Some(ExtremeView { bus: worst.0.id.clone(), vm_pu: rounded(worst.1.vm_pu) })
    };
    let (lowest, highest) = (extreme(|new, old| new < old), extreme(|new, old| new > old));
    let rules = api.config.grid.as_ref().filter(|_| !grid.grid().is_plate());
    let assumed_losses_wh = rules.map(|rules| assumed_losses_wh(rules, grid, net));
    let feeder = state.view(network);
    DeliveredView { feeder, losses_wh, assumed_losses_wh, lowest, highest }
}

/// Losses by the fixed share of each tier: of the energy that enters it, at the branch by which a
/// path does, as fees are.
#[expect(clippy::cast_precision_loss, reason = "the energy of a slot, for display")]
fn assumed_losses_wh(
    rules: &GridConfig,
    grid: &StreetGrid,
    net: impl Fn(&PointId) -> Option<i64>,
) -> f64 {
    let mut through = vec![0_i64; grid.grid().size()];
    for (point, node) in grid.homes() {
        through[node.index()] += net(point).unwrap_or_default();
    }
    let mut lost = 0_i128;
    for (i, branch) in grid.grid().branches().iter().enumerate().rev() {
        let flow = through[i + 1];
        through[branch.parent.index()] += flow;
        let above = grid.grid().branch(branch.parent).map(|above| above.tier);
        let share_ppm = match branch.tier {
            Tier::Transformer => rules.transformer_loss_ppm,
            tier if above == Some(tier) => 0,
            Tier::Street => rules.street_loss_ppm,
            Tier::Substation => rules.substation_loss_ppm,
            Tier::Building => 0,
        };
        lost += i128::from(flow).abs() * i128::from(share_ppm);
    }
    rounded(lost as f64 / WHOLE_PPM as f64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use market::Grid;

    use super::*;
    use crate::rules::GridForm;

    #[test]
    fn the_fixed_share_is_taken_where_energy_enters_a_tier() {
        let branch = |name: &str, parent: Node, tier| Branch {
            name: name.to_owned(),
            parent,
            import_cap: UNCAPPED,
            export_cap: UNCAPPED,
            fee: Price::ZERO,
            tier,
        };
        let point = |name: &str| PointId::new(name).expect("valid");
        let branches = vec![
            branch("T", Node::ROOT, Tier::Transformer),
            branch("L1", Node(1), Tier::Street),
            branch("L2", Node(2), Tier::Street),
        ];
        let form = GridForm {
            buses: ["B0", "B1", "B2", "B3"].map(str::to_owned).to_vec(),
            grid: Grid::new(branches).expect("a tree"),
            homes: BTreeMap::from([
                (point("A"), "B2".to_owned()),
                (point("B"), "B3".to_owned()),
                (point("C"), "B3".to_owned()),
            ]),
        };
        let grid = StreetGrid::new(form).expect("everybody is somewhere");
        let rules = GridConfig {
            transformer_loss_ppm: 10_000,
            street_loss_ppm: 20_000,
            ..GridConfig::default()
        };
        // 60 Wh net come through the transformer and the first cable; C is silent.
        let net = |home: &PointId| match home.as_str() {
            "A" => Some(100),
            "B" => Some(-40),
            _ => None,
        };
        let lost = assumed_losses_wh(&rules, &grid, net);
        assert!((lost - (0.6 + 1.2)).abs() < 1e-9, "{lost}");
    }
}
