//! Whoever owns the disk edits the database: what is found, by whom, and in which words.

use crate::common::{Place, append, fill, put};
use rusqlite::Connection;
use serde_json::json;
use std::path::{Path, PathBuf};
use store::{Applied, Corrupt, Health, NewEntry, Options, Projection, Rows, Signed, Store, StoreError};

/// A closed journal of 41 entries with checkpoints at 21 and 41, and a copy of it to edit.
struct Scene {
    place: Place,
    early: Signed,
    late: Signed,
}

impl Scene {
    async fn new() -> Scene {
        let place = Place::new();
        let store = place.open();
        fill(&store, 20).await;
        let early = store.checkpoint().await.unwrap();
        fill(&store, 20).await;
        store.close().await.unwrap();
        let store = Store::open_read_only(place.options()).unwrap();
        let late = store.latest_checkpoint().unwrap().unwrap();
        assert_eq!((early.checkpoint.size, late.checkpoint.size), (21, 41));
        Scene { place, early, late }
    }

    /// A copy of the data directory after `edit`.
    fn edited(&self, name: &str, edit: impl FnOnce(&Connection)) -> PathBuf {
        let copy = self
            .place
            .root
            .path()
            .join(format!("copy-{}", name.replace(' ', "-")));
        copy_directory(&self.place.data(), &copy);
        let connection = Connection::open(copy.join("journal.db")).unwrap();
        connection.pragma_update(None, "foreign_keys", false).unwrap();
        edit(&connection);
        copy
    }

    /// Without the checkpoints outside.
    fn alone(&self, copy: &Path) -> Options {
        Options {
            checkpoints: None,
            ..self.place.options_at(copy)
        }
    }

    fn finding(&self, copy: &Path, against: &[String]) -> String {
        let store = Store::open_read_only(self.alone(copy)).unwrap();
        match store.verify(against, &mut |_, _| ()) {
            Ok(Ok(_)) => "verifies".to_owned(),
            Ok(Err(finding)) => finding.to_string(),
            Err(error) => error.to_string(),
        }
    }

