//! Writing, reading, and what comes back after closing and opening again.

use crate::common::{Place, append, delete, fill, put};
use serde_json::{Value, json};
use store::{Erasable, Health, NewEntry, Retention, Store, StoreError};

#[tokio::test]
async fn what_is_written_is_read_and_survives() {
    let place = Place::new();
    let store = place.open();
    let written = store
        .write(|tx| {
            let id = format!("thing-{}", tx.next_sequence());
            let sequence = tx.append(put(&id, "g", "the disk is full"))?;
            assert_eq!(id, format!("thing-{sequence}"), "ids lead to their records");
            assert!(tx.row("documents", &id)?.is_some(), "seen within the transaction");
            assert_eq!(
                tx.payload(sequence, "note")?,
                Erasable::Present(json!("the disk is full"))
            );
            Ok::<_, StoreError>(id)
        })
        .await
        .unwrap();
    let (id, sequence) = (written.value, written.first.unwrap());
    for turn in ["open", "opened again"] {
        let store = match turn {
            "open" => store.clone(),
            _ => {
                store.close().await.unwrap();
                place.open()
            }
        };
        store
            .read(|reader| {
                assert_eq!(reader.size()?, sequence + 1, "{turn}");
                let stored = reader.entry(sequence)?.unwrap();
                assert_eq!(
                    (stored.entry.kind.as_str(), stored.entry.actor.as_str()),
                    ("thing.put", "person:alice")
                );
                assert_eq!(
                    stored.entry.projections["documents"],
                    reader.projection_digest("documents")?
                );
                assert_eq!(
                    reader.payload(sequence, "note")?,
                    Erasable::Present(json!("the disk is full"))
                );
                assert_eq!(reader.payload(sequence, "other")?, Erasable::Absent);
                assert_eq!(reader.find("documents", "group", "g")?.len(), 1);
                assert_eq!(reader.rows("documents", None, 10)?[0].key, id);
                assert_eq!(reader.session_entries("ses-g", 0, 10)?.len(), 1);
                assert_eq!(
                    reader.search("documents", "\"disk\" OR (nonsense*", 10)?[0].key,
                    id,
                    "words are data"
                );
                assert_eq!(reader.search("documents", "nothing here -- \" *", 10)?, vec![]);
                Ok(())
            })
            .unwrap();
    }
}

#[tokio::test]
async fn a_refused_closure_leaves_nothing() {
    let place = Place::new();
    let store = place.open();
    fill(&store, 3).await;
    let before = store
        .read(|r| Ok((r.size()?, r.projection_digest("documents")?)))
        .unwrap();
    let own = store.write(|tx| {
        tx.append(put("x", "g", "n"))?;
        Err::<(), _>(StoreError::Refused("not today".to_owned()))
    });
    let impossible = store.write(|tx| {
        let _ = tx.append(NewEntry::new("thing.impossible", "person:alice", json!({})));
        Ok::<_, StoreError>(())
    });
    let large = store.write(|tx| {
        tx.append(NewEntry::new(
            "other.x",
            "person:alice",
            json!({"x": "y".repeat(70_000)}),
        ))
    });
    let number =
        store.write(|tx| tx.append(NewEntry::new("other.x", "person:alice", json!({"x": u64::MAX}))));
    let twice = store.write(|tx| tx.append(put("x", "g", "n").payload("note", Retention::Intake, json!(1))));
    let panics = store.write(|tx| {
        tx.append(put("x", "g", "n"))?;
        if tx.next_sequence() > 0 {
            panic!("a bug");
        }
        Ok::<_, StoreError>(())
    });
    #[rustfmt::skip]
    let table: [(&str, Result<(), StoreError>, &str); 6] = [
        ("the closure refuses",      own.await.map(drop),        "not today"),
        ("a projection refuses",     impossible.await.map(drop), "`thing.impossible` cannot be applied to `documents`: this cannot be"),
        ("a leaf is too large",      large.await.map(drop),      "larger than 61440"),
        ("a number JSON can't hold", number.await.map(drop),     "number"),
        ("two payloads of one name", twice.await.map(drop),      "two payloads named `note`"),
        ("the closure panics",       panics.await.map(drop),     "panicked"),
    ];
    for (name, result, reason) in table {
        let error = result.unwrap_err();
        assert!(
            matches!(&error, StoreError::Refused(text) if text.contains(reason)),
            "{name}: {error}"
        );
    }
    let after = store
        .read(|r| Ok((r.size()?, r.projection_digest("documents")?)))
        .unwrap();
    assert_eq!(before, after);
    append(&store, put("x", "g", "n")).await.unwrap();
    store.verify(&[], &mut |_, _| ()).unwrap().unwrap();
}

