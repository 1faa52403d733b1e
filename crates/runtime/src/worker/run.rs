//! Runs one session: from the start, with what is recorded standing in for what was done.

use super::history::History;
use super::{Finished, Kit, Runtime, platform};
use crate::runbook::{End, Limits, Next, Plan, StepResult};
use futures_util::FutureExt;
use gate::{CallView, Proposal, Refusal, SessionError, SessionView, Tool};
use journal::machine::{Call, IllegalEvent, Session, SessionEvent};
use policy::{Action, Effect, Idempotence, InFlight, Outcome, Permit, Settlement, Stopped};
use serde_json::{Value, json};
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use store::StoreError;

/// How often something idempotent is tried before a person is asked what became of it.
const ATTEMPTS_MAX: u32 = 5;
/// The longest time until a budget may pay again that is waited for.
const WORTH_WAITING_MS: i64 = 60_000;
/// Pause before a session is run again because the journal could not be written or an outcome is
/// still on its way into it.
const PAUSE: Duration = Duration::from_secs(1);

/// Pause before a session is tried again although nothing says that it will go better.
const LONG_PAUSE: Duration = Duration::from_secs(30);

/// How a session's task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// The session is over, or not ours.
    Over,
    /// It waits for a person.
    Waiting,
    /// It is to be run again after a while.
    Again(Duration),
    /// The platform shuts down; the session goes on after the next start.
    Draining,
}

/// One run of one session.
struct Run<'a> {
    runtime: &'a Runtime,
    kit: &'a Kit,
    limits: &'a Limits,
    session: SessionView,
    history: History,
    plan: Plan<'a>,
}

/// What one step came to.
enum Stepped {
    Result(StepResult),
    Leave(Left),
}

impl Runtime {
    /// Runs until the session ends, waits, or cannot go on for now.
    pub(super) async fn run_session(&self, id: &str) -> Left {
        match self.take_up(id).await {
            Ok(left) => left,
            Err(SessionError::Store(StoreError::Unavailable { reason })) => {
                tracing::warn!(session = id, reason, "session put off");
                Left::Again(PAUSE)
            }
            // Cancelled meanwhile, or somebody else's.
            Err(
                SessionError::Illegal(_)
                | SessionError::Unknown(_)
                | SessionError::UnknownAgent(_)
                | SessionError::NotDelegated(..)
                | SessionError::NotLent(_),
            ) => Left::Over,
            // What it would have recorded cannot be: without its output it can at least end.
            Err(SessionError::Store(StoreError::Refused(reason))) => self.give_up(id, &reason).await,
            Err(
                error @ SessionError::Store(
                    StoreError::Corrupt { .. } | StoreError::InUse { .. } | StoreError::Closed,
                ),
            ) => {
                tracing::error!(session = id, %error, "session cannot go on");
                Left::Again(LONG_PAUSE)
            }
        }
    }

    /// Ends a session for a reason that is not its own.
    pub(super) async fn give_up(&self, id: &str, reason: &str) -> Left {
        match self
            .drive(id, SessionEvent::Fail, Some(reason.to_owned()), None)
            .await
        {
            Ok(session) => {
                self.tell(Finished {
                    session,
                    output: None,
                    partial: true,
                });
                Left::Over
            }
            Err(
                SessionError::Illegal(_)
                | SessionError::Unknown(_)
                | SessionError::UnknownAgent(_)
                | SessionError::NotDelegated(..)
                | SessionError::NotLent(_),
            ) => Left::Over,
            Err(error @ SessionError::Store(_)) => {
                tracing::error!(session = id, %error, "session cannot be ended");
                Left::Again(LONG_PAUSE)
            }
        }
    }

