//! The journal of a data directory, read without a server. Writes nothing to it.
//!
//! What it needs besides the directory: the keys, and checkpoints that were kept elsewhere.

use super::super::failure::Failure;
use super::super::screen::{Screen, clear_progress, show_progress};
use super::super::table::{Look, cell, fields};
use super::super::value::{field, text};
use super::{Export, Verify};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use journal::note::Verifier;
use journal::proof::InclusionBundle;
use owo_colors::OwoColorize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use store::{Keys, Options, Store};

/// Entries per read.
const PAGE: usize = 1000;
/// Largest file of checkpoints or proofs that is read, in bytes: a checkpoint a minute for six years.
const FILE_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Which keys a journal is read with.
#[derive(Clone, Debug)]
pub enum With {
    /// Those of a directory; of the one beside the data if none is named.
    Directory(Option<PathBuf>),
    /// Only the one that verifies checkpoints.
    Public(Verifier),
}

/// Verifies, prints what was found, and fails if anything was altered.
pub(super) fn verify(verify: &Verify, screen: &mut Screen) -> Result<(), Failure> {
    let data_dir = verify.data_dir.as_deref().unwrap_or(Path::new("./.cofferdam"));
    let mut against = verify.against.clone();
    if against.is_empty() {
        against.extend(kept_beside(data_dir));
    }
    let with = match &verify.key {
        None => With::Directory(verify.keys.clone()),
        Some(key) => With::Public(Verifier::parse(key).map_err(|e| Failure::Misuse(format!("--key: {e}")))?),
    };
    let answer = verified(data_dir, with, &against, &mut |done, all| {
        if done % 4096 == 0 {
            show_progress(&format!("verifying {done} of {all} entries…"));
        }
    });
    clear_progress();
    let answer = answer?;
    screen.data(&answer, |answer, _| verdict(answer))?;
    if field(&answer, "verified").as_bool() == Some(true) {
        Ok(())
    } else {
        Err(Failure::Told)
    }
}

