//! Reading: a consistent snapshot of committed state.

use crate::{Row, StoreError};
use journal::Entry;
use journal::merkle::Hash;
use serde_json::Value;

/// An entry as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The entry.
    pub entry: Entry,
    /// Its leaf hash.
    pub hash: Hash,
}

/// A payload, or the fact that it is gone.
#[derive(Clone, Debug, PartialEq)]
pub enum Erasable<T> {
    /// Still there.
    Present(T),
    /// Key and salt were destroyed.
    Erased,
    /// There never was one of that name.
    Absent,
}

/// A snapshot. Short-lived: it holds back nothing but WAL checkpoints.
pub struct Reader<'a> {
    _private: std::marker::PhantomData<&'a ()>,
}

impl Reader<'_> {
    /// Number of committed entries.
    pub fn size(&self) -> Result<u64, StoreError> {
        todo!()
    }
    /// One entry.
    pub fn entry(&self, sequence: u64) -> Result<Option<Stored>, StoreError> {
        let _ = sequence;
        todo!()
    }
    /// Up to `limit` entries from `from` on, in order.
    pub fn entries(&self, from: u64, limit: usize) -> Result<Vec<Stored>, StoreError> {
        let _ = (from, limit);
        todo!()
    }
    /// Up to `limit` entries of one session from `from` on.
    pub fn session_entries(&self, session: &str, from: u64, limit: usize) -> Result<Vec<Stored>, StoreError> {
        let _ = (session, from, limit);
        todo!()
    }
    /// A payload of an entry, decrypted and checked against its commitment.
    pub fn payload(&self, sequence: u64, name: &str) -> Result<Erasable<Value>, StoreError> {
        let _ = (sequence, name);
        todo!()
    }
    /// One row of a projection.
    pub fn row(&self, projection: &str, key: &str) -> Result<Option<Value>, StoreError> {
        let _ = (projection, key);
        todo!()
    }
    /// Rows in order of key after `after`, up to `limit`.
    pub fn rows(&self, projection: &str, after: Option<&str>, limit: usize) -> Result<Vec<Row>, StoreError> {
        let _ = (projection, after, limit);
        todo!()
    }
    /// Rows whose index holds `value`, in order of key.
    pub fn find(&self, projection: &str, index: &str, value: &str) -> Result<Vec<Row>, StoreError> {
        let _ = (projection, index, value);
        todo!()
    }
    /// Rows whose text has any of the words, best first. Words are data, never query syntax.
    pub fn search(&self, projection: &str, words: &str, limit: usize) -> Result<Vec<Row>, StoreError> {
        let _ = (projection, words, limit);
        todo!()
    }
    /// Hex digest of a projection.
    pub fn projection_digest(&self, projection: &str) -> Result<String, StoreError> {
        let _ = projection;
        todo!()
    }
    /// Audit path of an entry in the tree of `size`.
    pub fn inclusion_proof(&self, sequence: u64, size: u64) -> Result<Option<Vec<Hash>>, StoreError> {
        let _ = (sequence, size);
        todo!()
    }
    /// Consistency proof.
    pub fn consistency_proof(&self, old: u64, new: u64) -> Result<Option<Vec<Hash>>, StoreError> {
        let _ = (old, new);
        todo!()
    }
}
