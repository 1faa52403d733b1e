//! What the journal says about an action: the bodies of `action.*` and `approval.requested`.
//!
//! A body holds what was decided and on which grounds, never an argument or a result: those are
//! payloads. Texts are redacted and short.

use crate::budgets::Reserved;
use crate::seen::Seen;
use policy::{Action, Branch, Effect, Idempotence, Level, PolicyVersion, PrincipalKind, RuleId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use store::{NewEntry, Retention, StoreError};

/// The longest free text in a body, in characters.
pub(crate) const TEXT_MAX: usize = 300;
/// Most rules that are told of those that are only observed.
const SAID_MAX: usize = 16;

/// The body of `action.permitted` and `action.denied`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Judged {
    pub step: String,
    pub verb: String,
    pub resource: String,
    pub environment: String,
    pub effect: Effect,
    pub idempotence: Idempotence,
    /// `permit` or `deny`.
    pub decision: String,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Where the policy of that rule is for; absent when it is for everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Branch>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// Of a denial: who or what lacks the right, a principal or `delegation/del-7`. The agent itself
    /// whenever it lacks it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacking: Option<String>,
    pub level: Level,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    /// What it rests on in the place of an approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiver: Option<String>,
    /// What raised the level of the agent that acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elevation: Option<String>,
    /// Digest of the rules in force.
    pub policy: String,
    /// Of the configuration in force.
    pub generation: u64,
    /// The version of the policy that the rule stands in; absent for what comes with the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<PolicyVersion>,
    /// The signed bundles that policies in force came out of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bundles: Vec<String>,
    pub chain: Vec<HeldLink>,
    pub trust: u16,
    pub taint: policy::Taints,
    /// What counts as entered when nobody knows how the action ended.
    pub may_bring: policy::Taints,
    /// Actions that were admitted in the session before.
    #[serde(default)]
    pub actions: u64,
    /// What the result brings into the session whatever it is.
    #[serde(default, skip_serializing_if = "policy::Taints::is_none")]
    pub brings: policy::Taints,
    /// What policies that are only observed would have said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<policy::Observed>,
    /// What it could use at most, and the accounts that pay for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<Reserved>,
    pub security: Security,
}

/// One link of the chain, with the grant of it that covers the action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HeldLink {
    pub principal: String,
    /// `git.log:repository/*`; absent when none covers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// Who gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Where an agent belongs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<policy::Place>,
}

/// S0-A7.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Security {
    /// `readonly`, `read-write`, `admin`.
    pub permission_level: String,
    pub resources_accessed: Vec<Accessed>,
}

/// One resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Accessed {
    /// What stands before the first slash; `url` for an address.
    #[serde(rename = "type")]
    pub kind: String,
    pub identifier: String,
}

/// The body of `approval.requested`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Requested {
    pub approval: String,
    pub step: String,
    pub verb: String,
    pub resource: String,
    pub environment: String,
    pub effect: Effect,
    pub idempotence: Idempotence,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Where the policy of that rule is for; absent when it is for everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Branch>,
    /// What each rule asks: an approval answers these and no others.
    pub questions: Vec<String>,
    /// The delegation that the session runs under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegation: Option<String>,
    pub level: Level,
    /// As in [`Judged`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elevation: Option<String>,
    pub approvers: Vec<policy::Approver>,
    /// The outside systems that are asked: channels, each with the public key that has to answer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub webhooks: BTreeMap<String, String>,
    /// When one list of names is not all that the rules ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub each_of: Vec<policy::Stages>,
    /// How its approvers may waive the asking for actions alike.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waivable: Vec<policy::WaiverScope>,
    /// Everybody on whose behalf it acts, and itself, by how rights were passed on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub behalf: Vec<String>,
    /// The same with what each held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<HeldLink>,
    /// The least trust of them all, when it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<u16>,
    /// What had entered the session.
    #[serde(default)]
    pub taint: policy::Taints,
    /// Actions that were admitted in the session before.
    #[serde(default)]
    pub actions: u64,
    /// What the result brings into the session whatever it is.
    #[serde(default, skip_serializing_if = "policy::Taints::is_none")]
    pub brings: policy::Taints,
    /// Who is told of it, and of what becomes of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<String>,
    /// When it was asked, by the time that never goes back: the times of stages count from here.
    pub since: policy::Timestamp,
    pub expires: policy::Timestamp,
    pub policy: String,
    pub generation: u64,
    /// As in [`Judged`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<PolicyVersion>,
    /// As in [`Judged`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bundles: Vec<String>,
    /// What policies that are only observed would have said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<policy::Observed>,
}

/// What is said besides the facts of the action and its session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grounds {
    pub reason: String,
    pub code: Option<String>,
    pub rule: Option<String>,
    pub remedy: Option<String>,
    pub lacking: Option<String>,
    pub approval: Option<String>,
    pub waiver: Option<String>,
}

