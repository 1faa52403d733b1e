//! Trust and activity, as folds over entries. The only place where their rows change, live and in replay.

use super::{ANOMALY, PROMOTED};
use crate::rows::{self, body};
use journal::{Entry, kind};
use policy::trust::{Activity, Event, Origin, Record, Seen, Tier, Weights, is_sensitive};
use policy::{Effect, Idempotence, Outcome, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Applied, Corrupt, Projection, Rows};

/// Name of the projection of scores.
pub(super) const TRUST: &str = "trust";
/// Name of the projection of what agents did lately.
pub(super) const ACTIVITY: &str = "activity";

/// The key of an agent's record.
pub(super) fn agent_key(agent: &str) -> String {
    format!("agent/{agent}")
}

/// What keys of an agent's days begin with.
pub(super) fn day_prefix(agent: &str) -> String {
    format!("day/{agent}/")
}

/// `2026-11-21`, in UTC.
pub(super) fn date(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

fn approval_key(approval: &str) -> String {
    format!("approval/{approval}")
}

/// One day of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DayRow {
    pub low: u16,
    pub high: u16,
    pub last: u16,
    pub events: u64,
}

/// Whose proposal an approval is of, until somebody decides.
#[derive(Serialize, Deserialize)]
struct AskedRow {
    agent: String,
}

/// What one agent did lately, and ever.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct ActivityRow {
    pub lately: Activity,
    pub ever: Acts,
}

/// What an agent did since its journal begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Acts {
    /// Reads that were permitted.
    pub reads: u64,
    /// Writes that may be repeated.
    pub idempotent: u64,
    /// Writes that may not.
    pub once: u64,
    /// Destructive actions.
    pub destructive: u64,
    /// Outcomes that nobody knows.
    pub uncertain: u64,
}

#[derive(Deserialize)]
struct Configured {
    kind: String,
    name: String,
    origin: Option<Origin>,
    /// Absent for those of the platform.
    weights: Option<Weights>,
}

#[derive(Deserialize)]
struct Settled {
    outcome: Outcome,
}

#[derive(Deserialize)]
pub(super) struct Denied {
    pub code: Option<String>,
    /// Who or what lacked the right.
    pub lacking: Option<String>,
}

/// What an action was on, and under which grants.
#[derive(Deserialize)]
struct Touched {
    resource: String,
    chain: Vec<Held>,
}

#[derive(Deserialize)]
struct Held {
    grant: Option<String>,
}

#[derive(Deserialize)]
struct Permitted {
    effect: Effect,
    idempotence: Idempotence,
}

#[derive(Deserialize)]
struct Asked {
    approval: String,
}

#[derive(Deserialize)]
struct Stopped {
    scope: String,
}

#[derive(Deserialize)]
pub(super) struct Odd {
    pub agent: String,
    pub rule: String,
    pub severity: u8,
}

#[derive(Deserialize)]
struct Promoted {
    agent: String,
    to: Tier,
}

/// Rows are [`Record`]s by `agent/NAME`, [`DayRow`]s by `day/NAME/DATE`, and [`AskedRow`]s by `approval/ID`.
pub(crate) struct Trusts;

impl Projection for Trusts {
    fn name(&self) -> &'static str {
        TRUST
    }

    fn kinds(&self) -> &'static [&'static str] {
        &[
            kind::CONFIG_APPLIED,
            kind::ACTION_SETTLED,
            kind::ACTION_DENIED,
            kind::ACTION_DENIED_AGAIN,
            kind::APPROVAL_REQUESTED,
            kind::APPROVAL_APPROVED,
            kind::APPROVAL_DENIED,
            kind::APPROVAL_EXPIRED,
            kind::APPROVAL_CANCELLED,
            kind::STOP_RAISED,
            ANOMALY,
            PROMOTED,
        ]
    }

    fn apply(&self, applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
        let entry = applied.entry;
        match entry.kind.as_str() {
            kind::CONFIG_APPLIED => open(entry, rows),
            kind::APPROVAL_REQUESTED => {
                let (Asked { approval }, Some(agent)) = (body(entry)?, actor(entry)) else {
                    return Ok(());
                };
                let agent = agent.to_owned();
                rows::put(rows, &approval_key(&approval), &AskedRow { agent })
            }
            _ => match event(entry, rows)? {
                Some((agent, event)) => fold(entry, &agent, event, rows),
                None => Ok(()),
            },
        }
    }
}

