//! Errors as clients see them: a code for programs, a sentence for people, and what to do.

use std::fmt;

use actix_web::error::{PathError, QueryPayloadError};
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::read::ReadFault;

/// An answer that is none.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    hint: &'static str,
}

/// `{"error": {…}}`
#[derive(Serialize, ToSchema)]
pub struct ErrorView {
    /// What went wrong.
    error: ErrorBody,
}

/// What went wrong.
#[derive(Serialize, ToSchema)]
pub struct ErrorBody {
    /// One word for programs.
    #[schema(example = "no_such_slot")]
    code: &'static str,
    /// One sentence for people.
    message: String,
    /// What to do about it.
    hint: &'static str,
}

impl ApiError {
    /// Something that does not exist.
    pub fn not_found(code: &'static str, message: String, hint: &'static str) -> Self {
        Self { status: StatusCode::NOT_FOUND, code, message, hint }
    }

    /// A request that cannot be understood.
    pub fn bad_request(code: &'static str, message: String, hint: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code, message, hint }
    }

    /// A request that cannot be served now.
    pub fn busy(code: &'static str, message: String, hint: &'static str) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, code, message, hint }
    }

    /// A request that must not be served.
    pub fn refused(
        status: StatusCode,
        code: &'static str,
        message: String,
        hint: &'static str,
    ) -> Self {
        Self { status, code, message, hint }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let Self { status, code, ref message, hint } = *self;
        HttpResponse::build(status)
            .json(ErrorView { error: ErrorBody { code, message: message.clone(), hint } })
    }
}

impl From<ReadFault> for ApiError {
    fn from(fault: ReadFault) -> Self {
        tracing::error!(%fault, "a request could not be answered");
        match fault {
            ReadFault::Sql(_) => Self::busy(
                "record_unavailable",
                "the record cannot be read at the moment".to_owned(),
                "try again in a few seconds; the controller's log has the reason",
            ),
            ReadFault::Damaged { .. } => Self::refused(
                StatusCode::INTERNAL_SERVER_ERROR,
                "record_damaged",
                "a row of the record is not what the controller writes".to_owned(),
                "the controller's log names the row; restore the database from a backup",
            ),
        }
    }
}

/// Answers paths under the API that do not exist.
pub async fn no_such_path(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    Err(ApiError::not_found(
        "no_such_path",
        format!("there is nothing at {} {}", request.method(), request.path()),
        "see /api/v1/openapi.json for what there is",
    ))
}

/// A part of the path is no number or no name.
pub fn bad_path(error: PathError, _: &HttpRequest) -> actix_web::Error {
    let hint = "slots are whole numbers of quarter-hours since 1970-01-01T00:00Z";
    ApiError::bad_request("bad_path", error.to_string(), hint).into()
}

/// The part after the question mark cannot be read.
pub fn bad_query(error: QueryPayloadError, _: &HttpRequest) -> actix_web::Error {
    let hint = "see /api/v1/openapi.json for the parameters of each path";
    ApiError::bad_request("bad_query", error.to_string(), hint).into()
}
