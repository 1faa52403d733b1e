//! Rows that were asked for or changed lately, parsed: what the next commit would otherwise read again.
//!
//! Invariants:
//! - **What is kept is what is stored**: it is written through, and what a closure left that was undone is forgotten.
//! - **It is bounded**, and all of it can be forgotten at any time.

use crate::{Projection, Row, StoreError, query};
use rusqlite::Connection;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes of the texts of rows after which those that nobody asked for lately are forgotten: a few hundred rows, which
/// take about four times as much.
const BYTES_MAX: usize = 256 * 1024;
/// What a row that is not there counts for.
const ABSENT_BYTES: usize = 64;

/// A row with all that follows from it.
pub(crate) struct Held {
    /// As it is stored.
    pub(crate) text: String,
    pub(crate) value: Arc<Value>,
    pub(crate) index: Vec<(&'static str, String)>,
    pub(crate) words: Option<String>,
}

/// `None`: there is no such row.
pub(crate) type Known = Option<Arc<Held>>;

impl Held {
    pub(crate) fn of(projection: &dyn Projection, row: Row, text: String) -> Held {
        Held {
            index: projection.index(&row),
            words: projection.text(&row),
            value: Arc::new(row.value),
            text,
        }
    }
}

/// By number of the projection and key, in two halves: what is asked for moves to the younger, and when that is full
/// the older is forgotten.
#[derive(Default)]
pub(crate) struct Kept {
    young: Vec<HashMap<String, Known>>,
    old: Vec<HashMap<String, Known>>,
    bytes: usize,
    /// Changed by the closure that runs.
    touched: Vec<(usize, String)>,
    /// Changed by this commit.
    changed: Vec<(usize, String)>,
}

impl Kept {
    /// What is known of a row.
    pub(crate) fn get(&mut self, projection: usize, key: &str) -> Option<Known> {
        if let Some(known) = self.young.get(projection).and_then(|rows| rows.get(key)) {
            return Some(known.clone());
        }
        let known = self.old.get_mut(projection)?.remove(key)?;
        self.put(projection, key, known.clone());
        Some(known)
    }

    /// A row was read.
    pub(crate) fn put(&mut self, projection: usize, key: &str, known: Known) {
        self.bytes += key.len() + known.as_ref().map_or(ABSENT_BYTES, |held| held.text.len());
        if self.bytes > BYTES_MAX / 2 {
            self.bytes = 0;
            self.old = std::mem::take(&mut self.young);
        }
        if self.young.len() <= projection {
            self.young.resize_with(projection + 1, HashMap::new);
        }
        if let Some(rows) = self.old.get_mut(projection) {
            rows.remove(key);
        }
        if let Some(rows) = self.young.get_mut(projection) {
            rows.insert(key.to_owned(), known);
        }
    }

    /// A row was changed.
    pub(crate) fn change(&mut self, projection: usize, key: &str, known: Known) {
        self.put(projection, key, known);
        self.touched.push((projection, key.to_owned()));
    }

    /// What the closure changed stays.
    pub(crate) fn keep(&mut self) {
        self.changed.append(&mut self.touched);
    }

    /// What the closure changed was undone.
    pub(crate) fn undo(&mut self) {
        for (projection, key) in std::mem::take(&mut self.touched) {
            for half in [&mut self.young, &mut self.old] {
                if let Some(rows) = half.get_mut(projection) {
                    rows.remove(&key);
                }
            }
        }
    }

    /// The commit holds: what it changed, where that is still known.
    pub(crate) fn committed(&mut self) -> Vec<(usize, String, Option<Known>)> {
        let changed = std::mem::take(&mut self.changed);
        let with = |(projection, key): (usize, String)| {
            let known = self.get(projection, &key);
            (projection, key, known)
        };
        changed.into_iter().map(with).collect()
    }

    /// All is forgotten.
    pub(crate) fn clear(&mut self) {
        *self = Kept::default();
    }
}

/// A row, known or read.
pub(crate) fn known(
    kept: &RefCell<Kept>,
    connection: &Connection,
    (number, projection): (usize, &dyn Projection),
    key: &str,
) -> Result<Known, StoreError> {
    if let Some(known) = kept.borrow_mut().get(number, key) {
        return Ok(known);
    }
    let known = match query::text(connection, projection.name(), key)? {
        Some(text) => {
            let row = query::parse_row(projection.name(), key, &text)?;
            Some(Arc::new(Held::of(projection, row, text)))
        }
        None => None,
    };
    kept.borrow_mut().put(number, key, known.clone());
    Ok(known)
}

/// Single rows as the last commit left them, of those that were asked for: so that whoever asks for the same row
/// before every action takes no snapshot for it.
#[derive(Default)]
pub(crate) struct Latest {
    rows: HashMap<(usize, String), Option<Arc<Value>>>,
    bytes: usize,
}

impl Latest {
    /// What is known.
    pub(crate) fn get(&self, projection: usize, key: &str) -> Option<Option<Arc<Value>>> {
        self.rows.get(&(projection, key.to_owned())).cloned()
    }

