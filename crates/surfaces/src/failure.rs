//! How an error looks over HTTP: a status for its kind, and a body of `application/problem+json` (RFC 9457).

use axum::body::Bytes;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

use crate::repeats::Told;

/// An error on its way to a caller over HTTP.
#[derive(Debug)]
pub struct Failure {
    error: Error,
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The body of every error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemBody {
    /// Always `about:blank`: `code` names the situation.
    pub r#type: String,
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// Stable name of the situation, such as `device_unknown`.
    pub code: String,
    /// What went wrong, for people.
    pub detail: String,
    /// What to do about it, for people.
    pub help: String,
    /// What a caller can do about it, in a word.
    pub kind: ErrorKind,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = status(error.kind());
        Self { error, status, headers: Vec::new() }
    }
}

impl Failure {
    /// An error whose status is more particular than its kind's.
    pub fn with_status(error: Error, status: StatusCode) -> Self {
        Self { error, status, headers: Vec::new() }
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl Failure {
    fn body(&self) -> Bytes {
        let body = ProblemBody {
            r#type: "about:blank".to_owned(),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            code: self.error.code().to_owned(),
            detail: self.error.message().to_owned(),
            help: self.error.help().to_owned(),
            kind: self.error.kind(),
        };
        // A struct of strings and a number always becomes JSON.
        Bytes::from(serde_json::to_vec(&body).unwrap_or_default())
    }
}

impl From<Failure> for Told {
    fn from(failure: Failure) -> Self {
        Self { status: failure.status, body: failure.body() }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if matches!(self.error.kind(), ErrorKind::Busy | ErrorKind::RateLimited) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        headers.extend(self.headers);
        response
    }
}

/// The status that says the same as an error's kind.
pub fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::Unsupported => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::NeedsApproval => StatusCode::PRECONDITION_REQUIRED,
        ErrorKind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorKind::Unreachable => StatusCode::BAD_GATEWAY,
        ErrorKind::Busy => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
    }
}
