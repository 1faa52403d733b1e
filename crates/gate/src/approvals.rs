//! Approvals: durable, bound to the exact action, single-use, expiring to denial.

mod answer;
mod escalate;
mod projection;
mod votes;
mod webhook;

pub use answer::{ANSWER_AGE_MS_MAX, ANSWER_BYTES_MAX, Answer, AnswerFault, Signed, Unsigned};
pub(crate) use projection::Approvals;
use votes::Voter;
pub(crate) use votes::chain_holds;
pub use votes::{Counted, Passed, Vote};
pub use webhook::{AnswerError, Answered, stages_of};
pub(crate) use webhook::{NONCES, keys_now, nonces, read_keys};

use crate::agents::read_person;
use crate::gate::platform;
use crate::record::short;
use crate::rows::{self, decode};
use crate::{Caller, Gate, Spot, calls, sessions, waivers};
use journal::kind;
use journal::machine::{Approval, ApprovalEvent, IllegalEvent};
use policy::{Principal, Timestamp, WaiverScope};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{Erasable, Reader, Retention, StoreError, Tx};

/// Name of the projection.
pub(crate) const APPROVALS: &str = "approvals";

/// An approval as shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub struct ApprovalView {
    /// `apr-57`.
    pub id: String,
    pub state: journal::machine::Approval,
    pub session: String,
    pub step: String,
    pub agent: String,
    pub cause: Principal,
    pub verb: String,
    pub resource: String,
    pub effect: policy::Effect,
    pub environment: String,
    pub reason: String,
    pub rule: Option<String>,
    /// What each rule asked; it answers these and no others.
    pub questions: Vec<String>,
    /// What had entered the session by then.
    pub taint: policy::Taints,
    /// The delegation that the session runs under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegation: Option<String>,
    pub approvers: Vec<policy::Approver>,
    /// The outside systems that were asked: channels, each with its public key of then.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub webhooks: BTreeMap<String, String>,
    /// When one list of names is not all that the rules asked for: each is answered to its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub each_of: Vec<policy::Stages>,
    /// How those who approve may waive the asking for actions alike.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waivable: Vec<policy::WaiverScope>,
    /// Those who said yes, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub votes: Vec<Vote>,
    /// The stages whose time was over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub escalated: Vec<Passed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotence: Option<policy::Idempotence>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<policy::Level>,
    /// Everybody on whose behalf the agent acts, and the agent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub behalf: Vec<String>,
    /// The least trust of them all, when it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<u16>,
    pub requested: Timestamp,
    /// The same by the time that never goes back, from which the times of stages count.
    pub since: Timestamp,
    pub expires: Timestamp,
    pub decided_by: Option<Principal>,
    pub decided_at: Option<Timestamp>,
    pub decision_reason: Option<String>,
    /// The whole action as it will run; filled by [`Gate::approval`] unless erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Value>,
    /// What was decided last about this verb and resource of this agent; filled by [`Gate::approval`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similar: Option<Similar>,
}

/// A past decision about an action alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub struct Similar {
    pub id: String,
    pub state: journal::machine::Approval,
    pub decided_by: Principal,
    pub decided_at: Option<Timestamp>,
    pub reason: Option<String>,
}

/// What a person says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Approve,
    /// No.
    Deny,
}

