//! Who calls, as established by a token. Cannot be made outside this crate.

use policy::Principal;
use serde::{Deserialize, Serialize};

/// What a caller may do at the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything, including tokens and configuration.
    Admin,
    /// Runs things: tasks, sessions, stops.
    Operator,
    /// Decides approvals.
    Approver,
    /// Reads everything, including the journal's export.
    Auditor,
    /// Reads sessions, incidents, approvals.
    Viewer,
    /// Sends to one trigger and nothing else.
    Trigger,
    /// An agent that redeemed a delegation: asks about itself and gives itself tasks under it.
    Agent,
}

/// An authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub(crate) principal: Principal,
    pub(crate) roles: Vec<Role>,
    /// Teams that the person belongs to.
    pub(crate) groups: Vec<String>,
    pub(crate) token: String,
    /// The trigger that a [`Role::Trigger`] token is for.
    pub(crate) trigger: Option<String>,
    /// The delegation that a [`Role::Agent`] token was given for.
    pub(crate) delegation: Option<String>,
}

/// No such token, or one that no longer holds. Says no more than that to the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no valid token")]
pub struct Unidentified;

impl Caller {
    /// Who it is.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }
    /// What it may do.
    pub fn roles(&self) -> &[Role] {
        &self.roles
    }
    /// The teams it belongs to, which rules may name as approvers.
    pub fn groups(&self) -> &[String] {
        &self.groups
    }
    /// Id of the token it came with: `tok-7`.
    pub fn token(&self) -> &str {
        &self.token
    }
    /// The delegation that it is worth.
    pub fn delegation(&self) -> Option<&str> {
        self.delegation.as_deref()
    }
    /// The trigger it may send to.
    pub fn trigger(&self) -> Option<&str> {
        self.trigger.as_deref()
    }
}
