//! Models, budgets and what was used of them.

use super::call::{Answer, Call, ok};
use super::problem::ApiError;
use gate::{CostBy, RaiseError, ReportError};
use policy::Timestamp;
use policy::budget::{Amounts, Budget, money, quantity};
use serde::Deserialize;
use serde_json::{Value, json};

/// How far back a report goes that says nothing of it, in milliseconds: thirty days.
const SPAN_MS: i64 = 30 * 24 * 60 * 60 * 1000;

/// `GET /api/v1/models`: every name that can be called, and how the models are.
pub async fn models(call: Call) -> Answer {
    ok(&json!({ "models": call.app.llm.all(), "prices": gate::llm::PRICES_DATE }))
}

/// `GET /api/v1/budgets`: all budgets, each with its accounts in the current period.
pub async fn budgets(call: Call) -> Answer {
    let accounts = call.app.gate.accounts(None)?;
    let all = call.app.gate.budgets();
    let of = |budget: &Budget| {
        let own: Vec<_> = accounts
            .iter()
            .filter(|account| account.budget == budget.name)
            .collect();
        told(budget, &json!(own))
    };
    ok(&json!({ "budgets": all.iter().map(of).collect::<Vec<_>>() }))
}

/// `GET /api/v1/budgets/{name}`.
pub async fn budget(call: Call) -> Answer {
    let name = call.parameter("name");
    let all = call.app.gate.budgets();
    let unknown = || ApiError::not_found(format!("Budget `{name}`"));
    let budget = all
        .iter()
        .find(|budget| budget.name == name)
        .ok_or_else(unknown)?;
    let accounts = call.app.gate.accounts(Some(name))?;
    ok(&told(budget, &json!(accounts)))
}

fn told(budget: &Budget, accounts: &Value) -> Value {
    json!({
        "name": budget.name, "place": budget.place, "per": budget.per, "each": budget.each, "limit": budget.ceiling,
        "alerts": budget.alerts, "throttle": budget.throttle, "channels": budget.channels, "accounts": accounts,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raise {
    account: String,
    reason: String,
    #[serde(default)]
    money: Option<String>,
    #[serde(default)]
    tokens: Option<String>,
    #[serde(default)]
    calls: Option<String>,
    #[serde(default)]
    turns: Option<String>,
}

/// `POST /api/v1/budgets/{name}/raise`: lets one account use more until its period is over.
pub async fn raise(call: Call) -> Answer {
    let raise: Raise = call.json()?;
    if raise.reason.trim().is_empty() {
        return Err(ApiError::malformed("/reason", "say why"));
    }
    type Read = fn(&str) -> Result<u64, String>;
    let read = |at: &str, text: &Option<String>, read: Read| {
        let text = text.as_deref().map(read).transpose();
        text.map(Option::unwrap_or_default)
            .map_err(|what| ApiError::malformed(at, what))
    };
    let more = Amounts {
        micros: read("/money", &raise.money, money)?,
        tokens: read("/tokens", &raise.tokens, quantity)?,
        calls: read("/calls", &raise.calls, quantity)?,
        turns: read("/turns", &raise.turns, quantity)?,
    };
    let name = call.parameter("name");
    let by = call.caller.principal();
    let raised = call
        .app
        .gate
        .raise_budget(by, (name, &raise.account), more, &raise.reason)
        .await;
    let view = raised.map_err(|error| match error {
        RaiseError::Unknown(_) => ApiError::not_found(format!("Budget `{name}`")),
        RaiseError::NoAccount(..) => ApiError::malformed("/account", error.to_string()),
        RaiseError::Nothing(_) => ApiError::malformed("", error.to_string()),
        RaiseError::Store(error) => error.into(),
    })?;
    ok(&json!(view))
}

/// `GET /api/v1/cost?by=team,agent&from=&to=`: what models cost, by the hour.
pub async fn cost(call: Call) -> Answer {
    let question: Question = call.query()?;
    let by = question.by.as_deref().unwrap_or("agent,model");
    let by = by
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(|word| {
            let known = || CostBy::ALL.map(CostBy::as_str).join(", ");
            CostBy::parse(word)
                .ok_or_else(|| ApiError::malformed("by", format!("`{word}` is none of {}", known())))
        });
    let by = by.collect::<Result<Vec<_>, _>>()?;
    let at = |name: &str, text: &Option<String>, usual: Timestamp| match text {
        None => Ok(usual),
        Some(text) => time(text).ok_or_else(|| {
            ApiError::malformed(
                name,
                format!("`{text}` is no time: write 2026-11-01 or 2026-11-01T00:00:00Z"),
            )
        }),
    };
    let now = call.app.gate.time();
    // The hour that it is in is a part of it.
    let to = at("to", &question.to, now.plus_ms(60 * 60 * 1000))?;
    let from = at("from", &question.from, now.plus_ms(-SPAN_MS))?;
    let gate = call.app.gate.clone();
    let report = tokio::task::spawn_blocking(move || gate.cost(&by, from, to)).await;
    let report = report.map_err(|error| ApiError::internal(&error))?;
    let report = report.map_err(|error| match error {
        ReportError::TooLong => ApiError::malformed("by", error.to_string()),
        ReportError::Store(error) => error.into(),
    })?;
    ok(&json!(report))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    by: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

/// A time, or a day in UTC.
fn time(text: &str) -> Option<Timestamp> {
    Timestamp::parse(text).or_else(|| Timestamp::parse(&format!("{text}T00:00:00Z")))
}
