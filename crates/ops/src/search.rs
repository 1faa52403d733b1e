//! What happened before that looked like this: full-text search over incidents.

use crate::board::{self, Record};
use crate::incident::Status;
use crate::triage::{Triggers, agent_of};
use gate::{Gate, Spot};
use policy::Taints;
use runtime::tools::{IncidentSearch, Similar};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Weak;
use store::StoreError;

/// Most incidents looked at besides, because other tenants' are left out.
const LOOK: usize = 1000;

/// Over what the asking agent's team has: another tenant's incidents are not there.
pub(crate) struct Search {
    /// Weak, for the gate's tools hold this.
    pub gate: Weak<Gate>,
    pub triggers: Triggers,
}

impl IncidentSearch for Search {
    fn similar(&self, agent: &str, words: &str, not: Option<&str>, limit: usize) -> Result<Similar, String> {
        let gate = self.gate.upgrade().ok_or("the platform is stopping")?;
        let team = team_of(&gate, agent).map_err(|error| error.to_string())?;
        // More than asked for, because what is left out and what is put first is decided here.
        let wide = limit.saturating_mul(4).saturating_add(LOOK);
        let rows = gate
            .store()
            .read(|reader| reader.search(board::NAME, words, wide))
            .map_err(|error| error.to_string())?;
        let records = rows
            .into_iter()
            .filter_map(|row| board::read::<Record>(row.value).ok());
        let mut found = Vec::new();
        for record in records.filter(|record| Some(record.view.id.as_str()) != not) {
            let other = agent_of(&gate, &self.triggers, &record.view).map_err(|error| error.to_string())?;
            let other = team_of(&gate, &other.unwrap_or_default()).map_err(|error| error.to_string())?;
            if team == other {
                found.push(record);
            }
        }
        // Stable: within each half the best match stays first. What was resolved teaches something.
        found.sort_by_key(|record| record.view.status != Status::Resolved);
        found.truncate(limit);
        Ok(Similar {
            incidents: found.iter().map(|record| show(record, words)).collect(),
            taint: found
                .iter()
                .fold(Taints::NONE, |all, record| all.and(record.taint)),
        })
    }
}

/// The team of an agent; `None` at the root.
fn team_of(gate: &Gate, agent: &str) -> Result<Option<(String, String)>, StoreError> {
    match gate.spot_of(agent)? {
        Spot::Agent(place, _) => Ok(Some((place.organization, place.team))),
        Spot::Root | Spot::Area(_) => Ok(None),
    }
}

fn show(record: &Record, words: &str) -> Value {
    let view = &record.view;
    json!({
        "id": view.id,
        "title": view.title,
        "severity": view.severity,
        "status": view.status,
        "opened": view.opened,
        "resolution": view.resolution,
        "score": score(record, words),
    })
}

/// How many of a hundred of the words are in it.
fn score(record: &Record, words: &str) -> usize {
    let asked = tokens(words);
    let mut text = format!("{} {} {}", record.view.title, record.labels, record.view.summary);
    text.extend(record.view.resolution.as_deref());
    let held = tokens(&text);
    asked.intersection(&held).count() * 100 / asked.len().max(1)
}

fn tokens(text: &str) -> BTreeSet<String> {
    let words = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}
