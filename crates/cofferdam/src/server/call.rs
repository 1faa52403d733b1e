//! One authenticated request, as a handler sees it: parsed before it is judged, bounded before it is
//! parsed.

use super::problem::ApiError;
use crate::app::App;
use crate::tls::Shown;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use gate::{Caller, Role};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;

/// What a handler gets.
pub struct Call {
    /// The platform.
    pub app: Arc<App>,
    /// Who calls; it has one of [`Call::roles`] somewhere.
    pub caller: Caller,
    /// The client certificate that the connection has shown.
    pub shown: Option<Arc<Shown>>,
    /// The route's.
    pub roles: &'static [Role],
    /// From the path, by name.
    pub parameters: Vec<(String, String)>,
    /// Path and query.
    pub uri: Uri,
    /// Headers.
    pub headers: HeaderMap,
    /// The body, at most as long as the route allows.
    pub body: Bytes,
}

/// What a handler gives.
pub type Answer = Result<Response, ApiError>;

impl Call {
    /// A parameter of the path. Empty if the route has none of that name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters
            .iter()
            .find(|(n, _)| n == name)
            .map_or("", |(_, value)| value)
    }

    /// The query, typed and strict.
    ///
    /// # Errors
    /// 400 for unknown or misshapen parameters.
    pub fn query<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        axum::extract::Query::<T>::try_from_uri(&self.uri)
            .map(|query| query.0)
            .map_err(|error| ApiError::malformed("query", super::root_cause(&error)))
    }

    /// The body as JSON: no duplicate keys, no lone surrogates, bounded depth.
    ///
    /// # Errors
    /// 400 with the place.
    pub fn value(&self) -> Result<Value, ApiError> {
        Ok(policy::canonical::parse(&self.body, super::BODY_BYTES_MAX)?)
    }

    /// The body, typed and strict.
    ///
    /// # Errors
    /// 400 with a JSON pointer.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        typed(self.value()?)
    }

    /// Whether the caller has one of `roles` where `agent` is.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn has_role(&self, roles: &[Role], agent: &str) -> Result<bool, ApiError> {
        Ok(self.caller.holds(roles, &self.app.gate.spot_of(agent)?))
    }
}

/// Deserialises `value`; an error names its place as a JSON pointer.
///
/// # Errors
/// 400.
pub fn typed<T: DeserializeOwned>(value: Value) -> Result<T, ApiError> {
    use serde_path_to_error::Segment;
    serde_path_to_error::deserialize(value).map_err(|error| {
        let mut place = String::new();
        for segment in error.path() {
            match segment {
                Segment::Seq { index } => place.push_str(&format!("/{index}")),
                Segment::Map { key } => place.push_str(&format!("/{}", crate::config::source::escape(key))),
                Segment::Enum { .. } | Segment::Unknown => {}
            }
        }
        ApiError::malformed(place, error.inner().to_string())
    })
}

/// 200 with JSON.
///
/// # Errors
/// 500 when the value cannot be written, which no view of ours is.
pub fn ok<T: Serialize>(value: &T) -> Answer {
    json(StatusCode::OK, value)
}

/// JSON with a status.
///
/// # Errors
/// See [`ok`].
pub fn json<T: Serialize>(status: StatusCode, value: &T) -> Answer {
    let bytes = serde_json::to_vec(value).map_err(|error| ApiError::internal(&error))?;
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// 204.
#[must_use]
pub fn nothing() -> Response {
    StatusCode::NO_CONTENT.into_response()
}
