//! `init`, `validate`, `apply`, `diff`, `get`, `describe`, `delete`: documents of configuration.

use super::arguments::{Init, Validate};
use super::client::{Client, segment};
use super::failure::Failure;
use super::screen::{Screen, yaml};
use super::table::{Cell, Look, cell, fields, table};
use super::value::{field, list, text, time};
use crate::config::bundle::{Found, bundles};
use crate::config::{Document, Kind, Problem, Problems};
use clap::Args;
use owo_colors::OwoColorize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

pub(super) const GET_HELP: &str = "\
Kinds: Agent, Toolset, Policy, Trigger, Channel, IdentityProvider, Publisher, Egress; also in lower case and in the plural.

Examples:
  cofferdam get agents
  cofferdam get policy defaults --output yaml";

/// `cofferdam apply`
#[derive(Args, Debug)]
pub struct Apply {
    /// A file of documents, a signed bundle of policies (`*.bundle`), or a directory of both
    #[arg(short, long, value_name = "FILE|DIR")]
    file: PathBuf,
    /// Let an older bundle come than was here before, and record why
    #[arg(long, value_name = "REASON")]
    allow_rollback: Option<String>,
}

/// `cofferdam diff`
#[derive(Args, Debug)]
pub struct Diff {
    /// A file of documents, a signed bundle of policies (`*.bundle`), or a directory of both
    #[arg(short, long, value_name = "FILE|DIR")]
    file: PathBuf,
    /// Show it as if an older bundle might come
    #[arg(long, value_name = "REASON")]
    allow_rollback: Option<String>,
}

/// `cofferdam get`
#[derive(Args, Debug)]
pub struct Get {
    /// Which kind
    kind: String,
    /// Which one
    name: Option<String>,
}

/// `cofferdam describe`
#[derive(Args, Debug)]
pub struct Describe {
    /// Which kind
    kind: String,
    /// Which one
    name: String,
}

/// `cofferdam delete`
#[derive(Args, Debug)]
pub struct Delete {
    /// Which kind
    kind: String,
    /// Which one
    name: String,
}

/// Writes the starter document.
pub fn init(init: &Init, screen: &mut Screen) -> Result<(), Failure> {
    crate::config::init(&init.path).map_err(anyhow::Error::from)?;
    screen.tell(&format!("wrote {}", init.path.display().bold()));
    screen.tell("next: cofferdam validate, then cofferdam up");
    Ok(())
}

/// Checks documents without a server.
pub fn validate(validate: &Validate, screen: &mut Screen) -> Result<(), Failure> {
    match crate::config::validate(&validate.path) {
        Ok(found) => {
            let value = json!({"valid": true, "found": found});
            screen.data(&value, |value, _| {
                format!("{} {}", "✓".green(), text(value, "found"))
            })
        }
        Err(problems) => {
            screen.tell(super::text::block(&problems).trim_end());
            Err(Failure::Told)
        }
    }
}

/// Installs documents.
pub async fn apply(apply: &Apply, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    send(&apply.file, apply.allow_rollback.as_deref(), &[], client, screen).await
}

/// Shows what `apply` would change.
pub async fn diff(diff: &Diff, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let query = [("dry_run", "true".to_owned())];
    send(&diff.file, diff.allow_rollback.as_deref(), &query, client, screen).await
}

/// What is wrong with documents by themselves is found here, and what is wrong between them by the
/// server; both is told with its place in the files.
async fn send(
    path: &Path,
    rollback: Option<&str>,
    query: &[(&str, String)],
    client: &Client,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let documents = read(path, screen)?;
    let values: Vec<&Value> = documents.iter().map(|document| &document.value).collect();
    let bundles = told(bundles(path), screen)?;
    let envelopes: Vec<&Value> = bundles.iter().map(|found| found.envelope.value()).collect();
    let body = json!({ "documents": values, "bundles": envelopes, "allow_rollback": rollback });
    match client.post_query("/api/v1/documents", query, &body).await {
        Ok(answer) => screen.data(&answer, changes),
        Err(Failure::Refused {
            status: 400,
            problems,
            ..
        }) if !problems.is_empty() => {
            let placed = problems
                .iter()
                .map(|(place, what)| in_its_file(&documents, &bundles, place, what))
                .collect();
            screen.tell(super::text::block(&Problems(placed).render()).trim_end());
            Err(Failure::Told)
        }
        Err(failure) => Err(failure),
    }
}

/// `/documents/1/spec/agent` as the place of `/spec/agent` in the second document's file.
fn in_its_file(documents: &[Document], bundles: &[Found], place: &str, what: &str) -> Problem {
    let bundle = place.strip_prefix("/bundles/").and_then(|rest| {
        let (index, inside) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let found = bundles.get(index.parse::<usize>().ok()?)?;
        let colon = if inside.is_empty() { "" } else { ": " };
        Some(found.problem(format!("{inside}{colon}{what}")))
    });
    if let Some(problem) = bundle {
        return problem;
    }
    let found = place.strip_prefix("/documents/").and_then(|rest| {
        let (index, inside) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let document = documents.get(index.parse::<usize>().ok()?)?;
        Some(document.problem(inside, what))
    });
    found.unwrap_or_else(|| Problem {
        pointer: place.to_owned(),
        ..Problem::plain(what)
    })
}

