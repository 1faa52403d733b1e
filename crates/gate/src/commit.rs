//! Step 6: one transaction that judges again what may have changed, spends what has to be spent and
//! appends the record; and the one place where a permit is made.

use crate::bounds::Place;
use crate::budgets::{Spending, Unpaid};
use crate::deadlines::Deadlines;
use crate::gate::lock;
use crate::record::{Grounds, entry_with, judged};
use crate::rows::json;
use crate::seen::Seen;
use crate::settle::{CallOf, nothing, settle};
use crate::{
    Authority, Gate, agents, approvals, calls, documents, elevations, sessions, stops, trust, waivers,
};
use journal::kind;
use journal::machine::{Approval, Call, Session};
use policy::{Action, Basis, Outcome, Permit, Ruling, Stop, StopSet, Subject, Timestamp};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use store::{NewEntry, StoreError, Tx, Written};

/// Names of the bounds.
pub(crate) const PER_SESSION: &str = "actions per session";
/// See [`PER_SESSION`].
pub(crate) const PER_MINUTE: &str = "actions per minute";

/// Why there is no permit. Nothing was written, but for a stop that came after the record: that permit
/// is dropped unspent, and so settled as not started.
#[derive(Debug)]
pub(crate) enum Uncommitted {
    /// Something that was judged has changed: decide again.
    Changed,
    /// A stop covers it.
    Stopped(Box<Stop>),
    /// The step was admitted meanwhile.
    Admitted(u64),
    /// A bound is reached.
    Bound {
        what: &'static str,
        limit: u32,
        retry_after_ms: Option<i64>,
    },
    /// A budget does not pay for it.
    Unpaid(Box<Unpaid>),
    /// Not recorded.
    Store(StoreError),
}

impl From<StoreError> for Uncommitted {
    fn from(error: StoreError) -> Uncommitted {
        Uncommitted::Store(error)
    }
}

/// Commits that were not acknowledged. Each may have become durable all the same, and then the journal
/// holds a permit that nobody holds.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    next: AtomicU64,
    /// Which commit appended the permit of a sequence, until it is acknowledged or settled. Written on
    /// the journal's thread, so a sequence that is given out again belongs to the later one.
    appended: Mutex<HashMap<u64, u64>>,
    open: Mutex<Vec<Doubt>>,
}

#[derive(Clone, Debug)]
struct Doubt {
    commit: u64,
    permit: u64,
    call: CallOf,
}

/// What the transaction compares with what was judged.
pub(crate) struct Judged {
    session: String,
    version: u64,
    /// How many actions the session had, when what judged could read it.
    actions: Option<u64>,
    generation: u64,
    identities: u64,
    epoch: u64,
    subject: Subject,
    stops: Arc<StopSet>,
    step: String,
    action: Action,
    authority: Arc<Authority>,
    agents: Vec<String>,
    trust: u16,
    /// When trust was read.
    at: Timestamp,
    /// The first end of anything that the chain rests on.
    until: Option<Timestamp>,
    deadlines: Arc<Deadlines>,
    /// What raises the level of the agent that acts.
    elevation: Option<String>,
}