/// Why a verdict does not count.
#[derive(Debug, thiserror::Error)]
pub enum ApproveError {
    /// There is none of that id.
    #[error("no approval `{0}`")]
    Unknown(String),
    /// Whoever caused it, or resolved a step that it may rest on.
    #[error("{0} caused this action and cannot decide about it")]
    OwnCause(Principal),
    /// Not a person.
    #[error("only a person decides; {0} is none")]
    NotAPerson(Principal),
    /// Not among the approvers, or without the role.
    #[error("{0} is not an approver of this action")]
    NotAnApprover(Principal),
    /// Of a later stage.
    #[error("{0} decides later; first it waits for {1}")]
    NotYet(Principal, String),
    /// Said yes before, while others are still asked.
    #[error("{0} approved it and that vote stands; another approver can deny it")]
    Conflicting(Principal),
    /// No rule lets its asking be waived so.
    #[error("approval `{0}` cannot be given for `{1}`: {2}")]
    NotWaivable(String, policy::WaiverScope, String),
    /// What it was about is gone.
    #[error("the action of approval `{0}` was erased, so nobody can see what would happen")]
    Erased(String),
    /// Already decided, spent, expired or cancelled.
    #[error(transparent)]
    Illegal(#[from] journal::machine::IllegalEvent),
    /// Not recorded.
    #[error(transparent)]
    Store(#[from] store::StoreError),
}

impl Gate {
    /// Pending ones first, then the newest, up to `limit`.
    pub fn approvals(&self, limit: usize) -> Result<Vec<ApprovalView>, StoreError> {
        self.store.read(|reader| {
            let mut shown = Vec::new();
            for row in reader.find(APPROVALS, "state", "pending")? {
                shown.push(decode::<ApprovalView>(row.value)?);
            }
            shown.sort_by_key(|view| std::cmp::Reverse(rows::number(&view.id)));
            shown.truncate(limit);
            let decided = |view: &ApprovalView| view.state != Approval::Pending;
            let rest = limit - shown.len();
            shown.extend(rows::newest(reader, APPROVALS, rest, decided)?);
            Ok(shown)
        })
    }

    /// One, with its action.
    pub fn approval(&self, id: &str) -> Result<Option<ApprovalView>, StoreError> {
        self.store.read(|reader| {
            let Some(value) = reader.row(APPROVALS, id)? else {
                return Ok(None);
            };
            let mut view: ApprovalView = decode(value)?;
            if let Erasable::Present(action) = reader.payload(rows::number(id), "action")? {
                view.action = Some(action);
            }
            view.similar = similar(reader, &view)?;
            Ok(Some(view))
        })
    }

    /// A person decides. The same verdict by the same person again changes nothing and is no error.
    /// A denial also withdraws an approval that is not spent yet.
    pub async fn decide_approval(
        &self,
        caller: &Caller,
        id: &str,
        verdict: Verdict,
        reason: &str,
    ) -> Result<ApprovalView, ApproveError> {
        self.decide_in_scope(caller, id, verdict, reason, None).await
    }

    /// A person approves, and with `scope` asks not to be asked again about actions alike: once all who had
    /// to approve have asked for the same, a waiver is recorded beside the approval, which stays single-use.
    pub async fn decide_in_scope(
        &self,
        caller: &Caller,
        id: &str,
        verdict: Verdict,
        reason: &str,
        scope: Option<WaiverScope>,
    ) -> Result<ApprovalView, ApproveError> {
        let (caller, id, reason) = (caller.clone(), id.to_owned(), short(reason));
        let deadlines = Arc::clone(&self.deadlines);
        let agent = self.store.read(|reader| reader.row(APPROVALS, &id))?;
        let agent = agent
            .map(decode::<ApprovalView>)
            .transpose()?
            .map(|view| view.agent);
        let spot = self.spot_of(&agent.ok_or_else(|| ApproveError::Unknown(id.clone()))?)?;
        let write = move |tx: &mut Tx<'_>| {
            let view = row(tx, &id)?.ok_or_else(|| ApproveError::Unknown(id.clone()))?;
            let voter = Voter::Person {
                caller: &caller,
                spot: &spot,
            };
            say(tx, voter, view, verdict, &reason, scope, deadlines.now())
        };
        let written = self
            .store
            .write::<Result<ApprovalView, IllegalEvent>, ApproveError, _>(write)
            .await?;
        Ok(written.value?)
    }

    /// Turns every open approval past its time into a denial; returns them. Called by a timer. Also passes
    /// over stages whose time is over,
    /// records counts of repeated denials whose minute is over, and permits of unacknowledged commits.
    pub async fn expire_approvals(&self) -> Result<Vec<ApprovalView>, StoreError> {
        self.settle_doubts().await?;
        self.expire_waivers().await?;
        self.end_elevations().await?;
        self.record_repeats(self.denials.take_ended(self.clock.monotonic()))
            .await?;
        let now = self.deadlines.now();
        let store = self.store.clone();
        // Beside the async threads: thousands may wait, and all of them are looked at.
        let looking = tokio::task::spawn_blocking(move || store.read(|reader| undecided(reader, now)));
        let late = looking.await.map_err(|error| StoreError::Unavailable {
            reason: error.to_string(),
        });
        let Late { overdue, over } = late??;
        self.escalate_approvals(overdue, now).await?;
        if over.is_empty() {
            return Ok(over);
        }
        let write = move |tx: &mut Tx<'_>| {
            let mut expired = Vec::with_capacity(over.len());
            for view in over {
                expired.extend(expire(tx, &view.id, now)?);
            }
            Ok(expired)
        };
        self.store
            .write::<_, StoreError, _>(write)
            .await
            .map(|written| written.value)
    }
}

