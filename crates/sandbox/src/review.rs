//! What a guest changed, when it was started for a review: read from where overlayfs put it.

mod keep;

pub use keep::{KeepError, keep};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, lgetxattr, open};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Deepest directory that is looked into, and most changes that are told. A guest could make more; then it is an error.
const DEPTH_MAX: usize = 128;
const CHANGES_MAX: usize = 100_000;
/// Most bytes of changed files: all of them are read. A guest can say of a file that it is larger than any disk.
const BYTES_MAX: u64 = 4 << 30;
/// Most bytes of their paths: a guest makes them, and this is the platform's memory.
const PATH_BYTES_MAX: usize = 64 << 20;
/// The directory of a review that is younger may not be held yet by whoever makes it, in seconds.
const YOUNG_S: i64 = 60;
/// Where changes are, below [`crate::Spec::review`].
const CHANGES: &str = "changes";

/// All that a guest changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    /// Sorted by path, so that a directory comes before what is in it.
    pub changes: Vec<Change>,
    /// SHA-256, in hexadecimal, of all of them: paths, kinds, modes and contents. Who saw it has seen exactly this.
    pub digest: String,
}

/// One thing that is other than it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where, from the top of the workspace.
    pub path: PathBuf,
    /// What.
    pub kind: ChangeKind,
    /// Its permission bits.
    pub mode: u32,
}

/// How something changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// A file that is new, or whose content or attributes changed.
    Written,
    /// A symbolic link that is new.
    Link,
    /// A directory that is new, or in which something changed.
    Directory,
    /// A directory in the place of what was there, which is gone with all that was in it.
    Replaced,
    /// It is gone.
    Removed,
    /// A pipe or a socket, which nobody needs to keep.
    Other,
}

/// What was collected below [`crate::Spec::review`]. Nothing is followed.
///
/// # Errors
/// It cannot be read, or there is more than anybody could look at.
pub fn look(review: &Path) -> io::Result<Review> {
    let root = review.join(CHANGES);
    let mut changes = Vec::new();
    look_into(&root, Path::new(""), (0, &mut 0), &mut changes)?;
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    let mut digest = Sha256::new();
    let mut left = BYTES_MAX;
    for change in &changes {
        fold(&root, change, &mut left, &mut digest)?;
    }
    let digest = digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(Review { changes, digest })
}

/// Where a changed file is while it is reviewed. Whoever opens it must not follow what it may have become.
#[must_use]
pub fn changed(review: &Path, change: &Change) -> PathBuf {
    review.join(CHANGES).join(&change.path)
}

/// Folds one change; each part has its length before it.
fn fold(root: &Path, change: &Change, left: &mut u64, digest: &mut Sha256) -> io::Result<()> {
    let path = root.join(&change.path);
    let metadata = fs::symlink_metadata(&path)?;
    let mut part = |bytes: &[u8]| {
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    };
    part(change.path.as_os_str().as_bytes());
    part(&[change.kind as u8]);
    part(&metadata.mode().to_be_bytes());
    match change.kind {
        ChangeKind::Link => part(fs::read_link(&path)?.as_os_str().as_bytes()),
        ChangeKind::Written => {
            let size = metadata.size();
            *left = left
                .checked_sub(size)
                .ok_or_else(|| io::Error::other(format!("more than {} GiB of changes", BYTES_MAX >> 30)))?;
            digest.update(size.to_be_bytes());
            let mut file = fs::File::open(&path)?.take(size);
            let mut block = vec![0; 64 * 1024];
            loop {
                let read = file.read(&mut block)?;
                match block.get(..read) {
                    Some([]) | None => break,
                    Some(bytes) => digest.update(bytes),
                }
            }
        }
        ChangeKind::Directory | ChangeKind::Replaced | ChangeKind::Removed | ChangeKind::Other => {}
    }
    Ok(())
}

