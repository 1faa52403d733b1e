//! Applying entries to projections: the only code that changes their rows.
//!
//! The same code folds live (in the commit), in `rebuild` and in `verify` (into a database of its own),
//! so that "equal after a rebuild" is a statement about projections and not about three folds.

use crate::digest::{DigestKey, Sum};
use crate::kept::{Held, Kept, Known, known};
use crate::{Applied, Corrupt, Projection, Row, Rows, StoreError, query};
use rusqlite::{Connection, OptionalExtension};
use serde_json::Value;
use std::cell::RefCell;
use std::sync::Arc;

/// The digests of all projections, in their order, and which of them changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) sums: Vec<Sum>,
    pub(crate) touched: Vec<bool>,
}

impl Sums {
    /// Of empty projections.
    pub(crate) fn empty(count: usize) -> Sums {
        Sums {
            sums: vec![Sum::default(); count],
            touched: vec![false; count],
        }
    }
}

/// Why an entry was not applied.
pub(crate) enum FoldError {
    /// The database failed.
    Store(StoreError),
    /// The projection cannot make sense of it.
    Corrupt {
        projection: &'static str,
        corrupt: Corrupt,
    },
}

/// Applies an entry to every projection that wants it. `kept` are rows of `connection`, by the numbers of `projections`.
pub(crate) fn apply(
    (connection, kept): (&Connection, &RefCell<Kept>),
    key: &DigestKey,
    projections: &[Arc<dyn Projection>],
    sums: &mut Sums,
    applied: &Applied<'_>,
) -> Result<(), FoldError> {
    let all = projections.iter().zip(&mut sums.sums).zip(&mut sums.touched);
    for (number, ((projection, sum), touched)) in all.enumerate() {
        if !wants(projection.kinds(), &applied.entry.kind) {
            continue;
        }
        let projection = projection.as_ref();
        let mut rows = TableRows {
            connection,
            kept,
            key,
            number,
            projection,
            sum,
            touched,
            broken: RefCell::new(None),
        };
        let result = projection.apply(applied, &mut rows);
        if let Some(error) = rows.broken.into_inner() {
            return Err(FoldError::Store(error));
        }
        result.map_err(|corrupt| FoldError::Corrupt {
            projection: projection.name(),
            corrupt,
        })?;
    }
    Ok(())
}

/// Whether any of `kinds` is `kind` or a prefix of it that ends in a dot.
pub(crate) fn wants(kinds: &[&str], kind: &str) -> bool {
    kinds
        .iter()
        .any(|k| *k == kind || (k.ends_with('.') && kind.starts_with(k)))
}

/// Removes all rows of a projection, its index and its text.
pub(crate) fn clear(connection: &Connection, projection: &str) -> Result<(), StoreError> {
    connection.execute(
        "DELETE FROM row_text WHERE rowid IN (SELECT id FROM row_text_ids WHERE projection = ?1)",
        [projection],
    )?;
    for table in ["row_text_ids", "row_index", "rows", "digests"] {
        connection.execute(
            &format!("DELETE FROM {table} WHERE projection = ?1"),
            [projection],
        )?;
    }
    Ok(())
}

/// The rows of one projection in the database.
struct TableRows<'a> {
    connection: &'a Connection,
    kept: &'a RefCell<Kept>,
    key: &'a DigestKey,
    number: usize,
    projection: &'a dyn Projection,
    sum: &'a mut Sum,
    touched: &'a mut bool,
    /// An error of the database, which a projection may not swallow.
    broken: RefCell<Option<StoreError>>,
}

impl Rows for TableRows<'_> {
    fn get(&self, key: &str) -> Result<Option<Value>, Corrupt> {
        Ok(self.held(key)?.map(Arc::unwrap_or_clone))
    }

    fn held(&self, key: &str) -> Result<Option<Arc<Value>>, Corrupt> {
        let known = self.guard(self.known(key))?;
        Ok(known.map(|held| Arc::clone(&held.value)))
    }

    fn find(&self, index: &str, value: &str) -> Result<Vec<Row>, Corrupt> {
        self.guard(query::find(self.connection, self.projection.name(), index, value))
    }

    fn put(&mut self, key: &str, value: Value) -> Result<(), Corrupt> {
        let text = policy::canonical::to_bytes(&value)
            .map_err(|e| Corrupt(format!("row `{key}` cannot be kept: {e}")))
            .and_then(|bytes| {
                String::from_utf8(bytes).map_err(|_| Corrupt(format!("row `{key}` is not UTF-8")))
            })?;
        let result = self.replace(key, Some((value, text)));
        self.guard(result)
    }

    fn delete(&mut self, key: &str) -> Result<(), Corrupt> {
        let result = self.replace(key, None);
        self.guard(result)
    }
}

