//! Makes a summary of what a session said and did.
//!
//! Pure. What the runbook put out is read tolerantly; what it left out is taken from the recorded
//! calls, so that any runbook, finished or not, gives a summary.
//!
//! Invariant: **every statement cites an entry of its session that records a permitted action.** One
//! that does not is left out and counted.

use crate::board::Record;
use crate::summary::{Change, Observation, Similar, Summary};
use assay::redact;
use gate::CallView;
use journal::machine::{Call, Session};
use policy::{Effect, Outcome, Timestamp};
use serde_json::Value;
use std::collections::BTreeSet;

/// Longest text of a summary, in characters.
const TEXT_MAX: usize = 500;
/// Most observations, changes, similar incidents, suggested actions.
const OBSERVATIONS_MAX: usize = 50;
const CHANGES_MAX: usize = 20;
const SIMILAR_MAX: usize = 10;
const ACTIONS_MAX: usize = 20;

/// A session as the summary sees it.
pub(crate) struct Run<'a> {
    pub session: &'a str,
    pub state: Session,
    /// Why it waits or failed.
    pub reason: Option<&'a str>,
    /// With their recorded results.
    pub calls: &'a [(CallView, Option<Value>)],
    pub output: Option<&'a Value>,
    /// The time box ran out or the run stopped early.
    pub partial: bool,
}

/// The summary of `run` for the incident, made at `now`.
pub(crate) fn compose(record: &Record, run: &Run<'_>, now: Timestamp) -> Summary {
    let mut cited = Cited::of(run);
    let stated = observations(run, &mut cited);
    let observations = if stated.is_empty() {
        recorded_observations(run)
    } else {
        stated
    };
    let onset = record.onset.unwrap_or(record.view.opened);
    let given = changes(items(run.output, "changes"), onset, &mut cited, None);
    let mut changes = if given.is_empty() {
        recorded_changes(run, onset, &mut cited)
    } else {
        given
    };
    // Before the onset, the last one first; then what came after it.
    changes.sort_by_key(|change| {
        (
            change.before_onset_seconds < 0,
            change.before_onset_seconds.unsigned_abs(),
        )
    });
    changes.truncate(CHANGES_MAX);
    let given = similar(items(run.output, "similar"), &mut cited, None);
    let similar = if given.is_empty() {
        recorded_similar(run, &mut cited)
    } else {
        given
    };
    let suggested = items(run.output, "suggestions").iter().filter_map(Value::as_str);
    let partial = run.partial || matches!(run.state, Session::Failed | Session::Cancelled);
    Summary {
        incident_id: record.view.id.clone(),
        triggered_by: record.view.triggered_by.clone(),
        timestamp: now,
        severity: record.view.severity,
        summary: stated_text(run).unwrap_or_else(|| recorded_text(record, run)),
        observations,
        changes,
        similar_incidents: similar.into_iter().take(SIMILAR_MAX).collect(),
        suggested_actions: suggested
            .map(clean)
            .filter(|text| !text.is_empty())
            .take(ACTIONS_MAX)
            .collect(),
        partial,
        session: run.session.to_owned(),
        uncited: cited.missing,
    }
}

/// What ended an incident: the changes of its sessions that were made and worked, with who approved
/// them. `approved_by` names that person.
pub(crate) fn resolution(calls: &[CallView], approved_by: impl Fn(&str) -> Option<String>) -> Option<String> {
    let done = calls
        .iter()
        .filter(|call| call.effect != Effect::Read && call.outcome == Some(Outcome::Success));
    let told = done.map(|call| {
        let what = match call.summary.as_deref().filter(|text| !text.is_empty()) {
            Some(said) => format!("{} {}: {said}", call.verb, call.resource),
            None => format!("{} {}", call.verb, call.resource),
        };
        match call.approval.as_deref().and_then(&approved_by) {
            Some(person) => format!("{what} by approval of {person}"),
            None => what,
        }
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| redact::line(&told.join("; "), TEXT_MAX))
}

/// The entries that may be cited, and how often something else was.
struct Cited {
    entries: BTreeSet<u64>,
    missing: u64,
}

impl Cited {
    fn of(run: &Run<'_>) -> Cited {
        let permitted = run.calls.iter().filter(|(call, _)| call.permit.is_some());
        let entries = permitted
            .flat_map(|(call, _)| [call.permit, call.settled])
            .flatten()
            .collect();
        Cited { entries, missing: 0 }
    }
    /// The entry that `item` cites, if it may.
    fn entry(&mut self, item: &Value) -> Option<u64> {
        let entry = item
            .get("entry")
            .and_then(Value::as_u64)
            .filter(|entry| self.entries.contains(entry));
        self.missing += u64::from(entry.is_none());
        entry
    }
}

fn clean(text: &str) -> String {
    redact::line(text, TEXT_MAX)
}

fn items<'a>(value: Option<&'a Value>, member: &str) -> &'a [Value] {
    value
        .and_then(|value| value.get(member))
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The first of these members that is a text, or an object with a `name` that is one.
fn text(item: &Value, members: &[&str]) -> Option<String> {
    let found = members.iter().find_map(|member| {
        let value = item.get(member)?;
        value
            .as_str()
            .or_else(|| value.get("name").and_then(Value::as_str))
    });
    found.map(clean).filter(|text| !text.is_empty())
}

