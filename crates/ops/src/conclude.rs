//! Turns a session that finished, failed or waits into the summary of its incident, and records it.
//!
//! A summary is recorded when the session first waits for a person, because triage does not wait for
//! people, and again when it says something else at the end. When it says the same, that is recorded in
//! its place, so that an incident tells whether its summary is of where its session stands now.

use crate::board::{self, Concluded, Record, Resolution, Triaged, kind};
use crate::channel::NOTIFIER;
use crate::compose::{self, Run};
use crate::incident::Status;
use crate::record;
use crate::summary::Summary;
use crate::triage::{Triggers, trigger_of};
use gate::{Gate, SessionError, SessionView};
use journal::machine::Session;
use policy::{Principal, Taints};
use runtime::Finished;
use serde_json::Value;
use std::sync::Arc;
use store::{NewEntry, Retention, StoreError};

/// Makes and records summaries.
pub(crate) struct Conclusions {
    pub gate: Arc<Gate>,
    pub triggers: Triggers,
}

impl Conclusions {
    /// A session that investigated an incident told how it ended, or that it waits.
    pub async fn conclude(&self, finished: &Finished) -> Result<(), StoreError> {
        let session = &finished.session;
        let Some(incident) = session
            .correlation
            .as_deref()
            .filter(|_| session.agent != NOTIFIER)
        else {
            return Ok(());
        };
        // The record first: a session that moves on meanwhile leaves its incident wanting a summary.
        let Some(record) = self.record(incident)? else {
            return Ok(());
        };
        let stands = self.gate.session(&session.id).map_err(store_error)?;
        if !record.view.sessions.contains(&session.id) || supersedes(&stands, session) {
            return Ok(());
        }
        self.summarise(&record, session, finished.output.as_ref(), finished.partial)
            .await
    }

    /// Makes the summary of where the session of an incident stands, if it has ended or waits.
    pub async fn take_up(&self, record: &Record) -> Result<(), StoreError> {
        for id in &record.view.sessions {
            let session = match self.gate.session(id) {
                Ok(session) => session,
                Err(SessionError::Store(error)) => return Err(error),
                Err(_) => continue,
            };
            if session.state.is_final() || session.state == Session::Waiting {
                let output = self.gate.session_output(id).map_err(store_error)?;
                // Whether the time box ran out is not in the row; a reason is only given when it did
                // or when something else was wrong.
                let partial = session.state.is_final() && session.reason.is_some();
                self.summarise(record, &session, output.as_ref(), partial).await?;
            }
        }
        Ok(())
    }

    /// What was done about an incident so far.
    pub fn resolution(&self, record: &Record) -> Result<Option<Resolution>, StoreError> {
        let mut calls = Vec::new();
        for session in &record.view.sessions {
            calls.extend(self.gate.calls(session)?);
        }
        let approved_by = |approval: &str| {
            let approval = self.gate.approval(approval).ok().flatten()?;
            approval.decided_by.map(|person| person.to_string())
        };
        let Some(text) = compose::resolution(&calls, approved_by) else {
            return Ok(None);
        };
        // Read after its calls, so that what they brought in is there.
        let mut taint = Taints::NONE;
        for session in &record.view.sessions {
            taint = taint.and(self.gate.session(session).map_err(store_error)?.taint);
        }
        Ok(Some(Resolution { text, taint }))
    }

    async fn summarise(
        &self,
        record: &Record,
        session: &SessionView,
        output: Option<&Value>,
        partial: bool,
    ) -> Result<(), StoreError> {
        let mut calls = Vec::new();
        for call in self.gate.calls(&session.id)? {
            let result = self.gate.call_result(&call)?;
            calls.push((call, result));
        }
        // Read after its calls, so that what they brought in is there.
        let entered = self.gate.session(&session.id).map_err(store_error)?.taint;
        let run = Run {
            session: &session.id,
            state: session.state,
            reason: session.reason.as_deref(),
            calls: &calls,
            output,
            partial,
        };
        let summary = compose::compose(record, &run, self.gate.store().clock().now());
        let late = record.view.status == Status::Resolved;
        let resolution = if late { self.resolution(record)? } else { None };
        let trigger = trigger_of(&self.triggers, &record.view.trigger);
        let channels = trigger.map(|trigger| trigger.channels).unwrap_or_default();
        let body = Triaged {
            incident: summary.incident_id.clone(),
            severity: summary.severity,
            partial: summary.partial,
            observations: summary.observations.len(),
            uncited: summary.uncited,
            channels,
            taint: record.taint.and(entered),
            resolution,
            concludes: record.moved,
        };
        self.write(session, summary, body).await
    }

    async fn write(
        &self,
        session: &SessionView,
        summary: Summary,
        triaged: Triaged,
    ) -> Result<(), StoreError> {
        let (id, cause) = (session.id.clone(), session.cause.clone());
        let write = move |tx: &mut store::Tx<'_>| {
            let Some(row) = tx.row(board::NAME, &triaged.incident)? else {
                return Ok(());
            };
            let stands = record::record(row)?;
            let entry = |kind, body| {
                NewEntry::new(kind, Principal::service("cofferdam"), body)
                    .session(&id)
                    .cause(&cause)
                    .correlation(&triaged.incident)
            };
            if !says_the_same(&stands.view.summary, &summary) {
                let entry = entry(kind::TRIAGED, record::value(&triaged)?);
                let summary = record::value(&summary)?;
                return tx
                    .append(entry.payload("summary", Retention::Action, summary))
                    .map(drop);
            }
            if triaged.concludes > stands.concluded {
                let body = Concluded {
                    incident: triaged.incident.clone(),
                    taint: triaged.taint,
                    concludes: triaged.concludes,
                };
                tx.append(entry(kind::CONCLUDED, record::value(&body)?))?;
            }
            Ok(())
        };
        self.gate.store().write::<_, StoreError, _>(write).await.map(drop)
    }

    fn record(&self, id: &str) -> Result<Option<Record>, StoreError> {
        if id == board::NEWEST {
            return Ok(None);
        }
        self.gate
            .store()
            .read(|reader| reader.row(board::NAME, id)?.map(record::record).transpose())
    }
}

/// Whether the session went on to another end or wait than the one that was `told`: what is told of
/// that one comes later.
fn supersedes(stands: &SessionView, told: &SessionView) -> bool {
    let rests = stands.state.is_final() || stands.state == Session::Waiting;
    rests && (stands.state, &stands.reason) != (told.state, &told.reason)
}

/// Whether the recorded summary says what `new` says, whenever it was said.
fn says_the_same(recorded: &Value, new: &Summary) -> bool {
    let recorded = serde_json::from_value::<Summary>(recorded.clone());
    recorded.is_ok_and(|recorded| {
        Summary {
            timestamp: new.timestamp,
            ..recorded
        } == *new
    })
}

fn store_error(error: SessionError) -> StoreError {
    match error {
        SessionError::Store(error) => error,
        other => StoreError::Refused(other.to_string()),
    }
}
