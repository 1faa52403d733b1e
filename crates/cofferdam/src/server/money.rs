//! Models, budgets and what was used of them.

use super::call::{Answer, Call, ok};
use super::problem::ApiError;
use gate::llm::{Ask, Body, Protocol};
use gate::{CostBy, GuestSession, NewSession, RaiseError, ReportError};
use journal::machine::SessionEvent;
use policy::budget::{Amounts, Budget, Ceiling, money, quantity};
use policy::{Principal, Taints, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

/// How far back a report goes that says nothing of it, in milliseconds: thirty days.
const SPAN_MS: i64 = 30 * 24 * 60 * 60 * 1000;

/// `GET /api/v1/models`: every name that can be called, and how the models are.
pub async fn models(call: Call) -> Answer {
    ok(&json!({ "models": call.app.llm.all(), "prices": gate::llm::PRICES_DATE }))
}

/// What a test may cost, in millionths of a US dollar: ten cents.
const TEST_MICROS: u64 = 100_000;

/// `POST /api/v1/models/{name}/test`: one small call of the model or route, in a session of its own that whoever asks lends
/// the right to. What it answers, what it cost, and where that stands.
pub async fn test(call: Call) -> Answer {
    let name = call.parameter("name").to_owned();
    let app = &call.app;
    let unknown = || ApiError::not_found(format!("Model or Route `{name}`"));
    let models = app.llm.models_of(&name).ok_or_else(unknown)?;
    let lent = GuestSession {
        lent: models
            .iter()
            .filter_map(|model| gate::llm::capability(model))
            .collect(),
        learns: false,
        budget: Some(Ceiling {
            micros: Some(TEST_MICROS),
            ..Ceiling::default()
        }),
    };
    let new = NewSession {
        agent: gate::GUEST.to_owned(),
        cause: call.caller.principal().clone(),
        correlation: None,
        input: json!({ "test": name }),
        title: format!("test of model {name}"),
        idempotency_key: None,
        urgent: false,
        taint: Taints::NONE,
    };
    let session = app.gate.create_guest_session(new, lent).await?.id;
    let by = Principal::service("cofferdam");
    app.gate
        .session_event(&session, &by, SessionEvent::Start, None, None)
        .await?;
    let body = json!({
        "model": name, "max_tokens": 32, "messages": [{ "role": "user", "content": "Say hello in one short sentence." }],
    });
    let (_here, gone) = watch::channel(());
    let began = app.clock.monotonic();
    let ask = Ask {
        session: session.clone(),
        protocol: Protocol::Chat,
        headers: Vec::new(),
        query: String::new(),
        body: body.to_string().into_bytes(),
        gone,
    };
    let reply = app.llm.call(ask).await;
    let took = app.clock.monotonic().saturating_sub(began);
    app.gate
        .session_event(&session, &by, SessionEvent::Complete, None, None)
        .await?;
    app.gate.flush().await?;
    let answer: Value = match reply.body {
        Body::Whole(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
        Body::Stream(_) => Value::Null,
    };
    let text = answer
        .pointer("/choices/0/message/content")
        .or(answer.pointer("/error/message"));
    ok(&json!({
        "model": name, "session": session, "status": reply.status, "answered": reply.status == 200,
        "text": text, "usage": answer.get("usage"), "cost_micros": app.gate.tally(&session)?.micros,
        "duration_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    }))
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
