//! Offline verification: an honest export is accepted, and every other is refused with the place named.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

mod common;

use common::{Log, ORIGIN, entry, signer};
use journal::checkpoint::Checkpoint;
use journal::export::{ExportError, verify_tiles};
use journal::merkle::{Frontier, inclusion_proof, leaf_hash};
use journal::note::Signer;
use journal::proof::InclusionBundle;
use journal::verify::{Finding, Replay};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::LazyLock;

const SIZE: u64 = 600;

static LOG: LazyLock<Log> = LazyLock::new(|| Log::with_entries(SIZE));
static FILES: LazyLock<BTreeMap<String, Vec<u8>>> = LazyLock::new(|| LOG.export());

fn verify(files: &BTreeMap<String, Vec<u8>>, against: &[Checkpoint]) -> Result<Checkpoint, ExportError> {
    verify_tiles(|path| files.get(path).cloned(), &signer().verifier(), against)
}

/// The error with what caused it.
fn complaint(result: Result<Checkpoint, ExportError>) -> String {
    match result {
        Ok(checkpoint) => format!("{} entries", checkpoint.size),
        Err(error) => match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}

/// A log that differs from the honest one from `entry` on, signed by the same key.
fn rewritten(from: u64, size: u64) -> Log {
    let rewrite = |sequence| {
        let mut entry = entry(sequence);
        if sequence >= from {
            entry.actor = "person:mallory".to_owned();
        }
        entry.to_leaf().unwrap()
    };
    Log::of((0..size).map(rewrite).collect())
}

#[test]
fn an_honest_export_is_accepted_at_every_size() {
    for size in [0, 1, 2, 255, 256, 257, 511, 512, SIZE] {
        let files = Log::of(LOG.leaves[..size as usize].to_vec()).export();
        let earlier: Vec<_> = [0, 1, size / 2, size].map(|size| LOG.checkpoint(size)).into();
        let earlier: Vec<_> = earlier
            .into_iter()
            .filter(|checkpoint| checkpoint.size <= size)
            .collect();
        assert_eq!(verify(&files, &earlier).unwrap(), LOG.checkpoint(size));
    }
}

#[test]
fn a_checkpoint_kept_outside_convicts_who_rewrites_and_signs_again() {
    let kept = [LOG.checkpoint(100), LOG.checkpoint(300)];
    let other = Checkpoint {
        origin: "other.example".to_owned(),
        ..LOG.checkpoint(100)
    };
    #[rustfmt::skip]
    let table = [
        // what the row shows                  log                     kept                    expected
        ("an honest log",                      LOG.export(),           kept.to_vec(),          "600 entries"),
        ("rewritten after what was kept",      rewritten(300, SIZE).export(), kept.to_vec(),   "600 entries"),
        ("rewritten before the last kept",     rewritten(299, SIZE).export(), kept.to_vec(),   "history up to entry 300 was rewritten: its root is not the checkpoint's"),
        ("rewritten before the first kept",    rewritten(0, SIZE).export(), kept.to_vec(),     "history up to entry 100 was rewritten: its root is not the checkpoint's"),
        ("rewritten, nothing kept",            rewritten(0, SIZE).export(), vec![],            "600 entries"),
        ("cut off",                            rewritten(SIZE, 200).export(), kept.to_vec(),   "the journal has 200 entries; the checkpoint vouches for 300"),
        ("everything lost",                    Log::of(vec![]).export(), kept.to_vec(),        "the journal has 0 entries; the checkpoint vouches for 100"),
        ("a checkpoint of another log",        LOG.export(),           vec![other],            "entry 0 belongs to log `cofferdam.example/tests`"),
    ];
    for (name, files, kept, expected) in table {
        assert_eq!(complaint(verify(&files, &kept)), expected, "{name}");
    }
}

#[test]
fn exports_that_are_not_whole_or_not_ours() {
    type Change = fn(&mut BTreeMap<String, Vec<u8>>);
    fn flip(files: &mut BTreeMap<String, Vec<u8>>, path: &str, at: usize) {
        files.get_mut(path).unwrap()[at] ^= 1;
    }
    fn sign(files: &mut BTreeMap<String, Vec<u8>>, name: &str, seed: u8) {
        let signer = Signer::from_seed(name, &[seed; 32]).unwrap();
        let note = Checkpoint {
            origin: name.to_owned(),
            ..LOG.checkpoint(SIZE)
        }
        .sign(&signer)
        .unwrap();
        files.insert("checkpoint".to_owned(), note.into_bytes());
    }
    #[rustfmt::skip]
    let table: [(&str, Change, &str); 12] = [
        ("as it is",                |_| (),                                                   "600 entries"),
        ("no checkpoint",           |files| drop(files.remove("checkpoint")),                 "`checkpoint` is missing"),
        ("a checkpoint of bytes",   |files| drop(files.insert("checkpoint".to_owned(), vec![0xff])), "`checkpoint` is not UTF-8"),
        ("signed by another",       |files| sign(files, ORIGIN, 8),                           "`checkpoint` is not acceptable: no signature by `cofferdam.example/tests`"),
        ("of another log",          |files| sign(files, "b", 7),                              "`checkpoint` is not acceptable: no signature by `cofferdam.example/tests`"),
        ("a bundle lost",           |files| drop(files.remove("tile/entries/001")),           "`tile/entries/001` is missing"),
        ("a tile lost",             |files| drop(files.remove("tile/1/000.p/2")),             "`tile/1/000.p/2` is missing"),
        ("a bundle cut short",      |files| files.get_mut("tile/entries/001").unwrap().truncate(5000), "`tile/entries/001` is not a bundle of as many entries as its name says"),
        ("a tile cut short",        |files| files.get_mut("tile/0/001").unwrap().truncate(8160), "`tile/0/001` is not a tile of as many hashes as its name says"),
        ("an entry altered",        |files| flip(files, "tile/entries/001", 100),             "entry 256 was altered: its content does not have the hash on record"),
        ("a leaf's hash altered",   |files| flip(files, "tile/0/002.p/88", 32 * 5),           "entry 517 was altered: its content does not have the hash on record"),
        ("a hash above altered",    |files| flip(files, "tile/1/000.p/2", 32),                "`tile/1/000.p/2` does not hold the hashes of the entries"),
    ];
    for (name, change, expected) in table {
        let mut files = FILES.clone();
        change(&mut files);
        assert_eq!(complaint(verify(&files, &[])), expected, "{name}");
    }
    // An entry and its hash altered together: only the signed root tells.
    let mut both = rewritten(SIZE - 1, SIZE).export();
    both.insert("checkpoint".to_owned(), FILES["checkpoint"].clone());
    assert_eq!(
        complaint(verify(&both, &[])),
        "history up to entry 600 was rewritten: its root is not the checkpoint's"
    );
}

#[test]
fn a_replay_names_the_first_entry_that_is_not_in_its_place() {
    let leaf = |sequence: u64| LOG.leaves[sequence as usize].clone();
    let mut foreign = entry(2);
    foreign.log = "other.example".to_owned();
    let foreign = foreign.to_leaf().unwrap();
    #[rustfmt::skip]
    let table = [
        // what the row shows      third leaf          recorded                    expected
        ("in its place",           leaf(2),            Some(leaf_hash(&leaf(2))),  Ok(2)),
        ("without a record",       leaf(2),            None,                       Ok(2)),
        ("altered",                leaf(2),            Some([0; 32]),              Err(Finding::Altered { sequence: 2 })),
        ("swapped",                leaf(3),            Some(leaf_hash(&leaf(3))),  Err(Finding::Misplaced { sequence: 2, claims: 3 })),
        ("of another log",         foreign,            None,                       Err(Finding::Foreign { sequence: 2, claims: "other.example".to_owned() })),
        ("no entry",               b"{}".to_vec(),     None,                       Err(Finding::Unreadable { sequence: 2, reason: "not an entry: not what canonical JSON of an entry has at byte 0".to_owned() })),
    ];
    for (name, third, recorded, expected) in table {
        let mut replay = Replay::new();
        for sequence in 0..2 {
            assert_eq!(replay.leaf(&leaf(sequence), None), Ok(entry(sequence)));
        }
        let at_two = replay.root();
        assert_eq!(
            replay.fold(&third, recorded.as_ref()).map(|head| head.sequence),
            expected,
            "{name}"
        );
        // What was refused is not folded.
        assert_eq!(replay.size() == 2, expected.is_err(), "{name}");
        assert_eq!(replay.root() == at_two, expected.is_err(), "{name}");
    }
}

#[test]
fn a_replay_goes_on_from_a_trusted_edge() {
    let mut edge = Frontier::new();
    LOG.leaves[..300]
        .iter()
        .for_each(|leaf| edge.append(leaf_hash(leaf)));
    let mut replay = Replay::resume(edge, ORIGIN);
    for leaf in &LOG.leaves[300..] {
        replay.fold(leaf, None).unwrap();
    }
    assert_eq!(replay.check(&LOG.checkpoint(SIZE)), Ok(()));
    assert_eq!(
        replay.check(&LOG.checkpoint(599)),
        Err(Finding::Passed {
            size: SIZE,
            checkpoint: 599
        })
    );
    let other = Replay::resume(replay.frontier().clone(), "other.example")
        .fold(&LOG.leaves[0], None)
        .map(drop);
    assert_eq!(
        other,
        Err(Finding::Misplaced {
            sequence: SIZE,
            claims: 0
        })
    );
}

fn bundle(index: u64) -> InclusionBundle {
    let Ok(proof) = inclusion_proof(&*LOG, index, SIZE);
    let note = LOG.checkpoint(SIZE).sign(&signer()).unwrap();
    InclusionBundle::new(
        &note,
        &signer().verifier(),
        index,
        &LOG.leaves[index as usize],
        &proof.unwrap(),
    )
}

#[test]
fn a_bundle_proves_its_entry_to_whoever_has_the_key() {
    for index in [0, 255, 256, 599] {
        let json = serde_json::to_vec(&bundle(index)).unwrap();
        let proven = InclusionBundle::parse(&json)
            .unwrap()
            .verify(Some(&signer().verifier()))
            .unwrap();
        assert_eq!(proven.entry, entry(index));
        assert_eq!(proven.checkpoint, LOG.checkpoint(SIZE));
        assert!(bundle(index).verify(None).is_ok());
    }
}

#[test]
fn bundles_that_prove_nothing() {
    type Change = fn(&mut InclusionBundle);
    let stranger = Signer::from_seed(ORIGIN, &[8; 32]).unwrap().verifier();
    fn encode(bytes: &[u8]) -> String {
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)
    }
    #[rustfmt::skip]
    let table: [(&str, Change, &str); 9] = [
        ("another index",        |bundle| bundle.index = 257,                      "entry 257 does not stand in the log of 600 entries: proof leads to another root"),
        ("an index beyond",      |bundle| bundle.index = 600,                      "entry 600 does not stand in the log of 600 entries: index or sizes do not fit"),
        ("a hash less",          |bundle| drop(bundle.proof.pop()),                "entry 256 does not stand in the log of 600 entries: proof has 9 hashes, 10 are needed"),
        ("no hash",              |bundle| bundle.proof[0] = "AA==".to_owned(),     "not a proof bundle: proof has a line that is no hash in base64"),
        ("another leaf",         |bundle| bundle.leaf = encode(&LOG.leaves[3]),    "entry 256 does not stand in the log of 600 entries: proof leads to another root"),
        ("no base64",            |bundle| bundle.leaf = "{}".to_owned(),           "not a proof bundle: leaf is not base64"),
        ("no vkey",              |bundle| bundle.vkey = "a".to_owned(),            "not a proof bundle: not a signed note: verifier key: is not `NAME+HASH+BASE64`"),
        ("another checkpoint",   |bundle| bundle.checkpoint = bundle.checkpoint.replace("600", "601"), "checkpoint of the proof is not acceptable: signature by `cofferdam.example/tests` does not hold"),
        ("a leaf out of place",  |bundle| {
            let log = Log::of(vec![LOG.leaves[5].clone()]);
            bundle.checkpoint = log.checkpoint(1).sign(&signer()).unwrap();
            bundle.leaf = encode(&LOG.leaves[5]);
            (bundle.index, bundle.proof) = (0, vec![]);
        }, "leaf 0 claims to be entry 5 of log `cofferdam.example/tests`"),
    ];
    for (name, change, expected) in table {
        let mut bundle = bundle(256);
        change(&mut bundle);
        let error = bundle.verify(None).unwrap_err();
        let shown = error
            .source()
            .map_or(error.to_string(), |source| format!("{error}: {source}"));
        assert_eq!(shown, expected, "{name}");
    }
    let error = bundle(0).verify(Some(&stranger)).unwrap_err().to_string();
    assert!(
        error.starts_with("proof is by key `cofferdam.example/tests+"),
        "{error}"
    );
    for json in ["", "[]", "{}", r#"{"vkey":"a","vkey":"b"}"#] {
        assert!(InclusionBundle::parse(json.as_bytes()).is_err(), "{json}");
    }
}

