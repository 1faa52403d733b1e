//! How the trust in each agent went over some days, and whom to look after (S3-B17).

use super::projection::{TRUST, day_prefix};
use super::{DAY_MS, DAYS_MAX, TrustDay, days_after, projection, risk, view};
use crate::Gate;
use policy::Timestamp;
use policy::trust::{Course, DayScores, Origin, RiskLevel, Tier, concerns, course};
use serde::Serialize;
use store::{Reader, StoreError};

/// Most days that a report looks back: as far as a history goes.
pub const REPORT_DAYS_MAX: u16 = DAYS_MAX;

/// One agent of a report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AgentReport {
    /// Which.
    pub agent: String,
    /// In force now, 0 to 1000.
    pub score: u16,
    /// Of that score.
    pub tier: Tier,
    /// How it went.
    #[serde(flatten)]
    pub course: Course,
    /// How many events there were in these days.
    pub events: u64,
    /// How risky it is now, 0 to 1000, 1000 being safe.
    pub risk: u16,
    /// Of that.
    pub risk_level: RiskLevel,
    /// Why it is at risk; empty when it is not.
    pub concerns: Vec<String>,
}

impl Gate {
    /// Every configured agent that earns and loses, by name, from the day (in UTC) that `since` is in until now.
    pub fn trust_report(&self, since: Timestamp) -> Result<Vec<AgentReport>, StoreError> {
        let (authority, now) = (self.authority.load_full(), self.deadlines.now());
        self.store.read(|reader| {
            let mut reports = Vec::new();
            for name in authority.agents.keys() {
                let view = view(reader, &authority, name, now)?;
                if view.origin == Origin::Platform {
                    continue;
                }
                let days = days(reader, name, now)?;
                let begin = projection::date(since);
                let first = days.partition_point(|day| day.day < begin);
                let (before, within) = days.split_at(first);
                let scores = |day: &TrustDay| DayScores {
                    low: day.low,
                    high: day.high,
                    last: day.last,
                };
                let before = before.last().map(|day| day.last);
                let within_scores: Vec<DayScores> = within.iter().map(scores).collect();
                let score = view.told.score;
                let course = course(before, &within_scores, score);
                let risk = risk::risk(reader, name, now)?;
                reports.push(AgentReport {
                    agent: name.clone(),
                    score,
                    tier: view.told.tier,
                    course,
                    events: within.iter().map(|day| day.events).sum(),
                    risk: risk.score,
                    risk_level: risk.level,
                    concerns: concerns(score, course.trend, course.change, risk.level),
                });
            }
            Ok(reports)
        })
    }
}

fn days(reader: &Reader<'_>, agent: &str, now: Timestamp) -> Result<Vec<TrustDay>, StoreError> {
    let oldest = now.plus_ms(-DAY_MS * i64::from(DAYS_MAX));
    let prefix = day_prefix(agent);
    let after = format!("{prefix}{}", projection::date(oldest));
    days_after(reader.rows(TRUST, Some(&after), usize::from(DAYS_MAX))?, &prefix)
}
