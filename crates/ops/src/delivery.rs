//! The projection `deliveries`: what goes to which channel, and how far that got.
//!
//! A delivery is made by the entry that it tells of (a summary, what became of an approval, odd
//! behaviour), so there is exactly one per entry and channel, whatever happens in between.

use crate::board::{self, Triaged, kind};
use journal::kind as core;
use policy::{Taints, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Applied, Corrupt, Projection, Row, Rows};

/// Name of the projection.
pub(crate) const NAME: &str = "deliveries";

/// Of the gate: odd behaviour was recorded.
pub(crate) const ANOMALY: &str = "anomaly.detected";
/// A budget came to a share of its limit.
pub(crate) const BUDGET_ALERTED: &str = "budget.alerted";
/// A budget is used up.
pub(crate) const BUDGET_EXHAUSTED: &str = "budget.exhausted";
/// Kind of the entry that tells of another level of risk.
pub(crate) const RISK_CHANGED: &str = "risk.changed";

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// To be tried, or tried again.
    Pending,
    /// Taken by the other side.
    Delivered,
    /// Given up.
    Failed,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Delivery {
    /// `INC-2026-1121-001/57/pager`: what it is about, the entry, the channel. The same on every retry.
    pub id: String,
    /// An incident, an approval, or an agent (`agent:deploy`).
    pub about: String,
    pub channel: String,
    /// The entry that it tells of, whose payload is the summary if it is one.
    pub entry: u64,
    /// Kind of that entry.
    pub kind: String,
    pub state: State,
    /// Failed attempts so far.
    pub attempts: u32,
    /// Not to be tried before.
    pub next: Timestamp,
    /// What the last attempt failed of.
    pub reason: Option<String>,
    /// What a summary is made from. What else is told is made of leaves, which hold no results.
    pub taint: Taints,
}

impl Delivery {
    /// Of what records the tries: a summary's are the incident's.
    pub fn recorded_as(&self, delivered: bool) -> &'static str {
        match (self.kind == kind::TRIAGED, delivered) {
            (true, true) => kind::DELIVERED,
            (true, false) => kind::DELIVERY_FAILED,
            (false, true) => kind::TOLD,
            (false, false) => kind::NOT_TOLD,
        }
    }
}

/// The row of an open approval: who is told of what becomes of it.
#[derive(Serialize, Deserialize)]
struct Listening {
    channels: Vec<String>,
}

/// Body of what records a try.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Attempted {
    pub delivery: String,
    pub about: String,
    pub channel: String,
    /// From 1.
    pub attempt: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it is tried again; absent when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
}

/// The fold.
pub(crate) struct Deliveries;

impl Projection for Deliveries {
    fn name(&self) -> &'static str {
        NAME
    }
    fn kinds(&self) -> &'static [&'static str] {
        &[
            kind::TRIAGED,
            kind::DELIVERED,
            kind::DELIVERY_FAILED,
            kind::TOLD,
            kind::NOT_TOLD,
            "approval.",
            ANOMALY,
            RISK_CHANGED,
            BUDGET_ALERTED,
            BUDGET_EXHAUSTED,
        ]
    }
    fn apply(&self, applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
        match applied.entry.kind.as_str() {
            kind::TRIAGED => {
                let triaged: Triaged = board::read(applied.entry.body.clone())?;
                enqueue(applied, rows, &triaged.incident, triaged.channels, triaged.taint)
            }
            kind::DELIVERED | kind::TOLD => attempted(applied, rows, true),
            kind::DELIVERY_FAILED | kind::NOT_TOLD => attempted(applied, rows, false),
            ANOMALY | RISK_CHANGED => {
                let OfAgent { agent, channels } = board::read(applied.entry.body.clone())?;
                enqueue(applied, rows, &format!("agent:{agent}"), channels, Taints::NONE)
            }
            BUDGET_ALERTED | BUDGET_EXHAUSTED => {
                let OfBudget { budget, channels } = board::read(applied.entry.body.clone())?;
                enqueue(applied, rows, &format!("budget:{budget}"), channels, Taints::NONE)
            }
            _ => approval(applied, rows),
        }
    }
    fn index(&self, row: &Row) -> Vec<(&'static str, String)> {
        let Ok(delivery) = board::read::<Delivery>(row.value.clone()) else {
            return Vec::new();
        };
        let mut index = vec![("about", delivery.about)];
        if delivery.state == State::Pending {
            index.push(("state", "pending".to_owned()));
        }
        index
    }
}

fn write(rows: &mut dyn Rows, delivery: &Delivery) -> Result<(), Corrupt> {
    let value = serde_json::to_value(delivery).map_err(|error| Corrupt(error.to_string()))?;
    rows.put(&delivery.id, value)
}

#[derive(Deserialize)]
struct OfBudget {
    budget: String,
    #[serde(default)]
    channels: Vec<String>,
}

#[derive(Deserialize)]
struct OfAgent {
    agent: String,
    #[serde(default)]
    channels: Vec<String>,
}

#[derive(Deserialize)]
struct OfApproval {
    approval: String,
    #[serde(default)]
    channels: Vec<String>,
}

/// Whoever was told that it was requested is told what becomes of it, whatever configuration says by then.
fn approval(applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let OfApproval { approval, channels } = board::read(applied.entry.body.clone())?;
    let channels = match applied.entry.kind.as_str() {
        core::APPROVAL_REQUESTED if channels.is_empty() => return Ok(()),
        core::APPROVAL_REQUESTED => {
            let listening = Listening {
                channels: channels.clone(),
            };
            let value = serde_json::to_value(&listening).map_err(|error| Corrupt(error.to_string()))?;
            rows.put(&approval, value)?;
            channels
        }
        _ => match rows.get(&approval)? {
            Some(row) => board::read::<Listening>(row)?.channels,
            None => return Ok(()),
        },
    };
    enqueue(applied, rows, &approval, channels, Taints::NONE)
}

fn enqueue(
    applied: &Applied<'_>,
    rows: &mut dyn Rows,
    about: &str,
    channels: Vec<String>,
    taint: Taints,
) -> Result<(), Corrupt> {
    let entry = applied.entry.sequence;
    for channel in channels {
        let delivery = Delivery {
            id: format!("{about}/{entry}/{channel}"),
            about: about.to_owned(),
            channel,
            entry,
            kind: applied.entry.kind.clone(),
            state: State::Pending,
            attempts: 0,
            next: applied.entry.timestamp,
            reason: None,
            taint,
        };
        write(rows, &delivery)?;
    }
    Ok(())
}

fn attempted(applied: &Applied<'_>, rows: &mut dyn Rows, delivered: bool) -> Result<(), Corrupt> {
    let attempt: Attempted = board::read(applied.entry.body.clone())?;
    let row = rows
        .get(&attempt.delivery)?
        .ok_or_else(|| Corrupt(format!("no delivery `{}`", attempt.delivery)))?;
    let mut delivery: Delivery = board::read(row)?;
    if delivery.state != State::Pending {
        return Err(Corrupt(format!("delivery `{}` has ended", delivery.id)));
    }
    delivery.attempts = attempt.attempt;
    delivery.reason = attempt.reason;
    delivery.state = match (delivered, attempt.next) {
        (true, _) => State::Delivered,
        (false, None) => State::Failed,
        (false, Some(next)) => {
            delivery.next = next;
            State::Pending
        }
    };
    write(rows, &delivery)
}
