//! The trust equation of an agent, from configuration and journal: every answer with the input that made it.
//! It explains; it decides nothing, and nobody types a number in.

use super::projection::{ACTIVITY, ActivityRow, Acts};
use crate::rows::decode;
use crate::{AgentAuthority, Bounds, Gate, Role, Spot, TokenError, TokenView};
use policy::trust::{Answer, Equation, Gap, Rubric, Rung, equation, orb};
use policy::{Environment, Grant, Level, PrincipalKind};
use serde::Serialize;
use std::collections::BTreeSet;
use store::{Health, StoreError};

/// What only the binary knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Channels that are configured.
    pub channels: usize,
    /// Whether the whole journal verified since the start; `None` while that goes on.
    pub verified: Option<bool>,
    /// Whether checkpoints are kept outside the data directory.
    pub checkpoints: bool,
}

/// One factor with its answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Factor {
    /// Which.
    pub rubric: Rubric,
    /// In ten-thousandths.
    pub value: u64,
    /// In the rubric's order.
    pub answers: Vec<Answer>,
}

/// The equation of one agent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EquationView {
    /// Which.
    pub agent: String,
    /// The autonomy level by its document, in production: what the safeguards have to bear.
    pub level: Level,
    /// The result.
    #[serde(flatten)]
    pub equation: Equation,
    /// Observability, reversibility, blast-radius control.
    pub factors: Vec<Factor>,
    /// Safeguards that the level takes and that are missing.
    pub gaps: Vec<Gap>,
    /// `sufficient`, or `invest or constrain` when there is a gap.
    pub verdict: &'static str,
    /// The level to constrain it to, if nobody invests.
    pub constrain_to: Option<Level>,
    /// What there is of each safeguard.
    #[serde(skip)]
    pub has: [Rung; 3],
}

/// What the answers are made from.
struct Inputs<'a> {
    held: &'a AgentAuthority,
    level: Level,
    acts: Acts,
    entries: u64,
    healthy: bool,
    deciders: usize,
    surroundings: Surroundings,
}

impl Gate {
    /// The equation of `agent`; `None` when there is no such agent.
    pub fn trust_equation(
        &self,
        agent: &str,
        surroundings: Surroundings,
    ) -> Result<Option<EquationView>, StoreError> {
        let authority = self.authority.load_full();
        let Some(held) = authority.agents.get(agent) else {
            return Ok(None);
        };
        let row = self.store.read(|reader| reader.row(ACTIVITY, agent))?;
        let acts = row
            .map(decode::<ActivityRow>)
            .transpose()?
            .unwrap_or_default()
            .ever;
        let inputs = Inputs {
            held,
            level: held.autonomy.at(&Environment::production()),
            acts,
            entries: *self.store.committed().borrow(),
            healthy: self.store.health() == Health::Ready,
            deciders: self.deciders(&held.sponsor, &self.spot_of(agent)?)?,
            surroundings,
        };
        Ok(Some(inputs.view(agent)))
    }

    /// People, besides `sponsor`, who hold a token by which they can decide or stop at `spot`.
    fn deciders(&self, sponsor: &str, spot: &Spot) -> Result<usize, StoreError> {
        let now = self.deadlines.now();
        let deciders = [Role::Admin, Role::Operator, Role::Approver];
        let decides = |token: &TokenView| crate::caller::holds(&token.roles, &deciders, spot);
        let people: BTreeSet<String> = self
            .tokens()
            .map_err(told)?
            .into_iter()
            .filter(|token| !token.revoked && token.expires.is_none_or(|until| now < until))
            .filter(decides)
            .filter(|token| token.principal.kind == PrincipalKind::Person && token.principal.name != sponsor)
            .map(|token| token.principal.name)
            .collect();
        Ok(people.len())
    }
}

