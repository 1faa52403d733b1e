//! What the API says when it says no: RFC 9457 problem details, and which status each error of the
//! domain has. The matches are exhaustive, so that a new error does not compile until someone has
//! thought about it.

use crate::app::ApplyError;
use crate::config::Problems;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use gate::{
    ApproveError, InstallError, LiftError, ResolveError, SessionError, TokenError, Unidentified, WaiverError,
};
use http::{HeaderValue, StatusCode, header};
use ops::triage::IntakeError;
use policy::canonical::CanonicalError;
use runtime::drill::DrillError;
use serde_json::{Value, json};
use store::StoreError;

/// A refused or failed request. Holds nothing that the caller may not see.
#[derive(Debug, Clone)]
pub struct ApiError {
    status: StatusCode,
    /// A stable word for machines: `not_found`.
    code: &'static str,
    detail: String,
    place: Option<String>,
    problems: Vec<Value>,
    retry_after_seconds: Option<u32>,
}

impl ApiError {
    /// A problem with no place.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> ApiError {
        ApiError {
            status,
            code,
            detail: detail.into(),
            place: None,
            problems: Vec::new(),
            retry_after_seconds: None,
        }
    }
    /// 400, with the place in the request that is wrong.
    #[must_use]
    pub fn malformed(place: impl Into<String>, detail: impl Into<String>) -> ApiError {
        let mut error = ApiError::new(StatusCode::BAD_REQUEST, "malformed", detail);
        error.place = Some(place.into());
        error
    }
    /// 404.
    #[must_use]
    pub fn not_found(what: impl std::fmt::Display) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, "not_found", format!("there is no {what}"))
    }
    /// 403.
    #[must_use]
    pub fn forbidden(detail: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }
    /// 401 where a signature is what authenticates.
    #[must_use]
    pub fn unsigned(detail: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
    }
    /// 409.
    #[must_use]
    pub fn conflict(detail: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::CONFLICT, "conflict", detail)
    }
    /// 413.
    #[must_use]
    pub fn too_large(limit: usize) -> ApiError {
        ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!("the body is larger than {limit} bytes"),
        )
    }
    /// 429.
    #[must_use]
    pub fn overloaded(detail: impl Into<String>) -> ApiError {
        let mut error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", detail);
        error.retry_after_seconds = Some(1);
        error
    }
    /// 500: a fault of ours. The cause goes to the log, not to the caller.
    #[must_use]
    pub fn internal(cause: &dyn std::fmt::Display) -> ApiError {
        tracing::error!(%cause, "a request failed through a fault of the platform");
        ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the platform failed; its log says why",
        )
    }
    /// 503: it goes on, but nobody waits for it any longer.
    #[must_use]
    pub fn slow() -> ApiError {
        ApiError::unavailable(
            "the answer takes too long; what was asked for goes on, so look before asking again",
        )
    }
    /// 503: it can be sent again.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>) -> ApiError {
        let mut error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail);
        error.retry_after_seconds = Some(5);
        error
    }
    /// What it says to people.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }
    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": format!("urn:cofferdam:problem:{}", self.code),
            "title": self.status.canonical_reason().unwrap_or("error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(map) = body.as_object_mut() {
            if let Some(place) = self.place {
                map.insert("place".into(), place.into());
            }
            if !self.problems.is_empty() {
                map.insert("problems".into(), self.problems.into());
            }
        }
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<Unidentified> for ApiError {
    fn from(error: Unidentified) -> ApiError {
        ApiError::new(StatusCode::UNAUTHORIZED, "unauthenticated", error.to_string())
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> ApiError {
        match error {
            StoreError::Unavailable { .. } | StoreError::InUse { .. } | StoreError::Closed => {
                ApiError::unavailable(format!("no record, no action: {error}"))
            }
            StoreError::Corrupt { .. } => ApiError::unavailable(format!(
                "{error}; acting has stopped. `cofferdam audit verify` says more, `cofferdam audit export` saves what is good"
            )),
            StoreError::Refused(reason) => ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "refused", reason),
        }
    }
}

impl From<CanonicalError> for ApiError {
    fn from(error: CanonicalError) -> ApiError {
        match error {
            CanonicalError::Refused { what, line, column } => {
                ApiError::malformed(format!("line {line}, column {column}"), what)
            }
            CanonicalError::Number { ref pointer, .. } => {
                ApiError::malformed(pointer.clone(), error.to_string())
            }
            CanonicalError::TooLarge { limit } => ApiError::too_large(limit),
            CanonicalError::TooDeep => ApiError::malformed("", error.to_string()),
        }
    }
}