/// The verdict on a data directory as data: `{verified, entries, root, checkpoints, projections, …}` or
/// `{verified, finding}`.
pub fn verified(
    data_dir: &Path,
    with: With,
    against: &[PathBuf],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Value, Failure> {
    let notes = read_notes(against)?;
    let store = match open(data_dir, with, true) {
        Ok(store) => store,
        Err(store::StoreError::Corrupt { finding }) => {
            return Ok(json!({"verified": false, "finding": finding}));
        }
        Err(error) => return Err(Failure::Other(error.into())),
    };
    let found = store.verify(&notes, progress).map_err(anyhow::Error::from)?;
    Ok(match found {
        Ok(found) => json!({
            "verified": true, "entries": found.entries, "root": STANDARD.encode(found.root),
            "checkpoints": found.checkpoints, "against": notes.len(), "payloads": found.payloads,
            "projections": found.projections, "without_key": found.without_key,
            "without_checkpoint": notes.is_empty(),
        }),
        Err(finding) => json!({"verified": false, "finding": finding.to_string()}),
    })
}

/// A verdict in words.
#[must_use]
pub fn verdict(answer: &Value) -> String {
    if field(answer, "verified").as_bool() != Some(true) {
        return format!("{} {}", "✗ ALTERED".red().bold(), text(answer, "finding"));
    }
    let root: String = text(answer, "root").chars().take(16).collect();
    let counted =
        ["entries", "payloads", "checkpoints", "projections"].map(|what| (text(answer, what), what));
    let counted = counted
        .iter()
        .filter(|(count, _)| !count.is_empty() && count != "0");
    let counted = counted
        .map(|(count, what)| format!("{count} {what}"))
        .collect::<Vec<_>>()
        .join(", ");
    let left_out = match field(answer, "without_key").as_bool() {
        Some(true) => "\nleft out, because they need the organization's key: payloads and projections",
        _ => "",
    };
    let unaided = match field(answer, "without_checkpoint").as_bool() {
        Some(true) => {
            "\nno checkpoint was kept elsewhere: a journal that was rewritten and signed again would look the same"
        }
        _ => "",
    };
    format!(
        "{} {counted} agree {}{}{}",
        "✓ honest".green().bold(),
        format!("root {root}…").dimmed(),
        left_out.yellow(),
        unaided.yellow(),
    )
}

/// Writes tiles, or prints entries.
pub(super) fn export(export: &Export, screen: &mut Screen) -> Result<(), Failure> {
    let data_dir = export.data_dir.as_deref().unwrap_or(Path::new("./.cofferdam"));
    let store = open(data_dir, With::Directory(export.keys.clone()), true).map_err(anyhow::Error::from)?;
    if let Some(directory) = &export.tiles {
        let signed = store.export_tiles(directory).map_err(anyhow::Error::from)?;
        let answer = json!({
            "directory": directory.display().to_string(), "entries": signed.checkpoint.size,
            "checkpoint": signed.note, "vkey": store.verifier().to_vkey(),
        });
        return screen.data(&answer, |answer, columns| {
            fields(
                columns,
                &[
                    ("written to", cell(text(answer, "directory"), Look::Bold)),
                    ("entries", text(answer, "entries").into()),
                    ("key", text(answer, "vkey").into()),
                ],
            )
        });
    }
    let mut from = 0;
    loop {
        let entries = store
            .read(|reader| reader.entries(from, PAGE))
            .map_err(anyhow::Error::from)?;
        for stored in &entries {
            let leaf = stored.entry.to_leaf().map_err(anyhow::Error::from)?;
            screen.line(&String::from_utf8_lossy(&leaf))?;
        }
        match entries.last() {
            Some(last) => from = last.entry.sequence + 1,
            None => return Ok(()),
        }
    }
}

/// Checks a proof bundle.
pub(super) fn check(file: &Path, key: Option<&str>, screen: &mut Screen) -> Result<(), Failure> {
    let bytes = if file == Path::new("-") {
        whole(std::io::stdin(), FILE_BYTES_MAX)?
    } else {
        read_file(file)?
    };
    let trusted = key
        .map(Verifier::parse)
        .transpose()
        .map_err(|e| Failure::Misuse(format!("--key: {e}")))?;
    let proven = InclusionBundle::parse(&bytes)
        .and_then(|bundle| bundle.verify(trusted.as_ref()).map(|proven| (bundle, proven)))
        .map_err(anyhow::Error::from)?;
    let (bundle, proven) = proven;
    let answer = json!({
        "proven": true, "entry": proven.entry, "origin": proven.checkpoint.origin,
        "size": proven.checkpoint.size, "vkey": bundle.vkey,
    });
    screen.data(&answer, |answer, columns| {
        let trust = if key.is_some() {
            "the key you named"
        } else {
            "the key that the file names; compare it with one you trust"
        };
        let origin = format!("{} at {} entries", text(answer, "origin"), text(answer, "size"));
        let what = super::super::entry::what(field(answer, "entry"));
        let head = format!(
            "{} entry {} stands in the journal",
            "✓ proven".green().bold(),
            bundle.index
        );
        let about = [
            ("says", what.into()),
            ("journal", origin.into()),
            ("key", text(answer, "vkey").into()),
            ("signed by", trust.into()),
        ];
        format!("{head}\n{}", fields(columns, &about))
    })
}

/// Signed notes of files; each file holds one or more, one after another.
pub fn read_notes(files: &[PathBuf]) -> Result<Vec<String>, Failure> {
    let mut notes = Vec::new();
    for file in files {
        let text = String::from_utf8(read_file(file)?).map_err(|_| {
            Failure::Failed(format!(
                "`{}` holds no checkpoints: it is not text",
                file.display()
            ))
        })?;
        let found = Store::notes(&text);
        if found.is_empty() {
            return Err(Failure::Failed(format!(
                "`{}` holds no checkpoints",
                file.display()
            )));
        }
        notes.extend(found);
    }
    Ok(notes)
}

/// Opens for writing, which needs the directory's lock.
pub fn open_to_write(data_dir: &Path, keys: Option<&Path>) -> Result<Store, Failure> {
    open(data_dir, With::Directory(keys.map(Path::to_path_buf)), false).map_err(|e| Failure::Other(e.into()))
}

fn open(data_dir: &Path, with: With, read_only: bool) -> Result<Store, store::StoreError> {
    let refused = |reason: String| store::StoreError::Refused(reason);
    if !data_dir.is_dir() {
        return Err(refused(format!("`{}` is no data directory", data_dir.display())));
    }
    let origin = crate::app::stored_origin(data_dir).map_err(|e| refused(e.to_string()))?;
    let keys = match with {
        With::Public(verifier) => Keys::verifier_only(verifier),
        With::Directory(named) => {
            keys_of(&named.unwrap_or_else(|| beside(data_dir, "-keys")), &origin).map_err(refused)?
        }
    };
    let options = Options {
        directory: data_dir.to_path_buf(),
        origin,
        keys,
        projections: [gate::projections(), ops::triage::projections()].concat(),
        clock: store::clock::SystemClock::shared(),
        checkpoints: None,
        vfs: None,
        synchronous: "FULL",
    };
    if read_only {
        Store::open_read_only(options)
    } else {
        Store::open(options)
    }
}

/// Never makes keys: new ones could only call an honest journal altered.
fn keys_of(directory: &Path, origin: &str) -> Result<Keys, String> {
    for key in ["organization.key", "log.key"] {
        if !directory.join(key).is_file() {
            let directory = directory.display();
            return Err(format!(
                "no `{key}` in `{directory}`; name the directory of the keys with --keys"
            ));
        }
    }
    Keys::open_or_create(directory, origin).map_err(|e| e.to_string())
}

/// Files of checkpoints beside a data directory.
fn kept_beside(data_dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(beside(data_dir, "-checkpoints")) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "txt"))
        .collect();
    files.sort();
    files
}

