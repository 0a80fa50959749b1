//! Refusals as RFC 9457 problem documents: a stable code for programs, a sentence for people, a request id for both.

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use serde_json::Map;
use serde_json::Value;

use crate::base::codec;
use crate::base::rng;
use crate::node::error::DoorError;
use crate::node::session::SignInError;
use crate::proto::control::Refused;
use crate::proto::key::KeyError;
use crate::proto::object::apply::Refusal;

/// The code of [`DoorError::Busy`].
pub const BUSY: &str = "busy";

/// A refusal on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The response's status.
    pub status: StatusCode,
    /// Stable, for programs.
    pub code: &'static str,
    /// A sentence for people.
    pub detail: String,
    /// `failed` or `unknown`, for writes.
    pub outcome: Option<&'static str>,
    /// Seconds after which a retry makes sense.
    pub retry_after_s: Option<u32>,
    /// Further members of the document (RFC 9457 §3.2).
    pub members: Map<String, Value>,
}

impl Problem {
    /// A refusal.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), outcome: None, retry_after_s: None, members: Map::new() }
    }

    /// The request is not understood.
    #[must_use]
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// The request is understood and out of range.
    #[must_use]
    pub fn unprocessable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    fn outcome(self, outcome: &'static str) -> Self {
        Self { outcome: Some(outcome), ..self }
    }

    fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }

    /// The document.
    #[must_use]
    pub fn document(&self, request_id: &str) -> Value {
        let mut document = self.members.clone();
        document.insert("type".to_owned(), format!("urn:ringfort:problem:{}", self.code).into());
        document.insert("title".to_owned(), title(self.status).into());
        document.insert("status".to_owned(), self.status.as_u16().into());
        document.insert("code".to_owned(), self.code.into());
        document.insert("detail".to_owned(), self.detail.as_str().into());
        document.insert("request_id".to_owned(), request_id.into());
        if let Some(outcome) = self.outcome {
            document.insert("outcome".to_owned(), outcome.into());
        }
        Value::Object(document)
    }
}

/// With the response, for who counts refusals.
#[derive(Debug, Clone)]
pub(super) struct Said {
    /// See [`Problem`].
    pub code: &'static str,
    /// See [`Problem`].
    pub detail: String,
}

fn title(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Refused")
}

