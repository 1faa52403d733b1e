//! The projection `deliveries`: which summary goes to which channel, and how far that got.
//!
//! A delivery is made by the entry that records a summary, so there is exactly one per summary and
//! channel, whatever happens in between.

use crate::board::{self, Triaged, kind};
use policy::{Taints, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Applied, Corrupt, Projection, Row, Rows};

/// Name of the projection.
pub(crate) const NAME: &str = "deliveries";

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
    /// `INC-2026-1121-001/57/pager`: incident, entry of the summary, channel. The same on every retry.
    pub id: String,
    pub incident: String,
    pub channel: String,
    /// The entry whose payload is the summary.
    pub entry: u64,
    pub state: State,
    /// Failed attempts so far.
    pub attempts: u32,
    /// Not to be tried before.
    pub next: Timestamp,
    /// What the last attempt failed of.
    pub reason: Option<String>,
    /// What the summary is made from.
    pub taint: Taints,
}

/// Body of [`kind::DELIVERED`] and [`kind::DELIVERY_FAILED`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Attempted {
    pub delivery: String,
    pub incident: String,
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
        &[kind::TRIAGED, kind::DELIVERED, kind::DELIVERY_FAILED]
    }
    fn apply(&self, applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
        match applied.entry.kind.as_str() {
            kind::TRIAGED => enqueue(applied, rows),
            kind::DELIVERED => attempted(applied, rows, true),
            kind::DELIVERY_FAILED => attempted(applied, rows, false),
            _ => Ok(()),
        }
    }
    fn index(&self, row: &Row) -> Vec<(&'static str, String)> {
        let Ok(delivery) = board::read::<Delivery>(row.value.clone()) else {
            return Vec::new();
        };
        let mut index = vec![("incident", delivery.incident)];
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

fn enqueue(applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let triaged: Triaged = board::read(applied.entry.body.clone())?;
    let entry = applied.entry.sequence;
    for channel in triaged.channels {
        let id = format!("{}/{entry}/{channel}", triaged.incident);
        let delivery = Delivery {
            id,
            incident: triaged.incident.clone(),
            channel,
            entry,
            state: State::Pending,
            attempts: 0,
            next: applied.entry.timestamp,
            reason: None,
            taint: triaged.taint,
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
