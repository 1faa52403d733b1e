//! The drill of the kill switch: live sessions that do no harm, a real stop of a scope of their own, and
//! how long it took.
//!
//! It touches nobody else's sessions: its agent exists while it runs and holds one tool, which reads
//! nothing and waits; its sessions take no worker's place; its stop is one of that agent alone.

mod tool;

use crate::Runtime;
use crate::agent::AgentSpec;
use gate::{
    AgentAuthority, Bounds, EVERYWHERE, Held, KillAnswer, LiftError, NewSession, SessionError, SessionView,
    Tool, Tools, TrustTerms,
};
use journal::kind;
use journal::machine::{Session, SessionEvent};
use policy::{Autonomy, Capability, Grant, Place, Principal, StopScope, Verb};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use store::clock::SharedClock;
use store::{NewEntry, StoreError};
use tokio::task::JoinSet;
use tool::{VERB, Wait, Watch};

/// Name of the agent. No document can have it: it has a dot.
const AGENT: &str = "drill.kill";
/// Most sessions of one drill.
pub const SESSIONS_MAX: usize = 1_000;
/// Of the sessions so many act over and over; the others wait in one action.
const ACTING_MAX: usize = 8;
/// How long the sessions may take until all of them are live, and to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a drill measured. Times are from the call on, by the monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drilled {
    /// How many sessions were live.
    pub sessions: usize,
    /// Until the last action that was permitted began; zero when none began after the call.
    pub last_action: Duration,
    /// Until the last session had ended, durably.
    pub last_session: Duration,
    /// Until the call answered.
    pub answered: Duration,
    /// Actions in flight that were cut.
    pub cut: usize,
    /// What was not reached. When there is anything the stop is left in force.
    pub unreached: Vec<Held>,
    /// Its entry.
    pub entry: u64,
}

/// Why there was no drill, or no figure. Nothing but the drill's own sessions was touched.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// There is one already.
    #[error("a drill is under way")]
    UnderWay,
    /// Too many or too few.
    #[error("a drill has 1 to {SESSIONS_MAX} sessions")]
    Sessions,
    /// The sessions did not come to live, or not for long enough.
    #[error("only {live} of {sessions} sessions came to act; {why}")]
    NotLive {
        /// How many did.
        live: usize,
        /// Of how many.
        sessions: usize,
        /// Why, as far as that is known.
        why: String,
    },
    /// Not created.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Its stop was not lifted.
    #[error(transparent)]
    Lift(#[from] LiftError),
    /// Not recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Runtime {
    /// Starts so many sessions, stops them, and measures. Goes on to its end whether or not the caller
    /// waits.
    pub async fn drill(self: &Arc<Self>, by: &Principal, sessions: usize) -> Result<Drilled, DrillError> {
        if !(1..=SESSIONS_MAX).contains(&sessions) {
            return Err(DrillError::Sessions);
        }
        if self.drilling.swap(true, Ordering::SeqCst) {
            return Err(DrillError::UnderWay);
        }
        let (runtime, by) = (Arc::clone(self), by.clone());
        let drill = tokio::spawn(async move {
            let drilled = run(&runtime, &by, sessions).await;
            runtime.drilling.store(false, Ordering::SeqCst);
            drilled
        });
        let broken = |error| StoreError::Refused(format!("the drill broke off: {error}"));
        drill.await.map_err(broken)?
    }
}

async fn run(runtime: &Arc<Runtime>, by: &Principal, sessions: usize) -> Result<Drilled, DrillError> {
    let (gate, scope) = (&runtime.gate, StopScope::Agent(AGENT.to_owned()));
    // One that a drill left behind when its process died.
    gate.lift_own(by, EVERYWHERE, &scope, "another drill begins")
        .await?;
    gate.add_agent(AGENT, authority(by));
    let clock = gate.store().clock();
    let watch = Arc::new(Watch::new(clock.clone()));
    let mut ended = JoinSet::new();
    let mut seated = Vec::new();
    let live = go_live(runtime, sessions, &watch, &mut ended, &mut seated).await;
    let called = clock.monotonic();
    let answer = gate.kill(by, scope.clone(), "a drill of the kill switch").await;
    let answered = clock.monotonic().saturating_sub(called);
    let last_session = last_of(&mut ended).await.saturating_sub(called);
    end_queued(runtime, by, &seated).await;
    gate.remove_agent(AGENT);
    if answer.unreached.is_empty() {
        gate.lift_own(by, EVERYWHERE, &scope, "the drill is over").await?;
    }
    live?;
    let drilled = Drilled {
        sessions,
        last_action: watch.last().saturating_sub(called),
        last_session,
        answered,
        cut: answer.cancelled.len(),
        unreached: answer.unreached.clone(),
        entry: 0,
    };
    let entry = record(runtime, by, &drilled, &answer).await?;
    Ok(Drilled { entry, ..drilled })
}

