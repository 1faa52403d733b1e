//! Folding all entries again: for a new projection, for `rebuild`, for `verify`.

use crate::fold::{self, FoldError, Sums};
use crate::read::Erasable;
use crate::shared::Shared;
use crate::{Applied, Projection, StoreError, payloads};
use journal::Entry;
use rusqlite::Connection;
use serde_json::Value;
use std::sync::Arc;

/// Folds the entries that `source` holds into the tables of `target`, which are empty.
pub(crate) fn refold(
    source: &Connection,
    target: &Connection,
    shared: &Shared,
    projections: &[Arc<dyn Projection>],
) -> Result<Sums, StoreError> {
    let mut sums = Sums::empty(projections.len());
    let mut statement = source.prepare("SELECT seq, kind, leaf FROM entries ORDER BY seq")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let kind = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        if !projections.iter().any(|p| fold::wants(p.kinds(), kind)) {
            continue;
        }
        let sequence: u64 = row.get(0)?;
        let leaf = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
        let entry = Entry::from_leaf(leaf).map_err(|e| StoreError::Corrupt {
            finding: format!("entry {sequence} cannot be read: {e}"),
        })?;
        let payloads = readable_payloads(source, shared, &entry)?;
        apply(target, shared, projections, &mut sums, entry, &payloads)?;
    }
    Ok(sums)
}

/// Applies one entry as it was applied live: its own digests were not known then.
pub(crate) fn apply(
    target: &Connection,
    shared: &Shared,
    projections: &[Arc<dyn Projection>],
    sums: &mut Sums,
    mut entry: Entry,
    payloads: &[(String, Value)],
) -> Result<(), StoreError> {
    entry.projections.clear();
    fold::apply(
        target,
        shared.digest_key()?,
        projections,
        sums,
        &Applied {
            entry: &entry,
            payloads,
        },
    )
    .map_err(|error| match error {
        FoldError::Store(error) => error,
        FoldError::Corrupt { projection, corrupt } => StoreError::Corrupt {
            finding: format!(
                "entry {} cannot be applied to projection `{projection}`: {corrupt}",
                entry.sequence
            ),
        },
    })
}

fn readable_payloads(
    source: &Connection,
    shared: &Shared,
    entry: &Entry,
) -> Result<Vec<(String, Value)>, StoreError> {
    let mut readable = Vec::with_capacity(entry.commitments.len());
    for commitment in &entry.commitments {
        match payloads::get(
            source,
            shared,
            entry.sequence,
            &commitment.name,
            &entry.commitments,
        )? {
            Ok(Erasable::Present(value)) => readable.push((commitment.name.clone(), value)),
            Ok(Erasable::Erased | Erasable::Absent) => (),
            Err(finding) => {
                return Err(StoreError::Corrupt {
                    finding: finding.to_string(),
                });
            }
        }
    }
    Ok(readable)
}
