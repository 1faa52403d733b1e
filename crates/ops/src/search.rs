//! What happened before that looked like this: full-text search over incidents.

use crate::board::{self, Record};
use crate::incident::Status;
use policy::Taints;
use runtime::tools::{IncidentSearch, Similar};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use store::Store;

/// Over the store alone, because tools are bound before the gate exists.
pub(crate) struct Search {
    pub store: Store,
}

impl IncidentSearch for Search {
    fn similar(&self, words: &str, not: Option<&str>, limit: usize) -> Result<Similar, String> {
        // More than asked for, because what is left out and what is put first is decided here.
        let wide = limit.saturating_mul(4).saturating_add(1);
        let rows = self
            .store
            .read(|reader| reader.search(board::NAME, words, wide))
            .map_err(|error| error.to_string())?;
        let records = rows
            .into_iter()
            .filter_map(|row| board::read::<Record>(row.value).ok());
        let mut found: Vec<Record> = records
            .filter(|record| Some(record.view.id.as_str()) != not)
            .collect();
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
