//! Turns a session that finished, failed or waits into the summary of its incident, and records it.
//!
//! A summary is recorded when the session first waits for a person, because triage does not wait for
//! people, and again when it says something else at the end. The same summary twice is one entry.

use crate::board::{self, Record, Triaged, kind};
use crate::channel::NOTIFIER;
use crate::compose::{self, Run};
use crate::incident::Status;
use crate::record;
use crate::summary::Summary;
use crate::triage::{Triggers, trigger_of};
use gate::{Gate, SessionError, SessionView};
use journal::machine::Session;
use policy::Principal;
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
        match self.record(incident)? {
            Some(record) if record.view.sessions.contains(&session.id) => {
                self.summarise(&record, session, finished.output.as_ref(), finished.partial)
                    .await
            }
            _ => Ok(()),
        }
    }

    /// Makes the summary that an incident has none of although its session has ended or waits.
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
    pub fn resolution(&self, record: &Record) -> Result<Option<String>, StoreError> {
        let mut calls = Vec::new();
        for session in &record.view.sessions {
            calls.extend(self.gate.calls(session)?);
        }
        let approved_by = |approval: &str| {
            let approval = self.gate.approval(approval).ok().flatten()?;
            approval.decided_by.map(|person| person.to_string())
        };
        Ok(compose::resolution(&calls, approved_by))
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
        self.write(session, summary, channels, resolution).await
    }

    async fn write(
        &self,
        session: &SessionView,
        summary: Summary,
        channels: Vec<String>,
        resolution: Option<String>,
    ) -> Result<(), StoreError> {
        let (id, cause) = (session.id.clone(), session.cause.clone());
        let write = move |tx: &mut store::Tx<'_>| {
            let Some(row) = tx.row(board::NAME, &summary.incident_id)? else {
                return Ok(());
            };
            if says_the_same(&record::record(row)?.view.summary, &summary) {
                return Ok(());
            }
            let body = Triaged {
                incident: summary.incident_id.clone(),
                severity: summary.severity,
                partial: summary.partial,
                observations: summary.observations.len(),
                uncited: summary.uncited,
                channels,
                resolution,
            };
            let entry = NewEntry::new(
                kind::TRIAGED,
                Principal::service("cofferdam"),
                record::value(&body)?,
            )
            .session(&id)
            .cause(&cause)
            .correlation(&summary.incident_id)
            .payload("summary", Retention::Action, record::value(&summary)?);
            tx.append(entry).map(drop)
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
