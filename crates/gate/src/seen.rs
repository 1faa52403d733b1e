//! Step 1: who acts, and everything else that one admission reads before it judges.

use crate::admit::{Proposal, Refusal};
use crate::approvals::{APPROVALS, ApprovalView};
use crate::calls::{CALLS, CallView, key};
use crate::deadlines::Deadlines;
use crate::elevations::{self, ELEVATIONS, ElevationView};
use crate::gate::lock;
use crate::rows::{self, decode};
use crate::sessions::{SESSIONS, SessionRow, SessionView};
use crate::settle::CallOf;
use crate::waivers::WAIVERS;
use crate::{AgentAuthority, Authority, Gate, approvals, chains, stops, waivers};
use journal::machine::{Approval, Session};
use policy::{Action, Approved, Chain, Context, SessionFacts, Subject, Timestamp};
use serde_json::Value;
use std::sync::Arc;
use store::{Erasable, Reader, StoreError};

/// The longest key of a step, in bytes.
const STEP_BYTES_MAX: usize = 256;
/// Actions of sessions of which it is known that nobody approved or waived anything like them; past it all are
/// forgotten.
const QUIET_MAX: usize = 4096;

/// A session, and verb and resource of an action.
pub(crate) type Quiet = (String, String);

/// What one admission judges by; its commit compares it with what holds then.
#[derive(Clone)]
pub(crate) struct Seen {
    pub session: SessionView,
    pub step: String,
    pub authority: Arc<Authority>,
    pub agent: Arc<AgentAuthority>,
    pub chain: Chain,
    pub subject: Subject,
    /// What raises the level of the agent that acts, where it acts now.
    pub elevation: Option<String>,
    /// Of identities and delegations.
    pub identities: u64,
    /// Of the stops in memory.
    pub epoch: u64,
    /// By which whatever ends is over; never earlier than what was seen before.
    pub deadline: Timestamp,
    /// The first end of anything that the chain rests on.
    pub until: Option<Timestamp>,
    /// Tells in the commit whether that has come.
    pub deadlines: Arc<Deadlines>,
    pub context: Context,
    /// The newest approval of exactly this action in this session.
    pub approval: Option<ApprovalView>,
    /// Every approval of this verb and resource in this session, and where it stands.
    pub alike: Vec<(String, Approval)>,
}

impl Gate {
    /// Reads who proposes and what is known about it. Refuses who cannot act, and a step that was
    /// admitted before.
    /// With `is_new` nobody looks whether the step was admitted before, but the commit.
    pub(crate) async fn see(&self, proposal: &Proposal, is_new: bool) -> Result<Seen, Refusal> {
        self.try_settle_doubts().await;
        let not_acting = |why: &str| Refusal::NotActing(proposal.session.clone(), why.to_owned());
        if !is_step(&proposal.step) {
            return Err(not_acting(
                "a step's key has 1 to 256 bytes and no control characters",
            ));
        }
        // Read before everything else, so that whatever changes from here on is noticed in the commit.
        let (epoch, authority, deadline) = (
            self.stops.epoch(),
            self.authority.load_full(),
            self.deadlines.now(),
        );
        let read = self.known_or_read(&authority, proposal, is_new)?;
        let mut session = read
            .session
            .ok_or_else(|| not_acting("there is no such session"))?;
        // INVARIANT (what may have entered counts as entered): also of what still goes on.
        session.taint = session.taint.and(self.entering.of(&session.id));
        if session.state != Session::Running {
            return Err(not_acting("it does not run"));
        }
        let agent = authority
            .agents
            .get(&session.agent)
            .ok_or_else(|| not_acting("its agent is not configured"))?;
        if let Some(call) = read.call.filter(|call| !call.is_open_to(&proposal.action)) {
            return Err(Refusal::AlreadyAdmitted {
                step: call.step,
                entry: call.permit.unwrap_or(0),
            });
        }
        let approved = approved(read.approval.as_ref(), read.stands, deadline);
        let held = read.held.ok_or_else(|| not_acting("nobody stands behind it"))?;
        let chain = session.lending(held.chain(&authority, &session.cause, deadline));
        let trust = self.least(&authority, &chain, deadline)?.min(held.ceiling());
        let elevation = read.elevation.filter(|elevation| elevation.holds_with(trust));
        let until = held.until(&authority, deadline);
        let chain = elevations::raised(chain, elevation.as_ref());
        let here = elevations::felt(elevation.as_ref(), agent, proposal.action.environment());
        Ok(Seen {
            elevation: here,
            step: proposal.step.clone(),
            agent: Arc::clone(agent),
            subject: stops::subject(&authority, &chain, &session.id).doing(&proposal.action),
            chain,
            identities: held.identities,
            epoch,
            deadline,
            until: until
                .into_iter()
                .chain(elevation.map(|elevation| elevation.expires))
                .min(),
            deadlines: Arc::clone(&self.deadlines),
            context: context(deadline, trust, &session, approved.or(read.waiver)),
            approval: read.approval,
            alike: read.alike,
            session,
            authority: Arc::clone(&authority),
        })
    }
}

