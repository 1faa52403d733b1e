//! Risk: how safe an agent looks by what happened within a day, from 0 to 1000, 1000 being safe (S3-B15).
//!
//! Another number than trust, and it decides nothing: trust remembers and gates, risk forgets after a day and calls
//! people. What agents that it works with did lowers its network part (S3-B8), so a fall of others can be seen
//! here and moves nobody's trust. Whole numbers only; the time is an argument.

use super::{SCORE_MAX, Trend};
use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// How long a signal counts: 24 hours, in milliseconds (S3-B15).
pub const RISK_MS: i64 = 24 * 60 * 60 * 1000;
/// Signals kept of a component, the newest. As many that are whole take all of it away, whatever their severity.
const KEPT_MAX: usize = 64;
/// Hundredths in one.
const WHOLE: u64 = 100;

/// What risk is made of (S3-B15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Component {
    /// Who it is, and how it handles what credentials open.
    Identity,
    /// What it does.
    Behaviour,
    /// What it reaches for outside, and whom it works with.
    Network,
    /// Whether it stays within what it may do.
    Compliance,
}

impl Component {
    /// All, in the order in which they are told.
    pub const ALL: [Component; 4] = [
        Component::Identity,
        Component::Behaviour,
        Component::Network,
        Component::Compliance,
    ];

    /// Points of 100 without any signal (S3-B15).
    pub fn base(self) -> u64 {
        match self {
            Component::Identity => 80,
            Component::Behaviour => 70,
            Component::Network => 75,
            Component::Compliance => 85,
        }
    }

    /// Points that a signal of weight 1 and value 1 takes (S3-B15).
    fn factor(self) -> u64 {
        match self {
            Component::Identity | Component::Network => 20,
            Component::Behaviour => 25,
            Component::Compliance => 30,
        }
    }

    /// How often it counts for the score, so that all together make 1000 (S3-B15).
    fn times(self) -> u64 {
        match self {
            Component::Identity | Component::Network => 2,
            Component::Behaviour | Component::Compliance => 3,
        }
    }

    /// As shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Component::Identity => "identity",
            Component::Behaviour => "behaviour",
            Component::Network => "network",
            Component::Compliance => "compliance",
        }
    }
}

/// How severe a signal is (S3-B15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub enum Severity {
    Info,
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    /// All, the least first.
    pub const ALL: [Severity; 5] = [
        Severity::Info,
        Severity::Low,
        Severity::Medium,
        Severity::High,
        Severity::Critical,
    ];

    /// Its weight, in hundredths (S3-B15).
    pub fn weight(self) -> u64 {
        match self {
            Severity::Info => 10,
            Severity::Low => 25,
            Severity::Medium => 50,
            Severity::High => 75,
            Severity::Critical => 100,
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// When.
    pub at: Timestamp,
    /// Sequence of the entry that says so.
    pub entry: u64,
    /// In a word: `forbidden`, `anomaly sensitive_access`.
    pub what: String,
    /// What it lowers.
    pub component: Component,
    /// How severe it is.
    pub severity: Severity,
    /// How much of that, 0 to 100: hundredths.
    pub value: u8,
}

impl Signal {
    /// Severity and value for an impact in hundredths, such as an anomaly has: the least severity that holds it.
    pub fn graded(impact: u8) -> (Severity, u8) {
        let impact = u64::from(impact).min(WHOLE);
        let holds = |severity: &Severity| severity.weight() >= impact;
        let severity = Severity::ALL
            .into_iter()
            .find(holds)
            .unwrap_or(Severity::Critical);
        let value = impact * WHOLE / severity.weight();
        (severity, u8::try_from(value).unwrap_or(100))
    }

    /// What it would cost in points of trust, 0 to 100: severity × 100 (S3-B7).
    fn impact(&self) -> u64 {
        self.severity.weight() * u64::from(self.value).min(WHOLE) / WHOLE
    }

    /// What it takes of its component, in hundredths of a point: value × weight × factor (S3-B15).
    fn takes(&self) -> u64 {
        let value = u64::from(self.value).min(WHOLE);
        value * self.severity.weight() * self.component.factor() / WHOLE
    }

    fn counts(&self, now: Timestamp) -> bool {
        now.since_ms(self.at) < RISK_MS
    }
}

/// How risky an agent is (S3-B15). A boundary belongs to the safer level. The four bases sum to 775, so nobody
/// is of minimal risk by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RiskLevel {
    /// Below 200: a person looks at it now.
    Critical,
    /// From 200.
    High,
    /// From 400.
    Medium,
    /// From 600.
    Low,
    /// From 800.
    Minimal,
}

impl RiskLevel {
    /// The level of a score from 0 to 1000.
    pub fn of(score: u16) -> RiskLevel {
        match score {
            800.. => RiskLevel::Minimal,
            600.. => RiskLevel::Low,
            400.. => RiskLevel::Medium,
            200.. => RiskLevel::High,
            _ => RiskLevel::Critical,
        }
    }

    /// As shown.
    pub fn as_str(self) -> &'static str {
        match self {
            RiskLevel::Critical => "critical",
            RiskLevel::High => "high",
            RiskLevel::Medium => "medium",
            RiskLevel::Low => "low",
            RiskLevel::Minimal => "minimal",
        }
    }
}

