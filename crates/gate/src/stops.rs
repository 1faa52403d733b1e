//! Kill switches: effective in memory first, recorded second.

mod lift;

pub use lift::{Above, LiftError};

use crate::record::short;
use crate::rows::{self, body, decode};
use crate::{Authority, Gate, HeldAt, SessionView, held};
use journal::kind;
use policy::{
    Chain, Member, Principal, PrincipalKind, Reach, Reached, Stop, StopScope, StopSet, Subject, Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use store::{Applied, Corrupt, Health, NewEntry, Projection, Row, Rows, Store, StoreError, Tx};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

pub(crate) use crate::reserve::Reserve;

/// Name of the projection.
const STOPS: &str = "stops";
/// Index of the rows whose scope is no name but a pattern; its only value.
const COVERS: &str = "covers";
/// See [`COVERS`].
const PATTERN: &str = "pattern";
/// Rows read at a time.
const READ_AT_ONCE: usize = 512;
/// The pause between tries to record what is in the reserve.
const PAUSE: Duration = Duration::from_secs(1);

/// What a stop did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopAnswer {
    /// Whether it will survive a restart: in the journal, or at least in the preallocated file.
    pub durable: bool,
    /// What it cut.
    pub reached: Reached,
}

impl Gate {
    /// Stops now, and does not wait for what it cuts ([`Gate::kill`] does). Never fails: what could not be
    /// recorded is said in the answer and tried again. It is raised at the root.
    pub async fn stop(&self, by: &Principal, scope: StopScope, reason: &str) -> StopAnswer {
        self.stop_at(by, Reach::Everywhere, scope, reason).await
    }

    /// The same by a role that holds at `at` and not at the root: whoever lifts it has theirs there.
    pub async fn stop_at(&self, by: &Principal, at: Reach, scope: StopScope, reason: &str) -> StopAnswer {
        // INVARIANT (a stop works first and is recorded second).
        let (stop, number, reached) = self.raise(by, at, scope, reason);
        let recorded = self.record_stop(number, stop).await;
        StopAnswer {
            durable: recorded.is_ok_and(Recorded::is_durable),
            reached,
        }
    }

    /// In memory, and so in force.
    pub(crate) fn raise(
        &self,
        by: &Principal,
        at: Reach,
        scope: StopScope,
        reason: &str,
    ) -> (Stop, u64, Reached) {
        let stop = Stop {
            scope,
            reason: short(reason),
            by: by.to_string(),
            at,
        };
        let (number, reached) = self.stops.raise(stop.clone());
        (stop, number, reached)
    }

    /// A task of its own: a stop is recorded even when whoever pulled it has gone.
    pub(crate) fn record_stop(&self, number: u64, stop: Stop) -> JoinHandle<Recorded> {
        let (store, reserve, stops) = (
            self.store.clone(),
            Arc::clone(&self.reserve),
            Arc::clone(&self.stops),
        );
        let runtime = Handle::current();
        tokio::spawn(async move {
            let mut held = reserve.lock().await;
            if !stops.is_unrecorded(number) {
                // It was lifted before its turn came, and whoever lifted it recorded both.
                return Recorded { durable: true };
            }
            let written = raise(&store, stop.clone()).await;
            let durable = match &written {
                Ok(()) => {
                    held.forget_recorded(&stop);
                    true
                }
                Err(error) => {
                    tracing::error!(%error, "a stop works but is not in the journal yet");
                    held.keep(stop)
                }
            };
            stops.recorded(number);
            drop(held);
            if written.is_err() {
                record_reserved(&runtime, store, reserve);
            }
            Recorded { durable }
        })
    }

    /// Stops everything if the journal was found altered while it was in use, as [`Gate::open`] does over
    /// one that is found altered at once; `true` if this did it. A new process finds the stop in the
    /// reserve: it stands until a person lifts it over a journal that takes the record of that.
    pub async fn stop_over_altered(&self) -> bool {
        let Health::Corrupt(finding) = self.store.health() else {
            return false;
        };
        if self.stops.list().iter().any(|stop| stop.scope == StopScope::All) {
            return false;
        }
        self.stop(&crate::gate::platform(), StopScope::All, &altered(&finding))
            .await;
        true
    }

    /// Every place at which the stop of this scope was raised since it was lifted last, as the journal has
    /// it; `None` when it has none.
    pub fn raised_at(&self, scope: &StopScope) -> Result<Option<HeldAt>, StoreError> {
        let row = self.store.read(|reader| reader.row(STOPS, &scope.to_string()))?;
        let row: Option<StopRow> = row.map(decode).transpose()?;
        Ok(row.map(|row| row.at))
    }

    /// All in force.
    pub fn stops(&self) -> Vec<Stop> {
        self.stops.list()
    }

    /// The stop that covers this session as a whole, if any: nothing it does is admitted.
    pub fn stop_over(&self, session: &SessionView) -> Option<Stop> {
        self.stops.covering(&self.session_subject(session))
    }