/// The body for `action` as `seen`.
pub(crate) fn judged(seen: &Seen, action: &Action, decision: &str, grounds: Grounds) -> Judged {
    Judged {
        step: seen.step.clone(),
        verb: action.verb().as_str().to_owned(),
        resource: action.resource().to_owned(),
        environment: action.environment().as_str().to_owned(),
        effect: action.effect(),
        idempotence: action.idempotence(),
        decision: decision.to_owned(),
        reason: short(&grounds.reason),
        code: grounds.code,
        place: place(seen, grounds.rule.as_deref()),
        version: version(seen, grounds.rule.as_deref()),
        rule: grounds.rule,
        remedy: grounds.remedy.as_deref().map(short),
        lacking: grounds.lacking,
        level: policy::level_in_force(&seen.chain, action, &seen.context).unwrap_or_default(),
        approval: grounds.approval,
        waiver: grounds.waiver,
        elevation: seen.elevation.clone(),
        policy: policy::canonical::hex(seen.authority.policies.digest()),
        generation: seen.authority.generation,
        bundles: seen.authority.policies.bundles().to_vec(),
        chain: links(seen, action),
        trust: seen.context.trust,
        taint: seen.session.taint,
        may_bring: action.may_bring(),
        actions: seen.context.session.actions,
        brings: action.brings(),
        observed: observed(seen, action),
        reserved: None,
        security: security(action),
    }
}

/// The chain, with the grant of each link that covers `action`.
pub(crate) fn links(seen: &Seen, action: &Action) -> Vec<HeldLink> {
    let held = |link: &policy::Link| {
        let grant = link.covering(action, seen.context.now);
        HeldLink {
            principal: link.principal.to_string(),
            grant: grant.map(|grant| grant.capability.to_string()),
            from: grant.map(|grant| grant.from.clone()),
            place: link
                .place
                .clone()
                .filter(|_| link.principal.kind == PrincipalKind::Agent),
        }
    };
    seen.chain.links.iter().map(held).collect()
}

/// Where the policy of `rule` is for, unless for everywhere.
pub(crate) fn place(seen: &Seen, rule: Option<&str>) -> Option<Branch> {
    let place = seen.authority.policies.place_of(&RuleId(rule?.to_owned()))?;
    (!place.is_everywhere()).then(|| place.clone())
}

/// The version of the policy of `rule`, unless it comes with the platform.
pub(crate) fn version(seen: &Seen, rule: Option<&str>) -> Option<PolicyVersion> {
    let policies = &seen.authority.policies;
    policies.version_of(&RuleId(rule?.to_owned())).cloned()
}

/// What policies that are only observed would have said of `action`; their words redacted and cut.
pub(crate) fn observed(seen: &Seen, action: &Action) -> Option<policy::Observed> {
    let policies = &seen.authority.policies;
    let mut observed = policy::observe(&seen.chain, action, &seen.context, policies)?;
    observed.said.truncate(SAID_MAX);
    for said in &mut observed.said {
        said.reason = short(&said.reason);
    }
    Some(observed)
}

/// An entry of this session by its agent.
pub(crate) fn entry(kind: &'static str, seen: &Seen, body: Value) -> NewEntry {
    let mut entry = NewEntry::new(kind, policy::Principal::agent(&seen.session.agent), body)
        .session(&seen.session.id)
        .cause(&seen.session.cause);
    entry.correlation.clone_from(&seen.session.correlation);
    entry
}

/// The same with the whole action as payload `name`.
pub(crate) fn entry_with(
    kind: &'static str,
    seen: &Seen,
    body: Value,
    name: &'static str,
    action: &Action,
) -> Result<NewEntry, StoreError> {
    Ok(entry(kind, seen, body).payload(name, Retention::Action, whole(action)?))
}

/// The action as JSON: exactly what its digest is of.
fn whole(action: &Action) -> Result<Value, StoreError> {
    serde_json::from_slice(action.canonical())
        .map_err(|error| StoreError::Refused(format!("an action that is no JSON: {error}")))
}

/// `text` on one line, redacted and cut.
pub(crate) fn short(text: &str) -> String {
    assay::redact::line(text, TEXT_MAX)
}

fn security(action: &Action) -> Security {
    let permission_level = match action.effect() {
        Effect::Read => "readonly",
        Effect::Write => "read-write",
        Effect::Destructive => "admin",
    };
    let resource = action.resource();
    let kind = match resource.split_once('/') {
        _ if resource.contains("://") => "url",
        Some((kind, _)) => kind,
        None => resource,
    };
    Security {
        permission_level: permission_level.to_owned(),
        resources_accessed: vec![Accessed {
            kind: kind.to_owned(),
            identifier: resource.to_owned(),
        }],
    }
}