    fn start(&self, copy: &Path) -> String {
        match Store::open(self.alone(copy)).map(|store| store.health()) {
            Ok(Health::Ready) => "starts".to_owned(),
            Ok(Health::Corrupt(finding)) => finding,
            Ok(Health::Unavailable(reason)) => format!("unavailable: {reason}"),
            Err(error) => error.to_string(),
        }
    }
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

fn sql(text: &'static str) -> impl Fn(&Connection) {
    move |connection| connection.execute_batch(text).unwrap()
}

#[tokio::test]
async fn every_edit_is_found_and_named() {
    let scene = Scene::new().await;
    assert_eq!(scene.finding(&scene.edited("untouched", |_| ()), &[]), "verifies");
    #[rustfmt::skip]
    let table = [
        // what was edited; the edit; what verification says
        ("a byte of a leaf",
            "UPDATE entries SET leaf = CAST(replace(CAST(leaf AS TEXT), 'person:alice', 'person:alicf') AS BLOB) WHERE seq = 7",
            "entry 7 was altered: its content does not have the hash on record"),
        ("a hash",
            "UPDATE entries SET hash = zeroblob(32) WHERE seq = 7",
            "entry 7 was altered: its content does not have the hash on record"),
        ("a row deleted",
            "DELETE FROM entries WHERE seq = 7",
            "entry 7 is missing"),
        ("two rows swapped",
            "UPDATE entries SET seq = -1 WHERE seq = 7; UPDATE entries SET seq = 7 WHERE seq = 8; UPDATE entries SET seq = 8 WHERE seq = -1",
            "entry 7 claims to be entry 8"),
        ("tail cut off below a checkpoint",
            "DELETE FROM entries WHERE seq >= 30",
            "the journal has 30 entries; the checkpoint vouches for 41"),
        ("tail and checkpoint cut off",
            "DELETE FROM entries WHERE seq >= 30; DELETE FROM checkpoints WHERE size > 30",
            "entry 30 is missing"),
        ("an entry put behind the last",
            "INSERT INTO entries SELECT 41, leaf, hash, session, kind FROM entries WHERE seq = 40",
            "entry 41 claims to be entry 40"),
        ("an entry hidden from its session",
            "UPDATE entries SET session = 'ses-x' WHERE seq = 7",
            "the index of entry 7 is not what the entries say"),
        ("a row of a projection",
            "UPDATE rows SET value = replace(value, 'group-', 'group-9') WHERE key = 'thing-1'",
            "row `thing-1` of projection `documents` is not what the entries say"),
        ("a row of a projection removed",
            "DELETE FROM rows WHERE projection = 'counts' AND key = 'thing.put'",
            "row `thing.put` of projection `counts` is not what the entries say"),
        ("a row of a projection invented",
            "INSERT INTO rows VALUES ('documents', 'thing-99', '{}')",
            "row `thing-99` of projection `documents` is not what the entries say"),
        ("a row taken out of its index",
            "DELETE FROM row_index WHERE key = 'thing-1' AND name = 'group'",
            "the index of row `thing-1` of projection `documents` is not what the entries say"),
        ("a digest",
            "UPDATE digests SET masked = zeroblob(32) WHERE projection = 'counts'",
            "the digest of projection `counts` is not what the entries say"),
        ("a payload",
            "UPDATE payloads SET ciphertext = zeroblob(length(ciphertext)) WHERE seq = 7",
            "payload `note` of entry 7 was altered: it does not decrypt"),
        ("a payload put elsewhere",
            "UPDATE payloads SET (wrapped_key, ciphertext) = (SELECT wrapped_key, ciphertext FROM payloads WHERE seq = 8) WHERE seq = 7",
            "payload `note` of entry 7 was altered: it does not decrypt"),
        ("a payload removed",
            "DELETE FROM payloads WHERE seq = 7",
            "payload `note` of entry 7 was altered: it is missing"),
        ("a payload erased in silence",
            "UPDATE payloads SET wrapped_key = NULL, ciphertext = NULL WHERE seq = 1",
            "payload `note` of entry 1 was altered: it is gone, and no entry says that it was erased"),
        ("a payload too many",
            "INSERT INTO payloads SELECT seq, 'other', retention, wrapped_key, ciphertext FROM payloads WHERE seq = 7",
            "the table of payloads is not what the entries say"),
        ("a stored checkpoint",
            "UPDATE checkpoints SET note = replace(note, '41', '40') WHERE size = 41",
            "the stored checkpoint at 41 is not what the entries say"),
        ("the head",
            "UPDATE head SET size = 42",
            "entry 41 is missing"),
        ("an entry before the first, to blind whoever reads on to an altered one",
            "INSERT INTO entries SELECT -1, leaf, hash, session, kind FROM entries WHERE seq = 0;
             UPDATE entries SET leaf = CAST(replace(CAST(leaf AS TEXT), 'person:alice', 'person:alicf') AS BLOB) WHERE seq = 7",
            "entry -1 is not as it was written: no entry stands before entry 0"),
        ("a kind that is no text",
            "UPDATE entries SET kind = CAST(x'ff' AS TEXT) WHERE seq = 7",
            "the index of entry 7 is not what the entries say"),
        ("a row that is no text",
            "UPDATE rows SET value = CAST(x'ff' AS TEXT) WHERE key = 'thing-1'",
            "row `thing-1` of projection `documents` is not what the entries say"),
        ("a digest of fewer than no rows",
            "UPDATE digests SET rows = -1 WHERE projection = 'counts'",
            "the state of the projections is not as it was written: the digest of projection `counts`: the database was altered: Integer -1 out of range at index 3"),
        ("a head of another size than any",
            "UPDATE head SET size = -1",
            "the head of the log is not as it was written: the database was altered: Integer -1 out of range at index 0"),
        ("a checkpoint of nothing",
            "INSERT INTO checkpoints SELECT -1, root, note, roots FROM checkpoints WHERE size = 41",
            "the stored checkpoint at -1 is not what the entries say"),
        ("a payload before the first entry",
            "INSERT INTO payloads SELECT -1, name, retention, wrapped_key, ciphertext FROM payloads WHERE seq = 7",
            "the table of payloads is not what the entries say"),
        ("the time of the last entry, to hide that the clock went back",
            "UPDATE head SET last_ms = 0",
            "the head of the log is not what the entries say"),
        ("the right edge at an older checkpoint",
            "UPDATE checkpoints SET roots = zeroblob(length(roots)) WHERE size = 21",
            "the stored checkpoint at 21 is not what the entries say"),
        ("a trigger that waits for the next entry",
            "CREATE TRIGGER wait AFTER INSERT ON entries BEGIN DELETE FROM rows; END",
            "the schema of the database is not as it was written: trigger `wait` is another"),
        ("an index taken away",
            "DROP INDEX entries_of_session",
            "the schema of the database is not as it was written: index `entries_of_session` is another"),
        ("a table",
            "DROP TABLE row_index",
            "the schema of the database is not as it was written: table `row_index` is another"),
    ];
    for (name, edit, expected) in table {
        let copy = scene.edited(name, sql(edit));
        assert_eq!(scene.finding(&copy, &[]), expected, "{name}");
    }
}

#[tokio::test]
async fn a_start_finds_what_would_decide_about_acting() {
    let scene = Scene::new().await;
    assert_eq!(scene.start(&scene.edited("untouched", |_| ())), "starts");
    #[rustfmt::skip]
    let table = [
        ("a decisive row",
            "UPDATE rows SET value = replace(value, 'group-', 'group-9') WHERE key = 'thing-1'",
            "projection `documents` is not what the entries say"),
        ("a decisive row's index",
            "DELETE FROM row_index WHERE key = 'thing-1' AND name = 'group'",
            "the index of projection `documents` is not what the entries say"),
        ("another row, left to verification",
            "UPDATE rows SET value = '{}' WHERE projection = 'counts'",
            "starts"),
        ("the tail",
            "UPDATE entries SET leaf = CAST(replace(CAST(leaf AS TEXT), 'person:alice', 'person:alicf') AS BLOB) WHERE seq = 40;
             DELETE FROM checkpoints WHERE size = 41",
            "entry 40 was altered: its content does not have the hash on record"),
        ("the tail cut off",
            "DELETE FROM entries WHERE seq >= 30; DELETE FROM checkpoints WHERE size > 30",
            "entry 30 is missing"),
        ("an old entry, left to verification",
            "UPDATE entries SET leaf = CAST(replace(CAST(leaf AS TEXT), 'person:alice', 'person:alicf') AS BLOB) WHERE seq = 7",
            "starts"),
        ("the checkpoint",
            "UPDATE checkpoints SET note = replace(note, '41', '40') WHERE size = 41",
            "the stored checkpoint at 41 is not what the entries say"),
        ("an entry before the first",
            "INSERT INTO entries SELECT -1, leaf, hash, session, kind FROM entries WHERE seq = 0",
            "entry -1 is not as it was written: no entry stands before entry 0"),
        ("the time of the last entry",
            "UPDATE head SET last_ms = 0",
            "the head of the log is not what the entries say"),
        ("a trigger that waits for the next entry",
            "CREATE TRIGGER wait AFTER INSERT ON entries BEGIN DELETE FROM rows; END",
            "the schema of the database is not as it was written: trigger `wait` is another"),
        ("a digest of fewer than no rows",
            "UPDATE digests SET rows = -1 WHERE projection = 'counts'",
            "the digest of projection `counts`: the database was altered: Integer -1 out of range at index 3"),
        ("a head of another size than any",
            "UPDATE head SET size = -1",
            "the database was altered: Integer -1 out of range at index 0"),
    ];
    for (name, edit, expected) in table {
        assert_eq!(scene.start(&scene.edited(name, sql(edit))), expected, "{name}");
    }
}

#[tokio::test]
async fn a_foreign_note_among_those_outside_is_a_finding() {
    let scene = Scene::new().await;
    let path = scene.place.checkpoints();
    let text = std::fs::read_to_string(&path).unwrap();
    let forged = scene
        .early
        .note
        .replacen("cofferdam.local/test\n21\n", "cofferdam.local/test\n22\n", 1);
    assert_ne!(forged, scene.early.note);
    std::fs::write(&path, format!("{forged}\n{text}")).unwrap();
    let store = scene.place.open();
    assert_eq!(
        store.health(),
        Health::Ready,
        "a start reads the newest note only"
    );
    let finding = store
        .verify(&[], &mut |_, _| ())
        .unwrap()
        .unwrap_err()
        .to_string();
    assert!(
        finding.starts_with(&format!(
            "checkpoint 1 in `{}` is not as it was written: ",
            path.display()
        )),
        "{finding}"
    );
}

#[tokio::test]
async fn a_large_decisive_projection_is_compared_before_the_first_write() {
    let place = Place::new();
    let options = || Options {
        synchronous: "OFF",
        ..place.options()
    };
    let store = Store::open(options()).unwrap();
    let many = |tx: &mut store::Tx<'_>| -> Result<(), StoreError> {
        (0..10_001).try_for_each(|n| {
            let body = json!({"key": format!("thing-{n}"), "group": "g"});
            tx.append(NewEntry::new("thing.put", "person:alice", body))
                .map(drop)
        })
    };
    store.write(many).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let store = Store::open(options()).unwrap();
    append(&store, put("thing-0", "g", "n")).await.unwrap();
    drop(store);
    #[rustfmt::skip]
    let table = [
        ("UPDATE rows SET value = replace(value, '\"g\"', '\"h\"') WHERE key = 'thing-1'",
            "projection `documents` is not what the entries say"),
        ("UPDATE rows SET value = replace(value, '\"h\"', '\"g\"') WHERE key = 'thing-1';
          DELETE FROM row_index WHERE key = 'thing-1' AND name = 'group'",
            "the index of projection `documents` is not what the entries say"),
    ];
    for (edit, finding) in table {
        Connection::open(place.database())
            .unwrap()
            .execute_batch(edit)
            .unwrap();
        let store = Store::open(options()).unwrap();
        let refused = append(&store, put("thing-2", "g", "n")).await.unwrap_err();
        let corrupt = StoreError::Corrupt {
            finding: finding.to_owned(),
        };
        assert_eq!(refused, corrupt);
        assert_eq!(store.health(), Health::Corrupt(finding.to_owned()));
    }
}

