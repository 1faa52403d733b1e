//! Code that others wrote accepts what we export and prove, and refuses it with one byte changed:
//! golang.org/x/mod/sumdb, through `peers/tlog`.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test"
)]

mod common;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{Log, signer};
use journal::merkle::{consistency_proof, inclusion_proof};
use journal::proof::InclusionBundle;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Two full tiles and more: three levels of the tree have partial tiles.
const ENTRIES: u64 = 1000;

/// The program, built once; `None` without the Go tools.
fn build(directory: &Path) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../peers/tlog");
    let program = directory.join("tlog");
    let mut go = Command::new("go");
    go.env("GOPATH", "/usr/share/gocode")
        .env("GO111MODULE", "off")
        .env("GOFLAGS", "");
    let built = go
        .arg("build")
        .arg("-o")
        .arg(&program)
        .arg(".")
        .current_dir(source)
        .output();
    let why = match built {
        Ok(built) if built.status.success() => return Some(program),
        Ok(built) => String::from_utf8_lossy(&built.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    let required = std::env::var_os("COFFERDAM_REQUIRE_PEERS").is_some_and(|value| value == "1");
    assert!(!required, "peers/tlog cannot be built: {why}");
    println!("skipped: peers/tlog cannot be built: {why}");
    None
}

fn write(directory: &Path, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let file = directory.join(path);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, content).unwrap();
    file
}

fn run(program: &Path, export: &Path, proofs: &[(&str, PathBuf)]) -> Output {
    let mut command = Command::new(program);
    command
        .arg("-dir")
        .arg(export)
        .arg("-vkey")
        .arg(signer().verifier().to_vkey());
    for (flag, file) in proofs {
        command.arg(flag).arg(file);
    }
    command.output().unwrap()
}

/// Proofs of entries and of growth, as files, with the flag that has each checked.
fn proofs(log: &Log, directory: &Path) -> Vec<(&'static str, PathBuf)> {
    let note = log.checkpoint(ENTRIES).sign(&signer()).unwrap();
    let mut files = Vec::new();
    for index in [0, 1, 255, 256, 511, 767, 768, 998, 999] {
        let Ok(proof) = inclusion_proof(log, index, ENTRIES);
        let leaf = &log.leaves[index as usize];
        let bundle = InclusionBundle::new(&note, &signer().verifier(), index, leaf, &proof.unwrap());
        let json = serde_json::to_vec_pretty(&bundle).unwrap();
        files.push((
            "-inclusion",
            write(directory, &format!("inclusion-{index}.json"), json),
        ));
        let text = bundle.to_tlog_proof();
        files.push((
            "-tlog-proof",
            write(directory, &format!("{index}.tlog-proof"), text),
        ));
    }
    for old in [1, 2, 255, 256, 257, 512, 700, 999, 1000] {
        let Ok(proof) = consistency_proof(log, old, ENTRIES);
        let proof: Vec<_> = proof.unwrap().iter().map(|hash| STANDARD.encode(hash)).collect();
        let root = |size| STANDARD.encode(log.checkpoint(size).root);
        let json = json!({ "size1": old, "root1": root(old), "size2": ENTRIES, "root2": root(ENTRIES), "proof": proof });
        files.push((
            "-consistency",
            write(directory, &format!("consistency-{old}.json"), json.to_string()),
        ));
    }
    files
}

#[test]
fn the_go_implementation_accepts_our_export_and_refuses_any_other() {
    let directory = tempfile::tempdir().unwrap();
    let Some(program) = build(directory.path()) else {
        return;
    };
    let log = Log::with_entries(ENTRIES);
    let export = directory.path().join("export");
    for (path, content) in log.export() {
        write(&export, &path, content);
    }
    let proofs = proofs(&log, directory.path());
    let output = run(&program, &export, &proofs);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "accepted: 1000 entries, 9 bundles, 9 tlog-proofs, 9 consistency proofs\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    #[rustfmt::skip]
    let table = [
        // what is changed in one byte       file                          complaint
        ("an entry",                         "tile/entries/001",           "the entries lead to another root"),
        ("an entry of the partial bundle",   "tile/entries/003.p/232",     "the entries lead to another root"),
        ("a hash of a leaf",                 "tile/0/002",                 "tile 0/2 does not hold the hashes"),
        ("a hash above",                     "tile/1/000.p/3",             "tile 1/0 does not hold the hashes"),
        ("the checkpoint's root",            "checkpoint",                 "invalid signature"),
    ];
    for (name, path, complaint) in table {
        let file = export.join(path);
        let honest = std::fs::read(&file).unwrap();
        let mut bent = honest.clone();
        // Within an entry, the middle of a tile, or the root.
        let at = if path == "checkpoint" {
            honest.len() / 3
        } else {
            (honest.len() / 2).min(1000)
        };
        bent[at] ^= 1;
        std::fs::write(&file, bent).unwrap();
        let output = run(&program, &export, &[]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && stderr.contains(complaint),
            "{name}: {stderr}"
        );
        std::fs::write(&file, honest).unwrap();
    }
    let mut refused = 0;
    for (flag, file) in proofs {
        let honest = std::fs::read_to_string(&file).unwrap();
        let bent = honest
            .replacen("\": 999", "\": 998", 1)
            .replacen("index 999", "index 998", 1);
        let bent = bent.replacen("\"size1\":257", "\"size1\":258", 1);
        std::fs::write(&file, &bent).unwrap();
        let accepted = run(&program, &export, &[(flag, file.clone())]).status.success();
        assert_eq!(accepted, bent == honest, "{}", file.display());
        refused += i32::from(!accepted);
    }
    assert_eq!(refused, 3, "a bundle, a tlog-proof and a consistency proof");
}
