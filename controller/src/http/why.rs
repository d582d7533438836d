//! Why a slot's price was what it was for one household: the question that is asked first.
//!
//! The slot's auction is rebuilt from the signed record ([`crate::hindsight`]) and explained to one
//! metering point ([`market::why`]). Other people's orders are told by side and limit only; of a
//! full branch, what it carries and which way, and not even that when so few live behind it that it
//! would tell what one of them has traded.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use market::why::{FullBranch, OrderWhy, Rest, SetBy, StepWhy, Why};
use market::{Node, Order, PriceParts, Side};
use protocol::Domain;
use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit};
use units::{Energy, PointId, Price, Slot};
use utoipa::ToSchema;

use super::Api;
use super::error::{ApiError, ErrorView};
use super::slots::{RungView, not_cleared};
use super::street::enrolled;
use crate::hindsight::{Hindsight, Past};
use crate::store::read::ReadFault;

/// Rebuilt slots that are kept: the newest ones are asked about most.
const KEPT_SLOTS: usize = 8;
/// Explanations at the same time.
static EXPLAINING: Semaphore = Semaphore::const_new(2);
/// Requests for one that may wait: every page asks when a slot is settled.
static WAITING: Semaphore = Semaphore::const_new(128);
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// Fewest members behind a full branch whose flow is told.
const CROWD: u32 = 3;

/// Slots that were rebuilt lately. A cleared slot never changes.
#[derive(Clone, Default)]
pub(super) struct Shelf(Arc<Mutex<Kept>>);

/// The newest first.
type Kept = VecDeque<(Slot, Arc<Hindsight>)>;

/// Why a slot went as it did for one household. Prices in nano-currency per Wh.
#[derive(Serialize, ToSchema)]
pub struct WhyView {
    /// Quarter-hours since 1970-01-01T00:00Z.
    slot: i64,
    /// Its first moment, Unix milliseconds.
    start_ms: i64,
    /// Metering point.
    point: String,
    /// Bus where it is connected; null where all are at one.
    bus: Option<String>,
    /// The supplier's price.
    retail: i64,
    /// What the supplier pays.
    feed_in: i64,
    /// What members pay each other by; only `auction` takes orders.
    rule: String,
    /// Which rung of the ladder answered.
    rung: RungView,
    /// Why there was no market; null when there was one.
    no_market: Option<String>,
    /// What a Wh cost and earned here; null when nothing was traded.
    price: Option<i64>,
    /// What the price is made of.
    parts: Option<PartsView>,
    /// What kept the price from being lower; without a trade, the best bid that reached here.
    low: Option<SetByView>,
    /// What kept the price from being higher; without a trade, the best offer that reached here.
    high: Option<SetByView>,
    /// Full branches around the part of the grid in which this household could trade freely.
    full: Vec<FullBranchView>,
    /// The household's own orders, a purchase before a sale; empty when it sent none.
    orders: Vec<OrderView>,
    /// What would have traded of the energy that was metered, had it been ordered; for a side on
    /// which the household sent no order, once the slot is settled.
    missed: Vec<MissedView>,
}

/// A price as it is made up; the three parts add up to it exactly.
#[derive(Serialize, ToSchema)]
pub struct PartsView {
    /// Bus at which the energy's own price is taken; null where all are at one.
    reference: Option<String>,
    /// The price there.
    energy: i64,
    /// Grid fees from there, negative where energy flows towards it.
    grid_fee: i64,
    /// What full branches on the way add, or take away.
    congestion: i64,
}

/// Buying or selling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SideView {
    /// Buying.
    Buy,
    /// Selling.
    Sell,
}

/// An order that bounds the price here.
#[derive(Serialize, ToSchema)]
pub struct SetByView {
    /// The bound here.
    price: i64,
    /// Side of the order.
    side: SideView,
    /// Its limit where it stands; the way between adds or takes the rest.
    limit: i64,
    /// Whether it was filled up to there, or left with energy that wants to trade.
    filled: bool,
    /// Whether it is this household's own.
    own: bool,
}

/// A branch that carries all it may.
#[derive(Serialize, ToSchema)]
pub struct FullBranchView {
    /// Its name.
    name: String,
    /// Whether it carries energy towards this household; otherwise away from it.
    towards: bool,
    /// What it carries; null when it would tell what single households have traded.
    energy_wh: Option<i64>,
}

/// One of the household's orders.
#[derive(Serialize, ToSchema)]
pub struct OrderView {
    /// Buying or selling.
    side: SideView,
    /// Its steps, the most eager first.
    steps: Vec<StepView>,
}