impl Gate {
    /// Makes the record of `ruling` durable and only then the permit. On the writer's thread: once the entry may be
    /// durable somebody has to hold the permit, or settle it, whether or not the caller waits.
    pub(crate) async fn commit(&self, seen: &Seen, ruling: Ruling) -> Result<Permit, Uncommitted> {
        self.record_repeats(self.denials.take_session(&seen.session.id))
            .await?;
        let judged = Judged::of(seen, ruling.action(), &self.stops);
        let spending = Spending::of(seen, ruling.action());
        let entry = record(seen, &ruling, spending.as_ref())?;
        let approval = ruling.approval().map(str::to_owned);
        let waiver = ruling.waiver().map(str::to_owned);
        let limit = seen.agent.bounds.actions_per_session;
        let place = self.place(seen)?;
        let (store, doubts, call) = (
            self.store.clone(),
            Arc::clone(&self.doubts),
            seen.call_of(ruling.action()),
        );
        let settler = self.settlements.settler(call.clone());
        let (subject, deadlines) = (seen.subject.clone(), Arc::clone(&self.deadlines));
        let commit = doubts.next.fetch_add(1, Ordering::SeqCst);
        let marks = Arc::clone(&doubts);
        let write = move |tx: &mut Tx<'_>| {
            let session = judged.still_holds(tx)?;
            // INVARIANT (a bound is exact): counted where the count grows, whoever else acts meanwhile.
            if session.actions >= u64::from(limit) {
                return Err(Uncommitted::Bound {
                    what: PER_SESSION,
                    limit,
                    retry_after_ms: None,
                });
            }
            if let Some(id) = approval {
                still_approved(tx, &id, judged.action.digest(), deadlines.now())?;
            }
            if let Some(id) = waiver
                && !waivers::still_holds(tx, &id, &judged.session, deadlines.now())?
            {
                return Err(Uncommitted::Changed);
            }
            // INVARIANT (an approval is spent once): this entry spends it.
            // INVARIANT (a ceiling holds): looked at here, where nobody else can reserve meanwhile.
            let paid = spending
                .as_ref()
                .map(|spending| spending.reserve(tx, deadlines.now()));
            let paid = paid.transpose()?;
            // It says how many were admitted before, also where that was not compared.
            let entry = entry.saying("actions", session.actions);
            let entry = match &paid {
                Some(paid) => entry.saying("reserved", json(&paid.reserved)?),
                None => entry,
            };
            let sequence = tx.append(entry)?;
            paid.map(|paid| paid.tell(tx)).transpose()?;
            lock(&marks.appended).insert(sequence, commit);
            Ok(sequence)
        };
        // Whether or not the caller waits: what nobody takes is dropped, and so settled.
        let after = move |written: Result<Written<u64>, Uncommitted>| {
            doubts.answered(commit, &call, &written);
            let entry = written?.value;
            place.keep();
            // INVARIANT (no effect before its record): the only permit there is, after the write returned.
            Ok(Permit::now_durable(ruling, entry, subject, settler))
        };
        store.write_then(write, after).await?
    }

    pub(crate) fn place(&self, seen: &Seen) -> Result<Place, Uncommitted> {
        let limit = seen.agent.bounds.actions_per_minute;
        let full = |ms| Uncommitted::Bound {
            what: PER_MINUTE,
            limit,
            retry_after_ms: Some(ms),
        };
        self.rates
            .place(&seen.session.agent, limit, &self.clock)
            .map_err(full)
    }

    /// Settles as not started what was committed without being acknowledged: its permit was never made.
    pub(crate) async fn settle_doubts(&self) -> Result<(), StoreError> {
        let open = lock(&self.doubts.open).clone();
        for doubt in open {
            let (doubts, in_doubt) = (Arc::clone(&self.doubts), doubt.clone());
            let write = move |tx: &mut Tx<'_>| {
                let Doubt { commit, permit, call } = in_doubt;
                let mine = lock(&doubts.appended).get(&permit) == Some(&commit);
                let row = calls::row(tx, &call.session, &call.step)?;
                let stands =
                    row.is_some_and(|row| row.permit == Some(permit) && row.state == Call::Permitted);
                if mine && stands {
                    settle(
                        tx,
                        &call,
                        permit,
                        &nothing(Outcome::NotStarted, "its commit was not acknowledged"),
                    )?;
                }
                Ok(())
            };
            self.store.write::<_, StoreError, _>(write).await?;
            lock(&self.doubts.open).retain(|other| other.commit != doubt.commit);
            self.doubts.forget(doubt.commit);
        }
        Ok(())
    }
}

impl Doubts {
    /// Whether there are any.
    pub(crate) fn any(&self) -> bool {
        !lock(&self.open).is_empty()
    }

    fn answered<T>(&self, commit: u64, call: &CallOf, written: &Result<T, Uncommitted>) {
        match written {
            Err(Uncommitted::Store(_)) => {
                let appended = lock(&self.appended);
                let permits = appended
                    .iter()
                    .filter(|(_, by)| **by == commit)
                    .map(|(permit, _)| *permit);
                let doubts = permits.map(|permit| Doubt {
                    commit,
                    permit,
                    call: call.clone(),
                });
                lock(&self.open).extend(doubts);
            }
            _ => self.forget(commit),
        }
    }

    fn forget(&self, commit: u64) {
        lock(&self.appended).retain(|_, by| *by != commit);
    }
}

impl Judged {
    /// What `seen` was judged by.
    pub(crate) fn of(seen: &Seen, action: &Action, stops: &Arc<StopSet>) -> Judged {
        Judged {
            session: seen.session.id.clone(),
            version: seen.session.version,
            actions: (seen.authority.policies.reads_count()).then_some(seen.session.actions),
            generation: seen.authority.generation,
            identities: seen.identities,
            epoch: seen.epoch,
            subject: seen.subject.clone(),
            stops: Arc::clone(stops),
            step: seen.step.clone(),
            action: action.clone(),
            agents: trust::agents_of(&seen.chain),
            authority: Arc::clone(&seen.authority),
            trust: seen.context.trust,
            at: seen.deadline,
            until: seen.until,
            deadlines: Arc::clone(&seen.deadlines),
            elevation: seen.elevation.clone(),
        }
    }

