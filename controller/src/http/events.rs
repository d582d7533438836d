//! Server-sent events: what happens, as it happens, to every open page.
//!
//! The shell announces an [`Event`] after its transaction is committed; the hub looks up what the
//! page wants to see, writes it once, and hands the same bytes to all clients. A client that does
//! not keep up is dropped: it reconnects and reads the present state, so nothing has to be kept
//! for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::http::header;
use actix_web::web::Bytes;
use actix_web::{HttpResponse, web};
use futures_util::Stream;
use serde::Serialize;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::MissedTickBehavior;
use units::{PointId, Slot};

use super::Api;
use super::anchors::AnchorSummary;
use super::error::{ApiError, ErrorView};
use super::slots::SlotSummary;
use super::street;
use crate::store::read::ReadFault;

/// Open event streams at the same time.
const MAX_CLIENTS: usize = 128;
/// Messages that a client may be behind: a settled slot brings an audit of every household at once.
const QUEUE: usize = 1_024;
/// Shortest time between two `live` events.
const LIVE_EVERY: Duration = Duration::from_secs(1);
/// `live` ticks between two heartbeats.
const HEARTBEAT_TICKS: u32 = 15;
/// How long a browser waits before it reconnects, milliseconds.
const RETRY_MS: u32 = 2_000;

/// Something that happened, told after it was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A slot can be ordered for.
    Offer(Slot),
    /// A slot's auction is over.
    Cleared(Slot),
    /// A slot is settled.
    Settled(Slot),
    /// A slot is settled again, because a meter came late.
    Corrected(Slot),
    /// An epoch is final on the chain.
    Anchored(u64),
    /// A household has judged a bill.
    Audit {
        /// Metering point.
        point: PointId,
        /// The slot of the bill.
        slot: Slot,
        /// Which settlement of the slot.
        version: u32,
        /// Whether everything held.
        verified: bool,
    },
}

/// Hands every message to every open page.
#[derive(Debug, Clone)]
pub struct Hub {
    pages: broadcast::Sender<Bytes>,
    clients: Arc<AtomicUsize>,
}

/// One open page; counts while it lives.
struct Ticket(Arc<AtomicUsize>);

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Hub {
    pub(super) fn new() -> Self {
        Self { pages: broadcast::channel(QUEUE).0, clients: Arc::new(AtomicUsize::new(0)) }
    }

    fn enter(&self) -> Option<Ticket> {
        let enter = |open: usize| (open < MAX_CLIENTS).then_some(open + 1);
        let entered = self.clients.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter);
        entered.is_ok().then(|| Ticket(Arc::clone(&self.clients)))
    }

    /// Turns announcements and the live board into messages, until the announcements end.
    pub(super) async fn pump(self, api: Api) {
        let mut events = api.events.subscribe();
        let mut ticks = tokio::time::interval(LIVE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut id, mut tick, mut board) = (0_u64, 0_u32, 0_u64);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Ok(event) => {
                        let told = tell(&api, &event, id + 1).await;
                        match told {
                            Ok(Some(message)) => { id += 1; self.send(message); }
                            Ok(None) => {}
                            Err(fault) => tracing::error!(%fault, ?event, "an event is not shown"),
                        }
                    }
                    Err(RecvError::Lagged(missed)) => {
                        tracing::warn!(missed, "events came faster than they could be shown");
                    }
                    Err(RecvError::Closed) => return,
                },
                _ = ticks.tick() => {
                    tick = tick.wrapping_add(1);
                    if tick.is_multiple_of(HEARTBEAT_TICKS) {
                        self.send(Bytes::from_static(b": alive\n\n"));
                    }
                    let changes = api.board.changes();
                    if changes != board && self.pages.receiver_count() > 0 {
                        board = changes;
                        id += 1;
                        self.send(message("live", id, &street::live(&api)));
                    }
                }
            }
        }
    }

    fn send(&self, message: Bytes) {
        // Nobody listening is fine.
        let _ = self.pages.send(message);
    }

    /// The messages of one page, from the present on.
    fn stream(
        &self,
        ticket: Ticket,
        first: Bytes,
    ) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + use<> {
        let seat = (self.pages.subscribe(), ticket, Some(first));
        futures_util::stream::unfold(seat, |(mut pages, ticket, first)| async move {
            let message = match first {
                Some(first) => first,
                // An error means that the page is too far behind, or that the server stops.
                None => pages.recv().await.ok()?,
            };
            Some((Ok(message), (pages, ticket, None)))
        })
    }
}

/// An audit as pages see it.
#[derive(Serialize)]
struct AuditEvent {
    point: String,
    slot: i64,
    version: u32,
    verified: bool,
}

/// What pages are told about an event; nothing when the record does not know it.
async fn tell(api: &Api, event: &Event, id: u64) -> Result<Option<Bytes>, ReadFault> {
    let slot = async |name: &str, slot: Slot| {
        let summary = api.reader.slot(slot).await?.map(SlotSummary::from);
        Ok(summary.map(|summary| message(name, id, &summary)))
    };
    match event {
        Event::Offer(slot) => Ok(Some(message("offer", id, &street::offer(api, *slot)))),
        Event::Cleared(number) => slot("cleared", *number).await,
        Event::Settled(number) => slot("settled", *number).await,
        Event::Corrected(number) => slot("corrected", *number).await,
        Event::Anchored(seq) => {
            let summary = api.reader.anchor(*seq).await?.map(AnchorSummary::from);
            Ok(summary.map(|summary| message("anchored", id, &summary)))
        }
        Event::Audit { point, slot, version, verified } => {
            let (point, slot) = (point.to_string(), slot.number());
            let (version, verified) = (*version, *verified);
            Ok(Some(message("audit", id, &AuditEvent { point, slot, version, verified })))
        }
    }
}

fn message(name: &str, id: u64, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).expect("events are plain data");
    Bytes::from(format!("id: {id}\nevent: {name}\ndata: {data}\n\n"))
}

/// What happens, as it happens
///
/// Events: `live` (as in /street, at most once a second), `offer`, `cleared`, `settled` and
/// `corrected` (a slot; corrected: settled again, because a meter came late), `anchored` (an epoch),
/// `audit` ({point, slot, version, verified}). Comments every 15 seconds keep the line
/// open. There is no replay: read the present state after a reconnect.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    responses(
        (status = 200, content_type = "text/event-stream", body = String),
        (status = 503, body = ErrorView, description = "Too many open streams"),
    )
)]
pub async fn events(api: web::Data<Api>, hub: web::Data<Hub>) -> Result<HttpResponse, ApiError> {
    let Some(ticket) = hub.enter() else {
        return Err(ApiError::busy(
            "too_many_streams",
            format!("{MAX_CLIENTS} event streams are open already"),
            "close other pages, or poll /api/v1/street",
        ));
    };
    let live = serde_json::to_string(&street::live(&api)).expect("events are plain data");
    let first = Bytes::from(format!("retry: {RETRY_MS}\nevent: live\ndata: {live}\n\n"));
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        // A compressor would hold messages back until its window is full.
        .insert_header((header::CONTENT_ENCODING, "identity"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .streaming(hub.stream(ticket, first)))
}