/// Lists documents, or prints one.
pub async fn get(get: &Get, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let kind = kind(&get.kind)?;
    match &get.name {
        Some(name) => {
            let document = client.get(&path(kind, name), &[]).await?;
            screen.data(&document, |document, columns| {
                row_table(std::slice::from_ref(document), columns)
            })
        }
        None => {
            let documents = client.get(&format!("/api/v1/documents/{kind}"), &[]).await?;
            screen.data(&documents, |documents, columns| {
                row_table(list(documents, ""), columns)
            })
        }
    }
}

/// Shows one document in full.
pub async fn describe(describe: &Describe, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let document = client
        .get(&path(kind(&describe.kind)?, &describe.name), &[])
        .await?;
    screen.data(&document, |document, columns| {
        let head = fields(
            columns,
            &[
                ("kind", text(document, "kind").into()),
                ("name", cell(text(document, "name"), Look::Bold)),
                ("owner", owner(document)),
                ("generation", text(document, "generation").into()),
                ("updated", time(document, "updated").into()),
                ("entry", text(document, "entry").into()),
            ],
        );
        let body = yaml(field(document, "document")).unwrap_or_default();
        format!("{head}\n{}", super::text::block(&body))
    })
}

/// Removes one document.
pub async fn delete(delete: &Delete, client: &Client, screen: &mut Screen) -> Result<(), Failure> {
    let kind = kind(&delete.kind)?;
    let answer = client.delete(&path(kind, &delete.name), None).await?;
    screen.data(&answer, |_, _| {
        format!(
            "{} {kind} {}",
            "deleted".red(),
            super::text::visible(&delete.name)
        )
    })
}

/// Reads and checks documents here, so that errors can point into the files.
fn read(path: &Path, screen: &mut Screen) -> Result<Vec<Document>, Failure> {
    told(crate::config::load(path), screen)
}

fn told<T>(read: Result<T, Problems>, screen: &mut Screen) -> Result<T, Failure> {
    read.map_err(|problems| {
        screen.tell(super::text::block(&problems.render()).trim_end());
        Failure::Told
    })
}

fn path(kind: &str, name: &str) -> String {
    format!("/api/v1/documents/{kind}/{}", segment(name))
}

/// The kind as documents write it.
fn kind(text: &str) -> Result<&'static str, Failure> {
    let known = || Kind::ALL.map(Kind::as_str).join(", ");
    let kind = Kind::parse(text)
        .ok_or_else(|| Failure::Misuse(format!("`{text}` is no kind; there are {}", known())))?;
    Ok(kind.as_str())
}

fn owner(document: &Value) -> Cell {
    match text(document, "owner").as_str() {
        "directory" => cell("directory (read-only here)", Look::Dim),
        other => match other.strip_prefix("bundle:") {
            Some(publisher) => cell(format!("signed bundle of {publisher} (read-only)"), Look::Dim),
            None => other.into(),
        },
    }
}

fn row_table(documents: &[Value], columns: usize) -> String {
    let row = |d: &Value| {
        vec![
            text(d, "kind").into(),
            cell(text(d, "name"), Look::Bold),
            text(d, "owner").into(),
            text(d, "generation").into(),
            time(d, "updated").into(),
        ]
    };
    let headers = ["KIND", "NAME", "OWNER", "GENERATION", "UPDATED"];
    table(
        columns,
        &headers,
        documents.iter().map(row).collect(),
        "no documents of this kind",
    )
}

/// `+ Agent triage`, one line a change, with its diff when there is one.
pub(super) fn changes(answer: &Value, _: usize) -> String {
    let (changes, bundles) = (list(answer, "changes"), list(answer, "bundles"));
    if changes
        .iter()
        .chain(bundles)
        .all(|c| text(c, "change") == "unchanged")
    {
        return "nothing changes".dimmed().to_string();
    }
    let mut out = String::new();
    for bundle in bundles {
        let (publisher, version) = (text(bundle, "publisher"), text(bundle, "version"));
        let before = match text(bundle, "before") {
            before if before.is_empty() => String::new(),
            before => format!(", before it {before}"),
        };
        out.push_str(&match text(bundle, "change").as_str() {
            "installed" => format!("{} bundle {publisher}@{version}{before}\n", "+".green().bold()),
            "rolled_back" => format!(
                "{} bundle back to {publisher}@{version}{before}\n",
                "!".yellow().bold()
            ),
            "removed" => format!("{} bundle of {publisher}{before}\n", "-".red().bold()),
            _ => format!("{}\n", format!("= bundle {publisher}@{version}").dimmed()),
        });
    }
    for change in changes {
        let name = format!("{} {}", text(change, "kind"), text(change, "name"));
        out.push_str(&match text(change, "change").as_str() {
            "created" | "create" => format!("{} {name}\n", "+".green().bold()),
            "deleted" | "delete" => format!("{} {name}\n", "-".red().bold()),
            "unchanged" => format!("{}\n", format!("= {name}").dimmed()),
            _ => format!("{} {name}\n", "~".yellow().bold()),
        });
        if text(change, "change") == "updated" {
            let lines = |side| yaml(field(change, side)).unwrap_or_default();
            out.push_str(&super::text::diff(&super::text::changed_lines(
                &lines("before"),
                &lines("after"),
            )));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_three_spellings() {
        for (text, expected) in [("Agent", "Agent"), ("policies", "Policy"), ("TRIGGER", "Trigger")] {
            assert_eq!(kind(text).unwrap(), expected);
        }
        assert!(matches!(kind("Schedule"), Err(Failure::Misuse(_))));
    }
}