    async fn take_up(&self, id: &str) -> Result<Left, SessionError> {
        let session = self.gate.session(id)?;
        let Some(kit) = self.kit(&session) else {
            return Ok(Left::Over);
        };
        if self.is_fenced(&session) {
            return Ok(Left::Waiting);
        }
        self.state().kits.insert(id.to_owned(), kit.clone());
        let session = match session.state {
            Session::Queued => self.drive(id, SessionEvent::Start, None, None).await?,
            Session::Waiting => self.drive(id, SessionEvent::Resume, None, None).await?,
            Session::Running => session,
            Session::Created | Session::Completed | Session::Failed | Session::Cancelled => {
                return Ok(Left::Over);
            }
        };
        let Some(runbook) = &kit.spec.runbook else {
            let reason = "its agent is a guest, which takes no tasks: `cofferdam run --agent` starts it";
            return Ok(self.give_up(id, reason).await);
        };
        let input = self.gate.session_input(id)?;
        let mut history = History::default();
        history.read(&self.gate, id)?;
        let plan = Plan::new(runbook, input.as_ref().unwrap_or(&Value::Null));
        let mut run = Run {
            runtime: self,
            kit: &kit,
            limits: &runbook.limits,
            session,
            history,
            plan,
        };
        match input {
            Some(_) => run.go().await,
            None => run.fail("its input was erased").await,
        }
    }
}

