//! Tables of cases for `cofferdam policy test`: an action, and what rules should say of it.
//!
//! A case holds every grant and full trust unless it says otherwise, so that it tests rules and levels and
//! nothing else. It reads files and decides; it never talks to a server.

use crate::config::{Document, Spec, TABLE_ENDING};
use policy::{
    Action, Autonomy, Basis, Capability, Chain, Context, Decision, Effect, Environment, Grant, Idempotence,
    Level, Link, Place, PolicySet, Principal, SessionFacts, Taints, Timestamp, Verb, decide,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Largest table, in bytes.
const BYTES_MAX: u64 = 1024 * 1024;

/// A file of cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    cases: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// The agent; its document, if there is one, says its autonomy.
    #[serde(default = "somebody")]
    principal: String,
    /// Where it belongs, instead of where its document says: `acme/sre/ops`.
    place: Option<Place>,
    /// Its level everywhere, instead of its document's.
    level: Option<Level>,
    /// Who caused the session: `person:alice`.
    cause: Option<String>,
    /// `VERB:RESOURCE`.
    action: String,
    effect: Effect,
    #[serde(default = "production")]
    environment: String,
    #[serde(default = "nothing")]
    arguments: Value,
    #[serde(default)]
    brings: Taints,
    #[serde(default)]
    taint: Taints,
    #[serde(default = "full")]
    trust: u16,
    #[serde(default)]
    actions: u64,
    expect: Outcome,
    /// `policy/NAME#RULE`, when it has to be that one.
    rule: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Permit,
    Deny,
    RequireApproval,
}

/// What came of one case.
#[derive(Debug, Serialize)]
pub(super) struct Outcomes {
    name: String,
    /// `deny by policy/calm#friday`, or without a rule when any will do.
    expected: String,
    found: String,
    reason: String,
}

impl Outcomes {
    /// Whether it is as expected.
    pub(super) fn passed(&self) -> bool {
        self.expected == self.found
    }
}

fn somebody() -> String {
    "agent".to_owned()
}

fn production() -> String {
    Environment::production().as_str().to_owned()
}

fn nothing() -> Value {
    Value::Object(serde_json::Map::new())
}

fn full() -> u16 {
    1000
}

/// The table of a file, or all tables of a directory in order of name.
pub(super) fn tables(path: &Path) -> Result<Vec<Table>, String> {
    let mut files: Vec<PathBuf> = match path.is_dir() {
        false => vec![path.to_owned()],
        true => std::fs::read_dir(path)
            .map_err(|error| format!("cannot read `{}`: {error}", path.display()))?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.to_string_lossy().ends_with(TABLE_ENDING))
            .collect(),
    };
    files.sort();
    if files.is_empty() {
        return Err(format!(
            "no table that ends in `{TABLE_ENDING}` is in `{}`",
            path.display()
        ));
    }
    files.iter().map(|file| table(file)).collect()
}