/// What another agent's fall takes from this one (S3-B8).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Echo {
    /// Whose fall.
    pub agent: String,
    /// 1 for who hands over to it or gets from it, 2 for those behind them.
    pub hops: u32,
    /// How often the last two on the way handed something over.
    pub interactions: u64,
    /// How much of the fall arrives, in ten-thousandths.
    pub share: u64,
    /// How far it fell within a day, in points, 0 to 1000: the impacts of its own signals.
    pub fell: u64,
    /// What arrives of that, in hundredths of a point.
    pub arrives: u64,
}

impl Echo {
    /// Of a fall by `fell` points, of which `share` ten-thousandths arrive.
    pub fn new(agent: String, hops: u32, interactions: u64, share: u64, fell: u64) -> Echo {
        Echo {
            agent,
            hops,
            interactions,
            share,
            fell,
            arrives: fell * share / WHOLE,
        }
    }

    /// What it takes of the network part, in hundredths of a point, as a signal of that impact would.
    fn takes(&self) -> u64 {
        self.arrives * Component::Network.factor() / WHOLE
    }
}

/// One component of a risk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RiskPart {
    /// Which.
    pub component: Component,
    /// Points without any signal, 0 to 100.
    pub base: u64,
    /// What signals took, in hundredths of a point.
    pub taken: u64,
    /// What is left, in hundredths of a point, 0 to 10,000.
    pub value: u64,
    /// How often it counts.
    pub times: u64,
    /// Points of the score, whole ones.
    pub points: u64,
    /// How many signals count.
    pub signals: usize,
}

/// How risky an agent is, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Risk {
    /// 0 to 1000, 1000 being safe.
    pub score: u16,
    /// Of that score.
    pub level: RiskLevel,
    /// In the order of [`Component::ALL`].
    pub parts: Vec<RiskPart>,
    /// What counts now, the newest last.
    pub signals: Vec<Signal>,
    /// How many of them are critical.
    pub critical: usize,
    /// What others' falls take from its network part, in order of name.
    pub echoes: Vec<Echo>,
}

/// What happened to one agent lately.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signals(Vec<Signal>);

impl Signals {
    /// Folds in one more, and forgets what counts no longer.
    pub fn add(&mut self, signal: Signal) {
        self.0.retain(|kept| kept.counts(signal.at));
        let of = |kept: &&Signal| kept.component == signal.component;
        if self.0.iter().filter(of).count() >= KEPT_MAX
            && let Some(oldest) = self.0.iter().position(|kept| kept.component == signal.component)
        {
            self.0.remove(oldest);
        }
        self.0.push(signal);
    }

    /// How far it fell within the day before `now`, in points of trust, 0 to 1000.
    pub fn fell(&self, now: Timestamp) -> u64 {
        let counting = self.0.iter().filter(|signal| signal.counts(now));
        let fell: u64 = counting.map(Signal::impact).sum();
        fell.min(u64::from(SCORE_MAX))
    }

    /// Whether nothing of it counts at `now`.
    pub fn are_over(&self, now: Timestamp) -> bool {
        !self.0.iter().any(|signal| signal.counts(now))
    }

    /// The risk at `now`, with what others' falls take.
    pub fn risk(&self, mut echoes: Vec<Echo>, now: Timestamp) -> Risk {
        echoes.sort_by(|a, b| a.agent.cmp(&b.agent));
        let signals: Vec<Signal> = self
            .0
            .iter()
            .filter(|signal| signal.counts(now))
            .cloned()
            .collect();
        let parts = Component::ALL.map(|component| part(component, &signals, &echoes));
        let hundredths: u64 = parts.iter().map(|part| part.value * part.times).sum();
        let score = u16::try_from(hundredths / WHOLE)
            .unwrap_or(SCORE_MAX)
            .min(SCORE_MAX);
        Risk {
            score,
            level: RiskLevel::of(score),
            parts: parts.into(),
            critical: signals
                .iter()
                .filter(|signal| signal.severity == Severity::Critical)
                .count(),
            signals,
            echoes,
        }
    }
}

fn part(component: Component, signals: &[Signal], echoes: &[Echo]) -> RiskPart {
    let own = signals.iter().filter(|signal| signal.component == component);
    let others: u64 = match component {
        Component::Network => echoes.iter().map(Echo::takes).sum(),
        _ => 0,
    };
    let taken = own.clone().map(Signal::takes).sum::<u64>() + others;
    let value = (component.base() * WHOLE).saturating_sub(taken);
    RiskPart {
        component,
        base: component.base(),
        taken,
        value,
        times: component.times(),
        points: value * component.times() / WHOLE,
        signals: own.count(),
    }
}

/// Why an agent is one to look after, in words; empty for one that is none (S3-B17). `score` and `trend` are of its
/// trust.
pub fn concerns(score: u16, trend: Trend, change: i64, risk: RiskLevel) -> Vec<String> {
    let mut concerns = Vec::new();
    if score < super::Tier::Standard.first() {
        concerns.push(format!("trust {score} is {}", super::Tier::of(score)));
    }
    if trend == Trend::Falling {
        concerns.push(format!("trust fell by {}", -change));
    }
    if risk <= RiskLevel::High {
        concerns.push(format!("risk is {}", risk.as_str()));
    }
    concerns
}

#[cfg(test)]
mod tests;
