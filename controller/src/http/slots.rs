//! Slots: what was traded, what was metered, and the curves behind the price.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use units::{Price, Slot};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::error::{ApiError, ErrorView};
use crate::rules::MemberPrices;
use crate::store::read::{Level, SlotRow};

/// Most slots per answer.
const MAX_SLOTS: u32 = 1_000;

/// How far a slot has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SlotState {
    /// The auction is over; energy is being delivered or metered.
    Cleared,
    /// Metered, billed and in the log.
    Settled,
}

/// How far down the ladder a slot's answer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RungView {
    /// The linear program, proven.
    Lp,
    /// The exact clearing.
    Exact,
    /// The exact clearing within each connection's limits: the topology is unknown.
    Envelopes,
    /// No market: energy is shared afterwards.
    Shared,
}

/// One slot. Prices in nano-currency per Wh; what is not known yet is null.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SlotSummary {
    /// Quarter-hours since 1970-01-01T00:00Z.
    pub slot: i64,
    /// First moment, Unix milliseconds.
    start_ms: i64,
    /// How far it has come.
    pub state: SlotState,
    /// Which settlement of the slot these figures are of: 2 and more when a meter had come late; null
    /// until settled.
    version: Option<u32>,
    /// The supplier's price.
    retail: i64,
    /// What the supplier pays.
    feed_in: i64,
    /// Clearing price; null without a trade.
    price: Option<i64>,
    /// Lowest market-clearing price.
    price_low: Option<i64>,
    /// Highest market-clearing price.
    price_high: Option<i64>,
    /// What members pay and get by a rule without an auction; null with one, and until settled.
    members: Option<MemberPricesView>,
    /// Orders in the book.
    orders: u32,
    /// Energy traded.
    cleared_wh: i64,
    /// `lp`, or `merit order: ` and why.
    method: String,
    /// Which rung of the ladder answered.
    rung: RungView,
    /// Households whose meter was read in time.
    measured: Option<u32>,
    /// Households whose meter was not.
    missing: Option<u32>,
    /// Metered import of all households.
    import_wh: Option<i64>,
    /// Metered export of all households.
    export_wh: Option<i64>,
    /// From the grid above.
    grid_import_wh: Option<i64>,
    /// To the grid above.
    grid_export_wh: Option<i64>,
    /// Export that neighbours used.
    local_wh: Option<i64>,
    /// What metered plants produced.
    pv_wh: Option<i64>,
    /// Epoch on the chain that contains the slot, once it is final.
    anchored_seq: Option<u64>,
}

/// What a Wh costs and earns among members, rounded; bills are exact.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct MemberPricesView {
    /// For what a member takes from the street, the supplier's part of it included.
    buy: i64,
    /// For what a member gives to the street.
    sell: i64,
}

/// Newest slots first.
#[derive(Serialize, ToSchema)]
pub struct SlotsView {
    /// The slots.
    slots: Vec<SlotSummary>,
}

/// One slot with everything public about it.
#[derive(Serialize, ToSchema)]
pub struct SlotView {
    /// The slot.
    #[serde(flatten)]
    summary: SlotSummary,
    /// The book by price.
    curves: CurvesView,
    /// The log entries of all settlements of the slot, the first one first.
    #[schema(value_type = Vec<Object>)]
    versions: Vec<Value>,
    /// The signed log entry of the newest settlement; null until settled.
    #[schema(value_type = Option<Object>)]
    header: Option<Value>,
    /// The operator's signature under the log that ends with this slot; null until settled.
    #[schema(value_type = Option<Object>)]
    checkpoint: Option<Value>,
    /// The clearing as the operator signed it.
    #[schema(value_type = Option<Object>)]
    clearing: Option<Value>,
}

/// The book by price level.
#[derive(Serialize, ToSchema)]
pub struct CurvesView {
    /// Dearest first.
    bids: Vec<LevelView>,
    /// Cheapest first.
    asks: Vec<LevelView>,
}

/// All orders of one side at one limit.
#[derive(Serialize, ToSchema)]
pub struct LevelView {
    /// The limit.
    price: i64,
    /// Energy ordered at it.
    quantity_wh: i64,
}

/// Which slots.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SlotsQuery {
    /// How many, 1 to 1000; 96 when absent.
    limit: Option<u32>,
    /// Only slots before this one.
    before: Option<i64>,
}

