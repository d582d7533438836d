//! Households: what each has traded, paid and proven.

use std::collections::BTreeMap;
use std::time::Duration;

use ::chain::At;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use units::{PointId, Slot};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::anchors::AnchorSummary;
use super::error::{ApiError, ErrorView};
use super::meter::{MeterView, QUALITY_MISSING};
use super::sharing::StatementSharingView;
use super::street::{day_of, enrolled};
use crate::config::HouseholdConfig;
use crate::live::Seen;
use crate::store::read::{AllTime, StatementRow, VersionRow};

/// Statements on a household's page: a day.
const STATEMENTS: u32 = 96;
/// What happened to a meter, on its household's page.
const EVENTS: u32 = 50;
/// How long the chain may take to say what was claimed.
const CHAIN_PATIENCE: Duration = Duration::from_secs(2);

/// Whether a household's own agent agrees with its bills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuditState {
    /// The newest bill, or the one before it, was verified, and none of the day failed.
    Verified,
    /// A bill of the day failed.
    Failed,
    /// Nothing newer was heard.
    Waiting,
}

/// All households.
#[derive(Serialize, ToSchema)]
pub struct HouseholdsView {
    /// In the order of the enrolment.
    households: Vec<HouseholdSummary>,
}

/// One household.
#[derive(Serialize, ToSchema)]
pub struct HouseholdSummary {
    /// Metering point.
    point: String,
    /// What it calls itself.
    name: String,
    /// `household` or `business`.
    kind: String,
    /// `pv`, `battery`, `heat_pump`, `ev`.
    devices: Vec<String>,
    /// Bus of the feeder.
    bus: Option<String>,
    /// The newest live message; null before the first.
    live: Option<LiveView>,
    /// Since midnight UTC.
    today: HouseholdDay,
    /// Energy that earned rewards since midnight UTC.
    reward_wh: i64,
    /// What its own agent says about its bills.
    audit: AuditState,
}

/// What a household's devices show; null is unknown, not zero.
#[derive(Serialize, ToSchema)]
pub struct LiveView {
    /// Milliseconds of market time since it was heard.
    age_ms: i64,
    /// At the grid connection, positive = buying.
    power_w: Option<i64>,
    /// Production.
    pv_w: Option<i64>,
    /// Battery, positive = charging.
    battery_w: Option<i64>,
    /// State of charge in tenths of a percent.
    soc_permille: Option<i64>,
    /// Line to neutral, mV.
    voltage_mv: Option<i64>,
}

/// A household's day. Positive amounts were paid, negative ones received.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
pub struct HouseholdDay {
    /// Bought in auctions.
    bought_wh: i64,
    /// Sold in auctions.
    sold_wh: i64,
    /// Metered import that no neighbour provided.
    grid_import_wh: i64,
    /// Metered export that no neighbour used.
    grid_export_wh: i64,
    /// Sum of the bills.
    amount_nano: i64,
    /// What the community saved it: the same energy with the supplier alone, less the bills.
    saved_nano: i64,
}

/// One household in full.
#[derive(Serialize, ToSchema)]
pub struct HouseholdView {
    /// As in the list of all households.
    #[serde(flatten)]
    summary: HouseholdSummary,
    /// The newest 96 statements, newest first.
    statements: Vec<StatementView>,
    /// Since the beginning.
    totals: TotalsView,
    /// Account that earns its rewards.
    payout: String,
    /// All rewards so far, a decimal number of 10^-18 tokens.
    reward_total: String,
    /// Anchored and not yet claimed; null while the chain does not answer.
    claimable: Option<String>,
    /// Claimed so far; null while the chain does not answer.
    claimed: Option<String>,
    /// Its meter.
    meter: MeterView,
}

/// Everything ever settled with a household.
#[derive(Serialize, ToSchema)]
pub struct TotalsView {
    /// Settled slots.
    slots: u64,
    /// Metered import.
    import_wh: i64,
    /// Metered export.
    export_wh: i64,
    /// Bought in auctions.
    bought_wh: i64,
    /// Sold in auctions.
    sold_wh: i64,
    /// Sum of the bills.
    amount_nano: i64,
    /// What the community saved it.
    saved_nano: i64,
    /// Energy that earned rewards.
    reward_wh: i64,
}

