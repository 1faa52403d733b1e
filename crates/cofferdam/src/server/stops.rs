//! Kill switches.

use super::call::{Answer, Call, ok};
use super::places::stop_spot;
use super::problem::ApiError;
use super::sessions::stated;
use crate::app::organizations;
use gate::{AgentAuthority, Held, KillAnswer, Reach, SessionError, Spot};
use policy::{Area, Place, Stop, StopScope};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// `GET /api/v1/stops`: all in force.
pub async fn list(call: Call) -> Answer {
    let mut seen = Vec::new();
    for stop in call.app.gate.stops() {
        // What stops everything stops what is theirs, so everybody is told.
        let spot = stop_spot(&call.app, &stop.scope)?;
        let theirs = matches!(stop.scope, StopScope::All | StopScope::Network) || call.sees(&[spot]);
        if theirs || above(&call, &stop.scope) {
            seen.push(view(&call, &stop));
        }
    }
    ok(&seen)
}

/// Whether the stop is of an area that holds one where the caller has a role.
fn above(call: &Call, scope: &StopScope) -> bool {
    let StopScope::Area(area) = scope else {
        return false;
    };
    let within = Reach::Area(area.clone());
    call.caller
        .roles()
        .iter()
        .any(|at| within.covers(&at.reach.spot()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raise {
    /// As [`StopScope`] is written: `all`, `agent:NAME`, `tool:git.*`, …
    scope: String,
    #[serde(default)]
    reason: String,
}

/// `POST /api/v1/stops`: stops now, and answers when everything that is covered is cancelled or fenced, or
/// a bound has passed. The answer says whether the stop will survive a restart, which permits in flight it
/// cut, what it reached and what not; and as `known` whether there is such a thing now, for a stop of a
/// misspelt name stops nothing.
pub async fn raise(call: Call) -> Answer {
    let body: Raise = call.json()?;
    let scope = scope(&call, &body.scope)?;
    let at = admit(&call, &scope)?;
    let reason = stated(&body.reason, "no reason given")?;
    let (known, named) = (known(&call, &scope), scope.to_string());
    let by = call.caller.principal();
    // INVARIANT (a stop of everything stops everybody): at once, whatever the others take.
    let (answer, others) = tokio::join!(
        call.app.gate.kill_at(by, at, scope.clone(), &reason),
        organizations::stop_all(&call.app.organizations, by, &scope, &reason),
    );
    let mut told = stopped(&answer);
    let others: Vec<Value> = others.iter().map(elsewhere).collect();
    merge(
        &mut told,
        json!({"scope": named, "reason": reason, "known": known}),
    );
    if !others.is_empty() {
        merge(&mut told, json!({"organizations": others}));
    }
    ok(&told)
}

fn stopped(answer: &KillAnswer) -> Value {
    json!({
        "durable": answer.durable, "cancelled": answer.cancelled,
        "reached": held(&answer.reached), "unreached": held(&answer.unreached),
    })
}

/// What came of a stop in another organization.
fn elsewhere((name, killed): &(String, Result<KillAnswer, String>)) -> Value {
    let mut told = match killed {
        Ok(answer) => stopped(answer),
        Err(why) => json!({"not_served": why}),
    };
    merge(&mut told, json!({"organization": name}));
    told
}

fn merge(into: &mut Value, mut more: Value) {
    if let (Some(into), Some(more)) = (into.as_object_mut(), more.as_object_mut()) {
        into.append(more);
    }
}

/// Of each kind all are counted, and so many named.
fn held(held: &[Held]) -> Vec<Value> {
    let view = |held: &Held| {
        let names: Vec<&String> = held.names.iter().take(NAMES_MAX).collect();
        json!({"what": held.what, "count": held.names.len(), "names": names})
    };
    held.iter().map(view).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Drill {
    #[serde(default = "few")]
    sessions: usize,
}

fn few() -> usize {
    20
}

/// `POST /api/v1/stops/drill`: starts so many live, harmless sessions, stops them with a stop of their own
/// and says how long it took, in microseconds from the call on. Touches nobody else's sessions.
pub async fn drill(call: Call) -> Answer {
    let Drill { sessions } = call.json()?;
    let drilled = call.app.runtime.drill(call.caller.principal(), sessions).await?;
    let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    ok(&json!({
        "sessions": drilled.sessions, "cut": drilled.cut, "last_action_us": us(drilled.last_action),
        "last_session_us": us(drilled.last_session), "answered_us": us(drilled.answered),
        "unreached": held(&drilled.unreached), "entry": drilled.entry,
    }))
}

/// Whether there is what `scope` names. When that cannot be read it is taken to be: nothing may delay
/// a stop.
fn known(call: &Call, scope: &StopScope) -> bool {
    let authority = call.app.gate.authority();
    match scope {
        StopScope::All | StopScope::Network | StopScope::Tool(_) | StopScope::Capability(_) => true,
        StopScope::Area(area) => authority.agents.values().any(|agent| area.contains(&agent.place)),
        StopScope::Agent(name) => authority.agents.contains_key(name),
        StopScope::Session(id) => !matches!(call.app.gate.session(id), Err(SessionError::Unknown(_))),
    }
}

/// `DELETE /api/v1/stops`: ends a stop; durable first, effective second.
pub async fn lift(call: Call) -> Answer {
    // Some clients cannot send a body with DELETE, so the query says the same.
    let body: Raise = if call.body.is_empty() {
        call.query()?
    } else {
        call.json()?
    };
    let reason = stated(&body.reason, "no reason given")?;
    let scope = scope(&call, &body.scope)?;
    admit(&call, &scope)?;
    let by = call.caller.principal();
    let reaches = call.caller.reaches(call.roles);
    let gate = &call.app.gate;
    let own = match organizations::above(&call.app, &scope) {
        Some(above) => gate.lift_below(by, &reaches, &scope, &reason, above).await?,
        None => gate.lift(by, &reaches, &scope, &reason).await?,
    };
    call.app.runtime.wake();
    let others = organizations::lift_all(gate, &call.app.organizations, by, &scope, &reason).await?;
    if !own && !others {
        return Err(ApiError::not_found(format!("stop `{scope}`")));
    }
    ok(&json!({"scope": scope.to_string(), "lifted": true}))
}

/// Only what is the caller's to stop; where their role holds by which they may.
fn admit(call: &Call, scope: &StopScope) -> Result<Reach, ApiError> {
    if call.everywhere() {
        return Ok(Reach::Everywhere);
    }
    let spot = stop_spot(&call.app, scope)?;
    let missing = || match scope {
        StopScope::Area(_) | StopScope::Agent(_) | StopScope::Session(_) => {
            ApiError::not_found(format!("`{scope}` that you may stop"))
        }
        _ => ApiError::forbidden("this stops things of everybody, and needs the role at the root"),
    };
    call.admit(std::slice::from_ref(&spot), missing)?;
    Ok(call.caller.widest(call.roles, &spot))
}

/// Most names of one kind in an answer.
const NAMES_MAX: usize = 100;
/// Longest scope that is taken, in bytes.
const SCOPE_BYTES_MAX: usize = 1024;

/// Reads a scope. An agent may be written with any suffix of its path, and a team or a project without
/// what is above it, as long as one place alone is meant.
fn scope(call: &Call, text: &str) -> Result<StopScope, ApiError> {
    let authority = call.app.gate.authority();
    let wrong = |what: String| Err(ApiError::malformed("/scope", what));
    if text.len() > SCOPE_BYTES_MAX || text.chars().any(char::is_control) {
        return wrong(format!(
            "a scope has at most {SCOPE_BYTES_MAX} bytes and no control characters"
        ));
    }
    match text.split_once(':') {
        Some(("agent", path)) if path.contains('/') => {
            let found = authority
                .resolve(path)
                .filter(|(name, agent)| call.sees(&[Spot::Agent(agent.place.clone(), (*name).to_owned())]));
            return match found {
                Some((name, _)) => Ok(StopScope::Agent(name.to_owned())),
                None => wrong(format!("no agent is called `{path}`")),
            };
        }
        Some((kind @ ("team" | "project"), end)) if StopScope::parse(text).is_none() => {
            let depth = if kind == "team" { 2 } else { 3 };
            let sees = |(name, agent): &(&String, &Arc<AgentAuthority>)| {
                call.sees(&[Spot::Agent(agent.place.clone(), (*name).clone())])
            };
            let places = authority
                .agents
                .iter()
                .filter(sees)
                .map(|(_, agent)| &agent.place);
            let areas: BTreeSet<Area> = places
                .flat_map(Place::areas)
                .filter(|area| area.depth() == depth && format!("/{area}").ends_with(&format!("/{end}")))
                .collect();
            match areas.iter().collect::<Vec<_>>().as_slice() {
                [area] => return Ok(StopScope::Area((*area).clone())),
                [] => {}
                several => {
                    let names: Vec<String> = several.iter().map(|area| area.to_string()).collect();
                    return wrong(format!("`{end}` may be any of {}", names.join(", ")));
                }
            }
        }
        _ => {}
    }
    match StopScope::parse(text) {
        Some(scope) => Ok(scope),
        None => wrong(format!(
            "`{text}` is none of all, network, org:A, team:A/B, project:A/B/C, agent:NAME, session:ID, \
             tool:VERBS, capability:VERBS:RESOURCES"
        )),
    }
}

/// What stands is told also where the journal cannot be read.
fn view(call: &Call, stop: &Stop) -> Value {
    let recorded = call.app.gate.raised_at(&stop.scope).ok().flatten();
    let at = recorded.unwrap_or_default().and(stop.at.clone());
    json!({
        "scope": stop.scope.to_string(), "reason": stop.reason, "by": stop.by, "at": at.to_string(),
    })
}
