//! RFC 6962 probes of transparency-dev/merkle: everything decides as labelled. (Its probes of subtrees
//! are about another kind of proof, which nothing here makes or reads.)
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test"
)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use journal::merkle::{Hash, leaf_hash, verify_consistency, verify_inclusion};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Roots and proofs are in base64. Some probes write a few words where any hash would do: they stand
/// for the hash of these words. None at all is no hash.
fn hash(value: &Value) -> Option<Hash> {
    let bytes = STANDARD
        .decode(value.as_str()?)
        .ok()
        .filter(|bytes| !bytes.is_empty())?;
    Some(Hash::try_from(bytes).unwrap_or_else(|words| leaf_hash(&words)))
}

fn proof(probe: &Value) -> Option<Vec<Hash>> {
    match &probe["proof"] {
        Value::Null => Some(Vec::new()),
        list => list.as_array()?.iter().map(hash).collect(),
    }
}

fn inclusion(probe: &Value) -> Option<()> {
    let (index, size) = (probe["leafIdx"].as_u64()?, probe["treeSize"].as_u64()?);
    verify_inclusion(
        index,
        size,
        &hash(&probe["leafHash"])?,
        &proof(probe)?,
        &hash(&probe["root"])?,
    )
    .ok()
}

fn consistency(probe: &Value) -> Option<()> {
    let (old, new) = (probe["size1"].as_u64()?, probe["size2"].as_u64()?);
    verify_consistency(
        old,
        new,
        &hash(&probe["root1"])?,
        &hash(&probe["root2"])?,
        &proof(probe)?,
    )
    .ok()
}

fn files(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, into)
        } else {
            into.push(path)
        }
    }
}

/// How many probes were accepted and how many rejected, all as labelled.
fn decide(directory: &Path, verify: fn(&Value) -> Option<()>) -> (usize, usize) {
    let mut paths = Vec::new();
    files(directory, &mut paths);
    let (mut accepted, mut rejected) = (0, 0);
    for path in paths
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
    {
        let probe: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let want = !probe["wantErr"].as_bool().unwrap();
        assert_eq!(
            verify(&probe).is_some(),
            want,
            "{}: {}",
            path.display(),
            probe["desc"]
        );
        if want { accepted += 1 } else { rejected += 1 }
    }
    (accepted, rejected)
}

#[test]
fn every_probe_decides_as_labelled() {
    let Some(corpora) = std::env::var_os("COFFERDAM_CORPORA") else {
        println!("skipped: COFFERDAM_CORPORA is not set");
        return;
    };
    let probes = Path::new(&corpora).join("tlog/transparency-dev-merkle/testdata");
    assert_eq!(
        decide(&probes.join("inclusion"), inclusion),
        (6, 92),
        "accepted, rejected"
    );
    assert_eq!(
        decide(&probes.join("consistency"), consistency),
        (6, 92),
        "accepted, rejected"
    );
}
