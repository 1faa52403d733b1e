//! What was seen of each publisher, as a fold over entries: the bundle in force, and the highest version ever.

use super::{BundleChange, Step};
use crate::documents::{InstallError, Owner};
use crate::rows::{self, body, decode, json as to_json};
use journal::kind;
use policy::{Principal, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Applied, Corrupt, NewEntry, Projection, Retention, Rows, StoreError, Tx};

/// Name of the projection.
pub(crate) const BUNDLES: &str = "bundles";
/// Most names of policies in an entry; a bundle's payload holds them all.
const NAMES_MAX: usize = 200;

/// A publisher's bundle, and what was seen before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BundleRow {
    /// Whose.
    pub publisher: String,
    /// The last that was installed.
    pub version: u64,
    /// SHA-256 of its contents.
    pub digest: String,
    /// The public key that its signature was checked with.
    pub key: String,
    /// When it was made, as its maker says.
    pub created: Timestamp,
    /// Where it came from.
    pub via: Owner,
    /// The names of its policies.
    pub policies: Vec<String>,
    /// False once it was removed.
    pub in_force: bool,
    /// The highest version that was ever installed.
    pub highest: u64,
    /// SHA-256 of the contents of that.
    pub highest_digest: String,
    /// When it last changed.
    pub updated: Timestamp,
    /// Sequence of the entry that holds the envelope.
    pub entry: u64,
}

/// Appends what `change` is; `None` when nothing is to be done. Compared once more with what is stored.
pub(crate) fn record(
    tx: &mut Tx<'_>,
    by: &Principal,
    generation: u64,
    change: BundleChange,
) -> Result<Option<u64>, InstallError> {
    let held = row(tx, change.publisher())?;
    if let Some(held) = held
        .as_ref()
        .filter(|held| held.in_force && held.via != *change.via())
    {
        return Err(InstallError::Owned {
            owner: held.via.clone(),
            kind: "bundle of".to_owned(),
            name: held.publisher.clone(),
        });
    }
    match change {
        BundleChange::Install {
            bundle,
            via,
            rollback,
        } => {
            let step = bundle.step(held.as_ref(), rollback.as_deref())?;
            if step == Step::Unchanged {
                return Ok(None);
            }
            let contents = bundle.contents();
            let digest = contents
                .digest()
                .map_err(|error| StoreError::Refused(error.to_string()))?;
            let names = contents.names();
            let mut body = json!({
                "publisher": contents.publisher, "version": contents.version, "digest": digest,
                "key": bundle.key(), "created": to_json(&contents.created)?, "via": to_json(&via)?,
                "policies": names.iter().take(NAMES_MAX).collect::<Vec<_>>(), "generation": generation,
            });
            if let (Step::Back, Some(reason), Some(map)) = (step, rollback, body.as_object_mut()) {
                map.insert("rollback".to_owned(), json!(crate::record::short(&reason)));
                map.insert("from".to_owned(), json!(held.map(|held| held.version)));
            }
            let entry = NewEntry::new(kind::BUNDLE_INSTALLED, by, body);
            let entry = entry.payload("envelope", Retention::Config, bundle.envelope().clone());
            Ok(Some(tx.append(entry)?))
        }
        BundleChange::Remove { .. } if !held.as_ref().is_some_and(|held| held.in_force) => Ok(None),
        BundleChange::Remove { publisher, via } => {
            let body = json!({ "publisher": publisher, "via": to_json(&via)?, "generation": generation,
                "version": held.map(|held| held.version) });
            Ok(Some(tx.append(NewEntry::new(kind::BUNDLE_REMOVED, by, body))?))
        }
    }
}

/// What was seen of `publisher`, as of now in this transaction.
fn row(tx: &Tx<'_>, publisher: &str) -> Result<Option<BundleRow>, StoreError> {
    tx.row(BUNDLES, publisher)?.map(decode).transpose()
}

#[derive(Deserialize)]
struct Installed {
    publisher: String,
    version: u64,
    digest: String,
    key: String,
    created: Timestamp,
    via: Owner,
    policies: Vec<String>,
}

#[derive(Deserialize)]
struct Removed {
    publisher: String,
}

/// Rows are [`BundleRow`]s by publisher.
pub(crate) struct Bundles;

impl Projection for Bundles {
    fn name(&self) -> &'static str {
        BUNDLES
    }

    fn kinds(&self) -> &'static [&'static str] {
        &[kind::BUNDLE_INSTALLED, kind::BUNDLE_REMOVED]
    }

    fn apply(&self, applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
        let entry = applied.entry;
        if entry.kind == kind::BUNDLE_REMOVED {
            let Removed { publisher } = body(entry)?;
            let before: Option<BundleRow> = rows::get(rows, &publisher)?;
            let before = before.ok_or_else(|| Corrupt(format!("no bundle of `{publisher}` to remove")))?;
            let row = BundleRow {
                in_force: false,
                updated: entry.timestamp,
                ..before
            };
            return rows::put(rows, &publisher, &row);
        }
        let Installed {
            publisher,
            version,
            digest,
            key,
            created,
            via,
            policies,
        } = body(entry)?;
        let before: Option<BundleRow> = rows::get(rows, &publisher)?;
        let (highest, highest_digest) = match before {
            Some(before) if before.highest > version => (before.highest, before.highest_digest),
            _ => (version, digest.clone()),
        };
        let row = BundleRow {
            publisher: publisher.clone(),
            version,
            digest,
            key,
            created,
            via,
            policies,
            in_force: true,
            highest,
            highest_digest,
            updated: entry.timestamp,
            entry: entry.sequence,
        };
        rows::put(rows, &publisher, &row)
    }
}
