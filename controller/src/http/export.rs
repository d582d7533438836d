//! The record of some slots as a bundle that anyone can verify without this server.

use actix_web::http::header;
use actix_web::web::Bytes;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use tokio::sync::{Semaphore, mpsc};
use units::Slot;
use utoipa::IntoParams;

use super::Api;
use super::error::{ApiError, ErrorView};
use crate::bundle::{Export, ExportFault};

/// Longest range: a week.
const MAX_SLOTS: i64 = 7 * Slot::PER_DAY;
/// Pieces of text that wait for a slow client.
const QUEUE: usize = 8;
/// Exports at the same time.
static EXPORTS: Semaphore = Semaphore::const_new(2);

/// Which slots.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BundleQuery {
    /// First slot.
    from: i64,
    /// Last slot; at most a week after the first.
    to: i64,
}

/// Settled slots with everything that proves them
///
/// JSON lines for `controller verify`. An export that cannot be finished ends without its manifest,
/// which the verifier notices.
#[utoipa::path(
    get,
    path = "/api/v1/bundle",
    params(BundleQuery),
    responses(
        (status = 200, content_type = "text/plain", body = String),
        (status = 400, body = ErrorView),
        (status = 404, body = ErrorView, description = "Not all of these slots are settled"),
        (status = 503, body = ErrorView, description = "Too many exports at once"),
    )
)]
pub async fn bundle(
    api: web::Data<Api>,
    query: web::Query<BundleQuery>,
) -> Result<HttpResponse, ApiError> {
    let (first, last) = (query.from, query.to);
    if last < first || last.saturating_sub(first) >= MAX_SLOTS {
        return Err(ApiError::bad_request(
            "bad_range",
            format!("slots {first} to {last} are no range of 1 to {MAX_SLOTS} slots"),
            "ask for at most a week at a time",
        ));
    }
    let Ok(permit) = EXPORTS.try_acquire() else {
        return Err(ApiError::busy(
            "too_many_exports",
            "other exports are being written".to_owned(),
            "try again in a minute",
        ));
    };
    let range = (Slot::new(first), Slot::new(last));
    let export = Export::begin(&api.config, &api.reader, range).await.map_err(refusal)?;
    let (sender, receiver) = mpsc::channel::<Bytes>(QUEUE);
    actix_web::rt::spawn(async move {
        let _permit = permit;
        let told = export
            .write(async |text| {
                // A client that has gone ends the export.
                sender
                    .send(Bytes::from(text))
                    .await
                    .map_err(|_| std::io::ErrorKind::BrokenPipe.into())
            })
            .await;
        if let Err(fault) = told {
            tracing::warn!(%fault, "an export ended early");
        }
    });
    let name = format!("attachment; filename=\"streetwatt-{first}-{last}.jsonl\"");
    let lines = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let text = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(text), receiver))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .insert_header((header::CONTENT_DISPOSITION, name))
        .streaming(lines))
}

fn refusal(fault: ExportFault) -> ApiError {
    match fault {
        ExportFault::Read(fault) => fault.into(),
        ExportFault::NotSettled { .. } => ApiError::not_found(
            "not_settled",
            fault.to_string(),
            "see /api/v1/slots for the settled ones",
        ),
        other => {
            tracing::error!(fault = %other, "no bundle can be made");
            ApiError::busy("no_bundle", other.to_string(), "the controller's log has the reason")
        }
    }
}
