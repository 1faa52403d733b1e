//! Rules as written in `Policy` documents, compiled and indexed.
//!
//! Conditions are CEL over the whole action: `action` (`verb`, `resource`, `effect`, `environment`,
//! `arguments`, `brings`), `agent`, `agents`, `cause`, `session` (`id`, `actions`), `trust`, `taint`, `now`.
//! `agents` are the names of all agents of the chain, from the root to the one that acts. A condition that
//! speaks of `agent` is asked about each of them: it holds of a rule that forbids or asks when it is true
//! of any, and of a rule that permits when it is true of every one. `taint` is whether the session has any label, `taint.secrets` whether it has that one, and a list of labels where a
//! list is asked for (`'secrets' in taint`). In the
//! dialect of the source documents `action` is the verb, `environment` a string, and `and`, `or`,
//! `not` are operators.
//!
//! Rules are compiled and bounded when they are loaded. Nothing here says what a matching rule leads
//! to: that is [`crate::decide`].

mod bounds;
mod condition;
mod constants;
mod dialect;
mod facts;
mod index;
mod places;
mod select;
mod source;
mod stages;
mod threshold;
mod two;
mod version;
mod waive;

pub use index::PolicySet;
pub use stages::{Stage, Stages};
pub use threshold::{ActionClass, Shortfall, ThresholdSet, ThresholdSpec};
pub use two::{RULE_OF_TWO, rule_of_two};
pub use version::PolicyVersion;
pub use waive::WaiverScope;

pub(crate) use facts::Facts;
pub(crate) use index::{EXPIRES_AFTER_MS, EXPIRES_AFTER_SECONDS_MAX, Rule};
pub(crate) use threshold::Thresholds;

use crate::Branch;
use serde::{Deserialize, Serialize};

/// `policy/NAME#RULE`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RuleId(pub String);

/// What a matching rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleOutcome {
    /// Opts in. `allow` in the source documents.
    Permit,
    /// Forbids, whatever else permits.
    Deny,
    /// A person decides each time.
    RequireApproval,
}

/// Who may approve: a role (`approver`, `admin`), or a person or team of that name; `team:NAME` and
/// `person:NAME` are one of the two only; `webhook:NAME` is the outside system behind the channel of that name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Approver(pub String);

impl Approver {
    /// What a team's name begins with when it cannot be a person's.
    pub const TEAM: &str = "team:";
    /// What a person's name begins with when it cannot be a team's.
    pub const PERSON: &str = "person:";
    /// What a channel's name begins with, behind which an outside system approves.
    pub const WEBHOOK: &str = "webhook:";

    /// Whether this is a role and not somebody's name.
    pub fn is_role(&self) -> bool {
        matches!(self.0.as_str(), "approver" | "admin")
    }

    /// Whether it names this person.
    pub fn is_person(&self, name: &str) -> bool {
        let stated = self.0.strip_prefix(Approver::PERSON);
        let other = self.is_role() || self.0.starts_with(Approver::TEAM) || self.webhook().is_some();
        !other && stated.unwrap_or(&self.0) == name
    }

    /// Whether it names this team.
    pub fn is_team(&self, name: &str) -> bool {
        let stated = self.0.strip_prefix(Approver::TEAM);
        let other = self.is_role() || self.0.starts_with(Approver::PERSON) || self.webhook().is_some();
        !other && stated.unwrap_or(&self.0) == name
    }

    /// The channel that it names, which is then no person, team or role.
    pub fn webhook(&self) -> Option<&str> {
        self.0.strip_prefix(Approver::WEBHOOK)
    }
}

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
    /// Names of environments. A rule that permits matches exactly these; in a rule that forbids or
    /// asks, `production` matches every environment that counts as production, whatever it is called.
    pub environments: Option<Vec<String>>,
    /// Patterns of agents' names. A rule that permits matches the agent that acts; a rule that
    /// forbids or asks matches any agent on the chain, so that delegating is no way around it.
    pub agents: Option<Vec<String>>,
}

/// One rule as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// Unique in its policy; in the dialect it may be absent and is then `rule-N`, N from 1.
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
    /// Who has to approve.
    #[serde(default)]
    pub approvers: Stages,
    /// How an approver may waive this rule's asking for actions alike; by default not at all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waivable: Vec<WaiverScope>,
    /// How long an approval may wait; default 10 minutes.
    pub expires_after_seconds: Option<u32>,
    /// Whether a rule that requires approval also opts in to what no rule permits. Default yes. A rule
    /// that does not only restricts: without another rule the action is denied and nobody is asked.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub opts_in: bool,
}

