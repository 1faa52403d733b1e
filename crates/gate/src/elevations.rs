//! Elevations (S3-K5): for minutes, a person raises the autonomy level of one agent above what its document says.
//!
//! Invariants:
//! - **A level and nothing else.** Grants, rules, thresholds, bounds and stops count as before, and trust caps what is raised as it
//!   caps what a document gives.
//! - **Never in production**, under whatever name: there the document's level holds ([`policy::Autonomy::raised`]).
//! - **Of the agent that acts.** What it passed on to others is not raised by it.
//! - **Not for oneself.** The sponsor grants none, and what a person caused, or is on whose account, is not raised by them.
//! - **It ends once**: by its time, by the time that never goes back; by a person; at every stop that may be about the agent; when it
//!   is suspended, revoked or removed; when its trust falls below what it took; when its giver has left, is no operator there any more,
//!   or has become its sponsor. Nothing gives it back.

mod projection;

pub(crate) use projection::Elevations;

use crate::gate::platform;
use crate::record::short;
use crate::rows::{self, decode};
use crate::{AgentAuthority, Authority, Caller, Gate, Role, agents, stops, trust};
use policy::{AgentStatus, Chain, Environment, Level, Principal, PrincipalKind, Spot, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use store::{NewEntry, Reader, StoreError, Tx};

/// Name of the projection.
pub(crate) const ELEVATIONS: &str = "elevations";
/// Kinds of entries.
pub(crate) const GRANTED: &str = "elevation.granted";
/// See [`GRANTED`].
pub(crate) const ENDED: &str = "elevation.ended";
/// How long one lasts when it is not said, in seconds (S3-K5).
pub const ELEVATION_SECONDS: u32 = 300;
/// The longest, in seconds (S3-K5).
pub const ELEVATION_SECONDS_MAX: u32 = 3600;

/// Where an elevation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ElevationState {
    /// Raises the level.
    Active,
    /// A person ended it.
    Lowered,
    /// Its time is over.
    Expired,
    /// A stop came, the agent was suspended, revoked or removed, its trust fell, or its giver left or may give none any more.
    Void,
}

impl ElevationState {
    /// The only place an elevation changes state: it ends once, whichever way.
    fn after(self, end: ElevationState) -> Option<ElevationState> {
        match (self, end) {
            (
                ElevationState::Active,
                ElevationState::Lowered | ElevationState::Expired | ElevationState::Void,
            ) => Some(end),
            _ => None,
        }
    }
}

/// An elevation as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub struct ElevationView {
    /// `elv-61`.
    pub id: String,
    pub state: ElevationState,
    pub agent: String,
    /// What its document gives it where nothing else is said, when it was raised.
    pub from: Level,
    /// L2 or L3.
    pub to: Level,
    pub granted: Timestamp,
    pub expires: Timestamp,
    /// The name of the person who granted it.
    pub by: String,
    pub reason: String,
    /// The agent's score then.
    pub trust: u16,
    /// It holds while the score is no lower.
    pub floor: u16,
    pub ended_by: Option<String>,
    pub ended_at: Option<Timestamp>,
    pub ended_because: Option<String>,
}

/// What a person asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewElevation {
    /// Which agent.
    pub agent: String,
    /// To which level.
    pub to: Level,
    /// For how long, in seconds: 1 to [`ELEVATION_SECONDS_MAX`].
    pub seconds: u32,
    /// Why, in the person's words.
    pub reason: String,
}

