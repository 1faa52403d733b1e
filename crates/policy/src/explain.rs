//! The same decision, told step by step. It decides nothing: the outcome is what
//! [`decide`](crate::decide()) says.

use crate::decide::{Levels, asks};
use crate::rego::Module;
use crate::rule::{Facts, Rule, Thresholds};
use crate::{
    Action, Basis, Branch, Chain, Context, Decision, Effect, Level, Link, Mode, PolicySet, Request, Ruling,
    Stages, Validity, decide,
};
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
    /// `grant`, `level`, `trust`, `rule`.
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
    let (outcome, reason, remedy) = match decide(chain, action.clone(), context, policies) {
        Decision::Permit(ruling) => ("permit", permitted(&ruling), String::new()),
        Decision::RequireApproval(request) => ("require_approval", request.reason.clone(), remedy(&request)),
        Decision::Deny(denied) => ("deny", denied.denial.reason(), denied.denial.remedy()),
    };
    let facts = policies.facts(chain, action, context);
    let mut lines: Vec<Line> = chain
        .links
        .iter()
        .map(|link| grant_line(link, action, context))
        .collect();
    lines.extend(Levels::of(chain, action, context).map(|levels| level_line(&levels, action.effect())));
    lines.extend(
        policies
            .thresholds()
            .iter()
            .map(|one| threshold_line(one, policies, chain, action, context.trust)),
    );
    lines.extend(
        policies
            .rules()
            .iter()
            .map(|rule| rule_line(rule, policies, chain, action, &facts)),
    );
    lines.extend(
        policies
            .modules()
            .iter()
            .map(|(mode, module)| module_line(*mode, module, policies, chain, &facts)),
    );
    Explanation {
        outcome,
        reason,
        remedy,
        lines,
    }
}

fn permitted(ruling: &Ruling) -> String {
    let basis = match ruling.basis() {
        Basis::Rule(rule) => format!("rule `{rule}` permits it"),
        Basis::Grant(giver) => format!("it is a read, granted by {giver}"),
    };
    match ruling.approval() {
        Some(approval) => format!("{basis}, approved by {approval}"),
        None => match ruling.waiver() {
            Some(waiver) => format!("{basis}, its asking waived by {waiver}"),
            None => basis,
        },
    }
}

fn remedy(request: &Request) -> String {
    let who = match request.each_of.as_slice() {
        [] => Stages::any_of(&request.approvers).told(),
        [one] => one.told(),
        several => {
            let lists: Vec<_> = several.iter().map(|list| format!("({})", list.told())).collect();
            format!("each of {}", lists.join(" and "))
        }
    };
    format!(
        "approval by {who}, within {} seconds",
        request.expires_after_ms / 1000
    )
}

fn grant_line(link: &Link, action: &Action, context: &Context) -> Line {
    let principal = &link.principal;
    let refused = |finding| Line {
        step: "grant",
        subject: principal.to_string(),
        matched: false,
        finding,
    };
    if link.validity != Validity::Holds {
        return refused(format!("it {}", link.validity.finding()));
    }
    match link.covering(action, context.now) {
        Some(grant) => Line {
            step: "grant",
            subject: grant.from.clone(),
            matched: true,
            finding: format!("{principal} holds `{}`", grant.capability),
        },
        None => {
            let except = link.except.iter().find(|except| except.bars(action));
            let expired = link.grants.iter().find(|grant| grant.capability.covers(action));
            refused(match (except, expired) {
                (Some(except), _) => format!("`{except}` is excepted from what was delegated to it"),
                (None, Some(grant)) => {
                    format!("its grant `{}` from {} has expired", grant.capability, grant.from)
                }
                (None, None) => format!("none of its {} grants covers the action", link.grants.len()),
            })
        }
    }
}