    /// Whether a stop of `scope` covers this session as a whole. An error when it does not cover the agent,
    /// and who is behind it cannot be read.
    pub fn is_within(&self, scope: &StopScope, session: &SessionView) -> Result<bool, StoreError> {
        let authority = self.authority.load_full();
        if scope.covers(&subject_of(&authority, &session.agent, &session.id)) {
            return Ok(true);
        }
        self.chain_subject(&authority, session)
            .map(|subject| scope.covers(&subject))
    }

    pub(crate) fn session_subject(&self, session: &SessionView) -> Subject {
        let authority = self.authority.load_full();
        self.chain_subject(&authority, session).unwrap_or_else(|error| {
            tracing::warn!(session = session.id, %error, "the chain behind a session cannot be read");
            subject_of(&authority, &session.agent, &session.id)
        })
    }

    fn chain_subject(&self, authority: &Authority, session: &SessionView) -> Result<Subject, StoreError> {
        let Some(delegation) = session.delegation.as_deref() else {
            return Ok(subject_of(authority, &session.agent, &session.id));
        };
        // Whoever delegated is on the chain too, and a stop of them covers it.
        let held = self.store.read(|reader| {
            let (agent, cause) = (&session.agent, &session.cause);
            self.behind(reader, authority, agent, cause, Some(delegation))
        });
        let chain = held?.chain(authority, &session.cause, self.deadlines.now());
        Ok(subject(authority, &chain, &session.id))
    }

    /// Brings the stops of the reserve into the journal as soon as it takes them.
    pub(crate) fn record_reserved_stops(&self, runtime: &Handle) {
        record_reserved(runtime, self.store.clone(), Arc::clone(&self.reserve));
    }
}

fn record_reserved(runtime: &Handle, store: Store, reserve: Arc<tokio::sync::Mutex<Reserve>>) {
    runtime.spawn(async move {
        if std::mem::replace(&mut reserve.lock().await.recording, true) {
            return;
        }
        loop {
            let mut held = reserve.lock().await;
            let Some(stop) = held.waiting().first().cloned() else {
                held.recording = false;
                return;
            };
            match raise(&store, stop.clone()).await {
                Ok(()) => {
                    held.forget_recorded(&stop);
                    continue;
                }
                Err(StoreError::Unavailable { .. }) => {}
                // Closed, altered or refused as it is: trying again now is of no use. The reserve keeps it
                // for the next start, and the next stop tries again.
                Err(error) => {
                    tracing::error!(%error, "stops stay in their reserve");
                    held.recording = false;
                    return;
                }
            }
            drop(held);
            tokio::time::sleep(PAUSE).await;
        }
    });
}

/// What became of the record of a stop.
#[derive(Clone, Copy)]
pub(crate) struct Recorded {
    durable: bool,
}

impl Recorded {
    /// Whether the stop survives a restart: it is in the journal, or at least in the preallocated file.
    pub(crate) fn is_durable(self) -> bool {
        self.durable
    }
}

/// Raises every stop that the journal or the reserve holds.
pub(crate) fn restore(store: &Store, reserve: &Reserve, stops: &StopSet) -> Result<(), StoreError> {
    let mut after: Option<String> = None;
    loop {
        let rows = store.read(|reader| reader.rows(STOPS, after.as_deref(), READ_AT_ONCE))?;
        let Some(last) = rows.last() else { break };
        after = Some(last.key.clone());
        for row in rows {
            restored(stops, decode::<StopRow>(row.value)?.stop()?);
        }
    }
    for stop in reserve.waiting() {
        restored(stops, stop.clone());
    }
    Ok(())
}

/// Over a journal that was altered: what can be read of its stops holds, and everything is stopped
/// besides, since a stop may be among what was taken away.
pub(crate) fn restore_altered(store: &Store, reserve: &Reserve, stops: &StopSet, finding: &str) {
    if let Err(error) = restore(store, reserve, stops) {
        tracing::error!(%error, "the stops of an altered journal cannot be read");
    }
    let everything = Stop {
        scope: StopScope::All,
        reason: short(&altered(finding)),
        by: crate::gate::platform().to_string(),
        at: Reach::Everywhere,
    };
    restored(stops, everything);
}

fn altered(finding: &str) -> String {
    format!("the journal does not verify: {finding}")
}

/// Raises a stop that is recorded already, or whose record is taken care of.
fn restored(stops: &StopSet, stop: Stop) {
    let (number, _) = stops.raise(stop);
    stops.recorded(number);
}

/// The durable stop that covers `subject`, as of now in this transaction: the widest.
pub(crate) fn covering(tx: &Tx<'_>, subject: &Subject) -> Result<Option<Stop>, StoreError> {
    if tx.is_empty(STOPS) {
        return Ok(None);
    }
    let mut found: Vec<Stop> = Vec::new();
    for scope in named(subject) {
        if let Some(row) = tx.row(STOPS, &scope.to_string())? {
            found.push(decode::<StopRow>(row)?.stop()?);
        }
    }
    // Scopes with patterns in them are not found by name.
    for row in tx.find(STOPS, COVERS, PATTERN)? {
        found.push(decode::<StopRow>(row.value)?.stop()?);
    }
    let covering = found.into_iter().filter(|stop| stop.scope.covers(subject));
    Ok(covering.min_by(|one, other| one.scope.cmp(&other.scope)))
}