impl Gate {
    fn known_or_read(
        &self,
        authority: &Authority,
        proposal: &Proposal,
        is_new: bool,
    ) -> Result<Read, StoreError> {
        let known = match is_new {
            true => self.read_nothing(authority, proposal)?,
            false => None,
        };
        match known {
            Some(read) => Ok(read),
            None => self.store.read(|reader| self.read(reader, authority, proposal)),
        }
    }

    async fn try_settle_doubts(&self) {
        if self.doubts.any()
            && let Err(error) = self.settle_doubts().await
        {
            // Nothing rests on it: a step in doubt counts as admitted until it is settled.
            tracing::warn!(%error, "commits in doubt are not settled yet");
        }
    }

    /// The same without a snapshot, when all of it is known: it was read for an action like this one, and nothing that
    /// it rests on has changed since. What changes from here on is noticed in the commit.
    fn read_nothing(&self, authority: &Authority, proposal: &Proposal) -> Result<Option<Read>, StoreError> {
        let moment = lock(&self.quiet).get(&quiet(proposal)).copied();
        let changed = |moment| {
            [APPROVALS, WAIVERS, ELEVATIONS]
                .iter()
                .any(|name| self.store.changed_since(name, moment))
        };
        if moment.is_none_or(changed) {
            return Ok(None);
        }
        let Some(row) = self.store.latest(SESSIONS, &proposal.session)? else {
            return Ok(None);
        };
        let session = rows::decode_held::<SessionRow>(&row)?.view;
        let delegation = session.delegation.as_deref();
        let held = self.seen_before(authority, &session.agent, &session.cause, delegation);
        Ok(held.map(|held| Read {
            session: Some(session),
            held: Some(held),
            ..Read::default()
        }))
    }

    /// Everything of one moment.
    fn read(
        &self,
        reader: &Reader<'_>,
        authority: &Authority,
        proposal: &Proposal,
    ) -> Result<Read, StoreError> {
        let mut read = read(reader, proposal)?;
        let Some(session) = &read.session else {
            return Ok(read);
        };
        let delegation = session.delegation.as_deref();
        let held = self.behind(reader, authority, &session.agent, &session.cause, delegation)?;
        let now = self.deadlines.now();
        let spot = held.spot(authority);
        let whose = (held.behalf(), &spot);
        let waivers = waivers::alike(reader, &session.agent, &proposal.action)?;
        read.elevation = elevations::of(
            reader,
            authority,
            &session.agent,
            &session.cause,
            &held.behalf(),
            now,
        )?;
        if waivers.is_empty() && read.alike.is_empty() && read.elevation.is_none() {
            let mut quiets = lock(&self.quiet);
            if quiets.len() >= QUIET_MAX {
                quiets.clear();
            }
            quiets.insert(quiet(proposal), reader.moment());
        }
        read.waiver = waivers::covering(reader, waivers, session, whose, (&proposal.action, now))?;
        if let Some(approval) = &read.approval {
            read.stands = approvals::still_stands(reader, approval, &spot, now)?;
        }
        read.held = Some(held);
        Ok(read)
    }
}

