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

/// Applies every change of `path` until dropped. Changes below `data_dir` and beside it are our own.
///
/// It begins by applying what is there: it may have changed before the watch stood.
pub(super) async fn follow(app: Arc<App>, path: PathBuf, data_dir: PathBuf) {
    let (sender, mut changes) = mpsc::channel::<()>(1);
    let watcher = watch(&path, &data_dir, sender);
    if let Err(error) = &watcher {
        tracing::warn!(%error, "cannot be told about changes of `{}`; looking every 30 s", path.display());
    }
    loop {
        let known = app.configuration.health();
        if let Err(error) = app.configuration.synchronize(&path).await
            && app.configuration.health() != known
        {
            tracing::error!(
                "a change of `{}` was refused whole:\n{}",
                path.display(),
                error.render()
            );
        }
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

/// At or below the data directory, or one of those that we keep beside it.
fn is_own(path: &Path, data_dir: &Path) -> bool {
    path.starts_with(data_dir)
        || ["-keys", "-checkpoints"]
            .iter()
            .any(|suffix| path.starts_with(super::beside(data_dir, suffix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_are_our_own() {
        let table = [
            ("/srv/cofferdam", true),
            ("/srv/cofferdam/journal.db", true),
            ("/srv/cofferdam-keys/log.key", true),
            ("/srv/cofferdam-checkpoints/cofferdam.txt", true),
            ("/srv/cofferdam.yaml", false),
            ("/srv/cofferdam-config/a.yaml", false),
            ("/srv/cofferdam-keys.yaml", false),
            ("/srv", false),
        ];
        for (path, own) in table {
            assert_eq!(
                is_own(Path::new(path), Path::new("/srv/cofferdam")),
                own,
                "{path}"
            );
        }
    }
}
