//! What the agent serves to the household's programs: `/metrics`, `/figures`, `/health`.

use std::net::TcpListener;
use std::time::Duration;

use clock::Clock;
use tokio::sync::watch;
use tracing::warn;

use super::{Picture, metrics};
use crate::http::{JSON, Limits, Page, Request, serve as serve_http};

/// Nobody has anything to say here, and nobody takes long.
const LIMITS: Limits = Limits { body_bytes: 0, patience: Duration::from_secs(2) };

/// Serves pictures until nobody draws them any more.
pub async fn serve(listener: TcpListener, mut pictures: watch::Receiver<Picture>, clock: Clock) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            warn!(%error, "metrics cannot be served");
            return;
        }
    };
    let latest = pictures.clone();
    let ended = async { while pictures.changed().await.is_ok() {} };
    let answer = move |request: Request| page(&request, &latest.borrow(), clock.now_ms());
    tokio::select! {
        () = ended => {}
        () = serve_http(listener, LIMITS, answer) => {}
    }
}

fn page(request: &Request, picture: &Picture, now_ms: i64) -> Page {
    if !["GET", "HEAD"].contains(&request.method.as_str()) {
        return Page::error("405 Method Not Allowed", "only GET and HEAD: nothing can be changed");
    }
    match request.path.as_str() {
        "/metrics" => Page::ok(metrics::CONTENT_TYPE, metrics::text(picture, now_ms)),
        "/figures" => Page::ok(JSON, picture.to_json()),
        "/health" => {
            let (is_well, answer) = metrics::health(picture, now_ms);
            let status = if is_well { "200 OK" } else { "503 Service Unavailable" };
            Page { status, ..Page::ok(JSON, answer.to_string()) }
        }
        _ => Page::error("404 Not Found", "there are /metrics, /figures and /health"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reading_requests_for_known_pages_are_answered() {
        for (line, status) in [
            ("GET /metrics HTTP/1.1", "200 OK"),
            ("GET /metrics?x=1 HTTP/1.0", "200 OK"),
            ("HEAD /figures HTTP/1.1", "200 OK"),
            ("GET / HTTP/1.1", "404 Not Found"),
            ("GET /metrics/../health HTTP/1.1", "404 Not Found"),
            ("POST /metrics HTTP/1.1", "405 Method Not Allowed"),
            ("GET /metrics", "400 Bad Request"),
            ("GET  /metrics HTTP/1.1", "400 Bad Request"),
            ("GET /metrics HTTP/1.1 x", "400 Bad Request"),
            ("", "400 Bad Request"),
        ] {
            let answer = match Request::parse(&format!("{line}\r\n\r\n")) {
                Ok(request) => page(&request, &Picture::default(), 0),
                Err(refusal) => refusal,
            };
            assert_eq!(answer.status, status, "{line}");
        }
    }
}
