//! The API's description, generated from the handlers; `controller/openapi.json` is its golden
//! copy.

use actix_web::HttpResponse;
use utoipa::OpenApi;

use super::{
    anchors, claim, events, export, feeder, feeder_slot, health, households, refusals, sharing,
    slots, street, why,
};

/// Everything under `/api/v1`.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Streetwatt controller",
        description = "What happens on a street's energy market. Energy in Wh, power in W, money in \
                       nano-currency, prices in nano-currency per Wh, times in Unix milliseconds of \
                       market time, slots in quarter-hours since 1970-01-01T00:00Z. What is not \
                       known is null, never zero. Errors are {\"error\": {code, message, hint}}.",
    ),
    paths(
        street::street,
        slots::slots,
        slots::slot,
        feeder::feeder,
        feeder_slot::feeder_slot,
        households::households,
        households::household,
        households::proof,
        why::why,
        claim::claim,
        anchors::anchors,
        refusals::refusals,
        sharing::allocation,
        export::bundle,
        events::events,
        openapi,
        health::healthz,
    )
)]
struct Document;

/// The description of the API as pretty JSON.
#[must_use]
pub fn document() -> String {
    let mut text = Document::openapi().to_pretty_json().expect("a description is plain data");
    text.push('\n');
    text
}

/// This description
#[utoipa::path(get, path = "/api/v1/openapi.json", responses((status = 200, body = Object)))]
pub async fn openapi() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(document())
}
