//! The projection `incidents`: what stands on the board, as a fold over `incident.` entries.
//!
//! A row is an [`IncidentView`] and what intake must know besides. One more row, [`NEWEST`], leads to
//! the incident that was opened last, and each incident to the one before it.

use crate::incident::{Event, IncidentView, Severity, Status};
use crate::intake::{self, Facts};
use policy::{Taints, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use store::{Applied, Corrupt, Projection, Row, Rows};

/// Name of the projection.
pub(crate) const NAME: &str = "incidents";
/// Key of the row that holds [`Newest`]. Sorts after every id.
pub(crate) const NEWEST: &str = "newest";

/// Kinds of the entries of intake and triage.
pub(crate) mod kind {
    pub const OPENED: &str = "incident.opened";
    pub const LOGGED: &str = "incident.logged";
    pub const ATTACHED: &str = "incident.attached";
    pub const REPEATED: &str = "incident.repeated";
    pub const RESOLVED: &str = "incident.resolved";
    pub const IGNORED: &str = "incident.ignored";
    pub const TRIAGED: &str = "incident.triaged";
    pub const CONCLUDED: &str = "incident.concluded";
    pub const DELIVERED: &str = "incident.delivered";
    pub const DELIVERY_FAILED: &str = "incident.delivery_failed";
    /// A channel took what tells of an approval or of odd behaviour.
    pub const TOLD: &str = "channel.told";
    pub const NOT_TOLD: &str = "channel.not_told";
}

/// Most fingerprints of an incident that are shown: the newest.
const FINGERPRINTS_MAX: usize = 2000;
/// Most relations by which an incident is found: the first.
pub(crate) const RELATIONS_MAX: usize = 100;

/// A row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    #[serde(flatten)]
    pub view: IncidentView,
    /// Sequence of the entry that opened it.
    pub entry: u64,
    /// Sequence of the newest entry of intake about it.
    pub told: u64,
    /// Sequence of the entry whose notification is investigated.
    pub notification: u64,
    /// When a repeat was last recorded.
    pub repeated: Option<Timestamp>,
    /// Fingerprints of alerts that fire.
    pub firing: BTreeSet<String>,
    pub relations: BTreeSet<String>,
    /// For search.
    pub labels: String,
    pub onset: Option<Timestamp>,
    /// Sequence of the entry whose payload is the summary.
    pub triaged: Option<u64>,
    /// Sequence of the newest entry by which its session ended or came to wait.
    #[serde(default)]
    pub moved: Option<u64>,
    /// Which [`Record::moved`] the summary holds for.
    #[serde(default)]
    pub concluded: Option<u64>,
    /// The incident that was opened before.
    pub before: Option<String>,
    /// What its text is made from: alerts, and what had entered the sessions that worked on it.
    pub taint: Taints,
}

impl Record {
    /// Whether it is to be investigated and nobody does.
    pub fn wants_session(&self) -> bool {
        self.view.status == Status::Investigating && self.view.sessions.is_empty()
    }
    /// Whether its session ended or came to wait, and no summary is of that.
    pub fn wants_summary(&self) -> bool {
        self.moved > self.concluded
    }
}

/// The incident that was opened last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Newest {
    pub id: String,
    pub day: String,
    pub number: u64,
}

/// Body of [`kind::OPENED`], [`kind::LOGGED`] and [`kind::ATTACHED`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Told {
    pub incident: String,
    pub trigger: String,
    #[serde(flatten)]
    pub facts: Facts,
    /// The incident became worse than it was.
    #[serde(default)]
    pub escalates: bool,
    /// Repeats that were counted since the last entry.
    pub repeats: u64,
    /// On opening: day and number of the id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<(String, u64)>,
}

/// Body of [`kind::REPEATED`] and [`kind::RESOLVED`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Same {
    pub incident: String,
    pub trigger: String,
    /// Repeats that were counted since the last entry, this one among them.
    pub repeats: u64,
    /// Fingerprints that ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resolved: Vec<String>,
    /// What ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolution: Option<Resolution>,
}

