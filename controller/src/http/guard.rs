//! What holds for every request: who may ask, how long an answer may take, and which headers keep a
//! browser from doing more with it than showing it.

use std::net::SocketAddr;
use std::time::Duration;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, ResponseError};

use super::error::ApiError;

/// Longest wait for the beginning of an answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(20);
/// Longest path with query.
const MAX_TARGET_BYTES: usize = 2_048;

/// No scripts but our own, no embedding elsewhere. Chart libraries set style attributes, which only
/// `unsafe-inline` allows; styles cannot run code.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self'; \
     style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; \
     object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CROSS_ORIGIN_OPENER_POLICY, "same-origin"),
    (header::CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
    (header::PERMISSIONS_POLICY, "camera=(), geolocation=(), microphone=()"),
];

/// The rules for one listening address.
#[derive(Debug, Clone)]
pub struct Guard {
    /// Only names of this machine are answered to.
    loopback_only: bool,
}

impl Guard {
    /// On loopback the `Host` header must name this machine: otherwise a foreign name that resolves
    /// to 127.0.0.1 would make a visitor's browser hand our answers to a foreign page (DNS
    /// rebinding).
    pub fn for_address(address: SocketAddr) -> Self {
        Self { loopback_only: address.ip().is_loopback() }
    }

    /// Refuses what is not allowed, bounds the wait and sets the headers.
    pub async fn watch<B: MessageBody>(
        self,
        request: ServiceRequest,
        next: Next<B>,
    ) -> Result<ServiceResponse<EitherBody<B>>, Error> {
        let is_api = request.path().starts_with("/api/");
        let mut response = match self.check(&request) {
            Err(refusal) => request.into_response(refusal.error_response()).map_into_right_body(),
            Ok(()) => {
                // The request must not be cloned here: the router needs it for itself.
                match tokio::time::timeout(ANSWER_PATIENCE, next.call(request)).await {
                    Ok(answer) => answer?.map_into_left_body(),
                    Err(_) => return Err(too_slow().into()),
                }
            }
        };
        let headers = response.headers_mut();
        for (name, value) in HEADERS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if is_api && !headers.contains_key(header::CACHE_CONTROL) {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        Ok(response)
    }

    fn check(&self, request: &ServiceRequest) -> Result<(), ApiError> {
        if self.loopback_only {
            let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
            if !host.is_some_and(names_this_machine) {
                return Err(ApiError::refused(
                    StatusCode::MISDIRECTED_REQUEST,
                    "foreign_host",
                    format!("this server does not answer to the host name {host:?}"),
                    "use http://127.0.0.1 or http://localhost, or let it listen on another \
                     address with [http] bind",
                ));
            }
        }
        let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
        if target > MAX_TARGET_BYTES {
            return Err(ApiError::refused(
                StatusCode::URI_TOO_LONG,
                "uri_too_long",
                format!("{target} bytes of path and query, {MAX_TARGET_BYTES} are accepted"),
                "no path of this server needs as much",
            ));
        }
        let reads = [Method::GET, Method::HEAD].contains(request.method());
        let path = request.path();
        let calls = *request.method() == Method::POST
            && (path == "/rpc" || (path.starts_with("/api/") && path.ends_with("/claim")));
        if !reads && !calls {
            return Err(ApiError::refused(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                format!("{} is not allowed here", request.method()),
                "this server only answers GET and HEAD; households act with signed messages",
            ));
        }
        Ok(())
    }
}

fn too_slow() -> ApiError {
    ApiError::busy(
        "too_slow",
        format!("there was no answer within {} s", ANSWER_PATIENCE.as_secs()),
        "ask for less, or try again later",
    )
}

/// Whether a `Host` header names this machine, with any port.
fn names_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::names_this_machine;

    #[test]
    fn only_names_of_this_machine_are_answered_to() {
        for host in ["127.0.0.1", "127.0.0.1:8080", "localhost:1", "LOCALHOST", "[::1]:8080"] {
            assert!(names_this_machine(host), "{host}");
        }
        for host in ["", "evil.example", "127.0.0.1.evil.example:80", "10.0.0.1", "[::2]:80"] {
            assert!(!names_this_machine(host), "{host}");
        }
    }
}