/// Whom an entry moves, and how; `None` for what is neutral.
fn event(entry: &Entry, rows: &mut dyn Rows) -> Result<Option<(String, Event)>, Corrupt> {
    let by = |event| Ok(actor(entry).map(|agent| (agent.to_owned(), event)));
    match entry.kind.as_str() {
        kind::ACTION_SETTLED => match body::<Settled>(entry)?.outcome {
            Outcome::Success => by(Event::Done),
            Outcome::Failure | Outcome::Partial => by(Event::Failed),
            // Whose doing a crash or a stop is, nobody knows from this.
            Outcome::Uncertain | Outcome::Cancelled | Outcome::NotStarted => Ok(None),
        },
        kind::ACTION_DENIED => match body::<Denied>(entry)? {
            Denied {
                code: Some(code),
                lacking,
            } => match code.as_str() {
                "forbidden" => by(Event::Violation),
                // What a person, a delegation or an agent above it lacks is no misconduct of this one.
                "read_only" | "not_granted" if lacking.as_deref() == Some(&entry.actor) => {
                    by(Event::Violation)
                }
                "bound" => by(Event::Exceeded),
                // A stop, haste, a missing rule, a broken one, too little trust (by the tier or by a threshold) or a
                // person's no is none either;
                // the last is counted when it is given.
                _ => Ok(None),
            },
            Denied { code: None, .. } => Ok(None),
        },
        kind::ACTION_DENIED_AGAIN => by(Event::Repeated),
        kind::APPROVAL_APPROVED => decided(entry, Some(Event::Approved), rows),
        kind::APPROVAL_DENIED => decided(entry, Some(Event::Refused), rows),
        kind::APPROVAL_EXPIRED | kind::APPROVAL_CANCELLED => decided(entry, None, rows),
        kind::STOP_RAISED => Ok(stopped_agent(entry)?.map(|agent| (agent, Event::Quarantined))),
        ANOMALY => {
            let odd: Odd = body(entry)?;
            Ok(Some((odd.agent, Event::Anomaly(odd.severity))))
        }
        PROMOTED => {
            let promoted: Promoted = body(entry)?;
            Ok(Some((promoted.agent, Event::Promoted(promoted.to))))
        }
        other => Err(Corrupt(format!(
            "entry {} of kind `{other}` moves no trust",
            entry.sequence
        ))),
    }
}

/// An approval counts once: whoever withdraws one that was given changes nothing here.
fn decided(
    entry: &Entry,
    event: Option<Event>,
    rows: &mut dyn Rows,
) -> Result<Option<(String, Event)>, Corrupt> {
    let Asked { approval } = body(entry)?;
    let key = approval_key(&approval);
    let asked: Option<AskedRow> = rows::get(rows, &key)?;
    rows.delete(&key)?;
    Ok(asked.zip(event).map(|(asked, event)| (asked.agent, event)))
}

/// A configured agent's record begins with its first document. Another one, or the same after it was
/// removed, changes nothing but how the record is weighed: nobody washes a record by applying a document.
fn open(entry: &Entry, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let Configured {
        kind,
        name,
        origin,
        weights,
    } = body(entry)?;
    let Some(origin) = origin.filter(|_| kind == "Agent") else {
        return Ok(());
    };
    let (key, at, weights) = (agent_key(&name), entry.timestamp, weights.unwrap_or_default());
    let stored: Option<Record> = rows::get(rows, &key)?;
    if stored.as_ref().is_some_and(|record| record.weights == weights) {
        return Ok(());
    }
    let mut record = stored.unwrap_or_else(|| Record::open(origin, at));
    record.weigh(weights, at);
    rows::put(rows, &key, &record)
}

