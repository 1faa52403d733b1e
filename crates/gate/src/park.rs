//! Step 5: what needs a person. The approval of exactly this action in this session is looked for, and
//! asked for when there is none.

use crate::approvals::ApprovalView;
use crate::commit::{Judged, PER_SESSION, Uncommitted};
use crate::denials::Refused;
use crate::record::{Grounds, Requested, entry_with, links, place, short, version};
use crate::rows::json;
use crate::seen::{Seen, alike};
use crate::{Gate, Refusal, approvals, calls};
use journal::kind;
use journal::machine::Approval;
use policy::{PrincipalKind, Request, Stages, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{Retention, StoreError, Tx};

impl Gate {
    /// Holds nothing: the caller is told the approval's id, and the identical action, proposed again,
    /// uses it.
    pub(crate) async fn park(&self, seen: &Seen, request: Request) -> Result<Refusal, Uncommitted> {
        let Some(approval) = &seen.approval else {
            return self.request(seen, request).await;
        };
        match approval.state_at(seen.deadline) {
            // What was said to the old question is no answer to a new one.
            Approval::Pending if !self.asks_the_same(approval, &request)? => {
                self.request(seen, request).await
            }
            Approval::Pending => Ok(Refusal::Parked {
                approval: approval.id.clone(),
                reason: approval.reason.clone(),
            }),
            state @ (Approval::Denied | Approval::Expired) => {
                if approval.state != state {
                    let (id, now) = (approval.id.clone(), seen.deadline);
                    self.store
                        .write::<_, StoreError, _>(move |tx| approvals::expire(tx, &id, now))
                        .await?;
                }
                Ok(self
                    .refuse(seen, &request.action, not_approved(seen, approval, state))
                    .await)
            }
            // An approval that the decision had, and that does not answer it: the rules ask for something or
            // somebody else now, or those who gave it have no say any more.
            Approval::Spent | Approval::Cancelled | Approval::Approved => self.request(seen, request).await,
        }
    }

    async fn request(&self, seen: &Seen, request: Request) -> Result<Refusal, Uncommitted> {
        let judged = Judged::of(seen, &request.action, &self.stops);
        // A question costs what an action costs, or an agent could ask without end.
        let place = self.place(seen)?;
        let limit = seen.agent.bounds.actions_per_session;
        let deadlines = Arc::clone(&self.deadlines);
        let channels = self.channels_of(&seen.session.agent);
        let seen = seen.clone();
        let write = move |tx: &mut Tx<'_>| {
            let session = judged.still_holds(tx)?;
            let approvals = approvals::of(tx, &seen.session.id)?;
            // Somebody asked or decided meanwhile, maybe about the very same action.
            if alike(&approvals, &request.action) != seen.alike {
                return Err(Uncommitted::Changed);
            }
            let unspent = approvals.iter().filter(|view| view.state != Approval::Spent);
            if session.actions + unspent.count() as u64 >= u64::from(limit) {
                return Err(Uncommitted::Bound {
                    what: PER_SESSION,
                    limit,
                    retry_after_ms: None,
                });
            }
            // The step asks for something else now: what it asked for before is moot.
            let asked_before = calls::row(tx, &seen.session.id, &seen.step)?.and_then(|call| call.approval);
            for view in &approvals {
                if seen
                    .approval
                    .as_ref()
                    .is_some_and(|outdated| outdated.id == view.id)
                {
                    approvals::cancel(tx, view, OUTDATED)?;
                } else if asked_before.as_ref() == Some(&view.id) {
                    approvals::cancel(tx, view, "its step proposes another action")?;
                }
            }
            let id = format!("apr-{}", tx.next_sequence());
            let webhooks = match crate::is_reserved(&seen.session.agent) {
                // INVARIANT (telling ends): what the platform wants to tell is never put to whom it would have
                // to be told first.
                true => BTreeMap::new(),
                false => approvals::keys_now(tx, &lists(&request))?,
            };
            let nonces = approvals::nonces(webhooks.keys())?;
            // Whoever has to answer is told, as those are who only look.
            let more = webhooks.keys().filter(|name| !channels.contains(name));
            let asked = Requested {
                channels: channels.iter().chain(more).cloned().collect(),
                webhooks: webhooks.clone(),
                actions: session.actions,
                ..requested(&seen, &request, id, deadlines.now())
            };
            let (kind, body) = (kind::APPROVAL_REQUESTED, json(&asked)?);
            let mut entry = entry_with(kind, &seen, body, "action", &request.action)?;
            if !webhooks.is_empty() {
                entry = entry.payload(approvals::NONCES, Retention::Action, nonces);
            }
            tx.append(entry)?;
            Ok(Refusal::Parked {
                approval: asked.approval,
                reason: asked.reason,
            })
        };
        let refusal = self.store.write::<_, Uncommitted, _>(write).await?.value;
        place.keep();
        Ok(refusal)
    }
}

