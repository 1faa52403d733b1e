//! Signed bundles of policies: which are in force, what was seen of their publishers, and their removal. They come
//! with documents: `POST /api/v1/documents`.

use super::call::{Answer, Call, ok};
use super::problem::ApiError;
use crate::app::Wanted;
use crate::config::publisher::PublisherSpec;
use crate::config::{Kind, from_values, publisher};
use gate::Owner;
use gate::bundles::BundleRow;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Longest reason, in bytes.
const REASON_BYTES_MAX: usize = 300;

#[derive(Serialize)]
struct View {
    #[serde(flatten)]
    row: BundleRow,
    /// What would keep it from coming now: its key is gone, or the pin names another.
    outgrown: Option<String>,
}

/// `GET /api/v1/bundles`: every publisher that a bundle came from, also those whose bundle is gone.
pub async fn list(call: Call) -> Answer {
    let publishers = publishers(&call)?;
    let view = |row: BundleRow| View {
        outgrown: match publishers.get(&row.publisher) {
            _ if !row.in_force => None,
            Some(spec) => spec.outgrown(&row),
            None => Some(format!("there is no Publisher `{}`", row.publisher)),
        },
        row,
    };
    let rows = call.app.gate.bundles()?;
    ok(&rows.into_iter().map(view).collect::<Vec<_>>())
}

fn publishers(call: &Call) -> Result<BTreeMap<String, PublisherSpec>, ApiError> {
    let documents = call.app.gate.documents()?.into_iter();
    let documents = documents.filter(|view| view.kind == Kind::Publisher.as_str());
    let named = documents.map(|view| (format!("{}/{}", view.kind, view.name), view.document));
    Ok(publisher::publishers(&from_values(named.collect())?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mode {
    #[serde(default)]
    dry_run: bool,
}

/// `DELETE /api/v1/bundles/{name}`: ends the bundle of that publisher and its policies.
pub async fn remove(call: Call) -> Answer {
    let mode: Mode = call.query()?;
    let wanted = Wanted {
        removed: vec![call.parameter("name").to_owned()],
        ..Wanted::default()
    };
    let by = call.caller.principal();
    ok(&call
        .app
        .configuration
        .change(by, Owner::Api, wanted, mode.dry_run)
        .await?)
}

/// A reason as it was given, if one was: never an empty one.
pub(super) fn reason(given: Option<String>, place: &str) -> Result<Option<String>, ApiError> {
    match given {
        Some(reason) if reason.trim().is_empty() || reason.len() > REASON_BYTES_MAX => Err(
            ApiError::malformed(place, format!("a reason has 1 to {REASON_BYTES_MAX} bytes")),
        ),
        given => Ok(given),
    }
}