impl From<IntakeError> for ApiError {
    fn from(error: IntakeError) -> ApiError {
        match error {
            IntakeError::UnknownTrigger(_) => ApiError::forbidden(error.to_string()),
            IntakeError::Refused(refused) => ApiError::malformed(refused.place, refused.what),
            IntakeError::Store(store) => store.into(),
        }
    }
}

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> ApiError {
        match error {
            SessionError::Unknown(id) => ApiError::not_found(format!("session `{id}`")),
            SessionError::NotDelegated(..) => ApiError::malformed("/delegation", error.to_string()),
            SessionError::NotLent(_) => ApiError::malformed("", error.to_string()),
            SessionError::UnknownAgent(name) => {
                ApiError::malformed("/agent", format!("there is no agent `{name}`"))
            }
            SessionError::Illegal(illegal) => ApiError::conflict(illegal.to_string()),
            SessionError::Store(store) => store.into(),
        }
    }
}

impl From<ResolveError> for ApiError {
    fn from(error: ResolveError) -> ApiError {
        match error {
            ResolveError::NotUncertain { .. } => ApiError::conflict(error.to_string()),
            ResolveError::NotAPerson(_) => ApiError::forbidden(error.to_string()),
            ResolveError::Store(store) => store.into(),
        }
    }
}

impl From<DrillError> for ApiError {
    fn from(error: DrillError) -> ApiError {
        let detail = error.to_string();
        match error {
            DrillError::UnderWay | DrillError::NotLive { .. } => ApiError::conflict(detail),
            DrillError::Sessions => ApiError::malformed("/sessions", detail),
            DrillError::Session(error) => error.into(),
            DrillError::Lift(error) => error.into(),
            DrillError::Store(error) => error.into(),
        }
    }
}

impl From<LiftError> for ApiError {
    fn from(error: LiftError) -> ApiError {
        match error {
            LiftError::OwnStop(..) | LiftError::NotAPerson(..) | LiftError::Above(_) | LiftError::Held(_) => {
                ApiError::forbidden(error.to_string())
            }
            LiftError::Store(error) => error.into(),
        }
    }
}

impl From<WaiverError> for ApiError {
    fn from(error: WaiverError) -> ApiError {
        match error {
            WaiverError::Unknown(id) => ApiError::not_found(format!("waiver `{id}`")),
            WaiverError::Store(store) => store.into(),
        }
    }
}

impl From<ApproveError> for ApiError {
    fn from(error: ApproveError) -> ApiError {
        match error {
            ApproveError::Unknown(id) => ApiError::not_found(format!("approval `{id}`")),
            ApproveError::OwnCause(_) | ApproveError::NotAPerson(_) | ApproveError::NotAnApprover(_) => {
                ApiError::forbidden(error.to_string())
            }
            ApproveError::NotWaivable(..) => ApiError::malformed("/scope", error.to_string()),
            ApproveError::Illegal(illegal) => ApiError::conflict(illegal.to_string()),
            ApproveError::NotYet(..) | ApproveError::Conflicting(_) | ApproveError::Erased(_) => {
                ApiError::conflict(error.to_string())
            }
            ApproveError::Store(store) => store.into(),
        }
    }
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> ApiError {
        match error {
            TokenError::NoLogin(_) => ApiError::conflict(error.to_string()),
            TokenError::Unknown(id) => ApiError::not_found(format!("token `{id}`")),
            TokenError::Misfit(what) => ApiError::malformed("/roles", what),
            TokenError::TooMany(_) => ApiError::conflict(error.to_string()),
            TokenError::Store(store) => store.into(),
        }
    }
}

impl From<InstallError> for ApiError {
    fn from(error: InstallError) -> ApiError {
        match error {
            InstallError::Owned { .. } | InstallError::Conflict | InstallError::Stale(_) => {
                ApiError::conflict(error.to_string())
            }
            InstallError::Misfit(what) => ApiError::malformed("/spec/sponsor", what),
            InstallError::AgentApproves { .. } => {
                ApiError::malformed("/spec/approver/publicKey", error.to_string())
            }
            InstallError::Store(store) => store.into(),
        }
    }
}

impl From<ApplyError> for ApiError {
    fn from(error: ApplyError) -> ApiError {
        match error {
            ApplyError::Invalid(problems) => problems.into(),
            ApplyError::Unknown { kind, name } => ApiError::not_found(format!("{kind} `{name}`")),
            ApplyError::NoBundle(publisher) => {
                ApiError::not_found(format!("bundle of Publisher `{publisher}` in force"))
            }
            ApplyError::Install(install) => install.into(),
        }
    }
}

impl From<Problems> for ApiError {
    fn from(problems: Problems) -> ApiError {
        let first = problems.0.first();
        let place = first.map(|problem| problem.pointer.clone()).unwrap_or_default();
        let detail = first.map(|problem| problem.what.clone()).unwrap_or_default();
        let mut error = ApiError::malformed(place, detail);
        error.code = "invalid_documents";
        error.problems = problems
            .0
            .iter()
            .map(|problem| json!({"place": problem.pointer, "detail": problem.what}))
            .collect();
        error
    }
}