/// Names one refusal in logs and documents.
pub(super) fn request_id() -> String {
    rng::array::<8>().map_or_else(|_no_entropy| "0".repeat(16), |id| codec::hex(&id))
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let request_id = request_id();
        if self.status.is_server_error() {
            tracing::warn!(request_id, problem = self.code, detail = self.detail, "a request was not served");
        }
        let body = Body::from(self.document(&request_id).to_string());
        let mut response = (self.status, body).into_response();
        response.extensions_mut().insert(Said { code: self.code, detail: self.detail });
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"ringfort\""));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<DoorError> for Problem {
    fn from(error: DoorError) -> Self {
        let detail = error.to_string();
        let new = |status, code| Self::new(status, code, detail.clone());
        match error {
            DoorError::Busy => new(StatusCode::SERVICE_UNAVAILABLE, BUSY).outcome("failed").retry_after(1),
            DoorError::NoSuchBucket { .. } => new(StatusCode::NOT_FOUND, "no_such_bucket"),
            DoorError::NotFound { .. } => new(StatusCode::NOT_FOUND, "not_found"),
            DoorError::BadKey(KeyError::TooLong { .. }) => new(StatusCode::URI_TOO_LONG, "key_too_long"),
            DoorError::BadKey(KeyError::Empty | KeyError::BucketName) => new(StatusCode::BAD_REQUEST, "bad_key"),
            DoorError::BadContentType(_) => new(StatusCode::BAD_REQUEST, "bad_content_type"),
            DoorError::BadContext(_) => new(StatusCode::BAD_REQUEST, "bad_context"),
            DoorError::OutOfRange { .. } => new(StatusCode::UNPROCESSABLE_ENTITY, "out_of_range"),
            DoorError::Refused(refusal) => refused(refusal, detail),
            DoorError::Corrupt { .. } => new(StatusCode::INTERNAL_SERVER_ERROR, "corrupt").outcome("failed"),
            DoorError::TooLarge { .. } => new(StatusCode::PAYLOAD_TOO_LARGE, "too_large").outcome("failed"),
            DoorError::Stopping => new(StatusCode::SERVICE_UNAVAILABLE, "stopping").outcome("failed").retry_after(1),
            DoorError::IndexFailed { .. } => {
                new(StatusCode::SERVICE_UNAVAILABLE, "index_failed").outcome("failed").retry_after(10)
            }
            DoorError::Unknown => new(StatusCode::GATEWAY_TIMEOUT, "outcome_unknown").outcome("unknown"),
            DoorError::Control(refused) => not_so(&refused, detail),
            DoorError::NoSpace => new(StatusCode::INSUFFICIENT_STORAGE, "disk_full").outcome("failed").retry_after(10),
            DoorError::OutcomeUnknown { .. } => new(StatusCode::GATEWAY_TIMEOUT, "outcome_unknown").outcome("unknown"),
            DoorError::TooFewOwners { .. } => {
                new(StatusCode::SERVICE_UNAVAILABLE, "no_quorum").outcome("failed").retry_after(1)
            }
            DoorError::NotSettled => new(StatusCode::SERVICE_UNAVAILABLE, "no_quorum").retry_after(1),
            DoorError::NoControl { .. } => {
                new(StatusCode::SERVICE_UNAVAILABLE, "no_control").outcome("failed").retry_after(1)
            }
            DoorError::NotTold { .. } => new(StatusCode::SERVICE_UNAVAILABLE, "not_told").retry_after(1),
            DoorError::StillUp(_) => new(StatusCode::CONFLICT, "still_up"),
            DoorError::NoContact { .. } => {
                new(StatusCode::SERVICE_UNAVAILABLE, "no_contact").outcome("failed").retry_after(1)
            }
            DoorError::FewVoters(_) => new(StatusCode::CONFLICT, "too_few_voters"),
            DoorError::NoQuorum { .. } => new(StatusCode::SERVICE_UNAVAILABLE, "no_quorum").outcome("failed"),
            DoorError::FilesGone => new(StatusCode::SERVICE_UNAVAILABLE, "files_gone").outcome("failed"),
            DoorError::DiskFull { .. } | DoorError::NoFiles { .. } => {
                new(StatusCode::INSUFFICIENT_STORAGE, "disk_full").outcome("failed").retry_after(10)
            }
            DoorError::TooSlow { .. } => new(StatusCode::SERVICE_UNAVAILABLE, "too_slow").retry_after(1),
            // What is said of one write does not hold for the rows before it.
            DoorError::Interrupted { source, .. } => Self { detail, outcome: None, ..Self::from(*source) },
            DoorError::Unsuitable(_) => new(StatusCode::UNPROCESSABLE_ENTITY, "unsuitable"),
            DoorError::BadConfig(_) => new(StatusCode::UNPROCESSABLE_ENTITY, "bad_config"),
            DoorError::Io { .. } => new(StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }
}

impl From<SignInError> for Problem {
    fn from(error: SignInError) -> Self {
        let detail = error.to_string();
        match error {
            // Not 401: what was given were no credentials of the request.
            SignInError::Wrong | SignInError::WrongCurrent => {
                Self::new(StatusCode::FORBIDDEN, "wrong_password", detail)
            }
            SignInError::WrongCode => Self::new(StatusCode::FORBIDDEN, "wrong_code", detail),
            SignInError::TooMany { retry_after_s } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", detail).retry_after(retry_after_s)
            }
            SignInError::Door(error) => Self::from(error),
        }
    }
}

fn refused(refusal: Refusal, detail: String) -> Problem {
    let (status, code) = match refusal {
        Refusal::ConditionFailed => (StatusCode::PRECONDITION_FAILED, "condition_failed"),
        Refusal::ConditionOnLww => (StatusCode::UNPROCESSABLE_ENTITY, "condition_on_lww"),
        Refusal::ContextNeeded => (StatusCode::PRECONDITION_REQUIRED, "context_needed"),
        Refusal::OpReused => (StatusCode::CONFLICT, "idempotency_key_reused"),
        Refusal::TooManyOps => (StatusCode::TOO_MANY_REQUESTS, "too_many_idempotency_keys"),
        Refusal::TooManySiblings => (StatusCode::CONFLICT, "too_many_siblings"),
    };
    Problem::new(status, code, detail)
}

fn not_so(refused: &Refused, detail: String) -> Problem {
    let (status, code) = match refused {
        Refused::NotFound { .. } => (StatusCode::NOT_FOUND, "not_found"),
        Refused::Taken { .. } => (StatusCode::CONFLICT, "taken"),
        Refused::OutOfRange(_) => (StatusCode::UNPROCESSABLE_ENTITY, "out_of_range"),
        Refused::BadName(_) => (StatusCode::UNPROCESSABLE_ENTITY, "bad_name"),
        Refused::KindFixed(_) => (StatusCode::CONFLICT, "kind_fixed"),
        Refused::Full { .. } => (StatusCode::CONFLICT, "limit_reached"),
        Refused::Begun => (StatusCode::CONFLICT, "begun"),
        Refused::Claimed => (StatusCode::CONFLICT, "claimed"),
        Refused::LastAdmin(_) => (StatusCode::CONFLICT, "last_admin"),
        Refused::NotBegun => (StatusCode::CONFLICT, "not_begun"),
        Refused::NotInvited => (StatusCode::FORBIDDEN, "not_invited"),
        Refused::Layout(_) => (StatusCode::CONFLICT, "layout_busy"),
        Refused::LastNode(_) => (StatusCode::CONFLICT, "last_node"),
        Refused::WouldLose { .. } => (StatusCode::CONFLICT, "would_lose_data"),
        Refused::Unfit { .. } => (StatusCode::CONFLICT, "unfit_replacement"),
        Refused::NoPlan { .. } => (StatusCode::CONFLICT, "no_such_plan"),
        Refused::Outrun => (StatusCode::CONFLICT, "outrun"),
        Refused::StillMember(_) => (StatusCode::CONFLICT, "still_member"),
        Refused::OldGeneration { .. } => (StatusCode::CONFLICT, "old_generation"),
    };
    Problem::new(status, code, detail)
}