/// What ended an incident, in words, and what had entered the sessions that these are of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Resolution {
    pub text: String,
    pub taint: Taints,
}

/// Body of [`kind::TRIAGED`]; the summary is its payload `summary`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Triaged {
    pub incident: String,
    pub severity: Severity,
    pub partial: bool,
    pub observations: usize,
    /// Observations that cited no entry of their session, and were left out.
    pub uncited: u64,
    /// Where it is delivered.
    pub channels: Vec<String>,
    /// What had entered its session, and the incident before.
    pub taint: Taints,
    /// When the incident was resolved before: what ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolution: Option<Resolution>,
    /// Sequence of the entry by which the session ended or came to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concludes: Option<u64>,
}

/// Body of [`kind::CONCLUDED`]: the session moved on, and the summary says what it said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Concluded {
    pub incident: String,
    /// What had entered its session.
    pub taint: Taints,
    /// Sequence of the entry by which the session ended or came to wait.
    pub concludes: Option<u64>,
}

/// The fold.
pub(crate) struct Board;

impl Projection for Board {
    fn name(&self) -> &'static str {
        NAME
    }
    fn kinds(&self) -> &'static [&'static str] {
        &[
            kind::OPENED,
            kind::LOGGED,
            kind::ATTACHED,
            kind::REPEATED,
            kind::RESOLVED,
            kind::TRIAGED,
            kind::CONCLUDED,
            journal::kind::SESSION_CREATED,
            journal::kind::SESSION_WAITING,
            journal::kind::SESSION_COMPLETED,
            journal::kind::SESSION_FAILED,
            journal::kind::SESSION_CANCELLED,
            journal::kind::PAYLOAD_ERASED,
        ]
    }
    fn apply(&self, applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
        match applied.entry.kind.as_str() {
            kind::OPENED => open(applied, rows, Status::Investigating),
            kind::LOGGED => open(applied, rows, Status::Logged),
            kind::ATTACHED => attach(applied, rows),
            kind::REPEATED => repeat(applied, rows),
            kind::RESOLVED => resolve(applied, rows),
            kind::TRIAGED => triage(applied, rows),
            kind::CONCLUDED => conclude(applied, rows),
            journal::kind::SESSION_CREATED => investigate(applied, rows),
            journal::kind::SESSION_WAITING
            | journal::kind::SESSION_COMPLETED
            | journal::kind::SESSION_FAILED
            | journal::kind::SESSION_CANCELLED => move_on(applied, rows),
            journal::kind::PAYLOAD_ERASED => erase(applied, rows),
            _ => Ok(()),
        }
    }
    fn index(&self, row: &Row) -> Vec<(&'static str, String)> {
        let Ok(record) = read::<Record>(row.value.clone()) else {
            return Vec::new();
        };
        let view = &record.view;
        let mut index = vec![("status", view.status.as_str().to_owned())];
        index.extend(record.triaged.map(|entry| ("triaged", entry.to_string())));
        if record.wants_session() {
            index.push(("wants", "session".to_owned()));
        }
        if record.wants_summary() {
            index.push(("wants", "summary".to_owned()));
        }
        if view.status != Status::Resolved {
            index.push(("open", intake::group_key(&view.trigger, &view.group_key)));
            index.extend(
                record
                    .firing
                    .iter()
                    .map(|print| ("open", intake::fingerprint_key(&view.trigger, print))),
            );
            index.extend(
                record
                    .relations
                    .iter()
                    .map(|name| ("open", intake::relation_key(&view.trigger, name))),
            );
        }
        index
    }
    fn text(&self, row: &Row) -> Option<String> {
        let record = read::<Record>(row.value.clone()).ok()?;
        let summary = &record.view.summary;
        let mut text = vec![record.view.title.as_str(), &record.labels];
        text.extend(record.view.resolution.as_deref());
        text.extend(summary.get("summary").and_then(Value::as_str));
        let actions = summary.get("suggested_actions").and_then(Value::as_array);
        text.extend(actions.into_iter().flatten().filter_map(Value::as_str));
        Some(text.join("\n"))
    }
}

