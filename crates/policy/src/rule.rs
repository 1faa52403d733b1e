//! Rules as written in `Policy` documents, compiled and indexed.
//!
//! Conditions are CEL over the whole action: `action` (`verb`, `resource`, `effect`, `environment`,
//! `arguments`), `agent`, `cause`, `session`, `trust`, `taint`, `now`. In the dialect of the source
//! documents `action` is the verb, `environment` a string, and `and`, `or`, `not` are operators.

use serde::{Deserialize, Serialize};

/// `policy/NAME#RULE`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct RuleId(pub String);

/// What a matching rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleOutcome {
    /// Opts in. `allow` in the source documents.
    #[serde(alias = "allow")]
    Permit,
    /// Forbids, whatever else permits.
    Deny,
    /// A person decides each time.
    RequireApproval,
}

/// Who may approve: a role or a person's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Approver(pub String);

/// Selectors; an absent one matches everything, an empty list nothing. Patterns end in `*` or are exact.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// Patterns of verbs.
    pub verbs: Option<Vec<String>>,
    /// Patterns of resources.
    pub resources: Option<Vec<String>>,
    /// Effects.
    pub effects: Option<Vec<crate::Effect>>,
    /// Names of environments.
    pub environments: Option<Vec<String>>,
    /// Patterns of agents' names.
    pub agents: Option<Vec<String>>,
}

/// One rule as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// Unique in its policy; in the dialect it may be absent and is then `rule-N`.
    pub name: Option<String>,
    /// Selectors.
    #[serde(rename = "match", default)]
    pub matching: Match,
    /// A CEL condition.
    pub when: Option<String>,
    /// A condition in the dialect of the source documents.
    pub condition: Option<String>,
    /// What it says. Called `action` in the dialect.
    #[serde(alias = "action")]
    pub outcome: RuleOutcome,
    /// Told to whoever is refused or asked.
    #[serde(default)]
    pub reason: String,
    /// Who may approve.
    #[serde(default)]
    pub approvers: Vec<Approver>,
    /// How long an approval may wait; default 10 minutes.
    pub expires_after_seconds: Option<u32>,
}

/// `spec` of a `Policy` document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyDocument {
    /// In any order: deny wins, then approval, then permit.
    pub rules: Vec<RuleSpec>,
}

/// Why rules cannot be loaded.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("rule `{rule}`: {what}")]
pub struct LoadError {
    /// Which one.
    pub rule: String,
    /// Index in `spec.rules` of the document, for the caller to find the line.
    pub index: usize,
    /// What is wrong.
    pub what: String,
}

/// Every rule of an installation, compiled, bounded and indexed. Immutable.
#[derive(Debug)]
pub struct PolicySet {
    digest: [u8; 32],
}

impl PolicySet {
    /// Compiles documents given as `(name, spec)`; their order does not matter.
    pub fn load(documents: &[(String, PolicyDocument)]) -> Result<PolicySet, LoadError> {
        let _ = documents;
        todo!()
    }
    /// No rules: reads that are granted and nothing else.
    pub fn empty() -> PolicySet {
        PolicySet { digest: [0; 32] }
    }
    /// SHA-256 of the canonical form of all documents in order of name.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}