fn stated_text(run: &Run<'_>) -> Option<String> {
    text(run.output?, &["summary"])
}

fn observations(run: &Run<'_>, cited: &mut Cited) -> Vec<Observation> {
    let stated = items(run.output, "observations").iter().filter_map(|item| {
        let text = text(item, &["text"])?;
        Some(Observation {
            text,
            entry: cited.entry(item)?,
        })
    });
    stated.take(OBSERVATIONS_MAX).collect()
}

/// What each call gave, in its own summary's words.
fn recorded_observations(run: &Run<'_>) -> Vec<Observation> {
    let worked = settled(run).filter_map(|(call, _, entry)| {
        let said = call.summary.as_deref().filter(|text| !text.is_empty())?;
        Some(Observation {
            text: clean(&format!("{} {}: {said}", call.verb, call.resource)),
            entry,
        })
    });
    worked.take(OBSERVATIONS_MAX).collect()
}

/// The calls that worked, with their results and the entries that hold them.
fn settled<'a>(run: &'a Run<'_>) -> impl Iterator<Item = (&'a CallView, Option<&'a Value>, u64)> {
    let worked = run.calls.iter().filter(|(call, _)| {
        call.state == Call::Settled && matches!(call.outcome, Some(Outcome::Success | Outcome::Partial))
    });
    worked.filter_map(|(call, result)| Some((call, result.as_ref(), call.settled.or(call.permit)?)))
}

/// One statement that names what was done, refused and left undone.
fn recorded_text(record: &Record, run: &Run<'_>) -> String {
    let done = settled(run).count();
    let refused = run
        .calls
        .iter()
        .filter(|(call, _)| call.state == Call::Denied)
        .count();
    let why = run.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let end = match run.state {
        Session::Completed if !run.partial => "the investigation finished".to_owned(),
        Session::Completed => format!("the investigation stopped early{why}"),
        Session::Failed => format!("the investigation failed{why}"),
        Session::Cancelled => format!("the investigation was cancelled{why}"),
        Session::Waiting => format!("the investigation waits for a person{why}"),
        Session::Created | Session::Queued | Session::Running => "the investigation goes on".to_owned(),
    };
    clean(&format!(
        "{}. {done} actions recorded, {refused} refused; {end}",
        record.view.title
    ))
}

/// Changes as given by the output (each cites its entry) or by a call's result at `entry`.
fn changes(items: &[Value], onset: Timestamp, cited: &mut Cited, entry: Option<u64>) -> Vec<Change> {
    let read = items.iter().filter_map(|item| {
        let at = Timestamp::parse(&text(item, &["at", "date", "committed", "time", "timestamp"])?)?;
        Some(Change {
            commit: text(item, &["commit", "sha", "hash", "id"])?,
            author: text(item, &["author"]).unwrap_or_default(),
            title: text(item, &["title", "subject", "message"]).unwrap_or_default(),
            at,
            before_onset_seconds: onset.since_ms(at).div_euclid(1000),
            entry: entry.or_else(|| cited.entry(item))?,
        })
    });
    read.collect()
}

fn recorded_changes(run: &Run<'_>, onset: Timestamp, cited: &mut Cited) -> Vec<Change> {
    let logs = settled(run).filter(|(call, ..)| call.verb == "git.log");
    let mut seen = BTreeSet::new();
    let all =
        logs.flat_map(|(_, result, entry)| changes(items(result, "commits"), onset, cited, Some(entry)));
    all.filter(|change| seen.insert(change.commit.clone())).collect()
}

fn similar(items: &[Value], cited: &mut Cited, entry: Option<u64>) -> Vec<Similar> {
    let read = items.iter().filter_map(|item| {
        Some(Similar {
            id: text(item, &["id"])?,
            title: text(item, &["title"]).unwrap_or_default(),
            resolution: text(item, &["resolution"]),
            entry: entry.or_else(|| cited.entry(item))?,
        })
    });
    read.collect()
}

fn recorded_similar(run: &Run<'_>, cited: &mut Cited) -> Vec<Similar> {
    let searches = settled(run).filter(|(call, ..)| call.verb == "incidents.search");
    let mut seen = BTreeSet::new();
    let all = searches.flat_map(|(_, result, entry)| similar(items(result, "incidents"), cited, Some(entry)));
    all.filter(|one| seen.insert(one.id.clone())).collect()
}

#[cfg(test)]
mod tests;