#[tokio::test]
async fn an_honest_journal_verifies_also_read_only_and_without_keys() {
    let place = Place::new();
    let store = place.open();
    fill(&store, 40).await;
    let signed = store.checkpoint().await.unwrap();
    assert_eq!(
        store.checkpoint().await.unwrap(),
        signed,
        "the same size is signed once"
    );
    let mut told = (0, 0);
    let verified = store
        .verify(std::slice::from_ref(&signed.note), &mut |done, all| {
            told = (done, all)
        })
        .unwrap()
        .unwrap();
    assert_eq!(
        (verified.entries, verified.projections, verified.payloads),
        (41, 2, 32)
    );
    assert_eq!(told, (41, 41));
    let beside = Store::open_read_only(place.options()).unwrap();
    assert_eq!(
        beside.verify(&[], &mut |_, _| ()).unwrap().unwrap().projections,
        2,
        "beside a running process"
    );
    store.close().await.unwrap();
    let keyless = store::Keys::verifier_only(store.verifier());
    let alone = Store::open_read_only(store::Options {
        keys: keyless,
        ..place.options()
    })
    .unwrap();
    let verified = alone.verify(&[signed.note], &mut |_, _| ()).unwrap().unwrap();
    assert!(verified.without_key && verified.projections == 0 && verified.entries == 41);
    assert!(
        matches!(append(&alone, delete("x")).await, Err(StoreError::Refused(reason)) if reason.contains("reading only"))
    );
}

#[tokio::test]
async fn the_second_process_is_refused_and_the_next_one_is_not() {
    let place = Place::new();
    let store = place.open();
    let second = Store::open(place.options()).err().unwrap();
    assert_eq!(
        second,
        StoreError::InUse {
            path: place.data().display().to_string()
        }
    );
    drop(store);
    place.open();
}

#[tokio::test]
async fn many_writers_are_committed_together_and_in_order() {
    let place = Place::new();
    let store = place.open();
    let mut committed = store.committed();
    committed.mark_unchanged();
    let tasks: Vec<_> = (0..300)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { append(&store, put(&format!("k{n}"), "g", "n")).await.unwrap() })
        })
        .collect();
    let mut sequences = Vec::new();
    for task in tasks {
        sequences.push(task.await.unwrap());
    }
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=300).collect::<Vec<u64>>());
    assert!(committed.has_changed().unwrap());
    assert_eq!(*committed.borrow_and_update(), 301);
    assert_eq!(store.health(), Health::Ready);
}

#[tokio::test]
async fn a_clock_that_goes_back_is_recorded_before_anything_else() {
    let place = Place::new();
    let store = place.open();
    let first = append(&store, put("a", "g", "n")).await.unwrap();
    let back = policy::Timestamp::parse("2025-06-01T00:00:00Z").unwrap();
    place.clock.set(back);
    let second = append(&store, put("b", "g", "n")).await.unwrap();
    assert_eq!(second, first + 2);
    let jump = store.read(|r| r.entry(first + 1)).unwrap().unwrap().entry;
    assert_eq!(jump.kind, "clock.jumped");
    assert_eq!(
        jump.body,
        json!({"from": "2026-01-01T00:00:00.000Z", "to": "2025-06-01T00:00:00.000Z"})
    );
    assert_eq!(
        append(&store, put("c", "g", "n")).await.unwrap(),
        second + 1,
        "recorded once"
    );
}

