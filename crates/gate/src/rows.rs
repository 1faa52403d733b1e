//! Rows and bodies of entries as types, and the order of things that are numbered by their entry.
//!
//! Reading a row or a body that is not of its type is a finding of corruption, never a default.

use journal::Entry;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use store::{Corrupt, Reader, Row, Rows, StoreError};

/// Rows per value of the index `page`.
const PAGE: u64 = 1024;

/// A row as its type.
pub(crate) fn decode<T: DeserializeOwned>(value: Value) -> Result<T, StoreError> {
    serde_json::from_value(value).map_err(|error| StoreError::Corrupt {
        finding: format!("row: {error}"),
    })
}

/// The same of a row that somebody else has too.
pub(crate) fn decode_held<T: DeserializeOwned>(value: &Value) -> Result<T, StoreError> {
    T::deserialize(value).map_err(|error| StoreError::Corrupt {
        finding: format!("row: {error}"),
    })
}

/// A row of the projection that applies, as its type.
pub(crate) fn get<T: DeserializeOwned>(rows: &dyn Rows, key: &str) -> Result<Option<T>, Corrupt> {
    rows.held(key)?
        .map(|value| T::deserialize(&*value).map_err(|e| Corrupt(format!("row `{key}`: {e}"))))
        .transpose()
}

/// Replaces a row of the projection that applies.
pub(crate) fn put<T: Serialize>(rows: &mut dyn Rows, key: &str, row: &T) -> Result<(), Corrupt> {
    let value = serde_json::to_value(row).map_err(|e| Corrupt(format!("row `{key}`: {e}")))?;
    rows.put(key, value)
}

/// The body of an entry as its type; members that the type does not name are left out.
pub(crate) fn body<T: DeserializeOwned>(entry: &Entry) -> Result<T, Corrupt> {
    T::deserialize(&entry.body)
        .map_err(|e| Corrupt(format!("entry {} of kind `{}`: {e}", entry.sequence, entry.kind)))
}

/// A value for a body or a row.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<Value, StoreError> {
    serde_json::to_value(value).map_err(|error| StoreError::Refused(format!("no JSON: {error}")))
}

/// The session of an entry that has to have one.
pub(crate) fn session_of(entry: &Entry) -> Result<&str, Corrupt> {
    let missing = || {
        Corrupt(format!(
            "entry {} of kind `{}` names no session",
            entry.sequence, entry.kind
        ))
    };
    entry.session.as_deref().ok_or_else(missing)
}

/// 42 of `ses-42`; 0 for what has no number.
pub(crate) fn number(id: &str) -> u64 {
    id.rsplit_once('-')
        .and_then(|(_, digits)| digits.parse().ok())
        .unwrap_or(0)
}

/// The value of index `page` of a numbered row: what [`newest`] walks backwards.
pub(crate) fn page(id: &str) -> String {
    (number(id) / PAGE).to_string()
}

/// The newest rows that `keep` accepts, newest first, up to `limit`. Ids hold the sequence of their
/// first entry, so the journal's size bounds the pages from above.
pub(crate) fn newest<T: DeserializeOwned>(
    reader: &Reader<'_>,
    projection: &str,
    limit: usize,
    keep: impl Fn(&T) -> bool,
) -> Result<Vec<T>, StoreError> {
    let mut found = Vec::new();
    for page in (0..=reader.size()? / PAGE).rev() {
        if found.len() >= limit {
            break;
        }
        let mut rows = reader.find(projection, "page", &page.to_string())?;
        rows.sort_by_key(|row| std::cmp::Reverse(number(&row.key)));
        for Row { value, .. } in rows {
            found.extend(Some(decode(value)?).filter(&keep));
        }
    }
    found.truncate(limit);
    Ok(found)
}
