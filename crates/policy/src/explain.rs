//! The same decision, told step by step.

use crate::{Action, Chain, Context, PolicySet};
use serde::Serialize;

/// What the gate would say and why, rule by rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// `permit`, `deny` or `require_approval`: always what [`crate::decide`] says.
    pub outcome: &'static str,
    /// In words.
    pub reason: String,
    /// What would change it; empty for a permit.
    pub remedy: String,
    /// Every step in order.
    pub lines: Vec<Line>,
}

/// One step: a grant, a level or a rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// `grant`, `level`, `rule`.
    pub step: &'static str,
    /// Which one: `toolset/triage-read`, `L0`, `policy/defaults#no-secrets`.
    pub subject: String,
    /// Whether it applied to this action.
    pub matched: bool,
    /// What it says or why it did not apply.
    pub finding: String,
}

/// Explains; calls [`crate::decide`] for the outcome, so the two cannot disagree.
pub fn explain(chain: &Chain, action: &Action, context: &Context, policies: &PolicySet) -> Explanation {
    let _ = (chain, action, context, policies);
    todo!()
}