#[tokio::test]
async fn a_start_compares_calls() {
    let scene = Scene::new().await;
    let copy = scene.edited("calls", |_| ());
    let open = || {
        let mut options = scene.alone(&copy);
        options.projections.push(std::sync::Arc::new(Kinds));
        Store::open(options).unwrap()
    };
    assert_eq!(open().health(), Health::Ready);
    Connection::open(copy.join("journal.db"))
        .unwrap()
        .execute_batch("DELETE FROM rows WHERE projection = 'calls' AND key = 'thing.put'")
        .unwrap();
    assert_eq!(
        open().health(),
        Health::Corrupt("projection `calls` is not what the entries say".to_owned())
    );
}

#[tokio::test]
async fn a_rebuild_does_not_vouch_for_altered_entries() {
    const ALTER: &str = "UPDATE entries SET leaf = CAST(replace(CAST(leaf AS TEXT), 'person:alice', 'person:alicf') AS BLOB) WHERE seq = 7";
    const DIGEST: &str = "UPDATE digests SET masked = zeroblob(32) WHERE projection = 'documents'";
    const UNSEALED: &str = "the state of the projections is not what the entries say";
    let scene = Scene::new().await;
    #[rustfmt::skip]
    let table = [
        // what was edited; the edits; what a start says; what a rebuild says
        ("an entry", [ALTER, ""], "starts",
            "entry 7 was altered: its content does not have the hash on record"),
        ("an entry and a digest", [ALTER, DIGEST], UNSEALED,
            "entry 7 was altered: its content does not have the hash on record"),
        ("an entry's hash", ["UPDATE entries SET hash = zeroblob(32) WHERE seq = 7", ""], "starts",
            "entry 7 was altered: its content does not have the hash on record"),
        ("an entry removed", ["DELETE FROM entries WHERE seq = 7", DIGEST], UNSEALED,
            "entry 7 is missing"),
        ("two entries swapped",
            ["UPDATE entries SET seq = -1 WHERE seq = 7; UPDATE entries SET seq = 7 WHERE seq = 8; UPDATE entries SET seq = 8 WHERE seq = -1", ""],
            "starts", "entry 7 claims to be entry 8"),
    ];
    for (name, edits, start, rebuild) in table {
        let copy = scene.edited(&format!("rebuild {name}"), |connection| {
            edits
                .iter()
                .for_each(|edit| connection.execute_batch(edit).unwrap());
        });
        assert_eq!(scene.start(&copy), start, "{name}");
        let store = Store::open(scene.alone(&copy)).unwrap();
        let corrupt = StoreError::Corrupt {
            finding: rebuild.to_owned(),
        };
        assert_eq!(store.rebuild().unwrap_err(), corrupt, "{name}");
        assert!(matches!(store.health(), Health::Corrupt(_)), "{name}");
        drop(store);
        assert_eq!(scene.start(&copy), start, "{name}: nothing was changed");
        assert_eq!(scene.finding(&copy, &[]), rebuild, "{name}: it is still found");
    }
}

