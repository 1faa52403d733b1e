//! From a notification to an incident, an investigation and a summary.
//!
//! What has to happen next always stands in the journal: an incident without a session wants one, a
//! session without a summary wants one, a delivery that is pending wants to be made. So whatever a
//! crash interrupts is taken up by [`Triage::start`], and nothing is remembered in memory alone but
//! counts of repeats.

use crate::board::{self, Board, Newest, Record, Resolution};
use crate::channel::{ChannelSpec, Channels, Post};
use crate::conclude::Conclusions;
use crate::delivery::Deliveries;
use crate::event;
use crate::incident::{IncidentView, Severity};
use crate::intake::{self, Facts};
use crate::post::Postman;
use crate::record::{self, Counts, Intake, Taken};
use crate::search::Search;
use assay::alertmanager::{Limits, Notification, normalise};
use gate::{Caller, Gate, NewSession, SessionError};
use policy::Principal;
use runtime::{Finished, Runtime, Watcher};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;
use store::{Erasable, Projection, StoreError};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

/// How long to wait before what could not be recorded is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// The longest time between two signs of life.
const TURN: Duration = Duration::from_secs(10);

/// `spec` of a `Trigger`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TriggerSpec {
    /// `alertmanager`: the only source in this version.
    pub source: Source,
    /// The agent that investigates.
    pub agent: String,
    /// Names of channels.
    #[serde(default)]
    pub channels: Vec<String>,
    /// A notification that tells nothing new within this window is only counted. Default 300.
    #[serde(default = "debounce")]
    pub debounce_seconds: u32,
    /// Labels that relate alerts to each other: an alert that agrees with an open incident in all of
    /// them attaches to it; one that lacks one of them is related to nothing. By default `alertname` and
    /// the first of `service`, `job`, `instance` that the alert has. What Alertmanager put into one
    /// group always attaches.
    #[serde(default)]
    pub related_by: Vec<String>,
}

fn debounce() -> u32 {
    300
}

/// Where notifications come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// `POST /hooks/alertmanager`.
    Alertmanager,
}

/// What became of a notification. Durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Received {
    /// Sequence of its entry, or of the entry that it only repeats.
    pub entry: u64,
    /// The incident, unless it resolved nothing known.
    pub incident: Option<String>,
    /// `opened`, `attached`, `repeated`, `resolved`, `logged`, `ignored`.
    pub disposition: String,
    /// The session that investigates, if one was queued now.
    pub session: Option<String>,
}

