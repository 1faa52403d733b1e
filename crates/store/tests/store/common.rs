//! A store in a temporary directory, with two small projections. Shared by the tests of this crate.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{Applied, Corrupt, Keys, NewEntry, Options, Projection, Retention, Row, Rows, Store, StoreError};
use testkit::ManualClock;

pub const ORIGIN: &str = "cofferdam.local/test";

/// Rows by `key` of the body; `put`, `delete`; finds by `group`, searches by the text of the payload.
pub struct Things;

impl Projection for Things {
    fn name(&self) -> &'static str {
        "documents"
    }
    fn kinds(&self) -> &'static [&'static str] {
        &["thing.", "payload.erased"]
    }
    fn apply(&self, applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
        let body = &applied.entry.body;
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        match applied.entry.kind.as_str() {
            "thing.put" => {
                let note = applied.payload("note").cloned().unwrap_or(Value::Null);
                let row = json!({"group": text("group"), "note": note, "at": applied.entry.sequence});
                rows.put(text("key"), row)
            }
            "thing.deleted" => rows.delete(text("key")),
            "thing.impossible" => Err(Corrupt("this cannot be".to_owned())),
            "payload.erased" => {
                for row in rows.find("at", &body["of"].to_string())? {
                    let mut value = row.value;
                    value["note"] = Value::Null;
                    rows.put(&row.key, value)?;
                }
                Ok(())
            }
            other => Err(Corrupt(format!("`{other}` is unknown"))),
        }
    }
    fn index(&self, row: &Row) -> Vec<(&'static str, String)> {
        vec![
            (
                "group",
                row.value["group"].as_str().unwrap_or_default().to_owned(),
            ),
            ("at", row.value["at"].to_string()),
        ]
    }
    fn text(&self, row: &Row) -> Option<String> {
        row.value["note"].as_str().map(str::to_owned)
    }
}

/// Counts entries by kind. Not among those that are checked at every start.
pub struct Counts;

impl Projection for Counts {
    fn name(&self) -> &'static str {
        "counts"
    }
    fn kinds(&self) -> &'static [&'static str] {
        &["thing.put", "thing.deleted"]
    }
    fn apply(&self, applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
        let kind = &applied.entry.kind;
        let count = rows.get(kind)?.and_then(|row| row["count"].as_u64()).unwrap_or(0);
        rows.put(kind, json!({"count": count + 1}))
    }
}

/// Where a test's store lives: data, keys and checkpoints beside each other.
pub struct Place {
    pub root: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
}

impl Place {
    pub fn new() -> Place {
        Place {
            root: tempfile::tempdir().unwrap(),
            clock: ManualClock::new(),
        }
    }
    pub fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }
    pub fn database(&self) -> PathBuf {
        self.data().join("journal.db")
    }
    pub fn keys(&self) -> PathBuf {
        self.root.path().join("data-keys")
    }
    pub fn checkpoints(&self) -> PathBuf {
        self.root.path().join("data-checkpoints/test.txt")
    }
    pub fn options(&self) -> Options {
        self.options_at(&self.data())
    }
    pub fn options_at(&self, directory: &Path) -> Options {
        Options {
            directory: directory.to_owned(),
            origin: ORIGIN.to_owned(),
            keys: Keys::open_or_create(&self.keys(), ORIGIN).unwrap(),
            projections: vec![Arc::new(Things), Arc::new(Counts)],
            clock: self.clock.clone(),
            checkpoints: Some(self.checkpoints()),
            vfs: None,
            synchronous: "FULL",
        }
    }
    pub fn open(&self) -> Store {
        Store::open(self.options()).unwrap()
    }
}

/// An entry that puts a thing, with a payload.
pub fn put(key: &str, group: &str, note: &str) -> NewEntry {
    NewEntry::new("thing.put", "person:alice", json!({"key": key, "group": group}))
        .session(&format!("ses-{group}"))
        .payload("note", Retention::Action, json!(note))
}

/// An entry that deletes one.
pub fn delete(key: &str) -> NewEntry {
    NewEntry::new("thing.deleted", "person:alice", json!({"key": key}))
}

/// Appends one entry and returns its sequence.
pub async fn append(store: &Store, entry: NewEntry) -> Result<u64, StoreError> {
    store
        .write(move |tx| tx.append(entry))
        .await
        .map(|written| written.value)
}

/// A store with some history: things come, change and go.
pub async fn fill(store: &Store, count: u64) {
    for n in 0..count {
        let key = format!("thing-{}", n % 7);
        let entry = match n % 5 {
            4 => delete(&key),
            _ => put(
                &key,
                &format!("group-{}", n % 3),
                &format!("disk latency of node {n}"),
            ),
        };
        append(store, entry).await.unwrap();
    }
}
