//! The decision itself: grants, then autonomy, then rules.

use crate::{Action, Approver, Chain, Level, PolicySet, Principal, RuleId, Timestamp};

/// Weighs `action`. Order: every link's grants cover it; deny rules; autonomy level; approval and
/// permit rules; reads fall back to the toolset's grant; nothing else is permitted.
pub fn decide(chain: &Chain, action: Action, context: &Context, policies: &PolicySet) -> Decision {
    let _ = (chain, action, context, policies);
    todo!()
}

/// All that a decision reads besides the chain, the action and the rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Context {
    /// When it is decided.
    pub now: Timestamp,
    /// Whether untrusted text has entered the session.
    pub taint: bool,
    /// 0 to 1000.
    pub trust: u16,
    /// The session it belongs to.
    pub session: SessionFacts,
    /// The approval of exactly this action, when a person gave one that is unspent and unexpired.
    pub approval: Option<String>,
}

/// What rules may know of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFacts {
    /// `ses-42`; empty outside a session.
    pub id: String,
    /// Changes whenever something that decisions read of the session changes.
    pub version: u64,
    /// Actions admitted so far.
    pub actions: u64,
}

/// Deliberately neither `bool` nor `Default`: a denial carries its reason, and no forgotten
/// initialiser can come to mean "allowed".
#[must_use]
#[derive(Debug)]
pub enum Decision {
    /// May be committed into a permit.
    Permit(Ruling),
    /// A person decides.
    RequireApproval(Request),
    /// No.
    Deny(Denied),
}

/// What carried a permit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Basis {
    /// A rule.
    Rule(RuleId),
    /// A read within a toolset's grant; holds the grant's giver.
    Grant(String),
}

/// [`decide`] allowed `action`. Nothing is recorded yet, so nothing may be done yet.
#[derive(Debug)]
pub struct Ruling {
    action: Action,
    actor: Principal,
    basis: Basis,
    level: Level,
    approval: Option<String>,
    session: String,
    policy_digest: [u8; 32],
}

impl Ruling {
    /// What was allowed.
    pub fn action(&self) -> &Action {
        &self.action
    }
    /// Who may do it.
    pub fn actor(&self) -> &Principal {
        &self.actor
    }
    /// Why.
    pub fn basis(&self) -> &Basis {
        &self.basis
    }
    /// The actor's level in that environment.
    pub fn level(&self) -> Level {
        self.level
    }
    /// The approval that it rests on and that its commit spends.
    pub fn approval(&self) -> Option<&str> {
        self.approval.as_deref()
    }
    /// The session, or empty.
    pub fn session(&self) -> &str {
        &self.session
    }
    /// Of the rules that were weighed.
    pub fn policy_digest(&self) -> &[u8; 32] {
        &self.policy_digest
    }
}

/// A person has to decide about exactly this action.
#[derive(Debug, PartialEq)]
pub struct Request {
    /// What is asked for.
    pub action: Action,
    /// The rule that stopped it, or `None` when the autonomy level did.
    pub rule: Option<RuleId>,
    /// In words.
    pub reason: String,
    /// Who may decide; empty means anyone with the role.
    pub approvers: Vec<Approver>,
    /// The actor's level in that environment.
    pub level: Level,
    /// How long it may wait, in milliseconds, before it is denied.
    pub expires_after_ms: i64,
}

/// A refusal with what was refused.
#[derive(Debug, PartialEq)]
pub struct Denied {
    /// What was asked for.
    pub action: Action,
    /// Why not.
    pub denial: Denial,
}

/// Why not. Every variant says in words what happened and what would change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The chain has no link.
    NoAuthority,
    /// This principal holds no unexpired capability that covers the action.
    NotGranted(Principal),
    /// A deny rule matched.
    Forbidden(RuleId, String),
    /// The level is too low for this effect: read-only.
    ReadOnly(Level),
    /// No rule opts in to it.
    NoRule,
    /// The rule failed to evaluate. We never guess in the agent's favour.
    Unevaluable(RuleId, String),
}

impl Denial {
    /// A stable snake_case word for machines: `not_granted`, `forbidden`, `read_only`, `no_rule`, …
    pub fn code(&self) -> &'static str {
        todo!()
    }
    /// One sentence for a person.
    pub fn reason(&self) -> String {
        todo!()
    }
    /// The rule that decided, if one did.
    pub fn rule(&self) -> Option<&RuleId> {
        todo!()
    }
    /// One sentence: what would change it.
    pub fn remedy(&self) -> String {
        todo!()
    }
}
