//! What the gate would say, step by step, without recording anything.

use crate::admit::per_second;
use crate::buckets::pace_of;
use crate::commit::{PER_MINUTE, PER_SESSION};
use crate::elevations::{self, ElevationView};
use crate::{AgentAuthority, Authority, Gate, gate, stops};
use policy::{Action, Chain, Context, Explanation, Line, Principal, Rate, Ring, RuleId, SessionFacts, Stop};

impl Gate {
    /// What the gate would say of `action` by `agent` in a new session, step by step; records nothing.
    /// `None` when there is no such agent.
    pub fn explain(&self, agent: &str, action: &Action) -> Option<Explanation> {
        self.explain_under(agent, action, None)
    }

    /// The same in a session under `delegation`.
    pub fn explain_under(
        &self,
        agent: &str,
        action: &Action,
        delegation: Option<&str>,
    ) -> Option<Explanation> {
        self.explain_as(&gate::platform(), agent, action, delegation)
    }

    /// The same in a session that `cause` causes.
    pub fn explain_as(
        &self,
        cause: &Principal,
        agent: &str,
        action: &Action,
        delegation: Option<&str>,
    ) -> Option<Explanation> {
        let authority = self.authority.load_full();
        let held = authority.agents.get(agent)?;
        let now = self.deadlines.now();
        let read = |reader: &store::Reader<'_>| {
            let held = self.behind(reader, &authority, agent, cause, delegation)?;
            let elevation = elevations::of(reader, &authority, agent, cause, &held.behalf(), now)?;
            Ok::<_, store::StoreError>((held, elevation))
        };
        // What cannot be read gives nothing and is not trusted.
        let (chain, ceiling, elevation) = match self.store.read(read) {
            Ok((held, elevation)) => (held.chain(&authority, cause, now), held.ceiling(), elevation),
            Err(_) => {
                let links = Vec::new();
                let cause = cause.clone();
                (Chain { cause, links }, 0, None)
            }
        };
        let trust = self.least(&authority, &chain, now).unwrap_or(0).min(ceiling);
        let elevation = elevation.filter(|elevation| elevation.holds_with(trust));
        let chain = elevations::raised(chain, elevation.as_ref());
        let context = Context {
            now: self.deadlines.now(),
            taint: policy::Taints::NONE,
            trust,
            session: SessionFacts::default(),
            approval: None,
        };
        let mut explanation = policy::explain(&chain, action, &context, &authority.policies);
        tell_versions(&mut explanation, &authority);
        let subject = stops::subject(&authority, &chain, "").doing(action);
        let stop = self.stops.covering(&subject);
        explanation.lines.insert(0, stop_line(stop.as_ref()));
        if let Some(view) = &elevation {
            let here = elevations::felt(Some(view), held, action.environment()).is_some();
            explanation.lines.push(elevation_line(view, here));
        }
        let taken = self.rates.taken(agent, &self.clock);
        explanation.lines.extend(bound_lines(held, taken));
        let autonomy = chain.actor().map(|actor| &actor.autonomy);
        let (ring, rate) = pace_of(held, autonomy.unwrap_or(&held.autonomy), trust);
        let left = self.buckets.left(agent, rate, self.clock.monotonic());
        explanation.lines.push(pace_line(ring, rate, left));
        if let Some(stop) = stop {
            explanation.outcome = "deny";
            explanation.reason = format!("stopped by {}: {}", stop.by, stop.reason);
            explanation.remedy = "lift the stop".to_owned();
        } else if explanation.outcome != "deny" && taken >= held.bounds.actions_per_minute as usize {
            explanation.outcome = "deny";
            explanation.reason = format!("{PER_MINUTE} is limited to {}", held.bounds.actions_per_minute);
            explanation.remedy = "try again within a minute, or raise the bound of the agent".to_owned();
        } else if explanation.outcome != "deny" && left == 0 {
            explanation.outcome = "deny";
            explanation.reason = format!("{} is limited to {}", per_second(ring), rate.per_second);
            explanation.remedy = "try again within a second, or raise the bound of the agent".to_owned();
        }
        Some(explanation)
    }
}

