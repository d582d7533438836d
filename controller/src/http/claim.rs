//! `POST /households/{point}/claim`: the operator sends a producer's claim to the chain and pays
//! for it. Anyone may ask: the tokens always go to the account that earned them.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use units::PointId;
use utoipa::ToSchema;

use super::Api;
use super::error::{ApiError, ErrorView};

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClaimAnswer {
    /// It is on its way to the chain.
    Queued,
    /// Another one of this account is on its way already.
    UnderWay,
    /// Everything that is anchored has been claimed.
    Nothing,
    /// No such household.
    #[serde(skip)]
    UnknownPoint,
}

/// The answer to a claim.
#[derive(Debug, Serialize, ToSchema)]
pub struct ClaimView {
    /// What became of it.
    pub claim: ClaimAnswer,
}

/// Queues a claim of everything that a household has earned and not claimed.
#[utoipa::path(
    post, path = "/api/v1/households/{point}/claim", tag = "households",
    params(("point" = String, Path, description = "Metering point")),
    responses(
        (status = 202, description = "What became of the claim", body = ClaimView),
        (status = 404, description = "No such household", body = ErrorView),
        (status = 503, description = "The chain does not answer", body = ErrorView),
    )
)]
pub async fn claim(
    api: web::Data<Api>,
    request: HttpRequest,
    point: web::Path<PointId>,
) -> Result<HttpResponse, ApiError> {
    // A page elsewhere cannot send this header without asking first, and nobody answers it here.
    if !request.headers().contains_key("x-streetwatt") {
        return Err(ApiError::refused(
            StatusCode::FORBIDDEN,
            "header_missing",
            "a claim needs the header X-Streetwatt".to_owned(),
            "send `X-Streetwatt: claim`; it keeps foreign pages from acting through a browser",
        ));
    }
    let point = point.into_inner();
    match (api.claim)(point.clone()).await {
        Ok(ClaimAnswer::UnknownPoint) => Err(ApiError::not_found(
            "no_such_household",
            format!("there is no household {point}"),
            "GET /api/v1/households lists them",
        )),
        Ok(claim) => Ok(HttpResponse::Accepted()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .json(ClaimView { claim })),
        Err(why) => Err(ApiError::refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "chain_unavailable",
            why,
            "try again in a minute; what was earned stays earned",
        )),
    }
}
