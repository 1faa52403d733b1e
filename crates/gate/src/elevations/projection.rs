//! Elevations, as the fold over their entries, over stops, and over what becomes of agents.

use super::{ELEVATIONS, ENDED, ElevationState, ElevationView, GRANTED};
use crate::rows::{self, body};
use journal::{Entry, kind};
use policy::{Level, Principal, StopScope, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use store::{Applied, Corrupt, Projection, Row, Rows};

/// Rows are [`ElevationView`]s, by id.
pub(crate) struct Elevations;

#[derive(Deserialize)]
struct Granted {
    elevation: String,
    agent: String,
    from: Level,
    to: Level,
    granted: Timestamp,
    expires: Timestamp,
    reason: String,
    trust: u16,
    floor: u16,
}

#[derive(Deserialize)]
struct Ended {
    elevation: String,
    state: ElevationState,
    reason: Option<String>,
}

#[derive(Deserialize)]
struct StopRaised {
    scope: String,
}

#[derive(Deserialize)]
struct Agent {
    agent: String,
}

#[derive(Deserialize)]
struct Deleted {
    kind: String,
    name: String,
}

impl Projection for Elevations {
    fn name(&self) -> &'static str {
        ELEVATIONS
    }

    fn kinds(&self) -> &'static [&'static str] {
        &[
            "elevation.",
            kind::STOP_RAISED,
            kind::AGENT_SUSPENDED,
            kind::AGENT_REVOKED,
            kind::CONFIG_DELETED,
        ]
    }

    fn apply(&self, applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
        let entry = applied.entry;
        match entry.kind.as_str() {
            GRANTED => grant(entry, rows),
            ENDED => ended(entry, rows),
            kind::STOP_RAISED => stop(entry, rows),
            kind::AGENT_SUSPENDED => gone(entry, &body::<Agent>(entry)?.agent, "suspended", rows),
            kind::AGENT_REVOKED => gone(entry, &body::<Agent>(entry)?.agent, "revoked", rows),
            kind::CONFIG_DELETED => match body::<Deleted>(entry)? {
                Deleted { kind, name } if kind == "Agent" => gone(entry, &name, "removed", rows),
                Deleted { .. } => Ok(()),
            },
            other => Err(Corrupt(format!(
                "entry {} of kind `{other}` is none of an elevation",
                entry.sequence
            ))),
        }
    }

    /// Those that are active, all of them and by agent.
    fn index(&self, row: &Row) -> Vec<(&'static str, String)> {
        let text = |name: &str| row.value.get(name).and_then(Value::as_str).unwrap_or_default();
        match text("state") {
            "active" => vec![("active", "yes".to_owned()), ("agent", text("agent").to_owned())],
            _ => Vec::new(),
        }
    }
}

fn grant(entry: &Entry, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let Granted {
        elevation,
        agent,
        from,
        to,
        granted,
        expires,
        reason,
        trust,
        floor,
    } = body(entry)?;
    let wrong = |what: &str| {
        let sequence = entry.sequence;
        Corrupt(format!("entry {sequence} grants elevation `{elevation}`, {what}"))
    };
    if rows::number(&elevation) != entry.sequence {
        return Err(wrong("whose number is another"));
    }
    if !rows.find("agent", &agent)?.is_empty() {
        return Err(wrong("while there is another of its agent"));
    }
    let giver = Principal::parse(&entry.actor).ok_or_else(|| wrong("and nobody gives it"))?;
    let view = ElevationView {
        id: elevation,
        state: ElevationState::Active,
        agent,
        from,
        to,
        granted,
        expires,
        by: giver.name,
        reason,
        trust,
        floor,
        ended_by: None,
        ended_at: None,
        ended_because: None,
    };
    rows::put(rows, &view.id, &view)
}

fn ended(entry: &Entry, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let Ended {
        elevation,
        state,
        reason,
    } = body(entry)?;
    let missing = || {
        Corrupt(format!(
            "entry {} ends elevation `{elevation}`, which is not there",
            entry.sequence
        ))
    };
    let view: ElevationView = rows::get(rows, &elevation)?.ok_or_else(missing)?;
    over(entry, view, state, reason, rows)
}

/// A stop of one session raises no question about its agent. One of an agent ends what raises it; any other ends all, since
/// whom it reaches is not known here.
fn stop(entry: &Entry, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let StopRaised { scope } = body(entry)?;
    let why = format!("stop of `{scope}`");
    let found = match StopScope::parse(&scope) {
        Some(StopScope::Session(_)) => Vec::new(),
        Some(StopScope::Agent(agent)) => rows.find("agent", &agent)?,
        _ => rows.find("active", "yes")?,
    };
    void(entry, found, &why, rows)
}

fn gone(entry: &Entry, agent: &str, how: &str, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let found = rows.find("agent", agent)?;
    void(entry, found, &format!("agent `{agent}` was {how}"), rows)
}

fn void(entry: &Entry, found: Vec<Row>, why: &str, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    for row in found {
        let what = |error| Corrupt(format!("row `{}`: {error}", row.key));
        let view: ElevationView = serde_json::from_value(row.value).map_err(what)?;
        over(entry, view, ElevationState::Void, Some(why.to_owned()), rows)?;
    }
    Ok(())
}

fn over(
    entry: &Entry,
    mut view: ElevationView,
    state: ElevationState,
    reason: Option<String>,
    rows: &mut dyn Rows,
) -> Result<(), Corrupt> {
    view.state = view.state.after(state).ok_or_else(|| {
        Corrupt(format!(
            "entry {} ends elevation `{}`, which has ended",
            entry.sequence, view.id
        ))
    })?;
    view.ended_by = Some(entry.actor.clone());
    view.ended_at = Some(entry.timestamp);
    view.ended_because = reason.filter(|reason| !reason.is_empty());
    rows::put(rows, &view.id, &view)
}
