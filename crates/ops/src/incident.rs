//! Incidents: their severity, their machine, their ids, and how they are shown.
//!
//! Pure. Nothing here decides what a notification means; that is `intake`.

use assay::alertmanager::Alert;
use policy::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub enum Severity {
    Info,
    Warning,
    Critical,
}

impl Severity {
    /// From the label `severity`. A word that nobody knows is a warning: seen, and no one is woken.
    pub fn of(alert: &Alert) -> Severity {
        match alert
            .labels
            .get("severity")
            .map(|text| text.to_ascii_lowercase())
            .as_deref()
        {
            Some("critical" | "page" | "error") => Severity::Critical,
            Some("info" | "none" | "debug") => Severity::Info,
            _ => Severity::Warning,
        }
    }
    /// As in documents: `critical`.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// Where an incident stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Recorded; nobody investigates (severity info).
    Logged,
    /// A triage session is queued or runs.
    Investigating,
    /// Has a summary; still firing.
    Triaged,
    /// No alert of it fires any more.
    Resolved,
}

/// What happens to an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// More of it: another alert, an alert less, a repeat.
    Attach,
    /// It became worse than info.
    Escalate,
    /// A summary was made.
    Triage,
    /// The last alert of it ended.
    Resolve,
}

/// An event that a status does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} cannot happen to an incident that is {status:?}")]
pub struct IllegalEvent {
    /// Where it stood.
    pub status: Status,
    /// What came.
    pub event: Event,
}

impl Status {
    /// The only place an incident changes status: live and in replay. A resolved one stays resolved;
    /// when it fires again that is another incident, with its own investigation.
    pub fn after(self, event: Event) -> Result<Status, IllegalEvent> {
        Ok(match (self, event) {
            (Status::Logged, Event::Attach) => Status::Logged,
            (Status::Logged, Event::Escalate) => Status::Investigating,
            (Status::Investigating, Event::Attach | Event::Escalate) => Status::Investigating,
            (Status::Investigating, Event::Triage) => Status::Triaged,
            (Status::Triaged, Event::Attach | Event::Escalate | Event::Triage) => Status::Triaged,
            (Status::Logged | Status::Investigating | Status::Triaged, Event::Resolve) => Status::Resolved,
            // The investigation outlived the alert; its summary is worth having all the same.
            (Status::Resolved, Event::Triage) => Status::Resolved,
            (status, event) => return Err(IllegalEvent { status, event }),
        })
    }
    /// As in documents: `triaged`.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Logged => "logged",
            Status::Investigating => "investigating",
            Status::Triaged => "triaged",
            Status::Resolved => "resolved",
        }
    }
}

/// An incident as shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub struct IncidentView {
    /// `INC-2026-1121-001`: date and number of the day.
    pub id: String,
    pub severity: Severity,
    pub status: Status,
    pub title: String,
    /// `alert/NAME/INSTANCE`.
    pub triggered_by: String,
    pub trigger: String,
    pub group_key: String,
    pub fingerprints: Vec<String>,
    pub opened: Timestamp,
    pub updated: Timestamp,
    pub resolved: Option<Timestamp>,
    /// Notifications that told nothing new.
    pub repeats: u64,
    pub sessions: Vec<String>,
    /// See [`crate::summary::Summary`]; null until there is one.
    pub summary: Value,
    /// What ended it, in words: from the changes that were approved and done.
    pub resolution: Option<String>,
}

/// `INC-YYYY-MMDD-NNN` for the `number`-th incident of the UTC day of `now` (S2-9.7.4f).
pub fn id(now: Timestamp, number: u64) -> String {
    format!("INC-{}-{number:03}", day(now))
}

/// The UTC day of `now` as it stands in ids: `2026-1121`.
pub fn day(now: Timestamp) -> String {
    let text = now.to_string();
    let mut parts = text.get(..10).unwrap_or_default().splitn(3, '-');
    let (year, month, day) = (parts.next(), parts.next(), parts.next());
    format!(
        "{}-{}{}",
        year.unwrap_or_default(),
        month.unwrap_or_default(),
        day.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_status_meets_every_event() {
        let events = [Event::Attach, Event::Escalate, Event::Triage, Event::Resolve];
        let mut matrix =
            String::from("status         Attach         Escalate       Triage         Resolve\n");
        for status in [
            Status::Logged,
            Status::Investigating,
            Status::Triaged,
            Status::Resolved,
        ] {
            let cells = events.map(|event| {
                format!(
                    "{:<14}",
                    status
                        .after(event)
                        .map_or("-".to_owned(), |after| format!("{after:?}"))
                )
            });
            let name = format!("{status:?}");
            matrix += &format!("{name:<15}{}", cells.join(" "));
            matrix = matrix.trim_end().to_owned() + "\n";
        }
        assert_eq!(
            matrix,
            "\
status         Attach         Escalate       Triage         Resolve
Logged         Logged         Investigating  -              Resolved
Investigating  Investigating  Investigating  Triaged        Resolved
Triaged        Triaged        Triaged        Triaged        Resolved
Resolved       -              -              Resolved       -
"
        );
    }

    #[test]
    fn severity_comes_from_the_label() {
        let table = [
            (Some("critical"), Severity::Critical),
            (Some("PAGE"), Severity::Critical),
            (Some("error"), Severity::Critical),
            (Some("warning"), Severity::Warning),
            (Some("warn"), Severity::Warning),
            (Some("info"), Severity::Info),
            (Some("none"), Severity::Info),
            (Some("debug"), Severity::Info),
            (Some("purple"), Severity::Warning),
            (None, Severity::Warning),
        ];
        for (label, expected) in table {
            let labels: BTreeMap<String, String> = label
                .map(|text| ("severity".to_owned(), text.to_owned()))
                .into_iter()
                .collect();
            assert_eq!(Severity::of(&alert(labels)), expected, "{label:?}");
        }
    }

    fn alert(labels: BTreeMap<String, String>) -> Alert {
        Alert {
            status: assay::alertmanager::Status::Firing,
            labels,
            annotations: BTreeMap::new(),
            starts_at: String::new(),
            ends_at: String::new(),
            generator_url: String::new(),
            fingerprint: String::new(),
        }
    }

    #[test]
    fn ids_carry_the_utc_day_and_a_number() {
        let now = Timestamp::parse("2026-11-21T23:59:59.999Z").unwrap();
        assert_eq!(id(now, 1), "INC-2026-1121-001");
        assert_eq!(id(now.plus_ms(1), 1234), "INC-2026-1122-1234");
    }
}