impl Seen {
    /// Whose outcome the permit of `action` will have.
    pub(crate) fn call_of(&self, action: &Action) -> CallOf {
        CallOf {
            session: self.session.id.clone(),
            step: self.step.clone(),
            verb: action.verb().as_str().to_owned(),
            agent: self.session.agent.clone(),
            cause: self.session.cause.clone(),
            correlation: self.session.correlation.clone(),
        }
    }
}

/// Those of `approvals` that could be of `action`, and where they stand, the oldest first.
pub(crate) fn alike(approvals: &[ApprovalView], action: &Action) -> Vec<(String, Approval)> {
    let like =
        |view: &&ApprovalView| view.verb == action.verb().as_str() && view.resource == action.resource();
    let mut alike: Vec<_> = approvals
        .iter()
        .filter(like)
        .map(|view| (view.id.clone(), view.state))
        .collect();
    alike.sort_by_key(|(id, _)| rows::number(id));
    alike
}

fn context(now: Timestamp, trust: u16, session: &SessionView, approval: Option<Approved>) -> Context {
    Context {
        now,
        taint: session.taint,
        trust,
        session: SessionFacts {
            id: session.id.clone(),
            version: session.version,
            actions: session.actions,
        },
        approval,
    }
}

#[derive(Default)]
struct Read {
    session: Option<SessionView>,
    held: Option<Arc<chains::Held>>,
    call: Option<CallView>,
    approval: Option<ApprovalView>,
    /// Whether those who gave it may still decide.
    stands: bool,
    waiver: Option<Approved>,
    elevation: Option<ElevationView>,
    alike: Vec<(String, Approval)>,
}

/// The approval that was read, if it counts now.
fn approved(approval: Option<&ApprovalView>, stands: bool, now: Timestamp) -> Option<Approved> {
    let counts = |view: &&ApprovalView| stands && view.state_at(now) == Approval::Approved;
    approval.filter(counts).map(ApprovalView::given)
}

/// What approvals and waivers are looked for by.
fn quiet(proposal: &Proposal) -> Quiet {
    let (verb, resource) = (proposal.action.verb().as_str(), proposal.action.resource());
    (proposal.session.clone(), format!("{verb}:{resource}"))
}

fn read(reader: &Reader<'_>, proposal: &Proposal) -> Result<Read, StoreError> {
    let session = reader
        .row(SESSIONS, &proposal.session)?
        .map(decode::<SessionRow>)
        .transpose()?;
    let call = reader
        .row(CALLS, &key(&proposal.session, &proposal.step))?
        .map(decode)
        .transpose()?;
    let rows = reader.find(APPROVALS, "session", &proposal.session)?.into_iter();
    let approvals = rows
        .map(|row| decode(row.value))
        .collect::<Result<Vec<ApprovalView>, _>>()?;
    let alike = alike(&approvals, &proposal.action);
    let mut approval = None;
    for (id, _) in alike.iter().rev() {
        // INVARIANT (an approval is of one action): digests are compared, and they are in payloads only.
        let Erasable::Present(action) = reader.payload(rows::number(id), "action")? else {
            continue;
        };
        if is_digest_of(&action, proposal.action.digest()) {
            approval = approvals.into_iter().find(|view| view.id == *id);
            break;
        }
    }
    Ok(Read {
        session: session.map(|row| row.view),
        held: None,
        call,
        approval,
        stands: false,
        waiver: None,
        elevation: None,
        alike,
    })
}

fn is_step(key: &str) -> bool {
    (1..=STEP_BYTES_MAX).contains(&key.len()) && !key.chars().any(char::is_control)
}

fn is_digest_of(action: &Value, digest: &[u8; 32]) -> bool {
    policy::canonical::digest(action).is_ok_and(|found| found == *digest)
}
