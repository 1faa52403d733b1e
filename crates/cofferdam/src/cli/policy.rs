//! `cofferdam policy`: looks at policies before they are in force. `lint`, `test` and the making of bundles need no
//! server and change nothing there; `explain`, `simulate` and `suggest` ask one.

mod bundle;
mod cases;
mod past;

use super::client::Client;
use super::explain::{self, Explain};
use super::failure::Failure;
use super::screen::Screen;
use super::table::{Look, cell, table};
use super::value::{list, text};
use crate::config::bundle::load_unverified;
use crate::config::{Document, Spec};
use clap::{Args, Subcommand};
use policy::{LintFinding, PolicyDocument, RuleId};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub(super) const HELP: &str = "\
Examples:
  cofferdam policy lint ./config/
  cofferdam policy test ./config/policies.test.yaml --policy ./config/
  cofferdam policy simulate --since 7d -f ./config/
  cofferdam policy suggest --since 7d --agent triage > suggested.yaml
  cofferdam policy explain git.propose:repository/shop --as triage
  cofferdam policy bundle -f ./policies/ --publisher acme-security --version 7 --key security.key --out acme.bundle

A table of cases, which reading a directory of documents leaves out:
  cases:
    - name: nobody merges on a Friday
      principal: triage
      action: git.merge:repository/shop
      effect: write
      environment: staging
      arguments: { day: friday }
      taint: [untrusted]
      expect: deny
      rule: policy/calm#friday";

/// `cofferdam policy`
#[derive(Args, Debug)]
pub struct Policy {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Find rules that never decide, permits without bounds, requests nobody can answer, names that are nowhere
    Lint(Lint),
    /// Run a table of cases: what is expected of an action, and which rule decides; exit code 1 when one differs
    Test(Test),
    /// Decide past actions again by changed policies; exit code 1 when one would have come out otherwise
    Simulate(past::Simulate),
    /// The narrowest rules that would have permitted what no rule did, as documents to read and apply
    Suggest(past::Suggest),
    /// What the gate would say of an action, with the document, the rule and the mode behind it
    Explain(Explain),
    /// Sign policies into one file, check it, and see which are in force
    #[command(after_help = bundle::HELP)]
    Bundle(bundle::Bundle),
}

#[derive(Args, Debug)]
struct Lint {
    /// A file of documents, or a directory of them
    #[arg(value_name = "FILE|DIR")]
    path: PathBuf,
}

#[derive(Args, Debug)]
struct Test {
    /// The table, or a directory with tables that end in `.test.yaml`
    #[arg(value_name = "FILE|DIR")]
    path: PathBuf,
    /// The documents that it tests [default: those in the directory of the table]
    #[arg(long, value_name = "FILE|DIR")]
    policy: Option<PathBuf>,
}

impl Policy {
    /// Whether it needs no server.
    pub fn is_offline(&self) -> bool {
        match &self.command {
            Command::Lint(_) | Command::Test(_) => true,
            Command::Bundle(bundle) => bundle.is_offline(),
            Command::Simulate(_) | Command::Suggest(_) | Command::Explain(_) => false,
        }
    }
}

/// Runs what needs no server.
pub fn run_offline(policy: &Policy, screen: &mut Screen) -> Result<(), Failure> {
    match &policy.command {
        Command::Lint(lint) => run_lint(lint, screen),
        Command::Test(test) => run_test(test, screen),
        Command::Bundle(bundle) => bundle::run_offline(bundle, screen),
        Command::Explain(_) | Command::Simulate(_) | Command::Suggest(_) => {
            Err(Failure::Misuse("this command talks to a server".into()))
        }
    }
}

/// Runs what asks a server.
pub async fn run(policy: &Policy, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    match &policy.command {
        Command::Simulate(asked) => past::simulate(asked, client, screen).await,
        Command::Suggest(asked) => past::suggest(asked, client, screen).await,
        Command::Explain(question) => explain::run(question, client, screen).await,
        Command::Bundle(bundle) => bundle::run(bundle, client, screen).await,
        Command::Lint(_) | Command::Test(_) => run_offline(policy, screen),
    }
}