/// A row or a body as its type.
pub(crate) fn read<T: DeserializeOwned>(value: Value) -> Result<T, Corrupt> {
    serde_json::from_value(value).map_err(|error| Corrupt(format!("not of the form of an incident: {error}")))
}

fn write(rows: &mut dyn Rows, record: &Record) -> Result<(), Corrupt> {
    let value = serde_json::to_value(record).map_err(|error| Corrupt(error.to_string()))?;
    rows.put(&record.view.id, value)
}

fn get(rows: &dyn Rows, id: &str) -> Result<Record, Corrupt> {
    read(
        rows.get(id)?
            .ok_or_else(|| Corrupt(format!("no incident `{id}`")))?,
    )
}

/// Moves a record and notes when.
fn step(record: &mut Record, event: Event, at: Timestamp) -> Result<(), Corrupt> {
    record.view.status = record
        .view
        .status
        .after(event)
        .map_err(|error| Corrupt(error.to_string()))?;
    record.view.updated = at;
    Ok(())
}

fn open(applied: &Applied<'_>, rows: &mut dyn Rows, status: Status) -> Result<(), Corrupt> {
    let entry = applied.entry;
    let told: Told = read(entry.body.clone())?;
    if rows.get(&told.incident)?.is_some() {
        return Err(Corrupt(format!("incident `{}` is there already", told.incident)));
    }
    let (day, number) = told
        .number
        .ok_or_else(|| Corrupt("an incident without a number".to_owned()))?;
    let before = rows.get(NEWEST)?.map(read::<Newest>).transpose()?;
    let newest = Newest {
        id: told.incident.clone(),
        day,
        number,
    };
    let facts = told.facts;
    let record = Record {
        view: IncidentView {
            id: told.incident,
            severity: facts.severity,
            status,
            title: facts.title,
            triggered_by: facts.triggered_by,
            trigger: told.trigger,
            group_key: facts.group,
            fingerprints: facts.firing.clone(),
            opened: entry.timestamp,
            updated: entry.timestamp,
            resolved: None,
            repeats: 0,
            sessions: Vec::new(),
            summary: Value::Null,
            resolution: None,
        },
        entry: entry.sequence,
        told: entry.sequence,
        notification: entry.sequence,
        repeated: None,
        firing: facts.firing.into_iter().collect(),
        relations: facts.relations.into_iter().collect(),
        labels: facts.labels,
        onset: facts.onset,
        triaged: None,
        moved: None,
        concluded: None,
        before: before.map(|newest| newest.id),
        // The text of alerts is whatever somebody outside wrote.
        taint: Taints::UNTRUSTED,
    };
    write(rows, &record)?;
    rows.put(NEWEST, json!(newest))
}

fn attach(applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let entry = applied.entry;
    let told: Told = read(entry.body.clone())?;
    let mut record = get(rows, &told.incident)?;
    let investigates = told.escalates && told.facts.severity > Severity::Info;
    if investigates && record.view.status == Status::Logged {
        // What is investigated is what made it worth that.
        record.notification = entry.sequence;
        record.onset = told.facts.onset.or(record.onset);
    }
    step(
        &mut record,
        if investigates {
            Event::Escalate
        } else {
            Event::Attach
        },
        entry.timestamp,
    )?;
    record.told = entry.sequence;
    record.view.repeats += told.repeats;
    if told.escalates {
        record.view.severity = told.facts.severity;
    }
    for print in told.facts.firing {
        if !record.view.fingerprints.contains(&print) {
            record.view.fingerprints.push(print.clone());
        }
        record.firing.insert(print);
    }
    for print in &told.facts.resolved {
        record.firing.remove(print);
    }
    let shown = record.view.fingerprints.len();
    record
        .view
        .fingerprints
        .drain(..shown.saturating_sub(FINGERPRINTS_MAX));
    let room = RELATIONS_MAX.saturating_sub(record.relations.len());
    let relations = told.facts.relations.into_iter();
    let new = relations.filter(|relation| !record.relations.contains(relation));
    let new: Vec<String> = new.take(room).collect();
    record.relations.extend(new);
    write(rows, &record)
}

