//! What a notification means, given the incidents that are open.
//!
//! Pure: it reads a notification and looks up incidents through a function; what it returns is
//! recorded by `triage` and applied by `board`. All text in it comes from outside and has been
//! redacted, freed of control characters and cut, because it goes into leaves.
//!
//! One notification is about one incident: the open one of the same group, else the one that has one
//! of its alerts, else one that is related. Alerts in it that ended are taken off every open incident
//! that has them.

use crate::board::Record;
use crate::incident::Severity;
use assay::alertmanager::{Alert, Notification, Status};
use assay::redact;
use policy::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use store::StoreError;

/// Longest text of the outside in a leaf, in characters.
const TEXT_MAX: usize = 200;
/// Most relations of one notification in a leaf.
const RELATIONS_MAX: usize = 20;

/// Most alerts of one incident that are told apart. A group that never ends and always has other alerts
/// costs the journal's thread no more than this.
const FIRING_MAX: usize = 2000;

/// What a leaf holds of a notification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// Of the worst alert that fires.
    pub severity: Severity,
    pub title: String,
    pub triggered_by: String,
    /// Labels of the first alert, for search.
    pub labels: String,
    pub group: String,
    /// Fingerprints.
    pub firing: Vec<String>,
    /// Fingerprints.
    pub resolved: Vec<String>,
    /// What relates it to other incidents: `alertname=HighErrors,job=patient`.
    pub relations: Vec<String>,
    /// When the first of its alerts began.
    pub onset: Option<Timestamp>,
    /// Alerts that Alertmanager left out.
    pub truncated: u64,
}

impl Facts {
    /// Of `notification`; `related_by` as in the trigger.
    pub fn of(notification: &Notification, related_by: &[String]) -> Facts {
        let is = |status: Status| {
            notification
                .alerts
                .iter()
                .filter(move |alert| alert.status == status)
        };
        let prints = |status| is(status).map(|alert| alert.fingerprint.clone()).collect();
        let worst = is(Status::Firing).min_by_key(|alert| rank(alert));
        let first = worst.or(notification.alerts.first());
        let relations: BTreeSet<String> = is(Status::Firing)
            .filter_map(|alert| relation(alert, related_by))
            .take(RELATIONS_MAX)
            .collect();
        Facts {
            severity: first.map_or(Severity::Warning, Severity::of),
            title: first.map(title).unwrap_or_default(),
            triggered_by: first.map(triggered_by).unwrap_or_default(),
            labels: first.map(labels).unwrap_or_default(),
            group: name(&notification.group_key),
            firing: prints(Status::Firing),
            resolved: prints(Status::Resolved),
            relations: relations.into_iter().collect(),
            onset: is(Status::Firing)
                .filter_map(|alert| Timestamp::parse(&alert.starts_at))
                .min(),
            truncated: notification.truncated_alerts,
        }
    }
}

/// Smallest for the alert that an incident is named after: the worst, and of those the first to begin.
pub(crate) fn rank(alert: &Alert) -> (std::cmp::Reverse<Severity>, Option<Timestamp>, String) {
    (
        std::cmp::Reverse(Severity::of(alert)),
        Timestamp::parse(&alert.starts_at),
        alert.fingerprint.clone(),
    )
}

fn label<'a>(alert: &'a Alert, name: &str) -> Option<&'a str> {
    alert
        .labels
        .get(name)
        .map(String::as_str)
        .filter(|text| !text.is_empty())
}

fn title(alert: &Alert) -> String {
    let name = label(alert, "alertname").unwrap_or("alert without a name");
    let said = ["summary", "title", "description"]
        .iter()
        .find_map(|name| alert.annotations.get(*name));
    redact::line(
        &said.map_or(name.to_owned(), |said| format!("{name}: {said}")),
        TEXT_MAX,
    )
}

fn triggered_by(alert: &Alert) -> String {
    let name = label(alert, "alertname").unwrap_or("unnamed");
    let instance = ["instance", "pod", "service", "job", "host"]
        .iter()
        .find_map(|name| label(alert, name));
    redact::line(
        &format!("alert/{name}/{}", instance.unwrap_or(&alert.fingerprint)),
        TEXT_MAX,
    )
}

fn labels(alert: &Alert) -> String {
    let pairs = alert.labels.iter().map(|(name, value)| format!("{name}={value}"));
    redact::line(&pairs.collect::<Vec<_>>().join(" "), TEXT_MAX)
}

/// The labels that relate an alert to others, with their values; none when one of them is missing.
/// By default `alertname` and the first of `service`, `job`, `instance` that the alert has.
fn relation(alert: &Alert, related_by: &[String]) -> Option<String> {
    let names: Vec<&str> = if related_by.is_empty() {
        let place = ["service", "job", "instance"]
            .into_iter()
            .find(|name| label(alert, name).is_some())?;
        vec!["alertname", place]
    } else {
        related_by.iter().map(String::as_str).collect()
    };
    let pair = |n: &&str| label(alert, n).map(|value| format!("{n}={value}"));
    let pairs: Option<Vec<String>> = names.iter().map(pair).collect();
    Some(name(&pairs?.join(",")))
}