impl Run<'_> {
    async fn go(&mut self) -> Result<Left, SessionError> {
        loop {
            if self.runtime.is_draining() {
                return Ok(Left::Draining);
            }
            if let Some(reason) = self.runtime.stopped_by(&self.session) {
                return self.stopped(&reason).await;
            }
            if self.remaining().is_zero() {
                let seconds = self.limits.time_box_seconds;
                self.plan.stop(&format!("the time box of {seconds} s ran out"));
            }
            let next = self.plan.advance();
            for (key, reason) in self.plan.take_unproposed() {
                self.note(&key, &reason).await?;
            }
            match next {
                Next::End(end) => return self.end(end).await,
                Next::Propose { key, tool, arguments } => match self.step(&key, &tool, &arguments).await? {
                    Stepped::Result(result) => self.plan.record(result),
                    Stepped::Leave(left) => return Ok(left),
                },
            }
        }
    }

    /// One step: what is recorded of it, or the real thing.
    async fn step(&mut self, key: &str, verb: &str, arguments: &Value) -> Result<Stepped, SessionError> {
        if let Some(reason) = self.history.unproposed(key) {
            return Ok(Stepped::Result(StepResult::unproposed(reason)));
        }
        let call = self.runtime.gate.call(&self.session.id, key)?;
        if let Some(call) = &call {
            if call.verb != verb {
                let reason = format!(
                    "step `{key}` was `{}` and is `{verb}` now: the runbook changed",
                    call.verb
                );
                return self.fail(&reason).await.map(Stepped::Leave);
            }
            if let Some(stepped) = self.recorded(key, call).await? {
                return Ok(stepped);
            }
        }
        let Some(tool) = self.kit.tools.get(verb).cloned() else {
            return self
                .unproposed(key, &format!("this agent has no tool `{verb}`"))
                .await;
        };
        let action = match tokio::time::timeout(self.remaining(), tool.propose(arguments)).await {
            Ok(Ok(action)) => action,
            Ok(Err(error)) => return self.unproposed(key, &error.to_string()).await,
            Err(_) => {
                return self
                    .unproposed(key, "working out what it means took too long")
                    .await;
            }
        };
        let (session, step) = (self.session.id.clone(), key.to_owned());
        let proposal = Proposal {
            session,
            step,
            action: action.clone(),
        };
        match self.runtime.gate.admit_in_turn(proposal).await {
            Ok(permit) => self.fly(key, &*tool, permit, &action).await,
            Err(refusal) => self.refused(key, refusal).await,
        }
    }

    /// What the journal says of a call; `None` when it has to be proposed.
    async fn recorded(&mut self, key: &str, call: &CallView) -> Result<Option<Stepped>, SessionError> {
        match call.state {
            Call::Proposed | Call::Parked => Ok(None),
            // INVARIANT (replay touches nothing): the recorded outcome, and no tool runs.
            Call::Settled => match call.outcome {
                None | Some(Outcome::NotStarted) => Ok(None),
                Some(outcome) => {
                    let output = self.runtime.gate.call_result(call)?.unwrap_or(Value::Null);
                    Ok(Some(Stepped::Result(result_of(
                        outcome,
                        output,
                        call.summary.clone(),
                        call.permit,
                    ))))
                }
            },
            Call::Denied if self.history.denied(key).is_some_and(|denied| denied.stands()) => {
                Ok(Some(Stepped::Result(self.denied(key, Some(call), &call.reason))))
            }
            Call::Denied => Ok(None),
            // After a start every such call is uncertain: this one's outcome is on its way to the journal.
            Call::Permitted => Ok(Some(Stepped::Leave(Left::Again(PAUSE)))),
            // INVARIANT (no silent repeat): only what is idempotent, and not for ever.
            Call::Uncertain
                if call.idempotence == Idempotence::Idempotent && call.attempts < ATTEMPTS_MAX =>
            {
                Ok(None)
            }
            Call::Uncertain => self
                .wait(&format!("uncertain {key}"))
                .await
                .map(|left| Some(Stepped::Leave(left))),
        }
    }

    /// Does it, and records what came of it before anything follows from it.
    async fn fly(
        &mut self,
        key: &str,
        tool: &dyn Tool,
        permit: Permit,
        action: &Action,
    ) -> Result<Stepped, SessionError> {
        let entry = permit.entry();
        let flight = match permit.spend(self.runtime.gate.stop_set()) {
            Ok(flight) => flight,
            Err(Stopped { stop }) if stop.scope.is_of_actions() => {
                let reason = Stopped { stop }.to_string();
                return Ok(Stepped::Result(StepResult::denied(
                    &reason,
                    None,
                    None,
                    Some(entry),
                )));
            }
            Err(stopped) => return self.stopped(&stopped.to_string()).await.map(Stepped::Leave),
        };
        let clock = self.runtime.gate.store().clock();
        let began = clock.monotonic();
        let mut settlement = self.perform(tool, &flight, action.effect()).await;
        let took = clock.monotonic().saturating_sub(began).as_millis();
        settlement.resources.duration_ms = u64::try_from(took).unwrap_or(u64::MAX);
        let cut = flight.cancel().stop();
        let (outcome, result, summary) = (
            settlement.outcome,
            settlement.result.clone(),
            settlement.summary.clone(),
        );
        if let Err(error) = flight.settle(settlement).await {
            // The gate keeps it and tries again; nothing may follow from it before that.
            tracing::error!(session = self.session.id, %error, "session put off");
            return Ok(Stepped::Leave(Left::Again(PAUSE)));
        }
        if cut.is_some_and(|stop| !stop.scope.is_of_actions()) {
            let reason = format!("step `{key}` was cut off by a stop");
            return self.stopped(&reason).await.map(Stepped::Leave);
        }
        if outcome == Outcome::Uncertain {
            return Ok(Stepped::Leave(self.uncertain(key).await?));
        }
        // As it is recorded, so that a replay sees the same.
        let recorded = self
            .runtime
            .gate
            .call(&self.session.id, key)?
            .and_then(|call| call.summary);
        Ok(Stepped::Result(result_of(
            outcome,
            result,
            recorded.or(Some(summary)),
            Some(entry),
        )))
    }

    async fn perform(&self, tool: &dyn Tool, flight: &InFlight, effect: Effect) -> Settlement {
        let work = AssertUnwindSafe(tool.run(flight)).catch_unwind();
        let done = match effect {
            // A read can be cut when the time box ends; what writes is left to finish.
            Effect::Read => tokio::time::timeout(self.remaining(), work)
                .await
                .map_err(|_| "the time box ran out"),
            Effect::Write | Effect::Destructive => Ok(work.await),
        };
        let (kind, what) = match done {
            Ok(Ok(settlement)) => return settlement,
            Ok(Err(_)) => ("defect", "the tool broke off by a defect"),
            Err(what) => ("time_box", what),
        };
        let outcome = if effect == Effect::Read {
            Outcome::Failure
        } else {
            Outcome::Uncertain
        };
        crate::tools::broken(outcome, kind, what)
    }

    /// An outcome that nobody knows: once more if that is harmless, else a person says.
    async fn uncertain(&mut self, key: &str) -> Result<Left, SessionError> {
        let call = self.runtime.gate.call(&self.session.id, key)?;
        match call {
            Some(call) if call.idempotence == Idempotence::Idempotent && call.attempts < ATTEMPTS_MAX => {
                Ok(Left::Again(PAUSE * call.attempts))
            }
            _ => self.wait(&format!("uncertain {key}")).await,
        }
    }

    async fn refused(&mut self, key: &str, refusal: Refusal) -> Result<Stepped, SessionError> {
        match refusal {
            Refusal::Stopped(ref stopped) if !stopped.stop.scope.is_of_actions() => {
                self.stopped(&stopped.to_string()).await.map(Stepped::Leave)
            }
            Refusal::Denied(_) | Refusal::NotApproved { .. } | Refusal::Stopped(_) => {
                self.history.read(&self.runtime.gate, &self.session.id)?;
                let call = self
                    .runtime
                    .gate
                    .call(&self.session.id, key)?
                    .filter(|call| call.state == Call::Denied);
                let reason = match (&call, &refusal) {
                    (Some(call), _) => call.reason.clone(),
                    (None, Refusal::Denied(denial)) => denial.reason(),
                    (None, other) => other.to_string(),
                };
                Ok(Stepped::Result(self.denied(key, call.as_ref(), &reason)))
            }
            Refusal::Parked { approval, .. } => self
                .wait(&format!("approval {approval}"))
                .await
                .map(Stepped::Leave),
            Refusal::Bound {
                retry_after_ms: Some(ms),
                ..
            } => {
                let after = Duration::from_millis(u64::try_from(ms).unwrap_or_default());
                Ok(Stepped::Leave(Left::Again(after)))
            }
            // Soon there may be room again; a period that ends tomorrow is not waited for.
            Refusal::Unpaid(unpaid) if unpaid.retry_after_ms.is_some_and(|ms| ms <= WORTH_WAITING_MS) => {
                let after = u64::try_from(unpaid.retry_after_ms.unwrap_or_default()).unwrap_or_default();
                Ok(Stepped::Leave(Left::Again(Duration::from_millis(after))))
            }
            bound @ (Refusal::Bound { .. } | Refusal::Unpaid(_)) => {
                self.plan.stop(&bound.to_string());
                Ok(Stepped::Result(StepResult::denied(
                    &bound.to_string(),
                    None,
                    None,
                    None,
                )))
            }
            Refusal::AlreadyAdmitted { .. } => {
                let call = self.runtime.gate.call(&self.session.id, key)?;
                match call.map(|call| call.state) {
                    Some(Call::Uncertain) => self.wait(&format!("uncertain {key}")).await.map(Stepped::Leave),
                    _ => Ok(Stepped::Leave(Left::Again(PAUSE))),
                }
            }
            Refusal::NotActing(_, why) => self.fail(&why).await.map(Stepped::Leave),
            // What it is judged by kept changing: proposed again, as long as the time box allows.
            Refusal::Unrecorded(StoreError::Refused(_)) => Ok(Stepped::Leave(Left::Again(PAUSE))),
            Refusal::Unrecorded(error) => Err(error.into()),
        }
    }

    fn denied(&self, key: &str, call: Option<&CallView>, reason: &str) -> StepResult {
        let remedy = call.and_then(|call| call.remedy.clone());
        let rule = call.and_then(|call| call.rule.clone());
        StepResult::denied(
            reason,
            remedy,
            rule,
            self.history.denied(key).map(|denied| denied.entry),
        )
    }

    async fn unproposed(&mut self, key: &str, reason: &str) -> Result<Stepped, SessionError> {
        let reason = self.note(key, reason).await?;
        Ok(Stepped::Result(StepResult::unproposed(&reason)))
    }

    /// Records, once, that a step never became an action. Gives the reason as recorded.
    async fn note(&mut self, key: &str, reason: &str) -> Result<String, SessionError> {
        if let Some(noted) = self.history.unproposed(key) {
            return Ok(noted.to_owned());
        }
        let reason = crate::tools::line(reason);
        let body = json!({"event": "unproposed", "step": key, "reason": reason});
        self.runtime
            .gate
            .note(&self.session.id, &platform(), body)
            .await?;
        Ok(reason)
    }

    fn remaining(&self) -> Duration {
        let limit = i64::from(self.limits.time_box_seconds) * 1000;
        let elapsed = self.history.elapsed_ms(self.runtime.gate.store().clock().now());
        Duration::from_millis(u64::try_from(limit - elapsed).unwrap_or_default())
    }

    /// Leaves the session to a person. Holds nothing meanwhile.
    async fn wait(&mut self, reason: &str) -> Result<Left, SessionError> {
        let output = self.plan.output(true).unwrap_or_default();
        self.drive(SessionEvent::Wait, Some(reason.to_owned()), output, false)
            .await?;
        Ok(Left::Waiting)
    }

    /// A stop covers it: nothing more happens in this session.
    async fn stopped(&mut self, reason: &str) -> Result<Left, SessionError> {
        if self.runtime.state().cancelling.contains(&self.session.id) {
            return Ok(Left::Over);
        }
        let output = self.plan.output(true).unwrap_or_default();
        match self
            .drive(SessionEvent::Cancel, Some(reason.to_owned()), output, true)
            .await
        {
            // Whoever cancelled it was quicker.
            Ok(()) | Err(SessionError::Illegal(IllegalEvent { .. })) => Ok(Left::Over),
            Err(error) => Err(error),
        }
    }

    async fn fail(&mut self, reason: &str) -> Result<Left, SessionError> {
        self.end(End::Failed(reason.to_owned())).await
    }

    async fn end(&mut self, end: End) -> Result<Left, SessionError> {
        let (event, reason, output) = match (end, self.plan.output(false)) {
            (End::Complete, Ok(output)) => (SessionEvent::Complete, None, output),
            (End::Complete, Err(error)) => (SessionEvent::Fail, Some(error), self.lenient()),
            (End::Stopped(reason), _) => (
                SessionEvent::Complete,
                Some(format!("partial: {reason}")),
                self.lenient(),
            ),
            (End::Failed(reason), _) => (SessionEvent::Fail, Some(reason), self.lenient()),
        };
        let partial = reason.is_some();
        self.drive(event, reason, output, partial).await?;
        Ok(Left::Over)
    }

    fn lenient(&self) -> Option<Value> {
        self.plan.output(true).unwrap_or_default()
    }

    /// Moves the session on and tells who watches.
    async fn drive(
        &mut self,
        event: SessionEvent,
        reason: Option<String>,
        output: Option<Value>,
        partial: bool,
    ) -> Result<(), SessionError> {
        self.session = self
            .runtime
            .drive(&self.session.id, event, reason, output.clone())
            .await?;
        self.runtime.tell(Finished {
            session: self.session.clone(),
            output,
            partial,
        });
        Ok(())
    }
}

fn result_of(outcome: Outcome, output: Value, summary: Option<String>, entry: Option<u64>) -> StepResult {
    let reason = summary.filter(|_| outcome != Outcome::Success);
    StepResult::settled(outcome, output, reason, entry)
}
