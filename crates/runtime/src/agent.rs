//! `Agent` documents.

use crate::runbook::Runbook;
use policy::Autonomy;
use serde::{Deserialize, Serialize};

/// `spec` of an `Agent`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AgentSpec {
    /// For people.
    #[serde(default)]
    pub description: String,
    /// The person who answers for it.
    pub sponsor: String,
    /// Names of `Toolset` documents. Nothing else gives it rights.
    #[serde(default)]
    pub toolsets: Vec<String>,
    /// What it must never do, nor anybody it passes anything on to, whatever grants it.
    #[serde(default)]
    pub deny: Vec<policy::Capability>,
    /// Read-only unless said otherwise.
    #[serde(default)]
    pub autonomy: Autonomy,
    /// Limits.
    #[serde(default)]
    pub bounds: gate::Bounds,
    /// How far its record of trust counts, and what odd behaviour leads to.
    #[serde(default)]
    pub trust: gate::TrustTerms,
    /// Names of `Channel` documents that are told what of it needs a person: its approvals, odd behaviour.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<String>,
    /// How sensitive what it works on is: content that is `restricted` goes to no model that does not run on premises.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensitivity: Option<gate::llm::Sensitivity>,
    /// What it does, written down. Of this and `guest` it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<Runbook>,
    /// It is somebody else's program, which `cofferdam run --agent` starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<GuestTerms>,
}

/// How a guest runs. Whoever starts it says which program, where and for how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GuestTerms {
    /// What starts it: `process`, or a container. Whoever runs it may name the same, and nothing else. Without it they
    /// choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<sandbox::Choice>,
    /// The image of its container, by name and digest, or by a name whose digest is looked up and recorded at each run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}
