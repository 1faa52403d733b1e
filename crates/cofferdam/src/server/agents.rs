//! Agents as principals, what they pass on to each other, and who is asking.

use super::call::{Answer, Call, json, ok};
use super::places::all_of;
use super::problem::ApiError;
use super::sessions::stated;
use gate::{
    AgentError, AgentRow, DelegateError, DelegationRow, ELEVATION_SECONDS, ElevateError, LowerError,
    NewAgent, NewDelegation, NewElevation, Role, Spot,
};
use http::StatusCode;
use policy::{AgentEvent, Capability, Level, Place, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

/// Longest life that can be asked for, in seconds: 10 years.
const LIFE_MAX_SECONDS: i64 = 10 * 366 * 86_400;

/// `GET /api/v1/whoami`: whose token this is and what it may do.
pub async fn whoami(call: Call) -> Answer {
    let caller = &call.caller;
    let delegation = match caller.delegation() {
        Some(id) => {
            let row = call.app.gate.delegation(id)?;
            Some(shown(&call, &row)?)
        }
        None => None,
    };
    ok(&json!({
        "principal": caller.principal(), "roles": caller.roles(), "token": caller.token(),
        "expires": call.app.gate.ends(caller), "trigger": caller.trigger(), "delegation": delegation,
        "provider": caller.provider(), "certificate": caller.certificate().map(ToString::to_string),
    }))
}

/// `GET /api/v1/agents`: all that are known, by name.
pub async fn list(call: Call) -> Answer {
    let rows = call.seen(call.app.gate.agents()?, usize::MAX, |row| &row.name)?;
    ok(&rows.iter().map(|row| view(&call, row)).collect::<Vec<_>>())
}

/// `GET /api/v1/agents/{name}`: one, with what its document grants and what a reviewer should know of it.
pub async fn show(call: Call) -> Answer {
    let row = call.app.gate.agent(call.parameter("name"))?;
    let mut shown = view(&call, &row);
    if let (Some(shown), Some(held)) = (
        shown.as_object_mut(),
        call.app.gate.authority().agents.get(&row.name),
    ) {
        let grants = held.grants.iter();
        let grant = |g: &policy::Grant| json!({"capability": g.capability, "from": g.from, "until": g.until});
        shown.insert("grants".to_owned(), grants.clone().map(grant).collect());
        shown.insert(
            "warnings".to_owned(),
            grants
                .flat_map(policy::Grant::warnings)
                .map(Value::from)
                .collect(),
        );
        shown.insert("pace".to_owned(), json!(call.app.gate.pace(&row.name)?));
        shown.insert("elevation".to_owned(), json!(call.app.gate.elevation(&row.name)?));
    }
    ok(&shown)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    name: String,
    sponsor: Option<String>,
    parent: Option<String>,
    place: Option<Place>,
    expires_in_seconds: Option<i64>,
}

/// `POST /api/v1/agents`: 201; a document lets it act.
pub async fn create(call: Call) -> Answer {
    let new: New = call.json()?;
    let parent = match &new.parent {
        Some(parent) => call.app.gate.agent(parent).ok().map(|row| row.place),
        None => None,
    };
    let place = new.place.clone().or(parent).unwrap_or_default();
    let elsewhere = || ApiError::forbidden("you administer another part of the tree: say a --place in it");
    call.admit(&[Spot::Agent(place, new.name.clone())], elsewhere)?;
    if let Some(parent) = &new.parent {
        call.admit_agent(&call.app.gate.agent(parent)?.name, || {
            AgentError::Unknown(parent.clone()).into()
        })?;
    }
    let agent = NewAgent {
        name: new.name,
        sponsor: new.sponsor,
        parent: new.parent,
        place: new.place,
        expires: expires(&call, new.expires_in_seconds)?,
    };
    let row = call.app.gate.create_agent(call.caller.principal(), agent).await?;
    json(StatusCode::CREATED, &view(&call, &row))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    #[serde(default)]
    reason: String,
    /// Of `suspend`: it may be compromised, so resuming it needs `override`.
    #[serde(default)]
    security: bool,
    /// Of `resume`: although it was suspended for security. For administrators.
    #[serde(default, rename = "override")]
    overriding: bool,
    /// Of `resume`, for an agent that has expired.
    expires_in_seconds: Option<i64>,
}

/// `POST /api/v1/agents/{name}/suspend`: it is denied from its next action on.
pub async fn suspend(call: Call) -> Answer {
    let change: Change = call.json()?;
    let event = if change.security {
        AgentEvent::Lock
    } else {
        AgentEvent::Suspend
    };
    drive(&call, event, &change).await
}

/// `POST /api/v1/agents/{name}/resume`: it acts again.
pub async fn resume(call: Call) -> Answer {
    let change: Change = call.json()?;
    let agent = call.app.gate.agent(call.parameter("name"))?.name;
    if change.overriding && !call.has_role(&[Role::Admin], &agent)? {
        return Err(ApiError::forbidden(
            "overriding a suspension for security needs the role admin",
        ));
    }
    let event = match (change.overriding, change.expires_in_seconds) {
        (true, _) => AgentEvent::Override,
        (false, Some(_)) => AgentEvent::Renew,
        (false, None) => AgentEvent::Resume,
    };
    drive(&call, event, &change).await
}

/// `POST /api/v1/agents/{name}/revoke`: it never acts again, nor does anybody that it passed anything on to
/// under what it passed on.
pub async fn revoke(call: Call) -> Answer {
    let change: Change = call.json()?;
    drive(&call, AgentEvent::Revoke, &change).await
}

/// `POST /api/v1/agents/{name}/rotate`: a new key, proved by the old one.
pub async fn rotate(call: Call) -> Answer {
    let row = call
        .app
        .gate
        .rotate_agent(call.caller.principal(), call.parameter("name"))
        .await?;
    ok(&view(&call, &row))
}

async fn drive(call: &Call, event: AgentEvent, change: &Change) -> Answer {
    let reason = stated(&change.reason, "no reason given")?;
    let expires = expires(call, change.expires_in_seconds)?;
    let (gate, by) = (&call.app.gate, call.caller.principal());
    // An operator everywhere who administers a part overrides what was locked in that part.
    let reaches = match event {
        AgentEvent::Override => call.caller.reaches(&[Role::Admin]),
        _ => call.caller.reaches(call.roles),
    };
    let row = gate
        .agent_event(by, &reaches, call.parameter("name"), event, &reason, expires)
        .await?;
    ok(&view(call, &row))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raise {
    to: Level,
    /// How long, 300 unless said otherwise.
    seconds: Option<u32>,
    #[serde(default)]
    reason: String,
}

/// `POST /api/v1/agents/{name}/elevate`: 201; its level outside production is raised for minutes.
pub async fn elevate(call: Call) -> Answer {
    let body: Raise = call.json()?;
    let reason = stated(&body.reason, "")?;
    let new = NewElevation {
        agent: call.parameter("name").to_owned(),
        to: body.to,
        seconds: body.seconds.unwrap_or(ELEVATION_SECONDS),
        reason,
    };
    json(
        StatusCode::CREATED,
        &call.app.gate.elevate(&call.caller, new).await?,
    )
}

/// `POST /api/v1/agents/{name}/lower`: what raises its level ends now.
pub async fn lower(call: Call) -> Answer {
    let body: Revoke = call.json()?;
    let reason = stated(&body.reason, "no reason given")?;
    let (gate, by) = (&call.app.gate, call.caller.principal());
    ok(&gate.lower(by, call.parameter("name"), &reason).await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delegations {
    limit: Option<usize>,
    /// The id that the last page ended with.
    before: Option<String>,
}

/// `GET /api/v1/delegations?limit=&before=`: the newest first, or the newest that are older than `before`;
/// never a token.
pub async fn delegations(call: Call) -> Answer {
    let query: Delegations = call.query()?;
    let limit = query.limit.unwrap_or(100).min(1000);
    let mut seen = Vec::new();
    for row in call
        .app
        .gate
        .delegations(query.before.as_deref(), call.look(limit))?
    {
        if seen.len() == limit {
            break;
        }
        if call.sees(&all_of(&call.app, &row.path)?) {
            seen.push(shown(&call, &row)?);
        }
    }
    ok(&seen)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delegate {
    from: String,
    to: String,
    capabilities: Vec<Capability>,
    #[serde(default)]
    except: Vec<Capability>,
    ttl_seconds: i64,
    trust: Option<u16>,
    under: Option<String>,
}

/// `POST /api/v1/delegations`: 201 with the delegation and its token, which is bound to the key of `to`.
pub async fn delegate(call: Call) -> Answer {
    let new: Delegate = call.json()?;
    let new = NewDelegation {
        from: new.from,
        to: new.to,
        capabilities: new.capabilities,
        except: new.except,
        ttl_ms: new.ttl_seconds.saturating_mul(1000),
        trust: new.trust,
        under: new.under,
    };
    for written in [&new.from, &new.to] {
        let unknown = || AgentError::Unknown(written.clone()).into();
        call.admit_agent(&call.app.gate.agent(written)?.name, unknown)?;
    }
    if let Some(under) = &new.under {
        let from = call.app.gate.agent(&new.from)?.name;
        call.admit_delegation(under, &from, || DelegateError::Unknown(under.clone()).into())?;
    }
    let row = call.app.gate.delegate(call.caller.principal(), new).await?;
    let mut answer = shown(&call, &row)?;
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("token".to_owned(), Value::String(row.token));
    }
    json(StatusCode::CREATED, &answer)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoke {
    #[serde(default)]
    reason: String,
}

/// `POST /api/v1/delegations/{id}/revoke`: it and all below it end on the next action.
pub async fn revoke_delegation(call: Call) -> Answer {
    let body: Revoke = call.json()?;
    let reason = stated(&body.reason, "no reason given")?;
    let (gate, by) = (&call.app.gate, call.caller.principal());
    let row = gate.revoke_delegation(by, call.parameter("id"), &reason).await?;
    ok(&shown(&call, &row)?)
}

/// What is configured prevails over what was said when the agent was created.
fn view(call: &Call, row: &AgentRow) -> Value {
    let now = call.app.gate.time();
    let authority = call.app.gate.authority();
    let held = authority.agents.get(&row.name);
    json!({
        "name": row.name,
        "did": row.did,
        "status": row.status_at(now),
        "reason": row.reason,
        "held_at": row.held_at_now().map(ToString::to_string),
        "configured": held.is_some(),
        "sponsor": held.map_or(&row.sponsor, |held| &held.sponsor),
        "place": held.map_or(&row.place, |held| &held.place),
        "parent": row.parent,
        "keys": row.keys,
        "created": row.created,
        "updated": row.updated,
        "expires": row.expires,
    })
}

/// A delegation without its token, and whether it holds: by itself and by those above it.
fn shown(call: &Call, row: &DelegationRow) -> Result<Value, ApiError> {
    let above = call.app.gate.delegations_above(row)?;
    let is_over = |link: &DelegationRow| link.revoked.is_some();
    let state = match () {
        () if is_over(row) || above.iter().any(is_over) => "revoked",
        () if call.app.gate.time() < row.until => "holds",
        () => "expired",
    };
    Ok(json!({
        "id": row.id, "from": row.from, "to": row.to, "path": row.path, "under": row.under,
        "capabilities": row.capabilities, "except": row.except, "trust": row.trust, "made": row.made,
        "until": row.until, "by": row.by, "jti": row.jti, "hash": row.hash, "previous": row.previous,
        "state": state, "revoked": row.revoked,
    }))
}

fn expires(call: &Call, seconds: Option<i64>) -> Result<Option<Timestamp>, ApiError> {
    match seconds {
        Some(seconds) if !(1..=LIFE_MAX_SECONDS).contains(&seconds) => Err(ApiError::malformed(
            "/expires_in_seconds",
            format!("1 to {LIFE_MAX_SECONDS} seconds"),
        )),
        Some(seconds) => Ok(Some(call.app.gate.time().plus_ms(seconds * 1000))),
        None => Ok(None),
    }
}

impl From<AgentError> for ApiError {
    fn from(error: AgentError) -> ApiError {
        match error {
            AgentError::Unknown(name) => ApiError::not_found(format!("agent `{name}`")),
            AgentError::Exists(_) | AgentError::Illegal(_) => ApiError::conflict(error.to_string()),
            AgentError::Above(..) => ApiError::forbidden(error.to_string()),
            AgentError::Misfit(what) => ApiError::malformed("", what),
            AgentError::Keys(keys) => ApiError::internal(&keys),
            AgentError::Store(store) => store.into(),
        }
    }
}

impl From<ElevateError> for ApiError {
    fn from(error: ElevateError) -> ApiError {
        let told = error.to_string();
        let status = match &error {
            ElevateError::ForbiddenLevel(_) | ElevateError::NotAttested(_) => StatusCode::FORBIDDEN,
            _ => StatusCode::CONFLICT,
        };
        match (error.code(), error) {
            (Some(code), _) => ApiError::new(status, code, told),
            (None, ElevateError::Unknown(name)) => {
                ApiError::not_found(format!("agent `{name}` that is configured"))
            }
            (None, ElevateError::Store(store)) => store.into(),
            (None, _) => ApiError::malformed("/seconds", told),
        }
    }
}

impl From<LowerError> for ApiError {
    fn from(error: LowerError) -> ApiError {
        match error {
            LowerError::NotElevated(_) => ApiError::conflict(error.to_string()),
            LowerError::Store(store) => store.into(),
        }
    }
}

impl From<DelegateError> for ApiError {
    fn from(error: DelegateError) -> ApiError {
        match error {
            DelegateError::Unknown(id) => ApiError::not_found(format!("delegation `{id}`")),
            DelegateError::UnknownAgent(name) => ApiError::not_found(format!("agent `{name}`")),
            DelegateError::Refused(why) => ApiError::malformed("/capabilities", why.to_string()),
            DelegateError::Misfit(what) => ApiError::malformed("", what),
            DelegateError::Changing => ApiError::conflict(error.to_string()),
            DelegateError::Agent(agent) => agent.into(),
            DelegateError::Keys(keys) => ApiError::internal(&keys),
            DelegateError::Store(store) => store.into(),
        }
    }
}