/// Approvals that nobody decided in time.
#[derive(Default)]
struct Late {
    /// A stage of theirs is over.
    overdue: Vec<ApprovalView>,
    /// All of their time is.
    over: Vec<ApprovalView>,
}

fn undecided(reader: &store::Reader<'_>, now: Timestamp) -> Result<Late, StoreError> {
    let mut late = Late::default();
    for state in ["pending", "approved"] {
        for row in reader.find(APPROVALS, "state", state)? {
            let view: ApprovalView = decode(row.value)?;
            if view.is_over(now) {
                late.over.push(view);
            } else if view.is_overdue(now) {
                late.overdue.push(view);
            }
        }
    }
    Ok(late)
}

impl Verdict {
    fn event(self) -> ApprovalEvent {
        match self {
            Verdict::Approve => ApprovalEvent::Approve,
            Verdict::Deny => ApprovalEvent::Deny,
        }
    }

    /// `approve` or `deny`.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Approve => "approve",
            Verdict::Deny => "deny",
        }
    }
}

impl ApprovalView {
    /// Whether it is still open but its time is over: it counts as expired even before that is recorded.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        matches!(self.state, Approval::Pending | Approval::Approved) && now >= self.expires
    }

    /// As a decision weighs it.
    pub(crate) fn given(&self) -> policy::Approved {
        policy::Approved {
            id: self.id.clone(),
            by: self.votes.iter().map(Vote::name).collect(),
            questions: self.questions.clone(),
            asked: self.lists(),
            waiver: None,
        }
    }

    /// Where it stands at `now`.
    pub(crate) fn state_at(&self, now: Timestamp) -> Approval {
        if self.is_over(now) {
            Approval::Expired
        } else {
            self.state
        }
    }
}

/// Who said what became of a step of `session`, as of now in this transaction: they are among those who
/// caused what follows.
pub(crate) fn resolvers_in(tx: &Tx<'_>, session: &str) -> Result<Vec<Principal>, StoreError> {
    calls::resolvers(tx.find(calls::CALLS, calls::RESOLVED, session)?)
}