/// Why a notification was not taken.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The caller's token is not for a trigger that exists.
    #[error("no trigger `{0}`")]
    UnknownTrigger(String),
    /// Not one that can be read.
    #[error(transparent)]
    Refused(#[from] assay::alertmanager::Refused),
    /// Not recorded: try again later.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Triage. Shared as `Arc`.
pub struct Triage {
    gate: Arc<Gate>,
    runtime: Arc<Runtime>,
    triggers: Triggers,
    channels: Arc<Channels>,
    counts: Arc<Counts>,
    postman: Arc<Postman>,
    conclusions: Conclusions,
    /// Sessions that finished; taken by the task that [`Triage::start`] spawns.
    finished: Mutex<Option<mpsc::UnboundedReceiver<Finished>>>,
    /// Something may be wanted.
    sweep: Arc<Notify>,
    stop: Arc<Notify>,
    /// The task that [`Triage::start`] spawned.
    following: Mutex<Option<JoinHandle<()>>>,
    /// Milliseconds of the monotonic clock.
    beat: AtomicU64,
}

/// What triage has to heed.
enum Happened {
    Finished(Box<Finished>),
    Wanted,
    Nothing,
}

/// The triggers in force.
pub(crate) type Triggers = Arc<RwLock<BTreeMap<String, TriggerSpec>>>;

/// The projections of this crate: `incidents`, `deliveries`.
pub fn projections() -> Vec<Arc<dyn Projection>> {
    vec![Arc::new(Board), Arc::new(Deliveries)]
}

/// Hears of sessions, and holds nothing that holds the runtime.
struct Ear(mpsc::UnboundedSender<Finished>);

impl Watcher for Ear {
    fn finished(&self, finished: &Finished) {
        // Nobody listens only when triage is gone, and then the summary is made after the next start.
        let _ = self.0.send(finished.clone());
    }
}

impl Triage {
    /// Not running yet. Registers itself as the runtime's watcher. No channel is given what is, or lies below, one of
    /// `private`.
    pub fn new(gate: Arc<Gate>, runtime: Arc<Runtime>, below: &str, private: Arc<[PathBuf]>) -> Arc<Triage> {
        let (sender, receiver) = mpsc::unbounded_channel();
        runtime.watch(Arc::new(Ear(sender)));
        let channels = Arc::new(Channels::default());
        let triggers = Triggers::default();
        let post = Post::new(Arc::clone(&channels), gate.store().clock(), private);
        Arc::new(Triage {
            postman: Arc::new(Postman::new(Arc::clone(&gate), post, below)),
            conclusions: Conclusions {
                gate: Arc::clone(&gate),
                triggers: Arc::clone(&triggers),
            },
            gate,
            runtime,
            triggers,
            channels,
            counts: Arc::default(),
            finished: Mutex::new(Some(receiver)),
            sweep: Arc::default(),
            stop: Arc::default(),
            following: Mutex::default(),
            beat: AtomicU64::new(0),
        })
    }

    /// Triggers and channels from now on.
    pub fn install(&self, triggers: BTreeMap<String, TriggerSpec>, channels: BTreeMap<String, ChannelSpec>) {
        *self.triggers.write().unwrap_or_else(PoisonError::into_inner) = triggers;
        self.channels.install(channels);
        // An incident may have waited for its trigger's agent, a message for its channel.
        self.sweep.notify_one();
        self.postman.wake();
    }

    /// Takes up undelivered messages and unfinished incidents, starts delivering. Called within a Tokio
    /// runtime, after the runtime of agents was started; a second call does nothing. What cannot be taken
    /// up now is tried again: no incident keeps the platform from starting.
    pub async fn start(self: &Arc<Self>) {
        let Some(finished) = self
            .finished
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        else {
            return;
        };
        self.heed(Happened::Wanted).await;
        let (sweep, stop) = (Arc::clone(&self.sweep), Arc::clone(&self.stop));
        let following = tokio::spawn(follow(Arc::downgrade(self), finished, sweep, stop));
        *self.following.lock().unwrap_or_else(PoisonError::into_inner) = Some(following);
        self.postman.start();
    }

    /// One notification, by a caller whose token is for a trigger.
    pub async fn receive(&self, caller: &Caller, body: &[u8]) -> Result<Received, IntakeError> {
        let trigger = caller.trigger().unwrap_or_default().to_owned();
        self.take(&trigger, caller.principal(), body).await
    }

    /// [`Triage::receive`] once it is known for which trigger.
    pub(crate) async fn take(
        &self,
        trigger: &str,
        by: &Principal,
        body: &[u8],
    ) -> Result<Received, IntakeError> {
        let spec = trigger_of(&self.triggers, trigger);
        let spec = spec.ok_or_else(|| IntakeError::UnknownTrigger(assay::redact::line(trigger, 64)))?;
        let limits = Limits::default();
        let raw = assay::json::read(body, limits.bytes, limits.depth)?;
        let facts = Facts::of(&normalise(&raw, limits)?, &spec.related_by);
        let intake = Intake {
            trigger: trigger.to_owned(),
            actor: by.clone(),
            debounce_ms: i64::from(spec.debounce_seconds) * 1000,
            resolutions: self.resolutions(trigger, &facts)?,
            facts,
            raw,
            counts: Arc::clone(&self.counts),
        };
        let taken = Taken::of(&self.counts);
        let lent = Arc::clone(&taken);
        let written = self
            .gate
            .store()
            .write::<_, StoreError, _>(move |tx| intake.record(tx, &lent))
            .await?;
        taken.keep();
        let noted = written.value;
        if let Some(at) = noted.window {
            self.counts.open_window(trigger, at, noted.entry);
        }
        // Durable: from here on nothing can fail the answer. What is not queued now is taken up later.
        let session = match &noted.incident {
            Some(incident) => self.investigate_or_retry(incident).await,
            None => None,
        };
        Ok(Received {
            entry: noted.entry,
            incident: noted.incident,
            disposition: noted.disposition.to_owned(),
            session,
        })
    }

    /// The newest first.
    pub fn incidents(&self, limit: usize) -> Result<Vec<IncidentView>, StoreError> {
        let records = self.gate.store().read(|reader| {
            let newest = reader
                .row(board::NAME, board::NEWEST)?
                .map(decode::<Newest>)
                .transpose()?;
            let mut next = newest.map(|newest| newest.id);
            let mut records = Vec::new();
            while let Some(id) = next.take()
                && records.len() < limit
            {
                let Some(row) = reader.row(board::NAME, &id)? else {
                    break;
                };
                let record = record::record(row)?;
                next = record.before.clone();
                records.push(record);
            }
            Ok(records)
        })?;
        Ok(records.into_iter().map(|record| self.show(record)).collect())
    }

    /// One.
    pub fn incident(&self, id: &str) -> Result<Option<IncidentView>, StoreError> {
        Ok(self.record(id)?.map(|record| self.show(record)))
    }

    /// For `incidents.search`.
    pub fn search(&self) -> Arc<dyn runtime::tools::IncidentSearch> {
        let gate = Arc::downgrade(&self.gate);
        let triggers = Arc::clone(&self.triggers);
        Arc::new(Search { gate, triggers })
    }

    /// The agent whose incident it is: that of its first session, or the one that its trigger calls.
    pub fn agent_of(&self, view: &IncidentView) -> Result<Option<String>, StoreError> {
        agent_of(&self.gate, &self.triggers, view)
    }

    /// The agent that a trigger calls.
    pub fn agent_of_trigger(&self, name: &str) -> Option<String> {
        trigger_of(&self.triggers, name).map(|spec| spec.agent)
    }

    /// Concludes what has ended and waits for deliveries under way, at most `grace`, and records the
    /// counts that are only in memory. Called after the runtime was drained.
    pub async fn drain(&self, grace: Duration) {
        self.stop.notify_one();
        let following = self
            .following
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let concluded = async {
            if let Some(following) = following
                && tokio::time::timeout(grace, following).await.is_err()
            {
                tracing::warn!("summaries are still being made; they are taken up after the next start");
            }
        };
        tokio::join!(concluded, self.postman.drain(grace));
        let incidents = self.counts.incidents();
        let taken = Taken::of(&self.counts);
        let lent = Arc::clone(&taken);
        let write = self
            .gate
            .store()
            .write::<_, StoreError, _>(move |tx| record::flush(tx, &lent, &incidents));
        match write.await {
            Ok(_) => taken.keep(),
            Err(error) => tracing::warn!(%error, "counts of repeated notifications are lost"),
        }
    }

    fn show(&self, record: Record) -> IncidentView {
        let mut view = record.view;
        view.repeats = view.repeats.saturating_add(self.counts.repeats(&view.id));
        view
    }

    fn record(&self, id: &str) -> Result<Option<Record>, StoreError> {
        if id == board::NEWEST {
            return Ok(None);
        }
        self.gate
            .store()
            .read(|reader| reader.row(board::NAME, id)?.map(record::record).transpose())
    }

    /// What was done about the incidents that `facts` may end.
    fn resolutions(&self, trigger: &str, facts: &Facts) -> Result<BTreeMap<String, Resolution>, StoreError> {
        if facts.resolved.is_empty() {
            return Ok(BTreeMap::new());
        }
        let store = self.gate.store();
        let find = |key: &str| record::records(store.read(|reader| reader.find(board::NAME, "open", key))?);
        let mut resolutions = BTreeMap::new();
        for record in intake::concerned(trigger, facts, find)?.holders {
            if let Some(resolution) = self.conclusions.resolution(&record)? {
                resolutions.insert(record.view.id, resolution);
            }
        }
        Ok(resolutions)
    }

    async fn investigate_or_retry(&self, incident: &str) -> Option<String> {
        match self.investigate(incident).await {
            Ok(session) => session,
            Err(error) => {
                tracing::error!(incident, error = %chain(&error), "no session yet for this incident");
                self.sweep.notify_one();
                None
            }
        }
    }

    /// Queues the session of an incident that wants one. The key makes it the same session however
    /// often this is called.
    async fn investigate(&self, incident: &str) -> Result<Option<String>, SessionError> {
        let Some(record) = self.record(incident)?.filter(Record::wants_session) else {
            return Ok(None);
        };
        let Some(spec) = trigger_of(&self.triggers, &record.view.trigger) else {
            tracing::warn!(
                incident,
                trigger = record.view.trigger,
                "its trigger is gone: nobody investigates"
            );
            return Ok(None);
        };
        let notification = self.notification(record.notification)?;
        let new = NewSession {
            agent: spec.agent,
            cause: Principal::service(&format!("trigger/{}", record.view.trigger)),
            correlation: Some(incident.to_owned()),
            input: event::input(&record, notification.as_ref(), self.gate.store().clock().now()),
            title: assay::redact::line(&format!("triage {incident}: {}", record.view.title), 200),
            idempotency_key: Some(board::investigation_key(incident)),
            urgent: record.view.severity == Severity::Critical,
            taint: record.taint,
        };
        let (session, new) = self.gate.create_session(new).await?;
        if new && record.view.severity == Severity::Critical {
            self.runtime.expedite(&session.id);
        } else {
            self.runtime.wake();
        }
        Ok(new.then_some(session.id))
    }

    fn notification(&self, entry: u64) -> Result<Option<Notification>, StoreError> {
        match self
            .gate
            .store()
            .read(|reader| reader.payload(entry, "notification"))?
        {
            Erasable::Present(raw) => Ok(normalise(&raw, Limits::default()).ok()),
            Erasable::Erased | Erasable::Absent => Ok(None),
        }
    }

    /// Does what one thing that happened calls for.
    async fn heed(&self, happened: Happened) {
        self.beat();
        let done = match happened {
            Happened::Finished(finished) => self.conclusions.conclude(&finished).await,
            Happened::Wanted => self.take_up().await,
            Happened::Nothing => return,
        };
        self.postman.wake();
        if let Err(error) = done {
            tracing::error!(error = %chain(&error), "triage is behind; tried again shortly");
            let sweep = Arc::clone(&self.sweep);
            tokio::spawn(async move {
                tokio::time::sleep(AGAIN).await;
                sweep.notify_one();
            });
        }
    }

    fn beat(&self) {
        let now = self.gate.store().clock().monotonic().as_millis();
        self.beat
            .store(u64::try_from(now).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Last sign of life of triage and of its deliveries, whichever is older (monotonic), for `health`.
    pub fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.beat.load(Ordering::SeqCst)).min(self.postman.heartbeat())
    }

    /// Whatever the journal says is wanted. An incident that nothing can be done about holds up no
    /// other; only a journal that cannot be read or written ends this early.
    pub(crate) async fn take_up(&self) -> Result<(), StoreError> {
        for row in self
            .gate
            .store()
            .read(|reader| reader.find(board::NAME, "wants", "session"))?
        {
            match self.investigate(&row.key).await {
                Ok(_) => {}
                Err(SessionError::Store(error)) if !is_refusal(&error) => return Err(error),
                Err(error) => {
                    tracing::error!(incident = row.key, %error, "nobody investigates this incident")
                }
            }
        }
        for row in self
            .gate
            .store()
            .read(|reader| reader.find(board::NAME, "wants", "summary"))?
        {
            match self.conclusions.take_up(&record::record(row.value)?).await {
                Err(error) if is_refusal(&error) => {
                    tracing::error!(incident = row.key, %error, "no summary of this incident")
                }
                done => done?,
            }
        }
        Ok(())
    }
}

/// Whether it is about what was to be recorded, not about the journal: trying again changes nothing.
fn is_refusal(error: &StoreError) -> bool {
    matches!(error, StoreError::Refused(_))
}

/// Heeds sessions that finish and what is wanted, until triage stops or is dropped; between two things
/// it holds nothing that would keep the store open. What has finished before the stop is still heeded.
async fn follow(
    triage: Weak<Triage>,
    mut finished: mpsc::UnboundedReceiver<Finished>,
    sweep: Arc<Notify>,
    stop: Arc<Notify>,
) {
    loop {
        let happened = tokio::select! {
            biased;
            one = finished.recv() => match one {
                Some(one) => Happened::Finished(Box::new(one)),
                None => return,
            },
            () = stop.notified() => return,
            () = sweep.notified() => Happened::Wanted,
            () = tokio::time::sleep(TURN) => Happened::Nothing,
        };
        let Some(triage) = triage.upgrade() else { return };
        triage.heed(happened).await;
    }
}

/// See [`Triage::agent_of`].
pub(crate) fn agent_of(
    gate: &Gate,
    triggers: &Triggers,
    view: &IncidentView,
) -> Result<Option<String>, StoreError> {
    match view.sessions.first().map(|id| gate.session(id)) {
        Some(Ok(session)) => Ok(Some(session.agent)),
        Some(Err(SessionError::Store(error))) => Err(error),
        Some(Err(_)) | None => Ok(trigger_of(triggers, &view.trigger).map(|spec| spec.agent)),
    }
}

/// A trigger by name.
pub(crate) fn trigger_of(triggers: &Triggers, name: &str) -> Option<TriggerSpec> {
    triggers
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .get(name)
        .cloned()
}

fn decode<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> Result<T, StoreError> {
    board::read(value).map_err(|error| StoreError::Corrupt {
        finding: error.to_string(),
    })
}

/// An error with its sources, for logs.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(one) = next {
        text = format!("{text}: {one}");
        next = one.source();
    }
    text
}
