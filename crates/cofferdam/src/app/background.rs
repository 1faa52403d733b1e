//! What goes on beside requests: timers, verification of the whole journal, the watch on the
//! configuration directory. Every task ends when the platform is dropped or told to stop.

use super::{App, Options, watch};
use crate::health::Verification;
use crate::identity;
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

/// Expires approvals, stops everything over a journal that somebody found altered, records what was revoked and could
/// not be recorded then, ends what rests on certificates that are denied, looks for odd behaviour and levels of risk
/// that changed, and shows that timers run.
async fn tick(app: Arc<App>) {
    let mut timer = interval(TICK);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        app.gate.stop_over_altered().await;
        match app.gate.expire_approvals().await {
            Ok(expired) if !expired.is_empty() => app.runtime.wake(),
            Ok(_) => {}
            // Said in `health` by the store itself; the next tick tries again.
            Err(error) => tracing::debug!(%error, "approvals could not be expired"),
        }
        app.gate.revoke_owed().await;
        identity::end_unmapped(&app).await;
        let odd = match app.gate.detect_anomalies().await {
            Ok(mut found) => app.gate.detect_cost_anomalies().await.map(|more| {
                found.extend(more);
                found
            }),
            error => error,
        };
        match odd {
            Ok(found) => found.iter().for_each(|found| {
                tracing::warn!(
                    agent = found.agent,
                    rule = found.anomaly.rule,
                    suspended = found.suspended,
                    "odd behaviour"
                );
            }),
            Err(error) => tracing::debug!(%error, "odd behaviour could not be looked for"),
        }
        match app.gate.detect_risks().await {
            Ok(changes) => changes.iter().for_each(|change| {
                let (from, to) = (change.from.as_str(), change.to.as_str());
                tracing::warn!(
                    agent = change.agent,
                    from,
                    to,
                    score = change.score,
                    "another level of risk"
                );
            }),
            Err(error) => tracing::debug!(%error, "risk could not be looked at"),
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
/// whatever keeps it from being read.
async fn verify(app: Arc<App>) {
    let read = || verify_once(&app);
    let told = |meanwhile| app.verification.set(meanwhile);
    let verdict = tried(read, told, tokio::time::sleep).await;
    if let Verification::Failed(finding) = &verdict {
        stop_acting(&app, finding).await;
    }
    app.verification.set(verdict);
}

/// What `read` gives, once it gives something: waiting helps against a busy medium only, and not for
/// ever. What is known meanwhile is `told`.
async fn tried<F, P>(
    read: impl Fn() -> F,
    told: impl Fn(Verification),
    pause: impl Fn(Duration) -> P,
) -> Verification
where
    F: Future<Output = Result<Verification, StoreError>>,
    P: Future<Output = ()>,
{
    for tries_left in (0..VERIFY_TRIES_MAX).rev() {
        match read().await {
            Ok(outcome) => return outcome,
            // The platform stops: nobody acts any more, and nothing is known.
            Err(StoreError::Closed) => return Verification::Impossible(StoreError::Closed.to_string()),
            Err(error @ StoreError::Unavailable { .. }) if tries_left > 0 => {
                tracing::warn!(%error, tries_left, "the journal could not be verified yet");
                told(Verification::Impossible(format!(
                    "{error}; tried again in {} s",
                    VERIFY_AGAIN_AFTER.as_secs()
                )));
                pause(VERIFY_AGAIN_AFTER).await;
            }
            Err(error) => return Verification::Failed(format!("it could not be verified: {error}")),
        }
    }
    Verification::Failed("it could not be verified".to_owned())
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
        Err(finding) => Verification::Failed(finding.to_string()),
    })
}

async fn stop_acting(app: &App, finding: &str) {
    tracing::error!(%finding, "the journal does not verify; acting has stopped");
    app.gate.store().quarantine(finding.to_owned());
    app.gate.stop_over_altered().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};
    use std::collections::VecDeque;
    use std::future::ready;

    fn busy() -> StoreError {
        StoreError::Unavailable {
            reason: "disk I/O error".to_owned(),
        }
    }

    /// What comes of these answers, how often the journal was read, and after how many seconds.
    async fn verdict(
        answers: impl IntoIterator<Item = Result<Verification, StoreError>>,
    ) -> (Verification, usize, u64) {
        let answers = RefCell::new(answers.into_iter().collect::<VecDeque<_>>());
        let all = answers.borrow().len();
        let told = RefCell::new(Vec::new());
        let clock = Cell::new(Duration::ZERO);
        let read = || ready(answers.borrow_mut().pop_front().expect("no further try"));
        let tell = |meanwhile| told.borrow_mut().push(meanwhile);
        let pause = |time| {
            clock.set(clock.get() + time);
            ready(())
        };
        let verdict = tried(read, tell, pause).await;
        let read = all - answers.borrow().len();
        let waiting = format!("{}; tried again in 30 s", busy());
        assert_eq!(
            told.into_inner(),
            vec![Verification::Impossible(waiting); read - 1]
        );
        (verdict, read, clock.get().as_secs())
    }

    #[tokio::test]
    async fn only_a_busy_medium_is_waited_for_and_not_for_ever() {
        let passed = || Verification::Passed { entries: 7 };
        let altered = || Verification::Failed("entry 3 was altered".to_owned());
        let failed = |what: &str| Verification::Failed(format!("it could not be verified: {what}"));
        let corrupt = StoreError::Corrupt {
            finding: "no such table".to_owned(),
        };
        let unreadable = failed(&corrupt.to_string());
        let refused = StoreError::Refused("verification ended early".to_owned());
        let early = failed("verification ended early");
        let closed = Verification::Impossible(StoreError::Closed.to_string());
        let never = failed(&busy().to_string());
        #[rustfmt::skip]
        let table = [
            // what reading gives                                            verdict, tries, seconds
            ("at once",          vec![Ok(passed())],                         (passed(), 1, 0)),
            ("a mismatch",       vec![Ok(altered()), Ok(passed())],          (altered(), 1, 0)),
            ("busy at first",    vec![Err(busy()), Err(busy()), Ok(passed())],         (passed(), 3, 60)),
            ("busy, then bad",   vec![Err(busy()), Ok(altered())],                (altered(), 2, 30)),
            ("unreadable",       vec![Err(corrupt), Ok(passed())],           (unreadable, 1, 0)),
            ("ended early",      vec![Err(refused), Ok(passed())],           (early, 1, 0)),
            ("closed",           vec![Err(StoreError::Closed)],              (closed, 1, 0)),
            ("busy for ever",    (0..20).map(|_| Err(busy())).collect(),          (never, 10, 270)),
        ];
        for (name, answers, expected) in table {
            assert_eq!(verdict(answers).await, expected, "{name}");
        }
    }
}
