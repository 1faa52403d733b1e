//! The order of the gate. The order of these lines is the security argument.

use crate::Gate;
use crate::buckets::pace_of;
use crate::budgets::Unpaid;
use crate::commit::Uncommitted;
use crate::denials::Refused;
use crate::record::Grounds;
use crate::seen::Seen;
use policy::{Action, Decision, Denial, Level, Link, Permit, Principal, Ring, Ruling, Stop, Stopped};
use std::time::Duration;
use store::StoreError;

/// Code of a denial by a stop that covers single actions: the session goes on, so that it stands.
const ACTION_STOPPED: &str = "action_stopped";
/// Code of a denial because the agent acts faster than its ring lets it.
const TOO_FAST: &str = "rate";
/// How often an admission decides again because what it judged by has changed, before it gives up.
const DECIDED_MAX: u32 = 32;

/// How long a client that acts too fast is kept waiting for its turn before it is refused, in milliseconds: most clients do not try
/// again by themselves.
const PATIENCE_MS: i64 = 1000;

/// What becomes of who acts too fast.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Haste {
    /// It is refused, and the refusal recorded: a client waits for an answer.
    Refused,
    /// It is kept waiting for [`PATIENCE_MS`] at most, and then refused like that.
    Patient,
    /// It is told, and waits where it came from, holding nothing.
    Waits,
}

/// What a session wants to do next.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// `ses-42`; has to be running. Its agent acts, on its cause's account.
    pub session: String,
    /// The step's key, the same when it runs again.
    pub step: String,
    /// What.
    pub action: Action,
}

/// Why there is no permit. Recorded, unless it says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The session or its agent is not there, or does not run. Not recorded.
    #[error("session `{0}` cannot act: {1}")]
    NotActing(String, String),
    /// A stop covers it.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// Policy says no.
    #[error("denied: {}", .0.reason())]
    Denied(Denial),
    /// A bound is reached.
    #[error("bound reached: {what} is limited to {limit}")]
    Bound {
        /// `actions per session`, `actions per minute`, `actions per second in ring 3`.
        what: &'static str,
        /// The limit.
        limit: u32,
        /// When it may be tried again, in milliseconds from now; `None` for never in this session.
        retry_after_ms: Option<i64>,
    },
    /// A budget does not pay for it.
    #[error("{0}")]
    Unpaid(Box<Unpaid>),
    /// A person has to decide; the identical action, proposed again, uses the approval.
    #[error("needs approval `{approval}`: {reason}")]
    Parked {
        /// `apr-57`.
        approval: String,
        /// Why.
        reason: String,
    },
    /// A person said no, or nobody said anything in time.
    #[error("approval `{approval}` was {state}{}", reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default())]
    NotApproved {
        /// `apr-57`.
        approval: String,
        /// `denied`, `expired`.
        state: String,
        /// In the words of whoever decided.
        reason: Option<String>,
    },
    /// This very step was permitted before and has an outcome, or one that nobody knows.
    #[error("step `{step}` was already admitted as entry {entry}")]
    AlreadyAdmitted {
        /// Step.
        step: String,
        /// Its permit.
        entry: u64,
    },
    /// No record, no action.
    #[error("no record, no action: {0}")]
    Unrecorded(#[from] store::StoreError),
}

impl Gate {
    /// The gate. Six steps, in this order, whichever door the action came in by.
    pub async fn admit(&self, proposal: Proposal) -> Result<Permit, Refusal> {
        self.admit_as(proposal, Haste::Refused, false).await
    }

    /// The same for who can wait: that it is too fast is told and not recorded, for nothing was tried over and over.
    pub async fn admit_in_turn(&self, proposal: Proposal) -> Result<Permit, Refusal> {
        self.admit_as(proposal, Haste::Waits, false).await
    }

    /// The same for a client that does not try again by itself: who is too fast waits up to a second for its turn, holding nothing,
    /// before it is refused and that recorded.
    pub async fn admit_soon(&self, proposal: Proposal) -> Result<Permit, Refusal> {
        self.admit_as(proposal, Haste::Patient, false).await
    }

    /// The same of a step that was never proposed before, which its surface knows: nobody looks for it but the commit.
    pub(crate) async fn admit_new(&self, proposal: Proposal) -> Result<Permit, Refusal> {
        self.admit_as(proposal, Haste::Patient, true).await
    }