#[tokio::test]
async fn a_rehashed_entry_does_not_get_past_a_rebuild_or_a_new_projection() {
    let scene = Scene::new().await;
    let rehash = |connection: &Connection| {
        let leaf: Vec<u8> = connection
            .query_row("SELECT leaf FROM entries WHERE seq = 7", [], |row| row.get(0))
            .unwrap();
        let leaf = String::from_utf8(leaf)
            .unwrap()
            .replace("person:alice", "person:alicf");
        let hash = journal::merkle::leaf_hash(leaf.as_bytes());
        connection
            .execute(
                "UPDATE entries SET leaf = ?1, hash = ?2 WHERE seq = 7",
                (leaf.as_bytes(), hash),
            )
            .unwrap();
    };
    let finding = "the head of the log is not what the entries say";
    let copy = scene.edited("rehashed", rehash);
    let store = Store::open(scene.alone(&copy)).unwrap();
    let corrupt = StoreError::Corrupt {
        finding: finding.to_owned(),
    };
    assert_eq!(store.rebuild().unwrap_err(), corrupt);
    drop(store);
    let copy = scene.edited("rehashed for a new projection", rehash);
    let mut options = scene.alone(&copy);
    options.projections.push(std::sync::Arc::new(Kinds));
    assert_eq!(
        Store::open(options).unwrap().health(),
        Health::Corrupt(finding.to_owned())
    );
}