/// INVARIANT (a vote is as good as its voter): whether all of these people may still decide about what
/// `session` does at `spot`: none has left or lost the role there, and none resolved one of its steps.
pub(crate) fn may_still_decide<'a>(
    reader: &Reader<'_>,
    session: &str,
    spot: &Spot,
    names: impl Iterator<Item = &'a str>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let resolvers = calls::resolvers(reader.find(calls::CALLS, calls::RESOLVED, session)?)?;
    for name in names {
        let person = read_person(reader, name)?;
        let may = person.is_some_and(|person| person.may_decide(spot, now));
        if !may || resolvers.contains(&Principal::person(name)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether all who gave `view` may still decide: people as [`may_still_decide`] says, and outside systems as long
/// as their key is that of their channel.
pub(crate) fn still_stands(
    reader: &Reader<'_>,
    view: &ApprovalView,
    spot: &Spot,
    now: Timestamp,
) -> Result<bool, StoreError> {
    for (channel, key) in view.votes.iter().filter_map(Vote::webhook) {
        let current = crate::channels::read_key(reader, channel)?;
        if current.map(|current| current.to_string()).as_deref() != Some(key) {
            return Ok(false);
        }
    }
    let people = view.votes.iter().filter(|vote| vote.webhook().is_none());
    let names = people.map(|vote| vote.by.name.as_str());
    may_still_decide(reader, &view.session, spot, names, now)
}

/// How many requests are looked through for what is like another.
const ALIKE_MAX: usize = 64;

/// The newest decision of a person about the verb and resource of `view` by its agent, of those that were asked
/// for last.
fn similar(reader: &Reader<'_>, view: &ApprovalView) -> Result<Option<Similar>, StoreError> {
    let mut newest: Option<Similar> = None;
    let alike = alike(&view.agent, &view.verb, &view.resource);
    for row in reader.find_last(APPROVALS, "alike", &alike, ALIKE_MAX)? {
        let other: ApprovalView = decode(row.value)?;
        let later = newest
            .as_ref()
            .is_none_or(|newest| newest.decided_at < other.decided_at);
        if let Some(decided_by) = other.decided_by.filter(|_| later && other.id != view.id) {
            newest = Some(Similar {
                id: other.id,
                state: other.state,
                decided_by,
                decided_at: other.decided_at,
                reason: other.decision_reason,
            });
        }
    }
    Ok(newest)
}

/// What the index `alike` is by.
fn alike(agent: &str, verb: &str, resource: &str) -> String {
    format!("{agent} {verb} {resource}")
}

/// What somebody says of `view`, at `now`. When its time is over that is recorded here and now, so the refusal is
/// the answer of a commit and not its rollback.
fn say(
    tx: &mut Tx<'_>,
    voter: Voter<'_>,
    view: ApprovalView,
    verdict: Verdict,
    reason: &str,
    scope: Option<WaiverScope>,
    now: Timestamp,
) -> Result<Result<ApprovalView, IllegalEvent>, ApproveError> {
    let view = escalate::overdue(tx, view, now)?;
    votes::may_decide(voter, &view, &resolvers_in(tx, &view.session)?)?;
    if view.is_over(now) {
        decided(tx, kind::APPROVAL_EXPIRED, &view, &platform(), late(&view))?;
        return Ok(Approval::Expired.after(verdict.event()).map(|_| view));
    }
    if !view.heard(voter.principal(), verdict) {
        view.state.after(verdict.event())?;
        may_waive(&view, scope)?;
        vote(tx, voter, &view, verdict, reason, scope)?;
        waive(tx, voter.principal(), &view.id, now)?;
    }
    Ok(Ok(row(tx, &view.id)?.unwrap_or(view)))
}

/// Records what somebody says: a vote, or the last one that was needed, or a no.
fn vote(
    tx: &mut Tx<'_>,
    voter: Voter<'_>,
    view: &ApprovalView,
    verdict: Verdict,
    reason: &str,
    scope: Option<WaiverScope>,
) -> Result<(), ApproveError> {
    let who = voter.principal();
    let (kind, counts) = match verdict {
        Verdict::Deny => {
            votes::may_deny(who, view)?;
            waivers::withdraw(tx, view, who)?;
            (kind::APPROVAL_DENIED, Vec::new())
        }
        Verdict::Approve => match votes::counts(voter, view)? {
            None => return Ok(()),
            Some((counts, false)) => (kind::APPROVAL_VOTED, counts),
            Some((counts, true)) => (kind::APPROVAL_APPROVED, counts),
        },
    };
    let link = votes::link(tx, voter, view, verdict, reason, &counts, scope)?;
    let mut body = json!({
        "approval": view.id, "reason": reason, "counts": counts, "scope": scope, "approver": voter.told(),
    });
    let waits_for = (kind == kind::APPROVAL_VOTED).then(|| view.waits_for(&counts));
    for (name, text) in [("waits_for", waits_for), ("key", voter.key())] {
        if let (Some(members), Some(text)) = (body.as_object_mut(), text) {
            members.insert(name.to_owned(), text.into());
        }
    }
    let entry = sessions::entry(tx, kind, &view.session, who, body)?;
    tx.append(entry.payload(votes::VOTE, Retention::Action, link))?;
    Ok(())
}

/// Whether every rule that asks lets its asking be waived so.
fn may_waive(view: &ApprovalView, scope: Option<WaiverScope>) -> Result<(), ApproveError> {
    let Some(scope) = scope.filter(|scope| !view.waivable.contains(scope)) else {
        return Ok(());
    };
    let allowed: Vec<String> = view.waivable.iter().map(ToString::to_string).collect();
    let why = match allowed.is_empty() {
        true => "its rules ask each time".to_owned(),
        false => format!("its rules allow {}", allowed.join(", ")),
    };
    Err(ApproveError::NotWaivable(view.id.clone(), scope, why))
}

/// Once the last vote is given: the waiver that all votes ask for.
fn waive(tx: &mut Tx<'_>, by: &Principal, id: &str, now: Timestamp) -> Result<(), StoreError> {
    let Some(view) = row(tx, id)?.filter(|view| view.state == Approval::Approved) else {
        return Ok(());
    };
    let mut scopes = view.votes.iter().map(|vote| vote.scope);
    match scopes.next().flatten() {
        Some(scope) if scopes.all(|other| other == Some(scope)) => waivers::grant(tx, &view, scope, by, now),
        _ => Ok(()),
    }
}

/// The row of an approval, as of now in this transaction.
pub(crate) fn row(tx: &Tx<'_>, id: &str) -> Result<Option<ApprovalView>, StoreError> {
    tx.row(APPROVALS, id)?.map(decode).transpose()
}

/// All approvals of a session, as of now in this transaction.
pub(crate) fn of(tx: &Tx<'_>, session: &str) -> Result<Vec<ApprovalView>, StoreError> {
    tx.find(APPROVALS, "session", session)?
        .into_iter()
        .map(|row| decode(row.value))
        .collect()
}

/// Records that an open approval's time is over; `None` when it is not, or not any more.
pub(crate) fn expire(tx: &mut Tx<'_>, id: &str, now: Timestamp) -> Result<Option<ApprovalView>, StoreError> {
    let Some(view) = row(tx, id)?.filter(|view| view.is_over(now)) else {
        return Ok(None);
    };
    decided(tx, kind::APPROVAL_EXPIRED, &view, &platform(), late(&view))?;
    row(tx, id)
}

/// Cancels one approval, if it is still open.
pub(crate) fn cancel(tx: &mut Tx<'_>, view: &ApprovalView, reason: &str) -> Result<(), StoreError> {
    if view.state.after(ApprovalEvent::Cancel).is_ok() {
        decided(tx, kind::APPROVAL_CANCELLED, view, &platform(), reason)?;
    }
    Ok(())
}

/// Cancels every open approval of a session, and ends the waivers that were for it alone.
pub(crate) fn cancel_open(tx: &mut Tx<'_>, session: &str, reason: &str) -> Result<(), StoreError> {
    waivers::end_with_session(tx, session)?;
    of(tx, session)?
        .iter()
        .try_for_each(|view| cancel(tx, view, reason))
}

/// Why an approval whose time is over does not count.
pub(crate) fn late(view: &ApprovalView) -> &'static str {
    match view.state {
        Approval::Approved => "it was approved, but not used in time",
        _ => "nobody decided in time",
    }
}

fn decided(
    tx: &mut Tx<'_>,
    kind: &'static str,
    view: &ApprovalView,
    by: &Principal,
    reason: &str,
) -> Result<u64, StoreError> {
    let body = json!({ "approval": view.id, "reason": reason });
    let entry = sessions::entry(tx, kind, &view.session, by, body)?;
    tx.append(entry)
}