    /// Compares with what holds in this transaction. INVARIANT (stops first): both the stops in
    /// memory and the durable ones are read.
    pub(crate) fn still_holds(&self, tx: &Tx<'_>) -> Result<sessions::SessionView, Uncommitted> {
        if self.stops.epoch() != self.epoch {
            return Err(Uncommitted::Changed);
        }
        if let Some(stop) = stops::covering(tx, &self.subject)? {
            return Err(Uncommitted::Stopped(Box::new(stop)));
        }
        if documents::generation_now(tx)? != self.generation {
            return Err(Uncommitted::Changed);
        }
        // INVARIANT (revoked at once): an agent, a delegation or a person's token that changed is judged again.
        if agents::generation_now(tx)? != self.identities {
            return Err(Uncommitted::Changed);
        }
        let session = sessions::row(tx, &self.session)?
            .ok_or(Uncommitted::Changed)?
            .view;
        // INVARIANT (what was judged by holds): state and labels are always compared, the count of actions where
        // a policy could read it. Where none could, any count gives the same decision, and comparing it would make
        // every two actions that one session takes at once a conflict.
        let same_count = self.actions.is_none_or(|actions| session.actions == actions);
        let same = session.version == self.version && same_count;
        if !same || session.state != Session::Running {
            return Err(Uncommitted::Changed);
        }
        // INVARIANT (what is over is over): nothing ended while it was being decided. What did is named by
        // the decision that is made now.
        if self.until.is_some_and(|until| self.deadlines.now() >= until) {
            return Err(Uncommitted::Changed);
        }
        // INVARIANT (what was raised is raised): its end, by its time or by anybody, is judged again.
        if let Some(id) = &self.elevation
            && !elevations::still_holds(tx, id, self.deadlines.now())?
        {
            return Err(Uncommitted::Changed);
        }
        // INVARIANT (trust lowers at once): nobody acts on more trust than there is. What silence took
        // meanwhile is left out, or waiting would be a conflict.
        if trust::least_in(tx, &self.authority, &self.agents, self.at)? < self.trust {
            return Err(Uncommitted::Changed);
        }
        // INVARIANT (a step is admitted once): the call's row is unique.
        match calls::row(tx, &self.session, &self.step)? {
            Some(call) if !call.is_open_to(&self.action) => {
                Err(Uncommitted::Admitted(call.permit.unwrap_or(0)))
            }
            _ => Ok(session),
        }
    }
}

/// INVARIANT (an approval is of one action): it and each vote of it are of this digest.
fn still_approved(tx: &Tx<'_>, id: &str, digest: &[u8; 32], now: Timestamp) -> Result<(), Uncommitted> {
    match approvals::row(tx, id)? {
        Some(view) if view.state == Approval::Approved && !view.is_over(now) => {
            // INVARIANT (nobody approves what rests on their word): not if they resolved a step meanwhile.
            let resolvers = approvals::resolvers_in(tx, &view.session)?;
            if view.votes.iter().any(|vote| resolvers.contains(&vote.by)) {
                return Err(Uncommitted::Changed);
            }
            match approvals::chain_holds(tx, &view, digest)? {
                true => Ok(()),
                false => {
                    let broken = format!("the votes of approval `{id}` are not of this action");
                    Err(StoreError::Refused(broken).into())
                }
            }
        }
        _ => Err(Uncommitted::Changed),
    }
}