/// One bill. Positive amounts are paid, negative ones received.
#[derive(Serialize, ToSchema)]
pub struct StatementView {
    /// The slot.
    slot: i64,
    /// Its first moment, Unix milliseconds.
    start_ms: i64,
    /// Which settlement of the slot this is, from 1: the newest.
    version: u32,
    /// All settlements of the slot, the first one first; empty when there was only one.
    versions: Vec<VersionView>,
    /// Whether the meter is known.
    measured: bool,
    /// How its registers came about: `measured`, `bridged`, `integrated`, `substituted`, or `missing`.
    quality: String,
    /// Metered import.
    import_wh: i64,
    /// Metered export.
    export_wh: i64,
    /// Bought in the auction.
    bought_wh: i64,
    /// Sold in the auction.
    sold_wh: i64,
    /// Price of local energy; null when nothing was local.
    price: Option<i64>,
    /// The supplier's price.
    retail: i64,
    /// What the supplier paid.
    feed_in: i64,
    /// Import that neighbours provided.
    local_import_wh: i64,
    /// Export that neighbours used.
    local_export_wh: i64,
    /// Import that the supplier provided.
    grid_import_wh: i64,
    /// Export that the supplier took.
    grid_export_wh: i64,
    /// Import of earlier slots that became known only now.
    late_import_wh: i64,
    /// Export of earlier slots that became known only now.
    late_export_wh: i64,
    /// The bill.
    amount_nano: i64,
    /// What the same energy would have cost with the supplier alone.
    alone_nano: i64,
    /// How the energy was shared; null where the auction alone says all.
    sharing: Option<StatementSharingView>,
    /// Energy that earned rewards.
    reward_wh: i64,
    /// What its own agent found; null while it has not said.
    audit: Option<AuditView>,
    /// Position of the slot's header in the log.
    log_index: u64,
    /// Epoch on the chain that contains the slot, once it is final.
    anchored_seq: Option<u64>,
}

/// One settlement of a slot: the first at the deadline, the next when a meter had come late.
#[derive(Serialize, ToSchema)]
pub struct VersionView {
    /// Counts from 1.
    version: u32,
    /// When it was settled, Unix milliseconds of market time.
    time_ms: i64,
    /// Whether the household's own meter was there.
    measured: bool,
    /// Meters that were missing, of all households.
    missing: u32,
    /// The bill as it was then.
    amount_nano: i64,
    /// Position of its header in the log.
    log_index: u64,
    /// The slot with or before whose first settlement it was entered into the log, up to which a
    /// bundle has to go to contain it; null while that is not settled.
    found_in: Option<i64>,
}

/// Which version.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ProofQuery {
    /// Which settlement of the slot, from 1; the newest when absent.
    version: Option<u32>,
}

/// A household's verdict on one bill.
#[derive(Serialize, ToSchema)]
pub struct AuditView {
    /// Whether everything held.
    verified: bool,
    /// What did not.
    reason: String,
    /// When.
    time_ms: i64,
}

/// A bill with all its proofs.
#[derive(Serialize, ToSchema)]
pub struct ProofView {
    /// Statement, position, path, header, log_path and checkpoint, as sent to the household.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    delivery: BTreeMap<String, Value>,
    /// The epoch that contains the slot, in whatever state.
    anchor: Option<AnchorSummary>,
}

/// All households
#[utoipa::path(get, path = "/api/v1/households", responses((status = 200, body = HouseholdsView)))]
pub async fn households(api: web::Data<Api>) -> Result<HttpResponse, ApiError> {
    let now_ms = api.clock.now_ms();
    let slot = Slot::at_ms(now_ms);
    let newest = api.reader.last_settled().await?;
    let mut rows: BTreeMap<String, Vec<StatementRow>> = BTreeMap::new();
    // The audit looks back 96 slots, the sums to midnight: one question covers both.
    for row in api.reader.statements_between(slot.offset(1 - Slot::PER_DAY), slot).await? {
        rows.entry(row.statement.point.clone()).or_default().push(row);
    }
    let households = api
        .config
        .households
        .iter()
        .map(|home| {
            let rows = rows.remove(home.point.as_str()).unwrap_or_default();
            summary(&api, home, &rows, newest, now_ms)
        })
        .collect();
    Ok(HttpResponse::Ok().json(HouseholdsView { households }))
}

