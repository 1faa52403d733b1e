//! Checkpoints, proofs and tiles of a log that is long enough to have several levels of nodes.

use crate::common::{ORIGIN, Place};
use journal::checkpoint::Checkpoint;
use journal::merkle::{verify_consistency, verify_inclusion};
use serde_json::json;
use store::{NewEntry, Store, StoreError};

/// Appends many small entries, in few commits.
async fn lengthen(store: &Store, count: u64) {
    let append = move |tx: &mut store::Tx<'_>| {
        (0..count).try_for_each(|n| {
            tx.append(NewEntry::new("other.x", "person:alice", json!({"n": n})))
                .map(drop)
        })
    };
    store.write::<_, StoreError, _>(append).await.unwrap();
}

#[tokio::test]
async fn proofs_hold_between_all_checkpoints() {
    let place = Place::new();
    let store = place.open();
    let mut checkpoints = vec![store.checkpoint().await.unwrap().checkpoint];
    for count in [1, 254, 1, 300, 1_500, 7] {
        lengthen(&store, count).await;
        checkpoints.push(store.checkpoint().await.unwrap().checkpoint);
    }
    store
        .read(|r| {
            for new in &checkpoints {
                assert_eq!(r.root(new.size)?, Some(new.root), "{}", new.size);
                for old in checkpoints.iter().filter(|old| old.size <= new.size) {
                    let proof = r.consistency_proof(old.size, new.size)?.unwrap();
                    verify_consistency(old.size, new.size, &old.root, &new.root, &proof).unwrap();
                }
                for sequence in (0..new.size).step_by(97).chain([new.size - 1]) {
                    let leaf = r.entry(sequence)?.unwrap().hash;
                    let proof = r.inclusion_proof(sequence, new.size)?.unwrap();
                    verify_inclusion(sequence, new.size, &leaf, &proof, &new.root).unwrap();
                }
            }
            let size = r.size()?;
            assert_eq!(r.inclusion_proof(size, size)?, None, "there is no such entry");
            assert_eq!(
                r.inclusion_proof(0, size + 1)?,
                None,
                "the tree is not that large"
            );
            assert_eq!(r.consistency_proof(1, size + 1)?, None);
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn checkpoints_are_signed_by_themselves_and_kept_outside() {
    let place = Place::new();
    let store = place.open();
    assert_eq!(store.latest_checkpoint().unwrap(), None);
    lengthen(&store, 1_200).await;
    lengthen(&store, 1).await;
    let signed = store.latest_checkpoint().unwrap().unwrap();
    assert_eq!(signed.checkpoint.size, 1_201, "after a thousand entries");
    store.close().await.unwrap();
    let text = std::fs::read_to_string(place.checkpoints()).unwrap();
    let notes = Store::notes(&text);
    let sizes: Vec<u64> = notes
        .iter()
        .map(|note| Checkpoint::open(note, &store.verifier()).unwrap().size)
        .collect();
    assert_eq!(sizes, [1_201, 1_202], "the last one when it was closed");
    assert_eq!(notes[0], signed.note);
}

#[tokio::test]
async fn a_torn_or_missing_checkpoints_file_is_mended() {
    let place = Place::new();
    let store = place.open();
    store.checkpoint().await.unwrap();
    lengthen(&store, 3).await;
    store.close().await.unwrap();
    let whole = std::fs::read_to_string(place.checkpoints()).unwrap();
    for (name, cut) in [
        ("torn", &whole[..whole.len() - 20]),
        ("half gone", &whole[..whole.len() / 2]),
        ("gone", ""),
    ] {
        std::fs::write(place.checkpoints(), cut).unwrap();
        let store = place.open();
        store.checkpoint().await.unwrap();
        store.close().await.unwrap();
        let mended = Store::notes(&std::fs::read_to_string(place.checkpoints()).unwrap());
        assert_eq!(mended, Store::notes(&whole), "{name}");
    }
}

#[tokio::test]
async fn a_checkpoints_file_that_cannot_be_written_does_not_stop_the_journal() {
    let place = Place::new();
    let store = place.open();
    std::fs::create_dir_all(place.checkpoints()).unwrap();
    let failed = store.checkpoint().await.unwrap_err();
    assert!(
        matches!(&failed, StoreError::Unavailable { reason } if reason.contains("checkpoints file")),
        "{failed}"
    );
    lengthen(&store, 1).await;
    std::fs::remove_dir(place.checkpoints()).unwrap();
    store.checkpoint().await.unwrap();
    let notes = Store::notes(&std::fs::read_to_string(place.checkpoints()).unwrap());
    assert_eq!(notes.len(), 2, "what was missing is made up for");
}

#[tokio::test]
async fn exported_tiles_verify_without_the_store() {
    let place = Place::new();
    let store = place.open();
    lengthen(&store, 700).await;
    let tiles = place.root.path().join("tiles");
    let signed = store.export_tiles(&tiles).unwrap();
    let vkey = std::fs::read_to_string(tiles.join("log.vkey")).unwrap();
    let verifier = journal::note::Verifier::parse(vkey.trim_end()).unwrap();
    assert_eq!(verifier.name(), ORIGIN);
    let read = |path: &str| std::fs::read(tiles.join(path)).ok();
    let verified =
        journal::export::verify_tiles(read, &verifier, std::slice::from_ref(&signed.checkpoint)).unwrap();
    assert_eq!(verified, signed.checkpoint);
    let bundle = tiles.join("tile/entries/001");
    let mut bytes = std::fs::read(&bundle).unwrap();
    bytes[1_000] ^= 1;
    std::fs::write(&bundle, bytes).unwrap();
    journal::export::verify_tiles(read, &verifier, &[]).unwrap_err();
}
