//! Where changes go that may not be made, or not yet.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What the names of such directories begin with.
const PREFIX: &str = "cofferdam-review-";

/// What one guest changes, apart from its workspace. What is not kept is gone when this is dropped.
pub struct Aside {
    place: Option<tempfile::TempDir>,
    /// Locked as long as somebody lives who removes it.
    _held: OwnedFd,
}

impl Aside {
    /// An empty directory of this user alone. It is not in the data directory, which often lies in the workspace:
    /// overlayfs takes no layer that lies in another.
    ///
    /// # Errors
    /// Something is mounted in the workspace, or no directory can be made.
    pub fn of(workspace: &Path) -> Result<Aside, String> {
        let mounted = sandbox::review::mounted(workspace);
        let mounted = mounted.map_err(|error| format!("what is mounted here cannot be told: {error}"))?;
        if let Some(mounted) = mounted.first() {
            return Err(format!(
                "`{}` is mounted in the workspace, so its changes cannot be put aside: work in a part without mounts, or \
                 without a review",
                mounted.display()
            ));
        }
        let below = below();
        let failed = |error: std::io::Error| {
            format!(
                "cannot collect changes in `{}`: {error}; name another directory with TMPDIR",
                below.display()
            )
        };
        let made = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&below);
        let made = made.map_err(failed)?;
        let held = sandbox::review::hold(made.path()).map_err(failed)?;
        Ok(Aside {
            place: Some(made),
            _held: held,
        })
    }

    /// Removes what processes of this user left that died before they could. How many.
    pub fn sweep() -> usize {
        let Ok(all) = std::fs::read_dir(below()) else {
            return 0;
        };
        let named = all.filter_map(Result::ok).filter(|entry| {
            let name = entry.file_name();
            name.to_str().is_some_and(|name| name.starts_with(PREFIX))
        });
        let left = named.filter(|entry| sandbox::review::is_left(&entry.path()));
        let removed = left.map(|entry| sandbox::review::discard(&entry.path()));
        removed.filter(Result::is_ok).count()
    }

    /// Where; see [`sandbox::Spec::review`].
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.place.as_ref().map(tempfile::TempDir::path)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let Some(place) = self.place.take().map(tempfile::TempDir::keep) else {
            return;
        };
        if let Err(error) = sandbox::review::discard(&place) {
            tracing::warn!(%error, "`{}` could not be removed", place.display());
        }
    }
}

fn below() -> PathBuf {
    let variable = std::env::var_os("TMPDIR").map(PathBuf::from);
    variable.unwrap_or_else(|| PathBuf::from("/var/tmp"))
}