#[tokio::test]
async fn acts_since_a_time_are_those_that_reading_everything_backwards_finds() {
    let place = Place::new();
    let store = place.open();
    let start = policy::Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
    for n in 0..400_u64 {
        let entry = match n % 3 {
            0 => put("a", "g", "n"),
            1 => delete("a"),
            _ => NewEntry::new("other.event", format!("person:\"bob\\{n}\"ü"), json!({"v": 1})),
        };
        append(&store, entry).await.unwrap();
        place.clock.advance(std::time::Duration::from_millis(n * n % 97));
        if n % 90 == 89 {
            place.clock.set(start.plus_ms(n as i64 * 10));
        }
    }
    let all = store.read(|r| r.entries(0, 1_000)).unwrap();
    let jumps = all
        .iter()
        .filter(|stored| stored.entry.kind == "clock.jumped")
        .count();
    assert_eq!(jumps, 4, "the order of times is not that of entries");
    let mut lengths = std::collections::BTreeSet::new();
    for ms in (-1_000..25_000).step_by(37) {
        let since = start.plus_ms(ms);
        for kinds in [
            &["thing.put"][..],
            &["other.event", "thing.deleted"],
            &["thing."],
            &[],
        ] {
            let naive: Vec<_> = all
                .iter()
                .rev()
                .take_while(|stored| stored.entry.timestamp >= since)
                .filter(|stored| kinds.contains(&stored.entry.kind.as_str()))
                .map(|stored| (stored.entry.timestamp, stored.entry.actor.clone()))
                .collect();
            let mut found = store.read(|r| r.acts_since(since, kinds)).unwrap();
            lengths.insert(found.len());
            found.reverse();
            assert_eq!(found, naive, "{since} {kinds:?}");
        }
    }
    assert!(lengths.len() > 50, "{lengths:?}");
}

