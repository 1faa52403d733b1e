//! What a channel is told of an approval, of odd behaviour, or of another level of risk: made of the leaf of the entry, so it is the same on
//! every try and holds no arguments of actions. One behind which an outside system approves is told besides
//! what its answer has to echo: the digest of the action, and a nonce that no other channel gets.
//!
//! Every text in it is redacted and on one line, as views show it. It decides nothing: it says which
//! command does, or where an answer goes.

use crate::delivery::{ANOMALY, BUDGET_ALERTED, BUDGET_EXHAUSTED, Delivery, RISK_CHANGED};
use assay::redact::line;
use journal::{Entry, kind};
use policy::trust::RiskLevel;
use policy::{Approver, Stages, Taints};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use store::{Erasable, Reader, StoreError};

/// Longest text, in characters.
const TEXT_MAX: usize = 300;

/// In the place of what may be made of untrusted or sensitive text; `approvals show` shows it.
const NOT_TOLD: &str = "(not told outside: the session has labels)";

/// Of an entry `approval.requested`.
#[derive(Deserialize)]
struct Requested {
    approval: String,
    verb: String,
    resource: String,
    environment: String,
    effect: policy::Effect,
    reason: String,
    rule: Option<String>,
    #[serde(default)]
    approvers: Vec<Approver>,
    #[serde(default)]
    each_of: Vec<Stages>,
    #[serde(default)]
    webhooks: BTreeMap<String, String>,
    policy: String,
    #[serde(default)]
    behalf: Vec<String>,
    expires: policy::Timestamp,
    taint: Taints,
}

/// Of any entry about it after that.
#[derive(Deserialize)]
struct Came {
    reason: Option<String>,
    waits_for: Option<String>,
}

#[derive(Deserialize)]
struct Odd {
    agent: String,
    rule: String,
    finding: String,
    #[serde(default)]
    suspends: bool,
}

/// Of an entry about a budget.
#[derive(Deserialize)]
struct Spent {
    budget: String,
    account: String,
    unit: policy::budget::Unit,
    used: u64,
    limit: u64,
    percent: Option<u8>,
}

#[derive(Deserialize)]
struct Risk {
    agent: String,
    from: RiskLevel,
    to: RiskLevel,
    score: u16,
    #[serde(default)]
    because: Vec<String>,
}

/// The message of `delivery`; `None` when its entry is not there.
pub(crate) fn message(
    reader: &Reader<'_>,
    delivery: &Delivery,
    below: &str,
) -> Result<Option<Value>, StoreError> {
    let Some(told) = reader.entry(delivery.entry)? else {
        return Ok(None);
    };
    let what = match delivery.kind.as_str() {
        ANOMALY => anomaly(&told.entry)?,
        RISK_CHANGED => risk(&told.entry)?,
        BUDGET_ALERTED | BUDGET_EXHAUSTED => budget(&told.entry)?,
        _ => {
            let asked = delivery.about.strip_prefix("apr-").and_then(|id| id.parse().ok());
            let Some(asked) = asked.map(|at| reader.entry(at)).transpose()?.flatten() else {
                return Ok(None);
            };
            let mut what = approval(&asked.entry, &told.entry)?;
            let answer = answer(reader, &asked.entry, &told.entry, (&delivery.channel, below))?;
            if let (Some(members), Some(answer)) = (what.as_object_mut(), answer) {
                members.insert("answer".to_owned(), answer);
            }
            what
        }
    };
    let mut message = json!({
        "version": 1, "event": delivery.kind, "delivery": delivery.id, "about": delivery.about,
        "at": told.entry.timestamp,
    });
    if let (Some(all), Some(more)) = (message.as_object_mut(), what.as_object()) {
        all.extend(more.clone());
    }
    Ok(Some(message))
}

/// Whether it may still be answered after the entry `told`.
fn is_open(told: &Entry) -> bool {
    matches!(
        told.kind.as_str(),
        kind::APPROVAL_REQUESTED | kind::APPROVAL_VOTED | kind::APPROVAL_ESCALATED
    )
}

