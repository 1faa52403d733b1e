//! What changed in a workspace while a guest ran, told by comparing what there was with what there is.
//!
//! A file counts as changed when its identity, size, mode or the time of its last change by the kernel (`ctime`)
//! differ: a guest can set every other time, and not that one. Links are compared and not followed. In a review it is
//! told by what was collected instead.

use sandbox::review::{Change, ChangeKind, Review};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Most files and directories that are looked at.
const ENTRIES_MAX: usize = 500_000;
/// Most bytes of paths that are looked at: a guest makes them, and this is the platform's memory.
const PATH_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most bytes of paths that are named.
const NAMED_BYTES_MAX: usize = 256 * 1024;
/// Deepest directory that is looked into.
const DEPTH_MAX: usize = 64;
/// Most paths that are named; all are counted.
const NAMED_MAX: usize = 1_000;

/// Everything below a directory, at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    files: BTreeMap<PathBuf, Mark>,
    /// Bytes of their paths.
    path_bytes: usize,
    /// Why it is not everything.
    lacks: Option<String>,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    mode: u32,
    directory: bool,
    /// 0 for a directory: its own size and times follow from what is in it.
    bytes: u64,
    changed: (i64, i64),
}

/// What changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Changes {
    added: usize,
    modified: usize,
    removed: usize,
    /// The first of them, by path: `A`, `M` or `D` and the path, as Git writes it.
    paths: Vec<String>,
    /// Why there may be more.
    #[serde(skip_serializing_if = "Option::is_none")]
    lacks: Option<String>,
}

/// A letter for each path that changed.
type Named<'a> = BTreeMap<&'a Path, char>;

impl Changes {
    /// Counts all, and names the first.
    fn name(&mut self, named: Named<'_>) {
        let mut bytes = 0;
        for (path, letter) in named {
            match letter {
                'A' => self.added += 1,
                'M' => self.modified += 1,
                _ => self.removed += 1,
            }
            // A control character takes six bytes in JSON.
            bytes += path.as_os_str().len() * 6;
            if self.paths.len() < NAMED_MAX && bytes < NAMED_BYTES_MAX * 6 {
                self.paths.push(format!("{letter} {}", path.display()));
            }
        }
    }
}

impl Display for Changes {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Changes {
            added,
            modified,
            removed,
            ..
        } = self;
        match added + modified + removed {
            0 => f.write_str("nothing in the workspace changed")?,
            _ => write!(
                f,
                "in the workspace {added} added, {modified} modified, {removed} removed"
            )?,
        }
        match &self.lacks {
            Some(why) => write!(f, " (as far as was looked: {why})"),
            None => Ok(()),
        }
    }
}

/// Looks at everything below `root` but `hidden`, on a thread for what blocks.
pub(super) async fn beside(root: PathBuf, hidden: Vec<PathBuf>) -> Snapshot {
    let looked = tokio::task::spawn_blocking(move || look(&root, &hidden)).await;
    looked.unwrap_or_else(|error| Snapshot {
        files: BTreeMap::new(),
        path_bytes: 0,
        lacks: Some(error.to_string()),
    })
}

fn look(root: &Path, hidden: &[PathBuf]) -> Snapshot {
    let mut snapshot = Snapshot {
        files: BTreeMap::new(),
        path_bytes: 0,
        lacks: None,
    };
    let mut open = vec![(PathBuf::new(), 0)];
    while let Some((directory, depth)) = open.pop() {
        if let Err(error) = look_into((root, hidden), &directory, depth, &mut open, &mut snapshot) {
            let shown = root.join(&directory);
            snapshot.lacks = Some(format!("`{}`: {error}", shown.display()));
        }
        if snapshot.is_full() {
            snapshot.lacks = Some(format!(
                "there are more than {ENTRIES_MAX} files, or their paths are too long"
            ));
            break;
        }
    }
    snapshot
}

