//! Whether the controller can answer: for supervisors and load balancers.

use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::error::{ApiError, ErrorView};

/// The controller answers.
#[derive(Serialize, ToSchema)]
pub struct HealthView {
    /// Always `ok`; anything else is an error.
    #[schema(example = "ok")]
    status: &'static str,
    /// Market time, Unix milliseconds.
    now_ms: i64,
    /// Newest settled slot.
    settled_slot: Option<i64>,
}

/// Whether the controller can answer
#[utoipa::path(
    get,
    path = "/api/v1/healthz",
    responses(
        (status = 200, body = HealthView),
        (status = 503, body = ErrorView, description = "The record cannot be read"),
    )
)]
pub async fn healthz(api: web::Data<Api>) -> Result<HttpResponse, ApiError> {
    api.reader.ping().await?;
    let settled_slot = api.reader.last_settled().await?.map(units::Slot::number);
    Ok(HttpResponse::Ok().json(HealthView {
        status: "ok",
        now_ms: api.clock.now_ms(),
        settled_slot,
    }))
}