/// One household with its statements
#[utoipa::path(
    get,
    path = "/api/v1/households/{point}",
    params(("point" = String, Path, description = "Metering point")),
    responses((status = 200, body = HouseholdView), (status = 404, body = ErrorView))
)]
pub async fn household(
    api: web::Data<Api>,
    path: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let point = enrolled(&api, &path)?;
    let home = api.config.households.iter().find(|home| home.point == point);
    let home = home.expect("it is enrolled");
    let now_ms = api.clock.now_ms();
    let newest = api.reader.last_settled().await?;
    let rows = api.reader.statements(&point, None, STATEMENTS).await?;
    let meter = api.reader.meters().await?.into_iter().find(|meter| meter.point == point);
    let events = api.reader.meter_events(&point, EVENTS).await?;
    let (claimable, claimed) = claims(&api, home).await?;
    Ok(HttpResponse::Ok().json(HouseholdView {
        summary: summary(&api, home, &rows, newest, now_ms),
        totals: api.reader.all_time(&point).await?.into(),
        payout: home.payout.to_string(),
        reward_total: meter.as_ref().map_or(0, |meter| meter.reward_total).to_string(),
        claimable: claimable.map(|tokens| tokens.to_string()),
        claimed: claimed.map(|tokens| tokens.to_string()),
        meter: MeterView::new(meter, events),
        statements: statement_views(&api, &point, rows).await?,
    }))
}

/// Bills, each with all its versions.
async fn statement_views(
    api: &Api,
    point: &PointId,
    rows: Vec<StatementRow>,
) -> Result<Vec<StatementView>, ApiError> {
    let mut views: Vec<StatementView> = rows.into_iter().map(StatementView::from).collect();
    let slots = || views.iter().map(|view| Slot::new(view.slot));
    let (Some(first), Some(last)) = (slots().min(), slots().max()) else { return Ok(views) };
    let mut versions: BTreeMap<i64, Vec<VersionView>> = BTreeMap::new();
    for row in api.reader.versions(point, first, last).await? {
        versions.entry(row.statement.slot).or_default().push(row.into());
    }
    let mut qualities = api.reader.qualities(point, first, last).await?;
    for view in &mut views {
        if let Some(quality) = qualities.remove(&view.slot).filter(|_| view.measured) {
            view.quality = quality;
        }
        view.versions = versions.remove(&view.slot).unwrap_or_default();
    }
    Ok(views)
}

/// One bill with everything that proves it
#[utoipa::path(
    get,
    path = "/api/v1/households/{point}/proof/{slot}",
    params(
        ("point" = String, Path, description = "Metering point"),
        ("slot" = i64, Path, description = "Quarter-hours since 1970-01-01T00:00Z"),
        ProofQuery,
    ),
    responses((status = 200, body = ProofView), (status = 404, body = ErrorView))
)]
pub async fn proof(
    api: web::Data<Api>,
    path: web::Path<(String, i64)>,
    query: web::Query<ProofQuery>,
) -> Result<HttpResponse, ApiError> {
    let (name, slot) = path.into_inner();
    let (point, slot) = (enrolled(&api, &name)?, Slot::new(slot));
    let delivery = api.reader.delivery(&point, slot, query.version).await?;
    let Some(Value::Object(delivery)) = delivery else {
        let version = query.version.map(|version| format!("version {version} of "));
        return Err(ApiError::not_found(
            "no_such_statement",
            format!(
                "{}slot {} ({slot}) is not settled for {point}",
                version.unwrap_or_default(),
                slot.number()
            ),
            "a slot is settled when all meters are read or the metering deadline has passed",
        ));
    };
    let index = delivery.get("header").and_then(|header| header.get("index")?.as_u64());
    let anchor = match index {
        Some(index) => api.reader.anchor_of(index).await?.map(AnchorSummary::from),
        None => None,
    };
    let delivery = delivery.into_iter().collect();
    Ok(HttpResponse::Ok().json(ProofView { delivery, anchor }))
}

fn summary(
    api: &Api,
    home: &HouseholdConfig,
    rows: &[StatementRow],
    newest: Option<Slot>,
    now_ms: i64,
) -> HouseholdSummary {
    let midnight = day_of(Slot::at_ms(now_ms)).number();
    let mut today = HouseholdDay::default();
    let mut reward_wh = 0;
    for row in rows.iter().filter(|row| row.statement.slot >= midnight) {
        today.bought_wh += row.statement.bought_wh;
        today.sold_wh += row.statement.sold_wh;
        today.grid_import_wh += row.statement.import_wh - row.local_import().wh();
        today.grid_export_wh += row.statement.export_wh - row.local_export().wh();
        today.amount_nano += row.statement.amount;
        today.saved_nano += row.alone.nano() - row.statement.amount;
        reward_wh += row.statement.reward_wh;
    }
    HouseholdSummary {
        point: home.point.to_string(),
        name: home.name.clone().unwrap_or_else(|| home.point.to_string()),
        kind: home.kind.clone(),
        devices: home.devices.clone(),
        bus: home.bus.as_ref().map(ToString::to_string),
        live: api.board.seen(&home.point).map(|seen| LiveView::new(&seen, now_ms)),
        today,
        reward_wh,
        audit: audit_state(rows, newest),
    }
}