/// One step of an order.
#[derive(Serialize, ToSchema)]
pub struct StepView {
    /// What was ordered.
    quantity_wh: i64,
    /// The household's limit.
    limit: i64,
    /// What of it was traded.
    filled_wh: i64,
    /// Why the rest was not; null when there is no rest.
    rest: Option<RestView>,
    /// The limit at which more of it would have traded, everybody else's orders as they were; null
    /// when there is no rest, or no limit would have done.
    would_trade_at: Option<i64>,
}

/// Why energy of a step was left over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestView {
    /// The price was worse than the limit.
    Limit,
    /// The limit was the price, and there was not enough for all who had it.
    Volume,
    /// No two orders agreed where the household is.
    NoTrade,
    /// There was no market in the slot.
    NoMarket,
}

/// Energy that was metered on a side without an order.
#[derive(Serialize, ToSchema)]
pub struct MissedView {
    /// The side.
    side: SideView,
    /// What was metered.
    quantity_wh: i64,
    /// The limit at which some of it would have traded; null when none would have done.
    would_trade_at: Option<i64>,
}

/// Why a slot's price was what it was for one household
#[utoipa::path(
    get,
    path = "/api/v1/households/{point}/why/{slot}",
    params(
        ("point" = String, Path, description = "Metering point"),
        ("slot" = i64, Path, description = "Quarter-hours since 1970-01-01T00:00Z"),
    ),
    responses(
        (status = 200, body = WhyView),
        (status = 404, body = ErrorView),
        (status = 503, body = ErrorView, description = "Too many explanations at once"),
    )
)]
pub(super) async fn why(
    api: web::Data<Api>,
    shelf: web::Data<Shelf>,
    path: web::Path<(String, i64)>,
) -> Result<HttpResponse, ApiError> {
    let (name, slot) = path.into_inner();
    let (point, slot) = (enrolled(&api, &name)?, Slot::new(slot));
    let _turn = turn().await?;
    let metered = metered(&api, &point, slot).await?;
    let view = match shelf.find(slot) {
        Some(past) => off_thread(move || explain(&past, &point, metered)).await?,
        None => {
            let past = Past::read(&api.reader, slot).await?.ok_or_else(|| not_cleared(slot))?;
            let domain = Domain::new(api.config.community.clone());
            let (past, view) = off_thread(move || {
                let past = Arc::new(past.rebuild(&domain)?);
                let view = explain(&past, &point, metered);
                Ok::<_, crate::hindsight::HindsightFault>((past, view))
            })
            .await?
            .map_err(contradictory)?;
            shelf.keep(slot, past);
            view
        }
    };
    Ok(HttpResponse::Ok().json(view))
}

/// Waits until something may be explained.
async fn turn() -> Result<SemaphorePermit<'static>, ApiError> {
    let busy = || {
        let what = "other slots are being explained".to_owned();
        ApiError::busy("too_many_explanations", what, "try again in a few seconds")
    };
    let _place = WAITING.try_acquire().map_err(|_| busy())?;
    let turn = tokio::time::timeout(PATIENCE, EXPLAINING.acquire()).await;
    turn.map_err(|_| busy())?.map_err(|_| busy())
}

/// What a settled slot's meter showed of import and export.
async fn metered(api: &Api, point: &PointId, slot: Slot) -> Result<[Energy; 2], ReadFault> {
    let delivery = api.reader.delivery(point, slot, None).await?.unwrap_or_default();
    let wh = |name: &str| Energy::from_wh(delivery["statement"][name].as_i64().unwrap_or(0));
    Ok(["import_wh", "export_wh"].map(wh))
}

/// Runs what computes beside the threads that answer.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    web::block(work).await.map_err(|_| {
        ApiError::busy(
            "stopping",
            "the explanation was given up".to_owned(),
            "the server is stopping; try again when it is back",
        )
    })
}

fn contradictory(fault: crate::hindsight::HindsightFault) -> ApiError {
    tracing::error!(%fault, "a slot cannot be explained");
    ApiError::refused(
        StatusCode::INTERNAL_SERVER_ERROR,
        "record_contradicts_itself",
        fault.to_string(),
        "export the slot's bundle and verify it: the auditor names what does not fit",
    )
}

impl Shelf {
    fn find(&self, slot: Slot) -> Option<Arc<Hindsight>> {
        let kept = self.0.lock().expect("nobody panics with it");
        kept.iter().find(|(kept, _)| *kept == slot).map(|(_, past)| Arc::clone(past))
    }

    fn keep(&self, slot: Slot, past: Arc<Hindsight>) {
        let mut kept = self.0.lock().expect("nobody panics with it");
        kept.retain(|(known, _)| *known != slot);
        kept.truncate(KEPT_SLOTS - 1);
        kept.push_front((slot, past));
    }
}

