//! What was not accepted: the operator's first page when something is wrong.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::error::ApiError;

/// How many refusals are told one by one.
const RECENT: u32 = 50;

/// Refused messages.
#[derive(Serialize, ToSchema)]
pub struct RefusalsView {
    /// All of them.
    total: u64,
    /// By reason.
    by_reason: BTreeMap<String, u64>,
    /// The newest, newest first.
    recent: Vec<RefusalView>,
}

/// One refused message.
#[derive(Serialize, ToSchema)]
pub struct RefusalView {
    /// Metering point of the topic it came on, when there was one.
    point: Option<String>,
    /// Kind of message.
    kind: String,
    /// Why, in one word.
    reason: String,
    /// Why, in a sentence.
    detail: String,
    /// When, Unix milliseconds of market time.
    time_ms: i64,
}

/// Messages that were not accepted, and why
#[utoipa::path(get, path = "/api/v1/refusals", responses((status = 200, body = RefusalsView)))]
pub async fn refusals(api: web::Data<Api>) -> Result<HttpResponse, ApiError> {
    let refusals = api.reader.refusals(RECENT).await?;
    let total = refusals.by_reason.values().sum();
    let recent = refusals
        .recent
        .into_iter()
        .map(|row| RefusalView {
            point: row.point,
            kind: row.kind,
            reason: row.reason,
            detail: row.detail,
            time_ms: row.time_ms,
        })
        .collect();
    Ok(HttpResponse::Ok().json(RefusalsView { total, by_reason: refusals.by_reason, recent }))
}
