//! Where things are in the tree of tenancy, and so who sees them.
//!
//! Invariants:
//! - **What a caller has no role at is not there**: it answers as what does not exist does, and stands in no
//!   list, stream or count.
//! - **What belongs to nobody is at the root.** So is whatever cannot be told to belong to somebody.

use super::call::Call;
use super::problem::ApiError;
use crate::app::App;
use crate::config::Kind;
use gate::{Role, RoleAt, SessionError, Spot, TokenError, TokenView};
use journal::Entry;
use policy::StopScope;
use serde_json::Value;
use store::StoreError;

/// The roles that people have: whoever has any of them somewhere sees that something is there.
const PEOPLES: [Role; 5] = [
    Role::Admin,
    Role::Operator,
    Role::Approver,
    Role::Auditor,
    Role::Viewer,
];
/// Most things looked at for a list of those that somebody without a role at the root may see.
const LOOK_MAX: usize = 10_000;

/// Where the thing of that id is: every spot at which a caller has to have a role. `None`: there is none.
pub type Finder = fn(&App, &Call, &str) -> Result<Option<Vec<Spot>>, ApiError>;

/// How a route knows whether the caller's role holds where it has to.
#[derive(Clone, Copy)]
pub enum Scope {
    /// It is about the platform as a whole: a role at the root.
    Root,
    /// The path names a thing, by this parameter: `session`, `id`.
    Thing(&'static str, &'static str, Finder),
    /// The handler leaves out of its list what the caller does not see, or checks what the body names.
    Handler,
}

impl Scope {
    /// For the golden text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Root => "root",
            Scope::Thing(noun, ..) => noun,
            Scope::Handler => "each",
        }
    }

    /// Refuses a caller whose role does not hold where it has to.
    ///
    /// # Errors
    /// 403, or 404 for what the caller is not to know of.
    pub fn check(self, call: &Call) -> Result<(), ApiError> {
        match self {
            Scope::Handler => Ok(()),
            Scope::Root => match call.caller.holds(call.roles, &Spot::Root) {
                true => Ok(()),
                false => Err(ApiError::forbidden(
                    "this is about the platform as a whole, and needs the role at the root",
                )),
            },
            Scope::Thing(noun, parameter, find) => {
                let id = call.parameter(parameter);
                let spots = find(&call.app, call, id)?;
                let missing = || ApiError::not_found(format!("{noun} `{id}`"));
                call.admit(&spots.ok_or_else(missing)?, missing)
            }
        }
    }
}

impl Call {
    /// Whether the caller may have everything that the route gives, wherever it is.
    #[must_use]
    pub fn everywhere(&self) -> bool {
        self.caller.holds(self.roles, &Spot::Root)
    }

    /// Whether what is at all of these spots is the caller's to see by this route. What is nowhere is not.
    #[must_use]
    pub fn sees(&self, spots: &[Spot]) -> bool {
        !spots.is_empty() && spots.iter().all(|spot| self.caller.holds(self.roles, spot))
    }

    /// As [`Call::sees`], of what is an agent's.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn sees_agent(&self, agent: &str) -> Result<bool, StoreError> {
        Ok(self.everywhere() || self.sees(&[self.app.gate.spot_of(agent)?]))
    }

    /// Lets the caller on when the route's roles hold at all of `spots`.
    ///
    /// # Errors
    /// What `missing` gives when there is a spot where the caller has no role, and 403 when it has another.
    pub fn admit(&self, spots: &[Spot], missing: impl Fn() -> ApiError) -> Result<(), ApiError> {
        if self.sees(spots) {
            return Ok(());
        }
        let known = !spots.is_empty() && spots.iter().all(|spot| self.caller.holds(&PEOPLES, spot));
        match known {
            true => Err(super::lacks(self.roles)),
            false => Err(missing()),
        }
    }

    /// As [`Call::admit`], for an agent that the body names.
    ///
    /// # Errors
    /// See [`Call::admit`].
    pub fn admit_agent(&self, agent: &str, missing: impl Fn() -> ApiError) -> Result<(), ApiError> {
        self.admit(&[self.app.gate.spot_of(agent)?], missing)
    }

    /// Refuses a delegation that a request names for `agent`, when it is neither to that agent nor the
    /// caller's to see.
    ///
    /// # Errors
    /// What `missing` gives, which is what there is to say of one that does not exist.
    pub fn admit_delegation(
        &self,
        id: &str,
        agent: &str,
        missing: impl Fn() -> ApiError,
    ) -> Result<(), ApiError> {
        match self.app.gate.delegation(id) {
            Ok(row) if row.to == agent || self.sees(&all_of(&self.app, &row.path)?) => Ok(()),
            Ok(_) | Err(gate::DelegateError::Unknown(_)) => Err(missing()),
            Err(error) => Err(error.into()),
        }
    }

    /// How many to read for a list of at most `limit`.
    #[must_use]
    pub fn look(&self, limit: usize) -> usize {
        if self.everywhere() {
            limit
        } else {
            LOOK_MAX.max(limit)
        }
    }

    /// Those of `list` whose agent's the caller sees, at most `limit`.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn seen<T>(
        &self,
        list: Vec<T>,
        limit: usize,
        agent: impl Fn(&T) -> &str,
    ) -> Result<Vec<T>, ApiError> {
        let mut seen = Vec::new();
        for one in list {
            if seen.len() == limit {
                break;
            }
            if self.sees_agent(agent(&one))? {
                seen.push(one);
            }
        }
        Ok(seen)
    }
}