/// Why an agent is not raised. Nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum ElevateError {
    /// There is none, or it is not configured.
    #[error("there is no agent `{0}` that is configured")]
    Unknown(String),
    /// It cannot last so long.
    #[error("an elevation lasts 1 to {ELEVATION_SECONDS_MAX} seconds")]
    Seconds,
    /// The platform's own is never lent, nor is acting unattended.
    #[error("{0:?} is given by no elevation: L2 and L3 are")]
    ForbiddenLevel(Level),
    /// Its document gives it as much already.
    #[error(
        "agent `{0}` has that level already, or more, wherever an elevation reaches: nowhere in production"
    )]
    NotHigher(String),
    /// It is not trusted enough for that level.
    #[error("it takes a score of {floor}, and agent `{agent}` has {trust}")]
    InsufficientTrust {
        /// Which.
        agent: String,
        /// Its score.
        trust: u16,
        /// What the level takes.
        floor: u16,
    },
    /// Nobody who may vouches for it, or nobody says why.
    #[error("{0}")]
    NotAttested(&'static str),
    /// One at a time.
    #[error("`{0}` is active: lower it first")]
    AlreadyElevated(String),
    /// It may not act at all.
    #[error("agent `{0}` does not act now: it is {1}")]
    NotActive(String, String),
    /// Not recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ElevateError {
    /// A stable word for machines, for each of the six reasons not to raise (S3-K5).
    pub fn code(&self) -> Option<&'static str> {
        match self {
            ElevateError::ForbiddenLevel(_) => Some("forbidden_level"),
            ElevateError::NotHigher(_) => Some("not_higher"),
            ElevateError::InsufficientTrust { .. } => Some("insufficient_trust"),
            ElevateError::NotAttested(_) => Some("not_attested"),
            ElevateError::AlreadyElevated(_) => Some("already_elevated"),
            ElevateError::NotActive(..) => Some("not_active"),
            ElevateError::Unknown(_) | ElevateError::Seconds | ElevateError::Store(_) => None,
        }
    }
}

/// Why an agent is not lowered.
#[derive(Debug, thiserror::Error)]
pub enum LowerError {
    /// Nothing raises it.
    #[error("agent `{0}` is not raised by anything")]
    NotElevated(String),
    /// Not recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The score that a level takes (S3-K5); `None` for one that is never lent.
fn floor(to: Level) -> Option<u16> {
    match to {
        Level::L2 => Some(500),
        Level::L3 => Some(850),
        Level::L0 | Level::L1 | Level::L4 => None,
    }
}

impl Gate {
    /// Raises an agent, if nothing speaks against it: judged in the transaction that records it.
    pub async fn elevate(&self, caller: &Caller, new: NewElevation) -> Result<ElevationView, ElevateError> {
        let name = self.known_name(&new.agent);
        let authority = self.authority.load_full();
        let held = authority.agents.get(&name).cloned();
        let held = held.ok_or_else(|| ElevateError::Unknown(new.agent.clone()))?;
        let (by, reason) = (caller.principal().clone(), short(&new.reason));
        let signs = caller.holds(&[Role::Admin, Role::Operator], &self.spot_of(&name)?);
        if by.kind != PrincipalKind::Person || !signs {
            let what = "an elevation is signed by a person who is admin or operator";
            return Err(ElevateError::NotAttested(what));
        }
        if held.sponsor == by.name {
            let what = "who sponsors the agent does not judge it as well: somebody else has to sign";
            return Err(ElevateError::NotAttested(what));
        }
        if reason.trim().is_empty() {
            return Err(ElevateError::NotAttested(
                "say why: whoever looks at it later wants to know",
            ));
        }
        let floor = floor(new.to).ok_or(ElevateError::ForbiddenLevel(new.to))?;
        if !(1..=ELEVATION_SECONDS_MAX).contains(&new.seconds) {
            return Err(ElevateError::Seconds);
        }
        if !held.autonomy.is_below(new.to) {
            return Err(ElevateError::NotHigher(name));
        }
        let subject = stops::subject_of(&authority, &name, "");
        if let Some(stop) = self.stops.covering(&subject) {
            return Err(ElevateError::NotActive(
                name,
                format!("stopped by {}: {}", stop.by, stop.reason),
            ));
        }
        let (deadlines, from, to) = (Arc::clone(&self.deadlines), held.autonomy.default, new.to);
        let life = i64::from(new.seconds) * 1000;
        let write = move |tx: &mut Tx<'_>| {
            let now = deadlines.now();
            let status = agents::agent_row(tx, &name)?.map_or(AgentStatus::Active, |row| row.status_at(now));
            if status != AgentStatus::Active {
                return Err(ElevateError::NotActive(name, status.as_str().to_owned()));
            }
            if let Some(stop) = stops::covering(tx, &subject)? {
                return Err(ElevateError::NotActive(name, format!("stopped by {}", stop.by)));
            }
            let trust = trust::least_in(tx, &authority, std::slice::from_ref(&name), now)?;
            if trust < floor {
                let agent = name;
                return Err(ElevateError::InsufficientTrust { agent, trust, floor });
            }
            if let Some(active) = active_in(tx, &name)? {
                if now < active.expires {
                    return Err(ElevateError::AlreadyElevated(active.id));
                }
                end(tx, &active, ElevationState::Expired, &platform(), OVER)?;
            }
            let id = format!("elv-{}", tx.next_sequence());
            let body = json!({
                "elevation": id, "agent": name, "from": from, "to": to, "granted": now,
                "expires": now.plus_ms(life), "reason": reason, "trust": trust, "floor": floor,
            });
            tx.append(NewEntry::new(GRANTED, &by, body))?;
            let missing = || StoreError::Refused(format!("elevation `{id}` is not there"));
            Ok(row(tx, &id)?.ok_or_else(missing)?)
        };
        let written = self.store.write::<_, ElevateError, _>(write).await?;
        Ok(written.value)
    }