fn look_into(
    (root, hidden): (&Path, &[PathBuf]),
    directory: &Path,
    depth: usize,
    open: &mut Vec<(PathBuf, usize)>,
    snapshot: &mut Snapshot,
) -> io::Result<()> {
    if depth > DEPTH_MAX {
        snapshot.lacks = Some(format!("directories are more than {DEPTH_MAX} deep"));
        return Ok(());
    }
    for entry in std::fs::read_dir(root.join(directory))? {
        let entry = entry?;
        if hidden.contains(&entry.path()) {
            continue;
        }
        let path = directory.join(entry.file_name());
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            open.push((path.clone(), depth + 1));
        }
        snapshot.path_bytes += path.as_os_str().len();
        snapshot.files.insert(path, Mark::of(&metadata));
        if snapshot.is_full() {
            break;
        }
    }
    Ok(())
}

impl Snapshot {
    fn is_full(&self) -> bool {
        self.files.len() > ENTRIES_MAX || self.path_bytes > PATH_BYTES_MAX
    }
}

impl Mark {
    fn of(metadata: &std::fs::Metadata) -> Mark {
        let directory = metadata.is_dir();
        Mark {
            device: metadata.dev(),
            inode: metadata.ino(),
            mode: metadata.mode(),
            directory,
            bytes: if directory { 0 } else { metadata.size() },
            changed: if directory {
                (0, 0)
            } else {
                (metadata.ctime(), metadata.ctime_nsec())
            },
        }
    }
}

/// What is different in `after`.
pub(super) fn between(before: &Snapshot, after: &Snapshot) -> Changes {
    let mut changes = Changes {
        lacks: before.lacks.clone().or(after.lacks.clone()),
        ..Changes::default()
    };
    let mut named: Named<'_> = BTreeMap::new();
    for (path, mark) in &after.files {
        match before.files.get(path) {
            None => drop(named.insert(path, 'A')),
            Some(was) if was != mark => drop(named.insert(path, 'M')),
            Some(_) => {}
        }
    }
    let gone = before
        .files
        .keys()
        .filter(|path| !after.files.contains_key(*path));
    named.extend(gone.map(|path| (path.as_path(), 'D')));
    changes.name(named);
    changes
}

/// What a review would change, of what there was before.
pub(super) fn reviewed(before: &Snapshot, review: &Review) -> Changes {
    let mut changes = Changes {
        lacks: before.lacks.clone(),
        ..Changes::default()
    };
    let letter = |change: &Change| match (change.kind, before.files.get(&change.path)) {
        (ChangeKind::Removed, _) => Some('D'),
        (ChangeKind::Other, _) => None,
        // What is in it is told by itself.
        (ChangeKind::Directory, Some(was)) if was.directory && was.mode & 0o7777 == change.mode => None,
        (_, None) => Some('A'),
        (_, Some(_)) => Some('M'),
    };
    let told = review.changes.iter();
    let named = told.filter_map(|change| Some((change.path.as_path(), letter(change)?)));
    changes.name(named.collect());
    changes
}

/// When it cannot be told what changed.
pub(super) fn unknown(why: &str) -> Changes {
    Changes {
        lacks: Some(why.to_owned()),
        ..Changes::default()
    }
}

/// Why `review` cannot be kept: something that it changes, or that lies in what it removes, is not as it was before.
pub(super) fn meanwhile(
    before: &Snapshot,
    root: &Path,
    hidden: &[PathBuf],
    review: &Review,
) -> Result<(), String> {
    let now = look(root, hidden);
    if let Some(lacks) = before.lacks.as_ref().or(now.lacks.as_ref()) {
        return Err(format!(
            "whether somebody else changed something meanwhile is not known: {lacks}"
        ));
    }
    for change in &review.changes {
        let is_whole = !matches!(change.kind, ChangeKind::Directory);
        let was = below(&before.files, &change.path, is_whole);
        let is = below(&now.files, &change.path, is_whole);
        if let Some((path, _)) = first_other(was, is) {
            return Err(format!(
                "`{}` was changed by somebody else meanwhile",
                path.display()
            ));
        }
    }
    Ok(())
}

