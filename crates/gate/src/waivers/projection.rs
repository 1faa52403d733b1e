//! Waivers, as the fold over their entries and over stops.

use super::{EXPIRED, GRANTED, REVOKED, WAIVERS, WaiverState, WaiverView, use_of};
use crate::rows::{self, body, page, session_of};
use journal::{Entry, kind};
use policy::{Effect, Stages, Taints, Timestamp, WaiverScope};
use serde::Deserialize;
use serde_json::Value;
use store::{Applied, Corrupt, Projection, Row, Rows};

#[derive(Deserialize)]
struct Granted {
    waiver: String,
    approval: String,
    agent: String,
    verb: String,
    resource: String,
    environment: String,
    effect: Effect,
    scope: WaiverScope,
    expires: Option<Timestamp>,
    by: Vec<String>,
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

/// Rows are [`WaiverView`]s, by id.
pub(crate) struct Waivers;

impl Projection for Waivers {
    fn name(&self) -> &'static str {
        WAIVERS
    }

    fn kinds(&self) -> &'static [&'static str] {
        &["waiver.", kind::STOP_RAISED]
    }

    fn apply(&self, applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
        let entry = applied.entry;
        match entry.kind.as_str() {
            GRANTED => grant(entry, rows),
            REVOKED => end(entry, WaiverState::Revoked, rows),
            EXPIRED => end(entry, WaiverState::Expired, rows),
            kind::STOP_RAISED => void(entry, rows),
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
        verb: granted.verb,
        resource: granted.resource,
        environment: granted.environment,
        effect: granted.effect,
        scope: granted.scope,
        granted: entry.timestamp,
        expires: granted.expires,
        by: granted.by,
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

/// A stop of one session voids what was given in it; any other voids every waiver, since whom it reaches is
/// not known here.
fn void(entry: &Entry, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let StopRaised { scope } = body(entry)?;
    let found = match scope.strip_prefix("session:") {
        Some(session) => rows.find("session", session)?,
        None => rows.find("active", "yes")?,
    };
    for row in found {
        let what = |error| Corrupt(format!("row `{}`: {error}", row.key));
        let view: WaiverView = serde_json::from_value(row.value).map_err(what)?;
        over(
            entry,
            view,
            WaiverState::Void,
            Some(format!("stop of `{scope}`")),
            rows,
        )?;
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