fn record(seen: &Seen, ruling: &Ruling, spending: Option<&Spending>) -> Result<NewEntry, StoreError> {
    let (reason, rule) = match ruling.basis() {
        Basis::Rule(rule) => (format!("permitted by rule `{}`", rule.0), Some(rule.0.clone())),
        Basis::Grant(giver) => (format!("a read that `{giver}` grants"), None),
    };
    let reason = match (ruling.approval(), ruling.waiver()) {
        (Some(approval), _) => format!("approved as `{approval}`; {reason}"),
        (None, Some(waiver)) => format!("not asked again, by waiver `{waiver}`; {reason}"),
        (None, None) => reason,
    };
    let approval = ruling.approval().map(str::to_owned);
    let waiver = ruling.waiver().map(str::to_owned);
    let grounds = Grounds {
        reason,
        rule,
        approval,
        waiver,
        ..Grounds::default()
    };
    let mut judged = judged(seen, ruling.action(), "permit", grounds);
    // What the transaction says at last.
    judged.reserved = spending.map(|spending| spending.reserved(seen.deadline));
    let body = json(&judged)?;
    entry_with(kind::ACTION_PERMITTED, seen, body, "arguments", ruling.action())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AgentAuthority, Authority, Bounds, NewSession, Proposal, Refusal};
    use journal::machine::SessionEvent;
    use policy::{Autonomy, Capability, Effect, Environment, Grant, Idempotence, PolicySet, Principal, Verb};
    use std::collections::BTreeMap;
    use store::{Keys, Options, Store};

    async fn gate(directory: &std::path::Path) -> (Arc<Gate>, String) {
        let origin = "test.local/default";
        let store = Store::open(Options {
            directory: directory.join("data"),
            origin: origin.to_owned(),
            keys: Keys::open_or_create(&directory.join("keys"), origin).unwrap(),
            projections: crate::projections(),
            clock: testkit::ManualClock::new(),
            checkpoints: None,
            vfs: None,
            synchronous: "FULL",
        });
        let gate = Gate::open(store.unwrap()).unwrap();
        let grant = Grant {
            capability: Capability::parse("*:*").unwrap(),
            from: "toolset/all".to_owned(),
            until: None,
        };
        let agent = AgentAuthority {
            grants: vec![grant],
            autonomy: Autonomy::default(),
            bounds: Bounds::default(),
            deny: Vec::new(),
            sponsor: "alice".to_owned(),
            place: policy::Place::default(),
            trust: crate::TrustTerms::PLATFORM,
        };
        let agents = BTreeMap::from([("triage".to_owned(), Arc::new(agent))]);
        gate.restore(Authority {
            generation: 0,
            policies: Arc::new(PolicySet::empty()),
            agents,
            budgets: Arc::default(),
        });
        let new = NewSession {
            agent: "triage".to_owned(),
            cause: Principal::service("trigger/t"),
            correlation: None,
            input: serde_json::json!({}),
            title: String::new(),
            idempotency_key: None,
            urgent: false,
            taint: policy::Taints::NONE,
        };
        let session = gate.create_session(new).await.unwrap().0.id;
        let by = Principal::service("cofferdam");
        gate.session_event(&session, &by, SessionEvent::Start, None, None)
            .await
            .unwrap();
        (gate, session)
    }

    async fn admit(gate: &Gate, session: &str) -> Result<Permit, Refusal> {
        let (verb, environment) = (Verb::new("git.log").unwrap(), Environment::production());
        let (effect, once) = (Effect::Read, Idempotence::Once);
        let action = Action::new(verb, "a", serde_json::json!({}), environment, effect, once).unwrap();
        gate.admit(Proposal {
            session: session.to_owned(),
            step: "a".to_owned(),
            action,
        })
        .await
    }

    /// A commit that became durable although its answer was an error: the journal holds the permit, and
    /// nobody else does.
    async fn in_doubt(gate: &Gate, session: &str, appended_by: u64) -> u64 {
        let permit = admit(gate, session).await.unwrap();
        let entry = permit.entry();
        std::mem::forget(permit);
        let call = gate.call(session, "a").unwrap().unwrap();
        let call = CallOf {
            session: session.to_owned(),
            step: call.step,
            verb: call.verb,
            agent: "triage".to_owned(),
            cause: Principal::service("trigger/t"),
            correlation: None,
        };
        lock(&gate.doubts.appended).insert(entry, appended_by);
        lock(&gate.doubts.open).push(Doubt {
            commit: 99,
            permit: entry,
            call,
        });
        entry
    }

    #[tokio::test]
    async fn a_permit_that_nobody_holds_is_settled_before_its_step_is_proposed_again() {
        let directory = tempfile::tempdir().unwrap();
        let (gate, session) = gate(directory.path()).await;
        let lost = in_doubt(&gate, &session, 99).await;
        let again = admit(&gate, &session).await.unwrap();
        assert!(again.entry() > lost + 1, "its outcome stands in between");
        assert!(!gate.doubts.any());
        assert!(lock(&gate.doubts.appended).is_empty());
        let settled = gate
            .store
            .read(|reader| reader.entry(lost + 1))
            .unwrap()
            .unwrap()
            .entry;
        assert_eq!(
            (settled.kind.as_str(), &settled.body["outcome"]),
            (kind::ACTION_SETTLED, &"not_started".into())
        );
    }

    #[tokio::test]
    async fn a_permit_whose_sequence_was_given_out_again_belongs_to_the_later_commit() {
        let directory = tempfile::tempdir().unwrap();
        let (gate, session) = gate(directory.path()).await;
        // The commit in doubt was lost; another one appended this permit, and somebody holds it.
        let held = in_doubt(&gate, &session, 100).await;
        let again = admit(&gate, &session).await;
        assert!(matches!(again, Err(Refusal::AlreadyAdmitted { entry, .. }) if entry == held));
        assert!(!gate.doubts.any());
        assert_eq!(gate.call(&session, "a").unwrap().unwrap().state, Call::Permitted);
    }
}