fn audit_state(rows: &[StatementRow], newest: Option<Slot>) -> AuditState {
    let audits = || rows.iter().filter_map(|row| Some((row.statement.slot, row.audit.as_ref()?)));
    if audits().any(|(_, audit)| !audit.verified) {
        return AuditState::Failed;
    }
    match (newest, audits().map(|(slot, _)| slot).max()) {
        (Some(newest), Some(audited)) if audited >= newest.previous().number() => {
            AuditState::Verified
        }
        _ => AuditState::Waiting,
    }
}

/// What can be claimed and what was, when the chain answers in time.
async fn claims(
    api: &Api,
    home: &HouseholdConfig,
) -> Result<(Option<u128>, Option<u128>), ApiError> {
    let chain = api.chain.borrow().clone();
    let Some(chain) = chain else { return Ok((None, None)) };
    let anchored = api.reader.anchored_reward(home.payout).await?;
    let question = chain.deployment.claimed(&*chain.chain, home.payout, At::Latest);
    match tokio::time::timeout(CHAIN_PATIENCE, question).await {
        Ok(Ok(claimed)) => Ok((Some(anchored.saturating_sub(claimed)), Some(claimed))),
        Ok(Err(error)) => {
            tracing::warn!(%error, point = %home.point, "the chain does not say what was claimed");
            Ok((None, None))
        }
        Err(_) => {
            tracing::warn!(point = %home.point, "the chain took too long to say what was claimed");
            Ok((None, None))
        }
    }
}

impl LiveView {
    fn new(seen: &Seen, now_ms: i64) -> Self {
        let live = &seen.live;
        let first = |values: &[i64]| values.first().copied();
        Self {
            age_ms: (now_ms - seen.received_ms).max(0),
            power_w: first(&live.power_w),
            pv_w: first(&live.pv_w),
            battery_w: first(&live.battery_w),
            soc_permille: first(&live.soc_permille),
            voltage_mv: first(&live.voltage_mv),
        }
    }
}

impl From<StatementRow> for StatementView {
    fn from(row: StatementRow) -> Self {
        let (local_import_wh, local_export_wh) = (row.local_import().wh(), row.local_export().wh());
        let StatementRow { statement, retail, feed_in, alone, log_index, audit, anchored_seq } =
            row;
        Self {
            slot: statement.slot,
            start_ms: Slot::new(statement.slot).start_ms(),
            version: statement.version,
            versions: Vec::new(),
            measured: statement.measured,
            quality: QUALITY_MISSING.to_owned(),
            import_wh: statement.import_wh,
            export_wh: statement.export_wh,
            bought_wh: statement.bought_wh,
            sold_wh: statement.sold_wh,
            price: statement.price.first().copied(),
            retail: retail.nano_per_wh(),
            feed_in: feed_in.nano_per_wh(),
            local_import_wh,
            local_export_wh,
            grid_import_wh: statement.import_wh - local_import_wh,
            grid_export_wh: statement.export_wh - local_export_wh,
            late_import_wh: statement.late.iter().map(|line| line.import_wh).sum(),
            late_export_wh: statement.late.iter().map(|line| line.export_wh).sum(),
            amount_nano: statement.amount,
            alone_nano: alone.nano(),
            sharing: statement.sharing.first().map(StatementSharingView::from),
            reward_wh: statement.reward_wh,
            audit: audit.map(|audit| AuditView {
                verified: audit.verified,
                reason: audit.reason,
                time_ms: audit.time_ms,
            }),
            log_index,
            anchored_seq,
        }
    }
}

impl From<VersionRow> for VersionView {
    fn from(row: VersionRow) -> Self {
        let VersionRow { statement, missing, log_index, found_in, time_ms } = row;
        Self {
            version: statement.version,
            time_ms,
            measured: statement.measured,
            missing,
            amount_nano: statement.amount,
            log_index,
            found_in: found_in.map(Slot::number),
        }
    }
}

impl From<AllTime> for TotalsView {
    fn from(all: AllTime) -> Self {
        Self {
            slots: all.slots,
            import_wh: all.import.wh(),
            export_wh: all.export.wh(),
            bought_wh: all.bought.wh(),
            sold_wh: all.sold.wh(),
            amount_nano: all.amount.nano(),
            saved_nano: (all.alone - all.amount).nano(),
            reward_wh: all.reward.wh(),
        }
    }
}