/// Of a session.
pub fn session(app: &App, _: &Call, id: &str) -> Result<Option<Vec<Spot>>, ApiError> {
    match app.gate.session(id) {
        Ok(session) => Ok(Some(vec![app.gate.spot_of(&session.agent)?])),
        Err(SessionError::Unknown(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Of a task.
pub fn task(app: &App, call: &Call, id: &str) -> Result<Option<Vec<Spot>>, ApiError> {
    match super::tasks::find(call, id)? {
        Some(session) => Ok(Some(vec![app.gate.spot_of(&session.agent)?])),
        None => Ok(None),
    }
}

/// Of an incident: where the agent is that its trigger calls.
pub fn incident(app: &App, _: &Call, id: &str) -> Result<Option<Vec<Spot>>, ApiError> {
    match app.triage.incident(id)? {
        Some(view) => Ok(Some(vec![incident_spot(app, &view)?])),
        None => Ok(None),
    }
}

/// Where an incident is.
pub(super) fn incident_spot(app: &App, view: &ops::incident::IncidentView) -> Result<Spot, StoreError> {
    match app.triage.agent_of(view)? {
        Some(agent) => app.gate.spot_of(&agent),
        None => Ok(Spot::Root),
    }
}

/// Of an approval.
pub fn approval(app: &App, _: &Call, id: &str) -> Result<Option<Vec<Spot>>, ApiError> {
    match app.gate.approval(id)? {
        Some(view) => Ok(Some(vec![app.gate.spot_of(&view.agent)?])),
        None => Ok(None),
    }
}

/// Of a waiver.
pub fn waiver(app: &App, _: &Call, id: &str) -> Result<Option<Vec<Spot>>, ApiError> {
    let view = app.gate.waivers(LOOK_MAX)?.into_iter().find(|view| view.id == id);
    match view {
        Some(view) => Ok(Some(vec![app.gate.spot_of(&view.agent)?])),
        None => Ok(None),
    }
}

/// Of an agent, by its name after any suffix of its path.
pub fn agent(app: &App, _: &Call, written: &str) -> Result<Option<Vec<Spot>>, ApiError> {
    let configured = app
        .gate
        .authority()
        .resolve(written)
        .map(|(name, _)| name.to_owned());
    let name = match configured {
        Some(name) => name,
        None => match app.gate.agent(written) {
            Ok(row) => row.name,
            Err(gate::AgentError::Unknown(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        },
    };
    Ok(Some(vec![app.gate.spot_of(&name)?]))
}

/// Of a delegation: wherever an agent of its chain is.
pub fn delegation(app: &App, _: &Call, id: &str) -> Result<Option<Vec<Spot>>, ApiError> {
    match app.gate.delegation(id) {
        Ok(row) => Ok(Some(all_of(app, &row.path)?)),
        Err(gate::DelegateError::Unknown(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Where all of these agents are.
pub(super) fn all_of(app: &App, agents: &[String]) -> Result<Vec<Spot>, StoreError> {
    agents.iter().map(|agent| app.gate.spot_of(agent)).collect()
}

/// Of a document: an agent's and a trigger's are where the agent is, every other at the root.
pub fn document(app: &App, call: &Call, name: &str) -> Result<Option<Vec<Spot>>, ApiError> {
    let kind = super::documents::kind(call)?;
    let mut documents = app.gate.documents()?.into_iter();
    match documents.find(|document| document.kind == kind.as_str() && document.name == name) {
        Some(document) => Ok(Some(vec![document_spot(app, kind, name, &document.document)?])),
        None => Ok(None),
    }
}

/// Where a document is.
pub(super) fn document_spot(app: &App, kind: Kind, name: &str, document: &Value) -> Result<Spot, StoreError> {
    let agent = match kind {
        Kind::Agent => Some(name),
        Kind::Trigger => document.pointer("/spec/agent").and_then(Value::as_str),
        _ => None,
    };
    agent.map_or(Ok(Spot::Root), |agent| app.gate.spot_of(agent))
}

/// Of a token: wherever a role of it holds; a trigger's is where the trigger's agent is.
pub fn token(app: &App, _: &Call, id: &str) -> Result<Option<Vec<Spot>>, ApiError> {
    match app.gate.token(id) {
        Ok(view) => Ok(Some(token_spots(app, &view)?)),
        Err(TokenError::Unknown(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Where a token is.
pub(super) fn token_spots(app: &App, view: &TokenView) -> Result<Vec<Spot>, StoreError> {
    match &view.trigger {
        Some(trigger) => Ok(vec![trigger_spot(app, trigger)?]),
        None => Ok(role_spots(&view.roles)),
    }
}

/// Where the agent of a trigger is.
pub(super) fn trigger_spot(app: &App, trigger: &str) -> Result<Spot, StoreError> {
    match app.triage.agent_of_trigger(trigger) {
        Some(agent) => app.gate.spot_of(&agent),
        None => Ok(Spot::Root),
    }
}

/// Where roles hold.
pub(super) fn role_spots(roles: &[RoleAt]) -> Vec<Spot> {
    roles.iter().map(|at| at.reach.spot()).collect()
}

/// Where what a stop covers is.
pub(super) fn stop_spot(app: &App, scope: &StopScope) -> Result<Spot, StoreError> {
    match scope {
        StopScope::All | StopScope::Network | StopScope::Tool(_) | StopScope::Capability(_) => Ok(Spot::Root),
        StopScope::Area(area) => Ok(Spot::Area(area.clone())),
        StopScope::Agent(name) => app.gate.spot_of(name),
        StopScope::Session(id) => match app.gate.session(id) {
            Ok(session) => app.gate.spot_of(&session.agent),
            Err(SessionError::Store(error)) => Err(error),
            Err(_) => Ok(Spot::Root),
        },
    }
}

/// Of an entry of the journal.
pub fn entry(app: &App, _: &Call, sequence: &str) -> Result<Option<Vec<Spot>>, ApiError> {
    let number = super::audit::sequence(sequence)?;
    match app.gate.store().read(|reader| reader.entry(number))? {
        Some(stored) => Ok(Some(entry_spots(app, &stored.entry)?)),
        None => Ok(None),
    }
}

/// Where an entry is: with its session, or with what it is about.
pub(super) fn entry_spots(app: &App, entry: &Entry) -> Result<Vec<Spot>, StoreError> {
    let text = |field: &str| entry.body.get(field).and_then(Value::as_str);
    if let Some(id) = &entry.session {
        return Ok(vec![stop_spot(app, &StopScope::Session(id.clone()))?]);
    }
    let root = || Ok(vec![Spot::Root]);
    match entry.kind.split_once('.').map_or("", |(family, _)| family) {
        "agent" | "trust" | "anomaly" | "risk" | "elevation" | "svid" => match text("agent") {
            Some(agent) => Ok(vec![app.gate.spot_of(agent)?]),
            None => root(),
        },
        "incident" => match (text("incident"), text("trigger")) {
            (Some(id), _) => match app.triage.incident(id)? {
                Some(view) => Ok(vec![incident_spot(app, &view)?]),
                None => root(),
            },
            (None, Some(trigger)) => Ok(vec![trigger_spot(app, trigger)?]),
            (None, None) => root(),
        },
        "delegation" => match app
            .gate
            .delegation(text("delegation").or(text("id")).unwrap_or_default())
        {
            Ok(row) => all_of(app, &row.path),
            Err(_) => root(),
        },
        "token" => {
            // One row and not all of them: this is asked of each entry of a stream.
            match text("token").map(|id| app.gate.token(id)) {
                Some(Ok(view)) => token_spots(app, &view),
                Some(Err(TokenError::Store(error))) => Err(error),
                Some(Err(_)) | None => root(),
            }
        }
        "config" => match (text("kind"), text("name")) {
            (Some("Agent"), Some(name)) => Ok(vec![app.gate.spot_of(name)?]),
            _ => root(),
        },
        "stop" => match text("scope").and_then(StopScope::parse) {
            Some(scope) => Ok(vec![stop_spot(app, &scope)?]),
            None => root(),
        },
        _ => root(),
    }
}
