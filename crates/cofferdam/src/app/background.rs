//! What goes on beside requests: timers, verification of the whole journal, the watch on the
//! configuration directory. Every task ends when the platform is dropped or told to stop.

use super::{App, Options, watch};
use crate::health::Verification;
use std::sync::Arc;
use std::time::Duration;
use store::StoreError;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// How often approvals are looked at and a sign of life is given.
const TICK: Duration = Duration::from_secs(2);
/// How often a checkpoint is signed when there is something new.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
/// How often verification of the journal is tried before what cannot be verified is not acted on.
const VERIFY_TRIES_MAX: u32 = 10;
/// How long a medium that could not be read is left alone.
const VERIFY_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Starts all of it.
pub(super) fn spawn(app: &Arc<App>, options: &Options) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(tick(Arc::clone(app)));
    tasks.spawn(checkpoints(Arc::clone(app)));
    tasks.spawn(verify(Arc::clone(app)));
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

/// Reads the whole journal once, with the checkpoints kept outside. A mismatch stops acting, and so does
/// whatever keeps it from being read: waiting helps against a busy medium only, and not for ever.
async fn verify(app: Arc<App>) {
    for tries_left in (0..VERIFY_TRIES_MAX).rev() {
        match verify_once(&app).await {
            Ok(outcome) => return app.verification.set(outcome),
            Err(StoreError::Closed) => {
                return app
                    .verification
                    .set(Verification::Impossible(StoreError::Closed.to_string()));
            }
            Err(error @ StoreError::Unavailable { .. }) if tries_left > 0 => {
                tracing::warn!(%error, tries_left, "the journal could not be verified yet");
                app.verification.set(Verification::Impossible(format!(
                    "{error}; tried again in {} s",
                    VERIFY_AGAIN_AFTER.as_secs()
                )));
                tokio::time::sleep(VERIFY_AGAIN_AFTER).await;
            }
            Err(error) => return stop_acting(&app, &format!("it could not be verified: {error}")),
        }
    }
}

async fn verify_once(app: &Arc<App>) -> Result<Verification, StoreError> {
    let (store, shared) = (app.gate.store().clone(), Arc::clone(app));
    let reading = tokio::task::spawn_blocking(move || {
        let mut progress = |done, all| shared.verification.set(Verification::Running { done, all });
        // The store reads the checkpoints kept outside by itself.
        store.verify(&[], &mut progress)
    });
    let result = reading
        .await
        .map_err(|error| StoreError::Refused(format!("verification ended early: {error}")))?;
    Ok(match result? {
        Ok(verified) => Verification::Passed {
            entries: verified.entries,
        },
        Err(finding) => {
            stop_acting(app, &finding.to_string());
            Verification::Failed(finding.to_string())
        }
    })
}

fn stop_acting(app: &App, finding: &str) {
    tracing::error!(%finding, "the journal does not verify; acting has stopped");
    app.gate.store().quarantine(finding.to_owned());
    app.verification.set(Verification::Failed(finding.to_owned()));
}
