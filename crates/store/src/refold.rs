//! Folding all entries again: for a new projection, for `rebuild`, for `verify`.

use crate::fold::{self, FoldError, Sums};
use crate::kept::Kept;
use crate::read::Erasable;
use crate::shared::Shared;
use crate::verify::leaf_at;
use crate::{Applied, Projection, StoreError, payloads};
use journal::Entry;
use journal::merkle::Frontier;
use journal::verify::{Finding, Replay};
use rusqlite::Connection;
use serde_json::Value;
use std::cell::RefCell;
use std::sync::Arc;

/// Folds the entries that the database holds into its tables, which are empty for these projections.
/// Every entry is checked on the way, and all of them against the right edge of the tree: digests of
/// what was altered would vouch for it from then on.
pub(crate) fn refold(
    connection: &Connection,
    shared: &Shared,
    projections: &[Arc<dyn Projection>],
    edge: &Frontier,
) -> Result<Sums, StoreError> {
    let mut sums = Sums::empty(projections.len());
    let kept = RefCell::default();
    let mut replay = Replay::resume(Frontier::default(), &shared.origin);
    let mut statement = connection.prepare("SELECT seq, leaf, hash FROM entries ORDER BY seq")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let sequence = replay.size();
        let (leaf, hash) = leaf_at(row, sequence).map_err(corrupt)?;
        let head = replay.fold(leaf, Some(&hash)).map_err(corrupt)?;
        if !projections.iter().any(|p| fold::wants(p.kinds(), head.kind)) {
            continue;
        }
        let entry = Entry::from_leaf(leaf).map_err(|e| StoreError::Corrupt {
            finding: format!("entry {sequence} cannot be read: {e}"),
        })?;
        let payloads = readable_payloads(connection, shared, &entry)?;
        apply(
            (connection, &kept),
            shared,
            projections,
            &mut sums,
            entry,
            &payloads,
        )?;
    }
    match replay.frontier() == edge {
        true => Ok(sums),
        false if replay.size() < edge.size() => Err(corrupt(Finding::Missing {
            sequence: replay.size(),
        })),
        false => Err(corrupt(Finding::Derived {
            what: "the head of the log".to_owned(),
        })),
    }
}

fn corrupt(finding: Finding) -> StoreError {
    StoreError::Corrupt {
        finding: finding.to_string(),
    }
}

/// Applies one entry as it was applied live: its own digests were not known then.
pub(crate) fn apply(
    target: (&Connection, &RefCell<Kept>),
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
            Err(finding) => return Err(corrupt(finding)),
        }
    }
    Ok(readable)
}
