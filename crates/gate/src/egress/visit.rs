//! One connection of a session: what it may do, and how what it asks for becomes an action, a permit and an outcome.

use super::Egress;
use super::answer::Refused;
use super::flood::Seat;
use super::rules::Allowed;
use super::tunnels::Place;
use crate::{Proposal, Refusal};
use policy::{
    Action, Effect, Environment, Failure, Idempotence, InFlight, Outcome, Resources, Settlement, Taints, Verb,
};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// A connection whose session is known.
pub(crate) struct Visit {
    pub egress: Arc<Egress>,
    pub session: String,
    pub agent: String,
    pub allowed: Arc<Allowed>,
    pub place: Place,
    /// Bytes of requests that are over, both ways.
    pub moved: AtomicU64,
    pub _seat: Seat,
}

/// What is under way, and since when.
pub(crate) struct Flight {
    pub inner: InFlight,
    began: Duration,
    entering: crate::entering::Entering,
}

/// What came of it.
pub(crate) struct Came {
    pub outcome: Outcome,
    /// A word for machines, when it did not go well.
    pub code: Option<&'static str>,
    pub summary: String,
    pub result: Value,
    /// Whether anything came in.
    pub told: bool,
}

impl Came {
    pub fn failed(code: &'static str, summary: impl Into<String>) -> Came {
        Came {
            outcome: Outcome::Failure,
            code: Some(code),
            summary: summary.into(),
            result: Value::Null,
            told: false,
        }
    }
}

impl Visit {
    /// Puts `action` to the gate; what comes back flies.
    pub async fn admit(&self, action: Action) -> Result<Flight, Refused> {
        let gate = &self.egress.gate;
        let step = self.egress.steps.take(&self.session, &action);
        let proposal = Proposal {
            session: self.session.clone(),
            step: step.clone(),
            action: action.clone(),
        };
        // On the heap: a tunnel that idles for an hour should not carry the room of its admission.
        let refusal = match Box::pin(gate.admit_new(proposal)).await {
            Ok(permit) => match permit.spend(gate.stop_set()) {
                Ok(inner) => {
                    return Ok(Flight {
                        // INVARIANT (what may come in counts as in): before the first byte can, for whoever decides
                        // meanwhile. Not before the permit, or it would be judged by itself.
                        entering: gate.entering.enter(&self.session, action.may_bring()),
                        began: gate.clock.monotonic(),
                        inner,
                    });
                }
                Err(stopped) => Refusal::Stopped(stopped),
            },
            Err(refusal) => refusal,
        };
        Err(self.known(&refusal, &action, step))
    }

    /// Has `action` refused and recorded, because no document of this surface lets it through.
    pub async fn refuse(&self, action: Action, why: &str) -> Refused {
        const REMEDY: &str =
            "a rule of an Egress document that names the agent, the host, its port and what may be done";
        let step = self.egress.steps.take(&self.session, &action);
        let proposal = Proposal {
            session: self.session.clone(),
            step: step.clone(),
            action: action.clone(),
        };
        let gate = &self.egress.gate;
        let refusal = Box::pin(gate.refuse_unlisted(proposal, why, REMEDY)).await;
        let refused = self.known(&refusal, &action, step);
        match refused.code {
            "not_granted" => Refused {
                message: why.to_owned(),
                ..refused
            }
            .remedied(REMEDY),
            _ => refused,
        }
    }

    /// What the client is told, with the entry of it; its step may be used again.
    fn known(&self, refusal: &Refusal, action: &Action, step: String) -> Refused {
        let known = self.egress.gate.call(&self.session, &step).ok().flatten();
        self.egress.steps.refused(&self.session, action, step);
        Refused::of(refusal).recorded(known.map(|call| call.first))
    }

    /// Hands the outcome over, and waits until it is recorded: until then it counts as open.
    pub async fn settle(&self, flight: Flight, came: Came) {
        let Flight {
            inner,
            began,
            entering,
        } = flight;
        let duration = self.egress.gate.clock.monotonic().saturating_sub(began);
        let failure = came.code.map(|code| Failure {
            kind: code.to_owned(),
            message: came.summary.clone(),
        });
        let settlement = Settlement {
            outcome: came.outcome,
            result: came.result,
            summary: came.summary,
            failure,
            resources: Resources {
                duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
                ..Resources::default()
            },
            taints: if came.told {
                Taints::UNTRUSTED
            } else {
                Taints::NONE
            },
        };
        // Who cuts a connection waits for its end; nobody waits for any other.
        let settling = match settlement.outcome {
            Outcome::Cancelled => inner.settle(settlement),
            _ => inner.settle_soon(settlement),
        };
        if let Err(error) = settling.await {
            tracing::error!(session = self.session, %error, "the outcome of a connection is not recorded");
        }
        drop(entering);
    }
}

/// An action of this surface.
pub(crate) fn action(
    verb: &str,
    resource: &str,
    arguments: Value,
    environment: &Environment,
    (effect, idempotence): (Effect, Idempotence),
) -> Result<Action, Refused> {
    let made = Verb::new(verb).and_then(|verb| {
        Action::new(
            verb,
            resource,
            arguments,
            environment.clone(),
            effect,
            idempotence,
        )
    });
    made.map_err(|error| Refused::new(400, "malformed", error.to_string()))
}