    async fn admit_as(&self, proposal: Proposal, haste: Haste, is_new: bool) -> Result<Permit, Refusal> {
        let (mut decided, mut patience) = (0, PATIENCE_MS);
        while decided < DECIDED_MAX {
            // 1 identify: which session, on whose account, with what authority.
            let seen = self.see(&proposal, is_new).await?;
            // 2 stopped? Before its haste, or who is stopped would be told to try again; and again after each wait.
            if let Some(stop) = self.stops.covering(&seen.subject) {
                return Err(self.refuse(&seen, &proposal.action, stopped(stop)).await);
            }
            // And is it too fast?
            if decided == 0
                && let Some((wait, refused)) = self.flooded(&seen)
            {
                match haste {
                    Haste::Waits => return Err(refused.refusal),
                    Haste::Patient if wait <= patience => {
                        drop((seen, refused));
                        patience -= wait;
                        tokio::time::sleep(Duration::from_millis(wait.unsigned_abs())).await;
                        continue;
                    }
                    Haste::Refused | Haste::Patient => {
                        return Err(self.refuse(&seen, &proposal.action, refused).await);
                    }
                }
            }
            decided += 1;
            // 3 grants and 4 policy.
            let action = proposal.action.clone();
            let decision = policy::decide(&seen.chain, action, &seen.context, &seen.authority.policies);
            // 5 approval and 6 commit.
            let uncommitted = match decision {
                Decision::Deny(denied) => {
                    return Err(self
                        .refuse(
                            &seen,
                            &denied.action,
                            forbidden(&seen, &denied.action, denied.denial),
                        )
                        .await);
                }
                Decision::RequireApproval(request) => match self.park(&seen, request).await {
                    Ok(refusal) => return Err(refusal),
                    Err(uncommitted) => uncommitted,
                },
                Decision::Permit(ruling) => match self.permit(&seen, ruling).await {
                    Ok(permit) => return Ok(permit),
                    Err(uncommitted) => uncommitted,
                },
            };
            if let Some(refusal) = self
                .refuse_uncommitted(&seen, &proposal.action, uncommitted)
                .await
            {
                return Err(refusal);
            }
            // What it was judged by has changed: decide again.
            tokio::task::yield_now().await;
        }
        let kept_changing = "what the action is judged by kept changing; propose it again";
        Err(Refusal::Unrecorded(StoreError::Refused(kept_changing.to_owned())))
    }

    /// Takes one action of its agent's bucket; when there is none, in how many milliseconds there is one, and why it is refused.
    fn flooded(&self, seen: &Seen) -> Option<(i64, Refused)> {
        let actor = seen.chain.actor()?;
        let (ring, rate) = pace_of(&seen.agent, &actor.autonomy, seen.context.trust);
        let now = self.clock.monotonic();
        let wait = self.buckets.take(&seen.session.agent, rate, now).err()?;
        // At least one, so that whoever waits runs out of patience.
        let wait = wait.max(1);
        let refused = bound(TOO_FAST, per_second(ring), rate.per_second, Some(wait));
        Some((wait, refused))
    }

    /// Refuses what a surface has no document for, and records it as what the session's agent holds no grant for: nobody
    /// is asked about what would not be let through anyway. A surface can refuse so, and nothing else.
    pub(crate) async fn refuse_unlisted(&self, proposal: Proposal, reason: &str, remedy: &str) -> Refusal {
        let seen = match self.see(&proposal, false).await {
            Ok(seen) => seen,
            Err(refusal) => return refusal,
        };
        if let Some(stop) = self.stops.covering(&seen.subject) {
            return self.refuse(&seen, &proposal.action, stopped(stop)).await;
        }
        let actor = Principal::agent(&seen.session.agent);
        let denial = Denial::NotGranted(actor.clone());
        let grounds = Grounds {
            reason: reason.to_owned(),
            code: Some(denial.code().to_owned()),
            remedy: Some(remedy.to_owned()),
            lacking: Some(actor.to_string()),
            ..Grounds::default()
        };
        let refusal = Refusal::Denied(denial);
        self.refuse(&seen, &proposal.action, Refused { refusal, grounds })
            .await
    }

    /// Commits; and a stop that came while the commit was under way still counts: the permit is
    /// dropped unspent.
    async fn permit(&self, seen: &Seen, ruling: Ruling) -> Result<Permit, Uncommitted> {
        let permit = self.commit(seen, ruling).await?;
        match self.stops.covering(&seen.subject) {
            Some(stop) => Err(Uncommitted::Stopped(Box::new(stop))),
            None => Ok(permit),
        }
    }