/// `./.cofferdam` and `-keys` give `./.cofferdam-keys`; also for `.`.
fn beside(data_dir: &Path, suffix: &str) -> PathBuf {
    crate::app::beside(
        &data_dir.canonicalize().unwrap_or_else(|_| data_dir.to_path_buf()),
        suffix,
    )
}

fn read_file(file: &Path) -> Result<Vec<u8>, Failure> {
    let read = std::fs::File::open(file).and_then(|file| whole(file, FILE_BYTES_MAX));
    read.map_err(|e| {
        Failure::Other(anyhow::Error::new(e).context(format!("cannot read `{}`", file.display())))
    })
}

/// All of it, or an error: what stands behind a limit may be the one checkpoint that convicts.
fn whole(from: impl std::io::Read, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(
        &mut std::io::Read::take(from, limit.saturating_add(1)),
        &mut bytes,
    )?;
    match bytes.len() as u64 > limit {
        true => Err(std::io::Error::other(format!("it is larger than {limit} bytes"))),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_an_error_and_never_a_part_of_it() {
        for (length, expected) in [
            (0, Ok(0)),
            (8, Ok(8)),
            (9, Err("it is larger than 8 bytes".to_owned())),
        ] {
            let read = whole(vec![b'x'; length].as_slice(), 8);
            let read = read.map(|bytes| bytes.len()).map_err(|error| error.to_string());
            assert_eq!(read, expected, "{length}");
        }
    }

    #[test]
    fn a_verdict_without_a_checkpoint_from_outside_says_so() {
        let said = |without: bool| {
            let answer = json!({"verified": true, "entries": 7, "checkpoints": 1, "root": "AAAA", "without_checkpoint": without});
            anstream::adapter::strip_str(&verdict(&answer)).to_string()
        };
        assert_eq!(said(false), "✓ honest 7 entries, 1 checkpoints agree root AAAA…");
        assert_eq!(
            said(true),
            "✓ honest 7 entries, 1 checkpoints agree root AAAA…\nno checkpoint was kept elsewhere: a journal that was rewritten and signed again would look the same"
        );
    }

    #[test]
    fn a_file_of_checkpoints_gives_its_whole_notes_and_nothing_else() {
        let signature = |name: &str| format!("\u{2014} {name} {}\n", "A".repeat(92));
        let one = format!("origin\n7\nroot=\n\n{}", signature("key"));
        let two = format!("origin\n9\nroot=\n\n{}{}", signature("key"), signature("witness"));
        let torn = |length: usize| format!("{}\n\n{two}\n", &one[..length]);
        let table = [
            ("one", one.clone(), vec![one.clone()]),
            (
                "a blank line between",
                format!("{one}\n{two}"),
                vec![one.clone(), two.clone()],
            ),
            (
                "nothing between",
                format!("{one}{two}"),
                vec![one.clone(), two.clone()],
            ),
            ("no signature is no note", "origin\n7\nroot=\n".to_owned(), vec![]),
            ("no text is no note", signature("key"), vec![]),
            ("torn in its text, then mended", torn(10), vec![two.clone()]),
            (
                "torn in its signature, then mended",
                torn(one.len() - 20),
                vec![two.clone()],
            ),
            ("torn after its first line", torn(6), vec![two.clone()]),
            ("nothing", String::new(), vec![]),
        ];
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("notes.txt");
        for (name, text, expected) in table {
            std::fs::write(&file, text).unwrap();
            let read = read_notes(std::slice::from_ref(&file)).unwrap_or_default();
            assert_eq!(read, expected, "{name}");
        }
    }
}
