//! The trust equation: observability × reversibility × blast-radius control ÷ autonomy. It explains and
//! warns; it decides nothing. Whole numbers only.

use crate::Level;
use serde::Serialize;

/// All of something, in ten-thousandths.
const WHOLE: u64 = 10_000;
/// Below this an answer as a whole is weak: 0.4 (S2-4.2).
const WEAK: u64 = 4_000;
/// What a weak one caps the score at, in hundredths.
const WEAK_MAX: u64 = 2_000;
/// A^1.5 for A from 1 to 5, in millionths.
const DIVISORS: [u64; 5] = [1_000_000, 2_828_427, 5_196_152, 8_000_000, 11_180_340];

/// How much trust a score means (S2-4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub enum Band {
    VeryLow,
    Low,
    Moderate,
    ConditionallyHigh,
    High,
}

/// The result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Equation {
    /// 0 to 10,000: hundredths.
    pub score: u64,
    /// Whether one of the three is so weak that it caps the score.
    pub capped: bool,
    /// What it means.
    pub band: Band,
}

/// One of the three factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub enum Rubric {
    Observability,
    Reversibility,
    BlastRadius,
}

/// An answer to one criterion, with the input that made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Which.
    pub criterion: &'static str,
    /// 0, 25, 50, 75 or 100: hundredths (S2-4.3). Anything between counts as the lower one.
    pub percent: u8,
    /// What was looked at and what was found.
    pub because: String,
}

impl Rubric {
    /// Its criteria, each with its weight in hundredths (S2-4.3..4.5).
    pub fn criteria(self) -> &'static [(&'static str, u64)] {
        match self {
            Rubric::Observability => &[
                ("logging", 20),
                ("traceability", 20),
                ("state", 15),
                ("monitoring", 15),
                ("explainability", 15),
                ("auditability", 15),
            ],
            Rubric::Reversibility => &[
                ("undo", 25),
                ("data recovery", 20),
                ("speed", 20),
                ("human override", 20),
                ("graceful degradation", 15),
            ],
            Rubric::BlastRadius => &[
                ("least privilege", 25),
                ("scope", 20),
                ("isolation", 15),
                ("quotas", 15),
                ("approval gates", 15),
                ("target restriction", 10),
            ],
        }
    }
}

/// A factor from its answers, in ten-thousandths. What is not answered counts as nothing.
pub fn orb(rubric: Rubric, answers: &[Answer]) -> u64 {
    let of = |criterion: &str| answers.iter().find(|answer| answer.criterion == criterion);
    let anchored = |answer: &Answer| u64::from(answer.percent.min(100) / 25 * 25);
    let weighted = rubric.criteria().iter();
    weighted
        .map(|(criterion, weight)| weight * of(criterion).map_or(0, anchored))
        .sum()
}

/// 100 · O · R · B ÷ A^1.5, with A from 1 for L0 to 5 for L4 (S2-4.2). Factors in ten-thousandths.
pub fn equation(observability: u64, reversibility: u64, blast_radius: u64, level: Level) -> Equation {
    let factors = [observability, reversibility, blast_radius].map(|factor| factor.min(WHOLE));
    let divisor = DIVISORS.get(autonomy(level) - 1).copied().unwrap_or(u64::MAX);
    let product: u64 = factors.iter().product();
    // In hundredths, rounded half up: the product has twelve decimals, the divisor six.
    let score = (product + divisor * 50) / (divisor * 100);
    let capped = factors.iter().any(|factor| *factor < WEAK);
    let score = if capped { score.min(WEAK_MAX) } else { score };
    Equation {
        score,
        capped,
        band: band(score),
    }
}

fn band(score: u64) -> Band {
    match score {
        6_500.. => Band::High,
        4_500.. => Band::ConditionallyHigh,
        2_500.. => Band::Moderate,
        1_000.. => Band::Low,
        _ => Band::VeryLow,
    }
}

/// A: 1 for L0 to 5 for L4.
fn autonomy(level: Level) -> usize {
    match level {
        Level::L0 => 1,
        Level::L1 => 2,
        Level::L2 => 3,
        Level::L3 => 4,
        Level::L4 => 5,
    }
}

/// What the minimum-safeguard gate asks about (S2-4.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub enum Safeguard {
    Observability,
    Rollback,
    Scope,
}

/// How much of a safeguard there is: 0 for none, up to 5.
pub type Rung = usize;

impl Safeguard {
    /// All.
    pub const ALL: [Safeguard; 3] = [Safeguard::Observability, Safeguard::Rollback, Safeguard::Scope];

    /// A rung in words.
    pub fn words(self, rung: Rung) -> &'static str {
        let words: [&str; 6] = match self {
            Safeguard::Observability => [
                "nothing",
                "action logs",
                "logs with their rationale",
                "a live view",
                "alerts on anomalies",
                "full provenance",
            ],
            Safeguard::Rollback => [
                "none",
                "any",
                "by hand within 4 h",
                "automatic within 1 h",
                "within 15 min",
                "instant",
            ],
            Safeguard::Scope => [
                "unbounded",
                "any",
                "a department",
                "a team or project",
                "a single service",
                "a single task",
            ],
        };
        words.get(rung).or(words.last()).copied().unwrap_or("none")
    }

    /// What `level` takes. At the lowest any rollback and any scope will do.
    fn takes(self, level: Level) -> Rung {
        match (self, autonomy(level)) {
            (Safeguard::Rollback | Safeguard::Scope, 1) => 0,
            (_, rung) => rung,
        }
    }
}

