//! Delivers summaries and what approvers are told: whatever the projection `deliveries` says is pending, each channel on its own.
//!
//! Invariants:
//! - **A dead channel holds up nothing** but its own messages: every channel has a task of its own.
//! - **A message that was taken is not sent again**: before a try, the recorded calls are asked.
//! - **No post but through the gate**: a session of the notifier, a permit, a flight, an outcome.

use crate::board::{self, kind};
use crate::channel::{NOTIFIER, Post};
use crate::delivery::{self, Attempted, Delivery};
use crate::record;
use crate::summary::Summary;
use crate::tell;
use crate::triage::chain;
use backon::{BackoffBuilder, ExponentialBuilder};
use gate::{CallView, Gate, NewSession, Proposal, Refusal, SessionError, SessionView, Tool, ToolError};
use journal::machine::{Call, Session, SessionEvent};
use policy::{ActionError, Outcome, Principal, Settlement, Timestamp};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use store::{Erasable, NewEntry, StoreError};
use tokio::sync::Notify;

/// Attempts before a message is given up.
const ATTEMPTS_MAX: u32 = 10;
/// Pause after the first attempt; each further one is three times as long, up to [`PAUSE_MAX`]. Ten
/// attempts take four to eight hours.
const PAUSE_MIN: Duration = Duration::from_secs(10);
const PAUSE_MAX: Duration = Duration::from_secs(3600);
/// The longest time between two looks at what is pending.
const LOOK: Duration = Duration::from_secs(2);
/// How long a message rests that could not even be tried: a stop is in force, the journal is full.
const REST_MS: i64 = 15_000;

/// Delivers. Shared as `Arc`.
pub(crate) struct Postman {
    gate: Arc<Gate>,
    post: Result<Post, ActionError>,
    /// Below which path the API is served that answers come to: nothing, or `/organizations/acme`.
    below: String,
    round: Mutex<Round>,
    wake: Arc<Notify>,
    idle: Notify,
    stopping: AtomicBool,
    /// Milliseconds of the monotonic clock.
    beat: AtomicU64,
}

/// What is only known in memory.
#[derive(Default)]
struct Round {
    /// Channels that have a task.
    busy: BTreeMap<String, ()>,
    /// Deliveries that rest, and until when.
    resting: HashMap<String, Timestamp>,
}

/// Why a delivery was not tried, or its end not recorded. It stays pending.
#[derive(Debug, thiserror::Error)]
enum Untried {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Refused(Refusal),
    #[error("the outcome is not recorded: {0}")]
    Unsettled(#[from] policy::Unsettled),
}

/// How a try ended.
enum Tried {
    Delivered,
    Failed(String),
    /// Cannot succeed, however often it is tried.
    Hopeless(String),
}

impl Postman {
    pub fn new(gate: Arc<Gate>, post: Result<Post, ActionError>, below: &str) -> Postman {
        Postman {
            gate,
            post,
            below: below.to_owned(),
            round: Mutex::default(),
            wake: Arc::default(),
            idle: Notify::new(),
            stopping: AtomicBool::new(false),
            beat: AtomicU64::new(0),
        }
    }

    /// Something may be pending.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Goes round in a task of its own until drained or dropped.
    pub fn start(self: &Arc<Self>) {
        self.beat();
        tokio::spawn(walk(Arc::downgrade(self), Arc::clone(&self.wake)));
    }