/// Slots, newest first
#[utoipa::path(
    get,
    path = "/api/v1/slots",
    params(SlotsQuery),
    responses((status = 200, body = SlotsView), (status = 400, body = ErrorView))
)]
pub async fn slots(
    api: web::Data<Api>,
    query: web::Query<SlotsQuery>,
) -> Result<HttpResponse, ApiError> {
    let limit = limit(query.limit, 96, MAX_SLOTS)?;
    let rows = api.reader.slots(query.before.map(Slot::new), limit).await?;
    let slots = rows.into_iter().map(SlotSummary::from).collect();
    Ok(HttpResponse::Ok().json(SlotsView { slots }))
}

/// One slot, its bid and ask curves and its signatures
#[utoipa::path(
    get,
    path = "/api/v1/slots/{slot}",
    params(("slot" = i64, Path, description = "Quarter-hours since 1970-01-01T00:00Z")),
    responses((status = 200, body = SlotView), (status = 404, body = ErrorView))
)]
pub async fn slot(api: web::Data<Api>, path: web::Path<i64>) -> Result<HttpResponse, ApiError> {
    let number = Slot::new(*path);
    let Some(row) = api.reader.slot(number).await? else {
        return Err(not_cleared(number));
    };
    let (bids, asks) = api.reader.levels(number).await?;
    let view = |levels: Vec<Level>| levels.into_iter().map(LevelView::from).collect();
    let plain = |header| serde_json::to_value(header).expect("headers are plain data");
    let versions = api.reader.headers(number).await?.into_iter().map(plain).collect();
    let header = row.header.clone().map(plain);
    Ok(HttpResponse::Ok().json(SlotView {
        curves: CurvesView { bids: view(bids), asks: view(asks) },
        versions,
        header,
        checkpoint: api.reader.checkpoint(number).await?,
        clearing: api.reader.clearing(number).await?,
        summary: row.into(),
    }))
}

/// A slot whose auction is not over, or never was.
pub fn not_cleared(number: Slot) -> ApiError {
    ApiError::not_found(
        "no_such_slot",
        format!("slot {} ({number}) is not cleared", number.number()),
        "see /api/v1/slots for the newest ones; orders stay sealed until their gate closes",
    )
}

/// A limit within its range.
pub fn limit(asked: Option<u32>, default: u32, most: u32) -> Result<u32, ApiError> {
    match asked.unwrap_or(default) {
        limit if (1..=most).contains(&limit) => Ok(limit),
        other => Err(ApiError::bad_request(
            "bad_limit",
            format!("limit {other} is not between 1 and {most}"),
            "ask for fewer, and page with `before`",
        )),
    }
}

impl From<SlotRow> for SlotSummary {
    fn from(row: SlotRow) -> Self {
        let header = row.header.as_ref();
        let total = |part: fn(&protocol::Totals) -> i64| header.map(|h| part(&h.totals));
        Self {
            slot: row.slot.number(),
            start_ms: row.slot.start_ms(),
            state: if header.is_some() { SlotState::Settled } else { SlotState::Cleared },
            version: header.map(|header| header.version),
            retail: row.retail.nano_per_wh(),
            feed_in: row.feed_in.nano_per_wh(),
            price: row.price.map(Price::nano_per_wh),
            price_low: row.interval.map(|(low, _)| low.nano_per_wh()),
            price_high: row.interval.map(|(_, high)| high.nano_per_wh()),
            members: header.and_then(|header| MemberPrices::of(&row.method, header)).map(
                |prices| MemberPricesView {
                    buy: prices.buy.nano_per_wh(),
                    sell: prices.sell.nano_per_wh(),
                },
            ),
            orders: row.orders,
            cleared_wh: row.cleared.wh(),
            measured: header.map(|header| header.statements.saturating_sub(header.missing)),
            missing: header.map(|header| header.missing),
            import_wh: total(|totals| totals.import_wh),
            export_wh: total(|totals| totals.export_wh),
            grid_import_wh: total(|totals| totals.grid_import_wh),
            grid_export_wh: total(|totals| totals.grid_export_wh),
            local_wh: total(|totals| totals.local_wh),
            pv_wh: row.produced.map(units::Energy::wh),
            anchored_seq: row.anchored_seq,
            rung: row.rung.into(),
            method: row.method,
        }
    }
}

impl From<market::Rung> for RungView {
    fn from(rung: market::Rung) -> Self {
        match rung {
            market::Rung::Lp => Self::Lp,
            market::Rung::Exact => Self::Exact,
            market::Rung::Envelopes => Self::Envelopes,
            market::Rung::Shared => Self::Shared,
        }
    }
}

impl From<Level> for LevelView {
    fn from(level: Level) -> Self {
        Self { price: level.price.nano_per_wh(), quantity_wh: level.quantity.wh() }
    }
}