impl Inputs<'_> {
    fn view(&self, agent: &str) -> EquationView {
        let factors = [
            (Rubric::Observability, self.observability()),
            (Rubric::Reversibility, self.reversibility()),
            (Rubric::BlastRadius, self.blast_radius()),
        ]
        .map(|(rubric, answers)| Factor {
            rubric,
            value: orb(rubric, &answers),
            answers,
        });
        let value = |rubric| {
            factors
                .iter()
                .find(|factor| factor.rubric == rubric)
                .map_or(0, |factor| factor.value)
        };
        let has = self.rungs();
        let gaps = Gap::all(self.level, has);
        EquationView {
            agent: agent.to_owned(),
            level: self.level,
            equation: equation(
                value(Rubric::Observability),
                value(Rubric::Reversibility),
                value(Rubric::BlastRadius),
                self.level,
            ),
            verdict: if gaps.is_empty() {
                "sufficient"
            } else {
                "invest or constrain"
            },
            constrain_to: Gap::constrain_to(has).filter(|_| !gaps.is_empty()),
            gaps,
            has,
            factors: factors.into(),
        }
    }

    fn observability(&self) -> Vec<Answer> {
        let Surroundings {
            channels,
            verified,
            checkpoints,
        } = self.surroundings;
        let journal = match self.healthy {
            true => (
                100,
                format!(
                    "the journal takes entries and has {}: no action without one",
                    self.entries
                ),
            ),
            false => (0, "the journal takes no entries now".to_owned()),
        };
        let state = match verified {
            Some(true) => (
                100,
                "the journal and every projection of it verified since the start",
            ),
            Some(false) => (0, "the journal did not verify"),
            None => (50, "the journal was not verified since the start yet"),
        };
        let watched = match channels {
            0 => (50, "metrics are served, and no channel tells anybody".to_owned()),
            n => (100, format!("metrics are served; channels that tell people: {n}")),
        };
        let audited = match checkpoints {
            true => (100, "checkpoints are signed and kept outside the data directory"),
            false => (75, "checkpoints are signed, and none is kept outside yet"),
        };
        let traced = if self.healthy { 100 } else { 0 };
        vec![
            answer("logging", journal),
            answer(
                "traceability",
                (traced, "each entry names session, cause and correlation"),
            ),
            answer("state", state),
            answer("monitoring", watched),
            answer(
                "explainability",
                (
                    traced,
                    "each decision is recorded with its rule, reason and remedy",
                ),
            ),
            answer("auditability", audited),
        ]
    }

    fn reversibility(&self) -> Vec<Answer> {
        let Acts {
            reads,
            idempotent,
            once,
            destructive,
            uncertain,
        } = self.acts;
        let all = reads + idempotent + once + destructive;
        let undo = match (self.writes(), once + destructive) {
            (false, _) => (100, format!("level {:?} changes nothing", self.level)),
            (true, _) if all == 0 => (25, "its journal has no action yet to judge by".to_owned()),
            (true, 0) => (
                75,
                format!("none of its {all} actions has an effect that cannot be repeated"),
            ),
            (true, hard) if hard * 10 <= all => (
                50,
                format!("{hard} of its {all} actions cannot be repeated safely"),
            ),
            (true, hard) => (
                25,
                format!("{hard} of its {all} actions cannot be repeated safely"),
            ),
        };
        let recovery = match (self.may_destroy(), destructive) {
            (false, 0) => (
                100,
                format!("level {:?} destroys nothing without a person", self.level),
            ),
            (true, 0) => (75, "it destroyed nothing so far".to_owned()),
            (_, n) => (25, format!("it destroyed something {n} times")),
        };
        let over = match self.deciders {
            0 => (0, "nobody but its sponsor can decide or stop".to_owned()),
            1 => (75, "one person besides its sponsor can decide or stop".to_owned()),
            n => (100, format!("{n} people besides its sponsor can decide or stop")),
        };
        let graceful = match uncertain {
            0 => (100, "every outcome of its actions is known".to_owned()),
            n => (50, format!("{n} outcomes of its actions were not known")),
        };
        vec![
            answer("undo", undo),
            answer("data recovery", recovery),
            answer(
                "speed",
                (
                    75,
                    "a stop works in memory at once; how fast was not measured here",
                ),
            ),
            answer("human override", over),
            answer("graceful degradation", graceful),
        ]
    }

    fn blast_radius(&self) -> Vec<Answer> {
        let grants = &self.held.grants;
        let widest = grants.iter().min_by_key(|grant| width(grant));
        let told = |what: &str| match widest {
            Some(grant) => format!(
                "of its {} grants the widest is `{}`{what}",
                grants.len(),
                grant.capability
            ),
            None => "it holds no grant".to_owned(),
        };
        let privilege = match widest.map(width) {
            None => (100, told("")),
            Some(width) => (width, told("")),
        };
        let target = match widest.map(width) {
            None | Some(100) => (100, told(", which names its resource")),
            Some(75) => (75, told(", which names where its resources are")),
            Some(_) => (0, told(", which names no resource")),
        };
        let gates = match self.level {
            Level::L0 | Level::L1 => (100, "it changes nothing"),
            Level::L2 => (100, "each change is asked for"),
            Level::L3 => (50, "only what destroys is asked for"),
            Level::L4 => (0, "nothing has to be asked for"),
        };
        vec![
            answer("least privilege", privilege),
            answer("scope", self.scope()),
            answer(
                "isolation",
                (
                    50,
                    "its tools run in the platform's process; it has no shell and no network of its own",
                ),
            ),
            answer("quotas", quotas(self.held.bounds)),
            answer("approval gates", gates),
            answer("target restriction", target),
        ]
    }

    /// Where it may change something.
    fn scope(&self) -> (u8, String) {
        let autonomy = &self.held.autonomy;
        let named: Vec<_> = autonomy
            .environments
            .iter()
            .filter(|(_, level)| **level > Level::L1)
            .map(|(name, _)| name.as_str())
            .collect();
        match (autonomy.default > Level::L1, named.len()) {
            (true, _) => (
                25,
                "it may change things wherever nothing else is said".to_owned(),
            ),
            (false, 0) => (100, "it may change nothing anywhere".to_owned()),
            (false, 1) => (75, format!("it may change things in {} only", named.join(", "))),
            (false, _) => (50, format!("it may change things in {}", named.join(", "))),
        }
    }

    /// What there is of each safeguard: observability, rollback, scope.
    fn rungs(&self) -> [Rung; 3] {
        let observability = match (self.healthy, self.surroundings.channels) {
            (false, _) => 0,
            (true, 0) => 2,
            // Anomalies are recorded, and no channel tells of them yet: a live view, and no alerts.
            (true, _) => 3,
        };
        let rollback = match (self.writes(), self.acts.once + self.acts.destructive) {
            (false, _) => 5,
            (true, 0) => 3,
            (true, _) => 2,
        };
        let scope = match self.held.grants.iter().map(width).min() {
            None | Some(100) => 4,
            Some(75) => 3,
            Some(50) => 2,
            Some(_) => 1,
        };
        [observability, rollback, scope]
    }

    fn writes(&self) -> bool {
        self.level > Level::L1
    }

    fn may_destroy(&self) -> bool {
        self.level > Level::L3
    }
}

