//! The street at a glance: what flows now, what is offered next, what today has brought.

use actix_web::{HttpResponse, web};
use market::LadderCounts;
use serde::Serialize;
use units::{PointId, Slot};
use utoipa::ToSchema;

use super::anchors::AnchorSummary;
use super::error::ApiError;
use super::sharing::SharingView;
use super::slots::SlotSummary;
use super::{Api, ChainKind};
use crate::live::{Flows, Present};

/// The street now.
#[derive(Serialize, ToSchema)]
pub struct StreetView {
    /// Name of the community.
    community: String,
    /// ISO 4217 code of all money.
    currency: String,
    /// Market time, Unix milliseconds.
    now_ms: i64,
    /// Market milliseconds per real millisecond; 1 on a real street.
    speed: f64,
    /// The present slot.
    slot: i64,
    /// Its first moment.
    slot_start_ms: i64,
    /// The first moment after it.
    slot_end_ms: i64,
    /// What flows now.
    live: StreetLive,
    /// Slots that can be ordered for.
    offers: Vec<OfferView>,
    /// The newest settled slot; before the first one, the newest cleared slot.
    last: Option<SlotSummary>,
    /// The newest slot whose auction is over.
    last_cleared: Option<SlotSummary>,
    /// Since midnight UTC.
    today: TodayView,
    /// How the slots ever cleared were answered.
    ladder: LadderView,
    /// How members share.
    sharing: SharingView,
    /// The newest epoch, in whatever state.
    anchor: Option<AnchorSummary>,
    /// The contracts; null until they are deployed.
    chain: Option<ChainView>,
    /// Messages that were not accepted.
    refusals: RefusalTotal,
}

/// Sums of the newest live messages. Null while no household reports; households that have been
/// silent for 15 seconds are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct StreetLive {
    /// Age of the newest message, milliseconds of market time.
    age_ms: Option<i64>,
    /// Households that report.
    reporting: usize,
    /// Households there are.
    households: usize,
    /// Production.
    pv_w: Option<i64>,
    /// Use of all homes.
    home_w: Option<i64>,
    /// Into batteries.
    battery_charge_w: Option<i64>,
    /// Out of batteries.
    battery_discharge_w: Option<i64>,
    /// From the grid above.
    grid_import_w: Option<i64>,
    /// To the grid above.
    grid_export_w: Option<i64>,
    /// From neighbour to neighbour.
    shared_w: Option<i64>,
}

/// A slot that can be ordered for.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct OfferView {
    /// The slot.
    slot: i64,
    /// Its first moment, Unix milliseconds.
    start_ms: i64,
    /// Orders are accepted before this moment.
    gate_ms: i64,
    /// The supplier's price, nano-currency per Wh.
    retail: i64,
    /// What the supplier pays, nano-currency per Wh.
    feed_in: i64,
}

/// Sums since midnight UTC.
#[derive(Serialize, ToSchema)]
pub struct TodayView {
    /// Settled slots.
    slots: u32,
    /// Metered import.
    import_wh: i64,
    /// Metered export.
    export_wh: i64,
    /// Export that neighbours used.
    local_wh: i64,
    /// What the supplier got, less what it paid.
    paid_to_supplier_nano: i64,
    /// Energy that earned rewards.
    reward_wh: i64,
    /// How the cleared slots of the day were answered.
    ladder: LadderView,
}

/// Slots by the rung of the ladder that answered them: each is a little worse than the one before.
#[derive(Serialize, ToSchema)]
pub struct LadderView {
    /// The linear program, proven.
    lp: u64,
    /// The exact clearing.
    exact: u64,
    /// The exact clearing within each connection's limits: the topology was unknown.
    envelopes: u64,
    /// No market: energy was shared afterwards.
    shared: u64,
    /// Slots below the exact clearing, per million; null before the first slot.
    degraded_ppm: Option<u64>,
}

/// The contracts.
#[derive(Serialize, ToSchema)]
pub struct ChainView {
    /// Where the chain runs.
    kind: ChainKind,
    /// EIP-155 id.
    chain_id: u64,
    /// Address of the registry.
    registry: String,
    /// Address of the anchor.
    anchor: String,
    /// Address of the token.
    token: String,
    /// Address of the reward claims.
    rewards: String,
}

/// Count of refused messages.
#[derive(Serialize, ToSchema)]
pub struct RefusalTotal {
    /// All of them.
    total: u64,
}

