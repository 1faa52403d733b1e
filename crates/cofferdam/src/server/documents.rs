//! Configuration documents: read, applied as a whole or not at all, deleted.

use super::call::{Answer, Call, ok};
use super::places::document_spot;
use super::problem::ApiError;
use crate::app::{Change, Wanted};
use crate::config::bundle::Found;
use crate::config::{self, Kind};
use gate::bundles::Envelope;
use gate::{DocumentView, Owner, Spot};
use serde::Deserialize;
use serde_json::{Value, json};

/// Most documents in one request.
const APPLY_MAX: usize = 1000;
/// Most bundles in one request.
const BUNDLES_MAX: usize = 32;

/// `GET /api/v1/documents`: all, by kind and name.
pub async fn list(call: Call) -> Answer {
    ok(&seen(&call)?)
}

/// Those that the caller sees.
fn seen(call: &Call) -> Result<Vec<DocumentView>, ApiError> {
    let mut seen = Vec::new();
    for document in call.app.gate.documents()? {
        let spot = match Kind::parse(&document.kind) {
            Some(kind) => document_spot(&call.app, kind, &document.name, &document.document)?,
            None => Spot::Root,
        };
        if call.sees(&[spot]) {
            seen.push(document);
        }
    }
    Ok(seen)
}

/// `GET /api/v1/documents/{kind}`.
pub async fn of_kind(call: Call) -> Answer {
    let kind = kind(&call)?;
    let mut documents = seen(&call)?;
    documents.retain(|document| document.kind == kind.as_str());
    ok(&documents)
}

/// `GET /api/v1/documents/{kind}/{name}`.
pub async fn show(call: Call) -> Answer {
    let kind = kind(&call)?;
    let name = call.parameter("name");
    let is_it = |document: &DocumentView| document.kind == kind.as_str() && document.name == name;
    let found = call.app.gate.documents()?.into_iter().find(is_it);
    ok(&found.ok_or_else(|| ApiError::not_found(format!("{kind} `{name}`")))?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mode {
    /// Check and tell the difference, change nothing.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Apply {
    documents: Vec<Value>,
    /// Signed bundles of policies, each an envelope.
    #[serde(default)]
    bundles: Vec<Value>,
    /// Why older bundles may come than were here.
    allow_rollback: Option<String>,
}

/// `POST /api/v1/documents?dry_run=`: `{"documents": [...], "bundles": [...]}`; all of them are applied or none.
pub async fn apply(call: Call) -> Answer {
    let mode: Mode = call.query()?;
    let Apply {
        documents,
        bundles,
        allow_rollback,
    } = call.json()?;
    if documents.len() > APPLY_MAX {
        return Err(ApiError::malformed(
            "/documents",
            format!("more than {APPLY_MAX} documents"),
        ));
    }
    let placed = documents
        .into_iter()
        .enumerate()
        .map(|(i, value)| (format!("/documents/{i}"), value))
        .collect();
    let changes = config::from_values(placed)?
        .into_iter()
        .map(|d| Change::Apply(Box::new(d)))
        .collect();
    let wanted = Wanted {
        changes,
        bundles: found(bundles)?,
        removed: Vec::new(),
        rollback: super::bundles::reason(allow_rollback, "/allow_rollback")?,
    };
    let by = call.caller.principal();
    ok(&call
        .app
        .configuration
        .change(by, Owner::Api, wanted, mode.dry_run)
        .await?)
}

fn found(bundles: Vec<Value>) -> Result<Vec<Found>, ApiError> {
    if bundles.len() > BUNDLES_MAX {
        let what = format!("more than {BUNDLES_MAX} bundles");
        return Err(ApiError::malformed("/bundles", what));
    }
    let one = |(i, value)| {
        let name = format!("/bundles/{i}");
        match Envelope::from_value(value) {
            Ok(envelope) => Ok(Found { name, envelope }),
            Err(error) => Err(ApiError::malformed(name, error.to_string())),
        }
    };
    bundles.into_iter().enumerate().map(one).collect()
}

/// `DELETE /api/v1/documents/{kind}/{name}`: refused while others refer to it.
pub async fn delete(call: Call) -> Answer {
    let mode: Mode = call.query()?;
    let change = Change::Delete {
        kind: kind(&call)?,
        name: call.parameter("name").to_owned(),
    };
    let by = call.caller.principal();
    ok(&call
        .app
        .configuration
        .change(by, Owner::Api, vec![change].into(), mode.dry_run)
        .await?)
}

pub(super) fn kind(call: &Call) -> Result<Kind, ApiError> {
    let word = call.parameter("kind");
    Kind::parse(word).ok_or_else(|| {
        let known = json!(Kind::ALL.map(Kind::as_str));
        ApiError::malformed(
            "kind",
            format!("unknown kind `{word}`; this version knows {known}"),
        )
    })
}