/// The scopes that cover `subject` and have a name, the widest first.
fn named(subject: &Subject) -> impl Iterator<Item = StopScope> {
    let network = subject.doing.as_ref().filter(|doing| doing.network);
    let areas = subject.agents.iter().flat_map(|agent| agent.place.areas());
    let agents = subject.agents.iter().map(|agent| agent.name.clone());
    [StopScope::All]
        .into_iter()
        .chain(network.map(|_| StopScope::Network))
        .chain(areas.map(StopScope::Area))
        .chain(agents.map(StopScope::Agent))
        .chain([StopScope::Session(subject.session.clone())])
}

/// Whom stops of areas, of agents and of this session cover: every agent on the chain, where it belongs.
pub(crate) fn subject(authority: &Authority, chain: &Chain, session: &str) -> Subject {
    let place = |name: &str| authority.agents.get(name).map(|agent| agent.place.clone());
    let agents = chain
        .links
        .iter()
        .map(|link| &link.principal)
        .filter(|principal| principal.kind == PrincipalKind::Agent)
        .map(|agent| Member {
            place: place(&agent.name).unwrap_or_default(),
            name: agent.name.clone(),
        });
    Subject {
        agents: agents.collect(),
        session: session.to_owned(),
        doing: None,
    }
}

/// The same of an agent's session of which no chain is at hand.
pub(crate) fn subject_of(authority: &Authority, agent: &str, session: &str) -> Subject {
    let place = authority.agents.get(agent).map(|agent| agent.place.clone());
    let agent = Member {
        name: agent.to_owned(),
        place: place.unwrap_or_default(),
    };
    Subject {
        agents: vec![agent],
        session: session.to_owned(),
        doing: None,
    }
}

async fn raise(store: &Store, stop: Stop) -> Result<(), StoreError> {
    store
        .write::<_, StoreError, _>(move |tx| tx.append(raised(&stop)))
        .await
        .map(drop)
}

fn raised(stop: &Stop) -> NewEntry {
    let mut body = json!({ "scope": stop.scope.to_string(), "reason": stop.reason });
    if let (Some(at), Some(body)) = (held::said(&stop.at), body.as_object_mut()) {
        body.insert("at".to_owned(), json!(at));
    }
    NewEntry::new(kind::STOP_RAISED, &stop.by, body)
}

/// A stop as stored.
#[derive(Serialize, Deserialize)]
struct StopRow {
    scope: String,
    reason: String,
    by: String,
    raised: Timestamp,
    entry: u64,
    /// Everybody who raised it since it was lifted last, and how often.
    raisers: BTreeMap<String, u64>,
    /// Where.
    #[serde(default = "HeldAt::root", skip_serializing_if = "HeldAt::is_root")]
    at: HeldAt,
}

impl StopRow {
    fn stop(self) -> Result<Stop, StoreError> {
        let corrupt = || StoreError::Corrupt {
            finding: format!("`{}` is no scope of a stop", self.scope),
        };
        Ok(Stop {
            scope: StopScope::parse(&self.scope).ok_or_else(corrupt)?,
            reason: self.reason,
            by: self.by,
            at: self.at.one(),
        })
    }
}

#[derive(Deserialize)]
struct Body {
    scope: String,
    reason: String,
    at: Option<Reach>,
}

/// Rows are [`StopRow`]s by scope: the stops in force.
pub(crate) struct Stops;

impl Projection for Stops {
    fn name(&self) -> &'static str {
        STOPS
    }

    fn kinds(&self) -> &'static [&'static str] {
        &[kind::STOP_RAISED, kind::STOP_LIFTED]
    }

    fn apply(&self, applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
        let entry = applied.entry;
        let Body {
            scope: text,
            reason,
            at,
        } = body(entry)?;
        if StopScope::parse(&text).is_none() {
            return Err(Corrupt(format!(
                "entry {}: `{text}` is no scope of a stop",
                entry.sequence
            )));
        }
        if entry.kind == kind::STOP_LIFTED {
            return rows.delete(&text);
        }
        let stood: Option<StopRow> = rows::get(rows, &text)?;
        let (mut raisers, held) = stood.map(|row| (row.raisers, row.at)).unwrap_or_default();
        *raisers.entry(entry.actor.clone()).or_default() += 1;
        let row = StopRow {
            scope: text.clone(),
            reason,
            by: entry.actor.clone(),
            raised: entry.timestamp,
            entry: entry.sequence,
            raisers,
            at: held.and(at.unwrap_or(Reach::Everywhere)),
        };
        rows::put(rows, &text, &row)
    }
    fn index(&self, row: &Row) -> Vec<(&'static str, String)> {
        match StopScope::parse(&row.key) {
            Some(StopScope::Tool(_) | StopScope::Capability(_)) => vec![(COVERS, PATTERN.to_owned())],
            _ => Vec::new(),
        }
    }
}
