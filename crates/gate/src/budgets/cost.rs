//! What models cost: by team, agent, model or incident, of any span of hours. Made of the fold, so it is what the journal
//! says to the micro-unit.

use super::projection::{CostRow, cost_key};
use super::{BUDGETS, READ_AT_ONCE};
use crate::Gate;
use crate::rows::decode;
use policy::Timestamp;
use policy::budget::Period;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use store::StoreError;

/// Most lines of a report.
const LINES_MAX: usize = 10_000;

/// What a report is by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CostBy {
    /// The day, in UTC.
    Day,
    /// The organization.
    Organization,
    /// `organization/team`
    Team,
    /// `organization/team/project`
    Project,
    /// The agent.
    Agent,
    /// The `Model`.
    Model,
    /// The incident, the task, or whatever else sessions have in common.
    Incident,
}

impl CostBy {
    /// All of them.
    pub const ALL: [CostBy; 7] = [
        CostBy::Day,
        CostBy::Organization,
        CostBy::Team,
        CostBy::Project,
        CostBy::Agent,
        CostBy::Model,
        CostBy::Incident,
    ];

    /// `day`, `organization`, …
    pub fn as_str(self) -> &'static str {
        match self {
            CostBy::Day => "day",
            CostBy::Organization => "organization",
            CostBy::Team => "team",
            CostBy::Project => "project",
            CostBy::Agent => "agent",
            CostBy::Model => "model",
            CostBy::Incident => "incident",
        }
    }

    /// Reads what [`CostBy::as_str`] writes.
    pub fn parse(text: &str) -> Option<CostBy> {
        CostBy::ALL.into_iter().find(|by| by.as_str() == text)
    }
}

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CostLine {
    /// By what it is, in the order that was asked for.
    pub of: Vec<String>,
    /// Calls of models.
    pub calls: u64,
    /// Tokens that models read.
    pub tokens_input: u64,
    /// Tokens that they wrote.
    pub tokens_output: u64,
    /// Millionths of a US dollar.
    pub micros: u64,
}

/// A report. The lines add up to the total.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CostReport {
    /// What it is by.
    pub by: Vec<CostBy>,
    /// From the hour that this is in.
    pub from: Timestamp,
    /// To before the hour that this is in.
    pub to: Timestamp,
    /// The dearest first.
    pub lines: Vec<CostLine>,
    /// Of all.
    pub total: CostLine,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Too long to be one.
    #[error("it would have more than {LINES_MAX} lines; ask by less, or for a shorter time")]
    TooLong,
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Gate {
    /// What was used from the hour of `from` to before the hour of `to`. Blocks.
    ///
    /// # Errors
    /// See [`ReportError`].
    pub fn cost(&self, by: &[CostBy], from: Timestamp, to: Timestamp) -> Result<CostReport, ReportError> {
        let (first, end) = (Period::Hour.key(from), cost_key(&Period::Hour.key(to)));
        let mut lines: BTreeMap<Vec<String>, CostLine> = BTreeMap::new();
        let mut total = CostLine::default();
        let mut after = Some(cost_key(&first));
        loop {
            let rows = self
                .store
                .read(|reader| reader.rows(BUDGETS, after.as_deref(), READ_AT_ONCE))?;
            let Some(last) = rows.last() else { break };
            after = Some(last.key.clone());
            let full = rows.len() == READ_AT_ONCE;
            let mut ended = false;
            for row in rows {
                ended = !row.key.starts_with(&cost_key("")) || row.key >= end;
                if ended {
                    break;
                }
                let of = by.iter().map(|by| part(&row.key, *by)).collect();
                let cost: CostRow = decode(row.value)?;
                add(&mut total, &cost);
                add(lines.entry(of).or_default(), &cost);
                if lines.len() > LINES_MAX {
                    return Err(ReportError::TooLong);
                }
            }
            if ended || !full {
                break;
            }
        }
        let mut lines: Vec<CostLine> = lines
            .into_iter()
            .map(|(of, line)| CostLine { of, ..line })
            .collect();
        lines.sort_by(|a, b| b.micros.cmp(&a.micros).then_with(|| a.of.cmp(&b.of)));
        Ok(CostReport {
            by: by.to_vec(),
            from,
            to,
            lines,
            total,
        })
    }
}

fn add(line: &mut CostLine, cost: &CostRow) {
    line.calls = line.calls.saturating_add(cost.calls);
    line.tokens_input = line.tokens_input.saturating_add(cost.tokens_input);
    line.tokens_output = line.tokens_output.saturating_add(cost.tokens_output);
    line.micros = line.micros.saturating_add(cost.micros);
}

/// What stands in the key of a row.
fn part(key: &str, by: CostBy) -> String {
    let mut parts = key.strip_prefix("cost/").unwrap_or_default().splitn(5, '|');
    let mut next = || parts.next().unwrap_or_default();
    let (hour, place, agent, model, incident) = (next(), next(), next(), next(), next());
    let names = |n: usize| place.split('/').take(n).collect::<Vec<_>>().join("/");
    match by {
        CostBy::Day => hour.chars().take(10).collect(),
        CostBy::Organization => names(1),
        CostBy::Team => names(2),
        CostBy::Project => place.to_owned(),
        CostBy::Agent => agent.to_owned(),
        CostBy::Model => model.strip_prefix("model/").unwrap_or(model).to_owned(),
        CostBy::Incident => if incident.is_empty() { "-" } else { incident }.to_owned(),
    }
}