fn run_lint(lint: &Lint, screen: &mut Screen) -> Result<(), Failure> {
    let documents = read(&lint.path, screen)?;
    let environments = environments(&documents);
    // Policies by themselves say nothing of what environments there are.
    let known = (!environments.is_empty()).then_some(&environments);
    let mut findings = policy::lint(&policies(&documents), known);
    findings.extend(documents.iter().filter_map(untold));
    let value = json!({ "findings": findings });
    screen.data(&value, |value, columns| {
        let rows = list(value, "findings").iter().map(|finding| {
            vec![
                text(finding, "rule").into(),
                cell(text(finding, "code"), Look::Yellow),
                text(finding, "what").into(),
            ]
        });
        table(
            columns,
            &["RULE", "FINDING", "WHAT"],
            rows.collect(),
            "nothing found",
        )
    })?;
    match findings.is_empty() {
        true => Ok(()),
        false => Err(Failure::Told),
    }
}

fn run_test(test: &Test, screen: &mut Screen) -> Result<(), Failure> {
    let tables = cases::tables(&test.path).map_err(Failure::Failed)?;
    let beside = match test.path.is_dir() {
        true => test.path.as_path(),
        false => match test.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        },
    };
    let documents = read(test.policy.as_deref().unwrap_or(beside), screen)?;
    let mut all = policies(&documents);
    if !all.iter().any(|(name, _)| name == policy::RULE_OF_TWO) {
        all.push(policy::rule_of_two());
    }
    let set = policy::PolicySet::load(&all).map_err(|error| Failure::Failed(error.to_string()))?;
    let results = cases::run(&tables, &documents, &set).map_err(Failure::Failed)?;
    let failed = results.iter().filter(|result| !result.passed()).count();
    let value = json!({ "cases": results.len(), "failed": failed, "results": results });
    screen.data(&value, show_results)?;
    match failed {
        0 => Ok(()),
        _ => Err(Failure::Told),
    }
}

/// The rows that failed, and how many there were.
fn show_results(value: &Value, columns: usize) -> String {
    let failed = list(value, "results")
        .iter()
        .filter(|result| text(result, "found") != text(result, "expected"));
    let rows: Vec<_> = failed
        .map(|result| {
            vec![
                text(result, "name").into(),
                cell(text(result, "expected"), Look::Green),
                cell(text(result, "found"), Look::Red),
                text(result, "reason").into(),
            ]
        })
        .collect();
    let count = format!(
        "{} cases, {} failed\n",
        text(value, "cases"),
        text(value, "failed")
    );
    match rows.is_empty() {
        true => count,
        false => {
            let headers = ["CASE", "EXPECTED", "FOUND", "REASON"];
            format!("{}\n{count}", table(columns, &headers, rows, ""))
        }
    }
}

fn read(path: &Path, screen: &mut Screen) -> Result<Vec<Document>, Failure> {
    load_unverified(path).map_err(|problems| {
        screen.tell(super::text::block(&problems.render()).trim_end());
        Failure::Told
    })
}

fn policies(documents: &[Document]) -> Vec<(String, PolicyDocument)> {
    let policy = |document: &Document| match &document.spec {
        Spec::Policy(spec) => Some((document.name.clone(), spec.clone())),
        _ => None,
    };
    documents.iter().filter_map(policy).collect()
}

/// An agent that names no channel: what it asks for waits until somebody happens to look.
fn untold(document: &Document) -> Option<LintFinding> {
    let Spec::Agent(spec) = &document.spec else {
        return None;
    };
    spec.channels.is_empty().then(|| LintFinding {
        rule: RuleId(format!("agent/{}", document.name)),
        code: "untold",
        what: "nobody is told when it asks or behaves oddly, and nothing escalates: name `channels`"
            .to_owned(),
    })
}

/// Those of toolsets and of agents' autonomy, and production, which always is.
fn environments(documents: &[Document]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for document in documents {
        match &document.spec {
            Spec::Toolset(spec) => {
                found.insert(spec.environment.clone());
            }
            Spec::Agent(spec) => found.extend(spec.autonomy.environments.keys().cloned()),
            _ => {}
        }
    }
    if !found.is_empty() {
        found.insert("production".to_owned());
    }
    found
}
