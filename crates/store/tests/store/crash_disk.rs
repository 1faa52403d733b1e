//! Crash test of the store on a disk that forgets what was not synced: power is lost at every boundary
//! of a run in turn. Whatever was acknowledged has to be there, the tree has to extend every
//! checkpoint that was handed out, and projections have to be what their entries say.

use crate::common::{Place, append, delete, put};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;
use store::{Erasable, Health, Options, Signed, Store, StoreError};
use testkit::faulty::{Disk, Loss, Refusal};

/// What was promised to the outside, each with the number of boundaries that had passed.
#[derive(Default)]
struct Promises {
    /// Sequence and note of every acknowledged entry.
    entries: Vec<(u64, (u64, String))>,
    /// Entries whose erasure was asked for: from then on they may be gone.
    erasing: Vec<(u64, u64)>,
    /// Entries whose erasure was acknowledged: from then on they are.
    erased: Vec<(u64, u64)>,
    checkpoints: Vec<(u64, Signed)>,
    refused: u64,
}

impl Promises {
    /// Those that had been given when boundary `at` came.
    fn until(&self, at: u64) -> Promises {
        fn given<T: Clone>(promises: &[(u64, T)], at: u64) -> Vec<(u64, T)> {
            promises
                .iter()
                .filter(|(after, _)| *after < at)
                .cloned()
                .collect()
        }
        Promises {
            entries: given(&self.entries, at),
            erasing: given(&self.erasing, at),
            erased: given(&self.erased, at),
            checkpoints: given(&self.checkpoints, at),
            refused: 0,
        }
    }

    fn count(&self) -> usize {
        self.entries.len() + self.erasing.len() + self.erased.len() + self.checkpoints.len()
    }
}

fn options(place: &Place, disk: &Disk, synchronous: &'static str) -> Options {
    Options {
        vfs: Some(disk.vfs().to_owned()),
        synchronous,
        checkpoints: None,
        ..place.options()
    }
}

/// One machine's life: opens, writes, signs, erases, closes, opens again, writes. Goes on after a
/// refusal, as long as there is power.
async fn live(place: &Place, disk: &Disk, synchronous: &'static str, promises: &mut Promises) {
    for turn in 0..2 {
        let Ok(store) = open_patiently(place, disk, synchronous) else {
            return;
        };
        for n in 0..3 {
            let note = format!("note {n} of turn {turn}");
            let entry = put(&format!("thing-{}", n % 3), "g", &note);
            match append(&store, entry).await {
                Ok(sequence) => promises.entries.push((disk.boundaries(), (sequence, note))),
                Err(error) => refused(place, promises, &error),
            }
        }
        if let Err(error) = append(&store, delete("thing-1")).await {
            refused(place, promises, &error);
        }
        match store.checkpoint().await {
            Ok(signed) => promises.checkpoints.push((disk.boundaries(), signed)),
            Err(error) => refused(place, promises, &error),
        }
        erase_one(place, disk, &store, promises).await;
        if let Err(error) = store.close().await {
            refused(place, promises, &error);
        }
    }
}

/// Opening fails as long as the disk refuses; nobody was promised anything meanwhile.
fn open_patiently(place: &Place, disk: &Disk, synchronous: &'static str) -> Result<Store, StoreError> {
    let mut opened = Store::open(options(place, disk, synchronous));
    for _ in 0..40 {
        if opened.is_ok() || disk.is_dead() {
            break;
        }
        opened = Store::open(options(place, disk, synchronous));
    }
    opened
}

async fn erase_one(place: &Place, disk: &Disk, store: &Store, promises: &mut Promises) {
    let erasing = |sequence: u64| promises.erasing.iter().any(|(_, s)| *s == sequence);
    let Some(sequence) = promises
        .entries
        .iter()
        .map(|(_, (sequence, _))| *sequence)
        .find(|s| !erasing(*s))
    else {
        return;
    };
    promises.erasing.push((disk.boundaries(), sequence));
    match store
        .write(move |tx| tx.erase(sequence, "person:alice", "asked for"))
        .await
    {
        Ok(_) => promises.erased.push((disk.boundaries(), sequence)),
        Err(error) => refused(place, promises, &error),
    }
}

fn refused(place: &Place, promises: &mut Promises, error: &StoreError) {
    assert!(
        matches!(error, StoreError::Unavailable { .. } | StoreError::Closed),
        "{error}"
    );
    promises.refused += 1;
    // Time for the store to try again.
    place.clock.advance(Duration::from_secs(1));
}