/// The street at a glance
#[utoipa::path(get, path = "/api/v1/street", responses((status = 200, body = StreetView)))]
pub async fn street(api: web::Data<Api>) -> Result<HttpResponse, ApiError> {
    let now_ms = api.clock.now_ms();
    let slot = Slot::at_ms(now_ms);
    let span = api.reader.span(day_of(slot), slot).await?;
    let settled = match api.reader.last_settled().await? {
        Some(newest) => api.reader.slot(newest).await?,
        None => None,
    };
    let last_cleared = api.reader.slots(None, 1).await?.pop();
    let anchor = api.reader.anchors(None, 1).await?.pop();
    let total = api.reader.refusal_count().await?;
    Ok(HttpResponse::Ok().json(StreetView {
        community: api.config.community.to_string(),
        currency: api.config.currency.clone(),
        now_ms,
        speed: api.clock.speed(),
        slot: slot.number(),
        slot_start_ms: slot.start_ms(),
        slot_end_ms: slot.end_ms(),
        live: live(&api),
        offers: offers(&api, now_ms),
        last: settled.or_else(|| last_cleared.clone()).map(SlotSummary::from),
        last_cleared: last_cleared.map(SlotSummary::from),
        today: TodayView {
            slots: span.slots,
            import_wh: span.import.wh(),
            export_wh: span.export.wh(),
            local_wh: span.local.wh(),
            paid_to_supplier_nano: span.supplier.nano(),
            reward_wh: span.reward.wh(),
            ladder: api
                .reader
                .ladder(day_of(slot), day_of(slot).offset(Slot::PER_DAY - 1))
                .await?
                .into(),
        },
        ladder: api.reader.ladder_ever().await?.into(),
        sharing: SharingView::of(&api.config),
        anchor: anchor.map(AnchorSummary::from),
        chain: chain(&api),
        refusals: RefusalTotal { total },
    }))
}

/// First slot of the day (UTC) that contains a slot.
pub fn day_of(slot: Slot) -> Slot {
    Slot::new(slot.number().div_euclid(Slot::PER_DAY) * Slot::PER_DAY)
}

/// What flows now.
pub fn live(api: &Api) -> StreetLive {
    let Present { reporting, households, age_ms, flows } = api.board.present(api.clock.now_ms());
    let flow = |part: fn(&Flows) -> i64| flows.as_ref().map(part);
    StreetLive {
        age_ms,
        reporting,
        households,
        pv_w: flow(|flows| flows.pv_w),
        home_w: flow(|flows| flows.home_w),
        battery_charge_w: flow(|flows| flows.battery_charge_w),
        battery_discharge_w: flow(|flows| flows.battery_discharge_w),
        grid_import_w: flow(|flows| flows.grid_import_w),
        grid_export_w: flow(|flows| flows.grid_export_w),
        shared_w: flow(|flows| flows.shared_w),
    }
}

/// What can be ordered for: the coming slot until its gate.
pub fn offers(api: &Api, now_ms: i64) -> Vec<OfferView> {
    let next = Slot::at_ms(now_ms).next();
    if api.config.market.gate_ms(next) > now_ms { vec![offer(api, next)] } else { Vec::new() }
}

/// The supplier's terms and the gate of a slot.
pub fn offer(api: &Api, slot: Slot) -> OfferView {
    let terms = api.tariff.terms(slot);
    OfferView {
        slot: slot.number(),
        start_ms: slot.start_ms(),
        gate_ms: api.config.market.gate_ms(slot),
        retail: terms.retail().nano_per_wh(),
        feed_in: terms.feed_in().nano_per_wh(),
    }
}

impl From<LadderCounts> for LadderView {
    fn from(counts: LadderCounts) -> Self {
        let LadderCounts { lp, exact, envelopes, shared } = counts;
        Self { lp, exact, envelopes, shared, degraded_ppm: counts.degraded_ppm() }
    }
}

fn chain(api: &Api) -> Option<ChainView> {
    let chain = api.chain.borrow();
    let chain = chain.as_ref()?;
    let addresses = &chain.deployment;
    Some(ChainView {
        kind: chain.kind,
        chain_id: chain.chain_id,
        registry: addresses.registry.to_string(),
        anchor: addresses.anchor.to_string(),
        token: addresses.token.to_string(),
        rewards: addresses.rewards.to_string(),
    })
}

/// An enrolled metering point, by the name in a path.
pub fn enrolled(api: &Api, name: &str) -> Result<PointId, ApiError> {
    let point = PointId::new(name).ok();
    let known = |point: &PointId| api.config.households.iter().any(|home| home.point == *point);
    point.filter(known).ok_or_else(|| {
        ApiError::not_found(
            "no_such_household",
            format!("there is no household {name:?}"),
            "see /api/v1/households for all metering points",
        )
    })
}
