//! The head of the log: how long it is, its right edge, and the state of all projections, sealed.

use crate::digest::{DigestKey, Sum};
use crate::fold::Sums;
use crate::shared::Shared;
use crate::{Projection, StoreError};
use journal::merkle::{Frontier, Hash, node_hash};
use policy::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Level from which on the roots of perfect subtrees are kept: one row for 256 entries.
const LEVEL_KEPT_MIN: u32 = 8;

/// Where the log ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) frontier: Frontier,
    /// Timestamp of the last entry.
    pub(crate) last: Option<Timestamp>,
}

/// The head as stored, with what it was sealed with.
pub(crate) struct StoredHead {
    pub(crate) head: Head,
    seal: Vec<u8>,
}

impl Head {
    /// Appends a leaf's hash, keeping the nodes that proofs will want.
    pub(crate) fn append(&mut self, connection: &Connection, leaf: Hash) -> Result<(), StoreError> {
        let size = self.frontier.size().saturating_add(1);
        if size.trailing_zeros() >= LEVEL_KEPT_MIN {
            let mut node = leaf;
            for (level, left) in (1_u32..=size.trailing_zeros()).zip(self.frontier.roots().iter().rev()) {
                node = node_hash(left, &node);
                if level >= LEVEL_KEPT_MIN {
                    connection
                        .prepare_cached(
                            "INSERT OR REPLACE INTO nodes(level, position, hash) VALUES (?1, ?2, ?3)",
                        )?
                        .execute((level, (size >> level).saturating_sub(1), node))?;
                }
            }
        }
        self.frontier.append(leaf);
        Ok(())
    }

    /// Writes the head and the digests that changed.
    pub(crate) fn store(
        &self,
        connection: &Connection,
        shared: &Shared,
        sums: &Sums,
    ) -> Result<(), StoreError> {
        let key = shared.digest_key()?;
        for ((projection, sum), touched) in shared.projections.iter().zip(&sums.sums).zip(&sums.touched) {
            if *touched {
                let (nonce, masked) =
                    key.mask(projection.name(), sum)
                        .map_err(|_| StoreError::Unavailable {
                            reason: "no randomness for digests".to_owned(),
                        })?;
                connection
                    .prepare_cached("INSERT OR REPLACE INTO digests(projection, nonce, masked, rows) VALUES (?1, ?2, ?3, ?4)")?
                    .execute((projection.name(), nonce, masked, sum.rows))?;
            }
        }
        let seal = self.seal(key, &shared.projections, sums);
        let last = self.last.map_or(0, Timestamp::ms);
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO head(id, size, roots, last_ms, seal) VALUES (1, ?1, ?2, ?3, ?4)",
            )?
            .execute((self.frontier.size(), self.frontier.roots().concat(), last, seal))?;
        Ok(())
    }

    fn seal(&self, key: &DigestKey, projections: &[Arc<dyn Projection>], sums: &Sums) -> Hash {
        let shown = projections.iter().map(|p| p.name()).zip(&sums.sums);
        key.seal_head(self.frontier.size(), &self.frontier.root(), shown)
    }

    /// Reads the head. `Ok(None)` when there is none yet, `Err` in the middle when it makes no sense.
    pub(crate) fn load(connection: &Connection) -> Result<Option<StoredHead>, StoreError> {
        let found: Option<(u64, Vec<u8>, i64, Vec<u8>)> = connection
            .query_row(
                "SELECT size, roots, last_ms, seal FROM head WHERE id = 1",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
            )
            .optional()?;
        let Some((size, roots, last, seal)) = found else {
            return Ok(None);
        };
        let frontier = frontier(size, &roots).ok_or_else(|| StoreError::Corrupt {
            finding: "the head of the log does not fit its size".to_owned(),
        })?;
        let last = (size > 0).then_some(Timestamp::from_ms(last));
        Ok(Some(StoredHead {
            head: Head { frontier, last },
            seal,
        }))
    }
}

impl StoredHead {
    /// Whether all digests are those that were there when the head was written.
    pub(crate) fn is_sealed_with(&self, key: &DigestKey, digests: &BTreeMap<String, Sum>) -> bool {
        let shown = digests.iter().map(|(name, sum)| (name.as_str(), sum));
        let frontier = &self.head.frontier;
        key.seal_head(frontier.size(), &frontier.root(), shown).as_slice() == self.seal
    }
}

/// The right edge from concatenated hashes; `None` when their number does not fit.
pub(crate) fn frontier(size: u64, roots: &[u8]) -> Option<Frontier> {
    let (roots, rest) = roots.as_chunks::<32>();
    rest.is_empty()
        .then(|| Frontier::from_parts(size, roots.to_vec()))?
}

/// All digests in the database, in order of name.
pub(crate) fn digests(connection: &Connection, key: &DigestKey) -> Result<BTreeMap<String, Sum>, StoreError> {
    let mut statement = connection.prepare("SELECT projection, nonce, masked, rows FROM digests")?;
    let mut rows = statement.query([])?;
    let mut found = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let read = || Ok::<(Vec<u8>, Hash, u64), rusqlite::Error>((row.get(1)?, row.get(2)?, row.get(3)?));
        let (nonce, masked, rows) = read().map_err(|error| match error.into() {
            StoreError::Corrupt { finding } => StoreError::Corrupt {
                finding: format!("the digest of projection `{name}`: {finding}"),
            },
            error => error,
        })?;
        let sum = key.unmask(&name, &nonce, &masked, rows);
        found.insert(name, sum);
    }
    Ok(found)
}