/// Reading tokens fails by the store alone.
fn told(error: TokenError) -> StoreError {
    match error {
        TokenError::Store(error) => error,
        other => StoreError::Refused(other.to_string()),
    }
}

/// How narrow a grant is: by name, below a name, any resource of a verb, anything.
fn width(grant: &Grant) -> u8 {
    let text = grant.capability.to_string();
    match text.split_once(':') {
        Some(("*", _)) => 0,
        Some((_, resource)) if resource == "*" || resource.starts_with("*:") => 50,
        Some((_, resource)) if resource.contains('*') => 75,
        _ => 100,
    }
}

fn quotas(bounds: Bounds) -> (u8, String) {
    let usual = Bounds::default();
    let Bounds {
        actions_per_session: session,
        actions_per_minute: minute,
        ..
    } = bounds;
    let within = |times: u32| {
        session <= usual.actions_per_session.saturating_mul(times)
            && minute <= usual.actions_per_minute.saturating_mul(times)
    };
    let percent = match () {
        () if within(1) => 100,
        () if within(10) => 75,
        () => 25,
    };
    (percent, format!("{session} actions a session, {minute} a minute"))
}

fn answer(criterion: &'static str, (percent, because): (u8, impl Into<String>)) -> Answer {
    Answer {
        criterion,
        percent,
        because: because.into(),
    }
}
