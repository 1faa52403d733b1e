//! Votes: who counts at which stage of an approval, and the chain that votes form.
//!
//! A vote names the digest of the action that its approver was shown and the vote before it. It decides
//! nothing by itself: what votes come to is the machine's of `journal`, and what an approval is worth is
//! said by `policy::decide`, again at each admission.

use super::{ApprovalView, ApproveError, Verdict};
use crate::channels::ApproverKey;
use crate::{Caller, Role, Spot};
use policy::{Approver, Principal, PrincipalKind, Stage, Stages, Timestamp, WaiverScope};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Erasable, StoreError, Tx};

/// Name of the payload of an entry that is a vote.
pub(crate) const VOTE: &str = "vote";
/// Format of that payload.
const VERSION: u64 = 1;

/// One yes, and what it counted for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// Who said it.
    pub by: Principal,
    /// When.
    pub at: Timestamp,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The stages that it counted for.
    #[serde(default)]
    pub counts: Vec<Counted>,
    /// What else it was asked to cover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<WaiverScope>,
    /// Of an outside system: the public key under which its answer was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Sequence of its entry.
    pub entry: u64,
}

impl Vote {
    /// The channel behind which the outside system is that voted, and its key; `None` of a person.
    pub(crate) fn webhook(&self) -> Option<(&str, &str)> {
        let channel = self.by.name.strip_prefix(CHANNEL)?;
        Some((channel, self.key.as_deref()?))
    }

    /// Who voted, as lists of approvers name them.
    pub(crate) fn name(&self) -> String {
        match self.webhook() {
            Some((channel, _)) => format!("{}{channel}", Approver::WEBHOOK),
            // INVARIANT (no person is an outside system): a name that looks like one's names nobody.
            None if self.by.name.starts_with(Approver::WEBHOOK) => String::new(),
            None => self.by.name.clone(),
        }
    }
}

/// What the name of an outside system begins with, among services.
const CHANNEL: &str = "channel/";

/// Who votes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Voter<'a> {
    /// A person, and where the agent is whose action it is about.
    Person { caller: &'a Caller, spot: &'a Spot },
    /// The outside system behind a channel.
    Webhook(&'a Signer),
}

/// An outside system that is known by its key.
#[derive(Debug)]
pub(crate) struct Signer {
    pub principal: Principal,
    pub channel: String,
    pub key: ApproverKey,
    /// What it signed, and how: the proof that it did.
    pub signed: Value,
}

impl Voter<'_> {
    pub fn principal(&self) -> &Principal {
        match self {
            Voter::Person { caller, .. } => &caller.principal,
            Voter::Webhook(signer) => &signer.principal,
        }
    }

    /// Whether it may answer `stage`. An outside system only where it is named.
    fn is_of(&self, stage: &Stage) -> bool {
        match self {
            Voter::Person { caller, spot } => stage.names(|approver| is(caller, spot, approver)),
            Voter::Webhook(signer) => stage.names_webhook(&signer.channel),
        }
    }

    /// Whether it may decide at all. A rule that names an outside system gives it that.
    fn has_role(&self) -> bool {
        match self {
            Voter::Person { caller, spot } => caller.holds(&[Role::Approver, Role::Admin], spot),
            Voter::Webhook(_) => true,
        }
    }

    /// The public key of an outside system.
    pub fn key(&self) -> Option<String> {
        match self {
            Voter::Person { .. } => None,
            Voter::Webhook(signer) => Some(signer.key.to_string()),
        }
    }

    /// What it is and how that is known, as the leaf says it.
    pub fn told(&self) -> Value {
        match self {
            Voter::Person { .. } => json!({ "kind": "person", "assurance": "token" }),
            Voter::Webhook(_) => json!({ "kind": "webhook", "assurance": "signature" }),
        }
    }

    /// Who it is and how that is known.
    fn identity(&self) -> Value {
        match self {
            Voter::Person { caller, .. } => json!({
                "kind": "person", "name": caller.principal.name, "roles": caller.roles, "groups": caller.groups,
                "assurance": "token", "token": caller.token,
            }),
            Voter::Webhook(signer) => json!({
                "kind": "webhook", "name": signer.channel, "assurance": "signature", "key": signer.key,
                "signed": signer.signed,
            }),
        }
    }
}

/// A stage of a list of stages, both from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub struct Counted {
    pub list: usize,
    pub stage: usize,
}

/// A stage that was passed over, and when that was, by the time that never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub struct Passed {
    #[serde(flatten)]
    pub stage: Counted,
    /// Entries did not always tell it; the times of stages counted from the request then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

