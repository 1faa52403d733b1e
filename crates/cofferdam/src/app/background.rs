//! What goes on beside requests: timers, verification of the whole journal, the watch on the
//! configuration directory. Every task ends when the platform is dropped or told to stop.

use super::{App, Options, watch};
use crate::health::Verification;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// How often approvals are looked at and a sign of life is given.
const TICK: Duration = Duration::from_secs(2);
/// How often a checkpoint is signed when there is something new.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);

/// Starts all of it.
pub(super) fn spawn(app: &Arc<App>, options: &Options) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(tick(Arc::clone(app)));
    tasks.spawn(checkpoints(Arc::clone(app)));
    tasks.spawn(verify(Arc::clone(app), options.clone()));
    if let (true, Some(path)) = (options.watch, &options.config) {
        tasks.spawn(watch::follow(
            Arc::clone(app),
            path.clone(),
            options.data_dir.clone(),
        ));
    }
    tasks
}

/// Expires approvals, and shows that timers run.
async fn tick(app: Arc<App>) {
    let mut timer = interval(TICK);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        match app.gate.expire_approvals().await {
            Ok(expired) if !expired.is_empty() => app.runtime.wake(),
            Ok(_) => {}
            // Said in `health` by the store itself; the next tick tries again.
            Err(error) => tracing::debug!(%error, "approvals could not be expired"),
        }
        app.heartbeat.set(Some(app.clock.monotonic()));
    }
}

/// Signs what is new, so that a checkpoint kept elsewhere is never much older than a minute.
async fn checkpoints(app: Arc<App>) {
    let mut timer = interval(CHECKPOINT_EVERY);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let committed = app.gate.store().committed();
    let mut signed = None;
    loop {
        timer.tick().await;
        let size = *committed.borrow();
        if signed == Some(size) {
            continue;
        }
        match app.gate.store().checkpoint().await {
            Ok(checkpoint) => signed = Some(checkpoint.checkpoint.size),
            Err(error) => tracing::warn!(%error, "no checkpoint could be signed"),
        }
    }
}

/// Reads the whole journal once, with the checkpoints kept outside; a mismatch stops acting.
async fn verify(app: Arc<App>, options: Options) {
    let store = app.gate.store().clone();
    let notes = match super::stored_origin(&options.data_dir) {
        Ok(origin) => notes(&super::checkpoints_file(&options, &origin)),
        Err(_) => Vec::new(),
    };
    let shared = Arc::clone(&app);
    let reading = tokio::task::spawn_blocking(move || {
        let mut progress = |done, all| shared.verification.set(Verification::Running { done, all });
        store.verify(&notes, &mut progress)
    });
    let outcome = match reading.await {
        Ok(Ok(Ok(verified))) => Verification::Passed {
            entries: verified.entries,
        },
        Ok(Ok(Err(finding))) => {
            tracing::error!(%finding, "the journal does not verify; acting has stopped");
            app.gate.store().quarantine(finding.to_string());
            Verification::Failed(finding.to_string())
        }
        Ok(Err(error)) => Verification::Impossible(error.to_string()),
        Err(error) => Verification::Impossible(error.to_string()),
    };
    app.verification.set(outcome);
}

/// The signed notes in a file of checkpoints; no file, no evidence.
fn notes(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path)
        .map(|text| Store::notes(&text))
        .unwrap_or_default()
}
