//! Policies and the past: what others would have decided, and what would have been enough. Both only look.

use super::call::{Answer, Call, ok};
use super::problem::ApiError;
use crate::config;
use policy::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// How far back without a word about it, in seconds: a week.
const SINCE_SECONDS: u32 = 7 * 24 * 60 * 60;
/// Most documents in one question.
const DOCUMENTS_MAX: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Simulation {
    documents: Vec<Value>,
    since_seconds: Option<u32>,
    /// Whether these are all policies there are.
    #[serde(default)]
    only: bool,
}

/// `POST /api/v1/policies/simulate`: what would have been decided otherwise with `documents` applied.
pub async fn simulate(call: Call) -> Answer {
    let question: Simulation = call.json()?;
    if question.documents.len() > DOCUMENTS_MAX {
        let what = format!("more than {DOCUMENTS_MAX} documents");
        return Err(ApiError::malformed("/documents", what));
    }
    let placed = |(i, value)| (format!("/documents/{i}"), value);
    let documents = config::from_values(question.documents.into_iter().enumerate().map(placed).collect())?;
    let Ok(slot) = Arc::clone(&call.app.explaining).try_acquire_owned() else {
        return Err(ApiError::overloaded(
            "other questions are being answered; try again when they are",
        ));
    };
    let policies = call.app.configuration.policies_with(documents, question.only)?;
    let (gate, since) = (call.app.gate.clone(), since(&call, question.since_seconds));
    let replay = move || {
        // Held to the end, whether or not somebody still waits for the answer.
        let _slot = slot;
        gate.replay(since, &policies)
    };
    let replayed = tokio::task::spawn_blocking(replay).await;
    let replayed = replayed.map_err(|error| ApiError::internal(&error))??;
    ok(&json!({ "since": since, "result": replayed }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Denials {
    since_seconds: Option<u32>,
    agent: Option<String>,
}

/// `GET /api/v1/policies/suggestions?since_seconds=&agent=`: the narrowest rules that would have permitted
/// what no rule permitted. Nothing is applied.
pub async fn suggestions(call: Call) -> Answer {
    let question: Denials = call.query()?;
    let agent = match &question.agent {
        None => None,
        Some(written) => {
            let authority = call.app.gate.authority();
            let found = authority.resolve(written).map(|(name, _)| name.to_owned());
            Some(found.ok_or_else(|| ApiError::not_found(format!("agent `{written}`")))?)
        }
    };
    let Ok(slot) = Arc::clone(&call.app.explaining).try_acquire_owned() else {
        return Err(ApiError::overloaded(
            "other questions are being answered; try again when they are",
        ));
    };
    let (gate, since) = (call.app.gate.clone(), since(&call, question.since_seconds));
    let suggest = move || {
        let _slot = slot;
        gate.suggestions(since, agent.as_deref())
    };
    let found = tokio::task::spawn_blocking(suggest).await;
    let found = found.map_err(|error| ApiError::internal(&error))??;
    ok(&json!({ "since": since, "suggestions": found }))
}

fn since(call: &Call, seconds: Option<u32>) -> Timestamp {
    let back = i64::from(seconds.unwrap_or(SINCE_SECONDS)).saturating_mul(1000);
    call.app.gate.store().clock().now().plus_ms(-back)
}