fn fold(entry: &Entry, agent: &str, event: Event, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let (key, at) = (agent_key(agent), entry.timestamp);
    let stored: Option<Record> = rows::get(rows, &key)?;
    let mut record = stored.unwrap_or_else(|| Record::open(Origin::Migrated, at));
    record.apply(event, at, entry.sequence);
    rows::put(rows, &key, &record)?;
    let key = format!("{}{}", day_prefix(agent), date(at));
    let (score, before) = (record.score_at(at), rows::get::<DayRow>(rows, &key)?);
    let day = before.map_or(
        DayRow {
            low: score,
            high: score,
            last: score,
            events: 1,
        },
        |day| DayRow {
            low: day.low.min(score),
            high: day.high.max(score),
            last: score,
            events: day.events + 1,
        },
    );
    rows::put(rows, &key, &day)
}

/// Rows are [`ActivityRow`]s by name of the agent.
pub(crate) struct Activities;

impl Projection for Activities {
    fn name(&self) -> &'static str {
        ACTIVITY
    }

    fn kinds(&self) -> &'static [&'static str] {
        &[
            kind::ACTION_PERMITTED,
            kind::ACTION_DENIED,
            kind::ACTION_SETTLED,
            ANOMALY,
        ]
    }

    fn apply(&self, applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
        let (entry, at) = (applied.entry, applied.entry.timestamp);
        if entry.kind == ANOMALY {
            let Odd { agent, rule, .. } = body(entry)?;
            return change(rows, &agent, |row| row.lately.found(&rule, at));
        }
        let Some(agent) = actor(entry) else { return Ok(()) };
        match entry.kind.as_str() {
            kind::ACTION_PERMITTED => {
                let (permitted, sensitive) =
                    (body::<Permitted>(entry)?, body::<Touched>(entry)?.is_sensitive());
                change(rows, agent, |row| {
                    row.ever.count(&permitted);
                    row.lately.see(Seen::Acted { sensitive }, at);
                })
            }
            kind::ACTION_DENIED => {
                let sensitive = body::<Touched>(entry)?.is_sensitive();
                change(rows, agent, |row| row.lately.see(Seen::Acted { sensitive }, at))
            }
            _ => match body::<Settled>(entry)?.outcome {
                Outcome::Failure | Outcome::Partial => {
                    change(rows, agent, |row| row.lately.see(Seen::Failed, at))
                }
                Outcome::Uncertain => change(rows, agent, |row| row.ever.uncertain += 1),
                Outcome::Success | Outcome::Cancelled | Outcome::NotStarted => Ok(()),
            },
        }
    }
}

impl Touched {
    /// Whether it is sensitive, and no grant says by its own words that this is meant.
    fn is_sensitive(&self) -> bool {
        let meant = |held: &Held| held.grant.as_deref().is_some_and(is_sensitive);
        is_sensitive(&self.resource) && !self.chain.iter().any(meant)
    }
}

impl Acts {
    fn count(&mut self, permitted: &Permitted) {
        let counter = match (permitted.effect, permitted.idempotence) {
            (Effect::Read, _) => &mut self.reads,
            (Effect::Destructive, _) => &mut self.destructive,
            (Effect::Write, Idempotence::Idempotent) => &mut self.idempotent,
            (Effect::Write, _) => &mut self.once,
        };
        *counter += 1;
    }
}

fn change(rows: &mut dyn Rows, agent: &str, change: impl FnOnce(&mut ActivityRow)) -> Result<(), Corrupt> {
    let mut row: ActivityRow = rows::get(rows, agent)?.unwrap_or_default();
    change(&mut row);
    rows::put(rows, agent, &row)
}

/// The one agent that a stop is on, if it is on one.
pub(super) fn stopped_agent(entry: &Entry) -> Result<Option<String>, Corrupt> {
    let Stopped { scope } = body(entry)?;
    let path = scope.strip_prefix("agent:");
    Ok(path.and_then(|path| path.rsplit('/').next()).map(str::to_owned))
}

/// The agent that did it.
pub(super) fn actor(entry: &Entry) -> Option<&str> {
    entry.actor.strip_prefix("agent:")
}
