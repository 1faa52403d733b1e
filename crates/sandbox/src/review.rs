//! What a guest changed, when it was started for a review: read from where overlayfs put it.

use rustix::fs::lgetxattr;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Deepest directory that is looked into, and most changes that are told. A guest could make more; then it is an error.
const DEPTH_MAX: usize = 128;
const CHANGES_MAX: usize = 100_000;

/// One thing that is other than it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where, from the top of the workspace.
    pub path: PathBuf,
    /// What.
    pub kind: ChangeKind,
}

/// How something changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// What was collected below [`crate::Spec::review`], sorted by path. Nothing is followed.
pub fn changes(review: &Path) -> io::Result<Vec<Change>> {
    let mut found = Vec::new();
    look(&review.join("changes"), Path::new(""), 0, &mut found)?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn look(root: &Path, below: &Path, depth: usize, found: &mut Vec<Change>) -> io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(io::Error::other(format!(
            "`{}` is deeper than {DEPTH_MAX} directories",
            below.display()
        )));
    }
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if found.len() >= CHANGES_MAX {
            return Err(io::Error::other(format!("more than {CHANGES_MAX} changes")));
        }
        let kind = kind(&root.join(&path))?;
        if matches!(kind, ChangeKind::Directory | ChangeKind::Replaced) {
            look(root, &path, depth + 1, found)?;
        }
        found.push(Change { path, kind });
    }
    Ok(())
}

/// As overlayfs marks it: a removed name is a device 0/0, a replaced directory has an attribute.
fn kind(path: &Path) -> io::Result<ChangeKind> {
    let metadata = fs::symlink_metadata(path)?;
    let kind = metadata.file_type();
    Ok(if kind.is_char_device() && metadata.rdev() == 0 {
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
    })
}
