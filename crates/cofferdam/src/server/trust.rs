//! Trust in agents: the score and what made it, its history, the equation, risk, a report, and a person's promotion.

use super::call::{Answer, Call, ok};
use super::problem::ApiError;
use super::sessions::stated;
use gate::{PromoteError, REPORT_DAYS_MAX};
use http::StatusCode;
use policy::trust::Echo;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// Seconds of a day.
const DAY_SECONDS: u32 = 24 * 60 * 60;
/// How far back a report looks when it is not said.
const REPORT_DAYS: u32 = 7;

/// `GET /api/v1/trust`: every agent's.
pub async fn list(call: Call) -> Answer {
    let mut all = call.seen(call.app.gate.trust()?, usize::MAX, |trust| &trust.agent)?;
    for one in &mut all {
        one.echoes = seen(&call, std::mem::take(&mut one.echoes))?;
    }
    ok(&all)
}

/// `GET /api/v1/trust/{agent}`: one, explained.
pub async fn show(call: Call) -> Answer {
    let agent = agent(&call)?;
    let mut view = call.app.gate.trust_of(&agent)?.ok_or_else(|| unknown(&agent))?;
    view.echoes = seen(&call, view.echoes)?;
    ok(&view)
}

/// `GET /api/v1/trust/{agent}/risk`: how safe it looks by what happened within a day, and by what.
pub async fn risk(call: Call) -> Answer {
    let agent = agent(&call)?;
    let mut view = call.app.gate.risk_of(&agent)?.ok_or_else(|| unknown(&agent))?;
    view.risk.echoes = seen(&call, view.risk.echoes)?;
    ok(&view)
}

/// Falls of agents that the caller sees: those of others count, and are not named.
fn seen(call: &Call, echoes: Vec<Echo>) -> Result<Vec<Echo>, ApiError> {
    call.seen(echoes, usize::MAX, |echo| &echo.agent)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Since {
    since_seconds: Option<u32>,
}

/// `GET /api/v1/reports/trust?since_seconds=`: the course of trust in each agent over these days (7 unless said
/// otherwise), and which of them are at risk.
pub async fn report(call: Call) -> Answer {
    let Since { since_seconds } = call.query()?;
    let seconds = since_seconds.unwrap_or(REPORT_DAYS * DAY_SECONDS);
    let most = u32::from(REPORT_DAYS_MAX) * DAY_SECONDS;
    if !(1..=most).contains(&seconds) {
        let what = format!("1 to {most} seconds, which are {REPORT_DAYS_MAX} days");
        return Err(ApiError::malformed("/since_seconds", what));
    }
    let gate = &call.app.gate;
    let since = gate.store().clock().now().plus_ms(-i64::from(seconds) * 1000);
    let agents = call.seen(gate.trust_report(since)?, usize::MAX, |one| &one.agent)?;
    let at_risk = agents.iter().filter(|one| !one.concerns.is_empty());
    let at_risk: Vec<&str> = at_risk.map(|one| one.agent.as_str()).collect();
    ok(&json!({ "since": since, "agents": agents, "at_risk": at_risk }))
}

/// `GET /api/v1/trust/{agent}/history`: the days on which something moved it, the oldest first.
pub async fn history(call: Call) -> Answer {
    let agent = agent(&call)?;
    ok(&call.app.gate.trust_history(&agent)?)
}

/// `GET /api/v1/trust/{agent}/equation`: observability × reversibility × blast-radius control ÷ autonomy, with
/// the input that made each answer.
pub async fn equation(call: Call) -> Answer {
    let agent = agent(&call)?;
    let surroundings = call.app.surroundings();
    let equation = call.app.gate.trust_equation(&agent, surroundings)?;
    ok(&equation.ok_or_else(|| unknown(&agent))?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arrangement {
    of: String,
}

/// `GET /api/v1/topology?of=`: the equation of agents that work together, those of a place (`acme/payments`) or those
/// below an agent in the tree of delegation. For those who see each of them.
pub async fn topology(call: Call) -> Answer {
    let Arrangement { of } = call.query()?;
    let missing = || ApiError::not_found(format!("agent, nor place with agents, `{of}`"));
    let Ok(slot) = Arc::clone(&call.app.explaining).try_acquire_owned() else {
        return Err(ApiError::overloaded(
            "other questions are being answered; try again when they are",
        ));
    };
    let call = Arc::new(call);
    let (asked, what) = (Arc::clone(&call), of.clone());
    let read = tokio::task::spawn_blocking(move || {
        let _slot = slot;
        let seen = |agent: &str| asked.sees_agent(agent).unwrap_or(false);
        let gate = &asked.app.gate;
        gate.trust_topology(&what, asked.app.surroundings(), &seen)
    });
    let found = read.await.map_err(|error| ApiError::internal(&error))??;
    ok(&found.ok_or_else(missing)?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Promotion {
    #[serde(default)]
    reason: String,
}

/// `POST /api/v1/trust/{agent}/promote`: a person vouches for the next tier, if the journal bears it out.
pub async fn promote(call: Call) -> Answer {
    let body: Promotion = call.json()?;
    let reason = stated(&body.reason, "no reason given")?;
    let agent = agent(&call)?;
    ok(&call.app.gate.promote(&call.caller, &agent, &reason).await?)
}

/// The agent that the path means: by its name, or by its name after a suffix of its place.
fn agent(call: &Call) -> Result<String, ApiError> {
    let written = call.parameter("agent");
    let authority = call.app.gate.authority();
    let found = authority.resolve(written).map(|(name, _)| name.to_owned());
    found.ok_or_else(|| unknown(written))
}

fn unknown(agent: &str) -> ApiError {
    ApiError::not_found(format!("agent `{agent}`"))
}

impl From<PromoteError> for ApiError {
    fn from(error: PromoteError) -> ApiError {
        match error {
            PromoteError::Unknown(agent) => unknown(&agent),
            PromoteError::NotAPerson | PromoteError::Sponsor(_) => ApiError::forbidden(error.to_string()),
            PromoteError::Lacks(_) => ApiError::new(StatusCode::CONFLICT, "not_borne_out", error.to_string()),
            PromoteError::Store(store) => store.into(),
        }
    }
}