fn table(file: &Path) -> Result<Table, String> {
    let told = |error: String| format!("`{}`: {error}", file.display());
    let size = std::fs::metadata(file)
        .map_err(|error| told(error.to_string()))?
        .len();
    if size > BYTES_MAX {
        return Err(told(format!("larger than {BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(file).map_err(|error| told(error.to_string()))?;
    serde_saphyr::from_str(&text).map_err(|error| told(error.to_string()))
}

/// Every case of `tables`, decided by `policies`.
pub(super) fn run(
    tables: &[Table],
    documents: &[Document],
    policies: &PolicySet,
) -> Result<Vec<Outcomes>, String> {
    let cases = tables.iter().flat_map(|table| &table.cases);
    cases
        .map(|case| {
            outcome(case, documents, policies).map_err(|what| format!("case `{}`: {what}", case.name))
        })
        .collect()
}

fn outcome(case: &Case, documents: &[Document], policies: &PolicySet) -> Result<Outcomes, String> {
    let chain = chain(case, documents)?;
    let context = Context {
        now: Timestamp::from_ms(0),
        taint: case.taint,
        trust: case.trust,
        session: SessionFacts {
            id: "ses-0".to_owned(),
            version: 0,
            actions: case.actions,
        },
        approval: None,
    };
    let (outcome, rule, reason) = match decide(&chain, action(case)?, &context, policies) {
        Decision::Permit(ruling) => match ruling.basis() {
            Basis::Rule(rule) => (Outcome::Permit, Some(rule.clone()), String::new()),
            Basis::Grant(_) => (Outcome::Permit, None, "a read that is granted".to_owned()),
        },
        Decision::RequireApproval(request) => (Outcome::RequireApproval, request.rule, request.reason),
        Decision::Deny(denied) => (
            Outcome::Deny,
            denied.denial.rule().cloned(),
            denied.denial.reason(),
        ),
    };
    let told = |outcome: Outcome, rule: Option<&str>| match rule {
        Some(rule) => format!("{} by {rule}", outcome.as_str()),
        None => outcome.as_str().to_owned(),
    };
    let found = rule
        .as_ref()
        .map(|rule| rule.0.as_str())
        .filter(|_| case.rule.is_some());
    Ok(Outcomes {
        name: case.name.clone(),
        expected: told(case.expect, case.rule.as_deref()),
        found: told(outcome, found),
        reason,
    })
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Outcome::Permit => "permit",
            Outcome::Deny => "deny",
            Outcome::RequireApproval => "require_approval",
        }
    }
}

fn action(case: &Case) -> Result<Action, String> {
    let (verb, resource) = case
        .action
        .split_once(':')
        .ok_or_else(|| format!("`{}` is no action; write VERB:RESOURCE", case.action))?;
    let told = |error: policy::ActionError| error.to_string();
    let action = Action::new(
        Verb::new(verb).map_err(told)?,
        resource,
        case.arguments.clone(),
        Environment::new(&case.environment).map_err(told)?,
        case.effect,
        Idempotence::Once,
    );
    Ok(action.map_err(told)?.bringing(case.brings))
}

fn chain(case: &Case, documents: &[Document]) -> Result<Chain, String> {
    let everything = Grant {
        capability: Capability::parse("*:*").ok_or("a capability of everything is none")?,
        from: "the table".to_owned(),
        until: None,
    };
    let document = documents.iter().find_map(|document| match &document.spec {
        Spec::Agent(spec) if document.name == case.principal => {
            Some((spec.autonomy.clone(), document.place.clone()))
        }
        _ => None,
    });
    let (document, place) = document.unzip();
    let autonomy = match (case.level, document) {
        (Some(level), _) => everywhere(level),
        (None, Some(autonomy)) => autonomy,
        (None, None) => everywhere(Level::L3),
    };
    let cause = case.cause.as_deref().unwrap_or("person:somebody");
    let mut link = Link::new(Principal::agent(&case.principal), vec![everything], autonomy);
    link.place = case.place.clone().or(place).or(link.place);
    Ok(Chain {
        cause: Principal::parse(cause).ok_or_else(|| format!("`{cause}` is nobody; write person:NAME"))?,
        links: vec![link],
    })
}

fn everywhere(level: Level) -> Autonomy {
    Autonomy {
        default: level,
        environments: [("production".to_owned(), level)].into(),
        ..Autonomy::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTS: &str = "
apiVersion: cofferdam.dev/v1
kind: Policy
metadata: { name: calm }
spec:
  rules:
    - { name: friday, match: { verbs: [git.merge] }, when: \"has(action.arguments.day) && action.arguments.day == 'friday'\", outcome: deny, reason: not on a Friday }
    - { name: merge, match: { verbs: [git.merge] }, outcome: permit }
  rego: |
    package calm
    require_approval contains \"untrusted text\" if \"untrusted\" in input.taint
";

    fn found(case: &str) -> Result<String, String> {
        let documents = crate::config::from_text("t.yaml", DOCUMENTS).unwrap();
        let policies: Vec<_> = documents
            .iter()
            .map(|document| match &document.spec {
                Spec::Policy(spec) => (document.name.clone(), spec.clone()),
                _ => unreachable!("there are only policies"),
            })
            .collect();
        let text = format!("cases: [{{ name: c, action: 'git.merge:repository/a', effect: write, {case} }}]");
        let table: Table = serde_saphyr::from_str(&text).map_err(|error| error.to_string())?;
        let set = PolicySet::load(&policies).unwrap();
        let result = run(&[table], &documents, &set)?.remove(0);
        let verdict = if result.passed() { "ok" } else { "failed" };
        Ok(format!("{verdict}: {}", result.found))
    }

    #[test]
    fn a_case_asks_for_an_outcome_and_a_rule() {
        #[rustfmt::skip]
        let table = [
            // case                                                                           what comes of it
            ("expect: permit",                                                                "ok: permit"),
            ("expect: permit, rule: 'policy/calm#merge'",                                     "ok: permit by policy/calm#merge"),
            ("expect: deny",                                                                  "failed: permit"),
            ("expect: permit, rule: 'policy/calm#other'",                                     "failed: permit by policy/calm#merge"),
            ("expect: deny, arguments: { day: friday }, rule: 'policy/calm#friday'",          "ok: deny by policy/calm#friday"),
            ("expect: require_approval, taint: [untrusted], rule: 'policy/calm#rego'",        "ok: require_approval by policy/calm#rego"),
            ("expect: deny, level: L1",                                                       "ok: deny"),
            ("expect: require_approval, level: L2",                                           "ok: require_approval"),
        ];
        for (case, expected) in table {
            assert_eq!(found(case).as_deref(), Ok(expected), "{case}");
        }
    }

    #[test]
    fn what_is_no_case_is_refused_by_name() {
        #[rustfmt::skip]
        let table = [
            ("expect: allow",                        "unknown variant `allow`"),
            ("expect: deny, agent: triage",          "unknown field `agent`"),
            ("expect: deny, taint: [secret]",        "`secret` is not a label"),
            ("expect: deny, cause: alice",           "case `c`: `alice` is nobody; write person:NAME"),
            ("expect: deny, environment: 'A B'",     "case `c`: `A B` is not an environment"),
        ];
        for (case, why) in table {
            let error = found(case).unwrap_err();
            assert!(error.contains(why), "{case}: {error}");
        }
    }
}
