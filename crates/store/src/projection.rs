//! Projections: state as a fold over entries, in rows that the store keeps, digests and can rebuild.
//!
//! A projection is a set of rows, key to JSON value. It changes only by applying entries, in order,
//! within the transaction that appends them. The store keeps an order-independent keyed digest of
//! every projection, indexes and searchable text, and makes all of it again in `rebuild`.

use journal::Entry;
use serde_json::Value;
use std::sync::Arc;

/// An entry with the payloads that are still readable.
#[derive(Clone, Debug)]
pub struct Applied<'a> {
    /// The entry.
    pub entry: &'a Entry,
    /// `(name, JSON)`; what was erased is missing.
    pub payloads: &'a [(String, Value)],
}

impl Applied<'_> {
    /// A payload by name, unless it was erased.
    pub fn payload(&self, name: &str) -> Option<&Value> {
        self.payloads.iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }
}

/// An entry that a projection cannot apply: refuses the commit when live, is a finding in replay.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Corrupt(pub String);

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Unique in its projection.
    pub key: String,
    /// A JSON object.
    pub value: Value,
}

/// The rows of one projection, inside the transaction.
pub trait Rows {
    /// One row.
    fn get(&self, key: &str) -> Result<Option<Value>, Corrupt>;
    /// The same, for whoever only looks at it.
    fn held(&self, key: &str) -> Result<Option<Arc<Value>>, Corrupt> {
        Ok(self.get(key)?.map(Arc::new))
    }
    /// Rows whose index `index` holds `value`, in order of key.
    fn find(&self, index: &str, value: &str) -> Result<Vec<Row>, Corrupt>;
    /// Adds or replaces.
    fn put(&mut self, key: &str, value: Value) -> Result<(), Corrupt>;
    /// Removes; no row is no error.
    fn delete(&mut self, key: &str) -> Result<(), Corrupt>;
}

/// A fold over entries. Must depend on nothing but the entry, its payloads and its own rows.
pub trait Projection: Send + Sync {
    /// Stable name, also of its digest in entries.
    fn name(&self) -> &'static str;
    /// Kinds it wants, each exact or a prefix ending in `.`: `["approval.", "action.permitted"]`.
    fn kinds(&self) -> &'static [&'static str];
    /// Applies one entry. An error refuses the whole commit: fail closed.
    fn apply(&self, applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt>;
    /// Values to find a row by: `(index, value)`.
    fn index(&self, row: &Row) -> Vec<(&'static str, String)> {
        let _ = row;
        Vec::new()
    }
    /// Text to search a row by.
    fn text(&self, row: &Row) -> Option<String> {
        let _ = row;
        None
    }
}