fn look_into(
    root: &Path,
    below: &Path,
    (depth, path_bytes): (usize, &mut usize),
    found: &mut Vec<Change>,
) -> io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(io::Error::other(format!(
            "`{}` is deeper than {DEPTH_MAX} directories",
            below.display()
        )));
    }
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        *path_bytes += path.as_os_str().len();
        if found.len() >= CHANGES_MAX || *path_bytes > PATH_BYTES_MAX {
            return Err(io::Error::other(format!("more than {CHANGES_MAX} changes")));
        }
        let metadata = fs::symlink_metadata(root.join(&path))?;
        let mode = metadata.mode() & 0o7777;
        let kind = kind(&root.join(&path), &metadata);
        if matches!(kind, ChangeKind::Directory | ChangeKind::Replaced) {
            look_into(root, &path, (depth + 1, path_bytes), found)?;
        }
        found.push(Change { path, kind, mode });
    }
    Ok(())
}

/// As overlayfs marks it: a removed name is a device 0/0, a replaced directory has an attribute.
fn kind(path: &Path, metadata: &fs::Metadata) -> ChangeKind {
    let kind = metadata.file_type();
    if kind.is_char_device() && metadata.rdev() == 0 {
        ChangeKind::Removed
    } else if kind.is_symlink() {
        ChangeKind::Link
    } else if kind.is_file() {
        ChangeKind::Written
    } else if kind.is_dir() {
        let mut mark = [0; 8];
        let length = lgetxattr(path, c"user.overlay.opaque", &mut mark[..]).unwrap_or(0);
        let opaque = mark.get(..length) == Some(b"y");
        if opaque {
            ChangeKind::Replaced
        } else {
            ChangeKind::Directory
        }
    } else {
        ChangeKind::Other
    }
}

/// What of other file systems is mounted in a workspace. overlayfs shows such a place as an empty directory, so that to
/// remove it inside would be to empty what is mounted there: no review is kept where there is one.
///
/// # Errors
/// The mounts of this process cannot be read.
pub fn mounted(workspace: &Path) -> io::Result<Vec<PathBuf>> {
    let text = fs::read_to_string("/proc/self/mountinfo")?;
    let at = text.lines().filter_map(|line| line.split(' ').nth(4));
    let paths = at.map(|written| PathBuf::from(unescaped(written)));
    Ok(paths
        .filter(|path| path.starts_with(workspace) && path != workspace)
        .collect())
}

/// As the kernel writes spaces and the like: `\\040`.
fn unescaped(written: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes
        .iter()
        .fold(written.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// Locks the directory of a review, opened through no link, until what is returned is dropped, or its process ends.
///
/// # Errors
/// Somebody holds it, or it is none.
pub fn hold(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = open(path, flags, Mode::empty())?;
    flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
    Ok(directory)
}

/// Whether the directory of a review is this user's and nobody's any more: its process died before it could remove it.
#[must_use]
pub fn is_left(path: &Path) -> bool {
    let Ok(directory) = hold(path) else { return false };
    let Ok(found) = rustix::fs::fstat(&directory) else {
        return false;
    };
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec;
    found.st_uid == rustix::process::geteuid().as_raw() && now - found.st_ctime > YOUNG_S
}

/// Removes all that was collected for a review: what overlayfs works with, and directories that a guest closed,
/// have no rights until they are given some.
///
/// # Errors
/// Something is left.
pub fn discard(review: &Path) -> io::Result<()> {
    let mut closed = vec![review.to_owned()];
    while let Some(directory) = closed.pop() {
        fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                closed.push(entry.path());
            }
        }
    }
    fs::remove_dir_all(review)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_or_young_or_a_link_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        fs::create_dir(&path).unwrap();
        assert!(!is_left(&path), "it is young");
        let held = hold(&path).unwrap();
        assert!(hold(&path).is_err(), "it is held");
        drop(held);
        assert!(hold(&path).is_ok());
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(hold(&link).is_err(), "a link is none");
    }
}