    /// A row as it is now.
    pub(crate) fn put(&mut self, projection: usize, key: &str, value: Option<Arc<Value>>, bytes: usize) {
        self.bytes += key.len() + bytes + ABSENT_BYTES;
        if self.bytes > BYTES_MAX {
            self.rows.clear();
            self.bytes = 0;
        }
        self.rows.insert((projection, key.to_owned()), value);
    }

    /// Rows that a commit changed.
    pub(crate) fn follow(&mut self, changed: Vec<(usize, String, Option<Known>)>) {
        for (projection, key, known) in changed {
            let at = (projection, key);
            match (self.rows.get_mut(&at), known) {
                (Some(row), Some(known)) => *row = known.map(|held| Arc::clone(&held.value)),
                (Some(_), None) => drop(self.rows.remove(&at)),
                (None, _) => {}
            }
        }
    }

    /// All is forgotten.
    pub(crate) fn clear(&mut self) {
        *self = Latest::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Plain;

    impl Projection for Plain {
        fn name(&self) -> &'static str {
            "plain"
        }
        fn kinds(&self) -> &'static [&'static str] {
            &[]
        }
        fn apply(&self, _: &crate::Applied<'_>, _: &mut dyn crate::Rows) -> Result<(), crate::Corrupt> {
            Ok(())
        }
    }

    fn held(key: &str, text: &str) -> Known {
        let row = query::parse_row("plain", key, text).unwrap();
        Some(Arc::new(Held::of(&Plain, row, text.to_owned())))
    }

    fn text(kept: &mut Kept, key: &str) -> Option<Option<String>> {
        let known = kept.get(0, key)?;
        Some(known.map(|held| held.text.clone()))
    }

    #[test]
    fn what_is_undone_is_not_known_and_what_stays_is() {
        let mut kept = Kept::default();
        kept.put(0, "read", held("read", "1"));
        kept.change(0, "stays", held("stays", "1"));
        kept.keep();
        kept.change(0, "stays", held("stays", "2"));
        kept.change(0, "gone", None);
        kept.undo();
        assert_eq!(text(&mut kept, "read"), Some(Some("1".to_owned())));
        assert_eq!(text(&mut kept, "stays"), None, "it is read again");
        assert_eq!(text(&mut kept, "gone"), None);
        let changed = kept.committed();
        let changed: Vec<_> = changed
            .iter()
            .map(|(_, key, known)| (key.as_str(), known.is_some()))
            .collect();
        assert_eq!(changed, [("stays", false)]);
        assert!(kept.committed().is_empty(), "told once");
    }

    #[test]
    fn what_nobody_asks_for_is_forgotten() {
        let mut kept = Kept::default();
        let large = format!("\"{}\"", "x".repeat(BYTES_MAX / 8));
        kept.put(0, "asked", held("asked", "1"));
        kept.put(0, "not", held("not", "1"));
        for number in 0..16 {
            let key = number.to_string();
            kept.put(0, &key, held(&key, &large));
            assert_eq!(text(&mut kept, "asked"), Some(Some("1".to_owned())), "{number}");
        }
        assert_eq!(text(&mut kept, "not"), None);
        let all: usize = kept.young.iter().chain(&kept.old).map(HashMap::len).sum();
        assert!(all < 10, "{all}");
    }

    #[test]
    fn followers_see_what_was_committed_and_nothing_that_nobody_asked_for() {
        let mut latest = Latest::default();
        latest.put(0, "a", None, 0);
        latest.put(0, "b", None, 0);
        let new = |key: &str| (0, key.to_owned(), Some(held(key, "1")));
        latest.follow(vec![new("a"), (0, "b".to_owned(), None), new("c")]);
        assert_eq!(latest.get(0, "a"), Some(Some(Arc::new(Value::from(1)))));
        assert_eq!(latest.get(0, "b"), None, "not known any more");
        assert_eq!(latest.get(0, "c"), None, "nobody asked for it");
    }
}