    /// Last sign of life (monotonic).
    pub fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.beat.load(Ordering::SeqCst))
    }

    fn beat(&self) {
        let now = self.gate.store().clock().monotonic().as_millis();
        self.beat
            .store(u64::try_from(now).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Starts no more tries and waits for those under way.
    pub async fn drain(&self, grace: Duration) {
        self.stopping.store(true, Ordering::SeqCst);
        self.wake();
        let quiet = async {
            loop {
                let idle = self.idle.notified();
                if self.lock().busy.is_empty() {
                    return;
                }
                idle.await;
            }
        };
        if tokio::time::timeout(grace, quiet).await.is_err() {
            tracing::warn!("deliveries are still under way; they are taken up after the next start");
        }
    }

    /// Gives every idle channel that has something due a task. Says when to look again.
    fn look(self: &Arc<Self>) -> Result<Duration, StoreError> {
        let now = self.gate.store().clock().now();
        let mut due: BTreeMap<String, Vec<Delivery>> = BTreeMap::new();
        let mut pause = LOOK;
        for delivery in self.pending()? {
            let rest = self.lock().resting.get(&delivery.id).copied();
            let at = rest.map_or(delivery.next, |rest| rest.max(delivery.next));
            match u64::try_from(at.since_ms(now)) {
                Ok(ms) if ms > 0 => pause = pause.min(Duration::from_millis(ms)),
                _ => due.entry(delivery.channel.clone()).or_default().push(delivery),
            }
        }
        for (channel, deliveries) in due {
            if self.lock().busy.insert(channel.clone(), ()).is_none() {
                tokio::spawn(Arc::clone(self).serve(channel, deliveries));
            }
        }
        Ok(pause)
    }

    /// All that is due for one channel, one after the other.
    async fn serve(self: Arc<Self>, channel: String, deliveries: Vec<Delivery>) {
        for delivery in deliveries {
            if self.stopping.load(Ordering::SeqCst) {
                break;
            }
            self.deliver_or_rest(&delivery).await;
        }
        self.lock().busy.remove(&channel);
        self.idle.notify_waiters();
        self.wake();
    }

    async fn deliver_or_rest(&self, delivery: &Delivery) {
        if let Err(error) = self.deliver(delivery).await {
            tracing::warn!(delivery = delivery.id, error = %chain(&error), "not delivered yet");
            let until = self.gate.store().clock().now().plus_ms(REST_MS);
            let mut round = self.lock();
            round.resting.insert(delivery.id.clone(), until);
        } else {
            self.lock().resting.remove(&delivery.id);
        }
    }

    /// Everything pending, in the order of the summaries.
    pub fn pending(&self) -> Result<Vec<Delivery>, StoreError> {
        let rows = self
            .gate
            .store()
            .read(|reader| reader.find(delivery::NAME, "state", "pending"))?;
        let read = |row: store::Row| {
            board::read::<Delivery>(row.value).map_err(|error| StoreError::Corrupt {
                finding: error.to_string(),
            })
        };
        let mut pending = rows.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        pending.sort_by_key(|delivery| delivery.entry);
        Ok(pending)
    }

    /// One try, recorded.
    async fn deliver(&self, delivery: &Delivery) -> Result<(), Untried> {
        let session = self.session(delivery).await?;
        let calls = self.gate.calls(&session.id)?;
        let taken = calls.iter().any(|call| call.outcome == Some(Outcome::Success));
        let tried = match self.message(delivery)? {
            // Taken before a crash that lost the record of it.
            _ if taken => Tried::Delivered,
            _ if session.state.is_final() => Tried::Hopeless(format!("session {} has ended", session.id)),
            None => Tried::Hopeless("the summary was erased".to_owned()),
            Some(message) => self.attempt(delivery, &session, &calls, message).await?,
        };
        self.record(delivery, &session, tried).await
    }

    /// The session of this delivery, running; the same one for every try.
    async fn session(&self, delivery: &Delivery) -> Result<SessionView, Untried> {
        let new = NewSession {
            agent: NOTIFIER.to_owned(),
            cause: platform(),
            correlation: Some(delivery.about.clone()),
            input: json!({"delivery": delivery.id, "channel": delivery.channel}),
            title: assay::redact::line(
                &format!("deliver {} to {}", delivery.about, delivery.channel),
                200,
            ),
            idempotency_key: Some(format!("delivery/{}", delivery.id)),
            urgent: false,
            // INVARIANT (labels stay with what they are of): to tell somebody is an action of its own.
            taint: delivery.taint,
        };
        let (session, _) = self.gate.create_session(new).await?;
        let event = match session.state {
            Session::Created | Session::Queued => SessionEvent::Start,
            Session::Waiting => SessionEvent::Resume,
            Session::Running | Session::Completed | Session::Failed | Session::Cancelled => {
                return Ok(session);
            }
        };
        Ok(self
            .gate
            .session_event(&session.id, &platform(), event, None, None)
            .await?)
    }

    /// What the channel gets; `None` when it was erased.
    fn message(&self, delivery: &Delivery) -> Result<Option<Value>, StoreError> {
        if delivery.kind != kind::TRIAGED {
            let store = self.gate.store();
            return store.read(|reader| tell::message(reader, delivery, &self.below));
        }
        Ok(self.summary(delivery)?.map(|summary| message(delivery, &summary)))
    }

    fn summary(&self, delivery: &Delivery) -> Result<Option<Summary>, StoreError> {
        match self
            .gate
            .store()
            .read(|reader| reader.payload(delivery.entry, "summary"))?
        {
            Erasable::Present(value) => Ok(serde_json::from_value(value).ok()),
            Erasable::Erased | Erasable::Absent => Ok(None),
        }
    }

    /// The order of these lines is the gate's: propose, admit, spend, run, settle.
    async fn attempt(
        &self,
        delivery: &Delivery,
        session: &SessionView,
        calls: &[CallView],
        message: Value,
    ) -> Result<Tried, Untried> {
        let post = match &self.post {
            Ok(post) => post,
            Err(error) => return Ok(Tried::Hopeless(error.to_string())),
        };
        let arguments = json!({
            "channel": delivery.channel, "delivery": delivery.id, "message": message,
        });
        let action = match post.propose(&arguments).await {
            Ok(action) => action,
            Err(error @ ToolError::Unresolved { .. }) => return Ok(Tried::Failed(error.to_string())),
            Err(error @ ToolError::Arguments { .. }) => return Ok(Tried::Hopeless(error.to_string())),
        };
        let step = format!(
            "attempt/{}",
            calls.iter().filter(|call| started(call)).count() + 1
        );
        let proposal = Proposal {
            session: session.id.clone(),
            step,
            action,
        };
        let permit = match self.gate.admit_in_turn(proposal).await {
            Ok(permit) => permit,
            Err(refusal @ Refusal::Denied(_)) => return Ok(Tried::Failed(refusal.to_string())),
            // The answer holds for this message, however often it is tried.
            Err(refusal @ Refusal::NotApproved { .. }) => return Ok(Tried::Hopeless(refusal.to_string())),
            Err(refusal) => return Err(Untried::Refused(refusal)),
        };
        let flight = permit
            .spend(self.gate.stop_set())
            .map_err(|stopped| Untried::Refused(stopped.into()))?;
        let settlement = post.run(&flight).await;
        let tried = outcome(&settlement);
        flight.settle(settlement).await?;
        Ok(tried)
    }

    async fn record(&self, delivery: &Delivery, session: &SessionView, tried: Tried) -> Result<(), Untried> {
        let attempt = delivery.attempts.saturating_add(1);
        let now = self.gate.store().clock().now();
        let (reason, next) = match tried {
            Tried::Delivered => (None, None),
            Tried::Hopeless(reason) => (Some(reason), None),
            Tried::Failed(reason) => (Some(reason), again(attempt, now)),
        };
        let kind = delivery.recorded_as(reason.is_none());
        let ends = next.is_none();
        let attempted = Attempted {
            delivery: delivery.id.clone(),
            about: delivery.about.clone(),
            channel: delivery.channel.clone(),
            attempt,
            reason: reason.as_deref().map(|reason| assay::redact::line(reason, 200)),
            next,
        };
        // The session ends first: if the record of that is lost, the next look finds a session that has
        // ended and its calls, and comes to the same.
        if ends && !session.state.is_final() {
            let event = if attempted.reason.is_none() {
                SessionEvent::Complete
            } else {
                SessionEvent::Fail
            };
            let reason = attempted.reason.clone();
            self.gate
                .session_event(&session.id, &platform(), event, reason, None)
                .await?;
        }
        let entry = NewEntry::new(kind, platform(), record::value(&attempted)?)
            .session(&session.id)
            .cause(platform())
            .correlation(&delivery.about);
        self.gate
            .store()
            .write::<_, StoreError, _>(move |tx| tx.append(entry))
            .await?;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Round> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at what is pending when woken or when something is due. Between two looks it holds nothing that
/// would keep the store open.
async fn walk(postman: Weak<Postman>, wake: Arc<Notify>) {
    loop {
        let pause = match postman.upgrade() {
            None => return,
            Some(postman) if postman.stopping.load(Ordering::SeqCst) => return,
            Some(postman) => {
                postman.beat();
                postman.look().unwrap_or_else(|error| {
                    tracing::error!(error = %chain(&error), "deliveries cannot be read");
                    LOOK
                })
            }
        };
        tokio::select! {
            () = wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// The platform delivers on its own account.
fn platform() -> Principal {
    Principal::service("cofferdam")
}

/// Whether this step was used up. One that never started is proposed again under its own name.
fn started(call: &CallView) -> bool {
    match call.state {
        Call::Proposed | Call::Parked | Call::Denied => false,
        Call::Permitted | Call::Uncertain => true,
        Call::Settled => call.outcome != Some(Outcome::NotStarted),
    }
}

fn outcome(settlement: &Settlement) -> Tried {
    match settlement.outcome {
        Outcome::Success => Tried::Delivered,
        _ => Tried::Failed(settlement.summary.clone()),
    }
}

/// When to try again after the `attempt`-th try, with jitter; `None` when that was the last.
fn again(attempt: u32, now: Timestamp) -> Option<Timestamp> {
    let pauses = ExponentialBuilder::new()
        .with_min_delay(PAUSE_MIN)
        .with_factor(3.0)
        .with_max_delay(PAUSE_MAX)
        .with_max_times(ATTEMPTS_MAX.saturating_sub(1) as usize)
        .with_jitter();
    let pause = pauses.build().nth(attempt.saturating_sub(1) as usize)?;
    Some(now.plus_ms(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX)))
}

/// What a channel gets. The same on every try.
fn message(delivery: &Delivery, summary: &Summary) -> Value {
    json!({
        "version": 1,
        "event": kind::TRIAGED,
        "delivery": delivery.id,
        "incident": {
            "id": summary.incident_id,
            "severity": summary.severity,
            "triggered_by": summary.triggered_by,
        },
        "summary": summary,
        "markdown": summary.to_markdown(),
    })
}

#[cfg(test)]
mod tests;