fn level_line(levels: &Levels, effect: Effect) -> Line {
    let level = levels.in_force;
    let what = effect.as_str();
    let (matched, finding) = match effect {
        Effect::Read => (true, "reads are within every level".to_owned()),
        _ if level <= Level::L1 => (false, format!("refuses every {what} action: read-only")),
        _ if asks(level, effect) => (true, format!("asks for each {what} action")),
        _ => (true, format!("does {what} actions that a rule permits")),
    };
    Line {
        step: "level",
        subject: format!("{level:?}"),
        matched,
        finding: match levels.own > level {
            true => format!("{} {finding}", levels.told()),
            false => finding,
        },
    }
}

fn threshold_line(
    thresholds: &Thresholds,
    policies: &PolicySet,
    chain: &Chain,
    action: &Action,
    trust: u16,
) -> Line {
    let is_for = policies.is_of_any(thresholds.place, chain);
    let (matched, finding) = match thresholds.taken(chain, action) {
        _ if !is_for => (false, IS_ELSEWHERE.to_owned()),
        None => (false, "sets no threshold for it".to_owned()),
        Some((class, least)) => {
            let verdict = if trust < least { ", which denies" } else { "" };
            let class = class.as_str();
            (
                true,
                format!("`{class}` actions take {least}: trust is {trust}{verdict}"),
            )
        }
    };
    Line {
        step: "trust",
        subject: thresholds.id.0.clone(),
        matched,
        finding: at(policies.place_of(&thresholds.id), moded(thresholds.mode, finding)),
    }
}

/// Why a policy of another place has nothing to say.
const IS_ELSEWHERE: &str = "is for agents of another place";

fn rule_line(rule: &Rule, policies: &PolicySet, chain: &Chain, action: &Action, facts: &Facts<'_>) -> Line {
    let (matched, finding) = match rule.mismatch(chain, action) {
        _ if !policies.is_for(rule, chain) => (false, IS_ELSEWHERE.to_owned()),
        Some(mismatch) => (false, mismatch),
        None => match rule.holds(facts) {
            Ok(true) => (true, rule.reason_or(rule.outcome.as_str())),
            Ok(false) => (false, "condition is false".to_owned()),
            Err(what) => (true, format!("cannot be evaluated, which denies: {what}")),
        },
    };
    let finding = match matched && !rule.reason.is_empty() && finding == rule.reason {
        true => format!("{}: {finding}", rule.outcome.as_str()),
        false => finding,
    };
    Line {
        step: "rule",
        subject: rule.id.0.clone(),
        matched,
        finding: at(policies.place_of(&rule.id), moded(rule.mode, finding)),
    }
}

fn module_line(mode: Mode, module: &Module, policies: &PolicySet, chain: &Chain, facts: &Facts<'_>) -> Line {
    let is_for = policies.is_of_any(module.place, chain);
    let (matched, finding) = match module.findings(facts) {
        _ if !is_for => (false, IS_ELSEWHERE.to_owned()),
        Err(what) => (true, format!("cannot be evaluated, which denies: {what}")),
        Ok(found) => {
            let denies = found.deny.iter().map(|reason| format!("deny: {reason}"));
            let asks = found
                .asks
                .iter()
                .map(|ask| format!("require_approval: {}", ask.reason()));
            let permits = found.permit.then(|| "permit".to_owned());
            let said: Vec<_> = denies.chain(asks).chain(permits).collect();
            match said.is_empty() {
                true => (false, "has nothing to say".to_owned()),
                false => (true, said.join("; ")),
            }
        }
    };
    Line {
        step: "rule",
        subject: module.id.0.clone(),
        matched,
        finding: at(policies.place_of(&module.id), moded(mode, finding)),
    }
}

/// A finding of a policy that is not for everywhere says where it is for.
fn at(place: Option<&Branch>, finding: String) -> String {
    match place {
        Some(place) if !place.is_everywhere() => format!("{place}: {finding}"),
        _ => finding,
    }
}

/// A finding that counts for nothing says so.
fn moded(mode: Mode, finding: String) -> String {
    match mode {
        Mode::Enforce => finding,
        Mode::Observe => format!("{finding} (only observed)"),
    }
}
