//! Incidents: read only. They are opened, attached and closed by notifications.

use super::call::{Answer, Call, ok};
use super::places::incident_spot;
use super::problem::ApiError;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    limit: Option<usize>,
}

/// `GET /api/v1/incidents?limit=`: the newest first.
pub async fn list(call: Call) -> Answer {
    let query: List = call.query()?;
    let limit = query.limit.unwrap_or(100).min(1000);
    let mut seen = Vec::new();
    for incident in call.app.triage.incidents(call.look(limit))? {
        if seen.len() < limit && (call.everywhere() || call.sees(&[incident_spot(&call.app, &incident)?])) {
            seen.push(incident);
        }
    }
    ok(&seen)
}

/// `GET /api/v1/incidents/{id}`.
pub async fn show(call: Call) -> Answer {
    let id = call.parameter("id");
    ok(&call
        .app
        .triage
        .incident(id)?
        .ok_or_else(|| ApiError::not_found(format!("incident `{id}`")))?)
}