    /// `None` when it has to be decided again.
    async fn refuse_uncommitted(&self, seen: &Seen, action: &Action, why: Uncommitted) -> Option<Refusal> {
        let refused = match why {
            Uncommitted::Changed => return None,
            Uncommitted::Store(error) => return Some(Refusal::Unrecorded(error)),
            Uncommitted::Admitted(entry) => {
                return Some(Refusal::AlreadyAdmitted {
                    step: seen.step.clone(),
                    entry,
                });
            }
            Uncommitted::Stopped(stop) => stopped(*stop),
            Uncommitted::Bound {
                what,
                limit,
                retry_after_ms,
            } => bound("bound", what, limit, retry_after_ms),
            Uncommitted::Unpaid(unpaid) => {
                self.tell_exhausted(&unpaid).await;
                unpaid_for(unpaid)
            }
        };
        Some(self.refuse(seen, action, refused).await)
    }
}

fn stopped(stop: Stop) -> Refused {
    let code = if stop.scope.is_of_actions() {
        ACTION_STOPPED
    } else {
        "stopped"
    };
    let refusal = Stopped::from(stop);
    let grounds = Grounds {
        reason: refusal.to_string(),
        code: Some(code.to_owned()),
        remedy: Some("lift the stop".to_owned()),
        ..Grounds::default()
    };
    Refused {
        refusal: Refusal::Stopped(refusal),
        grounds,
    }
}

fn forbidden(seen: &Seen, action: &Action, denial: Denial) -> Refused {
    let grounds = Grounds {
        reason: denial.reason(),
        code: Some(denial.code().to_owned()),
        rule: denial.rule().map(|rule| rule.0.clone()),
        remedy: Some(denial.remedy()),
        lacking: lacking(seen, action, &denial),
        ..Grounds::default()
    };
    Refused {
        refusal: Refusal::Denied(denial),
        grounds,
    }
}

/// Who or what lacks the right; `None` when no right is lacking. The agent when it has not got it by
/// itself: what others lack besides excuses nobody.
fn lacking(seen: &Seen, action: &Action, denial: &Denial) -> Option<String> {
    let actor = seen.chain.actor()?;
    let whose = match denial {
        Denial::NotGranted(_) if !seen.agent.covers(action, seen.context.now) => &actor.principal,
        Denial::NotGranted(who) if *who == actor.principal => {
            let under = seen.session.delegation.as_ref();
            return under.map(|delegation| format!("delegation/{delegation}"));
        }
        Denial::NotGranted(who) => who,
        Denial::ReadOnly(_) => {
            let reads_only = |link: &&Link| link.autonomy.at(action.environment()) <= Level::L1;
            // From the one that acts on: it comes first whenever its own level is too low.
            &seen.chain.links.iter().rev().find(reads_only)?.principal
        }
        _ => return None,
    };
    Some(whose.to_string())
}

fn unpaid_for(unpaid: Box<Unpaid>) -> Refused {
    let grounds = Grounds {
        reason: unpaid.to_string(),
        code: Some(if unpaid.throttled { "throttled" } else { "budget" }.to_owned()),
        remedy: Some(unpaid.remedy()),
        ..Grounds::default()
    };
    Refused {
        refusal: Refusal::Unpaid(unpaid),
        grounds,
    }
}

/// The name of the bound of a ring.
pub(crate) fn per_second(ring: Ring) -> &'static str {
    match ring {
        Ring::R0 => "actions per second in ring 0",
        Ring::R1 => "actions per second in ring 1",
        Ring::R2 => "actions per second in ring 2",
        Ring::R3 => "actions per second in ring 3",
    }
}

fn bound(code: &str, what: &'static str, limit: u32, retry_after_ms: Option<i64>) -> Refused {
    let remedy = match retry_after_ms {
        Some(ms) => format!("try again in {ms} ms, or raise the bound of the agent"),
        None => "start another session, or raise the bound of the agent".to_owned(),
    };
    let refusal = Refusal::Bound {
        what,
        limit,
        retry_after_ms,
    };
    let grounds = Grounds {
        reason: refusal.to_string(),
        code: Some(code.to_owned()),
        remedy: Some(remedy),
        ..Grounds::default()
    };
    Refused { refusal, grounds }
}