/// `text` as a leaf may hold it. What redaction or the limit changed gets a digest of the whole, so
/// that different texts stay different.
fn name(text: &str) -> String {
    let shown = redact::line(text, TEXT_MAX);
    if shown == text {
        return shown;
    }
    let digest = policy::canonical::hex(&Sha256::digest(text.as_bytes()));
    format!("{shown}#{}", digest.get(..16).unwrap_or_default())
}

/// What a notification changes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// A new incident, which is investigated unless it is info.
    Open,
    /// News of an open one.
    Attach {
        incident: String,
        firing: Vec<String>,
        resolved: Vec<String>,
        escalates: bool,
    },
    /// Nothing new of an open one.
    Repeat { incident: String },
    /// The last alerts of an open one ended.
    Resolve { incident: String, resolved: Vec<String> },
}

/// Weighs `facts` against the open incidents, which `open` finds by one of the keys of `board`.
/// The first change is the one that the sender is told of; none at all means that nothing known ended.
pub(crate) fn weigh(
    trigger: &str,
    facts: &Facts,
    open: impl Fn(&str) -> Result<Vec<Record>, StoreError>,
) -> Result<Vec<Change>, StoreError> {
    let Concerned { target, holders } = concerned(trigger, facts, open)?;
    let mut changes = Vec::new();
    if !facts.firing.is_empty() {
        changes.push(
            target
                .as_ref()
                .map_or(Change::Open, |record| more_of(record, facts)),
        );
    }
    for record in holders {
        let resolved: BTreeSet<&String> = facts
            .resolved
            .iter()
            .filter(|print| record.firing.contains(*print))
            .collect();
        let all = resolved.len() == record.firing.len();
        let resolved: Vec<String> = resolved.into_iter().cloned().collect();
        let incident = record.view.id;
        changes.push(if all {
            Change::Resolve { incident, resolved }
        } else {
            Change::Attach {
                incident,
                firing: Vec::new(),
                resolved,
                escalates: false,
            }
        });
    }
    Ok(changes)
}

/// The open incidents that a notification is about.
pub(crate) struct Concerned {
    /// What its firing alerts belong to, if it is there already.
    pub target: Option<Record>,
    /// Those, but for the target when something fires, that have alerts which ended.
    pub holders: Vec<Record>,
}

/// Finds them. An alert that groups share may fire in several incidents; it is taken off those that are
/// found on the way, and off the others when their own group tells that it ended.
pub(crate) fn concerned(
    trigger: &str,
    facts: &Facts,
    open: impl Fn(&str) -> Result<Vec<Record>, StoreError>,
) -> Result<Concerned, StoreError> {
    let target = target(trigger, facts, &open)?;
    let mut found: Vec<Record> = target.iter().cloned().collect();
    for print in &facts.resolved {
        if !found.iter().any(|record| record.firing.contains(print)) {
            found.extend(open(&fingerprint_key(trigger, print))?);
        }
    }
    let fires = !facts.firing.is_empty();
    let own = |record: &Record| target.as_ref().is_some_and(|target| target.entry == record.entry);
    let ends = |record: &Record| facts.resolved.iter().any(|print| record.firing.contains(print));
    found.retain(|record| ends(record) && !(fires && own(record)));
    Ok(Concerned {
        target,
        holders: found,
    })
}

/// What a notification in which something fires tells about an incident that is open.
fn more_of(record: &Record, facts: &Facts) -> Change {
    let incident = record.view.id.clone();
    let resolved: Vec<String> = facts
        .resolved
        .iter()
        .filter(|print| record.firing.contains(*print))
        .cloned()
        .collect();
    // What finds no room is a repeat, and keeps no incident open.
    let room = (FIRING_MAX + resolved.len()).saturating_sub(record.firing.len());
    let firing: Vec<String> = facts
        .firing
        .iter()
        .filter(|print| !record.firing.contains(*print))
        .take(room)
        .cloned()
        .collect();
    let escalates = facts.severity > record.view.severity;
    if firing.is_empty() && resolved.is_empty() && !escalates {
        Change::Repeat { incident }
    } else {
        Change::Attach {
            incident,
            firing,
            resolved,
            escalates,
        }
    }
}

fn target(
    trigger: &str,
    facts: &Facts,
    open: &impl Fn(&str) -> Result<Vec<Record>, StoreError>,
) -> Result<Option<Record>, StoreError> {
    let by_group = std::iter::once(group_key(trigger, &facts.group));
    let by_print = facts.firing.iter().map(|print| fingerprint_key(trigger, print));
    let by_relation = facts
        .relations
        .iter()
        .map(|relation| relation_key(trigger, relation));
    for key in by_group.chain(by_print).chain(by_relation) {
        // The oldest: what came first is what is investigated.
        if let Some(record) = open(&key)?.into_iter().min_by_key(|record| record.entry) {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

/// A key of the index `open`: incidents of this trigger and group that are not resolved.
pub(crate) fn group_key(trigger: &str, group: &str) -> String {
    format!("{trigger} group {group}")
}

/// The same by an alert that fires in them.
pub(crate) fn fingerprint_key(trigger: &str, print: &str) -> String {
    format!("{trigger} alert {print}")
}

/// The same by what relates them.
pub(crate) fn relation_key(trigger: &str, relation: &str) -> String {
    format!("{trigger} related {relation}")
}
