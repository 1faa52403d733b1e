//! Waivers, as the fold over their entries, over stops, and over what becomes of agents.

use super::{EXPIRED, GRANTED, REVOKED, WAIVERS, WaiverState, WaiverView, use_of};
use crate::rows::{self, body, page, session_of};
use journal::{Entry, kind};
use policy::{Effect, Principal, Stages, StopScope, Taints, Timestamp, WaiverScope};
use serde::Deserialize;
use serde_json::Value;
use store::{Applied, Corrupt, Projection, Row, Rows};

#[derive(Deserialize)]
struct Granted {
    waiver: String,
    approval: String,
    agent: String,
    behalf: Vec<String>,
    delegation: Option<String>,
    verb: String,
    resource: String,
    environment: String,
    effect: Effect,
    scope: WaiverScope,
    expires: Option<Timestamp>,
    by: Vec<String>,
    questions: Vec<String>,
    asked: Vec<Stages>,
    taint: Taints,
}

#[derive(Deserialize)]
struct Ended {
    waiver: String,
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

/// Rows are [`WaiverView`]s, by id.
pub(crate) struct Waivers;

impl Projection for Waivers {
    fn name(&self) -> &'static str {
        WAIVERS
    }

    fn kinds(&self) -> &'static [&'static str] {
        &[
            "waiver.",
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
            REVOKED => end(entry, WaiverState::Revoked, rows),
            EXPIRED => end(entry, WaiverState::Expired, rows),
            kind::STOP_RAISED => stop(entry, rows),
            kind::AGENT_SUSPENDED => gone(entry, &body::<Agent>(entry)?.agent, "suspended", rows),
            kind::AGENT_REVOKED => gone(entry, &body::<Agent>(entry)?.agent, "revoked", rows),
            kind::CONFIG_DELETED => match body::<Deleted>(entry)? {
                Deleted { kind, name } if kind == "Agent" => gone(entry, &name, "removed", rows),
                Deleted { .. } => Ok(()),
            },
            other => Err(Corrupt(format!(
                "entry {} of kind `{other}` is none of a waiver",
                entry.sequence
            ))),
        }
    }

    fn index(&self, row: &Row) -> Vec<(&'static str, String)> {
        let text = |name: &str| row.value.get(name).and_then(Value::as_str).unwrap_or_default();
        let mut values = vec![("page", page(&row.key))];
        if text("state") == "active" {
            values.push(("active", "yes".to_owned()));
            values.push(("session", text("session").to_owned()));
            values.push(("use", use_of(text("agent"), text("verb"), text("resource"))));
        }
        values
    }
}

fn grant(entry: &Entry, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let granted: Granted = body(entry)?;
    if rows::number(&granted.waiver) != entry.sequence {
        return Err(Corrupt(format!(
            "entry {} grants waiver `{}`, whose number is another",
            entry.sequence, granted.waiver
        )));
    }
    let view = WaiverView {
        id: granted.waiver,
        state: WaiverState::Active,
        approval: granted.approval,
        session: session_of(entry)?.to_owned(),
        agent: granted.agent,
        behalf: granted.behalf,
        delegation: granted.delegation,
        verb: granted.verb,
        resource: granted.resource,
        environment: granted.environment,
        effect: granted.effect,
        scope: granted.scope,
        granted: entry.timestamp,
        expires: granted.expires,
        by: granted.by,
        questions: granted.questions,
        asked: granted.asked,
        taint: granted.taint,
        ended_by: None,
        ended_at: None,
        ended_because: None,
    };
    rows::put(rows, &view.id, &view)
}

fn end(entry: &Entry, state: WaiverState, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let Ended { waiver, reason } = body(entry)?;
    let missing = || {
        Corrupt(format!(
            "entry {} ends waiver `{waiver}`, which is not there",
            entry.sequence
        ))
    };
    let view: WaiverView = rows::get(rows, &waiver)?.ok_or_else(missing)?;
    over(entry, view, state, reason, rows)
}

/// A stop of one session voids what was given in it, one of an agent what was given to chains with it; any
/// other voids every waiver, since whom it reaches is not known here.
fn stop(entry: &Entry, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let StopRaised { scope } = body(entry)?;
    let why = format!("stop of `{scope}`");
    match StopScope::parse(&scope) {
        Some(StopScope::Session(session)) => {
            let found = rows.find("session", &session)?;
            void(entry, found, |_| true, &why, rows)
        }
        Some(StopScope::Agent(agent)) => void_of(entry, &agent, &why, rows),
        _ => {
            let found = rows.find("active", "yes")?;
            void(entry, found, |_| true, &why, rows)
        }
    }
}

/// An agent that was suspended and resumed is asked about again.
fn gone(entry: &Entry, agent: &str, how: &str, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    void_of(entry, agent, &format!("agent `{agent}` was {how}"), rows)
}

/// Voids what was given to any chain with this agent on it.
fn void_of(entry: &Entry, agent: &str, why: &str, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let found = rows.find("active", "yes")?;
    let named = Principal::agent(agent).to_string();
    void(entry, found, |view| view.behalf.contains(&named), why, rows)
}

fn void(
    entry: &Entry,
    found: Vec<Row>,
    which: impl Fn(&WaiverView) -> bool,
    why: &str,
    rows: &mut dyn Rows,
) -> Result<(), Corrupt> {
    for row in found {
        let what = |error| Corrupt(format!("row `{}`: {error}", row.key));
        let view: WaiverView = serde_json::from_value(row.value).map_err(what)?;
        if which(&view) {
            over(entry, view, WaiverState::Void, Some(why.to_owned()), rows)?;
        }
    }
    Ok(())
}

fn over(
    entry: &Entry,
    mut view: WaiverView,
    state: WaiverState,
    reason: Option<String>,
    rows: &mut dyn Rows,
) -> Result<(), Corrupt> {
    view.state = view.state.after(state).ok_or_else(|| {
        Corrupt(format!(
            "entry {} ends waiver `{}`, which has ended",
            entry.sequence, view.id
        ))
    })?;
    view.ended_by = Some(entry.actor.clone());
    view.ended_at = Some(entry.timestamp);
    view.ended_because = reason.filter(|reason| !reason.is_empty());
    rows::put(rows, &view.id, &view)
}
