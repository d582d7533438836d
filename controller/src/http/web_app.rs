//! The web app, embedded at compile time from `web/dist`.
//!
//! Paths without a file get `index.html`: the app finds its own pages. Files under `assets/` carry
//! a hash in their name and never change.

use std::borrow::Cow;

use actix_web::http::header::{self, EntityTag, IfNoneMatch};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use rust_embed::RustEmbed;

use super::error::ApiError;

#[derive(RustEmbed)]
#[folder = "../web/dist"]
#[allow_missing = true]
struct Files;

/// What is shown when the app was not built into this binary.
const NOT_BUILT: &str = "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n\
    <meta name=\"viewport\" content=\"width=device-width\">\n<title>Streetwatt</title>\n\
    <p>The controller is running; its web app is not part of this binary.</p>\n\
    <p>Build it with <code>cd web &amp;&amp; npm ci &amp;&amp; npm run build</code>, then build the \
    controller again. The API is at <a href=\"/api/v1/street\">/api/v1/street</a>.</p>\n</html>\n";

/// Answers every path that is not the API's.
pub async fn file(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let path = request.path().trim_start_matches('/');
    let path = if path.is_empty() { "index.html" } else { path };
    if let Some(found) = Files::get(path) {
        return Ok(answer(&request, path, found.data, &found.metadata.sha256_hash()));
    }
    // A missing script must not be answered with a page.
    let is_page = !path.rsplit('/').next().is_some_and(|name| name.contains('.'));
    if !is_page {
        return Err(ApiError::not_found(
            "no_such_file",
            format!("there is no file {:?}", request.path()),
            "reload the page: the app may have been updated",
        ));
    }
    Ok(match Files::get("index.html") {
        Some(index) => answer(&request, "index.html", index.data, &index.metadata.sha256_hash()),
        None => HttpResponse::Ok()
            .content_type("text/html; charset=utf-8")
            .insert_header((header::CACHE_CONTROL, "no-cache"))
            .body(NOT_BUILT),
    })
}

fn answer(
    request: &HttpRequest,
    path: &str,
    data: Cow<'static, [u8]>,
    sha256: &[u8; 32],
) -> HttpResponse {
    let immutable = path.starts_with("assets/");
    let cache = if immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
    // Weak, because the same file leaves compressed or not.
    let tag = EntityTag::new_weak(hex::encode(&sha256[..16]));
    let known = match request.get_header::<IfNoneMatch>() {
        Some(IfNoneMatch::Any) => true,
        Some(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(&tag)),
        None => false,
    };
    let mut response = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header((header::CACHE_CONTROL, cache))
        .insert_header(header::ETag(tag))
        .insert_header((header::VARY, "Accept-Encoding"));
    if known {
        return response.finish();
    }
    response.content_type(content_type(path));
    match data {
        Cow::Borrowed(bytes) => response.body(bytes),
        Cow::Owned(bytes) => response.body(bytes),
    }
}

/// The media type of a file by its name.
fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
