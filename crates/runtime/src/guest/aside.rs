//! Where changes go that may not be made, or not yet.

use std::path::{Path, PathBuf};

/// What one guest changes, apart from its workspace. What is not kept is gone when this is dropped.
pub struct Aside(Option<tempfile::TempDir>);

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
        let variable = std::env::var_os("TMPDIR").map(PathBuf::from);
        let below = variable.unwrap_or_else(|| PathBuf::from("/var/tmp"));
        let made = tempfile::Builder::new()
            .prefix("cofferdam-review-")
            .tempdir_in(&below);
        let made = made.map_err(|error| {
            format!(
                "cannot collect changes in `{}`: {error}; name another directory with TMPDIR",
                below.display()
            )
        })?;
        Ok(Aside(Some(made)))
    }

    /// Where; see [`sandbox::Spec::review`].
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.as_ref().map(tempfile::TempDir::path)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let Some(place) = self.0.take().map(tempfile::TempDir::keep) else {
            return;
        };
        if let Err(error) = sandbox::review::discard(&place) {
            tracing::warn!(%error, "`{}` could not be removed", place.display());
        }
    }
}