/// What is at `path`, and all that is in it if it is replaced as a whole.
fn below<'a>(
    files: &'a BTreeMap<PathBuf, Mark>,
    path: &'a Path,
    is_whole: bool,
) -> impl Iterator<Item = (&'a PathBuf, &'a Mark)> {
    let from_here = files.range::<Path, _>((std::ops::Bound::Included(path), std::ops::Bound::Unbounded));
    from_here.take_while(move |(found, _)| found.as_path() == path || (is_whole && found.starts_with(path)))
}

/// The first that is not the same in both.
fn first_other<'a>(
    mut one: impl Iterator<Item = (&'a PathBuf, &'a Mark)>,
    mut other: impl Iterator<Item = (&'a PathBuf, &'a Mark)>,
) -> Option<(&'a PathBuf, &'a Mark)> {
    loop {
        match (one.next(), other.next()) {
            (None, None) => return None,
            (a, b) if a == b => {}
            (a, b) => return a.or(b),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_changed_is_told_whatever_times_a_guest_sets() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["kept", "grown", "same-size", "touched-back", "gone", "swapped"] {
            fs::write(at(name), "before").unwrap();
        }
        fs::create_dir_all(at("old/deep")).unwrap();
        fs::write(at("old/deep/file"), "x").unwrap();
        std::os::unix::fs::symlink("kept", at("link")).unwrap();
        let before = look(folder.path(), &[]);
        // The kernel's clock for files ticks with its timer.
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(at("grown"), "before and more").unwrap();
        fs::write(at("same-size"), "behind").unwrap();
        let times =
            fs::FileTimes::new().set_modified(fs::metadata(at("touched-back")).unwrap().modified().unwrap());
        fs::write(at("touched-back"), "behind").unwrap();
        fs::File::options()
            .write(true)
            .open(at("touched-back"))
            .unwrap()
            .set_times(times)
            .unwrap();
        fs::remove_file(at("gone")).unwrap();
        fs::remove_file(at("swapped")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", at("swapped")).unwrap();
        fs::remove_dir_all(at("old/deep")).unwrap();
        fs::create_dir(at("new")).unwrap();
        fs::write(at("new/file"), "x").unwrap();
        let changes = between(&before, &look(folder.path(), &[]));
        let expected = [
            "D gone",
            "M grown",
            "A new",
            "A new/file",
            "D old/deep",
            "D old/deep/file",
            "M same-size",
            "M swapped",
            "M touched-back",
        ];
        assert_eq!(changes.paths, expected);
        assert_eq!(
            changes.to_string(),
            "in the workspace 2 added, 4 modified, 3 removed"
        );
        let same = between(&look(folder.path(), &[]), &look(folder.path(), &[]));
        assert_eq!(same.to_string(), "nothing in the workspace changed");
    }

    #[test]
    fn what_is_hidden_from_a_guest_is_none_of_its_changes() {
        let folder = tempfile::tempdir().unwrap();
        let hidden = [folder.path().join("own")];
        let before = look(folder.path(), &hidden);
        fs::create_dir(&hidden[0]).unwrap();
        fs::write(hidden[0].join("journal"), "x").unwrap();
        fs::write(folder.path().join("seen"), "x").unwrap();
        assert_eq!(between(&before, &look(folder.path(), &hidden)).paths, ["A seen"]);
    }

    #[test]
    fn what_cannot_be_looked_at_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        let changes = between(&look(&gone, &[]), &look(&gone, &[]));
        assert_eq!(changes.added + changes.modified + changes.removed, 0);
        assert!(changes.to_string().contains("as far as was looked"), "{changes}");
    }
}