    /// Ends what raises an agent, now.
    pub async fn lower(
        &self,
        by: &Principal,
        agent: &str,
        reason: &str,
    ) -> Result<ElevationView, LowerError> {
        let (by, name, reason) = (by.clone(), self.known_name(agent), short(reason));
        let write = move |tx: &mut Tx<'_>| {
            let active = active_in(tx, &name)?.ok_or(LowerError::NotElevated(name))?;
            end(tx, &active, ElevationState::Lowered, &by, &reason)?;
            Ok(row(tx, &active.id)?.unwrap_or(active))
        };
        let written = self.store.write::<_, LowerError, _>(write).await?;
        Ok(written.value)
    }

    /// What raises `agent` now, whoever it acts for.
    pub fn elevation(&self, agent: &str) -> Result<Option<ElevationView>, StoreError> {
        let now = self.deadlines.now();
        self.store.read(|reader| active(reader, agent, now))
    }

    /// Records the end of those that hold no more: by their time, the agent's trust, or their giver. Called by a timer;
    /// they raise nothing before that either.
    pub(crate) async fn end_elevations(&self) -> Result<(), StoreError> {
        let (authority, now) = (self.authority.load_full(), self.deadlines.now());
        let over = self.store.read(|reader| {
            let mut over = Vec::new();
            for row in reader.find(ELEVATIONS, "active", "yes")? {
                let view: ElevationView = decode(row.value)?;
                let trust = trust::least_read(reader, &authority, std::slice::from_ref(&view.agent), now)?;
                let fault = giver_fault(reader, &authority, &view, now)?;
                let end = match fault {
                    _ if now >= view.expires => Some((ElevationState::Expired, OVER.to_owned())),
                    _ if trust < view.floor => {
                        let why = format!("trust fell to {trust}; it takes {}", view.floor);
                        Some((ElevationState::Void, why))
                    }
                    Some(why) => Some((ElevationState::Void, why.to_owned())),
                    None => None,
                };
                over.extend(end.map(|(state, why)| (view, state, why)));
            }
            Ok(over)
        })?;
        if over.is_empty() {
            return Ok(());
        }
        let write = move |tx: &mut Tx<'_>| {
            for (view, state, why) in &over {
                if row(tx, &view.id)?.is_some_and(|view| view.state == ElevationState::Active) {
                    end(tx, view, *state, &platform(), why)?;
                }
            }
            Ok(())
        };
        self.store.write::<_, StoreError, _>(write).await.map(drop)
    }
}

/// Why one ends that nobody ends.
const OVER: &str = "its time is over";

impl ElevationView {
    /// Whether it raises its agent where it acts for `cause`, on behalf of these.
    fn reaches(&self, cause: &Principal, behalf: &[String]) -> bool {
        let giver = Principal::person(&self.by);
        *cause != giver && !behalf.contains(&giver.to_string())
    }