#[test]
fn a_bundle_reads_as_a_tlog_proof() {
    let text = bundle(256).to_tlog_proof();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "c2sp.org/tlog-proof@v1");
    assert_eq!(lines[2], "index 256");
    let blank = lines.iter().position(|line| line.is_empty()).unwrap();
    assert_eq!(blank, 3 + 10, "ten hashes");
    assert_eq!(lines[blank + 1..blank + 3], [ORIGIN, "600"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every byte of an export matters.
    #[test]
    fn no_changed_byte_is_accepted(file: prop::sample::Index, at: prop::sample::Index, bit in 0..8u8) {
        let mut files = FILES.clone();
        let path = FILES.keys().nth(file.index(FILES.len())).unwrap();
        let content = files.get_mut(path).unwrap();
        let at = at.index(content.len());
        content[at] ^= 1 << bit;
        prop_assert!(verify(&files, &[]).is_err(), "{path} at {at}");
    }

    #[test]
    fn any_bundle_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[\\[\\]{}\":,a-z0-9 ]{0,200}") {
        prop_assert!(InclusionBundle::parse(&bytes).is_err());
        prop_assert!(InclusionBundle::parse(text.as_bytes()).is_err());
        let scrambled = InclusionBundle { checkpoint: text.clone(), leaf: text, ..bundle(1) };
        prop_assert!(scrambled.verify(None).is_err());
    }
}