impl ApprovalView {
    /// The lists of stages that each have to be answered to their end.
    pub(crate) fn lists(&self) -> Vec<Stages> {
        match self.each_of.is_empty() {
            true => vec![Stages::any_of(&self.approvers)],
            false => self.each_of.clone(),
        }
    }

    /// The stage that each list has come to, `more` counted too; `None` for one that is answered.
    pub(super) fn standing(&self, lists: &[Stages], more: &[Counted]) -> Vec<Option<usize>> {
        let open = |list: usize, stages: &Stages| {
            let stages = stages.as_slice().iter().enumerate();
            stages
                .map(|(stage, asked)| (Counted { list, stage }, asked))
                .find(|(at, asked)| self.counted(*at, more) < asked.count && !self.is_passed(*at))
                .map(|(at, _)| at.stage)
        };
        lists
            .iter()
            .enumerate()
            .map(|(list, stages)| open(list, stages))
            .collect()
    }

    /// How many votes count at a stage, `more` counted too.
    pub(super) fn counted(&self, at: Counted, more: &[Counted]) -> u32 {
        let votes = self.votes.iter().flat_map(|vote| &vote.counts).chain(more);
        u32::try_from(votes.filter(|counted| **counted == at).count()).unwrap_or(u32::MAX)
    }

    fn is_passed(&self, at: Counted) -> bool {
        self.escalated.iter().any(|passed| passed.stage == at)
    }

    /// Whom each list waits for now, once `more` votes count.
    pub(super) fn waits_for(&self, more: &[Counted]) -> String {
        let lists = self.lists();
        let waiting = self.standing(&lists, more).into_iter().zip(&lists).enumerate();
        let told = |(list, (stage, stages)): (usize, (Option<usize>, &Stages))| {
            let stage = stage?;
            let given = self.counted(Counted { list, stage }, more);
            Some(stages.as_slice().get(stage)?.told_after(given))
        };
        waiting.filter_map(told).collect::<Vec<_>>().join("; and ")
    }

    fn has_voted(&self, who: &Principal) -> bool {
        self.votes.iter().any(|vote| vote.by == *who)
    }

    /// Whether this person said this before, and nothing came of it that the person has not seen.
    pub(crate) fn heard(&self, who: &Principal, verdict: Verdict) -> bool {
        use journal::machine::Approval;
        match verdict {
            Verdict::Approve => {
                matches!(self.state, Approval::Approved | Approval::Spent) && self.has_voted(who)
            }
            Verdict::Deny => self.state == Approval::Denied && self.decided_by.as_ref() == Some(who),
        }
    }
}

/// INVARIANT (nobody approves what they caused, or what rests on their word as one of `resolvers`), and only
/// persons whom a rule names decide, and outside systems that it names.
pub(crate) fn may_decide(
    voter: Voter<'_>,
    view: &ApprovalView,
    resolvers: &[Principal],
) -> Result<(), ApproveError> {
    let principal = voter.principal();
    if matches!(voter, Voter::Person { .. }) && principal.kind != PrincipalKind::Person {
        return Err(ApproveError::NotAPerson(principal.clone()));
    }
    let is_behind = view.behalf.contains(&principal.to_string());
    if *principal == view.cause || is_behind || resolvers.contains(principal) {
        return Err(ApproveError::OwnCause(principal.clone()));
    }
    let lists = view.lists();
    let mut stages = lists.iter().flat_map(Stages::as_slice);
    match voter.has_role() && stages.any(|stage| voter.is_of(stage)) {
        true => Ok(()),
        false => Err(ApproveError::NotAnApprover(principal.clone())),
    }
}

/// What a yes counts for now, and whether it is the last that was needed; `None` when it was said before.
pub(crate) fn counts(
    voter: Voter<'_>,
    view: &ApprovalView,
) -> Result<Option<(Vec<Counted>, bool)>, ApproveError> {
    let who = voter.principal();
    let lists = view.lists();
    let standing = view.standing(&lists, &[]);
    // One person is one vote in each list, whatever teams the person is in.
    let spoke = |list: usize| {
        let mine = view.votes.iter().filter(|vote| vote.by == *who);
        mine.flat_map(|vote| &vote.counts)
            .any(|counted| counted.list == list)
    };
    let mut counted = Vec::new();
    let mut waits = None;
    for (list, (stages, stage)) in lists.iter().zip(standing).enumerate() {
        let Some((stage, asked)) = stage.and_then(|at| Some((at, stages.as_slice().get(at)?))) else {
            continue;
        };
        if voter.is_of(asked) {
            counted.extend((!spoke(list)).then_some(Counted { list, stage }));
        } else {
            waits = waits.or(Some(asked.told()));
        }
    }
    if counted.is_empty() {
        return match (view.has_voted(who), waits) {
            (false, Some(waits)) => Err(ApproveError::NotYet(who.clone(), waits)),
            _ => Ok(None),
        };
    }
    let last = view.standing(&lists, &counted).iter().all(Option::is_none);
    Ok(Some((counted, last)))
}

