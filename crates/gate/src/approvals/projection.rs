//! Approvals, as the fold over their entries. The only place where their rows change, live and in
//! replay, and only by the machine of `journal`.

use super::{APPROVALS, ApprovalView, Counted, Passed, Vote};
use crate::record::Requested;
use crate::rows::{self, body, page, session_of};
use journal::machine::{Approval, ApprovalEvent};
use journal::{Entry, kind};
use policy::{Principal, Timestamp, WaiverScope};
use serde::Deserialize;
use serde_json::Value;
use store::{Applied, Corrupt, Projection, Row, Rows};

#[derive(Deserialize)]
struct Decided {
    approval: String,
    reason: Option<String>,
    #[serde(default)]
    counts: Vec<Counted>,
    scope: Option<WaiverScope>,
    key: Option<String>,
    #[serde(default)]
    escalated: Vec<Counted>,
    /// When stages were passed over.
    at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Spent {
    approval: Option<String>,
}

/// Rows are [`ApprovalView`]s without their action, by id.
pub(crate) struct Approvals;

impl Projection for Approvals {
    fn name(&self) -> &'static str {
        APPROVALS
    }

    fn kinds(&self) -> &'static [&'static str] {
        &["approval.", kind::ACTION_PERMITTED]
    }

    fn apply(&self, applied: &Applied<'_>, rows: &mut dyn Rows) -> Result<(), Corrupt> {
        let entry = applied.entry;
        match entry.kind.as_str() {
            kind::APPROVAL_REQUESTED => request(entry, rows),
            kind::APPROVAL_VOTED => decide(entry, ApprovalEvent::Vote, rows),
            kind::APPROVAL_ESCALATED => decide(entry, ApprovalEvent::Escalate, rows),
            kind::APPROVAL_APPROVED => decide(entry, ApprovalEvent::Approve, rows),
            kind::APPROVAL_DENIED => decide(entry, ApprovalEvent::Deny, rows),
            kind::APPROVAL_EXPIRED => decide(entry, ApprovalEvent::Expire, rows),
            kind::APPROVAL_CANCELLED => decide(entry, ApprovalEvent::Cancel, rows),
            kind::ACTION_PERMITTED => match body::<Spent>(entry)?.approval {
                // INVARIANT (an approval is spent once): in the entry that permits.
                Some(id) => turn(entry, &id, ApprovalEvent::Spend, rows).map(drop),
                None => Ok(()),
            },
            other => Err(Corrupt(format!(
                "entry {} of kind `{other}` is none of an approval",
                entry.sequence
            ))),
        }
    }

    fn index(&self, row: &Row) -> Vec<(&'static str, String)> {
        let text = |name: &str| {
            row.value
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let alike = super::alike(&text("agent"), &text("verb"), &text("resource"));
        let mut values = vec![
            ("session", text("session")),
            ("page", page(&row.key)),
            ("alike", alike),
        ];
        if let state @ ("pending" | "approved") = text("state").as_str() {
            values.push(("state", state.to_owned()));
        }
        values
    }
}

fn request(entry: &Entry, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let asked: Requested = body(entry)?;
    let named = |text: Option<&str>| text.and_then(Principal::parse);
    let (Some(cause), Some(agent)) = (named(entry.cause.as_deref()), named(Some(entry.actor.as_str())))
    else {
        return Err(Corrupt(format!(
            "entry {}: approval without a cause or an agent",
            entry.sequence
        )));
    };
    if rows::number(&asked.approval) != entry.sequence || rows.get(&asked.approval)?.is_some() {
        return Err(Corrupt(format!(
            "entry {} requests approval `{}`, whose number is another",
            entry.sequence, asked.approval
        )));
    }
    let view = ApprovalView {
        id: asked.approval,
        state: Approval::Pending,
        session: session_of(entry)?.to_owned(),
        step: asked.step,
        agent: agent.name,
        cause,
        verb: asked.verb,
        resource: asked.resource,
        effect: asked.effect,
        environment: asked.environment,
        reason: asked.reason,
        rule: asked.rule,
        questions: asked.questions,
        taint: asked.taint,
        delegation: asked.delegation,
        approvers: asked.approvers,
        webhooks: asked.webhooks,
        each_of: asked.each_of,
        waivable: asked.waivable,
        votes: Vec::new(),
        escalated: Vec::new(),
        idempotence: Some(asked.idempotence),
        level: Some(asked.level),
        behalf: asked.behalf,
        trust: asked.trust,
        requested: entry.timestamp,
        since: asked.since,
        expires: asked.expires,
        decided_by: None,
        decided_at: None,
        decision_reason: None,
        action: None,
        similar: None,
    };
    rows::put(rows, &view.id, &view)
}

fn decide(entry: &Entry, event: ApprovalEvent, rows: &mut dyn Rows) -> Result<(), Corrupt> {
    let decided: Decided = body(entry)?;
    let mut view = turn(entry, &decided.approval, event, rows)?;
    if matches!(event, ApprovalEvent::Vote | ApprovalEvent::Approve) {
        let by = Principal::parse(&entry.actor);
        let nobody = || Corrupt(format!("entry {} is a vote of nobody", entry.sequence));
        view.votes.push(Vote {
            by: by.ok_or_else(nobody)?,
            at: entry.timestamp,
            reason: decided.reason.clone().filter(|reason| !reason.is_empty()),
            counts: decided.counts,
            scope: decided.scope,
            key: decided.key,
            entry: entry.sequence,
        });
    }
    let at = decided.at;
    let passed = decided.escalated.into_iter();
    view.escalated.extend(passed.map(|stage| Passed { stage, at }));
    if matches!(event, ApprovalEvent::Vote | ApprovalEvent::Escalate) {
        return rows::put(rows, &view.id, &view);
    }
    view.decision_reason = decided.reason;
    view.decided_at = Some(entry.timestamp);
    // Time and the end of a session are nobody's decision.
    let decides = matches!(event, ApprovalEvent::Approve | ApprovalEvent::Deny);
    view.decided_by = Principal::parse(&entry.actor).filter(|_| decides);
    rows::put(rows, &view.id, &view)
}

fn turn(entry: &Entry, id: &str, event: ApprovalEvent, rows: &mut dyn Rows) -> Result<ApprovalView, Corrupt> {
    let missing = || {
        Corrupt(format!(
            "entry {} is about approval `{id}`, which is not there",
            entry.sequence
        ))
    };
    let mut view: ApprovalView = rows::get(rows, id)?.ok_or_else(missing)?;
    if session_of(entry)? != view.session {
        return Err(Corrupt(format!(
            "entry {} is of another session than approval `{id}`",
            entry.sequence
        )));
    }
    view.state = view
        .state
        .after(event)
        .map_err(|error| Corrupt(format!("entry {}: {error}", entry.sequence)))?;
    rows::put(rows, id, &view)?;
    Ok(view)
}