#[tokio::test]
async fn a_rebuild_takes_the_kind_from_the_entry() {
    let scene = Scene::new().await;
    let copy = scene.edited("kinds", |connection| {
        connection
            .execute_batch("UPDATE entries SET kind = 'other.x' WHERE seq > 3")
            .unwrap();
    });
    let store = Store::open(scene.alone(&copy)).unwrap();
    assert_eq!(
        store.rebuild().unwrap(),
        Vec::<String>::new(),
        "no row was hidden"
    );
}

/// A projection that the journal does not know yet.
struct Kinds;

impl Projection for Kinds {
    fn name(&self) -> &'static str {
        "calls"
    }
    fn kinds(&self) -> &'static [&'static str] {
        &["thing."]
    }
    fn apply(&self, applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
        rows.put(&applied.entry.kind, json!({}))
    }
}

#[tokio::test]
async fn older_rows_beside_newer_entries_are_found_at_the_start() {
    let place = Place::new();
    let store = place.open();
    fill(&store, 10).await;
    store.close().await.unwrap();
    let older = place.root.path().join("older");
    copy_directory(&place.data(), &older);
    let store = place.open();
    append(&store, put("thing-1", "group-2", "changed"))
        .await
        .unwrap();
    store.close().await.unwrap();
    let database = Connection::open(place.database()).unwrap();
    database
        .execute("ATTACH ?1 AS older", [older.join("journal.db").to_str().unwrap()])
        .unwrap();
    for table in ["rows", "row_index", "digests"] {
        database
            .execute_batch(&format!(
                "DELETE FROM {table}; INSERT INTO {table} SELECT * FROM older.{table}"
            ))
            .unwrap();
    }
    drop(database);
    let store = place.open();
    assert_eq!(
        store.health(),
        Health::Corrupt("the state of the projections is not what the entries say".to_owned()),
        "digests and rows fit each other, but not the head"
    );
    assert_eq!(
        append(&store, put("a", "g", "n")).await.unwrap_err(),
        StoreError::Corrupt {
            finding: "the state of the projections is not what the entries say".to_owned()
        }
    );
    let different = store.rebuild().unwrap();
    assert_eq!(different, ["counts", "documents"]);
    assert!(
        matches!(store.health(), Health::Corrupt(_)),
        "until everything was checked again"
    );
    drop(store);
    let store = place.open();
    assert_eq!(store.health(), Health::Ready);
    store.verify(&[], &mut |_, _| ()).unwrap().unwrap();
}

#[tokio::test]
async fn rewritten_and_signed_again_is_found_only_by_a_checkpoint_kept_elsewhere() {
    let scene = Scene::new().await;
    // Whoever owns the disk and all keys makes another history and signs it.
    let forged = scene.place.root.path().join("forged");
    let store = Store::open(scene.alone(&forged)).unwrap();
    for n in 0..50 {
        append(&store, put(&format!("thing-{n}"), "g", "nothing happened here"))
            .await
            .unwrap();
    }
    store.close().await.unwrap();
    assert_eq!(
        scene.finding(&forged, &[]),
        "verifies",
        "alone it is as good as any"
    );
    #[rustfmt::skip]
    let table = [
        ("an early checkpoint", &scene.early, "history up to entry 21 was rewritten: its root is not the checkpoint's"),
        ("a late checkpoint",   &scene.late,  "history up to entry 41 was rewritten: its root is not the checkpoint's"),
    ];
    for (name, signed, expected) in table {
        assert_eq!(
            scene.finding(&forged, std::slice::from_ref(&signed.note)),
            expected,
            "{name}"
        );
    }
    // The file outside is compared at every start.
    let store = Store::open(scene.place.options_at(&forged)).unwrap();
    assert_eq!(
        store.health(),
        Health::Corrupt("history up to entry 41 was rewritten: its root is not the checkpoint's".to_owned())
    );
}