/// What the outside system behind `channel` has to echo, and where to; `None` when it was not asked, when there
/// is nothing to answer any more, or when what it was asked about was erased.
fn answer(
    reader: &Reader<'_>,
    asked: &Entry,
    told: &Entry,
    (channel, below): (&str, &str),
) -> Result<Option<Value>, StoreError> {
    let request: Requested = read(asked)?;
    if !is_open(told) || !request.webhooks.contains_key(channel) {
        return Ok(None);
    }
    let payload = |name| match reader.payload(asked.sequence, name) {
        Ok(Erasable::Present(value)) => Ok(Some(value)),
        Ok(Erasable::Erased | Erasable::Absent) => Ok(None),
        Err(error) => Err(error),
    };
    let (Some(action), Some(nonces)) = (payload("action")?, payload("nonces")?) else {
        return Ok(None);
    };
    let digest = policy::canonical::digest(&action).map_err(|error| StoreError::Corrupt {
        finding: format!("entry {}: {error}", asked.sequence),
    })?;
    let lists = match request.each_of.is_empty() {
        true => vec![Stages::any_of(&request.approvers)],
        false => request.each_of,
    };
    Ok(Some(json!({
        "to": format!("{below}/hooks/approvals/{channel}"), "approval": request.approval,
        "digest": policy::canonical::hex(&digest), "nonce": nonces.get(channel),
        "stages": gate::stages_of(&lists, channel), "policy": request.policy, "expires": request.expires,
    })))
}

fn approval(asked: &Entry, told: &Entry) -> Result<Value, StoreError> {
    let Requested {
        approval,
        verb,
        resource,
        environment,
        effect,
        reason,
        rule,
        approvers,
        each_of,
        behalf,
        expires,
        taint,
        ..
    } = read(asked)?;
    let mut came: Came = read(told)?;
    // Both may be made of what the session has read, and a channel is outside: nobody was asked about that.
    let (resource, reason) = match taint {
        Taints::NONE => (resource, reason),
        _ => (NOT_TOLD.to_owned(), NOT_TOLD.to_owned()),
    };
    if told.kind == kind::APPROVAL_REQUESTED && taint != Taints::NONE {
        came.reason = None;
    }
    let cause = asked.cause.clone().unwrap_or_default();
    let waits_for = came.waits_for.unwrap_or_else(|| whom(&approvers, &each_of));
    let action = short(&format!("{verb}:{resource}"));
    let by = told.actor.as_str();
    let because = came.reason.filter(|reason| !reason.is_empty());
    let because = because.map(|reason| short(&reason));
    let tail = because
        .as_deref()
        .map(|reason| format!(": {reason}"))
        .unwrap_or_default();
    let text = said(
        asked,
        told,
        &Said {
            approval: &approval,
            action: &action,
            environment: &environment,
            cause: &cause,
            expires: &expires.to_string(),
            waits_for: &waits_for,
            tail: &tail,
        },
    );
    let open = is_open(told);
    Ok(json!({
        "text": line(&text, 2 * TEXT_MAX),
        "approval": {
            "id": approval, "agent": asked.actor, "cause": cause, "on_behalf_of": behalf, "action": action,
            "verb": verb, "resource": short(&resource), "environment": environment, "effect": effect,
            "reason": short(&reason), "rule": rule, "expires": expires,
            "waits_for": open.then(|| short(&waits_for)),
            "commands": open.then(|| json!({
                "look": format!("cofferdam approvals show {approval}"),
                "approve": format!("cofferdam approvals approve {approval} --reason WHY"),
                "deny": format!("cofferdam approvals deny {approval} --reason WHY"),
            })),
        },
        "came": (told.kind != kind::APPROVAL_REQUESTED).then(|| json!({ "by": by, "reason": because })),
    }))
}

/// Whom it waits for in all.
fn whom(approvers: &[Approver], each_of: &[Stages]) -> String {
    if each_of.is_empty() {
        return Stages::any_of(approvers).told();
    }
    let each: Vec<String> = each_of.iter().map(Stages::told).collect();
    each.join("; and ")
}

