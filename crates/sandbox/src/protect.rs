//! What others run later: files of a workspace that a shell, an editor or git executes when a person works there.
//!
//! Those that exist are read-only inside. Those that do not, and were made, are renamed at the end, so that nothing
//! finds them, and told. Both hold at the top of the workspace; what lies deeper is for a review.
//!
//! Invariant: **no link is followed** on the way to any of them.

use crate::spec::Git;
use crate::step::Cause;
use rustix::fs::{Mode, OFlags, RenameFlags, ResolveFlags, openat2, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, OwnedFd};

/// Read and run by shells, `direnv`, editors and agents that are started in a directory, and our own configuration:
/// an agent's policy is not the agent's to write (S4-T5).
#[rustfmt::skip]
const RUN_LATER: &[&str] = &[
    ".bash_login", ".bash_profile", ".bashrc", ".cofferdam", ".direnv", ".envrc", ".husky", ".idea", ".mcp.json",
    ".profile", ".vscode", ".zlogin", ".zprofile", ".zshenv", ".zshrc", "cofferdam.yaml", "cofferdam.yml",
];
/// Where a repository names programs: `commondir` turns git to another directory's configuration.
const GIT_RUNS: &[&str] = &[
    ".git/hooks",
    ".git/config",
    ".git/config.worktree",
    ".git/commondir",
    ".git/modules",
];

/// What is appended to the name of something that was held back.
pub const HELD_BACK: &str = ".held-back";

/// Paths of one workspace.
#[derive(Debug, Default)]
pub(crate) struct Protected {
    /// There: to be mounted over themselves. Whether read-only: `.git` itself is not where commits are allowed, and
    /// is mounted so that it cannot be renamed away.
    pub there: Vec<(&'static str, OwnedFd, bool)>,
    /// Not there.
    pub missing: Vec<&'static str>,
}

/// What a workspace has of these. Fails where one is a link, which nothing can be mounted over.
pub(crate) fn find(workspace: impl AsFd, git: Git) -> Result<Protected, Cause> {
    let mut found = Protected::default();
    let repository: &[(&str, bool)] = match git {
        Git::Read => &[(".git", true)],
        Git::Commit => &[(".git", false)],
    };
    let deeper = if git == Git::Commit { GIT_RUNS } else { &[] };
    let others = RUN_LATER.iter().chain(deeper).map(|p| (*p, true));
    for (path, read_only) in repository.iter().copied().chain(others) {
        match open(&workspace, path) {
            Ok(Some(fd)) => found.there.push((path, fd, read_only)),
            Ok(None) => found.missing.push(path),
            Err(Errno::LOOP) => {
                return Err(Cause(format!(
                    "`{path}` is a symbolic link, which cannot be protected: replace it, use a review, or give up `protected`"
                )));
            }
            Err(e) => return Err(Cause::of(path)(e)),
        }
    }
    Ok(found)
}

fn open(workspace: impl AsFd, path: &str) -> Result<Option<OwnedFd>, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    // Following is asked for, so that a link is refused instead of opened as itself.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match openat2(workspace, path, flags, Mode::empty(), resolve) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(e) => Err(e),
    }
}

/// What is at a path that was found there before.
pub(crate) fn reopen(workspace: impl AsFd, path: &str) -> Result<OwnedFd, Errno> {
    open(workspace, path)?.ok_or(Errno::NOENT)
}

/// One thing that was made where nothing was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBack {
    /// Where the guest put it, in the workspace.
    pub made: String,
    /// Where it is now; empty when it could not be moved, and is still where it was put.
    pub now: String,
}

/// Renames what was made of `missing`. Called after the last process of the guest is dead.
pub(crate) fn hold_back(workspace: impl AsFd, missing: &[String]) -> Vec<HeldBack> {
    let known = |path: &&String| {
        let mut all = RUN_LATER.iter().chain(GIT_RUNS).chain(&[".git"]);
        all.any(|p| p == path)
    };
    let mut held = Vec::new();
    for path in missing.iter().filter(known) {
        let made = match open(&workspace, path) {
            Ok(None) => false,
            // A link is run later as what it leads to.
            Ok(Some(_)) | Err(_) => true,
        };
        if made {
            held.push(HeldBack {
                made: path.clone(),
                now: rename(&workspace, path).unwrap_or_default(),
            });
        }
    }
    held
}

/// To the first free name. The parent is opened without following links: the guest could have put one there.
fn rename(workspace: impl AsFd, path: &str) -> Option<String> {
    let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
    let parent = open(&workspace, parent).ok()??;
    (0..64).find_map(|n| {
        let free = if n == 0 {
            format!("{name}{HELD_BACK}")
        } else {
            format!("{name}{HELD_BACK}.{n}")
        };
        renameat_with(&parent, name, &parent, &free, RenameFlags::NOREPLACE).ok()?;
        Some(match path.rsplit_once('/') {
            Some((directory, _)) => format!("{directory}/{free}"),
            None => free,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn at(path: &Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap()
    }

    #[test]
    fn what_is_there_is_found_and_a_link_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(".git/hooks")).unwrap();
        fs::write(dir.path().join(".envrc"), "").unwrap();
        let names = |git| -> Vec<(&str, bool)> {
            find(at(dir.path()), git)
                .unwrap()
                .there
                .iter()
                .map(|(n, _, ro)| (*n, *ro))
                .collect()
        };
        assert_eq!(names(Git::Read), [(".git", true), (".envrc", true)]);
        assert_eq!(
            names(Git::Commit),
            [(".git", false), (".envrc", true), (".git/hooks", true)]
        );
        symlink("/etc/passwd", dir.path().join(".profile")).unwrap();
        let refused = find(at(dir.path()), Git::Read).unwrap_err().0;
        assert!(refused.starts_with("`.profile` is a symbolic link"), "{refused}");
    }

    #[test]
    fn what_was_made_is_renamed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str| fs::write(dir.path().join(name), "evil").unwrap();
        fs::create_dir(dir.path().join(".git")).unwrap();
        put(".git/commondir");
        put(".zshrc");
        put(".zshrc.held-back");
        put("main.rs");
        symlink("/nowhere", dir.path().join(".envrc")).unwrap();
        let missing = [".git/commondir", ".zshrc", ".envrc", ".bashrc", "main.rs"].map(str::to_owned);
        let held: Vec<(String, String)> = hold_back(at(dir.path()), &missing)
            .into_iter()
            .map(|h| (h.made, h.now))
            .collect();
        let expected = [
            (".git/commondir", ".git/commondir.held-back"),
            (".zshrc", ".zshrc.held-back.1"),
            (".envrc", ".envrc.held-back"),
        ];
        assert_eq!(held, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert!(dir.path().join("main.rs").exists(), "no name of ours");
    }

    #[test]
    fn a_link_put_in_the_place_of_a_directory_leads_nowhere() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(other.path().join("config"), "").unwrap();
        symlink(other.path(), dir.path().join(".git")).unwrap();
        let held = hold_back(at(dir.path()), &[".git/config".to_owned()]);
        assert_eq!(held[0].now, "", "told, and not touched");
        assert!(other.path().join("config").exists());
    }
}