impl Gate {
    /// Whether whoever answers `approval` answers `request` too, and the outside systems that it was put to are
    /// those that would be asked now.
    fn asks_the_same(&self, approval: &ApprovalView, request: &Request) -> Result<bool, StoreError> {
        let asked = |question| approval.questions.contains(question);
        let lists = lists(request);
        if approval.lists() != lists || !request.questions.iter().all(asked) {
            return Ok(false);
        }
        if crate::is_reserved(&approval.agent) {
            return Ok(true);
        }
        let webhooks = self.store.read(|reader| approvals::read_keys(reader, &lists))?;
        Ok(webhooks == approval.webhooks)
    }
}

fn not_approved(seen: &Seen, approval: &ApprovalView, state: Approval) -> Refused {
    let reason = match approval.state {
        Approval::Pending | Approval::Approved => Some(approvals::late(approval).to_owned()),
        _ => approval
            .decision_reason
            .clone()
            .filter(|reason| !reason.is_empty()),
    };
    let state = if state == Approval::Denied {
        "denied"
    } else {
        "expired"
    };
    let told = reason
        .as_deref()
        .map(|reason| format!(": {reason}"))
        .unwrap_or_default();
    Refused {
        grounds: Grounds {
            reason: format!("approval `{}` was {state}{told}", approval.id),
            code: Some("not_approved".to_owned()),
            rule: approval.rule.clone(),
            remedy: Some(format!(
                "propose another action; for this one the answer holds in `{}`",
                seen.session.id
            )),
            approval: Some(approval.id.clone()),
            lacking: None,
            waiver: None,
        },
        refusal: Refusal::NotApproved {
            approval: approval.id.clone(),
            state: state.to_owned(),
            reason,
        },
    }
}

/// Why an approval is asked for again.
const OUTDATED: &str = "the rules ask for something or somebody else now, or who gave it has no say any more";

/// The lists of stages that `request` asks for.
fn lists(request: &Request) -> Vec<Stages> {
    match request.each_of.is_empty() {
        true => vec![Stages::any_of(&request.approvers)],
        false => request.each_of.clone(),
    }
}

/// Why it waits; first of all, when it waits in vain.
fn reason(seen: &Seen, request: &Request) -> String {
    let cause = &seen.session.cause;
    let except = match cause.kind {
        PrincipalKind::Person => cause.name.as_str(),
        PrincipalKind::Agent | PrincipalKind::Service => "",
    };
    match lists(request).iter().any(|list| list.only(except)) {
        true => format!(
            "nobody can approve this: a rule asks for no one but who caused it; {}",
            request.reason
        ),
        false => again(seen, &request.reason),
    }
}

/// Says of what was approved before why that is not enough.
fn again(seen: &Seen, reason: &str) -> String {
    let outdated = seen.approval.as_ref();
    match outdated.filter(|approval| approval.state_at(seen.deadline) == Approval::Approved) {
        Some(approval) => format!("{reason}; it was approved as `{}`, but {OUTDATED}", approval.id),
        None => reason.to_owned(),
    }
}

fn requested(seen: &Seen, request: &Request, id: String, now: Timestamp) -> Requested {
    let action = &request.action;
    Requested {
        approval: id,
        step: seen.step.clone(),
        verb: action.verb().as_str().to_owned(),
        resource: action.resource().to_owned(),
        environment: action.environment().as_str().to_owned(),
        effect: action.effect(),
        idempotence: action.idempotence(),
        reason: short(&reason(seen, request)),
        rule: request.rule.as_ref().map(|rule| rule.0.clone()),
        place: place(seen, request.rule.as_ref().map(|rule| rule.0.as_str())),
        version: version(seen, request.rule.as_ref().map(|rule| rule.0.as_str())),
        bundles: seen.authority.policies.bundles().to_vec(),
        questions: request.questions.clone(),
        delegation: seen.session.delegation.clone(),
        level: request.level,
        elevation: seen.elevation.clone(),
        approvers: request.approvers.clone(),
        webhooks: BTreeMap::new(),
        each_of: request.each_of.clone(),
        waivable: request.waivable.clone(),
        behalf: seen
            .chain
            .links
            .iter()
            .map(|link| link.principal.to_string())
            .collect(),
        chain: links(seen, action),
        trust: Some(seen.context.trust),
        taint: seen.context.taint,
        actions: seen.context.session.actions,
        brings: action.brings(),
        channels: Vec::new(),
        since: now,
        expires: now.plus_ms(request.expires_after_ms),
        policy: policy::canonical::hex(seen.authority.policies.digest()),
        generation: seen.authority.generation,
        observed: crate::record::observed(seen, action),
    }
}