/// What the next machine finds. `Err` says which promise was broken.
async fn check(place: &Place, disk: &Disk, promises: &Promises) -> Result<(), String> {
    let store = Store::open(options(place, disk, "FULL")).map_err(|e| format!("it does not open: {e}"))?;
    if store.health() != Health::Ready {
        return Err(format!("it is not ready: {:?}", store.health()));
    }
    for (_, (sequence, note)) in &promises.entries {
        let found = store
            .read(|r| Ok((r.entry(*sequence)?.is_some(), r.payload(*sequence, "note")?)))
            .map_err(|e| format!("entry {sequence}: {e}"))?;
        let is_in = |promises: &[(u64, u64)]| promises.iter().any(|(_, s)| s == sequence);
        let there = found == (true, Erasable::Present(json!(note)));
        let gone = found == (true, Erasable::Erased);
        if !(there && !is_in(&promises.erased) || gone && is_in(&promises.erasing)) {
            return Err(format!(
                "entry {sequence} was acknowledged, and now it is {found:?}"
            ));
        }
    }
    let notes: Vec<String> = promises
        .checkpoints
        .iter()
        .map(|(_, signed)| signed.note.clone())
        .collect();
    match store.verify(&notes, &mut |_, _| ()) {
        Ok(Ok(_)) => (),
        Ok(Err(finding)) => return Err(finding.to_string()),
        Err(error) => return Err(error.to_string()),
    }
    append(&store, put("after", "g", "life goes on"))
        .await
        .map_err(|e| format!("it cannot be written: {e}"))?;
    store.close().await.map_err(|e| format!("it does not close: {e}"))
}

/// A whole life, without any fault.
async fn whole_life(place: &Place, synchronous: &'static str) -> (Disk, Promises) {
    let disk = Disk::new();
    let mut promises = Promises::default();
    live(place, &disk, synchronous, &mut promises).await;
    let given = (
        promises.entries.len(),
        promises.erased.len(),
        promises.checkpoints.len(),
        promises.refused,
    );
    assert_eq!(given, (6, 2, 2, 0));
    (disk, promises)
}

#[tokio::test]
async fn crash_at_every_boundary_loses_nothing_acknowledged() {
    let place = Place::new();
    let (disk, promises) = whole_life(&place, "FULL").await;
    let syncs = disk.sync_boundaries();
    let mut looked_at = BTreeSet::new();
    for at in 1..=disk.boundaries() {
        // At a sync most is at stake.
        let seeds = if syncs.contains(&at) {
            at..at + 3
        } else {
            at..at + 1
        };
        for loss in [Loss::Drop].into_iter().chain(seeds.map(Loss::Tear)) {
            let (after, given) = (disk.as_if_power_was_lost_at(at, loss), promises.until(at));
            // Boundaries after which the next machine finds the same are one case.
            if looked_at.insert((after.fingerprint(), given.count()))
                && let Err(broken) = check(&place, &after, &given).await
            {
                panic!(
                    "power lost at boundary {at} of {}, {loss:?}: {broken}",
                    disk.boundaries()
                );
            }
        }
    }
    println!(
        "{} boundaries, {} different disks",
        disk.boundaries(),
        looked_at.len()
    );
    assert!(looked_at.len() > syncs.len(), "tearing makes a difference");
}

#[tokio::test]
async fn crash_replayed_is_crash_lived() {
    let place = Place::new();
    let (disk, _) = whole_life(&place, "FULL").await;
    for at in disk.sync_boundaries().into_iter().step_by(9) {
        let again = Disk::new();
        again.lose_power_at(at, Loss::Drop);
        let mut promises = Promises::default();
        live(&place, &again, "FULL", &mut promises).await;
        assert!(again.is_dead(), "boundary {at}");
        check(&place, &again.after_power_loss(), &promises).await.unwrap();
    }
}

#[tokio::test]
async fn crash_test_fails_when_the_store_does_not_sync() {
    let place = Place::new();
    let (disk, promises) = whole_life(&place, "OFF").await;
    let mut broken = Vec::new();
    for at in (1..=disk.boundaries()).step_by(10) {
        let after = disk.as_if_power_was_lost_at(at, Loss::Drop);
        broken.extend(check(&place, &after, &promises.until(at)).await.err());
    }
    println!("without syncing: {broken:?}");
    assert!(
        broken
            .iter()
            .any(|broken| broken.contains("was acknowledged, and now it is")),
        "the suite would not notice a store that does not sync"
    );
}

#[tokio::test]
async fn crash_after_every_failed_sync_loses_nothing_acknowledged() {
    let place = Place::new();
    let (disk, _) = whole_life(&place, "FULL").await;
    let mut failed = 0;
    for at in disk.sync_boundaries() {
        for loss in [Loss::Drop, Loss::Tear(at)] {
            let disk = Disk::new();
            disk.refuse_at(at..at + 1, Refusal::Fsync);
            let mut promises = Promises::default();
            live(&place, &disk, "FULL", &mut promises).await;
            failed += u64::from(promises.refused > 0);
            disk.lose_power(loss);
            if let Err(broken) = check(&place, &disk.after_power_loss(), &promises).await {
                panic!("sync failed at boundary {at}, then {loss:?}: {broken}");
            }
        }
    }
    assert!(failed > 0, "some failed syncs were commits");
}