impl TableRows<'_> {
    fn guard<T>(&self, result: Result<T, StoreError>) -> Result<T, Corrupt> {
        result.map_err(|error| {
            let corrupt = Corrupt(error.to_string());
            self.broken.replace(Some(error));
            corrupt
        })
    }

    fn known(&self, key: &str) -> Result<Known, StoreError> {
        known(self.kept, self.connection, (self.number, self.projection), key)
    }

    fn replace(&mut self, key: &str, new: Option<(Value, String)>) -> Result<(), StoreError> {
        let name = self.projection.name();
        let old = self.known(key)?;
        if old.as_ref().map(|held| &held.text) == new.as_ref().map(|(_, text)| text) {
            return Ok(());
        }
        *self.touched = true;
        if let Some(held) = &old {
            self.sum.subtract(self.key, name, key, &held.text);
        }
        let new: Known = new.map(|(value, text)| {
            let key = key.to_owned();
            Arc::new(Held::of(self.projection, Row { key, value }, text))
        });
        match &new {
            Some(held) => {
                self.sum.add(self.key, name, key, &held.text);
                self.connection
                    .prepare_cached(
                        "INSERT INTO rows(projection, key, value) VALUES (?1, ?2, ?3)
                         ON CONFLICT(projection, key) DO UPDATE SET value = excluded.value",
                    )?
                    .execute((name, key, &held.text))?;
            }
            None => {
                self.connection
                    .prepare_cached("DELETE FROM rows WHERE projection = ?1 AND key = ?2")?
                    .execute((name, key))?;
            }
        }
        // Whatever fails from here on undoes the closure, and with it what is known of its rows.
        self.kept.borrow_mut().change(self.number, key, new.clone());
        self.replace_index(key, old.as_deref(), new.as_deref())?;
        self.replace_text(key, old.as_deref(), new.as_deref())
    }

    fn replace_index(&self, key: &str, old: Option<&Held>, new: Option<&Held>) -> Result<(), StoreError> {
        let name = self.projection.name();
        let before = old.map(|held| held.index.as_slice()).unwrap_or_default();
        let after = new.map(|held| held.index.as_slice()).unwrap_or_default();
        for (index, value) in before.iter().filter(|pair| !after.contains(pair)) {
            self.connection
                .prepare_cached(
                    "DELETE FROM row_index WHERE projection = ?1 AND name = ?2 AND value = ?3 AND key = ?4",
                )?
                .execute((name, index, value, key))?;
        }
        for (index, value) in after.iter().filter(|pair| !before.contains(pair)) {
            self.connection
                .prepare_cached(
                    "INSERT OR IGNORE INTO row_index(projection, name, value, key) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute((name, index, value, key))?;
        }
        Ok(())
    }

    fn replace_text(&self, key: &str, old: Option<&Held>, new: Option<&Held>) -> Result<(), StoreError> {
        let name = self.projection.name();
        let before = old.and_then(|held| held.words.as_ref());
        let after = new.and_then(|held| held.words.as_ref());
        if before == after {
            return Ok(());
        }
        if before.is_some() {
            let id: Option<i64> = self
                .connection
                .prepare_cached("DELETE FROM row_text_ids WHERE projection = ?1 AND key = ?2 RETURNING id")?
                .query_row((name, key), |row| row.get(0))
                .optional()?;
            self.connection
                .prepare_cached("DELETE FROM row_text WHERE rowid = ?1")?
                .execute([id])?;
        }
        if let Some(text) = after {
            let id: i64 = self
                .connection
                .prepare_cached("INSERT INTO row_text_ids(projection, key) VALUES (?1, ?2) RETURNING id")?
                .query_row((name, key), |row| row.get(0))?;
            self.connection
                .prepare_cached("INSERT INTO row_text(rowid, text) VALUES (?1, ?2)")?
                .execute((id, text))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_exact_or_prefixes_that_end_in_a_dot() {
        #[rustfmt::skip]
        let table: [(&[&str], &str, bool); 6] = [
            (&["action.permitted"], "action.permitted", true),
            (&["action.permitted"], "action.permitted_again", false),
            (&["action."],          "action.permitted", true),
            (&["action"],           "action.permitted", false),
            (&["a.", "session."],   "session.created", true),
            (&[],                   "session.created", false),
        ];
        for (kinds, kind, wanted) in table {
            assert_eq!(wants(kinds, kind), wanted, "{kinds:?} {kind}");
        }
    }
}