fn explain(past: &Hindsight, point: &PointId, metered: [Energy; 2]) -> WhyView {
    let Hindsight { book, clearing, grid, rung, rule } = past;
    let node = grid.node(point);
    let why = market::why::explain_at(book, clearing, point, node);
    let bus = |node: Node| (!grid.grid().is_plate()).then(|| grid.bus(node).to_owned());
    let no_market = match &clearing.method {
        market::Method::Shared { reason } => Some(reason.clone()),
        _ => None,
    };
    let sides = [Side::Buy, Side::Sell].into_iter().zip(metered);
    let missed = sides
        .filter(|(side, energy)| {
            rule.takes_orders()
                && no_market.is_none()
                && energy.is_positive()
                && book.order(point, *side).is_none()
        })
        .map(|(side, energy)| missed(past, (point, node), side, energy))
        .collect();
    let full = full(past, &why);
    let nano = Price::nano_per_wh;
    let Why { slot, point, price, parts, low, high, orders, .. } = why;
    WhyView {
        slot: slot.number(),
        start_ms: slot.start_ms(),
        point: point.to_string(),
        bus: bus(node),
        retail: nano(book.terms().retail()),
        feed_in: nano(book.terms().feed_in()),
        rule: rule.to_string(),
        rung: (*rung).into(),
        no_market,
        price: price.map(nano),
        parts: parts.map(|parts: PriceParts| PartsView {
            reference: bus(parts.reference),
            energy: nano(parts.energy),
            grid_fee: nano(parts.grid_fee),
            congestion: nano(parts.congestion),
        }),
        low: low.map(SetByView::from),
        high: high.map(SetByView::from),
        full,
        orders: orders.into_iter().map(OrderView::from).collect(),
        missed,
    }
}

/// The limit that would have traded energy on a side without an order.
fn missed(
    past: &Hindsight,
    (point, node): (&PointId, Node),
    side: Side,
    energy: Energy,
) -> MissedView {
    let terms = past.book.terms();
    // The least eager limit that may be stated.
    let limit = if side == Side::Buy { terms.feed_in() } else { terms.retail() };
    let order = Order::plain(point.clone(), side, energy, limit, [0; 32]);
    let wish = market::why::would_have_traded(&past.book, Order { node, ..order });
    // Refused is an order that any limit would have made cross the household's other one.
    let would_trade_at = wish.ok().flatten().map(Price::nano_per_wh);
    MissedView { side: side.into(), quantity_wh: energy.wh(), would_trade_at }
}

/// Full branches, without those that only few live behind.
fn full(past: &Hindsight, why: &Why) -> Vec<FullBranchView> {
    let behind = past.homes_behind();
    let all = behind.first().copied().unwrap_or_default();
    let grid = past.grid.grid();
    let view = |branch: &FullBranch| {
        let inside = grid.path(why.node).any(|node| node == branch.node);
        let below = behind[branch.node.index()];
        // Whoever is on the far side, seen from the household.
        let beyond = if inside { all - below } else { below };
        let towards = branch.inwards.is_positive();
        let energy_wh = (beyond >= CROWD).then(|| branch.inwards.wh().abs());
        FullBranchView { name: branch.name.clone(), towards, energy_wh }
    };
    why.full.iter().map(view).collect()
}

impl From<Side> for SideView {
    fn from(side: Side) -> Self {
        match side {
            Side::Buy => Self::Buy,
            Side::Sell => Self::Sell,
        }
    }
}

impl From<SetBy> for SetByView {
    fn from(set_by: SetBy) -> Self {
        let SetBy { price, side, limit, filled, own } = set_by;
        let (price, limit) = (price.nano_per_wh(), limit.nano_per_wh());
        Self { price, side: side.into(), limit, filled, own }
    }
}

impl From<OrderWhy> for OrderView {
    fn from(order: OrderWhy) -> Self {
        let steps = order.steps.into_iter().map(StepView::from).collect();
        Self { side: order.side.into(), steps }
    }
}

impl From<StepWhy> for StepView {
    fn from(step: StepWhy) -> Self {
        let rest = |rest| match rest {
            Rest::Limit => RestView::Limit,
            Rest::Volume => RestView::Volume,
            Rest::NoTrade => RestView::NoTrade,
            Rest::NoMarket => RestView::NoMarket,
        };
        Self {
            quantity_wh: step.quantity.wh(),
            limit: step.limit.nano_per_wh(),
            filled_wh: step.filled.wh(),
            rest: step.rest.map(rest),
            would_trade_at: step.would_trade_at.map(Price::nano_per_wh),
        }
    }
}