#[tokio::test]
async fn erasing_destroys_and_proofs_still_hold() {
    let place = Place::new();
    let store = place.open();
    let secret = "asecretnobodymayfind";
    let sequence = append(&store, put("a", "g", secret)).await.unwrap();
    fill(&store, 10).await;
    let signed = store.checkpoint().await.unwrap();
    let sealed: (Vec<u8>, Vec<u8>) = rusqlite::Connection::open(place.data().join("journal.db"))
        .unwrap()
        .query_row(
            "SELECT wrapped_key, ciphertext FROM payloads WHERE seq = ?1",
            [sequence],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    let traces = [
        ("key", sealed.0),
        ("text", sealed.1),
        ("row and its index of words", secret.as_bytes().to_vec()),
    ];
    for (name, bytes) in &traces {
        assert!(on_disk(&place, bytes), "the {name} is there at first");
    }
    store
        .write(move |tx| tx.erase(sequence, "person:alice", "asked for"))
        .await
        .unwrap();
    for (name, bytes) in &traces {
        assert!(
            !on_disk(&place, bytes),
            "the {name} is gone when the erasure is acknowledged"
        );
    }
    store
        .read(|r| {
            assert_eq!(r.payload(sequence, "note")?, Erasable::Erased);
            assert_eq!(r.row("documents", "a")?.unwrap()["note"], Value::Null);
            assert_eq!(r.search("documents", secret, 10)?, vec![]);
            Ok(())
        })
        .unwrap();
    let verified = store.verify(&[signed.note], &mut |_, _| ()).unwrap().unwrap();
    assert_eq!(verified.projections, 2, "equal to a rebuild, also after erasure");
    assert_eq!(store.rebuild().unwrap(), Vec::<String>::new());
    let again = store
        .write(move |tx| tx.erase(sequence, "person:alice", "twice"))
        .await;
    assert!(
        matches!(again, Err(StoreError::Refused(reason)) if reason.contains("no payload that could be erased"))
    );
}

/// Whether any file of the data directory holds these bytes.
fn on_disk(place: &Place, bytes: &[u8]) -> bool {
    std::fs::read_dir(place.data()).unwrap().any(|file| {
        std::fs::read(file.unwrap().path())
            .unwrap()
            .windows(bytes.len())
            .any(|w| w == bytes)
    })
}

#[tokio::test]
async fn the_organizations_key_can_be_replaced() {
    let place = Place::new();
    let store = place.open();
    let sequence = append(&store, put("a", "g", "kept")).await.unwrap();
    let old = std::fs::read(place.keys().join("organization.key")).unwrap();
    let digest = store.read(|r| r.projection_digest("documents")).unwrap();
    assert_eq!(store.replace_organization_key().unwrap(), 1);
    assert_ne!(std::fs::read(place.keys().join("organization.key")).unwrap(), old);
    for turn in ["running", "opened again"] {
        let store = match turn {
            "running" => store.clone(),
            _ => {
                store.close().await.unwrap();
                place.open()
            }
        };
        assert_eq!(
            store.read(|r| r.payload(sequence, "note")).unwrap(),
            Erasable::Present(json!("kept")),
            "{turn}"
        );
        assert_eq!(
            store.read(|r| r.projection_digest("documents")).unwrap(),
            digest,
            "{turn}"
        );
        store.verify(&[], &mut |_, _| ()).unwrap().unwrap();
    }
    std::fs::write(place.keys().join("organization.key"), old).unwrap();
    let refused = Store::open(place.options()).err().unwrap();
    assert!(matches!(refused, StoreError::Refused(reason) if reason.contains("not the key of this journal")));
}

#[tokio::test]
async fn an_interrupted_replacement_of_the_key_is_finished_at_the_next_start() {
    let place = Place::new();
    let store = place.open();
    let sequence = append(&store, put("a", "g", "kept")).await.unwrap();
    let old = std::fs::read(place.keys().join("organization.key")).unwrap();
    store.replace_organization_key().unwrap();
    store.close().await.unwrap();
    // As if the machine had stopped between the commit and the renaming.
    std::fs::rename(
        place.keys().join("organization.key"),
        place.keys().join("organization.key.next"),
    )
    .unwrap();
    std::fs::write(place.keys().join("organization.key"), old).unwrap();
    let chmod = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(place.keys().join("organization.key"), chmod).unwrap();
    let store = place.open();
    assert_eq!(
        store.read(|r| r.payload(sequence, "note")).unwrap(),
        Erasable::Present(json!("kept"))
    );
    assert!(!place.keys().join("organization.key.next").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verification_that_sees_the_key_replaced_does_not_take_payloads_for_altered() {
    let place = Place::new();
    let store = place.open();
    for _ in 0..12 {
        let hundred = store.write::<_, StoreError, _>(|tx| {
            (0..100).try_for_each(|_| tx.append(put("a", "g", "n")).map(drop))
        });
        hundred.await.unwrap();
    }
    let mut replaced = false;
    // At entry 1,000, in the middle of it.
    let mut replace = |done, _| {
        if done == 1_000 && !std::mem::replace(&mut replaced, true) {
            store.replace_organization_key().unwrap();
        }
    };
    let verified = store.verify(&[], &mut replace);
    assert!(
        matches!(&verified, Err(StoreError::Unavailable { reason }) if reason.contains("was replaced meanwhile")),
        "{verified:?}"
    );
    assert!(replaced);
    assert!(store.verify(&[], &mut |_, _| ()).unwrap().is_ok());
}

#[tokio::test]
async fn a_replacement_that_was_not_finished_is_finished_before_the_next_one() {
    let place = Place::new();
    let store = place.open();
    let sequence = append(&store, put("a", "g", "kept")).await.unwrap();
    let (key, next) = (
        place.keys().join("organization.key"),
        place.keys().join("organization.key.next"),
    );
    // The journal takes the new key, but a directory is in the way of its file.
    std::fs::remove_file(&key).unwrap();
    std::fs::create_dir(&key).unwrap();
    store.replace_organization_key().unwrap_err();
    let in_force = std::fs::read(&next).unwrap();
    store.replace_organization_key().unwrap_err();
    assert_eq!(
        std::fs::read(&next).unwrap(),
        in_force,
        "the only copy of the key in force is where it was"
    );
    std::fs::remove_dir(&key).unwrap();
    assert_eq!(store.replace_organization_key().unwrap(), 1);
    store.close().await.unwrap();
    let store = place.open();
    let kept = store.read(|r| r.payload(sequence, "note")).unwrap();
    assert_eq!(kept, Erasable::Present(json!("kept")));
}

#[tokio::test(flavor = "multi_thread")]
async fn verification_does_not_hold_up_the_writer() {
    let place = Place::new();
    let store = place.open();
    fill(&store, 20).await;
    let (verifying, runtime) = (store.clone(), tokio::runtime::Handle::current());
    let verified = tokio::task::spawn_blocking(move || {
        let mut written = Vec::new();
        let verified = verifying.verify(&[], &mut |_, _| {
            let sequence = runtime
                .block_on(append(&verifying, put("meanwhile", "g", "n")))
                .unwrap();
            runtime
                .block_on(verifying.write(move |tx| tx.erase(sequence, "person:alice", "at once")))
                .unwrap();
            written.push(sequence);
        });
        assert_eq!(
            written,
            [21],
            "written and erased while the verification was under way"
        );
        verified
    });
    assert_eq!(
        verified.await.unwrap().unwrap().unwrap().entries,
        21,
        "of the snapshot that it began with"
    );
    store.verify(&[], &mut |_, _| ()).unwrap().unwrap();
}

#[test]
fn keys_that_others_can_read_or_that_are_none_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.options();
    let mode = |file: &str| {
        std::fs::metadata(place.keys().join(file))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(
        (mode(""), mode("organization.key"), mode("log.key")),
        (0o700, 0o600, 0o600)
    );
    let refused = || {
        store::Keys::open_or_create(&place.keys(), crate::common::ORIGIN)
            .unwrap_err()
            .to_string()
    };
    let path = place.keys().join("log.key");
    let shown = path.display();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    assert_eq!(
        refused(),
        format!("key file `{shown}` can be read by others; set its mode to 0600")
    );
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(&path, "too short").unwrap();
    assert_eq!(refused(), format!("key file `{shown}` does not hold a key"));
}

#[tokio::test]
async fn a_data_directory_of_another_log_is_refused() {
    let place = Place::new();
    drop(place.open());
    let other = store::Options {
        origin: "cofferdam.local/other".to_owned(),
        ..place.options()
    };
    let refused = Store::open(other).err().unwrap();
    assert_eq!(
        refused,
        StoreError::Refused(
            "the data directory holds the log `cofferdam.local/test`, not `cofferdam.local/other`".to_owned()
        )
    );
    let empty = place.root.path().join("nothing");
    let refused = Store::open_read_only(place.options_at(&empty)).err().unwrap();
    assert!(matches!(refused, StoreError::Refused(reason) if reason.contains("there is no journal in")));
    assert!(!empty.exists(), "reading makes nothing");
}

/// The file that it folds into has no name any more while it is written, so nothing is left whatever happens;
/// what a process left that died before it took the name away, the next start removes.
#[tokio::test]
async fn a_verification_folds_into_a_file_without_a_name() {
    let place = Place::new();
    std::fs::create_dir(place.data()).unwrap();
    let left = place.data().join("verification-0011");
    std::fs::write(&left, "of a process that died").unwrap();
    let store = place.open();
    assert!(!left.exists());
    fill(&store, 1200).await;
    let names = |directory: std::path::PathBuf| {
        let entries = std::fs::read_dir(directory).unwrap().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    let before = names(place.data());
    let (mut seen, mut looked) = (0, 0);
    let mut progress = |_, _| {
        looked += 1;
        assert_eq!(names(place.data()), before);
        let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let unnamed = |to: &std::path::PathBuf| {
            let to = to.to_string_lossy();
            to.contains("verification-")
                && to.contains("(deleted)")
                && to.starts_with(&*place.data().to_string_lossy())
        };
        seen += open
            .filter_map(|fd| std::fs::read_link(fd.path()).ok())
            .filter(unnamed)
            .count();
    };
    let verified = store.verify(&[], &mut progress).unwrap().unwrap();
    assert_eq!(verified.projections, 2);
    assert!(looked > 0 && seen >= looked, "{seen} of {looked}");
    assert_eq!(names(place.data()), before);
}

/// What was read of a projection is what it is as long as the store does not say that it changed; it says so
/// before anybody is told of the commit, and of no projection that did not change.
#[tokio::test]
async fn a_change_of_a_projection_is_known_when_its_commit_is() {
    let place = Place::new();
    let store = place.open();
    let read = |store: &Store| {
        store
            .read(|reader| Ok((reader.moment(), reader.row("documents", "a")?)))
            .unwrap()
    };
    append(&store, put("a", "g", "one")).await.unwrap();
    let (moment, before) = read(&store);
    assert!(!store.changed_since("documents", moment) && !store.changed_since("counts", moment));
    append(&store, NewEntry::new("other.happened", "person:alice", json!({})))
        .await
        .unwrap();
    assert!(
        !store.changed_since("documents", moment),
        "another entry changes nothing"
    );
    append(&store, put("a", "h", "two")).await.unwrap();
    assert!(store.changed_since("documents", moment) && store.changed_since("counts", moment));
    assert!(
        store.changed_since("no such", moment),
        "what is not known may have"
    );
    let (moment, after) = read(&store);
    assert_ne!(before, after);
    assert!(!store.changed_since("documents", moment));
    // A snapshot that is older than a change does not pass for newer than it.
    let held = store.read(|reader| {
        reader.size()?;
        Ok(reader.moment())
    });
    append(&store, delete("a")).await.unwrap();
    assert!(store.changed_since("documents", held.unwrap()));
    let (moment, _) = read(&store);
    store.rebuild().unwrap();
    assert!(store.changed_since("documents", moment), "made again");
}

/// Many threads read through what they kept; nobody sees what was before a change whose commit returned.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_kept_is_never_older_than_a_commit_that_returned() {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    let place = Place::new();
    let store = place.open();
    append(&store, put("a", "0", "x")).await.unwrap();
    let (committed, over) = (
        std::sync::Arc::new(AtomicU64::new(0)),
        std::sync::Arc::new(AtomicBool::new(false)),
    );
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (store, committed, over) = (store.clone(), committed.clone(), over.clone());
            std::thread::spawn(move || {
                let mut kept: Option<(store::Moment, u64)> = None;
                let (mut hits, mut reads) = (0_u64, 0_u64);
                while !over.load(Ordering::SeqCst) {
                    let least = committed.load(Ordering::SeqCst);
                    let group = match kept.filter(|(moment, _)| !store.changed_since("documents", *moment)) {
                        Some((_, group)) => {
                            hits += 1;
                            group
                        }
                        None => {
                            reads += 1;
                            let read = store.read(|reader| {
                                let row = reader.row("documents", "a")?.unwrap();
                                Ok((reader.moment(), row["group"].as_str().unwrap().parse().unwrap()))
                            });
                            let read = read.unwrap();
                            kept = Some(read);
                            read.1
                        }
                    };
                    assert!(group >= least, "{group} is before {least}");
                }
                (hits, reads)
            })
        })
        .collect();
    for n in 1..300_u64 {
        append(&store, put("a", &n.to_string(), "x")).await.unwrap();
        committed.store(n, Ordering::SeqCst);
        append(&store, NewEntry::new("other.happened", "person:alice", json!({})))
            .await
            .unwrap();
    }
    over.store(true, Ordering::SeqCst);
    for reader in readers {
        let (hits, reads) = reader.join().unwrap();
        assert!(hits > reads && reads > 0, "{hits} {reads}");
    }
}

/// The last of those that an index holds, by their numbers and not by their letters.
#[tokio::test]
async fn the_last_rows_of_an_index_are_those_of_the_greatest_numbers() {
    let place = Place::new();
    let store = place.open();
    for (key, group) in [
        ("a-9", "g"),
        ("a-100", "g"),
        ("a-10", "g"),
        ("a-99", "g"),
        ("a-101", "h"),
    ] {
        append(&store, put(key, group, "note")).await.unwrap();
    }
    let table: [(usize, &[&str]); 4] = [
        (0, &[]),
        (1, &["a-100"]),
        (2, &["a-100", "a-99"]),
        (9, &["a-10", "a-100", "a-9", "a-99"]),
    ];
    for (limit, expected) in table {
        let found = store
            .read(|reader| reader.find_last("documents", "group", "g", limit))
            .unwrap();
        let mut keys: Vec<&str> = found.iter().map(|row| row.key.as_str()).collect();
        keys.sort_unstable();
        assert_eq!(keys, expected, "{limit}");
    }
}