fn repeat(applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let same: Same = read(applied.entry.body.clone())?;
    let mut record = get(rows, &same.incident)?;
    record.told = applied.entry.sequence;
    record.repeated = Some(applied.entry.timestamp);
    record.view.repeats += same.repeats;
    write(rows, &record)
}

fn resolve(applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let same: Same = read(applied.entry.body.clone())?;
    let mut record = get(rows, &same.incident)?;
    step(&mut record, Event::Resolve, applied.entry.timestamp)?;
    record.told = applied.entry.sequence;
    record.view.repeats += same.repeats;
    record.view.resolved = Some(applied.entry.timestamp);
    if let Some(Resolution { text, taint }) = same.resolution {
        record.view.resolution = Some(text);
        record.taint = record.taint.and(taint);
    }
    record.firing.clear();
    write(rows, &record)
}

fn triage(applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let triaged: Triaged = read(applied.entry.body.clone())?;
    let mut record = get(rows, &triaged.incident)?;
    step(&mut record, Event::Triage, applied.entry.timestamp)?;
    record.triaged = Some(applied.entry.sequence);
    record.concluded = record.concluded.max(triaged.concludes);
    record.view.summary = applied.payload("summary").cloned().unwrap_or(Value::Null);
    record.taint = record.taint.and(triaged.taint);
    if let Some(Resolution { text, taint }) = triaged.resolution {
        record.view.resolution = Some(text);
        record.taint = record.taint.and(taint);
    }
    write(rows, &record)
}

fn conclude(applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let concluded: Concluded = read(applied.entry.body.clone())?;
    let mut record = get(rows, &concluded.incident)?;
    record.concluded = record.concluded.max(concluded.concludes);
    record.taint = record.taint.and(concluded.taint);
    write(rows, &record)
}

/// The session of an incident ended or waits: that wants a summary.
fn move_on(applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let entry = applied.entry;
    let (Some(incident), Some(session)) = (&entry.correlation, &entry.session) else {
        return Ok(());
    };
    let row = rows.get(incident)?.filter(|_| incident != NEWEST);
    let Some(mut record) = row.map(read::<Record>).transpose()? else {
        return Ok(());
    };
    if record.view.sessions.contains(session) {
        record.moved = Some(entry.sequence);
        write(rows, &record)?;
    }
    Ok(())
}

/// The idempotency key of the session that investigates `incident`. Nobody outside can give this key:
/// those of tasks have a prefix of their own.
pub(crate) fn investigation_key(incident: &str) -> String {
    format!("incident/{incident}/1")
}

/// The session that was queued to investigate an incident belongs to it; none else does, whatever its
/// correlation.
fn investigate(applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let entry = applied.entry;
    let key = entry.body.get("idempotency_key").and_then(Value::as_str);
    let (Some(incident), Some(session)) = (&entry.correlation, &entry.session) else {
        return Ok(());
    };
    if key != Some(investigation_key(incident).as_str()) || incident == NEWEST {
        return Ok(());
    }
    let Some(row) = rows.get(incident)? else {
        return Ok(());
    };
    let mut record: Record = read(row)?;
    if !record.view.sessions.contains(session) {
        record.view.sessions.push(session.clone());
    }
    write(rows, &record)
}

fn erase(applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let Some(erased) = applied.entry.body.get("of").and_then(Value::as_u64) else {
        return Ok(());
    };
    for row in rows.find("triaged", &erased.to_string())? {
        let mut record: Record = read(row.value)?;
        record.view.summary = Value::Null;
        write(rows, &record)?;
    }
    Ok(())
}