fn yes() -> bool {
    true
}

fn is_yes(opts_in: &bool) -> bool {
    *opts_in
}

/// `spec` of a `Policy` document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyDocument {
    /// In any order: deny wins, then approval, then permit.
    #[serde(default)]
    pub rules: Vec<RuleSpec>,
    /// A Rego module: the text of one package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rego: Option<String>,
    /// Whether what it says counts.
    #[serde(default, skip_serializing_if = "Mode::is_enforce")]
    pub mode: Mode,
    /// Which agents it is for: those of this place. Taken from the metadata of a document, not from its
    /// `spec`.
    #[serde(default, skip_deserializing, skip_serializing_if = "Branch::is_everywhere")]
    pub place: Branch,
    /// Who may lift stops. Of several policies the strictest counts, whatever their places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lift: Option<LiftSpec>,
    /// How much trust actions take, by what they do; nothing unless it is said. Of several policies the
    /// strictest counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<ThresholdSpec>,
    /// Of the platform itself, and in no document of anybody: what it permits was given by name elsewhere, to whom it
    /// was meant for. So it is in favour without speaking of anybody, and no place withholds it.
    #[serde(skip)]
    pub built_in: bool,
}

/// Who may lift a stop, besides that the API asks for the role of an operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiftSpec {
    /// Only a person, and another one than raised it.
    #[serde(default)]
    pub another_person: bool,
}

/// Whether what a policy says counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It counts.
    #[default]
    Enforce,
    /// It is weighed and recorded, and neither forbids, nor asks, nor opts in.
    Observe,
}

impl Mode {
    /// Whether what the policy says counts.
    pub(crate) fn is_enforced(self) -> bool {
        self == Mode::Enforce
    }

    fn is_enforce(&self) -> bool {
        self.is_enforced()
    }
}

/// One request for a person's approval, by a rule or a module.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asking {
    pub(crate) id: RuleId,
    /// What is asked, among all that may be.
    pub(crate) question: String,
    pub(crate) reason: String,
    pub(crate) approvers: Stages,
    pub(crate) waivable: Vec<WaiverScope>,
    pub(crate) expires_after_ms: i64,
    pub(crate) opts_in: bool,
}

impl Asking {
    /// The reason as given, or a plain one.
    pub(crate) fn reason(&self) -> String {
        match self.reason.is_empty() {
            true => format!("rule `{}` requires approval", self.id),
            false => self.reason.clone(),
        }
    }
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

impl LoadError {
    /// The place in the document, as a JSON pointer.
    pub fn pointer(&self) -> String {
        match self.rule.rsplit_once('#') {
            Some((_, crate::rego::MODULE_NAME)) => "/spec/rego".to_owned(),
            Some((_, threshold::NAME)) => "/spec/thresholds".to_owned(),
            _ => format!("/spec/rules/{}", self.index),
        }
    }
}

impl RuleOutcome {
    /// `permit`, `deny` or `require_approval`.
    pub fn as_str(self) -> &'static str {
        match self {
            RuleOutcome::Permit => "permit",
            RuleOutcome::Deny => "deny",
            RuleOutcome::RequireApproval => "require_approval",
        }
    }

    fn parse(text: &str) -> Result<RuleOutcome, String> {
        match text {
            "permit" | "allow" => Ok(RuleOutcome::Permit),
            "deny" => Ok(RuleOutcome::Deny),
            "require_approval" => Ok(RuleOutcome::RequireApproval),
            "warn" | "log" => Err(format!(
                "`{text}` is not supported, since it decides nothing: every action is recorded; \
                 use permit, deny or require_approval"
            )),
            _ => Err(format!(
                "`{text}` is not an outcome: use permit, deny or require_approval"
            )),
        }
    }
}

impl<'de> Deserialize<'de> for RuleOutcome {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<RuleOutcome, D::Error> {
        RuleOutcome::parse(&String::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

impl std::fmt::Display for RuleId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl PolicyDocument {
    /// Reads `policies: [{name, rules: [{condition, action, approvers}]}]`, the shape of the source
    /// documents, into documents with their names. What it cannot honour it refuses by name.
    pub fn from_source_dialect(
        value: &serde_json::Value,
    ) -> Result<Vec<(String, PolicyDocument)>, LoadError> {
        source::documents(value)
    }
}
