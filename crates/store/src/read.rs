//! Reading: a consistent snapshot of committed state.

use crate::query::{self, TreeNodes};
use crate::shared::{Moment, Shared};
use crate::{Row, StoreError, head, payloads};
use journal::Entry;
use journal::merkle::{self, Hash};
use policy::Timestamp;
use rusqlite::Connection;
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
    pub(crate) connection: &'a Connection,
    pub(crate) shared: &'a Shared,
    pub(crate) moment: Moment,
}

impl Reader<'_> {
    /// When it was taken, or a little before: for [`crate::Store::changed_since`].
    pub fn moment(&self) -> Moment {
        self.moment
    }
    /// Number of committed entries.
    pub fn size(&self) -> Result<u64, StoreError> {
        query::size(self.connection)
    }
    /// One entry.
    pub fn entry(&self, sequence: u64) -> Result<Option<Stored>, StoreError> {
        query::entry(self.connection, sequence)
    }
    /// Up to `limit` entries from `from` on, in order.
    pub fn entries(&self, from: u64, limit: usize) -> Result<Vec<Stored>, StoreError> {
        query::entries(self.connection, from, limit)
    }
    /// When and by whom entries of `kinds` were written after the last entry that is older than `since`, in
    /// order. Costs about a microsecond for each entry since then.
    pub fn acts_since(
        &self,
        since: Timestamp,
        kinds: &[&str],
    ) -> Result<Vec<(Timestamp, String)>, StoreError> {
        query::acts_since(self.connection, since, kinds)
    }
    /// The sequence after the last entry that is older than `since`; 0 when none is.
    pub fn first_since(&self, since: Timestamp) -> Result<u64, StoreError> {
        query::first_since(self.connection, since, false)
    }

    /// The sequence of the earliest entry that is not older than `since`, or the next one. Looks at every entry:
    /// for when the clock went back, and times are in no order.
    pub fn earliest_since(&self, since: Timestamp) -> Result<u64, StoreError> {
        query::first_since(self.connection, since, true)
    }
    /// Up to `limit` entries of one session from `from` on.
    pub fn session_entries(&self, session: &str, from: u64, limit: usize) -> Result<Vec<Stored>, StoreError> {
        query::session_entries(self.connection, session, from, limit)
    }
    /// A payload of an entry, decrypted and checked against its commitment.
    pub fn payload(&self, sequence: u64, name: &str) -> Result<Erasable<Value>, StoreError> {
        let Some(stored) = self.entry(sequence)? else {
            return Ok(Erasable::Absent);
        };
        payloads::get(
            self.connection,
            self.shared,
            sequence,
            name,
            &stored.entry.commitments,
        )?
        .map_err(|finding| StoreError::Corrupt {
            finding: finding.to_string(),
        })
    }
    /// One row of a projection.
    pub fn row(&self, projection: &str, key: &str) -> Result<Option<Value>, StoreError> {
        query::row(self.connection, projection, key)
    }
    /// Rows in order of key after `after`, up to `limit`.
    pub fn rows(&self, projection: &str, after: Option<&str>, limit: usize) -> Result<Vec<Row>, StoreError> {
        query::rows(self.connection, projection, after, limit)
    }
    /// Rows whose index holds `value`, in order of key.
    pub fn find(&self, projection: &str, index: &str, value: &str) -> Result<Vec<Row>, StoreError> {
        query::find(self.connection, projection, index, value)
    }
    /// Of the rows whose index holds `value` the last `limit`, by the numbers that their keys end with; in no
    /// order.
    pub fn find_last(
        &self,
        projection: &str,
        index: &str,
        value: &str,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        query::find_last(self.connection, projection, (index, value), limit)
    }
    /// Rows whose text has any of the words, best first. Words are data, never query syntax; at most 64 count.
    pub fn search(&self, projection: &str, words: &str, limit: usize) -> Result<Vec<Row>, StoreError> {
        query::search(self.connection, projection, words, limit)
    }
    /// Hex digest of a projection, as entries hold it.
    pub fn projection_digest(&self, projection: &str) -> Result<String, StoreError> {
        let key = self.shared.digest_key()?;
        let sum = head::digests(self.connection, key)?
            .remove(projection)
            .unwrap_or_default();
        Ok(key.show(projection, &sum))
    }
    /// Audit path of an entry in the tree of `size`.
    pub fn inclusion_proof(&self, sequence: u64, size: u64) -> Result<Option<Vec<Hash>>, StoreError> {
        match size <= self.size()? {
            true => merkle::inclusion_proof(&self.tree(size), sequence, size),
            false => Ok(None),
        }
    }
    /// Consistency proof.
    pub fn consistency_proof(&self, old: u64, new: u64) -> Result<Option<Vec<Hash>>, StoreError> {
        match new <= self.size()? {
            true => merkle::consistency_proof(&self.tree(new), old, new),
            false => Ok(None),
        }
    }
    /// Root of the tree of the first `size` entries; `None` when there are fewer.
    pub fn root(&self, size: u64) -> Result<Option<Hash>, StoreError> {
        match size <= self.size()? {
            true => Ok(self.tree(size).frontier_at(size)?.map(|frontier| frontier.root())),
            false => Ok(None),
        }
    }

    fn tree(&self, size: u64) -> TreeNodes<'_> {
        TreeNodes {
            connection: self.connection,
            size,
        }
    }
}