    /// Whether so much trust is enough for it.
    pub(crate) fn holds_with(&self, trust: u16) -> bool {
        trust >= self.floor
    }
}

/// What raises `agent` where it acts for `cause`, on behalf of these, if it is trusted enough for that.
pub(crate) fn of(
    reader: &Reader<'_>,
    authority: &Authority,
    agent: &str,
    cause: &Principal,
    behalf: &[String],
    now: Timestamp,
) -> Result<Option<ElevationView>, StoreError> {
    let found = active(reader, agent, now)?.filter(|view| view.reaches(cause, behalf));
    let Some(view) = found else { return Ok(None) };
    let fault = giver_fault(reader, authority, &view, now)?;
    Ok(fault.is_none().then_some(view))
}

/// Why nobody would take the giver's word for it now: they have left, are neither admin nor operator where the agent is, or have
/// become its sponsor. Their token may have run out meanwhile, which is no reason.
fn giver_fault(
    reader: &Reader<'_>,
    authority: &Authority,
    view: &ElevationView,
    now: Timestamp,
) -> Result<Option<&'static str>, StoreError> {
    let giver = agents::read_person(reader, &view.by)?.filter(|giver| !giver.has_left(now));
    Ok(match (giver, authority.agents.get(&view.agent)) {
        (None, _) => Some("who granted it has left"),
        (_, None) => Some("its agent is not configured any more"),
        (_, Some(held)) if held.sponsor == view.by => Some("who granted it sponsors the agent now"),
        (Some(giver), Some(held)) => {
            let spot = Spot::Agent(held.place.clone(), view.agent.clone());
            let operates = giver.held(&[Role::Admin, Role::Operator], &spot, now);
            (!operates).then_some("who granted it is neither admin nor operator there any more")
        }
    })
}

/// `chain` with the level of the agent that acts raised.
pub(crate) fn raised(mut chain: Chain, by: Option<&ElevationView>) -> Chain {
    if let (Some(view), Some(actor)) = (by, chain.links.last_mut()) {
        actor.autonomy = actor.autonomy.raised(view.to);
    }
    chain
}

/// The elevation's id, when `held` has a lower level by itself in `environment`.
pub(crate) fn felt(
    by: Option<&ElevationView>,
    held: &AgentAuthority,
    environment: &Environment,
) -> Option<String> {
    let is_below = |view: &&ElevationView| {
        let raised = held.autonomy.raised(view.to);
        held.autonomy.at(environment) < raised.at(environment)
    };
    by.filter(is_below).map(|view| view.id.clone())
}

/// Whether it still raises anything in this transaction.
pub(crate) fn still_holds(tx: &Tx<'_>, id: &str, now: Timestamp) -> Result<bool, StoreError> {
    Ok(row(tx, id)?.is_some_and(|view| view.state == ElevationState::Active && now < view.expires))
}

pub(crate) fn active(
    reader: &Reader<'_>,
    agent: &str,
    now: Timestamp,
) -> Result<Option<ElevationView>, StoreError> {
    let row = reader.find(ELEVATIONS, "agent", agent)?.into_iter().next();
    let view: Option<ElevationView> = row.map(|row| decode(row.value)).transpose()?;
    Ok(view.filter(|view| now < view.expires))
}

fn active_in(tx: &Tx<'_>, agent: &str) -> Result<Option<ElevationView>, StoreError> {
    let row = tx.find(ELEVATIONS, "agent", agent)?.into_iter().next();
    row.map(|row| decode(row.value)).transpose()
}

fn row(tx: &Tx<'_>, id: &str) -> Result<Option<ElevationView>, StoreError> {
    tx.row(ELEVATIONS, id)?.map(decode).transpose()
}

fn end(
    tx: &mut Tx<'_>,
    view: &ElevationView,
    state: ElevationState,
    by: &Principal,
    reason: &str,
) -> Result<(), StoreError> {
    let state = rows::json(&state)?;
    let body = json!({ "elevation": view.id, "agent": view.agent, "state": state, "reason": reason });
    tx.append(NewEntry::new(ENDED, by, body)).map(drop)
}