/// Starts them and waits until each is in an action.
async fn go_live(
    runtime: &Arc<Runtime>,
    sessions: usize,
    watch: &Arc<Watch>,
    ended: &mut JoinSet<Duration>,
    seated: &mut Vec<String>,
) -> Result<(), DrillError> {
    let verb = Verb::new(VERB).map_err(|error| StoreError::Refused(error.to_string()))?;
    let tool: Arc<dyn Tool> = Arc::new(Wait::new(verb, Arc::clone(watch)));
    let tools: Arc<Tools> = Arc::new([(VERB.to_owned(), tool)].into());
    let acting = (sessions / 2).min(ACTING_MAX);
    let mut creating = JoinSet::new();
    for n in 0..sessions {
        let gate = Arc::clone(&runtime.gate);
        creating.spawn(async move { (n, gate.create_session(new_session()).await) });
    }
    // All of them, whatever fails: what was created is seated, and so ended.
    let mut failed: Option<DrillError> = None;
    while let Some(created) = creating.join_next().await {
        let (session, spec) = match created.map_err(|error| StoreError::Refused(error.to_string())) {
            Ok((n, Ok((session, _)))) => (session.id, spec(n < acting)?),
            Ok((_, Err(error))) => {
                failed.get_or_insert(error.into());
                continue;
            }
            Err(error) => {
                failed.get_or_insert(error.into());
                continue;
            }
        };
        let (runtime, tools) = (Arc::clone(runtime), Arc::clone(&tools));
        let clock: SharedClock = runtime.gate.store().clock();
        runtime.seat(&session, Arc::new(spec), tools);
        seated.push(session.clone());
        ended.spawn(async move {
            runtime.run_seated(&session).await;
            clock.monotonic()
        });
    }
    if let Some(failed) = failed {
        return Err(failed);
    }
    let not_live = |why: &str| DrillError::NotLive {
        live: watch.live(),
        sessions,
        why: why.to_owned(),
    };
    tokio::select! {
        () = watch.all_live(sessions) => Ok(()),
        _ = ended.join_next() => Err(not_live(&why_ended(runtime))),
        () = tokio::time::sleep(PATIENCE) => Err(not_live("the others took too long")),
    }
}

/// Ends those that the stop came too early for: a stop fences what is queued and does not end it.
async fn end_queued(runtime: &Runtime, by: &Principal, seated: &[String]) {
    for id in seated {
        let is_queued = |session: SessionView| session.state == Session::Queued;
        if !runtime.gate.session(id).is_ok_and(is_queued) {
            continue;
        }
        let said = Some("the drill is over".to_owned());
        let ended = runtime
            .gate
            .session_event(id, by, SessionEvent::Cancel, said, None);
        if let Err(error) = ended.await {
            tracing::warn!(session = id, %error, "a session of a drill stays queued");
        }
        runtime.forget(id);
    }
}

/// What the newest session of the drill that is over says of itself.
fn why_ended(runtime: &Runtime) -> String {
    let sessions = runtime.gate.sessions(None, SESSIONS_MAX).unwrap_or_default();
    let over = sessions
        .into_iter()
        .find(|session| session.agent == AGENT && session.state.is_final());
    let reason = over.and_then(|session| session.reason);
    reason.unwrap_or_else(|| "one ended before the stop: something else stops or denies it".to_owned())
}

/// When the last of them ended; those that take too long are left out, and named by the kill's answer.
async fn last_of(ended: &mut JoinSet<Duration>) -> Duration {
    let mut last = Duration::ZERO;
    let all = async {
        while let Some(at) = ended.join_next().await {
            last = last.max(at.unwrap_or_default());
        }
    };
    let _ = tokio::time::timeout(PATIENCE, all).await;
    last
}

async fn record(
    runtime: &Runtime,
    by: &Principal,
    drilled: &Drilled,
    answer: &KillAnswer,
) -> Result<u64, StoreError> {
    let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let unreached: usize = drilled.unreached.iter().map(|held| held.names.len()).sum();
    let body = json!({
        "scope": format!("agent:{AGENT}"), "sessions": drilled.sessions, "cut": drilled.cut,
        "unreached": unreached, "durable": answer.durable, "last_action_us": us(drilled.last_action),
        "last_session_us": us(drilled.last_session), "answered_us": us(drilled.answered),
    });
    let entry = NewEntry::new(kind::STOP_DRILLED, by, body);
    let write = runtime
        .gate
        .store()
        .write::<_, StoreError, _>(move |tx| tx.append(entry));
    Ok(write.await?.value)
}

/// Caused by the platform: on behalf of a person it could do no more than that person may.
fn new_session() -> NewSession {
    NewSession {
        agent: AGENT.to_owned(),
        cause: crate::worker::platform(),
        correlation: None,
        input: Value::Null,
        title: "a drill of the kill switch".to_owned(),
        idempotency_key: None,
        urgent: false,
        taint: policy::Taints::NONE,
    }
}

/// Holds one harmless tool; reads only.
fn authority(by: &Principal) -> AgentAuthority {
    let capability = Capability::parse(&format!("{VERB}:{}", tool::RESOURCE));
    let grant = |capability| Grant {
        capability,
        from: "drill".to_owned(),
        until: None,
    };
    AgentAuthority {
        grants: capability.map(grant).into_iter().collect(),
        autonomy: Autonomy::default(),
        bounds: Bounds {
            actions_per_session: u32::MAX,
            actions_per_minute: u32::MAX,
            actions_per_second: Some(std::num::NonZeroU32::MAX),
            ..Bounds::default()
        },
        deny: Vec::new(),
        sponsor: by.name.clone(),
        place: Place::default(),
        trust: TrustTerms::PLATFORM,
    }
}

/// One that acts does so over and over; one that does not waits in its first action.
fn spec(acts: bool) -> Result<AgentSpec, StoreError> {
    let wait = |ms: u32| json!({"name": "wait", "tool": VERB, "arguments": {"milliseconds": ms}});
    let steps = if acts {
        let steps = [wait(tool::SHORT_MS)];
        json!([{"name": "act", "forEach": "{{ range(1000) }}", "steps": steps}])
    } else {
        json!([wait(0)])
    };
    let limits = json!({"iterations": 1000, "steps": 10000});
    let runbook = json!({"steps": steps, "limits": limits});
    serde_json::from_value(json!({"sponsor": "drill", "runbook": runbook}))
        .map_err(|error| StoreError::Refused(format!("no runbook: {error}")))
}