#[tokio::test]
async fn a_journal_put_back_to_an_older_copy_is_found_by_the_checkpoints_outside() {
    let place = Place::new();
    let store = place.open();
    fill(&store, 10).await;
    store.close().await.unwrap();
    let older = place.root.path().join("older");
    copy_directory(&place.data(), &older);
    let store = place.open();
    fill(&store, 10).await;
    store.close().await.unwrap();
    let store = Store::open(place.options_at(&older)).unwrap();
    assert_eq!(
        store.health(),
        Health::Corrupt("the journal has 11 entries; the checkpoint vouches for 21".to_owned())
    );
}

#[tokio::test]
async fn a_foreign_checkpoint_is_refused_rather_than_ignored() {
    let scene = Scene::new().await;
    let other = Place::new();
    let store = other.open();
    let signed = store.checkpoint().await.unwrap();
    let finding = scene.finding(&scene.place.data(), &[signed.note]);
    assert!(
        finding.starts_with("a checkpoint to compare with is not this log's"),
        "{finding}"
    );
}

#[tokio::test]
async fn a_corrupt_journal_is_still_read_and_exported() {
    let scene = Scene::new().await;
    let copy = scene.edited(
        "rows",
        sql("UPDATE rows SET value = '{}' WHERE projection = 'documents'"),
    );
    let store = Store::open(scene.alone(&copy)).unwrap();
    assert!(matches!(store.health(), Health::Corrupt(_)));
    assert_eq!(store.read(|r| r.size()).unwrap(), 41);
    let tiles = scene.place.root.path().join("tiles");
    assert_eq!(store.export_tiles(&tiles).unwrap(), scene.late);
    assert!(tiles.join("tile/entries/000.p/41").exists());
}

#[tokio::test]
async fn a_quarantined_journal_refuses_writes_with_the_finding() {
    let place = Place::new();
    let store = place.open();
    store.quarantine("entry 3 was altered".to_owned());
    let refused = store
        .write(|tx| tx.append(NewEntry::new("other.x", "person:alice", json!({}))))
        .await;
    assert_eq!(
        refused.unwrap_err(),
        StoreError::Corrupt {
            finding: "entry 3 was altered".to_owned()
        }
    );
}

/// Many rows, which can be kept from being compared.
struct Held(std::sync::Arc<std::sync::Mutex<()>>);

impl Projection for Held {
    fn name(&self) -> &'static str {
        "documents"
    }
    fn kinds(&self) -> &'static [&'static str] {
        &["thing.many"]
    }
    fn apply(&self, applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
        let count = applied.entry.body["count"].as_u64().unwrap_or(0);
        (0..count).try_for_each(|n| rows.put(&format!("thing-{n}"), json!({"n": n})))
    }
    fn index(&self, _: &store::Row) -> Vec<(&'static str, String)> {
        drop(self.0.lock().unwrap());
        Vec::new()
    }
}

#[tokio::test]
async fn it_says_that_it_compares_until_it_has() {
    for (count, expected) in [(10_000, false), (10_001, true)] {
        let place = Place::new();
        let lock = std::sync::Arc::new(std::sync::Mutex::new(()));
        let open = || {
            let mut options = place.options();
            options.projections = vec![std::sync::Arc::new(Held(std::sync::Arc::clone(&lock)))];
            Store::open(options).unwrap()
        };
        let store = open();
        let many = NewEntry::new("thing.many", "person:alice", json!({"count": count}));
        append(&store, many).await.unwrap();
        assert!(!store.is_comparing(), "what was written here is not compared");
        store.close().await.unwrap();
        drop(store);
        let held = expected.then(|| lock.lock().unwrap());
        let store = open();
        assert_eq!(store.is_comparing(), expected, "{count} rows");
        assert_eq!(store.health(), Health::Ready);
        drop(held);
        append(
            &store,
            NewEntry::new("thing.many", "person:alice", json!({"count": 0})),
        )
        .await
        .unwrap();
        assert!(!store.is_comparing(), "{count} rows");
    }
}
