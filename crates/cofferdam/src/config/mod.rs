//! Configuration: documents in YAML, checked strictly, compiled into what the gate, the runtime
//! and triage run on. It never opens a socket and applies nothing itself.

pub mod bundle;
pub mod compile;
pub mod document;
pub mod load;
pub mod problem;
pub mod publisher;
pub mod source;
mod starter;

pub use compile::{Compiled, compile};
pub use document::{Document, Kind, Spec};
pub use load::{TABLE_ENDING, from_text, from_values, load};
pub use problem::{Problem, Problems};
pub use starter::{STARTER, init};

use runtime::tools::{IncidentSearch, Similar, Supplied};
use std::path::Path;
use std::sync::Arc;

/// `cofferdam validate`: checks a file or a directory of documents.
///
/// Returns one line that says what was found to be good.
///
/// # Errors
/// Everything that is wrong, rendered as `file:line:col: what` with an excerpt, one after another.
pub fn validate(path: &Path) -> Result<String, String> {
    let documents = whole(path).map_err(|problems| problems.render())?;
    let unsigned = publisher::unsigned(&documents);
    if !unsigned.is_empty() {
        return Err(Problems(unsigned).render());
    }
    let supplied = unsupplied();
    let compiled = compile(&documents, 1, &supplied).map_err(|problems| problems.render())?;
    let refused: Vec<Problem> = compiled
        .refused_by_now
        .into_iter()
        .map(|(_, _, problem)| problem)
        .collect();
    if !refused.is_empty() {
        return Err(Problems(refused).render());
    }
    let counts: Vec<String> = Kind::ALL
        .into_iter()
        .map(|kind| (documents.iter().filter(|d| d.kind == kind).count(), kind))
        .filter(|(count, _)| *count > 0)
        .map(|(count, kind)| format!("{count} {kind}"))
        .collect();
    let what = if counts.is_empty() {
        "no documents".to_owned()
    } else {
        counts.join(", ")
    };
    Ok(format!("`{}` is valid: {what}", path.display()))
}

/// The one document of a text that is none of ours, within the limits of those that are.
pub(crate) fn plain(name: &str, text: &str) -> Result<serde_json::Value, String> {
    let source = source::Source {
        name: name.into(),
        text: text.into(),
    };
    let parsed = source::parse(source).map_err(|problem| problem.to_string())?;
    let mut values = parsed.into_iter().map(|parsed| parsed.value);
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(format!("`{name}` holds no document, or several")),
    }
}

/// Documents, and those of bundles that a publisher among them signed.
fn whole(path: &Path) -> Result<Vec<Document>, Problems> {
    let mut documents = load(path)?;
    let keys = publisher::publishers(&documents);
    let keys = keys
        .into_iter()
        .map(|(name, spec)| (name, spec.public_keys))
        .collect();
    for found in bundle::bundles(path)? {
        let bundle = found
            .envelope
            .verify(&keys)
            .map_err(|error| found.problem(error))?;
        documents.extend(bundle::documents(&found.name, bundle.contents())?);
    }
    Ok(documents)
}

/// What tools are given where documents are only checked: nothing of theirs runs.
pub(crate) fn unsupplied() -> Supplied {
    Supplied {
        incidents: Arc::new(NoIncidents),
        commands: None,
    }
}

/// Nothing happened.
struct NoIncidents;

impl IncidentSearch for NoIncidents {
    fn similar(&self, _: &str, _: &str, _: Option<&str>, _: usize) -> Result<Similar, String> {
        Ok(Similar::default())
    }
}