/// A safeguard that a level takes and that is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// Which.
    pub safeguard: Safeguard,
    /// What the level takes.
    pub takes: &'static str,
    /// What there is.
    pub has: &'static str,
}

impl Gap {
    /// All that is missing at `level` with what there is, in the order of [`Safeguard::ALL`].
    pub fn all(level: Level, has: [Rung; 3]) -> Vec<Gap> {
        let pairs = Safeguard::ALL.into_iter().zip(has);
        let missing = pairs.filter(|(safeguard, rung)| *rung < safeguard.takes(level));
        missing
            .map(|(safeguard, rung)| Gap {
                safeguard,
                takes: safeguard.words(safeguard.takes(level)),
                has: safeguard.words(rung),
            })
            .collect()
    }

    /// The highest level without a gap, which is what to constrain to if nobody invests; `None` when even
    /// the lowest has one.
    pub fn constrain_to(has: [Rung; 3]) -> Option<Level> {
        let levels = [Level::L4, Level::L3, Level::L2, Level::L1, Level::L0];
        levels.into_iter().find(|level| Gap::all(*level, has).is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_rubric() {
        #[rustfmt::skip]
        let table = [
            // O, R, B in ten-thousandths, level, score in hundredths, capped
            (10_000, 10_000, 10_000, Level::L0, 10_000, false, Band::High),
            (10_000, 10_000, 10_000, Level::L1, 3_536, false, Band::Moderate),
            (10_000, 10_000, 10_000, Level::L3, 1_250, false, Band::Low),
            (9_000, 9_000, 3_000, Level::L0, 2_000, true, Band::Low),
            (9_000, 9_000, 4_000, Level::L0, 3_240, false, Band::Moderate),
            (10_000, 10_000, 10_000, Level::L4, 894, false, Band::VeryLow),
            (0, 10_000, 10_000, Level::L0, 0, true, Band::VeryLow),
            (99_999, 10_000, 10_000, Level::L0, 10_000, false, Band::High),
        ];
        for (o, r, b, level, score, capped, band) in table {
            assert_eq!(
                equation(o, r, b, level),
                Equation { score, capped, band },
                "{o} {r} {b} {level:?}"
            );
        }
    }

    #[test]
    fn bands_begin_at_their_lower_end() {
        use Band::{ConditionallyHigh, High, Low, Moderate, VeryLow};
        for (score, expected) in [
            (999, VeryLow),
            (1_000, Low),
            (2_499, Low),
            (2_500, Moderate),
            (4_500, ConditionallyHigh),
            (6_499, ConditionallyHigh),
            (6_500, High),
        ] {
            assert_eq!(band(score), expected, "{score}");
        }
    }

    #[test]
    fn weights_are_whole_and_answers_anchored() {
        for rubric in [Rubric::Observability, Rubric::Reversibility, Rubric::BlastRadius] {
            assert_eq!(
                rubric.criteria().iter().map(|(_, weight)| weight).sum::<u64>(),
                100,
                "{rubric:?}"
            );
        }
        let answer = |criterion, percent| Answer {
            criterion,
            percent,
            because: String::new(),
        };
        let answers = [
            answer("undo", 100),
            answer("speed", 74),
            answer("logging", 100),
            answer("data recovery", 255),
        ];
        assert_eq!(orb(Rubric::Reversibility, &answers), 2_500 + 20 * 50 + 2_000);
        assert_eq!(orb(Rubric::Reversibility, &[]), 0, "unanswered counts as nothing");
    }

    #[test]
    fn the_gate_lists_what_is_missing() {
        let told = |level, has| {
            let gaps = Gap::all(level, has);
            gaps.iter()
                .map(|gap| format!("{} but {}", gap.takes, gap.has))
                .collect::<Vec<_>>()
                .join("; ")
        };
        #[rustfmt::skip]
        let table = [
            (Level::L0, [1, 0, 0], ""),
            (Level::L0, [0, 0, 0], "action logs but nothing"),
            (Level::L1, [1, 1, 2], "logs with their rationale but action logs; by hand within 4 h but any"),
            (Level::L2, [4, 2, 3], "automatic within 1 h but by hand within 4 h"),
            (Level::L3, [4, 4, 4], ""),
            (Level::L4, [5, 5, 4], "a single task but a single service"),
        ];
        for (level, has, expected) in table {
            assert_eq!(told(level, has), expected, "{level:?} {has:?}");
        }
        assert_eq!(Gap::constrain_to([4, 2, 3]), Some(Level::L1));
        assert_eq!(Gap::constrain_to([0, 5, 5]), None);
    }
}