#[tokio::test]
async fn crash_on_a_full_or_read_only_disk_loses_nothing_acknowledged() {
    let place = Place::new();
    let (disk, _) = whole_life(&place, "FULL").await;
    let mut failed = 0;
    for at in (1..=disk.boundaries()).step_by(12) {
        for refusal in [Refusal::Full, Refusal::ReadOnly] {
            let disk = Disk::new();
            disk.refuse_at(at..at + 12, refusal);
            let mut promises = Promises::default();
            live(&place, &disk, "FULL", &mut promises).await;
            failed += u64::from(promises.refused > 0);
            disk.lose_power(Loss::Drop);
            if let Err(broken) = check(&place, &disk.after_power_loss(), &promises).await {
                panic!("{refusal:?} from boundary {at}: {broken}");
            }
        }
    }
    assert!(failed > 0, "some refusals were noticed");
}

#[tokio::test]
async fn a_refusing_disk_is_unavailable_until_it_takes_writes_again() {
    for refusal in [Refusal::Full, Refusal::ReadOnly, Refusal::Fsync] {
        let place = Place::new();
        let disk = Disk::new();
        let store = Store::open(options(&place, &disk, "FULL")).unwrap();
        let kept = append(&store, put("kept", "g", "n")).await.unwrap();
        disk.refuse(Some(refusal));
        let (one, two) = (
            append(&store, put("a", "g", "n")),
            append(&store, put("b", "g", "n")),
        );
        let (one, two) = tokio::join!(one, two);
        for answer in [one, two] {
            assert!(
                matches!(answer, Err(StoreError::Unavailable { .. })),
                "{refusal:?}: {answer:?}"
            );
        }
        assert!(
            matches!(store.health(), Health::Unavailable(_)),
            "{refusal:?}: {:?}",
            store.health()
        );
        assert!(
            store.read(|r| r.entry(kept)).unwrap().is_some(),
            "{refusal:?}: reading goes on"
        );
        place.clock.advance(Duration::from_secs(1));
        let still = append(&store, put("c", "g", "n")).await;
        assert!(
            matches!(still, Err(StoreError::Unavailable { .. })),
            "{refusal:?}: {still:?}"
        );
        disk.refuse(None);
        let early = append(&store, put("d", "g", "n")).await;
        assert!(
            matches!(early, Err(StoreError::Unavailable { .. })),
            "{refusal:?}: not tried all the time"
        );
        place.clock.advance(Duration::from_secs(1));
        let sequence = append(&store, put("e", "g", "n")).await.unwrap();
        assert_eq!(store.health(), Health::Ready, "{refusal:?}");
        let recovered = store.read(|r| r.entry(sequence - 1)).unwrap().unwrap().entry;
        assert_eq!(recovered.kind, "log.recovered", "{refusal:?}");
        assert!(
            !recovered.body["reason"].as_str().unwrap().is_empty(),
            "{refusal:?}"
        );
        store.verify(&[], &mut |_, _| ()).unwrap().unwrap();
    }
}

#[tokio::test]
async fn it_recovers_by_itself_when_nobody_writes() {
    let place = Place::new();
    let disk = Disk::new();
    let store = Store::open(options(&place, &disk, "FULL")).unwrap();
    let mut committed = store.committed();
    disk.refuse(Some(Refusal::Full));
    append(&store, put("a", "g", "n")).await.unwrap_err();
    disk.refuse(None);
    place.clock.advance(Duration::from_secs(1));
    committed.mark_unchanged();
    // The writer probes once a second; its entry is the sign.
    tokio::time::timeout(Duration::from_secs(30), committed.changed())
        .await
        .unwrap()
        .unwrap();
    let recovered = *committed.borrow_and_update();
    assert_eq!(append(&store, put("b", "g", "n")).await.unwrap(), recovered);
    assert_eq!(store.health(), Health::Ready);
}

#[tokio::test]
async fn a_lone_write_costs_one_sync() {
    let place = Place::new();
    let disk = Disk::new();
    let store = Store::open(options(&place, &disk, "FULL")).unwrap();
    append(&store, put("warm", "g", "n")).await.unwrap();
    for n in 0..50 {
        let before = disk.syncs("");
        append(&store, put(&format!("k{n}"), "g", "n")).await.unwrap();
        assert_eq!(disk.syncs("") - before, 1, "write {n}");
    }
}