impl Gate {
    /// Whether what `session` was let do would still be: by grants, identities, rules and levels as they are now. Bounds
    /// are of what is new. Records nothing.
    pub(crate) fn still_grants(&self, session: &str, action: &Action) -> Result<(), String> {
        let session = self.session(session).map_err(|error| error.to_string())?;
        let authority = self.authority.load_full();
        let now = self.deadlines.now();
        let delegation = session.delegation.as_deref();
        let read = |reader: &store::Reader<'_>| {
            let (agent, cause) = (&session.agent, &session.cause);
            let held = self.behind(reader, &authority, agent, cause, delegation)?;
            let elevation = elevations::of(reader, &authority, agent, cause, &held.behalf(), now)?;
            Ok::<_, store::StoreError>((held, elevation))
        };
        let (held, elevation) = self.store.read(read).map_err(|error| error.to_string())?;
        let chain = session.lending(held.chain(&authority, &session.cause, now));
        let trust = self
            .least(&authority, &chain, now)
            .map_err(|error| error.to_string())?
            .min(held.ceiling());
        let elevation = elevation.filter(|elevation| elevation.holds_with(trust));
        let chain = elevations::raised(chain, elevation.as_ref());
        let context = Context {
            now,
            taint: session.taint,
            trust,
            session: SessionFacts {
                id: session.id,
                version: session.version,
                actions: session.actions,
            },
            approval: None,
        };
        let explanation = policy::explain(&chain, action, &context, &authority.policies);
        match explanation.outcome {
            "deny" => Err(explanation.reason),
            _ => Ok(()),
        }
    }
}

/// Names the version of each policy that has something to say, and last what all of them are.
fn tell_versions(explanation: &mut Explanation, authority: &Authority) {
    let policies = &authority.policies;
    for line in explanation.lines.iter_mut().filter(|line| line.matched) {
        if let Some(version) = policies.version_of(&RuleId(line.subject.clone())) {
            line.finding.push_str(&format!(" ({version})"));
        }
    }
    let digest = policy::canonical::hex(policies.digest());
    let bundles = match policies.bundles() {
        [] => String::new(),
        bundles => format!(", with {}", bundles.join(", ")),
    };
    explanation.lines.push(Line {
        step: "policies",
        subject: format!("generation {}", authority.generation),
        matched: true,
        finding: format!("sha256 {digest}{bundles}"),
    });
}

fn stop_line(stop: Option<&Stop>) -> Line {
    let (subject, finding) = match stop {
        Some(stop) => (
            stop.scope.to_string(),
            format!("stopped by {}: {}", stop.by, stop.reason),
        ),
        None => ("none".to_owned(), "no stop covers this agent".to_owned()),
    };
    Line {
        step: "stopped",
        subject,
        matched: stop.is_some(),
        finding,
    }
}

fn elevation_line(view: &ElevationView, here: bool) -> Line {
    let (to, by, until, why) = (view.to, &view.by, view.expires, &view.reason);
    let finding = match here {
        true => format!("raised to {to:?} by {by} until {until}: {why}"),
        false => format!("raised to {to:?} by {by} until {until}, and not in this environment"),
    };
    Line {
        step: "elevation",
        subject: view.id.clone(),
        matched: here,
        finding,
    }
}

fn pace_line(ring: Ring, rate: Rate, left: u32) -> Line {
    Line {
        step: "bounds",
        subject: per_second(ring).to_owned(),
        matched: left == 0,
        finding: format!(
            "{left} at once now, of {}, and {} a second",
            rate.burst, rate.per_second
        ),
    }
}

fn bound_lines(held: &AgentAuthority, taken: usize) -> [Line; 2] {
    let (session, minute) = (held.bounds.actions_per_session, held.bounds.actions_per_minute);
    [
        Line {
            step: "bounds",
            subject: PER_SESSION.to_owned(),
            matched: session == 0,
            finding: format!("0 of {session} in a new session"),
        },
        Line {
            step: "bounds",
            subject: PER_MINUTE.to_owned(),
            matched: taken >= minute as usize,
            finding: format!("{taken} of {minute} within the last minute"),
        },
    ]
}
