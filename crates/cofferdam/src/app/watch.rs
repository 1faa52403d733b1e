//! Follows the configuration on disk: something changed, it becomes quiet, it is applied as a whole.

use super::App;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Editors and `git checkout` write many times: this much quiet ends a change.
const QUIET: Duration = Duration::from_millis(200);
/// A directory that never becomes quiet is read all the same.
const PATIENCE: usize = 20;
/// Where the system cannot tell about changes, they are looked for this often.
const POLL: Duration = Duration::from_secs(30);

/// Applies every change of `path` until dropped. Changes below `data_dir` are our own.
pub(super) async fn follow(app: Arc<App>, path: PathBuf, data_dir: PathBuf) {
    let (sender, mut changes) = mpsc::channel::<()>(1);
    let watcher = watch(&path, &data_dir, sender);
    if let Err(error) = &watcher {
        tracing::warn!(%error, "cannot be told about changes of `{}`; looking every 30 s", path.display());
    }
    loop {
        match &watcher {
            Ok(_) => {
                if changes.recv().await.is_none() {
                    return;
                }
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
        for _ in 0..PATIENCE {
            if timeout(QUIET, changes.recv()).await.is_err() {
                break;
            }
        }
        if let Err(error) = app.configuration.synchronize(&path).await {
            tracing::error!(
                "a change of `{}` was refused whole:\n{}",
                path.display(),
                error.render()
            );
        }
    }
}

fn watch(path: &Path, data_dir: &Path, changed: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let path = std::fs::canonicalize(path)?;
    let own = std::fs::canonicalize(data_dir)?;
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let relevant = event.is_ok_and(|event| {
            !matches!(event.kind, EventKind::Access(_)) && event.paths.iter().any(|path| !is_own(path, &own))
        });
        if relevant {
            // Full means that a change is already known of.
            let _ = changed.try_send(());
        }
    })?;
    // A file is replaced by renaming another over it, which only its directory hears of.
    match path.parent() {
        Some(parent) if path.is_file() => watcher.watch(parent, RecursiveMode::NonRecursive)?,
        _ => watcher.watch(&path, RecursiveMode::Recursive)?,
    }
    Ok(watcher)
}

/// The data directory, or one of those beside it that begin with its name.
fn is_own(path: &Path, data_dir: &Path) -> bool {
    path.to_string_lossy().starts_with(&*data_dir.to_string_lossy())
}