/// What a message in words is made of.
struct Said<'a> {
    approval: &'a str,
    action: &'a str,
    environment: &'a str,
    cause: &'a str,
    expires: &'a str,
    waits_for: &'a str,
    tail: &'a str,
}

fn said(asked: &Entry, told: &Entry, what: &Said<'_>) -> String {
    let Said {
        approval,
        action,
        environment,
        cause,
        expires,
        waits_for,
        tail,
    } = what;
    let by = told.actor.as_str();
    match told.kind.as_str() {
        kind::APPROVAL_REQUESTED => format!(
            "{approval}: {} asks to do {action} in {environment} for {cause} until {expires}; it waits for {waits_for}{tail}",
            asked.actor
        ),
        kind::APPROVAL_ESCALATED => format!("{approval}: {action} waits for {waits_for} now{tail}"),
        kind::APPROVAL_VOTED => {
            format!("{approval}: {by} approved {action}{tail}; it waits for {waits_for} now")
        }
        kind::APPROVAL_APPROVED => format!("{approval}: {by} approved {action}{tail}"),
        kind::APPROVAL_DENIED => format!("{approval}: {by} denied {action}{tail}"),
        kind::APPROVAL_EXPIRED => format!("{approval}: {action} is denied, its time is over{tail}"),
        _ => format!("{approval}: {action} is no longer asked for{tail}"),
    }
}

fn anomaly(told: &Entry) -> Result<Value, StoreError> {
    let Odd {
        agent,
        rule,
        finding,
        suspends,
    } = read(told)?;
    let finding = short(&finding);
    let then = if suspends {
        format!("it is stopped: `cofferdam kill lift --agent {agent} --reason WHY` ends that")
    } else {
        format!("`cofferdam trust show {agent}` tells more")
    };
    Ok(json!({
        "text": format!("agent {agent} behaves oddly ({rule}): {finding}; {then}"),
        "anomaly": { "agent": agent, "rule": rule, "finding": finding, "suspends": suspends },
    }))
}

fn budget(told: &Entry) -> Result<Value, StoreError> {
    let Spent {
        budget,
        account,
        unit,
        used,
        limit,
        percent,
    } = read(told)?;
    let of = format!("{} of {}", unit.told(used), unit.told(limit));
    let text = match percent {
        Some(percent) => {
            format!("budget {budget} is used or reserved to {percent} % ({of}, account {account})")
        }
        None => format!(
            "budget {budget} is used up ({of}, account {account}): what it pays for is refused; \
             `cofferdam budget raise {budget} --account {account}` lets it go on"
        ),
    };
    Ok(json!({
        "text": line(&text, 2 * TEXT_MAX),
        "budget": { "budget": budget, "account": account, "unit": unit, "used": used, "limit": limit, "percent": percent },
    }))
}

fn risk(told: &Entry) -> Result<Value, StoreError> {
    let Risk {
        agent,
        from,
        to,
        score,
        because,
    } = read(told)?;
    let because: Vec<String> = because.iter().map(|what| short(what)).collect();
    let lately = match because.is_empty() {
        true => String::new(),
        false => format!("; lately: {}", because.join(", ")),
    };
    let then = match to {
        RiskLevel::Critical => "look at it now",
        _ if to < from => "it says why",
        _ => "it is safer than it was",
    };
    Ok(json!({
        "text": line(
            &format!(
                "risk of agent {agent} is {} ({score} of 1000 safe), {} before{lately}; {then}: `cofferdam trust risk {agent}`",
                to.as_str(), from.as_str()
            ),
            2 * TEXT_MAX,
        ),
        "risk": { "agent": agent, "from": from, "to": to, "score": score, "because": because },
    }))
}

fn short(text: &str) -> String {
    line(text, TEXT_MAX)
}

fn read<T: serde::de::DeserializeOwned>(entry: &Entry) -> Result<T, StoreError> {
    serde_json::from_value(entry.body.clone()).map_err(|error| StoreError::Corrupt {
        finding: format!("entry {}: {error}", entry.sequence),
    })
}