/// A no counts from whoever may decide, but takes no vote back that others rely on: until all have voted
/// it stands, and once all have, a no withdraws the approval.
pub(crate) fn may_deny(who: &Principal, view: &ApprovalView) -> Result<(), ApproveError> {
    let pending = view.state == journal::machine::Approval::Pending;
    match pending && view.has_voted(who) {
        true => Err(ApproveError::Conflicting(who.clone())),
        false => Ok(()),
    }
}

/// The link of the chain that a vote is: its payload, with its own digest as `entry`.
pub(crate) fn link(
    tx: &Tx<'_>,
    voter: Voter<'_>,
    view: &ApprovalView,
    verdict: Verdict,
    reason: &str,
    counts: &[Counted],
    scope: Option<WaiverScope>,
) -> Result<Value, ApproveError> {
    let action = action_digest(tx, &view.id)?;
    if action.is_none() && verdict == Verdict::Approve {
        return Err(ApproveError::Erased(view.id.clone()));
    }
    let previous = match view.votes.last() {
        Some(vote) => entry_of(tx, vote)?.map(|(_, entry)| entry),
        None => None,
    };
    let mut link = json!({
        "version": VERSION, "approval": view.id, "verdict": verdict.as_str(), "reason": reason, "counts": counts,
        "scope": scope,
        "approver": voter.identity(),
        "action": action, "previous": previous,
    });
    let entry = digest(&link)?;
    if let Some(members) = link.as_object_mut() {
        members.insert("entry".to_owned(), json!(entry));
    }
    Ok(link)
}

/// Whether every vote of `view` is of the action with this digest and names the one before it.
pub(crate) fn chain_holds(tx: &Tx<'_>, view: &ApprovalView, action: &[u8; 32]) -> Result<bool, StoreError> {
    let hex = policy::canonical::hex(action);
    if action_digest(tx, &view.id)?.as_deref() != Some(hex.as_str()) {
        return Ok(false);
    }
    let mut previous: Option<String> = None;
    for vote in &view.votes {
        let Some((mut link, entry)) = entry_of(tx, vote)? else {
            return Ok(false);
        };
        if let Some(members) = link.as_object_mut() {
            members.remove("entry");
        }
        let names = |member: &str| link.get(member).and_then(Value::as_str).map(str::to_owned);
        let linked = names("action").as_deref() == Some(hex.as_str()) && names("previous") == previous;
        if !linked || names("approval").as_deref() != Some(view.id.as_str()) || digest(&link)? != entry {
            return Ok(false);
        }
        previous = Some(entry);
    }
    Ok(true)
}

/// Whether the caller is one whom `approver` names.
fn is(caller: &Caller, spot: &Spot, approver: &Approver) -> bool {
    match approver.0.as_str() {
        "approver" => caller.holds(&[Role::Approver], spot),
        "admin" => caller.holds(&[Role::Admin], spot),
        _ => {
            approver.is_person(&caller.principal.name)
                || caller.groups.iter().any(|group| approver.is_team(group))
        }
    }
}

/// Of the action that waits, unless it was erased.
pub(super) fn action_digest(tx: &Tx<'_>, id: &str) -> Result<Option<String>, StoreError> {
    match tx.payload(crate::rows::number(id), "action")? {
        Erasable::Present(action) => digest(&action).map(Some),
        Erasable::Erased | Erasable::Absent => Ok(None),
    }
}

/// The link that `vote` is, and its digest, unless it was erased.
fn entry_of(tx: &Tx<'_>, vote: &Vote) -> Result<Option<(Value, String)>, StoreError> {
    let Erasable::Present(link) = tx.payload(vote.entry, VOTE)? else {
        return Ok(None);
    };
    let entry = link.get("entry").and_then(Value::as_str).map(str::to_owned);
    Ok(entry.map(|entry| (link, entry)))
}

fn digest(value: &Value) -> Result<String, StoreError> {
    policy::canonical::digest(value)
        .map(|digest| policy::canonical::hex(&digest))
        .map_err(|error| StoreError::Refused(format!("a vote without a canonical form: {error}")))
}
